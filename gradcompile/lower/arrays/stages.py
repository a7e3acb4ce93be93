"""A graph of arrays as stages: loop nests, matrix products and calls of routines, in an order that lets nests be one.

Every array that stands in memory is made by a task. A task that loops goes into the first nest over the same space
that comes late enough: what the nest has made at the same place is at hand without being read. Inside a nest every
value is computed in the outermost loop that knows it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gradcompile.errors import GraphError
from gradcompile.ir import Node, topological
from gradcompile.lower.arrays import products, steps
from gradcompile.lower.arrays.entries import IOTA, Entries, Memory, Place, splits
from gradcompile.lower.arrays.layout import ALIASES, Layout, base, is_copy, stored
from gradcompile.lower.arrays.texts import atom_of, listed, text_of, tuple_of
from gradcompile.lower.arrays.workspace import Workspace
from gradcompile.lower.expression import Region
from gradcompile.lower.loopir import Line, Loop, Statement
from gradcompile.lower.program import Naming
from gradcompile.ops.shape import Span
from gradcompile.types import Dim, Shape, dim_product, dim_sum, dim_value, parsed

MOST = '-float("inf")'
SAMPLE = 64  # samples for which the workspace is planned, to see how much one needs


@dataclass(frozen=True, slots=True)
class Space:
    """What a nest loops over: for each loop from the outermost its variable and its length.

    lanes: whether the innermost loop's turns are independent of each other.
    """

    loops: tuple[tuple[str, Dim], ...]
    lanes: bool = True


@dataclass(slots=True)
class Task:
    """One array, or a part of one, that a nest makes.

    kind: "write", "sum", "amax" (over `lost` axes) or "scatter". value: the scalar that is computed at each place.
    target: where it goes, at `place` of its axes. add: whether it is added to what is there.
    """

    node: Node
    kind: str
    space: Space
    value: Node
    target: Memory
    place: Place
    add: bool = False
    folds: bool = False  # whether the lanes are summed up
    found: tuple[tuple[str, Node], ...] = ()
    optional: bool = False
    comment: str = ""
    carry: Memory | None = None
    rest: Place = ()
    axis: Dim = 0


@dataclass(slots=True)
class Slot:
    """A stage: tasks of one space, or statements of their own."""

    space: Space | None
    tasks: list[Task] = field(default_factory=list)
    lines: Callable[[], list[Statement]] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a root goes: an array of the caller; add: to what is there."""

    node: Node
    memory: Memory
    add: bool = False
    comment: str = ""


@dataclass(slots=True)
class Buffer:
    """Memory of the workspace: shape of the array as it lies, and the first and the last slot that touch it."""

    shape: Shape
    first: int
    last: int
    whole: bool = False  # whether its entries are integers


