"""From the tree of a function to LLVM IR, as text; everything that it calls comes along in one module."""

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradcompile.codegen.arrays import dot, fill, folded, multiply, product_of, sliced, transposed, viewed
from gradcompile.codegen.lines import ArrayLines
from gradcompile.codegen.masks import has_masks, load_lanes, mask_before
from gradcompile.codegen.parse import assigned, own_text, repeated, syntax
from gradcompile.codegen.values import (
    ATTRIBUTES,
    FLOATS,
    REGISTER,
    SHORT,
    SIZES,
    Array,
    External,
    Kind,
    Value,
    foreign_result,
    number,
    operand,
    typed,
)
from gradcompile.codegen.workspace import give_line, room, take_lines
from gradcompile.errors import SubsetError

PIECE = 2_000  # statements of a straight function that stay together in one function of machine code
SHORT_LOOP = 300  # statements of a loop over lanes up to which it gets code for one register, and for scalars
TOO_MUCH = 1 << 62  # bytes that no machine has
STACK = 1 << 14  # bytes of a local array that still lives on the stack
FEW_CALLS = 24  # calls of a function up to which each gets a copy of its code
LONG = 300  # lines of code from which on a second call gets none
LONG_TEXT = 18  # lines of a function's text from which on it is not made once more for arrays of another length

ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("fadd", "add"), ast.Sub: ("fsub", "sub"), ast.Mult: ("fmul", "mul"), ast.Div: ("fdiv", ""),
    ast.BitAnd: ("", "and"), ast.BitOr: ("", "or"), ast.BitXor: ("", "xor"), ast.LShift: ("", "shl"),
    ast.RShift: ("", "ashr"),
}  # fmt: skip
FOLDED: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda x, y: x + y, ast.Sub: lambda x, y: x - y, ast.Mult: lambda x, y: x * y,
    ast.FloorDiv: lambda x, y: x // y, ast.Mod: lambda x, y: x % y, ast.LShift: lambda x, y: x << y,
    ast.RShift: lambda x, y: x >> y, ast.BitAnd: lambda x, y: x & y, ast.BitOr: lambda x, y: x | y,
}  # fmt: skip
COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("olt", "slt"), ast.LtE: ("ole", "sle"), ast.Gt: ("ogt", "sgt"), ast.GtE: ("oge", "sge"),
    ast.Eq: ("oeq", "eq"), ast.NotEq: ("une", "ne"),
}  # fmt: skip
INTRINSICS = {"fma": 3, "sqrt": 1, "fabs": 1, "floor": 1, "ceil": 1, "rint": 1, "trunc": 1, "copysign": 2}
CONVERSIONS = {"to_float": "double", "to_float32": "float", "float64": "double", "float32": "float", "float": "double",
               "from_bits": "double", "from_bits32": "float"}  # fmt: skip


Library = Callable[[Callable[..., Any], tuple[Kind, ...]], Any]  # the object file of one of the package's, or None
Helper = tuple[str, str, tuple[Kind, ...]]


@dataclass(slots=True)
class Lowered:
    """A function of the IR: its name, what it returns, its parameters, its text, and how often it is called.

    fails: whether it takes memory, or calls what does. Where there is none it ends at once, and sets the byte to 1
    whose address is its last parameter.
    """

    name: str
    result: str = "void"
    width: int = 1
    parameters: str = ""
    body: str = ""
    calls: int = 0
    repeats: bool = False
    fails: bool = False

    @property
    def is_copied(self) -> bool:
        """Whether each call gets a copy of the code, rather than all the same. A loop takes longer than a call does."""
        few = not self.repeats and self.calls <= FEW_CALLS and self.body.count("\n") < LONG
        return self.calls < 2 or few


@dataclass(slots=True)
class Piece:
    """A part of a function's code: the lines, and the stores of what later parts read, by the operand they store.

    Each is written where its operand is made: many at the end would keep LLVM's scheduler busy in quadratic time.
    """

    lines: list[str] = field(default_factory=list)
    exports: dict[str, list[str]] = field(default_factory=dict)
    fails: bool = False  # whether it takes memory, or calls what does

    def complete(self) -> Iterator[str]:
        """The lines with the stores among them."""
        for line in self.lines:
            yield line
            if line.startswith("  %"):
                yield from self.exports.get(line.split(" ", 3)[2], ())


@dataclass(slots=True)
class Unit:
    """A module of IR in the making: functions by their object and the kinds of their arguments, and what they need."""

    mark: str
    library: Library | None = None
    helpers: dict[Helper, Lowered] = field(default_factory=dict)
    functions: dict[tuple[int, tuple[Kind, ...]], Lowered] = field(default_factory=dict)
    declared: dict[str, str] = field(default_factory=dict)
    tables: dict[int, tuple[Array, str, Any]] = field(default_factory=dict)
    foreign: dict[str, tuple[Any, tuple[Kind, ...], str]] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    marked: int = 0

    def function(self, target: Callable[..., Any], kinds: tuple[Kind, ...]) -> Lowered:
        """The function of the IR for one of the subset and these kinds of arguments, made when first asked for."""
        if self.library is not None and (helper := self.helper(target, kinds)):
            return helper
        key = id(target), kinds
        if key not in self.functions:
            made = self.functions[key] = Lowered(f"{self.mark}.{len(self.functions)}.{target.__name__}")
            Writer(self, target, made).run(kinds)
        return self.functions[key]

    def helper(self, target: Callable[..., Any], kinds: tuple[Kind, ...]) -> Lowered | None:
        """One of the package's functions as it stands in memory, declared; None for any other."""
        name = target.__module__, target.__name__, kinds
        if name not in self.helpers:
            found = self.library(target, kinds) if self.library else None
            if found is None:
                return None
            made = Lowered(found.symbol, found.result, found.width, fails=found.fails)
            parameters = [p for kind in kinds for p in parameter_types(kind)] + ["ptr"] * made.fails
            result = typed(made.result, made.width)
            self.declare(made.name, f"{result} @{made.name}({', '.join(parameters)})")
            self.helpers[name] = made
        return self.helpers[name]

    def intrinsic(self, name: str, type: str, width: int, count: int) -> str:
        """The name of an LLVM intrinsic of so many arguments of one type, declared."""
        full = f"llvm.{name}.{f'v{width}' if width > 1 else ''}{SHORT[type]}"
        whole = typed(type, width)
        self.declared.setdefault(full, f"declare {whole} @{full}({', '.join([whole] * count)})")
        return full

    def declare(self, name: str, text: str) -> str:
        """A function from outside, declared."""
        self.declared.setdefault(name, f"declare {text}")
        return name

    def mark_loop(self) -> str:
        """The mark of one more loop that LLVM is neither to vectorise nor to unroll: code would grow without end."""
        self.marked += 1
        return f", !llvm.loop !{self.marked + 1}"

    def marks(self) -> list[str]:
        """The definitions of these marks: each loop has its own."""
        if not self.marked:
            return []
        wishes = ['!0 = !{!"llvm.loop.vectorize.enable", i1 false}', '!1 = !{!"llvm.loop.unroll.disable"}']
        return wishes + [f"!{k} = distinct !{{!{k}, !0, !1}}" for k in range(2, self.marked + 2)]

    def table(self, values: tuple[Any, ...], real: str) -> Array:
        """A tuple of numbers of the module as an array, floats in a function's own type.

        The tuple is kept, so its address stays its own.
        """
        if id(values) not in self.tables:
            type = real if any(isinstance(v, float) for v in values) else "i64"
            name = f"@{self.mark}.table.{len(self.tables)}"
            entries = ", ".join(f"{type} {operand(v, type, 1)}" for v in values)
            text = f"{name} = internal constant [{len(values)} x {type}] [{entries}], align 64"
            self.tables[id(values)] = Array(type, name, (number(len(values)),), (number(1),)), text, values
        return self.tables[id(values)][0]

    def text(self, entry: Lowered) -> str:
        """The whole module; only the entry is seen from outside."""
        parts = [text for _, text, _ in self.tables.values()] + list(self.declared.values()) + self.pieces
        for f in self.functions.values():
            seen = "" if f is entry else "internal"
            inline = "alwaysinline" if f.is_copied else "noinline"
            result = "void" if f.result == "void" else typed(f.result, f.width)
            parts.append(f"define {seen} {result} @{f.name}({f.parameters}) {inline} {ATTRIBUTES} {{\n{f.body}\n}}")
        return "\n".join(parts + self.marks())


