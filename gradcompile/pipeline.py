"""From a problem to a kernel: the passes in their order, each with its reason.

`derive` goes from the value that was read to all graphs; `kernel_of` from these to a module's text. What a pass does is
said in `passes`; here is why it comes when it does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from gradcompile import passes
from gradcompile.analysis.cost import Cost, Growth, cost_of, growth_of
from gradcompile.analysis.formula import formulas, is_mean
from gradcompile.codegen import target
from gradcompile.collector import collector_paused
from gradcompile.diff.operators import Derived, Operator
from gradcompile.frontend.sympy.custom import custom_source
from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
from gradcompile.loops.kernel import Kernel
from gradcompile.lower import lowered
from gradcompile.lower.program import per_sample
from gradcompile.once import once
from gradcompile.ops.reduction import is_sum
from gradcompile.ops.ruled import unruled
from gradcompile.passes.stabilize import Rewrite
from gradcompile.signature.arguments import Problem
from gradcompile.signature.program import Label, Program

SHOWN = 8  # rewrites that a header lists
BREAK = "\n        "


class Graphs(NamedTuple):
    """The graph before and after each pass: roots, the value first, then the gradient by parameter.

    Of arrays, `stabilized` has its contractions as well. Printed, a root is a formula.
    """

    read: list[Node]
    stabilized: list[Node]
    differentiated: list[Node]
    simplified: list[Node]

    def __repr__(self) -> str:
        lines = []
        for stage, roots in self._asdict().items():
            texts = formulas(roots[:SHOWN], {}, 60)
            more = [f"and {len(roots) - SHOWN} more"] if len(roots) > SHOWN else []
            lines.append(f"{stage}: {'; '.join([*(texts[n] for n in roots[:SHOWN]), *more])}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for beside the loss and its arguments."""

    name: str = ""
    stabilize: bool = True
    cache: bool = True
    reroll: bool = True
    threads: int | None = None


@dataclass(frozen=True)
class Derivation:
    """All that follows from a problem: the graphs, the rewrites, what is computed from them, and what it costs."""

    graphs: Graphs
    rewrites: list[Rewrite]
    derived: Derived
    labels: dict[Node, Label]
    columns: tuple[Node, ...]

    @once
    def order(self) -> list[Node]:
        """All nodes that are computed, arguments first."""
        return topological(self.graphs.simplified)

    @once
    def cost(self) -> Cost:
        """Operations of the value, and of all."""
        roots = self.graphs.simplified
        alone, *_ = passes.looped(roots[:1])
        return cost_of(alone, roots, self.columns)

    @once
    def growth(self) -> Growth:
        """The time of a call, by the dimensions that it grows with."""
        return growth_of(self.graphs.simplified)


def prepared(problem: Problem, options: Options, operator: Operator | None = None) -> tuple[list[Node], list[Rewrite]]:
    """The value as it is differentiated, with what an operator wants beside it, and the rewrites.

    Simplified first, so that the passes after it see one form of each formula. Terms written one by one become
    reductions before anything else is made of them, so that what follows works on a handful of nodes. Stabilised before
    it is differentiated, so that the gradient is stable as well. Of arrays, contractions are found and loops made lean
    after that, since a dot hides the products and sums that rewrites look for.
    """
    primal = passes.simplified(problem.primals)
    # Before all else, so that what follows works on a handful of nodes; arrays have no terms written one by one.
    if options.reroll and not problem.arrays:
        primal = passes.rerolled(primal, [a.leaf for a in problem.params], [a.leaf for a in problem.inputs])
    # Of the formula as it stands: what rewrites make of it may be no sum of squares any more.
    beside = getattr(operator, "beside", None)
    if beside is not None:
        primal = [*primal, *passes.simplified(beside(problem, primal))]
    # Before differentiation, so that the gradient is stable as well.
    stable, rewrites = passes.stabilized(primal) if options.stabilize else (primal, [])
    # What needs no loop leaves it, and its derivative needs none either; products are found first, as they leave too.
    return (passes.looped(passes.contracted(stable)) if problem.arrays else stable), rewrites


@collector_paused()
def derive(problem: Problem, options: Options, operator: Operator) -> Derivation:
    """The graph of the values, and of what an operator makes of them, through all passes.

    What is simplified, hoisted and balanced last is all of it together, as its parts share most of what they do.
    """
    stable, rewrites = prepared(problem, options, operator)
    derived = operator(problem, stable)
    roots = derived.roots
    labels = {t: Label(n, is_tangent=True) for n, t in reversed(list(derived.tangents.items()))}
    labels |= {adjoint: Label(n) for n, adjoint in reversed(list(derived.adjoints.items()))}
    # Last, as these rules move where values are rounded: weights after loops, shared reciprocals, sums as trees.
    final, labels = passes.finished(*(contracted(roots, labels) if problem.arrays else (roots, labels)))
    columns = tuple(a.leaf for a in problem.inputs if a.is_sampled)
    graphs = Graphs(list(problem.primals), stable[: len(problem.primals)], roots, final)
    return Derivation(graphs, rewrites, derived.with_roots(final), labels, columns)


