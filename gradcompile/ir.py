"""The graph: immutable interned nodes, so that building the same thing twice gives the same object."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple, cast
from weakref import ref

from gradcompile.errors import GraphError
from gradcompile.ops.record import OPS, Op, Params
from gradcompile.types import ArrayType, Dim

TYPED = frozenset({"leaf", "const", "table"})  # ops whose nodes are given their type


class Node:
    """An operation applied to nodes; equality is identity, since equal nodes are the same object."""

    __slots__ = ("__weakref__", "args", "op", "params", "simple", "type", "verified")
    op: Op
    args: tuple["Node", ...]
    params: Params
    type: ArrayType
    verified: bool  # its type was checked, or follows from its arguments', and those below
    simple: bool  # no exact rule has anything to say of it, nor of those below

    def __repr__(self) -> str:
        return f"<{self.op.name} {self.type}>"

    def __reduce__(self) -> tuple[Callable[..., "Node"], tuple[Any, ...]]:
        return _restore, (flatten([self]),)

    @property
    def value(self) -> float | bool | int:
        """The value of a constant; no other node has one."""
        if self.op.name != "const":
            raise AttributeError(f"{self!r} is no constant: it has no value", name="value", obj=self)
        result: float | bool | int = self.params[0]
        return result


class Entry(ref[Node]):
    """A weak reference to a node in the table of nodes, with its key there; faster than a WeakValueDictionary's."""

    __slots__ = ("key",)
    key: tuple[Any, ...]


_interned: dict[tuple[Any, ...], Entry] = {}


def forget(entry: Entry) -> None:
    """Take a node that is no more from the table, unless an equal one stands there by now."""
    if _interned.get(entry.key) is entry:
        del _interned[entry.key]


_type, _verified = attrgetter("type"), attrgetter("verified")


def node(op: Op, args: Sequence[Node] = (), params: Params = (), type: ArrayType | None = None) -> Node:
    """The node `op(*args)`; its type is inferred unless given (leaves, constants and tables give it)."""
    args = tuple(args)
    key = (op.name, args, params, type) if op.name != "const" else ("const", repr(params[0]), type)
    entry = _interned.get(key)
    found = None if entry is None else entry()
    if found is None:
        found = Node()
        found.op, found.args, found.params = op, args, params
        found.type = op.infer(tuple(map(_type, args)), params) if type is None else type
        right = not args if type is not None else all(map(_verified, args))
        found.verified = right and op.arity in (None, len(args))
        found.simple = False
        _interned[key] = entry = Entry(found, forget)
        entry.key = key
    return found


def apply(name: str, *args: Node, params: Params = ()) -> Node:
    """The op of that name applied to nodes.

    >>> apply("mul", const(2.0), leaf("x")) is apply("mul", const(2.0), leaf("x"))
    True
    """
    return node(OPS[name], args, params)


def const(value: float | bool, dtype: str = "float64") -> Node:
    """A scalar constant; the sign of zero counts, all NaN are one."""
    if dtype.startswith("float"):
        value = math.nan if value != value else float(value)
    else:
        value = int(value) if dtype == "int64" else bool(value)
    return node(OPS["const"], (), (value,), ArrayType((), dtype))


def leaf(name: str, type: ArrayType = ArrayType(), role: str = "input") -> Node:
    """A named value from outside; role is "param", "input" or "data"."""
    return node(OPS["leaf"], (), (name, role), type)


def is_const(n: Node, value: float | None = None) -> bool:
    """Whether the node is a constant, and that one if a value is given (0.0 does not match -0.0)."""
    return n.op.name == "const" and (value is None or repr(float(n.value)) == repr(float(value)))


def operands(n: Node, name: str) -> list[Node]:
    """What a tree of ops of one name has for its leaves: the terms of a sum of sums, say. Any other node is its own.

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
    for n in topological(roots, settled):
        if n not in new:
            result = rule(with_new(n, new))
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
        type = ArrayType(tuple(shape), dtype) if name in TYPED else None
        built.append(node(OPS[name], [built[k] for k in args], params, type))
    return [built[r] for r in flat.roots]


def _restore(flat: Flat) -> Node:
    return unflatten(flat)[0]


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
