"""Where a function's values live: memory of its arrays, and the frame that the pieces of a long function share."""

from collections.abc import Callable, Sequence
from typing import Any

from gradcompile.codegen.arrays import fill, integer_product
from gradcompile.codegen.emit import Emitter
from gradcompile.codegen.unit import Lowered, Piece, Unit
from gradcompile.codegen.values import ATTRIBUTES, SIZES, Array, Value, immediate, number, typed
from gradcompile.codegen.workspace import give_line, room, take_lines

TOO_MUCH = 1 << 62  # bytes that no machine has
STACK = 1 << 14  # bytes of a local array that still lives on the stack


class Frame(Emitter):
    """Writes what begins and ends a function and its pieces, and takes memory."""

    def __init__(self, unit: Unit, target: Callable[..., Any], made: Lowered) -> None:
        super().__init__(unit, target)
        self.unit: Unit = unit
        self.made = made
        self.names: dict[str, Value | Array] = {}
        self.home: dict[str, int] = {}  # the piece that an operand is defined in
        self.slots: dict[str, int] = {}  # operands that cross pieces: their place in the frame
        self.pieces = [Piece()]
        self.lines = self.pieces[0].lines
        self.early: list[str] = []  # of the entry, after all that lives on the stack: memory from the heap
        self.freed: list[str] = []
        self.handed: list[str] = []  # the frame's slots with the places of local arrays
        self.many = False  # whether the code is cut into pieces
        self.depth = 0  # of loops

    # ---- the whole function

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

    # ---- pieces

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

    # ---- memory

    def array(self, shape: Any, type: str, value: Value | None) -> Array:
        """A local array, filled with a number unless there is none."""
        lengths = tuple(shape if isinstance(shape, list) else (shape,))
        made = Array(type, self.memory(type, lengths), lengths, self.row_major(lengths))
        if value is not None:
            fill(self, made, value)
        return made

    def memory(self, type: str, lengths: Sequence[Value]) -> str:
        """Memory for an array, for as long as the function runs; where a length is not known before, from the heap."""
        count = integer_product(self, lengths)
        if count.type == "literal":
            return self.local(type, count.text, self.fresh())
        if self.depth:
            raise self.error("memory in a loop, of a size that is not known before")
        pointer = self.fresh()
        self.take(self.lines, self.bytes_of(type, lengths), pointer)
        return pointer

    def bytes_of(self, type: str, lengths: Sequence[Value]) -> str:
        """The bytes of an array, more than there are in the world where 64 bits do not hold their number."""
        size = self.converted(integer_product(self, [*lengths, number(SIZES[type])]), "i64", 1)
        about = integer_product(self, [Value("double", 1, self.converted(v, "double", 1)) for v in lengths])
        fits = self.emit(f"fcmp ole double {about.text}, {immediate(TOO_MUCH / SIZES[type], 'double', 1)}")
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


def failing(frees: Sequence[str], end: str) -> list[str]:
    """Where a function ends that finds no memory: at `lacking`, if nothing is to be given back."""
    return ["failed:", *frees, "  br label %lacking", "lacking:", "  store i8 1, ptr %status", end]


def unless_failed(name: str, after: str) -> list[str]:
    """The lines that go on in a block of that name, unless what was called has found no memory."""
    ended = [f"  {name} = load i8, ptr %status", f"  {name}.bad = icmp ne i8 {name}, 0"]
    return [*ended, f"  br i1 {name}.bad, label %failed, label %{after}", f"{after}:"]
