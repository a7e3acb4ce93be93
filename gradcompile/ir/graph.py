"""Walks over graphs: in order, rewriting, substitution, counting, as rows, and the check of all types."""

import copyreg
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple, cast

from gradcompile.errors import GraphError
from gradcompile.ir.core import OPS, Node, Params, node
from gradcompile.ir.types import ArrayType, Dim


def operands(n: Node, name: str) -> list[Node]:
    """What a tree of ops of one name has for its leaves: the terms of a sum of sums, say. Any other node is its own.

    >>> from gradcompile.ir.core import apply, leaf
    >>> a, b, c = leaf("a"), leaf("b"), leaf("c")
    >>> operands(apply("add", apply("add", a, b), c), "add") == [a, b, c]
    True
    """
    pending, found = [n], list[Node]()
    while pending:
        top = pending.pop()
        if top.op.name == name:
            pending += reversed(top.args)
        else:
            found.append(top)
    return found


def topological(roots: Iterable[Node], settled: Callable[[Node], bool] | None = None) -> list[Node]:
    """Every node below the roots once, arguments first, in depth-first order of use. Iterative: graphs are deep.

    What is `settled` ends the walk and is left out.
    """
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[Node | None] = [*list(roots)[::-1]]
    while stack:
        n = stack.pop()
        if n is None:  # the arguments of the node below are done
            order.append(cast(Node, stack.pop()))
        elif n not in seen:
            seen.add(n)
            if settled is not None and settled(n):
                continue
            if n.args:
                stack += (n, None)
                stack += n.args[::-1]
            else:
                order.append(n)
    return order


def rebuild(
    roots: Sequence[Node],
    rule: Callable[[Node], Node],
    known: Mapping[Node, Node] | None = None,
    settled: Callable[[Node], bool] | None = None,
) -> list[Node]:
    """The roots with `rule` applied to every node, arguments first; `known` maps nodes that are replaced outright.

    `rule` gets a node whose arguments are rewritten already. What is `settled` stays as it is, and so do those below.
    """
    new: dict[Node, Node] = dict(known or {})  # what has changed
    changed = new.keys()
    for n in topological(roots, settled):
        if n not in new:
            result = rule(n if changed.isdisjoint(n.args) else with_new(n, new))
            if result is not n:
                new[n] = result
    return [new.get(r, r) for r in roots]


def with_new(n: Node, new: Mapping[Node, Node]) -> Node:
    """The node with its arguments replaced as far as they have changed."""
    if new.keys().isdisjoint(n.args):
        return n
    return node(n.op, [new.get(a, a) for a in n.args], n.params)


def substitute(roots: Sequence[Node], replacements: Mapping[Node, Node]) -> list[Node]:
    """The roots with nodes replaced."""
    return rebuild(roots, lambda n: n, replacements)


def use_counts(roots: Iterable[Node], order: Iterable[Node]) -> Counter[Node]:
    """How many times each node is an argument or a root; order has all nodes below the roots."""
    return Counter(chain(roots, chain.from_iterable([n.args for n in order])))


def depends_on(order: Iterable[Node], targets: Iterable[Node]) -> set[Node]:
    """The nodes of a graph, arguments first, that depend on one of the targets, the targets among them."""
    found = set(targets)
    for n in order:
        if not found.isdisjoint(n.args):
            found.add(n)
    return found


class Flat(NamedTuple):
    """A graph as rows (op, argument positions, params, type): what is pickled, without recursion."""

    rows: list[tuple[str, tuple[int, ...], Params, tuple[tuple[Dim, ...], str]]]
    roots: list[int]


def flatten(roots: Sequence[Node]) -> Flat:
    """The graph below the roots as rows."""
    order = topological(roots)
    place = {n: k for k, n in enumerate(order)}
    rows = [(n.op.name, tuple(place[a] for a in n.args), n.params, (n.type.shape, n.type.dtype)) for n in order]
    return Flat(rows, [place[r] for r in roots])


def unflatten(flat: Flat) -> list[Node]:
    """The roots of a graph that was flattened; GraphError if it has a user's op that is not defined yet."""
    built: list[Node] = []
    unknown = sorted({row[0] for row in flat.rows} - OPS.keys())
    if unknown:
        raise GraphError(f"the op {unknown[0]!r} is not defined here; call gradcompile.custom as before, then load")
    for name, args, params, (shape, dtype) in flat.rows:
        type = ArrayType(tuple(shape), dtype) if OPS[name].typed else None
        built.append(node(OPS[name], [built[k] for k in args], params, type))
    return [built[r] for r in flat.roots]


def _restore(flat: Flat) -> Node:
    return unflatten(flat)[0]


def _reduced(n: Node) -> tuple[Callable[[Flat], Node], tuple[Flat]]:
    return _restore, (flatten([n]),)


copyreg.pickle(Node, _reduced)  # as rows, since pickle itself recurses


def verify(roots: Sequence[Node], after: str = "") -> None:
    """Infer every type again and compare: raises GraphError naming the node and the pass it came from.

    Nodes don't change, so one that was found right is not looked at, nor below, when a later pass is verified.
    """
    pending = list(roots)
    while pending:
        n = pending.pop()
        if not n.verified:
            check_node(n, after)
            n.verified = True
            pending += n.args


def check_node(n: Node, after: str) -> None:
    """Raise GraphError unless the node has the arguments and the type that its op's record says."""
    if n.op.arity is not None and len(n.args) != n.op.arity:
        raise GraphError(f"after {after}: {n.op.name} takes {n.op.arity} arguments, got {len(n.args)}")
    if n.args:
        inferred = n.op.infer(tuple(a.type for a in n.args), n.params)
        if inferred != n.type:
            raise GraphError(f"after {after}: {n.op.name} has type {n.type}, its arguments give {inferred}")