class Writer(ArrayLines):
    """Writes one function of the subset as IR."""

    def __init__(self, unit: Unit, target: Callable[..., Any], made: Lowered) -> None:
        super().__init__(unit)
        self.unit: Unit = unit
        self.made, self.globals = made, target.__globals__
        self.tree = syntax(target)
        self.names: dict[str, Value | Array] = {}
        self.variables: dict[str, Value] = {}  # names that a loop in order assigns again: their place in memory
        self.home: dict[str, int] = {}  # the piece that an operand is defined in
        self.most: dict[str, int] = {}  # the most that an operand is, where `min` says it
        self.slots: dict[str, int] = {}  # operands that cross pieces: their place in the frame
        self.pieces = [Piece()]
        self.lines = self.pieces[0].lines
        self.early: list[str] = []  # of the entry, after all that lives on the stack: memory from the heap
        self.freed: list[str] = []
        self.handed: list[str] = []  # the frame's slots with the places of local arrays
        self.real = "double"
        self.many = False  # whether the code is cut into pieces
        self.depth = 0  # of loops
        self.mask = ""  # of the lanes that are on, in a loop where some are off

    # ---- the whole function

    def run(self, kinds: tuple[Kind, ...]) -> None:
        """Lower the function for these kinds of arguments."""
        arguments = [a.arg for a in self.tree.args.args]
        if len(arguments) != len(kinds):
            raise SubsetError(f"{self.tree.name} takes {len(arguments)} arguments, got {len(kinds)}")
        given = [self.bind(a, k, f"%a{i}") for i, (a, k) in enumerate(zip(arguments, kinds, strict=True))]
        self.made.parameters = ", ".join(p for parameters in given for p in parameters)
        single = any(k[0] == "i32" for k in kinds)  # the bits of a float
        self.real = next((k[0] for k in kinds if k[0] in FLOATS), "float" if single else "double")
        body = [s for s in self.tree.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        last = body.pop() if body and isinstance(body[-1], ast.Return) else None
        result = last.value if isinstance(last, ast.Return) else None
        self.variables = dict.fromkeys(repeated(body), Value("", 1, ""))
        self.many = len(body) > PIECE
        for k, statement in enumerate(body):
            if k and k % PIECE == 0:
                self.next_piece()
            self.statement(statement)
        self.finish(None if result is None else self.settled(self.value(result)))

    def bind(self, name: str, kind: Kind, text: str) -> list[str]:
        """Give a parameter its value; the parameters of the IR that it takes."""
        if len(kind) == 2:
            self.names[name] = Value(kind[0], kind[1], text)
            return [f"{typed(*kind)} {text}"]
        type, shape, known = kind
        given = [f"ptr {text}"]
        lengths: list[Value] = []
        for k, length in enumerate(shape):
            given += [] if length is not None else [f"i64 {text}.{k}"]
            lengths.append(Value("i64", 1, f"{text}.{k}") if length is None else number(length))
        if known is True:
            strides = self.row_major(lengths)
        else:
            strides = tuple(Value("i64", 1, f"{text}.s{k}") if s is None else number(s) for k, s in enumerate(known))
            given += [f"i64 {s.text}" for s in strides if s.type != "literal"]
        self.names[name] = Array(type, text, tuple(lengths), strides, known is True)
        self.home |= {s.text: 0 for s in strides if s.type != "literal" and not s.text.startswith(text)}
        return given

    def row_major(self, lengths: Sequence[Value]) -> tuple[Value, ...]:
        """The strides of a contiguous array."""
        strides = [number(1)]
        for length in reversed(lengths[1:]):
            strides.append(self.binary(ast.Mult, length, strides[-1]))
        return tuple(reversed(strides))

    def finish(self, result: Value | None) -> None:
        """Close the last piece, and write the function that calls them all."""
        final = "  ret void"
        if result is not None:
            self.made.result, self.made.width = result.type, result.width
            final = f"  ret {typed(result.type, result.width)} {result.text}"
        if self.many and result is not None:
            self.slots["returned"] = slot = len(self.slots)
            self.lines += self.store_slot(result, slot)
        last = self.take_frame() if self.many else []
        self.made.parameters += ", ptr noalias %status" if self.made.fails else ""
        self.made.parameters = self.made.parameters.removeprefix(", ")
        if not self.many:
            frees = [give_line(self.unit, p) for p in self.freed]
            lines = [*self.head(), "  br label %start", "start:", *self.lines, *frees, final]
            self.made.body = "\n".join([*lines, *self.failure()])
            return
        parameters = f"{self.made.parameters}, ptr noalias %frame, ptr noalias %kept".removeprefix(", ")
        given = f"{self.made.parameters}, ptr %frame, ptr %frame".removeprefix(", ")
        calls = []
        for k, piece in enumerate(self.pieces):
            name = f"@{self.made.name}.piece.{k}"
            head = f"define internal void {name}({parameters}) noinline {ATTRIBUTES} {{\nstart:"
            tail = ["  ret void", *(failing([], "  ret void") if piece.fails else ())]
            self.unit.pieces.append("\n".join([head, *piece.complete(), *tail, "}"]))
            calls.append(f"  call void {name}({given})")
            calls += unless_failed(f"%piece{k}", f"on.{k}") if piece.fails else []
        frees = [line for k, p in enumerate(self.freed) for line in self.free_lines(p, f"%freed{k}")]
        tail = []
        if result is not None:
            final = f"  ret {result.type} %r"
            tail = [f"  %p = getelementptr i64, ptr %frame, i64 {slot}", f"  %r = load {result.type}, ptr %p"]
        lines = [*self.head(), *self.handed, *calls, *tail, *frees, *last, final]
        self.made.body = "\n".join([*lines, *self.failure(last)])

    def head(self) -> list[str]:
        """The beginning of the function: what lives on the stack, then what comes from the heap."""
        return ["entry:", *self.entry, *(["  br label %early", "early:", *self.early] if self.early else ())]

    def failure(self, last: Sequence[str] = ()) -> list[str]:
        """What is done where there is no memory: what was taken is given back, the frame last; the caller is told."""
        if not self.made.fails:
            return []
        frees: list[str] = []
        for k, pointer in enumerate(self.freed):
            if pointer in self.slots:
                frees += self.free_lines(pointer, f"%lost{k}")
            else:
                frees += [f"  %lost{k} = load ptr, ptr {pointer}.kept", give_line(self.unit, f"%lost{k}")]
        result = "void" if self.made.result == "void" else f"{typed(self.made.result, self.made.width)} zeroinitializer"
        return failing([*frees, *last], f"  ret {result}")

    def take_frame(self) -> list[str]:
        """Memory for the frame, before all other; the lines that give it back."""
        size = len(self.slots) * SIZES["i64"]
        if size <= STACK:
            self.entry.append(f"  %frame = alloca [{max(len(self.slots), 1)} x i64], align 64")
            return []
        self.made.fails = True
        self.early[:0] = take_lines(self.unit, str(size), "%frame", "lacking")
        return [give_line(self.unit, "%frame.taken")]

    def free_lines(self, pointer: str, name: str) -> list[str]:
        """The lines with which the caller of all pieces frees memory that one of them took, or it itself."""
        if pointer not in self.slots:
            return [give_line(self.unit, pointer)]
        place = f"  {name}.place = getelementptr i64, ptr %frame, i64 {self.slots[pointer]}"
        return [place, f"  {name} = load ptr, ptr {name}.place", give_line(self.unit, name)]

    def next_piece(self) -> None:
        """Go on in a new function, which shares a frame of memory with those before."""
        self.pieces.append(Piece())
        self.lines, self.block = self.pieces[-1].lines, "start"

    def store_slot(self, value: Value, slot: int) -> list[str]:
        """The lines that write a value to the frame.

        No piece reads what it writes there, so the two are different pointers. Volatile, or LLVM looks for each store
        whether a later one makes it dead, in quadratic time.
        """
        self.count += 1
        place = f"%f{self.count}"
        store = f"  store volatile {value.type} {value.text}, ptr {place}"
        return [f"  {place} = getelementptr i64, ptr %kept, i64 {slot}", store]

    def fetched(self, name: str, value: Value | Array) -> Value | Array:
        """A value or an array of an earlier piece, read from the frame."""
        found: Value | Array
        if isinstance(value, Value):
            found = self.fetched_value(value)
        else:
            pointer = self.fetched_value(Value("ptr", 1, value.text)).text
            shape, strides = (tuple(map(self.fetched_value, values)) for values in (value.shape, value.strides))
            found = Array(value.type, pointer, shape, strides, value.dense)
        self.names[name] = found
        return found

    def fetched_value(self, value: Value) -> Value:
        """A value, read from the frame if it is of an earlier piece."""
        here = len(self.pieces) - 1
        if value.type == "literal" or self.home.get(value.text, here) == here:
            return value
        slot = self.slot(value)
        place = self.emit(f"getelementptr i64, ptr %frame, i64 {slot}")
        found = value._replace(text=self.emit(f"load {value.type}, ptr {place}"))
        self.slots[found.text], self.home[found.text] = slot, here
        return found

    def slot(self, value: Value) -> int:
        """The place of a value in the frame, written there where the value is made."""
        if value.text not in self.slots:
            self.slots[value.text] = len(self.slots)
            self.pieces[self.home[value.text]].exports[value.text] = self.store_slot(value, self.slots[value.text])
        return self.slots[value.text]

    # ---- statements

    def statement(self, s: ast.stmt) -> None:
        """Write one statement."""
        match s:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.assign(name, self.value(value))
            case ast.Assign(targets=[ast.Subscript() as target], value=value) if has_slice(target):
                self.whole(self.value(target), None, value)
            case ast.AugAssign(target=ast.Subscript() as target, op=op, value=value) if has_slice(target):
                self.whole(self.value(target), type(op), value)
            case ast.Assign(targets=[ast.Subscript() as target], value=value):
                self.store(target, self.value(value))
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                self.assign(name, self.binary(type(op), self.name(name), self.value(value)))
            case ast.AugAssign(target=ast.Subscript() as target, op=op, value=value):
                right = self.value(value)
                self.store(target, self.binary(type(op), self.subscript(target), right))
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id=kind), args=args), body=body):
                bounds = [self.value(a) for a in args]
                bounds = bounds if len(bounds) > 1 else [number(0), *bounds]
                if kind == "lanes":
                    self.lanes(name, bounds[0], bounds[1], body)
                else:
                    step = bounds[2] if len(bounds) > 2 else number(1)
                    self.loop(bounds[0], bounds[1], step, self.repeating(name, body))
            case ast.While(test=test, body=body):
                self.while_loop(test, body)
            case ast.If(test=test, body=body, orelse=orelse):
                self.branch(test, body, orelse)
            case ast.Expr(value=ast.Call() as call):
                self.call(call)
            case _:
                raise SubsetError(f"{self.tree.name}, line {s.lineno}: {ast.unparse(s).splitlines()[0]!r}")

    def assign(self, name: str, value: Any) -> None:
        """Give a name a value."""
        if name in self.variables and not isinstance(value, Array):
            self.assign_variable(name, value)
            return
        self.names[name] = value
        if self.many:
            for v in operands(value):
                if not v.startswith("%a"):  # every piece has the parameters
                    self.home.setdefault(v, len(self.pieces) - 1)

    def assign_variable(self, name: str, value: Value) -> None:
        """Write a variable, whose place has the type of its first value: what does not fit there is refused."""
        if not self.variables[name].text:
            type = self.settled(value).type
            self.variables[name] = Value(type, 1, f"%{name}.place")
            self.entry.append(f"  %{name}.place = alloca {type}")
        place = self.variables[name]
        if value.width > 1 or not fits(value, place.type):
            kind = "many lanes" if value.width > 1 else value.type
            raise SubsetError(f"{self.tree.name}: {name!r} is a {place.type} at first, and a {kind} in a loop; begin "
                              "with a value of that type, as float64(0.0)")  # fmt: skip
        self.lines.append(f"  store {place.type} {self.converted(value, place.type, 1)}, ptr {place.text}")

    def whole(self, out: Array, op: type[ast.operator] | None, e: ast.expr) -> None:
        """out[:, :] = a number or a product; a product may be added or subtracted as well."""
        signs = {None: (1.0, 0.0), ast.Add: (1.0, 1.0), ast.Sub: (-1.0, 1.0)}
        if isinstance(e, ast.BinOp) and isinstance(e.op, ast.MatMult) and op in signs:
            multiply(self, out, self.value(e.left), self.value(e.right), *signs[op])
        elif op is None and isinstance(value := self.value(e), Value) and value.width == 1:
            fill(self, out, value)
        else:
            raise SubsetError(f"{self.tree.name}, line {e.lineno}: {ast.unparse(e)!r} for a whole array")

    def repeating(
        self, name: str, body: list[ast.stmt], width: int = 1, stop: Value | None = None
    ) -> Callable[[Value], None]:
        """What a loop does with its index, or with the first of as many lanes; those from `stop` on are off."""

        def inside(index: Value) -> None:
            self.names[name] = index if width == 1 else Value("lane", width, (index.text, 1))
            self.mask = "" if stop is None else mask_before(self, index, stop, width)
            self.loop_body(body)
            self.mask = ""

        return inside

    def loop_body(self, body: list[ast.stmt]) -> None:
        """The statements of a loop. What they name is known in it alone, but for variables."""
        kept = dict(self.names)
        for name in assigned(body):
            if isinstance(kept.get(name), Array):
                raise SubsetError(f"{self.tree.name}: {name!r} means an array outside of a loop and another one inside")
        self.depth += 1
        for s in body:
            self.statement(s)
        self.depth -= 1
        self.names = kept

    def loop(
        self, start: Value, stop: Value, step: Value, inside: Callable[[Value], None], is_whole: bool = False
    ) -> None:
        """A loop in order; one that is `is_whole` as it stands, or is around others, LLVM is to leave alone."""
        self.made.repeats = True
        first, last, by = (self.converted(v, "i64", 1) for v in (start, stop, step))
        self.repeat((first, last, by), lambda index: inside(Value("i64", 1, index)), is_whole)

    def while_loop(self, test: ast.expr, body: list[ast.stmt]) -> None:
        """A loop as long as a condition holds."""
        head, inside, after = self.label("head"), self.label("body"), self.label("after")
        self.made.repeats = True
        self.jump(head)
        self.start(head)
        self.lines.append(f"  br i1 {self.value(test).text}, label %{inside}, label %{after}")
        self.start(inside)
        self.loop_body(body)
        self.jump(head)
        self.start(after)

    def branch(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        """One of two runs of statements. Names that either assigns have a place in memory, as those of loops have."""
        inside, otherwise, after = self.label("then"), self.label("else"), self.label("after")
        self.lines.append(f"  br i1 {self.value(test).text}, label %{inside}, label %{otherwise}")
        for label, statements in ((inside, body), (otherwise, orelse)):
            self.start(label)
            self.loop_body(statements)
            self.jump(after)
        self.start(after)

    def lanes(self, name: str, start: Value, stop: Value, body: list[ast.stmt]) -> None:
        """A loop over lanes: vectors of LANES as long as they are full, and what is left.

        That is one step with lanes that are off, or several of one register, or vectors of one register and scalars.
        """
        if any(isinstance(s, ast.If) for s in body):
            raise SubsetError(f"{self.tree.name}: a branch in a loop over lanes; write `a if c else b`")
        before = 0
        for width, is_masked in self.widths(body):
            count = self.binary(ast.Sub, stop, start)
            full = count if is_masked else self.binary(ast.BitAnd, count, number(-width))
            middle = self.binary(ast.Add, start, full)
            if full != number(0):
                is_masked &= count.type != "literal" or count.text % width > 0
                inside = self.repeating(name, body, width, stop if is_masked else None)
                if width == before:  # there are fewer left than that
                    self.once(start, middle, inside)
                else:
                    self.loop(start, middle, number(width), inside, True)
            start, before = middle, width

    def once(self, start: Value, stop: Value, inside: Callable[[Value], None]) -> None:
        """The body of a loop for its first index, if there is one."""
        index, last = (self.converted(v, "i64", 1) for v in (start, stop))
        some, body, after = self.emit(f"icmp slt i64 {index}, {last}"), self.label("body"), self.label("after")
        self.lines.append(f"  br i1 {some}, label %{body}, label %{after}")
        self.start(body)
        inside(Value("i64", 1, index))
        self.jump(after)
        self.start(after)

    def widths(self, body: list[ast.stmt]) -> list[tuple[int, bool]]:
        """How many lanes the loops have that a loop over lanes becomes, and whether some of these may be off.

        A module may set the first of them, LANES.
        """
        register = REGISTER // SIZES[self.real]
        lanes = int(self.globals.get("LANES", register))
        if self.unit.library is not None:  # sums of lanes are the same sums, whoever walks them
            lanes = min(lanes, register)
        if has_masks():
            last = (lanes if lanes <= 2 * register else register, True)
            return [last] if self.unit.library is not None else [(lanes, False), last]
        few = [(register, False)] if register < lanes and len(body) <= SHORT_LOOP else []
        return [(lanes, False), *few, (1, False)]

    # ---- expressions

    def value(self, e: ast.expr) -> Any:
        """The value of an expression; the kinds that long functions are full of come first."""
        if type(e) is ast.Name:
            return self.name(e.id)
        if type(e) is ast.BinOp:
            if type(e.op) is ast.MatMult:
                return dot(self, self.value(e.left), self.value(e.right))
            return self.binary(type(e.op), self.value(e.left), self.value(e.right))
        match e:
            case ast.Constant(value=bool() as truth):
                return Value("i1", 1, str(truth).lower())
            case ast.Constant(value=int() | float() as value):
                return number(value)
            case ast.Call():
                return self.call(e)
            case ast.Subscript():
                return self.subscript(e)
            case ast.Attribute(value=owner, attr="T"):
                return transposed(self.value(owner))
            case ast.Tuple(elts=parts):
                return [self.value(part) for part in parts]
            case ast.UnaryOp(op=op, operand=inner):
                return self.unary(op, self.value(inner))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.select(self.value(test), self.value(body), self.value(orelse))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.compare(type(op), self.value(left), self.value(right))
        raise SubsetError(f"{self.tree.name}, line {e.lineno}: {ast.unparse(e)!r}")

    def name(self, name: str) -> Any:
        """What a name stands for: here, or in the module."""
        if (place := self.variables.get(name)) is not None and place.text:
            return Value(place.type, 1, self.emit(f"load {place.type}, ptr {place.text}"))
        found = self.names.get(name)
        if found is None:
            found = self.globals.get(name)
            if isinstance(found, int | float):
                return number(found)
            if isinstance(found, tuple):
                return found
            raise SubsetError(f"{self.tree.name}: {name!r} is no number")
        here = len(self.pieces) - 1
        if self.many and any(self.home.get(v, here) != here for v in operands(found)):
            return self.fetched(name, found)
        return found

    def binary(self, op: type[ast.operator], x: Value, y: Value) -> Value:
        """An operation of two values."""
        if x.type == y.type == self.real and x.width == y.width == 1:  # nearly always in straight-line code
            return Value(self.real, 1, self.emit(f"{ARITHMETIC[op][0]} {self.real} {x.text}, {y.text}"))
        if x.type == "literal" and y.type == "literal":
            if op in FOLDED:
                return number(FOLDED[op](x.text, y.text))
            x = Value(self.real, 1, operand(x.text, self.real, 1))
        if (x.type == "lane" or y.type == "lane") and (moved := self.of_lane(op, x, y)) is not None:
            return moved
        if op not in (ast.BitAnd, ast.BitOr, ast.BitXor):
            x, y = self.counted(x), self.counted(y)
        divisor = y.text if y.type == "literal" else 0
        (x, y), type, width = self.unified(x, y)
        if op is ast.Div and type not in FLOATS:
            x, y = (Value(self.real, width, self.converted(v, self.real, width)) for v in (x, y))
            type = self.real
        if op in (ast.FloorDiv, ast.Mod) and type not in FLOATS:
            return self.floored(op, x, y, divisor)
        name = ARITHMETIC.get(op, ("", ""))[type not in FLOATS]
        if not name:
            raise SubsetError(f"{self.tree.name}: {op.__name__} of {x.type}s, which the subset has not")
        return Value(type, width, self.emit(f"{name} {typed(type, width)} {x.text}, {y.text}"))

    def counted(self, v: Value) -> Value:
        """A truth value as the integer that it is in arithmetic; any other value as it is."""
        return Value("i64", v.width, self.converted(v, "i64", v.width)) if v.type == "i1" else v

    def of_lane(self, op: type[ast.operator], x: Value, y: Value) -> Value | None:
        """Arithmetic of a lane's index that leaves it one: i + k, k + i, i - k, i*3, i % LANES; None for any other."""
        if y.type == "lane" and op in (ast.Add, ast.Mult):
            x, y = y, x
        if x.type != "lane" or y.width > 1 or y.type in FLOATS or isinstance(y.text, float):
            return None
        base, step = x.text
        is_own = y.type == "literal" and (op is ast.Mult or (op is ast.Mod and y.text == self.globals["LANES"]))
        if op in (ast.Add, ast.Sub) or is_own:
            moved = self.binary(op, Value("i64", 1, base), y)
            return Value("lane", x.width, (moved.text, step * y.text if op is ast.Mult else step))
        return None

    def unified(self, *values: Value) -> tuple[list[Value], str, int]:
        """The values with one type and one width."""
        width = max(v.width for v in values)
        types = {"i64" if v.type == "lane" else v.type for v in values} - {"literal"}
        if not types:
            types = {self.real if any(isinstance(v.text, float) for v in values) else "i64"}
        has_float = any(v.type == "literal" and isinstance(v.text, float) for v in values)
        kind = next((t for t in FLOATS if t in types), self.real if has_float else max(types, key=SIZES.__getitem__))
        return [Value(kind, width, self.converted(v, kind, width)) for v in values], kind, width

    def converted(self, v: Value, type: str, width: int) -> str:
        """The operand of a value in this type and width."""
        if v.type == "literal":
            return operand(v.text, type, width)
        if v.type == "lane":
            v = self.spread_lane(v)
        text, own = v.text, v.type
        if own != type:
            text = self.emit(f"{conversion(own, type)} {typed(own, v.width)} {text} to {typed(type, v.width)}")
        if v.width == width:
            return str(text)
        return self.spread(text, type, width)

    def spread_lane(self, v: Value) -> Value:
        """The index of each lane as a vector of integers; a lane that is off has that of the first."""
        base, step = v.text
        first = self.converted(Value("i64", 1, base), "i64", v.width)
        steps = f"<{', '.join(f'i64 {k * step}' for k in range(v.width))}>"
        if self.mask:
            whole = typed("i64", v.width)
            steps = self.emit(f"select <{v.width} x i1> {self.mask}, {whole} {steps}, {whole} zeroinitializer")
        return Value("i64", v.width, self.emit(f"add <{v.width} x i64> {first}, {steps}"))

    def settled(self, v: Value, integer: str = "i64") -> Value:
        """A value with a type of its own, also if it was a number of the text."""
        if v.type == "literal":
            type = self.real if isinstance(v.text, float) else integer
            return Value(type, 1, operand(v.text, type, 1))
        return self.spread_lane(v) if v.type == "lane" else v

    def unary(self, op: ast.unaryop, x: Value) -> Value:
        """-x and not x."""
        if x.type == "literal":
            return number(-x.text)
        x = self.settled(x)
        whole = typed(x.type, x.width)
        if isinstance(op, ast.Not):
            text = f"xor {whole} {x.text}, {operand(True, 'i1', x.width)}"
        elif x.type in FLOATS:
            text = f"fneg {whole} {x.text}"
        else:
            text = f"sub {whole} {operand(0, x.type, x.width)}, {x.text}"
        return Value(x.type, x.width, self.emit(text))

    def compare(self, op: type[ast.cmpop], x: Value, y: Value) -> Value:
        """A comparison, false where an operand is NaN but for `!=`."""
        (x, y), type, width = self.unified(x, y)
        integer = type not in FLOATS
        text = f"{'icmp' if integer else 'fcmp'} {COMPARISONS[op][integer]} {typed(type, width)} {x.text}, {y.text}"
        return Value("i1", width, self.emit(text))

    def select(self, c: Value, x: Value, y: Value) -> Value:
        """x where c is true, else y."""
        (x, y), type, width = self.unified(x, y)
        if c.width > width:
            x, y = (Value(type, c.width, self.converted(v, type, c.width)) for v in (x, y))
        whole = typed(type, x.width)
        text = f"select {typed('i1', c.width)} {c.text}, {whole} {x.text}, {whole} {y.text}"
        return Value(type, x.width, self.emit(text))

    # ---- elements of arrays

    def subscript(self, e: ast.Subscript) -> Any:
        """x.shape[k], an entry of a tuple of the module, an element, or a part of an array."""
        indices = self.indices(e)
        if isinstance(e.value, ast.Attribute) and e.value.attr == "shape":
            owner = self.value(e.value.value)
            return owner.shape[indices[0].text]
        owner = self.value(e.value)
        if isinstance(owner, Value):
            raise SubsetError(f"{self.tree.name}: {ast.unparse(e)!r} of a number")
        if not isinstance(owner, Array):
            if indices[0].type == "literal":
                return number(owner[indices[0].text])
            owner = self.unit.table(owner, self.real)
        if len(indices) < len(owner.shape) or has_slice(e):
            return sliced(self, owner, indices)
        return self.load(*self.located(owner, indices))

    def indices(self, e: ast.Subscript) -> list[Any]:
        """The values in the brackets; of a slice its bounds."""
        return [self.bounds(i) if isinstance(i, ast.Slice) else self.value(i) for i in brackets(e)]

    def bounds(self, s: ast.Slice) -> tuple[Value | None, Value | None]:
        """The bounds of a slice."""
        if s.step is not None:
            raise SubsetError(f"{self.tree.name}: the slice {ast.unparse(s)!r} has a step")
        return None if s.lower is None else self.value(s.lower), None if s.upper is None else self.value(s.upper)

    def located(self, array: Array, indices: Sequence[Value]) -> tuple[Array, Value]:
        """An array and the place of an element in it; of neighbours in a row of many, the row and their place there.

        How a row's address comes about is hidden from LLVM until it has chosen the steps of its loops: to look for the
        best way from row to row, through all loops outside, takes a tenth of the time, and finds no better one.
        """
        *others, last = indices
        if last.type == "lane" and array.strides[-1] == number(1) and all(v.width == 1 for v in others):
            row = self.offset(array._replace(strides=array.strides[:-1]), others)
            if row.type != "literal":
                hidden = self.unit.declare("llvm.strip.invariant.group.p0", "ptr @llvm.strip.invariant.group.p0(ptr)")
                return array._replace(text=self.emit(f"call ptr @{hidden}(ptr {self.place(array, row)})")), last
        return array, self.offset(array, indices)

    def offset(self, array: Array, indices: Sequence[Value]) -> Value:
        """The place of an element, in elements from the first."""
        total = number(0)
        for index, stride in zip(indices, array.strides, strict=True):
            part = index if stride == number(1) else self.binary(ast.Mult, index, stride)
            total = part if total == number(0) else self.binary(ast.Add, total, part)
        return total

    def place(self, array: Array, offset: Value) -> str:
        """The address of an element; of the first lane's, where lanes lie side by side."""
        at = offset.text[0] if offset.type == "lane" else self.converted(offset, "i64", 1)
        return self.emit(f"getelementptr {array.type}, ptr {array.text}, i64 {at}")

    def lane_places(self, array: Array, offset: Value) -> list[str]:
        """The address of each lane's element."""
        vector = self.settled(offset)
        each = (self.emit(f"extractelement <{vector.width} x i64> {vector.text}, i64 {k}") for k in range(vector.width))
        return [self.emit(f"getelementptr {array.type}, ptr {array.text}, i64 {at}") for at in each]

    def load(self, array: Array, offset: Value) -> Value:
        """Elements: one, a vector of neighbours, or a vector gathered one by one."""
        type, width, align = array.type, offset.width, SIZES[array.type]
        if width == 1 or (offset.type == "lane" and offset.text[1] == 1):
            at = self.place(array, offset)
            if width > 1 and self.mask:
                return load_lanes(self, type, width, at)
            return Value(type, width, self.emit(f"load {typed(type, width)}, ptr {at}, align {align}"))
        vector = "poison"
        for k, at in enumerate(self.lane_places(array, offset)):
            one = self.emit(f"load {type}, ptr {at}, align {align}")
            vector = self.emit(f"insertelement <{width} x {type}> {vector}, {type} {one}, i64 {k}")
        return Value(type, width, vector)

    def store(self, target: ast.Subscript, value: Value) -> None:
        """Write elements: one, neighbours, or one by one."""
        array, offset = self.located(self.value(target.value), self.indices(target))
        type, width, align = array.type, offset.width, SIZES[array.type]
        if value.width > width:
            raise SubsetError(f"{self.tree.name}: {ast.unparse(target)!r} is one element for the values of many lanes")
        text = self.converted(value, type, width)
        if width == 1 or (offset.type == "lane" and offset.text[1] == 1):
            at = self.place(array, offset)
            if width > 1 and self.mask:
                self.store_masked(type, width, text, at, self.mask)
                return
            self.lines.append(f"  store {typed(type, width)} {text}, ptr {at}, align {align}")
            return
        for k, at in enumerate(self.lane_places(array, offset)):
            one = self.emit(f"extractelement <{width} x {type}> {text}, i64 {k}")
            self.lines.append(f"  store {type} {one}, ptr {at}, align {align}")

    # ---- calls

    def call(self, e: ast.Call) -> Any:
        """A call: of a primitive, of a function of the subset, or of any other compiled function."""
        if not isinstance(e.func, ast.Name):
            raise SubsetError(f"{self.tree.name}, line {e.lineno}: {ast.unparse(e)!r}")
        name = e.func.id
        target = self.globals.get(name)
        if (inner := own_text(target)) is not None:
            return self.call_own(inner, [self.value(a) for a in e.args])
        if isinstance(target, External):
            return self.call_external(target.symbol, [self.value(a) for a in e.args[:-1]])
        if hasattr(target, "py_func"):
            given = [self.value(a) for a in e.args]
            return self.call_foreign(target, [a if isinstance(a, Array) else self.settled(a) for a in given])
        if name == "rarely":
            return self.rarely(e)
        if name == "float" and isinstance(e.args[0], ast.Constant):
            return number(float(str(e.args[0].value)))
        primitive = getattr(target, "__name__", name)
        return self.primitive(primitive, [self.value(a) for a in e.args])

    def primitive(self, name: str, args: list[Any]) -> Any:
        """A call of a primitive."""
        if name in INTRINSICS or name == "fmod":
            return self.of_floats(name, args)
        if name == "horner":
            return self.polynomial(args[0], args[1])
        if name == "view":
            return viewed(self, args[0], args[1], args[2] if isinstance(args[2], list) else [args[2]])
        if name == "fold":
            return folded(self, args[0])
        if name == "integers":
            return self.array(args[0], "i64", None)
        if name in ("zeros", "empty", "full"):
            return self.array(args[0], args[-1].type, {"zeros": number(0.0), "empty": None, "full": args[1]}[name])
        if name in ("min", "max", "at_most", "at_least"):
            return self.bounded(name, *args)
        if name == "bits" or name.startswith("from_bits"):
            x = self.settled(args[0])
            kind = CONVERSIONS.get(name) or ("i64" if x.type == "double" else "i32")
            if SIZES[kind] != SIZES[x.type]:
                raise SubsetError(f"{self.tree.name}: {name} of {8 * SIZES[x.type]} bits; functions of float32 are in "
                                  "gradcompile.vmath.single")  # fmt: skip
            text = f"bitcast {typed(x.type, x.width)} {x.text} to {typed(kind, x.width)}"
            return Value(kind, x.width, self.emit(text))
        if name in CONVERSIONS:
            return Value(CONVERSIONS[name], args[0].width, self.converted(args[0], CONVERSIONS[name], args[0].width))
        if name == "remainder":
            return self.remainder(*args)
        if name == "to_int":
            return self.integral(self.settled(args[0]))
        raise SubsetError(f"{self.tree.name}: a call of {name!r}")

    def of_floats(self, name: str, args: Sequence[Value]) -> Value:
        """An operation that LLVM knows by name, on floats of one type."""
        given, type, width = self.unified(*args)
        if type not in FLOATS:
            given, type = [Value(self.real, width, self.converted(a, self.real, width)) for a in given], self.real
        whole = typed(type, width)
        if name == "fmod":
            return Value(type, width, self.emit(f"frem {whole} {given[0].text}, {given[1].text}"))
        full = self.unit.intrinsic(name, type, width, len(given))
        listed = ", ".join(f"{whole} {a.text}" for a in given)
        return Value(type, width, self.emit(f"call {whole} @{full}({listed})"))

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """A polynomial by Horner's rule; the constant term stands first."""
        found, *rest = map(number, reversed(coefficients))
        for c in rest:
            found = self.of_floats("fma", (found, x, c))
        return found

    def bounded(self, name: str, x: Value, y: Value) -> Value:
        """min and max of Python, and at_most and at_least, in which a NaN x stays."""
        if name in ("at_most", "at_least"):
            return self.select(self.compare(ast.Gt if name == "at_most" else ast.Lt, x, y), y, x)
        found = self.select(self.compare(ast.LtE if name == "min" else ast.GtE, x, y), x, y)
        if name == "min" and x.type == "literal":
            self.most[found.text] = x.text
        return found

    def remainder(self, x: Value, y: Value) -> Value:
        """The remainder of integers with the sign of the divisor; processors trap where that is 0 or, of one k, -1."""
        (x, y), _, _ = self.unified(x, y)
        zero, (safe, _, left) = number(0), self.divided(x, y)
        crossed = self.compare(ast.Lt, self.binary(ast.BitXor, left, safe), zero)
        moved = self.select(crossed, self.binary(ast.Add, left, safe), left)
        return self.select(self.compare(ast.Eq, left, zero), zero, moved)

    def floored(self, op: type[ast.operator], x: Value, y: Value, known: int) -> Value:
        """x // y or x % y of integers, rounded down as in Python; known: the divisor if the text has it, else 0."""
        if known > 0 and known & (known - 1) == 0:  # a power of two
            of_bits = (ast.BitAnd, known - 1) if op is ast.Mod else (ast.RShift, known.bit_length() - 1)
            return self.binary(of_bits[0], x, number(of_bits[1]))
        return self.remainder(x, y) if op is ast.Mod else self.quotient(x, y)

    def quotient(self, x: Value, y: Value) -> Value:
        """The quotient of integers, rounded down; 0 for a divisor of 0, -x for -1, where processors may trap."""
        safe, traps, left = self.divided(x, y)
        whole = Value(x.type, x.width, self.emit(f"sdiv {typed(x.type, x.width)} {x.text}, {safe.text}"))
        crossed = self.compare(ast.Lt, self.binary(ast.BitXor, left, safe), number(0))
        crossed = self.binary(ast.BitAnd, crossed, self.compare(ast.NotEq, left, number(0)))
        found = self.select(crossed, self.binary(ast.Sub, whole, number(1)), whole)
        return self.select(traps, self.binary(ast.Mult, x, y), found)

    def divided(self, x: Value, y: Value) -> tuple[Value, Value, Value]:
        """A divisor that no processor traps at, whether it had to be 1 instead of y, and the remainder by it."""
        zero, one = number(0), number(1)
        traps = self.compare(ast.Eq, self.binary(ast.Mult, y, self.binary(ast.Add, y, one)), zero)  # of 0 and -1 alone
        safe = self.select(traps, one, y)
        left = self.emit(f"srem {typed(x.type, x.width)} {x.text}, {safe.text}")
        return safe, traps, Value(x.type, x.width, left)

    def integral(self, x: Value) -> Value:
        """A float's integral part as an integer, saturated."""
        kind, dims = "i64" if x.type == "double" else "i32", f"v{x.width}" if x.width > 1 else ""
        whole, own = typed(kind, x.width), typed(x.type, x.width)
        name = f"llvm.fptosi.sat.{dims}{kind}.{dims}{SHORT[x.type]}"
        self.unit.declare(name, f"{whole} @{name}({own})")
        return Value(kind, x.width, self.emit(f"call {whole} @{name}({own} {x.text})"))

    def array(self, shape: Any, type: str, value: Value | None) -> Array:
        """A local array, filled with a number unless there is none."""
        lengths = tuple(shape if isinstance(shape, list) else (shape,))
        made = Array(type, self.memory(type, lengths), lengths, self.row_major(lengths))
        if value is not None:
            fill(self, made, value)
        return made

    def memory(self, type: str, lengths: Sequence[Value]) -> str:
        """Memory for an array, for as long as the function runs; where a length is not known before, from the heap."""
        count = product_of(self, lengths)
        if count.type == "literal":
            return self.local(type, count.text, self.fresh())
        if self.depth:
            raise SubsetError(f"{self.tree.name}: memory in a loop, of a size that is not known before")
        pointer = self.fresh()
        self.take(self.lines, self.bytes_of(type, lengths), pointer)
        return pointer

    def bytes_of(self, type: str, lengths: Sequence[Value]) -> str:
        """The bytes of an array, more than there are in the world where 64 bits do not hold their number."""
        size = self.converted(product_of(self, [*lengths, number(SIZES[type])]), "i64", 1)
        about = product_of(self, [Value("double", 1, self.converted(v, "double", 1)) for v in lengths])
        fits = self.emit(f"fcmp ole double {about.text}, {operand(TOO_MUCH / SIZES[type], 'double', 1)}")
        return self.emit(f"select i1 {fits}, i64 {size}, i64 {TOO_MUCH}")

    def take(self, lines: list[str], size: str, name: str) -> None:
        """Write the lines that take so many bytes from the heap, from where a vector register fits on."""
        lines += take_lines(self.unit, size, name, "failed")
        block, is_early = f"{name}.taken", lines is self.early
        self.freed.append(block)
        self.may_fail(is_early)
        if self.many and not is_early:  # a piece keeps the address in the frame, for the caller of all
            self.home[block] = len(self.pieces) - 1
            slot = self.slot(Value("ptr", 1, block))
            self.handed.append(f"  {name}.at = getelementptr i64, ptr %frame, i64 {slot}")
            self.handed.append(f"  store ptr null, ptr {name}.at")
        else:
            self.entry += [f"  {block}.kept = alloca ptr", f"  store ptr null, ptr {block}.kept"]
            lines.append(f"  store ptr {block}, ptr {block}.kept")
        if not is_early:
            self.block = room(name)

    def may_fail(self, early: bool = False) -> None:
        """Note that there may be no memory for what this function does."""
        self.made.fails = True
        self.pieces[-1].fails |= not early

    def go_on(self) -> None:
        """End the function if what it has called has found no memory."""
        self.may_fail()
        self.count += 1
        after = self.label("on")
        self.lines += unless_failed(f"%ended{self.count}", after)
        self.block = after

    def local(self, type: str, count: int, name: str) -> str:
        """Memory for as long as the function runs: on the stack, or from the heap where that is too much."""
        size = count * SIZES[type]
        if size <= STACK:
            self.entry.append(f"  {name} = alloca [{max(count, 1)} x {type}], align 64")
        else:
            self.take(self.early, str(min(size, TOO_MUCH)), name)
        return self.handed_on(name) if self.many else name

    def handed_on(self, pointer: str) -> str:
        """The pointer of a local array in the piece that asks for it: the caller of all pieces puts it in the frame."""
        self.slots[pointer] = slot = len(self.slots)
        place = self.fresh()
        self.handed += [f"  {place} = getelementptr i64, ptr %frame, i64 {slot}", f"  store ptr {pointer}, ptr {place}"]
        found = self.emit(f"load ptr, ptr {self.emit(f'getelementptr i64, ptr %frame, i64 {slot}')}")
        self.slots[found], self.home[found] = slot, len(self.pieces) - 1
        return found

    def call_own(self, target: Callable[..., Any], args: Sequence[Any]) -> Any:
        """A call of a function of the subset, which is made for these kinds of arguments."""
        is_scalar = not any(isinstance(a, Array) for a in args)
        integer = "i32" if self.real == "float" and is_scalar else "i64"  # what `bits` gives beside the other arguments
        forget = is_long(target)
        if self.unit.library is not None and is_ours(target):
            args = [self.general(a) if isinstance(a, Array) else a for a in args]
        given = [self.unmeasured(a, forget) if isinstance(a, Array) else self.settled(a, integer) for a in args]
        kinds = tuple(a.kind if isinstance(a, Array) else (a.type, a.width) for a in given)
        made = self.unit.function(target, kinds)
        made.calls += 1
        passed: list[str] = []
        for a in given:
            if isinstance(a, Value):
                passed.append(f"{typed(a.type, a.width)} {a.text}")
                continue
            passed.append(f"ptr {a.text}")
            passed += [f"i64 {v.text}" for v in a.shape if v.type != "literal"]
            passed += [] if a.dense else [f"i64 {v.text}" for v in a.strides if v.type != "literal"]
        passed += ["ptr %status"] if made.fails else []
        result = "void" if made.result == "void" else typed(made.result, made.width)
        call = f"call {result} @{made.name}({', '.join(passed)})"
        found = None
        if made.result == "void":
            self.lines.append(f"  {call}")
        else:
            found = Value(made.result, made.width, self.emit(call))
        if made.fails:
            self.go_on()
        return found

    def general(self, array: Array) -> Array:
        """An array of lengths and strides that are not known before, as the package's functions in memory take it."""
        shape = tuple(Value("i64", 1, self.converted(v, "i64", 1)) for v in array.shape)
        if array.dense:
            return array._replace(shape=shape)
        strides = tuple(Value("i64", 1, self.converted(v, "i64", 1)) for v in array.strides)
        return array._replace(shape=shape, strides=strides)

    def unmeasured(self, array: Array, forget: bool) -> Array:
        """An array with a first length that is not known before, if it is to be forgotten: strides don't need it."""
        if not (forget and array.dense):
            return array
        return array._replace(shape=(Value("i64", 1, self.converted(array.shape[0], "i64", 1)), *array.shape[1:]))

    def call_foreign(self, target: Any, args: Sequence[Value | Array]) -> Value | None:
        """A call of a function that Numba compiles itself, lane by lane; one that fills arrays gives nothing.

        A float comes back in the type of the module, as special functions of SciPy are of doubles only.
        """
        kinds = tuple(foreign_kind(a) for a in args)
        result = foreign_result(target, kinds)
        name = f"{self.unit.mark}.foreign.{id(target)}.{'.'.join(map(foreign_mark, kinds))}"
        self.unit.foreign[name] = target, kinds, result
        passed = [part for a in args for part in self.parts(a)]
        passed += [Value("ptr", 1, "%status")] if result == "void" else []
        self.unit.declare(name, f"{result} @{name}({', '.join(a.type for a in passed)})")
        if result in FLOATS:  # of single precision SciPy's functions give doubles
            found = self.by_lane(result, name, passed)
            return Value(self.real, found.width, self.converted(found, self.real, found.width))
        if result != "void":
            found = self.by_lane(result, name, passed)
            if found.type not in FLOATS or found.type == self.real:
                return found
            return Value(self.real, found.width, self.converted(found, self.real, found.width))
        self.lines.append(f"  call void @{name}({', '.join(f'{a.type} {a.text}' for a in passed)})")
        self.go_on()
        return None

    def call_external(self, symbol: str, args: Sequence[Value]) -> Value:
        """A call of a function from outside, lane by lane, in double precision."""
        passed = [Value("double", a.width, self.converted(a, "double", a.width)) for a in args]
        self.unit.declare(symbol, f"double @{symbol}({', '.join(['double'] * len(args))}, i32)")
        found = self.by_lane("double", symbol, [*passed, Value("i32", 1, "0")])
        return Value(self.real, found.width, self.converted(found, self.real, found.width))

    def parts(self, a: Value | Array) -> list[Value]:
        """An argument as a function outside takes it: of an array pointer, lengths, and strides unless contiguous."""
        if isinstance(a, Value):
            return [a]
        numbers = [*a.shape, *(() if a.dense else a.strides)]
        return [Value("ptr", 1, a.text), *(Value("i64", 1, self.converted(v, "i64", 1)) for v in numbers)]

    def by_lane(self, result: str, name: str, args: Sequence[Value]) -> Value:
        """A call of a function of scalars, for each lane."""
        width = max((a.width for a in args), default=1)
        vector = "poison"
        for k in range(width):
            each = (a.text if a.width == 1 else self.extracted(a, k) for a in args)
            given = ", ".join(f"{a.type} {x}" for a, x in zip(args, each, strict=True))
            one = self.emit(f"call {result} @{name}({given})")
            if width == 1:
                return Value(result, 1, one)
            vector = self.emit(f"insertelement <{width} x {result}> {vector}, {result} {one}, i64 {k}")
        return Value(result, width, vector)

    def extracted(self, v: Value, lane: int) -> str:
        """One lane of a vector."""
        return self.emit(f"extractelement {typed(v.type, v.width)} {v.text}, i64 {lane}")

    def rarely(self, e: ast.Call) -> Value:
        """rarely(slow, condition, fast, x, ...): slow(x, ...) where the condition holds, which few values fulfil."""
        assert isinstance(e.args[0], ast.Name)
        slow = own_text(self.globals[e.args[0].id])
        assert slow is not None
        condition, fast, *args = (self.settled(self.value(a)) for a in e.args[1:])
        some = condition.text
        if condition.width > 1:
            whole = typed("i1", condition.width)
            name = f"llvm.vector.reduce.or.v{condition.width}i1"
            self.unit.declare(name, f"i1 @{name}({whole})")
            some = self.emit(f"call i1 @{name}({whole} {condition.text})")
        made = self.unit.function(slow, tuple((a.type, 1) for a in args))
        made.calls += FEW_CALLS + 1
        taken, after, before = self.label("rare"), self.label("usual"), self.block
        self.lines.append(f"  br i1 {some}, label %{taken}, label %{after}")
        self.start(taken)
        other = self.select(condition, self.by_lane(made.result, made.name, args), fast)
        end = self.block
        self.jump(after)
        self.start(after)
        whole = typed(fast.type, fast.width)
        joined = self.emit(f"phi {whole} [{fast.text}, %{before}], [{other.text}, %{end}]")
        return Value(fast.type, fast.width, joined)


def failing(frees: Sequence[str], end: str) -> list[str]:
    """Where a function ends that finds no memory: at `lacking`, if nothing is to be given back."""
    return ["failed:", *frees, "  br label %lacking", "lacking:", "  store i8 1, ptr %status", end]


def unless_failed(name: str, after: str) -> list[str]:
    """The lines that go on in a block of that name, unless what was called has found no memory."""
    ended = [f"  {name} = load i8, ptr %status", f"  {name}.bad = icmp ne i8 {name}, 0"]
    return [*ended, f"  br i1 {name}.bad, label %failed, label %{after}", f"{after}:"]


def is_ours(target: Callable[..., Any]) -> bool:
    """Whether a function is one that generated code finds in the package."""
    return target.__module__.startswith("gradcompile.library.")


def parameter_types(kind: Kind) -> list[str]:
    """The types of the parameters that an argument of this kind becomes."""
    if len(kind) == 2:
        return [typed(*kind)]
    _, shape, strides = kind
    return ["ptr", *["i64"] * (shape.count(None) + (0 if strides is True else strides.count(None)))]


def is_long(target: Callable[..., Any]) -> bool:
    """Whether a function is too long to be made once more for arrays of other lengths."""
    tree = syntax(target)
    return (tree.end_lineno or 0) - tree.lineno > LONG_TEXT


def operands(found: Value | Array) -> list[str]:
    """The operands of the IR that a value is, or that an array consists of."""
    if isinstance(found, Value):
        return [] if found.type == "literal" else [found.text]
    return [found.text, *(v.text for v in (*found.shape, *found.strides) if v.type != "literal")]


def brackets(e: ast.Subscript) -> list[ast.expr]:
    """What stands in the brackets."""
    return e.slice.elts if isinstance(e.slice, ast.Tuple) else [e.slice]


def has_slice(e: ast.Subscript) -> bool:
    """Whether a subscript is a part of an array, with a slice in it."""
    return any(isinstance(i, ast.Slice) for i in brackets(e))


def conversion(own: str, type: str) -> str:
    """The instruction that makes one type of another."""
    if own in FLOATS and type not in FLOATS:
        raise SubsetError("a float where an integer is needed; write to_int(x)")
    if type in FLOATS:
        return ("fpext" if type == "double" else "fptrunc") if own in FLOATS else "uitofp" if own == "i1" else "sitofp"
    return "zext" if own == "i1" else "sext" if SIZES[type] > SIZES[own] else "trunc"


def fits(value: Value, type: str) -> bool:
    """Whether no value of this type is changed when it becomes one of another type; integers count as small."""
    if value.type == "literal":
        return type in FLOATS or not isinstance(value.text, float)
    own = "i64" if value.type == "lane" else value.type
    if own == type or type == "double":
        return True
    return own not in FLOATS and (type in FLOATS or SIZES[own] < SIZES[type])


def foreign_kind(a: Value | Array) -> Kind:
    """The kind of an argument of a function outside, which does not know of lengths or lanes."""
    return (a.type, (None,) * len(a.shape), a.dense) if isinstance(a, Array) else (a.type, 1)


def foreign_mark(kind: Kind) -> str:
    """A kind of argument as a part of a name: double, or double2C for a contiguous matrix."""
    return str(kind[0]) if len(kind) == 2 else f"{kind[0]}{len(kind[1])}{'C' if kind[2] else 'A'}"
