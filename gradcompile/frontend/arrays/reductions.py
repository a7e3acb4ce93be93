"""NumPy's reductions and running sums."""

import math
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import numpy as np

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, dtype_name, lift, lift_all
from gradcompile.frontend.arrays.recurrence import scan
from gradcompile.frontend.arrays.shapes import (
    Axis,
    axes_of,
    axis_of,
    filled,
    joined,
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
from gradcompile.ir.algebra import expand, length_along, reshape_to
from gradcompile.ir.core import Node, apply, const, is_const
from gradcompile.ir.types import Dim, broadcast, dim_product, dim_sum
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


def prepared(a: Any, where: Any, fill: float, dtype: Any = None) -> Node:
    """What is reduced: in a dtype, if one is asked for, and with a number where a condition does not hold."""
    n = lift(a) if dtype is None else cast(lift(a), dtype_name(dtype))
    if where is True:
        return n
    condition, n = truth(lift(where)), arithmetic(n)
    shape = broadcast(condition.type.shape, n.type.shape)
    return choose(condition, expand(n, shape), number(fill, n) if is_float(n) else const(int(fill), "int64"))


def is_float(n: Node) -> bool:
    """Whether a node has floats."""
    return n.type.dtype.startswith("float")


def begun(op: str, found: Node, initial: Any) -> Array:
    """A reduction and where it begins, if that is given."""
    return Array(found if initial is None else elementwise(op, *lift_all(Array(found), initial)))


@function(np.sum, method="sum")
def summed(
    a: Any, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Array:
    """The sum over axes."""
    return begun("add", total(prepared(a, where, 0, dtype), axis, keepdims), initial)


@function(np.mean, method="mean")
def mean(a: Any, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False, where: Any = True) -> Array:
    """The mean over axes."""
    n = prepared(a, True, 0, dtype)
    if where is True:
        return Array(average(n, axis, keepdims))
    n = prepared(Array(floating(n)), where, 0)
    return Array(elementwise("div", total(n, axis, keepdims), chosen(n, where, axis, keepdims)))


def chosen(n: Node, where: Any, axis: Axis, keepdims: bool) -> Node:
    """The number of entries of a node over axes for which a condition holds."""
    condition = expand(truth(lift(where)), n.type.shape)
    return total(cast(condition, n.type.dtype), axis, keepdims)


@function(np.average)
def weighted_average(
    a: Any, axis: Axis = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """The mean over axes, or the weighted mean; the weights have the array's shape, or that of the axes."""
    n = floating(lift(a))
    if weights is None:
        found, size = average(n, axis, keepdims), count(n, axis)
        return (Array(found), Array(expand(size, found.type.shape))) if returned else Array(found)
    w = floating(lift_all(a, weights)[1])
    if w.type.shape != n.type.shape:
        axes = axes_of(axis, len(n.type.shape))
        if len(w.type.shape) != len(axes):
            raise ExpressionError(f"weights of shape {w.type.shape} for shape {n.type.shape}: give axis=")
        w = with_axes(w, [j for j in range(len(n.type.shape)) if j not in axes])
    size = total(expand(w, broadcast(w.type.shape, n.type.shape)), axis, keepdims)
    found = elementwise("div", total(elementwise("mul", n, w), axis, keepdims), size)
    return (Array(found), Array(size)) if returned else Array(found)


@function(np.var, method="var")
def var(
    a: Any, axis: Axis = None, dtype: Any = None, *, ddof: float = 0, keepdims: bool = False, where: Any = True,
    mean: Any = None, correction: float | None = None
) -> Array:  # fmt: skip
    """The variance over axes, divided by their entries less ddof, or less the correction."""
    n, less = floating(prepared(a, True, 0, dtype)), ddof if correction is None else correction
    if where is True and mean is None:
        return Array(spread_of(n, axis, keepdims, less))
    middle = weighted_mean(Array(n), axis, where) if mean is None else Array(lift(mean))
    residual = prepared(Array(n) - middle, where, 0)
    size = Array(count(n, axis) if where is True else chosen(n, where, axis, keepdims))
    squares = total(elementwise("mul", residual, residual), axis, keepdims)
    return Array(elementwise("div", squares, (size - less).node))


def weighted_mean(a: Any, axis: Axis, where: Any) -> Array:
    """The mean of what a condition holds for, with its axes kept."""
    return mean(a, axis, keepdims=True, where=where)


@function(np.std, method="std")
def std(
    a: Any, axis: Axis = None, dtype: Any = None, *, ddof: float = 0, keepdims: bool = False, where: Any = True,
    mean: Any = None, correction: float | None = None
) -> Array:  # fmt: skip
    """The square root of the variance; its derivative at 0 is 0."""
    options: dict[str, Any] = {"keepdims": keepdims, "where": where, "mean": mean, "correction": correction}
    return Array(root(var(a, axis, dtype, ddof=ddof, **options).node))


@function(np.max, np.amax, method="max")
def amax(a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None, where: Any = True) -> Array:
    """The largest entry over axes; ties share the derivative."""
    n = prepared(a, *least_where(where, initial, -math.inf))
    axes, shape = axes_of(axis, len(n.type.shape)), n.type.shape
    if initial is not None and 0 in [shape[k] for k in axes]:
        kept = tuple(1 if k in axes else d for k, d in enumerate(shape) if keepdims or k not in axes)
        return Array(expand(lift(initial), kept))
    return begun("max", cast(largest(n, axis, keepdims), n.type.dtype), initial)


def least_where(where: Any, initial: Any, least: float) -> tuple[Any, float]:
    """The condition of a maximum, and what stands where it does not hold; ExpressionError without a beginning."""
    if where is not True and initial is None:
        raise ExpressionError("where= of a maximum or minimum needs initial=, what there is where nothing is")
    return where, least


@function(np.min, np.amin, method="min")
def amin(a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None, where: Any = True) -> Array:
    """The smallest entry over axes; ties share the derivative."""
    n = lift(a)
    start = None if initial is None else Array(mirrored(lift_all(a, initial)[1]))
    turned = amax(Array(mirrored(arithmetic(n))), axis, keepdims=keepdims, initial=start, where=where)
    return Array(cast(mirrored(turned.node), n.type.dtype))


@function(np.ptp, method="ptp")
def ptp(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The largest less the smallest."""
    return Array(minus(amax(a, axis, keepdims=keepdims).node, amin(a, axis, keepdims=keepdims).node))


@function(np.prod, method="prod")
def prod(
    a: Any, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Array:
    """The product over axes, without a division in its derivative, which holds where entries are 0."""
    n = arithmetic(prepared(a, where, 1, dtype))
    axes = axes_of(axis, len(n.type.shape))
    n = product_over(n, axes) if axes else n
    return begun("mul", with_axes(n, axes) if keepdims else n, initial)


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
def some(a: Any, axis: Axis = None, *, keepdims: bool = False, where: Any = True) -> Array:
    """Whether some entry is true."""
    n = prepared(Array(truth(lift(a))), where, 0)
    return Array(elementwise("lt", const(0, "int64"), total(n, axis, keepdims)))


@function(np.all, method="all")
def every(a: Any, axis: Axis = None, *, keepdims: bool = False, where: Any = True) -> Array:
    """Whether all entries are true."""
    opposite = Array(elementwise("not", lift(a)))
    return Array(elementwise("not", some(opposite, axis, keepdims=keepdims, where=where).node))


function(np.count_nonzero)(lambda a, axis=None, *, keepdims=False: Array(total(truth(lift(a)), axis, keepdims)))


@function(np.size)
def size(a: Any, axis: int | None = None) -> Any:
    """The number of entries, as a number if it is known."""
    found = count(lift(a), axis)
    return int(found.value) if is_const(found) else Array(found)


@function(np.cumsum, method="cumsum")
def cumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Array:
    """Running sums along an axis, of the entries as a vector if none is given."""
    n = arithmetic(prepared(a, True, 0, dtype))
    if axis is None:
        axis, n = 0, reshape_to(n, (flat_length(n),))
    return Array(apply("cumsum", n, params=(axis_of(axis, len(n.type.shape)), False)))


def flat_length(n: Node) -> Dim:
    """The number of entries as a dimension."""
    return dim_product(*n.type.shape)


@function(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Array:
    """Differences of neighbours along an axis, n times, of what is put in front and behind as well."""
    x = arithmetic(lift(a))
    k = axis_of(axis, len(x.type.shape))
    ends = [None if e is None else arithmetic(lift_all(a, e)[1]) for e in (prepend, append)]
    one = (*x.type.shape[:k], 1, *x.type.shape[k + 1 :])
    before, after = (None if e is None else e if e.type.shape else expand(e, one) for e in ends)
    x = joined([p for p in (before, x, after) if p is not None], k)
    for _ in range(n):
        if x.type.shape[k] == 0:
            break
        rest = dim_sum(x.type.shape[k], -1)
        x = minus(part(x, k, Span(1, rest)), part(x, k, Span(0, rest)))
    return Array(x)
