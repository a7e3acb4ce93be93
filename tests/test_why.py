"""Why a gradient is zero, infinite or NaN: planted causes are named, and programs without a fault raise no alarm."""

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile import compile_grad
from gradcompile.errors import ArgumentError

A, B, C, D, W, X, Y = sp.symbols("a b c d w x y", real=True)
R = np.random.default_rng(7)
XA, YA = gc.array("X", ("n", 3)), gc.array("Y", ("n",))
W1, B1, W2, W3 = gc.array("W1", (3, 4)), gc.array("B1", (4,)), gc.array("W2", (4,)), gc.array("W3", (4, 4))
H = XA @ W1 + B1
SMALL = R.normal(size=(3, 4)), R.normal(size=4), R.normal(size=4)
DATA = R.normal(size=(5, 3)), R.normal(size=5)


def scalar(loss, *params):
    return lambda: compile_grad(loss, list(params))


def sampled(loss, *params, data=(X, Y)):
    return lambda: compile_grad(loss, list(params), data=list(data))


def mlp(hidden, then=lambda h: h):
    return lambda: compile_grad(np.mean((then(hidden(H)) @ W2 - YA) ** 2), [W1, B1, W2], inputs=[XA, YA])


def deep(act):
    return lambda: compile_grad(np.mean((act(act(H) @ W3) @ W2 - YA) ** 2), [W1, B1, W3, W2], inputs=[XA, YA])


HUGE = [np.abs(SMALL[0]) * 1e3, SMALL[1], SMALL[2]]
LOW = [SMALL[0], SMALL[1] - 1e3, SMALL[2]]
POSITIVE = np.abs(DATA[0]) + 0.1, DATA[1]
ZEROS = np.zeros((4, 4))

