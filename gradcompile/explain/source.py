"""Links between the generated source, the formula, and the rows of an explanation."""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape

from gradcompile.coloured import STYLE, coloured
from gradcompile.explain.rows import Row

COMMENT = re.compile(r"(?:for )?dL/d(?:\((?P<of>.*)\)|(?P<name>\w+))$")
ASSIGNED = re.compile(r"^ *(\w+)(?:\[[^=]*\])? = .*# (.*)$", re.MULTILINE)


def places(rows: Sequence[Row]) -> dict[str, int]:
    """The rows by their formulas, and those of parameters and inputs by their names."""
    return {key: k for k, r in enumerate(rows) for key in (r.formula, r.name)}


def row_of(comment: str, known: Mapping[str, int]) -> int | None:
    """The row that a comment of the source is about: its value, or its adjoint.

    >>> row_of("# dL/d(w*x)", {"w*x": 2}), row_of("# w*x", {"w*x": 2}), row_of("# forward", {"w*x": 2})
    (2, 2, None)
    """
    text = comment.lstrip("# ")
    found = COMMENT.match(text)
    return known.get((found["of"] or found["name"]) if found else text)


def linked_source(text: str, rows: Sequence[Row], target: Callable[[int], str]) -> str:
    """The source with a link at each comment that is about a row."""
    known = places(rows)
    known |= {name: known[said] for name, said in ASSIGNED.findall(text) if said in known and name not in known}

    def marked(comment: str) -> str:
        k = row_of(comment, known)
        return escape(comment) if k is None else f'<a href="#{target(k)}" data-row="{k}">{escape(comment)}</a>'

    lines = coloured(text, marked).split("\n")
    body = "\n".join(f'<span id="s{k}">{line}</span>' for k, line in enumerate(lines, 1))
    return f'{STYLE}<pre class="source" tabindex="0" aria-label="the generated source">{body}</pre>'


def linked_formula(formula: str, rows: Sequence[Row]) -> str:
    """A formula in which each part that has a row is marked with it; as it is where it is no expression of Python."""
    try:
        tree = ast.parse(formula, mode="eval")
        whole = [(k, r.formula) for k, r in enumerate(rows) if "..." not in r.formula]
        known = {ast.dump(ast.parse(text, mode="eval").body): k for k, text in whole}
        spans = {(e.col_offset, -(e.end_col_offset or 0)): known[text] for e in ast.walk(tree)
                 if isinstance(e, ast.expr) and (text := ast.dump(e)) in known}  # fmt: skip
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return escape(formula)
    return with_marks(formula.encode(), spans)


def with_marks(letters: bytes, spans: Mapping[tuple[int, int], int]) -> str:
    """A text, in UTF-8 as places in it are counted, with marks around spans, of which each two are apart or nested."""
    ends = {-end for _, end in spans} | {len(letters)}
    cuts = sorted({start for start, _ in spans} | ends | {0})
    out, pending = "", list[int]()
    for at, following in zip(cuts, [*cuts[1:], len(letters)], strict=True):
        while pending and pending[-1] == at:
            pending.pop()
            out += "</span>"
        for (start, end), k in sorted(spans.items()):
            if start == at:
                out += f'<span data-row="{k}">'
                pending.append(-end)
        out += escape(letters[at:following].decode())
    return out
