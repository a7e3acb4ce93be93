"""Places, shapes and lengths as expressions."""

from collections.abc import Iterable, Mapping

from gradcompile.ir.types import Dim, parsed
from gradcompile.loops.expressions import (
    SUM,
    Expression,
    call,
    group,
    name,
    negative,
    number,
    operation,
    sum_of,
    tuple_of,
)

THETA = name("theta")
ZERO = number(0)
LEAST = number('-float("inf")')  # what a maximum starts from
Names = Mapping[str, Expression]


def dim_expression(dim: Dim, names: Mapping[str, Expression] = {}) -> Expression:
    """A polynomial as an expression; names: what some of its names stand for.

    >>> [dim_expression(d).text for d in ("2*i+n-1", "-i+n-1", 3)]
    ['2 * i + n - 1', 'n - i - 1', '3']
    """
    if isinstance(dim, int):
        return number(dim)
    terms = [(c < 0, named_multiple(abs(c), factors, names))
             for factors, c in sorted(parsed(dim), key=lambda t: (t[1] < 0, not t[0]))]  # fmt: skip
    is_negative, first = terms[0]
    first = negative(first) if is_negative else first
    return sum_of([(False, first), *terms[1:]]) if len(terms) > 1 else first


def named_multiple(c: int, factors: Iterable[str], names: Names) -> Expression:
    """A number times names; the number is left out if it is 1."""
    parts = [names[f] if f in names else name(f) for f in factors]
    parts = [number(c), *parts] if c != 1 or not parts else parts
    return operation("*", *parts) if len(parts) > 1 else parts[0]


def atom_of(dim: Dim, names: Mapping[str, Expression] = {}) -> Expression:
    """A polynomial as an operand of any other operation.

    >>> [atom_of(d).text for d in ("n", "7*n", 3, -1)]
    ['n', '(7 * n)', '3', '(-1)']
    """
    x = dim_expression(dim, names)
    return x if x.is_name or (isinstance(dim, int) and dim >= 0) else group(x._replace(level=SUM))


def listed(dims: Iterable[Dim], names: Mapping[str, Expression] = {}) -> list[Expression]:
    """Polynomials side by side, as indices are written."""
    return [dim_expression(d, names) for d in dims]


def shape_tuple(dims: Iterable[Dim]) -> Expression:
    """A shape as a tuple.

    >>> shape_tuple((3, "m")).text, shape_tuple((3,)).text
    ('(3, m)', '(3,)')
    """
    return tuple_of(listed(dims))


def view(array: Expression, start: Dim, shape: Iterable[Dim]) -> Expression:
    """The entries of an array of one axis from a place on, in a shape."""
    return call("view", array, dim_expression(start), shape_tuple(shape))


def empty(size: Dim) -> Expression:
    """New memory for so many numbers."""
    return call("empty", dim_expression(size), THETA)


def zeros_of_size(size: Expression) -> Expression:
    """New memory full of zeros; size: a length, or a tuple of two."""
    return call("zeros", size, THETA)
