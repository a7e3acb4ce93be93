"""From loop IR to LLVM IR, as text; everything that a function calls comes along in one module."""

from collections.abc import Callable, Sequence
from typing import Any

from gradcompile.codegen.arrays import dot_product, fill, folded, multiply, sliced, transposed_array, view_of
from gradcompile.codegen.calls import Caller
from gradcompile.codegen.emit import COMPARISONS, INTRINSICS
from gradcompile.codegen.masks import has_masks, mask_before
from gradcompile.codegen.scopes import assigned, check_loops, names_in_memory
from gradcompile.codegen.unit import FEW_CALLS, Lowered, Unit
from gradcompile.codegen.values import (
    FLOATS,
    REGISTER,
    SIZES,
    Array,
    External,
    Kind,
    Value,
    number,
    typed,
    written,
)
from gradcompile.errors import SubsetError
from gradcompile.loops.expressions import ABSENT, Expression
from gradcompile.loops.ir import Assign, Do, If, Loop, Note, Return, Statement, While
from gradcompile.loops.reading import own_text

WHOLE = 2_000  # statements of a straight function up to which it is one function of machine code
PIECE = 500  # of a longer one that stay together: LLVM's schedulers take time in the square of a piece
SHORT_LOOP = 300  # statements of a loop over lanes up to which it gets code for one register, and for scalars

CONVERSIONS = {"to_float": "double", "to_float32": "float", "float64": "double", "float32": "float", "float": "double",
               "from_bits": "double", "from_bits32": "float"}  # fmt: skip


