"""A checker of lowered programs: what the text of a module promises, whatever its numbers are.

The text runs as Python on arrays that have shapes and no numbers: floats and data are *unknown*, places are known.
It is watched that

* turns of a loop over `lanes` do not depend on each other, but for sums in `s[i % LANES]`: taken statement by statement
  they read and write what they do one after the other;
* no place of a workspace is read before it is written, or after its next tenant wrote;
* every index is inside of its array's bounds;
* each name means one thing in its function, and is read where it has been given.

A loop over lanes is one step, whose index is a vector of places. A loop in order of more than `FEW` turns takes the
first two and the last one; meanwhile a write counts for all of an array.
"""

import ast
import itertools
import math
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial, reduce
from types import CodeType
from typing import Any

import numpy as np

from gradcompile import compiled
from gradcompile.codegen.tape import Tape
from gradcompile.codegen.values import Kind
from gradcompile.ir.types import Dim, dim_value, names_in
from gradcompile.loops.ir import Module, every
from gradcompile.loops.kernel import Kernel
from gradcompile.pipeline import Derivation
from gradcompile.runtime.checks import demands_of
from gradcompile.signature.arguments import Problem
from gradcompile.signature.program import Output

OTHERS = 3  # one kernel of so many has machine code from its first call
FEW = 4  # turns of a loop in order up to which each is taken
FILE = "<lowered>"
NEVER, ANYONE = 0, 1  # who wrote an entry: nobody, somebody who is no tenant of a workspace
WRITES = {"carry": (0, 1), "close_span": (0, 1), "close_tree": (1,),
          **dict.fromkeys(("adjugate", "argsort", "cholesky", "dft_backward", "dft_forward",
                           "eigvals", "eigvecs", "pinv", "svdvals", "svdvecs"), (0,)),
          **dict.fromkeys(("sparse_dot_columns_matrix", "sparse_dot_columns_vector", "sparse_dot_rows_matrix",
                           "sparse_dot_rows_vector"), (0,)),
          **dict.fromkeys(("solve_full", "solve_lower", "solve_upper"), (0,))}  # fmt: skip
GROWING = ("carry", "close_span", "close_tree")  # which read what they write


class Fault(AssertionError):
    """A promise that the text does not keep."""


class Unknown:
    """A number that is not known: a float, or what data tell."""

    __array_ufunc__ = None  # arrays of places leave operations to this class
    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise Fault("a branch on data")


def unknown(*_: Any) -> Unknown:
    """A number that is not known, whatever it is made of."""
    return Unknown()


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift"):
    for _side in ("", "r"):
        setattr(Unknown, f"__{_side}{_name}__", unknown)
for _name in ("neg", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Unknown, f"__{_name}__", unknown)


class Lanes(int):
    """The number of lanes, as a module has it."""


class Own:
    """i % LANES: the place of a lane among so many."""

    def __init__(self, places: Any) -> None:
        self.places = places


class Turn(np.ndarray):
    """The index of a loop over lanes: all its values side by side."""

    ends: tuple[int, int] | None = None  # the least and the largest, once they were asked for

    def __mod__(self, other: Any) -> Any:
        return Own(np.asarray(self) % int(other)) if isinstance(other, Lanes) else np.asarray(self) % other


class Root:
    """Memory: who wrote each entry, and whether its parts are tenants."""

    def __init__(self, size: int, owner: int) -> None:
        self.owner = np.full(size, owner, np.int32)
        self.touched, self.wrote = np.full((2, size), -1)  # the last turn of the loop over lanes that did
        self.is_workspace = owner == NEVER  # of other memory every entry is written already, by nobody in particular
        self.tenants = itertools.count(2)


