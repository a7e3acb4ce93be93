"""Comments of generated code, read as mathematics: a line's value is that of the formula beside it."""

import re
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import plain
import pytest
from scipy import special
from test_golden import CASES

from gradcompile import vmath
from gradcompile.analysis.evaluate import evaluate_all
from gradcompile.compiled import Compiled

LINE = re.compile(r"\s+(\w+(?:\[[^=]*\])?) = (.*\S)\s+# (.*)")
OTHER = re.compile(r"\.\.\.|^d[L2]|^tangent of|^groups before|^window\(")  # what is no whole formula in NumPy's terms
FUNCTIONS = {name: getattr(np, name) for name in ("arange", "einsum", "mean", "outer", "sum", "where", "maximum")}
FUNCTIONS |= {name: getattr(np, name) for name in ("exp", "log", "tanh", "hypot", "sin", "cos", "sqrt", "max", "abs")}
FUNCTIONS |= {name: getattr(vmath, name) for name in ("log1p", "sigmoid", "softplus", "xlogy")}
FUNCTIONS |= {"relu": lambda x: np.maximum(x, 0.0), "lgamma": special.gammaln, "besselj": special.jv}
FUNCTIONS |= {"erf": special.erf, "softmax": lambda x: special.softmax(x, axis=-1)}


def is_part(value: np.ndarray, expected: np.ndarray) -> bool:
    """Whether all entries are among those of the formula: a line computes one of them, or a block."""
    near = np.isclose(value.reshape(-1, 1), expected.reshape(1, -1), rtol=1e-6, atol=1e-12, equal_nan=True)
    return bool(near.any(axis=1).all())


@pytest.mark.parametrize(("make", "args"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_a_comment_is_the_value_of_its_line(make: Callable[[], Compiled], args: tuple[Any, ...]) -> None:
    f = make()
    problem, lines, read = f.problem, f.source.replace(plain.IMPORT, "").splitlines(), set[str]()
    leaves = {a.leaf: np.asarray(v) for a, v in zip((*problem.params, *problem.inputs), args, strict=True)}
    known = evaluate_all(list(problem.names), leaves)
    given = {name: known[n] for n, name in problem.names.items()}

    found = ((k, LINE.fullmatch(line)) for k, line in enumerate(lines, 1))
    formulas = {k: m for k, m in found if m and not OTHER.search(m[3]) and ("[" not in m[1] or m[1] not in m[2])}
    last: dict[FrameType, int] = {}

    def check(frame: FrameType, event: str, _: object) -> Any:
        """Compare the line that has been run with its comment."""
        if frame.f_code.co_filename != "<string>":
            return None
        local, found = frame.f_locals, formulas.get(last.get(frame, 0))
        if found is not None:
            said = {k: v for k, v in local.items() if k not in FUNCTIONS} | given
            said |= {k: local[k] for k in ("i", "row") if k in local}
            value, expected = np.asarray(eval(found[1], local)), np.asarray(eval(found[3], FUNCTIONS, said))
            expected = expected[local["i"]] if expected.ndim and not problem.arrays else expected
            assert is_part(value, expected), f"{found[0].strip()}: {value}, not {expected}"
            read.add(found[3])
        last[frame] = frame.f_lineno
        return check

    kernel, count = plain.plain(f.source)["kernel"], len(problem.params)
    theta, out = f.pack(*args[:count]), np.zeros(100, problem.dtype)
    before = sys.gettrace()
    sys.settrace(check)
    try:
        with np.errstate(all="ignore"):
            kernel(theta, out, *args[count:])
    finally:
        sys.settrace(before)
    assert read == {m[3] for m in formulas.values()}
