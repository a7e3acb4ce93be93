"""Training: rules against their definition, the loop against NumPy, and what stops it."""

import os
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile import optim, sgd
from gradcompile.compile import compile_grad
from gradcompile.errors import ArgumentError, ArgumentTypeError, GradcompileError, TrainingError
from gradcompile.frontend.arrays.problem import read_arrays
from gradcompile.library.optimizers import GOES_ON
from gradcompile.optim import batches, loop
from gradcompile.optim.sources import Columns

a, b, x, y, lam = sp.symbols("a b x y lam")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=103)
Y = 2.0 * X + 1.0 + 0.1 * RANDOM.normal(size=103)
QUIET = {"progress": False}


@pytest.fixture(scope="module")
def line():
    return compile_grad((a * x + b - y) ** 2, [a, b], data=[x, y])


def reference(f, start, columns, optimiser, epochs, batch, orders):
    """The same descent in NumPy, gradients from f."""
    theta, losses = np.array(start), []
    state = optimiser.init(theta)
    for epoch in range(epochs):
        order, total = orders[epoch], 0.0
        for lo in range(0, len(order), batch):
            chosen = order[lo : lo + batch]
            loss, grad = f.bind(*(c[chosen] for c in columns))(theta)
            total += loss * len(chosen)
            updates, state = optimiser.update(grad, state, theta)
            theta = theta + updates
        losses.append(total / len(order))
    return theta, losses


def test_linear_regression(line):
    fit = sgd(line, [0.0, 0.0], [X, Y], learning_rate=0.1, epochs=300, momentum=0.5, **QUIET)
    slope, intercept = np.polyfit(X, Y, 1)
    assert fit.params == pytest.approx([slope, intercept], abs=1e-10)
    assert (fit.epochs, fit.interrupted) == (300, False)
    assert [len(column) for column in fit.history.values()] == [300] * 5
    assert fit.history["loss"][-1] < fit.history["loss"][0]


@pytest.mark.parametrize(("decay", "clip"), [(0.0, None), (0.9, None), (0.0, 0.5), (0.8, 0.5)])
def test_mini_batches_follow_the_rules(line, decay, clip):
    optimiser = optim.chain(*([optim.clip_by_global_norm(clip)] if clip else []), optim.sgd(0.05, decay))
    order = [np.arange(103)] * 5
    theta, losses = reference(line, [0.0, 0.0], (X, Y), optimiser, 5, 10, order)
    options = {"learning_rate": 0.05, "momentum": decay, "clip_norm": clip, **QUIET}
    fit = sgd(line, [0.0, 0.0], [X, Y], epochs=5, batch_size=10, shuffle=False, **options)
    assert fit.params == pytest.approx(theta.tolist(), rel=1e-12)
    assert fit.history["loss"] == pytest.approx(losses, rel=1e-12)


def test_without_clipping_the_bits_are_those_of_numpy(line):
    random = np.random.Generator(np.random.PCG64(7))
    orders = [random.permutation(103) for _ in range(4)]
    theta, _ = reference(line, [0.0, 0.0], (X, Y), optim.sgd(0.05, 0.5), 4, 20, orders)
    fit = sgd(line, [0, 0], [X, Y], learning_rate=0.05, momentum=0.5, epochs=4, batch_size=20, seed=7, **QUIET)
    assert fit.params == theta.tolist()


def test_a_seed_gives_the_same_bits_however_the_run_is_cut(line):
    options = {"learning_rate": 0.05, "momentum": 0.5, "epochs": 6, "batch_size": 16, **QUIET}
    cuts = (None, lambda *_: None)  # with a callback every epoch is a block of its own
    runs = [sgd(line, [0.0, 0.0], [X, Y], seed=s, callback=c, **options) for s in (3, 4) for c in cuts]
    assert runs[0].params == runs[1].params != runs[2].params == runs[3].params
    assert runs[0].history["loss"].tobytes() == runs[1].history["loss"].tobytes()


def test_norms_of_any_size():
    from gradcompile.library.optimizers import norm

    for factor in (1.0, 1e-200, 1e200, 1e-320):
        assert norm(np.array([3.0, 4.0]) * factor) == pytest.approx(5.0 * factor, rel=1e-3)
    assert np.isnan(norm(np.array([np.nan, 1.0])))
    assert np.isinf(norm(np.array([np.inf, 1.0])))


