"""What C sees of a compiled function: its prototype, and the header that says how it is called."""

import ctypes
import textwrap
from collections.abc import Mapping
from typing import NamedTuple

from gradcompile.codegen.contract import Contract
from gradcompile.errors import ArgumentError
from gradcompile.ir.types import ArrayType, Dim, names_in, parsed
from gradcompile.loops.c import distinct, identifier, is_reserved

WIDTH = 112
UNREAD = "_"  # the length of an output that a kernel does not fill
C_TYPES = {"float64": "double", "float32": "float"}


class Parameter(NamedTuple):
    """An argument of the function: its name in C, what the kernel demands of it, and whether the kernel writes it."""

    name: str
    type: ArrayType
    is_written: bool
    is_passed: bool = True

    @property
    def c_type(self) -> str:
        """Its type in C, up to its name."""
        base = C_TYPES.get(self.type.dtype, "int64_t")
        if not self.type.shape:
            return f"{base} "
        return f"{'' if self.is_written else 'const '}{base} *"


class Prototype(NamedTuple):
    """How C calls a kernel: its name, the type of what it returns, its arguments, and the lengths that follow them.

    lengths: each named dimension once, with its name in C.  does: what the kernel does, in a sentence.  about: its
    formula.  theta: what theta holds, in its order.
    """

    name: str
    result: str
    parameters: tuple[Parameter, ...]
    lengths: Mapping[str, str]
    does: str
    about: str
    theta: str

    @property
    def passed(self) -> list[Parameter]:
        """The arguments that C passes."""
        return [p for p in self.parameters if p.is_passed]

    @property
    def text(self) -> str:
        """The declaration, without its semicolon."""
        given = [p.c_type + p.name for p in self.passed] + [f"int64_t {name}" for name in self.lengths.values()]
        return f"{self.result} {self.name}({', '.join(given)})"

    def length(self, dim: Dim) -> str:
        """A dimension as C writes it.

        >>> Prototype("f", "double", (), {"n": "n"}, "", "", "").length("2*n-1")
        '2*n - 1'
        """
        terms = []
        for names, c in parsed(dim):
            factors = [self.lengths[n] for n in names]
            terms.append("*".join([str(abs(c))] * (abs(c) != 1 or not factors) + factors))
        signs = [" - " if c < 0 else " + " for _, c in parsed(dim)]
        return "".join(s + t for s, t in zip(signs, terms, strict=True)).removeprefix(" + ").lstrip() or "0"


def prototype(name: str, contract: Contract, known_as: Mapping[str, str], *said: str) -> Prototype:
    """The prototype of a kernel; known_as: what its dimensions are called by the user. said: see there."""
    taken: set[str] = {name}
    parameters = tuple(
        Parameter(distinct(own, taken), a.type, a.is_written, a.type.shape != (UNREAD,)) for own, a in contract.items()
    )
    dims = [d for p in parameters if p.is_passed for d in p.type.shape]
    names = dict.fromkeys(n for d in dims for n in sorted(names_in(d)))
    lengths = {n: distinct(known_as.get(n, n), taken) for n in names}
    return Prototype(name, C_TYPES[parameters[0].type.dtype], parameters, lengths, *said)


def check_symbol(name: str) -> None:
    """Raise ArgumentError for what can't be the name of a function in C and C++."""
    if not (name.isascii() and name.isidentifier()) or name[0] == "_" or is_reserved(name):
        shown = identifier(name)
        raise ArgumentError(f"{name!r} can't be the name of a function in C; pass another, as name={shown!r}")
    if is_in_library(name):
        raise ArgumentError(f"the C library has a function {name!r}; pass another name, as name='{name}_loss'")


def is_in_library(name: str) -> bool:
    """Whether the C library has a function of this name, which a program that is linked with ours would lose."""
    try:
        return hasattr(ctypes.CDLL(None), name)
    except (OSError, TypeError):  # where a process has no table of names
        return False


def header(p: Prototype, *notes: str) -> str:
    """The text of the header file: what is called, with what, and what the caller has to see to."""
    guard = f"{p.name.upper()}_H"
    return "\n".join([
        comment(p, *notes), f"#ifndef {guard}", f"#define {guard}", "", "#include <stdint.h>", "",
        "#ifdef __cplusplus", 'extern "C" {', "#endif", "", *wrapped(f"{p.text};", "    "), "",
        "#ifdef __cplusplus", "}", "#endif", "", "#endif", "",
    ])  # fmt: skip


def comment(p: Prototype, *notes: str) -> str:
    """What is said of the function where it is declared."""
    lines = [*wrapped(p.about, "  "), "", p.does, ""]
    lines += [described(p, q) for q in p.passed]
    lines += ["", *textwrap.wrap(" ".join([CARE, *notes]), WIDTH)]
    text = "\n".join(f" * {line}".rstrip() for line in lines)
    return f"/*{text.replace('*/', '* /')[2:]} */"


def described(p: Prototype, q: Parameter) -> str:
    """One argument in a line."""
    type = C_TYPES.get(q.type.dtype, "int64_t")
    shape = f"[{', '.join(p.length(d) for d in q.type.shape)}]" if q.type.shape else ""
    holds = f": {p.theta}" if q is p.parameters[0] and p.theta else ""
    return f"  {q.name}  {type}{shape}{', written' if q.is_written else ''}{holds}"


def wrapped(text: str, indent: str) -> list[str]:
    """Text in lines of the width of a page."""
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False) or [""]


CARE = (
    "Arrays are contiguous, row by row, and aligned as their type is. What is written may not share memory with what "
    "else is passed; the others may. Any numbers will do, NaN and infinity too, and lengths of 0. It may run in "
    "several threads at once, each with outputs of its own. Where there is no memory for what it needs meanwhile it "
    "returns NaN, and what was written means nothing."
)
