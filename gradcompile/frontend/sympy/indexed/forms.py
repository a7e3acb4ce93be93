"""Indices and bounds as linear forms: what an axis runs over, and how far an index can go.

A dimension is a polynomial in names that stand for lengths (see `types`). Where two are compared, names count as
lengths of 1 or more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sympy

from gradcompile.errors import ExpressionError
from gradcompile.ir.types import Dim, dim_product, dim_sum, parsed
from gradcompile.signature.names import is_small, text

LARGEST = 500  # nodes of an index or a bound


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """What a bound index runs over: places first, first + 1, ..., `length` of them.

    low, high: the bounds as written. Where they depend on outer indices, first and length hold all that occurs.
    rank: axes of an array stand in the order of their ranks.
    """

    symbol: Any
    low: "Form"
    high: "Form"
    first: Dim
    length: Dim
    rank: int

    @property
    def ragged(self) -> bool:
        """Whether the bounds depend on other indices."""
        return bool(self.low.terms or self.high.terms)

    @property
    def last(self) -> Dim:
        """The largest place."""
        return dim_sum(self.first, self.length, -1)


class Form(NamedTuple):
    """A sum of indices with coefficients, in the order of their axes, and a dimension."""

    terms: tuple[tuple[Axis, Dim], ...]
    offset: Dim


Scope = tuple[tuple[Any, Axis], ...]  # the indices that are bound where an expression stands


def plus(*forms: Form) -> Form:
    """The sum of forms."""
    found: dict[Axis, Dim] = {}
    for f in forms:
        for axis, c in f.terms:
            found[axis] = dim_sum(found.get(axis, 0), c)
    kept = sorted(((a, c) for a, c in found.items() if c != 0), key=lambda t: t[0].rank)
    return Form(tuple(kept), dim_sum(*(f.offset for f in forms)))


def scaled(f: Form, by: Dim) -> Form:
    """A form times a dimension."""
    return Form(tuple((a, dim_product(c, by)) for a, c in f.terms if by != 0), dim_product(f.offset, by))


def form_of(expr: Any, scope: Scope) -> Form | None:
    """An index or bound as a form; None if it is not linear in the indices.

    Symbols that are not bound stand for lengths. Raises ExpressionError for one whose name is no identifier, and for
    an expression that is too large.

    >>> n = sympy.Symbol("n")
    >>> form_of(2*(n - 1), ())
    Form(terms=(), offset='2*n-2')
    """
    if not is_small(expr, LARGEST):
        raise ExpressionError(f"{text(expr)} is too large for an index or a bound; write it as a sum of indices")
    return linear(expr, dict(scope))


def linear(expr: Any, bound: Mapping[Any, Axis]) -> Form | None:
    """A small expression as a form."""
    if expr in bound:
        return Form(((bound[expr], 1),), 0)
    if expr.is_Integer:
        return Form((), int(expr))
    if isinstance(expr, sympy.Symbol):
        return Form((), name_of(expr))
    if isinstance(expr, sympy.Pow) and expr.args[1].is_Integer and 0 < expr.args[1] < 10:
        return multiplied([linear(expr.args[0], bound)] * int(expr.args[1]))
    if not isinstance(expr, sympy.Add | sympy.Mul):
        return None
    parts = [linear(a, bound) for a in expr.args]
    if isinstance(expr, sympy.Mul):
        return multiplied(parts)
    known = [p for p in parts if p is not None]
    return plus(*known) if len(known) == len(parts) else None


def multiplied(parts: Sequence[Form | None]) -> Form | None:
    """The product of forms, of which at most one may have indices."""
    result = Form((), 1)
    for p in parts:
        if p is None or (p.terms and result.terms):
            return None
        result = scaled(result, p.offset) if not p.terms else scaled(p, result.offset)
    return result


def name_of(symbol: Any) -> str:
    """The name of a dimension."""
    name = str(symbol.name)
    if not name.isidentifier():
        raise ExpressionError(f"the dimension {name!r} is no identifier; call the symbol n, say")
    return name


def never_negative(dim: Dim) -> bool:
    """Whether a dimension is 0 or more, whatever lengths of 1 or more its names stand for.

    >>> never_negative("n-1"), never_negative("n-2"), never_negative("n-m")
    (True, False, False)
    """
    parts = dict(parsed(dim))
    return sum(parts.values()) >= 0 and all(c >= 0 for names, c in parts.items() if names)


def larger(a: Dim, b: Dim) -> Dim | None:
    """The larger of two dimensions, for lengths that are large enough; None if that depends."""
    difference = dict(parsed(less(a, b)))
    named = [c for names, c in difference.items() if names]
    if {c > 0 for c in named} == {True, False}:
        return None
    return a if (sum(named) or difference.get((), 0)) >= 0 else b


def less(a: Dim, b: Dim) -> Dim:
    """The difference of two dimensions."""
    return dim_sum(a, dim_product(-1, b))


def extremes(f: Form) -> tuple[Dim, Dim] | None:
    """The smallest and the largest value of a form; None if they are not known.

    Indices are replaced by their bounds, inner ones first, whose bounds may depend on outer ones.
    """
    ends: list[Dim] = []
    for smallest in (True, False):
        form, bounds = f, dict[Axis, tuple[Form, Form]]()
        while form.terms:
            axis, c = form.terms[-1]
            low, high = bounds.get(axis, (axis.low, axis.high))
            if not (never_negative(c) or never_negative(dim_product(-1, c))):
                return None
            leave_room(plus(high, scaled(low, -1)), bounds)
            end = low if never_negative(c) is smallest else high
            form = plus(Form(form.terms[:-1], form.offset), scaled(end, c))
        ends.append(form.offset)
    return ends[0], ends[1]


def leave_room(room: Form, bounds: dict[Axis, tuple[Form, Form]]) -> None:
    """Narrow the bounds of an outer index to where an inner one has any place: room, high - low of it, is 0 or more."""
    if len(room.terms) != 1:
        return
    ((axis, c),) = room.terms
    if not isinstance(c, int) or (isinstance(room.offset, str) and abs(c) > 1):
        return
    low, high = bounds.get(axis, (axis.low, axis.high))
    most = room.offset if isinstance(room.offset, str) else room.offset // abs(c)
    least = dim_product(-1, most)
    if c < 0 and not high.terms and never_negative(less(high.offset, most)):
        bounds[axis] = low, Form((), most)
    elif c > 0 and not low.terms and never_negative(less(least, low.offset)):
        bounds[axis] = Form((), least), high


def within_rectangle(f: Form, dim: Dim) -> bool:
    """Whether all places are inside an axis, if each index runs over all its axis, whatever its bounds."""
    low = high = f.offset
    for axis, c in f.terms:
        ends = (dim_product(c, axis.first), dim_product(c, axis.last))
        if not (never_negative(c) or never_negative(dim_product(-1, c))):
            return False
        up = never_negative(c)
        low, high = dim_sum(low, ends[not up]), dim_sum(high, ends[up])
    return inside((low, high), dim)


def within_bounds(f: Form, dim: Dim) -> bool:
    """Whether all places are inside an axis that indices reach by their own bounds."""
    ends = extremes(f)
    return ends is not None and inside(ends, dim)


def inside(ends: tuple[Dim, Dim], dim: Dim) -> bool:
    """Whether the smallest and the largest place are inside an axis."""
    return never_negative(ends[0]) and never_negative(less(dim_sum(dim, -1), ends[1]))
