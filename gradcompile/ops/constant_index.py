"""Gathering: vectors put together from many values, entries taken by a static index, and numbers that differ by entry.

These are what a loop over similar terms reads (see `passes.reroll`). An index is part of the node, not of the data, so
that a reader and the generated code see that entry i of a loop is x[i + 1].
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from gradcompile.errors import GraphError
from gradcompile.ir.algebra import part_at, zeros_like
from gradcompile.ir.core import OPS, Node, Op, Params, apply, named, node, register
from gradcompile.ir.types import ArrayType, Shape, promote
from gradcompile.ops.shape import Tangents, again


@dataclass(frozen=True, slots=True)
class Affine:
    """Places start + sum(stride*i) for i below count, one (count, stride) for each axis of what is taken.

    >>> Affine(1, ((2, 10), (3, 1))).indices().tolist()
    [[1, 2, 3], [11, 12, 13]]
    """

    start: int
    axes: tuple[tuple[int, int], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what is taken."""
        return tuple(count for count, _ in self.axes)

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest place."""
        steps = [(count - 1) * stride for count, stride in self.axes]
        return self.start + sum(min(s, 0) for s in steps), self.start + sum(max(s, 0) for s in steps)

    def indices(self) -> npt.NDArray[np.int64]:
        """All places, in the shape of what is taken."""
        result = np.full(self.shape, self.start, np.int64)
        for axis, (count, stride) in enumerate(self.axes):
            steps = stride * np.arange(count)
            result += steps.reshape((count, *[1] * (len(self.axes) - axis - 1)))
        return result


@dataclass(frozen=True, slots=True)
class Places:
    """Places one by one, where they follow no rule; what is taken is a vector.

    >>> Places((4, 0, 4)).indices().tolist()
    [4, 0, 4]
    """

    listed: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what is taken."""
        return (len(self.listed),)

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest place."""
        return min(self.listed), max(self.listed)

    def indices(self) -> npt.NDArray[np.int64]:
        """All places."""
        return np.array(self.listed, np.int64)


Spec = Affine | Places


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a table, kept as bytes, so that tables with zeros of different signs are different tables.

    >>> Numbers.of([1.5, -0.0])
    Numbers.of([1.5, -0.0])
    """

    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, values: npt.ArrayLike) -> "Numbers":
        """The numbers of an array or of nested sequences."""
        array = np.ascontiguousarray(values, np.float64)
        return cls(array.shape, array.tobytes())

    def array(self) -> npt.NDArray[np.float64]:
        """The numbers as an array, which can't be written to."""
        return np.frombuffer(self.data, np.float64).reshape(self.shape)

    def __repr__(self) -> str:
        return f"Numbers.of({self.array().tolist()})"


def table(values: npt.ArrayLike, dtype: str = "float64") -> Node:
    """The node of a table of numbers, of one axis or more.

    >>> table([1.0, 2.0])
    <table float64[2]>
    """
    numbers = Numbers.of(values)
    return node(OPS["table"], (), (numbers,), ArrayType(numbers.shape, dtype))


def no_table_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """A table is given its type."""
    raise GraphError("a table needs its type given: use ops.gather.table")


def unnamed_shape(type: ArrayType, what: str) -> tuple[int, ...]:
    """The shape of an array that has no named dimension; GraphError for one that has."""
    sizes = tuple(d for d in type.shape if isinstance(d, int))
    if len(sizes) < len(type.shape):
        raise GraphError(f"{what} a value of type {type}: its dimensions must be numbers; sum or index it first")
    return sizes


def pack_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """A vector with room for all entries."""
    if not types:
        raise GraphError("pack got no values; it takes at least one")
    length = len(types) if all(not t.shape for t in types) else sum(prod(unnamed_shape(t, "pack got")) for t in types)
    return ArrayType((length,), promote(*{t.dtype for t in types}))


def pack(*args: Any) -> Any:
    """The entries of all values, row by row, in one vector."""
    return np.concatenate([np.ravel(a) for a in args])


