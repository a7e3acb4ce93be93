"""Every rewrite of `stabilize` alone: loss and gradient against the formula as written, both against many digits.

A rule loses where the loss or an entry of the gradient has an error above 4 ulp and above twice that of the formula as
written, and one ulp, or is not finite where that is finite. An error is the largest at a point and at its next
neighbours: that one rounding of a formula falls well by luck is no merit of the formula. The one ulp is luck as well:
12 neighbours show the largest rounding of each formula to about half an ulp.
"""

import ast
import math
import random
from typing import Any

import mpmath
import numpy as np

import gradcompile
from gradcompile import array
from gradcompile.analysis.evaluate import evaluate, exact
from gradcompile.diff import reverse
from gradcompile.ir.core import Node, leaf
from gradcompile.ir.graph import topological
from gradcompile.ir.types import ArrayType
from gradcompile.ops.algebra import build
from gradcompile.passes import simplified, stabilized
from tests.fuzz._rewrites import ARRAYS, FORMULAS

BRIEF = 60
LEAVES = ("x", "y", "z")
PARTS = ("{x}", "{x}", "{x}", "{x}", "{x}*{y}", "-({x}*{x})", "{x}/3", "{x} - {y}", "1 + {x}", "exp({x})", "{x}*{x}",
         "abs({x})", "{x}/{y}", "sqrt({x})", "-{x}", "0.5*{x}")  # fmt: skip
NUMBERS = ("1", "1", "1", "2", "3", "0.5", "1e-3", "7.25", "1e10", "1e-10", "1e-100", "1e100", "1e-305")
SINGLE_NUMBERS = ("1", "1", "1", "2", "3", "0.5", "1e-3", "7.25", "20", "1e6", "1e-6", "1e-20", "1e-36")
EXTREME = (0.0, -0.0, 1e-300, 1e300, 1e-20, 1e-160, 1e160, 1e-9, 1e-5, 1e20, math.inf, 700.0, 709.5, 720.0,
           745.0, 800.0, 40.0, 20.0, 600.0, 354.0, 1.0, math.nextafter(1.0, 2.0), math.nextafter(1.0, 0.0))  # fmt: skip
SINGLE_EXTREME = (0.0, -0.0, 1e-35, 1e35, 1e-20, 1e-5, math.inf, 1.0, 9.5, 19.0, 38.0, 40.0, 84.0, 86.0, 88.5, 100.0)
ENTRIES = {"X": (3,), "M": (2, 2)}  # arrays, by name
NEIGHBOURS = 12
DIGITS = (80, 400, 1500)  # enough for exp(-800) beside 1, if the fewer do not agree
FREE = 4.0  # ulp that no rule is blamed for
LEVEL, LUCK = 2.0, 1.0  # how much larger than that of the formula as written an error may be, and ulps of luck


def draw(rng: random.Random) -> Any:
    """A formula of one rule, its parts filled in, its dtype, and a point."""
    rule = rng.choice(sorted({*FORMULAS, *ARRAYS}))
    text = rng.choice(FORMULAS.get(rule, ()) + ARRAYS.get(rule, ()))
    dtype = "float64" if rng.random() < 0.75 else "float32"
    return case_of_text(rng, rule, text, dtype)


def case_of_text(rng: random.Random, rule: str, text: str, dtype: str) -> Any:
    """A case of one formula: over arrays if it is of theirs."""
    if text in ARRAYS.get(rule, ()):
        at = {name: [value(rng, dtype) for _ in range(math.prod(shape))] for name, shape in ENTRIES.items()}
        return {"rule": rule, "formula": text, "dtype": dtype, "at": at}
    names = {letter: part(rng, name) for letter, name in zip("uvw", LEAVES, strict=True)}
    text = text.format(**names, c=number(rng, dtype), d=number(rng, dtype))
    return {"rule": rule, "formula": text, "dtype": dtype, "at": {name: value(rng, dtype) for name in LEAVES}}


def part(rng: random.Random, name: str) -> str:
    """A part of a formula: a leaf, or a small formula of it and a neighbour."""
    other = LEAVES[(LEAVES.index(name) + 1) % len(LEAVES)]
    return f"({rng.choice(PARTS).format(x=name, y=other)})"


def number(rng: random.Random, dtype: str) -> str:
    return rng.choice(NUMBERS if dtype == "float64" else SINGLE_NUMBERS)


def value(rng: random.Random, dtype: str) -> float:
    """A number of any sign and size, ordinary ones most often."""
    kind, double = rng.random(), dtype == "float64"
    if kind < 0.35:
        found = rng.uniform(-3, 3)
    elif kind < 0.5:
        found = rng.uniform(-40, 40)
    elif kind < 0.6:
        found = rng.uniform(-900, 900) if double else rng.uniform(-110, 110)
    elif kind < 0.7:
        found = rng.choice((-1, 1)) * 10.0 ** rng.uniform(-20, 3)
    else:
        found = rng.choice((-1, 1)) * rng.choice(EXTREME if double else SINGLE_EXTREME)
    return found if double else float(np.float32(found))


