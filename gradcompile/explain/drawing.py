"""A loss as a picture: its graph with values and adjoints, as SVG, as a page that shows the backward pass, as DOT."""

import base64
import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from importlib import resources
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from gradcompile.charts import Picture, level, shades
from gradcompile.errors import ArgumentError
from gradcompile.explain.layout import Frame, Layout, laid_out
from gradcompile.explain.layout import Place as Spot
from gradcompile.explain.rows import Operand, Row
from gradcompile.explain.writing import cell, short, summary

WIDTH, HEIGHT = 172, 58  # of a box
BETWEEN, GAP = 148, 92  # least room between layers, from box to box
LETTERS = 22  # that fit into a box
LETTER = 6.7  # width of one in a term
LABELLED = 60  # lines that have their term written on them
TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="9" markerHeight="9" '
    'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" class="tip"/></marker></defs>'
)
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Page(str):
    """A page of its own as text, which a notebook shows in a frame."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{escape(self)}" style="width:100%;height:560px;border:0"></iframe>'

    def __repr__(self) -> str:
        return f"<page of {len(self) / 1000:.1f} kB>"


class Drawing:
    """The graph of a loss at some arguments; in a notebook it shows itself.

    svg, html, dot: as text. `save(path)` writes the form that the name ends in.
    """

    def __init__(self, rows: Sequence[Row], title: str, steps: Mapping[str, Sequence[Row]] = NOTHING) -> None:
        self.title = title
        self.rows, self.groups = merged(rows, steps)

    @cached_property
    def layout(self) -> Layout:
        """Where everything stands, found once."""
        return laid_out(self.rows, self.groups)

    @cached_property
    def svg(self) -> Picture:
        """The picture by itself."""
        return picture(self.rows, self.layout, self.title)

    @cached_property
    def html(self) -> str:
        """A page of its own, without network: arrow keys go through the backward pass, a click shows paths."""
        return page(self.rows, self.layout, self.title, self.svg)

    @property
    def dot(self) -> str:
        """The graph for Graphviz, laid out there."""
        return as_dot(self.rows)

    def save(self, path: str | Path) -> None:
        """Write the drawing as .svg, .html or .dot."""
        kind = Path(path).suffix
        if kind not in (".svg", ".html", ".dot"):
            raise ArgumentError(f"to={str(path)!r}: a drawing is written as .svg, .html or .dot")
        Path(path).write_text(getattr(self, kind[1:]), "utf-8")

    def _repr_html_(self) -> str:
        return Page(self.html)._repr_html_()

    def __repr__(self) -> str:
        return f"<drawing of {self.title}: {len(self.rows)} nodes>"


def merged(rows: Sequence[Row], steps: Mapping[str, Sequence[Row]]) -> tuple[list[Row], dict[str, range]]:
    """The rows with those inside each scan just before it, and where these are."""
    found: list[Row] = []
    groups = {}
    for r in rows:
        body = steps.get(r.name, ())
        inside = {b.name: f"{r.name}.{b.name}" for b in body}
        first = len(found)
        for b in body:
            args = tuple(o._replace(name=inside.get(o.name, o.name)) for o in b.args)
            found.append(b._replace(name=inside[b.name], args=args))
        if body:
            groups[f"inside {r.name}, step by step"] = range(first, len(found))
        found.append(r)
    known = {r.name for r in found}
    return [r._replace(args=tuple(o for o in r.args if o.name in known)) for r in found] if groups else found, groups


# The picture


def size_of(x: Any) -> float:
    """The size of an adjoint: its largest entry; infinite for what is no number."""
    if x is None or (not isinstance(x, float) and not np.size(x)):
        return 0.0
    top = abs(x) if isinstance(x, float) else float(np.max(np.abs(x)))
    return top if np.isfinite(top) else np.inf


def point(p: Spot, step: float) -> tuple[float, float]:
    """The left upper corner of a box; step is from layer to layer."""
    return 20 + step * p.layer, 20 + GAP * p.at


def picture(rows: Sequence[Row], layout: Layout, title: str) -> Picture:
    """The SVG: lines first, then boxes; each says in its title what a pointer finds."""
    sizes = [max(size_of(rows[k].adjoint) for k in members) for members in layout.boxes]
    top = max((s for s in sizes if np.isfinite(s)), default=1.0)
    used = Counter(o.name for r in rows for o in r.args)
    terms = [written(rows, layout, k) for k in range(len(layout.lines))]
    step = WIDTH + max(BETWEEN, LETTER * max(map(len, terms), default=0) + 24)
    corners = [point(p, step) for p in layout.places]
    width = max(x for x, _ in corners) + WIDTH + 20 + 12 * bool(layout.frames)
    height = max(y for _, y in corners) + HEIGHT + 20
    taken: list[tuple[float, float, float]] = []
    drawn = [line(layout, k, text, step, taken) for k, text in enumerate(terms)]
    lines, labels = ("".join(d[j] for d in drawn) for j in range(2))
    boxes = [box(rows, members, corners[b], b, level(sizes[b], top), used) for b, members in enumerate(layout.boxes)]
    return Picture(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" class="graph" role="group" '
            f'aria-label="graph of {escape(title, True)}">'
            f"<style>{asset('graph.css')}{shades('.graph .l{} rect')}</style><title>{escape(title)}</title>"
            f"{TIP}{''.join(frame(f, step) for f in layout.frames)}"
            f"<g>{lines}{labels}</g><g>{''.join(boxes)}</g></svg>")  # fmt: skip


def frame(f: Frame, step: float) -> str:
    """What stands around the body of a scan."""
    (x, y), (u, v) = point(f.first, step), point(f.last, step)
    return (f'<rect class="frame" x="{x - 12:.0f}" y="{y - 30:.0f}" width="{u - x + WIDTH + 24:.0f}" '
            f'height="{v - y + HEIGHT + 42:.0f}" rx="8"/><text x="{x:.0f}" y="{y - 12:.0f}">{escape(f.title)}'
            "</text>")  # fmt: skip


def box(rows: Sequence[Row], members: list[int], corner: tuple[float, float], b: int, colour: str,
        used: Counter[str]) -> str:  # fmt: skip
    """A node, or a run of them: name and formula, value, adjoint."""
    x, y = corner
    r = rows[members[-1]]
    kind = " ".join(filter(None, ["node", colour, r.kind, "run" if len(members) > 1 else "",
                                  "shared" if used[r.name] > 1 else ""]))  # fmt: skip
    head = r.name if r.formula == r.name else f"{r.name} = {r.formula}"
    texts = [head, brief(r.value), "" if r.adjoint is None else f"dL: {brief(r.adjoint)}"]
    if len(members) > 1:
        texts[0] = f"{len(members)} nodes to {r.name}"
    lines = "".join(f'<text x="{x + 8:.0f}" y="{y + 17 + 17 * k:.0f}" class="t{k}">{escape(clipped(t))}</text>'
                    for k, t in enumerate(texts) if t)  # fmt: skip
    return (f'<g class="{kind}" id="b{b}" role="button" tabindex="-1" aria-label="{escape(said(r, members), True)}">'
            f"<title>{escape(hover(r))}</title>"
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>{lines}</g>')  # fmt: skip


def brief(value: Any) -> str:
    """A value in a box: of an array its shape and norm."""
    if np.ndim(value) == 0 or np.size(value) <= 3:
        return cell(value)
    found = summary(value)
    return f"{tuple(found['shape'])} norm {found['norm']:.4g}"


def clipped(text: str) -> str:
    """What fits into a box.

    >>> clipped("a"), len(clipped("a" * 90))
    ('a', 22)
    """
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"


def said(r: Row, members: list[int]) -> str:
    """A box for who hears it."""
    many = f"{len(members)} nodes up to " if len(members) > 1 else ""
    adjoint = "" if r.adjoint is None else f", adjoint {cell(r.adjoint)}"
    return f"{many}{r.name}, {r.kind + ', ' if r.kind else ''}value {cell(r.value)}{adjoint}"


def hover(r: Row) -> str:
    """What a pointer finds: formula, value, adjoint, local derivatives."""
    lines = [f"{r.name} = {r.formula}", f"value {cell(r.value)}"]
    lines += [] if r.adjoint is None else [f"adjoint {cell(r.adjoint)}"]
    lines += [f"d{r.name}/d{o.name} = {cell(o.slope)}" for o in r.args if o.slope is not None]
    return "\n".join(lines)


def written(rows: Sequence[Row], layout: Layout, k: int) -> str:
    """The term written on a line: the one that comes back along it, where there is room and it is one number."""
    a, b, _ = layout.lines[k]
    if len(layout.lines) > LABELLED or len(layout.boxes[a]) + len(layout.boxes[b]) > 2:
        return ""
    r, name = rows[layout.boxes[b][0]], rows[layout.boxes[a][0]].name
    return next((term(r, o) for o in r.args if o.name == name), "")


def line(layout: Layout, k: int, text: str, step: float,
         taken: list[tuple[float, float, float]]) -> tuple[str, str]:  # fmt: skip
    """A line from operand to node, and its term, which stands above all lines."""
    a, b, way = layout.lines[k]
    points = [(x + WIDTH / 2, y + HEIGHT / 2) for x, y in (point(p, step) for p in way)]
    points[0] = points[0][0] + WIDTH / 2, points[0][1]
    points[-1] = points[-1][0] - WIDTH / 2 - 2, points[-1][1]
    path = f"M{points[0][0]:.0f} {points[0][1]:.0f}"
    for (x, y), (u, v) in pairwise(points):
        middle = (x + u) / 2
        path += f"H{u:.0f}" if y == v else f"C{middle:.0f} {y:.0f} {middle:.0f} {v:.0f} {u:.0f} {v:.0f}"
    drawn = f'<path id="e{a}-{b}" class="edge" d="{path}" marker-end="url(#tip)"/>'
    if not text:
        return drawn, ""
    leaving, coming = (sum(end == own for *ends, _ in layout.lines for end in ends[j : j + 1])
                       for j, own in enumerate((a, b)))  # fmt: skip
    backward = leaving > coming
    here, there = (points[-1], points[-2]) if backward else (points[-2], points[-1])
    return drawn, label(text, here, there, min(leaving, coming) > 1, taken)


def label(text: str, here: tuple[float, float], there: tuple[float, float], shared: bool,
          taken: list[tuple[float, float, float]]) -> str:  # fmt: skip
    """A term beside that end of its own piece where fewer lines meet, where no other term stands.

    It stands on the side to which the line does not turn; where several meet, on that to which it does, as its own.
    """
    (x, y), (u, v) = here, there
    side = "start" if u > x else "end"
    at, anchor = ((x + u) / 2, "middle") if v == y else (x + (6 if side == "start" else -12), side)
    width = LETTER * len(text)
    left = at - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    above, below = (y - 6, y - 20), (y + 14, y + 28)
    first, second = (above, below) if v == y or (v > y) != shared else (below, above)
    heights = [h for pair in zip(first, second, strict=True) for h in pair]
    height = next((h for h in heights if not any(abs(h - t) < 12 and left < r and left + width > q
                                                 for q, r, t in taken)), heights[0])  # fmt: skip
    taken.append((left, left + width, height))
    return f'<text class="term {anchor}" x="{at:.0f}" y="{height:.0f}">{escape(text)}</text>'


def term(r: Row, o: Operand) -> str:
    """A term of the chain rule in numbers, where it is one."""
    if o.slope is None or np.ndim(o.slope) or np.ndim(o.term) or np.ndim(r.adjoint) or r.adjoint is None:
        return ""
    adjoint, slope, sent = (f"{float(v):.4g}" for v in (r.adjoint, o.slope, o.term))
    return f"{adjoint} · {slope} = {sent}"


# The page


def asset(name: str) -> str:
    """A file of the page."""
    return (resources.files("gradcompile.explain") / "page" / name).read_text("utf-8")


def page(rows: Sequence[Row], layout: Layout, title: str, svg: str, form: str = "page.html",
         more: Mapping[str, str] = MappingProxyType({})) -> str:  # fmt: skip
    """The SVG in a page that has every row as data, and knows the keyboard; `more`: what else stands in its form."""
    index = {r.name: k for k, r in enumerate(rows)}
    data = {"boxes": layout.boxes, "rows": [entry(r, index) for r in rows]}
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
    packed = base64.b64encode(zlib.compress(text, 9)).decode()
    parts = {"TITLE": escape(title), "STYLE": asset("page.css"), "SVG": svg, "DATA": packed, "SCRIPT": asset("page.js")}
    return re.sub("<!--([A-Z]+)-->", lambda place: {**parts, **more}[place[1]], asset(form))


def entry(r: Row, index: dict[str, int]) -> list[Any]:
    """A row as the page has it: name, formula, value, adjoint, kind, and of each operand place, slope, term, rule."""
    args = [[index[o.name], shown(o.slope), shown(o.term), rule_of(r, o)] for o in r.args]
    return [r.name, r.formula, cell(r.value), shown(r.adjoint), r.kind, args]


def shown(value: Any) -> str | None:
    """A value as the page shows it, if there is one."""
    return None if value is None else cell(value)


def rule_of(r: Row, o: Operand) -> str | int:
    """How a term is computed, of arrays; the page writes that of numbers itself."""
    plain = isinstance(o.slope, float) and isinstance(o.term, float)
    return 0 if plain or (o.slope is not None and not np.ndim(o.slope) and not np.ndim(o.term)) else o.rule


# DOT


def as_dot(rows: Sequence[Row]) -> str:
    """A digraph with a box a row."""
    index = {r.name: k for k, r in enumerate(rows)}
    lines = ["digraph loss {", "  rankdir=LR;", "  node [shape=box, fontname=monospace];"]
    for k, r in enumerate(rows):
        adjoint = [] if r.adjoint is None else [f"dL/d{r.name} = {cell(r.adjoint)}"]
        label = "\\n".join(quoted(t) for t in [f"{r.name} = {r.formula}", cell(r.value), *adjoint])
        lines.append(f'  n{k} [label="{label}"];')
    for k, r in enumerate(rows):
        for o in r.args:
            label = "" if o.slope is None or np.ndim(o.slope) else f' [label="{short(o.slope)}"]'
            lines.append(f"  n{index[o.name]} -> n{k}{label};")
    return "\n".join([*lines, "}"])


def quoted(text: str) -> str:
    """A text inside a label."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
