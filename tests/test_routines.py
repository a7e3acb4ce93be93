"""Routines on matrices and rows, and sums of parts: against the table of ops, compiled, from the disk and as Python."""

import os
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numba
import numpy as np
import pytest

from gradcompile import ops  # noqa: F401  (registers the ops)
from gradcompile.codegen import functions as jit
from gradcompile.export import python as standalone
from gradcompile.ir.core import OPS
from gradcompile.library import routines
from tests.plain import plain

FILLED = {  # routines with the shape of what they fill
    "solve_full": lambda a, b: np.zeros_like(b),
    "solve_lower": lambda a, b: np.zeros_like(b),
    "solve_upper": lambda a, b: np.zeros_like(b),
    "cholesky": np.zeros_like,
    "eigvals": lambda a: np.zeros(len(a), a.dtype),
    "eigvecs": np.zeros_like,
    "svdvals": lambda a: np.zeros(min(a.shape), a.dtype),
    "svdvecs": lambda a: np.zeros((sum(a.shape), min(a.shape)), a.dtype),
    "pinv": lambda a: np.zeros(a.shape[::-1], a.dtype),
    "argsort": lambda x: np.zeros(len(x), np.int64),
}
NUMBERS = ("det", "logabsdet", "detsign")
SIZES = (0, 1, 2, 3, 7, 8, 9, 16, 33, 150)
HEAD = '"""Calls of routines."""\n\nfrom gradcompile.codegen.functions import jit\n'


def source_of(name):
    """A module with a function `f` that calls a routine."""
    inputs = "a, b" if name.startswith("solve") else "a"
    given, back = (f"out, {inputs}", "") if name in FILLED else (inputs, "return ")
    calls = f"\n\n@jit\ndef f({given}):\n    {back}{name}({given})\n"
    return f"{HEAD}from gradcompile.library.routines import {name}\n{calls}"


def called(function, name, *args):
    """What a routine gives, as an array."""
    if name in NUMBERS:
        return np.array(function(*args))
    out = FILLED[name](*args)
    function(out, *args)
    return out


def compiled(name, *args):
    """What a compiled function that calls the routine gives."""
    return called(jit.load(source_of(name), cache=False).f, name, *args)


def as_python(name, *args):
    """What its text gives as Python."""
    with np.errstate(all="ignore"):
        return called(plain(source_of(name))["f"], name, *args)


def wanted(name, *args):
    """What the op's record says, in double precision."""
    args = [np.asarray(a, float) for a in args]
    op, params = OPS[name.partition("_")[0]], ()
    if op.name == "solve":
        params = (name.partition("_")[2],)
    with np.errstate(all="ignore"):
        return np.asarray(op.value(*args, *params) if name != "argsort" else op.value(*args, 0))


