"""The shapes of arrays in index notation: as given, or as far as the loss goes; and whether every place is inside."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import sympy

from gradcompile.errors import ArgumentError, ExpressionError
from gradcompile.frontend.sympy.arguments import Slot
from gradcompile.frontend.sympy.indexed.forms import Axis, Form, extremes, form_of, larger, less
from gradcompile.frontend.sympy.indexed.reads import Read
from gradcompile.frontend.sympy.indexed.survey import given_shape
from gradcompile.ir.types import Dim, Shape, dim_sum, dims_told, names_in
from gradcompile.signature.names import text


def resolve_shapes(slots: Sequence[Slot], reads: Sequence[Read], needed: Iterable[Dim]) -> None:
    """Give every array its shape and dtype; check places, parameters, and that each length is told by some array.

    needed: the dimensions that the loss has.
    Raises ExpressionError for places outside, ArgumentError for arguments that don't fit.
    """
    by_base: dict[Any, list[Read]] = {}
    for r in reads:
        by_base.setdefault(r.base, []).append(r)
    for s in (s for s in slots if s.base is not None):
        check_role(s)
        used = by_base.get(s.base, [])
        s.shape, s.whole, s.symbols = shape_of(s.base, used), True, []
        if any(r.integers for r in used) or (isinstance(s.base, sympy.IndexedBase) and s.base.is_integer):
            s.dtype = "int64"
        check_parameter(s)
    axes = [d for s in slots if s.base is not None for d in s.shape or ()]
    told = {name for name, _, _, _ in dims_told(axes)}
    for name in sorted({name for d in (*needed, *axes) for name in names_in(d)} - told):
        raise ExpressionError(
            f"no array has an axis from which {name} is known at the call; put a number in: loss.subs({name}, 100)"
        )


def check_named(named: Mapping[Any, Slot], lengths: set[Any]) -> None:
    """Raise ArgumentError for a symbol that can't be an argument, as it is a length."""
    for symbol, s in named.items():
        check_role(s)
        if symbol in lengths:
            raise ArgumentError(f"{symbol} is a length, which the arrays tell; leave it out of {s.role}")


def check_role(s: Slot) -> None:
    """Raise ArgumentError for columns of data."""
    if s.role == "data":
        raise ArgumentError(
            f"data: {s.preferred} beside sums over indices; write the samples as an index too, as in "
            "Sum(f(x[i]), (i, 0, n - 1))/n, and leave data out"
        )


def check_parameter(s: Slot) -> None:
    """Raise ArgumentError for a parameter of unknown length or of integers."""
    if s.role == "params" and s.dtype == "int64":
        raise ArgumentError(f"the parameter {s.base} holds integers, which have no derivative; make it an input")
    named = [d for d in s.shape or () if isinstance(d, str)]
    if s.role == "params" and named:
        raise ArgumentError(
            f"the parameter {s.base} has the shape ({', '.join(map(str, s.shape or ()))}), and {named[0]} is not "
            f"known; give it numbers, as in IndexedBase('{s.base}', shape=(5,)), or put one in: "
            f"loss.subs({min(names_in(named[0]))}, 5)"
        )


# Shapes


def shape_of(base: Any, reads: Sequence[Read]) -> Shape:
    """The shape of an array, as given or from the places that the loss has of it."""
    given = given_shape(base)
    ranks = sorted({len(r.forms) for r in reads} | ({len(given)} if given is not None else set()))
    if len(ranks) > 1:
        raise ExpressionError(
            f"{base} has {' and '.join(map(str, ranks))} indices or axes; write all of its entries with as many"
        )
    axes = range(ranks[0] if ranks else 0)
    shape = [dimension(given[k], base) if given is not None else reach(base, k, reads) for k in axes]
    shape = shape if given is not None else squared(shape, reads)
    for r in reads:
        for k, dim in enumerate(shape):
            check_place(r, k, dim)
    return tuple(shape)


def squared(shape: list[Dim], reads: Sequence[Read]) -> list[Dim]:
    """A shape in which axes are of one length if places along them depend on each other, as in A[i, i + 1] or j < i."""
    for r in reads:
        for a, b in combinations(range(len(shape)), 2):
            longest = larger(shape[a], shape[b])
            if longest is not None and together(r.forms[a], r.forms[b]) and isinstance(less(shape[a], shape[b]), int):
                shape = [longest if k in (a, b) else dim for k, dim in enumerate(shape)]
    return shape


def together(a: Form | None, b: Form | None) -> bool:
    """Whether two places depend on each other: they have an index in common, or one is in the bounds of the other."""
    own, others = ({axis for axis, _ in f.terms} if f is not None else set() for f in (a, b))
    return not own.isdisjoint(others | outer(others)) or not others.isdisjoint(outer(own))


def outer(axes: Iterable[Axis]) -> set[Axis]:
    """The indices in the bounds of indices."""
    return {axis for a in axes for bound in (a.low, a.high) for axis, _ in bound.terms}


def dimension(expr: Any, base: Any) -> Dim:
    """A dimension that an array was made with."""
    f = form_of(sympy.sympify(expr), ())
    if f is None:
        raise ExpressionError(f"{base} has the length {text(expr)}; use numbers, symbols, their sums and products")
    return f.offset


def reach(base: Any, k: int, reads: Sequence[Read]) -> Dim:
    """The length of an axis of which no more is known than the places of it."""
    found: Dim = 0
    holder: Read | None = None
    for r, length in longest(k, reads):
        chosen = length if holder is None else larger(found, length)
        if chosen is None:
            raise ExpressionError(
                f"{text(holder and holder.expr)} needs {base} to have {found} places along axis {k}, and "
                f"{text(r.expr)} needs {length}; give it a shape, as in IndexedBase('{base}', shape=(n, 3))"
            )
        if holder is None or chosen != found:
            found, holder = chosen, r
    return found if holder is not None else f"{base}_{k}"


def longest(k: int, reads: Sequence[Read]) -> list[tuple[Read, Dim]]:
    """The lengths that an axis needs; of entries in branches only those without a shift count, and if there are others
    none do, because a condition may keep x[i + 1] inside."""
    forms = [(r, f) for r in reads if (f := r.forms[k]) is not None]
    plain = [(r, f) for r, f in forms if [c for _, c in f.terms] == [1] and f.offset == 0]
    chosen = [(r, f) for r, f in forms if not r.guarded] or plain or forms
    return [(r, dim_sum(ends[1], 1)) for r, f in chosen if (ends := extremes(f)) is not None]


def check_place(r: Read, k: int, dim: Dim) -> None:
    """Raise ExpressionError if a place may be outside an axis."""
    f = r.forms[k]
    ends = None if f is None or (r.guarded and f.terms) else extremes(f)
    if ends is None or f is None:
        return
    low, high = ends
    if not possible(low) or not possible(less(dim_sum(dim, -1), high)):
        place = f"{low} to {high}" if low != high else str(low)
        cure = "count from the front" if isinstance(low, int) and low < 0 else "change the bounds, or the shape"
        raise ExpressionError(
            f"{text(r.expr)}: the places {place} of axis {k} are outside {r.base}, which has {dim} there; {cure}"
        )


def possible(dim: Dim) -> bool:
    """Whether a dimension is 0 or more once its names stand for lengths that are large enough."""
    if isinstance(dim, int):
        return dim >= 0
    return larger(dim, 0) == dim
