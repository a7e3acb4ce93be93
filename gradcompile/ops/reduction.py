"""Reductions: sum and maximum over axes, and the number of entries along one, from which means are made."""

from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError
from gradcompile.ir.algebra import equal, placed_in, select, sum_over
from gradcompile.ir.core import Node, Op, Params, const, named, register
from gradcompile.ir.types import ArrayType, Shape
from gradcompile.ops import least
from gradcompile.ops.shape import again


def sum_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The axes that are left."""
    return ArrayType(tuple(d for k, d in enumerate(types[0].shape) if k not in params[0]), types[0].dtype)


def spread_back(x: Node, n: Node) -> Node:
    """A value of the shape of a reduction, repeated to that of the reduction's argument."""
    shape = n.args[0].type.shape
    left = tuple(k for k in range(len(shape)) if k not in n.params[0])
    return placed_in(x, shape, left)


def size_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """A scalar of the argument's float dtype, so that a mean keeps it."""
    return ArrayType((), types[0].dtype if types[0].dtype.startswith("float") else "float64")


def size(x: Any, axis: int) -> Any:
    """The number of entries along an axis."""
    return np.float64(np.shape(x)[axis])


def none_missing(shape: Shape, axes: tuple[int, ...]) -> None:
    """Raise ArgumentError where the largest entry of none is asked for; of no rows the largest entries are none."""
    missing = [k for k in axes if shape[k] == 0]
    if missing and all(d != 0 for k, d in enumerate(shape) if k not in axes):
        raise ArgumentError(f"shape {shape} has no entry along axis {missing[0]} that could be the largest")


def amax(x: Any, axes: tuple[int, ...]) -> Any:
    """The largest entry over the axes, NaN if one of them is; numbers of mpmath need to be told."""
    none_missing(np.shape(x), axes)
    if 0 in np.shape(x):
        return np.sum(x, axis=axes)  # of no entries
    return np.where(np.any(x != x, axis=axes), np.nan, np.max(x, axis=axes))[()]


def shares(n: Node) -> tuple[Node, Node]:
    """Where the argument of a maximum is largest, and in how many places that is."""
    largest = equal(n.args[0], spread_back(n, n))
    one, zero = (const(v, n.type.dtype) for v in (1.0, 0.0))
    return largest, sum_over(select(largest, one, zero), *n.params)


def amax_vjp(g: Node, n: Node) -> tuple[Node | None, ...]:
    """The places of the largest entry share the adjoint; the others are behind a branch not taken."""
    largest, count = shares(n)
    return (select(largest, spread_back(g / count, n), 0.0),)


def amax_jvp(n: Node, tangents: tuple[Node | None, ...]) -> Node:
    """The mean of the tangent's entries where the argument is largest."""
    largest, count = shares(n)
    zero = const(0.0, n.type.dtype)
    share = (tangents[0] or zero) / spread_back(count, n)
    return sum_over(select(largest, share, zero), *n.params)


is_sum = named("sum")  # a sum over the axes of its param
is_amax = named("amax")  # the largest entry over the axes of its param


register(Op("sum", sum_type, lambda x, axes: np.sum(x, axis=axes), vjp=lambda g, n: (spread_back(g, n),),
            jvp=again, is_linear=True, sympy="Sum", accuracy="the error grows with log n",
            derivative="the transpose repeats the adjoint over the axes",
            is_reduction=True, adds=True, transpose_copies=True, along_axes=True, keeps_finite=True,
            least=least.of_entries, array_name="summed", preferred_name="part_sum", in_memory=True, in_floats=True,
            doc="sum over the axes"))  # fmt: skip
register(Op("amax", sum_type, amax, vjp=amax_vjp, jvp=amax_jvp, cost=3, derivative="1/ties where largest, else 0",
            convention="ties are split equally; NaN if an entry is, with derivative 0", accuracy="exact",
            is_reduction=True, along_axes=True, keeps_finite=True, least=least.of_first, array_name="row_max",
            preferred_name="peak", in_memory=True, in_floats=True,
            doc="the largest entry over the axes"))  # fmt: skip
register(Op("size", size_type, size, partials=lambda n: (None,), cost=0, derivative="none", accuracy="exact",
            by_shape=True, keeps_finite=True,
            doc="number of entries along the axis"))  # fmt: skip
