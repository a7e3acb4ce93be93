"""One call on several threads: its passes over the samples are cut into groups of spans, which the threads share.

The kernel's own text is the driver. It runs as Python, and where it calls a pass over all samples, the groups are
handed out. Each is a subtree of the tree of sums (see `gradcompile.reduction`), and the subtrees are carried on in
their order: the result has the same bits for any number of threads and any size of the groups. This module loads Numba.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np

from gradcompile.reduction import SPAN, carry_on
from gradcompile.runtime import jit
from gradcompile.runtime.native import own_text
from gradcompile.runtime.threads import pool, processors

WORTH = 300e3  # nanoseconds of work from which on it is shared: until another thread is at work takes some 50 thousand
TASK = 25e3  # nanoseconds of the shortest task; one costs two thousand
LONGEST = 5e6  # nanoseconds of a task up to which Ctrl-C and a slower thread are not felt
TASKS = 4  # tasks a thread, so that none waits long for the last
NS_PER_OPERATION, NS_PER_BYTE = 0.03, 0.03  # of vector code, of memory in cache; what is too low only shares later


@dataclass(frozen=True, slots=True)
class Share:
    """How a call may be shared: nanoseconds that one sample takes in one pass, and the largest number of threads.

    >>> share = Share(1.0, 2)
    >>> share.smallest, share.level(1000, 2)
    (300000, 6)
    """

    cost: float
    threads: int | None = None

    @classmethod
    def estimated(cls, kernel: Any, operations: float, size: int, threads: int | None) -> "Share":
        """From the operations of a sample in double precision and its bytes: what takes longer, in one pass of many."""
        passes = sum(takes_range(f) for f in called(kernel).values())
        return cls(max(operations * NS_PER_OPERATION / max(passes, 1), size * NS_PER_BYTE, 0.1), threads)

    @property
    def least(self) -> int:
        """The smallest groups have 2**least spans."""
        return max(0, math.ceil(math.log2(TASK / (self.cost * SPAN))))

    @property
    def smallest(self) -> int:
        """Samples from which on the work is shared; two groups at least."""
        return max(int(WORTH / self.cost), 2 * SPAN << self.least)

    def workers(self, samples: int) -> int:
        """The number of threads that take part: as many as there are processors, if each has enough to do."""
        available = processors()
        return min(self.threads or available, available, max(1, int(2 * samples * self.cost / WORTH)))

    def level(self, spans: int, workers: int) -> int:
        """Groups have 2**level spans: a few groups a thread, neither too short nor too long."""
        few = (spans // (TASKS * workers)).bit_length() - 1
        longest = int(math.log2(max(1.0, LONGEST / (self.cost * SPAN))))
        return max(self.least, min(few, longest))


def spread(kernel: Any, inputs: Mapping[str, Any], share: Share) -> Callable[..., Any]:
    """A kernel that shares its passes over the samples with other threads; inputs: the Numba types, by name."""
    text = plain_text(kernel)
    replaced = {name: _replacement(f, inputs, share) for name, f in called(kernel).items()}
    return FunctionType(text.__code__, {**text.__globals__, **replaced}, text.__name__)


def plain_text(function: Any) -> Any:
    """The function whose text it is; the function itself where it is not compiled."""
    return own_text(function) or function


def called(kernel: Any) -> dict[str, Any]:
    """The functions that a kernel's text calls, by name."""
    text = plain_text(kernel)
    found = {name: text.__globals__.get(name) for name in text.__code__.co_names}
    return {name: f for name, f in found.items() if isinstance(plain_text(f), FunctionType)}


def takes_range(function: Any) -> bool:
    """Whether a function is a pass over a range of samples."""
    return bool(plain_text(function).__code__.co_varnames[1:3] == ("start", "stop"))


def _replacement(function: Any, inputs: Mapping[str, Any], share: Share) -> Callable[..., Any]:
    """What the driver calls in place of a function that the kernel calls."""
    code = plain_text(function).__code__
    takes = code.co_varnames[: code.co_argcount]
    run = _compiled(function, takes, inputs) if hasattr(function, "compile") else _quiet(function)
    if not takes_range(function):
        return run
    return _shared_sums(run, share) if takes[0] == "tree" else _shared_values(run, share)


def _compiled(function: Any, takes: tuple[str, ...], inputs: Mapping[str, Any]) -> Callable[..., Any]:
    """A compiled function by its entry point. It is compiled at the first call, whose arguments tell the types.

    A function of numbers alone is left to Numba's dispatch: they may be floats here and integers there.
    """
    entry: Callable[..., Any] | None = None

    def call(*args: Any) -> Any:
        nonlocal entry
        if entry is None and not any(isinstance(a, np.ndarray) for a in args):
            entry = function
        elif entry is None:
            types = [inputs[t] if t in inputs else _type_of(a) for t, a in zip(takes, args, strict=True)]
            entry = jit.entry(function, types)
        return entry(*args)

    return call


def _type_of(value: Any) -> Any:
    """The Numba type of what a kernel makes itself: contiguous arrays and integers."""
    from numba import from_dtype, types

    return types.Array(from_dtype(value.dtype), value.ndim, "C") if isinstance(value, np.ndarray) else types.int64


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that runs as Python, without NumPy's warnings, which each thread has its own switch for."""

    def call(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return call


def _shared_sums(run: Callable[..., Any], share: Share) -> Callable[..., None]:
    """The pass `run`, which adds samples to a tree of sums, shared."""
    carry = _replacement(carry_on, {}, share)

    def sums(tree: np.ndarray, start: int, stop: int, *rest: Any) -> None:
        spans, workers = -(-stop // SPAN), share.workers(stop)
        level = share.level(spans, workers)
        groups, size = -(-spans >> level), SPAN << level
        parts = np.empty((groups, level + 1, tree.shape[1]), tree.dtype)
        pool.run(lambda k: run(parts[k], k * size, min(stop, (k + 1) * size), *rest), groups, workers)
        whole = spans >> level
        for k in range(whole):
            carry(tree, parts[k], level, k)
        if whole < groups:
            tree[:level] = parts[whole, :level]

    return sums


def _shared_values(run: Callable[..., Any], share: Share) -> Callable[..., None]:
    """The pass `run`, which writes a value a sample, shared."""

    def values(out: np.ndarray, start: int, stop: int, *rest: Any) -> None:
        spans, workers = -(-stop // SPAN), share.workers(stop)
        size = SPAN << share.level(spans, workers)
        pool.run(lambda k: run(out, k * size, min(stop, (k + 1) * size), *rest), -(-stop // size), workers)

    return values
