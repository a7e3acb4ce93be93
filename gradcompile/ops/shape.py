"""Structural ops: leaves, constants, and the linear ops that take arrays apart and put them together.

`item` and its transpose `assemble` share one kind of index: for each axis a place (the axis goes), a `Span` of places
at even steps, or None for the whole axis. Slices, flips, padding, concatenation and stacking are made of the two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcompile.errors import GraphError
from gradcompile.ir.algebra import astype, part_at, permute, reshape_to, sum_over, zeros_like
from gradcompile.ir.core import Node, Op, Params, apply, named, register
from gradcompile.ir.types import ArrayType, Dim, Shape, dim_product, promote
from gradcompile.ops import least


@dataclass(frozen=True, slots=True)
class Span:
    """The places start, start + step, ... of an axis, `count` of them; start and count may be named, as "n-1"."""

    start: Dim
    count: Dim
    step: int = 1

    @property
    def bounds(self) -> tuple[int, int] | None:
        """The smallest and the largest place; None if they aren't known, or there are none."""
        if isinstance(self.start, str) or isinstance(self.count, str) or self.count <= 0:
            return None
        ends = self.start, self.start + self.step * (self.count - 1)
        return min(ends), max(ends)


Index = tuple[Dim | Span | None, ...]
Tangents = tuple[Node | None, ...]


def no_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """Leaves and constants are given their type."""
    raise GraphError("a leaf or a constant needs its type given: use leaf or const")


LARGEST = 1 << 12  # places that are looked at one by one


def coverage(shape: Shape, indices: Sequence[Index]) -> np.ndarray | None:
    """How often each place is met by an index, along the axes that differ; None if that can't be seen."""
    axes = [k for k in range(len(shape)) if any(index[k] is not None for index in indices)]
    sizes = [shape[k] for k in axes]
    if not indices or any(isinstance(d, str) for d in sizes) or math.prod(map(int, sizes)) > LARGEST:
        return None
    found = np.zeros([int(d) for d in sizes], int)
    for index in indices:
        places = [index[k] for k in axes]
        if not any(isinstance(p, str) or (isinstance(p, Span) and p.bounds is None) for p in places):
            found[slices(tuple(places))] += 1
    return found


def left_axes(shape: Shape, index: Index) -> Shape:
    """The dimensions that an index leaves."""
    found = zip(shape, index, strict=True)
    return tuple(k.count if isinstance(k, Span) else d for d, k in found if k is None or isinstance(k, Span))


def is_inside(k: Dim | Span | None, dim: Dim) -> bool:
    """Whether all places are inside an axis, as far as both are known."""
    if isinstance(dim, str) or k is None or isinstance(k, str):
        return True
    if isinstance(k, int):
        return 0 <= k < dim
    return k.bounds is None or (k.step != 0 and k.bounds[0] >= 0 and k.bounds[1] < dim)


def item_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The entry, or the axes that None and spans keep."""
    shape, index = types[0].shape, params[0]
    if len(shape) != len(index):
        raise GraphError(f"item {index} of an array of type {types[0]}: one entry an axis is needed")
    for dim, k in zip(shape, index, strict=True):
        if not is_inside(k, dim):
            raise GraphError(f"item {index} of an array of type {types[0]}: {k} is outside an axis of {dim}")
    return ArrayType(left_axes(shape, index), types[0].dtype)


def slices(index: Index) -> tuple[Any, ...]:
    """The index as NumPy writes it."""
    return tuple(slice(None) if k is None else stretch(k) if isinstance(k, Span) else k for k in index)


def stretch(span: Span) -> slice:
    """A span, with numbers for its names, as a slice."""
    if span.bounds is None:
        return slice(0, 0)
    low, high = span.bounds
    return slice(low, high + 1, span.step) if span.step > 0 else slice(high, low - 1 if low else None, span.step)


def item(x: Any, index: Index) -> Any:
    """x[index], None for a whole axis."""
    return np.asarray(x)[slices(index)]


def again(n: Node, tangents: Tangents) -> Node:
    """The pushforward of an op that is linear in its first argument alone: the same op, of the tangent."""
    tangent = tangents[0]
    return zeros_like(n) if tangent is None else apply(n.op.name, tangent, *n.args[1:], params=n.params)


def assemble_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The given shape, if every value fits its place."""
    shape, indices = params
    if len(types) != len(indices) or not types:
        raise GraphError(f"assemble got {len(types)} values for {len(indices)} places")
    for t, index in zip(types, indices, strict=True):
        if t.shape not in ((), left_axes(shape, index)):
            raise GraphError(f"assemble puts a value of type {t} at {index} of shape {shape}")
    return ArrayType(tuple(shape), promote(*(t.dtype for t in types)))


