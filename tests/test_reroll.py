"""Re-rolling: what is found, what is left alone, and that value and gradient stay those of the loss as written."""

import functools
import math
import pickle
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcompile import compile_grad
from gradcompile.analysis.cost import operations
from gradcompile.analysis.evaluate import evaluate, exact
from gradcompile.analysis.formula import formulas
from gradcompile.diff import reverse
from gradcompile.frontend.sympy.convert import read
from gradcompile.ir.core import Node, apply, const, leaf
from gradcompile.ir.graph import topological, verify
from gradcompile.ops.constant_index import Affine, Places, take
from gradcompile.passes import rerolled, simplified, stabilized
from gradcompile.passes.reroll import reroll
from gradcompile.passes.strides import Run, runs
from gradcompile.testing import check_grads

a, b, c = sp.symbols("a b c")
X = sp.symbols("x0:100")
Y = sp.symbols("y0:100")


def as_written(build: Callable[..., Any]) -> Callable[..., Any]:
    """A function in which SymPy builds formulas as they stand: most of its time goes into questions about signs."""

    @functools.wraps(build)
    def unevaluated(*args: Any) -> Any:
        with sp.evaluate(False):
            return build(*args)

    return unevaluated


class Case:
    """A loss as it is read and as it is rolled, with values for its leaves."""

    def __init__(self, loss: Any, params: Any, low: float = 0.2, high: float = 1.5) -> None:
        self.problem = read(loss, params)
        self.leaves = [p.leaf for p in self.problem.params]
        (self.written,) = simplified([self.problem.primal])
        (self.rolled,) = rerolled([self.written], self.leaves, [p.leaf for p in self.problem.inputs])
        rng = np.random.default_rng(0)
        arguments = (*self.problem.params, *self.problem.inputs)
        self.env = {p.leaf: rng.uniform(low, high, p.leaf.type.shape) for p in arguments}

    def both(self, run: Callable[..., list[Any]] = evaluate) -> tuple[list[Any], list[Any]]:
        """Value and gradients as written, and rolled."""
        graphs = [[loss, *reverse.vjp(loss, self.leaves)] for loss in (self.written, self.rolled)]
        verify(graphs[1])
        written, rolled = (run(g, self.env) for g in graphs)
        return written, rolled

    def check(self) -> None:
        """Both agree to rounding, and in many digits."""
        for got, want in zip(*self.both(), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)
        with mpmath.workdps(50):
            for got, want in zip(*self.both(exact), strict=True):
                assert np.all(np.abs(got - want) <= mpmath.mpf(10) ** -40 * (1 + np.abs(want)))

    def ops(self) -> Counter[str]:
        """How often each op stands in the rolled graph."""
        return Counter(n.op.name for n in topological([self.rolled]))

    def specs(self) -> set[Any]:
        """The indices that are taken."""
        return {n.params[0] for n in topological([self.rolled]) if n.op.name == "take"}


@as_written
def chain(x: Sequence[Any]) -> Any:
    """The chain of the benchmarks."""
    terms = [
        (100 * (v - u * u) ** 2, (1 - u) ** 2, sp.sin(u * v) * sp.exp(-u * u), sp.sqrt(1 + v * v))
        for u, v in pairwise(x)
    ]
    return sp.Add(*[t for four in terms for t in four])


def test_a_chain_of_four_forms_is_one_sum() -> None:
    case = Case(chain(X), list(X))
    assert case.rolled.op.name == "sum"
    assert case.specs() == {Affine(0, ((99, 1),)), Affine(1, ((99, 1),))}
    assert case.ops()["pack"] == case.ops()["sum"] == 1
    case.check()


def test_the_graph_does_not_grow_with_the_number_of_terms() -> None:
    sizes = []
    for count in (100, 400):
        x = sp.symbols(f"x0:{count}")
        case = Case(chain(x), list(x))
        sizes.append(sum(n.op.name not in ("leaf", "pack") for n in topological([case.rolled])))
    assert sizes[0] == sizes[1] < 25


