"""Loop IR to Python source: the text that a person reads is the text that runs."""

import textwrap
from collections.abc import Iterator

from gradcompile.loops.ir import Function, Line, Module, Statement

COMMENT_COLUMN = 48
FEW_LINES = 4  # of a constant that still stands before the functions
WIDTH = 116
KEPT = "\0"  # a space at which no line breaks
WIDEST = 120  # with a comment; one that goes further stands on a line of its own


def print_module(module: Module) -> str:
    """The source of a module, complete and ready to import."""
    parts = ['"""' + module.header + '\n"""\n']
    for origin, names in module.imports.items():
        parts.append(imported(origin, names))
    constants = [constant(text) for text in module.constants]
    long = [c for c in constants if len(c) > FEW_LINES]
    short = [x for c in constants if len(c) <= FEW_LINES for x in c]
    short += [f"# at the end: {', '.join(c[0].partition(' = ')[0] for c in long)}"] if long else []
    parts += ["\n" + "\n".join(short)] if short else []
    parts += ["\n\n" + text for text in module.extra]
    for function in module.functions:
        parts.append("\n\n" + "\n".join(print_function(function)))
    parts += ["\n\n" + "\n".join(c) for c in long]
    return "\n".join(parts) + "\n"


def imported(origin: str, names: list[str]) -> str:
    """An import statement; one without names imports the module itself."""
    return f"from {origin} import {', '.join(names)}" if names else f"import {origin}"


def constant(text: str) -> list[str]:
    """The lines of a constant; a comment stays whole, on the last.

    >>> constant("SIZES = (1, 2)  # lengths")
    ['SIZES = (1, 2)  # lengths']
    >>> constant(f"SIZES = ({'1, ' * 60})  # lengths")[-1]
    '    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, )  # lengths'
    """
    if len(text) <= WIDEST:
        return [text]
    code, mark, comment = text.partition("  # ")
    *lines, last = wrapped(code, WIDTH, " " * 4)
    return [*lines, last + mark + comment]


def print_function(function: Function) -> Iterator[str]:
    """The lines of a function."""
    yield "@jit"
    yield from wrapped(f"def {function.name}({', '.join(function.args)}):", WIDTH, " " * 8)
    yield f'    """{function.doc}"""'
    yield from block(function.body, 1)


def block(statements: list[Statement], depth: int) -> Iterator[str]:
    """The lines of nested statements."""
    for s in statements:
        if isinstance(s, Line) and len(s.text) + 4 * depth > WIDTH:
            yield from long_line(s, depth)
        elif isinstance(s, Line):
            yield line(s, depth)
        else:
            yield "    " * depth + s.header + ":"
            yield from block(s.body, depth + 1)


def long_line(statement: Line, depth: int) -> Iterator[str]:
    """One statement over several lines: an assigned value stands in parentheses, a call is broken at its arguments."""
    target, equals, value = statement.text.partition("= ")
    room, indent = WIDTH - 4 * depth, "    " * depth
    if not equals:
        yield from (indent + piece for piece in wrapped(statement.text, room, " " * 8))
        return
    yield line(Line(target + "= (", statement.comment), depth)
    yield from (indent + "    " + piece for piece in wrapped(value, room - 4))
    yield indent + ")"


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Text as lines that break before a term or after a comma, never inside a product."""
    for operator, kept in ((" + ", " +\0"), (" - ", " -\0"), (" * ", "\0*\0"), (" / ", "\0/\0")):
        text = text.replace(operator, kept)
    lines = textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [piece.replace(KEPT, " ") for piece in lines]


def line(statement: Line, depth: int) -> str:
    """One statement, its comment in a column of its own."""
    text = ("    " * depth + statement.text).rstrip()
    if not statement.comment:
        return text
    if not statement.text:
        return "    " * depth + "# " + statement.comment
    whole = f"{text:<{COMMENT_COLUMN}}  # {statement.comment}"
    return whole if len(whole) <= WIDEST else f"{'    ' * depth}# {statement.comment}\n{text}"
