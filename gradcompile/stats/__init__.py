"""scipy.stats' distributions of symbolic arrays and SymPy expressions: logarithms of densities, distribution functions.

Names and arguments are SciPy's: shapes, then `loc` and `scale`. Every result has derivatives in all of its arguments
but a few that are refused by name. Of numbers alone SciPy itself computes.

>>> import gradcompile as gc
>>> from gradcompile import stats
>>> x, mu = gc.array("x", "n"), gc.array("mu")
>>> stats.norm.logpdf(x, mu, 2.0).shape
('n',)
"""

from typing import Any

from gradcompile.stats import continuous, discrete, multivariate
from gradcompile.stats.distribution import Distribution

DISTRIBUTIONS: dict[str, Any] = {**continuous.TABLE, **discrete.TABLE, **multivariate.TABLE}
__all__ = ["DISTRIBUTIONS", "Distribution"]


def __dir__() -> list[str]:
    """The distributions as well."""
    return [*__all__, *DISTRIBUTIONS]


def __getattr__(name: str) -> Any:
    """A distribution by its name in scipy.stats."""
    if name not in DISTRIBUTIONS:
        raise AttributeError(f"gradcompile.stats has no {name!r}; it has {', '.join(sorted(DISTRIBUTIONS))}")
    return DISTRIBUTIONS[name]
