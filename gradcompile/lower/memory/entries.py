"""One entry of an array as an expression: the graph of scalars that a loop computes at one point.

An array that stands in memory is read; any other is computed from the entries of its arguments. What comes out is
made of ordinary nodes, so that equal entries are one node and are computed once.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

from gradcompile.analysis.bounds import of_place
from gradcompile.errors import GraphError
from gradcompile.frontend.arrays.places import base, nothing
from gradcompile.ir.algebra import arange, at_most, less, select
from gradcompile.ir.core import Node, const, is_const, is_leaf, leaf, node
from gradcompile.ir.graph import topological
from gradcompile.ir.types import ArrayType, Dim, Shape, dim_product, dim_sum, names_in
from gradcompile.loops.expressions import Expression, element, name
from gradcompile.lower.memory.lengths import listed
from gradcompile.ops.constant_index import is_table
from gradcompile.ops.gather import is_gather
from gradcompile.ops.shape import Span, is_iota, places

Place = tuple[Dim, ...]  # for each axis of a node an index: a number, or a polynomial in loop variables and dimensions
Request = Generator[tuple[Node, Place], Node, Node]


@dataclass(frozen=True, slots=True)
class Memory:
    """An array of the generated code that holds a node; its axis k is axis order[k] of the node.

    whole: whether integers are kept as what they are, not as floats. dense: whether the entries are known to lie one
    after the other. index: of a scalar that is an entry of the array, where it is.
    """

    name: str
    order: tuple[int, ...]
    whole: bool = False
    dense: bool = False
    index: tuple[Expression, ...] = ()

    @classmethod
    def plain(cls, name: str, n: Node, whole: bool = False, dense: bool = False) -> "Memory":
        """An array with the axes of the node."""
        return cls(name, tuple(range(len(n.type.shape))), whole, dense)

    @property
    def whole_array(self) -> Expression:
        """All of it, as an expression; a scalar itself."""
        return element(name(self.name), self.index)

    def at(self, place: Place, names: Mapping[str, Expression] = {}) -> Expression:
        """The entry at a place, given in the node's order of axes; names: what names in the place stand for."""
        return element(name(self.name), listed((place[k] for k in self.order), names)) if place else self.whole_array

    def row(self, *index: Expression) -> Expression:
        """A part of it: the index of its own first axes."""
        return element(name(self.name), index)


@dataclass(frozen=True, slots=True)
class Read:
    """An entry that is read: the node, its place, and for names in the place that stand for integers the nodes."""

    source: Node
    place: Place
    found: tuple[tuple[str, Node], ...] = ()


@dataclass(slots=True)
class Entries:
    """Makes entries of nodes. memory: what is read rather than computed. reads: what the leaves of entries stand for.

    found: integer entries that places refer to, by names like "@0@". origin: the array whose entry a scalar is, and
    where.
    """

    memory: Mapping[Node, object]
    reads: dict[Node, Read] = field(default_factory=dict)
    origin: dict[Node, tuple[Node, Place]] = field(default_factory=dict)
    known: dict[tuple[Node, Place], Node] = field(default_factory=dict)
    found: dict[Node, str] = field(default_factory=dict)

    def entry(self, n: Node, place: Place) -> Node:
        """The scalar node of an entry. Iterative: each step asks for the entries that it needs."""
        first = n, place
        stack: list[tuple[tuple[Node, Place], Request]] = []
        wanted: tuple[Node, Place] | None = first
        answer: Node | None = None
        while wanted is not None or stack:
            if wanted is not None and wanted not in self.known:
                stack.append((wanted, self.step(*wanted)))
                answer = None
            elif wanted is not None:
                answer = self.known[wanted]
            key, request = stack[-1] if stack else (first, None)
            if request is None:
                break
            try:
                wanted = next(request) if answer is None else request.send(answer)
            except StopIteration as stop:
                self.known[key] = answer = stop.value
                self.origin.setdefault(stop.value, key)
                stack.pop()
                wanted = None
                if not stack:
                    break
        return self.known[first]

    def step(self, n: Node, place: Place) -> Request:
        """The entry of one node, from those of others."""
        if n in self.memory and not (is_const(n) or n.op.by_shape):
            return self.read(n, place)
        if n.op.name in MOVES:
            return (yield n.args[0], MOVES[n.op.name](n, place))
        if is_gather(n):
            return (yield from self.gather(n, place))
        if is_iota(n):
            return self.index(place[0])
        if is_const(n) or n.op.by_shape or is_leaf(n):
            return n
        if is_table(n):
            return self.read(n, place)
        if not n.op.is_elementwise:
            raise GraphError(f"{n.op.name} of type {n.type} has to stand in memory before an entry is read")
        parts = []
        for a in n.args:
            parts.append((yield a, aligned(a, place)))
        return node(n.op, parts, n.params)

    def read(self, n: Node, place: Place) -> Node:
        """A leaf that stands for an entry in memory."""
        read = Read(n, place, self.found_in(place))
        made = leaf(f"{id(n)}{list(place)}", ArrayType((), n.type.dtype), "entry")
        self.reads[made] = read
        return made

    def gather(self, n: Node, place: Place) -> Request:
        """An entry at places that are themselves entries; an index below 0 counts from the end."""
        (axis,), (source, *indices) = n.params, n.args
        rank = len(indices[0].type.shape)
        here: list[Node] = []
        for index in indices:
            here.append((yield index, place[axis : axis + rank]))
        at, inside = self.located(here, indices, source.type.shape[axis:])
        found = yield source, (*place[:axis], *at, *place[axis + rank :])
        return where_all(inside, found, nothing(n.type.dtype))

    def located(self, here: Sequence[Node], indices: Sequence[Node], lengths: Shape) -> tuple[list[Dim], list[Node]]:
        """Entries of indices as places along axes, and what has to hold for them to be inside.

        An input was checked at the call, if at all, and may have changed since; a place outside is 0 here.
        """
        found = [self.along(*of_axis) for of_axis in zip(here, indices, lengths, strict=False)]
        return [at for at, _ in found], [inside for _, inside in found if inside is not None]

    def with_places(self, roots: Iterable[Node]) -> list[Node]:
        """The roots, and the integers that places of what they read are."""
        result, seen = list(roots), set[Node]()
        for root in result:  # which grows
            for n in topological([root], seen.__contains__):
                seen.add(n)
                result += [x for _, x in self.reads[n].found] if n in self.reads else []
        return result

    def found_in(self, place: Place) -> tuple[tuple[str, Node], ...]:
        """The integer entries that a place refers to."""
        names = set[str]().union(*map(names_in, place))
        return tuple((key, n) for n, key in self.found.items() if key in names)

    def along(self, entry: Node, index: Node, length: Dim) -> tuple[Dim, Node | None]:
        """An entry of an index as a place along an axis, and where that is inside, if it is not known to be."""
        is_counted = entry in self.reads and self.reads[entry].source is IOTA
        if is_const(entry) or is_counted:
            return self.named(entry), None
        end, zero = const(length, "int64") if isinstance(length, int) else self.index(length), const(0, "int64")
        found = from_end(entry, index, end)
        if is_made(base(index)[0]):
            return self.named(found), None
        inside = at_most(zero, found) & less(found, end)
        return self.named(select(inside, found, zero)), inside

    def named(self, n: Node) -> Dim:
        """An integer entry as a name in places; a constant or a loop variable as it is."""
        if n in self.reads and self.reads[n].source is IOTA:
            return self.reads[n].place[0]
        if is_const(n):
            return int(n.value)
        return self.found.setdefault(n, f"@{len(self.found)}@")

    def index(self, place: Dim) -> Node:
        """A place along an axis, as a number."""
        if isinstance(place, int):
            return const(place, "int64")
        return self.read(IOTA, (place,))


