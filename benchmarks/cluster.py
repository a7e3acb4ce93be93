"""Sums over a Dask cluster: what an iteration costs beside an empty round of as many tasks, and data from files.

Run it with: python -m benchmarks.cluster [rows]

The first table has the time of an iteration over next to no data and that of an empty round, in turn, for partitions
and sizes of theta, with the bytes that a round sends in all; below it are formulas fitted to both. The second part
writes so many rows (10**7 if none are given) to files, a million each, and sums a loss over them: the time of a pass,
and the most memory that a worker had.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import dask.array as da
import numpy as np
import psutil
import sympy as sp
from distributed import Client, LocalCluster

from gradcompile import array, compile_grad, fit
from gradcompile.interop.dask import value_and_grad

ROUNDS = 21
PARTITIONS = (2, 8, 16, 64)
SIZES = (3, 1000, 10_000)
FILE = 10**6  # rows


def nothing(k: int) -> int:
    """An empty task."""
    return k


def in_turn(*functions: Callable[[], Any]) -> list[tuple[float, float]]:
    """Of each the median of milliseconds and of kilobytes, measured in turn, so that others on the machine meet all."""
    found: list[list[tuple[float, float]]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for own, f in zip(found, functions, strict=True):
            sent, start = psutil.net_io_counters().bytes_sent, time.perf_counter()
            f()
            own.append((1e3 * (time.perf_counter() - start), (psutil.net_io_counters().bytes_sent - sent) / 1e3))
    return [(median(t for t, _ in own), median(b for _, b in own)) for own in found]


def iterations(client: Client) -> None:
    """The table of iterations and empty rounds, and the formulas."""
    found: dict[str, list[float]] = {"P": [], "p": [], "ms": [], "kB": []}
    print(f"{'theta':>6}{'partitions':>12}{'round, ms':>11}{'iteration, ms':>15}{'ratio':>7}{'iteration, kB':>15}")
    for size in SIZES:
        x, w = array("x", ("n", size)), array("w", (size,))
        f, theta = compile_grad(np.mean((x @ w) ** 2), [w]), np.ones(size)
        for count in PARTITIONS:
            v = value_and_grad(f, {"x": client.persist(da.ones((count, size), chunks=(1, size)))})
            (empty, _), (own, sent) = in_turn(
                lambda count=count: client.gather(client.map(nothing, range(count), pure=False)),
                lambda v=v, theta=theta: v.flat(theta),
            )
            print(f"{size:>6}{count:>12}{empty:>11.1f}{own:>15.1f}{own / empty:>7.2f}{sent:>15.1f}")
            for name, value in zip(found, (count, size, own, sent), strict=True):
                found[name].append(value)
    for what in ("ms", "kB"):
        formula = "t0 + t1*P + t2*P*p"
        print(f"\n{what} = {formula}\n{fit(formula, found, what, start={'t0': 1.0, 't1': 1.0, 't2': 0.0})}")


def peak() -> float:
    """The most memory that this process had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def from_files(client: Client, rows: int, folder: Path) -> None:
    """A loss over files that are read at each pass."""
    rng, files = np.random.default_rng(0), []
    for k in range(rows // FILE):
        x = rng.uniform(0.0, 4.0, FILE)
        files.append(folder / f"{k}.npz")
        np.savez(files[-1], x=x, y=2.5 * np.exp(-1.3 * x) + 0.5)
    a, b, c, x, y = sp.symbols("a b c x y")
    v = value_and_grad(compile_grad((a * sp.exp(-b * x) + c - y) ** 2, [a, b, c], data=[x, y]), files)
    before = max(client.run(peak).values())
    start = time.perf_counter()
    loss, _ = v(2.5, 1.3, 0.5)
    took = time.perf_counter() - start
    after = max(client.run(peak).values())
    each = f"{took:.1f} s, {1e9 * took / v.samples:.1f} ns a row"
    print(f"\n{v.samples:,} rows in {v.partitions} files of {16 * FILE / 1e6:.0f} MB: a pass takes {each};")
    print(f"a worker had {before:.0f} MB before it and {after:.0f} MB at most; {loss=:.1e}")


def main() -> None:
    rows = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10**7
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        iterations(client)
        from_files(client, rows, Path(folder))


if __name__ == "__main__":
    main()
