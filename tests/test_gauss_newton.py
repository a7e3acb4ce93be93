"""Gauss-Newton matrices: of which losses there is one, and that it has the outputs and weights of the field."""

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile import array
from gradcompile.analysis.evaluate import evaluate
from gradcompile.compile import loss_of
from gradcompile.diff.gauss_newton import GaussNewton
from gradcompile.ir.core import OPS
from gradcompile.pipeline import Options, derive

a, b, c, x, y, w, s = sp.symbols("a b c x y w s")
MODEL, RATE = a * sp.exp(-b * x) + c, a + b * x
R = y - MODEL
Z = (R / s) ** 2
POSITIVE = 1 / (1 + sp.exp(-RATE))
OTHER = b * sp.sin(x) - y
SUM = sp.log(sp.exp(RATE) + sp.exp(c * x) + 1)
NORMAL = -sp.log(sp.erfc(-x))

# Losses, and what their matrix adds up: weights, and the outputs whose derivatives are multiplied.
CASES = {
    "weighted": (w * R**2, [(2 * w, R)]),
    "sigma": (Z, [(2 / s**2, R)]),
    "logistic_curve": ((y - a / (1 + sp.exp(-b * (x - c)))) ** 2, [(2, y - a / (1 + sp.exp(-b * (x - c))))]),
    "share_of_exp": ((y - a * sp.exp(b * x) / (1 + sp.exp(b * x))) ** 2, [(2, y - a / (1 + sp.exp(-b * x)))]),
    "ridge": (R**2 + w * (a**2 + b**2), [(2, R), (2 * w, a), (2 * w, b)]),
    "fourth": (R**4, [(8 * R**2, R)]),
    "product": ((a * sp.exp(-b * x)) ** 2, [(2, a * sp.exp(-b * x))]),
    "quotient": (w * (a / (b + c * x)) ** 2 + a**2, [(2 * w, a / (b + c * x)), (2, a)]),
    "reciprocal": ((s / (b + c * x)) ** 2, [(2 * s**2, 1 / (b + c * x))]),
    "powers": (x * (a * b**2 * sp.sin(c)) ** 2, [(2 * x, a * b**2 * sp.sin(c))]),
    "soft_l1": (2 * (sp.sqrt(1 + Z) - 1), [(2 / sp.sqrt(1 + Z) / s**2, R)]),
    "cauchy": (sp.log(1 + Z), [(2 / (1 + Z) / s**2, R)]),
    "scaled": (s**2 * sp.log(1 + Z), [(2 / (1 + Z), R)]),
    "huber": (gc.where(Z <= 1, Z, 2 * sp.sqrt(Z) - 1), [(sp.Min(1, 1 / sp.sqrt(Z)) * 2 / s**2, R)]),
    "huber_delta": (gc.huber(MODEL, y, 0.2), [(sp.Min(1, 0.2 / sp.Abs(R)), R)]),
    "arctan": (sp.atan(Z), [(2 / (1 + Z**2) / s**2, R)]),
    "welsch": (1 - sp.exp(-Z), [(2 * sp.exp(-Z) / s**2, R)]),
    "geman_mcclure": (Z / (1 + Z), [(2 / (1 + Z) ** 2 / s**2, R)]),
    "geman_mcclure_scaled": (w * R**2 / (s**2 + R**2), [(2 * w * s**2 / (s**2 + R**2) ** 2, R)]),
    "student": ((s + 1) / 2 * sp.log(1 + R**2 / s), [((s + 1) / s / (1 + R**2 / s), R)]),
    "size": (sp.Abs(R), [(1 / sp.Abs(R), R)]),
    "power": (sp.Abs(R) ** 1.5, [(1.5 / sp.sqrt(sp.Abs(R)), R)]),
    "log_cosh": (sp.log(sp.cosh(R)), [(1 / sp.cosh(R) ** 2, R)]),
    "poisson": (sp.exp(RATE) - y * RATE, [(sp.exp(RATE), RATE)]),
    "poisson_mean": (sp.exp(RATE) - y * sp.log(sp.exp(RATE)), [(sp.exp(RATE), RATE)]),
    "poisson_model": (MODEL - y * sp.log(MODEL), [(y / MODEL**2, MODEL)]),
    "gamma": (y * sp.exp(-RATE) + RATE, [(y * sp.exp(-RATE), RATE)]),
    "negative_binomial": (
        (y + s) * sp.log(s + sp.exp(RATE)) - y * RATE,
        [((y + s) * s * sp.exp(RATE) / (s + sp.exp(RATE)) ** 2, RATE)],
    ),
    "logistic": (gc.binary_cross_entropy_with_logits(RATE, y), [(POSITIVE * (1 - POSITIVE), RATE)]),
    "bernoulli": (-(y * sp.log(POSITIVE) + (1 - y) * sp.log(1 - POSITIVE)), [(POSITIVE * (1 - POSITIVE), RATE)]),
    "binomial_model": (
        -(y * sp.log(MODEL) + (1 - y) * sp.log(1 - MODEL)),
        [(y / MODEL**2 + (1 - y) / (1 - MODEL) ** 2, MODEL)],
    ),
    "margin": (sp.log(1 + sp.exp(-y * RATE)), [(y**2 * sp.exp(y * RATE) / (1 + sp.exp(y * RATE)) ** 2, RATE)]),
    "probit": (NORMAL.subs(x, RATE), [(NORMAL.diff(x, 2).subs(x, RATE), RATE)]),
    "softmax": (gc.logsumexp([RATE, c * x, 0]) - y * RATE, [(sp.exp(e - SUM), e - SUM) for e in (RATE, c * x, 0)]),
    "shared": ((a * sp.exp(b * x) - y) ** 2 + w * sp.exp(b * x), [(2, a * sp.exp(b * x)), (w * sp.exp(b * x), b * x)]),
    "form": (2 * R**2 + s * R * OTHER + 3 * OTHER**2, [(2 - s, R), (6 - s, OTHER), (s, R + OTHER), (2, R)]),
    "hinge": (sp.Max(0, 1 - y * R), []),
}
POINT = {"a": 0.3, "b": 0.7, "c": 0.2}
RNG = np.random.default_rng(0)
RANGES = {"x": (0.1, 1.0), "y": (0.1, 0.9), "w": (0.5, 2.0), "s": (0.5, 2.0)}
DATA = {name: RNG.uniform(*own, 20) for name, own in RANGES.items()}


