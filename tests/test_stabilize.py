"""Each rule of `stabilize`: what it matches, where the naive form fails, and what it must leave alone."""

import math
from collections.abc import Callable
from functools import reduce

import mpmath
import pytest

from gradcompile.analysis.evaluate import evaluate, exact
from gradcompile.diff import reverse
from gradcompile.ir.core import Node, apply, const, leaf
from gradcompile.passes import simplified, stabilized
from gradcompile.passes.stabilize import stabilize
from tests.work import growth

x, y, z = leaf("x"), leaf("y"), leaf("z")


def exp(u: Node) -> Node:
    return apply("exp", u)


def add(*args: Node | float) -> Node:
    return apply("add", *(a if isinstance(a, Node) else const(a) for a in args))


def times(c: float, u: Node) -> Node:
    return apply("mul", const(c), u)


def neg(u: Node) -> Node:
    return apply("neg", u)


def div(u: Node | float, v: Node) -> Node:
    return apply("div", u if isinstance(u, Node) else const(u), v)


def log(u: Node) -> Node:
    return apply("log", u)


square = apply("mul", x, x)
cube = apply("mul", square, x)
CASES = [
    ("log_sum_exp", log(add(1.0, exp(x))), (800.0, -800.0, 1.0, -40.0)),
    ("log_sum_exp", log(add(times(2.0, exp(x)), 2.0)), (800.0, -800.0)),
    ("log_sum_exp", log(add(exp(x), exp(neg(x)))), (800.0, -800.0, 0.5)),
    ("log_sum_exp", log(add(exp(x), exp(times(2.0, x)), times(0.5, exp(neg(x))))), (800.0, -800.0)),
    ("log_sum_exp", log(add(3.0, exp(x))), (800.0, -800.0, 0.1)),
    ("exp_minus_one", add(exp(x), -1.0), (1e-18, 1e-9, -1e-12)),
    ("exp_minus_one", add(-2.0, times(2.0, exp(x))), (1e-18,)),
    ("exp_minus_one", add(5.0, neg(times(5.0, exp(x)))), (1e-18,)),
    ("log_one_plus", log(add(x, 1.0)), (1e-18, 1e-9)),
    ("one_minus_cos", add(1.0, neg(apply("cos", x))), (1e-9, 1e-12)),
    ("one_minus_cos", add(times(3.0, apply("cos", x)), -3.0), (1e-9,)),
    ("logistic", div(1.0, add(1.0, exp(neg(x)))), (800.0, -700.0, -40.0)),
    ("logistic", div(exp(x), add(exp(x), 1.0)), (800.0, -700.0)),
    ("logistic", div(exp(x), add(times(2.0, exp(x)), 2.0)), (800.0, -700.0)),
    ("log_of_product", log(apply("sigmoid", x)), (800.0, -800.0, 40.0)),
    ("one_minus_sigmoid", add(1.0, neg(apply("sigmoid", x))), (40.0, 100.0)),
    ("quotient_of_exps", div(exp(x), add(exp(x), exp(times(2.0, x)), exp(times(3.0, x)))), (400.0,)),
    ("quotient_of_exps", div(1.0, add(1.0, exp(x), exp(times(2.0, x)))), (400.0,)),
    ("log_sum_exp", log(add(1.0, exp(x), exp(times(2.0, x)))), (400.0, -40.0)),
    ("log_sum_exp", log(add(apply("mul", x, exp(x)), apply("mul", x, exp(neg(x))))), (800.0,)),
    ("log_of_product", log(div(exp(neg(apply("mul", x, x))), times(3.0, x))), (40.0, 1e-5)),
    ("logistic", div(x, add(1.0, exp(neg(x)))), (800.0, -700.0)),
    ("logistic", div(apply("mul", x, exp(x)), add(1.0, exp(x))), (800.0, -700.0)),
    ("logistic", div(exp(x), apply("mul", add(1.0, exp(x)), add(1.0, exp(x)))), (300.0, -300.0)),
    ("logistic", div(exp(x), add(exp(x), exp(neg(x)))), (800.0, -300.0)),
    ("logistic", div(add(exp(x), neg(exp(neg(x)))), add(exp(x), exp(neg(x)))), (1.0, 1e-12, 13.0)),
    ("bernoulli", div(apply("mul", x, apply("mul", x, x)), add(exp(x), -1.0)), (1e-18, 2.0, 700.0)),
    ("bernoulli", div(x, add(1.0, neg(exp(neg(x))))), (1e-18, 2.0, 800.0)),
    ("bernoulli", div(add(x, 40.0), add(exp(add(times(-0.125, x), -5.0)), -1.0)), (-40.0 + 1e-9, 3.0)),
    ("norm", apply("sqrt", div(apply("mul", x, x), const(9.0))), (1e200, -1e-200)),
    ("x_log_x", apply("mul", x, apply("mul", log(div(x, const(7.0))), x)), (1e-5, 2.0)),
    ("x_log_x", apply("mul", add(1.0, neg(x)), log(add(1.0, neg(x)))), (1e-17, 0.3)),
    ("bernoulli", div(x, add(exp(x), -1.0)), (1e-18, 1e-9, 2.0)),
    ("logistic", div(add(exp(x), -1.0), add(exp(x), 1.0)), (1.0, 1e-12, 13.0)),
    ("sinh_of_exps", add(exp(x), neg(exp(neg(x)))), (1e-12,)),
    ("norm", apply("sqrt", add(1.0, apply("mul", x, x))), (1e200, 1e-3)),
    ("x_log_x", apply("mul", times(3.0, x), log(x)), (1e-5, 2.0)),
    ("removable", div(log(x), add(x, -1.0)), (1 + 1e-9, 0.97, 1.2, 2.5)),
    ("removable", div(add(cube, -1.0), add(x, -1.0)), (1 + 1e-9, 0.97, 1.2, 2.5)),
    ("removable", div(add(apply("sqrt", x), -1.0), add(times(3.0, x), -3.0)), (1 + 1e-9, 0.97, 2.5)),
    ("removable", div(add(x, -1.0), log(x)), (1 + 1e-9, 0.97, 2.5)),
    ("removable", div(add(square, -4.0), add(times(-1.0, x), 2.0)), (2 + 1e-9, 1.97, 5.0)),
    ("removable", div(log(div(x, const(2.0))), add(x, -2.0)), (2 + 1e-9, 1.97, 5.0)),
    ("cancelling", add(x, -1.0, neg(log(x))), (1 + 1e-9, 0.97, 2.5)),
    ("cancelling", add(apply("mul", x, log(x)), neg(x), 1.0), (1 + 1e-5, 0.97, 2.5)),
    ("cancelling", add(div(1.0, log(x)), neg(div(1.0, add(x, -1.0)))), (1 + 1e-5, 0.97, 2.5)),
    ("inverse_less_one", add(1.0, neg(div(x, apply("sqrt", add(1.0, square))))), (1e9, 1e3, 0.3)),
    ("inverse_less_one", add(2.0, times(2.0, div(x, apply("sqrt", add(3.0, square))))), (-1e9, -1e3, 0.3)),
    ("log_one_less_square", log(add(1.0, neg(div(x, apply("sqrt", add(1.0, square)))))), (1e9, 1e3, 0.3)),
    ("log_of_asinh", log(add(apply("sqrt", add(1.0, div(square, const(9.0)))), neg(div(x, const(3.0))))), (1e9, 1e-9)),
    ("product_of_exps", apply("mul", exp(neg(x)), apply("sqrt", add(exp(times(2.0, x)), 1.0))), (720.0, 360.0, 0.1)),
    ("log_of_log1p", apply("log1p", apply("mul", exp(x), exp(times(0.5, x)))), (-480.0, 480.0, 1.0)),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "formula", "points"), CASES)
