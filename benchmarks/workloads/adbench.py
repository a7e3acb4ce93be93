"""Two objectives of the ADBench suite on random instances: a Gaussian mixture with a prior, and bundle adjustment."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import array_peers as peers
from benchmarks.record import OURS, Arrays, ArrayWorkload, faster

Pair = tuple[Arrays, Arrays]


def tables(d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ones on the diagonal; ones below it; where the entries below stand in the vector that fills them by columns."""
    places = np.zeros((d, d), int)
    column, row = np.triu_indices(d, 1)
    places[row, column] = np.arange(len(row))
    return np.eye(d), np.tril(np.ones((d, d)), -1), places


def normaliser(d: int) -> float:
    """The Wishart prior's constant, n' d (log gamma - log(2)/2) - log Gamma_d(n'/2), with gamma = 1, n' = d + 1."""
    from scipy.special import multigammaln

    return float(-(d + 1) * d * math.log(2) / 2 - multigammaln((d + 1) / 2, d))


def mixture(np: Any, nn: Any, p: Any, x: Any) -> Any:
    """The log-likelihood of a Gaussian mixture, with the prior gamma = 1, m = 0; exp(q) is the diagonal of Q."""
    K, d = p.mu.shape
    q, below = p.icf[:, :d], p.icf[:, d:]
    diagonal, triangle, place = tables(d)
    Q = np.exp(q)[:, :, None] * diagonal + below[:, place] * triangle
    apart = np.einsum("kij,nkj->nki", Q, x.X[:, None, :] - p.mu)
    terms = p.alpha + np.sum(q, axis=1) - 0.5 * np.sum(apart**2, axis=-1)
    samples = nn.logsumexp(terms, axis=1) - nn.logsumexp(p.alpha, axis=0) - d / 2 * math.log(2 * math.pi)
    prior = 0.5 * (np.sum(np.exp(2 * q)) + np.sum(below**2))
    return np.sum(samples) + prior - K * normaliser(d)


def mixture_data(d: int, K: int) -> Callable[[np.random.Generator, int], Pair]:
    def make(rng: np.random.Generator, n: int) -> Pair:
        parameters = {
            "alpha": rng.normal(size=K),
            "mu": rng.uniform(size=(K, d)),
            "icf": 0.3 * rng.normal(size=(K, d * (d + 1) // 2)),
        }
        return parameters, {"X": rng.normal(size=(n, d))}

    return make


def rotated(np: Any, r: Any, v: Any) -> Any:
    """Each v turned by its rotation vector r, by Rodrigues' formula; to first order where the angle is 0."""
    square = np.sum(r**2, axis=1)
    turns = square > 0
    safe = np.where(turns, square, 1.0)
    angle = np.sqrt(safe)
    cosine, axis = np.cos(angle)[:, None], r / angle[:, None]
    along = np.sum(axis * v, axis=1)[:, None] * (1 - cosine)
    whole = v * cosine + cross(np, axis, v) * np.sin(angle)[:, None] + axis * along
    return np.where(turns[:, None], whole, v + cross(np, r, v))


def cross(np: Any, a: Any, b: Any) -> Any:
    """The vector product of rows."""
    (a0, a1, a2), (b0, b1, b2) = ([m[:, k] for k in range(3)] for m in (a, b))
    return np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=1)


def bundle(np: Any, nn: Any, p: Any, x: Any) -> Any:
    """The sum of squared residuals: weighted errors of projection, and 1 - w**2 for every weight."""
    camera = p.cameras[x.camera]
    seen = rotated(np, camera[:, :3], p.points[x.point] - camera[:, 3:6])
    flat = seen[:, :2] / seen[:, 2:]
    square = np.sum(flat**2, axis=1)
    distortion = 1 + camera[:, 9] * square + camera[:, 10] * square**2
    projected = (camera[:, 6] * distortion)[:, None] * flat + camera[:, 7:9]
    errors = p.w[:, None] * (projected - x.features)
    return np.sum(errors**2) + np.sum((1 - p.w**2) ** 2)


def bundle_data(rng: np.random.Generator, observations: int) -> Pair:
    """49 cameras that look at a cloud of points; what they see is off by noise."""
    count = round(observations * 7776 / 31843)
    cameras = np.column_stack([
        rng.normal(scale=0.1, size=(49, 3)), rng.normal(scale=0.2, size=(49, 3)), rng.uniform(0.8, 1.2, 49),
        rng.normal(scale=0.05, size=(49, 2)), rng.normal(scale=0.1, size=(49, 2)),
    ])  # fmt: skip
    points = rng.normal((0.0, 0.0, 8.0), size=(count, 3))
    inputs = {
        "camera": rng.integers(0, 49, observations),
        "point": rng.integers(0, count, observations),
        "features": rng.normal(scale=0.2, size=(observations, 2)),
    }
    return {"cameras": cameras, "points": points, "w": rng.uniform(0.5, 1.5, observations)}, inputs


def mixture_workload(d: int, K: int, n: int) -> ArrayWorkload:
    return ArrayWorkload(
        f"mixture-{d}-{K}-{n}",
        f"Gaussian mixture of ADBench, d={d}, K={K}, {n:,} samples",
        size=n,
        quick=100,
        formula=mixture,
        make=mixture_data(d, K),
        peers={OURS: peers.ours, "jax": peers.jax},
        batched={"X": 0},
        reaches=[faster("jax", 3)],
    )


WORKLOADS = (
    *(mixture_workload(d, K, n) for d, K in ((10, 25), (64, 50)) for n in (1000, 10_000)),
    ArrayWorkload(
        "bundle",
        "bundle adjustment of ADBench, 49 cameras, 7,776 points, 31,843 observations",
        size=31_843,
        quick=500,
        formula=bundle,
        make=bundle_data,
        peers={OURS: peers.ours, "jax": peers.jax},
        reaches=[faster("jax", 5)],
    ),
)
