"""What batches are made of: arrays whose rows are gathered in an order, or batches as somebody hands them over."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradcompile.errors import ArgumentError
from gradcompile.library.optimizers import EPOCH, INSIDE, NEXT
from gradcompile.optim import batches
from gradcompile.optim.given import in_order
from gradcompile.optim.orders import WINDOW, Order
from gradcompile.runtime import bind, frames
from gradcompile.runtime.matching import Call
from gradcompile.signature.arguments import Argument

Vector = np.ndarray[Any, np.dtype[Any]]
STAGED = 1 << 20  # bytes of rows that are converted at a time
LARGE = 1 << 20  # bytes of an array from which on it is not converted as a whole
FILES = (".parquet", ".pq")


class Chunk(NamedTuple):
    """Steps that run in one go: the kernel's inputs of the first, how many rows each has, how many steps there are."""

    inputs: list[Any]
    rows: int
    turns: int


def source_of(
    f: Any, data: Any, batch_size: int | None, batch_axis: str | None, shuffle: bool, seed: int
) -> "Columns | Stream | Parts":
    """What gives the batches of data in any form."""
    takes = Call(f.problem.inputs)
    if isinstance(f, InParts):
        if batch_size is not None:
            raise ArgumentError("batch_size: each partition of the loss is a batch; cut the collection otherwise")
        return Parts(f, bind.fixed(bind.convert_all(takes.arguments, in_order(data, takes, "data"))), shuffle, seed)
    if is_file(data):
        from gradcompile.optim.parquet import Parquet

        data = Parquet(data, [a.name for a in takes.arguments], batch_size or 1024, shuffle, seed)
    elif is_stream(data):
        if batch_size is not None:
            raise ArgumentError("batch_size: data hands over batches as they are; leave it out")
    else:
        return Columns(f, in_order(data, takes, "data"), batch_size, batch_axis, shuffle, seed)
    return Stream(f, data, batch_axis)


def is_file(data: Any) -> bool:
    """Whether this is the path of a Parquet file, or some of them."""
    paths = data if isinstance(data, list | tuple) and data else [data]
    return all(isinstance(p, str | os.PathLike) and Path(p).suffix in FILES for p in paths)


def is_stream(data: Any) -> bool:
    """Whether this gives batches, one after another."""
    known = isinstance(data, Mapping | list | tuple | np.ndarray | str | os.PathLike) or hasattr(data, "__array__")
    if known or frames.is_frame(data):
        return False
    return callable(data) or isinstance(data, Iterable)


