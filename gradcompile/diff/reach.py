"""Which entries of theta each entry of an array depends on: the pattern of a derivative, from the graph alone.

What is known of a node is a sorted set of pairs (entry, entry of theta). Every op has a rule; where one can't tell,
each entry depends on all that an argument depends on, so a pattern is never too small. An axis whose length is known at
the call alone counts as one entry, as all samples depend on the same.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from gradcompile.analysis.evaluate import evaluate, np_values
from gradcompile.diff.sparsity import Block
from gradcompile.ir.algebra import sum_over
from gradcompile.ir.core import Node, is_leaf, leaf, node
from gradcompile.ir.graph import topological
from gradcompile.ops.constant_index import is_pack, is_take
from gradcompile.ops.contract import is_dot
from gradcompile.ops.shape import is_assemble

Ints = np.ndarray
Shape = tuple[int, ...]
LARGEST = 20_000_000  # products of a contraction that are looked at one by one


class Pairs(NamedTuple):
    """Places of a matrix: rows, and columns below a width."""

    rows: Ints
    columns: Ints
    width: int


def within(blocks: Iterable[Block], pairs: Pairs) -> list[Block]:
    """Blocks without the entries that are not among some places."""
    keys = pairs.rows * pairs.width + pairs.columns
    return [
        b._replace(columns=np.where(np.isin(b.rows * pairs.width + b.columns, keys), b.columns, -1)) for b in blocks
    ]


def products(left: tuple[Ints, Ints], right: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """The columns of a pair of entries whose rows are the same, of places that are sorted by rows."""
    first = np.searchsorted(right[0], left[0])
    counts = np.searchsorted(right[0], left[0], side="right") - first
    at = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    return np.repeat(left[1], counts), right[1][at]


class Reach:
    """What the entries of nodes depend on, of width entries of theta; pairs are numbers entry*width + column."""

    def __init__(self, outputs: Sequence[Node], seeds: Mapping[Node, Ints], width: int) -> None:
        self.width = width
        self.known = {n: np.arange(columns.size) * width + columns.ravel() for n, columns in seeds.items()}
        order = topological(outputs, seeds.__contains__)
        self.fixed = without_leaves(order)
        self.numbers: dict[Node, np.ndarray] = {}
        for n in order:
            if not n.op.is_copy and n.type.dtype.startswith("float") and any(a in self.known for a in n.args):
                pairs = self.rule(n)(n)
                if pairs.size:
                    self.known[n] = pairs

    def of(self, n: Node) -> tuple[Ints, Ints]:
        """The pairs of a node: entries, and entries of theta."""
        pairs = self.known.get(n, np.zeros(0, int))
        return pairs // self.width, pairs % self.width

    def rule(self, n: Node) -> Callable[[Node], Ints]:
        """How the pairs of a node follow from those of its arguments."""
        if n.op.partials is not None:
            return self.entry_by_entry
        if is_dot(n):
            return self.product
        names = {d for a in (n, *n.args) for d in a.type.shape if isinstance(d, str)}
        others = [a for a in n.args[1:] if not is_assemble(n) and not is_pack(n)]
        if any(not d.isidentifier() for d in names) or not self.fixed.issuperset(others):
            return self.whole
        if is_assemble(n) or is_pack(n):
            return self.put_together
        if n.op.is_reduction or moves_entries(n):
            return self.moved
        if n.op.is_linear and n.op.along_axes:
            return self.running
        return self.each_matrix if n.op.routine_axes is not None and len(n.args) == 1 else self.whole

    # ---- rules

    def whole(self, n: Node) -> Ints:
        """Each entry depends on all that the arguments depend on."""
        columns = np.unique(np.concatenate([self.known[a] % self.width for a in n.args if a in self.known]))
        return pairs_of(np.repeat(np.arange(entries(n)), columns.size), np.tile(columns, entries(n)), self.width)

    def each_matrix(self, n: Node) -> Ints:
        """Each entry of what a routine makes of a matrix or a row depends on all of that one."""
        axes = n.op.routine_axes
        assert axes is not None
        leading = shape_of(n)[: len(shape_of(n)) - axes]
        own, made = (places(x).reshape(prod(leading), -1) for x in (n.args[0], n))
        pairs = np.broadcast_arrays(own[:, None, :], made[:, :, None])
        return self.selected(n.args[0], *(p.ravel() for p in pairs))

    def entry_by_entry(self, n: Node) -> Ints:
        """Each entry depends on what the same entry of an argument depends on, unless its slope is 0."""
        found = []
        assert n.op.partials is not None
        for a, p in zip(n.args, n.op.partials(n), strict=True):
            if p is not None and a in self.known:
                source = np.broadcast_to(places(a), shape_of(n)).ravel()
                at = np.arange(source.size)
                kept = self.nonzero(p, n)
                found.append(self.selected(a, source[kept], at[kept]))
        return merged(found)

    def nonzero(self, factor: Node, n: Node) -> Ints:
        """Where a factor of the entries of a node is not a number that is 0."""
        number = self.number(factor)
        return np.full(entries(n), True) if number is None else np.broadcast_to(number != 0, shape_of(n)).ravel()

    def number(self, n: Node) -> np.ndarray | None:
        """The value of a node without leaves, None of any other."""
        if not (n in self.fixed or n.op.is_const):
            return None
        if n not in self.numbers:
            self.numbers[n] = np.asarray(evaluate([n], {})[0])
        return self.numbers[n]

    def moved(self, n: Node) -> Ints:
        """An op that moves entries or adds some up, which its transpose then copies."""
        a = n.args[0]
        if n.op.shows_entries or n.op.picks_entries or is_take(n):
            given = leaf("places", a.type)
            shown = node(n.op, [given, *n.args[1:]], n.params)
            return self.selected(a, self.shown(shown, given, a), places(n).ravel())
        return self.selected(a, places(a).ravel(), self.received(n, 0))

    def put_together(self, n: Node) -> Ints:
        """Arguments in their places."""
        return merged([self.selected(a, places(a).ravel(), self.received(n, k))
                       for k, a in enumerate(n.args) if a in self.known])  # fmt: skip

    def received(self, n: Node, k: int) -> Ints:
        """Where each entry of an argument goes: what the transpose copies to it."""
        given = leaf("places", n.type)
        like = n if n.op.is_linear else sum_over(n.args[0], n.params[0])
        assert like.op.vjp is not None
        back = like.op.vjp(given, like)[k]
        assert back is not None
        return self.shown(back, given, n)

    def shown(self, n: Node, given: Node, like: Node) -> Ints:
        """The places of a node's entries that an op shows."""
        names = {d for x in (n, given, *n.args) for d in x.type.shape if isinstance(d, str)}
        found = np_values([n], {given: places(like)}, dict.fromkeys(names, 1))[n]
        return np.asarray(found).astype(int).ravel()

    def running(self, n: Node) -> Ints:
        """Running sums: each entry depends on those before it, or after it."""
        a, (axis, backward) = n.args[0], n.params
        own = np.moveaxis(places(a), axis, -1)
        length = own.shape[-1]
        pairs = np.triu_indices(length) if not backward else np.tril_indices(length)
        source, at = (own[..., k].ravel() for k in pairs)
        return self.selected(a, source, at)

    def product(self, n: Node) -> Ints:
        """A contraction: each entry depends on the entries that are multiplied for it."""
        labels = [*n.params[2], *sorted({*n.params[0], *n.params[1]} - {*n.params[2]})]
        sizes = {k: d for a, own in zip(n.args, n.params, strict=False) for k, d in zip(own, shape_of(a), strict=True)}
        full = tuple(sizes[k] for k in labels)
        if prod(full) > LARGEST:
            return self.whole(n)
        sources = [spread(places(a), own, labels, full) for a, own in zip(n.args, n.params, strict=False)]
        at, found = spread(places(n), n.params[2], labels, full), []
        for k, (a, other) in enumerate([n.args, n.args[::-1]]):
            if a in self.known:
                number = self.number(other)
                kept = np.full(at.size, True) if number is None else number.ravel()[sources[1 - k]] != 0
                found.append(self.selected(a, sources[k][kept], at[kept]))
        return merged(found)

    def selected(self, a: Node, source: Ints, at: Ints) -> Ints:
        """The pairs of places that depend on what entries of an argument depend on."""
        pairs = self.known[a]
        starts = np.searchsorted(pairs, np.arange(entries(a) + 1) * self.width)
        counts = np.diff(starts)[source]
        first = np.repeat(starts[source] - np.cumsum(counts) + counts, counts)
        columns = pairs[first + np.arange(counts.sum())] % self.width
        return np.unique(pairs_of(np.repeat(at, counts), columns, self.width))