def test_params_come_back_as_they_came(line):
    options = {"learning_rate": 0.1, "epochs": 2, **QUIET}
    assert isinstance(sgd(line, (0, 0), [X, Y], **options).params, tuple)
    named = sgd(line, {"b": 0, "a": 0}, {"y": Y, "x": X}, **options).params
    assert list(named) == ["b", "a"]
    assert [named["a"], named["b"]] == sgd(line, [0, 0], [X, Y], **options).params
    c, z = sp.symbols("c:2"), sp.symbols("z:2")
    f = compile_grad((c[0] * z[0] + c[1] * z[1] - y) ** 2, {"c": c}, data={"z": z, "y": y})
    rows, start = RANDOM.normal(size=(40, 2)), np.zeros(2)
    fit = sgd(f, {"c": start}, [rows, rows @ [1.0, -2.0]], learning_rate=0.1, epochs=200, batch_size=7, **QUIET)
    assert fit.params["c"] == pytest.approx([1.0, -2.0])
    assert start.tolist() == [0.0, 0.0]
    (alone,) = sgd(f, [start], [rows, rows @ [1.0, -2.0]], learning_rate=0.1, epochs=1, **QUIET).params
    assert alone.shape == (2,)


def test_other_inputs_pass_whole():
    from gradcompile import mean

    f = compile_grad(mean((a * x - y) ** 2) + lam * a**2, [a], data=[x, y])
    fit = sgd(f, [0.0], {"x": X, "y": Y, "lam": 0.5}, learning_rate=0.1, epochs=500, **QUIET)
    assert fit.params[0] == pytest.approx(np.mean(X * Y) / (np.mean(X * X) + 0.5))
    assert sgd(f, [0.0], {"x": X, "y": Y, "lam": 0.5}, learning_rate=0.1, epochs=3, batch_size=10, **QUIET).epochs == 3


def test_a_loss_without_data_and_a_bare_parameter():
    fit = sgd(compile_grad((a - 3) ** 2, a), 0.0, [], learning_rate=0.25, epochs=60, **QUIET)
    assert fit.params == pytest.approx(3.0)
    with pytest.raises(ArgumentError, match="no columns"):
        sgd(compile_grad((a - 3) ** 2, a), 0.0, [], learning_rate=0.25, epochs=60, batch_size=2, **QUIET)


def test_single_precision():
    f = compile_grad((a * x - y) ** 2, [a], data=[x, y], dtype="float32")
    columns = [X.astype(np.float32), (2 * X).astype(np.float32)]
    assert sgd(f, [0], columns, learning_rate=0.1, epochs=100, batch_size=50, **QUIET).params == pytest.approx([2.0])


def test_a_callback_sees_copies_and_can_stop(line):
    seen = []

    def watch(epoch, params, loss, grad_norm):
        seen.append((epoch, loss, grad_norm, params[0]))
        params[0] = 1e9
        return epoch == 3

    fit = sgd(line, [0.0, 0.0], [X, Y], learning_rate=0.1, epochs=50, batch_size=20, callback=watch, **QUIET)
    assert [s[0] for s in seen] == [1, 2, 3]
    assert (fit.epochs, fit.interrupted) == (3, False)
    assert [s[1] for s in seen] == fit.history["loss"].tolist()
    assert [s[2] for s in seen] == fit.history["grad_norm"].tolist()
    assert seen[-1][3] == fit.params[0]


class Clock:
    """What the loop reads the time from, before and after each chunk; counted."""

    def __init__(self) -> None:
        self.looks = 0

    def perf_counter(self) -> float:
        self.looks += 1
        return time.perf_counter()


def test_ctrl_c_returns_what_was_reached(line, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    pressed = []

    def press() -> None:
        while clock.looks < 20:  # the tenth chunk is over
            time.sleep(0.001)
        pressed.append(clock.looks)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    fit = sgd(line, [0.0, 0.0], [X, Y], learning_rate=1e-6, epochs=100_000_000, batch_size=10, **QUIET)
    thread.join()
    assert clock.looks - pressed[0] <= 4  # the chunk that ran, and at most one more
    assert fit.interrupted
    assert 0 < fit.epochs == len(fit.history["loss"])
    assert fit.params[0] > 0.0


@pytest.mark.parametrize("seconds_a_step", [1e-6, 1e-4, 10.0])
def test_a_chunk_is_as_long_as_what_fits_between_two_looks_at_ctrl_c(line, seconds_a_step, monkeypatch):
    now, chunks = 0.0, []

    def run(chunk):
        nonlocal now
        now += chunk.turns * seconds_a_step
        chunks.append(chunk.turns)
        return GOES_ON

    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now))
    source = Columns(line, [X, Y], None, None, True, 0)
    made = loop.Training(line, [0.0, 0.0], source, optim.sgd(0.1), 1 << 40, 1 << 40)
    made.run, made.numbers = run, lambda: 1 << 40
    for _ in range(60):
        made.advance(1 << 40)
    most = max(1, 2 * loop.CHUNK_SECONDS / seconds_a_step)
    assert most / 4 <= chunks[-1] <= max(chunks) <= most and loop.CHUNK_SECONDS < 0.25


