"""Differentiation of graphs: vjp (reverse mode) and jvp (forward mode), from the partials in the op table.

Both build nodes, never numbers, so derivatives of derivatives and sharing with the primal come by themselves.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from operator import attrgetter

from gradcompile.bounds import SMALL
from gradcompile.errors import GraphError
from gradcompile.ir import Node, apply, const, depends_on, is_const, node, topological
from gradcompile.ops.contract import spread
from gradcompile.ops.record import Vjp
from gradcompile.ops.shape import expand
from gradcompile.slopes import ROOT, Power, Slopes, powers, unless_zero
from gradcompile.types import Shape

COPIED = frozenset(
    {"sum", "assemble", "pack", "transpose", "reshape", "scatter_add", "overlap"}
)  # their transposes copy entries of the adjoint
TAME = frozenset(
    {"const", "leaf", "table", "iota", "add", "mul", "neg", "abs", "sign", "max", "min", "sin", "cos", "tanh", "erf"}
    | {"sigmoid", "softplus", "select", "stop_gradient", "cast", "size", "sum", "amax", "cumsum", "dot", "broadcast"}
    | {"item", "assemble", "transpose", "reshape", "pack", "take", "scatter", "gather", "scatter_add", "window"}
    | {"overlap", "lt", "le", "eq", "ne", "and", "or", "xor", "not", "heaviside", "floor", "ceil", "rint", "atan"}
    | {"erfc", "argmax", "argsort"}
)  # finite, as their partials are, where their arguments are, overflow apart
INFINITE_AT_ZERO = frozenset({"div", "sqrt", "log"})  # of their last argument, or their partials are
op_name = attrgetter("op.name")


def vjp(output: Node, wrt: Sequence[Node], cotangent: Node | None = None) -> list[Node]:
    """The gradient of `output` in each node of `wrt`: cotangent * d output / d node, of the node's own type.

    A node that the output does not depend on gets zeros. The cotangent of a scalar output is 1 unless given.

    >>> from gradcompile.ir import leaf
    >>> x = leaf("x")
    >>> vjp(apply("mul", x, x), [x])[0].op.name
    'mul'
    """
    found = adjoints(output, wrt, cotangent)
    return [found.get(n) or zeros(n) for n in wrt]


def adjoints(
    output: Node, wrt: Iterable[Node], cotangent: Node | None = None, params: Iterable[Node] | None = None
) -> dict[Node, Node]:
    """The adjoint of every node between `wrt` and the output that receives one.

    `params` are what alone changes, where that is less than `wrt`.
    """
    if output.type.shape and cotangent is None:
        raise GraphError(f"the output has type {output.type}: a cotangent of that type is needed")
    return pulled([(output, cotangent or const(1.0, output.type.dtype))], wrt, params)


def pulled(
    cotangents: Sequence[tuple[Node, Node]], wrt: Iterable[Node], params: Iterable[Node] | None = None
) -> dict[Node, Node]:
    """The adjoints of several outputs together, each given with its cotangent."""
    order, wanted = topological([output for output, _ in cotangents]), set(wrt)
    active = depends_on(order, wanted)
    slopes = Slopes(order, active if params is None else depends_on(order, params))
    raised = {n: parts for n, parts in powers(order).items() if n not in wanted}
    received: dict[Node, list[Node]] = {}
    for output, cotangent in cotangents:
        received.setdefault(output, []).append(cotangent)
    result: dict[Node, Node] = {}
    wild = wild_nodes(order, slopes.least)
    for n in reversed(order):
        if n in received and n in active:
            adjoint = result[n] = accumulate(received.pop(n), n, n in wild)
            for arg, part in sent(n, adjoint, wild, slopes, raised):
                if part is not None and arg in active and arg.type.dtype.startswith("float"):
                    received.setdefault(arg, []).append(part)
    return result


def sent(
    n: Node, adjoint: Node, wild: Set[Node], slopes: Slopes, raised: Mapping[Node, Sequence[Power]]
) -> Iterable[tuple[Node, Node | None]]:
    """What a node's adjoint sends to which nodes: to its arguments, but from a quotient to the bases of the divisor."""
    parts = contributions(n, adjoint, wild, slopes)
    if n.op.name != "div" or n.args[1] not in raised:
        return zip(n.args, parts, strict=True)
    bases = raised[n.args[1]]
    return [(n.args[0], parts[0]), *((base, by_base(n, adjoint, base, k, slopes)) for base, k in bases)]


