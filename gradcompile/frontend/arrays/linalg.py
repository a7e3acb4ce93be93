"""numpy.linalg on symbolic arrays: the last two axes are matrices, the others a batch."""

from typing import Any, NamedTuple

import numpy as np

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, lift, lift_all
from gradcompile.frontend.arrays.shapes import filled, with_axes, without_axes
from gradcompile.frontend.arrays.ufuncs import choose, elementwise, floating, function
from gradcompile.ir.algebra import counting, expand
from gradcompile.ir.core import Node, apply
from gradcompile.ir.types import Shape, broadcast
from gradcompile.ops.linalg import flipped


class Slogdet(NamedTuple):
    """Sign and logarithm of the absolute value of a determinant."""

    sign: Array
    logabsdet: Array


class Eigh(NamedTuple):
    """Eigenvalues in rising order, and the eigenvectors as columns."""

    eigenvalues: Array
    eigenvectors: Array


def square(a: Any) -> Node:
    """A batch of square matrices; ExpressionError for anything else."""
    n = floating(lift(a))
    if len(n.type.shape) < 2 or n.type.shape[-1] != n.type.shape[-2]:
        raise ExpressionError(f"square matrices are needed, not shape {n.type.shape}")
    return n


def identity(shape: Shape, dtype: str) -> Node:
    """A batch of unit matrices."""
    unit = elementwise("eq", counting(shape, len(shape) - 2), counting(shape, len(shape) - 1))
    return choose(unit, filled(1.0, (), dtype), filled(0.0, (), dtype))


@function(np.linalg.solve)
def solve(a: Any, b: Any) -> Array:
    """x with a @ x = b, for a vector b or the columns of a matrix; NaN for a singular a."""
    matrix, right = square(a), floating(lift_all(a, b)[1])
    vector = len(right.type.shape) == 1
    if vector:
        right = with_axes(right, [1])
    if not right.type.shape or right.type.shape[-2] != matrix.type.shape[-1]:
        raise ExpressionError(f"shapes {matrix.type.shape} and {right.type.shape} do not fit: the rows differ")
    batch = broadcast(matrix.type.shape[:-2], right.type.shape[:-2])
    matrix, right = (expand(n, (*batch, *n.type.shape[-2:])) for n in (matrix, right))
    result = apply("solve", matrix, right, params=("full",))
    return Array(without_axes(result, [len(batch) + 1]) if vector else result)


@function(np.linalg.inv)
def inv(a: Any) -> Array:
    """The inverse; NaN for a singular matrix. Where it is multiplied, `solve` is quicker and closer."""
    n = square(a)
    return Array(apply("solve", n, identity(n.type.shape, n.type.dtype), params=("full",)))


function(np.linalg.det)(lambda a: Array(apply("det", square(a))))  # the determinant


@function(np.linalg.slogdet)
def slogdet(a: Any) -> Slogdet:
    """Sign and logarithm of the absolute value of the determinant."""
    n = square(a)
    return Slogdet(Array(apply("detsign", n)), Array(apply("logabsdet", n)))


@function(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Array:
    """The lower triangular L with L @ L.T = a, by the lower triangle of a; NaN if it is not positive definite.

    upper: U with U.T @ U = a, by the upper triangle.
    """
    n = square(a)
    return Array(flipped(apply("cholesky", flipped(n)))) if upper else Array(apply("cholesky", n))


@function(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Eigh:
    """Eigenvalues, rising, and eigenvectors, by one triangle; the largest component of each is positive."""
    n = of_triangle(a, UPLO)
    return Eigh(Array(apply("eigvals", n)), Array(apply("eigvecs", n)))


function(np.linalg.eigvalsh)(lambda a, UPLO="L": Array(apply("eigvals", of_triangle(a, UPLO))))


def of_triangle(a: Any, UPLO: str) -> Node:
    """A batch of square matrices whose lower triangle is the one that counts."""
    if UPLO.upper() not in ("L", "U"):
        raise ExpressionError(f"UPLO={UPLO!r}: 'L' or 'U' is needed")
    return square(a) if UPLO.upper() == "L" else flipped(square(a))


@function(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Array:
    """A matrix multiplied by itself n times, by repeated squaring; the inverse for negative n."""
    base = inv(a) if n < 0 else Array(square(a))
    result, count = Array(identity(base.node.type.shape, base.node.type.dtype)), abs(n)
    while count:
        result = result @ base if count & 1 else result
        base, count = base @ base if count > 1 else base, count >> 1
    return result
