"""Names in programs over arrays: of arrays and their entries, of loop variables, of tables of numbers."""

from dataclasses import dataclass, field, replace

import numpy as np

from gradcompile.ir import Node
from gradcompile.lower.program import Naming

LOOPS = "ijklpqrsuv"


@dataclass(slots=True)
class ArrayNaming(Naming):
    """Names for one function, beside those of the module.

    loops: the variable of a loop by its height over the innermost. tables: the numbers of module constants. dims: names
    of dimensions. origin: the node of the program that a node of blocks, or a prepared one, is part of.
    """

    loops: dict[int, str] = field(default_factory=dict)
    tables: dict[str, tuple[float | int, ...]] = field(default_factory=dict)
    dims: frozenset[str] = frozenset()
    origin: dict[Node, Node] = field(default_factory=dict)

    def wish(self, n: Node) -> str:
        """What a person would call the value, or what it is a part of."""
        n0 = self.origin.get(n, n)
        if n0 in self.program.names:
            return self.program.names[n0]
        primal = self.program.adjoint_of.get(n0)
        return self.plain_wish(n) if primal is None else "d_" + (self.spoken(primal) or self.plain_wish(primal))

    def comment(self, n: Node) -> str:
        """What a line says of its value, or of what it is a part of."""
        return Naming.comment(self, self.origin.get(n, n))

    def scope(self) -> "ArrayNaming":
        """Names for one function, or for another try at the same: its own, beside those that there are."""
        return replace(self, fresh=self.fresh.copy(), known={}, numbers={}, loops={})

    def loop(self, height: int) -> str:
        """The variable of a loop, counted from the innermost."""
        if height not in self.loops:
            wish = LOOPS[height]
            self.loops[height] = wish if wish == "i" and wish not in self.dims else self.fresh(wish)
        return self.loops[height]

    def table(self, n: Node) -> str:
        """The module constant that holds the numbers of a table."""
        entries = n.params[0].array().ravel()
        values = tuple((entries if n.type.dtype.startswith("float") else entries.astype(np.int64)).tolist())
        for name, known in self.tables.items():
            if repr(known) == repr(values):
                return name
        name = self.fresh("TABLE")
        self.tables[name] = values
        return name
