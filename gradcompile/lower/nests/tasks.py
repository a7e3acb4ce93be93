"""Tasks: what the loops of a nest do at each place, and the lines that this takes.

A *space* is what loops run over: a variable and a length for each. A *place* is an index for each axis of an array, in
terms of these variables. A *task* computes one scalar at each point of a space and brings it to a place of an array:
it writes it there, or adds it, or keeps the larger. All tasks of one nest have the same space.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gradcompile.ir.core import Node
from gradcompile.ir.types import Dim
from gradcompile.loops.expressions import EVERY, Expression, call, choice, element, group, name, operation
from gradcompile.loops.ir import Assign, Statement, add
from gradcompile.loops.kernel import Meeting
from gradcompile.lower.memory.entries import Memory, Place
from gradcompile.lower.memory.lengths import LEAST, dim_expression
from gradcompile.lower.nests.places import GATHERINGS, NOTHING, Destination, Space, everywhere
from gradcompile.signature.names import Namer


class NestOfTask(Protocol):
    """What a task asks of the nest that it is in.

    made: the entries that tasks have computed. before, after: statements around the nest; opening, closing: around the
    innermost loop. partials: arrays of LANES entries. cleared: arrays that sums are added to. fresh: gives new names.
    """

    made: dict[tuple[Node, Place], Node]
    before: list[Statement]
    after: list[Statement]
    opening: list[Statement]
    closing: list[Statement]
    partials: list[str]
    cleared: set[str]
    fresh: Namer

    @property
    def body(self) -> list[Statement]:
        """The statements inside all loops."""

    def value(self, root: Node, named: bool = False) -> Expression:
        """An entry in the innermost loop; what outer loops know is computed there."""

    def comment_unless_repeated(self, value: Expression, comment: str) -> str:
        """The comment, unless the line that named the value says the same."""

    def is_read_again(self, n: Node | None) -> bool:
        """Whether another task of this nest reads a node's entry where it is made."""


@dataclass(kw_only=True)
class Task(ABC):
    """What is done at each point of a space.

    node: whose entries these are; None for a copy of what is made elsewhere. value: the scalar at each point. It goes
    to a place of the destination.
    """

    node: Node | None
    space: Space
    value: Node
    to: Destination
    place: Place

    @property
    def roots(self) -> tuple[Node, ...]:
        """The scalars that are computed."""
        return (self.value,)

    @property
    def arrays(self) -> tuple[Memory, ...]:
        """The arrays that are written."""
        return (self.to.memory,)

    @property
    def is_pointwise(self) -> bool:
        """Whether the node's entry is at hand where another task of the nest reads it at the same place."""
        return False

    @abstractmethod
    def emit(self, nest: NestOfTask) -> None:
        """Write the lines."""

    def here(self, names: Mapping[str, Expression] = {}) -> Expression:
        """The entry that is written; names: of integers in the place."""
        return self.to.memory.at(self.place, names)

    def finished(self, value: Expression, comment: str) -> Assign:
        """The line that brings a finished value to its place."""
        return Assign(self.here(), value, comment, "+=" if self.to.add else "=")


@dataclass(kw_only=True)
class Write(Task):
    """A whole array, or a part of one, whose entries are computed one by one.

    part: of an array that others write to as well. optional: not needed in memory unless another nest reads it.
    """

    part: bool = False
    optional: bool = False

    @property
    def is_pointwise(self) -> bool:
        """Whether others may read it at the same place: not what is added, nor a part."""
        return self.node is not None and not self.to.add and not self.part

    def emit(self, nest: NestOfTask) -> None:
        """One line."""
        value = nest.value(self.value, named=nest.is_read_again(self.node))
        nest.body.append(self.finished(value, nest.comment_unless_repeated(value, self.to.comment)))
        if self.node is not None:
            nest.made[self.node, self.place] = self.value


@dataclass(kw_only=True)
class Value(Task):
    """Entries that only tasks of the same nest read: they have a name, and stand nowhere."""

    def emit(self, nest: NestOfTask) -> None:
        """Nothing but what the entry is, for who reads it."""
        if self.node is not None:
            nest.made[self.node, self.place] = self.value


