"""Functions of the subset that Python calls without Numba's front end, and their machine code on disk."""

import os
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
import sys, numba, numpy as np
from gradcompile.codegen import functions as jit
from gradcompile import codegen
lower, count = codegen.lower, []
codegen.lower = lambda *args: count.append(1) or lower(*args)
kernel = jit.load(sys.argv[1], "builtin").weighed
matrix = numba.types.float64[:, ::1]
out = np.zeros((2, 3))
kinds = list(map(codegen.kind_of, [matrix, matrix, numba.float64]))
print(jit.entry(kernel, kinds)(out, np.ones((2, 3)), 2.0), out.sum(), len(count))
"""


def entry(function, types):
    """What Python calls, for arguments of Numba's types."""
    return jit.entry(function, list(map(codegen.kind_of, types)))


def run(source: str, directory: Path) -> list[str]:
    """What a process of its own prints: the result, the sum, and how often it lowered."""
    environment = {**os.environ, "GRADCOMPILE_CACHE_DIR": str(directory)}
    words = [sys.executable, "-c", CHILD, source]
    root = Path(__file__).parent.parent
    return subprocess.run(words, env=environment, check=True, capture_output=True, text=True, cwd=root).stdout.split()


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
    assert run(SOURCE, directory) == ["2", "12.0", "1"]
    return directory


@pytest.fixture
def kept(compiled, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(compiled, tmp_path / "kept"))


def test_a_second_process_does_not_lower(kept):
    assert run(SOURCE, kept) == ["2", "12.0", "0"]


@pytest.mark.parametrize("damage", ["change", "truncate", "open to all"])
def test_machine_code_that_is_not_what_was_written_is_not_loaded(kept, damage):
    (code,) = kept.glob("gc_builtin_*.gco")
    content = bytearray(code.read_bytes())
    if damage == "change":
        content[len(content) // 2] ^= 1
        code.write_bytes(content)
    elif damage == "truncate":
        code.write_bytes(content[:100])
    else:
        code.chmod(0o666)
    assert run(SOURCE, kept) == ["2", "12.0", "1"]


def test_the_cache_counts_and_clears_it(kept, monkeypatch):
    monkeypatch.setenv("GRADCOMPILE_CACHE_DIR", str(kept))
    assert cache.cache_info().bytes > len(SOURCE)
    cache.cache_clear()
    assert not list(kept.rglob("gc_*"))


def test_marks_differ_by_kind():
    assert codegen.mark_of(run, (("double", 1),)) != codegen.mark_of(run, (("float", 1),))