def test_what_is_not_finite_is_named(line):
    with pytest.raises(TrainingError, match=r"step \d+ \(epoch \d+\): loss inf.*learning_rate") as caught:
        sgd(line, [0.0, 0.0], [X, Y], learning_rate=1e3, epochs=1000, batch_size=50, **QUIET)
    assert "a*x" in str(caught.value)
    f = compile_grad(sp.sqrt(a) + b**2, [a, b])
    with pytest.raises(TrainingError, match=r"step 1 .*gradient, d/da = inf"):
        sgd(f, [0.0, 1.0], [], learning_rate=0.1, epochs=1, **QUIET)


def test_the_batch_that_failed_is_found_again(line):
    broken = Y.copy()
    broken[60] = np.nan
    with pytest.raises(TrainingError, match=r"step 7 \(epoch 1\): loss nan, d/da = nan, d/db = nan"):
        sgd(line, [0.0, 0.0], [X, broken], learning_rate=0.1, epochs=2, batch_size=10, shuffle=False, **QUIET)
    with pytest.raises(TrainingError, match="loss nan"):
        sgd(line, [0.0, 0.0], [X, broken], learning_rate=0.1, epochs=2, batch_size=10, **QUIET)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"epochs": 0}, "epochs=0"),
        ({"epochs": 2.5}, "epochs=2.5"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"clip_norm": -1.0}, "clip_norm=-1.0"),
    ],
)
def test_options_out_of_range(line, change, message):
    with pytest.raises(ArgumentError, match=message):
        sgd(line, [0.0, 0.0], [X, Y], **{"learning_rate": 0.1, "epochs": 2, **QUIET, **change})


@pytest.mark.parametrize(
    ("params", "data", "message"),
    [
        ([0.0], [X, Y], "params holds 1 values, the function takes 2: a, b"),
        ([0.0, 0.0], [X], "data holds 1 values"),
        ({"a": 0.0}, [X, Y], "params has no 'b'"),
        ({"a": 0.0, "b": 0.0, "c": 0.0}, [X, Y], "params holds c"),
        ([0.0, 0.0], {"x": X}, "data has no 'y'"),
    ],
)
def test_arguments_that_do_not_fit(line, params, data, message):
    with pytest.raises(ArgumentTypeError, match=message):
        sgd(line, params, data, learning_rate=0.1, epochs=1, **QUIET)


def test_progress_is_shown_with_loss_and_gradient(line, capsys):
    sgd(line, [0.0, 0.0], [X, Y], learning_rate=0.1, epochs=3)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "loss" in shown
    assert "gradient" in shown


def test_a_chain_is_an_optimiser_too():
    both = optim.chain(optim.scale(2.0), optim.sgd(1.0, momentum=0.5))
    params = np.zeros(2)
    updates, state = both.update(np.array([1.0, 2.0]), both.init(params), params)
    assert (updates.tolist(), state.rows.tolist(), state.steps) == ([-2.0, -4.0], [[2.0, 4.0]], 1)


@pytest.mark.parametrize(
    "option",
    [{"learning_rate": "a"}, {"learning_rate": None}, {"epochs": None}, {"seed": -1}, {"seed": "q"}, {"callback": 3},
     {"momentum": "a"}, {"clip_norm": "q"}],
)  # fmt: skip
def test_options_of_a_wrong_kind_are_named(option: dict[str, object]) -> None:
    a, x, y = sp.symbols("a x y")
    f = compile_grad((a * x - y) ** 2, [a], data=[x, y])
    options = {"learning_rate": 0.1, "epochs": 3, "progress": False} | option
    with pytest.raises(GradcompileError, match=next(iter(option))):
        sgd(f, [0.0], [[1.0, 2.0], [2.0, 4.0]], **options)


