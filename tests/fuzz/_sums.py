"""Index expressions as trees of JSON: to SymPy, and by plain loops over NumPy arrays, which is what they are held to.

A tree is a list whose first entry says what it is: ["num", 2.5], ["par", "s"], ["get", "x", [places]], ["index", "i"],
["add", ...], ["mul", ...], ["call", "sin", e], ["sum", body, [["i", low, high], ...]] and ["product", ...] with the
innermost index first, ["delta", a, b], ["if", condition, a, b], ["stray", e], which is e inside a Subs. Places and
bounds: a number, the name of an index or a length, ["+", ...], ["*", ...], ["mod", a, b], ["min", a, b], ["max", a, b],
["abs", a], ["at", "c", [place]]. Conditions: ["<", a, b], ["<=", ...], ["==", ...], ["!=", ...].
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

Tree = Any
FUNCTIONS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "sin": (sp.sin, np.sin),
    "exp": (lambda x: sp.exp(-(x**2)), lambda x: np.exp(-x * x)),
    "tanh": (sp.tanh, np.tanh),
    "square": (lambda x: x**2, lambda x: x * x),
    "root": (lambda x: sp.sqrt(1 + x**2), lambda x: np.sqrt(1 + x * x)),
    "inverse": (lambda x: 1 / (2 + x**2), lambda x: 1 / (2 + x * x)),
}
RELATIONS: Mapping[str, tuple[Any, Callable[[int, int], bool]]] = {
    "<": (sp.Lt, lambda a, b: a < b),
    "<=": (sp.Le, lambda a, b: a <= b),
    "==": (sp.Eq, lambda a, b: a == b),
    "!=": (sp.Ne, lambda a, b: a != b),
}


def names(tree: Tree) -> set[str]:
    """The names in a tree."""
    return {tree} if isinstance(tree, str) else set().union(*map(names, tree)) if isinstance(tree, list) else set()


COMPUTED = {"mod", "min", "max", "abs", "at"}


class Sympy:
    """Trees as SymPy's expressions."""

    def __init__(self, arrays: Mapping[str, Any], lengths: Mapping[str, Any], idx: bool) -> None:
        self.lengths = lengths
        self.index = {v: sp.Idx(v) if idx else sp.Symbol(v, integer=True) for v in "ijk"}
        self.arrays = {name: self.base(name, a) for name, a in arrays.items()}

    def base(self, name: str, array: Any) -> Any:
        """The array as SymPy has it."""
        shape = array["shape"] and tuple(self.place(d) for d in array["shape"])
        if array["kind"] == "matrix":
            return sp.MatrixSymbol(name, *shape)
        return sp.IndexedBase(name, **({} if shape is None else {"shape": shape}))

    def place(self, p: Tree) -> Any:
        """A place or bound."""
        if isinstance(p, int):
            return sp.Integer(p)
        if isinstance(p, str):
            return self.lengths[p] if p in self.lengths else self.index[p]
        if p[0] == "at":
            return self.entry(p[1], p[2])
        kind = {"+": sp.Add, "*": sp.Mul, "mod": sp.Mod, "min": sp.Min, "max": sp.Max, "abs": sp.Abs}[p[0]]
        return kind(*map(self.place, p[1:]))

    def entry(self, name: str, places: Sequence[Tree]) -> Any:
        """An entry of an array."""
        base, at = self.arrays[name], tuple(map(self.place, places))
        return base[at if len(at) > 1 else at[0]]

    def __call__(self, e: Tree) -> Any:
        """The expression of a tree."""
        kind, *rest = e
        if kind in ("sum", "product"):
            limits = [(self.index[v], self.place(a), self.place(b)) for v, a, b in rest[1]]
            body = self(rest[0])
            if isinstance(body, sp.Sum | sp.Product) and isinstance(body.function, sp.Piecewise):
                if not {v for v, *_ in limits}.isdisjoint(body.variables):
                    raise ValueError("SymPy takes a branch out of a sum, and its index for that of the outer one")
            return (sp.Sum if kind == "sum" else sp.Product)(body, *limits)
        if kind in ("add", "mul"):
            return (sp.Add if kind == "add" else sp.Mul)(*map(self, rest))
        if kind == "if":
            relation, a, b = rest[0]
            condition = RELATIONS[relation][0](self.place(a), self.place(b))
            return sp.Piecewise((self(rest[1]), condition), (self(rest[2]), True))
        leaves: dict[str, Callable[[], Any]] = {
            "num": lambda: sp.Float(rest[0]),
            "par": lambda: sp.Symbol(rest[0]),
            "index": lambda: self.place(rest[0]),
            "get": lambda: self.entry(*rest),
            "call": lambda: FUNCTIONS[rest[0]][0](self(rest[1])),
            "delta": lambda: sp.KroneckerDelta(self.place(rest[0]), self.place(rest[1])),
            "subs": lambda: sp.Subs(self(rest[0]), self.index[rest[1]], self.place(rest[2])),
        }
        return leaves[kind]()


