"""The fuzzer of NumPy programs finds faults that are planted: in a value, in a gradient, behind a branch, a crash."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gradcompile as gc
from gradcompile.diff.masks import Care
from gradcompile.frontend.arrays import core, fourier
from gradcompile.frontend.arrays.core import Array
from gradcompile.frontend.functions import stop_gradient
from tests.fuzz import arrays
from tests.fuzz.run import judged


def case(*lines: str) -> dict[str, Any]:
    """A case of a program."""
    inputs = {"p": [3], "q": [3, 2], "h": [4, 3]}
    return {"seed": 5, "dtype": "float64", "ties": False, "named": True, "inputs": inputs, "lines": list(lines)}


FLIPPED = case("v0 = np.flip(p) * np.array([1.0, 2.0, 3.0])", "loss = np.sum(v0 * v0)")
PRODUCT = case("v0 = p @ q", "loss = np.sum(np.multiply(v0, v0))")
OF_SCIPY = case(
    "v0 = stats.t.logpdf(p, np.abs(p) + 1.5) + signal.detrend(p) + special.expit(p)",
    "v1 = while_loop(lambda v: np.sum(v**2) > 1.0, lambda v: v * 0.7, v0, 40) + np.sum(linalg.toeplitz(q))",
    "loss = np.sum(v1 * v1)",
)
WAVES = case("v0 = stated(np.fft.irfft(np.fft.rfft(p), n=3) * p + np.fft.fft(p).real)", "loss = np.sum(v0 * v0)")
TIED = case("v0 = np.maximum(p[:, None], q)", "loss = np.sum(v0 * 3.0)") | {"ties": True, "named": False, "seed": 4}
MISSING = case("v0 = h @ p", "v1 = np.where(np.isfinite(v0), v0, 0.0)", "loss = np.sum(v1 * 0.7)")


@pytest.mark.parametrize("program", [FLIPPED, PRODUCT, MISSING, TIED, OF_SCIPY, WAVES])
def test_what_is_right_is_not_reported(program: dict[str, Any]) -> None:
    assert arrays.judge(program) is None


def test_planted_faults_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(x: Any, y: Any) -> Any:
        return Array(core.lift(x)) / (1 / stop_gradient(Array(core.lift(y))))

    for table, key, wrong, program, found in (
        (core.FUNCTIONS, np.flip, lambda m, axis=None: m, FLIPPED, "loss"),
        (core.FUNCTIONS, np.flip, lambda m, axis=None: m.shape[7], FLIPPED, "IndexError"),
        (core.UFUNCS, "multiply", half, PRODUCT, "gradient"),
        (core.FUNCTIONS, np.fft.rfft, lambda m: fourier.fft(m)[:2].conj(), WAVES, "loss"),
        (arrays.OF_SYMBOLS, "stated", gc.custom("s", arrays.cooled, vjp=lambda g, x: g), WAVES, "gradient"),
    ):
        with monkeypatch.context() as planted:
            planted.setitem(table, key, wrong)
            try:
                said = arrays.judge(program)
            except IndexError as error:
                said = repr(error)
        assert said is not None and said.startswith(found)
    for name, fault in (
        ("stats", SimpleNamespace(t=SimpleNamespace(logpdf=lambda x, df: gc.stats.t.logpdf(x, stop_gradient(df))))),
        ("signal", SimpleNamespace(detrend=lambda x: gc.signal.detrend(x, type="constant"))),
        ("while_loop", lambda cond, body, init, most: gc.while_loop(cond, body, init, 1)),
        ("special", SimpleNamespace(expit=lambda x: stop_gradient(gc.sigmoid(x)))),
        ("linalg", SimpleNamespace(toeplitz=lambda c: gc.linalg.toeplitz(np.ravel(c)[:2])[None])),
    ):
        with monkeypatch.context() as planted:
            planted.setitem(arrays.OF_SYMBOLS, name, fault)
            assert judged("arrays", OF_SCIPY) is not None, name
    monkeypatch.setattr(Care, "keeps", lambda *args: False)
    for ties in (False, True):  # where entries tie JAX is asked, whose gradient of what is masked is NaN as well
        assert judged("arrays", MISSING | {"ties": ties}) is not None


def dropped(x: Any, y: Any) -> Any:
    x, y = Array(core.lift(x)), Array(core.lift(y))
    return np.where(x > y, x, np.where(y > x, y, stop_gradient(x + y * 0)))


def doubled(x: Any, y: Any) -> Any:
    x, y = Array(core.lift(x)), Array(core.lift(y))
    return np.where(x < y, y, x) + np.where(x == y, y - stop_gradient(x), 0.0)


@pytest.mark.parametrize("with_jax", [True, False])
@pytest.mark.parametrize("fault", [dropped, doubled])
def test_planted_ties_are_found(monkeypatch: pytest.MonkeyPatch, fault: Any, with_jax: bool) -> None:
    values = arrays.drawn(TIED)
    assert np.any(values["p"][:, None] == values["q"])
    monkeypatch.setitem(core.UFUNCS, "maximum", fault)
    if not with_jax:
        monkeypatch.setattr(arrays, "by_jax", lambda text, values: np.full(9, np.nan))
    assert (arrays.judge(TIED) or "").startswith("gradient")


def test_a_case_is_the_same_each_time_and_most_are_not_refused() -> None:
    drawn = [arrays.draw(random.Random(k)) for k in range(20)]
    assert drawn == [arrays.draw(random.Random(k)) for k in range(20)]
    assert sum(len(c["lines"]) for c in drawn) > 100
