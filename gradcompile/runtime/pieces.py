"""Calls over samples that are in pieces: each piece gives sums of its groups, and a fixed tree adds them up.

The kernel's own text is the driver, as it is for threads (see `gradcompile.runtime.share`): it runs as Python, and
where it calls a pass over the samples, the pieces are asked for their sums. These meet in the kernel's own tree, whose
leaves are numbered from the first sample on, so where pieces begin does not matter, as long as each begins with a
group.

A pass reads no samples but its own, and these at their own places: so a piece is handed to it as a part of an array as
long as the whole, of which nothing else is in memory.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from threading import Lock
from types import FunctionType
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from gradcompile.errors import ExpressionError
from gradcompile.loops.expressions import Expression, parts_of
from gradcompile.loops.ir import Assign, Do, Loop, Module, Statement, every, read_by
from gradcompile.loops.kernel import Plan
from gradcompile.runtime.blocks import ROWS, Blocks
from gradcompile.runtime.route import plain
from gradcompile.runtime.share import EMPTY, Share, _runnable, called, group_of, plain_text, put
from gradcompile.runtime.switch import switch
from gradcompile.runtime.threads import pool

Vectors = list[np.ndarray]


class Sum(NamedTuple):
    """The sums of 2**level groups, the number-th of that size; a vector for each that the pass adds to."""

    level: int
    number: int
    vectors: Vectors


class Input(NamedTuple):
    """Stands for an input of the kernel in the arguments of a pass."""

    place: int


class Rows(NamedTuple):
    """Stands there for an array with values of each sample, that passes keep for later ones."""

    name: str
    size: int


# ---- the tree


def subtrees(first: int, count: int) -> Iterator[tuple[int, int]]:
    """The largest trees that so many groups make, in order: level and index of each.

    >>> list(subtrees(0, 7)), list(subtrees(7, 2))
    ([(2, 0), (1, 2), (0, 6)], [(0, 7), (0, 8)])
    """
    while count:
        level = min((first & -first).bit_length() - 1 if first else 63, count.bit_length() - 1)
        yield level, first >> level
        first, count = first + (1 << level), count - (1 << level)


def met(sums: Iterable[Sum], kinds: Sequence[str]) -> list[Sum]:
    """Neighbours that are the halves of a tree put together, and so on; the sums are in order, without a gap."""
    found: list[Sum] = []
    for right in sums:
        while found and found[-1].level == right.level and right.number & 1:
            left = found.pop()
            vectors = list(map(both, left.vectors, right.vectors, kinds))
            right = Sum(right.level + 1, right.number >> 1, vectors)
        found.append(right)
    return found


def both(x: np.ndarray, y: np.ndarray, kind: str) -> np.ndarray:
    """What two vectors have together."""
    found = x.copy()
    put(found, y, kind)
    return found


def whole(sums: Sequence[Sum], kinds: Sequence[str]) -> Vectors:
    """All of it, from the last to the first, as `close_tree` adds them."""
    *others, last = [s.vectors for s in sums]
    for vectors in reversed(others):
        last = list(map(both, vectors, last, kinds))
    return last


# ---- what can be cut


class Cut(NamedTuple):
    """How a kernel may be cut: the inputs that its passes take sample by sample, the arrays with a value of each sample
    that it keeps between passes, and what each pass is given after its bounds, by the kernel's names.
    """

    inputs: frozenset[str]
    rows: frozenset[str]
    given: list[list[str]]


def cut_of(module: Module, plan: Plan, sampled: Iterable[str]) -> Cut:
    """How a kernel may be cut; sampled: the inputs whose lengths are known at the call only.

    Raises ExpressionError where something but the passes looks at samples, or a pass at those of others.
    """
    ours = {f.name: f for f in module.functions}
    inner = {p.inner or p.name for p in plan.passes}
    main = ours["kernel"].body
    own = {word for name in inner for word, k in reads_of(ours[name].body, ours) if is_own(k, plan)}
    cut = frozenset(own & {*sampled})
    rows = frozenset(kept_rows(main, cut))
    if not cut or not all(p.gathers for p in plan.passes):
        raise ExpressionError("in pieces there are sums over the samples alone, and this is none: compile a loss "
                              "that is a mean or a sum over samples, or made of such")  # fmt: skip
    around = {p.name for p in plan.passes if p.inner}
    for f in module.functions:
        if f.name in around:
            continue
        is_pass = f.name in inner
        found = reads_of(unviewed(f.body, rows) if is_pass else f.body, ours)
        known = cut | rows | viewed(f.body, rows)
        whole = [word for word, k in found if word in known and not (is_pass and is_own(k, plan))]
        if whole:
            raise ExpressionError(f"{whole[0]} is needed whole, not sample by sample, so it can't come in pieces; call "
                                  "the compiled function itself with all samples")  # fmt: skip
    calls = {s.value.word: s.value.parts for s in every(main) if isinstance(s, Do) and s.value.kind == "call"}
    given = [[x.word if x.is_name else "" for x in calls[p.name][len(p.vectors) + 2 :]] for p in plan.passes]
    return Cut(cut, rows, given)


def reads_of(body: Iterable[Statement], ours: Container[str]) -> Iterator[tuple[str, Expression | None]]:
    """The arrays that statements read or write into, each with its first index, None where it is used whole.

    An array's length is no read, nor is handing it on to a function of the module.
    """
    pending = [x for s in every(body) for x in (*read_by(s), *([s.target] if is_written(s) else ()))]
    while pending:
        x = pending.pop()
        if x.kind == "name":
            yield x.word, None
        elif x.kind == "element" and x.parts[0].is_name:
            yield x.parts[0].word, x.parts[1]
            pending += x.parts[1:]
        elif x.kind == "call" and x.word in ours:
            pending += [a for a in x.parts if not a.is_name]
        elif x.kind != "length":
            pending += x.parts


def is_written(s: Statement) -> TypeGuard[Assign]:
    """Whether a statement writes into an array."""
    return isinstance(s, Assign) and not s.target.is_name


def is_own(index: Expression | None, plan: Plan) -> bool:
    """Whether an index is that of samples of a pass: i of a loop over them, or a block that begins with `first`."""
    if index is None or not plan.block:
        return index is not None and index.is_name and index.word == "i"
    return index.kind == "slice" and bool(index.parts) and index.parts[0].is_name and index.parts[0].word == "first"


def is_view(s: Statement, rows: Container[str]) -> TypeGuard[Assign]:
    """Whether a statement makes a view of what is kept."""
    is_call = isinstance(s, Assign) and s.value.kind == "call" and s.value.word == "view"
    return is_call and s.value.parts[0].word in rows  # type: ignore[union-attr]


def unviewed(body: Iterable[Statement], rows: Container[str]) -> list[Statement]:
    """The statements, loops apart, that make no view of what is kept."""
    return [s for s in every(body) if not isinstance(s, Loop) and not is_view(s, rows)]


def viewed(body: Iterable[Statement], rows: Container[str]) -> set[str]:
    """The views of what is kept that are of all samples, as no block's first sample is in their place."""
    views = [s for s in every(body) if is_view(s, rows)]
    return {s.target.word for s in views if not any(x.word == "first" for x in parts_of(s.value.parts))}


