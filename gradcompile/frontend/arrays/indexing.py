"""Indexing as NumPy's, by numbers, slices, new axes and integer arrays; and the functions that are made of it."""

from collections.abc import Container, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, lift
from gradcompile.frontend.arrays.places import picked
from gradcompile.frontend.arrays.reductions import total
from gradcompile.frontend.arrays.shapes import (
    Axis,
    axes_of,
    axis_of,
    column_and_row,
    ravel,
    transposed,
    with_axes,
)
from gradcompile.frontend.arrays.ufuncs import arithmetic, choose, elementwise, function, mirrored, number
from gradcompile.ir.algebra import arange, counting, expand, part_at
from gradcompile.ir.core import Node, apply, const
from gradcompile.ir.types import Dim, Shape, broadcast, dim_product, dim_sum
from gradcompile.ops.constant_index import is_table
from gradcompile.ops.reduction import none_missing
from gradcompile.ops.shape import Span

NEW = object()  # a new axis


class Mask(NamedTuple):
    """Places where a mask of numbers holds, and the length of the mask there."""

    places: Node
    length: int


Entry = Any  # of an index: an int, a slice, a node of integers, or NEW


def entries_of(key: Any, shape: Shape) -> list[Entry]:
    """An index with one entry an axis, and new axes between."""
    given = [e for k in (key if isinstance(key, tuple) else (key,)) for e in entries_at(k)]
    missing = len(shape) - sum(k is not NEW and k is not Ellipsis for k in given)
    if missing < 0:
        raise ExpressionError(f"{len(shape) - missing} indices for shape {shape}")
    if given.count(Ellipsis) > 1:
        raise ExpressionError("an index can have one ellipsis")
    at = next((j for j, k in enumerate(given) if k is Ellipsis), len(given))
    return [*given[:at], *[slice(None)] * missing, *given[at + 1 :]]


def entries_at(k: Any) -> list[Entry]:
    """The entries that a user writes as one: a mask of numbers is the places where it holds, along all of its axes."""
    if isinstance(k, list | np.ndarray) and not any(isinstance(v, Array) for v in np.ravel(np.asarray(k, object))):
        mask = np.asarray(k)
        if mask.dtype == bool and mask.ndim:
            return [Mask(entry(places), length) for places, length in zip(np.nonzero(mask), mask.shape, strict=True)]
    return [entry(k)]


def entry(k: Any) -> Entry:
    """One entry of an index as a user writes it."""
    if k is None:
        return NEW
    if k is Ellipsis or isinstance(k, slice):
        return k
    if isinstance(k, int | np.integer) and not isinstance(k, bool):
        return int(k)
    node = lift(k, "int64")
    if node.type.dtype == "bool":
        raise ExpressionError(
            "a symbolic mask picks a number of entries that is not known before the call; use np.where(mask, x, 0)"
        )
    if node.type.dtype != "int64":
        raise ExpressionError(f"an index has dtype {node.type.dtype}; integers are needed: x.astype('int64')")
    return node


def place(k: int, dim: Dim) -> Dim:
    """A number as a place, counted from the front; ExpressionError if it is outside."""
    if isinstance(dim, int) and not -dim <= k < dim:
        raise ExpressionError(f"index {k} is outside an axis of {dim}")
    return k if k >= 0 else dim_sum(dim, k)


def from_end(k: Any, dim: Dim) -> Any:
    """An end of a slice; the length less a number, as x.shape[0] - 1 is, counts from the end."""
    less = dim_sum(k, dim_product(-1, dim)) if isinstance(k, str) else k
    return less if isinstance(less, int) and less < 0 else k


