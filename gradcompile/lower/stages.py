"""A graph of arrays as stages: loop nests, matrix products and calls of routines, in an order that lets nests be one.

What stands in memory and how it lies there is decided first (`layout`). Then each of these arrays is made by *tasks*
(`makers` and `tasks`: loops; `products`, `routines`, `steps`: calls), whose values are scalars made of entries of
other arrays (`entries`). Tasks are put into *slots* (`slots`), which are the stages: nests over one space, or calls.
When all is planned, arrays get their places in the workspace (`storage`), and each slot is written (`nests`).
"""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

from gradcompile.ir.algebra import stop_gradient
from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
from gradcompile.ir.types import Dim, Shape
from gradcompile.loops.ir import Assign, Expression, Note, Statement
from gradcompile.lower.memory.entries import Entries, Memory, Place
from gradcompile.lower.memory.layout import Layout, is_copy, stored
from gradcompile.lower.memory.storage import Storage
from gradcompile.lower.nests.expression import Region
from gradcompile.lower.nests.naming import ArrayNaming
from gradcompile.lower.nests.nests import Nest
from gradcompile.lower.nests.places import Destination, Space, Wanted
from gradcompile.lower.nests.schedule import Call, Loops, Schedule
from gradcompile.lower.nests.tasks import Value, Write
from gradcompile.lower.rules import elementwise, products, routines, scans

BLANK = Note()  # between stages
MAKERS = elementwise.MAKERS | products.MAKERS | routines.MAKERS | scans.MAKERS


