"""Complex arrays inside a loss: pairs of real ones, as transforms give them, for what ends in a real number.

What moves entries or adds them up is done to both parts; products are made of the products of parts. Everything else
is written with the parts, `z.real` and `z.imag`, or with `np.abs(z)` and `np.angle(z)`, which are real.
"""

from collections.abc import Callable
from functools import reduce
from itertools import product
from typing import Any

import numpy

from gradcompile.errors import ExpressionError, GradcompileError
from gradcompile.frontend.arrays.core import (
    FUNCTIONS,
    METHODS,
    Array,
    Own,
    found,
    full_name,
    is_complex,
    lift,
    placed,
)

np: Any = numpy  # whose stubs know numbers alone

CURE = ("write it with the parts z.real and z.imag, which are real arrays, with np.abs(z) and np.angle(z), or with "
        "sums and products of complex arrays")  # fmt: skip
PARTWISE = {  # what is done to each of the parts, as it moves entries or adds them up
    np.add, np.subtract, np.negative, np.positive,
    np.sum, np.mean, np.average, np.cumsum, np.diff, np.trapezoid, np.reshape, np.ravel, np.transpose, np.swapaxes,
    np.moveaxis, np.expand_dims, np.squeeze, np.broadcast_to, np.concatenate, np.stack, np.vstack, np.hstack,
    np.column_stack, np.split, np.array_split, np.flip, np.fliplr, np.flipud, np.roll, np.repeat, np.tile, np.take,
    np.take_along_axis, np.diag, np.diagonal, np.trace, np.tril, np.triu, np.rot90, np.fft.fftshift,
    np.fft.ifftshift, np.zeros_like, np.atleast_1d, np.atleast_2d, np.atleast_3d, np.delete,
}  # fmt: skip
ADDING = {"initial", "prepend", "append"}  # keywords that would be added to both parts
BILINEAR = {np.multiply, np.matmul, np.dot, np.tensordot, np.inner, np.outer, np.kron, np.convolve, np.einsum,
            np.vecmat, np.matvec}  # fmt: skip
KEPT = ("shape", "ndim", "size")


class Complex(Own, numpy.lib.mixins.NDArrayOperatorsMixin):
    """A complex array: a real part and an imaginary one, symbolic arrays of one shape."""

    __slots__ = ("imag", "real")
    __hash__ = object.__hash__

    def __init__(self, real: Any, imag: Any) -> None:
        self.real, self.imag = np.broadcast_arrays(Array(lift(real)), Array(lift(imag)))

    def __repr__(self) -> str:
        return f"<complex array, real part {self.real!r}, imaginary part {self.imag!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Complex, (self.real, self.imag)

    @property
    def dtype(self) -> Any:
        """NumPy's dtype."""
        return np.result_type(self.real.dtype, np.complex64)

    @property
    def T(self) -> "Complex":
        """The axes in reverse order."""
        return Complex(self.real.T, self.imag.T)

    def __len__(self) -> int:
        return len(self.real)

    def __abs__(self) -> Array:
        magnitude: Array = np.hypot(self.real, self.imag)
        return magnitude

    def __getitem__(self, key: Any) -> "Complex":
        return Complex(self.real[key], self.imag[key])

    def conj(self) -> "Complex":
        """The imaginary part with the other sign."""
        return Complex(self.real, -self.imag)

    conjugate = conj

    def __getattr__(self, name: str) -> Any:
        if name in KEPT:
            return getattr(self.real, name)
        if name.startswith("_") or name not in METHODS:
            raise AttributeError(f"a complex array has no attribute {name!r}; {CURE}")
        if getattr(np, name, None) not in PARTWISE | BILINEAR:
            raise refused(name)
        return lambda *args, **options: dispatched(getattr(np, name), METHODS[name], (self, *args), options)

    # What it can't be

    def __float__(self) -> float:
        raise refused("what has one real number")

    __int__ = __index__ = __complex__ = __bool__ = __float__
    _sympy_ = __float__

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise refused("np.array")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or any(k != "out" or v[0] is not self for k, v in options.items()):
            raise refused(f"{full_name(ufunc)} with {method if method != '__call__' else ', '.join(options)}=")
        return dispatched(ufunc, ufunc, inputs, {})

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return dispatched(func, found(FUNCTIONS, func), args, kwargs)


def refused(name: str) -> ExpressionError:
    """That something does not take complex arrays."""
    return placed(f"{name} does not take a complex array; {CURE}")


