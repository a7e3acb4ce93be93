"""The shape of the package: imports point down, importing is cheap, functions are short, every file says what it is."""

import ast
import importlib
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "gradcompile").rglob("*.py"))

# Low to high. A module stands on the first floor of the longest name that holds it; it may import any lower floor and
# the modules under the same name, and nothing else of the package.
FLOORS = (
    ("errors", "collector", "once", "library.primitives"),
    ("charts", "coloured", "tracebacks"),
    ("ir",),
    ("loops",),
    ("codegen",),
    ("ops", "library"),
    ("vmath",),
    ("analysis", "signature"),
    ("diff",),
    ("testing", "passes"),
    ("frontend.arrays",),
    ("frontend.functions",),
    ("frontend",),
    ("special", "linalg", "signal", "fft", "stats"),
    ("loops.c", "loops.tape"),
    ("lower",),
    ("runtime", "export"),
    ("optim", "explain"),
    ("pipeline",),
    ("compiled",),
    ("derivatives",),
    ("gradient",),
    ("many",),
    ("compile",),
    ("data",),
    ("interop.dask",),
    ("regression",),
    ("interop",),
    ("cli",),
    ("",),  # gradcompile itself and __main__
)
FACES = ("errors", "linalg", "optim", "signal", "special", "stats", "testing", "vmath",
         "vmath.single")  # which users import: these names are here to stay  # fmt: skip
FLOOR_OF = {name: level for level, names in enumerate(FLOORS) for name in names}


def module_name(path: Path) -> str:
    """The dotted name below the package: "ir.core", "" for the package itself.

    >>> module_name(ROOT / "gradcompile" / "ops" / "scan.py"), module_name(ROOT / "gradcompile" / "__init__.py")
    ('ops.scan', '')
    """
    parts = path.relative_to(ROOT / "gradcompile").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in FILES}


@cache
def tree_of(path: Path) -> ast.Module:
    """The text of a file as a tree."""
    return ast.parse(path.read_text("utf-8"))


def holder(module: str) -> str:
    """The entry of FLOORS that holds a module: the longest name that it is, or is under."""
    if module == "__main__":
        return ""
    parts = module.split(".")
    names = (".".join(parts[:k]) for k in range(len(parts), 0, -1))
    found = next((name for name in names if name in FLOOR_OF), None)
    if found is None:
        raise AssertionError(f"gradcompile.{module} stands on no floor: enter it in FLOORS of {__file__}")
    return found


def imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """The modules of the package that a module imports, at its top, inside a function, or for annotations alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name.removeprefix("gradcompile").lstrip(".") for a in node.names if is_ours(a.name))
        elif isinstance(node, ast.ImportFrom):
            source = absolute(node, module, is_package)
            if is_ours(source):
                below = source.removeprefix("gradcompile").lstrip(".")
                yield from (longest_module(f"{below}.{a.name}".lstrip(".")) for a in node.names)


def is_ours(name: str) -> bool:
    return name == "gradcompile" or name.startswith("gradcompile.")


def absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The module an import statement names, with leading dots resolved."""
    if not node.level:
        return node.module or ""
    here = ["gradcompile", *filter(None, module.split("."))]
    up = node.level - is_package
    return ".".join([*here[: len(here) - up], *filter(None, [node.module])])


def longest_module(name: str) -> str:
    """The module itself when an import names one, else the module that the imported thing is in."""
    return name if name in MODULES else name.rpartition(".")[0]


def upward(tree: ast.Module, module: str, is_package: bool = False) -> list[str]:
    """The imports of a module that do not point down."""
    own = holder(module)
    targets = {holder(t) if t else "" for t in imported(tree, module, is_package)}
    return sorted(t or "gradcompile" for t in targets if t != own and FLOOR_OF[t] >= FLOOR_OF[own])


def circles(needs: Mapping[str, set[str]]) -> list[set[str]]:
    """The sets of modules that need each other in a circle, at the top of the file or inside a function.

    >>> circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [{"b", "c"}]
    True
    """
    below = {m: reached(m, needs) for m in needs}
    found = {frozenset(n for n in below[m] if m in below[n]) for m in needs if m in below[m]}
    return [set(c) for c in found]


def reached(start: str, needs: Mapping[str, set[str]]) -> set[str]:
    """The modules that one needs, and those that these need."""
    found: set[str] = set()
    pending = [start]
    while pending:
        new = needs.get(pending.pop(), set()) - found
        found |= new
        pending += new
    return found


def test_no_files_import_each_other_in_a_circle():
    needs = {}
    for path in FILES:
        module = module_name(path)
        found = imported(tree_of(path), module, path.name == "__init__.py")
        needs[module] = set(found) - {module}
    assert not circles(needs)


