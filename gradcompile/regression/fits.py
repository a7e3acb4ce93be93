"""Fitting formulas to data: `compile_fit` once and for any data, `fit` in one call."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError, ArgumentTypeError, DataError, GradcompileError
from gradcompile.regression.fitter import Fitter, covariance_of, limits, mapping, numbers, settled, spread_of
from gradcompile.regression.statement import check_given, formula, free_name, meant_or_known, stated
from gradcompile.runtime import frames
from gradcompile.signature.choices import Missing, RobustLoss
from gradcompile.tracebacks import entries

_known: dict[Any, Fitter] = {}  # compiled fitters by what was asked for
KEPT = 256  # of these


def compile_fit(
    model: Any,
    params: Any,
    *,
    target: Any = None,
    sigma: Any = None,
    sigma_x: Any = None,
    loss: RobustLoss = "linear",
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
    loss: RobustLoss = "linear",
    absolute_sigma: bool = False,
    likelihood: Any = None,
    by: str | None = None,
    starts: int = 1,
    seed: int = 0,
    missing: Missing = "drop",
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
    parts = parts_of(model, data, target)
    given = numbers({} if fixed is None else fixed)
    sigmas = list(sigma) if isinstance(sigma, list | tuple) and len(parts) > 1 else [sigma] * len(parts)
    if len(sigmas) != len(parts):
        raise ArgumentError(f"sigma: a list has one for each of the {len(parts)} data sets, not {len(sigmas)}")
    columns, goals = [], []
    for m, d, t in parts:
        own, goal = with_target(m, d, t, likelihood)
        columns.append(own)
        goals.append(goal)
    options: dict[str, Any] = {"likelihood": likelihood, "loss": loss, "fixed": given, "tied": tied}
    options["is_whole"] = len(parts) == 1
    statements = [
        stated(m, goal, None, frames.names(d), sigma=s, **options)
        for (m, _, _), d, goal, s in zip(parts, columns, goals, sigmas, strict=True)
    ]
    params = tuple(dict.fromkeys(name for s in statements for name in s.params))
    check_given("fixed", given, [name for s in statements for name in s.fixed], "model")
    check_given("tied", tied or {}, [*params, *(name for s in statements for name in s.tied)], "model")
    if by is not None and sigma_x:
        columns[0], sigma_x = with_spreads(columns[0], sigma_x)
    fitter = kept(statements, params, bounds or {}, given, absolute_sigma, sigma_x)
    search = {"start": start, "starts": starts, "seed": seed, "missing": missing}
    if by is not None:
        if len(parts) > 1:
            raise ArgumentError("by: groups are of one data set; give one model, data and target")
        return {v: group(fitter, by, v, d, sigma=s, **search) for v, d, s in groups(columns[0], by, fitter, sigma)}
    if len(parts) == 1:
        return fitter(columns[0], sigma=sigma, **search)
    return fitter(columns, sigma=sigmas, **search)


def parts_of(model: Any, data: Any, target: Any) -> list[tuple[Any, Any, Any]]:
    """The data sets, each with its model and target."""
    if not isinstance(model, list | tuple):
        if data is None:
            raise ArgumentError("data: give the columns, such as data={'x': x, 'y': y}")
        return [(model, data, target)]
    if not model or not all(isinstance(part, list | tuple) and len(part) == 3 for part in model):
        raise ArgumentTypeError("model: a list is of (model, data, target), one for each data set")
    if data is not None or target is not None:
        raise ArgumentError("data, target: a list of (model, data, target) has its own; leave them out")
    return [(m, d, t) for m, d, t in model]


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
    values = target if frames.has_index(target) else frames.floats(target, "target")
    return {**{n: data[n] for n in names}, name: values}, name


def kept(
    statements: Sequence[Any],
    params: tuple[str, ...],
    bounds: Mapping[str, Any],
    fixed: Mapping[str, float],
    known: bool,
    sigma_x: Mapping[str, Any] | None,
) -> Fitter:
    """The fitter for this, compiled before or now."""
    ends = limits(params, bounds, settled(statements))
    key = (
        tuple(
            (s.model, s.target, s.likelihood, s.sigma, s.loss, s.params, s.columns, s.fixed, s.title, *s.tied.items())
            for s in statements
        ),
        params, *(limit.tobytes() for limit in ends), tuple(fixed.items()), known,
    )  # fmt: skip
    if sigma_x:
        return Fitter(statements, params, bounds=bounds, fixed=fixed, absolute_sigma=known, sigma_x=sigma_x)
    if key not in _known:
        if len(_known) >= KEPT:
            _known.pop(next(iter(_known)))
        _known[key] = Fitter(statements, params, bounds=bounds, fixed=fixed, absolute_sigma=known)
    return _known[key]


def with_spreads(data: Any, sigma_x: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The data with standard deviations of predictors that are arrays among their columns, and these by name."""
    names = frames.names(data)
    own, found = {n: data[n] for n in names}, dict(mapping(sigma_x, "sigma_x"))
    for name, given in found.items():
        if not isinstance(given, str) and np.ndim(given):
            found[name] = free_name(f"sigma_x[{name!r}]", names)
            own[found[name]] = frames.floats(given, found[name])
    return own, found


def group(fitter: Fitter, by: str, value: Any, data: Any, **options: Any) -> Any:
    """The fit of one group; an error says of which."""
    try:
        return fitter(data, **options)
    except GradcompileError as error:
        raise type(error)(f"{by} = {value}: {error}") from error


def groups(data: Any, by: str, fitter: Fitter, sigma: Any) -> Iterable[tuple[Any, dict[str, Any], Any]]:
    """The groups of rows that have one value of a column: the value, their columns, their standard deviations."""
    needed = [*fitter.objectives[0].statement.columns, *(s for s in fitter.sigma_x.values() if isinstance(s, str))]
    columns = frames.columns(data, needed)
    count = len(next(iter(columns.values())))
    if by not in frames.names(data):
        raise DataError(f"by: the data have no column {by!r}{meant_or_known(by, frames.names(data))}")
    labels = np.array(data[by], dtype=object)
    if labels.shape != (count,):
        raise DataError(f"by: column {by!r} has shape {labels.shape}, the data have {count} rows")
    labels[[k for k, v in enumerate(labels.tolist()) if frames.is_missing(v)]] = None
    covariance = covariance_of(sigma)
    if sigma is not None and covariance is None:
        sigma = spread_of(sigma, "sigma", data, columns)
    if covariance is not None and covariance.shape != (count, count):
        raise ArgumentError(f"sigma has shape {covariance.shape}, which does not fit {count} rows")
    for value in dict.fromkeys(v for v in labels.tolist() if v is not None):
        rows = labels == value
        own = covariance[np.ix_(rows, rows)] if covariance is not None else None if sigma is None else sigma[rows]
        yield value, {n: np.ascontiguousarray(c[rows]) for n, c in columns.items()}, own


entries(globals())
