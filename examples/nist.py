"""Nonlinear regression against certified values: five reference data sets of NIST, fitted with SciPy's BFGS.

NIST publishes each set with the least-squares estimates to eleven digits. Lanczos3, a sum of three exponentials that is
almost one of two, is a hard one: with finite differences the same optimiser never gets there.

Run it with: python examples/nist.py
"""

import numpy as np
import sympy as sp
from scipy.optimize import minimize

from gradcompile import compile_grad
from gradcompile.data import Reference, names, nist


def fit(table: Reference) -> tuple[dict[str, float], float, int]:
    """Least squares from NIST's nearer start: estimates, residual sum of squares, calls of loss and gradient."""
    x, y = sp.symbols("x y")
    parameters = [sp.Symbol(name) for name in table.certified]
    f = compile_grad((y - sp.sympify(table.model)) ** 2, parameters, data=[x, y], reduce="sum", name=table.name)
    residuals = f.bind(table.x, table.y)

    # Parameters differ by six orders of magnitude, sums by thirteen: the optimiser sees them all near 1.
    scale, unit = np.array(list(table.start2.values())), table.residual_sum_of_squares

    def scaled(u: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = residuals(u * scale)
        return loss / unit, gradient * scale / unit

    result = minimize(scaled, np.ones(f.size), jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000})
    return dict(zip(table.certified, result.x * scale, strict=True)), result.fun * unit, result.nfev


def main() -> None:
    for name in names():
        table = nist(name)
        estimates, rss, calls = fit(table)
        print(f"\n{table.name}: y = {table.model}   ({len(table.x)} observations, {calls} calls)")
        print(f"{'':<6}{'fitted':>20}{'certified':>20}{'digits':>8}")
        print(f"{'rss':<6}{rss:>20.10e}{table.residual_sum_of_squares:>20.10e}")
        for parameter, certified in table.certified.items():
            found = estimates[parameter]
            digits = min(-np.log10(abs(found / certified - 1) + 1e-17), 11)
            print(f"{parameter:<6}{found:>20.10e}{certified:>20.10e}{digits:>8.1f}")
            assert digits > 6, f"{name}: {parameter} is off"


if __name__ == "__main__":
    main()
