"""Graph to loop IR: which value is computed where. Scalars once, per-sample values in blocks, one pass a dependency.

Every node stands at a step: a sum over the samples is one step later than what it sums, anything else as late as its
arguments. Step k of the scalars comes before pass k over the samples, which computes the sums of step k + 1. Per-sample
values that a later pass needs again are recomputed, so memory stays O(block).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gradcompile.frontend.names import natural
from gradcompile.ir import Node, const, topological, use_counts
from gradcompile.lower.expression import Region
from gradcompile.lower.loopir import Function, Line, Loop, Statement, texts
from gradcompile.lower.program import Naming, Program, flat_index, load, loads, per_sample, size_of

BACKWARD = Line("", "backward: d_v is dL/dv")


def lower(program: Program, naming: Naming) -> list[Function]:
    """The functions of the generated module, in the order of their definition; the last is `kernel`."""
    return Scheduler(program, naming).run()


def is_sample_sum(n: Node) -> bool:
    """Whether the node is a sum over the samples."""
    return n.op.name == "sum" and per_sample(n.args[0])


def steps(roots: Iterable[Node]) -> dict[Node, int]:
    """The step of every node."""
    at: dict[Node, int] = {}
    for n in topological(roots):
        at[n] = max((at[a] for a in n.args), default=0) + is_sample_sum(n)
    return at


def gradient_entries(g: Node) -> list[Node]:
    """The gradient of one parameter as scalars, in row-major order."""
    shape, zero = g.type.shape, const(0.0, g.type.dtype)
    if not shape:
        return [g]
    entries = [zero] * size_of(shape)
    if g.op.name == "assemble":
        for index, value in zip(g.params[1], g.args, strict=True):
            entries[flat_index(index, shape)] = value
    return entries


def used(statements: list[Statement]) -> list[Statement]:
    """The statements without loads that nothing reads."""
    words = set(re.findall(r"\w+", " ".join(s.partition(" = ")[2] or s for s in texts(statements))))
    return [s for s in statements if not (name := loaded(s)) or name in words]


def loaded(s: Statement) -> str:
    """The name that the statement gives an element of an array; empty for any other statement."""
    found = re.fullmatch(r"(\w+) = \w+\[[\d, ]+\]", s.text) if isinstance(s, Line) else None
    return found[1] if found else ""


@dataclass(slots=True)
class Scheduler:
    """Lowers one program, function by function."""

    program: Program
    naming: Naming
    functions: list[Function] = field(default_factory=list)
    parts: dict[Node, str] = field(default_factory=dict)  # a sum, and the entry of theta whose derivative it is part of

    def run(self) -> list[Function]:
        """All functions; the kernel calls the others."""
        p = self.program
        entries = [e for g in p.gradients for e in gradient_entries(g)]
        roots = [p.value, *entries]
        for e, name in zip(entries, self.entry_names() if entries else (), strict=True):
            for part in (e, *e.args, *(b for a in e.args for b in a.args)):
                self.parts.setdefault(part, name)
        region = self.region(roots, loads(p, roots))
        if any(per_sample(n) for n in topological(roots)):
            first = next(a.name for a in p.inputs if per_sample(a.leaf))
            region.statements.insert(0, Line(f"n = {first}.shape[0]"))
        at, sums = steps(roots), [n for n in topological(roots) if is_sample_sum(n)]
        for step in range(max(at.values())):
            self.sample_pass(region, [n for n in sums if at[n] == step + 1])
        if per_sample(p.value):
            self.store_values(region)
        else:
            self.store_results(region, entries)
        args = ("theta", "grad" if p.gradients else "out", *(a.name for a in p.inputs))
        self.functions.append(Function("kernel", args, self.kernel_doc(), used(region.statements)))
        return self.functions

    def kernel_doc(self) -> str:
        """The docstring of the kernel."""
        if per_sample(self.program.value):
            return "Write the value of every sample to out and return their number."
        return "Write the gradient to grad and return the loss." if self.program.gradients else "Return the value."

    def region(self, roots: Sequence[Node], texts: Mapping[Node, str]) -> Region:
        """A region that begins with the loads of the array elements among these texts."""
        region = Region(use_counts(roots), dict(texts), self.naming.name, self.naming.comment)
        for n, text in sorted(texts.items(), key=lambda pair: natural(pair[1])):
            if text.endswith("]"):
                region.given[n] = self.naming.name(n)
                region.statements.append(Line(f"{region.given[n]} = {text}"))
        return region

    def sample_pass(self, region: Region, sums: Sequence[Node]) -> None:
        """One pass over the samples: a function that adds a span of them to the sums, and the loop that calls it."""
        forward = set(topological([self.program.value]))
        sums = [s for s in sums if s in forward] + [s for s in sums if s not in forward]
        passed = self.pass_scalars(region, [s.args[0] for s in sums])
        suffix = self.naming.fresh("samples")[len("samples") :] if self.functions else ""
        call = self.sum_function("samples" + suffix, sums, passed, sum(s in forward for s in sums))
        count, total = len(sums), self.naming.fresh("total") if suffix else "total"
        times = f"{count} * " if count > 1 else ""
        region.statements += [
            Line(f"sums = zeros({times}LANES, theta)"),
            Line(f"tree = zeros({times}LEVELS, theta)"),
            Line(f"{total} = zeros({count}, theta)"),
            Loop("for start in range(0, n, SPAN)", [Line(call), Line("close_span(sums, tree, start // SPAN)")]),
            Line(f"close_tree(tree, {total}, (n + SPAN - 1) // SPAN)"),
        ]
        region.given.update({s: f"{total}[{k}]" for k, s in enumerate(sums)})

    def pass_scalars(self, region: Region, roots: Sequence[Node]) -> list[Node]:
        """Compute, under names, the scalars that per-sample work below the roots needs; they become arguments."""
        needed = self.scalars(roots)
        passed = [n for n in needed if n.op.name != "const" and not load(self.program, n)]
        for n in passed:
            if region.emit(n, named=True) != self.naming.name(n):
                region.statements.append(Line(f"{self.naming.name(n)} = {region.emit(n)}"))
        return passed

    def scalars(self, roots: Sequence[Node]) -> list[Node]:
        """The scalars that per-sample work below the roots uses; the negative of a number is taken on the spot."""
        used = (a for n in self.sample_nodes(roots) for a in n.args if not per_sample(a))
        return list(dict.fromkeys(a.args[0] if a.op.name == "neg" else a for a in used))

    def sample_nodes(self, roots: Sequence[Node]) -> list[Node]:
        """The per-sample nodes below the roots that don't lie behind a sum."""
        reached, pending = set(roots), list(roots)
        while pending:
            for a in pending.pop().args:
                if per_sample(a) and a not in reached:
                    reached.add(a)
                    pending.append(a)
        return [n for n in topological(roots) if n in reached]

    def sum_function(self, name: str, sums: Sequence[Node], passed: Sequence[Node], forward: int) -> str:
        """Define the function that adds a span of samples to the sums; its call."""
        body, head = self.sample_region([s.args[0] for s in sums], passed)
        for k, s in enumerate(sums):
            if k == forward:
                body.statements.append(BACKWARD)
            target = f"sums[{f'{k} * LANES + ' if k > 1 else 'LANES + ' * k}i]"
            body.accumulate(target, s.args[0], self.sum_comment(s))
        doc = "Add the samples from start to stop to the sums, one partial sum a lane."
        return self.define(name, "sums", doc, head, body.statements, passed)

    def sum_comment(self, s: Node) -> str:
        """Which adjoint a sum is, or becomes after the loop."""
        if s in self.parts:
            return f"for dL/d{self.parts[s]}"
        for adjoint in self.program.adjoint_of:
            if adjoint is s or s in adjoint.args:
                return f"for {comment}" if (comment := self.naming.adjoint_comment(adjoint)) else ""
        return ""

    def entry_names(self) -> list[str]:
        """What the entries of theta are called."""
        found = {}
        for n, name in self.program.names.items():
            source = n.args[0] if n.op.name == "item" else n
            if not n.type.shape:
                found[source, n.params[0] if n.op.name == "item" else ()] = name
        shapes = [(a.leaf, tuple(int(d) for d in a.leaf.type.shape)) for a in self.program.params]
        return [found[leaf, index] for leaf, shape in shapes for index in np.ndindex(shape)]

    def sample_region(self, roots: Sequence[Node], passed: Sequence[Node]) -> tuple[Region, list[Statement]]:
        """The body of a sample loop, and the lines before the loops."""
        inside = self.sample_nodes(roots)
        outer = self.region([], {n: text for n in self.scalars(roots) if (text := load(self.program, n))})
        given = outer.given | {n: self.naming.name(n) for n in passed}
        names = {a.leaf: a.name for a in self.program.inputs}
        body = Region(use_counts(roots), given, self.naming.name, self.naming.comment)
        for n in inside:
            if n.op.name == "leaf" and len(n.type.shape) == 1:
                self.load_column(body, n, f"{names[n]}_[i]")
            elif n.op.name == "item":
                self.load_column(body, n, f"{names[n.args[0]]}_[i, {n.params[0][1]}]")
        return body, outer.statements

    def load_column(self, body: Region, n: Node, text: str) -> None:
        """Load one entry of a column, under a name if it is used again."""
        body.given[n] = text
        if body.uses[n] > 1:
            body.given[n] = self.naming.name(n)
            body.statements.append(Line(f"{body.given[n]} = {text}"))

    def define(
        self, name: str, target: str, doc: str, head: list[Statement], body: list[Statement], passed: Sequence[Node]
    ) -> str:
        """Enter a function that walks a span of samples in blocks; its call from the kernel."""
        inputs = [a.name for a in self.program.inputs]
        columns = [a.name for a in self.program.inputs if per_sample(a.leaf)]
        views = [Line(f"{c}_ = {c}[lo:hi]") for c in columns]
        block: list[Statement] = [Line("hi = min(lo + LANES, stop)"), *views, Loop("for i in range(hi - lo)", body)]
        scalars = [self.naming.name(n) for n in passed]
        args = (target, "start", "stop", "theta", *scalars, *inputs)
        self.functions.append(Function(name, args, doc, [*head, Loop("for lo in range(start, stop, LANES)", block)]))
        return f"{name}({', '.join([target, 'start', 'min(start + SPAN, n)', 'theta', *scalars, *inputs])})"

    def store_values(self, region: Region) -> None:
        """The end of a kernel of values: every sample's value is written."""
        value = self.program.value
        passed = self.pass_scalars(region, [value])
        body, head = self.sample_region([value], passed)
        body.statements.append(Line(f"out[lo + i] = {body.emit(value)}"))
        call = self.define(
            "values", "out", "Write the values of the samples from start to stop.", head, body.statements, passed
        )
        region.statements += [Loop("for start in range(0, n, SPAN)", [Line(call)]), Line("return n")]

    def store_results(self, region: Region, entries: Sequence[Node]) -> None:
        """The end of a kernel with a scalar value: it is computed, the gradient written, the value returned."""
        value = self.program.value
        self.naming.known.setdefault(value, self.naming.fresh("loss" if entries else "value"))
        region.emit(value, named=True)
        if entries:
            region.statements.append(BACKWARD)
            for k, (e, name) in enumerate(zip(entries, self.entry_names(), strict=True)):
                region.statements.append(Line(f"grad[{k}] = {region.emit(e)}", f"dL/d{name}"))
        region.statements.append(Line(f"return {region.emit(value)}"))
