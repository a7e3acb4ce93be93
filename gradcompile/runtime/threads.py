"""The package's own threads: one pool for every call, in which the caller's thread works as well.

What no other thread has begun yet the caller does itself, so a call ends even if every thread of the pool is busy for
good.
"""

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

Task = Callable[[int], Any]


def processors() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Threads that wait for work, made when first needed; there are never more at work than processors."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: after a fork the threads of the parent are not there, and its locks may be held for ever."""
        self.lock = threading.RLock()
        self.executor: ThreadPoolExecutor | None = None
        self.size = self.callers = 0

    def submit(self, work: Callable[[], None], helpers: int) -> list["Future[None]"]:
        """Ask other threads to do the work as well, as many as are wanted and processors are free."""
        size = processors() - 1
        with self.lock:
            helpers = min(helpers, size + 1 - self.callers)
            if helpers > 0 and (self.executor is None or self.size != size):
                self.executor, self.size = ThreadPoolExecutor(size, "gradcompile"), size
            executor = self.executor
        try:
            return [executor.submit(work) for _ in range(helpers)] if executor else []
        except RuntimeError:  # the interpreter is shutting down and starts no more threads
            return []

    def run(self, task: Task, count: int, workers: int) -> None:
        """task(0), ..., task(count - 1) on the caller's thread and others, `workers` in all; returns when none runs.

        The first exception ends the rest and is raised.
        """
        indices = itertools.count()

        def work() -> None:
            nonlocal count
            try:
                while (k := next(indices)) < count:
                    task(k)
            except BaseException:
                count = 0
                raise

        futures: list[Future[None]] = []
        with self.lock:
            self.callers += 1
        try:
            futures += self.submit(work, min(workers, count) - 1)
            work()
        finally:
            with self.lock:
                self.callers -= 1
            _settle(futures)
        for future in futures:
            if not future.cancelled():
                future.result()


def _settle(futures: list["Future[None]"]) -> None:
    """Wait until no task runs any more, whatever interrupts the waiting: they write into the caller's arrays."""
    interruption: BaseException | None = None
    for future in futures:
        while not (future.done() or future.cancel()):
            try:
                future.exception()
            except BaseException as error:
                interruption = error
    if interruption is not None:
        raise interruption


pool = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.forget)
