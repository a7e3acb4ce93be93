"""Functions of arrays whose derivatives a user states."""

from collections.abc import Callable
from typing import Any

from gradcompile.diff import reverse
from gradcompile.errors import ArgumentError, ExpressionError
from gradcompile.frontend.arrays.core import Array, called, lift, lift_all
from gradcompile.ir.algebra import sum_over
from gradcompile.ir.core import Node, leaf
from gradcompile.ops.ruled import Rule, ruled


def with_vjp(name: str, value: Callable[..., Any], vjp: Callable[..., Any]) -> Callable[..., Any]:
    """A function of symbolic arrays, or of numbers, with this derivative."""

    def run(*args: Any) -> Array:
        nodes = lift_all(*args)
        found = lift(value(*map(Array, nodes)))
        return Array(ruled(found, nodes, rule_of(name, vjp, nodes, found)))

    def function(*args: Any) -> Any:
        return called(name, run, args, {}) if any(isinstance(a, Array) for a in args) else value(*args)

    function.__name__, function.__doc__ = name, value.__doc__
    return function


def rule_of(name: str, vjp: Callable[..., Any], args: list[Node], value: Node) -> Rule:
    """The rule that a function states; ExpressionError where it does not give one cotangent an argument."""
    arguments = tuple(leaf(f"argument {k} of {name}", a.type) for k, a in enumerate(args))
    cotangent = leaf(f"cotangent of {name}", value.type)
    given = vjp(Array(cotangent), *map(Array, arguments))
    given = given if isinstance(given, tuple | list) else (given,)
    if len(given) != len(args):
        count = f"vjp gives {len(given)} cotangents for {len(args)} arguments"
        raise ArgumentError(f"custom {name!r}: {count}; give one for each, None for one without a derivative")
    places = tuple(k for k, a in enumerate(args) if a.type.dtype.startswith("float") and given[k] is not None)
    sent = [lift_all(given[k], Array(args[k]))[0] for k in places]
    for k, n in zip(places, sent, strict=True):
        if n.type != args[k].type:
            types = f"the cotangent of argument {k + 1} is of type {n.type}, the argument of {args[k].type}"
            raise ExpressionError(f"custom {name!r}: {types}; take the sum over the axes that were broadcast")
    tangents = tuple(leaf(f"tangent {k} of {name}", args[k].type) for k in places)
    terms = [x * t for x, t in zip(sent, tangents, strict=True)]
    total = [sum_over(x, tuple(range(len(x.type.shape)))) if x.type.shape else x for x in terms]
    pushed = reverse.vjp(sum(total[1:], total[0]), [cotangent])[0]
    return Rule(arguments, places, cotangent, tuple(sent), tangents, pushed)