def kept_rows(main: Iterable[Statement], cut: Container[str]) -> Iterator[str]:
    """The arrays that a kernel makes whose size is that of the samples."""
    counts: set[str] = set()
    for s in every(main):
        if not isinstance(s, Assign) or not s.target.is_name:
            continue
        found = list(parts_of([s.value]))
        is_length = any(x.kind == "length" and x.parts[0].word in cut for x in found)
        if s.value.kind != "call" and (is_length or any(x.is_name and x.word in counts for x in found)):
            counts.add(s.target.word)
        elif s.value.kind == "call" and s.value.word in ("empty", "zeros", "full"):
            if any(x.is_name and x.word in counts for x in parts_of(s.value.parts[:1])):
                yield s.target.word


# ---- pieces


class Placed:
    """Memory of a piece as a part of an array as long as the whole, whose other parts nobody may look at."""

    def __init__(self, piece: np.ndarray, first: int, samples: int) -> None:
        self.piece = piece
        address = piece.__array_interface__["data"][0] - first * piece.strides[0]
        self.__array_interface__ = {"version": 3, "shape": (samples, *piece.shape[1:]), "typestr": piece.dtype.str,
                                    "data": (address, True), "strides": piece.strides}  # fmt: skip


class Asked(NamedTuple):
    """A pass that is to be run: its number, the sizes of its vectors, and what it is given after its bounds."""

    number: int
    sizes: Sequence[int]
    given: Sequence[Any]


