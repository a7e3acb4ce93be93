"""Functions of the subset that Python calls without Numba's front end, and their machine code on disk."""

import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from gradcompile import codegen
from gradcompile.codegen import cache
from gradcompile.codegen import functions as jit

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="there is no machine code")
HEAD = '"""A module."""\n\nfrom gradcompile.codegen.functions import jit\n'
HEAD += "from gradcompile.library.primitives import lanes\n\n\n"
SOURCE = (
    HEAD
    + '''@jit
def weighed(out, x, scale):
    """Write scale*x, and return the number of rows."""
    for i in range(x.shape[0]):
        for j in lanes(0, x.shape[1]):
            out[i, j] = x[i, j] * scale
    return x.shape[0]
'''
)
CHILD = """
import os, sys, numba, numpy as np
from gradcompile.codegen import functions as jit
from gradcompile import codegen
lower, count = codegen.lower, []
codegen.lower = lambda *args: count.append(1) or lower(*args)
matrix = numba.types.float64[:, ::1]
kinds = list(map(codegen.kind_of, [matrix, matrix, numba.float64]))
for directory in sys.argv[2:]:
    os.environ["GRADCOMPILE_CACHE_DIR"] = directory
    jit.modules.clear()
    kernel, out = jit.load(sys.argv[1], "builtin").weighed, np.zeros((2, 3))
    print(jit.entry(kernel, kinds)(out, np.ones((2, 3)), 2.0), out.sum(), len(count))
    count.clear()
"""


def entry(function, types):
    """What Python calls, for arguments of Numba's types."""
    return jit.entry(function, list(map(codegen.kind_of, types)))


def run(source: str, *directories: Path) -> list[str]:
    """What a process of its own prints for each cache: the result, the sum, and how often it lowered."""
    words, root = [sys.executable, "-c", CHILD, source, *map(str, directories)], Path(__file__).parent.parent
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd=root).stdout.splitlines()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layout", ["C", "A"])
def test_arrays_and_numbers_are_passed_on(dtype, layout):
    module = jit.load(SOURCE, "arguments", cache=False)
    real = getattr(numba, dtype)
    types = [numba.types.Array(real, 2, "C"), numba.types.Array(real, 2, layout), real]
    wide = np.arange(70.0).reshape(7, 10).astype(dtype)
    x = wide[::2, 1::3] if layout == "A" else wide
    out = np.zeros(x.shape, dtype)
    assert entry(module.weighed, types)(out, x, 0.1) == len(x)
    np.testing.assert_array_equal(out, x * np.dtype(dtype).type(0.1))


@pytest.mark.parametrize(
    ("result", "expected"), [("x", 2.5), ("x > 1.0", True), ("x < 1.0", False), ("k + 1", 4), ("x / 0.0", np.inf)]
)
def test_results_are_objects_of_python(result, expected):
    source = HEAD + f'@jit\ndef f(v, x, k):\n    """A result."""\n    return {result}\n'
    module = jit.load(source, "results", cache=False)
    found = entry(module.f, [numba.float64[::1], numba.float64, numba.int64])(np.zeros(1), 2.5, 3)
    assert found == expected and type(found) is type(expected)


def test_nothing_is_none():
    module = jit.load(HEAD + '@jit\ndef f(v, x):\n    """Write."""\n    v[0] = x\n', "nothing", cache=False)
    v = np.zeros(1)
    assert entry(module.f, [numba.float64[::1], numba.float64])(v, 2.5) is None
    assert v[0] == 2.5


def test_wrong_arguments_are_errors():
    module = jit.load(SOURCE, "arguments", cache=False)
    matrix = numba.types.float64[:, ::1]
    f = entry(module.weighed, [matrix, matrix, numba.float64])
    x = np.ones((1, 1))
    for given in ((x, x), (x, x, 1.0, 1.0), (x, x, "much")):
        with pytest.raises(TypeError):
            f(*given)


def test_what_calls_numbas_functions_is_left_to_numba():
    text = HEAD.replace("import jit\n", "import jit\nfrom gradcompile.library.special import gamma\n")
    module = jit.load(text + '@jit\ndef f(v, x):\n    """A value."""\n    return gamma(x)\n', "foreign", cache=False)
    assert entry(module.f, [numba.float64[::1], numba.float64])(np.zeros(1), 5.0) == 24.0


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A cache in which a process left its machine code."""
    directory = tmp_path_factory.mktemp("compiled")
    assert run(SOURCE, directory) == ["2 12.0 1"]
    return directory


def changed(code: Path) -> None:
    content = bytearray(code.read_bytes())
    content[len(content) // 2] ^= 1
    code.write_bytes(content)


DAMAGES = (changed, lambda code: code.write_bytes(code.read_bytes()[:100]), lambda code: code.chmod(0o666))


def test_a_second_process_lowers_only_what_is_not_as_it_was_written(compiled, tmp_path):
    caches = [Path(shutil.copytree(compiled, tmp_path / str(k))) for k in range(1 + len(DAMAGES))]
    for directory, damage in zip(caches[1:], DAMAGES, strict=True):
        (code,) = directory.glob("gc_builtin_*.gco")
        damage(code)
    assert run(SOURCE, *caches) == ["2 12.0 0", *["2 12.0 1"] * len(DAMAGES)]


def test_the_cache_counts_and_clears_it(compiled, tmp_path, monkeypatch):
    kept = Path(shutil.copytree(compiled, tmp_path / "kept"))
    monkeypatch.setenv("GRADCOMPILE_CACHE_DIR", str(kept))
    assert cache.cache_info().bytes > len(SOURCE)
    cache.cache_clear()
    assert [p.name for p in kept.rglob("gc_*")] == [cache.LOCKS]  # which processes have open


def test_marks_differ_by_kind():
    assert codegen.mark_of(run, (("double", 1),)) != codegen.mark_of(run, (("float", 1),))
