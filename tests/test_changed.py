"""What is changed after it was checked: no memory but the arrays' own is read or written, and no number is wrong."""

import threading

import numpy as np
import pytest

import gradcompile as gc
from gradcompile import ArgumentError, TrainingError, compile_grad

k, v, t = gc.array("k", "n", dtype="int64"), gc.array("v", 5), gc.array("t", "n")
W, pairs = gc.array("W", (4, 5)), gc.array("pairs", ("n", 2), dtype="int64")
BAD = (5, -6, 7, 10**8, 10**18, -(2**63), 2**63 - 1)


INPUTS = {"k": k, "pairs": pairs, "t": t}
LOSSES = {
    "np.sum(np.tanh(v[k]))": "k",
    "np.sum(np.tanh(v[k[::-1]]))": "k",
    "np.sum(W[:, k] ** 2)": "k",
    "np.sum(W[pairs[:, 0], pairs[:, 1]] ** 2)": "pairs",
    "gc.mean(gc.cross_entropy(np.outer(t, v[:]), k))": "k t",
    "gc.mean(gc.cross_entropy(t[:, None] * np.repeat(v, 300), k * 1))": "k t",
    "np.sum(gc.scan(lambda c, j: (c + v[j], c), 0.0 * v[0], k)[0])": "k",
    "np.sum(np.where(t > 0, v[k], 1.0))": "k t",
    "np.sum(np.sort(v[k]) * t)": "k t",
}


@pytest.mark.parametrize("loss", LOSSES)
def test_an_index_that_moves_out_of_its_axis_gives_nan(loss) -> None:
    names = LOSSES[loss].split()
    params = [a for a in (v, W) if f"{a.node.params[0]}[" in loss or f"({a.node.params[0]}," in loss]
    value = eval(loss, {"np": np, "gc": gc, "v": v, "W": W} | INPUTS)
    f = compile_grad(value, params, inputs=[INPUTS[name] for name in names], threads=1)
    given = {"k": np.array([0, 1, -1, 4]), "pairs": np.array([[0, 1], [3, 4], [-1, -5], [2, 2]]), "t": np.ones(4)}
    fun, theta = f.bind(*(given[name] for name in names)), np.random.default_rng(0).normal(size=f.size)
    before, changed = fun(theta), given[names[0]].reshape(-1)
    kept = int(changed[1])
    for bad in (1500, -1501, 2000, 10**8, 10**18, -(2**63), 2**63 - 1):
        changed[1] = bad
        loss, grad = fun(theta)
        assert np.isnan(loss) and grad.shape == theta.shape
    changed[1] = kept
    assert fun(theta)[0] == before[0] and fun(theta)[1].tolist() == before[1].tolist()


def test_an_index_that_another_thread_changes() -> None:
    f, i, stop = compile_grad(np.sum(np.tanh(v[k])), v, inputs=[k]), np.zeros(200_000, np.int64), threading.Event()

    def change() -> None:
        while not stop.is_set():
            i[-1000:] = 10**12
            i[-1000:] = 0

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(50):
            try:
                loss = f(np.ones(5), i)[0]
                assert np.isnan(loss) or loss == pytest.approx(np.tanh(1.0) * len(i))
            except ArgumentError:
                pass
    finally:
        stop.set()
        thread.join()


def test_an_index_that_a_callback_changes() -> None:
    f, i = compile_grad(np.mean((np.tanh(v[k]) - t) ** 2), v, inputs=[k, t]), np.array([0, 1, 2, 3])
    with pytest.raises((ArgumentError, TrainingError)):
        gc.sgd(f, np.ones(5), [i, np.ones(4)], epochs=3, learning_rate=0.1, progress=False,
               callback=lambda *_: i.__setitem__(slice(None), 10**9))  # fmt: skip


@pytest.mark.parametrize("shape", [(12, 1), (2, 6), (1, 12)])
def test_a_bound_array_keeps_its_shape(shape) -> None:
    u, B, rows = gc.array("u", 3), gc.array("B", ("n", 3)), np.arange(12.0).reshape(4, 3)
    fun = compile_grad(np.sum((B @ u) ** 2), u, inputs=[B]).bind(rows)
    loss, grad = fun(np.ones(3))
    rows.shape = shape
    assert fun(np.ones(3))[0] == loss and fun(np.ones(3))[1].tolist() == grad.tolist()
    rows[0, 0] += 1.0  # entries are seen
    assert fun(np.ones(3))[0] != loss