class Loops:
    """Trees by loops over arrays of numbers; `own` holds entries that are arguments by themselves."""

    def __init__(self, values: Mapping[str, Any], own: Mapping[tuple[str, tuple[int, ...]], Any]) -> None:
        self.values, self.own = values, own
        self.largest = 1.0  # of all that was computed, to which rounding is relative

    def place(self, p: Tree, at: Mapping[str, int]) -> int:
        """A place or bound as a number."""
        if isinstance(p, int):
            return p
        if isinstance(p, str):
            return at[p] if p in at else int(self.values[p])
        if p[0] == "at":
            return int(self.entry(p[1], p[2], at))
        found = [self.place(q, at) for q in p[1:]]
        kind: Callable[..., int] = {"+": lambda *x: sum(x), "*": lambda *x: math.prod(x), "mod": lambda a, b: a % b,
                                    "min": min, "max": max, "abs": abs}[p[0]]  # fmt: skip
        return kind(*found)

    def entry(self, name: str, places: Sequence[Tree], at: Mapping[str, int]) -> Any:
        """An entry; IndexError if it is outside. Computed places count from the end where they are negative."""
        place = tuple(self.place(p, at) for p in places)
        if any(k < 0 and not names(p) & COMPUTED for k, p in zip(place, places, strict=True)):
            raise IndexError(f"{name}{list(place)}")
        own = self.own.get((name, place))
        return self.values[name][place] if own is None else own

    def repeated(self, kind: str, body: Tree, limits: Sequence[Tree], at: Mapping[str, int]) -> Any:
        """A sum or product over the last index, which is the outermost, of the rest.

        Bounds that are exchanged mean minus a sum, as by Karr; where they depend on outer indices, nothing.
        """
        if not limits:
            return self(body, at)
        *inner, limit = limits
        low, high = (self.place(p, at) for p in limit[1:])
        swapped = high < low - 1 and not names(limit[1:]) & set("ijk")
        steps = range(high + 1, low) if swapped else range(low, high + 1)
        found = [self.repeated(kind, body, inner, {**at, limit[0]: k}) for k in steps]
        result = sum(found) if kind == "sum" else math.prod(found)
        self.largest = max([self.largest, *map(abs, found)])
        if not swapped or kind == "sum":
            return -result if swapped else result
        return 1 / result if result else math.inf

    def __call__(self, e: Tree, at: Mapping[str, int]) -> Any:
        """The value of a tree, with indices at places."""
        kind, *rest = e
        if kind in ("sum", "product"):
            return self.repeated(kind, rest[0], rest[1], at)
        if kind == "add":
            return sum(self(r, at) for r in rest)
        if kind == "mul":  # times 0 nothing is read, as SymPy drops the term
            first = sorted(rest, key=lambda r: r[0] not in ("delta", "index", "mul"))
            result = self(first[0], at)
            return result and result * math.prod(self(r, at) for r in first[1:])
        if kind == "if":
            relation, a, b = rest[0]
            return self(rest[1] if RELATIONS[relation][1](self.place(a, at), self.place(b, at)) else rest[2], at)
        leaves: dict[str, Callable[[], Any]] = {
            "num": lambda: rest[0],
            "par": lambda: self.values[rest[0]],
            "index": lambda: self.place(rest[0], at),
            "get": lambda: self.entry(*rest, at),
            "call": lambda: FUNCTIONS[rest[0]][1](self(rest[1], at)),
            "delta": lambda: float(self.place(rest[0], at) == self.place(rest[1], at)),
            "subs": lambda: self(rest[0], {**at, rest[1]: self.place(rest[2], at)}),
        }
        value = leaves[kind]()
        self.largest = max(self.largest, abs(value))
        return value
