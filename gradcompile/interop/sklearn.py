"""scikit-learn's estimators of formulas: a regressor that fits as `compile_fit` does, and a classifier.

Needs scikit-learn: pip install 'gradcompile[sklearn]'.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from warnings import warn

import numpy as np
import sympy as sp

from gradcompile.compile import compile_grad, compile_value
from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.frontend.arrays import array
from gradcompile.optim.minimizer import minimize
from gradcompile.regression.fits import compile_fit
from gradcompile.regression.result import Fit
from gradcompile.regression.statement import formula as read
from gradcompile.regression.statement import free_name, unified
from gradcompile.signature.choices import RobustLoss
from gradcompile.special import logsumexp, softmax

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_array, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError("gradcompile.interop.sklearn needs scikit-learn: pip install 'gradcompile[sklearn]'") from error

Matrix = np.ndarray


class _Formula(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """What both estimators share: formulas of named columns, and their values."""

    def _names(self, count: int) -> tuple[str, ...]:
        """The names of the columns: their own, or x0, x1, ..."""
        return tuple(map(str, getattr(self, "feature_names_in_", [f"x{k}" for k in range(count)])))

    def _checked(self, X: Any, y: Any, weight: Any, **options: Any) -> tuple[Matrix, Any, Any]:
        """Columns, targets and weights; rows that weigh nothing are left out."""
        X, y = validate_data(self, X, y, dtype=np.float64, **options)
        if weight is None:
            return X, y, None
        weight = check_array(weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
        if weight.shape != y.shape:
            raise ArgumentError(f"sample_weight has shape {weight.shape}, y has {y.shape}; give one weight a row")
        if (weight < 0.0).any():
            raise ArgumentError(f"sample_weight is {weight.min()} in row {weight.argmin()}; weights are not negative")
        kept = weight > 0.0
        if not kept.any():
            raise ArgumentError("sample_weight is zero in every row; give some row a weight")
        return (X, y, weight) if kept.all() else (X[kept], y[kept], weight[kept])

    def _values(self, X: Any) -> Matrix:
        """What the formulas are of the data, a column each; without a formula, what is linear in all columns."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        if not self.formulas_:
            found: Matrix = X @ self.params_["coef"] + self.params_["intercept"]
            return found
        params = tuple(self.params_)
        scores = [_value(f, params, self.columns_) for f in self.formulas_]
        given = dict(zip(self._names(X.shape[1]), X.T, strict=True))
        columns = {name: given[name] for name in self.columns_}
        values = [s(*self.params_.values(), args=columns) for s in scores]
        return np.stack([np.broadcast_to(v, len(X)) for v in values], axis=1)


def _stated(given: Sequence[Any], names: Sequence[str]) -> tuple[tuple[sp.Expr, ...], tuple[str, ...], tuple[str, ...]]:
    """Formulas as expressions, their parameters, and the columns that they use."""
    found = [read(f, "formula", names) for f in given]
    used = list(dict.fromkeys(name for _, _, own in found for name in own))
    columns = tuple(name for name in used if name in names)
    params = tuple(name for name in used if name not in names)
    if not columns:
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise ArgumentError(f"the formula uses none of the columns {shown}: {', '.join(map(str, given))}")
    if not params:
        raise ArgumentError(f"the formula has no parameter: all of {', '.join(columns)} are columns")
    return tuple(unified(e for e, _, _ in found)), params, columns


@lru_cache(maxsize=256)
def _value(formula: sp.Expr, params: tuple[str, ...], columns: tuple[str, ...]) -> Any:
    """The compiled value of a formula."""
    symbols = {s.name: s for s in formula.free_symbols}
    every = {name: symbols.get(name, sp.Symbol(name)) for name in (*params, *columns)}
    return compile_value(formula, [every[p] for p in params], data=[every[c] for c in columns], allow_unused=True)