IOTA = arange("any")


def is_made(source: Node) -> bool:
    """Whether places are made by the loss itself, which has seen to it that they are inside their axes."""
    if is_const(source) or is_iota(source) or is_table(source) or source.op.gives_places:
        return True
    return not (source.op.takes_arrays or source.op.is_copy)


def where_all(inside: Iterable[Node], entry: Node, other: Node) -> Node:
    """An entry where all conditions hold, else another."""
    return reduce(lambda found, condition: select(condition, found, other), inside, entry)


def from_end(place: Node, index: Node, end: Node) -> Node:
    """A place along an axis, counted from the end where it is negative; index: what it is an entry of, or is."""
    if of_place(index) >= 0:
        return place
    return select(less(place, const(0, "int64")), place + end, place)


def aligned(a: Node, place: Place) -> Place:
    """The place in an argument of an elementwise op: axes from the last, the only entry where there is one."""
    own = place[len(place) - len(a.type.shape) :]
    return tuple(0 if d == 1 else k for k, d in zip(own, a.type.shape, strict=True))


def of_broadcast(n: Node, place: Place) -> Place:
    """The place of what is repeated."""
    return tuple(place[k] for k in places(n.params, len(n.args[0].type.shape)))


def of_item(n: Node, place: Place) -> Place:
    """The place in what an item is taken from."""
    rest = iter(place)
    return tuple(
        next(rest) if k is None else dim_sum(k.start, dim_product(k.step, next(rest))) if isinstance(k, Span) else k
        for k in n.params[0]
    )


def of_transpose(n: Node, place: Place) -> Place:
    """The place before the axes were turned."""
    own: dict[int, Dim] = dict(zip(n.params[0], place, strict=True))
    return tuple(own[k] for k in range(len(place)))


def of_window(n: Node, place: Place) -> Place:
    """The place that an entry of a window has along the axis."""
    axis, _, stride, dilation = n.params
    here = dim_sum(dim_product(stride, place[axis]), dim_product(dilation, place[axis + 1]))
    return (*place[:axis], here, *place[axis + 2 :])


def of_reshape(n: Node, place: Place) -> Place:
    """The place before a reshape that only splits axes, or adds and takes axes of one entry."""
    return tuple(
        dim_sum(*(dim_product(place[k], stride) for k, stride in group)) if group else 0 for group in splits(n) or ()
    )


def splits(n: Node) -> list[list[tuple[int, Dim]]] | None:
    """For each axis of a reshape's argument the result's axes that it was split into, with strides; None if merged."""
    own, shape = n.args[0].type.shape, n.type.shape
    groups: list[list[tuple[int, Dim]]] = []
    k = 0
    for d in own:
        group: list[int] = []
        size: Dim = 1
        while size != d and k < len(shape):
            group.append(k)
            size = dim_product(size, shape[k])
            k += 1
        if size != d:
            return None
        groups.append([(g, dim_product(*(shape[h] for h in group if h > g))) for g in group])
    return groups if all(d == 1 for d in shape[k:]) else None


MOVES = {"broadcast": of_broadcast, "item": of_item, "transpose": of_transpose, "window": of_window,
         "reshape": of_reshape}  # fmt: skip


def flat(place: Place, shape: Sequence[Dim]) -> Dim:
    """The position of an entry among all, row by row.

    >>> flat(("i", 2), ("n", 3))
    '3*i+2'
    """
    result: Dim = 0
    for p, d in zip(place, shape, strict=True):
        result = dim_sum(dim_product(result, d), p)
    return result
