"""The body of a scan over a block of samples: what a step computes for them alone.

A step is made for a block where nothing in it looks across samples: each carry, each array that is walked and each
constant is cut along one axis, or is the same for all samples. Its results are cut as well, or are sums over samples,
to which every block adds its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gradcompile.ir.algebra import is_add, is_mul, is_neg
from gradcompile.ir.core import Node, is_leaf, leaf
from gradcompile.ir.graph import topological
from gradcompile.ir.types import ArrayType, Dim
from gradcompile.lower.blocks.pointwise import Along, put
from gradcompile.lower.blocks.states import SUMMED, State, ordered, over, parts_of_way
from gradcompile.ops.reduction import is_amax
from gradcompile.ops.scan import Loop
from gradcompile.ops.shape import is_iota


class Block(NamedTuple):
    """A loop over a block, and along which axes the scan's arguments and results are cut; results may be SUMMED."""

    loop: Loop
    arguments: tuple[int | None, ...]
    results: tuple[int | None, ...]


@dataclass(slots=True)
class Body:
    """A loop that is being cut.

    axes: of a node those of samples. part: what a block has of a dimension, None unless that is one of samples. along:
    how a node is computed for a block, cut along an axis. reductions: how it is as a sum over samples.

    varied: the nodes that tell samples apart. leaves: how each leaf is needed. parts: how each state is computed.
    """

    loop: Loop
    axes: Callable[[Node], list[int]]
    part: Callable[[Dim], Dim | None]
    along: Callable[[Node, int], Along | None]
    reductions: Callable[[Node], list[Along]]
    varied: set[Node] = field(default_factory=set)
    leaves: dict[Node, int | None] = field(default_factory=dict)
    parts: dict[State, Along | None] = field(default_factory=dict)
    is_cut: bool = True

    def block(self) -> Block | None:
        """The loop over a block; None if there can't be one."""
        loop = self.loop
        for n in topological(loop.roots):
            if not n.op.by_shape and (self.axes(n) or not self.varied.isdisjoint(n.args)):
                self.varied.add(n)
        if not self.varied or self.part(loop.length) is not None or any(len(self.axes(r)) > 1 for r in loop.roots):
            return None
        results = [self.result(r) for r in loop.roots]
        order = ordered(list(map(State, loop.roots, results)), self.needed)
        found = [self.leaves.get(n, (*self.axes(n), None)[0]) for n in loop.leaves]
        if not self.is_cut or found[: len(loop.carries)] != results[: len(loop.carries)]:
            return None
        carries, slices, constants = loop.arguments(found)
        finals, ys, totals = loop.split(results)
        return Block(self.built(order, found, results), (*carries, *map(after, slices), *constants),
                     (*finals, *map(after, ys), *totals))  # fmt: skip

    def result(self, root: Node) -> int | None:
        """How a result is cut."""
        return next(iter(self.axes(root)), SUMMED if root in self.varied else None)

    def needed(self, s: State) -> list[State]:
        """What a state is computed from; one that can't be is noted."""
        n, axis = s
        self.parts[s] = None
        if is_leaf(n):
            self.is_cut &= axis != SUMMED and self.leaves.setdefault(n, axis) == axis
            return []
        if axis is None:
            return [] if n.op.by_shape else [State(a, None) for a in n.args]
        self.parts[s] = way = self.summed(n) if axis == SUMMED else self.along(n, axis)
        self.is_cut &= way is not None and not is_iota(n)
        return [] if way is None else parts_of_way(n, way)

    def summed(self, n: Node) -> Along | None:
        """How a node is a sum over samples: it sums itself, or is linear in what is one."""
        if not is_amax(n) and (found := self.reductions(n)):
            return found[0]
        if n.op.is_alias or is_neg(n) or is_add(n):
            return Along((SUMMED,) * len(n.args), n.params)
        if is_mul(n) and sum(a in self.varied for a in n.args) == 1:
            return Along(tuple(SUMMED if a in self.varied else None for a in n.args), n.params)
        return None

    def built(self, order: Sequence[State], found: Sequence[int | None], results: Sequence[int | None]) -> Loop:
        """The loop of the nodes of a block; found: how each leaf is cut."""
        leaves = [n if k is None else self.leaf(n, k) for n, k in zip(self.loop.leaves, found, strict=True)]
        twin = {State(n, k): x for n, k, x in zip(self.loop.leaves, found, leaves, strict=True)}
        for s in order:
            way = self.parts[s]
            if s not in twin:
                twin[s] = s.node if way is None else over(s.node, way, twin)
        carries, slices, constants = self.loop.arguments(leaves)
        roots = [twin[State(r, k)] for r, k in zip(self.loop.roots, results, strict=True)]
        return replace(self.loop.with_roots(roots), carries=carries, slices=slices, constants=constants)

    def leaf(self, n: Node, axis: int) -> Node:
        """The leaf that stands for a part of what another one stands for."""
        part = self.part(n.type.shape[axis])
        assert part is not None
        name, role = n.params
        return leaf(name, ArrayType(put(n.type.shape, axis, part), n.type.dtype), role)


def after(axis: int | None) -> int | None:
    """The axis of an array over steps, from that of a step's entry."""
    return axis if axis in (None, SUMMED) else axis + 1
