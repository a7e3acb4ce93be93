"""Parquet files as batches: one group of rows in memory at a time, in an order drawn anew for each epoch."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError, DataError
from gradcompile.runtime import frames


class Parquet:
    """Files with columns of these names.

    Shuffled, the groups of rows come in an order drawn by PCG64 from (seed, epoch), and the rows of each in one that is
    drawn after it: the same in each run, and as good as a shuffle of all where groups are alike.
    """

    def __init__(self, paths: Any, names: Sequence[str], batch: int, shuffle: bool, seed: int) -> None:
        try:
            from pyarrow import parquet
        except ImportError:
            raise ArgumentError("a Parquet file is read by pyarrow: pip install pyarrow") from None
        self.names, self.batch, self.shuffle, self.seed = list(names), batch, shuffle, seed
        self.paths = [os.fspath(p) for p in (paths if isinstance(paths, list | tuple) else [paths])]
        try:
            self.files = [parquet.ParquetFile(path) for path in self.paths]
        except (OSError, ValueError) as error:
            raise DataError(f"a Parquet file can't be opened: {error}") from error
        for path, file in zip(self.paths, self.files, strict=True):
            missing = [n for n in self.names if n not in file.schema_arrow.names]
            if missing:
                raise DataError(f"{path} has no column {missing[0]!r}; it has {', '.join(file.schema_arrow.names)}")
        self.groups = [(k, g) for k, file in enumerate(self.files) for g in range(file.num_row_groups)]

    def described(self) -> dict[str, Any]:
        """What decides which samples come when."""
        rows = [file.metadata.num_rows for file in self.files]
        return {"samples": rows, "batch_size": self.batch, "shuffle": self.shuffle, "seed": self.seed}

    def epoch(self, number: int) -> Iterator[dict[str, Any]]:
        """The batches of an epoch; rows that are left of a group go before those of the next."""
        random = np.random.Generator(np.random.PCG64([self.seed, number]))
        order = random.permutation(len(self.groups)) if self.shuffle else range(len(self.groups))
        left: dict[str, Any] = {}
        for k in order:
            group = self.read(*self.groups[k], random)
            left = {n: np.concatenate([left[n], v]) if left else v for n, v in group.items()}
            count = len(next(iter(left.values())))
            whole = count - count % self.batch
            for start in range(0, whole, self.batch):
                yield {n: v[start : start + self.batch] for n, v in left.items()}
            left = {n: v[whole:] for n, v in left.items()}
        if left and len(next(iter(left.values()))):
            yield left

    def read(self, file: int, group: int, random: np.random.Generator) -> dict[str, Any]:
        """The columns of a group of rows; where it can't be read, the file and the group are named."""
        try:
            table = self.files[file].read_row_group(group, columns=self.names)
        except OSError as error:
            raise DataError(f"{self.paths[file]}, group {group} of its rows, can't be read: {error}") from error
        found = frames.values(table, self.names)
        rows = random.permutation(table.num_rows) if self.shuffle else slice(None)
        return {n: stacked(v)[rows] for n, v in found.items()}


def stacked(column: Any) -> Any:
    """A column as an array; of lists of one length a matrix."""
    found = np.asarray(column)
    return np.stack(list(found)) if found.dtype == object else found
