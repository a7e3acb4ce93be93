"""`gradcompile fit`: a formula fitted to the columns of a table, with its statistics."""

import argparse
import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

from gradcompile.cli import options as values
from gradcompile.cli import plot, report, saving
from gradcompile.compile import compile_value
from gradcompile.data.tables import Rows, Table, open_table
from gradcompile.errors import ArgumentError, GradcompileError, meant, printable
from gradcompile.frontend import text
from gradcompile.regression import picture
from gradcompile.regression.fits import compile_fit
from gradcompile.regression.fitter import Fitter
from gradcompile.regression.result import Fit

OUTPUTS = ("predict", "json", "csv", "plot", "plot_loss")
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


class Fitted(NamedTuple):
    """What was asked for, the table, all its rows and those of the fit, and a fit a group, under "" without groups."""

    asked: "_Asked"
    table: Table
    stated: "_Stated"
    whole: Rows
    rows: Rows
    fits: dict[str, Fit]


def run(options: argparse.Namespace) -> int:
    """Read, compile, minimise, print and write what was asked for; the exit status says whether it is a minimum."""
    asked, table, stated, whole, rows, fits = fitted(options)
    ends = {}
    if asked.interval or options.csv:
        ends = {group: report.intervals(fit, asked.interval or values.Interval()) for group, fit in fits.items()}
    _write(options, asked, stated, whole, fits, ends)
    if "-" not in (options.json, options.csv, options.predict):
        report.show(options, fits, ends, table.where, asked.interval)
    return report.warn(options, fits, rows, stated.predictors)


def page(options: argparse.Namespace) -> int:
    """`gradcompile report`: the same, as a page with the loss at the estimates: formula, gradient, graph and source."""
    if options.sigma_x:
        raise ArgumentError("--sigma-x: a page shows a loss of the estimates alone; leave it out, or take `fit`")
    saving.check_output("--to", options.to, options.file)
    _, table, stated, _, rows, fits = fitted(options)
    first = next(iter(fits.values()))
    f, given = saving.loss(first, stated.predictors), {**first.params, **first.samples[0].columns}
    f.report(args={a.name: given[str(a.original)] for a in (*f.problem.params, *f.problem.inputs)}, to=options.to,
             fit=fits if options.by else first)  # fmt: skip
    print(printable(f"{options.target} = {options.model}, {table.where}: report written to {options.to}"))
    return report.warn(options, fits, rows, stated.predictors)


def fitted(options: argparse.Namespace) -> Fitted:
    """Read, compile and minimise."""
    asked = _Asked(options)
    table = open_table(
        options.file,
        header=not options.no_header,
        delimiter=options.delimiter,
        decimal=options.decimal,
        sheet=options.sheet,
    )
    for note in table.notes:
        _say(f"{table.where}: {note}")
    stated = _Stated(options, asked, table)
    whole = table.read(stated.columns, texts=[options.by] if options.by else [])
    rows, left_out = whole.complete(_kept(options.where, stated, whole))
    if left_out:
        _say(f"{table.where}: {left_out}")
    fitter = stated.fitter(options, asked)
    fits = {group: _fit(fitter, stated, part, options, asked, group) for group, part in _groups(options.by, rows)}
    return Fitted(asked, table, stated, whole, rows, fits)


def _say(line: str) -> None:
    print(printable(line), file=sys.stderr)


