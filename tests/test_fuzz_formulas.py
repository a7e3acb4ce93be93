"""The fuzzers of formulas and of exact rules find what is planted: a wrong partial, coefficient, or rule."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from numba.core import config

from gradcompile.ir.core import OPS, Node, apply, const
from gradcompile.ops.algebra import partials
from gradcompile.passes.simplify import SCALAR_RULES
from tests.fuzz import _numbers, formulas, simplified
from tests.fuzz.run import ROOT

AT = [{"a": 0.7, "b": 1.3}]


def case(formula: str, **point: float) -> dict[str, Any]:
    """A formula at a point."""
    return {"formula": formula, "points": [point or AT[0]], "dtype": "float64", "stabilize": True}


def test_formulas_that_are_right_are_not_found_wrong() -> None:
    assert formulas.judge(case("atan(a)*exp(b) + sqrt(a**2 + b**2)")) is None
    assert formulas.judge(case("a/b**13 + sqrt(a*b)", a=1e-12, b=1e-22)) is None
    assert formulas.judge(case("Abs(a) + b**(3/2)", a=0.0, b=0.0)) is None


def test_a_wrong_partial_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, "atan", replace(OPS["atan"], partials=partials("x", "1/(1.0000000000001 + x*x)")))
    assert "d/da is" in (formulas.judge(case("atan(3*a) + a")) or "")


def test_an_infinite_slope_that_is_not_cared_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, "sqrt", replace(OPS["sqrt"], steep=None))
    assert "d/da is nan" in (formulas.judge(case("sqrt(a**2 + a*b + b**2) + 2", a=0.0, b=0.0)) or "")


def test_a_wrong_exact_rule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def halved(n: Node) -> Node | None:
        square = n.args[0] is n.args[1]
        return (
            apply("mul", const(1 + 1e-14), apply("abs", n.args[0])) if square and n.args[0].op.name == "cos" else None
        )

    def dropped(n: Node) -> Node | None:
        kept = [a for a in n.args if not (a.op.name == "const" and a.value == 0)]
        return kept[0] if len(kept) == 1 else None

    monkeypatch.setitem(SCALAR_RULES, "mul", (halved, *SCALAR_RULES["mul"]))
    assert "value is" in (formulas.judge(case("cos(5*a)**2 + b")) or "")
    monkeypatch.setitem(SCALAR_RULES, "add", (dropped, *SCALAR_RULES["add"]))
    steps = [["leaf", "p"], ["const", "0.0"], ["add", 0, 1]]
    assert simplified.judge({"steps": steps, "points": [{"p": "-0.0"}]}) == "0.0 became -0.0 at {'p': '-0.0'}"


def test_a_wrong_coefficient_is_found(tmp_path: Path) -> None:
    program = (
        "from gradcompile.library.vmath import double\n"
        "double.ATAN = (double.ATAN[0] * (1 + 1e-12), *double.ATAN[1:])\n"
        "from tests.fuzz import formulas\n"
        f"print(formulas.judge({case('atan(a)*b')!r}))\n"
    )
    environment = os.environ | {"GRADCOMPILE_CACHE_DIR": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "value is" in done.stdout


@pytest.mark.skipif(config.DISABLE_JIT, reason="there is no machine code")
def test_full_code_with_other_bits_than_what_came_before_is_found() -> None:
    given = [1.0]
    code = SimpleNamespace(ready=lambda: given.append(math.nextafter(1.0, 2.0)))
    f: Any = SimpleNamespace(_route=SimpleNamespace(kernel=SimpleNamespace(codes={(): code, (1,): None})))
    assert "full code gives" in (_numbers.unlike_full(f, lambda: (given[-1], (0.5,))) or "")
    assert _numbers.unlike_full(f, lambda: (math.nan, (given[0],))) is None