class Columns:
    """Arrays, of which those with the samples' dimension are cut; steps: batches in an epoch.

    What is large and not as the kernel takes it, as a file of float32, is converted a few batches at a time. An input
    that is a function of the step is asked at each.
    """

    def __init__(
        self, f: Any, values: Sequence[Any], batch_size: int | None, batch_axis: str | None, shuffle: bool, seed: int
    ) -> None:
        self.arguments: Sequence[Argument] = f.problem.inputs
        axis = batches.axis_of_samples(self.arguments, batch_axis, batch_size)
        cut = [axis is not None and a.leaf.type.shape[:1] == (axis,) for a in self.arguments]
        self.called = {k: v for k, v in enumerate(values) if callable(v)}
        late = [c and is_late(a, v) for a, v, c in zip(self.arguments, values, cut, strict=True)]
        shown = [v(0) if callable(v) else v for v in values]
        if self.called or any(late):
            most = batch_size or samples_of(self.arguments, values, cut)
            shown = [v[:most] if c else v for v, c in zip(shown, cut, strict=True)]
        self.inputs: list[Any] = bind.fixed(bind.convert_all(self.arguments, shown))
        f._route.check(self.inputs)
        given = values if self.called or any(late) else self.inputs
        self.samples = samples_of(self.arguments, given, cut)
        self.batch = min(batch_size or self.samples, self.samples)
        if self.arguments:
            batches.check(f.problem, self.inputs, axis, self.batch)
        if self.called or any(late):
            rest = zip(self.arguments, values, self.inputs, cut, late, strict=True)
            self.inputs = [v if b else bind.convert(a, v) if c and not callable(v) else w for a, v, w, c, b in rest]
        self.check = f._route.check if any(late) else None
        self.steps: int | None = -(-self.samples // self.batch)
        gathers = self.batch < self.samples or any(late)
        self.gathered = [c and gathers and k not in self.called for k, c in enumerate(cut)]
        self.columns = [v for v, c in zip(self.inputs, self.gathered, strict=True) if c]
        kinds = [a for a, c in zip(self.arguments, self.gathered, strict=True) if c]
        pairs = zip(kinds, self.columns, strict=True)
        self.buffers = [np.empty((self.batch, *v.shape[1:]), dtype_of(a)) for a, v in pairs]
        self.cut = cut
        self.order, self.base, self.until = np.empty(0, np.int64), 0, 0  # steps from and up to which the order goes
        self.orders = Order(self.samples, shuffle and self.batch < self.samples, seed)
        self.staged = [b[:0] for b in self.buffers]
        self.stages = not all(v.flags.c_contiguous for v in self.columns) or any(late)

    def described(self) -> dict[str, Any]:
        """What decides which samples come when."""
        own = self.orders
        return {"samples": self.samples, "batch_size": self.batch, "shuffle": own.shuffled, "seed": own.seed}

    @property
    def pairs(self) -> list[Vector]:
        """For each column that is cut where it is gathered from, and where to, as matrices or vectors."""
        sources = self.staged if self.stages else self.columns
        return [flat(v) for pair in zip(sources, self.buffers, strict=True) for v in pair]

    def chunk(self, step: int, most: int, at: Vector) -> Chunk:
        """The steps from one on, at most so many; the first batch is in its place."""
        steps = -(-self.samples // self.batch)
        turn = step % steps
        count = min(self.batch, self.samples - turn * self.batch)
        turns = most
        if self.columns:
            turns = self.gather(step, turn, count, most, at)
        parts = iter(self.buffers)
        inputs = [next(parts)[:count] if c else v for v, c in zip(self.inputs, self.gathered, strict=True)]
        for k, function in self.called.items():
            value = function(step)
            inputs[k] = bind.convert(self.arguments[k], value[:count] if self.cut[k] else value)
        return Chunk(inputs, count, 1 if self.called else turns)

    def gather(self, step: int, turn: int, count: int, most: int, at: Vector) -> int:
        """Put the rows of a batch in their place; how many steps may go on from there."""
        if not self.base <= step < self.until:
            self.look_ahead(step)
        first, whole = self.place(step), self.samples // self.batch
        rows = self.order[first : first + count]
        for buffer, v in zip(self.buffers, self.staged if self.stages else self.columns, strict=True):
            buffer[:count] = v[rows]
        at[NEXT] = first + count
        is_even = whole * self.batch == self.samples
        alike = (most if is_even else whole - turn) if count == self.batch else 1
        return min(most, self.until - step, alike)

    def place(self, step: int) -> int:
        """Where in the order a step's rows begin."""
        steps = -(-self.samples // self.batch)
        epochs, turn = divmod(step, steps)
        since, start = divmod(self.base, steps)
        return (epochs - since) * self.samples + (turn - start) * self.batch

    def look_ahead(self, step: int) -> None:
        """Have the order from a step on: of some epochs, or of a part of one."""
        steps = -(-self.samples // self.batch)
        epoch, turn = divmod(step, steps)
        most = WINDOW
        if self.stages:
            most = max(self.batch, STAGED // max(1, sum(b[:1].nbytes for b in self.buffers)))
        if self.samples <= most:
            count = most // self.samples
            order = np.concatenate([self.orders.rows(epoch + k, 0, self.samples) for k in range(count)])
            self.base, self.until = epoch * steps, (epoch + count) * steps
        else:
            turns = min(max(1, most // self.batch), steps - turn)
            rows = min(turns * self.batch, self.samples - turn * self.batch)
            order = self.orders.rows(epoch, turn * self.batch, rows)
            self.base, self.until = step, step + turns
        if self.stages:
            kinds = [a for a, c in zip(self.arguments, self.gathered, strict=True) if c]
            self.staged = [bind.convert(a, v[order]) for a, v in zip(kinds, self.columns, strict=True)]
            if self.check is not None:
                parts = iter(self.staged)
                self.check([next(parts) if c else v for v, c in zip(self.inputs, self.gathered, strict=True)])
            order = np.arange(len(order))
        self.order = np.ascontiguousarray(order, np.int64)

    def whole(self) -> Iterator[tuple[list[Any], int]]:
        """All samples, for a validation."""
        if self.check is None:
            yield self.inputs, self.samples
            return
        at = np.zeros(INSIDE + 1, np.int64)
        for step in range(-(-self.samples // self.batch)):
            made = self.chunk(step, 1, at)
            yield made.inputs, made.rows


class Stream:
    """Batches as somebody hands them over, one pass an epoch: something to iterate over, or a function that gives it.

    Each is what a call takes beside the parameters: a sequence in the function's order, or a mapping by name.
    """

    steps: int | None = None
    order = np.empty(0, np.int64)
    pairs: Sequence[Vector] = ()

    def __init__(self, f: Any, data: Any, batch_axis: str | None) -> None:
        self.arguments: Sequence[Argument] = f.problem.inputs
        self.takes, self.check, self.data = Call(self.arguments), f._route.check, data
        self.axis = batches.axis_of_samples(self.arguments, batch_axis, None)
        self.is_once = isinstance(data, Iterator)
        self.batches: Iterator[Any] | None = None
        self.epoch = self.inside = 0  # of the next batch

    def described(self) -> dict[str, Any]:
        """What decides which samples come when, as far as that is known."""
        found: dict[str, Any] = self.data.described() if hasattr(self.data, "described") else {}
        return found

    def open(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch."""
        if hasattr(self.data, "described"):
            return iter(self.data.epoch(epoch))
        return iter(self.data() if callable(self.data) else self.data)

    def chunk(self, step: int, most: int, at: Vector) -> Chunk | None:
        """The next batch; None at the end of an epoch. Where a run goes on, those that it had are skipped."""
        place = int(at[EPOCH]), int(at[INSIDE])
        if self.batches is None or place != (self.epoch, self.inside):
            self.batches = self.open(place[0])
            for _ in range(place[1]):
                next(self.batches, None)
        found = next(self.batches, self)
        if found is self:
            self.batches = None
            return None
        self.epoch, self.inside = place[0], place[1] + 1
        inputs, rows = self.taken(found)
        return Chunk(inputs, rows, 1)

    def taken(self, batch: Any) -> tuple[list[Any], int]:
        """A batch as the kernel takes it, and how many samples it has."""
        inputs = bind.convert_all(self.arguments, in_order(batch, self.takes, "a batch"))
        self.check(inputs)
        inputs = [v if not isinstance(v, np.ndarray) else np.ascontiguousarray(v) for v in inputs]
        cut = (len(v) for a, v in zip(self.arguments, inputs, strict=True) if a.leaf.type.shape[:1] == (self.axis,))
        return inputs, next(cut, 1)

    def whole(self) -> Iterator[tuple[list[Any], int]]:
        """All batches, for a validation."""
        for batch in self.open(0):
            yield self.taken(batch)


class InParts:
    """A loss whose samples lie in partitions elsewhere, as `train` asks a compiled one: over all, or over one of them.

    It has `rows`, how many samples each partition has, and `partition(k)`, the kernel over the k-th; k is the last
    of the inputs then.
    """

    is_compiled = False

    def __init__(self, v: Any) -> None:
        self.v, self.problem, self.dtype, self._route = v, v.problem, v.dtype, self

    def choose(self, inputs: Sequence[Any]) -> Any:
        """What evaluates it with these inputs."""
        if len(inputs) == len(self.problem.inputs):
            return self.v._route.choose(inputs)
        run = self.v.partition(int(inputs[-1]))
        return lambda theta, grad, *given: run(theta, grad, *given[:-1])

    def check(self, _: Sequence[Any]) -> None:
        """Partitions are checked where they are."""


class Parts:
    """Batches that are partitions of the loss; data are the inputs beside."""

    order = np.empty(0, np.int64)
    pairs: Sequence[Vector] = ()

    def __init__(self, f: InParts, inputs: Sequence[Any], shuffle: bool, seed: int) -> None:
        self.inputs, self.rows = list(inputs), f.v.rows
        self.places = [k for k, rows in enumerate(self.rows) if rows]
        self.steps: int | None = len(self.places)
        self.orders = Order(len(self.places), shuffle, seed)

    def described(self) -> dict[str, Any]:
        """What decides which samples come when."""
        return {"partitions": self.rows, "shuffle": self.orders.shuffled, "seed": self.orders.seed}

    def chunk(self, step: int, most: int, at: Vector) -> Chunk:
        """The next step's."""
        epoch, turn = divmod(step, len(self.places))
        place = self.places[self.orders.rows(epoch, turn, 1)[0]]
        return Chunk([*self.inputs, place], self.rows[place], 1)

    def whole(self) -> Iterator[tuple[list[Any], int]]:
        """All samples, for a validation."""
        yield self.inputs, sum(self.rows)


def is_late(argument: Argument, value: Any) -> bool:
    """Whether an array is large, and not as the kernel takes it, so that it is converted batch by batch."""
    if not isinstance(value, np.ndarray) or value.nbytes < LARGE or value.dtype.kind not in "biuf":
        return False
    return value.dtype != dtype_of(argument) or not value.flags.c_contiguous or not value.flags.aligned


def dtype_of(argument: Argument) -> Any:
    """The dtype in which compiled code takes an array."""
    name = argument.leaf.type.dtype
    return np.dtype(name if name.startswith("float") else "int64")


def samples_of(arguments: Sequence[Argument], values: Sequence[Any], cut: Sequence[bool]) -> int:
    """How many samples there are, by the first input that has them."""
    columns = [(a.name, v) for a, v, c in zip(arguments, values, cut, strict=True) if c and not callable(v)]
    found = {name: len(v) for name, v in columns if np.ndim(v)}
    for name, length in found.items():
        first = next(iter(found))
        if length != found[first]:
            raise ArgumentError(f"{first} has {found[first]} rows and {name} has {length}; they need as many")
    if 0 in found.values():
        raise ArgumentError(f"{next(iter(found))} has zero samples; there is nothing to train on")
    if any(cut) and not found:
        raise ArgumentError("data: all inputs that are cut in batches are functions of the step; give arrays for some")
    return next(iter(found.values()), 1)


def flat(v: Vector) -> Vector:
    """An array with all axes but the first as one; a vector as it is."""
    return v if v.ndim == 1 else v.reshape(len(v), math.prod(v.shape[1:]))
