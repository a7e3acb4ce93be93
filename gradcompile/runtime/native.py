"""Generated source to machine code: functions in a small subset of Python, lowered from their own text to LLVM IR.

Numba's front end takes time that grows faster than a function's length; LLVM does not. So the text of a generated
function is parsed and lowered here, and Numba is handed the result inside an intrinsic: dispatch, disk cache and calls
from other compiled functions stay Numba's.

The subset. Values are floats, integers, truth values, and arrays of floats by element. Statements: assignments to
names and elements, also augmented, calls, one `return` at the end, and loops. `for i in range(...)` and `while` run in order.
`for i in lanes(start, stop)` promises that its iterations do not depend on each other, but for sums in `s[i % LANES]`:
it becomes vector code for LANES iterations at a time (each name a vector) and scalar code for the rest. Expressions:
arithmetic, comparisons, `& | ^ << >>`, `a if c else b` (both sides are computed), `x.shape[k]`, module constants and
tuples of them, functions of the subset, and the primitives. Literals take the dtype of what they meet. Any other
compiled function may be called with scalars; in a vector loop it is called lane by lane.

Nothing is reassociated or contracted, so the same text gives the same bits in vectors, in scalars and in Python.
"""

import ast
import hashlib
import linecache
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from gradcompile.collector import collector_paused

PIECE = 2_000  # statements of a straight function that stay together in one function of machine code
STACK = 1 << 14  # bytes of a local array that still lives on the stack
FEW_CALLS = 24  # calls of a function up to which each gets a copy of its code

SIZES = {"double": 8, "float": 4, "i64": 8, "i32": 4, "i1": 1}
SHORT = {"double": "f64", "float": "f32", "i64": "i64", "i32": "i32", "i1": "i1"}
PACKED = {"double": "<d", "float": "<f"}
FLOATS = ("double", "float")
ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("fadd", "add"), ast.Sub: ("fsub", "sub"), ast.Mult: ("fmul", "mul"), ast.Div: ("fdiv", ""),
    ast.Mod: ("", "srem"), ast.FloorDiv: ("", "sdiv"), ast.BitAnd: ("", "and"), ast.BitOr: ("", "or"),
    ast.BitXor: ("", "xor"), ast.LShift: ("", "shl"), ast.RShift: ("", "ashr"),
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
ATTRIBUTES = 'nounwind "prefer-vector-width"="512"'

Kind = tuple[Any, ...]  # of an argument: ("double", 1) for a value, (type, shape, contiguous) for an array


class SubsetError(NotImplementedError):
    """A text that is not of the subset: generated code never raises this, a hand-written function may."""


class Value(NamedTuple):
    """A value: its LLVM type, how many lanes it has (1: a scalar), and its operand in the IR.

    The type of a number of the text is "literal", its operand the number. The type of a loop's index over lanes is
    "lane", its operand the index in the first lane, an i64, and what it grows by from lane to lane.
    """

    type: str
    width: int
    text: Any


class Array(NamedTuple):
    """An array: element type, pointer (`text`), and for each axis its length and its stride in elements."""

    type: str
    text: str
    shape: tuple[Value, ...]
    strides: tuple[Value, ...]

    @property
    def kind(self) -> Kind:
        """What a function that takes it is made for: lengths that are known, and whether strides follow from them."""
        shape = tuple(v.text if v.type == "literal" else None for v in self.shape)
        return self.type, shape, self.strides[-1].type == "literal"


def number(value: float) -> Value:
    """A number of the text."""
    return Value("literal", 1, value)


def typed(type: str, width: int) -> str:
    """The LLVM type of a value."""
    return f"<{width} x {type}>" if width > 1 else type


@lru_cache(maxsize=4096)
def constant(value: Any, type: str, width: int) -> str:
    """The operand of a number; floats in hexadecimal, so that no digit is lost. The sign of zero counts."""
    if type in FLOATS:
        value = float(value)
        if type == "float" and math.isfinite(value):
            (value,) = struct.unpack("<f", struct.pack("<f", value))
        text = f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    else:
        text = str(int(value))
    return f"<{', '.join([f'{type} {text}'] * width)}>" if width > 1 else text


def operand(value: Any, type: str, width: int) -> str:
    """As `constant`; 0.0 and -0.0 are equal keys, so they go around its memory."""
    return constant(value, type, width) if value != 0 else constant.__wrapped__(value, type, width)


