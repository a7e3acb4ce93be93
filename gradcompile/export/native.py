"""Files for C: a compiled function as an object file or as source, and the header beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gradcompile.codegen.contract import contract_of
from gradcompile.codegen.target import processor
from gradcompile.codegen.values import Kind
from gradcompile.errors import ArgumentError, printable
from gradcompile.export.c_header import Prototype, check_symbol, header, prototype
from gradcompile.export.objects import object_code, refuse
from gradcompile.export.python import write_file
from gradcompile.export.source import c_source
from gradcompile.loops.kernel import Kernel
from gradcompile.loops.reading import own_text


class Exported(NamedTuple):
    """What is exported: a kernel, the kinds of its arguments, and what C sees of it."""

    dispatcher: Any
    kinds: tuple[Kind, ...]
    prototype: Prototype


def exported(
    name: str, made: Kernel, function: Any, kinds: Sequence[Kind], known_as: Mapping[str, str], *said: str
) -> Exported:
    """A kernel under a name, and its function; known_as: the user's names of lengths.  said: see `Prototype`."""
    text = own_text(function)
    if text is None:
        raise ArgumentError("there is no machine code to export: unset NUMBA_DISABLE_JIT")
    (does,) = (f.doc for f in made.module.functions if f.name == "kernel")
    seen = prototype(name, contract_of(text), known_as, *map(printable, (does, *said)))
    return Exported(function, tuple(kinds), seen)


def write(given: Exported, path: str | Path, blas: bool) -> None:
    """Write an object file or a source file of C, and the header beside it."""
    target = Path(path)
    header_file = target.with_suffix(".h")
    dispatcher, kinds, seen = given
    check_symbol(seen.name)
    kernel = dispatcher.lowered_from
    note = "Link it with -lm."
    content: str | bytes
    if target.suffix == ".c" and not blas:
        content, outside = c_source(kernel, kinds, seen, header_file.name)
        refuse(outside)
    elif target.suffix == ".o":
        content = object_code(kernel, kinds, seen, blas)
        needs = "Link it with -lm and a BLAS." if blas else note
        note = f"Made for the processor {processor()[0]}, and those that have all of its instructions. {needs}"
    else:
        cure = "blas=True is for .o" if blas else "the name ends in .o, for an object file, or in .c, for source"
        raise ArgumentError(f"{str(path)!r} can't be exported: {cure}")
    write_file(target, content)
    write_file(header_file, header(seen, note))
