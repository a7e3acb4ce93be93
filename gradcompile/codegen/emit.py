"""Instructions of LLVM IR for what a function computes: arithmetic, comparisons, conversions, elements of arrays."""

from collections.abc import Callable, Sequence
from typing import Any

from gradcompile.codegen.lines import ArrayLines, Declarations
from gradcompile.codegen.masks import load_lanes
from gradcompile.codegen.values import FLOATS, SHORT, SIZES, Array, Value, immediate, number, typed
from gradcompile.errors import SubsetError
from gradcompile.loops.reading import function_of

ARITHMETIC: dict[str, tuple[str, str]] = {
    "+": ("fadd", "add"), "-": ("fsub", "sub"), "*": ("fmul", "mul"), "/": ("fdiv", ""),
    "&": ("", "and"), "|": ("", "or"), "^": ("", "xor"), "<<": ("", "shl"),
    ">>": ("", "ashr"),
}  # fmt: skip
FOLDED: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda x, y: x + y, "-": lambda x, y: x - y, "*": lambda x, y: x * y,
    "//": lambda x, y: x // y, "%": lambda x, y: x % y, "<<": lambda x, y: x << y,
    ">>": lambda x, y: x >> y, "&": lambda x, y: x & y, "|": lambda x, y: x | y,
}  # fmt: skip
COMPARISONS: dict[str, tuple[str, str]] = {
    "<": ("olt", "slt"), "<=": ("ole", "sle"), ">": ("ogt", "sgt"), ">=": ("oge", "sge"),
    "==": ("oeq", "eq"), "!=": ("une", "ne"),
}  # fmt: skip
INTRINSICS = {"fma": 3, "sqrt": 1, "fabs": 1, "floor": 1, "ceil": 1, "rint": 1, "trunc": 1, "copysign": 2}


