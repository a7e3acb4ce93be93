"""SymPy's index notation: losses in IndexedBase, Idx, Sum and Product become arrays whose axes are the indices.

A term over indices i and j is an array over these axes, a Sum over j a sum along one of them. Which matrix products
that makes is found later, by `passes.contracted`.

`survey` says whether a loss is read so, and which symbols are indices and lengths; `tape` walks it; `forms` are indices
and bounds as linear forms, `reads` the entries at them, `values` the arrays over indices; `shapes` settles what was not
given.
"""

from gradcompile.frontend.sympy.indexed.survey import NESTED, SUMS, applies, limits, nested_terms, ranged, stray

__all__ = ["NESTED", "SUMS", "applies", "limits", "nested_terms", "ranged", "stray"]
