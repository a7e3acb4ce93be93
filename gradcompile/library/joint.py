"""Special functions of which SciPy computes several at once and puts them where pointers say; compiled by Numba."""

import numpy as np

from gradcompile.codegen.functions import njit
from gradcompile.library.blas import linked
from gradcompile.library.special import NAN, address_of

__all__ = [
    "airyai", "airyaiprime", "airybi", "airybiprime", "chi", "ci", "fresnelc", "fresnels", "shi", "si",
]  # fmt: skip


scipy_sici, scipy_shichi, scipy_fresnel = (linked(f, address_of(f), 2, 1) for f in ("sici", "shichi", "fresnel"))
scipy_airy = linked("airy", address_of("airy"), 4, 1)


@njit
def sici(x):  # type: ignore[no-untyped-def]
    """The sine integral and the cosine integral."""
    found = np.empty(2)
    scipy_sici(x, found.ctypes, found[1:].ctypes)
    return found


@njit
def si(x):  # type: ignore[no-untyped-def]
    """The sine integral."""
    return sici(x)[0]


@njit
def ci(x):  # type: ignore[no-untyped-def]
    """The cosine integral; NaN below 0."""
    return NAN if x < 0 else sici(x)[1]


@njit
def shichi(x):  # type: ignore[no-untyped-def]
    """The hyperbolic sine integral and cosine integral."""
    found = np.empty(2)
    scipy_shichi(x, found.ctypes, found[1:].ctypes)
    return found


@njit
def shi(x):  # type: ignore[no-untyped-def]
    """The hyperbolic sine integral."""
    return shichi(x)[0]


@njit
def chi(x):  # type: ignore[no-untyped-def]
    """The hyperbolic cosine integral; NaN below 0."""
    return NAN if x < 0 else shichi(x)[1]


@njit
def fresnel(x):  # type: ignore[no-untyped-def]
    """Fresnel's integrals of the sine and of the cosine."""
    found = np.empty(2)
    scipy_fresnel(x, found.ctypes, found[1:].ctypes)
    return found


@njit
def fresnels(x):  # type: ignore[no-untyped-def]
    """Fresnel's integral of the sine."""
    return fresnel(x)[0]


@njit
def fresnelc(x):  # type: ignore[no-untyped-def]
    """Fresnel's integral of the cosine."""
    return fresnel(x)[1]


@njit
def airy(x):  # type: ignore[no-untyped-def]
    """The Airy functions: Ai, its derivative, Bi, its derivative."""
    found = np.empty(4)
    scipy_airy(x, found.ctypes, found[1:].ctypes, found[2:].ctypes, found[3:].ctypes)
    return found


@njit
def airyai(x):  # type: ignore[no-untyped-def]
    """The Airy function Ai."""
    return airy(x)[0]


@njit
def airyaiprime(x):  # type: ignore[no-untyped-def]
    """The derivative of Ai."""
    return airy(x)[1]


@njit
def airybi(x):  # type: ignore[no-untyped-def]
    """The Airy function Bi."""
    return airy(x)[2]


@njit
def airybiprime(x):  # type: ignore[no-untyped-def]
    """The derivative of Bi."""
    return airy(x)[3]
