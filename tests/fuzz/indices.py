"""Random losses in index notation: value and gradient against loops over NumPy arrays, in complex steps.

Sums and products with numeric and named bounds, nested, of dependent bounds, over places that are shifted, strided,
reversed, triangular or data; names of indices that are bound again; parameters that are arrays or entries of arrays;
lengths of 0, 1, 2 and odd ones.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import sympy as sp

from gradcompile.compile import compile_grad, compile_value
from gradcompile.errors import GradcompileError
from tests.fuzz import _numbers
from tests.fuzz._sums import FUNCTIONS, Loops, Sympy, Tree, names
from tests.fuzz.run import refuse

BRIEF = 25
STEP = 1e-100  # of the complex step, which has no rounding
CLOSE = 2e-11  # relative to the largest intermediate value

# Drawing


class Draw:
    """A loss being drawn: what arrays it has, and how far the indices in scope may go."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.named = rng.random() < 0.7
        lengths = ["n", "m"] if self.named else []
        self.sizes = {name: rng.choice([0, 1, 1, 2, 2, 3, 4, 5, 5, 7]) for name in lengths}
        self.counts = [*lengths * 2, 1, 2, 3, 4, 5]
        self.arrays = {name: self.array(rank) for name, rank in (("x", 1), ("y", 1), ("A", 2), ("W", 2))}
        self.arrays["c"] = {"kind": "base", "rank": 1, "shape": None, "int": True}

    def array(self, rank: int) -> Any:
        """An array of no shape, of numbers, of names, or both; a matrix sometimes."""
        rng = self.rng
        kind = "matrix" if rank == 2 and rng.random() < 0.25 else "base"
        shape = [rng.choice(self.counts) for _ in range(rank)]
        given = kind == "matrix" or rng.random() < 0.45
        return {"kind": kind, "rank": rank, "shape": shape if given else None, "int": False}

    def limit(self, scope: Mapping[str, Any]) -> Tree:
        """An index and its bounds."""
        rng, v = self.rng, self.rng.choice("ijk")
        low: Tree = rng.choice([0, 0, 0, 0, 1, 2])
        last = rng.choice(self.counts)
        high: Tree = last - 1 if isinstance(last, int) else ["+", last, -1]
        if rng.random() < 0.05:
            high = low - rng.choice([2, 3])
        if scope and rng.random() < 0.3:
            outer = rng.choice(sorted(scope))
            shift = rng.choice([0, 0, 1])
            if rng.random() < 0.5:
                low = ["+", outer, shift]
            else:
                high = ["+", outer, -shift]
        return [v, low, high]

    def place(self, scope: Mapping[str, Any], dim: Any) -> Tree:
        """A place along an axis of that length, None if no length was given."""
        rng = self.rng
        fitting = sorted(v for v in scope if dim in (None, scope[v]) or (
            isinstance(dim, int) and isinstance(scope[v], int) and scope[v] <= dim))  # fmt: skip
        if not scope or rng.random() < 0.08 or (dim is not None and not fitting and rng.random() < 0.6):
            return rng.randrange(dim) if isinstance(dim, int) else rng.choice([0, 0, 0, 1]) if dim is None else 0
        u = rng.choice(sorted(scope))
        if dim is not None and rng.random() < 0.9:
            safe = [["mod", u, dim], ["min", u, ["+", dim, -1]]]
            return rng.choice([*fitting * 5, *(["+", dim, -1, ["*", -1, v]] for v in fitting), *safe])
        v = rng.choice(sorted(scope))
        last = scope[v]
        back: Tree = ["+", last, -1, ["*", -1, v]]
        apart, around = ["abs", ["+", v, ["*", -1, u]]], ["mod", ["+", v, 1], 3]
        plain = [["+", v, 1], ["+", v, -1], ["*", 2, v], ["+", ["*", 2, v], 1], ["+", v, u], back]
        others = [apart, around, ["min", v, u], ["max", v, u], ["at", "c", [v]], ["at", "c", [v]]]
        return rng.choice([v] * 20 + plain * 2 + others)

    def entry(self, scope: Mapping[str, Any]) -> Tree:
        """An entry of an array."""
        name = self.rng.choice("xyAW")
        shape = self.arrays[name]["shape"] or [None] * self.arrays[name]["rank"]
        return ["get", name, [self.place(scope, d) for d in shape]]

    def condition(self, scope: Mapping[str, Any]) -> Tree:
        """A condition on indices."""
        v = self.rng.choice(sorted(scope))
        other = self.rng.choice([*sorted(scope), 0, 1, ["+", scope[v], -1]])
        left = self.rng.choice([v, v, ["mod", v, 2], ["at", "c", [v]]])
        return [self.rng.choice(["<", "<=", "==", "!="]), left, other]

    def leaf(self, scope: Mapping[str, Any]) -> Tree:
        """Something without parts."""
        rng = self.rng
        options = [self.entry(scope)] * 6 + [["par", rng.choice("st")]] * 2 + [["num", rng.choice([0.5, 2.0, -1.5])]]
        if scope:
            options += [["index", rng.choice(sorted(scope))]]
        return rng.choice(options)

    def term(self, scope: Mapping[str, Any], depth: int) -> Tree:
        """An expression of some depth."""
        rng = self.rng
        if depth == 0 or rng.random() < 0.15:
            return self.leaf(scope)
        kinds = {"add": 5, "mul": 6, "call": 4, "sum": 4, "product": 1, "if": 2, "delta": 1, "subs": 0.4}
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        if kind in ("sum", "product") or not scope:
            return self.repeated("product" if kind == "product" else "sum", scope, depth)
        if kind in ("add", "mul"):
            return [kind, self.term(scope, depth - 1), self.term(scope, depth - 1)]
        if kind == "call":
            return ["call", rng.choice(sorted(FUNCTIONS)), self.term(scope, depth - 1)]
        if kind == "if":
            return ["if", self.condition(scope), self.term(scope, depth - 1), self.term(scope, depth - 1)]
        if kind == "subs":
            v = rng.choice("ijk")
            return ["subs", self.term({**scope, v: 2}, depth - 1), v, rng.choice([0, 1, rng.choice(sorted(scope))])]
        v = rng.choice(sorted(scope))
        return ["mul", ["delta", v, rng.choice([*sorted(scope), 1, ["at", "c", [v]]])], self.term(scope, depth - 1)]

    def repeated(self, kind: str, scope: Mapping[str, Any], depth: int) -> Tree:
        """A sum or product over one or two indices."""
        outer: dict[str, Any] = dict(scope)
        limits: list[Tree] = []
        for _ in range(self.rng.choice([1, 1, 1, 2])):
            limit = self.limit(outer)
            if limit[0] in {v for v, _, _ in limits}:
                continue
            outer[limit[0]] = self.length(limit, outer)
            limits.insert(0, limit)
        return [kind, self.term(outer, depth - 1), limits]

    def length(self, limit: Tree, scope: Mapping[str, Any]) -> Any:
        """One more than the highest place of an index, a number or a name."""
        high = limit[2]
        if isinstance(high, int):
            return max(high + 1, limit[1] if isinstance(limit[1], int) else 0)
        return scope[high[1]] if high[1] in scope else high[1]


