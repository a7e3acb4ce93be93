"""The plan of blocks: a program cut into passes over one axis, the samples, so that memory does not grow with them.

Of every node that carries the sample axis there may be a twin in the *block graph*, for the m samples of a block. What
leaves a pass is what each block adds to the reductions over the samples, and rows that are wanted as they are. A
reduction belongs to the first pass that can compute it; twins that several passes need are computed again in each,
unless the whole is there already, or each of its rows comes from all samples: then it is kept. What is needed of which
node stands in `cutting`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from gradcompile.ir.core import Node, is_const, is_leaf, leaf
from gradcompile.ir.graph import topological
from gradcompile.ir.types import ArrayType, Dim, parsed
from gradcompile.loops.kernel import Meeting
from gradcompile.lower.blocks.analysis import BlockAnalysis
from gradcompile.lower.blocks.pointwise import put
from gradcompile.lower.blocks.states import State, ordered, over
from gradcompile.lower.nests.places import meeting
from gradcompile.ops.shape import is_iota

SHORTEST = 256  # a number of samples, known beforehand, that may be worth blocks


@dataclass(frozen=True, slots=True)
class BlockReduction:
    """A node of the program that is reduced over the samples, and what one block adds to it, of the same type.

    kind: "added", or "largest" where NaN is larger than anything.
    """

    node: Node
    block: Node
    kind: Meeting


@dataclass(frozen=True, slots=True)
class BlockRows:
    """A node of the program that carries the samples along `axis`, and the part of it that one block computes."""

    node: Node
    block: Node
    axis: int


@dataclass(frozen=True, slots=True)
class BlockPass:
    """One walk over the blocks.

    given: the nodes of the program, constants apart, that its blocks read whole; they are computed before the pass.
    cut: the block leaves that it reads. origin: the node of the program that each node of the blocks is a part of.
    """

    reductions: list[BlockReduction]
    rows: list[BlockRows]
    given: list[Node]
    cut: list[Node]
    origin: dict[Node, Node]

    @property
    def roots(self) -> list[Node]:
        """What a block gives."""
        return [*(r.block for r in self.reductions), *(r.block for r in self.rows)]


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The passes over the samples.

    dim: of the sample axis.  block: the name of the dimension of a block.  leaves: for each block leaf the node of the
    program, a leaf or one that is computed before, whose rows it is, and the axis; of an axis of n*t entries a block
    has m*t.  first: the scalar leaf that is the number of the block's first sample.
    """

    dim: Dim
    block: str
    passes: list[BlockPass]
    leaves: dict[Node, tuple[Node, int]]
    first: Node


def plan(roots: Sequence[Node], inputs: Set[Node]) -> BlockPlan | None:
    """The program, the value and then its gradients, in passes over the samples; None if no axis pays.

    inputs: the leaves that are no parameters. The samples are the named dimension of inputs with most work in blocks;
    if there is none, a dimension of known length, of a parameter perhaps, that has much to gain.

    >>> from gradcompile.ir.core import apply
    >>> X, w = leaf("X", ArrayType(("n", 3))), leaf("w", ArrayType((3,)), "param")
    >>> z = apply("dot", X, w, params=((0, 1), (1,), (0,)))
    >>> found = plan([apply("sum", z * z, params=((0,),))], {X})
    >>> found.dim, found.passes[0].reductions[0].block.args[0]
    ('n', <mul float64[m]>)
    """
    order = topological(roots)
    leaves = [n for n in order if is_leaf(n)]
    named, taken = dims_of(n for n in leaves if n in inputs), {name for n in order for name in dim_names(n)}
    cuttings = [BlockAnalysis(roots, order, d, fresh("m", taken)) for d in named if isinstance(d, str)]
    found = [c for c in cuttings if c.depth]
    if not found:
        long = [d for d in dims_of(leaves) if isinstance(d, int) and d >= SHORTEST]
        cuttings = [BlockAnalysis(roots, order, d, fresh("m", taken)) for d in long]
        found = [c for c in cuttings if c.depth and c.pays([n for n in leaves if n not in inputs])]
    if not found:
        return None
    best = max(found, key=lambda c: c.work / c.depth) if len(found) > 1 else found[0]
    return Builder(best, {str(n.params[0]) for n in leaves}).plan()


