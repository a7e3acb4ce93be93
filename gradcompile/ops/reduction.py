"""Reductions: the sum over axes, and the number of entries along one, from which means are made."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gradcompile import ir
from gradcompile.ops.record import Op, Params, register
from gradcompile.types import ArrayType

if TYPE_CHECKING:
    from gradcompile.ir import Node


def sum_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The axes that are left."""
    return ArrayType(tuple(d for k, d in enumerate(types[0].shape) if k not in params[0]), types[0].dtype)


def sum_vjp(g: "Node", n: "Node") -> tuple["Node | None", ...]:
    """Every entry of the sum's argument gets the sum's adjoint."""
    shape = n.args[0].type.shape
    left = tuple(k for k in range(len(shape)) if k not in n.params[0])
    trailing = left == tuple(range(len(shape) - len(left), len(shape)))
    return (ir.apply("broadcast", g, params=(shape,) if trailing else (shape, left)),)


def sum_jvp(n: "Node", tangents: tuple["Node | None", ...]) -> "Node":
    """The sum of the tangents, zeros left implicit in a tangent that is a broadcast of less."""
    (tangent,) = tangents
    shape = n.args[0].type.shape
    if tangent is None or tangent.type.shape != shape:
        tangent = ir.apply("broadcast", tangent or ir.const(0.0, n.type.dtype), params=(shape,))
    return ir.apply("sum", tangent, params=n.params)


def size_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """A scalar of the argument's float dtype, so that a mean keeps it."""
    return ArrayType((), types[0].dtype if types[0].dtype.startswith("float") else "float64")


def size(x: Any, axis: int) -> Any:
    """The number of entries along an axis."""
    return np.float64(np.shape(x)[axis])


register(Op("sum", sum_type, lambda x, axes: np.sum(x, axis=axes), vjp=sum_vjp, jvp=sum_jvp, sympy="Sum",
            derivative="the transpose repeats the adjoint over the axes", accuracy="the error grows with log n",
            doc="sum over the axes"))  # fmt: skip
register(Op("size", size_type, size, partials=lambda n: (None,), cost=0, derivative="none", accuracy="exact",
            doc="number of entries along the axis"))  # fmt: skip
