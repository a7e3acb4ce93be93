"""Calls whose work is shared: a kernel's passes over the samples, cut into groups, which the threads share.

The kernel's own text is the driver. It runs as Python, and where it calls a pass over all samples, the groups are
handed out. Of columns each is a subtree of the tree of sums (see `gradcompile.library.sums`), and the subtrees are
carried on in their order. Of arrays the groups are those that the text itself adds up, in the same order. So the
result has the same bits for any number of threads.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from gradcompile.analysis.cost import Growth
from gradcompile.codegen import array_kind, own_text
from gradcompile.codegen import functions as jit
from gradcompile.codegen.values import Kind
from gradcompile.ir.types import names_in
from gradcompile.library.sums import INF, SPAN, add_parts, carry_on, group_size, raise_parts
from gradcompile.loops.kernel import Pass, Plan
from gradcompile.runtime.threads import pool, processors
from gradcompile.signature.arguments import Argument

WORTH = 300e3  # nanoseconds of work from which on it is shared: until another thread is at work takes some 50 thousand
HELPED = 30e3  # nanoseconds of a call for each thread that takes parts of its products; of a training's step, WORTH
CREW = 4  # threads at most that do
TASK = 25e3  # nanoseconds of the shortest task; one costs two thousand
LONGEST = 5e6  # nanoseconds of a task up to which Ctrl-C and a slower thread are not felt
TASKS = 4  # tasks a thread, so that none waits long for the last
PARTS = 32 << 20  # bytes of sums that may wait for others
PIECE = 1 << 17  # entries of sums that are merged at once
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
    def estimated(cls, passes: int, operations: float, size: int, threads: int | None) -> "Share":
        """From the operations of a sample in double precision and its bytes: what takes longer, in one pass of many."""
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


@dataclass(frozen=True, slots=True)
class Work:
    """What a call with arrays takes, and how it may be shared.

    terms: nanoseconds, and the inputs and their axes whose lengths multiply them.  inputs: how many there are.  passes:
    over the samples.  least: samples of the smallest group.
    """

    terms: tuple[tuple[float, tuple[tuple[int, int], ...]], ...]
    inputs: int
    passes: int
    least: int
    threads: int | None = None

    @classmethod
    def estimated(
        cls, plan: Plan, growth: Growth, inputs: Sequence[Argument], dtype: str, threads: int | None
    ) -> "Work":
        """From a time in operations of double precision."""
        shapes = [(k, axis, d) for k, a in enumerate(inputs) for axis, d in enumerate(a.leaf.type.shape)]
        composed = {name: (k, axis) for k, axis, d in shapes for name in names_in(d)}  # about as long
        axes = composed | {d: (k, axis) for k, axis, d in shapes}
        each = NS_PER_OPERATION * np.dtype(dtype).itemsize / 8
        terms = tuple((each * count, tuple(axes[d] for d in names)) for names, count in growth.items())
        return cls(terms, len(inputs), len(plan.passes), plan.group, threads)

    def nanoseconds(self, inputs: Sequence[Any]) -> float:
        """The time that these inputs take."""
        found = 0.0
        for each, axes in self.terms:
            for k, axis in axes:
                each *= inputs[k].shape[axis]
            found += each
        return found

    def pays(self, inputs: Sequence[Any]) -> bool:
        """Whether it may pay to share a call: some dimension has a group and a half, and the work is enough.

        That is more than for columns, as there are more sums to merge.
        """
        named = {place for _, axes in self.terms for place in axes}
        long = not named or any(2 * inputs[k].shape[axis] >= 3 * self.least for k, axis in named)
        return bool(self.passes) and self.threads != 1 and long and self.nanoseconds(inputs) >= 2 * WORTH

    def helpers(self, nanoseconds: float, trains: bool) -> int:
        """How many helpers a call of so many nanoseconds should have for its large products, or a training's step."""
        available = min(processors(), CREW)
        each = WORTH if trains else HELPED
        return max(0, min(self.threads or available, available, int(nanoseconds / each)) - 1)

    def share(self, samples: int, rest: Sequence[Any]) -> Share:
        """How one pass over so many samples may be shared; the inputs are the last of its arguments."""
        inputs = rest[len(rest) - self.inputs :]
        return Share(max(self.nanoseconds(inputs) / self.passes / max(samples, 1), 0.1), self.threads)


