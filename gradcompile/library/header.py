"""NumPy vectors by the address of their object, checked in machine code: cheaper than checks in Python or in Numba.

The header's layout is part of NumPy's binary interface, which every compiled extension relies on. `layout_is_known`
compares it with what Python sees before anything is read this way, and callers fall back to checks in Python.
This module loads Numba, so it is imported by generated modules and late.
"""

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from gradcompile.codegen.functions import njit

_TYPE, _DATA, _RANK, _SHAPE, _DTYPE, _FLAGS = 8, 16, 24, 32, 56, 64  # bytes from the start of the object
READ = 0x0101  # C-contiguous and aligned, in NumPy's flags
WRITE = 0x0501  # and writable


@lru_cache(maxsize=1)
def layout_is_known() -> bool:
    """Whether the headers of arrays in this process are laid out as this module reads them."""
    locked = np.empty(5)
    locked.flags.writeable = False
    samples = (np.empty(3), np.empty(8)[::2], np.empty(7, ">f4"), locked)
    return object.__basicsize__ == _DATA and all(map(_reads_well, samples))


def _reads_well(array: np.ndarray[Any, Any]) -> bool:
    def word(place: int, kind: Any = ctypes.c_void_p) -> int:
        return int(kind.from_address(place).value)

    at = id(array)
    found = (word(at + _TYPE), word(at + _DATA), word(at + _RANK, ctypes.c_int), word(word(at + _SHAPE)))
    seen = (id(type(array)), array.ctypes.data, array.ndim, len(array))
    rest = (word(at + _DTYPE), word(at + _FLAGS, ctypes.c_int))
    return found == seen and rest == (id(array.dtype), array.flags.num)


@intrinsic  # type: ignore[untyped-decorator]
def _word(typing: Any, address: Any) -> Any:
    """The 64-bit integer at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = context.get_value_type(types.CPointer(types.int64))
        return builder.load(builder.inttoptr(args[0], pointer))

    return types.int64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(typing: Any, address: Any) -> Any:
    """An address as a pointer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


@njit
def vector(address, size, model, flags):  # type: ignore[no-untyped-def]
    """The vector whose object is at an address; TypeError unless it is as the model in type and dtype, and fits."""
    is_like = _word(address + _TYPE) == _word(model + _TYPE)
    if not (is_like and _word(address + _DTYPE) == _word(model + _DTYPE)):
        raise TypeError("not a vector of this dtype")
    if (_word(address + _RANK) & 0xFFFFFFFF) != 1 or (_word(address + _FLAGS) & flags) != flags:
        raise TypeError("not a contiguous vector")
    if _word(_word(address + _SHAPE)) != size:
        raise TypeError("not a vector of this length")
    return carray(_pointer(_word(address + _DATA)), (size,), np.float64)


@njit
def apart(first, second, size):  # type: ignore[no-untyped-def]
    """TypeError if the two vectors, whose objects are at these addresses, share memory; size: entries of either."""
    distance = _word(first + _DATA) - _word(second + _DATA)
    if -8 * size < distance < 8 * size:
        raise TypeError("vectors that share memory")
