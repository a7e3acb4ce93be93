"""From the text of a generated module to compiled functions: the decorator it uses, its import, its compilation."""

import hashlib
import importlib.util
import linecache
import platform
import re
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, update_wrapper
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from gradcompile.runtime import cache as disk
from gradcompile.runtime import native
from gradcompile.runtime.native import dispatcher, remember

_lock = threading.RLock()
_warned: set[str] = set()
_entries: dict[tuple[Callable[..., Any], tuple[Any, ...]], Any] = {}  # what `entry` returned; modules stay as well
_HEAD = r'^@jit\ndef .*\n(?: {8}.*\n)*    """[^"]*"""\n'
_LONG = re.compile(rf"({_HEAD})((?:    .*\n|\n){{2000,}})", re.MULTILINE)  # a head, and 2000 lines
_PACKAGE = Path(__file__).parent.parent


class Deferred:
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
        update_wrapper(self, function)
        self.lowered_from = function

    @cached_property
    def dispatcher(self) -> Any:
        """The Numba dispatcher."""
        return _compiled(dispatcher, self.lowered_from, nogil=True)

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


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function of the subset that `native` describes from its own text: IEEE arithmetic, no GIL, cached.

    With NUMBA_DISABLE_JIT=1 it is the plain function.
    """
    import numba

    return function if numba.config.DISABLE_JIT else Deferred(function)


def njit(function: Callable[..., Any]) -> Any:
    """As `jit`, for functions that need more of Python: they go through Numba's front end."""
    return _compiled(_numba, function, nogil=True)


def brief(function: Callable[..., Any]) -> Any:
    """As `njit`, for calls so short that letting go of the GIL would take longer than they do."""
    return _compiled(_numba, function, nogil=False)


def _numba(function: Callable[..., Any], **options: Any) -> Any:
    import numba

    return numba.njit(**options)(function)


def _compiled(make: Callable[..., Any], function: Callable[..., Any], nogil: bool) -> Any:
    options = {"nogil": nogil, "error_model": "numpy"}
    if _in_memory(function.__code__.co_filename):
        return make(function, **options)
    try:
        return make(function, cache=True, **options)
    except RuntimeError as error:  # Numba finds no place for its files, as with an odd NUMBA_CACHE_LOCATOR_CLASSES
        _warn_once(f"Numba does not cache: {error}")
        return make(function, **options)


def load(source: str, stem: str = "", cache: bool = True) -> ModuleType:
    """The module of a generated text, as `gc_<stem>_<hash>` in sys.modules; the same text gives the same module.

    It is a file in the cache directory, or lives in memory if `cache` is false or no directory is writable.
    """
    name = f"{disk.PREFIX}{stem}_{module_hash(source)}" if stem else f"{disk.PREFIX}{module_hash(source)}"
    with _lock:
        found = sys.modules.get(name)
        if found is None:
            found = _execute(name, source, _module_file(name, source, cache))
        return found


def _module_file(name: str, source: str, cache: bool) -> str:
    """The path of the module's file, or the name in angle brackets under which it lives in memory."""
    if cache:
        try:
            return str(disk.write_module(name, source))
        except OSError as error:
            cure = "set GRADCOMPILE_CACHE_DIR to a directory of yours"
            _warn_once(f"no cache on disk, compiling in memory in every process: {error}; {cure}")
    filename = f"<{name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    return filename


def _execute(name: str, source: str, filename: str) -> ModuleType:
    """Run the text as a module. It is compiled from memory, never from a file that somebody could have changed."""
    module = importlib.util.module_from_spec(ModuleSpec(name, None, origin=filename))
    module.__file__ = filename
    remember(filename, source)
    code = compile(_without_long_bodies(source), filename, "exec", dont_inherit=True)
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
        for directory in _machine_code_directories(module):
            disk.enforce_seal(name, directory)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _without_long_bodies(source: str) -> str:
    """The text with long functions cut down to their docstrings: `jit` goes by the text, and bytecode takes a while."""
    import numba

    return source if numba.config.DISABLE_JIT else _LONG.sub(lambda m: m[1] + "\n" * m[2].count("\n"), source)


def _machine_code_directories(module: ModuleType) -> set[Path]:
    """Where the machine code of a module's functions is kept: beside its file, and where Numba does; it asks
    NUMBA_CACHE_DIR and more.
    """
    own = (v for v in vars(module).values() if getattr(v, "__module__", None) == module.__name__)
    one = next((v.stats.cache_path for v in own if hasattr(v, "stats")), None)  # of one file they are all at one place
    beside = {Path(str(module.__file__)).parent} if _is_kept(module) else set()
    return {Path(one)} | beside if one else beside


def _is_kept(module: ModuleType) -> bool:
    """Whether this is a generated module with a file in the cache directory."""
    return module.__name__.startswith(disk.PREFIX) and not _in_memory(str(module.__file__))