def contracted(roots: list[Node], labels: Mapping[Node, Label]) -> tuple[list[Node], dict[Node, Label]]:
    """The roots with contractions and lean loops, and the labels of what they stand on, carried over.

    The transpose of a loop has work that needs no loop, which leaves it first. Sums over samples are taken apart where
    that saves a pass over them, and only then are contractions found: they would hide those sums.
    """
    roots, labels = passes.labelled(unruled, roots, labels)  # derivatives that users state have been taken
    roots = passes.looped(roots)
    live = set(topological(roots))  # of the gradient's loops, only what needs a loop stays in them
    labels = {n: label for n, label in labels.items() if n in live}
    count = len(roots)
    # Before contractions are found again: a sum that waits for another sum needs one more pass over the samples.
    roots, labels = passes.labelled(lambda r: passes.distribute_sums(r[:count], r[0], r[count:]), roots, labels)
    return passes.labelled(lambda r: passes.contracted(r[:count], r[count:]), roots, labels)


@collector_paused()
def kernel_of(problem: Problem, derivation: Derivation, what: str, is_read: bool = True) -> Kernel:
    """The generated module of a problem, and how it may be run; is_read: with what it says to people."""
    derived, root, order = derivation.derived, derivation.graphs.simplified[0], derivation.order
    program = Program(
        derived.value, derived.outputs, problem.params, problem.inputs, order=order, arrays=problem.arrays, what=what
    )
    if not is_read:
        return lowered(program)
    names, forward = dict(problem.names), set(order[: order.index(root) + 1])
    labels = {n: label for n, label in derivation.labels.items() if n not in forward}
    tangents = {n for n, label in labels.items() if label.is_tangent}  # rules may make one of what it is the tangent of
    labels = {n: label for n, label in labels.items() if n not in tangents or label.of not in tangents}
    program = replace(program, names=names, labels=labels, comments=formulas([root], names, 44))
    sampled = problem.is_sampled if problem.arrays else any(map(per_sample, forward))
    custom = {name: custom_source(name) for name in {n.op.name for n in order} if name.startswith("custom_")}
    return lowered(program, header_of(problem, derivation, what, sampled), custom)


def may_be_taped(problem: Problem, derivation: Derivation) -> bool:
    """Whether it is worth trying to lower a problem to a tape: scalars in double precision, entry by entry."""
    if problem.arrays or problem.dtype != "float64" or target.is_disabled():
        return False
    return not any(n.op.name.startswith("custom_") for n in derivation.order)


def header_of(problem: Problem, derivation: Derivation, what: str, sampled: bool) -> str:
    """What the module's docstring says: the formula, the operation counts, a sample's if `sampled`, the rewrites."""
    cost = derivation.cost
    params, inputs = (", ".join(a.name for a in part) for part in (problem.params, problem.inputs))
    arguments = "; ".join(filter(None, (params, inputs)))
    unit = " a sample" if sampled else ""
    beside = derivation.derived.beside
    gradient = f", {cost.loss_and_gradient} with {beside} ({cost.ratio:.1f} times)" if beside else ""
    pairs = [(r.before, r.after) for r in derivation.rewrites[:SHOWN]]
    rewrites = "".join(f"\n    {a}{' ' if len(a + b) < 100 else BREAK}-> {b}" for a, b in pairs) or " none."
    more = f"\n    and {len(derivation.rewrites) - SHOWN} more" if len(derivation.rewrites) > SHOWN else ""
    counts = f"{cost.loss} operations for the {what}{gradient}{unit}."
    by_name = any(a.by_name for a in problem.inputs)
    order = "\nInputs come in the order of their names, as nobody stated another." if by_name else ""
    text = f"{what}({arguments}) = {formula_of(problem)}\n\n{counts} Rewrites:{rewrites}{more}{order}"
    return text.replace("\\", "\\\\").replace('"""', "'''")


def formula_of(problem: Problem) -> str:
    """The user's formula; the mean or the sum that was asked for beside it is written out."""
    primal, formula = problem.primal, problem.formula
    if problem.arrays:
        return formula
    around = "mean" if is_mean(primal) else "total" if is_sum(primal) else ""
    return f"{around}({formula})" if around and not formula.startswith(around + "(") else formula
