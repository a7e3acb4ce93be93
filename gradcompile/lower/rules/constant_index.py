"""Loops over axes of known length, as re-rolled sums have: a region of scalars gets the results it asks for.

Results of a loop are sums and maxima over all axes, and vectors that entries were scattered into. Those of one step and
one shape come from one loop, the last axis in lanes. What is scattered to places that another scatter of the loop also
writes is kept until the loop is over, so that its iterations stay independent of each other.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import NamedTuple, cast

from gradcompile.ir.algebra import is_add, is_neg
from gradcompile.ir.core import Node, is_const, is_leaf
from gradcompile.ir.types import Shape
from gradcompile.loops.expressions import Expression, call, element, name, number, operation, tuple_of
from gradcompile.loops.ir import Assign, Do, Loop, Statement, lanes, turns
from gradcompile.lower.memory.lengths import LEAST, THETA, ZERO, empty, zeros_of_size
from gradcompile.lower.nests.expression import Region
from gradcompile.lower.program import Naming, per_sample
from gradcompile.ops.constant_index import Affine, Places, Spec, is_pack, is_table, is_take
from gradcompile.ops.shape import is_assemble, is_item
from gradcompile.signature.program import Program, size_of

RESULTS = ("sum", "amax", "scatter")
FIRST, SPAN_NAME, LEVELS, LANES, TURN = map(name, ("first", "SPAN", "LEVELS", "LANES", "i"))
SPAN = 1024  # as in `sums`: entries that a lane adds up in a row, times the lanes


def is_result(n: Node) -> bool:
    """Whether a loop over axes of known length gives the node."""
    return n.op.name in RESULTS and not per_sample(n.args[0])


@dataclass(slots=True)
class LoopWriter:
    """Writes the loops that a region needs into it.

    vectors: the name of each array that stands in memory. tables: the values of module constants by name. homes: the
    output that begins with an array.
    """

    program: Program
    naming: Naming
    tables: dict[str, tuple[float | int, ...]]
    homes: Mapping[Node, str]
    vectors: dict[Node, str] = field(default_factory=dict)

    def prepare(self, region: Region, roots: Sequence[Node]) -> None:
        """Write every loop that the roots need, in order of the steps; the results are given in the region."""
        below = reachable(roots, region.given.keys() | self.vectors.keys())
        if not any(is_result(n) or is_item(n) for n in below):
            return
        users: dict[Node, list[Node]] = {}
        at: dict[Node, int] = {}
        for n in below:
            at[n] = max((at[a] for a in n.args if a in at), default=0) + is_result(n)
            for a in n.args:
                users.setdefault(a, []).append(n)
        for step in range(max(at.values(), default=0) + 1):
            found = [n for n in below if at[n] == step and is_result(n)]
            self.make_targets(region, [n for n in found if n.op.name == "scatter"], users)
            for shape in dict.fromkeys(n.args[0].type.shape for n in found):
                self.loop(region, shape, [n for n in found if n.args[0].type.shape == shape])
            for n in below:
                if at[n] == step and is_item(n) and not n.type.shape and n not in region.given:
                    region.given[n] = element(name(self.vector(region, n.args[0])), [number(n.params[0][0])])

    def make_targets(self, region: Region, scatters: Sequence[Node], users: Mapping[Node, list[Node]]) -> None:
        """Zeroed vectors for what is scattered; scatters that are only added to each other share one."""
        shared: dict[Node, list[Node]] = {}
        for n in scatters:
            top = n
            while len(users.get(top, ())) == 1 and is_add(users[top][0]):
                top = users[top][0]
            shared.setdefault(top, []).append(n)
        for top, found in shared.items():
            whole = sum_of(top, set(found))
            for n in [top] if whole else found:
                known = self.target(region, n)
                self.vectors |= dict.fromkeys(found if whole else [n], known) | {n: known}

    def target(self, region: Region, n: Node) -> str:
        """A zeroed vector: the output itself that begins with it, of a program without samples."""
        output = self.homes.get(n)
        if output is not None and not any(map(per_sample, self.program.order)):
            clear = Assign(element(name(output), [place(contiguous(n.type.shape))]), number("0.0"))
            region.statements += RowLoops(n.type.shape).around([clear])
            return output
        known = self.naming.fresh(self.naming.preferred_name(n) if n in self.program.labels else "added")
        region.statements.append(Assign(name(known), zeros_of_size(number(n.type.shape[0]))))
        return known

    def loop(self, region: Region, shape: Shape, results: Sequence[Node]) -> None:
        """One loop, and what follows from it."""
        sums, peaks, scatters = ([n for n in results if n.op.name == name] for name in RESULTS)
        targets = {n: self.vectors.pop(n) for n in scatters}
        body = self.body(region, [n.args[0] for n in results])
        nest = RowLoops(shape)
        self.sum_up(region, body, sums, nest)
        self.find_peaks(region, body, peaks, nest)
        written: dict[str, list[Added]] = {}
        parts: dict[Node, Expression] = {}
        here = place(contiguous(shape))
        for n in scatters:
            spec, target = n.params[0], targets[n]
            entry = element(name(target), [self.index(spec)])
            earlier = written.setdefault(target, [])
            earlier.append(Added(spec, has_own_places(spec) and all(w.allows(spec) for w in earlier)))
            if earlier[-1].at_once:
                body.accumulate(entry, n.args[0], "")
                continue
            if n.args[0] not in parts:
                part = parts[n.args[0]] = name(self.naming.fresh("part"))
                nest.before.append(Assign(part, empty(size_of(shape))))
                body.statements.append(Assign(element(part, [here]), body.emit(n.args[0])))
            line = Assign(entry, element(parts[n.args[0]], [here]), how="+=")
            nest.after += RowLoops(shape, in_order=not has_own_places(spec)).around([line])
        self.vectors |= targets
        region.statements += [*nest.before, *nest.around(body.statements), *nest.after]

    def copy(self, region: Region, target: str, run: Sequence[tuple[int, Node]]) -> list[tuple[int, Node]]:
        """A loop that writes a run of an output's entries; what is still to be added to some of them."""
        first, entry = run[0]
        item, _ = entry_of_array(entry)
        assert item is not None
        start, source, shape = item.params[0][0], self.vector(region, item.args[0]), (len(run),)
        there, here = (place(contiguous(shape, at)) for at in (first, start))
        if (source, start) != (target, first):
            line = Assign(element(name(target), [there]), element(name(source), [here]))
            region.statements += RowLoops(shape).around([line])
        return [(k, t) for k, e in run for t in entry_of_array(e)[1]]

    def store(self, region: Region, n: Node, target: str, offset: int = 0) -> None:
        """A loop that writes every entry of an array, row by row from an offset on, unless it was made there."""
        self.prepare(region, [n])
        if offset == 0 and self.vectors.get(vector_of(n)) == target:
            return
        body = self.body(region, [n])
        shape = n.type.shape
        there = element(name(target), [place(contiguous(shape, offset))])
        body.statements.append(Assign(there, body.emit(n)))
        region.statements += RowLoops(shape).around(body.statements)

    # ---- the loop itself

    def body(self, region: Region, roots: Sequence[Node]) -> Region:
        """The region inside the loop: everything it reads is given."""
        inside = self.inside(roots)
        given: dict[Node, Expression] = {}
        for n in dict.fromkeys([*roots, *(a for m in inside for a in m.args)]):
            if not n.type.shape:
                inner = n.args[0] if is_neg(n) else n
                if not is_const(inner):
                    given[inner] = region.emit(inner, named=True)
            elif is_source(n) or n in self.vectors:
                given[n] = self.element(region, n)
        uses = Counter([*roots, *(a for n in inside for a in n.args)])
        made = Region(uses, given, self.naming.name, self.naming.comment)
        for n in [n for n in given if n.type.shape and made.uses.get(n, 0) > 1]:
            made.statements.append(Assign(name(self.naming.name(n)), given[n]))
            given[n] = name(self.naming.name(n))
        return made

    def inside(self, roots: Sequence[Node]) -> list[Node]:
        """What a loop computes: arrays below the roots that do not stand in memory, none of them behind a scalar."""
        found = dict.fromkeys(n for n in roots if self.is_computed(n))
        pending = list(found)
        while pending:
            new = [a for a in pending.pop().args if self.is_computed(a) and a not in found]
            found |= dict.fromkeys(new)
            pending += new
        return list(found)

    def is_computed(self, n: Node) -> bool:
        """Whether a loop has to compute the array."""
        return bool(n.type.shape) and n not in self.vectors and not is_source(n)

    def element(self, region: Region, n: Node) -> Expression:
        """One entry of an array that stands in memory."""
        here = place(contiguous(n.type.shape))
        if n in self.vectors:
            return element(name(self.vectors[n]), [here])
        if is_leaf(n):
            rows = [name(row(k)) for k in range(len(n.type.shape) - 1)]
            if n in self.program.offsets:
                return element(THETA, [place(contiguous(n.type.shape, self.program.offsets[n]))])
            return element(name(self.program.input_names[n]), [*rows, TURN])
        if is_pack(n):
            return element(name(self.vector(region, n)), [here])
        if is_table(n):
            return element(name(self.table(n)), [here])
        return element(name(self.vector(region, n.args[0])), [self.index(n.params[0])])

    def vector(self, region: Region, n: Node) -> str:
        """The name of a vector that entries are taken from; it is put together if it does not stand in memory yet."""
        if n not in self.vectors:
            if is_pack(n) and list(n.args) == [a.leaf for a in self.program.params[: len(n.args)]]:
                self.vectors[n] = "theta"
            else:
                self.vectors[n] = self.put_together(region, n)
        return self.vectors[n]

    def put_together(self, region: Region, n: Node) -> str:
        """A new vector with the entries of a node."""
        if n in self.program.input_names:
            return self.program.input_names[n]
        known = self.naming.fresh("packed" if is_pack(n) else "vector")
        vector, size = name(known), n.type.shape[0]
        if is_assemble(n):
            region.statements.append(Assign(vector, zeros_of_size(number(size))))
            for value, (k,) in zip(n.args, n.params[1], strict=True):
                region.statements.append(Assign(element(vector, [number(k)]), region.emit(value), how="+="))
            return known
        region.statements.append(Assign(vector, empty(size)))
        offset = 0
        for part in n.args if is_pack(n) else [n]:
            if part.type.shape:
                self.store(region, part, known, offset)
            else:
                region.statements.append(Assign(element(vector, [number(offset)]), region.emit(part)))
            offset += size_of(part.type.shape)
        return known

    def index(self, spec: Spec) -> Expression:
        """A place: a rule in the loop's indices, or a table of places."""
        return place(spec) if isinstance(spec, Affine) else element(name(self.listed(spec)), [TURN])

    def listed(self, spec: Places) -> str:
        """The module constant that holds a list of places."""
        return self.constant("PLACES", spec.listed)

    def table(self, n: Node) -> str:
        """The module constant that holds the numbers of a table."""
        return self.constant("TABLE", tuple(n.params[0].array().ravel().tolist()))

    def constant(self, preferred: str, values: tuple[float | int, ...]) -> str:
        """The name of a module constant with these values."""
        key = repr(values)
        for known, entries in self.tables.items():
            if repr(entries) == key:
                return known
        known = self.naming.fresh(preferred)
        self.tables[known] = values
        return known

    # ---- results

    def sum_up(self, region: Region, body: Region, sums: Sequence[Node], nest: "RowLoops") -> None:
        """Sums over all entries: a partial sum a lane, folded when the loop is over, or round by round into a tree."""
        if not sums:
            return
        partial, total = name(self.naming.fresh("partial")), name(self.naming.fresh("totals"))
        count, lane = number(len(sums)), operation("%", TURN, LANES)
        nest.before.append(Assign(partial, zeros_of_size(tuple_of([count, LANES]))))
        if nest.rounds == 1:
            nest.before.append(Assign(total, zeros_of_size(tuple_of([number(1), count]))))
            nest.after.append(Do(call("close_span", partial, total, ZERO)))
        else:
            tree = name(self.naming.fresh("spans"))
            nest.before += [Assign(tree, zeros_of_size(tuple_of([LEVELS, count]))), Assign(total, zeros_of_size(count))]
            nest.closing.append(Do(call("close_span", partial, tree, nest.round)))
            nest.after.append(Do(call("close_tree", tree, total, number(nest.rounds))))
        for k, n in enumerate(sums):
            body.accumulate(element(partial, [number(k), lane]), n.args[0], "")
            region.given[n] = element(total, [ZERO, number(k)] if nest.rounds == 1 else [number(k)])

    def find_peaks(self, region: Region, body: Region, peaks: Sequence[Node], nest: "RowLoops") -> None:
        """Maxima over all entries: one a lane, and the largest of them when the loop is over."""
        for n in peaks:
            peaks_of_lanes, peak = name(self.naming.fresh("peaks")), name(self.naming.fresh("peak"))
            nest.before.append(Assign(peaks_of_lanes, call("full", LANES, LEAST, THETA)))
            here = element(peaks_of_lanes, [operation("%", TURN, LANES)])
            body.statements.append(Assign(here, call("maximum", here, body.emit(n.args[0]))))
            nest.after.append(Assign(peak, call("largest", peaks_of_lanes)))
            region.given[n] = peak


