"""A scan as a loop: each step's stages, between carries that are read and carries that are made."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gradcompile.ir import Node, topological
from gradcompile.lower.arrays.entries import Memory, Place
from gradcompile.lower.arrays.layout import is_copy
from gradcompile.lower.arrays.tasks import Target, everywhere, text_at
from gradcompile.lower.arrays.texts import atom_of, text_of, tuple_of
from gradcompile.lower.loopir import Line, Loop, Statement
from gradcompile.ops import scan as record
from gradcompile.types import Dim, Shape, dim_sum

if TYPE_CHECKING:
    from gradcompile.lower.arrays.stages import Stages


def scan(outer: "Stages", n: Node, target: Target | None) -> None:
    """Put a scan into the stages of what it stands in."""
    there = target is not None and not target.add and target.memory.dense
    Steps(outer, n, target if there else None).plan()
    if target is not None and not there:
        outer.bring(target)


@dataclass(frozen=True, slots=True)
class Carry:
    """A carry: rows of one array, of which by turns one is the old value and one the new.

    rows: the array. first, now, new, last: which row the initial value is in, that before a step, that after it, and
    the last one.
    """

    rows: Memory
    first: str
    now: str
    new: str
    last: str

    def row(self, which: str) -> str:
        """The text of a row."""
        return f"{self.rows.name}[{which}]"

    def memory(self, name: str) -> Memory:
        """A row under a name."""
        return Memory(name, tuple(axis - 1 for axis in self.rows.order if axis), dense=True)


@dataclass(slots=True)
class Steps:
    """A scan that is being planned.

    outer, inner: the stages around it and those of one step. target: where it is wanted. name: of the vector of all
    that it gives. finals, ys, totals: where these are in it. head: the lines that begin a step. step, count: the
    variables of the place of a step, and of the loop. scalars: numbers that do not change from step to step.
    """

    outer: "Stages"
    node: Node
    target: Target | None
    loop: record.Loop = field(init=False)
    inner: "Stages" = field(init=False)
    name: str = field(init=False)
    finals: Sequence[record.Part] = field(init=False)
    ys: Sequence[record.Part] = field(init=False)
    totals: Sequence[record.Part] = field(init=False)
    step: str = field(init=False)
    count: str = field(init=False)
    head: list[Line] = field(default_factory=list)
    scalars: dict[Node, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loop = self.node.params[0]
        self.finals, self.ys, self.totals = self.loop.split(record.parts(self.loop))
        self.name = self.vector()
        order = topological(self.loop.roots)
        sizes = {x: atom_of(x.args[0].type.shape[x.params[0]]) for x in order if x.op.name == "size"}
        self.inner = self.outer.inside(sizes)
        self.inner.layout.learn(order)
        self.step = self.outer.naming.fresh("step")
        self.count = self.outer.naming.fresh("count") if self.loop.reverse else self.step

    def vector(self) -> str:
        """The vector of all that the scan gives: where that is wanted, or in the workspace."""
        if self.target is not None:
            self.outer.memory[self.node] = self.target.memory
            return self.target.memory.name
        name = self.outer.naming.name(self.node)
        self.outer.storage.hold(self.node, name, (0,))
        return name

    def plan(self) -> None:
        """Plan what comes before, each step, and what comes after."""
        outer, loop = self.outer, self.loop
        inits, xs, constants = loop.arguments(self.node.args)
        carries = [self.carry(k) for k in range(len(inits))]
        for carry, init in zip(carries, inits, strict=True):
            self.start(carry, init)
        sources = [x for x in (*xs, *constants) if x.type.shape]
        for x in sources:
            outer.standing(x)
        for leaf, x in zip(loop.constants, constants, strict=True):
            self.give(leaf, x)
        for leaf, x in zip(loop.slices, xs, strict=True):
            self.slice(leaf, outer.memory[self.source(x)])
        targets = [*map(self.carried, carries, loop.carries, loop.finals), *self.stacks(), *self.sums()]
        self.inner.run(targets)
        standing = [self.source(x) for x in sources] + [x for x in inits if x in outer.memory and x.type.shape]
        outer.schedule.call(standing, self.node, self.name, lambda: self.lines(targets, carries))
        for carry in carries:
            outer.storage.touch(carry.rows.array, outer.schedule.end - 1)

    # ---- carries

    def carry(self, k: int) -> Carry:
        """The rows of a carry: the stack of what it was before each step and the last value, or else two by turns."""
        leaf, length = self.loop.carries[k], text_of(self.loop.length)
        if leaf not in self.loop.ys:
            order = (0, *(1 + axis for axis in self.inner.layout.order(leaf.type.shape)))
            rows = self.outer.storage.kept("carry", (2, *leaf.type.shape), order)
            return Carry(rows, "0", f"{self.count} % 2", f"({self.count} + 1) % 2", f"{atom_of(self.loop.length)} % 2")
        shape = (dim_sum(self.loop.length, 1), *leaf.type.shape)
        begin = self.finals[k] if self.loop.reverse else self.ys[self.loop.ys.index(leaf)]
        rows = Memory(self.part("carry", begin.span.start, shape), tuple(range(len(shape))), dense=True)
        ends = (length, f"{self.step} + 1", self.step, "0")
        return Carry(rows, *(ends if self.loop.reverse else ends[::-1]))

    def start(self, carry: Carry, init: Node) -> None:
        """The initial value written into its row."""
        if init.type.shape:
            memory = carry.memory(self.outer.storage.name_view(f"{carry.rows.name}_first", carry.rows.name,
                                                               carry.row(carry.first)))  # fmt: skip
        else:
            memory = Memory(carry.row(carry.first), ())
        self.outer.bring(Target(init, memory))
        self.outer.storage.touch(memory.array, self.outer.schedule.end)

    def carried(self, carry: Carry, leaf: Node, final: Node) -> Target:
        """Where a step finds a carry, and where it writes the new one."""
        self.inner.memory[leaf] = self.named(carry, carry.now, "now", leaf)
        return Target(final, self.named(carry, carry.new, "new", leaf))

    def named(self, carry: Carry, which: str, wish: str, leaf: Node) -> Memory:
        """A row of a carry, under a name in each step."""
        if not leaf.type.shape:
            return Memory(carry.row(which), ())
        name = self.outer.naming.fresh(f"{carry.rows.name}_{wish}")
        self.head.append(Line(f"{name} = {carry.row(which)}"))
        return carry.memory(name)

    # ---- what a step reads

    def source(self, x: Node) -> Node:
        """The node that stands in memory for an array that does."""
        return x.args[0] if is_copy(x) and x not in self.outer.memory else x

    def give(self, leaf: Node, x: Node) -> None:
        """What does not change from step to step: an array as it stands, a number under a name."""
        if x.type.shape:
            self.inner.memory[leaf] = self.outer.memory[self.source(x)]
            return
        self.scalars[leaf] = x
        self.inner.texts[leaf] = ""  # which `lines` knows
        self.outer.schedule.note_reads([self.outer.entries.entry(x, ())], self.outer.schedule.end)

    def slice(self, leaf: Node, memory: Memory) -> None:
        """Name the entries of what is walked at this step."""
        index = [self.step if axis == 0 else ":" for axis in memory.order]
        while index[-1] == ":":
            index.pop()
        text = f"{memory.name}[{', '.join(index)}]"
        if not leaf.type.shape:
            self.inner.memory[leaf] = Memory(text, (), memory.whole)
            return
        name = self.outer.naming.fresh(f"{memory.name}_now")
        order = tuple(axis - 1 for axis in memory.order if axis)
        dense = memory.order[0] == 0 and (memory.dense or len(order) == 1)
        self.inner.memory[leaf] = Memory(name, order, memory.whole, dense)
        self.head.append(Line(f"{name} = {text}"))

    # ---- what a step makes

    def part(self, wish: str, start: Dim, shape: Shape) -> str:
        """The name of a part of the scan's vector."""
        text = f"view({self.name}, {text_of(start)}, {tuple_of(shape)})"
        return self.outer.storage.name_view(f"{self.name}_{wish}", self.name, text)

    def stacks(self) -> list[Target]:
        """What each step gives, one row of an array for all; carries are there already."""
        targets, there = [], set(self.loop.carries)
        for root, part in zip(self.loop.ys, self.ys, strict=True):
            if root in there:
                there.remove(root)
                continue
            stacked = self.part("y", part.span.start, part.type.shape)
            row = f"{stacked}[{self.step}]"
            if root.type.shape:
                name = self.outer.naming.fresh(f"{stacked}_now")
                self.head.append(Line(f"{name} = {row}"))
                targets.append(Target(root, Memory.plain(name, root, dense=True)))
            else:
                targets.append(Target(root, Memory(row, ())))
        return targets

    def sums(self) -> list[Target]:
        """Sums over all steps."""
        targets = []
        for root, part in zip(self.loop.totals, self.totals, strict=True):
            total = self.part("total", part.span.start, part.type.shape or (1,))
            memory = Memory.plain(total, root, dense=True) if root.type.shape else Memory(f"{total}[0]", ())
            targets.append(Target(root, memory, True))
        return targets

    # ---- text

    def lines(self, targets: Sequence[Target], carries: Sequence[Carry]) -> list[Statement]:
        """The loop, from sums of zero to the last carries."""
        outer, inner = self.outer, self.inner
        for leaf, x in self.scalars.items():
            inner.top.given[leaf] = outer.scalar(x, named=x.op.name != "const")
        inner.bound = outer.bound
        length = text_of(self.loop.length)
        place = [Line(f"{self.step} = {length} - 1 - {self.count}")] if self.loop.reverse else []
        body = [*place, *self.head, *inner.emit()]
        loop = Loop(f"for {self.count} in range({length})", body)
        return [*(cleared(t.memory) for t in targets if t.add), loop, *self.lasts(carries)]

    def lasts(self, carries: Sequence[Carry]) -> list[Statement]:
        """Last values that are not in the scan's vector yet, and are read there."""
        lines: list[Statement] = []
        for carry, leaf, part in zip(carries, self.loop.carries, self.finals, strict=True):
            if leaf in self.loop.ys or not self.is_read(part):
                continue
            shape = leaf.type.shape
            name = self.outer.naming.fresh(f"{self.name}_last")
            lines.append(Line(f"{name} = view({self.name}, {text_of(part.span.start)}, {tuple_of(shape or (1,))})"))
            if not shape:
                lines.append(Line(f"{name}[0] = {carry.row(carry.last)}"))
                continue
            source = carry.memory(self.outer.naming.fresh(f"{carry.rows.name}_last"))
            lines.append(Line(f"{source.name} = {carry.row(carry.last)}"))
            lines += self.copy(shape, source, Memory.plain(name, leaf))
        return lines

    def is_read(self, part: record.Part) -> bool:
        """Whether anything reads a result."""
        own = {(p.span,) for p in (*self.finals, *self.ys, *self.totals)}
        readers = [x for x in self.outer.order if self.node in x.args]
        alone = all(x.op.name == "item" and x.params[0] in own and x.params[0] != (part.span,) for x in readers)
        return self.node in self.outer.roots or not alone

    def copy(self, shape: Shape, source: Memory, goal: Memory) -> list[Statement]:
        """Loops that copy an array entry by entry, in the order of what is read."""
        names = {k: self.outer.naming.loop(len(shape) - 1 - depth) for depth, k in enumerate(source.order)}
        place: Place = tuple(names[k] for k in range(len(shape)))
        body: list[Statement] = [Line(f"{text_at(goal, place)} = {text_at(source, place)}")]
        for depth, k in reversed(list(enumerate(source.order))):
            turns = "lanes(0, " if depth == len(shape) - 1 else "range("
            body = [Loop(f"for {names[k]} in {turns}{text_of(shape[k])})", body)]
        return body


def cleared(memory: Memory) -> Line:
    """The line that starts a sum over steps."""
    return Line(f"{everywhere(memory) if memory.order else f'{memory.array}[:]'} = 0.0")
