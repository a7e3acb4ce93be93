"""Identifiers for symbols, and bounded texts of expressions: what generated code and messages call things."""

import keyword
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import sympy

from gradcompile.errors import printable

FEW = 150  # nodes of a tree that is printed in full
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")  # of which no change is needed


def identifier(text: str) -> str:
    r"""The nearest identifier that Python, a named tuple and a keyword argument accept.

    LaTeX loses its backslashes and braces, leading underscores are dropped, a keyword gets an underscore, letters of
    any alphabet stay.

    >>> [identifier(t) for t in (r"\\alpha_{1}", "_x", "lambda", "x'", "3d", "µ")]
    ['alpha_1', 'x', 'lambda_', 'x_prime', 'v3d', 'μ']
    """
    if PLAIN.fullmatch(text) and not keyword.iskeyword(text):
        return text
    text = unicodedata.normalize("NFKC", text).replace("'", "_prime").replace("\u2032", "_prime")
    text = re.sub(r"\W+", "_", re.sub(r"[\\{}]", "", text)).strip("_")
    text = re.sub(r"_+", "_", text) or "v"
    if not text.isidentifier():
        text = "v" + text
    return text + "_" if keyword.iskeyword(text) else text


class Namer:
    """Hands out identifiers, each once: a clash with an earlier or a reserved one gets a number.

    >>> fresh = Namer({"theta", "n"})
    >>> fresh("theta"), fresh("x"), fresh("x"), fresh("_x")
    ('theta_2', 'x', 'x_2', 'x_3')
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = set(reserved)
        self._next: dict[str, int] = {}

    def __call__(self, preferred: str) -> str:
        """An identifier as near to the preferred as is free."""
        wanted = name = identifier(preferred)
        number = self._next.get(wanted, 2)
        while name in self._taken:
            name = f"{wanted.rstrip('_')}_{number}"
            number += 1
        self._next[wanted] = number
        self._taken.add(name)
        return name

    def is_free(self, name: str) -> bool:
        """Whether nothing is called so yet.

        >>> Namer({"x"}).is_free("x"), Namer({"x"}).is_free("y")
        (False, True)
        """
        return name not in self._taken

    def copy(self) -> "Namer":
        """One that knows what this one has given, and goes on by itself.

        >>> fresh = Namer({"x"})
        >>> fresh.copy()("x"), fresh("x")
        ('x_2', 'x_2')
        """
        result = Namer(self._taken)
        result._next.update(self._next)
        return result

    def all(self, preferred_names: Sequence[str]) -> list[str]:
        """An identifier for each preferred; a preferred that is one already comes before those that are changed to it.

        >>> Namer().all(["_x", "x"])
        ['x_2', 'x']
        """
        given = {k: self(w) for k, w in enumerate(preferred_names) if identifier(w) == w}
        return [given[k] if k in given else self(w) for k, w in enumerate(preferred_names)]


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sorting key under which x2 comes before x10.

    >>> sorted(["x10", "x2", "b"], key=natural)
    ['b', 'x2', 'x10']
    """
    parts = re.split(r"(\d+)", text)
    return [(0, int(p), "") if p.isdecimal() and k % 2 else (1, 0, p) for k, p in enumerate(parts) if p]


def is_small(expr: Any, limit: int = FEW) -> bool:
    """Whether the expression has at most so many nodes, counted as a tree; stops counting there.

    A long integer counts for its digits, since Python refuses to print thousands of them.
    """
    stack = [expr]
    while stack and limit >= 0:
        part = stack.pop()
        limit -= 1 + (part.p.bit_length() + part.q.bit_length()) // 64 if isinstance(part, sympy.Rational) else 1
        stack.extend(getattr(part, "args", ()))
    return limit >= 0


def text(expr: Any, limit: int = 200) -> str:
    r"""The expression as text of bounded length; a large one shows its outermost form and the first of its parts.

    It is one line: what is not printable in a name is escaped.

    >>> x = sympy.Symbol("x")
    >>> text(sympy.sin(x)**2), text(sum(sympy.exp(k*x) for k in range(1, 500)), 36)
    ('sin(x)**2', 'exp(x) + ... (499 terms)')
    >>> text(2*sympy.Symbol("x\x0by"))
    '2*x\\x0by'
    """
    if isinstance(expr, sympy.MatrixBase):
        return f"a {expr.rows} x {expr.cols} Matrix"
    if not isinstance(expr, sympy.Basic) or is_small(expr):
        full = printable(printed(expr))
        return full if len(full) <= limit else full[: limit - 3] + "..."
    return printable(_abbreviated(expr, limit))


class Text:
    """The text of small expressions, printed when somebody reads it; of others it is there at once.

    >>> x = sympy.Symbol("x")
    >>> str(Text([x**2, x]))
    'x**2, x'
    """

    def __init__(self, exprs: Sequence[Any]) -> None:
        self.parts = [e if isinstance(e, sympy.Basic) and is_small(e) else text(e) for e in exprs]

    def __str__(self) -> str:
        self.parts = [", ".join(p if isinstance(p, str) else text(p) for p in self.parts)]
        return str(self.parts[0])

    def __reduce__(self) -> Any:
        return str, (str(self),)


def printed(expr: Any) -> str:
    """SymPy's text; the outermost form where SymPy fails on a sign, as of cosh(exp(exp(1000)))."""
    try:
        return str(expr)
    except ArithmeticError:
        return f"{type(expr).__name__}(...)"


def _abbreviated(expr: Any, limit: int) -> str:
    """The outermost form of a large expression."""
    join = {sympy.Add: " + ", sympy.Mul: "*", sympy.Pow: "**"}.get(expr.func, ", ")
    parts, room = [], limit - 24
    for arg in expr.args:
        part = printed(arg) if is_small(arg) else f"{type(arg).__name__}(...)"
        part = f"({part})" if join in ("*", "**") and arg.func in (sympy.Add, sympy.Mul) and is_small(arg) else part
        room -= len(part) + len(join)
        if room < 0:
            parts.append(f"... ({len(expr.args)} {'terms' if join == ' + ' else 'parts'})")
            break
        parts.append(part)
    inside = join.join(parts)
    return inside if join != ", " else f"{type(expr).__name__}({inside})"
