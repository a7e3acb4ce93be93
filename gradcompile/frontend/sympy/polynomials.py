"""Orthogonal polynomials by their recurrences: P(k) from P(k-1) and P(k-2), which keeps the digits that powers lose.

A degree that is a number gives so many steps, of which polynomials of other degrees share the first; a degree that a
Sum runs over gives all of them at once, by a scan.
"""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
import sympy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array
from gradcompile.frontend.arrays.recurrence import scan
from gradcompile.frontend.arrays.shapes import joined, with_axes
from gradcompile.frontend.arrays.ufuncs import cast
from gradcompile.frontend.sympy import scalars
from gradcompile.frontend.sympy.scalars import HANDLERS, UNROLLED, Context, Conversion
from gradcompile.ir.algebra import add, arange, expand
from gradcompile.ir.core import Node, const
from gradcompile.ir.types import Dim, dim_sum
from gradcompile.signature.names import text

Step = Callable[..., Any]  # (k, P(k-1), P(k-2), *parameters, x) -> P(k)


def choose(condition: Any, a: Any, b: Any) -> Any:
    """One of two, where the condition is an array as where it is known."""
    return np.where(condition, a, b) if isinstance(condition, Array) else a if condition else b


def jacobi(k: Any, p: Any, q: Any, a: Any, b: Any, x: Any) -> Any:
    """P(k) of Jacobi; two of its quotients are 0/0 for k = 1 where a + b is 0 or -1, and are simpler there."""
    first, twice = k == 1, 2 * k + a + b
    below = choose(first, 1.0, 2 * k * (k + a + b))
    slope = choose(first, (a + b) / 2 + 1, (twice - 1) * twice / below)
    shift = choose(first, (a - b) / 2, (a - b) * (a + b) * (twice - 1) / (below * choose(first, 1.0, twice - 2)))
    back = choose(first, 0.0, 2 * (k + a - 1) * (k + b - 1) * twice / (below * choose(first, 1.0, twice - 2)))
    return (slope * x + shift) * p - back * q


STEPS: dict[Any, Step] = {
    sympy.legendre: lambda k, p, q, x: x * p + (k - 1) / k * (x * p - q),
    sympy.chebyshevt: lambda k, p, q, x: 2 * x * p - q,
    sympy.chebyshevu: lambda k, p, q, x: 2 * x * p - q,
    sympy.hermite: lambda k, p, q, x: 2 * x * p - 2 * (k - 1) * q,
    sympy.hermite_prob: lambda k, p, q, x: x * p - (k - 1) * q,
    sympy.laguerre: lambda k, p, q, x: p + ((k - 1) * (p - q) - x * p) / k,
    sympy.assoc_laguerre: lambda k, p, q, a, x: p + ((k - 1 + a) * (p - q) - x * p) / k,
    sympy.gegenbauer: lambda k, p, q, a, x: (2 * (k + a - 1) * x * p - (k + 2 * a - 2) * q) / k,
    sympy.jacobi: jacobi,
}


