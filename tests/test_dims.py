"""Dimensions of any name: what generated code calls something else, keywords, and letters of any alphabet."""

import builtins
import keyword

import numpy as np
import pytest

import gradcompile as gc
from gradcompile import ArgumentError, compile_grad, compile_value
from gradcompile.lower.dims import TAKEN
from tests.plain import plain

V, Q, T = np.array([0.1, 0.2, 0.3]), np.arange(12.0).reshape(4, 3) / 7, np.arange(4.0)
NAMES = sorted({*TAKEN, *keyword.kwlist, "exp", "tanh", "x\u0301", "µ", "rows", "start", "lambda", "theta", "q", "k",
                "j", "m", "i", "n", "total", "view", "tree", "loss", "d_v", "work", "partial", "place", "LANES"}
               - set(dir(builtins)) | {"None", "True", "min", "range", "float", "print"})  # fmt: skip


def loss_of(n: str, wide: bool = False):
    q, v, t = gc.array("q", (n, 3)), gc.array("v", 3), gc.array("t", n)
    rest = np.sum(np.tanh(q[1:] @ v) * t[:-1]) if wide else 0.0
    return compile_grad(np.mean((np.tanh(q @ v) - t) ** 2) + rest, v, inputs=[q, t], threads=1)


@pytest.fixture(scope="module")
def expected():
    return loss_of("n")(V, Q, T)


@pytest.mark.parametrize("n", NAMES)
def test_the_text_as_python(n, expected) -> None:
    """Of every name the text is right; what is compiled is the text."""
    f = loss_of(n)
    space = plain(f.source)
    grad = np.zeros(3)
    with np.errstate(all="ignore"):
        loss = space["kernel"](V, grad, Q, T)
    np.testing.assert_allclose([loss, *grad], [expected[0], *expected[1]], rtol=1e-14)


@pytest.mark.parametrize("n", ["rows", "start", "lambda", "None", "theta", "x\u0301", "min"])
def test_compiled(n, expected) -> None:
    loss, grad = loss_of(n)(V, Q, T)
    assert (loss, grad.tolist()) == (expected[0], expected[1].tolist())
    f = loss_of(n, wide=True)
    assert f(V, Q, T)[0] == loss_of("n", wide=True)(V, Q, T)[0]
    with pytest.raises(ArgumentError, match=f"the dimension '{n}' is 4 in q and 3 in t"):
        f(V, Q, T[:3])


def test_scans_lengths_and_products_of_such_dimensions() -> None:
    def value(a: str, b: str):
        x, y = gc.array("x", (a, b)), gc.array("y", b)
        steps = gc.scan(lambda c, row: (c + np.sum(row[1:] * y[:-1]), c * row[0]), 0.0 * y[0], x)
        return compile_value(np.concatenate([steps[1], np.ravel(x * y), np.sort(y)[1:]]), [], inputs=[x, y])

    x, y = np.random.default_rng(0).normal(size=(5, 7)), np.arange(7.0)
    expected = value("n", "d")(x, y)
    for names in (("rows", "start"), ("start", "rows"), ("lambda", "lambda_"), ("theta", "grad")):
        np.testing.assert_array_equal(value(*names)(x, y), expected)
