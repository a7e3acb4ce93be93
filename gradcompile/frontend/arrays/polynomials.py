"""NumPy's functions of polynomials by their coefficients, the highest power first."""

from typing import Any

import numpy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.calculus import convolve
from gradcompile.frontend.arrays.core import Array, lift, lift_all
from gradcompile.frontend.arrays.shapes import margins
from gradcompile.frontend.arrays.ufuncs import floating, function

np: Any = numpy  # whose stubs know numbers alone


def coefficients(*given: Any) -> list[Any]:
    """Vectors of known lengths."""
    found = [Array(floating(n)) for n in lift_all(*given)]
    found = [x if x.ndim else x[None] for x in found]
    if any(x.ndim != 1 or isinstance(x.shape[0], str) for x in found):
        raise ExpressionError("the coefficients of a polynomial are a vector of known length")
    return found


@function(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """The polynomial with these coefficients, the highest power first, by Horner's scheme."""
    numbers, at = map(Array, lift_all(p, x))
    result: Array = at * 0.0
    for c in numbers:
        result = result * at + c
    return result


def aligned(a1: Any, a2: Any) -> list[Any]:
    """The coefficients of two polynomials, with zeros in front of the shorter."""
    found = coefficients(a1, a2)
    size = max(x.shape[0] for x in found)
    return [Array(margins(x.node, [(size - x.shape[0], 0)])) for x in found]


@function(np.polyadd)
def polyadd(a1: Any, a2: Any) -> Any:
    """The sum of two polynomials."""
    x, y = aligned(a1, a2)
    return x + y


@function(np.polysub)
def polysub(a1: Any, a2: Any) -> Any:
    """The difference of two polynomials."""
    x, y = aligned(a1, a2)
    return x - y


function(np.polymul)(lambda a1, a2: convolve(*coefficients(a1, a2)))  # the product of two polynomials


@function(np.polydiv)
def polydiv(u: Any, v: Any) -> tuple[Any, ...]:
    """The quotient of two polynomials, and the rest with all of its coefficients."""
    rest, divisor = coefficients(u, v)
    size, width = rest.shape[0] - divisor.shape[0] + 1, divisor.shape[0]
    if size < 1:
        return np.zeros_like(rest, shape=(1,)), rest
    quotient = []
    for k in range(size):
        quotient.append(rest[k] / divisor[0])
        rest = rest - quotient[-1] * Array(margins(divisor.node, [(k, rest.shape[0] - width - k)]))
    return np.stack(quotient), rest[size:] if width > 1 else rest[-1:]


@function(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    """The derivative of a polynomial, m times."""
    (found,) = coefficients(p)
    for _ in range(m):
        found = found[:-1] * np.arange(found.shape[0] - 1, 0, -1)
    return found


@function(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """The integral of a polynomial, m times, with constants."""
    (found,) = coefficients(p)
    constants = [0.0] * m if k is None else [k] * m if not np.ndim(k) else list(k)
    for c in constants:
        last = Array(lift(c, found.node.type.dtype))
        found = np.concatenate([found / np.arange(found.shape[0], 0, -1), last[None]])
    return found


@function(np.polyfit)
def polyfit(x: Any, y: Any, deg: int, rcond: float | None = None, full: bool = False, w: Any = None,
            cov: Any = False) -> Any:  # fmt: skip
    """The polynomial that is nearest to points, by the sum of squares; w: what each residual is multiplied by."""
    powers, values = vander(x, deg + 1), Array(lift_all(x, y)[1])
    if isinstance(powers.shape[0], str):
        raise ExpressionError(f"np.polyfit takes a known number of points, not {powers.shape[0]!r}; solve the normal "
                              f"equations: V = np.vander(x, {deg + 1}); np.linalg.solve(V.T @ V, V.T @ y)")  # fmt: skip
    if w is not None:
        weights = Array(lift(w))[:, None]
        powers, values = powers * weights, values * (weights if values.ndim == 2 else weights[:, 0])
    size = np.sqrt(np.sum(powers * powers, axis=0))
    least = len(powers) * np.finfo(powers.dtype).eps if rcond is None else rcond
    found, rest, rank, singular = np.linalg.lstsq(powers / size, values, least)
    found = (found.T / size).T
    if full:
        return found, rest, rank, singular, least
    if not cov:
        return found
    spread = np.linalg.inv((powers / size).T @ (powers / size)) / np.outer(size, size)
    spread = spread if values.ndim == 1 else spread[:, :, None]
    return found, spread if cov == "unscaled" else spread * np.squeeze(rest / (len(powers) - deg - 1))


@function(np.poly)
def poly(seq_of_zeros: Any) -> Any:
    """The polynomial with these zeros, or the characteristic one of a symmetric matrix."""
    zeros = Array(lift(seq_of_zeros))
    if zeros.ndim == 2:
        raise ExpressionError("a matrix may have complex eigenvalues; write np.linalg.det(z*I - A)")
    found = np.ones_like(zeros, shape=(1,))
    for z in coefficients(zeros)[0]:
        found = convolve(found, np.stack([np.ones_like(z), -z]))
    return found


@function(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """The powers of each entry, from the highest on or from 0."""
    at = Array(lift(x))
    if N is None and isinstance(at.shape[0], str):
        raise ExpressionError(f"the number of powers of a vector of shape {at.shape} is not known; give N=")
    powers, count = [np.ones_like(at)], N if N is not None else len(at)
    for _ in range(1, count):
        powers.append(powers[-1] * at)
    return np.stack(powers if increasing else powers[::-1], axis=1)
