"""Selections at a point of arrays: shapes stay, and a gradient that is stopped there is left alone."""

import numpy as np
import pytest

import gradcompile as gc

X, Y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0, 3.0])


@pytest.mark.parametrize("text", [
    "np.where(x == y, y - x, 0.0)", "np.where(x != y, 0.0, x - y)", "np.where(x[:, None] == y, y - x[:, None], 0.0)",
    "np.where(x == 1.0, x - 1.0, 0.0)", "np.where(x[:, None] == y, x[:, None] - y, 0.0)[0]",
])  # fmt: skip
def test_what_is_the_same_at_the_point_keeps_its_shape(text: str) -> None:
    x, y = gc.array("x", 3), gc.array("y", 3)
    value = eval(text, {"np": np, "x": x, "y": y})
    f = gc.compile_grad(np.sum(value * 2.0), [x, y], allow_unused=True)
    loss, (dx, dy) = f(X, Y)
    assert loss == 0.0 and dx.tolist() == dy.tolist() == [0.0] * 3


def test_a_gradient_that_is_stopped_at_the_point_is_left_alone() -> None:
    x, y = gc.array("x", 3), gc.array("y", 3)
    f = gc.compile_grad(np.sum(np.where(x == y, y - gc.stop_gradient(x), 0.0)), [x, y], allow_unused=True)
    loss, (dx, dy) = f(X, Y)
    assert (loss, dx.tolist(), dy.tolist()) == (0.0, [0.0] * 3, [1.0, 0.0, 1.0])


def test_a_mask_keeps_out_what_is_missing():
    w, x, m = gc.array("w"), gc.array("x", "n"), gc.array("m", "n")
    f = gc.compile_grad(np.sum(np.where(m == 0, 0.0, m * x * w)), w, inputs=[x, m])
    assert f(2.0, [1.0, np.nan, np.inf], [1.0, 0.0, 0.0]) == (2.0, 1.0)
    g = gc.compile_grad(np.sum(np.where(w == 0, 0.0, w * x)), w, inputs=[x])
    assert g(0.0, [1.0, np.inf])[0] == 0.0 and g(0.0, [1.0, 2.0]) == (0.0, 3.0)
