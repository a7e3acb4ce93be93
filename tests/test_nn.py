"""The functions of networks: against PyTorch, at extreme values, by both modes of differentiation, on expressions."""

import math

import numpy as np
import pytest
import sympy as sp

from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff import reverse, testing
from gradcompile.errors import ArgumentTypeError, ExpressionError
from gradcompile.frontend import functions, nn
from gradcompile.frontend.arrays import Array, array
from gradcompile.frontend.sympy.convert import convert
from gradcompile.ir.core import leaf
from gradcompile.ir.graph import depends_on, topological, verify

rng = np.random.default_rng(0)
N = 4
VALUES = {
    "x": rng.normal(size=(N, 5)),
    "t": np.array([0, 4, 2, 2]),
    "p": rng.uniform(size=(N, 5)),
    "gain": rng.uniform(0.5, 2.0, size=5),
    "bias": rng.normal(size=5),
    "mask": rng.uniform(size=(N, 5)) < 0.6,
    "q": rng.normal(size=(2, 3, N, 6)),
    "k": rng.normal(size=(2, 3, 5, 6)),
    "v": rng.normal(size=(2, 3, 5, 4)),
    "seen": np.array([[True, False, True, True, False]] * N),
    "signal": rng.normal(size=(N, 2, 9)),
    "image": rng.normal(size=(N, 2, 7, 8)),
    "taps": rng.normal(size=(3, 2, 4)),
    "stencil": rng.normal(size=(3, 2, 3, 2)),
}
SHAPES = {"x": ("n", 5), "t": ("n",), "p": ("n", 5), "mask": ("n", 5), "seen": ("n", 5), "q": (2, 3, "n", 6)} | {
    "signal": ("n", 2, 9),
    "image": ("n", 2, 7, 8),
}
S = {name: array(name, SHAPES.get(name, value.shape), value.dtype) for name, value in VALUES.items()}
ENV = {S[name].node: value for name, value in VALUES.items()}
FLOATS = [S[name].node for name, value in VALUES.items() if value.dtype == np.float64]

