"""What a distribution is: a record of formulas, and the functions of it that scipy.stats has."""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import sympy

from gradcompile.errors import ArgumentTypeError, ExpressionError
from gradcompile.frontend.arrays.core import Array, called
from gradcompile.stats import both
from gradcompile.tracebacks import entry

Formula = Callable[..., Any]
METHODS = ("pdf", "logpdf", "pmf", "logpmf", "cdf", "logcdf", "sf", "logsf", "ppf", "isf")


@dataclass(frozen=True, repr=False)
class Distribution:
    """A distribution with its formulas, of x (or the probability q) and the shapes, at loc 0 and scale 1.

    name: SciPy's.  shapes: names of the arguments before loc and scale.  density: the logarithm of the density, or of
    the probability.  low, high: the ends of the support, numbers or functions of the shapes.  upper, lower: sf and cdf.
    log_upper, log_lower: their logarithms, where these have better formulas.  quantile, upper_quantile: ppf, isf.
    """

    name: str
    shapes: tuple[str, ...]
    density: Formula
    low: Any = None
    high: Any = None
    lower: Formula | None = None
    upper: Formula | None = None
    log_lower: Formula | None = None
    log_upper: Formula | None = None
    quantile: Formula | None = None
    upper_quantile: Formula | None = None
    is_discrete: bool = False
    doc: str = field(default="", compare=False)

    def __repr__(self) -> str:
        return f"<stats.{self.name}({', '.join([*self.shapes, 'loc', *([] if self.is_discrete else ['scale'])])})>"

    def __getattr__(self, method: str) -> Any:
        if method not in self.methods():
            raise AttributeError(f"{self.name} has no {method!r}; it has {', '.join(self.methods())}")
        return entry(partial(self.computed, method))

    def __call__(self, *args: Any, **named: Any) -> "Frozen":
        """The distribution with its arguments."""
        return Frozen(self, args, named)

    def methods(self) -> list[str]:
        """The functions that it has."""
        others = ("pdf", "logpdf") if self.is_discrete else ("pmf", "logpmf")
        return [m for m in METHODS if m not in others]

    def computed(self, method: str, *args: Any, **named: Any) -> Any:
        """A function of the distribution; of numbers alone it is SciPy's."""
        first = "q" if method in ("ppf", "isf") else "k" if self.is_discrete else "x"
        if not args and first not in named:
            takes = ", ".join([first, *self.shapes])
            raise ArgumentTypeError(f"stats.{self.name}.{method}({takes}, ...): {first} is missing")
        x, *rest = args or (named.pop(first),)
        given = (x, *rest, *named.values())
        if not any(isinstance(v, Array | sympy.Basic) for v in flattened(given)):
            return getattr(getattr(importlib.import_module("scipy.stats"), self.name), method)(x, *rest, **named)
        function = partial(self.evaluated, method)
        return called(f"stats.{self.name}.{method}", function, (x, *rest), named)

    def evaluated(self, method: str, x: Any, *args: Any, **named: Any) -> Any:
        """A function of the distribution, with the arguments bound as SciPy does."""
        shapes, loc, scale = self.bound(args, named)
        if method in ("ppf", "isf"):
            return self.inverse(method, x, shapes) * scale + loc
        at = (lifted(x) - loc) / scale if not is_one(scale) or not is_zero(loc) else lifted(x)
        if method in ("pdf", "pmf", "logpdf", "logpmf"):
            logarithm = self.logarithm(at, shapes)
            logarithm = logarithm if is_one(scale) else logarithm - both.log(scale)
            return logarithm if method.startswith("log") else both.exp(logarithm)
        return self.probability(method, both.floor(at) if self.is_discrete else at, shapes)

    def bound(self, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[list[Any], Any, Any]:
        """Shapes, loc and scale."""
        names = [*self.shapes, "loc", *([] if self.is_discrete else ["scale"])]
        values: dict[str, Any] = {"loc": 0, "scale": 1, **dict(zip(names, map(lifted, args), strict=False))}
        twice = [n for n in named if n in names[: len(args)] or n not in names]
        missing = [n for n in self.shapes if n not in values and n not in named]
        if len(args) > len(names) or twice or missing:
            wrong = f"{', '.join(twice)} given twice or unknown" if twice else f"{', '.join(missing)} missing"
            given = wrong if twice or missing else "too many"
            raise ArgumentTypeError(f"stats.{self.name} takes x, {', '.join(names)}: {given}")
        values.update({n: lifted(v) for n, v in named.items()})
        return [values[n] for n in self.shapes], values["loc"], values["scale"]

    def logarithm(self, x: Any, shapes: list[Any]) -> Any:
        """The logarithm of the density, -inf outside the support."""
        inside = self.inside(x, shapes)
        if inside is None:
            return self.density(x, *shapes)
        safe = x if is_expression(x, *shapes) else np.where(inside, x, self.interior(shapes))
        return both.where(inside, self.density(safe, *shapes), minus_infinity(x, *shapes))

    def interior(self, shapes: list[Any]) -> Any:
        """A place inside the support, where the formula has a value."""
        low, high = self.ends(shapes)
        if self.is_discrete:
            return 0 if low is None else low
        if low is None or high is None:
            return low + 1.0 if low is not None else high - 1.0
        return np.minimum(0.5 * (low + high), low + 1.0)

    def ends(self, shapes: list[Any]) -> tuple[Any, Any]:
        """The ends of the support."""
        low, high = (end(*shapes) if callable(end) else end for end in (self.low, self.high))
        return low, high

    def inside(self, x: Any, shapes: list[Any]) -> Any:
        """Whether x is in the support; None if everything is."""
        low, high = self.ends(shapes)
        bounds = None if low is None and high is None else both.within(x, low, high)
        if not self.is_discrete:
            return bounds
        is_whole = sympy.Eq(x, sympy.floor(x)) if both.is_symbolic(x) else np.equal(x, np.floor(x))
        return is_whole if bounds is None else bounds & is_whole

    def probability(self, method: str, x: Any, shapes: list[Any]) -> Any:
        """The probability of at most x, or of more, or its logarithm."""
        is_lower = "cdf" in method
        own, other = (self.lower, self.upper) if is_lower else (self.upper, self.lower)
        own_log = self.log_lower if is_lower else self.log_upper
        if own is None and other is None:
            raise ExpressionError(f"stats.{self.name}.{method} has no formula of functions that are known here")
        low, high = self.ends(shapes)
        safe = x
        if not is_expression(x, *shapes):
            safe = np.maximum(x, low) if low is not None else x
            safe = np.minimum(safe, high) if high is not None else safe
        if method.startswith("log"):
            found = logarithm_of(own_log, own, other, (safe, *shapes))
        else:
            found = own(safe, *shapes) if own is not None else 1 - other(safe, *shapes)  # type: ignore[misc]
        nothing = minus_infinity(x, *shapes) if method.startswith("log") else 0
        whole = 0 if method.startswith("log") else 1
        if low is not None:
            found = both.where(x < low, nothing if is_lower else whole, found)
        return found if high is None else both.where(x > high, whole if is_lower else nothing, found)

    def inverse(self, method: str, q: Any, shapes: list[Any]) -> Any:
        """The quantile of a probability."""
        if self.quantile is None:
            raise ExpressionError(
                f"stats.{self.name}.{method} has no closed form; solve cdf(x) = q by a compiled function"
            )
        formula = self.quantile if method == "ppf" else self.upper_quantile or self.quantile
        is_far = method == "isf" and self.upper_quantile is None
        return formula(1 - lifted(q) if is_far else lifted(q), *shapes)


@dataclass(frozen=True, repr=False)
class Frozen:
    """A distribution with its arguments."""

    distribution: Any
    args: tuple[Any, ...]
    named: dict[str, Any]

    def __repr__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.named.items())]
        return f"<stats.{self.distribution.name}({', '.join(given)})>"

    def __getattr__(self, method: str) -> Any:
        function = getattr(self.distribution, method)
        return lambda x: function(x, *self.args, **self.named)


