"""The spectrum of a small network's Hessian: how many directions of its parameters do the data decide?

A network of 4-6-3 units that tells Fisher's irises apart has 51 parameters. Where it is trained, few eigenvalues of the
Hessian are large and most are next to nothing: along these directions the loss is flat. The largest is found by power
iteration too, from products alone, as it is for networks whose Hessian would fill no memory.

Run it with: python examples/spectrum.py (needs scikit-learn: pip install "gradcompile[examples]")
"""

from typing import Any

import numpy as np
from scipy.optimize import minimize

import gradcompile as gc

try:
    from sklearn.datasets import load_iris
except ModuleNotFoundError as error:
    raise SystemExit('this example needs data of scikit-learn: pip install "gradcompile[examples]"') from error

DECAY = 1e-3


def main() -> None:
    flowers: Any = load_iris()
    values = (flowers.data - flowers.data.mean(axis=0)) / flowers.data.std(axis=0)

    X, species = gc.array("X", ("n", 4)), gc.array("species", "n", "int64")
    W1, b1, W2, b2 = gc.array("W1", (4, 6)), gc.array("b1", 6), gc.array("W2", (6, 3)), gc.array("b2", 3)
    scores = np.tanh(X @ W1 + b1) @ W2 + b2
    loss = np.mean(gc.cross_entropy(scores, species)) + DECAY / 2 * (np.sum(W1**2) + np.sum(W2**2))
    params, inputs = [W1, b1, W2, b2], [X, species]
    h, p = gc.compile_hessian(loss, params, inputs=inputs), gc.compile_hvp(loss, params, inputs=inputs)

    fun, product = h.bind(values, flowers.target), p.bind(values, flowers.target)
    start = np.random.default_rng(0).normal(size=h.size) / 2
    trained = minimize(product.value_and_grad, start, jac=True, hessp=product.hessp, method="trust-krylov").x
    for name, theta in ("at the start", start), ("trained", trained):
        value, gradient, hessian = fun(theta)
        eigenvalues = np.linalg.eigvalsh(hessian)[::-1]
        small = np.sum(np.abs(eigenvalues) < 0.02 * eigenvalues[0])
        print(f"{name}: loss {value:.4f}, gradient {np.linalg.norm(gradient):.0e}")
        print(f"  eigenvalues {np.round(eigenvalues[:4], 4)} ..., {np.sum(eigenvalues < -1e-9)} of {h.size} negative, "
              f"{small} below 2 % of the largest")  # fmt: skip
    assert eigenvalues[-1] > -1e-6

    v = np.ones(h.size)
    for _ in range(60):
        v = product.hessp(trained, v / np.linalg.norm(v))
    print(f"by products alone: {np.linalg.norm(v):.4f}")
    np.testing.assert_allclose(np.linalg.norm(v), eigenvalues[0], rtol=1e-3)


if __name__ == "__main__":
    main()
