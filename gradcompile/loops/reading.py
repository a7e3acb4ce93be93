"""Functions of the subset as loop IR: those of a kernel as they were made, all others read from their text."""

import ast
import linecache
from collections.abc import Callable, Iterable
from io import StringIO
from typing import Any

from gradcompile.collector import collector_paused
from gradcompile.errors import SubsetError
from gradcompile.loops.expressions import (
    ABSENT,
    ATOM,
    EVERY,
    Expression,
    call,
    choice,
    contrary,
    element,
    length,
    minus,
    name,
    number,
    operation,
    span,
    transposed,
    tuple_of,
)
from gradcompile.loops.ir import Assign, Do, Function, If, Loop, Return, Statement, While

KEPT = 1_000  # statements of a function that is kept as it was read: one that is longer is lowered once
_TEXTS: dict[str, str] = {}
_FUNCTIONS: dict[str, dict[str, Function]] = {}  # by file and name

SYMBOLS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.MatMult: "@",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>", ast.Lt: "<", ast.LtE: "<=",
    ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip


# Where texts are


def remember(filename: str, source: str) -> None:
    """Keep the text of a module in memory: its file is not read. It is parsed when a function is compiled."""
    _TEXTS[filename] = source


def remember_functions(filename: str, functions: Iterable[Function]) -> None:
    """Keep what the text of a module was printed from: these functions are not parsed."""
    _FUNCTIONS.setdefault(filename, {}).update((f.name, f) for f in functions)


def forget_text(filename: str, source: str) -> None:
    """The opposite, unless the module was loaded again meanwhile."""
    if _TEXTS.get(filename) is source:
        del _TEXTS[filename]
        _FUNCTIONS.pop(filename, None)
        if filename.startswith("<"):
            linecache.cache.pop(filename, None)


def text_of(function: Callable[..., Any]) -> str | None:
    """The text of the generated module that a function is of; None for any other function."""
    return _TEXTS.get(function.__code__.co_filename)


def lines_of(source: str) -> list[str]:
    r"""The lines of a text with their ends, as Python counts them; `str.splitlines` ends lines at more characters.

    >>> lines_of("a = 1\r\n# \x0b \x85 \u2028\nb = 2")
    ['a = 1\n', '# \x0b \x85 \u2028\n', 'b = 2']
    """
    return StringIO(source, newline=None).readlines()


def own_lines(function: Callable[..., Any]) -> str:
    """The text of a function below as many empty lines as it has lines above it in its file."""
    code = function.__code__
    source = _TEXTS.get(code.co_filename)
    known = linecache.getlines(code.co_filename, function.__globals__) if source is None else lines_of(source)
    start = next((k for k in range(code.co_firstlineno - 1, len(known)) if known[k].startswith("def ")), None)
    if start is None:
        raise SubsetError(f"{code.co_name}: its text is not at the top level of {code.co_filename}")
    stop = next((k for k in range(start + 1, len(known)) if known[k].strip() and known[k][0] not in " #)"), None)
    return "\n" * start + "".join(known[start:stop])


def own_text(target: Any) -> Callable[..., Any] | None:
    """The plain function of the subset behind one that `jit` decorates, or its dispatcher; None for anything else."""
    return getattr(target, "lowered_from", None)


def syntax(function: Callable[..., Any]) -> ast.FunctionDef:
    """The text of a function as Python's tree; SubsetError if it does not stand at the top level of a file."""
    (tree,) = ast.parse(own_lines(function)).body
    assert isinstance(tree, ast.FunctionDef)
    return tree


@collector_paused()
def function_of(function: Callable[..., Any]) -> Function:
    """A function of the subset as loop IR; SubsetError, with the line, for what is not of the subset."""
    name, known = function.__code__.co_name, _FUNCTIONS.setdefault(function.__code__.co_filename, {})
    if name in known:
        return known[name]
    tree = syntax(function)
    found = read(tree)
    if len(tree.body) < KEPT:
        known[name] = found
    return found


# What they say


