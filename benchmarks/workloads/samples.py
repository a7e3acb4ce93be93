"""Losses over samples: curves, logistic regression, an orbit, a small network."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.record import OURS, Case, Workload, faster, recast

Data = tuple[np.ndarray, Sequence[np.ndarray]]


def curve(m: Any, p: Any, x: Any) -> Any:
    a, b, c = p
    return (a * m.exp(-b * x[0]) + c - x[1]) ** 2


def curve_data(rng: np.random.Generator, n: int) -> Data:
    x = rng.uniform(0.0, 3.0, n)
    return np.array([2.0, 1.0, 0.3]), [x, 3.0 * np.exp(-1.5 * x) + 0.5 + 0.1 * rng.normal(size=n)]


def curve_numpy(case: Case) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    x, y = case.columns

    def fun(theta: np.ndarray) -> tuple[float, np.ndarray]:
        a, b, c = theta
        e = np.exp(-b * x)
        r = a * e + c - y
        re, n = r * e, len(x)
        return r @ r / n, np.array([2 * re.sum(), -2 * a * (re @ x), 2 * r.sum()]) / n

    return fun


def curve_numba(case: Case) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    import math

    import numba

    @numba.njit
    def fun(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        a, b, c = theta[0], theta[1], theta[2]
        loss, ga, gb, gc, n = 0.0, 0.0, 0.0, 0.0, len(x)
        for i in range(n):
            e = math.exp(-b * x[i])
            r = a * e + c - y[i]
            loss += r * r
            ga += r * e
            gb -= r * e * x[i]
            gc += r
        return loss / n, np.array([2 * ga / n, 2 * a * gb / n, 2 * gc / n])

    return lambda theta: fun(theta, *case.columns)


def logistic(m: Any, p: Any, x: Any) -> Any:
    """The negative log-likelihood of a label 0 or 1: softplus(z) - y*z, z = w.x + bias."""
    *features, y = x
    z = m.sum(p[k] * feature for k, feature in enumerate(features)) + p[len(features)]
    return m.softplus(z) - y * z


def logistic_matrix(m: Any, p: Any, x: Any) -> Any:
    features, y = x
    z = features @ p[:-1] + p[-1]
    return m.softplus(z) - y * z


def logistic_data(count: int) -> Callable[[np.random.Generator, int], Data]:
    """Labels drawn by a true model of so many features."""

    def make(rng: np.random.Generator, n: int) -> Data:
        features, truth = rng.normal(size=(count, n)), rng.normal(size=count)
        labels = rng.uniform(size=n) < 1 / (1 + np.exp(-truth @ features))
        return 0.5 * rng.normal(size=count + 1), [*features, labels.astype(float)]

    return make


def features_in_rows(columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All columns but the last as one row-major matrix; the last."""
    return [np.column_stack(columns[:-1]), columns[-1]]


def peaks(m: Any, p: Any, x: Any) -> Any:
    """Two Gaussian peaks on a sloping line, squared error."""
    base, slope, a1, c1, w1, a2, c2, w2 = p
    t, y = x
    u, v = (t - c1) / w1, (t - c2) / w2
    return (base + slope * t + a1 * m.exp(-u * u / 2) + a2 * m.exp(-v * v / 2) - y) ** 2


def peaks_data(rng: np.random.Generator, n: int) -> Data:
    t = rng.uniform(0.0, 10.0, n)
    first, second = 3.0 * np.exp(-((t - 3.0) ** 2) / 0.5), 2.0 * np.exp(-((t - 6.0) ** 2) / 2.0)
    theta = np.array([0.9, 0.12, 2.5, 3.2, 0.6, 2.2, 5.8, 0.9])
    return theta, [t, 1.0 + 0.1 * t + first + second + 0.1 * rng.normal(size=n)]


def orbit(m: Any, p: Any, x: Any) -> Any:
    """The bearing of a body on a Kepler orbit against right ascension and declination as observed at a time.

    Kepler's equation is solved by its series to e**3; the radius drops out.
    """
    e, inclination, node, perihelion, phase, rate = p
    t, ra, dec = x
    mean = rate * t + phase
    anomaly = mean + (e - e**3 / 8) * m.sin(mean) + e**2 / 2 * m.sin(2 * mean) + 3 * e**3 / 8 * m.sin(3 * mean)
    true = m.atan2(m.sqrt(1 - e * e) * m.sin(anomaly), m.cos(anomaly) - e) + perihelion
    along, across = m.cos(true), m.sin(true)
    u = m.cos(node) * along - m.sin(node) * m.cos(inclination) * across
    v = m.sin(node) * along + m.cos(node) * m.cos(inclination) * across
    w = m.sin(inclination) * across
    return m.sin(m.atan2(v, u) - ra) ** 2 + (m.atan2(w, m.sqrt(u * u + v * v)) - dec) ** 2


