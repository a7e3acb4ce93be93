"""Loop IR to Python source: the text that a person reads is the text that runs."""

from collections.abc import Iterator
from operator import add

from gradcompile.loops.ir import Assign, Constant, Function, If, Line, Loop, Module, Statement, While

COMMENT_COLUMN = 48
FEW_LINES = 4  # of a constant that still stands before the functions
WIDTH = 116
KEPT = "\0"  # a space at which no line breaks
TERMS = (" + ", " - ", " if ", " else ", " | ", " & ")  # what a line may begin with
DEEPEST = 20  # brackets in one another that are looked into
WIDEST = 120  # with a comment; one that goes further stands on a line of its own


def print_module(module: Module) -> str:
    """The source of a module, complete and ready to import."""
    parts = ['"""' + module.header + '\n"""\n']
    for origin, names in module.imports.items():
        parts.append(imported(origin, names))
    constants = {c.name: constant(c) for c in module.constants}
    long = {name: lines for name, lines in constants.items() if len(lines) > FEW_LINES}
    short = ["connect_blas()", ""] if module.multiplies else []
    short += [x for name, lines in constants.items() if name not in long for x in lines]
    short += [f"# at the end: {', '.join(long)}"] if long else []
    parts += ["\n" + "\n".join(short)] if short else []
    parts += ["\n\n" + text for text in module.extra]
    for function in module.functions:
        parts.append("\n\n" + "\n".join(print_function(function)))
    parts += ["\n\n" + "\n".join(lines) for lines in long.values()]
    return "\n".join(parts) + "\n"


def imported(origin: str, names: list[str]) -> str:
    """An import statement; one without names imports the module itself."""
    return f"from {origin} import {', '.join(names)}" if names else f"import {origin}"


def constant(c: Constant) -> list[str]:
    """The lines of a constant; a comment stays whole, on the last.

    >>> constant(Constant("SIZES", "(1, 2)", "lengths"))
    ['SIZES = (1, 2)  # lengths']
    >>> constant(Constant("SIZES", f"({'1, ' * 60})", "lengths"))[-1]
    '    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, )  # lengths'
    """
    code, comment = f"{c.name} = {c.value}", f"  # {c.comment}" if c.comment else ""
    if len(code + comment) <= WIDEST:
        return [code + comment]
    *lines, last = wrapped(code, WIDTH, " " * 4)
    return [*lines, last + comment]


def print_function(function: Function) -> Iterator[str]:
    """The lines of a function."""
    yield "@jit"
    kinds = [f': "{kind}"'.replace(" ", KEPT) for kind in function.kinds] or [""] * len(function.args)
    args = ", ".join(map(add, function.args, kinds))
    yield from wrapped(f"def {function.name}({args}):", WIDTH, " " * 8)
    yield f'    """{function.doc}"""'
    yield from block(function.body, 1)


def block(statements: list[Statement], depth: int) -> Iterator[str]:
    """The lines of nested statements."""
    for s in statements:
        text = s.text
        if isinstance(s, Loop | While | If):
            yield "    " * depth + text
            yield from block(s.body, depth + 1)
            if isinstance(s, If) and s.orelse:
                yield "    " * depth + "else:"
                yield from block(s.orelse, depth + 1)
        elif len(text) + 4 * depth > WIDTH:
            yield from long_line(s, text, depth)
        else:
            yield line(text, s.comment, depth)


def long_line(statement: Line, text: str, depth: int) -> Iterator[str]:
    """One statement over several lines: an assigned value stands in parentheses, a call is broken at its arguments."""
    room, indent = WIDTH - 4 * depth, "    " * depth
    if not isinstance(statement, Assign):
        yield from (indent + piece for piece in wrapped(text, room, " " * 8))
        return
    yield line(f"{statement.target.text} {statement.how} (", statement.comment, depth)
    yield from (indent + "    " + piece for piece in wrapped(statement.value.text, room - 4))
    yield indent + ")"


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Text as lines that break before a term or after a comma; inside brackets only what does not fit otherwise.

    >>> wrapped("a + f(b, c) if d else e", 12)
    ['a + f(b, c)', 'if d else e']
    """
    lines = [""]
    for piece in pieces(text, width - len(indent)):
        if len(lines[-1]) + len(piece) > width and lines[-1].strip():
            lines.append(indent)
        lines[-1] += piece if lines[-1].strip() else piece.lstrip()
    return [line.rstrip().replace(KEPT, " ") for line in lines]


def pieces(text: str, width: int) -> list[str]:
    """Text in pieces of this width, as far as it can be cut: outside of brackets first, then inside of them."""
    found, depth = [text], 0
    while depth < DEEPEST and any(len(piece) > width for piece in found):
        found = [p for piece in found for p in (cut(piece, depth) if len(piece) > width else [piece])]
        depth += 1
    return found


def cut(text: str, deepest: int) -> list[str]:
    """Text cut before each term, or after each comma, in no more brackets than this, counted from where it begins."""
    found, begun, depth = list[str](), 0, 0
    for k, c in enumerate(text):
        depth += (c in "([") - (c in ")]")
        if c == " " and k > begun and depth <= deepest and (text[k - 1] == "," or text.startswith(TERMS, k)):
            found.append(text[begun:k])
            begun = k
    return [*found, text[begun:]]


def line(text: str, comment: str, depth: int) -> str:
    """One statement, its comment in a column of its own."""
    indent = "    " * depth
    if not text:
        return f"{indent}# {comment}" if comment else ""
    if not comment:
        return indent + text
    whole = f"{indent + text:<{COMMENT_COLUMN}}  # {comment}"
    return whole if len(whole) <= WIDEST else f"{indent}# {comment}\n{indent + text}"
