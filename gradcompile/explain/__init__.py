"""Looking inside: the value and adjoint of every node, and the gradient checked against high precision."""

from gradcompile.explain.blackboard import Explanation, Row, explain
from gradcompile.explain.check import Check, along, check, weighted

__all__ = ["Check", "Explanation", "Row", "along", "check", "explain", "weighted"]
