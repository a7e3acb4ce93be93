"""Sparse derivatives, read off the graph: which entries of theta each entry depends on, and by what factor.

An array's derivative is a list of terms: for each of its entries one entry of theta, and a factor. Entry by entry
operations multiply the factors, what moves entries moves both. So what is a loop stays one, whatever its length, and
nothing is evaluated to find the pattern: it holds each entry that could be other than 0 for some values.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from gradcompile.diff.masks import times
from gradcompile.ir.algebra import add, astype, expand, is_add, part_at, reshape_to, zeros
from gradcompile.ir.core import Node, apply, is_const, node
from gradcompile.ir.graph import topological
from gradcompile.ir.types import ArrayType
from gradcompile.ops.constant_index import Affine, Places, Spec, is_pack, table, take
from gradcompile.ops.shape import Span, is_item, item
from gradcompile.signature.program import Pattern, size_of

Ints = np.ndarray
PLACING = frozenset({"pack", "scatter", "assemble"})
WIDEST = 64  # entries that one entry may depend on before its derivative is taken for dense


class Dense(Exception):
    """A derivative that has no terms: an entry depends on too many others, or in a way that is not followed."""


class Term(NamedTuple):
    """For each entry of an array an entry of theta, -1 for none, and the factor; a factor may be one for all."""

    columns: Ints
    factor: Node


Terms = list[Term]
Known = Mapping[Node, Terms]


class Sparse(NamedTuple):
    """A sparse matrix: its pattern, and the node of its data."""

    pattern: Pattern
    data: Node


# ---- forward, term by term


def terms_of(outputs: Iterable[Node], seeds: Mapping[Node, Terms]) -> dict[Node, Terms]:
    """The terms of every node below the outputs that depends on the seeds, which have theirs.

    Raises Dense where that can't be followed.
    """
    known = dict(seeds)
    for n in topological(outputs, seeds.__contains__):
        if n not in known and any(a in known for a in n.args):
            found = moved_terms(n, known)
            if found:
                known[n] = merged(found)
                if len(known[n]) > WIDEST:
                    raise Dense
    return known


def moved_terms(n: Node, known: Known) -> Terms:
    """The terms of a node, from those of its arguments."""
    shape = shape_of(n)
    if n.op.partials is not None:
        partials = n.op.partials(n)
        return [Term(np.broadcast_to(t.columns, shape), times(t.factor, p))
                for a, p in zip(n.args, partials, strict=True) if p is not None for t in known.get(a, ())]  # fmt: skip
    rule = RULES.get(n.op.name)
    if rule is None:
        raise Dense
    return rule(n, known)


def shape_of(n: Node) -> tuple[int, ...]:
    """The shape of a node; Dense where that depends on the inputs."""
    if any(isinstance(d, str) for d in n.type.shape):
        raise Dense
    return tuple(int(d) for d in n.type.shape)


def converted(n: Node, known: Known) -> Terms:
    """The terms of a value in another dtype."""
    kind = n.type.dtype
    return [t if t.factor.type.dtype == kind else Term(t.columns, astype(t.factor, kind)) for t in known[n.args[0]]]


def moved(n: Node, known: Known) -> Terms:
    """The terms of entries at other places: columns and factors go where they go."""
    (a,) = n.args
    return [
        Term(
            np.asarray(n.op.value(t.columns, *n.params)),
            node(n.op, [expand(t.factor, a.type.shape)], n.params) if t.factor.type.shape else t.factor,
        )
        for t in known[a]
    ]


def packed(n: Node, known: Known) -> Terms:
    """The terms of values put into one vector."""
    rows = [known.get(a, []) for a in n.args]
    sizes = [int(np.prod(shape_of(a), dtype=int)) for a in n.args]
    found = []
    for k in range(max(map(len, rows))):
        own = [r[k] if k < len(r) else None for r in rows]
        columns = [np.full(size, -1) if t is None else t.columns.ravel() for t, size in zip(own, sizes, strict=True)]
        factors = {t.factor for t in own if t is not None}
        if len(factors) == 1 and not next(iter(factors)).type.shape:
            factor = factors.pop()
        else:
            zero = [zeros(ArrayType(a.type.shape, n.type.dtype)) for a in n.args]
            factor = apply("pack", *(z if t is None else expand(t.factor, a.type.shape)
                                     for t, z, a in zip(own, zero, n.args, strict=True)))  # fmt: skip
        found.append(Term(np.concatenate(columns), factor))
    return found


def placed_all(n: Node, known: Known) -> Terms:
    """The terms of all values in their places of an array that is empty elsewhere."""
    return [t for k, a in enumerate(n.args) for t in placed(n, k, known.get(a, []))]


def placed(n: Node, k: int, terms: Terms) -> Terms:
    """The terms of one argument in its places of an array that is empty elsewhere."""
    places = places_of(n, k)
    if np.unique(places).size < places.size:
        raise Dense
    found = []
    for t in terms:
        columns = np.full(shape_of(n), -1)
        columns.ravel()[places.ravel()] = np.broadcast_to(t.columns, places.shape).ravel()
        factor = t.factor
        if factor.type.shape:
            params = n.params if n.op.name == "scatter" else (n.params[0], (n.params[1][k],))
            factor = node(n.op, [expand(factor, n.args[k].type.shape)], params)
        found.append(Term(columns, factor))
    return found


def places_of(n: Node, k: int) -> Ints:
    """Where the entries of one argument go, row-major, of an op that places entries."""
    shape = shape_of(n)
    if n.op.name == "scatter":
        spec: Spec = n.params[0]
        return spec.indices()
    whole = np.arange(int(np.prod(shape, dtype=int))).reshape(shape)
    if is_pack(n):
        sizes = [int(np.prod(shape_of(a), dtype=int)) for a in n.args[: k + 1]]
        return whole[sum(sizes[:k]) : sum(sizes)].reshape(shape_of(n.args[k]))
    return np.asarray(item(whole, n.params[1][k]))


def summed(n: Node, known: Known) -> Terms:
    """The terms of a sum over few entries: one for each of them."""
    terms = known[n.args[0]]
    axes, shape = n.params[0], shape_of(n.args[0])
    count = int(np.prod([shape[k] for k in axes], dtype=int))
    if count * len(terms) > WIDEST:
        raise Dense
    found = []
    for t in terms:
        for place in np.ndindex(*(shape[k] for k in axes)):
            index = tuple(place[axes.index(k)] if k in axes else None for k in range(len(shape)))
            at = tuple(slice(None) if i is None else i for i in index)
            factor = part_at(expand(t.factor, n.args[0].type.shape), index) if t.factor.type.shape else t.factor
            found.append(Term(np.asarray(t.columns[at]), factor))
    return found


RULES: dict[str, Callable[[Node, Known], Terms]] = {
    **dict.fromkeys(("item", "broadcast", "transpose", "reshape", "take"), moved),
    **dict.fromkeys(("assemble", "scatter"), placed_all),
    "cast": converted,
    "pack": packed,
    "sum": summed,
}


def merged(terms: Terms) -> Terms:
    """The terms, those with the same columns as one; without those that are 0."""
    groups: dict[bytes, list[Term]] = {}
    for t in terms:
        if not is_const(t.factor, 0.0) and t.columns.max(initial=-1) >= 0:
            groups.setdefault(np.ascontiguousarray(t.columns, np.int64).tobytes(), []).append(t)
    return [Term(own[0].columns, add(*(t.factor for t in own))) for own in groups.values()]


# ---- rows and columns of a matrix


class Block(NamedTuple):
    """Entries of a matrix: their rows and columns, -1 where there is none, and their values."""

    rows: Ints
    columns: Ints
    values: Node


def blocks_of(outputs: Sequence[Node], seeds: Mapping[Node, Terms]) -> list[Block]:
    """The derivative of outputs, which lie one after the other along the rows, as blocks."""
    starts = np.cumsum([0, *(int(np.prod(shape_of(o), dtype=int)) for o in outputs)])
    pending = [(o, np.arange(starts[k], starts[k + 1]).reshape(shape_of(o))) for k, o in enumerate(outputs)]
    leaves: list[tuple[Node, Ints]] = []
    entries: dict[Node, Ints] = {}
    while pending:
        n, rows = pending.pop()
        if is_add(n):
            pending += [(a, rows) for a in n.args if a.type.shape == n.type.shape]
            leaves += [(a, rows) for a in n.args if a.type.shape != n.type.shape]
        elif n.op.name in PLACING:
            pending += [(a, rows.ravel()[places_of(n, k)]) for k, a in enumerate(n.args)]
        elif is_item(n) and not n.type.shape and (is_add(n.args[0]) or n.args[0].op.name in PLACING):
            source = n.args[0]
            own = entries.setdefault(source, np.full(shape_of(source), -1))
            if own[n.params[0]] >= 0:
                leaves.append((n, rows))
            else:
                own[n.params[0]] = rows
        else:
            leaves.append((n, rows))
        if not pending and entries:
            pending, entries = list(entries.items()), {}
    known = terms_of([n for n, _ in leaves], seeds)
    return [
        Block(rows, np.broadcast_to(t.columns, rows.shape), t.factor) for n, rows in leaves for t in known.get(n, ())
    ]


def lower(blocks: Iterable[Block]) -> list[Block]:
    """The entries of blocks on and below the diagonal."""
    return [b._replace(columns=np.where(b.rows >= b.columns, b.columns, -1)) for b in blocks]


def filled_in(blocks: Sequence[Block], size: int) -> Node:
    """A symmetric matrix, row-major, of which blocks are the lower triangle."""
    entries = both_triangles(together(e for b in blocks if (e := kept(b)) is not None))
    places = [(e, e.keys((size, size), by_column=False)) for e in entries]
    return in_places(places, np.arange(size * size), blocks[0].values.type.dtype if blocks else "float64")


def diagonal_of(blocks: Sequence[Block], size: int, arrays: bool) -> Node:
    """The diagonal of a matrix of blocks."""
    own = [b._replace(columns=np.where(b.rows == b.columns, b.columns, -1)) for b in blocks]
    dtype = blocks[0].values.type.dtype if blocks else "float64"
    if arrays:
        return added(joined(own, False), size, dtype)
    places = [(e, e.rows) for e in together(e for e in map(kept, own) if e is not None)]
    return in_places(places, np.arange(size), dtype)


def both_triangles(own: Sequence["Entries"]) -> list["Entries"]:
    """Entries, and those on the other side of the diagonal."""
    return [*own, *(e for e in map(above, own) if e is not None)]


def sparse(blocks: Sequence[Block], shape: tuple[int, int], symmetric: bool, arrays: bool) -> Sparse:
    """The blocks as one matrix, compressed by rows; if symmetric, they are its lower triangle, and columns are.

    arrays: the data are computed block by block, and then put in order; else each has its place.
    """
    dtype = blocks[0].values.type.dtype if blocks else "float64"
    if arrays:
        return ordered(blocks, shape, symmetric, dtype)
    own = together(e for b in blocks if (e := kept(b)) is not None)
    entries = both_triangles(own) if symmetric else own
    places = [e.keys(shape, symmetric) for e in entries]
    keys = np.unique(flat(places))
    data = in_places(zip(entries, places, strict=True), keys, dtype)
    return Sparse(pattern_of(keys, shape, symmetric), data)


def ordered(blocks: Sequence[Block], shape: tuple[int, int], symmetric: bool, dtype: str) -> Sparse:
    """The blocks as one matrix whose data are computed block by block, and then put in order."""
    found = joined(blocks, symmetric)
    keys = keys_of(found.rows, found.columns, shape, symmetric)
    order = np.argsort(keys, kind="stable")
    unique, slots = np.unique(keys[order], return_inverse=True)
    sorted_ones = Joined(slots, found.columns[order], found.source[order], found.values)
    return Sparse(pattern_of(unique, shape, symmetric), added(sorted_ones, len(unique), dtype))


class Joined(NamedTuple):
    """Entries of a matrix one by one: their rows and columns, and where each is in a vector of values."""

    rows: Ints
    columns: Ints
    source: Ints
    values: Node


def joined(blocks: Sequence[Block], symmetric: bool) -> Joined:
    """The entries of blocks; if symmetric, of both triangles."""
    used = together(Entries(*b) for b in blocks if ((b.rows >= 0) & (b.columns >= 0)).any())
    sizes = [size_of(e.values.type.shape) for e in used]  # one value may be that of all entries
    starts = list(accumulate(sizes, initial=0))
    rows, columns = flat([e.rows for e in used]), flat([e.columns for e in used])
    source = flat([start + np.broadcast_to(np.arange(size).reshape(shape_of(e.values)), e.rows.shape)
                   for start, size, e in zip(starts, sizes, used, strict=False)])  # fmt: skip
    vectors = [reshape_to(e.values, (size,)) if e.values.type.shape else e.values
               for e, size in zip(used, sizes, strict=True)]  # fmt: skip
    places = tuple((Span(start, size) if v.type.shape else start,)
                   for start, size, v in zip(starts, sizes, vectors, strict=False))  # fmt: skip
    values = apply("assemble", *vectors, params=((starts[-1],), places)) if used else zeros(ArrayType((0,)))
    at = np.flatnonzero((rows >= 0) & (columns >= 0))
    off = at[rows[at] != columns[at]] if symmetric else at[:0]
    source = np.concatenate([source[at], source[off]])
    return Joined(np.concatenate([rows[at], columns[off]]), np.concatenate([columns[at], rows[off]]), source, values)


def added(entries: Joined, size: int, dtype: str) -> Node:
    """A vector of a size with the values of entries added up in their rows."""
    if not len(entries.rows):
        return zeros(ArrayType((size,), dtype))
    data = apply("gather", entries.values, table(entries.source, "int64"), params=(0,))
    if np.array_equal(entries.rows, np.arange(size)):
        return data
    return apply("scatter_add", data, table(entries.rows, "int64"), params=(0, (size,)))


def pattern_of(keys: Ints, shape: tuple[int, int], by_column: bool) -> Pattern:
    """The pattern of sorted keys."""
    width = shape[0] if by_column else shape[1]
    starts = np.searchsorted(keys, np.arange(shape[by_column] + 1) * width)
    return Pattern(shape, (keys % max(width, 1)).astype(np.int32), starts.astype(np.int32), not by_column)


def flat(places: Sequence[Ints]) -> Ints:
    """All places, one after the other."""
    found: Ints = np.concatenate([np.zeros(0, int), *(p.ravel() for p in places)])
    return found


def in_places(found: "Iterable[tuple[Entries, Ints]]", keys: Ints, dtype: str) -> Node:
    """The data of a matrix, each entry in its place among the keys."""
    terms: list[Node] = []
    single: dict[int, list[Node]] = {}
    for e, own in found:
        slots = np.searchsorted(keys, own)
        if slots.shape:
            spec = rule(slots) or Places(tuple(slots.ravel().tolist()))
            values = e.values if e.values.type.shape == spec.shape else reshape_to(e.values, spec.shape)
            terms.append(apply("scatter", values, params=(spec, len(keys))))
        else:
            single.setdefault(int(slots), []).append(e.values)
    if single:
        places = tuple((slot,) for slot in single)
        terms.append(apply("assemble", *(add(*own) for own in single.values()), params=((len(keys),), places)))
    return add(*terms) if terms else zeros(ArrayType((len(keys),), dtype))


def above(e: "Entries") -> "Entries | None":
    """The same values on the other side of the diagonal; None if all of them are on it."""
    return kept(Block(e.columns, np.where(e.rows == e.columns, -1, e.rows), e.values))


class Entries(NamedTuple):
    """Entries of a matrix: their rows and columns, and their values, of one shape."""

    rows: Ints
    columns: Ints
    values: Node

    def keys(self, shape: tuple[int, int], by_column: bool) -> Ints:
        """Where the entries are among all of a matrix, column by column or row by row."""
        return keys_of(self.rows, self.columns, shape, by_column)


def keys_of(rows: Ints, columns: Ints, shape: tuple[int, int], by_column: bool) -> Ints:
    """Where entries are among all of a matrix, column by column or row by row."""
    found: Ints = columns * shape[0] + rows if by_column else rows * shape[1] + columns
    return found


def together(entries: Iterable[Entries]) -> list[Entries]:
    """Entries, those at the same places as one."""
    groups: dict[tuple[tuple[int, ...], bytes, bytes], list[Entries]] = {}
    for e in entries:
        groups.setdefault((e.rows.shape, e.rows.tobytes(), e.columns.tobytes()), []).append(e)
    return [own[0]._replace(values=add(*(e.values for e in own))) for own in groups.values()]


def kept(b: Block) -> Entries | None:
    """The entries of a block that are there; None if there are none."""
    own = (b.rows >= 0) & (b.columns >= 0)
    if not own.any():
        return None
    values = expand(b.values, own.shape)
    if own.all():
        return Entries(b.rows, b.columns, values)
    places = np.flatnonzero(own)
    flat = values if own.ndim == 1 else reshape_to(values, (own.size,))
    return Entries(b.rows[own], b.columns[own], take(flat, rule(places) or Places(tuple(places.tolist()))))


def rule(places: Ints) -> Affine | None:
    """The rule that places follow, None if they follow none."""
    axes = []
    for k, count in enumerate(places.shape):
        at = [0] * places.ndim
        at[k] = min(1, count - 1)
        axes.append((count, int(places[tuple(at)]) - int(places.flat[0])))
    found = Affine(int(places.flat[0]), tuple(axes))
    return found if np.array_equal(found.indices(), places) else None
