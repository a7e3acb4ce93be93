"""Generated code as a careful person writes it: golden files and random programs, and offences that are planted."""

import ast
import importlib.util
import random
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import gradcompile as gc
from gradcompile import codegen
from tests import test_golden
from tests.fuzz import formulas
from tests.wording import offences

GOLDEN = Path(__file__).resolve().parent / "golden"
CASES = {make.__name__: make for make, *_ in (*test_golden.CASES, *test_golden.DERIVATIVES)}
MODULE = '''"""loss(a, x) = a"""

@jit
def kernel(theta, grad, x):
    a = theta[0]
    {}
    {}
'''


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.py")), ids=lambda p: p.stem)
def test_golden_files_are_written_with_care(path: Path) -> None:
    assert list(offences(path.read_text("utf-8"))) == []


def test_random_formulas_are() -> None:
    rng = random.Random(17)
    found = []
    for _ in range(12):
        case = formulas.draw(rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found += [(case["formula"], *o) for o in offences(source_of(case["formula"]))]
    assert found == []


def source_of(text: str) -> str:
    """What a formula is compiled to; empty for one without parameters, or that is refused."""
    try:
        expr = formulas.read(text)
    except ValueError:  # of SymPy
        return ""
    params = sorted((s for s in expr.free_symbols if s.name in formulas.PARAMS), key=str)
    data = sorted((s for s in expr.free_symbols if s.name in formulas.COLUMNS), key=str)
    try:
        return str(gc.compile_grad(expr, params, data=data or None).source) if params else ""
    except gc.GradcompileError:
        return ""


PLANTED = {
    "an op with a number": ("sin_1 = sin(a)", "return x * sin_1"),
    "a power of powers": ("a_squared_squared = a * a", "return a_squared_squared + 1"),
    "an adjoint of what is not there": ("d_v = a + x", "return d_v * a"),
    "a name that nobody reads": ("b = a + x", "return a * x"),
    "a copy": ("b = x", "return a * b"),
    "a condition and its negation": ("not_c = not a", "return x if not_c else a"),
    "an index on a scalar": ("a_i = a + 2.0", "return x * a_i"),
    "a minus before a minus": ("y = - -5.0 * a", "return x + y"),
    "a minus after a sign": ("y = x + -5.0 * a", "return x + y"),
    "a factor of one": ("y = 1.0 * a", "return x + y"),
    "a term twice": ("y = x * a + a * x", "return x + y"),
    "a number that is converted": ("y = float64(1.0) / a", "return x + y"),
    "a comment of ellipses": ("y = x / a  # .../(1 + ...)", "return x + y"),
    "a number in parentheses": ("n = (x.shape[0] - (1))", "return n + a"),
    "the result has another name": ("square = x * a", "return square"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_an_offence_that_is_planted_is_found(kind: str) -> None:
    assert {found for found, _ in offences(MODULE.format(*PLANTED[kind]))} == {kind}


def test_headers_and_constants() -> None:
    text = MODULE.format("y = a * x", "return y + a").replace('= a"', '= scan(1, a)"')
    kinds = [kind for kind, _ in offences(text + "\nLANES = 32  # samples that are computed side by side\n")]
    assert kinds == ["samples that are not there", "leaves of a loop's body"]


# What a person reads is what runs


def machine(kernel: Any, kinds: Any) -> str:
    """The LLVM IR of a kernel; the marks of the module's name left out."""
    return re.sub(r"gc\.[0-9a-f]{16}", "gc", codegen.lower(codegen.own_text(kernel), kinds).text)


def loaded(path: Path) -> Any:
    """The kernel of a file."""
    spec = importlib.util.spec_from_file_location(f"read_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.kernel


@pytest.mark.parametrize("name", CASES)
def test_a_golden_text_read_back_is_the_machine_code_that_was_compiled(name: str, tmp_path: Path) -> None:
    f = CASES[name]()
    kinds = tuple(f._route.kinds())
    own = machine(f._route.kernel, kinds)
    assert own == machine(loaded(GOLDEN / f"{name}.py"), kinds)
    (tmp_path / "other.py").write_text(changed((GOLDEN / f"{name}.py").read_text("utf-8")), "utf-8")
    assert own != machine(loaded(tmp_path / "other.py"), kinds)


def changed(text: str) -> str:
    """The text with another number in its last function that has one."""
    functions = [s for s in ast.parse(text).body if isinstance(s, ast.FunctionDef)]
    numbers = [e for f in functions for e in ast.walk(f) if isinstance(e, ast.Constant) and isinstance(e.value, float)]
    if not numbers:
        return " - ".join(text.rsplit(" + ", 1))
    last = max(numbers, key=lambda e: (e.lineno, e.col_offset))
    lines = text.splitlines(keepends=True)
    line = lines[last.lineno - 1]
    lines[last.lineno - 1] = f"{line[: last.col_offset]}{last.value + 1.0}{line[last.end_col_offset :]}"
    return "".join(lines)
