"""Helpers of one call at a time: threads that take parts of its large products (see `parallel_gemm`).

A helper looks for parts for about a millisecond before it lies down, so a training loop finds it awake, and an idle
program costs nothing. To wake it costs the caller some microseconds; until it takes a part some 30 more go by.
"""

import ctypes
import os
import threading
from collections.abc import Callable

from gradcompile.codegen.parallel_gemm import JOB, LIMIT, OWNER, WORDS, WORK
from gradcompile.codegen.target import PREFIX

Run = Callable[..., float]
Words = ctypes.c_int64 * WORDS
# A helper that comes late finds no part of the product under way, and has to stay until the next is begun: with 160 us
# instead of 0.8 ms a network 784-128-10 with batches of 128 was stuck at 430 us instead of 255, or was not, by chance.
TURNS = 50_000  # without a part, of 16 ns each
NAP, LONG_NAP = 50e-6, 5e-3  # seconds between two looks during a call, which grow while there is nothing to do


class HelperPool:
    """Helpers, made when first needed. The first call that comes gets them; others meanwhile go without."""

    def __init__(self) -> None:
        self.words = Words()
        self.serve: Callable[[int, int], int] | None = None
        self.forget()

    def forget(self) -> None:
        """Begin anew: after a fork the helpers are not there, and the lock may be held for ever."""
        self.lock = threading.Lock()
        self.members: list[Helper] = []
        self.calls = self.wanted = 0
        self.is_busy = False
        self.words[:] = [0] * WORDS

    def connect(self) -> Callable[[int, int], int]:
        """Find the team of this process: its state, and what serves it."""
        from llvmlite import binding

        place, serve = (binding.address_of_symbol(PREFIX + name) for name in ("place", "serve"))
        self.words = Words.from_address(ctypes.CFUNCTYPE(ctypes.c_void_p)(place)())
        return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(serve)

    def enter(self, helpers: int) -> bool:
        """A call begins; whether it gets helpers. Each call without takes the processor of one."""
        with self.lock:
            self.calls += 1
            is_first, self.is_busy = not self.is_busy, True
            if is_first:
                self.wanted = helpers
                self.serve = self.serve or self.connect()
                self.words[OWNER] = threading.get_ident()
                self.gather(helpers)
            self.words[LIMIT] = self.wanted + 1 - self.calls
            return is_first

    def leave(self, is_first: bool) -> None:
        """A call ends; is_first: what it was told as it began."""
        with self.lock:
            self.calls -= 1
            if is_first:
                self.is_busy = False
                self.words[OWNER] = 0
            self.words[LIMIT] = self.wanted + 1 - self.calls

    def gather(self, helpers: int) -> None:
        """Wake so many helpers."""
        while len(self.members) < helpers:
            self.members.append(Helper(self, len(self.members)))
            self.members[-1].start()
        for member in self.members[:helpers]:
            member.wake()

    @property
    def jobs(self) -> int:
        """How many products were handed out."""
        return self.words[WORK] >> JOB


class Helper(threading.Thread):
    """A thread that takes parts, or sleeps until a call comes."""

    def __init__(self, crew: HelperPool, number: int) -> None:
        super().__init__(name=f"gradcompile-crew-{number}", daemon=True)
        self.crew, self.number = crew, number
        self.gate = threading.Lock()
        self.gate.acquire()
        self.is_asleep = False

    def wake(self) -> None:
        """End its sleep; the crew's lock is held."""
        if self.is_asleep:
            self.is_asleep = False
            self.gate.release()

    def run(self) -> None:
        """Take parts until the process ends."""
        serve, nap = self.crew.serve, NAP
        while serve is not None:
            nap = NAP if serve(self.number, TURNS) else self.rest(nap)

    def rest(self, nap: float) -> float:
        """Sleep until a call comes, during one for a while; how long the next time."""
        with self.crew.lock:
            self.is_asleep, seconds = True, nap if self.crew.is_busy else -1
        if self.gate.acquire(timeout=seconds):
            return NAP
        with self.crew.lock:
            if not self.is_asleep:  # a call came at the last moment
                self.gate.acquire()
            self.is_asleep = False
        return min(2 * nap, LONG_NAP)


class Helped:
    """A function that runs with helpers, until a call had nothing for them to do. found: what is called then."""

    def __init__(self, run: Run, helpers: int, found: Callable[[], None]) -> None:
        self.run, self.helpers, self.found = run, helpers, found

    def __call__(self, *args: object) -> float:
        """One call."""
        if not self.helpers:
            return self.run(*args)
        has_helpers, jobs = crew.enter(self.helpers), crew.jobs
        try:
            return self.run(*args)
        finally:
            crew.leave(has_helpers)
            if has_helpers and crew.jobs == jobs:
                self.helpers = 0
                self.found()


crew = HelperPool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=crew.forget)
