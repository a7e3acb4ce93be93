"""The tape of a loss in index notation: each part, where it stands, becomes an array over the indices that it has."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import sympy

from gradcompile.errors import ExpressionError
from gradcompile.frontend import functions
from gradcompile.frontend.arrays.ufuncs import cast, elementwise
from gradcompile.frontend.sympy import matrices
from gradcompile.frontend.sympy.arguments import Slot, indices
from gradcompile.frontend.sympy.indexed.forms import Axis, Form, Scope, extremes, form_of, less, never_negative
from gradcompile.frontend.sympy.indexed.reads import Read, taken
from gradcompile.frontend.sympy.indexed.shapes import check_named, resolve_shapes
from gradcompile.frontend.sympy.indexed.survey import (
    SUMS,
    Survey,
    deltas,
    everything,
    is_entry,
    limits,
    ranged,
    stray,
    symbols,
)
from gradcompile.frontend.sympy.indexed.values import (
    IndexContext,
    Reduction,
    Value,
    aligned,
    floating,
    integer,
    length,
    number,
    op,
    pointwise,
    stretched,
)
from gradcompile.frontend.sympy.polynomials import Family, family
from gradcompile.frontend.sympy.scalars import POLYNOMIALS, Context, between, negated, reciprocal
from gradcompile.ir.algebra import expand, length_along, select
from gradcompile.ir.core import Node, is_leaf
from gradcompile.ir.graph import topological
from gradcompile.ir.types import Dim, dim_product, dim_sum, dims_told
from gradcompile.signature.names import is_small, text

WHOLE = {sympy.Add: "add", sympy.Mul: "mul", sympy.Mod: "mod", sympy.Abs: "abs", sympy.Max: "max", sympy.Min: "min"}
COMPARED = {  # op, and whether its sides are exchanged
    sympy.Lt: ("lt", False),
    sympy.Le: ("le", False),
    sympy.Gt: ("lt", True),
    sympy.Ge: ("le", True),
    sympy.Eq: ("eq", False),
    sympy.Ne: ("ne", False),
}
NUMBER, INTEGER = "number", "integer"  # what a part is wanted as


class Part(NamedTuple):
    """An expression, the indices bound where it stands, and what it is wanted as."""

    expr: Any
    scope: Scope
    kind: str = NUMBER


class Step(NamedTuple):
    """The parts that are built first, what builds the value of theirs, and how many of the parts a condition guards."""

    parts: Sequence[Part]
    build: Callable[..., Value]
    guarded: int = 0


class IndexTape:
    """The distinct parts of a loss in index notation, parts before wholes, each with what builds its value.

    A part is known by its identity and by what the indices that are free in it run over, because one expression may
    stand in several sums. `atoms`: the free symbols, and one entry of each array. free: a value may have indices that
    no sum binds, if their ranges are stated: it is then an array, with an axis for each in the order of their names.
    """

    arrays = True  # that is what its parts become

    def __init__(self, named: Mapping[Any, Slot], free: bool = False) -> None:
        self.named, self.free = named, free
        self.outer: Scope = ()
        self.steps: list[tuple[Part, Step, tuple[int, ...]]] = []
        self.atoms: dict[Any, None] = {}
        self._place: dict[tuple[int, Scope, str], int] = {}
        self._axes: dict[tuple[Any, Form, Form], Axis] = {}
        self._reads: dict[int, Read] = {}
        self._entries: dict[Any, Any] = {}

    @property
    def lengths(self) -> set[Any]:
        """The symbols that stand for lengths."""
        return self.survey.lengths

    @property
    def whole(self) -> set[Any]:
        """The arrays that are read at places that change."""
        return set(self._entries)

    def add(self, root: Any) -> int:
        """Walk a loss; the position of its step."""
        self.survey = Survey(root)
        self.outer = self._outer(root) if self.free else ()
        stack = [self._frame(Part(root, self.outer))]
        while stack:
            part, step, parts = stack[-1]
            below = next((p for p in parts if self._key(p) not in self._place), None)
            if below is not None:
                stack.append(self._frame(below))
                continue
            stack.pop()
            if isinstance(step.build, Read):
                self._reads[len(self.steps)] = step.build
            self._place[self._key(part)] = len(self.steps)
            self.steps.append((part, step, tuple(self._place[self._key(p)] for p in step.parts)))
        self._find_guarded()
        check_named(self.named, self.survey.lengths)
        return len(self.steps) - 1

    def resolve_shapes(self, slots: Sequence[Slot]) -> None:
        """Give every array its shape, and check it against the places and lengths of the loss."""
        needed = [*(a.length for a in self._axes.values()), *(str(s.name) for s in self.survey.lengths)]
        resolve_shapes(slots, list(self._reads.values()), needed)

    def build(self, context: Context) -> list[Node]:
        """A node for each step."""
        inside = IndexContext(context.dtype, context.atoms, None, sizes(context))
        values: list[Value] = []
        for _, step, places in self.steps:
            values.append(step.build(inside, *(values[p] for p in places)))
        axes = tuple(axis for _, axis in self.outer)
        last = expand(stretched(values[-1], axes), tuple(a.length for a in axes)) if axes else values[-1].node
        return [*(v.node for v in values[:-1]), last]

    def _outer(self, root: Any) -> Scope:
        """The indices of a value that no sum binds, and what they run over."""
        scope: Scope = ()
        for i in (i for i in ranged(root) if i not in self.named):
            self.survey.lengths.update(symbols(i.lower) | symbols(i.upper))
            scope = (*scope, (i, self._axis(root, i, i.lower, i.upper, ())))
        return scope

    def _key(self, part: Part) -> tuple[int, Scope, str]:
        return id(part.expr), part.scope, part.kind

    def _frame(self, part: Part) -> tuple[Part, Step, Any]:
        step = self._step(part)
        parts = [p._replace(scope=self._restricted(p)) for p in step.parts]
        return part, step._replace(parts=parts), iter(parts)

    def _restricted(self, part: Part) -> Scope:
        free = self.survey.free(part.expr)
        return tuple(pair for pair in part.scope if pair[0] in free)

    def _find_guarded(self) -> None:
        """Mark the entries that stand in branches only."""
        seen = [False] * len(self.steps)
        seen[-1] = True
        for k in reversed(range(len(self.steps))):
            _, step, places = self.steps[k]
            for p in places[step.guarded :] if seen[k] else ():
                seen[p] = True
        for k, read in self._reads.items():
            read.guarded = not seen[k]

    # What builds a part

    def _step(self, part: Part) -> Step:
        expr, scope, kind = part
        if is_entry(expr) and (kind == INTEGER or expr not in self.named):
            return self._entry(expr, scope, kind)
        if kind == INTEGER:
            return self._integer(expr, scope)
        if isinstance(expr, SUMS):
            return self._sum(expr, scope)
        if isinstance(expr, sympy.Symbol | sympy.Idx):
            return self._symbol(expr, scope)
        if deltas(expr):
            kind = INTEGER if all(self._is_whole(a, scope, True) for a in expr.args) else NUMBER
            return Step([Part(a, scope, kind) for a in expr.args], partial(pointwise, delta))
        if type(expr) in COMPARED and all(self._is_whole(a, scope) for a in expr.args):
            return Step([Part(a, scope, INTEGER) for a in expr.args], partial(pointwise, compared(expr)))
        if isinstance(expr, POLYNOMIALS) and self.survey.free(expr.args[0]):
            return self._polynomial(expr, scope)
        if isinstance(expr, sympy.log) and len(expr.args) == 1 and isinstance(expr.args[0], sympy.Product):
            return self._sum(expr.args[0], scope, logarithm=True)
        return self._plain(expr, scope)

    def _plain(self, expr: Any, scope: Scope) -> Step:
        """A part that is what it is without indices, entry by entry."""
        if isinstance(expr, functions.mean | functions.total):
            raise ExpressionError(
                f"{text(expr)}: {type(expr).__name__} is over the samples of data=; over an index write "
                "Sum(f(x[i]), (i, 0, n - 1))"
            )
        how = matrices.conversion(expr, self.named)
        if expr.is_Matrix and self.survey.free(expr):
            raise ExpressionError(
                f"{text(expr)}: a matrix that changes with an index can't be compiled; write it by entries, as in "
                "Sum(A[i, j]*x[j], (j, 0, n - 1))"
            )
        if how.atom is not None:
            self.atoms.setdefault(how.atom)
        guarded = sum(not is_condition(p) for p in how.parts) if isinstance(expr, sympy.Piecewise) else 0
        return Step([Part(p, scope) for p in how.parts], partial(pointwise, how.build), guarded)

    def _polynomial(self, expr: Any, scope: Scope) -> Step:
        """A polynomial whose degree is an index: those of all degrees, read like an array."""
        degree = form_of(expr.args[0], scope)
        ends = None if degree is None else extremes(degree)
        if degree is None or ends is None or not never_negative(ends[0]):
            raise ExpressionError(
                f"{text(expr)}: the degree {text(expr.args[0], 40)} is no sum of indices that is 0 or more; let an "
                "index run over the degree, from 0 on"
            )
        found = family(expr)
        build = partial(of_degrees, found=found, degree=degree, last=ends[1])
        return Step([Part(p, scope) for p in found.parts], build)

    def _symbol(self, expr: Any, scope: Scope) -> Step:
        """An index or a length as a number, or a symbol from outside."""
        if expr in dict(scope) or expr in self.survey.lengths:
            form = form_of(expr, scope) or Form((), 0)
            return Step((), lambda c: number(c, form))
        if expr not in self.named and (expr in self.survey.bound or isinstance(expr, sympy.Idx)):
            raise stray(expr, self.survey.root)
        self.atoms.setdefault(expr)
        return Step((), lambda c: Value(c.atoms[expr]))

    def _entry(self, expr: Any, scope: Scope, kind: str) -> Step:
        """An entry of an array."""
        for i in indices(expr):
            self._check_bound(i, scope, expr)
        forms = tuple(form_of(i, scope) for i in indices(expr))
        base = expr.args[0]
        self.atoms.setdefault(self._entries.setdefault(base, expr))
        data = [Part(i, scope, INTEGER) for i, f in zip(indices(expr), forms, strict=True) if f is None]
        return Step(data, Read(expr, forms, kind == INTEGER))

    def _check_bound(self, index: Any, scope: Scope, expr: Any) -> None:
        """Raise ExpressionError for an index that no sum binds."""
        for e in everything(index):
            if isinstance(e, sympy.Symbol | sympy.Idx) and e not in dict(scope) and e not in self.survey.lengths:
                raise ExpressionError(
                    f"{text(expr)}: no sum binds the index {e}; write Sum({text(expr, 60)}, ({e}, 0, n - 1)), or put "
                    "a number there"
                )

    def _integer(self, expr: Any, scope: Scope) -> Step:
        """A part of an index."""
        form = form_of(expr, scope)
        if form is not None:
            return Step((), lambda c: integer(c, form))
        name = next((WHOLE[k] for k in WHOLE if isinstance(expr, k)), None)
        if name is None:
            raise ExpressionError(
                f"{text(expr)} can't be an index; make it of indices, whole numbers, lengths and entries of integer "
                "arrays by +, *, Mod, Abs, Max, Min"
            )
        return Step([Part(a, scope, INTEGER) for a in expr.args], partial(pointwise, op(name)))

    def _is_whole(self, expr: Any, scope: Scope, entries: bool = False) -> bool:
        """Whether an expression is one of integers, so that it is compared exactly."""
        if not is_small(expr):
            return False
        inside = dict(scope)
        for e in everything(expr):
            known = e.is_Integer or e in inside or e in self.survey.lengths or isinstance(e, tuple(WHOLE))
            if not known and not (is_entry(e) and (entries or e.args[0].is_integer)):
                return False
        return True

    # Sums

    def _sum(self, expr: Any, scope: Scope, logarithm: bool = False) -> Step:
        """A Sum or Product; factors without its indices are taken out of a sum, so that products can be found in it."""
        upright, undo = in_order(expr, logarithm)
        if upright is not expr:
            upright = sympy.log(upright, evaluate=False) if logarithm else upright
            return Step([Part(upright, scope)], partial(pointwise, undo))
        inner, axes = scope, list[Axis]()
        for index, low, high in self._outermost_first(expr):
            axis = self._axis(expr, index, low, high, inner)
            inner = tuple(sorted([*(p for p in inner if p[0] != index), (index, axis)], key=lambda p: p[1].rank))
            axes.append(axis)
        is_product = isinstance(expr, sympy.Product)
        reduction = Reduction(is_product, tuple(axes), logarithm)
        body, factors = expr.args[0], []
        if isinstance(body, sympy.Mul) and not is_product:
            own = {a.symbol for a in axes}
            factors = [a for a in body.args if not self.survey.free(a) & own]
            if factors:
                body = sympy.Mul(*(a for a in body.args if self.survey.free(a) & own), evaluate=False)
        before = [Part(sympy.Mul(*factors, evaluate=False), scope)] if factors else []
        return Step([Part(body, inner), *before], reduction)

    def _outermost_first(self, expr: Any) -> list[tuple[Any, Any, Any]]:
        """The limits in an order in which bounds come after the indices in them; as written, if there are none.

        Of an index that is bound twice the last is the innermost, which is what the terms mean by it.
        """
        found = limits(expr)
        own, bounds = {index for index, _, _ in found}, [b for _, *pair in found for b in pair]
        apart = len(own) == len(found) and all(own.isdisjoint(self.survey.free(b)) for b in bounds)
        return found if apart else found[::-1]

    def _axis(self, expr: Any, index: Any, low: Any, high: Any, scope: Scope) -> Axis:
        """What an index runs over; equal ones are one, so that equal sums are one node."""
        forms = [form_of(bound, scope) for bound in (low, high)]
        ends = [None if f is None else extremes(f) for f in forms]
        if forms[0] is None or forms[1] is None or ends[0] is None or ends[1] is None:
            raise ExpressionError(
                f"{text(expr)}: the bounds {low} and {high} of {index} are no sums of lengths and outer indices with "
                "whole coefficients; write them so, or select by Piecewise"
            )
        key = (index, forms[0], forms[1])
        if key not in self._axes:
            first, length = ends[0][0], less(dim_sum(ends[1][1], 1), ends[0][0])
            if isinstance(length, int) and length < 0:
                raise ExpressionError(
                    f"{text(expr)}: the upper bound {high} of {index} is always below the lower one {low}; leave the "
                    "sum out if it is empty then"
                )
            self._axes[key] = Axis(*key, first, length, len(self._axes))
        return self._axes[key]


def of_degrees(c: IndexContext, *values: Value, found: Family, degree: Form, last: Dim) -> Value:
    """The polynomials at the values of the degree."""
    nodes, axes = aligned([floating(c, v) for v in values])
    shape = tuple(a.length for a in axes)
    n = found.up_to(last, *(expand(x, shape) for x in nodes))
    return taken(c, n, (degree, *(Form(((a, 1),), dim_product(-1, a.first)) for a in axes)), (), False, True)


def in_order(expr: Any, logarithm: bool) -> tuple[Any, Callable[..., Node]]:
    """A Sum or Product with its numeric bounds in order, and what makes of it that with the bounds as written."""
    found = [(i, *map(sympy.Integer, between(*b))) if all(x.is_Integer for x in b) else (i, *b)
             for i, *b in limits(expr)]  # fmt: skip
    swaps = sum(new != old for new, old in zip(found, limits(expr), strict=True))
    if not swaps:
        return expr, lambda c, n: n
    undo: Callable[..., Node] = lambda c, n: n  # noqa: E731
    if swaps % 2 and isinstance(expr, sympy.Product) and not logarithm:
        undo = reciprocal
    elif swaps % 2:
        undo = negated
    return expr.func(expr.args[0], *found), undo


def delta(c: Context, a: Node, b: Node) -> Node:
    """1 where both are equal, else 0."""
    return select(elementwise("eq", a, b), c.const(1.0), c.const(0.0))


def compared(expr: Any) -> Callable[..., Node]:
    """A comparison of integers."""
    name, swap = COMPARED[type(expr)]
    return lambda c, a, b: elementwise(name, *((b, a) if swap else (a, b)))


def is_condition(expr: Any) -> bool:
    """Whether an expression is true or false."""
    return isinstance(expr, sympy.logic.boolalg.Boolean) and not isinstance(expr, sympy.Symbol)


def sizes(context: Context) -> dict[str, Node]:
    """A node for the length of each name, from the arrays; those of floats first, which have it in their dtype."""
    leaves = [n for n in topological(list(context.atoms.values())) if is_leaf(n)]
    leaves.sort(key=lambda n: not n.type.dtype.startswith("float"))
    axes = [(n, k, dim) for n in leaves for k, dim in enumerate(n.type.shape)]
    inside = IndexContext(context.dtype, context.atoms, None, {})
    for name, c, rest, at in dims_told([dim for _, _, dim in axes]):
        n, k, _ = axes[at]
        size = cast(length_along(n, k), context.dtype)
        if rest != 0:
            size = size - length(inside, rest)
        inside.sizes[name] = size if c == 1 else size / context.const(float(c))
    return inside.sizes
