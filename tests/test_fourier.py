"""numpy.fft on symbolic arrays, and complex arrays in between: values and gradients against NumPy, and refusals."""

import numpy as np
import pytest

import gradcompile as gc
from gradcompile.analysis.evaluate import evaluate, exact
from gradcompile.codegen import functions as jit
from gradcompile.ir.core import apply, leaf
from gradcompile.ir.types import ArrayType
from tests.plain import plain

WAYS = ("forward", "backward")
TEXT = '''"""Transforms both ways."""

from gradcompile.codegen.functions import jit
from gradcompile.library.fourier import dft_backward, dft_forward


@jit
def forward(z, x):
    dft_forward(z, x)


@jit
def backward(z, x):
    dft_backward(z, x)
'''
SIZES = (1, 2, 3, 4, 6, 7, 12, 15, 30, 49, 61, 64, 67, 134)
IN_PYTHON = (1, 2, 12, 15, 67)
rng = np.random.default_rng(3)
H = rng.normal(size=9) + 1j * rng.normal(size=9)
ONES = np.ones((3, 2)) + 2j

LOSSES = {  # of an array of this shape
    "power": ((16,), lambda x: np.sum(np.abs(np.fft.rfft(x)) ** 2 * np.arange(9))),
    "log power of rows": ((3, 15), lambda x: np.sum(np.log1p(np.abs(np.fft.rfft(x)) ** 2))),
    "filter": ((16,), lambda x: np.sum(np.fft.irfft(H * np.fft.rfft(x)) ** 3)),
    "filter of an odd length": ((2, 17), lambda x: np.sum(np.fft.irfft(H * np.fft.rfft(x), n=17) ** 3)),
    "axis, n and norm": (
        (17, 2),
        lambda x: np.sum(np.fft.irfft(H[:, None] * np.fft.rfft(x, axis=0), n=20, axis=0, norm="ortho") ** 3),
    ),
    "of matrices": ((5, 6), lambda x: np.sum(np.abs(np.fft.fft2(x)) ** 1.5)),
    "real, of matrices": (
        (5, 6),
        lambda x: np.sum(np.fft.irfft2(np.fft.rfft2(x) * np.exp(1j * x[:, :4])) ** 2 * np.arange(6)),
    ),
    "over all axes": (
        (2, 3, 4),
        lambda x: np.sum(np.fft.ifftn(np.fft.fftn(x, None, None, "ortho") * np.fft.rfftn(x)[..., :1]).real ** 2),
    ),
    "an axis twice, and a length of -1": (
        (3, 4, 3),
        lambda x: np.sum(np.fft.irfft2(x, s=(3, -1)) ** 3) + np.sum(np.abs(np.fft.rfftn(x, axes=(0, 0))) ** 3),
    ),
    "quotient": ((7,), lambda x: np.sum(np.real(np.fft.ifft(np.fft.fft(x) / (2 + 1j * x))) ** 3)),
    "angle": ((7,), lambda x: np.sum(np.angle(np.fft.rfft(x, n=10))[1:-1])),
    "powers": ((7,), lambda x: np.sum(np.abs(np.fft.rfft(x, n=4) ** 3 + (1 + 2j) * np.fft.rfft(x, n=4) ** -1))),
    "symmetric": ((8,), lambda x: np.linalg.norm(np.fft.hfft(np.fft.ihfft(x) * (1 + 2j)))),
    "arranged": (
        (8,),
        lambda x: np.sum(np.abs(np.concatenate([np.fft.fft(x), x, 1j * x]).reshape(3, 8)[:, :3] @ ONES) ** 2),
    ),
    "einsum": ((4,), lambda x: np.abs(np.einsum("i,ij,j->", np.fft.fft(x), np.outer(x, x) + 1j, np.fft.fft(x)))),
    "chosen": (
        (6,),
        lambda x: np.sum(np.where(x > 0, np.fft.fft(x), 1j * x).conj().imag ** 2 + np.vdot(x, np.fft.fft(x)).real),
    ),
    "shifted": ((6,), lambda x: np.sum(np.fft.fftshift(np.fft.fft(x)).real * np.fft.fftfreq(6)) ** 2),
}  # fmt: skip


