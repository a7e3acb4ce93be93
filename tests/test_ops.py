"""The op table against high precision: every value, every partial, every convention."""

import dataclasses
import math
import pickle

import mpmath
import numpy as np
import pytest

from gradcompile.analysis.evaluate import evaluate, exact
from gradcompile.diff import testing
from gradcompile.errors import GraphError
from gradcompile.ir.core import apply, const, leaf
from gradcompile.ir.graph import verify
from gradcompile.ir.types import ArrayType
from gradcompile.ops import OPS
from gradcompile.ops.algebra import partials
from gradcompile.ops.constant_index import Affine, Places, table, take
from gradcompile.ops.elementwise import SPECIAL

NUMERIC = [op for op in OPS.values() if op.domain and op.infer is OPS["add"].infer]
TRUTHS = [op for op in OPS.values() if op.infer is OPS["lt"].infer]
SMALLEST = {"besselj": 0.1, "bessely": 0.1}  # these oscillate: near a zero the error is that of numbers of this size
FLAT = {"sign", "floor", "ceil", "rint", "heaviside", "stop_gradient"}

CASES = [pytest.param(op, (k,), id=f"{op.name}[{k}]") for op in NUMERIC for k in op.orders]
CASES += [pytest.param(op, (), id=op.name) for op in NUMERIC if not op.orders]


def points(op, count=40):
    """Seeded points of the domain; where it spans 0, some of them are tiny."""
    rng = np.random.default_rng(len(op.name))
    count = count // 4 if op.orders else count  # slow in many digits
    rows = np.array([[rng.uniform(*interval) for interval in op.domain] for _ in range(count)])
    spans = np.array([low < 0 < high for low, high in op.domain])
    rows[::3] *= np.where(spans, 10.0 ** rng.uniform(-9, 0, (len(rows[::3]), 1)), 1.0)
    return [list(map(float, row)) for row in rows]


def graph(op, params):
    leaves = [leaf(f"x{k}") for k in range(len(op.domain))]
    return leaves, apply(op.name, *leaves, params=params)


def value_error(op, params, row):
    leaves, n = graph(op, params)
    env = dict(zip(leaves, row, strict=True))
    got, want = float(evaluate([n], env)[0]), exact([n], env)[0]
    with mpmath.workdps(50):
        floor = SMALLEST.get(op.name, 0.0)
        return float(abs(got - want) / np.spacing(floor)) if abs(want) < floor else testing.ulps(got, want)


def true_partial(op, params, row, k, digits=60):
    """The derivative in argument k by a central difference of so many digits."""
    return differences(op, params, row, k, digits)[0]


