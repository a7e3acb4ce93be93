"""scikit-learn's own checks, and jobs that people do with estimators."""

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.interop.sklearn import FormulaClassifier, FormulaRegressor

RNG = np.random.default_rng(0)
X = RNG.uniform(0.0, 3.0, size=(80, 2))
Y = 2.5 * np.exp(-1.3 * X[:, 0]) + 0.5 + 0.01 * RNG.normal(size=80)
DECAY = "a*exp(-b*x0) + c"


@pytest.mark.parametrize(("estimator", "least"), [(FormulaRegressor(), 58), (FormulaClassifier(), 61)])
@pytest.mark.filterwarnings("ignore")
def test_every_check_of_scikit_learn_passes(estimator: Any, least: int) -> None:
    found = check_estimator(estimator, on_skip=None)
    left_out = {r["check_name"] for r in found if r["status"] != "passed"}
    assert left_out <= {"check_array_api_input"}  # needs a setting of SciPy before it is imported
    assert len(found) - len(left_out) >= least


def test_a_formula_is_fitted_with_its_statistics() -> None:
    model = FormulaRegressor(DECAY).fit(X, Y)
    assert list(model.params_) == ["a", "b", "c"] and model.columns_ == ("x0",)
    np.testing.assert_allclose([*model.params_.values()], [2.5, 1.3, 0.5], rtol=0.05)
    assert all(0 < s < 0.05 for s in model.stderr_.values())
    assert model.score(X, Y) > 0.99 and "x0" not in model.fit_.summary().split("chi")[-1]
    same = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(same.predict(X), model.predict(X))
    assert same.fit_.ci(method="profile") == model.fit_.ci(method="profile")
    assert clone(model).get_params() == model.get_params() and not hasattr(clone(model), "params_")
    start = FormulaRegressor(DECAY, start={"a": 1, "b": 1, "c": 0}, bounds={"c": (0, 0.4)}).fit(X, Y)
    assert start.params_["c"] == 0.4


def test_a_weight_counts_a_row_and_zero_leaves_it_out() -> None:
    weight = RNG.integers(0, 3, size=80)
    for model in (FormulaRegressor(DECAY), FormulaRegressor()):
        one = clone(model).fit(X, Y, sample_weight=weight)
        other = clone(model).fit(np.repeat(X, weight, axis=0), np.repeat(Y, weight))
        np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-8)
    np.testing.assert_allclose(FormulaRegressor().fit(X, Y).predict(X), LinearRegression().fit(X, Y).predict(X))


def test_columns_have_the_names_of_a_frame_and_a_pipeline_hands_them_on() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"time (s)": X[:, 0], "other": X[:, 1]})
    model = FormulaRegressor("a*exp(-b*`time (s)`) + c").fit(frame, Y)
    np.testing.assert_allclose([*model.params_.values()], [2.5, 1.3, 0.5], rtol=0.05)
    scaled = make_pipeline(StandardScaler(), FormulaRegressor("a*exp(-b*`time (s)`) + c"))
    assert scaled.set_output(transform="pandas").fit(frame, Y).score(frame, Y) > 0.99


def test_a_grid_search_compares_formulas() -> None:
    grid = {"formula": ["a*x0 + c", DECAY, "a*x0**2 + b*x0 + c"]}
    found = GridSearchCV(FormulaRegressor(), grid, cv=3).fit(X, Y)
    assert found.best_params_ == {"formula": DECAY}
    assert cross_val_score(FormulaRegressor(DECAY), X, Y, cv=4).min() > 0.99


def test_classes_by_one_formula_by_one_each_and_by_linear_scores() -> None:
    flowers, kind = load_iris(return_X_y=True)
    linear = FormulaClassifier().fit(flowers, kind)
    peer = LogisticRegression(tol=1e-10, max_iter=10_000).fit(flowers, kind)
    np.testing.assert_allclose(linear.predict_proba(flowers), peer.predict_proba(flowers), atol=1e-6)
    two = kind < 2
    names = np.array(["setosa", "versicolor"])[kind[two]]
    one = FormulaClassifier("k*(x2 - middle)", alpha=0.01).fit(flowers[two], names)
    assert one.score(flowers[two], names) == 1.0 and 2.0 < one.params_["middle"] < 3.0
    np.testing.assert_array_equal(one.decision_function(flowers[two]) > 0, names == "versicolor")
    each = {0: "0*x2", 1: "a*(x2 - p)", 2: "b*(x2 - q)"}
    model = FormulaClassifier(each, alpha=0.1).fit(flowers, kind)
    assert model.score(flowers, kind) > 0.9
    np.testing.assert_allclose(model.predict_proba(flowers).sum(axis=1), 1.0)
    listed = FormulaClassifier(["0*x2", "k*(x2 - middle)"], alpha=0.01).fit(flowers[two], names)
    np.testing.assert_allclose(listed.predict_proba(flowers[two]), one.predict_proba(flowers[two]), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (FormulaRegressor("a*exp(-b*t)"), ArgumentError, "uses none of the columns x0, x1"),
        (FormulaRegressor("x0 + x1"), ArgumentError, "has no parameter"),
        (FormulaRegressor("a*x0", start={"b": 1}), ArgumentError, "the parameters are a, given are b"),
        (FormulaRegressor("a*x0", start=[1.0]), ArgumentTypeError, "start is a mapping"),
        (FormulaRegressor(loss="huber"), ArgumentError, "for a formula; give one"),
        (FormulaClassifier(["a*x0", "b*x0"]), ArgumentError, "2 formulas given for 3 classes"),
        (FormulaClassifier({0: "a*x0", 1: "b*x0", 5: "c*x0"}), ArgumentError, r"the classes are \[0, 1, 2\]"),
        (FormulaClassifier(alpha=-1.0), ArgumentError, "alpha=-1.0"),
    ],
)
def test_what_does_not_fit_is_refused(model: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        model.fit(X, np.arange(80) % 3)


@pytest.mark.parametrize("weight", [np.ones(3), -np.ones(80), np.zeros(80)])
def test_weights_that_are_none_are_refused(weight: Any) -> None:
    with pytest.raises(ArgumentError, match="sample_weight"):
        FormulaRegressor("a*x0").fit(X, Y, sample_weight=weight)


def test_the_package_does_not_load_scikit_learn() -> None:
    code = "import sys, gradcompile; assert not {'sklearn', 'pandas', 'dask', 'xarray'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