def assemble(*args: Any) -> Any:
    """Zeros of a shape, with values in their places."""
    *values, shape, indices = args
    result = np.zeros(shape, np.result_type(*map(np.asarray, values)))
    for value, index in zip(values, indices, strict=True):
        result[slices(index)] += value
    return result


def assemble_jvp(n: Node, tangents: Tangents) -> Node:
    """The tangents in the places of the values."""
    pairs = [(t, index) for t, index in zip(tangents, n.params[1], strict=True) if t is not None]
    if not pairs:
        return zeros_like(n)
    return apply("assemble", *(t for t, _ in pairs), params=(n.params[0], tuple(index for _, index in pairs)))


def places(params: Params, axes: int) -> tuple[int, ...]:
    """Where the argument's axes stand in the result: last, unless the second parameter says other."""
    last = len(params[0])
    result: tuple[int, ...] = params[1] if len(params) > 1 else tuple(range(last - axes, last))
    return result


def broadcast_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The given shape, of which the argument's must be a part."""
    shape, own = params[0], types[0].shape
    at = places(params, len(own))
    if len(at) != len(own) or any(not 0 <= k < len(shape) or shape[k] != d for k, d in zip(at, own, strict=True)):
        raise GraphError(f"a value of type {types[0]} does not repeat to shape {shape} with its axes at {at}")
    return ArrayType(tuple(shape), types[0].dtype)


def repeat(x: Any, shape: tuple[int, ...], at: tuple[int, ...] | None = None) -> Any:
    """x repeated over the axes that it lacks."""
    if at is not None:
        x = np.expand_dims(x, tuple(k for k in range(len(shape)) if k not in at))
    return np.broadcast_to(x, shape)


def broadcast_vjp(g: Node, n: Node) -> Tangents:
    """The sum over the axes that were added; those of one entry are taken out."""
    at, shape = places(n.params, len(n.args[0].type.shape)), n.type.shape
    index = tuple(0 if d == 1 and k not in at else None for k, d in enumerate(shape))
    left = [k for k, i in enumerate(index) if i is None]
    axes = tuple(j for j, k in enumerate(left) if k not in at)
    g = part_at(g, index) if len(left) < len(index) else g
    return (sum_over(g, axes) if axes else g,)


def transpose_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The axes in another order: axis k of the result is axis params[0][k] of the argument."""
    (order,), shape = params, types[0].shape
    if sorted(order) != list(range(len(shape))):
        raise GraphError(f"transpose of a value of type {types[0]} by {order}: each axis is named once")
    return ArrayType(tuple(shape[k] for k in order), types[0].dtype)


def transpose_vjp(g: Node, n: Node) -> Tangents:
    """The axes put back."""
    order = n.params[0]
    return (permute(g, tuple(order.index(k) for k in range(len(order)))),)


def reshape_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The given shape, with as many entries."""
    shape = tuple(params[0])
    if dim_product(*shape) != dim_product(*types[0].shape):
        raise GraphError(f"reshape of a value of type {types[0]} to {shape}: the numbers of entries differ")
    return ArrayType(shape, types[0].dtype)


def cast_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The same shape in another dtype."""
    return ArrayType(types[0].shape, params[0])


def cast(x: Any, dtype: str) -> Any:
    """x in a dtype; numbers of mpmath lose no digits, so that float32 is not rounded to in high precision."""
    x = np.asarray(x)
    return x if x.dtype == object and dtype.startswith("float") else x.astype(dtype)


def cast_vjp(g: Node, n: Node) -> Tangents:
    """The adjoint in the argument's dtype, if both are floats."""
    back = n.args[0].type.dtype
    floats = n.type.dtype.startswith("float") and back.startswith("float")
    return (astype(g, back) if floats else None,)


