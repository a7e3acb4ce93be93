"""One formula for many: a graph on the entries of stacked arrays becomes one on the arrays, with an axis 0 more."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from gradcompile.ir.algebra import astype, broadcast_to, counting, equal, permute, reshape_to
from gradcompile.ir.core import Node, Params, apply, const, node
from gradcompile.ir.graph import substitute, topological
from gradcompile.ir.types import Dim, Shape
from gradcompile.ops.contract import contract
from gradcompile.ops.linalg import OF_MATRICES
from gradcompile.ops.shape import left_axes, places

Pairs = Sequence[tuple[Node, bool]]  # arguments, and whether each is stacked


def fitting(order: Iterable[Node], given: Iterable[Node], moving: Iterable[Node]) -> set[Node]:
    """The nodes among the moving ones that `batched` can compute from the given ones; arguments come first in order."""
    found, changing = set(given), set(moving)
    for n in order:
        if n in changing and (n.op.name in RULES or n.op.emit) and found.issuperset(changing.intersection(n.args)):
            found.add(n)
    return found


def batched(roots: Sequence[Node], known: Mapping[Node, Node], fixed: Mapping[Node, Node], length: Dim) -> list[Node]:
    """The roots for all places of axis 0 at once.

    known: nodes below the roots, and their values stacked along an axis 0 of that length; fixed: what stands for the
    other leaves, the same for all places.

    >>> from gradcompile.ir.core import leaf
    >>> from gradcompile.ir.types import ArrayType
    >>> x, X, w = leaf("x"), leaf("X", ArrayType(("T",))), leaf("w", ArrayType((3,)))
    >>> batched([apply("mul", x, w)], {x: X}, {}, "T")
    [<mul float64[T, 3]>]
    """
    new = dict(known)
    for n in topological(roots, known.__contains__):
        if not new.keys().isdisjoint(n.args):
            pairs = [(new[a], True) if a in new else (outside(a, fixed), False) for a in n.args]
            new[n] = RULES.get(n.op.name, elementwise)(n, pairs, length)
    return [new[r] if r in new else repeated(outside(r, fixed), length) for r in roots]


def outside(n: Node, fixed: Mapping[Node, Node]) -> Node:
    """A node that is the same for all places."""
    return substitute([n], fixed)[0]


def repeated(x: Node, length: Dim) -> Node:
    """The same value for all places."""
    return broadcast_to(x, (length, *x.type.shape))


def aligned(x: Node, rank: int) -> Node:
    """A stacked value with axes of one entry after axis 0, so that the others are the last ones of a rank."""
    missing = rank + 1 - len(x.type.shape)
    if not missing:
        return x
    length, *rest = x.type.shape
    kept = (0, *range(missing + 1, rank + 1))
    return broadcast_to(x, (length, *[1] * missing, *rest), kept)


def elementwise(n: Node, pairs: Pairs, length: Dim) -> Node:
    """Entry by entry."""
    rank = len(n.type.shape)
    return apply(n.op.name, *(aligned(x, rank) if stacked else x for x, stacked in pairs), params=n.params)


def dot(n: Node, pairs: Pairs, length: Dim) -> Node:
    """A label more, of what is stacked; unit vectors pick the rows of the other operand."""
    label = 1 + max(max(labels, default=-1) for labels in n.params)
    result = (label, *n.params[2])
    left, right = ((x, (label, *own) if s else own) for (x, s), own in zip(pairs, n.params, strict=False))
    for (x, own), (other, labels) in ((left, right), (right, left)):
        if len(own) == 2 and own[0] == label and own[1] not in result and label not in labels and is_unit(x):
            renamed = [label if k == own[1] else k for k in labels]
            return relabelled_as(other, renamed, result)
    return contract(*left, *right, result)


def relabelled_as(x: Node, own: Sequence[int], result: Sequence[int]) -> Node:
    """The axes of a node in another order of their labels."""
    order = tuple(own.index(label) for label in result)
    return x if order == tuple(range(len(order))) else permute(x, order)


def unit(shape: Shape, dtype: str) -> Node:
    """As many arrays of a shape as it has entries, the k-th with 1 in its k-th place and 0 elsewhere."""
    size = math.prod(int(d) for d in shape)
    if not shape:
        return broadcast_to(const(1.0, dtype), (1,))
    axes = (counting((size, size), k) for k in (0, 1))
    return reshape_to(astype(equal(*axes), dtype), (size, *shape))


def is_unit(x: Node) -> bool:
    """Whether the rows of a matrix are unit vectors, as `unit` makes them."""
    return x.type.shape[:1] == x.type.shape[1:] and x is unit(x.type.shape[:1], x.type.dtype)


def shifted(axes: Iterable[int]) -> tuple[int, ...]:
    """Axes, one further back."""
    return tuple(k + 1 for k in axes)


def broadcast(n: Node, pairs: Pairs, length: Dim) -> Node:
    """Repeated over the same axes."""
    at = places(n.params, len(n.args[0].type.shape))
    return broadcast_to(pairs[0][0], (length, *n.params[0]), (0, *shifted(at)))


def assemble(n: Node, pairs: Pairs, length: Dim) -> Node:
    """In the same places of each."""
    shape, indices = n.params
    full = [spread(x, s, left_axes(shape, index), length) for (x, s), index in zip(pairs, indices, strict=True)]
    return apply("assemble", *full, params=((length, *shape), tuple((None, *index) for index in indices)))


def spread(x: Node, stacked: bool, shape: Shape, length: Dim) -> Node:
    """A value stacked, and of a shape, which a scalar may lack."""
    own = x.type.shape[1:] if stacked else x.type.shape
    x = x if stacked else repeated(x, length)
    return x if own == shape else broadcast_to(x, (length, *shape), (0,))


def stacked_all(n: Node, pairs: Pairs, length: Dim) -> Node:
    """An op whose leading axes are a batch anyway, the same for all arguments."""
    return node(n.op, [x if stacked else repeated(x, length) for x, stacked in pairs], n.params)


def by_params(change: Callable[[Params, Dim], Params]) -> Callable[[Node, Pairs, Dim], Node]:
    """An op of one argument, with other params."""
    return lambda n, pairs, length: apply(n.op.name, pairs[0][0], params=change(n.params, length))


def gather(n: Node, pairs: Pairs, length: Dim) -> Node:
    """Entries at places, of stacked values or at stacked places."""
    (x, stacked), *others = pairs
    (first,), count = n.params, len(others)
    if not any(s for _, s in others):
        return apply("gather", x, *(i for i, _ in others), params=(first + 1,))
    indices, rank = together(others, length), len(n.args[1].type.shape)
    if not stacked:
        found = apply("gather", x, *indices, params=(first,))
        return permute(found, moved_to(len(found.type.shape), first, 0))
    turned = permute(x, (0, *range(first + 1, first + 1 + count), *range(1, first + 1),
                         *range(first + 1 + count, len(x.type.shape))))  # fmt: skip
    found = apply("gather", turned, counting(indices[0].type.shape, 0), *indices, params=(0,))
    rest = range(rank + first + 1, len(found.type.shape))
    return permute(found, (0, *range(rank + 1, rank + 1 + first), *range(1, rank + 1), *rest))


def scatter_add(n: Node, pairs: Pairs, length: Dim) -> Node:
    """Entries added at places, of stacked values or at stacked places."""
    (g, stacked), *others = pairs
    (first, lengths), count = n.params, len(others)
    if not any(s for _, s in others):
        return apply("scatter_add", g, *(i for i, _ in others), params=(first + 1, lengths))
    g, indices, rank = g if stacked else repeated(g, length), together(others, length), len(n.args[1].type.shape)
    turned = permute(g, (0, *range(first + 1, first + 1 + rank), *range(1, first + 1),
                         *range(first + 1 + rank, len(g.type.shape))))  # fmt: skip
    places = (counting(indices[0].type.shape, 0), *indices)
    found = apply("scatter_add", turned, *places, params=(0, (length, *lengths)))
    rest = range(count + first + 1, len(found.type.shape))
    return permute(found, (0, *range(count + 1, count + 1 + first), *range(1, count + 1), *rest))


def together(indices: Pairs, length: Dim) -> list[Node]:
    """Places of which some are stacked, all stacked."""
    return [i if s else repeated(i, length) for i, s in indices]


def moved_to(rank: int, axis: int, place: int) -> tuple[int, ...]:
    """The order of axes in which one of them stands at a place."""
    order = [k for k in range(rank) if k != axis]
    return (*order[:place], axis, *order[place:])


RULES: dict[str, Callable[[Node, Pairs, Dim], Node]] = {
    "gather": gather,
    "scatter_add": scatter_add,
    **dict.fromkeys(("window", "overlap", "cumsum"), by_params(lambda params, _: (params[0] + 1, *params[1:]))),
    "dot": dot,
    "broadcast": broadcast,
    "assemble": assemble,
    "cast": by_params(lambda params, _: params),
    "item": by_params(lambda params, _: ((None, *params[0]),)),
    "reshape": by_params(lambda params, length: ((length, *params[0]),)),
    "transpose": by_params(lambda params, _: ((0, *shifted(params[0])),)),
    "sum": by_params(lambda params, _: (shifted(params[0]),)),
    "amax": by_params(lambda params, _: (shifted(params[0]),)),
    **dict.fromkeys(("solve", *OF_MATRICES), stacked_all),
}
