"""Random SymPy formulas of every op, at ordinary and extreme arguments, value and gradient against 400 digits.

A number is wrong if it is farther from the truth than 16 times the running error of the graph that is compiled (see
`_bounds`), or not finite where the truth is in range and nothing on the way leaves the range. At a kink any slope
between the two one-sided ones is right.
"""

import math
import random
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from numba.core import config

import gradcompile
from gradcompile.analysis import evaluate
from gradcompile.errors import ArgumentError, ExpressionError
from gradcompile.gradient import CompiledGrad
from gradcompile.ir.core import OPS, Node, Op
from tests.fuzz import _bounds, _numbers
from tests.fuzz.run import LIMITED, refuse

BRIEF = 3
FACTOR = 16  # times the running error
SLACK = 1e-25  # of the truth itself
PARAMS, COLUMNS = ("a", "b", "c"), ("u", "v")
SYMBOLS = {name: sp.Symbol(name) for name in PARAMS + COLUMNS} | {"i": sp.Symbol("i", integer=True)}
NUMBERS = ("1", "2", "3", "-1", "1/2", "1/3", "7", "10", "pi", "0.1", "-2.5", "1e-3", "1000")
EXPONENTS = (
    "2",
    "3",
    "-1",
    "-2",
    "1/2",
    "-1/2",
    "3/2",
    "5/2",
    "-3/2",
    "1/3",
    "2/3",
    "3/4",
    "0.3",
    "4",
    "7",
    "13",
    "-3",
)
SPOILED = frozenset({"stop_gradient", "select"})  # not what SymPy has, or of conditions
CHOSEN = ("add", "mul", "div", "pow", "power", "neg")  # what formulas are made of, mostly
COMPARISONS = ("Lt", "Le", "Gt", "Ge", "Eq", "Ne")
COMMON: tuple[str, ...] = (
    "log({}*exp({}) + 1)",
    "log(exp({}) + exp({}))",
    "log(1 - exp(-{}**2))",
    "exp({}) - 1",
    "1 - cos({})",
    "1/(1 + exp(-{}))",
    "exp({})/(exp({0}) + exp({}))",
    "{}/(exp({0}) - 1)",
    "{}*log({0})",
    "sqrt({}**2 + {}**2)",
    "({}**2 + {}**2)**(3/4)",
    "({}/{})**{}",
    "sqrt({}*{})",
    "log(1 + {})",
    "-log(1 - 1/(1 + exp({})))",
    "(exp({}) - exp(-{0}))/(exp({0}) + exp(-{0}))",
    "{}/{}**7",
    "log({}*{}/{})",
    "log(cosh({}))",
    "exp(-({}/{})**{})",
    "sqrt({0}**2 + {0}*{1} + {1}**2)",
    "log(exp({}) - 1)",
)
OTHERS = (  # what SymPy has beside the ops
    *(f"{name}({{}})" for name in ("cot", "sec", "csc", "coth", "sech", "csch", "acot", "asec", "acsc", "acoth",
                                   "asech", "acsch", "frac", "factorial", "trigamma", "loggamma", "re", "Heaviside")),
    *(f"{name}({{}}, {{}})" for name in ("Mod", "binomial", "beta", "rf", "ff", "log", "Heaviside", "real_root")),
    "Piecewise(({}, ITE({} > {}, {} > 0, {} < 1)), ({}, True))",
    "Piecewise(({}, And({} > 0, {} < 2)), ({}, Or({} < -1, {} > 3)), ({}, True))",
    "Sum({}**i/factorial(i), (i, 0, 4))", "Product(1 + {}/i, (i, 1, 3))", "Subs(Derivative(sin(u)*{}, u), u, {})",
    "legendre(4, {})", "chebyshevt(5, {})", "hermite(3, {})", "laguerre(3, {})", "SingularityFunction({}, 1, 2)",
    "Max({}, {}, {})", "Min({}, {}, 1)", "Subs(u**2*{}, u, {})", "sqrt({} + {})", "exp({})*erfc({})",
    "{}*exp(-{})*{}**2", "log(gamma({})) - log(gamma({}))", "gamma({})/gamma({})", "tanh({})/{}", "sin({})/{0}",
    "Abs({})**{}", "root({}, 5)", "{}**2*log({0})", "({}*{})**(1/2)*{}",
    "Piecewise((0, Eq({}, 0)), ({0}*log({0}), True))",
    "{}/tan({0})", "(1 - cos({}))/{0}**2", "({} - sin({0}))/{0}**3", "(sqrt(1 + {}) - 1)/{0}*{}", "{}*{}/log(1 + {0})",
    "log((1 + {})/(1 - {0}))", "log(sqrt(1 + {}))", "log({} + 1) - log({0})", "atanh(1 - {})",
    "1/(exp({}) - 1) - 1/{0}",
    "1 - 1/cosh({})", "{}**150/factorial(150)*{}", "(-{}**2)**3", "1/(1 + ({}/{})**{})", "exp(-{}/{})", "{}*sqrt({})",
    "log(exp({})*{}/tan({0}))", "exp(2*{})*(1 - tanh({0}))", "log(1 + sinh({})**2)",
    "Piecewise((1, Eq({}, 0)), (sin({0})/{0}, True))", "Piecewise((0, {} <= 0), (exp(-1/{0}), True))",
)  # fmt: skip