# Losses over arrays


@pytest.fixture(scope="module")
def plane():
    X, t, w, b = gc.array("X", ("n", 3)), gc.array("t", ("n",)), gc.array("w", (3,)), gc.array("b")
    return compile_grad(np.mean((X @ w + b - t) ** 2), [w, b], inputs=[X, t])


def test_array_inputs_are_cut_along_the_only_named_dimension(plane):
    rows = RANDOM.normal(size=(103, 3))
    data = [rows, rows @ [1.0, -2.0, 0.5] + 0.3]
    optimiser = optim.sgd(0.1, 0.5)
    theta, losses = reference(plane, np.zeros(4), data, optimiser, 4, 10, [np.arange(103)] * 4)
    options = {"learning_rate": 0.1, "momentum": 0.5, "epochs": 4, "batch_size": 10, "shuffle": False, **QUIET}
    fit = sgd(plane, [np.zeros(3), 0.0], data, **options)
    np.testing.assert_allclose([*fit.params[0], fit.params[1]], theta, rtol=1e-12)
    np.testing.assert_allclose(fit.history["loss"], losses, rtol=1e-12)
    named = sgd(
        plane, {"w": np.zeros(3), "b": 0.0}, dict(zip(["X", "t"], data, strict=True)), batch_axis="n", **options
    )
    assert named.params["w"].tobytes() == fit.params[0].tobytes()


def axis(loss, params, given=None, batch_size=10):
    return batches.axis_of_samples(read_arrays(loss, params).inputs, given, batch_size)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3)])
def test_batches_of_arrays_of_any_rank(shape):
    X, w = gc.array("X", ("n", *shape)), gc.array("w", shape)
    f = compile_grad(np.mean((X - w) ** 2), [w])
    values = np.random.default_rng(0).normal(size=(10, *shape))
    fit = sgd(f, [np.zeros(shape)], [values], learning_rate=0.1, epochs=1, batch_size=4, shuffle=False, **QUIET)
    want, count = np.zeros(shape), np.prod(shape)
    for start in (0, 4, 8):
        want -= 0.1 * 2 * (want - values[start : start + 4].mean(axis=0)) / count
    np.testing.assert_allclose(fit.params[0], want, rtol=1e-12)


def test_which_dimension_counts_the_samples():
    X, Z, w = gc.array("X", ("n", 3)), gc.array("Z", ("m", 3)), gc.array("w", (3,))
    both = np.mean(X @ w) + np.mean(Z @ w)
    assert axis(np.mean(X @ w), [w]) == "n"
    assert axis(both, [w], "m") == "m"
    assert axis(both, [w], batch_size=None) is None
    assert axis(np.sum(w), [w], batch_size=None) is None
    for loss, given, message in (
        (both, None, "the inputs have the dimensions"),
        (both, "k", "no input has that dimension; they have"),
        (np.sum(w), None, "no columns"),
        (np.mean(X @ w) + np.mean(gc.array("A", (2, "n"))), None, "only a first axis can be cut"),
    ):
        with pytest.raises(ArgumentError, match=message):
            axis(loss, [w], given)


def test_an_index_into_the_samples_is_not_cut():
    X, k, w = gc.array("X", ("n", 3)), gc.array("k", ("n",), "int64"), gc.array("w", (3,))
    problem = read_arrays(np.mean(X[k] @ w), [w])
    data = [np.zeros((4, 3)), np.arange(4)]
    inputs = [data[0] if a.name == "X" else data[1] for a in problem.inputs]
    batches.check(problem, inputs, "n", 4)
    with pytest.raises(ArgumentError, match="k is an index into the samples"):
        batches.check(problem, inputs, "n", 2)
    inputs[[a.name for a in problem.inputs].index("k")] = np.array([0, 1, 2, 4])
    with pytest.raises(ArgumentError, match="is 4"):
        batches.check(problem, inputs, "n", 4)


def test_the_last_batch_has_to_suffice():
    X, w = gc.array("X", ("n", 3)), gc.array("w", (3,))
    problem = read_arrays(np.mean(X[2:] @ w), [w])
    batches.check(problem, [np.zeros((6, 3))], "n", 3)
    with pytest.raises(ArgumentError, match="n is 1"):
        batches.check(problem, [np.zeros((7, 3))], "n", 3)