def cast_jvp(n: Node, tangents: Tangents) -> Node:
    """The tangent in the node's dtype, zeros if there is none."""
    floats = n.type.dtype.startswith("float") and n.args[0].type.dtype.startswith("float")
    return again(n, tangents) if floats else zeros_like(n)


def unbound(*args: Any) -> Any:
    """A leaf's value comes from the caller."""
    raise GraphError(f"no value was given for the leaf {args[0]!r}")


is_item = named("item")  # an entry or a part of an array: its param is the index
is_assemble = named("assemble")  # an array put together: its params are the shape, and an index for each part
is_broadcast = named("broadcast")  # a value repeated: its params are the shape, and the places of its own axes in it
is_transpose = named("transpose")  # an array with its axes in another order, its param
is_reshape = named("reshape")  # entries in another shape, its param
is_iota = named("iota")  # 0, 1, 2, ...: its param is the length


register(Op("leaf", no_type, unbound, arity=0, cost=0, derivative="1 in itself", accuracy="exact",
            is_leaf=True, typed=True, keeps_finite=True,
            doc="a named value from outside"))  # fmt: skip
register(Op("const", no_type, lambda value: value, arity=0, cost=0, derivative="0", accuracy="exact",
            is_const=True, typed=True, keeps_finite=True,
            doc="a number"))  # fmt: skip
register(Op("item", item_type, item, is_linear=True, cost=0, jvp=again,
            vjp=lambda g, n: (apply("assemble", g, params=(n.args[0].type.shape, n.params)),),
            derivative="the transpose is assemble", accuracy="exact",
            has_dims=True, is_view=True, is_alias=True, shows_entries=True, picks_entries=True, keeps_finite=True,
            least=least.of_first, array_name="part",
            doc="an entry or a part of an array; for each axis a place, a span, or None for all"))  # fmt: skip
register(Op("assemble", assemble_type, assemble, vjp=lambda g, n: tuple(part_at(g, index) for index in n.params[1]),
            jvp=assemble_jvp, is_linear=True, cost=0, arity=None,
            derivative="the transpose takes the items", accuracy="exact",
            has_dims=True, places_entries=True, transpose_copies=True, keeps_finite=True, array_name="joined",
            in_memory=True, in_floats=True,
            doc="an array with these entries or parts, added where they overlap, zero elsewhere"))  # fmt: skip
register(Op("broadcast", broadcast_type, repeat, vjp=broadcast_vjp, jvp=again, is_linear=True, cost=0,
            derivative="the transpose sums", accuracy="exact",
            has_dims=True, is_view=True, shows_entries=True, keeps_finite=True, least=least.of_first,
            keeps_literals=True, array_name="repeated",
            doc="a value repeated over the axes it lacks"))  # fmt: skip
register(Op("transpose", transpose_type, np.transpose, vjp=transpose_vjp, jvp=again, is_linear=True, cost=0,
            derivative="the transpose puts the axes back", accuracy="exact",
            is_view=True, is_alias=True, shows_entries=True, transpose_copies=True, keeps_finite=True,
            least=least.of_first, array_name="turned",
            doc="the axes in another order: axis k was axis order[k]"))  # fmt: skip
register(Op("reshape", reshape_type, np.reshape, vjp=lambda g, n: (reshape_to(g, n.args[0].type.shape),), jvp=again,
            is_linear=True, cost=0, derivative="the transpose reshapes back", accuracy="exact",
            has_dims=True, is_view=True, is_alias=True, shows_entries=True, transpose_copies=True, keeps_finite=True,
            least=least.of_first, array_name="reshaped",
            doc="the entries, row by row, in another shape"))  # fmt: skip
register(Op("iota", lambda _, params: ArrayType((params[0],), "int64"), np.arange, partials=lambda n: (), arity=0,
            cost=0, derivative="0", accuracy="exact", has_dims=True, keeps_finite=True, least=least.zero,
            doc="0, 1, 2, ... along an axis of the given length"))  # fmt: skip
register(Op("cast", cast_type, cast, vjp=cast_vjp, jvp=cast_jvp, is_linear=True, derivative="1 between floats, else 0",
            accuracy="correctly rounded",
            shows_entries=True, entrywise=True, keeps_finite=True,
            doc="the value in another dtype; toward zero if that is whole"))  # fmt: skip
