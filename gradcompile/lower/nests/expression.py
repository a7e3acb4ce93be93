"""Expressions of generated code: which values get a name of their own, and the text of those that don't."""

import re
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from gradcompile.ir.algebra import is_div, is_neg
from gradcompile.ir.core import Node, Precedence, is_const
from gradcompile.loops.ir import Line, Statement
from gradcompile.ops.shape import is_broadcast

CONDITIONAL, COMPARE, OR, XOR, AND, SUM, PRODUCT, UNARY, ATOM = Precedence
REPEATED = 4  # equal numbers in a row up to which each is written
LONGEST = 72  # characters of an expression; what is longer is cut at named intermediates

Text = tuple[str, int]


@dataclass(slots=True)
class Region:
    """A straight piece of code: the names that hold in it and its statements so far.

    uses: how often each node is an argument. given: the text of nodes that need no statement (arguments, elements,
    results of a pass). name, comment: the identifier of a new intermediate, and what its line says.
    """

    uses: Mapping[Node, int]
    given: dict[Node, str]
    name: Callable[[Node], str]
    comment: Callable[[Node], str]
    statements: list[Statement] = field(default_factory=list)
    texts: dict[Node, Text] = field(default_factory=dict)
    literal: set[Node] = field(default_factory=set)  # values that plain Python may hold as its own floats
    unnamed: list[Node] = field(default_factory=list)  # what has a text of several operations, and no name
    lent: list[Node] = field(default_factory=list)  # what is given for now only: its text reads memory, and is no name

    def emit(self, root: Node, named: bool = False) -> str:
        """Write the statements that the root needs and return the expression for it, a name if `named`."""
        for n in self.missing(root):
            is_quotient = is_div(n) and self.literal.issuperset(n.args)
            text = self.quotient(n) if is_quotient else compose(n, self.singles(n))
            if is_literal(n, self.literal):
                self.literal.add(n)
            often = self.uses[n] > 1 or (named and n is root)
            if len(text[0]) > LONGEST or (often and not self.is_free(n)):
                text = self.assign(n, text[0])
            elif text[1] != ATOM:
                self.unnamed.append(n)
            self.texts[n] = text
        return self.texts[root][0]

    def forget(self) -> None:
        """Write anew, from here on, what has no name so far.

        It may be used more often than was known, and what it read may be gone.
        """
        for n in self.unnamed:
            del self.texts[n]
        for n in self.lent:
            self.given.pop(n, None)
            self.texts.pop(n, None)
        self.unnamed.clear()
        self.lent.clear()

    def missing(self, root: Node) -> Iterator[Node]:
        """The nodes below the root that have no text yet, arguments first; what is given ends the walk."""
        stack = [root]
        while stack:
            n = stack[-1]
            if n in self.given:
                self.texts[n] = self.given[n], ATOM
                if n.op.hands_on or n.op.keeps_literals or n.op.by_shape:
                    self.literal.add(n)
            pending = [] if n in self.texts else [a for a in n.args if a not in self.texts]
            stack.extend(reversed(pending))
            if not pending:
                stack.pop()
                if n not in self.texts:
                    yield n

    def quotient(self, n: Node) -> Text:
        """A division of literals: without the JIT Python's own floats would raise where the divisor is zero."""
        first, second = (self.texts[a] for a in n.args)
        return f"{n.type.dtype}({first[0]}) / {wrap(second, PRODUCT + 1)}", PRODUCT

    def singles(self, n: Node) -> Mapping[Node, Text]:
        """The texts of arguments. In single precision whole numbers, and Python's own floats in calls, say so."""
        if n.type.dtype != "float32" or n.op.entrywise:
            return self.texts
        plain = n.op.hands_on or n.op.keeps_literals or n.op.emit.startswith("{0} ")
        numbers = {a: "float32" for a in n.args if a in self.literal and not plain}
        numbers |= {a: "to_float32" for a in n.args if a.type.dtype == "int64" and not is_const(a)}
        return ChainMap({a: (f"{name}({self.texts[a][0]})", ATOM) for a, name in numbers.items()}, self.texts)

    def is_free(self, n: Node) -> bool:
        """Whether writing the text twice costs nothing: a literal, or a name, also its negative."""
        return is_const(n) or ((is_neg(n) or is_broadcast(n)) and self.texts[n.args[0]][1] == ATOM)

    def assign(self, n: Node, text: str) -> Text:
        """A statement that names the value."""
        name = self.name(n)
        self.statements.append(Line(f"{name} = {text}", self.comment(n)))
        return name, ATOM

    def accumulate(self, target: str, n: Node, comment: str) -> None:
        """A statement that adds the value to the target; a negated product is subtracted."""
        text, level = self.emit(n), self.texts[n][1]
        negative = text.startswith("-") and level == PRODUCT
        self.statements.append(Line(f"{target} {'-=' if negative else '+='} {text[negative:]}", comment))


