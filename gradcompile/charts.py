"""Charts as SVG, without any library: lines, points and bands over linear or logarithmic axes.

Colours follow the reader's scheme, light or dark; a chart stands alone as a file, or in a page.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from gradcompile.errors import ArgumentError, printable

WIDTH, HEIGHT = 640, 360
SHADES = (  # of blue, from nothing to most, by light and by dark
    ("#fff", "#f4faff", "#e6f3ff", "#d8ecff", "#cae5ff", "#bcdeff", "#add6ff", "#9ecdff", "#8ec3fb", "#7db8f5"),
    ("#0d1117", "#0e1826", "#0f2038", "#10284a", "#11305c", "#12386e", "#134080", "#144892", "#1550a4", "#1158c7"),
)
STRONG = (  # the same where no text stands on them
    ("#f7fbff", "#e3eef9", "#cfe1f2", "#b5d4e9", "#93c4df", "#6baed6", "#4b97c9", "#2f7ebc", "#1864aa", "#08306b"),
    ("#0d1117", "#10203a", "#12305c", "#14407c", "#1a559c", "#2570bc", "#3f8fd6", "#68aeea", "#9acbf7", "#d3e9ff"),
)
LEVELS = len(SHADES[0]) - 1  # a decade each
LEFT, RIGHT, TOP, BOTTOM = 78, 14, 34, 46  # margins
LETTERS = 80  # of a title
PANEL, ABREAST, FINE = 230, 4, 80  # size of a panel of tiles, panels in a row, tiles along a side
MANY = 1500  # points, from which on they are drawn small
STYLE = (
    ".chart{font:12px system-ui,sans-serif;background:#fff;max-width:100%;height:auto}.chart text{fill:#1f2328}"
    ".chart .grid{stroke:#d0d7de}.chart .line{fill:none;stroke-width:1.6}.chart .points{fill:none;stroke-width:5;"
    "stroke-linecap:round}.chart .many{stroke-width:2}.chart .band{stroke:none;opacity:.25}"
    ".chart .frame{fill:none;stroke:#57606a}.chart .tile{stroke:#57606a;stroke-width:.5}.chart .zero{fill:#fff}"
    ".chart .bad{fill:#ffcecb}.chart rect{shape-rendering:crispEdges}"
    ".chart .c0{stroke:#0550ae;fill:#0550ae}.chart .c1{stroke:#bc4c00;fill:#bc4c00}.chart .c2{stroke:#116329;"
    "fill:#116329}.chart .c3{stroke:#8250df;fill:#8250df}"
    "@media(prefers-color-scheme:dark){.chart{background:#0d1117}.chart text{fill:#f0f6fc}.chart .grid{stroke:#30363d}"
    ".chart .frame,.chart .tile{stroke:#8b949e}.chart .zero{fill:#000}.chart .bad{fill:#67060c}"
    ".chart .c0{stroke:#79c0ff;fill:#79c0ff}.chart .c1{stroke:#ffa657;fill:#ffa657}.chart .c2{stroke:#56d364;"
    "fill:#56d364}.chart .c3{stroke:#d2a8ff;fill:#d2a8ff}}"
    ".chart .line,.chart .points{fill:none}"
)


class Picture(str):
    """An SVG as text, which a notebook shows."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<picture of {len(self) / 1000:.1f} kB>"

    def save(self, path: str | Path) -> None:
        """Write it as .svg."""
        if Path(path).suffix.lower() != ".svg":
            raise ArgumentError(f"to={str(path)!r}: this picture is written as .svg")
        Path(path).write_text(self, "utf-8")


class Series(NamedTuple):
    """What is drawn: y over x, or what lies between y and top."""

    x: Any
    y: Any
    kind: Literal["line", "points", "both", "band"] = "line"
    label: str = ""
    top: Any = None
    colour: int = 0