@dataclass(slots=True)
class Stages:
    """Makes the stages of one function or one loop's body.

    memory: arrays and scalars that stand somewhere. scalars: those from outside. lane: the dimension of the samples of
    a block, which runs in lanes; first: the same where it does not. bound: the largest length of dimensions that have
    one. work: the name of the workspace. uses: how often entries were arguments so far. partials: arrays of LANES
    entries. children: the bodies of loops. finals: scalar results, stored after all stages. cleared: arrays
    that sums are added to. order: what is planned. direct: what is made where it is wanted.
    """

    naming: ArrayNaming
    memory: dict[Node, Memory]
    scalars: dict[Node, Expression]
    lane: Dim | None = None
    first: Dim | None = None
    bound: Mapping[str, Dim] = field(default_factory=dict)
    work: str = "work"
    entries: Entries = field(init=False)
    layout: Layout = field(init=False)
    storage: Storage = field(init=False)
    schedule: Schedule = field(init=False)
    uses: Counter[Node] = field(init=False, default_factory=Counter)
    top: Region = field(init=False)
    partials: list[str] = field(default_factory=list)
    children: list["Stages"] = field(default_factory=list)
    finals: list[Wanted] = field(default_factory=list)
    cleared: set[str] = field(default_factory=set)
    order: Sequence[Node] = ()
    direct: Mapping[Node, Destination] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.entries = Entries(self.memory)
        self.layout = Layout(self.lane, self.first)
        self.storage = Storage(self.memory, self.naming.fresh, self.work)
        self.schedule = Schedule(self.entries, self.storage)
        self.top = Region(self.uses, dict(self.scalars), self.name, self.comment)

    def inside(self, sizes: dict[Node, Expression]) -> "Stages":
        """Stages of a loop's body, with a workspace of their own."""
        work = self.naming.fresh("work")
        self.children.append(Stages(self.naming.inside(), {}, sizes, self.lane, self.first, self.bound, work))
        return self.children[-1]

    # ---- planning

    def run(self, targets: Sequence[Wanted], scalars: Sequence[Node] = ()) -> None:
        """Plan all tasks for roots that go somewhere, and for scalars."""
        roots = [root for root, _ in targets]
        there = self.memory.keys() | self.scalars.keys()
        self.order = order = topological([*roots, *scalars], there.__contains__)
        self.layout.learn(order)
        needed, kept = stored(order, roots, self.memory)
        self.direct = direct = directly(order, targets)
        done: list[Destination] = []
        for n in order:
            to = direct.get(n)
            if n in needed or n in kept or to is not None or is_scalar_reduction(n):
                self.make(n, to, n in kept and to is None)
                done += [] if to is None else [to]
        rest = [(root, to) for root, to in targets if not any(to is d for d in done)]
        for root, to in rest:
            if root.type.shape:
                self.write_to(root, to)
        self.finals = [(root, to) for root, to in rest if not root.type.shape]
        last = [self.entries.entry(n, ()) for n in (*(root for root, _ in self.finals), *scalars)]
        self.schedule.note_reads(last, self.schedule.end)

    def make(self, n: Node, to: Destination | None, optional: bool = False) -> None:
        """Plan what makes one array, where it is wanted if told; optional: if anything but its nest reads it."""
        if n.op.name in MAKERS:
            MAKERS[n.op.name](self, n, to)
        else:
            elementwise.write(self, n, to, optional)

    def write_to(self, n: Node, to: Destination) -> None:
        """Plan to write a value, at hand or computed, where it is wanted."""
        space, place = self.space(n.type.shape)
        value = self.entries.entry(n, place)
        self.schedule.put(Write(node=None, space=space, value=value, to=to, place=place))

    def space(self, shape: Shape) -> tuple[Space, Place]:
        """The loops over a shape as it lies in memory, and the place in it that they are at."""
        return self.ordered(self.layout.order(shape), shape)

    def ordered(self, order: Sequence[int], shape: Shape, tied: Container[int] = ()) -> tuple[Space, Place]:
        """Loops over a shape in a given order of its axes, and the place that they are at.

        tied: axes whose entries depend on each other or may meet, so that no lanes run along them. An axis of one entry
        has no loop: what is innermost is known after these are gone.
        """
        order = [k for k in order if shape[k] != 1]
        names = {k: self.naming.loop(len(order) - 1 - d) for d, k in enumerate(order)}
        place = tuple(names.get(k, 0) for k in range(len(shape)))
        return Space(tuple((names[k], shape[k]) for k in order), bool(order) and order[-1] not in tied), place

    # ---- where arrays stand

    def destination(self, n: Node, to: Destination | None) -> Destination:
        """Where a node's array is written: where it is wanted, or in the workspace."""
        if to is None:
            whole = n.type.dtype in ("int64", "bool") and not n.op.in_floats
            memory = self.storage.hold(n, self.naming.name(n), self.layout.order(n.type.shape), whole)
            return Destination(memory, comment=self.comment_for(n, None))
        if not to.add:
            self.memory[n] = to.memory
        return Destination(to.memory, to.add, self.comment_for(n, to))

    def comment_for(self, n: Node, to: Destination | None) -> str:
        """What the line that writes a node says of it."""
        return to.comment if to is not None and to.comment else self.naming.comment(n)

    def alias(self, n: Node) -> Memory | None:
        """An array that is part of another, or another view of it; None if it is not."""
        chain = [n]
        while chain[-1].op.is_alias and chain[-1].args[0] not in self.memory:
            chain.append(chain[-1].args[0])
        if is_copy(chain[-1]) and len(chain) > 1:
            leaf = chain.pop()
            self.memory[leaf] = self.memory[leaf.args[0]]
        if not chain[-1].op.is_alias:
            return None
        for x in reversed(chain):
            self.schedule.share(x, x.args[0])
            memory = self.storage.seen(x)
            if memory is None or x is n:
                return memory
            self.memory[x] = memory
        return None

    def materialized(self, x: Node) -> Memory:
        """Where an array stands that has to; a part or a transpose of one is at hand."""
        if is_copy(x):
            return self.memory[x.args[0]]
        if x not in self.memory:
            elementwise.write(self, x, None)
        return self.memory[x]

    def row_major(self, x: Node) -> Node:
        """The array, or a copy of it, whose axes lie in their order."""
        memory = self.materialized(x)
        x = x.args[0] if is_copy(x) else x
        axes = range(len(memory.order))
        if memory.order == tuple(axes):
            return x
        copy = stop_gradient(x)
        space, place = self.space(x.type.shape)
        self.storage.hold(copy, self.naming.fresh(memory.name + "_rows"), axes)
        value, to = self.entries.entry(x, place), Destination(self.memory[copy])
        self.schedule.put(Write(node=copy, space=space, value=value, to=to, place=place))
        return copy

    # ---- statements

    def name(self, scalar: Node) -> str:
        """What an entry is called."""
        origin = self.entries.origin.get(scalar, scalar)
        if scalar in self.entries.reads:
            read = self.entries.reads[scalar]
            preferred = self.memory[read.source].whole_array.text if read.source in self.memory else "x"
        else:
            preferred = self.naming.preferred_name(origin).removesuffix("_1")
        return self.naming.fresh(preferred if not origin.type.shape else preferred.removesuffix("_i") + "_i")

    def comment(self, scalar: Node) -> str:
        """What the line of an entry says; nothing if it only has a name for what is read."""
        origin = self.entries.origin.get(scalar)
        return "" if origin is None or self.naming.moved(origin) else self.naming.comment(origin)

    def emit(self) -> list[Statement]:
        """All stages; arrays are declared where they are first written."""
        self.schedule.drop_optional()
        self.storage.allocate(self.bound)
        for k, slot in enumerate(self.schedule.slots):
            self.top.statements += [*([BLANK] if self.top.statements else ()), *self.storage.declared(k)]
            if isinstance(slot, Call):
                self.top.statements += slot.lines()
            else:
                Nest(self, slot).emit()
        self.top.statements += self.storage.declared(len(self.schedule.slots))  # views that scalars alone read
        for root, to in self.finals:
            value = self.scalar(root)
            self.top.statements.append(Assign(to.memory.whole_array, value, to.comment, "+=" if to.add else "="))
        return self.top.statements

    def scalar(self, n: Node, preferred: str = "", named: bool = False) -> Expression:
        """A scalar after all stages; under a name if one is wished."""
        value, space = self.entries.entry(n, ()), Space(())
        if preferred:
            self.naming.known.setdefault(n, preferred)
        task = Value(node=n, space=space, value=value, to=Destination(Memory("", ())), place=())
        return Nest(self, Loops(space, [task])).value(value, named or bool(preferred))

    def entries_a_sample(self) -> int:
        """The entries of the workspace for one sample of a block."""
        return self.storage.entries_a_sample(self.lane or self.first)

    def allocations(self) -> list[Assign]:
        """The lines that allocate what the stages need, those of loops' bodies after them."""
        own = self.storage.allocations(self.partials)
        return [*own, *(line for child in self.children for line in child.allocations())]


def directly(order: Sequence[Node], targets: Sequence[Wanted]) -> dict[Node, Destination]:
    """The roots that are made where they are wanted; what is to be added elsewhere only if nothing else reads it."""
    uses = Counter([*(a for n in order for a in n.args), *(root for root, _ in targets)])
    first = {root: to for root, to in reversed(targets) if not to.add and root.type.shape}
    sole = {root: to for root, to in targets
            if to.add and uses[root] == 1 and (root.type.shape or root.op.is_reduction)}  # fmt: skip
    return first | sole


def is_scalar_reduction(n: Node) -> bool:
    """Whether a scalar is made by loops or a routine, not by arithmetic."""
    return not n.type.shape and n.op.in_memory
