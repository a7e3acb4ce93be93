"""Adjoints from behind branches: select(c, a, 0) is nothing where c is false, whatever a is there.

Conditions are joined, copied and looked for along axes as the adjoints are that they belong to. `Care` says where one
has to be kept, as 0 times an infinity is NaN.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradcompile.analysis.bounds import SMALL, lower_bounds
from gradcompile.ir.algebra import (
    add,
    all_of,
    any_of,
    broadcast_to,
    expand,
    greater,
    is_div,
    is_lt,
    is_ne,
    is_neg,
    is_not,
    is_select,
    ones_where,
    part_at,
    select,
    sum_over,
)
from gradcompile.ir.core import Node, is_const, is_leaf
from gradcompile.ir.graph import depends_on, operands, topological
from gradcompile.ir.types import Shape
from gradcompile.ops.constant_index import is_pack
from gradcompile.ops.gather import is_argsort, is_gather, is_scatter_add
from gradcompile.ops.shape import Span, coverage, is_assemble, is_broadcast, is_iota, is_item, places
from gradcompile.ops.window import is_window

# Where care has to be taken


class Care:
    """Where something comes from behind a branch, which nodes it has to be kept from.

    All is kept from `wild` nodes, which may be infinite or NaN where the leaves are finite. What a selection of the
    loss itself left out is kept from whatever depends on a leaf: data that are left out may be NaN. A tie or a
    maximum needs no such care, so networks pay nothing: where they leave a NaN out, the loss is NaN.
    Where the slope of a node that `settles` is 0, as that of exp(-exp(x)), nothing of its argument comes back, whose
    own may be infinite.

    loose: leaves that may be infinite or NaN though those of the loss are finite.  chosen: conditions of selections.
    """

    def __init__(self, order: Sequence[Node], loose: Iterable[Node] = (), chosen: Iterable[Node] = ()) -> None:
        self.least = least = lower_bounds(order)
        self.wild = may_be_nonfinite(order, least, loose)
        self.settles = settling(order, least)
        self.fed = depends_on(order, [n for n in order if is_leaf(n) and n.type.dtype.startswith("float")])
        self.known = dict.fromkeys(order, False)
        given = [*(n.args[0] for n in order if is_selection(n)), *chosen]
        stems = [stem(c)[0] for c in given]
        self.known |= dict.fromkeys([*given, *stems, *(s.args[0] for s in stems if is_not(s))], True)
        for n in reversed(order):
            if self.known[n] and n.op.is_connective:
                self.known |= dict.fromkeys(n.args, True)

    def is_chosen(self, condition: Node) -> bool:
        """Whether a condition is one by which the loss selects, or made of such."""
        for n in topological([condition], self.known.__contains__):
            self.known[n] = any(self.known[a] for a in n.args)
        return self.known[condition]

    def keeps(self, adjoint: Node, n: Node) -> bool:
        """Whether an adjoint stays behind its branch on the way to the values of a node."""
        return is_masked(adjoint) and (n in self.wild or (n in self.fed and self.is_chosen(adjoint.args[0])))


def is_selection(n: Node) -> bool:
    """Whether a node may leave a NaN out: it is the user's, and does not hand it on, as `0 if x <= 0 else x` does."""
    if not is_select(n) or n.params:
        return False
    condition, _, other = n.args
    number = other.args[0] if is_broadcast(other) else other
    hands_on = condition.op.is_comparison and not is_ne(condition) and other in condition.args and not is_const(number)
    return not hands_on


def settling(order: Sequence[Node], least: Mapping[Node, float]) -> set[Node]:
    """The nodes whose slope is 0 where that of their argument may be infinite, as it overflows or divides by 0.

    Divisors are looked at outside loops over data alone, where looking costs nothing.
    """
    found: set[Node] = set()
    for n in order:
        is_pole = is_div(n) and not n.type.shape and -SMALL < least[n.args[1]] < SMALL
        if is_pole or is_steep(n, least) or (n.op.is_arithmetic and not found.isdisjoint(n.args)):
            found.add(n)
    return {n for n in order if n.op.settles and not found.isdisjoint(n.args)}


def is_steep(n: Node, least: Mapping[Node, float]) -> bool:
    """Whether a node may overflow where its argument is of ordinary size; exp(-x) does not where x is above 0."""
    return n.op.overflows and not all(is_neg(a) and least[a.args[0]] >= 0 for a in n.args)


