"""Distributions of vectors, along the last axis of symbolic arrays."""

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy
import sympy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, called, lift
from gradcompile.ir.core import apply
from gradcompile.stats.both import lgamma, log, log1p, xlogy
from gradcompile.stats.distribution import Frozen, flattened
from gradcompile.tracebacks import entry

np: Any = numpy  # whose stubs know numbers alone


@dataclass(frozen=True, repr=False)
class Multivariate:
    """A distribution of vectors: SciPy's name, and the logarithm of its density, or of its probability."""

    name: str
    density: Callable[..., Any]
    kind: str = "pdf"
    others: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<stats.{self.name}>"

    def __getattr__(self, method: str) -> Any:
        if method not in (self.kind, f"log{self.kind}", *self.others):
            raise AttributeError(f"{self.name} has no {method!r}; it has {self.kind} and log{self.kind}")
        return entry(partial(self.computed, method))

    def __call__(self, *args: Any, **named: Any) -> Frozen:
        """The distribution with its arguments."""
        return Frozen(self, args, named)

    def computed(self, method: str, *args: Any, **named: Any) -> Any:
        """The density or its logarithm; of numbers alone SciPy's."""
        given = flattened((*args, *named.values()))
        if not any(isinstance(v, Array | sympy.Basic) for v in given):
            return getattr(getattr(importlib.import_module("scipy.stats"), self.name), method)(*args, **named)
        if any(isinstance(v, sympy.Basic) for v in given):
            raise ExpressionError(
                f"stats.{self.name} takes symbolic arrays; write the density of matrices of SymPy out"
            )
        own = self.others.get(method)
        found = called(f"stats.{self.name}.{method}", own or self.density, args, named)
        return found if own or method.startswith("log") else np.exp(found)


def array(x: Any) -> Any:
    """Numbers, or a symbolic array, as a symbolic array."""
    return Array(lift(x))


def spread(cov: Any, size: int) -> Any:
    """A covariance as a matrix: of a number that times the unit matrix, of a vector its diagonal."""
    matrix = array(cov)
    if matrix.ndim == 0:
        return matrix * np.eye(size)
    return matrix * np.eye(size) if matrix.ndim == 1 else matrix


def distance(x: Any, mean: Any, cov: Any) -> tuple[Any, Any, int]:
    """The squared distance from the mean by the covariance, the logarithm of its root determinant, the dimension."""
    at = array(x)
    is_single = all(v is None or numpy.ndim(v) == 0 for v in (mean, cov))  # of one dimension: samples, not entries
    at = at if at.ndim else at[None]
    at = at[:, None] if is_single and at.ndim == 1 and numpy.shape(x) else at
    size = next((int(d) for d in (at.shape[-1], *numpy.shape(cov)[-1:]) if isinstance(d, int)), 1)
    residual = at - (0.0 if mean is None else array(mean))
    factor = np.linalg.cholesky(spread(1.0 if cov is None else cov, size))
    rows = residual if residual.ndim > 1 else residual[None]
    columns = rows.reshape(-1, size).T
    solved = Array(apply("solve", factor.node, columns.node, params=("lower",)))
    squares = np.sum(solved * solved, axis=0).reshape(*rows.shape[:-1])
    return (squares if residual.ndim > 1 else squares[0]), np.sum(np.log(np.diag(factor))), size


SMALL = 2.2e-10  # of the largest eigenvalue, below which others count as 0, as in SciPy


def singular(x: Any, mean: Any, cov: Any) -> Any:
    """The normal density within the space in which samples vary, -inf outside, by the pseudoinverse.

    NaN where an eigenvalue is neither large nor, to rounding, 0.
    """
    at, matrix = array(x), array(cov)
    residual = at - (0.0 if mean is None else array(mean))
    values = np.linalg.eigvalsh(matrix)
    largest = np.max(values)
    counts, between = values > SMALL * largest, (values > 1e-15 * largest) & (values <= SMALL * largest)
    solved = residual @ np.linalg.pinv(matrix)
    outside = np.sum((residual - solved @ matrix) ** 2, axis=-1) > (1e3 * SMALL) ** 2
    root = np.sum(np.log(np.where(counts, values, 1.0))) + np.sum(counts) * math.log(2 * math.pi)
    found = np.where(outside, -np.inf, -0.5 * (np.sum(solved * residual, axis=-1) + root))
    return np.where(np.any(between), np.nan, found)


def normal(x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False) -> Any:
    """The normal density, by the Cholesky factor of the covariance."""
    if allow_singular and numpy.ndim(cov) == 2:
        return singular(x, mean, cov)
    squares, root, size = distance(x, mean, cov)
    return -0.5 * squares - root - 0.5 * size * math.log(2 * math.pi)


def entropy(mean: Any = None, cov: Any = 1) -> Any:
    """The entropy of the normal density: of the logarithm of the determinant of the covariance."""
    matrix = spread(cov, 1 if mean is None else int(numpy.size(mean)))
    return 0.5 * (np.linalg.slogdet(matrix)[1] + matrix.shape[-1] * (1.0 + math.log(2 * math.pi)))


def student(x: Any, loc: Any = None, shape: Any = 1, df: Any = 1, allow_singular: bool = False) -> Any:
    """Student's t of vectors."""
    squares, root, size = distance(x, loc, shape)
    total = 0.5 * (df + size)
    return (
        lgamma(total)
        - lgamma(0.5 * df)
        - 0.5 * size * (log(df) + math.log(math.pi))
        - root
        - total * log1p(squares / df)
    )


def dirichlet(x: Any, alpha: Any) -> Any:
    """Parts that add up to 1, along the first axis as in SciPy; the last one may be left out."""
    at, shape = array(x), array(alpha)
    if at.shape[0] != shape.shape[0]:
        at = np.concatenate([at, 1.0 - np.sum(at, axis=0)[None]])
    powers = (shape - 1.0)[(slice(None), *[None] * (at.ndim - 1))]
    return np.sum(xlogy(powers, at), axis=0) + lgamma(np.sum(shape)) - np.sum(lgamma(shape))


def multinomial(x: Any, n: Any, p: Any) -> Any:
    """How often each of some outcomes occurs in n trials."""
    at, shares = array(x), array(p)
    return lgamma(n + 1.0) + np.sum(xlogy(at, shares) - lgamma(at + 1.0), axis=-1)


def von_mises_fisher(x: Any, mu: Any, kappa: Any) -> Any:
    """Directions in three dimensions."""
    at, middle = array(x), array(mu)
    if at.shape[-1] != 3:
        raise ExpressionError(f"stats.vonmises_fisher takes directions of three entries, not shape {at.shape}")
    scale = array(kappa)
    return scale * (at @ middle - 1.0) + np.log(scale) - math.log(2 * math.pi) - np.log(-np.expm1(-2.0 * scale))


TABLE: dict[str, Multivariate] = {
    "multivariate_normal": Multivariate("multivariate_normal", normal, others={"entropy": entropy}),
    "multivariate_t": Multivariate("multivariate_t", student),
    "dirichlet": Multivariate("dirichlet", dirichlet),
    "multinomial": Multivariate("multinomial", multinomial, "pmf"),
    "vonmises_fisher": Multivariate("vonmises_fisher", von_mises_fisher),
}
