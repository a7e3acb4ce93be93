"""What a row of an explanation holds: a node with its operands."""

from typing import Any, NamedTuple


class Operand(NamedTuple):
    """What a node is made of: its name, d(node)/d(operand), the term that it gets, and how that is computed.

    slope: entry by entry, None where one entry is in many of the node's.  term: None where no derivative goes.
    """

    name: str
    slope: Any
    term: Any
    rule: str


class Row(NamedTuple):
    """One node: its name, its formula, its value, dL/d(node), None for an input, its operands, and what it is.

    kind: "parameter", "input", "loss", or empty.
    """

    name: str
    formula: str
    value: Any
    adjoint: Any
    args: tuple[Operand, ...] = ()
    kind: str = ""
