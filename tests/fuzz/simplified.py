"""Random graphs before and after `simplify`, whose rules may change no value on NaN, infinity or a signed zero.

Rounding may differ where a rule says so, by a few ulps: powers are multiplications, x*(1/y) is x/y.
"""

import math
import random
from typing import Any

import numpy as np

from gradcompile.analysis.evaluate import evaluate
from gradcompile.ir.core import Node, apply, const, leaf
from gradcompile.passes.simplify import roots_of_powers, simplify

BRIEF = 150
LEAVES = ("x", "y", "z")
NUMBERS = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -4.0, 3.0, 1.5, math.inf)
POWERS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0)  # those of 1/2 are NaN at -inf, which is documented
VALUES = (0.0, -0.0, 1.0, -1.0, 2.0, -0.75, 3.0, 1e9, -1e-9, math.inf, -math.inf, math.nan)
UNARY = ("neg", "neg", "abs", "sign", "sqrt", "floor", "exp")
BINARY = ("add", "add", "mul", "mul", "mul", "div", "div", "max", "min")
TESTS = ("lt", "le", "eq", "ne")

Case = dict[str, Any]


def draw(rng: random.Random) -> Case:
    """A graph as steps, each an op and the numbers of the steps it takes, and points."""
    steps: list[Any] = [["leaf", name] for name in LEAVES]
    steps += [["const", repr(rng.choice(NUMBERS))] for _ in range(3)]
    floats, truths = list(range(len(steps))), list[int]()
    for _ in range(rng.randint(3, 12)):
        kind = rng.random()
        if kind < 0.15 and truths:
            steps.append(["select", rng.choice(truths), rng.choice(floats), rng.choice(floats)])
        elif kind < 0.25:
            truths.append(len(steps))
            steps.append(logical(rng, truths[:-1], floats))
            continue
        elif kind < 0.4:
            steps.append([rng.choice(UNARY), rng.choice(floats)])
        elif kind < 0.5:
            steps.append(["pow", rng.choice(floats), repr(rng.choice(POWERS))])
        else:
            terms = rng.randint(2, 4) if kind < 0.65 else 2
            name = "add" if terms > 2 else rng.choice(BINARY)
            steps.append([name, *(rng.choice(floats[-6:] + floats[:3]) for _ in range(terms))])
        floats.append(len(steps) - 1)
    points = [{name: repr(rng.choice(VALUES)) for name in LEAVES} for _ in range(12)]
    return {"steps": steps, "points": points}


def logical(rng: random.Random, truths: list[int], floats: list[int]) -> list[Any]:
    """A condition, of numbers or of conditions."""
    if truths and rng.random() < 0.5:
        name = rng.choice(("and", "or", "not"))
        return [name, *(rng.choice(truths) for _ in range(1 if name == "not" else 2))]
    return [rng.choice(TESTS), rng.choice(floats), rng.choice(floats)]


def judge(case: Case) -> str | None:
    """What a point gives before and after, where that differs."""
    built: list[Node] = []
    for name, *args in case["steps"]:
        if name in ("leaf", "const"):
            built.append(leaf(args[0]) if name == "leaf" else const(float(args[0])))
        elif name == "pow":
            built.append(apply("pow", built[args[0]], const(float(args[1]))))
        else:
            built.append(apply(name, *(built[k] for k in args)))
    root = next(n for n in reversed(built) if n.type.dtype != "bool")
    after = roots_of_powers(simplify([root]))[0]
    for point in case["points"]:
        env = {leaf(name): float(value) for name, value in point.items()}
        old, new = (float(evaluate([n], env)[0]) for n in (root, after))
        if not is_same(old, new):
            return f"{old!r} became {new!r} at {point}"
    return None


def is_same(x: float, y: float) -> bool:
    """Whether two numbers are equal, up to rounding; NaN is one, signs of zeros count."""
    if math.isnan(x) or math.isnan(y):
        return math.isnan(x) and math.isnan(y)
    if x == 0 or y == 0:
        return x == y and math.copysign(1, x) == math.copysign(1, y)
    return x == y or (math.isfinite(x) and math.isfinite(y) and bool(np.isclose(x, y, rtol=1e-12, atol=0.0)))
