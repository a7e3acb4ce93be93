"""Entries of arrays by index: spans where an index steps evenly, windows where two slide, gathers for all else."""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple

from gradcompile.frontend.arrays.indexing import gathered
from gradcompile.frontend.arrays.places import base
from gradcompile.frontend.arrays.shapes import part, transposed
from gradcompile.frontend.arrays.ufuncs import elementwise
from gradcompile.frontend.sympy.indexed.forms import Axis, Form, within_bounds, within_rectangle
from gradcompile.frontend.sympy.indexed.values import IndexContext, Value, aligned, floating, integer, pointwise, whole
from gradcompile.ir.algebra import part_at, select
from gradcompile.ir.core import Node, apply, const
from gradcompile.ir.types import Dim, dim_product, dim_sum
from gradcompile.ops.shape import Span


@dataclass(slots=True, eq=False)
class Read:
    """An entry that a loss has: a form for each place, None where it is data or not linear in the indices.

    integers: it is wanted as an index.  guarded: it stands in branches only, so places outside are never chosen.
    """

    expr: Any
    forms: tuple[Form | None, ...]
    integers: bool
    guarded: bool = False

    @property
    def base(self) -> Any:
        """The IndexedBase or MatrixSymbol."""
        return self.expr.args[0]

    def __call__(self, c: IndexContext, *data: Value) -> Value:
        """The array over the indices of the places; `data` holds the places that have no form."""
        leaf: Node = c.atoms[self.base]
        return taken(c, leaf, self.forms, data, self.guarded, self.integers)


class Sliding(NamedTuple):
    """Two indices along one axis: the window by the outer one, the entry in the window by the inner one.

    dilation: how far entries are apart; below 0, the last comes first, as in x[i - j].
    """

    outer: Axis
    inner: Axis
    stride: int
    dilation: int


NOWHERE = -(2**62)  # a place that no axis has

Left = Axis | Sliding | None  # what an axis that is not taken at one place runs over; None if it is gathered from


def taken(
    c: IndexContext, n: Node, forms: Sequence[Form | None], data: Sequence[Value], guarded: bool, integers: bool
) -> Value:
    """The entries of a node at the places: floats, unless whole ones are wanted for places themselves."""
    wanted = partial(floating, c) if not integers else lambda v: v
    uses = Counter(a for f in forms if f is not None for a, _ in f.terms)
    uses.update(a for v in data for a in v.axes)
    found = [located(f, dim, uses, guarded) for f, dim in zip(forms, n.type.shape, strict=True)]
    forms, dims = zip(*(within(f, k, d) for f, (k, _), d in zip(forms, found, n.type.shape, strict=True)), strict=True)
    if any(index is not None for index, _ in found):
        n = part_at(n, tuple(index for index, _ in found))
    kept = [k for k, (index, _) in enumerate(found) if index is None or isinstance(index, Span)]
    n, axes = slid(n, [found[k][1] for k in kept])
    values, known, rest = list[Value](), set[Node](), iter(data)
    for k, f in enumerate(forms):
        if f is None:
            values.append(next(rest))
        elif k in kept and found[k][1] is None:
            values.append(clamped(c, f, dims[k]))
            known.add(base(values[-1].node)[0])
    if not values:
        return wanted(in_order(Value(n, tuple(a for a in axes if a is not None))))
    result = wanted(in_order(scattered(n, axes, values, known)))
    loose = [(f, dims[k]) for k, f in enumerate(forms) if f is not None and k in kept and found[k][1] is None
             and not within_rectangle(f, dims[k]) and (guarded or not within_bounds(f, dims[k]))]  # fmt: skip
    return reduce(lambda v, place: nan_outside(c, v, *place), loose, result)


def within(f: Form | None, index: Dim | Span | None, dim: Dim) -> tuple[Form | None, Dim]:
    """The places along an axis as places in what `item` leaves of it, and the length of that."""
    if f is None or not isinstance(index, Span):
        return f, dim
    return f._replace(offset=dim_sum(f.offset, dim_product(-1, index.start))), index.count


