"""A graph of arrays as stages: loop nests, matrix products and calls of routines, in an order that lets nests be one.

What stands in memory and how it lies there is decided first (`layout`). Then each of these arrays is made by *tasks*
(`rules`: loops over `nests.tasks`, and calls), whose values are scalars made of entries of other arrays (`entries`).
Tasks are put into *slots* (`nests.schedule`), which are the stages: nests over one space, or calls.
When all is planned, arrays get their places in the workspace (`storage`), and each slot is written (`nests`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
from gradcompile.loops.expressions import Expression
from gradcompile.loops.ir import Assign, Note, Statement
from gradcompile.lower.memory.entries import Memory
from gradcompile.lower.memory.layout import stored
from gradcompile.lower.nests.context import Context
from gradcompile.lower.nests.nests import Nest
from gradcompile.lower.nests.places import Destination, Space, Wanted
from gradcompile.lower.nests.schedule import CallSlot, LoopSlot
from gradcompile.lower.nests.tasks import Task, Value
from gradcompile.lower.rules import elementwise, products, routines, scans

BLANK = Note()  # between stages
MAKERS = elementwise.MAKERS | products.MAKERS | routines.MAKERS | scans.MAKERS


@dataclass(slots=True)
class Stages(Context):
    """Plans the stages of one function or one loop's body, and writes them; ends: the scalars after all stages."""

    ends: Nest | None = None

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
        self.last = [self.scalar_task(n) for n in (*(root for root, _ in self.finals), *scalars)]
        self.schedule.note_reads([task.value for task in self.last], self.schedule.end)

    def make(self, n: Node, to: Destination | None, optional: bool = False) -> None:
        """Plan what makes one array, where it is wanted if told; optional: if anything but its nest reads it."""
        if n.op.name in MAKERS:
            MAKERS[n.op.name](self, n, to)
        else:
            self.write(n, to, optional)

    def emit(self) -> list[Statement]:
        """All stages; arrays are declared where they are first written."""
        self.schedule.drop_optional()
        self.storage.allocate(self.bound)
        for k, slot in enumerate(self.schedule.slots):
            self.top.statements += [*([BLANK] if self.top.statements else ()), *self.storage.declared(k)]
            if isinstance(slot, CallSlot):
                self.top.statements += slot.lines()
            else:
                Nest(self, slot).emit()
        self.top.statements += self.storage.declared(len(self.schedule.slots))  # views that scalars alone read
        self.ends = Nest(self, LoopSlot(Space(()), self.last))
        for root, to in self.finals:
            value = self.ends.value(self.entries.entry(root, ()))
            self.top.statements.append(Assign(to.memory.whole_array, value, to.comment, "+=" if to.add else "="))
        return self.top.statements

    def scalar(self, n: Node, preferred: str = "", named: bool = False) -> Expression:
        """A scalar after all stages so far; under a name if one is preferred."""
        task = self.scalar_task(n)
        if preferred:
            self.naming.known.setdefault(n, preferred)
        nest = self.ends or Nest(self, LoopSlot(task.space, [task]))
        return nest.value(task.value, named or bool(preferred))

    def scalar_task(self, n: Node) -> Task:
        """A scalar that stands nowhere."""
        value = self.entries.entry(n, ())
        return Value(node=n, space=Space(()), value=value, to=Destination(Memory("", ())), place=())


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
