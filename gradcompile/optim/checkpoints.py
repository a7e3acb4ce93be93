"""A run as one .npz, written beside and then renamed, so that the file is whole whatever happens meanwhile."""

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from inspect import isfunction, ismethod
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError, DataError
from gradcompile.optim.loop import Training
from gradcompile.optim.parts import Vector
from gradcompile.optim.rules import Rule
from gradcompile.optim.schedules import Spelled
from gradcompile.runtime import bind

VERSION = 2
ARRAYS = ("theta", "state", "mean", "at", "sums", "plateau", "best", "lowest")  # attributes of a run
OTHERS = {"loss": "another loss", "functions": "a rule, a rate or an input that is another function of this name"}
SHARE = 20  # of the time between two checkpoints, at most the 20th part is spent with writing


class Checkpoints:
    """Writes a run to a file, and reads it from there. every: seconds, at most, between two."""

    def __init__(self, run: Training, path: Any, every: float) -> None:
        self.run, self.path, self.every = run, Path(path), every
        if not self.path.parent.is_dir():
            raise ArgumentError(f"checkpoint={str(path)!r}: there is no directory {self.path.parent}; make it first")
        if self.path.is_dir():
            raise ArgumentError(
                f"checkpoint={str(path)!r} is a directory; name a file in it, as {self.path / 'run.npz'}"
            )
        self.written, self.took = time.monotonic(), 0.0
        found = marks((run.rule, list(getattr(run.source, "called", {}).values())), set())  # as they are at the start
        self.functions = {"functions": hashlib.sha256(repr(found).encode()).hexdigest()} if found else {}

    def described(self) -> dict[str, Any]:
        """What a run has to have in common with a checkpoint that it goes on from."""
        run = self.run
        source = getattr(run.f, "source", None)
        digest = hashlib.sha256(source.encode()).hexdigest() if source is not None else ""
        places = {a.name: list(map(int, a.leaf.type.shape)) for a in run.params}
        return {
            "version": VERSION, "loss": digest, "parameters": places, "optimizer": named(run.rule),
            **run.source.described(), "every": run.interval,
            **self.functions, **({"frozen": self.frozen} if run.freezes else {}),
        }  # fmt: skip

    @property
    def frozen(self) -> list[str]:
        """The parameters that stay."""
        places = zip(self.run.params, bind.places_of(self.run.params), strict=True)
        return [a.name for a, (start, stop, _) in places if not self.run.factors[start:stop].any()]

    def due(self, is_epoch: bool) -> bool:
        """Whether to write now."""
        since = time.monotonic() - self.written
        return since >= self.every or (is_epoch and since >= SHARE * self.took)

    def write(self) -> None:
        """Write the file: all of it, or nothing."""
        began, run = time.monotonic(), self.run
        arrays = {f".{name}": getattr(run, name) for name in ARRAYS}
        arrays |= {f".history_{k}": np.array(v) for k, v in run.history.items()}
        arrays |= {f".pair_{k}": np.asarray(v) for k, v in enumerate(leaves(run.pair))}
        used = bind.unpack(run.params, run.used, run.f.dtype)  # for those who open the file elsewhere
        arrays |= {a.name: np.asarray(p) for a, p in zip(run.params, used, strict=True)}
        beside = self.path.with_name(f".{self.path.name}.part")
        with open(beside, "wb") as file:
            write_arrays(file, arrays | {".about": np.array(json.dumps(self.described()))})
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self.path)
        self.written = time.monotonic()
        self.took = self.written - began

    def read(self) -> bool:
        """Take the run to where the file has it; false where there is no file."""
        if not self.path.exists():
            return False
        try:
            with np.load(self.path, allow_pickle=False) as file:
                about = json.loads(str(file[".about"]))
                self.check(about)
                self.restore({name: file[name] for name in file.files})
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            if isinstance(error, ArgumentError):
                raise
            raise DataError(f"{self.path} is no checkpoint of gradcompile.train ({error}); remove it, or name another "
                            "file") from error  # fmt: skip
        return True

    def check(self, about: Mapping[str, Any]) -> None:
        """Raise where the checkpoint is of another run."""
        own = self.described()
        for name in {**own, **about}:
            if about.get(name) != own.get(name):
                what = OTHERS.get(name) or f"{name}={about.get(name)!r}, and this run has {own.get(name)!r}"
                raise ArgumentError(f"{self.path} is a checkpoint of {what}; name another file, or go on as it was")

    def restore(self, found: Mapping[str, Any]) -> None:
        """Give the run what was read."""
        run = self.run
        for name in ARRAYS:
            own = getattr(run, name)
            value = found[f".{name}"]
            if own.shape != value.shape or own.dtype != value.dtype:
                raise ValueError(f"{name} has shape {value.shape}, not {own.shape}")
            own[...] = value
        for name in run.history:
            run.history[name] = found[f".history_{name}"].tolist()
        run.pair = rebuilt(run.pair, iter([found[f".pair_{k}"] for k in range(len(list(leaves(run.pair))))]))


