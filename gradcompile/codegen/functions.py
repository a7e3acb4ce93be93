"""From the text of a generated module to compiled functions: the decorator it uses, its import, its compilation."""

import hashlib
import importlib
import linecache
import os
import platform
import sys
import warnings
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache, update_wrapper
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any
from weakref import WeakValueDictionary, finalize

from gradcompile import codegen as native
from gradcompile.codegen import builtin, dispatcher, remember
from gradcompile.codegen import cache as disk
from gradcompile.codegen.linked import Linked, Object
from gradcompile.codegen.scopes import check_loops
from gradcompile.codegen.tape import RUNNER, Helper, Step, Tape, text_of_step
from gradcompile.codegen.values import Kind, argument_type, array_kind
from gradcompile.errors import ArgumentTypeError, SubsetError
from gradcompile.loops.ir import Function
from gradcompile.loops.reading import forget_text, function_of, remember_functions, text_of
from gradcompile.once import compiling, once

modules: "WeakValueDictionary[str, ModuleType]" = WeakValueDictionary()  # that are loaded, by name
_warned: set[str] = set()
_LONG = 2000  # lines of a function from which on Python compiles only its docstring
_PACKAGE = Path(__file__).parent.parent
SMALL = 100_000  # lines of a module of which quick code is made first
PATIENCE = 1 << 27  # processor cycles in quick code after which full code is made: about as long as that takes
SHORT = 200  # lines of a module for which that holds; longer ones have more in proportion


_EVERY = '''"""{name} of every entry of arrays."""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import lanes
from {module} import {name}

LANES = {width}


@jit
def every(out, {arguments}):
    """Write the values to out."""
    for i in lanes(0, out.shape[0]):
        out[i] = {name}({entries})
'''


class Late:
    """A function that goes through Numba's front end, when something asks for what its dispatcher has."""

    lowered_from: Callable[..., Any] | None = None

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self.py_func = function

    @once
    def dispatcher(self) -> Any:
        """The Numba dispatcher."""
        return _compiled(_numba, self.py_func)

    @property
    def _numba_type_(self) -> Any:
        """What Numba takes it for, in a function that calls it."""
        from numba import typeof

        return typeof(self.dispatcher)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python looks for in any object
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.dispatcher, name)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """A call from Python: Numba finds the machine code by the types."""
        return self.dispatcher(*args, **named)

    def __reduce__(self) -> Any:
        return self.dispatcher.__reduce__()


class Deferred(Late):
    """A function of the subset, with all that its Numba dispatcher has, which is made when something asks for it.

    Other functions of the subset do not: they are lowered from its text.

    >>> @Deferred
    ... def double(x):
    ...     return 2.0 * x
    >>> double.__name__, double.lowered_from(1.5), "dispatcher" in vars(double)
    ('double', 3.0, False)
    """

    lowered_from: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        del self.py_func  # that of its dispatcher is another one
        self.lowered_from = function
        self.entries: dict[tuple[Kind, ...], Any] = {}  # for calls from Python
        self.codes: dict[tuple[Kind, ...], Code | None] = {}  # in memory; None for what needs Numba

    @once
    def dispatcher(self) -> Any:
        """The Numba dispatcher."""
        return _compiled(dispatcher, self.lowered_from)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """A call from Python; of a module that says TAKES, on arrays too."""
        takes = self.lowered_from.__globals__.get("TAKES")
        return self.dispatcher(*args, **named) if named or not takes else self._on(args, takes)

    def _on(self, args: Sequence[Any], takes: Sequence[str]) -> Any:
        """The value for numbers, or entry by entry for arrays that are broadcast, in one of the dtypes it takes."""
        import numpy as np

        given = [np.asarray(a) for a in args]
        typed = {v.dtype.name for v in args if hasattr(v, "dtype")}
        single = takes == ("float32",) or ("float32" in takes and typed == {"float32"})
        dtype = np.dtype("float32" if single else "float64")
        for a, value in zip(given, args, strict=True):
            lost = single and a.dtype.kind == "f" and a.dtype != dtype and hasattr(value, "dtype")
            if a.dtype.kind not in "biuf" or lost:
                raise ArgumentTypeError(
                    f"{self.__name__} takes numbers and arrays of {' or '.join(takes)}, got "
                    f"{a.dtype if hasattr(value, 'dtype') else f'a value of type {type(value).__name__}'}; "
                    f"convert it, as in np.asarray(x, '{dtype}')"
                )
        if not any(a.ndim for a in given):
            return entry(self, [array_kind(dtype.name, 0)] * len(given))(*map(float, given))
        given = list(np.broadcast_arrays(*(a.astype(dtype) for a in given)))
        names = [f"x{k}" for k in range(len(given))]
        source = _EVERY.format(
            module=self.__module__, name=self.__name__, arguments=", ".join(names), width=256 // dtype.itemsize,
            entries=", ".join(f"{name}[i]" for name in names),
        )  # fmt: skip
        out = np.empty(given[0].size, dtype)
        kinds = [array_kind(dtype.name, 1)] * (1 + len(given))
        entry(load(source, "every").every, kinds)(out, *(a.ravel() for a in given))
        return out.reshape(given[0].shape)