def spread(kernel: Any, plan: Plan, inputs: Mapping[str, Any], share: Share | Work) -> Callable[..., Any]:
    """A kernel that shares its passes over the samples with other threads; inputs: their kinds, by name."""
    text = plain_text(kernel)
    replaced = {name: _runnable(f, inputs) for name, f in called(kernel).items()}
    for p in plan.passes:
        inner = _runnable(text.__globals__[p.inner], inputs) if p.inner else None
        replaced[p.name] = shared(replaced[p.name], p, inner, plan.block, share)
    kept: list[Memory] = []

    def run(*args: Any) -> Any:
        with lent(kept) as memory:
            space = {**text.__globals__, **replaced, **memory.functions()}
            return FunctionType(text.__code__, space, text.__name__)(*args)

    return run


def plain_text(function: Any) -> Any:
    """The function whose text it is; the function itself where it is not compiled."""
    return own_text(function) or function


def called(kernel: Any) -> dict[str, Any]:
    """The functions that a kernel's text calls, by name."""
    text = plain_text(kernel)
    found = {name: text.__globals__.get(name) for name in text.__code__.co_names}
    return {name: f for name, f in found.items() if isinstance(plain_text(f), FunctionType)}


def arguments_of(function: Any) -> tuple[str, ...]:
    """The names of a function's arguments."""
    code = plain_text(function).__code__
    return tuple(code.co_varnames[: code.co_argcount])


def shared(
    run: Callable[..., Any], p: Pass, inner: Callable[..., Any] | None, block: int, share: Share | Work
) -> Callable[..., Any]:
    """What the driver calls in place of a pass `run`; inner: the function that runs it for one group."""
    if isinstance(share, Share):
        return _shared_sums(run, share) if p.kind == "tree" else _shared_values(run, share, len(p.vectors))
    if inner is None:
        return _shared_rows(run, share, block)
    add, raises = (_runnable(f, {}) for f in (add_parts, raise_parts))
    return Groups(run, inner, add, raises, share, p.vectors)


def _runnable(function: Any, inputs: Mapping[str, Any]) -> Callable[..., Any]:
    """A function as it is called from Python."""
    if own_text(function) is not None or hasattr(function, "py_func"):
        return _compiled(function, arguments_of(function), inputs)
    return _quiet(function)


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
            kinds = [inputs[t] if t in inputs else _kind_of(a) for t, a in zip(takes, args, strict=True)]
            entry = jit.entry(function, kinds, quick=True)
        return entry(*args)

    return call


