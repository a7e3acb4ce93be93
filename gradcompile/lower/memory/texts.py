"""Places, shapes and lengths as source text."""

from collections.abc import Iterable, Mapping

from gradcompile.ir.types import Dim, parsed


def text_of(dim: Dim, names: Mapping[str, str] = {}) -> str:
    """A polynomial as an expression.

    >>> text_of("2*i+n-1"), text_of("-i+n-1"), text_of(3)
    ('2 * i + n - 1', 'n - i - 1', '3')
    """
    if isinstance(dim, int):
        return str(dim)
    terms = sorted(parsed(dim), key=lambda t: (t[1] < 0, not t[0]))
    text = ""
    for factors, c in terms:
        shown = [names.get(f, f) for f in factors]
        body = " * ".join([*([str(abs(c))] if abs(c) != 1 or not shown else []), *shown])
        sign = (" - " if c < 0 else " + ") if text else "-" if c < 0 else ""
        text += sign + body
    return text


def atom_of(dim: Dim, names: Mapping[str, str] = {}) -> str:
    """A polynomial as an operand of any other operation.

    >>> atom_of("n"), atom_of("7*n"), atom_of(3), atom_of(-1)
    ('n', '(7 * n)', '3', '(-1)')
    """
    text = text_of(dim, names)
    return text if text.isalnum() or text.isidentifier() else f"({text})"


def listed(dims: Iterable[Dim], names: Mapping[str, str] = {}) -> str:
    """Polynomials side by side, as indices are written."""
    return ", ".join(text_of(d, names) for d in dims)


def tuple_of(dims: Iterable[Dim]) -> str:
    """A shape as a tuple.

    >>> tuple_of((3, "m")), tuple_of((3,))
    ('(3, m)', '(3,)')
    """
    parts = [text_of(d) for d in dims]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
