"""What rules work with: where arrays stand, what is planned, and the loops, names and comments of what is made."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

from gradcompile.ir.algebra import stop_gradient
from gradcompile.ir.core import Node
from gradcompile.ir.types import Dim, Shape
from gradcompile.loops.expressions import Expression
from gradcompile.loops.ir import Assign, Statement
from gradcompile.lower.memory.entries import Entries, Memory, Place
from gradcompile.lower.memory.layout import Layout, is_copy
from gradcompile.lower.memory.storage import Storage
from gradcompile.lower.nests.expression import Region
from gradcompile.lower.nests.naming import ArrayNaming
from gradcompile.lower.nests.places import Destination, Space, Wanted
from gradcompile.lower.nests.schedule import Schedule
from gradcompile.lower.nests.tasks import Task, Write
from gradcompile.ops.scan import is_scanned


@dataclass(slots=True)
class Context(ABC):
    """What a rule finds and does as it plans the stages of one function or one loop's body.

    memory: arrays and scalars that stand somewhere. scalars: those from outside. lane: the dimension of the samples of
    a block, which runs in lanes; first: the same where it does not. bound: the largest length of dimensions that have
    one. work: the name of the workspace. uses: how often entries were arguments so far. partials: arrays of LANES
    entries. children: the bodies of loops. finals: scalar results, stored after all stages. last: these and scalars
    that are asked for, as tasks. cleared: arrays that sums are added to. order: what is planned. direct: what is made
    where it is wanted. some: the dimension that has at least one place wherever the code runs.
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
    children: list["Context"] = field(default_factory=list)
    finals: list[Wanted] = field(default_factory=list)
    last: list[Task] = field(default_factory=list)
    cleared: set[str] = field(default_factory=set)
    order: Sequence[Node] = ()
    direct: Mapping[Node, Destination] = field(default_factory=dict)
    some: Dim | None = None

    def __post_init__(self) -> None:
        self.entries = Entries(self.memory)
        self.layout = Layout(self.lane, self.first)
        self.storage = Storage(self.memory, self.naming.fresh, self.work)
        self.schedule = Schedule(self.entries, self.storage)
        self.top = Region(self.uses, dict(self.scalars), self.name, self.comment, some=self.some)

    def inside(self, sizes: dict[Node, Expression]) -> "Context":
        """The same for a loop's body, with a workspace of its own."""
        work = self.naming.fresh("work")
        self.children.append(type(self)(self.naming.inside(), {}, sizes, self.lane, self.first, self.bound, work))
        return self.children[-1]

    # ---- planning

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
            self.write(x, None)
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

    def write(self, n: Node, to: Destination | None, optional: bool = False) -> None:
        """Plan every entry by itself; another view of what is there where that does."""
        if to is None and (alias := self.alias(n)) is not None:
            self.memory[n] = alias
        else:
            self.compute(n, to, optional)

    def compute(self, n: Node, to: Destination | None, optional: bool = False) -> None:
        """Plan every entry by itself; optional: if anything but its nest reads it."""
        space, place = self.space(n.type.shape)
        value = self.entries.entry(n, place)
        del self.entries.known[n, place]  # from now on it is read
        to = self.destination(n, to)
        self.schedule.put(Write(node=n, space=space, value=value, to=to, place=place, optional=optional))

    # ---- statements

    def name(self, scalar: Node, depth: int = 0) -> str:
        """What an entry is called: as its array, and by where it is there; depth: the loops that it depends on."""
        origin, place = self.entries.origin.get(scalar, (scalar, ()))
        read = self.entries.reads.get(scalar)
        if read is not None:
            origin, place = read.source, read.place
        is_there = read is not None or origin.op.is_copy
        while origin.op.is_copy:
            origin = origin.args[0]
        known = self.naming.known_name(origin) or self.naming.moved(origin)
        if is_there and not known and origin in self.memory and (origin.type.shape or not is_scanned(origin)):
            known = self.memory[origin].whole_array.text
            known = known.removesuffix("_b") if origin.op.is_leaf else known  # of a block
        if scalar.type.dtype == "int64" and known:
            self.naming.known_names.setdefault(scalar, known)
        word = self.naming.index_word(place, origin.type.shape, depth)
        return self.naming.fresh((known or self.naming.preferred_name(origin)) + word)

    def comment(self, scalar: Node) -> str:
        """What the line of an entry says; nothing if it only has a name for what is read."""
        origin, _ = self.entries.origin.get(scalar, (None, ()))
        return "" if origin is None or self.naming.moved(origin) else self.naming.comment(origin)

    def entries_a_sample(self) -> int:
        """The entries of the workspace for one sample of a block."""
        return self.storage.entries_a_sample(self.lane or self.first)

    def allocations(self) -> list[Assign]:
        """The lines that allocate what the stages need, those of loops' bodies after them."""
        own = self.storage.allocations(self.partials)
        return [*own, *(line for child in self.children for line in child.allocations())]

    # ---- what the stages themselves do

    @abstractmethod
    def run(self, targets: Sequence[Wanted], scalars: Sequence[Node] = ()) -> None:
        """Plan all tasks for roots that go somewhere, and for scalars."""

    @abstractmethod
    def emit(self) -> list[Statement]:
        """All stages; arrays are declared where they are first written."""

    @abstractmethod
    def scalar(self, n: Node, preferred: str = "", named: bool = False) -> Expression:
        """A scalar after all stages; under a name if one is preferred."""
