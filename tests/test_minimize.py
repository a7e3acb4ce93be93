"""`minimize`: known minima by each method, with and without bounds, the bits of one evaluation at a time, ends."""

import numpy as np
import pytest
import sympy as sp
from scipy import optimize

import gradcompile as gc
from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.optim import losses
from tests.problems import PROBLEMS

METHODS = ("L-BFGS", "BFGS", "Newton-CG", "trust-exact")
X = gc.array("x", (10,))
START = np.tile([-1.2, 1.0], 5)


@pytest.fixture(scope="module")
def rosenbrock():
    """Rosenbrock's function of ten parameters."""
    return gc.compile_grad(np.sum(100 * (X[1:] - X[:-1] ** 2) ** 2 + (1 - X[:-1]) ** 2), [X])


@pytest.mark.parametrize("method", ["L-BFGS", "BFGS"])
def test_between_bounds_a_search_ends_at_the_tolerance(rosenbrock, method):
    """Steps within rounding of the loss are judged by their slopes; slopes that bounds hold are none of the model's."""
    for bounds in [[(-1.0, 0.5)] * 10, *(np.sort(np.random.default_rng(k).normal(size=(10, 2))) for k in range(12))]:
        found = gc.minimize(rosenbrock, np.zeros(10), bounds=bounds, method=method, limit=200)
        assert found.success, found.message
        lower, upper = np.transpose(np.asarray(bounds, float))
        free = (found.x > lower) & (found.x < upper)
        assert abs(found.jac[free]).max(initial=0.0) <= 1e-8
        assert (found.jac[found.x == lower] >= -1e-8).all() and (found.jac[found.x == upper] <= 1e-8).all()


def test_no_parameter_to_move_is_a_minimum():
    empty = gc.array("empty", (0,))
    found = gc.minimize(gc.compile_grad(np.sum(empty**2), [empty]), [np.zeros(0)])
    assert found.success and found.fun == 0.0


def test_bounds_without_a_number_between_are_named(rosenbrock):
    for pair in ((1.0, 0.0), (np.nan, 1.0)):
        with pytest.raises(ArgumentError, match=f"bounds of x: {pair[0]} to {pair[1]} holds no number"):
            gc.minimize(rosenbrock, np.zeros(10), bounds=[(None, None)] * 9 + [pair])


@pytest.mark.parametrize("method", ["L-BFGS", "Newton-CG"])
@pytest.mark.parametrize("bounds", [None, [(None, None)] * 4 + [(0.2, 0.8)] + [(-1.5, 0.9)] * 5, [(1.1, 2.0)] * 10])
def test_minima_of_scipy(rosenbrock, bounds, method):
    """The same minimum, in the form of the start; a parameter on its bound has a slope that presses it there."""
    found = gc.minimize(rosenbrock, START, bounds=bounds, method=method)
    bound = rosenbrock.bind()
    expected = optimize.minimize(
        bound.value_and_grad, START, jac=True, method="L-BFGS-B", bounds=bounds, options={"gtol": 1e-9, "ftol": 0}
    )
    assert found.success, found.message
    assert found.fun == pytest.approx(expected.fun, rel=1e-10, abs=1e-14)
    np.testing.assert_allclose(found.x, expected.x, atol=1e-7)
    assert found.nfev < 2 * expected.nfev
    lower, upper = np.array([(-np.inf, np.inf)] * 10 if bounds is None else bounds, float).T
    free = (found.x > np.nan_to_num(lower, nan=-np.inf)) & (found.x < np.nan_to_num(upper, nan=np.inf))
    assert abs(found.jac[free]).max(initial=0.0) < 1e-7


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_known_minima(problem):
    """More, Garbow and Hillstrom's problems from their starts: each method ends at a minimum, and says so."""
    f = gc.compile_grad(problem.loss, problem.symbols)
    for method in METHODS:
        found = gc.minimize(f, problem.start, method=method)
        assert found.success, (method, found.message)
        assert any(found.fun == pytest.approx(v, rel=1e-5, abs=2e-9) for v in problem.minima), (method, found.fun)
        assert abs(np.array(found.jac)).max() <= 1e-5 * max(1.0, found.fun) and found.nfev < 700
    hess = np.array(f.hessian(*found.x)[2])
    assert np.linalg.eigvalsh(hess)[0] > -1e-6 * abs(hess).max()


