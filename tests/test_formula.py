"""Nodes as mathematics: precedence, signs, and texts that stay short."""

from functools import reduce

import numpy as np
import pytest
import scipy.special as sc

import gradcompile as gc
from gradcompile.analysis.formula import formulas
from gradcompile.ir.core import Node, apply, const, leaf
from gradcompile.ir.types import ArrayType
from tests.cases_arrays import CASES, SCOPE, S, V, written

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
        (mul(neg(a), b), "-a*b"),
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


# Arrays: the text is what a user of NumPy would write, and Python can read it

OWN = {
    "n": 5,
    "inf": np.inf,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sc.expit,
    "softplus": lambda x: np.logaddexp(0, x),
    "softmax": sc.softmax,
    "erf": sc.erf,
    "xlogy": sc.xlogy,
    "solve": np.linalg.solve,
    "det": np.linalg.det,
    "cholesky": np.linalg.cholesky,
    "detsign": lambda a: np.linalg.slogdet(a)[0],
    "logabsdet": lambda a: np.linalg.slogdet(a)[1],
    "eigvals": lambda a: np.linalg.eigh(a)[0],
}
NO_PYTHON = (" and ", " or ", "not(", "xor(", "pad(", "assemble(", "scatter_add(", "window(", "eigvecs(", "[i, j]",
             "inf][")  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_formulas_of_arrays_mean_in_numpy_what_they_say(case: str) -> None:
    if not isinstance(n := getattr(written(case, S), "node", None), Node):
        return
    text = formulas([n], {}, 10_000)[n]
    if any(word in text for word in NO_PYTHON):
        return
    want = np.asarray(written(case, V))
    got = eval(text, {**vars(np), **SCOPE, **OWN, **V})
    np.testing.assert_allclose(np.broadcast_to(got, want.shape), want, rtol=1e-6 if "float32" in case else 1e-11)


x_, w_, k_ = gc.array("x", ("n", 4)), gc.array("w", (4, 3)), gc.array("k", "n", dtype="int64")
q_ = gc.array("q", (2, 5, 4))


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (gc.mean(gc.cross_entropy(gc.relu(x_ @ w_) + 1, k_)), "mean(cross_entropy(relu(x @ w) + 1, k))"),
        (gc.cross_entropy(q_[0].T, k_[:5], axis=0), "cross_entropy(q[0].T, k[:5], axis=0)"),
        (gc.softmax(x_), "softmax(x)"),
        (gc.log_softmax(x_, axis=0), "log_softmax(x, axis=0)"),
        (gc.attention(q_, q_, q_), "softmax(0.5*q @ q.mT) @ q"),
        (gc.layer_norm(x_, epsilon=0.5),
         "(x - mean(x, axis=1)[:, None])/sqrt(mean((x - mean(x, axis=1)[:, None])**2, axis=1)[:, None] + 0.5)"),
        (np.mean(x_), "mean(x)"),
        (np.sum(x_, axis=0) / 4, "sum(x, axis=0)/4"),
        (np.max(q_, axis=(0, 2)), "max(q, axis=(0, 2))"),
        (np.maximum(x_[1:], 0), "maximum(x[1:], 0)"),
        (np.where(x_ > 0, x_, x_[:, :1]), "where(0 < x, x, x[:, :1])"),
        (x_[:, None] - x_, "x[:, None, :] - x"),
        (np.reshape(x_, -1), "reshape(x, (4*n,))"),
        (w_[k_ % 4], "w[mod(k, 4)]"),
        (np.diag(w_[0]), "scatter_add(w[0], [arange(3), arange(3)])"),
        (np.pad(w_, 1), "pad(w, [1:5, 1:4])"),
        (gc.max_pool(q_, 2), "max(window(q, 2, axis=2), axis=3)"),
        (np.cumsum(x_, axis=1), "cumsum(x, axis=1)"),
        (np.trunc(x_).astype("int64"), "int64("),
    ],
)  # fmt: skip
def test_functions_of_arrays_are_called_by_their_names(array: gc.array, text: str) -> None:
    assert formulas([array.node], {}, 200)[array.node].startswith(text)


def test_only_the_true_softmax_is_called_so() -> None:
    e, shift = np.exp(x_), np.max(x_, axis=1, keepdims=True)
    for array in (e / np.sum(e, axis=1, keepdims=True), e / np.sum(e), x_ - np.log(e), x_ - shift + e, x_ + e):
        assert "softmax" not in formulas([array.node], {}, 200)[array.node]
