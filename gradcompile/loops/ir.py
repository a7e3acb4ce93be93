"""The loop IR: the statements that a generated function is made of, and the expressions in them.

What a function calls, reads or names is found in these, never in their text. An expression is a tree that has its text
as well, printed once when it is made; the functions below put parentheses where Python needs them.

>>> x, y = name("x"), name("y")
>>> product = operation("*", operation("+", x, y), call("exp", x))
>>> product.text, sorted(names_in([Assign(y, product)])), calls_in([Assign(y, product)])
('(x + y) * exp(x)', ['x', 'y'], {'exp'})
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, NamedTuple


class Level(IntEnum):
    """How strongly an expression binds, weakest first, as far as generated code needs it."""

    CONDITIONAL = 0
    COMPARE = 1
    OR = 2
    XOR = 3
    AND = 4
    SUM = 5
    PRODUCT = 6
    UNARY = 7
    ATOM = 8


CONDITIONAL, COMPARE, OR, XOR, AND, SUM, PRODUCT, UNARY, ATOM = Level
LEVELS = {"<": COMPARE, "<=": COMPARE, ">": COMPARE, ">=": COMPARE, "==": COMPARE, "!=": COMPARE, "|": OR, "^": XOR,
          "&": AND, "+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "//": PRODUCT, "%": PRODUCT,
          "@": PRODUCT}  # fmt: skip

Kind = Literal["name", "number", "call", "operation", "negative", "not", "choice", "element", "slice", "transposed",
               "length", "tuple", "group"]  # fmt: skip


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


# Expressions


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
    return Expression("operation", "+", (first, *(negative(x) if less else x for less, x in rest)), text, SUM)


def negative(x: Expression) -> Expression:
    """-x."""
    return Expression("negative", "-", (x,), "-" + wrapped(x, PRODUCT), PRODUCT)


def contrary(x: Expression) -> Expression:
    """not x."""
    return Expression("not", "not", (x,), f"not {wrapped(x, ATOM)}", COMPARE)


def choice(condition: Expression, x: Expression, y: Expression) -> Expression:
    """x where the condition holds, else y."""
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


# Statements


@dataclass(frozen=True, slots=True)
class Assign:
    """A value goes to a name or an element, or is added to it ("+=") or taken from it ("-=")."""

    target: Expression
    value: Expression
    comment: str = ""
    how: str = "="

    @property
    def text(self) -> str:
        """As it is printed on one line."""
        return f"{self.target.text} {self.how} {self.value.text}"


@dataclass(frozen=True, slots=True)
class Do:
    """A call that is made for what it does."""

    value: Expression
    comment: str = ""

    @property
    def text(self) -> str:
        """As it is printed on one line."""
        return self.value.text


@dataclass(frozen=True, slots=True)
class Return:
    """The end of a function, and its value."""

    value: Expression
    comment: str = ""

    @property
    def text(self) -> str:
        """As it is printed on one line."""
        return f"return {self.value.text}"


@dataclass(frozen=True, slots=True)
class Note:
    """A comment on a line of its own, or an empty line."""

    comment: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Loop:
    """`for variable in turns:` and what it repeats; turns: a call of `range`, or of `lanes` for turns side by side."""

    variable: str
    turns: Expression
    body: list["Statement"] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The line that it begins with."""
        return f"for {self.variable} in {self.turns.text}:"


Line = Assign | Do | Return | Note
Statement = Line | Loop


def lanes(start: Expression, stop: Expression) -> Expression:
    """The turns of a loop that neighbours may take together, each statement after the one before."""
    return call("lanes", start, stop)


def turns(*bounds: Expression) -> Expression:
    """The turns of a loop in order."""
    return call("range", *bounds)


def add(target: Expression, x: Expression, comment: str = "") -> Assign:
    """A value is added to a target; what begins with a minus is subtracted."""
    positive = without_minus(x) if x.level == PRODUCT else None
    return Assign(target, x, comment, "+=") if positive is None else Assign(target, positive, comment, "-=")


# What is in them


def every(statements: Iterable[Statement]) -> Iterator[Statement]:
    """Nested statements, each loop before what it repeats."""
    pending = [iter(statements)]
    while pending:
        for s in pending[-1]:
            yield s
            if isinstance(s, Loop):
                pending.append(iter(s.body))
                break
        else:
            pending.pop()


def parts_of(expressions: Iterable[Expression]) -> Iterator[Expression]:
    """Expressions, and all that they are made of."""
    pending = list(expressions)
    while pending:
        x = pending.pop()
        yield x
        pending += x.parts


def read_by(s: Statement) -> list[Expression]:
    """What a statement reads: values, turns, what is added to, and the index of an element that is written."""
    if isinstance(s, Note):
        return []
    if isinstance(s, Loop):
        return [s.turns]
    if isinstance(s, Assign):
        return [s.value, *(s.target.parts[1:] if s.how == "=" else (s.target,))]
    return [s.value]


def names_in(statements: Iterable[Statement]) -> set[str]:
    """The names that statements read or write to; not those that they only give a value."""
    found = set[str]()
    for s in every(statements):
        written = [s.target] if isinstance(s, Assign) and not s.target.is_name else []
        found |= {x.word for x in parts_of([*read_by(s), *written]) if x.kind == "name"}
    return found


def calls_in(statements: Iterable[Statement]) -> set[str]:
    """The functions that statements call, and "@" if they multiply matrices."""
    whole = parts_of(x for s in every(statements) for x in read_by(s))
    return {x.word for x in whole if x.kind == "call" or (x.kind == "operation" and x.word == "@")}


# Functions and modules


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the generated module; kinds: the types of its arguments, where it states them."""

    name: str
    args: tuple[str, ...]
    doc: str
    body: list[Statement]
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant of a module: a number or numbers, as Python writes them, and what it says of them."""

    name: str
    value: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Module:
    """A generated module: what its header says, what it imports, its constants, and its functions in order.

    extra: texts of definitions that its functions call.  multiplies: whether it connects itself to BLAS.
    """

    header: str
    imports: dict[str, list[str]]
    functions: list[Function]
    constants: list[Constant] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    multiplies: bool = False