class Axis(NamedTuple):
    """Where values stand in the picture."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, values: Any) -> np.ndarray:
        """Pixels of values; NaN where there is none."""
        x = np.asarray(values, float)
        with np.errstate(all="ignore"):
            x = np.where(x > 0, np.log10(np.abs(x)), np.nan) if self.is_log else np.where(np.isfinite(x), x, np.nan)
            return np.asarray(self.start + (self.end - self.start) * ((x - self.low) / (self.high - self.low)))

    def ticks(self) -> list[tuple[float, str]]:
        """Round values on the axis, with their places; of a few decades more than powers."""
        step = nice((self.high - self.low) / 5, least=1.0 if self.is_log else 0.0)
        marks = [k * step for k in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]
        if self.is_log and self.high - self.low < 3:
            powers = range(math.floor(self.low), math.ceil(self.high) + 1)
            marks = [m for p in powers for k in (1, 2, 5) if self.low <= (m := p + math.log10(k)) <= self.high]
        names = [f"{10**m:.3g}" if self.is_log else f"{m:.6g}" for m in marks]
        return [(self.start + (self.end - self.start) * (m - self.low) / (self.high - self.low), name)
                for m, name in zip(marks, names, strict=True)]  # fmt: skip


def nice(step: float, least: float = 0.0) -> float:
    """The next round step: 1, 2 or 5 with a power of ten.

    >>> nice(0.03), nice(3.2), nice(0.3, least=1.0)
    (0.05, 5.0, 1.0)
    """
    power = 10.0 ** math.floor(math.log10(step))
    return max(least, next(k * power for k in (1, 2, 5, 10) if step <= k * power * (1 + 1e-9)))


def axis(values: Sequence[Any], start: float, end: float, is_log: bool = False) -> Axis:
    """An axis on which all these values have room; what is not finite has none, and of 0 there is no logarithm."""
    flat = np.concatenate([np.ravel(np.asarray(v, float)) for v in values] or [np.zeros(0)])
    flat = flat[np.isfinite(flat) & ((flat > 0) | (not is_log))]
    flat = np.log10(flat) if is_log else flat
    low, high = (float(flat.min()), float(flat.max())) if flat.size else (0.0, 1.0)
    if not high / 2 - low / 2 > 1e-12 * max(abs(low), abs(high)):  # of a constant; halves, as ends may be far apart
        room = 0.5 if is_log or low == 0 else abs(low) / 2
        low, high = low - room, high + room
    room = min(0.04 * (high / 2 - low / 2) * 2, np.finfo(float).max / 4)
    return Axis(low - room, high + room, start, end, is_log)


def chart(series: Sequence[Series], *, title: str = "", across: str = "", up: str = "", log: bool = False,
          size: tuple[int, int] = (WIDTH, HEIGHT)) -> Picture:  # fmt: skip
    """An SVG of lines, points and bands; `log` of the upward axis."""
    width, height = size
    own = [s._replace(x=np.ravel(np.asarray(s.x, float)), y=np.ravel(np.asarray(s.y, float))) for s in series]
    log = log and any((s.y > 0).any() for s in own)
    x = axis([s.x for s in own], LEFT, width - RIGHT)
    y = axis([v for s in own for v in (s.y, s.top) if v is not None], height - BOTTOM, TOP, log)
    drawn = "".join(mark(s, x, y, f"c{s.colour % 4}") for s in own)
    return framed(f"{grid(x, y, size)}{drawn}{legend(own, width)}", title, across, up, size)


def mark(s: Series, x: Axis, y: Axis, colour: str) -> str:
    """One series."""
    places = np.stack([x.place(s.x), y.place(s.y)], axis=1)
    line = f'<path class="line {colour}" d="{path(thinned(places))}"/>'
    if s.kind in ("points", "both"):
        known = places[np.isfinite(places).all(axis=1)]
        held = np.unique(known.round(1) if len(known) <= MANY else 2 * (known / 2).round(), axis=0)  # one a spot
        many = " many" if len(known) > MANY else ""
        points = f'<path class="points{many} {colour}" d="{"".join(f"M{a:g} {b:g}h0" for a, b in held)}"/>'
        return line + points if s.kind == "both" else points
    if s.kind == "band":
        top = np.stack([places[:, 0], y.place(s.top)], axis=1)
        known = np.isfinite(places).all(axis=1) & np.isfinite(top).all(axis=1)
        return f'<path class="band {colour}" d="{path(np.concatenate([places[known], top[known][::-1]]))}"/>'
    return line


def thinned(places: np.ndarray) -> np.ndarray:
    """A line without points that no one could tell apart: of each pixel's the lowest and the highest."""
    if len(places) <= 4 * WIDTH:
        return places
    parts = np.array_split(np.arange(len(places)), WIDTH)
    ends = [[*{int(p[0]), int(p[np.argmin(v)]), int(p[np.argmax(v)]), int(p[-1])}] for p in parts
            for v in [np.nan_to_num(places[p, 1])]]  # fmt: skip
    return places[sorted({k for own in ends for k in own})]


