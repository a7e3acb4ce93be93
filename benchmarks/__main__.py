"""Run workloads against the peers that are installed, compare, and write page, pictures and raw figures."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import against, report
from benchmarks.harness import ROOT, run_all
from benchmarks.measure import Result
from benchmarks.record import OURS
from benchmarks.workloads import ALL


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"all by default: {', '.join(ALL)}")
    known = dict.fromkeys(peer for w in ALL.values() for peer in w.peers)
    parser.add_argument("--peers", default="", help=f"separated by commas, all by default: {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="small data, few rounds: does all run and agree?")
    parser.add_argument("--passes", type=int, help="how often the peers take turns; 2, or 1 with --quick")
    parser.add_argument("--against", metavar="COMMIT", help="this tree beside that commit's: is anything slower?")
    parser.add_argument("--repeats", type=int, default=5, help="with --against: processes of each tree; 5")
    parser.add_argument("--out", type=Path, help="where to write; docs for a full run, else build/benchmarks")
    chosen = parser.parse_args(words)
    chosen.peers = list(filter(None, chosen.peers.split(",")))
    for name, table in (("workload", ALL), ("peer", known)):
        unknown = [n for n in getattr(chosen, f"{name}s") if n not in table]
        if unknown:
            parser.error(f"there is no {name} {', '.join(unknown)}; there are {', '.join(table)}")
    full = not (chosen.workloads or chosen.peers or chosen.quick)
    chosen.out = chosen.out or ROOT / ("docs" if full else "build/benchmarks")
    chosen.passes = chosen.passes or (1 if chosen.quick else 2)
    return chosen


def tell(result: Result) -> None:
    """One line as each measurement ends."""
    ran, first = (report.amount(report.figure(result, name), name) for name in ("run", "first"))
    figures = f"{ran:>9s} an evaluation, first result after {first}"
    print(f"{result.workload:18s} {result.peer:12s} {figures if ran else result.reason}", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Run, write, and say what differs: 1 if something does."""
    chosen = arguments(words)
    workloads = [ALL[name] for name in chosen.workloads] or list(ALL.values())
    if chosen.against:
        return against.compare(chosen.against, workloads, chosen.repeats, chosen.quick, tell)
    # Ours always runs: the ratios are to it.
    peers = [OURS, *chosen.peers] if chosen.peers else []
    run = report.Run(run_all(workloads, peers, chosen.quick, chosen.passes, tell), chosen.quick, chosen.passes)
    report.write(run, workloads, chosen.out)
    print(f"written to {chosen.out}")
    wrong = report.disagreements(run, workloads)
    print(*wrong, sep="\n", end="\n" * bool(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
