"""How many digits each node of a loss loses: its value in doubles against many digits, and its condition number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcompile.analysis.evaluate import exact_values
from gradcompile.analysis.formula import formulas
from gradcompile.explain.blackboard import named, shown
from gradcompile.explain.record import Record, record
from gradcompile.ir.core import Node, is_leaf
from gradcompile.passes.stabilize import Rewrite
from gradcompile.signature.arguments import Problem

DIGITS = 50
ENOUGH = 2.0  # digits that may go before a node is named: what some roundings one after the other cost


@dataclass(frozen=True, slots=True)
class Loss:
    """What a node loses: digits in all, and how many more than its operands had lost.

    condition: by how much it enlarges relative errors of its operands, None where it does not work entry by entry.
    """

    name: str
    formula: str
    value: Any
    digits: float
    more: float
    condition: float | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The digits that a loss loses as it is written, and as it is compiled; `str` of it is a sentence and a table.

    rows: of the nodes, arguments first.  guilty: the one that loses most, None where nothing is lost.
    written, compiled: digits lost by the loss in the two forms.  rewrites: what was changed for accuracy.
    """

    rows: tuple[Loss, ...]
    guilty: Loss | None
    written: float
    compiled: float
    rewrites: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        if self.guilty is None:
            head = f"As it is written the loss keeps its digits: {self.written:.1f} are lost."
        else:
            g = self.guilty
            condition = "" if g.condition is None else f" (condition number {g.condition:.2g})"
            head = (f"As it is written the loss loses {self.written:.1f} digits, {g.more:.1f} of them at {g.name} = "
                    f"{g.formula}{condition}. Compiled it loses {self.compiled:.1f}")  # fmt: skip
            helped = self.written - self.compiled > ENOUGH and self.rewrites
            head += f", by {'; '.join(f'{a} -> {b}' for a, b in self.rewrites[:4])}." if helped else "."
        losers = [r for r in self.rows if r.more > 1]
        lines = [f"{r.digits:5.1f} digits lost, {r.more:5.1f} here  {r.name} = {r.formula}" for r in losers]
        return "\n".join([head, *lines])

    def __repr__(self) -> str:
        return str(self)


def diagnose(
    problem: Problem, formula: Node, stable: Node, leaves: Mapping[Node, Any], rewrites: Iterable[Rewrite]
) -> Diagnosis:
    """Each node of the formula as it is written against many digits, and the loss in both forms."""
    written, compiled = record(problem, formula, leaves), record(problem, stable, leaves)
    exact = in_many_digits(written)
    lost = {n: digits_lost(n, written.values[n], exact[n]) for n in written.order}
    whole, after = lost[written.loss], digits_lost(compiled.loss, compiled.values[compiled.loss], exact[written.loss])
    nodes = [n for n in shown(written) if n.type.dtype.startswith("float")]
    names, texts = named(written, nodes), formulas(nodes, dict(written.problem.names), 60)
    more = {n: lost[n] - max((lost[a] for a in n.args if a in lost), default=0.0) for n in nodes}
    found = {n: Loss(names[n], texts[n], written.values[n], lost[n], more[n], condition(written, n)) for n in nodes}
    guilty = None if whole < ENOUGH else culprit(written, nodes, lost, more, whole)
    return Diagnosis(tuple(found[n] for n in nodes if not is_leaf(n)), None if guilty is None else found[guilty], whole,
                     after, tuple((r.before, r.after) for r in rewrites))  # fmt: skip


def in_many_digits(made: Record) -> dict[Node, Any]:
    """The value of every node in many digits."""
    import mpmath

    with mpmath.workdps(DIGITS):
        return exact_values([made.loss], made.leaves, made.dims)


def digits_lost(n: Node, value: Any, exact: Any) -> float:
    """The decimal digits of a value that are wrong, of its worst entry; 0 where it is as good as it can be."""
    if not n.type.dtype.startswith("float"):
        return 0.0
    eps = float(np.finfo(n.type.dtype).eps)
    errors = [relative(float(v), x) for v, x in zip(np.ravel(value), np.ravel(np.asarray(exact, object)), strict=True)]
    worst = max(errors, default=0.0)
    return float(np.clip(np.log10(max(worst, eps) / eps), 0.0, -np.log10(eps)))


def relative(value: float, exact: Any) -> float:
    """The relative error of a number, 1 where it is none though the exact one is."""
    import mpmath

    if not mpmath.isfinite(exact):
        return 0.0
    if not np.isfinite(value):
        return 1.0
    difference = abs(mpmath.mpf(value) - exact)
    return 0.0 if not difference else 1.0 if not exact else min(1.0, float(difference / abs(exact)))


def culprit(made: Record, nodes: Sequence[Node], lost: Mapping[Node, float], more: Mapping[Node, float],
            whole: float) -> Node | None:  # fmt: skip
    """The node that loses most beyond its operands, of those on the way from the loss that have lost as much.

    From the loss down to operands whose digits are missing as well: what the loss lacks comes along there.
    """
    carriers, pending = {made.loss}, [made.loss]
    while pending:
        for a in pending.pop().args:
            if a not in carriers and lost.get(a, 0.0) >= min(ENOUGH, whole / 2):
                carriers.add(a)
                pending.append(a)
    return max((n for n in nodes if n in carriers), key=more.__getitem__, default=None)


def condition(made: Record, n: Node) -> float | None:
    """The sum of |slope * operand / value|, of the worst entry."""
    edges = [e for e in made.edges[n] if e.sent is not None]
    if not edges or any(e.slope is None for e in edges):
        return None
    with np.errstate(all="ignore"):
        values = made.values
        parts = [np.abs(values[e.slope] * values[e.arg] / values[n]) for e in edges if e.slope is not None]
        worst = np.max(sum(parts[1:], parts[0]))
    return float(worst)