def may_be_nonfinite(order: Sequence[Node], least: Mapping[Node, float], loose: Iterable[Node] = ()) -> set[Node]:
    """The nodes that may be infinite or NaN where the leaves are finite, but for those that are loose.

    Quotients, roots and logarithms of what stays above zero, as a variance plus a small number, are not among them.
    """
    return depends_on(order, [*loose, *(n for n in order if not (is_tame(n) or is_bounded_away_from_zero(n, least)))])


def is_tame(n: Node) -> bool:
    """Whether a node is finite where its arguments are, overflow apart; a loop, if its steps are."""
    if n.op.is_loop:
        return all(map(is_tame, topological(n.params[0].roots)))
    return n.op.keeps_finite


def is_bounded_away_from_zero(n: Node, least: Mapping[Node, float]) -> bool:
    """Whether a node is infinite at 0 alone, and its argument, or divisor, stays above that."""
    return n.op.pole_at_zero and least[n.args[-1]] >= SMALL


def is_stored(n: Node) -> bool:
    """Whether a value comes from outside, as a leaf, an entry of one, or a vector of them: nothing lies behind."""
    return not n.args or ((is_item(n) or is_pack(n)) and all(not a.args for a in n.args))


# Products and sums of what comes from behind branches


def is_masked(x: Node) -> bool:
    """Whether an adjoint or partial has the form select(c, a, 0): nothing behind a branch that was not taken."""
    return is_select(x) and is_const(x.args[2], 0.0)


def masked(condition: Node, x: Node) -> Node:
    """select(condition, x, 0), with nested conditions joined so that the depth stays one."""
    own, shape = condition.type.shape, x.type.shape
    if own and len(own) == len(shape) and all(d in (1, s) for d, s in zip(own, shape, strict=True)):
        condition = expand(condition, shape)  # one node for one condition, along whatever it is repeated
    condition = bare(condition)
    if is_masked(x):
        inner, x = x.args[0], x.args[1]
        condition = condition if inner is condition else condition & inner
    return select(condition, x, 0.0)


def times(adjoint: Node, partial: Node) -> Node:
    """adjoint * partial; a branch not taken in either is not taken in the product.

    select(c, a, 0) * p = select(c, a*p, 0).

    So a NaN or an infinity on the other side of a branch can't reach the result.
    """
    if is_masked(partial):
        return masked(partial.args[0], times(adjoint, partial.args[1]))
    if is_masked(adjoint):
        return masked(adjoint.args[0], times(adjoint.args[1], partial))
    if is_const(partial, 1.0):
        return adjoint
    if is_const(partial, -1.0):
        return -adjoint
    if is_const(adjoint, 1.0):
        return partial
    if is_neg(partial):
        return -times(adjoint, partial.args[0])
    if is_div(partial) and is_const(partial.args[0], 1.0):
        return adjoint / partial.args[1]
    return adjoint * partial


def multiple(count: int, x: Node) -> Node:
    """count*x, as x*x sends back its adjoint twice; behind a branch it stays there."""
    if count == 1:
        return x
    return masked(x.args[0], float(count) * x.args[1]) if is_masked(x) else float(count) * x


def total(parts: Sequence[Node]) -> Node:
    """The sum of adjoints; those that come out of branches stay behind the union of their conditions."""
    if len(parts) == 1:
        return parts[0]
    parts = whole_again(parts)
    if len(parts) == 1:
        return parts[0]
    if not all(map(is_masked, parts)):
        return add(*map(unpicked, parts))
    groups: dict[Node, list[Node]] = {}
    for p in parts:
        groups.setdefault(p.args[0], []).append(p.args[1])
    sums = both_ways({c: add(*values) for c, values in groups.items()})
    whole = [value if c is None else masked(c, value) for c, value in sums]
    if len(whole) == 1:
        return whole[0]
    if any(c is None for c, _ in sums):
        return add(*map(unpicked, whole))
    return masked(either([c for c, _ in sums if c is not None]), add(*whole))


def both_ways(sums: Mapping[Node, Node]) -> list[tuple[Node | None, Node]]:
    """Pairs that differ in one condition, which one needs and the other excludes, as one: select(c, a, b)."""
    found: dict[frozenset[Node], tuple[tuple[Node, ...], Node]] = {}
    for condition, value in sums.items():
        needs = tuple(operands(condition, "and"))
        while (pair := opposite(needs, found)) is not None:
            c, key = pair
            _, other = found.pop(key)
            value = select(c.args[0], other, value) if is_not(c) else select(c, value, other)
            needs = tuple(n for n in needs if n is not c)
        key = frozenset(needs)
        found[key] = (needs, found[key][1] + value if key in found else value)
    return [(joint(needs), value) for needs, value in found.values()]


