"""Loops: the record of what a `scan` repeats, and how its results lie one after the other in one vector.

A scan takes the initial carries, the arrays that it walks along axis 0, and the constants of its body. The body is a
graph of its own, on leaves that are numbered by their places, so that two equal scans are one node.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import chain, count, islice
from typing import Any, NamedTuple, TypeVar

from gradcompile.errors import GraphError
from gradcompile.ir.algebra import assemble, astype, part_at, reshape_to
from gradcompile.ir.core import Node, Params, apply, is_leaf, leaf, named, node
from gradcompile.ir.graph import Flat, depends_on, flatten, substitute, topological, unflatten
from gradcompile.ir.types import ArrayType, Dim, dim_product, dim_sum, promote
from gradcompile.ops.shape import Span, is_broadcast, is_transpose

Nodes = tuple[Node, ...]
T = TypeVar("T")
_numbers = count()


@dataclass(frozen=True, slots=True)
class Loop:
    """What a scan repeats, `length` times, from the last place to the first if `reverse`.

    carries, slices, constants: leaves of the body; they stand for what the last step left, for the entries at the
    step's place of the arrays that are walked, and for what is the same in all steps.
    finals: the new carries.  ys: what each step gives, stacked by place.  totals: what is added up over the steps.
    carry_names, slice_names: what the user calls the first of these; they say nothing about the value.
    """

    carries: Nodes
    slices: Nodes
    constants: Nodes
    finals: Nodes
    ys: Nodes
    totals: Nodes
    length: Dim
    reverse: bool = False
    carry_names: tuple[str, ...] = field(default=(), compare=False)
    slice_names: tuple[str, ...] = field(default=(), compare=False)

    def carry_name(self, k: int) -> str:
        """What a carry is called; "carry" if nobody said."""
        return (self.carry_names[k] if k < len(self.carry_names) else "") or "carry"

    def slice_name(self, k: int) -> str:
        """What the entry that a step sees is called; empty if nobody said."""
        return self.slice_names[k] if k < len(self.slice_names) else ""

    def result_name(self, k: int) -> str:
        """What a result is called: the last carry, the carries before each step or after it, values, sums."""
        y = k - len(self.finals)
        if y < 0:
            return f"{self.carry_name(k)}_last"
        if y >= len(self.ys):
            return "over_steps"
        if self.ys[y] in self.carries:
            return f"{self.carry_name(self.carries.index(self.ys[y]))}_before"
        if self.ys[y] in self.finals:
            return f"{self.carry_name(self.finals.index(self.ys[y]))}_after"
        return f"step_{self.ys[y].op.array_name or self.ys[y].op.preferred_name or self.ys[y].op.name}"

    @property
    def leaves(self) -> Nodes:
        """The leaves of the body, in the order of the scan's arguments."""
        return (*self.carries, *self.slices, *self.constants)

    @property
    def roots(self) -> Nodes:
        """What the body computes, in the order of the scan's results."""
        return (*self.finals, *self.ys, *self.totals)

    def with_roots(self, roots: Sequence[Node]) -> "Loop":
        """The same loop around other formulas of the same types."""
        finals, ys, totals = self.split(roots)
        return replace(self, finals=finals, ys=ys, totals=totals)

    def split(self, results: Sequence[T]) -> tuple[tuple[T, ...], tuple[T, ...], tuple[T, ...]]:
        """What belongs to the finals, to the ys and to the totals."""
        first, second = len(self.finals), len(self.finals) + len(self.ys)
        return tuple(results[:first]), tuple(results[first:second]), tuple(results[second:])

    def arguments(self, args: Sequence[T]) -> tuple[tuple[T, ...], tuple[T, ...], tuple[T, ...]]:
        """What belongs to the carries, to the slices and to the constants."""
        first, second = len(self.carries), len(self.carries) + len(self.slices)
        return tuple(args[:first]), tuple(args[first:second]), tuple(args[second:])

    def __reduce__(self) -> tuple[Callable[..., "Loop"], tuple[Any, ...]]:
        counts = tuple(map(len, (self.carries, self.slices, self.constants, self.finals, self.ys, self.totals)))
        rest = (self.length, self.reverse, self.carry_names, self.slice_names)
        return _restore, (flatten((*self.leaves, *self.roots)), counts, *rest)


