"""The fuzzer of patterns finds faults that are planted: entries that are missing, in the wrong place, or too many."""

from typing import Any

import numpy as np
import pytest

from gradcompile.diff import reach
from gradcompile.diff.coloring import colors_of
from tests.fuzz import patterns

PROGRAM = {"seed": 5, "dtype": "float64", "ties": False, "named": False, "inputs": {"p": [4], "q": [3]},
           "lines": ["v0 = np.array([[1.0, 2.0, 0.0], [0.0, 1.5, 1.0], [0.0, 0.0, 3.0]]) @ np.sin(q)",
                     "v1 = p[np.array([0, 0, 2])] * v0", "loss = np.sum(v1 * v1) + np.sum(p**3)"]}  # fmt: skip
CASE = {"way": "arrays", "case": PROGRAM}


def test_what_is_right_is_not_reported() -> None:
    assert patterns.judge(CASE) is None
    assert (
        patterns.judge({"way": "formula", "formula": "s0*s1**2 + sin(s2)*Piecewise((s3, s4 > 0), (s5**2, True))"})
        is None
    )


TRANSFORMED = [
    "np.sum(np.fft.fft(q).real ** 2)",
    "np.sum(np.fft.rfft(p, n=4).imag ** 3) * q[1]",
    "np.sum(np.fft.irfft(np.fft.rfft(np.outer(p, q)), n=3) ** 3)",
    "np.sum(np.linalg.inv(np.outer(q, q) + np.diag(p[:3])))",
    "np.sum(np.linalg.det(np.eye(3) * p[:, None, None]) ** 2)",
    "np.sum(np.cumsum(p)[::-1] ** 3)",
]


def test_what_a_transform_mixes_is_in_the_pattern() -> None:
    for loss in TRANSFORMED:
        assert patterns.judge({"way": "arrays", "case": {**PROGRAM, "lines": [f"loss = {loss}"]}}) is None, loss


def lacking(self: Any, a: Any, source: Any, at: Any, own: Any = reach.Reach.selected) -> Any:
    """Pairs without the last one, so that columns get a colour that meets in a row."""
    return own(self, a, source, at)[:-1]


def dense(self: Any, n: Any) -> Any:
    """Every factor counts, those that are 0 as well."""
    return None


@pytest.mark.parametrize(
    ("name", "fault", "said"), [("selected", lacking, "those of the Hessian"), ("number", dense, "is always 0")]
)
def test_planted_faults_are_found(monkeypatch: pytest.MonkeyPatch, name: str, fault: Any, said: str) -> None:
    monkeypatch.setattr(reach.Reach, name, fault)
    assert said in (patterns.judge(CASE) or "")


def test_coloured_columns_share_no_row() -> None:
    numbers = np.random.default_rng(0)
    held = numbers.random((30, 20)) < 0.1
    colors = colors_of(*np.nonzero(held), held.shape[1])
    for c in range(colors.max() + 1):
        assert held[:, colors == c].sum(axis=1).max() <= 1
