"""Compiled programs over arrays against the interpreter: values and gradients, in many shapes.

A few are compiled to machine code; all run as plain Python, in a process without the JIT, and files of `OTHERS` too.
"""

import contextlib
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcompile import compile_grad, compile_value
from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff import reverse as autodiff
from gradcompile.errors import GradcompileError
from gradcompile.frontend import nn
from gradcompile.frontend.arrays import array, scan
from gradcompile.frontend.arrays import core as array_core
from gradcompile.frontend.sympy.convert import read
from gradcompile.ir.graph import topological
from gradcompile.ir.types import dim_value
from tests.agreement import check_grad, check_value, close, point_of
from tests.cases_arrays import CASES, S, V, written
from tests.cases_blocks import PROGRAMS, drawn
from tests.cases_matrices import CASES as MATRICES
from tests.cases_matrices import EACH, MODELS, M, point, u
from tests.cases_matrices import A as square
from tests.cases_matrices import values as matrices
from tests.cases_matrices import w as weight
from tests.cases_matrices import x as vector
from tests.cases_scan import CASES as LOOP_CASES
from tests.cases_scan import symbolic, wave

JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"
SCOPE = {"np": np, "nn": nn}


def some(cases, step):
    """All cases without the JIT, one of so many with it."""
    return list(cases)[:: step if JIT else 1]


# The vocabulary


def samples(n):
    """The values of the leaves of `test_arrays`, for so many samples."""
    rng = np.random.default_rng(n)
    return V | {"X": rng.normal(size=(n, 3)), "v": rng.normal(size=n), "c": rng.normal(size=(n, 1))}


def bounded(value):
    """A loss whose slope differs from entry to entry, of few operations: plain Python takes its time for each."""
    return np.sum(1 / (1 + value * value))


@pytest.mark.parametrize("case", some(CASES, 9))
def test_every_function_of_arrays(case):
    value = written(case, S)
    single = "float32" in case
    points = [samples(n) for n in (5, 33)]
    check_value(value, *points, tolerance=1e-5 if single else 1e-9)
    if value.dtype == "float64":  # the value alone is there already
        check_grad(bounded(value), [S[name] for name in "AsWB"], *points, tolerance=1e-9, alone=False)


x, k, b = array("x", "n"), array("k", "n", "int64"), array("b", "n", "bool")
INTEGERS = [
    "k % 5", "-k % 7", "k % -3", "np.abs(k)", "np.sign(k)", "np.maximum(k, 2)", "np.minimum(k, k * k)", "k // 4",
    "np.abs(k) * x", "np.maximum(k, x)", "(k % 3 == 0) * x", "np.where(k % 2 == 1, x, -x)", "k / 3", "k.sum()",
    "np.max(k)", "np.min(k)", "np.cumsum(k)", "k[::-1]", "np.sort(k)", "np.argsort(k)", "np.argsort(x)",
    "np.argmax(x)", "np.argmin(k)", "k.mean()", "np.all(k > 3)", "np.count_nonzero(k)", "~(k > 3)", "k**2", "2**k",
    "np.prod(k[:3])", "np.clip(k, -2, 3)", "k @ k", "np.outer(k, k)", "np.concatenate([k, k])", "np.diff(k)",
    "x.astype('int64')", "(x > 0).astype('int64')", "np.tile(k, 2)", "np.repeat(k, 3)", "k.astype(bool)",
    "np.logical_xor(k > 0, x > 0)", "np.take(x, k % 33)", "np.dot(k, x)", "np.pad(k, 2)", "k[k % 33]",
    "nn.one_hot(np.abs(k), 4)", "np.argsort(-x)[:3]", "np.trunc(5 * x)", "np.sum(x > 0)", "np.where(x > 0, k, 0)",
    "b * x", "b & (x > 0)", "~b", "b + b", "np.where(b, k, -k)", "np.sum(b)", "b[::-1] * k",
]  # fmt: skip


@pytest.mark.parametrize("case", some(INTEGERS, 6))
def test_integers_and_truth_values(case):
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=33), "k": rng.integers(-9, 9, 33), "b": rng.integers(0, 2, 33) == 1}
    check_value(eval(case, {**SCOPE, "x": x, "k": k, "b": b}), values)


# Programs over samples

