"""Lowering of whole arrays: views, products by BLAS, filling, memory of run-time size, and integers as indices."""

import ctypes
import os
import re
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcompile import codegen
from gradcompile.codegen import functions as jit
from gradcompile.codegen import statements, workspace
from gradcompile.export import python as standalone
from gradcompile.library import blas
from tests.plain import plain

HEAD = """
from gradcompile.library.blas import connect_blas
from gradcompile.library.primitives import empty, fma, full, lanes, to_float, view, zeros
from gradcompile.codegen.functions import jit

connect_blas()

LANES = 32
"""
LENGTHS = st.integers(0, 5)
DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def both(text):
    """A function that calls the text's `f` compiled and as Python, on copies, and asks for equal results and arrays."""
    text = HEAD + textwrap.dedent(text)
    compiled, python = jit.load(text, cache=False).f, plain(text)["f"]

    def call(*args, exact=True):
        copies = [[a.copy() if isinstance(a, np.ndarray) else a for a in args] for _ in range(2)]
        with np.errstate(all="ignore"):
            results = compiled(*copies[0]), python(*copies[1])
        for a, b in zip([*copies[0], results[0]], [*copies[1], results[1]], strict=True):
            if exact:
                np.testing.assert_array_equal(a, b, strict=isinstance(a, np.ndarray))
            else:
                tolerance = 1e-12 if args[0].dtype == np.float64 else 1e-5
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        return copies[0]

    return call


def same(text, *args, exact=True):
    return both(text)(*args, exact=exact)


def lowered(text, *kinds):
    """The IR of a text's `f`."""
    module = jit.load(HEAD + textwrap.dedent(text), cache=False)
    return codegen.lower(codegen.own_text(module.f), kinds).text


def draw(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


VECTOR, MATRIX = ("double", (None,), True), ("double", (None, None), True)


# ---- views


@DTYPES
def test_views_slices_and_transposes_are_no_copies(dtype):
    text = """
    @jit
    def f(out, x, start, stop):
        w = view(x, 3, (4, 2, 5))
        row = w[1, 0]
        part = w[2, :, start:stop]
        turned = part.T
        middle = x[start:][:6]
        matrix = view(out, 0, (2, 10))
        for k in range(turned.shape[0]):
            for i in lanes(0, turned.shape[1]):
                matrix[i, k] = turned[k, i] + row[k]
        for i in lanes(0, 6):
            matrix[1, 4 + i] = middle[i]
        turned[0, 1] = 7.0
        return x[29] + to_float(part.shape[1])
    """
    out, x, *_ = same(text, np.zeros(20, dtype), draw(50, dtype=dtype), 1, 4)
    assert x[3 + 2 * 10 + 5 + 1] == 7.0 and out[14] == x[1]


def test_parts_are_passed_on_with_their_strides():
    text = """
    @jit
    def add(out, x):
        for k in range(x.shape[0]):
            for i in range(x.shape[1]):
                out[k] += x[k, i]

    @jit
    def f(out, x, n):
        add(out[0], x)
        add(out[1, 1:], x[:n, 1:3])
        add(out[2, :3], x.T)
        add(out[3], view(x, 2, (n, 2)))
        return out[0, 0]
    """
    same(text, np.zeros((4, 10)), draw(10, 3), 8)
    same(text, np.zeros((4, 10)), draw(10, 3), 1)


def test_a_name_may_mean_another_part_in_each_loop():
    text = """
    @jit
    def f(out, x, n):
        for first in range(0, n, 4):
            m = min(4, n - first)
            part = x[first:first + m]
            for i in lanes(0, m):
                out[first + i] += part[i, 0]
        for first in range(0, n, 3):
            m = min(3, n - first)
            part = x[first:first + m]
            for i in lanes(0, m):
                out[first + i] += part[i, 1] * m
        return out[0]
    """
    same(text, np.zeros(17), draw(17, 2), 17)


def test_a_loop_hands_no_array_on():
    text = "@jit\ndef f(x):\n    h = x[:3]\n    for k in range(4):\n        x[k] = h[0]\n        h = x[k:]\n"
    with pytest.raises(codegen.SubsetError, match="'h' means an array outside"):
        lowered(text, VECTOR)


def test_a_part_that_differs_by_lane_is_named():
    text = "@jit\ndef f(x):\n    for i in lanes(0, 64):\n        row = x[i]\n        row[0] = 1.0\n"
    with pytest.raises(codegen.SubsetError, match="differs by lane"):
        lowered(text, MATRIX)


# ---- memory


@DTYPES
def test_memory_of_a_size_that_the_call_decides(dtype):
    text = """
    @jit
    def f(out, n):
        first = zeros((n, 3), out)
        out[:] = 1.0
        work = empty(n * 2, out)
        peaks = full((n, 2), -1.5, out)
        for i in lanes(0, n):
            work[2 * i + 1] = out[i] + first[i, 2] + peaks[i, 1]
        for i in lanes(0, n):
            out[i] = work[2 * i + 1]
        return out[0]
    """
    call = both(text)
    for n in (0, 1, 7, 70, 5000):
        call(np.zeros(n + 1, dtype), n)


def test_memory_in_a_loop_has_a_known_size():
    text = "@jit\ndef f(x, n):\n    for k in range(n):\n        {}\n        x[k] += 1.0\n"
    lowered(text.format("y = zeros(4, x)"), VECTOR, ("i64", 1))
    for line in ("y = zeros(n, x)", "while x[0] > 1.0:\n            y = empty((n, 2), x)"):
        with pytest.raises(codegen.SubsetError, match="memory in a loop"):
            lowered(text.format(line), VECTOR, ("i64", 1))


def test_memory_is_freed():
    text = "@jit\ndef f(x, n):\n    y = zeros(n, x)\n    z = zeros((n, n), x)\n    return y[0] + z[0, 0]\n"
    ir = lowered(text, VECTOR, ("i64", 1))
    assert len(re.findall(r"call .*\.take\(", ir)) == 2
    assert len(re.findall(r"call .*\.give\(", ir)) == 4  # at the end, and where there is none


KEPT = """
@jit
def f(x, n):
    y = empty(n, x)
    for k in range(8):
        for i in lanes(0, n):
            y[i] = x[0] + k * i
        x[1] = 0.0
        for i in range(n):
            x[1] += y[i] - k * i - x[0]
        x[2] += x[1]
    return x[2]
"""


def test_kept_memory_has_one_owner():
    """Functions on many threads take and give blocks of many sizes, and never find what another has written."""
    call, sizes = jit.load(HEAD + KEPT, cache=False).f, [1 << k for k in (10, 13, 14, 15, 17, 18)]
    call(np.ones(3), 9)

    def work(seed):
        return sum(abs(call(np.array([seed, 0.0, 0.0]), n)) for n in np.random.default_rng(seed).choice(sizes, 60))

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(1, 7))) == [0.0] * 6
    kept = [address for address in workspace.slots if address]
    assert 0 < len(kept) == len(set(kept))
    assert all(workspace.LEAST <= ctypes.c_int64.from_address(a).value <= workspace.MOST for a in kept)


