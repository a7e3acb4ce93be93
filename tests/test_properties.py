"""What holds of every graph: interpreter, plain Python and machine code agree; sums are accurate; time is linear."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcompile import compile_grad, compile_value
from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff.reverse import vjp
from gradcompile.gradient import CompiledGrad
from gradcompile.ir.core import Node, apply, leaf
from gradcompile.ir.graph import topological
from gradcompile.pipeline import Options
from gradcompile.signature.arguments import Argument, Problem
from tests.graphs import COLUMNS, EXACT_BINARY, EXACT_UNARY, SCALARS, VALUES, graphs
from tests.plain import plain
from tests.work import growth

ROOT = Path(__file__).resolve().parent.parent
w, x, y = sp.symbols("w x y")


def argument(n: Node) -> Argument:
    """The argument of a scalar leaf or a column."""
    name: str = n.params[0]
    return Argument(name, sp.Symbol(name), n, None, (sp.Symbol(name),))


def loss_of(root: Node) -> CompiledGrad:
    """A drawn graph as a loss of the scalars over the columns; a column is averaged."""
    if root.type.dtype == "bool":
        root = apply("select", root, SCALARS[0], SCALARS[1])
    primal = root
    if root.type.shape:
        primal = apply("div", apply("sum", root, params=((0,),)), apply("size", COLUMNS[0], params=(0,)))
    params, inputs = tuple(map(argument, SCALARS)), tuple(map(argument, COLUMNS))
    leaves = {a.leaf: a for a in (*params, *inputs)}
    names, symbols = {n: a.name for n, a in leaves.items()}, {n: a.symbols[0] for n, a in leaves.items()}
    return CompiledGrad(Problem((primal,), params, inputs, False, names, "drawn", symbols), Options(cache=False))


def interpreted(f: CompiledGrad, theta: np.ndarray, columns: list[np.ndarray]) -> list[float]:
    """Loss and gradient by the reference evaluator."""
    env = dict(zip([*SCALARS, *COLUMNS], [*theta, *columns], strict=True))
    return [float(v) for v in evaluate(f.graph.simplified, env)]


def computed(kernel: Any, theta: np.ndarray, columns: list[np.ndarray]) -> list[float]:
    """Loss and gradient by a kernel."""
    grad = np.empty(len(theta))
    with np.errstate(all="ignore"):
        return [float(kernel(theta, grad, *columns)), *grad.tolist()]


def agree(f: CompiledGrad, first: list[float], second: list[float]) -> None:
    assert np.array_equal(first, second, equal_nan=True), f"{first} is not {second}:\n{f.source}"


pairs = st.tuples(VALUES, VALUES).map(np.array)
exact = graphs(unary=EXACT_UNARY, binary=EXACT_BINARY)


@given(graphs(columns=False, unary=EXACT_UNARY, binary=EXACT_BINARY), pairs)
@settings(max_examples=100, deadline=None)
def test_scalar_graphs_run_as_python_as_the_interpreter_says(root: Node, theta: np.ndarray) -> None:
    f, columns = loss_of(root), [np.ones(2), np.ones(2)]
    agree(f, interpreted(f, theta, columns), computed(plain(f.source)["kernel"], theta, columns))


@given(exact, pairs, pairs, pairs)
@settings(max_examples=100, deadline=None)
def test_sampled_graphs_run_as_python_as_the_interpreter_says(
    root: Node, theta: np.ndarray, first: np.ndarray, second: np.ndarray
) -> None:
    f = loss_of(root)
    agree(f, interpreted(f, theta, [first, second]), computed(plain(f.source)["kernel"], theta, [first, second]))


@given(exact, st.lists(st.tuples(pairs, pairs, pairs), min_size=8, max_size=8))
@settings(max_examples=12, deadline=None)
def test_machine_code_gives_the_bits_of_the_interpreter(root: Node, points: list[tuple[np.ndarray, ...]]) -> None:
    f = loss_of(root)
    for theta, *columns in points:
        loss, gradient = f.flat(theta, *columns)
        agree(f, interpreted(f, theta, columns), [loss, *gradient.tolist()])


# Losses that a process without the JIT computes as well

LOSSES = [
    (w * sp.exp(-x * w) - y) ** 2,
    sp.log(1 + sp.exp(w * x)) - sp.tanh(y * w) * sp.sin(x),
    sp.Piecewise((w * sp.log(x), x > 1), (sp.sqrt(x) * w**3, True)) / (1 + y**2),
    sp.Max(w * x, y) + sp.Abs(w - y) + sp.atan2(w, x),
    sp.gamma(w) * x + sp.erf(w * y) + sp.besselj(1, w * x),
    w**x + sp.Mod(y, w) + sp.floor(x * w) + sp.cbrt(w * x),
]
X = np.linspace(0.2, 4.0, 70)
Y = np.sin(3.0 * X)

BATCH = """
import json, pickle, sys
import numpy as np
x = np.linspace(0.2, 4.0, 70)
results = []
for f in pickle.load(open(sys.argv[1], "rb")):
    loss, grads = f(1.3, x, np.sin(3.0 * x))
    results.append([loss, grads.w])
