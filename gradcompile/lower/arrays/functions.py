"""The functions of a module over arrays: a kernel that computes all, or passes over blocks of samples and what follows."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gradcompile.cost import entries, growth_of
from gradcompile.frontend.arguments import Argument
from gradcompile.ir import Node, apply, substitute, topological, use_counts
from gradcompile.lower.arrays import products
from gradcompile.lower.arrays.blocks import Plan, Rows, plan
from gradcompile.lower.arrays.entries import Memory
from gradcompile.lower.arrays.layout import EXPENSIVE, STORED
from gradcompile.lower.arrays.prepare import prepared
from gradcompile.lower.arrays.stages import Stages, Target
from gradcompile.lower.arrays.texts import atom_of, text_of, tuple_of
from gradcompile.lower.loopir import Function, Line, Loop, Statement, texts
from gradcompile.lower.program import Naming, Program, size_of
from gradcompile.types import Dim, dim_product, dim_sum, dims_told, names_in, parsed

LOOPS = "ijklpqrsuv"
CACHE = 3 << 19  # bytes of a block's arrays
SMALLEST, LARGEST = 32, 128  # samples of a block
FEW, MANY = 64, 128  # samples of a block that matrix products are still good at, with small and with large matrices
LARGE = 1 << 20  # bytes of parameters from which on these are large
LONG = 40_000_000  # operations of a block from which on it need not be longer
HEAVY = 8192  # entries for one sample from which on it is not run over in lanes
GROUPED = 16  # the most blocks whose sums are added up before they meet others
ENOUGH = 3_000_000  # operations of a group
MERGED = 500  # operations of a group for each entry of its sums, so that to merge them takes a part of the time


@dataclass(slots=True)
class ArrayNaming(Naming):
    """Names of arrays, of loop variables and of tables. contiguous: arrays of which other views can be made."""

    loops: dict[int, str] = field(default_factory=dict)
    contiguous: set[str] = field(default_factory=set)
    tables: dict[str, tuple[float | int, ...]] = field(default_factory=dict)
    dims: frozenset[str] = frozenset()
    origin: dict[Node, Node] = field(default_factory=dict)

    def wish(self, n: Node) -> str:
        """What a person would call the value, or what it is a part of."""
        n0 = self.origin.get(n, n)
        if n0 in self.program.names:
            return self.program.names[n0]
        primal = self.program.adjoint_of.get(n0)
        return self.plain_wish(n) if primal is None else "d_" + (self.spoken(primal) or self.plain_wish(primal))

    def comment(self, n: Node) -> str:
        """What a line says of its value, or of what it is a part of."""
        return Naming.comment(self, self.origin.get(n, n))

    def scope(self, inside: "ArrayNaming | None" = None) -> "ArrayNaming":
        """Names for one function: its own, beside those that the module has, or of another try at the same function."""
        contiguous = set(inside.contiguous) if inside is not None else set()
        return replace(self, fresh=self.fresh.copy(), known={}, numbers={}, loops={}, contiguous=contiguous)

    def loop(self, height: int) -> str:
        """The variable of a loop, counted from the innermost."""
        if height not in self.loops:
            wish = LOOPS[height]
            self.loops[height] = wish if wish == "i" and wish not in self.dims else self.fresh(wish)
        return self.loops[height]

    def about(self, name: str) -> str:
        """What the line that declares an array says."""
        return ""

    def table(self, n: Node) -> str:
        """The module constant that holds the numbers of a table."""
        entries = n.params[0].array().ravel()
        values = tuple((entries if n.type.dtype.startswith("float") else entries.astype(np.int64)).tolist())
        for name, known in self.tables.items():
            if repr(known) == repr(values):
                return name
        name = self.fresh("TABLE")
        self.tables[name] = values
        return name


def is_array_program(program: Program) -> bool:
    """Whether a program was written over arrays: some argument is a whole array, not symbols in their places."""
    return any(not a.symbols for a in (*program.params, *program.inputs))


@dataclass(slots=True)
class Writer:
    """Writes the functions of one program."""

    program: Program
    naming: ArrayNaming
    roots: list[Node]
    functions: list[Function] = field(default_factory=list)

    @property
    def out(self) -> str:
        """What the kernel's second argument is called."""
        return "grad" if self.program.gradients else "out"

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return [a.name for a in self.program.inputs]

    # ---- what comes from outside

    def given(self, naming: ArrayNaming) -> tuple[dict[Node, Memory], dict[Node, str], list[Statement]]:
        """Parameters and inputs as arrays and scalars, and the lines that name the views of theta."""
        memory: dict[Node, Memory] = {}
        scalars: dict[Node, str] = {}
        lines: list[Statement] = []
        for a in self.program.params:
            offset = self.program.offsets[a.leaf]
            if a.leaf.type.shape:
                name = naming.fresh(a.name)
                memory[a.leaf] = Memory.plain(name, a.leaf)
                lines.append(Line(f"{name} = view(theta, {offset}, {tuple_of(a.leaf.type.shape)})"))
                naming.contiguous.add(name)
            else:
                scalars[a.leaf] = f"theta[{offset}]"
        for a in self.program.inputs:
            if a.leaf.type.shape:
                memory[a.leaf] = Memory.plain(a.name, a.leaf, whole=True)
                naming.contiguous.add(a.name)
            else:
                scalars[a.leaf] = f"({a.name} != 0)" if a.leaf.type.dtype == "bool" else a.name
        return memory, scalars, lines

    def sizes(self, roots: Sequence[Node]) -> dict[Node, str]:
        """The numbers of entries along axes, as text."""
        found = [n for n in topological(roots) if n.op.name == "size"]  # what they are the size of is not computed
        return {n: atom_of(n.args[0].type.shape[n.params[0]]) for n in found}

    def dimension_lines(self, body: Sequence[Statement]) -> list[Statement]:
        """The lines that take named dimensions from the arrays that have them, as far as they are used."""
        words = set(re.findall(r"\w+", " ".join(texts(list(body)))))
        axes = [(f"{a.name}.shape[{k}]", d) for a in self.program.inputs for k, d in enumerate(a.leaf.type.shape)]
        told = dims_told([d for _, d in axes])
        used = self.naming.dims & words
        for name, _, rest, _ in reversed(told):
            used |= names_in(rest) if name in used else set()
        lines: list[Statement] = []
        for name, c, rest, at in sorted(told, key=lambda t: (t[1:3] != (1, 0), t[0] if t[1:3] == (1, 0) else "")):
            text = axes[at][0] if rest == 0 else f"({axes[at][0]} - ({text_of(rest)}))"
            if name in used:
                lines.append(Line(f"{name} = {text}" if c == 1 else f"{name} = {text} // {c}"))
        return lines

    # ---- one kernel for everything

    def whole(self) -> None:
        """A kernel without blocks."""
        naming = self.naming.scope()
        memory, scalars, lines = self.given(naming)
        stages = Stages(naming, memory, scalars | self.sizes(self.roots))
        self.results(stages, lines, "kernel", ("theta", self.out, *self.inputs), {})

    def results(
        self, stages: Stages, lines: list[Statement], name: str, arguments: tuple[str, ...], direct: dict[Node, Node | None]
    ) -> None:
        """The function that writes the gradient, or the value, and returns.

        direct: gradients that passes have written already, and what is still to be added to them.
        """
        value, *gradients = self.roots
        targets: list[Target] = []
        for a, g in zip(self.program.params, gradients, strict=False):
            rest = direct.get(g, g)
            if rest is not None:
                memory, line = self.gradient(a, stages.naming)
                lines += line
                targets.append(Target(rest, memory, g in direct, f"dL/d{a.name}"))
        if value.type.shape:
            result = stages.naming.fresh("result")
            lines.append(Line(f"{result} = view(out, 0, {tuple_of(value.type.shape)})"))
            targets.append(Target(value, Memory.plain(result, value)))
        stages.run(targets, scalars=[] if value.type.shape else [value])
        body = stages.emit()
        text = "0.0" if value.type.shape else stages.scalar(value, "loss" if gradients else "value")
        doc = "Write the gradient to grad and return the loss." if gradients else "Write the value to out, or return it."
        self.define(name, arguments, doc, [*lines, *self.workspace(stages), *body, Line(f"return {text}")])

    def gradient(self, a: Argument, naming: ArrayNaming) -> tuple[Memory, list[Statement]]:
        """Where the gradient of a parameter goes, and the line that names it."""
        offset = self.program.offsets[a.leaf]
        if not a.leaf.type.shape:
            return Memory(f"grad[{offset}]", ()), []
        name = naming.fresh(f"d_{a.name}")
        naming.contiguous.add(name)
        return Memory.plain(name, a.leaf), [Line(f"{name} = view(grad, {offset}, {tuple_of(a.leaf.type.shape)})")]

    def define(self, name: str, arguments: Sequence[str], doc: str, body: list[Statement]) -> None:
        """Enter a function."""
        self.functions.append(Function(name, tuple(arguments), doc, used([*self.dimension_lines(body), *body])))

    def workspace(self, stages: Stages) -> list[Statement]:
        """The lines that allocate what stages need."""
        lines: list[Statement] = []
        parts = {source for source, _ in stages.aliases.values()}  # an array without entries is a part as well
        if stages.work in parts:
            lines.append(Line(f"{stages.work} = empty({text_of(stages.workspace.size)}, theta)"))
        if f"{stages.work}_whole" in parts:
            lines.append(Line(f"{stages.work}_whole = integers({text_of(stages.integers.size)})"))
        lines += [Line(f"{name} = zeros(LANES, theta)") for name in stages.partials]
        return [*lines, *(line for child in stages.children for line in self.workspace(child))]