PLANTED = [
    # zero
    ("dead relu", scalar(sp.Max(W * X, 0) + B, W, X, B), "w", (-2.0, 3.0, 1.0)),
    ("dead relu", scalar((sp.Max(W * X + B, 0) - 1) ** 2, W, X, B), "w", (-2.0, 3.0, 1.0)),
    ("dead relu", mlp(gc.relu), "W1", (*LOW, *DATA)),
    ("dead relu", mlp(lambda h: np.maximum(h, 0)), "B1", (*LOW, *DATA)),
    ("dead relu", mlp(gc.relu), "W2", (*LOW, *DATA)),
    ("dead relu", sampled((sp.Piecewise((W * X, W * X > 0), (0, True)) - Y) ** 2, W), "w", (-1.0, [1.0, 2], [1.0, 1])),
    ("saturated sigmoid", scalar(1 / (1 + sp.exp(-W * X)), W, X), "w", (-900.0, 3.0)),
    ("saturated sigmoid", mlp(gc.sigmoid), "W1", (HUGE[0] * 1e2, *SMALL[1:], *POSITIVE)),
    ("saturated tanh", scalar((sp.tanh(W * X) - Y) ** 2, W, X, Y), "w", (30.0, 3.0, 0.0)),
    ("saturated tanh", mlp(np.tanh), "B1", (*HUGE, *POSITIVE)),
    ("saturated erf", scalar(sp.erf(W) + B, W, B), "w", (40.0, 0.0)),
    ("clipped", scalar(sp.Min(sp.Max(W, -1), 1) ** 2 + B, W, B), "w", (5.0, 0.0)),
    ("clipped", scalar(sp.Max(W, sp.Rational(1, 10)) * B, W, B), "w", (-5.0, 2.0)),
    ("clipped", mlp(lambda h: np.clip(h, -1, 1)), "W1", (*LOW, *DATA)),
    ("unused", lambda: compile_grad((W * X - Y) ** 2, [W, B], data=[X, Y], allow_unused=True), "b",
     (1.0, 2.0, [1.0], [1.0])),
    ("cancelled", sampled(W * X + B * Y, W, B), "w", (1.0, 2.0, [1.0, -1.0], [1.0, 3.0])),
    ("cancelled", sampled((W * X + B - Y) ** 2, W, B), "b", (0.0, 2.0, [1.0, 2.0], [1.0, 3.0])),
    ("cancelled", lambda: compile_grad(np.sum((XA @ W1) @ W2 - YA), [W1, W2], inputs=[XA, YA]), "W2",
     (SMALL[0], SMALL[2], np.array([[1.0, 2, 3], [-1, -2, -3]]), np.ones(2))),
    ("underflow", scalar(sp.exp(-W * X) + B, W, X, B), "w", (800.0, 1.0, 0.0)),
    ("underflow", scalar(B * sp.exp(-(W**2)), W, B), "b", (40.0, 1.0)),
    ("underflow", scalar(C * D * W**2, C, D, W), "w", (1e-200, 1e-200, 1.0)),
    ("underflow", scalar(1 / (1 + W**2), W), "w", (1e200,)),
    ("kink", scalar(sp.Abs(W - X) + B, W, X, B), "w", (3.0, 3.0, 1.0)),
    ("kink", lambda: compile_grad(np.sum(np.abs(B1)), [B1]), "B1", (np.zeros(4),)),
    ("stop_gradient", mlp(lambda h: gc.stop_gradient(np.tanh(h))), "W1", (*SMALL, *DATA)),
    ("stop_gradient", lambda: compile_grad(np.sum(gc.stop_gradient(B1) * W2), [B1, W2]), "B1", SMALL[1:]),
    ("zero factor", scalar(W * X + B, W, X, B), "w", (2.0, 0.0, 1.0)),
    ("zero factor", mlp(np.tanh), "W1", (SMALL[0], SMALL[1], np.zeros(4), *DATA)),
    ("zero factor", mlp(np.tanh), "W1", (*SMALL, np.zeros((5, 3)), DATA[1])),
    ("zero factor", deep(np.tanh), "B1", (SMALL[0], SMALL[1], ZEROS, SMALL[2], *DATA)),
    ("zero factor", scalar((W + B) * sp.log(X), W, B, X), "w", (1.0, 2.0, 1.0)),
    ("dead relu", lambda: compile_grad(np.mean(np.log(gc.relu(H))), [W1, B1], inputs=[XA]), "W1",
     (np.ones((3, 4)), np.zeros(4), -np.ones((2, 3)))),
    ("stationary", scalar((W * X - Y) ** 2, W, X, Y), "w", (2.0, 3.0, 6.0)),
    ("stationary", sampled((W * X - Y) ** 2, W), "w", (2.0, [1.0, 2.0], [2.0, 4.0])),
    ("stationary", scalar(sp.cos(W) + B, W, B), "w", (0.0, 1.0)),
    ("stationary", scalar(W**4 + B, W, B), "w", (0.0, 1.0)),
    ("branch not taken", scalar(sp.Piecewise((W * X, B > 0), (X**2, True)), W, X, B), "w", (2.0, 3.0, -1.0)),
    ("branch not taken", scalar(sp.Max(W, B), W, B), "w", (1.0, 2.0)),
    ("branch not taken", lambda: compile_grad(np.sum(np.where(B1 > 0, B1 * W2, W2)), [B1, W2]), "B1",
     (-np.abs(SMALL[1]) - 0.1, SMALL[2])),
    ("condition only", scalar(sp.Piecewise((X**2, W > 0), (X, True)), W, X), "w", (2.0, 3.0)),
    ("step", scalar(sp.floor(W) * X, W, X), "w", (2.5, 3.0)),
    ("underflow", scalar(X / sp.exp(W) + B, W, X, B), "x", (800.0, 3.0, 1.0)),
    ("saturated sigmoid", scalar(1 / (1 + sp.exp(-W * X)), W, X), "w", (50.0, 1.0)),
    ("saturated expm1", lambda: compile_grad(np.sum(gc.elu(B1) * W2), [B1, W2]), "B1", (np.full(4, -1e3), SMALL[2])),
    ("kink", lambda: compile_grad(np.linalg.norm(B1) + np.sum(W2), [B1, W2]), "B1", (np.zeros(4), SMALL[2])),
    ("step", lambda: compile_grad(np.sum(W2 * np.argmax(B1)), [B1, W2]), "B1", SMALL[1:]),
    ("not picked", lambda: compile_grad(np.max(np.concatenate([B1, W2])), [B1, W2]), "B1", (-np.ones(4), np.ones(4))),
    ("zero factor", lambda: compile_grad(gc.scan(lambda h, z: (0.0 * h + z, None), W1[0, 0], B1)[0], [W1, B1]), "W1",
     SMALL[:2]),
    ("dead relu", lambda: compile_grad(np.mean(gc.relu(H) @ W2), [W1, B1, W2], inputs=[XA]), "W1",
     (-np.abs(SMALL[0]), np.zeros(4), SMALL[2], np.abs(DATA[0]))),
    ("saturated sigmoid", lambda: compile_grad(np.mean(gc.sigmoid(H) @ W2), [W1, B1, W2], inputs=[XA]), "W1",
     (-1e4 * np.abs(SMALL[0]), np.zeros(4), SMALL[2], POSITIVE[0])),
    ("saturated tanh", lambda: compile_grad(
        np.sum(gc.scan(lambda h, x: (np.tanh(h @ W3 + x), None), B1, XA @ W1)[0]), [B1, W3, W1], inputs=[XA]), "B1",
     (np.ones(4), np.full((4, 4), 300.0), SMALL[0], np.ones((3, 3)))),
    ("zero factor", lambda: compile_grad(gc.scan(lambda h, x: (x * h, None), W2[0], B1)[0], [W2, B1]), "W2",
     (np.ones(4), np.array([1.0, 0.0, 2.0, 3.0]))),
    ("stop_gradient", lambda: compile_grad(
        gc.scan(lambda h, x: (gc.stop_gradient(np.tanh(h)) + x, None), W2[0], B1)[0], [W2, B1]), "W2", SMALL[1:]),
    ("zero factor", lambda: compile_grad(-np.mean(gc.log_softmax(XA @ W1)[:, 0]), [W1], inputs=[XA]), "W1",
     (np.zeros((3, 4)), np.zeros((5, 3)))),
    ("stationary", lambda: compile_grad(np.mean((XA @ W1[:, 0] - YA) ** 2), [W1], inputs=[XA, YA]), "W1",
     (np.ones((3, 4)), np.eye(3), np.ones(3))),
    # no number
    ("outside the domain", lambda: compile_grad(np.sum(np.linalg.cholesky(W3)), [W3]), "W3", (-np.eye(4),)),
    ("outside the domain", lambda: compile_grad(np.sum(np.linalg.inv(W3)), [W3]), "W3", (np.ones((4, 4)),)),
    ("log of a negative", lambda: compile_grad(gc.scan(lambda h, z: (np.log(h) + z, None), W2[0], B1)[0], [W2, B1]),
     "W2", (np.ones(4), np.array([1.0, -9.0, 1.0, 1.0]))),
    ("log of 0", scalar(sp.log(W * X) * B, W, X, B), "w", (0.0, 3.0, 1.0)),
    ("log of 0", sampled(W * sp.log(X) + B, W, B, data=(X,)), "w", (1.0, 2.0, [1.0, 0.0])),
    ("log of a negative", scalar(B * sp.log(W - X), W, X, B), "b", (1.0, 3.0, 1.0)),
    ("log of a negative", lambda: compile_grad(np.mean(np.log(H) @ W2), [W1, B1, W2], inputs=[XA]), "W2",
     (*LOW, DATA[0])),
    ("0/0", scalar(C * (W / X), W, X, C), "c", (0.0, 0.0, 1.0)),
    ("division by 0", scalar(C * (W / X), W, X, C), "w", (1.0, 0.0, 1.0)),
    ("root of a negative", scalar(B * sp.sqrt(W - X), W, X, B), "w", (1.0, 3.0, 1.0)),
    ("root of a negative", scalar(B * (W - X) ** sp.Rational(1, 3), W, X, B), "b", (1.0, 3.0, 1.0)),
    ("infinite slope", scalar(sp.sqrt(W) + B, W, B), "w", (0.0, 1.0)),
    ("infinite slope", scalar(sp.acos(W) + B, W, B), "w", (1.0, 1.0)),
    ("outside the domain", scalar(B * sp.acos(W), W, B), "b", (2.0, 1.0)),
    ("overflow", scalar(B * sp.exp(W * X), W, X, B), "b", (800.0, 3.0, 1.0)),
    ("overflow", mlp(lambda h: np.exp(h * 1e3)), "W2", (*HUGE, *POSITIVE)),
    ("overflow", scalar(C * D * W**2, C, D, W), "w", (1e200, 1e200, 1.0)),
    ("bad input", sampled((W * X - Y) ** 2, W), "w", (1.0, [1.0, np.nan, 2.0], [1.0, 1.0, 1.0])),
]  # fmt: skip

