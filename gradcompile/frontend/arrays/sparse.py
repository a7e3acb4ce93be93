"""A sparse input: a matrix that is given as one of scipy.sparse, and multiplied."""

from typing import Any

import numpy as np
import numpy.typing as npt

from gradcompile.errors import ArgumentError, ExpressionError
from gradcompile.frontend.arrays.core import Array, Own, called, checked, dtype_name, lift_all, placed
from gradcompile.ir.core import leaf
from gradcompile.ir.types import ArrayType, Dim, Shape
from gradcompile.ops.sparse import sparse_dot
from gradcompile.signature.sparse import PARTS, Part
from gradcompile.tracebacks import entry

CURE = ("a sparse matrix is multiplied, as in X @ w and X.T @ r; for anything else pass X.toarray() to a "
        "gradcompile.array")  # fmt: skip


@entry
def sparse_array(name: str, shape: tuple[Dim, int], dtype: npt.DTypeLike = "float64") -> "SparseArray":
    """A sparse matrix among the inputs, for X @ w and X.T @ r; a call takes any matrix of scipy.sparse for it.

    shape: as of `array`, the number of columns known.  A matrix in the format CSR with indices of 64 bits is read as it
    is; others are converted at each call, or once by `f.bind`.

    >>> from gradcompile import array
    >>> X, w = sparse_array("X", ("n", 1000)), array("w", 1000)
    >>> (X @ w).shape
    ('n',)
    """
    given: Any = shape
    if not isinstance(given, tuple | list) or len(given) != 2 or isinstance(given[1], str):
        raise ArgumentError(f"sparse array {name!r}: a matrix with a known number of columns is needed, not {shape}")
    kind = dtype_name(dtype)
    if not kind.startswith("float"):
        raise ArgumentError(f"sparse array {name!r} of dtype {kind}: float64 or float32 is needed; matrices of whole "
                            "numbers are converted at each call")  # fmt: skip
    return SparseArray(name, tuple(checked(d, name) for d in given), kind)


class SparseArray(Own, np.lib.mixins.NDArrayOperatorsMixin):
    """A sparse matrix that a call is given."""

    __slots__ = ("dtype", "is_turned", "name", "parts", "shape")
    __hash__ = object.__hash__
    ndim = 2

    def __init__(self, name: str, shape: Shape, dtype: str, is_turned: bool = False) -> None:
        self.name, self.shape, self.dtype, self.is_turned = name, shape, np.dtype(dtype), is_turned
        entries = (f"{name}_entries",)
        types = [ArrayType(entries, "int64"), ArrayType(entries, dtype), *[ArrayType(shape[:1], "int64")] * 2]
        self.parts = tuple(leaf(Part(name, p, shape), t) for p, t in zip(PARTS, types, strict=True))

    @property
    def T(self) -> "SparseArray":
        """The transposed matrix."""
        return SparseArray(self.name, self.shape, self.dtype.name, not self.is_turned)

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"<SparseArray {self.name}{'.T' if self.is_turned else ''} of a matrix of ({rows}, {columns})>"

    def __reduce__(self) -> tuple[Any, ...]:
        return SparseArray, (self.name, self.shape, self.dtype.name, self.is_turned)

    def __matmul__(self, other: Any) -> Array:
        made: Array = called(f"{self!r} @", self.product, (other,), {})
        return made

    def __rmatmul__(self, other: Any) -> Array:
        made: Array = called(f"@ {self!r}", lambda x: self.T.product(x.T).T, (other,), {})
        return made

    def product(self, x: Any) -> Array:
        """The matrix times a vector or a matrix."""
        (n,) = lift_all(x)
        length = self.shape[0 if self.is_turned else 1]
        if len(n.type.shape) not in (1, 2) or n.type.shape[0] != length:
            raise ExpressionError(f"shape {n.type.shape} does not fit: a vector or rows of length {length} are needed")
        if n.type.dtype != self.dtype.name:
            raise ExpressionError(f"{self.name} is {self.dtype} and this is {n.type.dtype}; both are of one dtype")
        columns: Dim | None = self.shape[1] if self.is_turned else None
        return Array(sparse_dot(n, self.parts, columns))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc is not np.matmul or method != "__call__" or options:
            raise placed(f"np.{ufunc.__name__} does not take a sparse array; {CURE}")
        return self @ inputs[1] if inputs[0] is self else self.__rmatmul__(inputs[0])

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise placed(f"np.{func.__name__} does not take a sparse array; {CURE}")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise placed(f"a sparse array is no array of numbers; {CURE}")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a sparse array has no attribute {name!r}; {CURE}")
