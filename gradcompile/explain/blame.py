"""Who pulls at a loss: its terms, the samples with the largest gradients, the parameters it is most sensitive to."""

from dataclasses import dataclass

import numpy as np

from gradcompile.analysis.formula import formulas
from gradcompile.explain.record import Record
from gradcompile.explain.writing import summary
from gradcompile.ir.algebra import is_add, is_neg
from gradcompile.ir.core import Node

MOST = 10  # samples that are listed


@dataclass(frozen=True, slots=True)
class Blame:
    """Shares of a loss; `str` of it is a table.

    terms: formula and value of each term; they add up to the loss.  samples: number, and share of the norms of all
    samples' gradients, the largest first; none of a loss that is no mean or sum of samples.  params: name, norm of the
    gradient, and by what the loss changes when the parameter grows by one in a hundred, to first order.
    """

    terms: tuple[tuple[str, float], ...]
    samples: tuple[tuple[int, float], ...]
    params: tuple[tuple[str, float, float], ...]

    def __str__(self) -> str:
        lines = ["term"] + [f"  {value:>12.6g}  {text}" for text, value in self.terms]
        if self.samples:
            lines += ["sample, share of all gradients"] + [f"  {k:>6}  {100 * s:.3g} %" for k, s in self.samples]
        lines += ["parameter, gradient, change of the loss by 1 % of it"]
        lines += [f"  {name:<12}{norm:>12.6g}{change:>12.6g}" for name, norm, change in self.params]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def blame(made: Record, norms: np.ndarray | None) -> Blame:
    """The terms, samples and parameters of a loss at some arguments; `norms`: of each sample's gradient."""
    nodes = terms(made.loss)
    texts = formulas([made.loss], dict(made.problem.names), 60)
    found = tuple((texts[n] if sign > 0 else f"-({texts[n]})", sign * float(made.values[n])) for n, sign in nodes)
    params = []
    for a in made.problem.params:
        value, gradient = np.asarray(made.leaves[a.leaf], float), made.adjoint(a.leaf)
        slope = np.zeros_like(value) if gradient is None else np.asarray(gradient, float)
        change = float(np.sum(0.01 * value * slope))
        params.append((a.name, float(summary(slope).get("norm", 0.0)), change))
    return Blame(found, pulls(norms), tuple(sorted(params, key=lambda p: -p[1])))


def terms(loss: Node) -> list[tuple[Node, int]]:
    """What a loss is a sum of, each with its sign."""
    found: list[tuple[Node, int]] = []
    pending = [(loss, 1)]
    while pending:
        n, sign = pending.pop()
        if is_add(n):
            pending += [(a, sign) for a in reversed(n.args)]
        elif is_neg(n):
            pending.append((n.args[0], -sign))
        else:
            found.append((n, sign))
    return found


def pulls(norms: np.ndarray | None) -> tuple[tuple[int, float], ...]:
    """The samples by the norm of their gradients, the largest first, as shares of all norms."""
    if norms is None or not np.sum(norms):
        return ()
    shares = norms / np.sum(norms)
    return tuple((int(k), float(shares[k])) for k in np.argsort(-shares, kind="stable")[:MOST])