def test_kept_memory_serves_again():
    call = jit.load(HEAD + KEPT, cache=False).f
    workspace.slots[:] = [None] * workspace.SLOTS
    call(np.ones(3), 1 << 16)
    first = workspace.slots[0]
    for n in (1 << 16, 1 << 15):  # one that is a little large will do, one of many times the size will not
        call(np.ones(3), n)
        assert workspace.slots[0] == first
    call(np.ones(3), 1 << 13)
    assert workspace.slots[0] not in (None, first)


def test_pieces_of_a_long_function_share_arrays(monkeypatch):
    monkeypatch.setattr(statements, "PIECE", 3)
    monkeypatch.setattr(statements, "WHOLE", 3)
    lines = ["m = n - 1", "work = zeros((m, 3), x)", "part = x[1:m]", "tall = view(x, 0, (m, 2)).T"]
    lines += [f"work[{k % 3}, {k % 2}] += part[{k}] + tall[1, {k}]" for k in range(8)]
    lines += ["for i in lanes(0, m):\n        work[i, 2] = part[i // 2]", "total = 0.0", "more = empty(m, x)"]
    lines += ["more[:] = 2.0", "out[:, :] = work[:4, :2] @ tall[:, :3]", "total = x[2] + more[0]"]
    body = "".join(f"    {line}\n" for line in lines)
    text = f"@jit\ndef f(out, x, n):\n{body}    return total + work[0, 0]\n"
    same(text, np.zeros((4, 3)), draw(40), 19, exact=False)
    assert lowered(text, MATRIX, VECTOR, ("i64", 1)).count(".piece.") > 8


# ---- filling