@pytest.mark.parametrize("method", METHODS)
def test_bits_and_callbacks(rosenbrock, monkeypatch, method):
    """One evaluation at a time has the bits of the loop; a callback sees each step, and stops."""
    quick = gc.minimize(rosenbrock, START, method=method)
    with monkeypatch.context() as patch:
        patch.setattr(losses.Kernel, "loop", lambda *_: None)
        slow = gc.minimize(rosenbrock, START, method=method)
    np.testing.assert_array_equal(slow.x, quick.x)
    assert (slow.fun, slow.nfev, slow.nit, slow.nhev) == (quick.fun, quick.nfev, quick.nit, quick.nhev)
    seen = []
    gc.minimize(rosenbrock, START, method=method, callback=lambda r: seen.append(r.fun))
    assert len(seen) == quick.nit and seen == sorted(seen, reverse=True) and seen[-1] == quick.fun


def test_callbacks_stop(rosenbrock):
    """By what they return or raise, as a limit does; what was reached is returned, and goes on."""
    seen = []
    stopped = gc.minimize(rosenbrock, START, callback=lambda r: seen.append(r.fun) or len(seen) == 5)
    assert stopped.nit == 5 and not stopped.success and seen == sorted(seen, reverse=True)

    def interrupts(_):
        raise KeyboardInterrupt

    assert gc.minimize(rosenbrock, START, callback=interrupts).message == "interrupted"
    few = gc.minimize(rosenbrock, START, limit=7)
    assert few.nfev == 7 and not few.success and "limit" in few.message
    on = gc.minimize(rosenbrock, few.x)
    assert on.success and on.fun < 1e-14


def test_forms_and_ends():
    """Parameters and bounds by name, data, starts without a slope, losses that are not finite."""
    a, b, x, y = sp.symbols("a b x y")
    f = gc.compile_grad((a * sp.exp(-b * x) - y) ** 2, [a, b], data=[x, y])
    t = np.linspace(0.0, 4.0, 50)
    found = gc.minimize(f, {"a": 1.0, "b": 0.5}, {"x": t, "y": 2.5 * np.exp(-1.3 * t)}, bounds={"b": (None, 1.0)})
    assert found.success and found.x["b"] == 1.0 and found.jac["b"] < 0.0
    saddle = gc.compile_grad(a**2 - b**2, [a, b])
    assert not gc.minimize(saddle, [0.0, 0.0]).success
    assert not gc.minimize(saddle, [1.0, 1e-3]).success
    assert "not finite at the start" in gc.minimize(gc.compile_grad(sp.log(a), [a]), [-1.0]).message
    corner = gc.compile_grad(a + sp.sqrt(a), [a])  # with no number below 0, and a slope that rises without end
    for method in ("L-BFGS", "BFGS"):
        assert gc.minimize(corner, [3.0], method=method).fun < 1e-9
    held = gc.minimize(gc.compile_grad((a - 3) ** 2 + (b + 1) ** 2, [a, b]), [0, 0], bounds=optimize.Bounds([0, 0], 2))
    assert held.success and held.x == [2.0, 0.0]
    with pytest.raises(ArgumentError, match="no parameter -1"):
        gc.minimize(saddle, [0.0, 0.0], bounds={-1: (0, 1)})
    edge = gc.minimize(gc.compile_grad(a - sp.log(a), [a]), [30.0])
    assert edge.success and edge.x[0] == pytest.approx(1.0, abs=1e-7)
    for options, words in (({"method": "Powell"}, "choose 'L-BFGS'"), ({"bounds": {"c": (0, 1)}}, "no parameter 'c'")):
        with pytest.raises(ArgumentError, match=words):
            gc.minimize(saddle, [1.0, 1.0], **options)
    with pytest.raises(ArgumentTypeError, match="give a pair"):
        gc.minimize(saddle, [1.0, 1.0], bounds={"a": 1.0})
    with pytest.raises(ArgumentTypeError, match="give pairs"):
        gc.minimize(saddle, [1.0, 1.0], bounds=3)
    deep = gc.compile_grad((a - 3) ** 2 + (b + 1) ** 2 + x**2, {"layer": {"w": a, "v": b}, "c": x})
    start = {"layer": {"w": 1.0, "v": 1.0}, "c": 1.0}
    for bounds in (
        {"layer": (0.5, 2.0)},
        {"layer": {"w": (0, 2), "v": (0.5, None)}},
        {("layer", "w"): (None, 2), 1: (0.5, 9)},
    ):
        assert gc.minimize(deep, start, bounds=bounds).x["layer"] == {"w": 2.0, "v": 0.5}
    frame = np.rec.fromarrays([t, 2.5 * np.exp(-1.3 * t)], names="x,y")
    assert gc.minimize(f, [1.0, 0.5], frame, bounds=((0, 9) for _ in range(2))).x == pytest.approx([2.5, 1.3])
    with pytest.raises(ArgumentTypeError, match="compile_grad"):
        gc.minimize(lambda v: v, [1.0])


