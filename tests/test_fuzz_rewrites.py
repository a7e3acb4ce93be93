"""The fuzzer of rewrites finds what is planted, and exercises every rule."""

import random

import pytest

from gradcompile.ir.core import Node, apply, const
from gradcompile.passes import simplified, stabilized
from gradcompile.passes.stabilize import LATE, RULES, Rule
from tests.fuzz import rewrites
from tests.fuzz._rewrites import ARRAYS, FORMULAS

AT = {"x": 0.5, "y": 1.5, "z": 2.5}


def case(formula: str, rule: str = "", dtype: str = "float64", **at: float) -> dict[str, object]:
    """A formula at a point."""
    return {"rule": rule, "formula": formula, "dtype": dtype, "at": AT | at}


def test_every_rule_is_exercised() -> None:
    rules = {rule.__name__ for table in (RULES, LATE) for found in table.values() for rule in found}
    rng, missing = random.Random(0), []
    for rule in sorted(rules):
        texts = FORMULAS.get(rule, ()) + ARRAYS.get(rule, ())
        drawn = (rewrites.case_of_text(rng, rule, text, "float64")["formula"] for _ in range(6) for text in texts)
        if not any(rule in used(text) for text in drawn):
            missing.append(rule)
    assert not missing and {*FORMULAS, *ARRAYS} == rules


def used(text: str) -> set[str]:
    """The rules that a formula is rewritten by."""
    return {r.rule for r in stabilized(simplified([rewrites.formula(text, "float64")[0]]))[1]}


@pytest.mark.parametrize("formula", ["log(1 + exp(x)*y)", "sqrt(x*x + y*y)", "lgamma(exp(x))"])
def test_rules_that_are_right_are_not_found_wrong(formula: str) -> None:
    assert rewrites.judge(case(formula)) is None


def cancels(n: Node) -> Node | None:
    """log(x) as log(x + 1e5) and what is left: 17 bits are lost."""
    x, far = n.args[0], const(1e5)
    moved = apply("add", apply("add", x, far), const(-1e5))
    return None if x.op.name == "add" else apply("log", moved)


def overflows(n: Node) -> Node | None:
    """log(x) as log(x**2)/2: right, but beyond the range for large x."""
    square = apply("mul", n.args[0], n.args[0])
    return None if n.args[0].op.name == "mul" else apply("mul", const(0.5), apply("log", square))


def half_slope(n: Node) -> Node | None:
    """log(x) with max(x, 3): where it is clipped, and at 3, its derivative is not that of log(x)."""
    x = n.args[0]
    near, less = apply("log", apply("max", x, const(3.0))), apply("log1p", apply("add", x, const(-1.0)))
    return None if x.op.name == "max" else apply("select", apply("lt", x, const(3.0)), less, near)


@pytest.mark.parametrize(
    ("rule", "x", "wrong"),
    [(cancels, 0.7, "the loss is"), (overflows, 1e200, "the loss is inf"), (half_slope, 3.0, "entry 0 of the")],
)
def test_a_rule_that_loses_is_found(monkeypatch: pytest.MonkeyPatch, rule: Rule, x: float, wrong: str) -> None:
    monkeypatch.setitem(RULES, "log", (rule,))
    assert wrong in (rewrites.judge(case("log(x)", x=x)) or "")
