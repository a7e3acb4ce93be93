"""Raw figures as a page of Markdown and a file of JSON."""

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.harness import errors
from benchmarks.measure import POINTS, ROUND, ROUNDS, Result
from benchmarks.record import OURS, Reach, Workload

PACKAGES = ("gradcompile", "numba", "llvmlite", "numpy", "sympy", "jax", "torch", "casadi", "heyoka", "autograd")

METHOD = """\
Each figure is measured in a process of its own, one process after the other, on the same seeded data, with empty
caches on disk. The peers of a workload take turns, in {passes} pass{es}. "First result" is the time from the expression
to a loss and gradient, compiling included and imports apart. "Evaluation" is one loss with all its gradients in steady
state: the median over {rounds} rounds a pass of at least {round:.0f} ms, after a warm-up, with parameters that differ
from call to call ({points} sets in turn); "best" is the fastest round. "Memory" is what a call adds to the resident
memory at its peak, pages of files apart. A ratio is the peer's time over ours: above 1, ours is faster. All cores are
there for everyone. A process that is not done within {limit:.0f} s ({longest:.0f} s for the equations of motion) is
late; in a ratio of first results a late peer counts as that long.

Loss and gradient of every peer are compared with ours: the difference over the largest entry is the column "apart",
and more than the workload's tolerance ({tolerances}) is an error.

* jax: `jit(value_and_grad)` in the precision of the workload, float64 unless its title says otherwise, device arrays,
  awaited; jax-matrix: the same on matrices in place of columns.
* torch: `torch.compile(torch.func.grad_and_value(...))`; torch-eager: `torch.autograd.grad` of the loss, uncompiled.
* casadi: SX, loss and gradient in one `Function`, called by its `buffer()`.
* heyoka: `diff_tensors` and a `cfunc`; with samples in batch mode, and the mean of its outputs.
* autograd: `value_and_grad`. lambdify: `sympy.diff`, `lambdify(cse=True)`, `numba.njit`.
* numpy, numba: loss and gradient written by hand.
* read: no peer but a bound, the time to sum every column once on all cores.
* roofline: the longer of that and of the operations that `f.cost` counts, at the rate of a matrix product.
* products: no peer but a bound, the matrix products of loss and gradient alone, by SciPy's BLAS on all cores;
  products-1: on one. peak: their operations at the rate of one large product; the ratio is the share of it reached.
"""


@dataclass
class Run:
    """One run of the suite: when, on what, and every result."""

    results: list[Result]
    quick: bool = False
    passes: int = 1
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())
    machine: Mapping[str, str] = field(default_factory=lambda: machine())

    def of(self, workload: Workload) -> dict[str, Result]:
        """The results of a workload by peer."""
        return {r.peer: r for r in self.results if r.workload == workload.name}


def machine() -> dict[str, str]:
    """Processor, cores, system, and the versions of what is installed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    about = {"processor": processor(), "cores": str(cores), "system": f"{platform.system()} {platform.machine()}"}
    if hasattr(os, "getloadavg"):
        about["load before the run"] = f"{os.getloadavg()[0]:.1f}"
    return about | {"Python": platform.python_version()} | {p: v for p in PACKAGES if (v := version(p))}


def processor() -> str:
    """The model of the processor as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def version(package: str) -> str:
    """The installed version; empty if there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def figure(result: Result | None, name: str) -> float | None:
    """The figure that a reach is about: "run", "first" (medians, in seconds) or "memory" (bytes)."""
    if result is None or result.status != "ok":
        return None
    return result.memory if name == "memory" else median(result.rounds if name == "run" else result.first)


def ratio(theirs: float | None, ours: float | None) -> float | None:
    """The peer's figure in units of ours."""
    return theirs / ours if theirs is not None and ours else None


