"""A module of LLVM IR in the making: its functions, and what they need from outside."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gradcompile.codegen.values import ATTRIBUTES, SHORT, Array, Kind, immediate, number, typed

FEW_CALLS = 24  # calls of a function up to which each gets a copy of its code
LONG = 300  # lines of code from which on a second call gets none

Library = Callable[[Callable[..., Any], tuple[Kind, ...]], Any]  # the object file of one of the package's, or None
Helper = tuple[str, str, tuple[Kind, ...]]
Write = Callable[["Unit", Callable[..., Any], "Lowered", tuple[Kind, ...]], None]  # a function, for these arguments


@dataclass(slots=True)
class Lowered:
    """A function of the IR: its name, what it returns, its parameters, its text, and how often it is called.

    fails: whether it takes memory, or calls what does. Where there is none it ends at once, and sets the byte to 1
    whose address is its last parameter. even: numbers that arguments have to be multiples of, as loops begin there.
    """

    name: str
    result: str = "void"
    width: int = 1
    parameters: str = ""
    body: str = ""
    calls: int = 0
    repeats: bool = False
    fails: bool = False
    even: dict[int, int] = field(default_factory=dict)

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
    """A module of IR in the making: functions by their object and the kinds of their arguments, and what they need.

    write: what writes the lines of one.
    """

    mark: str
    write: Write
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
            self.write(self, target, made, kinds)
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
            entries = ", ".join(f"{type} {immediate(v, type, 1)}" for v in values)
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


def parameter_types(kind: Kind) -> list[str]:
    """The types of the parameters that an argument of this kind becomes."""
    if len(kind) == 2:
        return [typed(*kind)]
    _, shape, strides = kind
    return ["ptr", *["i64"] * (shape.count(None) + (0 if strides is True else strides.count(None)))]
