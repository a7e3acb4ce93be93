"""Differentiation of graphs: vjp (reverse mode) and jvp (forward mode), from the partials in the op table.

Both build nodes, never numbers, so derivatives of derivatives and sharing with the primal come by themselves.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from gradcompile.diff.masks import (
    Care,
    anywhere,
    is_cover,
    is_masked,
    is_stored,
    masked,
    multiple,
    of_rows,
    positive,
    times,
    total,
    unpicked,
)
from gradcompile.diff.slopes import Slopes, moved, powers
from gradcompile.errors import ExpressionError, GraphError
from gradcompile.ir.algebra import (
    astype,
    broadcast_to,
    expand,
    is_div,
    is_lt,
    less,
    ones_where,
    sum_over,
    unequal,
    zeros_like,
)
from gradcompile.ir.core import Node, Vjp, const, is_const, node
from gradcompile.ir.graph import depends_on, topological
from gradcompile.ir.types import Shape
from gradcompile.ops.contract import is_dot, spread_labels
from gradcompile.ops.shape import is_item

Told = Callable[[Node, Node, Node], None]  # a node, one of its arguments, and what that receives from it


def vjp(output: Node, wrt: Sequence[Node], cotangent: Node | None = None) -> list[Node]:
    """The gradient of `output` in each node of `wrt`: cotangent * d output / d node, of the node's own type.

    A node that the output does not depend on gets zeros. The cotangent of a scalar output is 1 unless given.

    >>> from gradcompile.ir.core import leaf
    >>> x = leaf("x")
    >>> vjp(x * x, [x])[0].op.name
    'mul'
    """
    found = adjoints(output, wrt, cotangent)
    return [found.get(n) or zeros_like(n) for n in wrt]


def adjoints(
    output: Node,
    wrt: Iterable[Node],
    cotangent: Node | None = None,
    params: Iterable[Node] | None = None,
    told: Told | None = None,
) -> dict[Node, Node]:
    """The adjoint of every node between `wrt` and the output that receives one.

    `params` are what alone changes, where that is less than `wrt`.  `told` hears what each node sends to its arguments.
    """
    if output.type.shape and cotangent is None:
        raise GraphError(f"the output has type {output.type}: a cotangent of that type is needed")
    return backpropagate([(output, cotangent or const(1.0, output.type.dtype))], wrt, params=params, told=told)


def backpropagate(
    cotangents: Sequence[tuple[Node, Node]],
    wrt: Iterable[Node],
    care: Care | None = None,
    params: Iterable[Node] | None = None,
    told: Told | None = None,
) -> dict[Node, Node]:
    """The adjoints of several outputs together, each given with its cotangent."""
    order, wanted = topological([output for output, _ in cotangents]), set(wrt)
    given, care = care, care or Care(order)
    active = depends_on(order, wanted)
    slopes = Slopes(order, moved(order, wanted if params is None else params), None if given else care.least)
    bases = {n: parts for n, parts in powers(order).items() if n not in wanted}
    received: dict[Node, list[Node]] = {}
    for output, cotangent in cotangents:
        received.setdefault(output, []).append(cotangent)
    result: dict[Node, Node] = {}
    for n in reversed(order):
        if n in received and n in active:
            adjoint = result[n] = accumulate(received.pop(n), n, care)
            if 0 in n.type.shape:  # no entries, so nothing is sent: not even 0 times an infinite slope
                continue
            parts = contributions(n, adjoint, care, slopes)
            if is_div(n) and n.args[1] in bases:
                sent = [(n.args[0], parts[0]), *slopes.to_bases(n, adjoint, bases[n.args[1]])]
            else:
                sent = list(zip(n.args, parts, strict=True))
            check_known(n, active)
            for arg, part in sent:
                if part is not None and arg in active and arg.type.dtype.startswith("float"):
                    received.setdefault(arg, []).append(part)
                    if told is not None:
                        told(n, arg, part)
    return result


def check_known(n: Node, moving: Container[Node]) -> None:
    """Raise ExpressionError where an argument moves by which the derivative has no formula."""
    for k in n.op.refuses:
        if n.args[k] in moving:
            raise ExpressionError(f"{n.op.name} ({n.op.doc}) has no derivative by its argument {k + 1} here; "
                                  "gradcompile.stop_gradient holds it fixed")  # fmt: skip


def contributions(n: Node, adjoint: Node, care: Care, slopes: Slopes) -> Sequence[Node | None]:
    """What each argument receives from a node's adjoint: adjoint * partial, or the transpose of a linear op."""
    if n.op.careful is not None:
        careful = n.op.careful
        return transposed(lambda g, loop: careful(g, loop, care), adjoint, n, care)
    if is_dot(n) and slopes.steep(n):
        return contracted_steep(adjoint, n, slopes)
    if n.op.vjp is not None:
        rule = contracted if is_dot(n) else picked if n.op.picks_entries else transposed
        return rule(n.op.vjp, adjoint, n, care)
    if n.op.partials is not None:
        partials = n.op.partials(n)
        parts = [None if p is None else slopes.sent(n, k, adjoint, p) for k, p in enumerate(partials)]
        if n not in care.settles:
            return parts
        return [part and p and masked(nonzero(p), part) for part, p in zip(parts, partials, strict=True)]
    return [None] * len(n.args)


