"""One sample of values that have an axis of samples: the same formulas without that axis, op by op.

What looks across samples, as a sum over them or a sort, has no rule and is refused; so the gradient of one sample is
that of its own formula, and `batch` makes it again one for all samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from gradcompile.errors import ExpressionError
from gradcompile.ir.algebra import part_at
from gradcompile.ir.core import Node, apply, is_leaf, node
from gradcompile.ir.graph import topological
from gradcompile.ir.types import ArrayType, Dim
from gradcompile.ops.contract import contract, is_dot
from gradcompile.ops.gather import is_gather
from gradcompile.ops.scan import Loop, fresh, is_scan, make_scan, parts, unpacked
from gradcompile.ops.shape import is_assemble, is_broadcast, is_iota, is_item, is_reshape, is_transpose, places


class One(NamedTuple):
    """A value of one sample, and which axis of all samples' it lacks; None if it is the same for all.

    is_place: it is the number of the sample.
    """

    node: Node
    axis: int | None
    is_place: bool = False


class Single(NamedTuple):
    """The values of one sample, and the leaves that stand for its entries of each leaf with samples."""

    values: Node
    leaves: dict[Node, Node]


def single(values: Node, length: Dim) -> Single:
    """The values, which have an entry a sample, for one sample.

    Raises ExpressionError where a sample's value depends on other samples, or in a way that can't be followed.
    """
    leaves = {n: of_leaf(n, length) for n in topological([values])
              if (is_leaf(n) or is_iota(n)) and length in n.type.shape}  # fmt: skip
    found = of_all([values], leaves, length)[values]
    if found.axis != 0:
        raise refused(values)
    return Single(found.node, {n: one.node for n, one in leaves.items()})


def of_leaf(n: Node, length: Dim) -> One:
    """What stands for a sample's entries of a leaf."""
    if n.type.shape.count(length) != 1:
        raise refused(n)
    axis = n.type.shape.index(length)
    return One(fresh(ArrayType(without(n.type.shape, axis), n.type.dtype)), axis, is_iota(n))


def of_all(roots: Sequence[Node], leaves: Mapping[Node, One], length: Dim) -> dict[Node, One]:
    """The nodes below some roots for one sample, from some leaves."""
    known = dict(leaves)
    loops: dict[Node, list[One]] = {}
    for n in topological(roots):
        if n in known:
            continue
        place = result_place(n)
        if is_scan(n) and any(known[a].axis is not None for a in n.args):
            loops[n] = looped(n, [known[a] for a in n.args], length)
        if place is not None and place[0] in loops:
            known[n] = loops[place[0]][place[1]]
        elif n not in loops and not (is_item(n) and n.args[0] in loops):
            known[n] = of_node(n, [known.get(a) or whole(a) for a in n.args], length)
    return known


def whole(n: Node) -> One:
    """Raise ExpressionError: all results of a loop in a row have no place for a sample."""
    raise refused(n)


def result_place(n: Node) -> tuple[Node, int] | None:
    """The scan that a node is a result of, and which; None of any other."""
    inner = n.args[0] if is_reshape(n) else n
    scan, span = (inner.args[0], inner.params[0][0]) if is_item(inner) else (inner, None)
    if not is_scan(scan):
        return None
    own = parts(scan.params[0])
    found = [k for k, p in enumerate(own) if span in (p.span, None) and p.type.shape == n.type.shape]
    return (scan, found[0]) if len(found) == 1 and (span is not None or len(own) == 1) else None


def looped(n: Node, args: Sequence[One], length: Dim) -> list[One]:
    """The results of a scan whose carries, slices or constants have samples along another axis than the steps."""
    loop: Loop = n.params[0]
    leaves = {a: of_leaf(a, length) for a in loop.leaves if length in a.type.shape}
    for k, (a, one) in enumerate(zip(loop.leaves, args, strict=True)):
        is_walked = len(loop.carries) <= k < len(loop.carries) + len(loop.slices)
        own = leaves.get(a, One(a, None)).axis
        if one.axis != (own if own is None else own + is_walked):
            raise refused(n)
    found = of_all(loop.roots, {a: leaves.get(a, One(a, None)) for a in loop.leaves}, length)
    roots = [found[r] for r in loop.roots]
    finals, ys, totals = loop.split(roots)
    if loop.length == length or any(f.axis != found[c].axis for f, c in zip(finals, loop.carries, strict=True)):
        raise refused(n)
    carries, slices, constants = loop.arguments([found[a].node for a in loop.leaves])
    new = replace(loop.with_roots([r.node for r in roots]), carries=carries, slices=slices, constants=constants)
    inits, xs, outer = loop.arguments([a.node for a in args])
    results = unpacked(make_scan(new, inits, xs, dict(zip(constants, outer, strict=True))))
    axes = [f.axis for f in finals] + [y.axis if y.axis is None else y.axis + 1 for y in ys] + [q.axis for q in totals]
    return [One(r, axis) for r, axis in zip(results, axes, strict=True)]


