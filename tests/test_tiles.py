"""Matrix products in tiles of registers: every shape and layout against NumPy, what stands around them, the choice."""

import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradcompile import codegen
from gradcompile.codegen import builtin, tiles
from gradcompile.codegen import functions as jit
from gradcompile.codegen.linked import Linked
from gradcompile.export import python as standalone
from gradcompile.runtime import helpers

HEAD = """from gradcompile.library.blas import connect_blas
from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import view

connect_blas()


@jit
def f(out, a, b):
    out[{places}] {op} {left} @ {right}
"""
OPERATIONS = {"=": lambda c, p: p, "+=": lambda c, p: c + p, "-=": lambda c, p: c - p}
MACHINES = {"wide": (64, 32), "narrow": (32, 16)}  # bytes of a vector register, and how many there are
WAYS = pytest.mark.parametrize("way", ["a @ b", "a.T @ b", "a @ b.T", "a.T @ b.T"])
SIZES = st.integers(0, 70)


def entry(way, op, dtype, places, machine, worth=tiles.WORTH, **sizes):
    """The compiled product in tiles, whatever its size; a and b may have lengths that the text knows.

    worth: the multiplications from which on it is computed in parts.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "WORTH", worth)
        patch.setattr(tiles, "registers", lambda: MACHINES[machine])
        patch.setattr(tiles, "is_better", lambda *_: True)
        left, right = way.split(" @ ")
        if sizes:
            left = left.replace("a", "view(a, 0, ({}, {}))".format(*sizes["a"]))
            right = right.replace("b", "view(b, 0, ({}, {}))".format(*sizes["b"]))
        text = HEAD.format(places=places, op=op, left=left, right=right)
        kinds = tuple(codegen.kind_of(numba_type(dtype)) for _ in range(3))
        name = f"tiled_{abs(hash((text, dtype, machine, worth)))}"
        codegen.remember(f"{name}.py", text)
        space = {"__name__": name}
        exec(compile(text, f"{name}.py", "exec"), space)
        lowered = codegen.lower(codegen.own_text(space["f"]), kinds)
        linked = Linked(codegen.machine_code(lowered))
        target = builtin.Target(function=linked.address)
        text = builtin.arrays_caller(lowered.result, lowered.fails, kinds)
        return codegen.entry("f", target, linked, jit.linked_caller(text)), lowered.text


entry_of = cache(entry)


def numba_type(dtype):
    from numba import from_dtype, types

    return types.Array(from_dtype(np.dtype(dtype)), 2, "C")


def drawn(way, m, n, k, dtype, seed=0):
    """Operands for a product of m by n over k terms, and their product, of values and of sizes."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    exact = a.astype(np.float64) @ b.astype(np.float64), np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    left, right = way.split(" @ ")
    return *(np.ascontiguousarray(x.T if turned.endswith(".T") else x) for x, turned in ((a, left), (b, right))), exact


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("op", OPERATIONS)
@WAYS
@settings(max_examples=25, deadline=None)
@given(m=SIZES, n=SIZES, k=SIZES)
@example(m=64, n=64, k=64)
@example(m=9, n=1, k=300)
@example(m=3, n=5, k=0)
@example(m=1, n=33, k=129)
def test_a_product_in_tiles(way, op, dtype, machine, m, n, k):
    f, text = entry_of(way, op, dtype, "1:, 2:", machine)
    assert ".product." in text and "gemm" not in text
    a, b, (exact, size) = drawn(way, m, n, k, dtype, seed=m + 71 * n + k)
    out = np.random.default_rng(k).normal(size=(m + 1, n + 2)).astype(dtype)
    kept, before = out.copy(), out[1:, 2:].astype(np.float64)
    f(out, a, b)
    eps = np.finfo(dtype).eps
    bound = (k + 2) * eps * size + 2 * eps * np.abs(OPERATIONS[op](before, exact)) + eps
    assert np.all(np.abs(out[1:, 2:] - OPERATIONS[op](before, exact)) <= bound)
    kept[1:, 2:] = out[1:, 2:]
    np.testing.assert_array_equal(out, kept)  # nothing is written beside it


@WAYS
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_bits_of_a_product_are_those_of_its_terms_in_order(way, dtype):
    m, n, k = 13, 40, 300
    a, b, _ = drawn(way, m, n, k, dtype)
    found = []
    for machine in MACHINES:
        for sizes in ({}, {"a": a.shape, "b": b.shape}):
            out = np.zeros((m, n), dtype)
            entry_of(way, "=", dtype, ":, :", machine, **sizes)[0](out, a, b)
            found.append(out)
    for out in found[1:]:
        np.testing.assert_array_equal(out, found[0])
    one = np.zeros((1, n), dtype)
    row = np.ascontiguousarray(a[:, 4:5] if way.startswith("a.T") else a[4:5])
    entry_of(way, "=", dtype, ":, :", "wide")[0](one, row, b)
    np.testing.assert_array_equal(one[0], found[0][4])


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("op", OPERATIONS)
@WAYS
@settings(max_examples=25, deadline=None)
@given(m=st.integers(1, 200), n=st.integers(1, 600), k=st.integers(1, 150))
@example(m=200, n=1, k=1)
@example(m=1, n=600, k=1)
@example(m=6 * tiles.PARTS, n=5, k=129)
@example(m=6 * tiles.PARTS + 1, n=5, k=3)
def test_parts_of_a_product_have_its_bits(way, op, machine, m, n, k):
    whole, in_parts = (entry_of(way, op, np.float64, "1:, 2:", machine, worth) for worth in (1 << 40, 1))
    assert ".part(" in in_parts[1]
    a, b, _ = drawn(way, m, n, k, np.float64, seed=m + 71 * n + k)
    out = np.random.default_rng(k).normal(size=(m + 1, n + 2))
    alone, jobs = out.copy(), helpers.crew.jobs
    whole[0](alone, a, b)
    in_parts[0](alone.copy(), a, b)
    assert helpers.crew.jobs == jobs  # nobody would help
    has_helpers = helpers.crew.enter(0)
    try:
        in_parts[0](out, a, b)
    finally:
        helpers.crew.leave(has_helpers)
    assert out.tobytes() == alone.tobytes()
    assert helpers.crew.jobs == jobs + 1


