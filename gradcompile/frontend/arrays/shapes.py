"""NumPy's functions that arrange: reshape, transpose, put together, take apart, repeat."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, dtype_name, lift, lift_all
from gradcompile.frontend.arrays.ufuncs import arithmetic, cast, choose, elementwise, function, number
from gradcompile.ir import algebra
from gradcompile.ir.algebra import assemble, counting, expand, part_at, permute, reshape_to, unequal
from gradcompile.ir.core import Node, apply, const
from gradcompile.ir.types import Dim, Shape, broadcast, dim_product, dim_sum, parsed, promote, written
from gradcompile.ops.constant_index import table
from gradcompile.ops.shape import Index, Span

Axis = int | Sequence[int] | None


def axis_of(axis: Any, ndim: int, what: str = "axis") -> int:
    """An axis counted from the front; ExpressionError if there is none."""
    if not isinstance(axis, int | np.integer) or not -ndim <= axis < ndim:
        raise ExpressionError(f"there is no {what} {axis!r}: the axes are 0 to {ndim - 1}")
    return int(axis) % ndim


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front, all if None is given."""
    if axis is None:
        return tuple(range(ndim))
    found = [axis_of(k, ndim) for k in (axis if isinstance(axis, tuple | list) else (axis,))]
    if len(set(found)) < len(found):
        raise ExpressionError(f"axis {axis!r} names an axis twice")
    return tuple(sorted(found))


# On nodes


def transposed(n: Node, order: Sequence[int]) -> Node:
    """The axes in another order."""
    return n if tuple(order) == tuple(range(len(order))) else permute(n, tuple(order))


def with_axes(n: Node, at: Sequence[int]) -> Node:
    """Axes of one entry put in, at these places of the result."""
    ndim = len(n.type.shape) + len(at)
    kept = tuple(k for k in range(ndim) if k not in at)
    dims: list[Dim] = [1] * ndim
    for k, d in zip(kept, n.type.shape, strict=True):
        dims[k] = d
    return algebra.broadcast_to(n, tuple(dims), kept) if at else n


def without_axes(n: Node, axes: Sequence[int]) -> Node:
    """The first entry along axes, which go."""
    index: Index = tuple(0 if k in axes else None for k in range(len(n.type.shape)))
    return part_at(n, index) if axes else n


def part(n: Node, axis: int, span: Span | int) -> Node:
    """A span, or an entry, along one axis."""
    return part_at(n, (*[None] * axis, span, *[None] * (len(n.type.shape) - axis - 1)))


def filled(value: float | bool, shape: Shape, dtype: str) -> Node:
    """An array of one number."""
    return expand(const(value, dtype), shape)


def column_and_row(shape: Shape, k: int) -> tuple[Node, Node]:
    """For each entry of a matrix its column, and its row plus k: these are equal on the k-th diagonal."""
    return counting(shape, 1), elementwise("add", counting(shape, 0), const(k, "int64"))


def joined(nodes: Sequence[Node], axis: int) -> Node:
    """Arrays one after the other along an axis."""
    dtype = promote(*(n.type.dtype for n in nodes))
    if dtype == "bool":
        return unequal(joined([arithmetic(n) for n in nodes], axis), const(0, "int64"))
    first = nodes[0].type.shape
    offset: Dim = 0
    indices: list[Index] = []
    for n in nodes:
        shape = n.type.shape
        if len(shape) != len(first) or any(d != first[k] for k, d in enumerate(shape) if k != axis):
            raise ExpressionError(f"shapes {first} and {shape} differ off axis {axis}")
        indices.append(tuple(Span(offset, d) if k == axis else None for k, d in enumerate(shape)))
        offset = dim_sum(offset, shape[axis])
    whole = tuple(offset if k == axis else d for k, d in enumerate(first))
    return assemble(nodes, whole, tuple(indices))


# Shapes


def given_shape(shape: Any) -> list[Any]:
    """A shape as a user writes it, as a list."""
    dims = shape if isinstance(shape, tuple | list | range) else [shape]
    return [str(d) if isinstance(d, str) else d for d in dims]


def inferred(shape: Shape, wanted: Sequence[Any]) -> Shape:
    """The shape that is wanted, with the -1 worked out; ExpressionError if that can't be."""
    if not all(isinstance(d, str) or (isinstance(d, int | np.integer) and d >= -1) for d in wanted):
        raise ExpressionError(f"a shape {tuple(wanted)} can't be: dimensions are whole numbers, names, and one -1")
    others = [d if isinstance(d, str) else int(d) for d in wanted if d != -1]
    if len(others) == len(wanted):
        return tuple(others)
    if len(others) < len(wanted) - 1:
        raise ExpressionError(f"a shape {tuple(wanted)} has more than one -1")
    missing = quotient(shape, others)
    return tuple(missing if d == -1 else d if isinstance(d, str) else int(d) for d in wanted)