def refused(n: Node) -> ExpressionError:
    """What is said of a node that has no rule."""
    across = n.op.is_reduction or n.op.adds
    what = ("a sample's value depends on other samples, by a sum or a mean over all" if across
            else f"the gradient of one sample can't be told from that of all at {n.op.name}")  # fmt: skip
    return ExpressionError(f"{what}: a loss of samples is the mean, or the sum, of one value for each of them")


def of_node(n: Node, args: Sequence[One], length: Dim) -> One:
    """A node for one sample, from its arguments."""
    if n.op.by_shape or (all(a.axis is None for a in args) and length not in n.type.shape):
        return One(n, None)
    if is_broadcast(n):
        return broadcast(n, args, length)._replace(is_place=args[0].is_place)
    if is_gather(n):
        return gathered(n, args)
    if is_assemble(n):
        return assembled(n, args, length)
    rule = next((rule for fits, rule in RULES if fits(n)), None)
    if rule is None or all(a.axis is None for a in args):
        raise refused(n)
    return rule(n, args)


def without(items: Sequence[Dim], k: int) -> tuple[Dim, ...]:
    """All but one."""
    return (*items[:k], *items[k + 1 :])


def elementwise(n: Node, args: Sequence[One]) -> One:
    """Entry by entry: the axis stands in the same place from the end."""
    ends = {len(a.type.shape) - one.axis for a, one in zip(n.args, args, strict=True) if one.axis is not None}
    if len(ends) != 1:
        raise refused(n)
    (end,) = ends
    given = []
    for a, one in zip(n.args, args, strict=True):
        rank = len(a.type.shape)
        if one.axis is None and rank >= end:
            given.append(part_at(one.node, tuple(0 if k == rank - end else None for k in range(rank))))
        else:
            given.append(one.node)
    return One(node(n.op, given, n.params), len(n.type.shape) - end)


def broadcast(n: Node, args: Sequence[One], length: Dim) -> One:
    """Repeated over other axes, or over the samples."""
    (one,), shape = args, n.params[0]
    at = places(n.params, len(n.args[0].type.shape))
    if one.axis is None:
        (k,) = [k for k, d in enumerate(shape) if d == length and k not in at]
        kept = at
    else:
        k, kept = at[one.axis], tuple(j for j in at if j != at[one.axis])
    rest, moved = without(shape, k), tuple(j - (j > k) for j in kept)
    if length in rest:
        raise refused(n)
    whole = one.node if one.node.type.shape == rest else apply("broadcast", one.node, params=(rest, moved))
    return One(whole, k)


def turned(n: Node, args: Sequence[One]) -> One:
    """The axes in another order."""
    (one,), (order,) = args, n.params
    assert one.axis is not None
    axis = order.index(one.axis)
    rest = tuple(k - (k > one.axis) for k in order if k != one.axis)
    return One(one.node if rest == tuple(range(len(rest))) else apply("transpose", one.node, params=(rest,)), axis)


def item(n: Node, args: Sequence[One]) -> One:
    """A part that has all samples."""
    (one,), (index,) = args, n.params
    assert one.axis is not None
    if index[one.axis] is not None:
        raise refused(n)
    lost = sum(isinstance(k, int | str) for k in index[: one.axis])
    rest = without(index, one.axis)
    return One(part_at(one.node, rest) if any(k is not None for k in rest) else one.node, one.axis - lost)


def reshaped(n: Node, args: Sequence[One]) -> One:
    """Another shape that has the axis of samples in front, as before."""
    (one,), (shape,) = args, n.params
    if one.axis != 0 or shape[0] != n.args[0].type.shape[0]:
        raise refused(n)
    return One(apply("reshape", one.node, params=(tuple(shape[1:]),)), 0)


