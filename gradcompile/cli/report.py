"""What `gradcompile fit` prints and writes of its fits: tables for people, JSON and CSV for programs, warnings."""

import argparse
import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradcompile.cli.options import Interval
from gradcompile.data.tables import Rows
from gradcompile.data.tables.entries import Column
from gradcompile.errors import printable
from gradcompile.regression import summary
from gradcompile.regression.result import Fit
from gradcompile.regression.search import Evaluation

DOUBTFUL = 1e-3  # how probable runs of residuals have to be
ROUNDING = 1e-10  # residuals below this share of the data say nothing about the model


@dataclass(frozen=True, eq=False)
class Prediction:
    """The model in every row that has what it needs, with its band; the places of these rows."""

    at: Any
    values: Column
    low: Column | None = None
    high: Column | None = None


Ends = dict[str, tuple[float, float]]  # of an interval, by the parameter's name


def intervals(fit: Fit, asked: Interval) -> Ends:
    """The confidence interval of each parameter; NaN where these estimates are no minimum."""
    if not fit.converged:
        return dict.fromkeys(fit.params, (math.nan, math.nan))
    return fit.ci(asked.level, asked.method)


def show(
    options: argparse.Namespace, fits: Mapping[str, Fit], ends: Mapping[str, Ends], where: str, asked: Interval | None
) -> None:
    """Print the estimates with their errors, and what is left of the data."""
    count = sum(fit.rows for fit in fits.values())
    print(printable(f"{options.target} = {options.model}\n{where}: {count} rows", kept="\n"))
    for group, fit in fits.items():
        print(printable(f"\n{options.by} = {group}" if group else "", kept="\n"))
        _print_table(fit, ends[group] if asked else {}, asked or Interval())
        print()
        for name, value in summary.statistics(fit):
            print(f"{name:<20}{value}")
        for line in summary.directions(fit):
            print(printable(f"\n{line}", kept="\n"))


def _print_table(fit: Fit, ends: Ends, asked: Interval) -> None:
    table: list[tuple[str, ...]] = [("parameter", "estimate", "standard error", ""), *summary.rows(fit)]
    if ends:
        kind = "interval" if asked.method == "wald" else f"{asked.method} interval"
        column = [f"{100 * asked.level:.6g} % {kind}"]
        for name, error in fit.stderr.items():
            low, high = (summary.shown(end, error) for end in ends[name])
            column.append("-" if math.isnan(ends[name][0]) else f"{low} to {high}")
        table = [(*row[:-1], cell, row[-1]) for row, cell in zip(table, column, strict=True)]
    for line in summary.padded(table, "   "):
        print(printable(line))


def warn(options: argparse.Namespace, fits: Mapping[str, Fit], rows: Rows, predictors: Sequence[str]) -> int:
    """Say on stderr what is wrong with the fits; the exit status: 3 if one is no minimum."""
    status = 0
    for group, fit in fits.items():
        label = f"{options.by} = {group}: " if group else ""
        if not fit.converged:
            print(printable(f"gradcompile: {label}not converged: {fit.message}"), file=sys.stderr)
            status = 3
        elif len(predictors) == 1 and has_runs(fit, predictors[0]):
            doubt = f"residuals of one sign follow each other along {predictors[0]}; the model may be wrong"
            print(printable(f"gradcompile: {label}{doubt}"), file=sys.stderr)
    return status


def has_runs(fit: Fit, along: str) -> bool:
    """Whether residuals in the order of a column change sign too seldom to be noise: the test of Wald and Wolfowitz."""
    sample = fit.samples[0]
    if not fit.chi2 > (ROUNDING * sample.norm) ** 2:
        return False
    signs = fit.residuals[np.argsort(sample.columns[along], kind="stable")] > 0.0
    above, below = int(signs.sum()), int((~signs).sum())
    total = above + below
    if min(above, below) < 8:
        return False
    runs = 1 + int(np.count_nonzero(signs[1:] != signs[:-1]))
    mean = 1.0 + 2.0 * above * below / total
    variance = (mean - 1.0) * (mean - 2.0) / (total - 1.0)
    return 0.5 * math.erfc((mean - runs - 0.5) / math.sqrt(2.0 * variance)) < DOUBTFUL


def put(path: str, text: str) -> None:
    """Write a text to a file, or to standard output for "-"."""
    if path == "-":
        sys.stdout.write(text)
    else:
        Path(path).write_text(text, encoding="utf-8")


def as_json(
    options: argparse.Namespace, fits: Mapping[str, Fit], ends: Mapping[str, Ends], asked: Interval | None
) -> str:
    """The fits as JSON; with groups one record a group under "groups"."""
    records = {group: _record(fit, ends.get(group, {}), asked) for group, fit in fits.items()}
    head: dict[str, Any] = {"file": options.file, "target": options.target, "model": options.model}
    body = {"by": options.by, "groups": records} if options.by else records[""]
    return json.dumps({**body, **head}, indent=1, allow_nan=False) + "\n"


def _record(fit: Fit, ends: Ends, asked: Interval | None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fit.to_json())
    if asked is not None:
        found["level"], found["method"] = asked
        for name, (low, high) in ends.items():
            found["params"][name].update(low=summary.number(low), high=summary.number(high))
    return found


def as_csv(options: argparse.Namespace, fits: Mapping[str, Fit], ends: Mapping[str, Ends]) -> str:
    """A row a parameter: name, value, stderr, low, high, blank where something is not known; groups in front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*([options.by] if options.by else []), "name", "value", "stderr", "low", "high"])
    for group, fit in fits.items():
        for name, (low, high) in ends[group].items():
            numbers = (fit.params[name], fit.stderr[name], low, high)
            writer.writerow([*([group] if options.by else []), name, *(_cell(x) for x in numbers)])
    return out.getvalue()


def _cell(number: float) -> str:
    return repr(float(number)) if math.isfinite(number) else ""


def predictions(options: argparse.Namespace, names: Sequence[str], whole: Rows, parts: Sequence[Prediction]) -> None:
    """Write the columns of the fit with what the model says of each row, and its band."""
    at = np.concatenate([part.at for part in parts])
    columns = {name: whole.columns[name][at] for name in names}
    words = {options.by: [whole.texts[options.by][k] for k in at]} if options.by else {}
    columns["prediction"] = np.concatenate([part.values for part in parts])
    if options.band:
        blank = np.full(len(at), np.nan)
        for end in ("low", "high"):
            ends = [getattr(part, end) for part in parts]
            columns[end] = np.concatenate(ends) if all(e is not None for e in ends) else blank
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*words, *columns])
    for k in np.argsort(at, kind="stable"):
        writer.writerow([*(w[k] for w in words.values()), *(_cell(c[k]) for c in columns.values())])
    put(options.predict, out.getvalue())


def losses(fit: Fit) -> list[float]:
    """The least loss so far at each evaluation of the search that found the estimates, from where it began."""
    problem = fit.problem()
    code, inputs, *_ = problem.near
    curve: list[float] = []

    def recorded(*arguments: Any) -> float:
        loss = code(*arguments)
        curve.append(min([loss, *curve[-1:]]) if math.isfinite(loss) or not curve else curve[-1])
        return loss

    problem.search(Evaluation(recorded, inputs), fit.start)
    return curve
