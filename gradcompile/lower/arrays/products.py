"""Stages that are calls: contractions as matrix products of parts of arrays, and routines for one matrix or row."""

from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import TYPE_CHECKING

from gradcompile.ir import Node, apply
from gradcompile.lower.arrays.entries import Memory
from gradcompile.lower.arrays.prepare import sizes
from gradcompile.lower.arrays.texts import text_of
from gradcompile.lower.loopir import Line, Loop, Statement
from gradcompile.types import Dim, dim_product, dim_value

if TYPE_CHECKING:
    from gradcompile.lower.arrays.stages import Stages, Target

Labels = tuple[int, ...]
NAMED = 500  # what a named dimension counts as when products are chosen
ROUTINES = {"det": 0, "logabsdet": 0, "detsign": 0, "cholesky": 2, "eigvals": 1, "eigvecs": 2, "solve": 2, "argsort": 1}


@dataclass(frozen=True, slots=True)
class Operand:
    """An array with a label for each of its axes as they lie in memory."""

    name: str
    labels: Labels

    @property
    def last(self) -> int:
        """The label of the axis whose entries are neighbours."""
        return self.labels[-1]

    def text(self, wanted: Sequence[int], variables: dict[int, str]) -> str:
        """The matrix or vector over the wanted labels, in that order, at the places of the loops."""
        parts = [variables.get(label, ":") if label not in wanted else ":" for label in self.labels]
        while parts and parts[-1] == ":":
            parts.pop()
        text = f"{self.name}[{', '.join(parts)}]" if parts else self.name
        left = [label for label in self.labels if label in wanted]
        return text if left == list(wanted) else f"{text}.T"


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

    def pair(self, dense: Container[str]) -> tuple[int, int] | None:
        """Two labels that may be one: neighbours in every array that has them, and no array has only one."""
        for x in self.operands:
            for p, q in pairwise(x.labels):
                if all(self.are_one(y, p, q, dense) for y in self.operands) and (p in self.result) == (q in self.result):
                    return p, q
        return None

    @staticmethod
    def are_one(x: Operand, p: int, q: int, dense: Container[str]) -> bool:
        """Whether two axes of an array can be seen as one, or it has neither."""
        if p not in x.labels or q not in x.labels:
            return p not in x.labels and q not in x.labels
        return x.labels.index(q) == x.labels.index(p) + 1 and x.name in dense

    def merge(self, p: int, q: int) -> None:
        """See two labels as one."""
        new = max(self.size) + 1
        self.size[new] = dim_product(self.size.pop(p), self.size.pop(q))
        self.parts[new] = (*self.parts.pop(p, (p,)), *self.parts.pop(q, (q,)))
        self.a, self.b = (replace(x, labels=joined(x.labels, p, q, new)) for x in (self.a, self.b))
        self.goal = self.goal and replace(self.goal, labels=joined(self.goal.labels, p, q, new))
        self.result = joined(self.result, p, q, new)

    def view(self, stages: "Stages", x: Operand) -> Operand:
        """The array with merged axes, under a name of its own if it has any."""
        if not any(label in self.parts for label in x.labels):
            return x
        return replace(x, name=stages.seen_as(x.name, tuple(self.size[label] for label in x.labels)))


def joined(labels: Labels, p: int, q: int, new: int) -> Labels:
    """Labels with one for two."""
    return tuple(new if label == p else label for label in labels if label != q)


def plan(stages: "Stages", n: Node, target: "Target | None") -> bool | None:
    """Put a contraction as matrix products into the stages; None if its operands do not lie right for it."""
    a, b = (operand(stages, x, labels) for x, labels in zip(n.args, n.params, strict=False))
    result = n.params[2]
    goal = None if target is None else Operand(target.memory.name, tuple(result[k] for k in target.memory.order))
    c = Contraction(a, b, goal, result, sizes(n), {})
    dense = stages.contiguous()
    while (found := c.pair(dense)) is not None:
        c.merge(*found)
    chosen = choice(c.a, c.b, c.goal, c.result, c.size, stages.lane)
    if chosen is None:
        return None
    if c.goal is None:
        c.goal = made(stages, n, c, chosen)
    elif target is not None and not target.add:
        stages.memory[n] = target.memory
    name = c.goal.name
    lines = statements(stages, tuple(c.view(stages, x) for x in c.operands), chosen, c.size, n, target)
    stages.call(n.args, n, name, lambda: lines)
    return True