def assembled(n: Node, args: Sequence[One], length: Dim) -> One:
    """Parts that have all samples, in their places."""
    shape, indices = n.params
    axis = next((k for k, d in enumerate(shape) if d == length and all(index[k] is None for index in indices)), None)
    if axis is None or length in without(shape, axis):
        raise refused(n)
    for a, one, index in zip(n.args, args, indices, strict=True):
        own = axis - sum(isinstance(k, int | str) for k in index[:axis])
        if one.axis != own and (one.axis is not None or a.type.shape):
            raise refused(n)
    left = tuple(without(index, axis) for index in indices)
    return One(apply("assemble", *(a.node for a in args), params=(without(shape, axis), left)), axis)


def reduced(n: Node, args: Sequence[One]) -> One:
    """A sum or a maximum over other axes."""
    (one,), (axes, *rest) = args, n.params
    assert one.axis is not None
    if one.axis in axes:
        raise refused(n)
    left = tuple(k - (k > one.axis) for k in axes)
    return One(apply(n.op.name, one.node, params=(left, *rest)), one.axis - sum(k < one.axis for k in axes))


def product(n: Node, args: Sequence[One]) -> One:
    """A contraction that keeps the samples."""
    (a, b), (la, lb, result) = args, n.params
    labels = {own[one.axis] for one, own in ((a, la), (b, lb)) if one.axis is not None}
    if len(labels) != 1:
        raise refused(n)
    (label,) = labels
    if label not in result or any(one.axis is None and label in own for one, own in ((a, la), (b, lb))):
        raise refused(n)
    la, lb, left = (tuple(k for k in own if k != label) for own in (la, lb, result))
    return One(contract(a.node, la, b.node, lb, left), result.index(label))


def along(n: Node, args: Sequence[One]) -> One:
    """What runs along another axis, which may become two, or two of which may become one."""
    (one,), (axis, *rest) = args, n.params
    assert one.axis is not None
    if not isinstance(axis, int) or one.axis == axis:
        raise refused(n)
    ranks = len(n.type.shape) - len(n.args[0].type.shape)
    if ranks < 0 and one.axis == axis + 1:
        raise refused(n)
    made = apply(n.op.name, one.node, params=(axis - (axis > one.axis), *rest))
    return One(made, one.axis + (ranks if one.axis > axis else 0))


def routine(n: Node, args: Sequence[One]) -> One:
    """What is computed for each matrix, of stacks of them."""
    axes = {a.axis for a in args}
    axis = args[0].axis
    if len(axes) != 1 or axis is None or any(axis >= len(a.type.shape) - 2 for a in n.args):
        raise refused(n)
    return One(node(n.op, [a.node for a in args], n.params), axis)


def gathered(n: Node, args: Sequence[One]) -> One:
    """Entries at places: of each sample its own, or of what is the same for all."""
    x, *indices = args
    (first,), count = n.params, len(indices)
    rank = len(n.args[1].type.shape)
    own = [k.axis for k in indices if k.axis is not None]
    if x.axis is not None and first <= x.axis < first + count:
        place = indices.pop(x.axis - first)
        if (
            not place.is_place
            or len(set(own)) != 1
            or not indices
            or any(k.is_place or k.axis is None for k in indices)
        ):
            raise refused(n)
        return One(apply("gather", x.node, *(k.node for k in indices), params=(first,)), first + own[0])
    if (x.axis is not None and own) or len(own) not in (0, count):
        raise refused(n)
    if x.axis is None:
        if len(set(own)) != 1:
            raise refused(n)
        return One(apply("gather", x.node, *(k.node for k in indices), params=(first,)), first + own[0])
    made = apply("gather", x.node, *(k.node for k in indices), params=(first - (x.axis < first),))
    return One(made, x.axis if x.axis < first else x.axis - count + rank)


Rule = tuple[Callable[[Node], bool], Callable[[Node, Sequence[One]], One]]
RULES: tuple[Rule, ...] = (
    (is_dot, product),
    (is_transpose, turned),
    (is_item, item),
    (is_reshape, reshaped),
    (lambda n: n.op.is_reduction, reduced),
    (lambda n: n.op.along_axes and len(n.args) == 1, along),
    (lambda n: n.op.shows_entries and n.op.picks_entries and len(n.args) == 1, along),
    (lambda n: n.op.routine_axes is not None, routine),
    (lambda n: n.op.is_elementwise, elementwise),
)
