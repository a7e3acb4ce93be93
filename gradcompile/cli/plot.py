"""A curve of losses: as one line of text, as an SVG picture that needs no library, or through matplotlib."""

import html
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from gradcompile.errors import ArgumentError

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
        raise ArgumentError(f"{path}: unknown kind of picture; name the file .svg, .{', .'.join(sorted(kinds))}")
    return figure, figure.add_subplot()


def _by_matplotlib(path: str, values: Sequence[float], title: str, across: str) -> None:
    figure, axes = _figure(path)
    axes.semilogy(range(len(values)), values)  # type: ignore[attr-defined]
    axes.set(title=title, xlabel=across, ylabel="loss")  # type: ignore[attr-defined]
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
    rows = "".join(
        f'<path d="M80 {y(t):.1f}H620" stroke="#ddd"/>'
        f'<text x="74" y="{y(t) + 4:.1f}" text-anchor="end">{10**t:.3g}</text>'
        for t in ticks
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 400" font-family="sans-serif" font-size="12">'
        f'<rect width="640" height="400" fill="#fff"/>{rows}'
        f'<polyline points="{points}" fill="none" stroke="#1f77b4" stroke-width="1.5"/>'
        f'<text x="350" y="28" text-anchor="middle" font-size="14">{html.escape(title)}</text>'
        f'<text x="80" y="360">0</text><text x="620" y="360" text-anchor="end">{len(heights) - 1}</text>'
        f'<text x="350" y="384" text-anchor="middle">{html.escape(across)}</text>'
        '<text x="16" y="195" transform="rotate(-90 16 195)" text-anchor="middle">loss</text></svg>\n'
    )
