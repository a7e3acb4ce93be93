"""A traceback ends at the user's line; with GRADCOMPILE_TRACEBACK=full it has every frame; nothing is swallowed."""

import inspect
import pickle
import traceback
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile.errors import GradcompileError
from gradcompile.tracebacks import entry

INSIDE = str(Path(gc.__file__).parent)
A, X = sp.symbols("a x")
M, V = gc.array("M", ("n", 3)), gc.array("v", (3,))
F = gc.compile_grad((A - X) ** 2, [A], data=[X])
SCALAR = gc.compile_grad((A - X) ** 2, [A], inputs=[X])
BOUND = F.bind(np.ones(3))
FIT = {"x": np.arange(4.0), "y": np.arange(4.0)}

MISTAKES = [
    lambda: F(1.0, x="no"),
    lambda: F(1.0),
    lambda: SCALAR(1.0),
    lambda: SCALAR(1.0, 2.0, 3.0),
    lambda: F.flat(np.ones(7), np.ones(3)),
    lambda: F.loss(1.0),
    lambda: BOUND(np.ones(9)),
    lambda: F.bind(1.0, 2.0),
    lambda: F.explain(1.0),
    lambda: F.draw(1.0, np.ones(2), to="graph.png"),
    lambda: gc.compile_grad(A, [A, A]),
    lambda: gc.compile_hessian((A - X) ** 2, [A], inputs=[X])(1.0),
    lambda: gc.fit("a*x", FIT, "z"),
    lambda: gc.fit("a*x", FIT, "y").ci(method="guess"),
    lambda: gc.sgd(F, [0.0], [[1.0]], learning_rate=-1.0, epochs=1),
    lambda: gc.minimize(F, [0.0, 1.0], [[1.0]]),
    lambda: M @ gc.array("u", (4,)),
    lambda: M + gc.array("u", (4,)),
    lambda: np.linalg.eig(M),
    lambda: M.mean(axis=7),
    lambda: M[0, 1, 2],
    lambda: len(M),
    lambda: gc.scan(lambda h, row: (h @ row, None), V, M),
    lambda: gc.softmax(M, axis=5),
    lambda: gc.array("M", ("n", -1)),
]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.delenv("GRADCOMPILE_TRACEBACK", raising=False)


def frames_of(mistake):
    """The error, and the files of its traceback below the test's own frame."""
    with pytest.raises(GradcompileError) as caught:
        mistake()
    files = [f.filename for f in traceback.extract_tb(caught.value.__traceback__)]
    return caught.value, files


@pytest.mark.parametrize("k", range(len(MISTAKES)))
def test_it_ends_at_the_line_of_the_user(k, monkeypatch):
    error, files = frames_of(MISTAKES[k])
    assert files[-1] == __file__ and not [f for f in files if f.startswith((INSIDE, "<gradcompile"))]
    shown = "".join(traceback.format_exception(error))
    assert INSIDE not in shown, shown
    monkeypatch.setenv("GRADCOMPILE_TRACEBACK", "full")
    again, files = frames_of(MISTAKES[k])
    assert str(again) == str(error) and type(again) is type(error)
    assert [f for f in files if f.startswith(INSIDE)]


def test_frames_of_others_stay_and_other_exceptions_are_left_alone():
    def wrong(epoch, params, loss, norm):
        F(params[0])

    _, files = frames_of(lambda: gc.sgd(F, [0.0], [[1.0]], learning_rate=0.1, epochs=1, callback=wrong, progress=False))
    assert files.count(__file__) == 3 and INSIDE not in "".join(files)

    def broken(*_):
        raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        gc.sgd(F, [0.0], [[1.0]], learning_rate=0.1, epochs=1, callback=broken, progress=False)
    assert [f for f in traceback.extract_tb(caught.value.__traceback__) if f.filename.startswith(INSIDE)]


def test_an_entry_is_the_function_to_everybody_else():
    assert pickle.loads(pickle.dumps(gc.fit)) is gc.fit and next(iter(inspect.signature(gc.fit).parameters)) == "model"
    assert gc.compile_grad.__doc__.startswith("Compile") and entry(len).__name__ == "len"
    loss, grads = pickle.loads(pickle.dumps(F))(2.0, [1.0])
    assert (loss, grads.a) == (1.0, 2.0)