HEALTHY = [
    (scalar((W * X - Y) ** 2, W, X, Y), "w", (2.0, 3.0, 10.0)),
    (scalar(W * X + B, W, X, B), "b", (0.0, 0.0, 0.0)),
    (scalar(sp.log(1 + sp.exp(W * X)), W, X), "w", (800.0, 2.0)),
    (scalar(sp.log(1 + sp.exp(W * X)), W, X), "w", (-3.0, 2.0)),
    (scalar(sp.sqrt(W**2 + X**2), W, X), "w", (1e200, 1e200)),
    (scalar(sp.Max(W, X) ** 2, W, X), "w", (2.0, 1.0)),
    (scalar(sp.Max(W, 0) * X, W, X), "w", (2.0, 1.0)),
    (scalar(sp.Abs(W - X), W, X), "x", (2.0, 1.0)),
    (scalar(sp.Piecewise((sp.log(W), W > 0), (W, True)), W), "w", (-2.0,)),
    (scalar(sp.Piecewise((sp.sqrt(W), W > 0), (W, True)) * X, W, X), "w", (-2.0, 1.0)),
    (scalar(sp.exp(-W) * X, W, X), "w", (700.0, 1.0)),
    (scalar(sp.tanh(W * X), W, X), "w", (5.0, 1.0)),
    (scalar(1 / (1 + sp.exp(-W)), W), "w", (30.0,)),
    (scalar(W / X, W, X), "x", (1.0, 1e-100)),
    (scalar(sp.cos(W) + B, W, B), "w", (1e-8, 1.0)),
    (scalar(sp.gamma(W), W), "w", (3.5,)),
    (scalar(W**X, W, X), "x", (2.0, 3.0)),
    (scalar(sp.sin(W) / W, W), "w", (1e-3,)),
    (sampled((W * X + B - Y) ** 2, W, B), "w", (1.0, 0.5, [1.0, 2.0, 3.0], [1.0, 5.0, 3.0])),
    (sampled((W * X + B - Y) ** 2, W, B), "b", (1.0, 0.5, [0.0, 0.0, 3.0], [1.0, 5.0, 2.0])),
    (sampled(sp.Max(1 - Y * (W * X + B), 0), W, B), "w", (0.2, 0.0, [1.5, 2.0, -1.0], [1.0, -1.0, -1.0])),
    (sampled(sp.log(1 + sp.exp(-Y * (W * X + B))), W, B), "w", (2.0, 0.3, [1.0, 2.0, -1.0], [1.0, -1.0, -1.0])),
    (sampled(W * sp.exp(-B * X) - Y, W, B), "b", (2.0, 0.3, [1.0, 2.0, 5.0], [1.0, -1.0, -1.0])),
    (mlp(np.tanh), "W1", (*SMALL, *DATA)),
    (mlp(gc.sigmoid), "B1", (*SMALL, *DATA)),
    (mlp(gc.softplus), "W2", (*SMALL, *DATA)),
    (mlp(gc.gelu), "W1", (*SMALL, *DATA)),
    (mlp(lambda h: gc.softmax(h)), "W1", (*SMALL, *DATA)),
    (deep(np.tanh), "W1", (*SMALL[:2], R.normal(size=(4, 4)), SMALL[2], *DATA)),
    (deep(gc.leaky_relu), "W3", (*SMALL[:2], R.normal(size=(4, 4)), SMALL[2], *DATA)),
    (lambda: compile_grad(np.mean(np.linalg.norm(H, axis=1)), [W1, B1], inputs=[XA]), "W1", (*SMALL[:2], DATA[0])),
    (lambda: compile_grad(np.mean(gc.logsumexp(H, axis=1)), [W1, B1], inputs=[XA]), "B1", (*SMALL[:2], DATA[0])),
]  # fmt: skip