def _in_order(start: Any, params: Sequence[str]) -> Any:
    """A start as a list of numbers in the order of the parameters."""
    if not isinstance(start, Mapping):
        raise ArgumentTypeError("start is a mapping from the parameters' names to numbers")
    lacking = [p for p in params if p not in start]
    unknown = [p for p in start if p not in params]
    if lacking or unknown:
        raise ArgumentError(f"start: the parameters are {', '.join(params)}, given are {', '.join(map(str, start))}")
    return [float(start[p]) for p in params]


class FormulaRegressor(RegressorMixin, _Formula):  # type: ignore[misc]
    """A formula fitted by least squares, or with a robust loss, as `compile_fit` does it.

    formula: text of columns and parameters; every name that is no column is a parameter. Columns without names are x0,
    x1, ... start: by name; found where it is left out. bounds: {"a": (0, None)}. loss: "linear", "soft_l1", "huber",
    "cauchy" or "arctan". starts: how many places to search from; random_state: a whole number, the seed of those that
    are drawn. Without a formula the model is linear in all columns, and these options are not for it.

    After `fit`: `params_` by name ("coef" and "intercept" without a formula), `columns_` that the formula uses; with a
    formula `stderr_` by name, and `fit_`, the `Fit` with intervals, summary and plot. Weights are those of the squares:
    a weight of 2 is the row twice, but for `stderr_`, as rows that are counted twice are not known better.

    >>> model = FormulaRegressor("a*exp(-b*x0)").fit([[0.0], [1.0], [2.0], [3.0]], [2.0, 1.2, 0.7, 0.45])
    >>> {name: round(value, 3) for name, value in model.params_.items()}
    {'a': 1.998, 'b': 0.511}
    """

    def __init__(
        self,
        formula: Any = None,
        *,
        start: Any = None,
        bounds: Any = None,
        loss: RobustLoss = "linear",
        starts: int = 1,
        random_state: int = 0,
    ) -> None:
        self.formula, self.start, self.bounds = formula, start, bounds
        self.loss, self.starts, self.random_state = loss, starts, random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "FormulaRegressor":
        """Fit to the columns of X; sample_weight: how much each row counts."""
        X, y, weight = self._checked(X, y, sample_weight, y_numeric=True)
        names = self._names(X.shape[1])
        if self.formula is None:
            return self._fit_linear(X, y, weight, names)
        self.formulas_, params, self.columns_ = _stated([self.formula], names)
        if len(y) < len(params):
            raise ArgumentError(f"{len(params)} parameters can't be fitted to n_samples={len(y)}; give as many rows")
        start = self.start if self.start is None else _in_order(self.start, params)
        target = free_name("target", names)
        bounds = tuple((self.bounds or {}).items())
        fitter = _fitter(self.formulas_[0], params, target, weight is not None, self.loss, bounds)
        columns = {n: np.ascontiguousarray(c) for n, c in zip(names, X.T, strict=True) if n in self.columns_}
        sigma = None if weight is None else 1.0 / np.sqrt(weight)
        self.fit_: Fit = fitter(
            {**columns, target: y}, start=start, sigma=sigma, starts=self.starts, seed=self.random_state
        )
        self.params_, self.stderr_ = dict(self.fit_.params), dict(self.fit_.stderr)
        if not self.fit_.converged:
            warn(f"the fit has not converged: {self.fit_.message}", ConvergenceWarning, stacklevel=2)
        return self

    def _fit_linear(self, X: Matrix, y: Matrix, weight: Any, names: tuple[str, ...]) -> "FormulaRegressor":
        """Least squares that are linear in all columns; of several solutions the shortest."""
        if self.loss != "linear" or self.bounds or self.start:
            raise ArgumentError("loss, bounds and start are for a formula; give one, such as 'a*x0 + b'")
        roots = np.sqrt(np.ones(len(y)) if weight is None else weight)
        middle, height = np.average(X, axis=0, weights=weight), np.average(y, weights=weight)
        coef = np.linalg.lstsq((X - middle) * roots[:, None], (y - height) * roots, rcond=None)[0]
        self.formulas_, self.columns_ = (), names
        self.params_ = {"coef": coef[:, None], "intercept": np.array([height - middle @ coef])}
        return self

    def predict(self, X: Any) -> Matrix:
        """The formula's value for each row."""
        found: Matrix = self._values(X)[:, 0]
        return found


