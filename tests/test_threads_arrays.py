"""Calls with arrays on several threads: the same bits for any number, and BLAS on one thread meanwhile."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import gradcompile as gc
from gradcompile import compile_grad, compile_value
from gradcompile.library.sums import GROUPS, group_size
from gradcompile.loops.kernel import Pass, Plan
from gradcompile.lower.blocks import grouping
from gradcompile.runtime import route, share, threads
from gradcompile.runtime.share import Shared, Work, plain_text
from gradcompile.runtime.switch import Switch, switch
from gradcompile.runtime.threads import Pool

JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"
ROOT = Path(__file__).resolve().parent.parent
SIZES = (1, 255, 3000, 6001, 40_001) if JIT else (1, 300, 800)
RANDOM = np.random.default_rng(1)
DATA, LABELS = RANDOM.normal(size=(max(SIZES), 6)), RANDOM.integers(0, 3, max(SIZES))


@pytest.fixture(autouse=True)
def shared(monkeypatch):
    """Every call of two blocks or more is shared, by up to eight threads; the numbers of tasks."""
    used = []
    for name in ("ENOUGH", "MERGED"):
        monkeypatch.setattr(grouping, name, 1)
    for name in ("TASK", "WORTH"):
        monkeypatch.setattr(share, name, 1.0)
    for module in (share, threads):
        monkeypatch.setattr(module, "processors", lambda: 8)
    run = Pool.run
    monkeypatch.setattr(Pool, "run", lambda pool, task, *args: used.append(args) or run(pool, task, *args))
    return used


def parameters(dtype: str):
    shapes = {"W": (6, 5), "b": (5,), "V": (5, 3)}
    return [gc.array(name, shape, dtype) for name, shape in shapes.items()]


def network(dtype="float64", **options):
    X, t, (W, b, V) = gc.array("X", ("n", 6), dtype), gc.array("t", ("n",), "int64"), parameters(dtype)
    return compile_grad(gc.mean(gc.cross_entropy(np.tanh(X @ W + b) @ V, t)), [W, b, V], inputs=[X, t], **options)


def single(**options):
    return network("float32", **options)


def normalised(**options):
    """Several passes: what is subtracted and divided by comes from all samples."""
    X, t, (W, b, V) = gc.array("X", ("n", 6)), gc.array("t", ("n",), "int64"), parameters("float64")
    z = X @ W
    z = (z - np.mean(z, axis=0)) / np.sqrt(np.var(z, axis=0) + 1e-3) * b
    return compile_grad(gc.mean(gc.cross_entropy(z @ V, t)), [W, b, V], inputs=[X, t], **options)


def predictions(**options):
    X, t, (W, b, V) = gc.array("X", ("n", 6)), gc.array("t", ("n",), "int64"), parameters("float64")
    return compile_value((np.tanh(X @ W + b) @ V) * t[:, None], [W, b, V], inputs=[X, t], **options)


def embedded(**options):
    """Numbered samples, no products: rows of a parameter, chosen and summed."""
    X, t, (W, b, V) = gc.array("X", ("n", 6)), gc.array("t", ("n",), "int64"), parameters("float64")
    return compile_grad(np.sum(V[t] ** 2) * np.sum(W) + np.sum(np.cos(X)) * b[0], [W, b, V], inputs=[X, t], **options)


def extremes(**options):
    """Maxima, of many equal entries and of zeros of either sign, beside sums."""
    X, t, (W, b, V) = gc.array("X", ("n", 6)), gc.array("t", ("n",), "int64"), parameters("float64")
    z = X @ W
    ties = np.max(-np.abs(np.floor(z)) * b) + np.max(t * V[0, 0])
    loss = np.sum(gc.logsumexp(z * b, axis=0)) + ties + np.mean(np.cos(z))
    return compile_grad(loss, [W, b, V], inputs=[X, t], **options)


MADE = [network, single, normalised, predictions, embedded, extremes]


def result(f, n: int, step: int = 1) -> bytes:
    """The bits of what f gives for so many samples."""
    theta = np.linspace(-1.0, 1.0, 50)
    split = theta[:30].reshape(6, 5), theta[30:35], theta[35:].reshape(5, 3)
    parts = [p.astype(f.dtype) for p in split]
    X, t = DATA.astype(f.dtype)[: n * step : step], LABELS[: n * step : step]
    found = f(*parts, X, t)
    if isinstance(found, np.ndarray):
        return found.tobytes()
    return b"".join(np.asarray(v).tobytes() for v in (found[0], *found[1]))


@pytest.mark.parametrize("make", MADE)
def test_the_same_bits_for_any_number_of_threads(make, shared):
    alone = make(threads=1)
    expected = {n: result(alone, n) for n in SIZES}
    assert not shared
    for count in (2, 3, 8):
        f = make(threads=count)
        assert {n: result(f, n) for n in SIZES} == expected
    assert shared


@pytest.mark.parametrize("make", [network, normalised, extremes])
@pytest.mark.parametrize(("parts", "piece", "tasks"), [(1, 7, 1), (1 << 14, 1 << 20, 2), (1 << 30, 5, 4)])
def test_the_same_bits_however_sums_wait_and_are_merged(make, parts, piece, tasks, monkeypatch, shared):
    for name, value in {"PARTS": parts, "PIECE": piece, "TASKS": tasks}.items():
        monkeypatch.setattr(share, name, value)
    f, alone = make(threads=3), make(threads=1)
    assert [result(f, n) for n in SIZES] == [result(alone, n) for n in SIZES]
    assert shared


@pytest.mark.parametrize("make", MADE)
def test_tasks_of_several_groups(make, monkeypatch):
    monkeypatch.setattr(share, "TASK", 1e6)
    f, alone = make(threads=2), make(threads=1)
    assert [result(f, n) for n in SIZES] == [result(alone, n) for n in SIZES]


def test_strided_inputs(shared):
    n = max(SIZES) // 2
    f, alone = network(threads=2), network(threads=1)
    assert result(f, n, 2) == result(alone, n, 2)
    assert shared


@pytest.mark.parametrize("make", [network, predictions, embedded])
def test_no_samples(make, shared):
    with np.errstate(all="ignore"):
        assert result(make(threads=2), 0) == result(make(threads=1), 0)
    assert not shared


def test_every_way_to_call(shared):
    f, alone, n = network(threads=2), network(threads=1), max(SIZES)
    theta, out, inputs = np.linspace(-1.0, 1.0, 50), np.empty(50), (DATA[:n], LABELS[:n])
    loss, grad = alone.flat(theta, *inputs)
    fun = f.bind(*inputs)
    for found, vector in (f.flat(theta, *inputs), fun(theta), fun(theta, out=out)):
        assert (found, vector.tobytes()) == (loss, grad.tobytes())
    assert f.loss(*f.unpack(theta), *inputs) == alone.loss(*f.unpack(theta), *inputs)
    assert len(shared) >= 4


def test_many_threads_call_one_function():
    f, n = network(threads=3), max(SIZES)
    expected = result(f, n)
    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(lambda _: result(f, n), range(40))) == {expected}


def test_small_work_stays_on_the_callers_thread(monkeypatch, shared):
    monkeypatch.undo()
    work = network()._route.work
    for n, pays in ((1, False), (100, False), (max(10**5, 2 * work.plan.group), True)):
        inputs = np.empty((n, 6)), np.empty(n, "int64")
        assert work.pays(inputs) == pays
    assert not network(threads=1)._route.work.pays(inputs)


def test_tasks_are_ranges_of_groups_and_meet_in_a_tree(monkeypatch):
    monkeypatch.setattr(share, "processors", lambda: 3)
    monkeypatch.setattr(share, "PARTS", 1)
    called = []

    def run(into, start, stop, x):
        called.append((start, stop))
        into[0] = x[start]

    work = Work(((1e6, ((0, 0),)),), 1, Plan((Pass("", ("added",)),), 128, 256), threads=3)
    x, total = np.array([1.0] * 1024 + [2.0**-53] * 2000), np.zeros(1)
    for n, tasks in ((256, 1), (383, 1), (384, 2), (512, 2), (2500, 3)):  # the last of 512 samples a group
        called.clear()
        Shared(run, work.plan.passes[0], work)(total, 0, n, x[:n])
        assert len(called) == tasks
    assert sorted(called) == [(0, 1024), (1024, 2048), (2048, 2500)]
    assert total == 1.0  # (1 + u) + u, of which a sum of both small ones first would make more


def test_time_grows_with_every_dimension():
    work = Work(((2.0, ((0, 0), (1, 0))), (3.0, ((0, 1),)), (5.0, ())), 2, Plan())
    assert work.nanoseconds([np.empty((7, 11)), np.empty(13)]) == 2 * 7 * 13 + 3 * 11 + 5


@pytest.mark.parametrize("least", [1, 256, 4096])
def test_groups_grow_with_the_samples(least):
    size = plain_text(group_size)
    for n in (0, 1, *(least * 2**k + d for k in range(20) for d in (-1, 0, 1))):
        found = size(n, least)
        assert found == least or GROUPS * found <= n
        assert least <= found <= 16 * least


# ---- BLAS


class Recorded:
    """A switch that counts, and of which each call sees whether it is turned."""

    def __init__(self) -> None:
        self.now, self.turns = 4, []
        self.switch = Switch(lambda: self.now, self.turn)

    def turn(self, count: int) -> None:
        self.now = count
        self.turns.append(count)


def test_the_first_turns_the_switch_and_the_last_turns_it_back():
    recorded = Recorded()
    inner = recorded.switch.alone(lambda: float(recorded.now))
    outer = recorded.switch.alone(lambda: inner() + recorded.now)
    assert outer() == 2.0
    assert recorded.turns == [1, 4]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_the_switch_is_turned_back_after_an_exception(kind):
    def fail() -> float:
        raise kind

    recorded = Recorded()
    with pytest.raises(kind):
        recorded.switch.alone(fail)()
    assert recorded.turns == [1, 4]


def test_calls_from_many_threads_keep_it_turned():
    recorded, inside = Recorded(), threading.Barrier(8)

    def both() -> float:
        inside.wait(10)
        now = recorded.now
        inside.wait(10)
        return float(now)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: recorded.switch.alone(both)(), range(8))) == [1.0] * 8
    assert recorded.now == 4
    assert recorded.turns == [1, 4]


@pytest.mark.skipif(not JIT, reason="plain Python multiplies by NumPy")
def test_every_call_of_a_kernel_with_products_turns_it(monkeypatch, shared):
    recorded = Recorded()
    monkeypatch.setattr(route, "switch", lambda: recorded.switch)
    f, theta, inputs = network(), np.linspace(-1.0, 1.0, 50), (DATA[:300], LABELS[:300])
    calls = [lambda: f.flat(theta, *inputs), lambda: f.bind(*inputs)(theta), lambda: f.loss(*f.unpack(theta), *inputs)]
    calls += [lambda: result(f, 10), lambda: result(f, max(SIZES))]
    W = gc.array("W", (4, 4))
    whole = compile_grad(np.sum(W @ W), W)
    calls += [lambda: whole.bind()(np.ones(16)), lambda: whole(np.ones((4, 4)))]
    calls += [lambda: compile_grad(np.linalg.slogdet(W)[1], W)(np.eye(4))]
    for call in calls:
        recorded.turns.clear()
        call()
        assert recorded.turns == [1, 4]
    result(embedded(), 10)
    assert recorded.turns == [1, 4]  # no products


@pytest.mark.skipif(not JIT, reason="plain Python multiplies by NumPy")
def test_training_turns_it(monkeypatch):
    recorded = Recorded()
    monkeypatch.setattr(route, "switch", lambda: recorded.switch)
    f = network()
    start = f.unpack(np.linspace(-1.0, 1.0, 50))
    gc.sgd(f, start, [DATA[:40], LABELS[:40]], learning_rate=0.1, epochs=2, batch_size=8, progress=False)
    assert recorded.turns
    assert recorded.turns == [1, 4] * (len(recorded.turns) // 2)


@pytest.mark.skipif(switch() is None, reason="SciPy's BLAS is no OpenBLAS")
def test_scipys_blas_is_on_one_thread_during_calls_only():
    blas = switch()
    before = blas.read()
    blas.turn(2)
    try:
        assert blas.alone(lambda: blas.read())() == 1
        result(network(threads=2), max(SIZES))
        assert blas.read() == 2
        assert blas.calls == 0
    finally:
        blas.turn(before)


def test_an_interrupted_call_leaves_it_as_it_was(monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    f = network(threads=2)
    expected = result(f, max(SIZES))
    with monkeypatch.context() as patch:
        patch.setattr(Pool, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            result(f, max(SIZES))
    assert result(f, max(SIZES)) == expected
    assert switch() is None or switch().calls == 0


AFTER_FORK = """
import os, threading
import numpy as np
import gradcompile as gc
from gradcompile.runtime import share, threads
from gradcompile.runtime.switch import switch
share.TASK = share.WORTH = 1.0
share.processors = threads.processors = lambda: 4
X, w = gc.array("X", ("n", 3)), gc.array("w", (3,))
f = gc.compile_grad(np.mean(np.tanh(X @ w) ** 2), w)
data, theta = np.linspace(0.0, 1.0, 60_000).reshape(-1, 3), np.ones(3)
before = f.flat(theta, data)
inside, leave = threading.Event(), threading.Event()
blas = switch()
if blas is not None:
    blas.turn(2)
    waiting = threading.Thread(target=blas.alone(lambda: inside.set() or leave.wait(60)))
    waiting.start()
    inside.wait(60)
child = os.fork()
if child == 0:
    well = blas is None or blas.read() == 2
    found = f.flat(theta, data)
    os._exit(0 if well and found[0] == before[0] and (found[1] == before[1]).all() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
leave.set()
if blas is not None:
    waiting.join()
    assert blas.read() == 2
print("well")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_after_a_fork_while_another_thread_computes():
    out = subprocess.run([sys.executable, "-c", AFTER_FORK], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert out.stdout == "well\n", out.stderr