def test_losses_that_fall_for_ever():
    """They have no minimum: no success, however the fall ends; x is the lowest place that was seen."""
    a, b = sp.symbols("a b")
    for loss in (a + 0 * b, b**2 - a**2, -sp.exp(a), a**3 + a, sp.sqrt(1 + a**2) - 2 * a):
        f = gc.compile_grad(loss + b**2, [a, b])
        found = gc.minimize(f, [0.5, 1.5])
        assert not found.success and "falls" in found.message and np.isfinite(found.fun)
        assert found.fun <= f(0.5, 1.5)[0] and found.fun == f(*found.x)[0]
    steep = gc.compile_grad(1e8 * (a - 1) ** 2 + 1e-8 * (b - 2) ** 2, [a, b])
    assert gc.minimize(steep, [5.0, 50.0]).x == pytest.approx([1.0, 2.0])


def test_what_is_said_of_the_start():
    """A start that has no loss is given back; slopes whose squares overflow are slopes; a corner of bounds is one."""
    a, b, x = sp.symbols("a b x")
    bad = gc.minimize(gc.compile_grad(sp.log(a), [a]), {"a": -1.0})
    assert bad.x == {"a": -1.0} and np.isnan(bad.fun) and not bad.success
    assert np.isnan(gc.minimize(gc.compile_grad((a - x) ** 2, [a], data=[x]), [2.0], [np.array([1.0, np.nan])]).fun)
    f = gc.compile_grad(1e200 * (a - 3) ** 2 + (b + 1) ** 2, [a, b])
    assert gc.minimize(f, [9.0, 9.0]).x[0] == pytest.approx(3.0)
    corner = gc.minimize(f, [50.0, -80.0], bounds=[(0, 1), (0, 5)])
    assert corner.success and list(corner.x) == [1.0, 0.0] and "bounds hold" in corner.message
    assert gc.minimize(f, [3.0, -1.0]).success
    for options in ({"limit": 0}, {"limit": 1.5}, {"tolerance": np.nan}, {"tolerance": -1.0}, {"bounds": [(0, 1)]}):
        with pytest.raises(ArgumentError):
            gc.minimize(f, [1.0, 1.0], **options)


def test_a_loss_that_python_evaluates(rosenbrock):
    """The same loop, whoever evaluates: the same bits; its shapes say how theta is cut."""

    class Outside:
        """The loss behind a call of Python's."""

        def __init__(self):
            self.shapes = {"x": (10,)}

        def __call__(self, x):
            loss, grads = rosenbrock(x)
            return np.float64(loss), list(grads)

    slow, quick = gc.minimize(Outside(), {"x": START}), gc.minimize(rosenbrock, {"x": START})
    np.testing.assert_array_equal(slow.x["x"], quick.x["x"])
    assert slow.success and slow.nfev == quick.nfev and slow.message == quick.message
    with pytest.raises(ArgumentError, match="has its data"):
        gc.minimize(Outside(), START, [1.0])


def test_starts(rosenbrock):
    """Each search has the bits of one alone; the least is returned, with all."""
    random = np.random.default_rng(1)
    starts = random.normal(size=(6, 10))
    found = gc.minimize(rosenbrock, START, starts=starts)
    assert len(found.starts) == 7 and found.fun == min(r.fun for r in found.starts)
    for start, one in zip([START, *starts], found.starts, strict=True):
        np.testing.assert_array_equal(one.x, gc.minimize(rosenbrock, start).x)
    some = gc.minimize(rosenbrock, {"x": START}, starts={"x": starts[:2]}, method="trust-exact", bounds={"x": (0, 3)})
    assert some.success and all((r.x["x"] >= 0.0).all() for r in some.starts)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_minimum(method):
    """From saddles, maxima and inflections a search goes on; a plateau, and a fall for ever, are no success."""
    a, b = sp.symbols("a b")
    f = gc.compile_grad((a**2 - 1) ** 2 + (b**2 - 4) ** 2 * (1 + a**2 / 9), [a, b])
    for start in ([0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.7, 0.0]):
        found = gc.minimize(f, start, method=method)
        assert found.success and found.fun == pytest.approx(0.0, abs=1e-12), (start, found)
    assert not gc.minimize(gc.compile_grad(a**3 + b**2, [a, b]), [0.0, 1.0], method=method, limit=500).success
    quartic = gc.minimize(gc.compile_grad(a**4 + b**4 / 3, [a, b]), [1.0, 2.0], method=method)
    assert quartic.success and abs(np.array(quartic.x)).max() < 0.01
    flat = gc.minimize(gc.compile_grad(sp.Max(a, 0) + sp.Max(b, 0), [a, b]), [-1.0, -1.0], method=method)
    assert flat.success == (method == "trust-exact") or "neither slope" in flat.message


