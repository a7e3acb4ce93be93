"""Lines of LLVM IR in the making: names of results, blocks, loops."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

from gradcompile.codegen.values import SHORT, SIZES, Array, Value, typed
from gradcompile.errors import SubsetError
from gradcompile.loops.ir import Function

Bounds = tuple[str | int, str | int, str | int]  # of a loop: from, to, by
Inside = Callable[[str, Sequence[str]], Sequence[str]]  # the body of a loop: from what it carries on to what goes on


class Declarations(Protocol):
    """What a module of IR is asked for while its functions are written; mark: what all its names begin with."""

    mark: str
    declared: dict[str, str]

    def declare(self, name: str, text: str) -> str:
        """A function from outside, declared."""

    def intrinsic(self, name: str, type: str, width: int, count: int) -> str:
        """The name of an LLVM intrinsic of so many arguments of one type, declared."""

    def mark_loop(self) -> str:
        """The mark of one more loop that LLVM is neither to vectorise nor to unroll."""


class Lines:
    """The lines of one function. A result has a name that no other has; a loop's results are what it carries on."""

    def __init__(self, unit: Declarations) -> None:
        self.unit = unit
        self.lines: list[str] = []
        self.entry: list[str] = []
        self.block = "start"
        self.count = 0
        self.loops = 0  # that are written

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

    def spread(self, text: str, type: str, width: int) -> str:
        """A vector of one number."""
        whole = f"<{width} x {type}>"
        one = self.emit(f"insertelement {whole} poison, {type} {text}, i64 0")
        return self.emit(f"shufflevector {whole} {one}, {whole} poison, <{width} x i32> zeroinitializer")

    def load_masked(self, type: str, width: int, place: str, mask: str, other: str) -> str:
        """Neighbours in memory, and those of `other` where the mask is false, which are not read."""
        name, whole, bits = f"llvm.masked.load.v{width}{SHORT[type]}.p0", typed(type, width), typed("i1", width)
        self.unit.declare(name, f"{whole} @{name}(ptr, i32, {bits}, {whole})")
        return self.emit(f"call {whole} @{name}(ptr {place}, i32 {SIZES[type]}, {bits} {mask}, {whole} {other})")

    def store_masked(self, type: str, width: int, text: str, place: str, mask: str) -> None:
        """Write neighbours in memory where the mask is true."""
        name, whole, bits = f"llvm.masked.store.v{width}{SHORT[type]}.p0", typed(type, width), typed("i1", width)
        self.unit.declare(name, f"void @{name}({whole}, ptr, i32, {bits})")
        self.lines.append(f"  call void @{name}({whole} {text}, ptr {place}, i32 {SIZES[type]}, {bits} {mask})")

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

    def repeat(self, bounds: Bounds, inside: Callable[[str], None], whole: bool = False) -> None:
        """A loop; `inside` writes its body for an index.

        One that is whole as it stands, or is around others, LLVM is to leave alone.
        """

        def body(index: str, _: Sequence[str]) -> tuple[()]:
            inside(index)
            return ()

        self.carry(bounds, "", (), body, whole)

    def carry(self, bounds: Bounds, type: str, given: Sequence[str], inside: Inside, whole: bool = False) -> list[str]:
        """A loop that carries on values of a type, at first the given ones; what they are at its end."""
        (first, last, step), inner, before = bounds, self.loops, self.block
        head, body, after = self.label("head"), self.label("body"), self.label("after")
        self.jump(head)
        index = self.fresh()
        carried = [self.fresh() for _ in given]
        self.start(head)
        place = len(self.lines)
        self.lines += [
            f"  {index}.go = icmp slt i64 {index}, {last}",
            f"  br i1 {index}.go, label %{body}, label %{after}",
        ]
        self.start(body)
        new = inside(index, carried)
        self.lines.append(f"  {index}.next = add nsw i64 {index}, {step}")
        joined = [("i64", index, first, f"{index}.next")]
        joined += [(type, *values) for values in zip(carried, given, new, strict=True)]
        phis = [f"  {name} = phi {t} [{old}, %{before}], [{new}, %{self.block}]" for t, name, old, new in joined]
        self.lines[place:place] = phis
        self.jump(head)
        if whole or self.loops > inner:
            self.lines[-1] += self.unit.mark_loop()
        self.loops += 1
        self.start(after)
        return carried


class ArrayLines(Lines, ABC):
    """The lines of a function of the subset, as what works on whole arrays and on lanes uses them.

    function: what is written.  mask: of the lanes that are on, where some are off.  most: the most that an operand
    is, where that is known.
    """

    function: Function
    mask: str = ""
    most: dict[str, int]

    def error(self, what: str) -> SubsetError:
        """What is not of the subset, in this function."""
        return SubsetError(f"{self.function.name}: {what}")

    @abstractmethod
    def binary(self, op: str, x: Value, y: Value) -> Value:
        """An operation of two values."""

    @abstractmethod
    def bounded(self, name: str, x: Value, y: Value) -> Value:
        """min and max of Python, and at_most and at_least, in which a NaN x stays."""

    @abstractmethod
    def converted(self, v: Value, type: str, width: int) -> str:
        """The operand of a value in this type and width."""

    @abstractmethod
    def loop(
        self, start: Value, stop: Value, step: Value, inside: Callable[[Value], None], is_whole: bool = False
    ) -> None:
        """A loop in order; one that is `is_whole` as it stands, or is around others, LLVM is to leave alone."""

    @abstractmethod
    def place(self, array: Array, offset: Value) -> str:
        """The address of an element; of the first lane's, where lanes lie side by side."""

    @abstractmethod
    def row_major(self, lengths: Sequence[Value]) -> tuple[Value, ...]:
        """The strides of a contiguous array."""
