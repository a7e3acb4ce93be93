"""The discrete Fourier transform, a linear op on real and imaginary parts; its transpose is its other way."""

import importlib
from typing import Any

import numpy as np

from gradcompile.errors import GraphError
from gradcompile.ir.core import Op, Params, apply, register
from gradcompile.ir.types import ArrayType
from gradcompile.ops.linalg import OF_MATRICES, all_reached, batched
from gradcompile.ops.shape import again

OTHER_WAY = {"forward": "backward", "backward": "forward"}


def dft_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """The argument's type; GraphError unless it has two rows."""
    shape = types[0].shape
    if len(shape) < 2 or shape[-2] != 2 or not types[0].dtype.startswith("float"):
        raise GraphError(
            f"a transform of a value of type {types[0]}: a row of real and one of imaginary parts are needed"
        )
    return types[0]


def dft(x: Any, way: str) -> Any:
    """The sums of x[j]*exp(-2*pi*i*j*k/n), or with the opposite sign."""
    z = x[0] + 1j * x[1]
    found = np.fft.fft(z) if way == "forward" else np.fft.ifft(z, norm="forward")
    return np.stack([found.real, found.imag])


def exact_dft(x: Any, way: str) -> Any:
    """The same in high precision, term by term."""
    mpmath, n = importlib.import_module("mpmath"), x.shape[1]
    turn = mpmath.mpf(-2 if way == "forward" else 2) / max(n, 1)
    z = [mpmath.mpc(*pair) for pair in x.T]
    found = [mpmath.fsum(v * mpmath.expjpi(turn * (j * k % n)) for j, v in enumerate(z)) for k in range(n)]
    return np.array([[v.real for v in found], [v.imag for v in found]], object).reshape(x.shape)


OF_MATRICES.append("dft")
register(Op("dft", dft_type, batched(dft, 2), jvp=again, reach=all_reached, exact=batched(exact_dft, 2),
            vjp=lambda g, n: (apply("dft", g, params=(OTHER_WAY[n.params[0]],)),),
            is_linear=True, is_expensive=True, keeps_finite=True, in_memory=True, reads_memory=True, routine_axes=2,
            cost=16, derivative="the transpose is the transform the other way", accuracy="relative to the norm of x",
            array_name="spectrum", doc="the discrete Fourier transform of real and imaginary parts"))  # fmt: skip