def differences(op, params, row, k, digits):
    """The derivative in argument k and the second one, by differences of so many digits."""
    leaves, n = graph(op, params)
    with mpmath.workdps(digits):
        step = mpmath.mpf(10) ** -(digits // 3)
        ends = []
        for s in (step, -step, 0):
            moved = [mpmath.mpf(v) + (s if j == k else 0) for j, v in enumerate(row)]
            ends.append(exact([n], dict(zip(leaves, moved, strict=True)), digits)[0])
        up, down, here = ends
        return (up - down) / (2 * step), (up - 2 * here + down) / step**2


def partial_error(op, params, row, k):
    """The error of a partial relative to max(1, |partial|)."""
    leaves, n = graph(op, params)
    rule = op.partials(n)[k]
    got = 0.0 if rule is None else float(evaluate([rule], dict(zip(leaves, row, strict=True)))[0])
    want = true_partial(op, params, row, k)
    return float(abs(got - want) / max(1, abs(want)))


@pytest.mark.parametrize(("op", "params"), CASES)
def test_value_is_within_its_bound(op, params):
    for row in points(op):
        assert value_error(op, params, row) <= op.ulps, row


LOSES = {"tanh"}  # docs/limits.md says why
SETTLED = 700  # digits that show how far from its limit a function is


def far_points(op):
    """Seeded points far from 0 and near it, of both signs, off the op's domain too; those of slow functions in it."""
    rng, width = np.random.default_rng(len(op.name) + 1), len(op.domain)
    if op.accuracy == SPECIAL:
        return points(op, 6)
    sizes = [rng.uniform(*interval, width) for interval in 3 * [(-3, 2.7), (0, 1), (0.5, 1.2), (1, 2)]]
    return [list(map(float, 10.0**size * rng.choice((-1, 1), width))) for size in sizes]


def digits_lost(op, params):
    """Where a partial loses digits: its error is relative, and beside what an ulp of the argument changes."""
    digits = 60 if op.accuracy == SPECIAL else SETTLED
    leaves, n = graph(op, params)
    for row in far_points(op):
        for k, rule in enumerate(op.partials(n)):
            if rule is None or k in op.refuses:
                continue
            with np.errstate(all="ignore"):
                got = float(evaluate([rule], dict(zip(leaves, row, strict=True)))[0])
            want, curvature = differences(op, params, row, k, digits)
            if not math.isfinite(want) or not math.isfinite(got) or abs(want) < 1e-300:
                lost = not (math.isnan(want) or abs(want) > 1e300 or abs(got) <= 1e-300)
            else:
                unit = 10 * op.tolerance if op.accuracy == SPECIAL else 4e-15
                lost = abs(got - want) > unit * (abs(want) + abs(row[k] * curvature))
            if lost:
                yield row, k, got, want


@pytest.mark.parametrize(("op", "params"), CASES)
def test_partials_have_their_digits_wherever_they_are(op, params):
    if op.name not in LOSES:
        assert not list(digits_lost(op, params))


@pytest.mark.parametrize(
    ("name", "rule"), [("erfcx", f"2*x*erfcx(x) - {2 / math.sqrt(math.pi)!r}"), ("tanh", "1 - tanh(x)*tanh(x)")]
)
def test_partials_that_cancel_are_caught(name, rule):
    planted = dataclasses.replace(OPS[name], partials=partials("x", rule))
    assert list(digits_lost(planted, ()))


@pytest.mark.parametrize(("op", "params"), CASES)
def test_partials_are_within_their_bound(op, params):
    if op.name == "stop_gradient":
        assert op.partials(graph(op, params)[1]) == (None,)
        return
    for row in points(op, 12):
        for k in range(len(row)):
            if not (op.name == "heaviside" and k == 1) and k not in op.refuses:
                assert partial_error(op, params, row, k) <= max(op.tolerance, 1e-15), (row, k)


@pytest.mark.parametrize("op", TRUTHS, ids=lambda op: op.name)
def test_truth_values(op):
    cases = ((False, False), (False, True), (True, False), (True, True))
    rows = cases if op.name in ("and", "or", "xor", "not") else ((1.0, 2.0), (2.0, 1.0), (1.0, 1.0), (math.nan, 1.0))
    for row in rows:
        args = row[: op.arity or 2]
        numbers = [mpmath.mpf(a) for a in args] if isinstance(args[0], float) else args
        assert bool(op.value(*args)) == bool(op.exact(*numbers))
    assert op.partials is None


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_record_is_complete(op):
    assert op.doc and op.derivative and op.accuracy
    without = op in TRUTHS or op.name in ("leaf", "const", "table", "scanned")
    assert (op.partials is None) == (op.vjp is not None or without)
    assert (op.vjp is None) == (op.jvp is None)
    if op.infer is OPS["add"].infer or op in TRUTHS:
        assert op.domain and op.emit and op.exact and op.sympy
        assert len(op.domain) == (op.arity or len(op.domain))


@pytest.mark.parametrize(("op", "params"), CASES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_partials_keep_the_dtype(op, params, dtype):
    leaves = [leaf(f"x{k}", ArrayType((), dtype)) for k in range(len(op.domain))]
    rules = [p for p in op.partials(apply(op.name, *leaves, params=params)) if p is not None]
    verify(rules)
    assert {p.type.dtype for p in rules} <= {dtype}


@pytest.mark.parametrize(("op", "params"), CASES)
def test_nan_in_nan_out(op, params):
    for k in range(len(op.domain)):
        if op.name == "heaviside" and k == 1:  # h is not looked at off 0
            continue
        row = [sum(interval) / 2 + 0.01 for interval in op.domain]
        row[k] = math.nan
        leaves, n = graph(op, params)
        assert math.isnan(evaluate([n], dict(zip(leaves, row, strict=True)))[0])


KINKS = [
    ("abs", (0.0,), (0.0,)),
    ("max", (1.0, 1.0), (0.5, 0.5)),
    ("max", (2.0, 1.0), (1.0, 0.0)),
    ("min", (1.0, 1.0), (0.5, 0.5)),
    ("min", (2.0, 1.0), (0.0, 1.0)),
    ("hypot", (0.0, 0.0), (0.0, 0.0)),
    ("pow", (0.0, 2.0), (0.0, 0.0)),
    ("pow", (0.0, 1.0), (1.0, 0.0)),
    ("pow", (0.0, 0.0), (0.0, -math.inf)),
    ("pow", (0.0, 0.5), (math.inf, 0.0)),
    ("pow", (-2.0, 2.0), (-4.0, math.nan)),
    ("pow", (-2.0, 3.0), (12.0, math.nan)),
    ("sqrt", (0.0,), (math.inf,)),
    ("cbrt", (0.0,), (math.inf,)),
    ("cbrt", (-8.0,), (1.0 / 12.0,)),
    ("mod", (-1.0, 3.0), (1.0, 1.0)),
    ("log", (0.0,), (math.inf,)),
    ("xlogy", (0.0, 0.0), (-math.inf, 0.0)),
    ("sinc", (0.0,), (0.0,)),
    ("x_over_expm1", (0.0,), (-0.5,)),
    ("x_over_expm1", (800.0,), (0.0,)),
    ("sigmoid", (-1000.0,), (0.0,)),
    ("softplus", (1000.0,), (1.0,)),
    ("erf", (30.0,), (0.0,)),
]


@pytest.mark.parametrize(("name", "row", "want"), KINKS)
def test_derivative_at_a_kink_or_edge(name, row, want):
    leaves, n = graph(OPS[name], ())
    got = evaluate(OPS[name].partials(n), dict(zip(leaves, row, strict=True)))
    np.testing.assert_allclose(np.array(got, float), want, rtol=1e-15)


VALUES = [
    ("pow", (0.0, 0.0), 1.0),
    ("pow", (-8.0, 1 / 3), math.nan),
    ("log", (0.0,), -math.inf),
    ("div", (1.0, 0.0), math.inf),
    ("heaviside", (0.0, 0.25), 0.25),
    ("xlogy", (0.0, 0.0), 0.0),
    ("sinc", (0.0,), 1.0),
    ("sinc", (math.inf,), 0.0),
    ("x_over_expm1", (0.0,), 1.0),
    ("x_over_expm1", (math.inf,), 0.0),
    ("x_over_expm1", (-math.inf,), math.inf),
    ("softplus", (-math.inf,), 0.0),
    ("softplus", (math.inf,), math.inf),
    ("sigmoid", (-math.inf,), 0.0),
    ("exp", (1000.0,), math.inf),
]


@pytest.mark.parametrize(("name", "row", "want"), VALUES)
def test_value_at_an_edge(name, row, want):
    leaves, n = graph(OPS[name], ())
    assert evaluate([n], dict(zip(leaves, row, strict=True)))[0] == pytest.approx(want, nan_ok=True, abs=0.0, rel=0.0)


@pytest.mark.parametrize(("x", "branch", "want"), [(0.0, 0, 0.0), (-1.0, 0, math.nan), (1.0, -1, math.nan)])
def test_lambertw_at_its_edges(x, branch, want):
    n = apply("lambertw", leaf("x"), params=(branch,))
    assert evaluate([n], {leaf("x"): x})[0] == pytest.approx(want, nan_ok=True)


def test_derivative_of_lambertw_at_zero():
    n = apply("lambertw", leaf("x"), params=(0,))
    assert evaluate(OPS["lambertw"].partials(n), {leaf("x"): 0.0}) == [1.0]


def test_the_forward_value_is_shared():
    x = leaf("x")
    for name in ("exp",):
        n = apply(name, x)
        assert OPS[name].partials(n) == (n,)
    assert apply("sqrt", x) in OPS["sqrt"].partials(apply("sqrt", x))[0].args


@pytest.mark.parametrize("name", ["max", "min", "hypot", "pow", "select"])
def test_branches_are_masks(name):
    n = graph(OPS[name], ())[1]
    for p in OPS[name].partials(n):
        assert p is None or (p.op.name == "select" and p.args[2] is const(0.0))


def test_a_rule_says_what_it_can_not_be():
    with pytest.raises(ValueError, match="lambda"):
        partials("x", "lambda: x")(apply("neg", leaf("x")))


# The tests of the tests: a wrong rule must be caught.


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("sin", "-cos(x)"), ("tanh", "1 - tanh(x)"), ("exp", "1.0000001*exp(x)"), ("log", "1/(x + 1e-9)")],
)
def test_a_planted_wrong_partial_is_caught(name, wrong, monkeypatch):
    planted = dataclasses.replace(OPS[name], name=f"planted_{name}", partials=partials("x", wrong))
    monkeypatch.setitem(OPS, planted.name, planted)
    assert max(partial_error(planted, (), row, 0) for row in points(planted, 12)) > planted.tolerance
    x = leaf("x")
    with pytest.raises(AssertionError, match="J u"):
        testing.check_grads(apply(planted.name, x), [x], {x: 0.7})