def test_filling():
    text = """
    @jit
    def f(out, x, n):
        out[:, :, :] = 0.0
        out[1, :, :2] = x[0]
        out[:n, 1:, 2] = -0.0
        out[2, 1:] = 0.0 * x[1]
        out[2].T[:, :] = 3
        part = out[:, n]
        part[:] = 5.0
        return x[0]
    """
    (out, *_) = same(text, draw(3, 4, 5), np.array([0.5, -1.0]), 2)
    assert np.signbit(out[0, 1, 2]) and (out[2, 0] == 3).all() and (out[:, 2] == 5).all()
    assert lowered("@jit\ndef f(x):\n    x[1:] = 0.0\n", VECTOR).count("call void @llvm.memset") == 1


# ---- products


PRODUCTS = """
@jit
def f(out, a, b, x, y, turned, cut):
    n = a.shape[0]
    k = a.shape[1]
    m = b.shape[1]
    out[:n, :m] = a @ b
    out[:n, :m] += turned.T @ b
    out[:n, 1:1 + m] -= cut[:, 1:1 + k] @ b
    out.T[:m, :n] += b.T @ a.T
    out[0, :n] += a @ x
    out[1, :m] = x @ b
    out[2, :n] -= turned.T @ x
    column = out[:n, m + 1]
    column[:] = a @ y[:, 0]
    out[3:3 + n, m] -= a @ y[:, 1]
    out[4, 0] = x @ y[:, 1]
    out[4, 1] -= x @ x
    view(out, 0, (n, m))[:, :] += a[:, :] @ b[:k]
    return x @ y[:, 0] + 1.0
"""


@pytest.fixture(scope="module")
def products():
    return both(PRODUCTS)


@DTYPES
@settings(max_examples=40, deadline=None)
@given(LENGTHS, LENGTHS, LENGTHS, st.integers(0, 100))
def test_products_of_any_layout_and_size(products, dtype, n, k, m, seed):
    shapes = (9, 9), (n, k), (k, m), (k,), (k, 2), (k, n), (n, k + 2)
    products(*(draw(*s, dtype=dtype, seed=seed + i) for i, s in enumerate(shapes)), exact=False)


def test_a_result_is_overwritten_even_if_it_was_not_finite():
    text = "@jit\ndef f(out, v, a, b, x):\n    out[:, :] = a @ b\n    v[:] = a @ x\n    return 1.0\n"
    call = both(text)
    for k in (0, 1, 3):
        bad = np.full((2, 3), np.nan), np.full(2, np.inf)
        call(*bad, draw(2, k), draw(k, 3), draw(k), exact=False)


def test_nothing_is_printed_for_sizes_of_zero(capfd):
    text = "@jit\ndef f(out, v, a, b, x):\n    out[:, :] += a @ b\n    v[:] -= x @ b\n    return x @ x\n"
    call = both(text)
    for n, k, m in np.ndindex(2, 2, 2):
        call(draw(n, m), draw(m), draw(n, k), draw(k, m), draw(k), exact=False)
    assert capfd.readouterr() == ("", "")


def test_one_row_or_column_that_is_known_is_a_product_with_a_vector():
    text = """
    @jit
    def f(out, other, x, w):
        out[:, :] = x @ view(w, 0, (3, 1))
        other[:, :] += view(w, 1, (1, 3)) @ x.T
        return 1.0
    """
    same(text, draw(7, 1), draw(1, 7), draw(7, 3), draw(4), exact=False)
    ir = lowered(text, MATRIX, MATRIX, MATRIX, VECTOR)
    assert ir.count("@gc_dgemv") == 2 and "gemm" not in ir  # declared and called, in one place


NO_PRODUCTS = [
    ("out[:, :] = a @ a.T[:, 0]", "2 by 1 axes for 2"),
    ("out[:, :] = out[1] @ out[1]", "1 by 1 axes for 2"),
    ("out[:, :] = view(a, 0, (2, 3, 4))[:, :, 1] @ a", "neither rows nor columns"),
    ("view(a, 0, (2, 3, 4))[:, :, 1][:, :] = a @ a", "neither rows nor columns"),
    ("out[:, :] *= a @ a", "for a whole array"),
    ("out[:, :] = a", "for a whole array"),
    ("out[:, :] += 1.0", "for a whole array"),
    ("out[:, :] = order @ order", "one dtype"),
    ("out[::2, :] = 0.0", "has a step"),
    ("view(a[:, 1:], 0, 4)[:] = 0.0", "not contiguous"),
]


