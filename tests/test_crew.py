"""Large products in parts: how they are cut, who takes them, and that the bits do not depend on it."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import gradcompile as gc
from gradcompile.codegen import functions as jit
from gradcompile.codegen import parallel_gemm, tiles
from gradcompile.codegen.target import PREFIX
from gradcompile.library import blas
from gradcompile.runtime import helpers as crew
from gradcompile.runtime import share
from gradcompile.runtime.switch import switch

pytestmark = [
    pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="plain Python multiplies by NumPy"),
    pytest.mark.skipif(switch() is None, reason="SciPy's BLAS is no OpenBLAS"),
]
ROOT = Path(__file__).resolve().parent.parent
RANDOM = np.random.default_rng(3)
TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)


@pytest.fixture(autouse=True)
def helped(monkeypatch):
    """Every call has as many helpers as it may."""
    for name in ("HELPED", "WORTH"):
        monkeypatch.setattr(share, name, 1.0)
    monkeypatch.setattr(share, "processors", lambda: 8)


def address(name: str) -> int:
    """Where a routine is."""
    from llvmlite import binding

    blas.connect_blas()
    return binding.address_of_symbol(PREFIX + name)


# ---- the team


def shared(task, count: int) -> None:
    """Share calls of a Python function."""
    called = TASK(lambda _, k: task(k))
    ctypes.CFUNCTYPE(None, TASK, ctypes.c_void_p, ctypes.c_int64)(address("share"))(called, None, count)


@pytest.fixture
def crowd():
    """A crew with three helpers that serve while a test runs, BLAS on one thread."""
    blas.connect_blas()
    made = crew.HelperPool()
    has_helpers = made.enter(3)
    switch().enter()
    yield made
    switch().leave()
    made.leave(has_helpers)


def test_without_a_team_the_caller_does_all_in_order():
    done = []
    jobs = crew.crew.jobs
    shared(lambda k: done.append((k, threading.get_ident())), 5)
    assert done == [(k, threading.get_ident()) for k in range(5)]
    assert crew.crew.jobs == jobs


@pytest.mark.parametrize("count", [1, 2, 3, 16, 1000])
def test_every_part_is_done_once_before_share_returns(crowd, count):
    for _ in range(max(3, 300 // count)):
        done = []
        shared(done.append, count)
        assert sorted(done) == list(range(count))


def test_helpers_take_parts(crowd):
    takers = Counter()

    def slow(_: int) -> None:
        time.sleep(0.001)
        takers[threading.get_ident()] += 1

    end = time.monotonic() + 60
    while len(takers) < 4 and time.monotonic() < end:
        shared(slow, 16)
    assert len(takers) >= 4  # helpers of an earlier test may still be awake


def test_a_part_that_shares_does_all_of_that_itself(crowd):
    inner = []

    def outer(_: int) -> None:
        here = threading.get_ident()
        shared(lambda _: inner.append(threading.get_ident() == here), 3)

    shared(outer, 8)
    assert inner == [True] * 24


def test_other_threads_do_not_get_the_team(crowd):
    jobs = crowd.jobs
    with ThreadPoolExecutor(1) as pool:
        done = []
        pool.submit(shared, done.append, 4).result()
    assert (done, crowd.jobs) == ([0, 1, 2, 3], jobs)


def test_helpers_sleep_when_there_is_nothing_to_do(crowd):
    shared(lambda _: None, 4)
    crowd.leave(True)
    try:
        end = time.monotonic() + 60
        while not all(m.is_asleep for m in crowd.members) and time.monotonic() < end:
            time.sleep(0.001)
        assert all(m.is_asleep for m in crowd.members)
    finally:
        assert crowd.enter(3)


def test_each_call_without_helpers_takes_the_processor_of_one(crowd):
    limits = [crowd.words[parallel_gemm.LIMIT]]
    assert not crowd.enter(3)
    limits.append(crowd.words[parallel_gemm.LIMIT])
    crowd.leave(False)
    limits.append(crowd.words[parallel_gemm.LIMIT])
    assert limits == [3, 2, 3]


# ---- products

PRODUCTS = '''
from gradcompile.codegen.functions import jit
from gradcompile.library.blas import connect_blas

connect_blas()

@jit
def plain(out, a, b):
    """out = a @ b."""
    out[:, :] = a @ b

@jit
def added(out, a, b):
    """out += a @ b, of matrices by columns."""
    out[:, :] += a.T @ b.T

@jit
def taken(out, a, b):
    """A matrix by columns, less a product."""
    out.T[:, :] -= a.T @ b
'''
SHAPES = [
    (32, 784, 128), (48, 500, 300), (128, 300, 128), (300, 128, 128), (784, 32, 128), (20, 500, 300), (7, 700, 300),
    (500, 500, 3), (3, 500, 500), (65, 57, 531), (60, 30, 1300), (81, 81, 81), (80, 80, 80), (40, 1000, 40),
]  # fmt: skip


def multiplied(form: str, shape: tuple[int, int, int], dtype: str, make=np.ascontiguousarray):
    """The operands of one of these functions, what it should give, and how far off it may be."""
    rows, inner, columns = shape
    a, b, c = (RANDOM.normal(size=s).astype(dtype) for s in ((rows, inner), (inner, columns), (rows, columns)))
    wanted = {"plain": a @ b, "added": c + a @ b, "taken": c - a @ b}[form]
    given = {"plain": (c, a, b), "added": (c, a.T, b.T), "taken": (c.T, a.T, b)}[form]
    return [make(v) for v in given], wanted if form != "taken" else wanted.T, inner * np.finfo(dtype).eps * 8


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("form", ["plain", "added", "taken"])
@pytest.mark.parametrize("by", ["BLAS", "tiles"])
def test_products_in_parts(by, form, dtype, crowd, monkeypatch):
    monkeypatch.setattr(tiles, "is_better", lambda *_: by == "tiles")
    f = getattr(jit.load(f"{PRODUCTS}\n# by {by}", cache=False), form)
    jobs = crowd.jobs
    for shape in SHAPES:
        (out, a, b), wanted, error = multiplied(form, shape, dtype)
        alone = out.copy()
        f(out, a, b)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(f, alone, a, b).result()
        assert alone.tobytes() == out.tobytes(), shape
        assert np.allclose(out, wanted, rtol=error, atol=error), shape
    assert crowd.jobs - jobs == len([s for s in SHAPES if np.prod(s) >= parallel_gemm.WORTH])


def test_small_products_are_not_cut(crowd):
    f, jobs = jit.load(PRODUCTS, cache=False).plain, crowd.jobs
    for shape in ((80, 80, 80), (0, 1000, 1000), (1000, 0, 1000), (1000, 1000, 0), (5, 5, 5)):
        (out, a, b), wanted, _ = multiplied("plain", shape, "float64")
        f(out, a, b)
        assert np.allclose(out, wanted)
    assert crowd.jobs == jobs


# ---- calls


def network(dtype: str, wide: int = 256, **options):
    """A network on pictures."""
    X, t = gc.array("X", ("n", 100), dtype), gc.array("t", "n", "int64")
    W, b, V = gc.array("W", (100, wide), dtype), gc.array("b", wide, dtype), gc.array("V", (wide, 10), dtype)
    return gc.compile_grad(gc.mean(gc.cross_entropy(gc.relu(X @ W + b) @ V, t)), [W, b, V], inputs=[X, t], **options)


def start(f, n: int):
    """Parameters and inputs."""
    random = np.random.default_rng(n)
    theta = (0.1 * random.normal(size=f.size)).astype(f.dtype)
    return theta, (random.normal(size=(n, 100)).astype(f.dtype), random.integers(0, 10, n))


def bits(f, n: int) -> bytes:
    """What f gives for so many samples."""
    theta, inputs = start(f, n)
    loss, grad = f.flat(theta, *inputs)
    return np.float64(loss).tobytes() + grad.tobytes()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_same_bits_for_any_number_of_threads(dtype):
    alone, jobs = network(dtype, threads=1), crew.crew.jobs
    expected = {n: bits(alone, n) for n in (32, 33, 100, 500)}
    assert crew.crew.jobs == jobs
    for threads in (2, 3, None):
        f = network(dtype, threads=threads)
        for _ in range(20):
            assert {n: bits(f, n) for n in expected} == expected
    assert crew.crew.jobs > jobs


def test_every_way_to_call():
    f, alone = network("float64", threads=2), network("float64", threads=1)
    theta, inputs = start(f, 200)
    expected = alone.flat(theta, *inputs)
    for call in (lambda: f.flat(theta, *inputs), lambda: f.bind(*inputs)(theta)):
        jobs = crew.crew.jobs
        loss, grad = call()
        assert (loss, grad.tobytes()) == (expected[0], expected[1].tobytes())
        assert crew.crew.jobs > jobs
    assert f.loss(*f.unpack(theta), *inputs) == alone.loss(*f.unpack(theta), *inputs)


def test_many_threads_call_one_function():
    f = network("float32")
    expected = bits(f, 128)
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda _: bits(f, 128), range(200))) == {expected}
    assert (crew.crew.calls, crew.crew.is_busy, crew.crew.words[parallel_gemm.OWNER]) == (0, False, 0)


def test_inside_compiled_code_a_kernel_is_serial():
    import numba

    f = network("float64")

    @numba.njit(nogil=True)
    def twice(kernel, theta, grad, X, t):
        return kernel(theta, grad, X, t) + kernel(theta, grad, X, t)

    theta, inputs = start(f, 100)
    loss, grad = f.flat(theta, *inputs)
    jobs, own = crew.crew.jobs, np.empty_like(theta)
    assert twice(f.kernel, theta, own, *inputs) == 2 * loss
    assert own.tobytes() == grad.tobytes()
    assert crew.crew.jobs == jobs


def test_training_has_helpers():
    found = []
    for threads in (1, 2):
        f, jobs = network("float64", threads=threads), crew.crew.jobs
        theta, inputs = start(f, 256)
        options = {"learning_rate": 0.1, "epochs": 3, "batch_size": 128, "progress": False}
        fit = gc.sgd(f, f.unpack(theta), list(inputs), **options)
        found.append([p.tobytes() for p in fit.params])
        assert (crew.crew.jobs > jobs) == (threads == 2)
    assert found[0] == found[1]


def test_a_call_with_nothing_to_share_is_the_last_that_has_helpers():
    f, entered = network("float64", wide=8), []
    theta, inputs = start(f, 100)
    fun = f.bind(*inputs)
    enter = crew.crew.enter
    crew.crew.enter = lambda helpers: entered.append(helpers) or enter(helpers)
    try:
        for _ in range(3):
            fun(theta)
            f.flat(theta, *inputs)
    finally:
        del crew.crew.enter
    assert len(entered) == 1


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_the_helpers_are_free_after_an_exception(kind):
    def fail() -> float:
        raise kind

    with pytest.raises(kind):
        crew.Helped(fail, 1, lambda: None)()
    assert (crew.crew.calls, crew.crew.is_busy, crew.crew.words[parallel_gemm.OWNER]) == (0, False, 0)


AFTER_FORK = """
import os, threading
import numpy as np
import gradcompile as gc
from gradcompile.runtime import helpers as crew, share
share.HELPED, share.processors = 1.0, lambda: 4
X, W = gc.array("X", ("n", 300)), gc.array("W", (300, 300))
f = gc.compile_grad(np.mean(np.tanh(X @ W) ** 2), W)
data, theta = np.linspace(0.0, 1.0, 60_000).reshape(-1, 300), np.linspace(-0.1, 0.1, 90_000)
before = f.flat(theta, data)
stop = threading.Event()