@dataclass(kw_only=True)
class Accumulation(Task):
    """Entries added to places that may be met more than once; kind: "added", or "largest" for the larger.

    found: for names in the place that stand for integers the nodes.
    """

    kind: Meeting = "added"
    found: tuple[tuple[str, Node], ...] = ()

    @property
    def roots(self) -> tuple[Node, ...]:
        """The value, and the integers in the place."""
        return (self.value, *(x for _, x in self.found))

    def emit(self, nest: NestOfTask) -> None:
        """One line, and one before the nest that starts from nothing."""
        names = {key: nest.value(x, named=True) for key, x in self.found}
        value = nest.value(self.value)
        self.clear(nest)
        here, comment = self.here(names), self.to.comment
        nest.body.append(
            add(here, value, comment) if self.kind == "added" else gathered(self.kind, here, value, comment)
        )

    def clear(self, nest: NestOfTask) -> None:
        """The line that starts a sum or a maximum, before the nest; once for each array."""
        cleared = nest.cleared
        if self.to.add or self.to.memory.name in cleared:
            return
        cleared.add(self.to.memory.name)
        if self.to.memory.order:
            nest.before.append(Assign(everywhere(self.to.memory), GATHERINGS[self.kind].start))


def gathered(kind: Meeting, here: Expression, value: Expression, comment: str = "") -> Assign:
    """The statement that adds a value to an entry, or makes it the larger of both.

    >>> s, x = name("s"), name("x")
    >>> gathered("added", s, operation("*", x, x)).text, gathered("largest", s, x).text
    ('s += x * x', 's = maximum(s, x)')
    """
    return (
        Assign(here, call("maximum", here, value), comment) if kind == "largest" else Assign(here, value, comment, "+=")
    )


@dataclass(kw_only=True)
class Reduction(Accumulation):
    """A sum or a maximum over axes that loops run over."""

    def emit(self, nest: NestOfTask) -> None:
        """One line where the innermost loop keeps the place; otherwise lanes are brought together."""
        if not self.space.loops:  # of the one entry that there is
            here, value, comment = self.here(), nest.value(self.value), self.to.comment
            add_to_it = self.to.add
            nest.body.append(gathered(self.kind, here, value, comment) if add_to_it else Assign(here, value, comment))
        elif self.space.innermost in self.place:
            super().emit(nest)
        else:
            self.fold(nest)

    def fold(self, nest: NestOfTask) -> None:
        """A value for each lane, which are brought together after the innermost loop."""
        start, preferred, fold = GATHERINGS[self.kind]
        partial = nest.fresh(preferred)
        nest.partials.append(partial)
        lane = operation("%", name(self.space.innermost), name("LANES"))
        nest.body.append(gathered(self.kind, element(name(partial), [lane]), nest.value(self.value)))
        opening, closing = (nest.opening, nest.closing) if self.place else (nest.before, nest.after)
        opening.append(Assign(element(name(partial), [EVERY]), start))
        whole = call(fold, name(partial))
        if not self.to.memory.order and not self.to.add:
            closing.append(Assign(self.to.memory.whole_array, whole, self.to.comment))
            return
        self.clear(nest)
        closing.append(gathered(self.kind, self.here(), whole, self.to.comment))


@dataclass(kw_only=True)
class Running(Task):
    """Running sums: what has been added up so far is in `carry`, at `rest`, the place on the other axes."""

    carry: Memory
    rest: Place

    @property
    def arrays(self) -> tuple[Memory, ...]:
        """The result, and what is carried on."""
        return self.to.memory, self.carry

    def emit(self, nest: NestOfTask) -> None:
        """What is carried on, and its value so far."""
        value, carried = nest.value(self.value), self.carry.at(self.rest)
        nest.before.append(Assign(everywhere(self.carry), NOTHING))
        nest.body.extend([add(carried, value), self.finished(carried, self.to.comment)])


@dataclass(kw_only=True)
class FirstLargest(Task):
    """Along an axis the first place, `along`, of the largest entry or of the first NaN; best: that entry so far."""

    best: Memory
    along: Dim

    @property
    def arrays(self) -> tuple[Memory, ...]:
        """The result, and what is carried on."""
        return self.to.memory, self.best

    def emit(self, nest: NestOfTask) -> None:
        """A place moves where a larger entry comes."""
        x, here, best = nest.value(self.value, named=True), self.here(), self.best.at(self.place)
        nest.before += [Assign(everywhere(self.best), LEAST), Assign(everywhere(self.to.memory), NOTHING)]
        better = name(nest.fresh("better"))
        first_nan = operation("&", group(operation("!=", x, x)), group(operation("==", best, best)))
        is_better = operation("|", group(operation(">", x, best)), group(first_nan))
        nest.body.append(Assign(better, is_better))
        nest.body.append(Assign(here, choice(better, dim_expression(self.along), here), self.to.comment))
        nest.body.append(Assign(best, choice(better, x, best)))
