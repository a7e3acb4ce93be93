"""Calls whose work is shared: a kernel's passes over the samples, cut into ranges of groups, which the threads share.

The kernel's own text is the driver. It runs as Python, and where it calls a pass over all samples, the ranges are
handed out. Each is a subtree of the tree of sums (see `gradcompile.library.sums`), and what these give meets as the
rest of the tree. So the result has the same bits for any number of threads.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import numpy as np

from gradcompile.analysis.cost import Growth
from gradcompile.codegen import array_kind, own_text
from gradcompile.codegen import functions as jit
from gradcompile.codegen.values import Kind
from gradcompile.ir.types import names_in
from gradcompile.library.sums import group_size
from gradcompile.loops.kernel import Pass, Plan
from gradcompile.runtime.threads import pool, processors
from gradcompile.signature.arguments import Argument

WORTH = 300e3  # nanoseconds of work from which on it is shared: until another thread is at work takes some 50 thousand
HELPED = 30e3  # nanoseconds of a call for each thread that takes parts of its products; of a training's step, WORTH
CREW = 4  # threads at most that do
TASK = 25e3  # nanoseconds of the shortest task; one costs two thousand
LONGEST = 5e6  # nanoseconds of a task up to which Ctrl-C and a slower thread are not felt
TASKS = 4  # tasks a thread, so that none waits long for the last
PARTS = 32 << 20  # bytes of sums that may wait for others, but for one a thread
PIECE = 1 << 17  # entries of sums that are merged at once
NS_PER_OPERATION, NS_PER_BYTE = 0.03, 0.03  # of vector code, of memory in cache; what is too low only shares later


@dataclass(frozen=True, slots=True)
class Share:
    """How a pass may be shared: nanoseconds of one sample, samples of a group, and the largest number of threads.

    >>> share = Share(1.0, 1024, 2)
    >>> share.smallest, share.level(1000, 2)
    (300000, 6)
    """

    cost: float
    group: int
    threads: int | None = None

    @property
    def least(self) -> int:
        """A task has 2**least groups at least."""
        return max(0, math.ceil(math.log2(TASK / (self.cost * self.group))))

    @property
    def smallest(self) -> int:
        """Samples from which on the work is shared; two tasks at least."""
        return max(int(WORTH / self.cost), 2 * self.group << self.least)

    def workers(self, samples: int) -> int:
        """The number of threads that take part: as many as there are processors, if each has enough to do."""
        available = processors()
        return min(self.threads or available, available, max(1, int(2 * samples * self.cost / WORTH)))

    def level(self, groups: int, workers: int) -> int:
        """Tasks have 2**level groups: a few tasks a thread, neither too short nor too long."""
        few = (groups // (TASKS * workers)).bit_length() - 1
        longest = int(math.log2(max(1.0, LONGEST / (self.cost * self.group))))
        return max(self.least, min(few, longest))


def group_of(plan: Plan, samples: int) -> int:
    """The samples of a group: of columns always as many."""
    return int(plain_text(group_size)(samples, plan.group)) if plan.block else plan.group


@dataclass(frozen=True, slots=True)
class Work:
    """What a call takes, and how it may be shared.

    terms: nanoseconds, and the inputs and their axes whose lengths multiply them.  inputs: how many there are.
    """

    terms: tuple[tuple[float, tuple[tuple[int, int], ...]], ...]
    inputs: int
    plan: Plan
    threads: int | None = None

    @classmethod
    def of_columns(cls, plan: Plan, cost: tuple[int, int], inputs: Sequence[Argument], dtype: str,
                   threads: int | None) -> "Work":  # fmt: skip
        """From the operations of a sample in double precision and its bytes: what takes longer, in one pass of many."""
        (operations, size), passes = cost, max(len(plan.passes), 1)
        time = operations * NS_PER_OPERATION * np.dtype(dtype).itemsize / 8
        column = next(k for k, a in enumerate(inputs) if a.is_column)
        return cls(((max(time, passes * size * NS_PER_BYTE), ((column, 0),)),), len(inputs), plan, threads)

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
        return cls(terms, len(inputs), plan, threads)

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

        With arrays that is more than for columns, as there are more sums to merge.
        """
        named = {place for _, axes in self.terms for place in axes}
        long = not named or any(2 * inputs[k].shape[axis] >= 3 * self.plan.group for k, axis in named)
        least = 2 * WORTH if self.plan.block else WORTH * len(self.plan.passes)
        return bool(self.plan.passes) and self.threads != 1 and long and self.nanoseconds(inputs) >= least

    def helpers(self, nanoseconds: float, trains: bool) -> int:
        """How many helpers a call of so many nanoseconds should have for its large products, or a training's step."""
        available = min(processors(), CREW)
        each = WORTH if trains else HELPED
        return max(0, min(self.threads or available, available, int(nanoseconds / each)) - 1)

    def share(self, samples: int, rest: Sequence[Any], group: int) -> Share:
        """How one pass over so many samples may be shared; the inputs are the last of its arguments."""
        inputs = rest[len(rest) - self.inputs :]
        each = self.nanoseconds(inputs) / max(len(self.plan.passes), 1) / max(samples, 1)
        return Share(max(each, 0.1), group, self.threads)


