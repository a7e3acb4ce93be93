"""The record of one backward pass: of every node its value and its adjoint, of every edge its slope and what it sends.

Made once; tables, pictures and answers are readings of it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradcompile.analysis.evaluate import bind, env_value, np_value
from gradcompile.diff import reverse
from gradcompile.ir.algebra import expand, is_neg, sum_over
from gradcompile.ir.core import Node, const, is_const, is_leaf, leaf, node
from gradcompile.ir.graph import substitute, topological
from gradcompile.ops.shape import is_broadcast, is_iota, is_item
from gradcompile.signature.arguments import Problem


class Edge(NamedTuple):
    """From a node to one of its arguments: the local derivative, entry by entry, and the term that is sent back.

    slope: None where one entry of the argument is in many of the node, or the other way round.
    sent: of the argument's shape, None where no derivative goes.
    """

    arg: Node
    slope: Node | None
    sent: Node | None


@dataclass(frozen=True, slots=True)
class Record:
    """A loss at some values of its leaves.

    order: the nodes below the loss, arguments first.  adjoints: the nodes that compute them.  edges: of each node.
    values: of all nodes that were asked for, adjoints and terms among them.
    """

    problem: Problem
    loss: Node
    order: list[Node]
    adjoints: Mapping[Node, Node]
    edges: Mapping[Node, tuple[Edge, ...]]
    leaves: Mapping[Node, Any]
    dims: dict[str, int]
    values: dict[Node, Any]

    def compute(self, nodes: Iterable[Node]) -> None:
        """Have the values of these nodes as well."""
        with np.errstate(all="ignore"):
            for n in topological(nodes, self.values.__contains__):
                known = env_value(n, self.leaves, n.type.dtype) if is_leaf(n) else np_value(n, self.values, self.dims)
                self.values[n] = known

    def evaluate(self, n: Node, values: Mapping[Node, Any]) -> Any:
        """The value of a node from other values of its arguments."""
        return np_value(n, values, self.dims)

    def slope(self, e: Edge) -> Any:
        """The local derivative of an edge, None where it has none entry by entry."""
        return None if e.slope is None else self.values[e.slope]

    def sent(self, e: Edge) -> Any:
        """What an edge sends back; 0 where no derivative goes."""
        return np.zeros(()) if e.sent is None else self.values[e.sent]

    def adjoint(self, n: Node) -> Any:
        """dL/dn, None where none comes."""
        found = self.adjoints.get(n)
        return None if found is None else self.values[found]


def record(problem: Problem, loss: Node, leaves: Mapping[Node, Any]) -> Record:
    """The record of a loss at the values of its leaves."""
    order = topological([loss])
    outputs = [(loss, const(1.0, loss.type.dtype))]
    adjoints, edges = swept(order, outputs, [a.leaf for a in problem.params])
    dims: dict[str, int] = {}
    bind(leaves, dims)
    made = Record(problem, loss, order, adjoints, edges, leaves, dims, {})
    asked = [x for es in edges.values() for e in es for x in (e.slope, e.sent) if x is not None]
    made.compute([*order, *adjoints.values(), *asked])
    return made


def swept(
    order: Sequence[Node], outputs: Sequence[tuple[Node, Node]], params: Iterable[Node] | None = None
) -> tuple[dict[Node, Node], dict[Node, tuple[Edge, ...]]]:
    """The adjoints of nodes from those of the outputs, and the edges that they come along."""
    parts: dict[tuple[Node, Node], list[Node]] = defaultdict(list)
    adjoints = reverse.backpropagate(outputs, order, params=params, told=lambda n, a, part: parts[n, a].append(part))
    return adjoints, {n: tuple(edge(n, a, parts.get((n, a), ())) for a in dict.fromkeys(n.args)) for n in order}


def edge(n: Node, arg: Node, parts: Iterable[Node]) -> Edge:
    """The edge from a node to an argument, which may stand in it more than once."""
    sent = [fitted(p, arg) for p in parts]
    if not sent:
        return Edge(arg, None, None)
    return Edge(arg, slope(n, arg), sent[0] if len(sent) == 1 else added(sent))


def slope(n: Node, arg: Node) -> Node | None:
    """The derivative of a node that works entry by entry in one of its arguments."""
    if n.op.partials is None:
        return None
    found = [p for a, p in zip(n.args, n.op.partials(n), strict=True) if a is arg and p is not None]
    return added(found) if found else None


def added(terms: list[Node]) -> Node:
    """The sum of terms, of which a repeated one is a multiple."""
    return float(len(terms)) * terms[0] if len(set(terms)) == 1 and len(terms) > 1 else sum(terms[1:], terms[0])


def fitted(part: Node, arg: Node) -> Node:
    """A term in the shape of the argument that gets it, as broadcasting is undone."""
    own, shape = part.type.shape, arg.type.shape
    extra = len(own) - len(shape)
    if own == shape:
        return part
    if extra < 0:
        return expand(part, shape)
    axes = tuple(k for k, d in enumerate(own) if k < extra or (d != 1 and shape[k - extra] == 1))
    return reverse.with_kept(sum_over(part, axes), own, axes, shape)


# What a reader sees


def hidden(n: Node, problem: Problem) -> bool:
    """Whether the node has no row: numbers, conditions, negatives (a difference shows them), what its entries show.

    Of arrays, repetitions and indices have no row either, as they read like what they are made of.
    """
    if is_leaf(n):
        return n not in problem.symbols and not problem.arrays
    if is_const(n) or is_neg(n) or n.op.by_shape or n.op.is_comparison or n.op.is_connective:
        return True
    return problem.arrays and (is_broadcast(n) or is_iota(n) or n.op.entrywise)


def below(n: Node, inputs: Iterable[Node]) -> bool:
    """Whether the node is an entry of an input."""
    return is_item(n) and n.args[0] in inputs


def shown_edges(made: Record, n: Node) -> list[Edge]:
    """The edges from a node to what has a row, through what has none; the same argument twice is one edge."""
    found: dict[Node, list[Edge]] = {}
    pending = [*made.edges[n]][::-1]
    while pending:
        e = pending.pop()
        if not hidden(e.arg, made.problem):
            found.setdefault(e.arg, []).append(e)
        elif not e.arg.op.by_shape:
            pending += [passed(e, a) for a in e.arg.args][::-1]
    return [es[0] if len(es) == 1 else joined(es) for es in found.values()]


def joined(edges: list[Edge]) -> Edge:
    """Edges to one argument as one."""
    edges = [e for e in edges if e.sent is not None] or edges
    slopes, sent = ([x for e in edges if (x := e[k]) is not None] for k in (1, 2))
    return Edge(edges[0].arg, added(slopes) if len(slopes) == len(edges) else None, added(sent) if sent else None)


def passed(e: Edge, arg: Node) -> Edge:
    """What an edge sends on to an argument of the node that it leads to."""
    n = e.arg
    if e.sent is None or not arg.type.dtype.startswith("float"):
        return Edge(arg, None, None)
    stands_for = {a: leaf(f"passed.{k}", a.type) for k, a in enumerate(n.args)}
    alone = node(n.op, [stands_for[a] for a in n.args], n.params)
    cotangent = leaf("passed.cotangent", n.type)
    rule = reverse.adjoints(alone, [stands_for[arg]], cotangent).get(stands_for[arg])
    if rule is None:
        return Edge(arg, None, None)
    back = {stands_for[a]: a for a in n.args} | {cotangent: e.sent}
    slope = None if e.slope is None else -e.slope if is_neg(n) else e.slope
    return Edge(arg, slope, substitute([rule], back)[0])
