"""SymPy's Derivative: the adjoint, in the graph, of what is differentiated; what `doit` would write out stays shared.

A derivative by a data column is each sample's own, and so is one by a number of a value that has an entry a sample.
"""

from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from gradcompile.diff import reverse
from gradcompile.errors import ExpressionError
from gradcompile.frontend.sympy.arguments import stands_for_symbol
from gradcompile.frontend.sympy.scalars import HANDLERS, RESOLVED, Context, Conversion, per_sample, resolved
from gradcompile.ir.algebra import expand, number
from gradcompile.ir.core import Node, is_leaf, leaf
from gradcompile.ir.graph import depends_on, substitute, topological
from gradcompile.signature.names import is_small, text


def derivative(expr: Any) -> Conversion:
    """A derivative by symbols, of any order, through the graph; one of x(t), or by entries, by `doit`."""
    inner, *counts = expr.args
    if stands_for_symbol(expr) or written_out(expr):
        return resolved(expr)
    for symbol, count in counts:
        if not count.is_Integer:
            raise ExpressionError(f"{text(expr)}: the order {count} is no number as it stands; put one in, as by "
                                  f"loss.subs({count}, 2)")  # fmt: skip
        if not isinstance(symbol, sympy.Symbol):
            raise ExpressionError(f"{text(expr)}: it is by {text(symbol, 40)}, which is no Symbol; write the loss by a "
                                  "Symbol in that place, or the derivative out by doit()")  # fmt: skip
    by = [(symbol, int(count)) for symbol, count in counts]
    return Conversion([inner, *(symbol for symbol, _ in by)], partial(built, expr=expr, orders=[k for _, k in by]))


def written_out(expr: Any) -> bool:
    """Whether SymPy works this out: derivatives by entries and matrices, and of functions of time; small ones."""
    inner, *counts = expr.args
    if not is_small(expr, RESOLVED):
        return False
    if inner.is_Matrix or not all(isinstance(symbol, sympy.Symbol) for symbol, _ in counts):
        return True
    return any(isinstance(e, AppliedUndef) for e in sympy.preorder_traversal(inner))


def built(c: Context, n: Node, *by: Node, expr: Any, orders: Sequence[int]) -> Node:
    """The derivative of a node by nodes, so many times by each."""
    for (symbol, _), x, order in zip(expr.args[1:], by, orders, strict=True):
        if not is_argument(x):
            raise ExpressionError(f"{text(expr)}: it is by {symbol}, which a sum binds; write the derivative out by "
                                  "doit()")  # fmt: skip
        for _ in range(order):
            n = by_one(n, x, partial(check_apart, c, symbol, x, expr))
    return n


def is_argument(x: Node) -> bool:
    """Whether this is an argument, or an entry of one."""
    return is_leaf(x) or (len(x.args) == 1 and is_leaf(x.args[0]))


def check_apart(c: Context, symbol: Any, x: Node, expr: Any, moving: Set[Node]) -> None:
    """Raise ExpressionError where samples depend on each other's columns, and for a hidden function of time."""
    if per_sample(x) and not all(map(per_sample, moving)):
        raise ExpressionError(
            f"{text(expr)}: it is by a data column, of what holds a mean or a total over its samples; write the "
            f"derivative inside, as in mean(Derivative(f({symbol}), {symbol})), or make {symbol} a parameter"
        )
    for atom, node in c.atoms.items():
        if isinstance(atom, AppliedUndef) and symbol in atom.args and node in moving:
            raise ExpressionError(f"{text(expr)}: {atom} depends on {symbol} and the expression is large; write the "
                                  "derivative out by doit()")  # fmt: skip


def by_one(n: Node, x: Node, check: Callable[[Set[Node]], None]) -> Node:
    """The derivative of a node's entries by a number, or by what has an entry for each."""
    order = topological([n])
    moving = depends_on(order, [x]).intersection(order)
    zero, one, shape = number(0.0, n), number(1.0, n), n.type.shape
    check(moving)
    if n not in moving:
        return zero
    if x.type.shape == shape:
        return reverse.adjoints(n, [x], expand(one, shape)).get(x) or zero
    if not all(m is x or m.op.is_elementwise for m in moving):
        return reverse.jvp([n], [x], [one])[0]
    own = leaf("each", n.type, "body")  # so that nothing is summed over the entries
    (turned,) = substitute([n], {x: own})
    found = reverse.adjoints(turned, [own], expand(one, shape)).get(own) or zero
    return substitute([found], {own: x})[0]


HANDLERS[sympy.Derivative] = derivative
