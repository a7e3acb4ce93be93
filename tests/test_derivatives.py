"""Hessians, Jacobians, products and tangents: right numbers in every form, and what a call takes and gives."""

import importlib
import pickle
from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize
import sympy as sp
from scipy.sparse import csc_array

import gradcompile as gc
from gradcompile import array
from gradcompile.ir.graph import topological
from tests.cases_blocks import PROGRAMS, drawn
from tests.work import growth

a, b, c, x, y = sp.symbols("a b c x y")
RNG = np.random.default_rng(3)
XS, YS = RNG.uniform(0.1, 1.0, 40), RNG.normal(size=40)
THETA = np.array([1.0, 2.0, 0.5])
CURVE = a * sp.exp(-b * x) + c - y


def slopes(fun, theta, step=1e-6):
    """Central differences of an array in theta, along a last axis."""
    moved = step * np.eye(len(theta))
    return np.stack([(np.asarray(fun(theta + m)) - np.asarray(fun(theta - m))) / (2 * step) for m in moved], axis=-1)


def network():
    """A small network over samples, its parameters, and values for all."""
    X, t = array("X", ("n", 3)), array("t", "n")
    W, v, u = array("W", (3, 4)), array("v", 4), array("u", ())
    residual = np.tanh(X @ W) @ v + u - t
    point = [RNG.normal(size=p.shape) for p in (W, v, u)]
    return residual, [W, v, u], [X, t], point, [RNG.normal(size=(30, 3)), RNG.normal(size=30)]


def stencil(n=5):
    """Residuals on a grid with neighbours, and a loss along a chain."""
    u = array("u", (n, n))
    cells = u**2 + 0.1 * (np.roll(u, 1, 0) + np.roll(u, -1, 1) - 2 * u)
    return cells, u, RNG.normal(size=(n, n))


def chain(q):
    """Terms of neighbours, which become a loop."""
    return sp.Add(*[(v - u**2) ** 2 + sp.sin(u) for u, v in pairwise(q)])


def losses():
    """Losses, with what they are compiled with, a point, and data."""
    residual, params, inputs, point, data = network()
    rolled = sp.symbols("q0:40")
    z = array("z", 6)
    return {
        "data": ((CURVE**2,), {"params": [a, b, c], "data": [x, y]}, list(THETA), [XS, YS]),
        "numbers": ((a**2 * sp.sin(b) + a * c**3,), {"params": [a, b, c]}, list(THETA), []),
        "branch": ((sp.Piecewise((sp.sqrt(a), a > 0), (b**2, True)) * c,), {"params": [a, b, c]}, [-1.0, 2.0, 3.0], []),
        "network": ((np.mean(residual**2),), {"params": params, "inputs": inputs}, point, data),
        "rolled": ((chain(rolled),), {"params": rolled}, list(RNG.normal(size=40)), []),
        "vector": ((np.sum((z[1:] - z[:-1] ** 2) ** 2) + z[0] * z[5],), {"params": [z]}, [RNG.normal(size=6)], []),
    }


