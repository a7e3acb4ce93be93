"""Samples one by one: the gradient of each, from the gradient of all, in which they are summed.

In reverse mode a parameter's gradient is linear in sums over the samples. Each of these is taken apart again, and all
that follows is done for every sample.
"""

from collections.abc import Sequence
from typing import NamedTuple

from gradcompile.diff import reverse
from gradcompile.diff.batch import batched, fitting
from gradcompile.diff.single import Single, single
from gradcompile.errors import ExpressionError
from gradcompile.ir.algebra import (
    add,
    expand,
    is_add,
    is_div,
    is_mul,
    is_neg,
    is_select,
    length_along,
    permute,
    sum_over,
    zeros_like,
)
from gradcompile.ir.core import Node, const, is_const
from gradcompile.ir.graph import depends_on, topological
from gradcompile.ir.types import Dim
from gradcompile.ops.contract import contract, is_dot
from gradcompile.ops.reduction import is_sum
from gradcompile.ops.scan import Loop, make_scan, unpacked
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
    n, count = (loss.args[0], loss.args[1]) if is_div(loss) and is_sum(loss.args[0]) else (loss, None)
    inner = n.args[0] if is_sum(n) else n
    is_whole = is_sum(n) and not n.type.shape and (count is None or is_count(count))
    if not is_whole or not isinstance(inner.type.shape[0], str):
        raise ExpressionError(f"the loss is no mean of samples: {CURE}; add what they share, as a penalty, afterwards")
    rest = tuple(range(1, len(inner.type.shape)))
    if not rest:
        return inner
    own = sum_over(inner, rest)
    return own if count is None else own / (count / length_along(inner, 0))


def is_count(n: Node) -> bool:
    """Whether a node is a number of entries: made of lengths and numbers."""
    return all(k.op.by_shape or is_const(k) or is_mul(k) for k in topological([n], is_length)) or is_length(n)


def is_length(n: Node) -> bool:
    """Whether a node is a length."""
    return n.op.by_shape


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
    sampled = depends_on(order, [n for n in order if not n.args and taken.length in n.type.shape])
    rest = [
        a for n in moving if n not in sums for a in n.args
    ] + taken.gradients  # which may hold no sample but by sums
    linear = linear and not any(a in sampled and a not in moving for a in rest)
    if not linear or not moving <= fitting(order, sums, moving):
        raise ExpressionError("the gradient of one sample can't be told from that of all here: write the loss with "
                              f"elementwise functions and products; {CURE}")  # fmt: skip
    return batched(taken.gradients, {s: own(s, taken.length) for s in sums}, {}, taken.length)


def one_by_one(one: Single, length: Dim, params: Sequence[Node]) -> list[Node]:
    """The gradients of samples by the formula of one of them; of shape (samples, *parameter).

    All at once, or one after the other where the formula holds a loop.
    """
    found = reverse.adjoints(one.values, params)
    gradients = [found.get(n) or zeros_like(n) for n in params]
    rows = {}
    for n, row in one.leaves.items():
        at = n.type.shape.index(length)
        others = [k for k in range(len(n.type.shape)) if k != at]
        rows[row] = permute(n, (at, *others)) if at else n
    order = topological(gradients)
    moving = depends_on(order, rows)
    if moving <= fitting(order, rows, moving):
        return batched(gradients, rows, {}, length)
    loop = Loop((), tuple(rows), (), (), tuple(gradients), (), length)
    return unpacked(make_scan(loop, (), tuple(rows.values()), {}))


def gradients_of(values: Node, params: Sequence[Node]) -> list[Node]:
    """The gradient of each sample: by taking sums apart, or else by the formula of one sample.

    Raises ExpressionError where a sample's value depends on others.
    """
    (length,) = values.type.shape
    one = single(values, length)
    try:
        return each(distribute_samples(values, params))
    except ExpressionError:
        return one_by_one(one, length, params)


def norms_of(values: Node, params: Sequence[Node]) -> Node:
    """The squared norm of each sample's gradient."""
    (length,) = values.type.shape
    one = single(values, length)
    try:
        return squared_norms(distribute_samples(values, params))
    except ExpressionError:
        return summed_squares(one_by_one(one, length, params), values)


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
    if plain or total is None:
        more = summed_squares(each(taken._replace(gradients=plain)) if plain else [], taken.values)
        total = more if total is None else total + more
    return total


def summed_squares(rows: Sequence[Node], like: Node) -> Node:
    """The sum of the squares of each sample's entries."""
    parts = [sum_over(x * x, axes) if (axes := tuple(range(1, len(x.type.shape)))) else x * x for x in rows]
    return add(*parts) if parts else zeros_like(like)


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
