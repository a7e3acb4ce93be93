"""This tree beside another commit's, in processes that alternate: does any workload take longer than before?

A third tree runs along, a copy of this one. What it differs by is noise, and a loss that the copy has as well is none.
"""

import compileall
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import harness, report
from benchmarks.harness import ROOT
from benchmarks.measure import Result
from benchmarks.record import OURS, Workload

BEFORE, NOW, COPY = TREES = ("before", "now", "copy")
FIGURES = {"run": "loss and gradient", "first": "first result"}
LEAST = 0.97  # of the speed before
Results = Mapping[str, Result]


class Row(NamedTuple):
    """One figure of one workload: the times before and now, and what those before and of the copy are of that now."""

    workload: str
    figure: str
    before: float
    now: float
    ratio: float
    noise: float

    @property
    def is_slower(self) -> bool:
        """Whether this tree is slower than before, and not than its copy."""
        return self.ratio < LEAST <= self.noise


@contextmanager
def trees(commit: str) -> Iterator[dict[str, Path]]:
    """Folders with the package of the commit, of this tree and of this tree again, and with this tree's benchmarks."""
    with tempfile.TemporaryDirectory() as folder:
        places = {name: Path(folder) / name for name in TREES}
        for name, place in places.items():
            place.mkdir()
            if name == BEFORE:
                unpack(commit, place)
            else:
                copy("gradcompile", place)
            copy("benchmarks", place)
            compileall.compile_dir(place, quiet=2)
        yield places


def unpack(commit: str, place: Path) -> None:
    """The package as a commit has it."""
    archive = place / "package.tar"
    subprocess.run(["git", "archive", "-o", archive, commit, "gradcompile"], cwd=ROOT, check=True)
    shutil.unpack_archive(archive, place, filter="data")
    archive.unlink()


def copy(package: str, place: Path) -> None:
    """A package of this tree as it is, committed or not."""
    shutil.copytree(ROOT / package, place / package, ignore=shutil.ignore_patterns("__pycache__"))


def measured(
    workload: Workload, places: Mapping[str, Path], repeats: int, quick: bool, tell: Callable[[Result], None]
) -> Results:
    """The results of each tree, which take turns; another one begins each time."""
    found: dict[str, Result] = {}
    for k in range(repeats):
        for name in (*TREES[k % 3 :], *TREES[: k % 3]):
            if name not in found or found[name].status == "ok":
                result = harness.run(workload, OURS, quick, places[name])
                result.peer = name
                found[name] = harness.joined(found[name], result) if name in found else result
                tell(result)
    return found


def rows(results: Results) -> Iterator[Row]:
    """The figures of a workload that all trees could compute."""
    if set(results) == set(TREES) and all(r.status == "ok" for r in results.values()):
        for figure in FIGURES:
            times = {name: median(r.rounds if figure == "run" else r.first) for name, r in results.items()}
            ratio, noise = times[BEFORE] / times[NOW], times[COPY] / times[NOW]
            yield Row(results[NOW].workload, figure, times[BEFORE], times[NOW], ratio, noise)


def table(found: Iterable[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| workload | figure | before | now | speed | of a copy | |", "|---|---|--:|--:|--:|--:|---|"]
    for r in found:
        times = (report.amount(t, r.figure) for t in (r.before, r.now))
        verdict = "slower" if r.is_slower else "noise" if r.ratio < LEAST else ""
        cells = [r.workload, FIGURES[r.figure], *times, f"{r.ratio:.2f}", f"{r.noise:.2f}", verdict]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def compare(
    commit: str, workloads: Iterable[Workload], repeats: int, quick: bool, tell: Callable[[Result], None]
) -> int:
    """Measure and print the table; 1 if something is slower than in the commit, or can't be computed any more."""
    found: list[Row] = []
    lost: list[str] = []
    with trees(commit) as places:
        for workload in workloads:
            results = measured(workload, places, repeats, quick, tell)
            found += rows(results)
            lost += [f"{workload.name}, {name}: {r.reason}" for name, r in results.items() if r.status != "ok"]
    print(f"\nSpeed against {commit}, medians over {repeats} processes each; a copy's against this tree is noise.\n")
    print(table(found), *lost, sep="\n")
    return int(any(r.is_slower for r in found) or any(f", {NOW}:" in text for text in lost))