def by_base(n: Node, adjoint: Node, base: Node, exponent: float, slopes: Slopes) -> Node:
    """What goes from v = x/y to a base of y = b**k*...: -k*v/b, which is in range where x/y**2 is not."""
    ratio = apply("div", n, base)
    partial = ratio if exponent == 1.0 else apply("mul", const(exponent, n.type.dtype), ratio)
    return bounded_times(adjoint, apply("neg", partial), slopes, slopes.steep(n))


def wild_nodes(order: Sequence[Node], least: Mapping[Node, float]) -> set[Node]:
    """The nodes that may be infinite or NaN where the leaves are finite, or that the loss itself asks about.

    0 times such a value is NaN, so nothing may reach them from behind a branch. All others need no such care, and
    neither do quotients, roots and logarithms of what stays above zero, as a variance plus a small number.
    """
    asked = [n.args[0] for n in order if n.op.name in ("ne", "eq") and n.args[0] is n.args[1]]
    return depends_on(order, [*(n for n in order if not (is_tame(n) or is_apart(n, least))), *asked])


def is_tame(n: Node) -> bool:
    """Whether a node is finite where its arguments are, overflow apart; a loop, if its steps are."""
    if n.op.name == "scan":
        return all(map(is_tame, topological(n.params[0].roots)))
    return n.op.name in TAME


def is_apart(n: Node, least: Mapping[Node, float]) -> bool:
    """Whether a node is infinite at 0 alone, and its argument, or divisor, stays above that."""
    return n.op.name in INFINITE_AT_ZERO and least[n.args[-1]] >= SMALL


def contributions(n: Node, adjoint: Node, wild: Set[Node], slopes: Slopes) -> Sequence[Node | None]:
    """What each argument receives from a node's adjoint: adjoint * partial, or the transpose of a linear op."""
    if n.op.vjp is not None and n.op.name == "dot":
        return contracted_steep(adjoint, n, slopes) if slopes.steep(n) else contracted(adjoint, n, wild)
    if n.op.vjp is not None:
        return transposed(n.op.vjp, adjoint, n, wild)
    if n.op.partials is not None:
        return [None if p is None else sloped(n, k, adjoint, p, slopes) for k, p in enumerate(n.op.partials(n))]
    return [None] * len(n.args)


def sloped(n: Node, k: int, adjoint: Node, partial: Node, slopes: Slopes) -> Node:
    """adjoint * partial, with 0 for a partial that is infinite at a minimum, and for 0 times an infinite adjoint."""
    if slopes.at_minimum(n, k):
        partial = masked(slopes.off_minimum(n), partial)
    return bounded_times(adjoint, partial, slopes, slopes.steep(n))


def bounded_times(adjoint: Node, partial: Node, slopes: Slopes, steep: int) -> Node:
    """adjoint * partial, where the adjoint may be infinite: 0 where the partial is for a reason that `slopes` knows."""
    if not steep or is_const(partial):
        return times(adjoint, partial)
    if is_masked(partial):
        return masked(partial.args[0], bounded_times(adjoint, partial.args[1], slopes, steep))
    if is_masked(adjoint):
        return masked(adjoint.args[0], bounded_times(adjoint.args[1], partial, slopes, steep))
    still, others = slopes.vanishing(partial)
    product = times(adjoint, partial)
    if others and steep == ROOT:
        product = unless_zero(partial, product)
    for factor in still:
        product = masked(apply("ne", factor, const(0.0, factor.type.dtype)), product)
    return product


def contracted_steep(adjoint: Node, n: Node, slopes: Slopes) -> Sequence[Node | None]:
    """The transposes of a contraction whose adjoint may be infinite: entry by entry, then summed."""
    (a, b), (la, lb, lr) = n.args, n.params
    found: list[Node | None] = []
    for own, other, labels, others in ((a, b, la, lb), (b, a, lb, la)):
        axes = [*labels, *(label for label in lr if label not in labels)]
        sizes = dict(zip((*la, *lb), (*a.type.shape, *b.type.shape), strict=True))
        shape = tuple(sizes[label] for label in axes)
        parts = [spread(x, k, axes, like) for x, k, like in ((adjoint, lr, shape), (other, others, shape))]
        product = bounded_times(parts[0], parts[1], slopes, slopes.steep(n))
        lost = tuple(range(len(labels), len(axes)))
        found.append(summed(product, lost, own.type.shape) if lost else product)
    return found


