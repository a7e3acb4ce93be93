"""For each op the tasks that make its array: what loops run over, what is computed there, and where it goes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gradcompile.ir.core import Node
from gradcompile.ir.types import Dim, Shape, dim_product, dim_sum, dim_value
from gradcompile.lower.memory.entries import Memory, Place, flat_place, splits
from gradcompile.lower.memory.layout import Layout
from gradcompile.lower.memory.lengths import view
from gradcompile.lower.nests.context import Context
from gradcompile.lower.nests.places import Destination, Space, meeting
from gradcompile.lower.nests.tasks import Accumulation, FirstLargest, Reduction, Running, Write
from gradcompile.ops.shape import Index, Span

FAR = 1000  # what a named dimension counts as when starts are compared that differ by numbers


def reduction(stages: Context, n: Node, to: Destination | None) -> None:
    """A sum or a maximum over axes."""
    reduce_entries(stages, n, n, to)


def reduce_entries(stages: Context, n: Node, how: Node, to: Destination | None) -> None:
    """A node by way of a sum or a maximum of the same entries."""
    space, place = stages.space(how.args[0].type.shape)
    value = stages.entries.entry(how.args[0], place)
    kept = tuple(p for k, p in enumerate(place) if k not in how.params[0])
    made = stages.destination(n, to)
    stages.schedule.put(Reduction(node=n, space=space, value=value, to=made, place=kept, kind=meeting(how)))


def scatter(stages: Context, n: Node, to: Destination | None) -> None:
    """Entries added at places that are data: in order where lanes could meet."""
    (axis, lengths), (g, *index) = n.params, n.args
    shape, rank = g.type.shape, len(index[0].type.shape)
    inside = range(axis, axis + rank)
    order = stages.layout.order(shape)
    if order and order[-1] in inside:
        free = [k for k in range(len(shape)) if k not in inside and stages.layout.is_long(shape[k])]
        last = free[-1] if free else order[-1]
        order = (*(k for k in range(len(shape)) if k != last), last)
    space, place = stages.ordered(order, shape, tied=inside)
    value = stages.entries.entry(g, place)
    here = [stages.entries.entry(i, place[axis : axis + rank]) for i in index]
    at, _ = stages.entries.located(here, index, lengths)  # where one is outside, the value is NaN
    whole = (*place[:axis], *at, *place[axis + rank :])
    made = stages.destination(n, to)
    found = stages.entries.found_in(whole)
    stages.schedule.put(Accumulation(node=n, space=space, value=value, place=whole, found=found, to=made))


def windows(stages: Context, n: Node, to: Destination | None) -> None:
    """Windows added in their places: one entry of all windows after the other, as those do not meet."""
    axis, _, stride, dilation = n.params
    shape = n.args[0].type.shape
    last = stages.layout.last(shape)
    last = axis if last == axis + 1 else last
    order = [axis + 1, *(k for k in range(len(shape)) if k not in (axis + 1, last)), last]
    space, place = stages.ordered(order, shape)
    value = stages.entries.entry(n.args[0], place)
    here = dim_sum(dim_product(stride, place[axis]), dim_product(dilation, place[axis + 1]))
    whole = (*place[:axis], here, *place[axis + 2 :])
    stages.schedule.put(Accumulation(node=n, space=space, value=value, place=whole, to=stages.destination(n, to)))


# Parts


def assembly(stages: Context, n: Node, to: Destination | None) -> None:
    """Parts written into their places, zeros around them."""
    shape, indices = n.params
    made = stages.destination(n, to)
    is_covered = covered(shape, indices)
    parts = [Part(value, index, spans(shape, index)) for value, index in zip(n.args, indices, strict=True)]
    for part in parts if is_covered else in_turn(parts, stages.layout):
        order = stages.layout.order(part.shape)
        space, place = stages.ordered(order, part.shape, range(len(order)) if part.in_turn_only else ())
        scalar = stages.entries.entry(part.value, place if part.value.type.shape else ())
        at = tuple(place_in_whole(part.place, iter(place)))
        if is_covered or made.add:
            stages.schedule.put(Write(node=n, space=space, value=scalar, place=at, part=True, to=made))
        else:
            stages.schedule.put(Accumulation(node=n, space=space, value=scalar, place=at, to=made))


class Part(NamedTuple):
    """A value, its place in a whole, and the axes of the whole that it runs over; in_turn_only: without lanes."""

    value: Node
    place: Index
    axes: dict[int, Span]
    in_turn_only: bool = False

    @property
    def shape(self) -> Shape:
        """The shape that it has there."""
        return tuple(s.count for s in self.axes.values())

    def lane(self, layout: Layout) -> tuple[int, Span]:
        """The axis of the whole that its lanes run along, and where."""
        axes = list(self.axes.items())
        return next((axes[k] for k in reversed(layout.order(self.shape)) if axes[k][1].count != 1), (-1, Span(0, 1)))


def spans(shape: Shape, index: Index) -> dict[int, Span]:
    """The axes that an index does not fix, and what it takes of them.

    >>> spans((5, 3, 4), (Span(1, 2), 0, None))
    {0: Span(start=1, count=2, step=1), 2: Span(start=0, count=4, step=1)}
    """
    every = ((axis, Span(0, d) if k is None else k) for axis, (d, k) in enumerate(zip(shape, index, strict=True)))
    return {axis: k for axis, k in every if isinstance(k, Span)}


def in_turn(parts: Sequence[Part], layout: Layout) -> list[Part]:
    """Parts that may meet, in an order in which a loop over lanes may add them.

    Those of one shape share loops, in which a later turn meets what an earlier one wrote further along; so what lies
    further along comes first: statement by statement each entry gets its terms in the order of the turns. Where parts
    can't be put in such an order, the later one has no lanes.
    """
    groups: dict[Shape, list[Part]] = {}
    for part in parts:
        group = groups.setdefault(tuple(d for d in part.shape if d != 1), [])  # an axis of one entry has no loop
        if group and not are_in_line(group[0].lane(layout), part.lane(layout)):
            part = part._replace(in_turn_only=True)
        group.append(part)
    return [part for group in groups.values() for part in sorted(group, key=lambda part: turn(part.lane(layout)[1]))]


def are_in_line(first: tuple[int, Span], second: tuple[int, Span]) -> bool:
    """Whether lanes run along one axis in equal steps, so many places apart that it is known."""
    (axis, a), (other, b) = first, second
    return axis == other and a.step == b.step and isinstance(dim_sum(a.start, dim_product(-1, b.start)), int)


def turn(lane: Span) -> int:
    """What parts are sorted by: in the direction of the lanes the last comes first."""
    start = dim_value(lane.start, defaultdict(lambda: FAR))
    return -start if lane.step > 0 else start


def place_in_whole(index: Sequence[object], inner: Iterator[Dim]) -> Iterator[Dim]:
    """A place in a part as a place in the whole."""
    for k in index:
        if isinstance(k, Span):
            yield dim_sum(k.start, dim_product(k.step, next(inner)))
        else:
            yield next(inner) if k is None else k  # type: ignore[misc]


def covered(shape: Shape, indices: Sequence[tuple[object, ...]]) -> bool:
    """Whether parts fill a whole shape without meeting: one after the other along one axis."""
    axes = {k for index in indices for k, x in enumerate(index) if x is not None}
    if len(indices) == 1 and not axes:
        return True
    if len(axes) != 1:
        return False
    axis = axes.pop()
    spans = [x if isinstance(x, Span) else Span(x, 1) for index in indices for x in [index[axis]]]  # type: ignore[arg-type]
    at: Dim = 0
    for s in sorted(spans, key=lambda s: (isinstance(s.start, str), str(s.start).zfill(9))):
        if s.start != at or s.step != 1:
            return False
        at = dim_sum(at, s.count)
    return at == shape[axis]


# Shapes


def reshape_entries(stages: Context, n: Node, to: Destination | None) -> None:
    """Axes that become one: another view of the same memory, or a copy."""
    if to is None and (alias := stages.alias(n)) is not None:
        stages.memory[n] = alias
        return
    if splits(n) is not None:
        stages.compute(n, to)
        return
    x = n.args[0]
    space, place = stages.space(x.type.shape)
    value = stages.entries.entry(x, place)
    whole = merged_place(n, place)
    if whole is not None:
        made = stages.destination(n, to)
    else:
        axes, is_whole = range(len(n.type.shape)), n.type.dtype in ("int64", "bool")
        memory = stages.storage.hold(n, stages.naming.name(n), axes, is_whole)
        made = Destination(flattened(stages, n, memory), comment=stages.comment_for(n, None))
        whole = (flat_place(place, x.type.shape),)
    stages.schedule.put(Write(node=n, space=space, value=value, place=whole, part=True, to=made))
    if to is not None and made.memory is not to.memory:
        stages.write_to(n, to)


def flattened(stages: Context, n: Node, memory: Memory) -> Memory:
    """The array of a reshape seen as one axis."""
    part = view(memory.whole_array, 0, [dim_product(*n.type.shape)])
    return Memory(stages.storage.name_view(f"{memory.name}_flat", memory.name, part), (0,), memory.whole)


def merged_place(n: Node, place: Place) -> Place | None:
    """The place in a reshape that only merges neighbouring axes; None if it does more."""
    own, shape = n.args[0].type.shape, n.type.shape
    result: list[Dim] = []
    k = 0
    for d in shape:
        size: Dim = 1
        at: Dim = 0
        while size != d and k < len(own):
            size = dim_product(size, own[k])
            at = dim_sum(dim_product(at, own[k]), place[k])
            k += 1
        if size != d:
            return None
        result.append(at)
    return tuple(result) if all(d == 1 for d in own[k:]) else None


# Along an axis


def loops_along(stages: Context, axis: int, shape: Shape) -> tuple[Space, Place, list[int]]:
    """Loops along an axis, inside these over all others; the place, and the other axes in their order."""
    others = sorted((k for k in range(len(shape)) if k != axis), key=lambda k: k == stages.layout.last(shape))
    return *stages.ordered([axis, *others], shape, tied=(axis,)), others


def running(stages: Context, n: Node, to: Destination | None) -> None:
    """Running sums: what is carried along the axis is kept for all places on the others."""
    axis, reverse = n.params
    shape = n.type.shape
    space, place, others = loops_along(stages, axis, shape)
    at = dim_sum(shape[axis], -1, dim_product(-1, place[axis])) if reverse else place[axis]
    whole = (*place[:axis], at, *place[axis + 1 :])
    value = stages.entries.entry(n.args[0], whole)
    carry = stages.storage.kept("carried", [shape[k] for k in others])
    rest = tuple(place[k] for k in others) or (0,)
    made = stages.destination(n, to)
    stages.schedule.put(Running(node=n, space=space, value=value, place=whole, carry=carry, rest=rest, to=made))


def first_largest(stages: Context, n: Node, to: Destination | None) -> None:
    """The first place of the largest entry, or of the first NaN, along an axis."""
    axis, shape = n.params[0], n.args[0].type.shape
    space, place, _ = loops_along(stages, axis, shape)
    value = stages.entries.entry(n.args[0], place)
    rest = tuple(p for k, p in enumerate(place) if k != axis)
    best = stages.storage.kept("best", n.type.shape)
    if rest:
        made = stages.destination(n, to)
    else:
        name = stages.naming.name(n)
        stages.storage.one_integer(n, name)
        made = Destination(Memory(name, (0,), True))
    at, here = rest or (0,), place[axis]
    stages.schedule.put(FirstLargest(node=n, space=space, value=value, to=made, place=at, best=best, along=here))


MAKERS = {"sum": reduction, "amax": reduction, "scatter_add": scatter, "assemble": assembly, "overlap": windows,
          "reshape": reshape_entries, "cumsum": running, "argmax": first_largest}  # fmt: skip