def write_arrays(file: Any, arrays: Mapping[str, Vector]) -> None:
    """An .npz of arrays of any names, of which `numpy.savez` takes some for its own."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(value), allow_pickle=False)


def named(rule: Any) -> str:
    """How a rule was written; of one of the user's the class, as what it shows may have an address in it."""
    return repr(rule) if isinstance(rule, Rule) else type(rule).__qualname__


def marks(value: Any, seen: set[int], inside: bool = False) -> list[Any]:
    """What tells functions of a user's apart that have one name: their code, and the numbers that it refers to.

    value: a rule, a function, or what holds some. inside: of a function, where numbers, texts and arrays count as well;
    other objects are known by their types alone.
    """
    if isinstance(value, int | float | str | bytes | np.generic):
        return [repr(value)] if inside else []
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()] if inside else []
    if isinstance(value, Mapping):
        return [mark for key in value for mark in (*marks(str(key), seen, inside), *marks(value[key], seen, inside))]
    if isinstance(value, list | tuple):
        return [mark for entry in value for mark in marks(entry, seen, inside)]
    if id(value) in seen:
        return []
    seen.add(id(value))
    if isinstance(value, Spelled):
        return marks(value.call[1], seen, inside)
    if isinstance(value, partial):
        return marks((value.func, value.args, value.keywords), seen, True)
    if ismethod(value):
        return marks((value.__func__, vars(value.__self__)), seen, True)
    if isfunction(value):
        code, cells = value.__code__, [c.cell_contents for c in value.__closure__ or ()]
        named = [value.__globals__[n] for n in code.co_names if n in value.__globals__]
        named = [v for v in named if not isfunction(v) or v.__module__ == value.__module__]  # not of all libraries
        return [written(code), *marks((value.__defaults__, value.__kwdefaults__, cells, named), seen, True)]
    methods = [getattr(value, n, None) for n in ("init", "update", "__call__")]
    return [mark for m in methods if ismethod(m) for mark in marks(m, seen, True)]


def written(code: CodeType) -> str:
    """A function's code with its constants."""
    inner = [written(c) if isinstance(c, CodeType) else repr(sorted(map(repr, c)) if isinstance(c, frozenset) else c)
             for c in code.co_consts]  # fmt: skip
    return repr((code.co_code.hex(), code.co_names, code.co_varnames, inner))


def leaves(state: Any) -> Iterator[Any]:
    """The arrays and numbers of a state: what tuples, lists and mappings hold, in their order."""
    if isinstance(state, Mapping):
        for key in state:
            yield from leaves(state[key])
    elif isinstance(state, tuple | list):
        for entry in state:
            yield from leaves(entry)
    elif state is not None:
        yield state


def rebuilt(like: Any, found: Iterator[Vector]) -> Any:
    """A state of the same form with these arrays and numbers."""
    if isinstance(like, Mapping):
        return type(like)({key: rebuilt(like[key], found) for key in like})  # type: ignore[call-arg]
    if isinstance(like, tuple | list):
        entries: Sequence[Any] = [rebuilt(entry, found) for entry in like]
        return type(like)(*entries) if hasattr(like, "_fields") else type(like)(entries)
    if like is None:
        return None
    value = next(found)
    return value if value.ndim or not isinstance(like, int | float) else type(like)(value)