def dispatched(function: Any, ours: Any, args: Any, options: Any) -> Any:
    """A function of NumPy of complex arrays."""
    own = OWN.get(function)
    if (own is None and function not in PARTWISE | BILINEAR) or options.keys() & ADDING:
        raise refused(full_name(function) + "".join(f" with {k}=" for k in options if k in ADDING))
    try:
        if own:
            return own(*args, **options)
        return (by_parts if function in PARTWISE else by_products)(ours, args, options)
    except (GradcompileError, TypeError) as error:
        if getattr(error, "placed", False):
            raise
        raise placed(f"{full_name(function)} of complex arrays: {error}") from error


def has_complex(x: Any) -> bool:
    """Whether this is complex, or a sequence in which something is."""
    return any(map(has_complex, x)) if isinstance(x, tuple | list) else is_complex(x)


def part(x: Any, name: str) -> Any:
    """The real or the imaginary part of an operand, or of each in a sequence."""
    if isinstance(x, tuple | list):
        return type(x)([part(v, name) for v in x])
    if isinstance(x, Array):
        return x if name == "real" else np.zeros_like(x)
    return getattr(x if isinstance(x, Complex) else np.asarray(x), name)


def by_parts(ours: Any, args: Any, options: Any) -> Any:
    """A function of each of the parts."""
    every = isinstance(ours, numpy.ufunc)
    real, imag = (
        ours(*(part(x, name) if every or has_complex(x) else x for x in args), **options) for name in ("real", "imag")
    )
    return [Complex(*pair) for pair in zip(real, imag, strict=True)] if isinstance(real, list) else Complex(real, imag)


def by_products(ours: Any, args: Any, options: Any) -> Any:
    """A function that is linear in each operand: of all choices of a part of each complex one, times its power of i."""
    places = [k for k, x in enumerate(args) if is_complex(x)]
    sums: dict[int, Any] = {}
    for names in product(("real", "imag"), repeat=len(places)):
        chosen = {k: part(args[k], name) for k, name in zip(places, names, strict=True)}
        if not any(isinstance(x, numpy.ndarray) and not x.any() for x in chosen.values()):
            term, turns = ours(*(chosen.get(k, x) for k, x in enumerate(args)), **options), names.count("imag")
            term, at = (-term if turns > 1 else term), turns % 2
            sums[at] = sums[at] + term if at in sums else term
    if not sums:
        sums[0] = 0.0 * ours(*(part(x, "real") if is_complex(x) else x for x in args), **options)
    zero = np.zeros_like(next(iter(sums.values())))
    return Complex(sums.get(0, zero), sums.get(1, zero))


def as_complex(x: Any) -> Complex:
    """An operand as a pair."""
    return x if isinstance(x, Complex) else Complex(part(x, "real"), part(x, "imag"))


def divide(x: Any, y: Any) -> Complex:
    """x/y, by the conjugate of y."""
    if not is_complex(y):
        return Complex(part(x, "real") / y, part(x, "imag") / y)
    below = as_complex(y)
    above = np.multiply(x, below.conj())
    squares = below.real**2 + below.imag**2
    return Complex(part(above, "real") / squares, part(above, "imag") / squares)


def power(x: Any, k: Any) -> Any:
    """x**k for a whole number k."""
    if not isinstance(k, int | numpy.integer) and not (isinstance(k, float) and k.is_integer()):
        raise ExpressionError("powers of complex arrays have whole numbers for exponents; write np.abs(z)**p and "
                              "np.exp(1j*p*np.angle(z)), which are magnitude and direction of one branch")  # fmt: skip
    if k < 0:
        return divide(1.0, power(x, -k))
    result: Any = Complex(np.ones_like(x.real), np.zeros_like(x.real))
    for bit in f"{int(k):b}".lstrip("0"):
        result = result * result * x if bit == "1" else result * result
    return result


def exp(x: Any) -> Complex:
    """exp(re)*(cos(im) + i*sin(im))."""
    size = np.exp(x.real)
    return Complex(size * np.cos(x.imag), size * np.sin(x.imag))


def log(x: Any) -> Complex:
    """log|x| + i*angle(x), the branch whose imaginary part is at most pi."""
    return Complex(np.log(abs(x)), np.arctan2(x.imag, x.real))


def log1p(x: Any) -> Complex:
    """log(1 + x), accurate near 0."""
    return Complex(0.5 * np.log1p(2.0 * x.real + x.real**2 + x.imag**2), np.arctan2(x.imag, 1.0 + x.real))


def expm1(x: Any) -> Complex:
    """exp(x) - 1, accurate near 0."""
    more = np.expm1(x.real)
    return Complex(more * np.cos(x.imag) - 2.0 * np.sin(0.5 * x.imag) ** 2, (more + 1.0) * np.sin(x.imag))


