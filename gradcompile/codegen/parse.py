"""The text of functions as trees: where it is found, and what its loops change."""

import ast
import linecache
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from typing import Any

from gradcompile.collector import collector_paused
from gradcompile.errors import SubsetError

KEPT = 1_000  # statements of a function whose tree is kept: one that is longer is lowered once
_TEXTS: dict[str, str] = {}
_TREES: dict[str, dict[str, ast.FunctionDef]] = {}  # by file and name


def remember(filename: str, source: str) -> None:
    """Keep the text of a module in memory: its file is not read. It is parsed when a function is compiled."""
    _TEXTS[filename] = source


def forget_text(filename: str, source: str) -> None:
    """The opposite, unless the module was loaded again meanwhile."""
    if _TEXTS.get(filename) is source:
        del _TEXTS[filename]
        _TREES.pop(filename, None)
        if filename.startswith("<"):
            linecache.cache.pop(filename, None)


def text_of(function: Callable[..., Any]) -> str | None:
    """The text of the generated module that a function is of; None for any other function."""
    return _TEXTS.get(function.__code__.co_filename)


def lines_of(source: str) -> list[str]:
    r"""The lines of a text with their ends, as Python counts them; `str.splitlines` ends lines at more characters.

    >>> lines_of("a = 1\r\n# \x0b \x85 \u2028\nb = 2")
    ['a = 1\n', '# \x0b \x85 \u2028\n', 'b = 2']
    """
    return StringIO(source, newline=None).readlines()


@collector_paused()
def syntax(function: Callable[..., Any]) -> ast.FunctionDef:
    """The text of a function as a tree; SubsetError if it does not stand at the top level of a file."""
    name, known = function.__code__.co_name, _TREES.setdefault(function.__code__.co_filename, {})
    if name in known:
        return known[name]
    (tree,) = ast.parse(own_lines(function)).body
    assert isinstance(tree, ast.FunctionDef)
    if len(tree.body) < KEPT:
        known[name] = tree
    return tree


def own_lines(function: Callable[..., Any]) -> str:
    """The text of a function below as many empty lines as it has lines above it in its file."""
    code = function.__code__
    source = _TEXTS.get(code.co_filename)
    known = linecache.getlines(code.co_filename, function.__globals__) if source is None else lines_of(source)
    start = next((k for k in range(code.co_firstlineno - 1, len(known)) if known[k].startswith("def ")), None)
    if start is None:
        raise SubsetError(f"{code.co_name}: its text is not at the top level of {code.co_filename}")
    stop = next((k for k in range(start + 1, len(known)) if known[k].strip() and known[k][0] not in " #)"), None)
    return "\n" * start + "".join(known[start:stop])


def own_text(target: Any) -> Callable[..., Any] | None:
    """The plain function of the subset behind one that `jit` decorates, or its dispatcher; None for anything else."""
    return getattr(target, "lowered_from", None)


def names_in_memory(body: list[ast.stmt]) -> list[str]:
    """Names that need a place in memory: those that a branch assigns, and those that a loop in order assigns and that
    live outside of it as well.
    """
    if not any(isinstance(s, ast.For | ast.While | ast.If) for s in body):
        return []
    everywhere = list(assigned(body))
    found: dict[str, None] = {}
    for s in nested(body):
        inside = list(assigned([s]))
        is_branch = isinstance(s, ast.If)
        found |= dict.fromkeys(n for n in inside if is_branch or inside.count(n) < everywhere.count(n))
    return list(found)


def nested(body: Sequence[ast.stmt]) -> Iterator[ast.For | ast.While | ast.If]:
    """The branches and loops of these statements and in them, but for loops over lanes."""
    for s in body:
        if isinstance(s, ast.For | ast.While):
            if not is_lanes(s):
                yield s
            yield from nested(s.body)
        elif isinstance(s, ast.If):
            yield s
            yield from nested([*s.body, *s.orelse])


def assigned(body: Sequence[ast.stmt]) -> Iterator[str]:
    """The names that statements assign, not those in loops over lanes."""
    for s in body:
        if isinstance(s, ast.Assign | ast.AugAssign):
            target = s.targets[0] if isinstance(s, ast.Assign) else s.target
            if isinstance(target, ast.Name):
                yield target.id
        elif isinstance(s, ast.For | ast.While) and not is_lanes(s):
            yield from assigned(s.body)
        elif isinstance(s, ast.If):
            yield from assigned([*s.body, *s.orelse])


def check_loops(function: ast.FunctionDef) -> None:
    """Raise for a name that a loop gives another meaning, which turns of lanes, or later ones, would not see."""
    known = {a.arg for a in function.args.args}
    for name, loop, in_lanes in carried(function.body, known, set(names_in_memory(function.body))):
        cure = f"begin with a name of its own, as {name}_now = {name}"
        if in_lanes:
            kind = "a loop over lanes" if is_lanes(loop) else "a loop in one over lanes"
            cure = f"{kind} carries nothing on: write s = zeros(LANES, x), s[i % LANES] += ..., and fold(s) after it"
        what = f"{name!r} has a value before the loop that assigns it"
        raise SubsetError(f"{function.name}, line {loop.lineno}: {what}; {cure}")


Carried = tuple[str, ast.For | ast.While, bool]


def carried(body: Sequence[ast.stmt], known: set[str], kept: set[str], in_lanes: bool = False) -> Iterator[Carried]:
    """Names known around a loop that it assigns, but those that are kept in memory; the loop, and whether in lanes."""
    known = set(known)
    for s in body:
        if isinstance(s, ast.For | ast.While):
            vector = in_lanes or is_lanes(s)
            lost = known if vector else known - kept
            yield from ((name, s, vector) for name in assigned(s.body) if name in lost)
            yield from carried(s.body, known, kept, vector)
            known.update(n for n in assigned([s]) if n in kept)
        elif isinstance(s, ast.If):
            for part in (s.body, s.orelse):
                yield from carried(part, known, kept, in_lanes)
            known.update(assigned([s]))
        else:
            known.update(assigned([s]))


def is_lanes(loop: ast.For | ast.While) -> bool:
    """Whether this is a loop over lanes."""
    call = loop.iter if isinstance(loop, ast.For) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "lanes"