def test_minima_between_bounds():
    """Of losses that are not convex: no slope is left but where a bound holds it, by any method."""
    v, A, q = gc.array("v", (12,)), gc.array("A", (12, 12)), gc.array("q", (12,))
    f = gc.compile_grad(0.5 * v @ (A @ v) - q @ v + 0.05 * np.sum(v**4), [v], inputs=[A, q])
    rng = np.random.default_rng(3)
    for k in range(116):
        B = rng.normal(size=(12, 12))
        data, low = [B + B.T if k % 2 else B @ B.T / 12, 3 * rng.normal(size=12)], rng.normal(size=12) - 1
        high = low + 2 * abs(rng.normal(size=12))
        low[rng.random(12) < 0.3], high[rng.random(12) < 0.3] = -np.inf, np.inf
        start = np.clip(rng.normal(size=12), low, high)
        for method in ("L-BFGS", "Newton-CG", "trust-exact") if k % 23 == 0 else ():
            found = gc.minimize(f, start, data, method=method, bounds=optimize.Bounds(low, high))
            x, slope = np.array(found.x), np.array(found.jac)
            assert found.success and (x >= low).all() and (x <= high).all()
            assert np.where(x > low, slope, 0.0).max() < 1e-6 and np.where(x < high, slope, 0.0).min() > -1e-6


def test_infinite_slopes():
    """One that presses a parameter to its bound holds it there; one in the other direction is no minimum."""
    a, b = sp.symbols("a b")
    f = gc.compile_grad(a + sp.sqrt(a) + (b - 2) ** 2, [a, b])
    for method in ("L-BFGS", "Newton-CG"):
        found = gc.minimize(f, [1.0, 0.0], bounds={"a": (0, None)}, method=method)
        assert found.success and list(found.x) == pytest.approx([0.0, 2.0]) and found.jac[0] == np.inf
    down = gc.minimize(gc.compile_grad(a - sp.sqrt(a), [a]), [0.0], bounds=[(0, None)])
    assert not down.success and "not finite" in down.message


def test_methods_need_what_they_need(rosenbrock):
    """Second derivatives, and float64, as the cure of the refusal says."""
    a = sp.symbols("a")
    with pytest.raises(ArgumentTypeError, match="dtype='float64'"):
        gc.minimize(gc.compile_grad((a - 1) ** 2, [a], dtype="float32"), [0.0])
    assert gc.minimize(gc.compile_grad((a - 1) ** 2, [a], dtype="float64"), [0.0]).success

    def outside(x):
        return rosenbrock(x)

    outside.shapes = {"x": (10,)}
    assert gc.minimize(outside, [START], method="BFGS").success
    with pytest.raises(ArgumentError, match="need second derivatives"):
        gc.minimize(outside, [START], method="trust-exact")


def test_ends_before_it_began(rosenbrock):
    """Interrupted at the first evaluation the start is given back; one slope of many that is not finite is seen."""

    def interrupted(a):
        raise KeyboardInterrupt

    interrupted.shapes = {"a": (2,)}
    found = gc.minimize(interrupted, {"a": np.ones(2)}, method="bfgs")
    assert found.message == "interrupted" and np.isnan(found.fun) and list(found.x["a"]) == [1.0, 1.0]
    V = gc.array("v", (40,))
    edge = gc.minimize(gc.compile_grad(np.sum(V**2 - np.sqrt(V)), [V]), [np.where(np.arange(40) == 3, 0.0, 1.0)])
    assert "not finite at the start" in edge.message
    interrupted.shapes = {}
    for wrong, words in ((rosenbrock.loss, "got a CompiledValue"), (rosenbrock.hvp, "got a CompiledHvp")):
        with pytest.raises(ArgumentTypeError, match=words):
            gc.minimize(wrong, START)
    with pytest.raises(ArgumentError, match="is empty"):
        gc.minimize(interrupted, [])


def test_a_loss_in_single_precision_is_refused_with_a_cure_that_helps():
    """An array brings its dtype along, whatever `dtype=` says; a formula is compiled in it."""
    single = gc.array("single", (2,), dtype="float32")
    with pytest.raises(ArgumentTypeError, match="make its arrays with dtype='float64'"):
        gc.minimize(gc.compile_grad(np.sum(single**2), [single], dtype="float64"), [np.ones(2)])
    with pytest.raises(ArgumentTypeError, match="compile it with dtype='float64'"):
        gc.minimize(gc.compile_grad(sp.Symbol("a") ** 2, [sp.Symbol("a")], dtype="float32"), [1.0])
