"""SymPy's flattening undone: as many operations as without it, and the same values."""

import warnings

import numpy as np
import pytest
import sympy as sp

from gradcompile import compile_grad
from gradcompile.frontend.sympy import flattened
from gradcompile.frontend.sympy.convert import read
from gradcompile.ir.graph import topological

a, b, g, x, v, r = sp.symbols("a b g x v r")
H = sp.Float(0.05)


def euler(n):
    state = x
    for _ in range(n):
        state = state + H * (a * sp.sin(state) - b * state)
    return (state - 1) ** 2, [a, b, x]


def pendulum(n):
    q, w = x, v
    for _ in range(n):
        force = [-g * sp.sin(q) - a * w]
        middle = q + H / 2 * w, w + H / 2 * force[0]
        force.append(-g * sp.sin(middle[0]) - a * middle[1])
        q, w = q + H / 2 * (w + middle[1]), w + H / 2 * (force[0] + force[1])
    return (q - 1) ** 2 + w**2, [a, g, x, v]


def logistic(n):
    state = x
    for _ in range(n):
        state = r * state * (1 - state)
    return (state - 1) ** 2, [r, x]


def survival(n):
    total, terms = sp.S.Zero, []
    for k in range(n):
        total = total + sp.exp(b * sp.Symbol(f"y{k}"))
        terms.append(sp.log(total))
    return sp.Add(*terms), [b]


def trend(n):
    """A filter of two states: the states' variances are sums of sums with whole numbers."""
    m, s, A, B, D, terms = sp.S.Zero, sp.S.Zero, sp.S.One, sp.S.Zero, sp.S.One, []
    for k in range(n):
        A, B, D = A + 2 * B + D + a, B + D, D + b
        m, F = m + s, A + r
        e = sp.Symbol(f"y{k}") - m
        terms.append(sp.log(F) + e**2 / F)
        m, s, A, B, D = m + A / F * e, s + B / F * e, A - A * A / F, B - A * B / F, D - B * B / F
    return sp.Add(*terms), [a, b, r]


def operations(problem):
    return sum(len(n.args) - 1 if n.op.name == "add" else 1 for n in topological([problem.primal]) if n.args)


@pytest.mark.parametrize(
    ("model", "steps"),
    [(euler, 24), (pendulum, 8), (logistic, 24), (survival, 24), (trend, 10)],
    ids=lambda m: getattr(m, "__name__", str(m)),
)
def test_a_loop_has_as_many_operations_as_it_was_written_with(model, steps):
    formula, params = model(steps)
    with sp.evaluate(False):
        plain, _ = model(steps)
    found, written = read(formula, params), read(plain, params)
    assert operations(found) <= 1.3 * operations(written)
    rng = np.random.default_rng(0)
    names = [z.name for z in (*found.params, *found.inputs)]
    env = {name: float(rng.uniform(0.3, 0.9)) for name in names}
    one, other = compile_grad(formula, params)(**env), compile_grad(plain, params)(**env)
    np.testing.assert_allclose([one[0], *one[1]], [other[0], *other[1]], rtol=1e-12)


def untouched(formula, params):
    """Whether the graph is that of the sums and products as SymPy gives them."""
    problem = read(formula, params)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flattened, "SAVED", 10**9)
        return read(formula, params).primal is problem.primal


def test_other_formulas_stay_as_they_are():
    y = sp.symbols("y0:60")
    windows = sp.Add(*(sp.sin(sp.Add(*y[k : k + 12])) for k in range(48)))
    assert untouched(windows, y[:59])
    assert untouched(sp.Add(*((y[k] - a * y[k + 1] - b) ** 2 for k in range(59))), [a, b])
    assert untouched((a + b + g) * (a + b + g + x) * sp.log(a + b + g + x + v), [a, b])
    assert not untouched(*survival(20))


def test_numbers_are_not_made_to_cancel():
    """A sum is never read as a larger one less some of its terms."""
    vectors = flattened.Vectors(scales=True)
    for vector in ({"a": 1.0, "b": 2.0, "c": -1.0}, {"a": 2.0, "b": 1.0, "c": -1.0, "d": 3.0}, {"a": -1.0, "b": -2.0,
                   "c": 1.0, "e": 1.0}, {"a": 3.0, "b": 6.0, "c": -3.0, "d": 5.0}):  # fmt: skip
        vectors.place(vector)
    vectors.read_all()
    assert [r.multiples for r in vectors.readings.values()] == [[], [], [(-1.0, 0)], [(3.0, 0)]]


def test_a_hint_is_given_once(monkeypatch):
    monkeypatch.setattr(flattened, "hinted", False)
    with pytest.warns(UserWarning, match=r"sympy\.evaluate\(False\)"):
        read(*survival(20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(*survival(20))
