"""Re-rolling: long sums and maxima of similar terms become reductions of arrays, before anything else is made of them.

A loop over symbols unrolls: it gives a sum of a thousand terms of one form. Such terms are found by their signatures
(see `linear_forms`), compared position by position, and written once, on operands that are gathered: where all terms
have one node, the node; where they have entries of the parameters or inputs, entries taken from a vector; where they
have different numbers, a table. The value is that of the loss as written, except that terms are added, and factors of a
product multiplied, in another order.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from itertools import accumulate, chain
from operator import mul
from typing import NamedTuple

import numpy as np

from gradcompile.ir.algebra import add, is_mul
from gradcompile.ir.core import Node, apply, const, is_const, node
from gradcompile.ir.graph import substitute, topological, with_new
from gradcompile.ops.constant_index import Affine, is_table, is_take, row_major, table, take
from gradcompile.ops.reduction import is_sum
from gradcompile.passes.linear_forms import Forms, entries
from gradcompile.passes.stabilize import parts as terms_of
from gradcompile.passes.stabilize import square_root, weighted
from gradcompile.passes.strides import FEWEST, Ints, Run, first_equal, in_order, runs

CHAINS = ("add", "max", "min")
REPEATED = 8  # operations in a loop for each node that it replaces, at most
SHARED = 4  # terms for each distinct value of a subexpression that is worth a vector of its own
COSTLY = 4  # operations that are not repeated if a vector can hold their results

Terms = tuple[Node, ...]  # what the terms of a loop have in one position, term by term


def reroll(roots: Sequence[Node], params: Sequence[Node], inputs: Iterable[Node] = ()) -> list[Node]:
    """The roots with long sums and maxima of similar scalar terms as reductions of arrays.

    params are the leaves of theta in its order, inputs the other leaves; both may be arrays. Terms that are fewer than
    32 of a form, or that have one value a sample, stay as they are, as do sums that a loop would make more work.

    >>> from gradcompile.ir.core import leaf
    >>> x = [leaf(f"x{k}", role="param") for k in range(100)]
    >>> (rolled,) = reroll([apply("add", *(apply("mul", a, b) for a, b in zip(x, x[1:])))], x)
    >>> rolled, rolled.args[0], rolled.args[0].args[1].params
    (<sum float64[]>, <mul float64[99]>, (Affine(start=1, axes=((99, 1),)),))
    """
    order = topological(roots)
    chains = long_chains(order)
    if not chains:
        return list(roots)
    roller = Roller(Forms(params, inputs))
    new: dict[Node, Node] = {}  # what has changed
    for n in order:
        rolled = roller.reduction(n.op.name, [new.get(t, t) for t in chains[n]]) if n in chains else None
        result = rolled or with_new(n, new)
        if result is not n:
            new[n] = result
        roller.forms.describe(result)
    return without_rest([new.get(r, r) for r in roots], params)


def without_rest(roots: Sequence[Node], params: Sequence[Node]) -> list[Node]:
    """The roots with entries taken from theta as far as any are, so that what follows has a gradient of its own."""
    theta = apply("pack", *params) if params else None
    taken = [n for n in topological(roots) if is_take(n) and n.args[0] is theta]
    last = max((n.params[0].bounds[1] for n in taken), default=0)
    ends = accumulate(map(entries, params))
    kept = params[: sum(end <= last for end in ends) + 1]
    return substitute(roots, {n: take(apply("pack", *kept), n.params[0]) for n in taken})


def long_chains(order: Sequence[Node]) -> dict[Node, list[Node]]:
    """The terms of each scalar sum or maximum of many, with those of inner ones that nothing else uses.

    order is the graph, arguments first.
    """
    uses = Counter(chain.from_iterable([n.args for n in order]))
    size: dict[Node, int] = {}
    inner: set[Node] = set()
    for n in order:
        if n.op.name in CHAINS and not n.type.shape:
            nested = [a for a in n.args if a in size and a.op is n.op and uses[a] == 1]
            size[n] = len(n.args) - len(nested) + sum(size[a] for a in nested)
            inner.update(nested)
    return {n: chain_terms(n, inner) for n, count in size.items() if count >= FEWEST and n not in inner}


def chain_terms(n: Node, inner: set[Node]) -> list[Node]:
    """The terms of one chain, from left to right."""
    found: list[Node] = []
    stack = list(n.args[::-1])
    while stack:
        a = stack.pop()
        if a in inner and a.op is n.op:
            stack += a.args[::-1]
        else:
            found.append(a)
    return found


class Layout(NamedTuple):
    """Similar terms, position by position.

    parts: for each position, its arguments' positions, arguments first.  slots: for each position that is read from a
    vector, the vector, and the place that each term reads.
    """

    parts: dict[Terms, tuple[Terms, ...]]
    slots: dict[Terms, tuple[Node, Ints]]

    def columns(self) -> Ints:
        """The places that the terms read, one row for each slot."""
        count = len(next(iter(self.parts)))
        return np.array([places for _, places in self.slots.values()], np.int64).reshape(-1, count)

    def patterns(self) -> list[Ints]:
        """The terms by which of their slots read the same entry: a square is no product of neighbours."""
        vectors: dict[Node, int] = {}
        found = [slot for position, slot in self.slots.items() if not position[0].type.shape]
        if not found:
            return [np.arange(self.columns().shape[1])]
        places = np.array([(vectors.setdefault(v, len(vectors)) << 40) + p for v, p in found])
        which = np.unique(first_equal(places), axis=1, return_inverse=True)[1].ravel()
        return [np.flatnonzero(which == k) for k in range(which.max() + 1)]


class Roller:
    """Makes loops of the terms of one graph."""

    def __init__(self, forms: Forms) -> None:
        self.forms = forms

    def reduction(self, name: str, terms: Sequence[Node]) -> Node | None:
        """The sum, maximum or minimum of the terms, as far as they are similar by reductions; None if none are."""
        groups: dict[int, dict[Node, None]] = {}
        for t in terms:
            if not t.type.shape:
                groups.setdefault(self.forms[t].signature, {})[self.forms.canonical(t)] = None
        bodies: dict[tuple[int, ...], list[Node]] = {}
        rolled: set[Node] = set()
        for group in map(tuple, groups.values()):
            for run, body in self.loops(group) if len(group) >= FEWEST and self.is_similar(group[0]) else ():
                bodies.setdefault(run.shape, []).append(body)
                rolled.update(group[k] for k in run.terms)
        if not rolled:
            return None
        rest = []
        for t in terms:  # a term that stands there twice was rolled once
            if self.forms.canonical(t) in rolled:
                rolled.remove(self.forms.canonical(t))
            else:
                rest.append(t)
        return joined(name, [*(self.reduced(name, shape, found) for shape, found in bodies.items()), *rest], self.known)

    def is_similar(self, term: Node) -> bool:
        """Whether terms of this form have something in common that a loop can compute, or are read from theta."""
        form = self.forms[term]
        return bool(form.args) or form.source is not None

    def reduced(self, name: str, shape: tuple[int, ...], bodies: Sequence[Node]) -> Node:
        """One reduction of all loops over as many terms."""
        axes = (tuple(range(len(shape))),)
        body = joined(name, bodies)
        if name == "min":
            return self.known(-self.known(apply("amax", -body, params=axes)))
        found = apply("sum" if name == "add" else "amax", body, params=axes)
        if name == "add" and is_rewritten(body):
            self.forms.leave_open(found)
        elif name == "add" and len(shape) == 1:
            self.forms.describe_rows(found)
        return self.known(found)

    def known(self, n: Node) -> Node:
        """The node, with its form."""
        self.forms.describe(n)
        return n

    def loops(self, terms: Terms) -> list[tuple[Run, Node]]:
        """The terms of one form as runs, each with the array of its terms."""
        layout = self.layout(terms)
        if layout is None:
            return []
        patterns = layout.patterns()
        if len(patterns) == 1:
            return [(run, self.body(terms, layout, run)) for run in runs(layout.columns())]
        found = []
        for part in patterns:
            for run, body in self.loops(tuple(terms[k] for k in part)) if len(part) >= FEWEST else ():
                found.append((run._replace(terms=part[run.terms]), body))
        return found

    def layout(self, terms: Terms) -> Layout | None:
        """The terms position by position; None where a loop would compute over and over what they share."""
        parts: dict[Terms, tuple[Terms, ...]] = {}
        order: list[Terms] = []
        stack: list[Terms | None] = [terms]
        work, replaced = 0, set[Node]()
        while stack:
            position = stack.pop()
            if position is None:
                order += [p for p in [stack.pop()] if p is not None]
            elif position not in parts:
                parts[position] = self.parts(position)
                work += len(position) if parts[position] else 0
                replaced.update(position)
                if work > REPEATED * len(replaced):
                    return None
                stack += [position, None, *parts[position][::-1]]
        layout = Layout({p: parts[p] for p in order}, {})
        read = [p for p in order if not parts[p] and p.count(p[0]) < len(p) and not is_listed(p[0])]
        read.sort(key=lambda p: self.forms[p[0]].source is None)  # those in theta say in which order the others go
        for p in read:
            layout.slots[p] = self.slot(p, layout)
        return layout

    def parts(self, position: Terms) -> tuple[Terms, ...]:
        """The positions of the arguments; none where the terms have one node, or what a vector holds."""
        first, count = position[0], len(position)
        form = self.forms[first]
        if not form.args or position.count(first) == count:
            return ()
        worth_it = first.op.cost >= COSTLY or any(self.forms[a].args for a in form.args)
        if worth_it and not first.type.shape and SHARED * len(set(position)) <= count:
            return ()
        return tuple(zip(*(self.forms[n].args for n in position), strict=True))

    def slot(self, position: Terms, layout: Layout) -> tuple[Node, Ints]:
        """The vector that a position is read from, and the places; values without places go in the terms' order."""
        source = self.forms[position[0]].source
        if source is not None:
            vector, first = self.forms.sources[source]
            return vector, np.array([self.forms[n].low - first for n in position])
        if self.forms[position[0]].args:
            nodes = sorted(set(position), key=lambda n: self.forms[n][1:3])
        else:
            nodes = list(dict.fromkeys(position[k] for k in in_order(layout.columns()).tolist()))
        vector, nodes = self.vector(nodes)
        place = {n: k for k, n in enumerate(nodes)}
        return vector, np.array([place[n] for n in position])

    def vector(self, nodes: list[Node]) -> tuple[Node, list[Node]]:
        """A vector of computed values, itself a loop if they are similar, and what it holds, in its order."""
        found = self.loops(tuple(nodes)) if len(nodes) >= FEWEST and self.forms[nodes[0]].args else []
        if len(found) != 1 or len(found[0][0].terms) < len(nodes):
            return apply("pack", *map(self.forms.written, nodes)), nodes
        run, body = found[0]
        return body if len(run.shape) == 1 else apply("pack", body), [nodes[k] for k in run.terms]

    def body(self, terms: Terms, layout: Layout, run: Run) -> Node:
        """The array of the terms of a run."""
        values: dict[Terms, Node] = {}
        for position, parts in layout.parts.items():
            first = position[0]
            if first.type.shape:
                if run.is_line:
                    values[position] = rows(position, [spread(p, values[p], first, run) for p in parts], layout, run)
            elif parts and is_sum(first):
                inner = spread(parts[0], values[parts[0]], parts[0][0], run) if run.is_line else None
                values[position] = listed(position, run) if inner is None else row_sums(inner)
            elif parts:
                values[position] = rebuilt(first, [values[p] for p in parts])
            elif position in layout.slots:
                vector, places = layout.slots[position]
                one = np.all(places[run.terms] == places[run.terms[0]])
                values[position] = position[run.terms[0]] if one else take(vector, run.spec(places))
            else:
                values[position] = numbers(position, run) if is_listed(first) else self.forms.written(first)
        return values[terms]


