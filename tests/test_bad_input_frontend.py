"""What is wrong with a loss or its arguments is said with the symbol, or the subexpression, and the cure."""

import re
from typing import Any

import pytest
import sympy as sp

from gradcompile.errors import ArgumentError, ArgumentTypeError, ExpressionError, GradcompileError
from gradcompile.frontend import functions
from gradcompile.frontend.sympy.convert import convert, read
from gradcompile.frontend.sympy.custom import custom
from gradcompile.signature.names import text

w, x, y, k = sp.symbols("w x y k")
f = sp.Function("f")
A = sp.MatrixSymbol("A", 3, 3)
W = sp.IndexedBase("W")

ARGUMENTS: list[Any] = [
    (x**2, {"params": [x, w]}, ArgumentError, "does not contain the parameter w.*allow_unused=True"),
    (x**2, {"params": [x], "data": [y]}, ArgumentError, "does not contain the data symbol y.*allow_unused=True"),
    (x**2, {"params": [x, W]}, ArgumentError, "does not contain W, so its shape is unknown"),
    (x * y, {"params": [x, x]}, ArgumentError, "x is given twice in params"),
    (x * y, {"params": [x, y], "data": [x]}, ArgumentError, "x is given in params and in data"),
    (x * y, {"params": [x, [y, x]]}, ArgumentError, "x is given twice in params"),
    (x * y, {"params": {"a": x}, "data": {"a": y}}, ArgumentError, "the name 'a' is given twice.*mapping"),
    (x * y * w, {"params": [x], "inputs": [y]}, ArgumentError, "contains w, which is in neither.*inputs="),
    (x * y, {"params": [sp.Symbol("x", real=True)]}, ArgumentError, "two different symbols are called 'x'.*real.*once"),
    (x * sp.Symbol("x", positive=True), {"params": [x]}, ArgumentError, "two different symbols are called 'x'"),
    (x * y, {"params": "x"}, ArgumentTypeError, r"'x' is text; name the symbols in a list"),
    pytest.param(x * y, {"params": {x, y}}, ArgumentTypeError, "set, which has no order", id="a set"),
    (x * y, {"params": [x + 1]}, ArgumentTypeError, r"'x \+ 1' of type Add can't be an argument"),
    (x * y, {"params": [3]}, ArgumentTypeError, "can't be an argument; name a Symbol"),
    (x * y, {"params": [[x, y + 1]]}, ArgumentTypeError, r"holds symbols only, and 'y \+ 1' of type Add is none"),
    (x * y, {"params": [[[x], [y, w]]]}, ArgumentError, r"rows of \[1, 2\] entries"),
    (x * y, {"params": [[]]}, ArgumentError, "an empty array"),
    (x * y, {"params": [x], "reduce": "max"}, ArgumentError, "reduce is 'mean' or 'sum'"),
    (x * y, {"params": [x], "dtype": "int32"}, ArgumentError, "dtype is 'float64' or 'float32'"),
    (
        A[0, 1] * sp.MatrixSymbol("B", k, 2)[0, 0],
        {"params": [sp.MatrixSymbol("B", k, 2)]},
        ExpressionError,
        "symbolic shape",
    ),
    (
        W[1] * x,
        {"params": [x, sp.IndexedBase("V", shape=(2,))], "allow_unused": False},
        ArgumentError,
        "does not contain",
    ),
    (
        sp.IndexedBase("V")[1, 2] * W[0] * sp.IndexedBase("V")[1],
        {"params": [W]},
        ExpressionError,
        "V has elements of 1 and 2 indices",
    ),
    (W[-1], {"params": [W]}, ExpressionError, r"W\[-1\] is outside the shape"),
]


@pytest.mark.parametrize(("loss", "given", "error", "message"), ARGUMENTS, ids=lambda v: text(v, 40))
def test_arguments_that_do_not_fit(loss: Any, given: dict[str, Any], error: type[Exception], message: str) -> None:
    given = dict(given)
    with pytest.raises(error, match=message):
        read(loss, given.pop("params"), **given)


