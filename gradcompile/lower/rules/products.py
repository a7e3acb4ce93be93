"""Contractions as matrix products of parts of arrays, in loops over the labels that are no part of the matrices.

Each axis of an operand has a *label*; axes of one label are multiplied entry by entry, and summed where the result does
not have it. Of the labels one may be that of rows, one that of columns, one that of the sums: which they are is chosen
so that the products are large and that the matrices lie in memory as BLAS takes them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from itertools import product as cartesian
from math import prod

from gradcompile.ir.core import Node
from gradcompile.ir.types import Dim, dim_product, dim_value
from gradcompile.loops.expressions import EVERY, Expression, element, name, operation, transposed
from gradcompile.loops.ir import Assign, Loop, Statement, turns
from gradcompile.lower.blocks.prepare import as_loops, sizes
from gradcompile.lower.memory.entries import Memory
from gradcompile.lower.memory.lengths import ZERO, dim_expression
from gradcompile.lower.nests.context import Context
from gradcompile.lower.nests.places import NOTHING, Destination
from gradcompile.lower.rules.elementwise import reduce_entries

Labels = tuple[int, ...]
Chosen = tuple[int | None, int | None, int]  # of rows, columns and sums
NAMED = 500  # what a named dimension counts as when products are chosen


@dataclass(frozen=True, slots=True)
class Operand:
    """An array with a label for each of its axes as they lie in memory; dense: whether these can be seen as one."""

    name: str
    labels: Labels
    dense: bool = False

    @property
    def last(self) -> int:
        """The label of the axis whose entries are neighbours."""
        return self.labels[-1]

    def counted(self, chosen: Chosen, size: Mapping[int, Dim]) -> Iterator[Dim]:
        """How long the axes of the matrices are, and how far apart neighbours along them lie."""
        for k, label in enumerate(self.labels):
            if label in chosen:
                yield size[label]
                yield dim_product(*(size[x] for x in self.labels[k + 1 :]))

    def matrix(self, wanted: Sequence[int], variables: Mapping[int, Expression]) -> Expression:
        """The matrix or vector over the wanted labels, in that order, at the places of the loops."""
        index = [variables.get(label, EVERY) if label not in wanted else EVERY for label in self.labels]
        while index and index[-1] == EVERY:
            index.pop()
        left = [label for label in self.labels if label in wanted]
        part = element(name(self.name), index)
        return part if left == list(wanted) else transposed(part)


@dataclass(slots=True)
class Contraction:
    """A contraction that is being lowered: its operands as they lie, the labels of the result, and all dimensions.

    goal: where the result goes, if that is given. parts: the labels that a label of several axes stands for.
    """

    a: Operand
    b: Operand
    goal: Operand | None
    result: Labels
    size: dict[int, Dim]
    parts: dict[int, Labels]

    @property
    def operands(self) -> list[Operand]:
        """All arrays that are there."""
        return [x for x in (self.a, self.b, self.goal) if x is not None]

    def pair(self) -> tuple[int, int] | None:
        """Two labels that may be one: neighbours in every array that has them, and no array has only one."""
        for x in self.operands:
            for p, q in pairwise(x.labels):
                if all(self.are_one(y, p, q) for y in self.operands) and (p in self.result) == (q in self.result):
                    return p, q
        return None

    @staticmethod
    def are_one(x: Operand, p: int, q: int) -> bool:
        """Whether two axes of an array can be seen as one, or it has neither."""
        if p not in x.labels or q not in x.labels:
            return p not in x.labels and q not in x.labels
        return x.labels.index(q) == x.labels.index(p) + 1 and x.dense

    def merge(self, p: int, q: int) -> None:
        """See two labels as one."""
        new = max(self.size) + 1
        self.size[new] = dim_product(self.size.pop(p), self.size.pop(q))
        self.parts[new] = (*self.parts.pop(p, (p,)), *self.parts.pop(q, (q,)))
        self.a, self.b = (replace(x, labels=joined_labels(x.labels, p, q, new)) for x in (self.a, self.b))
        self.goal = self.goal and replace(self.goal, labels=joined_labels(self.goal.labels, p, q, new))
        self.result = joined_labels(self.result, p, q, new)

    def view(self, stages: Context, x: Operand) -> Operand:
        """The array with merged axes, under a name of its own if it has any."""
        if not any(label in self.parts for label in x.labels):
            return x
        return replace(x, name=stages.storage.reshaped(x.name, tuple(self.size[label] for label in x.labels)))


def joined_labels(labels: Labels, p: int, q: int, new: int) -> Labels:
    """Labels with one for two."""
    return tuple(new if label == p else label for label in labels if label != q)


def plan_contraction(stages: Context, n: Node, to: Destination | None) -> None:
    """Plan a contraction as matrix products, or as loops where the operands do not lie right for these."""
    a, b = (operand_place(stages, x, labels) for x, labels in zip(n.args, n.params, strict=False))
    goal = None if to is None else labelled_array(to.memory, n.params[2])
    c = Contraction(a, b, goal, n.params[2], sizes(n), {})
    while (found := c.pair()) is not None:
        c.merge(*found)
    chosen = best_labels(c)
    if chosen is None:
        reduce_entries(stages, n, as_loops(n), to)
        return
    if c.goal is None:
        c.goal = made(stages, n, c, chosen)
    elif to is not None and not to.add:
        stages.memory[n] = to.memory
    made_in, add = c.goal.name, to is not None and to.add
    lines = statements(stages, c, chosen, add, stages.comment_for(n, to))
    sources = [x if x in stages.memory else x.args[0] for x in n.args]  # a leaf that was to be stored anew is not
    stages.schedule.call(sources, {n: made_in}, lambda: lines)


def labelled_array(memory: Memory, labels: Labels) -> Operand:
    """An array with labels for the axes of the node that it holds."""
    return Operand(memory.name, tuple(labels[k] for k in memory.order), memory.dense)


def made(stages: Context, n: Node, c: Contraction, chosen: tuple[int | None, int | None, int]) -> Operand:
    """A new array for the result: the axes of the matrices last, of these the one that runs in lanes."""
    matrix = [label for label in chosen[:2] if label is not None]
    last = n.params[2][stages.layout.last(n.type.shape)]
    matrix.sort(key=lambda label: (c.size[label] == stages.lane, last in c.parts.get(label, (label,))))
    labels = (*(label for label in c.result if label not in matrix), *matrix)
    order = tuple(n.params[2].index(x) for label in labels for x in c.parts.get(label, (label,)))
    memory = stages.storage.hold(n, stages.naming.name(n), order)
    return Operand(memory.name, labels, memory.dense)


def operand_place(stages: Context, x: Node, labels: Labels) -> Operand:
    """Where an operand stands."""
    return labelled_array(stages.materialized(x), labels)


def weight(label: int | None, size: dict[int, Dim]) -> int:
    """What a label counts for."""
    return 1 if label is None else dim_value(size[label], defaultdict(lambda: NAMED))


def best_labels(c: Contraction) -> Chosen | None:
    """The labels of rows, columns and sums of the matrix products that do most at once; None if none fits memory."""
    rows: list[int | None] = [x for x in c.a.labels if x in c.result and x not in c.b.labels]
    columns: list[int | None] = [x for x in c.b.labels if x in c.result and x not in c.a.labels]
    sums = [x for x in c.a.labels if x not in c.result]
    fitting = [
        (row, column, inner) for row, column, inner in cartesian(rows or [None], columns or [None], sums)
        if c.a.last in (row, inner) and c.b.last in (column, inner) and (c.goal is None or c.goal.last in (row, column))
    ]  # fmt: skip
    return max(fitting, key=lambda found: prod(weight(label, c.size) for label in found), default=None)


def statements(stages: Context, c: Contraction, chosen: Chosen, add: bool, comment: str) -> list[Statement]:
    """The matrix product, in loops over the labels that are no part of it; add: to what is there."""
    a, b, goal = (c.view(stages, x) for x in c.operands)
    row, column, inner = chosen
    stages.naming.counted |= dict.fromkeys(d for x in (a, b, goal) for d in x.counted(chosen, c.size))
    rest = [label for label in c.size if label not in chosen and c.size[label] != 1]
    variables = {label: name(stages.naming.loop(k + 1)) for k, label in enumerate(rest)}
    variables |= {label: ZERO for label in c.size if label not in chosen and c.size[label] == 1}
    adds = [label for label in rest if label not in goal.labels]
    left, right = [x for x in (row, inner) if x is not None], [x for x in (inner, column) if x is not None]
    if [label for label in goal.labels if label in chosen] == [column, row]:
        a, b, left, right = b, a, right[::-1], left[::-1]
    place = element(name(goal.name), [variables.get(label, EVERY) for label in goal.labels])
    value = operation("@", a.matrix(left, variables), b.matrix(right, variables))
    body: list[Statement] = [Assign(place, value, comment, "+=" if adds or add else "=")]
    for label in reversed([*(x for x in rest if x not in adds), *adds]):
        body = [Loop(variables[label].word, turns(dim_expression(c.size[label])), body)]
    everything = element(name(goal.name), [EVERY] * len(goal.labels))
    return [*([Assign(everything, NOTHING)] if adds and not add else []), *body]


MAKERS = {"dot": plan_contraction}