@pytest.mark.parametrize(("line", "what"), NO_PRODUCTS)
def test_what_is_no_statement_of_whole_arrays_is_named(line, what):
    kinds = MATRIX, MATRIX, ("i64", (None, None), True)
    with pytest.raises(codegen.SubsetError, match=what):
        lowered(f"@jit\ndef f(out, a, order):\n    {line}\n", *kinds)


def test_a_module_without_blas_is_named(monkeypatch):
    monkeypatch.setattr(codegen.arrays, "PREFIX", "unknown_")
    with pytest.raises(codegen.SubsetError, match="begins with connect_blas"):
        lowered("@jit\ndef f(out, a):\n    out[0, :] = a @ a[0]\n", MATRIX, MATRIX)


def test_a_missing_scipy_is_named(monkeypatch):
    monkeypatch.setattr(blas, "PREFIX", "unknown_")
    monkeypatch.delitem(sys.modules, "scipy.linalg.cython_blas", raising=False)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        blas.connect_blas()


def test_blas_comes_without_its_package_which_can_be_imported_afterwards():
    program = """
import sys
from gradcompile.library.blas import addresses
found = addresses("cython_blas", ["dgemm"])
assert not {"scipy.linalg", "scipy.linalg.cython_blas"} & set(sys.modules)
import scipy.linalg.cython_blas
assert scipy.linalg.cython_blas.__pyx_capi__ and scipy.linalg.inv([[2.0]]) == [[0.5]]
assert found == addresses("cython_blas", ["dgemm"])
"""
    subprocess.run([sys.executable, "-c", program], check=True)


PROGRAM = """
import sys
import numpy as np
from numba import typeof
from gradcompile.codegen import functions as jit

module = jit.load(sys.argv[1])
out = np.zeros((3, 2))
jit.precompile(module.f, [typeof(out), typeof(out)])
module.f(out, np.ones((2, 2)) * 2)
print(out[0, 0], sum(module.f.stats.cache_hits.values()))
"""


def test_machine_code_with_products_is_kept_on_disk(tmp_path):
    text = HEAD + "@jit\ndef f(out, a):\n    out[:2, :] += a @ a\n    return 1.0\n"
    environment = {**os.environ, "GRADCOMPILE_CACHE_DIR": str(tmp_path)}
    for hits in ("0", "1"):
        command, root = [sys.executable, "-c", PROGRAM, text], Path(__file__).parent.parent
        run = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
        assert run.stdout.split() == ["8.0", hits]


ALONE = """
import sys
import numpy as np
import saved

assert not any(name.startswith("gradcompile") for name in sys.modules)
out = np.zeros((3, 2))
saved.f(out, np.ones((2, 2)) * 2)
print(out[0, 0])
"""


