"""Matrix products of generated code: the BLAS that SciPy brings, under names that machine code refers to.

Large products come in parts, which other threads may take (see `parallel_gemm`).

Machine code holds the names, not addresses, so that Numba can keep it on disk; every process connects them anew.
"""

import ctypes
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

from gradcompile.codegen.parallel_gemm import routines
from gradcompile.codegen.target import PREFIX, is_disabled

ROUTINES = ("dgemm", "sgemm", "dgemv", "sgemv", "ddot", "sdot")
_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def connect_blas() -> None:
    """Make SciPy's BLAS known to machine code. A module with matrix products calls this before all else.

    Plain Python (NUMBA_DISABLE_JIT=1) needs none of it.

    >>> connect_blas()
    """
    if is_disabled():
        return
    from llvmlite import binding

    if binding.address_of_symbol(PREFIX + ROUTINES[-1]):
        return
    found = dict(zip(ROUTINES, addresses("cython_blas", ROUTINES), strict=True))
    for name, address in (found | routines(found["sgemm"], found["dgemm"])).items():
        binding.add_symbol(PREFIX + name, address)


def addresses(module: str, names: Sequence[str]) -> list[int]:
    """Where functions are that a module of scipy.linalg offers to other compiled code.

    >>> len(addresses("cython_blas", ["dgemm", "sgemm"]))
    2
    """
    try:
        found = alone(module)
    except ImportError as error:
        raise ImportError(f"matrix products need SciPy's BLAS ({error}): pip install scipy") from error
    return addresses_in(found, names)


def linked(name: str, address: int, pointers: int, numbers: int = 0) -> Any:
    """A function of so many doubles and then pointers, as Numba can link it and cache what calls it.

    With NUMBA_DISABLE_JIT=1 it is called through ctypes.
    """
    if is_disabled():
        return ctypes.CFUNCTYPE(None, *[ctypes.c_double] * numbers, *[ctypes.c_void_p] * pointers)(address)
    import numba
    from llvmlite import binding

    binding.add_symbol(PREFIX + name, address)
    kinds = [*[numba.types.float64] * numbers, *[numba.types.voidptr] * pointers]
    return numba.types.ExternalFunction(PREFIX + name, numba.types.void(*kinds))


def addresses_in(module: Any, names: Sequence[str]) -> list[int]:
    """Where functions are that a module of Cython's offers to other compiled code."""
    offered = module.__pyx_capi__
    return [_pointer(offered[n], _name(offered[n])) for n in names]


def signature(function: Any) -> str:
    """The types of a function of Cython's, as C writes them."""
    return str(_name(function).decode())


def alone(module: str) -> Any:
    """A module of scipy.linalg without the package around it, which takes a hundred times as long to import.

    It is forgotten again, so that whoever imports the package finds it as usual: the same module.

    >>> alone("cython_blas").__name__
    'scipy.linalg.cython_blas'
    """
    name = f"scipy.linalg.{module}"
    if name in sys.modules:
        return sys.modules[name]
    import scipy

    spec = PathFinder.find_spec(name, [str(Path(place, "linalg")) for place in scipy.__path__])
    if spec is None or spec.loader is None:
        raise ImportError(f"there is no {name}")
    found = module_from_spec(spec)
    spec.loader.exec_module(found)
    sys.modules.pop(name, None)
    return found