def literal(tree: Tree) -> list[tuple[str, tuple[int, ...]]]:
    """The entries at numeric places."""
    if not isinstance(tree, list):
        return []
    own = [(tree[1], tuple(tree[2]))] if tree[:1] == ["get"] and all(isinstance(p, int) for p in tree[2]) else []
    return own + [e for part in tree for e in literal(part)]


def draw(rng: random.Random) -> Any:
    """A loss of sums, what its parameters are, and the lengths at the call."""
    d = Draw(rng)
    loss = ["add", *(d.repeated("sum", {}, rng.choice([1, 2, 2, 3])) for _ in range(rng.choice([1, 1, 2])))]
    if rng.random() < 0.3:
        loss = ["mul", loss, d.term({}, 1)]
    found = names(loss)
    params: list[Any] = [[p] for p in "st" if p in found and rng.random() < 0.7]
    entries = [[name, *at] for name, at in literal(loss)]
    if entries and rng.random() < 0.5:
        params.append(rng.choice(entries))
    held = {p[0] for p in params}
    for name in "xyAW":
        shape = d.arrays[name]["shape"]
        if name in found and name not in held and shape and all(isinstance(k, int) for k in shape):
            params += [[name]] if rng.random() < 0.7 else []
    arrays = {name: a for name, a in d.arrays.items() if name in found}
    return {"loss": loss, "params": params, "sizes": d.sizes, "arrays": arrays, "idx": rng.random() < 0.25,
            "seed": rng.randrange(10**6)}  # fmt: skip


# Judging


