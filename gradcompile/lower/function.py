"""Writing the functions of a module over arrays: what they are given, what they return, and one kernel for all."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
from gradcompile.ir.types import Dim, dims_told, names_in
from gradcompile.loops.ir import Function, Line, Statement, texts
from gradcompile.lower.memory.entries import Memory
from gradcompile.lower.memory.texts import atom_of, text_of, tuple_of
from gradcompile.lower.nests.naming import ArrayNaming
from gradcompile.lower.nests.places import Target
from gradcompile.lower.stages import Stages
from gradcompile.signature.program import Output, Part, Program


@dataclass(slots=True)
class Source:
    """What a function reads: arrays and scalars that stand somewhere, and lines that name parts of its arguments."""

    naming: ArrayNaming
    memory: dict[Node, Memory] = field(default_factory=dict)
    scalars: dict[Node, str] = field(default_factory=dict)
    lines: list[Statement] = field(default_factory=list)

    def add(self, n: Node, wish: str, text: str) -> None:
        """An array of entries that lie one after the other, under a name for a part of an argument."""
        self.memory[n] = Memory.plain(self.naming.fresh(wish), n, dense=True)
        self.lines.append(Line(f"{self.memory[n].name} = {text}"))


@dataclass(slots=True)
class Writer:
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
                found.add(a.leaf, a.name, f"view(theta, {offset}, {tuple_of(a.leaf.type.shape)})")
            else:
                found.scalars[a.leaf] = f"theta[{offset}]"
        for a in self.program.inputs:
            if a.leaf.type.shape:
                found.memory[a.leaf] = Memory.plain(a.name, a.leaf, whole=True, dense=True)
            else:
                found.scalars[a.leaf] = f"({a.name} != 0)" if a.leaf.type.dtype == "bool" else a.name
        return found

    def sizes(self, roots: Sequence[Node]) -> dict[Node, str]:
        """The numbers of entries along axes, as text."""
        found = [n for n in topological(roots) if n.op.by_shape]  # what they are the size of is not computed
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
        self.results("kernel", ("theta", *self.outputs, *self.inputs), self.given(), {})

    def results(self, name: str, arguments: tuple[str, ...], source: Source, direct: dict[Node, Node | None]) -> None:
        """The function that writes the outputs and returns the value.

        direct: parts that passes have written already, and what is still to be added to them.
        """
        lines = source.lines
        stages = Stages(source.naming, source.memory, source.scalars | self.sizes(self.roots))
        targets: list[Target] = []
        for o, part, offset in self.parts():
            rest = direct.get(part.node, part.node)
            if rest is not None:
                memory, line = self.place_of(o, part, offset, stages.naming)
                lines += line
                targets.append(Target(rest, memory, part.node in direct, part.label(0)))
        stages.run(targets, scalars=[] if self.value is None else [self.value])
        body = stages.emit()
        text = "0.0" if self.value is None else stages.scalar(self.value, self.program.what)
        body = [*lines, *stages.allocations(), *body, Line(f"return {text}")]
        self.define(name, arguments, self.program.sentence, body)

    def place_of(self, o: Output, part: Part, offset: Dim, naming: ArrayNaming) -> tuple[Memory, list[Statement]]:
        """Where a part of an output goes, and the line that names it."""
        shape = part.node.type.shape
        if not shape:
            return Memory(f"{o.name}[{offset}]", ()), []
        memory = Memory.plain(naming.fresh(part.name), part.node, dense=True)
        return memory, [Line(f"{memory.name} = view({o.name}, {text_of(offset)}, {tuple_of(shape)})")]

    def define(self, name: str, arguments: Sequence[str], doc: str, body: list[Statement]) -> None:
        """Enter a function."""
        self.functions.append(Function(name, tuple(arguments), doc, used([*self.dimension_lines(body), *body])))


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
    return isinstance(s, Line) and re.match(r"\w+ = (view\(|\w+\.shape\[\d+\]$)", s.text) is not None