def numbers(expr):
    """A formula at the point, for each sample."""
    symbols = [a, b, c, x, y, w, s]
    found = sp.lambdify(symbols, expr, ["scipy", "numpy"])(*POINT.values(), *DATA.values())
    return np.broadcast_to(np.asarray(found, float), 20)


def matrix(loss, stabilize):
    """The matrix of a loss and its gradient, and the gradient by itself, by the graph."""
    data = [v for v in (x, y, w, s) if v in loss.free_symbols]
    problem, _ = loss_of(loss, [a, b, c], data=data, allow_unused=True)
    roots = derive(problem, Options(stabilize=stabilize), GaussNewton()).graphs.simplified
    plain = derive(problem, Options(stabilize=stabilize), gc.CompiledGrad.operator).graphs.simplified
    env = {p.leaf: v for p, v in zip(problem.params, POINT.values(), strict=True)}
    env |= {i.leaf: DATA[i.name] for i in problem.inputs}
    found = [float(v) for v in evaluate([*roots, *plain], env)]
    return np.array(found[4:13]).reshape(3, 3), found[:4], found[13:]


@pytest.mark.parametrize("stabilize", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_the_matrix_has_the_fields_outputs_and_weights(case, stabilize):
    loss, terms = CASES[case]
    wanted = np.zeros((3, 3))
    for weight, output in terms:
        rows = np.stack([numbers(sp.diff(output, p)) for p in (a, b, c)])
        wanted += rows * numbers(weight) @ rows.T / 20
    found, gradient, alone = matrix(loss, stabilize)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(gradient, alone, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "loss", [sp.cos(a), a * b * x, -(R**2), y * sp.log(MODEL), R**2 - sp.exp(c), (a + x) * (b - x)]
)
def test_what_is_no_convex_function_of_outputs_is_refused(loss):
    problem, _ = loss_of(loss, [a, b, c], data=[x, y], allow_unused=True)
    with pytest.raises(gc.ExpressionError, match=r"no convex function of outputs at .* leave gauss_newton out"):
        derive(problem, Options(), GaussNewton())


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.monotone or op.curvature])
def test_records_tell_how_functions_rise_and_bend(name):
    op = OPS[name]
    low, high = op.domain[0]
    u = np.sort(RNG.uniform(max(low, -5), min(high, 5), 300))
    others = [np.full(300, 0.3)] * (len(op.domain) - 1)
    values = np.asarray(op.value(u, *others), float)
    assert np.all(op.monotone * np.diff(values) >= -1e-15 * abs(values[1:]))
    slopes = np.diff(values) / np.diff(u)
    assert np.all(op.curvature * np.diff(slopes) >= -1e-9 * (1 + abs(slopes[1:])))


def rows(output, params, inputs, *given):
    """The Jacobian of an array, its entries along the first axis."""
    found = gc.compile_jacobian(output, params, inputs=inputs)(*given)
    return np.asarray(found[0]), found[1]


