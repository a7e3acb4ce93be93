"""Looking inside: the value and adjoint of every node, and the gradient checked against high precision."""

from gradcompile.explain.blackboard import Explanation, of_sample, rows
from gradcompile.explain.check import Check, along, check, weighted
from gradcompile.explain.diagnose import Diagnosis, diagnose
from gradcompile.explain.drawing import Drawing
from gradcompile.explain.record import Record, record
from gradcompile.explain.rows import Operand, Row
from gradcompile.explain.why import Why, why

__all__ = [
    "Check", "Diagnosis", "Drawing", "Explanation", "Operand", "Record", "Row", "Why", "along", "check", "diagnose",
    "of_sample", "record", "rows", "weighted", "why",
]  # fmt: skip
