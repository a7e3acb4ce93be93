"""Elementary functions for generated code: float64 here and in `double`, float32 in `single`, under the same names.

>>> from gradcompile import vmath
>>> len(vmath.__all__)
39
"""

from gradcompile.vmath.double import *  # noqa: F403
from gradcompile.vmath.double import __all__ as __all__
