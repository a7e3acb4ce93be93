"""NumPy's reductions and running sums."""

import math
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import numpy as np

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, lift
from gradcompile.frontend.arrays.recurrence import scan
from gradcompile.frontend.arrays.shapes import (
    Axis,
    axes_of,
    axis_of,
    filled,
    part,
    transposed,
    with_axes,
)
from gradcompile.frontend.arrays.ufuncs import (
    arithmetic,
    cast,
    choose,
    elementwise,
    floating,
    function,
    minus,
    mirrored,
    number,
    truth,
)
from gradcompile.ir.algebra import broadcast_to, length_along, reshape_to
from gradcompile.ir.core import Node, apply, const, is_const
from gradcompile.ir.types import Dim, dim_product, dim_sum
from gradcompile.ops.reduction import none_missing
from gradcompile.ops.shape import Span

LINE = 16  # factors that are written out

# On nodes


def reduced(name: str, n: Node, axis: Axis, keepdims: bool) -> Node:
    """A reduction over axes, which stay with one entry if asked for."""
    axes = axes_of(axis, len(n.type.shape))
    result = apply(name, n, params=(axes,)) if axes else n
    return with_axes(result, axes) if keepdims else result


def total(n: Node, axis: Axis = None, keepdims: bool = False) -> Node:
    """The sum over axes."""
    return reduced("sum", arithmetic(n), axis, keepdims)


def largest(n: Node, axis: Axis = None, keepdims: bool = False) -> Node:
    """The largest entry over axes; ArgumentError if there are none."""
    none_missing(n.type.shape, axes_of(axis, len(n.type.shape)))
    return reduced("amax", arithmetic(n), axis, keepdims)


def count(n: Node, axis: Axis = None) -> Node:
    """The number of entries over axes."""
    axes = axes_of(axis, len(n.type.shape))
    known = math.prod(d for k in axes if isinstance(d := n.type.shape[k], int))
    named = [length_along(n, k) for k in axes if isinstance(n.type.shape[k], str)]
    if not named:
        return number(known, n)
    product = reduce(lambda x, y: elementwise("mul", x, y), named)
    return product if known == 1 else elementwise("mul", number(known, n), product)


def average(n: Node, axis: Axis = None, keepdims: bool = False) -> Node:
    """The mean over axes."""
    n = floating(n)
    return elementwise("div", total(n, axis, keepdims), count(n, axis))


def spread_of(n: Node, axis: Axis = None, keepdims: bool = False, ddof: float = 0) -> Node:
    """The variance over axes."""
    n = floating(n)
    residual = minus(n, average(n, axis, True))
    size = count(n, axis)
    size = size if ddof == 0 else elementwise("add", size, number(-ddof, size))
    return elementwise("div", total(elementwise("mul", residual, residual), axis, keepdims), size)


def root(n: Node) -> Node:
    """The square root, whose derivative at 0 is 0."""
    return choose(elementwise("ne", n, number(0.0, n)), elementwise("sqrt", n), number(0.0, n))


# NumPy's functions


