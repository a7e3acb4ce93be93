"""Data larger than one would copy: 10^7 samples in a file, row by row, mapped into memory; its columns are views."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import peers
from benchmarks.record import OURS, Case, Reach, Runner, Workload
from benchmarks.workloads.samples import curve, curve_data

CHUNK = 100_000


def mapped_data(rng: np.random.Generator, n: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """The curve's columns, as views of a file of shape (n, 2) that is deleted when the process ends."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "samples"
        rows = np.memmap(path, float, "w+", shape=(n, 2))
        for low in range(0, n, CHUNK):
            theta, columns = curve_data(rng, min(CHUNK, n - low))
            rows[low : low + CHUNK] = np.column_stack(columns)
        rows.flush()
        rows = np.memmap(path, float, "r", shape=(n, 2))  # the mapping outlives the name of the file
    return theta, [rows[:, 0], rows[:, 1]]


def ours_mapped(case: Case) -> Callable[[], Runner]:
    """Bound within the call: a copy that binding makes counts as well."""
    from gradcompile import compile_grad

    p, x, loss = peers.written(case)

    def build() -> Runner:
        f = compile_grad(loss, [p], data=x)
        return Runner(lambda theta: f.bind(*case.columns)(theta))

    return build


def numpy_chunks(case: Case) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """NumPy by hand, in chunks, so that its temporaries stay small."""
    x, y = case.columns

    def part(theta: np.ndarray, low: int) -> np.ndarray:
        a, b, c = theta
        t = x[low : low + CHUNK]
        e = np.exp(-b * t)
        r = a * e + c - y[low : low + CHUNK]
        return np.array([r @ r, 2 * (r @ e), -2 * a * ((r * e) @ t), 2 * r.sum()])

    def fun(theta: np.ndarray) -> tuple[float, np.ndarray]:
        return peers.split(sum(part(theta, low) for low in range(0, len(x), CHUNK)) / len(x))

    return fun


WORKLOADS = (
    Workload(
        "mapped", "the curve on 10^7 samples of a memory-mapped file, strided columns", curve, mapped_data,
        10_000_000, 10_000, {OURS: ours_mapped, "numpy": peers.by_hand(numpy_chunks)}, [Reach("memory", 50e6)],
    ),
)  # fmt: skip
