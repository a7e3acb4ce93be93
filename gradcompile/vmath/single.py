"""Elementary functions of float32, under the names of those of float64."""

from gradcompile.library.vmath import single
from gradcompile.library.vmath.single import *  # noqa: F403

__all__ = single.__all__
