"""An op is one record: a new one is a record in one file, and no name of an op stands outside the places for it."""

import ast
import random
from collections.abc import Iterator
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy

from gradcompile import compile_grad
from gradcompile.analysis.evaluate import evaluate, exact
from gradcompile.cli import main
from gradcompile.diff.reverse import vjp
from gradcompile.ir.core import OPS, apply, leaf
from gradcompile.ops.elementwise import ANY, function
from gradcompile.testing import check_grads, ulps
from tests.fuzz import formulas

ROOT = Path(__file__).resolve().parent.parent / "gradcompile"

# Where ops are told apart by name, as that is what is done there; each with what a name stands for.
PLACES = {
    "ops": "the records",
    "ir.core": "leaves, numbers and the operators of nodes",
    "ir.algebra": "the functions beside these",
    "analysis.formula": "how each op is written as mathematics",
    "explain.causes": "what is told of an op where its slope is 0 or its value no number",
    "diff.slopes": "rules for slopes that are infinite",
    "diff.batch": "rules for an op on rows in place of a row",
    "diff.sparsity": "rules for the entries of theta that an entry depends on",
    "passes": "rules that rewrite formulas",
    "frontend.sympy.scalars": "what functions of SymPy are made of",
    "lower.blocks.pointwise": "rules for an op on a block of samples",
    "lower.blocks.prepare": "rules that rewrite what is lowered",
    "lower.memory.entries": "rules for the place of an entry",
    "lower.nests.expression": "the text of an expression",
    "lower.rules": "the loops of an op",
}


# ---- names of ops


def strings(node: ast.AST | None) -> list[object]:
    """What stands in a literal, of tuples, lists and sets what stands in those; None for all that is no text."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return [s for e in node.elts for s in strings(e)]
    return [node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None]


def named(source: str) -> list[tuple[int, object]]:
    """The lines and names of ops that a module compares something with, or has as keys or all entries of a table."""
    found = set[tuple[int, object]]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            found |= {(node.lineno, s) for side in (node.left, *node.comparators) for s in strings(side) if s in OPS}
        elif isinstance(node, ast.MatchValue):
            found |= {(node.value.lineno, s) for s in strings(node.value) if s in OPS}
        elif isinstance(node, ast.Dict | ast.Set | ast.Tuple | ast.List):
            keys = [s for k in node.keys for s in strings(k)] if isinstance(node, ast.Dict) else strings(node)
            if keys and all(s in OPS for s in keys) and (len(keys) > 1 or isinstance(node, ast.Dict | ast.Set)):
                found.add((node.lineno, keys[0]))
    return sorted(found, key=str)


def knows_graphs(source: str) -> bool:
    """Whether a module imports anything of graphs; one that does not speaks of something else by the same word."""
    modules = (n.module or "" for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom))
    return any(m.startswith(("gradcompile.ir", "gradcompile.ops")) for m in modules)


def elsewhere() -> Iterator[tuple[str, list[tuple[int, object]]]]:
    """The modules outside the places for it in which names of ops stand, and where."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not any(module == place or module.startswith(f"{place}.") for place in PLACES):
            source = path.read_text("utf-8")
            if knows_graphs(source) and (found := named(source)):
                yield module, found


def test_no_name_of_an_op_stands_outside_its_place():
    found = dict(elsewhere())
    assert not found, f"{found}: ask the record (Op in ir/core.py) for the fact, or the op's own module for the op"


@pytest.mark.parametrize(
    "source",
    [
        'def f(n):\n    return n.op.name == "tanh"',
        'def f(n):\n    return n.op.name not in ("tanh", "exp")',
        'def f(n):\n    return "dot" != n.op.name',
        'def f(n):\n    match n.op.name:\n        case "tanh":\n            return 1',
        'TAME = frozenset({"tanh"})',
        'TAME = ("tanh", "sigmoid")',
        'NAMES = {"tanh": "t", "exp": "e"}',
        'def f(n):\n    return {"dot": 2}.get(n.op.name)',
    ],
)
def test_a_planted_name_is_found(source):
    assert named(source)


@pytest.mark.parametrize("source", ['x = n.op.is_view and apply("tanh", n)', 'x = ("tanh", 3)', 'x = {"a": "tanh"}'])
def test_what_is_no_table_is_left_alone(source):
    assert not named(source)


def test_a_module_that_knows_no_graphs_may_use_the_words():
    assert knows_graphs("from gradcompile.ir.core import Node") and not knows_graphs("import numpy as np")


# ---- a new op


class gudermann(sympy.Function):
    """The angle whose tangent is sinh(x)."""

    nargs = 1


@pytest.fixture
def new_op():
    """All that a new function takes: its record."""
    function(
        "gudermann",
        "x",
        ("sech(x)",),
        lambda x: np.arctan(np.sinh(x)),
        "atan(sinh({0}))",
        exact=lambda x: mpmath.atan(mpmath.sinh(x)),
        sympy=gudermann,
        cost=24,
        domain=(ANY,),
        keeps_finite=True,
        keeps_zero="any",
        preferred_name="angle",
        doc="the angle whose tangent is sinh(x)",
        accuracy="at most 4 ulp",
        ulps=4.0,
    )
    yield OPS["gudermann"]
    del OPS["gudermann"]


def test_a_new_op_is_one_record(new_op, capsys):
    x, point = leaf("x"), {leaf("x"): 0.7}
    n = apply("gudermann", x)
    assert ulps(float(evaluate([n], point)[0]), exact([n], point)[0]) <= new_op.ulps
    check_grads(n, [x], point)  # its partial, both ways
    check_grads(vjp(n, [x])[0], [x], point)  # and that of its partial

    a, t = sympy.symbols("a t")
    f = compile_grad((gudermann(a * t) - t) ** 2 + gudermann(a) ** 2, [a], data=[t])
    data = np.linspace(-3.0, 3.0, 50)
    loss, (slope,) = f(0.5, data)
    angle = np.arctan(np.sinh(0.5 * data))
    assert np.isclose(loss, np.mean((angle - data) ** 2) + np.arctan(np.sinh(0.5)) ** 2, rtol=1e-14)
    by_hand = np.mean(2 * (angle - data) * data / np.cosh(0.5 * data)) + 2 * np.arctan(np.sinh(0.5)) / np.cosh(0.5)
    assert np.isclose(slope, by_hand, rtol=1e-13)
    assert "atan(sinh(" in f.source and "gudermann" in f.source  # the text of the record, and the name of a value

    assert main(["ops", "gudermann"]) == 0
    shown = capsys.readouterr().out
    assert all(text in shown for text in (new_op.doc, "d gudermann(x)/dx = sech(x)", new_op.accuracy))


def test_a_new_op_is_drawn_by_random_tests(new_op):
    assert "gudermann" in formulas.drawn() and formulas.ops_by_name()["gudermann"] is gudermann
    rng = random.Random(1)
    drawn = (formulas.draw_formula(rng, ["a"], 3) for _ in range(3000))
    text = next(text for text in drawn if "gudermann(" in text)
    assert formulas.read(text).has(gudermann)
