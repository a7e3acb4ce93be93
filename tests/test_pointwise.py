"""Parts of an op's arguments give a part of its result: every rule, along every axis, against the op of the whole."""

import numpy as np
import pytest

from gradcompile.analysis.evaluate import evaluate
from gradcompile.ir.core import OPS, apply, leaf
from gradcompile.ir.graph import topological
from gradcompile.ir.types import ArrayType
from gradcompile.lower.blocks.pointwise import REDUCED, RULES, along, reduced
from gradcompile.ops.shape import Span

N = 4  # every axis that is cut has this length, and others as well: places tell them apart


def real(name, *shape):
    return leaf(name, ArrayType(shape))


def whole(name, *shape):
    return leaf(name, ArrayType(shape, "int64"))


x, y, z = real("x", N, 3, N), real("y", 3, N), real("z", N, 1, N)
square, right = real("square", N, 4, 4), real("right", N, 4, 4)
i, j = whole("i", N, 2), whole("j", N, 2)
line = apply("iota", params=(N,))
count, other = (apply("broadcast", line, params=((N, N), (k,))) for k in (0, 1))
near = whole("near", N, N)
SPARSE = whole("columns", 9), real("data", 9), whole("starts", N), whole("stops", N)


def op(name, *args, **kwargs):
    return apply(name, *args, params=tuple(kwargs.get("params", ())))


# a node, and along which axes it is pointwise
CASES = [
    (op("add", x, y), {0, 1, 2}),
    (op("mul", x, z), {0, 1, 2}),
    (op("select", op("lt", x, y), x, z), {0, 1, 2}),
    (op("cast", x, params=["int64"]), {0, 1, 2}),
    (op("broadcast", y, params=[(N, 3, N)]), {0, 1, 2}),
    (op("broadcast", y, params=[(3, N, N), (0, 2)]), {0, 1, 2}),
    (op("transpose", x, params=[(2, 0, 1)]), {0, 1, 2}),
    (op("item", x, params=[(None, 1, None)]), {0, 1}),
    (op("item", x, params=[(None, Span(2, 2, -1), Span(0, N))]), {0, 2}),
    (op("item", x, params=[(None, None, Span(N - 1, N, -1))]), {0, 1}),
    (op("assemble", real("a", N, 2), real("b"), params=[(N, 3, N), ((None, 1, Span(1, 2)), (0, 2, 3))]), set()),
    (op("assemble", real("a", N, 2), real("b", N), params=[(N, 3, N), ((None, 1, Span(1, 2)), (None, 2, 3))]), {0}),
    (op("assemble", real("a", 3, N), params=[(N, 3, N), ((2, None, None),)]), {1, 2}),
    (op("reshape", x, params=[(N, N, 3)]), {0}),
    (op("reshape", x, params=[(1, N, 3, 2, 2)]), {1, 2}),
    (op("reshape", real("f", 2, 3, N, N), params=[(6, N, 2, 2)]), {1}),
    (op("iota", params=[N]), {0}),
    (op("sum", x, params=[(1,)]), {0, 1}),
    (op("amax", x, params=[(0,)]), {0, 1}),
    (op("argmax", x, params=[1]), {0, 1}),
    (op("argsort", x, params=[2]), {0, 1}),
    (op("cumsum", x, params=[0, True]), {1, 2}),
    (op("window", x, params=[1, 2, 1, 1]), {0, 3}),
    (op("overlap", real("g", N, 2, 2, N), params=[1, 3, 1, 1]), {0, 2}),
    (op("dot", x, y, params=[(0, 1, 2), (1, 3), (3, 0, 2)]), {0, 1, 2}),
    (op("dot", x, z, params=[(0, 1, 2), (0, 3, 4), (0, 1, 3, 2, 4)]), {0, 1, 2, 3, 4}),
    (op("gather", x, i, params=[0]), {0, 1, 2, 3}),
    (op("gather", x, i, params=[2]), {0, 1, 2, 3}),
    (op("gather", square, i, j, params=[1]), {0, 1, 2}),
    (op("gather", square, count, near, params=[0]), {0, 1, 2}),
    (op("gather", square, near, other, params=[0]), {0, 1, 2}),
    (op("gather", square, line, line, params=[0]), {0, 1}),
    (op("scatter_add", real("g", N, 2, 3), i, params=[0, (5,)]), {1}),
    (op("scatter_add", real("g", 3, N, 2, N), i, j, params=[1, (5, 6)]), {0, 3}),
    (op("scatter_add", real("g", N, N, 3), count, near, params=[0, (N, 4)]), {0, 2}),
    (op("scatter_add", real("g", N, N, 3), near, other, params=[0, (4, N)]), {1, 2}),
    (op("solve", square, right, params=["full"]), {0, 2}),
    *((op(n, square), {0}) for n in ("det", "logabsdet", "detsign", "adjugate", "cholesky", "eigvals", "eigvecs")),
    *((op(n, real("a", N, 3, 3)), {0}) for n in ("svdvals", "svdvecs", "pinv")),
    (op("sparse_dot_rows_vector", real("a", 4), *SPARSE), {0}),
    (op("sparse_dot_columns_vector", real("a", N), *SPARSE, params=(4,)), set()),
    (op("sparse_dot_rows_matrix", real("a", 4, 3), *SPARSE), {0, 1}),
    (op("sparse_dot_columns_matrix", real("a", N, 3), *SPARSE, params=(4,)), {1}),
    (op("dft", real("a", N, 2, 3), params=("forward",)), {0}),
]
NAMES = [f"{k}_{n.op.name}" for k, (n, _) in enumerate(CASES)]


