"""The arguments of a compiled function, and a loss that was read with those it stands on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcompile.ir.core import Node
from gradcompile.ops.shape import is_item
from gradcompile.signature.forms import Path

Entries = str | tuple["Entries", ...]
LEAF_ROLES = {"params": "param", "inputs": "input", "data": "data"}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of the compiled function.

    name: identifier.  original: the symbol, or the mapping's key.  leaf: its node, of type [] for a scalar, (k, m) for
    an array, [n] for a data symbol and [n, k] for several.  entries: identifiers of an array's entries, nested as the
    shape is (without n), None for a scalar and for an array used whole.  symbols: the SymPy symbols it holds, in the
    order of the entries; none for an array used whole.  by_name: it is one of two or more inputs whose order nobody
    stated, so a call gives it by name.  path: of a parameter that was given in a mapping, where in that it is.
    """

    name: str
    original: object
    leaf: Node
    entries: Entries | None
    symbols: tuple[Any, ...]
    by_name: bool = False
    path: Path = ()

    @property
    def is_column(self) -> bool:
        """Whether it was named as data: one entry, or row, a sample."""
        return bool(self.leaf.params[1] == "data")

    @property
    def is_sampled(self) -> bool:
        """Whether it has an axis whose length is known at the call only."""
        return any(isinstance(d, str) for d in self.leaf.type.shape)


@dataclass(frozen=True)
class Problem:
    """What was read: values (a scalar, one value a sample, or an array each) and the arguments they stand on.

    primals: what is computed.  params, inputs: in the order of the call.  bare: the only parameter was not in a
    sequence, so its gradient is bare.  names: identifiers of leaves and of the entries of arrays.  said: bounded text
    of the loss, or what has that as its text.  symbols: the SymPy symbol of each scalar leaf or entry.  arrays: written
    with symbolic arrays, which have no symbols, rather than in SymPy.
    """

    primals: tuple[Node, ...]
    params: tuple[Argument, ...]
    inputs: tuple[Argument, ...]
    bare: bool
    names: Mapping[Node, str]
    said: object
    symbols: Mapping[Node, Any]
    arrays: bool = False

    @property
    def formula(self) -> str:
        """Bounded text of the loss."""
        return str(self.said)

    @property
    def primal(self) -> Node:
        """The value, or the first of several."""
        return self.primals[0]

    @property
    def dtype(self) -> str:
        """The floating-point type that is computed in: that of all arguments that have one."""
        kinds = [a.leaf.type.dtype for a in (*self.params, *self.inputs)] + [n.type.dtype for n in self.primals]
        return next((k for k in kinds if k.startswith("float")), "float64")

    @property
    def is_sampled(self) -> bool:
        """Whether the work of a call grows with a dimension that the inputs give."""
        return any(a.is_sampled for a in self.inputs)


def entry_names(problem: Problem) -> list[str]:
    """What the entries of theta are called, of parameters that are symbols."""
    found = {}
    for n, name in problem.names.items():
        source = n.args[0] if is_item(n) else n
        if not n.type.shape:
            found[source, n.params[0] if is_item(n) else ()] = name
    shapes = [(a.leaf, tuple(int(d) for d in a.leaf.type.shape)) for a in problem.params]
    return [] if problem.arrays else [found[leaf, index] for leaf, shape in shapes for index in np.ndindex(shape)]
