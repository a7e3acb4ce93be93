"""The backpropagation of a loss as on a blackboard: every node with its value, its adjoint, and what it sends back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gradcompile.analysis.formula import ATOM, Text, formulas, written
from gradcompile.errors import ArgumentError
from gradcompile.explain.record import Edge, Record, below, hidden, record, shown_edges
from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
from gradcompile.lower.program import Naming
from gradcompile.signature.arguments import Problem
from gradcompile.signature.names import Namer
from gradcompile.signature.program import Program


class Operand(NamedTuple):
    """What a node is made of: its name, d(node)/d(operand), the term that it gets, and how that is computed.

    slope: entry by entry, None where one entry is in many of the node's.  term: None where no derivative goes.
    """

    name: str
    slope: Any
    term: Any
    rule: str


class Row(NamedTuple):
    """One node: its name, its formula, its value, dL/d(node), None for an input, its operands, and what it is.

    kind: "parameter", "input", "loss", or empty.
    """

    name: str
    formula: str
    value: Any
    adjoint: Any
    args: tuple[Operand, ...] = ()
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The rows from the leaves to the loss; printed as a table, and the chain rule written out below it.

    By name: `e["wx"].adjoint`. In a notebook it is a table, `e.to("latex" | "json" | "markdown" | "html" | "text")` is
    for other places.
    """

    rows: list[Row]

    def __getitem__(self, name: str) -> Row:
        for r in self.rows:
            if r.name == name:
                return r
        known = ", ".join(r.name for r in self.rows[-12:])
        raise ArgumentError(f"no row is called {name!r}; the last ones are {known}")

    def to(self, form: Literal["text", "markdown", "json", "latex", "html"]) -> str:
        """The explanation for a terminal, a page of text, a program, a paper or a browser."""
        from gradcompile.explain import writing

        writers = {"text": writing.text, "markdown": writing.markdown, "json": writing.as_json,
                   "latex": writing.latex, "html": writing.html}  # fmt: skip
        if form not in writers:
            raise ArgumentError(f"to={form!r}: choose {', '.join(map(repr, writers))}")
        return writers[form](self.rows)

    def __str__(self) -> str:
        return self.to("text")

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.to("html")


def explain(problem: Problem, loss: Node, values: Mapping[Node, Any]) -> Explanation:
    """The rows of a loss at the values of its leaves."""
    return Explanation(rows(record(problem, loss, values)))


def shown(made: Record) -> list[Node]:
    """The nodes that have a row."""
    return [n for n in made.order if n is made.loss or not hidden(n, made.problem)]


def named(made: Record, nodes: Sequence[Node]) -> dict[Node, str]:
    """What the rows are called."""
    problem = made.problem
    naming = Naming(Program(made.loss, (), problem.params, problem.inputs, problem.names, {}, {}), Namer())
    naming.known[made.loss] = naming.fresh("loss")
    return {n: problem.names.get(n) or naming.name(n) for n in nodes}


def rows(made: Record) -> list[Row]:
    """The rows, arguments first.

    The adjoint of v is dL/dv, by reverse mode; that of an array is an array.
    """
    problem, nodes = made.problem, shown(made)
    names, texts = named(made, nodes), formulas(nodes, dict(problem.names), 60)
    inputs, params = ({a.leaf for a in part} for part in (problem.inputs, problem.params))
    edges = {n: shown_edges(made, n) for n in nodes}
    made.compute(x for es in edges.values() for e in es for x in (e.slope, e.sent) if x is not None)
    found = []
    for n in nodes:
        given = n in inputs or below(n, inputs)
        kind = "loss" if n is made.loss else "input" if given else "parameter" if is_param(n, params) else ""
        args = tuple(operand(made, n, e, names) for e in edges[n])
        found.append(Row(names[n], texts[n], made.values[n], None if given else made.adjoint(n), args, kind))
    return found


def is_param(n: Node, params: set[Node]) -> bool:
    """Whether the node is a parameter, or an entry of one."""
    return n in params or below(n, params)


def operand(made: Record, n: Node, e: Edge, names: Mapping[Node, str]) -> Operand:
    """An edge as a row shows it."""
    name = names[e.arg]
    if e.sent is None:
        return Operand(name, None, None, "")
    slope = None if e.slope is None else made.values[e.slope]
    return Operand(name, slope, made.values[e.sent], rule_of(e.sent, made.adjoints[n], f"dL/d{names[n]}", names))


def rule_of(sent: Node, adjoint: Node, called: str, names: Mapping[Node, str]) -> str:
    """How a term is computed from the adjoint that it comes from, and from values."""
    known: dict[Node, Text] = {n: (name, ATOM) for n, name in names.items()}
    known[adjoint] = called, ATOM
    for x in topological([sent], known.__contains__):
        if x not in known:
            known[x] = written(x, known)
    return known[sent][0]
