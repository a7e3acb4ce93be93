"""Fill in a table with holes: matrix factorisation, as recommender systems do it.

The table has a row for each of 1,797 handwritten digits and a column for each of 64 points; two thirds of its
entries are known. Each row and each column gets a vector, and an entry is their product: the known entries are given as
three columns, row, column and value, and `U[row]` looks up vectors in the loss.

Run it with: python examples/factorisation.py (needs scikit-learn: pip install "gradcompile[examples]")
"""

import numpy as np
from scipy.optimize import minimize

import gradcompile as gc

try:
    from sklearn.datasets import load_digits
except ModuleNotFoundError as error:
    raise SystemExit('this example needs data of scikit-learn: pip install "gradcompile[examples]"') from error

RANK = 12


def main() -> None:
    table = load_digits(return_X_y=True)[0] / 16
    rng = np.random.default_rng(0)
    known = rng.uniform(size=table.shape) < 2 / 3
    where = dict(zip(("row", "column"), np.nonzero(known), strict=True))

    row, column = gc.array("row", ("n",), dtype="int64"), gc.array("column", ("n",), dtype="int64")
    value = gc.array("value", ("n",))
    rows, columns = table.shape
    U, V, c = gc.array("U", (rows, RANK)), gc.array("V", (columns, RANK)), gc.array("c", (columns,))
    entry = np.sum(U[row] * V[column], axis=1) + c[column]
    penalty = 2.0 * (np.sum(U**2) + np.sum(V**2))
    f = gc.compile_grad(np.sum((entry - value) ** 2) + penalty, [U, V, c])
    predict = gc.compile_value(entry, [U, V, c])

    start = f.pack(0.1 * rng.normal(size=(rows, RANK)), 0.1 * rng.normal(size=(columns, RANK)), table.mean(axis=0))
    fun = f.bind(value=table[known], **where)
    found = minimize(fun, start, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    print(f"{f.size:,} parameters, {known.sum():,} known entries, {found.nfev} calls, loss {found.fun:.1f}")

    hidden = np.nonzero(~known)
    filled = predict(*f.unpack(found.x), row=hidden[0], column=hidden[1])
    means = np.array([table[known[:, k], k].mean() for k in range(columns)])
    error, usual = (np.sqrt(np.mean((guess - table[~known]) ** 2)) for guess in (filled, means[hidden[1]]))
    print(f"error at {len(filled):,} hidden entries: {error:.3f}; of the column's mean: {usual:.3f}")
    assert error < 0.75 * usual


if __name__ == "__main__":
    main()