json.dump(results, sys.stdout)
"""


def in_another_process(path: Path, **environment: str) -> list[list[float]]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", BATCH, str(path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: list[list[float]] = json.loads(done.stdout)
    return result


def test_the_same_bits_in_every_process_and_the_same_numbers_without_the_jit(tmp_path: Path) -> None:
    import pickle

    compiled = [compile_grad(loss, [w], data=[x, y]) for loss in LOSSES]
    here = [[loss, *grads] for loss, grads in (f(1.3, X, Y) for f in compiled)]
    assert [[loss, *grads] for loss, grads in (f(1.3, X, Y) for f in compiled)] == here
    path = tmp_path / "losses"
    path.write_bytes(pickle.dumps(compiled))
    assert in_another_process(path) == here  # machine code from the cache
    for found, wanted in zip(in_another_process(path, NUMBA_DISABLE_JIT="1"), here, strict=True):
        assert found == pytest.approx(wanted, rel=1e-12)


# Sums


@pytest.fixture(scope="module")
def squares() -> CompiledGrad:
    return compile_grad((w * x - y) ** 2, [w], data=[x, y], reduce="sum", cache=False)


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 4095, 4096, 4097, 8192, 10_000, 12_289])
def test_sums_of_any_length_are_accurate(squares: CompiledGrad, n: int) -> None:
    rng = np.random.default_rng(n)
    first, second = rng.normal(size=n), rng.normal(size=n)
    loss, grads = squares(1.3, first, second)
    r = 1.3 * first - second
    assert loss == pytest.approx(math.fsum(r * r), rel=1e-15)
    scale = math.fsum(abs(2 * r * first))
    assert abs(grads.w - math.fsum(2.0 * r * first)) <= 1e-15 * scale
    assert squares(1.3, first, second) == (loss, grads)


def test_the_error_of_a_sum_does_not_grow_with_its_length() -> None:
    f = compile_value(x, data=[x], reduce="sum", cache=False)
    column = np.full(1_000_000, 0.1)
    assert abs(f(column) - math.fsum(column)) < 1e-9  # adding up one by one is off by 1.3e-6


def test_values_of_any_length() -> None:
    f = compile_value(sp.exp(w * x), [w], data=[x], cache=False)
    for n in (1, 63, 64, 65, 4096, 4097):
        column = np.linspace(-1.0, 1.0, n)
        np.testing.assert_allclose(f(0.5, column), np.exp(0.5 * column), rtol=1e-15)


# Time is linear in the number of distinct subexpressions, and nothing recurses


def chain(a: Node, length: int) -> Node:
    """A node above a leaf, as high as asked for."""
    n = a
    for k in range(length):
        n = apply("sin", n) if k % 2 else apply("mul", n, a)
    return n


def test_a_long_chain_differentiates_in_linear_time() -> None:
    a = leaf("a")

    def job(length: int) -> Callable[[], list[Node]]:
        n = chain(a, length)
        return lambda: vjp(n, [a])

    assert growth(job, 500) < 5
    (gradient,) = vjp(chain(a, 30_000), [a])
    assert len(topological([gradient])) >= 89_999
    value = evaluate([gradient], {a: 1.5})[0]
    assert math.isfinite(value)


def test_an_expression_thousands_of_levels_deep() -> None:
    def deep(levels: int) -> CompiledGrad:
        with sp.evaluate(False):
            e = w
            for k in range(levels):
                e = sp.Add(sp.sin(e), x if k % 2 else y)
        return compile_grad(e, [w], cache=False)

    def job(levels: int) -> Callable[[], object]:
        f = deep(levels)
        return lambda: (f.source, f.cost, repr(f), f._repr_latex_())

    assert growth(job, 100) < 5
    f = deep(2_000)
    assert f.source.count("\n") > 2_000
    assert f.cost.loss == 2_000 * 9
    assert len(repr(f)) < 400 and "..." in f._repr_latex_()
    compile(f.source, "deep", "exec")


def test_two_to_the_sixtieth_paths() -> None:
    with sp.evaluate(False):
        e = w
        for _ in range(60):
            e = sp.Add(sp.sin(e), sp.Mul(e, x))
    f = compile_grad(e, [w], cache=False)
    assert f.cost.loss == 60 * 10
    assert f.source.count("\n") < 400
    slope = [1.0]
    value = 0.01
    for _ in range(60):
        slope.append(slope[-1] * (math.cos(value) + 0.1))
        value = math.sin(value) + 0.1 * value
    grad = np.empty(1)
    assert float(plain(f.source)["kernel"](np.array([0.01]), grad, 0.1)) == pytest.approx(value, rel=1e-13)
    assert grad[0] == pytest.approx(slope[-1], rel=1e-12)


def test_a_sum_of_thousands_of_terms() -> None:
    xs = sp.symbols("x:3000")
    f = compile_grad(sp.Add(*(sp.sin(v) for v in xs)), {"x": xs}, cache=False)
    grad = np.empty(3000)
    theta = np.linspace(0.0, 1.0, 3000)
    assert float(plain(f.source)["kernel"](theta, grad)) == pytest.approx(math.fsum(np.sin(theta)), rel=1e-14)
    np.testing.assert_allclose(grad, np.cos(theta), rtol=1e-15)
