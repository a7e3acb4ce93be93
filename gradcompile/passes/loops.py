"""Loops: two of one recurrence become one, and what needs no loop leaves it, for all steps at once.

A contraction of what the steps get, with weights that are the same in all, is done before the loop; one that only the
results need, after it, and so are the sums over the steps of products, as the adjoints of weights are: one large matrix
product instead of many small ones. Functions of numbers are computed for all steps at once likewise, as vectors.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

from gradcompile.diff.batch import batched, fitting
from gradcompile.diff.scan import COSTLY, Step, step_of
from gradcompile.ir.algebra import add, broadcast_to, is_add, permute
from gradcompile.ir.core import Node, apply, is_const
from gradcompile.ir.graph import depends_on, rebuild, substitute, topological, with_new
from gradcompile.ir.types import ArrayType
from gradcompile.ops.contract import contract, is_dot
from gradcompile.ops.labels import Labelled, without_transposes
from gradcompile.ops.scan import (
    Loop,
    Nodes,
    fresh,
    frontier,
    is_scan,
    live_carries,
    make_scan,
    map_body,
    packed_results,
    result_places,
    scan_results,
)
from gradcompile.ops.shape import is_broadcast, is_item, places
from gradcompile.passes.simplify import simplify

FEW = 4  # operations, one in another, that are computed in the step
STACKED = 2  # values of each step that may be stored for what is done after the loop


def untangle(roots: Sequence[Node]) -> list[Node]:
    """The roots with loops that are joined, have nothing in them that needs no loop, and give nothing that is not used.

    This changes the order in which products are added, and so the rounding, as `contracted` does.
    """
    if all(not is_scan(n) for n in topological(roots)):
        return list(roots)
    single = simplify(joined(simplify(roots)))
    return pruned(simplify(rebuild(single, moved_out)))


# Two loops as one


def joined(roots: Sequence[Node]) -> list[Node]:
    """The roots with loops that make the same steps as one loop that gives the results of all."""
    result = list(roots)
    while pair := twins(result):
        result = substitute(result, merged(*pair))
    return result


def twins(roots: Sequence[Node]) -> tuple[Step, Step] | None:
    """Two loops that make the same steps, neither of which needs the other's results."""
    groups: dict[object, list[Node]] = {}
    for n in topological(roots):
        if is_scan(n):
            loop: Loop = n.params[0]
            groups.setdefault((loop.arguments(n.args)[0], loop.length, loop.reverse), []).append(n)
    for group in groups.values():
        leaves: dict[object, Node] = {}
        for a, b in combinations([on_leaves(n, leaves) for n in group], 2):
            if a.loop.finals == b.loop.finals and not needs(a.scan, b.scan) and not needs(b.scan, a.scan):
                return a, b
    return None


def needs(n: Node, other: Node) -> bool:
    """Whether a node is computed from another."""
    return other in set(topological([n]))


def on_leaves(n: Node, leaves: dict[object, Node]) -> Step:
    """A scan taken apart, with one leaf for what stands for the same in the bodies of several."""
    step = step_of(n)
    carries, slices, _ = step.loop.arguments(step.loop.leaves)
    kinds = ["carry"] * len(carries) + ["slice"] * len(slices) + ["constant"] * len(step.loop.constants)
    keys = [(kind, k if kind == "carry" else arg) for k, (kind, arg) in enumerate(zip(kinds, n.args, strict=True))]
    new = [leaves.setdefault(key, leaf) for key, leaf in zip(keys, step.loop.leaves, strict=True)]
    known = dict(zip(step.loop.leaves, new, strict=True))
    carries, slices, constants = step.loop.arguments(tuple(new))
    loop = step.loop.with_roots(substitute(step.loop.roots, known))
    return step._replace(loop=replace(loop, carries=carries, slices=slices, constants=constants))


