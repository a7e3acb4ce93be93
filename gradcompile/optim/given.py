"""Parameters and data in the forms in which they are given, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.optim.parts import Vector
from gradcompile.runtime import bind, frames
from gradcompile.runtime.matching import Call
from gradcompile.signature.arguments import Argument
from gradcompile.signature.forms import spread


def shaped(params: Sequence[Argument], given: Any, theta: Vector) -> Any:
    """Parameters in the arrangement that they were given in."""
    return arranged(Call(params), given, bind.split(params, theta.copy()))


def arranged(takes: Call, given: Any, parts: tuple[Any, ...]) -> Any:
    """The values of parameters in the arrangement of what was given."""
    if isinstance(given, Mapping):
        return takes.arranged(parts, given)
    if not _is_sequence(given, takes.arguments):
        return parts[0]
    return parts if isinstance(given, tuple) else list(parts)


def named(takes: Call, key: Any, what: str) -> list[str]:
    """The parameters that a key is for: the one of a symbol or a name, or all in a container of that name.

    In nested mappings a tuple of keys leads to one. ArgumentTypeError where there is none.
    """
    path = tuple(str(getattr(k, "name", k)) for k in (key if isinstance(key, tuple) else (key,)))
    paths = {a.name: tuple(str(k) for _, k in a.path) for a in takes.arguments}
    found = [name for name, own in paths.items() if own[: len(path)] == path]
    return found or list(takes.identifiers([key], what).values())


def flattened(given: Mapping[Any, Any]) -> dict[Any, Any]:
    """The entries of nested mappings, by their key or by the tuple of keys that leads there."""
    entries = spread(given, lambda _: False)
    return {path[0][1] if len(path) == 1 else tuple(k for _, k in path): value for path, value in entries}


def entry_name(argument: Argument, k: int) -> str:
    """The name of an entry of a parameter."""
    shape = argument.leaf.type.shape
    if not shape:
        return argument.name
    index = np.unravel_index(k, [int(d) for d in shape])
    return f"{argument.name}[{', '.join(map(str, index))}]"


def _is_sequence(given: Any, arguments: Sequence[Argument]) -> bool:
    """Whether this holds the arguments, or is the only one itself."""
    if isinstance(given, np.ndarray):
        return len(arguments) != 1 or given.ndim != len(arguments[0].leaf.type.shape)
    return isinstance(given, Sequence) and not isinstance(given, str)


def in_order(given: Any, takes: Call, what: str) -> list[Any]:
    """The values in the function's order, from a sequence, from a mapping by name or from a frame."""
    if what != "params" and not isinstance(given, Mapping | list | tuple) and frames.is_frame(given):
        given = frames.values(given, [str(a.original) for a in takes.arguments])
    if isinstance(given, Mapping):
        return takes.parameters(given) if takes.form else takes.in_order(given, what)
    if takes.placed < len(takes.names):
        raise ArgumentError(f"{takes.unordered()}: pass {what}={takes.mapping()}, or {takes.cure()}")
    values = list(given) if not takes.names or _is_sequence(given, takes.arguments) else [given]
    if len(values) != len(takes.names):
        count = len(takes.names)
        taken = f"{count}: {takes.takes[1:-1]}" if count else "none"
        raise ArgumentTypeError(f"{what} holds {len(values)} values, the function takes {taken}")
    return takes.apart(values)
