"""The op table: every operation of the graph, one record each, one module a family."""

from gradcompile.ir.core import OPS, Op
from gradcompile.ops import (
    constant_index,
    contract,
    elementwise,
    fourier,
    gather,
    linalg,
    reduction,
    ruled,
    scan,
    shape,
    sparse,
    special,
    window,
)

__all__ = [
    "OPS", "Op", "constant_index", "contract", "elementwise", "fourier", "gather", "linalg", "reduction", "ruled",
    "scan", "shape", "sparse", "special", "window",
]  # fmt: skip