@lru_cache(maxsize=256)
def _fitter(
    model: sp.Expr, params: tuple[str, ...], target: str, is_weighted: bool, loss: RobustLoss, bounds: tuple[Any, ...]
) -> Any:
    """The compiled fit of a formula."""
    sigma = True if is_weighted else None
    return compile_fit(model, params, target=sp.Symbol(target), sigma=sigma, loss=loss, bounds=dict(bounds))


class FormulaClassifier(ClassifierMixin, _Formula):  # type: ignore[misc]
    """Classes by formulas of their scores: softmax of one score a class, or one score, the log-odds, of two classes.

    formula: text for two classes, the log-odds of the second; or one for each class, as a list in the order of
    `classes_`, or as a mapping by class. Every name that is no column is a parameter, and the same in all formulas.
    Without a formula the scores are linear in all columns. alpha: times half the squares of all parameters, but for the
    intercepts of linear scores, is added to the sum of the samples' losses, as 1/C is in LogisticRegression; without it
    classes that can be separated have no best parameters. start: by name; without it the search begins at `starts`
    places, drawn from a normal distribution with the seed random_state. tolerance, max_iter: of `minimize`.

    After `fit`: `classes_`, `params_` by name ("coef" and "intercept" without a formula), `loss_`, `n_iter_`.

    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], ["low", "low", "high", "high"]
    >>> model = FormulaClassifier("k*(x0 - x_half)", alpha=0.01).fit(X, y)
    >>> model.predict([[0.2], [2.7]]).tolist(), round(model.params_["x_half"], 2)
    (['low', 'high'], 1.5)
    """

    def __init__(
        self,
        formula: Any = None,
        *,
        alpha: float = 1.0,
        start: Any = None,
        starts: int = 4,
        tolerance: float = 1e-12,
        max_iter: int = 1000,
        random_state: int = 0,
    ) -> None:
        self.formula, self.alpha, self.start, self.starts = formula, alpha, start, starts
        self.tolerance, self.max_iter, self.random_state = tolerance, max_iter, random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "FormulaClassifier":
        """Fit to the columns of X and the classes y; sample_weight: how much each row counts."""
        X, y, weight = self._checked(X, y, sample_weight)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        count = len(self.classes_)
        if count < 2:
            raise ArgumentError(f"y has 1 class, {self.classes_.tolist()[0]!r}; a classifier needs two at least")
        if not self.alpha >= 0.0:
            raise ArgumentError(f"alpha={self.alpha!r}: give a number from 0")
        names, given = self._names(X.shape[1]), X.T
        if self.formula is None:
            self.formulas_, self.columns_, columns = (), names, [X]
            scores = 1 if count == 2 else count
            f, starts = _linear_loss(len(names), scores), np.zeros((1, (len(names) + 1) * scores))
        else:
            self.formulas_, params, self.columns_ = _stated(self._by_class(), names)
            f, starts = _formula_loss(self.formulas_, params, self.columns_), self._starts(params)
            columns = [given[names.index(n)] for n in self.columns_]
            scores = len(self.formulas_)
        marks = (labels == np.arange(count)[:, None] if scores > 1 else labels[None]).astype(np.float64)
        weight = np.ones(len(X)) if weight is None else weight
        penalty = np.full(len(X), self.alpha / (2 * len(X)))
        data = [*columns, *([marks.T] if self.formula is None else marks), weight, penalty]
        found = [minimize(f, list(f.unpack(t)), data, tolerance=self.tolerance, limit=self.max_iter) for t in starts]
        best = min(found, key=lambda r: r.fun if np.isfinite(r.fun) else np.inf)
        self.params_ = dict(zip((str(a.original) for a in f.problem.params), best.x, strict=True))
        self.loss_, self.n_iter_ = float(best.fun), int(best.nit)
        if not best.success:
            warn(f"the search has not converged: {best.message}", ConvergenceWarning, stacklevel=2)
        return self

    def _by_class(self) -> list[Any]:
        """The formulas in the order of the classes, or one for two."""
        given, count = self.formula, len(self.classes_)
        if isinstance(given, Mapping):
            if {*given} != {*self.classes_.tolist()}:
                raise ArgumentError(f"formula is given for {[*given]}, the classes are {self.classes_.tolist()}")
            return [given[c] for c in self.classes_.tolist()]
        found = list(given) if isinstance(given, list | tuple) else [given]
        if len(found) != count and (len(found), count) != (1, 2):
            raise ArgumentError(
                f"{len(found)} formulas given for {count} classes; give one for each class, or one for two classes"
            )
        return found

    def _starts(self, params: Sequence[str]) -> Matrix:
        """Where the search begins: rows of parameters."""
        if self.start is not None:
            return np.array([_in_order(self.start, params)])
        return np.random.default_rng(self.random_state).normal(size=(self.starts, len(params)))

    def decision_function(self, X: Any) -> Matrix:
        """The score of each class; of two classes the log-odds of the second."""
        scores = self._values(X)
        if len(self.classes_) > 2:
            return scores
        return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]

    def predict_proba(self, X: Any) -> Matrix:
        """The probability of each class, in the order of `classes_`."""
        scores = self._values(X)
        if scores.shape[1] == 1:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        found: Matrix = softmax(scores, axis=1)
        return found

    def predict(self, X: Any) -> Matrix:
        """The class of the highest score."""
        scores = self.decision_function(X)
        found: Matrix = self.classes_[scores.argmax(axis=1) if scores.ndim > 1 else (scores > 0.0).astype(int)]
        return found


