"""The op table: every operation of the graph, one record each, one module a family."""

from gradcompile.ops import elementwise, gather, reduction, shape
from gradcompile.ops.record import OPS, Op

__all__ = ["OPS", "Op", "elementwise", "gather", "reduction", "shape"]