@pytest.mark.parametrize("name", FACES)
def test_what_users_import_is_there(name):
    assert name in MODULES and all(hasattr(importlib.import_module(f"gradcompile.{name}"), x) for x in faces(name))


def faces(name: str) -> list[str]:
    """What a module that users import has to have, by its own list, and more than nothing."""
    found = importlib.import_module(f"gradcompile.{name}")
    return getattr(found, "__all__", None) or [x for x in vars(found) if x.endswith("Error")]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from `def` to its end, docstring apart."""
    total = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None
    return total - ((first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0)


def test_imports_point_down():
    found = {module_name(p): upward(tree_of(p), module_name(p), p.name == "__init__.py") for p in FILES}
    wrong = {name: imports for name, imports in found.items() if imports}
    assert not wrong, "these modules import the same floor or a higher one"


@pytest.mark.parametrize(
    ("source", "module", "is_package"),
    [
        ("import gradcompile.compile", "ir", False),
        ("from gradcompile.compile import compile_grad", "ir", False),
        ("from gradcompile import compile_grad", "ir", False),
        ("def f():\n    from gradcompile import cli", "ir", False),
        ("from .compile import compile_grad", "ir", False),
        ("from ..compile import compile_grad", "ir.core", False),
        ("from ..compile import compile_grad", "ops", True),
        ("from gradcompile.explain import rows", "optim", False),
        ("if TYPE_CHECKING:\n    from gradcompile.compile import CompiledGrad", "ir", False),
    ],
)
def test_an_import_that_points_up_is_found(source, module, is_package, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "MODULES", MODULES | {"compile", "cli", "explain"})
    assert upward(ast.parse(source), module, is_package)


@pytest.mark.parametrize(
    "source",
    [
        "from gradcompile.errors import GraphError",
        "from gradcompile.ir.core import Op",
        "import numpy",
    ],
)
def test_an_import_that_points_down_is_not(source):
    assert not upward(ast.parse(source), "ir")


def test_every_module_says_what_it_is_for():
    assert not [str(path.relative_to(ROOT)) for path in FILES if not ast.get_docstring(tree_of(path))]


# What is handed on are records: nobody looks into generated text to learn what they say.
READERS = ("re", "tokenize", "fnmatch", "difflib")
BLIND = ("lower", "codegen", "runtime", "export", "optim")


def looks_into_text(source: str) -> list[int]:
    """The lines that import what searches texts, or that compare, search or cut the text of a statement."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names) if any(a.name in READERS for a in names):
                found.append(node.lineno)
            case ast.ImportFrom(module=module) if module in READERS:
                found.append(node.lineno)
            case ast.Compare(left=left, comparators=others) if any(map(is_text, [left, *others])):
                found.append(node.lineno)
            case ast.Call(func=ast.Attribute(value=value)) | ast.Subscript(value=value) if is_text(value):
                found.append(node.lineno)
            case ast.For(iter=value) | ast.comprehension(iter=value) if is_text(value):
                found.append(value.lineno)
    return found


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "text"


def test_nobody_looks_into_generated_text():
    for path in FILES:
        module = module_name(path)
        if module.partition(".")[0] in BLIND:
            source = path.read_text("utf-8")
            source = source.replace(".text", "") if module.startswith("codegen.") else source  # an operand of LLVM's
            assert not looks_into_text(source), module


@pytest.mark.parametrize(
    "source",
    [
        "import re",
        "from re import findall",
        "def f(s):\n    import re",
        'def f(s):\n    return "@" in s.text',
        'def f(s):\n    return s.text == "x = 1"',
        'def f(s):\n    return s.text.startswith("-")',
        "def f(s):\n    return s.value.text[0]",
        "def f(s):\n    return [c for c in s.text]",
        'def f(kernel):\n    return kernel.text.count("lanes(")',
    ],
)
def test_a_look_into_text_is_found(source):
    assert looks_into_text(source)


def test_what_only_prints_or_measures_is_left_alone():
    assert not looks_into_text('def f(s):\n    return len(s.text), f"{s.text} = 1", print(s.text)')


def test_functions_are_short():
    trees = {path: tree_of(path) for path in FILES}
    lengths = {f"{p.relative_to(ROOT)}:{f.lineno} {f.name}": length(f) for p, t in trees.items() for f in functions(t)}
    long = {where: lines for where, lines in lengths.items() if lines >= 60}
    assert not long
    assert statistics.median(lengths.values()) < 10


def test_length_leaves_the_docstring_out():
    tree = ast.parse('def f(x):\n    """One.\n\n    More.\n    """\n    return x\n')
    assert [length(f) for f in functions(tree)] == [2]


def test_importing_the_package_is_cheap():
    heavy = ("numba", "llvmlite", "scipy", "matplotlib", "hypothesis", "pytest")
    program = f"import sys, gradcompile; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
