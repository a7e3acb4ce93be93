"""Structural ops: leaves, constants, and the linear ops that take arrays apart and put them together."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gradcompile import ir
from gradcompile.errors import GraphError
from gradcompile.ops.record import Op, Params, register
from gradcompile.types import ArrayType, Shape, promote

if TYPE_CHECKING:
    from gradcompile.ir import Node

Index = tuple[int | None, ...]
Tangents = tuple["Node | None", ...]


def no_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """Leaves and constants are given their type."""
    raise GraphError("a leaf or a constant needs its type given: use ir.leaf or ir.const")


def left_axes(shape: Shape, index: Index) -> Shape:
    """The dimensions that an index leaves."""
    return tuple(d for d, k in zip(shape, index, strict=True) if k is None)


def item_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The entry, or the axes that None keeps."""
    shape, index = types[0].shape, params[0]
    if len(shape) != len(index):
        raise GraphError(f"item {index} of an array of type {types[0]}: one entry an axis is needed")
    for dim, k in zip(shape, index, strict=True):
        if k is not None and isinstance(dim, int) and not 0 <= k < dim:
            raise GraphError(f"item {index} of an array of type {types[0]}: {k} is outside 0 to {dim - 1}")
    return ArrayType(left_axes(shape, index), types[0].dtype)


def slices(index: Index) -> tuple[Any, ...]:
    """The index as NumPy writes it."""
    return tuple(slice(None) if k is None else k for k in index)


def item(x: Any, index: Index) -> Any:
    """x[index], None for a whole axis."""
    return np.asarray(x)[slices(index)]


def item_vjp(g: "Node", n: "Node") -> Tangents:
    """Zeros, with the adjoint in the entry's place."""
    return (ir.apply("assemble", g, params=(n.args[0].type.shape, n.params)),)


def item_jvp(n: "Node", tangents: Tangents) -> "Node":
    """The entry of the tangent."""
    tangent = tangents[0]
    if tangent is None:
        return filled(n.type)
    return ir.apply("item", tangent, params=n.params)


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


def assemble_vjp(g: "Node", n: "Node") -> Tangents:
    """Each value gets the adjoint's entry at its place."""
    return tuple(ir.apply("item", g, params=(index,)) for index in n.params[1])


def assemble_jvp(n: "Node", tangents: Tangents) -> "Node":
    """The tangents in the places of the values."""
    pairs = [(t, index) for t, index in zip(tangents, n.params[1], strict=True) if t is not None]
    if not pairs:
        return filled(n.type)
    return ir.apply("assemble", *(t for t, _ in pairs), params=(n.params[0], tuple(index for _, index in pairs)))


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


def broadcast_vjp(g: "Node", n: "Node") -> Tangents:
    """The sum over the axes that were added."""
    at = places(n.params, len(n.args[0].type.shape))
    axes = tuple(k for k in range(len(n.type.shape)) if k not in at)
    return (ir.apply("sum", g, params=(axes,)) if axes else g,)


def broadcast_jvp(n: "Node", tangents: Tangents) -> "Node":
    """The tangent, repeated."""
    tangent = tangents[0]
    return filled(n.type) if tangent is None else ir.apply("broadcast", tangent, params=n.params)


def filled(type: ArrayType) -> "Node":
    """Zeros of a type."""
    zero = ir.const(0.0, type.dtype)
    return ir.apply("broadcast", zero, params=(type.shape,)) if type.shape else zero


def unbound(*args: Any) -> Any:
    """A leaf's value comes from the caller."""
    raise GraphError(f"no value was given for the leaf {args[0]!r}")


register(Op("leaf", no_type, unbound, arity=0, cost=0, derivative="1 in itself", accuracy="exact",
            doc="a named value from outside"))  # fmt: skip
register(Op("const", no_type, lambda value: value, arity=0, cost=0, derivative="0", accuracy="exact",
            doc="a number"))  # fmt: skip
register(Op("item", item_type, item, vjp=item_vjp, jvp=item_jvp, cost=0, derivative="the transpose is assemble",
            accuracy="exact", doc="one entry of an array; None in the index keeps the axis"))  # fmt: skip
register(Op("assemble", assemble_type, assemble, vjp=assemble_vjp, jvp=assemble_jvp, cost=0, arity=None,
            derivative="the transpose takes the items", accuracy="exact",
            doc="an array with these entries, zero elsewhere"))  # fmt: skip
register(Op("broadcast", broadcast_type, repeat, vjp=broadcast_vjp, jvp=broadcast_jvp, cost=0,
            derivative="the transpose sums", accuracy="exact",
            doc="a value repeated over the axes it lacks"))  # fmt: skip
