"""`custom` of arrays: derivatives that a user states, forwards, twice, in loops, and what is refused."""

import pickle

import numpy as np
import pytest
from scipy import sparse

import gradcompile as gc

x, a, k = gc.array("x", 5), gc.array("a", (5, 3)), gc.array("k", "n", "int64")
AT, A = np.linspace(0.4, 1.7, 5), np.random.default_rng(0).normal(size=(5, 3))
limited = gc.custom("limited", lambda v: v, vjp=lambda g, v: np.clip(g, -1.0, 1.0))
weighed = gc.custom(
    "weighed", lambda v, m: np.exp(v) @ m, vjp=lambda g, v, m: (np.exp(v) * (m @ g), np.outer(np.exp(v), g))
)


def test_the_derivative_is_the_one_that_is_stated():
    f = gc.compile_grad(np.sum(np.array([0.1, 3.0, -5.0, 0.5, 0.0]) * limited(x)), [x])
    assert f(AT)[1][0].tolist() == [0.1, 1.0, -1.0, 0.5, 0.0]
    assert pickle.loads(pickle.dumps(f))(AT)[1][0].tolist() == f(AT)[1][0].tolist()
    assert "limited(x)" in f.source and "ruled" not in f.source and limited(3.0) == 3.0


def test_every_mode_agrees_with_the_function_written_plainly():
    for loss in (lambda own: np.sum(np.sin(own(x, a)) ** 2), lambda own: np.sum(own(np.tanh(x), a) * own(x, a * a))):
        own, plain = loss(weighed), loss(lambda v, m: np.exp(v) @ m)
        for made, params in ((gc.compile_grad, [x, a]), (gc.compile_hessian, [x]), (gc.compile_jvp, [x])):
            given = {"tangent": AT} if made is gc.compile_jvp else {}
            rest = {} if len(params) > 1 else {"inputs": [a]}
            one, two = (made(v, params, **rest)(AT, A, **given)[-1] for v in (own, plain))
            pairs = zip(one, two, strict=True) if made is gc.compile_grad else [(one, two)]
            for p, q in pairs:
                np.testing.assert_allclose(p, q, rtol=1e-12)
    slope = gc.derivative(np.sum(limited(x * x)), x)
    np.testing.assert_allclose(gc.compile_value(slope, [x])(AT), 2 * AT)


def test_in_a_step_of_a_loop_and_behind_a_branch():
    def step(c, _):
        return 0.9 * limited(np.tanh(c)), None

    last, _ = gc.scan(step, x, None, length=4)
    value, (grad,) = gc.compile_grad(np.sum(last**3), [x])(AT)
    plain, _ = gc.scan(lambda c, _: (0.9 * np.tanh(c), None), x, None, length=4)
    other, (want,) = gc.compile_grad(np.sum(plain**3), [x])(AT)
    np.testing.assert_allclose([value, *grad], [other, *want], rtol=1e-13)
    root = gc.custom("root", np.sqrt, vjp=lambda g, v: g / (2 * np.sqrt(v)))
    f = gc.compile_grad(np.sum(np.where(x > 1.0, root(x - 1.0), 0.0)), [x])
    at = AT - 0.2
    np.testing.assert_allclose(f(at)[1][0], np.where(at > 1, 0.5 / np.sqrt(np.maximum(at - 1, 1e-9)), 0))


def test_arrays_that_are_used_without_being_taken():
    """Those of the value have the derivative of what is written; those of vjp are inputs like others."""
    X, y = gc.sparse_array("X", ("n", 5)), gc.array("y", 5)
    own = gc.custom("own", lambda v: X @ (v * y), vjp=lambda g, v: 2 * y * (X.T @ g))
    f = gc.compile_grad(np.sum(own(x) ** 2), [x, y])
    data = sparse.csr_array(A.T)
    grads = f(AT, 2 * AT, X=data)[1]
    want = 2 * A @ (A.T @ (2 * AT**2))
    np.testing.assert_allclose(grads, [4 * AT * want, AT * want])
    weight = gc.array("weight", 5)
    late = gc.compile_grad(np.sum(gc.custom("late", lambda v: v, vjp=lambda g, v: g * weight)(x)), [x])
    np.testing.assert_array_equal(late(AT, AT)[1][0], AT)


def test_none_for_the_only_argument_and_what_is_not_linear():
    f = gc.compile_grad(np.sum(gc.custom("held", lambda v: v * v, vjp=lambda g, v: None)(x) * x), [x])
    np.testing.assert_allclose(f(AT)[1][0], AT**2)
    with pytest.raises(gc.ExpressionError, match="custom 'limited': vjp is not linear in the cotangent"):
        gc.compile_hessian(np.sum(limited(x) ** 2), [x])(AT)


def test_integers_have_no_cotangent():
    pick = gc.custom(
        "pick", lambda v, i: v[i], vjp=lambda g, v, i: (np.sum(gc.one_hot(i, 5) * g[:, None], axis=0), None)
    )
    f = gc.compile_grad(np.sum(pick(x, k) ** 2), [x])
    np.testing.assert_allclose(f(AT, [1, 1, 4])[1][0], [0, 4 * AT[1], 0, 0, 2 * AT[4]])


@pytest.mark.parametrize(
    ("vjp", "message"),
    [
        (lambda g, v, m: (g,), "vjp gives 1 cotangents for 2 arguments; give one for each"),
        (lambda g, v, m: (g, m), "the cotangent of argument 1 is of type float64[3], the argument of float64[5]"),
        (lambda g, v, m: (v * g, m), "do not broadcast"),
    ],
)
def test_what_does_not_fit_is_refused(vjp, message):
    with pytest.raises(gc.GradcompileError) as found:
        gc.custom("product", lambda v, m: v @ m, vjp=vjp)(x, a)
    assert message in str(found.value) and "product" in str(found.value) and "test_custom_arrays" in str(found.value)


def test_one_of_partials_and_vjp_is_given():
    with pytest.raises(gc.ArgumentError, match="give partials, of a function of numbers, or vjp, of one of arrays"):
        gc.custom("both", lambda v: v)
