"""Contraction: the sum of products over shared axes, of two operands, in the form of einsum.

Matrix products of any rank, outer products and sums of products are this one op, and so are its transposes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcompile.errors import GraphError
from gradcompile.ir.algebra import add, astype, broadcast_to, permute, sum_over, zeros_like
from gradcompile.ir.core import Node, Op, Params, apply, named, register
from gradcompile.ir.types import ArrayType, Dim, Shape, promote
from gradcompile.ops import least
from gradcompile.ops.shape import Tangents

Labels = tuple[int, ...]


def contract(a: Node, la: Sequence[int], b: Node, lb: Sequence[int], result: Sequence[int]) -> Node:
    """The dot node of two operands whose axes bear labels; labels are numbered by first use, so that equals are one.

    Both get one dtype: whole numbers follow the floats beside them.

    >>> from gradcompile.ir.core import leaf
    >>> A, B = leaf("A", ArrayType(("n", 3))), leaf("B", ArrayType((3, 4)))
    >>> contract(A, (7, 2), B, (2, 5), (7, 5))
    <dot float64[n, 4]>
    """
    number: dict[int, int] = {}
    for label in (*la, *lb):
        number.setdefault(label, len(number))
    dtype = promote(a.type.dtype, b.type.dtype)
    a, b = (astype(x, dtype) for x in (a, b))
    return apply("dot", a, b, params=tuple(tuple(number[k] for k in labels) for labels in (la, lb, result)))


def sizes_of(types: tuple[ArrayType, ...], params: Params) -> dict[int, Dim]:
    """The dimension of each label; GraphError where operands don't fit their labels or each other."""
    found: dict[int, Dim] = {}
    for t, labels in zip(types, params, strict=False):
        if len(labels) != len(t.shape) or len(set(labels)) != len(labels):
            raise GraphError(f"dot of a value of type {t} with labels {labels}: each axis needs one of its own")
        for label, dim in zip(labels, t.shape, strict=True):
            if found.setdefault(label, dim) != dim:
                raise GraphError(f"dot of {types[0]} and {types[1]}: axis {label} is {found[label]} and {dim}")
    return found


def dot_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The axes of the result; an axis of one operand alone stays."""
    la, lb, result = params
    sizes = sizes_of(types, params)
    if len(set(result)) != len(result) or not set(la) ^ set(lb) <= set(result) <= set(sizes):
        raise GraphError(f"dot of labels {la} and {lb} to {result}: only an axis of both can be summed")
    return ArrayType(tuple(sizes[label] for label in result), promote(*(t.dtype for t in types)))


def dot(a: Any, b: Any, la: Labels, lb: Labels, result: Labels) -> Any:
    """The contraction."""
    return np.einsum(a, list(la), b, list(lb), list(result))


def dot_vjp(g: Node, n: Node) -> Tangents:
    """The adjoint contracted with the other operand."""
    (a, b), (la, lb, result) = n.args, n.params
    return contract(g, result, b, lb, la), contract(a, la, g, result, lb)


def dot_jvp(n: Node, tangents: Tangents) -> Node:
    """The product rule."""
    (a, b), (la, lb, result) = n.args, n.params
    pairs = ((tangents[0], b), (a, tangents[1]))
    found = [contract(x, la, y, lb, result) for x, y in pairs if x is not None and y is not None]
    return found[0] if len(found) == 1 else add(*found) if found else zeros_like(n)


def dot_reach(g: Node, n: Node) -> Tangents:
    """What of each operand an adjoint reaches: the sum of it over the axes that the operand lacks."""
    return tuple(relabelled(g, n.params[2], labels, a) for a, labels in zip(n.args, n.params, strict=False))


def relabelled(g: Node, own: Labels, labels: Labels, like: Node) -> Node:
    """g summed over the labels that `labels` lacks, in the order of `labels`, repeated over those that g lacks."""
    lost = tuple(k for k, label in enumerate(own) if label not in labels)
    x = sum_over(g, lost) if lost else g
    return spread_labels(x, [label for label in own if label in labels], labels, like.type.shape)


def spread_labels(x: Node, own: Sequence[int], labels: Sequence[int], shape: Shape) -> Node:
    """x with axes in the order of `labels`, repeated over those that it lacks."""
    order = tuple(sorted(range(len(own)), key=lambda k: labels.index(own[k])))
    x = permute(x, order) if order != tuple(range(len(order))) else x
    at = tuple(labels.index(own[k]) for k in order)
    return x if x.type.shape == shape else broadcast_to(x, shape, at)


is_dot = named("dot")  # a contraction: its params are the labels of both operands and of the result


register(Op("dot", dot_type, dot, vjp=dot_vjp, jvp=dot_jvp, reach=dot_reach, arity=2, cost=2,
            derivative="the adjoint contracted with the other operand", accuracy="the error grows with the axes summed",
            adds=True, is_expensive=True, keeps_finite=True, least=least.of_entries, array_name="product",
            preferred_name="combined", in_memory=True, reads_memory=True, in_floats=True,
            doc="sum of products over the axes that both have and the result lacks"))  # fmt: skip
