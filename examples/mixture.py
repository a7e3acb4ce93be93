"""A Gaussian mixture fitted to Fisher's irises without their names: do three clusters find the three species?

The covariance of every component is the inverse of Q'Q with a triangular Q, so that any values of the parameters mean
a mixture, and a general optimiser can have them.

Run it with: python examples/mixture.py (needs scikit-learn: pip install "gradcompile[examples]")
"""

from typing import Any

import numpy as np
from scipy.optimize import minimize

import gradcompile as gc

try:
    from sklearn.datasets import load_iris
except ModuleNotFoundError as error:
    raise SystemExit('this example needs data of scikit-learn: pip install "gradcompile[examples]"') from error

K, D = 3, 4


def main() -> None:
    flowers: Any = load_iris()
    values = (flowers.data - flowers.data.mean(axis=0)) / flowers.data.std(axis=0)

    X = gc.array("X", ("n", D))
    weight, centre, Q = gc.array("weight", (K,)), gc.array("centre", (K, D)), gc.array("Q", (K, D, D))
    size = np.diagonal(Q, axis1=1, axis2=2)  # logarithms of the diagonal
    triangle = np.tril(Q, -1) + np.exp(size)[:, :, None] * np.eye(D)
    apart = np.einsum("kij,nkj->nki", triangle, X[:, None, :] - centre)
    terms = gc.log_softmax(weight) + np.sum(size, axis=1) - np.sum(apart**2, axis=-1) / 2
    likelihood = gc.logsumexp(terms, axis=1) - D / 2 * np.log(2 * np.pi)
    # The prior keeps a component from shrinking to a point, where the likelihood has no bound.
    penalty = 0.01 * (np.sum(np.exp(2 * size)) + np.sum(np.tril(Q, -1) ** 2))
    f = gc.compile_grad(-np.sum(likelihood) + penalty, [weight, centre, Q])
    responsible = gc.compile_value(gc.softmax(terms, axis=1), [weight, centre, Q])

    fun = f.bind(values)
    best: Any = None
    for seed in range(5):
        rng = np.random.default_rng(seed)
        start = f.pack(np.zeros(K), values[rng.choice(len(values), K, replace=False)], np.zeros((K, D, D)))
        found = minimize(fun, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
        best = found if best is None or found.fun < best.fun else best
    print(f"{f.size} parameters, {best.nfev} calls, loss {best.fun:.3f}")

    cluster = responsible(*f.unpack(best.x), values).argmax(axis=1)
    print(f"{'':<14}" + "".join(f"cluster {k + 1:<4}" for k in range(K)))
    counts = np.array([[np.sum((cluster == k) & (flowers.target == s)) for k in range(K)] for s in range(3)])
    for name, row in zip(flowers.target_names, counts, strict=True):
        print(f"{name:<14}" + "".join(f"{count:<12}" for count in row))
    agree = counts.max(axis=1).sum()
    print(f"{agree} of {len(cluster)} flowers are with their own species")
    assert len(set(counts.argmax(axis=1))) == 3 and agree > 140


if __name__ == "__main__":
    main()