# Sums inside the terms: what these add up is an array of a row for each term, and row sums are scattered to one place


def rows(position: Terms, args: Sequence[Node], layout: Layout, run: Run) -> Node:
    """The arrays that the terms of a line have in one position, one a row; the array alone if all have the same."""
    first = position[0]
    if args:
        return rebuilt(first, args)
    if position in layout.slots:
        vector, places = layout.slots[position]
        return take(vector, Affine(int(places[run.terms[0]]), run.axes(places) + first.params[0].axes))
    if position.count(first) == len(position):
        return first
    return table([position[k].params[0].array() for k in run.terms.tolist()], first.type.dtype)


def spread(position: Terms, value: Node, array: Node, run: Run) -> Node:
    """A value as an operand in rows of an array's shape: a number a term along the row, one array in every row."""
    if len(value.type.shape) != 1:
        return value
    along = (1, 0) if not position[0].type.shape else (0, 1)
    counts = (*run.shape, int(array.type.shape[0]))
    if is_take(value) and isinstance(value.params[0], Affine):
        ((_, stride),) = value.params[0].axes
        axes = tuple((count, k * stride) for count, k in zip(counts, along, strict=True))
        return take(value.args[0], Affine(value.params[0].start, axes))
    return take(value, Affine(0, tuple(zip(counts, along, strict=True))))


