"""Fitting formulas to data: `compile_fit` once and for any data, `fit` in one call."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gradcompile.data import frames
from gradcompile.errors import ArgumentError, ArgumentTypeError, DataError
from gradcompile.regression.fitter import Fitter
from gradcompile.regression.statement import formula, free_name, meant, stated

_known: dict[Any, Fitter] = {}  # compiled fitters by what was asked for
KEPT = 256  # of these


def compile_fit(
    model: Any,
    params: Any,
    *,
    target: Any = None,
    sigma: Any = None,
    sigma_x: Any = None,
    loss: str = "linear",
    bounds: Mapping[str, Any] | None = None,
    fixed: Mapping[str, float] | None = None,
    tied: Mapping[str, Any] | None = None,
    absolute_sigma: bool = False,
    likelihood: Any = None,
) -> Fitter:
    """Compile a fit of a model to a target: fitter(data, start=...) -> Fit, for any data with these columns.

    model: text, a SymPy expression, or a compiled value, of one sample. params: the names (or symbols) to be found; all
    others are columns of the data, but those in `fixed`. target: a column's name, or a formula of columns such as
    "log(y)". sigma: the column of the target's standard deviations, or True where they come with the call, as an array
    or as a covariance matrix. sigma_x: {"x": the standard deviations of that column}, a column's name, an array or a
    number, for orthogonal distance. loss: "linear", "soft_l1", "huber", "cauchy" or "arctan", as in SciPy's
    least_squares, of the residual in units of sigma. bounds: {"a": (0, None)}. tied: {"b": "2*a"}, formulas in place of
    parameters. absolute_sigma: sigma is known, and not only in proportion. likelihood: in place of model and target,
    the logarithm of a sample's likelihood.

    Raises ParseError and ExpressionError for formulas that can't be compiled, ArgumentError or ArgumentTypeError for
    arguments that don't fit.

    >>> fitter = compile_fit("a*exp(-b*x)", ["a", "b"], target="y")
    >>> found = fitter({"x": [0.0, 1.0, 2.0, 3.0], "y": [2.0, 1.2, 0.7, 0.45]}, start={"a": 1, "b": 1})
    >>> {name: round(value, 4) for name, value in found.params.items()}, found.converged
    ({'a': 1.9984, 'b': 0.5114}, True)
    """
    if model is not None and target is None:
        raise ArgumentError("target: name the column that the model is to match")
    names = names_of_params(params)
    if fixed and (both := [n for n in fixed if n in names]):
        raise ArgumentError(f"{both[0]!r} is in params and in fixed; leave it out of one")
    statement = stated(
        model, target, names, None, likelihood=likelihood, sigma=sigma, loss=loss, fixed=fixed or (), tied=tied
    )
    column = sigma if isinstance(sigma, str) else None
    return Fitter(
        [statement], statement.params, bounds=bounds, fixed=fixed, absolute_sigma=absolute_sigma, sigma=column,
        sigma_x=sigma_x,
    )  # fmt: skip


def fit(
    model: Any = None,
    data: Any = None,
    target: Any = None,
    *,
    start: Any = None,
    sigma: Any = None,
    sigma_x: Any = None,
    bounds: Mapping[str, Any] | None = None,
    fixed: Mapping[str, float] | None = None,
    tied: Mapping[str, Any] | None = None,
    loss: str = "linear",
    absolute_sigma: bool = False,
    likelihood: Any = None,
    by: str | None = None,
    starts: int = 1,
    seed: int = 0,
    missing: str = "drop",
) -> Any:
    """Fit a model to a target: the parameters are the names in the model that are no column and not in `fixed`.

    model: text, a SymPy expression or a compiled value; or a list of (model, data, target), which share the parameters
    that have one name. data: a mapping of names to columns, a structured array, or a frame of pandas, polars or
    pyarrow. target: a column's name, a formula of columns, or an array. start: where the search begins, by name; found
    where it is left out. by: a column; each group of rows with one value of it is fitted, and the result is a mapping
    of that value to its Fit. Other arguments are those of `compile_fit` and of the fitter it returns; the compiled
    fitter is kept by its model, so a second fit costs microseconds.

    >>> found = fit("a*x + b", {"x": [0, 1, 2, 3], "y": [1.0, 3.1, 4.9, 7.2]}, "y")
    >>> {name: round(value, 3) for name, value in found.params.items()}
    {'a': 2.04, 'b': 0.99}
    >>> {name: round(value, 3) for name, value in found.stderr.items()}
    {'a': 0.065, 'b': 0.121}
    """
    if isinstance(model, list | tuple):
        parts = [(m, d, t) for m, d, t in model]
    else:
        parts = [(model, data, target)]
    if data is None and not isinstance(model, list | tuple):
        raise ArgumentError("data: give the columns, such as data={'x': x, 'y': y}")
    sigmas = list(sigma) if isinstance(sigma, list | tuple) and len(parts) > 1 else [sigma] * len(parts)
    columns, goals = [], []
    for m, d, t in parts:
        own, goal = with_target(m, d, t, likelihood)
        columns.append(own)
        goals.append(goal)
    options: dict[str, Any] = {"likelihood": likelihood, "loss": loss, "fixed": fixed or (), "tied": tied}
    options["is_whole"] = len(parts) == 1
    statements = [
        stated(m, goal, None, frames.names(d), sigma=s, **options)
        for (m, _, _), d, goal, s in zip(parts, columns, goals, sigmas, strict=True)
    ]
    params = tuple(dict.fromkeys(name for s in statements for name in s.params))
    fitter = kept(statements, params, bounds or {}, fixed or {}, absolute_sigma, sigma_x)
    search = {"start": start, "starts": starts, "seed": seed, "missing": missing}
    if by is not None:
        if len(parts) > 1:
            raise ArgumentError("by: groups are of one data set; give one model, data and target")
        return {value: fitter(d, sigma=s, **search) for value, d, s in groups(columns[0], by, fitter, sigma)}
    if len(parts) == 1:
        return fitter(columns[0], sigma=sigma, **search)
    return fitter(columns, sigma=sigmas, **search)


def names_of_params(params: Any) -> tuple[str, ...]:
    """The names of parameters given as names, as symbols, or one of either."""
    given = [params] if isinstance(params, str) or hasattr(params, "free_symbols") else list(params)
    found = tuple(str(getattr(p, "name", p)) for p in given)
    if len(set(found)) < len(found):
        raise ArgumentError(f"params: a name is there twice: {', '.join(found)}")
    if not found:
        raise ArgumentError("params is empty; name what is to be found")
    return found


def with_target(model: Any, data: Any, target: Any, likelihood: Any) -> tuple[Any, Any]:
    """The data with a target that is an array among their columns, and the target's name."""
    if likelihood is not None:
        return data, None
    if target is None:
        raise ArgumentError("target: name the column that the model is to match, or give its values")
    if isinstance(target, str) or hasattr(target, "free_symbols"):
        return data, target
    if callable(target):
        raise ArgumentTypeError("target is a function; give a column's name, a formula of columns, or an array")
    names = frames.names(data)
    used = formula(model, "model", names)[2]
    name = free_name("y", [*names, *used])
    own = {n: data[n] for n in names if n in used}
    return {**own, name: frames.floats(target, "target")}, name


