"""A Laplace approximation: error bars from the curvature at the best fit, beside the exact posterior.

How likely is damage to the seals of a rocket at some temperature (data of logistic.py)? The posterior is taken for a
Gaussian around its maximum, whose covariance is the inverse of the Hessian there; Newton's method finds the maximum
with the same Hessian. With two parameters the posterior can be added up on a grid as well, to see how good that is.

Run it with: python examples/laplace.py
"""

from pathlib import Path

import numpy as np
import sympy as sp

from gradcompile import compile_hessian, compile_jacobian, total

PRIOR = 2.0  # standard deviation of both parameters, for temperatures in units of their own standard deviation
DEGREES = np.array([31.0, 53.0, 66.0, 75.0])


def main() -> None:
    temperature, damaged = np.loadtxt(Path(__file__).parent / "data" / "challenger.csv", delimiter=",", skiprows=1).T
    centre, scale = temperature.mean(), temperature.std()
    at = (DEGREES - centre) / scale

    a, b, t, y = sp.symbols("a b t y")
    z = a + b * t
    energy = total(sp.log(1 + sp.exp(z)) - y * z) + (a**2 + b**2) / (2 * PRIOR**2)  # minus the log of the posterior
    fun = compile_hessian(energy, [a, b], data=[t, y]).bind((temperature - centre) / scale, damaged)
    theta = np.zeros(2)
    least, gradient, hessian = fun(theta)
    for _ in range(10):
        theta = theta - np.linalg.solve(hessian, gradient)
        least, gradient, hessian = fun(theta)
    covariance = np.linalg.inv(hessian)
    bars = np.sqrt(np.diag(covariance))

    grid = [m + bar * np.linspace(-6, 6, 61) for m, bar in zip(theta, bars, strict=True)]
    points = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 2)
    weights = np.exp([least - fun.fun(p) for p in points])
    area = np.prod([line[1] - line[0] for line in grid])
    evidence = np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] / 2, np.log(weights.sum() * area)
    weights /= weights.sum()
    mean = weights @ points
    exact = np.sqrt(weights @ (points - mean) ** 2)
    for name, *row in zip(("intercept", "slope"), theta, bars, mean, exact, strict=True):
        print("{:9s}  Laplace {:6.3f} +- {:.3f}   exact {:6.3f} +- {:.3f}".format(name, *row))
    print("log of the integral  Laplace {:.3f}  exact {:.3f}".format(*evidence))

    # The error bar of what is made of the parameters: with its Jacobian J, J C J'.
    logits, J = compile_jacobian(z, [a, b], data=[t])(*theta, at)
    half = 1.96 * np.sqrt(np.einsum("ni,ij,nj->n", J, covariance, J))
    order = np.argsort(points @ J.T, axis=0)
    for k, degrees in enumerate(DEGREES):
        sums = np.cumsum(weights[order[:, k]])
        ends = (points @ J[k])[order[np.searchsorted(sums, [0.025, 0.975]), k]]
        chances = 1 / (1 + np.exp(-np.array([logits[k] - half[k], logits[k] + half[k], *ends])))
        print("chance of damage at {:.0f} degrees: Laplace {:.2f} to {:.2f}, exact {:.2f} to {:.2f}"
              .format(degrees, *chances))  # fmt: skip
    np.testing.assert_allclose(bars, exact, rtol=0.15)


if __name__ == "__main__":
    main()