def shaped(f: Any, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """The shape of each argument, with a length of 4 where neither the case nor an array's name tells one."""
    found = {}
    for a in (*f.problem.params, *f.problem.inputs):
        dims = [eval(d, {}, Defaults(sizes)) if isinstance(d, str) else d for d in a.leaf.type.shape]
        found[a.name] = tuple(map(int, dims))
    return found


class Defaults(dict[str, int]):
    """Lengths by names; 4 for others."""

    def __missing__(self, name: str) -> int:
        return 4


def drawn(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Any]:
    """Numbers for the arguments; small whole ones for c."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, 3, size=s) if name == "c" else rng.uniform(0.4, 1.2, s) * rng.choice([-1, 1], s)
        for name, s in sorted(shapes.items())
    }


def judge(case: Any) -> str | None:
    """None if value and gradient are those of the loops, or if the loss or its arguments are refused."""
    return judged(case)[1]


def compiled(loss: Any, params: list[Any]) -> Any:
    """The function of a loss, of no parameters without gradients."""
    return (compile_grad if params else compile_value)(loss, params, allow_unused=True)


def judged(case: Any, compiled: Any = compiled) -> tuple[str, str | None]:
    """What became of a case, and what is wrong with it; lengths are numbers where their names are refused."""
    lengths = {name: sp.Symbol(name, integer=True) for name in case["sizes"]}
    became, wrong = judged_with(case, lengths, compiled)
    if "loss.subs" in became:  # the cure that is named
        became, wrong = judged_with(case, {name: sp.Integer(size) for name, size in case["sizes"].items()}, compiled)
    return became, wrong


def judged_with(case: Any, lengths: Mapping[str, Any], compiled: Any) -> tuple[str, str | None]:
    """What became of a case with these lengths, and what is wrong with it."""
    to_sympy = Sympy(case["arrays"], lengths, case["idx"])
    try:
        loss = to_sympy(case["loss"])
        symbols = {tuple(p): named(to_sympy, p) for p in case["params"]}
    except (ArithmeticError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:  # SymPy's
        return f"SymPy: {error}", None
    try:
        f = compiled(loss, list(symbols.values()))
        shapes = shaped(f, case["sizes"])
        if any(min(s, default=0) < 0 for s in shapes.values()):
            return "no such lengths", None
        values = drawn(shapes, case["seed"])
        found = f(*(values[a.name] for a in f.problem.params), **{a.name: values[a.name] for a in f.problem.inputs})
        value, grads = found if symbols else (found, ())
    except GradcompileError as error:
        if "loss.subs" not in str(error):
            refuse(error)
        return f"refused: {error}", None
    inputs = {a.name: values[a.name] for a in f.problem.inputs}
    unlike = (
        _numbers.unlike_full(f, lambda: f(*(values[a.name] for a in f.problem.params), **inputs)) if symbols else None
    )
    return "compared", unlike or compared(case, f, values, float(value), list(grads))


def named(to_sympy: Sympy, param: list[Any]) -> Any:
    """The symbol, array or entry of a parameter."""
    name, *at = param
    return to_sympy.entry(name, at) if at else to_sympy.arrays.get(name, sp.Symbol(name))


def compared(case: Any, f: Any, values: Mapping[str, Any], value: float, grads: list[Any]) -> str | None:
    """What differs from the loops."""
    own = {(p[0], tuple(p[1:])): a.name for p, a in zip(case["params"], f.problem.params, strict=True) if p[1:]}
    missing = {name: np.ones([9] * a["rank"]) for name, a in case["arrays"].items()} | {"s": 1.0, "t": 1.0}

    def run(changed: Mapping[str, Any]) -> tuple[Any, float]:
        now = {**missing, **case["sizes"], **values, **changed}
        loops = Loops(now, {e: now[name] for e, name in own.items()})
        result = loops(case["loss"], {})
        return result, max(loops.largest, abs(result))

    try:
        expected, size = run({})
    except (IndexError, KeyError) as error:
        outside = f"{value}, though the loops read outside: {error}"
        return None if np.isnan(value) else outside  # what places that are computed find there
    if not np.isfinite(expected):  # one over a product with a zero
        return None if not np.isfinite(value) else f"value {value}, by loops {expected}"
    if not abs(value - expected) <= CLOSE * size:
        return f"value {value}, by loops {expected}"
    for a, grad in zip(f.problem.params, grads, strict=True):
        for place in np.ndindex(np.shape(values[a.name])):
            moved = np.array(values[a.name], dtype=complex)
            moved[place] += 1j * STEP
            slope = run({a.name: moved})[0].imag / STEP if np.iscomplexobj(run({a.name: moved})[0]) else 0.0
            if not abs(np.asarray(grad)[place] - slope) <= 50 * CLOSE * (size + abs(slope)):
                return f"gradient by {a.name}{list(place)} {np.asarray(grad)[place]}, by loops {slope}"
    return None