@pytest.mark.parametrize("case", PLANTED, ids=lambda c: f"{c[0]}-{PLANTED.index(c)}")
def test_a_planted_cause_is_named(case):
    cause, make, param, args = case
    found = make().why(param, *args)
    assert found.fault and found.cause == cause, str(found)
    assert found.verdict in ("zero", "next to zero", "NaN", "infinite") and cause in str(found)


@pytest.mark.parametrize("k", range(len(HEALTHY)))
def test_a_program_without_a_fault_raises_no_alarm(k):
    make, param, args = HEALTHY[k]
    found = make().why(param, *args)
    assert not found.fault, str(found)
    assert str(found).startswith(f"The gradient of {param} is healthy")


def test_an_answer_says_where():
    with pytest.raises(ArgumentError, match="'b' is no parameter; they are w"):
        compile_grad(W**2, [W]).why("b", 1.0)
    found = compile_grad(W * sp.log(X) + B, [W, B], data=[X]).why(W, 1.0, 2.0, [1.0, 0.0, 2.0, 0.0])
    assert (found.sample, found.operands, found.share) == (1, {"x": 0.0}, 0.5)
    assert str(found).startswith(
        "The gradient of w is infinite: log of 0 at log_x = log(x): the logarithm of 0 is taken;"
    )


def test_what_a_product_of_arrays_is_multiplied_with_is_named():
    found = mlp(np.tanh)().why("W1", *SMALL[:2], np.zeros(4), *DATA)
    assert found.cause == "zero factor" and found.operands == {"W2": 0.0}


def test_the_step_of_a_loop_is_named_in_which_its_state_saturates():
    loss = gc.scan(lambda h, x: (np.tanh(h * x), None), W2[0], B1)[0]
    found = compile_grad(loss, [W2, B1]).why("W2", np.ones(4), np.array([1.0, 1e3, 1.0, 1.0]))
    assert found.cause == "saturated tanh" and found.sentence.endswith("in step 1")


def test_a_unit_that_is_dead_for_all_samples_is_found_where_others_live():
    bias = np.array([0.0, -1e3, 0.0, 0.0])
    found = mlp(np.tanh)().why("B1", SMALL[0], bias, SMALL[2], *DATA)
    assert found.verdict == "partly zero" and found.cause == "saturated tanh" and "1 of 4 entries" in str(found)