class Piece(NamedTuple):
    """Rows of the samples: the first of them, its group, how many there are, and of how many; inputs by place."""

    first: int
    group: int
    rows: int
    samples: int
    inputs: Mapping[int, Any]


class Passes:
    """The passes of a compiled function's kernel, and what they make of a piece."""

    def __init__(self, compiled: Any) -> None:
        kernel, inputs = compiled._lowered, compiled.problem.inputs
        self.compiled, self.plan = compiled, kernel.plan
        names = next(f for f in kernel.module.functions if f.name == "kernel").args[1 + self.plan.outputs :]
        self.places = {name: k for k, name in enumerate(names)}
        sampled = [name for name, a in zip(names, inputs, strict=True) if a.is_sampled]
        self.cut = cut_of(kernel.module, self.plan, sampled)
        self.columns = {self.places[name] for name in self.cut.inputs}
        dims = {inputs[k].leaf.type.shape[0] for k in self.columns}
        other = [a for k, a in enumerate(inputs) if k not in self.columns and dims & {*a.leaf.type.shape}]
        if other:
            raise ExpressionError(f"{other[0].name} is as long as there are samples and is needed whole, so it can't "
                                  "come in pieces")  # fmt: skip
        wide = [inputs[k] for k in self.columns if any(isinstance(d, str) for d in inputs[k].leaf.type.shape[1:])]
        if wide:
            raise ExpressionError(f"{wide[0].name} has shape {wide[0].leaf.type.shape}; in pieces only the first axis "
                                  "may have a name: give the others as numbers")  # fmt: skip
        self.kinds = dict(zip(names, compiled._route.kinds()[1 + self.plan.outputs :], strict=True))
        self.text = plain_text(compiled._module.kernel)
        self.runs: dict[int, Callable[..., Any]] = {}

    def group(self, samples: int) -> int:
        """How many samples a group has: each piece is to begin with one."""
        return group_of(self.plan, samples)

    def run(self, k: int) -> Callable[..., Any]:
        """The function that adds samples to vectors, of the k-th pass."""
        if k not in self.runs:
            p = self.plan.passes[k]
            found = plain(_runnable(self.text.__globals__[p.name], self.kinds))
            library = switch() if self.plan.multiplies else None
            self.runs[k] = library.alone(found) if library else found
        return self.runs[k]

    def sums(self, asked: Asked, before: Sequence[Asked], piece: Piece) -> list[Sum]:
        """What a pass makes of a piece; before: the passes that keep values of samples for it, which are run again."""
        dtype, size = np.dtype(self.compiled.dtype), self.group(piece.samples)
        # lanes are counted from the first span on; values of samples may be their numbers
        first = piece.first if self.plan.block else piece.group * size
        last, rows = first + piece.rows, dict[str, np.ndarray]()
        memory = {k: np.asarray(Placed(piece.inputs[k], first, piece.samples)) for k in self.columns}
        inputs = {**piece.inputs, **memory}

        def found(x: Any) -> Any:
            if isinstance(x, Rows) and x.name not in rows:  # of all samples; memory is what is written into
                rows[x.name] = np.empty(x.size, dtype)
            return inputs[x.place] if isinstance(x, Input) else rows[x.name] if isinstance(x, Rows) else x

        def run(a: Asked, start: int, stop: int) -> Vectors:
            kinds = self.plan.passes[a.number].vectors
            vectors = [np.full(n, EMPTY[kind], dtype) for n, kind in zip(a.sizes, kinds, strict=True)]
            self.run(a.number)(*vectors, start, stop, *map(found, a.given))
            return vectors

        def sum_of(level: int, number: int) -> Sum:
            start = first + ((number << level) - piece.group) * size
            return Sum(level, number, run(asked, start, min(start + (size << level), last)))

        for a in before:
            run(a, first, last)
        trees = subtrees(piece.group, -(-piece.rows // size))
        return met((sum_of(*tree) for tree in trees), self.plan.passes[asked.number].vectors)


class Driver:
    """A kernel whose passes are sums of pieces: run(theta, *outputs, *inputs), as a route gives it.

    constants: the inputs that come whole and are known, by place; a call gives the others. ask(asked, before): what a
    pass makes of all pieces, their sums in order.
    """

    def __init__(
        self,
        passes: Passes,
        samples: int,
        constants: Mapping[int, Any],
        ask: Callable[[Asked, Sequence[Asked]], Iterable[Sum]],
    ) -> None:
        self.passes, self.samples, self.ask, self.lock = passes, samples, ask, Lock()
        kernel = passes.compiled._module.kernel
        names = {p.name: k for k, p in enumerate(passes.plan.passes)}
        inner = {name: _runnable(f, passes.kinds) for name, f in called(kernel).items() if name not in names}
        self.known = dict(constants)
        for k in passes.columns:  # nobody reads more than the shape
            t = passes.compiled.problem.inputs[k].leaf.type
            one = np.zeros((1, *map(int, t.shape[1:])), t.dtype if t.dtype.startswith("float") else "int64")
            self.known[k] = np.asarray(Placed(one, 0, samples))
        self.before: list[Asked] = []
        space = {**passes.text.__globals__, **inner, **{name: self.pass_of(k) for name, k in names.items()}}
        self.code = plain(FunctionType(passes.text.__code__, space, "kernel"))

    def __call__(self, theta: np.ndarray, *rest: Any) -> float:
        """Loss, or what the value is."""
        outputs, given = rest[: self.passes.plan.outputs], iter(rest[self.passes.plan.outputs :])
        inputs = [self.known[k] if k in self.known else next(given) for k in range(len(self.passes.places))]
        with self.lock:
            self.before = []
            return float(self.code(theta, *outputs, *inputs))

    def pass_of(self, k: int) -> Callable[..., None]:
        """What the text calls in place of the k-th pass."""
        p, cut, places = self.passes.plan.passes[k], self.passes.cut, self.passes.places
        at = len(p.vectors)

        def stands(name: str, x: Any) -> Any:
            if name in cut.rows:
                return Rows(name, x.size)
            return Input(places[name]) if places.get(name) in self.known else x

        def total(*args: Any) -> None:
            targets, given = args[:at], [stands(*pair) for pair in zip(cut.given[k], args[at + 2 :], strict=True)]
            asked = Asked(k, [t.shape[-1] for t in targets], given)
            sums = met(self.ask(asked, self.before), p.vectors)
            if cut.rows & {*cut.given[k]}:
                self.before.append(asked)
            for target, vector in zip(targets, whole(sums, p.vectors), strict=True):
                target[:] = vector

        return total


class InBlocks:
    """A kernel over columns in this process, which are looked at block by block: run(theta, *outputs, *inputs)."""

    def __init__(self, compiled: Any) -> None:
        self.passes, self.route = Passes(compiled), compiled._route

    def __call__(self, theta: np.ndarray, *rest: Any) -> float:
        """Loss, or what the value is."""
        outputs, inputs = rest[: self.passes.plan.outputs], rest[self.passes.plan.outputs :]
        columns = self.passes.columns
        samples = len(inputs[next(iter(columns))])
        count, workers = -(-samples // ROWS), self.workers(samples, inputs)
        wholes = {k: x for k, x in enumerate(inputs) if k not in columns}

        def piece(k: int) -> Piece:
            first, last = k * ROWS, min((k + 1) * ROWS, samples)
            blocks = {j: block_of(inputs[j], first, last) for j in columns}
            return Piece(first, first // self.passes.plan.group, last - first, samples, {**wholes, **blocks})

        def ask(asked: Asked, before: Sequence[Asked]) -> Iterator[Sum]:
            found: list[list[Sum]] = [[] for _ in range(count)]

            def task(k: int) -> None:
                found[k] = self.passes.sums(asked, before, piece(k))

            pool.run(task, count, workers)
            return chain.from_iterable(found)

        return Driver(self.passes, samples, wholes, ask)(theta, *outputs)

    def workers(self, samples: int, inputs: Sequence[Any]) -> int:
        """How many threads take part."""
        share: Share = self.route.work.share(samples, inputs, self.passes.group(samples))
        return share.workers(samples)


def block_of(column: Any, start: int, stop: int) -> np.ndarray:
    """Some rows of a column, next to each other in memory."""
    return column.block(start, stop) if isinstance(column, Blocks) else np.ascontiguousarray(column[start:stop])
