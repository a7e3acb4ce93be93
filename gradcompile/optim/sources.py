"""What batches are made of: arrays whose rows are gathered in an order, or batches as somebody hands them over."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradcompile.library.optimizers import NEXT
from gradcompile.optim import batches
from gradcompile.optim.orders import WINDOW, Order
from gradcompile.runtime import bind

Vector = np.ndarray[Any, np.dtype[Any]]
STAGED = 1 << 20  # bytes of rows that are converted at a time


class Chunk(NamedTuple):
    """Steps that run in one go: the kernel's inputs of the first, how many rows each has, how many steps there are."""

    inputs: list[Any]
    rows: int
    turns: int


class Columns:
    """Arrays, of which those with the samples' dimension are cut; steps: batches in an epoch."""

    def __init__(
        self, f: Any, values: Sequence[Any], batch_size: int | None, batch_axis: str | None, shuffle: bool, seed: int
    ) -> None:
        arguments = f.problem.inputs
        self.inputs: list[Any] = bind.fixed(bind.convert_all(arguments, values))
        f._route.check(self.inputs)
        axis = batches.axis_of_samples(arguments, batch_axis, batch_size)
        cut = [axis is not None and a.leaf.type.shape[:1] == (axis,) for a in arguments]
        self.samples = next((len(v) for v, c in zip(self.inputs, cut, strict=True) if c), 1)
        self.batch = min(batch_size or self.samples, self.samples)
        batches.check(f.problem, self.inputs, axis, self.batch)
        self.steps = -(-self.samples // self.batch)
        self.is_cut = [c and self.batch < self.samples for c in cut]
        self.columns = [v for v, c in zip(self.inputs, self.is_cut, strict=True) if c]
        self.buffers = [np.empty((self.batch, *v.shape[1:]), v.dtype) for v in self.columns]
        self.order, self.base, self.until = np.empty(0, np.int64), 0, 0  # steps from and up to which the order goes
        self.orders = Order(self.samples, shuffle, seed)
        self.staged = [np.empty((0, *v.shape[1:]), b.dtype) for v, b in zip(self.columns, self.buffers, strict=True)]
        self.stages = not all(v.flags.c_contiguous for v in self.columns)

    @property
    def pairs(self) -> list[Vector]:
        """For each column that is cut where it is gathered from, and where to, as matrices or vectors."""
        sources = self.staged if self.stages else self.columns
        return [flat(v) for pair in zip(sources, self.buffers, strict=True) for v in pair]

    def chunk(self, step: int, most: int, at: Vector) -> Chunk:
        """The steps from one on, at most so many; the first batch is in its place."""
        if not self.columns:
            return Chunk(self.inputs, self.samples, most)
        turn = step % self.steps
        count = min(self.batch, self.samples - turn * self.batch)
        if not self.base <= step < self.until:
            self.look_ahead(step)
        first = self.place(step)
        whole = self.samples // self.batch
        alike = (most if self.steps == whole else whole - turn) if count == self.batch else 1
        turns = min(most, self.until - step, alike)
        rows = self.order[first : first + count]
        for buffer, v in zip(self.buffers, self.staged if self.stages else self.columns, strict=True):
            buffer[:count] = v[rows]
        at[NEXT] = first + count
        parts = iter(self.buffers)
        inputs = [next(parts)[:count] if c else v for v, c in zip(self.inputs, self.is_cut, strict=True)]
        return Chunk(inputs, count, turns)

    def place(self, step: int) -> int:
        """Where in the order a step's rows begin."""
        epochs, turn = divmod(step, self.steps)
        since, start = divmod(self.base, self.steps)
        return (epochs - since) * self.samples + (turn - start) * self.batch

    def look_ahead(self, step: int) -> None:
        """Have the order from a step on: of some epochs, or of a part of one."""
        epoch, turn = divmod(step, self.steps)
        most = WINDOW
        if self.stages:
            most = max(self.batch, STAGED // max(1, sum(b[:1].nbytes for b in self.buffers)))
        if self.samples <= most:
            count = most // self.samples
            order = np.concatenate([self.orders.rows(epoch + k, 0, self.samples) for k in range(count)])
            self.base, self.until = epoch * self.steps, (epoch + count) * self.steps
        else:
            turns = min(max(1, most // self.batch), self.steps - turn)
            rows = min(turns * self.batch, self.samples - turn * self.batch)
            order = self.orders.rows(epoch, turn * self.batch, rows)
            self.base, self.until = step, step + turns
        if self.stages:
            pairs = zip(self.columns, self.buffers, strict=True)
            self.staged = [np.ascontiguousarray(v[order], b.dtype) for v, b in pairs]
            order = np.arange(len(order))
        self.order = np.ascontiguousarray(order, np.int64)


def flat(v: Vector) -> Vector:
    """An array with all axes but the first as one; a vector as it is."""
    return v if v.ndim == 1 else v.reshape(len(v), math.prod(v.shape[1:]))