@dataclass(slots=True)
class Lowered:
    """A function of the IR: its name, what it returns, its parameters, its text, and how often it is called."""

    name: str
    result: str = "void"
    width: int = 1
    parameters: str = ""
    body: str = ""
    calls: int = 0


@dataclass(slots=True)
class Piece:
    """A part of a function's code: the lines, and the stores of what later parts read, by the operand they store.

    Each is written where its operand is made: many at the end would keep LLVM's scheduler busy in quadratic time.
    """

    lines: list[str] = field(default_factory=list)
    exports: dict[str, list[str]] = field(default_factory=dict)

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
    functions: dict[tuple[int, tuple[Kind, ...]], Lowered] = field(default_factory=dict)
    declared: dict[str, str] = field(default_factory=dict)
    tables: dict[int, tuple[Array, str, Any]] = field(default_factory=dict)
    foreign: dict[str, tuple[Any, tuple[str, ...], str]] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)

    def function(self, target: Callable[..., Any], kinds: tuple[Kind, ...]) -> Lowered:
        """The function of the IR for one of the subset and these kinds of arguments, made when first asked for."""
        key = id(target), kinds
        if key not in self.functions:
            made = self.functions[key] = Lowered(f"{self.mark}.{len(self.functions)}.{target.__name__}")
            Writer(self, target, made).run(kinds)
        return self.functions[key]

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

    def table(self, values: tuple[Any, ...]) -> Array:
        """A tuple of numbers of the module as an array; it is kept, so its address stays its own."""
        if id(values) not in self.tables:
            type = "double" if any(isinstance(v, float) for v in values) else "i64"
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
            inline = "noinline" if f.calls > FEW_CALLS else "alwaysinline"
            result = "void" if f.result == "void" else typed(f.result, f.width)
            parts.append(f"define {seen} {result} @{f.name}({f.parameters}) {inline} {ATTRIBUTES} {{\n{f.body}\n}}")
        return "\n".join(parts)


