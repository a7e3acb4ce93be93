"""What a program needs for passes over one axis, the samples: of which node a part at a time, of which the whole.

A node is needed *whole* when it is a root, or when something looks across samples: a sort, the other operand of a
pairwise difference. Then it is a reduction over the samples, or the rows of all blocks, or the program's own work
between passes: what does not carry the axis, what no block can compute, and what follows entry by entry from wholes
that are there already. A node that can only be had whole is cut into rows, as an input is.

Where a node carries the axis twice, one of the two is cut: the one that its largest argument is cut along, the leftmost
if that says nothing. So both sides of X[:, None] - X[None, :] are cut along the rows, and the second X is taken whole.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from math import prod
from typing import NamedTuple

from gradcompile.analysis.cost import operations_of
from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
from gradcompile.ir.types import Dim, Shape, dim_product, dim_value, parsed
from gradcompile.lower.blocks.bodies import Block, Body
from gradcompile.lower.blocks.pointwise import REDUCED, Along, along, reduced
from gradcompile.lower.blocks.states import SUMMED, State, ordered, parts_of_way
from gradcompile.ops.contract import is_dot
from gradcompile.ops.labels import NAMED
from gradcompile.ops.reduction import is_amax
from gradcompile.ops.scan import Loop, is_scanned
from gradcompile.ops.shape import is_broadcast, is_iota

LARGEST = 1 << 18  # entries of intermediates that may as well be whole
SHARE = 3  # an axis of known length pays if a part of the work, one in so many, gets into blocks


class Choice(NamedTuple):
    """How a node is best computed from parts: cut along an axis of its own, or, with None, reduced over the samples."""

    axis: int | None
    parts: Along


@dataclass
class BlockAnalysis:
    """How a program is cut along one dimension.

    order: its nodes, arguments first.  block: the dimension that a block has instead.

    weight: how many sample axes a node has of its own, not repeated. favoured: the one along which it is best cut.
    choice: how. at_hand: what is whole without a pass of its own. late: what carries samples and can only be whole,
    and what follows from it entry by entry. needs: what each state is computed from. level: how many passes come
    before; both arguments first. loops: the loops that have been asked for, over a block.
    """

    roots: Sequence[Node]
    order: Sequence[Node]
    dim: Dim
    block: str
    weight: dict[Node, int] = field(default_factory=dict)
    favoured: dict[Node, int] = field(default_factory=dict)
    choice: dict[Node, Choice] = field(default_factory=dict)
    at_hand: set[Node] = field(default_factory=set)
    late: set[Node] = field(default_factory=set)
    dims: dict[Dim, Dim | None] = field(default_factory=dict)
    parts: dict[State, Along | None] = field(default_factory=dict)
    needs: dict[State, list[State]] = field(default_factory=dict)
    level: dict[State, int] = field(default_factory=dict)
    loops: dict[Loop, Block | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for n in self.order:
            self.look_at(n)
        self.wanted = set(self.roots)
        self.compared = {self.compared_with_max(n) for n in self.order if n.op.is_comparison} - {None}
        for s in ordered([State(r, None) for r in self.roots], self.needed):
            self.level[s] = max((self.level[x] for x in self.needs[s]), default=0) + self.passed(s)

    # ---- how each node is best cut, arguments first

    def part(self, dim: Dim) -> Dim | None:
        """What a block has of a dimension, m*t of n*t; None unless it is a multiple of the number of samples."""
        if dim not in self.dims:
            self.dims[dim] = self.block if dim == self.dim else other_multiple(dim, self.dim, self.block)
        return self.dims[dim]

    def carries(self, n: Node, axis: int) -> bool:
        """Whether an axis is one of samples: of their number, or of a multiple of a number that has a name."""
        return self.part(n.type.shape[axis]) is not None

    def axes(self, n: Node) -> list[int]:
        """The axes of samples."""
        return [k for k in range(len(n.type.shape)) if self.carries(n, k)]

    def along(self, n: Node, axis: int) -> Along | None:
        """How a node is computed for a block of samples along an axis; None unless that is possible."""
        if is_scanned(n):
            return self.scanned(n, axis)
        dim = self.part(n.type.shape[axis])
        parts = None if dim is None or (is_iota(n) and dim != self.block) else along(n, axis, dim)
        if parts is None:
            return None
        pairs = zip(n.args, parts.args, strict=True)
        return parts if all(self.carries(a, k) for a, k in pairs if isinstance(k, int)) else None

    def scanned(self, n: Node, axis: int) -> Along | None:
        """How a result of a scan is computed for a block, cut along an axis or as a sum; None if it is not cut so."""
        loop, k = n.params
        if loop not in self.loops:
            self.loops[loop] = Body(loop, self.axes, self.part, self.along, self.reductions).block()
        found = self.loops[loop]
        return Along(found.arguments, (found.loop, k)) if found is not None and found.results[k] == axis else None

    def reductions(self, n: Node) -> list[Along]:
        """How a node is computed from parts along axes of samples that it takes away."""
        if is_scanned(n):
            found = self.scanned(n, SUMMED)
            return [] if found is None else [found]
        return reduced(n, self.carries)

    def look_at(self, n: Node) -> None:
        """Enter a node into the tables."""
        own = self.axes(n)
        best = self.best(n, own)
        if best is not None:
            self.choice[n] = best
        if own:
            self.favoured[n] = own[0] if best is None or best.axis is None else best.axis
            given = self.weight.get(n.args[0], 0) if is_broadcast(n) else len(own)
            self.weight[n] = given
        if n.args:
            self.note(n, bool(own), best is None or best.axis is None)
        else:
            self.at_hand.add(n)

    def best(self, n: Node, own: Sequence[int]) -> Choice | None:
        """The way to compute a node from parts that cuts its largest argument as that is best cut."""
        ways = [(k, self.along(n, k)) for k in own]
        found = [Choice(k, parts) for k, parts in ways if parts is not None]
        found += [Choice(None, parts) for parts in self.reductions(n)]
        if len(found) == 1:
            return found[0]
        return max(found, key=lambda c: self.score(n, c.parts), default=None)

    def score(self, n: Node, parts: Along) -> int:
        """How many sample axes the largest argument has that is cut as it is best cut."""
        pairs = zip(n.args, parts.args, strict=True)
        return max((self.weight[a] for a, k in pairs if isinstance(k, int) and self.favoured[a] == k), default=0)

    def note(self, n: Node, carries: bool, whole: bool) -> None:
        """Enter a node among those that are whole without a pass of their own, as far as it is one.

        whole: it can't be had otherwise, as a reduction is.
        """
        follows = n.op.is_elementwise or n.op.is_view or scales(n)
        if carries and (whole or (follows and any(a in self.late and as_large(a, n) for a in n.args))):
            self.late.add(n)
        if not carries or n in self.late or (follows and self.at_hand.issuperset(n.args)):
            self.at_hand.add(n)

    # ---- what is needed of each node

    def passed(self, s: State) -> bool:
        """Whether a state is a whole node that comes out of a pass: a reduction, or rows."""
        n, choice = s.node, self.choice.get(s.node)
        if s.axis is not None or choice is None:
            return False
        return choice.axis is None or not (n in self.late or (n in self.at_hand and n not in self.wanted))

    def needed(self, s: State) -> list[State]:
        """What a state is computed from; entered into `needs`."""
        n = s.node
        if s.axis is not None:
            choice = self.choice.get(n)
            single = choice is not None and choice.axis is not None
            parts = self.parts[s] = self.along(n, s.axis) if single else None
            found = [State(n, None)] if parts is None else parts_of_way(n, parts)
        elif self.passed(s):
            found = self.in_block(n)
        else:
            found = [] if n.op.by_shape else [State(a, None) for a in n.args]
        self.needs[s] = found
        return found

    def in_block(self, n: Node) -> list[State]:
        """What a block computes of a node that comes out of a pass."""
        axis, parts = self.choice[n]
        return parts_of_way(n, parts) if axis is None else [State(n, axis)]

    def is_kept(self, s: State, k: int) -> bool:
        """Whether pass k finds the whole node of a twin: what an earlier pass gives anyway, or had better give."""
        whole = State(s.node, None)
        if not self.passed(whole) or (whole not in self.level and not self.is_heavy(s)):
            return False
        return self.level.setdefault(whole, self.level[s] + 1) <= k

    def is_heavy(self, s: State) -> bool:
        """Whether a later pass should not compute the rows again.

        Each comes from all samples; or a contraction or a scan gives them, of what an earlier pass was needed for, or
        of more entries than they have; or they are sums that are compared with the largest of them, to the last bit.
        """
        count = len(self.axes(s.node))
        heavy = s.node.op.name in REDUCED and any(len(self.axes(a)) > count for a in s.node.args)
        dear = (is_dot(s.node) or is_scanned(s.node)) and (self.level[s] > 0 or self.shrinks(s.node))
        return (heavy or dear or s.node in self.compared) and s.axis == self.favoured[s.node]

    def compared_with_max(self, n: Node) -> Node | None:
        """What a comparison compares with its maximum over the samples, if sums in blocks make it; None otherwise."""
        for x, y in permutations(n.args):
            while y.op.is_view:
                (y,) = y.args
            if is_amax(y) and y.args[0] is x and self.is_reduced(y) and self.sums_in_block(x):
                return x
        return None

    def is_reduced(self, n: Node) -> bool:
        """Whether a node is best computed as a reduction over the samples."""
        return n in self.choice and self.choice[n].axis is None

    def sums_in_block(self, n: Node) -> bool:
        """Whether something below a node is added up in a block, in an order that may not be that of another pass."""
        inside = topological([n], lambda x: x not in self.choice or self.is_reduced(x))
        return any(x.op.adds for x in inside)

    def shrinks(self, n: Node) -> bool:
        """Whether a node has fewer entries than an argument that carries the samples."""
        return any(self.axes(a) and entries_counted(a.type.shape) > entries_counted(n.type.shape) for a in n.args)

    # ---- what it is worth

    @property
    def depth(self) -> int:
        """The number of passes."""
        return max((self.level[State(r, None)] for r in self.roots), default=0)

    @property
    def inside(self) -> set[Node]:
        """The nodes that are computed in blocks."""
        return {s.node for s, parts in self.parts.items() if parts is not None}

    @property
    def work(self) -> int:
        """The operations in blocks."""
        return sum(node_work(n) for n in self.inside | {s.node for s in self.needs if self.passed(s)})

    def pays(self, params: Iterable[Node]) -> bool:
        """Whether an axis of known length is worth it: blocks spare large intermediates, and do much of the work.

        One that parameters carry may be that of features or units, which must not be computed again in another pass,
        unless it is one of pairs.
        """
        spared = {n for n in self.inside if not n.op.is_view and State(n, None) not in self.level}
        everything = sum(node_work(n) for n in self.order)
        if (
            sum(entries_counted(n.type.shape) for n in spared) < LARGEST
            or SHARE * sum(map(node_work, spared)) < everything
        ):
            return False
        return self.depth == 1 or self.in_pairs(spared) or not any(map(self.axes, params))

    def in_pairs(self, nodes: Iterable[Node]) -> bool:
        """Whether the axis is there twice in what is computed, and once in every leaf."""
        leaves = [n for n in self.order if not n.args]
        return max(len(self.axes(n)) for n in nodes) > 1 >= max(len(self.axes(n)) for n in leaves)


def other_multiple(dim: Dim, name: Dim, other: str) -> Dim | None:
    """A multiple of a named dimension as the same multiple of another; None for anything else.

    >>> other_multiple("2*n*t", "n", "m"), other_multiple("n-1", "n", "m"), other_multiple("n*n", "n", "m")
    ('2*m*t', None, None)
    """
    products = parsed(dim)
    if len(products) != 1 or products[0][0].count(str(name)) != 1:
        return None
    names, number = products[0]
    return dim_product(number, *(other if k == name else k for k in names))


# What it costs


def entries_counted(shape: Shape) -> int:
    """The number of entries, where a named dimension counts as some number."""
    sizes = defaultdict[str, int](lambda: NAMED)
    found: Iterable[int] = (dim_value(d, sizes) for d in shape)
    return prod(max(d, 0) for d in found)


def as_large(x: Node, y: Node) -> bool:
    """Whether two nodes have as many entries, those of axes of one entry apart."""
    return dim_product(*x.type.shape) == dim_product(*y.type.shape)


def scales(n: Node) -> bool:
    """Whether a node is a contraction that only multiplies one operand by entries of the other."""
    return is_dot(n) and set(n.params[2]) in (set(n.params[0]), set(n.params[1])) and not reduces(n)


def reduces(n: Node) -> bool:
    """Whether a contraction sums."""
    return not {*n.params[0], *n.params[1]} <= {*n.params[2]}


def node_work(n: Node) -> int:
    """About how many operations a node takes."""
    if is_dot(n):
        (la, lb, _), (a, b) = n.params, n.args
        return 2 * entries_counted(tuple(dict(zip((*la, *lb), (*a.type.shape, *b.type.shape), strict=True)).values()))
    if n.op.is_loop:
        return operations_of(n)
    return n.op.cost * entries_counted(max((a.type.shape for a in (n, *n.args)), key=entries_counted))