MANY = (100,) if JIT else ()  # Python multiplies out what has a place for each pair of samples
FEWEST = {"first": 1, "normalised_values": 1, "largest": 1, "largest_of_leaves": 1, "softmax_over_samples": 1,
          "differences": 1}  # fmt: skip


def values_of(loss, params, n):
    """Values of a program's leaves, by name."""
    return {x.params[0]: v for x, v in drawn(loss, params, n).items()}


@pytest.mark.parametrize("name", some(PROGRAMS, 7))
def test_programs_of_any_number_of_samples(name):
    loss, params, _ = PROGRAMS[name]
    counts = [n for n in (1, 2, 7, 33, *MANY) if n >= FEWEST.get(name, 0)]
    points = [values_of(loss, params, n) for n in counts]
    if params:
        check_grad(loss, params, *points, tolerance=1e-8)
    else:
        check_value(loss, *points, tolerance=1e-8)


@pytest.mark.parametrize("name", some([name for name in PROGRAMS if name not in FEWEST], 7))
def test_a_call_without_samples_returns(name):
    loss, params, _ = PROGRAMS[name]
    f = compile_grad(loss, params) if params else compile_value(loss)
    values = values_of(loss, params, 0)
    f(**{name: values[name] for name in f.signature.parameters})


LARGE = ("mlp_with_penalty", "twice", "one_hot", "batch_norm", "embedding", "mixture", "predictions", "values", "first",
         "normalised_values", "factors", "sorted", "running", "classes_of_flat_tokens", "weights_by_place")  # fmt: skip


@pytest.mark.parametrize("name", some(LARGE, 5))
def test_more_samples_than_a_block_and_than_a_group(name):
    loss, params, _ = PROGRAMS[name]
    points = [values_of(loss, params, n) for n in ((600, 5000) if JIT else (300,))]
    if params:
        check_grad(loss, params, *points, tolerance=1e-8)
    else:
        check_value(loss, *points, tolerance=1e-8)


# What was found wrong once

A, w = array("A", ("n", 3)), array("w", 3)


def test_a_value_that_is_a_sum_over_samples_is_written():
    check_value(np.sum(A, axis=0), samples_of(40))
    check_value(A + 0.0, samples_of(40))


def samples_of(n):
    rng = np.random.default_rng(n)
    return {"A": rng.normal(size=(n, 3)), "w": rng.normal(size=3), "x": rng.normal(size=n)}


def test_the_length_of_a_flat_axis_divides_as_a_whole():
    check_grad(np.mean((A * w).reshape(-1) ** 2), [w], samples_of(40))


def test_results_of_passes_keep_their_names():
    total, rows = array("total", 3), array("rows", 3)
    loss = np.sum((A * total - np.mean(A * total, axis=0)) ** 3 * rows) + np.sum(np.sort(A @ rows) ** 2)
    check_grad(loss, [total, rows], samples_of(40) | {"total": np.ones(3), "rows": np.arange(3.0)})


def test_reversed_samples_are_computed_before_a_pass():
    check_grad(np.sum(np.tanh(A[::-1] @ w) * x), [w], samples_of(40))


def test_a_table_as_long_as_the_samples():
    table, rows = np.random.default_rng(0).normal(size=3000), array("rows", (3000, 3))
    check_grad(np.sum((rows @ w - table) ** 2), [w], {"rows": np.ones((3000, 3)), "w": np.ones(3)})


def test_a_table_with_infinities():
    ends, k = np.array([-np.inf, 0.5, np.inf]), array("k", "n", dtype="int64")
    ends = np.asarray(ends, like=k)
    loss = -np.mean(np.log(nn.sigmoid(ends[k + 1] - A @ w) - nn.sigmoid(ends[k] - A @ w)))
    check_grad(loss, [w], samples_of(40) | {"k": np.arange(40) % 2})


def test_tables_of_several_functions():
    """One is read before the pass over the samples, one in it, one after it."""
    first, second, third = np.random.default_rng(0).normal(size=(3, 3, 3))
    shared = np.linalg.inv(np.outer(w, w) + first @ first.T)
    loss = np.sum(np.tanh(A @ shared @ (np.outer(w, w) + second)) ** 2)
    check_grad(loss + np.sum(np.linalg.inv(np.mean(A.T @ A) * np.eye(3) + third)) * w[0], [w], samples_of(40))


