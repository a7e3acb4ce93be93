"""Every rewrite of `stabilize` alone: loss and gradient against the formula as written, both against many digits.

A rule loses where the loss or an entry of the gradient has an error above 4 ulp and above twice that of the formula as
written, or is not finite where that is finite. An error is the largest at a point and at its next neighbours: that one
rounding of a formula falls well by luck is no merit of the formula.
"""

import ast
import math
import random
from typing import Any

import mpmath

from gradcompile import autodiff
from gradcompile.interpret import evaluate, exact
from gradcompile.ir import Node, leaf, topological
from gradcompile.ops.algebra import build
from gradcompile.passes import simplified, stabilized
from gradcompile.types import ArrayType
from tests.fuzz._rewrites import FORMULAS

BRIEF = 60
LEAVES = ("x", "y", "z")
PARTS = ("{x}", "{x}", "{x}", "{x}", "{x}*{y}", "-({x}*{x})", "{x}/3", "{x} - {y}", "1 + {x}", "exp({x})", "{x}*{x}",
         "abs({x})", "{x}/{y}", "sqrt({x})", "-{x}", "0.5*{x}")  # fmt: skip
NUMBERS = ("1", "1", "1", "2", "3", "0.5", "1e-3", "7.25", "1e10", "1e-10", "1e-100", "1e100")
EXTREME = (0.0, -0.0, 1e-300, 1e300, 1e-20, 1e-160, 1e160, 1e-9, 1e-5, 1e20, math.inf, 700.0, 709.5, 720.0,
           745.0, 800.0, 40.0, 20.0, 600.0, 354.0, 1.0, math.nextafter(1.0, 2.0), math.nextafter(1.0, 0.0))  # fmt: skip
NEIGHBOURS = 12
DIGITS = (80, 400, 1500)  # enough for exp(-800) beside 1, if the fewer do not agree
FREE = 4.0  # ulp that no rule is blamed for
LEVEL = 2.5  # how much larger than that of the formula as written an error may be: twice, and some luck


def draw(rng: random.Random) -> Any:
    """A formula of one rule, its parts filled in, its dtype, and a point."""
    rule = rng.choice(sorted(rule for rule, texts in FORMULAS.items() if texts))
    text = rng.choice(FORMULAS[rule])
    names = {letter: part(rng, name) for letter, name in zip("uvw", LEAVES, strict=True)}
    text = text.format(**names, c=number(rng), d=number(rng))
    return {"rule": rule, "formula": text, "dtype": "float64", "at": [value(rng) for _ in LEAVES]}


def part(rng: random.Random, name: str) -> str:
    """A part of a formula: a leaf, or a small formula of it and a neighbour."""
    other = LEAVES[(LEAVES.index(name) + 1) % len(LEAVES)]
    return f"({rng.choice(PARTS).format(x=name, y=other)})"


def number(rng: random.Random) -> str:
    return rng.choice(NUMBERS)


def value(rng: random.Random) -> float:
    """A number of any sign and size, ordinary ones most often."""
    kind = rng.random()
    if kind < 0.35:
        return rng.uniform(-3, 3)
    if kind < 0.5:
        return rng.uniform(-40, 40)
    if kind < 0.6:
        return rng.uniform(-900, 900)
    if kind < 0.7:
        return rng.choice((-1, 1)) * 10.0 ** rng.uniform(-20, 3)
    return rng.choice((-1, 1)) * rng.choice(EXTREME)


def formula(text: str, dtype: str) -> tuple[Node, list[Node]]:
    """The graph of a text, and its leaves that it depends on."""
    leaves = {name: leaf(name, ArrayType((), dtype)) for name in LEAVES}
    n = build(ast.parse(text, mode="eval").body)(leaves, dtype)
    used = set(topological([n]))
    return n, [x for x in leaves.values() if x in used]


def judge(case: Any) -> str | None:
    """What of the rewritten formula is worse than as it is written."""
    written, leaves = formula(case["formula"], case["dtype"])
    (written,) = simplified([written])
    (rewritten,), rewrites = stabilized([written])
    if not rewrites or not leaves:
        return None
    roots = [[n, *autodiff.vjp(n, leaves)] for n in (written, rewritten)]
    at = dict(zip(LEAVES, case["at"], strict=True))
    point = [at[x.params[0]] for x in leaves]
    old, new = (evaluate(r, dict(zip(leaves, point, strict=True))) for r in roots)
    if all(a == b or (a != a and b != b) for a, b in zip(old, new, strict=True)):
        return None
    rules = ", ".join(sorted({r.rule for r in rewrites}))
    names = ["the loss", *(f"d/d{x.params[0]}" for x in leaves)]
    for k, name in enumerate(names if math.isfinite(old[0]) else names[:1]):  # a gradient there says nothing
        if not math.isfinite(new[k]):
            if math.isfinite(old[k]):
                return f"{rules}: {name} is {new[k]}, as written {old[k]}"
            continue
        if not math.isfinite(old[k]) or new[k] == old[k]:
            continue
        errors = [errors_at(point, leaves, roots, k)]
        if loses(errors):
            errors += [errors_at(p, leaves, roots, k) for p in neighbours(point)]
            if loses(errors):
                worst = [max(e) for e in zip(*errors, strict=True)]
                return f"{rules}: {name} is {new[k]}, {worst[1]:.3g} ulp; as written {old[k]}, {worst[0]:.3g} ulp"
    return None


def loses(errors: list[tuple[float, float]]) -> bool:
    """Whether the worst error of the rewritten formula is too large beside that of the formula as written."""
    old, new = (max(e) for e in zip(*errors, strict=True))
    return new > FREE and new > LEVEL * old


def neighbours(point: list[float]) -> list[list[float]]:
    """Points a few ulps beside one."""
    rng = random.Random(repr(point))
    return [[x + rng.randint(-4, 4) * math.ulp(x) if math.isfinite(x) else x for x in point] for _ in range(NEIGHBOURS)]


def errors_at(point: list[float], leaves: list[Node], roots: list[list[Node]], k: int) -> tuple[float, float]:
    """The errors of two formulas at a point, in ulps of the first one's exact value; 0 where that does not exist."""
    env = dict(zip(leaves, point, strict=True))
    want = truth(roots[0][k], env)
    if want is None:
        return 0.0, 0.0
    values = [float(evaluate([r[k]], env)[0]) for r in roots]
    if not all(map(math.isfinite, values)):
        return 0.0, 0.0
    unit = math.ulp(float(want) or float(evaluate([roots[0][0]], env)[0]))  # a derivative that is 0: beside the loss
    if not math.isfinite(unit):
        return 0.0, 0.0
    with mpmath.workdps(60):
        old, new = (float(abs(mpmath.mpf(v) - want) / unit) for v in values)
    return old, new


def truth(root: Node, env: dict[Node, float]) -> Any:
    """The value of a root to 25 digits or more, None where it is not a number or can't be had."""
    last = None
    for digits in DIGITS:
        try:
            found = exact([root], env, digits)[0]
        except (OverflowError, MemoryError, ValueError, mpmath.libmp.NoConvergence):
            return None
        if mpmath.isnan(found) or mpmath.isinf(found):
            return None
        with mpmath.workdps(60):
            if last and abs(found - last) <= abs(found) * mpmath.mpf(10) ** -25:
                return found
        last = found
    return last if last == 0 else None
