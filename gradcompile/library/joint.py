"""Special functions of which SciPy computes several at once and puts them where pointers say; compiled by Numba."""

import ctypes
from typing import Any

import numpy as np

from gradcompile.codegen.functions import njit
from gradcompile.codegen.target import is_disabled
from gradcompile.library.special import NAN, address_of

__all__ = [
    "airyai", "airyaiprime", "airybi", "airybiprime", "chi", "ci", "fresnelc", "fresnels", "shi", "si",
]


def several(name: str, results: int) -> Any:
    """A function of scipy.special of one double that puts several numbers where pointers say."""
    kinds = [ctypes.c_double, *[ctypes.c_void_p] * results]
    if is_disabled():
        return ctypes.CFUNCTYPE(None, *kinds)(address_of(name))
    import llvmlite.binding
    import numba

    llvmlite.binding.add_symbol(f"gc_{name}", address_of(name))
    given = [numba.types.float64, *[numba.types.voidptr] * results]
    return numba.types.ExternalFunction(f"gc_{name}", numba.types.void(*given))


scipy_sici, scipy_shichi, scipy_fresnel = several("sici", 2), several("shichi", 2), several("fresnel", 2)
scipy_airy = several("airy", 4)


@njit
def si(x):  # type: ignore[no-untyped-def]
    """The sine integral."""
    found = np.empty(2)
    scipy_sici(x, found.ctypes, found[1:].ctypes)
    return found[0]


@njit
def ci(x):  # type: ignore[no-untyped-def]
    """The cosine integral; NaN below 0."""
    found = np.empty(2)
    scipy_sici(x, found.ctypes, found[1:].ctypes)
    return NAN if x < 0 else found[1]


@njit
def shi(x):  # type: ignore[no-untyped-def]
    """The hyperbolic sine integral."""
    found = np.empty(2)
    scipy_shichi(x, found.ctypes, found[1:].ctypes)
    return found[0]


@njit
def chi(x):  # type: ignore[no-untyped-def]
    """The hyperbolic cosine integral; NaN below 0."""
    found = np.empty(2)
    scipy_shichi(x, found.ctypes, found[1:].ctypes)
    return NAN if x < 0 else found[1]


@njit
def fresnels(x):  # type: ignore[no-untyped-def]
    """Fresnel's integral of the sine."""
    found = np.empty(2)
    scipy_fresnel(x, found.ctypes, found[1:].ctypes)
    return found[0]


@njit
def fresnelc(x):  # type: ignore[no-untyped-def]
    """Fresnel's integral of the cosine."""
    found = np.empty(2)
    scipy_fresnel(x, found.ctypes, found[1:].ctypes)
    return found[1]


@njit
def airyai(x):  # type: ignore[no-untyped-def]
    """The Airy function Ai."""
    found = np.empty(4)
    scipy_airy(x, found.ctypes, found[1:].ctypes, found[2:].ctypes, found[3:].ctypes)
    return found[0]


@njit
def airyaiprime(x):  # type: ignore[no-untyped-def]
    """The derivative of Ai."""
    found = np.empty(4)
    scipy_airy(x, found.ctypes, found[1:].ctypes, found[2:].ctypes, found[3:].ctypes)
    return found[1]


@njit
def airybi(x):  # type: ignore[no-untyped-def]
    """The Airy function Bi."""
    found = np.empty(4)
    scipy_airy(x, found.ctypes, found[1:].ctypes, found[2:].ctypes, found[3:].ctypes)
    return found[2]


@njit
def airybiprime(x):  # type: ignore[no-untyped-def]
    """The derivative of Bi."""
    found = np.empty(4)
    scipy_airy(x, found.ctypes, found[1:].ctypes, found[2:].ctypes, found[3:].ctypes)
    return found[3]
