"""Generated modules: loading, tracebacks, compilation, and files of their own."""

import inspect
import math
import os
import subprocess
import sys
import traceback
from pathlib import Path

import numba
import numpy as np
import pytest
import sympy as sp

from gradcompile.compile import compile_grad
from gradcompile.runtime import jit, standalone

SOURCE = '''"""A module of the tests."""

from gradcompile.runtime.jit import jit


@jit
def kernel(x, y):
    """Divide."""
    return x / y


def fails():
    raise ValueError("on purpose")
'''


@pytest.mark.parametrize("cache", [True, False])
def test_the_source_is_at_hand(cache):
    module = jit.load(SOURCE + f"# {cache}\n", "shown", cache)
    assert module.__name__.startswith("gc_shown_")
    assert sys.modules[module.__name__] is module
    assert inspect.getsource(module.fails).startswith("def fails")
    with pytest.raises(ValueError, match="on purpose") as caught:
        module.fails()
    assert 'raise ValueError("on purpose")' in "".join(traceback.format_exception(caught.value))


def test_the_same_text_is_the_same_module():
    assert jit.load(SOURCE) is jit.load(SOURCE)
    assert jit.load(SOURCE) is not jit.load(SOURCE + "\n")


def test_a_module_that_fails_is_not_left_behind():
    before = set(sys.modules)
    with pytest.raises(ZeroDivisionError):
        jit.load("1 / 0\n")
    assert not [name for name in set(sys.modules) - before if name.startswith("gc_")]


def test_division_by_zero_follows_ieee_without_the_gil():
    kernel = jit.load(SOURCE).kernel
    assert math.isinf(jit.precompile(kernel, [numba.float64, numba.float64])(1.0, 0.0))
    assert kernel.targetoptions["nogil"]
    assert not kernel.targetoptions.get("fastmath")


def test_the_hash_covers_the_text_that_is_called(monkeypatch, tmp_path):
    for name in ("helper", "below"):
        (tmp_path / f"{name}.py").write_text("from gradcompile.below import x\n")
    monkeypatch.setattr(jit, "_PACKAGE", tmp_path)
    source = "from gradcompile.helper import f\n"
    before = jit.module_hash(source)
    (tmp_path / "below.py").write_text("x = 2\n")
    assert jit.module_hash(source) != before


def test_without_the_jit_functions_are_plain():
    program = "from gradcompile.runtime import jit; import sys; print(type(jit.load(sys.argv[1]).kernel).__name__)"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", program, SOURCE]
    out = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert out.stdout.strip() == "function", out.stderr


@pytest.fixture(scope="module")
def decay():
    a, b, t, v = sp.symbols("a b t v")
    return compile_grad((a * sp.exp(-b * t) - v) ** 2, [a, b], data=[t, v])


def test_a_saved_file_runs_alone_and_gives_the_same_bits(decay, tmp_path):
    path = tmp_path / "model.py"
    standalone.save(decay.source, path)
    text = path.read_text()
    assert "import gradcompile" not in text
    assert "from gradcompile" not in text
    times, volts = np.linspace(0.0, 3.0, 500), np.linspace(2.0, 0.0, 500)
    loss, grad = decay.bind(times, volts)(np.array([1.5, 0.7]))
    program = (
        "import sys; sys.modules['gradcompile'] = None\nimport numpy as np, model\ngrad = np.empty(2)\n"
        "loss = model.kernel(np.array([1.5, 0.7]), grad, np.linspace(0.0, 3.0, 500), np.linspace(2.0, 0.0, 500))\n"
        "print(loss.hex(), *(g.hex() for g in grad.tolist()))"
    )
    out = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert out.stdout.split() == [loss.hex(), *(g.hex() for g in grad.tolist())], out.stderr


def test_a_saved_file_says_what_it_needs():
    x = sp.Symbol("x")
    assert "it needs NumPy and Numba." in standalone.standalone(compile_grad(sp.sin(x), [x]).source)
    text = standalone.standalone(compile_grad(sp.besselj(1, x), [x]).source)
    assert "it needs NumPy, Numba and SciPy." in text
    compile(text, "saved", "exec")
