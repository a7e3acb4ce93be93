"""BLAS on one thread while kernels run.

Kernels call BLAS from threads of the package's own, so BLAS has to stay on the thread that calls it: more of them would
fight for the processors, and products would have other bits on another machine. The switch that SciPy's BLAS has for
that is one for the whole process; it is turned while calls run, and turned back after the last.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from gradcompile.library.blas import alone


class Switch:
    """The number of threads that a BLAS uses: one while `alone` functions run, on whichever threads, else as before."""

    def __init__(self, read: Callable[[], int], turn: Callable[[int], Any]) -> None:
        self.read, self.turn = read, turn
        self.lock = threading.Lock()
        self.calls = self.before = 0

    def alone(self, run: Callable[..., float]) -> Callable[..., float]:
        """The function that runs with BLAS on one thread."""

        def call(*args: Any) -> float:
            self.enter()
            try:
                return run(*args)
            finally:
                self.leave()

        return call

    def enter(self) -> None:
        """The first that comes in turns the switch."""
        with self.lock:
            if not self.calls:
                self.before = self.read()
                self.turn(1)
            self.calls += 1

    def leave(self) -> None:
        """The last that goes turns it back."""
        with self.lock:
            self.calls -= 1
            if not self.calls:
                self.turn(self.before)

    def forget(self) -> None:
        """Begin anew: after a fork the calls of other threads are not there, and the lock may be held for ever."""
        if self.calls:
            self.turn(self.before)
        self.lock = threading.Lock()
        self.calls = 0


@lru_cache(maxsize=1)
def switch() -> Switch | None:
    """The switch of SciPy's BLAS, None where it is no OpenBLAS.

    What SciPy's own module is linked to is found through that module, by the names that OpenBLAS has there.
    """
    try:
        library = ctypes.PyDLL(alone("cython_blas").__file__)  # its calls are too short to let go of the GIL
    except (ImportError, OSError):
        return None
    for prefix in ("scipy_openblas", "openblas"):
        read, turn = (getattr(library, f"{prefix}_{verb}_num_threads", None) for verb in ("get", "set"))
        if read and turn:
            found = Switch(read, turn)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=found.forget)
            return found
    return None
