"""What a fit is asked for, read: the model, what it is to match, which names are parameters and which are columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

from gradcompile.compiled import Compiled
from gradcompile.errors import ArgumentError, ArgumentTypeError, meant
from gradcompile.frontend import text
from gradcompile.frontend.sympy.to_sympy import to_sympy
from gradcompile.signature.names import natural

RESIDUAL = sp.Symbol("residual")
SQUARE = RESIDUAL**2
LOSSES: dict[str, sp.Expr] = {  # rho(z) of SciPy's least_squares at z = residual**2
    "linear": SQUARE,
    "soft_l1": 2 * (sp.sqrt(1 + SQUARE) - 1),
    "huber": sp.Piecewise((SQUARE, sp.Abs(RESIDUAL) <= 1), (2 * sp.Abs(RESIDUAL) - 1, True)),
    "cauchy": sp.log(1 + SQUARE),
    "arctan": sp.atan(SQUARE),
}


@dataclass(frozen=True)
class Statement:
    """One data set's part of a fit.

    model, target: what is to match what; a target is a column, or a formula of columns. likelihood: instead of both,
    the logarithm of the likelihood of a sample. sigma: the symbol of the standard deviations, None where all weigh the
    same. loss: a name of LOSSES. params, columns, fixed: the names of the parameters, of the columns, and of numbers
    that are given. tied: formulas that stand in the model in place of a name. title: the model as it was given.
    """

    model: sp.Expr | None
    target: sp.Expr | None
    likelihood: sp.Expr | None
    sigma: sp.Symbol | None
    loss: str
    params: tuple[str, ...]
    columns: tuple[str, ...]
    fixed: tuple[str, ...]
    tied: Mapping[str, sp.Expr]
    title: str

    @property
    def residual(self) -> sp.Expr:
        """(target - model) / sigma, as it was written."""
        rest = sp.Add(self.target, sp.Mul(-1, self.model, evaluate=False), evaluate=False)
        return rest if self.sigma is None else sp.Mul(rest, sp.Pow(self.sigma, -1, evaluate=False), evaluate=False)

    @property
    def cost(self) -> sp.Expr:
        """What a sample adds to what is minimised: rho(residual**2), or minus the logarithm of its likelihood."""
        if self.likelihood is not None:
            return -self.likelihood
        if self.loss == "linear":
            return sp.Pow(self.residual, 2, evaluate=False)
        return LOSSES[self.loss].xreplace({RESIDUAL: self.residual})

    @property
    def predictors(self) -> tuple[str, ...]:
        """The columns that the model is made of."""
        used = names_of(self.model) if self.model is not None else set()
        return tuple(name for name in self.columns if name in used)


def names_of(expr: sp.Expr) -> set[str]:
    """The names of the symbols in an expression."""
    return {s.name for s in expr.free_symbols}


def formula(given: Any, what: str, known: Iterable[str] = ()) -> tuple[sp.Expr, str, list[str]]:
    """A formula given as text, SymPy expression or compiled value: the expression, its title, its names in order.

    known: names that are no constants, whatever they are, such as a column called E.
    """
    if isinstance(given, str):
        known = set(known)
        names = [name for name in text.names_in(given) if name in known or not text.is_constant(name)]
        return text.parse(given, {name: sp.Symbol(name) for name in names}), given, names
    if isinstance(given, Compiled):
        if given.problem.arrays or len(given.problem.primals) > 1:
            raise ArgumentError(f"{what}={given!r}: give a value made of SymPy's symbols, one number a sample")
        expr, *_ = to_sympy(given.problem.primals, given.problem.symbols)
        return expr, given.problem.formula, [a.name for a in (*given.problem.params, *given.problem.inputs)]
    if isinstance(given, sp.Expr):
        return given, str(given), sorted(names_of(given), key=natural)
    if callable(given):
        raise ArgumentTypeError(
            f"{what} is a Python function; give its formula as text, such as 'a*exp(-b*x) + c', or what the function "
            "returns for SymPy's symbols"
        )
    got = type(given).__name__
    raise ArgumentTypeError(f"{what} is of type {got}; give text, a SymPy expression or a compiled value")


def unified(exprs: Iterable[sp.Expr]) -> list[sp.Expr]:
    """The expressions with one symbol for each name: the first that has it."""
    known: dict[str, sp.Symbol] = {}
    found = []
    for expr in exprs:
        swap = {s: known.setdefault(s.name, s) for s in sorted(expr.free_symbols, key=str)}
        swap = {a: b for a, b in swap.items() if a != b}
        found.append(expr.xreplace(swap) if swap else expr)
    return found


def with_ties(
    model: sp.Expr, names: Sequence[str], tied: Mapping[str, Any], known: Iterable[str]
) -> tuple[sp.Expr, list[str], dict[str, sp.Expr]]:
    """The model with formulas in place of tied names, its names then, and these formulas in free parameters alone.

    Ties that the model does not need, as of another data set, are left out. known: names that are no constants.
    """
    given = {name: formula(tie, f"tied[{name!r}]", known) for name, tie in tied.items()}
    formulas, waiting = {}, [name for name in names if name in given]
    while waiting:
        name = waiting.pop()
        formulas[name] = given[name]
        waiting += [n for n in given[name][2] if n in given and n not in formulas]
    formulas = {name: given[name] for name in given if name in formulas}
    model, *ties = unified([model, *(f[0] for f in formulas.values())])
    symbols = {s.name: s for e in (model, *ties) for s in e.free_symbols}
    found = {symbols[name]: tie for name, tie in zip(formulas, ties, strict=True)}
    for _ in found:  # a tie may be to a parameter that is tied itself
        found = {s: tie.xreplace(found) for s, tie in found.items()}
    circular = next((s.name for s, tie in found.items() if tie.free_symbols & set(found)), None)
    if circular is not None:
        raise ArgumentError(f"tied: {circular!r} is tied to itself in a circle; leave one of these free")
    more = [name for f in formulas.values() for name in f[2]]
    rest = dict.fromkeys(name for name in [*names, *more] if name not in formulas)
    return model.xreplace(found), list(rest), {s.name: tie for s, tie in found.items()}


def meant_or_known(name: str, known: Iterable[str]) -> str:
    """What may have been meant by a name that is not known, or all that are, as the end of a message."""
    known = list(known)
    return meant(name, known) or (f"; there are {', '.join(known)}" if known else "")


def stated(
    model: Any,
    target: Any,
    params: Sequence[str] | None,
    columns: Iterable[str] | None,
    *,
    likelihood: Any = None,
    sigma: Any = None,
    loss: str = "linear",
    fixed: Iterable[str] = (),
    tied: Mapping[str, Any] | None = None,
    is_whole: bool = True,
) -> Statement:
    """Read a part of a fit. Either the parameters are named, and all else is a column, or the columns are.

    is_whole: it is the only part, so all numbers that are given are its own.
    """
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ArgumentError(f"loss={loss!r}{meant_or_known(str(loss), LOSSES)}")
    if (likelihood is None) == (model is None):
        raise ArgumentError("give either a model with a target, or likelihood=, the log-likelihood of a sample")
    what, given = ("model", model) if likelihood is None else ("likelihood", likelihood)
    known = {*(params or ()), *(columns or ()), *fixed}
    expr, title, names = formula(given, what, known)
    expr, names, ties = with_ties(expr, names, tied or {}, known)
    both = next((name for name in fixed if name in (tied or {})), None)
    if both is not None:
        raise ArgumentError(f"{both!r} is in fixed and in tied; leave it out of one")
    if is_whole:
        check_given("fixed", fixed, names, what)
        check_given("tied", tied or {}, [*names, *ties], what)
    if likelihood is None:
        alone = sp.Symbol(target) if is_column(target, known) else target
        goal, _, observed = formula(alone, "target", known)
        expr, goal = unified([expr, goal])
    else:
        goal, observed = None, []
    held = [name for name in fixed if name in names]
    free, used = sorted_out(names, params, columns, held, what)
    check_target(goal, observed, free, names)
    weights = None if sigma is None or likelihood is not None else sp.Symbol(free_name("sigma", [*names, *observed]))
    every = tuple(dict.fromkeys([*used, *observed]))
    found = Statement(expr, goal, None, weights, loss, tuple(free), every, tuple(held), ties, title)
    return found if likelihood is None else replace(found, model=None, likelihood=expr)


def check_given(option: str, given: Iterable[str], names: Sequence[str], what: str) -> None:
    """Raise ArgumentError for a name that is given something and that the formula does not contain."""
    lost = next((name for name in given if name not in names), None)
    if lost is not None:
        raise ArgumentError(f"{option}: the {what} does not contain {lost!r}{meant_or_known(str(lost), names)}")


def is_column(target: Any, known: Iterable[str]) -> bool:
    """Whether a target is a column's name as it stands: one that is known, or text that is no formula."""
    if not isinstance(target, str):
        return False
    return target in known or target.isidentifier() or not any(c in target for c in "+-*/^()`")


