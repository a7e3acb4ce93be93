"""Many losses in one module: each as it is alone, and what they share once."""

import pickle

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile.errors import ArgumentTypeError, ExpressionError

a, b, x, y = sp.symbols("a b x y")
LOSSES = [(a * x - y) ** 2, (a * sp.exp(-b * x) - y) ** 2, sp.exp(-b * x) * y]
X, Y = np.linspace(0.0, 1.0, 300), np.linspace(1.0, 2.0, 300)


@pytest.fixture(scope="module")
def many():
    return gc.compile_many(LOSSES, [a, b], data=[x, y])


def test_each_is_as_it_is_alone(many):
    losses, grads = many(2.0, 1.0, X, Y)
    assert losses.shape == (3,) and grads.shape == (3, 2) and len(many) == 3
    for k, f in enumerate(many):
        loss, slopes = f(2.0, 1.0, X, Y)
        np.testing.assert_allclose([loss, *slopes], [losses[k], *grads[k]], rtol=1e-14)
    assert (grads[0, 1], grads[2, 0]) == (0.0, 0.0)
    assert many[-1] is many[2]
    assert many.source.count("= exp(") == 1
    assert pickle.loads(pickle.dumps(many))(2.0, 1.0, X, Y)[0].tolist() == losses.tolist()
    assert many.check(2.0, 1.0, X[:5], Y[:5]).error < 1e-12


def test_numbers_and_arrays():
    A, B = gc.array("A", 3), gc.array("B", "n")
    losses, grads = gc.compile_many([np.sum(A * A), np.mean(B) * A[0]], A)(np.ones(3), np.ones(4))
    assert losses.tolist() == [3.0, 1.0] and grads.tolist() == [[2.0, 2.0, 2.0], [1.0, 0.0, 0.0]]
    losses, grads = gc.compile_many([a**2, a**3], a)(2.0)
    assert losses.tolist() == [4.0, 8.0] and grads.tolist() == [[4.0], [12.0]]


def test_what_is_no_list_of_losses(many):
    with pytest.raises(ArgumentTypeError, match="compile_grad"):
        gc.compile_many(a**2, a)
    with pytest.raises(ExpressionError, match="a loss is one number"):
        gc.compile_many([gc.array("A", 3)], [])
    with pytest.raises(IndexError):
        many[3]
    for k in (1.0, slice(2), "a"):
        with pytest.raises(TypeError, match="integer"):
            many[k]