class Taped:
    """A kernel that runs as a tape first. Its module is loaded when something asks for what a function of it has.

    kinds: the arguments that the tape is for.
    """

    __name__ = "kernel"

    def __init__(self, tape: Tape, kinds: Sequence[Kind], load: Callable[[], Any]) -> None:
        self.words, self.cost, self.kinds, self.load = linked_tape(tape), tape.cost, tuple(kinds), load
        self.first = Object("", (), b"", "double", fails=True, is_quick=True)  # as what replaces it may
        self.entries: dict[tuple[Kind, ...], Any] = {}
        self.codes: dict[tuple[Kind, ...], Code | None] = {}

    @once
    def whole(self) -> Any:
        """The function of the module."""
        return self.load()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.whole, name)


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function of the subset that `native` describes from its own text: IEEE arithmetic, no GIL, cached.

    With NUMBA_DISABLE_JIT=1 it is the plain function; what loops over lanes do not carry on, Python would.
    """
    if not native.target.is_disabled():
        return Deferred(function)
    if "lanes" in function.__code__.co_names and not function.__module__.startswith(f"{_PACKAGE.name}."):
        check_loops(function_of(function))
    return in_precision(function)


def in_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain function of vmath as compiled code has it: it takes and gives NumPy's numbers of its precision.

    Python's own floats have double precision, and raise where they are divided by zero.
    """
    takes = function.__globals__.get("TAKES", ())
    if not takes or function.__name__.startswith("_"):
        return function
    from numpy import errstate, float32, float64

    def call(*args: Any) -> Any:
        is_single = "float32" in takes and ("float64" not in takes or any(isinstance(a, float32) for a in args))
        kind = float32 if is_single else float64
        with errstate(all="ignore"):
            return kind(function(*map(kind, args)))

    return update_wrapper(call, function)


def retell(module: str, space: dict[str, Any]) -> None:
    """Give the namespace of a module what another one has and it has not: the same numbers, and functions of the same
    text, in which a name means what it means here. Examples stay there: they print other digits here.
    """
    home = vars(sys.modules[module])
    for name, value in home.items():
        text = getattr(value, "lowered_from", getattr(value, "__wrapped__", value))
        if name not in space and getattr(text, "__globals__", None) is home:
            space[name] = FunctionType(text.__code__, space, name)
            space[name].__doc__ = text.__doc__.partition("\n\n    >>>")[0]
            space[name] = jit(space[name])
        else:
            space.setdefault(name, value)


def njit(function: Callable[..., Any]) -> Any:
    """As `jit`, for functions that need more of Python: they go through Numba's front end."""
    return function if native.target.is_disabled() else Late(function)


def _numba(function: Callable[..., Any], **options: Any) -> Any:
    import numba

    return numba.njit(**options)(function)


