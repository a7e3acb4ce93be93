"""Losses over arrays: networks, a regression, kernels between all pairs of points, a recurrence, attention."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import array_peers as peers
from benchmarks.record import OURS, Arrays, ArrayWorkload, Product, Reach, faster, sooner

Pair = tuple[Arrays, Arrays]


def layers(rng: np.random.Generator, *widths: int) -> dict[str, np.ndarray]:
    """Weights W1, b1, W2, b2, ... of a network of these widths, so scaled that values keep their size."""
    found = {}
    for k, (wide, narrow) in enumerate(itertools.pairwise(widths), 1):
        found[f"W{k}"] = rng.normal(scale=wide**-0.5, size=(wide, narrow))
        found[f"b{k}"] = 0.1 * rng.normal(size=narrow)
    return found


def network(p: Any, values: Any, activation: Any) -> Any:
    """Products and activations in turn; none after the last product."""
    last = len(vars(p)) // 2
    for k in range(1, last + 1):
        values = values @ getattr(p, f"W{k}") + getattr(p, f"b{k}")
        values = values if k == last else activation(values)
    return values


def regression(np: Any, nn: Any, p: Any, x: Any) -> Any:
    """A network of tanh, squared error."""
    return np.mean((network(p, x.X, np.tanh)[:, 0] - x.y) ** 2)


def regression_data(rng: np.random.Generator, n: int) -> Pair:
    X = rng.uniform(-1.0, 1.0, size=(n, 8))
    return layers(rng, 8, 32, 32, 1), {"X": X, "y": np.sin(3 * X[:, 0]) * X[:, 1]}


def classifier(np: Any, nn: Any, p: Any, x: Any) -> Any:
    """A network of relu, cross-entropy."""
    return np.mean(nn.cross_entropy(network(p, x.X, nn.relu), x.t))


def classifier_data(*widths: int) -> Callable[[np.random.Generator, int], Pair]:
    """Pictures of noise with labels."""

    def make(rng: np.random.Generator, n: int) -> Pair:
        inputs = {"X": rng.uniform(size=(n, widths[0])), "t": rng.integers(0, widths[-1], n)}
        return layers(rng, *widths), inputs

    return make


def classifier_products(*widths: int) -> Callable[[int], list[Product]]:
    """Forward, the gradient by the weights, and from the second layer on that by the layer's input."""

    def products(n: int) -> list[Product]:
        pairs = list(itertools.pairwise(widths))
        forward = [(n, wide, narrow) for wide, narrow in pairs]
        weights = [(wide, n, narrow) for wide, narrow in pairs]
        return forward + weights + [(n, narrow, wide) for wide, narrow in pairs[1:]]

    return products


def logistic(np: Any, nn: Any, p: Any, x: Any) -> Any:
    """The negative log-likelihood of labels 0 and 1."""
    z = x.X @ p.w + p.b
    return np.mean(nn.softplus(z) - x.y * z)


def logistic_data(rng: np.random.Generator, n: int) -> Pair:
    X, truth = rng.normal(size=(n, 100)), rng.normal(size=100)
    labels = rng.uniform(size=n) < 1 / (1 + np.exp(-X @ truth))
    return {"w": 0.3 * rng.normal(size=100), "b": np.array(0.1)}, {"X": X, "y": labels.astype(float)}


def kernels(np: Any, nn: Any, p: Any, x: Any) -> Any:
    """A sum of Gaussian kernels around every point, squared error at every point."""
    apart = x.X[:, None, :] - x.centres[None, :, :]
    weights = np.exp(-np.sum(apart**2, axis=-1) * (0.5 * np.exp(-2 * p.log_s)))
    return np.mean((weights @ p.alpha - x.y) ** 2)


def kernels_data(rng: np.random.Generator, n: int) -> Pair:
    """The centres are the points themselves, of which as many are known as there are parameters."""
    X = rng.normal(size=(n, 3))
    parameters = {"alpha": rng.normal(size=n), "log_s": np.array(-1.0)}
    return parameters, {"X": X, "centres": X.copy(), "y": np.sin(2 * X[:, 0]) + X[:, 1]}


HIDDEN = 32


def lstm(np: Any, nn: Any, p: Any, x: Any) -> Any:
    """A long short-term memory over sequences, time first; squared error of a linear read-out at the end."""

    def step(carry: Any, inputs: Any) -> Any:
        h, c = carry
        gates = inputs @ p.W + h @ p.U + p.b
        i, f, g, o = (gates[:, k * HIDDEN : (k + 1) * HIDDEN] for k in range(4))
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * np.tanh(g)
        return (nn.sigmoid(o) * np.tanh(c), c), None

    (h, _), _ = nn.scan(step, (x.h, x.c), x.X)
    return np.mean((h @ p.v - x.y) ** 2)


