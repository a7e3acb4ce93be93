"""Names in programs over arrays: of arrays and their entries, of loop variables, of tables of numbers."""

import builtins
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np

from gradcompile.ir.algebra import is_select
from gradcompile.ir.core import Node, is_const
from gradcompile.ir.types import Dim, Shape, names_in
from gradcompile.lower.memory.entries import Place
from gradcompile.lower.memory.layout import is_copy
from gradcompile.lower.program import Naming, within
from gradcompile.ops.contract import is_dot
from gradcompile.ops.scan import is_scanned

LOOPS = "ijklpqrsuv"


def caller(formula: str) -> str:
    """The function that a formula is a call of; empty if it is none.

    >>> caller("relu(X @ W + b)"), caller("relu(X) @ (W + b)"), caller("x + relu(y)")
    ('relu', '', '')
    """
    name, _, rest = formula.partition("(")
    depths = list(accumulate({"(": 1, ")": -1}.get(c, 0) for c in rest))
    return name if name.isidentifier() and -1 in depths and depths.index(-1) == len(rest) - 1 else ""


@dataclass(slots=True)
class ArrayNaming(Naming):
    """Names for one function, beside those of the module.

    loops: the variable of a loop by its height over the innermost. tables: the numbers of module constants. counted:
    lengths and distances of rows that BLAS is given. dims: names of dimensions. origin: the node of the program that a
    node of blocks, or a prepared one, is part of. known_names: what the reader knows a node of the program by, perhaps
    a part of it: both may stand in one function. is_step: whether these are names in the body of a loop over steps.
    """

    loops: dict[int, str] = field(default_factory=dict)
    tables: dict[str, tuple[float | int, ...]] = field(default_factory=dict)
    counted: dict[Dim, None] = field(default_factory=dict)
    dims: frozenset[str] = frozenset()
    origin: dict[Node, Node] = field(default_factory=dict)
    known_names: dict[Node, str] = field(default_factory=dict)
    is_step: bool = False

    def preferred_name(self, n: Node) -> str:
        """What a person would call the value, or what it is a part of."""
        origin = self.origin.get(n, n)
        if origin in self.program.names:
            return self.program.names[origin] + "_T" * is_copy(n)
        return self.of_label(origin) or self.first_free(self.plain_names(n))

    def name(self, n: Node) -> str:
        """The identifier of a node, by which what it is a part of is known from here on."""
        name = Naming.name(self, n)
        self.known_names.setdefault(self.origin.get(n, n), name)
        return name

    def plain_names(self, n: Node) -> Iterator[str]:
        """What the value may be called, best first; of a function of the user's, that function's name."""
        origin = self.origin.get(n, n)
        if role := self.roles.get(origin):
            yield role
        if is_scanned(n):
            loop, k = n.params
            yield loop.result_name(k)
            return
        if is_select(n) and n.type.dtype == "int64":
            yield from self.of_place(n)
            return
        called = caller(self.program.comments.get(origin, ""))
        if n.op.ends_functions and called not in ("", "where", "mean", *dir(builtins)):
            yield called
        if source := self.moved(n):
            yield source
            yield f"{source}_T" if is_copy(n) else f"{source}_part"
        yield from Naming.plain_names(self, n)

    def composed(self, n: Node, depth: int) -> str:
        """A name made of those of what the value, or what it is a part of, is computed from."""
        found = Naming.composed(self, n, depth) or Naming.composed(self, self.origin.get(n, n), depth)
        if found or not self.is_step or not is_dot(n):
            return found
        words = [n.op.preferred_name, *filter(None, (self.word(a, 0) for a in n.args))]  # such as a layer's weights
        return within("_".join(words)) if len(words) == 2 else ""

    def array_name(self, n: Node) -> str:
        """What the array, or what it is a part of, is called by its op."""
        return self.origin.get(n, n).op.array_name

    def of_place(self, n: Node) -> Iterator[str]:
        """What a place along an axis is called: by the index that it comes from."""
        index = self.index(n)
        yield (f"safe_{index}" if is_const(n.args[2], 0) else f"{index}_place") if index else "place"

    def index(self, n: Node) -> str:
        """The name of the index that a place comes from."""
        while is_select(n):
            n = n.args[1] if is_const(n.args[2], 0) else n.args[2]
        return self.known_name(n)

    def moved(self, n: Node) -> str:
        """What the reader knows the array by whose entries these are at other places; empty if they are computed."""
        while (n.op.shows_entries or n.op.is_copy) and not self.known_name(n.args[0]):
            n = n.args[0]
        return self.known_name(n.args[0]) if n.op.shows_entries or n.op.is_copy else ""

    def known_name(self, n: Node) -> str:
        """What the reader knows a value by, or what it is a part of."""
        origin = self.origin.get(n, n)
        return Naming.known_name(self, n) or Naming.known_name(self, origin) or self.known_names.get(origin, "")

    def comment(self, n: Node) -> str:
        """What a line says of its value, or of what it is a part of."""
        return Naming.comment(self, self.origin.get(n, n))

    def scope(self) -> "ArrayNaming":
        """Names for one function, or for another try at the same: its own, beside those that there are."""
        return replace(self, fresh=self.fresh.copy(), known={}, known_names=dict(self.known_names), loops={})

    def inside(self) -> "ArrayNaming":
        """Names for the body of a loop in the same function, each of them new.

        Bodies share nodes with each other and with those in them, as their leaves are called alike, but not values.
        """
        return replace(self, known={}, is_step=True)

    def loop(self, height: int) -> str:
        """The variable of a loop, counted from the innermost."""
        if height not in self.loops:
            preferred = LOOPS[height]
            self.loops[height] = preferred if preferred == "i" and preferred not in self.dims else self.fresh(preferred)
        return self.loops[height]

    def index_word(self, place: Place, shape: Shape, depth: int) -> str:
        """What the name of an entry says of its place: numbers, and the innermost loop that moves it."""
        moving = set[str]().union(*map(names_in, place))
        inner = next((v for _, v in sorted(self.loops.items()) if v in moving), "") if depth else ""
        fixed = [f"_{k}" for k, d in zip(place, shape, strict=False) if isinstance(k, int) and d != 1]
        return "".join(fixed) + (f"_{inner}" if inner else "")

    def table(self, n: Node) -> str:
        """The module constant that holds the numbers of a table."""
        entries = n.params[0].array().ravel()
        values = tuple((entries if n.type.dtype.startswith("float") else entries.astype(np.int64)).tolist())
        for name, known in self.tables.items():
            if repr(known) == repr(values):
                return name
        name = self.fresh("TABLE")
        while name in self.tables:  # one of another function's, whose names are not known here
            name = self.fresh("TABLE")
        self.tables[name] = values
        return name