def test_rules_are_accurate_where_the_naive_form_fails(rule: str, formula: Node, points: tuple[float, ...]) -> None:
    (stable,), rewrites = stabilized(simplified([formula]))
    assert rule in {r.rule for r in rewrites}
    gradient, reference = (reverse.vjp(n, [x])[0] for n in (stable, formula))
    for point in points:
        for node, original in ((stable, formula), (gradient, reference)):
            with mpmath.workdps(800):
                expected = exact([original], {x: point}, 800)[0]
                got = evaluate([node], {x: point})[0]
                assert (
                    abs(mpmath.mpf(float(got)) - expected)
                    <= 1e-14 * max(1.0, abs(point) / 10) * abs(expected) + mpmath.mpf(10) ** -305
                )


@pytest.mark.parametrize(
    "formula",
    [
        log(add(x, 2.0)),
        add(exp(x), -2.0),
        add(1.0, neg(apply("sin", x))),
        apply("sqrt", add(apply("mul", x, x), neg(apply("mul", y, y)))),
        apply("mul", x, log(y)),
        div(exp(y), add(1.0, x)),
        log(apply("mul", x, y)),
        apply("sqrt", add(x, y)),
        apply("mul", x, exp(y)),
        div(exp(x), y),
        log(add(add(1.0, x), y)),
        add(apply("mul", apply("tanh", x), apply("tanh", x)), neg(apply("mul", apply("tanh", x), apply("tanh", x)))),
    ],
)
def test_what_only_looks_alike_is_left(formula: Node) -> None:
    _, rewrites = stabilize(simplified([formula]))
    assert {r.rule for r in rewrites} <= {"exp_minus_one", "close_arguments"}


