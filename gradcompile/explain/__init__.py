"""Looking inside: the value and adjoint of every node, and the gradient checked against high precision."""

from gradcompile.explain.blackboard import Explanation, of_sample, rows
from gradcompile.explain.blame import Blame, blame
from gradcompile.explain.check import Check, along, check, weighted
from gradcompile.explain.diagnose import Diagnosis, diagnose
from gradcompile.explain.drawing import Drawing
from gradcompile.explain.flow import Flow, flow
from gradcompile.explain.record import Record, record
from gradcompile.explain.report import Subject, report
from gradcompile.explain.rows import Operand, Row
from gradcompile.explain.steps import steps
from gradcompile.explain.watch import Watch, side_by_side
from gradcompile.explain.why import Why, trouble, why

__all__ = [
    "Blame", "Check", "Diagnosis", "Drawing", "Explanation", "Flow", "Operand", "Record", "Row", "Subject", "Watch",
    "Why", "along", "blame", "check", "diagnose", "flow", "of_sample", "record", "report", "rows", "side_by_side",
    "steps", "trouble", "weighted", "why",
]  # fmt: skip