Case = dict[str, Any]


# Drawing


def draw(rng: random.Random) -> Case:
    """A formula, and points to look at it."""
    names = rng.sample(PARAMS, rng.randint(1, 3))
    columns = rng.sample(COLUMNS, rng.choice((0, 0, 1, 2)))
    formula = draw_formula(rng, [*names, *columns], rng.randint(1, 4))
    dtype = "float64" if rng.random() < 0.75 else "float32"
    points = [draw_point(rng, names, columns, kind, dtype) for kind in ("ordinary", "positive", "mixed", "extreme")]
    return {"formula": formula, "points": points, "dtype": dtype, "stabilize": rng.random() < 0.7}


def draw_formula(rng: random.Random, leaves: list[str], depth: int) -> str:
    """The text of a formula."""
    if depth == 0 or rng.random() < 0.08:
        return rng.choice(leaves) if rng.random() < 0.85 else f"({rng.choice(NUMBERS)})"

    def part() -> str:
        return draw_formula(rng, leaves, depth - 1)

    kind = rng.random()
    if kind < 0.15:
        return f"({part()} {rng.choice('+-')} {part()})"
    if kind < 0.3:
        return f"({part()} {rng.choice('*/')} {part()})"
    if kind < 0.4:
        return f"({part()})**({rng.choice(EXPONENTS)})"
    if kind < 0.43:
        return f"({part()})**({part()})"
    if kind < 0.47:
        return f"Piecewise(({part()}, {rng.choice(COMPARISONS)}({part()}, {part()})), ({part()}, True))"
    if kind < 0.7:
        template = rng.choice(COMMON if kind < 0.6 else OTHERS)
        return "(" + filled(template, [f"({part()})" for _ in range(template.count("{"))]) + ")"
    op = OPS[rng.choice(drawn())]
    parts = [in_domain(rng, part(), low, high) for low, high in op.domain[: op.arity or 2]]
    order = f", {rng.choice(op.orders)}" if op.orders else ""
    return f"{op.name}({', '.join(parts)}{order})"


def filled(template: str, parts: list[str]) -> str:
    """A template with its places filled: {} with the next part, {0} with the first again."""
    if "{}" not in template:
        return template.format(*parts)
    pieces, first = template.split("{}"), parts[0]
    text = "".join(piece + part for piece, part in zip(pieces, [*parts[: len(pieces) - 1], ""], strict=True))
    return text.replace("{0}", first)


def in_domain(rng: random.Random, part: str, low: float, high: float) -> str:
    """A part, mostly brought to where a function is defined."""
    if rng.random() < 0.4 or low < -1.5:
        return part
    if low >= 0:
        return rng.choice((f"exp({part})", f"(({part})**2 + {max(low, 0.1)})", f"({low} + Abs({part}))"))
    return f"{rng.choice(('tanh', 'sin'))}({part})"


def draw_point(rng: random.Random, names: list[str], columns: list[str], kind: str, dtype: str) -> dict[str, Any]:
    """Values of parameters and columns."""
    single = dtype == "float32"
    point: dict[str, Any] = {name: draw_value(rng, kind, single) for name in names}
    rows = rng.randint(1, 4)
    return point | {name: [draw_value(rng, kind, single) for _ in range(rows)] for name in columns}


def draw_value(rng: random.Random, kind: str, single: bool) -> float:
    """A number of the dtype."""
    if kind == "mixed":
        kind = rng.choice(("ordinary", "positive", "round", "small", "large"))
    sign = rng.choice((1.0, 1.0, -1.0))
    value = {
        "ordinary": lambda: rng.uniform(-4, 4),
        "positive": lambda: math.exp(rng.uniform(-4, 3)),
        "round": lambda: rng.choice((0.0, 0.0, 1.0, -1.0, 2.0, 0.5, 3.0)),
        "small": lambda: sign * 10 ** rng.uniform(-20, -3),
        "large": lambda: sign * rng.uniform(10, 800),
        "extreme": lambda: sign * 10 ** (rng.uniform(-37, 37) if single else rng.uniform(-300, 300)),
    }[kind]()
    return float(np.float32(value)) if single else value


# Reading and judging


def drawn() -> tuple[str, ...]:
    """The ops that formulas are drawn from, by their records: functions that SymPy has and that have a derivative."""
    left_out = SPOILED.union(CHOSEN)
    own = {name: op for name, op in OPS.items() if not name.startswith("custom_")}  # not the users'
    return tuple(name for name, op in own.items() if op.sympy and op.emit and op.partials and name not in left_out)


def ops_by_name() -> dict[str, Callable[..., Any]]:
    """What the names in a formula's text stand for: the ops, as SymPy has them, and SymPy's own functions."""
    return {name: sympy_of(OPS[name]) for name in drawn()} | {"exp2": lambda x: sp.Pow(2, x)}