def sorted_out(
    names: Sequence[str], params: Sequence[str] | None, columns: Iterable[str] | None, held: Sequence[str], what: str
) -> tuple[list[str], list[str]]:
    """The names that are parameters, and those that are columns."""
    if params is not None:
        unknown = next((name for name in params if name not in names), None)
        if unknown is not None:
            raise ArgumentError(f"params: the {what} does not contain {unknown!r}{meant_or_known(unknown, names)}")
        return list(params), [name for name in names if name not in params and name not in held]
    known = set(columns or ())
    free = [name for name in names if name not in known and name not in held]
    if not free:
        raise ArgumentError(f"the {what} has no parameter: {', '.join(names) or 'nothing'} is all given")
    return free, [name for name in names if name in known]


def check_target(goal: sp.Expr | None, observed: Sequence[str], free: Sequence[str], names: Sequence[str]) -> None:
    """Raise ArgumentError for a target that the model contains, or that contains a parameter."""
    if goal is None:
        return
    inside = next((name for name in observed if name in free), None)
    if inside is not None:
        raise ArgumentError(f"target: {inside!r} is a parameter; a target is made of columns alone")
    if goal.is_Symbol and goal.name in names:
        raise ArgumentError(f"model: it contains the target {goal.name!r}, which it is to predict; leave it out")


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """A name that nobody has: the wanted one, or with underscores behind."""
    known = set(taken)
    while wanted in known:
        wanted += "_"
    return wanted
