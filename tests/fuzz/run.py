"""Draws cases, judges them in fresh processes, and reports what is wrong, and what is refused how often.

A fuzzer is a module of this folder with two functions:

* `draw(rng: random.Random) -> Case`: a case, which is a value of JSON, so that it can be printed and kept;
* `judge(case: Case) -> str | None`: None where all is well, else what is wrong, with both numbers.

The cases of `corpus/NAME.jsonl` were found to be wrong once; they run for ever, whatever becomes of `draw`.
"""

import argparse
import gc
import importlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMES = sorted(p.stem for p in HERE.glob("*.py") if p.stem not in ("__init__", "__main__", "run") and p.stem[0] != "_")
CHUNK = 200  # cases a process: what a process keeps of one case must not hide a fault of the next for ever
MACHINE = 16  # one process in so many runs machine code, the others the text as plain Python, at a sixth of the cost
LIMIT = 300  # seconds a case may take before it counts as one that hangs

LIMITED = "which docs/limits.md allows"  # of what is said of a case, which then is no finding, but is counted
Case = Any
refused: Counter[str] = Counter()  # what judges took as right because it is refused, by message, in this process


class Finding(NamedTuple):
    """A case that failed: its number in the run, the case, and what is wrong."""

    number: int
    case: Case
    wrong: str

    def __str__(self) -> str:
        return f"#{self.number} {json.dumps(self.case)}\n    {self.wrong}"


Found = tuple[list[Finding], Counter[str]]  # what is wrong, and how often a message refused a case


def refuse(error: Exception) -> None:
    """Note that a case was refused: by the words of the message, as formulas, names and numbers make no other one."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "", str(error).splitlines()[0])
    words = [w for w in text.split() if re.fullmatch(r"[A-Za-z]{2,}[.,;:]?", w)]
    refused[f"{type(error).__name__}: {' '.join(words[:10])}"] += 1


def case_of(name: str, seed: int, number: int) -> Case:
    """The case of a number in the run of a seed: the same on every machine, whatever came before it."""
    return importlib.import_module(f"tests.fuzz.{name}").draw(random.Random(f"{name}/{seed}/{number}"))


def corpus(name: str) -> list[Case]:
    """What was once found."""
    path = HERE / "corpus" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line] if path.exists() else []


def judged(name: str, case: Case) -> str | None:
    """What is wrong with a case; an error that is not one of the package's own is wrong as well."""
    try:
        found: str | None = importlib.import_module(f"tests.fuzz.{name}").judge(case)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if found is not None and LIMITED in found:
        refused[LIMITED] += 1
        return None
    return found


def run_here(name: str, seed: int, numbers: range) -> Iterator[Finding]:
    """Judge cases in this process."""
    for number in numbers:
        case = case_of(name, seed, number)
        wrong = judged(name, case)
        if wrong is not None:
            yield Finding(number, case, wrong)


def run_apart(name: str, seed: int, numbers: range, cache: str = "", machine: bool = True) -> Found:
    """Judge cases in a process of their own; one that kills it, or hangs, is a finding, and the rest goes on."""
    found, counts, first = [], Counter[str](), numbers.start
    while first < numbers.stop:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report"
            command = [sys.executable, "-m", "tests.fuzz", name, "--seed", str(seed), "--report", str(report)]
            command += ["--first", str(first), "--count", str(numbers.stop - first)]
            environment = os.environ | dict.fromkeys(("GRADCOMPILE_CACHE_DIR", "NUMBA_CACHE_DIR"), cache or folder)
            environment["NUMBA_DISABLE_JIT"] = "0" if machine else "1"
            try:
                limit = LIMIT + 10 * len(numbers)
                done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit)
                ended = f"the process ended with status {done.returncode}: {done.stderr[-2000:]}"
            except subprocess.TimeoutExpired:
                ended = "the process hangs"
            lines = [json.loads(line) for line in report.read_text("utf-8").splitlines()] if report.exists() else []
        found += [Finding(*line) for line in lines if isinstance(line, list)]
        counts.update(line for line in lines if isinstance(line, str))
        reached = max((line for line in lines if isinstance(line, int)), default=first)
        if reached >= numbers.stop:
            break
        found.append(Finding(reached, case_of(name, seed, reached), ended))
        first = reached + 1
    return found, counts


def run_and_report(name: str, seed: int, numbers: range, report: Path) -> None:
    """Judge cases, and write to a file which is looked at, what was found, and at last where the run ended."""
    gc.freeze()  # what is imported stays, and graphs have few cycles: a tenth of the time went into looking for them
    gc.set_threshold(100_000, 50, 50)
    with report.open("w", encoding="utf-8") as file:
        for number in numbers:
            print(number, file=file, flush=True)
            for finding in run_here(name, seed, range(number, number + 1)):
                print(json.dumps(finding), file=file, flush=True)
            for message in refused.elements():
                print(json.dumps(message), file=file)
            refused.clear()
        print(numbers.stop, file=file)


def main(argv: list[str] | None = None) -> int:
    """Run a fuzzer; the status is 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("name", help=", ".join(NAMES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000, help="how many cases are drawn")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--here", action="store_true", help="in this process, to debug one case")
    parser.add_argument("--corpus", action="store_true", help="what was once found, instead of new cases")
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    numbers = range(args.first, args.first + args.count)
    if args.report:
        run_and_report(args.name, args.seed, numbers, args.report)
        return 0
    if args.corpus:
        cases = enumerate(corpus(args.name))
        found = [Finding(k, case, wrong) for k, case in cases if (wrong := judged(args.name, case)) is not None]
        for finding in found:
            print(finding)
        return int(bool(found))
    wrong, counts, start = 0, refused, os.times()
    if args.here:
        for finding in run_here(args.name, args.seed, numbers):
            print(finding, flush=True)
            wrong += 1
    else:
        wrong, counts = run_in_processes(args.name, args.seed, numbers, args.jobs)
    for message, count in counts.most_common():
        print(f"{count:6d} refused: {message}")
    spent = sum(os.times()[:4]) - sum(start[:4])
    told = f"{args.name}: {args.count} cases of seed {args.seed}, {wrong} wrong, {counts.total()} refused"
    print(f"{told}, {spent / max(args.count, 1):.3f} s of a processor each")
    return int(bool(wrong))


def run_in_processes(name: str, seed: int, numbers: range, jobs: int) -> tuple[int, Counter[str]]:
    """Judge cases in processes that share a cache, and print what is wrong: how many, and what is refused."""
    chunks = [range(k, min(k + CHUNK, numbers.stop)) for k in range(numbers.start, numbers.stop, CHUNK)]
    wrong, counts = 0, Counter[str]()
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(jobs) as pool:

        def run(chunk: range) -> Found:
            return run_apart(name, seed, chunk, cache, machine=chunk.start // CHUNK % MACHINE == 0)

        for found, refusals in pool.map(run, chunks):
            for finding in found:
                print(finding, flush=True)
            wrong, counts = wrong + len(found), counts + refusals
    return wrong, counts
