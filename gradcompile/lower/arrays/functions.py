"""The functions of a module over arrays: a kernel that computes all, or passes over blocks of samples and what follows."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from gradcompile.ir import Node, topological
from gradcompile.lower.arrays.entries import Memory
from gradcompile.lower.arrays.prepare import prepared
from gradcompile.lower.arrays.stages import Stages, Target
from gradcompile.lower.arrays.texts import text_of, tuple_of
from gradcompile.lower.loopir import Function, Line, Statement, texts
from gradcompile.lower.program import Naming, Program
from gradcompile.types import parsed

LOOPS = "ijklpqrsuv"


@dataclass(slots=True)
class ArrayNaming(Naming):
    """Names of arrays, of loop variables and of tables. contiguous: arrays of which other views can be made."""

    loops: dict[int, str] = field(default_factory=dict)
    contiguous: set[str] = field(default_factory=set)
    tables: dict[str, tuple[float | int, ...]] = field(default_factory=dict)
    dims: frozenset[str] = frozenset()

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
        values = tuple(n.params[0].array().ravel().tolist())
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
    functions: list[Function] = field(default_factory=list)

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return [a.name for a in self.program.inputs]

    # ---- what comes from outside

    def given(self) -> tuple[dict[Node, Memory], dict[Node, str], list[Statement]]:
        """Parameters and inputs as arrays and scalars, and the lines that name the views of theta."""
        memory: dict[Node, Memory] = {}
        scalars: dict[Node, str] = {}
        lines: list[Statement] = []
        for a in self.program.params:
            offset = self.program.offsets[a.leaf]
            if a.leaf.type.shape:
                name = self.naming.fresh(a.name)
                memory[a.leaf] = Memory.plain(name, a.leaf)
                lines.append(Line(f"{name} = view(theta, {offset}, {tuple_of(a.leaf.type.shape)})"))
                self.naming.contiguous.add(name)
            else:
                scalars[a.leaf] = f"theta[{offset}]"
        for a in self.program.inputs:
            if a.leaf.type.shape:
                memory[a.leaf] = Memory.plain(a.name, a.leaf, whole=True)
                self.naming.contiguous.add(a.name)
            else:
                scalars[a.leaf] = a.name
        return memory, scalars, lines

    def sizes(self, roots: Sequence[Node]) -> dict[Node, str]:
        """The numbers of entries along axes, as text."""
        found = [n for n in topological(roots) if n.op.name == "size"]
        return {n: text_of(n.args[0].type.shape[n.params[0]]) for n in found}

    def dimension_lines(self, body: Sequence[Statement]) -> list[Statement]:
        """The lines that take named dimensions from the arrays that have them, as far as they are used."""
        words = set(re.findall(r"\w+", " ".join(texts(list(body)))))
        lines: list[Statement] = []
        for name in sorted(self.naming.dims & words):
            where = next((a.name, k) for a in self.program.inputs for k, d in enumerate(a.leaf.type.shape) if d == name)
            lines.append(Line(f"{name} = {where[0]}.shape[{where[1]}]"))
        return lines

    # ---- one kernel for everything

    def whole(self) -> None:
        """A kernel without blocks."""
        p = self.program
        roots = prepared([p.value, *p.gradients])
        memory, scalars, lines = self.given()
        stages = Stages(self.naming, memory, scalars | self.sizes(roots))
        result = self.results(stages, roots)
        body = [*lines, *self.workspace(stages), *result]
        body = used([*self.dimension_lines(body), *body])
        arguments = ("theta", "grad" if p.gradients else "out", *self.inputs)
        doc = "Write the gradient to grad and return the loss." if p.gradients else "Write the value to out, and return it."
        self.functions.append(Function("kernel", arguments, doc, body))

    def results(self, stages: Stages, roots: Sequence[Node]) -> list[Statement]:
        """The stages that write the gradient, or the value, and the return."""
        p = self.program
        value, *gradients = roots
        targets, views = [], []
        for a, g in zip(p.params, gradients, strict=False):
            offset = p.offsets[a.leaf]
            if g.type.shape:
                name = self.naming.fresh(f"d_{a.name}")
                views.append(Line(f"{name} = view(grad, {offset}, {tuple_of(g.type.shape)})"))
                targets.append(Target(g, Memory.plain(name, g), comment=f"dL/d{a.name}"))
            else:
                targets.append(Target(g, Memory(f"grad[{offset}]", ()), comment=f"dL/d{a.name}"))
        if value.type.shape:
            name = self.naming.fresh("result")
            views.append(Line(f"{name} = view(out, 0, {tuple_of(value.type.shape)})"))
            targets.append(Target(value, Memory.plain(name, value)))
        stages.run(targets, scalars=[] if value.type.shape else [value])
        body = stages.emit()
        if value.type.shape:
            return [*views, *body, Line("return 0.0")]
        text = stages.scalar(value, "loss" if p.gradients else "value")
        return [*views, *body, Line(f"return {text}")]

    def workspace(self, stages: Stages) -> list[Statement]:
        """The lines that allocate what stages need."""
        lines: list[Statement] = []
        if stages.workspace.size:
            lines.append(Line(f"{stages.work} = empty({text_of(stages.workspace.size)}, theta)"))
        return [*lines, *(Line(f"{name} = zeros(LANES, theta)") for name in stages.partials)]


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


def lower_arrays(program: Program, naming: Naming) -> tuple[list[Function], dict[str, tuple[float | int, ...]]]:
    """The functions of a program over arrays, and the tables of numbers that they read."""
    own = ArrayNaming(program, naming.fresh, dims=dims_of(program))
    writer = Writer(program, own)
    writer.whole()
    return writer.functions, own.tables

