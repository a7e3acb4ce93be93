"""Calls on several threads: the same bits for any number, and no thread left behind, whatever happens."""

import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

from gradcompile import compile_grad, compile_value, mean
from gradcompile.compiled import CompiledValue
from gradcompile.errors import ArgumentError
from gradcompile.gradient import CompiledGrad
from gradcompile.library.sums import SPAN
from gradcompile.runtime import share, threads
from gradcompile.runtime.share import Share
from gradcompile.runtime.threads import Pool

JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"
ROOT = Path(__file__).resolve().parent.parent
SIZES = (1, 7, 8, 1023, 1024, 1025, 10_000, 300_001) if JIT else (1, 1025, 3000)
a, b, x, y = sp.symbols("a b x y")
RANDOM = np.random.default_rng(1)
X, Y = RANDOM.normal(size=(2, max(SIZES)))


@pytest.fixture(autouse=True)
def shared(monkeypatch):
    """Every call of two spans or more is shared, by up to eight threads; the list of levels that were used."""
    used = []
    monkeypatch.setattr(share, "TASK", 1.0)
    monkeypatch.setattr(share, "WORTH", 1.0)
    for module in (share, threads):
        monkeypatch.setattr(module, "processors", lambda: 8)
    level = Share.level
    monkeypatch.setattr(Share, "level", lambda *args: used.append(level(*args)) or used[-1])
    return used


def one_pass(**options) -> CompiledGrad:
    return compile_grad((a * x + sp.sqrt(b * b + x * x) - y) ** 2, [a, b], data=[x, y], **options)


def two_passes(**options) -> CompiledGrad:
    scaled = (x - mean(x)) / sp.sqrt(mean((x - mean(x)) ** 2) + b)
    return compile_grad((a * scaled - y) ** 2, [a, b], data=[x, y], **options)


def single(**options) -> CompiledGrad:
    return one_pass(dtype="float32", **options)


def rows(**options) -> CompiledGrad:
    ws, xs = sp.symbols("w:3"), sp.symbols("x:3")
    error = sum(w * v for w, v in zip(ws, xs, strict=True)) - a * y
    return compile_grad(error**2, {"w": ws, "a": a}, data={"x": xs, "y": y}, **options)


def value(**options) -> CompiledValue:
    return compile_value(a * (x - mean(x)) - b * y, [a, b], data=[x, y], **options)


def result(f, n: int) -> bytes:
    """The bits of what f gives for so many samples."""
    columns = [v[:n].astype(f.dtype) for v in (X, Y)]
    if len(f.problem.params[0].leaf.type.shape) == 1:
        loss, grads = f([1.5, -0.2, 0.7], 0.3, np.column_stack([columns[0], columns[1], columns[0] ** 2]), columns[1])
        return np.array([loss, *grads.w, grads.a]).tobytes()
    found = f(1.5, 0.7, *columns)
    return found.tobytes() if isinstance(found, np.ndarray) else np.array([found[0], *found[1]]).tobytes()


@pytest.mark.parametrize("make", [one_pass, two_passes, single, rows, value])
def test_the_same_bits_for_any_number_of_threads(make, shared):
    alone = make(threads=1)
    expected = {n: result(alone, n) for n in SIZES}
    assert not shared
    for count in (2, 3, 8):
        f = make(threads=count)
        assert {n: result(f, n) for n in SIZES} == expected
    assert len(set(shared)) > (2 if JIT else 0)  # groups of several sizes


@pytest.mark.parametrize("level", range(6) if JIT else [0])
def test_the_same_bits_for_groups_of_any_size(level, monkeypatch):
    monkeypatch.setattr(Share, "level", lambda *_: level)
    monkeypatch.setattr(Share, "smallest", 1)
    f, alone = two_passes(threads=2), two_passes(threads=1)
    for n in [*SIZES, 4 * SPAN, 5 * SPAN + 1, 7 * SPAN - 1]:
        assert result(f, min(n, len(X))) == result(alone, min(n, len(X)))


def test_every_way_to_call(shared):
    f, alone = one_pass(), one_pass(threads=1)
    theta, out = np.array([1.5, 0.7]), np.empty(2)
    expected_loss, expected = alone.flat(theta, X, Y)
    assert not shared
    fun = f.bind(X, Y)
    for loss, grad in (f.flat(theta, X, Y), fun(theta), fun(theta, out=out), f(1.5, 0.7, X, Y, out=out)):
        assert (loss, grad.tobytes()) == (expected_loss, expected.tobytes())
    assert f.loss(1.5, 0.7, X, Y) == alone.loss(1.5, 0.7, X, Y)
    assert len(shared) == 5
    grad = np.empty(2)
    assert float(f.kernel(theta, grad, X, Y)) == expected_loss
    assert len(shared) == 5  # the kernel is serial


def test_small_work_stays_on_the_callers_thread(monkeypatch, shared):
    monkeypatch.undo()
    f = one_pass()
    own, *others = (g._route.work.share(1000, [X[:1000]] * 2, 1024) for g in (f, single(), two_passes(), value()))
    assert 50_000 < own.smallest < 1_000_000
    assert own.cost > max(s.cost for s in others)
    f(1.5, 0.7, X[:1000], Y[:1000])
    assert not shared


