"""Lower bounds of nodes: which divisors, and arguments of roots and logarithms, stay away from zero.

A bound holds in every entry where the leaves are finite, overflow apart. Most nodes have none, which is minus infinity.
"""

import math
from collections.abc import Sequence

import numpy as np

from gradcompile.ir.algebra import is_add, is_div, is_mul, is_neg
from gradcompile.ir.core import Node, Params, is_const
from gradcompile.ir.types import Dim
from gradcompile.ops.constant_index import is_table
from gradcompile.ops.contract import is_dot
from gradcompile.ops.least import NONE
from gradcompile.ops.reduction import is_amax, is_sum

SMALL = 1e-15  # of a value that is not below, the inverse and its square are finite in float32 as well


def lower_bounds(order: Sequence[Node]) -> dict[Node, float]:
    """What each node is never below; the order has arguments first.

    >>> from gradcompile.ir.core import apply, const, leaf
    >>> from gradcompile.ir.graph import topological
    >>> x = leaf("x")
    >>> scale = apply("sqrt", apply("add", apply("mul", x, x), const(0.25)))
    >>> found = lower_bounds(topological([scale]))
    >>> found[scale], found[x]
    (0.5, -inf)
    """
    found: dict[Node, float] = {}
    for n in order:
        found[n] = bound(n, [found.get(a, NONE) for a in n.args])
    return found


def of_place(n: Node) -> float:
    """The bound of places along an axis, from what they are a view of and the arguments of that.

    >>> from gradcompile.ir.core import apply, const, leaf
    >>> from gradcompile.ir.types import ArrayType
    >>> k = leaf("k", ArrayType(("n",), "int64"))
    >>> of_place(k), of_place(apply("mod", k, const(4, "int64")))
    (-inf, 0.0)
    """
    while n.op.is_view or n.op.picks_entries:
        n = n.args[0]
    return bound(n, [bound(a, [NONE] * len(a.args)) for a in n.args])


def bound(n: Node, least: Sequence[float]) -> float:
    """The bound of a node from those of its arguments."""
    if is_const(n):
        return float(n.value) if n.value == n.value else NONE
    if is_table(n):
        return of_numbers(n.params[0].array())
    if n.op.by_shape:
        return of_length(n.args[0].type.shape[n.params[0]])
    if is_square(n):
        size = max(0.0, least[0])
        return size * size if is_mul(n) else 0.0
    if is_add(n) and (is_variance(n) or is_range(n)):
        return 0.0
    return NONE if n.op.least is None else n.op.least(least, n.params)


def of_numbers(numbers: np.ndarray) -> float:
    """The least of numbers; none if one is NaN.

    >>> of_numbers(np.array([2.0, 1.0])), of_numbers(np.array([1.0, np.nan]))
    (1.0, -inf)
    """
    least = float(np.min(numbers)) if numbers.size else 0.0
    return least if least == least else NONE


def is_square(n: Node) -> bool:
    """Whether a node is x*x, or a sum of such products."""
    if not (is_mul(n) or is_dot(n)) or n.args[0] is not n.args[1]:
        return False
    return is_mul(n) or n.params[0] == n.params[1]


def is_range(n: Node) -> bool:
    """Whether a sum is x - x, or max(x) - min(x), which is max(x) + max(-x).

    >>> from gradcompile.ir.core import apply, leaf
    >>> from gradcompile.ir.types import ArrayType
    >>> x = leaf("x", ArrayType((3,)))
    >>> is_range(apply("add", *(apply("amax", y, params=((0,),)) for y in (x, apply("neg", x)))))
    True
    """
    if len(n.args) != 2:
        return False
    x, y = n.args
    if is_amax(x) and is_amax(y) and x.params == y.params:
        x, y = x.args[0], y.args[0]
    return (is_neg(y) and y.args[0] is x) or (is_neg(x) and x.args[0] is y)


def is_variance(n: Node) -> bool:
    """Whether a sum is mean(x**2) - mean(x)**2, which is the mean of (x - mean(x))**2.

    >>> from gradcompile.ir.core import apply, const, leaf
    >>> from gradcompile.ir.types import ArrayType
    >>> x = leaf("x", ArrayType((3,)))
    >>> total, squares = (apply("sum", y, params=((0,),)) for y in (x, apply("mul", x, x)))
    >>> mean, of_squares = (apply("div", y, const(3.0)) for y in (total, squares))
    >>> is_variance(apply("add", of_squares, apply("neg", apply("mul", mean, mean))))
    True
    """
    if len(n.args) != 2 or not is_neg(n.args[1]) or not is_square(n.args[1].args[0]):
        return False
    first, mean = n.args[0], n.args[1].args[0].args[0]
    if not is_div(first) or not is_div(mean) or first.args[1] is not mean.args[1]:
        return False
    (squares, count), total = first.args, mean.args[0]
    if not is_sum(total) or not is_sum_of_squares(squares, total.args[0], total.params):
        return False
    dims = [total.args[0].type.shape[k] for k in total.params[0]]
    if is_const(count) and all(isinstance(d, int) for d in dims):
        return bool(count.value >= math.prod(int(d) for d in dims))
    return count.op.by_shape and dims == [count.args[0].type.shape[count.params[0]]]


def is_sum_of_squares(n: Node, x: Node, over: Params) -> bool:
    """Whether a node is the sum of the squares of x over the same axes."""
    if is_dot(n):
        return is_square(n) and n.args[0] is x and not n.params[2] and len(over[0]) == len(x.type.shape)
    return is_sum(n) and n.params == over and is_square(n.args[0]) and n.args[0].args[0] is x


def of_length(dim: Dim) -> float:
    """A named dimension has an entry: of none, there is nothing to differentiate. `n-1` may be 0."""
    return float(dim) if isinstance(dim, int) else float(dim.isidentifier())