def entry(dispatcher: Any, types: Sequence[Any]) -> Any:
    """As `precompile`, without the time that Numba takes to get ready: for calls from Python alone.

    What calls functions that Numba compiles is left to `precompile`.
    """
    function = native.own_text(dispatcher)
    if function is None:
        return precompile(dispatcher, types)
    key = function, tuple(map(native.kind_of, types))
    with _lock:
        if key not in _entries:
            code = _machine_code(*key)
            _entries[key] = precompile(dispatcher, types) if code is None else native.entry(function.__name__, code)
        return _entries[key]


def _machine_code(function: Callable[..., Any], kinds: tuple[Any, ...]) -> bytes | None:
    """The machine code of a function of the subset, from the disk if it is there; None if it needs Numba's as well."""
    module = sys.modules.get(function.__module__)
    kept = module if module is not None and _is_kept(module) else None
    name = f"{function.__module__}.{function.__name__}-{native.mark_of(function, kinds)}.gco"
    file = None if kept is None else Path(str(kept.__file__)).with_name(name)
    if file is not None and disk.trusted(file):
        return file.read_bytes()
    lowered = native.lower(function, kinds)
    if lowered.foreign:
        return None
    code = native.machine_code(lowered, kinds)
    if kept is not None and file is not None:
        _keep(kept, file, code)
    return code


def _keep(module: ModuleType, file: Path, code: bytes) -> None:
    """Write machine code beside the file of its module, and vouch for it."""
    try:
        disk.write(file, code)
    except OSError as error:
        _warn_once(f"machine code could not be kept on disk: {error}")
    else:
        seal(module)


def precompile(dispatcher: Any, types: Sequence[Any]) -> Any:
    """The compiled function for these argument types, from the disk if it is there, else compiled and sealed there.

    Returns the C function that a call ends up in, which skips the look-up by type; with the JIT off, the function.
    Whoever calls it must pass exactly these types.
    """
    if not hasattr(dispatcher, "compile"):
        return dispatcher
    with _lock:
        signature = tuple(types)
        known = sum(dispatcher.stats.cache_misses.values())
        try:
            dispatcher.compile(signature)
        except OSError as error:  # the disk is full, say: what was compiled is in memory all the same
            if signature not in dispatcher.overloads:
                raise
            _warn_once(f"machine code could not be kept on disk: {error}")
        module = sys.modules.get(dispatcher.py_func.__module__)
        if module is not None and sum(dispatcher.stats.cache_misses.values()) > known:
            seal(module)
        return dispatcher.overloads[signature].entry_point


def seal(module: ModuleType) -> None:
    """Vouch for what Numba has written for a module that `load` gave; without this it is deleted at the next start."""
    if _is_kept(module):
        for directory in _machine_code_directories(module):
            if not disk.machine_code(module.__name__, directory):
                continue
            try:
                disk.seal(module.__name__, directory)
            except OSError as error:
                _warn_once(f"machine code could not be sealed, and is compiled again by the next process: {error}")


def _in_memory(filename: str) -> bool:
    return filename.startswith("<")


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        warnings.warn(f"gradcompile: {message}", RuntimeWarning, stacklevel=2)


def module_hash(source: str) -> str:
    """What a module's machine code depends on: its text, the text it calls, the versions, and the processor."""
    digest = hashlib.sha256("\n".join(_environment()).encode())
    for part in (*_called_texts(source), source):
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()[:20]


def _called_texts(source: str) -> list[str]:
    """The texts of the package's modules that a generated text imports, and of those that they import.

    Numba does not notice that a called function has changed, so its text has to be in the name.
    """
    texts: dict[str, str] = {}
    waiting = _imported_names(source)
    while waiting:
        name = waiting.pop()
        if name not in texts and (text := package_text(name)) is not None:
            texts[name] = text
            waiting += _imported_names(text)
    return [texts[name] for name in sorted(texts)]


def package_text(name: str) -> str | None:
    """The text of a module or a package below this one, by its dotted name there; None if there is none."""
    place = _PACKAGE.joinpath(*name.split("."))
    found = [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
    return found[0].read_text("utf-8") if found else None


def _imported_names(source: str) -> list[str]:
    return re.findall(r"^from gradcompile\.([\w.]+) import", source, re.MULTILINE)


@lru_cache(maxsize=1)
def _environment() -> tuple[str, ...]:
    import llvmlite
    import llvmlite.binding as llvm
    import numba
    import numpy

    processor = (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), platform.machine())
    chosen = (str(numba.config.CPU_NAME), str(numba.config.CPU_FEATURES))
    versions = (sys.version, numba.__version__, llvmlite.__version__, numpy.__version__)
    return (*versions, *processor, *chosen)
