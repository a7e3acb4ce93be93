"""Programs over arrays: blocks of samples, stages of loops and matrix products, and where everything stands."""

from gradcompile.lower.arrays.functions import dims_of, is_array_program, lower_arrays

__all__ = ["dims_of", "is_array_program", "lower_arrays"]