def sympy_of(op: Op) -> Callable[..., Any]:
    """The SymPy function of an op."""
    if not isinstance(op.sympy, str):
        assert op.sympy is not None
        return op.sympy
    return getattr(sp, op.sympy)  # type: ignore[no-any-return]


def read(text: str) -> Any:
    """The formula of a text."""
    scope = {**vars(sp), **ops_by_name(), **SYMBOLS}
    return sp.sympify(
        sp.parse_expr(text, local_dict=scope, global_dict=dict(scope), transformations=sp.parsing.sympy_parser.T[4])
    )


def judge(case: Case) -> str | None:
    """What is wrong with a formula, at the first point where something is."""
    try:
        expr = read(case["formula"])
    except (TypeError, ValueError, ArithmeticError):  # SymPy compares what is not real, or divides numbers
        return None
    point = case["points"][0]
    columns = [SYMBOLS[name] for name in point if name in COLUMNS and SYMBOLS[name] in expr.free_symbols]
    params = [SYMBOLS[name] for name in point if name in PARAMS and SYMBOLS[name] in expr.free_symbols]
    if not params or expr.has(sp.nan, sp.zoo, sp.I, sp.oo):
        return None
    try:
        options = {"dtype": case["dtype"], "stabilize": case["stabilize"], "cache": False}
        f = gradcompile.compile_grad(expr, params, data=columns, **options)
        f.graph  # noqa: B018  what can't be compiled is refused here
    except (ExpressionError, ArgumentError) as error:
        refuse(error)
        return None
    for point in case["points"]:
        given = {name: value for name, value in point.items() if SYMBOLS[name] in (*params, *columns)}
        leaves = f._leaf_values([], given)
        wrong = _bounds.settled(partial(judge_point, f, given, leaves), leaves)
        if wrong is not None:
            return f"at {given}: {wrong}"
    return _numbers.unlike_full(f, *(partial(f, *in_order(f, point)) for point in case["points"]))


def judge_point(f: CompiledGrad, point: Mapping[str, Any], leaves: Mapping[Node, Any]) -> str | None:
    """What is wrong at one point."""
    dims: dict[str, int] = {}
    evaluate.bind(leaves, dims)
    got = numbers(f, point)
    of_scipy = {"special", "joint"} & set(re.findall(r"gradcompile.library.(\w+)", f.source))
    if not config.DISABLE_JIT and not of_scipy:
        unlike = _numbers.unlike_python(f, in_order(f, point))
        if unlike is not None:
            return unlike
    values = _bounds.values_of(f.problem.primal, leaves, dims)
    true = values[f.problem.primal]
    if not mpmath.isfinite(true):
        return None
    truths = [[true], *(_bounds.slopes_of(f.problem.primal, a.leaf, leaves, dims, values) for a in f.problem.params)]
    if all(
        not slopes or any(is_near(number, s, f.dtype) for s in slopes)
        for number, slopes in zip(got, truths, strict=True)
    ):
        return None
    bounds = _bounds.bounded(f.graph.simplified, leaves, dims)
    for k, (number, bound, slopes) in enumerate(zip(got, bounds, truths, strict=True)):
        if k == 1 and not math.isfinite(got[0]):  # a derivative says nothing then
            break
        if slopes and is_wrong(number, bound, min(slopes), max(slopes), f.dtype):
            undecided = k and math.isnan(number) and mpmath.isnan(bound.value)  # 0 times an infinite slope
            what = "value" if k == 0 else f"d/d{f.problem.params[k - 1].name}"
            error = mpmath.nstr(bound.error, 3)
            shown = " to ".join(mpmath.nstr(s, 17) for s in sorted(set(slopes)))
            limit = f", {LIMITED}" if undecided else ""
            return f"{what} is {number!r} for {shown}{limit}, with a running error of {error}"
    return None


def in_order(f: CompiledGrad, point: Mapping[str, Any]) -> list[Any]:
    """The values of a point as a call takes them."""
    return [point[a.name] for a in (*f.problem.params, *f.problem.inputs)]


def is_near(number: float, true: Any, dtype: str) -> bool:
    """Whether the rounding of the last operation alone is enough to make a number right."""
    return math.isfinite(number) and bool(abs(number - true) <= FACTOR / 2 * float(np.finfo(dtype).eps) * abs(true))


def numbers(f: CompiledGrad, point: Mapping[str, Any]) -> list[float]:
    """Value and gradient, from machine code."""
    value, gradient = f(**point)
    return [float(value), *map(float, gradient)]


def is_wrong(number: float, bound: _bounds.Bound, low: Any, high: Any, dtype: str) -> bool:
    """Whether a number is none of what is right, from low to high."""
    if not math.isfinite(number):
        beyond = max(abs(low), abs(high)) > float(np.finfo(dtype).max)
        inside = low <= number <= high
        return not inside and not beyond and bool(bound.fits)
    if not mpmath.isfinite(low) and low == high:
        return bool(bound.fits)
    allowed = FACTOR * bound.error + float(np.finfo(dtype).smallest_subnormal) + abs(low) * SLACK
    return bool(mpmath.isfinite(allowed)) and not low - allowed <= number <= high + allowed
