"""What a program is lowered to, and how its values are called and found: names of nodes, texts of inputs."""

import builtins
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gradcompile.analysis.formula import is_guard, is_mean, power, softmax_of, tells
from gradcompile.ir.algebra import is_add, is_div, is_mul, is_neg, is_select
from gradcompile.ir.core import Node, is_const, is_leaf
from gradcompile.ir.types import Dim, Shape
from gradcompile.loops.expressions import Expression, element, name, number
from gradcompile.loops.ir import Function
from gradcompile.loops.kernel import Pass
from gradcompile.ops.constant_index import is_pack, is_take
from gradcompile.ops.shape import is_broadcast, is_item
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


LONGEST = 18  # characters of a name that is made of others
DEEP = 2  # operations that such a name tells of
POWERS = {2: "squared", 3: "cubed"}


@dataclass(slots=True)
class Naming:
    """Identifiers of nodes, the same in every function, and the comments of their lines.

    A value has the user's name; else that of its part in mathematics (`roles`), else one that is made of the names of
    what it is computed from, else one for its form.
    """

    program: Program
    fresh: Namer
    known: dict[Node, str] = field(default_factory=dict)
    roles: dict[Node, str] = field(default_factory=dict)

    def name(self, n: Node) -> str:
        """The identifier of a node."""
        if n not in self.known:
            self.known[n] = self.fresh(self.preferred_name(n))
        return self.known[n]

    def preferred_name(self, n: Node) -> str:
        """What a person would call the value."""
        if n in self.program.names:
            return self.program.names[n] + ("_i" if per_sample(n) else "")
        if is_take(n) and (source := self.source(n)):
            return f"{source}_i"
        return self.of_label(n) or self.first_free(self.plain_names(n))

    def first_free(self, names: Iterable[str]) -> str:
        """The first name that nothing has yet, else the last, which gets a number."""
        for found in names:
            if self.fresh.is_free(found):
                return found
        return found

    def array_name(self, n: Node) -> str:
        """What an array is called by its op; empty for a scalar."""
        return ""

    def of_label(self, n: Node) -> str:
        """The name of the adjoint or the tangent of a value that stands in the text; empty for any other."""
        label = self.program.labels.get(n)
        if label is None:
            return ""
        known = self.known_name(label.of) or self.roles.get(label.of, "")
        known = known or (self.in_common(label.of.args) if is_pack(label.of) else "")
        return known and (f"{known}_tangent" if label.is_tangent else f"d_{known}")

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

    def plain_names(self, n: Node) -> Iterator[str]:
        """What the value may be called, best first: by its part in mathematics, by what it is made of, by its form."""
        if role := self.roles.get(n):
            yield role
        if is_pack(n) and (common := self.in_common(n.args)):
            yield common
        yield from (n.op.preferred_name,) if len(n.op.preferred_name) == 1 else ()  # e, as everybody writes
        form = self.of_form(n) or n.op.preferred_name
        yield from filter(None, (self.composed(n, DEEP), self.array_name(n), form))
        yield from () if form or n.op.array_name or n.op.name in dir(builtins) else (n.op.name,)
        yield "factor" if is_mul(n) else form or n.op.array_name or f"{n.op.name}_value"

    def composed(self, n: Node, depth: int) -> str:
        """A name made of those of what a value is computed from; empty if some of these have none, or it is long."""
        base, exponent = power(n)
        if exponent > 1:
            word = self.word(base, depth)
            return within(f"{word}_{POWERS.get(exponent, f'to_{exponent}')}" if word else "")
        args = [a for a in n.args if not (is_mul(n) and is_const(a))]
        if is_mean(n):
            return within(f"mean_{self.known_name(n.args[0].args[0])}".rstrip("_"))
        if is_select(n):
            kept = [self.word(a, depth - 1) for a in n.args[1:3] if not is_const(a, 0.0)]
            return within(f"kept_{kept[0]}") if len(kept) == 1 and kept[0] else ""
        words = [self.word(a, depth - 1) for a in args]
        if not words or not all(words):
            return ""
        if (n.op.reads_memory or n.op.picks_entries) and len(n.args) == 2:
            return within("_".join(words))
        if is_mul(n):
            is_twice = any(is_const(a, 2.0) for a in n.args)
            made = "".join(words) if all(len(w) <= 3 and w.isalnum() for w in words) else "_".join(words)
            return within(made if len(args) == len(n.args) else f"{'twice' if is_twice else 'scaled'}_{made}")
        if is_div(n) and is_const(n.args[0]):
            return within(f"{'' if is_const(n.args[0], 1.0) else 'scaled_'}inverse_{words[1]}")
        if is_div(n):
            return within(f"{words[0]}_over_{words[1]}")
        if is_add(n):
            return "" if any(map(is_taken, n.args)) else within("_plus_".join(words))
        if n.op.is_comparison and is_const(n.args[0]):
            return within(f"{words[1]}_{n.op.between[1]}_{words[0]}")
        if n.op.between:
            return within(f"_{n.op.between[0]}_".join(words))
        if n.op.is_copy:
            return words[0]
        is_function = n.op.is_elementwise or n.op.adds
        return within("_".join(dict.fromkeys(("minus" if is_neg(n) else n.op.name, *words)))) if is_function else ""

    def word(self, n: Node, depth: int) -> str:
        """What a value is called within the name of another; empty if that would tell nothing."""
        if known := self.known_name(n):
            tells_nothing = known.rpartition("_")[2].isdigit() and n not in self.program.names
            return "" if tells_nothing else known
        if is_const(n):
            return number_word(n.value)
        if is_broadcast(n) or (is_select(n) and is_guard(n)):
            return self.word(n.args[is_select(n)], depth)
        if n.op.by_shape:
            dim = n.args[0].type.shape[n.params[0]]
            return dim if isinstance(dim, str) and dim.isidentifier() else ""
        return self.composed(n, depth) if depth and n.args else ""

    def of_form(self, n: Node) -> str:
        """A name for the form of a value, with the form of its argument where it is a function of one."""
        if is_add(n):
            return "diff" if any(map(is_taken, n.args)) else ""
        if len(n.args) == 1 and n.op.is_elementwise:
            inner = n.args[0]
            form = self.of_form(inner) if is_add(inner) else ""
            form = form or inner.op.preferred_name or ("" if inner.op.is_leaf else inner.op.name)
            return f"{'minus' if is_neg(n) else n.op.name}_{form}" if form else ""
        return ""

    def comment(self, n: Node) -> str:
        """What a line says of its value: which adjoint or tangent it is, or its formula."""
        formula = self.program.comments.get(n, "")
        return self.label_comment(n) or (formula if formula and tells(formula) else "")

    def label_comment(self, n: Node) -> str:
        """Which adjoint or tangent the value is, empty if it is none.

        Empty also for what is made of numbers and lengths alone, such as 1/n, which is the adjoint of many values.
        """
        label = self.program.labels.get(n)
        if label is None or all(a.op.by_shape or is_const(a) for a in n.args):
            return ""
        primal = label.of
        if label.is_tangent:
            return f"tangent of {of}" if (of := self.comment(primal)) else ""
        if is_neg(primal) and (inner := self.known_name(primal.args[0])):
            return f"dL/d(-{inner})"
        name = self.known_name(primal)
        formula = self.program.comments.get(primal, "...")
        return f"dL/d{name}" if name else "" if "..." in formula else f"dL/d({formula})"

    def known_name(self, n: Node) -> str:
        """What the reader knows a value by, empty if it stands nowhere under a name."""
        return self.program.names.get(n) or self.known.get(n, "")


