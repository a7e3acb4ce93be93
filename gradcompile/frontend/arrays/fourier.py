"""numpy.fft on symbolic arrays: what is complex there is a pair of real arrays, as what comes of it is."""

from collections.abc import Callable
from typing import Any

import numpy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.complex import OWN, Complex, as_complex
from gradcompile.frontend.arrays.core import FUNCTIONS, Array, Implementation, is_complex, lift
from gradcompile.frontend.arrays.shapes import axis_of
from gradcompile.frontend.arrays.ufuncs import floating
from gradcompile.ir.core import apply

np: Any = numpy  # whose stubs know numbers alone
NORMS = ("backward", "ortho", "forward")  # which way is divided by the length, or both by its root


def entered(function: Any) -> Callable[[Implementation], Implementation]:
    """Enter a function of numpy.fft, which takes real arrays as well as complex ones."""

    def enter(implementation: Implementation) -> Implementation:
        FUNCTIONS[function] = OWN[function] = implementation
        return implementation

    return enter


def transformed(z: Complex, way: str, norm: str | None) -> Complex:
    """The transform along the last axis, one way or the other, divided as `norm` says."""
    norm, length = norm or "backward", z.shape[-1]
    if norm not in NORMS:
        raise ExpressionError(f"norm={norm!r} of a transform: one of 'backward', 'ortho' and 'forward' is needed")
    pair = np.stack([z.real, z.imag], axis=-2)
    found = Array(apply("dft", floating(pair.node), params=(way,)))
    if norm in (way, "ortho"):
        found = found * (1.0 / (length if norm == way else np.sqrt(length)))
    return Complex(found[..., 0, :], found[..., 1, :])


def resized(x: Any, n: Any) -> Any:
    """The last axis cut to a length, or filled up with zeros."""
    length = x.shape[-1]
    if n is None or n == length:
        return x
    if isinstance(n, str) or isinstance(length, str):
        raise ExpressionError(f"n={n} along an axis of {length}: a length that has a name is neither cut nor filled up")
    if n < 1:
        raise ExpressionError(f"n={n}: a transform has at least one entry")
    more = np.zeros_like(x.real, shape=(*x.shape[:-1], max(n - length, 0)))
    return x[..., :n] if n <= length else np.concatenate([x, more], axis=-1)


def along(axis: int, run: Callable[[Any], Any], a: Any) -> Any:
    """What is done to the last axis, done to another one."""
    x = a if isinstance(a, Complex) else as_complex(a) if is_complex(a) else Array(floating(lift(a)))
    if not x.ndim or x.shape[-1] == 0:
        raise ExpressionError(f"an array of shape {x.shape} has no entries to transform; at least one is needed")
    k = axis_of(axis, x.ndim)
    return np.moveaxis(run(np.moveaxis(x, k, -1)), -1, k)


def two_sided(way: str) -> Implementation:
    """fft or ifft."""

    def transform(a: Any, n: Any = None, axis: int = -1, norm: str | None = None, out: None = None) -> Any:
        """The discrete Fourier transform along an axis."""
        return along(axis, lambda x: transformed(as_complex(resized(x, n)), way, norm), a)

    return transform


fft = entered(np.fft.fft)(two_sided("forward"))
ifft = entered(np.fft.ifft)(two_sided("backward"))


def known(length: Any) -> int:
    """A length that is a number; ExpressionError for a name."""
    if isinstance(length, str):
        raise ExpressionError(f"half of the named dimension {length!r} is no dimension; write np.fft.fft(x), or give "
                              "it a number")  # fmt: skip
    return int(length)


@entered(np.fft.rfft)
def rfft(a: Any, n: Any = None, axis: int = -1, norm: str | None = None, out: None = None) -> Any:
    """The first half of the transform of real numbers, of which the second is the mirror image."""
    if is_complex(a):
        raise ExpressionError("np.fft.rfft takes real arrays; write np.fft.fft(z)")

    def half(x: Any) -> Any:
        x = resized(x, n)
        return transformed(as_complex(x), "forward", norm)[..., : known(x.shape[-1]) // 2 + 1]

    return along(axis, half, a)


@entered(np.fft.irfft)
def irfft(a: Any, n: Any = None, axis: int = -1, norm: str | None = None, out: None = None) -> Any:
    """The real numbers whose transform begins with this half."""

    def whole(z: Any) -> Any:
        z = as_complex(z)
        length = known(2 * (known(z.shape[-1]) - 1) if n is None else n)
        half = resized(z, length // 2 + 1)
        k = np.arange(length // 2 + 1, like=half.real)
        twice = np.where((k == 0) | (2 * k == length), 1.0, 2.0)  # as the mirror image adds the same real numbers
        return transformed(resized(half * twice, length), "backward", norm).real

    return along(axis, whole, a)


SWAPPED = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}


entered(np.fft.hfft)(lambda a, n=None, axis=-1, norm=None, out=None: irfft(np.conj(a), n, axis, SWAPPED[norm]))
entered(np.fft.ihfft)(lambda a, n=None, axis=-1, norm=None, out=None: rfft(a, n, axis, SWAPPED[norm]).conj())


def over(last: Implementation, others: Implementation, real_last: bool, both: bool) -> Implementation:
    """A transform over several axes, the last of which may be of real numbers; both: the last two unless given."""

    def transform(a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: None = None) -> Any:
        """The discrete Fourier transform over axes."""
        ndim = np.ndim(a)
        if axes is None:
            axes = (-2, -1) if both else range(ndim) if s is None else range(-len(s), 0)
        if not axes or (s is not None and len(s) != len(axes)):
            raise ExpressionError(f"s={s} and axes={axes} of a transform: as many of both are needed, and at least one")
        shape = np.shape(a)
        own = [shape[axis_of(k, ndim)] for k in axes]
        lengths = own if s is None else [known if d == -1 else d for d, known in zip(s, own, strict=True)]
        if s is None and last is irfft:
            lengths = [*own[:-1], None]
        steps = list(zip(axes, lengths, strict=True))
        first, rest = ([], steps) if real_last else ([(others, *p) for p in steps[:-1]], [])
        run = [*first, (last, *steps[-1]), *((others, *p) for p in rest[:-1][::-1])]
        for function, axis, length in run:
            a = function(a, length, axis, norm)
        return a

    return transform


for _name, _last, _others, _real in (("fft", fft, fft, False), ("ifft", ifft, ifft, False), ("rfft", rfft, fft, True),
                                     ("irfft", irfft, ifft, False)):  # fmt: skip
    for _end in ("2", "n"):
        entered(getattr(np.fft, _name + _end))(over(_last, _others, _real, _end == "2"))
