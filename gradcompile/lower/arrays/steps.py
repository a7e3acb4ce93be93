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
from gradcompile.types import Dim, Shape

if TYPE_CHECKING:
    from gradcompile.lower.arrays.stages import Stages


def scan(outer: "Stages", n: Node, target: Target | None) -> None:
    """Put a scan into the stages of what it stands in."""
    Steps(outer, n).plan()
    if target is not None:
        outer.bring(target)


@dataclass(slots=True)
class Steps:
    """A scan that is being planned.

    outer, inner: the stages around it and those of one step. name: of the vector of all that it gives. head: the lines
    that begin a step. step, count: the variables of the place of a step, and of the loop. goals: where the new carries
    stand. scalars: numbers that do not change from step to step.
    """

    outer: "Stages"
    node: Node
    loop: record.Loop = field(init=False)
    inner: "Stages" = field(init=False)
    name: str = field(init=False)
    step: str = field(init=False)
    count: str = field(init=False)
    head: list[Line] = field(default_factory=list)
    goals: list[Memory] = field(default_factory=list)
    scalars: dict[Node, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loop = self.node.params[0]
        self.name = self.outer.naming.name(self.node)
        self.outer.storage.hold(self.node, self.name, (0,))
        order = topological(self.loop.roots)
        sizes = {x: atom_of(x.args[0].type.shape[x.params[0]]) for x in order if x.op.name == "size"}
        self.inner = self.outer.inside(sizes)
        self.inner.layout.learn(order)

    def plan(self) -> None:
        """Plan what comes before, each step, and what comes after."""
        outer, loop = self.outer, self.loop
        inits, xs, constants = loop.arguments(self.node.args)
        for leaf, init in zip(loop.carries, inits, strict=True):
            self.start(leaf, init)
        sources = [x for x in (*xs, *constants) if x.type.shape]
        for x in sources:
            outer.standing(x)
        for leaf, x in zip(loop.constants, constants, strict=True):
            self.give(leaf, x)
        self.step = outer.naming.fresh("step")
        self.count = outer.naming.fresh("count") if loop.reverse else self.step
        for leaf, x in zip(loop.slices, xs, strict=True):
            self.slice(leaf, outer.memory[self.source(x)])
        targets = [*self.carries(), *self.rows(), *self.totals()]
        self.inner.run(targets)
        standing = [self.source(x) for x in sources] + [x for x in inits if x in outer.memory and x.type.shape]
        outer.schedule.call(standing, self.node, self.name, lambda: self.lines(targets))
        for memory in (*(self.inner.memory[leaf] for leaf in loop.carries), *self.goals):
            outer.storage.touch(memory.array, outer.schedule.end - 1)

    # ---- what a step reads

    def source(self, x: Node) -> Node:
        """The node that stands in memory for an array that does."""
        return x.args[0] if is_copy(x) and x not in self.outer.memory else x

    def kept(self, wish: str, shape: Shape) -> Memory:
        """Memory for a carry, as a step's arrays of that shape lie."""
        memory = self.outer.storage.kept(wish, shape, self.inner.layout.order(shape))
        return memory if shape else Memory(f"{memory.name}[0]", ())

    def start(self, leaf: Node, init: Node) -> None:
        """Memory for a carry, with the initial value written into it."""
        memory = self.inner.memory[leaf] = self.kept("carry", leaf.type.shape)
        self.outer.bring(Target(init, memory))
        self.outer.storage.touch(memory.array, self.outer.schedule.end)

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

    def carries(self) -> list[Target]:
        """New carries, beside the old ones."""
        self.goals = [self.kept("new_carry", root.type.shape) for root in self.loop.finals]
        return [Target(root, goal) for root, goal in zip(self.loop.finals, self.goals, strict=True)]

    def part(self, wish: str, start: Dim, shape: Shape) -> str:
        """The name of a part of the scan's vector."""
        text = f"view({self.name}, {text_of(start)}, {tuple_of(shape)})"
        return self.outer.storage.name_view(f"{self.name}_{wish}", self.name, text)

    def rows(self) -> list[Target]:
        """What each step gives, one row of an array for all."""
        _, parts, _ = self.loop.split(record.parts(self.loop))
        targets = []
        for root, part in zip(self.loop.ys, parts, strict=True):
            stacked = self.part("y", part.span.start, part.type.shape)
            row = f"{stacked}[{self.step}]"
            if root.type.shape:
                name = self.outer.naming.fresh(f"{stacked}_now")
                self.head.append(Line(f"{name} = {row}"))
                targets.append(Target(root, Memory.plain(name, root)))
            else:
                targets.append(Target(root, Memory(row, ())))
        return targets

    def totals(self) -> list[Target]:
        """Sums over all steps."""
        _, _, parts = self.loop.split(record.parts(self.loop))
        targets = []
        for root, part in zip(self.loop.totals, parts, strict=True):
            total = self.part("total", part.span.start, part.type.shape or (1,))
            memory = Memory.plain(total, root) if root.type.shape else Memory(f"{total}[0]", ())
            targets.append(Target(root, memory, True))
        return targets

    # ---- text

    def lines(self, targets: Sequence[Target]) -> list[Statement]:
        """The loop, from sums of zero to the last carries."""
        outer, inner = self.outer, self.inner
        for leaf, x in self.scalars.items():
            inner.top.given[leaf] = outer.scalar(x, named=x.op.name != "const")
        inner.bound = outer.bound
        length = text_of(self.loop.length)
        place = [Line(f"{self.step} = {length} - 1 - {self.count}")] if self.loop.reverse else []
        body = [*place, *self.head, *inner.emit(), *self.moves()]
        loop = Loop(f"for {self.count} in range({length})", body)
        return [*(cleared(t.memory) for t in targets if t.add), loop, *self.lasts()]

    def moves(self) -> list[Statement]:
        """The new carries become the old ones."""
        pairs = zip(self.loop.carries, self.goals, strict=True)
        return [s for leaf, goal in pairs for s in self.copy(leaf.type.shape, goal, self.inner.memory[leaf])]

    def lasts(self) -> list[Statement]:
        """The last carries go into the scan's vector."""
        lines: list[Statement] = []
        for leaf, part in zip(self.loop.carries, record.parts(self.loop), strict=False):
            shape = leaf.type.shape
            name = self.outer.naming.fresh(f"{self.name}_last")
            lines.append(Line(f"{name} = view({self.name}, {text_of(part.span.start)}, {tuple_of(shape or (1,))})"))
            goal = Memory.plain(name, leaf) if shape else Memory(f"{name}[0]", ())
            lines += self.copy(shape, self.inner.memory[leaf], goal)
        return lines

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