CASES = losses()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stabilize", [True, False])
def test_a_hessian_in_every_form(case, stabilize):
    (loss,), options, point, data = CASES[case]
    f = gc.compile_grad(loss, stabilize=stabilize, **options)
    theta, fun = f.pack(*point), f.bind(*data)
    wanted = slopes(lambda t: fun(t)[1], theta)
    h = gc.compile_hessian(loss, stabilize=stabilize, **options)
    value, grads, hess = h(*point, *data)
    assert value == fun(theta)[0] and np.array_equal(h.pack(*grads), fun(theta)[1])
    np.testing.assert_allclose(hess, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(hess, hess.T)
    whole = gc.compile_hessian(loss, sparse=True, stabilize=stabilize, **options)
    for _ in range(2):
        found = whole(*point, *data)[2]
        assert found.format == "csc" and found.indices is whole.sparsity.indices and found.has_canonical_format
        np.testing.assert_allclose(found.toarray(), hess, rtol=1e-12, atol=1e-12)
    diagonal = gc.compile_hessian(loss, diagonal=True, stabilize=stabilize, **options)(*point, *data)[2]
    np.testing.assert_allclose(diagonal, np.diag(hess), rtol=1e-12, atol=1e-14)
    vector = RNG.normal(size=len(theta))
    hv = gc.compile_hvp(loss, stabilize=stabilize, **options)(*point, *data, vector=vector)[2]
    np.testing.assert_allclose(hv, hess @ vector, rtol=1e-11, atol=1e-11)


BANDED = np.diag(np.arange(1.0, 9.0)) + np.diag(np.ones(7), 1) - np.diag(np.ones(6), -2)


@pytest.mark.parametrize(
    ("residuals", "count"),
    [
        (lambda u, B: BANDED @ np.sin(u), 21),
        (lambda u, B: np.concatenate([BANDED @ u**2, u[np.array([3, 3, 2])] * u[0]]), 27),
        (lambda u, B: np.concatenate([(B[:2] @ u) ** 2, u**3]), 24),
        (lambda u, B: np.cumsum(u.reshape((2, 4)) ** 2, axis=1), 20),
        (lambda u, B: BANDED @ (u[::-1] * (BANDED @ u)), 51),
    ],
)
def test_patterns_go_through_products_and_places(residuals, count):
    u, B, point, matrix = array("u", 8), array("B", (8, 8)), RNG.normal(size=8), RNG.normal(size=(8, 8))
    r = residuals(u, B)
    inputs = {"inputs": [B]} if count == 24 else {}
    given = [point, matrix] if inputs else [point]
    dense = np.reshape(gc.compile_jacobian(r, [u], **inputs)(*given)[1], (-1, 8))
    j = gc.compile_jacobian(r, [u], sparse=True, **inputs)
    found = j(*given)[1]
    assert found.nnz == count == np.count_nonzero(dense)
    np.testing.assert_allclose(found.toarray(), dense, rtol=1e-14)


@pytest.mark.parametrize("name", ["embedding", "conv", "running", "solves", "sorted_flat", "kernels"])
def test_products_of_other_programs(name):
    loss, params, _ = PROGRAMS[name]
    values = {str(n.params[0]): v for n, v in drawn(loss, params, 9).items()}
    f = gc.compile_grad(loss, params)
    data = {a.name: values[a.name] for a in f.problem.inputs}
    fun, theta = f.bind(**data), f.pack(*(values[a.name] for a in f.problem.params))
    vector = RNG.normal(size=f.size)
    p = gc.compile_hvp(loss, params).bind(**data)
    wanted = (fun(theta + 1e-5 * vector)[1] - fun(theta - 1e-5 * vector)[1]) / 2e-5
    np.testing.assert_allclose(p.hessp(theta, vector), wanted, rtol=1e-6, atol=1e-7 * max(abs(wanted).max(), 1e-3))


def test_a_sparse_hessian_has_the_entries_that_formulas_tell():
    (loss,), options, *_ = CASES["rolled"]
    h = gc.compile_hessian(loss, sparse=True, **options)
    near = np.abs(np.subtract.outer(np.arange(40), np.arange(40))) <= 1
    np.testing.assert_array_equal(h.sparsity.toarray() != 0, near)
    longer = sp.symbols("q0:80")
    other = gc.compile_hessian(chain(longer), longer, sparse=True)
    assert len(other.source.splitlines()) == len(h.source.splitlines())  # loops, whatever the length


def test_a_factor_of_zero_has_a_derivative_under_a_root():
    p, q, zeros, ones = array("p", 2), array("q", 2), np.array([0.0, 4.0]), np.ones(2)
    h = gc.compile_hessian(np.sqrt(p @ q - 3), [p, q])
    wanted = slopes(h.bind().jac, np.concatenate([zeros, ones]))
    np.testing.assert_allclose(h(zeros, ones)[2], wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("power", [2, 4, 2.0])
def test_an_even_power_of_an_absolute_value_has_no_kink(power):
    size, z = gc.array("size", 3), sp.Symbol("z")  # which SymPy takes for complex
    point = np.array([0.0, -0.0, -3.0])
    right = power * (power - 1) * point ** (power - 2)
    f = gc.compile_hessian(np.sum(np.abs(size) ** power), [size], diagonal=True)
    np.testing.assert_array_equal(f(point)[2], right)
    h = gc.compile_hessian(sp.Abs(z) ** power, [z])
    np.testing.assert_array_equal([h(v)[2][0, 0] for v in point], right)


def test_a_tangent_that_is_what_it_is_the_tangent_of():
    p, k = gc.array("p", ()), gc.array("k", 3)
    least = np.min(np.where(k == 0, np.inf, p))
    f = gc.compile_hvp(least**2, [p], inputs=[k])
    assert f(3.0, np.ones(3), vector=[1.0])[0] == 9.0 and f(3.0, np.ones(3), vector=[5.0])[2] == 10.0
    assert f.source


def test_a_pattern_of_the_users_own():
    pattern = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 1]])
    h = gc.compile_hessian(a**2 * c + b**3, [a, b, c], sparse=pattern)
    for _ in range(2):
        found = h(1.0, 2.0, 3.0)[2]
        assert found.nnz == 7 and found.indices is h.sparsity.indices
        np.testing.assert_array_equal(found.toarray(), [[6.0, 0.0, 2.0], [0.0, 12.0, 0.0], [2.0, 0.0, 0.0]])
    j = gc.compile_jacobian([a * b, c], [a, b, c], sparse=csc_array(np.ones((2, 3))))
    np.testing.assert_array_equal(j(1.0, 2.0, 3.0)[1].toarray(), [[2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    with pytest.raises(gc.ArgumentError, match=r"no entry \(2, 0\), where the Hessian may be other than 0"):
        gc.compile_hessian(a**2 * c + b**3, [a, b, c], sparse=np.eye(3))(1.0, 2.0, 3.0)
    with pytest.raises(gc.ArgumentError, match=r"the pattern has shape \(2, 2\), the Hessian has \(3, 3\)"):
        gc.compile_hessian(a**2 * c + b**3, [a, b, c], sparse=np.eye(2))(1.0, 2.0, 3.0)


@pytest.mark.parametrize("sparse", [False, True])
def test_jacobians_of_arrays_and_lists(sparse):
    cells, u, point = stencil()
    j = gc.compile_jacobian(cells, [u], sparse=sparse)
    r, found = j(point)
    value = gc.compile_value(cells, [u])
    np.testing.assert_array_equal(r, value(point))
    wanted = slopes(lambda t: value(t.reshape(5, 5)), point.ravel()).reshape(25, 25)
    dense = found.toarray() if sparse else found.reshape(25, 25)
    np.testing.assert_allclose(dense, wanted, rtol=1e-6, atol=1e-7)
    if sparse:
        assert found.format == "csr" and found.nnz == 75 and found.indices is j.sparsity.indices
        each = [sp.Symbol(f"u{k}") for k in range(3)]
        rows = gc.compile_jacobian([each[0] * each[1], sp.exp(each[2])], each, sparse=True)
        np.testing.assert_array_equal(rows(2.0, 3.0, 0.0)[1].toarray(), [[3.0, 2.0, 0.0], [0.0, 0.0, 1.0]])


def test_jacobians_of_samples():
    r, found = gc.compile_jacobian(CURVE, [a, b, c], data=[x, y])(*THETA, XS, YS)
    e = np.exp(-2.0 * XS)
    np.testing.assert_allclose(r, e + 0.5 - YS, rtol=1e-13)
    np.testing.assert_allclose(found, np.stack([e, -XS * e, np.ones(40)], -1), rtol=1e-14)
    shifted = CURVE - gc.mean(CURVE)  # a sample's value depends on all others
    r, found = gc.compile_jacobian(shifted, [a, b, c], data=[x, y])(*THETA, XS, YS)
    np.testing.assert_allclose(found, np.stack([e - e.mean(), -XS * e + (XS * e).mean(), 0 * e], -1), atol=1e-15)
    residual, params, inputs, point, data = network()
    r, found = gc.compile_jacobian(residual, params, inputs=inputs)(*point, *data)
    value = gc.compile_value(residual, params, inputs=inputs)
    theta = np.concatenate([np.ravel(p) for p in point])
    parts = lambda t: (t[:12].reshape(3, 4), t[12:16], t[16])  # noqa: E731
    np.testing.assert_allclose(found, slopes(lambda t: value(*parts(t), *data), theta), rtol=1e-6, atol=1e-8)


def test_values_over_indices_that_no_sum_binds():
    n = sp.Symbol("n", integer=True, positive=True)
    i, j, k = sp.Idx("i", n), sp.Idx("j", 3), sp.Idx("k", (1, 6))
    A, v, t = sp.IndexedBase("A", shape=(n, 3)), sp.IndexedBase("v", shape=(3,)), sp.IndexedBase("t", shape=(n,))
    u, rows, at = sp.IndexedBase("u", shape=(8,)), RNG.normal(size=(6, 3)), RNG.normal(size=(3, 6))
    residuals = t[i] - sp.Sum(A[i, j] * sp.sin(v[j]), (j, 0, 2))
    r, found = gc.compile_jacobian(residuals, [v], inputs=[A, t])(at[:, 0], rows, rows[:, 0])
    np.testing.assert_allclose(r, rows[:, 0] - rows @ np.sin(at[:, 0]), rtol=1e-13)
    np.testing.assert_allclose(found, -rows * np.cos(at[:, 0]), rtol=1e-14)
    along = RNG.normal(size=8)
    r, found = gc.compile_jacobian(u[k + 1] - u[k] ** 2, [u], sparse=True)(along)
    np.testing.assert_allclose(r, along[2:] - along[1:-1] ** 2, rtol=1e-13)
    assert found.shape == (6, 8) and found.nnz == 12
    outer = gc.compile_value(u[k] * v[j], [u, v])(along, at[:, 0])
    np.testing.assert_array_equal(outer, at[:, :1] * along[1:7])  # the axes in the order of the indices' names
    with pytest.raises(gc.ExpressionError, match="no sum binds the index i"):
        gc.compile_grad(residuals, [v], inputs=[A, t])


def test_values_come_back_in_their_form():
    given = {"M": sp.Matrix([[a * b, c], [a, sp.sin(b)]]), "f": [a * b * c, c]}
    values, rows = gc.compile_jacobian(given, [a, b, c])(1.0, 2.0, 3.0)
    np.testing.assert_allclose(values["M"], [[2.0, 3.0], [1.0, np.sin(2.0)]])
    assert values["f"] == [6.0, 3.0] and rows["M"].shape == (2, 2, 3)
    np.testing.assert_array_equal(rows["f"], [[6.0, 3.0, 2.0], [0.0, 0.0, 1.0]])
    again = gc.compile_value(given, [a, b, c])(1.0, 2.0, 3.0)
    np.testing.assert_array_equal(again["M"], values["M"])
    value, along = gc.compile_jvp((a * b, a), [a, b])(2.0, 3.0, tangent={"a": 1.0, "b": 0.5})
    assert value == (6.0, 2.0) and along == (4.0, 1.0)


def test_a_bare_number_has_no_axis():
    assert gc.compile_hessian(a**3, a)(2.0) == (8.0, 12.0, 12.0)
    assert gc.compile_hvp(a**3, a)(2.0, vector=2.0) == (8.0, 12.0, 24.0)
    assert gc.compile_jacobian([a**2, a], a)(3.0) == ([9.0, 3.0], [6.0, 1.0])
    assert gc.compile_jvp(a**2, a)(3.0, tangent=2.0) == (9.0, 12.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_single_precision_and_out(dtype):
    h = gc.compile_hessian(CURVE**2, [a, b, c], data=[x, y], dtype=dtype)
    grad, hess = np.empty(3, dtype), np.empty((3, 3), dtype)
    args = (*THETA.tolist(), XS.astype(dtype), YS.astype(dtype))
    _, _, found = h(*args, out=(grad, hess))
    assert found.dtype == dtype and np.shares_memory(found, hess)
    np.testing.assert_array_equal(hess, h(*args)[2])
    with pytest.raises(gc.ArgumentTypeError, match=r"out is a tuple of 2 arrays, for grad, hess"):
        h(*args, out=grad)
    with pytest.raises(gc.ArgumentError, match=r"the gradient \(9,\)|\(9,\)"):
        h(*args, out=(grad, grad))


def test_scipys_methods_take_what_is_bound():
    loss = (1 - a) ** 2 + 100 * (b - a**2) ** 2
    h, p = gc.compile_hessian(loss, [a, b]).bind(), gc.compile_hvp(loss, [a, b]).bind()
    start, solution = np.array([-1.0, 1.5]), np.ones(2)
    for method in ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP"):
        found = scipy.optimize.minimize(h.fun, start, jac=h.jac, method=method)
        np.testing.assert_allclose(found.x, solution, atol=1e-2)
    for method in ("Newton-CG", "dogleg", "trust-ncg", "trust-krylov", "trust-exact", "trust-constr"):
        if method != "dogleg":  # which wants a Hessian that is positive definite all the way
            found = scipy.optimize.minimize(h.fun, start, jac=h.jac, hess=h.hess, method=method)
            np.testing.assert_allclose(found.x, solution, atol=1e-3)
        if method in ("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr"):
            found = scipy.optimize.minimize(p.fun, start, jac=p.jac, hessp=p.hessp, method=method)
            np.testing.assert_allclose(found.x, solution, atol=1e-3)
    j = gc.compile_jacobian(CURVE, [a, b, c], data=[x, y]).bind(XS, YS)
    for method in ("trf", "dogbox", "lm"):
        found = scipy.optimize.least_squares(j.fun, THETA, jac=j.jac, method=method)
        assert found.success
    sparse = gc.compile_hessian(loss, [a, b], sparse=True).bind()
    for method in ("Newton-CG", "trust-constr"):
        found = scipy.optimize.minimize(sparse.fun, start, jac=sparse.jac, hess=sparse.hess, method=method)
        np.testing.assert_allclose(found.x, solution, atol=1e-3)
    for method in ("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr"):
        found = scipy.optimize.minimize(sparse.fun, start, jac=sparse.jac, hessp=sparse.hessp, method=method)
        np.testing.assert_allclose(found.x, solution, atol=1e-3)
    diagonal = gc.compile_hessian(loss, [a, b], diagonal=True).bind()
    for view in (diagonal.hess, lambda theta: diagonal.hessp(theta, theta)):
        with pytest.raises(gc.ArgumentError, match="not its diagonal alone"):
            view(start)
    sparse = gc.compile_jacobian([a * b - 1, a + b - 2.5], [a, b], sparse=True).bind()
    found = scipy.optimize.least_squares(sparse.fun, [3.0, 1.0], jac=sparse.jac, tr_solver="lsmr")
    assert np.allclose(np.sort(found.x), [0.5, 2.0])


def test_views_share_one_evaluation_and_give_copies():
    bound = gc.compile_hessian(a**2 * b, [a, b]).bind()
    theta = np.array([1.0, 2.0])
    first = bound.jac(theta)
    first[:] = 7.0
    np.testing.assert_array_equal(bound.jac(theta), [4.0, 1.0])
    theta[0] = 2.0
    np.testing.assert_array_equal(bound.jac(theta), [8.0, 4.0])
    loss, grad, hess = bound(theta)
    assert loss == 8.0 and np.array_equal(grad, [8.0, 4.0]) and np.array_equal(hess, [[4.0, 4.0], [4.0, 0.0]])
    np.testing.assert_array_equal(bound.hessp(theta, [1.0, 0.0]), [4.0, 4.0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(bound)).hess(theta), hess)
    whole = gc.compile_hessian(a**2 * b, [a, b], sparse=True).bind()
    whole.hess(theta).data[:] = 0.0
    np.testing.assert_array_equal(whole.hess(theta).toarray(), hess)


def test_a_bound_call_does_no_work_for_each_parameter():
    def job(count):
        terms = sp.symbols(f"t:{count}")
        bound = gc.compile_hessian(sum(t**4 for t in terms), terms, sparse=True).bind()
        bound(np.ones(count))
        return lambda: bound(np.ones(count))

    assert growth(job, 40) == 1


@pytest.mark.parametrize("length", [3, 200_000])
def test_views_see_inputs_that_were_written_into(length):
    xs, ys, theta = np.linspace(0.0, 1.0, length), np.ones(length), np.array([1.0, 2.0])
    bound = [make((y - a * sp.exp(-b * x)) ** 2, [a, b], data=[x, y]).bind(xs, ys)
             for make in (gc.compile_grad, gc.compile_hessian, gc.compile_hvp)]  # fmt: skip
    for f in bound:
        before = f.fun(theta), f.jac(theta)
        ys[-1] += 1.0
        assert f.jac(theta)[1] != before[1][1] and f.fun(theta) != before[0]
        assert f.fun(theta) == f(theta)[0]
    hess = bound[1].hess(theta)
    xs *= 2.0
    assert (bound[1].hess(theta) != hess)[0, 1] and np.array_equal(bound[1].jac(theta), bound[1](theta)[1])


@pytest.mark.parametrize("case", ["data", "network", "rolled"])
def test_checks_in_high_precision(case):
    (loss,), options, point, data = CASES[case]
    size = gc.compile_grad(loss, **options).size
    vector = RNG.normal(size=size)
    for how in ({}, {"sparse": True}, {"diagonal": True}):
        assert gc.compile_hessian(loss, **options, **how).check(*point, *data).error < 1e-12
    assert gc.compile_hvp(loss, **options).check(*point, *data, vector=vector).error < 1e-12


def test_checks_of_values_find_what_is_wrong(monkeypatch):
    given = {"M": sp.Matrix([[a * b, c], [a, sp.sin(b)]]), "f": [a * b * c]}
    assert gc.compile_jacobian(given, [a, b, c]).check(1.0, 2.0, 3.0).error < 1e-14
    assert gc.compile_jacobian([a * b, c], [a, b, c], sparse=True).check(1.0, 2.0, 3.0).error < 1e-14
    j = gc.compile_jacobian(CURVE, [a, b, c], data=[x, y])
    assert j.check(*THETA, XS[:5], YS[:5]).error < 1e-14
    t = gc.compile_jvp(CURVE, [a, b, c], data=[x, y])
    assert t.check(*THETA, XS[:5], YS[:5], tangent=[1.0, -2.0, 0.5]).error < 1e-14
    right = type(j)._formed

    def wrong(*args, **how):
        values, rows = right(*args, **how)
        return values, 1.01 * rows

    monkeypatch.setattr(type(j), "_formed", wrong)
    assert j.check(*THETA, XS[:5], YS[:5]).error > 1e-3
    with pytest.raises(gc.ArgumentError, match="Gauss-Newton"):
        gc.compile_hessian(a**2, [a], gauss_newton=True).check(1.0)


@pytest.mark.parametrize("case", ["data", "network"])
def test_samples_one_by_one(case):
    (loss,), options, point, data = CASES[case]
    f = gc.compile_grad(loss, **options)
    alone = [f(*point, *[d[k : k + 1] for d in data]) for k in range(len(data[0]))]
    values, rows = np.array([v for v, _ in alone]), np.array([f.pack(*g) for _, g in alone])
    found = f.per_sample(*point, *data)
    np.testing.assert_allclose(found[0], values, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(found[1], rows, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(f.per_sample(*point, *data, what="norms")[1], np.linalg.norm(rows, axis=1), rtol=1e-13)
    found = f.per_sample(*point, *data, what="moments")
    np.testing.assert_allclose(found[0], values, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(found[1], rows.T @ rows / len(rows), rtol=1e-12, atol=1e-13)


def program(name):
    """A program with samples: its compiled gradient, parameters, and its inputs by name."""
    loss, params, _ = PROGRAMS[name]
    values = {str(n.params[0]): v for n, v in drawn(loss, params, 4).items()}
    f = gc.compile_grad(loss, params)
    return f, [values[p.name] for p in f.problem.params], {i.name: values[i.name] for i in f.problem.inputs}


@pytest.mark.parametrize("name", ["embedding", "conv", "recurrent", "adjusted", "solves"])
def test_samples_of_other_programs(name):
    f, point, data = program(name)
    values, rows = f.per_sample(*point, **data)
    axes = {i.name: i.leaf.type.shape.index("n") for i in f.problem.inputs if i.is_sampled}
    for k in range(4):
        own = {n: np.take(v, [k], axis=axes[n]) if n in axes else v for n, v in data.items()}
        value, grads = f(*point, **own)
        np.testing.assert_allclose(values[k], value, rtol=1e-12)
        np.testing.assert_allclose(rows[k], f.pack(*grads), rtol=1e-11, atol=1e-13)


def test_samples_of_loops():
    X, t, w, v = array("X", ("n", 5)), array("t", "n"), array("w", (2, 2)), array("v", 2)

    def step(state, x):
        state = np.tanh(state @ w + x[:, None] * v)
        return state, state

    last, states = gc.scan(step, t[:, None] * np.zeros(2), X.T)
    _, growth = gc.scan(lambda u, x: (np.sin(u + x),) * 2, 0.0, v)
    residual = np.sum(last * v, axis=1) + np.sum(states[:, :, 0] ** 2, axis=0) + X[:, :2] @ growth - t
    f = gc.compile_grad(np.mean(residual**2), [w, v], inputs=[X, t])
    point, data = [RNG.normal(size=(2, 2)), RNG.normal(size=2)], [RNG.normal(size=(4, 5)), RNG.normal(size=4)]
    values, rows = f.per_sample(*point, *data)
    for k in range(4):
        value, grads = f(*point, *(d[k : k + 1] for d in data))
        np.testing.assert_allclose(values[k], value, rtol=1e-13)
        np.testing.assert_allclose(rows[k], f.pack(*grads), rtol=1e-12, atol=1e-14)
    moments = f.per_sample(*point, *data, what="moments")[1]
    np.testing.assert_allclose(moments, rows.T @ rows / 4, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", ["contraction", "colours", "terms"])
def test_the_diagonal_of_arrays_without_the_whole(loss):
    v, X, t = array("v", 40), array("X", ("n", 40)), array("t", "n")
    losses = {"contraction": (np.mean(np.log1p(np.exp(X @ v)) - t * (X @ v)), [X, t]),
              "colours": (np.sum((np.tril(np.triu(np.ones((40, 40)), -1), 1) @ v) ** 3), []),
              "terms": (np.sum((v[1:] - v[:-1] ** 2) ** 2), [])}  # fmt: skip
    value, inputs = losses[loss]
    data = [RNG.normal(size=(3, 40)), RNG.uniform(size=3)][: len(inputs)]
    h, whole = (gc.compile_hessian(value, [v], inputs=inputs, **how) for how in ({"diagonal": True}, {}))
    point = RNG.normal(size=40)
    np.testing.assert_allclose(h(point, *data)[2], np.diag(whole(point, *data)[2]), rtol=1e-12, atol=1e-14)
    sizes = [np.prod([d for d in n.type.shape if isinstance(d, int)]) for n in topological(h.graph.simplified)]
    constants = 1600 if loss == "colours" else 0  # the matrix that was given
    assert max(sizes) <= max(constants, 240)


@pytest.mark.parametrize("name", ["sorted", "running", "neighbours", "differences"])
def test_samples_that_look_at_others(name):
    f, point, data = program(name)
    with pytest.raises(gc.ExpressionError, match=r"a loss of samples is the mean, or the sum, of one value for each"):
        f.per_sample(*point, **data)


def test_samples_that_do_not_stand_alone():
    residual, params, inputs, point, data = network()
    normed = (residual - np.mean(residual)) ** 2
    for loss, words in (
        (np.mean(residual**2) + np.sum(params[0] ** 2), "no mean of samples"),
        (np.mean(normed), "depends on other samples"),
    ):
        with pytest.raises(gc.ExpressionError, match=words):
            gc.compile_grad(loss, params, inputs=inputs).per_sample(*point, *data)
    with pytest.raises(gc.ArgumentError, match="choose 'gradients'"):
        gc.compile_grad(a * x, [a], data=[x]).per_sample(1.0, [1.0], what="all")


def test_a_bound_loss_has_views_as_well():
    bound = gc.compile_grad((1 - a) ** 2 + 100 * (b - a**2) ** 2, [a, b]).bind()
    theta = np.array([0.5, 2.0])
    loss, grad = bound(theta)
    assert bound.fun(theta) == loss and np.array_equal(bound.jac(theta), grad)
    assert bound.value_and_grad(theta)[0] == loss
    found = scipy.optimize.minimize(bound.fun, [-1.0, 2.0], jac=bound.jac, method="BFGS")
    np.testing.assert_allclose(found.x, [1.0, 1.0], atol=1e-4)
    with pytest.raises(gc.ArgumentError, match="compile_hessian"):
        bound.hess(theta)
    assert pickle.loads(pickle.dumps(bound)).fun(theta) == loss


def test_what_a_call_can_not_take():
    h = gc.compile_hvp(a**2 * b, [a, b])
    for vector in ({"a": 1.0, "b": 2.0}, {b: 2.0, a: 1.0}):
        assert np.array_equal(h(1.0, 2.0, vector=vector)[2], h(1.0, 2.0, vector=[1.0, 2.0])[2])
    with pytest.raises(gc.ArgumentTypeError, match="no 'b'"):
        h(1.0, 2.0, vector={a: 1.0})
    with pytest.raises(gc.ArgumentTypeError, match="vector= is missing"):
        h(1.0, 2.0)
    with pytest.raises(gc.ArgumentError, match=r"vector has shape \(3,\), expected \(2,\)"):
        h(1.0, 2.0, vector=[1.0, 2.0, 3.0])
    with pytest.raises(gc.ArgumentTypeError, match="no option 'speed'"):
        gc.compile_hessian(a**2, [a], speed=1)
    with pytest.raises(gc.ArgumentError, match="reduce= is for losses"):
        gc.compile_jacobian(a * x, [a], data=[x], reduce="mean")
    with pytest.raises(gc.ArgumentError, match="sparse and diagonal"):
        gc.compile_hessian(a**2, [a], sparse=True, diagonal=True)
    with pytest.raises(gc.ArgumentError, match="not sparse"):
        gc.compile_hessian(a**2, [a]).sparsity  # noqa: B018
    with pytest.raises(gc.ExpressionError, match="known number of rows"):
        gc.compile_jacobian(a * x, [a], data=[x], sparse=True)(1.0, [1.0])
    with pytest.raises(gc.ExpressionError, match="the list of values is empty"):
        gc.compile_jacobian([], [a])
    with pytest.raises(gc.ArgumentError, match="compile_hessian"):
        gc.compile_hvp(a**2, [a]).bind().hess([1.0])


def test_a_symbol_may_have_the_name_of_the_option():
    vector = sp.Symbol("vector")
    p = gc.compile_hvp(a**2 * vector, [a])
    assert p(3.0, vector=[2.0], args={"vector": 5.0})[2] == [20.0]


def test_functions_pickle():
    for made, args in (
        (gc.compile_hessian(a**2 * b, [a, b], sparse=True), {}),
        (gc.compile_jacobian({"f": a * b}, [a, b]), {}),
        (gc.compile_jvp(a * b, [a, b]), {"tangent": [1.0, 0.0]}),
    ):
        again = pickle.loads(pickle.dumps(made))
        assert str(again(1.0, 2.0, **args)) == str(made(1.0, 2.0, **args))


def test_the_same_bits_for_any_number_of_threads():
    n = 300_000
    xs, ys = RNG.uniform(0.1, 1.0, n), RNG.normal(size=n)
    found = [gc.compile_hessian(CURVE**2, [a, b, c], data=[x, y], threads=k)(*THETA, xs, ys)[2] for k in (1, 2)]
    np.testing.assert_array_equal(*found)
    rows = [gc.compile_jacobian(CURVE, [a, b, c], data=[x, y], threads=k)(*THETA, xs, ys)[1] for k in (1, 2)]
    np.testing.assert_array_equal(*rows)


def test_saved_files_and_kernels_have_all_outputs(tmp_path, monkeypatch):
    h = gc.compile_hessian(a**2 * b, [a, b])
    h.save(tmp_path / "saved.py")
    monkeypatch.syspath_prepend(tmp_path)
    for kernel in (h.kernel, importlib.import_module("saved").kernel):
        grad, hess = np.empty(2), np.empty(4)
        assert kernel(np.array([1.0, 2.0]), grad, hess) == 2.0
        np.testing.assert_array_equal(hess, [4.0, 2.0, 2.0, 0.0])
