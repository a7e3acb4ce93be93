"""The plan of blocks: a program cut into passes over one axis, the samples, so that memory does not grow with them.

Of every node that carries the sample axis there may be a twin in the *block graph*, for the m samples of a block. What
leaves a pass is what each block adds to the reductions over the samples, and rows that are wanted as they are. A
reduction belongs to the first pass that can compute it; twins that several passes need are computed again in each.

A node is needed *whole* when it is a root, or when something looks across samples: a sort, the other operand of a
pairwise difference. Then it is a reduction, or the rows of all blocks, or the program's own work between passes: what
does not carry the axis, what no block can compute, and what follows entry by entry from wholes that are there already.
A node that can only be had whole is cut into rows, as an input is.

Where a node carries the axis twice, one of the two is cut: the one that its largest argument is cut along, the leftmost
if that says nothing. So both sides of X[:, None] - X[None, :] are cut along the rows, and the second X is taken whole.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

from gradcompile.ir import Node, apply, leaf, topological
from gradcompile.lower.arrays.pointwise import REDUCED, VIEWS, Along, along, put, reduced
from gradcompile.passes.contract import NAMED
from gradcompile.types import ArrayType, Dim, Shape, dim_product, dim_value, parsed

SHORTEST = 256  # a number of samples, known beforehand, that may be worth blocks
LARGEST = 1 << 18  # entries of intermediates that may as well be whole
FOLLOWING = VIEWS | {"cast"}  # as good as elementwise
SHARE = 3  # an axis of known length pays if a part of the work, one in so many, gets into blocks


@dataclass(frozen=True, slots=True)
class Reduction:
    """A node of the program that is reduced over the samples, and what one block adds to it, of the same type.

    kind: "sum", or "max" where NaN is larger than anything.
    """

    node: Node
    block: Node
    kind: str


@dataclass(frozen=True, slots=True)
class Rows:
    """A node of the program that carries the samples along `axis`, and the part of it that one block computes."""

    node: Node
    block: Node
    axis: int


@dataclass(frozen=True, slots=True)
class Pass:
    """One walk over the blocks.

    given: the nodes of the program, constants apart, that its blocks read whole; they are computed before the pass.
    cut: the block leaves that it reads.
    """

    reductions: list[Reduction]
    rows: list[Rows]
    given: list[Node]
    cut: list[Node]


@dataclass(frozen=True, slots=True)
class Plan:
    """The passes over the samples.

    dim: of the sample axis.  block: the name of the dimension of a block.  leaves: for each block leaf the node of the
    program, a leaf or one that is computed before, whose rows it is, and the axis.  first: the scalar leaf that is the
    number of the block's first sample.
    """

    dim: Dim
    block: str
    passes: list[Pass]
    leaves: dict[Node, tuple[Node, int]]
    first: Node


class State(NamedTuple):
    """A node over a block, cut along an axis; or whole, with None."""

    node: Node
    axis: int | None


class Choice(NamedTuple):
    """How a node is best computed from parts: cut along an axis of its own, or, with None, reduced over the samples."""

    axis: int | None
    parts: Along


def plan(roots: Sequence[Node], inputs: Set[Node]) -> Plan | None:
    """The program, the value and then its gradients, in passes over the samples; None if no axis pays.

    inputs: the leaves that are no parameters. The samples are the named dimension of inputs with most work in blocks;
    if there is none, a dimension of known length, of a parameter perhaps, that has much to gain.

    >>> X, w = leaf("X", ArrayType(("n", 3))), leaf("w", ArrayType((3,)), "param")
    >>> z = apply("dot", X, w, params=((0, 1), (1,), (0,)))
    >>> found = plan([apply("sum", apply("mul", z, z), params=((0,),))], {X})
    >>> found.dim, found.passes[0].reductions[0].block.args[0]
    ('n', <mul float64[m]>)
    """
    order = topological(roots)
    leaves = [n for n in order if n.op.name == "leaf"]
    named = dims_of(n for n in leaves if n in inputs)
    found = [p for p in (Planner(roots, order, d) for d in named if isinstance(d, str)) if p.depth]
    if not found:
        params = [n for n in leaves if n not in inputs]
        long = [d for d in dims_of(leaves) if isinstance(d, int) and d >= SHORTEST]
        found = [p for p in (Planner(roots, order, d) for d in long) if p.depth and p.pays(params)]
    return max(found, key=lambda p: p.work / p.depth).plan() if found else None


def dims_of(leaves: Iterable[Node]) -> list[Dim]:
    """The dimensions of the leaves, each once, but for those that are sums or products."""
    dims = dict.fromkeys(d for n in leaves for d in n.type.shape)
    return [d for d in dims if isinstance(d, int) or d.isidentifier()]


def fresh(name: str, taken: Set[str]) -> str:
    """A name that is not taken: this one, or with a number.

    >>> fresh("m", {"m", "n"})
    'm_2'
    """
    k = 1
    while (found := name if k == 1 else f"{name}_{k}") in taken:
        k += 1
    return found


def entries(shape: Shape) -> int:
    """The number of entries, where a named dimension counts as some number."""
    sizes = defaultdict[str, int](lambda: NAMED)
    found: Iterable[int] = (dim_value(d, sizes) for d in shape)
    return prod(max(d, 0) for d in found)


def as_large(x: Node, y: Node) -> bool:
    """Whether two nodes have as many entries, those of axes of one entry apart."""
    return dim_product(*x.type.shape) == dim_product(*y.type.shape)


def scales(n: Node) -> bool:
    """Whether a node is a contraction that only multiplies one operand by entries of the other."""
    return n.op.name == "dot" and set(n.params[2]) in (set(n.params[0]), set(n.params[1])) and not reduces(n)


def reduces(n: Node) -> bool:
    """Whether a contraction sums."""
    return not {*n.params[0], *n.params[1]} <= {*n.params[2]}


def work(n: Node) -> int:
    """About how many operations a node takes."""
    if n.op.name == "dot":
        (la, lb, _), (a, b) = n.params, n.args
        return 2 * entries(tuple(dict(zip((*la, *lb), (*a.type.shape, *b.type.shape), strict=True)).values()))
    return n.op.cost * entries(max((a.type.shape for a in (n, *n.args)), key=entries))


@dataclass
class Planner:
    """Plans one program for one dimension.

    weight: how many sample axes a node has of its own, not repeated. favoured: the one along which it is best cut.
    choice: how. at_hand: what needs no pass to be whole once its reductions are there. late: what follows, entry by
    entry, from a reduction that carries samples. states: all that is needed, arguments first. level: how many passes
    come before. live: the whole nodes that are computed. given_by: what comes out of each pass.
    """

    roots: Sequence[Node]
    order: Sequence[Node]
    dim: Dim
    weight: dict[Node, int] = field(default_factory=dict)
    favoured: dict[Node, int] = field(default_factory=dict)
    choice: dict[Node, Choice] = field(default_factory=dict)
    at_hand: set[Node] = field(default_factory=set)
    late: set[Node] = field(default_factory=set)
    level: dict[State, int] = field(default_factory=dict)
    live: set[State] = field(default_factory=set)
    given_by: defaultdict[int, list[Node]] = field(default_factory=lambda: defaultdict(list))
    leaf_of: dict[tuple[Node, int], Node] = field(default_factory=dict)
    leaves: dict[Node, tuple[Node, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken = {name for n in self.order for d in n.type.shape for names, _ in parsed(d) for name in names}
        self.names = {str(n.params[0]) for n in self.order if n.op.name == "leaf"}
        self.block = fresh("m", taken)
        self.first = leaf(fresh("first", self.names), ArrayType((), "int64"))
        for n in self.order:
            self.look_at(n)
        self.wanted, self.place = set(self.roots), {n: k for k, n in enumerate(self.order)}
        self.states = ordered([State(r, None) for r in self.roots], self.needs)
        for s in self.states:
            self.level[s] = max((self.level[x] for x in self.needs(s)), default=0) + (s.axis is None and self.passed(s))

    # ---- how each node is best cut, arguments first

    def axes(self, n: Node) -> list[int]:
        """The axes of the samples' length."""
        return [k for k, d in enumerate(n.type.shape) if d == self.dim]

    def look_at(self, n: Node) -> None:
        """Enter a node into the tables."""
        own = self.axes(n)
        best = self.best(n, own)
        if best is not None:
            self.choice[n] = best
        if own:
            self.favoured[n] = own[0] if best is None or best.axis is None else best.axis
            given = self.weight.get(n.args[0], 0) if n.op.name == "broadcast" else len(own)
            self.weight[n] = given
        self.note(n, bool(own), best is not None and best.axis is None)

    def best(self, n: Node, own: Sequence[int]) -> Choice | None:
        """The way to compute a node from parts that cuts its largest argument as that is best cut."""
        ways = [(k, along(n, k, self.block)) for k in own]
        found = [Choice(k, parts) for k, parts in ways if parts is not None]
        found += [Choice(None, parts) for parts in reduced(n, self.dim)]
        return max(found, key=lambda c: self.score(n, c.parts), default=None)

    def score(self, n: Node, parts: Along) -> int:
        """How many sample axes the largest argument has that is cut as it is best cut."""
        pairs = zip(n.args, parts.args, strict=True)
        return max((self.weight[a] for a, k in pairs if isinstance(k, int) and self.favoured[a] == k), default=0)

    def note(self, n: Node, carries: bool, sums: bool) -> None:
        """Enter a node among those that are whole without a pass of their own, as far as it is one."""
        follows = not n.op.takes_arrays or n.op.name in FOLLOWING or scales(n)
        if carries and (sums or (follows and any(a in self.late and as_large(a, n) for a in n.args))):
            self.late.add(n)
        if not carries or not n.args or n in self.late or (follows and self.at_hand.issuperset(n.args)):
            self.at_hand.add(n)

    # ---- what is needed of each node

    def passed(self, s: State) -> bool:
        """Whether a whole node comes out of a pass: a reduction, or rows."""
        n, choice = s.node, self.choice.get(s.node)
        if choice is None:
            return False
        return choice.axis is None or not (n in self.late or (n in self.at_hand and n not in self.wanted))

    def needs(self, s: State) -> list[State]:
        """What a state is computed from."""
        n = s.node
        if s.axis is not None:
            parts = self.parts(s)
            return [State(n, None)] if parts is None else parts_of(n, parts)
        if self.passed(s):
            return self.needs_of_parts(n)
        return [] if n.op.name == "size" else [State(a, None) for a in n.args]

    def parts(self, s: State) -> Along | None:
        """How the twin of a node is computed; None if it is cut from the whole node."""
        choice = self.choice.get(s.node)
        if s.axis is None or choice is None or choice.axis is None:
            return None
        return along(s.node, s.axis, self.block)

    # ---- what it is worth

    @property
    def depth(self) -> int:
        """The number of passes."""
        return max((self.level[State(r, None)] for r in self.roots), default=0)

    @property
    def inside(self) -> set[Node]:
        """The nodes that are computed in blocks."""
        return {s.node for s in self.states if self.parts(s) is not None}

    @property
    def work(self) -> int:
        """The operations in blocks."""
        return sum(work(n) for n in self.inside | {s.node for s in self.states if self.passed(s)})

    def pays(self, params: Iterable[Node]) -> bool:
        """Whether an axis of known length is worth it: blocks spare large intermediates, and do much of the work.

        One that parameters carry may be that of features or units, which must not be computed again in another pass,
        unless it is one of pairs.
        """
        spared = {n for n in self.inside if n.op.name not in VIEWS and State(n, None) not in self.level}
        everything = sum(work(n) for n in self.order)
        if sum(entries(n.type.shape) for n in spared) < LARGEST or SHARE * sum(map(work, spared)) < everything:
            return False
        return self.depth == 1 or self.in_pairs(spared) or not any(map(self.axes, params))

    def in_pairs(self, nodes: Iterable[Node]) -> bool:
        """Whether the axis is there twice in what is computed, and once in every leaf."""
        leaves = [n for n in self.order if not n.args]
        return max(len(self.axes(n)) for n in nodes) > 1 >= max(len(self.axes(n)) for n in leaves)

    # ---- the block graph

    def plan(self) -> Plan:
        """The passes, the last one first, so that each is told what later ones read."""
        self.want(self.roots)
        passes = [self.one_pass(k) for k in reversed(range(self.depth))][::-1]
        return Plan(self.dim, self.block, [p for p in passes if p.reductions or p.rows], self.leaves, self.first)

    def want(self, nodes: Iterable[Node]) -> None:
        """Have the passes give what these whole nodes need of them."""
        stack = [State(n, None) for n in nodes]
        while stack:
            s = stack.pop()
            if s in self.live:
                continue
            self.live.add(s)
            if self.passed(s):
                self.given_by[self.level[s] - 1].append(s.node)
            else:
                stack += self.needs(s)

    def one_pass(self, k: int) -> Pass:
        """The pass of that number."""
        out = sorted(self.given_by[k], key=self.place.__getitem__)
        body = self.body(out, k)
        twin: dict[State, Node] = {}
        for s in body:
            if s.axis is not None:
                twin[s] = self.cut(s.node, s.axis) if self.is_cut(s, k) else self.built(s, twin)
        cut = [s for s in body if self.is_cut(s, k)]
        given = [s.node for s in body if s.axis is None and s.node.op.name != "const"]
        self.want([*given, *(s.node for s in cut)])
        reductions, rows = list[Reduction](), list[Rows]()
        for n in out:
            axis, parts = self.choice[n]
            if axis is None:
                reductions.append(Reduction(n, over(n, parts, twin), "max" if n.op.name == "amax" else "sum"))
            else:
                rows.append(Rows(n, twin[State(n, axis)], axis))
        return Pass(reductions, rows, given, [twin[s] for s in cut])

    def body(self, out: Sequence[Node], k: int) -> list[State]:
        """What the blocks of a pass work on, arguments first: twins, and the whole nodes that they read."""
        starts = [x for n in out for x in self.needs_of_parts(n)]
        return ordered(starts, lambda s: [] if s.axis is None or self.is_cut(s, k) else self.needs(s))

    def needs_of_parts(self, n: Node) -> list[State]:
        """What the blocks have to have of a node that comes out of their pass."""
        axis, parts = self.choice[n]
        return parts_of(n, parts) if axis is None else [State(n, axis)]

    def is_cut(self, s: State, k: int) -> bool:
        """Whether pass k cuts a twin from the whole node: it can't be had otherwise, or an earlier pass gives it."""
        if s.axis is None or self.parts(s) is None:
            return s.axis is not None
        whole = State(s.node, None)
        if self.passed(whole) and (whole in self.level or self.is_heavy(s)):
            self.level.setdefault(whole, self.level[s] + 1)
            return self.level[whole] <= k
        return False

    def is_heavy(self, s: State) -> bool:
        """Whether each of the rows comes from all samples, so that a later pass should not compute them again."""
        count = len(self.axes(s.node))
        heavy = s.node.op.name in REDUCED and any(len(self.axes(a)) > count for a in s.node.args)
        return heavy and s.axis == self.favoured[s.node]

    def built(self, s: State, twin: Mapping[State, Node]) -> Node:
        """The twin of a node, from those of its arguments."""
        parts = self.parts(s)
        assert parts is not None
        result = over(s.node, parts, twin)
        return apply("add", result, self.first) if s.node.op.name == "iota" else result

    def cut(self, n: Node, axis: int) -> Node:
        """The leaf for the rows of a whole node; the same in every pass."""
        if (n, axis) not in self.leaf_of:
            name = n.params[0] if n.op.name == "leaf" else fresh("rows", self.names)
            self.names.add(name)
            type = ArrayType(put(n.type.shape, axis, self.block), n.type.dtype)
            self.leaf_of[n, axis] = leaf(name, type)
            self.leaves[self.leaf_of[n, axis]] = n, axis
        return self.leaf_of[n, axis]


def over(n: Node, parts: Along, twin: Mapping[State, Node]) -> Node:
    """The op of a node over parts of its arguments."""
    pairs = zip(n.args, parts.args, strict=True)
    args = (k if isinstance(k, Node) else a if k is None else twin[State(a, k)] for a, k in pairs)
    return apply(n.op.name, *args, params=parts.params)


def parts_of(n: Node, parts: Along) -> list[State]:
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