@dataclass(slots=True)
class Drawn:
    """One pass being written: its stages, the lines before its loop over blocks, and those that begin a block."""

    stages: Stages
    name: str
    before: list[Statement]
    inner: list[Statement]
    direct: list[Node]
    arguments: list[str]


@dataclass(slots=True)
class PassWriter(Writer):
    """Writes a program as passes over blocks of samples, and what comes before and after them.

    places: where results that stand between functions are: the name of the array that is passed on, and the text that
    names the part of it.
    """

    plan: Plan = field(kw_only=True)
    places: dict[Node, tuple[str, str]] = field(default_factory=dict)
    direct: dict[Node, tuple[Argument, Node]] = field(default_factory=dict)
    handed: list[str] = field(default_factory=list)
    steps: list[Statement] = field(default_factory=list)
    late: list[tuple[str, Sequence[str], str, list[Statement]]] = field(default_factory=list)
    constants: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """All functions."""
        self.find_direct()
        drawn = [self.draw(k) for k in range(len(self.plan.passes))]
        widest = max(d.stages.entries_a_sample() for d in drawn)
        block = self.block_size(widest)
        self.constants = {"BLOCK": block, "GROUP": block * self.blocks_together(block, self.summed())}
        for d in drawn:
            self.write_pass(d)
        for definition in self.late:
            self.define(*definition)
        self.finish()

    def block_size(self, entries: int) -> int:
        """The samples of a block, a power of two: what they need stays in cache, matrix products have enough to do.

        More work than that is left for other blocks, which other threads may take.
        """
        size = np.dtype(self.program.value.type.dtype).itemsize
        fitting = min(max(CACHE // max(entries * size, 1), SMALLEST), LARGEST)
        parameters = size * sum(size_of(a.leaf.type.shape) for a in self.program.params)
        least = MANY if parameters > LARGE else FEW
        enough = max(LONG // self.work, least)
        return 1 << min(max(fitting, least if self.has_products else SMALLEST), enough).bit_length() - 1

    def summed(self) -> int:
        """The entries of all sums over samples, of the whole gradient where a pass adds to parts of it."""
        size = sum(size_of(a.leaf.type.shape) for a in self.program.params)
        own = sum(entries(r.node) for p in self.plan.passes for r in p.reductions if r.node not in self.direct)
        return own + size * sum(any(r.node in self.direct for r in p.reductions) for p in self.plan.passes)

    def blocks_together(self, block: int, sums: int) -> int:
        """The blocks of the smallest groups, a power of two.

        A group takes long enough to be handed to another thread, and longer than merging its sums with others.
        """
        cost = block * self.work
        return 1 << (max(min(ENOUGH // cost, GROUPED), -(-MERGED * sums // cost), 1) - 1).bit_length()

    @property
    def block_nodes(self) -> list[Node]:
        """What blocks give."""
        return [r.block for p in self.plan.passes for r in (*p.reductions, *p.rows)]

    @property
    def work(self) -> int:
        """The operations that one sample more takes."""
        growth = growth_of(self.block_nodes)
        return max(int(sum(c for names, c in growth.items() if self.plan.block in names)), 1)

    @property
    def has_products(self) -> bool:
        """Whether blocks multiply matrices."""
        return any(n.op.name == "dot" for n in topological(self.block_nodes))

    def find_direct(self) -> None:
        """Gradients that are a sum over the samples and nothing else reads: passes add to them where they belong."""
        uses = use_counts(self.roots, topological(self.roots))
        sums = {r.node for p in self.plan.passes for r in p.reductions}
        for a, g in zip(self.program.params, self.roots[1:], strict=False):
            terms = g.args if g.op.name == "add" and g not in sums else (g,)
            found = [t for t in terms if t in sums and uses[t] == 1]
            if uses[g] == 1 and found and all(t.type.shape == g.type.shape for t in terms):
                self.direct |= dict.fromkeys(found, (a, g))

    # ---- what goes from function to function

    def outside(self, naming: ArrayNaming) -> tuple[dict[Node, Memory], dict[Node, str], list[Statement]]:
        """All that a function reads: arguments, and results of functions before it."""
        memory, scalars, lines = self.given(naming)
        for n, (_, text) in self.places.items():
            if n.type.shape:
                name = naming.fresh(naming.wish(n))
                memory[n] = Memory.plain(name, n)
                lines.append(Line(f"{name} = {text}"))
                naming.contiguous.add(name)
            else:
                memory[n] = Memory(text, ())
        return memory, scalars, lines

    def keep(self, nodes: Sequence[Node], array: str) -> Dim:
        """Give nodes places in an array that functions hand on; its size."""
        size: Dim = 0
        for n in nodes:
            at = text_of(size)
            self.places[n] = array, f"view({array}, {at}, {tuple_of(n.type.shape)})" if n.type.shape else f"{array}[{at}]"
            size = dim_sum(size, dim_product(*n.type.shape))
        if nodes:
            self.handed.append(array)
        return size

    # ---- passes

    def draw(self, k: int) -> Drawn:
        """The stages of one pass; what it needs whole is computed by a function before it."""
        p = self.plan.passes[k]
        cut = [n for n in (self.plan.leaves[x][0] for x in p.cut) if n.args and n not in self.places]
        self.compute_before([*(n for n in p.given if self.is_wanted(n)), *cut], k)
        name, total, whole = (self.naming.fresh(w) if k else w for w in ("samples", "total", "sums"))
        names = ["out" if r.node is self.roots[0] else self.naming.fresh("rows") for r in p.rows]
        naming = self.naming.scope()
        naming.origin = self.naming.origin | {x: self.naming.origin.get(n, n) for x, n in p.origin.items()}
        memory, scalars, lines = self.outside(naming)
        own = [r for r in p.reductions if r.node not in self.direct]
        inner: list[Statement] = [Line(f"{self.plan.block} = min(BLOCK, stop - first)")]
        for x in p.cut:
            inner.append(self.cut(x, memory, naming))
        targets: list[Target] = []
        before = list(self.handed)
        size = self.keep([r.node for r in own], total)
        for r in own:
            text = self.places[r.node][1]
            lines_of, place = self.sum_place(r.node, text, naming)
            lines += lines_of
            targets.append(Target(r.block, place, True))
        used_direct = []
        for r in p.reductions:
            if r.node in self.direct:
                a, _ = self.direct[r.node]
                place, line = self.gradient(a, naming)
                lines += line
                targets.append(Target(r.block, place, True, f"dL/d{a.name}"))
                used_direct.append(r.node)
        self.rows(list(zip(p.rows, names, strict=True)), lines, inner, targets, naming)
        arguments = [*([total] if own else []), *(["grad"] if used_direct else []), "start", "stop", "theta", *before, *names,
                     *self.inputs]  # fmt: skip
        blocks = [r.block for r in (*p.reductions, *p.rows)]
        scalars |= self.sizes(blocks) | {self.plan.first: "first"}
        stages = self.staged(naming, memory, scalars, targets)
        self.steps += [Line(f"{total} = zeros({size}, theta)")] if own else []
        everything = ", ".join({"start": "0", "stop": self.count}.get(a, a) for a in arguments)
        if own or used_direct:
            self.sums(whole, name, {total: size} if own else {}, arguments, bool(used_direct))
            self.steps.append(Line(f"{whole}({everything})"))
        else:
            self.steps.append(Line(f"{name}({everything})"))
        return Drawn(stages, name, lines, inner, used_direct, arguments)

    def staged(
        self, naming: ArrayNaming, memory: dict[Node, Memory], scalars: dict[Node, str], targets: Sequence[Target]
    ) -> Stages:
        """The stages of a block: samples in lanes, or first of all axes where each has much to do by itself."""
        turned = {x: products.same(x) for x in self.plan.leaves if len(x.type.shape) > 1 and x in memory
                  and x.type.shape[-1] != self.plan.block}  # fmt: skip
        known = topological([t.node for t in targets])
        new = substitute([*(t.node for t in targets), *known], turned)
        naming.origin |= {x: naming.origin.get(n, n) for n, x in zip(known, new[len(targets) :], strict=True)}
        again = [replace(t, node=n) for t, n in zip(targets, new, strict=False)]
        stages = Stages(naming.scope(naming), dict(memory), dict(scalars), self.plan.block)
        stages.run(again)
        if stages.entries_a_sample() > HEAVY:
            stages = Stages(naming.scope(naming), dict(memory), dict(scalars), None, self.plan.block)
            stages.run(targets)
        return stages

    def is_wanted(self, n: Node) -> bool:
        """Whether something has to be computed before a pass: it is not at hand, and not as cheap in every block."""
        if not n.args or n in self.places:
            return False
        order = [x for x in topological([n], lambda x: x in self.places or x.op.name == "size") if x not in self.places]
        heavy = any(x.op.name in STORED for x in order) or (n.type.shape and sum(x.op.cost for x in order) >= EXPENSIVE)
        return bool(heavy)

    def compute_before(self, nodes: Sequence[Node], k: int) -> None:
        """A function that computes nodes whole, and its call."""
        nodes = list(dict.fromkeys(nodes))
        if not nodes:
            return
        name, array = self.naming.fresh("before"), self.naming.fresh("shared")
        naming = self.naming.scope()
        memory, scalars, lines = self.outside(naming)
        handed = list(self.handed)
        size = self.keep(nodes, array)
        targets = []
        for n in nodes:
            lines_of, place = self.sum_place(n, self.places[n][1], naming)
            lines += lines_of
            targets.append(Target(n, place))
        stages = Stages(naming, memory, scalars | self.sizes(nodes))
        stages.run(targets)
        body = stages.emit()
        arguments = [array, "theta", *handed, *self.inputs]
        self.define(name, arguments, "Compute what the samples share.", [*lines, *self.workspace(stages), *body])
        self.steps += [Line(f"{array} = empty({text_of(size)}, theta)"), Line(f"{name}({', '.join(arguments)})")]

    def sum_place(self, n: Node, text: str, naming: ArrayNaming) -> tuple[list[Statement], Memory]:
        """A place to write to, and the line that names it."""
        if not n.type.shape:
            return [], Memory(text, ())
        name = naming.fresh(naming.wish(n))
        return [Line(f"{name} = {text}")], Memory.plain(name, n)

    def cut(self, x: Node, memory: dict[Node, Memory], naming: ArrayNaming) -> Statement:
        """The rows of a block, of an array that is there."""
        source, axis = self.plan.leaves[x]
        name = naming.fresh(f"{memory[source].name}_b")
        memory[x] = Memory(name, memory[source].order, memory[source].whole)
        if axis == 0:
            naming.contiguous.add(name)
        return Line(f"{name} = {memory[source].name}[{self.span(x, axis)}]")

    def span(self, n: Node, axis: int) -> str:
        """The index of a block's part of an array; n is of the part's shape."""
        (_, each), *_ = parsed(n.type.shape[axis])
        start = dim_product(each, "first")
        stop = dim_sum(start, n.type.shape[axis])
        return ", ".join([*[":"] * axis, f"{text_of(start)}:{text_of(stop)}"])

    def rows(
        self, rows: Sequence[tuple[Rows, str]], lines: list[Statement], inner: list[Statement], targets: list[Target],
        naming: ArrayNaming,
    ) -> None:  # fmt: skip
        """Where the rows of nodes go: to the result, or to arrays that later functions read."""
        for r, array in rows:
            if array != "out":
                self.steps.append(Line(f"{array} = empty({text_of(dim_product(*r.node.type.shape))}, theta)"))
                self.keep([r.node], array)
            whole = naming.fresh(naming.wish(r.node))
            lines.append(Line(f"{whole} = view({array}, 0, {tuple_of(r.node.type.shape)})"))
            part = naming.fresh(f"{whole}_b")
            inner.append(Line(f"{part} = {whole}[{self.span(r.block, r.axis)}]"))
            targets.append(Target(r.block, Memory.plain(part, r.node)))

    def write_pass(self, d: Drawn) -> None:
        """The function of one pass."""
        d.stages.bound = {self.plan.block: self.constants["BLOCK"]}
        body = d.stages.emit()
        loop = Loop("for first in range(start, stop, BLOCK)", used([*d.inner, *body]))
        doc = "Add the samples from start to stop, block by block."
        self.define(d.name, d.arguments, doc, [*d.before, *self.workspace(d.stages), loop])

    def sums(self, name: str, samples: str, sizes: dict[str, Dim], arguments: Sequence[str], direct: bool) -> None:
        """The function that runs a pass over all samples, group by group, each from zero."""
        sizes = sizes | ({"grad": sum(size_of(a.leaf.type.shape) for a in self.program.params)} if direct else {})
        many = "stop > start + group"
        first = [{"stop": "min(start + group, stop)"}.get(a, a) for a in arguments]
        later = [{a: f"{a}_part" for a in sizes}.get(a, {"start": "first", "stop": "min(first + group, stop)"}.get(a, a))
                 for a in arguments]  # fmt: skip
        body: list[Statement] = [Line("group = group_size(stop - start, GROUP)")]
        body.append(Line(f"{samples}({', '.join(first)})"))
        for array, size in sizes.items():
            body += [Line(f"{array}_{part} = zeros({text_of(size)} if {many} else 0, theta)") for part in ("part", "lost")]
        inner: list[Statement] = [Line(f"{array}_part[:] = 0.0") for array in sizes]
        inner.append(Line(f"{samples}({', '.join(later)})"))
        inner += [Line(f"add_part({array}, {array}_part, {array}_lost)") for array in sizes]
        body.append(Loop("for first in range(start + group, stop, group)", inner))
        body += [Line(f"settle({array}, {array}_lost)") for array in sizes]
        self.late.append((name, arguments, "Add the samples from start to stop, group by group, each from zero.", body))

    @property
    def count(self) -> str:
        """The number of samples."""
        return text_of(self.plan.dim)

    # ---- the rest

    def finish(self) -> None:
        """What follows the passes, and the kernel."""
        naming = self.naming.scope()
        memory, scalars, lines = self.outside(naming)
        stages = Stages(naming, memory, scalars | self.sizes(self.roots))
        direct: dict[Node, Node | None] = {}
        for _, g in self.direct.values():
            rest = [t for t in g.args if t not in self.direct] if g not in self.direct else []
            direct[g] = None if not rest else rest[0] if len(rest) == 1 else apply("add", *rest)
        arguments = (self.out, "theta", *self.handed, *self.inputs)
        value = self.roots[0]
        clear: list[Statement] = [Line("grad[:] = 0.0")] if self.direct else []
        if any(r.node is value for p in self.plan.passes for r in p.rows):
            self.steps.append(Line("return 0.0"))
        else:
            self.results(stages, lines, "finish", arguments, direct)
            self.steps.append(Line(f"return finish({', '.join(arguments)})"))
        doc = "Write the gradient to grad and return the loss." if self.program.gradients else "Write or return the value."
        self.define("kernel", ("theta", self.out, *self.inputs), doc, [*clear, *self.steps])



def used(statements: list[Statement]) -> list[Statement]:
    """The statements without views that nothing reads."""
    while True:
        lines = [Line(t) for t in texts(statements)]
        known = set(re.findall(r"\w+", " ".join(s.text.partition(" = ")[2] if is_view(s) else s.text for s in lines)))
        kept = [s for s in statements if not (isinstance(s, Line) and is_view(s) and s.text.split(" ")[0] not in known)]
        if len(kept) == len(statements):
            return kept
        statements = kept


def is_view(s: Statement) -> bool:
    """Whether a statement names a part of an array."""
    return isinstance(s, Line) and (" = view(" in s.text or re.fullmatch(r"\w+ = \w+\.shape\[\d+\]", s.text) is not None)


def dims_of(program: Program) -> frozenset[str]:
    """The names of dimensions in a program."""
    dims = [d for n in program.order for d in n.type.shape if isinstance(d, str)]
    return frozenset(name for d in dims for factors, _ in parsed(d) for name in factors)


def lower_arrays(program: Program, naming: Naming) -> tuple[list[Function], dict[str, tuple[float | int, ...] | int]]:
    """The functions of a program over arrays, and the constants that they read: tables of numbers, sizes of blocks."""
    known = [n for n in program.order if n in program.comments or n in program.adjoint_of]
    new = prepared([program.value, *program.gradients, *known])
    roots = new[: len(new) - len(known)]
    origin = dict(zip(new[len(roots) :], known, strict=True))
    own = ArrayNaming(program, naming.fresh, dims=dims_of(program), origin=origin)
    found = plan(roots, {a.leaf for a in program.inputs})
    if found is None or any(r.kind == "max" for p in found.passes for r in p.reductions):
        writer = Writer(program, own, roots)
        writer.whole()
        return writer.functions, dict(own.tables)
    passes = PassWriter(program, own, roots, plan=found)
    passes.run()
    return passes.functions, own.tables | passes.constants
