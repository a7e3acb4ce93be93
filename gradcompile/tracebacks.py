"""Where a traceback ends: at the user's line, without the frames that lie inside the package.

What the user calls is an entry. An error of the package's own passes it with the package's frames taken out of its
traceback; the frames of others stay, as of a function that the user handed in, and so do all of any other exception.
GRADCOMPILE_TRACEBACK=full in the environment keeps everything.
"""

import contextlib
import os
from collections.abc import Callable, MutableMapping
from functools import wraps
from types import FunctionType, TracebackType
from typing import Any, TypeVar

from gradcompile.errors import GradcompileError

INSIDE = (os.path.dirname(os.path.abspath(__file__)) + os.sep, "<gradcompile ")
BETWEEN = (os.path.join("numpy", "lib", "mixins.py"), contextlib.__file__)  # operators of arrays, decorators
F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)
UNTOUCHED = {  # the last two, where time counts, do it in their bodies
    "__init__", "__new__", "__repr__", "__hash__", "__reduce__", "__getattr__", "__init_subclass__",
    "__class_getitem__", "__call__", "flat",
}  # fmt: skip


def shorten(error: BaseException) -> None:
    """Take the package's own frames out of a traceback, and of those of its causes; `raise` alone goes on with it.

    A frame that catches and raises again without a name does not enter itself anew.
    """
    if os.environ.get("GRADCOMPILE_TRACEBACK") == "full":
        return
    this: BaseException | None = error
    while this is not None:
        this.__traceback__ = visible(this.__traceback__)
        this = this.__cause__ or (None if this.__suppress_context__ else this.__context__)


def visible(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of the package."""
    kept = []
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if not name.startswith(INSIDE) and not name.endswith(BETWEEN):
            kept.append(trace)
        trace = trace.tb_next
    found: TracebackType | None = None
    for t in reversed(kept):
        found = TracebackType(found, t.tb_frame, t.tb_lasti, t.tb_lineno)
    return found


def entry(function: F) -> F:
    """A function as the user calls it: its errors end at the line that called it."""

    @wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        try:
            return function(*args, **named)
        except GradcompileError as error:
            shorten(error)
            raise

    return call  # type: ignore[return-value]  # of the same signature


def entries(names: MutableMapping[str, Any]) -> None:
    """Make the public functions of a module entries; called at its end with its globals."""
    for name, value in list(names.items()):
        if isinstance(value, FunctionType) and value.__module__ == names["__name__"] and not name.startswith("_"):
            names[name] = entry(value)


def with_entries(cls: C) -> C:
    """A class whose methods are entries."""
    found = {name: value for base in cls.__mro__[-2::-1] for name, value in vars(base).items()}
    for name, value in found.items():
        if name in UNTOUCHED or (name.startswith("_") and not name.endswith("__")):
            continue
        if isinstance(value, FunctionType) and not hasattr(value, "__wrapped__"):
            setattr(cls, name, entry(value))
        elif isinstance(value, property) and value.fget is not None and not hasattr(value.fget, "__wrapped__"):
            setattr(cls, name, property(entry(value.fget), doc=value.__doc__))
    return cls
