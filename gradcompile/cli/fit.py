"""`gradcompile fit`: a formula fitted to the columns of a CSV file."""

import argparse
import difflib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sympy as sp

from gradcompile.cli import plot
from gradcompile.cli.regression import Fit, least_squares
from gradcompile.compile import compile_grad, compile_value
from gradcompile.data.tables import open_table
from gradcompile.data.tables.entries import Column
from gradcompile.errors import ArgumentError, printable
from gradcompile.frontend import text


def run(options: argparse.Namespace) -> None:
    """Read, compile, minimise, and print estimates, standard errors and what is left."""
    start = parse_start(options.start)
    table = open_table(options.file)
    table.check(options.target)
    model, used = _model(options, [name for name in table.names if name], start)
    rows, left_out = table.read([*used, options.target]).complete()
    for note in filter(None, [*table.notes, left_out]):
        print(printable(f"{table.where}: {note}"), file=sys.stderr)
    columns = rows.columns
    target = columns[options.target]
    if options.plot:
        plot.check(options.plot)
    f, found = _fit(model, options.target, target, {name: columns[name] for name in used}, start)
    _report(options, list(start), found)
    if not found.converged:
        print("gradcompile: the search has not converged; go on from these estimates with --start", file=sys.stderr)
    if options.plot:
        plot.picture(options.plot, found.curve, f"{options.target} = {options.model}", "iteration")
        print(f"loss curve written to {options.plot}")
    if options.save:
        f.save(options.save)
        _append(options.save, dict(zip(start, found.estimates.tolist(), strict=True)))
        print(f"module written to {options.save}")


def parse_start(given: str) -> dict[str, float]:
    """Return the numbers of `a=1,b=-2e3` by name.

    Raises ArgumentError for anything else, for a name given twice, and for numbers that are not finite.

    >>> parse_start("a=1, b=-2e3")
    {'a': 1.0, 'b': -2000.0}
    """
    start: dict[str, float] = {}
    for entry in given.split(","):
        name, equals, number = (part.strip() for part in entry.partition("="))
        if not equals or not name.isidentifier():
            raise ArgumentError(f"--start: {entry.strip()!r} is not name=number; write a=1,b=2,c=0.5")
        if name in start:
            raise ArgumentError(f"--start: {name!r} is given twice")
        try:
            start[name] = float(number)
        except ValueError:
            start[name] = math.nan
        if not math.isfinite(start[name]):
            raise ArgumentError(f"--start: {number!r}, given for {name!r}, is not a finite number")
    return start


def _model(options: argparse.Namespace, columns: Sequence[str], start: dict[str, float]) -> tuple[sp.Expr, list[str]]:
    """The model as an expression, and the columns it uses; every name is a column or a parameter, and not both."""
    names = text.names_in(options.model)
    for name, token in names.items():
        if name not in columns and name not in start and not text.is_constant(name):
            close = difflib.get_close_matches(name, [*columns, *start], n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            message = f"{name!r} is neither a column of {options.file} nor in --start{meant}"
            cure = f"\n(a parameter needs a start: add {name}=1; the columns are {', '.join(columns)})"
            text.fail(options.model, token.start, token.end, message + cure)
    for name in start:
        if name in columns:
            raise ArgumentError(f"--start: {name!r} is a column of {options.file} as well; rename one of the two")
        if name not in names:
            raise ArgumentError(f"--start: the model does not contain {name!r}; leave it out, or correct the model")
    if options.target in names:
        raise ArgumentError(f"--model: it contains the target {options.target!r}, which it is to predict; leave it out")
    expr = text.parse(options.model, {name: sp.Symbol(name) for name in [*columns, *start]})
    return expr, [name for name in names if name in columns]


def _fit(
    model: sp.Expr, name: str, target: Column, columns: dict[str, Column], start: dict[str, float]
) -> tuple[Any, Fit]:
    """Compile the prediction and the sum of squares, and minimise it."""
    parameters, symbols = ([sp.Symbol(n) for n in names] for names in (start, columns))
    observed = sp.Symbol(name)
    residual = sp.Add(observed, sp.Mul(-1, model, evaluate=False), evaluate=False)
    square = sp.Pow(residual, 2, evaluate=False)
    f = compile_grad(square, parameters, data=[*symbols, observed], reduce="sum", name="fit")
    value = compile_value(model, parameters, data=symbols, name="model")
    arrays = list(columns.values())

    def predict(theta: np.ndarray) -> np.ndarray:
        return np.asarray(value(*theta.tolist(), *arrays)) + np.zeros_like(target)

    found = least_squares(predict, f.bind(*arrays, target), target, np.array(list(start.values())))
    return f, found


def _report(options: argparse.Namespace, names: list[str], found: Fit) -> None:
    print(f"{options.target} = {options.model}\n{options.file}: {found.rows} rows\n")
    width = max(12, *(len(name) + 2 for name in names))
    print(f"{'parameter':<{width}}{'estimate':>19}{'standard error':>19}")
    for name, estimate, error in zip(names, found.estimates, found.errors, strict=True):
        print(f"{name:<{width}}{estimate:>19.10g}{_shown(error):>19}")
    if np.isnan(found.errors).any():
        print("\n-: these data do not determine the parameter, or leave no degree of freedom to judge it by")
    print(f"\nresidual sum of squares      {found.squares:.10g}")
    print(f"residual standard deviation  {_shown(found.deviation)}  ({found.freedom} degrees of freedom)")
    print(f"R squared                    {_shown(found.r_squared)}")
    bars = plot.fitting_bars()
    print(f"loss curve                   {plot.sparkline(found.curve, bars=bars)}  {len(found.curve) - 1} iterations")


def _shown(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.10g}"


def _append(path: str, estimates: dict[str, float]) -> None:
    """Add the estimates to a saved module."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"\n\n# What the fit found, by parameter, in the order of theta.\nESTIMATES = {estimates!r}\n")
