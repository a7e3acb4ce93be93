"""Symbolic arrays: ordinary NumPy code on them is the definition of a loss.

>>> import numpy as np
>>> X, w = array("X", ("n", 3)), array("w", (3,))
>>> np.mean((X @ w) ** 2).shape
()
"""

from gradcompile.frontend.arrays import (
    composed,
    indexing,
    linalg,
    making,
    products,
    recurrence,
    reductions,
    shapes,
    ufuncs,
)
from gradcompile.frontend.arrays.core import Array, array
from gradcompile.frontend.arrays.derivative import derivative
from gradcompile.frontend.arrays.recurrence import scan, while_loop
from gradcompile.frontend.arrays.sparse import sparse_array

__all__ = [
    "Array",
    "array",
    "composed",
    "derivative",
    "indexing",
    "linalg",
    "making",
    "products",
    "recurrence",
    "reductions",
    "scan",
    "shapes",
    "sparse_array",
    "ufuncs",
    "while_loop",
]