def test_the_graph_of_the_gradient_does_not_grow_either() -> None:
    graphs = [compile_grad(chain(X[:n]), [X[:n]], reroll=True).graph.simplified for n in (50, 100)]
    assert len(topological(graphs[0])) == len(topological(graphs[1])) < 50


def test_the_order_of_the_terms_does_not_matter() -> None:
    leaves = [leaf(f"x{k}", role="param") for k in range(80)]
    terms = [apply("mul", u, apply("sin", v)) for u, v in pairwise(leaves)]
    first = reroll([apply("add", *terms)], leaves)
    random.Random(0).shuffle(terms)
    assert reroll([apply("add", *terms)], leaves) == first


def grid(n: int) -> tuple[Any, Any]:
    """A five-point stencil with a penalty on one border, which is of another form."""
    u = sp.IndexedBase("U", shape=(n, n))
    inside = range(1, n - 1)
    stencil = [
        (u[i + 1, j] + u[i - 1, j] + u[i, j + 1] + u[i, j - 1] - 4 * u[i, j]) ** 2 for i in inside for j in inside
    ]
    return sp.Add(*stencil, *[sp.cosh(u[0, j]) for j in range(5)]), u


def test_a_stencil_on_a_grid_has_two_axes_and_its_border_stays() -> None:
    loss, u = grid(12)
    case = Case(loss, u)
    axes = ((10, 12), (10, 1))
    assert case.specs() == {Affine(start, axes) for start in (13, 1, 25, 12, 14)}
    assert case.ops()["cosh"] == 5 and case.ops()["sum"] == 1
    assert reverse.vjp(case.rolled, case.leaves)[0].type.shape == (12, 12)
    case.check()


def test_differences_along_rows_and_along_columns_are_two_runs() -> None:
    u = sp.IndexedBase("U", shape=(10, 12))
    down = [sp.exp(u[i + 1, j] - u[i, j]) for i in range(9) for j in range(12)]
    across = [sp.exp(u[i, j + 1] - u[i, j]) for i in range(10) for j in range(11)]
    case = Case(sp.Add(*down, *across), u)
    assert {s.axes for s in case.specs()} == {((108, 1),), ((10, 12), (11, 1))}
    case.check()


def test_numbers_that_differ_are_tables_and_others_stay_numbers() -> None:
    t, y = np.linspace(0.1, 4.0, 60), np.linspace(2.0, 0.3, 60)
    case = Case(
        sp.Add(*[(float(v) - a * sp.exp(-b * float(s)) - 2 * c) ** 2 for s, v in zip(t, y, strict=True)]), [a, b, c]
    )
    tables = [n for n in topological([case.rolled]) if n.op.name == "table"]
    assert sorted(sorted(np.abs(n.params[0].array())) for n in tables) == [sorted(t), sorted(y)]
    assert const(2.0) in topological([case.rolled]) and case.ops()["take"] == 0
    case.check()


@pytest.mark.parametrize(
    "loss",
    [
        lambda: a * sp.log(sp.Add(*[sp.exp(v) for v in X])),
        lambda: sp.sin(a) * sp.Add(*[v**2 * sp.cos(v) for v in X]),
        lambda: sp.Add(*[sp.sin(v) for v in X]) * sp.Add(*[sp.cos(u) * v for u, v in pairwise(X)]),
        lambda: sp.sqrt(a + sp.Add(*[v**2 for v in X])) + sp.Add(*[sp.tanh(v) for v in X[:40]]) ** 2,
        lambda: sp.Add(*[a ** sp.Add(*[sp.sin(u * v) for u in X[:33]]) for v in Y[:33]]),
    ],
    ids=["in a logarithm", "in a factor", "two factors", "two sums", "in the terms of another"],
)
def test_sums_are_found_wherever_they_stand(loss: Callable[[], Any]) -> None:
    loss = loss()
    case = Case(loss, [v for v in (*X, *Y, a) if v in loss.free_symbols])
    assert case.ops()["sum"] >= 1 and len(topological([case.rolled])) < len(topological([case.written]))
    assert not any(n.op.name in ("add", "max") and len(n.args) > 3 for n in topological([case.rolled]))
    assert case.ops()["pack"] <= 2  # of the parameters, and of inner sums
    case.check()


