"""What lowering once got wrong, against NumPy and differences: axes of one entry, places that are data, loops."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcompile as gc
from tests.fuzz import _numbers

RNG = np.random.default_rng(7)
Shapes = tuple[tuple[int, ...], ...]


def agrees(loss: Callable[..., Any], *shapes: tuple[int, ...], dtype: str = "float64") -> None:
    """Value and gradient of a loss, written for NumPy, are those of NumPy and of differences."""
    params = [gc.array(name, shape, dtype) for name, shape in zip("xyz", shapes, strict=False)]
    at = [RNG.normal(size=shape).astype(dtype) for shape in shapes]
    f = gc.compile_grad(loss(*params), params)
    wrong = _numbers.wrong(f, loss, at) or _numbers.unlike_python(f, at)
    assert wrong is None, wrong


REPEATED = ([2, 1, 2, 2], [0, 0, 0, 0, 0], [3, -1, 3], [1])


@pytest.mark.parametrize("shape", [(4, 1), (4, 1, 1), (1, 4), (4,), (4, 2)])
def test_gradients_of_repeated_places_add_up(shape: tuple[int, ...]) -> None:
    places = [(slice(None),) * shape.index(4) + (np.array(index),) for index in REPEATED]
    agrees(lambda x: sum(np.sum(np.tanh(x)[at] * np.cos(x[at])) for at in places), shape)


@pytest.mark.parametrize("width", [(), (1,), (1, 1)])
def test_repeated_places_given_by_the_call(width: tuple[int, ...]) -> None:
    x, k = gc.array("x", (4, *width)), gc.array("k", ("n",), "int64")
    f = gc.compile_grad(np.sum(x[k]), [x], inputs=[k])
    counts = f(np.ones((4, *width)), np.array([2, 1, 2, 2]))[1]
    assert np.ravel(counts).tolist() == [0.0, 1.0, 3.0, 0.0]


@pytest.mark.parametrize(
    "picked",
    [
        lambda x: np.exp(x)[np.array([2])],
        lambda x: np.take_along_axis(np.exp(x), np.array([2]), axis=0),
        lambda x: np.exp(x)[np.argsort(np.sin(x))[:1]],
        lambda x: np.sort(np.exp(x))[:1],
        lambda x: np.sort(np.exp(x)[1:2]),
        lambda x: np.exp(x)[np.array([[2]])],
        lambda x: -np.exp(x)[np.array([1])],
        lambda x: np.tanh(x)[np.array([1])],
        lambda x: np.cumsum(np.exp(x))[np.array([3])],
    ],
)
def test_one_entry_that_is_picked_is_there_when_it_is_read(picked: Callable[..., Any]) -> None:
    agrees(lambda x, y: np.sum(picked(x) ** 2) + np.sum(np.linalg.inv(y + 3 * np.eye(3))), (4,), (3, 3))


MASK = np.array([True, False, True])


MASKED = [
    lambda x: np.sum(np.where(MASK, x, 1.0) * x),
    lambda x: np.sum(MASK * np.sin(x)),
    lambda x: np.sum(np.select([MASK, ~MASK], [x, x**2])),
    lambda x: np.sum((np.tanh(x) - MASK) ** 2),
    lambda x: np.sum(np.where(np.logical_and(MASK, x > 0), x**2, x)),
    lambda x: np.sum(np.where(np.array([True]), x**2, x)),
    lambda x: np.sum(np.where(~MASK[:, None], x[:, None] * x, 0.5)),
    lambda x: np.sum(np.where(np.array(True), x**2, x)),
    lambda x: np.max(np.where(MASK, x, -np.inf)) + np.sum(x),
]


@pytest.mark.parametrize("loss", MASKED)
def test_constants_may_be_truth_values(loss: Callable[..., Any]) -> None:
    agrees(loss, (3,))


def test_constants_may_be_truth_values_in_single_precision() -> None:
    agrees(lambda x: sum(loss(x) for loss in MASKED), (3,), dtype="float32")


ALONG = [
    lambda x, k: np.cumsum(x, axis=k),
    lambda x, k: np.argmax(x, axis=k, keepdims=True) * x,
    lambda x, k: np.argmin(np.sin(x), axis=k, keepdims=True) + x,
    lambda x, k: np.max(x, axis=k, keepdims=True) - x,
    lambda x, k: np.sort(x, axis=k),
    lambda x, k: np.roll(x, 1, axis=k),
    lambda x, k: np.take_along_axis(x, np.argsort(x, axis=k), axis=k),
    lambda x, k: np.flip(np.cumsum(np.tanh(x), axis=k), axis=k),
    lambda x, k: np.std(x + np.sin(x), axis=k, keepdims=True) if x.shape[k] > 1 else x,
]


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1), (1, 5, 1), (1, 40), (2, 1, 3)])
def test_axes_of_one_entry(shape: tuple[int, ...]) -> None:
    weights = RNG.normal(size=(len(shape), len(ALONG)))
    both = [(k, j) for k in range(len(shape)) for j in range(len(ALONG))]
    agrees(lambda x: np.sum(sum(ALONG[j](x, k) * weights[k, j] for k, j in both)), shape)


MEETING = [
    lambda x: np.tanh(x[:-3]) * np.sin(x[1:-2]) * np.exp(x[2:-1]) * x[3:],
    lambda x: x[:-2] ** 2 * x[1:-1] ** 3 + x[2:] ** 4 * np.sin(x[1:-1]),
    lambda x: x[::2][:2] * np.sin(x[:2]) * np.tanh(x[1:3]) * x[-1:-3:-1],
    lambda x: np.roll(x, 1) * np.roll(x, -1) * np.roll(x, 2) * x,
    lambda x: np.diff(np.tanh(x), 2, axis=0) ** 2,
]


@pytest.mark.parametrize("shape", [(5,), (40,), (6, 1), (5, 7)])
def test_parts_that_meet(shape: tuple[int, ...]) -> None:
    agrees(lambda x: sum(np.sum(np.cos(part(x)) * k) for k, part in enumerate(MEETING, 1)), shape)
    agrees(lambda x: np.sum(np.tanh(x[1:-1] * 4 - x[:-2] - x[2:]) ** 2), shape)


def test_parts_of_a_block_that_meet() -> None:
    x, w = gc.array("x", "n"), gc.array("w")
    y = np.tanh(w * x)
    f = gc.compile_grad(np.sum(y[:-3] * np.sin(y[1:-2]) * np.exp(y[2:-1]) * y[3:] ** 2), [w], inputs=[x])
    numbers = np.linspace(-1, 1, 100)

    def loss(w: Any) -> Any:
        y = np.tanh(w * numbers)
        return np.sum(y[:-3] * np.sin(y[1:-2]) * np.exp(y[2:-1]) * y[3:] ** 2)

    assert _numbers.wrong(lambda w: f(w, numbers), loss, [np.array(0.7)]) is None


def scanned(step: Callable[..., Any], c: Any, length: int) -> Any:
    """The last carry of a loop, in NumPy as well."""
    if not isinstance(c, np.ndarray):
        return gc.scan(lambda c, _: (step(c), None), c, None, length=length)[0]
    for _ in range(length):
        c = step(c)
    return c


def test_a_scan_in_a_scan_has_names_of_its_own() -> None:
    def step(c: Any) -> Any:
        return np.tanh(c - np.max(c) + scanned(lambda q: q - np.max(q), np.tanh(c), 2))

    c = gc.array("c", (4,))
    f = gc.compile_grad(np.sum(scanned(step, c, 2) * np.arange(1.0, 5.0)), [c])
    assert f(np.array([0.3, -0.2, 0.5, 0.1]))[0] == pytest.approx(-5.784462460703706, rel=1e-14)


def test_the_same_reductions_in_both_scans() -> None:
    def both(q: Any) -> Any:
        return np.cumsum(q) / (1 + np.std(q)) + np.roll(q, 1) * np.var(q)

    agrees(lambda x: np.sum(scanned(lambda c: np.tanh(both(c) + scanned(both, c, 2)), x, 2) ** 2), (4,))