def merged(a: Step, b: Step) -> dict[Node, Node]:
    """Two scans replaced by one."""
    inits = a.loop.arguments(a.args)[0]
    xs = {s: x for step in (a, b) for s, x in zip(step.loop.slices, step.loop.arguments(step.args)[1], strict=True)}
    outer = fixed(a) | fixed(b)
    ys, totals = (tuple(dict.fromkeys(p)) for p in ((*a.loop.ys, *b.loop.ys), (*a.loop.totals, *b.loop.totals)))
    whole = replace(a.loop, slices=tuple(xs), ys=ys, totals=totals)
    finals, rows, sums = whole.split(scan_results(make_scan(whole, inits, list(xs.values()), outer)))
    row, total = dict(zip(ys, rows, strict=True)), dict(zip(totals, sums, strict=True))
    return {
        step.scan: packed_results(
            [*finals, *(row[y] for y in step.loop.ys), *(total[q] for q in step.loop.totals)], step.scan
        )
        for step in (a, b)
    }


def fixed(step: Step) -> dict[Node, Node]:
    """What the constants of a loop stand for."""
    return dict(zip(step.loop.constants, step.loop.arguments(step.args)[2], strict=True))


# Out of the loop


def moved_out(n: Node) -> Node:
    """A scan with what needs no loop before and after it; one around other loops only has those looked at."""
    if not is_scan(n):
        return n
    if any(is_scan(m) for m in topological(n.params[0].roots)):
        return map_body(n, untangle)
    return after(before(inlined(n)))


def is_heavy(n: Node) -> bool:
    """Whether a node is worth being computed for all steps at once."""
    return n.op.is_expensive or (not n.type.shape and bool(n.op.emit) and n.op.cost >= COSTLY)


def inlined(n: Node) -> Node:
    """A scan that computes in each step what is cheap, in place of walking arrays that would have to be stored."""
    step = step_of(n)
    inits, xs, _ = step.loop.arguments(step.args)
    walked = dict(zip(step.loop.slices, xs, strict=True))
    entries = {s: Entry({}, {}) for s in walked}
    known = {s: entry_of(x, entries[s], FEW) for s, x in walked.items()}
    known = {s: e for s, e in known.items() if e not in entries[s].slices and len(entries[s].slices) <= STACKED}
    if not known:
        return n
    kept = {s: x for s, x in walked.items() if s not in known}
    outer = fixed(step)
    for s in known:
        kept |= entries[s].slices
        outer |= entries[s].constants
    whole = replace(step.loop.with_roots(substitute(step.loop.roots, known)), slices=tuple(kept))
    return make_scan(whole, inits, list(kept.values()), outer)


class Entry(NamedTuple):
    """What the leaves of an entry of an array stand for."""

    slices: dict[Node, Node]
    constants: dict[Node, Node]


def entry_of(x: Node, found: Entry, depth: int) -> Node:
    """The entry of an array at a step's place: cheap operations on entries of others, as deep as that.

    Numbers are better computed as a vector, before the loop.
    """
    rest = x.type.shape[1:]
    if is_broadcast(x) and (at := places(x.params, len(x.args[0].type.shape)))[:1] != (0,):
        constant = held(x.args[0], x.args[0].type, found.constants)
        return broadcast_to(constant, rest, tuple(k - 1 for k in at)) if rest else constant
    walked = [len(a.type.shape) < len(x.type.shape) or a.type.shape[0] == x.type.shape[0] for a in x.args]  # as x is
    if rest and depth and x.op.emit and x.args and x.op.cost < COSTLY and all(walked):
        entries = [entry_of(a, found, depth - 1) if len(a.type.shape) > len(rest)
                   else held(a, a.type, found.constants) for a in x.args]  # fmt: skip
        return apply(x.op.name, *entries, params=x.params)
    return held(x, ArrayType(rest, x.type.dtype), found.slices)


def held(x: Node, type: ArrayType, table: dict[Node, Node]) -> Node:
    """The leaf that stands for a node, or for its entry; a number stands for itself."""
    if is_const(x):
        return x
    for leaf, node in table.items():
        if node is x:
            return leaf
    leaf = fresh(type)
    table[leaf] = x
    return leaf


def before(n: Node) -> Node:
    """A scan in which costly results that depend on no carry are walked, like the arrays they are computed from."""
    step = step_of(n)
    loop = step.loop
    inits, xs, _ = loop.arguments(step.args)
    order = topological(loop.roots)
    ahead = fitting(order, loop.slices, depends_on(order, loop.slices) - depends_on(order, loop.carries))
    found = frontier(loop.roots, set(filter(is_heavy, ahead)))
    if not found:
        return n
    stacks = batched(found, dict(zip(loop.slices, xs, strict=True)), fixed(step), loop.length)
    leaves = tuple(fresh(m.type) for m in found)
    roots = substitute(loop.roots, dict(zip(found, leaves, strict=True)))
    whole = replace(loop.with_roots(roots), slices=(*loop.slices, *leaves))
    return make_scan(whole, inits, (*xs, *stacks), fixed(step))


