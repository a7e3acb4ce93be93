"""What a graph costs: operations of the loss and of loss + gradient, and the bytes that a sample moves."""

from collections.abc import Iterable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from gradcompile.ir.algebra import is_add, is_neg
from gradcompile.ir.core import Node, is_leaf
from gradcompile.ir.graph import topological
from gradcompile.ir.types import Dim, parsed
from gradcompile.ops.contract import is_dot
from gradcompile.ops.scan import Loop, is_scan

Growth = dict[tuple[str, ...], float]


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

    >>> from gradcompile.ir.core import apply, leaf
    >>> from gradcompile.ir.types import ArrayType
    >>> x = leaf("x", ArrayType((100,)))
    >>> operations([apply("sum", apply("mul", x, x), params=((0,),))])
    199
    """
    return sum(operations_of(n) for n in topological(roots))


def operations_of(n: Node) -> int:
    """Operations of one node; a reduction over numbered axes counts what it reduces."""
    if is_add(n):
        return entries(n) * (len(n.args) - 1 - sum(is_neg(a) for a in n.args))
    if n.op.is_reduction:
        return n.op.cost * max(entries(n.args[0]) - entries(n), 1)
    if n.op.by_argument:
        return n.op.cost * entries(n.args[0])
    if is_dot(n):
        return n.op.cost * prod(d for d in axes_of(n).values() if isinstance(d, int))
    if n.op.is_loop:
        return scan_operations(n.params[0]) // (1 if is_scan(n) else len(n.params[0].roots))
    return n.op.cost * entries(n) if n.args else 0


def growth_of(roots: Iterable[Node]) -> Growth:
    """The time that all nodes below the roots take, by the named dimensions that it grows with.

    It is counted in arithmetic operations in double precision. Of a dimension such as "n-1" the number is left out.

    >>> from gradcompile.ir.core import apply, leaf
    >>> from gradcompile.ir.types import ArrayType
    >>> x, w = leaf("x", ArrayType(("n", 3))), leaf("w", ArrayType((3,)))
    >>> growth_of([apply("exp", apply("dot", x, w, params=((0, 1), (1,), (0,)))), apply("exp", w)])
    {('n',): 44.0, (): 48.0}
    """
    found: Growth = {}
    loops = set[tuple[tuple[Node, ...], Loop]]()  # each is run once, whatever is read of it
    for n in topological(roots):
        if n.op.is_loop:
            loops.add((n.args, n.params[0]))
        else:
            names = growing_dims(looped_dims(n))
            found[names] = found.get(names, 0.0) + time_of(n)
    for _, loop in loops:
        for names, count in growth_of_steps(loop).items():
            found[names] = found.get(names, 0.0) + count
    return {names: count for names, count in found.items() if count}


def growing_dims(shape: Iterable[Dim]) -> tuple[str, ...]:
    """The named dimensions that a number of entries grows with."""
    return tuple(sorted(name for d in shape for name in max(parsed(d), key=lambda m: len(m[0]))[0]))


def growth_of_steps(loop: Loop) -> Growth:
    """The time that all steps of a loop take."""
    more, times = growing_dims([loop.length]), loop.length if isinstance(loop.length, int) else 1
    return {tuple(sorted((*names, *more))): times * count for names, count in growth_of(loop.roots).items()}


def time_of(n: Node) -> float:
    """The time of a node in arithmetic operations; to read a leaf's byte takes one.

    A product and a sum of a matrix product take one, but if each of some operand's entries is used only once, what
    matters is how long it takes to load them.
    """
    if is_leaf(n):
        return 8.0 * entries(n)
    if not is_dot(n):
        return float(operations_of(n))
    every = set(axes_of(n))
    return operations_of(n) * (2.0 if any(set(axes) == every for axes in n.params[: len(n.args)]) else 0.5)


def looped_dims(n: Node) -> Sequence[Dim]:
    """The dimensions whose entries a node goes through."""
    if is_dot(n):
        return tuple(axes_of(n).values())
    return max((n, *n.args), key=lambda a: len(a.type.shape)).type.shape


def scan_operations(loop: Loop) -> int:
    """The operations of all steps, of one if their number is named."""
    each = operations(loop.roots) + sum(entries(q) for q in loop.totals)
    return each * (loop.length if isinstance(loop.length, int) else 1)


def axes_of(n: Node) -> dict[int, Dim]:
    """The dimensions of a contraction's axes, by their labels."""
    return dict(pair for a, k in zip(n.args, n.params, strict=False) for pair in zip(k, a.type.shape, strict=True))


def entries(n: Node) -> int:
    """The number of entries of a node, those of one sample."""
    return prod(d for d in n.type.shape if isinstance(d, int))


def cost_of(alone: Node, roots: Sequence[Node], columns: Iterable[Node]) -> Cost:
    """The cost of a value computed alone, and with its gradients; columns: the leaves with an entry or a row a sample.

    Alone, a scan stores nothing for the way back.
    """
    moved = sum(np.dtype(c.type.dtype).itemsize * entries(c) for c in columns)
    return Cost(operations([alone]), operations(roots), moved)