def row_major(start: int, shape: Shape) -> Affine:
    """The places of an array's entries that are stored from a start on, row by row.

    >>> row_major(5, (2, 3))
    Affine(start=5, axes=((2, 3), (3, 1)))
    """
    sizes = [int(d) for d in shape]
    return Affine(start, tuple((d, prod(sizes[k + 1 :])) for k, d in enumerate(sizes)))


def pack_vjp(g: Node, n: Node) -> Tangents:
    """Each value gets its own entries of the adjoint."""
    parts: list[Node] = []
    offset = 0
    for a in n.args:
        shape = a.type.shape
        parts.append(take(g, row_major(offset, shape)) if shape else part_at(g, (offset,)))
        offset += prod(int(d) for d in shape)
    return tuple(parts)


def pack_jvp(n: Node, tangents: Tangents) -> Node:
    """The tangents in one vector."""
    return apply("pack", *(zeros_like(a) if t is None else t for a, t in zip(n.args, tangents, strict=True)))


def vector_length(type: ArrayType, what: str) -> int:
    """The length of a vector; GraphError for anything else."""
    if len(type.shape) != 1:
        raise GraphError(f"{what} a value of type {type}: a vector of known length is needed")
    return unnamed_shape(type, what)[0]


def check_inside(spec: Spec, length: int, what: str) -> None:
    """Raise GraphError unless all places of a spec, at least one, are in a vector of that length."""
    if prod(spec.shape) == 0 or min(spec.shape) < 0:
        raise GraphError(f"{what} of shape {spec.shape}: there is nothing to take")
    low, high = spec.bounds
    if low < 0 or high >= length:
        raise GraphError(f"{what} at places {low} to {high}: the vector has places 0 to {length - 1}")


def take_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The shape of the index."""
    spec = params[0]
    check_inside(spec, vector_length(types[0], "take from"), "take")
    return ArrayType(spec.shape, types[0].dtype)


def take(v: Node, spec: Spec) -> Node:
    """The entries of a vector at the places of a spec."""
    return apply("take", v, params=(spec,))


def scatter_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """A vector of the given length."""
    spec, length = params
    if types[0].shape != spec.shape:
        raise GraphError(f"scatter got a value of type {types[0]} for an index of shape {spec.shape}")
    check_inside(spec, length, "scatter")
    return ArrayType((length,), types[0].dtype)


def scatter(g: Any, spec: Spec, length: int) -> Any:
    """Zeros, with the entries of g added at their places."""
    result = np.zeros(length, np.asarray(g).dtype)
    np.add.at(result, spec.indices().ravel(), np.ravel(g))
    return result


is_table = named("table")  # an array of numbers, its param
is_take = named("take")  # entries of a vector at the places of its param
is_pack = named("pack")  # the entries of all arguments in one vector


register(Op("pack", pack_type, pack, vjp=pack_vjp, jvp=pack_jvp, is_linear=True, cost=0, arity=None,
            derivative="the transpose takes the entries apart", accuracy="exact",
            transpose_copies=True, keeps_finite=True,
            doc="the entries of all values in one vector"))  # fmt: skip
register(Op("take", take_type, lambda v, spec: np.asarray(v)[spec.indices()], jvp=again, is_linear=True, cost=0,
            vjp=lambda g, n: (apply("scatter", g, params=(n.params[0], n.args[0].type.shape[0])),),
            derivative="the transpose is scatter", accuracy="exact", keeps_finite=True,
            doc="entries of a vector, by a static index"))  # fmt: skip
register(Op("scatter", scatter_type, scatter, vjp=lambda g, n: (take(g, n.params[0]),), jvp=again, is_linear=True,
            derivative="the transpose is take", accuracy="correctly rounded, term by term",
            transpose_copies=True, by_argument=True, keeps_finite=True,
            doc="a vector of zeros, with entries added at a static index"))  # fmt: skip
register(Op("table", no_table_type, lambda numbers: numbers.array(), arity=0, cost=0, derivative="0", accuracy="exact",
            typed=True, keeps_finite=True, array_name="numbers",
            doc="an array of numbers"))  # fmt: skip