class Numbering(Naming):
    """Numbers behind an underscore, as no argument is called, where nobody reads what values are called."""

    def name(self, n: Node) -> str:
        """The number of a node."""
        return self.known.setdefault(n, f"_{len(self.known)}")

    def comment(self, n: Node) -> str:
        """Nothing."""
        return ""


def roles_of(program: Program) -> dict[Node, str]:
    """What values are in mathematics: residuals, which are squared, and the parts of a softmax."""
    found: dict[Node, str] = {}
    data = {a.leaf for a in program.inputs}
    for n in program.order:
        if is_mul(n) and n.args[0] is n.args[1] and is_residual(n.args[0], data):
            found.setdefault(n.args[0], "residual")
        elif program.arrays and len(n.args) == 2 and n.type.shape and (softmax := softmax_of(n)) is not None:
            found[n] = "log_weights" if is_add(n) else "weights"
            scores, _ = softmax
            found |= {x: "scores" for x in (scores, *(scores.args if is_mul(scores) else ())) if x.args}
    return found


def is_residual(n: Node, data: Container[Node]) -> bool:
    """Whether a value is the difference of data and of what is computed."""
    if not is_add(n):
        return False
    plain = [a.args[0] if is_neg(a) else a for a in n.args]
    sources = [a.args[0] if is_item(a) else a for a in plain]
    return any(a in data for a in sources) and any(a.args and not is_item(a) for a in plain)


def is_taken(term: Node) -> bool:
    """Whether a term of a sum is subtracted."""
    return is_neg(term.args[0] if is_broadcast(term) else term)


def within(name: str) -> str:
    """A name, unless it is long or begins with a number."""
    return name if len(name) <= LONGEST and name.isidentifier() else ""


def number_word(value: float | int | bool) -> str:
    """A small whole number as part of a name; empty for any other.

    >>> number_word(2.0), number_word(0.5)
    ('2', '')
    """
    return str(int(value)) if float(value).is_integer() and 0 <= value < 100 else ""
