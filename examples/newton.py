"""Newton's method for logistic regression, beside the statistician's iteratively reweighted least squares (IRLS).

For this loss both are the same method: IRLS solves Newton's equations with the Hessian worked out by hand. Here the
Hessian comes from the compiled loss, and its inverse gives the standard errors. The data are those of logistic.py.

Run it with: python examples/newton.py
"""

from pathlib import Path

import numpy as np
import sympy as sp

from gradcompile import compile_hessian

PUBLISHED = (15.0429, -0.2322), (7.3786, 0.1082)  # maximum-likelihood fit and its standard errors


def irls(X: np.ndarray, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """One step of iteratively reweighted least squares."""
    p = 1 / (1 + np.exp(-X @ theta))
    weights = p * (1 - p)
    working = X @ theta + (y - p) / weights
    result: np.ndarray = np.linalg.solve(X.T @ (weights[:, None] * X), X.T @ (weights * working))
    return result


def main() -> None:
    temperature, damaged = np.loadtxt(Path(__file__).parent / "data" / "challenger.csv", delimiter=",", skiprows=1).T

    a, b, t, y = sp.symbols("a b t y")
    z = a + b * t
    h = compile_hessian(sp.log(1 + sp.exp(z)) - y * z, [a, b], data=[t, y], reduce="sum")
    fun = h.bind(temperature, damaged)

    X = np.stack([np.ones_like(temperature), temperature], axis=1)
    theta, other = np.zeros(2), np.zeros(2)
    for step in range(1, 9):
        loss, gradient, hessian = fun(theta)
        theta, other = theta - np.linalg.solve(hessian, gradient), irls(X, damaged, other)
        apart = np.max(np.abs(theta / other - 1))
        print(f"step {step}: loss {loss:.6f}, then {theta[0]:.10f}, {theta[1]:.10f}, IRLS differs by {apart:.0e}")
        np.testing.assert_allclose(theta, other, rtol=1e-9)

    errors = np.sqrt(np.diag(np.linalg.inv(fun(theta)[2])))
    for name, value, error, *known in zip(("intercept", "slope"), theta, errors, *PUBLISHED, strict=True):
        print(f"{name:9s} {value:8.4f} +- {error:.4f}   published {known[0]:8.4f} +- {known[1]:.4f}")
    np.testing.assert_allclose([theta, errors], PUBLISHED, rtol=5e-4)


if __name__ == "__main__":
    main()