def test_a_saved_file_carries_its_products(tmp_path):
    text = HEAD + "@jit\ndef f(out, a):\n    work = view(out, 0, (2, 2))\n    work[:, :] += a @ a\n"
    standalone.save(text, tmp_path / "saved.py")
    assert "it needs NumPy, Numba and SciPy." in (tmp_path / "saved.py").read_text()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for own in ({}, {}, {"NUMBA_DISABLE_JIT": "1"}):  # compiled, from the disk, and as Python
        command = [sys.executable, "-c", ALONE]
        run = subprocess.run(command, env=environment | own, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert run.stdout == "8.0\n"


# ---- integers


@DTYPES
def test_integers_choose_elements(dtype):
    text = """
    @jit
    def f(out, x, order, table, n):
        for i in lanes(0, n):
            k = order[i]
            first = x[k]
            out[i] = first + table[k % 3, k // 3] + to_float(k) * to_float(i)
            out[i] += 0.5 if k == 4 else (x[order[order[i]]] if k < order[0] else i)
        for i in range(n):
            table[order[i] % 3, 1] += x[i]
        return table[order[0] % 3, 1]
    """
    for n in (1, 9, 50, 77):
        order = np.random.default_rng(n).permutation(n)
        same(text, np.zeros(n, dtype), draw(n, dtype=dtype), order, draw(3, n + 1, dtype=dtype), n)


def test_an_array_of_integers_is_written():
    text = """
    @jit
    def f(order, n):
        for i in lanes(0, n):
            order[n - 1 - i] = 3 * i // 2
        return order[0] // 2
    """
    same(text, np.zeros(43, np.int64), 43)


# ---- loops over lanes


@DTYPES
@pytest.mark.parametrize("start", [0, 32, 3])
@pytest.mark.parametrize("n", [0, 1, 8, 15, 16, 31, 32, 39, 55, 100])
def test_lanes_of_three_widths(dtype, start, n):
    text = """
    @jit
    def f(out, x, start, stop):
        for i in lanes(start, stop):
            c = x[i] / 3.0
            out[i] = fma(c, x[i], x[stop - 1]) + i % 5
        return out[0]
    """
    same(text, np.zeros(start + n + 1, dtype), draw(start + n + 1, dtype=dtype), start, start + n)


MIXED = """
@jit
def f(out, x, s, n):
    t = {first}
    for k in range(n):
        t = t * s[k]
        for i in lanes(0, x.shape[0]):
            out[k, i] = x[i] * t + (x[i] > 0.5) + (x[i] > 0.0) * s[0]
    return t
"""


@pytest.mark.parametrize(("row", "scalar"), [("f4", "f8"), ("f8", "f4"), ("f4", "f4")])
def test_a_row_times_a_number_of_another_precision(row, scalar):
    x, s = draw(41).astype(row), np.array([1.3, 0.7, -1.9], scalar)
    out = np.zeros((3, 41), row)
    same(MIXED.format(first="s[1] * 1.0"), out, x, s, 3, exact=False)


@pytest.mark.parametrize("first", ["0.0", "x[0]", "1"])
def test_a_variable_keeps_the_type_that_it_has_at_first(first):
    kinds = ("float", (None, None), True), ("float", (None,), True), ("double", (None,), True), ("i64", 1)
    with pytest.raises(codegen.SubsetError, match=r"'t' is a .* at first, and a double in a loop"):
        lowered(MIXED.format(first=first), *kinds)
    lowered(MIXED.format(first=f"s[2] * {first}"), *kinds)


def test_a_whole_number_may_become_the_value_of_a_variable():
    text = """
    @jit
    def f(x):
        t = x[0]
        for k in range(x.shape[0]):
            t = 0 if x[k] < 0.0 else t + x[k]
        for k in range(2):
            t = 3
        return t
    """
    same(text, np.array([1.0, -2.0, 3.0]))


def widths_of_a_loop(lines):
    body = "".join(f"        out[i] += x[{k}]\n" for k in range(lines))
    ir = lowered(f"@jit\ndef f(out, x):\n    for i in lanes(0, 109):\n{body}", VECTOR, VECTOR)
    return [w for w in (32, 8) if f"fadd <{w} x double>" in ir], "fadd double" in ir


def test_what_is_left_of_a_loop_takes_registers_with_lanes_off_or_scalars(monkeypatch):
    monkeypatch.setattr(statements, "has_masks", lambda: True)
    assert widths_of_a_loop(10) == widths_of_a_loop(statements.SHORT_LOOP + 1) == ([32, 8], False)
    monkeypatch.setattr(statements, "has_masks", lambda: False)
    assert widths_of_a_loop(10) == ([32, 8], True)
    assert widths_of_a_loop(statements.SHORT_LOOP + 1) == ([32], True)


def test_a_processor_without_masks_gives_the_same_bits(monkeypatch):
    text = """
    @jit
    def f(out, x, k, n):
        for i in lanes(0, n):
            out[2 * i] = x[k[i]] / x[i + 1] + i
        return out[0]
    """
    monkeypatch.setattr(statements, "has_masks", lambda: False)
    for n in (3, 12, 39):
        same(text, np.zeros(2 * n), draw(n + 1), np.arange(n)[::-1].copy(), n)


def test_a_lane_that_is_off_looks_where_the_first_one_does():
    text = """
    @jit
    def f(out, x, k, n):
        for i in lanes(0, n):
            out[k[i]] = x[4 * k[i]]
        return out[0]
    """
    lines = lowered(text, VECTOR, VECTOR, ("i64", (None,), True), ("i64", 1)).splitlines()
    masked = [line for line in lines if "masked.load" in line and "call" in line]
    assert masked and all(", <8 x i64> %" in line for line in masked)  # what an off lane has is no 0
    for n in (1, 12, 39):
        same(text, np.full(n + 7, 5.0), draw(4 * n + 25), np.arange(n)[::-1] + 7, n)


def test_sums_by_lane_have_one_meaning_in_every_width():
    text = """
    @jit
    def f(sums, x):
        for i in lanes(0, x.shape[0]):
            sums[i % LANES] += x[i]
        return sums[0]
    """
    for n in (5, 43, 64, 109):
        same(text, np.zeros(32), draw(n))