def path(places: np.ndarray) -> str:
    """The data of a path, broken where a place is missing."""
    text, pen = [], "M"
    for a, b in places.round(1).tolist():
        if math.isfinite(a) and math.isfinite(b):
            text.append(f"{pen}{a:g} {b:g}")
            pen = "L"
        else:
            pen = "M"
    return "".join(text)


def grid(x: Axis, y: Axis, size: tuple[int, int]) -> str:
    """Lines across, and what stands at the axes."""
    width, height = size
    rows = "".join(f'<path class="grid" d="M{LEFT} {p:.1f}H{width - RIGHT}"/><text x="{LEFT - 6}" y="{p + 4:.1f}" '
                   f'text-anchor="end">{t}</text>' for p, t in y.ticks())  # fmt: skip
    return rows + "".join(f'<text x="{p:.1f}" y="{height - BOTTOM + 16}" text-anchor="middle">{t}</text>'
                          for p, t in x.ticks())  # fmt: skip


def legend(series: Sequence[Series], width: float) -> str:
    """The labels, where there are any, one below the other."""
    named = [(s.colour, s.label) for s in series if s.label]
    return "".join(f'<path class="line c{k % 4}" d="M{width - RIGHT - 14} {TOP + 8 + 16 * j}h12"/>'
                   f'<text x="{width - RIGHT - 20}" y="{TOP + 12 + 16 * j}" text-anchor="end">{word(label)}</text>'
                   for j, (k, label) in enumerate(named))  # fmt: skip


def framed(body: str, title: str, across: str, up: str, size: tuple[int, int]) -> Picture:
    """A picture with its title, which is cut where it is too long, and the words at its axes."""
    width, height = size
    middle = (LEFT + width - RIGHT) / 2
    texts = (
        f'<text x="{middle:.0f}" y="20" text-anchor="middle" font-size="14">{word(title)}</text>'
        f'<text x="{middle:.0f}" y="{height - 8}" text-anchor="middle">{word(across)}</text>{upward(up, height)}'
    )
    return svg(body + texts, title or up, width, height)


def upward(text: str, height: float) -> str:
    """The word at the axis that goes up."""
    return (f'<text transform="rotate(-90 14 {height / 2:.0f})" x="14" y="{height / 2:.0f}" text-anchor="middle">'
            f"{word(text)}</text>")  # fmt: skip


def svg(body: str, said: str, width: float, height: float) -> Picture:
    """The whole picture."""
    return Picture(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" class="chart" role="img" aria-label="{word(said)}"><style>{STYLE}'
        f"{shades('.chart .l{}', STRONG)}</style>{body}</svg>\n"
    )


# Tiles: sizes by colour, a decade a shade


class Tiles(NamedTuple):
    """A panel: values by row, from below, and column; its title, and what stands below its first and last column."""

    values: np.ndarray
    title: str
    ends: tuple[str, str]


def shades(selector: str, scale: Sequence[Sequence[str]] = SHADES) -> str:
    """Rules of CSS for the levels of colour, by light and by dark."""
    light, dark = ("".join(f"{selector.format(k)}{{fill:{c}}}" for k, c in enumerate(own)) for own in scale)
    return f"{light}@media(prefers-color-scheme:dark){{{dark}}}"