@lru_cache(maxsize=256)
def _formula_loss(formulas: tuple[sp.Expr, ...], params: tuple[str, ...], columns: tuple[str, ...]) -> Any:
    """The mean loss of scores by formulas: called with columns, marks by score, weight and penalty of each row."""
    symbols = {s.name: s for f in formulas for s in f.free_symbols}
    marks = [sp.Dummy(f"is_{k}") for k in range(len(formulas))]
    weight, penalty = sp.Dummy("weight"), sp.Dummy("penalty")
    total = sp.log(sp.Add(*map(sp.exp, formulas)) + (1 if len(formulas) == 1 else 0))
    loss = weight * (total - sp.Add(*(m * f for m, f in zip(marks, formulas, strict=True))))
    free = [symbols[p] for p in params]
    data = [*(symbols[c] for c in columns), *marks, weight, penalty]
    return compile_grad(loss + penalty * sp.Add(*(p**2 for p in free)), free, data=data, allow_unused=True)


@lru_cache(maxsize=256)
def _linear_loss(columns: int, scores: int) -> Any:
    """The mean loss of scores that are linear: called with X, marks, weight and penalty of each row."""
    X, coef, intercept = array("X", ("n", columns)), array("coef", (columns, scores)), array("intercept", (scores,))
    marks, weight, penalty = array("marks", ("n", scores)), array("weight", ("n",)), array("penalty", ("n",))
    s = X @ coef + intercept
    total = np.log(1 + np.exp(s[:, 0])) if scores == 1 else logsumexp(s, axis=1)
    loss = np.mean(weight * (total - np.sum(marks * s, axis=1)) + penalty * np.sum(coef**2))
    return compile_grad(loss, [coef, intercept], inputs=[X, marks, weight, penalty])
