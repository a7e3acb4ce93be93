"""Expressions of the loop IR: trees that have their text as well, printed once when they are made.

The functions below put parentheses where Python needs them.

>>> x, y = name("x"), name("y")
>>> operation("*", operation("+", x, y), call("exp", negative(x))).text
'(x + y) * exp(-x)'
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Literal, NamedTuple


class Level(IntEnum):
    """How strongly an expression binds, weakest first, as far as generated code needs it."""

    CONDITIONAL = 0
    COMPARE = 1
    OR = 2
    XOR = 3
    AND = 4
    SHIFT = 5
    SUM = 6
    PRODUCT = 7
    UNARY = 8
    ATOM = 9


CONDITIONAL, COMPARE, OR, XOR, AND, SHIFT, SUM, PRODUCT, UNARY, ATOM = Level
LEVELS = {"<": COMPARE, "<=": COMPARE, ">": COMPARE, ">=": COMPARE, "==": COMPARE, "!=": COMPARE, "|": OR, "^": XOR,
          "&": AND, "<<": SHIFT, ">>": SHIFT, "+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "//": PRODUCT,
          "%": PRODUCT, "@": PRODUCT}  # fmt: skip

Kind = Literal["name", "number", "call", "operation", "less", "negative", "not", "choice", "element", "slice", "absent",
               "transposed", "length", "tuple", "group"]  # fmt: skip


class Expression(NamedTuple):
    """What a statement computes, reads or names.

    kind: which function below made it.  word: a name, a number as Python writes it, the function of a call, the symbol
    of an operation.  parts: what it is made of.  text, level: as it is printed, and how strongly that binds.
    """

    kind: Kind
    word: str
    parts: tuple["Expression", ...]
    text: str
    level: int = ATOM

    def __repr__(self) -> str:
        return f"<{self.kind} {self.text}>"

    @property
    def is_name(self) -> bool:
        """Whether it is a name and nothing else."""
        return self.kind == "name"


def name(word: str) -> Expression:
    """A variable, an argument or a constant of the module."""
    return Expression("name", word, (), word)


def number(value: int | str) -> Expression:
    """A number; text as Python writes it, of one that is not finite a call of `float`."""
    text = str(value)
    return Expression("number", text, (), text, UNARY if text[0] == "-" else ATOM)


def call(function: str, *args: Expression) -> Expression:
    """The value of a function."""
    return Expression("call", function, args, f"{function}({', '.join([a.text for a in args])})")


def operation(symbol: str, *operands: Expression) -> Expression:
    """Operations of one symbol, from left to right."""
    level = LEVELS[symbol]
    first = level + (level == COMPARE)  # Python chains comparisons
    texts = [wrapped(x, level + 1 if k else first) for k, x in enumerate(operands)]
    return Expression("operation", symbol, operands, f" {symbol} ".join(texts), level)


def sum_of(terms: Iterable[tuple[bool, Expression]]) -> Expression:
    """Terms that are added or, where the first entry of a pair says so, subtracted, from left to right."""
    (_, first), *rest = terms
    text = wrapped(first, SUM)
    for is_subtracted, x in rest:
        text += (" - " if is_subtracted else " + ") + wrapped(x, PRODUCT)
    parts = (Expression("less", "-", (x,), x.text) if is_subtracted else x for is_subtracted, x in rest)
    return Expression("operation", "+", (first, *parts), text, SUM)


def negative(x: Expression) -> Expression:
    """-x; of what begins with a minus that without it; of x*y (-x)*y, as Python reads -x*y. The same number all."""
    if x.level >= PRODUCT and (positive := without_minus(x)) is not None:
        return positive
    if x.kind == "operation" and x.level == PRODUCT:
        return operation(x.word, negative(x.parts[0]), *x.parts[1:])
    return minus(x)


def minus(x: Expression) -> Expression:
    """-x, whatever x is."""
    return Expression("negative", "-", (x,), "-" + wrapped(x, PRODUCT if x.kind != "operation" else UNARY), PRODUCT)


def contrary(x: Expression) -> Expression:
    """not x."""
    return Expression("not", "not", (x,), f"not {wrapped(x, ATOM)}", COMPARE)


def choice(condition: Expression, x: Expression, y: Expression) -> Expression:
    """x where the condition holds, else y."""
    if condition.kind == "not" or (condition.kind == "group" and condition.parts[0].kind == "not"):
        inner = condition if condition.kind == "not" else condition.parts[0]
        return choice(inner.parts[0], y, x)
    text = f"{wrapped(x, COMPARE)} if {wrapped(condition, COMPARE)} else {wrapped(y, COMPARE)}"
    return Expression("choice", "if", (condition, x, y), text, CONDITIONAL)


def element(array: Expression, index: Sequence[Expression]) -> Expression:
    """An entry or a part of an array; the array itself if there is no index."""
    if not index:
        return array
    return Expression("element", "[]", (array, *index), f"{array.text}[{', '.join([k.text for k in index])}]")


def span(start: Expression, stop: Expression) -> Expression:
    """In an index: the places from start to stop."""
    return Expression("slice", ":", (start, stop), f"{start.text}:{stop.text}")


EVERY = Expression("slice", ":", (), ":")  # in an index: a whole axis
ABSENT = Expression("absent", "", (), "")  # a bound of a span that is the axis's own


def transposed(array: Expression) -> Expression:
    """The transpose of a matrix."""
    return Expression("transposed", ".T", (array,), f"{array.text}.T")


def length(array: Expression, axis: int) -> Expression:
    """The length of an array along an axis."""
    return Expression("length", "shape", (array, number(axis)), f"{array.text}.shape[{axis}]")


def tuple_of(parts: Sequence[Expression]) -> Expression:
    """A tuple."""
    text = f"({', '.join([p.text for p in parts])}{',' if len(parts) == 1 else ''})"
    return Expression("tuple", "()", tuple(parts), text)


def group(x: Expression) -> Expression:
    """An expression in parentheses of its own, unless nothing binds stronger."""
    return x if x.level == ATOM else Expression("group", "()", (x,), f"({x.text})")


def wrapped(x: Expression, level: int) -> str:
    """The text, in parentheses if it binds weaker than the level."""
    return x.text if x.level >= level else f"({x.text})"


def without_minus(x: Expression) -> Expression | None:
    """What an expression that begins with a minus is the negative of; None for any other."""
    if x.kind == "negative":
        (inner,) = x.parts
        return inner if inner.level >= PRODUCT else group(inner)
    if x.kind == "number" and x.word.startswith("-"):
        return number(x.word[1:])
    if x.kind == "operation" and x.level == PRODUCT and (first := without_minus(x.parts[0])) is not None:
        return operation(x.word, first, *x.parts[1:])
    return None


def parts_of(expressions: Iterable[Expression]) -> Iterator[Expression]:
    """Expressions, and all that they are made of."""
    pending = list(expressions)
    while pending:
        x = pending.pop()
        yield x
        pending += x.parts