def opposite(needs: Sequence[Node], found: Mapping[frozenset[Node], object]) -> tuple[Node, frozenset[Node]] | None:
    """One of several conditions, and the key of the same with its contrary."""
    for c in needs:
        contrary = c.args[0] if is_not(c) else ~c
        key = frozenset((*(n for n in needs if n is not c), contrary))
        if key in found:
            return c, key
    return None


def joint(needs: Sequence[Node]) -> Node | None:
    """All of the conditions; None if there are none."""
    return all_of(*needs) if needs else None


def either(conditions: Sequence[Node]) -> Node:
    """One of the conditions; the places of several picks are counted in one array."""
    counts = [c.args[1] for c in conditions if is_pick(c)]
    rest = [c for c in conditions if not is_pick(c)]
    if len(counts) > 1 and len({c.type for c in counts}) == 1:
        rest, counts = [*rest, positive(add(*counts))], []
    rest += map(positive, counts)
    return any_of(*rest)


# Entries that are picked


def positive(count: Node) -> Node:
    """Where a count is not 0."""
    return greater(count, 0.0)


def is_count(n: Node) -> bool:
    """Whether a node says by ones in their places which entries were picked."""
    return all(map(is_ones_in_places, operands(n, "add")))


def is_ones_in_places(n: Node) -> bool:
    """Whether a node puts ones in places, and has 0 elsewhere."""
    values = n.args if is_assemble(n) else n.args[:1]
    return n.op.places_entries and all(is_const(v.args[0] if is_broadcast(v) else v, 1.0) for v in values)


def is_pick(condition: Node) -> bool:
    """Whether a condition holds where entries were picked."""
    return is_lt(condition) and is_const(condition.args[0], 0.0) and is_count(condition.args[1])


def whole_again(parts: Sequence[Node]) -> Sequence[Node]:
    """Adjoints of picked entries that are all there are between them, under equal conditions, as one."""
    groups: dict[frozenset[Node], list[tuple[Node, Node, Sequence[Node]]]] = {}
    for p in parts:
        needs = operands(p.args[0], "and") if is_masked(p) else []
        picks = [c for c in needs if is_pick(c)]
        if len(picks) == 1 and unpicked(masked(picks[0], p.args[1])) is p.args[1]:
            rest = [c for c in needs if c is not picks[0]]
            groups.setdefault(frozenset(rest), []).append((p, picks[0].args[1], rest))
    found = list(parts)
    for group in groups.values():
        if len(group) > 1 and is_whole([count for _, count, _ in group]):
            value, condition = add(*(p.args[1] for p, *_ in group)), joint(group[0][2])
            members = {p for p, *_ in group}
            found = [p for p in found if p not in members]
            found.append(value if condition is None else masked(condition, value))
    return found


def is_whole(counts: Sequence[Node]) -> bool:
    """Whether the places that were picked, as far as the graph says which, are all of their shape between them.

    >>> from gradcompile.ir.algebra import assemble
    >>> from gradcompile.ir.core import const
    >>> ones = broadcast_to(const(1.0), ("n", 2), ())
    >>> left, right = (assemble([ones], ("n", 4), ((None, Span(k, 2)),)) for k in (0, 2))
    >>> is_whole([left]), is_whole([left, right])
    (False, True)
    """
    found = [x for c in counts for x in operands(c, "add") if is_assemble(x)]
    indices = [index for x in found for index in x.params[1]]
    shape = found[0].type.shape if found else ()
    met = coverage(shape, indices)
    return met is not None and bool(met.all())


def unpicked(x: Node) -> Node:
    """What was put in the places that were picked, without the condition: it is 0 elsewhere anyway."""
    if not (is_masked(x) and is_pick(x.args[0])):
        return x
    count, value = x.args[0].args[1], x.args[1]
    same = value.op is count.op and value.params == count.params
    return value if same and (is_assemble(count) or value.args[1:] == count.args[1:]) else x


def is_cover(n: Node) -> bool:
    """Whether a picking op leaves no entry out: in another order, or windows that touch."""
    if is_window(n):
        return bool(n.params[2] == 1)
    indices = [a.args[0] if is_broadcast(a) else a for a in n.args[1:]]
    return is_gather(n) and n.type.shape == n.args[0].type.shape and all(is_iota(i) or is_argsort(i) for i in indices)


# Conditions along axes


