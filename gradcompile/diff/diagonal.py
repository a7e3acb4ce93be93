"""The diagonal of a matrix that a graph makes, without the matrix where that can be done.

What is elementwise takes the diagonals of its arguments. A contraction over samples is one with its two axes made one:
so the diagonal of X'D X costs what a gradient costs.
"""

from collections.abc import Mapping

from gradcompile.diff.batch import is_unit, unit
from gradcompile.ir.algebra import broadcast_to, number, sum_over
from gradcompile.ir.core import Node, node
from gradcompile.ir.graph import topological
from gradcompile.ops.contract import contract, is_dot
from gradcompile.ops.shape import is_broadcast, is_transpose


def diagonal(matrix: Node) -> Node:
    """The diagonal of a square matrix.

    >>> from gradcompile.ir.core import leaf
    >>> from gradcompile.ir.types import ArrayType
    >>> X = leaf("X", ArrayType(("n", 3)))
    >>> diagonal(2.0 * contract(X, (0, 1), X, (0, 2), (1, 2))).args[1].params
    ((0, 1), (0, 1), (1,))
    """
    order, shape, wanted = topological([matrix]), matrix.type.shape, {matrix}
    for n in reversed(order):
        if n in wanted and (n.op.is_elementwise or is_transpose(n)):
            wanted.update(a for a in n.args if a.type.shape == shape)
    found: dict[Node, Node] = {}
    for n in order:
        if n in wanted:
            found[n] = of_node(n, found)
    return found[matrix]


def of_node(n: Node, known: Mapping[Node, Node]) -> Node:
    """The diagonal of a node, from those of its arguments."""
    if is_unit(n):
        return broadcast_to(number(1.0, n), n.type.shape[:1])
    if is_transpose(n):
        return known[n.args[0]]
    if is_broadcast(n) and len(n.args[0].type.shape) < 2:
        own = n.args[0]
        return own if own.type.shape == n.type.shape[:1] else broadcast_to(own, n.type.shape[:1])
    if is_dot(n):
        return of_product(n)
    if n.op.is_elementwise and all(a in known or len(a.type.shape) < 2 for a in n.args):
        return node(n.op, [known.get(a, a) for a in n.args], n.params)
    return by_sum(n)


def of_product(n: Node) -> Node:
    """The diagonal of a contraction: its two axes are one, if they are not of the same operand."""
    (a, b), (la, lb, (row, column)) = n.args, n.params
    if {row, column} <= set(la) or {row, column} <= set(lb):
        return by_sum(n)
    left, right = (tuple(row if k == column else k for k in own) for own in (la, lb))
    return contract(a, left, b, right, (row,))


def by_sum(n: Node) -> Node:
    """The diagonal of any matrix: the sums of its rows, in which all else is 0."""
    return sum_over(n * unit(n.type.shape[:1], n.type.dtype), (1,))
