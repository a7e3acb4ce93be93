"""Scalar nodes as expressions of the loop IR: which values get a name of their own, and what the others are made of."""

import ast
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any

from gradcompile.ir.algebra import is_div, is_mul, is_neg, is_not
from gradcompile.ir.core import Node, Op, is_const
from gradcompile.ir.types import Dim
from gradcompile.loops.expressions import (
    ATOM,
    Expression,
    call,
    choice,
    contrary,
    group,
    name,
    negative,
    number,
    operation,
    parts_of,
    sum_of,
    without_minus,
)
from gradcompile.loops.ir import Assign, Statement, add
from gradcompile.ops.shape import is_broadcast

REPEATED = 4  # equal numbers in a row up to which each is written
LONGEST = 72  # characters of a part of an expression; what is longer has a name


@dataclass(slots=True)
class Region:
    """A straight piece of code: the names that hold in it and its statements so far.

    uses: how often each node is an argument. given: nodes that need no statement (arguments, elements, results of a
    pass). name, comment: the identifier of a new intermediate, and what its line says. some: the dimension
    that has at least one place wherever the code runs.
    """

    uses: Mapping[Node, int]
    given: dict[Node, Expression]
    name: Callable[[Node], str]
    comment: Callable[[Node], str]
    statements: list[Statement] = field(default_factory=list)
    known: dict[Node, Expression] = field(default_factory=dict)
    literal: set[Node] = field(default_factory=set)  # values that plain Python may hold as its own floats
    unnamed: list[Node] = field(default_factory=list)  # what is several operations, and has no name
    some: Dim | None = None
    lent: list[Node] = field(default_factory=list)  # what is given for now only: it reads memory, and is no name

    def emit(self, root: Node, named: bool = False) -> Expression:
        """Write the statements that the root needs and return the expression for it, a name if `named`."""
        for n in self.missing(root):
            is_quotient = is_div(n) and self.literal.issuperset(n.args)
            found = self.quotient(n) if is_quotient else compose(n, self.singles(n))
            if is_literal(n, self.literal):
                self.literal.add(n)
            often = self.uses[n] > 1 or (named and n is root)
            is_long = n is not root and len(found.text) > LONGEST
            if is_long or (often and not found.is_name and not self.is_free(n)):
                found = self.assign(n, found)
            elif found.level != ATOM:
                self.unnamed.append(n)
            self.known[n] = found
        return self.known[root]

    def forget(self) -> None:
        """Write anew, from here on, what has no name so far.

        It may be used more often than was known, and what it read may be gone.
        """
        for n in self.unnamed:
            del self.known[n]
        for n in self.lent:
            self.given.pop(n, None)
            self.known.pop(n, None)
        self.unnamed.clear()
        self.lent.clear()

    def missing(self, root: Node) -> Iterator[Node]:
        """The nodes below the root that are not known yet, arguments first; what is given ends the walk."""
        stack = [root]
        while stack:
            n = stack[-1]
            if n in self.given:
                given = self.given[n]
                is_open = given.level != ATOM and given.kind != "not"
                self.known[n] = given._replace(level=ATOM) if is_open else group(given)
                if n.op.hands_on or n.op.keeps_literals or (n.op.by_shape and not self.is_some(n)):
                    self.literal.add(n)
            pending = [] if n in self.known else [a for a in n.args if a not in self.known]
            stack.extend(reversed(pending))
            if not pending:
                stack.pop()
                if n not in self.known:
                    yield n

    def is_some(self, length: Node) -> bool:
        """Whether a length is never zero, so that plain Python divides by it as by any number."""
        return length.type.dtype == "float64" and length.args[0].type.shape[length.params[0]] == self.some

    def quotient(self, n: Node) -> Expression:
        """A division of literals: without the JIT Python's own floats would raise where the divisor is zero."""
        first, second = (self.known[a] for a in n.args)
        if n.type.dtype == "float32":
            return operation("/", call("float32", first), second)
        return operation("/", first, call("float64", second))

    def singles(self, n: Node) -> Mapping[Node, Expression]:
        """The arguments. In single precision whole numbers, and Python's own floats in calls, say so."""
        if n.type.dtype != "float32" or n.op.entrywise:
            return self.known
        plain = n.op.hands_on or n.op.keeps_literals or symbol_of(n.op.emit)
        numbers = {a: "float32" for a in n.args if a in self.literal and not plain}
        numbers |= {a: "to_float32" for a in n.args if a.type.dtype == "int64" and not is_const(a)}
        return ChainMap({a: call(function, self.known[a]) for a, function in numbers.items()}, self.known)

    def is_free(self, n: Node) -> bool:
        """Whether writing it twice costs nothing: a literal, or a name, also its negative."""
        return is_const(n) or ((is_neg(n) or is_not(n) or is_broadcast(n)) and self.known[n.args[0]].level == ATOM)

    def assign(self, n: Node, value: Expression) -> Expression:
        """A statement that names the value."""
        found = name(self.name(n))
        self.statements.append(Assign(found, value, self.comment(n)))
        return found

    def accumulate(self, target: Expression, n: Node, comment: str) -> None:
        """A statement that adds the value to the target; a negated product is subtracted."""
        self.statements.append(add(target, self.emit(n), comment))


def is_literal(n: Node, literal: set[Node]) -> bool:
    """Whether plain Python may compute the value from nothing but literals."""
    if n.op.hands_on:
        return not literal.isdisjoint(n.args)
    return (is_const(n) and n.type.dtype.startswith("float")) or (n.op.keeps_literals and literal.issuperset(n.args))


