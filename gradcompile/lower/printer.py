"""Loop IR to Python source: the text that a person reads is the text that runs."""

import textwrap
from collections.abc import Iterator

from gradcompile.lower.loopir import Function, Line, Module, Statement

COMMENT_COLUMN = 48
WIDTH = 116


def print_module(module: Module) -> str:
    """The source of a module, complete and ready to import."""
    parts = ['"""' + module.header + '\n"""\n']
    for origin, names in module.imports.items():
        parts.append(imported(origin, names))
    parts += [line(c, 0) for c in module.constants]
    parts += ["\n\n" + text for text in module.extra]
    for function in module.functions:
        parts.append("\n\n" + "\n".join(print_function(function)))
    return "\n".join(parts) + "\n"


def imported(origin: str, names: list[str]) -> str:
    """An import statement; one without names imports the module itself."""
    return f"from {origin} import {', '.join(names)}" if names else f"import {origin}"


def print_function(function: Function) -> Iterator[str]:
    """The lines of a function."""
    yield "@jit"
    signature = f"def {function.name}({', '.join(function.args)}):"
    yield from textwrap.wrap(signature, WIDTH, subsequent_indent=" " * 8, break_long_words=False)
    yield f'    """{function.doc}"""'
    yield from block(function.body, 1)


def block(statements: list[Statement], depth: int) -> Iterator[str]:
    """The lines of nested statements."""
    for s in statements:
        if isinstance(s, Line):
            yield line(s, depth)
        else:
            yield "    " * depth + s.header + ":"
            yield from block(s.body, depth + 1)


def line(statement: Line, depth: int) -> str:
    """One statement, its comment in a column of its own."""
    text = ("    " * depth + statement.text).rstrip()
    if not statement.comment:
        return text
    if not statement.text:
        return text + "    " * depth + "# " + statement.comment
    return f"{text:<{COMMENT_COLUMN}}  # {statement.comment}"
