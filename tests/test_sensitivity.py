"""How an optimum moves with the inputs of its loss: against differences of optima that were searched for again."""

import pickle

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile.errors import ArgumentError, ArgumentTypeError, SingularHessianError

A, B, X, Y, L = sp.symbols("a b x y l")
Z = sp.symbols("z0:2")
RANDOM = np.random.default_rng(0)
TIMES = np.linspace(0.0, 2.0, 7)
CURVE = {"x": TIMES, "y": 2 * np.exp(-TIMES) + 0.1 * RANDOM.normal(size=7), "l": 0.1}
TABLE = {"z": RANDOM.normal(size=(6, 2)), "y": RANDOM.normal(size=6)}
LABELLED = {"V": RANDOM.normal(size=(8, 3)), "T": np.sign(RANDOM.normal(size=8)), "k": 0.05}


def again(f, start, data, name, step=1e-5):
    """Central differences of the optimum in each entry of an input."""
    base, found = np.array(data[name], float), []
    for place in np.ndindex(base.shape):
        ends = []
        for s in (step, -step):
            moved = base.copy()
            moved[place] += s
            x = gc.minimize(f, start, data | {name: moved}, tolerance=1e-12, method="trust-exact").x
            ends.append(f.pack(*x))
        found.append((ends[0] - ends[1]) / (2 * step))
    return np.array(found).T.reshape(-1, *base.shape)


def curve():
    """Columns, and a penalty's weight."""
    return gc.compile_grad((A * sp.exp(-B * X) - Y) ** 2 + L * A**2, [A, B], data=[X, Y], inputs=[X, Y, L])


def table():
    """A table of two columns."""
    return gc.compile_grad((A * Z[0] + B * Z[1] - Y) ** 2, [A, B], data={"z": Z, "y": Y}, inputs={"z": Z, "y": Y})


def logistic():
    """Arrays, and a number beside them."""
    W, V, k, T = gc.array("W", (3,)), gc.array("V", ("n", 3)), gc.array("k", ()), gc.array("T", "n")
    return gc.compile_grad(np.mean(np.log1p(np.exp(-T * (V @ W)))) + k * np.sum(W**2), [W])


@pytest.mark.parametrize(("made", "start", "data"), [(curve, [1.0, 1.0], CURVE), (table, [0.0, 0.0], TABLE),
                                               (logistic, [np.zeros(3)], LABELLED)])  # fmt: skip
def test_against_searches(made, start, data):
    """In every input, whatever its shape; by name and by symbol; of a pickled result; held parameters do not move."""
    f = made()
    found = gc.minimize(f, start, data, tolerance=1e-12)
    for name in data:
        got = found.sensitivity(name)
        assert got.shape == (f.size, *np.shape(data[name]))
        np.testing.assert_allclose(got, again(f, start, data, name), rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(got, pickle.loads(pickle.dumps(found)).sensitivity(name))
    key = f.problem.inputs[0].original
    np.testing.assert_array_equal(found.sensitivity(key), found.sensitivity(f.problem.inputs[0].name))
    first = f.problem.params[0].name
    held = gc.minimize(f, start, data, bounds={first: (-0.01, 0.01)})
    assert not held.sensitivity(name)[0].any()


def test_what_is_refused():
    """Optima that are no single point, what is no minimum, names that are no input, losses of Python's."""
    flat = gc.minimize(gc.compile_grad((A + B - X) ** 2, [A, B], data=[X]), [1.0, 2.0], [[1.0, 2.0]])
    with pytest.raises(SingularHessianError, match="singular along a, b"):
        flat.sensitivity(X)
    for wrong in ("q", A):
        with pytest.raises(ArgumentTypeError, match="which is no argument"):
            flat.sensitivity(wrong)
    few = gc.minimize(curve(), [1.0, 1.0], CURVE, limit=3)
    with pytest.raises(ArgumentError, match="no minimum: the limit"):
        few.sensitivity("x")

    def outside(a):
        return a**2, [2 * a]

    outside.shapes = {"a": ()}
    with pytest.raises(ArgumentError, match="evaluated by Python"):
        gc.minimize(outside, [1.0]).sensitivity("a")
