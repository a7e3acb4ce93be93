"""NumPy's statistics: quantiles, covariances, and the functions that leave NaN out."""

from collections.abc import Callable
from typing import Any

import numpy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, Implementation, lift
from gradcompile.frontend.arrays.folds import cumprod
from gradcompile.frontend.arrays.indexing import sort, take_along_axis
from gradcompile.frontend.arrays.reductions import cumsum, prod, root, summed, var
from gradcompile.frontend.arrays.shapes import Axis, axes_of, reshape
from gradcompile.frontend.arrays.ufuncs import floating, function
from gradcompile.ir.types import dim_product

np: Any = numpy  # whose stubs know numbers alone

METHODS_OF_QUANTILES: dict[str, Callable[[Any, Any], Any]] = {  # the place among n sorted entries, from 0
    "linear": lambda n, q: q * (n - 1),
    "lower": lambda n, q: np.floor(q * (n - 1)),
    "higher": lambda n, q: np.ceil(q * (n - 1)),
    "nearest": lambda n, q: np.rint(q * (n - 1)),
    "midpoint": lambda n, q: 0.5 * (np.floor(q * (n - 1)) + np.ceil(q * (n - 1))),
    "inverted_cdf": lambda n, q: np.ceil(n * q) - 1,
    "hazen": lambda n, q: n * q - 0.5,
    "weibull": lambda n, q: (n + 1) * q - 1,
    "interpolated_inverted_cdf": lambda n, q: n * q - 1,
    "median_unbiased": lambda n, q: n * q + (q + 1) / 3 - 1,
    "normal_unbiased": lambda n, q: n * q + q / 4 + 3 / 8 - 1,
}


def behind(x: Any, axis: Axis) -> tuple[Any, ...]:
    """The array as floats with some axes put together as the last one, and which they were."""
    n = Array(floating(lift(x)))
    axes = axes_of(axis, n.ndim)
    rest = [k for k in range(n.ndim) if k not in axes]
    moved = n.transpose(*rest, *axes) if n.ndim > 1 else n
    length = dim_product(*(n.node.type.shape[k] for k in axes))
    return reshape(moved, (*(n.node.type.shape[k] for k in rest), length)), axes


@function(np.quantile)
def quantile(
    a: Any, q: Any, axis: Axis = None, *, method: str = "linear", keepdims: bool = False, overwrite_input: Any = None,
    weights: Any = None, interpolation: str | None = None
) -> Any:  # fmt: skip
    """The numbers below which so many of all entries are, along axes of known lengths; NaN if an entry is."""
    x, axes = behind(a, axis)
    rising = sort(x)
    found = at_quantiles(rising, q, length_of(x), method, weights)
    is_missing = np.isnan(rising[..., -1])
    return with_kept(np.where(is_missing, np.nan, found), axes, keepdims, np.ndim(q))


def length_of(x: Array) -> int:
    """The known length of the last axis."""
    if isinstance(x.shape[-1], str) or not x.shape[-1]:
        raise ExpressionError(f"quantiles need a length that is known, and not 0, along the axis, not shape {x.shape}; "
                              "give the dimension a number")  # fmt: skip
    return x.shape[-1]


def with_kept(found: Any, axes: tuple[int, ...], keepdims: bool, before: int) -> Any:
    """The result with the axes that were reduced, behind those of the quantiles, if they are to be kept."""
    result = Array(lift(found))
    return np.expand_dims(result, tuple(before + k for k in axes)) if keepdims else result


def at_quantiles(rising: Array, q: Any, count: Any, method: str, weights: Any = None) -> Any:
    """Quantiles of sorted entries along the last axis, of which the first so many count, in front."""
    if weights is not None:
        raise ExpressionError("quantiles with weights are not supported; use np.average, or sort and np.interp")
    if method not in METHODS_OF_QUANTILES:
        raise ExpressionError(f"method={method!r} of quantiles: one of {', '.join(METHODS_OF_QUANTILES)} is needed")
    if isinstance(q, Array) and q.ndim:
        return np.stack([at_quantiles(rising, p, count, method) for p in q])
    if np.ndim(q):
        return np.stack([at_quantiles(rising, p, count, method) for p in np.asarray(q)])
    place = np.clip(METHODS_OF_QUANTILES[method](count, q), 0, count - 1)
    low = np.floor(place)
    share = place - low
    below, above = (entries(rising, k) for k in (low, np.minimum(low + 1, count - 1)))
    if isinstance(share, float | np.floating) and share == 0:
        return below
    return np.where(share == 0, below, below + (above - below) * share)


def entries(rising: Array, place: Any) -> Any:
    """Entries along the last axis at a number, or at each line's own."""
    if not isinstance(place, Array):
        return rising[..., int(place)]
    index = place.astype("int64")
    spread = np.broadcast_to(index, rising.shape[:-1])
    return take_along_axis(rising, spread[..., None], -1)[..., 0]


function(np.percentile)(lambda a, q, axis=None, **options: quantile(a, in_hundredths(q), axis, **options))


def in_hundredths(q: Any) -> Any:
    """Percents as parts of 1."""
    return (q if isinstance(q, Array) or not np.ndim(q) else np.asarray(q)) / 100