def made(stages: "Stages", n: Node, c: Contraction, chosen: tuple[int | None, int | None, int]) -> Operand:
    """A new array for the result: the axes of the matrices last, of these the one that runs in lanes."""
    matrix = [label for label in chosen[:2] if label is not None]
    last = n.params[2][stages.layout.last(n.type.shape)]
    matrix.sort(key=lambda label: (c.size[label] == stages.lane, last in c.parts.get(label, (label,))))
    labels = (*(label for label in c.result if label not in matrix), *matrix)
    order = tuple(n.params[2].index(x) for label in labels for x in c.parts.get(label, (label,)))
    memory = Memory(stages.naming.name(n), order)
    stages.buffer(n, memory)
    return Operand(memory.name, labels)


def operand(stages: "Stages", x: Node, labels: Labels) -> Operand:
    """Where an operand stands."""
    memory = stages.standing(x)
    return Operand(memory.name, tuple(labels[k] for k in memory.order))


def weight(label: int | None, size: dict[int, Dim]) -> int:
    """What a label counts for."""
    return 1 if label is None else dim_value(size[label], defaultdict(lambda: NAMED))


def choice(
    a: Operand, b: Operand, goal: Operand | None, result: Labels, size: dict[int, Dim], lane: Dim | None
) -> tuple[int | None, int | None, int] | None:
    """The labels of rows, columns and sums of the matrix products that do most at once; None if none fits memory."""
    rows = [x for x in a.labels if x in result and x not in b.labels] or [None]
    columns = [x for x in b.labels if x in result and x not in a.labels] or [None]
    sums = [x for x in a.labels if x not in result]
    fitting = [
        c for c in product(rows, columns, sums)
        if a.last in (c[0], c[2]) and b.last in (c[1], c[2]) and (goal is None or goal.last in c[:2])
    ]  # fmt: skip
    return max(fitting, key=lambda c: weight(c[0], size) * weight(c[1], size) * weight(c[2], size), default=None)


def statements(
    stages: "Stages", operands: Sequence[Operand], chosen: tuple[int | None, int | None, int],
    size: dict[int, Dim], n: Node, target: "Target | None",
) -> list[Statement]:  # fmt: skip
    """The matrix product, in loops over the labels that are no part of it."""
    a, b, goal = operands
    row, column, inner = chosen
    rest = [label for label in size if label not in chosen]
    variables = {label: stages.naming.loop(k + 1) for k, label in enumerate(rest)}
    adds = [label for label in rest if label not in goal.labels]
    left, right = [x for x in (row, inner) if x is not None], [x for x in (inner, column) if x is not None]
    own = [label for label in goal.labels if label in chosen]
    if own == [column, row]:
        a, b, left, right = b, a, right[::-1], left[::-1]
    parts = [variables.get(label, ":") for label in goal.labels]
    add = "+" if adds or (target is not None and target.add) else ""
    comment = stages.said(n, target)
    line = Line(f"{goal.name}[{', '.join(parts)}] {add}= {a.text(left, variables)} @ {b.text(right, variables)}", comment)
    body: list[Statement] = [line]
    for label in reversed([*(x for x in rest if x not in adds), *adds]):
        body = [Loop(f"for {variables[label]} in range({text_of(size[label])})", body)]
    if adds and not (target is not None and target.add):
        body = [Line(f"{goal.name}[{', '.join(':' * len(goal.labels))}] = 0.0"), *body]
    return body


def routine(stages: "Stages", n: Node, target: "Target | None") -> None:
    """A call for each matrix or row of a batch."""
    args = [stages.row_major(x) for x in n.args]
    axes = 1 if n.op.name == "argsort" else 2
    batch = n.args[0].type.shape[:-axes]
    variables = [stages.naming.loop(len(batch) - k) for k in range(len(batch))]
    at = f"[{', '.join(variables)}]" if batch else ""
    name = f"solve_{n.params[0]}" if n.op.name == "solve" else n.op.name
    given = ", ".join(stages.memory[x].name + at for x in args)
    if ROUTINES[n.op.name] == 0 and not batch:
        result, number = stages.naming.name(n), f"{name}({given})"
        stages.memory[n] = Memory(result, ())
        number = f"float32({number})" if n.type.dtype == "float32" else number
        line = Line(f"{result} = {number}", stages.said(n, target))
    else:
        result = stages.naming.name(n)
        stages.buffer(n, Memory.plain(result, n, n.type.dtype == "int64"))
        call = f"{result}{at} = {name}({given})" if ROUTINES[n.op.name] == 0 else f"{name}({result}{at}, {given})"
        line = Line(call, stages.said(n, target))
    body: list[Statement] = [line]
    for variable, d in reversed(list(zip(variables, batch, strict=True))):
        body = [Loop(f"for {variable} in range({text_of(d)})", body)]
    stages.call(args, n, result, lambda: body)
    if target is not None and n.type.shape:
        stages.copy(target)


def same(x: Node) -> Node:
    """A node of the same entries, to be stored anew."""
    return apply("stop_gradient", x)
