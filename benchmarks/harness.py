"""Each measurement in a process of its own, one after the other, with cold caches and a limit in time (POSIX)."""

import compileall
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from benchmarks.measure import Result
from benchmarks.record import OURS, Workload

ROOT = Path(__file__).resolve().parent.parent
NOT_PASSED = ("NUMBA_CACHE_DIR", "PYTHONPATH")  # the packages are those of the folder that a process starts in


def run(workload: Workload, peer: str, quick: bool = False, tree: Path = ROOT) -> Result:
    """Measure one peer on one workload in a fresh process, with the packages of a tree; caches on disk are empty."""
    command = [sys.executable, "-m", "benchmarks.measure", workload.name, peer, *(["--quick"] if quick else [])]
    with tempfile.TemporaryDirectory() as caches:
        places = {"GRADCOMPILE_CACHE_DIR": f"{caches}/ours", "TORCHINDUCTOR_CACHE_DIR": f"{caches}/torch"}
        environment = {k: v for k, v in os.environ.items() if k not in NOT_PASSED} | places
        process = subprocess.Popen(
            command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        return finished(process, workload, peer)


def finished(process: subprocess.Popen[str], workload: Workload, peer: str) -> Result:
    """What a process printed last, or why it printed nothing. Children that it leaves behind are ended."""
    try:
        output, complaint = process.communicate(timeout=workload.limit)
    except subprocess.TimeoutExpired:
        return Result(workload.name, peer, "late", f"not done within {workload.limit:.0f} s")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        last = (complaint.strip().splitlines() or ["it said nothing"])[-1]
        return Result(workload.name, peer, "failed", f"exit code {process.returncode}: {last}"[:200])
    return Result(**json.loads(output.splitlines()[-1]))


def run_all(
    workloads: Iterable[Workload], peers: Sequence[str], quick: bool, passes: int, tell: Callable[[Result], None]
) -> list[Result]:
    """Every chosen peer on every workload. Within a workload the peers take turns, in so many passes.

    The package has its bytecode, as peers have that are installed.
    """
    compileall.compile_dir(ROOT / "gradcompile", quiet=2)
    results: list[Result] = []
    for workload in workloads:
        found: dict[str, Result] = {}
        for _ in range(passes):
            for peer in workload.peers:
                if (peer in peers or not peers) and (peer not in found or found[peer].status == "ok"):
                    result = run(workload, peer, quick)
                    found[peer] = joined(found[peer], result) if peer in found else result
                    tell(result)
        results += found.values()
    return results


def joined(first: Result, second: Result) -> Result:
    """Two passes as one result; a pass that did not end well is the result."""
    if second.status != "ok":
        return second
    second.first, second.rounds = first.first + second.first, first.rounds + second.rounds
    second.memory = max(filter(None, (first.memory, second.memory)), default=second.memory)
    return second


def error(result: Result, reference: Result) -> float:
    """How far loss and gradient are apart, relative to the larger loss and to the largest entry of the gradients."""
    if len(result.gradient) != len(reference.gradient):
        return float("inf")
    return max(
        apart(np.array([result.loss]), np.array([reference.loss])),
        apart(np.array(result.gradient), np.array(reference.gradient)),
    )


def apart(x: np.ndarray, y: np.ndarray) -> float:
    """The largest difference over the largest entry; infinite where a value is not finite.

    >>> apart(np.array([1.0, 2.0]), np.array([1.0, 2.5]))
    0.2
    """
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("inf")
    scale = max(np.abs(x).max(), np.abs(y).max())
    return float(np.abs(x - y).max() / scale) if scale else 0.0


def errors(results: Sequence[Result]) -> dict[str, float]:
    """The error of every peer of one workload that has a gradient, against ours or else the first that has one.

    A peer that is the reference itself is not in it.
    """
    able = [r for r in results if r.loss is not None]
    if not able:
        return {}
    reference = next((r for r in able if r.peer == OURS), able[0])
    return {r.peer: error(r, reference) for r in able if r is not reference}