def sqrt(x: Any) -> Complex:
    """The root whose real part is not negative."""
    size, half = np.sqrt(abs(x)), 0.5 * np.arctan2(x.imag, x.real)
    return Complex(size * np.cos(half), size * np.sin(half))


def sinh(x: Any) -> Complex:
    """(exp(x) - exp(-x))/2."""
    return Complex(np.sinh(x.real) * np.cos(x.imag), np.cosh(x.real) * np.sin(x.imag))


def cosh(x: Any) -> Complex:
    """(exp(x) + exp(-x))/2."""
    return Complex(np.cosh(x.real) * np.cos(x.imag), np.sinh(x.real) * np.sin(x.imag))


def tanh(x: Any) -> Complex:
    """sinh(x)/cosh(x), without overflow."""
    t, s, c = np.tanh(x.real), np.sin(x.imag), np.cos(x.imag)
    below = c * c + t * t * s * s
    return Complex(t / below, s * c * (1.0 - t * t) / below)


def arctanh(x: Any) -> Any:
    """log((1 + x)/(1 - x))/2."""
    return 0.5 * (log1p(x) - log1p(-x))


def turned(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """f(i*x)/i for a hyperbolic function f: the function of angles."""
    return lambda x: -1j * function(1j * x)


def mean_square(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, **options: Any) -> Any:
    """The mean squared distance from the mean."""
    rest = x - np.mean(x, axis=axis, keepdims=True)
    squares = rest.real**2 + rest.imag**2
    entries = np.size(x) if axis is None else np.size(x.real, axis) if isinstance(axis, int) else squares[0].size
    return np.mean(squares, axis=axis, **options) * (entries / (entries - ddof) if ddof else 1.0)


def prod(x: Any, axis: Any = None, **options: Any) -> Any:
    """The product of all entries along an axis of known length."""
    if options or isinstance(axis, tuple):
        raise ExpressionError(
            "products of complex arrays are along one axis, or of all entries; write np.prod(z, axis=0)"
        )
    rows = np.ravel(x) if axis is None else np.moveaxis(x, axis, 0)
    return reduce(np.multiply, [rows[k] for k in range(len(rows))])


def where(condition: Any, x: Any, y: Any) -> Complex:
    """x where the condition holds, else y."""
    return Complex(*(np.where(condition, part(x, name), part(y, name)) for name in ("real", "imag")))


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """A norm of magnitudes."""
    if (isinstance(axis, tuple) or (axis is None and x.ndim == 2)) and ord in (2, -2, "nuc"):
        raise ExpressionError(f"ord={ord!r} of a complex matrix needs its singular values; write np.linalg.norm(z)")
    return np.linalg.norm(abs(x), ord, axis, keepdims)


OWN: dict[Any, Callable[..., Any]] = {
    np.absolute: abs, np.real: lambda z: z.real, np.imag: lambda z: z.imag, np.conjugate: lambda z: z.conj(),
    np.angle: lambda z, deg=False: np.arctan2(z.imag, z.real) * (180 / np.pi if deg else 1.0),
    np.divide: divide, np.power: power, np.square: lambda z: z * z, np.exp: exp, np.where: where,
    np.reciprocal: lambda z: divide(1.0, z), np.vdot: lambda x, y: np.dot(np.conj(np.ravel(x)), np.ravel(y)),
    np.log: log, np.log1p: log1p, np.expm1: expm1, np.sqrt: sqrt, np.sinh: sinh, np.cosh: cosh, np.tanh: tanh,
    np.log2: lambda z: log(z) / np.log(2.0), np.log10: lambda z: log(z) / np.log(10.0),
    np.exp2: lambda z: exp(z * np.log(2.0)), np.sin: turned(sinh), np.cos: lambda z: cosh(1j * z), np.tan: turned(tanh),
    np.arcsinh: lambda z: log(z + sqrt(z * z + 1.0)), np.arccosh: lambda z: log(z + sqrt(z + 1.0) * sqrt(z - 1.0)),
    np.arctanh: arctanh, np.var: mean_square, np.prod: prod, np.real_if_close: lambda z, tol=100: z,
    np.std: lambda z, *args, **options: np.sqrt(mean_square(z, *args, **options)),
    np.iscomplex: lambda z: z.imag != 0.0, np.isreal: lambda z: z.imag == 0.0,
    np.isnan: lambda z: np.isnan(z.real) | np.isnan(z.imag), np.isfinite: lambda z: np.isfinite(abs(z)),
    np.linalg.norm: norm, np.iscomplexobj: lambda z: True,
    **{f: lambda z, f=f: f(z.real) for f in (np.shape, np.ndim, np.size)},
}  # fmt: skip