@function(np.nanquantile)
def nanquantile(
    a: Any, q: Any, axis: Axis = None, *, method: str = "linear", keepdims: bool = False, overwrite_input: Any = None,
    weights: Any = None, interpolation: str | None = None
) -> Any:  # fmt: skip
    """Quantiles of what is not NaN; NaN where all is."""
    x, axes = behind(a, axis)
    length_of(x)
    count = np.sum(~np.isnan(x), axis=-1)
    found = at_quantiles(sort(x), q, np.maximum(1.0 * count, 1.0), method, weights)
    return with_kept(np.where(count == 0, np.nan, found), axes, keepdims, np.ndim(q))


function(np.nanpercentile)(lambda a, q, axis=None, **options: nanquantile(a, in_hundredths(q), axis, **options))


@function(np.nanmedian)
def nanmedian(a: Any, axis: Axis = None, overwrite_input: Any = None, keepdims: bool = False) -> Any:
    """The middle of the entries that are not NaN."""
    return nanquantile(a, 0.5, axis, keepdims=keepdims)


# Covariances


@function(np.cov)
def cov(
    m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None, fweights: Any = None,
    aweights: Any = None, *, dtype: Any = None
) -> Any:  # fmt: skip
    """The covariances of the rows, or of the columns."""

    def rows(x: Any) -> Any:
        found = Array(floating(lift(x)))
        found = found if found.ndim == 2 else found.reshape(1, -1) if found.ndim < 2 else found
        if found.ndim > 2:
            raise ExpressionError(f"a matrix or a vector is needed, not shape {found.shape}")
        return found if rowvar or np.ndim(x) < 2 else found.T

    x = rows(m) if y is None else np.concatenate([rows(m), rows(y)])
    less = (0 if bias else 1) if ddof is None else ddof
    w = weights_of(fweights, aweights)
    if w is None:
        residual, scale = x - np.mean(x, axis=1, keepdims=True), x.shape[1] - less
        return np.squeeze(residual @ residual.T / scale)
    total = np.sum(w)
    residual = x - (np.sum(x * w, axis=1) / total)[:, None]
    scale = total - less if aweights is None else total - less * np.sum(w * Array(lift(aweights))) / total
    return np.squeeze((residual * w) @ residual.T / (total if not less else scale))


def weights_of(fweights: Any, aweights: Any) -> Array | None:
    """The product of the two weights that there may be."""
    given = [Array(floating(lift(w))) for w in (fweights, aweights) if w is not None]
    return None if not given else given[0] if len(given) == 1 else given[0] * given[1]


@function(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """The correlations of the rows, or of the columns."""
    c = cov(x, y, rowvar)
    if not c.ndim:
        return c / c
    spread = np.sqrt(np.diag(c))
    return np.clip(c / spread[:, None] / spread[None, :], -1.0, 1.0)


# What leaves NaN out


def without(x: Any, fill: float) -> tuple[Any, ...]:
    """The array with a number in place of NaN, and where it has none."""
    n = Array(lift(x))
    there = ~np.isnan(n) if n.dtype.kind == "f" else np.ones_like(n, dtype=bool)
    return np.where(there, n, Array(lift(fill, n.node.type.dtype))), there


def leaving_out(reduction: Implementation, fill: float) -> Implementation:
    """A reduction, or a running one, to which NaN is a number that changes nothing."""

    def left_out(a: Any, axis: Axis = None, **options: Any) -> Any:
        """The reduction of what is not NaN."""
        return reduction(without(a, fill)[0], axis, **options)

    return left_out


for _function, _reduction, _fill in (
    (np.nansum, summed, 0.0), (np.nanprod, prod, 1.0), (np.nancumsum, cumsum, 0.0), (np.nancumprod, cumprod, 1.0)
):  # fmt: skip
    function(_function)(leaving_out(_reduction, _fill))


def largest_there(name: str, fill: float) -> Implementation:
    """The largest or smallest entry that is not NaN; NaN where all is."""

    def extreme(a: Any, axis: Axis = None, *, keepdims: bool = False, **options: Any) -> Any:
        """The extreme entry of those that are not NaN."""
        x, there = without(a, fill)
        best = getattr(np, name)(x, axis=axis, keepdims=keepdims, **options)
        return np.where(np.any(there, axis=axis, keepdims=keepdims), best, np.nan)

    return extreme


function(np.nanmax)(largest_there("max", -np.inf))
function(np.nanmin)(largest_there("min", np.inf))


@function(np.nanmean)
def nanmean(a: Any, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False, where: Any = True) -> Any:
    """The mean over axes of what is not NaN; NaN where all is."""
    x, there = without(a, 0.0)
    return np.mean(x, axis=axis, dtype=dtype, keepdims=keepdims, where=there & where)


@function(np.nanvar)
def nanvar(
    a: Any, axis: Axis = None, dtype: Any = None, *, ddof: float = 0, keepdims: bool = False, where: Any = True
) -> Any:
    """The variance over axes of what is not NaN; NaN where no entry is left, less ddof."""
    x, there = without(a, 0.0)
    found = var(x, axis, dtype, ddof=ddof, keepdims=keepdims, where=there & where)
    enough = np.sum(there & where, axis=axis, keepdims=keepdims) > ddof
    return np.where(enough, found, np.nan)


function(np.nanstd)(lambda a, axis=None, dtype=None, **options: Array(root(nanvar(a, axis, dtype, **options).node)))


# Sorting


function(np.partition)(lambda a, kth, axis=-1, **_: sort(a, axis))
function(np.argpartition, method="argpartition")(lambda a, kth, axis=-1, **_: np.argsort(a, axis=axis))
