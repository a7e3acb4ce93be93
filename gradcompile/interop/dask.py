"""Losses over data on a Dask cluster: parameters go out, sums come back, and the data stay where they are.

Needs Dask: pip install 'gradcompile[dask]'.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from gradcompile.compiled import Compiled
from gradcompile.data.tables import open_table
from gradcompile.errors import ArgumentError, ArgumentTypeError, DataError
from gradcompile.ir.types import dims_solved, names_in
from gradcompile.once import waiting
from gradcompile.runtime import bind, frames
from gradcompile.runtime.matching import Call
from gradcompile.runtime.pieces import Asked, Driver, Passes, Piece, Sum, met
from gradcompile.signature.arguments import Argument

try:
    from dask.base import is_dask_collection
    from dask.delayed import delayed
    from distributed import Client, futures_of, get_client
except ImportError as error:
    raise ImportError("gradcompile.interop.dask needs Dask: pip install 'gradcompile[dask]'") from error

FAN = 16  # results that are added up in one task
HEAVY = 1 << 20  # bytes of results from which on they are added up by tasks
KINDS = "a Dask array, DataFrame or bag, a mapping of names to Dask arrays, or a list of files"


def value_and_grad(f: Any, collection: Any, *, client: Any = None) -> "Distributed":
    """The compiled function over samples that are on a cluster: v(*params) is what f(*params, ...) is with all of them.

    f: what is compiled and has results of a size that does not grow with the samples: a loss with its gradient, a
    Hessian, J'J, several losses. collection: a Dask DataFrame, whose columns are taken by name; a bag of records, which
    are mappings; a Dask array, of one input or of a structured dtype; a mapping of names to Dask arrays, and of other
    inputs to what they are; or a list of files, a partition each: Parquet, .npy, .npz, or tables of text. Inputs that
    it lacks are given by name when v is called. client: of the cluster, the current one if None.

    Persisted partitions stay where they are; others are made anew at each call, so data may be larger than the
    cluster's memory. A worker that is lost costs the work of its partitions. The bits depend neither on the workers nor
    on the partitions, as long as each begins with a group of `v.group` samples.

    Raises ExpressionError where something but sums looks at the samples, ArgumentError and DataError for a collection
    that does not fit.
    """
    if not isinstance(f, Compiled):
        raise ArgumentTypeError(f"f is of type {type(f).__name__}; give what compile_grad or its like returns")
    return Distributed(f, collection, get_client() if client is None else client)


class Distributed:
    """A compiled function over samples on a cluster, made by `value_and_grad`; called it gives what that gives.

    `shapes` are those of the parameters by name; `samples` and `partitions` count what there is, `group` is how many
    samples a partition should be a multiple of. `minimize` and `train` take it where they take a compiled loss.
    """

    def __init__(self, f: Compiled, collection: Any, client: Client) -> None:
        passes = Passes(f)
        inputs = f.problem.inputs
        constants: dict[str, Any] = {}
        if isinstance(collection, Mapping):
            constants = {str(k): v for k, v in collection.items() if not is_dask_collection(v)}
            collection = {k: v for k, v in collection.items() if is_dask_collection(v)}
        known = {k: a for k, a in enumerate(inputs) if k not in passes.columns and a.name in constants}
        whole = {k: bind.convert(a, constants[a.name]) for k, a in known.items()}
        work = pickle.dumps((pickle.dumps(f), whole))
        self._client, self._passes = client, passes
        self._work = client.submit(_handed, work, key=f"gradcompile-{sha256(work).hexdigest()[:16]}")
        self._parts, self._read = parts_of(collection)
        one = self._parts[0] if self._parts else None
        self._is_lazy = any(map(is_dask_collection, one if isinstance(one, list) else [one]))
        if not self._parts:
            raise ArgumentError(f"the collection is empty; give {KINDS}")
        rows = self._gathered(self._tasks(_rows, [()] * len(self._parts), self._parts))
        self.samples, self.partitions = sum(rows), len(rows)
        if not self.samples:
            raise ArgumentError("the collection has no samples; a loss over samples needs at least one")
        self.group = passes.group(self.samples)
        firsts = accumulate(rows, initial=0)
        groups = accumulate((-(-n // self.group) for n in rows), initial=0)
        self._places = [(i, g, n, self.samples) for i, g, n in zip(firsts, groups, rows)]  # noqa: B905 - and the ends
        self._check(f, whole)
        self._whole, self._alone = whole, dict[int, Driver]()
        driver = Driver(passes, self.samples, whole, self._ask)
        rest = tuple(a for k, a in enumerate(inputs) if k not in passes.columns and k not in whole)
        self._here: Any = _over(f, rest, Remote(driver, rest, self.dtype))

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """What the compiled function gives, over all samples."""
        return self._here(*args, **named)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters, by name and in order."""
        return {a.name: tuple(map(int, a.leaf.type.shape)) for a in self.problem.params}

    @property
    def problem(self) -> Any:
        """What is computed; its inputs are those that the collection lacks."""
        return self._here.problem

    @property
    def dtype(self) -> str:
        """The floating-point type of theta."""
        return str(self._passes.compiled.dtype)

    @property
    def size(self) -> int:
        """The number of entries of theta."""
        return int(self._passes.compiled.size)

    @property
    def _route(self) -> "Remote":
        found: Remote = vars(self._here)["_route"]
        return found

    def flat(self, theta: Any, /, *inputs: Any, **named: Any) -> Any:
        """The loss and its gradient as one vector."""
        return self._here.flat(theta, *inputs, **named)

    def bind(self, /, *inputs: Any, **named: Any) -> Any:
        """A function of theta, with views for SciPy."""
        return self._here.bind(*inputs, **named)

    def pack(self, *params: Any) -> Any:
        """The parameters as one vector theta."""
        return self._here.pack(*params)

    def unpack(self, theta: Any) -> Any:
        """The parameters from a vector theta."""
        return self._here.unpack(theta)

    def __repr__(self) -> str:
        where = f"{self.samples:,} samples in {self.partitions} partitions"
        return f"<{type(self._here).__name__}{self._here.signature} over {where}>"

    def each(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """function(columns, *args) of each partition that has samples: its columns by name, as a kernel has them."""
        found = self._gathered(self._tasks(_applied, self.rows, self._parts, function=function, args=args))
        return [x for x in found if x is not None]

    @property
    def rows(self) -> list[int]:
        """How many samples each partition has; to `train` each is a batch, unless it is empty."""
        return [rows for _, _, rows, _ in self._places]

    def partition(self, k: int) -> Driver:
        """The kernel over one partition, as a route gives it over all."""
        if k not in self._alone:
            rows, part = self.rows[k], [self._parts[k]]

            def ask(asked: Asked, before: Sequence[Asked]) -> list[Sum]:
                tasks = self._tasks(_sums, [(0, 0, rows, rows)], part, asked=asked, before=list(before))
                return [s for sums in self._gathered(tasks) for s in sums]

            self._alone[k] = Driver(self._passes, rows, self._whole, ask)
        return self._alone[k]

    # ---- tasks

    def _check(self, f: Compiled, whole: Mapping[int, Any]) -> None:
        """Check what is known of the inputs without their samples."""
        demands = f._demands
        known = dict(whole) | {
            k: np.broadcast_to(np.float64(), (self.samples, *map(int, f.problem.inputs[k].leaf.type.shape[1:])))
            for k in self._passes.columns
        }
        if len(known) == len(f.problem.inputs):
            demands._replace(indices=[i for i in demands.indices if i.position in whole]).check(
                [known[k] for k in range(len(known))]
            )

    def _ask(self, asked: Asked, before: Sequence[Asked]) -> list[Sum]:
        """What a pass makes of all partitions."""
        tasks = self._tasks(_sums, self._places, self._parts, asked=asked, before=list(before))
        kinds = self._passes.plan.passes[asked.number].vectors
        while len(tasks) > FAN and 8 * sum(asked.sizes) * len(tasks) > HEAVY:
            tasks = [
                self._client.submit(_joined, kinds, *tasks[k : k + FAN], pure=False) for k in range(0, len(tasks), FAN)
            ]
        return [s for sums in self._gathered(tasks) for s in sums]

    def _tasks(self, task: Callable[..., Any], places: Sequence[Any], parts: list[Any], **options: Any) -> list[Any]:
        """A task for each of these partitions."""
        options |= {"work": self._work, "read": self._read}
        if self._is_lazy:  # not persisted: what makes a partition is a part of the graph
            run = delayed(task, pure=False)
            made = [run(part, place, **options) for part, place in zip(parts, places, strict=True)]
            found: list[Any] = self._client.compute(made)
            return found
        key = f"{task.__name__[1:]}-{uuid4().hex}"
        keys = [f"{key}-{k}" for k in range(len(places))]
        tasks: list[Any] = self._client.map(task, parts, list(places), key=keys, **options)
        return tasks

    def _gathered(self, tasks: list[Any]) -> list[Any]:
        """The results; what waits is not computed if somebody has interrupted."""
        try:
            with waiting():  # workers may be threads of this process
                found: list[Any] = self._client.gather(tasks)
        except BaseException:
            self._client.cancel(tasks)
            raise
        return found


class Remote:
    """The way through a kernel over a cluster, for those who go a route."""

    is_compiled, is_short, multiplies, serial = True, False, False, None

    def __init__(self, driver: Driver, inputs: Sequence[Argument], dtype: str) -> None:
        self.driver, self.inputs, self.dtype = driver, inputs, dtype

    def choose(self, inputs: Sequence[Any]) -> Driver:
        """The driver, which takes the inputs that the collection lacks."""
        return self.driver

    def check(self, inputs: Sequence[Any]) -> None:
        """Partitions are checked where they are."""

    def is_serial(self, inputs: Sequence[Any]) -> bool:
        """It is not."""
        return False


def _over(f: Compiled, rest: tuple[Argument, ...], route: Remote) -> Any:
    """The compiled function with another way to its values, for callers who give the rest of the inputs."""
    cls, (problem, *options) = f.__reduce__()
    found: Any = cls(replace(problem, inputs=rest, arrays=False), *options)
    own = {"_coded", "_derivation", "_lowered", "_bare"}
    vars(found).update({name: getattr(f, name) for name in own}, _route=route)
    vars(found)["_demands"] = f._demands._replace(axes={}, lengths=(), indices=(), counts=())
    return found


# ---- collections


def parts_of(collection: Any) -> tuple[list[Any], Callable[[Any], Any]]:
    """The partitions, as futures, as what is not computed yet, or as paths; and what makes a frame of one."""
    if isinstance(collection, list | tuple) and all(isinstance(p, str | Path) for p in collection):
        return [str(p) for p in collection], frame_of_file
    if isinstance(collection, Mapping):
        return parts_of_arrays(collection)
    if hasattr(collection, "dask") and hasattr(collection, "chunks"):
        return futures_or_delayed(collection.rechunk(dict.fromkeys(range(1, collection.ndim), -1))), frame_of_array
    if hasattr(collection, "dask") and hasattr(collection, "npartitions"):
        return futures_or_delayed(collection), frame_of_rows
    raise ArgumentTypeError(f"the collection is of type {type(collection).__name__}; give {KINDS}")


def parts_of_arrays(arrays: Mapping[Any, Any]) -> tuple[list[Any], Callable[[Any], Any]]:
    """Partitions of several arrays, cut alike along their first axes."""
    names = [str(n) for n in arrays]
    whole = [a.rechunk(dict.fromkeys(range(1, a.ndim), -1)) if a.ndim > 1 else a for a in arrays.values()]
    if not whole:
        raise ArgumentError(f"no value of the mapping is a Dask array; give {KINDS}")
    first = whole[0].chunks[0]
    unknown = next((n for n, a in zip(names, whole, strict=True) if a.shape[0] != a.shape[0]), None)
    if unknown is not None:
        raise ArgumentError(f"{unknown}: nobody knows its length yet; call its compute_chunk_sizes() first")
    if any(a.shape[0] != whole[0].shape[0] for a in whole):
        shapes = ", ".join(f"{n} {a.shape}" for n, a in zip(names, whole, strict=True))
        raise ArgumentError(f"the arrays have different lengths: {shapes}; columns need one length")
    cut = [a if a.chunks[0] == first else a.rechunk({0: first}) for a in whole]
    columns = [futures_or_delayed(a) for a in cut]
    return [list(parts) for parts in zip(*columns, strict=True)], partial(frame_of_arrays, names)


def futures_or_delayed(collection: Any) -> list[Any]:
    """The partitions: futures of those that are persisted, else what is not computed yet."""
    parts = np.ravel(collection.to_delayed()).tolist()
    futures = {f.key: f for f in futures_of(collection)}
    found = [futures.get(p.key) for p in parts]
    return found if all(f is not None for f in found) else parts


def frame_of_file(path: str) -> Any:
    """A file's columns by name; those of .npy and .npz are read where they lie on disk, as they are needed."""
    if path.endswith((".npy", ".npz")):
        found = np.load(path, mmap_mode="r")
        return frame_of_array(found) if isinstance(found, np.ndarray) else found
    return File(path)


class File(Mapping[str, Any]):
    """A table's columns, each read when it is asked for."""

    def __init__(self, path: str) -> None:
        self.table = open_table(path)

    def __iter__(self) -> Iterator[str]:
        return iter(self.table.names)

    def __len__(self) -> int:
        return len(self.table.names)

    def __getitem__(self, name: str) -> Any:
        return self.table.read([name]).columns[name]


def frame_of_array(part: np.ndarray) -> Any:
    """A structured array has names; another is the only input."""
    return part if part.dtype.names else {"": part}


def frame_of_arrays(names: Sequence[str], parts: Sequence[np.ndarray]) -> Any:
    """Arrays by name."""
    return dict(zip(names, parts, strict=True))


def frame_of_rows(part: Any) -> Any:
    """A partition of a DataFrame as it is, of a bag's records by name."""
    if hasattr(part, "columns"):
        return part
    records = list(part)
    if records and not isinstance(records[0], Mapping):
        got = type(records[0]).__name__
        raise ArgumentTypeError(f"the bag holds items of type {got}; give records, such as {{'x': 1.0, 'y': 2.0}}")
    return {name: [r[name] for r in records] for name in (records[0] if records else ())}


# ---- what workers do


def _handed(work: bytes) -> bytes:
    """The work, as a result: a worker fetches it once, and another that comes later as well."""
    return work


@lru_cache(maxsize=64)
def _work_of(work: bytes) -> tuple[Passes, dict[int, Any]]:
    """The passes of the function, and inputs that come whole."""
    function, whole = pickle.loads(work)
    return _passes_of(function), whole


@lru_cache(maxsize=64)
def _passes_of(function: bytes) -> Passes:
    """The passes of a compiled function: made once in a process, with machine code from the cache if it is there."""
    return Passes(pickle.loads(function))


def _columns(passes: Passes, frame: Any) -> dict[int, np.ndarray]:
    """The inputs that are cut, of a partition, by place; as the kernel needs them."""
    inputs = {k: passes.compiled.problem.inputs[k] for k in sorted(passes.columns)}
    if isinstance(frame, dict) and [*frame] == [""]:
        if len(inputs) > 1:
            names = ", ".join(a.name for a in inputs.values())
            raise ArgumentError(f"one array is given for {names}; give a mapping of names to arrays")
        frame = {next(iter(inputs.values())).name: frame[""]}
    if frames.names(frame) == ():  # of a partition without records
        return {k: np.empty((0, *map(int, a.leaf.type.shape[1:]))) for k, a in inputs.items()}
    found = Call(list(inputs.values())).columns(frame, ())
    return {k: np.ascontiguousarray(bind.convert(a, found[a.name])) for k, a in inputs.items()}


def _rows(part: Any, place: Any, work: bytes, read: Callable[[Any], Any]) -> int:
    """How many samples a partition has; its columns are checked."""
    passes, whole = _work_of(work)
    columns, inputs = _columns(passes, read(part)), passes.compiled.problem.inputs
    lengths = {inputs[k].name: len(c) for k, c in columns.items()}
    if len({*lengths.values()}) > 1:
        raise DataError(f"the columns of a partition have different lengths: {lengths}")
    demands = passes.compiled._demands
    known = dims_solved([(d, np.shape(whole[k])[axis]) for d, (k, axis) in demands.axes.items() if k in whole])
    for index in demands.indices:
        if index.position in columns and names_in(index.length) <= known.keys():
            index.check(columns, known, inputs[index.position].name)
    return next(iter(lengths.values()))


def _sums(
    part: Any,
    place: tuple[int, int, int, int],
    work: bytes,
    read: Callable[[Any], Any],
    asked: Asked,
    before: Sequence[Asked],
) -> list[Sum]:
    """What a pass makes of a partition."""
    passes, whole = _work_of(work)
    first, group, rows, samples = place
    if not rows:
        return []
    columns = _columns(passes, read(part))
    if any(len(c) != rows for c in columns.values()):
        raise DataError(f"a partition has {len(next(iter(columns.values())))} rows now, and had {rows} before")
    return passes.sums(asked, before, Piece(first, group, rows, samples, {**whole, **columns}))


def _applied(part: Any, rows: int, work: bytes, read: Callable[[Any], Any], function: Any, args: Any) -> Any:
    """What a function gives for a partition."""
    passes, _ = _work_of(work)
    inputs = passes.compiled.problem.inputs
    return function({inputs[k].name: c for k, c in _columns(passes, read(part)).items()}, *args) if rows else None


def _joined(kinds: Sequence[str], *parts: list[Sum]) -> list[Sum]:
    """The sums of neighbours put together."""
    return met((s for part in parts for s in part), kinds)