def orbit_data(rng: np.random.Generator, n: int) -> Data:
    """Bearings of a circular orbit with noise; they need not fit."""
    t = rng.uniform(0.0, 6.0, n)
    ra = np.arctan2(np.sin(t) * np.cos(0.4), np.cos(t))
    noise = rng.normal(scale=0.02, size=(2, n))
    return np.array([0.1, 0.5, 0.2, 0.3, 0.1, 1.02]), [t, ra + noise[0], np.arcsin(np.sin(t) * np.sin(0.4)) + noise[1]]


WIDTH = 8


def network(m: Any, p: Any, x: Any) -> Any:
    """A network 2-8-8-1 with tanh, squared error, written out in scalars."""
    *inputs, y = x
    parameters = iter(p)

    def layer(values: Sequence[Any], width: int) -> list[Any]:
        return [m.sum(next(parameters) * v for v in values) + next(parameters) for _ in range(width)]

    hidden = [m.tanh(z) for z in layer(inputs, WIDTH)]
    hidden = [m.tanh(z) for z in layer(hidden, WIDTH)]
    return (layer(hidden, 1)[0] - y) ** 2


def network_matrix(m: Any, p: Any, x: Any) -> Any:
    """The same as matrix products; a row of parameters is a unit's weights and its bias."""
    features, y = x
    cuts = [0, 3 * WIDTH, 3 * WIDTH + (WIDTH + 1) * WIDTH, len(p)]
    for k, (low, high) in enumerate(itertools.pairwise(cuts)):
        layer = p[low:high].reshape(-1, features.shape[1] + 1)
        features = features @ layer[:, :-1].T + layer[:, -1]
        features = m.tanh(features) if k < 2 else features
    return (features[:, 0] - y) ** 2


def network_data(rng: np.random.Generator, n: int) -> Data:
    x = rng.uniform(-1.0, 1.0, size=(2, n))
    return 0.5 * rng.normal(size=105), [*x, np.sin(3 * x[0]) * x[1]]


BOUNDS = {"read": peers.read, "roofline": peers.roofline}
NEAR_BOUND = faster("roofline", 1 / 3)


def logistic_workload(count: int, size: int, ratio: float) -> Workload:
    matrix = {"jax-matrix": recast(peers.jax, logistic_matrix, features_in_rows)}
    return Workload(
        f"logistic-{count}", f"logistic regression, {count} features, {size:,} samples", logistic, logistic_data(count),
        size, 1000, {OURS: peers.ours, "jax": peers.jax, **matrix, "torch": peers.torch, **BOUNDS},
        [faster("jax", ratio), faster("read", 1 / 1.5), NEAR_BOUND],
    )  # fmt: skip


WORKLOADS = (
    Workload(
        "curve", "a*exp(-b*x) + c, squared error, 10^6 samples", curve, curve_data, 1_000_000, 1000,
        {OURS: peers.ours, "jax": peers.jax, "torch": peers.torch, "autograd": peers.autograd,
         "numpy": peers.by_hand(curve_numpy), "numba": peers.by_hand(curve_numba), **BOUNDS},
        [faster("jax", 20), faster("torch", 1.5), NEAR_BOUND],
    ),
    logistic_workload(4, 1_000_000, 5),
    logistic_workload(30, 100_000, 3),
    Workload(
        "peaks", "two Gaussian peaks, 8 parameters, 10^6 samples", peaks, peaks_data, 1_000_000, 1000,
        {OURS: peers.ours, "jax": peers.jax, "torch": peers.torch, **BOUNDS},
        [faster("jax", 10), NEAR_BOUND],
    ),
    Workload(
        "orbit", "Kepler orbit, sin, cos and atan2, 10^5 samples", orbit, orbit_data, 100_000, 1000,
        {OURS: peers.ours, "jax": peers.jax, "torch": peers.torch, **BOUNDS},
        [faster("jax", 5), NEAR_BOUND],
    ),
    Workload(
        "mlp", "network 2-8-8-1 of tanh in scalar symbols, 105 parameters, 10^4 samples", network, network_data,
        10_000, 100,
        {OURS: peers.ours, "jax-matrix": recast(peers.jax, network_matrix, features_in_rows), "heyoka": peers.heyoka},
        [faster("jax-matrix", 3), faster("heyoka", 4)],
    ),
)  # fmt: skip