def compose(n: Node, known: Mapping[Node, Expression]) -> Expression:
    """One operation on its arguments."""
    op = n.op.name
    if op == "const":
        return number(literal(n.value))
    if op == "add":
        return total(n, known)
    if op == "neg":
        return negative(known[n.args[0]])
    if op == "not":
        return contrary(known[n.args[0]])
    if op == "select":
        return choice(*(known[a] for a in n.args[:3]))
    if op in ("stop_gradient", "broadcast"):
        return known[n.args[0]]
    if op == "cast":
        return cast(n, known[n.args[0]])
    if n.type.dtype == "int64" and n.op.emit_whole:
        return template(n.op.emit_whole)({f"_{k}": group(known[a]) for k, a in enumerate(n.args)})
    if is_mul(n) and len(rest := [a for a in n.args if not is_const(unrepeated(a), 1.0)]) == 1:
        return known[rest[0]]
    if is_mul(n) and len(rest := [a for a in n.args if not is_const(unrepeated(a), -1.0)]) == 1:
        return negative(known[rest[0]])
    if symbol := symbol_of(n.op.emit):
        return operation(symbol, *(known[a] for a in n.args))
    scope = {f"_p{k}": number(p) for k, p in enumerate(n.params)}
    return template(n.op.emit)(scope | {f"_{k}": known[a] for k, a in enumerate(n.args)})


def unrepeated(n: Node) -> Node:
    """What a value repeats."""
    return n.args[0] if is_broadcast(n) else n


def cast(n: Node, x: Expression) -> Expression:
    """A value in another dtype."""
    own, wanted = n.args[0].type.dtype, n.type.dtype
    if n.args[0].op.by_shape and wanted == "int64":  # lengths are whole numbers in generated code
        return x
    if own == "bool":
        one, zero = ("1", "0") if wanted == "int64" else ("1.0", "0.0")
        return choice(x, number(one), number(zero))
    if wanted == "bool":
        return operation("!=", x, number(0))
    to = {"int64": "to_int", "float64": "to_float" if own == "int64" else "float64", "float32": "float32"}
    return call("to_float32" if (own, wanted) == ("int64", "float32") else to[wanted], x)


def total(n: Node, known: Mapping[Node, Expression]) -> Expression:
    """A sum, left to right; a negated term is subtracted, which is the same operation."""
    terms: list[tuple[bool, Expression]] = []
    for a in n.args:
        positive = without_minus(known[a]) if terms else None
        terms.append((False, known[a]) if positive is None else (True, positive))
    return sum_of(terms)


# The texts of records, which are read once

SYMBOLS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Mult: "*", ast.Div: "/", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.Lt: "<",
    ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
Template = Callable[[Mapping[str, Expression]], Expression]


@cache
def tree(emit: str) -> ast.expr:
    """The text of a record as a tree, {0} for the first argument as the name _0, {p0} for a parameter as _p0."""
    return ast.parse(emit.replace("{", "_").replace("}", ""), mode="eval").body


@cache
def symbol_of(emit: str) -> str:
    """The symbol of an operation on arguments, "" for a call or a choice.

    >>> symbol_of("{0} + {1}"), symbol_of("exp({0})"), symbol_of("")
    ('+', '', '')
    """
    match tree(emit) if emit else None:
        case ast.BinOp(op=op) | ast.Compare(ops=[op]):
            return SYMBOLS[type(op)]
    return ""


@cache
def template(emit: str) -> Template:
    """What makes an expression of a record's text and what its names stand for.

    >>> template("atan(sinh({0}))")({"_0": name("x")}).text
    'atan(sinh(x))'
    """
    return build(tree(emit))


def build(part: ast.expr) -> Template:
    """The same for a part of the text. These are a few symbols long, so this may recurse."""
    match part:
        case ast.Name(id=word):
            return lambda scope: scope[word]
        case ast.Constant(value=int() | float() as value):
            found = number(repr(value))
            return lambda scope: found
        case ast.Call(func=ast.Name(id=function), args=args):
            inner = [build(a) for a in args]
            return lambda scope: call(function, *[a(scope) for a in inner])
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            x = build(operand)
            return lambda scope: negative(x(scope))
        case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
            symbol, sides = SYMBOLS[type(op)], [build(left), build(right)]
            return lambda scope: operation(symbol, *[side(scope) for side in sides])
        case ast.IfExp(test=test, body=body, orelse=orelse):
            three = [build(test), build(body), build(orelse)]
            return lambda scope: choice(*[x(scope) for x in three])
    raise ValueError(f"the text of an op can't contain {ast.unparse(part)!r}")


@cache
def functions_of(op: Op) -> frozenset[str]:
    """The functions that an op's text calls."""
    calls = (x for x in ast.walk(tree(op.emit)) if isinstance(x, ast.Call)) if op.emit else ()
    return frozenset(x.func.id for x in calls if isinstance(x.func, ast.Name))


def reads_memory(x: Expression) -> bool:
    """Whether an entry of an array is part of an expression."""
    return any(part.kind == "element" for part in parts_of([x]))


# Literals


def literal(value: Any) -> str:
    """The text of a number or a tuple of numbers; those that are not finite are spelt as calls, many equal ones once.

    >>> literal((float("-inf"), 1.0)), literal((1.0, *[0.0] * 9))
    ('(-float("inf"), 1.0)', '(1.0, *9 * (0.0,))')
    >>> literal((2.0,) * 9)
    '(*9 * (2.0,),)'
    """
    if not isinstance(value, tuple):
        text = repr(value)
        return NAMED.get(text, text)
    runs = [(text, len(list(run))) for text, run in groupby(map(literal, value))]
    parts = [part for text, count in runs
             for part in ([f"*{count} * ({text},)"] if count > REPEATED else [text] * count)]  # fmt: skip
    return f"({', '.join(parts)}{',' * (len(parts) == 1)})"


NAMED = {"inf": 'float("inf")', "-inf": '-float("inf")', "nan": 'float("nan")'}
