"""Why a gradient is zero, infinite or NaN: the path on which the adjoint ended, and what happened there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gradcompile.analysis.formula import formulas
from gradcompile.explain.blackboard import axis_of, named, shown
from gradcompile.explain.causes import (
    Cause,
    Place,
    bad,
    ended,
    first_bad,
    of_value,
    walk,
    why_bad,
    why_zero,
)
from gradcompile.explain.record import Record
from gradcompile.explain.writing import told
from gradcompile.ir.core import Node
from gradcompile.ir.graph import depends_on


@dataclass(frozen=True, slots=True)
class Why:
    """What became of the gradient of a parameter; `str` of it is a sentence.

    verdict: "healthy", "zero", "next to zero", "partly zero", "infinite", "NaN".  cause: a short name, or empty.
    node, formula: where.  share: of the entries there that matter.  sample, place: of the first bad entry.
    operands: its operands.  path: names from the loss to there, and on to the parameter.  others: further causes.
    """

    param: str
    verdict: str
    cause: str = ""
    sentence: str = ""
    node: str = ""
    formula: str = ""
    share: float = 1.0
    sample: int | None = None
    place: Place = ()
    operands: Mapping[str, float] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def fault(self) -> bool:
        """Whether the gradient is not as it should be."""
        return self.verdict != "healthy"

    def __str__(self) -> str:
        if not self.fault:
            return f"The gradient of {self.param} is healthy: {self.sentence}."
        head = f"The gradient of {self.param} is {self.verdict}: {self.cause}"
        where = f" at {self.node} = {self.formula}" if self.node and self.node != self.formula else f" at {self.node}"
        parts = [f"{head}{where if self.node else ''}: {self.sentence}"]
        if self.operands:
            found = ", ".join(f"{k} = {v:.6g}" for k, v in self.operands.items())
            at = f" at {list(self.place)}" if self.place else ""
            at = at if self.sample is None else f" in sample {self.sample}"
            parts.append(f"{found}{at}")
        if self.place:
            parts.append(f"{100 * self.share:.3g} % of the entries there")
        text = "; ".join(parts) + "."
        if self.path:
            text += f" Path: {' <- '.join(self.path)}."
        return text + (f" Also: {'; '.join(self.others)}." if self.others else "")

    def __repr__(self) -> str:
        return str(self)


def why(made: Record, name: str, param: Node | None) -> Why:
    """What became of the gradient of a parameter, None if it is not in the loss."""
    if param is None or param not in made.values:
        return Why(name, "zero", "unused", "the loss does not depend on it")
    gradient = made.adjoint(param)
    below = depends_on((n for n in made.order if not n.op.by_shape), [param])
    if gradient is not None and bad(gradient).any():
        return why_not_finite(made, name, param, below)
    alive, senders = walk(made, below, [made.loss])
    if param not in alive:
        return why_all_zero(made, name, param, below, alive, senders)
    zeros = np.asarray(gradient) == 0
    if zeros.any() and (found := dead_unit(made, below)) is not None:
        n, cause = found
        answer = report(made, name, "partly zero", cause, path_to(n, senders), ())
        return replace(answer, sentence=f"{int(zeros.sum())} of {zeros.size} entries; {cause.sentence}")
    return Why(name, "healthy", sentence=f"it is {told(gradient)}")


# Zero


def why_all_zero(
    made: Record, name: str, param: Node, below: set[Node], alive: set[Node], senders: Mapping[Node, Node]
) -> Why:
    """The edges at which the adjoint ended; the first from the loss is told, the others are named."""
    found = ended(made, below, alive)
    if not found:
        return Why(name, "zero", "unused", "the loss does not depend on it")
    n, arg, cause = found[0]
    others = dict.fromkeys(c.name for _, _, c in found[1:] if c.name != cause.name)
    path = [*path_to(n, senders), *path_down(arg, param, below)]
    verdict = "zero" if not np.any(made.adjoint(param)) else "next to zero"
    return report(made, name, verdict, cause, path, tuple(others))


def dead_unit(made: Record, below: set[Node]) -> tuple[Node, Cause] | None:
    """A node that sends nothing back to all samples of a unit, though an adjoint comes to it there."""
    axis = axis_of(made.problem)
    for n in made.order:
        if n not in below or n not in made.adjoints or n.type.shape[:1] != (axis,) or len(n.type.shape) < 2:
            continue
        for e in made.edges[n]:
            if e.slope is not None and e.arg in below and e.arg.type.shape == n.type.shape:
                live = np.asarray(made.adjoint(n)) != 0
                flat = live & (np.broadcast_to(made.values[e.slope], live.shape) == 0)
                dead = live.any(axis=0) & (flat == live).all(axis=0)
                if dead.any():
                    cause = why_zero(made, n, e)
                    units = ", ".join(
                        str(list(map(int, k)) if len(k) > 1 else int(k[0])) for k in np.argwhere(dead)[:4]
                    )
                    sentence = f"{cause.sentence}, for all samples of unit {units}"
                    return n, Cause(cause.name, sentence, n, float(dead.mean()), cause.place, cause.operands)
    return None


# Not finite


def why_not_finite(made: Record, name: str, param: Node, below: set[Node]) -> Why:
    """The first edge from the loss that sends what is no number, of those whose harm comes to the parameter."""
    harmed = carriers(made, param, below)
    verdict = "NaN" if np.isnan(made.adjoint(param)).any() else "infinite"
    share = float(np.mean(bad(made.adjoint(param))))
    for n in reversed(made.order):
        if n not in below or n not in made.adjoints or bad(made.adjoint(n)).any():
            continue
        for e in made.edges[n]:
            if e.arg in harmed and bad(made.sent(e)).any():
                cause = why_bad(made, n, e)
                path = [n, *path_down(e.arg, param, below)]
                return report(made, name, verdict, cause, path, ())
    for n in reversed(made.order):  # finite terms, whose sum is not
        if n in harmed and bad(made.adjoint(n)).any():
            cause = Cause("overflow", "the sum of the terms that it gets is beyond all numbers", n, share)
            return report(made, name, verdict, cause, path_down(n, param, below), ())
    raise AssertionError("an adjoint that is no number comes from somewhere")


def carriers(made: Record, param: Node, below: set[Node]) -> set[Node]:
    """The nodes whose adjoint is no number and is handed on, by such nodes alone, to the parameter."""
    found = {param}
    for n in made.order:
        if n in below and n in made.adjoints and bad(made.adjoint(n)).any():
            if any(e.arg in found and bad(made.sent(e)).any() for e in made.edges[n]):
                found.add(n)
    return found


# Telling


def path_to(n: Node, senders: Mapping[Node, Node]) -> list[Node]:
    """From the loss to a node that an adjoint comes to."""
    path = [n]
    while path[-1] in senders:
        path.append(senders[path[-1]])
    return path[::-1]


def path_down(n: Node, param: Node, below: set[Node]) -> list[Node]:
    """From a node to a parameter that it depends on."""
    path = [n]
    while path[-1] is not param:
        path.append(next(a for a in path[-1].args if a in below))
    return path


def report(made: Record, name: str, verdict: str, cause: Cause, path: Sequence[Node], others: tuple[str, ...]) -> Why:
    """The answer, by names."""
    nodes = shown(made)
    names, texts = named(made, nodes), formulas([made.loss], dict(made.problem.names), 60)
    axis = axis_of(made.problem)
    place, n = cause.place, cause.node
    sample = place[0] if place and n.type.shape[:1] == (axis,) else None
    called = {a: names.get(a, texts[a]) for a in cause.operands}
    operands = {called[a]: v for a, v in cause.operands.items()}
    steps = [names[x] for x in path if x in names]
    brief = steps if len(steps) <= 12 else [*steps[:5], "...", *steps[-6:]]
    return Why(name, verdict, cause.name, cause.sentence, names.get(n, texts[n]), texts[n], cause.share, sample, place,
               operands, tuple(brief), others)  # fmt: skip


def trouble(made: Record) -> str:
    """What is not finite, in a sentence: the gradient of the first parameter of which it is so, else the loss."""
    for a in made.problem.params:
        adjoint = made.adjoint(a.leaf) if a.leaf in made.values else None
        if adjoint is not None and bad(adjoint).any():
            return str(why(made, a.name, a.leaf))
    source = first_bad(made, made.loss) if bad(made.values[made.loss]).any() else None
    if source is None:
        return ""
    cause, value = of_value(made, source), float(made.values[made.loss])
    answer = report(made, "loss", "", cause, (), ())
    return f"The loss is {value:.4g}: {cause.name} at {answer.node} = {answer.formula}: {cause.sentence}."