# name: (as it is written here, the same in PyTorch)
CASES = {
    "relu": (lambda a: functions.relu(a["x"]), lambda F, a: F.relu(a["x"])),
    "leaky_relu": (lambda a: nn.leaky_relu(a["x"], 0.1), lambda F, a: F.leaky_relu(a["x"], 0.1)),
    "elu": (lambda a: nn.elu(a["x"], 0.7), lambda F, a: F.elu(a["x"], 0.7)),
    "gelu": (lambda a: nn.gelu(a["x"]), lambda F, a: F.gelu(a["x"])),
    "silu": (lambda a: nn.silu(a["x"]), lambda F, a: F.silu(a["x"])),
    "sigmoid": (lambda a: functions.sigmoid(a["x"]), lambda F, a: a["x"].sigmoid()),
    "softplus": (lambda a: functions.softplus(a["x"]), lambda F, a: F.softplus(a["x"])),
    "log_sigmoid": (lambda a: functions.log_sigmoid(a["x"]), lambda F, a: F.logsigmoid(a["x"])),
    "softmax": (lambda a: nn.softmax(a["x"]), lambda F, a: F.softmax(a["x"], -1)),
    "softmax_of_rows": (lambda a: nn.softmax(a["x"], axis=0), lambda F, a: F.softmax(a["x"], 0)),
    "log_softmax": (lambda a: nn.log_softmax(a["x"]), lambda F, a: F.log_softmax(a["x"], -1)),
    "logsumexp": (lambda a: nn.logsumexp(a["x"], axis=1), lambda F, a: a["x"].logsumexp(1)),
    "logsumexp_of_all": (lambda a: nn.logsumexp(a["x"]), lambda F, a: a["x"].logsumexp((0, 1))),
    "logsumexp_kept": (lambda a: nn.logsumexp(a["x"], 0, keepdims=True), lambda F, a: a["x"].logsumexp(0, True)),
    "cross_entropy": (
        lambda a: nn.cross_entropy(a["x"], a["t"]),
        lambda F, a: F.cross_entropy(a["x"], a["t"], reduction="none"),
    ),
    "cross_entropy_of_probabilities": (
        lambda a: nn.cross_entropy(a["x"], a["p"]),
        lambda F, a: F.cross_entropy(a["x"], a["p"], reduction="none"),
    ),
    "cross_entropy_along_the_first_axis": (
        lambda a: nn.cross_entropy(a["x"].T, a["t"], axis=0),
        lambda F, a: F.cross_entropy(a["x"], a["t"], reduction="none"),
    ),
    "binary_cross_entropy": (
        lambda a: nn.binary_cross_entropy_with_logits(a["x"], a["p"]),
        lambda F, a: F.binary_cross_entropy_with_logits(a["x"], a["p"], reduction="none"),
    ),
    "mse": (lambda a: nn.mse(a["x"], a["p"]), lambda F, a: F.mse_loss(a["x"], a["p"])),
    "huber": (
        lambda a: nn.huber(a["x"], a["p"], 0.7),
        lambda F, a: F.huber_loss(a["x"], a["p"], reduction="none", delta=0.7),
    ),
    "one_hot": (lambda a: nn.one_hot(a["t"], 5) * a["x"], lambda F, a: F.one_hot(a["t"], 5) * a["x"]),
    "layer_norm": (
        lambda a: nn.layer_norm(a["x"], a["gain"], a["bias"]),
        lambda F, a: F.layer_norm(a["x"], (5,), a["gain"], a["bias"]),
    ),
    "batch_norm": (
        lambda a: nn.batch_norm(a["x"], a["gain"], a["bias"]),
        lambda F, a: F.batch_norm(a["x"], None, None, a["gain"], a["bias"], training=True),
    ),
    "batch_norm_of_images": (
        lambda a: nn.batch_norm(a["image"], axis=(0, 2, 3)),
        lambda F, a: F.batch_norm(a["image"], None, None, training=True),
    ),
    "batch_norm_for_inference": (
        lambda a: nn.batch_norm(a["x"], a["gain"], mean=a["bias"], variance=a["gain"]),
        lambda F, a: (a["x"] - a["bias"]) / (a["gain"] + 1e-5).sqrt() * a["gain"],
    ),
    "dropout": (lambda a: nn.dropout(a["x"], a["mask"], 0.4), lambda F, a: a["x"] * a["mask"] / 0.6),
    "attention": (
        lambda a: nn.attention(a["q"], a["k"], a["v"]),
        lambda F, a: F.scaled_dot_product_attention(a["q"], a["k"], a["v"]),
    ),
    "attention_causal": (
        lambda a: nn.attention(a["k"], a["k"], a["v"], causal=True),
        lambda F, a: F.scaled_dot_product_attention(a["k"], a["k"], a["v"], is_causal=True),
    ),
    "attention_masked": (
        lambda a: nn.attention(a["q"], a["k"], a["v"], mask=a["seen"], scale=0.3),
        lambda F, a: F.scaled_dot_product_attention(a["q"], a["k"], a["v"], attn_mask=a["seen"], scale=0.3),
    ),
    "conv_1d": (lambda a: nn.conv(a["signal"], a["taps"]), lambda F, a: F.conv1d(a["signal"], a["taps"])),
    "conv_1d_strided": (
        lambda a: nn.conv(a["signal"], a["taps"], stride=2, padding=3, dilation=2),
        lambda F, a: F.conv1d(a["signal"], a["taps"], stride=2, padding=3, dilation=2),
    ),
    "conv_2d": (lambda a: nn.conv(a["image"], a["stencil"]), lambda F, a: F.conv2d(a["image"], a["stencil"])),
    "conv_2d_same": (
        lambda a: nn.conv(a["image"], a["stencil"][..., :1], padding="same"),
        lambda F, a: F.conv2d(a["image"], a["stencil"][..., :1], padding="same"),
    ),
    "conv_2d_strided": (
        lambda a: nn.conv(a["image"], a["stencil"], stride=(2, 1), padding=(1, 0)),
        lambda F, a: F.conv2d(a["image"], a["stencil"], stride=(2, 1), padding=(1, 0)),
    ),
    "max_pool": (lambda a: nn.max_pool(a["image"], (2, 3)), lambda F, a: F.max_pool2d(a["image"], (2, 3))),
    "max_pool_overlapping": (
        lambda a: nn.max_pool(a["signal"], 3, stride=2),
        lambda F, a: F.max_pool1d(a["signal"], 3, 2),
    ),
    "max_pool_of_one_size": (lambda a: nn.max_pool(a["image"], 2), lambda F, a: F.max_pool2d(a["image"], 2)),
    "max_pool_of_one_size_and_stride": (
        lambda a: nn.max_pool(a["image"], np.int64(3), stride=1),
        lambda F, a: F.max_pool2d(a["image"], 3, 1),
    ),
    "mean_pool_of_one_size": (lambda a: nn.mean_pool(a["signal"], 2), lambda F, a: F.avg_pool1d(a["signal"], 2)),
    "mean_pool": (lambda a: nn.mean_pool(a["image"], (2, 2)), lambda F, a: F.avg_pool2d(a["image"], 2)),
    "stop_gradient": (lambda a: functions.stop_gradient(a["x"]) * a["x"], lambda F, a: a["x"].detach() * a["x"]),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_those_of_pytorch(torch, name):
    ours, theirs = CASES[name]
    tensors = {k: torch.tensor(v, requires_grad=v.dtype == np.float64) for k, v in VALUES.items()}
    want, got = theirs(torch.nn.functional, tensors), ours(S).node
    weights = rng.normal(size=want.shape)
    want.backward(torch.tensor(weights))
    cotangent = leaf("cotangent", got.type)
    value, *gradients = evaluate([got, *reverse.vjp(got, FLOATS, cotangent)], {**ENV, cotangent: weights})
    np.testing.assert_allclose(value, want.detach().numpy(), rtol=1e-12, atol=1e-14)
    for n, gradient in zip(FLOATS, gradients, strict=True):
        expected = tensors[n.params[0]].grad
        expected = np.zeros_like(gradient) if expected is None else expected.numpy()
        np.testing.assert_allclose(gradient, expected, rtol=1e-11, atol=1e-13, err_msg=n.params[0])


@pytest.mark.parametrize("name", [k for k in CASES if k != "stop_gradient"])
def test_both_modes_to_the_second_order(name):
    n = CASES[name][0](S).node
    verify([n])
    order = topological([n])
    inside = [x for x in FLOATS if x in depends_on(order, [x]) and reverse.adjoints(n, [x], n).get(x)]
    testing.check_grads(n, inside, ENV, order=2, tolerance=1e-10)


@pytest.mark.parametrize("name", [k for k in CASES if k != "one_hot"])
def test_single_precision_stays(name):
    single = {k: array(k, a.shape, "float32" if a.dtype == np.float64 else a.dtype) for k, a in S.items()}
    n = CASES[name][0](single).sum().node
    gradients = reverse.vjp(n, [a.node for a in single.values() if a.dtype == np.float32])
    verify([n, *gradients])
    assert {m.type.dtype for m in topological([n, *gradients])} <= {"float32", "int64", "bool"}


def gradient_at(function, value):
    """Value and gradient of the sum of a function at a vector."""
    x = array("x", len(value))
    loss = function(x).sum().node
    return [np.asarray(v).tolist() for v in evaluate([loss, *reverse.vjp(loss, [x.node])], {x.node: value})]


@pytest.mark.parametrize(
    ("function", "point", "value", "slope"),
    [
        (functions.relu, 0.0, 0.0, 0.0),
        (lambda x: nn.leaky_relu(x, 0.25), 0.0, 0.0, 0.25),
        (nn.elu, -1e4, -1.0, 0.0),
        (nn.elu, 1e4, 1e4, 1.0),
        (nn.gelu, -1e3, 0.0, 0.0),
        (nn.gelu, 1e3, 1e3, 1.0),
        (nn.silu, -1e4, 0.0, 0.0),
        (functions.softplus, 1e4, 1e4, 1.0),
        (functions.log_sigmoid, -1e4, -1e4, 1.0),
        (lambda x: nn.huber(x, 0.0), 1e300, 1e300, 1.0),
        (lambda x: nn.binary_cross_entropy_with_logits(x, 1.0), 50.0, math.exp(-50.0), -math.exp(-50.0)),
        (lambda x: nn.binary_cross_entropy_with_logits(x, 0.0), -1e4, 0.0, 0.0),
    ],
)
def test_extreme_entries(function, point, value, slope):
    loss, gradient = gradient_at(function, [point])
    assert loss == pytest.approx(value, rel=1e-14, abs=0.0)
    assert gradient == pytest.approx([slope], rel=1e-14, abs=0.0)


def test_softmax_of_large_scores():
    for scale in (1e4, -1e4):
        loss, gradient = gradient_at(lambda x: nn.softmax(x)[0], [scale, scale, 0.0])
        assert loss == pytest.approx(0.5 if scale > 0 else 0.0)
        assert gradient == pytest.approx([0.25, -0.25, 0.0] if scale > 0 else [0.0] * 3)
    assert gradient_at(nn.logsumexp, [-math.inf, 3.0]) == [3.0, [0.0, 1.0]]
    assert gradient_at(nn.logsumexp, [-math.inf, -math.inf])[0] == -math.inf


def test_a_query_that_may_look_at_nothing_sees_the_mean():
    q, k, v = (array(name, (2, 2)) for name in "qkv")
    out = nn.attention(q, k, v, mask=np.array([[False, False], [True, True]])).node
    value = np.array([[1.0, 2.0], [3.0, 6.0]])
    assert evaluate([out], {q.node: value, k.node: value, v.node: value})[0][0].tolist() == [2.0, 4.0]


x, y = sp.symbols("x y")
SCALAR = {
    "relu": functions.relu,
    "sigmoid": functions.sigmoid,
    "softplus": functions.softplus,
    "log_sigmoid": functions.log_sigmoid,
    "leaky_relu": nn.leaky_relu,
    "elu": nn.elu,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "huber": lambda a: nn.huber(a, 0.3),
    "binary_cross_entropy": lambda a: nn.binary_cross_entropy_with_logits(a, 0.3),
    "where": lambda a: functions.where(a > 0.2, a * a, 1.0),
    "stop_gradient": lambda a: functions.stop_gradient(a) * a,
}


@pytest.mark.parametrize("name", SCALAR)
def test_expressions_mean_the_same_as_arrays(name):
    points = np.linspace(-2.0, 2.0, 9)
    values, a = array("x", 9), leaf("a")
    entries, (single,) = SCALAR[name](values).sum().node, convert([SCALAR[name](x)], {x: a}, "float64")
    got = evaluate([entries, *reverse.vjp(entries, [values.node])], {values.node: points})
    want = [evaluate([single, *reverse.vjp(single, [a])], {a: p}) for p in points]
    assert got[0] == pytest.approx(sum(w[0] for w in want), rel=1e-14)
    np.testing.assert_allclose(got[1], [w[1] for w in want], rtol=1e-13, atol=1e-15)


def test_sequences_of_expressions():
    assert nn.logsumexp([x, y]) == sp.log(sp.exp(x) + sp.exp(y))
    assert sp.simplify(sum(nn.softmax([x, y])) - 1) == 0
    assert nn.log_softmax([x, y])[1] == y - nn.logsumexp([x, y])


def test_the_mean_and_the_sum_of_an_array():
    assert isinstance(functions.mean(S["x"]), Array)
    assert functions.mean(S["x"], axis=0).shape == functions.total(S["x"], axis=0).shape == (5,)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.cross_entropy(S["x"], S["x"][:, :2]), r"probabilities of shape \('n', 2\)"),
        (lambda: nn.cross_entropy(S["x"], array("t", (3,), "int64")), r"classes of shape \(3,\)"),
        (lambda: nn.dropout(S["x"], S["mask"], 1.0), "rate of 1.0"),
        (lambda: nn.attention(array("q", (3, "w")), S["k"], S["v"]), "the width 'w' is not known"),
        (lambda: nn.conv(S["x"], S["taps"]), "samples, channels, length"),
        (lambda: nn.conv(S["signal"], array("k", (3, 2, 12))), "windows of 12 entries"),
        (lambda: nn.conv(S["signal"], array("k", (3, 4, 2))), "2 against 4"),
        (lambda: nn.max_pool(S["bias"], (2, 2)), "windows of 2 axes"),
        (lambda: nn.max_pool(S["x"], 2), r"all axes after samples and channels, and shape \('n', 5\) has none.*\(2,\)"),
        (lambda: nn.mean_pool(S["image"], (2, 2), stride=(1,)), r"stride=\(1,\) is for 1 axes, .* along 2"),
        (lambda: nn.mean_pool(S["image"], 0), "size=0: whole numbers from 1 on"),
        (lambda: nn.mean_pool(S["image"], 2, stride=0), "stride=0: whole numbers from 1 on"),
    ],
)
def test_what_does_not_fit_is_said_with_the_line(build, message):
    with pytest.raises(ExpressionError, match=f"{message}.* \\(at .*test_nn.py:"):
        build()


def test_a_wrong_keyword_is_named():
    with pytest.raises(ArgumentTypeError, match="it takes x, axis, keepdims"):
        functions.mean(S["x"], axes=0)