def test_a_product_that_the_text_knows_to_be_small_is_not_cut():
    for worth, cut in ((30 * 40 * 50, True), (30 * 40 * 50 + 1, False)):
        _, text = entry_of("a @ b", "=", np.float64, "0:30, 0:40", "wide", worth, a=(30, 50), b=(50, 40))
        assert (".divided(" in text) == cut


@WAYS
def test_what_is_not_finite_stays_in_its_row_and_column(way):
    a, b, _ = drawn(way, 11, 21, 19, np.float64)
    a[2, 3], b[5, 7], b[1, 1] = np.nan, np.inf, -np.inf
    out = np.zeros((11, 21))
    entry_of(way, "=", np.float64, ":, :", "wide")[0](out, a, b)
    with np.errstate(invalid="ignore"):
        expected = eval(way, {"a": a, "b": b})
    np.testing.assert_array_equal(np.isfinite(out), np.isfinite(expected))
    np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
    np.testing.assert_allclose(out[np.isfinite(out)], expected[np.isfinite(out)])


def test_a_result_by_columns_is_computed_by_its_transpose():
    text = HEAD.format(places=":, :", op="=", left="a", right="b").replace("out[:, :]", "view(out, 0, (3, 9)).T[:, :]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "is_better", lambda *_: True)
        f = jit.load(text, cache=False).f
        a, b, (exact, _) = drawn("a @ b", 9, 3, 20, np.float64)
        out = np.zeros((3, 9))
        f(out, a, b)
    np.testing.assert_allclose(out.T, exact)


# ---- the choice


@pytest.mark.parametrize(
    ("sizes", "turned", "by_rows", "better"),
    [
        ((32, 32, 500), True, True, True),  # a gradient, summed over the samples
        ((10, 10, 500), True, True, False),
        ((8, 500, 500), True, True, True),
        ((8, 32, 500), True, False, False),
        ((32, 500, 8), True, False, True),  # few terms
        ((32, 500, 32), False, True, False),  # small: BLAS is as good
        ((500, 64, 64), False, True, True),
        ((500, 10, 784), False, True, False),
        ((1600, 128, 32), False, True, True),
        ((tiles.NAMED, tiles.NAMED, 64), True, True, False),  # of no known size: it may be large
    ],
)
def test_tiles_are_chosen_by_size(sizes, turned, by_rows, better):
    assert tiles.is_better(*sizes, turned, by_rows) is better


BOUNDED = """from gradcompile.library.blas import connect_blas
from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import view

connect_blas()

BLOCK = {block}


@jit
def f(out, a, b):
    m = min(BLOCK, a.shape[0])
    view(out, 0, (m, 128))[:, :] = view(a, 0, (m, 64)) @ view(b, 0, (64, 128))
"""


@pytest.mark.parametrize(("block", "in_tiles"), [(8, False), (500, True)])
def test_a_length_is_no_more_than_the_text_says(block, in_tiles):
    text = BOUNDED.format(block=block)
    name = f"bounded_{block}"
    codegen.remember(f"{name}.py", text)
    space = {"__name__": name}
    exec(compile(text, f"{name}.py", "exec"), space)
    kinds = tuple(codegen.kind_of(numba_type(np.float64)) for _ in range(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "registers", lambda: MACHINES["wide"])
        lowered = codegen.lower(codegen.own_text(space["f"]), kinds).text
    assert (".product." in lowered, "gemm" in lowered) == (in_tiles, not in_tiles)


def test_a_processor_without_fused_multiplication_leaves_products_to_blas(monkeypatch):
    for features, found in [("+avx2,-fma", None), ("+avx2,+fma", (32, 16)), ("-avx,+avx512f", (64, 32)), ("", None)]:
        monkeypatch.setattr(tiles, "features", lambda features=features: frozenset(features.split(",")))
        assert tiles.registers.__wrapped__() == found


LARGE = """from numpy import float64
from gradcompile.library.blas import connect_blas
from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import view

connect_blas()


@jit
def f(out, a, b):
    view(out, 0, (32, 32))[:, :] += view(a, 0, (32, 40)) @ view(b, 0, (32, 40)).T
"""
ALONE = """
import numpy as np, saved
out, a, b = np.ones((32, 32)), np.arange(1280.0).reshape(32, 40) % 7.0, np.arange(1280.0).reshape(32, 40) % 5.0
saved.f(out, a, b)
print(np.array_equal(out, 1.0 + a @ b.T))
"""


def test_a_file_of_its_own_brings_the_tiles(tmp_path):
    standalone.save(LARGE, tmp_path / "saved.py")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for own in ({}, {"NUMBA_DISABLE_JIT": "1"}):
        command = [sys.executable, "-c", ALONE]
        run = subprocess.run(command, env=environment | own, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert run.stdout == "True\n"
