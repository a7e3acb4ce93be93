"""Matrix products of generated code: the BLAS that SciPy brings, under names that machine code refers to.

Machine code holds the names, not addresses, so that Numba can keep it on disk; every process connects them anew.
"""

PREFIX = "gc_"
ROUTINES = ("dgemm", "sgemm", "dgemv", "sgemv", "ddot", "sdot")


def connect_blas() -> None:
    """Make SciPy's BLAS known to machine code. A module with matrix products calls this before all else.

    Plain Python (NUMBA_DISABLE_JIT=1) needs none of it.

    >>> connect_blas()
    """
    import numba
    from llvmlite import binding
    from numba.extending import get_cython_function_address

    if numba.config.DISABLE_JIT or binding.address_of_symbol(PREFIX + ROUTINES[-1]):
        return
    try:
        addresses = [get_cython_function_address("scipy.linalg.cython_blas", name) for name in ROUTINES]
    except ImportError as error:
        raise ImportError(f"matrix products need SciPy's BLAS ({error}): pip install scipy") from error
    for name, address in zip(ROUTINES, addresses, strict=True):
        binding.add_symbol(PREFIX + name, address)