def kept(
    statements: Sequence[Any],
    params: tuple[str, ...],
    bounds: Mapping[str, Any],
    fixed: Mapping[str, float],
    known: bool,
    sigma_x: Mapping[str, Any] | None,
) -> Fitter:
    """The fitter for this, compiled before or now."""
    key = (
        tuple((s.model, s.target, s.likelihood, s.sigma, s.loss, s.params, s.columns, s.fixed) for s in statements),
        params, tuple((n, tuple(b)) for n, b in bounds.items()), tuple(fixed.items()), known,
    )  # fmt: skip
    if sigma_x:
        return Fitter(statements, params, bounds=bounds, fixed=fixed, absolute_sigma=known, sigma_x=sigma_x)
    if key not in _known:
        if len(_known) >= KEPT:
            _known.pop(next(iter(_known)))
        _known[key] = Fitter(statements, params, bounds=bounds, fixed=fixed, absolute_sigma=known)
    return _known[key]


def groups(data: Any, by: str, fitter: Fitter, sigma: Any) -> Iterable[tuple[Any, dict[str, Any], Any]]:
    """The groups of rows that have one value of a column: the value, their columns, their standard deviations."""
    needed = list(fitter.objectives[0].statement.columns)
    columns = frames.columns(data, needed)
    if by not in frames.names(data):
        raise DataError(f"by: the data have no column {by!r}{meant(by, frames.names(data))}")
    labels = np.asarray(data[by], dtype=object)
    if isinstance(sigma, str):
        sigma = frames.columns(data, [sigma])[sigma]
    for value in dict.fromkeys(v for v in labels.tolist() if v is not None and v == v):  # NaN is no group
        rows = labels == value
        own = sigma[rows] if isinstance(sigma, np.ndarray) and sigma.ndim else sigma
        yield value, {n: np.ascontiguousarray(c[rows]) for n, c in columns.items()}, own
