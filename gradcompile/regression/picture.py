"""A fit as a picture: the data, the curve with its band, and the residuals below."""

import os
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradcompile.charts import Series, chart
from gradcompile.errors import ArgumentError, printable
from gradcompile.regression import summary
from gradcompile.regression.estimates import Estimates

POINTS = 400  # of a curve
WIDE, LINES = 76, 3  # characters of a title's line, and lines
MANY = 3000  # points from which on the data are drawn small and pale
DPI = 150
CURE = "pip install 'gradcompile[plot]'"


def draw(
    fit: Estimates | Mapping[Any, Estimates],
    path: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
    level: float = 0.95,
) -> Any:
    """Draw one fit, or several by group: a figure of matplotlib, written to `path` if one is given.

    A model of one column is drawn over it, with the confidence band of the curve; of several columns, what was observed
    over what the model says. A fit that did not converge has no band. title: the formula if None.

    Raises ArgumentError where matplotlib is missing, or doesn't know the kind of file.
    """
    from matplotlib.figure import Figure

    fits = dict(fit) if isinstance(fit, Mapping) else {"": fit}
    with warnings.catch_warnings():  # a letter that the font lacks is drawn as a box
        warnings.simplefilter("ignore", UserWarning)
        figure = Figure(figsize=(6.4, 5.2), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        along = _along(next(iter(fits.values())))
        for k, (group, one) in enumerate(fits.items()):
            for part in range(len(one.samples)):
                _draw_part(upper, lower, one, part, along, f"C{(k + part) % 10}", group, level)
        _label(upper, lower, fits, along, title)
        if path is not None:
            _write(figure, path)
    return figure


def charts(fit: Estimates) -> str:
    """The same of one fit as SVG, without any library: what was observed with the curve, and residuals below."""
    if fit._is_likelihood:
        return ""
    along, found = _along(fit), []
    for part, sample in enumerate(fit.samples):
        predicted = np.broadcast_to(fit.predict(part=part), (sample.rows,))
        x = np.asarray(sample.columns[along]) if along is not None else predicted
        points, across = Series(x, sample.target, "points"), along or "the model"
        found.append(chart([*_curve(fit, part, along, x), points], across=across, up=str(sample.statement.target)))
        zero = Series([np.min(x), np.max(x)], [0, 0], colour=1)
        rest = Series(x, sample.target - predicted, "points")
        found.append(chart([zero, rest], across=across, up="residual", size=(640, 220)))
    return "".join(found)


def _curve(fit: Estimates, part: int, along: str | None, x: Any) -> list[Series]:
    """The model, with its band where the fit converged."""
    if along is None:
        ends = [np.min(x), np.max(x)]
        return [Series(ends, ends, colour=1)]
    grid = _grid(x)
    curve = Series(grid, np.broadcast_to(fit.predict({along: grid}, part=part), grid.shape), colour=1)
    if not (fit.converged and fit.dof > 0):
        return [curve]
    low, high = fit.band({along: grid}, part=part)
    return [Series(grid, low, "band", top=high, colour=1), curve]


def check(path: str | os.PathLike[str]) -> None:
    """Raise ArgumentError if a picture can't be written as this kind of file, or without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ArgumentError(f"{path}: a picture needs matplotlib: {CURE}") from error
    kinds = FigureCanvasAgg(Figure()).get_supported_filetypes()
    if Path(path).suffix.lower().lstrip(".") not in kinds:
        raise ArgumentError(f"{path}: unknown kind of picture; name the file .{', .'.join(sorted(kinds))}")


def _along(fit: Estimates) -> str | None:
    """The column that a picture is drawn over; None if the models have several, or none."""
    columns = {sample.statement.predictors for sample in fit.samples}
    names = next(iter(columns))
    return names[0] if len(columns) == 1 and len(names) == 1 else None


def _draw_part(
    upper: Any, lower: Any, fit: Estimates, part: int, along: str | None, color: str, group: Any, level: float
) -> None:
    sample = fit.samples[part]
    predicted = np.broadcast_to(fit.predict(part=part), (sample.rows,))
    x = np.asarray(sample.columns[along]) if along is not None else predicted
    if along is None and not sample.statement.predictors:
        x = np.arange(1.0, sample.rows + 1)
    marks = {"s": 4, "alpha": 0.4} if sample.rows > MANY else {"s": 16, "alpha": 0.9}
    label = printable(str(group)) if group != "" else None
    sigma = sample.statement.sigma
    if sigma is not None and sample.rows <= MANY:
        bars = sample.columns[sigma.name]
        upper.errorbar(x, sample.target, bars, fmt="none", ecolor=color, elinewidth=0.8, alpha=0.5)
    upper.scatter(
        x, sample.target, zorder=3, color=color, linewidths=0, rasterized=sample.rows > MANY, label=label, **marks
    )
    _draw_curve(upper, fit, part, along, x, "C1" if color == "C0" and group == "" else color, level)
    with np.errstate(all="ignore"):
        lower.scatter(x, sample.target - predicted, color=color, linewidths=0, rasterized=sample.rows > MANY, **marks)


def _draw_curve(axes: Any, fit: Estimates, part: int, along: str | None, x: Any, color: str, level: float) -> None:
    sample = fit.samples[part]
    if along is None:
        ends = np.array([np.nanmin(x), np.nanmax(x)])
        constant = not sample.statement.predictors
        axes.plot(ends, np.broadcast_to(fit.predict(part=part), (sample.rows,))[[0, -1]] if constant else ends, color)
        return
    grid = _grid(x)
    data = {along: grid}
    with np.errstate(all="ignore"):
        axes.plot(grid, np.broadcast_to(fit.predict(data, part=part), grid.shape), color=color, linewidth=1.5)
        if fit.converged and fit.dof > 0:
            low, high = fit.band(data, level, part=part)
            axes.fill_between(grid, low, high, color=color, alpha=0.25, linewidth=0)


def _grid(x: Any) -> Any:
    """Points from the first to the last, and those of the data, where a kink or a pole may be."""
    own = np.unique(x)
    return np.unique(np.concatenate([np.linspace(own[0], own[-1], POINTS), own[:: max(1, len(own) // POINTS)]]))


def _label(upper: Any, lower: Any, fits: "Mapping[Any, Estimates]", along: str | None, title: str | None) -> None:
    first = next(iter(fits.values()))
    target = str(first.samples[0].statement.target)
    said = title if title is not None else "\n".join(summary.titles(first))
    plain: dict[str, Any] = {"parse_math": False}  # a name with a dollar is no formula of TeX
    upper.set_title(shortened(said), fontsize=10, **plain)
    has_columns = any(s.statement.predictors for s in first.samples)
    lower.set_xlabel(shortened(along or ("the model" if has_columns else "row")), **plain)
    upper.set_ylabel(shortened(target, 40), **plain)
    lower.set_ylabel("residual")
    lower.axhline(0.0, color="0.4", linewidth=0.8)
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    if len(fits) > 1:
        for text in upper.legend(fontsize=8, ncols=1 + len(fits) // 12).get_texts():
            text.set_parse_math(False)
    if not all(fit.converged for fit in fits.values()):
        upper.text(0.5, 0.95, "not converged", transform=upper.transAxes, ha="center", va="top", color="C3")
    _widen_flat(lower, upper)


def _widen_flat(lower: Any, upper: Any) -> None:
    """Residuals of a fit without any are drawn on the scale of rounding, not of nothing."""
    low, high = lower.get_ylim()
    span = upper.get_ylim()[1] - upper.get_ylim()[0]
    least = 1e-12 * span
    if high - low < least:
        lower.set_ylim(-least, least)


def shortened(text: str, width: int = WIDE) -> str:
    """A text on a few lines that fit into a picture.

    >>> shortened("a*x + " * 3 + "b", 12)
    'a*x + a*x +\\na*x + b'
    """
    lines = [line for part in printable(text, kept="\n").splitlines() for line in textwrap.wrap(part, width) or [""]]
    return "\n".join(lines[:LINES]) + (" ..." if len(lines) > LINES else "")


def _write(figure: Any, path: str | os.PathLike[str]) -> None:
    check(path)
    figure.savefig(path, dpi=DPI)
