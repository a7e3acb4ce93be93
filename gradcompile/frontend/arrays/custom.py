"""Functions of arrays whose derivatives a user states."""

from collections.abc import Callable
from typing import Any

from gradcompile.diff import reverse
from gradcompile.errors import ArgumentError, ExpressionError
from gradcompile.frontend.arrays.core import Array, called, lift, lift_all
from gradcompile.ir.algebra import sum_over, zeros_like
from gradcompile.ir.core import Node, is_const, is_leaf, leaf
from gradcompile.ir.graph import topological
from gradcompile.ops.ruled import Rule, ruled


def with_vjp(name: str, value: Callable[..., Any], vjp: Callable[..., Any]) -> Callable[..., Any]:
    """A function of symbolic arrays, or of numbers, with this derivative."""

    def run(*args: Any) -> Array:
        nodes = lift_all(*args)
        rule = rule_of(name, value, vjp, nodes)
        return Array(ruled(lift(value(*map(Array, nodes))), [*nodes, *rule.arguments[len(nodes) :]], rule))

    def function(*args: Any) -> Any:
        return called(name, run, args, {}) if any(isinstance(a, Array) for a in args) else value(*args)

    function.__name__, function.__doc__ = name, value.__doc__
    return function


def rule_of(name: str, value: Callable[..., Any], vjp: Callable[..., Any], args: list[Node]) -> Rule:
    """The rule that a function states; ExpressionError where it does not give one cotangent an argument.

    Arrays that the functions use without taking them are arguments too, after the others: those of the value get what
    it sends them as it is written.
    """
    arguments = [leaf(f"argument {k} of {name}", a.type) for k, a in enumerate(args)]
    own = lift(value(*(Array(a if is_const(a) else b) for a, b in zip(args, arguments, strict=True))))
    cotangent = leaf(f"cotangent of {name}", own.type)
    sent = cotangents_of(name, vjp(Array(cotangent), *map(Array, arguments)), args)
    known = {cotangent, *arguments}
    outer = [n for n in topological([own, *sent.values()]) if is_leaf(n) and n not in known]
    through = reverse.adjoints(own, outer, cotangent)
    sent |= {len(args) + k: through[n] for k, n in enumerate(outer) if n in through}
    arguments += outer
    tangents = tuple(leaf(f"tangent {k} of {name}", arguments[k].type) for k in sent)
    terms = [x * t for x, t in zip(sent.values(), tangents, strict=True)]
    total = [sum_over(x, tuple(range(len(x.type.shape)))) if x.type.shape else x for x in terms]
    pushed = reverse.vjp(sum(total[1:], total[0]), [cotangent])[0] if total else zeros_like(cotangent)
    return Rule(tuple(arguments), tuple(sent), cotangent, tuple(sent.values()), tangents, pushed)


def cotangents_of(name: str, given: Any, args: list[Node]) -> dict[int, Node]:
    """What each of the arguments gets, by its place."""
    given = given if isinstance(given, tuple | list) else (given,)
    if len(given) != len(args):
        count = f"vjp gives {len(given)} cotangents for {len(args)} arguments"
        raise ArgumentError(f"custom {name!r}: {count}; give one for each, None for one without a derivative")
    places = [k for k, a in enumerate(args) if a.type.dtype.startswith("float") and given[k] is not None]
    sent = {k: lift_all(given[k], Array(args[k]))[0] for k in places}
    for k, n in sent.items():
        if n.type != args[k].type:
            types = f"the cotangent of argument {k + 1} is of type {n.type}, the argument of {args[k].type}"
            raise ExpressionError(f"custom {name!r}: {types}; take the sum over the axes that were broadcast")
    return sent
