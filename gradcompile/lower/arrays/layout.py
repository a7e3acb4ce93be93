"""How arrays lie in memory, and which of them do: the axis that loops run over in lanes, and what is stored."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gradcompile.ir import Node
from gradcompile.types import Dim, Shape

LONG = 16  # entries of an axis from which on it is worth running over in lanes
EXPENSIVE = 6  # operations from which on a value is stored rather than computed again
STORED = frozenset(
    {"sum", "amax", "dot", "scatter_add", "assemble", "overlap", "cumsum", "argsort", "argmax", "solve", "det", "scan"}
    | {"logabsdet", "detsign", "cholesky", "eigvals", "eigvecs"}
)  # ops whose results stand in memory
MATRICES = ("solve", "det", "logabsdet", "detsign", "cholesky", "eigvals", "eigvecs", "argsort", "scan")
WHOLE = (*MATRICES, "dot")  # ops that take their arguments from memory
ALIASES = ("transpose", "item", "reshape")


@dataclass(slots=True)
class Layout:
    """For each shape the axis that lies last in memory and runs in lanes.

    lane: the dimension of the samples of a block, which comes before any other.
    """

    lane: Dim | None
    votes: dict[Shape, Counter[int]] = field(default_factory=dict)

    def learn(self, order: Iterable[Node]) -> None:
        """Look at what is reduced: lanes run best over an axis that is left."""
        for n in order:
            if n.op.name in ("sum", "amax", "cumsum", "argmax"):
                axes = n.params[0] if isinstance(n.params[0], tuple) else n.params[:1]
                self.votes.setdefault(n.args[0].type.shape, Counter()).update(axes)
            elif n.op.name in MATRICES:
                for x in (n, *n.args):
                    self.votes.setdefault(x.type.shape, Counter()).update(list(range(len(x.type.shape) - 1)) * 9)
            elif n.op.name == "dot":
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
        return isinstance(d, str) or d >= LONG

    def order(self, shape: Shape) -> tuple[int, ...]:
        """The axes as they lie in memory."""
        if not shape:
            return ()
        last = self.last(shape)
        return (*(k for k in range(len(shape)) if k != last), last)


def stored(
    order: Sequence[Node], roots: Iterable[Node], given: Mapping[Node, object]
) -> tuple[set[Node], set[Node]]:
    """The arrays that have to stand in memory, and those that do because computing them twice costs more."""
    needed = {n for n in order if n.op.name in STORED and n.type.shape and n not in given}
    needed |= {n for n in order if n.op.name == "reshape" and n not in given and merges(n)}
    for n in order:
        if n.op.name in WHOLE or n in needed and n.op.name == "reshape":
            needed |= {x for a in n.args if (x := base(a, given)) is not None}
    cost = costs(order, needed, given)
    roots = set(roots)
    owners: dict[Node, set[Node]] = {n: set() for n in order}
    kept: set[Node] = set()
    for n in reversed(order):
        mine = owners[n]
        is_free = not n.type.shape or n in given or n.op.name in ("const", "leaf", "iota", "size", "table")
        if not is_free and n not in needed and len(mine) > 1 and cost[n] >= EXPENSIVE and n.type.dtype != "bool":
            kept.add(n)
        ends = n in needed or n in kept or n in roots or not n.type.shape
        for a in n.args:
            if a in owners:
                owners[a] |= {n} if ends else mine
    return needed, kept


def merges(n: Node) -> bool:
    """Whether a reshape makes one axis of several."""
    from gradcompile.lower.arrays.entries import splits

    return splits(n) is None


def base(n: Node, given: Mapping[Node, object]) -> Node | None:
    """What has to stand in memory so that an array does; None if it does already."""
    while n.op.name in ALIASES and n not in given and (n.op.name != "item" or is_slice(n)):
        n = n.args[0]
    return None if n in given or not n.type.shape else n


def is_slice(n: Node) -> bool:
    """Whether an item is made of places and of neighbours only."""
    return all(k is None or not hasattr(k, "step") or k.step == 1 for k in n.params[0])


def costs(order: Sequence[Node], needed: set[Node], given: Mapping[Node, object]) -> dict[Node, int]:
    """The operations of one entry of each node, down to what stands in memory."""
    cost: dict[Node, int] = {}
    for n in order:
        cost[n] = n.op.cost if n.args else 0
        for a in n.args:
            if a.type.shape and a not in needed and a not in given:
                cost[n] = min(cost[n] + cost[a], 1000)
    return cost
