"""Programs over arrays: blocks of samples, stages of loops and matrix products, and where everything stands."""

from gradcompile.lower.arrays.functions import dims_of, lower_arrays

__all__ = ["dims_of", "lower_arrays"]
