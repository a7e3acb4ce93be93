"""The op `scan`: its value, step by step, and its derivatives, which are scans again.

Reverse mode runs the other way, with the adjoint of the carry as its carry. What it needs of the primal, the carries
before each step and the results of contractions, is stacked by a primal scan that gives them as well
(`store_values`); the rest of a step is computed again. A pass makes one scan of the two (`passes.loops`). The adjoints
of constants are added up over the steps.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from gradcompile.analysis.cost import entries
from gradcompile.analysis.evaluate import Dims, exact_values, np_values
from gradcompile.diff.masks import Care, is_masked, is_stored, masked, positive, total
from gradcompile.diff.reverse import backpropagate, pushforward
from gradcompile.ir.algebra import broadcast_to, expand, is_add, ones_where, part_at, sum_over, zeros_like
from gradcompile.ir.core import Node, Op, const, is_leaf, register
from gradcompile.ir.graph import depends_on, substitute, topological
from gradcompile.ir.types import ArrayType, dim_value
from gradcompile.ops.scan import (
    Loop,
    Nodes,
    Part,
    fresh,
    frontier,
    make_scan,
    packed_results,
    part_of,
    renewed,
    result_places,
    result_type,
    scan_results,
    scan_type,
    typed,
)
from gradcompile.ops.shape import Span, Tangents, is_assemble, is_item

Evaluator = Callable[[Sequence[Node], Mapping[Node, Any], Dims], dict[Node, Any]]
COSTLY = 8  # operations of a function that is worth a stored number


# The value


def repeated(evaluator: Evaluator, dtype: type[object] | None) -> Callable[..., list[Any]]:
    """The results of a scan by an evaluator of bodies, in one dtype or in that of each node."""

    def results(args: Sequence[Any], loop: Loop, dims: Dims) -> list[Any]:
        length = dim_value(loop.length, dims)
        carries, xs, constants = loop.arguments(args)
        rows: list[list[Any]] = [[] for _ in loop.ys]
        sums = [np.zeros(tuple(dim_value(d, dims) for d in q.type.shape), dtype or q.type.dtype) for q in loop.totals]
        for t in range(length)[:: -1 if loop.reverse else 1]:
            env = dict(zip(loop.leaves, (*carries, *(x[t] for x in xs), *constants), strict=True))
            values = evaluator(loop.roots, env, dims)
            carries, ys, totals = loop.split([values[r] for r in loop.roots])
            for row, y in zip(rows, ys, strict=True):
                row.append(y)
            sums = [s + q for s, q in zip(sums, totals, strict=True)]
        stacks = [np.reshape(row[:: -1 if loop.reverse else 1], (length, *(dim_value(d, dims) for d in y.type.shape)))
                  for row, y in zip(rows, loop.ys, strict=True)]  # fmt: skip
        return [*carries, *stacks, *sums]

    return results


def in_vector(results: Callable[..., list[Any]]) -> Callable[..., Any]:
    """The value of a scan."""

    def value(*given: Any) -> Any:
        *args, loop, dims = given
        return np.concatenate([np.ravel(v) for v in results(args, loop, dims)])

    return value


def one_result(results: Callable[..., list[Any]]) -> Callable[..., Any]:
    """The value of one result."""

    def value(*given: Any) -> Any:
        *args, loop, k, dims = given
        return results(args, loop, dims)[k]

    return value


# What is known of the primal in a derivative


class Step(NamedTuple):
    """The body of a scan on fresh leaves, and what these stand for outside: the scan's arguments."""

    scan: Node
    loop: Loop
    args: Nodes

    @property
    def wrt(self) -> Nodes:
        """The leaves that derivatives are taken in."""
        return tuple(n for n in self.loop.leaves if n.type.dtype.startswith("float"))


def step_of(n: Node) -> Step:
    """A scan, taken apart."""
    return Step(n, renewed(n.params[0]), n.args)


def store_values(step: Step, wanted: Sequence[Node]) -> list[Node]:
    """What nodes of the body are in each step, stacked; by a scan that gives them beside its own results."""
    loop, first = step.loop, len(step.loop.finals)
    inits, xs, constants = loop.arguments(step.args)
    extra = [w for w in dict.fromkeys(wanted) if w not in loop.ys]
    whole = replace(loop, ys=(*loop.ys, *extra)) if extra else loop
    n = make_scan(whole, inits, xs, dict(zip(loop.constants, constants, strict=True)))
    found = dict(zip(whole.ys, scan_results(n)[first:], strict=False))
    return [found[w] for w in wanted]


