"""Losses in SymPy's index notation: their graphs against NumPy, their derivatives, and what is refused."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy import Eq, Idx, IndexedBase, KroneckerDelta, Mod, Ne, Piecewise, Product, Sum, exp, log, sqrt

from gradcompile.frontend import functions
from gradcompile.frontend.from_sympy import Problem, read
from gradcompile.frontend.index import applies
from gradcompile.interpret import evaluate
from gradcompile.ir import Node
from gradcompile.passes import contracted, simplified, stabilized
from gradcompile.testing import check_grads

n, m, d = sp.symbols("n m d", integer=True)
i, j, k, q = sp.symbols("i j k q", integer=True)
s, t = sp.symbols("s t")
x, y, z, X, A, J = map(IndexedBase, ("x", "y", "z", "X", "A", "J"))
w = IndexedBase("w", shape=(3,))
W = IndexedBase("W", shape=(4, 3))
U, V = IndexedBase("U", shape=(5, 2)), IndexedBase("V", shape=(6, 2))
label = IndexedBase("c")
RNG = np.random.default_rng(4)
ROWS, WIDTH = 7, 3
VALUES: Mapping[str, Any] = {
    "x": RNG.normal(size=ROWS),
    "y": RNG.normal(size=ROWS),
    "z": RNG.normal(size=WIDTH),
    "X": RNG.normal(size=(ROWS, WIDTH)),
    "A": RNG.normal(size=(ROWS, ROWS)),
    "J": RNG.normal(size=(ROWS, ROWS)),
    "w": RNG.normal(size=3),
    "W": RNG.normal(size=(4, 3)),
    "U": RNG.normal(size=(5, 2)),
    "V": RNG.normal(size=(6, 2)),
    "R": RNG.normal(size=(5, 6)),
    "c": np.array([0, 3, 1, 1, 2, 0, 3]),
    "s": 0.7,
    "t": 1.3,
    "P": RNG.uniform(0.5, 2.0, size=ROWS),
    "mu": RNG.normal(size=(4, 3)),
    "D": RNG.normal(size=2 * ROWS),
    "K": RNG.normal(size=3),
    "I": RNG.normal(size=(ROWS, 6)),
    "F": RNG.normal(size=(2, 3)),
    "L": RNG.normal(size=ROWS + 2),
}
P, mu, D, K, img, F, R, L = map(IndexedBase, ("P", "mu", "D", "K", "I", "F", "R", "L"))


def rows(index: Any) -> tuple[Any, Any, Any]:
    """An index of the samples."""
    return (index, 0, n - 1)


def problem_of(loss: Any, params: Any = (), **options: Any) -> Problem:
    """The loss, read."""
    return read(loss, params, **options)


def environment(problem: Problem, values: Mapping[str, Any] = VALUES) -> dict[Node, Any]:
    """Values for the arguments, by their names."""
    return {a.leaf: values[a.name] for a in (*problem.params, *problem.inputs)}


def value(loss: Any, params: Any = (), values: Mapping[str, Any] = VALUES) -> float:
    """The value of a loss by the interpreter."""
    problem = problem_of(loss, params)
    return float(evaluate([problem.primal], environment(problem, values))[0])


def sigma(a: Any) -> Any:
    """The logistic function."""
    return 1 / (1 + np.exp(-a))


def convolved(a: Any, f: Any) -> Any:
    """The valid part of a correlation of two images."""
    return np.einsum("abpq,pq->ab", np.lib.stride_tricks.sliding_window_view(a, f.shape), f)


def log_likelihood(v: Mapping[str, Any]) -> Any:
    """Of a mixture of unit Gaussians."""
    squares = ((v["X"][:, None] - v["mu"][None]) ** 2).sum(2)
    return np.log(np.exp(-squares / 2).sum(1)).sum()


LOSSES: dict[str, tuple[Any, Callable[[Mapping[str, Any]], Any]]] = {
    "squares": (Sum(x[i] ** 2, rows(i)), lambda v: (v["x"] ** 2).sum()),
    "mean": (Sum((x[i] - s) ** 2, rows(i)) / n, lambda v: ((v["x"] - v["s"]) ** 2).mean()),
    "logistic": (
        Sum(log(1 + exp(-y[i] * Sum(w[j] * X[i, j], (j, 0, 2)))), rows(i)) / n,
        lambda v: np.log1p(np.exp(-v["y"] * (v["X"] @ v["w"]))).mean(),
    ),
    "named width": (
        Sum((y[i] - Sum(z[j] * X[i, j], (j, 0, d - 1))) ** 2, rows(i)) / (2 * n) + t * Sum(z[j] ** 2, (j, 0, d - 1)),
        lambda v: ((v["y"] - v["X"] @ v["z"]) ** 2).mean() / 2 + v["t"] * (v["z"] ** 2).sum(),
    ),
    "matrix factorisation": (
        Sum((R[i, j] - Sum(U[i, k] * V[j, k], (k, 0, 1))) ** 2, (i, 0, 4), (j, 0, 5)),
        lambda v: ((v["R"] - v["U"] @ v["V"].T) ** 2).sum(),
    ),
    "rbf": (
        Sum(P[i] * P[j] * exp(-Sum((X[i, k] - X[j, k]) ** 2, (k, 0, d - 1)) / 2), rows(i), rows(j)),
        lambda v: v["P"] @ np.exp(-((v["X"][:, None] - v["X"][None]) ** 2).sum(2) / 2) @ v["P"],
    ),
    "ising": (
        -Sum(J[i, j] * x[i] * x[j], rows(i), rows(j)) / 2 - s * Sum(x[i], rows(i)),
        lambda v: -(v["x"] @ v["J"] @ v["x"]) / 2 - v["s"] * v["x"].sum(),
    ),
    "pairs": (
        Sum(J[i, j] * x[i] * x[j], (j, 0, i - 1), (i, 0, n - 1)),
        lambda v: np.tril(v["J"] * np.outer(v["x"], v["x"]), -1).sum(),
    ),
    "pairs above": (
        Sum(Sum(J[i, j] / (1 + x[j] ** 2), (j, i + 1, n - 1)), rows(i)),
        lambda v: np.triu(v["J"] / (1 + v["x"] ** 2), 1).sum(),
    ),
    "triangle of ones": (Sum(1, (j, 0, i), (i, 0, n - 1)) * x[n - 1], lambda v: ROWS * (ROWS + 1) / 2 * v["x"][-1]),
    "causal": (
        Sum((y[i] - Sum(x[i - j] * z[j], (j, 0, sp.Integer(2)))) ** 2, (i, 2, n - 1)),
        lambda v: ((v["y"][2:] - np.convolve(v["x"], v["z"], "valid")) ** 2).sum(),
    ),
    "running sum": (
        Sum(exp(-(Sum(x[i - j] * P[j], (j, 0, i)) ** 2)), rows(i)),
        lambda v: np.exp(-(np.convolve(v["x"], v["P"])[:ROWS] ** 2)).sum(),
    ),
    "chain": (
        Sum((1 - x[i]) ** 2 + 100 * (x[i + 1] - x[i] ** 2) ** 2, (i, 0, n - 2)),
        lambda v: ((1 - v["x"][:-1]) ** 2 + 100 * (v["x"][1:] - v["x"][:-1] ** 2) ** 2).sum(),
    ),
    "from one": (Sum(x[i - 1] * y[i - 1] ** 2, (i, 1, n)), lambda v: (v["x"] * v["y"] ** 2).sum()),
    "reversed": (Sum(x[i] * y[n - 1 - i], rows(i)), lambda v: v["x"] @ v["y"][::-1]),
    "strided": (
        Sum((D[2 * i] - D[2 * i + 1]) ** 2 * x[i], rows(i)),
        lambda v: ((v["D"][::2] - v["D"][1::2]) ** 2 * v["x"]).sum(),
    ),
    "constant place": (
        Sum(X[0, j] * X[n - 1, j] * w[2], (j, 0, d - 1)) + Sum(x[i], rows(i)),
        lambda v: v["X"][0] @ v["X"][-1] * v["w"][2] + v["x"].sum(),
    ),
    "convolution": (
        Sum(Sum(y[i + j] * K[j], (j, 0, 2)) ** 2, (i, 0, n - 3)),
        lambda v: (np.correlate(v["y"], v["K"], "valid") ** 2).sum(),
    ),
    "convolution of named length": (
        Sum(Sum(L[i + j] * K[j], (j, 0, d - 1)) ** 2 * x[i], rows(i)) + Sum(K[j], (j, 0, d - 1)),
        lambda v: (np.correlate(v["L"], v["K"], "valid") ** 2 * v["x"]).sum() + v["K"].sum(),
    ),
    "image": (
        Sum(Sum(img[i + k, j + q] * F[k, q], (k, 0, 1), (q, 0, 2)) ** 2, (i, 0, n - 2), (j, 0, 3)) / n,
        lambda v: (convolved(v["I"], v["F"]) ** 2).sum() / ROWS,
    ),
    "pooled": (
        Sum(Sum(D[2 * i + j] * K[j], (j, 0, 1)) ** 2, (i, 0, 6)) + Sum(D[i], (i, 0, 2 * n - 1)) * x[n - 1] + K[2],
        lambda v: ((v["D"].reshape(-1, 2) @ v["K"][:2]) ** 2).sum() + v["D"].sum() * v["x"][-1] + v["K"][2],
    ),
    "embedding": (
        Sum((Sum(W[label[i], j] * X[i, j], (j, 0, 2)) - y[i]) ** 2, rows(i)),
        lambda v: (((v["W"][v["c"]] * v["X"]).sum(1) - v["y"]) ** 2).sum(),
    ),
    "shifted data": (
        Sum(W[Mod(label[i] + 1, 4), 0] * y[i], rows(i)),
        lambda v: (v["W"][(v["c"] + 1) % 4, 0] * v["y"]).sum(),
    ),
    "data twice": (
        Sum(A[label[i], label[n - 1 - i]] * x[i], rows(i)),
        lambda v: (v["A"][v["c"], v["c"][::-1]] * v["x"]).sum(),
    ),
    "data and its index": (
        Sum(A[label[i], i] * x[i], rows(i)),
        lambda v: (v["A"][v["c"], np.arange(ROWS)] * v["x"]).sum(),
    ),
    "data apart": (
        Sum(IndexedBase("B", shape=(4, m, 4))[label[i], j, label[i]] * x[i], rows(i), (j, 0, m - 1)),
        lambda v: (v["B"][v["c"], :, v["c"]] * v["x"][:, None]).sum(),
    ),
    "label as a number": (Sum(label[i] * W[label[i], 1], rows(i)), lambda v: (v["c"] * v["W"][v["c"], 1]).sum()),
    "softmax": (
        -Sum(
            KroneckerDelta(label[i], j)
            * log(exp(Sum(W[j, k] * X[i, k], (k, 0, 2))) / Sum(exp(Sum(W[q, k] * X[i, k], (k, 0, 2))), (q, 0, 3))),
            (j, 0, 3),
            rows(i),
        )
        / n,
        lambda v: -np.mean((v["X"] @ v["W"].T)[np.arange(ROWS), v["c"]] - np.log(np.exp(v["X"] @ v["W"].T).sum(1))),
    ),
    "mixture": (
        Sum(log(Sum(exp(-Sum((X[i, k] - mu[j, k]) ** 2, (k, 0, d - 1)) / 2), (j, 0, m - 1))), rows(i)),
        log_likelihood,
    ),
    "diagonal": (Sum(A[i, i] * x[i], rows(i)), lambda v: np.diag(v["A"]) @ v["x"]),
    "super-diagonal": (
        Sum(A[i, i + 1] * IndexedBase("x", shape=(n,))[i], (i, 0, n - 2)),
        lambda v: np.diag(v["A"], 1) @ v["x"][:-1],
    ),
    "transposed": (Sum((A[i, j] - A[j, i]) ** 2, rows(i), rows(j)), lambda v: ((v["A"] - v["A"].T) ** 2).sum()),
    "three factors": (
        Sum(A[i, j] * X[j, k] * z[k] * x[i], rows(i), rows(j), (k, 0, d - 1)),
        lambda v: v["x"] @ v["A"] @ v["X"] @ v["z"],
    ),
    "index as a number": (
        Sum(x[i] * i + sqrt(1 + i), rows(i)),
        lambda v: (v["x"] * np.arange(ROWS) + np.sqrt(1 + np.arange(ROWS))).sum(),
    ),
    "polynomial": (
        Sum((y[i] - Sum(w[k] * x[i] ** k, (k, 0, 2))) ** 2, rows(i)),
        lambda v: ((v["y"] - np.polyval(v["w"][::-1], v["x"])) ** 2).sum(),
    ),
    "alternating": (Sum((-1) ** i * x[i], rows(i)), lambda v: (v["x"] * (-1.0) ** np.arange(ROWS)).sum()),
    "piecewise": (
        Sum(Piecewise((A[i, j] ** 2, i < j), (exp(A[i, j]), Eq(i, j)), (0, True)), rows(i), rows(j)),
        lambda v: np.triu(v["A"] ** 2, 1).sum() + np.exp(np.diag(v["A"])).sum(),
    ),
    "boundary": (
        Sum((x[i] - Piecewise((x[i - 1], i > 0), (s, True))) ** 2, rows(i)),
        lambda v: (np.diff(v["x"], prepend=v["s"]) ** 2).sum(),
    ),
    "boundary behind": (
        Sum((x[i] - Piecewise((x[i + 1], i < n - 1), (x[0], True))) ** 2, rows(i)),
        lambda v: ((v["x"] - np.roll(v["x"], -1)) ** 2).sum(),
    ),
    "wrapped": (Sum((x[i] - x[Mod(i + 1, n)]) ** 2, rows(i)), lambda v: ((v["x"] - np.roll(v["x"], -1)) ** 2).sum()),
    "not equal": (
        Sum(Piecewise((A[i, j], Ne(i, j)), (0, True)), rows(i), rows(j)),
        lambda v: v["A"].sum() - np.trace(v["A"]),
    ),
    "delta": (Sum(KroneckerDelta(i, j) * A[i, j] * x[j], rows(i), rows(j)), lambda v: np.diag(v["A"]) @ v["x"]),
    "delta of a number": (Sum(KroneckerDelta(i, 3) * x[i], rows(i)), lambda v: v["x"][3]),
    "constant": (Sum(s, rows(i)) + x[n - 1], lambda v: ROWS * v["s"] + v["x"][-1]),
    "constant inside": (
        Sum(x[i] + Sum(s, (j, 0, d - 1)) * z[0], rows(i)) + Sum(z[j], (j, 0, d - 1)),
        lambda v: (v["x"] + WIDTH * v["s"] * v["z"][0]).sum() + v["z"].sum(),
    ),
    "scopes": (
        Sum(x[i] * Sum(y[i], (i, 1, n - 1)), rows(i)) + Sum(x[i], (i, 1, n - 1)) * Sum(z[i], (i, 0, d - 1)),
        lambda v: v["x"].sum() * v["y"][1:].sum() + v["x"][1:].sum() * v["z"].sum(),
    ),
    "function of a sum": (
        Sum(exp(-(Sum(sp.tanh(Sum(A[i, j] * x[j], rows(j)) + y[k]), rows(k)) ** 2)), rows(i)),
        lambda v: np.exp(-(np.tanh((v["A"] @ v["x"])[:, None] + v["y"]).sum(1) ** 2)).sum(),
    ),
    "product": (
        Product(1 + w[j] ** 2, (j, 0, 2)) * Sum(x[i], rows(i)),
        lambda v: (1 + v["w"] ** 2).prod() * v["x"].sum(),
    ),
    "product of named length": (Product(x[i] - 5 * P[i], rows(i)), lambda v: (v["x"] - 5 * v["P"]).prod()),
    "product of a constant": (Product(s, rows(i)) * x[n - 1], lambda v: v["s"] ** ROWS * v["x"][-1]),
    "logarithm of a product": (log(Product(P[i] ** 2 + s, rows(i))), lambda v: np.log(v["P"] ** 2 + v["s"]).sum()),
    "product in a sum": (
        Sum(Product(X[i, j], (j, 0, d - 1)) * x[i], rows(i)),
        lambda v: (v["X"].prod(1) * v["x"]).sum(),
    ),
    "rank one": (
        Sum((A[i, j] - x[i] * y[j]) ** 2, rows(i), rows(j)),
        lambda v: ((v["A"] - np.outer(v["x"], v["y"])) ** 2).sum(),
    ),
    "flat": (Sum(D[i * d + j] * z[j], (i, 0, 3), (j, 0, d - 1)), lambda v: (v["D"][:12].reshape(4, 3) @ v["z"]).sum()),
    "elements": (
        Sum(x[i] * W[1, 2] + w[0] * y[i], rows(i)),
        lambda v: v["x"].sum() * v["W"][1, 2] + v["w"][0] * v["y"].sum(),
    ),
    "Idx": (
        Sum(X[Idx("a", n), Idx("b", 3)] * w[Idx("b", 3)], Idx("a", n), Idx("b", 3)),
        lambda v: (v["X"] @ v["w"]).sum(),
    ),
    "Idx from one": (
        Sum(x[Idx("a", (1, n - 1))], Idx("a", (1, n - 1))) * y[n - 1],
        lambda v: v["x"][1:].sum() * v["y"][-1],
    ),
    "matrix entries": (
        Sum((sp.MatrixSymbol("W", 4, 3)[k, j] - z[j]) ** 2, (k, 0, 3), (j, 0, 2)),
        lambda v: ((v["W"] - v["z"]) ** 2).sum(),
    ),
    "sigmoid": (
        Sum(functions.log_sigmoid(x[i]) * functions.where(y[i] > 0, 1, 0), rows(i)),
        lambda v: np.log(sigma(v["x"]))[v["y"] > 0].sum(),
    ),
}
EXTRA = {"B": RNG.normal(size=(4, 5, 4))}


@pytest.mark.parametrize("name", LOSSES)
def test_value(name: str) -> None:
    """The value is NumPy's, as read and after the passes."""
    loss, reference = LOSSES[name]
    problem = problem_of(loss)
    values = {**VALUES, **EXTRA, **({"D": VALUES["D"][:12]} if name == "flat" else {})}
    env = environment(problem, values)
    want = reference(values)
    roots = [problem.primal]
    for step in (list, simplified, lambda r: stabilized(r)[0], contracted):
        roots = step(roots)
        assert float(evaluate(roots, env)[0]) == pytest.approx(want, rel=1e-11, abs=1e-13)
    if applies(loss):
        assert all(a.entries is None and not a.symbols for a in problem.inputs if a.leaf.type.shape)


@pytest.mark.parametrize("name", LOSSES)
def test_derivative(name: str) -> None:
    """Both modes of differentiation agree with differences, in all arguments of floats."""
    problem = problem_of(LOSSES[name][0])
    env = environment(problem, {**VALUES, **EXTRA, **({"D": VALUES["D"][:12]} if name == "flat" else {})})
    check_grads(problem.primal, [a for a in env if a.type.dtype == "float64"], env, tolerance=1e-9)
