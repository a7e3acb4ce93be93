"""The op table: every operation of the graph, one record each, one module a family."""

from gradcompile.ops import contract, elementwise, gather, index, linalg, reduction, scan, shape, window
from gradcompile.ops.record import OPS, Op

__all__ = [
    "OPS",
    "Op",
    "contract",
    "elementwise",
    "gather",
    "index",
    "linalg",
    "reduction",
    "scan",
    "shape",
    "window",
]
