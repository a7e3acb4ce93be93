"""Samples one by one: the gradient of each, from the gradient of all, in which they are summed.

In reverse mode a parameter's gradient is linear in sums over the samples. Each of these is taken apart again, and all
that follows is done for every sample.
"""

from collections.abc import Sequence
from typing import NamedTuple

from gradcompile.diff import reverse
from gradcompile.diff.batch import batched, fitting
from gradcompile.errors import ExpressionError
from gradcompile.ir.algebra import (
    broadcast_to,
    expand,
    is_add,
    is_div,
    is_mul,
    is_neg,
    is_select,
    permute,
    sum_over,
    zeros_like,
)
from gradcompile.ir.core import Node, const
from gradcompile.ir.graph import depends_on, topological
from gradcompile.ir.types import Dim
from gradcompile.ops.contract import contract, is_dot
from gradcompile.ops.reduction import is_sum
from gradcompile.ops.shape import is_assemble

CURE = "a loss of samples is the mean, or the sum, of one value for each of them"


class Taken(NamedTuple):
    """Values of samples, and what each parameter's gradient is made of: the sum of it over all samples."""

    values: Node
    gradients: list[Node]
    length: Dim


def values_of(loss: Node) -> Node:
    """The value of each sample, of a loss that is their mean or their sum.

    Raises ExpressionError for any other.
    """
    n = loss
    if is_div(n) and is_sum(n.args[0]) and n.args[1].op.by_shape:
        n = n.args[0]
    inner = n.args[0] if is_sum(n) else n
    if not is_sum(n) or n.type.shape or not isinstance(inner.type.shape[0], str) or len(inner.type.shape) > 1:
        raise ExpressionError(f"the loss is no mean of samples: {CURE}; add what they share, as a penalty, afterwards")
    return inner


def distribute_samples(values: Node, params: Sequence[Node]) -> Taken:
    """The gradients of the sum of values, which an entry's own is then taken from.

    Raises ExpressionError where a value depends on other samples.
    """
    (length,) = values.type.shape
    order = topological([values])
    moving = depends_on(order, params)
    if any(n in moving and is_summing(n, length) for n in order):
        raise ExpressionError(f"a sample's value depends on other samples, by a sum or a mean over all: {CURE}")
    ones = expand(const(1.0, values.type.dtype), values.type.shape)
    found = reverse.adjoints(values, params, ones)
    return Taken(values, [found.get(n) or zeros_like(n) for n in params], length)


def is_summing(n: Node, length: Dim) -> bool:
    """Whether a node adds up over the samples."""
    if is_dot(n):
        return summed_label(n, length) is not None
    return n.op.is_reduction and any(n.args[0].type.shape[k] == length for k in n.params[0])


def summed_label(n: Node, length: Dim) -> int | None:
    """The label of a product that stands for the samples, if it is summed over."""
    la, lb, result = n.params
    pairs = [*zip(la, n.args[0].type.shape, strict=True), *zip(lb, n.args[1].type.shape, strict=True)]
    return next((label for label, d in pairs if d == length and label not in result), None)


def own(n: Node, length: Dim) -> Node:
    """What a sum over the samples adds up, along axis 0, of a sum that takes away no other axes but these."""
    if is_dot(n):
        (a, b), (la, lb, result), label = n.args, n.params, summed_label(n, length)
        assert label is not None
        return contract(a, la, b, lb, (label, *result))
    x, axes = n.args[0], n.params[0]
    at = next(k for k in axes if x.type.shape[k] == length)
    rest = tuple(k for k in axes if k != at)
    inner = sum_over(x, rest) if rest else x
    front = at - sum(k < at for k in rest)
    others = [k for k in range(len(inner.type.shape)) if k != front]
    return permute(inner, (front, *others)) if front else inner


def each(taken: Taken) -> list[Node]:
    """The gradient of each sample: of shape (samples, *shape of the parameter)."""
    order = topological(taken.gradients)
    sums = first_sums(order, taken)
    moving = depends_on(order, sums)
    linear = all(n in sums or is_linear(n, moving) for n in moving)
    if not linear or not moving <= fitting(order, sums, moving):
        raise ExpressionError("the gradient of one sample can't be told from that of all here: write the loss with "
                              f"elementwise functions and products; {CURE}")  # fmt: skip
    return batched(taken.gradients, {s: own(s, taken.length) for s in sums}, {}, taken.length)


def first_sums(order: Sequence[Node], taken: Taken) -> list[Node]:
    """The sums over the samples, none of which is made of another."""
    found = [n for n in order if n.type.dtype.startswith("float") and is_summing(n, taken.length)]
    below = depends_on(order, found) - set(found)
    if any(a in below or a in found for n in found for a in n.args):
        raise ExpressionError(f"a sample's gradient depends on other samples: {CURE}")
    return found


def is_linear(n: Node, moving: set[Node]) -> bool:
    """Whether a node is linear in what it is made of of the moving nodes."""
    own = [a for a in n.args if a in moving]
    if is_add(n) or is_neg(n) or is_assemble(n):
        return True
    if is_mul(n) or is_dot(n):
        return len(own) == 1
    if is_div(n):
        return own == [n.args[0]]
    if is_select(n):
        return n.args[0] not in moving
    return len(n.args) == 1 and (n.op.is_view or n.op.entrywise)


def squared_norms(taken: Taken) -> Node:
    """The squared norm of each sample's gradient; of a product of two vectors that of each is taken."""
    plain: list[Node] = []
    total: Node | None = None
    for g in taken.gradients:
        part = squared_outer(g, taken.length) if is_dot(g) else None
        if part is None:
            plain.append(g)
        else:
            total = part if total is None else total + part
    for x in each(taken._replace(gradients=plain)) if plain else ():
        square = x * x
        axes = tuple(range(1, len(x.type.shape)))
        part = sum_over(square, axes) if axes else square
        total = part if total is None else total + part
    return broadcast_to(const(0.0, taken.values.type.dtype), taken.values.type.shape) if total is None else total


def squared_outer(g: Node, length: Dim) -> Node | None:
    """The squared norms of outer products that a product sums over the samples; None if it sums over more."""
    (a, b), (la, lb, _), label = g.args, g.params, summed_label(g, length)
    if label is None or set(la) & set(lb) != {label}:
        return None
    found = []
    for x, labels in ((a, la), (b, lb)):
        axes = tuple(k for k, own in enumerate(labels) if own != label)
        found.append(sum_over(x * x, axes) if axes else x * x)
    return found[0] * found[1]
