"""How arrays lie in memory, and which of them do: the axis that loops run over in lanes, and what is stored."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gradcompile.ir.core import Node, is_leaf
from gradcompile.ir.types import Dim, Shape
from gradcompile.lower.memory.entries import splits
from gradcompile.ops.contract import is_dot
from gradcompile.ops.scan import is_scanned
from gradcompile.ops.shape import is_broadcast, is_item, is_reshape

LONG = 16  # entries of an axis from which on it is worth running over in lanes
EXPENSIVE = 6  # operations from which on a value is stored rather than computed again
SPREAD = 3  # the same for a value that is repeated along an axis


@dataclass(slots=True)
class Layout:
    """For each shape the axis that lies last in memory and runs in lanes.

    lane: the dimension of the samples of a block, which comes before any other. first: one that comes after all.
    """

    lane: Dim | None
    first: Dim | None = None
    votes: dict[Shape, Counter[int]] = field(default_factory=dict)

    def learn(self, order: Iterable[Node]) -> None:
        """Look at what is reduced: lanes run best over an axis that is left."""
        for n in order:
            if n.op.routine_axes is not None:
                for x in (n, *n.args):
                    self.votes.setdefault(x.type.shape, Counter()).update(list(range(len(x.type.shape) - 1)) * 9)
            elif n.op.along_axes:
                axes = n.params[0] if isinstance(n.params[0], tuple) else n.params[:1]
                self.votes.setdefault(n.args[0].type.shape, Counter()).update(axes)
            elif is_scanned(n):
                for x in stacked(n):
                    self.votes.setdefault(x.type.shape, Counter()).update([0] * 9)
            elif is_dot(n):
                batch = set(n.params[0]) & set(n.params[1]) & set(n.params[2])
                for x, labels in zip((*n.args, n), n.params, strict=True):
                    against = [k for k, label in enumerate(labels) if label in batch for _ in range(9)]
                    self.votes.setdefault(x.type.shape, Counter()).update(against)

    def last(self, shape: Shape) -> int:
        """The axis that lies last."""
        votes = self.votes.get(shape, Counter())
        best = range(len(shape))
        return max(best, key=lambda k: (votes[k] < 9, self.is_long(shape[k]), shape[k] == self.lane, -votes[k], k))

    def is_long(self, d: Dim) -> bool:
        """Whether lanes have enough to do along an axis."""
        return d != self.first and (isinstance(d, str) or d >= LONG)

    def order(self, shape: Shape) -> tuple[int, ...]:
        """The axes as they lie in memory."""
        if not shape:
            return ()
        last = self.last(shape)
        return (*(k for k in range(len(shape)) if k != last), last)


def stacked(n: Node) -> list[Node]:
    """The arrays that a scan walks, and a result that is stacked: steps are told apart along axis 0."""
    loop, k = n.params
    _, walked, _ = loop.arguments(n.args)
    return [*walked, *([n] if 0 <= k - len(loop.finals) < len(loop.ys) else [])]


def stored(order: Sequence[Node], roots: Iterable[Node], given: Mapping[Node, object]) -> tuple[set[Node], set[Node]]:
    """The arrays that have to stand in memory, and those that do because computing them twice costs more."""
    needed = {n for n in order if n.op.in_memory and n.type.shape and n not in given}
    needed |= {n for n in order if is_reshape(n) and n not in given and merges(n)}
    for n in order:
        if n.op.reads_memory or (n in needed and is_reshape(n)):
            needed |= {x for a in read(n) if (x := base(a, given)) is not None}
    cost, spread = costs(order, needed, given), spread_out(order)
    roots = set(roots)
    owners: dict[Node, set[Node]] = {n: set() for n in order}
    kept: set[Node] = set()
    for n in reversed(order):
        if n not in needed and is_worth(n, len(owners[n]) > 1, n in spread, cost[n]):
            kept.add(n)
        ends = n in needed or n in kept or n in roots or not n.type.shape
        for a in n.args:
            if a in owners and not (n.op.reads_memory and is_copy(a)):
                owners[a] |= {n} if ends else owners[n]
    return needed, kept


def read(n: Node) -> Sequence[Node]:
    """What a node reads from memory: of a loop all but the initial values, which are written into its carries."""
    return n.args[len(n.params[0].carries) :] if is_scanned(n) else n.args


def is_worth(n: Node, is_shared: bool, is_spread: bool, cost: int) -> bool:
    """Whether an array is better stored than computed wherever it is used."""
    if not n.type.shape or not n.args or n.op.shows_entries or n.type.dtype == "bool":
        return False
    return (is_shared and cost >= EXPENSIVE) or (is_spread and cost >= SPREAD)


def spread_out(order: Iterable[Node]) -> set[Node]:
    """The arrays that are repeated along axes where they are used."""
    found: set[Node] = set()
    for n in order:
        for a in n.args:
            repeated = is_broadcast(n) or (not n.op.takes_arrays and a.type.shape != n.type.shape)
            if repeated and a.type.shape and any(d != 1 for d in added_axes(n, a)):
                found |= {a, *shown_array(a)}
    return found


def added_axes(n: Node, a: Node) -> list[Dim]:
    """The axes along which an argument is repeated."""
    left = list(n.type.shape)
    for d in a.type.shape:
        if d != 1 and d in left:
            left.remove(d)
    return left


def shown_array(n: Node) -> list[Node]:
    """What an array shows entries of."""
    found = []
    while n.op.shows_entries and n.args:
        n = n.args[0]
        found.append(n)
    return found


def merges(n: Node) -> bool:
    """Whether a reshape makes one axis of several."""
    return splits(n) is None


def base(n: Node, given: Mapping[Node, object]) -> Node | None:
    """What has to stand in memory so that an array does; None if it does already."""
    while n not in given and (is_copy(n) or is_alias(n)):
        n = n.args[0]
    return None if n in given or not n.type.shape else n


def is_alias(n: Node) -> bool:
    """Whether an array is part of another one's memory, or all of it; a number has none."""
    return n.op.is_alias and bool(n.args[0].type.shape) and (not is_item(n) or is_slice(n))


def is_copy(n: Node) -> bool:
    """Whether an array is a leaf, to be stored in another order."""
    return n.op.is_copy and is_leaf(n.args[0])


def is_slice(n: Node) -> bool:
    """Whether an item is made of places and of neighbours only."""
    return all(k is None or not hasattr(k, "step") or k.step == 1 for k in n.params[0])


def costs(order: Sequence[Node], needed: set[Node], given: Mapping[Node, object]) -> dict[Node, int]:
    """The operations of one entry of each node, down to what stands in memory."""
    cost: dict[Node, int] = {}
    for n in order:
        cost[n] = (n.op.cost if n.op.time is None else n.op.time) if n.args else 0
        if is_copy(n):
            cost[n] = EXPENSIVE
        for a in n.args:
            if a.type.shape and a not in needed and a not in given:
                cost[n] = min(cost[n] + cost[a], 1000)
    return cost