def read(tree: ast.FunctionDef) -> Function:
    """A function that Python has parsed.

    >>> tree = ast.parse("def f(x):\\n    for i in lanes(0, 8):\\n        x[i] -= 2.0 if x[i] > -1 else 0.5*i").body[0]
    >>> read(tree).body[0].text, read(tree).body[0].body[0].text
    ('for i in lanes(0, 8):', 'x[i] -= 2.0 if x[i] > -1 else 0.5 * i')
    """
    try:
        body = [statement(s) for s in tree.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    except Unread as error:
        e, *why = error.args
        raise SubsetError(f"{tree.name}, line {e.lineno}: {ast.unparse(e).splitlines()[0]!r}{''.join(why)}") from None
    return Function(tree.name, tuple(a.arg for a in tree.args.args), ast.get_docstring(tree) or "", body)


class Unread(Exception):
    """What is not of the subset."""


def statement(s: ast.stmt) -> Statement:
    """One statement, and those in it."""
    match s:
        case ast.Assign(targets=[ast.Name() | ast.Subscript() as target], value=value):
            return Assign(expression(target), expression(value))
        case ast.AugAssign(target=ast.Name() | ast.Subscript() as target, op=op, value=value):
            return Assign(expression(target), expression(value), how=SYMBOLS.get(type(op), "**") + "=")
        case ast.For(target=ast.Name(id=variable), iter=ast.Call(func=ast.Name(id="lanes" | "range")), orelse=[]):
            return Loop(variable, expression(s.iter), list(map(statement, s.body)))
        case ast.While(test=test, body=body, orelse=[]):
            return While(expression(test), list(map(statement, body)))
        case ast.If(test=test, body=body, orelse=orelse):
            return If(expression(test), list(map(statement, body)), list(map(statement, orelse)))
        case ast.Expr(value=ast.Call() as value):
            return Do(expression(value))
        case ast.Return(value=ast.expr() as value):
            return Return(expression(value))
    raise Unread(s)


def expression(e: ast.expr) -> Expression:
    """One expression. Those of a text are a line long, so this may recurse."""
    match e:
        case ast.Name(id=word):
            return name(word)
        case ast.Constant(value=bool() | int() | float() as value):
            return number(str(value))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in SYMBOLS:
            return operation(SYMBOLS[type(op)], expression(left), expression(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in SYMBOLS:
            return operation(SYMBOLS[type(op)], expression(left), expression(right))
        case ast.UnaryOp(op=ast.USub(), operand=x):
            found = expression(x)
            return number(f"-{found.word}") if found.kind == "number" and found.level == ATOM else minus(found)
        case ast.UnaryOp(op=ast.Not(), operand=x):
            return contrary(expression(x))
        case ast.IfExp(test=test, body=x, orelse=y):
            return choice(expression(test), expression(x), expression(y))
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=int() | str() as value)], keywords=[]):
            return number(f'float("{value}")')
        case ast.Call(func=ast.Name(id=word), args=args, keywords=[]):
            return call(word, *map(expression, args))
        case ast.Subscript(value=ast.Attribute(value=x, attr="shape"), slice=axis):
            return length(expression(x), ast.literal_eval(axis))
        case ast.Subscript(value=x, slice=ast.Tuple(elts=index)):
            return element(expression(x), list(map(place, index)))
        case ast.Subscript(value=x, slice=index):
            return element(expression(x), [place(index)])
        case ast.Attribute(value=x, attr="T"):
            return transposed(expression(x))
        case ast.Tuple(elts=parts):
            return tuple_of(list(map(expression, parts)))
    raise Unread(e)


def place(e: ast.expr) -> Expression:
    """An index, or a slice."""
    if not isinstance(e, ast.Slice):
        return expression(e)
    if e.step is not None:
        raise Unread(e, " has a step")
    bounds = [ABSENT if b is None else expression(b) for b in (e.lower, e.upper)]
    return EVERY if bounds == [ABSENT, ABSENT] else span(*bounds)
