"""Ops along one axis: running sums, and windows, of which convolution and pooling are made."""

from typing import Any

import numpy as np

from gradcompile.errors import GraphError
from gradcompile.ir.core import Node, Op, Params, apply, named, register
from gradcompile.ir.types import ArrayType, Dim, dim_sum
from gradcompile.ops.shape import Tangents, again


def cumsum(x: Any, axis: int, reverse: bool) -> Any:
    """Running sums along an axis, from its end if reversed."""
    return np.flip(np.cumsum(np.flip(x, axis), axis), axis) if reverse else np.cumsum(x, axis)


def window_count(length: Dim, size: int, stride: int, dilation: int) -> Dim:
    """How many windows fit into an axis; GraphError if none can, or if it is named and the stride is not 1.

    >>> window_count(10, 3, 2, 1), window_count("n", 3, 1, 1)
    (4, 'n-2')
    """
    last = (size - 1) * dilation + 1
    if isinstance(length, int):
        if length < last:
            raise GraphError(f"windows of {size} entries, {dilation} apart, do not fit into an axis of {length}")
        return (length - last) // stride + 1
    if stride != 1:
        raise GraphError(f"windows at steps of {stride} along the named dimension {length}: its length must be known")
    return dim_sum(length, 1 - last)


def window_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The axis gives way to two: which window, and which entry of it."""
    axis, size, stride, dilation = params
    shape = types[0].shape
    count = window_count(shape[axis], size, stride, dilation)
    return ArrayType((*shape[:axis], count, size, *shape[axis + 1 :]), types[0].dtype)


def window_places(count: int, size: int, stride: int, dilation: int) -> Any:
    """The place of each entry of each window."""
    return stride * np.arange(count)[:, None] + dilation * np.arange(size)


def window(x: Any, axis: int, size: int, stride: int, dilation: int) -> Any:
    """The windows of x along an axis."""
    count = int(window_count(np.shape(x)[axis], size, stride, dilation))
    return np.asarray(x)[(*[slice(None)] * axis, window_places(count, size, stride, dilation))]


def window_vjp(g: Node, n: Node) -> Tangents:
    """Each entry gets the adjoints of all windows that it is in."""
    axis, _, stride, dilation = n.params
    return (apply("overlap", g, params=(axis, n.args[0].type.shape[axis], stride, dilation)),)


def overlap_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The two axes of the windows give way to one of the given length."""
    axis, length, stride, dilation = params
    shape = types[0].shape
    size = shape[axis + 1]
    if not isinstance(size, int) or window_count(length, size, stride, dilation) != shape[axis]:
        raise GraphError(f"overlap of a value of type {types[0]} at axis {axis} to length {length}: they do not fit")
    return ArrayType((*shape[:axis], length, *shape[axis + 2 :]), types[0].dtype)


def overlap(g: Any, axis: int, length: int, stride: int, dilation: int) -> Any:
    """Zeros, with the windows added in their places."""
    count, size = g.shape[axis : axis + 2]
    result = np.zeros((*g.shape[:axis], length, *g.shape[axis + 2 :]), g.dtype)
    np.add.at(result, (*[slice(None)] * axis, window_places(count, size, stride, dilation)), g)
    return result


def overlap_vjp(g: Node, n: Node) -> Tangents:
    """The windows of the adjoint."""
    axis, _, stride, dilation = n.params
    return (apply("window", g, params=(axis, n.args[0].type.shape[axis + 1], stride, dilation)),)


is_window = named("window")  # the windows along an axis


register(Op("cumsum", lambda types, _: types[0], cumsum, jvp=again, is_linear=True,
            vjp=lambda g, n: (apply("cumsum", g, params=(n.params[0], not n.params[1])),),
            derivative="the transpose runs the other way", accuracy="the error grows with n",
            along_axes=True, keeps_finite=True, array_name="running_sum", in_memory=True, in_floats=True,
            doc="running sums along an axis"))  # fmt: skip
register(Op("window", window_type, window, vjp=window_vjp, jvp=again, is_linear=True,
            cost=0, derivative="the transpose is overlap",
            accuracy="exact",
            shows_entries=True, picks_entries=True, keeps_finite=True, array_name="windows",
            doc="the windows along an axis: size entries, dilation apart, at steps"))  # fmt: skip
register(Op("overlap", overlap_type, overlap, vjp=overlap_vjp, jvp=again, is_linear=True,
            derivative="the transpose is window",
            accuracy="correctly rounded, term by term",
            has_dims=True, places_entries=True, adds=True, by_argument=True, transpose_copies=True, keeps_finite=True,
            array_name="overlapping", in_memory=True, in_floats=True,
            doc="windows added up in their places"))  # fmt: skip
