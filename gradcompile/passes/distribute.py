"""Sums of adjoints over samples taken apart, where a term waits for a factor that comes from all samples itself.

The adjoint of a mean is sum(a + c*b) in batch normalisation, with c the adjoint of the variance, which is a sum of its
own. As sum(a) + c*sum(b) it needs no walk over the samples after c is known. As in `hoist`, a factor and a sum change
places, which changes rounding; a term that carries no samples, as in sum(x - mean), stays where it is.
"""

from collections.abc import Sequence

from gradcompile.ir.algebra import add, broadcast_to, expand, is_add, part_at, sum_over
from gradcompile.ir.core import Node, const
from gradcompile.ir.graph import operands, rebuild, topological
from gradcompile.ir.types import Shape
from gradcompile.ops.contract import is_dot
from gradcompile.ops.reduction import is_sum
from gradcompile.ops.shape import is_broadcast, places

Axes = tuple[int, ...]


def distribute_sums(roots: Sequence[Node], primal: Node, others: Sequence[Node] = ()) -> list[Node]:
    """The roots, and others after them, with the sums above the primal taken apart where that saves a walk."""
    level: dict[Node, int] = {}
    known = set(topological([primal]))

    def rule(n: Node) -> Node:
        if not is_sum(n) or not is_add(n.args[0]) or not is_reduction(n):
            return n
        enter(n, level)
        return divided(n, level) or n

    return rebuild([*roots, *others], rule, settled=known.__contains__)


def is_reduction(n: Node) -> bool:
    """Whether a node takes away an axis whose length has a name, as that of the samples."""
    if is_dot(n):
        la, lb, result = n.params
        sizes = dict(zip((*la, *lb), (*n.args[0].type.shape, *n.args[1].type.shape), strict=True))
        return any(isinstance(d, str) for label, d in sizes.items() if label not in result)
    return n.op.is_reduction and any(isinstance(n.args[0].type.shape[k], str) for k in n.params[0])


def enter(n: Node, level: dict[Node, int]) -> None:
    """Enter how many reductions come one after the other in a node, and in those below."""
    for x in topological([n], level.__contains__):
        level[x] = max((level[a] for a in x.args), default=0) + is_reduction(x)


def divided(n: Node, level: dict[Node, int]) -> Node | None:
    """sum(a + c*b) as sum(a) + c*sum(b); None unless c alone comes from as many reductions as the sum waits for."""
    (axes,), shape = n.params, n.args[0].type.shape
    terms = operands(n.args[0], "add")
    latest = max(level[t] for t in terms)
    waiting = [t for t in terms if level[t] == latest]
    pairs = [split(t, axes, shape) for t in waiting]
    for _, core in pairs:
        enter(core, level)
    if len(waiting) == len(terms) or any(level[core] == latest or not carries(core, axes, shape) for _, core in pairs):
        return None
    rest = [t for t in terms if level[t] < latest]
    ready = add(*rest)
    sums = [sum_over(expand(x, shape), *n.params) for x in (ready, *(core for _, core in pairs))]
    return add(sums[0], *(c * s for (c, _), s in zip(pairs, sums[1:], strict=True)))


def split(term: Node, axes: Axes, shape: Shape) -> tuple[Node, Node]:
    """The factors of a term that are the same along the axes, of a shape without these, and the others."""
    free: list[Node] = []
    core: list[Node] = []
    for f in operands(term, "mul"):
        found = without(f, axes, len(shape))
        (core if found is None else free).append(f if found is None else found)
    return product(free, term), product(core, term)


def product(factors: Sequence[Node], like: Node) -> Node:
    """The product of factors; 1 of none."""
    result = factors[0] if factors else const(1.0, like.type.dtype)
    for f in factors[1:]:
        result = result * f
    return result


def carries(x: Node, axes: Axes, shape: Shape) -> bool:
    """Whether a value has these axes of a shape itself, its own being the last ones."""
    own = [k - len(shape) + len(x.type.shape) for k in axes]
    return all(j >= 0 and x.type.shape[j] == shape[k] for j, k in zip(own, axes, strict=True))


def without(x: Node, axes: Axes, rank: int) -> Node | None:
    """A value that is the same along axes, without them; its own are the last of so many. None where it is not."""
    gone = {k - rank + len(x.type.shape) for k in axes if k >= rank - len(x.type.shape)}
    if is_broadcast(x):
        at = places(x.params, len(x.args[0].type.shape))
        left = [j for j in range(len(x.type.shape)) if j not in gone]
        shape = tuple(x.type.shape[j] for j in left)
        return None if gone & {*at} else repeated(x.args[0], shape, [*map(left.index, at)])
    if any(x.type.shape[j] != 1 for j in gone):
        return None
    index = tuple(0 if j in gone else None for j in range(len(x.type.shape)))
    return part_at(x, index) if gone else x


def repeated(x: Node, shape: Shape, at: Sequence[int]) -> Node:
    """x over the axes of a shape, its own at these places."""
    is_last = list(at) == list(range(len(shape) - len(at), len(shape)))
    return expand(x, shape) if is_last else broadcast_to(x, shape, tuple(at))