class Writer:
    """Writes one function of the subset as IR."""

    def __init__(self, unit: Unit, target: Callable[..., Any], made: Lowered) -> None:
        self.unit, self.made, self.globals = unit, made, target.__globals__
        self.tree = syntax(target)
        self.names: dict[str, Value | Array] = {}
        self.variables: dict[str, Value] = {}  # names that a loop in order assigns again: their place in memory
        self.home: dict[str, int] = {}  # the piece that an operand is defined in
        self.slots: dict[str, int] = {}  # operands that cross pieces: their place in the frame
        self.pieces = [Piece()]
        self.lines = self.pieces[0].lines
        self.entry: list[str] = []
        self.freed: list[str] = []
        self.handed: list[str] = []  # the frame's slots with the places of local arrays
        self.count = 0
        self.block = "start"
        self.real = "double"
        self.many = False  # whether the code is cut into pieces

    # ---- the whole function

    def run(self, kinds: tuple[Kind, ...]) -> None:
        """Lower the function for these kinds of arguments."""
        arguments = [a.arg for a in self.tree.args.args]
        if len(arguments) != len(kinds):
            raise SubsetError(f"{self.tree.name} takes {len(arguments)} arguments, got {len(kinds)}")
        self.made.parameters = ", ".join(p for a, k in zip(arguments, kinds, strict=True) for p in self.bind(a, k, f"%a{len(self.names)}"))
        self.real = next((k[0] for k in kinds if k[0] in FLOATS), "double")
        body = [s for s in self.tree.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        result = None
        if body and isinstance(body[-1], ast.Return):
            result = body.pop().value
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
        type, shape, contiguous = kind
        given = [f"ptr {text}"]
        lengths: list[Value] = []
        for k, length in enumerate(shape):
            given += [] if length is not None else [f"i64 {text}.{k}"]
            lengths.append(Value("i64", 1, f"{text}.{k}") if length is None else number(length))
        if contiguous:
            strides = self.row_major(lengths)
        else:
            strides = tuple(Value("i64", 1, f"{text}.s{k}") for k in range(len(shape)))
            given += [f"i64 {s.text}" for s in strides]
        self.names[name] = Array(type, text, tuple(lengths), strides)
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
        if not self.many:
            frees = [f"  call void @free(ptr {p})" for p in self.freed]
            lines = ["entry:", *self.entry, "  br label %start", "start:", *self.lines, *frees, final]
            self.made.body = "\n".join(lines)
            return
        if result is not None:
            self.slots["returned"] = slot = len(self.slots)
            self.lines += self.store_slot(result, slot)
        parameters = f"{self.made.parameters}, ptr %frame".removeprefix(", ")
        calls = []
        for k, piece in enumerate(self.pieces):
            name = f"@{self.made.name}.piece.{k}"
            head = f"define internal void {name}({parameters}) noinline {ATTRIBUTES} {{\nstart:"
            self.unit.pieces.append("\n".join([head, *piece.complete(), "  ret void", "}"]))
            calls.append(f"  call void {name}({parameters})")
        self.local("i64", len(self.slots), "%frame")
        frees = [f"  call void @free(ptr {p})" for p in self.freed]
        tail = []
        if result is not None:
            final = f"  ret {result.type} %r"
            tail = [f"  %p = getelementptr i64, ptr %frame, i64 {slot}", f"  %r = load {result.type}, ptr %p"]
        self.made.body = "\n".join(["entry:", *self.entry, *self.handed, *calls, *tail, *frees, final])

    def next_piece(self) -> None:
        """Go on in a new function, which shares a frame of memory with those before."""
        self.pieces.append(Piece())
        self.lines, self.block = self.pieces[-1].lines, "start"

    def store_slot(self, value: Value | Array, slot: int) -> list[str]:
        """The lines that write a value, or where an array is, to the frame."""
        self.count += 1
        place, type = f"%f{self.count}", value.type if isinstance(value, Value) else "ptr"
        return [f"  {place} = getelementptr i64, ptr %frame, i64 {slot}", f"  store {type} {value.text}, ptr {place}"]

    def fetched(self, name: str, value: Value | Array) -> Value | Array:
        """A value of an earlier piece, read from the frame."""
        if value.text not in self.slots:
            self.slots[value.text] = len(self.slots)
            self.pieces[self.home[value.text]].exports[value.text] = self.store_slot(value, self.slots[value.text])
        slot = self.slots[value.text]
        place = self.emit(f"getelementptr i64, ptr %frame, i64 {slot}")
        found = value._replace(text=self.emit(f"load {value.type if isinstance(value, Value) else 'ptr'}, ptr {place}"))
        self.slots[found.text], self.home[found.text] = slot, len(self.pieces) - 1
        self.names[name] = found
        return found

    # ---- statements

    def statement(self, s: ast.stmt) -> None:
        """Write one statement."""
        match s:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.assign(name, self.value(value))
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
                    self.loop(name, bounds[0], bounds[1], bounds[2] if len(bounds) > 2 else number(1), body)
            case ast.While(test=test, body=body):
                self.while_loop(test, body)
            case ast.Expr(value=ast.Call() as call):
                self.call(call)
            case _:
                raise SubsetError(f"{self.tree.name}, line {s.lineno}: {ast.unparse(s).splitlines()[0]!r}")

    def assign(self, name: str, value: Any) -> None:
        """Give a name a value."""
        if name in self.variables:
            value = self.settled(value)
            if not self.variables[name].text:
                self.variables[name] = Value(value.type, 1, f"%{name}.place")
                self.entry.append(f"  %{name}.place = alloca {value.type}")
            self.lines.append(f"  store {value.type} {value.text}, ptr {self.variables[name].text}")
            return
        self.names[name] = value
        if self.many and value.type != "literal":
            self.home.setdefault(value.text, len(self.pieces) - 1)

    def loop(self, name: str, start: Value, stop: Value, step: Value, body: list[ast.stmt], width: int = 1) -> None:
        """A loop in order, over indices or over the first of as many lanes."""
        first, last, by = (self.converted(v, "i64", 1) for v in (start, stop, step))
        head, inside, after = self.label("head"), self.label("body"), self.label("after")
        before = self.block
        self.jump(head)
        index = self.fresh()
        self.start(head)
        place = len(self.lines)
        self.lines += ["", f"  {index}.go = icmp slt i64 {index}, {last}"]
        self.lines.append(f"  br i1 {index}.go, label %{inside}, label %{after}")
        self.start(inside)
        self.names[name] = Value("i64", 1, index) if width == 1 else Value("lane", width, (index, 1))
        for s in body:
            self.statement(s)
        self.lines.append(f"  {index}.next = add nsw i64 {index}, {by}")
        self.lines[place] = f"  {index} = phi i64 [{first}, %{before}], [{index}.next, %{self.block}]"
        self.jump(head)
        self.start(after)

    def while_loop(self, test: ast.expr, body: list[ast.stmt]) -> None:
        """A loop as long as a condition holds."""
        head, inside, after = self.label("head"), self.label("body"), self.label("after")
        self.jump(head)
        self.start(head)
        self.lines.append(f"  br i1 {self.value(test).text}, label %{inside}, label %{after}")
        self.start(inside)
        for s in body:
            self.statement(s)
        self.jump(head)
        self.start(after)

    def lanes(self, name: str, start: Value, stop: Value, body: list[ast.stmt]) -> None:
        """A loop over lanes: vectors as long as they are full, then scalars."""
        width = int(self.globals["LANES"])
        count = self.binary(ast.Sub, stop, start)
        full = self.binary(ast.BitAnd, count, number(-width))
        middle = self.binary(ast.Add, start, full)
        kept = dict(self.names)
        if not (full.type == "literal" and full.text == 0):
            self.loop(name, start, middle, number(width), body, width)
        if not (count.type == "literal" and count.text % width == 0):
            self.names = dict(kept)
            self.loop(name, middle, stop, number(1), body)
        self.names = kept

    # ---- expressions

    def value(self, e: ast.expr) -> Any:
        """The value of an expression."""
        match e:
            case ast.Name(id=name):
                return self.name(name)
            case ast.Constant(value=value):
                return number(value) if not isinstance(value, bool) else Value("i1", 1, str(value).lower())
            case ast.BinOp(left=left, op=op, right=right):
                return self.binary(type(op), self.value(left), self.value(right))
            case ast.Call():
                return self.call(e)
            case ast.Subscript():
                return self.subscript(e)
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
        if self.many and found.type != "literal" and self.home.get(found.text, here) != here:
            return self.fetched(name, found)
        return found

    def binary(self, op: type[ast.operator], x: Value, y: Value) -> Value:
        """An operation of two values."""
        if x.type == "literal" and y.type == "literal":
            if op in FOLDED:
                return number(FOLDED[op](x.text, y.text))
            x = Value(self.real, 1, operand(x.text, self.real, 1))
        if (x.type == "lane" or y.type == "lane") and (moved := self.of_lane(op, x, y)) is not None:
            return moved
        (x, y), type, width = self.unified(x, y)
        if op is ast.Div and type not in FLOATS:
            x, y = (Value(self.real, width, self.converted(v, self.real, width)) for v in (x, y))
            type = self.real
        name = ARITHMETIC[op][type not in FLOATS]
        return Value(type, width, self.emit(f"{name} {typed(type, width)} {x.text}, {y.text}"))

    def of_lane(self, op: type[ast.operator], x: Value, y: Value) -> Value | None:
        """Arithmetic of a lane's index that leaves it one: i + k, k + i, i - k, i*3, i % 8; None for any other."""
        if y.type == "lane" and op in (ast.Add, ast.Mult):
            x, y = y, x
        if x.type != "lane" or y.width > 1 or y.type in FLOATS or isinstance(y.text, float):
            return None
        base, step = x.text
        if op in (ast.Add, ast.Sub, ast.Mod) or (op is ast.Mult and y.type == "literal"):
            moved = self.binary(op, Value("i64", 1, base), y)
            return Value("lane", x.width, (moved.text, step * y.text if op is ast.Mult else step))
        return None

    def unified(self, *values: Value) -> tuple[list[Value], str, int]:
        """The values with one type and one width."""
        width = max(v.width for v in values)
        types = {"i64" if v.type == "lane" else v.type for v in values} - {"literal"}
        if not types:
            types = {"double" if any(isinstance(v.text, float) for v in values) else "i64"}
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
            how = {(True, True): "fpext" if type == "double" else "fptrunc", (False, True): "sitofp",
                   (False, False): "sext" if SIZES[type] > SIZES[own] else "trunc"}[own in FLOATS, type in FLOATS]  # fmt: skip
            text = self.emit(f"{how} {typed(own, v.width)} {text} to {typed(type, v.width)}")
        if v.width == width:
            return str(text)
        one = self.emit(f"insertelement <{width} x {type}> poison, {type} {text}, i64 0")
        mask = f"<{width} x i32> zeroinitializer"
        return self.emit(f"shufflevector <{width} x {type}> {one}, <{width} x {type}> poison, {mask}")

    def spread_lane(self, v: Value) -> Value:
        """The index of each lane as a vector of integers."""
        base, step = v.text
        first = self.converted(Value("i64", 1, base), "i64", v.width)
        steps = ", ".join(f"i64 {k * step}" for k in range(v.width))
        return Value("i64", v.width, self.emit(f"add <{v.width} x i64> {first}, <{steps}>"))

    def settled(self, v: Value) -> Value:
        """A value with a type of its own, also if it was a number of the text."""
        if v.type == "literal":
            type = self.real if isinstance(v.text, float) else "i64"
            return Value(type, 1, operand(v.text, type, 1))
        return self.spread_lane(v) if v.type == "lane" else v

    def unary(self, op: ast.unaryop, x: Value) -> Value:
        """-x and not x."""
        if x.type == "literal":
            return number(-x.text)
        x = self.settled(x)
        whole = typed(x.type, x.width)
        if isinstance(op, ast.USub):
            text = f"fneg {whole} {x.text}" if x.type in FLOATS else f"sub {whole} {operand(0, x.type, x.width)}, {x.text}"
        else:
            text = f"xor {whole} {x.text}, {operand(True, 'i1', x.width)}"
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
        """x.shape[k], an entry of a tuple of the module, or an element."""
        indices = [self.value(i) for i in (e.slice.elts if isinstance(e.slice, ast.Tuple) else [e.slice])]
        if isinstance(e.value, ast.Attribute):
            owner = self.value(e.value.value)
            return owner.shape[indices[0].text]
        owner = self.value(e.value)
        if not isinstance(owner, Array):
            if indices[0].type == "literal":
                return number(owner[indices[0].text])
            owner = self.unit.table(owner)
        return self.load(owner, self.offset(owner, indices))

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
            return Value(type, width, self.emit(f"load {typed(type, width)}, ptr {at}, align {align}"))
        vector = "poison"
        for k, at in enumerate(self.lane_places(array, offset)):
            one = self.emit(f"load {type}, ptr {at}, align {align}")
            vector = self.emit(f"insertelement <{width} x {type}> {vector}, {type} {one}, i64 {k}")
        return Value(type, width, vector)

    def store(self, target: ast.Subscript, value: Value) -> None:
        """Write elements: one, neighbours, or one by one."""
        array = self.value(target.value)
        indices = [self.value(i) for i in (target.slice.elts if isinstance(target.slice, ast.Tuple) else [target.slice])]
        offset = self.offset(array, indices)
        type, width, align = array.type, offset.width, SIZES[array.type]
        text = self.converted(value, type, width)
        if width == 1 or (offset.type == "lane" and offset.text[1] == 1):
            at = self.place(array, offset)
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
        if hasattr(target, "py_func"):
            return self.call_foreign(target, [self.settled(self.value(a)) for a in e.args])
        if name == "rarely":
            return self.rarely(e)
        if name == "float" and isinstance(e.args[0], ast.Constant):
            return number(float(e.args[0].value))
        primitive = getattr(target, "__name__", name)
        return self.primitive(primitive, [self.value(a) for a in e.args])

    def primitive(self, name: str, args: list[Any]) -> Any:
        """A call of a primitive."""
        if name == "fmod":
            args, type, width = self.unified(*args)
            return Value(type, width, self.emit(f"frem {typed(type, width)} {args[0].text}, {args[1].text}"))
        if name in INTRINSICS:
            args, type, width = self.unified(*args)
            if type not in FLOATS:
                args, type = [Value(self.real, width, self.converted(a, self.real, width)) for a in args], self.real
            full = self.unit.intrinsic(name, type, width, len(args))
            whole = typed(type, width)
            given = ", ".join(f"{whole} {a.text}" for a in args)
            return Value(type, width, self.emit(f"call {whole} @{full}({given})"))
        if name == "within":
            low = self.select(self.compare(ast.Gt, args[0], args[2]), args[2], args[0])
            return self.select(self.compare(ast.Lt, low, args[1]), args[1], low)
        if name in ("min", "max"):
            return self.select(self.compare(ast.LtE if name == "min" else ast.GtE, *args), *args)
        if name in ("zeros", "empty", "full"):
            return self.array(args[0], args[-1], {"zeros": number(0.0), "empty": None, "full": args[1]}[name])
        if name == "bits" or name.startswith("from_bits"):
            x = self.settled(args[0])
            type = CONVERSIONS.get(name) or ("i64" if x.type == "double" else "i32")
            return Value(type, x.width, self.emit(f"bitcast {typed(x.type, x.width)} {x.text} to {typed(type, x.width)}"))
        if name in CONVERSIONS:
            return Value(CONVERSIONS[name], args[0].width, self.converted(args[0], CONVERSIONS[name], args[0].width))
        if name == "to_int":
            x = self.settled(args[0])
            type = "i64" if x.type == "double" else "i32"
            into, own = typed(type, x.width), typed(x.type, x.width)
            dims = f"v{x.width}" if x.width > 1 else ""
            full = self.unit.declare(
                f"llvm.fptosi.sat.{dims}{type}.{dims}{SHORT[x.type]}",
                f"{into} @llvm.fptosi.sat.{dims}{type}.{dims}{SHORT[x.type]}({own})",
            )
            return Value(type, x.width, self.emit(f"call {into} @{full}({own} {x.text})"))
        raise SubsetError(f"{self.tree.name}: a call of {name!r}")

    def array(self, shape: Any, like: Array, value: Value | None) -> Array:
        """A local array, filled with a number unless there is none."""
        lengths = tuple(shape if isinstance(shape, list) else (shape,))
        count = math.prod(v.text for v in lengths)
        made = Array(like.type, self.local(like.type, count, self.fresh()), lengths, self.row_major(lengths))
        if value is not None and value.text == 0:
            clear = self.unit.declare("llvm.memset.p0.i64", "void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
            self.lines.append(f"  call void @{clear}(ptr {made.text}, i8 0, i64 {count * SIZES[like.type]}, i1 false)")
        elif value is not None:
            for k in range(count):
                self.lines.append(f"  store {like.type} {self.converted(value, like.type, 1)}, ptr {self.place(made, number(k))}")
        return made

    def local(self, type: str, count: int, name: str) -> str:
        """Memory for as long as the function runs: on the stack, or from the heap where that is too much."""
        size = count * SIZES[type]
        if size <= STACK:
            self.entry.append(f"  {name} = alloca [{max(count, 1)} x {type}], align 64")
        else:
            self.unit.declare("malloc", "ptr @malloc(i64)")
            self.unit.declare("free", "void @free(ptr)")
            self.entry.append(f"  {name} = call ptr @malloc(i64 {size})")
            self.freed.append(name)
        if self.many and name != "%frame":
            return self.handed_on(name)
        return name

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
        given = [a if isinstance(a, Array) else self.settled(a) for a in args]
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
            passed += [] if a.kind[2] else [f"i64 {self.converted(v, 'i64', 1)}" for v in a.strides]
        result = "void" if made.result == "void" else typed(made.result, made.width)
        call = f"call {result} @{made.name}({', '.join(passed)})"
        if made.result == "void":
            self.lines.append(f"  {call}")
            return None
        return Value(made.result, made.width, self.emit(call))

    def call_foreign(self, target: Any, args: Sequence[Value]) -> Value:
        """A call of a function that Numba compiles itself, lane by lane."""
        types = tuple(a.type for a in args)
        result = foreign_result(target, types)
        name = f"{self.unit.mark}.foreign.{id(target)}.{'.'.join(types)}"
        self.unit.foreign[name] = target, types, result
        self.unit.declare(name, f"{result} @{name}({', '.join(types)})")
        return self.by_lane(result, name, args)

    def by_lane(self, result: str, name: str, args: Sequence[Value]) -> Value:
        """A call of a function of scalars, for each lane."""
        width = max(a.width for a in args)
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
            full = self.unit.declare(f"llvm.vector.reduce.or.v{condition.width}i1",
                                     f"i1 @llvm.vector.reduce.or.v{condition.width}i1(<{condition.width} x i1>)")  # fmt: skip
            some = self.emit(f"call i1 @{full}(<{condition.width} x i1> {condition.text})")
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

    # ---- lines

    def fresh(self) -> str:
        """A new name for a result."""
        self.count += 1
        return f"%v{self.count}"

    def emit(self, text: str) -> str:
        """Write an instruction; the name of its result."""
        self.count += 1
        name = f"%v{self.count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def label(self, wish: str) -> str:
        """A new name for a block."""
        self.count += 1
        return f"{wish}{self.count}"

    def jump(self, label: str) -> None:
        """End the block."""
        self.lines.append(f"  br label %{label}")

    def start(self, label: str) -> None:
        """Begin a block."""
        self.lines.append(f"{label}:")
        self.block = label


def repeated(body: list[ast.stmt]) -> list[str]:
    """Names that a loop in order assigns and that live outside of it as well: they need a place in memory."""
    if not any(isinstance(s, ast.For | ast.While) for s in body):
        return []
    everywhere = list(assigned(body))
    loops = [s for b in body for s in ast.walk(b) if isinstance(s, ast.For | ast.While) and not is_lanes(s)]
    found: dict[str, None] = {}
    for loop in loops:
        inside = list(assigned(loop.body))
        found |= dict.fromkeys(n for n in inside if inside.count(n) < everywhere.count(n))
    return list(found)


def assigned(body: Sequence[ast.stmt]) -> Iterator[str]:
    """The names that statements assign, not those in loops over lanes."""
    for s in body:
        if isinstance(s, ast.Assign | ast.AugAssign):
            target = s.targets[0] if isinstance(s, ast.Assign) else s.target
            if isinstance(target, ast.Name):
                yield target.id
        elif isinstance(s, ast.For | ast.While) and not is_lanes(s):
            yield from assigned(s.body)


def is_lanes(loop: ast.For | ast.While) -> bool:
    """Whether this is a loop over lanes."""
    return isinstance(loop, ast.For) and isinstance(loop.iter, ast.Call) and isinstance(loop.iter.func, ast.Name) and loop.iter.func.id == "lanes"


# ---- where texts come from

_TEXTS: dict[str, str] = {}
_TREES: dict[tuple[str, str], ast.FunctionDef] = {}


def remember(filename: str, source: str) -> None:
    """Keep the text of a module in memory: its file is not read. It is parsed when a function is compiled."""
    _TEXTS[filename] = source


@collector_paused()
def syntax(function: Callable[..., Any]) -> ast.FunctionDef:
    """The text of a function as a tree; SubsetError if it does not stand at the top level of a file."""
    key = function.__code__.co_filename, function.__code__.co_name
    if key not in _TREES:
        (tree,) = ast.parse(own_lines(function)).body
        assert isinstance(tree, ast.FunctionDef)
        _TREES[key] = tree
    return _TREES[key]


def own_lines(function: Callable[..., Any]) -> str:
    """The text of a function below as many empty lines as it has lines above it in its file."""
    code = function.__code__
    source = _TEXTS.get(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__) if source is None else source.splitlines(True)
    start = next((k for k in range(code.co_firstlineno - 1, len(lines)) if lines[k].startswith("def ")), None)
    if start is None:
        raise SubsetError(f"{code.co_name}: its text is not at the top level of {code.co_filename}")
    stop = next((k for k in range(start + 1, len(lines)) if lines[k].strip() and lines[k][0] not in " #)"), None)
    return "\n" * start + "".join(lines[start:stop])


def own_text(target: Any) -> Callable[..., Any] | None:
    """The plain function behind one that `dispatcher` made; None for anything else."""
    return getattr(getattr(target, "py_func", None), "__wrapped__", None)


# ---- to Numba


class Compiled(NamedTuple):
    """The IR of a function for given argument types: its text, the name and result of its entry, what else it calls."""

    text: str
    name: str
    result: str
    foreign: dict[str, tuple[Any, tuple[str, ...], str]]


@lru_cache(maxsize=4)  # Numba asks more than once
@collector_paused()
def lower(function: Callable[..., Any], kinds: tuple[Kind, ...]) -> Compiled:
    """The IR of a function of the subset, and of all that it calls, for these kinds of arguments."""
    mark = hashlib.sha256(repr((function.__module__, function.__name__, kinds)).encode()).hexdigest()[:16]
    unit = Unit(f"gc.{mark}")
    entry = unit.function(function, kinds)
    return Compiled(unit.text(entry), entry.name, entry.result, unit.foreign)


def dispatcher(function: Callable[..., Any], **options: Any) -> Any:
    """A Numba dispatcher that runs the function as lowered from its text; options are those of `numba.njit`.

    With NUMBA_DISABLE_JIT=1 it is the plain function.
    """
    import numba
    from numba.extending import intrinsic

    if numba.config.DISABLE_JIT:
        return function
    name, code = function.__name__, function.__code__
    arguments = ", ".join(code.co_varnames[: code.co_argcount])
    space: dict[str, Any] = {"resolve": resolve, "function": function, "__name__": function.__module__}
    exec(f"def resolved(typing, {arguments}):\n    return resolve(function, ({arguments},))", space)
    space["lowered"] = intrinsic(space["resolved"])
    text = "\n" * (code.co_firstlineno - 1) + f"def {name}({arguments}): return lowered({arguments})"
    exec(compile(text, code.co_filename, "exec", dont_inherit=True), space)  # where Numba looks for its cached code
    wrapper = space[name]
    wrapper.__doc__, wrapper.__wrapped__ = function.__doc__, function
    return numba.njit(**options)(wrapper)


def resolve(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Callable[..., Any]]:
    """What an intrinsic has to say: the signature of the function for these Numba types, and its code generator."""
    from numba import types

    named = {"double": types.float64, "float": types.float32, "i64": types.int64, "i1": types.boolean, "void": types.none}
    if not any(isinstance(t, types.Array) for t in arguments):  # a function of numbers: an integer is one of them
        arguments = tuple(types.float64 if isinstance(t, types.Integer) else t for t in arguments)
    lowered = lower(function, tuple(map(kind_of, arguments)))
    signature = named[lowered.result](*arguments)
    return signature, lambda context, builder, _, values: generate(context, builder, arguments, values, lowered)


def kind_of(type: Any) -> Kind:
    """The kind of argument that a Numba type is."""
    from numba import types

    names = {types.float64: "double", types.float32: "float", types.boolean: "i1"}
    if isinstance(type, types.Array):
        return names.get(type.dtype, "i64"), (None,) * type.ndim, type.layout == "C"
    if isinstance(type, types.Integer) or type in names:
        return names.get(type, "i64"), 1
    raise SubsetError(f"an argument of type {type}")


def foreign_result(target: Any, kinds: tuple[str, ...]) -> str:
    """What a function that Numba compiles gives for scalars of these types."""
    result: str = kind_of(overload(target, kinds).signature.return_type)[0]
    return result


def overload(target: Any, kinds: tuple[str, ...]) -> Any:
    """Numba's compilation of a function for scalars of these types."""
    from numba import types

    named = {"double": types.float64, "float": types.float32, "i64": types.int64, "i1": types.boolean}
    signature = tuple(named[k] for k in kinds)
    target.compile(signature)
    return target.overloads[signature]


def generate(context: Any, builder: Any, given: Sequence[Any], values: Sequence[Any], lowered: Compiled) -> Any:
    """Link the function into what Numba is compiling, and call it there."""
    import llvmlite.binding as llvm
    from llvmlite import ir
    from numba.core import cgutils

    module = llvm.parse_assembly(lowered.text)
    module.triple = llvm.get_process_triple()
    module.verify()
    library = context.active_code_library
    library.add_llvm_module(module)
    for name, (target, kinds, _) in lowered.foreign.items():
        link_foreign(context, builder.module, name, overload(target, kinds))
    operands = [v for t, value in zip(given, values, strict=True) for v in unpacked(context, builder, t, value)]
    result = ir.VoidType() if lowered.result == "void" else context.get_value_type(kind_type(lowered.result))
    called = ir.FunctionType(result, [v.type for v in operands])
    found = builder.call(cgutils.get_or_insert_function(builder.module, called, lowered.name), operands)
    return context.get_dummy_value() if lowered.result == "void" else found


def kind_type(kind: str) -> Any:
    """The Numba type of a result."""
    from numba import types

    return {"double": types.float64, "float": types.float32, "i64": types.int64, "i1": types.boolean}[kind]


def unpacked(context: Any, builder: Any, type: Any, value: Any) -> list[Any]:
    """An argument as the entry takes it: of an array pointer, lengths, and strides in elements unless contiguous."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils

    if not isinstance(type, types.Array):
        return [value]
    array = context.make_array(type)(context, builder, value)
    found = [builder.bitcast(array.data, cgutils.voidptr_t), *cgutils.unpack_tuple(builder, array.shape)]
    if type.layout != "C":
        size = ir.Constant(ir.IntType(64), context.get_abi_sizeof(context.get_data_type(type.dtype)))
        found += [builder.sdiv(s, size) for s in cgutils.unpack_tuple(builder, array.strides)]
    return found


def link_foreign(context: Any, module: Any, name: str, compiled: Any) -> None:
    """Define a function of plain scalars that calls one that Numba compiled."""
    from llvmlite import ir

    arguments = [context.get_value_type(t) for t in compiled.signature.args]
    result = context.get_value_type(compiled.signature.return_type)
    made = ir.Function(module, ir.FunctionType(result, arguments), name)
    made.linkage = "linkonce_odr"
    builder = ir.IRBuilder(made.append_basic_block())
    context.active_code_library.add_linking_library(compiled.library)
    _, found = context.call_internal_no_propagate(builder, compiled.fndesc, compiled.signature, made.args)
    builder.ret(found)