def busy():
    while not stop.is_set():
        f.flat(theta, data)

threads = [threading.Thread(target=busy) for _ in range(2)]
for t in threads:
    t.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        found = [f.flat(theta, data) for _ in range(5)]
        same = all(loss == before[0] and (grad == before[1]).all() for loss, grad in found)
        os._exit(0 if same and crew.crew.jobs > 0 and crew.crew.calls == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
for t in threads:
    t.join()
print("well")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_after_a_fork_while_other_threads_compute():
    out = subprocess.run([sys.executable, "-c", AFTER_FORK], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert out.stdout == "well\n", out.stderr


def test_a_saved_file_gives_the_same_bits(tmp_path):
    f = network("float32")
    theta, inputs = start(f, 100)
    loss, grad = f.flat(theta, *inputs)
    f.save(tmp_path / "saved.py")
    for name, value in {"theta": theta, "X": inputs[0], "t": inputs[1], "grad": grad}.items():
        np.save(tmp_path / f"{name}.npy", value)
    code = (
        "import numpy as np, saved; theta, X, t, grad = (np.load(f'{k}.npy') for k in ('theta', 'X', 't', 'grad'))\n"
        "own = np.empty_like(theta); loss = saved.kernel(theta, own, X, t)\n"
        "assert own.tobytes() == grad.tobytes(); print(float(loss))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert out.stdout == f"{loss}\n", out.stderr
