"""From the tree of a function to LLVM IR, as text; everything that it calls comes along in one module."""

import ast
from collections.abc import Callable
from typing import Any

from gradcompile.codegen.arrays import dot_product, fill, folded, multiply, sliced, transposed_array, view_of
from gradcompile.codegen.calls import Caller
from gradcompile.codegen.emit import INTRINSICS
from gradcompile.codegen.masks import has_masks, mask_before
from gradcompile.codegen.parse import assigned, check_loops, names_in_memory, own_text
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
)
from gradcompile.errors import SubsetError

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
        check_loops(self.tree)
        self.variables = dict.fromkeys(names_in_memory(body), Value("", 1, ""))
        self.many = len(body) > WHOLE
        for k, statement in enumerate(body):
            if self.many and k and k % PIECE == 0:
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
            if width > 1:
                self.turn = index.text if self.even else ""
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
        before, self.even = 0, start.type != "literal" or start.text % int(self.globals.get("LANES", 1)) == 0
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
                return dot_product(self, self.value(e.left), self.value(e.right))
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
                return transposed_array(self.value(owner))
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
        if self.many and any(self.home.get(v, here) != here for v in operands_of_value(found)):
            return self.fetched(name, found)
        return found

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

    def in_its_precision(self, target: Callable[..., Any], args: list[Any]) -> list[Any]:
        """Whole numbers in the precision that a function of vmath takes, as plain Python gives them to it."""
        takes = target.__globals__.get("TAKES", ())
        if len(takes) != 1 or target.__name__.startswith("_"):
            return args
        real = "float" if takes[0] == "float32" else "double"
        return [Value(real, a.width, self.converted(a, real, a.width))
                if isinstance(a, Value) and a.type in ("i64", "lane") else a for a in args]  # fmt: skip

    def call(self, e: ast.Call) -> Any:
        """A call: of a primitive, of a function of the subset, or of any other compiled function."""
        if not isinstance(e.func, ast.Name):
            raise SubsetError(f"{self.tree.name}, line {e.lineno}: {ast.unparse(e)!r}")
        name = e.func.id
        target = self.globals.get(name)
        if (inner := own_text(target)) is not None:
            return self.call_own(inner, self.in_its_precision(inner, [self.value(a) for a in e.args]))
        if isinstance(target, External):
            return self.call_external(target.symbol, [self.value(a) for a in e.args])
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


def write_function(unit: Unit, target: Callable[..., Any], made: Lowered, kinds: tuple[Kind, ...]) -> None:
    """Write a function of the subset for these kinds of arguments."""
    Writer(unit, target, made).run(kinds)


def operands_of_value(found: Value | Array) -> list[str]:
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


def fits(value: Value, type: str) -> bool:
    """Whether no value of this type is changed when it becomes one of another type; integers count as small."""
    if value.type == "literal":
        return type in FLOATS or not isinstance(value.text, float)
    own = "i64" if value.type == "lane" else value.type
    if own == type or type == "double":
        return True
    return own not in FLOATS and (type in FLOATS or SIZES[own] < SIZES[type])
