"""Elementary functions for generated code: float64 here, float32 in `single`, under the same names.

What they are written in is `gradcompile.library.primitives`; their constants come from tools/coefficients.py.
"""

from gradcompile.library.vmath import double
from gradcompile.library.vmath.double import *  # noqa: F403

__all__ = double.__all__
