"""Generated modules: loading, tracebacks, compilation, and files of their own."""

import inspect
import math
import os
import pickle
import re
import subprocess
import sys
import textwrap
import traceback
from itertools import product
from pathlib import Path

import numba
import numpy as np
import pytest
import sympy as sp

from gradcompile import mean
from gradcompile.codegen import functions as jit
from gradcompile.compile import compile_grad
from gradcompile.errors import GraphError
from gradcompile.export import python as standalone

SOURCE = '''"""A module of the tests."""

from gradcompile.codegen.functions import jit


@jit
def kernel(x, y):
    """Divide."""
    return x / y


def fails():
    raise ValueError("on purpose")
'''


SHIFTED = '''"""A module of the tests."""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import bits, {inverse}


@jit
def shifted(x, k):
    """X times 2**k."""
    return {inverse}(bits(x) + (k << {mantissa}))


@jit
def chosen(k):
    """A number of the text, by bits of one precision or the other."""
    return 0.1 if k > 0 else 0.2


@jit
def kernel(x):
    """Eight times x, if that is positive."""
    return shifted(x, 3) * (chosen(bits(x)) * 10.0)
'''


@pytest.mark.parametrize(
    ("dtype", "inverse", "mantissa"), [("float64", "from_bits", 52), ("float32", "from_bits32", 23)]
)
def test_whole_numbers_meet_the_bits_of_either_precision(dtype, inverse, mantissa):
    module = jit.load(SHIFTED.format(inverse=inverse, mantissa=mantissa))
    assert jit.precompile(module.kernel, [getattr(numba, dtype)])(1.25) == 10.0
    assert str(module.kernel.nopython_signatures[0].return_type) == dtype


@pytest.mark.parametrize("cache", [True, False])
def test_the_source_is_at_hand(cache):
    module = jit.load(SOURCE + f"# {cache}\n", "shown", cache)
    assert module.__name__.startswith("gc_shown_")
    assert jit.modules[module.__name__] is module
    assert inspect.getsource(module.fails).startswith("def fails")
    with pytest.raises(ValueError, match="on purpose") as caught:
        module.fails()
    assert 'raise ValueError("on purpose")' in "".join(traceback.format_exception(caught.value))


def test_the_same_text_is_the_same_module():
    assert jit.load(SOURCE) is jit.load(SOURCE)
    assert jit.load(SOURCE) is not jit.load(SOURCE + "\n")


def test_a_module_that_fails_is_not_left_behind():
    before = set(jit.modules)
    with pytest.raises(ZeroDivisionError):
        jit.load("1 / 0\n")
    assert set(jit.modules) <= before


def test_division_by_zero_follows_ieee_without_the_gil():
    kernel = jit.load(SOURCE).kernel
    assert math.isinf(jit.precompile(kernel, [numba.float64, numba.float64])(1.0, 0.0))
    assert kernel.targetoptions["nogil"]
    assert not kernel.targetoptions.get("fastmath")


def test_numba_gets_a_dispatcher_where_it_asks_for_one():
    kernel = jit.load(SOURCE.replace("Divide.", "Divide, unless nobody asks.")).kernel
    assert jit.entry(kernel, [("double", 1)] * 2)(3.0, 2.0) == 1.5
    called = numba.njit(lambda x: kernel(x, 4.0))
    passed = numba.njit(lambda f, x: f(x, 4.0))
    assert called(2.0) == passed(kernel, 2.0) == kernel(2.0, 4.0) == pickle.loads(pickle.dumps(kernel))(2.0, 4.0) == 0.5
    assert numba.typeof(kernel) == numba.typeof(kernel.dispatcher)


def test_the_same_kernel_for_the_same_types_has_one_entry():
    kernel = jit.load(SOURCE).kernel
    assert jit.entry(kernel, [("double", 1)] * 2) is jit.entry(kernel, [("double", 1)] * 2)


