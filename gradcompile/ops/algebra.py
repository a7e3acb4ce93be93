"""Derivative rules as the mathematics they are: the text of a rule is what runs and what the documentation shows."""

import ast
from collections.abc import Callable, Mapping
from functools import cache

from gradcompile.ir.core import Node, Params, Partials, apply, const

Build = Callable[[Mapping[str, "Node"], str], "Node"]

_BINARY = {ast.Add: "add", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow"}
_COMPARISON = {ast.Lt: "lt", ast.LtE: "le", ast.Gt: "lt", ast.GtE: "le", ast.Eq: "eq", ast.NotEq: "ne"}


def partials(names: str, *rules: str | None) -> Partials:
    """Partials from one rule an argument; `names` are the letters of the arguments, None is a structural zero.

    Function names are ops, `polygamma[1](x)` gives one its parameter. A rule that spells the node itself (`exp(x)` in
    that of exp) is the node, since nodes are interned, so the forward value is shared. Constants have the node's dtype.

    >>> from gradcompile.ir.core import apply, leaf
    >>> rule = partials("x", "1 - tanh(x)*tanh(x)")
    >>> rule(apply("tanh", leaf("x")))
    (<add float64[]>,)
    """
    letters = names.split()

    def rule(n: "Node") -> tuple["Node | None", ...]:
        scope = dict(zip(letters, n.args, strict=True))
        return tuple(None if r is None else parsed(r)(scope, n.type.dtype) for r in rules)

    return rule


@cache
def parsed(rule: str) -> Build:
    """A function that makes the nodes of one rule, from its text: most rules of most ops are never needed."""
    return rule_function(ast.parse(rule, mode="eval").body)


def rules_text(name: str, names: str, *rules: str | None) -> str:
    """The rules as text.

    >>> rules_text("mul", "x y", "y", "x")
    'd mul(x, y)/dx = y; d mul(x, y)/dy = x'
    """
    letters = names.split()
    call = f"{name}({', '.join(letters)})"
    return "; ".join(f"d {call}/d{a} = {r or '0'}" for a, r in zip(letters, rules, strict=True))


def rule_function(rule: ast.expr) -> Build:
    """A function that makes the nodes of one rule. Rules are a few symbols long, so this may recurse."""
    match rule:
        case ast.Constant(value=int() | float() as value):
            return lambda scope, dtype: const(float(value), dtype)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return lambda scope, dtype: const(-float(value), dtype)
        case ast.Name(id=name):
            return lambda scope, dtype: scope[name]
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return op_call("add", rule_function(left), op_call("neg", rule_function(right)))
        case ast.BinOp(left=left, op=op, right=right):
            return op_call(_BINARY[type(op)], rule_function(left), rule_function(right))
        case ast.UnaryOp(op=op, operand=operand):
            return (
                negated(rule_function(operand)) if isinstance(op, ast.USub) else op_call("not", rule_function(operand))
            )
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            sides = [rule_function(left), rule_function(right)]
            return op_call(_COMPARISON[type(op)], *(sides[::-1] if isinstance(op, ast.Gt | ast.GtE) else sides))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return op_call("select", rule_function(test), rule_function(body), rule_function(orelse))
        case ast.Call(func=ast.Name(id=name), args=args):
            return op_call(name, *map(rule_function, args))
        case ast.Call(func=ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=int() as order)), args=args):
            return op_call(name, *map(rule_function, args), params=(order,))
    raise ValueError(f"a derivative rule can't contain {ast.unparse(rule)!r}")


def op_call(name: str, *args: Build, params: Params = ()) -> Build:
    """The op of that name applied to what the parts of a rule make."""
    return lambda scope, dtype: apply(name, *(a(scope, dtype) for a in args), params=params)


def negated(part: Build) -> Build:
    """The negative of what a part makes; of a negative, what that is of: sigmoid(-x) is sigmoid(y) for x = -y."""

    def made(scope: Mapping[str, "Node"], dtype: str) -> "Node":
        x = part(scope, dtype)
        return x.args[0] if x.op.name == "neg" else -x

    return made


def horner(coefficients: list[float], variable: str) -> str:
    """The text of a polynomial, constant term first.

    >>> horner([1.0, 2.0, 3.0], "t")
    '1.0 + t*(2.0 + t*(3.0))'
    """
    inner = ""
    for c in reversed(coefficients):
        inner = f"{c!r} + {variable}*({inner})" if inner else repr(c)
    return inner
