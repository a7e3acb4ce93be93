"""What is inside a scan: values and adjoints of its body, step by step along an axis of time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradcompile.analysis.evaluate import dim_length, np_values
from gradcompile.analysis.formula import formulas
from gradcompile.explain.blackboard import named, shown
from gradcompile.explain.record import Edge, Record, hidden, swept
from gradcompile.explain.rows import Operand, Row
from gradcompile.ir.core import Node, is_leaf, leaf
from gradcompile.ir.graph import topological
from gradcompile.ops.scan import Loop, result_places
from gradcompile.signature.names import Namer

Values = dict[Node, Any]
Edges = Mapping[Node, tuple[Edge, ...]]


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a scan with its values at each step, by place; and the nodes and edges that make its adjoints."""

    loop: Loop
    order: list[Node]
    forward: list[Values]
    adjoints: Mapping[Node, Node]
    edges: Edges

    @property
    def backward(self) -> list[Values]:
        """The adjoints at each step, by place."""
        return [{n: values[a] for n, a in self.adjoints.items()} for values in self.forward]

    def record(self, made: Record, k: int) -> Record:
        """One step as a record of its own."""
        found = replace(made, order=self.order, adjoints=self.adjoints, edges=self.edges, values=self.forward[k])
        found.compute(x for es in self.edges.values() for e in es for x in (e.slope, e.sent) if x is not None)
        return found


def body_of(made: Record, n: Node) -> Body:
    """The body of a scan."""
    loop: Loop = n.params[0]
    order = topological(loop.roots)
    forward = walked(made, n, loop, order)
    adjoints, edges = back(made, n, loop, order, forward)
    return Body(loop, order, forward, adjoints, edges)


def steps(made: Record) -> dict[str, list[Row]]:
    """By the name of each scan, the rows of its body, with the steps along axis 0."""
    scans = [n for n in shown(made) if n.op.is_loop and n in made.adjoints]
    names = named(made, shown(made)) if scans else {}
    return {names[n]: body_rows(made, body_of(made, n), [names.get(a, "") for a in n.args]) for n in scans}


def body_rows(made: Record, body: Body, given: list[str]) -> list[Row]:
    """The rows of one body; `given`: what the scan's arguments are called, constants likewise."""
    loop, forward, backward = body.loop, body.forward, body.backward
    fresh, called = Namer(), dict[Node, str]()
    for kind, leaves in (("carry", loop.carries), ("slice", loop.slices), ("constant", loop.constants)):
        called |= {x: fresh(f"{kind}_{k}") for k, x in enumerate(leaves)}
    outer = dict(zip(loop.leaves, given, strict=True))
    called |= {x: outer[x] for x in loop.constants if outer[x]}
    texts = formulas(loop.roots, called, 60)
    roots = {x: f"next_carry_{k}" for k, x in enumerate(loop.finals)} | {x: f"y_{k}" for k, x in enumerate(loop.ys)}
    rows, names = [], {x: called[x] for x in loop.constants}
    for x in body.order if forward else ():
        if not hidden(x, made.problem) and x not in loop.constants and x.type.dtype.startswith("float"):
            name = called[x] if is_leaf(x) else fresh(roots.get(x, x.op.preferred_name or x.op.name))
            args = [outer[x]] if is_leaf(x) else [names[a] for a in seen_below(x, made) if a in names]
            names[x] = name
            stacked = np.stack([step[x] for step in backward]) if x in backward[0] else None
            operands = tuple(Operand(a, None, None, "") for a in args if a)
            rows.append(Row(name, texts[x], np.stack([step[x] for step in forward]), stacked, operands))
    return rows


def seen_below(n: Node, made: Record) -> list[Node]:
    """What a node is made of, through what has no row."""
    found, pending = dict[Node, None](), [*n.args][::-1]
    while pending:
        a = pending.pop()
        if not hidden(a, made.problem) or is_leaf(a):
            found[a] = None
        elif not a.op.by_shape:
            pending += a.args[::-1]
    return list(found)


def walked(made: Record, n: Node, loop: Loop, order: Iterable[Node]) -> list[Values]:
    """The values of the body at each step, in the order of the places."""
    carries, slices, constants = loop.arguments([made.values[a] for a in n.args])
    count = dim_length(loop.length, made.dims, n.type)
    found: list[Values] = [{} for _ in range(count)]
    for k in places(loop, count):
        held = (*carries, *(x[k] for x in slices), *constants)
        found[k] = np_values(list(order), dict(zip(loop.leaves, held, strict=True)), made.dims)
        carries = tuple(found[k][x] for x in loop.finals)
    return found


def places(loop: Loop, count: int) -> range:
    """The places in the order in which the loop goes through them."""
    return range(count - 1, -1, -1) if loop.reverse else range(count)


def back(
    made: Record, n: Node, loop: Loop, order: list[Node], forward: list[Values]
) -> tuple[Mapping[Node, Node], Edges]:
    """The adjoints of the body and its edges; their values are added to each step's, from the last one back."""
    cotangents = [leaf(f"cotangent.{k}", x.type) for k, x in enumerate(loop.roots)]
    adjoints, edges = swept(order, list(zip(loop.roots, cotangents, strict=True)))
    finals, ys, totals = loop.split(received(made, n))
    for k in reversed(places(loop, len(forward))):
        forward[k] |= zip(cotangents, (*finals, *(y[k] for y in ys), *totals), strict=True)
        replace(made, values=forward[k]).compute(adjoints.values())
        finals = tuple(forward[k][adjoints[c]] if c in adjoints else np.zeros_like(forward[k][c]) for c in loop.carries)
    return adjoints, edges


def received(made: Record, n: Node) -> list[Any]:
    """The adjoints of a scan's results, from that of its vector."""
    vector, found = np.asarray(made.adjoint(n)), []
    for p in result_places(n.params[0]):
        start, count = (dim_length(d, made.dims, n.type) for d in (p.span.start, p.span.count))
        shape = tuple(dim_length(d, made.dims, n.type) for d in p.type.shape)
        found.append(vector[start : start + count].reshape(shape))
    return found