def formula(text: str, dtype: str) -> tuple[Node, list[Node]]:
    """The graph of a text, and its leaves that it depends on."""
    if any(name in text for name in ENTRIES):
        arrays = {name: array(name, shape, dtype=dtype) for name, shape in ENTRIES.items()}
        n, leaves = (
            eval(text, {"np": np, "gc": gradcompile, **arrays}).node,
            {name: a.node for name, a in arrays.items()},
        )
    else:
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
    roots = [[n, *reverse.vjp(n, leaves)] for n in (written, rewritten)]
    point = [np.reshape(np.asarray(case["at"][x.params[0]], case["dtype"]), x.type.shape) for x in leaves]
    old, new = (entries(r, leaves, point) for r in roots)
    rules = ", ".join(sorted({r.rule for r in rewrites}))
    for k in range(len(old) if math.isfinite(old[0]) else 1):  # a gradient there says nothing
        name = "the loss" if k == 0 else f"entry {k - 1} of the gradient"
        if new[k] == old[k] or not math.isfinite(old[k]):
            continue
        if not math.isfinite(new[k]):
            if is_beyond(point, leaves, roots[0], k):
                continue
            return f"{rules}: {name} is {new[k]}, as written {old[k]}"
        errors = [errors_at(point, leaves, roots, k)]
        if loses(errors):
            errors += [errors_at(p, leaves, roots, k) for p in neighbours(point)]
            if loses(errors):
                worst = [max(e) for e in zip(*errors, strict=True)]
                return f"{rules}: {name} is {new[k]}, {worst[1]:.3g} ulp; as written {old[k]}, {worst[0]:.3g} ulp"
    return None


def entries(roots: list[Node], leaves: list[Node], point: list[Any]) -> list[float]:
    """The values of the roots, entry by entry."""
    found = evaluate(roots, dict(zip(leaves, point, strict=True)))
    return [float(x) for v in found for x in np.ravel(v)]


def loses(errors: list[tuple[float, float]]) -> bool:
    """Whether the worst error of the rewritten formula is too large beside that of the formula as written."""
    old, new = (max(e) for e in zip(*errors, strict=True))
    return new > FREE and new > LEVEL * old + LUCK


def neighbours(point: list[Any]) -> list[list[Any]]:
    """Points a few ulps beside one."""
    rng = np.random.default_rng(abs(hash(tuple(float(x) for v in point for x in np.ravel(v)))))

    def moved(x: Any) -> Any:
        with np.errstate(invalid="ignore"):
            near = x + rng.integers(-4, 5, np.shape(x)).astype(x.dtype) * np.spacing(np.abs(x))
        return np.where(np.isfinite(x), near, x).astype(x.dtype)

    return [[moved(x) for x in point] for _ in range(NEIGHBOURS)]


def errors_at(point: list[Any], leaves: list[Node], roots: list[list[Node]], k: int) -> tuple[float, float]:
    """The errors of two formulas at a point, in ulps of the first one's exact value; 0 where that does not exist."""
    root, place = located(roots[0], k)
    values = [entries([r[0], r[root]], leaves, point) for r in roots]
    want = truth(roots[0][root], place, dict(zip(leaves, point, strict=True)))
    numbers = [v[1 + place] for v in values]
    if want is None or not all(map(math.isfinite, numbers)):
        return 0.0, 0.0
    scale = np.asarray(float(want) or values[0][0], roots[0][0].type.dtype)  # a derivative of 0: beside the loss
    unit = float(np.spacing(np.abs(scale)))
    if not math.isfinite(unit):
        return 0.0, 0.0
    with mpmath.workdps(60):
        old, new = (float(abs(mpmath.mpf(v) - want) / unit) for v in numbers)
    return old, new


def located(roots: list[Node], k: int) -> tuple[int, int]:
    """The root that an entry belongs to, and its place there."""
    sizes = [math.prod(map(int, x.type.shape)) for x in roots]
    root = next(j for j in range(len(sizes)) if sum(sizes[: j + 1]) > k)
    return root, k - sum(sizes[:root])


def is_beyond(point: list[Any], leaves: list[Node], roots: list[Node], k: int) -> bool:
    """Whether an entry is beyond the range, so that a finite number for it is no merit."""
    root, place = located(roots, k)
    try:
        found = exact([roots[root]], dict(zip(leaves, point, strict=True)), DIGITS[1])[0]
    except (OverflowError, MemoryError, ValueError, mpmath.libmp.NoConvergence):
        return False
    return bool(abs(np.ravel(np.asarray(found, object))[place]) > float(np.finfo(roots[0].type.dtype).max))


def truth(root: Node, place: int, env: dict[Node, Any]) -> Any:
    """The value of an entry of a root to 25 digits or more, None where it is not a number or can't be had."""
    last = None
    for digits in DIGITS:
        try:
            found = np.ravel(np.asarray(exact([root], env, digits)[0], object))[place]
        except (OverflowError, MemoryError, ValueError, mpmath.libmp.NoConvergence):
            return None
        if mpmath.isnan(found) or mpmath.isinf(found):
            return None
        with mpmath.workdps(60):
            if last and abs(found - last) <= abs(found) * mpmath.mpf(10) ** -25:
                return found
        last = found
    return last if last == 0 else None
