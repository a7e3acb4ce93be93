"""Arrays made from nothing, by NumPy's functions with `like=` a symbolic array.

How they lie in memory, and where, is the compiler's business: `order` and `device` are taken and do nothing.

>>> from gradcompile.frontend.arrays.core import array
>>> x = array("x", ("n", 3))
>>> np.eye(x.shape[0], like=x).shape, np.arange(x.shape[0], like=x)
(('n', 'n'), <Array arange(n): int64[n]>)
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import PATTERNS, Array, dtype_name, lift, named
from gradcompile.frontend.arrays.shapes import column_and_row, filled, given_shape
from gradcompile.frontend.arrays.ufuncs import cast, choose, elementwise, function
from gradcompile.ir.algebra import counting
from gradcompile.ir.core import Node
from gradcompile.ir.types import Dim, Shape


@function(np.eye)
def eye(N: Any, M: Any = None, k: int = 0, dtype: Any = float, order: Any = None, device: Any = None) -> Array:
    """Ones on the k-th diagonal of a matrix of zeros."""
    shape = tuple(given_shape([N, N if M is None else M]))
    return Array(by_diagonals("eq", shape, k, (1, 0), dtype_name(dtype)))


def by_diagonals(op: str, shape: Shape, k: int, values: tuple[float, float], dtype: str) -> Node:
    """A matrix of one number where its columns compare so with its rows plus k, and another elsewhere."""
    return choose(elementwise(op, *column_and_row(shape, k)), *(filled(v, (), dtype) for v in values))


function(np.identity)(lambda n, dtype=float: eye(n, dtype=dtype))  # the unit matrix


@function(np.arange)
def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, device: Any = None) -> Array:
    """Equally spaced numbers; the number of steps of 1, and of those along a length that has a name, is known."""
    low, high = (0, start) if stop is None else (start, stop)
    if not isinstance(high, str) and not isinstance(low, str):
        return asarray(np.arange(low, high, step), dtype)
    if step != 1 or not all(isinstance(d, int | str) for d in (low, high)):
        raise ExpressionError(f"np.arange({low}, {high}, {step}): along a length with a name steps are 1, from a whole "
                              "number; scale and shift what comes out")  # fmt: skip
    count: Dim = named(high) - low if isinstance(high, str) else high - named(low)  # type: ignore[operator]
    n = Array(counting(tuple(given_shape(count)), 0))
    n = n if low == 0 else n + low
    return n if dtype is None else Array(cast(n.node, dtype_name(dtype)))


@function(np.full)
def full(shape: Any, fill_value: Any, dtype: Any = float, order: Any = None, device: Any = None) -> Array:
    """One number in a shape."""
    name = dtype_name(dtype)
    return Array(filled({"bool": bool, "int64": int}.get(name, float)(fill_value), tuple(given_shape(shape)), name))


function(np.ones)(lambda shape, dtype=float, order=None, device=None: full(shape, 1, dtype))  # ones in a shape


@function(np.asarray, np.array)
def asarray(a: Any, dtype: Any = None, order: Any = None, device: Any = None, copy: Any = None) -> Array:
    """Numbers, or symbolic arrays in nested sequences, as one symbolic array."""
    n = lift(a)
    return Array(n if dtype is None else cast(n, dtype_name(dtype)))


# Numbers that follow a pattern are computed, not written out


def pattern(find: Callable[[np.ndarray, str], Node | None]) -> Callable[[np.ndarray, str], Node | None]:
    """Enter what makes the node of numbers that follow a pattern, and gives None of others."""
    PATTERNS.append(find)
    return find


def same(numbers: np.ndarray, made: np.ndarray) -> bool:
    """Whether numbers are these, to the sign of zero."""
    return np.array_equal(numbers, made) and np.array_equal(np.signbit(numbers), np.signbit(made))


@pattern
def equal(numbers: np.ndarray, dtype: str) -> Node | None:
    """All are one number.

    >>> equal(np.ones((300, 300)), "float64")
    <broadcast float64[300, 300]>
    """
    first = numbers.flat[0]
    return filled(first.item(), numbers.shape, dtype) if same(numbers, np.full_like(numbers, first)) else None


@pattern
def counted(numbers: np.ndarray, dtype: str) -> Node | None:
    """0, 1, 2, ..., or so on from another whole number.

    >>> counted(np.arange(3, 103), "int64") is None, counted(np.arange(3, 200, 2), "int64")
    (False, None)
    """
    if numbers.ndim != 1 or dtype == "bool":
        return None
    first = numbers[0].item()
    if not float(first).is_integer() or not same(numbers, first + np.arange(len(numbers), dtype=numbers.dtype)):
        return None
    n = cast(counting(numbers.shape, 0), dtype)
    return n if first == 0 else elementwise("add", n, filled(first, (), dtype))


@pattern
def along_diagonals(numbers: np.ndarray, dtype: str) -> Node | None:
    """Of a matrix one diagonal, and zeros; or one number up to a diagonal, another above it.

    >>> along_diagonals(np.tri(100, 200), "float64"), along_diagonals(np.eye(100)[::-1], "float64")
    (<select float64[100, 200]>, None)
    """
    if numbers.ndim != 2:
        return None
    rows, columns = numbers.shape
    place = np.arange(columns) - np.arange(rows)[:, None]
    inside = numbers.flat[np.argmax(numbers != 0)], numbers.flat[np.argmin(numbers != 0)]
    corners = numbers[-1, 0], numbers[0, -1]
    for op, compare, (on, off) in (("eq", np.equal, inside), ("le", np.less_equal, corners)):
        k = place[numbers == on].max(initial=-rows)
        if same(numbers, np.where(compare(place, k), on, off)):
            return by_diagonals(op, numbers.shape, int(k), (on.item(), off.item()), dtype)
    return None
