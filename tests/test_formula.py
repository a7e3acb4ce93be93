"""Nodes as mathematics: precedence, signs, and texts that stay short."""

from functools import reduce

import pytest

from gradcompile.formula import formulas
from gradcompile.ir import Node, apply, const, leaf
from gradcompile.types import ArrayType

a, b, x, y = (leaf(name) for name in "abxy")
xs = leaf("xs", ArrayType(("n",)), "data")
W = leaf("W", ArrayType((2, 3)), "param")


def add(*args: Node) -> Node:
    return apply("add", *args)


def neg(u: Node) -> Node:
    return apply("neg", u)


def mul(u: Node, v: Node) -> Node:
    return apply("mul", u, v)


def div(u: Node, v: Node) -> Node:
    return apply("div", u, v)


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (add(mul(a, apply("exp", neg(mul(b, x)))), b, neg(y)), "a*exp(-b*x) + b - y"),
        (add(a, neg(apply("exp", add(b, x)))), "a - exp(b + x)"),
        (add(a, neg(add(b, x))), "a - (b + x)"),
        (add(neg(a), b), "-a + b"),
        (add(a, const(-2.0)), "a - 2"),
        (add(a, mul(const(-2.0), x)), "a - 2*x"),
        (neg(const(-2.0)), "-(-2)"),
        (neg(neg(a)), "-(-a)"),
        (mul(neg(a), b), "(-a)*b"),
        (mul(a, neg(b)), "a*(-b)"),
        (mul(add(a, b), x), "(a + b)*x"),
        (div(a, mul(b, x)), "a/(b*x)"),
        (div(div(a, b), x), "a/b/x"),
        (div(a, div(b, x)), "a/(b/x)"),
        (mul(add(a, neg(b)), add(a, neg(b))), "(a - b)**2"),
        (mul(neg(a), neg(a)), "(-a)**2"),
        (apply("pow", a, add(b, x)), "a**(b + x)"),
        (apply("pow", apply("pow", a, b), x), "(a**b)**x"),
        (apply("select", apply("lt", a, add(b, x)), a, neg(b)), "where(a < b + x, a, -b)"),
        (apply("and", apply("lt", a, b), apply("or", apply("le", a, x), apply("eq", a, y))),
         "a < b and (a <= x or a == y)"),
        (apply("item", W, params=((1, 2),)), "W[1, 2]"),
        (div(apply("sum", mul(xs, xs), params=((0,),)), apply("size", xs, params=(0,))), "mean(xs**2)"),
        (apply("besselj", x, params=(2,)), "besselj(2, x)"),
        (const(0.5), "0.5"),
        (const(-0.0), "-0.0"),
        (const(1e300), "1e+300"),
    ],
)  # fmt: skip
def test_conventional_mathematics(n: Node, text: str) -> None:
    assert formulas([n], {})[n] == text


def test_names_stand_for_nodes() -> None:
    r = add(mul(a, x), neg(y))
    assert formulas([mul(r, r)], {r: "r", a: "slope"})[mul(r, r)] == "r**2"


def test_long_texts_are_cut_where_a_reader_can_see_it() -> None:
    long = add(*(leaf(f"t{k}") for k in range(1000)))
    texts = formulas([mul(a, apply("exp", long))], {}, 40)
    assert texts[long] == "t0 + t1 + t2 + t3 + t4 + t5 + t6 + ..."
    assert texts[mul(a, apply("exp", long))] == "a*exp(t0 + t1 + ...)"


def test_both_sides_of_a_long_sum_stay_recognisable() -> None:
    near, far = (apply("exp", mul(const(-0.5), mul(add(x, neg(w)), add(x, neg(w))))) for w in (a, b))
    mixture = apply("log", add(mul(add(const(1.0), neg(y)), near), mul(y, far)))
    assert formulas([mixture], {}, 60)[mixture] == "log((1 - y)*exp(-0.5*(x - a)**2) + y*exp(-0.5*(x - b)**2))"
    assert formulas([mixture], {}, 50)[mixture] == "log((1 - y)*... + y*...)"


def test_every_text_of_a_deep_shared_graph_is_bounded() -> None:
    deep = reduce(lambda u, _: apply("sin", mul(u, add(u, b))), range(30_000), x)
    texts = formulas([deep], {}, 60)
    assert max(map(len, texts.values())) <= 60
