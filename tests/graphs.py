"""Hypothesis strategies: random graphs of elementwise ops over scalars and samples."""

from collections.abc import Sequence

from hypothesis import strategies as st

from gradcompile.ir.core import Node, apply, const, leaf
from gradcompile.ir.types import ArrayType

SCALARS = [leaf(name, role="param") for name in ("a", "b")]
COLUMNS = [leaf(name, ArrayType(("n",)), "data") for name in ("x", "y")]
UNARY = (
    "neg",
    "exp",
    "log",
    "sqrt",
    "sin",
    "cos",
    "tanh",
    "abs",
    "sigmoid",
    "softplus",
    "expm1",
    "atan",
    "sign",
    "floor",
)
EXACT_UNARY = ("neg", "sqrt", "abs", "sign", "floor")  # correctly rounded: the same bits from NumPy and from Numba
EXACT_BINARY = ("add", "mul", "div")  # not max and min: which of two zeros NumPy takes depends on its build
BINARY = ("add", "mul", "div", "max", "min", "hypot")
NUMBERS = (0.0, -0.0, 0.5, 1.0, -1.0, 2.0, 3.0, -0.25)


@st.composite
def graphs(draw: st.DrawFn, columns: bool = True, unary: Sequence[str] = UNARY, binary: Sequence[str] = BINARY) -> Node:
    """A random node; the nodes drawn so far are shared."""
    pool = [*SCALARS, *(COLUMNS if columns else ()), *(const(v) for v in NUMBERS)]
    for _ in range(draw(st.integers(1, 14))):
        kind = draw(st.sampled_from(("unary", "binary", "binary", "select")))
        pick = st.sampled_from(pool)
        if kind == "unary":
            pool.append(apply(draw(st.sampled_from(unary)), draw(pick)))
        elif kind == "binary":
            pool.append(apply(draw(st.sampled_from(binary)), draw(pick), draw(pick)))
        else:
            condition = apply(draw(st.sampled_from(("lt", "le", "eq", "ne"))), draw(pick), draw(pick))
            pool.append(apply("select", condition, draw(pick), draw(pick)))
    return pool[-1]


VALUES = st.sampled_from((0.0, -0.0, 1.0, -1.5, 0.3, 2.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan")))