class Emitter(ArrayLines):
    """Writes operations on values, lane by lane where they are vectors.

    real: the type of the function's floats.
    """

    def __init__(self, unit: Declarations, target: Callable[..., Any]) -> None:
        super().__init__(unit)
        self.function, self.globals = function_of(target), target.__globals__
        self.most: dict[str, int] = {}  # the most that an operand is, where `min` says it
        self.mask = ""  # of the lanes that are on, in a loop where some are off
        self.even = True  # whether the loop over lanes begins at a multiple of their number
        self.turn = ""  # its index, if so
        self.real = "double"

    # ---- values

    def binary(self, op: str, x: Value, y: Value) -> Value:
        """An operation of two values."""
        if x.type == y.type == self.real and x.width == y.width == 1 and op in ARITHMETIC:  # nearly always
            return Value(self.real, 1, self.emit(f"{ARITHMETIC[op][0]} {self.real} {x.text}, {y.text}"))
        if x.type == "literal" and y.type == "literal":
            if op in FOLDED:
                return number(FOLDED[op](x.text, y.text))
            x = Value(self.real, 1, immediate(x.text, self.real, 1))
        if (x.type == "lane" or y.type == "lane") and (moved := self.of_lane(op, x, y)) is not None:
            return moved
        if op not in ("&", "|", "^"):
            x, y = self.counted(x), self.counted(y)
        divisor = y.text if y.type == "literal" else 0
        (x, y), type, width = self.unified(x, y)
        if op == "/" and type not in FLOATS:
            x, y = (Value(self.real, width, self.converted(v, self.real, width)) for v in (x, y))
            type = self.real
        if op in ("//", "%") and type not in FLOATS:
            return self.floored(op, x, y, divisor)
        name = ARITHMETIC.get(op, ("", ""))[type not in FLOATS]
        if not name:
            raise self.error(f"{op} of {x.type}s, which the subset has not")
        return Value(type, width, self.emit(f"{name} {typed(type, width)} {x.text}, {y.text}"))

    def counted(self, v: Value) -> Value:
        """A truth value as the integer that it is in arithmetic; any other value as it is."""
        return Value("i64", v.width, self.converted(v, "i64", v.width)) if v.type == "i1" else v

    def of_lane(self, op: str, x: Value, y: Value) -> Value | None:
        """Arithmetic of a lane's index that leaves it one: i + k, k + i, i - k, i*3, i % LANES; None for any other."""
        if y.type == "lane" and op in ("+", "*"):
            x, y = y, x
        if x.type != "lane" or y.width > 1 or y.type in FLOATS or isinstance(y.text, float):
            return None
        base, step = x.text
        is_lane = x.text == (self.turn, 1) and y.text == self.globals.get("LANES")
        is_own = y.type == "literal" and (op == "*" or (op == "%" and is_lane))
        if op in ("+", "-") or is_own:
            moved = self.binary(op, Value("i64", 1, base), y)
            return Value("lane", x.width, (moved.text, step * y.text if op == "*" else step))
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
            return immediate(v.text, type, width)
        if v.type == "lane":
            v = self.spread_lane(v)
        text, own = v.text, v.type
        if own != type:
            text = self.emit(
                f"{conversion_instruction(own, type)} {typed(own, v.width)} {text} to {typed(type, v.width)}"
            )
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
            return Value(type, 1, immediate(v.text, type, 1))
        return self.spread_lane(v) if v.type == "lane" else v

    def unary(self, op: str, x: Value) -> Value:
        """-x and not x."""
        if x.type == "literal":
            return number(-x.text)
        x = self.settled(x)
        whole = typed(x.type, x.width)
        if op == "not":
            text = f"xor {whole} {x.text}, {immediate(True, 'i1', x.width)}"
        elif x.type in FLOATS:
            text = f"fneg {whole} {x.text}"
        else:
            text = f"sub {whole} {immediate(0, x.type, x.width)}, {x.text}"
        return Value(x.type, x.width, self.emit(text))

    def compare(self, op: str, x: Value, y: Value) -> Value:
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
            return self.select(self.compare(">" if name == "at_most" else "<", x, y), y, x)
        found = self.select(self.compare("<=" if name == "min" else ">=", x, y), x, y)
        if name == "min" and x.type == "literal":
            self.most[found.text] = x.text
        return found

    def remainder(self, x: Value, y: Value) -> Value:
        """The remainder of integers with the sign of the divisor; processors trap where that is 0 or, of one k, -1."""
        (x, y), _, _ = self.unified(x, y)
        zero, (safe, _, left) = number(0), self.divided(x, y)
        crossed = self.compare("<", self.binary("^", left, safe), zero)
        moved = self.select(crossed, self.binary("+", left, safe), left)
        return self.select(self.compare("==", left, zero), zero, moved)

    def floored(self, op: str, x: Value, y: Value, known: int) -> Value:
        """x // y or x % y of integers, rounded down as in Python; known: the divisor if the text has it, else 0."""
        if known > 0 and known & (known - 1) == 0:  # a power of two
            of_bits = ("&", known - 1) if op == "%" else (">>", known.bit_length() - 1)
            return self.binary(of_bits[0], x, number(of_bits[1]))
        return self.remainder(x, y) if op == "%" else self.quotient(x, y)

    def quotient(self, x: Value, y: Value) -> Value:
        """The quotient of integers, rounded down; 0 for a divisor of 0, -x for -1, where processors may trap."""
        safe, traps, left = self.divided(x, y)
        whole = Value(x.type, x.width, self.emit(f"sdiv {typed(x.type, x.width)} {x.text}, {safe.text}"))
        crossed = self.compare("<", self.binary("^", left, safe), number(0))
        crossed = self.binary("&", crossed, self.compare("!=", left, number(0)))
        found = self.select(crossed, self.binary("-", whole, number(1)), whole)
        return self.select(traps, self.binary("*", x, y), found)

    def divided(self, x: Value, y: Value) -> tuple[Value, Value, Value]:
        """A divisor that no processor traps at, whether it had to be 1 instead of y, and the remainder by it."""
        zero, one = number(0), number(1)
        traps = self.compare("==", self.binary("*", y, self.binary("+", y, one)), zero)  # of 0 and -1 alone
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

    # ---- elements of arrays

    def row_major(self, lengths: Sequence[Value]) -> tuple[Value, ...]:
        """The strides of a contiguous array."""
        strides = [number(1)]
        for length in reversed(lengths[1:]):
            strides.append(self.binary("*", length, strides[-1]))
        return tuple(reversed(strides))

    def offset(self, array: Array, indices: Sequence[Value]) -> Value:
        """The place of an element, in elements from the first."""
        total = number(0)
        for index, stride in zip(indices, array.strides, strict=True):
            part = index if stride == number(1) else self.binary("*", index, stride)
            total = part if total == number(0) else self.binary("+", total, part)
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


def conversion_instruction(own: str, type: str) -> str:
    """The instruction that makes one type of another."""
    if own in FLOATS and type not in FLOATS:
        raise SubsetError("a float where an integer is needed; write to_int(x)")
    if type in FLOATS:
        return ("fpext" if type == "double" else "fptrunc") if own in FLOATS else "uitofp" if own == "i1" else "sitofp"
    return "zext" if own == "i1" else "sext" if SIZES[type] > SIZES[own] else "trunc"