class Array:
    """Entries of memory: the first, shape, strides, the tenant that they belong to, and what that has."""

    __array_ufunc__ = None

    def __init__(self, run: "Run", root: Root, offset: int, shape: Sequence[int], strides: Sequence[int] | None,
                 tenant: int, home: slice) -> None:  # fmt: skip
        self.run, self.root, self.offset, self.shape = run, root, offset, tuple(shape)
        self.strides = tuple(math.prod(self.shape[k + 1 :]) for k in range(len(shape))) if strides is None else strides
        self.tenant, self.home = tenant, home

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)

    @property
    def span(self) -> tuple[int, int]:
        """The first place in memory, and the one after the last."""
        return self.offset, self.offset + 1 + sum((d - 1) * s for d, s in zip(self.shape, self.strides, strict=True))

    def like(self, offset: int, shape: Sequence[int], strides: Sequence[int] | None) -> "Array":
        """Other entries of the same tenant."""
        return Array(self.run, self.root, offset, shape, strides, self.tenant, self.home)

    @property
    def T(self) -> "Array":
        return self.like(self.offset, self.shape[::-1], self.strides[::-1])

    def handed(self) -> "Array":
        """The array in another function, which sees no tenants in it."""
        return Array(self.run, self.root, self.offset, self.shape, self.strides, max(self.tenant, ANYONE), self.home)

    def places(self) -> Any:
        """All places in memory."""
        axes = [np.arange(d) * s for d, s in zip(self.shape, self.strides, strict=True)]
        return np.asarray(reduce(np.add.outer, axes, np.asarray(self.offset))).ravel()

    def located(self, key: Any) -> "tuple[tuple[Any, ...], Array | None]":
        """The indices, or the part that slices leave."""
        full = key if type(key) is tuple else (key,)
        if len(full) > len(self.shape):
            raise Fault(f"{len(full)} indices for {len(self.shape)} axes")
        if len(full) < len(self.shape):
            full = (*full, *[slice(None)] * (len(self.shape) - len(full)))
        if slice not in map(type, full):
            for k, d in zip(full, self.shape, strict=True):
                self.inside(k, d)
            return full, None
        offset, shape, strides = self.offset, [], []
        for k, d, s in zip(full, self.shape, self.strides, strict=True):
            if isinstance(k, slice):
                first, last = 0 if k.start is None else k.start, d if k.stop is None else k.stop
                if not 0 <= first <= last <= d:
                    raise Fault(f"the slice {first}:{last} of an axis of {d}")
                shape.append(last - first)
                strides.append(s)
            else:
                if isinstance(k, np.ndarray | Own | Unknown):
                    raise Fault("a part of an array that differs by lane, or by data")
                self.inside(k, d)
                first = k
            offset += first * s
        return (), self.like(offset, shape, tuple(strides))

    @staticmethod
    def inside(k: Any, d: int) -> None:
        """An index has to be one of the axis."""
        k = k.places if isinstance(k, Own) else k
        if isinstance(k, int):
            is_inside = 0 <= k < d
        elif isinstance(k, Unknown) or not k.size:
            return
        else:
            ends = getattr(k, "ends", None)
            if ends is None:
                ends = int(k.min()), int(k.max())
                if isinstance(k, Turn):
                    k.ends = ends
            is_inside = ends[0] >= 0 and ends[1] < d
        if not is_inside:
            raise Fault(f"the index {k} of an axis of {d}")

    def __getitem__(self, key: Any) -> Any:
        index, part = self.located(key)
        if part is not None:
            return part
        self.run.access(self, index, is_write=False)
        return Unknown()

    def __setitem__(self, key: Any, value: Any) -> None:
        index, part = self.located(key)
        if part is None:
            self.run.access(self, index, is_write=True)
        else:
            part.write()

    def read(self) -> Unknown:
        """All entries are read."""
        self.run.check(self, self.places())
        return Unknown()

    def write(self) -> None:
        """All entries are written."""
        self.run.mark(self, self.places())

    def __matmul__(self, other: "Array") -> Unknown:
        if self.shape[-1] != other.shape[0]:
            raise Fault(f"a product of shapes {self.shape} and {other.shape}")
        self.read()
        return other.read()

    def __iadd__(self, value: Any) -> Any:
        return self.read()

    __isub__ = __iadd__