def is_literal(n: Node, literal: set[Node]) -> bool:
    """Whether plain Python may compute the value from nothing but literals."""
    if n.op.hands_on:
        return not literal.isdisjoint(n.args)
    return (is_const(n) and n.type.dtype.startswith("float")) or (n.op.keeps_literals and literal.issuperset(n.args))


def compose(n: Node, texts: Mapping[Node, Text]) -> Text:
    """The text of one operation from the texts of its arguments."""
    name = n.op.name
    if name == "const":
        return constant(n)
    if name == "add":
        return sum_text(n, texts), SUM
    if name == "neg":
        return "-" + wrap(texts[n.args[0]], PRODUCT), PRODUCT
    if name == "not":
        return f"not {wrap(texts[n.args[0]], ATOM)}", COMPARE
    if name == "select":
        c, a, b = (wrap(texts[x], COMPARE) for x in n.args)
        return f"{a} if {c} else {b}", CONDITIONAL
    if name in ("stop_gradient", "broadcast"):
        return texts[n.args[0]]
    if name == "cast":
        return cast(n, texts[n.args[0]])
    if n.type.dtype == "int64" and n.op.emit_whole:
        return n.op.emit_whole.format(*(wrap(texts[a], ATOM) for a in n.args)), n.op.precedence_whole
    if n.op.emit.startswith("{0} "):
        symbol, level = n.op.emit[3:-3], n.op.precedence
        first = level + (level == COMPARE)
        return symbol.join(wrap(texts[a], first if k == 0 else level + 1) for k, a in enumerate(n.args)), level
    args = {f"p{k}": p for k, p in enumerate(n.params)}
    return n.op.emit.format(*(texts[a][0] for a in n.args), **args), ATOM


def cast(n: Node, text: Text) -> Text:
    """The text of a value in another dtype."""
    own, wanted = n.args[0].type.dtype, n.type.dtype
    if n.args[0].op.by_shape and wanted == "int64":  # lengths are whole numbers in generated code
        return text
    if own == "bool":
        one, zero = ("1", "0") if wanted == "int64" else ("1.0", "0.0")
        return f"{one} if {wrap(text, COMPARE)} else {zero}", CONDITIONAL
    if wanted == "bool":
        return f"{wrap(text, COMPARE + 1)} != 0", COMPARE
    to = {"int64": "to_int", "float64": "to_float" if own == "int64" else "float64", "float32": "float32"}
    function = "to_float32" if (own, wanted) == ("int64", "float32") else to[wanted]
    return f"{function}({text[0]})", ATOM


def sum_text(n: Node, texts: Mapping[Node, Text]) -> str:
    """A sum, left to right; a negated term is subtracted, which is the same operation."""
    result = wrap(texts[n.args[0]], SUM)
    for a in n.args[1:]:
        inner = a.args[0] if is_broadcast(a) else a
        negative = (is_neg(inner) or is_const(inner)) and texts[a][0].startswith("-")
        term = texts[a][0][1:] if negative else wrap(texts[a], PRODUCT)
        result += (" - " if negative else " + ") + term
    return result


def constant(n: Node) -> Text:
    """A literal; what has none is spelt as a call."""
    text = literal(n.value)
    return text, UNARY if text.startswith("-") else ATOM


def literal(value: Any) -> str:
    """The text of a number or a tuple of numbers; those that are not finite are spelt as calls, many equal ones once.

    >>> literal((float("-inf"), 1.0)), literal((1.0, *[0.0] * 9))
    ('(-float("inf"), 1.0)', '(1.0, *9 * (0.0,))')
    >>> literal((2.0,) * 9)
    '(*9 * (2.0,),)'
    """
    if not isinstance(value, tuple):
        return re.sub(r"\b(inf|nan)\b", r'float("\1")', repr(value))
    runs = [(text, len(list(run))) for text, run in groupby(map(literal, value))]
    parts = [part for text, count in runs
             for part in ([f"*{count} * ({text},)"] if count > REPEATED else [text] * count)]  # fmt: skip
    return f"({', '.join(parts)}{',' * (len(parts) == 1)})"


def wrap(text: Text, level: int) -> str:
    """The text, in parentheses if it binds weaker than the level."""
    return text[0] if text[1] >= level else f"({text[0]})"
