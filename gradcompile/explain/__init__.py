"""Looking inside: the value and adjoint of every node, and the gradient checked against high precision."""

from gradcompile.explain.blackboard import Explanation, of_sample, rows
from gradcompile.explain.check import Check, along, check, weighted
from gradcompile.explain.record import Record, record
from gradcompile.explain.rows import Operand, Row
from gradcompile.explain.why import Why, why

__all__ = [
    "Check", "Explanation", "Operand", "Record", "Row", "Why", "along", "check", "of_sample", "record", "rows",
    "weighted", "why",
]  # fmt: skip