def test_matrices_of_arrays():
    X, t, v, W, A = array("X", ("n", 3)), array("t", "n"), array("v", 4), array("W", (3, 4)), array("A", ("n", "n"))
    labels = array("labels", "n", dtype="int64")
    n, half = 12, RNG.normal(size=(12, 12))
    given, inside = [RNG.normal(size=(3, 4)), RNG.normal(size=4)], [RNG.normal(size=(n, 3)), RNG.normal(size=n)]
    f = np.tanh(X @ W) @ v
    values, J = rows(f, [W, v], [X], *given, inside[0])
    r = values - inside[1]
    scores, K = rows(X @ W, [W], [X], given[0], inside[0])
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    spread = np.einsum("nk,kj->nkj", p, np.eye(4)) - np.einsum("nk,nj->nkj", p, p)
    cases = [
        (np.mean(np.log1p((f - t) ** 2)), [X, t], [], J.T * (2 / (1 + r**2) / n) @ J),
        (np.mean(gc.huber(f, t, 0.5)), [X, t], [], J.T * (np.minimum(1, 0.5 / abs(r)) / n) @ J),
        ((f - t) @ A @ (f - t), [X, t, A], [half @ half.T], 2 * J.T @ half @ half.T @ J),
        (np.linalg.norm(f - t), [X, t], [], J.T @ J / np.linalg.norm(r)),
        (np.mean(np.exp(f) - t * f), [X, t], [], J.T * (np.exp(values) / n) @ J),
    ]
    for loss, inputs, more, wanted in cases:
        h = gc.compile_hessian(loss, [W, v], inputs=inputs, gauss_newton=True)
        np.testing.assert_allclose(h(*given, *inside, *more)[2], wanted, rtol=1e-11, atol=1e-13)
    h = gc.compile_hessian(np.mean(gc.cross_entropy(X @ W, labels)), [W], inputs=[X, labels], gauss_newton=True)
    found = h(given[0], inside[0], RNG.integers(0, 4, n))[2]
    np.testing.assert_allclose(found, np.einsum("nkp,nkj,njq->pq", K, spread, K) / n, rtol=1e-12, atol=1e-15)
    with pytest.raises(gc.ExpressionError, match="no convex function of outputs at"):
        gc.compile_hessian(np.mean(f), [W, v], inputs=[X], gauss_newton=True)(*given, inside[0])


def test_derivatives_of_residuals_are_computed_once():
    h = gc.compile_hessian(w * R**2, [a, b, c], data=[x, y, w], reduce="sum", gauss_newton=True)
    assert h.source.count("exp(") - h.source.count("# exp(") - h.source.count("*exp(") == 1
    _, grads, hess = h(*POINT.values(), DATA["x"], DATA["y"], DATA["w"])
    J = np.stack([numbers(sp.diff(R, p)) for p in (a, b, c)])
    np.testing.assert_allclose(grads, 2 * J @ (DATA["w"] * numbers(R)), rtol=1e-13)
    np.testing.assert_allclose(hess, 2 * J * DATA["w"] @ J.T, rtol=1e-13)


def test_long_sums_of_terms_stay_loops():
    q = sp.symbols("q0:34")
    chain = sp.Add(*[(q[k + 1] - a * q[k] ** 2) ** 2 + sp.log(1 + (1 - q[k]) ** 2) for k in range(33)])
    h = gc.compile_hessian(chain, [*q, a], gauss_newton=True)
    point = RNG.normal(size=34)
    wanted = np.zeros((35, 35))
    for k in range(33):
        row = np.zeros(35)
        row[[k, k + 1, 34]] = -2 * 1.5 * point[k], 1, -(point[k] ** 2)
        wanted += 2 * np.outer(row, row)
        wanted[k, k] += 2 / (1 + (1 - point[k]) ** 2)
    np.testing.assert_allclose(h(*point, 1.5)[2], wanted, rtol=1e-12, atol=1e-14)
    assert len(h.source.splitlines()) < 120


Z40, V3, W34 = sp.symbols("z0:40"), array("v", 3), array("W", (4, 3))
X4, T = array("X", ("n", 4)), array("t", "n")
LAYOUTS = {
    "samples": ((y - a * sp.exp(-b * x)) ** 2 + c**2, [a, b, c], {"data": [x, y]}, 5),
    "chain": (sum((Z40[k + 1] - Z40[k] ** 2) ** 2 for k in range(39)), Z40, {}, 118),
    "grid": (np.sum((V3[1:] - V3[:-1] ** 2) ** 2) + np.sum(np.log1p(V3**2)), [V3], {}, 7),
    "network": (np.mean((np.tanh(X4 @ W34) @ V3 - T) ** 2), [W34, V3], {"inputs": [X4, T]}, 225),
    "apart": (np.mean((X4[:, :3] * V3 - T[:, None]) ** 2), [V3], {"inputs": [X4, T]}, 3),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_sparse_and_diagonal_are_parts_of_the_whole(case):
    loss, params, options, count = LAYOUTS[case]
    whole, part, diagonal = (gc.compile_hessian(loss, params, gauss_newton=True, **options, **how)
                             for how in ({}, {"sparse": True}, {"diagonal": True}))  # fmt: skip
    rng = np.random.default_rng(1)
    point = [rng.normal(size=p.leaf.type.shape) for p in whole.problem.params]
    data = [rng.uniform(size=(7, 4)[: len(i.leaf.type.shape)]) for i in whole.problem.inputs]
    matrix, held = whole(*point, *data)[2], part(*point, *data)[2]
    assert held.format == "csc" and held.nnz == count == np.count_nonzero(matrix)
    np.testing.assert_allclose(held.toarray(), matrix, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(diagonal(*point, *data)[2], np.diag(matrix), rtol=1e-12, atol=1e-14)
