"""The header of NumPy's arrays, which machine code reads: cheaper than checks in Python.

Its layout is part of NumPy's binary interface, which every compiled extension relies on. `layout_is_known` compares it
with what Python sees before anything is checked this way, and callers fall back to checks in Python.
"""

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np

_TYPE, _DATA, _RANK, _SHAPE, _DTYPE, _FLAGS = 8, 16, 24, 32, 56, 64  # bytes from the start of the object


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
