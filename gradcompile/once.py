"""What is computed once, by one thread at a time; a fork waits until nobody computes.

The child of a fork has only the thread that forked. What another was doing stays half done in it, and locks that the
other held stay locked for ever: the package's, Numba's, LLVM's, and those of modules that were being imported.
"""

import concurrent.futures.thread  # noqa: F401 - it and logging have locks that forks take, and compilation as well:
import logging  # noqa: F401 - the later such a lock is known, the earlier a fork takes it, and these must come last
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")

PATIENCE = 60.0  # seconds that a fork waits; what another thread does for longer is then unknown to the child
_lock = threading.RLock()


@contextmanager
def compiling() -> Iterator[None]:
    """Hold the lock of all that reads formulas, compiles and loads. Also a decorator."""
    with _lock:
        yield


@contextmanager
def waiting() -> Iterator[None]:
    """Let go of the lock while other threads work for this one, as they may need it."""
    lock: Any = _lock  # a condition's wait does the same
    held = lock._release_save() if lock._is_owned() else None
    try:
        yield
    finally:
        if held is not None:
            lock._acquire_restore(held)


class once(Generic[T]):
    """An attribute that is computed when it is first read, under the lock of all that compiles.

    >>> class Circle:
    ...     @once
    ...     def area(self):
    ...         return print("computed") or 3.14
    >>> circle = Circle()
    >>> circle.area, circle.area
    computed
    (3.14, 3.14)
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self.make, self.name = make, make.__name__
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, instance: None, owner: Any) -> "once[T]": ...
    @overload
    def __get__(self, instance: object, owner: Any) -> T: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        """The value; later it is found in the object's dictionary, without a call."""
        if instance is None:
            return self
        with _lock:
            known = instance.__dict__
            if self.name not in known:
                known[self.name] = self.make(instance)
            return known[self.name]


def locks() -> list[Any]:
    """The locks that are held while something is compiled, in the order in which they are taken."""
    found: list[Any] = [_lock]
    for module, path in (("numba.core.compiler_lock", "global_compiler_lock"), ("llvmlite.binding.ffi", "lib._lock")):
        lock: Any = sys.modules.get(module)
        for name in (*path.split("."), "_lock"):
            lock = getattr(lock, name, None)  # there is none before the module is imported whole
        found += [] if lock is None else [lock]
    return found


_held = threading.local()


def before_fork() -> None:
    """Wait for the locks, and take them."""
    end = time.monotonic() + PATIENCE
    _held.locks = [lock for lock in locks() if lock.acquire(timeout=max(0.0, end - time.monotonic()))]


def after_fork() -> None:
    """Let go of them."""
    for lock in reversed(_held.locks):
        lock.release()


def after_fork_in_child() -> None:
    """Let go of them, and of those that belong to a thread which is not there."""
    for lock in locks():
        lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before_fork, after_in_parent=after_fork, after_in_child=after_fork_in_child)