def needed(step: Step, roots: Sequence[Node]) -> Nodes:
    """The nodes of the body that a derivative begins with: carries, and what is made of them and stored.

    Functions that cost much are stored as well if then no more is read, and so never stored, in each step: the gates of
    a network in place of the sums they are of.
    """
    order, primal = topological(roots), topological(step.loop.roots)
    moving = depends_on([*primal, *order], step.loop.carries)
    stored = set(step.loop.ys)
    held = {n for n in primal if n in moving and (not n.args or n.op.is_expensive or n in stored)}
    own = depends_on(order, [n for n in order if is_leaf(n) and n not in step.loop.leaves])
    dear = {n for n in order if n in moving and n not in own and n.type.shape and n.op.emit and n.op.cost >= COSTLY}
    dear |= {n for n in primal if is_item(n) and n.args[0] in held and n.args[0].op.is_expensive}
    given = {*step.loop.slices, *(n for n in depends_on(primal, step.loop.slices) if n.op.is_expensive)}
    with_functions = frontier(roots, held | dear)
    again = frontier(roots, held)
    return min(with_functions, again, key=lambda begun: sum(map(entries, frontier(roots, given | set(begun)))))


def linearized_scan(
    step: Step, loop: Loop, inits: Sequence[Node], xs: Sequence[Node], outer: Mapping[Node, Node]
) -> Node:
    """The scan of a derivative, given by what its loop has beyond the primal's: carries, slices, and results."""
    primal = step.loop
    _, arrays, constants = primal.arguments(step.args)
    begun = needed(step, loop.roots)
    leaves = tuple(fresh(b.type) for b in begun)
    roots = substitute(loop.roots, dict(zip(begun, leaves, strict=True)))
    whole = replace(loop.with_roots(roots), slices=(*primal.slices, *leaves, *loop.slices))
    walked = (*arrays, *store_values(step, begun), *xs)
    return make_scan(whole, inits, walked, {**dict(zip(primal.constants, constants, strict=True)), **outer})


# Reverse mode


class Carried(NamedTuple):
    """The adjoint of a carry in the transposed step, on a leaf; on another one, if that matters, what it reaches."""

    value: Node
    reach: Node | None = None

    @property
    def cotangent(self) -> Node:
        """The adjoint, behind a branch where it reaches nothing."""
        return self.value if self.reach is None else masked(positive(self.reach), self.value)


def scan_vjp(g: Node, n: Node, outer: Care | None = None) -> Tangents:
    """The scan of the transposed step, which runs the other way. `outer` knows the graph that the scan stands in."""
    step = step_of(n)
    loop, outer = step.loop, outer or Care(topological([n]))
    finals, ys, totals = loop.split(cotangents(g, loop))
    rows, sums = incoming_cotangents(loop.ys, ys, outer), incoming_cotangents(loop.totals, totals, outer)
    care = inner_care(step, outer, rows.chosen | sums.chosen)
    carried = {k: begun(loop, k, care) for k, d in enumerate(finals) if d is not None}
    while True:
        pairs = [(loop.finals[k], c.cotangent) for k, c in carried.items()]
        received = backpropagate([*pairs, *rows.sent, *sums.sent], step.wrt, care)
        grown = {k for k, c in enumerate(loop.carries) if c in received} - carried.keys()
        open = {k for k, c in carried.items() if c.reach and (d := received.get(loop.carries[k]))
                and not care.keeps(d, loop.finals[k])}  # fmt: skip
        if not grown and not open:
            break
        carried |= {k: carried[k]._replace(reach=None) for k in open} | {k: begun(loop, k, care) for k in grown}
    kept = {leaf for leaf, arg in zip(loop.leaves, step.args, strict=True)
            if leaf in received and not is_stored(arg) and is_kept(received[leaf], arg, care, outer)}  # fmt: skip
    parts = transposed_step(step, received, dict(sorted(carried.items())), finals, kept, (rows.values, sums.values))
    for leaf, part in zip(loop.leaves, parts, strict=True):
        if leaf in kept and part is not None:
            outer.known[part.args[0]] = care.is_chosen(received[leaf].args[0])
    return parts


def begun(loop: Loop, k: int, care: Care) -> Carried:
    """The adjoint of a carry, taken to come from behind a branch, if there is one, until it turns out not to."""
    final = loop.finals[k]
    if is_stored(final) or not (final in care.wild or True in care.known.values()):
        return Carried(fresh(final.type))
    found = Carried(fresh(final.type), fresh(final.type))
    care.known[found.cotangent.args[0]] = True
    return found


def inner_care(step: Step, outer: Care, chosen: Set[Node]) -> Care:
    """What is known of a step: it may get what is infinite or NaN from outside, or from the step before."""
    loop, order = step.loop, topological(step.loop.roots)
    loose = {leaf for leaf, arg in zip(loop.leaves, step.args, strict=True) if arg in outer.wild}
    while True:
        care = Care(order, loose, chosen)
        more = {c for c, f in zip(loop.carries, loop.finals, strict=True) if f in care.wild} - loose
        if not more:
            return care
        loose |= more


