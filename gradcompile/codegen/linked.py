"""Machine code in memory: an object file, linked, for as long as somebody refers to it."""

import ast
import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

from gradcompile.codegen.target import llvm, machine
from gradcompile.codegen.values import Kind
from gradcompile.codegen.workspace import connect_store

_numbers = count()
Helper = tuple[str, str, tuple[Kind, ...]]


class Object(NamedTuple):
    """An object file of one function: its symbol, the symbols that it refers to, the file, and what it returns.

    fails: whether it takes the address of a byte as well, which it sets to 1 where there is no memory. helpers: the
    package's functions that it calls, by module and name, and the kinds of their arguments. is_quick: code that was
    made in a hurry.
    """

    symbol: str
    needs: tuple[str, ...]
    code: bytes
    result: str = "void"
    width: int = 1
    fails: bool = False
    helpers: tuple[Helper, ...] = ()
    is_quick: bool = False

    def packed(self) -> bytes:
        """The same as bytes, for a file."""
        return repr(self._replace(code=b"")[:]).encode() + b"\n" + self.code

    @classmethod
    def unpacked(cls, content: bytes) -> "Object":
        """The opposite of `packed`."""
        head, _, code = content.partition(b"\n")
        return cls(*ast.literal_eval(head.decode()))._replace(code=code)


@lru_cache(maxsize=1)
def linker() -> Any:
    """What links, for the life of the process."""
    made = llvm().create_lljit_compiler(machine(), use_jit_link=os.name == "posix")
    made._owned = False  # as the process ends other threads may still be in its code
    return made


class Linked:
    """The function of an object file, in memory, which is freed with this object. Whoever calls it keeps this alive."""

    def __init__(self, given: Object, helpers: "Sequence[Linked]" = ()) -> None:
        connect_store()
        self.helpers = tuple(helpers)
        self.address = 0
        self.given = given._replace(code=b"")  # what it is; the file is not needed any more
        library = llvm().JITLibraryBuilder().add_object_img(given.code).export_symbol(given.symbol)
        known = {h.given.symbol: h.address for h in helpers}
        for name, address in [*known.items(), *addresses([n for n in given.needs if n not in known])]:
            library.import_symbol(name, address)
        # What code generation itself calls, as memset, is not among them: the process has it.
        self.tracker = library.add_current_process().link(linker(), f"gc.{next(_numbers)}")
        self.address = int(self.tracker[given.symbol])

    def __del__(self) -> None:
        tracker = self.__dict__.get("tracker")
        if tracker is not None and sys.is_finalizing():  # other threads may still be in it
            tracker.detach()


def addresses(names: Sequence[str]) -> list[tuple[str, int]]:
    """Where functions from outside are that LLVM was told of; the linker finds the others in the process itself."""
    found = [(name, llvm().address_of_symbol(name)) for name in names]
    return [(name, address) for name, address in found if address]