@pytest.mark.parametrize("extreme", [sp.Max, sp.Min])
def test_the_largest_of_many_products(extreme: Any) -> None:
    case = Case(extreme(*[u * v for u, v in zip(X, Y, strict=True)], evaluate=False), [X, Y])
    assert case.ops()["amax"] == 1 and case.ops()["max"] + case.ops()["min"] == 0
    case.check()


def test_ties_of_many_are_split_equally() -> None:
    case = Case(sp.Max(*X[:40], evaluate=False), [X[:40]])
    case.env = {case.leaves[0]: np.repeat([1.0, 2.0], [30, 10])}
    assert case.both()[1][1].tolist() == [0.0] * 30 + [0.1] * 10


def test_short_sums_are_left_alone() -> None:
    case = Case(sp.Add(*[sp.sin(v) for v in X[:31]], *[sp.cos(v) for v in X[:31]]), [X])
    assert case.rolled is case.written


def test_terms_of_another_form_stay_beside_the_loop() -> None:
    case = Case(chain(X[:50]) + sp.Add(*[sp.sinh(k * X[k]) for k in range(1, 9)]), [X])
    assert Counter(n.op.name for n in case.rolled.args) == {"sum": 1, "sinh": 8}
    case.check()


def test_terms_that_hold_a_value_a_sample_are_left_alone() -> None:
    d = sp.Symbol("d")
    problem = read(sp.Add(*[(a * d - v) ** 2 for v in X]), [a, X], data=[d])
    written = simplified([problem.primal])
    assert rerolled(written, [p.leaf for p in problem.params], [p.leaf for p in problem.inputs]) == written


def test_what_all_terms_share_is_computed_once() -> None:
    shared = sp.exp(sp.Add(*[sp.sin(k * a) for k in range(1, 9)]))
    case = Case(sp.Add(*[(v - shared) ** 2 * sp.log(shared) for v in X]), [X, a])
    assert case.ops()["sin"] == 8
    assert all(not n.type.shape for n in topological([case.rolled]) if n.op.name in ("sin", "exp", "log"))
    case.check()


def test_factors_of_an_outer_product_are_vectors() -> None:
    case = Case(sp.Add(*[sp.exp(sp.sin(u)) * sp.sqrt(2 + sp.cos(v)) for u in X[:40] for v in Y[:40]]), [X[:40], Y[:40]])
    assert {n.type.shape for n in topological([case.rolled]) if n.op.name in ("exp", "sin", "sqrt", "cos")} == {(40,)}
    assert {s.axes for s in case.specs()} == {((40, 1),), ((40, 1), (40, 0)), ((40, 0), (40, 1))}
    case.check()


def test_pairs_are_listed_one_by_one() -> None:
    case = Case(sp.Add(*[1 / (1 + (X[i] - X[j]) ** 2) for i in range(12) for j in range(i)]), [X[:12]])
    assert {type(s) for s in case.specs()} == {Places} and case.ops()["sum"] == 1
    case.check()


def test_a_square_is_no_product_of_neighbours() -> None:
    case = Case(sp.Add(*[u * v for u in X[:40] for v in X[:40]]), [X[:40]])
    assert case.ops()["sum"] == 2
    case.check()


def test_factors_are_matched_whatever_order_they_arrive_in() -> None:
    case = Case(sp.Add(*[sp.sin(u * v * w) for u, v, w in zip(X, X[1:], X[2:], strict=False)]), [X])
    assert case.specs() == {Affine(k, ((98, 1),)) for k in range(3)}
    case.check()


