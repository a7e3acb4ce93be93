"""Contractions: products hidden in sums become `dot`, transposes go into its labels, and chains get the cheapest order.

This changes the order in which products are added, and so the rounding, as a BLAS does.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import prod
from typing import NamedTuple

from gradcompile.ir import Node, apply, rebuild, topological, use_counts, with_new
from gradcompile.ops.contract import contract
from gradcompile.ops.scan import rebodied
from gradcompile.ops.shape import places
from gradcompile.types import Dim, Shape

NAMED = 1000  # what a named dimension counts as when orders are compared
FACTORS = 6  # of a product under a sum that are looked at
EXHAUSTIVE = 8  # operands up to which every order is looked at

Labels = tuple[int, ...]


class Labelled(NamedTuple):
    """An operand with a label for each axis."""

    node: Node
    labels: Labels


def summed(x: Labelled, needed: set[int]) -> Labelled:
    """An operand summed over what nothing else needs."""
    lost = tuple(k for k, label in enumerate(x.labels) if label not in needed)
    if not lost:
        return x
    kept = tuple(label for label in x.labels if label in needed)
    return Labelled(apply("sum", x.node, params=(lost,)), kept)


def pair(a: Labelled, b: Labelled, needed: set[int]) -> Labelled:
    """The product of two operands, summed over what nothing else needs."""
    a, b = summed(a, needed | set(b.labels)), summed(b, needed | set(a.labels))
    labels = tuple(label for label in dict.fromkeys((*a.labels, *b.labels)) if label in needed)
    if not set(a.labels) or not set(b.labels) or set(labels) == set(a.labels) == set(b.labels):
        return elementwise_pair(a, b, labels)
    return Labelled(contract(a.node, a.labels, b.node, b.labels, labels), labels)


def elementwise_pair(a: Labelled, b: Labelled, labels: Labels) -> Labelled:
    """The product of two operands of which nothing is summed."""
    return Labelled(apply("mul", ordered(a, labels), ordered(b, labels)), labels)


def ordered(x: Labelled, labels: Labels) -> Node:
    """The axes in the order of the labels; a scalar as it is."""
    order = tuple(x.labels.index(label) for label in labels if x.labels)
    return x.node if order == tuple(range(len(order))) else apply("transpose", x.node, params=(order,))


def product_of(operands: Sequence[Labelled], result: Labels, sizes: Mapping[int, Dim]) -> Labelled:
    """All operands multiplied, in the cheapest order."""
    if len(operands) == 1:
        return summed(operands[0], set(result))
    left, right = cheapest(operands, result, sizes)
    outside = set(result)
    a = product_of([operands[k] for k in left], needed_by(operands, right, outside), sizes)
    b = product_of([operands[k] for k in right], needed_by(operands, left, outside), sizes)
    return pair(a, b, outside)


def needed_by(operands: Sequence[Labelled], others: Sequence[int], outside: set[int]) -> Labels:
    """The labels that the result or these operands need."""
    return tuple(outside | {label for k in others for label in operands[k].labels})


def cheapest(operands: Sequence[Labelled], result: Labels, sizes: Mapping[int, Dim]) -> tuple[Labels, Labels]:
    """How to cut the operands in two so that all products together cost least; many operands: from left to right."""
    count = len(operands)
    if count == 2 or count > EXHAUSTIVE:
        return tuple(range(count - 1)), (count - 1,)
    half = plans(operands, result, sizes)[tuple(range(count))][1]
    return half, tuple(k for k in range(count) if k not in half)


def plans(operands: Sequence[Labelled], result: Labels, sizes: Mapping[int, Dim]) -> dict[Labels, tuple[int, Labels]]:
    """For every group of operands the least cost of their product, and the half that is multiplied first."""
    count, held = len(operands), [frozenset(x.labels) for x in operands]
    best: dict[Labels, tuple[int, Labels]] = {(k,): (0, ()) for k in range(count)}

    def left_of(group: Labels) -> frozenset[int]:
        inside = frozenset[int]().union(*(held[k] for k in group))
        return inside & frozenset(result).union(*(held[k] for k in range(count) if k not in group))

    for size in range(2, count + 1):
        for group in combinations(range(count), size):
            choices = []
            for half in (h for m in range(1, size) for h in combinations(group, m) if h[0] == group[0]):
                other = tuple(k for k in group if k not in half)
                cost = work(left_of(half) | left_of(other), sizes)
                choices.append((best[half][0] + best[other][0] + cost, half))
            best[group] = min(choices, key=lambda c: c[0])
    return best


def work(labels: Iterable[int], sizes: Mapping[int, Dim]) -> int:
    """The products of a contraction over these axes."""
    return prod(d if isinstance(d := sizes[label], int) else NAMED for label in labels)


# The pass


def contracted(roots: Sequence[Node], others: Sequence[Node] = ()) -> list[Node]:
    """The roots with sums of products as contractions, transposes in their labels, and chains in the cheapest order.

    others: nodes that are rewritten along, and come after the roots; that they need something does not count.

    >>> from gradcompile.ir import leaf
    >>> from gradcompile.types import ArrayType
    >>> X, w = leaf("X", ArrayType(("n", 3))), leaf("w", ArrayType((3,)))
    >>> contracted([apply("sum", apply("mul", X, w), params=((1,),))])
    [<dot float64[n]>]
    """
    rewritten = rebuild([*roots, *others], lambda n: found(n) or rebodied(n, contracted))
    return reordered(rewritten[: len(roots)], rewritten[len(roots) :])


def found(n: Node) -> Node | None:
    """A contraction in place of a sum of products, or of a contraction of transposes."""
    if n.op.name == "dot" and any(a.op.name == "transpose" for a in n.args):
        a, b = (turned(Labelled(x, labels)) for x, labels in zip(n.args, n.params, strict=False))
        return contract(a.node, a.labels, b.node, b.labels, n.params[2])
    if n.op.name == "sum" and n.args[0].op.name == "mul":
        return sum_of_products(n)
    return None


def turned(x: Labelled) -> Labelled:
    """An operand without transposes, which are an order of its labels."""
    inner, labels = x
    while inner.op.name == "transpose":
        own = dict(zip(inner.params[0], labels, strict=True))
        inner, labels = inner.args[0], tuple(own[k] for k in range(len(labels)))
    return Labelled(inner, labels)


def stripped(x: Labelled) -> Labelled:
    """A factor without transposes, and without repetitions, whose labels go."""
    inner, labels = turned(x)
    while inner.op.name == "broadcast" and inner.args[0].type.shape:
        at = places(inner.params, len(inner.args[0].type.shape))
        inner, labels = turned(Labelled(inner.args[0], tuple(labels[k] for k in at)))
    return Labelled(inner, labels)


def factor(x: Node, shape: Shape) -> Labelled:
    """A factor of a product of that shape, with the axes of the product that it has."""
    inner, labels = stripped(Labelled(x, tuple(range(len(shape) - len(x.type.shape), len(shape)))))
    index = tuple(None if d == shape[k] else 0 for k, d in zip(labels, inner.type.shape, strict=True))
    kept = tuple(k for k, i in zip(labels, index, strict=True) if i is None)
    return Labelled(apply("item", inner, params=(index,)) if len(kept) < len(index) else inner, kept)


def sum_of_products(n: Node) -> Node | None:
    """sum(x*y*...) as contractions, where one of the factors is repeated along some axis; else None."""
    shape, lost = n.args[0].type.shape, set(n.params[0])
    operands = [factor(x, shape) for x in factors(n.args[0])]
    held = {k for x in operands for k in x.labels}
    if not lost <= held or all(len(x.labels) in (0, len(shape)) for x in operands):
        return None
    kept = [k for k in range(len(shape)) if k not in lost]
    result = tuple(k for k in kept if k in held)
    x = ordered(product_of(operands, result, dict(enumerate(shape))), result)
    at = tuple(kept.index(k) for k in result)
    return x if x.type.shape == n.type.shape else apply("broadcast", x, params=(n.type.shape, at))


def factors(n: Node) -> list[Node]:
    """The factors of nested products, a few of them."""
    result = [n]
    while len(result) < FACTORS and any(x.op.name == "mul" for x in result):
        k = next(k for k, x in enumerate(result) if x.op.name == "mul")
        result[k : k + 1] = result[k].args
    return result


def reordered(roots: Sequence[Node], others: Sequence[Node] = ()) -> list[Node]:
    """The roots with chains of contractions, whose inner products nothing else needs, in the cheapest order."""
    uses, new = use_counts(roots, topological(roots)), dict[Node, Node]()  # new: what has changed
    for n in topological([*roots, *others]):
        chain = flattened(n, uses) if n.op.name == "dot" else None
        result = (in_order(chain, new) if chain else None) or with_new(n, new)
        if result is not n:
            new[n] = result
    return [new.get(r, r) for r in (*roots, *others)]


class Chain(NamedTuple):
    """The operands of nested contractions, the labels of the result, the dimensions of all labels, and the cost."""

    operands: list[Labelled]
    result: Labels
    sizes: dict[int, Dim]
    cost: int


def flattened(n: Node, uses: Mapping[Node, int]) -> Chain | None:
    """A contraction of contractions as one chain; None if it is of two operands, or of too many."""
    result = tuple(range(len(n.type.shape)))
    sizes, cost, operands = dict(enumerate(n.type.shape)), 0, list[Labelled]()
    stack = [Labelled(n, result)]
    while stack:
        x = stack.pop()
        if x.node.op.name != "dot" or (x.node is not n and uses[x.node] > 1):
            operands.append(x)
            continue
        own = dict(zip(x.node.params[2], x.labels, strict=True))
        for a, labels in zip(x.node.args, x.node.params, strict=False):
            for label, dim in zip(labels, a.type.shape, strict=True):
                sizes.setdefault(own.setdefault(label, len(sizes)), dim)
        stack += [Labelled(a, tuple(own[k] for k in p)) for a, p in zip(x.node.args, x.node.params, strict=False)][::-1]
        cost += work(own.values(), sizes)
    return Chain(operands, result, sizes, cost) if 2 < len(operands) <= EXHAUSTIVE else None


def in_order(chain: Chain, new: Mapping[Node, Node]) -> Node | None:
    """The chain in its cheapest order, None if that is the order it has."""
    operands, result, sizes, cost = chain
    if plans(operands, result, sizes)[tuple(range(len(operands)))][0] >= cost:
        return None
    rebuilt = [Labelled(new.get(x.node, x.node), x.labels) for x in operands]
    return ordered(product_of(rebuilt, result, sizes), result)