def moves_entries(n: Node) -> bool:
    """Whether an op moves entries of its argument to other places, and computes nothing but sums of them."""
    op = n.op
    return op.shows_entries or op.picks_entries or op.transpose_copies or is_take(n)


def without_leaves(order: Iterable[Node]) -> set[Node]:
    """The nodes that no leaf is below, whose shape is known."""
    found: set[Node] = set()
    for n in order:
        if not is_leaf(n) and found.issuperset(n.args) and not any(isinstance(d, str) for d in n.type.shape):
            found.add(n)
    return found


def shape_of(n: Node) -> Shape:
    """The shape of a node, one entry along named dimensions."""
    return tuple(1 if isinstance(d, str) else int(d) for d in n.type.shape)


def entries(n: Node) -> int:
    """The number of entries."""
    return prod(shape_of(n))


def places(n: Node) -> Ints:
    """The places of the entries, row-major, in the shape of the node."""
    return np.arange(entries(n)).reshape(shape_of(n))


def pairs_of(rows: Ints, columns: Ints, width: int) -> Ints:
    """Pairs as numbers."""
    found: Ints = rows * width + columns
    return found


def merged(parts: Sequence[Ints]) -> Ints:
    """All pairs, each once."""
    return np.unique(np.concatenate([np.zeros(0, int), *parts])) if len(parts) != 1 else parts[0]


def spread(own: Ints, labels: Sequence[int], all_labels: Sequence[int], shape: Shape) -> Ints:
    """Places by the labels of their axes, repeated over all labels."""
    order = sorted(range(len(labels)), key=lambda k: all_labels.index(labels[k]))
    index = tuple(slice(None) if k in labels else None for k in all_labels)
    return np.broadcast_to(own.transpose(order)[index], shape).ravel()
