"""Outputs as sparse matrices of SciPy."""

from typing import Any, NamedTuple

import numpy as np

from gradcompile.errors import ArgumentError
from gradcompile.signature.program import Output, Pattern


class Sparse(NamedTuple):
    """How an output becomes a sparse matrix: one of ones with its index arrays, and where in it the entries go.

    places: of each entry in a pattern of the user's own, which may have more; None in that of the formulas.
    """

    ones: Any
    pattern: Pattern
    places: np.ndarray | None = None

    def holding(self, output: np.ndarray) -> Any:
        """The matrix with the entries of an output; its index arrays are the same objects at each call."""
        found = object.__new__(type(self.ones))
        found.__dict__.update(self.ones.__dict__)
        if self.places is None:
            found.data = output
        else:
            found.data = np.zeros(len(self.ones.indices), output.dtype)
            found.data[self.places] = output
        return found


def sparse_form(output: Output, dtype: str, what: str, given: Any) -> Sparse:
    """How an output becomes a matrix, by its own pattern or by one that is given, which has to hold it."""
    from scipy.sparse import csc_array, csr_array  # takes a tenth of a second to import

    pattern = output.pattern
    if pattern is None:
        raise ArgumentError(f"{what} is not sparse: compile it with sparse=True")
    made: Any = csr_array if pattern.by_row else csc_array
    own = made((np.ones(len(pattern.indices), dtype), pattern.indices, pattern.starts), shape=pattern.shape)
    own.has_sorted_indices = own.has_canonical_format = True
    if given is None:
        return Sparse(own, pattern)
    ones = made(given, dtype=dtype, copy=True)
    if ones.shape != own.shape:
        raise ArgumentError(f"the pattern has shape {ones.shape}, {what} has {own.shape}")
    ones.sum_duplicates()
    ones.data[:] = 1.0
    keys, wanted = entry_keys(ones), entry_keys(own)
    places = np.searchsorted(keys, wanted)
    missing = np.flatnonzero(keys.take(places, mode="clip") != wanted) if len(keys) else np.arange(len(wanted))
    if len(missing):
        major, minor = divmod(int(wanted[missing[0]]), own.shape[pattern.by_row])
        at = (major, minor) if pattern.by_row else (minor, major)
        raise ArgumentError(f"the pattern has no entry {at}, where {what} may be other than 0; sparse=True finds all "
                            f"{own.nnz} entries")  # fmt: skip
    return Sparse(ones, pattern, places)


def entry_keys(matrix: Any) -> np.ndarray:
    """A number for each entry of a compressed matrix, in its order."""
    width = matrix.shape[matrix.format == "csr"]
    found: np.ndarray = np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr)) * width + matrix.indices
    return found
