"""A derivative inside a loss: `derivative`, the adjoint of one array in the graph of a value."""

from typing import Any

import sympy

from gradcompile.diff.reverse import adjoints
from gradcompile.errors import ArgumentTypeError
from gradcompile.frontend.arrays.core import Array, describe, line, placed
from gradcompile.ir.algebra import zeros_like
from gradcompile.ir.core import is_leaf
from gradcompile.ir.graph import topological
from gradcompile.tracebacks import entries


def derivative(value: Array, wrt: Array) -> Array:
    """The derivative of a scalar by an array, of that array's shape, for use in any further expression.

    value: one floating-point number. Of a value a sample take `derivative(np.sum(u), x)`: where the entry of a sample
    depends on that sample's x alone, this is each sample's own derivative. wrt: an array that `array` made, or one
    that the value is computed from; all else that the value is computed from is held fixed. The derivative is zeros if
    the value depends on nothing that wrt is made of. Of any order, through `scan` too.

    Raises ExpressionError where the value is no such number, and where wrt has no derivative.

    >>> import numpy as np
    >>> from gradcompile.frontend.arrays import array
    >>> x, w = array("x", "n"), array("w")
    >>> u = np.sin(w * x)
    >>> slope = derivative(np.sum(u), x)
    >>> slope.shape, np.mean((slope + u) ** 2).shape
    (('n',), ())
    """
    check_value(value)
    check_wrt(wrt)
    node, by = value.node, wrt.node
    order = topological([node])
    if by not in set(order):
        leaves = {n for n in topological([by]) if is_leaf(n)}
        if not is_leaf(by) and not leaves.isdisjoint(order):
            raise placed(
                f"derivative: {describe(value)} is not computed from {describe(wrt)}, though from what that is made "
                "of; write the value by this very array, or take the derivative by the array that it is made of, and "
                "of that the entries"
            )
        return Array(zeros_like(by))
    return Array(adjoints(node, [by]).get(by) or zeros_like(by))


def check_value(value: Any) -> None:
    """Raise an error unless this is one floating-point number."""
    if not isinstance(value, Array):
        cure = "; of an expression of SymPy write sympy.Derivative(value, x)" if isinstance(value, sympy.Basic) else ""
        raise ArgumentTypeError(f"derivative: the value is a {type(value).__name__}, no symbolic array{cure}{line()}")
    if value.shape:
        raise placed(
            f"derivative: the value is {describe(value)}, and no number; take derivative(np.sum(u), x) for a value a "
            "sample, derivative(u[0], x) for one entry"
        )
    if value.dtype.kind != "f":
        raise placed(f"derivative: the value is {describe(value)} and of dtype {value.dtype}, which has no derivative; "
                     "convert it to a float")  # fmt: skip


def check_wrt(wrt: Any) -> None:
    """Raise an error unless this is an array that something may be differentiated by."""
    if not isinstance(wrt, Array):
        several = isinstance(wrt, tuple | list | dict)
        cure = "; call it once for each, they share their work" if several else ""
        raise ArgumentTypeError(f"derivative: wrt is a {type(wrt).__name__}, no symbolic array{cure}{line()}")
    if wrt.dtype.kind != "f":
        raise placed(f"derivative: wrt is {describe(wrt)} and of dtype {wrt.dtype}, which has no derivative; make it "
                     'an array of floats, gradcompile.array("x", shape)')  # fmt: skip
    if not any(is_leaf(n) for n in topological([wrt.node])):
        raise placed(f"derivative: wrt is {describe(wrt)}, made of numbers alone; name an array that gradcompile.array "
                     "made")  # fmt: skip


entries(globals())