def test_a_long_function_has_no_bytecode_and_what_follows_it_keeps_its_place():
    steps = "".join(f"    x = x + {k}.0  # step\n" for k in range(2_500))
    long = SOURCE.replace("    return x / y\n", steps + "\n    return x\n")
    module = jit.load(long)
    assert len(module.kernel.py_func.lowered_from.__code__.co_code) < 100
    assert inspect.getsource(module.fails).startswith("def fails")
    assert jit.precompile(module.kernel, [numba.float64] * 2)(1.0, 0.0) == 1.0 + sum(range(2_500))


def test_the_hash_covers_the_text_that_is_called(monkeypatch, tmp_path):
    for name in ("helper", "below"):
        (tmp_path / f"{name}.py").write_text("from gradcompile.below import x\n")
    monkeypatch.setattr(jit, "_PACKAGE", tmp_path)
    source = "from gradcompile.helper import f\n"
    before = jit.module_hash(source)
    (tmp_path / "below.py").write_text("x = 2\n")
    assert jit.module_hash(source) != before


def test_without_the_jit_functions_are_plain():
    program = (
        "from gradcompile.codegen.functions import load; import sys; print(type(load(sys.argv[1]).kernel).__name__)"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", program, SOURCE]
    out = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert out.stdout.strip() == "function", out.stderr


HERE = """
import importlib, sys, numpy as np
given = np.load("given.npy")
for name in sys.argv[1:]:
    dtype = name.rpartition("_")[2]
    theta, columns = given[0, :2].copy().astype(dtype), given[1:].astype(dtype)
    grad = np.empty(2, dtype)
    with np.errstate(all="ignore"):
        loss = importlib.import_module(name).kernel(theta, grad, *columns)
    print(float(loss).hex(), *(g.hex() for g in grad.tolist()))
assert "gradcompile" not in sys.modules
"""


def saved_results(directory: Path, *names: str, **environment: str) -> list[list[str]]:
    """What the kernels in saved files give, in a process that finds no gradcompile."""
    known = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | environment
    command = [sys.executable, "-c", HERE, *names]
    out = subprocess.run(command, cwd=directory, env=known, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return [line.split() for line in out.stdout.splitlines()]


SAVED = ["a*exp(-b*x) - y", "tanh(a*x)*log(1 + x**2) - b*y", "(x - mean(x))/sqrt(a**2 + mean(x**2)) - b*y"]


def test_saved_files_run_alone_and_give_the_same_bits(tmp_path):
    a, b, x, y = sp.symbols("a b x y")
    columns = np.stack([np.zeros(1500), np.linspace(0.0, 3.0, 1500), np.linspace(2.0, 0.0, 1500)])
    columns[0, :2] = 1.5, 0.7
    np.save(tmp_path / "given.npy", columns)
    expected = {}
    for k, (loss, dtype) in enumerate(product(SAVED, ("float64", "float32"))):
        expression = sp.sympify(loss, {"mean": mean}) ** 2
        f = compile_grad(expression, [a, b], data=[x, y], dtype=dtype)
        path = tmp_path / f"model_{k}_{dtype}.py"
        f.save(path)
        text = path.read_text()
        assert not re.search(r"^\s*(from|import) gradcompile", text, re.MULTILINE)
        assert text.startswith(f.source.partition('\n"""')[0])
        assert text.endswith(f.source[f.source.index("@jit") :])  # the generated functions stay as they are
        value, grad = f.bind(*columns[1:].astype(dtype))(np.array([1.5, 0.7], dtype))
        expected[path.stem] = [value.hex(), *(g.hex() for g in grad.tolist())]
    assert saved_results(tmp_path, *expected) == list(expected.values())
    assert saved_results(tmp_path, *expected) == list(expected.values())  # from Numba's cache
    plain = saved_results(tmp_path, *expected, NUMBA_DISABLE_JIT="1")
    for (name, want), got in zip(expected.items(), plain, strict=True):
        rel = 1e-12 if name.endswith("float64") else 1e-4
        assert [float.fromhex(v) for v in got] == pytest.approx([float.fromhex(v) for v in want], rel=rel), name


def test_a_saved_file_says_what_it_needs():
    x = sp.Symbol("x")
    assert "it needs NumPy and Numba." in standalone.standalone(compile_grad(sp.sin(x), [x]).source)
    text = standalone.standalone(compile_grad(sp.besselj(1, x), [x]).source)
    assert "it needs NumPy, Numba and SciPy." in text
    compile(text, "saved", "exec")


# ---- names in saved files, on a package of the test's own


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that makes the text of a saved module from the texts of a package's modules and its own."""

    def saved(source: str, modules: dict[str, str]) -> dict:
        for name, text in modules.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        space: dict = {}
        text = standalone.standalone(textwrap.dedent(source))
        assert "gradcompile" not in text
        exec(text, space)
        return space

    monkeypatch.setattr(jit, "_PACKAGE", tmp_path)
    standalone.module.cache_clear()
    yield saved
    standalone.module.cache_clear()


def test_two_meanings_of_one_name_are_kept_apart(package):
    space = package(
        """
        from gradcompile.one import f
        from gradcompile.two import g
        result = f(1), g(1)
        """,
        {
            "one": "SCALE = 10\nFROM = [SCALE]\n\ndef f(x):\n    return x * SCALE + FROM[0]\n",
            "two": "SCALE = 7\n\ndef helper(x, y=SCALE):\n    return x + y\n\ndef g(SCALE):\n    return helper(SCALE)",
        },
    )
    assert space["result"] == (20, 8)
    assert {v for k, v in space.items() if "SCALE" in k} == {10, 7}


def test_imports_are_followed_under_other_names_through_packages_and_stars(package):
    space = package(
        """
        from gradcompile.many import root, twice as double
        result = root(9.0), double(4)
        """,
        {
            "many/__init__": "from gradcompile.many.inner import *\nfrom gradcompile.many.other import twice\n",
            "many/inner": "import math\nfrom math import sqrt as r\ndef root(x):\n    return math.floor(r(x))",
            "many/other": "from gradcompile.base import two as TWO\ndef twice(x):\n    return TWO * x\n",
            "base": "from operator import neg\ntwo = -neg(2)\n",
        },
    )
    assert space["result"] == (3, 8)


def test_the_generated_text_is_served_first_and_builtins_keep_their_meaning(package):
    source = """
    from gradcompile.one import f, smallest
    SCALE = 3  # of this text


    def samples(values):
        return max(f(v) * SCALE for v in values), smallest(values)
    """
    space = package(
        source,
        {
            "one": "SCALE = 10\n\ndef max(x):\n    return x\n\ndef f(x):\n    return max(x) * SCALE\n\n"
            "def smallest(v):\n    return min(v)\n",
        },
    )
    assert space["samples"]([1, 2]) == (60, 1)
    assert "SCALE = 3  # of this text" in standalone.standalone(textwrap.dedent(source))


def test_a_primitive_that_gets_another_name_is_still_known_as_what_it_is(package):
    space = package(
        """
        from gradcompile.many import sqrt, cube
        result = sqrt(9.0), cube(4.0)
        """,
        {
            "many": "from gradcompile.library.primitives import sqrt as root\n\ndef sqrt(x):\n    return -root(x)\n\n"
            "def cube(x):\n    return root(x) ** 3\n",
            "library/primitives": "def sqrt(x):\n    return x ** 0.5\n",
        },
    )
    assert space["result"] == (-3.0, 8.0)
    assert [f.__name__ for name, f in space.items() if name.startswith("primitives_")] == ["sqrt"]


def test_what_can_not_be_renamed_is_refused(package):
    with pytest.raises(GraphError, match="a local variable is in the way"):
        package(
            "from gradcompile.one import f\nSCALE = 3\nresult = f([1])\n",
            {"one": "SCALE = 10\ndef f(v):\n    return SCALE * sum([SCALE for SCALE in v])\n"},
        )
    with pytest.raises(GraphError, match="line 2: what a function imports itself"):
        package(
            "from gradcompile.late import f\nf()\n", {"late": "\ndef f():\n    from gradcompile.one import SCALE\n"}
        )
    with pytest.raises(GraphError, match="there is no module gradcompile"):
        package("from gradcompile.nowhere import f\nf()\n", {})
