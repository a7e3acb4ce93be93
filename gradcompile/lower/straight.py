"""Graph to loop IR: which value is computed where. Scalars once, per-sample values in lanes, one pass a dependency.

Every node stands at a step: a sum over the samples is one step later than what it sums, anything else as late as its
arguments. Pass k over the samples computes the sums of step k + 1. A pass is a function of a range of samples, so that
ranges may run on several threads; it takes the totals of earlier passes, and computes once a range the scalars that
it needs. Per-sample values that a later pass needs again are recomputed, so memory does not grow with the data.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from gradcompile.ir.algebra import add, is_neg, is_not
from gradcompile.ir.core import Node, const, is_const, is_leaf
from gradcompile.ir.graph import operands, topological, use_counts
from gradcompile.loops.expressions import Expression, call, element, length, name, number, operation, tuple_of
from gradcompile.loops.ir import Assign, Do, Function, Loop, Note, Return, Statement, lanes, names_in, turns
from gradcompile.loops.kernel import Meeting, Pass
from gradcompile.lower.memory.lengths import ZERO, zeros_of_size
from gradcompile.lower.nests.expression import Region
from gradcompile.lower.program import LoweredProgram, Naming, flat_index, loads, per_sample
from gradcompile.lower.rules.constant_index import SPAN as GROUP
from gradcompile.lower.rules.constant_index import LoopWriter, entry_of_array, vector_of
from gradcompile.ops.reduction import is_sum
from gradcompile.ops.shape import is_assemble, is_broadcast, is_item
from gradcompile.signature.names import natural
from gradcompile.signature.program import Output, Program, size_of

SHORTEST = 8  # entries of an output that are worth a loop
BACKWARD = Note("backward: d_v is dL/dv")
FIRST, STOP, SPAN, LANES, TURN = (name(word) for word in ("first", "stop", "SPAN", "LANES", "i"))


def lower(program: Program, naming: Naming) -> LoweredProgram:
    """The functions of the generated module, in the order of their definition, and the tables of numbers they read.

    `kernel` computes everything. Where there are samples it calls the others, which a caller may call as well: each
    pass, `samples`, `samples_2` and so on, for ranges of samples, and `finish` for what follows, or `values`.
    """
    scheduler = Scheduler(program, naming)
    functions = scheduler.run()
    return LoweredProgram(functions, scheduler.tables, tuple(scheduler.passes), group=GROUP)


WORDS = str.maketrans({"/": "_", "(": None, ")": None, " ": "_"})  # of an entry's label a name


def is_sample_sum(n: Node) -> bool:
    """Whether the node is a sum over the samples."""
    return is_sum(n) and per_sample(n.args[0])


def steps(order: Iterable[Node]) -> dict[Node, int]:
    """The step of every node; arguments come first."""
    at: dict[Node, int] = {}
    for n in order:
        at[n] = max((at[a] for a in n.args), default=0) + is_sample_sum(n)
    return at


class OutputEntry(NamedTuple):
    """One entry of an output: its place there, its value, and what it is."""

    place: int
    node: Node
    label: str


class Written(NamedTuple):
    """What an output is made of: single entries, and arrays by their place; an entry inside an array is added to it."""

    entries: list[OutputEntry]
    arrays: list[tuple[int, Node]]

    @property
    def roots(self) -> list[Node]:
        """All values."""
        return [*(e.node for e in self.entries), *(array for _, array in self.arrays)]


def written(output: Output) -> Written:
    """The entries and the arrays of an output."""
    found = Written([], [])
    for part, offset in output.placed():
        single, whole = parted(part.node)
        found.entries.extend(OutputEntry(offset + k, e, part.label(k)) for k, e in single)
        if whole:
            found.arrays.append((offset, add(*whole)))
    return found


def parted(g: Node) -> tuple[list[tuple[int, Node]], list[Node]]:
    """A part of an output: single entries by their row-major place, and arrays of its shape to add to them.

    Without arrays every entry is there.
    """
    shape, zero = g.type.shape, const(0.0, g.type.dtype)
    if not shape:
        return [(0, g)], []
    terms = operands(g, "add")
    arrays = [t for t in terms if not is_assemble(t) and not (is_broadcast(t) and is_const(t.args[0], 0))]
    found = [(flat_index(i, shape), v) for t in terms if is_assemble(t)
             for i, v in zip(t.params[1], t.args, strict=True)]  # fmt: skip
    if arrays:
        return found, arrays
    return sorted((dict.fromkeys(range(size_of(shape)), zero) | dict(found)).items()), []


def runs(entries: Sequence[OutputEntry]) -> list[list[OutputEntry]]:
    """Entries in runs: neighbours that are neighbours in one array."""
    result: list[list[OutputEntry]] = []
    last: tuple[Node, int] | None = None
    for e in entries:
        entry, _ = entry_of_array(e.node)
        here = None if entry is None else (entry.args[0], e.place - entry.params[0][0])
        if result and here is not None and here == last and result[-1][-1].place == e.place - 1:
            result[-1].append(e)
        else:
            result.append([e])
        last = here
    return result


def beginning(found: Written, uses: Mapping[Node, int]) -> list[Node]:
    """The array that an output begins with, entry by entry, if nothing else reads it."""
    whole = [vector_of(array) for place, array in found.arrays if place == 0 and uses[array] <= 1]
    whole = [vector for vector in whole if uses[vector] <= 1]
    for run in runs(found.entries)[:1]:
        item, _ = entry_of_array(run[0].node)
        if item is not None and run[0].place == item.params[0][0] == 0:
            array = item.args[0]
            whole += [array] if array.type.shape == (len(run),) and uses[array] == len(run) else []
    return whole


def used(statements: list[Statement]) -> list[Statement]:
    """The statements without loads that nothing reads."""
    read = names_in(statements)
    return [s for s in statements if not isinstance(s, Assign) or not is_load(s) or s.target.word in read]


def is_load(s: Assign) -> bool:
    """Whether a statement gives a name to an element of an array at a fixed place, or to a length."""
    is_fixed = s.value.kind == "element" and all(k.kind == "number" for k in s.value.parts[1:])
    return s.target.is_name and (is_fixed or s.value.kind == "length")


@dataclass(slots=True)
class Scheduler:
    """Lowers one program, function by function.

    tables: the values of module constants. results: where the sums of the passes so far are found. totals: the arrays
    that they are in.
    written: what goes where.  homes: of an array that an output begins with, that output.
    parts: a sum, and the entry of an output that it is part of.
    """

    program: Program
    naming: Naming
    tables: dict[str, tuple[float | int, ...]] = field(default_factory=dict)
    functions: list[Function] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    results: dict[Node, Expression] = field(default_factory=dict)
    totals: list[str] = field(default_factory=list)
    parts: dict[Node, str] = field(default_factory=dict)
    written: list[Written] = field(default_factory=list)
    homes: dict[Node, str] = field(default_factory=dict)

    def run(self) -> list[Function]:
        """All functions; the kernel calls the others."""
        p = self.program
        by_sample = [o for o in p.outputs if o.by_sample]
        self.written = [written(o) for o in p.outputs if not o.by_sample]
        uses = Counter([a for n in p.order for a in n.args])
        for o, w in zip([o for o in p.outputs if not o.by_sample], self.written, strict=True):
            self.homes |= dict.fromkeys(beginning(w, uses), o.name)
        roots = [*([] if p.value is None else [p.value]), *(n for w in self.written for n in w.roots)]
        for e in (e for w in self.written for e in w.entries):
            for part in (e.node, *e.node.args, *(b for a in e.node.args for b in a.args)):
                self.parts.setdefault(part, e.label)
            if e.label.startswith("d2"):
                self.naming.roles.setdefault(e.node, e.label.translate(WORDS))
        sums = [n for n in p.order if is_sample_sum(n)]
        at = steps(p.order) if sums else {}
        body: list[Statement] = []
        for step in range(max(at.values(), default=0)):
            body += self.sample_pass([n for n in sums if at[n] == step + 1])
        if by_sample:
            body += self.values(by_sample)
        elif body:
            args = (*self.outputs(), "theta", *self.totals, *self.inputs())
            doc = f"{p.sentence} It takes the totals of the passes."
            self.functions.append(Function("finish", args, doc, used(self.scalar_results(roots))))
            body.append(Return(call("finish", *map(name, args))))
        if not body:
            body = self.scalar_results(roots)
        elif any(per_sample(a.leaf) for a in p.inputs):
            body.insert(0, self.count_line())
        self.functions.append(Function("kernel", ("theta", *self.outputs(), *self.inputs()), p.sentence, used(body)))
        return self.functions

    # ---- names and regions

    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return [a.name for a in self.program.inputs]

    def outputs(self) -> list[str]:
        """The names of what the kernel fills."""
        return [o.name for o in self.program.outputs]

    def count_line(self) -> Assign:
        """The number of samples."""
        return Assign(name("n"), length(name(next(a.name for a in self.program.inputs if per_sample(a.leaf))), 0))

    def new_region(self, roots: Sequence[Node], order: Sequence[Node], given: dict[Node, Expression]) -> Region:
        """A straight piece of code; there is at least one sample wherever samples are counted."""
        return Region(use_counts(roots, order), given, self.naming.name, self.naming.comment, some="n")

    def region(self, roots: Sequence[Node]) -> tuple[Region, LoopWriter]:
        """A region of scalars that begins with the loads of what comes from outside and the loops that it needs."""
        order = topological(roots)
        given = loads(self.program, order) | self.results
        region = self.new_region(roots, order, given)
        if any(per_sample(a.leaf) for a in self.program.inputs):
            region.statements.append(self.count_line())
        for n, value in sorted(given.items(), key=lambda pair: natural(pair[1].text)):
            if value.kind == "element" and n not in self.results:
                region.given[n] = name(self.naming.name(n))
                region.statements.append(Assign(region.given[n], value))
        loops = LoopWriter(self.program, self.naming, self.tables, self.homes)
        loops.prepare(region, roots)
        return region, loops

    # ---- passes over the samples

    def sample_pass(self, sums: Sequence[Node]) -> list[Statement]:
        """Define the function of one pass over the samples; the statements of the kernel that run it."""
        forward = set(topological([] if self.program.value is None else [self.program.value]))
        sums = [s for s in sums if s in forward] + [s for s in sums if s not in forward]
        suffix = self.naming.fresh("samples")[len("samples") :] if self.functions else ""
        arguments = ["theta", *self.totals, *self.inputs()]
        self.totals.append(self.naming.fresh("total") if suffix else "total")
        self.sum_function("samples" + suffix, [self.totals[-1], "start", "stop", *arguments], sums, forward)
        total, n, count = name(self.totals[-1]), name("n"), number(len(sums))
        self.results |= {s: element(total, [number(k)]) for k, s in enumerate(sums)}
        run = call("samples" + suffix, total, ZERO, n, *map(name, arguments))
        return [Assign(total, zeros_of_size(count)), Do(run)]

    def sum_function(self, what: str, arguments: Sequence[str], sums: Sequence[Node], forward: Set[Node]) -> None:
        """Define the function that adds a range of samples to sums: spans, which meet in a tree."""
        head, body = self.sample_region([s.args[0] for s in sums])
        summed, tree, start, lane = name("sums"), name("tree"), name("start"), operation("%", TURN, LANES)
        begins = next((k for k, s in enumerate(sums) if s not in forward), None)
        for k, s in enumerate(sums):
            body.statements += [BACKWARD] if k == begins else []
            body.accumulate(element(summed, [number(k), lane]), s.args[0], self.sum_comment(s))
        end, count = call("min", operation("+", FIRST, SPAN), STOP), number(len(sums))
        closing = Do(call("close_span", summed, tree, operation("//", operation("-", FIRST, start), SPAN)))
        spans = operation("//", operation("-", operation("+", STOP, SPAN), start, number(1)), SPAN)
        statements = [
            *head,
            Assign(tree, zeros_of_size(tuple_of([name("LEVELS"), count]))),
            Assign(summed, zeros_of_size(tuple_of([count, LANES]))),
            Loop("first", turns(start, STOP, SPAN), [Loop("i", lanes(FIRST, end), body.statements), closing]),
            Do(call("close_tree", tree, name(arguments[0]), spans)),
        ]
        doc = "Add the samples from start to stop, span by span; the sums of spans meet in a tree."
        self.functions.append(Function(what, tuple(arguments), doc, used(statements)))
        self.passes.append(Pass(what, ("added",)))

    def sum_comment(self, s: Node) -> str:
        """Which adjoint a sum is, or becomes after the loop."""
        if s in self.parts:
            return f"for {self.parts[s]}"
        for n in self.program.labels:
            if n is s or s in n.args:
                return f"for {comment}" if (comment := self.naming.label_comment(n)) else ""
        return ""

    def values(self, outputs: Sequence[Output]) -> list[Statement]:
        """Define the function that writes the values of a range of samples; the statements that call it."""
        head, body = self.sample_region([p.node for o in outputs for p in o.parts])
        for o in outputs:
            each = TURN if len(o.parts) == 1 else operation("*", number(len(o.parts)), TURN)
            for k, part in enumerate(o.parts):
                place = element(name(o.name), [operation("+", each, number(k)) if k else each])
                body.statements.append(Assign(place, body.emit(part.node)))
        names = [o.name for o in outputs]
        arguments = ["theta", *self.totals, *self.inputs()]
        statements = [*head, Loop("i", lanes(name("start"), STOP), body.statements)]
        doc = "Write the values of the samples from start to stop."
        self.functions.append(Function("values", (*names, "start", "stop", *arguments), doc, used(statements)))
        own = tuple[Meeting, ...]("values" for _ in outputs)
        self.passes.append(Pass("values", own))
        given = [*map(name, names), ZERO, name("n"), *map(name, arguments)]
        return [Do(call("values", *given)), Return(name("n"))]

    def sample_region(self, roots: Sequence[Node]) -> tuple[list[Statement], Region]:
        """The scalars that a loop over the samples needs, and the body of the loop."""
        inside = self.sample_nodes(roots)
        scalars = self.scalars(inside)
        head, _ = self.region(scalars)
        given = {n: head.emit(n, named=True) for n in scalars if not is_const(n)}
        body = self.new_region(roots, topological(roots), given)
        names = {a.leaf: a.name for a in self.program.inputs}
        for n in inside:
            if is_leaf(n) and len(n.type.shape) == 1:
                self.load_column(body, n, element(name(names[n]), [TURN]))
            elif is_item(n):
                self.load_column(body, n, element(name(names[n.args[0]]), [TURN, number(n.params[0][1])]))
        return head.statements, body

    def scalars(self, inside: Sequence[Node]) -> list[Node]:
        """The scalars that per-sample nodes use; the negative of a number, or of a condition, is taken on the spot."""
        found = (a for n in inside for a in n.args if not per_sample(a))
        return list(dict.fromkeys(a.args[0] if is_neg(a) or is_not(a) else a for a in found))

    def sample_nodes(self, roots: Sequence[Node]) -> list[Node]:
        """The per-sample nodes below the roots that don't lie behind a sum."""
        reached, pending = set(roots), list(roots)
        while pending:
            for a in pending.pop().args:
                if per_sample(a) and a not in reached:
                    reached.add(a)
                    pending.append(a)
        return [n for n in topological(roots) if n in reached]

    def load_column(self, body: Region, n: Node, value: Expression) -> None:
        """Load one entry of a column, under a name if it is used again."""
        body.given[n] = value
        if body.uses[n] > 1:
            body.given[n] = name(self.naming.name(n))
            body.statements.append(Assign(body.given[n], value))

    # ---- what remains

    def scalar_results(self, roots: Sequence[Node]) -> list[Statement]:
        """The end of a kernel of scalars: the value is computed, the outputs are written, the value is returned."""
        p = self.program
        region, loops = self.region(roots)
        if p.value is not None:
            self.naming.known.setdefault(p.value, self.naming.fresh(p.what))
            region.emit(p.value, named=True)
        begun = len(region.statements)
        for output, found in zip(p.outputs, self.written, strict=True):
            self.store(region, loops, output.name, found)
        # passes and loops before the outputs may have summed gradients: the backward part is not all that follows
        has_begun = self.passes or any(isinstance(s, Loop) for s in region.statements[:begun])
        if len(region.statements) > begun and p.value is not None and not has_begun:
            region.statements.insert(begun, BACKWARD)
        region.statements.append(Return(number("0.0") if p.value is None else region.emit(p.value)))
        return region.statements

    def store(self, region: Region, loops: LoopWriter, output: str, found: Written) -> None:
        """Write an output: whole arrays and runs of entries of one array in loops, other entries one by one."""

        def place_of(e: OutputEntry) -> Expression:
            return element(name(output), [number(e.place)])

        for offset, array in found.arrays:
            loops.store(region, array, output, offset)
        whole = {k for offset, array in found.arrays for k in range(offset, offset + size_of(array.type.shape))}
        added = [e for e in found.entries if e.place in whole]
        for run in runs([e for e in found.entries if e.place not in whole]):
            if len(run) >= SHORTEST:
                rest = loops.copy(region, output, [(e.place, e.node) for e in run])
                labels = {e.place: e.label for e in run}
                added += [OutputEntry(k, t, labels[k]) for k, t in rest]
            else:
                for e in run:
                    region.statements.append(Assign(place_of(e), region.emit(e.node), e.label))
        for e in added:
            region.statements.append(Assign(place_of(e), region.emit(e.node), f"for {e.label}", "+="))