def nonzero(partial: Node) -> Node:
    """Where a partial is not 0; NaN is not."""
    return unequal(partial, 0.0)


def transposed(rule: Vjp, adjoint: Node, n: Node, care: Care) -> Sequence[Node | None]:
    """The transpose of an op; what it passes on from behind a branch stays behind one, where that matters.

    One condition for all entries is kept. Conditions of single entries are copied where the transpose copies entries;
    where it adds them up, as scatter does, a place is behind a branch that none of its entries took. A transpose that
    computes with values, as of an inverse, may give NaN itself.
    """
    behind = [n] if n.op.reach else []
    if not any(care.keeps(adjoint, a) for a in (*behind, *n.args) if a is n or not is_stored(a)):
        return rule(adjoint, n)
    condition, shape = adjoint.args[0], adjoint.type.shape
    taken: Sequence[Node | None] = [condition] * len(n.args)
    parts: Sequence[Node | None]
    if not condition.type.shape:
        parts = rule(expand(adjoint.args[1], shape), n)
    elif n.op.transpose_copies:
        parts, taken = rule(expand(adjoint.args[1], shape), n), copied(rule, expand(condition, shape), n)
    elif is_item(n) and (rows := of_rows(condition, n)) is not None:
        parts, taken = picked_where(rule, expand(adjoint.args[1], shape), rows, n), [None]
    else:
        parts, taken = rule(adjoint, n), reached(n.op.reach or rule, adjoint, n)
    return [p if p is None or c is None else masked(c, p) for p, c in zip(parts, taken, strict=True)]


def picked(rule: Vjp, adjoint: Node, n: Node, care: Care) -> Sequence[Node | None]:
    """The transpose of an op that picks entries: the others are behind a branch, if the adjoint 0 would not do."""
    a = n.args[0]
    if is_masked(adjoint) or is_stored(a) or a not in care.wild or is_cover(n):
        return transposed(rule, adjoint, n, care)
    ones = expand(const(1.0, adjoint.type.dtype), n.type.shape)
    return [None if p is None or c is None else masked(positive(c), p)
            for p, c in zip(rule(adjoint, n), rule(ones, n), strict=True)]  # fmt: skip


def picked_where(rule: Vjp, adjoint: Node, rows: Node, n: Node) -> Sequence[Node | None]:
    """The transpose of `item` behind a condition that holds for all of a row or for none."""
    ones = expand(const(1.0, adjoint.type.dtype), n.type.shape)
    parts, places = rule(adjoint, n), rule(ones, n)
    return [p and c and masked(rows, masked(positive(c), p)) for p, c in zip(parts, places, strict=True)]


def reached(rule: Vjp, adjoint: Node, n: Node) -> list[Node | None]:
    """Where the transpose of an op gets something from an adjoint behind a branch: the places that it adds ones to."""
    ones = expand(ones_where(adjoint.args[0], adjoint.type.dtype), n.type.shape)
    return [None if c is None else positive(c) for c in rule(ones, n)]


def contracted(rule: Vjp, adjoint: Node, n: Node, care: Care) -> Sequence[Node | None]:
    """The transposes of a contraction; nothing leaks through an operand that may be infinite where no adjoint goes.

    0 times an infinity is NaN, so such an operand is 0 there. Finite operands, as in most networks, cost nothing.
    """
    if not any(care.keeps(adjoint, a) for a in n.args):
        return rule(adjoint, n)
    if not adjoint.args[0].type.shape:
        return transposed(rule, adjoint, n, care)
    taken = [behind(adjoint, n, k) if care.keeps(adjoint, a) else None for k, a in enumerate(n.args)]
    args = [a if c is None else masked(c, a) for a, c in zip(n.args, taken, strict=True)]
    parts = rule(adjoint, node(n.op, args, n.params))
    return [p if p is None or c is None else masked(c, p) for p, c in zip(parts, taken, strict=True)]


def contracted_steep(adjoint: Node, n: Node, slopes: Slopes) -> Sequence[Node | None]:
    """The transposes of a contraction whose adjoint may be infinite: entry by entry, then summed."""
    (a, b), (la, lb, lr) = n.args, n.params
    sizes = dict(zip((*la, *lb), (*a.type.shape, *b.type.shape), strict=True))
    found: list[Node | None] = []
    for other, labels, others in ((b, la, lb), (a, lb, la)):
        axes = [*labels, *(label for label in lr if label not in labels)]
        shape = tuple(sizes[label] for label in axes)
        parts = [spread_labels(x, k, axes, shape) for x, k in ((adjoint, lr), (other, others))]
        product = slopes.times(parts[0], parts[1], slopes.steep(n))
        lost = tuple(range(len(labels), len(axes)))
        found.append(sum_over(product, lost) if lost else product)
    return found


