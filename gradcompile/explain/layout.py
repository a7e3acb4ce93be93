"""Where the nodes of a drawing stand: long graphs are folded, then laid out in layers from the leaves to the loss."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from gradcompile.errors import ArgumentError
from gradcompile.explain.rows import Row

MOST = 400  # boxes that one looks at together
NEAR = 40  # rows at the loss that are never folded
CURE = "pip install 'gradcompile[pictures]', or write a .dot file, which needs nothing"


class Place(NamedTuple):
    """Where a box stands: its layer from the leaves, and where in it, in widths of a box."""

    layer: int
    at: float


class Frame(NamedTuple):
    """What is drawn apart, as the body of a scan: its title, and the places of its left upper and right lower box."""

    title: str
    first: Place
    last: Place


class Layout(NamedTuple):
    """Boxes and lines: of each box its rows, of each line the two boxes and the places that it goes through."""

    boxes: list[list[int]]
    places: list[Place]
    lines: list[tuple[int, int, list[Place]]]
    frames: list[Frame]


def folded(order: Sequence[int]) -> list[list[int]]:
    """The rows of each box: one, or a run of rows where there are too many.

    Runs of an order in which operands come first are subexpressions, and no two of them need each other.

    >>> folded(range(3)), len(folded(range(10_000))), sum(map(len, folded(range(10_000))))
    ([[0], [1], [2]], 400, 10000)
    """
    if len(order) <= MOST:
        return [[k] for k in order]
    rest, runs = len(order) - NEAR, MOST - NEAR
    bounds = [rest * k // runs for k in range(runs + 1)]
    return [list(order[a:b]) for a, b in pairwise(bounds)] + [[k] for k in order[rest:]]


def by_use(operands: Sequence[Sequence[int]]) -> list[int]:
    """The rows in order, but what has no operands just before the first row that it is one of.

    >>> by_use([[], [], [1], [0, 2]])
    [1, 2, 0, 3]
    """
    found: dict[int, None] = {}
    for k, own in enumerate(operands):
        if own:
            found |= dict.fromkeys([*(j for j in own if not operands[j]), k])
    return [*found, *(k for k in range(len(operands)) if k not in found)]


def laid_out(rows: Sequence[Row], groups: Mapping[str, range] = MappingProxyType({})) -> Layout:
    """The layout of the rows of an explanation; the rows of each group are framed below the others."""
    framed = {k for own in groups.values() for k in own}
    found = Layout([], [], [], [])
    for title, own in {"": [k for k in range(len(rows)) if k not in framed], **groups}.items():
        part = part_of([rows[k] for k in own])
        down = max((p.at for p in found.places), default=-1.0) + (1.9 if title else 1.0)
        moved = [Place(p.layer, p.at + down) for p in part.places]
        start = len(found.boxes)
        found.boxes.extend([[own[k] for k in members] for members in part.boxes])
        found.lines.extend((a + start, b + start, [Place(p.layer, p.at + down) for p in way])
                           for a, b, way in part.lines)  # fmt: skip
        found.places.extend(moved)
        if title and moved:
            ends = [Place(f(p.layer for p in moved), f(p.at for p in moved)) for f in (min, max)]
            found.frames.append(Frame(title, *ends))
    return found


def part_of(rows: Sequence[Row]) -> Layout:
    """The layout of rows by themselves."""
    index = {r.name: k for k, r in enumerate(rows)}
    operands = [[index[o.name] for o in r.args if o.name in index] for r in rows]
    boxes = folded(by_use(operands))
    box_of = {r: b for b, members in enumerate(boxes) for r in members}
    edges = {(box_of[j], box_of[k]) for k, own in enumerate(operands) for j in own}
    return arranged(boxes, sorted((a, b) for a, b in edges if a != b))


def arranged(boxes: list[list[int]], edges: Sequence[tuple[int, int]]) -> Layout:
    """Places by layers, with few crossings; a line that passes layers has a place in each."""
    linked = sorted({k for edge in edges for k in edge})
    number = {k: j for j, k in enumerate(linked)}
    ways, count = trunks([(number[a], number[b]) for a, b in edges], len(linked))
    positions, parts = drawn(sorted({e for way in ways for e in pairwise(way)}), count)
    alone = [k for k in range(len(boxes)) if k not in number]
    bottom = max((p.at for p in positions.values()), default=-1.0)
    places = {k: Place(0, bottom + 1 + j) for j, k in enumerate(alone)}
    places |= {k: positions[j] for k, j in number.items()}
    lines = []
    for a, b, way in zip(*zip(*edges, strict=True), ways, strict=True) if edges else ():
        passed = [way[0], *(v for e in pairwise(way) for v in parts[e][1:])]
        lines.append((a, b, bends([positions[v] for v in passed])))
    return Layout(boxes, [places[k] for k in range(len(boxes))], lines, [])


def trunks(edges: Sequence[tuple[int, int]], count: int) -> tuple[list[list[int]], int]:
    """What each line goes through, and the number of vertices with these: lines from one vertex run together.

    They leave a trunk, which has a vertex a layer, one layer before they end. So a parameter that a thousand nodes use
    has as many vertices as there are layers, not as many for each line.

    >>> trunks([(0, 1), (0, 2), (0, 3), (1, 2), (2, 3)], 4)
    ([[0, 1], [0, 4, 2], [0, 4, 5, 3], [1, 2], [2, 3]], 6)
    """
    ends: dict[int, list[int]] = {}
    for a, b in edges:
        ends.setdefault(a, []).append(b)
    layer = [0] * count
    for a, b in sorted(edges):  # operands come before what is made of them
        layer[b] = max(layer[b], layer[a] + 1)
    made = {b for _, b in edges}
    trunk: dict[int, list[int]] = {}
    for a, own in ends.items():
        start = layer[a] if a in made else min(layer[b] for b in own) - 1
        layer[a] = start
        length = max(layer[b] for b in own) - start - 1 if len(own) > 1 else 0
        trunk[a] = list(range(count, count + length))
        count += length
    return [[a, *trunk[a][: layer[b] - layer[a] - 1], b] for a, b in edges], count


def drawn(edges: Sequence[tuple[int, int]], count: int) -> tuple[dict[int, Place], dict[tuple[int, int], list[int]]]:
    """Positions of vertices, and of those that stand for a line where it passes a layer; and the ways of the lines."""
    if not edges:
        return {}, {}
    try:
        import fast_sugiyama
    except ImportError:
        raise ArgumentError(f"a drawing needs fast-sugiyama, which is not installed: {CURE}") from None
    places: dict[int, Place] = {}
    ways: dict[tuple[int, int], list[int]] = {}
    start = 0.0
    parts: Any = fast_sugiyama.from_edges(edges, vertex_spacing=1, dummy_vertices=True)
    for found, width, _, lines in parts:
        heights = {y: k for k, y in enumerate(sorted({y for _, (_, y) in found}, reverse=True))}
        places |= {v: Place(heights[y], start + x) for v, (x, y) in found}
        ways |= {(a, b): way for a, b, way in traced(lines if lines is not None else edges, count)}
        start += width + 1
    return places, ways


def bends(way: Sequence[Place]) -> list[Place]:
    """Where a line begins, turns and ends: of what it passes straight on, only the ends.

    >>> [p.layer for p in bends([Place(0, 0.0), Place(1, 1.0), Place(2, 1.0), Place(3, 1.0), Place(4, 0.0)])]
    [0, 1, 3, 4]
    """
    inner = [p for before, p, after in zip(way, way[1:], way[2:]) if not before.at == p.at == after.at]  # noqa: B905
    return [way[0], *inner, way[-1]]


def traced(lines: Iterable[tuple[int, int]], count: int) -> list[tuple[int, int, list[int]]]:
    """Each line from vertex to vertex, with what it passes.

    >>> traced([(0, 5), (5, 6), (6, 1), (0, 1)], 2)
    [(0, 1, [0, 1]), (0, 1, [0, 5, 6, 1])]
    """
    following: dict[int, int] = {}
    starts = []
    for a, b in lines:
        if a < count:
            starts.append((a, b))
        else:
            following[a] = b
    found: list[tuple[int, int, list[int]]] = []
    for a, b in sorted(starts):
        way = [a, b]
        while way[-1] >= count:
            way.append(following[way[-1]])
        found.append((a, way[-1], way))
    return found
