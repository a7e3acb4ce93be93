"""Parameters and data in the forms in which they are given, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.optim.parts import Vector
from gradcompile.runtime import bind
from gradcompile.runtime.matching import Call
from gradcompile.signature.arguments import Argument


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
    """The values in the function's order, from a sequence or from a mapping by name."""
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
