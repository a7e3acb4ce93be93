"""Minimisers beside SciPy's L-BFGS-B: `python -m benchmarks.minimizers [PARAMETERS ...]`.

Rosenbrock's chain from its usual start; both take the same compiled loss, and BLAS has one thread. They take turns in
one process, and the smallest and the median time of an evaluation is told: that of a whole search by its evaluations.
That both end at the same minimum is checked before. Both run on one thread, so the processor's time is taken, which a
busy machine disturbs least. `many` is one call for 1,000 points beside 1,000 calls, by the clock.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from scipy import optimize

import gradcompile as gc

ROUNDS = 40
SECONDS = 0.3  # of a round of each at least
REACH = {2: 40, 100: 15, 1000: 10}


def timed(search: Callable[[], Any]) -> float:
    """Seconds of the processor for an evaluation, in searches in a row."""
    count, began = 0, time.thread_time()
    while not count or time.thread_time() - began < SECONDS / ROUNDS:
        count += search().nfev
    return (time.thread_time() - began) / count


def compared(n: int) -> None:
    """Print the times of the searches with so many parameters."""
    x = gc.array("x", n)
    f = gc.compile_grad(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2), [x])
    start, bound = np.tile([-1.2, 1.0], n // 2), f.bind()
    options = {"maxiter": 10**6, "maxfun": 10**6, "gtol": 1e-8, "ftol": 0.0}
    searches: dict[str, Callable[[], Any]] = {
        "ours": lambda: gc.minimize(f, [start], limit=10**6),
        "SciPy": lambda: optimize.minimize(bound, start, jac=True, method="L-BFGS-B", options=options),
    }
    ours, theirs = (search() for search in searches.values())
    assert abs(ours.x[0] - theirs.x).max() < 1e-6 and abs(ours.x[0] - 1).max() < 1e-8, "another minimum"
    times: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(ROUNDS):
        for name, search in searches.items():
            times[name].append(timed(search))
    for name, own in times.items():
        print(f"rosenbrock {n:6} {name:8} {min(own) * 1e6:10.2f} us least {median(own) * 1e6:10.2f} us median")
    least, middle = (of(times["SciPy"]) / of(times["ours"]) for of in (min, median))
    wanted = REACH.get(n, "-")
    print(f"rosenbrock {n:6} {'ratio':8} {least:10.1f} of the least {middle:5.1f} of the medians; wanted {wanted}")
    points = np.random.default_rng(0).normal(size=(1000, n))
    calls = {"many": lambda: f.many(points), "calls": lambda: [bound(p) for p in points]}
    for name, call in calls.items():
        own = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            call()
            own.append((time.perf_counter() - began) / len(points))
        print(f"rosenbrock {n:6} {name:8} {min(own) * 1e6:10.2f} us least {median(own) * 1e6:10.2f} us median a point")


if __name__ == "__main__":
    for size in map(int, sys.argv[1:] or REACH):
        compared(size)
