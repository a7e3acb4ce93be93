"""A compiled function as C calls it in this process: its address, and how ctypes and cffi see it."""

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradcompile.codegen.functions import for_c
from gradcompile.codegen.linked import Linked, Object
from gradcompile.codegen.unit import parameter_types
from gradcompile.export.objects import entry_text
from gradcompile.once import once

if TYPE_CHECKING:
    from gradcompile.export.native import Exported

C_KINDS = {"float64": ctypes.c_double, "float32": ctypes.c_float}


class CFunction:
    """A function of machine code in this process, with the prototype that `f.export` writes into a header.

    address: where it is, for as long as this object lives.  prototype: its declaration in C.
    """

    def __init__(self, given: "Exported", dispatcher: Callable[[], Any]) -> None:
        self._given, p = given, given.prototype
        self.prototype = f"{p.text};"

        def around(kernel: Object) -> str:
            taken = [t for kind in given.kinds for t in parameter_types(kind)] + ["ptr"] * kernel.fails
            declared = f"declare {kernel.result} @{kernel.symbol}({', '.join(taken)})"
            return f"{declared}\n{entry_text(p, given.kinds, kernel.symbol, kernel.result, kernel.fails)}"

        self._code: Linked | Any = for_c(given.dispatcher, given.kinds, around, p.name)
        if self._code is None:
            self._code = by_numba(given, dispatcher())
        self.address: int = self._code.address

    @once
    def ctypes(self) -> Any:
        """The function as ctypes calls it, with pointers to numbers."""
        p = self._given.prototype
        numbers = [C_KINDS.get(q.type.dtype, ctypes.c_int64) for q in p.passed]
        given: list[Any] = [ctypes.POINTER(n) if q.type.shape else n for q, n in zip(p.passed, numbers, strict=True)]
        result = ctypes.c_double if p.result == "double" else ctypes.c_float
        made = ctypes.CFUNCTYPE(result, *given, *[ctypes.c_int64] * len(p.lengths))(self.address)
        made.kept = self  # type: ignore[attr-defined]
        return made

    @once
    def cffi(self) -> Any:
        """The function as cffi calls it; `cffi.FFI().from_buffer("double[]", array)` is an argument."""
        try:
            import cffi
        except ImportError as error:
            raise ImportError("f.cfunc.cffi needs cffi: pip install cffi") from error
        ffi = cffi.FFI()
        p = self._given.prototype
        return ffi.cast(p._replace(name="(*)").text, self.address)

    def __repr__(self) -> str:
        return f"<CFunction at {self.address:#x}: {self.prototype}>"


def by_numba(given: "Exported", kernel: Any) -> Any:
    """The same for a kernel that calls what Numba compiles."""
    import numba
    from numba import types

    p = given.prototype
    names = [q.name for q in p.passed] + list(p.lengths.values())
    taken = []
    passed = []
    for q in p.parameters:
        type = getattr(types, q.type.dtype)
        taken += [types.CPointer(type) if q.type.shape else type] if q.is_passed else []
        shape = f"({', '.join(p.length(d) for d in q.type.shape)},)" if q.is_passed else "(0,)"
        array = f"carray({q.name}, {shape})" if q.is_passed else f"carray({p.parameters[0].name}, (0,))"
        passed.append(array if q.type.shape else q.name)
    text = (
        f"def {p.name}({', '.join(names)}):\n    try:\n        return real(kernel({', '.join(passed)}))\n"
        "    except Exception:\n        return real(nan)\n"
    )
    real = numba.float64 if p.result == "double" else numba.float32
    space: dict[str, Any] = {"carray": numba.carray, "kernel": kernel, "real": real, "nan": float("nan")}
    exec(text, space)
    return numba.cfunc(real(*taken, *[types.int64] * len(p.lengths)))(space[p.name])