ONES = np.ones((12, 9))
PATTERNS = {
    "equal": 2.5 * ONES, "zeros": np.zeros((2, 4, 9)), "negative zeros": -0.0 * ONES, "true": ONES > 0,
    "counted": np.arange(70), "floats": np.arange(-30.0, 50), "single": np.arange(65, dtype=np.float32),
    "unit": np.eye(9), "boolean unit": np.eye(9, dtype=bool), "diagonal": -3 * np.eye(8, 11, 2),
    "below": 0.5 * np.eye(12, k=-3), "lower": np.tri(9), "strictly lower": np.tri(12, 9, -1, dtype=int),
    "upper": np.triu(ONES, 2), "steps": np.where(np.tri(9) > 0, 2.0, -1.0), "infinite": np.where(np.tri(9), 0, -np.inf),
}  # fmt: skip
NONE = {
    "random": np.random.default_rng(0).normal(size=(9, 9)), "two diagonals": np.eye(9) + np.eye(9, k=1),
    "one other": np.eye(9) + 1e-300 * np.eye(9, k=-8), "of both zeros": np.where(np.tri(9, k=-1) > 0, -0.0, np.eye(9)),
    "falling": np.arange(70)[::-1], "not a number": np.full(70, np.nan), "by twos": np.arange(0, 140, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", PATTERNS | NONE)
def test_numbers_that_follow_a_pattern_are_no_table(name):
    numbers = (PATTERNS | NONE)[name]
    node = array_core.lift(numbers, "float32" if name == "single" else "float64")
    assert (node.op.name == "table") == (name in NONE)
    (value,) = evaluate([node], {})
    assert np.array_equal(value, numbers, equal_nan=True) and np.array_equal(np.signbit(value), np.signbit(numbers))


@pytest.mark.parametrize("count", [1, 4, 5, 30])
def test_tables_of_equal_numbers(count):
    """Too few for a pattern; where a text has many equal ones, they stand there once."""
    index = array("index", "n", dtype="int64")
    numbers = np.asarray(np.full(count, 2.5), like=index)
    check_grad(np.sum(numbers[index % count] * w[0]), [w], {"index": np.arange(9), "w": np.ones(3)})


def test_large_unit_matrices_need_no_input():
    """More numbers than a table may have."""
    count = 400 if JIT else 100
    many = array("many", count)
    loss = np.sum(np.linalg.solve(np.outer(many, many) + 2.0 * np.eye(count), np.ones(count)))
    check_grad(loss, [many], {"many": np.linspace(0.0, 0.1, count)})


def test_places_of_largest_entries_lie_as_their_array_does():
    cube = array("cube", ("n", "n", "n"))
    values = {"cube": np.random.default_rng(0).normal(size=(3, 3, 3))}
    for axis in range(3):
        check_value(np.tril(np.argmax(cube, axis)), values)


def test_arrays_without_entries():
    empty = array("empty", (0, 2, 3))
    check_value(np.concatenate([empty, empty], axis=1)[:, 0], {"empty": np.zeros((0, 2, 3))})
    check_value(np.argmax(empty, axis=1), {"empty": np.zeros((0, 2, 3))})


def test_a_number_has_no_axis_to_pad():
    check_value(np.pad(array("s"), 1), {"s": 2.0})


def test_a_loop_before_a_pass_hands_on_what_it_gives():
    z, u, y = array("z", ("n", 6, 2)), array("u", (2, 3)), array("y", "n")
    h, _ = scan(lambda h, row: (np.tanh(row @ u + h), None), np.zeros_like(z[:, 0, :1]) * np.ones(3), z.swapaxes(0, 1))
    rng = np.random.default_rng(0)
    points = [
        {"z": rng.normal(size=(n, 6, 2)), "u": rng.normal(size=(2, 3)), "y": rng.normal(size=n)} for n in (1, 300)
    ]
    check_grad(np.mean((np.sum(h, axis=1) - y) ** 2), [u], *points)


def test_a_loop_over_turned_integers():
    table, tokens = array("table", (7, 3)), array("tokens", ("n", 5), "int64")
    start = np.zeros_like(tokens[:, :1]) * np.ones((1, 3))
    h, _ = scan(lambda h, t: (np.tanh(table[t] + h), None), start, tokens.T)
    values = {"table": np.random.default_rng(0).normal(size=(7, 3)), "tokens": np.arange(200).reshape(40, 5) % 7}
    check_grad(np.mean(h * h), [table], values)


def test_the_sum_of_one_entry():
    z = array("z", 5)
    check_grad(np.sum(np.tanh(z[:3][2:]) ** 2), [z], {"z": np.arange(5.0)})


def test_rows_of_samples_are_sorted_where_they_stand():
    check_value(np.sort(A, axis=1), samples_of(40))
    check_value(np.argsort(A, axis=0), samples_of(40))


SINGLE = {name: array(name, a.shape, "float32" if a.dtype == "float64" else a.dtype) for name, a in S.items()}


@pytest.mark.parametrize("case", some([case for case in CASES if "eig" not in case], 20))
def test_single_precision(case):
    value = written(case, SINGLE)
    values = {name: v.astype("float32") if v.dtype == "float64" else v for name, v in samples(33).items()}
    if value.dtype == "float32":
        check_grad(bounded(value), [SINGLE[name] for name in "AsWB"], values, tolerance=1e-3, alone=JIT)


LOOPS = [(name, named) for name in LOOP_CASES for named in (False, True)]


@pytest.mark.parametrize(("name", "named"), some(LOOPS, 5))
def test_models_that_are_loops(name, named):
    loss, env = symbolic(name, named)
    params = [a for a in env if all(isinstance(d, int) for d in a.shape)]
    check_grad(loss, params, {a.node.params[0]: v for a, v in env.items()})


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", some([0, 1, 2, 7, 40, "T"], 3))
@pytest.mark.parametrize("checkpoint", [False, True])
def test_loops_of_any_number_of_steps(reverse, length, checkpoint):
    a, walked = array("a"), array("walked", length)
    last, ys = scan(wave(a), 0.5, walked, reverse=reverse, checkpoint=checkpoint and length != "T")
    counts = (0, 1, 5, 300) if length == "T" else (length,)
    points = [{"a": 0.7, "walked": np.random.default_rng(0).normal(size=n)} for n in counts]
    check_grad(last * last + np.sum(ys * ys), [a], *points)
    check_value(ys, *points)


# Matrix expressions


@pytest.mark.parametrize("name", some([*MATRICES, *MODELS], 8))
def test_matrix_expressions(name):
    loss, params, _ = (MATRICES | MODELS)[name]
    compare_matrices(loss, params, matrices())


@pytest.mark.parametrize("k", some(range(len(EACH)), 6))
def test_matrix_expressions_of_each_sample(k):
    rng = np.random.default_rng(1)
    for n in (1, 4, 300):
        data = {
            "M": rng.uniform(0.5, 1.0, (n, 3, 3)) + 2 * np.eye(3),
            "u": rng.uniform(0.5, 1, (n, 3, 1)),
            "w": np.ones(n),
        }
        compare_matrices(EACH[k][0], [vector, square], matrices() | data, data=[M, u, weight], allow_unused=True)


def compare_matrices(loss, params, given, **options):
    """A SymPy loss compiled and interpreted."""
    problem = read(loss, params, **options)
    roots = [problem.primal, *autodiff.vjp(problem.primal, [a.leaf for a in problem.params])]
    want = evaluate(roots, point(problem, given))
    f = compile_grad(loss, params, **options)
    value, gradients = f(**{a.name: given[a.name] for a in (*problem.params, *problem.inputs)})
    for got, wanted in zip([value, *gradients], want, strict=True):
        close(str(loss), got, wanted, 1e-8)


# Drawn programs

SHAPES = st.lists(st.sampled_from(("n", "n", 0, 1, 2, 3, 5)), max_size=3).map(tuple)
UNARY = (np.tanh, np.sin, np.abs, np.negative, lambda a: a * a, lambda a: np.log(1 + np.exp(a)))
BINARY = (np.add, np.multiply, np.subtract, np.maximum, np.hypot, lambda a, b: a / (2 + b * b), np.matmul, np.outer,
          lambda a, b: np.where(a > b, a, b * b))  # fmt: skip
ALONG = (np.sum, np.mean, np.max, np.cumsum, np.flip, np.sort, nn.softmax, np.argmax,
         lambda a, axis: np.diff(a, axis=axis), lambda a, axis: np.roll(a, 1, axis),
         lambda a, axis: np.repeat(a, 2, axis), lambda a, axis: np.concatenate([a, a * a], axis),
         lambda a, axis: np.stack([a, np.sin(a)], axis),
         lambda a, axis: np.take(a, [0, -1], axis), lambda a, axis: a.swapaxes(0, axis))  # fmt: skip
WHOLE = (lambda a: a.reshape(-1), lambda a: a[None], lambda a: a[..., None], lambda a: a[1:], lambda a: a[::-1],
         np.transpose, np.tril, lambda a: a[..., ::2], lambda a: np.pad(a, 1), lambda a: a[-1])  # fmt: skip


@st.composite
def drawn_programs(draw):
    """An array made of a few others by some functions, and the parameters."""
    params = [array(f"p{k}", draw(st.sampled_from(((), (2,), (3,), (5, 3))))) for k in range(2)]
    pool = [*params, *(array(f"d{k}", draw(SHAPES)) for k in range(2))]
    for _ in range(draw(st.integers(1, 7))):
        a = draw(st.sampled_from(pool))
        kind = draw(st.sampled_from(("unary", "binary", "binary", "along", "along", "whole")))
        with contextlib.suppress(GradcompileError, ValueError, IndexError, TypeError):  # what does not fit is not taken
            if kind == "binary":
                made = draw(st.sampled_from(BINARY))(a, draw(st.sampled_from(pool)))
            elif kind == "along":
                made = draw(st.sampled_from(ALONG))(a, axis=draw(st.integers(0, max(a.ndim - 1, 0))))
            else:
                made = draw(st.sampled_from(UNARY if kind == "unary" else WHOLE))(a)
            pool += [made] if made.ndim < 5 and math.prod(dim_value(d, {"n": 7}) for d in made.shape) < 10**5 else []
    return pool[-1], params


@given(drawn_programs(), st.sampled_from((1, 2, 7)), st.booleans())
@settings(max_examples=20 if JIT else 250, deadline=None)
def test_drawn_programs(program, n, stabilize):
    made, params = program
    rng, loss = np.random.default_rng(0), np.sum(np.sin(made))
    leaves = {x for x in topological([loss.node]) if x.op.name == "leaf"} | {p.node for p in params}
    numbers = {x.params[0]: rng.normal(size=[dim_value(d, {"n": n}) for d in x.type.shape]) for x in leaves}
    try:
        evaluate([loss.node], point_of(loss, params, numbers))
    except (ValueError, GradcompileError):  # there is no largest of nothing, say
        return
    check_grad(loss, params, numbers, tolerance=1e-7, stabilize=stabilize)


# Files


@pytest.mark.skipif(not JIT, reason="bits are those of machine code")
@pytest.mark.parametrize("name", ["mlp_with_penalty", "determinants"])
def test_a_saved_file_and_a_pickle_give_the_same_bits(name, tmp_path):
    loss, params, _ = PROGRAMS[name]
    f, numbers = compile_grad(loss, params), values_of(loss, params, 600)
    arguments = [numbers[key] for key in f.signature.parameters]
    value, gradients = f(args=numbers)
    assert pickle.loads(pickle.dumps(f))(args=numbers)[0] == value
    f.save(tmp_path / "saved.py")
    np.savez(tmp_path / "given.npz", f.pack(*arguments[: len(params)]), *arguments[len(params) :])
    text = (
        "import numpy as np, saved; theta, *rest = np.load('given.npz').values(); grad = np.zeros_like(theta)\n"
        "print(float(saved.kernel(theta, grad, *rest)).hex(), grad.tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=True)
    flat = np.concatenate([np.ravel(g) for g in gradients])
    assert done.stdout.split() == [value.hex(), flat.tobytes().hex()]


OTHERS = ("test_compile.py", "test_golden.py", "test_bad_input.py")  # what they say holds without the JIT too


@pytest.mark.skipif(not JIT, reason="all run without the JIT already")
def test_all_of_these_as_plain_python():
    """In one process with those of other files, but for what starts processes itself."""
    here = Path(__file__).resolve()
    files = [str(here), *(str(here.with_name(name)) for name in OTHERS)]
    options = ["-q", "-p", "no:cacheprovider", "-x", "-k", "not another_process and not saved"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "LOWERED_ELSEWHERE": "1"},
        capture_output=True, text=True, cwd=here.parent.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
