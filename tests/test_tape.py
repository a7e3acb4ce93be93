"""Tapes: what runs before machine code has its bits, for whatever a kernel of scalars is made of."""

import threading
from itertools import islice

import numpy as np
import pytest
import sympy as sp

from gradcompile import compile_grad, compile_hessian, compile_jacobian, compile_many, compile_value
from gradcompile.codegen import builtin, target
from gradcompile.codegen import functions as jit
from gradcompile.codegen.tape import LANES, MOST
from gradcompile.library import sums
from gradcompile.loops import tape

pytestmark = pytest.mark.skipif(target.is_disabled() or not builtin.HAS_TICKS, reason="there is no first tier")
a, b, c, x, y = sp.symbols("a b c x y")
RNG = np.random.default_rng(3)
XS, YS = RNG.normal(size=(2, 2500))
POINT = (0.7, -0.3, 1.9)
SUMS = [a * x - y, sp.exp(-b * x) - sp.log(1 + (c * y) ** 2), sp.Max(a * x, b, y) * sp.Abs(x - c), sp.tanh(a * x) ** 3,
        sp.Piecewise((sp.sqrt(1 + a * x**2), (x > b) & (y < 0)), (sp.sin(c * x), sp.Or(x > c, y > 1)), (b * y, True)),
        (a * sp.cos(1e5 * x) - sp.erf(b * y) / (c + x**2)) ** 2, sp.sign(x) * a + sp.floor(y) * b]  # fmt: skip


@pytest.fixture(autouse=True)
def taped(monkeypatch):
    """All kernels that may have a tape have one."""
    from gradcompile import compiled

    monkeypatch.setattr(compiled, "tape_of", tape.tape_of)


def codes(f):
    """The machine code of a function's kernel, which has none of its own so far."""
    assert isinstance(f._route.kernel, jit.Taped)
    found = list(f._route.kernel.codes.values())
    assert found and not any(code.linked for code in found)
    return found


def bits(found):
    """The bytes of numbers, tuples of numbers, arrays; NaN is NaN, whichever operand it was."""
    if isinstance(found, tuple | list):
        return [bits(v) for v in found]
    return np.where(np.isnan(found), np.nan, np.asarray(found, float)).tobytes()


def agree(f, *calls):
    """Whether all calls give the same bits before and after there is machine code."""
    first = [bits(f(*args)) for args in calls]
    for code in codes(f):
        code.ready()
        assert code.linked
    return first == [bits(f(*args)) for args in calls]


def test_sums_over_samples():
    whole = sum(k * s for k, s in enumerate(SUMS, 1))
    f = compile_grad(whole**2 + whole, [a, b, c], data=[x, y], cache=False)
    sizes = (1, 8, 31, 32, 33, 200, 1023, 1025, 2500)
    assert agree(f, *((*POINT, XS[:n], YS[:n]) for n in sizes), (*POINT, np.array([np.nan, np.inf, -0.0]), YS[:3]))


def test_sums_of_which_others_need_the_totals():
    from gradcompile import mean

    spread = mean((a * x - mean(a * x)) ** 2) + sp.log(mean(sp.exp(b * x)))
    assert agree(compile_grad(spread, [a, b], data=[x], cache=False), (0.7, -0.3, XS), (0.7, -0.3, XS[:40]))


@pytest.mark.parametrize("make", [
    lambda e: compile_value(e, [a, b, c], cache=False), lambda e: compile_grad(e, [a, b, c], cache=False),
    lambda e: compile_hessian(e, [a, b, c], cache=False),
    lambda e: compile_jacobian([e, a * b, e**2], [a, b, c], cache=False),
])  # fmt: skip
def test_numbers(make):
    whole = sum(s.subs({x: a + b, y: b * c}) for s in SUMS[1:]) + sp.acos(sp.tanh(a)) * sp.gamma(2)
    points = [POINT, (1e200, 1e-200, 3.0), (0.0, -0.0, np.inf), (np.nan, 1.0, 2.0)]
    assert agree(make(whole), *points)


def test_many_sums_take_memory():
    losses = [(k * s + a * b * c) ** 2 for k in range(1, 4) for s in SUMS]
    m = compile_many(losses, [a, b, c], data=[x, y], cache=False)
    m(*POINT, XS, YS)
    (code,) = codes(m)
    assert code.first.fails and m._route.kernel.words[0] > MOST
    assert agree(m, (*POINT, XS[:500], YS[:500]))


def test_columns_of_any_stride_go_without():
    f = compile_grad((a * x - y) ** 2, [a], data=[x, y], cache=False)
    big = np.ones((300_000, 2))
    assert f(2.0, XS, YS)[0] == f(2.0, np.repeat(XS, 2)[::2], YS)[0]
    assert f(2.0, big[:, 0], big[:, 1])[0] == 1.0


def test_sizes_are_those_of_the_sums():
    assert (tape.LEVELS, tape.SPAN) == (sums.LEVELS, sums.SPAN) and sums.SPAN % LANES == 0


def test_threads_meet_the_change_to_machine_code():
    f = compile_grad(sum(SUMS[:4]) ** 2 + 17, [a, b, c], data=[x, y], cache=False, threads=1)
    args = (*POINT, XS[:300], YS[:300])
    first, wrong = bits(f(*args)), []
    (code,) = codes(f)
    start = threading.Barrier(4)

    def call():
        start.wait()
        wrong.extend(k for k in range(2000) if bits(f(*args)) != first)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for t in threads:
        t.start()
    code.target.left = -1
    for t in threads:
        t.join()
    assert not wrong and len(code.linked) == 1


def test_what_no_step_does_has_machine_code():
    f = compile_grad(sp.gamma(a) * b, [a, b], cache=False)  # SciPy's
    assert f(3.0, 2.0)[0] == 4.0 and not isinstance(f._route.kernel, jit.Taped)
    assert next(islice(f._route.kernel.codes.values(), 1)) is not None


def test_powers_of_many_factors_take_no_time():
    """The products that a whole power is made of share their parts, and are looked at once."""
    for e in (a ** -(2**31) * b, b * x / a ** (2**40), a ** (2**31) * b * x):
        f = compile_grad(e + a, [a, b], data=[x] if x in e.free_symbols else [], cache=False)
        assert np.isfinite(f(1.0, 2.0, *([XS] if x in e.free_symbols else []))[0])
