"""SymPy's index notation: losses in IndexedBase, Idx, Sum and Product become arrays whose axes are the indices.

A term over indices i and j is an array over these axes, a Sum over j a sum along one of them. Which matrix products
that makes is found later, by `passes.contracted`.
"""

from gradcompile.frontend.index.survey import applies
from gradcompile.frontend.index.tape import IndexTape

__all__ = ["IndexTape", "applies"]