ELEMENTARY = (
    np.log, np.log1p, np.expm1, np.sqrt, np.sinh, np.cosh, np.tanh, np.log2, np.log10, np.exp2, np.sin, np.cos, np.tan,
    np.arcsinh, np.arccosh, np.arctanh, np.var, np.std, np.prod, np.square, np.reciprocal,
)  # fmt: skip
LOSSES["elementary"] = (
    (4,),
    lambda x: sum(np.sum((f(x[:3] + (0.5 - 1j) * x[1:]) * (0.3 - 0.7j)).real) for f in ELEMENTARY),
)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_transforms_of_any_length(dtype):
    machine, python = jit.load(TEXT, cache=False), plain(TEXT)
    for n in SIZES:
        x, z, same = rng.normal(size=(2, n)).astype(dtype), np.zeros((2, n), dtype), np.zeros((2, n), dtype)
        want = np.fft.fft(x[0].astype(float) + 1j * x[1]), n * np.fft.ifft(x[0].astype(float) + 1j * x[1])
        for way, wanted in zip(WAYS, want, strict=True):
            getattr(machine, way)(z, x)
            if n in IN_PYTHON:
                python[way](same, x)
                assert same.tobytes() == z.tobytes()
            assert np.linalg.norm(z[0] + 1j * z[1] - wanted) <= 4 * np.finfo(dtype).eps * np.linalg.norm(wanted)


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients(name):
    shape, loss = LOSSES[name]
    at = rng.normal(size=shape)
    x = gc.array("x", shape)
    f = gc.compile_grad(loss(x), [x])
    value, (grad,) = f(at)
    direction, step = rng.normal(size=shape), 1e-6
    difference = (loss(at + step * direction) - loss(at - step * direction)) / (2 * step)
    np.testing.assert_allclose(value, loss(at), rtol=1e-12)
    np.testing.assert_allclose(np.sum(grad * direction), difference, rtol=1e-6)


def test_rows_of_any_number_have_the_same_bits_on_any_number_of_threads():
    x, w = gc.array("x", ("n", 24)), gc.array("w", 13)
    loss = np.mean((np.fft.irfft(w * np.fft.rfft(x)) - x) ** 2)
    data, at = rng.normal(size=(5000, 24)), rng.normal(size=13)
    one, two = (gc.compile_grad(loss, [w], threads=k)(at, data) for k in (1, 2))
    assert one[0] == two[0] and one[1][0].tobytes() == two[1][0].tobytes()
    np.testing.assert_allclose(one[0], np.mean((np.fft.irfft(at * np.fft.rfft(data)) - data) ** 2), rtol=1e-12)


def test_a_length_that_has_a_name_and_second_derivatives():
    x, a = gc.array("x", "n"), gc.array("a")
    loss = np.sum(np.abs(np.fft.fft(np.sin(a * x), norm="ortho")) ** 2)
    data = rng.normal(size=37)
    value, (slope,) = gc.compile_grad(loss, [a])(0.7, data)
    np.testing.assert_allclose([value, slope], [np.sum(np.sin(0.7 * data) ** 2), np.sum(data * np.sin(1.4 * data))])
    hessian = gc.compile_hessian(loss, [a])(0.7, data)[2]
    np.testing.assert_allclose(hessian, [[2 * np.sum(data**2 * np.cos(1.4 * data))]])


X, N = gc.array("X", 6), gc.array("N", "n")
REFUSED = {
    "np.sort does not take a complex array; write it with the parts": lambda: np.sort(np.fft.fft(X)),
    "np.fft.fft(x), or give it a number": lambda: np.fft.rfft(N),
    "this is complex; write np.abs(z)**2": lambda: gc.compile_grad(np.fft.fft(X)[0], [X]),
    "np.fft.rfft takes real arrays; write np.fft.fft(z)": lambda: np.fft.rfft(np.fft.fft(X)),
    "np.less does not take a complex array": lambda: np.fft.fft(X) < 1,
    "n=0: a transform has at least one entry": lambda: np.fft.fft(X, n=0),
    "has no entries to transform": lambda: np.fft.fft(X[0]),
    "powers of complex arrays have whole numbers": lambda: np.fft.fft(X) ** 0.5,
    "np.median does not take a complex array": lambda: np.median(np.fft.fft(X)),
    "std does not take a complex array": lambda: np.fft.fft(X).std(),
    "what has one real number does not take": lambda: float(np.fft.fft(X)[0]),
    "np.sum with initial= does not take": lambda: np.fft.fft(X).sum(initial=1),
    "np.add with dtype= does not take": lambda: np.add(np.fft.fft(X), 1, dtype=complex),
    "norm='own' of a transform": lambda: np.fft.fft(X, norm="own"),
    "a length that has a name is neither cut nor filled up": lambda: np.fft.fft(N, n=3),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals_say_what_to_write(message):
    with pytest.raises(gc.ExpressionError) as found:
        REFUSED[message]()
    assert message in str(found.value)


def test_the_op_itself_against_many_digits():
    x = leaf("x", ArrayType((2, 2, 6)))
    for way in WAYS:
        n, env = apply("dft", x, params=(way,)), {x: rng.normal(size=(2, 2, 6))}
        got, want = evaluate([n], env)[0], exact([n], env)[0]
        np.testing.assert_allclose(got, np.asarray(want, float), atol=1e-14)