@function(np.sum, method="sum")
def summed(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The sum over axes."""
    return Array(total(lift(a), axis, keepdims))


@function(np.mean, method="mean")
def mean(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The mean over axes."""
    return Array(average(lift(a), axis, keepdims))


@function(np.average)
def weighted_average(a: Any, axis: Axis = None, weights: Any = None) -> Array:
    """The mean over axes, or the weighted mean; the weights have the array's shape, or that of the one axis."""
    n = floating(lift(a))
    if weights is None:
        return Array(average(n, axis))
    w = floating(lift(weights))
    if len(w.type.shape) != len(n.type.shape):
        k = axis_of(axis, len(n.type.shape))
        w = with_axes(w, [j for j in range(len(n.type.shape)) if j != k])
    spread = broadcast_to(number(0.0, n), n.type.shape)
    return Array(elementwise("div", total(elementwise("mul", n, w), axis), total(elementwise("add", w, spread), axis)))


@function(np.var, method="var")
def var(a: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Array:
    """The variance over axes, divided by their entries less ddof."""
    return Array(spread_of(lift(a), axis, keepdims, ddof))


@function(np.std, method="std")
def std(a: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Array:
    """The square root of the variance; its derivative at 0 is 0."""
    return Array(root(spread_of(lift(a), axis, keepdims, ddof)))


@function(np.max, np.amax, method="max")
def amax(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The largest entry over axes; ties share the derivative."""
    n = lift(a)
    return Array(cast(largest(n, axis, keepdims), n.type.dtype))


@function(np.min, np.amin, method="min")
def amin(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The smallest entry over axes; ties share the derivative."""
    n = lift(a)
    found = mirrored(largest(mirrored(arithmetic(n)), axis, keepdims))
    return Array(cast(found, n.type.dtype))


@function(np.ptp)
def ptp(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The largest less the smallest."""
    return Array(minus(amax(a, axis, keepdims=keepdims).node, amin(a, axis, keepdims=keepdims).node))


@function(np.prod, method="prod")
def prod(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The product over axes, without a division in its derivative, which holds where entries are 0."""
    n = arithmetic(lift(a))
    axes = axes_of(axis, len(n.type.shape))
    n = product_over(n, axes) if axes else n
    return Array(with_axes(n, axes) if keepdims else n)


def product_over(n: Node, axes: Sequence[int]) -> Node:
    """The product over axes, factor by factor, in NumPy's order: another one may overflow on the way."""
    others = [k for k in range(len(n.type.shape)) if k not in axes]
    kept, length = tuple(n.type.shape[k] for k in others), dim_product(*(n.type.shape[k] for k in axes))
    n = reshape_to(transposed(n, [*axes, *others]), (length, *kept))
    one = filled(1 if n.type.dtype == "int64" else 1.0, kept, n.type.dtype)
    if isinstance(length, str) or length > LINE:
        product, _ = scan(lambda so_far, x: (so_far * x, None), Array(one), Array(n))
        return lift(product)
    return reduce(partial(elementwise, "mul"), [part(n, 0, k) for k in range(length)]) if length else one


@function(np.any, method="any")
def some(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Whether some entry is true."""
    return Array(elementwise("lt", const(0, "int64"), total(truth(lift(a)), axis, keepdims)))


@function(np.all, method="all")
def every(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Whether all entries are true."""
    return Array(elementwise("not", some(Array(elementwise("not", lift(a))), axis, keepdims=keepdims).node))


@function(np.count_nonzero)
def count_nonzero(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The number of entries that aren't 0."""
    return Array(total(truth(lift(a)), axis, keepdims))


@function(np.size)
def size(a: Any, axis: int | None = None) -> Any:
    """The number of entries, as a number if it is known."""
    found = count(lift(a), axis)
    return int(found.value) if is_const(found) else Array(found)


@function(np.cumsum, method="cumsum")
def cumsum(a: Any, axis: int | None = None) -> Array:
    """Running sums along an axis, of the entries as a vector if none is given."""
    n = arithmetic(lift(a))
    if axis is None:
        axis, n = 0, reshape_to(n, (flat_length(n),))
    return Array(apply("cumsum", n, params=(axis_of(axis, len(n.type.shape)), False)))


def flat_length(n: Node) -> Dim:
    """The number of entries as a dimension."""
    return dim_product(*n.type.shape)


@function(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1) -> Array:
    """Differences of neighbours along an axis, n times."""
    x = arithmetic(lift(a))
    k = axis_of(axis, len(x.type.shape))
    for _ in range(n):
        if x.type.shape[k] == 0:
            break
        rest = dim_sum(x.type.shape[k], -1)
        x = minus(part(x, k, Span(1, rest)), part(x, k, Span(0, rest)))
    return Array(x)


@function(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Array:
    """The norm of vectors or, with "fro", of matrices; its derivative at 0 is 0. ord is None, 1, 2, inf or "fro"."""
    n = floating(lift(x))
    matrix = len(axes_of(axis, len(n.type.shape))) == 2 if axis is not None else len(n.type.shape) == 2
    if ord is None or ord == "fro" or (ord == 2 and not matrix):
        return Array(root(total(elementwise("mul", n, n), axis, keepdims)))
    if ord == 1 and not matrix:
        return Array(total(elementwise("abs", n), axis, keepdims))
    if ord == math.inf and not matrix:
        return Array(largest(elementwise("abs", n), axis, keepdims))
    raise ExpressionError(f"norm with ord={ord!r} is not supported here; use 1, 2, np.inf of vectors, or 'fro'")
