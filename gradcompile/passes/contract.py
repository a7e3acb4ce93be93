"""Contractions: products hidden in sums become `dot`, transposes go into its labels, and chains get the cheapest order.

This changes the order in which products are added, and so the rounding, as a BLAS does.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gradcompile.ir.algebra import broadcast_to, is_mul, part_at
from gradcompile.ir.core import Node
from gradcompile.ir.graph import rebuild, topological, use_counts, with_new
from gradcompile.ir.types import Dim, Shape
from gradcompile.ops.contract import contract, is_dot
from gradcompile.ops.labels import (
    EXHAUSTIVE,
    Labelled,
    Labels,
    contraction_work,
    ordered_axes,
    plans,
    product_of_operands,
    without_transposes,
)
from gradcompile.ops.reduction import is_sum
from gradcompile.ops.scan import map_body
from gradcompile.ops.shape import is_broadcast, is_transpose, places

FACTORS = 6  # of a product under a sum that are looked at
# The pass


def contracted(roots: Sequence[Node], others: Sequence[Node] = ()) -> list[Node]:
    """The roots with sums of products as contractions, transposes in their labels, and chains in the cheapest order.

    others: nodes that are rewritten along, and come after the roots; that they need something does not count.

    >>> from gradcompile.ir.core import apply, leaf
    >>> from gradcompile.ir.types import ArrayType
    >>> X, w = leaf("X", ArrayType(("n", 3))), leaf("w", ArrayType((3,)))
    >>> contracted([apply("sum", apply("mul", X, w), params=((1,),))])
    [<dot float64[n]>]
    """
    rewritten = rebuild([*roots, *others], lambda n: found(n) or map_body(n, contracted))
    return reordered(rewritten[: len(roots)], rewritten[len(roots) :])


def found(n: Node) -> Node | None:
    """A contraction in place of a sum of products, or of a contraction of transposes."""
    if is_dot(n) and any(is_transpose(a) for a in n.args):
        a, b = (without_transposes(Labelled(x, labels)) for x, labels in zip(n.args, n.params, strict=False))
        return contract(a.node, a.labels, b.node, b.labels, n.params[2])
    if is_sum(n) and is_mul(n.args[0]):
        return sum_of_products(n)
    return None


def stripped(x: Labelled) -> Labelled:
    """A factor without transposes, and without repetitions, whose labels go."""
    inner, labels = without_transposes(x)
    while is_broadcast(inner) and inner.args[0].type.shape:
        at = places(inner.params, len(inner.args[0].type.shape))
        inner, labels = without_transposes(Labelled(inner.args[0], tuple(labels[k] for k in at)))
    return Labelled(inner, labels)


def factor(x: Node, shape: Shape) -> Labelled:
    """A factor of a product of that shape, with the axes of the product that it has."""
    inner, labels = stripped(Labelled(x, tuple(range(len(shape) - len(x.type.shape), len(shape)))))
    index = tuple(None if d == shape[k] else 0 for k, d in zip(labels, inner.type.shape, strict=True))
    kept = tuple(k for k, i in zip(labels, index, strict=True) if i is None)
    return Labelled(part_at(inner, index) if len(kept) < len(index) else inner, kept)


def sum_of_products(n: Node) -> Node | None:
    """sum(x*y*...) as contractions, where one of the factors is repeated along some axis; else None."""
    shape, lost = n.args[0].type.shape, set(n.params[0])
    operands = [factor(x, shape) for x in factors(n.args[0])]
    held = {k for x in operands for k in x.labels}
    if not lost <= held or all(len(x.labels) in (0, len(shape)) for x in operands):
        return None
    kept = [k for k in range(len(shape)) if k not in lost]
    result = tuple(k for k in kept if k in held)
    x = ordered_axes(product_of_operands(operands, result, dict(enumerate(shape))), result)
    at = tuple(kept.index(k) for k in result)
    return x if x.type.shape == n.type.shape else broadcast_to(x, n.type.shape, at)


def factors(n: Node) -> list[Node]:
    """The factors of nested products, a few of them."""
    result = [n]
    while len(result) < FACTORS and any(is_mul(x) for x in result):
        k = next(k for k, x in enumerate(result) if is_mul(x))
        result[k : k + 1] = result[k].args
    return result


def reordered(roots: Sequence[Node], others: Sequence[Node] = ()) -> list[Node]:
    """The roots with chains of contractions, whose inner products nothing else needs, in the cheapest order."""
    uses, new = use_counts(roots, topological(roots)), dict[Node, Node]()  # new: what has changed
    for n in topological([*roots, *others]):
        chain = flattened(n, uses) if is_dot(n) else None
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
        if not is_dot(x.node) or (x.node is not n and uses[x.node] > 1):
            operands.append(x)
            continue
        own = dict(zip(x.node.params[2], x.labels, strict=True))
        for a, labels in zip(x.node.args, x.node.params, strict=False):
            for label, dim in zip(labels, a.type.shape, strict=True):
                sizes.setdefault(own.setdefault(label, len(sizes)), dim)
        stack += [Labelled(a, tuple(own[k] for k in p)) for a, p in zip(x.node.args, x.node.params, strict=False)][::-1]
        cost += contraction_work(own.values(), sizes)
    return Chain(operands, result, sizes, cost) if 2 < len(operands) <= EXHAUSTIVE else None


def in_order(chain: Chain, new: Mapping[Node, Node]) -> Node | None:
    """The chain in its cheapest order, None if that is the order it has."""
    operands, result, sizes, cost = chain
    if plans(operands, result, sizes)[tuple(range(len(operands)))][0] >= cost:
        return None
    rebuilt = [Labelled(new.get(x.node, x.node), x.labels) for x in operands]
    return ordered_axes(product_of_operands(rebuilt, result, sizes), result)