class Writer(Caller):
    """Writes one function of the subset as IR."""

    def __init__(self, unit: Unit, target: Callable[..., Any], made: Lowered) -> None:
        super().__init__(unit, target, made)
        self.variables: dict[str, Value] = {}  # names that a loop in order assigns again: their place in memory

    # ---- the whole function

    def run(self, kinds: tuple[Kind, ...]) -> None:
        """Lower the function for these kinds of arguments."""
        arguments = self.function.args
        if len(arguments) != len(kinds):
            raise SubsetError(f"{self.function.name} takes {len(arguments)} arguments, got {len(kinds)}")
        given = [self.bind(a, k, f"%a{i}") for i, (a, k) in enumerate(zip(arguments, kinds, strict=True))]
        self.made.parameters = ", ".join(p for parameters in given for p in parameters)
        single = any(k[0] == "i32" for k in kinds)  # the bits of a float
        self.real = next((k[0] for k in kinds if k[0] in FLOATS), "float" if single else "double")
        body = list(self.function.body)
        last = body.pop() if body and isinstance(body[-1], Return) else None
        check_loops(self.function)
        self.variables = dict.fromkeys(names_in_memory(body), Value("", 1, ""))
        self.many = count(body) > WHOLE
        k = 0
        for statement in body:
            if self.many and k and k % PIECE == 0 and not isinstance(statement, Note):
                self.next_piece()
            self.statement(statement)
            k += not isinstance(statement, Note)
        self.finish(self.settled(self.value(last.value)) if isinstance(last, Return) else None)

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

    # ---- statements

    def statement(self, s: Statement) -> None:
        """Write one statement."""
        if isinstance(s, Assign):
            self.assignment(s.target, s.how, s.value)
        elif isinstance(s, Loop):
            bounds = [self.value(a) for a in s.turns.parts]
            start, stop, step = [*([number(0)] if len(bounds) == 1 else []), *bounds, number(1)][:3]
            if s.turns.word == "lanes":
                self.lanes(s.variable, start, stop, s.body)
            else:
                self.loop(start, stop, step, self.repeating(s.variable, s.body))
        elif isinstance(s, While):
            self.while_loop(s.test, s.body)
        elif isinstance(s, If):
            self.branch(s.test, s.body, s.orelse)
        elif isinstance(s, Do) and s.value.kind == "call":
            self.call(s.value)
        elif not isinstance(s, Note):
            raise self.error(repr(s.text))

    def assignment(self, target: Expression, how: str, x: Expression) -> None:
        """Write what gives a name or elements a value, or changes theirs by it."""
        if target.is_name:
            before = None if how == "=" else self.name(target.word)
            value = self.value(x)
            self.assign(target.word, value if before is None else self.binary(how[:-1], before, value))
        elif target.kind != "element":
            raise self.error(repr(target.text))
        elif has_slice(target):
            self.whole(self.value(target), how, x)
        else:
            value = self.value(x)
            self.store(target, value if how == "=" else self.binary(how[:-1], self.subscript(target), value))

    def assign(self, name: str, value: Any) -> None:
        """Give a name a value."""
        if name in self.variables and not isinstance(value, Array):
            self.assign_variable(name, value)
            return
        self.names[name] = value
        if self.many:
            for v in operands_of_value(value):
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
            raise self.error(f"{name!r} is a {place.type} at first, and a {kind} in a loop; begin "
                              "with a value of that type, as float64(0.0)")  # fmt: skip
        self.lines.append(f"  store {place.type} {self.converted(value, place.type, 1)}, ptr {place.text}")

    def whole(self, out: Array, how: str, x: Expression) -> None:
        """out[:, :] = a number or a product; a product may be added or subtracted as well."""
        signs = {"=": (1.0, 0.0), "+=": (1.0, 1.0), "-=": (-1.0, 1.0)}
        if x.word == "@" and how in signs:
            a, b = x.parts
            multiply(self, out, self.value(a), self.value(b), *signs[how])
        elif how == "=" and isinstance(value := self.value(x), Value) and value.width == 1:
            fill(self, out, value)
        else:
            raise self.error(f"{x.text!r} for a whole array")

    def repeating(
        self, name: str, body: list[Statement], width: int = 1, stop: Value | None = None
    ) -> Callable[[Value], None]:
        """What a loop does with its index, or with the first of as many lanes; those from `stop` on are off."""

        def inside(index: Value) -> None:
            self.names[name] = index if width == 1 else Value("lane", width, (index.text, 1))
            self.mask = "" if stop is None else mask_before(self, index, stop, width)
            if width > 1:
                self.turn = index.text if self.even else ""
            self.loop_body(body)
            self.mask = ""

        return inside

    def loop_body(self, body: list[Statement]) -> None:
        """The statements of a loop. What they name is known in it alone, but for variables."""
        kept = dict(self.names)
        for name in assigned(body):
            if isinstance(kept.get(name), Array):
                raise self.error(f"{name!r} means an array outside of a loop and another one inside")
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

    def while_loop(self, test: Expression, body: list[Statement]) -> None:
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

    def branch(self, test: Expression, body: list[Statement], orelse: list[Statement]) -> None:
        """One of two runs of statements. Names that either assigns have a place in memory, as those of loops have."""
        inside, otherwise, after = self.label("then"), self.label("else"), self.label("after")
        self.lines.append(f"  br i1 {self.value(test).text}, label %{inside}, label %{otherwise}")
        for label, statements in ((inside, body), (otherwise, orelse)):
            self.start(label)
            self.loop_body(statements)
            self.jump(after)
        self.start(after)

    def lanes(self, name: str, start: Value, stop: Value, body: list[Statement]) -> None:
        """A loop over lanes: vectors of LANES as long as they are full, and what is left.

        That is one step with lanes that are off, or several of one register, or vectors of one register and scalars.
        """
        if any(isinstance(s, If) for s in body):
            raise self.error("a branch in a loop over lanes; write `a if c else b`")
        before, self.even = 0, start.type != "literal" or start.text % int(self.globals.get("LANES", 1)) == 0
        for width, is_masked in self.widths(body):
            count = self.binary("-", stop, start)
            full = count if is_masked else self.binary("&", count, number(-width))
            middle = self.binary("+", start, full)
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

    def widths(self, body: list[Statement]) -> list[tuple[int, bool]]:
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
        few = [(register, False)] if register < lanes and count(body) <= SHORT_LOOP else []
        return [(lanes, False), *few, (1, False)]

    # ---- expressions

    def value(self, x: Expression) -> Any:
        """The value of an expression; the kinds that long functions are full of come first."""
        match x.kind:
            case "name":
                return self.name(x.word)
            case "operation":
                return self.operation(x.word, x.parts)
            case "call":
                return self.call(x)
            case "element":
                return self.subscript(x)
            case "number":
                return written(x.word)
            case "group":
                return self.value(x.parts[0])
            case "negative" | "not":
                return self.unary(x.word, self.value(x.parts[0]))
            case "choice":
                return self.select(*map(self.value, x.parts))
            case "length":
                return self.value(x.parts[0]).shape[int(x.parts[1].word)]
            case "transposed":
                return transposed_array(self.value(x.parts[0]))
            case "tuple":
                return list(map(self.value, x.parts))
        raise self.error(repr(x.text))

    def operation(self, symbol: str, parts: Sequence[Expression]) -> Any:
        """Operations of one symbol, from left to right; of a sum some terms may be subtracted."""
        found = self.value(parts[0])
        for part in parts[1:]:
            if part.kind == "less":
                found = self.binary("-", found, self.value(part.parts[0]))
            elif symbol == "@":
                found = dot_product(self, found, self.value(part))
            elif symbol in COMPARISONS:
                found = self.compare(symbol, found, self.value(part))
            else:
                found = self.binary(symbol, found, self.value(part))
        return found

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
            raise self.error(f"{name!r} is no number")
        here = len(self.pieces) - 1
        if self.many and any(self.home.get(v, here) != here for v in operands_of_value(found)):
            return self.fetched(name, found)
        return found

    # ---- elements of arrays

    def subscript(self, x: Expression) -> Any:
        """An entry of a tuple of the module, an element, or a part of an array."""
        indices, owner = self.indices(x), self.value(x.parts[0])
        if isinstance(owner, Value):
            raise self.error(f"{x.text!r} of a number")
        if not isinstance(owner, Array):
            if indices[0].type == "literal":
                return number(owner[indices[0].text])
            owner = self.unit.table(owner, self.real)
        if len(indices) < len(owner.shape) or has_slice(x):
            return sliced(self, owner, indices)
        return self.load(*self.located(owner, indices))

    def indices(self, x: Expression) -> list[Any]:
        """The values in the brackets; of a slice its bounds."""
        return [self.bounds(*k.parts) if k.kind == "slice" else self.value(k) for k in x.parts[1:]]

    def bounds(self, start: Expression = ABSENT, stop: Expression = ABSENT) -> tuple[Value | None, Value | None]:
        """The bounds of a slice."""
        first, last = (None if x.kind == "absent" else self.value(x) for x in (start, stop))
        return first, last

    def store(self, target: Expression, value: Value) -> None:
        """Write elements: one, neighbours, or one by one."""
        array, offset = self.located(self.value(target.parts[0]), self.indices(target))
        type, width, align = array.type, offset.width, SIZES[array.type]
        if value.width > width:
            raise self.error(f"{target.text!r} is one element for the values of many lanes")
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

    def in_its_precision(self, target: Callable[..., Any], args: list[Any]) -> list[Any]:
        """Whole numbers in the precision that a function of vmath takes, as plain Python gives them to it."""
        takes = target.__globals__.get("TAKES", ())
        if len(takes) != 1 or target.__name__.startswith("_"):
            return args
        real = "float" if takes[0] == "float32" else "double"
        return [Value(real, a.width, self.converted(a, real, a.width))
                if isinstance(a, Value) and a.type in ("i64", "lane") else a for a in args]  # fmt: skip

    def call(self, x: Expression) -> Any:
        """A call: of a primitive, of a function of the subset, or of any other compiled function."""
        target = self.globals.get(x.word)
        if x.word == "rarely":
            return self.rarely(*x.parts)
        given = [self.value(a) for a in x.parts[: -1 if isinstance(target, External) else None]]
        if (inner := own_text(target)) is not None:
            return self.call_own(inner, self.in_its_precision(inner, given))
        if isinstance(target, External):
            return self.call_external(target.symbol, given)
        if hasattr(target, "py_func"):
            return self.call_foreign(target, [a if isinstance(a, Array) else self.settled(a) for a in given])
        return self.primitive(getattr(target, "__name__", x.word), given)

    def primitive(self, name: str, args: list[Any]) -> Any:
        """A call of a primitive."""
        if name in INTRINSICS or name == "fmod":
            return self.of_floats(name, args)
        if name == "horner":
            return self.polynomial(args[0], args[1])
        if name == "view":
            return view_of(self, args[0], args[1], args[2] if isinstance(args[2], list) else [args[2]])
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
                raise self.error(f"{name} of {8 * SIZES[x.type]} bits; functions of float32 are in "
                                  "gradcompile.vmath.single")  # fmt: skip
            text = f"bitcast {typed(x.type, x.width)} {x.text} to {typed(kind, x.width)}"
            return Value(kind, x.width, self.emit(text))
        if name in CONVERSIONS:
            return Value(CONVERSIONS[name], args[0].width, self.converted(args[0], CONVERSIONS[name], args[0].width))
        if name == "remainder":
            return self.remainder(*args)
        if name == "to_int":
            return self.integral(self.settled(args[0]))
        raise self.error(f"a call of {name!r}")

    def rarely(self, function: Expression, *given: Expression) -> Value:
        """rarely(slow, condition, fast, x, ...): slow(x, ...) where the condition holds, which few values fulfil."""
        slow = own_text(self.globals[function.word])
        assert slow is not None
        condition, fast, *args = (self.settled(self.value(a)) for a in given)
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


def write_function(unit: Unit, target: Callable[..., Any], made: Lowered, kinds: tuple[Kind, ...]) -> None:
    """Write a function of the subset for these kinds of arguments."""
    Writer(unit, target, made).run(kinds)


def operands_of_value(found: Value | Array) -> list[str]:
    """The operands of the IR that a value is, or that an array consists of."""
    if isinstance(found, Value):
        return [] if found.type == "literal" else [found.text]
    return [found.text, *(v.text for v in (*found.shape, *found.strides) if v.type != "literal")]


def has_slice(x: Expression) -> bool:
    """Whether it is a part of an array, with a slice in it."""
    return any(k.kind == "slice" for k in x.parts[1:])


def count(body: Sequence[Statement]) -> int:
    """How many statements there are, without what is only said."""
    return sum(not isinstance(s, Note) for s in body)


def fits(value: Value, type: str) -> bool:
    """Whether no value of this type is changed when it becomes one of another type; integers count as small."""
    if value.type == "literal":
        return type in FLOATS or not isinstance(value.text, float)
    own = "i64" if value.type == "lane" else value.type
    if own == type or type == "double":
        return True
    return own not in FLOATS and (type in FLOATS or SIZES[own] < SIZES[type])
