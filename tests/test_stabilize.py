"""Each rule of `stabilize`: what it matches, where the naive form fails, and what it must leave alone."""

import mpmath
import pytest

from gradcompile import autodiff
from gradcompile.interpret import evaluate, exact
from gradcompile.ir import Node, apply, const, leaf
from gradcompile.passes import simplified, stabilized
from gradcompile.passes.stabilize import stabilize

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
    ("log_of_sigmoid", log(apply("sigmoid", x)), (800.0, -800.0, 40.0)),
    ("one_minus_sigmoid", add(1.0, neg(apply("sigmoid", x))), (40.0, 100.0)),
    ("softmax", div(exp(x), add(exp(x), exp(times(2.0, x)), exp(times(3.0, x)))), (400.0, -400.0)),
    ("bernoulli", div(x, add(exp(x), -1.0)), (1e-18, 1e-9, 2.0)),
    ("tanh_of_exps", div(add(exp(x), -1.0), add(exp(x), 1.0)), (800.0, 1e-12)),
    ("sinh_of_exps", add(exp(x), neg(exp(neg(x)))), (1e-12,)),
    ("norm", apply("sqrt", add(1.0, apply("mul", x, x))), (1e200, 1e-3)),
    ("x_log_x", apply("mul", times(3.0, x), log(x)), (1e-5, 2.0)),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "formula", "points"), CASES)
def test_rules_are_accurate_where_the_naive_form_fails(rule: str, formula: Node, points: tuple[float, ...]) -> None:
    (stable,), rewrites = stabilized(simplified([formula]))
    assert rule in {r.rule for r in rewrites}
    gradient, reference = (autodiff.vjp(n, [x])[0] for n in (stable, formula))
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
        log(add(exp(x), -1.0, y)),
        div(x, add(exp(y), -1.0)),
        apply("sqrt", add(apply("mul", x, x), neg(apply("mul", y, y)))),
        apply("mul", x, log(y)),
        div(exp(y), add(1.0, x)),
    ],
)
def test_what_only_looks_alike_is_left(formula: Node) -> None:
    _, rewrites = stabilize(simplified([formula]))
    assert {r.rule for r in rewrites} <= {"exp_minus_one"}


def test_values_at_the_edges() -> None:
    (entropy,), _ = stabilized([apply("mul", x, log(x))])
    assert evaluate([entropy], {x: 0.0}) == [0.0]
    (length,), _ = stabilized(simplified([apply("sqrt", add(apply("mul", x, x), apply("mul", y, y)))]))
    assert evaluate(autodiff.vjp(length, [x, y]), {x: 0.0, y: 0.0}) == [0.0, 0.0]
    (ratio,), _ = stabilized([div(x, add(exp(x), -1.0))])
    assert evaluate([ratio, *autodiff.vjp(ratio, [x])], {x: 0.0}) == [1.0, -0.5]


def test_rewrites_say_what_changed() -> None:
    _, rewrites = stabilized([log(add(1.0, exp(x)))])
    assert [tuple(r) for r in rewrites] == [("log_sum_exp", "log(1 + exp(x))", "softplus(x)")]