def transposed(rule: Vjp, adjoint: Node, n: Node, wild: Set[Node]) -> Sequence[Node | None]:
    """The transpose of a linear op; what it passes on from behind a branch to something wild stays behind one.

    One condition for all entries is kept. Conditions of single entries are copied where the transpose copies entries;
    where it adds them up, as scatter does, a place is behind a branch that none of its entries took.
    """
    if not is_masked(adjoint) or all(is_stored(a) or a not in wild for a in n.args):
        return rule(adjoint, n)
    condition, shape = adjoint.args[0], adjoint.type.shape
    taken: Sequence[Node | None] = [condition] * len(n.args)
    if not condition.type.shape:
        parts = rule(expand(adjoint.args[1], shape), n)
    elif n.op.name in COPIED:
        parts, taken = rule(expand(adjoint.args[1], shape), n), copied(rule, expand(condition, shape), n)
    else:
        parts, taken = rule(adjoint, n), reached(n.op.reach or rule, adjoint, n)
    return [p if p is None or c is None else masked(c, p) for p, c in zip(parts, taken, strict=True)]


def reached(rule: Vjp, adjoint: Node, n: Node) -> list[Node | None]:
    """Where the transpose of an op gets something from an adjoint behind a branch: the places that it adds ones to."""
    condition, zero = adjoint.args[0], adjoint.args[2]
    ones = expand(apply("select", condition, const(1.0, zero.type.dtype), zero), n.type.shape)
    return [None if c is None else apply("lt", zero, c) for c in rule(ones, n)]


def contracted(adjoint: Node, n: Node, wild: Set[Node]) -> Sequence[Node | None]:
    """The transposes of a contraction; nothing leaks through an operand that may be infinite where no adjoint goes.

    0 times an infinity is NaN, so such an operand is 0 there. Finite operands, as in most networks, cost nothing.
    """
    rule, reach = n.op.vjp, n.op.reach
    assert rule is not None
    assert reach is not None
    if not is_masked(adjoint) or not any(a in wild for a in n.args):
        return rule(adjoint, n)
    if not adjoint.args[0].type.shape:
        return transposed(rule, adjoint, n, wild)
    taken = [c if a in wild else None for a, c in zip(n.args, reached(reach, adjoint, n), strict=True)]
    args = [a if c is None else masked(c, a) for a, c in zip(n.args, taken, strict=True)]
    parts = rule(adjoint, node(n.op, args, n.params))
    return [p if p is None or c is None else masked(c, p) for p, c in zip(parts, taken, strict=True)]


def is_stored(n: Node) -> bool:
    """Whether a value comes from outside, as a leaf, an entry of one, or a vector of them: nothing lies behind."""
    return not n.args or (n.op.name in ("item", "pack") and all(not a.args for a in n.args))


def copied(rule: Vjp, condition: Node, n: Node) -> Sequence[Node | None]:
    """The conditions of the entries that a transpose copies, compared with 0 after they are copied."""
    if condition.op.name != "lt" or not is_const(condition.args[0], 0.0):
        return rule(condition, n)
    return [None if c is None else apply("lt", condition.args[0], c) for c in rule(condition.args[1], n)]


def accumulate(parts: Sequence[Node], primal: Node, is_wild: bool) -> Node:
    """The sum of the contributions, of the primal's shape: what broadcasting spread out is summed, once."""
    by_shape: dict[Shape, list[Node]] = {}
    for part, count in Counter(parts).items():
        by_shape.setdefault(part.type.shape, []).append(multiple(count, part))
    whole = total([unbroadcast(total(group), primal.type.shape, is_wild) for group in by_shape.values()])
    return of_dtype(whole, primal.type.dtype)


def of_dtype(x: Node, dtype: str) -> Node:
    """An adjoint in the dtype of its primal, behind the branch that it came from."""
    if x.type.dtype == dtype:
        return x
    return masked(x.args[0], of_dtype(x.args[1], dtype)) if is_masked(x) else apply("cast", x, params=(dtype,))


