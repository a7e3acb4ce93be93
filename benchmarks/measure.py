"""One peer on one workload, in this process: python -m benchmarks.measure WORKLOAD PEER; prints a line of JSON.

The first result is the time from the expression to a loss and gradient, compiling included, imports apart. Then, after
a warm-up that lasts until calls get no quicker, rounds of calls with parameters that differ from call to call; then one
call under a memory meter.
"""

import gc
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.record import Runner, Workload

POINTS = 8  # different parameters, in turn
ROUNDS, ROUND = 15, 0.02  # how many rounds, and how many seconds each takes at least
QUICK = (3, 0.002)
FASTER = 0.9  # of the least time so far: a call that takes less is not noise
STATUS = Path("/proc/self/status")


@dataclass
class Result:
    """The figures of a peer on a workload. Status: ok; missing, failed or late, and then the reason."""

    workload: str
    peer: str
    status: str = "ok"
    reason: str = ""
    first: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    memory: int | None = None
    loss: float | None = None
    gradient: list[float] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)


def measure(workload: Workload, peer: str, quick: bool) -> Result:
    """First result, steady state and memory of one peer."""
    case = workload.case(quick)
    build = workload.peers[peer](case)
    start = time.perf_counter()
    runner = build()
    found = runner.call(runner.prepare(case.theta))
    result = Result(workload.name, peer, first=[time.perf_counter() - start])
    result.facts |= runner.facts()
    if runner.read:
        loss, gradient = runner.read(found)
        result.loss, result.gradient = float(loss), [float(g) for g in gradient]
    points = [runner.prepare(case.theta * (1 + 1e-6 * k)) for k in range(POINTS)]
    taken = rounds(runner, points, *(QUICK if quick else (ROUNDS, ROUND)))
    result.rounds = [max(t / runner.evaluations, runner.floor) for t in taken]
    result.memory = memory(lambda: runner.call(points[0]))
    return result


def rounds(runner: Runner, points: Sequence[Any], count: int, seconds: float) -> list[float]:
    """Seconds a call, the mean of each round; a round is one call or, if that is too short, all points some times."""
    taken = [call_time(runner.call, points[k : k + 1], 1) for k in range(3)]
    warm_up(runner, points, 10 * seconds, taken)
    cycles = round(seconds / (POINTS * min(taken)))
    with collector_off():
        if cycles:
            return [call_time(runner.call, points, cycles) for _ in range(count)]
        return [call_time(runner.call, [points[k % POINTS]], 1) for k in range(count)]


def warm_up(runner: Runner, points: Sequence[Any], seconds: float, taken: list[float]) -> None:
    """Calls until as many seconds again have made none of them quicker: quick code of a peer is replaced by then."""
    least, until = min(taken), time.perf_counter() + seconds
    while time.perf_counter() < until:
        taken.append(call_time(runner.call, points, 1))
        if taken[-1] < FASTER * least:
            least, until = taken[-1], time.perf_counter() + seconds


def call_time(call: Callable[[Any], Any], points: Sequence[Any], cycles: int) -> float:
    """Seconds a call, over all points so many times."""
    start = time.perf_counter()
    for _ in range(cycles):
        for point in points:
            call(point)
    return (time.perf_counter() - start) / (cycles * len(points))


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collection among the calls."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def memory(call: Callable[[], Any]) -> int | None:
    """The bytes of resident memory, file pages apart, that a call adds at its peak; None where that is not known."""
    if not STATUS.exists():
        return None
    done, before = threading.Event(), anonymous()
    peak = [before]

    def watch() -> None:
        while not done.wait(0.0005):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        call()
    finally:
        done.set()
        watcher.join()
    return peak[0] - before


def anonymous() -> int:
    """The resident bytes of this process that are no pages of a file (Linux)."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def attempt(workload: Workload, peer: str, quick: bool) -> Result:
    """Measure; what is missing or fails is a result as well."""
    try:
        return measure(workload, peer, quick)
    except ModuleNotFoundError as error:
        return Result(workload.name, peer, "missing", f"{error.name} is not installed")
    except Exception as error:  # whatever a peer raises is its result
        return Result(workload.name, peer, "failed", f"{type(error).__name__}: {error}".splitlines()[0][:200])


def main(workload: str, peer: str, *flags: str) -> None:
    """Measure, and print the result as JSON."""
    from benchmarks.workloads import ALL

    print(json.dumps(asdict(attempt(ALL[workload], peer, "--quick" in flags))))


if __name__ == "__main__":
    main(*sys.argv[1:])