def level(size: float, top: float) -> str:
    """The class of a size by its decade below the largest.

    >>> level(1.0, 1.0), level(0.01, 1.0), level(0.0, 1.0), level(math.inf, 1.0)
    ('l9', 'l7', 'zero', 'bad')
    """
    if not math.isfinite(size):
        return "bad"
    if size == 0:
        return "zero"
    return f"l{max(0, min(LEVELS, LEVELS + round(math.log10(size) - math.log10(top))))}"


def tiled(panels: Sequence[Tiles], *, across: str, up: str, legend: str) -> Picture:
    """Panels of tiles side by side, on one scale of colour."""
    known = np.concatenate([np.ravel(p.values) for p in panels])
    top = float(np.max(known[np.isfinite(known)], initial=0.0)) or 1.0
    body, columns = "", min(len(panels), ABREAST)
    for k, panel in enumerate(panels):
        body += panel_of(panel, top, 46 + (PANEL + 20) * (k % columns), TOP + (PANEL + 62) * (k // columns), across)
    width, height = 46 + (PANEL + 20) * columns + 90, (PANEL + 62) * (1 + (len(panels) - 1) // columns) + 30
    x = width - 88
    for k in range(LEVELS + 1):
        y = TOP + 20 + 18 * (LEVELS - k)
        mark = f"{top * 10.0 ** (k - LEVELS):.0e}".replace("e-0", "e-").replace("e+0", "e")
        body += f'<rect class="l{k} tile" x="{x}" y="{y}" width="16" height="18"/>'
        body += f'<text x="{x + 22}" y="{y + 13}">{mark}</text>'
    body += f'<text x="{x}" y="{TOP + 10}">{word(legend)}</text>{upward(up, height)}'
    return svg(body, "; ".join(p.title for p in panels), width, height)


def panel_of(panel: Tiles, top: float, x: float, y: float, across: str) -> str:
    """One panel, of as many tiles as can be told apart; neighbours of one colour are one."""
    rows, columns = (np.unique(np.linspace(0, n - 1, min(n, FINE)).round().astype(int)) for n in panel.values.shape)
    wide, high = PANEL / max(len(columns), 1), PANEL / max(len(rows), 1)
    out = ""
    for j, row in enumerate(rows[::-1]):
        levels = [level(float(panel.values[row, c]), top) for c in columns]
        at = 0
        for name, group in groupby(levels):
            count = len(list(group))
            out += (f'<rect class="{name}" x="{x + at * wide:.1f}" y="{y + j * high:.1f}" width="{count * wide:.1f}" '
                    f'height="{high:.1f}"/>')  # fmt: skip
            at += count
    first, last = panel.ends
    ends = f'<text x="{x}" y="{y + PANEL + 15}">{word(first)}</text>' if first != last else ""
    return (f'{out}<rect class="frame" x="{x}" y="{y}" width="{PANEL}" height="{PANEL}"/>{ends}'
            f'<text x="{x + PANEL}" y="{y + PANEL + 15}" text-anchor="end">{word(last)}</text>'
            f'<text x="{x + PANEL / 2}" y="{y + PANEL + 30}" text-anchor="middle">{word(across)}</text>'
            f'<text x="{x + PANEL / 2}" y="{y - 8}" text-anchor="middle" font-weight="600">{word(panel.title)}'
            "</text>")  # fmt: skip


# A training run


def of_history(history: Mapping[str, Any]) -> str:
    """The curves of a training run: what is a loss in one chart, the rest below; what stays the same is left out."""
    moving = [name for name, v in history.items() if len(v) and (np.asarray(v) != v[0]).any()]
    losses = [name for name in moving if "loss" in name or "validation" in name]
    groups = [losses, *([name] for name in moving if name not in (*losses, "epoch", "step"))]
    return "".join(
        chart([Series(range(1, len(history[n]) + 1), history[n], "line", n if len(own) > 1 else "", colour=k)
               for k, n in enumerate(own)],
              across="epoch", up=own[0].replace("_", " "), log=True, size=(WIDTH, 240)) for own in groups if own
    )  # fmt: skip


def word(text: str) -> str:
    """A text inside a picture.

    >>> word("a < b"), len(word("a" * 90))
    ('a &lt; b', 80)
    """
    return escape(printable(text if len(text) <= LETTERS else f"{text[: LETTERS - 3]}..."))
