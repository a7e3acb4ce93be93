"""NumPy's functions that put arrays together, in other shapes and orders, beside those of `shapes`."""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, length, lift, lift_all
from gradcompile.frontend.arrays.shapes import (
    at_least,
    axes_of,
    axis_of,
    flip,
    given_shape,
    is_by_columns,
    joined,
    margins,
    moveaxis,
    ravel,
    reshape,
    roll,
    split,
    stack,
    swapaxes,
    transposed,
    with_axes,
)
from gradcompile.frontend.arrays.ufuncs import function
from gradcompile.ir.algebra import astype
from gradcompile.ir.core import Node

np: Any = numpy  # whose stubs know numbers alone

# Ranks


def ranked(ndim: int) -> Callable[..., Any]:
    """A function that gives arrays at least so many axes; of three the array's are the middle ones."""

    def one(x: Any) -> Any:
        n = lift(x)
        if ndim == 3 and len(n.type.shape) in (1, 2):
            n = with_axes(with_axes(n, [0]) if len(n.type.shape) == 1 else n, [2])
        return Array(at_least(n, ndim))

    def at_least_so_many(*arys: Any) -> Any:
        """Arrays with axes of one entry put in."""
        return one(arys[0]) if len(arys) == 1 else tuple(map(one, arys))

    return at_least_so_many


atleast_1d, atleast_2d, atleast_3d = map(ranked, (1, 2, 3))
function(np.atleast_1d)(atleast_1d)
function(np.atleast_2d)(atleast_2d)
function(np.atleast_3d)(atleast_3d)


function(np.dstack)(lambda tup: Array(joined([atleast_3d(Array(n)).node for n in lift_all(*tup)], 2)))


@function(np.block)
def block(arrays: Any) -> Any:
    """An array of nested lists of blocks: the innermost lists are along the last axis."""

    def depth(x: Any) -> int:
        return 1 + max(map(depth, x), default=0) if isinstance(x, list) else 0

    def ranks(x: Any) -> int:
        return max(map(ranks, x), default=0) if isinstance(x, list) else np.ndim(x)

    levels = depth(arrays)
    width = max(levels, ranks(arrays))

    def built(x: Any, level: int) -> Node:
        if not isinstance(x, list):
            return at_least(lift(x), width)
        return joined([n.node for n in map(Array, lift_all(*(Array(built(v, level + 1)) for v in x)))],
                      width - levels + level)  # fmt: skip

    return Array(built(arrays, 0))


function(np.append)(lambda arr, values, axis=None: np.concatenate(lifted(arr, values), axis=axis))


def lifted(*given: Any) -> list[Any]:
    """Arrays, numbers and nested lists as symbolic arrays of one dtype."""
    return [Array(n) for n in lift_all(*given)]


def places(dim: Any, what: str, cure: str = "join slices") -> int:
    """A length that has to be known."""
    if isinstance(dim, str):
        raise ExpressionError(f"{what} along the named dimension {dim!r}: its length must be known; {cure}")
    return int(dim)


@function(np.delete)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """The array without entries at places that are known."""
    x = ravel(arr) if axis is None else Array(lift(arr))
    k = axis_of(axis or 0, x.ndim)
    kept = np.delete(np.arange(places(x.shape[k], "np.delete")), known(obj))
    return x[(*[slice(None)] * k, kept)]


def known(obj: Any) -> Any:
    """Places as numbers; ExpressionError if they are symbolic."""
    if isinstance(obj, Array):
        raise ExpressionError("places that are computed are not known before the call; give numbers")
    return obj


