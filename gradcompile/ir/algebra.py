"""The graph's small algebra: what is not an operator of `Node`, as functions that make one node each.

>>> from gradcompile.ir.core import leaf
>>> x = leaf("x", ArrayType(("n", 3)))
>>> sum_over(select(less(x, 0.0), -x, 2.0 * x), (0,))
<sum float64[3]>
"""

from collections.abc import Iterable

from gradcompile.ir.core import Node, apply, const, is_const, lifted, named
from gradcompile.ir.types import ArrayType, Dim, Shape


def number(value: float, like: Node) -> Node:
    """A constant of a node's dtype."""
    return const(value, like.type.dtype)


def add(*terms: Node) -> Node:
    """The sum of terms, from left to right, in one node; a single one as it is."""
    return apply("add", *terms) if len(terms) != 1 else terms[0]


def times(x: Node, y: Node) -> Node:
    """x * y, without a factor of one."""
    return y if is_const(x, 1.0) else x if is_const(y, 1.0) else x * y


is_add = named("add")  # a sum of terms
is_neg = named("neg")  # -x
is_mul = named("mul")  # x * y
is_div = named("div")  # x / y
is_select = named("select")  # one of two values, by a condition
is_not = named("not")  # of a condition
is_ne = named("ne")  # x != y
is_remainder = named("mod")  # what a division with a whole quotient leaves
is_lt = named("lt")  # x < y


# Truth values


def less(x: Node, y: Node | float) -> Node:
    """x < y."""
    return apply("lt", x, lifted(y, x))


def greater(x: Node, y: Node | float) -> Node:
    """x > y, which is y < x."""
    return apply("lt", lifted(y, x), x)


def at_most(x: Node, y: Node | float) -> Node:
    """x <= y."""
    return apply("le", x, lifted(y, x))


def equal(x: Node, y: Node | float) -> Node:
    """Whether two values are equal; `==` of nodes is identity."""
    return apply("eq", x, lifted(y, x))


def unequal(x: Node, y: Node | float) -> Node:
    """Whether two values differ, as NaN does from itself."""
    return apply("ne", x, lifted(y, x))


def all_of(*conditions: Node) -> Node:
    """All of the conditions, in one node; a single one as it is."""
    return apply("and", *conditions) if len(conditions) != 1 else conditions[0]


def any_of(*conditions: Node) -> Node:
    """One of the conditions at least, in one node; a single one as it is."""
    return apply("or", *conditions) if len(conditions) != 1 else conditions[0]


def select(condition: Node, x: Node, y: Node | float) -> Node:
    """x where the condition holds, else y."""
    return apply("select", condition, x, lifted(y, x))


def ones_where(condition: Node, dtype: str) -> Node:
    """1 where a condition holds, else 0."""
    return apply("select", condition, const(1.0, dtype), const(0.0, dtype))


# Arrays


def zeros(type: ArrayType) -> Node:
    """Zeros of a type."""
    zero = const(0.0, type.dtype)
    return broadcast_to(zero, type.shape) if type.shape else zero


def zeros_like(n: Node) -> Node:
    """Zeros of a node's type."""
    return zeros(n.type)


def sum_over(x: Node, axes: tuple[int, ...]) -> Node:
    """The sum over axes, which go."""
    return apply("sum", x, params=(axes,))


def broadcast_to(x: Node, shape: Shape, at: tuple[int, ...] | None = None) -> Node:
    """x repeated to a shape; `at` says where its own axes stand in it, if they are not the last ones."""
    return apply("broadcast", x, params=(shape,) if at is None else (shape, at))


def placed_in(x: Node, shape: Shape, at: tuple[int, ...]) -> Node:
    """x repeated over the axes of a shape that it lacks, its own at these places."""
    trailing = at == tuple(range(len(shape) - len(at), len(shape)))
    return x if x.type.shape == shape else broadcast_to(x, shape, None if trailing else at)


def part_at(x: Node, index: tuple[object, ...]) -> Node:
    """An entry or a part of an array: for each axis a place, a span of places, or None for all."""
    return apply("item", x, params=(index,))


def assemble(parts: Iterable[Node], shape: Shape, indices: tuple[tuple[object, ...], ...]) -> Node:
    """An array of a shape that has parts at indices, which are added where they overlap, and 0 elsewhere."""
    return apply("assemble", *parts, params=(shape, indices))


def stop_gradient(x: Node) -> Node:
    """x, without a derivative; in generated code a copy of it."""
    return apply("stop_gradient", x)


def astype(x: Node, dtype: str) -> Node:
    """x in a dtype; as it is, if it has that."""
    return x if x.type.dtype == dtype else apply("cast", x, params=(dtype,))


def permute(x: Node, order: tuple[int, ...]) -> Node:
    """The axes in another order: axis k was axis order[k]."""
    return apply("transpose", x, params=(order,))


def reshape_to(x: Node, shape: Shape) -> Node:
    """The entries, row by row, in a shape; as they are, if they have that."""
    return x if x.type.shape == shape else apply("reshape", x, params=(shape,))


def arange(length: Dim) -> Node:
    """0, 1, 2, ... as whole numbers."""
    return apply("iota", params=(length,))


def counting(shape: Shape, axis: int) -> Node:
    """An array of a shape that counts 0, 1, 2, ... along an axis."""
    line = arange(shape[axis])
    return line if len(shape) == 1 else broadcast_to(line, shape, (axis,))


def length_along(x: Node, axis: int) -> Node:
    """The number of entries along an axis, in the dtype of x if that is one of floats."""
    return apply("size", x, params=(axis,))


def expand(x: Node, shape: Shape) -> Node:
    """x repeated to a shape by NumPy's rule: axes are added in front, and those of one entry repeated.

    >>> from gradcompile.ir.core import leaf
    >>> expand(leaf("x", ArrayType((1, 3))), ("n", 3))
    <broadcast float64[n, 3]>
    """
    if x.type.shape == shape:
        return x
    offset = len(shape) - len(x.type.shape)
    index = tuple(None if d == shape[offset + k] else 0 for k, d in enumerate(x.type.shape))
    kept = tuple(offset + k for k, i in enumerate(index) if i is None)
    if len(kept) < len(index):
        x = part_at(x, index)
    if kept == tuple(range(len(shape) - len(kept), len(shape))):
        return x if x.type.shape == shape else broadcast_to(x, shape)
    return broadcast_to(x, shape, kept)