def is_kept(found: Node, arg: Node, care: Care, outer: Care) -> bool:
    """Whether the adjoint of a leaf stays behind its branch outside, on the way to what the leaf stands for."""
    return is_masked(found) and (arg in outer.wild or (arg in outer.fed and care.is_chosen(found.args[0])))


class Arriving(NamedTuple):
    """What the transposed step gets for results of the step."""

    sent: list[tuple[Node, Node]]  # a result, and its cotangent, on leaves
    values: dict[Node, Node]  # what the leaves stand for, outside or stacked
    chosen: set[Node]  # leaves that stand for conditions of selections


def incoming_cotangents(results: Sequence[Node], given: Sequence[Node | None], outer: Care) -> Arriving:
    """The cotangents of results of the step; one from behind a branch stays there, entry by entry."""
    arrived = Arriving([], {}, set())
    for y, d in zip(results, given, strict=True):
        if d is not None and is_masked(d):
            condition, value = fresh(ArrayType(y.type.shape, "bool")), fresh(y.type)
            arrived.values.update({condition: expand(d.args[0], d.type.shape), value: expand(d.args[1], d.type.shape)})
            arrived.sent.append((y, masked(condition, value)))
            arrived.chosen.update({condition} if outer.is_chosen(d.args[0]) else ())
        elif d is not None:
            value = fresh(y.type)
            arrived.values[value] = d
            arrived.sent.append((y, value))
    return arrived


def transposed_step(
    step: Step,
    received: Mapping[Node, Node],
    carried: Mapping[int, Carried],
    finals: Sequence[Node | None],
    kept: Set[Node],
    arrived: tuple[Mapping[Node, Node], Mapping[Node, Node]],
) -> Tangents:
    """The adjoints of a scan's arguments, from the adjoints of the step's leaves.

    kept: leaves whose adjoint stays behind a branch outside.  arrived: what the leaves of cotangents stand for, of
    those of ys and of totals.
    """
    loop = step.loop
    told = {k: c.reach for k, c in carried.items() if c.reach is not None}
    slices = [s for s in loop.slices if s in received]
    constants = [c for c in loop.constants if c in received]
    own = [received.get(loop.carries[k]) or zeros_like(c.value) for k, c in carried.items()]
    rows, outer = arrived
    back = Loop(
        (*(c.value for c in carried.values()), *told.values()),
        tuple(rows),
        (),
        (*own, *(reach_of(received.get(loop.carries[k]), c) for k, c in told.items())),
        (*(received[s] for s in slices), *(reach_of(received[s], s) for s in slices if s in kept)),
        (*(received[c] for c in constants), *(reach_of(received[c], c) for c in constants if c in kept)),
        loop.length,
        not loop.reverse,
        (*(f"d_{loop.carry_name(k)}" for k in carried), *(f"{loop.carry_name(k)}_counts" for k in told)),
    )
    inits = [finals[k] or zeros_like(c.value) for k, c in carried.items()]
    inits += [reach_of(finals[k], c) for k, c in told.items()]
    if not back.roots:
        return (None,) * len(step.args)
    results = scan_results(linearized_scan(step, back, inits, list(rows.values()), outer))
    found, reached = dict[Node, Node](), dict[Node, Node]()
    for leaves, some in (
        ([loop.carries[k] for k in carried], [loop.carries[k] for k in told]),
        (slices, [s for s in slices if s in kept]),
        (constants, [c for c in constants if c in kept]),
    ):
        found |= dict(zip(leaves, results, strict=False))
        reached |= dict(zip(some, results[len(leaves) :], strict=False))
        results = results[len(leaves) + len(some) :]
    return tuple(behind(found.get(leaf), reached.get(leaf) if leaf in kept else None) for leaf in loop.leaves)


def reach_of(adjoint: Node | None, like: Node) -> Node:
    """1 where an adjoint reaches something, 0 behind a branch."""
    if adjoint is None:
        return zeros_like(like)
    one = const(1.0, like.type.dtype)
    return expand(ones_where(adjoint.args[0], like.type.dtype) if is_masked(adjoint) else one, like.type.shape)


def behind(adjoint: Node | None, reach: Node | None) -> Node | None:
    """An adjoint that is 0 where it reaches nothing."""
    return adjoint if adjoint is None or reach is None else masked(positive(reach), adjoint)


