"""Functions of the subset to C99: a second reading of what LLVM gets, with the comments of the generated module.

A writer of C goes through a function's text as that of LLVM IR does (`codegen/statements.py`), with the same rules for
types, and for which kinds of arguments a function is made. It writes expressions where that one writes instructions;
loops over lanes are loops. Nothing is reassociated, so the bits are the same if the compiler contracts nothing either.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from re import compile, findall
from typing import Any

import numpy as np

from gradcompile.codegen.arrays import column, transposed_array
from gradcompile.codegen.frame import STACK
from gradcompile.codegen.scopes import names_in_memory
from gradcompile.codegen.statements import Writer, has_slice
from gradcompile.codegen.unit import Lowered, Unit
from gradcompile.codegen.values import FLOATS, SIZES, Array, Kind, Value, number
from gradcompile.errors import SubsetError
from gradcompile.library import products
from gradcompile.loops.expressions import Expression
from gradcompile.loops.ir import Loop, Note, Statement, calls_in
from gradcompile.loops.python import wrapped as broken

C_TYPES = {"double": "double", "float": "float", "i64": "int64_t", "i32": "int32_t", "i1": "bool", "void": "void"}
WIDTH, COLUMN = 110, 56
BITS = {"bits", "from_bits", "from_bits32", "to_int"}  # functions that call these compute with the bits of numbers
ONE = number(1)
LONG = 4_000  # lines of straight code from which on a function comes in pieces of half as many
SMALL = 30  # lines of a function of numbers that compilers are asked to copy to where it is called
LEAVE = ((1, "goto end;"), (0, "}"))


class Level(IntEnum):
    """How strongly an expression of C binds, weakest first. Bits and shifts are always in parentheses."""

    CHOICE = 0
    BITWISE = 1
    EQUAL = 2
    COMPARE = 3
    SUM = 4
    PRODUCT = 5
    UNARY = 6
    ATOM = 7


OPERATORS = {
    "+": Level.SUM, "-": Level.SUM, "*": Level.PRODUCT, "/": Level.PRODUCT, "&": Level.BITWISE, "|": Level.BITWISE,
    "^": Level.BITWISE, "<<": Level.BITWISE, ">>": Level.BITWISE,
}  # fmt: skip
WRAPPING = ("+", "-", "*", "<<")


@dataclass(eq=False)
class Pointer:
    """Where an array is: whether something is written there, which makes what it was made of no constant either."""

    parent: "Pointer | None" = None
    is_written: bool = False

    def write(self) -> None:
        """Note that something is written there."""
        at: Pointer | None = self
        while at is not None:
            at.is_written = True
            at = at.parent


class Code(str):
    """The text of an expression, how strongly it binds, whether its value stays, and of a pointer where it points."""

    level: Level
    is_fixed: bool
    root: Pointer | None

    def __new__(
        cls, text: str, level: Level = Level.ATOM, is_fixed: bool = False, root: Pointer | None = None
    ) -> "Code":
        """The text with what is known of it."""
        made = super().__new__(cls, text)
        made.level, made.is_fixed, made.root = level, is_fixed, root
        return made

    @property
    def is_name(self) -> bool:
        """Whether it is a name whose value stays."""
        return self.is_fixed and self.isidentifier()

    def inside(self, level: Level) -> str:
        """The text, in parentheses if it binds weaker than the level."""
        return self if self.level >= level else f"({self})"


@dataclass
class Line:
    """A line of a function: its depth, its code, a comment, the name that it declares and the pointer, if it does.

    space: of an array that has nothing in it yet.  type: of a number that it declares.  acts: a call that is made for
    more than the number that it gives.
    """

    depth: int
    code: str = ""
    comment: str = ""
    declares: str = ""
    pointer: Pointer | None = None
    space: Pointer | None = None
    type: str = ""
    acts: str = ""

    def text(self) -> Iterator[str]:
        """As it is printed."""
        constant = "const " if self.pointer is not None and not self.pointer.is_written else ""
        empty = self.space is not None and not self.space.is_written  # nothing reads it, which not all compilers see
        indent = "  " * self.depth
        code = constant + (self.code.replace("]", "] = {0}") if empty else self.code)
        lines = broken(code, WIDTH - len(indent), "    ") if self.code else [""]
        ends = "." * self.comment.endswith("\\")  # which would continue it
        comment = f"// {self.comment}{ends}" if self.comment else ""
        if len(lines) == 1 and lines[0] and comment and len(comment) + max(len(indent + lines[0]), COLUMN) <= WIDTH + 8:
            yield f"{indent + lines[0]:<{COLUMN}}  {comment}"
            return
        yield from [indent + comment] if comment else []
        yield from [(indent + line).rstrip() for line in lines if line or not comment]


@dataclass(slots=True)
class Made(Lowered):
    """A function of C. used: which of its parameters it has; roots: of those that are pointers where they point."""

    used: list[bool] = field(default_factory=list)
    roots: list[Pointer | None] = field(default_factory=list)


@dataclass(slots=True)
class Source(Unit):
    """A file of C in the making; mark: its function's name.

    texts: complete functions, each after those that it calls.  outside: functions that no file of C can hold.
    """

    texts: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def function(self, target: Callable[..., Any], kinds: tuple[Kind, ...]) -> Made:
        """The function for these kinds of arguments, written when first asked for."""
        key = id(target), kinds
        made = self.functions.get(key)
        if made is None:
            name = distinct(f"{self.mark}_{target.__name__.strip('_')}", self.taken)
            made = self.functions[key] = Made(name)
            CWriter(self, target, made).run(kinds)
        assert isinstance(made, Made)
        return made

    def table(self, values: tuple[Any, ...], real: str) -> Array:
        """A tuple of numbers of the module as an array."""
        if id(values) not in self.tables:
            type = real if any(isinstance(v, float) for v in values) else "i64"
            name = Code(f"{self.mark}_table_{len(self.tables)}", is_fixed=True)
            entries = ", ".join(constant(v, type) for v in values)
            lines = broken(f"static const {C_TYPES[type]} {name}[{len(values)}] = {{{entries}}};", WIDTH, "    ")
            self.tables[id(values)] = Array(type, name, (number(len(values)),), (ONE,)), "\n".join(lines), values
        return self.tables[id(values)][0]

    def define(self, name: str, text: str) -> str:
        """A small function that C does not have, defined once."""
        self.declared.setdefault(name, text)
        return name

    def complete(self) -> str:
        """All that stands before the function itself."""
        tables = [text for _, text, _ in self.tables.values()]
        return "\n\n".join([*self.declared.values(), *tables, *self.texts])


class CWriter(Writer):
    """Writes one function of the subset as C."""

    unit: Source
    made: Made

    def __init__(self, unit: Source, target: Callable[..., Any], made: Made) -> None:
        super().__init__(unit, target, made)
        self.text: list[Line] = []
        self.tops: list[Line] = []  # what is declared before all else
        self.first: list[Line] = []  # what is done then: memory is taken
        self.heap: list[str] = []
        self.parameters: list[tuple[Line, str]] = []  # their declarations and names
        self.taken = {*RESERVED, *FUNCTIONS, *unit.taken}
        self.variable_names: dict[str, str] = {}
        self.indent, self.wish, self.comment = 1, "", ""
        self.wraps = not BITS.isdisjoint(calls_in(self.function.body))

    # ---- lines

    def put(self, code: str, **more: Any) -> None:
        """Write a line; the comment of the statement goes with its first."""
        comment, self.comment = self.comment, ""
        self.text.append(Line(self.indent, code, comment, **more))

    def distinct(self, wish: str) -> str:
        """A name that nothing has here."""
        return distinct(wish, self.taken)

    def declare(self, type: str, wish: str, code: str, pointer: Pointer | None = None, acts: str = "") -> Code:
        """Give a value a name of its own; the name."""
        name = self.distinct(wish)
        head = C_TYPES[type] + (" *" if pointer else " ")
        about = {"declares": name, "pointer": pointer, "type": "" if pointer else C_TYPES[type], "acts": acts}
        self.put(f"{head if pointer else 'const ' + head}{name} = {code};", **about)
        return Code(name, is_fixed=True, root=pointer)

    def bind(self, name: str, kind: Kind, text: str) -> list[str]:
        """A parameter, and of an array its lengths and strides where they are not known."""
        own = self.distinct(name)
        if len(kind) == 2:
            self.names[name] = Value(kind[0], 1, self.parameter(kind[0], own))
            return []
        type, shape, known = kind
        pointer = Pointer()
        place = self.parameter(type, own, pointer)
        lengths = [self.size(n, f"{own}_len{k if len(shape) > 1 else ''}") for k, n in enumerate(shape)]
        if known is True:
            strides = self.row_major(lengths)
        else:
            strides = tuple(self.size(n, f"{own}_step{k if len(shape) > 1 else ''}") for k, n in enumerate(known))
        self.names[name] = Array(type, place, tuple(lengths), strides, known is True)
        return []

    def size(self, known: int | None, wish: str) -> Value:
        """A length or a stride: a number, or a parameter."""
        return Value("i64", 1, self.parameter("i64", self.distinct(wish))) if known is None else number(known)

    def parameter(self, type: str, name: str, pointer: Pointer | None = None) -> Code:
        """One more parameter."""
        self.parameters.append((Line(0, f"{C_TYPES[type]} {'*' if pointer else ''}{name}", pointer=pointer), name))
        return Code(name, is_fixed=True, root=pointer)

    def next_piece(self) -> None:
        """A function of C is not cut."""

    def run(self, kinds: tuple[Kind, ...]) -> None:
        """Write the function for these kinds of arguments."""
        for name in names_in_memory(self.function.body):
            self.variable_names[name] = self.distinct(name)
        super().run(kinds)

    def finish(self, result: Value | None) -> None:
        """The whole function; one that is long comes in pieces, as compilers take long for it."""
        made = self.made
        if result is not None:
            made.result = result.type
        if len(self.text) > LONG and not self.tops and all(line.depth == 1 for line in self.text):
            result = self.cut(result)
        if made.fails:
            if result is not None:
                self.tops.append(Line(1, f"{C_TYPES[result.type]} result = 0;"))
                self.put(f"result = {result.text};")
            self.text.append(Line(0, "end:"))
            self.text += [Line(1, f"free({name});") for name in self.heap]
            self.parameters.append((Line(0, "int *failed"), "failed"))
            self.text.append(Line(1, "return;" if result is None else "return result;"))
        elif result is not None:
            self.put(f"return {result.text};")
        lines, words = without_unused([*self.tops, *self.first, *self.text])
        made.used = [name in words for _, name in self.parameters]
        made.roots = [line.pointer for line, _ in self.parameters]
        doc, _, _ = self.function.doc.partition("\n")
        self.define(made.name, doc, made.result, [line for line, name in self.parameters if name in words], lines)

    def define(self, name: str, doc: str, result: str, given: Sequence[Line], lines: Sequence[Line]) -> None:
        """Add a function to the file."""
        parameters = ", ".join(next(line.text()) for line in given)
        small = "inline " if given and not any(line.pointer for line in given) and len(lines) < SMALL else ""
        head = broken(f"static {small}{C_TYPES[result]} {name}({parameters or 'void'})", WIDTH, "    ")
        about = [f"/* {line}" if k == 0 else f"   {line}" for k, line in enumerate(broken(doc, WIDTH - 6))]
        body = [text for line in lines for text in line.text()]
        self.unit.texts.append("\n".join([*about[:-1], f"{about[-1]} */", *head, "{", *body, "}"]))

    def cut(self, result: Value | None) -> Value | None:
        """Make functions of pieces of straight code: what a later one reads is kept. What is returned then."""
        if result is not None:
            self.put(f"return {result.text};")
        lines, _ = without_unused(self.text)
        pieces = [lines[k : k + LONG // 2] for k in range(0, len(lines), LONG // 2)]
        spaces: dict[str, dict[str, int]] = {}  # of each type of numbers the places of those that are kept
        later: set[str] = set()
        for piece in reversed(pieces):
            for line in piece:
                if line.type and line.declares in later:
                    own = spaces.setdefault(line.type, {})
                    own[line.declares] = len(own)
            later |= words_of(piece)
        self.text = []
        for type, places in spaces.items():
            kind = next(k for k, v in C_TYPES.items() if v == type)
            self.reserve(f"kept_{type}", kind, [number(len(places))], True)
        found = None
        for k, piece in enumerate(pieces):
            is_last = k == len(pieces) - 1 and result is not None
            name = f"{self.made.name}_{k}"
            given = self.define_piece(name, piece, spaces, self.made.result if is_last else "void")
            text = f"{name}({', '.join(given)})"
            if is_last:
                found = Value(self.made.result, 1, Code(text))
            else:
                self.put(f"{text};")
        return found

    def define_piece(
        self, name: str, piece: Sequence[Line], spaces: Mapping[str, Mapping[str, int]], result: str
    ) -> list[str]:
        """Write one piece as a function; the names of what it is given."""
        own, words, body = {line.declares for line in piece}, words_of(piece), list[Line]()
        taken = [(line, p) for line, p in self.parameters if p in words]
        for type, places in spaces.items():
            wanted = sorted(words & places.keys() - own, key=places.__getitem__)
            body += [Line(1, f"const {type} {w} = kept_{type}[{places[w]}];") for w in wanted]
        for line in piece:
            body.append(line)
            if line.declares in spaces.get(line.type, ()):
                body.append(Line(1, f"kept_{line.type}[{spaces[line.type][line.declares]}] = {line.declares};"))
        read = words_of(body)
        taken += [(Line(0, f"{type} *kept_{type}"), f"kept_{type}") for type in spaces if f"kept_{type}" in read]
        self.define(name, f"A part of {self.made.name}.", result, [line for line, _ in taken], body)
        return [p for _, p in taken]

    # ---- statements

    def statement(self, s: Statement) -> None:
        """Write one statement, with its comment."""
        self.comment = "" if isinstance(s, Loop | Note) else getattr(s, "comment", "")
        if isinstance(s, Note):
            self.text.append(Line(self.indent * bool(s.comment), comment=s.comment))
        super().statement(s)
        self.comment = ""

    def assignment(self, target: Expression, how: str, x: Expression) -> None:
        """Write what gives a name or elements a value, or changes theirs by it."""
        self.wish = target.word if target.is_name else self.wish
        is_change = how != "=" and target.kind == "element" and not has_slice(target)
        if not (is_change and self.is_changed(target, how, self.value(x))):
            super().assignment(target, how, x)

    def is_changed(self, target: Expression, how: str, value: Value) -> bool:
        """Write x[i] += y and the like, if that is one operation of the array's own type; whether it is."""
        array, offset = self.located(self.value(target.parts[0]), self.indices(target))
        kind = self.unified(Value(array.type, 1, Code("x")), value)[1]
        if kind != array.type or kind not in FLOATS or how not in ("+=", "-=", "*=", "/="):
            return False
        self.write(array)
        self.put(f"{self.element(array, offset)} {how} {self.converted(value, kind, 1)};")
        return True

    def assign(self, name: str, value: Any) -> None:
        """Give a name a value: a constant of C, or a variable."""
        if isinstance(value, Array):
            self.names[name] = self.named(name, value)
        elif name in self.variables:
            self.assign_variable(name, value)
        elif isinstance(value, Value) and value.type != "literal" and not value.text.is_name:
            self.names[name] = Value(value.type, 1, self.declare(value.type, name, value.text))
        else:
            self.names[name] = value

    def variable(self, name: str, type: str) -> Code:
        """A variable, declared."""
        own = self.variable_names[name]
        self.tops.append(Line(1, f"{C_TYPES[type]} {own} = 0;"))
        return Code(own)

    def write_variable(self, place: Value, text: str) -> None:
        """Give a variable a value."""
        self.put(f"{place.text} = {text};")

    def named(self, wish: str, array: Array) -> Array:
        """An array under a name, its lengths and strides as they are now."""
        text = code_of(array)
        if not text.is_name:
            text = self.declare(array.type, wish, text, Pointer(text.root))
        shape = tuple(self.kept(v, f"{wish}_len{k}") for k, v in enumerate(array.shape))
        strides = self.row_major(shape) if array.dense else array.strides
        strides = tuple(self.kept(v, f"{wish}_step{k}") for k, v in enumerate(strides))
        return array._replace(text=text, shape=shape, strides=strides)

    def kept(self, v: Value, wish: str) -> Value:
        """A value that does not change any more, under a name if need be."""
        if v.type == "literal" or v.text.is_name:
            return v
        return Value(v.type, 1, self.declare(v.type, wish, v.text))

    def repeating(
        self, name: str, body: list[Statement], width: int = 1, stop: Value | None = None
    ) -> Callable[[Value], None]:
        """What a loop does with its index."""
        self.wish = name
        return super().repeating(name, body)

    def loop_body(self, body: list[Statement]) -> None:
        """The statements of a loop, whose names are known in it alone."""
        taken = set(self.taken)
        self.indent += 1
        super().loop_body(body)
        self.indent -= 1
        self.taken = taken
        self.put("}")

    def loop(
        self, start: Value, stop: Value, step: Value, inside: Callable[[Value], None], is_whole: bool = False
    ) -> None:
        """A loop in order."""
        self.made.repeats = True
        first, by = (self.converted(v, "i64", 1) for v in (start, step))
        last = self.converted(
            stop if stop.type == "literal" or stop.text.is_fixed else self.kept(stop, "stop"), "i64", 1
        )
        taken, name = set(self.taken), self.distinct(self.wish)
        step_text = f"++{name}" if by == "1" else f"{name} += {by}"
        self.put(f"for (int64_t {name} = {first}; {name} < {last.inside(Level.SUM)}; {step_text}) {{")
        inside(Value("i64", 1, Code(name, is_fixed=True)))
        self.taken = taken

    def lanes(self, name: str, start: Value, stop: Value, body: list[Statement]) -> None:
        """A loop over lanes, which is one in order."""
        self.loop(start, stop, ONE, self.repeating(name, body))

    def while_loop(self, test: Expression, body: list[Statement]) -> None:
        """A loop as long as a condition holds."""
        self.made.repeats = True
        self.put(f"while ({self.value(test).text}) {{")
        self.loop_body(body)

    def branch(self, test: Expression, body: list[Statement], orelse: list[Statement]) -> None:
        """One of two runs of statements."""
        self.put(f"if ({self.value(test).text}) {{")
        self.loop_body(body)
        if orelse:
            self.text[-1].code = "} else {"
            self.loop_body(orelse)

    def store(self, target: Expression, value: Value) -> None:
        """Write an element."""
        array, offset = self.located(self.value(target.parts[0]), self.indices(target))
        self.write(array)
        self.put(f"{self.element(array, offset)} = {self.converted(value, array.type, 1)};")

    def write(self, array: Array) -> None:
        """Note that something is written to an array."""
        root = code_of(array).root
        if root is not None:
            root.write()

    # ---- whole arrays

    def whole(self, out: Array, how: str, x: Expression) -> None:
        """out[:, :] = a number or a product; a product may be added or subtracted as well."""
        if x.word == "@":
            alpha, beta = -1.0 if how == "-=" else 1.0, 0.0 if how == "=" else 1.0
            a, b = map(self.value, x.parts)
            self.product(out, a, b, alpha, beta)
        else:
            self.fill(out, self.value(x))

    def product(self, out: Array, a: Array, b: Array, alpha: float, beta: float) -> None:
        """out = alpha*(a @ b) + beta*out, with the sums of `library.products`, by the rules of `codegen.arrays`."""
        if 1 not in (len(a.shape), len(b.shape)) and ONE in (a.shape[0], b.shape[1]):
            if b.shape[1] == ONE:
                out, b = column(out), column(b)
            else:
                out, a, b = column(transposed_array(out)), transposed_array(b), column(transposed_array(a))
        elif len(a.shape) == 1:
            a, b = transposed_array(b), a
        sign = Value(out.type, 1, Code(constant(alpha, out.type)))
        if len(b.shape) == 1:
            if beta == 0.0:
                self.fill(out, number(0.0))
            self.call_own(products.apply.lowered_from, [general(v) for v in (out, a, b)] + [sign])
            return
        if out.strides[1] != ONE:
            out, a, b = (transposed_array(v) for v in (out, b, a))
        known = Value(out.type, 1, Code(constant(beta, out.type)))
        self.call_own(products.multiply.lowered_from, [*map(general, (out, a, b)), sign, known])

    def fill(self, array: Array, value: Value) -> None:
        """array[:, :] = value."""
        self.write(array)
        text = self.converted(value, array.type, 1)
        if not text.is_fixed:
            text = self.declare(array.type, "value", text)
        self.fill_axes(array, text, [])

    def fill_axes(self, array: Array, text: str, indices: list[Value]) -> None:
        """Write a value to what is left of the axes."""
        if array.dense and not indices and len(array.shape) > 1:
            count = ONE
            for n in array.shape:
                count = self.binary("*", count, n)
            array = Array(array.type, array.text, (count,), (ONE,))
        self.wish = "k"

        def inside(index: Value) -> None:
            self.indent += 1
            if len(indices) + 1 < len(array.shape):
                self.fill_axes(array, text, [*indices, index])
            else:
                place = self.element(array, self.offset(array, [*indices, index]))
                self.put(f"{place} = {text};")
            self.indent -= 1
            self.put("}")

        self.loop(number(0), array.shape[len(indices)], ONE, inside)

    def array(self, shape: Any, type: str, value: Value | None) -> Array:
        """A local array, filled with a number unless there is none."""
        lengths = tuple(self.kept(v, "count") for v in (shape if isinstance(shape, list) else (shape,)))
        count = ONE
        for n in lengths:
            count = self.binary("*", count, n)
        pointer, name = Pointer(), self.distinct(self.wish)
        is_local = count.type == "literal" and count.text * SIZES[type] <= STACK
        is_clear = value is not None and value.type == "literal" and str(value.text) in ("0", "0.0")
        made = Array(type, Code(name, is_fixed=True, root=pointer), lengths, self.row_major(lengths))
        if is_local:
            zero = " = {0}" if is_clear else ""
            space = None if zero else pointer
            self.put(f"{C_TYPES[type]} {name}[{max(count.text, 1)}]{zero};", declares=name, space=space)
        else:
            self.reserve(name, type, lengths, count.type == "literal")
        if value is not None and not (is_clear and (is_local or not self.depth)):
            self.fill(made, value)
        return made

    def reserve(self, name: str, type: str, lengths: Sequence[Value], is_early: bool) -> None:
        """Write what takes memory from the heap: at the beginning if the size is known before."""
        if self.depth and not is_early:
            raise self.error("memory in a loop, of a size that is not known before")
        self.unit.define("take", TAKE)
        kind = C_TYPES[type]
        counts = " * ".join(f"(double){self.converted(v, 'i64', 1).inside(Level.UNARY)}" for v in lengths)
        taken = f"take({counts} * sizeof({kind}))"
        self.heap.append(name)
        self.made.fails = True
        self.tops.append(Line(1, f"{kind} *{name} = NULL;"))
        lines, depth = (self.first, 1) if is_early else (self.text, self.indent)
        given = [(0, f"{name} = {taken};"), (0, f"if (!{name}) {{"), (1, "*failed = 1;"), *LEAVE]
        lines += [Line(depth + d, x) for d, x in given]

    # ---- expressions

    def value(self, x: Expression) -> Any:
        """The value of an expression."""
        found = super().value(x)
        return found._replace(text=Code(found.text, is_fixed=True)) if x.word in ("True", "False") else found

    def operation(self, symbol: str, parts: Sequence[Expression]) -> Any:
        """Operations of one symbol, from left to right."""
        if symbol == "@":
            return self.call_own(products.inner.lowered_from, [general(self.value(x)) for x in parts])
        return super().operation(symbol, parts)

    def name(self, name: str) -> Any:
        """What a name stands for: here, or in the module."""
        place = self.variables.get(name)
        return place if place is not None and place.text else super().name(name)

    def without_operation(self, op: str, x: Value, y: Value) -> Value | None:
        """Of integers x + 0 and x*1 as x, and 0*x as 0; None for all else."""
        for one, other in ((x, y), (y, x)) if op in ("+", "*") else ():
            if one.type == "literal" and isinstance(one.text, int) and other.type == "i64":
                if one.text == (op == "*"):
                    return other
                if op == "*" and one.text == 0:
                    return one
        return None

    def arithmetic(self, op: str, x: Value, y: Value, type: str, width: int) -> Value:
        """An operation of two values of one type."""
        level = OPERATORS[op]
        fixed = x.text.is_fixed and y.text.is_fixed
        if op == "<<" or (self.wraps and type not in FLOATS and op in WRAPPING):
            signed, word = C_TYPES[type], f"u{C_TYPES[type]}"
            left, right = (f"({word}){v.text.inside(Level.UNARY)}" for v in (x, y))
            return Value(type, 1, Code(f"({signed})({left} {op} {right})", Level.UNARY, fixed))
        inner = Level.UNARY if level is Level.BITWISE else level
        text = f"{x.text.inside(inner)} {op} {y.text.inside(Level(inner + (level is not Level.BITWISE)))}"
        return Value(type, 1, Code(text, level, fixed))

    def quotient(self, x: Value, y: Value) -> Value:
        """The quotient of integers, rounded down."""
        return self.called(self.unit.define("quotient", QUOTIENT), "i64", x, y)

    def remainder(self, x: Value, y: Value) -> Value:
        """The remainder of integers with the sign of the divisor."""
        return self.called(self.unit.define("remainder_of", REMAINDER), "i64", x, y)

    def called(self, function: str, type: str, *args: Value) -> Value:
        """A call of a function of C with numbers of a type."""
        texts = [self.converted(a, type, 1) for a in args]
        return Value(type, 1, Code(f"{function}({', '.join(texts)})", is_fixed=all(t.is_fixed for t in texts)))

    def converted(self, v: Value, type: str, width: int) -> Code:
        """The text of a value in this type."""
        if v.type == "literal":
            text = constant(v.text, type)
            return Code(text, Level.UNARY if text[0] == "-" else Level.ATOM, True)
        if v.type == type:
            return v.text if isinstance(v.text, Code) else Code(v.text)
        if v.type in FLOATS and type not in FLOATS:
            raise SubsetError("a float where an integer is needed; write to_int(x)")
        return Code(f"({C_TYPES[type]}){v.text.inside(Level.UNARY)}", Level.UNARY, v.text.is_fixed)

    def unary(self, op: str, x: Value) -> Value:
        """-x and not x."""
        if x.type == "literal":
            return number(-x.text)
        if self.wraps and x.type not in FLOATS and op == "-":
            return self.binary("-", number(0), x)
        symbol = "!" if op == "not" else "-"
        inner = x.text.inside(Level.UNARY)
        return Value(
            x.type, 1, Code(symbol + (f"({inner})" if inner[0] == "-" else inner), Level.UNARY, x.text.is_fixed)
        )

    def compare(self, op: str, x: Value, y: Value) -> Value:
        """A comparison, false where an operand is NaN but for `!=`."""
        (x, y), _, _ = self.unified(x, y)
        text = f"{x.text.inside(Level.SUM)} {op} {y.text.inside(Level.SUM)}"
        return Value("i1", 1, Code(text, Level.COMPARE, x.text.is_fixed and y.text.is_fixed))

    def select(self, c: Value, x: Value, y: Value) -> Value:
        """x where c is true, else y."""
        (x, y), type, _ = self.unified(x, y)
        text = f"{c.text.inside(Level.EQUAL)} ? {x.text.inside(Level.COMPARE)} : {y.text.inside(Level.COMPARE)}"
        return Value(type, 1, Code(text, Level.CHOICE, all(v.text.is_fixed for v in (c, x, y))))

    def of_floats(self, name: str, args: Sequence[Value]) -> Value:
        """An operation that C knows by name, on floats of one type."""
        type = self.unified(*args)[1]
        type = type if type in FLOATS else self.real
        return self.called(name + ("f" if type == "float" else ""), type, *args)

    def bounded(self, name: str, x: Value, y: Value) -> Value:
        """min and max of Python, and at_most and at_least, in which a NaN x stays."""
        type = self.unified(x, y)[1]
        own = f"{name}_{C_TYPES[type].removesuffix('_t')}"
        text = BOUNDED.format(type=C_TYPES[type], name=own, choice=CHOICES[name])
        return self.called(self.unit.define(own, text), type, x, y)

    def integral(self, x: Value) -> Value:
        """A float's integral part as an integer, saturated; 0 of NaN."""
        type, signed = ("i64", "int64_t") if x.type == "double" else ("i32", "int32_t")
        limits = {"int64_t": ("INT64", "63"), "int32_t": ("INT32", "31")}[signed]
        text = INTEGRAL.format(type=C_TYPES[x.type], whole=signed, limit=limits[0], power=f"0x1p{limits[1]}")
        name = self.unit.define(f"integral_{C_TYPES[x.type]}", text)
        return Value(type, 1, Code(f"{name}({x.text})", is_fixed=x.text.is_fixed))

    def primitive(self, name: str, args: list[Any]) -> Any:
        """A call of a primitive."""
        if name == "fold":
            width, type = args[0].shape[0].text, args[0].type
            own = self.unit.define(f"fold{width}_{type}", FOLD.format(type=type, width=width, half=width // 2))
            return Value(type, 1, Code(f"{own}({args[0].text})"))
        return super().primitive(name, args)

    def recast(self, x: Value, type: str) -> Value:
        """The bits of a value as one of another type."""
        own = f"{'from_bits' if type in FLOATS else 'bits'}_{C_TYPES[x.type].removesuffix('_t')}"
        self.unit.define(own, BITCAST.format(name=own, given=C_TYPES[x.type], found=C_TYPES[type]))
        return Value(type, 1, Code(f"{own}({x.text})", is_fixed=x.text.is_fixed))

    def place(self, array: Array, offset: Value) -> Code:
        """The address of an element."""
        at, start = self.converted(offset, "i64", 1), code_of(array)
        if at == "0":
            return start
        text = f"{start.inside(Level.SUM)} + {at.inside(Level.PRODUCT)}"
        return Code(text, Level.SUM, start.is_fixed and at.is_fixed, start.root)

    def element(self, array: Array, offset: Value) -> str:
        """An element."""
        return f"{code_of(array).inside(Level.ATOM)}[{self.converted(offset, 'i64', 1)}]"

    def load(self, array: Array, offset: Value) -> Value:
        """An element, as it is now."""
        return Value(array.type, 1, Code(self.element(array, offset)))

    # ---- calls

    def call_own(self, target: Callable[..., Any], args: Sequence[Any]) -> Any:
        """A call of a function of the subset, which is made for these kinds of arguments."""
        given = self.handed_over(target, args)
        made = self.unit.function(target, tuple(a.kind if isinstance(a, Array) else (a.type, 1) for a in given))
        passed: list[tuple[str, Pointer | None]] = []
        for a in given:
            text = code_of(a) if isinstance(a, Array) else a.text
            passed.append((text, text.root))
            if isinstance(a, Array):
                known = [*a.shape, *(() if a.dense else a.strides)]
                passed += [(self.converted(v, "i64", 1), None) for v in known if v.type != "literal"]
        passed += [("failed", None)] if made.fails else []
        written = [
            root for (_, root), own in zip(passed, made.roots, strict=True) if own is not None and own.is_written
        ]
        for root in written:
            if root is not None:
                root.write()
        text = f"{made.name}({', '.join(t for (t, _), used in zip(passed, made.used, strict=True) if used)})"
        found = None if made.result == "void" else Value(made.result, 1, Code(text))
        if found is None:
            self.put(f"{text};")
        elif made.fails or written:
            found = Value(made.result, 1, self.declare(made.result, "found", text, acts=text))
        if made.fails:
            self.made.fails = True
            self.text += [Line(self.indent + d, x) for d, x in ((0, "if (*failed) {"), *LEAVE)]
        return found

    def call_foreign(self, target: Any, args: Sequence[Value | Array]) -> Value:
        """A function that Numba compiles: no file of C can hold it."""
        self.unit.outside.append(target.__name__)
        return Value(self.real, 1, Code("0"))

    def call_external(self, symbol: str, args: Sequence[Value]) -> Value:
        """A function of SciPy: no file of C can hold it."""
        self.unit.outside.append(symbol.removeprefix("gc_"))
        return Value(self.real, 1, Code("0"))

    def seldom(self, slow: Callable[..., Any], condition: Value, fast: Value, *args: Value) -> Value:
        """slow(x, ...) where the condition holds, else what is known."""
        return self.select(condition, self.call_own(slow, args), fast)


# ---- what it is made of


def code_of(array: Array) -> Code:
    """Where an array is."""
    return array.text if isinstance(array.text, Code) else Code(array.text)


def general(array: Array) -> Array:
    """An array of which neither lengths nor strides are known before."""
    return array._replace(dense=False, shape=unknown(array.shape), strides=unknown(array.strides))


def unknown(values: Sequence[Value]) -> tuple[Value, ...]:
    """Lengths or strides as values that are not known before."""
    return tuple(Value("i64", 1, Code(str(v.text), is_fixed=True)) if v.type == "literal" else v for v in values)


def constant(value: Any, type: str) -> str:
    """A number as C writes it.

    >>> constant(0.1, "double"), constant(0.1, "float"), constant(2, "double"), constant(float("inf"), "double")
    ('0.1', '0.1f', '2.0', 'INFINITY')
    """
    if type == "i1":
        return str(bool(value)).lower()
    if type not in FLOATS:
        bits = 8 * SIZES[type]
        value = (int(value) + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
        return f"({value + 1} - 1)" if value == -1 << bits - 1 else str(value)
    value = float(value)
    if type == "float":
        with np.errstate(all="ignore"):
            value = np.float32(value)
    if not math.isfinite(value):
        return "NAN" if value != value else "INFINITY" if value > 0 else "-INFINITY"
    return f"{value!s}{'f' * (type == 'float')}"


def without_unused(lines: Sequence[Line]) -> tuple[list[Line], set[str]]:
    """The lines without constants that nothing reads, and the words of those that are left."""
    words: set[str] = set()
    kept = []
    for line in reversed(lines):
        if line.acts and line.declares not in words:
            line = Line(line.depth, f"(void){line.acts};", line.comment)
        if not line.declares or line.declares in words:
            words |= set(findall(r"\w+", line.code)) - ({line.declares} if line.declares else set())
            kept.append(line)
    return kept[::-1], words


def words_of(lines: Sequence[Line]) -> set[str]:
    """The words of the code."""
    return {w for line in lines for w in findall(r"\w+", line.code)}


def identifier(name: str) -> str:
    """A name that C and C++ take, as near as can be.

    >>> identifier("new"), identifier("θ"), identifier("2d loss")
    ('new_', 'u3b8', 'f2d_loss')
    >>> identifier("int64_t"), identifier("M_PI")
    ('int64_t_', 'M_PI_')
    """
    letters = (c if c.isascii() and (c.isalnum() or c == "_") else f"u{ord(c):x}" if c.isalpha() else "_" for c in name)
    found = "".join(letters).strip("_") or "f"
    found = f"f{found}" if found[0].isdigit() else found
    return found + "_" * is_reserved(found)


def is_reserved(name: str) -> bool:
    """Whether C or C++ keep a name for themselves, or their headers define it."""
    return name in RESERVED or DEFINED.fullmatch(name) is not None


def distinct(wish: str, taken: set[str]) -> str:
    """A name of C that is not taken yet, and is from now on."""
    name = own = identifier(wish)
    k = 2
    while name in taken:
        name, k = f"{own}_{k}", k + 1
    taken.add(name)
    return name


# ---- texts

TAKE = """/* Memory of so many bytes, all 0; NULL if there is none. */
static void *take(double bytes)
{
  return bytes < 0x1p62 ? calloc(bytes > 0.0 ? (size_t)bytes : 1, 1) : NULL;
}"""
QUOTIENT = """/* x/y, rounded down; 0 for a divisor of 0. */
static inline int64_t quotient(int64_t x, int64_t y)
{
  return y == 0 ? 0 : x / y - (x % y != 0 && (x < 0) != (y < 0));
}"""
REMAINDER = """/* The remainder of x/y with the sign of y; 0 for a divisor of 0. */
static inline int64_t remainder_of(int64_t x, int64_t y)
{
  return y == 0 || y == -1 ? 0 : x % y != 0 && (x < 0) != (y < 0) ? x % y + y : x % y;
}"""
CHOICES = {"min": "x <= y ? x : y", "max": "x >= y ? x : y", "at_most": "x > y ? y : x", "at_least": "x < y ? y : x"}
BOUNDED = """static inline {type} {name}({type} x, {type} y)
{{
  return {choice};
}}"""
INTEGRAL = """/* The integral part, or what comes nearest to it; 0 of NaN. */
static inline {whole} integral_{type}({type} x)
{{
  return x != x ? 0 : x >= {power} ? {limit}_MAX : x < -{power} ? {limit}_MIN : ({whole})x;
}}"""
BITCAST = """static inline {found} {name}({given} x)
{{
  {found} y;
  memcpy(&y, &x, sizeof y);
  return y;
}}"""
FOLD = """/* The sum of a vector, half onto half. */
static {type} fold{width}_{type}(const {type} *x)
{{
  {type} s[{width}];
  memcpy(s, x, sizeof s);
  for (int half = {half}; half > 0; half /= 2) {{
    for (int k = 0; k < half; ++k) {{
      s[k] += s[half + k];
    }}
  }}
  return s[0];
}}"""
FUNCTIONS = {"fma", "sqrt", "fabs", "floor", "ceil", "rint", "trunc", "copysign", "fmod", "take", "free", "calloc",
             "memcpy", "quotient", "remainder_of", "failed", "result", "end"}  # fmt: skip
# Types and macros of the headers that are included, and what C's own headers define beside those.
DEFINED = compile(r"\w+_t|[A-Z]\w*_(MAX|MIN|C|DIG|EXP|EPSILON|RADIX|BIT|WIDTH|ENDIAN|SETSIZE)|SNAN\w*|HUGE_VAL\w*|"
                  r"(M|FP|EXIT|SEEK|RENAME|MATH)_\w+")  # fmt: skip
RESERVED = frozenset((
    "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break", "case", "catch",
    "char", "class", "compl", "concept", "const", "const_cast", "constexpr", "continue", "decltype", "default",
    "delete", "do", "double", "dynamic_cast", "else", "enum", "explicit", "export", "extern", "false", "float",
    "for", "friend", "goto", "if", "inline", "int", "long", "mutable", "namespace", "new", "noexcept", "not",
    "not_eq", "nullptr", "operator", "or", "or_eq", "private", "protected", "public", "register",
    "reinterpret_cast", "requires", "restrict", "return", "short", "signed", "sizeof", "static", "static_assert",
    "static_cast", "struct", "switch", "template", "this", "thread_local", "throw", "true", "try", "typedef",
    "typeid", "typename", "typeof", "union", "unsigned", "using", "virtual", "void", "volatile", "wchar_t", "while",
    "xor", "xor_eq", "NULL", "NAN", "INFINITY", "EOF", "errno", "stdin", "stdout", "stderr", "linux", "unix",
    "main", "I", "complex", "imaginary", "BUFSIZ", "math_errhandling", "MAXFLOAT", "BYTE_ORDER", "NFDBITS", "P_tmpdir",
    "L_ctermid", "L_cuserid", "L_tmpnam", "WCONTINUED", "WEXITED", "WNOHANG", "WNOWAIT", "WSTOPPED", "WUNTRACED",
))  # fmt: skip
