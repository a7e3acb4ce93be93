"""NumPy's functions of samples of a function: gradients, interpolation, places in sorted arrays, filters."""

from collections.abc import Sequence
from typing import Any

import numpy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, lift, lift_all
from gradcompile.frontend.arrays.places import picked
from gradcompile.frontend.arrays.shapes import Axis, axes_of, axis_of, margins, moveaxis, ravel
from gradcompile.frontend.arrays.ufuncs import arithmetic, floating, function
from gradcompile.ir.core import Node, apply
from gradcompile.ir.types import Dim

np: Any = numpy  # whose stubs know numbers alone

# Differences


@function(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Axis = None, edge_order: int = 1) -> Any:
    """Central differences along axes, of the first or second order at the ends."""
    x = Array(floating(lift(f)))
    axes = axes_of(axis, x.ndim) if axis is None or isinstance(axis, tuple | list) else (axis_of(axis, x.ndim),)
    steps = list(varargs) if varargs else [1.0]
    steps = steps * len(axes) if len(steps) == 1 else steps
    if len(steps) != len(axes):
        raise ExpressionError(f"np.gradient has {len(steps)} spacings for {len(axes)} axes")
    found = [slope(x, k, h, edge_order) for k, h in zip(axes, steps, strict=True)]
    return found[0] if len(found) == 1 else tuple(found)


def slope(x: Array, k: int, spacing: Any, edge_order: int) -> Any:
    """Central differences along one axis, by a spacing or by the places of the entries."""
    f = moveaxis(x, k, -1)
    if isinstance(f.shape[-1], int) and f.shape[-1] < edge_order + 1:
        raise ExpressionError(f"axis {k} of shape {x.shape} has too few entries; {edge_order + 1} are needed")
    if np.ndim(spacing):
        h = np.diff(Array(lift(spacing)))
        before, after = h[:-1], h[1:]
    else:
        h = np.ones_like(f, shape=(3,)) * spacing
        before = after = h[0]
    down, up, both = after / before, before / after, before + after
    inner = (up * (f[..., 2:] - f[..., 1:-1]) + down * (f[..., 1:-1] - f[..., :-2])) / both
    if not np.ndim(spacing):
        inner = (f[..., 2:] - f[..., :-2]) / (2.0 * before)
    first, last = (f[..., 1] - f[..., 0]) / h[0], (f[..., -1] - f[..., -2]) / h[-1]
    if edge_order == 2:
        first = at_the_end([f[..., j] for j in range(3)], h[0], h[1])
        last = -at_the_end([f[..., -1 - j] for j in range(3)], h[-1], h[-2])
    return moveaxis(np.concatenate([first[..., None], inner, last[..., None]], axis=-1), -1, k)


def at_the_end(f: Sequence[Array], h: Any, g: Any) -> Any:
    """The one-sided difference of the second order, of three neighbours h and g apart."""
    return -(2.0 * h + g) / (h * (h + g)) * f[0] + (h + g) / (h * g) * f[1] - h / (g * (h + g)) * f[2]


