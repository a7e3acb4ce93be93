"""SymPy's flattening undone: sums and products that hold others are read as these and the rest.

`x = x + h*f` in a Python loop is a sum of k + 1 terms at step k, since SymPy writes sums out in sums; so are products,
with their powers collected, and a number is multiplied into each term of a sum. A loss of n steps then has n**2 terms,
where the loop had n. Here a sum is a vector, of terms with numbers; a product one, of bases with exponents. From the
shortest to the longest, each is read as multiples of earlier ones and a rest: as long as no number changes its sign, so
that nothing cancels that did not. What is left of a long one is a vector as well, for others to be read by, and two
rests that share most of their terms share a vector of those.

Only numbers and places are compared, at a cost that grows with the arguments that SymPy made. Where that saves little,
nothing is changed, and so no bit. A number that SymPy multiplied into terms may differ by its last bits from what it
was: it is taken for the same (ROUNDING), as SymPy's own roundings are no better known.
"""

import heapq
import math
import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy

from gradcompile.frontend.sympy.scalars import Context, Conversion, nearest, power, ratio, total
from gradcompile.ir.algebra import times
from gradcompile.ir.core import Node

FEWEST = 3  # terms of a sum that others are read by
LONG = 4  # terms of a rest that others may be read by
ALIKE = 4  # terms that two rests share, if a vector of these pays
FIRST = 6  # vectors that a reading may begin with
PART = 4  # how many times as long a vector may be as a multiple that is taken out of it
START = 6  # terms that a first vector of shared ones may have
MOST = 6  # multiples that one vector is read by
RECENT = 48  # vectors with one term in them that are remembered
YOUNG = 24  # terms of a vector that are looked up
TRIED = 20  # candidates that are compared term by term
SAVED, SHARE = 32, 4  # terms that have to be saved in all, and the share of all that this has to be
ROUNDING = 2.0**-49  # relatively: what numbers differ by that SymPy multiplied out

Vector = dict[Any, float]
Step = tuple[Any, Conversion, tuple[int, ...]]


