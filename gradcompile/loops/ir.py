"""The loop IR: the statements that a generated function is made of. Values are source text, names are Python's."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Line:
    """One statement, with the comment that explains it."""

    text: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Loop:
    """`header:` and what it repeats."""

    header: str
    body: list["Statement"] = field(default_factory=list)


Statement = Line | Loop


def texts(statements: list[Statement]) -> list[str]:
    """The texts of nested statements, without comments."""
    found: list[str] = []
    for s in statements:
        found += [s.text] if isinstance(s, Line) else [s.header, *texts(s.body)]
    return found


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the generated module."""

    name: str
    args: tuple[str, ...]
    doc: str
    body: list[Statement]


@dataclass(frozen=True, slots=True)
class Module:
    """A generated module: what its header says, what it imports, its constants, and its functions in order.

    extra: texts of definitions that its functions call.
    """

    header: str
    imports: dict[str, list[str]]
    functions: list[Function]
    constants: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