def bare(condition: Node) -> Node:
    """A condition without what was done and undone again on its way: entries of what repeats it, say.

    So equal conditions that came by different ways are one node.

    >>> from gradcompile.ir.core import leaf
    >>> from gradcompile.ir.types import ArrayType
    >>> c = greater(leaf("a", ArrayType(("n",))), 1.0)
    >>> bare(part_at(~~broadcast_to(c, ("n", 3), (0,)), (None, 2))) is c
    True
    """
    base, at = stem(condition)
    shape = condition.type.shape
    return broadcast_to(base, shape, at) if at and at != tuple(range(len(shape))) else base


def stem(condition: Node) -> tuple[Node, tuple[int, ...]]:
    """What a condition repeats, and which of its axes are those of that.

    On the way down each axis of what is met is an axis of the condition or None, with a place, places or None for all.
    """
    axes: list[Any] = [(k, None) for k in range(len(condition.type.shape))]
    x, negated = condition, False
    doubtful: tuple[Node, list[Any], bool] | None = None  # before 0 < x, until x is 1 where something holds, else 0
    while True:
        if is_broadcast(x):
            axes = [axes[k] for k in places(x.params, len(x.args[0].type.shape))]
        elif is_item(x) and all(place is None for _, place in axes):
            kept = iter(axes)
            axes = [(next(kept)[0], k) if k is None or isinstance(k, Span) else (None, k) for k in x.params[0]]
        elif is_not(x) and doubtful is None:
            negated = not negated
        elif is_lt(x) and doubtful is None and is_const(x.args[0], 0.0):
            doubtful = x, axes, negated
            x = x.args[1]
            continue
        elif doubtful is not None and is_masked(x) and is_const(x.args[1], 1.0):
            doubtful = None
        else:
            break
        x = x.args[0]
    x, axes, negated = doubtful or (x, axes, negated)
    if any(place is not None for _, place in axes):
        x = part_at(x, tuple(place for _, place in axes))
    return ~x if negated else x, tuple(k for k, _ in axes if k is not None)


def of_rows(condition: Node, n: Node) -> Node | None:
    """A condition on what `item` picked as one on all of its argument; None where it differs along a span of places."""
    shape, index = n.args[0].type.shape, n.params[0]
    kept = [k for k, place in enumerate(index) if place is None or isinstance(place, Span)]
    base, at = varying(condition, n.type.shape)
    if any(index[kept[j]] is not None for j in at):
        return None
    return broadcast_to(base, shape, tuple(kept[j] for j in at))


def anywhere(condition: Node, shape: Shape, axes: Sequence[int], dtype: str) -> Node | None:
    """Where a condition on entries of a shape holds somewhere along axes, which go; None if that is everywhere."""
    if is_row_pick(condition, axes):
        return None
    kept = [k for k in range(len(shape)) if k not in axes]
    base, at = varying(condition, shape)
    if all(k in kept for k in at):
        rest = tuple(shape[k] for k in kept)
        where = tuple(kept.index(k) for k in at)
        return base if base.type.shape == rest else broadcast_to(base, rest, where)
    ones = condition.args[1] if is_pick(condition) else ones_where(condition, dtype)
    return positive(sum_over(expand(ones, shape), tuple(axes)))


def varying(condition: Node, shape: Shape) -> tuple[Node, tuple[int, ...]]:
    """What a condition repeats, and the axes of the shape along which it differs."""
    whole = expand(condition, shape)
    if not is_broadcast(whole):
        return whole, tuple(range(len(shape)))
    inner = whole.args[0]
    return inner, places(whole.params, len(inner.type.shape))


def is_row_pick(condition: Node, axes: Sequence[int]) -> bool:
    """Whether one entry along axes is picked for each place of all others, as the right class of each sample is."""
    if not is_pick(condition) or not is_scatter_add(condition.args[1]):
        return False
    count = condition.args[1]
    (first, lengths), indices = count.params, count.args[1:]
    rows = [(i, d) for k, (i, d) in enumerate(zip(indices, lengths, strict=True)) if first + k not in axes]
    inside = all(first <= k < first + len(indices) for k in axes)
    return (
        inside
        and 0 not in indices[0].type.shape
        and len(rows) == len(indices[0].type.shape)
        and all(i.type.shape[k] == d and is_place(i, k) for k, (i, d) in enumerate(rows))
    )


def is_place(index: Node, axis: int) -> bool:
    """Whether an index array holds the place of each entry along an axis."""
    if is_broadcast(index):
        return is_iota(index.args[0]) and places(index.params, 1) == (axis,)
    return is_iota(index) and axis == 0
