"""Logistic regression as one matrix product, beside scikit-learn: is a tumour of the breast malign?

30 measurements of 569 cells' nuclei. The penalty is that of scikit-learn's default, so the weights have to be its own.

Run it with: python examples/logistic_matrix.py (needs scikit-learn: pip install "gradcompile[examples]")
"""

from typing import Any

import numpy as np

import gradcompile as gc

try:
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
except ModuleNotFoundError as error:
    raise SystemExit('this example needs data of scikit-learn: pip install "gradcompile[examples]"') from error


def main() -> None:
    cells: Any = load_breast_cancer()
    features = (cells.data - cells.data.mean(axis=0)) / cells.data.std(axis=0)
    labels = cells.target.astype(float)

    X, y = gc.array("X", ("n", 30)), gc.array("y", ("n",))
    w, b = gc.array("w", (30,)), gc.array("b")
    loss = np.sum(gc.binary_cross_entropy_with_logits(X @ w + b, y)) + np.sum(w**2) / 2
    f = gc.compile_grad(loss, {"weights": w, "bias": b}, inputs=[X, y])

    found = gc.minimize(f, {"weights": np.zeros(30), "bias": 0.0}, [features, labels])
    weights, bias = found.x["weights"], found.x["bias"]
    theirs = LogisticRegression(tol=1e-10, max_iter=10_000).fit(features, cells.target)

    order = np.argsort(-np.abs(weights))[:5]
    print(f"{'':<22}{'weight':>10}{'scikit-learn':>14}")
    for k in order:
        print(f"{cells.feature_names[k]:<22}{weights[k]:>10.5f}{theirs.coef_[0, k]:>14.5f}")
    print(f"loss {found.fun:.6f} by L-BFGS, {found.message}; intercept {bias:.5f}, {theirs.intercept_[0]:.5f}")
    print(f"right on {np.mean((features @ weights + bias > 0) == cells.target):.1%} of the cells it has learnt from")
    np.testing.assert_allclose(weights, theirs.coef_[0], atol=1e-3)


if __name__ == "__main__":
    main()
