"""Compiled networks against PyTorch and JAX: value and gradients, in both precisions, at several numbers of samples."""

from types import SimpleNamespace

import numpy as np
import pytest

import gradcompile as gc

SIZES = [1, 2, 7, 100]
WIDTH, HEADS, TOKENS = 8, 2, 5


def drawn(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {name: 0.5 * rng.normal(size=shape) for name, shape in shapes.items()}


def mlp(np, nn, p, x):
    return np.mean(nn.cross_entropy(nn.relu(x.X @ p.W1 + p.b1) @ p.W2 + p.b2, x.t))


def convolution(np, nn, p, x):
    pooled = nn.max_pool(nn.relu(nn.conv(x.images, p.K) + p.b[:, None, None]))
    return np.mean(nn.cross_entropy(np.reshape(pooled, (-1, 12)) @ p.W, x.t))


def attention(np, nn, p, x):
    def heads(weights):
        return np.swapaxes(np.reshape(x.Z @ weights, (-1, TOKENS, HEADS, WIDTH // HEADS)), 1, 2)

    mixed = np.swapaxes(nn.attention(heads(p.Q), heads(p.K), heads(p.V)), 1, 2)
    return np.mean((np.reshape(mixed, (-1, TOKENS, WIDTH)) @ p.O - x.Z) ** 2)


def lstm(np, nn, p, x):
    def step(carry, given):
        h, c = carry
        gates = given @ p.W + h @ p.U + p.b
        i, f, g, o = (gates[:, k * WIDTH : (k + 1) * WIDTH] for k in range(4))
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * np.tanh(g)
        return (nn.sigmoid(o) * np.tanh(c), c), None

    (h, _), _ = nn.scan(step, (x.h, x.h), x.steps)
    return np.mean((h @ p.v) ** 2)


def batch_norm(np, nn, p, x):
    return np.mean((nn.relu(nn.batch_norm(x.X @ p.W1, p.gain, p.b1)) @ p.W2) ** 2)


def layer_norm(np, nn, p, x):
    return np.mean((nn.relu(nn.layer_norm(x.X @ p.W1, p.gain, p.b1)) @ p.W2) ** 2)


def mixture(np, nn, p, x):
    apart = (x.X[:, None, :] - p.centres) * np.exp(p.sharpness)[:, None]
    terms = p.b2 + 4 * p.sharpness - np.sum(apart**2, -1) / 2
    return -np.sum(nn.logsumexp(terms) - nn.logsumexp(p.b2))


DENSE = {"W1": (4, 6), "b1": (6,), "W2": (6, 3), "b2": (3,), "gain": (6,), "centres": (3, 4), "sharpness": (3,)}
SHAPES = {
    mlp: {name: DENSE[name] for name in ("W1", "b1", "W2", "b2")},
    convolution: {"K": (3, 2, 3, 3), "b": (3,), "W": (12, 3)},
    attention: dict.fromkeys("QKVO", (WIDTH, WIDTH)),
    lstm: {"W": (3, 4 * WIDTH), "U": (WIDTH, 4 * WIDTH), "b": (4 * WIDTH,), "v": (WIDTH,)},
    batch_norm: {name: DENSE[name] for name in ("W1", "gain", "b1", "W2")},
    layer_norm: {name: DENSE[name] for name in ("W1", "gain", "b1", "W2")},
    mixture: {name: DENSE[name] for name in ("centres", "sharpness", "b2")},
}
INPUTS = {
    mlp: {"X": ("n", 4), "t": ("n",)},
    convolution: {"images": ("n", 2, 6, 6), "t": ("n",)},
    attention: {"Z": ("n", TOKENS, WIDTH)},
    lstm: {"steps": (9, "n", 3), "h": ("n", WIDTH)},
    batch_norm: {"X": ("n", 4)},
    layer_norm: {"X": ("n", 4)},
    mixture: {"X": ("n", 4)},
}
NETWORKS = list(SHAPES)
NAMES = [network.__name__ for network in NETWORKS]


def values(network, n, dtype):
    """Parameters and inputs for n samples."""
    shapes = {name: tuple(n if d == "n" else d for d in shape) for name, shape in INPUTS[network].items()}
    x = {name: v.astype(dtype) for name, v in drawn(shapes, 1).items()}
    if "t" in x:
        x["t"] = np.arange(n) % 3
    return {name: v.astype(dtype) for name, v in drawn(SHAPES[network]).items()}, x


def compiled(network, dtype):
    nn = SimpleNamespace(**{name: getattr(gc, name) for name in gc.__all__})
    nn.max_pool = lambda z: gc.max_pool(z, (2, 2))
    nn.logsumexp = lambda z: gc.logsumexp(z, axis=-1)
    p = {name: gc.array(name, shape, dtype) for name, shape in SHAPES[network].items()}
    x = {name: gc.array(name, shape, "int64" if name == "t" else dtype) for name, shape in INPUTS[network].items()}
    loss = network(np, nn, SimpleNamespace(**p), SimpleNamespace(**x))
    return gc.compile_grad(loss, list(p.values()), inputs=list(x.values()))


@pytest.fixture(scope="module")
def functions():
    """Each network compiled once a precision."""
    return {(network, dtype): None for network in NETWORKS for dtype in ("float64", "float32")}


def function(functions, network, dtype):
    functions[network, dtype] = functions[network, dtype] or compiled(network, dtype)
    return functions[network, dtype]


def agree(found, expected, dtype):
    """The loss, and each gradient relative to its largest entry."""
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(found[0], expected[0], rtol=tolerance)
    scale = max(np.abs(g).max() for g in expected[1])
    for ours, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance * scale)


def by_torch(torch, network, p, x):
    F = torch.nn.functional
    words = SimpleNamespace(
        mean=torch.mean, tanh=torch.tanh, exp=torch.exp, reshape=torch.reshape, swapaxes=torch.swapaxes,
        sum=lambda z, axis: z.sum(axis),
    ) if network is not mixture else SimpleNamespace(exp=torch.exp, sum=lambda z, axis=None: z.sum(axis))  # fmt: skip

    def scan(step, carry, steps):
        for given in steps:
            carry, _ = step(carry, given)
        return carry, None

    nn = SimpleNamespace(
        relu=torch.relu, sigmoid=torch.sigmoid, scan=scan, conv=F.conv2d, max_pool=lambda z: F.max_pool2d(z, 2),
        cross_entropy=lambda z, t: F.cross_entropy(z, t, reduction="none"),
        attention=F.scaled_dot_product_attention, logsumexp=lambda z: z.logsumexp(-1),
        batch_norm=lambda z, gain, b: (z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt() * gain + b,
        layer_norm=lambda z, gain, b: F.layer_norm(z, z.shape[-1:], gain, b),
    )  # fmt: skip
    tensors = {name: torch.from_numpy(v).requires_grad_() for name, v in p.items()}
    given = SimpleNamespace(**{name: torch.from_numpy(v) for name, v in x.items()})
    loss = network(words, nn, SimpleNamespace(**tensors), given)
    gradients = torch.autograd.grad(loss, list(tensors.values()))
    return loss.item(), [g.numpy() for g in gradients]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("network", NETWORKS, ids=NAMES)
def test_pytorch_agrees(torch, functions, network, dtype):
    for n in SIZES:
        p, x = values(network, n, dtype)
        agree(function(functions, network, dtype)(*p.values(), *x.values()), by_torch(torch, network, p, x), dtype)


def by_jax(jax, network, p, x):
    jnp = jax.numpy

    def normalised(z, axis, gain, b):
        return (z - z.mean(axis, keepdims=True)) / jnp.sqrt(z.var(axis, keepdims=True) + 1e-5) * gain + b

    def attended(q, k, v):
        return jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]), -1) @ v

    nn = SimpleNamespace(
        relu=jax.nn.relu, sigmoid=jax.nn.sigmoid, scan=jax.lax.scan, attention=attended,
        conv=lambda z, kernel: jax.lax.conv(z, kernel, (1, 1), "VALID"),
        max_pool=lambda z: jax.lax.reduce_window(z, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"),
        cross_entropy=lambda z, t: -jnp.take_along_axis(jax.nn.log_softmax(z), t[:, None], 1)[:, 0],
        logsumexp=lambda z: jax.nn.logsumexp(z, -1),
        batch_norm=lambda z, gain, b: normalised(z, 0, gain, b),
        layer_norm=lambda z, gain, b: normalised(z, -1, gain, b),
    )  # fmt: skip
    with jax.enable_x64(True):
        given = SimpleNamespace(**{name: jnp.asarray(v) for name, v in x.items()})
        evaluate = jax.jit(jax.value_and_grad(lambda p: network(jnp, nn, SimpleNamespace(**p), given)))
        loss, gradients = evaluate({name: jnp.asarray(v) for name, v in p.items()})
    return float(loss), [np.asarray(gradients[name]) for name in p]


@pytest.mark.parametrize("network", NETWORKS, ids=NAMES)
def test_jax_agrees(jax, functions, network):
    for n in SIZES[1:3]:
        p, x = values(network, n, "float64")
        agree(function(functions, network, "float64")(*p.values(), *x.values()), by_jax(jax, network, p, x), "float64")


def test_no_samples_at_all(functions):
    p, x = values(mixture, 0, "float64")
    loss, gradients = function(functions, mixture, "float64")(*p.values(), *x.values())
    assert loss == 0.0
    assert all(np.array_equal(g, np.zeros(g.shape)) for g in gradients)
    p, x = values(mlp, 0, "float64")
    assert np.isnan(function(functions, mlp, "float64")(*p.values(), *x.values())[0])


def test_the_bits_do_not_depend_on_the_call(functions):
    p, x = values(mlp, 100, "float64")
    f = function(functions, mlp, "float64")
    bound = f.bind(*x.values())(f.pack(*p.values()))
    loss, gradients = f(*p.values(), *x.values())
    assert loss == bound[0]
    assert np.concatenate([g.ravel() for g in gradients]).tobytes() == bound[1].tobytes()