def test_values_at_the_edges() -> None:
    (entropy,), _ = stabilized([apply("mul", x, log(x))])
    assert evaluate([entropy], {x: 0.0}) == [0.0]
    (length,), _ = stabilized(simplified([apply("sqrt", add(apply("mul", x, x), apply("mul", y, y)))]))
    assert evaluate(reverse.vjp(length, [x, y]), {x: 0.0, y: 0.0}) == [0.0, 0.0]
    (ratio,), _ = stabilized([div(x, add(exp(x), -1.0))])
    assert evaluate([ratio, *reverse.vjp(ratio, [x])], {x: 0.0}) == [1.0, -0.5]


def test_rewrites_say_what_changed() -> None:
    _, rewrites = stabilized([log(add(1.0, exp(x)))])
    assert [tuple(r) for r in rewrites] == [("log_sum_exp", "log(1 + exp(x))", "softplus(x)")]


@pytest.mark.parametrize(
    ("formula", "at", "expected", "slope"),
    [
        (apply("mul", x, log(x)), 0.0, 0.0, -math.inf),
        (apply("mul", add(1.0, neg(x)), log(add(1.0, neg(x)))), 1.0, 0.0, math.inf),
        (div(3.0, add(1.0, exp(neg(x)))), -1e4, 0.0, 0.0),
        (div(3.0, apply("mul", add(1.0, exp(neg(x))), add(1.0, exp(neg(x))))), -1e4, 0.0, 0.0),
        (div(add(x, 40.0), add(1.0, neg(exp(add(times(-0.1, x), -4.0))))), -40.0, 10.0, 0.5),
        (log(add(exp(x), exp(apply("mul", x, x)))), math.inf, math.inf, math.nan),
        (apply("sqrt", apply("mul", x, x)), 0.0, 0.0, 0.0),
        (div(log(x), add(x, -1.0)), 1.0, 1.0, -0.5),
        (div(add(cube, -1.0), add(x, -1.0)), 1.0, 3.0, 3.0),
    ],
)
def test_limits(formula: Node, at: float, expected: float, slope: float) -> None:
    (stable,), rewrites = stabilized(simplified([formula]))
    assert rewrites
    value, gradient = evaluate([stable, *reverse.vjp(stable, [x])], {x: at})
    assert value == pytest.approx(expected, abs=1e-15, nan_ok=True)
    assert gradient == pytest.approx(slope, rel=1e-12, nan_ok=True)


def test_a_masked_component_of_a_mixture_adds_nothing() -> None:
    (stable,), _ = stabilized([log(add(exp(x), exp(y)))])
    values = evaluate([stable, *reverse.vjp(stable, [x, y])], {x: -math.inf, y: -900.0})
    assert values == pytest.approx([-900.0, 0.0, 1.0], rel=1e-15)


def test_a_gaussian_mixture_far_from_its_centres() -> None:
    w, s = leaf("w"), leaf("s")
    near = div(apply("mul", w, exp(neg(apply("mul", x, x)))), s)
    far = apply("mul", add(1.0, neg(w)), exp(neg(apply("mul", add(x, neg(y)), add(x, neg(y))))))
    (stable,), rewrites = stabilized(simplified([log(add(near, far))]))
    env = {w: 0.25, s: 2.0, x: 40.0, y: 0.5}
    assert [r.rule for r in rewrites] == ["log_sum_exp"]
    assert evaluate([stable], env)[0] == pytest.approx(float(exact([log(add(near, far))], env, 800)[0]), rel=1e-14)


def test_sums_and_products_of_any_length_take_linear_time() -> None:
    def job(count: int) -> Callable[[], object]:
        leaves = [leaf(f"t{k}") for k in range(count)]
        roots = [add(*map(exp, leaves), 3.0), reduce(lambda u, v: apply("mul", u, log(v)), leaves)]
        return lambda: stabilize(roots)

    assert growth(job, 80) < 5
    job(2_000)()


def test_nothing_recurses() -> None:
    deep = reduce(lambda u, _: log(add(1.0, u)), range(3_000), x)
    (stable,), rewrites = stabilize([deep])
    assert evaluate([stable], {x: 1e-18}) == [1e-18]
    assert {r.rule for r in rewrites} == {"log_one_plus"}
