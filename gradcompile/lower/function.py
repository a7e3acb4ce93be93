"""Writing the functions of a module over arrays: what they are given, what they return, and one kernel for all."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
from gradcompile.ir.types import Dim, dims_told
from gradcompile.ir.types import names_in as names_of
from gradcompile.loops.expressions import Expression, element, group, length, name, number, operation
from gradcompile.loops.ir import Assign, Function, Return, Statement, names_in
from gradcompile.lower.memory.entries import Memory
from gradcompile.lower.memory.lengths import THETA, atom_of, length_of, view
from gradcompile.lower.nests.naming import ArrayNaming
from gradcompile.lower.nests.places import Destination, Wanted
from gradcompile.lower.stages import Stages
from gradcompile.signature.program import Output, Part, Program


@dataclass(slots=True)
class Source:
    """What a function reads: arrays and scalars that stand somewhere, and lines that name parts of its arguments."""

    naming: ArrayNaming
    memory: dict[Node, Memory] = field(default_factory=dict)
    scalars: dict[Node, Expression] = field(default_factory=dict)
    lines: list[Statement] = field(default_factory=list)

    def add(self, n: Node, preferred: str, part: Expression) -> None:
        """An array of entries that lie one after the other, under a name for a part of an argument."""
        self.memory[n] = Memory.plain(self.naming.fresh(preferred), n, dense=True)
        self.lines.append(Assign(self.memory[n].whole_array, part))


@dataclass(slots=True)
class FunctionWriter:
    """Writes the functions of one program."""

    program: Program
    naming: ArrayNaming
    roots: list[Node]
    functions: list[Function] = field(default_factory=list)

    @property
    def outputs(self) -> list[str]:
        """The names of what the kernel fills."""
        return [o.name for o in self.program.outputs]

    @property
    def value(self) -> Node | None:
        """The value that is returned, None if there is none."""
        return None if self.program.value is None else self.roots[0]

    def parts(self) -> list[tuple[Output, Part, Dim]]:
        """The parts of all outputs, and where each begins there; of what they are now, after `prepared`."""
        written = iter(self.roots[self.program.value is not None :])
        return [(o, replace(p, node=next(written)), at) for o in self.program.outputs
                for p, at in zip(o.parts, o.offsets, strict=False)]  # fmt: skip

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return [a.name for a in self.program.inputs]

    # ---- what comes from outside

    def given(self) -> Source:
        """Parameters and inputs as arrays and scalars, and the lines that name the views of theta."""
        found = Source(self.naming.scope())
        for a in self.program.params:
            offset = self.program.offsets[a.leaf]
            if a.leaf.type.shape:
                found.add(a.leaf, a.name, view(THETA, offset, a.leaf.type.shape))
            else:
                found.scalars[a.leaf] = name(found.naming.fresh(a.name))
                found.lines.append(Assign(found.scalars[a.leaf], element(THETA, [number(offset)])))
        for a in self.program.inputs:
            if a.leaf.type.shape:
                found.memory[a.leaf] = Memory.plain(a.name, a.leaf, whole=True, dense=True)
            else:
                value = name(a.name)
                found.scalars[a.leaf] = truth(value) if a.leaf.type.dtype == "bool" else value
        return found

    def sizes(self, roots: Sequence[Node]) -> dict[Node, Expression]:
        """The numbers of entries along axes."""
        found = [n for n in topological(roots) if n.op.by_shape]  # what they are the size of is not computed
        return {n: atom_of(n.args[0].type.shape[n.params[0]]) for n in found}

    def dimension_lines(self, body: Sequence[Statement]) -> list[Statement]:
        """The lines that take named dimensions from the arrays that have them, as far as they are used."""
        axes = [(length(name(a.name), k), d) for a in self.program.inputs for k, d in enumerate(a.leaf.type.shape)]
        told = dims_told([d for _, d in axes])
        used = self.naming.dims & names_in(body)
        for dim, _, rest, _ in reversed(told):
            used |= names_of(rest) if dim in used else set()
        lines: list[Statement] = []
        for dim, c, rest, at in sorted(told, key=lambda t: (t[1:3] != (1, 0), t[0] if t[1:3] == (1, 0) else "")):
            value = axes[at][0]
            if rest != 0:
                less = rest if isinstance(rest, str) else abs(rest)
                value = operation("-" if isinstance(rest, str) or rest > 0 else "+", value, length_of(less))
            if dim in used:
                lines.append(Assign(name(dim), value if c == 1 else operation("//", value, number(c))))
        return lines

    # ---- one kernel for everything

    def whole(self) -> None:
        """A kernel without blocks."""
        self.results("kernel", ("theta", *self.outputs, *self.inputs), self.given(), {})

    def results(self, name: str, arguments: tuple[str, ...], source: Source, direct: dict[Node, Node | None]) -> None:
        """The function that writes the outputs and returns the value.

        direct: parts that passes have written already, and what is still to be added to them.
        """
        lines = source.lines
        stages = Stages(source.naming, source.memory, source.scalars | self.sizes(self.roots))
        targets: list[Wanted] = []
        for o, part, offset in self.parts():
            rest = direct.get(part.node, part.node)
            if rest is not None:
                memory, line = self.place_of(o, part, offset, stages.naming)
                lines += line
                targets.append((rest, Destination(memory, part.node in direct, part.label(0))))
        stages.run(targets, scalars=[] if self.value is None else [self.value])
        body = stages.emit()
        value = number("0.0") if self.value is None else stages.scalar(self.value, self.program.what)
        body = [*lines, *stages.allocations(), *body, Return(value)]
        self.define(name, arguments, self.program.sentence, body)

    def place_of(self, o: Output, part: Part, offset: Dim, naming: ArrayNaming) -> tuple[Memory, list[Statement]]:
        """Where a part of an output goes, and the line that names it."""
        shape = part.node.type.shape
        if not shape:
            return Memory(o.name, (), index=(length_of(offset),)), []
        memory = Memory.plain(naming.fresh(part.name), part.node, dense=True)
        return memory, [Assign(memory.whole_array, view(name(o.name), offset, shape))]

    def define(self, what: str, arguments: Sequence[str], doc: str, body: list[Statement]) -> None:
        """Enter a function."""
        self.functions.append(Function(what, tuple(arguments), doc, used([*self.dimension_lines(body), *body])))


def used(statements: list[Statement]) -> list[Statement]:
    """The statements without views that nothing reads."""
    while True:
        known = names_in(statements)
        kept = [s for s in statements if not (isinstance(s, Assign) and is_view(s) and s.target.word not in known)]
        if len(kept) == len(statements):
            return kept
        statements = kept


def is_view(s: Assign) -> bool:
    """Whether a statement names a part of an array, or a length."""
    is_part = s.value.kind == "length" or (s.value.kind == "call" and s.value.word == "view")
    return s.target.is_name and (is_part or (s.value.kind == "element" and s.value.parts[0] == THETA))


def truth(x: Expression) -> Expression:
    """Where a number stands for a truth value."""
    return group(operation("!=", x, number(0)))