def _compiled(make: Callable[..., Any], function: Callable[..., Any]) -> Any:
    _pin(function)
    found = make(function, nogil=True, error_model="numpy")
    found._cache = Kept(function)
    return found


class Kept:
    """The cache of one function's dispatcher, as Numba asks it: entries of the package's own, checked as they are read.

    Numba's own cache unpickles what it finds, whoever wrote it, and fails on what is damaged.
    """

    cache_path = None  # Numba's word for a place that nobody here has to know

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def load_overload(self, signature: Any, target: Any) -> Any:
        """What Numba compiled for a signature in another process; None if there is nothing that can be used."""
        import pickle

        from numba.core.compiler import CompileResult

        target.refresh()
        name = self._name(signature, target.codegen())
        content = None if name is None else disk.read_entry(name)
        if content is None:
            return None
        try:
            return CompileResult._rebuild(target, *pickle.loads(content))
        except Exception:  # it is what was written, but written under circumstances that are others now
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep what Numba has compiled, but for code with addresses of this process."""
        from numba.core.serialize import dumps

        name = self._name(signature, compiled.codegen)
        if name is not None and not compiled.lifted and not compiled.library.has_dynamic_globals:
            _keep(name, dumps(compiled._reduce()))

    def flush(self) -> None:
        """Forget all; an entry is replaced when it is compiled again."""

    def _name(self, signature: Any, codegen: Any) -> str | None:
        """The name of the entry; None for a function whose module is no file of the package's or of the cache's."""
        from numba.core.sigutils import normalize_signature

        module = _kept_as(self.function)
        if module is None:
            return None
        import numba

        what = self.function.__name__, normalize_signature(signature)[0], codegen.magic_tuple(), numba.__version__
        return f"{module}.{hashlib.sha256(repr(what).encode()).hexdigest()[:20]}.nbc"


def _kept_as(function: Callable[..., Any]) -> str | None:
    """The name under which a module's machine code is kept, which tells all that the code depends on."""
    name, file = function.__module__, function.__globals__.get("__file__")
    if not (name and file) or function.__name__ != function.__qualname__:
        return None
    if name.startswith(disk.PREFIX):
        return None if _in_memory(file) else name
    return _package_module(name) if name.startswith(f"{_PACKAGE.name}.") else None


@cache
def _package_module(name: str) -> str | None:
    text = package_text(name.partition(".")[2])
    return None if text is None else f"{disk.PREFIX}{name.rpartition('.')[2]}_{module_hash(text)}"


def load(source: str, stem: str = "", cache: bool = True, functions: Sequence[Function] = ()) -> ModuleType:
    """The module of a generated text, `gc_<stem>_<hash>`, which lives as long as one of its functions.

    The same text gives the same module while somebody has it. It is a file in the cache directory, or lives in memory
    if `cache` is false or no directory is writable.  functions: what the text was printed from, or some of it; all
    others are read.
    """
    name = f"{disk.PREFIX}{stem}_{module_hash(source)}" if stem else f"{disk.PREFIX}{module_hash(source)}"
    with compiling():
        found = modules.get(name)
        if found is None:
            found = modules[name] = _execute(name, source, _module_file(name, source, cache))
        remember_functions(str(found.__file__), functions)
        return found


def _module_file(name: str, source: str, cache: bool) -> str:
    """The path of the module's file, or the name in angle brackets under which it lives in memory."""
    if cache:
        try:
            return str(disk.write_module(name, source))
        except OSError as error:
            _warn_once("no cache on disk, compiling in memory in every process", error)
    filename = f"<{name}>"
    linecache.cache[filename] = (len(source), None, native.lines_of(source), filename)
    return filename


def _execute(name: str, source: str, filename: str) -> ModuleType:
    """Run the text as a module. It is compiled from memory, never from a file that somebody could have changed."""
    module = ModuleType(name)
    module.__file__ = filename
    module.__dict__["__module__"] = module  # a function keeps the dictionary, and so the module
    remember(filename, source)
    finalize(module, forget_text, filename, source).atexit = False
    exec(compile(_without_long_bodies(source), filename, "exec", dont_inherit=True), module.__dict__)
    return module


