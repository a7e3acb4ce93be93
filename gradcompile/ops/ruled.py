"""A value whose derivative a user states: the op hands its first argument on, and sends to the others what a rule says.

It is there for differentiation alone: `unruled` takes it out of a graph afterwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from gradcompile.errors import ExpressionError
from gradcompile.ir.algebra import broadcast_to, sum_over, zeros_like
from gradcompile.ir.core import Node, Op, apply, register
from gradcompile.ir.graph import Flat, depends_on, flatten, rebuild, substitute, topological, unflatten
from gradcompile.ops.scan import is_scan
from gradcompile.ops.shape import Tangents

Nodes = tuple[Node, ...]


@dataclass(frozen=True)
class Rule:
    """A derivative on leaves of its own.

    arguments: they stand for the arguments.  places: those that are floats.  cotangent: it stands for the value's.
    cotangents: what those arguments get of it.  tangents: they stand for theirs.  pushed: what the value gets of them.
    """

    arguments: Nodes
    places: tuple[int, ...]
    cotangent: Node
    cotangents: Nodes
    tangents: Nodes
    pushed: Node

    @property
    def name(self) -> str:
        """What the user calls the function."""
        return str(self.cotangent.params[0]).removeprefix("cotangent of ")

    def __reduce__(self) -> tuple[Callable[..., "Rule"], tuple[Any, ...]]:
        nodes = (*self.arguments, *self.cotangents, *self.tangents, self.cotangent, self.pushed)
        return restored, (flatten(nodes), len(self.arguments), self.places)


def restored(flat: Flat, count: int, places: tuple[int, ...]) -> Rule:
    """A rule that was pickled."""
    nodes = iter(unflatten(flat))
    arguments, cotangents, tangents = (tuple(islice(nodes, k)) for k in (count, len(places), len(places)))
    cotangent, pushed = nodes
    return Rule(arguments, places, cotangent, cotangents, tangents, pushed)


def ruled(value: Node, args: Sequence[Node], rule: Rule) -> Node:
    """The value, which sends to the arguments what the rule says."""
    return apply("ruled", value, *args, params=(rule,))


def ruled_vjp(g: Node, n: Node) -> Tangents:
    """What the rule says, and nothing to what the value was computed from."""
    rule: Rule = n.params[0]
    known = {rule.cotangent: g, **dict(zip(rule.arguments, n.args[1:], strict=True))}
    sent = dict(zip(rule.places, substitute(rule.cotangents, known), strict=True))
    return (None, *(sent.get(k) for k in range(len(rule.arguments))))


def ruled_jvp(n: Node, tangents: Tangents) -> Node:
    """The transpose of what the rule says."""
    rule: Rule = n.params[0]
    if rule.cotangent in topological([rule.pushed]):
        raise ExpressionError(
            f"custom {rule.name!r}: vjp is not linear in the cotangent, as np.clip is not: forward mode and second "
            "derivatives do not follow from it; compile_grad takes it"
        )
    known = dict(zip(rule.arguments, n.args[1:], strict=True))
    for k, leaf in zip(rule.places, rule.tangents, strict=True):
        known[leaf] = tangents[1 + k] or zeros_like(n.args[1 + k])
    return substitute([rule.pushed], known)[0]


def ruled_reach(g: Node, n: Node) -> Tangents:
    """An entry reaches the one at its own place where the rule works entry by entry, else any entry of an argument."""
    rule: Rule = n.params[0]
    own = {k for k, root in zip(rule.places, rule.cotangents, strict=True) if is_entrywise(root, rule.cotangent)}
    some = sum_over(g, tuple(range(len(g.type.shape)))) if g.type.shape else g
    return (None, *(g if k in own else broadcast_to(some, a.type.shape, ()) for k, a in enumerate(n.args[1:])))


def is_entrywise(root: Node, source: Node) -> bool:
    """Whether each entry of a result depends on the entry of a node at its own place alone."""
    between = depends_on(topological([root]), [source]) - {source}
    return all(n.op.is_elementwise and n.type.shape == source.type.shape for n in between)


def unruled(roots: Sequence[Node]) -> list[Node]:
    """Graphs without these ops, as they are computed."""

    def without(n: Node) -> Node:
        if n.op.name == "ruled":
            return n.args[0]
        if not is_scan(n):
            return n
        loop = n.params[0]
        inner = unruled(loop.roots)
        return n if tuple(inner) == loop.roots else apply("scan", *n.args, params=(loop.with_roots(inner),))

    return rebuild(roots, without)


register(Op("ruled", lambda types, _: types[0], lambda value, *_: value, vjp=ruled_vjp, jvp=ruled_jvp,
            reach=ruled_reach, arity=None,
            has_dims=True, exact=lambda value, *_: value, cost=0, derivative="as given", accuracy="exact",
            doc="a value whose derivative a user states"))  # fmt: skip