def logarithm_of(formula: Formula | None, own: Formula | None, other: Formula | None, at: tuple[Any, ...]) -> Any:
    """The logarithm of a probability: by its own formula, or by that of two opposite ones which is small."""
    if formula is not None:
        return formula(*at)
    if own is None or other is None:
        return both.log(own(*at)) if own is not None else both.log1p(-other(*at))  # type: ignore[misc]
    if is_expression(*at):
        return both.log(own(*at))
    small, rest = own(*at), other(*at)
    is_small = small < 0.5
    return np.where(is_small, np.log(np.where(is_small, small, 1.0)), np.log1p(-np.where(is_small, 0.0, rest)))


def flattened(given: Any) -> list[Any]:
    """Values, those in sequences among them."""
    return [v for g in given for v in (flattened(g) if isinstance(g, tuple | list) else [g])]


def lifted(x: Any) -> Any:
    """A sequence as an array; all else as it is."""
    return np.asarray(x) if isinstance(x, tuple | list) else x


def is_expression(*xs: Any) -> bool:
    """Whether one of these is an expression of SymPy."""
    return any(map(both.is_symbolic, xs))


def minus_infinity(*xs: Any) -> Any:
    """The logarithm of 0, in the terms of what stands beside it."""
    return -sympy.oo if is_expression(*xs) else -math.inf


def is_one(x: Any) -> bool:
    """Whether this is the number 1."""
    return isinstance(x, int | float) and x == 1


def is_zero(x: Any) -> bool:
    """Whether this is the number 0."""
    return isinstance(x, int | float) and x == 0
