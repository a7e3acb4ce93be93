"""Rewriting before arrays are lowered: every op in the form in which it costs least as loops or as a matrix product."""

import itertools
import math
from collections.abc import Sequence

from gradcompile.frontend.arrays.places import nothing
from gradcompile.frontend.arrays.shapes import with_axes
from gradcompile.ir.algebra import (
    add,
    arange,
    assemble,
    astype,
    at_most,
    broadcast_to,
    equal,
    less,
    part_at,
    permute,
    select,
    sum_over,
)
from gradcompile.ir.core import Node, apply, const
from gradcompile.ir.graph import rebuild
from gradcompile.ir.types import Dim, Shape
from gradcompile.lower.memory.entries import from_end
from gradcompile.ops.contract import spread_labels
from gradcompile.ops.gather import is_scatter_add
from gradcompile.ops.reduction import is_sum
from gradcompile.ops.scan import is_scan, is_scanned, map_body, packed_results, result_places, results_of, typed
from gradcompile.ops.shape import Index, is_assemble, is_broadcast, is_iota, is_item, is_reshape, places

CLASSES = 1024  # entries along an axis up to which one of them is picked by comparing all
FEW = 4  # entries up to which a sum has no loop
SMALL = 32  # products up to which a contraction is a loop where others would be many matrix products


def prepared_roots(roots: Sequence[Node]) -> list[Node]:
    """The roots with picked entries by comparison, outer products by repetition, and sums of parts as one array."""
    roots = rebuild(roots, lambda n: gathered_again(n) if is_sum(n) else units_outside(n))
    roots = rebuild(roots, lambda n: RULES[n.op.name](n) if n.op.name in RULES else n)
    return rebuild(roots, lambda n: packed_results(results_of(n), n) if is_scan(n) else n)


def gathered_again(n: Node) -> Node:
    """The sum of scattered entries over the axis they were scattered along is the entries."""
    x = n.args[0]
    if not is_scatter_add(x):
        return n
    (axis, lengths), (g, *index) = x.params, x.args
    k = data_index(index, lengths)
    return g if k is not None and n.params[0] == (axis + k,) else n


# Axes of one entry


def adds_units(n: Node) -> bool:
    """Whether a node is an array with axes of one entry put in."""
    if not is_broadcast(n) or not n.args[0].type.shape:
        return False
    kept = places(n.params, len(n.args[0].type.shape))
    return all(d == 1 for k, d in enumerate(n.type.shape) if k not in kept)


def units_outside(n: Node) -> Node:
    """An op entry by entry before axes of one entry are put in, rather than after.

    Entries picked at exactly these axes are the array without them.
    """
    arrays = [a for a in n.args if a.type.shape]
    if not arrays or not all(map(adds_units, arrays)):
        return n
    kept = places(arrays[0].params, len(arrays[0].args[0].type.shape))
    if is_item(n):
        is_same = all((k in kept) == (at is None) for k, at in enumerate(n.params[0]))
        return arrays[0].args[0] if is_same else n
    same = {(a.type.shape, places(a.params, len(a.args[0].type.shape))) for a in arrays}
    if not n.op.is_elementwise or same != {(n.type.shape, kept)}:
        return n
    inner = apply(n.op.name, *(a.args[0] if a.type.shape else a for a in n.args), params=n.params)
    return broadcast_to(inner, n.type.shape, kept)


# Entries picked along an axis


def counting_axis(index: Node) -> int | None:
    """The axis along which an index array is 0, 1, 2, ...; None if it is something else."""
    if is_iota(index):
        return 0
    if is_broadcast(index) and is_iota(index.args[0]):
        return places(index.params, 1)[0]
    return None


def data_index(index: Sequence[Node], lengths: Shape) -> int | None:
    """Which of the index arrays is data, if all others say that every entry is taken from its own place; else None."""
    axes = [counting_axis(i) for i in index]
    data = [k for k, axis in enumerate(axes) if axis is None]
    rest = [axis for axis in axes if axis is not None]
    if len(data) != 1 or rest != list(range(len(index[0].type.shape))):
        return None
    own = [d for k, d in enumerate(lengths) if k != data[0]]
    length = lengths[data[0]]
    fits = list(index[0].type.shape) == own and isinstance(length, int) and 0 < length <= CLASSES
    return data[0] if fits and rest else None


def chosen(index: Node, shape: Shape, axis: int, place: int) -> Node:
    """Where along an axis of a shape an index array, of the shape's axes around it, is; place: of the axis in it."""
    length = shape[place]
    right = from_end(index, index, const(int(length), "int64"))
    count = len(index.type.shape)
    at = tuple(axis + k for k in range(count + 1) if axis + k != place)
    counted = broadcast_to(arange(length), shape, (place,))
    return equal(broadcast_to(right, shape, at), counted)


def place_inside(index: Node, length: Dim) -> Node:
    """Where an index is inside an axis of known length, counted from either end."""
    low, high = (const(k * int(length), "int64") for k in (-1, 1))
    return at_most(low, index) & less(index, high)


def gather_by_comparison(n: Node) -> Node:
    """x[i, t[i]] as the sum of x over the classes with all but one left out."""
    (axis,), (x, *index) = n.params, n.args
    k = data_index(index, x.type.shape[axis : axis + len(index)])
    if k is None:
        return n
    here = chosen(index[k], x.type.shape, axis, axis + k)
    found = sum_over(select(here, x, 0.0), (axis + k,))
    inside, behind = place_inside(index[k], x.type.shape[axis + k]), range(axis + len(index) - 1, len(found.type.shape))
    return select(with_axes(inside, [*range(axis), *behind]), found, nothing(n.type.dtype))


