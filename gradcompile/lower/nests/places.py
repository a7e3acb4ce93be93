"""Where a nest runs, where its results go, and the text of a place in memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gradcompile.ir.core import Node
from gradcompile.ir.types import Dim
from gradcompile.lower.memory.entries import Memory, Place
from gradcompile.lower.memory.texts import listed

LEAST = '-float("inf")'  # what a maximum starts from


class Gathering(NamedTuple):
    """How entries are gathered: what that starts from, what lanes gather in, and what brings these together."""

    start: str
    lanes: str
    fold: str


GATHERINGS = {"sum": Gathering("0.0", "partial", "fold"), "amax": Gathering(LEAST, "peaks", "largest")}


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
class Target:
    """Where a root goes: an array of the caller; add: to what is there, where a maximum keeps the larger."""

    node: Node
    memory: Memory
    add: bool = False
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """An array that a task writes to, or adds to what was there before all stages; comment: of the line that does.

    A task that finds the largest keeps the larger instead of adding.
    """

    memory: Memory
    add: bool = False
    comment: str = ""


def text_at(memory: Memory, place: Place, names: Mapping[str, str] = {}) -> str:
    """The text of an entry of an array, or of a scalar."""
    return f"{memory.name}[{listed(memory.at(place), names)}]" if place else memory.name


def everywhere(memory: Memory) -> str:
    """The text of all entries of an array, as they are filled."""
    return f"{memory.name}[{', '.join(':' * len(memory.order))}]"
