"""Pictures of fits: written without a warning whatever the names, and with what they should have on them."""

import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile.cli import plot
from gradcompile.errors import ArgumentError
from gradcompile.regression.picture import draw

pytest.importorskip("matplotlib")
X = np.linspace(0.0, 3.0, 20)
NOISE = 0.1 * np.random.default_rng(1).normal(size=20)


def line(name: str, y: np.ndarray, **options: object) -> object:
    fitter = gc.compile_fit(sp.sympify("a*x + b"), ["a", "b"], target=sp.Symbol(name), sigma=True)
    return fitter({"x": X, name: y}, start={"a": 1, "b": 0}, sigma=np.ones(20), **options)


def test_any_names_and_titles_and_a_perfect_fit(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        perfect, noisy = line("$p_{$ \N{CJK UNIFIED IDEOGRAPH-6F22}", X), line("y", X + NOISE)
        for k, fit in enumerate((perfect, noisy)):
            fit.plot(tmp_path / f"{k}.png", title="a long title with $p_{$ in it " * 20)  # type: ignore[attr-defined]
            assert (tmp_path / f"{k}.png").read_bytes().startswith(b"\x89PNG")
        draw({"A": perfect, "$B_{$": noisy}, tmp_path / "groups.svg")  # type: ignore[dict-item]
    assert ET.parse(tmp_path / "groups.svg").getroot().tag.endswith("svg")


def test_what_is_on_a_picture() -> None:
    upper, lower = line("y", X + NOISE).plot().axes  # type: ignore[attr-defined]
    assert upper.get_title() == "y = a*x + b" and lower.get_xlabel() == "x" and upper.get_ylabel() == "y"
    kinds = [type(artist).__name__ for artist in upper.collections]
    assert "PathCollection" in kinds and any("Fill" in kind or "Poly" in kind for kind in kinds)
    constant = gc.fit("c", {"y": NOISE}, "y", start=[0]).plot()
    assert constant.axes[1].get_xlabel() == "row"
    several = gc.fit("a*x + b*z", {"x": X, "z": X**2, "y": X + NOISE}, "y").plot()
    assert several.axes[1].get_xlabel() == "the model"


def test_a_kind_of_picture_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="unknown kind of picture; name the file"):
        line("y", X).plot(tmp_path / "fit.gif2")  # type: ignore[attr-defined]


def test_pictures_that_need_no_library_and_flat_losses(tmp_path: Path) -> None:
    plot.picture_of_fit(str(tmp_path / "a.svg"), [0.0, 1.0], [1.0, 1.0], [1.0, 1.0], "a < b " * 40)
    plot.picture(str(tmp_path / "b.svg"), [0.0, 0.0], "$p_{$", "step")
    for name in ("a.svg", "b.svg"):
        assert ET.parse(tmp_path / name).getroot().tag.endswith("svg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot.picture(str(tmp_path / "c.png"), [0.0, 0.0], "$p_{$ " * 40, "step")