def scattered(n: Node) -> Node:
    """Zeros with g[i] at [i, t[i]] as a choice at every place."""
    (axis, lengths), (g, *index) = n.params, n.args
    k = data_index(index, lengths)
    if k is None:
        return n
    shape = n.type.shape
    here = chosen(index[k], shape, axis, axis + k)
    at = tuple(j for j in range(len(shape)) if j != axis + k)
    return select(here, broadcast_to(g, shape, at), 0.0)


# Sums


def short(n: Node) -> Node:
    """A sum of a few entries as such, made where it is read, without memory or a loop; any other node as it is."""
    if not is_sum(n):
        return n
    (axes,), (x,) = n.params, n.args
    lengths = [d for k in axes if isinstance(d := x.type.shape[k], int)]
    if len(lengths) < len(axes) or not 0 < math.prod(lengths) <= FEW:
        return n
    places = (dict(zip(axes, at, strict=True)) for at in itertools.product(*map(range, lengths)))
    axis = range(len(x.type.shape))
    terms = [part_at(x, tuple(at.get(k) for k in axis)) for at in places]
    return add(*terms)


# Contractions


def sizes(n: Node) -> dict[int, Dim]:
    """The dimension of each label of a contraction."""
    pairs = zip(n.args, n.params, strict=False)
    return {label: d for a, labels in pairs for label, d in zip(labels, a.type.shape, strict=True)}


def without_units(x: Node, own: Sequence[int], lost: set[int]) -> tuple[Node, list[int]]:
    """An operand and its labels without those whose axes have one entry and are to go."""
    kept = [label for label in own if label not in lost]
    index = tuple(0 if label in lost else None for label in own)
    return (x if kept == list(own) else part_at(x, index)), kept


def as_loops(n: Node) -> Node:
    """A contraction as products that are summed one by one; along an axis of one entry there is nothing to sum."""
    la, lb, result = n.params
    size = sizes(n)
    lost = {label for label in size if label not in result and size[label] == 1}
    summed = [label for label in size if label not in result and label not in lost]
    labels = (*result, *summed)
    shape = tuple(size[label] for label in labels)
    left, right = (without_units(x, own, lost) for x, own in zip(n.args, (la, lb), strict=True))
    product = spread_labels(*left, labels, shape) * spread_labels(*right, labels, shape)
    return sum_over(product, tuple(range(len(result), len(labels)))) if summed else product


def contraction(n: Node) -> Node:
    """Outer and inner products, and many small ones, as loops."""
    la, lb, result = n.params
    summed = [label for label in la if label not in result]
    rows, columns = ([k for k in own if k in result and k not in other] for own, other in ((la, lb), (lb, la)))
    size = sizes(n)
    if all(size[label] == 1 for label in summed) or not (rows or columns):
        return short(as_loops(n))
    work: Dim = 1
    for label in (*summed, *rows, *columns):
        d = size[label]
        work = work * d if isinstance(d, int) and isinstance(work, int) else "many"
    batch = [k for k in la if k in lb and k in result]
    return short(as_loops(n)) if batch and isinstance(work, int) and work <= SMALL else n


# Integers


def integer_choices(n: Node) -> Node:
    """An op of integers, whose text is for floats, as choices."""
    if n.type.dtype != "int64":
        return n
    zero = const(0, "int64")
    if n.op.name in ("max", "min"):
        x, y = n.args
        return select(apply("lt", *((y, x) if n.op.name == "max" else (x, y))), x, y)
    (x,) = n.args
    if n.op.name == "abs":
        return select(less(x, zero), -x, x)
    sign = astype(less(zero, x), "int64")
    return select(less(x, zero), const(-1, "int64"), sign)


# Orders


def order(n: Node) -> Node:
    """The order of entries along an axis as that along the last one, where they are neighbours."""
    (axis,), (x,) = n.params, n.args
    last = len(x.type.shape) - 1
    if axis == last:
        return n
    turn = (*(k for k in range(last + 1) if k != axis), axis)
    back = tuple(turn.index(k) for k in range(last + 1))
    return permute(apply("argsort", permute(x, turn), params=(last,)), back)


# Arrays put together


def assembled_sum(n: Node) -> Node:
    """A sum of arrays that are each zero but for a part, as one array of all parts."""
    parts = [a for a in n.args if is_assemble(a) and a.type.shape == n.type.shape]
    if len(parts) < 2:
        return n
    values = [v for a in parts for v in a.args]
    indices: tuple[Index, ...] = tuple(index for a in parts for index in a.params[1])
    whole = assemble(values, n.type.shape, indices)
    rest = [a for a in n.args if a not in parts]
    return add(whole, *rest) if rest else whole


def prepared_scan(n: Node) -> Node:
    """A scan with its body prepared."""
    return map_body(n, prepared_roots)


def result(n: Node) -> Node:
    """A part of a scan's vector as the result that it is."""
    (x,) = n.args
    found = result_places(x.params[0]) if is_scan(x) else []
    same = [k for k, part in enumerate(found) if n.params[0] == (part.span,)]
    return typed(results_of(x)[same[0]], n.type) if same else n


def reshaped(n: Node) -> Node:
    """A reshape of nothing is any array of that shape: axes of no entries tell nothing of their places.

    One of a scan's result, which was a part of a vector, is that result.
    """
    if 0 in n.type.shape:
        return broadcast_to(const(0, n.type.dtype), n.type.shape)
    (x,) = n.args
    return typed(x.args[0], n.type) if is_reshape(x) and is_scanned(x.args[0]) else n


RULES = {"add": assembled_sum, "argsort": order, "dot": contraction, "gather": gather_by_comparison, "item": result,
         "reshape": reshaped, "scan": prepared_scan, "scatter_add": scattered, "sum": short,
         **dict.fromkeys(("abs", "sign", "max", "min"), integer_choices)}  # fmt: skip
