"""The loop IR: the statements that a generated function is made of.

What a function calls, reads or names is found in the expressions of its statements, never in their text.

>>> from gradcompile.loops.expressions import name, operation
>>> x, y = name("x"), name("y")
>>> line = Assign(y, operation("*", x, call("exp", x)))
>>> line.text, names_in([line]), sorted(words_in([line]))
('y = x * exp(x)', {'x'}, ['*', 'exp', 'x'])
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gradcompile.loops.expressions import PRODUCT, Expression, call, parts_of, without_minus

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


@dataclass(frozen=True, slots=True)
class While:
    """`while test:` and what it repeats."""

    test: Expression
    body: list["Statement"] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The line that it begins with."""
        return f"while {self.test.text}:"


@dataclass(frozen=True, slots=True)
class If:
    """`if test:` with one of two runs of statements."""

    test: Expression
    body: list["Statement"] = field(default_factory=list)
    orelse: list["Statement"] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The line that it begins with."""
        return f"if {self.test.text}:"


Line = Assign | Do | Return | Note
Statement = Line | Loop | While | If


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
            if inner := inside(s):
                pending.append(iter(inner))
                break
        else:
            pending.pop()


def inside(s: Statement) -> list[Statement]:
    """The statements that a loop repeats or a branch has; none of any other."""
    return [*s.body, *s.orelse] if isinstance(s, If) else s.body if isinstance(s, Loop | While) else []


def read_by(s: Statement) -> list[Expression]:
    """What a statement reads: values, turns, what is added to, and the index of an element that is written."""
    if isinstance(s, Note):
        return []
    if isinstance(s, Loop):
        return [s.turns]
    if isinstance(s, While | If):
        return [s.test]
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
    """The functions that statements call."""
    return {x.word for x in read_in(statements) if x.kind == "call"}


def words_in(statements: Iterable[Statement]) -> set[str]:
    """The names that statements read, the functions that they call, and their operators."""
    return {x.word for x in read_in(statements) if x.kind in ("name", "call", "operation")}


def read_in(statements: Iterable[Statement]) -> Iterator[Expression]:
    """All parts of what statements read."""
    return parts_of(x for s in every(statements) for x in read_by(s))


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