@dataclass(slots=True)
class Stages:
    """Makes the stages of one function or one loop's body.

    memory: arrays and scalars that stand somewhere. texts: scalars from outside. lane: the dimension of the samples of
    a block. bound: the largest length of named dimensions that have one.
    """

    naming: Naming
    memory: dict[Node, Memory]
    texts: dict[Node, str]
    lane: Dim | None = None
    first: Dim | None = None
    bound: Mapping[str, Dim] = field(default_factory=dict)
    work: str = "work"
    entries: Entries = field(init=False)
    layout: Layout = field(init=False)
    slots: list[Slot] = field(default_factory=list)
    made: dict[Node, int] = field(default_factory=dict)
    pointwise: dict[Node, tuple[Space, Place, Node]] = field(default_factory=dict)
    readers: dict[Node, list[tuple[int, bool]]] = field(default_factory=dict)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    aliases: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> what it is part of, and its text
    top: Region = field(init=False)
    workspace: Workspace = field(default_factory=Workspace)
    integers: Workspace = field(default_factory=Workspace)
    partials: list[str] = field(default_factory=list)
    children: list["Stages"] = field(default_factory=list)
    finals: list[Target] = field(default_factory=list)
    cleared: set[str] = field(default_factory=set)
    pending: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.entries = Entries(self.memory)
        self.layout = Layout(self.lane, self.first)
        self.top = Region(Counter(), dict(self.texts), self.name, self.comment)

    # ---- the whole

    def run(self, targets: Sequence[Target], wanted: Sequence[Node] = (), scalars: Sequence[Node] = ()) -> None:
        """Plan all tasks for roots that go somewhere, for arrays that are wanted in memory, and for scalars."""
        roots = [t.node for t in targets]
        there = self.memory.keys() | self.texts.keys()
        order = topological([*roots, *wanted, *scalars], there.__contains__)
        self.layout.learn(order)
        needed, kept = stored(order, roots, self.memory)
        needed |= {x for n in wanted if (x := base(n, self.memory)) is not None}
        first = {t.node: t for t in reversed(targets) if not t.add}
        uses = Counter(a for n in order for a in n.args)
        sole = {t.node: t for t in targets if t.add and uses[t.node] == 0 and roots.count(t.node) == 1}
        done: set[int] = set()
        for n in order:
            target = sole.get(n) or first.get(n)
            if n in needed or n in kept or (target is not None and n.type.shape):
                self.make(n, target, n in kept and target is None)
                done |= {id(target)} if target is not None else set()
            elif n.type.shape == () and n.op.name in REDUCTIONS:
                target = sole.get(n) if n.op.name == "sum" else None
                self.make(n, target, False)
                done |= {id(target)} if target is not None else set()
        for t in targets:
            if id(t) not in done and t.node.type.shape:
                self.copy(t)
        self.finals = [t for t in targets if id(t) not in done and not t.node.type.shape]
        self.note_reads([self.entries.entry(n, ()) for n in (*(t.node for t in self.finals), *scalars)], len(self.slots), None)

    # ---- tasks

    def make(self, n: Node, target: Target | None, optional: bool) -> None:
        """The tasks that make one array."""
        makers: dict[str, Callable[[Node, Target | None], None]] = {
            "sum": self.reduction, "amax": self.reduction, "dot": self.product, "scatter_add": self.scatter,
            "assemble": self.assembly, "overlap": self.windows, "reshape": self.reshaped, "cumsum": self.running,
            "argmax": self.first_largest, "scan": lambda n, target: steps.plan(self, n, target),
        }  # fmt: skip
        maker = makers.get(n.op.name)
        if maker is not None:
            maker(n, target)
        elif n.op.name in products.ROUTINES:
            products.routine(self, n, target)
        elif (alias := self.alias(n)) is not None and target is None:
            self.memory[n] = alias
        else:
            self.write(n, target, optional)

    def space(self, shape: Shape, last: int | None = None, lanes: bool = True) -> tuple[Space, Place]:
        """The loops over a shape, and the place in it that they are at."""
        order = self.layout.order(shape) if last is None else (*(k for k in range(len(shape)) if k != last), last)
        return self.ordered(order, shape, lanes and bool(shape))

    def write(self, n: Node, target: Target | None, optional: bool = False) -> None:
        """A task that computes every entry by itself."""
        space, place = self.space(n.type.shape)
        value = self.computed(n, place)
        memory = self.room(n, target)
        add = target is not None and target.add
        self.put(Task(n, "write", space, value, memory, place, add, optional=optional, comment=self.said(n, target)))

    def computed(self, n: Node, place: Place) -> Node:
        """An entry of a node that does not stand in memory yet; from now on it is read."""
        value = self.entries.entry(n, place)
        del self.entries.known[n, place]
        return value

    def copy(self, t: Target) -> None:
        """A task that brings a value, at hand or computed, where it is wanted."""
        space, place = self.space(t.node.type.shape)
        value = self.entries.entry(t.node, place)
        self.put(Task(t.node, "write", space, value, t.memory, place, t.add, comment=t.comment), owner=False)

    def room(self, n: Node, target: Target | None) -> Memory:
        """Where a node's array stands: where it is wanted, or in the workspace."""
        if target is not None:
            if not target.add:
                self.memory[n] = target.memory
            return target.memory
        whole = n.type.dtype in ("int64", "bool") and n.op.name not in ADDING  # sums are made in floats
        memory = Memory(self.naming.name(n), self.layout.order(n.type.shape), whole)
        if n.type.shape:
            self.buffer(n, memory)
        self.memory[n] = memory
        return memory

    def said(self, n: Node, target: Target | None) -> str:
        """What the line that writes a node says of it."""
        return target.comment if target is not None and target.comment else self.naming.comment(n)

    def reduction(self, n: Node, target: Target | None) -> None:
        """A sum or a maximum over axes."""
        shape = n.args[0].type.shape
        space, place = self.space(shape)
        value = self.entries.entry(n.args[0], place)
        kept = tuple(p for k, p in enumerate(place) if k not in n.params[0])
        folds = bool(space.loops) and space.loops[-1][0] not in kept
        memory = self.room(n, target)
        add = target is not None and target.add
        self.put(Task(n, n.op.name, space, value, memory, kept, add, folds, comment=self.said(n, target)))

    def product(self, n: Node, target: Target | None) -> None:
        """A contraction: a matrix product, or loops where the operands do not lie right for one."""
        found = products.plan(self, n, target)
        if found is None:
            from gradcompile.lower.arrays.prepare import as_loops

            looped = as_loops(n)
            space, place = self.space(looped.args[0].type.shape)
            value = self.entries.entry(looped.args[0], place)
            kept = tuple(p for k, p in enumerate(place) if k not in looped.params[0])
            memory = self.room(n, target)
            folds = space.loops[-1][0] not in kept
            add = target is not None and target.add
            self.put(Task(n, "sum", space, value, memory, kept, add, folds, comment=self.said(n, target)))

    def scatter(self, n: Node, target: Target | None) -> None:
        """Entries added at places that are data: in order where lanes could meet."""
        (axis, lengths), (g, *index) = n.params, n.args
        shape, rank = g.type.shape, len(index[0].type.shape)
        inside = range(axis, axis + rank)
        last = self.layout.last(shape)
        if last in inside:
            free = [k for k in range(len(shape)) if k not in inside and self.layout.is_long(shape[k])]
            last = free[-1] if free else last
        space, place = self.space(shape, last, lanes=last not in inside)
        value = self.entries.entry(g, place)
        at: list[Dim] = []
        for k, i in enumerate(index):
            here = self.entries.entry(i, place[axis : axis + rank])
            at.append(self.entries.wrapped_place(here, lengths[k]))
        whole = (*place[:axis], *at, *place[axis + rank :])
        memory = self.room(n, target)
        found = self.entries.found_in(whole)
        add = target is not None and target.add
        self.put(Task(n, "scatter", space, value, memory, whole, add, found=found, comment=self.said(n, target)))

    def assembly(self, n: Node, target: Target | None) -> None:
        """Parts written into their places, zeros around them."""
        shape, indices = n.params
        memory = self.room(n, target)
        covers = covered(shape, indices)
        add = target is not None and target.add
        for value, index in zip(n.args, indices, strict=True):
            inner: Shape = tuple(k.count if isinstance(k, Span) else d for d, k in zip(shape, index, strict=True)
                                 if k is None or isinstance(k, Span))  # fmt: skip
            space, place = self.space(inner)
            rest = iter(place)
            whole = tuple(
                next(rest) if k is None else dim_sum(k.start, dim_product(k.step, next(rest))) if isinstance(k, Span)
                else k for k in index
            )  # fmt: skip
            scalar = self.entries.entry(value, place if value.type.shape else ())
            kind = "write" if covers or add else "scatter"
            self.put(Task(n, kind, space, scalar, memory, whole, add, comment=self.said(n, target)), pointwise=False)

    def running(self, n: Node, target: Target | None) -> None:
        """Running sums: what is carried along the axis is kept for all places on the others."""
        axis, reverse = n.params
        shape = n.type.shape
        others = [k for k in range(len(shape)) if k != axis]
        others.sort(key=lambda k: k == self.layout.last(shape))
        space, place = self.ordered([axis, *others], shape, lanes=bool(others))
        at = dim_sum(shape[axis], -1, dim_product(-1, place[axis])) if reverse else place[axis]
        whole = (*place[:axis], at, *place[axis + 1 :])
        value = self.entries.entry(n.args[0], whole)
        carried = products.same(n)
        rest = tuple(place[k] for k in others) or (0,)
        carry = self.carry("carried", [shape[k] for k in others])
        memory = self.room(n, target)
        add = target is not None and target.add
        self.put(Task(carried, "scatter", space, value, carry, rest), owner=False)
        self.put(Task(n, "running", space, value, memory, whole, add, carry=carry, found=(), rest=rest), pointwise=False)

    def first_largest(self, n: Node, target: Target | None) -> None:
        """The first place of the largest entry, or of the first NaN, along an axis."""
        axis, shape = n.params[0], n.args[0].type.shape
        others = [k for k in range(len(shape)) if k != axis]
        others.sort(key=lambda k: k == self.layout.last(shape))
        space, place = self.ordered([axis, *others], shape, lanes=bool(others))
        value = self.entries.entry(n.args[0], place)
        rest = tuple(p for k, p in enumerate(place) if k != axis)
        kept = tuple(d for k, d in enumerate(shape) if k != axis)
        best = self.carry("best", kept)
        if kept:
            memory = self.room(n, target)
        else:
            memory = Memory(self.naming.name(n), (0,), True)
            self.buffers[memory.name] = Buffer((1,), 1 << 30, -1, True)
            self.memory[n] = Memory(f"{memory.name}[0]", (), True)
        self.put(Task(n, "argmax", space, value, memory, rest or (0,), carry=best, rest=rest or (0,), axis=place[axis]))
        self.pointwise.pop(n, None)

    def carry(self, wish: str, shape: Sequence[Dim]) -> Memory:
        """An array for what loops carry on; of one entry if the shape has no axis."""
        name, whole = self.naming.fresh(wish), tuple(shape) or (1,)
        self.buffers[name] = Buffer(whole, 1 << 30, -1)
        return Memory(name, tuple(range(len(whole))))

    def ordered(self, order: Sequence[int], shape: Shape, lanes: bool) -> tuple[Space, Place]:
        """Loops over a shape in a given order of its axes, and the place that they are at."""
        order = [k for k in order if shape[k] != 1]
        names = {k: self.naming.loop(len(order) - 1 - d) for d, k in enumerate(order)}
        place = tuple(names.get(k, 0) for k in range(len(shape)))
        return Space(tuple((names[k], shape[k]) for k in order), lanes and bool(order)), place

    def windows(self, n: Node, target: Target | None) -> None:
        """Windows added in their places: one entry of all windows after the other, as those do not meet."""
        axis, length, stride, dilation = n.params
        shape = n.args[0].type.shape
        last = self.layout.last(shape)
        last = axis if last == axis + 1 else last
        order = [axis + 1, *(k for k in range(len(shape)) if k not in (axis + 1, last)), last]
        space, place = self.ordered(order, shape, lanes=True)
        value = self.entries.entry(n.args[0], place)
        here = dim_sum(dim_product(stride, place[axis]), dim_product(dilation, place[axis + 1]))
        memory = self.room(n, target)
        add = target is not None and target.add
        whole = (*place[:axis], here, *place[axis + 2 :])
        self.put(Task(n, "scatter", space, value, memory, whole, add, comment=self.said(n, target)))

    def reshaped(self, n: Node, target: Target | None) -> None:
        """Axes that become one: another view of the same memory, or a copy."""
        if target is None and (alias := self.alias(n)) is not None:
            self.memory[n] = alias
            return
        if splits(n) is not None:
            self.write(n, target)
            return
        x = n.args[0]
        space, place = self.space(x.type.shape)
        value = self.entries.entry(x, place)
        memory = self.room(n, target)
        flat: Dim = 0
        for k, p in enumerate(place):
            flat = dim_sum(flat, dim_product(p, *x.type.shape[k + 1 :]))
        if (whole := merged(n, place)) is None:
            name = self.naming.fresh(memory.name + "_flat")
            if memory.order != tuple(range(len(memory.order))):
                raise GraphError(f"a reshape of type {x.type} to {n.type} can't be lowered")
            self.aliases[name] = memory.name, f"view({memory.name}, 0, {tuple_of([dim_product(*n.type.shape)])})"
            memory, whole = Memory(name, (0,)), (flat,)
        add = target is not None and target.add
        self.put(Task(n, "write", space, value, memory, whole, add, comment=self.said(n, target)), pointwise=False)

    def alias(self, n: Node) -> Memory | None:
        """An array that is part of another, or another view of it; None if it is not."""
        if n.op.name not in ALIASES:
            return None
        if is_copy(n.args[0]) and n.args[0] not in self.memory:
            self.memory[n.args[0]] = self.memory[n.args[0].args[0]]
        if n.args[0] not in self.memory:
            inner = self.alias(n.args[0])
            if inner is None:
                return None
            self.memory[n.args[0]] = inner
        x = n.args[0]
        if x in self.made:
            self.made[n] = self.made[x]
            self.readers.setdefault(x, []).append((self.made[x], False))
        memory = self.memory[x]
        if n.op.name == "transpose":
            return Memory(memory.name, tuple(n.params[0].index(k) for k in memory.order), memory.whole)
        if n.op.name == "item":
            return self.part(n, memory)
        plain = tuple(range(len(memory.order)))
        if memory.order != plain or memory.name not in self.contiguous():
            return None
        name = self.seen_as(memory.name, n.type.shape)
        return Memory(name, tuple(range(len(n.type.shape))), memory.whole)

    def contiguous(self) -> set[str]:
        """The names of arrays whose entries lie one after the other."""
        return set(self.buffers) | self.naming.contiguous

    def seen_as(self, name: str, shape: Shape) -> str:
        """The name of the same entries in another shape."""
        text = f"view({name}, 0, {tuple_of(shape)})"
        for known, (source, other) in self.aliases.items():
            if source == name and other == text:
                return known
        new = self.naming.fresh(f"{name}_{len(shape)}d")
        self.aliases[new] = name, text
        self.naming.contiguous.add(new)
        return new

    def part(self, n: Node, memory: Memory) -> Memory | None:
        """A slice of an array, without a copy."""
        index = n.params[0]
        last = index[memory.order[-1]]
        if any(isinstance(k, Span) and k.step != 1 for k in index) or not (last is None or isinstance(last, Span)):
            return None
        texts, left = [], []
        for axis in memory.order:
            k = index[axis]
            if k is None or isinstance(k, Span):
                left.append(axis)
            texts.append(":" if k is None else text_of(k) if not isinstance(k, Span) else
                         f"{text_of(k.start)}:{text_of(dim_sum(k.start, k.count))}")  # fmt: skip
        name = self.naming.fresh(f"{memory.name}_part")
        if memory.order == (0,) and memory.name in self.contiguous():
            self.naming.contiguous.add(name)
        self.aliases[name] = memory.name, f"{memory.name}[{', '.join(texts)}]"
        kept = sorted(left)
        return Memory(name, tuple(kept.index(axis) for axis in left), memory.whole)

    def inside(self, sizes: dict[Node, str]) -> "Stages":
        """Stages of a loop's body, with a workspace of their own."""
        self.children.append(Stages(self.naming, {}, sizes, self.lane, self.first, self.bound, self.naming.fresh("work")))
        return self.children[-1]

    def kept(self, wish: str, shape: Shape, order: Sequence[int]) -> Memory:
        """An array that loops read and write; of one entry if the shape has no axis."""
        memory = self.carry(wish, [shape[k] for k in order])
        return Memory(memory.name, tuple(order))

    def bring(self, n: Node, memory: Memory, name: str) -> None:
        """Write a value where it is wanted before a loop begins."""
        space, place = self.space(n.type.shape)
        value = self.entries.entry(n, place)
        self.put(Task(n, "write", space, value, memory, place), owner=False)
        self.touch(name, len(self.slots))

    def buffer(self, n: Node, memory: Memory) -> None:
        """An array of the workspace."""
        self.memory[n] = memory
        self.buffers[memory.name] = Buffer(tuple(n.type.shape[k] for k in memory.order), 1 << 30, -1, memory.whole)

    def standing(self, x: Node) -> Memory:
        """Where an array stands that has to; a part or a transpose of one is at hand."""
        if is_copy(x):
            return self.memory[x.args[0]]
        if x not in self.memory:
            alias = self.alias(x)
            if alias is None:
                self.write(x, None)
            else:
                self.memory[x] = alias
        return self.memory[x]

    def row_major(self, x: Node) -> Node:
        """The array, or a copy of it, whose axes lie in their order."""
        memory = self.standing(x)
        x = x.args[0] if is_copy(x) else x
        if memory.order == tuple(range(len(memory.order))):
            return x
        copy = products.same(x)
        space, place = self.space(x.type.shape)
        self.buffer(copy, Memory.plain(self.naming.fresh(memory.name + "_rows"), copy))
        self.put(Task(copy, "write", space, self.entries.entry(x, place), self.memory[copy], place))
        return copy

    # ---- slots

    def put(self, task: Task, owner: bool = True, pointwise: bool = True) -> None:
        """Put a task into the first nest that comes late enough."""
        roots = [task.value, *(x for _, x in task.found)]
        slot = self.earliest(roots, task.space)
        here = next((k for k in range(slot, len(self.slots)) if self.slots[k].space == task.space), None)
        if here is None:
            here = len(self.slots)
            self.slots.append(Slot(task.space))
        self.slots[here].tasks.append(task)
        self.note_reads(roots, here, task.space)
        self.touch(task.target.name.partition("[")[0], here)
        if task.carry is not None:
            self.touch(task.carry.name, here)
        if owner:
            self.made[task.node] = max(self.made.get(task.node, 0), here)
            if pointwise and task.kind == "write" and not task.add:
                self.pointwise[task.node] = task.space, task.place, task.value

    def earliest(self, roots: Iterable[Node], space: Space | None) -> int:
        """The first slot in which all that is read has been made."""
        slot = 0
        for read in self.all_reads(roots):
            if read.source in self.made:
                near = self.pointwise.get(read.source)
                same = near is not None and near[0] == space and near[1] == read.place
                slot = max(slot, self.made[read.source] + (not same))
        return slot

    def all_reads(self, roots: Iterable[Node]) -> list:
        """What the entries below the roots read, places that are data included."""
        found, pending, seen = [], list(topological(roots)), set()
        while pending:
            n = pending.pop()
            if n in seen or n not in self.entries.reads:
                continue
            seen.add(n)
            read = self.entries.reads[n]
            found.append(read)
            pending += [m for _, x in read.found for m in topological([x])]
        return [r for r in found if r.source is not IOTA]

    def with_places(self, roots: Sequence[Node]) -> list[Node]:
        """The roots, and the integers that places of what they read are."""
        result, k = list(roots), 0
        seen = set[Node]()
        while k < len(result):
            for n in topological([result[k]], seen.__contains__):
                seen.add(n)
                result += [x for _, x in self.entries.reads[n].found] if n in self.entries.reads else []
            k += 1
        return result

    def note_reads(self, roots: Iterable[Node], slot: int, space: Space | None) -> None:
        """Remember who reads what, for the life of arrays."""
        for read in self.all_reads(roots):
            near = self.pointwise.get(read.source)
            same = near is not None and near[0] == space and near[1] == read.place and self.made[read.source] == slot
            self.readers.setdefault(read.source, []).append((slot, same))
            if not same and read.source in self.memory:
                self.touch(self.memory[read.source].name, slot)

    def touch(self, name: str, slot: int) -> None:
        """An array lives at least until then."""
        while name in self.aliases:
            name = self.aliases[name][0]
        if name in self.buffers:
            b = self.buffers[name]
            b.first, b.last = min(b.first, slot), max(b.last, slot)

    def call(self, sources: Sequence[Node], node: Node, target: str, lines: Callable[[], list[Statement]]) -> None:
        """A stage of its own that reads arrays and makes one."""
        slot = len(self.slots)
        sources = [s if s in self.memory else s.args[0] for s in sources]  # a leaf that was to be stored anew is not
        self.slots.append(Slot(None, lines=lines))
        for s in sources:
            self.readers.setdefault(s, []).append((slot, False))
            self.touch(self.memory[s].name, slot)
        self.touch(target, slot)
        self.made[node] = slot

    # ---- text

    def name(self, scalar: Node) -> str:
        """What an entry is called."""
        origin = self.entries.origin.get(scalar, scalar)
        if scalar in self.entries.reads:
            read = self.entries.reads[scalar]
            wish = self.memory[read.source].name if read.source in self.memory else "x"
        else:
            wish = self.naming.wish(origin).removesuffix("_1")
        return self.naming.fresh(wish if not origin.type.shape else wish.removesuffix("_i") + "_i")

    def comment(self, scalar: Node) -> str:
        """What the line of an entry says."""
        origin = self.entries.origin.get(scalar)
        return self.naming.comment(origin) if origin is not None else ""

    def emit(self) -> list[Statement]:
        """All stages; arrays are declared where they are first written."""
        self.drop_optional()
        self.allocate()
        for k, slot in enumerate(self.slots):
            self.declare(k)
            if slot.lines is not None:
                self.top.statements += slot.lines()
            elif slot.tasks:
                Nest(self, slot).emit()
        for t in self.finals:
            text = self.scalar(t.node)
            self.top.statements.append(Line(f"{t.memory.name} {'+=' if t.add else '='} {text}", t.comment))
        return self.top.statements

    def scalar(self, n: Node, wish: str = "", named: bool = False) -> str:
        """The text of a scalar after all stages; under a name if one is wished."""
        value = self.entries.entry(n, ())
        nest = Nest(self, Slot(Space(()), [Task(n, "value", Space(()), value, Memory("", ()), ())]))
        if wish:
            self.naming.known.setdefault(n, wish)
        return nest.value(value, named or bool(wish))

    def entries_a_sample(self) -> int:
        """The entries of the workspace for one sample of a block."""
        sizes = defaultdict[str, int](lambda: 256, {str(self.lane or self.first): SAMPLE})
        work = Workspace()
        for b in sorted(self.buffers.values(), key=lambda b: b.first):
            if b.last >= 0:
                work.place(dim_value(dim_product(*b.shape), sizes), b.first, b.last)
        return int(work.size) // SAMPLE

    def drop_optional(self) -> None:
        """Values that nothing reads but their own nest need no memory."""
        for slot in self.slots:
            for task in slot.tasks:
                if task.optional and all(same for _, same in self.readers.get(task.node, ())):
                    self.buffers.pop(task.target.name, None)
                    task.kind = "value"

    def allocate(self) -> None:
        """Places for all arrays in the workspace."""
        for name, b in sorted(self.buffers.items(), key=lambda item: item[1].first):
            if b.last >= 0:
                size = bounded(dim_product(*b.shape), self.bound)
                start = (self.integers if b.whole else self.workspace).place(size, b.first, b.last)
                array = self.work + "_whole" * b.whole
                self.aliases[name] = array, f"view({array}, {text_of(start)}, {tuple_of(b.shape)})"
        self.pending = dict(self.aliases)

    def declare(self, slot: int) -> None:
        """The arrays that a slot is the first to touch, and parts of what is there."""
        known = {name for name, b in self.buffers.items() if b.first > slot}
        while (
            ready := [name for name, (source, _) in self.pending.items()
                     if name not in known and source not in known and source not in self.pending]
        ):  # fmt: skip
            for name in ready:
                self.top.statements.append(Line(f"{name} = {self.pending.pop(name)[1]}", self.naming.about(name)))