def lstm_data(rng: np.random.Generator, steps: int) -> Pair:
    batch, gates = 16, 4 * HIDDEN
    parameters = {
        "W": rng.normal(scale=HIDDEN**-0.5, size=(HIDDEN, gates)),
        "U": rng.normal(scale=HIDDEN**-0.5, size=(HIDDEN, gates)),
        "b": 0.1 * rng.normal(size=gates),
        "v": rng.normal(size=HIDDEN),
    }
    zeros = np.zeros((batch, HIDDEN))
    inputs = {"X": rng.normal(size=(steps, batch, HIDDEN)), "h": zeros, "c": zeros, "y": rng.normal(size=batch)}
    return parameters, inputs


TOKENS, HEADS, WIDTH = 64, 4, 64


def attention(np: Any, nn: Any, p: Any, x: Any) -> Any:
    """Self-attention of several heads with a residual connection, squared error."""

    def heads(weights: Any) -> Any:
        return np.transpose(np.reshape(x.X @ weights, (-1, TOKENS, HEADS, WIDTH // HEADS)), (0, 2, 1, 3))

    query, key, value = heads(p.Q), heads(p.K), heads(p.V)
    scores = query @ np.transpose(key, (0, 1, 3, 2)) * (WIDTH // HEADS) ** -0.5
    mixed = np.transpose(nn.softmax(scores, -1) @ value, (0, 2, 1, 3))
    return np.mean((x.X + np.reshape(mixed, (-1, TOKENS, WIDTH)) @ p.O - x.Y) ** 2)


def attention_data(rng: np.random.Generator, n: int) -> Pair:
    parameters = {name: rng.normal(scale=WIDTH**-0.5, size=(WIDTH, WIDTH)) for name in "QKVO"}
    return parameters, {name: rng.normal(size=(n, TOKENS, WIDTH)) for name in "XY"}


BLAS = {"products": peers.products, "products-1": peers.products_alone, "peak": peers.peak}


def classifier_workload(name: str, batch: int, *widths: int, **options: Any) -> ArrayWorkload:
    """A classifier in single precision, beside its matrix products alone."""
    return ArrayWorkload(
        name,
        f"network {'-'.join(map(str, widths))} of relu, cross-entropy, batch {batch}, float32",
        size=batch,
        quick=batch,
        formula=classifier,
        make=classifier_data(*widths),
        products=classifier_products(*widths),
        peers={OURS: peers.ours, "jax": peers.jax, "torch-eager": peers.torch_eager, **BLAS},
        batched={"X": 0, "t": 0},
        dtype="float32",
        tolerance=1e-4,
        **options,
    )


NEAR_PRODUCTS = [faster("products", 1 / 1.25), faster("products-1", 1 / 1.25)]

WORKLOADS = (
    ArrayWorkload(
        "regression",
        "network 8-32-32-1 of tanh, squared error, 10^5 samples",
        size=100_000,
        quick=1000,
        formula=regression,
        make=regression_data,
        products=classifier_products(8, 32, 32, 1),
        peers={OURS: peers.ours, "jax": peers.jax, "torch": peers.torch_compiled, "peak": peers.peak},
        batched={"X": 0, "y": 0},
        reaches=[faster("jax", 5), faster("torch", 8)],
    ),
    classifier_workload(
        "classifier-32", 32, 784, 128, 10, reaches=[faster("jax", 1.8), faster("torch-eager", 2), *NEAR_PRODUCTS]
    ),
    classifier_workload(
        "classifier-128", 128, 784, 128, 10, reaches=[faster("jax", 1.3), faster("torch-eager", 2), *NEAR_PRODUCTS]
    ),
    classifier_workload("classifier-512", 512, 784, 512, 512, 10, reaches=[faster("jax", 1), sooner("jax", 1)]),
    ArrayWorkload(
        "logistic-100",
        "logistic regression, a matrix of 10^5 x 100",
        size=100_000,
        quick=1000,
        formula=logistic,
        make=logistic_data,
        peers={OURS: peers.ours, "jax": peers.jax, "torch": peers.torch_compiled, "read": peers.read},
        batched={"X": 0, "y": 0},
        reaches=[faster("jax", 3), faster("read", 1 / 2)],
    ),
    ArrayWorkload(
        "kernels",
        "Gaussian kernels between all pairs of 5,000 points",
        size=5000,
        quick=300,
        formula=kernels,
        make=kernels_data,
        peers={OURS: peers.ours, "jax": peers.jax},
        batched={"X": 0, "y": 0},
        reaches=[faster("jax", 5), Reach("memory", 20e6)],
    ),
    ArrayWorkload(
        "lstm",
        "LSTM, 100 steps, hidden 32, batch 16",
        size=100,
        quick=10,
        formula=lstm,
        make=lstm_data,
        peers={OURS: peers.ours, "jax": peers.jax},
        batched={"X": 1, "h": 0, "c": 0, "y": 0},
        reaches=[faster("jax", 3)],
    ),
    ArrayWorkload(
        "attention",
        "attention, 64 tokens, 4 heads, width 64, batch 8, float32",
        size=8,
        quick=2,
        formula=attention,
        make=attention_data,
        peers={OURS: peers.ours, "jax": peers.jax},
        batched={"X": 0, "Y": 0},
        dtype="float32",
        tolerance=1e-4,
        reaches=[faster("jax", 1.5)],
    ),
)