def behind(adjoint: Node, n: Node, k: int) -> Node | None:
    """Where the adjoint of a contraction reaches an operand: somewhere along the axes that the operand lacks."""
    labels, own = n.params[k], n.params[2]
    lost = [j for j, label in enumerate(own) if label not in labels]
    found = anywhere(adjoint.args[0], n.type.shape, lost, adjoint.type.dtype)
    return found and spread_labels(found, [label for label in own if label in labels], labels, n.args[k].type.shape)


def copied(rule: Vjp, condition: Node, n: Node) -> Sequence[Node | None]:
    """The conditions of the entries that a transpose copies, compared with 0 after they are copied."""
    if not is_lt(condition) or not is_const(condition.args[0], 0.0):
        return rule(condition, n)
    return [None if c is None else less(condition.args[0], c) for c in rule(condition.args[1], n)]


def accumulate(parts: Sequence[Node], primal: Node, care: Care) -> Node:
    """The sum of the contributions, of the primal's shape: what broadcasting spread out is summed, once."""
    if len(parts) == 1 and parts[0].type == primal.type:
        return parts[0]
    by_shape: dict[Shape, list[Node]] = {}
    for part, count in Counter(parts).items():
        by_shape.setdefault(part.type.shape, []).append(multiple(count, part))
    whole = total([unbroadcast(total(group), primal, care) for group in by_shape.values()])
    return of_dtype(whole, primal.type.dtype)


def of_dtype(x: Node, dtype: str) -> Node:
    """An adjoint in the dtype of its primal, behind the branch that it came from."""
    if x.type.dtype == dtype:
        return x
    return masked(x.args[0], of_dtype(x.args[1], dtype)) if is_masked(x) else astype(x, dtype)


def unbroadcast(x: Node, primal: Node, care: Care) -> Node:
    """Sum over the axes that broadcasting added or stretched, or repeat over those that a constant partial left out.

    The sum over a branch that no sample took is itself behind a branch, if something lies there that needs it.
    """
    own, shape = x.type.shape, primal.type.shape
    if own == shape:
        return x
    extra = len(own) - len(shape)
    if extra < 0:
        return expand(x, shape)
    axes = tuple(k for k, d in enumerate(own) if k < extra or (d != 1 and shape[k - extra] == 1))
    if any(d != shape[k - extra] for k, d in enumerate(own) if k not in axes):
        raise GraphError(f"an adjoint of shape {own} does not reduce to {shape}")
    result = with_kept(sum_over(unpicked(x), axes), own, axes, shape)
    if is_stored(primal) or not care.keeps(x, primal):
        return result
    condition = anywhere(x.args[0], own, axes, x.type.dtype)
    return result if condition is None else masked(with_kept(condition, own, axes, shape), result)


def with_kept(x: Node, own: Shape, axes: Sequence[int], shape: Shape) -> Node:
    """What is left without axes of a shape, in one that may keep some of them, with one entry."""
    extra = len(own) - len(shape)
    kept = tuple(k - extra for k in range(len(own)) if k not in axes)
    return x if len(kept) == len(shape) else broadcast_to(x, shape, kept)


def jvp(outputs: Sequence[Node], primals: Sequence[Node], tangents: Sequence[Node]) -> list[Node]:
    """The directional derivative of the outputs along the tangents of the primals: forward mode.

    Each result has the type of its output.
    """
    return pushed(outputs, dict(zip(primals, tangents, strict=True)))[0]


def pushed(outputs: Sequence[Node], tangents: Mapping[Node, Node]) -> tuple[list[Node], dict[Node, Node]]:
    """The tangents of the outputs, each of its output's type, and of every node below that has one."""
    known = pushforward(outputs, tangents)
    return [expand(known[o], o.type.shape) if o in known else zeros_like(o) for o in outputs], known


def pushforward(outputs: Sequence[Node], tangents: Mapping[Node, Node]) -> dict[Node, Node]:
    """The tangent of every node below the outputs that has one, from those of some nodes."""
    known = dict(tangents)
    for n in topological(outputs):
        if n not in known and any(a in known for a in n.args):
            tangent = tangent_of(n, known)
            if tangent is not None:
                known[n] = tangent
    return known


def tangent_of(n: Node, tangents: Mapping[Node, Node]) -> Node | None:
    """The tangent of one node from those of its arguments, None where it is a structural zero."""
    if n.op.jvp is not None:
        given = [tangents.get(a) for a in n.args]
        return n.op.jvp(n, tuple(t and expand(t, a.type.shape) for t, a in zip(given, n.args, strict=True)))
    if n.op.partials is None:
        return None
    check_known(n, tangents)
    parts = [
        times(tangents[a], p) for a, p in zip(n.args, n.op.partials(n), strict=True) if p is not None and a in tangents
    ]
    return total(parts) if parts else None