def amount(value: float | None, name: str) -> str:
    """A figure with its unit.

    >>> amount(0.0123, "run"), amount(5e7, "memory"), amount(None, "run")
    ('12.3 ms', '50 MB', '')
    """
    if value is None:
        return ""
    if name == "memory":
        return f"{value / 1e6:.3g} MB"
    scale, unit = next(((s, u) for s, u in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")) if value >= s), (1e-9, "ns"))
    return f"{value / scale:.3g} {unit}"


def times(value: float | None) -> str:
    """A ratio.

    >>> times(12.345), times(0.0213), times(None)
    ('12', '0.021', '')
    """
    return "" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def reach_row(workload: Workload, reach: Reach, found: Mapping[str, Result]) -> list[str]:
    """A reach, the figures it is about, and whether it is met; where there is no figure, the status says why."""
    ours, theirs = found.get(OURS), found.get(reach.against)
    what = {"run": "evaluation", "first": "first result", "memory": "memory"}[reach.figure]
    if not reach.against:
        value = figure(ours, reach.figure)
        aim, met = f"under {amount(reach.bound, reach.figure)}", None if value is None else value <= reach.bound
        return [workload.name, what, "", "", shown(ours, reach.figure), "", aim, verdict(met)]
    late = theirs is not None and theirs.status == "late" and reach.figure == "first"
    value = ratio(workload.limit if late else figure(theirs, reach.figure), figure(ours, reach.figure))
    met = None if value is None or (late and value < reach.bound) else value >= reach.bound
    cells = [workload.name, what, reach.against, shown(theirs, reach.figure), shown(ours, reach.figure)]
    return [*cells, "> " * bool(late and value) + times(value), times(reach.bound), verdict(met)]


def verdict(met: bool | None) -> str:
    """Whether a reach is met, as a cell."""
    return "" if met is None else "yes" if met else "no"


def shown(result: Result | None, name: str) -> str:
    """A figure, or the status of a result that has none."""
    return amount(figure(result, name), name) or (result.status if result else "not run")


def peer_row(workload: Workload, result: Result, ours: Result | None, apart: float | None) -> list[str]:
    """All figures of one peer on one workload, or the reason why there are none."""
    if result.status != "ok":
        return [workload.name, result.peer, result.reason, *[""] * 6]
    cells = [workload.name, result.peer, amount(figure(result, "run"), "run"), amount(min(result.rounds), "run"),
             times(ratio(figure(result, "run"), figure(ours, "run")))]  # fmt: skip
    bound = result.loss is None
    cells += ["" if bound else amount(figure(result, "first"), "first")]
    cells += ["" if bound else times(ratio(figure(result, "first"), figure(ours, "first")))]
    cells += [amount(figure(result, "memory"), "memory")]
    wrong = apart is not None and apart > workload.tolerance
    return [*cells, "" if apart is None else f"{'**differs** ' if wrong else ''}{apart:.0e}"]


def disagreements(run: Run, workloads: Iterable[Workload]) -> list[str]:
    """What differs by more than the tolerance of its workload, in words."""
    return [
        f"{w.name}: {peer} differs by {found:.1e}, more than {w.tolerance:g}"
        for w in workloads
        for peer, found in errors(list(run.of(w).values())).items()
        if not found <= w.tolerance
    ]


def markdown(run: Run, workloads: Sequence[Workload]) -> str:
    """The page: machine, method, reaches, and every figure."""
    reaches = [reach_row(w, r, run.of(w)) for w in workloads for r in w.reaches]
    rows = []
    for w in workloads:
        found = run.of(w)
        apart = errors(list(found.values()))
        rows += [peer_row(w, r, found.get(OURS), apart.get(r.peer)) for r in found.values()]
    method = METHOD.format(
        passes=run.passes, es="es" * (run.passes > 1), rounds=ROUNDS, round=ROUND * 1000, points=POINTS,
        limit=workloads[0].limit, longest=max(w.limit for w in workloads),
        tolerances=", ".join(f"{t:g}" for t in sorted({w.tolerance for w in workloads})),
    )  # fmt: skip
    small = "**A quick run on small data: the reaches are for the full sizes.**\n\n" if run.quick else ""
    parts = [
        "# Benchmarks",
        f"{small}Measured on {run.date} by `python -m benchmarks`, which wrote this page.",
        table(["", ""], run.machine.items()),
        "![The time of each peer over ours](benchmarks.svg)",
        "## What is aimed at",
        table(["workload", "figure", "against", "theirs", "ours", "ratio", "reach", "met"], reaches),
        "## How it is measured",
        method.strip(),
        "## The workloads",
        "\n".join(f"* `{w.name}`: {w.title}" for w in workloads),
        "## Every figure",
        table(["workload", "peer", "evaluation", "best", "ratio", "first result", "ratio", "memory", "apart"], rows),
        *scaling(run, workloads),
    ]
    return "\n\n".join(parts) + "\n"


def scaling(run: Run, workloads: Sequence[Workload]) -> list[str]:
    """How time and code of ours grow with the length of the chain."""
    rows = [
        [f"{w.size:,}", shown(r, "first"), f"{r.facts.get('source', 0):,}",
         f"{r.facts.get('machine_code', 0):,}", amount(run_time := figure(r, "run"), "run"),
         amount(run_time / w.size if run_time else None, "run")]
        for w in workloads if w.name.startswith("chain-") and (r := run.of(w).get(OURS))
    ]  # fmt: skip
    head = ["parameters", "first result", "characters of source", "bytes of machine code", "evaluation", "a parameter"]
    picture = "![First result, code and evaluation by the length of the chain](scaling.svg)"
    return ["## The length of the chain", table(head, rows), picture] if rows else []


def write(run: Run, workloads: Sequence[Workload], directory: Path) -> None:
    """Page, pictures and raw figures into a directory; gradients are left out."""
    from benchmarks import pictures

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "benchmarks.md").write_text(markdown(run, workloads), "utf-8")
    raw = asdict(run)
    for result in raw["results"]:
        del result["gradient"]
    (directory / "benchmarks.json").write_text(json.dumps(raw, indent=1) + "\n", "utf-8")
    pictures.draw(run, workloads, directory)
