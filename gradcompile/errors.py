"""The package's errors: each says what is wrong, where, with which shapes or dtypes, and the cure."""

from collections.abc import Callable, Iterable
from typing import Any, Self

import sympy


def meant(name: str, known: Iterable[str], spelled: Callable[[str], str] = str) -> str:
    """What may have been meant by a name that is not known, as the end of a message; "" where none is like it.

    spelled: how a name is written where the reader is to write it.

    >>> meant("thta", ["x", "theta"]), meant("q", ["x", "theta"])
    ("; did you mean 'theta'?", '')
    """
    import difflib  # not on the way to a first result

    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {spelled(close[0])!r}?" if close else ""


def printable(text: str, kept: str = "") -> str:
    r"""The text with escapes in the place of what ends a line, steers a terminal, or can't be encoded or seen.

    kept: such characters that stay as they are.

    >>> printable("\xe9 x\u2028\x1b[1m\x00\ud800"), printable("a\nb\t", kept="\n")
    ('é x\\u2028\\x1b[1m\\x00\\ud800', 'a\nb\\t')
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


class GradcompileError(Exception):
    """Base of every error that the package raises on purpose. What it quotes of the user's is escaped.

    row: of the data, counted from 0, that it is about, if it is about one.
    """

    row: int | None = None

    def about(self, row: int) -> Self:
        """The same error, about a row."""
        self.row = row
        return self

    def __str__(self) -> str:
        return printable(super().__str__(), kept="\n")


class ExpressionError(GradcompileError, ValueError):
    """A loss that can't be compiled: the message quotes the subexpression and says what to write instead."""


class NoSympyError(ExpressionError, sympy.SympifyError):  # type: ignore[misc]  # SymPy ships no types
    """What SymPy is told that would compute with an array: its operators then leave the operation to the array."""

    __init__, __str__ = ValueError.__init__, ValueError.__str__


class ArgumentError(GradcompileError, ValueError):
    """A wrong value: number of arguments, name, shape, range."""


class ArgumentTypeError(GradcompileError, TypeError):
    """A wrong type or dtype, or a call that does not fit the signature."""


class SubsetError(GradcompileError, TypeError):
    """Text that can't be lowered, or not for arguments of these types; generated code never raises it when it is
    called through the function that it was compiled for.
    """


class ParseError(GradcompileError, ValueError):
    """Text that is not a formula: the message points at the position."""


class SingularHessianError(GradcompileError, ValueError):
    """An optimum without a derivative in the data: the message names the parameters along which the loss is flat."""


class DataError(GradcompileError, ValueError):
    """Data that can't be read: the message names file, column and line or row."""


class TrainingError(GradcompileError, ValueError):
    """A loss or gradient that is not finite: the message names step, parameter and subexpression.

    result: what was reached until then, as `train` would have returned it.
    """

    result: Any = None


class TrainingMemoryError(TrainingError, MemoryError):
    """Training that found no memory: the message names the step. `result` is what was reached."""


class GraphError(GradcompileError, ValueError):
    """A graph that breaks its own rules: a fault of a rewrite or of an op's record, not of the user."""
