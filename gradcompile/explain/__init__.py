"""Looking inside: the value and adjoint of every node, and the gradient checked against high precision."""

from gradcompile.explain.blackboard import Explanation, of_sample, rows
from gradcompile.explain.blame import Blame, blame
from gradcompile.explain.check import Check, along, check, weighted
from gradcompile.explain.diagnose import Diagnosis, diagnose
from gradcompile.explain.drawing import Drawing
from gradcompile.explain.flow import Flow, Watch, flow
from gradcompile.explain.record import Record, record
from gradcompile.explain.report import Subject, report
from gradcompile.explain.rows import Operand, Row
from gradcompile.explain.steps import steps
from gradcompile.explain.why import Why, why

__all__ = [
    "Blame", "Check", "Diagnosis", "Drawing", "Explanation", "Flow", "Operand", "Record", "Row", "Subject", "Watch",
    "Why", "along", "blame", "check", "diagnose", "flow", "of_sample", "record", "report", "rows", "steps",
    "weighted", "why",
]  # fmt: skip
