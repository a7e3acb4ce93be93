"""Shapes and dtypes: what a node of the graph is before it has a value.

A dimension is a number, a name that is bound at the call, or a polynomial in such names with whole coefficients, as
text in one form only ("n-1", "2*m*n+1"): what slices, concatenations and reshapes of named dimensions give. The text is
Python, so generated code may use it as it stands.
"""

import math
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from gradcompile.errors import ExpressionError

LARGEST = 2**31 - 1  # length of an axis that BLAS counts
WRITTEN = "out"  # in a kernel, before the type of an argument after the second that it fills
Dim = int | str
Shape = tuple[Dim, ...]
Monomials = dict[tuple[str, ...], int]  # names of a product, sorted -> its coefficient

_ORDER = ("bool", "int64", "float32", "float64")


class ArrayType(NamedTuple):
    """The type of an array: dimensions (integers or names bound at the call) and a dtype.

    >>> print(ArrayType(("n", 3), "float64"))
    float64[n, 3]
    """

    shape: Shape = ()
    dtype: str = "float64"

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def broadcast(*shapes: Shape) -> Shape:
    """The common shape of operands by NumPy's rule; a named dimension matches itself and 1.

    Raises ExpressionError when two dimensions differ.

    >>> broadcast(("n", 1), (3,), ())
    ('n', 3)
    """
    result: list[Dim] = [1] * max(map(len, shapes), default=0)
    for shape in shapes:
        for k, dim in enumerate(reversed(shape), start=1):
            if dim != 1 and result[-k] not in (1, dim):
                raise ExpressionError(
                    f"shapes {' and '.join(map(str, shapes))} do not broadcast: {result[-k]} against {dim} on axis "
                    f"-{k} (axes are matched from the last; x[:, None] puts one in)"
                )
            if dim != 1:
                result[-k] = dim
    return tuple(result)


def promote(*dtypes: str) -> str:
    """The widest of the dtypes, in the order bool, int64, float32, float64.

    >>> promote("bool", "float32")
    'float32'
    """
    return max(dtypes, key=_ORDER.index)


@lru_cache(maxsize=4096)
def parsed(dim: Dim) -> tuple[tuple[tuple[str, ...], int], ...]:
    """A dimension as products of names with their coefficients.

    >>> parsed("2*n-1")
    ((('n',), 2), ((), -1))
    """
    if isinstance(dim, int):
        return (((), dim),)
    found: Monomials = {}
    for sign, text in re.findall(r"([+-]?)([^+-]+)", dim):
        parts = text.split("*")
        number = math.prod(int(t) for t in parts if t.isdigit())
        found[tuple(sorted(t for t in parts if not t.isdigit()))] = -number if sign == "-" else number
    return tuple(found.items())


def written(monomials: Mapping[tuple[str, ...], int]) -> Dim:
    """The one form of a dimension: products of more names first, the number last."""
    kept = sorted(((names, c) for names, c in monomials.items() if c), key=lambda m: (-len(m[0]), m[0]))
    if all(not names for names, _ in kept):
        return sum(c for _, c in kept)
    text = ""
    for names, c in kept:
        factors = [*([str(abs(c))] if abs(c) != 1 or not names else []), *names]
        text += ("-" if c < 0 else "+" if text else "") + "*".join(factors)
    return text


def dim_sum(*dims: Dim) -> Dim:
    """The sum of dimensions.

    >>> dim_sum("n", 1, "n"), dim_sum("n-1", 1)
    ('2*n+1', 'n')
    """
    total: Counter[tuple[str, ...]] = Counter()
    for dim in dims:
        for names, c in parsed(dim):
            total[names] += c
    return written(total)


def dim_product(*dims: Dim) -> Dim:
    """The product of dimensions.

    >>> dim_product("n", 3, "m"), dim_product(-1, "n-1"), dim_product()
    ('3*m*n', '-n+1', 1)
    """
    total: Monomials = {(): 1}
    for dim in dims:
        grown: Counter[tuple[str, ...]] = Counter()
        for left, a in total.items():
            for right, b in parsed(dim):
                grown[tuple(sorted(left + right))] += a * b
        total = dict(grown)
    return written(total)


def dim_value(dim: Dim, sizes: Mapping[str, int]) -> int:
    """The length that a dimension has for given lengths of the names; KeyError for a name that has none.

    >>> dim_value("2*n-1", {"n": 4})
    7
    """
    if isinstance(dim, int):
        return dim
    return sum(c * math.prod(sizes[name] for name in names) for names, c in parsed(dim))


def names_in(dim: Dim) -> set[str]:
    """The names of a dimension."""
    return {name for names, _ in parsed(dim) for name in names}


def dim_unknown(dim: Dim, known: Container[str]) -> tuple[str, int, Dim] | None:
    """The name, its coefficient and the rest of a dimension in which one name alone is not known, to first degree.

    >>> dim_unknown("2*n-1", ()), dim_unknown("m*n", ()), dim_unknown("d+n-1", ("d",))
    (('n', 2, -1), None, ('n', 1, 'd-1'))
    """
    unknown = [(names, c) for names, c in parsed(dim) if any(name not in known for name in names)]
    if len(unknown) != 1 or len(unknown[0][0]) != 1:
        return None
    (((name,), c),) = unknown
    return name, c, written({names: k for names, k in parsed(dim) if names != (name,)})


def dims_told(axes: Iterable[Dim]) -> list[tuple[str, int, Dim, int]]:
    """The names that the lengths of axes tell, in an order in which each follows from those before it.

    Of each its coefficient in an axis, the rest of that axis's dimension, and which axis it is.

    >>> dims_told(["d+n-1", 3, "d"])
    [('d', 1, 0, 2), ('n', 1, 'd-1', 0)]
    """
    left, found = dict(enumerate(axes)), dict[str, tuple[str, int, Dim, int]]()
    while True:
        candidates = [(u, k) for k, d in left.items() if (u := dim_unknown(d, found)) is not None]
        if not candidates:
            return list(found.values())
        (name, c, rest), k = min(candidates, key=lambda u: (u[0][2] != 0, u[0][1] != 1))  # an axis of that very length
        found[name] = (name, c, rest, k)


def dims_solved(axes: Sequence[tuple[Dim, int]]) -> dict[str, int]:
    """The length of each name, from dimensions and the lengths that they have; what contradicts is for the caller.

    >>> dims_solved([("d+n-1", 9), ("d", 3)])
    {'d': 3, 'n': 7}
    """
    sizes: dict[str, int] = {}
    for name, c, rest, k in dims_told([dim for dim, _ in axes]):
        sizes[name] = (axes[k][1] - dim_value(rest, sizes)) // c
    return sizes
