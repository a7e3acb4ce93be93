"""Sparse matrices of SciPy among the inputs of losses on arrays: values, gradients, formats, what is refused."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp

import gradcompile as gc
from gradcompile.analysis.evaluate import exact
from tests.plain import plain

rng = np.random.default_rng(5)
X, w, B = gc.sparse_array("X", ("n", 20)), gc.array("w", 20), gc.array("B", (20, 3))
y, r = gc.array("y", "n"), gc.array("r", "n")
M = sp.random_array((300, 20), density=0.1, rng=rng, format="csr")
LOGISTIC = np.mean(np.logaddexp(0.0, -y * (X @ w))) + 0.1 * w @ w
AT, SIGNS, R, BS = rng.normal(size=20), np.sign(rng.normal(size=300)), rng.normal(size=300), rng.normal(size=(20, 3))


def logistic(at, matrix, signs):
    """The value and the gradient in NumPy."""
    z = -signs * (matrix @ at)
    return np.mean(np.logaddexp(0, z)) + 0.1 * at @ at, matrix.T @ (-signs / (1 + np.exp(-z))) / len(z) + 0.2 * at


def test_value_and_gradient_of_any_format():
    f = gc.compile_grad(LOGISTIC, [w])
    assert str(f.signature) == "(w, *, X, y)" and "X @ w" in f.source
    value, grad = logistic(AT, M, SIGNS)
    for kind in ("csr", "csc", "coo", "lil", "dok"):
        loss, (found,) = f(AT, X=M.asformat(kind), y=SIGNS)
        np.testing.assert_allclose(loss, value, rtol=1e-14)
        np.testing.assert_allclose(found, grad, rtol=1e-12)
    assert pickle.loads(pickle.dumps(f))(AT, X=M, y=SIGNS)[0] == loss
    bound = f.bind(X=M, y=SIGNS)
    assert bound(AT)[0] == loss and f.loss(AT, X=M, y=SIGNS) == loss and f.flat(AT, X=M, y=SIGNS)[0] == loss
    empty = f(AT, X=sp.csr_array((5, 20)), y=SIGNS[:5])
    np.testing.assert_allclose(empty[0], logistic(AT, np.zeros((5, 20)), SIGNS[:5])[0])
    order = gc.compile_grad(LOGISTIC, [w], inputs=[y, X])
    assert order(AT, SIGNS, M)[0] == loss


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_matrices_both_ways_and_second_derivatives(dtype):
    x, b, s = gc.sparse_array("X", ("n", 20), dtype), gc.array("B", (20, 3), dtype), gc.array("r", "n", dtype)
    loss = np.sum(np.tanh(x @ b) ** 2) + np.sum((x.T @ s) ** 2) * b[0, 0] + np.sum((s @ x) ** 2 + x.T @ (x @ b[:, 0]))
    f, data, at, right = gc.compile_grad(loss, [b]), M.astype(dtype), BS.astype(dtype), R.astype(dtype)

    def value(v):
        first = np.sum(np.tanh(M @ v) ** 2) + np.sum((M.T @ R) ** 2) * v[0, 0]
        return first + np.sum((R @ M) ** 2 + M.T @ (M @ v[:, 0]))

    found, (grad,) = f(at, X=data, r=right)
    direction, tolerance = rng.normal(size=BS.shape), 1e-12 if dtype == "float64" else 1e-5
    difference = (value(BS + 1e-6 * direction) - value(BS - 1e-6 * direction)) / 2e-6
    np.testing.assert_allclose(found, value(BS), rtol=tolerance)
    np.testing.assert_allclose(np.sum(grad * direction), difference, rtol=max(tolerance, 1e-7))
    if dtype == "float64":
        curvature = gc.compile_hvp(loss, [b])(at, X=data, r=right, vector=direction.ravel())[2]
        slope = (f(at + 1e-6 * direction, X=M, r=R)[1][0] - f(at - 1e-6 * direction, X=M, r=R)[1][0]) / 2e-6
        np.testing.assert_allclose(curvature.reshape(slope.shape), slope, atol=1e-6)


def test_same_bits_for_any_number_of_threads_and_in_python():
    many = sp.random_array((20_000, 20), density=0.1, rng=rng, format="csr")
    signs = np.sign(rng.normal(size=20_000))
    one, two = (gc.compile_grad(LOGISTIC, [w], threads=k)(AT, X=many, y=signs) for k in (1, 2))
    assert one[0] == two[0] and one[1][0].tobytes() == two[1][0].tobytes()
    f, small = gc.compile_grad(LOGISTIC, [w]), M[:9].tocsr()
    grad = np.empty(20)
    given = small.indices.astype(int), small.data, *(small.indptr[k : k + 9].astype(int) for k in (0, 1)), SIGNS[:9]
    value = plain(f.source)["kernel"](AT, grad, *given)
    want = f(AT, X=small, y=SIGNS[:9])
    assert value == want[0] and grad.tobytes() == want[1][0].tobytes()
    env = dict(zip((w.node, *X.parts, y.node), (AT, *given), strict=True))
    np.testing.assert_allclose(float(exact([LOGISTIC.node], env)[0]), value, rtol=1e-14)


def test_in_a_step_of_a_loop_and_on_the_blackboard():
    last, _ = gc.scan(lambda c, _: (c - 0.1 * (X.T @ (X @ c - r)), None), w, None, length=3)
    f, at = gc.compile_grad(np.sum(last**2), [w]), AT
    for _ in range(3):
        at = at - 0.1 * (M.T @ (M @ at - R))
    value, (grad,) = f(AT, X=M, r=R)
    step = np.linalg.matrix_power(np.eye(20) - 0.1 * (M.T @ M).toarray(), 3)
    np.testing.assert_allclose(value, at @ at)
    np.testing.assert_allclose(grad, 2 * step @ at, rtol=1e-10)
    assert "X @ w" in str(gc.compile_grad(np.sum((X @ w) ** 2), [w]).explain(AT, X=M[:4]))


def test_minimize_takes_one():
    f = gc.compile_grad(LOGISTIC, [w])
    result = gc.minimize(f, [np.zeros(20)], {"X": M, "y": SIGNS})
    assert result.success and np.abs(logistic(result.x[0], M, SIGNS)[1]).max() < 1e-5


WRITTEN = {
    "np.multiply does not take a sparse array": lambda: X * 2,
    "np.exp does not take a sparse array": lambda: np.exp(X),
    "np.sum does not take a sparse array": lambda: np.sum(X),
    "rows of length n are needed": lambda: w @ X,
    "shape (3,) does not fit": lambda: X @ w[:3],
    "both are of one dtype": lambda: X @ gc.array("v", 20, "float32"),
    "a known number of columns is needed": lambda: gc.sparse_array("X", ("n", "p")),
    "'X': a matrix with a known number of columns is needed, not 6": lambda: gc.sparse_array("X", 6),
    "'X' of dtype int64: float64 or float32 is needed": lambda: gc.sparse_array("X", ("n", 3), int),
    "an array and a sparse array are called 'X'": lambda: gc.compile_grad(
        np.sum(X @ w * y) + np.sum(gc.array("X", 3)), [w]
    ),
    "two different arrays are called 'X_data'": lambda: gc.compile_grad(
        np.sum(X @ w) + np.sum(gc.array("X_data", 3)), [w]
    ),
    "two different arrays are called 'X_": lambda: gc.compile_grad(
        np.sum(X @ w) + np.sum(gc.sparse_array("X", ("m", 20)) @ w), [w]
    ),
    "a sparse array is no array of numbers": lambda: np.asarray(X),
    "there are no derivatives by sparse matrices": lambda: gc.compile_grad(LOGISTIC, [w, X]),
}


@pytest.mark.parametrize("message", WRITTEN)
def test_what_is_written_and_refused(message):
    with pytest.raises(gc.GradcompileError) as found:
        WRITTEN[message]()
    assert message in str(found.value)


def test_what_is_given_and_refused():
    f = gc.compile_grad(LOGISTIC, [w])
    outside = M.copy()
    outside.indices[3] = 20
    for given, message in (
        ({"X": M.toarray()}, "X is a sparse matrix, got a value of type ndarray; pass scipy.sparse.csr_array(X)"),
        ({"X": M[:, :9]}, "X has shape (300, 9), expected (n, 20)"),
        ({"X": sp.csr_array(np.ones(20))}, "X has shape (20,), expected (n, 20)"),
        ({"X": M[:9]}, "the dimension 'n' is 9"),
        ({"X": M.astype(complex)}, "X_data holds complex numbers"),
        ({"X": outside}, "X has 20 columns"),
        ({}, "no value for X: it takes (w, *, X, y)"),
    ):
        with pytest.raises(gc.GradcompileError) as found:
            f(AT, y=SIGNS, **given)
        assert message in str(found.value)
    with pytest.raises(gc.GradcompileError, match=r"inputs=\[X, y\]"):
        f(AT, M, SIGNS)
