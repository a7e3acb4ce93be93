"""A fit's result: the estimates with their statistics, intervals, comparisons, tables and pictures."""

import json
import os
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError
from gradcompile.regression import intervals, summary
from gradcompile.regression.estimates import Estimates
from gradcompile.regression.search import Vector
from gradcompile.tracebacks import with_entries


@with_entries
class Fit(Estimates):
    """What a fit found. Vectors and matrices are in the order of `params`; `params` and `stderr` are by name.

    `converged` says whether the estimates are a local minimum, `message` in words why or why not. `chi2` is the
    weighted sum of squares, `cost` half of the sum of the loss over the samples, as in SciPy's `least_squares`; of a
    likelihood it is minus its logarithm. `residuals` are (target - model)/sigma.

    `cov` is s^2 (J'J)^-1, with J the Jacobian of the residuals and s^2 = chi2/dof, or 1 where `absolute_sigma` is true;
    of a robust loss the sandwich H^-1 (sum of g g') H^-1 n/dof of each sample's gradient g and the Hessian H; of a
    likelihood the inverse of the Hessian of minus its logarithm. `stderr` are the roots of its diagonal, NaN for what
    the data do not determine and for parameters that a bound holds.
    """

    def ci(self, level: float = 0.95, method: str = "wald", **options: Any) -> dict[str, tuple[float, float]]:
        """Confidence intervals by name: (low, high).

        method: "wald", the estimate and a quantile of t times its standard error; "profile", where the loss minimised
        over all other parameters rises by what that quantile's square says; "bootstrap", quantiles of the estimates
        from rows drawn with replacement (`samples=1000`, `seed=0`).
        """
        if method == "wald":
            q = self.quantile(level)
            return {n: (v - q * self.stderr[n], v + q * self.stderr[n]) for n, v in self.params.items()}
        if method == "profile":
            return intervals.profile(self, level)
        if method == "bootstrap":
            return intervals.bootstrap_intervals(self, level, **options)
        raise ArgumentError(f"method={method!r}: choose 'wald', 'profile' or 'bootstrap'")

    def bootstrap(self, samples: int = 1000, seed: int = 0) -> Vector:
        """The estimates from rows drawn with replacement: one row a draw, NaN where a search found no minimum."""
        return intervals.bootstrap(self, samples, seed)

    def compare(self, other: "Fit") -> "Comparison":
        """This fit beside another of the same data: differences in AIC and BIC, and the F test where one is nested."""
        return Comparison(self, other)

    # ---- as text, data, picture

    def summary(self) -> str:
        """A table of the estimates with their errors, and what is left of the data."""
        return summary.text(self)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        found = ", ".join(f"{n}={v:.6g}" for n, v in self.params.items())
        return f"<Fit({found}): {self.message}>"

    def _repr_html_(self) -> str:
        from gradcompile.regression.picture import charts

        return summary.html(self) + charts(self)

    def plot(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """Data, curve with its band, and residuals: a figure of matplotlib, written to `path` if one is given."""
        from gradcompile.regression.picture import draw

        return draw(self, path, **options)

    def to_json(self) -> str:
        """The fit as JSON: params with value and stderr, converged, message, and the statistics; NaN becomes null."""
        return json.dumps(summary.record(self), allow_nan=False)


class Comparison:
    """Two fits of the same data: `f`, `p_value` and `dof` of the F test where one is nested in the other, else None.

    One is taken to be nested where the other has all its parameters and more; under a robust loss there is no F test.
    """

    def __init__(self, first: Fit, second: Fit) -> None:
        if first.rows != second.rows:
            rows = f"{first.rows} and of {second.rows} rows"
            raise ArgumentError(f"compare: the fits are of {rows}; fit both to the same data")
        same = first._is_likelihood == second._is_likelihood and all(
            np.array_equal(a.scaled(a.target), b.scaled(b.target))
            for a, b in zip(first.samples, second.samples, strict=False)
        )
        if not same:
            raise ArgumentError(
                "compare: the fits are of other targets, sigma or likelihoods; fit both to the same data"
            )
        self.aic = first.aic - second.aic
        self.aicc = first.aicc - second.aicc
        self.bic = first.bic - second.bic
        self.f: float | None = None
        self.p_value: float | None = None
        self.dof: tuple[int, int] | None = None
        small, large = sorted((first, second), key=lambda fit: fit._free)
        is_tested = not any(fit._is_likelihood or fit._is_robust for fit in (first, second))
        nested = is_tested and set(small.params) < set(large.params)
        if nested and large.dof > 0 and small.chi2 >= large.chi2:
            from scipy import stats

            more = large._free - small._free
            self.dof = more, large.dof
            self.f = (small.chi2 - large.chi2) / more / (large.chi2 / large.dof)
            self.p_value = float(stats.f.sf(self.f, more, large.dof))

    def __repr__(self) -> str:
        test = "" if self.f is None else f", F={self.f:.6g} with {self.dof} degrees of freedom, p={self.p_value:.3g}"
        return f"<Comparison: AIC {self.aic:+.6g}, BIC {self.bic:+.6g}{test}>"
