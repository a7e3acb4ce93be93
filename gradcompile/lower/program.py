"""What a program is lowered to, and how its values are called and found: names of nodes, texts of inputs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gradcompile.analysis.formula import is_mean
from gradcompile.ir.algebra import is_add, is_div, is_mul, is_neg
from gradcompile.ir.core import OPS, Node, is_const, is_leaf
from gradcompile.ir.types import Dim, Shape
from gradcompile.loops.expressions import Expression, element, name, number
from gradcompile.loops.ir import Function
from gradcompile.loops.kernel import Pass
from gradcompile.ops.constant_index import is_pack, is_take
from gradcompile.ops.shape import is_item
from gradcompile.signature.names import Namer
from gradcompile.signature.program import Program

Constants = Mapping[str, tuple[float | int | str, ...] | int]


@dataclass(frozen=True, slots=True)
class LoweredProgram:
    """The functions of a module, its constants (tables of numbers, sizes of blocks), and its passes over the samples.

    The module's blocks, its groups and the lengths that BLAS is given are as in a `Plan`.
    """

    functions: list[Function]
    constants: Constants
    passes: tuple[Pass, ...] = ()
    block: int = 0
    group: int = 0
    counted: tuple[Dim, ...] = ()


def per_sample(n: Node) -> bool:
    """Whether the node has one entry (or row) a sample."""
    return n.type.shape[:1] == ("n",)


def flat_index(index: Sequence[int], shape: Shape) -> int:
    """The row-major position of an entry."""
    flat = 0
    for k, d in zip(index, shape, strict=True):
        flat = flat * int(d) + k
    return flat


def loads(program: Program, order: Iterable[Node]) -> dict[Node, Expression]:
    """Every scalar among the nodes that comes from outside: a name, or the element of an array."""
    offsets, names = program.offsets, program.input_names
    found: dict[Node, Expression] = {}
    for n in order:
        source, index = (n.args[0], n.params[0]) if is_item(n) else (n, ())
        if n.op.by_shape:
            found[n] = name("n")
        elif is_leaf(source) and not n.type.shape:
            if source in offsets:
                found[n] = element(name("theta"), [number(offsets[source] + flat_index(index, source.type.shape))])
            else:
                found[n] = element(name(names[source]), [*map(number, index)])
    return found


@dataclass(slots=True)
class Naming:
    """Identifiers of nodes, the same in every function, and the comments of their lines."""

    program: Program
    fresh: Namer
    known: dict[Node, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def name(self, n: Node) -> str:
        """The identifier of a node."""
        if n not in self.known:
            preferred = self.preferred_name(n)
            if (base := preferred.removesuffix("_1")) in OPS:
                self.numbers[base] = self.numbers.get(base, 0) + 1
                preferred = f"{base}_{self.numbers[base]}"
            self.known[n] = self.fresh(preferred)
        return self.known[n]

    def preferred_name(self, n: Node) -> str:
        """What a person would call the value."""
        if n in self.program.names:
            return self.program.names[n] + ("_i" if per_sample(n) else "")
        if is_take(n) and (source := self.source(n)):
            return f"{source}_i"
        primal = self.program.adjoint_of.get(n)
        return self.plain_name(n) if primal is None else "d_" + (self.known_name(primal) or self.plain_name(primal))

    def source(self, n: Node) -> str:
        """What the entries that a loop takes have in common in their names; empty if nothing."""
        source = n.args[0]
        parts = source.args if is_pack(source) else (source,)
        if len(parts) > 1 and not any(a.type.shape for a in parts):
            parts = tuple(parts[k] for k in n.params[0].bounds)
        return self.in_common(parts)

    def in_common(self, nodes: Iterable[Node]) -> str:
        """The name that nodes share but for numbers at its end; empty if there is none."""
        names = {self.program.names.get(a, "").rstrip("0123456789_") for a in nodes}
        return names.pop() if len(names) == 1 else ""

    def plain_name(self, n: Node) -> str:
        """What the value is called by what computes it."""
        if is_pack(n) and (common := self.in_common(n.args)):
            return common
        texts = [self.known_name(a) for a in n.args]
        if is_mul(n) and n.args[0] is n.args[1]:
            return f"{texts[0]}_squared" if texts[0] else "square"
        if is_mul(n) and all(len(t) <= 3 and t.isalnum() for t in texts):
            return "".join(texts)
        if is_mean(n):
            inner = self.known_name(n.args[0].args[0])
            return f"mean_{inner}" if inner else "mean"
        if is_div(n) and is_const(n.args[0], 1.0):
            return f"inverse_{texts[1]}" if texts[1] else "inverse"
        if is_add(n):
            return "diff" if any(is_neg(a) for a in n.args) else "total"
        if len(n.args) == 1 and texts[0]:
            return f"{n.op.name}_{texts[0]}"
        return n.op.preferred_name or n.op.name + "_1"

    def comment(self, n: Node) -> str:
        """What a line says of its value: which adjoint it is, or its formula."""
        formula = self.program.comments.get(n, "")
        return self.adjoint_comment(n) or (formula if formula.strip("(.+-*/2 )") else "")

    def adjoint_comment(self, n: Node) -> str:
        """Which adjoint the value is, empty if it is none."""
        primal = self.program.adjoint_of.get(n)
        if primal is None:
            return ""
        if is_neg(primal) and (inner := self.known_name(primal.args[0])):
            return f"dL/d(-{inner})"
        name = self.known_name(primal)
        formula = self.program.comments.get(primal, "...")
        return f"dL/d{name}" if name else "" if "..." in formula else f"dL/d({formula})"

    def known_name(self, n: Node) -> str:
        """What the reader knows a value by, empty if it stands nowhere under a name."""
        return self.program.names.get(n) or self.known.get(n, "")
