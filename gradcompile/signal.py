"""scipy.signal's filters on symbolic arrays, under their names and with their arguments.

>>> import gradcompile as gc
>>> from gradcompile import signal
>>> signal.convolve(gc.array("x", "n"), gc.array("k", 3), mode="same").shape
('n',)
"""

from typing import Any

import numpy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.calculus import windows
from gradcompile.frontend.arrays.core import Array, lift
from gradcompile.frontend.arrays.shapes import margins
from gradcompile.frontend.arrays.ufuncs import floating
from gradcompile.tracebacks import entries

np: Any = numpy  # whose stubs know numbers alone


def convolve(in1: Any, in2: Any, mode: str = "full", method: Any = None) -> Any:
    """The sums of in1[k - j]*in2[j] along all axes, where the two overlap."""
    return slid(in1, np.flip(Array(lift(in2))), mode)


def correlate(in1: Any, in2: Any, mode: str = "full", method: Any = None) -> Any:
    """The sums of in1[k + j]*in2[j] along all axes, where the two overlap."""
    return slid(in1, in2, mode)


def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
    """The same along all axes."""
    if axes is not None:
        raise ExpressionError("signal.fftconvolve with axes=: write np.stack of convolutions of rows, or np.einsum of "
                              "np.lib.stride_tricks.sliding_window_view")  # fmt: skip
    return convolve(in1, in2, mode)


oaconvolve = fftconvolve


def convolve2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: float = 0) -> Any:
    """The same of matrices, beyond whose edges a number stands, or the matrix again, or its mirror image."""
    return windowed(in1, np.flip(Array(lift(in2))), mode, boundary, fillvalue)


def correlate2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: float = 0) -> Any:
    """The sums of in1[k + j]*in2[j] of matrices."""
    if mode == "same":  # whose middle entry of an even number is another one than that of `correlate`
        odd = [(1 - int(d) % 2, 0) for d in numpy.shape(in2)]
        in2 = np.pad(Array(lift(in2)), odd)
    return windowed(in1, in2, mode, boundary, fillvalue)


def windowed(in1: Any, in2: Any, mode: str, boundary: str, fillvalue: float) -> Any:
    """The product of each window of a matrix and another, with something beyond its edges."""
    kinds = {"fill": "constant", "wrap": "wrap", "symm": "symmetric"}
    if boundary not in kinds:
        raise ExpressionError(f"boundary={boundary!r}: one of {', '.join(kinds)} is needed")
    if boundary == "fill" and fillvalue == 0:
        return slid(in1, in2, mode)
    options = {"constant_values": fillvalue} if boundary == "fill" else {}
    widths = [around(mode, int(d)) for d in numpy.shape(in2)]
    return slid(np.pad(Array(lift(in1)), widths, mode=kinds[boundary], **options), in2, "valid")


def around(mode: str, size: int) -> tuple[int, int]:
    """How many entries beyond each end the windows of a size reach."""
    widths = {"full": (size - 1, size - 1), "same": (size // 2, (size - 1) // 2), "valid": (0, 0)}
    if mode not in widths:
        raise ExpressionError(f"mode={mode!r}: 'full', 'same' or 'valid' is needed")
    return widths[mode]


def slid(x: Any, kernel: Any, mode: str) -> Any:
    """The product of an array and each window of another, along all axes."""
    n, w = floating(lift(x)), Array(floating(lift(kernel)))
    sizes = numpy.shape(w)
    if len(n.type.shape) != len(sizes) or any(isinstance(d, str) for d in sizes):
        raise ExpressionError(
            f"shapes {n.type.shape} and {sizes}: as many axes, of known lengths in the second, are needed"
        )
    if not sizes:
        return Array(n) * w
    if 0 in (*n.type.shape, *sizes):
        raise ExpressionError(f"shapes {n.type.shape} and {sizes}: an empty array has no windows; leave the term out")
    if mode == "valid" and all(isinstance(d, int) and d < s for d, s in zip(n.type.shape, sizes, strict=True)):
        return np.flip(slid(w, Array(n), mode))
    node = margins(n, [around(mode, int(s)) for s in sizes])
    for k, size in enumerate(sizes):
        node = windows(node, 2 * k, int(size)).node
    ndim = len(sizes)
    letters = "abcdefghijklm"[: 2 * ndim]
    return np.einsum(f"{letters},{letters[1::2]}->{letters[::2]}", Array(node), w)


def detrend(data: Any, axis: int = -1, type: str = "linear", bp: Any = 0, overwrite_data: Any = None) -> Any:
    """The array less its mean, or less the line through it, along an axis."""
    if type not in ("linear", "constant", "l", "c") or np.any(bp):
        raise ExpressionError("signal.detrend takes off a mean (type='constant') or one line (type='linear')")
    x = np.moveaxis(Array(lift(data)), axis, -1)
    rest = x - np.mean(x, axis=-1, keepdims=True)
    if type in ("linear", "l"):
        t = np.cumsum(np.ones_like(x), axis=-1)
        t = t - np.mean(t, axis=-1, keepdims=True)
        size = np.maximum(np.sum(t * t, axis=-1, keepdims=True), 0.5)  # as of two entries; through one a line is level
        rest = rest - np.sum(rest * t, axis=-1, keepdims=True) / size * t
    return np.moveaxis(rest, -1, axis)


entries(globals())