def test_terms_that_sympy_turned_around_stay_beside_the_loop() -> None:
    case = Case(sp.Add(*[sp.cos(u - v) for u, v in pairwise(X)]), [X])  # cos(x10 - x9) beside cos(x11 - x12)
    assert Affine(10, ((89, 1),)) in case.specs() and case.ops()["cos"] == 1 + 10
    case.check()


def test_all_loops_read_the_same_vectors() -> None:
    w = sp.IndexedBase("w", shape=(6, 10))
    t, y = sp.IndexedBase("t", shape=(60,)), sp.IndexedBase("y", shape=(60,))
    loss = sp.Add(*[sp.sin(w[i // 10, i % 10] * t[i] - b * y[i]) for i in range(60)], *[sp.cos(u * a) for u in X[:60]])
    case = Case(loss, [a, w, X[:60], b])
    packs = [n for n in topological([case.rolled]) if n.op.name == "pack"]
    inputs = [p.leaf for p in case.problem.inputs]
    assert {n.args for n in packs} == {tuple(case.leaves[:-1]), *((n,) for n in inputs)}  # nothing is taken from b
    assert case.ops()["sum"] == 1
    case.check()


@as_written
def test_sums_of_computed_values_are_taken_from_a_vector_in_the_order_of_the_terms() -> None:
    loss = sp.Add(*[v * sp.log(sp.Add(*[sp.exp(u * v) for u in X[:33]])) for v in Y[:40]])
    case = Case(loss, [X[:33], Y[:40]])
    assert case.specs() == {Affine(0, ((33, 1),)), Affine(33, ((40, 1),)), Affine(0, ((40, 1),))}
    case.check()


def test_terms_that_contain_each_other_are_left_alone() -> None:
    leaves = [leaf(f"x{k}", role="param") for k in range(80)]
    partial, terms = leaves[0], []
    for u in leaves[1:]:
        partial = apply("add", apply("sin", partial), u)
        terms.append(apply("mul", partial, partial))
    total = apply("add", *terms)
    assert reroll([total], leaves) == [total]


def regression(rows: Sequence[Sequence[float]]) -> Any:
    """Squared residuals of a linear model, with the data baked in."""
    w = sp.symbols(f"w0:{len(rows[0])}")
    return sp.Add(*[(1 - sp.Add(*[v * s for v, s in zip(row, w, strict=True)])) ** 2 for row in rows]), w


@as_written
def test_sums_inside_the_terms_are_row_sums() -> None:
    data = np.random.default_rng(2).normal(size=(36, 40))  # of both signs, and -(2*w) is of the form of 3*w
    loss, w = regression(data.tolist())
    case = Case(loss, [w])
    (numbers,) = [n.params[0].array() for n in topological([case.rolled]) if n.op.name == "table"]
    assert sorted(np.abs(numbers).ravel()) == sorted(np.abs(data).ravel()) and numbers.shape == (36, 40)
    assert case.ops()["scatter"] == case.ops()["sum"] == 1
    assert len(topological([case.rolled])) < 15
    case.check()


@as_written
def test_a_layer_of_units_is_two_loops() -> None:
    u = sp.IndexedBase("U", shape=(33, 34))
    units = [sp.tanh(b * X[i] + sp.Add(*[sp.sin(u[i, j]) * Y[j] for j in range(32)])) for i in range(33)]
    case = Case(sp.Add(*[(k - 7.25) * t for k, t in enumerate(units)]), [u, X[:33], Y[:32], b])
    assert case.ops()["scatter"] == 1
    assert len(topological([case.rolled])) < 60
    case.check()


@as_written
def test_rows_of_exponentials_stay_sums_that_can_be_stabilised() -> None:
    u = sp.IndexedBase("U", shape=(33, 33))
    case = Case(sp.Add(*[sp.log(sp.Add(*[sp.exp(u[i, j]) for j in range(33)])) for i in range(33)]), u)
    assert case.ops()["scatter"] == 0 and set(stable_both(case)[2]) == {"log_sum_exp"}
    norms = Case(sp.Add(*[sp.exp(3 * sp.sqrt(2 + sp.Add(*[u[i, j] ** 2 for j in range(33)]))) for i in range(33)]), u)
    assert set(stable_both(norms)[2]) == {"norm_of_loop"}


def test_rows_that_do_not_step_evenly_are_summed_one_by_one() -> None:
    loss = sp.Add(*[sp.sin(Y[i * i % 97] * sp.Add(*[u * v * Y[i] for u, v in pairwise(X[:40])])) for i in range(40)])
    case = Case(loss, [X[:40], Y[:97]])
    assert case.ops()["scatter"] == 0 and case.ops()["sum"] > 30
    case.check()


def test_what_would_be_computed_over_and_over_is_left_alone() -> None:
    leaves = level = [leaf(f"x{k}", role="param") for k in range(140)]
    for _ in range(40):  # each value is used twice, so a term of 40 levels has 2**40 paths and 800 shifted values
        level = [apply("sin", apply("mul", u, v)) for u, v in pairwise(level)]
    total = apply("add", *level)
    assert reroll([total], leaves) == [total]


def test_deep_terms_do_not_recurse() -> None:
    leaves = [leaf(f"x{k}", role="param") for k in range(40)]
    terms = leaves
    for _ in range(1_200):
        terms = [apply("sin", t) for t in terms]
    (rolled,) = reroll([apply("add", *terms)], leaves)
    assert rolled.op.name == "sum" and len(topological([rolled])) < 1_300


def test_sums_written_two_terms_at_a_time_are_long_sums() -> None:
    leaves = [leaf(f"x{k}", role="param") for k in range(10_000)]
    total = apply("sin", leaves[0])
    for u in leaves[1:]:
        total = apply("add", total, apply("sin", u))
    (rolled,) = reroll([total], leaves)
    assert rolled is apply("sum", apply("sin", take(apply("pack", *leaves), Affine(0, ((10_000, 1),)))), params=((0,),))


def test_a_term_that_stands_there_twice_counts_twice() -> None:
    leaves = [leaf(f"x{k}", role="param") for k in range(40)]
    terms = [apply("sin", u) for u in leaves]
    total = apply("add", *terms, terms[0])
    env = dict(zip(leaves, np.linspace(0.0, 1.0, 40) + 0.5, strict=True))
    np.testing.assert_allclose(*evaluate([total, *reroll([total], leaves)], env), rtol=1e-14)


def test_nothing_comes_back_from_a_branch_that_a_term_did_not_take() -> None:
    case = Case(sp.Add(*[sp.Piecewise((v * sp.log(v), v > 0), (0, True)) for v in X]), [X])
    assert case.ops()["select"] == 1
    case.env = {case.leaves[0]: np.repeat([0.0, 1.0, -1.0], [40, 40, 20])}
    written, rolled = case.both()
    assert rolled[0] == written[0] == 0.0 and rolled[1].tolist() == [0.0] * 40 + [1.0] * 40 + [0.0] * 20


def test_nor_through_a_vector_of_computed_values() -> None:
    w = sp.symbols("w0:4")
    roots = [sp.sqrt(sp.exp(u) * u) for u in w]  # infinite slope at 0
    loss = sp.Add(*[sp.Piecewise((r * v, u > 0), (v, True)) for u, r in zip(w, roots, strict=True) for v in X[:10]])
    case = Case(loss, [w, X[:10]])
    assert case.ops()["pack"] == 2
    case.env = {case.leaves[0]: np.array([0.0, 1.0, 0.0, 2.0]), case.leaves[1]: np.ones(10)}
    written, rolled = case.both()
    assert rolled[1][0] == rolled[1][2] == 0.0
    for got, want in zip(rolled, written, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-13)


def test_nor_through_a_vector_that_a_loop_computes() -> None:
    x, y = X[:36], Y[:36]
    case = Case(sp.Add(*[sp.Piecewise((sp.log(sp.sin(u)) * v, u > 0), (v, True)) for u in x for v in y]), [x, y])
    assert {n.type.shape for n in topological([case.rolled]) if n.op.name == "log"} == {(36,)}
    case.env = {case.leaves[0]: np.repeat([0.0, 1.0], 18), case.leaves[1]: np.ones(36)}
    written, rolled = case.both()
    assert not rolled[1][:18].any()
    np.testing.assert_allclose(rolled[1], written[1], rtol=1e-12)


def test_nor_through_a_scalar_that_a_grid_shares() -> None:
    u = sp.IndexedBase("U", shape=(12, 12))
    terms = [
        sp.Piecewise((sp.log(a) * u[i, j] * u[i + 1, j], a > c), (u[i, j], True)) for i in range(11) for j in range(11)
    ]
    case = Case(sp.Add(*terms), [u, a])
    assert {n.type.shape for n in topological([case.rolled])} >= {(11, 11)}
    case.env = dict(
        zip([p.leaf for p in (*case.problem.params, *case.problem.inputs)], (np.ones((12, 12)), 0.0, 0.5), strict=True)
    )
    assert case.both()[1][2] == 0.0
    case.env |= {case.leaves[1]: 2.0}
    case.check()


def test_nor_through_row_sums() -> None:
    u = sp.IndexedBase("U", shape=(33, 33))
    inner = [sp.Add(*[sp.log(X[i]) * u[i, j] * Y[j] for j in range(33)]) for i in range(33)]
    case = Case(
        sp.Add(*[sp.Piecewise((sp.sin(s), X[i] > 0), (0, True)) for i, s in enumerate(inner)]), [u, X[:33], Y[:33]]
    )
    assert case.ops()["scatter"] == 1
    case.env |= {case.leaves[1]: np.repeat([0.0, 1.5], [3, 30])}
    written, rolled = case.both()
    assert not rolled[2][:3].any()
    for got, want in zip(rolled, written, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)


def test_nor_through_a_sum_behind_a_branch() -> None:
    case = Case(sp.Piecewise((sp.Add(*[sp.log(a * v) for v in X]), a > 0), (0, True)), [a, X])
    case.env = {case.leaves[0]: 0.0, case.leaves[1]: np.ones(100)}
    assert case.both()[1][0] == 0.0 and not np.any(case.both()[1][1]) and not np.any(case.both()[1][2])


def test_both_modes_and_second_derivatives() -> None:
    case = Case(chain(X[:40]) + sp.Max(*[sp.sin(v) for v in X[:40]], evaluate=False), [X[:40]])
    check_grads(case.rolled, case.leaves, case.env, order=2)


# Stabilisation


def stable_both(case: Case) -> tuple[list[Any], list[Any], list[str]]:
    """Value and gradient, written and rolled, both stabilised, and the rules that the latter met."""
    (written,), _ = stabilized([case.written])
    (rolled,), rewrites = stabilized([case.rolled])
    graphs = [[loss, *reverse.vjp(loss, case.leaves)] for loss in (written, rolled)]
    first, second = (evaluate(g, case.env) for g in graphs)
    return first, second, [r.rule for r in rewrites]


S = sp.Add(*[sp.exp(v) for v in X])


@pytest.mark.parametrize("shift", [-800.0, 0.0, 800.0])
@pytest.mark.parametrize(
    ("loss", "rules"),
    [
        (lambda: sp.log(S), {"log_sum_exp"}),
        (lambda: sp.log(1 + S), {"log_sum_exp"}),
        (lambda: sp.log(2 * S / X[3] ** 2 + sp.exp(X[5])), {"log_sum_exp"}),
        (lambda: sp.log(sp.Add(*[u**2 * sp.exp(v) for u, v in pairwise(X)])), {"log_sum_exp"}),
        (lambda: sp.exp(X[3]) / S, {"quotient_of_exps"}),
        (lambda: 3 * sp.exp(2 * X[3]) / (S * sp.exp(X[3])), {"quotient_of_exps"}),
        (lambda: -sp.log(sp.exp(X[3]) / S), {"quotient_of_exps", "log_of_product"}),
    ],
)
def test_exponentials_in_a_loop_are_stabilised(loss: Callable[[], Any], rules: set[str], shift: float) -> None:
    case = Case(loss(), [X], -1.0 + shift, 1.0 + shift)
    _, rolled, found = stable_both(case)
    assert set(found) == rules
    true = exact([case.written, *reverse.vjp(case.written, case.leaves)], case.env, 400)
    for got, want in zip(rolled, true, strict=True):
        np.testing.assert_allclose(got, np.asarray(want, float), rtol=1e-11, atol=1e-14)


def test_weights_of_either_sign_keep_their_value() -> None:
    case = Case(sp.exp(X[0]) / sp.Add(*[sp.sin(u) * sp.exp(v) for u, v in pairwise(X)]), [X])
    written, rolled, _ = stable_both(case)
    for got, want in zip(rolled, written, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_the_norm_of_many_has_no_slope_at_zero() -> None:
    case = Case(a * sp.sqrt(sp.Add(*[4 * v**2 for v in X])), [X, a])
    written, rolled, found = stable_both(case)
    assert found == ["norm_of_loop"]
    np.testing.assert_allclose(rolled[1], written[1], rtol=1e-13)
    case.env = {case.leaves[0]: np.zeros(100), case.leaves[1]: 2.0}
    assert [np.max(np.abs(v)) for v in stable_both(case)[1]] == [0.0, 0.0, 0.0]
    case.env = {case.leaves[0]: np.full(100, math.nan), case.leaves[1]: 2.0}
    assert math.isnan(stable_both(case)[1][0])


def test_a_sum_that_holds_other_than_squares_is_no_norm() -> None:
    case = Case(sp.sqrt(sp.Add(*[v**2 * u for u, v in pairwise(X)])), [X])
    assert stable_both(case)[2] == []


# Texts, costs, compilation


def test_loops_read_as_a_person_would_write_them() -> None:
    case = Case(sp.Add(*[(u * v - 1) ** 2 for u, v in pairwise(X)]), list(X))
    assert formulas([case.rolled], {})[case.rolled] == "sum((x[i]*x[i + 1] - 1)**2)"
    loss, u = grid(12)
    (total,) = [n for n in topological([Case(loss, u).rolled]) if n.op.name == "sum"]
    text = formulas([total], {}, 100)[total]
    assert text == "sum((U[i, j + 1] + U[i + 1, j] + U[i + 1, j + 2] + U[i + 2, j + 1] - 4*U[i + 1, j + 1])**2)"


def test_a_rolled_loss_costs_what_it_did() -> None:
    case = Case(chain(X), [X])
    assert operations([case.written]) <= operations([case.rolled]) <= 1.1 * operations([case.written])


def test_a_rolled_graph_survives_pickling() -> None:
    for case in (Case(chain(X), [X]), Case(sp.Add(*[sp.sin(k * X[k % 7]) for k in range(1, 60)]), [X])):
        assert pickle.loads(pickle.dumps(case.rolled)) is case.rolled


def test_compile_grad_rolls_on_request() -> None:
    loss = chain(X[:40])
    plain, rolled = (compile_grad(loss, X[:40], reroll=on) for on in (False, True))
    values = np.linspace(0.2, 1.2, 40)
    env = dict(zip([p.leaf for p in rolled.problem.params], values, strict=True))
    assert len(topological(rolled.graph.stabilized)) < 0.2 * len(topological(plain.graph.stabilized))
    for got, want in zip(*(evaluate(f.graph.simplified, env) for f in (rolled, plain)), strict=True):
        assert got == pytest.approx(want, rel=1e-12)
    assert rolled.gradients == plain.gradients
    assert rolled.explain(*values).rows == plain.explain(*values).rows
    assert pickle.loads(pickle.dumps(rolled)).graph.simplified == rolled.graph.simplified


# Spacing


def test_runs_leave_out_what_is_too_short_and_list_what_is_irregular() -> None:
    stray = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    (line,) = runs(np.array([[*range(10, 60), *(200 + stray)]]))
    assert (line.shape, line.even, line.terms.tolist()) == ((50,), True, list(range(50)))
    (listed,) = runs(np.array([np.cumsum(np.arange(40) % 3)]))
    assert (listed.shape, listed.even) == ((40,), False)
    (none,) = runs(np.empty((0, 40), int))
    assert (none.shape, none.even) == ((40,), True)


def test_the_longer_axis_of_a_narrow_grid_is_the_inner_one() -> None:
    (run,) = runs(np.array([[10 * i + j for i in range(50) for j in range(3)]]))
    assert run.spec(np.array([10 * i + j for i in range(50) for j in range(3)])) == Affine(0, ((3, 1), (50, 10)))


# Any form


UNARY = ("sin", "tanh", "neg", "abs", "atan", "softplus")
BINARY = ("add", "mul", "max", "min", "hypot")


@st.composite
def losses(draw: st.DrawFn) -> tuple[Node, list[Node]]:
    """A sum of terms of one or two random forms over neighbours, a shared node and numbers, some with a stray term."""
    x = [leaf(f"x{k}", role="param") for k in range(40)]
    shared = apply("cos", leaf("s", role="param"))
    parts: list[Node] = []
    for _ in range(draw(st.integers(1, 2))):
        stride, distance = draw(st.sampled_from((1, 1, 1, 3, 7))), draw(st.integers(1, 3))
        literal, step = draw(st.sampled_from((0.5, 2.0))), draw(st.sampled_from((0.0, 0.25)))
        pools = [
            [x[stride * k % 40], x[(stride * k + distance) % 40], shared, const(literal), const(1.5 + step * k)]
            for k in range(36)
        ]
        for _ in range(draw(st.integers(1, 6))):
            name = draw(st.sampled_from((*UNARY, *BINARY, "select")))
            places = [draw(st.integers(0, len(pools[0]) - 1)) for _ in range(4)]
            for pool in pools:
                args = [pool[k] for k in places]
                if name == "select":
                    pool.append(apply("select", apply("lt", args[0], args[1]), args[2], args[3]))
                else:
                    pool.append(apply(name, *args[: 1 if name in UNARY else 2]))
        parts += [pool[-1] for pool in pools]
    parts += [apply("sinh", x[k]) for k in range(draw(st.integers(0, 3)))]
    around = draw(st.sampled_from(("sin", "exp")))
    return apply(around, apply("mul", const(1e-2), apply("add", *parts))), [*x, leaf("s", role="param")]


@settings(max_examples=40, deadline=None)
@given(losses())
def test_any_form_keeps_value_and_gradient(drawn: tuple[Node, list[Node]]) -> None:
    loss, leaves = drawn
    (rolled,) = reroll([loss], leaves)
    verify([rolled])
    rng = np.random.default_rng(1)
    env = {x: rng.uniform(-1.0, 1.0) for x in leaves}
    written, found = (exact([n, *reverse.vjp(n, leaves)], env) for n in (loss, rolled))
    with mpmath.workdps(50):
        for got, want in zip(found, written, strict=True):
            assert abs(got - want) <= mpmath.mpf(10) ** -40 * (1 + abs(want))


# The test of the tests


def test_a_wrong_index_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Run.spec
    monkeypatch.setattr(Run, "spec", lambda run, column: right(run, np.maximum(column - 1, 0)))
    with pytest.raises(AssertionError):
        Case(chain(X), [X]).check()