def dims_of(leaves: Iterable[Node]) -> list[Dim]:
    """The dimensions of the leaves, each once, but for those that are sums or products."""
    dims = dict.fromkeys(d for n in leaves for d in n.type.shape)
    return [d for d in dims if isinstance(d, int) or d.isidentifier()]


def dim_names(n: Node) -> set[str]:
    """The names in a node's dimensions."""
    return {name for d in n.type.shape for names, _ in parsed(d) for name in names}


def fresh(name: str, taken: Set[str]) -> str:
    """A name that is not taken: this one, or with a number.

    >>> fresh("m", {"m", "n"})
    'm_2'
    """
    k = 1
    while (found := name if k == 1 else f"{name}_{k}") in taken:
        k += 1
    return found


@dataclass
class Builder:
    """Builds the block graph of a program that is cut.

    names: of leaves. live: the whole nodes that are computed. outcome: what comes out of each pass. leaf_of: the leaf
    for the rows of a node along an axis.
    """

    cutting: BlockAnalysis
    names: set[str]
    live: set[State] = field(default_factory=set)
    outcome: defaultdict[int, list[Node]] = field(default_factory=lambda: defaultdict(list))
    leaf_of: dict[State, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.first = leaf(fresh("first", self.names), ArrayType((), "int64"))
        self.place = {n: k for k, n in enumerate(self.cutting.order)}

    def plan(self) -> BlockPlan:
        """The passes are built from the last one on, so that each is told what later ones read."""
        c = self.cutting
        self.want(c.roots)
        passes = [self.one_pass(k) for k in reversed(range(c.depth))][::-1]
        leaves = {x: (s.node, s.axis or 0) for s, x in self.leaf_of.items()}
        return BlockPlan(c.dim, c.block, [p for p in passes if p.reductions or p.rows], leaves, self.first)

    def want(self, nodes: Iterable[Node]) -> None:
        """Have the passes give what these whole nodes need of them."""
        stack = [State(n, None) for n in nodes]
        while stack:
            s = stack.pop()
            if s in self.live:
                continue
            self.live.add(s)
            if self.cutting.passed(s):
                self.outcome[self.cutting.level[s] - 1].append(s.node)
            else:
                stack += self.cutting.needs[s]

    def one_pass(self, k: int) -> BlockPass:
        """The pass of that number."""
        out = sorted(self.outcome[k], key=self.place.__getitem__)
        cut: list[State] = []
        body = self.body(out, k, cut)
        twin: dict[State, Node] = {s: self.rows_of(s) for s in cut}
        for s in body:
            if s.axis is not None and s not in twin:
                twin[s] = self.built(s, twin)
        given = [s.node for s in body if s.axis is None and not is_const(s.node)]
        self.want([*given, *(s.node for s in cut)])
        ways = [(n, *self.cutting.choice[n]) for n in out]
        reductions = [BlockReduction(n, over(n, parts, twin), meeting(n)) for n, axis, parts in ways if axis is None]
        rows = [BlockRows(n, twin[State(n, axis)], axis) for n, axis, _ in ways if axis is not None]
        return BlockPass(reductions, rows, given, [twin[s] for s in cut], {x: s.node for s, x in twin.items()})

    def body(self, out: Sequence[Node], k: int, cut: list[State]) -> list[State]:
        """What the blocks of a pass work on, arguments first; what is cut is entered into `cut`."""

        def needs(s: State) -> list[State]:
            if s.axis is None:
                return []
            if self.cutting.parts[s] is None or self.cutting.is_kept(s, k):
                cut.append(s)
                return []
            return self.cutting.needs[s]

        return ordered([s for n in out for s in self.cutting.in_block(n)], needs)

    def built(self, s: State, twin: Mapping[State, Node]) -> Node:
        """The twin of a node, from those of its arguments."""
        parts = self.cutting.parts[s]
        assert parts is not None
        result = over(s.node, parts, twin)
        return result + self.first if is_iota(s.node) else result

    def rows_of(self, s: State) -> Node:
        """The leaf for the rows of a whole node, the same in every pass."""
        if s not in self.leaf_of:
            n, axis = s.node, s.axis or 0
            name = n.params[0] if is_leaf(n) else fresh("rows", self.names)
            self.names.add(name)
            part = self.cutting.part(n.type.shape[axis])
            assert part is not None
            self.leaf_of[s] = leaf(name, ArrayType(put(n.type.shape, axis, part), n.type.dtype))
        return self.leaf_of[s]
