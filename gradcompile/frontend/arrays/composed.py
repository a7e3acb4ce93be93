"""NumPy's functions that are written in others."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, lift, lift_all
from gradcompile.frontend.arrays.shapes import stack
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
    """Each entry of a times b, block by block, for arrays of as many axes."""
    x, y = map(Array, lift_all(a, b))
    if x.ndim != y.ndim:
        raise ExpressionError(f"np.kron of {x.ndim} and {y.ndim} axes: give both as many, by x[None]")
    pairs = x[tuple([slice(None), None] * x.ndim)] * y[tuple([None, slice(None)] * y.ndim)]
    shape = tuple(map(dim_product, x.node.type.shape, y.node.type.shape))
    return Array(reshape_to(pairs.node, shape))


@function(np.cross)
def cross(a: Any, b: Any) -> Array:
    """The vector product along the last axis, which has three entries."""
    x, y = map(Array, lift_all(a, b))
    if not x.ndim or not y.ndim or x.shape[-1] != 3 or y.shape[-1] != 3:
        raise ExpressionError("np.cross takes vectors of three entries along the last axis")
    (p, q, r), (s, t, u) = ([v[..., k] for k in range(3)] for v in (x, y))
    return stack([q * u - r * t, r * s - p * u, p * t - q * s], axis=-1)


@function(np.polyval)
def polyval(p: Any, x: Any) -> Array:
    """The polynomial with these coefficients, the highest power first, by Horner's scheme."""
    coefficients, at = map(Array, lift_all(p, x))
    result: Array = at * 0.0
    for c in coefficients:
        result = result * at + c
    return result


@function(np.nansum)
def nansum(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum over axes of what is not NaN."""
    x = Array(lift(a))
    return np.sum(np.where(np.isnan(x), 0.0, x), axis=axis, keepdims=keepdims)


@function(np.nanmean)
def nanmean(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean over axes of what is not NaN; NaN where all is."""
    x = Array(lift(a))
    there = np.sum(np.where(np.isnan(x), 0.0, 1.0), axis=axis, keepdims=keepdims)
    return nansum(x, axis, keepdims) / there
