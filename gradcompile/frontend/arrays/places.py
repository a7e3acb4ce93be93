"""Entries at integer places: which of them are inside their axes for certain, and what is there where others are not.

Inputs that are an index are checked at the call, numbers when the loss is written. A place that is computed can only be
known when it is computed, and compiled code checks nothing: outside the axis the entry is NaN, with no derivative.
"""

import operator
from collections.abc import Container, Sequence
from functools import reduce

import numpy as np

from gradcompile.frontend.arrays.shapes import with_axes
from gradcompile.frontend.arrays.ufuncs import choose, elementwise
from gradcompile.ir.algebra import astype, is_remainder, length_along
from gradcompile.ir.core import Node, apply, const, is_const, is_leaf
from gradcompile.ir.types import Dim
from gradcompile.ops.constant_index import is_table
from gradcompile.ops.shape import is_iota, is_item


def picked(n: Node, indices: Sequence[Node], first: int, known: Container[Node] = ()) -> Node:
    """Entries at integer places along axes from the first on; known: places that are inside, or what they are views of.

    NaN where a place is computed and outside its axis; 0 of integers, and false.
    """
    lengths = n.type.shape[first : first + len(indices)]
    loose = [not is_inside(i, d, known) for i, d in zip(indices, lengths, strict=True)]
    if not any(loose):
        return apply("gather", n, *indices, params=(first,))
    zero = const(0, "int64")
    inside = [within(i, n, first + k) for k, i in enumerate(indices)]
    safe = [choose(w, i, zero) if k else i for w, i, k in zip(inside, indices, loose, strict=True)]
    found = apply("gather", n, *safe, params=(first,))
    right = reduce(operator.and_, (w for w, k in zip(inside, loose, strict=True) if k))
    behind = range(len(right.type.shape), len(found.type.shape) - first)
    return choose(with_axes(right, behind), found, nothing(n.type.dtype))


def nothing(dtype: str) -> Node:
    """What is found outside an axis."""
    return const(np.nan if dtype.startswith("float") else 0, dtype)


def within(index: Node, n: Node, axis: int) -> Node:
    """Where an index is inside an axis, counted from either end."""
    length = n.type.shape[axis]
    size = length_along(n, axis) if isinstance(length, str) else const(length, "int64")
    end = astype(size, "int64") if isinstance(length, str) else size
    return elementwise("le", elementwise("neg", end), index) & elementwise("lt", index, end)


def is_inside(index: Node, length: Dim, known: Container[Node] = ()) -> bool:
    """Whether the places are inside an axis of that length, or will be checked before they are used."""
    source, is_part = base(index)
    if source in known or ((is_table(source) or is_const(source) or is_iota(source)) and not has_named_part(index)):
        return True
    if is_leaf(source):  # of a loop's body: entries of an input, if nothing more is taken of them
        return source.params[1] != "carry" and not (source.params[1] == "body" and is_part)
    if source.op.gives_places:
        return source.args[0].type.shape[source.params[0]] == length
    return is_remainder(source) and is_at_most(source.args[1], length)


def is_at_most(divisor: Node, length: Dim) -> bool:
    """Whether remainders by a number are places of an axis: it is its length, or a positive number below that."""
    while divisor.op.is_view or divisor.op.entrywise:
        divisor = divisor.args[0]
    if is_const(divisor):
        return isinstance(length, int) and 0 < divisor.value <= length
    return divisor.op.by_shape and divisor.args[0].type.shape[divisor.params[0]] == length


def has_named_part(n: Node) -> bool:
    """Whether a view leaves entries out, and it is not known before the call which."""
    found = n
    while found.op.is_view:
        if is_item(found) and any(isinstance(d, str) for d in (*found.type.shape, *found.args[0].type.shape)):
            return True
        found = found.args[0]
    return False


def base(n: Node) -> tuple[Node, bool]:
    """What a node is a view of, and whether it is another node."""
    source = n
    while source.op.is_view:
        source = source.args[0]
    return source, source is not n