def _pin(function: Callable[..., Any]) -> None:
    """Keep the module of a function for good, under its name: Numba's machine code is never freed, and refers to it."""
    module = function.__globals__.get("__module__")
    if module is not None:
        sys.modules.setdefault(module.__name__, module)


def _without_long_bodies(source: str) -> str:
    """The text with long functions cut down to their docstrings: `jit` goes by the text, and bytecode takes a while."""
    lines = source.split("\n")
    if native.target.is_disabled() or len(lines) < _LONG:
        return source
    heads = [k for k, line in enumerate(lines) if line == "@jit"]
    for first in heads:
        stop = next((k for k in range(first + 2, len(lines)) if lines[k][:1] not in ("", " ", ")")), len(lines))
        body = next((k + 1 for k in range(first + 1, stop) if lines[k].endswith('"""')), stop)
        if stop - body >= _LONG:
            lines[body:stop] = [""] * (stop - body)
    return "\n".join(lines)


def is_code(function: Any) -> bool:
    """Whether there is machine code of a function, or a tape, rather than plain Python."""
    return isinstance(function, Taped) or native.own_text(function) is not None


def entry(dispatcher: Any, kinds: Sequence[Kind], quick: bool = False) -> Any:
    """As `precompile`, without Numba: for calls from Python alone.

    quick: with quick code first. What calls functions that Numba compiles is left to `precompile`.
    """
    kinds = tuple(kinds)
    made = built_in(dispatcher, kinds, lambda f: builtin.arrays_caller(f.result, f.fails, kinds), quick)
    return precompile(dispatcher, list(map(argument_type, kinds))) if made is None else made


def stepping(kernel: Any, kinds: Sequence[Kind], outputs: int, step: Any, state: Sequence[Kind]) -> Any:
    """The built-in function that calls a kernel and a step in turn; None where either needs Numba or is plain Python.

    kinds: of theta, the outputs (so many) and the inputs. step: a function of the package or of a generated module,
    which takes what the kernel returned, the outputs and the state, puts down the next theta, and returns 0 to go on.
    The function takes the kernel's arguments, the state and a number of turns, at most, and returns what the step
    returned last.
    """
    if not is_code(kernel) or not is_code(step):
        return None
    linked = step_code(step, ((kinds[0][0], 1), *kinds[1 : 1 + outputs], *state))
    if linked is None:
        return None

    def caller(f: Object) -> str:
        return builtin.stepping_caller(f.result, f.fails, kinds, linked.given.symbol, outputs, state)

    return built_in(kernel, tuple(kinds), caller, step=linked)


def step_code(step: Any, taken: tuple[Kind, ...]) -> Linked | None:
    """The machine code of a step; None if it needs Numba's as well."""
    if not step.__module__.startswith(disk.PREFIX):
        return helper(step.__module__, step.__name__, taken)
    with compiling():
        code = _machine_code(step.lowered_from, taken)
        return None if code is None else link(code)


def built_in(
    dispatcher: Any,
    kinds: tuple[Kind, ...],
    caller: Callable[[Object], str],
    quick: bool = True,
    *,
    step: Linked | None = None,
    **objects: Any,
) -> Any:
    """The built-in function of one of the subset, called as the text of a caller says; None of what needs Numba.

    objects: what its cell holds. One that holds none is kept with the function. step: what the caller calls as well.
    """
    if not is_code(dispatcher):
        return None
    with compiling():
        is_kept = not objects and step is None
        found = dispatcher.entries.get(kinds) if is_kept else None
        if found is None:
            code = in_memory(dispatcher, kinds, quick)
            if code is None:
                return None
            around = linked_caller(caller(code.first), *([step] if step else ()))
            found = builtin.entry(dispatcher.__name__, code.target, code, around, **objects)
            if is_kept:
                dispatcher.entries[kinds] = found
        return found