def spread(kernel: Any, inputs: Mapping[str, Any], work: Work) -> Callable[..., Any]:
    """A kernel that shares its passes over the samples with other threads; inputs: their kinds, by name."""
    text = plain_text(kernel)
    replaced = {name: _runnable(f, inputs) for name, f in called(kernel).items()}
    replaced |= {p.name: Shared(replaced[p.name], p, work) for p in work.plan.passes}
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


@dataclass(frozen=True, slots=True)
class Shared:
    """What is called in place of a pass: ranges of its samples are tasks, and what they gather meets in a tree.

    run: the pass.  kept: memory of calls that are over.
    """

    run: Callable[..., Any]
    made: Pass
    work: Work
    kept: list[Memory] = field(default_factory=list)

    def __call__(self, *args: Any) -> None:
        """All samples."""
        at = len(self.made.vectors)
        vectors, stop, rest = args[:at], args[at + 1], args[at + 2 :]
        group = group_of(self.work.plan, stop) if vectors else self.work.plan.block
        share = self.work.share(stop, rest, group)
        workers, groups = share.workers(stop), -(-stop // group)
        level = share.level(groups, workers)
        if self.made.gathers:
            most = max(workers, PARTS // max(sum(v.nbytes for v in vectors), 1))
            while -(-groups >> level) > most:
                level += 1
        size = group << level
        tasks = -(-stop // size)
        if workers < 2 or 2 * stop < 3 * size:
            self.run(*args)
        elif self.made.gathers:
            self.gather(vectors, tasks, workers, lambda k, into: self.run(*into, *bounds(k, size, stop), *rest))
        else:
            pool.run(lambda k: self.run(*vectors, *bounds(k, size, stop), *rest), tasks, workers)

    def gather(
        self, vectors: Sequence[np.ndarray], tasks: int, workers: int, run: Callable[[int, Sequence[np.ndarray]], None]
    ) -> None:
        """What the tasks gather, put together; the first begins with what is there, which is nothing."""
        with lent(self.kept) as memory:
            rows = [[v, *memory.empty((tasks - 1, v.size), v)] for v in vectors]

            def task(k: int) -> None:
                for row, kind in zip(rows, self.made.vectors, strict=True) if k else ():
                    row[k][:] = EMPTY[kind]
                run(k, [row[k] for row in rows])

            pool.run(task, tasks, workers)
            pieces = [(k, at) for k, v in enumerate(vectors) for at in range(0, v.size, PIECE)]

            def meet(p: int) -> None:
                k, at = pieces[p]
                meet_in_tree([row[at : at + PIECE] for row in rows[k]], self.made.vectors[k])

            pool.run(meet, len(pieces), min(workers, 1 + sum(v.size for v in vectors) // PIECE))


def bounds(k: int, size: int, stop: int) -> tuple[int, int]:
    """Where the k-th range of so many begins and ends."""
    return k * size, min(stop, (k + 1) * size)


EMPTY = {"added": 0.0, "largest": -math.inf}  # what is gathered of nothing


def meet_in_tree(rows: Sequence[np.ndarray], kind: str) -> None:
    """Put rows together in the first, two neighbours at a time, then two of these, as `library.sums` does.

    >>> rows = list(np.array([[1.0], [2.0], [4.0]]))
    >>> meet_in_tree(rows, "added")
    >>> float(rows[0][0])
    7.0
    """
    step = 1
    while step < len(rows):
        for k in range(0, len(rows) - step, 2 * step):
            put(rows[k], rows[k + step], kind)
        step *= 2


def put(x: np.ndarray, y: np.ndarray, kind: str) -> None:
    """Add a vector to another, or keep the larger entries: of equals the first, NaN where one is."""
    with np.errstate(all="ignore"):
        if kind == "added":
            x += y
        else:
            np.copyto(x, y, where=~((x >= y) | (x != x)))