def drawn(n):
    rng = np.random.default_rng(1)
    found = {}
    for a in topological([n]):
        if a.op.name == "leaf":
            shape = a.type.shape
            integers = a.type.dtype == "int64"
            found[a] = rng.integers(0, 3, shape) if integers else 3 * rng.normal(size=shape)
            found[a] = found[a] @ np.swapaxes(found[a], 1, 2) + np.eye(4) if a is square else found[a]
    return found


def of_part(n, parts, env, places):
    """The op over parts of its arguments, which are cut at these places."""
    args = [a if k is None else leaf(f"arg_{j}", ArrayType(cut_shape(a, k, len(places)), a.type.dtype))
            if isinstance(k, int) else k for j, (a, k) in enumerate(zip(n.args, parts.args, strict=True))]  # fmt: skip
    values = {b: np.take(evaluate([a], env)[0], places, k)
              for a, b, k in zip(n.args, args, parts.args, strict=True) if isinstance(k, int)}  # fmt: skip
    result = apply(n.op.name, *args, params=parts.params)
    return result, evaluate([result], env | values)[0]


def cut_shape(a, axis, length):
    return (*a.type.shape[:axis], length, *a.type.shape[axis + 1 :])


@pytest.mark.parametrize(("n", "axes"), CASES, ids=NAMES)
def test_parts_give_a_part(n, axes):
    env = drawn(n)
    expected = evaluate([n], env)[0]
    assert {k for k in range(len(n.type.shape)) if along(n, k, 2) is not None} == axes
    for axis in axes:
        places = [1, 2] if n.type.shape[axis] > 2 else [0]
        result, value = of_part(n, along(n, axis, len(places)), env, places)
        assert result.type.shape == cut_shape(n, axis, len(places))
        value = value + (places[0] if n.op.name == "iota" else 0)
        np.testing.assert_allclose(value, np.take(expected, places, axis), rtol=1e-12)


SUMS = [
    (op("sum", x, params=[(0, 1)]), 1),
    (op("sum", x, params=[(0, 2)]), 2),
    (op("amax", x, params=[(2,)]), 1),
    (op("dot", x, y, params=[(0, 1, 2), (1, 2), (0,)]), 1),
    (op("dot", x, z, params=[(0, 1, 2), (0, 3, 2), (1, 3)]), 2),
    (op("scatter_add", real("g", N, 2, 3), i, params=[0, (5,)]), 1),
    (op("scatter_add", real("g", 3, N, 2, N), i, j, params=[1, (5, 6)]), 1),
    (op("scatter_add", real("g", N, N, 3), count, near, params=[0, (N, 4)]), 2),
]


@pytest.mark.parametrize(("n", "count"), SUMS, ids=[n.op.name for n, _ in SUMS])
def test_parts_add_up(n, count):
    env = drawn(n)
    found = reduced(n, lambda a, k: a.type.shape[k] == N)
    assert len(found) == count
    for parts in found:
        left, right = (of_part(n, parts, env, places) for places in ([0], [1, 2, 3]))
        assert left[0].type == right[0].type == n.type
        together = np.maximum if n.op.name == "amax" else np.add
        np.testing.assert_allclose(together(left[1], right[1]), evaluate([n], env)[0], rtol=1e-12)


def test_every_op_of_whole_arrays_is_thought_of():
    static = {"leaf", "const", "table", "pack", "take", "scatter", "size"}  # a static index, or no samples at all
    static |= {"scan", "scanned", "ruled"}  # not in blocks, which know the results of one; by its body
    assert {name for name, o in OPS.items() if o.takes_arrays} == static | set(RULES)
    assert {n.op.name for n, _ in CASES} >= set(RULES)
    assert {n.op.name for n, _ in SUMS} == set(REDUCED)
