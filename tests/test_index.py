"""Losses in SymPy's index notation: their graphs against NumPy, their derivatives, and what is refused."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Eq, Idx, IndexedBase, KroneckerDelta, Mod, Ne, Piecewise, Product, Sum, exp, log, sqrt

from gradcompile.analysis.evaluate import evaluate
from gradcompile.compile import compile_grad, compile_value
from gradcompile.errors import ArgumentError, ExpressionError, GradcompileError
from gradcompile.frontend import functions
from gradcompile.frontend.sympy.convert import Problem, read
from gradcompile.frontend.sympy.indexed import applies
from gradcompile.frontend.sympy.indexed.forms import form_of, larger, never_negative
from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
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
    "longer by two": (
        Sum(Sum(L[i + j] * K[j], (j, 0, 2)) ** 2, rows(i)) / n,
        lambda v: (np.correlate(v["L"], v["K"], "valid") ** 2).mean(),
    ),
    "twice as long": (
        Sum((D[2 * i] - D[2 * i + 1]) ** 2, rows(i)) / n,
        lambda v: ((v["D"][::2] - v["D"][1::2]) ** 2).mean(),
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


def ops_of(loss: Any) -> list[str]:
    """The ops of a loss after the passes, leaves and numbers left out."""
    roots = contracted(stabilized(simplified([problem_of(loss).primal]))[0])
    return [a.op.name for a in topological(roots) if a.op.name not in ("leaf", "const")]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("three factors", ["dot", "dot", "dot"]),
        ("ising", ["dot", "dot", "mul", "neg", "sum", "mul", "neg", "add"]),
        ("logistic", ["dot", "mul", "neg", "softplus", "sum", "size", "div"]),
        ("reversed", ["item", "mul", "sum"]),
        ("convolution", ["window", "dot", "mul", "sum"]),
        ("from one", ["mul", "mul", "sum"]),
        ("constant", ["item", "size", "mul", "add"]),
    ],
)
def test_graph(name: str, wanted: list[str]) -> None:
    """Sums of products are contractions, even steps are spans, and what can be is taken out of the sum."""
    assert ops_of(LOSSES[name][0]) == wanted


def test_fir_filter_is_a_window() -> None:
    """x[i - j] is a window that is read backwards, not a gather."""
    assert "gather" not in ops_of(LOSSES["causal"][0])


def test_order_of_a_product_follows_its_cost() -> None:
    """Of x A B with a row x the row is multiplied first."""
    a, b, c = IndexedBase("A", shape=(50, 40)), IndexedBase("B", shape=(40, 30)), IndexedBase("C", shape=(30, n))
    loss = Sum(a[i, j] * b[j, k] * c[k, q] * x[q], (i, 0, 49), (j, 0, 39), (k, 0, 29), (q, 0, n - 1))
    dots = [v for v in topological(contracted(simplified([problem_of(loss).primal]))) if v.op.name == "dot"]
    assert all(len(v.type.shape) < 2 for v in dots)


def test_equal_sums_are_one_node() -> None:
    """Sums that differ in the names of their indices only are one node."""
    loss = Sum(exp(x[i]) * y[i], rows(i)) * Sum(exp(x[j]) * y[j], rows(j))
    assert ops_of(loss).count("sum") == ops_of(loss).count("exp") == 1


def test_arguments() -> None:
    """Bases are array arguments in their order, with named lengths and dtypes; lengths are none."""
    loss = Sum((Sum(W[label[i], j] * X[i, j], (j, 0, 2)) - s * y[i]) ** 2, rows(i)) / n + t * Sum(W[k, 0], (k, 0, 3))
    problem = problem_of(loss, [W, t], inputs=[y, label, s, X])
    assert [(a.name, str(a.leaf.type), a.leaf.params[1]) for a in (*problem.params, *problem.inputs)] == [
        ("W", "float64[4, 3]", "param"),
        ("t", "float64[]", "param"),
        ("y", "float64[n]", "input"),
        ("c", "int64[n]", "input"),
        ("s", "float64[]", "input"),
        ("X", "float64[n, 3]", "input"),
    ]
    assert [a.entries for a in (*problem.params, *problem.inputs)] == [None] * 6
    assert set(problem.symbols.values()) == {s, t}
    assert [a.name for a in problem_of(loss, {"weights": W, "t": t}).params] == ["weights", "t"]
    assert problem_of(loss, W).bare


def test_arrays_of_symbols_stand_beside() -> None:
    """A sequence of symbols is one array of them, as anywhere."""
    a = sp.symbols("a:3")
    loss = Sum((a[0] + a[1] * x[i] + a[2] * x[i] ** 2 - y[i]) ** 2, rows(i))
    problem = problem_of(loss, [list(a)])
    env = {problem.params[0].leaf: [1.0, 2.0, 3.0], **environment(read(loss, (), inputs=[*a, x, y]), VALUES | {
        v.name: 0.0 for v in a})}  # fmt: skip
    got = evaluate([problem.primal], {k: v for k, v in env.items() if k.type.shape})[0]
    assert float(got) == pytest.approx(((np.polyval([3, 2, 1], VALUES["x"]) - VALUES["y"]) ** 2).sum())


def test_integers_are_declared_or_follow_from_use() -> None:
    """An IndexedBase of integers is int64, and converted where it is a number."""
    spin = IndexedBase("s", integer=True)
    problem = problem_of(Sum(J[i, j] * spin[i] * spin[j], rows(i), rows(j)), (), dtype="float32")
    assert {a.name: a.leaf.type.dtype for a in problem.inputs} == {"J": "float32", "s": "int64"}
    assert problem.primal.type.dtype == "float32"


@pytest.mark.parametrize("name", LOSSES)
def test_single_precision(name: str) -> None:
    """The dtype is that of the loss throughout."""
    problem = problem_of(LOSSES[name][0], dtype="float32")
    assert all(a.type.dtype != "float64" for a in topological([problem.primal]))


def test_no_samples() -> None:
    """A sum over nothing is 0, a product 1."""
    empty = {"x": np.zeros(0), "P": np.zeros(0), "s": 2.0}
    assert value(Sum(exp(x[i]) * s, rows(i)), values=empty) == 0.0
    assert value(Product(P[i], rows(i)) + Sum(x[i], rows(i)), values=empty) == 1.0


def test_product_of_named_length_has_signs_and_zeros() -> None:
    """The product made of logarithms has the sign of the product, and is 0 where a factor is."""
    loss = Product(x[i], rows(i))
    for factors in ([-2.0, 3.0, -0.5], [-2.0, 3.0], [4.0, 0.0, -1.0]):
        assert value(loss, values={"x": factors}) == pytest.approx(np.prod(factors))
    assert np.isnan(value(log(loss), values={"x": [-2.0, 3.0]}))
    assert value(log(loss), values={"x": [-2.0, -3.0]}) == pytest.approx(np.log(6.0))


def test_number_in_place_of_a_length() -> None:
    """What `subs` makes of a loss with a named length is the same loss of known shape."""
    loss = Sum((Sum(z[j] * X[i, j], (j, 0, d - 1)) - y[i]) ** 2, rows(i)) / n
    problem = problem_of(loss.subs(d, 3), [z])
    assert problem.params[0].leaf.type.shape == (3,)
    fixed = read(loss.subs(n, ROWS).subs(d, 3), [z])
    for p in (problem, fixed):
        assert float(evaluate([p.primal], environment(p))[0]) == pytest.approx(value(loss))


def test_long_sums_of_numeric_bounds_are_arrays() -> None:
    """From a thousand terms on nothing is written out; a short sum has entries as before."""
    u = IndexedBase("u", shape=(2000,))
    loss = Sum((u[i + 1] - u[i]) ** 2, (i, 0, 1998))
    assert applies(loss) and not applies(Sum(u[i] ** 2, (i, 0, 9)))
    points = np.random.default_rng(1).normal(size=2000)
    problem = read(loss, [u])
    got = evaluate([problem.primal], {problem.params[0].leaf: points})[0]
    assert float(got) == pytest.approx((np.diff(points) ** 2).sum())
    assert problem.params[0].entries is None


def test_deep_and_shared_expressions() -> None:
    """A body of 3,000 levels, and one of 60 levels that is shared at each, are walked once, without recursion."""
    deep = shared = x[i]
    for _ in range(3000):
        deep = sp.sin(deep, evaluate=False)
    for _ in range(60):
        shared = sp.Add(sp.Mul(shared, shared, evaluate=False), sp.cos(shared, evaluate=False), evaluate=False)
    for body, count in ((deep, 3000), (shared, 180)):
        loss = Sum.__new__(Sum, x[i], rows(i))
        loss._args = (body, *loss.args[1:])
        assert len(ops_unsimplified(loss)) == count + 1


def ops_unsimplified(loss: Any) -> list[str]:
    """The ops of a loss as read, leaves and numbers left out."""
    return [a.op.name for a in topological([problem_of(loss).primal]) if a.op.name not in ("leaf", "const")]


REFUSED: list[tuple[Any, dict[str, Any], type[GradcompileError], str]] = [
    (Sum(x[i] * y[j], rows(i)), {}, ExpressionError, r"y\[j\]: no sum binds the index j; write Sum\(y\[j\], \(j, 0"),
    (Sum(x[i], rows(i)) + i, {}, ExpressionError, "the index i stands outside its sum"),
    (Sum(x[i] * Idx("a"), rows(i)), {}, ExpressionError, "the index a stands outside its sum"),
    (Sum(Sum(Piecewise((x[i], Ne(i, j)), (0, True)) * x[j], rows(j)) ** 2, rows(i)), {}, ExpressionError,
     "SymPy takes a Piecewise out of the sums inside a sum; .* 1 - KroneckerDelta"),
    (Sum(Sum(Piecewise((W[i, 0], Ne(i, j)), (0, True)) * W[j, 0], (j, 0, 3)) ** 2, (i, 0, 3)), {}, ExpressionError,
     "the index j stands outside its sum; SymPy takes a Piecewise"),
    (Sum(W[j, 0], (j, 0, 3)) + j, {}, ExpressionError, "the index j stands outside its sum; write"),
    (Sum(x[i], rows(i)) + Sum(x[j], (j, 0, m - 1)), {}, ExpressionError,
     r"x\[i\] needs x to have n places along axis 0, and x\[j\] needs m|x\[j\] needs x to have m .* x\[i\] needs n"),
    (Sum(W[i, 0], rows(i)) * x[0], {}, ExpressionError, r"places 0 to n-1 of axis 0 are outside W, which has 4"),
    (Sum(x[i - 1], rows(i)), {}, ExpressionError, r"x\[i - 1\]: the places -1 to n-2 .*count from the front"),
    (Sum(W[i, 3], (i, 0, 3)) * Sum(x[j], rows(j)), {}, ExpressionError, r"W\[i, 3\]: the places 3 of axis 1"),
    (Sum(x[i] * x[i, 0], rows(i)), {}, ExpressionError, "x has 1 and 2 indices"),
    (Sum(x[i], (i, 0, m * n - 1)), {}, ExpressionError, r"no array .* from which m is known .*loss.subs\(m, 100\)"),
    (Sum(x[i], (i, 0, sqrt(n))), {}, ExpressionError, "bounds 0 and sqrt.n. of i are no sums of lengths"),
    (Sum(x[i], (i, 0, sp.oo)) * Sum(x[j], rows(j)), {}, ExpressionError, "bounds 0 and oo"),
    (Sum(x[sp.floor(i / 2)], rows(i)), {}, ExpressionError, "can't be an index; make it of indices"),
    (Sum(x[s * i], rows(i)), {}, ExpressionError, "no sum binds the index s"),
    (Sum(x[j], (j, n, n - 3)) * Sum(x[i], rows(i)), {}, ExpressionError, "always below the lower one n; leave the sum"),
    (Sum(functions.mean(x[i]), rows(i)), {}, ExpressionError, r"over an index write Sum\(f\(x\[i\]\)"),
    (Sum(sp.Function("g")(x[i]), rows(i)), {}, ExpressionError, "undefined function"),
    (Sum(z[j] * X[i, j], (j, 0, d - 1), rows(i)), {"params": [z]}, ArgumentError,
     r"parameter z has the shape \(d\), and d is not known; give it numbers, as in IndexedBase\('z', shape=\(5,\)\)"),
    (Sum(W[label[i], 0], rows(i)), {"params": [label]}, ArgumentError, "parameter c holds integers"),
    (Sum(x[i], rows(i)) / n, {"params": [n]}, ArgumentError, "n is a length, which the arrays tell"),
    (Sum(x[i] * s, rows(i)), {"params": [s], "data": [t]}, ArgumentError, "write the samples as an index too"),
    (Sum(x[i] * w[0], rows(i)) * Sum(w[j] ** 2, (j, 0, 2)), {"params": [w, w[0]]}, ArgumentError, "name w whole"),
    (Sum(x[i], rows(i)), {"params": [y]}, ArgumentError, "does not contain y"),
    (Sum(x[i] * s, rows(i)), {"inputs": [s]}, ArgumentError, "the loss contains x, which is in neither"),
    (Sum(x[Idx("a", n)], Idx("a", n)) * sp.Symbol("n"), {}, ArgumentError, "two different symbols are called 'n'"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "options", "error", "message"), REFUSED, ids=[r[3][:40] for r in REFUSED])
def test_refused(loss: Any, options: dict[str, Any], error: type[GradcompileError], message: str) -> None:
    """An error says what, where, and the cure."""
    with pytest.raises(error, match=f"(?s){message}"):
        read(loss, **{"params": (), **options})


def test_dimensions_are_compared() -> None:
    """Polynomials in lengths have a sign where it can be told."""
    assert [never_negative(v) for v in (0, -1, "n", "n-1", "n-2", "m*n-1", "n-m")] == [
        True, False, True, True, False, True, False,
    ]  # fmt: skip
    assert (larger("n", 4), larger("n-1", "n"), larger("2*n", "n"), larger("m", "n")) == ("n", "n", "2*n", None)
    assert form_of(n**2 - 2 * n, ()).offset == "n*n-2*n"


STEP = st.integers(-2, 3)
PLACE = st.tuples(STEP, STEP)
LOWS = {"0": lambda a: 0, "1": lambda a: 1, "i": lambda a: a}
HIGHS = {"n-1": lambda a: ROWS - 1, "2": lambda a: 2, "i+1": lambda a: a + 1, "n-1-i": lambda a: ROWS - 1 - a}


@given(first=PLACE, second=PLACE, low=st.sampled_from(sorted(LOWS)), high=st.sampled_from(sorted(HIGHS)),
       product=st.booleans())  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_linear_places_and_bounds(
    first: tuple[int, int], second: tuple[int, int], low: str, high: str, product: bool
) -> None:
    """A double sum over an entry at linear places, with bounds of either kind, is what two loops give."""
    cells = [(a, b) for a in range(ROWS) for b in range(LOWS[low](a), HIGHS[high](a) + 1)]
    reach = [[p * a + q * b for a, b in (cells if q else [(0, 0), (ROWS - 1, 0)])] for p, q in (first, second)]
    offsets = [-min(r) for r in reach]
    places = [[p * a + q * b + c for a, b in cells] for (p, q), c in zip((first, second), offsets, strict=True)]
    base = IndexedBase("G", shape=tuple(max(r) - min(r) + 1 for r in reach))
    entry = base[tuple(p * i + q * j + c for (p, q), c in zip((first, second), offsets, strict=True))]
    kind, names = (Product if product else Sum), {"n": n, "i": i}
    inner = kind(entry, (j, sp.sympify(low, names), sp.sympify(high, names)))
    loss = Sum(inner, rows(i)).subs(n, ROWS) * Sum(x[k], (k, 0, m - 1))
    grid = np.random.default_rng(3).uniform(0.5, 1.5, size=base.shape)
    line = [[grid[u, v] for u, v, (b, _) in zip(*places, cells, strict=True) if a == b] for a in range(ROWS)]
    want = sum(np.prod(v) if product else np.sum(v) for v in line) * VALUES["x"].sum()
    problem = problem_of(loss, ())
    env = {a.leaf: {"G": grid, "x": VALUES["x"]}[a.name] for a in problem.inputs}
    assert float(evaluate([problem.primal], env)[0]) == pytest.approx(want)
    assert float(evaluate(contracted(simplified([problem.primal])), env)[0]) == pytest.approx(want)


def test_composed_lengths_are_checked_at_the_call() -> None:
    """An array of 2*n entries beside one of n: lengths that do not fit are refused, not read."""
    f = compile_value(Sum(D[i] ** 2, (i, 0, 2 * n - 1)) * Sum(x[i], rows(i)), inputs=[D, x], cache=False)
    want = (VALUES["D"] ** 2).sum() * VALUES["x"].sum()
    assert f(VALUES["D"], VALUES["x"]) == pytest.approx(want)
    with pytest.raises(ArgumentError, match=r"D has an axis of 13; 2\*n are needed, which is 14, as n is 7"):
        f(VALUES["D"][:13], VALUES["x"])
    alone = compile_value(LOSSES["twice as long"][0], cache=False)
    with pytest.raises(ArgumentError, match=r"D has an axis of 13; 2\*n are needed, which is 12, as n is 6"):
        alone(VALUES["D"][:13])


def test_gradient_from_end_to_end() -> None:
    """compile_grad of a logistic regression gives the gradient by hand, of named and of composed lengths."""
    f = compile_grad(LOSSES["logistic"][0], w, inputs=[X, y], cache=False)
    v = VALUES
    loss, grad = f(v["w"], v["X"], v["y"])
    assert loss == pytest.approx(LOSSES["logistic"][1](v))
    assert grad == pytest.approx(-(v["y"] * sigma(-v["y"] * (v["X"] @ v["w"]))) @ v["X"] / ROWS)
    g = compile_grad(LOSSES["longer by two"][0], [K], cache=False)
    windows = np.lib.stride_tricks.sliding_window_view(v["L"], 3)
    assert pytest.approx(2 * windows.T @ (windows @ v["K"]) / ROWS) == g(v["K"], v["L"])[1].K


def test_places_that_two_axes_share_need_their_lengths():
    whole = sp.IndexedBase("B", shape=(n, n))
    f = compile_value(Sum(whole[i, i] * whole[i, 2 * i], (i, 1, 3)), [])
    assert f(np.full((7, 7), 2.0)) == 12.0
    with pytest.raises(ArgumentError, match=r"B\[1:4, 2:7\] needs n >= 7, and n is 6"):
        f(np.ones((6, 6)))


def test_a_place_that_is_read_outside_in_a_branch_is_not_a_number() -> None:
    A, c, s = IndexedBase("A"), IndexedBase("c"), sp.Symbol("s")
    i, j = sp.symbols("i j", integer=True)
    first = Sum(KroneckerDelta(j, c[j]), (j, 0, 3))
    place = compile_value(first + Sum(Piecewise((s, i <= 1), (A[i, c[i]], True)), (i, 0, 4)), [])
    entry = compile_value(first + Sum(Piecewise((s, i <= 1), (c[i], True)), (i, 0, 4)), [])
    assert np.isnan(place(A=np.ones((5, 2)), c=np.array([0, 0, 1, 0]), s=1.0))
    assert np.isnan(entry(c=np.array([0, 0, 1, 0]), s=1.0))
    assert compile_value(Sum(Product(2 * j, (j, 1, -2)), (i, 1, 2)), [])() in (np.inf, -np.inf)
