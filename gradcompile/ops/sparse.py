"""Products of a sparse matrix with a vector or a matrix: one op, and its transpose is the same of the other way."""

from typing import Any

import numpy as np

from gradcompile.errors import GraphError
from gradcompile.ir.algebra import broadcast_to, sum_over
from gradcompile.ir.core import Node, Op, Params, apply, register
from gradcompile.ir.types import ArrayType
from gradcompile.ops.shape import Tangents, again


def sparse_dot(x: Node, entries: tuple[Node, ...], columns: Any = None) -> Node:
    """The matrix of these entries times x; or, of so many columns, the transposed one.

    entries: the column of each, its value, and for each row where its entries start and stop.
    """
    kind = "vector" if len(x.type.shape) == 1 else "matrix"
    if columns is None:
        return apply(f"sparse_dot_rows_{kind}", x, *entries)
    return apply(f"sparse_dot_columns_{kind}", x, *entries, params=(columns,))


def sparse_dot_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """As many rows as the matrix has, or columns, and x's other axis."""
    x, columns, data, starts, stops = types
    fits = columns.shape == data.shape and starts == stops and x.shape and len(x.shape) <= 2
    if not fits or (params and x.shape[0] != starts.shape[0]):
        raise GraphError(f"a sparse matrix of entries {data} in rows {starts} times a value of type {x}: no fit")
    return ArrayType((params[0] if params else starts.shape[0], *x.shape[1:]), x.dtype)


def value_of(x: Any, columns: Any, data: Any, starts: Any, stops: Any, length: int | None = None) -> Any:
    """The product, entry by entry."""
    columns, starts, stops = (np.asarray(k).astype(np.int64) for k in (columns, starts, stops))
    counts = np.maximum(stops - starts, 0)
    rows = np.repeat(np.arange(len(starts)), counts)
    at = np.repeat(starts, counts) + np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    to, of, n = (rows, columns[at], len(starts)) if length is None else (columns[at], rows, length)
    result = np.zeros((n, *x.shape[1:]), x.dtype)
    np.add.at(result, to, x[of] * data[at].reshape(-1, *[1] * (x.ndim - 1)))
    return result


def sparse_dot_vjp(g: Node, n: Node) -> Tangents:
    """The product with the transposed matrix."""
    x, *entries = n.args
    turned = sparse_dot(g, tuple(entries), None if n.params else x.type.shape[0])
    return (turned, *[None] * len(entries))


def sparse_dot_reach(g: Node, n: Node) -> Tangents:
    """Any entry of a column of the adjoint may reach all of that column of x."""
    x = n.args[0]
    return (broadcast_to(sum_over(g, (0,)), x.type.shape, tuple(range(1, len(x.type.shape)))), *[None] * 4)


def is_sparse_dot(n: Node) -> bool:
    """Whether a node is a product with a sparse matrix: of x, columns, data, starts and stops of the rows."""
    return n.op.name in NAMES


NAMES = tuple(f"sparse_dot_{way}_{kind}" for way in ("rows", "columns") for kind in ("vector", "matrix"))
for _name in NAMES:
    register(Op(_name, sparse_dot_type, value_of, vjp=sparse_dot_vjp, jvp=again, reach=sparse_dot_reach, arity=5,
                is_expensive=True, keeps_finite=True, has_dims=True, in_memory=True, reads_memory=True,
                routine_axes=1, cost=8, derivative="the product with the transposed matrix; its entries are inputs",
                accuracy="correctly rounded, term by term", convention="a column that there is not gives NaN",
                array_name="product", doc="a sparse matrix, or its transpose, times a vector or a matrix"))  # fmt: skip