def _restore(flat: Flat, counts: tuple[int, ...], *rest: Any) -> Loop:
    nodes = iter(unflatten(flat))
    carries, slices, constants, finals, ys, totals = (tuple(islice(nodes, k)) for k in counts)
    return Loop(carries, slices, constants, finals, ys, totals, *rest)


class Part(NamedTuple):
    """Where one result lies in a scan's vector, and of what type it is."""

    span: Span
    type: ArrayType


def stacked(type: ArrayType, length: Dim) -> ArrayType:
    """So many of a type along axis 0."""
    return ArrayType((length, *type.shape), type.dtype)


def result_places(loop: Loop) -> list[Part]:
    """The places of the finals, the ys and the totals, one after the other."""
    types = [*(f.type for f in loop.finals), *(stacked(y.type, loop.length) for y in loop.ys)]
    found, offset = list[Part](), dim_sum(0)
    for t in (*types, *(q.type for q in loop.totals)):
        size = dim_product(*t.shape)
        found.append(Part(Span(offset, size), t))
        offset = dim_sum(offset, size)
    return found


def scan_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """A vector of all results; GraphError unless the body fits the arguments and itself."""
    loop: Loop = params[0]
    wanted = [*(c.type for c in loop.carries), *(stacked(s.type, loop.length) for s in loop.slices)]
    wanted += [c.type for c in loop.constants]
    if list(types) != wanted:
        raise GraphError(f"scan of {', '.join(map(str, types))}: its body needs {', '.join(map(str, wanted))}")
    if [f.type for f in loop.finals] != [c.type for c in loop.carries]:
        raise GraphError("scan: a new carry has not the type of the carry")
    found = result_places(loop)
    size = dim_sum(*(p.span.count for p in found))
    return ArrayType((size,), promote(*(p.type.dtype for p in found)))


