"""Products of operands whose axes have labels: what is summed where, and in which order it is cheapest."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import prod
from typing import NamedTuple

from gradcompile.ir.algebra import permute, sum_over
from gradcompile.ir.core import Node
from gradcompile.ir.types import Dim
from gradcompile.ops.contract import contract

NAMED = 1000  # what a named dimension counts as when orders are compared
EXHAUSTIVE = 8  # operands up to which every order is looked at
Labels = tuple[int, ...]


class Labelled(NamedTuple):
    """An operand with a label for each axis."""

    node: Node
    labels: Labels


def summed_operand(x: Labelled, needed: set[int]) -> Labelled:
    """An operand summed over what nothing else needs."""
    lost = tuple(k for k, label in enumerate(x.labels) if label not in needed)
    if not lost:
        return x
    kept = tuple(label for label in x.labels if label in needed)
    return Labelled(sum_over(x.node, lost), kept)


def pair(a: Labelled, b: Labelled, needed: set[int]) -> Labelled:
    """The product of two operands, summed over what nothing else needs."""
    a, b = summed_operand(a, needed | set(b.labels)), summed_operand(b, needed | set(a.labels))
    labels = tuple(label for label in dict.fromkeys((*a.labels, *b.labels)) if label in needed)
    if not set(a.labels) or not set(b.labels) or set(labels) == set(a.labels) == set(b.labels):
        return Labelled(ordered_axes(a, labels) * ordered_axes(b, labels), labels)
    return Labelled(contract(a.node, a.labels, b.node, b.labels, labels), labels)


def ordered_axes(x: Labelled, labels: Labels) -> Node:
    """The axes in the order of the labels; a scalar as it is."""
    order = tuple(x.labels.index(label) for label in labels if x.labels)
    return x.node if order == tuple(range(len(order))) else permute(x.node, order)


def product_of_operands(operands: Sequence[Labelled], result: Labels, sizes: Mapping[int, Dim]) -> Labelled:
    """All operands multiplied, in the cheapest order."""
    if len(operands) == 1:
        return summed_operand(operands[0], set(result))
    left, right = cheapest(operands, result, sizes)
    outside = set(result)
    a = product_of_operands([operands[k] for k in left], needed_by(operands, right, outside), sizes)
    b = product_of_operands([operands[k] for k in right], needed_by(operands, left, outside), sizes)
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
                cost = contraction_work(left_of(half) | left_of(other), sizes)
                choices.append((best[half][0] + best[other][0] + cost, half))
            best[group] = min(choices, key=lambda c: c[0])
    return best


def contraction_work(labels: Iterable[int], sizes: Mapping[int, Dim]) -> int:
    """The products of a contraction over these axes."""
    return prod(d if isinstance(d := sizes[label], int) else NAMED for label in labels)


def without_transposes(x: Labelled) -> Labelled:
    """An operand without transposes, which are an order of its labels."""
    inner, labels = x
    while inner.op.name == "transpose":
        own = dict(zip(inner.params[0], labels, strict=True))
        inner, labels = inner.args[0], tuple(own[k] for k in range(len(labels)))
    return Labelled(inner, labels)