ADDING = ("sum", "amax", "cumsum", "dot", "scatter_add", "assemble", "overlap")
REDUCTIONS = ("sum", "amax", "argmax", "det", "logabsdet", "detsign")


def bounded(dim: Dim, bound: Mapping[str, Dim]) -> Dim:
    """A dimension at its largest.

    >>> bounded("2*m*t", {"m": "BLOCK"}), bounded("2*m", {"m": 256})
    ('2*BLOCK*t', 512)
    """
    return dim_sum(*(dim_product(c, *(bound.get(name, name) for name in names)) for names, c in parsed(dim)))


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


def merged(n: Node, place: Place) -> Place | None:
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


class Nest:
    """Writes the loops of one slot."""

    def __init__(self, stages: Stages, slot: Slot) -> None:
        assert slot.space is not None
        self.stages, self.tasks, self.space = stages, slot.tasks, slot.space
        self.depth = {name: k + 1 for k, (name, _) in enumerate(slot.space.loops)}
        self.deepest = len(slot.space.loops)
        roots = stages.with_places([x for t in self.tasks for x in (t.value, *(i for _, i in t.found))])
        self.order = topological(roots)
        uses = Counter([*roots, *(a for n in self.order for a in n.args)])
        self.level: dict[Node, int] = {}
        self.regions = [stages.top]
        stages.top.uses = uses + Counter(stages.top.uses)
        for _ in slot.space.loops:
            self.regions.append(Region(uses, dict(stages.top.given), stages.name, stages.comment))
        self.uses = uses
        self.made: dict[tuple[Node, Place], Node] = {}
        self.before: list[Statement] = [] if slot.space.loops else stages.top.statements  # before the whole nest
        self.after: list[Statement] = []
        self.opening: list[Statement] = []  # before the innermost loop
        self.closing: list[Statement] = []

    # ---- values

    def level_of(self, n: Node) -> int:
        """The number of loops that a value depends on."""
        if n not in self.level:
            for m in topological([n]):
                if m in self.level:
                    continue
                found = max((self.level[a] for a in m.args), default=0)
                read = self.stages.entries.reads.get(m)
                if read is not None:
                    names = [f for d in read.place if isinstance(d, str) for f in self.depth if mentions(d, f)]
                    inner = [self.level_of(x) for _, x in read.found]
                    found = max([0, *(self.depth[f] for f in names), *inner])
                self.level[m] = found
        return self.level[n]

    def value(self, root: Node, named: bool = False) -> str:
        """The text of an entry in the innermost loop; what outer loops know is computed there."""
        for n in topological([root]):
            level = self.level_of(n)
            region = self.regions[level]
            if n in region.given or n.op.name == "const":
                continue
            if n in self.stages.entries.reads:
                self.read(n, level)
            elif level < self.deepest and (n is root or self.needed_deeper(n, level)):
                self.give(n, region.emit(n, named=True), level)
        return self.regions[self.deepest].emit(root, named)

    def needed_deeper(self, n: Node, level: int) -> bool:
        """Whether a deeper loop uses a value."""
        return any(self.level.get(m, -1) > level for m in self.users.get(n, ()))

    @property
    def users(self) -> dict[Node, list[Node]]:
        """Who uses a value."""
        if not hasattr(self, "_users"):
            self._users: dict[Node, list[Node]] = {}
            for m in self.order:
                self.level_of(m)
                for a in m.args:
                    self._users.setdefault(a, []).append(m)
        return self._users

    def give(self, n: Node, text: str, level: int) -> None:
        """A value has a name from here on in."""
        for region in self.regions[level:]:
            region.given[n] = text

    def read(self, n: Node, level: int) -> None:
        """An entry that is read: under a name where it is used again."""
        read = self.stages.entries.reads[n]
        if (read.source, read.place) in self.made:
            inner = self.made[read.source, read.place]
            self.give(n, self.value(inner, named=True), level)
            return
        text = self.text(read.source, read.place, read.found)
        region = self.regions[level]
        if (self.uses[n] > 1 or level < self.deepest) and read.source is not IOTA and "[" in text:
            name = self.stages.name(n)
            region.statements.append(Line(f"{name} = {text}"))
            text = name
        self.give(n, text, level)

    def text(self, source: Node, place: Place, found: Sequence[tuple[str, Node]]) -> str:
        """The text of an entry in memory."""
        names = {key: self.value(x, named=True) for key, x in found}
        if source is IOTA:
            return atom_of(place[0], names)
        if source.op.name == "table":
            flat: Dim = 0
            for k, p in enumerate(place):
                flat = dim_sum(flat, dim_product(p, *source.type.shape[k + 1 :]))
            return f"{self.stages.naming.table(source)}[{text_of(flat, names)}]"
        memory = self.stages.memory[source]
        text = f"{memory.name}[{listed(memory.at(place), names)}]" if place else memory.name
        if source.type.dtype == "bool":
            return f"({text} != 0)"
        return f"to_int({text})" if source.type.dtype == "int64" and not memory.whole else text

    # ---- tasks

    def emit(self) -> None:
        """All tasks, and the loops around them."""
        top = self.stages.top.statements
        for task in self.tasks:
            self.task(task)
        statements: list[Statement] = self.regions[-1].statements
        if not self.space.loops:
            return
        for k, (name, length) in reversed(list(enumerate(self.space.loops))):
            kind = "lanes" if k == self.deepest - 1 and self.space.lanes else "range"
            bounds = f"0, {text_of(length)}" if kind == "lanes" else text_of(length)
            statements = [Loop(f"for {name} in {kind}({bounds})", statements)]
            if k == self.deepest - 1:
                statements = [*self.opening, *statements, *self.closing]
            if k:
                statements = [*self.regions[k].statements, *statements]
        top += [*self.before, *statements, *self.after]

    def task(self, t: Task) -> None:
        """One task: its value, and where it goes."""
        body = self.regions[-1].statements
        if t.kind == "value":
            self.made[t.node, t.place] = t.value
            return
        names = {key: self.value(x, named=True) for key, x in t.found}
        if t.kind in ("running", "argmax"):
            self.carried(t)
            return
        if t.kind in ("sum", "amax") and t.folds:
            self.folded(t)
            return
        reused = t.kind == "write" and any(same for _, same in self.stages.readers.get(t.node, ()))
        text = self.value(t.value, named=reused)
        at = f"{t.target.name}[{listed(t.target.at(t.place), names)}]" if t.place else t.target.name
        if not self.space.loops and t.kind in ("sum", "amax"):  # of one entry
            body.append(Line(f"{at} {'+=' if t.add else '='} {text}", t.comment))
            return
        if t.kind == "write":
            body.append(Line(f"{at} {'+=' if t.add else '='} {text}", t.comment))
            self.made[t.node, t.place] = t.value
            return
        if not self.space.loops and t.kind in ("sum", "amax"):  # of the one entry that there is
            body.append(Line(f"{at} {'+=' if t.add else '='} {text}", t.comment))
            return
        self.clear(t)
        if t.kind == "amax":
            body.append(Line(f"{at} = maximum({at}, {text})", t.comment))
        else:
            negative = text.startswith("-") and self.regions[-1].texts.get(t.value, ("", 0))[1] == 6
            body.append(Line(f"{at} {'-=' if negative else '+='} {text[negative:]}", t.comment))

    def carried(self, t: Task) -> None:
        """A running sum is what was carried so far; a place moves where a larger entry comes."""
        assert t.carry is not None
        body, text = self.regions[-1].statements, self.value(t.value, named=t.kind == "argmax")
        at = f"{t.target.name}[{listed(t.target.at(t.place))}]"
        here = f"{t.carry.name}[{listed(t.rest)}]"
        if t.kind == "running":
            body.append(Line(f"{at} {'+=' if t.add else '='} {here}", t.comment))
            return
        self.before.append(Line(f"{t.carry.name}[{', '.join(':' * len(t.rest))}] = {MOST}"))
        self.before.append(Line(f"{t.target.name}[{', '.join(':' * len(t.place))}] = 0.0"))
        better = self.stages.naming.fresh("better")
        body.append(Line(f"{better} = ({text} > {here}) | (({text} != {text}) & ({here} == {here}))"))
        body.append(Line(f"{at} = {text_of(t.axis)} if {better} else {at}", t.comment))
        body.append(Line(f"{here} = {text} if {better} else {here}"))

    def clear(self, t: Task) -> None:
        """The line that starts a sum or a maximum."""
        if t.add or t.target.name in self.stages.cleared:
            return
        self.stages.cleared.add(t.target.name)
        start = MOST if t.kind == "amax" else "0.0"
        if t.target.order:
            self.before.append(Line(f"{t.target.name}[{', '.join(':' * len(t.target.order))}] = {start}"))

    def folded(self, t: Task) -> None:
        """A sum or a maximum over the lanes: one in each lane, which are brought together after the loop."""
        naming, scalar = self.stages.naming, not t.place
        partial = naming.fresh("partial" if t.kind == "sum" else "peaks")
        self.stages.partials.append(partial)
        start, fold = ("0.0", "fold") if t.kind == "sum" else (MOST, "highest")
        text = self.value(t.value)
        here = f"{partial}[{self.space.loops[-1][0]} % LANES]"
        inner = self.regions[-1].statements
        if t.kind == "sum":
            inner.append(Line(f"{here} += {text}"))
        else:
            inner.append(Line(f"{here} = maximum({here}, {text})"))
        opening, closing = (self.before, self.after) if scalar else (self.opening, self.closing)
        opening.append(Line(f"{partial}[:] = {start}"))
        at = f"{t.target.name}[{listed(t.target.at(t.place))}]" if t.place else t.target.name
        if scalar and t.node.type.shape == () and not t.target.order and not t.add:
            closing.append(Line(f"{t.target.name} = {fold}({partial})", t.comment))
            return
        self.clear(t)
        if t.kind == "sum":
            closing.append(Line(f"{at} += {fold}({partial})", t.comment))
        else:
            closing.append(Line(f"{at} = maximum({at}, {fold}({partial}))", t.comment))


def mentions(dim: Dim, name: str) -> bool:
    """Whether a polynomial has a variable."""
    return any(name in factors for factors, _ in parsed(dim))