def matrices(n, dtype=float, seed=0):
    """A well-conditioned matrix, a positive definite one that is not quite symmetric, and a right-hand side."""
    rng = np.random.default_rng(seed + n)
    a = rng.normal(size=(n, n)) + 3 * np.sqrt(n) * np.eye(n)[rng.permutation(n)]
    s = a @ a.T + n * np.eye(n) + 0.1 * rng.normal(size=(n, n))
    return a.astype(dtype), s.astype(dtype), rng.normal(size=(n, n // 2 + 1)).astype(dtype)


def arguments(name, n, dtype=float):
    """Arguments of a routine."""
    a, s, b = matrices(n, dtype)
    if name in ("solve_lower", "solve_upper"):
        a = a + dtype(9) * np.eye(n, dtype=dtype)
    if name == "argsort":
        return (np.round(3 * b[:, 0]),)
    return (a, b) if name.startswith("solve") else (s if name in ("cholesky", "eigvals", "eigvecs") else a,)


def same_bits(a, b):
    return a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", [*FILLED, *NUMBERS])
def test_values(name, n, dtype):
    args = arguments(name, n, dtype)
    kept = [a.copy() for a in args]
    found, exact = compiled(name, *args), wanted(name, *args)
    assert found.shape == exact.shape and all(map(same_bits, args, kept))
    size = max(1.0, float(np.max(np.abs(exact), initial=0.0)))
    steps = 30 * (n + 1)
    if name in ("eigvecs", "svdvecs"):  # as close as the values allow
        steps *= 100
    np.testing.assert_allclose(found, exact, rtol=0, atol=steps * float(np.finfo(dtype).eps) * size)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [0, 1, 9, 20])
@pytest.mark.parametrize("name", sorted({*FILLED, *NUMBERS} - {"eigvals", "eigvecs"}))
def test_python_gives_the_same_bits(name, n, dtype):
    args = arguments(name, n, dtype)
    assert same_bits(compiled(name, *args), as_python(name, *args))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("block", [1, 3, 8])
@pytest.mark.parametrize("name", ["solve_full", "solve_lower", "solve_upper", "cholesky", *NUMBERS])
def test_blocks_of_any_size(name, block, dtype, monkeypatch):
    monkeypatch.setattr(routines, "BLOCK", block)
    for n in (0, 1, 2, 8, 9, 24):
        args = arguments(name, n, dtype)
        for found in (compiled(name, *args), as_python(name, *args)):
            exact = wanted(name, *args)
            size = max(1.0, float(np.max(np.abs(exact), initial=0.0)))
            np.testing.assert_allclose(found, exact, rtol=0, atol=500 * float(np.finfo(dtype).eps) * size)


@pytest.mark.parametrize("place", [0, 5, 11])
def test_what_breaks_down_in_any_block(place, monkeypatch):
    monkeypatch.setattr(routines, "BLOCK", 4)
    a, s, b = matrices(12)
    s[place, place] = -1.0
    assert np.isnan(compiled("cholesky", s)).all()
    a[:, place] = 0.0
    assert np.isnan(compiled("solve_full", a, b)).all()
    assert compiled("det", a) == 0 and compiled("detsign", a) == 0 and compiled("logabsdet", a) == -np.inf


SINGULAR = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 1.0, 1.0]])
NOT_FINITE = [np.array([[1.0, x], [x, 3.0]]) for x in (np.nan, np.inf)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_singular_matrices(dtype):
    a, b = SINGULAR.astype(dtype), np.ones((3, 2), dtype)
    assert np.isnan(compiled("solve_full", a, b)).all()
    assert compiled("det", a) == 0 and compiled("detsign", a) == 0 and compiled("logabsdet", a) == -np.inf
    for name in ("solve_lower", "solve_upper"):
        assert np.isnan(compiled(name, np.diag([1, 0, 2]).astype(dtype), b)).all()
    zero = np.zeros((3, 3), dtype)
    assert np.isnan(compiled("solve_full", zero, b)).all() and compiled("det", zero) == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("diagonal", [[1, -1], [0, 1], [1, 0], [-1, 1]])
def test_matrices_without_a_cholesky_factor(diagonal, dtype):
    a = np.diag(diagonal).astype(dtype)
    assert np.isnan(compiled("cholesky", a)).all() and np.isnan(wanted("cholesky", a)).all()


@pytest.mark.parametrize("a", NOT_FINITE)
def test_entries_that_are_not_finite(a):
    for name in ("eigvals", "eigvecs", "cholesky", "svdvals", "svdvecs", "pinv"):
        assert np.isnan(compiled(name, a)).all()
    for name in (*NUMBERS, "solve_full"):
        args = (a, np.ones((2, 1))) if name == "solve_full" else (a,)
        assert same_bits(np.isnan(compiled(name, *args)), np.isnan(as_python(name, *args)))
    assert np.isnan(compiled("det", NOT_FINITE[0])) and np.isnan(compiled("logabsdet", NOT_FINITE[0]))
    assert np.isnan(compiled("detsign", NOT_FINITE[0]))


def test_what_a_triangular_system_leaves_out():
    a, _, b = matrices(9)
    spoilt = np.where(np.tri(9, dtype=bool), a, np.nan)
    assert same_bits(compiled("solve_lower", spoilt, b), compiled("solve_lower", a, b))
    assert same_bits(compiled("solve_upper", spoilt.T.copy(), b), compiled("solve_upper", a.T.copy(), b))


@pytest.mark.parametrize("name", ["solve_full", "solve_lower", "solve_upper"])
def test_a_system_solved_in_place(name):
    a, b = arguments(name, 20)
    x = b.copy()
    jit.load(source_of(name), cache=False).f(x, a, x)
    assert same_bits(x, compiled(name, a, b))


@pytest.mark.parametrize(
    ("diagonal", "exact"),
    [
        ([1e200, 1e200, 1e-200, 1e-200], 1.0),
        ([1e-200, 1e-200, -1e200, 1e200], -1.0),
        ([1e300] * 3, np.inf),
        ([1e-300, 1e-300], 0.0),
        ([2.0] * 1023, 2.0**1023),
        ([2.0**-500] * 40 + [2.0**500] * 40, 1.0),
        ([2.0**-1060, 2.0**1000, 2.0**60], 1.0),
    ],
)
def test_determinants_whose_factors_leave_the_range(diagonal, exact):
    a = np.diag(diagonal)
    assert abs(compiled("det", a) - exact) <= 1e-14 if np.isfinite(exact) and exact < 2 else compiled("det", a) == exact


def test_equal_eigenvalues_and_orientation():
    assert compiled("eigvecs", -np.eye(3)).tolist() == np.eye(3).tolist()
    vectors = compiled("eigvecs", matrices(12)[1])
    lead = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(12)]
    assert (lead > 0).all()


