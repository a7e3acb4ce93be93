"""Arrays whose axes are indices: how they are lined up, made of indices and lengths, and summed over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import mul
from typing import NamedTuple

from gradcompile.frontend.arrays.reductions import product_over
from gradcompile.frontend.arrays.shapes import with_axes
from gradcompile.frontend.arrays.ufuncs import cast, elementwise
from gradcompile.frontend.sympy.indexed.forms import Axis, Form
from gradcompile.frontend.sympy.scalars import Context
from gradcompile.ir.algebra import add, arange, equal, expand, select, sum_over
from gradcompile.ir.core import Node, apply, const
from gradcompile.ir.types import Dim, dim_product, dim_sum, parsed


@dataclass(frozen=True, slots=True)
class IndexContext(Context):
    """A context with a node for the length that each name stands for."""

    sizes: dict[str, Node] = field(default_factory=dict)


class Value(NamedTuple):
    """An array over indices: one axis of the node for each, in the order of their ranks."""

    node: Node
    axes: tuple[Axis, ...] = ()


# Side by side


def aligned(values: Sequence[Value]) -> tuple[list[Node], tuple[Axis, ...]]:
    """Nodes that broadcast to each other, and the axes that they have together."""
    axes = tuple(sorted({a for v in values for a in v.axes}, key=lambda a: a.rank))
    return [stretched(v, axes) for v in values], axes


def stretched(v: Value, axes: Sequence[Axis]) -> Node:
    """An array with axes of one entry where it lacks any of these, but for those in front."""
    if not v.axes:
        return v.node
    behind = axes[axes.index(v.axes[0]) :]
    return with_axes(v.node, [k for k, a in enumerate(behind) if a not in v.axes])


def pointwise(build: Callable[..., Node], c: Context, *values: Value) -> Value:
    """What `build` makes of nodes entry by entry."""
    nodes, axes = aligned(values)
    n = build(c, *nodes)
    return Value(expand(n, tuple(a.length for a in axes)) if axes else n, axes)


def op(name: str) -> Callable[..., Node]:
    """An op of two operands, of more from left to right, with NumPy's conversions."""
    return lambda c, *nodes: reduce(lambda a, b: elementwise(name, a, b), nodes) if len(nodes) > 1 else elementwise(
        name, *nodes)  # fmt: skip


# Indices and lengths as values


def length(c: IndexContext, dim: Dim) -> Node:
    """A dimension as a float."""
    terms = []
    for names, k in parsed(dim):
        factors = [*([c.const(float(k))] if k != 1 or not names else []), *(c.sizes[name] for name in names)]
        terms.append(reduce(mul, factors))
    return add(*terms) if terms else c.const(0.0)


def whole(c: IndexContext, dim: Dim) -> Node:
    """A dimension as an integer."""
    return const(dim, "int64") if isinstance(dim, int) else cast(length(c, dim), "int64")


def integer(c: IndexContext, form: Form) -> Value:
    """The values of an index, as integers."""
    start = dim_sum(form.offset, *(dim_product(k, axis.first) for axis, k in form.terms))
    terms = []
    for axis, k in form.terms:
        line = arange(axis.length)
        terms.append(Value(line if k == 1 else elementwise("mul", whole(c, k), line), (axis,)))
    if start != 0 or not terms:
        terms.append(Value(whole(c, start)))
    return pointwise(op("add"), c, *terms) if len(terms) > 1 else terms[0]


def number(c: IndexContext, form: Form) -> Value:
    """The values of an index in a formula."""
    return floating(c, integer(c, form)) if form.terms else Value(length(c, form.offset))


def floating(c: IndexContext, v: Value) -> Value:
    """An array as floats of the graph's dtype."""
    return Value(cast(v.node, c.dtype), v.axes)


# Over indices


@dataclass(frozen=True, slots=True)
class Reduction:
    """A Sum or a Product over axes; logarithm: it is the logarithm of the product that is wanted."""

    product: bool
    axes: tuple[Axis, ...]
    logarithm: bool = False

    def __call__(self, c: IndexContext, v: Value, *factor: Value) -> Value:
        """The sum of an array over the axes, times what stands before it; or the product."""
        v = masked(c, v, self.axes, c.const(1.0 if self.product else 0.0))
        lost = tuple(k for k, a in enumerate(v.axes) if a in self.axes)
        kept = tuple(a for a in v.axes if a not in self.axes)
        absent = dim_product(*(a.length for k, a in enumerate(self.axes) if a not in v.axes or a in self.axes[:k]))
        if not self.product:
            n = sum_over(v.node, lost) if lost else v.node
            times = [] if absent == 1 else [Value(length(c, absent))]
            return pointwise(op("mul"), c, *factor, *times, Value(n, kept)) if factor or times else Value(n, kept)
        n = v.node if absent == 1 else elementwise("pow", v.node, length(c, absent))
        return Value(multiplied(c, n, lost, self.logarithm), kept)


def masked(c: IndexContext, v: Value, axes: Sequence[Axis], neutral: Node) -> Value:
    """An array with the neutral element wherever an index is outside bounds that depend on other indices."""
    for axis in axes:
        place = integer(c, Form(((axis, 1),), 0))
        for low, high in ((axis.low, None), (None, axis.high)):
            bound = low or high
            if bound is not None and bound.terms:
                sides = (integer(c, bound), place) if low is not None else (place, integer(c, bound))
                inside = pointwise(op("le"), c, *sides)
                v = pointwise(lambda c, m, x: select(m, x, neutral), c, inside, v)
    return v


def multiplied(c: IndexContext, n: Node, axes: Sequence[int], logarithm: bool) -> Node:
    """The product over axes, or its logarithm: over an axis whose length has a name, the sum of logarithms.

    That is NaN where the number of negative factors is odd.
    """
    if not logarithm or all(isinstance(n.type.shape[k], int) for k in axes):
        n = product_over(n, axes)
        return elementwise("log", n) if logarithm else n
    one, zero, params = c.const(1.0), c.const(0.0), (tuple(axes),)
    logs = apply("sum", elementwise("log", elementwise("abs", n)), params=params)
    count = apply("sum", select(elementwise("lt", n, zero), one, zero), params=params)
    odd = elementwise("mod", count, c.const(2.0))
    return select(equal(odd, zero), logs, c.const(float("nan")))
