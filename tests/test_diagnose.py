"""Which node of a loss loses digits: textbook cancellations, and formulas that lose none."""

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile import compile_grad

A, B, C, X, Y, H = sp.symbols("a b c x y h", positive=True)
S = (A + B + C) / 2
D = sp.sqrt(B**2 - 4 * A * C)

# the loss, its arguments, where, and what the guilty node's formula has in it
TEXTBOOK = [
    ((1 - sp.cos(X)) / X**2, (X,), (1e-7,), "cos(x)"),
    (sp.log(1 + X) / X, (X,), (1e-12,), "log(1 + x)"),
    ((sp.exp(X) - 1) / X, (X,), (1e-12,), "exp(x)"),
    ((-B + D) / (2 * A), (A, B, C), (1.0, 1e8, 1.0), "sqrt"),
    (sp.sqrt(X + 1) - sp.sqrt(X), (X,), (1e14,), "sqrt"),
    (1 / X - 1 / (X + 1), (X,), (1e9,), "1/x"),
    (X - sp.sin(X), (X,), (1e-5,), "sin(x)"),
    (sp.tan(X) - X, (X,), (1e-6,), "tan(x)"),
    (X**2 - Y**2, (X, Y), (1e8 + 1, 1e8), "x**2 - y**2"),
    (sp.sqrt(S * (S - A) * (S - B) * (S - C)), (A, B, C), (100000.3, 1 / 3, 99999.966667667), "a"),
    ((sp.sin(X + H) - sp.sin(X)) / H, (X, H), (1.0, 1e-12), "sin"),
    ((sp.exp(X + H) - 2 * sp.exp(X) + sp.exp(X - H)) / H**2, (X, H), (1.0, 1e-6), "exp"),
    (sp.log(X) - sp.log(Y), (X, Y), (1e10 + 1e-4, 1e10), "log"),
    (sp.log(X + sp.sqrt(X**2 + 1)) / X, (X,), (1e-9,), "log"),
    (X - sp.sqrt(X**2 - 1), (X,), (1e9,), "sqrt"),
    (1 - sp.tanh(X), (X,), (17.0,), "tanh(x)"),
    (1 - sp.erf(X), (X,), (5.5,), "erf(x)"),
    (sp.cos(X) ** 2 - sp.sin(X) ** 2, (X,), (0.7853981633974,), "cos(x)"),
    (X**3 - 3 * X**2 + 3 * X - 1, (X,), (1.0001,), "x**"),
    (sp.sqrt(1 + X) - 1, (X,), (1e-12,), "sqrt"),
    ((1 + X) ** 2 - 1, (X,), (1e-12,), "(1 + x)**2"),
    (sp.pi / 2 - sp.atan(X), (X,), (1e12,), "atan(x)"),
    (sp.cosh(X) - 1, (X,), (1e-7,), "cosh(x)"),
    (sp.sinh(X) - X, (X,), (1e-5,), "sinh(x)"),
    (X - sp.log(1 + X), (X,), (1e-7,), "log"),
    (sp.sqrt(X**2 + Y**2) - X, (X, Y), (1e9, 1.0), "sqrt"),
    (sp.log(sp.exp(X) + 1) - X, (X,), (30.0,), "log"),
    (sp.acos(X), (X,), (1 - 1e-16,), None),
    (A * X - B * Y, (A, B, X, Y), (1 / 3, 1 / 7, 3 / 7, 1.0), "a*x"),
    (sp.cosh(X) - sp.sinh(X), (X,), (15.0,), "sinh(x)"),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(TEXTBOOK)))
def test_a_cancellation_is_found(k):
    loss, params, at, part = TEXTBOOK[k]
    found = compile_grad(loss, list(params)).diagnose(*at)
    if part is None:
        assert found.guilty is None, str(found)
        return
    assert found.guilty is not None and part in found.guilty.formula, str(found)
    assert found.written >= 2 and found.guilty.more >= 2 and found.guilty.formula in str(found)


@pytest.mark.parametrize(
    ("loss", "params", "at"),
    [((A * X - Y) ** 2, (A, X, Y), (2.0, 3.0, 10.0)), (sp.exp(-X) + Y, (X, Y), (3.0, 1.0)),
     (sp.log(1 + sp.exp(X)), (X,), (1.0,)), (sp.sqrt(X**2 + Y**2), (X, Y), (3.0, 4.1))],
)  # fmt: skip
def test_what_loses_nothing_has_no_guilty_node(loss, params, at):
    found = compile_grad(loss, list(params)).diagnose(*at)
    assert found.guilty is None and "keeps its digits" in str(found)


def test_what_mends_it_is_told():
    found = compile_grad((1 - sp.cos(X)) / X**2, [X]).diagnose(1e-7)
    assert found.compiled < 1 < found.written and "Compiled it loses 0" in str(found) and "->" in str(found)


def test_arrays_are_judged_by_their_worst_entry():
    w = gc.array("w", (3,))
    found = compile_grad(np.mean(w**2) - np.mean(w) ** 2, [w]).diagnose(1e8 + np.arange(3.0))
    assert found.guilty is not None and "mean" in found.guilty.formula and found.written > 8


def test_overflow_on_the_way_loses_all_digits():
    found = compile_grad(sp.sqrt(X**2 + Y**2), [X, Y]).diagnose(1e200, 1e200)
    assert found.written > 15 and "**2" in found.guilty.formula
