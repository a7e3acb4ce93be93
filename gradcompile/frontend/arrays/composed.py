"""NumPy's functions that are written in others."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, lift, lift_all
from gradcompile.frontend.arrays.shapes import at_least, moveaxis, stack
from gradcompile.frontend.arrays.ufuncs import function
from gradcompile.ir.algebra import reshape_to
from gradcompile.ir.types import dim_product


@function(np.select)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0.0) -> Array:
    """Of each entry the first choice whose condition holds; no gradient leaks from the others."""
    if len(condlist) != len(choicelist) or not condlist:
        raise ExpressionError(f"np.select has {len(condlist)} conditions and {len(choicelist)} choices")
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = np.where(condition, choice, result)
    return Array(lift(result))


@function(np.kron)
def kron(a: Any, b: Any) -> Array:
    """Each entry of a times b, block by block; the one with fewer axes gets axes in front."""
    nodes = lift_all(a, b)
    ndim = max(len(n.type.shape) for n in nodes)
    x, y = (Array(at_least(n, ndim)) for n in nodes)
    pairs = x[tuple([slice(None), None] * ndim)] * y[tuple([None, slice(None)] * ndim)]
    shape = tuple(map(dim_product, x.node.type.shape, y.node.type.shape))
    return Array(reshape_to(pairs.node, shape))


@function(np.linalg.cross)
def vector_product(x1: Any, x2: Any, *, axis: int = -1) -> Any:
    """The vector product along an axis of three entries."""
    if {np.shape(x)[axis] for x in (x1, x2)} != {3}:
        raise ExpressionError("np.linalg.cross takes vectors of three entries along the axis")
    return cross(x1, x2, axis=axis)


@function(np.cross)
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """The vector product along an axis of two or three entries; of two and two the third entry alone."""
    ends = (axisa, axisb, axisc) if axis is None else (axis,) * 3
    x, y = (moveaxis(Array(n), k, -1) for n, k in zip(lift_all(a, b), ends, strict=False))
    if {x.shape[-1], y.shape[-1]} - {2, 3}:
        raise ExpressionError("np.cross takes vectors of two or three entries along the axis")
    (p, q, *r), (s, t, *u) = (list(moveaxis(v, -1, 0)) for v in (x, y))
    if not r and not u:
        return p * t - q * s
    third, other = (r[0] if r else 0.0 * p), (u[0] if u else 0.0 * s)
    return stack(np.broadcast_arrays(q * other - third * t, third * s - p * other, p * t - q * s), axis=ends[2])