def located(f: Form | None, dim: Dim, uses: Counter[Axis], guarded: bool) -> tuple[Dim | Span | None, Left]:
    """What `item` takes along an axis, and what is left of it."""
    if f is None:
        return None, None
    if any(uses[a] > 1 or not isinstance(k, int) for a, k in f.terms):
        return covered(f, dim, guarded), None
    if not f.terms:
        return f.offset, None
    if (guarded or any(a.ragged for a, _ in f.terms)) and not within_rectangle(f, dim):
        return None, None
    start = dim_sum(f.offset, *(dim_product(k, a.first) for a, k in f.terms))
    if len(f.terms) == 1:
        axis, step = f.terms[0]
        return span(start, axis.length, int(step), dim), axis
    pair = sliding(f)
    if pair is None:
        return None, None
    width = int(pair.inner.length) - 1
    count = dim_sum(dim_product(pair.stride, pair.outer.length), -pair.stride, abs(pair.dilation) * width + 1)
    return span(dim_sum(start, min(pair.dilation * width, 0)), count, 1, dim), pair


def covered(f: Form, dim: Dim, guarded: bool) -> Span | None:
    """The part of an axis that holds the places of an index, if these are numbers and all of them are used.

    The axis may be shorter, which is then seen at the call.
    """
    if guarded or within_rectangle(f, dim) or not isinstance(f.offset, int):
        return None
    low = high = f.offset
    for a, k in f.terms:
        if a.ragged or not (isinstance(k, int) and isinstance(a.first, int) and isinstance(a.last, int)):
            return None
        if a.length == 0:
            return None
        low, high = low + min(k * a.first, k * a.last), high + max(k * a.first, k * a.last)
    return Span(low, high - low + 1)


def span(start: Dim, count: Dim, step: int, dim: Dim) -> Span | None:
    """A span of an axis, None if it is all of it."""
    return None if (start, count, step) == (0, dim, 1) else Span(start, count, step)


def sliding(f: Form) -> Sliding | None:
    """Two indices as a window: the inner one has a known length, the shorter one if both have."""
    if len(f.terms) != 2:
        return None
    known = [t for t in f.terms if isinstance(t[0].length, int)]
    if not known or any(a.length == 0 for a, _ in f.terms):
        return None
    inner = min(known, key=lambda t: int(t[0].length))
    outer = f.terms[1 - f.terms.index(inner)]
    stride = int(outer[1])
    if stride < 1 or (isinstance(outer[0].length, str) and stride != 1):
        return None
    return Sliding(outer[0], inner[0], stride, int(inner[1]))


def slid(n: Node, left: Sequence[Left]) -> tuple[Node, list[Axis | None]]:
    """A node with windows in place of the axes that two indices share, and the index of each axis."""
    for k in reversed(range(len(left))):
        s = left[k]
        if isinstance(s, Sliding):
            size = int(s.inner.length)
            n = apply("window", n, params=(k, size, s.stride, abs(s.dilation)))
            n = n if s.dilation > 0 else part(n, k + 1, Span(size - 1, size, -1))
    axes: list[Axis | None] = []
    for s in left:
        axes += [s.outer, s.inner] if isinstance(s, Sliding) else [s]
    return n, axes


def clamped(c: IndexContext, f: Form, dim: Dim) -> Value:
    """The values of an index, kept inside the axis where some of them, which nothing uses, may be outside."""
    v = integer(c, f)
    if within_rectangle(f, dim):
        return v
    low = elementwise("max", v.node, const(0, "int64"))
    return Value(elementwise("min", low, whole(c, dim_sum(dim, -1))), v.axes)


def nan_outside(c: IndexContext, v: Value, f: Form, dim: Dim) -> Value:
    """Entries, NaN where the index is outside the axis: neither condition nor bound keeps it inside if they are used.

    A whole entry, which is a place itself, is then one that no axis has.
    """
    nothing = const(float("nan") if v.node.type.dtype.startswith("float") else NOWHERE, v.node.type.dtype)

    def chosen(c: IndexContext, place: Node, n: Node) -> Node:
        inside = elementwise("le", const(0, "int64"), place) & elementwise("lt", place, whole(c, dim))
        return select(inside, n, nothing)

    return pointwise(chosen, c, integer(c, f), v)


def scattered(n: Node, axes: Sequence[Axis | None], values: Sequence[Value], known: Container[Node]) -> Value:
    """The entries at the values of indices along the axes that have no index yet; known: values that are inside."""
    at = [k for k, a in enumerate(axes) if a is None]
    places, over = aligned(values)
    together = at == list(range(at[0], at[0] + len(at)))
    n = gathered(n, at, places, together, known)
    before = [a for a in axes[: at[0]] if a is not None] if together else []
    behind = [a for a in axes[at[0] if together else 0 :] if a is not None]
    return Value(n, (*before, *over, *behind))


def in_order(v: Value) -> Value:
    """The axes by their ranks."""
    order = sorted(range(len(v.axes)), key=lambda k: v.axes[k].rank)
    return Value(transposed(v.node, order), tuple(v.axes[k] for k in order))
