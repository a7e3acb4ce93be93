"""What a program that is cut into blocks needs: states of its nodes, and the nodes of blocks that are made of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gradcompile.ir.core import Node, apply
from gradcompile.lower.blocks.pointwise import Along

SUMMED = -1


class State(NamedTuple):
    """A node over a block, cut along an axis; or whole, with None; or, SUMMED, what a block adds to it."""

    node: Node
    axis: int | None


def parts_of_way(n: Node, parts: Along) -> list[State]:
    """The arguments as a way to compute a node takes them."""
    pairs = zip(n.args, parts.args, strict=True)
    return [State(a, k) for a, k in pairs if not isinstance(k, Node)]


def ordered(starts: Sequence[State], needs: Callable[[State], Sequence[State]]) -> list[State]:
    """All states that these need, arguments first, each once."""
    order: list[State] = []
    seen: set[State] = set()
    stack = [(s, False) for s in reversed(starts)]
    while stack:
        s, done = stack.pop()
        if done:
            order.append(s)
        elif s not in seen:
            seen.add(s)
            stack.append((s, True))
            stack += [(x, False) for x in reversed(needs(s))]
    return order


def over(n: Node, parts: Along, twin: Mapping[State, Node]) -> Node:
    """The op of a node over parts of its arguments."""
    pairs = zip(n.args, parts.args, strict=True)
    args = (k if isinstance(k, Node) else a if k is None else twin[State(a, k)] for a, k in pairs)
    return apply(n.op.name, *args, params=parts.params)
