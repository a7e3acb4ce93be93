"""The order of stages: slots, one after the other, each a nest of tasks over one space, or statements of its own.

A task goes into the first nest over its space that comes after all that it reads. What the same nest makes at the
same place is at hand already, so that need not come before.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
from gradcompile.loops.ir import Statement
from gradcompile.lower.memory.entries import IOTA, Entries, Place, Read
from gradcompile.lower.memory.storage import Storage
from gradcompile.lower.nests.places import Space
from gradcompile.lower.nests.tasks import Task, Value, Write


@dataclass(slots=True)
class LoopSlot:
    """A slot of tasks that share their loops."""

    space: Space
    tasks: list[Task] = field(default_factory=list)


@dataclass(slots=True)
class CallSlot:
    """A slot of statements of its own, written when it is due: a matrix product, a routine, a loop of steps."""

    lines: Callable[[], Sequence[Statement]]


@dataclass(slots=True)
class Schedule:
    """The slots, and what they make and read.

    made: the last slot that writes to a node's array. pointwise: where each entry is computed by itself, and from what.
    readers: the slots that read a node, and whether they have the entry at hand.
    """

    entries: Entries
    storage: Storage
    slots: list[LoopSlot | CallSlot] = field(default_factory=list)
    made: dict[Node, int] = field(default_factory=dict)
    pointwise: dict[Node, tuple[Space, Place]] = field(default_factory=dict)
    readers: dict[Node, list[tuple[int, bool]]] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The number of the slot after all others."""
        return len(self.slots)

    def put(self, task: Task) -> None:
        """Put a task into the first nest that comes late enough."""
        slot = self.earliest(task.roots, task.space)
        here, loops = self.nest(slot, task.space)
        loops.tasks.append(task)
        self.note_reads(task.roots, here, task.space)
        for memory in task.arrays:
            self.storage.touch(memory.name, here)
        if task.node is not None:
            self.made[task.node] = max(self.made.get(task.node, 0), here)
            if task.is_pointwise:
                self.pointwise[task.node] = task.space, task.place

    def nest(self, slot: int, space: Space) -> tuple[int, LoopSlot]:
        """The first nest over a space from a slot on, and its number; a new one if there is none."""
        for k in range(slot, self.end):
            found = self.slots[k]
            if isinstance(found, LoopSlot) and found.space == space:
                return k, found
        self.slots.append(new := LoopSlot(space))
        return self.end - 1, new

    def call(self, sources: Sequence[Node], made: Mapping[Node, str], lines: Callable[[], Sequence[Statement]]) -> None:
        """A slot of statements that read arrays and make others, of which the names are given."""
        slot = self.end
        self.slots.append(CallSlot(lines))
        for s in sources:
            self.readers.setdefault(s, []).append((slot, False))
            self.storage.touch(self.storage.memory[s].name, slot)
        for node, name in made.items():
            self.storage.touch(name, slot)
            self.made[node] = slot

    def share(self, n: Node, source: Node) -> None:
        """A node is another view of what stands for a source."""
        if source in self.made:
            self.made[n] = self.made[source]
            self.readers.setdefault(source, []).append((self.made[source], False))

    def earliest(self, roots: Iterable[Node], space: Space) -> int:
        """The first slot in which all that is read has been made."""
        reads = [r for r in self.reads(roots) if r.source in self.made]
        return max((self.made[r.source] + (not self.is_at_hand(r, space)) for r in reads), default=0)

    def is_at_hand(self, read: Read, space: Space | None) -> bool:
        """Whether a nest over a space computes what is read at the same place."""
        return self.pointwise.get(read.source) == (space, read.place)

    def reads(self, roots: Iterable[Node]) -> list[Read]:
        """What the entries below the roots read, places that are data included."""
        everything = self.entries.with_places(roots)
        reads = (self.entries.reads[n] for n in topological(everything) if n in self.entries.reads)
        return [r for r in reads if r.source is not IOTA]

    def note_reads(self, roots: Iterable[Node], slot: int, space: Space | None = None) -> None:
        """Remember who reads what, for the life of arrays; without a space after all stages."""
        for read in self.reads(roots):
            same = self.is_at_hand(read, space) and self.made[read.source] == slot
            self.readers.setdefault(read.source, []).append((slot, same))
            if not same and read.source in self.storage.memory:
                self.storage.touch(self.storage.memory[read.source].name, slot)

    def is_at_hand_somewhere(self, n: Node | None) -> bool:
        """Whether a task has a node's entry at hand in the nest that makes it."""
        return n is not None and any(same for _, same in self.readers.get(n, ()))

    def drop_optional(self) -> None:
        """Values that nothing reads but their own nest need no memory."""
        for slot in self.slots:
            if isinstance(slot, LoopSlot):
                slot.tasks = [self.reduced(t) for t in slot.tasks]

    def reduced(self, t: Task) -> Task:
        """The task, or one that stores nothing if nobody reads it."""
        if not isinstance(t, Write) or not t.optional or t.node is None:
            return t
        if not all(same for _, same in self.readers.get(t.node, ())):
            return t
        self.storage.buffers.pop(t.to.memory.name, None)
        return Value(node=t.node, space=t.space, value=t.value, to=t.to, place=t.place)