def test_a_planted_wrong_value_is_caught(monkeypatch):
    planted = dataclasses.replace(OPS["exp"], name="planted_exp", value=lambda x: np.exp(x) * (1 + 1e-15))
    monkeypatch.setitem(OPS, planted.name, planted)
    assert max(value_error(planted, (), row) for row in points(planted)) > planted.ulps


def test_a_planted_wrong_transpose_is_caught(monkeypatch):
    planted = dataclasses.replace(OPS["sum"], name="planted_sum", vjp=lambda g, n: (apply("mul", n.args[0], g),))
    monkeypatch.setitem(OPS, planted.name, planted)
    x = leaf("x", ArrayType(("n",)))
    with pytest.raises(AssertionError, match="<v, J u>"):
        testing.check_grads(apply("planted_sum", x, params=((0,),)), [x], {x: np.arange(4.0)})


# The linear ops


def linear_cases():
    matrix, vector, scalar = leaf("X", ArrayType(("n", 3))), leaf("v", ArrayType(("n",))), leaf("s")
    yield "item", apply("item", matrix, params=((None, 1),))
    yield "assemble", apply("assemble", vector, scalar, params=(("n", 3), ((None, 0), (None, 2))))
    yield "sum", apply("sum", matrix, params=((0,),))
    yield "sum_inner", apply("sum", matrix, params=((1,),))
    yield "sum_all", apply("sum", matrix, params=((0, 1),))
    yield "broadcast", apply("broadcast", scalar, params=(("n", 3),))
    yield "broadcast_inner", apply("broadcast", vector, params=(("n", 3), (0,)))
    yield "size", apply("mul", apply("size", matrix, params=(0,)), apply("sum", vector, params=((0,),)))