def row_sums(x: Node) -> Node:
    """The sum of each row."""
    count, length = map(int, x.type.shape)
    return apply("scatter", x, params=(Affine(0, ((count, 1), (length, 0))), count))


def listed(position: Terms, run: Run) -> Node:
    """What the terms of a run have in one position, put together in the order of the run."""
    chosen: list[Node] = [position[k] for k in run.terms.tolist()]
    return take(apply("pack", *chosen), row_major(0, run.shape))


def is_rewritten(body: Node) -> bool:
    """Whether `stabilize` has more to say of a sum of such terms: of exponentials, and of squares."""
    return any(weighted(t) is not None or square_root(t) is not None for t in terms_of(body))


def joined(name: str, parts: Sequence[Node], known: Callable[[Node], Node] = lambda n: n) -> Node:
    """The sum, maximum or minimum of the parts; each node that is made on the way is passed to `known`."""
    if len(parts) == 1:
        return parts[0]
    if name == "add":
        return known(add(*parts))
    return reduce(lambda a, b: known(apply(name, a, b)), parts)


def is_listed(n: Node) -> bool:
    """Whether the node is a table, or a number that one could hold."""
    return is_table(n) or (is_const(n) and n.type.dtype != "bool")


def numbers(position: Terms, run: Run) -> Node:
    """The numbers that the terms of a run have in one position: the number if they are equal, else a table."""
    chosen: list[Node] = [position[k] for k in run.terms.tolist()]
    if chosen.count(chosen[0]) == len(chosen):
        return chosen[0]
    return table(np.array([n.value for n in chosen]).reshape(run.shape), chosen[0].type.dtype)


def rebuilt(n: Node, args: Sequence[Node]) -> Node:
    """The op of a node on other arguments; a product of many from left to right, its sign before it."""
    if not is_mul(n):
        return node(n.op, args, n.params)
    first = args[0]
    if is_const(first) and first.value < 0:
        return -rebuilt(n, [const(-first.value, n.type.dtype), *args[1:]])
    return reduce(mul, args)
