"""The backpropagation of a loss as on a blackboard: every node with its value, its adjoint, and what it sends back."""

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gradcompile.analysis.formula import ATOM, Text, formulas, is_relu, written
from gradcompile.errors import ArgumentError
from gradcompile.explain import writing
from gradcompile.explain.record import Edge, Record, below, hidden, shown_edges
from gradcompile.explain.rows import Operand, Row
from gradcompile.ir.algebra import is_select
from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
from gradcompile.ir.types import Dim
from gradcompile.lower.program import Naming
from gradcompile.ops.shape import is_broadcast
from gradcompile.signature.arguments import Problem
from gradcompile.signature.names import Namer
from gradcompile.signature.program import Program

LONGEST = 80  # letters of a rule that is written out


@dataclass(frozen=True, slots=True)
class Explanation:
    """The rows from the leaves to the loss; printed as a table, and the chain rule written out below it.

    By name: `e["wx"].adjoint`. In a notebook it is a table, `e.to("latex" | "json" | "markdown" | "html" | "text")` is
    for other places. `steps` has what is inside each scan, by its name, with the steps along axis 0.
    """

    rows: list[Row]
    steps: Mapping[str, list[Row]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Row:
        for r in self.rows:
            if r.name == name:
                return r
        known = ", ".join(r.name for r in self.rows[-12:])
        raise ArgumentError(f"no row is called {name!r}; the last ones are {known}")

    def to(self, form: Literal["text", "markdown", "json", "latex", "html"]) -> str:
        """The explanation for a terminal, a page of text, a program, a paper or a browser."""
        writers = {"text": writing.text, "markdown": writing.markdown, "json": writing.as_json,
                   "latex": writing.latex, "html": writing.html}  # fmt: skip
        if form not in writers:
            raise ArgumentError(f"to={form!r}: choose {', '.join(map(repr, writers))}")
        return writers[form](self.rows)

    def __str__(self) -> str:
        inside = [f"\ninside {name}, steps along axis 0\n{writing.table(r)}" for name, r in self.steps.items()]
        return "\n".join([self.to("text"), *inside])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.to("html")


def axis_of(problem: Problem) -> Dim | None:
    """The dimension that counts samples: the first one of an input that the call gives; None if there is none."""
    found = (d for a in problem.inputs for d in a.leaf.type.shape if isinstance(d, str))
    return next(found, None)


def of_sample(problem: Problem, which: Any) -> Callable[[Mapping[Node, Any]], Mapping[Node, Any]] | None:
    """A function that leaves one sample in the values of the leaves; None where all are asked for."""
    if which is None or which == "mean":
        return None
    axis = axis_of(problem)
    if axis is None or not isinstance(which, int | np.integer):
        wanted = "this loss has no samples" if axis is None else "give a sample's number, or 'mean'"
        raise ArgumentError(f"sample={which!r}: {wanted}")

    def one(values: Mapping[Node, Any]) -> dict[Node, Any]:
        return {n: only(n, np.asarray(v), int(which), axis) for n, v in values.items()}

    return one


def only(n: Node, value: np.ndarray, k: int, axis: Dim) -> np.ndarray:
    """The entries at one place along an axis, which stays."""
    for j, d in enumerate(n.type.shape):
        if d == axis:
            if not -value.shape[j] <= k < value.shape[j]:
                raise ArgumentError(f"sample={k}: there are {value.shape[j]} samples, counted from 0")
            value = np.take(value, [k], axis=j)
    return value


def shown(made: Record) -> list[Node]:
    """The nodes that have a row."""
    return [n for n in made.order if n is made.loss or not hidden(n, made.problem)]


def named(made: Record, nodes: Sequence[Node]) -> dict[Node, str]:
    """What the rows are called."""
    problem = made.problem
    naming = Naming(Program(made.loss, (), problem.params, problem.inputs, problem.names), Namer())
    naming.known[made.loss] = naming.fresh("loss")
    for n in nodes:
        if is_select(n) and is_relu(n) and n is not made.loss:
            naming.known[n] = naming.fresh("relu")
    return {n: problem.names.get(n) or naming.name(n) for n in nodes}


def rows(made: Record, mean: bool = False) -> list[Row]:
    """The rows, arguments first; `mean`: of values with an entry a sample their mean, and the sum of their adjoints.

    The adjoint of v is dL/dv, by reverse mode; that of an array is an array.
    """
    problem, nodes = made.problem, shown(made)
    names, texts = named(made, nodes), formulas(nodes, dict(problem.names), 60)
    inputs, params = ({a.leaf for a in part} for part in (problem.inputs, problem.params))
    edges = {n: shown_edges(made, n) for n in nodes}
    made.compute(x for es in edges.values() for e in es for x in (e.slope, e.sent) if x is not None)
    found, known = [], {n.args[0]: ("...", ATOM) for n in nodes if is_broadcast(n)}
    known |= {n: (name, ATOM) for n, name in names.items()}
    for n in nodes:
        given = n in inputs or below(n, inputs)
        is_param = n in params or below(n, params)  # or an entry of one
        kind = "loss" if n is made.loss else "input" if given else "parameter" if is_param else ""
        args = tuple(operand(made, n, e, names, known) for e in edges[n])
        adjoint = None if given else made.adjoint(n)
        row = Row(names[n], texts[n], made.values[n], adjoint, args, kind)
        found.append(averaged(row, n, axis_of(problem)) if mean else row)
    return found


def averaged(row: Row, n: Node, axis: Dim | None) -> Row:
    """A row of the mean sample: its value, and what all samples together send back."""
    if n.type.shape[:1] != (axis,):
        return row
    adjoint = None if row.adjoint is None else np.sum(row.adjoint, axis=0)
    return row._replace(value=np.mean(row.value, axis=0), adjoint=adjoint)


def operand(made: Record, n: Node, e: Edge, names: Mapping[Node, str], known: Mapping[Node, Text]) -> Operand:
    """An edge as a row shows it."""
    name = names[e.arg]
    if e.sent is None:
        return Operand(name, None, None, "")
    slope = None if e.slope is None else made.values[e.slope]
    own = names[n]
    if slope is not None and not n.type.shape and not e.arg.type.shape:  # of numbers it reads as it does everywhere
        return Operand(name, slope, made.values[e.sent], f"dL/d{own} * d{own}/d{name}")
    rule = "" if n.op.is_loop else rule_of(e.sent, made.adjoints[n], f"dL/d{own}", known)
    whole = rule if 0 < len(rule) <= LONGEST else f"dL/d{own} back through {n.op.name}"
    return Operand(name, slope, made.values[e.sent], whole)


def rule_of(sent: Node, adjoint: Node, called: str, names: Mapping[Node, Text]) -> str:
    """How a term is computed from the adjoint that it comes from, and from values."""
    own = {adjoint: (called, ATOM)}
    if is_broadcast(adjoint):  # functions that look at shapes write what it repeats
        own[adjoint.args[0]] = called, ATOM
    texts = ChainMap(own, names)  # type: ignore[arg-type]  # only the first is written to
    for x in topological([sent], texts.__contains__):
        texts[x] = written(x, texts)
    return texts[sent][0]