@pytest.mark.parametrize(
    "x",
    [
        [np.nan, 1, np.nan, -np.inf, np.inf, 1],
        [np.nan] * 5,
        [0.0, -0.0, 0.0, -0.0],
        np.random.default_rng(0).integers(0, 50, 1000),
        np.arange(100),
        np.arange(100)[::-1],
    ],
)
def test_orders(x):
    for dtype in (np.float64, np.float32):
        row = np.asarray(x, dtype)
        assert compiled("argsort", row).tolist() == np.argsort(row, kind="stable").tolist()


# ---- routines that Numba compiles

EIGEN = '''"""Eigenvalues and vectors of many matrices."""

from gradcompile.codegen.functions import jit
from gradcompile.library.routines import eigvals, eigvecs


@jit
def f(values, vectors, a):
    for _ in range(3):
        eigvals(values, a)
        eigvecs(vectors, a)
'''
CHILD = """
import sys, numba, numpy as np
from gradcompile.codegen import functions as jit
f = jit.load(open(sys.argv[1]).read(), "eigen").f
if hasattr(f, "compile"):
    for t in (numba.float64, numba.float32):
        jit.precompile(f, [t[::1], t[:, ::1], t[:, ::1]])
rng = np.random.default_rng(0)
for dtype in (np.float64, np.float32):
    a = rng.normal(size=(5, 5)).astype(dtype)
    values, vectors = np.zeros(5, dtype), np.zeros((5, 5), dtype)
    f(values, vectors, a)
    print(values.tobytes().hex(), vectors.tobytes().hex())
print(sum(f.stats.cache_hits.values()) if hasattr(f, "stats") else "")
"""


def in_another_process(path, program=CHILD, **environment):
    """The lines that a program writes."""
    command = [sys.executable, "-c", program, str(path)]
    env, root = {**os.environ, **environment}, Path(__file__).parent.parent
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def eigen(tmp_path_factory):
    """What three processes with a cache of their own write: the first two in machine code, the last as plain Python."""
    folder = tmp_path_factory.mktemp("eigen")
    path = folder / "eigen.txt"
    path.write_text(EIGEN)
    own = {"GRADCOMPILE_CACHE_DIR": str(folder / "cache"), "NUMBA_CACHE_DIR": str(folder / "numba")}
    return [in_another_process(path, **own, **more) for more in ({}, {}, {"NUMBA_DISABLE_JIT": "1"})]


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="there is no cache without compilation")
def test_arrays_reach_functions_of_numba_from_the_disk_too(eigen):
    first, second, python = eigen
    assert first[:2] == second[:2] == python[:2]
    assert (first[2], second[2]) == ("0", "2")


def test_a_saved_file_calls_routines(tmp_path, eigen):
    text = EIGEN.replace("import eigvals", "import cholesky, det, eigvals, logabsdet, solve_full")
    text += "        cholesky(vectors, a)\n        solve_full(vectors, a, vectors)\n        eigvecs(vectors, a)\n"
    text += "    values[0] = values[0] + 0.0*(det(a) + logabsdet(a))\n"
    path = tmp_path / "saved.py"
    standalone.save(text, path)
    assert "SciPy" in path.read_text().partition('"""\n\n')[0]
    program = CHILD.replace(
        "from gradcompile.codegen import functions as jit", f"sys.path.insert(0, {str(tmp_path)!r})"
    )
    program = program.replace("jit.precompile", "(lambda *_: None)").replace(
        'jit.load(open(sys.argv[1]).read(), "eigen").f', "__import__('saved').f"
    )
    assert in_another_process(path, program)[:2] == eigen[0][:2]