def span(s: slice, dim: Dim) -> Span | None:
    """A slice as a span, None if it is the whole axis."""
    s = slice(from_end(s.start, dim), None if isinstance(dim, str) and s.stop == dim else from_end(s.stop, dim), s.step)
    if any(v is not None and not isinstance(v, int | np.integer) for v in (s.start, s.stop, s.step)):
        raise ExpressionError(f"a slice has whole numbers, not {s.start!r}:{s.stop!r}:{s.step!r}; use np.take")
    if isinstance(dim, int):
        start, stop, step = s.indices(dim)
        places = range(start, stop, step)
        return None if places == range(dim) else Span(start, len(places), step)
    if s.step == -1 and s.start is None and s.stop is None:
        return Span(dim_sum(dim, -1), dim, -1)
    if s.step not in (None, 1):
        raise ExpressionError(f"steps of {s.step} along the named dimension {dim!r}: its length must be known")
    if not s.start and s.stop is None:
        return None
    start_, stop_ = place(s.start or 0, dim), dim if s.stop is None else place(s.stop, dim)
    length = dim_sum(stop_, dim_product(-1, start_))
    return Span(start_, length if isinstance(length, str) else max(length, 0))


@function(Array.__getitem__)
def getitem(x: Array, key: Any) -> Array:
    """x[key]."""
    n, given = x.node, entries_of(key, x.shape)
    axes = [k for k in given if k is not NEW]
    check_masks(axes, x.shape)
    given, axes = ([k.places if isinstance(k, Mask) else k for k in ks] for ks in (given, axes))
    index = tuple(static(k, d) for k, d in zip(axes, n.type.shape, strict=True))
    if any(i is not None for i in index):
        n = part_at(n, index)
    arrays = [k for k in axes if isinstance(k, Node)]
    check_constant(axes, x.shape)
    advanced = [j for j, k in enumerate(given) if isinstance(k, Node | int)] if arrays else []
    together = advanced == list(range(advanced[0], advanced[-1] + 1)) if advanced else True
    left = [k for k in axes if not isinstance(k, int)]
    if arrays:
        n = gathered(n, [j for j, k in enumerate(left) if isinstance(k, Node)], arrays, together)
    return Array(with_axes(n, new_axes(given, advanced, together, arrays)))


def check_masks(axes: Sequence[Entry], shape: Shape) -> None:
    """Raise ExpressionError if a mask of numbers does not have the shape of what it picks from."""
    for k, dim in zip(axes, shape, strict=True):
        if isinstance(k, Mask) and k.length != dim:
            raise ExpressionError(f"a mask of {k.length} along an axis of {dim}: as many are needed")


def static(k: Entry, dim: Dim) -> Dim | Span | None:
    """The part of an index that is known before the call."""
    return None if isinstance(k, Node) else place(k, dim) if isinstance(k, int) else span(k, dim)


def check_constant(axes: Sequence[Entry], shape: Shape) -> None:
    """Raise ExpressionError if an index of numbers is outside its axis."""
    for k, dim in zip(axes, shape, strict=True):
        if isinstance(k, Node) and is_table(k) and isinstance(dim, int):
            values = k.params[0].array()
            if values.size and not -dim <= values.min() <= values.max() < dim:
                raise ExpressionError(f"an index from {values.min():g} to {values.max():g} is outside an axis of {dim}")


def gathered(n: Node, axes: Sequence[int], arrays: Sequence[Node], together: bool, known: Container[Node] = ()) -> Node:
    """Entries at integer arrays along axes: in place of the axes if these stand together, else in front.

    known: arrays that are inside the axes for certain.
    """
    shape = broadcast(*(a.type.shape for a in arrays))
    indices = [expand(a, shape) for a in arrays]
    first = axes[0]
    if list(axes) != list(range(first, first + len(axes))):
        rest = [k for k in range(len(n.type.shape)) if k not in axes]
        n, first = transposed(n, [*axes, *rest]), 0
    result = picked(n, indices, first, known)
    if together or first == 0:
        return result
    moved = range(first, first + len(shape))
    return transposed(result, [*moved, *(k for k in range(len(result.type.shape)) if k not in moved)])


def new_axes(given: Sequence[Entry], advanced: Sequence[int], together: bool, arrays: Sequence[Node]) -> list[int]:
    """Where the new axes stand in the result."""
    width = len(broadcast(*(a.type.shape for a in arrays)))
    found, at = list[int](), 0 if together else width
    for j, k in enumerate(given):
        if k is NEW:
            found.append(at)
        if j not in advanced and not isinstance(k, int):
            at += 1
        elif together and advanced and j == advanced[0]:
            at += width
    return found


