"""A sparse input: the matrix that a call is given, and the arrays that compiled code takes of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.ir.types import Shape
from gradcompile.signature.arguments import Argument

PARTS = ("columns", "data", "starts", "stops")  # of the entries, row by row; the first three are as SciPy has them


class Part(str):
    """The name of one of the arrays of a sparse matrix; owner: the name of the matrix.  shape: that of the matrix."""

    owner: str
    what: str
    shape: Shape

    def __new__(cls, owner: str, what: str, shape: Shape) -> "Part":  # noqa: D102
        made = super().__new__(cls, f"{owner}_{what}")
        made.owner, made.what, made.shape = owner, what, shape
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.owner, self.what, self.shape

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) and isinstance(other, Part) and self.shape == other.shape

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((str.__hash__(self), self.shape))


def outer(arguments: Sequence[Argument]) -> list[Argument]:
    """The arguments as a call has them: a sparse matrix in place of its arrays."""
    found = {owner_of(a): a for a in reversed(arguments)}
    return [replace(a, name=owner) if isinstance(a.original, Part) else a for owner, a in reversed(found.items())]


def owner_of(argument: Argument) -> str:
    """The name that a call knows an argument by."""
    part = argument.original
    return part.owner if isinstance(part, Part) else argument.name


def arrays_of(part: Part, value: Any) -> dict[str, Any]:
    """The arrays of a sparse matrix of SciPy, in any of its formats."""
    name, wanted = part.owner, part.shape
    if not hasattr(value, "tocsr"):
        cure = f"pass scipy.sparse.csr_array({name}), or make it with gradcompile.array for arrays of NumPy"
        raise ArgumentTypeError(f"{name} is a sparse matrix, got a value of type {type(value).__name__}; {cure}")
    matrix = value.tocsr()
    if len(matrix.shape) != 2 or any(isinstance(w, int) and d != w for d, w in zip(matrix.shape, wanted, strict=True)):
        raise ArgumentError(f"{name} has shape {matrix.shape}, expected ({', '.join(map(str, wanted))})")
    found = matrix.indices, matrix.data, matrix.indptr[:-1], matrix.indptr[1:]
    return dict(zip(PARTS, found, strict=True))
