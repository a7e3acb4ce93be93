"""Checks of derivatives, for the tests of this package and of ops that a user adds."""

from gradcompile.diff.testing import Point, check_grads, compare, difference, has_exact, moved, ulps

__all__ = ["Point", "check_grads", "compare", "difference", "has_exact", "moved", "ulps"]
