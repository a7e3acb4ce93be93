"""Curves of losses, as a line of text, as SVG or by matplotlib; data and fit as SVG. An SVG needs no library."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from gradcompile.charts import Series, chart
from gradcompile.errors import ArgumentError, printable

BARS = "▁▂▃▄▅▆▇█"
PLAIN = ".:-=+*#%"


def sparkline(values: Sequence[float], width: int = 60, bars: str = BARS) -> str:
    """Return one character a value (or a group of them), higher for larger, on a logarithmic scale.

    >>> sparkline([1000.0, 100.0, 10.0, 1.0])
    '█▆▃▁'
    """
    heights = _log(values)
    step = max(1.0, len(heights) / width)
    picked = [heights[int(k * step)] for k in range(min(width, len(heights)))]
    if picked:
        picked[-1] = heights[-1]
    low, high = min(picked, default=0.0), max(picked, default=0.0)
    scale = (len(bars) - 1) / (high - low) if high > low else 0.0
    return "".join(bars[round((h - low) * scale)] for h in picked)


def fitting_bars() -> str:
    """Return the characters for `sparkline` that standard output can take.

    >>> len(fitting_bars())
    8
    """
    try:
        BARS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return PLAIN
    return BARS


def picture(path: str, values: Sequence[float], title: str, across: str) -> None:
    """Write the curve of `values` to `path`, its axis logarithmic: an SVG without any library, else by matplotlib.

    Raises ArgumentError when matplotlib is needed and missing, or doesn't know the kind of file.
    """
    if Path(path).suffix.lower() == ".svg":
        found = [Series(range(len(values)), values)]
        Path(path).write_text(chart(found, title=title, across=across, up="loss", log=True), encoding="utf-8")
    else:
        _by_matplotlib(path, values, title, across)


def picture_of_fit(path: str, x: Sequence[float], y: Sequence[float], curve: Sequence[float], title: str) -> None:
    """Write an SVG, without any library, of points and of a curve through the same places, which are in order."""
    found = [Series(x, y, "points"), Series(x, curve, colour=1)]
    Path(path).write_text(chart(found, title=title, across="x", up="y"), encoding="utf-8")


def check(path: str) -> None:
    """Raise ArgumentError if `picture` could not write to `path`, before any work is done for it."""
    if not Path(path).absolute().parent.is_dir():
        raise ArgumentError(f"{path}: there is no such directory; make it first")
    if Path(path).suffix.lower() != ".svg":
        _figure(path)


def _figure(path: str) -> tuple[object, object]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        cure = "pip install 'gradcompile[plot]', or name the file .svg, which needs nothing"
        raise ArgumentError(f"{path}: pictures other than SVG need matplotlib: {cure}") from error
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    kinds = FigureCanvasAgg(figure).get_supported_filetypes()
    if Path(path).suffix.lower().lstrip(".") not in kinds:
        raise ArgumentError(
            f"{path}: unknown kind of picture; name the file .svg, .{', .'.join(sorted(set(kinds) - {'svg'}))}"
        )
    return figure, figure.add_subplot()


def _by_matplotlib(path: str, values: Sequence[float], title: str, across: str) -> None:
    figure, axes = _figure(path)
    if any(v > 0.0 for v in values):  # of a start that was perfect there is no logarithm
        axes.semilogy(range(len(values)), values)  # type: ignore[attr-defined]
    else:
        axes.plot(range(len(values)), values)  # type: ignore[attr-defined]
    shown = title if len(title) <= 80 else f"{title[:77]}..."
    axes.set_title(printable(shown), fontsize=10, parse_math=False)  # type: ignore[attr-defined]
    axes.set(xlabel=across, ylabel="loss")  # type: ignore[attr-defined]
    axes.grid(alpha=0.3)  # type: ignore[attr-defined]
    figure.savefig(path, dpi=150)  # type: ignore[attr-defined]


def _log(values: Sequence[float]) -> list[float]:
    """Decimal logarithms; what has none (zero, NaN, infinity) takes the place of the smallest that has."""
    known = [math.log10(v) for v in values if 0.0 < v < math.inf]
    lowest = min(known, default=0.0)
    return [math.log10(v) if 0.0 < v < math.inf else lowest for v in values]
