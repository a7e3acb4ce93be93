"""What a part of an op's result needs: along which axes its arguments are cut when an axis of the result is.

An op is pointwise along an axis of its result when entry i along it depends on entry i of the arguments alone, along
one axis of each, or on all of an argument that lacks the axis. The same op, of parts of its arguments, then gives a
part of the result. An axis that a sum, a maximum, a contraction or a scattering takes away is reduced: the op, of
parts, gives what they add to the result.

An axis is told from others by its place, never by its length: two axes may be equally long.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from gradcompile.ir.algebra import counting
from gradcompile.ir.core import Node, Params
from gradcompile.ir.types import Dim, dim_product
from gradcompile.ops.linalg import OF_MATRICES
from gradcompile.ops.shape import Index, Span, is_broadcast, is_iota, places
from gradcompile.ops.sparse import NAMES as SPARSE

T = TypeVar("T")


class Along(NamedTuple):
    """An op over a part of the samples.

    args: for each argument the axis that is cut, None where it is taken whole, or a node that takes its place.
    params: those of the op over a part.
    """

    args: tuple[int | Node | None, ...]
    params: Params


Rule = Callable[[Node, int, Dim], Along | None]


def along(n: Node, axis: int, dim: Dim) -> Along | None:
    """How the node is computed for `dim` places of an axis of it; None unless it is pointwise along that axis.

    >>> from gradcompile.ir.core import apply, leaf
    >>> from gradcompile.ir.types import ArrayType
    >>> x, b = leaf("x", ArrayType(("n", 3))), leaf("b", ArrayType((3,)))
    >>> along(apply("add", x, b), 0, "m").args
    (0, None)
    >>> along(apply("cumsum", x, params=(0, False)), 0, "m") is None
    True
    """
    if not n.op.takes_arrays:
        return elementwise(n, axis, dim)
    rule = RULES.get(n.op.name)
    return rule(n, axis, dim) if rule else None


def reduced(n: Node, carries: Callable[[Node, int], bool]) -> list[Along]:
    """How the node is computed from parts of its arguments along the axes of samples that it takes away.

    carries: whether an axis of an argument is one of samples.

    >>> from gradcompile.ir.core import apply, leaf
    >>> from gradcompile.ir.types import ArrayType
    >>> X, y = leaf("X", ArrayType(("n", 3))), leaf("y", ArrayType(("n",)))
    >>> [r.args for r in reduced(apply("dot", X, y, params=((0, 1), (0,), (1,))), lambda a, k: k == 0)]
    [(0, 0)]
    """
    rule = REDUCED.get(n.op.name)
    ways = rule(n) if rule else []
    return [Along(args, n.params) for args in ways if is_cut(n, args, carries)]


def is_cut(n: Node, args: Sequence[int | None], carries: Callable[[Node, int], bool]) -> bool:
    """Whether the arguments are cut along axes of samples."""
    return all(k is None or carries(a, k) for a, k in zip(n.args, args, strict=True))


def put(entries: tuple[T, ...], k: int, entry: T) -> tuple[T, ...]:
    """The tuple with another entry at a place.

    >>> put((3, "n"), 1, "m")
    (3, 'm')
    """
    return (*entries[:k], entry, *entries[k + 1 :])


# Entry by entry, and where axes only move


def elementwise(n: Node, axis: int, dim: Dim) -> Along:
    """Arguments are aligned from the right; one that lacks the axis, or has one entry there, is taken whole."""
    found: list[int | None] = []
    for a in n.args:
        k = axis - len(n.type.shape) + len(a.type.shape)
        found.append(None if k < 0 or a.type.shape[k] == 1 else k)
    return Along(tuple(found), n.params)


def moved(order: Callable[[Node], Sequence[int]]) -> Rule:
    """The rule of an op of one argument, from which axis of the argument each axis of the result is; -1 for none."""

    def rule(n: Node, axis: int, dim: Dim) -> Along | None:
        k = order(n)[axis]
        return None if k < 0 else Along((k,), n.params)

    return rule


def left(n: Node) -> list[int]:
    """The axes that a reduction leaves."""
    return [k for k in range(len(n.args[0].type.shape)) if k not in n.params[0]]


def other(n: Node) -> list[int]:
    """The axes other than the one an op runs along."""
    return [k if k != n.params[0] else -1 for k in range(len(n.type.shape))]


def without(n: Node) -> list[int]:
    """The axes that are left when one is taken out."""
    return [k for k in range(len(n.args[0].type.shape)) if k != n.params[0]]


def windowed(n: Node) -> list[int]:
    """The axes of the argument of `window`, of which one gives way to two."""
    at = n.params[0]
    return [k if k < at else -1 if k <= at + 1 else k - 1 for k in range(len(n.type.shape))]


def overlapped(n: Node) -> list[int]:
    """The axes of the argument of `overlap`, of which two give way to one."""
    at = n.params[0]
    return [k if k < at else -1 if k == at else k + 1 for k in range(len(n.type.shape))]


def batch(n: Node) -> list[int]:
    """The axes before the matrices of linear algebra."""
    count = len(n.args[0].type.shape) - 2
    return [k if k < count else -1 for k in range(len(n.type.shape))]


def broadcast(n: Node, axis: int, dim: Dim) -> Along:
    """An axis of the argument, or one that is added: then all of the argument is repeated."""
    at = places(n.params, len(n.args[0].type.shape))
    return Along((at.index(axis) if axis in at else None,), (put(n.params[0], axis, dim), *n.params[1:]))


def is_all(index: Dim | Span | None, dim: Dim) -> bool:
    """Whether an index takes all of an axis, in order."""
    return index is None or index == Span(0, dim, 1)


def axis_under(index: Index, axis: int) -> int:
    """How many axes before this one an index keeps: where the axis is in what is taken."""
    return sum(k is None or isinstance(k, Span) for k in index[:axis])


def item(n: Node, axis: int, dim: Dim) -> Along | None:
    """The axis must be taken whole."""
    index, shape = n.params[0], n.args[0].type.shape
    at = [k for k, i in enumerate(index) if i is None or isinstance(i, Span)][axis]
    return Along((at,), (put(index, at, None),)) if is_all(index[at], shape[at]) else None


def assemble(n: Node, axis: int, dim: Dim) -> Along | None:
    """Every value must run along all of the axis."""
    shape, indices = n.params
    if not all(is_all(index[axis], shape[axis]) for index in indices):
        return None
    args = (axis_under(i, axis) if a.type.shape else None for a, i in zip(n.args, indices, strict=True))
    return Along(tuple(args), (put(shape, axis, dim), tuple(put(i, axis, None) for i in indices)))


def reshape(n: Node, axis: int, dim: Dim) -> Along | None:
    """An axis of the argument must have as many entries before it.

    Its length is the same, or both are multiples of the samples' number, of which the caller has to see to that.
    """
    shape, own = n.type.shape, n.args[0].type.shape
    before = dim_product(*shape[:axis])
    for k, d in enumerate(own):
        alike = d == shape[axis] or (isinstance(d, str) and isinstance(shape[axis], str))
        if alike and dim_product(*own[:k]) == before:
            return Along((k,), (put(shape, axis, dim),))
    return None


def iota(n: Node, axis: int, dim: Dim) -> Along:
    """As many places, from 0; those of a part begin at its first."""
    return Along((), (dim,))


# Contraction, gathering, linear algebra


def dot(n: Node, axis: int, dim: Dim) -> Along:
    """The operands that have the label are cut along it."""
    return Along(labelled(n, n.params[2][axis]), n.params)


def labelled(n: Node, label: int) -> tuple[int | None, ...]:
    """Where each operand of a contraction has a label."""
    return tuple(labels.index(label) if label in labels else None for labels in n.params[:2])


def counts_along(index: Node, axis: int) -> bool:
    """Whether an array of places counts 0, 1, 2, ... along one of its axes: each sample looks at itself."""
    if is_broadcast(index):
        at = places(index.params, len(index.args[0].type.shape))
        return at == (axis,) and is_iota(index.args[0])
    return is_iota(index)


def own_places(n: Node, place: int, axis: int, dim: Dim) -> tuple[int | Node | None, ...]:
    """The index arrays of a node cut along an axis of theirs; that at `place` counts it, and does so within a part."""
    indices = n.args[1:]
    return tuple(counting(put(i.type.shape, axis, dim), axis) if k == place else axis for k, i in enumerate(indices))


def gather(n: Node, axis: int, dim: Dim) -> Along | None:
    """An axis of the index, or one that is not indexed.

    Where one of the arrays counts the samples, each takes entries of its own, so that the array is cut as well.
    """
    (at,), count, inner = n.params, len(n.args) - 1, len(n.args[1].type.shape)
    if not at <= axis < at + inner:
        return Along((axis if axis < at else axis - inner + count, *[None] * count), n.params)
    k = axis - at
    for place, index in enumerate(n.args[1:]):
        if counts_along(index, k) and n.args[0].type.shape[at + place] == n.type.shape[axis]:
            return Along((at + place, *own_places(n, place, k, dim)), n.params)
    return Along((None, *[k] * count), n.params)


def scatter_add(n: Node, axis: int, dim: Dim) -> Along | None:
    """An axis that is not indexed, or one that one of the arrays counts."""
    (at, lengths), inner = n.params, len(n.args[1].type.shape)
    if not at <= axis < at + len(lengths):
        return Along((axis if axis < at else axis + inner - len(lengths), *[None] * len(lengths)), n.params)
    place = axis - at
    for k, d in enumerate(n.args[1].type.shape):
        if d == lengths[place] and counts_along(n.args[1 + place], k):
            return Along((at + k, *own_places(n, place, k, dim)), (at, put(lengths, place, dim)))
    return None


def solve(n: Node, axis: int, dim: Dim) -> Along | None:
    """A batch axis of both, or the columns of the right-hand side."""
    last = len(n.type.shape) - 1
    return None if axis == last - 1 else Along((None if axis == last else axis, axis), n.params)


def sparse_dot(n: Node, axis: int, dim: Dim) -> Along | None:
    """The rows of a matrix, or the columns of what it is multiplied by."""
    if axis == 1:
        return Along((1, None, None, None, None), n.params)
    return Along((None, None, None, 0, 0), n.params) if not n.params else None


RULES: dict[str, Rule] = {
    "item": item,
    "assemble": assemble,
    "broadcast": broadcast,
    "transpose": moved(lambda n: n.params[0]),
    "reshape": reshape,
    "iota": iota,
    "cast": elementwise,
    "sum": moved(left),
    "amax": moved(left),
    "argmax": moved(without),
    "argsort": moved(other),
    "cumsum": moved(other),
    "window": moved(windowed),
    "overlap": moved(overlapped),
    "dot": dot,
    "gather": gather,
    "scatter_add": scatter_add,
    "solve": solve,
    **dict.fromkeys(SPARSE, sparse_dot),
    **dict.fromkeys(OF_MATRICES, moved(batch)),
}


# Axes that are taken away


def reduced_axes(n: Node) -> list[tuple[int | None, ...]]:
    """Each axis that a sum or a maximum takes away."""
    return [(k,) for k in sorted(n.params[0])]


def contracted_labels(n: Node) -> list[tuple[int | None, ...]]:
    """Each label that a contraction sums over."""
    return [labelled(n, label) for label in n.params[0] if label not in n.params[2]]


def scattered_axes(n: Node) -> list[tuple[int | None, ...]]:
    """Each axis of the index of scatter_add."""
    at, count = n.params[0], len(n.args) - 1
    return [(at + k, *[k] * count) for k in range(len(n.args[1].type.shape))]


REDUCED: dict[str, Callable[[Node], list[tuple[int | None, ...]]]] = {
    "sum": reduced_axes,
    "amax": reduced_axes,
    "dot": contracted_labels,
    "scatter_add": scattered_axes,
}
