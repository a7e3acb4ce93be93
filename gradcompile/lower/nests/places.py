"""Where a nest runs, and where its results go."""

from dataclasses import dataclass
from typing import NamedTuple

from gradcompile.ir.core import Node
from gradcompile.ir.types import Dim
from gradcompile.loops.expressions import EVERY, Expression, number
from gradcompile.loops.kernel import Meeting
from gradcompile.lower.memory.entries import Memory
from gradcompile.lower.memory.lengths import LEAST
from gradcompile.ops.reduction import is_amax

NOTHING = number("0.0")  # what a sum starts from


class Gathering(NamedTuple):
    """How entries are gathered: what that starts from, what lanes gather in, and what brings these together."""

    start: Expression
    lanes: str
    fold: str


GATHERINGS: dict[Meeting, Gathering] = {
    "added": Gathering(NOTHING, "partial", "fold"),
    "largest": Gathering(LEAST, "peaks", "largest"),
}


def meeting(n: Node) -> Meeting:
    """How the shares in a reduction of parts of its entries are put together."""
    return "largest" if is_amax(n) else "added"


@dataclass(frozen=True, slots=True)
class Space:
    """What a nest loops over: for each loop from the outermost its variable and its length.

    lanes: whether the innermost loop's turns are independent of each other.
    """

    loops: tuple[tuple[str, Dim], ...]
    lanes: bool = True

    @property
    def innermost(self) -> str:
        """The variable of the innermost loop."""
        return self.loops[-1][0]


@dataclass(frozen=True, slots=True)
class Destination:
    """An array that results are written to, or added to what is there; comment: of the line that does.

    What finds the largest keeps the larger instead of adding.
    """

    memory: Memory
    add: bool = False
    comment: str = ""


Wanted = tuple[Node, Destination]  # a root, and where it goes: an array of the caller


def everywhere(memory: Memory) -> Expression:
    """All entries of an array, as they are filled."""
    return memory.row(*[EVERY] * len(memory.order))
