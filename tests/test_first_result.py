"""Tapes and quick code before full code: the same bits, replaced between two calls, freed with its function."""

import gc
import subprocess
import sys
import weakref
from unittest.mock import Mock

import numpy as np
import pytest
import sympy as sp

from gradcompile import array, compile_grad, compiled
from gradcompile import codegen as native
from gradcompile.codegen import builtin, frame, statements, target
from gradcompile.codegen import functions as jit
from gradcompile.loops import tape

pytestmark = [
    pytest.mark.skipif(target.is_disabled(), reason="there is no machine code"),
    pytest.mark.skipif(not builtin.HAS_TICKS, reason="full code is made at once here"),
]
a, b, c, x, y = sp.symbols("a b c x y")
RNG = np.random.default_rng(0)
XS, YS = RNG.normal(size=2600), RNG.normal(size=2600)
LOSSES = {
    "sums": ((a * sp.exp(-b * x) + sp.sin(c * x) - y) ** 2, "float64"),
    "branches": (sp.Piecewise((a * x, x > 0), (sp.tanh(b * x), True)) + sp.cos(1e6 * c * x) * sp.Abs(y), "float64"),
    "single": ((a * sp.exp(-b * x) + c - y) ** 2, "float32"),
    "numbers": (a * sp.exp(-b) + sp.sin(c) * sp.log(1 + a**2) + sp.tan(1e5 * c), None),
}


@pytest.fixture(autouse=True)
def taped(monkeypatch):
    """All kernels that may have a tape have one."""
    monkeypatch.setattr(compiled, "tape_of", tape.tape_of)


def both(loss, dtype):
    """A compiled function, a call of it, and how to have its full code."""
    if dtype is None:
        f = compile_grad(loss, [a, b, c], cache=False)
        return f, lambda n: f(0.7, 0.3, 0.5)
    f = compile_grad(loss, [a, b, c], data=[x, y], dtype=dtype, cache=False)
    columns = XS.astype(dtype), YS.astype(dtype)
    return f, lambda n: f(0.7, 0.3, 0.5, *(v[:n] for v in columns))


@pytest.mark.parametrize("name", LOSSES)
def test_quick_code_has_the_bits_of_full_code(name):
    f, call = both(*LOSSES[name])
    sizes = (1, 7, 31, 200, 1024, 2600)
    quick = [call(n) for n in sizes]
    codes = list(f._route.kernel.codes.values())
    assert codes and all(code.first.is_quick for code in codes)
    assert all(bool(code.linked) == (name == "single") for code in codes)  # others are tapes
    for code in codes:
        code.target.left = -1  # the time of quick code is spent
    full = [call(n) for n in sizes]
    assert all(code.target.left == 0 and not code.linked[-1].given.is_quick for code in codes)
    for (one, slopes), (other, found) in zip(quick, full, strict=True):
        assert np.array([one, *slopes]).tobytes() == np.array([other, *found]).tobytes()


def test_what_is_bound_goes_on_with_full_code():
    f, call = both(3 * LOSSES["numbers"][0], None)  # none that another test has made full code of
    bound, theta = f.bind(), np.array([0.7, 0.3, 0.5])
    first = bound(theta)
    (code,) = f._route.kernel.codes.values()
    code.target.left = -1
    assert bound(theta)[0] == first[0] == call(0)[0]
    assert len(code.linked) == 1


def test_time_in_quick_code_is_counted(monkeypatch):
    monkeypatch.setattr(jit, "PATIENCE", 1000)
    monkeypatch.setattr(tape, "MAKING", 0)
    f, call = both(3 * LOSSES["sums"][0], "float64")
    call(2600)
    (code,) = f._route.kernel.codes.values()
    assert code.target.left == -1
    call(2600)
    assert code.target.left == 0


def test_full_code_is_made_once_though_a_call_in_quick_code_ends_later():
    f, call = both(7 * LOSSES["sums"][0], "float64")
    first = call(10)
    (code,) = f._route.kernel.codes.values()
    for _ in range(2):
        code.target.left = -1  # as such a call leaves it
        assert call(10) == first
    assert code.target.left == 0 and len(code.linked) == 1


def test_passes_that_threads_share_have_quick_code_first(monkeypatch):
    made, take = {}, jit.Code.take

    def noted(code, given):
        made.setdefault(code, []).append(given.is_quick)
        take(code, given)

    monkeypatch.setattr(jit.Code, "take", noted)
    f = compile_grad(11 * LOSSES["sums"][0], [a, b, c], data=[x, y], threads=2, cache=False)
    columns = np.tile(XS, 100), np.tile(YS, 100)
    first = f(0.7, 0.3, 0.5, *columns)
    passes = [code for code in made if code.of.lowered_from.__module__.startswith("gc_")]
    assert passes and all(made[code] == [True] for code in passes)
    for code in passes:
        code.target.left = -1
    assert f(0.7, 0.3, 0.5, *columns) == first
    assert all(made[code] == [True, False] for code in passes)


