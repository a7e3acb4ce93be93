"""Shapes and dtypes: what a node of the graph is before it has a value."""

from typing import NamedTuple

from gradcompile.errors import ExpressionError

Dim = int | str
Shape = tuple[Dim, ...]

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
                    f"shapes {' and '.join(map(str, shapes))} do not broadcast: {result[-k]} against {dim}"
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