@pytest.mark.parametrize(("name", "n"), list(linear_cases()))
def test_linear_ops_both_ways(name, n):
    rng = np.random.default_rng(0)
    matrix, vector, scalar = leaf("X", ArrayType(("n", 3))), leaf("v", ArrayType(("n",))), leaf("s")
    env = {matrix: rng.normal(size=(4, 3)), vector: rng.normal(size=4), scalar: 0.3}
    squared = apply("mul", n, n)
    verify([squared])
    testing.check_grads(squared, [matrix, vector, scalar], env, order=2)


def gathering_cases():
    scalars, array = [leaf(f"s{k}") for k in range(4)], leaf("W", ArrayType((2, 3)))
    packed = apply("pack", *scalars, array)
    line, grid, listed = Affine(1, ((3, 1),)), Affine(9, ((2, -4), (3, -1))), Places((3, 3, 0, 5))
    yield "pack", packed
    yield "take_line", take(packed, line)
    yield "take_grid", take(packed, grid)
    yield "take_listed", take(packed, listed)
    yield "scatter_line", apply("scatter", take(packed, line), params=(Affine(0, ((3, 2),)), 6))
    yield "scatter_grid", apply("scatter", take(packed, grid), params=(grid, 10))
    yield "scatter_listed", apply("scatter", take(packed, listed), params=(Places((1, 0, 1, 1)), 2))
    yield "table", apply("mul", table([[1.0, -2.0, 0.5], [4.0, 0.0, 1.0]]), array)
    yield "amax", apply("amax", array, params=((0, 1),))
    yield "amax_columns", apply("amax", array, params=((0,),))


