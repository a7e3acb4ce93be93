"""What a graph costs: operations of the loss and of loss + gradient, and the bytes that a sample moves."""

from collections.abc import Iterable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from gradcompile.ir import Node, topological
from gradcompile.ops.scan import Loop


class Cost(NamedTuple):
    """Operations for one sample (or one call, where there are no samples), by the costs in the op table.

    An arithmetic operation counts 1, exp and its like 8. Cheap-gradient principle: the ratio stays under 4 for any
    graph of elementwise ops (Griewank and Walther, Evaluating Derivatives, 2008, section 4.6).
    """

    loss: int
    loss_and_gradient: int
    bytes_per_sample: int

    @property
    def ratio(self) -> float:
        """loss + gradient over loss.

        >>> Cost(3, 5, 0).ratio
        1.6666666666666667
        """
        return self.loss_and_gradient / max(self.loss, 1)


def operations(roots: Iterable[Node]) -> int:
    """Operations of all nodes below the roots, each counted once for every entry; subtraction is one operation.

    A named dimension counts as one entry, so that the cost is that of a sample.

    >>> from gradcompile.ir import apply, leaf
    >>> from gradcompile.types import ArrayType
    >>> x = leaf("x", ArrayType((100,)))
    >>> operations([apply("sum", apply("mul", x, x), params=((0,),))])
    199
    """
    return sum(operations_of(n) for n in topological(roots))


def operations_of(n: Node) -> int:
    """Operations of one node; a reduction over numbered axes counts what it reduces."""
    if n.op.name == "add":
        return entries(n) * (len(n.args) - 1 - sum(a.op.name == "neg" for a in n.args))
    if n.op.name in ("sum", "amax"):
        return n.op.cost * max(entries(n.args[0]) - entries(n), 1)
    if n.op.name in ("scatter", "scatter_add", "overlap"):
        return n.op.cost * entries(n.args[0])
    if n.op.name == "dot":
        return n.op.cost * products(n)
    if n.op.name == "scan":
        return steps(n.params[0])
    return n.op.cost * entries(n) if n.args else 0


def steps(loop: Loop) -> int:
    """The operations of all steps, of one if their number is named."""
    each = operations(loop.roots) + sum(entries(q) for q in loop.totals)
    return each * (loop.length if isinstance(loop.length, int) else 1)


def products(n: Node) -> int:
    """The products that a contraction sums, those of one sample."""
    axes = dict(pair for a, k in zip(n.args, n.params, strict=False) for pair in zip(k, a.type.shape, strict=True))
    return prod(d for d in axes.values() if isinstance(d, int))


def entries(n: Node) -> int:
    """The number of entries of a node, those of one sample."""
    return prod(d for d in n.type.shape if isinstance(d, int))


def cost_of(value: Node, gradients: Sequence[Node], columns: Iterable[Node]) -> Cost:
    """The cost of a value and its gradients; columns are the leaves with an entry or a row a sample."""
    moved = sum(np.dtype(c.type.dtype).itemsize * entries(c) for c in columns)
    order = topological([value, *gradients])
    each = list(map(operations_of, order))
    return Cost(sum(each[: order.index(value) + 1]), sum(each), moved)