def for_c(dispatcher: Any, kinds: tuple[Kind, ...], around: Callable[[Object], str], symbol: str) -> Linked | None:
    """The function of that symbol in IR around one of the subset, in memory with it; None of what needs Numba.

    around: its text, by what it calls.
    """
    with compiling():
        code = in_memory(dispatcher, kinds, quick=False)
        if code is None:
            return None
        kernel = code.linked[-1]
        return Linked(builtin.compiled(around(kernel.given), symbol), [kernel])


class Code:
    """The machine code of a function of the subset, in memory: a tape or quick code first, full code once that pays.

    Whoever calls the target keeps this; what came first stays, as a thread may be in it when another one replaces it.
    """

    def __init__(self, dispatcher: "Deferred | Taped", kinds: tuple[Kind, ...], first: Object | None) -> None:
        self.of, self.kinds = dispatcher, kinds
        self.linked: list[Linked] = []
        self.replace = replaced  # the target has its address only, and a module that ends lets go of it
        self.target = builtin.Target(replace=id(self.replace), owner=id(self))
        if first is None:
            assert isinstance(dispatcher, Taped)
            self.first = dispatcher.first
            self.words = dispatcher.words
            self.target.runner = self.target.function = runner().address
            self.target.tape = self.words.buffer_info()[0]
            self.wait(max(PATIENCE, dispatcher.cost))
        else:
            self.first = first._replace(code=b"")
            self.take(first)
            lines = (text_of(dispatcher.lowered_from) or "").count("\n")
            self.wait(PATIENCE * max(1, lines // SHORT) if first.is_quick else 0)

    def wait(self, cycles: int) -> None:
        """Have full code once the time is spent that making it takes; 0: it is there."""
        self.target.left = self.patience = cycles

    def take(self, given: Object) -> None:
        """Call this from now on."""
        self.linked.append(link(given))
        self.target.function = self.linked[-1].address

    def ready(self) -> None:
        """Have the full code."""
        if self.patience:
            found = _machine_code(self.of.lowered_from, self.kinds, may_fail=True)
            assert found is not None and found.result == self.first.result
            self.take(found)
        self.wait(0)  # a call that was in quick code until now has taken its time from it


def replaced(code: Code) -> None:
    """What a call asks for that finds the time of quick code spent.

    Where full code can't be made now, as with memory or files short, deep in a recursion or while Python ends, quick
    code goes on as long again: it has the same numbers. Any other error is the caller's to see.
    """
    try:
        with compiling():
            code.ready()
    except Exception as error:
        if not (isinstance(error, MemoryError | OSError | RecursionError) or sys.is_finalizing()):
            raise
        code.target.left = code.patience


def in_memory(dispatcher: Deferred | Taped, kinds: tuple[Kind, ...], quick: bool) -> Code | None:
    """The machine code of a function of the subset, in memory; None if it needs Numba's as well."""
    is_taped = quick and builtin.HAS_TICKS and isinstance(dispatcher, Taped) and kinds == dispatcher.kinds
    if is_taped and kinds not in dispatcher.codes:
        dispatcher.codes[kinds] = Code(dispatcher, kinds, None)
    if kinds not in dispatcher.codes:
        first = _machine_code(dispatcher.lowered_from, kinds, quick and may_be_quick(dispatcher.lowered_from))
        dispatcher.codes[kinds] = None if first is None else Code(dispatcher, kinds, first)
    code = dispatcher.codes[kinds]
    if code is not None and not quick:
        code.ready()
    return code


def may_be_quick(function: Callable[..., Any]) -> bool:
    """Whether there is quick code of a function: where time is counted, and of small modules without products."""
    text = text_of(function)
    return builtin.HAS_TICKS and text is not None and text.count("\n") <= SMALL and "connect_blas" not in text


def link(given: Object) -> Linked:
    """An object file in memory, with the package's functions that it calls."""
    found = [helper(module, name, kinds) for module, name, kinds in given.helpers]
    return Linked(given, [h for h in found if h is not None])


@cache
def helper(module: str, name: str, kinds: tuple[Kind, ...]) -> Linked | None:
    """One of the package's functions in memory: full code, compiled once per installation; None if it needs Numba."""
    code = _machine_code(getattr(importlib.import_module(module), name).lowered_from, kinds)
    return None if code is None else Linked(code)


def library(function: Callable[..., Any], kinds: tuple[Kind, ...]) -> Object | None:
    """The package's function that quick code calls as it stands in memory; None for any other."""
    if not function.__module__.startswith(f"{_PACKAGE.name}.library."):
        return None
    known = getattr(sys.modules[function.__module__], function.__name__, None)
    found = helper(function.__module__, function.__name__, kinds) if native.own_text(known) is function else None
    return None if found is None else found.given


def _machine_code(
    function: Callable[..., Any], kinds: tuple[Kind, ...], quick: bool = False, may_fail: bool = False
) -> Object | None:
    """The machine code of a function of the subset, from the disk if it is there; None if it needs Numba's as well.

    quick: it may be quick code, if there is no other on the disk. may_fail: it takes the address of the byte that says
    so. Quick code always does, and what replaces it: which of the two takes memory depends on what is inlined.
    """
    module = _kept_as(function)
    names = [f"{module}.{native.mark_of(function, kinds)}.{kind}gco" for kind in (("", "quick.") if quick else ("",))]

    def make() -> Object | None:
        lowered = native.lower(function, kinds, library if quick else None, quick or may_fail)
        return None if lowered.foreign else native.machine_code(lowered)

    return _made_once([] if module is None else names, make, lambda found: found.fails or not may_fail)


def _made_once(
    names: Sequence[str], make: Callable[[], Object | None], fits: Callable[[Object], bool] = lambda found: True
) -> Object | None:
    """Machine code from the disk, by the first of some names under which it fits, else made, and kept by the last.

    Of processes that want the same at once one makes it.
    """

    def read() -> Object | None:
        contents = filter(None, map(disk.read_entry, names))
        return next((found for content in contents if fits(found := Object.unpacked(content))), None)

    if not names:
        return make()
    if (found := read()) is None:
        with disk.making(names[-1]):
            found = read()
            if found is None and (found := make()) is not None:
                _keep(names[-1], found.packed())
    return found


@lru_cache(maxsize=128)
def linked_caller(text: str, *helpers: Linked) -> Linked:
    """The machine code of a caller, from the disk if it is there: few signatures serve many functions.

    helpers: what it calls by its name.
    """
    digest = hashlib.sha256("\n".join((*_environment(), text)).encode()).hexdigest()
    return _linked_once(f"caller_{digest[:20]}.{digest[20:36]}", lambda: builtin.compiled(text, "call"), helpers)


def _linked_once(name: str, make: Callable[[], Object], helpers: Sequence[Linked] = ()) -> Linked:
    """Machine code by a name that says all that it depends on, from the disk if it is there."""
    made = _made_once([f"{disk.PREFIX}{name}.gco"], make)
    assert made is not None
    return Linked(made, helpers)


# Tapes

_FRAME = (array_kind("float64", 1), *[array_kind("int64", 0)] * 4)  # what a step takes


@cache
def runner() -> Linked:
    """What runs tapes."""
    digest = hashlib.sha256("\n".join((*_environment(), RUNNER)).encode()).hexdigest()
    return _linked_once(f"runner_{digest[:20]}.{digest[20:36]}", lambda: builtin.compiled(RUNNER, "run"))


@cache
def linked_step(step: Step) -> Linked:
    """The machine code of a step, for the life of the process; compiled once per installation."""
    text = text_of_step(step)

    def make() -> Object:
        lowered = native.lower(load(text, "step", cache=False).step.lowered_from, _FRAME)
        if lowered.foreign or lowered.fails:
            raise SubsetError(f"{step.value} is no step")
        return native.machine_code(lowered)

    return _linked_once(f"step_{module_hash(text)}.{'0' * 16}", make)


def linked_tape(tape: Tape) -> "array[int]":
    """The words of a tape, with the addresses of its steps and functions."""
    return array("q", [w if type(w) is int else address_of(w) for w in tape.words])


@cache
def address_of(word: Step | Helper) -> int:
    """Where a step or a function is."""
    if isinstance(word, Step):
        return linked_step(word).address
    one, two, whole = array_kind("float64", 1), array_kind("float64", 2), array_kind("int64", 0)
    kinds = {"close_span": (two, two, whole), "close_tree": (two, one, whole)}[word.name]
    found = helper(word.module, word.name, kinds)
    assert found is not None
    return found.address


def _keep(name: str, code: bytes) -> None:
    """Keep machine code on the disk, if that can be: it is in memory all the same."""
    try:
        disk.write_entry(name, code)
    except OSError as error:
        _warn_once("machine code could not be kept on disk", error)


def precompile(dispatcher: Any, types: Sequence[Any]) -> Any:
    """The compiled function for these argument types, from the disk if it is there, else compiled and kept there.

    Returns the C function that a call ends up in, which skips the look-up by type; with the JIT off, the function.
    Whoever calls it must pass exactly these types.
    """
    if not hasattr(dispatcher, "compile"):
        return dispatcher
    signature = tuple(types)
    with compiling(), _working_directory():
        dispatcher.compile(signature)
    return dispatcher.overloads[signature].entry_point


@contextmanager
def _working_directory() -> Iterator[None]:
    """A directory to work in, as Numba asks for its path: the root for a while, where the process's own was deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        here = os.open(".", os.O_RDONLY)
        try:
            os.chdir("/")
            yield
        finally:
            os.fchdir(here)
            os.close(here)
    else:
        yield


def _in_memory(filename: str) -> bool:
    return filename.startswith("<")


def _warn_once(what: str, error: OSError) -> None:
    """Warn of what can't be done on the disk, the first time."""
    if what not in _warned:
        _warned.add(what)
        cure = "set GRADCOMPILE_CACHE_DIR to a directory of yours"
        warnings.warn(f"gradcompile: {what}: {error}; {cure}", RuntimeWarning, stacklevel=2)


def module_hash(source: str) -> str:
    """What a module's machine code depends on: its text, the text it calls, the versions, and the processor."""
    digest = hashlib.sha256("\n".join(_environment()).encode())
    for part in (*_called_digests(source), hashlib.sha256(source.encode()).digest()):
        digest.update(part)
    return digest.hexdigest()[:20]


def _called_digests(source: str) -> list[bytes]:
    """Digests of the package's modules that a generated text imports, and of those that they import.

    Numba does not notice that a called function has changed, so its text has to be in the name.
    """
    digests: dict[str, bytes] = {}
    waiting = _imported_names(source)
    while waiting:
        name = waiting.pop()
        if name not in digests and (path := _package_file(name)) is not None:
            state = os.stat(path)
            digests[name], names = _digest(path, state.st_mtime_ns, state.st_size)
            waiting += names
    return [digests[name] for name in sorted(digests)]


@lru_cache(maxsize=256)
def _digest(path: Path, *state: int) -> tuple[bytes, list[str]]:
    """The digest of a file, and the package's modules that it imports; state: what changes with the file."""
    text = path.read_text("utf-8")
    return hashlib.sha256(text.encode()).digest(), _imported_names(text)


def _package_file(name: str) -> Path | None:
    return _file_below(_PACKAGE, name)


@lru_cache(maxsize=512)
def _file_below(root: Path, name: str) -> Path | None:
    place = root.joinpath(*name.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def package_text(name: str) -> str | None:
    """The text of a module or a package below this one, by its dotted name there; None if there is none."""
    path = _package_file(name)
    return None if path is None else path.read_text("utf-8")


def _imported_names(source: str) -> list[str]:
    words = (line.split(maxsplit=3) for line in source.splitlines() if line.startswith("from gradcompile."))
    return [w[1].removeprefix("gradcompile.") for w in words if w[2:3] == ["import"]]


@lru_cache(maxsize=1)
def _environment() -> tuple[str, ...]:
    import llvmlite
    import numpy

    versions = (sys.version, llvmlite.__version__, numpy.__version__)
    return (*versions, platform.machine(), *native.target.processor())