class Family(NamedTuple):
    """Polynomials of all degrees.

    order: the degree from which on they are not 0.  parts: what they are functions of, the argument last.
    """

    kind: Any
    order: int
    parts: tuple[Any, ...]

    def first(self, *parts: Node) -> tuple[Array, Array]:
        """P(order), and what takes the place of P(order - 1)."""
        x = Array(parts[-1])
        one, zero = (Array(const(v, x.node.type.dtype)) for v in (1.0, 0.0))
        if not self.order:
            return one, x if self.kind is sympy.chebyshevt else zero
        power = scalars.power(
            Context(x.node.type.dtype, {}), ((one - x) * (one + x)).node, sympy.Rational(self.order, 2)
        )
        return Array(power) * float(prod(range(-2 * self.order + 1, 0, 2))), zero

    def step(self, k: Any, p: Array, q: Array, *parts: Node) -> Array:
        """P(k)."""
        inside = [Array(n) for n in parts]
        if self.kind is sympy.assoc_legendre:
            return ((2 * k - 1) * inside[0] * p - (k - 1 + self.order) * q) / (k - self.order)  # type: ignore[no-any-return]
        return STEPS[self.kind](k, p, q, *inside)  # type: ignore[no-any-return]

    def of_degree(self, degree: int, *parts: Node) -> Node:
        """The polynomial of a degree."""
        if degree < self.order:
            return const(0.0, parts[-1].type.dtype)
        p, q = self.first(*parts)
        for k in range(self.order + 1, degree + 1):
            p, q = self.step(float(k), p, q, *parts), p
        return p.node

    def up_to(self, last: Dim, *parts: Node) -> Node:
        """The polynomials of degrees from 0 to the last, along an axis before all others."""
        shape = add(*parts, *parts).type.shape
        p, q = (Array(expand(a.node, shape)) for a in self.first(*parts))
        degrees = cast(arange(dim_sum(last, -self.order)), p.node.type.dtype)
        step = partial(self._walk, parts=parts)
        _, rest = scan(step, (p, q), Array(degrees) + float(self.order + 1))
        zeros = [expand(const(0.0, p.node.type.dtype), (self.order, *shape))] if self.order else []
        return joined([*zeros, with_axes(p.node, [0]), rest.node], 0)

    def _walk(self, carry: Any, k: Array, parts: tuple[Node, ...]) -> Any:
        p, q = carry
        new = self.step(k, p, q, *parts)
        return (new, p), new


def family(expr: Any) -> Family:
    """The family of a polynomial; ExpressionError for an order that is none."""
    if not isinstance(expr, sympy.assoc_legendre):
        return Family(type(expr), 0, expr.args[1:])
    order = expr.args[1]
    if not order.is_Integer or order < 0:
        raise ExpressionError(f"{text(expr)}: the order {text(order, 40)} of {type(expr).__name__} is no whole number "
                              "from 0 on; give it a number")  # fmt: skip
    return Family(type(expr), int(order), expr.args[2:])


def polynomial(expr: Any) -> Conversion:
    """A polynomial whose degree is a number."""
    degree, name = expr.args[0], type(expr).__name__
    if not degree.is_Integer or degree >= UNROLLED:
        raise ExpressionError(
            f"{text(expr)}: the degree {text(degree, 40)} of {name} is no whole number below {UNROLLED}; put a "
            f"number in, as in {name}(5, ..., evaluate=False), or sum over the degree"
        )
    if isinstance(expr, sympy.assoc_legendre) and expr.args[1].is_Integer and expr.args[1] < 0:
        order = -expr.args[1]
        factor = (-1) ** order * sympy.factorial(degree - order) / sympy.factorial(degree + order)
        return Conversion((factor * sympy.assoc_legendre(degree, order, expr.args[2], evaluate=False),), lambda c, n: n)
    if degree < 0:
        return reflected(expr)
    found = family(expr)
    return Conversion(found.parts, lambda c, *parts: found.of_degree(int(degree), *parts))


def reflected(expr: Any) -> Conversion:
    """A polynomial of negative degree, where that is defined: one of another degree."""
    kind, degree = type(expr), -expr.args[0]
    degrees = {sympy.legendre: degree - 1, sympy.chebyshevt: degree, sympy.chebyshevu: degree - 2}
    if kind not in degrees:
        raise ExpressionError(f"{text(expr)}: {kind.__name__} has no degree {-degree}; start the sum at 0")
    if degrees[kind] < 0:
        return Conversion((sympy.S.Zero,), lambda c, n: n)
    sign = -1 if kind is sympy.chebyshevu else 1
    return Conversion((sign * kind(degrees[kind], expr.args[1], evaluate=False),), lambda c, n: n)


HANDLERS.update(dict.fromkeys([*STEPS, sympy.assoc_legendre], polynomial))