class Body(NamedTuple):
    """What is known of the nodes of a loop."""

    loop: Loop
    order: list[Node]
    carried: set[Node]  # depend on a carry
    moving: set[Node]  # differ from step to step
    fit: set[Node]  # can be computed for all steps at once, from carries and slices that are stacked
    steps: set[Node]  # are needed to go on, in the loop


def body_of(loop: Loop) -> Body:
    """The nodes of a loop, looked at."""
    order = topological(loop.roots)
    given = (*loop.carries, *loop.slices)
    moving = depends_on(order, given)
    carried = depends_on(order, loop.carries)
    return Body(loop, order, carried, moving, fitting(order, given, moving), set(topological(loop.finals)))


def after(n: Node) -> Node:
    """A scan with what only its results need after it: costly ends of ys, and sums of products over the steps."""
    step = step_of(n)
    loop = step.loop
    body = body_of(loop)
    ends = {y: begun for y in loop.ys if (begun := begins(y, body)) is not None}
    products = {q: found for q in loop.totals if (found := moving_products(q, body))}
    if not ends and not products:
        return n
    rests = {q: rest_of(q, found) for q, found in products.items()}
    wanted = [b for begun in ends.values() for b in begun]
    wanted += [x for found in products.values() for m in found for x in operands(m, body)]
    ys = tuple(dict.fromkeys([*(y for y in loop.ys if y not in ends), *(w for w in wanted if w not in loop.slices)]))
    totals = tuple(dict.fromkeys(r for q in loop.totals if (r := rests.get(q, q)) is not None))
    whole = replace(loop, ys=ys, totals=totals)
    inits, xs, _ = loop.arguments(step.args)
    finals, rows, sums = whole.split(scan_results(make_scan(whole, inits, xs, fixed(step))) if whole.roots else [])
    known = dict(zip(loop.slices, xs, strict=True)) | dict(zip(ys, rows, strict=True))
    row = dict(zip(loop.ys, batched(loop.ys, known, fixed(step), loop.length), strict=True))
    left = dict(zip(totals, sums, strict=True))
    total = [added(products.get(q, ()), None if (r := rests.get(q, q)) is None else left[r], known, step)
             for q in loop.totals]  # fmt: skip
    return packed_results([*finals, *(row[y] for y in loop.ys), *total], n)


def begins(y: Node, body: Body) -> Nodes | None:
    """The values that a costly end of a step begins with; None if it is not better computed after the loop."""
    if y in body.loop.slices or (y in body.fit and not body.loop.carries):
        return ()
    if y not in body.fit or y in body.steps or y in body.loop.carries:
        return None
    begun = frontier([y], (body.steps | set(body.loop.carries) | set(body.loop.slices)) & body.moving)
    stored = [b for b in begun if b not in body.loop.slices and b not in body.loop.ys]
    inside = topological([y], set(begun).__contains__)
    return begun if len(stored) <= STACKED and any(m in body.moving and is_heavy(m) for m in inside) else None


def terms(q: Node) -> list[Node]:
    """The terms of a sum."""
    nested = is_add(q) and all(a.type == q.type for a in q.args)
    return [t for a in q.args for t in terms(a)] if nested else [q]


def moving_products(q: Node, body: Body) -> list[Node]:
    """The terms of what is added up that are contractions of two values of the step."""
    return [t for t in terms(q) if is_dot(m := core(t)) and body.moving.issuperset(m.args)]


def core(t: Node) -> Node:
    """A term without transposes."""
    return without_transposes(Labelled(t, tuple(range(len(t.type.shape))))).node


def operands(t: Node, body: Body) -> list[Node]:
    """What the operands of a contraction are computed from, or they themselves if that depends on a carry."""
    given = set(body.loop.slices)
    return [x for a in core(t).args for x in ([a] if a in body.carried or a not in body.fit else frontier([a], given))]