@function(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Differences of neighbours, with numbers before and after them."""
    found = np.diff(ravel(ary))
    ends = [None if e is None else ravel(Array(lift(e))) for e in (to_begin, to_end)]
    parts = [p for p in (ends[0], found, ends[1]) if p is not None]
    return np.concatenate(parts) if len(parts) > 1 else found


# Places in sorted arrays


@function(np.searchsorted)
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    """Where numbers belong in a rising array, before equal ones or behind them; no derivative."""
    if side not in ("left", "right"):
        raise ExpressionError(f"side={side!r}: 'left' or 'right' is needed")
    table, value = (Array(arithmetic(n)) for n in lift_all(a, v))
    table = table if sorter is None else table[sorter]
    count = known_length(table)
    place = np.zeros_like(value, dtype="int64")
    for step in [1 << k for k in reversed(range(count.bit_length()))]:
        probe = place + step
        entry = entry_at(table.node, np.minimum(probe, count) - 1)
        is_before = entry < value if side == "left" else ~(value < entry)
        place = np.where((probe <= count) & is_before, probe, place)
    return np.where(value != value, count, place) if value.dtype.kind == "f" else place


def known_length(table: Array) -> int:
    """The length of a table; ExpressionError if it is named."""
    if table.ndim != 1 or isinstance(table.shape[0], str):
        raise ExpressionError(f"a table of shape {table.shape}: a vector of known length is needed")
    return table.shape[0]


def entry_at(table: Node, place: Array) -> Any:
    """Entries of a vector at places that are inside it."""
    return Array(picked(table, [place.node], 0, known={place.node}))


function(method="searchsorted")(lambda a, v, side="left", sorter=None: searchsorted(a, v, side, sorter))


@function(np.digitize)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """Which interval between rising numbers, or falling ones, each entry is in; no derivative."""
    side = "left" if right else "right"
    if not isinstance(bins, Array) and len(bins) > 1 and bins[0] > bins[-1]:
        return len(bins) - searchsorted(np.flip(bins), x, "right" if right else "left")
    return searchsorted(bins, x, side)


@function(np.interp)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: float | None = None) -> Any:
    """The values at x of the line through the points (xp, fp), xp rising; beyond them those of the ends."""
    at, places, values = (Array(floating(n)) for n in lift_all(x, xp, fp))
    count = known_length(values)
    if period is not None:
        order = np.argsort(places % period)
        places, values, at = (places % period)[order], values[order], at % period
        places = np.concatenate([places[-1:] - period, places, places[:1] + period])
        values, left, right = np.concatenate([values[-1:], values, values[:1]]), None, None
        count = count + 2
    above = np.clip(searchsorted(places, at, "right"), 1, count - 1) if count > 1 else np.zeros_like(at, dtype=int)
    below = above - 1 if count > 1 else above
    x0, x1, f0, f1 = (entry_at(t.node, k) for t in (places, values) for k in (below, above))
    width = x1 - x0
    inside = f0 + np.where(width == 0.0, 0.0, (at - x0) / np.where(width == 0.0, 1.0, width)) * (f1 - f0)
    first, last = (values[k] if end is None else end for k, end in ((0, left), (-1, right)))
    found = np.where(at < places[0], first, np.where(at > places[-1], last, inside))
    return np.where(at == places[-1], values[-1], found)


@function(np.histogram)
def histogram(a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> tuple[Any, ...]:
    """How many entries are in each interval, or the sum of their weights, whose derivative it has; and the edges."""
    x = ravel(a)
    edges = histogram_bin_edges(x, bins, range)
    edges = Array(lift(edges))
    count = known_length(edges) - 1
    place = np.where(x == edges[-1], count, searchsorted(edges, x, "right")) - 1
    is_in = place[:, None] == np.arange(count)
    total = np.sum(is_in if weights is None else np.where(is_in, ravel(weights)[:, None], 0.0), axis=0)
    if density:
        total = total / np.diff(edges) / np.sum(1.0 * total)
    return total, edges


@function(np.histogram_bin_edges)
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """The edges of intervals of one width, or those that are given."""
    if isinstance(bins, str):
        raise ExpressionError(f"bins={bins!r} depend on the entries; give their number or their edges")
    if np.ndim(bins):
        return bins
    low, high = (np.min(a), np.max(a)) if range is None else range
    return np.linspace(low, high, int(bins) + 1)


@function(np.bincount)
def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each number from 0 to minlength - 1 occurs, or the sum of its weights."""
    if not isinstance(x, Array):
        minlength = max(minlength, int(np.max(x, initial=-1)) + 1)
    elif not minlength:
        raise ExpressionError("the largest number is not known before the call; give minlength=, one more than it")
    is_it = Array(lift(x, "int64"))[:, None] == np.arange(minlength)
    return np.sum(is_it if weights is None else np.where(is_it, ravel(weights)[:, None], 0.0), axis=0)


# Filters


@function(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """The sums of a[k - j]*v[j]: where the two overlap at all, in the middle of these, or where they do wholly."""
    x, w = vectors(a, v)
    if not isinstance(w.shape[0], int) or (isinstance(x.shape[0], int) and w.shape[0] > x.shape[0]):
        x, w = w, x
    return slid(x, np.flip(w), mode)


@function(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """The sums of a[k + j]*v[j]."""
    x, w = vectors(a, v)
    if isinstance(x.shape[0], int) and isinstance(w.shape[0], int) and w.shape[0] > x.shape[0]:
        return np.flip(slid(w, x, mode))
    return slid(x, w, mode)


def vectors(*given: Any) -> list[Any]:
    """Vectors of floats; ExpressionError for other ranks, or empty ones."""
    found = [Array(floating(arithmetic(n))) for n in lift_all(*given)]
    found = [x if x.ndim else x[None] for x in found]
    if any(x.ndim != 1 or x.shape[0] == 0 for x in found):
        raise ExpressionError(f"vectors are needed, not shapes {' and '.join(str(x.shape) for x in found)}")
    return found


def slid(x: Array, w: Array, mode: str) -> Any:
    """The product of a vector and each window of another."""
    size = w.shape[0]
    if isinstance(size, str):
        raise ExpressionError("of two vectors that slide along each other one needs a known length")
    widths = {"full": (size - 1, size - 1), "same": (size // 2, (size - 1) // 2), "valid": (0, 0)}
    if mode not in widths:
        raise ExpressionError(f"mode={mode!r}: 'full', 'same' or 'valid' is needed")
    return windows(margins(x.node, [widths[mode]]), 0, size) @ w


def windows(n: Node, axis: int, size: int) -> Any:
    """The windows of so many entries along an axis, each along the axis behind it."""
    return Array(apply("window", n, params=(axis, size, 1, 1)))


@function(np.lib.stride_tricks.sliding_window_view)
def sliding_window_view(x: Any, window_shape: Any, axis: Axis = None, **_: Any) -> Any:
    """The windows along axes, each along new last axes."""
    n = lift(x)
    ndim = len(n.type.shape)
    axes = axes_of(axis, ndim) if axis is None or isinstance(axis, tuple) else (axis_of(axis, ndim),)
    sizes: Sequence[Dim] = window_shape if isinstance(window_shape, tuple | list) else [window_shape]
    for k, size in zip(axes, sizes, strict=True):
        n = moveaxis(windows(n, k, int(size)), k + 1, -1).node
    return Array(n)