def result_type(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """One result of a scan, by its place among all."""
    loop, k = params
    scan_type(types, (loop,))
    return result_places(loop)[k].type


def results_of(n: Node) -> "list[Node]":
    """The results of a scan (see `Loop.split`) as nodes of their own, without the vector."""
    return [apply("scanned", *n.args, params=(n.params[0], k)) for k in range(len(n.params[0].roots))]


def scan_results(n: Node) -> "list[Node]":
    """The results of a scan: finals, ys, totals (see `Loop.split`)."""
    return [part_of(n, p) for p in result_places(n.params[0])]


def part_of(vector: Node, part: Part) -> Node:
    """A part of a vector, in its shape and dtype."""
    return typed(part_at(vector, (part.span,)), part.type)


def typed(x: Node, type: ArrayType) -> Node:
    """The entries in a shape and dtype."""
    return astype(reshape_to(x, type.shape), type.dtype)


def packed_results(values: "Sequence[Node | None]", n: Node) -> Node:
    """A vector like a scan's, of these values in the places of its results, zero where there is none."""
    pairs = [(v, p) for v, p in zip(values, result_places(n.params[0]), strict=True) if v is not None]
    flat = [typed(v, ArrayType((p.span.count,), n.type.dtype)) for v, p in pairs]
    return assemble(flat, n.type.shape, tuple((p.span,) for _, p in pairs))


def fresh(type: ArrayType, role: str = "body") -> Node:
    """A leaf for a body that is being made, unlike any other; a "carry" may hold anything, a slice is of an array."""
    return leaf(f"body.{next(_numbers)}", type, role)


def numbered(kind: str, like: "Iterable[Node]") -> Nodes:
    """The leaves of a body, named by their places."""
    return tuple(leaf(f"{kind}.{k}", n.type, "body") for k, n in enumerate(like))


def renewed(loop: Loop) -> Loop:
    """The loop with fresh leaves, to make another one of."""
    leaves = tuple(fresh(n.type) for n in loop.leaves)
    known = dict(zip(loop.leaves, leaves, strict=True))
    carries, slices, constants = loop.arguments(leaves)
    return replace(loop.with_roots(substitute(loop.roots, known)), carries=carries, slices=slices,
                   constants=constants)  # fmt: skip


def make_scan(loop: Loop, inits: Sequence[Node], xs: Sequence[Node], outer: Mapping[Node, Node]) -> Node:
    """The scan of a loop whose formulas hold leaves of its own and anything from outside.

    What does not change from step to step is computed outside, as a constant of the loop; `outer` says what a leaf
    stands for there. Arrays of which no slice is used are left out.
    """
    order = topological(loop.roots)
    below = set(order)
    used = [(s, x) for s, x in zip(loop.slices, xs, strict=True) if s in below]
    slices = tuple(s for s, _ in used)
    names = tuple(loop.slice_name(k) for k, s in enumerate(loop.slices) if s in below)
    constants = captured(order, loop.roots, (*loop.carries, *slices))
    whole = replace(loop, slices=slices, constants=constants, slice_names=names)
    known = dict(zip(whole.leaves, numbered_leaves(whole), strict=True))
    carries, slices, leaves = whole.arguments(tuple(known.values()))
    body = replace(whole, carries=carries, slices=slices, constants=leaves)
    args = (*inits, *(x for _, x in used), *substitute(constants, outer))
    return apply("scan", *args, params=(body.with_roots(substitute(loop.roots, known)),))


def numbered_leaves(loop: Loop) -> Nodes:
    """The leaves that a loop has in the end."""
    groups = (("carry", loop.carries), ("slice", loop.slices), ("constant", loop.constants))
    return tuple(n for kind, like in groups for n in numbered(kind, like))


def captured(order: Sequence[Node], roots: "Iterable[Node]", leaves: "Iterable[Node]") -> Nodes:
    """What formulas on these leaves take from outside: the largest parts that don't depend on them, but for numbers."""
    moving = depends_on(order, leaves)
    symbolic = depends_on(order, [n for n in order if is_leaf(n)])
    found: dict[Node, None] = {}
    for n in (*chain.from_iterable(n.args for n in order if n in moving), *roots):
        while n in symbolic and n not in moving and (is_broadcast(n) or is_transpose(n)):  # these need no memory
            n = n.args[0]
        if n in symbolic and n not in moving:
            found[n] = None
    return tuple(found)


def frontier(roots: Sequence[Node], kept: "Set[Node]") -> Nodes:
    """The nodes among the kept ones that are come upon first, on the way down from the roots."""
    found = dict.fromkeys(r for r in roots if r in kept)
    for n in topological(roots, kept.__contains__):
        found |= dict.fromkeys(a for a in n.args if a in kept)
    return tuple(found)


def map_body(n: Node, step: "Callable[[Sequence[Node]], Sequence[Node]]") -> Node:
    """A scan with its body rewritten; any other node as it is."""
    if n.op.name != "scan":
        return n
    loop: Loop = n.params[0]
    new = tuple(step(loop.roots))
    return n if new == loop.roots else node(n.op, n.args, (loop.with_roots(new),))


def live_carries(loop: Loop, used: Iterable[int]) -> set[int]:
    """The results that are needed for these: those themselves, and the carries that they depend on."""
    found = set(used)
    while True:
        below = set(topological([loop.roots[k] for k in sorted(found)]))
        more = {k for k, c in enumerate(loop.carries) if c in below} - found
        if not more:
            return found
        found |= more


is_scan = named("scan")  # a loop, its param: all results in one vector
is_scanned = named("scanned")  # one result of a loop: its params are the loop, and which one