@function(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """The array with values put in before places that are known."""
    x, v = lifted(ravel(arr) if axis is None else arr, values)
    k = axis_of(axis or 0, x.ndim)
    n = places(x.shape[k], "np.insert")
    where = np.arange(n)[obj] if isinstance(obj, slice) else np.asarray(known(obj))
    count = where.size if where.ndim else (v.shape[0] if v.ndim == x.ndim and not (where.ndim or axis is None) else 1)
    if not where.ndim and v.ndim and axis is None:
        count = v.shape[0]
    order = np.insert(np.arange(n), obj, n + np.arange(count)) if where.ndim else np.insert(
        np.arange(n), int(where), n + np.arange(count))  # fmt: skip
    v = moveaxis(v, 0, k) if not where.ndim and v.ndim == x.ndim and axis is not None and v.ndim > 1 else v
    shape = (*x.shape[:k], count, *x.shape[k + 1 :])
    whole = np.concatenate([x, np.broadcast_to(v, shape)], axis=k)
    return whole[(*[slice(None)] * k, order)]


@function(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    """The entries, row by row and again from the first, in another shape."""
    x, shape = ravel(a), [int(d) for d in given_shape(new_shape)]
    size = places(x.shape[0], "np.resize")
    return reshape(x[np.arange(math.prod(shape)) % max(size, 1)] if size else np.zeros_like(x, shape=shape), shape)


# Taking apart


def splitter(axis: int, least: int) -> Callable[..., Any]:
    """A function that splits along an axis; of a vector hsplit takes the only one."""

    def parts(ary: Any, indices_or_sections: Any) -> list[Any]:
        """Parts along the axis."""
        if np.ndim(ary) < least:
            raise ExpressionError(f"an array of at least {least} axes is needed, not shape {np.shape(ary)}")
        return split(ary, indices_or_sections, min(axis, np.ndim(ary) - 1))

    return parts


for _function, _axis, _least in ((np.hsplit, 1, 1), (np.vsplit, 0, 2), (np.dsplit, 2, 3)):
    function(_function)(splitter(_axis, _least))


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """The entries along an axis."""
    return tuple(moveaxis(x, axis, 0))


if hasattr(np, "unstack"):  # since NumPy 2.1
    function(np.unstack)(unstack)


# Orders of axes


function(np.matrix_transpose, np.linalg.matrix_transpose)(lambda x, /: swapaxes(x, -1, -2))


@function(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """An axis moved to stand before another."""
    n = lift(a)
    ndim = len(n.type.shape)
    k = axis_of(axis, ndim)
    rest = [j for j in range(ndim) if j != k]
    at = start + ndim if start < 0 else start
    rest.insert(at - (at > k), k)
    return Array(transposed(n, rest))


@function(np.rot90)
def rot90(m: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """The plane of two axes turned by so many right angles."""
    i, j = (axis_of(a, np.ndim(m)) for a in axes)
    if i == j or len(axes) != 2:
        raise ExpressionError(f"axes={tuple(axes)!r}: two different axes are needed")
    if k % 4 == 2:
        return flip(m, (i, j))
    return swapaxes(flip(m, j), i, j) if k % 4 == 1 else flip(swapaxes(m, i, j), j) if k % 4 == 3 else Array(lift(m))


function(np.fft.fftshift)(lambda x, axes=None: shifted(x, axes, lambda n: n // 2))
function(np.fft.ifftshift)(lambda x, axes=None: shifted(x, axes, lambda n: -(n // 2)))


def shifted(x: Any, axes: Any, by: Callable[[int], int]) -> Any:
    """Axes rolled by a part of their lengths."""
    found = axes_of(axes, np.ndim(x))
    return roll(x, [by(places(np.shape(x)[k], "a shift")) for k in found], found)


# Grids


@function(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> list[Any]:
    """Vectors as arrays over all of their axes; with "xy" the first two are exchanged."""
    if indexing not in ("xy", "ij"):
        raise ExpressionError(f"indexing={indexing!r}: 'xy' or 'ij' is needed")
    vectors = [ravel(x) for x in lifted(*xi)]
    count = len(vectors)
    order = [1, 0, *range(2, count)] if indexing == "xy" and count > 1 else list(range(count))
    grids = [v[tuple(slice(None) if order[j] == k else None for j in range(count))] for k, v in enumerate(vectors)]
    return grids if sparse else list(np.broadcast_arrays(*grids))


@function(np.linspace)
def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None,
    axis: int = 0, *, device: Any = None,
) -> Any:  # fmt: skip
    """Evenly spaced numbers from start to stop."""
    first, last = np.broadcast_arrays(*(1.0 * x for x in lifted(start, stop)))
    gaps = num - 1 if endpoint else num
    t = (np.arange(num) / max(gaps, 1)).reshape(-1, *[1] * first.ndim)
    found = first * (1.0 - t) + last * t
    found = moveaxis(found, 0, axis)
    found = found if dtype is None else found.astype(dtype)
    return (found, (last - first) / gaps) if retstep else found


@function(np.logspace)
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Any:
    """Powers of the base with evenly spaced exponents."""
    found: Array = base ** linspace(start, stop, num, endpoint, axis=axis)
    return found if dtype is None else found.astype(dtype)


@function(np.geomspace)
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    """Numbers from start to stop, each the same multiple of the one before; both of one sign."""
    first, last = lifted(start, stop)
    sign = np.sign(1.0 * first)
    signs = sign * np.ones_like(last)
    signs = np.expand_dims(signs, axis) if signs.ndim else signs
    found = signs * np.exp(linspace(np.log(first * sign), np.log(last * sign), num, endpoint, axis=axis))
    return found if dtype is None else found.astype(dtype)


# Margins


@function(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    """The array with so many entries before and after each axis, of a kind that the mode says."""
    x = Array(lift(array))
    if isinstance(pad_width, dict):
        pad_width = [pad_width.get(k, pad_width.get(k - x.ndim, 0)) for k in range(x.ndim)]
        pad_width = [(w, w) if isinstance(w, int) else w for w in pad_width]
    widths = np.broadcast_to(np.asarray(pad_width, int), (x.ndim, 2)).tolist()
    if mode == "constant" and np.isscalar(value := options.get("constant_values", 0)) and len(options) <= 1:
        return Array(margins(x.node, widths, float(value)))
    if mode not in MARGINS:
        raise ExpressionError(f"np.pad with mode {mode!r}: one of {', '.join(sorted(MARGINS))} is needed")
    for k, (before, after) in enumerate(widths):
        if before or after:
            x = MARGINS[mode](x, k, (before, after), **options)
    return x


def around(x: Array, k: int, before: Any, after: Any) -> Any:
    """An array between two others along an axis."""
    return np.concatenate([before, x, after], axis=k)


def pair_of(value: Any, k: int, ndim: int) -> tuple[Any, Any]:
    """What an option of np.pad says about axis k: before it and after it."""
    if isinstance(value, Array) and not value.ndim:
        return value, value
    if not isinstance(value, tuple | list | np.ndarray):
        return value, value
    rows = value if isinstance(value[0], tuple | list | np.ndarray) else [value]
    row = rows[k] if len(rows) == ndim and len(rows) > 1 else rows[0]
    return (row[0], row[-1])


def strip(x: Array, k: int, width: int) -> tuple[Any, ...]:
    """The shape of an array with another length along axis k."""
    return (*x.shape[:k], width, *x.shape[k + 1 :])


def constant(x: Array, k: int, widths: tuple[int, int], constant_values: Any = 0) -> Any:
    """One number before, and one after."""
    ends = pair_of(constant_values, k, x.ndim)
    zeros = (np.zeros_like(x, shape=strip(x, k, w)) for w in widths)
    return around(x, k, *(z + v if isinstance(v, Array) or v else z for z, v in zip(zeros, ends, strict=True)))


def by_places(find: Callable[[int, int, int], Any]) -> Callable[..., Any]:
    """Margins that are entries of the array, at places found from its length and the widths."""

    def made(x: Array, k: int, widths: tuple[int, int], reflect_type: str = "even") -> Any:
        if reflect_type != "even":
            raise ExpressionError(f"np.pad with reflect_type={reflect_type!r} is not supported; join slices instead")
        return x[(*[slice(None)] * k, find(places(x.shape[k], "margins"), *widths))]

    return made


def mirrored_places(edge: int) -> Callable[[int, int, int], Any]:
    """Places that go back and forth; edge: whether the last entry is twice there."""

    def find(n: int, before: int, after: int) -> Any:
        period = max(2 * n - 2 + 2 * edge, 1)
        k = np.arange(-before, n + after) % period
        return np.minimum(k, period - edge - k if edge else period - k)

    return find


def linear_ramp(x: Array, k: int, widths: tuple[int, int], end_values: Any = 0) -> Any:
    """Evenly spaced numbers from the end of the array to another."""
    (low, high), (before, after) = pair_of(end_values, k, x.ndim), widths
    first, last = (x[(*[slice(None)] * k, j)] for j in (0, -1))
    ramp = [linspace(low + 0.0 * first, first, before, False, axis=k)] if before else []
    tail = [flip(linspace(high + 0.0 * last, last, after, False, axis=k), k)] if after else []
    return np.concatenate([*ramp, x, *tail], axis=k)


def by_statistic(of: Callable[..., Any]) -> Callable[..., Any]:
    """Margins of one value: a statistic of so many entries next to them, of all unless a number is given."""

    def made(x: Array, k: int, widths: tuple[int, int], stat_length: Any = None) -> Any:
        lengths = (None, None) if stat_length is None else pair_of(stat_length, k, x.ndim)
        parts = [slice(None, lengths[0]), slice(None if lengths[1] is None else -lengths[1], None)]
        values = [of(x[(*[slice(None)] * k, s)], axis=k, keepdims=True) for s in parts]
        return around(x, k, *(np.broadcast_to(v, strip(x, k, w)) for v, w in zip(values, widths, strict=True)))

    return made


MARGINS: dict[Any, Callable[..., Any]] = {
    "constant": constant,
    "empty": lambda x, k, widths: constant(x, k, widths),
    "edge": by_places(lambda n, before, after: np.clip(np.arange(-before, n + after), 0, n - 1)),
    "wrap": by_places(lambda n, before, after: np.arange(-before, n + after) % n),
    "reflect": by_places(mirrored_places(0)),
    "symmetric": by_places(mirrored_places(1)),
    "linear_ramp": linear_ramp,
    "mean": by_statistic(np.mean),
    "maximum": by_statistic(np.max),
    "minimum": by_statistic(np.min),
    "median": by_statistic(np.median),
}


# Functions of functions


@function(np.apply_along_axis)
def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """A function of vectors, called for each along an axis of an array of known lengths."""
    x = Array(lift(arr))
    k = axis_of(axis, x.ndim)
    lines = moveaxis(x, k, -1)
    shape = [places(d, "np.apply_along_axis") for d in lines.shape[:-1]]
    found = [Array(lift(func1d(lines[index], *args, **kwargs))) for index in np.ndindex(*shape)]
    whole = reshape(stack(found), (*shape, *found[0].shape))
    own = found[0].ndim
    return moveaxis(whole, range(len(shape), len(shape) + own), range(k, k + own)) if own else whole


@function(np.apply_over_axes)
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    """A function called along one axis after the other, which stay with one entry."""

    def over(x: Array, k: int) -> Any:
        found = func(x, k)
        return found if found.ndim == x.ndim else np.expand_dims(found, k)

    return reduce(over, axes if isinstance(axes, tuple | list) else [axes], Array(lift(a)))


@function(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """Of each entry the function, or the number, of the last condition that holds; 0 or one more where none does."""
    at = Array(lift(x))
    conditions = list(condlist) if isinstance(condlist, list | tuple) else [condlist]
    if len(funclist) not in (len(conditions), len(conditions) + 1):
        raise ExpressionError(f"np.piecewise has {len(conditions)} conditions and {len(funclist)} functions")
    values = [f(at, *args, **kw) if callable(f) else f for f in funclist]
    result = values[-1] if len(values) > len(conditions) else 0.0
    for condition, value in zip(conditions, values, strict=False):
        result = np.where(condition, value, result)
    return result + np.zeros_like(at)


@function(np.choose)
def choose(a: Any, choices: Any, mode: str = "raise") -> Any:
    """Of each entry the choice that its number says; by another number NaN, the nearest, or from the front again."""
    n, given = lift(a, "int64"), list(choices) if isinstance(choices, tuple | list) else list(Array(lift(choices)))
    index, count = Array(n), len(given)
    index = {"clip": np.clip(index, 0, count - 1), "wrap": index % count}.get(mode, index)
    result: Any = np.nan
    for k, value in enumerate(given):
        result = np.where(index == k, value, result)
    return Array(lift(result))


@function(np.compress)
def compress(condition: Any, a: Any, axis: int | None = None) -> Any:
    """The entries along an axis where a condition, of numbers, holds."""
    x = ravel(a) if axis is None else Array(lift(a))
    k = axis_of(axis or 0, x.ndim)
    return x[(*[slice(None)] * k, np.flatnonzero(known(condition)))]


function(method="compress")(lambda a, condition, axis=None: compress(condition, a, axis))
function(np.extract)(lambda condition, arr: compress(np.ravel(known(condition)), ravel(arr)))


function(np.diagflat)(lambda v, k=0: np.diag(ravel(v), k))  # A matrix with the entries on a diagonal


@function(np.put_along_axis)
def put_along_axis(*_: Any) -> Any:
    """Refused: symbolic arrays do not change."""
    raise ExpressionError("symbolic arrays do not change; write np.where(np.arange(n) == place, value, x)")


def known_sides(arr: Any) -> list[int]:
    """The lengths of a matrix, which have to be known."""
    return [places(d, "places") for d in arr.shape]


function(np.tril_indices_from)(lambda arr, k=0: np.tril_indices(known_sides(arr)[0], k, known_sides(arr)[1]))
function(np.triu_indices_from)(lambda arr, k=0: np.triu_indices(known_sides(arr)[0], k, known_sides(arr)[1]))
function(np.diag_indices_from)(lambda arr: np.diag_indices(places(arr.shape[0], "places"), arr.ndim))


@function(np.unravel_index)
def unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[Any, ...]:
    """The places along axes of entries that are counted row by row, or column by column."""
    turn = slice(None) if is_by_columns(order) else slice(None, None, -1)
    found, rest = [], Array(lift(indices, "int64"))
    for d in given_shape(shape)[turn][:-1]:
        size = Array(astype(length(d), "int64")) if isinstance(d, str) else d
        found.append(rest % size)
        rest = rest // size
    return tuple([*found, rest][turn])


@function(np.array_equal, np.array_equiv)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    """Whether two arrays have one shape and the same entries."""
    x, y = lifted(a1, a2)
    if x.shape != y.shape:
        return False
    same = x == y
    return np.all(same | ((x != x) & (y != y)) if equal_nan else same)
