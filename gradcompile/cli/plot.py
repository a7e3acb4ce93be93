"""Curves of losses, as a line of text, as SVG or by matplotlib; data and fit as SVG. An SVG needs no library."""

import html
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

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
        Path(path).write_text(_svg(values, title, across), encoding="utf-8")
    else:
        _by_matplotlib(path, values, title, across)


def picture_of_fit(path: str, x: Sequence[float], y: Sequence[float], curve: Sequence[float], title: str) -> None:
    """Write an SVG, without any library, of points and of a curve through the same places, which are in order."""
    across, up = _axis(x, 80.0, 620.0), _axis([*y, *curve], 340.0, 50.0)
    dots = "".join(f'<circle cx="{across(a):.1f}" cy="{up(b):.1f}" r="2"/>' for a, b in zip(x, y, strict=True))
    points = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in zip(x, curve, strict=True))
    low, high = min([*y, *curve]), max([*y, *curve])
    rows = "".join(_row(up(t), f"{t:.3g}") for t in (low + (high - low) * k / 4 for k in range(5)))
    line = f'<polyline points="{points}" fill="none" stroke="#ff7f0e" stroke-width="1.5"/>'
    body = f'{rows}<g fill="#1f77b4">{dots}</g>{line}'
    Path(path).write_text(_frame(body, title, (f"{x[0]:.3g}", f"{x[-1]:.3g}"), "x", "y"), encoding="utf-8")


def _axis(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    """Where values stand between two places of a picture."""
    low, high = min(values), max(values)
    span = high - low or 1.0
    return lambda value: start + (end - start) * (value - low) / span


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


def _svg(values: Sequence[float], title: str, across: str) -> str:
    heights = _log(values)
    low, high = min(heights, default=0.0), max(heights, default=0.0)
    low, high = (low, high) if high - low > 1e-3 else (low - 0.5, high + 0.5)
    last = max(len(heights) - 1, 1)

    def y(height: float) -> float:
        return 340 - 290 * (height - low) / (high - low)

    points = " ".join(f"{80 + 540 * k / last:.1f},{y(h):.1f}" for k, h in enumerate(heights))
    ticks = [low + (high - low) * k / 4 for k in range(5)]
    rows = "".join(_row(y(t), f"{10**t:.3g}") for t in ticks)
    line = f'<polyline points="{points}" fill="none" stroke="#1f77b4" stroke-width="1.5"/>'
    return _frame(rows + line, title, ("0", str(len(heights) - 1)), across, "loss")


def _row(y: float, label: str) -> str:
    """A line across a picture with what it stands for."""
    return f'<path d="M80 {y:.1f}H620" stroke="#ddd"/><text x="74" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _frame(body: str, title: str, ends: tuple[str, str], across: str, up: str) -> str:
    """A picture with its title, which is cut where it is too long, and the words at its axes."""
    shown = title if len(title) <= 80 else f"{title[:77]}..."
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 400" font-family="sans-serif" font-size="12">'
        f'<rect width="640" height="400" fill="#fff"/>{body}'
        f'<text x="350" y="28" text-anchor="middle" font-size="14">{html.escape(printable(shown))}</text>'
        f'<text x="80" y="360">{ends[0]}</text><text x="620" y="360" text-anchor="end">{ends[1]}</text>'
        f'<text x="350" y="384" text-anchor="middle">{html.escape(across)}</text>'
        f'<text x="16" y="195" transform="rotate(-90 16 195)" text-anchor="middle">{html.escape(up)}</text></svg>\n'
    )
