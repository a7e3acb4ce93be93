"""The backpropagation of a loss as on a blackboard: every node with its value and its adjoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradcompile.analysis.evaluate import evaluate
from gradcompile.analysis.formula import formulas
from gradcompile.diff import reverse
from gradcompile.ir.algebra import is_neg
from gradcompile.ir.core import Node, is_const, is_leaf
from gradcompile.ir.graph import topological
from gradcompile.lower.program import Naming
from gradcompile.ops.shape import is_broadcast, is_iota, is_item
from gradcompile.signature.arguments import Problem
from gradcompile.signature.names import Namer
from gradcompile.signature.program import Program


class Row(NamedTuple):
    """One node: its name, its formula, its value, and dL/d(node), None for an input."""

    name: str
    formula: str
    value: Any
    adjoint: Any


@dataclass(frozen=True, slots=True)
class Explanation:
    """The rows from the leaves to the loss; printed as a table."""

    rows: list[Row]

    def __str__(self) -> str:
        cells = [("name", "formula", "value", "adjoint")]
        cells += [(r.name, r.formula, short(r.value), short(r.adjoint)) for r in self.rows]
        widths = [max(len(row[k]) for row in cells) for k in range(4)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])

    def __repr__(self) -> str:
        return str(self)


def short(value: Any) -> str:
    """A value in a cell: a number, or the first entries of an array."""
    if value is None:
        return "-"
    flat = np.ravel(value)
    text = ", ".join(f"{float(v):.6g}" for v in flat[:3])
    return text if np.ndim(value) == 0 else f"[{text}{', ...' if flat.size > 3 else ''}]"


def explain(problem: Problem, loss: Node, values: Mapping[Node, Any]) -> Explanation:
    """The rows of a loss at the values of its leaves.

    The adjoint of v is dL/dv, by reverse mode; that of an array is an array.
    """
    nodes = [n for n in topological([loss]) if n is loss or not hidden(n, problem)]
    inputs = {a.leaf for a in problem.inputs}
    found = reverse.adjoints(loss, nodes, params=[a.leaf for a in problem.params])
    wanted = [n for n in nodes if n in found and n not in inputs and not below(n, inputs)]
    results = dict(
        zip(
            [*nodes, *(("adjoint", n) for n in wanted)],
            evaluate([*nodes, *(found[n] for n in wanted)], values),
            strict=True,
        )
    )
    naming = Naming(Program(loss, (), problem.params, problem.inputs, problem.names, {}, {}), Namer())
    naming.known[loss] = naming.fresh("loss")
    texts = formulas(nodes, dict(problem.names), 60)
    names = [problem.names.get(n) or naming.name(n) for n in nodes]
    return Explanation(
        [Row(name, texts[n], results[n], results.get(("adjoint", n))) for name, n in zip(names, nodes, strict=True)]
    )


def hidden(n: Node, problem: Problem) -> bool:
    """Whether the node has no row: numbers, negatives (a difference shows them), what is shown by its entries.

    Of arrays, repetitions and indices have no row either, as they read like what they are made of.
    """
    if is_leaf(n):
        return n not in problem.symbols and not problem.arrays
    if is_const(n) or is_neg(n) or n.op.by_shape:
        return True
    return problem.arrays and (is_broadcast(n) or is_iota(n) or n.op.entrywise)


def below(n: Node, inputs: Sequence[Node] | set[Node]) -> bool:
    """Whether the node is an entry of an input."""
    return is_item(n) and n.args[0] in inputs