LOSSES: list[tuple[Any, type[GradcompileError], str]] = [
    (sp.I * w, ExpressionError, "contains I, which is no real number"),
    (sp.Mul(w, sp.zoo, evaluate=False), ExpressionError, "no real number"),
    (sp.Symbol("c", imaginary=True) * w, ExpressionError, "symbol c is not real.*real=True"),
    (sp.Symbol("c", commutative=False) * w, ExpressionError, "symbol c is not commutative"),
    (sp.Pow(-2, sp.Rational(1, 3), evaluate=False) * w, ExpressionError, "complex.*real_root or Cbrt"),
    (sp.Matrix([w, x]), ExpressionError, r"2 x 1 Matrix; a loss is a scalar.*m\[0, 0\]"),
    (sp.ImmutableMatrix([w, x]), ExpressionError, "a loss is a scalar"),
    (A * A * w, ExpressionError, r"3 x 3; a loss is a scalar: take the Trace"),
    (w * A, ExpressionError, r"3 x 3; a loss is a scalar.*m\[0, 0\]"),
    (w > 0, ExpressionError, r"condition w > 0.*where\(condition, 1, 0\)"),
    (sp.true, ExpressionError, "condition"),
    (sp.ITE(w > 0, x > 0, y > 0), ExpressionError, "condition"),
    (sp.Tuple(w, x), ExpressionError, "a loss is a scalar"),
    ([w, x], ArgumentTypeError, "the loss is a list"),
    ("w*x", ArgumentTypeError, "the loss is text"),
    (sp.Integral(sp.exp(-(w**2)), w) + w, ExpressionError, "Integral can't be compiled; work the integral out"),
    (sp.Limit(sp.sin(w) / w, w, 0) + w, ExpressionError, "Limit can't be compiled"),
    (f(w) + 1, ExpressionError, r"f\(w\) is an undefined function; name it in params.*custom\('f'"),
    (sp.Derivative(f(w), w) * w, ExpressionError, "name the function of time and its derivative"),
    (sp.stieltjes(w), ExpressionError, r"stieltjes\(w\): stieltjes can't be compiled.*custom"),
    (sp.DiracDelta(w), ExpressionError, "narrow Gaussian"),
    (w * 10**400, ExpressionError, "outside the range of float64"),
    (w + sp.Float(2) ** 10**7, ExpressionError, "about 2..10000001|outside the range"),
    (w + sp.Integer(7) ** 100_000, ExpressionError, "of 280737 bits"),
    (sp.besselj(w, w), ExpressionError, "order w of besselj is no number as it stands"),
    (sp.polygamma(-2, w), ExpressionError, "negative order"),
    (sp.LambertW(w, 2), ExpressionError, "branch 2 of LambertW is not real"),
    (sp.Sum(w**k, (k, 0, sp.oo)), ExpressionError, "bounds 0 and oo are no whole numbers"),
    (sp.Sum(w * k, (k, 0, x)), ExpressionError, "bounds 0 and x are no whole numbers as they stand"),
    (sp.Sum(w**k, (k, 0, 10**9)), ExpressionError, "1000000001 terms"),
    (W[k] * w, ExpressionError, r"index k is not constant.*Sum\(W\[k\]"),
    (functions.mean(w), ExpressionError, "has no value a sample; name the symbols.*data="),
]


@pytest.mark.parametrize(("loss", "error", "message"), LOSSES, ids=lambda v: text(v, 40))
def test_losses_that_cannot_be_compiled(loss: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        read(loss, [w])
    assert len(str(caught.value)) < 600


def test_the_offending_part_of_a_large_loss_is_quoted_in_bounds() -> None:
    big = sum(sp.sin(n * w) for n in range(300))
    with pytest.raises(ExpressionError, match=re.escape("stieltjes(")) as caught:
        read(sp.exp(sp.stieltjes(big)), [w])
    assert len(str(caught.value)) < 400


def test_float32_has_its_own_range() -> None:
    with pytest.raises(ExpressionError, match="outside the range of float32"):
        read(w * 10**39, [w], dtype="float32")


# Custom functions

HELPER = [1.0]


def uses_a_list(u: float) -> float:
    return u * HELPER[0]


def has_a_default(u: float, v: float = 1.0) -> float:
    return u * v


def test_custom_functions_that_cannot_be_embedded() -> None:
    with pytest.raises(ArgumentError, match="uses 'HELPER', which is not math, np"):
        custom("g", uses_a_list, [lambda u: u])
    with pytest.raises(ArgumentError, match="write plain ones"):
        custom("g", has_a_default, [lambda u, v: u])
    with pytest.raises(ArgumentError, match="2 partials for 1 arguments"):
        custom("g", lambda u: u * u, [lambda u: u, lambda u: u])
    with pytest.raises(ArgumentTypeError, match="value is a builtin"):
        custom("g", abs, [lambda u: u])
    scope: dict[str, Any] = {}
    exec("def unseen(u):\n    return u", scope)
    with pytest.raises(ArgumentError, match="out of reach; define it in a file"):
        custom("g", scope["unseen"], [lambda u: u])


def test_a_partial_of_other_symbols_is_refused() -> None:
    from gradcompile.ir.core import apply, leaf

    g = custom("g", lambda u: u * u + 1, [lambda u: w])
    n = apply(g.op_name, leaf("u"))
    with pytest.raises(ExpressionError, match="w stands for nothing here"):
        n.op.partials(n)  # type: ignore[misc]
    with pytest.raises(ExpressionError, match="stands for nothing"):
        convert([x], {})
