"""Writing passes over blocks of samples, and what comes before and after them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gradcompile.analysis.cost import entries
from gradcompile.ir.algebra import add, is_add, stop_gradient
from gradcompile.ir.core import Node
from gradcompile.ir.graph import substitute, topological, use_counts
from gradcompile.ir.types import Dim, dim_product, dim_sum, parsed
from gradcompile.loops import kernel as plans
from gradcompile.loops.expressions import EVERY, Expression, call, element, name, number, operation, span, tuple_of
from gradcompile.loops.ir import Assign, Do, Loop, Return, Statement, turns
from gradcompile.lower.blocks.analysis import entries_counted as volume
from gradcompile.lower.blocks.grouping import block_size, blocks_together
from gradcompile.lower.blocks.plan import BlockPass, BlockPlan, BlockReduction, BlockRows
from gradcompile.lower.function import FunctionWriter, Source, used
from gradcompile.lower.memory.entries import Memory
from gradcompile.lower.memory.layout import EXPENSIVE
from gradcompile.lower.memory.lengths import LEAST, THETA, ZERO, dim_expression, empty, view, zeros_of_size
from gradcompile.lower.nests.naming import ArrayNaming
from gradcompile.lower.nests.places import NOTHING, Destination, Wanted
from gradcompile.lower.stages import Stages
from gradcompile.ops.scan import is_scanned
from gradcompile.ops.shape import is_iota
from gradcompile.signature.program import Output, Part

GATHERED: dict[plans.Meeting, tuple[str, Callable[[Expression], Expression]]] = {  # across blocks
    "added": ("total", zeros_of_size),
    "largest": ("highest", lambda size: call("full", size, LEAST, THETA)),
}
FIRST, START, STOP, BLOCK = map(name, ("first", "start", "stop", "BLOCK"))
Vectors = dict[str, tuple[plans.Meeting, Dim]]  # arrays that a pass gathers in: the kind of reductions, and the size
HEAVY = 16384  # entries for one sample from which on it is not run over in lanes


@dataclass(slots=True)
class PassDraft:
    """One pass being written: what it reads, the lines that begin a block, where results go, and its stages."""

    name: str
    source: Source
    block: list[Statement]
    targets: list[Wanted] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    stages: Stages = field(init=False)

    @property
    def naming(self) -> ArrayNaming:
        """The names of the pass."""
        return self.source.naming

    def call(self, given: Mapping[str, Expression], function: str = "") -> Expression:
        """A call of the pass, or of the function around it, some of whose arguments are given."""
        return call(function or self.name, *(given.get(a) or name(a) for a in self.arguments))


@dataclass(slots=True)
class PassWriter(FunctionWriter):
    """Writes a program as passes over blocks of samples, and what comes before and after them.

    places: where results that stand between functions are: the name of the array that is passed on, and the part of
    it. direct: sums that passes add to a part of an output, and where that is. row_outputs: rows that are an output as
    they are, and its name. passed_arrays: the arrays that functions hand on. sample_last: rows that passes alone read,
    block by block, and so stand in memory one block after the other, samples last. steps: the lines of the kernel.
    later: functions that come after the passes. passes: what the functions over ranges of samples do. block, group:
    their sizes. apart: how far apart rows of a block's arrays may lie in the whole ones.
    """

    plan: BlockPlan = field(kw_only=True)
    places: dict[Node, tuple[str, Expression]] = field(default_factory=dict)
    direct: dict[Node, tuple[Output, Part, Dim]] = field(default_factory=dict)
    row_outputs: dict[Node, str] = field(default_factory=dict)
    passed_arrays: list[str] = field(default_factory=list)
    sample_last: set[Node] = field(default_factory=set)
    steps: list[Statement] = field(default_factory=list)
    later: list[tuple[str, Sequence[str], str, list[Statement]]] = field(default_factory=list)
    passes: list[plans.Pass] = field(default_factory=list)
    block: int = 0
    group: int = 0
    apart: dict[Dim, None] = field(default_factory=dict)

    def run(self) -> None:
        """All functions."""
        self.find_direct()
        self.find_sample_last()
        drafts = [self.draft(k) for k in range(len(self.plan.passes))]
        widest = max(d.stages.entries_a_sample() for d in drafts)
        self.block = block_size(self.program, self.plan, widest)
        self.group = self.block * blocks_together(self.plan, self.block, self.summed())
        for d in drafts:
            self.write_pass(d)
        for definition in self.later:
            self.define(*definition)
        self.finish()
        if self.naming.counted:
            self.naming.counted |= self.apart

    def find_direct(self) -> None:
        """Where passes write to outputs: rows, and parts that are a sum over the samples and nothing else reads."""
        uses = use_counts(self.roots, topological(self.roots))
        sums = {r.node for p in self.plan.passes for r in p.reductions if r.kind == "added"}
        rows = {r.node for p in self.plan.passes for r in p.rows}
        self.row_outputs |= {p.node: o.name for o, p, _ in self.parts() if len(o.parts) == 1 and p.node in rows}
        for place in self.parts() if self.value is not None else ():
            g = place[1].node
            terms = g.args if is_add(g) and g not in sums else (g,)
            found = [t for t in terms if t in sums and uses[t] == 1]
            if uses[g] == 1 and found and all(t.type.shape == g.type.shape for t in terms):
                self.direct |= dict.fromkeys(found, place)

    def find_sample_last(self) -> None:
        """Rows that nothing reads but passes, along the axis by which they are written."""
        rows = {r.node: r for p in self.plan.passes for r in p.rows}
        passed = {r.node for p in self.plan.passes for r in p.reductions} | rows.keys()
        cut = [n for n, axis in self.plan.leaves.values() if n not in rows or axis != rows[n].axis]
        whole = [*self.roots, *(n for p in self.plan.passes for n in p.given), *cut]
        between = topological(whole, lambda n: n in passed or n.op.by_shape)
        read = {*whole, *(a for n in between for a in n.args)}
        self.sample_last |= {n for n, r in rows.items() if n not in read and self.can_be_sample_last(r.block, r.axis)}

    def can_be_sample_last(self, x: Node, axis: int) -> bool:
        """Whether the rows of a block are of samples as such, and lanes will run over these."""
        others = tuple(d for k, d in enumerate(x.type.shape) if k != axis)
        return bool(others) and x.type.shape[axis] == self.plan.block and volume(others) <= HEAVY

    def sample_last_view(self, x: Node, axis: int, array: str, source: Source) -> tuple[Statement, Memory]:
        """The line that names a block of rows whose last axis is the samples, and where it stands; x: in the block."""
        order = (*(k for k in range(len(x.type.shape)) if k != axis), axis)
        shape = tuple(x.type.shape[k] for k in order)
        memory = Memory(source.naming.fresh(source.naming.preferred_name(x)), order, dense=True)
        return Assign(memory.whole_array, view(name(array), dim_product("first", *shape[:-1]), shape)), memory

    def filled(self, nodes: Iterable[Node]) -> list[Output]:
        """The outputs to whose parts a pass with these sums adds."""
        names = {self.direct[n][0].name for n in nodes if n in self.direct}
        return [o for o in self.program.outputs if o.name in names]

    def summed(self) -> int:
        """The entries of all sums over samples, of a whole output where a pass adds to parts of it."""
        sums = [[r.node for r in p.reductions] for p in self.plan.passes]
        own = sum(entries(n) for nodes in sums for n in nodes if n not in self.direct)
        return own + sum(int(o.size) for nodes in sums for o in self.filled(nodes))

    # ---- what goes from function to function

    def outside(self) -> Source:
        """All that a function reads: arguments, and results of functions before it."""
        found = self.given()
        for n, (array, part) in self.places.items():
            if n in self.sample_last:
                continue
            if n.type.shape:
                found.add(n, found.naming.preferred_name(n), part)
            else:
                found.memory[n] = Memory(array, (), index=part.parts[1:])
        return found

    def keep(self, nodes: Sequence[Node], array: str) -> Dim:
        """Give nodes places in an array that functions hand on; its size."""
        size: Dim = 0
        for n in nodes:
            shape, whole = n.type.shape, name(array)
            self.places[n] = array, view(whole, size, shape) if shape else element(whole, [dim_expression(size)])
            size = dim_sum(size, dim_product(*shape))
        if nodes:
            self.passed_arrays.append(array)
        return size

    def place(self, n: Node, source: Source) -> Memory:
        """Where a node that functions hand on is written; a line names it."""
        array, part = self.places[n]
        if not n.type.shape:
            return Memory(array, (), index=part.parts[1:])
        memory = Memory.plain(source.naming.fresh(source.naming.preferred_name(n)), n)
        source.lines.append(Assign(memory.whole_array, part))
        return memory

    # ---- before a pass

    def needed_whole(self, p: BlockPass) -> list[Node]:
        """What has to be computed before a pass."""
        cut = [n for n in (self.plan.leaves[x][0] for x in p.cut) if (n.args or is_iota(n)) and n not in self.places]
        return list(dict.fromkeys([*(n for n in p.given if self.is_wanted(n)), *cut]))

    def with_results(self, nodes: Sequence[Node]) -> list[Node]:
        """The nodes, and what is read later of the scans that are run for them, so that nobody runs these again."""
        run = {(x.args, x.params[0]) for x in topological(nodes, self.places.__contains__) if is_scanned(x)}
        if not run:
            return list(nodes)
        passes = self.plan.passes
        passed = [*(r.node for p in passes for r in p.reductions), *(r.node for p in passes for r in p.rows)]
        later = [*self.roots, *(n for p in passes for n in p.given)]
        order = topological(later, {*self.places, *nodes, *passed}.__contains__)
        return [*nodes, *(x for x in order if is_scanned(x) and (x.args, x.params[0]) in run)]

    def is_wanted(self, n: Node) -> bool:
        """Whether something has to be computed before a pass: it is not at hand, and not as cheap in every block."""
        if not n.args or n in self.places:
            return False
        order = [x for x in topological([n], lambda x: x in self.places or x.op.by_shape) if x not in self.places]
        heavy = any(x.op.in_memory for x in order) or (n.type.shape and sum(x.op.cost for x in order) >= EXPENSIVE)
        return bool(heavy)

    def compute_before(self, nodes: Sequence[Node]) -> None:
        """A function that computes nodes whole, and its call."""
        if not nodes:
            return
        before, array = self.naming.fresh("before"), self.naming.fresh("shared")
        source = self.outside()
        passed_arrays = list(self.passed_arrays)
        size = self.keep(nodes, array)
        targets = [(n, Destination(self.place(n, source))) for n in nodes]
        stages = Stages(source.naming, source.memory, source.scalars | self.sizes(nodes))
        stages.run(targets)
        body = stages.emit()
        arguments = [array, "theta", *passed_arrays, *self.inputs]
        self.define(before, arguments, "Compute what the samples share.", [*source.lines, *stages.allocations(), *body])
        self.steps += [Assign(name(array), empty(size)), Do(call(before, *map(name, arguments)))]

    # ---- passes

    def draft(self, k: int) -> PassDraft:
        """The stages of one pass; what it needs whole is computed by a function before it."""
        p = self.plan.passes[k]
        self.compute_before(self.with_results(self.needed_whole(p)))
        own_name, whole = (self.naming.fresh(w) if k else w for w in ("samples", "sums"))
        arrays = [self.row_outputs.get(r.node) or self.naming.fresh("rows") for r in p.rows]
        own = [r for r in p.reductions if r.node not in self.direct]
        gathered = self.gathered(own, k)
        rows = call("min", BLOCK, operation("-", STOP, FIRST))
        d = PassDraft(own_name, self.outside(), [Assign(name(str(self.plan.block)), rows)])
        d.naming.origin = self.naming.origin | {x: self.naming.origin.get(n, n) for x, n in p.origin.items()}
        d.block += [self.cut(x, d.source) for x in p.cut]
        passed_arrays = list(self.passed_arrays)
        vectors: Vectors = {a: (rs[0].kind, self.keep([r.node for r in rs], a)) for a, rs in gathered.items()}
        d.targets += [(r.block, Destination(self.place(r.node, d.source), True)) for r in own]
        gradients = [r for r in p.reductions if r.node in self.direct]
        places: dict[tuple[str, Dim], Memory] = {}
        d.targets += [(r.block, self.added(r, d.source, places)) for r in gradients]
        for r, array in zip(p.rows, arrays, strict=True):
            self.give_rows(r, array, d)
        vectors |= {o.name: ("added", o.size) for o in self.filled(r.node for r in gradients)}
        d.arguments = [*vectors, "start", "stop", "theta", *passed_arrays, *arrays, *self.inputs]
        scalars = d.source.scalars | self.sizes(p.roots) | {self.plan.first: FIRST}
        d.stages = self.staged(d, scalars)
        self.call_pass(d, whole, vectors)
        return d

    def gathered(self, own: Sequence[BlockReduction], k: int) -> dict[str, list[BlockReduction]]:
        """The arrays that pass k gathers in, and what of: one for sums and one for maxima."""
        kinds = {kind: [r for r in own if r.kind == kind] for kind in GATHERED}
        preferred_names = ((GATHERED[kind][0], found) for kind, found in kinds.items() if found)
        return {self.naming.fresh(preferred) if k else preferred: found for preferred, found in preferred_names}

    def cut(self, x: Node, source: Source) -> Statement:
        """The rows of a block, of an array that is there."""
        n, axis = self.plan.leaves[x]
        if n in self.sample_last:
            line, source.memory[x] = self.sample_last_view(x, axis, self.places[n][0], source)
            return line
        whole = source.memory[n]
        self.apart |= dict.fromkeys(dim_product(*n.type.shape[k:]) for k in range(1, axis + 1))
        source.memory[x] = Memory(source.naming.fresh(f"{whole.name}_b"), whole.order, whole.whole, dense=axis == 0)
        source.naming.known_names.setdefault(source.naming.origin.get(n, n), whole.name)
        return Assign(source.memory[x].whole_array, whole.row(*self.span(x, axis)))

    def span(self, n: Node, axis: int) -> list[Expression]:
        """The index of a block's part of an array; n is of the part's shape."""
        (_, each), *_ = parsed(n.type.shape[axis])
        start = dim_product(each, "first")
        stop = dim_sum(start, n.type.shape[axis])
        return [*[EVERY] * axis, span(dim_expression(start), dim_expression(stop))]

    def added(self, r: BlockReduction, source: Source, known: dict[tuple[str, Dim], Memory]) -> Destination:
        """A sum that is added to an output where it belongs; a part that several are added to is named once."""
        output, part, offset = self.direct[r.node]
        if (output.name, offset) not in known:
            known[output.name, offset], lines = self.place_of(output, part, offset, source.naming)
            source.lines += lines
        return Destination(known[output.name, offset], True, part.label(0))

    def give_rows(self, r: BlockRows, array: str, d: PassDraft) -> None:
        """Where the rows of a node go: to the result, or to an array that later functions read."""
        shape = r.node.type.shape
        if r.node not in self.row_outputs:
            self.steps.append(Assign(name(array), empty(dim_product(*shape))))
            self.keep([r.node], array)
        if r.node in self.sample_last:
            line, memory = self.sample_last_view(r.block, r.axis, array, d.source)
            d.block.append(line)
            d.targets.append((r.block, Destination(memory)))
            return
        whole = d.naming.fresh(d.naming.preferred_name(r.node))
        d.source.lines.append(Assign(name(whole), view(name(array), 0, shape)))
        part = Memory.plain(d.naming.fresh(f"{whole}_b"), r.node)
        d.block.append(Assign(part.whole_array, element(name(whole), self.span(r.block, r.axis))))
        d.targets.append((r.block, Destination(part)))

    def staged(self, d: PassDraft, scalars: dict[Node, Expression]) -> Stages:
        """The stages of a block: samples in lanes, or first of all axes where each has much to do by itself."""
        memory, naming, block = d.source.memory, d.naming, self.plan.block
        turned = {x: stop_gradient(x) for x in self.plan.leaves if len(x.type.shape) > 1 and x in memory
                  and x.type.shape[-1] != block and self.plan.leaves[x][0] not in self.sample_last}  # fmt: skip
        roots = [root for root, _ in d.targets]
        known = topological(roots)
        new = substitute([*roots, *known], turned)
        naming.origin |= {x: naming.origin.get(n, n) for n, x in zip(known, new[len(roots) :], strict=True)}
        stages = Stages(naming.scope(), dict(memory), dict(scalars), lane=block, some=self.plan.dim)
        stages.run([(n, to) for (_, to), n in zip(d.targets, new, strict=False)])
        if stages.entries_a_sample() > HEAVY:
            stages = Stages(naming.scope(), dict(memory), dict(scalars), first=block, some=self.plan.dim)
            stages.run(d.targets)
        return stages

    def call_pass(self, d: PassDraft, whole: str, vectors: Vectors) -> None:
        """The lines of the kernel that run a pass over all samples."""
        self.steps += [Assign(name(array), GATHERED[kind][1](dim_expression(size)))
                       for array, (kind, size) in vectors.items() if array not in self.outputs]  # fmt: skip
        kinds = tuple(kind for kind, _ in vectors.values())
        self.passes.append(plans.Pass(whole, kinds, d.name) if vectors else plans.Pass(d.name))
        if vectors:
            self.define_sums(whole, d, vectors)
        everything = {"start": ZERO, "stop": dim_expression(self.plan.dim)}
        self.steps.append(Do(d.call(everything, whole if vectors else d.name)))

    def define_sums(self, whole: str, d: PassDraft, vectors: Vectors) -> None:
        """The function that runs a pass over samples group by group: sums meet in a tree, maxima go on."""
        fresh = self.naming.scope().fresh
        many, last, group = name(fresh("many")), name(fresh("last")), name("group")
        trees = {array: (name(fresh(f"{array}_tree")), size)
                 for array, (kind, size) in vectors.items() if kind == "added"}  # fmt: skip
        before = call("max", operation("-", STOP, START, number(1)), ZERO)
        body: list[Statement] = [
            Assign(group, call("group_size", dim_expression(self.plan.dim), name("GROUP"))),
            Assign(many, operation("//", before, group), "groups before the last"),
            Assign(last, operation("+", START, operation("*", many, group))),
        ]
        for tree, size in trees.values():
            body.append(Assign(tree, zeros_of_size(tuple_of([call("levels", many), dim_expression(size)]))))
        inner: list[Statement] = [Do(d.call({"start": FIRST, "stop": operation("+", FIRST, group)}))]
        index = operation("//", operation("-", FIRST, START), group)
        inner += [Do(call("carry", name(array), tree, index)) for array, (tree, _) in trees.items()]
        body += [Loop("first", turns(START, last, group), inner), Do(d.call({"start": last}))]
        body += [Do(call("close_tree", tree, name(array), many)) for array, (tree, _) in trees.items()]
        doc = "Add the samples from start to stop, group by group; the sums of groups meet in a tree."
        self.later.append((whole, d.arguments, doc, body))

    def write_pass(self, d: PassDraft) -> None:
        """The function of one pass."""
        d.stages.bound = {self.plan.block: self.block}
        body = d.stages.emit()
        loop = Loop("first", turns(START, STOP, BLOCK), used([*d.block, *body]))
        doc = "Add the samples from start to stop, block by block."
        self.define(d.name, d.arguments, doc, [*d.source.lines, *d.stages.allocations(), loop])

    # ---- the rest

    def finish(self) -> None:
        """What follows the passes, and the kernel."""
        arguments = (*self.outputs, "theta", *self.passed_arrays, *self.inputs)
        clear: list[Statement] = [Assign(element(name(o.name), [EVERY]), NOTHING) for o in self.filled(self.direct)]
        done = {g: self.remainder(g) for g in (part.node for _, part, _ in self.direct.values())}
        done |= dict.fromkeys(self.row_outputs)
        if self.value is None and all(done.get(part.node, part) is None for _, part, _ in self.parts()):
            self.steps.append(Return(NOTHING))
        else:
            self.results("finish", arguments, self.outside(), done)
            self.steps.append(Return(call("finish", *map(name, arguments))))
        self.define("kernel", ("theta", *self.outputs, *self.inputs), self.program.sentence, [*clear, *self.steps])

    def remainder(self, g: Node) -> Node | None:
        """What is added to a gradient beside the sums over samples; None if nothing."""
        rest = [t for t in g.args if t not in self.direct] if g not in self.direct else []
        return add(*rest) if rest else None
