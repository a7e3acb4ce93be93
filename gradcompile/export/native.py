"""Files for C: a compiled function as an object file or as source, and the header beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gradcompile.codegen.contract import contract_of
from gradcompile.codegen.parse import own_text
from gradcompile.codegen.target import processor
from gradcompile.codegen.values import Kind
from gradcompile.errors import ArgumentError, printable
from gradcompile.export.c_header import Prototype, header, prototype
from gradcompile.export.objects import object_code
from gradcompile.export.python import write_file


class Exported(NamedTuple):
    """What is exported: a kernel, the kinds of its arguments, and what C sees of it."""

    kernel: Any
    kinds: tuple[Kind, ...]
    prototype: Prototype


def exported(name: str, kernel: Any, kinds: Sequence[Kind], known_as: Mapping[str, str], *said: str) -> Exported:
    """A kernel under a name; known_as: what its lengths are called by the user. said: see `Prototype`."""
    function = own_text(kernel)
    if function is None:
        raise ArgumentError("there is no machine code to export: unset NUMBA_DISABLE_JIT")
    seen = prototype(name, contract_of(function), known_as, *map(printable, said))
    return Exported(function, tuple(kinds), seen)


def write(given: Exported, path: str | Path, blas: bool) -> None:
    """Write an object file or a source file of C, and the header beside it."""
    target = Path(path)
    if target.suffix != ".o":
        raise ArgumentError(f"{str(path)!r} can't be exported; the name ends in .o, as an object file, or in .c")
    name, _ = processor()
    made = f"Made for processors that have all that a {name} has; link it with -lm."
    write_file(target, object_code(given.kernel, given.kinds, given.prototype, blas))
    write_file(target.with_suffix(".h"), header(given.prototype, made))
