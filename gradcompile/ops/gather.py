"""Places that are data: entries gathered by integer arrays, their transpose, and the orders that sorting finds."""

from typing import Any

import numpy as np

from gradcompile.errors import GraphError
from gradcompile.ir.core import Node, Op, Params, apply, named, register
from gradcompile.ir.types import ArrayType, Shape
from gradcompile.ops import least
from gradcompile.ops.reduction import none_missing
from gradcompile.ops.shape import Tangents, again


def check_indices(types: tuple[ArrayType, ...], what: str) -> Shape:
    """The common shape of the index arrays; GraphError unless they are integers of one shape."""
    if not types or any(t.dtype != "int64" or t.shape != types[0].shape for t in types):
        raise GraphError(f"{what} by {', '.join(map(str, types)) or 'nothing'}: int64 arrays of one shape are needed")
    return types[0].shape


def gather_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The indexed axes give way to those of the index."""
    (axis,), shape = params, types[0].shape
    index = check_indices(types[1:], f"gather from a value of type {types[0]}")
    if axis < 0 or axis + len(types) - 1 > len(shape):
        raise GraphError(f"gather from a value of type {types[0]} by {len(types) - 1} arrays at axis {axis}: no axis")
    return ArrayType((*shape[:axis], *index, *shape[axis + len(types) - 1 :]), types[0].dtype)


def whole_numbers(indices: tuple[Any, ...]) -> tuple[Any, ...]:
    """Index arrays as integers; in high precision they come as numbers of mpmath."""
    return tuple(np.asarray(i).astype(np.int64) for i in indices)


def gather(x: Any, *rest: Any) -> Any:
    """The entries of x at the indices, along as many axes from `axis` on; negative ones count from the end."""
    *indices, axis = rest
    return np.asarray(x)[(*[slice(None)] * axis, *whole_numbers(tuple(indices)))]


def gather_vjp(g: Node, n: Node) -> Tangents:
    """Each place gets the sum of what was gathered from it."""
    axis, indices = n.params[0], n.args[1:]
    lengths = n.args[0].type.shape[axis : axis + len(indices)]
    return (apply("scatter_add", g, *indices, params=(axis, lengths)), *[None] * len(indices))


def scatter_add_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The axes of the index give way to those of the given lengths."""
    (axis, lengths), shape = params, types[0].shape
    index = check_indices(types[1:], f"scatter_add of a value of type {types[0]}")
    if len(lengths) != len(types) - 1 or shape[axis : axis + len(index)] != index:
        raise GraphError(f"scatter_add of a value of type {types[0]} by {types[1]} at axis {axis}: they do not fit")
    return ArrayType((*shape[:axis], *lengths, *shape[axis + len(index) :]), types[0].dtype)


def scatter_add(g: Any, *rest: Any) -> Any:
    """Zeros, with the entries of g added at the indices."""
    *indices, axis, lengths = rest
    index = whole_numbers(tuple(indices))
    result = np.zeros((*g.shape[:axis], *lengths, *g.shape[axis + index[0].ndim :]), g.dtype)
    np.add.at(result, (*[slice(None)] * axis, *index), g)
    return result


def place_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The argument's shape without the axis, of integers."""
    shape = types[0].shape
    return ArrayType((*shape[: params[0]], *shape[params[0] + 1 :]), "int64")


def argsort(x: Any, axis: int) -> Any:
    """The order that sorts x along an axis; equal entries keep theirs, NaN goes last."""
    return np.argsort(np.asarray(x), axis=axis, kind="stable")


def argmax(x: Any, axis: int) -> Any:
    """The place of the largest entry along an axis."""
    none_missing(np.shape(x), (axis,))
    return np.argmax(x, axis=axis) if np.size(x) else np.sum(x, axis=axis)  # of no entries


def no_partial(n: Node) -> tuple[Node | None, ...]:
    """A piecewise constant."""
    return (None,)


is_gather = named("gather")  # entries at integer places: its param is their first axis
is_argmax = named("argmax")  # the place of the largest entry along an axis, its param
is_scatter_add = named("scatter_add")  # entries added at integer places: its params are their first axis, and lengths
is_argsort = named("argsort")  # the order of the entries along an axis


register(Op("gather", gather_type, gather, vjp=gather_vjp, jvp=again, is_linear=True, arity=None, cost=0,
            derivative="the transpose is scatter_add", accuracy="exact",
            convention="an index below 0 counts from the end",
            picks_entries=True, keeps_finite=True, least=least.of_first, array_name="picked", ends_functions=True,
            time=8,
            doc="entries at integer places along axes"))  # fmt: skip
register(Op("scatter_add", scatter_add_type, scatter_add, jvp=again, is_linear=True, arity=None,
            vjp=lambda g, n: (apply("gather", g, *n.args[1:], params=n.params[:1]), *[None] * (len(n.args) - 1)),
            derivative="the transpose is gather", accuracy="correctly rounded, term by term",
            convention="an index below 0 counts from the end",
            has_dims=True, places_entries=True, adds=True, by_argument=True, transpose_copies=True, keeps_finite=True,
            array_name="scattered", in_memory=True, in_floats=True,
            doc="zeros, with entries added at integer places"))  # fmt: skip
register(Op("argsort", lambda types, _: ArrayType(types[0].shape, "int64"), argsort, partials=no_partial, cost=8,
            derivative="none", accuracy="exact", convention="equal entries keep their order; NaN goes last",
            is_expensive=True, along_axes=True, gives_places=True, keeps_finite=True, least=least.zero,
            array_name="order", in_memory=True, reads_memory=True, routine_axes=1,
            doc="the order that sorts an axis"))  # fmt: skip
register(Op("argmax", place_type, argmax, partials=no_partial, cost=3,
            derivative="none", accuracy="exact", convention="the first of equals; the first NaN, if there is one",
            along_axes=True, gives_places=True, keeps_finite=True, least=least.zero, array_name="place", in_memory=True,
            doc="the place of the largest entry along an axis"))  # fmt: skip
