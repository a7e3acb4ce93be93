"""Source text that a notebook shows in colours."""

import keyword
import re
from collections.abc import Callable
from html import escape

STYLE = (
    "<style>.source{font:13px/1.45 ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;overflow:auto;margin:0}"
    ".source .k{color:#a40e26}.source .s{color:#0a3069}.source .n{color:#0550ae}.source .c{color:#116329}"
    "@media(prefers-color-scheme:dark){.source .k{color:#ff7b72}.source .s{color:#a5d6ff}.source .n{color:#79c0ff}"
    ".source .c{color:#7ee787}}</style>"
)


TOKEN = re.compile(
    r'(?P<s>"""[\s\S]*?"""|"[^"\n]*"|\'[^\'\n]*\')|(?P<c>#[^\n]*)|(?P<n>\b\d+\.?\d*(?:[eE][+-]?\d+)?)|'
    rf"(?P<k>\b(?:{'|'.join(keyword.kwlist)})\b)"
)


class Source(str):
    """The text of a module, which a notebook shows in colours."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f'{STYLE}<pre class="source" tabindex="0">{coloured(self)}</pre>'


def coloured(text: str, marked: Callable[[str], str] = escape) -> str:
    """The text as HTML in which no mark goes over the end of a line; `marked` writes the comments."""
    out, at = "", 0
    for token in TOKEN.finditer(text):
        write = marked if token.lastgroup == "c" else escape
        parts = (f'<span class="{token.lastgroup}">{write(part)}</span>' for part in token[0].split("\n"))
        out += escape(text[at : token.start()]) + "\n".join(parts)
        at = token.end()
    return out + escape(text[at:])