@pytest.mark.parametrize("cost", [0.1, 1.0, 30.0, 1e6])
@pytest.mark.parametrize("workers", [2, 3, 64])
def test_groups_are_worth_a_thread_and_not_too_long(monkeypatch, cost, workers):
    monkeypatch.undo()
    made = Share(cost, SPAN)
    for n in (made.smallest, 10**6, 10**9):
        group = SPAN << made.level(-(-n // SPAN), workers)
        assert group * cost >= share.TASK
        assert group * cost <= max(share.LONGEST, SPAN * cost)
        assert group * workers <= n or group == SPAN << made.least
        assert 2 * group <= n


def test_as_many_threads_as_have_enough_to_do(monkeypatch):
    monkeypatch.undo()
    for module in (share, threads):
        monkeypatch.setattr(module, "processors", lambda: 64)
    made = Share(1.0, SPAN)
    assert made.workers(made.smallest) == 2
    assert made.workers(10 * made.smallest) == 20
    assert made.workers(10**9) == 64
    assert Share(1.0, SPAN, 3).workers(10**9) == 3


@pytest.mark.parametrize("count", [0, -1, 2.0, True, "2"])
def test_threads_that_are_no_number(count):
    for make in (one_pass, value):
        with pytest.raises(ArgumentError, match="threads="):
            make(threads=count)


def test_many_threads_call_one_function(shared):
    f = one_pass(threads=3)
    expected = result(f, len(X))
    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(lambda _: result(f, len(X)), range(60))) == {expected}
    assert len(shared) == 61


def test_a_pickle_keeps_the_number_of_threads(shared):
    f = pickle.loads(pickle.dumps(one_pass(threads=2)))
    assert f.options.threads == 2
    assert result(f, len(X)) == result(one_pass(threads=1), len(X))
    assert shared


AFTER_FORK = """
import os, sys
import numpy as np, sympy as sp
from gradcompile import compile_grad
from gradcompile.runtime import share, threads
share.TASK = share.WORTH = 1.0
share.processors = threads.processors = lambda: 4
w, x = sp.symbols("w x")
f = compile_grad((w * x - 1)**2, w, data=[x], threads=4)
column = np.linspace(0.0, 1.0, 100_000)
before = f(2.0, column)
assert threads.pool.executor is not None
child = os.fork()
if child == 0:
    fresh = threads.pool.executor is None
    same = f(2.0, column) == before and threads.pool.executor is not None
    os._exit(0 if fresh and same else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert f(2.0, column) == before
print("well")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_after_a_fork():
    out = subprocess.run([sys.executable, "-c", AFTER_FORK], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert out.stdout == "well\n", out.stderr


AT_EXIT = """
import atexit
import numpy as np, sympy as sp
from gradcompile import compile_grad
from gradcompile.runtime import share, threads
share.TASK = share.WORTH = 1.0
share.processors = threads.processors = lambda: 4
w, x = sp.symbols("w x")
f = compile_grad((w * x - 1)**2, w, data=[x])
column = np.linspace(0.0, 1.0, 100_000)
before = f(2.0, column) if {first} else None
atexit.register(lambda: print("well" if before in (None, f(2.0, column)) else "wrong"))
"""


@pytest.mark.parametrize("first", [True, False])
def test_a_call_while_the_interpreter_ends(first):
    command = [sys.executable, "-c", AT_EXIT.format(first=first)]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (out.stdout, out.stderr) == ("well\n", "")


# ---- the pool


def test_every_task_runs_once():
    pool, done = Pool(), []
    pool.run(done.append, 1000, 4)
    assert sorted(done) == list(range(1000))


def test_a_call_ends_though_every_thread_is_busy():
    pool, release, done = Pool(), threading.Event(), []
    blocked = pool.submit(release.wait, 7)
    pool.run(done.append, 10, 8)
    assert done == list(range(10))
    release.set()
    assert all(f.result(timeout=10) for f in blocked)


def test_there_are_never_more_threads_than_processors():
    pool, lock, now, most = Pool(), threading.Lock(), [0], [0]

    def task(_: int) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.001)
        with lock:
            now[0] -= 1

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(lambda _: pool.run(task, 20, 8), range(12)))
    assert 4 <= most[0] <= 8 + 3  # callers that come while others' helpers are at work


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_exception_ends_the_call_when_no_task_runs_any_more(kind):
    pool, running, begun = Pool(), set(), threading.Barrier(3)

    def task(k: int) -> None:
        running.add(k)
        if k < 3:
            begun.wait(10)
        if threading.current_thread() is threading.main_thread():
            raise kind("stop")
        time.sleep(0.05)
        running.discard(k)

    with pytest.raises(kind, match="stop"):
        pool.run(task, 1000, 3)
    assert len(running) == 1  # the one that raised
    pool.run(lambda _: None, 10, 3)


def test_an_exception_in_another_thread_arrives():
    pool, begun = Pool(), threading.Barrier(2)

    def task(k: int) -> None:
        if k < 2:
            begun.wait(10)
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("elsewhere")
        time.sleep(0.001)

    with pytest.raises(ValueError, match="elsewhere"):
        pool.run(task, 10_000, 2)


def test_an_interruption_while_waiting_does_not_leave_tasks_behind(monkeypatch):
    pool, begun, finished = Pool(), threading.Barrier(2), []
    interruptions = iter([KeyboardInterrupt("first"), KeyboardInterrupt("second")])
    waiting = threads.Future.exception

    def exception(future):
        if (error := next(interruptions, None)) is not None:
            raise error
        return waiting(future)

    def task(k: int) -> None:
        begun.wait(10)
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.05)
            finished.append(k)

    monkeypatch.setattr(threads.Future, "exception", exception)
    with pytest.raises(KeyboardInterrupt, match="second"):
        pool.run(task, 2, 2)
    assert len(finished) == 1
