"""Where arrays stand: buffers of the workspace for as long as something needs them, and views of what is there.

A *buffer* is a piece of the workspace that holds one array, and another one when that is not needed any more. A *view*
is another name for entries of an array, in another shape or a part of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gradcompile.ir.core import Node
from gradcompile.ir.types import Dim, Shape, dim_product, dim_sum, dim_value, parsed
from gradcompile.loops.expressions import EVERY, Expression, call, span
from gradcompile.loops.expressions import name as word
from gradcompile.loops.ir import Assign
from gradcompile.lower.memory.entries import Memory
from gradcompile.lower.memory.lengths import ZERO, dim_expression, empty, view, zeros_of_size
from gradcompile.lower.memory.workspace import Workspace
from gradcompile.ops.shape import Span, is_item, is_transpose
from gradcompile.signature.names import Namer

SAMPLE = 64  # samples for which the workspace is planned, to see how much one needs
NEVER = 1 << 30


@dataclass(slots=True)
class Buffer:
    """Memory of the workspace: shape of the array as it lies, and the first and the last slot that touch it."""

    shape: Shape
    whole: bool = False  # whether its entries are integers
    first: int = NEVER
    last: int = -1


@dataclass(slots=True)
class Storage:
    """The arrays of one function, or of one loop's body.

    memory: where nodes stand. work: the name of the workspace. views: for a name the array it is part of, and which
    part. pending: views that no line has named yet.
    """

    memory: dict[Node, Memory]
    fresh: Namer
    work: str
    buffers: dict[str, Buffer] = field(default_factory=dict)
    views: dict[str, tuple[str, Expression]] = field(default_factory=dict)
    pending: dict[str, tuple[str, Expression]] = field(default_factory=dict)
    workspace: Workspace = field(default_factory=Workspace)
    integers: Workspace = field(default_factory=Workspace)

    # ---- buffers

    def hold(self, n: Node, name: str, order: Sequence[int], whole: bool = False) -> Memory:
        """A buffer for a node, its axes in that order; a scalar has a name only."""
        self.memory[n] = memory = Memory(name, tuple(order), whole, dense=True)
        if order:
            self.buffers[name] = Buffer(tuple(n.type.shape[k] for k in order), whole)
        return memory

    def kept(self, preferred: str, shape: Sequence[Dim], order: Sequence[int] | None = None) -> Memory:
        """A buffer for what loops carry on; of one entry if the shape has no axis."""
        order = tuple(range(len(shape))) if order is None else order
        name = self.fresh(preferred)
        self.buffers[name] = Buffer(tuple(shape[k] for k in order) or (1,))
        return Memory(name, tuple(order) if shape else (0,), dense=True)

    def one_integer(self, n: Node, name: str) -> None:
        """A buffer for a single integer that loops find."""
        self.buffers[name] = Buffer((1,), True)
        self.memory[n] = Memory(name, (), True, index=(ZERO,))

    def touch(self, name: str, slot: int) -> None:
        """An array, or what it is a part of, lives at least until then."""
        while name in self.views:
            name = self.views[name][0]
        if name in self.buffers:
            b = self.buffers[name]
            b.first, b.last = min(b.first, slot), max(b.last, slot)

    @property
    def used(self) -> list[tuple[str, Buffer]]:
        """The buffers that something touches, in the order in which they are needed."""
        return sorted(((name, b) for name, b in self.buffers.items() if b.last >= 0), key=lambda item: item[1].first)

    def allocate(self, bound: Mapping[str, Dim]) -> None:
        """Places for all buffers in the workspace; bound: the largest length of dimensions that have one."""
        for name, b in self.used:
            size = bounded(dim_product(*b.shape), bound)
            start = (self.integers if b.whole else self.workspace).place(size, b.first, b.last)
            array = self.work + "_whole" * b.whole
            self.views[name] = array, view(word(array), start, b.shape)
        self.pending = dict(self.views)

    def entries_a_sample(self, dim: Dim | None) -> int:
        """The entries of the workspace for one sample of a block, where the samples are this dimension."""
        sizes = defaultdict[str, int](lambda: 256, {str(dim): SAMPLE})
        work = Workspace()
        for _, b in self.used:
            work.place(dim_value(dim_product(*b.shape), sizes), b.first, b.last)
        return int(work.size) // SAMPLE

    def declared(self, slot: int) -> list[Assign]:
        """The lines that name what a slot is the first to touch, and parts of what is there."""
        later, lines = {name for name, b in self.buffers.items() if b.first > slot}, list[Assign]()
        while ready := [name for name, (source, _) in self.pending.items()
                        if name not in later and source not in later and source not in self.pending]:  # fmt: skip
            lines += [Assign(word(name), self.pending.pop(name)[1]) for name in ready]
        return lines

    def allocations(self, partials: Iterable[str]) -> list[Assign]:
        """The lines that allocate the workspace, and what lanes add up to."""
        parts = {source for source, _ in self.views.values()}  # an array without entries is a part as well
        lines = [Assign(word(self.work), empty(self.workspace.size))] if self.work in parts else []
        if (whole := f"{self.work}_whole") in parts:
            lines.append(Assign(word(whole), call("integers", dim_expression(self.integers.size))))
        return [*lines, *(Assign(word(name), zeros_of_size(word("LANES"))) for name in partials)]

    # ---- views

    def seen(self, n: Node) -> Memory | None:
        """A transpose, item or reshape of an array that is there, without a copy; None if it takes one."""
        memory = self.memory[n.args[0]]
        if is_transpose(n):
            return replace(memory, order=tuple(n.params[0].index(k) for k in memory.order))
        if is_item(n):
            return self.part(n.params[0], memory)
        if not n.args[0].type.shape or not memory.dense or memory.order != tuple(range(len(memory.order))):
            return None
        return replace(memory, name=self.reshaped(memory.name, n.type.shape), order=tuple(range(len(n.type.shape))))

    def reshaped(self, name: str, shape: Shape) -> str:
        """The name of the entries of an array, which lie one after the other, in another shape."""
        source, own = self.views.get(name, (name, ZERO))
        is_first = own.kind == "call" and own.parts[1] == ZERO
        name = source if is_first else name  # rather than a view of a view
        part = view(word(name), 0, shape)
        for known, found in self.views.items():
            if found == (name, part):
                return known
        return self.name_view(f"{name}_{len(shape)}d", name, part)

    def name_view(self, preferred: str, source: str, part: Expression) -> str:
        """A new name for a part of an array."""
        return self.view(self.fresh(preferred), source, part)

    def view(self, name: str, source: str, part: Expression) -> str:
        """A name that nothing else has stands for a part of an array."""
        self.views[name] = source, part
        return name

    def part(self, index: Sequence[object], memory: Memory) -> Memory | None:
        """A slice of an array, whose rows are not torn; None if it is none."""
        last = index[memory.order[-1]]
        if any(isinstance(k, Span) and k.step != 1 for k in index) or not (last is None or isinstance(last, Span)):
            return None
        left = [axis for axis in memory.order if index[axis] is None or isinstance(index[axis], Span)]
        part = memory.row(*(subscript(index[axis]) for axis in memory.order))
        name = self.name_view(f"{memory.name}_part", memory.name, part)
        kept = sorted(left)
        dense = memory.dense and memory.order == (0,)
        return Memory(name, tuple(kept.index(axis) for axis in left), memory.whole, dense)


def subscript(k: object) -> Expression:
    """An index: all of an axis, a part of it, or one place.

    >>> [subscript(k).text for k in (None, Span("n-1", 2), 3)]
    [':', 'n - 1:n + 1', '3']
    """
    if isinstance(k, Span):
        return span(dim_expression(k.start), dim_expression(dim_sum(k.start, k.count)))
    return EVERY if k is None else dim_expression(k)  # type: ignore[arg-type]


def bounded(dim: Dim, bound: Mapping[str, Dim]) -> Dim:
    """A dimension at its largest.

    >>> bounded("2*m*t", {"m": "BLOCK"}), bounded("2*m", {"m": 256})
    ('2*BLOCK*t', 512)
    """
    return dim_sum(*(dim_product(c, *(bound.get(name, name) for name in names)) for names, c in parsed(dim)))