def _kind_of(value: Any) -> Kind:
    """The kind of what a kernel makes itself: contiguous arrays and integers."""
    return array_kind(value.dtype.name, value.ndim) if isinstance(value, np.ndarray) else array_kind("int64", 0)


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that runs as Python, without NumPy's warnings, which each thread has its own switch for."""

    def call(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return call


def _shared_sums(run: Callable[..., Any], share: Share) -> Callable[..., None]:
    """The pass `run`, which adds samples to a tree of sums, shared."""
    carry = _runnable(carry_on, {})

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


def _shared_values(run: Callable[..., Any], share: Share, outputs: int) -> Callable[..., None]:
    """The pass `run`, which writes values of each sample, shared."""

    def values(*args: Any) -> None:
        outs, stop, rest = args[:outputs], args[outputs + 1], args[outputs + 2 :]
        spans, workers = -(-stop // SPAN), share.workers(stop)
        size = SPAN << share.level(spans, workers)
        pool.run(lambda k: run(*outs, k * size, min(stop, (k + 1) * size), *rest), -(-stop // size), workers)

    return values


def _shared_rows(run: Callable[..., Any], work: Work, block: int) -> Callable[..., None]:
    """The pass `run` over arrays, which writes rows, shared: ranges of whole blocks."""

    def rows(start: int, stop: int, *rest: Any) -> None:
        share = work.share(stop, rest)
        workers = share.workers(stop)
        few = max(stop // (TASKS * workers), TASK / share.cost)
        size = block * max(1, int(min(few, LONGEST / share.cost) / block))
        pool.run(lambda k: run(k * size, min(stop, (k + 1) * size), *rest), -(-stop // size), workers)

    return rows


class Memory:
    """Arrays for a call, in the order in which it asks for them; those of the last one serve again if they fit.

    >>> memory, like = Memory(), np.zeros(0)
    >>> first = memory.empty(3, like)
    >>> memory.end()
    >>> memory.zeros(3, like) is first
    True
    """

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.taken = 0

    def empty(self, shape: Any, like: np.ndarray) -> np.ndarray:
        """As the primitive."""
        k, wanted = self.taken, shape if isinstance(shape, tuple) else (shape,)
        self.taken += 1
        if k == len(self.arrays) or self.arrays[k].shape != wanted or self.arrays[k].dtype != like.dtype:
            self.arrays[k:] = [np.empty(wanted, like.dtype)]
        return self.arrays[k]

    def full(self, shape: Any, value: float, like: np.ndarray) -> np.ndarray:
        """As the primitive."""
        found = self.empty(shape, like)
        found[...] = value
        return found

    def zeros(self, shape: Any, like: np.ndarray) -> np.ndarray:
        """As the primitive."""
        return self.full(shape, 0.0, like)

    def functions(self) -> dict[str, Callable[..., np.ndarray]]:
        """What a driver has in place of the primitives, by name."""
        return {"empty": self.empty, "full": self.full, "zeros": self.zeros}

    def end(self) -> None:
        """The call is over; too much is not kept."""
        self.taken = 0
        if sum(a.nbytes for a in self.arrays) > 2 * PARTS:
            self.arrays.clear()


@contextmanager
def lent(kept: list[Memory]) -> Iterator[Memory]:
    """Memory that no other call uses at the time; fresh memory is slow (see `native.memory`)."""
    try:
        memory = kept.pop()
    except IndexError:
        memory = Memory()
    try:
        yield memory
    finally:
        memory.end()
        kept.append(memory)


class Sums(NamedTuple):
    """Memory for sums of groups that wait, a row each, and for what is lost as they are merged; of each vector."""

    parts: list[np.ndarray]
    lost: list[np.ndarray]


@dataclass(frozen=True, slots=True)
class Groups:
    """What is called in place of a function that adds up a pass over arrays, group by group.

    whole: that function, for what is not worth sharing.  samples: the pass.  add: how sums are merged, and raises:
    maxima.  kinds: of the vectors that are added to, which come first, or whose entries are maxima.  kept: memory of
    calls that are over.
    """

    whole: Callable[..., Any]
    samples: Callable[..., Any]
    add: Callable[..., Any]
    raises: Callable[..., Any]
    work: Work
    kinds: tuple[str, ...]
    kept: list[Memory] = field(default_factory=list)

    def __call__(self, *args: Any) -> None:
        """Add the samples of all groups."""
        at = len(self.kinds)
        totals, stop, rest = args[:at], args[at + 1], args[at + 2 :]
        share = self.work.share(stop, rest)
        size, workers = plain_text(group_size)(stop, self.work.least), share.workers(stop)
        if workers < 2 or 2 * stop < 3 * size:
            self.whole(*args)
            return
        groups, each = -(-stop // size), math.ceil(TASK / (share.cost * size))
        wave = min(groups, max(workers * each, PARTS // max(sum(t.nbytes for t in totals), 1)))
        with lent(self.kept) as memory:
            sums = Sums([memory.empty((wave, t.size), t) for t in totals], [memory.empty(t.size, t) for t in totals])
            for first in range(0, groups, wave):
                count = min(wave, groups - first)

                def task(k: int, first: int = first, count: int = count) -> None:
                    for g in range(k * each, min((k + 1) * each, count)):
                        into = totals if first + g == 0 else [p[g] for p in sums.parts]
                        self.group(into, first + g, size, stop, rest)

                pool.run(task, -(-count // each), workers)
                self.merge(totals, sums, slice(first == 0, count), (first == 0, first + count == groups), workers)

    def group(self, into: Sequence[np.ndarray], k: int, size: int, stop: int, rest: Sequence[Any]) -> None:
        """One group, from nothing; the first begins with what is there, which is nothing."""
        for vector, kind in zip(into, self.kinds, strict=True) if k else ():
            vector[:] = 0.0 if kind == "added" else -INF
        self.samples(*into, k * size, min(stop, (k + 1) * size), *rest)

    def merge(
        self, totals: Sequence[np.ndarray], sums: Sums, rows: slice, ends: tuple[bool, bool], workers: int
    ) -> None:
        """Put the rows together, in their order; long vectors piece by piece.

        ends: whether these are the first, the last.
        """
        pieces = [(k, at) for k, t in enumerate(totals) for at in range(0, t.size, PIECE)]

        def task(p: int) -> None:
            k, start = pieces[p]
            stop = min(start + PIECE, totals[k].size)
            if self.kinds[k] == "largest":
                self.raises(totals[k], sums.parts[k][rows], start, stop)
                return
            total, lost = totals[k][start:stop], sums.lost[k][start:stop]
            if ends[0]:
                lost[:] = 0.0
            self.add(totals[k], sums.parts[k][rows], sums.lost[k], start, stop)
            if ends[1]:
                total += lost  # as `add_compensation` does, of which no machine code is made for this alone

        pool.run(task, len(pieces), min(workers, 1 + sum(t.size for t in totals) // PIECE))