def rest_of(q: Node, found: Sequence[Node]) -> Node | None:
    """What is left to be added up."""
    rest = [t for t in terms(q) if t not in found]
    return add(*rest) if rest else None


def added(found: Sequence[Node], rest: Node | None, known: Mapping[Node, Node], step: Step) -> Node:
    """The sum over the steps of contractions, each as one over all steps, and of what was added up in the loop."""
    parts = [across(t, known, step) for t in found] + ([] if rest is None else [rest])
    return add(*parts)


def across(t: Node, known: Mapping[Node, Node], step: Step) -> Node:
    """The sum over the steps of a contraction."""
    m, own = without_transposes(Labelled(t, tuple(range(len(t.type.shape)))))
    a, b = batched(m.args, known, fixed(step), step.loop.length)
    la, lb, result = m.params
    label = 1 + max((*la, *lb), default=0)
    total = contract(a, (label, *la), b, (label, *lb), result)
    order = tuple(own.index(k) for k in range(len(own)))
    return total if order == tuple(range(len(order))) else permute(total, order)


# What is not used


def pruned(roots: Sequence[Node]) -> list[Node]:
    """The roots with loops that compute nothing that is not used."""
    order = topological(roots)
    kept: dict[Node, set[int]] = {}  # scan -> the places of its results that are used
    live = set(roots)
    whole = {r for r in roots if is_scan(r)}  # scans of which everything is used
    for n in reversed(order):
        if n in live and is_scan(n):
            kept[n] = live_carries(n.params[0], range(len(n.params[0].roots)) if n in whole else kept[n])
            live.update(arguments_of(n, kept[n]))
        elif n in live:
            live.update(n.args)
            whole.update(a for a in n.args if is_scan(a) and not note(n, a, kept))
    new: dict[Node, Node] = {}  # what has changed
    for n in order:
        if n in live:
            result = with_new(n, new)
            result = trimmed(result, kept[n]) if n in kept else result
            if result is not n:
                new[n] = result
    return simplify([new.get(r, r) for r in roots])


def note(reader: Node, n: Node, kept: dict[Node, set[int]]) -> bool:
    """Note which result of a scan is read; False if that can't be said."""
    found = {k for k, p in enumerate(result_places(n.params[0])) if is_item(reader) and reader.params[0] == (p.span,)}
    kept.setdefault(n, set()).update(found)
    return bool(found)


def arguments_of(n: Node, kept: set[int]) -> Nodes:
    """The arguments of a scan that these of its results need."""
    loop: Loop = n.params[0]
    below = set(topological([loop.roots[k] for k in kept]))
    carried = len(loop.carries)
    return tuple(
        arg
        for k, (arg, leaf) in enumerate(zip(n.args, loop.leaves, strict=True))
        if (k in kept if k < carried else leaf in below)
    )


def trimmed(n: Node, kept: set[int]) -> Node:
    """A scan that gives these results alone, and a vector like its own put together from them.

    A carry that no step changes is a constant.
    """
    step = step_of(n)
    loop = step.loop
    chosen = iter(pruned([loop.roots[k] for k in sorted(kept)]))
    roots = [next(chosen) if k in kept else None for k in range(len(loop.roots))]
    inits, xs, _ = loop.arguments(step.args)
    still = {k: x for k, (c, x) in enumerate(zip(loop.carries, inits, strict=True)) if roots[k] is c}
    left = [None if k in still else r for k, r in enumerate(roots)]
    finals, ys, totals = map(present, loop.split(left))
    carried = [k for k in range(len(inits)) if left[k] is not None]
    carries = tuple(loop.carries[k] for k in carried)
    names = tuple(loop.carry_name(k) for k in carried), loop.slice_names
    whole = Loop(carries, loop.slices, (), finals, ys, totals, loop.length, loop.reverse, *names)
    outer = fixed(step) | {loop.carries[k]: x for k, x in still.items()}
    new = make_scan(whole, [inits[k] for k in carried], xs, outer) if whole.roots else n
    if None not in left:
        return new
    results = iter(scan_results(new))
    return packed_results([still.get(k) if r is None else next(results) for k, r in enumerate(left)], n)


def present(nodes: Iterable[Node | None]) -> Nodes:
    """The nodes that there are."""
    return tuple(n for n in nodes if n is not None)