def unbroadcast(x: Node, shape: Shape, inner: bool) -> Node:
    """Sum over the axes that broadcasting added or stretched, or repeat over those that a constant partial left out.

    The sum over a branch that no sample took is itself behind a branch, if something wild lies there (`inner`).
    """
    own = x.type.shape
    if own == shape:
        return x
    extra = len(own) - len(shape)
    if extra < 0:
        return expand(x, shape)
    axes = tuple(k for k, d in enumerate(own) if k < extra or (d != 1 and shape[k - extra] == 1))
    if any(d != shape[k - extra] for k, d in enumerate(own) if k not in axes):
        raise GraphError(f"an adjoint of shape {own} does not reduce to {shape}")
    if inner and is_masked(x):
        if not x.args[0].type.shape:
            return masked(x.args[0], summed(x, axes, shape))
        zero = const(0.0, x.type.dtype)
        taken = expand(apply("select", x.args[0], const(1.0, x.type.dtype), zero), own)
        return masked(apply("lt", zero, summed(taken, axes, shape)), summed(x, axes, shape))
    return summed(x, axes, shape)


def summed(x: Node, axes: tuple[int, ...], shape: Shape) -> Node:
    """The sum over the axes, of a shape that may keep some of them, with one entry."""
    extra = len(x.type.shape) - len(shape)
    kept = tuple(k - extra for k in range(len(x.type.shape)) if k not in axes)
    result = apply("sum", x, params=(axes,))
    return result if len(kept) == len(shape) else apply("broadcast", result, params=(shape, kept))


def total(parts: Sequence[Node]) -> Node:
    """The sum of adjoints; those that come out of branches stay behind the union of their conditions."""
    if len(parts) == 1:
        return parts[0]
    conditions = list(dict.fromkeys(p.args[0] for p in parts if is_masked(p)))
    if not all(map(is_masked, parts)):
        return apply("add", *parts)
    if len(conditions) == 1:
        return masked(conditions[0], apply("add", *(p.args[1] for p in parts)))
    return masked(apply("or", *conditions), apply("add", *parts))


def multiple(count: int, x: Node) -> Node:
    """count*x, as x*x sends back its adjoint twice; behind a branch it stays there."""
    if count == 1:
        return x
    number = const(float(count), x.type.dtype)
    return masked(x.args[0], apply("mul", number, x.args[1])) if is_masked(x) else apply("mul", number, x)


def is_masked(x: Node) -> bool:
    """Whether an adjoint or partial has the form select(c, a, 0): nothing behind a branch that was not taken."""
    return x.op.name == "select" and is_const(x.args[2], 0.0)


def masked(condition: Node, x: Node) -> Node:
    """select(condition, x, 0), with nested conditions joined so that the depth stays one."""
    if is_masked(x):
        inner, x = x.args[0], x.args[1]
        condition = condition if inner is condition else apply("and", condition, inner)
    return apply("select", condition, x, const(0.0, x.type.dtype))


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
        return apply("neg", adjoint)
    if is_const(adjoint, 1.0):
        return partial
    if partial.op.name == "neg":
        return apply("neg", times(adjoint, partial.args[0]))
    if partial.op.name == "div" and is_const(partial.args[0], 1.0):
        return apply("div", adjoint, partial.args[1])
    return apply("mul", adjoint, partial)


def zeros(n: Node) -> Node:
    """Zeros of a node's type."""
    zero = const(0.0, n.type.dtype)
    return apply("broadcast", zero, params=(n.type.shape,)) if n.type.shape else zero


def jvp(outputs: Sequence[Node], primals: Sequence[Node], tangents: Sequence[Node]) -> list[Node]:
    """The directional derivative of the outputs along the tangents of the primals: forward mode.

    Each result has the type of its output.
    """
    known = pushed(outputs, dict(zip(primals, tangents, strict=True)))
    return [expand(known[o], o.type.shape) if o in known else zeros(o) for o in outputs]


def pushed(outputs: Sequence[Node], tangents: Mapping[Node, Node]) -> dict[Node, Node]:
    """The tangent of every node below the outputs that has one, from those of some nodes."""
    known = dict(tangents)
    for n in topological(outputs):
        if n not in known and any(a in known for a in n.args):
            tangent = pushforward(n, known)
            if tangent is not None:
                known[n] = tangent
    return known


def pushforward(n: Node, tangents: Mapping[Node, Node]) -> Node | None:
    """The tangent of one node from those of its arguments, None where it is a structural zero."""
    if n.op.jvp is not None:
        given = [tangents.get(a) for a in n.args]
        return n.op.jvp(n, tuple(t and expand(t, a.type.shape) for t, a in zip(given, n.args, strict=True)))
    if n.op.partials is None:
        return None
    parts = [
        times(tangents[a], p) for a, p in zip(n.args, n.op.partials(n), strict=True) if p is not None and a in tangents
    ]
    return total(parts) if parts else None