# Taking, sorting


@function(np.take, method="take")
def take(a: Any, indices: Any, axis: int | None = None, *, mode: str = "raise") -> Array:
    """Entries at places along an axis; beyond it those of the ends ("clip"), or from the front again ("wrap")."""
    x = Array(lift(a)) if axis is not None else ravel(a)
    k = axis_of(axis or 0, x.ndim)
    if mode in ("clip", "wrap"):
        length = x.shape[k]
        if isinstance(length, str):
            raise ExpressionError(f"mode={mode!r} along the named dimension {length!r}: its length must be known")
        places = indices if isinstance(indices, Array) else np.asarray(indices)
        indices = places % length if mode == "wrap" else np.clip(places, 0, length - 1)
    return x[(*[slice(None)] * k, indices if isinstance(indices, Array | int) else np.asarray(indices))]


@function(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Array:
    """For each line along an axis the entries at places of its own."""
    n, index = lift(arr), lift(indices, "int64")
    if axis is None:
        n, axis = ravel(Array(n)).node, 0
    k, shape = axis_of(axis, len(n.type.shape)), n.type.shape
    if len(index.type.shape) != len(shape):
        raise ExpressionError(f"an index of shape {index.type.shape} for shape {shape}: as many axes are needed")
    around = tuple(d if j != k else 1 for j, d in enumerate(shape))
    whole = broadcast(index.type.shape, around)
    n = expand(n, (*whole[:k], shape[k], *whole[k + 1 :]))
    return Array(along(n, expand(index, whole), k))


def along(n: Node, index: Node, axis: int) -> Node:
    """The entries of each line at the index along an axis, which may have another length."""
    whole = index.type.shape
    places = [index if j == axis else counting(whole, j) for j in range(len(whole))]
    return picked(n, places, 0)


@function(np.argsort, method="argsort")
def argsort(
    a: Any, axis: int | None = -1, kind: Any = None, order: None = None, *, stable: Any = None, descending: bool = False
) -> Array:
    """The order that sorts along an axis; equal entries keep theirs."""
    n = arithmetic(lift(a)) if axis is not None else arithmetic(ravel(a).node)
    return Array(apply("argsort", n, params=(axis_of(-1 if axis is None else axis, len(n.type.shape)),)))


@function(np.sort)
def sort(a: Any, axis: int | None = -1, kind: Any = None, order: None = None, *, stable: Any = None) -> Array:
    """The entries in rising order along an axis; NaN goes last."""
    n = lift(a if axis is not None else ravel(a))
    k = axis_of(-1 if axis is None else axis, len(n.type.shape))
    return Array(along(n, apply("argsort", arithmetic(n), params=(k,)), k))


@function(np.lexsort)
def lexsort(keys: Any, axis: int = -1) -> Array:
    """The order that sorts by the last key, among equals by the one before, and so on."""
    rows = [Array(lift(key)) for key in keys]
    order = argsort(rows[0], axis)
    for row in rows[1:]:
        order = take_along_axis(order, argsort(take_along_axis(row, order, axis), axis), axis)
    return order


@function(np.median)
def median(a: Any, axis: Axis = None, overwrite_input: Any = None, keepdims: bool = False) -> Any:
    """The middle entry along axes of known lengths, or the mean of the middle two; NaN if an entry is."""
    x = Array(lift(a))
    axes = axes_of(axis, x.ndim)
    rest = [k for k in range(x.ndim) if k not in axes]
    moved = Array(transposed(x.node, [*rest, *axes]))
    length = dim_product(*(x.node.type.shape[k] for k in axes))
    if isinstance(length, str):
        raise ExpressionError(f"np.median needs a length that is known, not shape {x.shape}; give the dimension a "
                              "number")  # fmt: skip
    rising = sort(moved.reshape(*(x.node.type.shape[k] for k in rest), length))
    middle = np.mean(rising[..., (length - 1) // 2 : length // 2 + 1], axis=-1)
    if length:
        last = rising[..., -1].node
        missing = choose(elementwise("ne", last, last), number(np.nan, middle.node), number(-0.0, middle.node))
        middle = Array(elementwise("add", middle.node, missing))
    return np.expand_dims(middle, axes) if keepdims else middle


@function(np.argmax, method="argmax")
def argmax(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """The place of the largest entry along an axis, the first of equals."""
    n = arithmetic(lift(a) if axis is not None else ravel(a).node)
    k = axis_of(axis or 0, len(n.type.shape))
    none_missing(n.type.shape, (k,))
    result = apply("argmax", n, params=(k,))
    return Array(with_axes(result, [k]) if keepdims else result)


@function(np.argmin, method="argmin")
def argmin(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """The place of the smallest entry along an axis, the first of equals."""
    return argmax(Array(mirrored(arithmetic(lift(a)))), axis, keepdims=keepdims)


# Matrices by the places of their entries


def triangle(m: Any, k: int, lower: bool) -> Array:
    """A triangle of matrices, zeros elsewhere."""
    n = lift(m)
    if len(n.type.shape) < 2:
        raise ExpressionError(f"shape {n.type.shape} has no triangle; a matrix is needed")
    column, row = column_and_row(n.type.shape[-2:], k)
    inside = elementwise("le", column, row) if lower else elementwise("le", row, column)
    zero = const(0.0 if n.type.dtype.startswith("float") else 0, n.type.dtype)
    return Array(choose(inside, n, zero))


function(np.tril)(lambda m, k=0: triangle(m, k, True))  # the entries on and below a diagonal, zeros above
function(np.triu)(lambda m, k=0: triangle(m, k, False))  # the entries on and above a diagonal, zeros below


@function(np.diagonal, method="diagonal")
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The diagonal over two axes, as a last axis."""
    n = lift(a)
    ndim = len(n.type.shape)
    i, j = axis_of(axis1, ndim), axis_of(axis2, ndim)
    rows, columns = n.type.shape[i], n.type.shape[j]
    rest = [k for k in range(ndim) if k not in (i, j)]
    size = diagonal_length(rows, columns, offset)
    step = arange(size)
    row, column = (step + const(by, "int64") if by else step for by in (max(-offset, 0), max(offset, 0)))
    found = apply("gather", transposed(n, [i, j, *rest]), row, column, params=(0,))
    return Array(transposed(found, [*range(1, len(rest) + 1), 0]))


function(np.linalg.diagonal)(lambda x, /, *, offset=0: diagonal(x, offset, -2, -1))  # the diagonals of matrices


def diagonal_length(rows: Dim, columns: Dim, offset: int) -> Dim:
    """The number of entries of a diagonal."""
    if isinstance(rows, int) and isinstance(columns, int):
        return max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    if rows != columns:
        raise ExpressionError(f"the diagonal of {rows} rows and {columns} columns has a length that is not known")
    return dim_sum(rows, -abs(offset))


@function(np.trace, method="trace")
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Array:
    """The sum of a diagonal."""
    return Array(total(diagonal(a, offset, axis1, axis2).node, -1))


function(np.linalg.trace)(lambda x, /, *, offset=0, dtype=None: trace(x, offset, -2, -1))  # the traces of matrices


@function(np.diag)
def diag(v: Any, k: int = 0) -> Array:
    """The diagonal of a matrix, or the matrix with a vector on its diagonal."""
    n = lift(v)
    if len(n.type.shape) == 2:
        return diagonal(v, k)
    if len(n.type.shape) != 1:
        raise ExpressionError(f"np.diag takes a vector or a matrix, not shape {n.type.shape}; use np.diagonal")
    size = dim_sum(n.type.shape[0], abs(k))
    step = arange(n.type.shape[0])
    row, column = (step + const(by, "int64") if by else step for by in (max(-k, 0), max(k, 0)))
    return Array(apply("scatter_add", n, row, column, params=(0, (size, size))))
