"""Generated text as plain Python, whatever is compiled around it: what machine code is compared with."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

from gradcompile.codegen import own_text
from gradcompile.codegen.functions import in_precision
from gradcompile.library import joint, special
from gradcompile.library.vmath import double as vmath_double
from gradcompile.library.vmath import single as vmath_single

IMPORT = "from gradcompile.codegen.functions import jit\n"


def plain(source: str) -> dict[str, Any]:
    """The names of a generated module that runs as Python, down to the functions of vmath and reduction."""
    assert IMPORT in source
    space: dict[str, Any] = {"jit": lambda function: function}
    exec(source.replace(IMPORT, ""), space)
    made: dict[int, dict[str, Any]] = {}
    space.update({name: undecorated(value, made) for name, value in space.items() if name != "__builtins__"})
    return space


def function(name: str, single: bool = False) -> Any:
    """A function of vmath as Python."""
    return undecorated(getattr((vmath_double, vmath_single)[single], name), {})


def undecorated(value: Any, made: dict[int, dict[str, Any]]) -> Any:
    """The plain function behind a compiled one of the subset, in a copy of its module in which all are plain."""
    text: Callable[..., Any] | None = own_text(value)
    if text is None:  # what SciPy computes stays machine code: Python can't call it by its symbol
        own = getattr(value, "__module__", None) in (special.__name__, joint.__name__)
        return value if own else getattr(value, "py_func", value)
    home = text.__globals__
    if id(home) not in made:
        copy = made[id(home)] = dict(home)
        for name, other in home.items():
            inner = own_text(other)
            if inner is not None and inner.__globals__ is home:
                copy[name] = in_precision(FunctionType(inner.__code__, copy, inner.__name__))
        copy.update({name: undecorated(v, made) for name, v in home.items() if own_text(copy[name]) is not None})
    return made[id(home)][text.__name__]