@dataclass
class Reading:
    """A vector as multiples of others, by their places, and a rest."""

    rest: Vector
    multiples: list[tuple[float, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rest) + len(self.multiples)


class Vectors:
    """Vectors, each known by what it holds, and how they are read."""

    def __init__(self, scales: bool) -> None:
        self.scales = scales  # whether a vector may be taken any number of times, or once
        self.vectors: list[Vector] = []
        self.readings: dict[int, Reading] = {}
        self._places: dict[Hashable, int] = {}
        self._recent: dict[Any, list[int]] = {}  # the last vectors with a term in them

    def place(self, vector: Vector) -> int:
        """The place of a vector, which is entered if it is new."""
        key = frozenset(vector.items())
        if key not in self._places:
            self._places[key] = len(self.vectors)
            self.vectors.append(vector)
        return self._places[key]

    @property
    def size(self) -> int:
        """How many terms there are."""
        return sum(map(len, self.vectors))

    @property
    def repeated(self) -> int:
        """How many of them are not the first with what they hold, so that not having them all may save something."""
        return self.size - len({t for vector in self.vectors for t in vector})

    def read_all(self) -> int:
        """Read all vectors, from the shortest to the longest; how many terms that saves."""
        order = sorted(range(len(self.vectors)), key=lambda k: len(self.vectors[k]))
        for k in order:
            self._read(k)
        return sum(map(len, self.vectors[: len(order)])) - sum(map(len, self.readings.values()))

    def _read(self, k: int, depth: int = 2) -> None:
        """Read a vector by those before it, and enter it for those after it; depth is how far others are made of it."""
        if k not in self.readings:
            vector = self.vectors[k]
            reading = self._reading(vector, depth) if len(vector) > FEWEST else Reading(vector)
            self.readings[k] = self._factored(reading) if self.scales else reading
            if len(vector) >= FEWEST:
                for t in vector:
                    recent = self._recent.setdefault(t, [])
                    recent.append(k)
                    del recent[:-RECENT]

    def _reading(self, vector: Vector, depth: int) -> Reading:
        """The shortest reading of those that begin with the likeliest vectors."""
        counts = self._counts(vector)
        likely = self._likely(counts)
        found = [self._greedy(vector, begin) for begin in [likely, *([k] for k in likely[:FIRST])]]
        best = min(found, key=len)
        best = best if len(best) < len(vector) else Reading(vector)
        if depth and len(best) > LONG:
            best = min(best, self._shared(vector, counts), key=len)
        if depth == 2 and best.multiples and len(best.rest) >= LONG:
            rest = self.place(best.rest)
            self._read(rest, depth=1)
            return Reading({}, [*best.multiples, (1.0, rest)])
        return best

    def _likely(self, counts: Counter[int]) -> list[int]:
        """Vectors that may be in one: those that have most of its youngest terms, the longest first."""
        return sorted(counts, key=lambda k: (-counts[k], -len(self.vectors[k]), -k))[:TRIED]

    def _counts(self, vector: Vector) -> Counter[int]:
        """How many of the youngest terms of one vector, which few have, others have, if they are not longer."""
        young = heapq.nsmallest(YOUNG, vector, key=lambda t: len(self._recent.get(t, ())))
        counts = Counter(k for t in young for k in self._recent.get(t, ()))
        return Counter({k: c for k, c in counts.items() if len(self.vectors[k]) <= len(vector) + 1})

    def _greedy(self, vector: Vector, likely: Sequence[int]) -> Reading:
        """Multiples that take most terms away, one after the other, the first of them of those that are likely."""
        reading = Reading(vector)
        while len(reading.multiples) < MOST and len(reading.rest) >= FEWEST:
            if reading.multiples:
                likely = self._likely(self._counts(reading.rest))
            part = [k for k in likely if PART * len(self.vectors[k]) >= len(reading.rest)]
            taken = [(k, t) for k in part if (t := self._taken(self.vectors[k], reading.rest, vector)) is not None]
            if not taken:
                break
            k, (c, rest) = min(taken, key=lambda found: (len(found[1][1]), -len(self.vectors[found[0]])))
            reading = Reading(rest, [*reading.multiples, (c, k)])
        return reading

    def _taken(self, part: Vector, left: Vector, whole: Vector) -> tuple[float, Vector] | None:
        """The largest c with which c*part is in a vector, and what is left; None if it is not, or hardly anything goes.

        A number of times that is not whole has to take half of the part's terms away.
        """
        c = largest_multiple(part, left)
        if c is None or (not self.scales and c < 1):
            return None
        c = 1.0 if not self.scales else c
        rest = dict(left)
        for t, p in part.items():
            rest[t] -= c * p
            if abs(rest[t]) <= ROUNDING * abs(whole[t]):
                del rest[t]
        gone = len(left) - len(rest)
        return (c, rest) if gone and (c.is_integer() or 2 * gone >= len(part)) else None

    def _shared(self, vector: Vector, counts: Counter[int]) -> Reading:
        """A vector, and an earlier one with most of its terms, read by what they have in common."""
        for k, count in counts.most_common(TRIED):
            common = in_both(vector, self.vectors[k])
            left = less(self.vectors[k], common)
            if count < ALIKE or len(common) < ALIKE or len(left) + 1 >= len(self.readings[k]) or not left:
                continue
            place = self.place(common)
            self._read(place, depth=0)
            if len(self.readings[place]) > max(START, len(common) // 2):
                continue  # windows that slide share most of their terms, and no two of them the same ones
            self.readings[k] = self._factored(Reading(left, [(1.0, place)]))
            return Reading(less(vector, common), [(1.0, place)])
        return Reading(vector)

    def _factored(self, reading: Reading) -> Reading:
        """A reading with terms of one number, or that and its negative, as a multiple of a vector of these."""
        groups: dict[float, Vector] = {}
        for t, a in reading.rest.items():
            groups.setdefault(abs(a), {})[t] = math.copysign(1.0, a)
        for c, units in groups.items():
            if c != 1 and len(units) >= FEWEST:
                rest = {t: a for t, a in reading.rest.items() if t not in units}
                place = self.place(units)
                self._read(place, depth=0)
                reading = Reading(rest, [*reading.multiples, (c, place)])
        return reading


def largest_multiple(part: Vector, whole: Vector) -> float | None:
    """The largest c, in size, so that no number of whole - c*part has another sign than in whole; None if it is 0."""
    lowest, sign = float("inf"), 0.0
    for t, p in part.items():
        a = whole.get(t)
        if a is None:
            return None
        c = a / p
        if sign * c < 0:
            return None
        sign = 1.0 if c > 0 else -1.0
        lowest = min(lowest, abs(c))
    near = float(round(lowest))
    if abs(lowest - near) <= ROUNDING * near or (lowest > 1 and all(map(float.is_integer, part.values()))):
        lowest = near if near <= lowest * (1 + ROUNDING) else near - 1
    return sign * lowest


def in_both(x: Vector, y: Vector) -> Vector:
    """What two vectors have in common: equal numbers, and of whole numbers of one sign the smaller."""
    common: Vector = {}
    for t, a in x.items():
        b = y.get(t, 0.0)
        if a == b:
            common[t] = a
        elif a * b > 0 and a.is_integer() and b.is_integer():
            common[t] = min(a, b, key=abs)
    return common


def less(x: Vector, y: Vector) -> Vector:
    """x - y."""
    return {t: d for t, a in x.items() if (d := a - y.get(t, 0.0))}


# What SymPy wrote, as vectors


class Flattened:
    """The sums and products of a tape as vectors, and the nodes that come of their readings."""

    def __init__(self, steps: Sequence[Step], nodes: Sequence[Node]) -> None:
        self.steps, self.nodes = steps, nodes
        self.products, self.sums = Vectors(scales=False), Vectors(scales=True)
        self.product_at: dict[int, tuple[float, int]] = {}  # of a step: a number, and the place of its product
        self.sum_at: dict[int, int] = {}
        self.step_of: dict[Node, int] = {}  # where a node was built first
        self.terms: dict[tuple[int, float], int] = {}  # where a product with its number was built
        for p, (expr, how, parts) in enumerate(steps):
            self.step_of.setdefault(nodes[p], p)
            if is_scalar(expr, sympy.Mul, how):
                self._term(p)
            elif is_scalar(expr, sympy.Add, how):
                vector: Vector = {}
                for part in parts:
                    number, product = self._term(part)
                    vector[product] = vector.get(product, 0.0) + number
                if all(vector.values()):
                    self.sum_at[p] = self.sums.place(vector)

    def _term(self, p: int) -> tuple[float, int]:
        """A step as a number and a product."""
        if p not in self.product_at:
            expr, how, parts = self.steps[p]
            number, vector = 1.0, dict[Node, float]()
            if is_scalar(expr, sympy.Mul, how):
                for factor, part in zip(expr.args, parts, strict=True):
                    number *= self._enter(vector, factor, part)
            else:
                number = self._enter(vector, expr, p)
            self.product_at[p] = number, self.products.place({b: e for b, e in vector.items() if e})
            self.terms.setdefault((self.product_at[p][1], number), p)
        return self.product_at[p]

    def _enter(self, vector: Vector, factor: Any, p: int) -> float:
        """Enter a factor, as its base where it is a whole power, or stands below the line; a number is given back."""
        if factor.is_Number:
            return nearest(factor)
        base, exponent = self.nodes[p], 1.0
        if isinstance(factor, sympy.Pow) and factor.args[1].is_Number:
            if self.steps[p][0] is not factor:  # what stands below the line was built as its base
                exponent = nearest(factor.args[1])
            elif factor.args[1].is_Integer and factor.args[0] is not sympy.E:
                base, exponent = self.nodes[self.steps[p][2][0]], nearest(factor.args[1])
        vector[base] = vector.get(base, 0.0) + exponent
        return 1.0

    def read(self) -> bool:
        """Read all sums and products by each other; whether that saves enough."""
        found = (self.products, self.sums)
        least = max(SAVED, sum(v.size for v in found) // SHARE)
        return sum(v.repeated for v in found) >= least and sum(v.read_all() for v in found) >= least

    # Building: a task is a kind and a place

    def parts(self, task: tuple[str, int]) -> list[tuple[str, int]]:
        """What is built before a task."""
        kind, k = task
        if kind == "step":
            if self.sum_at.get(k) is not None and self.sums.readings[self.sum_at[k]].multiples:
                return [("total", self.sum_at[k])]
            if k in self.product_at and self.products.readings[self.product_at[k][1]].multiples:
                return [("product", self.product_at[k][1])]
            return [("step", p) for p in self.steps[k][2]]
        if kind == "total":
            reading = self.sums.readings[k]
            return [("total", j) for _, j in reading.multiples] + [self._of_term(t, c) for t, c in reading.rest.items()]
        reading = self.products.readings[k]
        return [("product", j) for _, j in reading.multiples] + [("step", self.step_of[b]) for b in reading.rest]

    def _of_term(self, product: int, number: float) -> tuple[str, int]:
        """The step that built a product with this number, else the product."""
        p = self.terms.get((product, number))
        return ("product", product) if p is None else ("step", p)

    def build(self, context: Context, task: tuple[str, int], built: Mapping[tuple[str, int], Node]) -> Node:
        """The node of a task whose parts are built."""
        kind, k = task
        parts = [built[p] for p in self.parts(task)]
        if kind == "step":
            return self._of_step(context, k, parts)
        if kind == "product":
            exponents = [1.0] * len(self.products.readings[k].multiples) + [*self.products.readings[k].rest.values()]
            return of_powers(context, parts, exponents)
        reading = self.sums.readings[k]
        numbers = [c for c, _ in reading.multiples]
        numbers += [c if self._of_term(t, c)[0] == "product" else 1.0 for t, c in reading.rest.items()]
        return total(context, *(multiplied(context, c, n) for c, n in zip(numbers, parts, strict=True)))

    def _of_step(self, context: Context, k: int, parts: Sequence[Node]) -> Node:
        """A step, of parts that may be others than before; as it was if they are not."""
        _, how, places = self.steps[k]
        tasks = self.parts(("step", k))
        if tasks and tasks[0][0] == "total":
            return parts[0]
        if tasks and tasks[0][0] == "product":
            return multiplied(context, self.product_at[k][0], parts[0])
        return self.nodes[k] if parts == [self.nodes[p] for p in places] else how.build(context, *parts)


def is_scalar(expr: Any, kind: Any, how: Conversion) -> bool:
    """Whether this is a sum or product of scalars."""
    return type(expr) is kind and len(how.parts) == len(expr.args) and not any(p.is_Matrix for p in how.parts)


def of_powers(context: Context, bases: Sequence[Node], exponents: Sequence[float]) -> Node:
    """The product of bases to their exponents, those below 0 under the line."""
    raised = [b if abs(e) == 1 else power(context, b, exact(abs(e))) for b, e in zip(bases, exponents, strict=True)]
    above, below = ([r for r, e in zip(raised, exponents, strict=True) if e * sign > 0] for sign in (1, -1))
    return ratio(context, above, below)


def exact(exponent: float) -> Any:
    """An exponent as a number of SymPy."""
    return sympy.Rational(int(2 * exponent), 2) if (2 * exponent).is_integer() else sympy.Float(exponent, 17)


def multiplied(context: Context, number: float, n: Node) -> Node:
    """A node times a number."""
    return n if number == 1 else -n if number == -1 else times(context.const(number), n)


def hint(found: Vectors) -> None:
    """Say once in a process how to write what SymPy wrote out."""
    global hinted
    if not hinted:
        hinted = True
        longest = max(map(len, found.vectors))
        warnings.warn(
            f"SymPy wrote sums or products out in one another, up to {longest} terms; they are read as they were"
            " before, but SymPy's time and memory grow with the square of the steps: build the formula within"
            " sympy.evaluate(False), add up many terms at once by sympy.Add(*terms), or write the loop as"
            " gradcompile.scan",
            UserWarning,
            stacklevel=2,
        )


hinted = False  # whether that was said


def unflattened(steps: Sequence[Step], nodes: Sequence[Node], context: Context, places: Iterable[int]) -> list[Node]:
    """The nodes at some places of a tape, with sums and products read by each other where that saves much."""
    sizes = [len(expr.args) for expr, _, _ in steps if type(expr) in (sympy.Add, sympy.Mul)]
    several = sorted(n for n in sizes if n >= FEWEST)[:-1]
    found = Flattened(steps, nodes) if 2 * sum(several) >= SAVED else None
    if found is None or not found.read():
        return [nodes[p] for p in places]
    hint(found.sums if found.sums.repeated > found.products.repeated else found.products)
    built: dict[tuple[str, int], Node] = {}
    return [node_of(found, context, ("step", p), built) for p in places]


def node_of(found: Flattened, context: Context, task: tuple[str, int], built: dict[tuple[str, int], Node]) -> Node:
    """Build a task after its parts, without recursion."""
    pending: list[tuple[str, int]] = [task]
    while pending:
        wanted = [p for p in found.parts(pending[-1]) if p not in built] if pending[-1] not in built else []
        if wanted:
            pending += wanted
        else:
            last = pending.pop()
            if last not in built:
                built[last] = found.build(context, last, built)
    return built[task]