def test_quick_code_stays_where_full_code_can_not_be_made_now(monkeypatch):
    f, call = both(9 * LOSSES["numbers"][0], None)
    first = call(0)
    (code,) = f._route.kernel.codes.values()
    for error in (MemoryError, RecursionError, KeyboardInterrupt):
        with monkeypatch.context() as patch:
            patch.setattr(jit, "_machine_code", Mock(side_effect=error))
            code.target.left = -1
            if error is KeyboardInterrupt:
                with pytest.raises(error):
                    call(0)
            else:
                assert call(0) == first and code.target.left > jit.PATIENCE / 2
    assert call(0) == first and code.target.left == 0  # what was interrupted is due


def solved():
    m, v = array("m", (3, 3)), array("v", (3,))
    f = compile_grad(np.linalg.solve(m, v).sum(), [m, v], cache=False)
    return f, (np.eye(3) + 0.1, np.ones(3))


def chained():
    t = sp.symbols("t:12")
    loss = value = t[0]
    for other in t[1:]:
        value = sp.sin(value + other)
        loss += (value - other) ** 2
    return compile_grad(loss, t, cache=False), (0.3,) * 12


@pytest.mark.parametrize(("made", "is_first", "is_full"), [(solved, True, False), (chained, False, True)])
def test_full_code_replaces_what_takes_memory_where_it_does_not(made, is_first, is_full, monkeypatch):
    if is_full:  # in pieces, which share more values than there is room for
        for owner, name, least in ((statements, "WHOLE", 10), (statements, "PIECE", 10), (frame, "STACK", 128)):
            monkeypatch.setattr(owner, name, least)
    f, args = made()
    first = f(*args)
    (code,) = f._route.kernel.codes.values()
    takes = is_first and native.lower(code.of.lowered_from, code.kinds, jit.library).fails
    assert takes == is_first and native.lower(code.of.lowered_from, code.kinds).fails == is_full
    code.target.left = -1
    assert np.array_equal(f(*args)[0], first[0]) and code.target.left == 0
    assert not code.linked[-1].given.is_quick and code.linked[-1].given.fails


def test_an_error_of_the_compiler_is_not_hidden(monkeypatch):
    f, call = both(13 * LOSSES["numbers"][0], None)
    call(0)
    (code,) = f._route.kernel.codes.values()
    monkeypatch.setattr(jit, "_machine_code", Mock(side_effect=AssertionError))
    code.target.left = -1
    with pytest.raises(AssertionError):
        call(0)


def test_machine_code_text_and_module_go_with_their_function():
    f, call = both(5 * LOSSES["sums"][0], "float64")
    call(10)
    bound = f.bind(XS[:10], YS[:10])
    kept = [weakref.ref(f._module), *map(weakref.ref, f._route.kernel.codes.values())]
    name = f._module.__name__
    del f, call
    gc.collect()
    assert bound(np.ones(3))[0] > 0  # what is bound keeps its code
    assert kept[1]() is not None
    del bound
    gc.collect()
    assert [ref() for ref in kept] == [None, None] and name not in jit.modules


NO_NUMBA = """
import sys, numpy as np, sympy as sp
from gradcompile import array, compile_grad, compile_hessian
a, b, x = sp.symbols("a b x")
f = compile_grad((a*sp.exp(-b*x) + sp.gamma(a))**2, [a, b], data=[x])
f(1.0, 2.0, np.ones(9)), f.bind(np.ones(9))(np.ones(2))
g = compile_grad(a*b, [a, b])
g(1.0, 2.0), g.bind()(np.ones(2)), compile_hessian(a*b, [a, b])(1.0, 2.0)
X, w = array("X", ("n", 3)), array("w", 3)
compile_grad(np.mean(np.tanh(X @ w)), [w])(np.ones(3), np.ones((4, 3)))
Y, V = array("Y", ("n", 90)), array("V", (90, 90))
h = compile_grad(np.sum(np.cumsum(np.tanh(Y), axis=0) @ V), [V])
h(np.ones((90, 90)), np.ones((40, 90)))
assert "malloc" in str([c.linked[0].given.needs for c in h._route.kernel.codes.values()])  # it takes memory
print("numba" in sys.modules)
"""


def test_nothing_of_numba_is_loaded():
    found = subprocess.run([sys.executable, "-c", NO_NUMBA], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
