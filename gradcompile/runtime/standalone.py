"""A generated module as a file of its own: what it imports from the package is written into it."""

import ast
from collections.abc import Iterator
from pathlib import Path

from gradcompile.errors import GraphError
from gradcompile.runtime import cache

_PACKAGE = Path(__file__).parent.parent
_JIT = 'from numba import njit\n\njit = njit(cache=True, nogil=True, error_model="numpy")'
_OWN_JIT = ("gradcompile.runtime.jit", "jit")


def save(source: str, path: str | Path) -> None:
    """Write a generated module as a file that needs no gradcompile. Written in one step; replaces what was there."""
    target = Path(path)
    cache.write(target, standalone(source))
    target.chmod(0o644)


def standalone(source: str) -> str:
    """The text of a generated module with every definition of the package that it uses, and a header that says what
    it needs.
    """
    tree = ast.parse(source)
    docstring = ast.get_docstring(tree, clean=False) or ""
    imports, definitions = _closure(source)
    statements = [s for s in tree.body[1 if docstring else 0 :] if not _is_ours(s)]
    outside = [_text(source, s) for s in statements if isinstance(s, ast.Import | ast.ImportFrom)]
    own = [_text(source, s) for s in statements if not isinstance(s, ast.Import | ast.ImportFrom)]
    head = sorted({*imports, *outside})
    needs = "NumPy, Numba and SciPy" if any("scipy" in text for text in (*head, *definitions)) else "NumPy and Numba"
    title = f'"""{docstring.rstrip()}\n\nA file of its own: it needs {needs}.\n"""'
    top = [title.replace('"""', 'r"""', 1)] if "\\" in docstring else [title]
    return "\n\n".join([*top, "\n".join(head), _JIT, *definitions, *own]) + "\n"


def _closure(source: str) -> tuple[list[str], list[str]]:
    """Imports and top-level definitions of the package that a text uses, those they use included, in order."""
    waiting = [(_module(s), a.name) for s in ast.parse(source).body for a in _names(s)]
    found: dict[tuple[str, int], str] = {}
    imports: set[str] = set()
    homes: dict[str, str] = {}
    while waiting:
        module, name = waiting.pop()
        if (module, name) == _OWN_JIT:
            continue
        text, defining = _definition(module, name)
        for place, statement in defining:
            if (module, place) in found:
                continue
            _claim(homes, name, module, text, statement)
            if _is_ours(statement):
                waiting += [(_module(statement), a.name) for a in _names(statement) if (a.asname or a.name) == name]
            elif isinstance(statement, ast.Import | ast.ImportFrom):
                imports.add(_text(text, statement))
            else:
                found[module, place] = _text(text, statement)
                top = {n for s in ast.parse(text).body for n in _binds(s)}
                waiting += [(module, n) for n in sorted(_uses(statement) & top - {name})]
    return sorted(imports), [found[key] for key in sorted(found)]


def _claim(homes: dict[str, str], name: str, module: str, text: str, statement: ast.stmt) -> None:
    """Note where a name comes from; one file can hold only one meaning of it. Two modules may import the same thing."""
    if not _is_ours(statement):
        home = _text(text, statement) if isinstance(statement, ast.Import | ast.ImportFrom) else module
        if homes.setdefault(name, home) != home:
            raise GraphError(f"{name} comes from {homes[name]!r} and from {home!r}; one of them needs another name")


def _definition(module: str, name: str) -> tuple[str, list[tuple[int, ast.stmt]]]:
    """The text of a module and its top-level statements that define a name."""
    text = _PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py").read_text("utf-8")
    return text, [(k, s) for k, s in enumerate(ast.parse(text).body) if name in _binds(s)]


def _is_ours(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and _module(statement).startswith("gradcompile")


def _names(statement: ast.stmt) -> list[ast.alias]:
    """What a statement imports from the package."""
    return statement.names if isinstance(statement, ast.ImportFrom) and _is_ours(statement) else []


def _module(statement: ast.stmt) -> str:
    return (statement.module or "") if isinstance(statement, ast.ImportFrom) else ""


def _binds(statement: ast.stmt) -> Iterator[str]:
    """The names a top-level statement defines, whatever it is nested in."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
        return
    for n in ast.walk(statement):
        if isinstance(n, ast.alias):
            yield n.asname or n.name.partition(".")[0]
        elif isinstance(n, ast.FunctionDef):
            yield n.name
        elif isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store):
            yield n.id


def _uses(statement: ast.stmt) -> set[str]:
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _text(source: str, statement: ast.stmt) -> str:
    """A statement as it was written, decorators included."""
    first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
    return "\n".join(source.splitlines()[first - 1 : statement.end_lineno])
