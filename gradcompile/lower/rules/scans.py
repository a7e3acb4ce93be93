"""A scan as a loop: each step's stages, between carries that are read and carries that are made."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from gradcompile.ir.core import Node, is_const
from gradcompile.ir.graph import topological
from gradcompile.ir.types import ArrayType, dim_product, dim_sum
from gradcompile.loops.expressions import EVERY, Expression, name, number, operation, span
from gradcompile.loops.ir import Assign, Loop, Statement, lanes, turns
from gradcompile.lower.memory.entries import Memory, Place
from gradcompile.lower.memory.layout import is_copy
from gradcompile.lower.memory.lengths import ZERO, atom_of, dim_expression
from gradcompile.lower.nests.context import Context
from gradcompile.lower.nests.places import NOTHING, Destination, Wanted, everywhere
from gradcompile.lower.program import DEEP
from gradcompile.ops import scan as record
from gradcompile.ops.scan import live_carries
from gradcompile.ops.shape import is_reshape


def scanned(outer: Context, n: Node, to: Destination | None) -> None:
    """Put a scan into the stages of what it stands in, when the first of its results is to be made."""
    if n in outer.schedule.made:
        return
    group = [x for x in outer.order if x.op is n.op and x.args == n.args and x.params[0] == n.params[0]]
    Steps(outer, group).plan()


@dataclass(frozen=True, slots=True)
class Carry:
    """A carry: rows of one array, of which by turns one is the old value and one the new.

    rows: the array. first, now, new, last: which row the initial value is in, that before a step, that after it, and
    the last one.
    """

    rows: Memory
    first: Expression
    now: Expression
    new: Expression
    last: Expression

    def row(self, which: Expression) -> Expression:
        """One of the rows."""
        return self.rows.row(which)

    def scalar(self, which: Expression) -> Memory:
        """A row that is one number."""
        return Memory(self.rows.name, (), index=(which,))

    def memory(self, name: str) -> Memory:
        """A row under a name."""
        return Memory(name, tuple(axis - 1 for axis in self.rows.order if axis), dense=True)


@dataclass(slots=True)
class Steps:
    """A scan that is being planned.

    outer, inner: the stages around it and those of one step. results: those that are wanted, by their places. head: the
    lines that begin a step. step, count: the variables of the place of a step, and of the loop. scalars: numbers that
    do not change from step to step.
    """

    outer: Context
    group: Sequence[Node]
    loop: record.Loop = field(init=False)
    inner: Context = field(init=False)
    results: dict[int, Node] = field(init=False)
    step: str = field(init=False)
    count: str = field(init=False)
    head: list[Assign] = field(default_factory=list)
    scalars: dict[Node, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loop = self.group[0].params[0]
        self.results = {n.params[1]: n for n in self.group}
        order = topological(self.loop.roots)
        sizes = {x: atom_of(x.args[0].type.shape[x.params[0]]) for x in order if x.op.by_shape}
        self.inner = self.outer.inside(sizes)
        self.inner.layout.learn(order)
        self.step = self.outer.naming.fresh("step")
        self.count = self.outer.naming.fresh("count") if self.loop.reverse else self.step

    def plan(self) -> None:
        """Plan what comes before, each step, and what comes after."""
        outer, loop = self.outer, self.loop
        needed = live_carries(loop, self.results)
        inits, _, _ = loop.arguments(self.group[0].args)
        carries = {k: self.carry(k) for k in range(len(inits)) if k in needed}
        for k, carry in carries.items():
            self.start(carry, inits[k])
        present = self.given(set(topological([loop.roots[k] for k in needed])))
        sums = self.sums()
        cleared = [to.memory for (_, to), from_zero in sums if from_zero]
        going = [self.carried(c, loop.carries[k], loop.finals[k]) for k, c in carries.items()]
        self.inner.run([*going, *self.stacks(), *(t for t, _ in sums)])
        made = {n: (outer.memory.get(n) or outer.direct[n].memory).name for n in self.group}
        outer.schedule.call(present, made, lambda: self.lines(cleared, carries))
        for carry in carries.values():
            outer.storage.touch(carry.rows.name, outer.schedule.end - 1)

    # ---- carries

    def carry(self, k: int) -> Carry:
        """Where a carry stands: in what is stacked of it, with a row for the last value, or in two rows by turns."""
        leaf, length, outer = self.loop.carries[k], self.loop.length, self.outer
        loop_name = self.inner.naming.known[leaf] = self.loop.carry_name(k)
        final, stacks = self.results.get(k), self.stacks_of(k)
        order = (0, *(1 + axis for axis in self.inner.layout.order(leaf.type.shape)))
        if not stacks or not outer.direct.keys().isdisjoint({*stacks, final}):
            rows = outer.storage.kept(loop_name, (2, *leaf.type.shape), order)
            two, count = number(2), name(self.count)
            turn = [operation("%", k, two) for k in (count, operation("+", count, number(1)), atom_of(length))]
            carry = Carry(rows, ZERO, *turn)
        else:
            rows = outer.storage.kept(loop_name, (dim_sum(length, 1), *leaf.type.shape), order)
            step = name(self.step)
            ends = (dim_expression(length), operation("+", step, number(1)), step, ZERO)
            carry = Carry(rows, *(ends if self.loop.reverse else ends[::-1]))
            for stack, first in stacks.items():
                self.see(stack, rows, span(number(first), dim_expression(dim_sum(length, first))), order)
        target = None if final is None else outer.direct.get(final)
        if final is not None and target is None:
            self.see(final, rows, carry.last, carry.memory("").order)
        elif final is not None and target is not None and not target.add:
            outer.memory[final] = target.memory
        return carry

    def stacks_of(self, k: int) -> dict[Node, int]:
        """What is stacked of a carry and is read: before each step, after it; and the row that it begins with."""
        ends = {self.loop.carries[k]: int(self.loop.reverse)}
        if self.loop.finals.index(final := self.loop.finals[k]) == k and final not in self.loop.leaves:
            ends[final] = 1 - int(self.loop.reverse)
        places = enumerate(self.loop.ys, len(self.loop.finals))
        return {n: ends[y] for place, y in places if y in ends and (n := self.results.get(place)) is not None}

    def see(self, n: Node, rows: Memory, index: Expression, order: tuple[int, ...]) -> None:
        """A result is a part of the rows of a carry."""
        if n.type.shape:
            known = self.outer.storage.view(self.outer.naming.name(n), rows.name, rows.row(index))
            self.outer.memory[n] = Memory(known, order, dense=True)
        else:
            self.outer.memory[n] = Memory(rows.name, (), index=(index,))

    def start(self, carry: Carry, init: Node) -> None:
        """The initial value written into its row."""
        if init.type.shape:
            preferred, row = f"{carry.rows.name}_first", carry.row(carry.first)
            memory = carry.memory(self.outer.storage.name_view(preferred, carry.rows.name, row))
        else:
            memory = carry.scalar(carry.first)
        self.outer.write_to(init, Destination(memory))
        self.outer.storage.touch(memory.name, self.outer.schedule.end)

    def carried(self, carry: Carry, leaf: Node, final: Node) -> Wanted:
        """Where a step finds a carry, and where it writes the new one."""
        if leaf.type in (ArrayType((), "int64"), ArrayType((), "bool")):  # which stand among floats
            self.inner.memory[leaf] = carry.scalar(carry.now)
            return final, Destination(carry.scalar(carry.new))
        now = self.named(carry, carry.now, "now")
        if not leaf.type.shape:
            self.inner.scalars[leaf] = self.inner.top.given[leaf] = now
            return final, Destination(carry.scalar(carry.new))
        self.inner.memory[leaf] = carry.memory(now.word)
        return final, Destination(carry.memory(self.named(carry, carry.new, "new").word))

    def named(self, carry: Carry, which: Expression, preferred: str) -> Expression:
        """The name of a row of a carry in each step."""
        known = name(self.outer.naming.fresh(f"{carry.rows.name}_{preferred}"))
        self.head.append(Assign(known, carry.row(which)))
        return known

    # ---- what a step reads

    def given(self, below: Set[Node]) -> list[Node]:
        """Have what a step reads stand in memory, as far as the leaves are among these; the nodes that do."""
        carried = len(self.loop.carries)
        pairs = list(zip(self.loop.leaves, self.group[0].args, strict=True))[carried:]
        pairs = [(leaf, x) for leaf, x in pairs if leaf in below]
        pairs = [(leaf, self.unsplit(x) if leaf in self.loop.slices else x) for leaf, x in pairs]
        for x in (x for _, x in pairs if x.type.shape):
            self.outer.materialized(x)
        for leaf, x in pairs:
            if leaf in self.loop.slices:
                said = self.loop.slice_name(self.loop.slices.index(leaf))
                self.inner.naming.known |= {leaf: said} if said else {}
                self.inner.memory[leaf] = self.entry(leaf, self.outer.memory[self.source(x)], said)
            else:
                said = self.outer.naming.known_name(x)
                self.inner.naming.known |= {leaf: said} if said else {}
                self.give(leaf, x)
        return [self.source(x) for _, x in pairs if x.type.shape]

    def unsplit(self, x: Node) -> Node:
        """An array whose axis 0 is cut into segments for a walk, one after the other; any other as it is."""
        if not is_reshape(x) or x in self.outer.memory or len(x.type.shape) < 2:
            return x
        (y,) = x.args
        lengths = dim_product(*x.type.shape[:2])
        return y if y.type.shape == (lengths, *x.type.shape[2:]) else x

    def source(self, x: Node) -> Node:
        """The node that stands in memory for an array that does."""
        return x.args[0] if is_copy(x) and x not in self.outer.memory else x

    def give(self, leaf: Node, x: Node) -> None:
        """What does not change from step to step: an array as it stands, a number under a name."""
        if x.type.shape:
            self.inner.memory[leaf] = self.outer.memory[self.source(x)]
            return
        self.scalars[leaf] = x
        self.inner.scalars[leaf] = NOTHING  # for now: `lines` knows it
        self.outer.schedule.note_reads([self.outer.entries.entry(x, ())], self.outer.schedule.end)

    def entry(self, leaf: Node, memory: Memory, said: str = "") -> Memory:
        """The entry of an array at this step's place, under a name; leaf: what it stands for in a step.

        said: what the user calls it.
        """
        is_segment = len(leaf.type.shape) == len(memory.order)
        index = [self.place(leaf, is_segment) if axis == 0 else EVERY for axis in memory.order]
        while index[-1] == EVERY:
            index.pop()
        if not leaf.type.shape:
            return Memory(memory.name, (), memory.whole, index=tuple(index))
        known = self.outer.naming.fresh(said or f"{memory.name}_now")
        self.head.append(Assign(name(known), memory.row(*index)))
        order = memory.order if is_segment else tuple(axis - 1 for axis in memory.order if axis)
        return Memory(known, order, memory.whole, memory.order[0] == 0 and (memory.dense or len(order) == 1))

    def place(self, leaf: Node, is_segment: bool) -> Expression:
        """The index of a step's entry along axis 0, or of its segment."""
        if not is_segment:
            return name(self.step)
        start = dim_product(leaf.type.shape[0], self.step)
        return span(dim_expression(start), dim_expression(dim_sum(start, leaf.type.shape[0])))

    # ---- what a step makes

    def stacks(self) -> list[Wanted]:
        """What each step gives, one row of an array for all; those of carries are there already."""
        targets: list[Wanted] = []
        for k, root in enumerate(self.loop.ys, len(self.loop.finals)):
            n = self.results.get(k)
            if n is None or n in self.outer.memory:
                continue
            order = (0, *(1 + axis for axis in self.inner.layout.order(root.type.shape)))
            if said := self.inner.naming.composed(root, DEEP):
                self.outer.naming.known.setdefault(n, self.outer.naming.fresh(f"step_{said}"))
            to = self.destination(n, order)
            targets.append((root, replace(to, memory=self.entry(root, to.memory))))
        return targets

    def sums(self) -> list[tuple[Wanted, bool]]:
        """Sums over all steps, and whether they start from zero."""
        first = len(self.loop.finals) + len(self.loop.ys)
        pairs = [(root, n) for k, root in enumerate(self.loop.totals, first) if (n := self.results.get(k)) is not None]
        found = [(root, self.destination(n, self.inner.layout.order(root.type.shape))) for root, n in pairs]
        return [((root, replace(to, add=True)), not to.add) for root, to in found]

    def destination(self, n: Node, order: tuple[int, ...]) -> Destination:
        """Where a result goes: where it is wanted, or to an array of its own."""
        outer, to = self.outer, self.outer.direct.get(n)
        if to is not None:
            if not to.add:
                outer.memory[n] = to.memory
            return Destination(to.memory, to.add, outer.comment_for(n, to))
        if n.type.shape:
            memory = outer.storage.hold(n, outer.naming.name(n), order)
        else:
            array = outer.naming.known[n] = outer.storage.kept(outer.naming.preferred_name(n), ()).name
            memory = outer.memory[n] = Memory(array, (), index=(ZERO,))
        return Destination(memory, comment=outer.comment_for(n, None))

    # ---- statements

    def lines(self, cleared: Sequence[Memory], carries: Mapping[int, Carry]) -> list[Statement]:
        """The loop, from sums of zero to the last carries."""
        outer, inner = self.outer, self.inner
        for leaf, x in self.scalars.items():
            inner.top.given[leaf] = outer.scalar(x, named=not is_const(x))
        inner.bound = outer.bound
        length = dim_expression(self.loop.length)
        before = operation("-", dim_expression(dim_sum(self.loop.length, -1)), name(self.count))
        place = [Assign(name(self.step), before)] if self.loop.reverse else []
        loop = Loop(self.count, turns(length), [*place, *self.head, *inner.emit()])
        return [*map(start, cleared), loop, *self.lasts(carries)]

    def lasts(self, carries: Mapping[int, Carry]) -> list[Statement]:
        """The last carries go where they are wanted."""
        lines: list[Statement] = []
        for k, carry in carries.items():
            n = self.results.get(k)
            if n is not None and (to := self.outer.direct.get(n)) is not None:
                known = self.outer.naming.fresh(f"{carry.rows.name}_last")
                lines.append(Assign(name(known), carry.row(carry.last)))
                lines += self.copy(n, carry.memory(known), to)
        return lines

    def copy(self, n: Node, source: Memory, to: Destination) -> list[Statement]:
        """Loops that copy an array entry by entry, or add it, in the order of what is read."""
        shape = n.type.shape
        names = {k: self.outer.naming.loop(len(shape) - 1 - depth) for depth, k in enumerate(source.order)}
        place: Place = tuple(names[k] for k in range(len(shape)))
        comment, how = self.outer.comment_for(n, to), "+=" if to.add else "="
        body: list[Statement] = [Assign(to.memory.at(place), source.at(place), comment, how)]
        for depth, k in reversed(list(enumerate(source.order))):
            stop = dim_expression(shape[k])
            body = [Loop(names[k], lanes(ZERO, stop) if depth == len(shape) - 1 else turns(stop), body)]
        return body


def start(memory: Memory) -> Assign:
    """The line that starts a sum over steps."""
    return Assign(everywhere(memory) if memory.order else memory.row(EVERY), NOTHING)


MAKERS = {"scanned": scanned}