@dataclass(slots=True)
class RowLoops:
    """Loops over the axes of a shape, the last one in lanes unless `in_order`, and what stands around them."""

    shape: Shape
    in_order: bool = False
    before: list[Statement] = field(default_factory=list)
    closing: list[Statement] = field(default_factory=list)  # after each round of the innermost loop
    after: list[Statement] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        """How often the innermost loop runs: once a row, or once a span of a long vector."""
        return size_of(self.shape[:-1]) if len(self.shape) > 1 else -(-int(self.shape[0]) // SPAN)

    @property
    def round(self) -> Expression:
        """Which round it is."""
        if len(self.shape) == 1:
            return operation("//", FIRST, SPAN_NAME)
        return place(Affine(0, tuple(zip(map(int, self.shape[:-1]), strides(self.shape[:-1]), strict=True))), rows=True)

    def around(self, inside: list[Statement]) -> list[Statement]:
        """The loops with this in their middle."""
        *outer, last = map(int, self.shape)
        kind = turns if self.in_order else lanes
        if self.closing and not outer:
            end = call("min", operation("+", FIRST, SPAN_NAME), number(last))
            loop = Loop("i", lanes(FIRST, end), inside)
            return [Loop("first", turns(ZERO, number(last), SPAN_NAME), [loop, *self.closing])]
        statements: list[Statement] = [Loop("i", kind(ZERO, number(last)), inside), *self.closing]
        for k, length in reversed(list(enumerate(outer))):
            statements = [Loop(row(k), turns(number(length)), statements)]
        return statements


def is_source(n: Node) -> bool:
    """Whether an array is read from memory where it is used."""
    return is_take(n) or is_table(n) or is_leaf(n) or is_pack(n)


def reachable(roots: Iterable[Node], given: Container[Node]) -> list[Node]:
    """The nodes below the roots, arguments first; what is given ends the walk and is left out."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[Node | None] = [*roots]
    while stack:
        n = stack.pop()
        if n is None:
            order.append(cast(Node, stack.pop()))
        elif n not in seen and n not in given:
            seen.add(n)
            stack += (n, None)
            stack += [a for a in n.args if a not in seen]
    return order


def has_own_places(spec: Spec) -> bool:
    """Whether the lanes of a loop, all in one row, have a place each."""
    return isinstance(spec, Affine) and spec.axes[-1][1] != 0


class Added(NamedTuple):
    """Places that a loop adds to, at once or when it is over."""

    spec: Spec
    at_once: bool

    def allows(self, spec: Spec) -> bool:
        """Whether others may be added to at once, by lanes side by side, without another order of any sum."""
        return (self.at_once and spec == self.spec) or are_apart(self.spec, spec)


def are_apart(a: Spec, b: Spec) -> bool:
    """Whether two sets of places are known to have none in common.

    >>> are_apart(Affine(0, ((9, 3),)), Affine(4, ((9, 3),))), are_apart(Affine(0, ((9, 3),)), Affine(3, ((9, 3),)))
    (True, False)
    """
    if a.bounds[1] < b.bounds[0] or b.bounds[1] < a.bounds[0]:
        return True
    if isinstance(a, Places) or isinstance(b, Places):
        return False
    step = gcd(*(stride for _, stride in (*a.axes, *b.axes)))
    return step != 0 and (a.start - b.start) % step != 0


def sum_of(top: Node, parts: set[Node]) -> bool:
    """Whether a node is a sum of exactly these."""
    pending, found = [top], set[Node]()
    while pending:
        n = pending.pop()
        if n in parts:
            found.add(n)
        elif is_add(n):
            pending += n.args
        else:
            return False
    return found == parts


def strides(shape: Shape) -> list[int]:
    """The row-major strides of a shape."""
    return [size_of(shape[k + 1 :]) for k in range(len(shape))]


def contiguous(shape: Shape, start: int = 0) -> Affine:
    """The places of all entries, row by row."""
    return Affine(start, tuple(zip(map(int, shape), strides(shape), strict=True)))


def row(axis: int) -> str:
    """The index of an outer loop."""
    return "row" if axis == 0 else f"row_{axis + 1}"


def place(spec: Affine, rows: bool = False) -> Expression:
    """A place as a rule in the indices of the loops.

    >>> place(Affine(3, ((10, 5), (4, 1)))).text, place(Affine(0, ((9, -2),))).text
    ('5 * row + i + 3', '-2 * i')
    """
    names = [row(k) for k in range(len(spec.axes) - (not rows))] + ([] if rows else ["i"])
    strides = [(stride, name(word)) for (_, stride), word in zip(spec.axes, names, strict=True) if stride]
    terms = [x if stride == 1 else operation("*", number(stride), x) for stride, x in strides]
    terms += [number(spec.start)] if spec.start or not terms else []
    return operation("+", *terms) if len(terms) > 1 else terms[0]


def vector_of(n: Node) -> Node:
    """The vector of whose entries, all of them in their order, an array is made; the array itself if of none."""
    shape = n.type.shape
    is_whole = is_take(n) and n.params[0] == contiguous(shape) and n.args[0].type.shape == (size_of(shape),)
    return n.args[0] if is_whole else n


def entry_of_array(n: Node) -> tuple[Node | None, list[Node]]:
    """The entry of an array that a loop gives, if a scalar is just one of these plus other terms; and those terms."""
    terms = list(n.args) if is_add(n) else [n]
    found = [t for t in terms if is_item(t) and not is_leaf(t.args[0]) and len(t.params[0]) == 1]
    return (found[0], [t for t in terms if t is not found[0]]) if len(found) == 1 else (None, [])