class _Asked:
    """The options that are values, read; files that can't be written are found before any work is done."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.start = values.numbers("--start", options.start) if options.start else None
        self.fixed = values.numbers("--fix", options.fix) if options.fix else {}
        self.bounds = values.bounds(options.bounds) if options.bounds else {}
        self.interval = values.interval(options.ci) if options.ci else None
        self.level = self.interval.level if self.interval else 0.95
        self.sigma_x = values.texts("--sigma-x", options.sigma_x) if options.sigma_x else {}
        text.parse(options.model)
        if options.starts < 1:
            raise ArgumentError(f"--starts: {options.starts} is not a whole number from 1")
        for name in OUTPUTS:
            path = getattr(options, name)
            if path and path != "-":
                saving.check_output(f"--{name.replace('_', '-')}", path, options.file)
        if options.plot:
            picture.check(options.plot)
        if options.plot_loss:
            plot.check(options.plot_loss)
        if options.save and self.sigma_x:
            what = "a module holds a loss of the estimates alone, and orthogonal distance has no such"
            raise ArgumentError(f"--save: {what}; leave it out, and take the estimates from --json")
        if options.save:
            saving.check_save(options.save, options.file, options.force)


class _Stated:
    """What is fitted to what: the formulas, and which of their names are columns and which are parameters."""

    def __init__(self, options: argparse.Namespace, asked: _Asked, table: Table) -> None:
        self.table, self.model_text = table, options.model
        self.known = [name for name in table.names if name]
        names = text.names_in(options.model)
        self.predictors = [name for name in names if name in self.known]
        given = {**(asked.start or {}), **asked.fixed}
        for name, token in names.items():
            if name not in self.known and name not in given and (token.is_quoted or not text.is_constant(name)):
                self._check_unknown(token, given, asked.start is not None)
        for option, numbers in (("--start", asked.start or {}), ("--fix", asked.fixed)):
            self._check_given(option, numbers, names)
        free = [n for n, t in names.items() if n not in self.known and n not in asked.fixed]
        self.params = [n for n in free if n in given or names[n].is_quoted or not text.is_constant(n)]
        if not self.params:
            raise ArgumentError("--model: it has no parameter; each of its names is a column, a constant or given")
        symbols = {name: sp.Symbol(name) for name in (*self.known, *self.params, *asked.fixed)}
        self.model = text.parse(options.model, symbols)
        self.target = self._formula("--target", options.target)
        self.sigma = self._formula("--sigma", options.sigma) if options.sigma else None
        self.spreads = {name: self._spread(name, given) for name, given in asked.sigma_x.items()}
        self.where = text.parse_condition(options.where, self._symbols()) if options.where else None
        if self.target.is_Symbol and self.target.name in names:
            what = f"it contains the target {options.target!r}, which it is to predict; leave it out"
            raise ArgumentError(f"--model: {what}")
        if options.by:
            table.check(options.by)
        for name in self.columns:
            table.check(name)

    @property
    def columns(self) -> list[str]:
        """The columns that are read as numbers."""
        others = [e for e in (self.target, self.sigma, *self.spreads.values(), self.where) if e is not None]
        return list(
            dict.fromkeys([*self.predictors, *(s.name for e in others for s in sorted(e.free_symbols, key=str))])
        )

    def fitter(self, options: argparse.Namespace, asked: _Asked) -> Fitter:
        """The compiled fit."""
        return compile_fit(
            self.model, self.params, target=self.target, sigma=True if self.sigma is not None else None,
            sigma_x={name: _place(name) for name in self.spreads}, loss=options.loss, bounds=asked.bounds,
            fixed=asked.fixed, absolute_sigma=options.absolute_sigma,
        )  # fmt: skip

    def given(self, rows: Rows) -> dict[str, Any]:
        """The columns of the fit, with the standard deviations of predictors, which no formula can name."""
        return {**rows.columns, **{_place(name): _evaluated(expr, rows) for name, expr in self.spreads.items()}}

    def _spread(self, name: str, given: str) -> Any:
        """The standard deviations of a predictor: a column or a formula of columns, which may be a number."""
        if name not in self.predictors:
            known = f"it has {', '.join(self.predictors)}" if self.predictors else "it has none"
            raise ArgumentError(f"--sigma-x: the model has no column {name!r}; {known}")
        return self._formula("--sigma-x", given)

    def _symbols(self) -> dict[str, sp.Symbol]:
        return {name: sp.Symbol(name) for name in self.known}

    def _formula(self, option: str, given: str) -> Any:
        """A column by its name as it is, or a formula of columns."""
        if given in self.known:
            return sp.Symbol(given)
        names = text.names_in(given)
        if len(names) < 2 and (given.isidentifier() or not names):
            self.table.check(given)
        for name, token in names.items():
            if name not in self.known and (token.is_quoted or not text.is_constant(name)):
                hint = meant(name, self.known, text.quoted)
                known = f"the columns are {', '.join(self.known)}{hint}"
                text.fail(given, token.start, token.end, f"{option}: there is no column {name!r}; {known}")
        return text.parse(given, self._symbols())

    def _check_given(self, option: str, numbers: Mapping[str, float], names: Mapping[str, Any]) -> None:
        for name in numbers:
            if name in self.known:
                raise ArgumentError(
                    f"{option}: {name!r} is a column of {self.table.where} as well; rename one of the two"
                )
            if name not in names:
                raise ArgumentError(
                    f"{option}: the model does not contain {name!r}; leave it out, or correct the model"
                )

    def _check_unknown(self, token: text.Token, given: Iterable[str], all_given: bool) -> None:
        """Say what is wrong with a name that is no column and has no start; it may be a parameter, if none has one."""
        name = token.text
        plain = name.translate(SUPERSCRIPTS)
        if name == "e":
            self._fail(token, "'e' is no number here; write exp(...) for its powers, or E for itself")
        if plain != name:
            base = plain.rstrip("0123456789")
            self._fail(token, f"{name!r} is no column; write {base}**{plain[len(base) :]} for a power")
        if all_given:
            hint = meant(name, [*self.known, *given], text.quoted)
            cure = f"(a parameter needs a start: add {name}=1; the columns are {', '.join(self.known)})"
            message = f"{name!r} is neither a column of {self.table.where} nor in --start{hint}\n{cure}"
            self._fail(token, message)
        close = difflib.get_close_matches(name, [n for n in self.known if len(n) > 2], n=1, cutoff=0.8)
        if close:
            cure = f"did you mean the column {text.quoted(close[0])!r}? For a parameter give --start {name}=1,..."
            self._fail(token, f"{name!r} is no column of {self.table.where}; {cure}")

    def _fail(self, token: text.Token, message: str) -> None:
        text.fail(self.model_text, token.start, token.end, message)


def _place(name: str) -> str:
    return f"--sigma-x {name}"


def _evaluated(expr: Any, rows: Rows) -> Any:
    """A formula of columns: one value a row."""
    symbols = sorted(expr.free_symbols, key=str)
    if not symbols:
        return np.full(len(rows.lines), float(expr))
    if expr.is_Symbol:
        return rows.columns[expr.name]
    value = compile_value(expr, data=symbols)(*(rows.columns[s.name] for s in symbols))
    return np.asarray(value, np.float64)


def _kept(given: str | None, stated: _Stated, rows: Rows) -> Any:
    """The rows that meet the condition, None for all."""
    if given is None:
        return None
    kept = _evaluated(sp.Piecewise((1.0, stated.where), (0.0, True)), rows) == 1.0
    if not kept.any():
        raise ArgumentError(f"--where: no row meets {given!r}")
    return kept


def _groups(by: str | None, rows: Rows) -> list[tuple[str, Rows]]:
    """The rows by the value of a column, in order of appearance; all of them under "" if there is none."""
    if by is None:
        return [("", rows)]
    labels = np.array(rows.texts[by], dtype=object)
    return [(label, rows.at(labels == label)) for label in dict.fromkeys(rows.texts[by])]


def _fit(fitter: Fitter, stated: _Stated, rows: Rows, options: argparse.Namespace, asked: _Asked, group: str) -> Fit:
    try:
        sigma = None if stated.sigma is None else _evaluated(stated.sigma, rows)
        return fitter(stated.given(rows), start=asked.start, sigma=sigma, starts=options.starts)
    except GradcompileError as error:
        label = f"{options.by} = {group}: " if group else ""
        place = "" if error.row is None else f" (row {error.row} is {rows.word} {rows.lines[error.row]})"
        raise type(error)(f"{label}{error}{place}") from error


def predicted(
    options: argparse.Namespace, level: float, names: Sequence[str], whole: Rows, fit: Fit, group: str
) -> report.Prediction:
    """Predict the rows of a group, those too in which only the target is missing."""
    has_all = np.ones(len(whole.lines), bool)
    for name in names:
        has_all &= ~np.isnan(whole.columns[name])
    if group:
        has_all &= np.array([label == group for label in whole.texts[options.by]], bool)
    at = np.flatnonzero(has_all)
    data = {name: np.ascontiguousarray(whole.columns[name][at]) for name in names or list(whole.columns)[:1]}
    band = fit.band(data, level, options.band) if options.band and fit.converged else (None, None)
    return report.Prediction(at, np.broadcast_to(fit.predict(data), at.shape), *band)


def _write(
    options: argparse.Namespace,
    asked: _Asked,
    stated: _Stated,
    whole: Rows,
    fits: dict[str, Fit],
    ends: Mapping[str, report.Ends],
) -> None:
    """Write the files that were asked for."""
    if options.predict:
        parts = [predicted(options, asked.level, stated.predictors, whole, fit, group) for group, fit in fits.items()]
        report.predictions(options, stated.columns, whole, parts)
    if options.json:
        report.put(options.json, report.as_json(options, fits, ends, asked.interval))
    if options.csv:
        report.put(options.csv, report.as_csv(options, fits, ends))
    if options.plot:
        title = f"{options.target} = {options.model}"
        picture.draw(fits if options.by else fits[""], options.plot, title=title, level=asked.level)
    if options.plot_loss:
        fit = next(iter(fits.values()))
        plot.picture(options.plot_loss, report.losses(fit), f"{options.target} = {options.model}", "evaluation")
    if options.save:
        saving.write(options.save, saving.module(fits, stated.predictors))
