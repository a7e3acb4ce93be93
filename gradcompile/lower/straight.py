"""Graph to loop IR: which value is computed where. Scalars once, per-sample values in lanes, one pass a dependency.

Every node stands at a step: a sum over the samples is one step later than what it sums, anything else as late as its
arguments. Pass k over the samples computes the sums of step k + 1. A pass is a function of a range of samples, so that
ranges may run on several threads; it takes the totals of earlier passes, and computes once a range the scalars that
it needs. Per-sample values that a later pass needs again are recomputed, so memory does not grow with the data.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gradcompile.ir.core import Node, apply, const, is_const
from gradcompile.ir.graph import operands, topological, use_counts
from gradcompile.loops.ir import Function, Line, Loop, Statement, texts
from gradcompile.lower.nests.expression import Region
from gradcompile.lower.program import Naming, Program, flat_index, loads, per_sample, size_of
from gradcompile.lower.rules.constant_index import Loops, entry_of_array
from gradcompile.signature.names import natural

SHORTEST = 8  # entries of the gradient that are worth a loop
BACKWARD = Line("", "backward: d_v is dL/dv")


def lower(program: Program, naming: Naming) -> tuple[list[Function], dict[str, tuple[float | int, ...]]]:
    """The functions of the generated module, in the order of their definition, and the tables of numbers they read.

    `kernel` computes everything. Where there are samples it calls the others, which a caller may call as well: each
    pass, `samples`, `samples_2` and so on, for ranges of samples, and `finish` for what follows, or `values`.
    """
    scheduler = Scheduler(program, naming)
    return scheduler.run(), scheduler.tables


def is_sample_sum(n: Node) -> bool:
    """Whether the node is a sum over the samples."""
    return n.op.name == "sum" and per_sample(n.args[0])


def steps(order: Iterable[Node]) -> dict[Node, int]:
    """The step of every node; arguments come first."""
    at: dict[Node, int] = {}
    for n in order:
        at[n] = max((at[a] for a in n.args), default=0) + is_sample_sum(n)
    return at


def parted(g: Node) -> tuple[list[tuple[int, Node]], list[Node]]:
    """The gradient of one parameter: single entries by their row-major place, and arrays of its shape to add to them.

    Without arrays every entry is there.
    """
    shape, zero = g.type.shape, const(0.0, g.type.dtype)
    if not shape:
        return [(0, g)], []
    terms = operands(g, "add")
    arrays = [t for t in terms if t.op.name != "assemble" and not (t.op.name == "broadcast" and is_const(t.args[0], 0))]
    found = [(flat_index(i, shape), v) for t in terms if t.op.name == "assemble"
             for i, v in zip(t.params[1], t.args, strict=True)]  # fmt: skip
    if arrays:
        return found, arrays
    return sorted((dict.fromkeys(range(size_of(shape)), zero) | dict(found)).items()), []


def runs(entries: Sequence[tuple[int, Node]]) -> list[list[tuple[int, Node]]]:
    """Entries in runs: neighbours that are neighbours in one array."""
    result: list[list[tuple[int, Node]]] = []
    last: tuple[Node, int] | None = None
    for k, e in entries:
        entry, _ = entry_of_array(e)
        here = None if entry is None else (entry.args[0], k - entry.params[0][0])
        if result and here is not None and here == last and result[-1][-1][0] == k - 1:
            result[-1].append((k, e))
        else:
            result.append([(k, e)])
        last = here
    return result


def used(statements: list[Statement]) -> list[Statement]:
    """The statements without loads that nothing reads."""
    words = set(re.findall(r"\w+", " ".join(s.partition(" = ")[2] or s for s in texts(statements))))
    return [s for s in statements if not (name := loaded(s)) or name in words]


def loaded(s: Statement) -> str:
    """The name that the statement gives an element of an array; empty for any other statement."""
    if isinstance(s, Loop) or not s.text.endswith("]"):
        return ""
    found = re.fullmatch(r"(\w+) = \w+(\[[\d, ]+\]|\.shape\[0\])", s.text)
    return found[1] if found else ""


@dataclass(slots=True)
class Scheduler:
    """Lowers one program, function by function.

    tables: the values of module constants. results: where the sums of the passes so far are found. totals: the arrays
    that they are in.
    parts: a sum, and the entry of theta whose derivative it is part of.
    """

    program: Program
    naming: Naming
    tables: dict[str, tuple[float | int, ...]] = field(default_factory=dict)
    functions: list[Function] = field(default_factory=list)
    results: dict[Node, str] = field(default_factory=dict)
    totals: list[str] = field(default_factory=list)
    parts: dict[Node, str] = field(default_factory=dict)

    def run(self) -> list[Function]:
        """All functions; the kernel calls the others."""
        p = self.program
        entries, arrays = self.gradient()
        roots = [p.value, *(e for _, e in entries), *(array for _, array in arrays)]
        names = self.entry_names() if entries else []
        for k, e in entries:
            for part in (e, *e.args, *(b for a in e.args for b in a.args)):
                self.parts.setdefault(part, names[k])
        sums = [n for n in p.order if is_sample_sum(n)]
        at = steps(p.order) if sums else {}
        body: list[Statement] = []
        for step in range(max(at.values(), default=0)):
            body += self.sample_pass([n for n in sums if at[n] == step + 1])
        if per_sample(p.value):
            body += self.values()
        elif body:
            args = (self.out(), "theta", *self.totals, *self.inputs())
            doc = f"{self.result_doc()} It takes the totals of the passes."
            self.functions.append(Function("finish", args, doc, used(self.scalar_results(roots))))
            body.append(Line(f"return finish({', '.join(args)})"))
        else:
            body = self.scalar_results(roots)
        if any(per_sample(a.leaf) for a in p.inputs):
            body.insert(0, self.count_line())
        doc = "Write the value of every sample to out and return their number."
        doc = doc if per_sample(p.value) else self.result_doc()
        self.functions.append(Function("kernel", ("theta", self.out(), *self.inputs()), doc, used(body)))
        return self.functions

    # ---- names and regions

    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return [a.name for a in self.program.inputs]

    def out(self) -> str:
        """What the kernel's second argument is called."""
        return "grad" if self.program.gradients else "out"

    def result_doc(self) -> str:
        """What a function that ends with a scalar value does."""
        return "Write the gradient to grad and return the loss." if self.program.gradients else "Return the value."

    def count_line(self) -> Line:
        """The number of samples."""
        return Line(f"n = {next(a.name for a in self.program.inputs if per_sample(a.leaf))}.shape[0]")

    def region(self, roots: Sequence[Node]) -> tuple[Region, Loops]:
        """A region of scalars that begins with the loads of what comes from outside and the loops that it needs."""
        order = topological(roots)
        given = loads(self.program, order) | self.results
        region = Region(use_counts(roots, order), given, self.naming.name, self.naming.comment)
        if any(per_sample(a.leaf) for a in self.program.inputs):
            region.statements.append(self.count_line())
        for n, text in sorted(given.items(), key=lambda pair: natural(pair[1])):
            if text.endswith("]") and n not in self.results:
                region.given[n] = self.naming.name(n)
                region.statements.append(Line(f"{region.given[n]} = {text}"))
        loops = Loops(self.program, self.naming, self.tables)
        loops.prepare(region, roots)
        return region, loops

    def entry_names(self) -> list[str]:
        """What the entries of theta are called."""
        found = {}
        for n, name in self.program.names.items():
            source = n.args[0] if n.op.name == "item" else n
            if not n.type.shape:
                found[source, n.params[0] if n.op.name == "item" else ()] = name
        shapes = [(a.leaf, tuple(int(d) for d in a.leaf.type.shape)) for a in self.program.params]
        return [found[leaf, index] for leaf, shape in shapes for index in np.ndindex(shape)]

    # ---- passes over the samples

    def sample_pass(self, sums: Sequence[Node]) -> list[Statement]:
        """Define the function of one pass over the samples; the statements of the kernel that run it."""
        forward = set(topological([self.program.value]))
        sums = [s for s in sums if s in forward] + [s for s in sums if s not in forward]
        suffix = self.naming.fresh("samples")[len("samples") :] if self.functions else ""
        arguments = ["theta", *self.totals, *self.inputs()]
        self.sum_function("samples" + suffix, arguments, sums, sum(s in forward for s in sums))
        tree, total = "tree" + suffix, self.naming.fresh("total") if suffix else "total"
        self.totals.append(total)
        self.results |= {s: f"{total}[{k}]" for k, s in enumerate(sums)}
        return [
            Line(f"{tree} = zeros((LEVELS, {len(sums)}), theta)"),
            Line(f"{total} = zeros({len(sums)}, theta)"),
            Line(f"samples{suffix}({', '.join([tree, '0', 'n', *arguments])})"),
            Line(f"close_tree({tree}, {total}, n)"),
        ]

    def sum_function(self, name: str, arguments: Sequence[str], sums: Sequence[Node], forward: int) -> None:
        """Define the function that adds a range of samples to a tree of sums."""
        head, body = self.sample_region([s.args[0] for s in sums])
        for k, s in enumerate(sums):
            if k == forward:
                body.statements.append(BACKWARD)
            body.accumulate(f"sums[{k}, i % LANES]", s.args[0], self.sum_comment(s))
        spans = Loop("for first in range(start, stop, SPAN)", [
            Loop("for i in lanes(first, min(first + SPAN, stop))", body.statements),
            Line("close_span(sums, tree, (first - start) // SPAN)"),
        ])  # fmt: skip
        statements = [*head, Line(f"sums = zeros(({len(sums)}, LANES), theta)"), spans]
        doc = "Add the samples from start to stop to the tree of sums, span by span."
        self.functions.append(Function(name, ("tree", "start", "stop", *arguments), doc, used(statements)))

    def sum_comment(self, s: Node) -> str:
        """Which adjoint a sum is, or becomes after the loop."""
        if s in self.parts:
            return f"for dL/d{self.parts[s]}"
        for adjoint in self.program.adjoint_of:
            if adjoint is s or s in adjoint.args:
                return f"for {comment}" if (comment := self.naming.adjoint_comment(adjoint)) else ""
        return ""

    def values(self) -> list[Statement]:
        """Define the function that writes the values of a range of samples; the statements that call it."""
        head, body = self.sample_region([self.program.value])
        body.statements.append(Line(f"out[i] = {body.emit(self.program.value)}"))
        arguments = ["theta", *self.totals, *self.inputs()]
        statements = [*head, Loop("for i in lanes(start, stop)", body.statements)]
        doc = "Write the values of the samples from start to stop."
        self.functions.append(Function("values", ("out", "start", "stop", *arguments), doc, used(statements)))
        return [Line(f"values({', '.join(['out', '0', 'n', *arguments])})"), Line("return n")]

    def sample_region(self, roots: Sequence[Node]) -> tuple[list[Statement], Region]:
        """The scalars that a loop over the samples needs, and the body of the loop."""
        inside = self.sample_nodes(roots)
        scalars = self.scalars(inside)
        head, _ = self.region(scalars)
        given = {n: head.emit(n, named=True) for n in scalars if n.op.name != "const"}
        body = Region(use_counts(roots, topological(roots)), given, self.naming.name, self.naming.comment)
        names = {a.leaf: a.name for a in self.program.inputs}
        for n in inside:
            if n.op.name == "leaf" and len(n.type.shape) == 1:
                self.load_column(body, n, f"{names[n]}[i]")
            elif n.op.name == "item":
                self.load_column(body, n, f"{names[n.args[0]]}[i, {n.params[0][1]}]")
        return head.statements, body

    def scalars(self, inside: Sequence[Node]) -> list[Node]:
        """The scalars that per-sample nodes use; the negative of a number is taken on the spot."""
        found = (a for n in inside for a in n.args if not per_sample(a))
        return list(dict.fromkeys(a.args[0] if a.op.name == "neg" else a for a in found))

    def sample_nodes(self, roots: Sequence[Node]) -> list[Node]:
        """The per-sample nodes below the roots that don't lie behind a sum."""
        reached, pending = set(roots), list(roots)
        while pending:
            for a in pending.pop().args:
                if per_sample(a) and a not in reached:
                    reached.add(a)
                    pending.append(a)
        return [n for n in topological(roots) if n in reached]

    def load_column(self, body: Region, n: Node, text: str) -> None:
        """Load one entry of a column, under a name if it is used again."""
        body.given[n] = text
        if body.uses[n] > 1:
            body.given[n] = self.naming.name(n)
            body.statements.append(Line(f"{body.given[n]} = {text}"))

    # ---- what remains

    def scalar_results(self, roots: Sequence[Node]) -> list[Statement]:
        """The end of a kernel with a scalar value: it is computed, the gradient written, the value returned."""
        value = self.program.value
        region, loops = self.region(roots)
        self.naming.known.setdefault(value, self.naming.fresh("loss" if self.program.gradients else "value"))
        region.emit(value, named=True)
        if self.program.gradients:
            region.statements.append(BACKWARD)
            self.store_gradient(region, loops)
        region.statements.append(Line(f"return {region.emit(value)}"))
        return region.statements

    def gradient(self) -> tuple[list[tuple[int, Node]], list[tuple[int, Node]]]:
        """The gradient as entries and arrays, each with its place in theta; an entry inside an array is added to it."""
        entries, arrays, offset = list[tuple[int, Node]](), list[tuple[int, Node]](), 0
        for g in self.program.gradients:
            single, whole = parted(g)
            entries += [(offset + k, e) for k, e in single]
            if whole:
                arrays.append((offset, whole[0] if len(whole) == 1 else apply("add", *whole)))
            offset += size_of(g.type.shape)
        return entries, arrays

    def store_gradient(self, region: Region, loops: Loops) -> None:
        """Write the gradient: whole arrays and runs of entries of one array in loops, other entries one by one."""
        entries, arrays = self.gradient()
        for offset, array in arrays:
            loops.store(region, array, "grad", offset)
        whole = {k for offset, array in arrays for k in range(offset, offset + size_of(array.type.shape))}
        added = [(k, e) for k, e in entries if k in whole]
        names = self.entry_names()
        for run in runs([(k, e) for k, e in entries if k not in whole]):
            if len(run) >= SHORTEST:
                added += loops.copy(region, run)
            else:
                for k, e in run:
                    region.statements.append(Line(f"grad[{k}] = {region.emit(e)}", f"dL/d{names[k]}"))
        for k, e in added:
            region.statements.append(Line(f"grad[{k}] += {region.emit(e)}", f"for dL/d{names[k]}"))
