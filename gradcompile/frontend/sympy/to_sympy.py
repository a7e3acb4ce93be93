"""Graph to SymPy: expressions for people, from the SymPy function in each op's record."""

from collections.abc import Mapping, Sequence
from typing import Any

import sympy

from gradcompile.errors import GraphError
from gradcompile.frontend import functions
from gradcompile.ir.algebra import is_div
from gradcompile.ir.core import Node, is_const
from gradcompile.ir.graph import topological
from gradcompile.ops.reduction import is_sum
from gradcompile.ops.shape import is_broadcast


def to_sympy(roots: Sequence[Node], symbols: Mapping[Node, Any]) -> list[Any]:
    """The nodes as SymPy expressions; `symbols` gives that of each leaf or entry of an array.

    Raises GraphError for a node that has no formula: an array as a whole.

    >>> from gradcompile.ir.core import apply, leaf
    >>> x = leaf("x")
    >>> to_sympy([apply("neg", apply("sin", x))], {x: sympy.Symbol("x")})
    [-sin(x)]
    """
    done: dict[Node, Any] = dict(symbols)
    for n in topological(roots):
        if n not in done and not is_array(n):
            done[n] = expression(n, [done.get(a) for a in n.args])
    return [done[r] for r in roots]


def is_array(n: Node) -> bool:
    """Whether the node has more than an entry a sample, and so no scalar formula."""
    return n.type.shape not in ((), ("n",))


def expression(n: Node, args: Sequence[Any]) -> Any:
    """One op, applied to expressions."""
    if is_const(n):
        return constant(n.value)
    if n.op.by_shape:
        return functions.total(sympy.Integer(1))
    if any(a is None for a in args) or not (n.args or n.op.sympy):
        raise GraphError(f"{n!r} is part of an array and has no formula as a scalar")
    if is_sum(n):
        return functions.total(args[0])
    if is_broadcast(n):
        return args[0]
    if is_div(n) and n.args[1].op.by_shape and is_sum(n.args[0]):
        return functions.mean(args[0].args[0])
    function = getattr(sympy, n.op.sympy) if isinstance(n.op.sympy, str) else n.op.sympy
    if function is None:
        function = sympy.Function(n.op.name)
    return function(*args, *n.params)


def constant(value: float | bool) -> Any:
    """A number as SymPy would write it: integers and simple fractions exactly."""
    if isinstance(value, bool):
        return sympy.true if value else sympy.false
    if value != value or value in (float("inf"), float("-inf")):
        return sympy.nan if value != value else sympy.oo if value > 0 else -sympy.oo
    top, bottom = value.as_integer_ratio()
    return sympy.Rational(top, bottom) if bottom <= 64 and abs(top) < 2**53 else sympy.Float(value, 17)