def cotangents(g: Node, loop: Loop) -> list[Node | None]:
    """What of a scan's adjoint belongs to each of its results, None where that is known to be nothing."""
    found = result_places(loop)
    spans = frozenset(p.span for p in found)
    pieces = [piece(g, p, spans) if p.type.dtype.startswith("float") else None for p in found]
    return [None if x is None else as_part(x, p.type) for x, p in zip(pieces, found, strict=True)]


def as_part(x: Node, type: ArrayType) -> Node:
    """An adjoint in a shape and dtype; from behind a branch, it stays there."""
    if not is_masked(x):
        return typed(x, type)
    condition, value = (expand(a, x.type.shape) for a in x.args[:2])
    return masked(typed(condition, ArrayType(type.shape, "bool")), typed(value, type))


def piece(g: Node, part: Part, spans: Set[Span]) -> Node | None:
    """An entry span of an adjoint: what was put in its place, if nothing overlaps it."""
    if is_assemble(g) and all(span in spans for (span,) in g.params[1]):
        found = [v for v, (span,) in zip(g.args, g.params[1], strict=True) if span == part.span]
        return total(found) if found else None
    if is_add(g):
        found = [p for p in (piece(a, part, spans) for a in g.args) if p is not None]
        return total(found) if found else None
    if is_masked(g):
        inner, condition = piece(g.args[1], part, spans), g.args[0]
        own = part_at(condition, (part.span,)) if condition.type.shape else condition
        return None if inner is None else masked(own, inner)
    return part_of(g, part)


def scan_reach(g: Node, n: Node) -> Tangents:
    """An entry of the adjoint may reach all of every argument."""
    some = sum_over(g, (0,))
    return tuple(broadcast_to(some, a.type.shape) if a.type.shape else some for a in n.args)


# Forward mode


def scan_jvp(n: Node, tangents: Tangents) -> Node:
    """The scan of the step's tangent, which runs the same way."""
    step = step_of(n)
    loop = step.loop
    moved = {leaf: fresh(leaf.type) for leaf, t in zip(loop.leaves, tangents, strict=True) if t is not None}
    while True:
        known = pushforward(loop.roots, moved)
        grown = {c for c, f in zip(loop.carries, loop.finals, strict=True) if f in known} - moved.keys()
        if not grown:
            break
        moved |= {c: fresh(c.type) for c in loop.carries if c in grown}
    return pushed_step(step, dict(zip(loop.leaves, tangents, strict=True)), moved, known)


def pushed_step(
    step: Step, given: Mapping[Node, Node | None], moved: Mapping[Node, Node], known: Mapping[Node, Node]
) -> Node:
    """The tangent of a scan, from the tangents of what the step gives."""
    loop = step.loop
    pairs = [(c, f) for c, f in zip(loop.carries, loop.finals, strict=True) if c in moved]
    slices = [s for s in loop.slices if s in moved]
    _, ys, totals = loop.split([expand(known[r], r.type.shape) if r in known else None for r in loop.roots])
    onward = Loop(
        tuple(moved[c] for c, _ in pairs),
        tuple(moved[s] for s in slices),
        (),
        tuple(expand(known[f], f.type.shape) if f in known else zeros_like(f) for _, f in pairs),
        tuple(y for y in ys if y is not None),
        tuple(q for q in totals if q is not None),
        loop.length,
        loop.reverse,
        tuple(f"{loop.carry_name(k)}_tangent" for k, c in enumerate(loop.carries) if c in moved),
    )
    inits = [given[c] or zeros_like(c) for c, _ in pairs]
    outer = {moved[c]: t for c in loop.constants if (t := given[c]) is not None}
    xs = [t for s in slices if (t := given[s]) is not None]
    results = iter(scan_results(linearized_scan(step, onward, inits, xs, outer)) if onward.roots else ())
    carried = [next(results) if c in moved else None for c in loop.carries]
    return packed_results([*carried, *(None if r is None else next(results) for r in (*ys, *totals))], step.scan)


register(Op("scan", scan_type, in_vector(repeated(np_values, None)), exact=in_vector(repeated(exact_values, object)),
            vjp=scan_vjp, careful=scan_vjp, jvp=scan_jvp, reach=scan_reach, cost=0, arity=None, is_loop=True,
            derivative="the transposed steps, the other way", accuracy="that of the steps",
            convention="what reaches the last carry from behind a branch is told from the rest as a whole, "
                       "not by entry",
            doc="a step repeated, each from what the last one left"))  # fmt: skip
register(Op("scanned", result_type, one_result(repeated(np_values, None)), cost=0, arity=None,
            exact=one_result(repeated(exact_values, object)), derivative="none: it is made after differentiation",
            accuracy="that of the steps", is_loop=True, adds=True, in_memory=True, reads_memory=True,
            doc="one result of a scan"))  # fmt: skip