class Access:
    """What a loop over lanes does to memory; where: None if data tell."""

    def __init__(self, array: Array, index: tuple[Any, ...], is_write: bool) -> None:
        self.array, self.index, self.is_write = array, index, is_write
        self.line = sys._getframe(3).f_lineno
        self.is_own = False
        self.places: Any = array.offset
        for k, stride in zip(index, array.strides, strict=True):
            if isinstance(k, Own):
                self.is_own, k = True, k.places
            if isinstance(k, Unknown):
                self.places = None
            elif self.places is not None:
                self.places = self.places + k * stride


class Run:
    """One run of a module's text."""

    def __init__(self, source: str, code: CodeType, imported: Iterable[str]) -> None:
        self.lines = source.splitlines()
        self.accesses: list[Access] | None = None
        self.skipped = 0  # loops in order around here that leave out turns
        self.space: dict[str, Any] = dict.fromkeys(imported, unknown) | self.names()
        exec(code, self.space)
        for name, value in self.space.items():
            if isinstance(value, tuple):
                self.space[name] = Table(value)
        if "LANES" in self.space:
            self.space["LANES"] = Lanes(self.space["LANES"])

    # ---- what a text is written in

    def names(self) -> dict[str, Any]:
        """What a module imports."""
        made = {"empty": NEVER, "integers": NEVER, "zeros": ANYONE, "full": ANYONE}
        return {
            **{name: self.routine(name, places) for name, places in WRITES.items()},
            **{name: partial(self.array, owner) for name, owner in made.items()},
            **dict.fromkeys(("fold", "largest", "det", "logabsdet", "detsign"), lambda x: x.read()),
            "min": partial(extreme, min), "max": partial(extreme, max), "choose": choose, "inverted": inverted,
            "jit": self.function, "njit": lambda function: unknown, "range": self.turns, "lanes": self.lanes,
            "view": self.view, "group_size": lambda samples, least: least,
            "levels": int.bit_length, "LEVELS": 32, "SPAN": 1024,
        }  # fmt: skip

    def function(self, made: Callable[..., Any]) -> Callable[..., Any]:
        """A function of the module: the arrays that it is given are not its own."""
        return lambda *args: made(*(a.handed() if isinstance(a, Array) else a for a in args))

    def routine(self, name: str, written: Sequence[int]) -> Callable[..., None]:
        """A function of the package that fills arrays from others."""

        def call(*args: Any) -> None:
            for k, a in enumerate(args):
                if isinstance(a, Array) and (k not in written or name in GROWING):
                    a.read()
            for k in written:
                args[k].write()

        return call

    def array(self, owner: int, shape: Any, *_: Any) -> Array:
        """New memory; what nobody has written yet is a workspace."""
        shape = shape if isinstance(shape, tuple) else (shape,)
        root = Root(math.prod(shape), owner)
        return Array(self, root, 0, shape, None, -1, slice(0, root.owner.size))

    def view(self, array: Array, offset: int, shape: Any) -> Array:
        """A part in another shape; of a workspace a new tenant."""
        shape = shape if isinstance(shape, tuple) else (shape,)
        if array.like(array.offset, array.shape, None).strides != array.strides and array.size > 1:
            raise Fault("a view of an array that is not contiguous")
        if offset < 0 or min(shape, default=1) < 0 or offset + math.prod(shape) > array.size:
            raise Fault(f"a view of {shape} from {offset} on of {array.size} entries")
        home = slice(array.offset + offset, array.offset + offset + math.prod(shape))
        is_new = array.tenant == -1 and array.root.is_workspace
        tenant = next(array.root.tenants) if is_new else array.tenant
        return Array(self, array.root, home.start, shape, None, tenant, home)

    def turns(self, *bounds: Any) -> Iterator[int]:
        """A loop in order."""
        every = range(*map(int, bounds))
        if len(every) <= FEW:
            yield from every
            return
        self.skipped += 1
        yield from (every[0], every[1], every[-1])
        self.skipped -= 1

    def lanes(self, start: int, stop: int) -> Iterator[Any]:
        """A loop over lanes, as one step."""
        if stop > start:
            self.accesses = []
            yield np.arange(start, stop).view(Turn)
            found, self.accesses = self.accesses, None
            if stop - start > 1:
                self.apart(found, stop - start)

    # ---- memory

    def access(self, array: Array, index: tuple[Any, ...], is_write: bool) -> None:
        """One entry is read or written, or one by each lane."""
        found = Access(array, index, is_write)
        if self.accesses is not None:
            self.accesses.append(found)
        if not is_write:
            self.check(array, array.places() if found.places is None else found.places)
        elif found.places is not None:
            self.mark(array, found.places)

    def check(self, array: Array, places: Any) -> None:
        """What is read has been written, by the array's own tenant."""
        if not array.root.is_workspace:
            return
        owner = array.root.owner[places]
        is_other = (owner != array.tenant) & (owner != ANYONE) if array.tenant > ANYONE else owner == NEVER
        if is_other.any():
            raise Fault("is read before it is written" if np.any(owner[is_other] == NEVER) else
                        "is read after another array was written there")  # fmt: skip

    def mark(self, array: Array, places: Any) -> None:
        """What is written belongs to the array's tenant."""
        if array.root.is_workspace:
            array.root.owner[array.home if self.skipped else places] = max(array.tenant, ANYONE)

    def apart(self, accesses: Sequence[Access], count: int) -> None:
        """Neighbouring turns may take each statement together: none meets what a later turn did before."""
        for root in {id(a.array.root): a.array.root for a in accesses if a.is_write}.values():
            here = [a for a in accesses if a.array.root is root and not a.is_own]
            for a in here:
                if a.places is None:
                    self.separate(a, here if a.is_write else [x for x in here if x.is_write])
            self.in_turn(root, [a for a in here if a.places is not None], np.arange(count))

    def in_turn(self, root: Root, accesses: Sequence[Access], turns: Any) -> None:
        """Of two that meet, of which one writes, the earlier one in the text is of the earlier turn, or of the same."""
        for number, a in enumerate(accesses):
            is_one = np.size(a.places) < len(turns)  # for all turns
            if ((root.touched if a.is_write else root.wrote)[a.places] > (0 if is_one else turns)).any():
                self.collision(next(x for x in accesses[:number] if np.any(np.isin(x.places, a.places))), a)
            np.maximum.at(root.touched, a.places, turns[-1] if is_one else turns)
            if a.is_write:
                root.wrote[a.places] = turns[-1] if is_one else turns
                if is_one or np.any(root.wrote[a.places] != turns):
                    self.collision(a, a)
        for a in accesses:
            root.touched[a.places] = root.wrote[a.places] = -1

    def separate(self, a: Access, others: Sequence[Access]) -> None:
        """A place that is data: another axis of it has to tell turns apart, for all that touch the array."""
        axes = [k for k, i in enumerate(a.index) if isinstance(i, np.ndarray) and len(set(i.tolist())) == i.size]
        for b in others:
            if b.array.span[1] <= a.array.span[0] or a.array.span[1] <= b.array.span[0]:
                continue
            is_alike = b.array.strides == a.array.strides and b.array.offset == a.array.offset
            if not is_alike or not any(np.array_equal(known(a.index[k]), known(b.index[k])) for k in axes):
                self.collision(a, b)

    def collision(self, a: Access, b: Access) -> None:
        """Turns of a loop over lanes meet."""
        lines = dict.fromkeys(self.lines[x.line - 1].strip() for x in (a, b))
        raise Fault(f"iterations of a loop over lanes meet: {' and '.join(lines)}")