def quotient(shape: Shape, others: Sequence[Dim]) -> Dim:
    """The dimension that is left when others are divided out."""
    left, divided = Counter(shape), Counter(others)
    common = left & divided
    total, divisor = dim_product(*(left - common).elements()), dim_product(*(divided - common).elements())
    terms = parsed(total)
    if not isinstance(divisor, int) or divisor == 0 or any(c % divisor for _, c in terms):
        raise ExpressionError(f"-1 can't be worked out: shape {shape} does not divide by {tuple(others)}")
    return written({names: c // divisor for names, c in terms})


@function(np.reshape)
def reshape(a: Any, shape: Any, order: str = "C") -> Array:
    """The entries, row by row, in another shape; one dimension may be -1."""
    n = lift(a)
    wanted = inferred(n.type.shape, given_shape(shape))
    if is_by_columns(order):  # is row by row of the axes in reverse order
        return transpose(Array(reshape_to(transpose(a).node, wanted[::-1])))
    return Array(reshape_to(n, wanted))


def is_by_columns(order: str | None) -> bool:
    """Whether entries are taken with the first axis changing fastest; ExpressionError if it depends on memory."""
    if order not in ("C", "F", None):
        raise ExpressionError(f"order={order!r} depends on how an array lies in memory; use order='C' or order='F'")
    return order == "F"


function(method="reshape")(lambda a, *shape, order="C": reshape(a, shape[0] if len(shape) == 1 else shape, order))


@function(np.ravel, method="ravel")
def ravel(a: Any, order: str = "C") -> Array:
    """The entries as a vector."""
    return reshape(a, -1 if 0 not in lift(a).type.shape else 0, order)


function(method="flatten")(lambda a, order="C": ravel(a, order))  # the entries as a vector


@function(np.transpose)
def transpose(a: Any, axes: Any = None) -> Array:
    """The axes in another order, reversed unless it is given."""
    n = lift(a)
    ndim = len(n.type.shape)
    order = tuple(reversed(range(ndim))) if axes is None else tuple(axis_of(k, ndim) for k in axes)
    return Array(transposed(n, order))


@function(method="transpose")
def transpose_method(a: Array, *axes: Any) -> Array:
    """The axes in another order, given as one tuple or as several numbers."""
    return transpose(a, None if not axes else axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes)


@function(np.swapaxes, method="swapaxes")
def swapaxes(a: Any, axis1: int, axis2: int) -> Array:
    """Two axes exchanged."""
    n = lift(a)
    ndim = len(n.type.shape)
    order = list(range(ndim))
    i, j = axis_of(axis1, ndim), axis_of(axis2, ndim)
    order[i], order[j] = j, i
    return Array(transposed(n, order))


@function(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Array:
    """Axes moved to other places."""
    n = lift(a)
    ndim = len(n.type.shape)
    pairs = zip(given_shape(source), given_shape(destination), strict=True)
    moved = {axis_of(d, ndim): axis_of(s, ndim) for s, d in pairs}
    rest = iter(k for k in range(ndim) if k not in moved.values())
    return Array(transposed(n, [moved[k] if k in moved else next(rest) for k in range(ndim)]))


@function(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Array:
    """Axes of one entry put in."""
    n = lift(a)
    wanted = given_shape(axis)
    return Array(with_axes(n, [axis_of(k, len(n.type.shape) + len(wanted)) for k in wanted]))


@function(np.squeeze, method="squeeze")
def squeeze(a: Any, axis: Axis = None) -> Array:
    """Axes of one entry taken out."""
    n = lift(a)
    shape = n.type.shape
    axes = [k for k, d in enumerate(shape) if d == 1] if axis is None else axes_of(axis, len(shape))
    if any(shape[k] != 1 for k in axes):
        raise ExpressionError(f"axis {axis!r} of shape {shape} has not one entry")
    return Array(without_axes(n, axes))


@function(np.broadcast_to)
def broadcast_to(array: Any, shape: Any) -> Array:
    """The array repeated to a shape."""
    n, wanted = lift(array), tuple(given_shape(shape))
    if len(wanted) < len(n.type.shape) or broadcast(n.type.shape, wanted) != wanted:
        raise ExpressionError(f"shape {n.type.shape} does not broadcast to {wanted}")
    return Array(expand(n, wanted))


@function(np.broadcast_arrays)
def broadcast_arrays(*args: Any) -> tuple[Array, ...]:
    """The arrays repeated to their common shape."""
    nodes = lift_all(*args)
    shape = broadcast(*(n.type.shape for n in nodes))
    return tuple(Array(expand(n, shape)) for n in nodes)


function(np.shape)(lambda a: Array(lift(a)).shape)  # the shape


@function(np.result_type)
def result_type(*arrays_and_dtypes: Any) -> Any:
    """The dtype that NumPy gives to a result."""
    return np.result_type(*(a.dtype if isinstance(a, Array) else a for a in arrays_and_dtypes))


function(np.ndim)(lambda a: len(lift(a).type.shape))  # the number of axes


@function(np.full_like)
def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: Any = None, subok: Any = True, shape: Any = None, *,
    device: Any = None,
) -> Array:  # fmt: skip
    """One number, or an array that is repeated, in an array's shape, or in another."""
    n = lift(a)
    name = n.type.dtype if dtype is None else dtype_name(dtype)
    wanted = n.type.shape if shape is None else tuple(given_shape(shape))
    if isinstance(fill_value, Array) or np.ndim(fill_value):
        return Array(expand(cast(lift(fill_value), name), wanted))
    kind = {"bool": bool, "int64": int}.get(name, float)
    return Array(filled(kind(fill_value), wanted, name))


for _functions, _value in (((np.zeros_like, np.empty_like), 0), ((np.ones_like,), 1)):

    def _like(a: Any, dtype: Any = None, order: Any = None, subok: Any = True, shape: Any = None, *,
              device: Any = None, value: int = _value) -> Array:  # fmt: skip
        """Zeros, or ones, of an array's shape, or of another."""
        return full_like(a, value, dtype, shape=shape)

    function(*_functions)(_like)


# Putting together and taking apart


def together(arrays: Sequence[Any], dtype: Any) -> list[Node]:
    """The nodes of arrays that become one, of a dtype if one is given."""
    return [n if dtype is None else cast(n, dtype_name(dtype)) for n in lift_all(*arrays)]


@function(np.concatenate)
def concatenate(arrays: Any, axis: int | None = 0, *, dtype: Any = None, casting: Any = None) -> Array:
    """Arrays one after the other along an axis."""
    nodes = together(arrays, dtype)
    if axis is None:
        nodes, axis = [ravel(Array(n)).node for n in nodes], 0
    return Array(joined(nodes, axis_of(axis, len(nodes[0].type.shape))))


@function(np.stack)
def stack(arrays: Sequence[Any], axis: int = 0, *, dtype: Any = None, casting: Any = None) -> Array:
    """Arrays of one shape, side by side along a new axis."""
    nodes = together([Array(lift(a)) if isinstance(a, tuple | list) else a for a in arrays], dtype)
    shape = nodes[0].type.shape
    if any(n.type.shape != shape for n in nodes):
        raise ExpressionError(f"shapes {', '.join(str(n.type.shape) for n in nodes)} differ; np.stack needs equal ones")
    at = axis_of(axis, len(shape) + 1)
    if promote(*(n.type.dtype for n in nodes)) == "bool":
        return Array(joined([with_axes(n, (at,)) for n in nodes], at))
    indices = tuple((*[None] * at, k, *[None] * (len(shape) - at)) for k in range(len(nodes)))
    return Array(assemble(nodes, (*shape[:at], len(nodes), *shape[at:]), indices))


def at_least(n: Node, ndim: int) -> Node:
    """Axes of one entry put in front."""
    return with_axes(n, range(max(ndim - len(n.type.shape), 0)))


@function(np.vstack)
def vstack(tup: Sequence[Any], *, dtype: Any = None, casting: Any = None) -> Array:
    """Arrays below each other; vectors are rows."""
    return Array(joined([at_least(n, 2) for n in together(tup, dtype)], 0))


@function(np.hstack)
def hstack(tup: Sequence[Any], *, dtype: Any = None, casting: Any = None) -> Array:
    """Arrays beside each other."""
    nodes = [at_least(n, 1) for n in together(tup, dtype)]
    return Array(joined(nodes, min(len(nodes[0].type.shape) - 1, 1)))


@function(np.column_stack)
def column_stack(tup: Sequence[Any]) -> Array:
    """Arrays beside each other; vectors are columns, and numbers columns of one entry."""
    nodes = [with_axes(n, range(len(n.type.shape), 2)) for n in lift_all(*tup)]
    return Array(joined(nodes, 1))


@function(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Parts along an axis: so many equal ones, or between these places."""
    shape = lift(ary).type.shape
    dim = shape[axis_of(axis, len(shape))]
    if isinstance(dim, int) and isinstance(indices_or_sections, int) and dim % indices_or_sections:
        raise ExpressionError(f"an axis of {dim} does not split into {indices_or_sections} equal parts")
    return array_split(ary, indices_or_sections, axis)


@function(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Parts along an axis: so many of about the same length, or between these places."""
    n = lift(ary)
    k = axis_of(axis, len(n.type.shape))
    dim = n.type.shape[k]
    if not isinstance(dim, int):
        raise ExpressionError(f"axis {axis} of shape {n.type.shape} is named: split by slices instead, as x[:3], x[3:]")
    pieces = np.array_split(np.arange(dim), indices_or_sections)
    return [Array(part(n, k, Span(int(p[0]) if len(p) else 0, len(p)))) for p in pieces]


def margins(n: Node, widths: Sequence[Sequence[int]], value: float = 0.0) -> Node:
    """The array with so many entries of a number before and after each axis."""
    if not n.type.shape:
        return n
    index = tuple(Span(before, d) for d, (before, _) in zip(n.type.shape, widths, strict=True))
    shape = tuple(dim_sum(d, *w) for d, w in zip(n.type.shape, widths, strict=True))
    result = assemble([n], shape, (index,))
    if value == 0:
        return result
    inside = assemble([filled(1, n.type.shape, "int64")], shape, (index,))
    return choose(elementwise("lt", const(0, "int64"), inside), result, number(value, n))


@function(np.flip)
def flip(m: Any, axis: Axis = None) -> Array:
    """Axes in reverse order, all unless some are given."""
    n = lift(m)
    axes = axes_of(axis, len(n.type.shape))
    index = tuple(Span(dim_sum(d, -1), d, -1) if k in axes else None for k, d in enumerate(n.type.shape))
    return Array(part_at(n, index) if axes else n)


function(np.fliplr)(lambda m: flip(m, 1))  # columns in reverse order
function(np.flipud)(lambda m: flip(m, 0))  # rows in reverse order


@function(np.roll)
def roll(a: Any, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Array:
    """Entries moved along an axis or several, those that fall off the end put in front."""
    n = lift(a)
    if axis is None:
        return Array(reshape_to(roll(ravel(a), shift, 0).node, n.type.shape))
    for step, k in np.broadcast(shift, axis):
        n = rolled(n, int(step), axis_of(k, len(n.type.shape)))
    return Array(n)


def rolled(n: Node, shift: int, k: int) -> Node:
    """Entries moved along axis k."""
    dim = n.type.shape[k]
    step = shift if isinstance(dim, str) else shift % max(dim, 1)
    if step == 0:
        return n
    cut = dim_sum(dim, -step) if step > 0 else -step
    return joined([part(n, k, Span(cut, dim_sum(dim, dim_product(-1, cut)))), part(n, k, Span(0, cut))], k)


@function(np.repeat, method="repeat")
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Array:
    """Each entry so many times, or each as often as a number of its own says."""
    n = lift(a) if axis is not None else ravel(a).node
    shape, k = n.type.shape, axis_of(axis or 0, len(n.type.shape))
    if np.ndim(repeats):
        return Array(repeated(n, np.asarray(repeats), k))
    at = tuple(j + (j > k) for j in range(len(shape)))
    wide = algebra.broadcast_to(n, (*shape[: k + 1], int(repeats), *shape[k + 1 :]), at)
    return Array(reshape_to(wide, (*shape[:k], dim_product(shape[k], int(repeats)), *shape[k + 1 :])))


def repeated(n: Node, repeats: np.ndarray, k: int) -> Node:
    """Each entry along axis k as often as its number says."""
    dim = n.type.shape[k]
    if not isinstance(dim, int):
        raise ExpressionError(f"numbers of repeats along the named dimension {dim!r}: its length must be known")
    if repeats.dtype.kind not in "iu" or repeats.ndim != 1 or repeats.size not in (1, dim) or np.any(repeats < 0):
        raise ExpressionError(f"repeats {repeats.tolist()}: whole numbers from 0 on are needed, one for each of {dim}")
    places = np.repeat(np.arange(dim), repeats)
    return apply("gather", n, table(places, "int64"), params=(k,))


@function(np.tile)
def tile(A: Any, reps: Any) -> Array:
    """The array so many times along each axis."""
    times = given_shape(reps)
    n = at_least(lift(A), len(times))
    shape = n.type.shape
    times = [1] * (len(shape) - len(times)) + times
    wide = tuple(d for pair in zip(times, shape, strict=True) for d in pair)
    spread = algebra.broadcast_to(n, wide, tuple(range(1, 2 * len(shape), 2)))
    return Array(reshape_to(spread, tuple(dim_product(d, t) for d, t in zip(shape, times, strict=True))))