def test_strided_and_whole_number_arrays_reach_functions_of_numba():
    text = f"""{HEAD}

from gradcompile.codegen.functions import njit


@njit
def weighted(x, places, scale):
    total = 0.0
    for k in range(places.shape[0]):
        total += scale * x[places[k], 1]
        x[places[k], 0] = -1.0
    return total


@jit
def f(x, places, out):
    for i in lanes(0, out.shape[0]):
        out[i] = weighted(x, places, out[i])
""".replace("import jit\n", "import jit\nfrom gradcompile.library.primitives import lanes\n", 1)
    f = jit.load(text, cache=False).f
    x, places, out = np.arange(40.0).reshape(10, 4)[::-2, ::2], np.array([0, 2, 4]), np.arange(11.0)
    expected = out * x[places, 1].sum()
    f(x, places, out)
    np.testing.assert_allclose(out, expected, rtol=1e-15)
    assert (x[places, 0] == -1).all() and (x[[1, 3], 0] != -1).all()


def test_threads_share_routines():
    f = jit.load(EIGEN, cache=False).f
    many = [(np.zeros(30), np.zeros((30, 30)), matrices(30, seed=k)[1]) for k in range(8)]
    threads = [threading.Thread(target=f, args=args) for args in many]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for values, vectors, a in many:
        np.testing.assert_allclose(values, wanted("eigvals", a), rtol=1e-12)
        np.testing.assert_allclose(vectors, wanted("eigvecs", a), atol=1e-9)


# ---- sums of parts

SUMS = f"""{HEAD}from gradcompile.library.sums import carry, close_tree


@jit
def f(parts, total, tree):
    last = parts.shape[0] - 1
    for i in range(last + 1):
        for k in range(parts.shape[1]):
            total[k] = parts[i, k]
        if i < last:
            carry(total, tree, i)
    close_tree(tree, total, last)
"""


def added(parts, module=None):
    """The sum of parts."""
    module = module or vars(jit.load(SUMS, cache=False))
    total, tree = (
        np.zeros(parts.shape[1], parts.dtype),
        np.zeros((len(parts).bit_length(), parts.shape[1]), parts.dtype),
    )
    with np.errstate(all="ignore"):
        module["f"](parts, total, tree)
    return total


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_many_parts_lose_next_to_nothing(dtype):
    parts = np.random.default_rng(0).lognormal(size=(2000, 41)).astype(dtype)
    total = added(parts)
    for k in range(41):
        exact = sum(map(Fraction, parts[:, k].tolist()))
        assert abs(Fraction(float(total[k])) - exact) <= 2 * Fraction(float(np.spacing(total[k])))
    assert same_bits(total[:5], added(parts[:, :5].copy(), plain(SUMS)))


@pytest.mark.parametrize(
    "column", [[np.inf, 1], [1, -np.inf, 5], [np.inf, -np.inf], [np.nan, 2], [1e308, 1e308, -1e308]]
)
def test_parts_that_are_not_finite(column):
    parts = np.repeat(np.array(column, float)[:, None], 40, axis=1)
    with np.errstate(all="ignore"):
        expected = np.add.accumulate(parts)[-1]
    assert np.array_equal(added(parts), expected, equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [1, 2, 32])
def test_folding(n, dtype):
    x = np.random.default_rng(n).normal(size=n).astype(dtype)
    text = f"""{HEAD}from gradcompile.library.primitives import fold, view


@jit
def folded(x):
    return fold(view(x, 0, ({n},)))
"""
    found = jit.load(text, cache=False).folded(x)
    assert found == plain(text)["folded"](x)
    assert abs(found - x.sum()) < n * np.finfo(dtype).eps


@pytest.mark.parametrize("x", ["x", "view(x, 0, (3,))"])
def test_what_can_not_be_folded(x):
    text = f"{HEAD}from gradcompile.library.primitives import fold, view\n\n\n@jit\ndef f(x):\n    return fold({x})\n"
    with pytest.raises(Exception, match="f: fold of an array that is no vector of floats of length 1, 2, 4"):
        jit.load(text, cache=False).f(np.ones(4))