@pytest.mark.parametrize(("name", "n"), [pytest.param(name, n, id=name) for name, n in gathering_cases()])
def test_gathering_ops_both_ways(name, n):
    rng = np.random.default_rng(0)
    scalars, array = [leaf(f"s{k}") for k in range(4)], leaf("W", ArrayType((2, 3)))
    env = {**dict(zip(scalars, rng.normal(size=4), strict=True)), array: rng.normal(size=(2, 3))}
    squared = apply("mul", n, n)
    verify([squared])
    testing.check_grads(squared, [*scalars, array], env, order=2)
    assert pickle.loads(pickle.dumps(n)) is n


def test_scatter_is_the_transpose_of_take():
    spec = Affine(5, ((2, -3), (3, 1)))
    rng = np.random.default_rng(0)
    v, g = rng.normal(size=9), rng.normal(size=(2, 3))
    taken = OPS["take"].value(v, spec)
    assert taken.tolist() == v[[[5, 6, 7], [2, 3, 4]]].tolist()
    assert np.sum(taken * g) == pytest.approx(v @ OPS["scatter"].value(g, spec, 9), rel=1e-15)


def test_tables_with_zeros_of_different_signs_are_different():
    assert table([0.0, 1.0]) is table([0.0, 1.0]) is not table([-0.0, 1.0])


@pytest.mark.parametrize("run", [evaluate, exact])
def test_the_largest_entry_is_nan_if_one_is(run):
    x = leaf("x", ArrayType((3,)))
    largest = apply("amax", x, params=((0,),))
    assert math.isnan(run([largest], {x: [1.0, math.nan, 2.0]})[0])
    assert evaluate([*OPS["amax"].vjp(const(1.0), largest)], {x: [1.0, math.nan, 2.0]})[0].tolist() == [0.0] * 3
    assert evaluate([*OPS["amax"].vjp(const(1.0), largest)], {x: [2.0, 1.0, 2.0]})[0].tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: apply("pack"), "no values"),
        (lambda: apply("pack", leaf("x", ArrayType(("n",)))), r"float64\[n\]: its dimensions must be numbers"),
        (lambda: take(leaf("W", ArrayType((2, 3))), Places((0,))), r"float64\[2, 3\]: a vector"),
        (lambda: take(leaf("v", ArrayType((3,))), Affine(1, ((3, 1),))), "places 1 to 3: the vector has places 0 to 2"),
        (lambda: take(leaf("v", ArrayType((3,))), Places((-1, 0))), "places -1 to 0"),
        (lambda: take(leaf("v", ArrayType((3,))), Places(())), "nothing to take"),
        (lambda: apply("scatter", leaf("v", ArrayType((3,))), params=(Places((0, 1)), 4)), r"index of shape \(2,\)"),
        (lambda: apply("table"), "ops.gather.table"),
    ],
)
def test_a_gather_that_does_not_fit_is_an_error(build, message):
    with pytest.raises(GraphError, match=message):
        build()


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("item", ((None,),)),
        ("item", ((0, 3),)),
        ("assemble", ((3,), ((0,), (1,)))),
        ("broadcast", (("n", 4),)),
        ("leaf", ("x", "data")),
    ],
)
def test_a_shape_that_does_not_fit_is_an_error(name, params):
    with pytest.raises(GraphError):
        apply(name, *([] if name == "leaf" else [leaf("X", ArrayType(("n", 3)))]), params=params)


def test_custom_derivatives_without_high_precision_are_checked_in_doubles(monkeypatch):
    op = dataclasses.replace(OPS["sin"], name="own_sin", exact=None)
    monkeypatch.setitem(OPS, op.name, op)
    x = leaf("x")
    testing.check_grads(apply("own_sin", x), [x], {x: 0.7})
    monkeypatch.setitem(
        OPS, "own_sin_wrong", dataclasses.replace(op, name="own_sin_wrong", partials=partials("x", "sin(x)"))
    )
    with pytest.raises(AssertionError):
        testing.check_grads(apply("own_sin_wrong", x), [x], {x: 0.7})