class Table:
    """A tuple of numbers of the module: places are known."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = np.asarray(values) if values else np.zeros(0)

    def __getitem__(self, k: Any) -> Any:
        Array.inside(k, len(self.values))
        is_place = self.values.dtype.kind == "i" and not isinstance(k, Unknown)
        return self.values[np.asarray(k) if isinstance(k, np.ndarray) else k] if is_place else Unknown()


def known(k: Any) -> Any:
    """An index as numbers; what is not known equals nothing."""
    return np.nan if isinstance(k, Unknown) else k.places if isinstance(k, Own) else k


def choose(c: Any, x: Any, y: Any) -> Any:
    """`x if c else y`, of which both are computed."""
    if not (isinstance(c, Unknown) or np.asarray(c).dtype == bool):
        raise Fault(f"{c} is a condition, and no truth value")
    if any(isinstance(v, Unknown) for v in (c, x, y)):
        return Unknown()
    return np.where(c, x, y) if isinstance(c, np.ndarray) else x if c else y


def extreme(which: Callable[..., Any], *values: Any) -> Any:
    """The least or the largest."""
    return unknown() if any(isinstance(v, Unknown) for v in values) else which(*values)


def inverted(x: Any) -> Any:
    """`not x`."""
    return Unknown() if isinstance(x, Unknown) else np.logical_not(x)


# ---- names


def named(tree: ast.Module) -> None:
    """Each name means one thing in its function, and is read only where it has been given; functions are made eager."""
    module = {a.asname or a.name for s in tree.body if isinstance(s, ast.ImportFrom | ast.Import) for a in s.names}
    module |= {t.id for s in tree.body if isinstance(s, ast.Assign) for t in s.targets if isinstance(t, ast.Name)}
    functions = [s for s in tree.body if isinstance(s, ast.FunctionDef)]
    module |= {f.name for f in functions} | {"range", "min", "max", "float"}
    for f in functions:
        if any(isinstance(d, ast.Name) and d.id == "jit" for d in f.decorator_list):
            statements(f.body[1:], {*module}, {a.arg for a in f.args.args})


def statements(body: Sequence[ast.stmt], outer: set[str], here: set[str]) -> None:
    """The statements of one scope, made eager; outer: names of those around."""
    for s in body:
        if isinstance(s, ast.For):
            assert isinstance(s.target, ast.Name)
            s.iter = expression(s.iter, outer, here)
            if s.target.id in here or s.target.id in outer:
                raise Fault(f"line {s.lineno}: {s.target.id} is the index of a loop, and something else around it")
            statements(s.body, outer | here, {s.target.id})
            continue
        if isinstance(s, ast.AugAssign):
            expression(s.target, outer, here)
        if isinstance(s, ast.Expr | ast.Assign | ast.AugAssign | ast.Return) and s.value is not None:
            s.value = expression(s.value, outer, here)
        if isinstance(s, ast.Assign) and isinstance(target := s.targets[0], ast.Name):
            if target.id in outer or target.id in here:
                raise Fault(f"line {s.lineno}: {target.id} is given another meaning: {ast.unparse(s)}")
            here.add(target.id)
        elif isinstance(s, ast.Assign):
            expression(s.targets[0], outer, here)


def expression(e: Any, outer: set[str], here: set[str]) -> Any:
    """An expression whose names have a meaning, with calls where only one side would be computed."""
    kind = type(e)
    if kind is ast.Name:
        if e.id not in here and e.id not in outer:
            raise Fault(f"line {e.lineno}: {e.id} has no meaning here")
    elif kind is ast.BinOp:
        e.left, e.right = expression(e.left, outer, here), expression(e.right, outer, here)
    elif kind is ast.Subscript:
        e.value, e.slice = expression(e.value, outer, here), expression(e.slice, outer, here)
    elif kind is ast.Call:
        expression(e.func, outer, here)
        e.args = [expression(a, outer, here) for a in e.args]
    elif kind is ast.Tuple:
        e.elts = [expression(x, outer, here) for x in e.elts]
    elif kind is ast.Compare:
        e.left, e.comparators = expression(e.left, outer, here), [expression(x, outer, here) for x in e.comparators]
    elif kind is ast.UnaryOp:
        e.operand = expression(e.operand, outer, here)
        return called("inverted", e, e.operand) if isinstance(e.op, ast.Not) else e
    elif kind is ast.IfExp:
        return called("choose", e, *(expression(x, outer, here) for x in (e.test, e.body, e.orelse)))
    elif kind is not ast.Constant:
        for name in e._fields:
            inner = getattr(e, name)
            if isinstance(inner, ast.expr):
                setattr(e, name, expression(inner, outer, here))
    return e


def called(name: str, e: ast.expr, *args: Any) -> ast.expr:
    """A call in the place of an expression."""
    function = ast.copy_location(ast.Name(name, ast.Load()), e)
    return ast.copy_location(ast.Call(function, list(args), []), e)


# ---- a module


def lengths(problem: Problem, block: int) -> Iterator[dict[str, int]]:
    """Lengths of named dimensions that a call may have: short ones, and such that there are two blocks."""
    dims = dict.fromkeys(name for a in problem.inputs for d in a.leaf.type.shape for name in names_in(d))
    demands = demands_of(problem).lengths
    for tries in ((3, 8, 20), (block + 3, block + 20)) if block else ((3, 8, 20),):
        found = ({name: least + k for k, name in enumerate(dims)} for least in tries)
        yield from itertools.islice((f for f in found if all(dim_value(d.least, f) >= 0 for d in demands)), 1)


def argument(run: Run, shape: Sequence[Dim], dims: Mapping[str, int]) -> Any:
    """An input: an array that is written already, or a number that is not known."""
    array = run.array(ANYONE, tuple(dim_value(d, dims) for d in shape))
    return array if shape else Unknown()


def check(source: str, problem: Problem, outputs: Sequence[Output]) -> None:
    """Raise a Fault unless the text of a module keeps what it promises; outputs: what it fills."""
    tree = ast.parse(source)
    named(tree)
    imported = {a.asname or a.name for s in tree.body if isinstance(s, ast.ImportFrom | ast.Import) for a in s.names}
    tree.body = [s for s in tree.body if not isinstance(s, ast.ImportFrom | ast.Import)]
    block = re.search(r"^BLOCK = (\d+)", source, re.MULTILINE)
    code = compile(tree, FILE, "exec")
    for dims in lengths(problem, int(block[1]) if block else 0):
        run = Run(source, code, imported)
        size = sum(math.prod(a.leaf.type.shape) for a in problem.params)
        filled = [run.array(NEVER, (dim_value(o.size, dims) if o.parts else 1,)) for o in outputs]
        inputs = [argument(run, a.leaf.type.shape, dims) for a in problem.inputs]
        try:
            run.space["kernel"](run.array(ANYONE, size), *filled, *inputs)
        except Fault as fault:
            raise Fault(f"{located(fault, run.lines)} (with {dims})\n\n{source}") from fault


def located(fault: Fault, lines: Sequence[str]) -> str:
    """What is wrong, and the line of the text where it is."""
    frame, found = fault.__traceback__, ""
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == FILE:
            found = f"line {frame.tb_lineno}, {lines[frame.tb_lineno - 1].strip()!r}: "
        frame = frame.tb_next
    return f"{found}{fault}"


def watch() -> None:
    """Have every module that is lowered from here on checked, each text once."""
    lowered, seen = compiled.kernel_of, set[str]()

    def checked(problem: Problem, derivation: Derivation, what: str, is_read: bool = True) -> Kernel:
        kernel = lowered(problem, derivation, what, is_read)
        code = "\n".join(s.text for f in kernel.module.functions for s in every(f.body))
        if code not in seen:
            seen.add(code)
            check(kernel.text, problem, derivation.derived.outputs)
        return kernel

    def some(module: Module, kinds: Sequence[Kind]) -> Tape | None:
        code = "\n".join(s.text for f in module.functions for s in every(f.body))
        return None if zlib.crc32(code.encode()) % OTHERS == 0 else tape_of(module, kinds)

    compiled.kernel_of, tape_of = checked, compiled.tape_of
    compiled.tape_of = some  # for the rest machine code is made, as for all others after a while
