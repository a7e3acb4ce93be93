"""The form in which several values are given, and come back: a list, a tuple, a matrix or a mapping, nested once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy

from gradcompile.errors import ExpressionError

DEEPEST = 2  # containers in one another


@dataclass(frozen=True, slots=True)
class Form:
    """A container: its kind, what it holds (None for a value), the keys of a mapping, the shape of a matrix.

    count: of the values in it.
    """

    kind: str
    parts: "tuple[Form | None, ...]"
    keys: tuple[Any, ...] = ()
    shape: tuple[int, int] = (0, 0)
    count: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", sum(1 if p is None else p.count for p in self.parts))

    def filled(self, values: Iterator[Any]) -> Any:
        """The container with the next values in it; a matrix is an array with its axes in front."""
        found = [next(values) if p is None else p.filled(values) for p in self.parts]
        if self.kind == "mapping":
            return dict(zip(self.keys, found, strict=True))
        if self.kind == "matrix":
            first = np.asarray(found)
            return first.reshape(*self.shape, *first.shape[1:])
        return tuple(found) if self.kind == "tuple" else found

    def of_rows(self, rows: np.ndarray) -> Any:
        """The same, of values that are the rows of one array; a matrix is a view of it."""
        if self.kind == "matrix":
            return rows.reshape(*self.shape, *rows.shape[1:])
        if self.count == len(self.parts) and None in self.parts:  # numbers alone
            found = rows.tolist() if rows.ndim == 1 else list(rows)
        else:
            found, start = [], 0
            for p in self.parts:
                stop = start + (1 if p is None else p.count)
                found.append(rows[start].item() if p is None and rows.ndim == 1 else rows[start] if p is None
                             else p.of_rows(rows[start:stop]))  # fmt: skip
                start = stop
        if self.kind == "mapping":
            return dict(zip(self.keys, found, strict=True))
        return tuple(found) if self.kind == "tuple" else found

    def emptied(self, container: Any) -> list[Any]:
        """The values in a container that was filled, in their order."""
        if self.kind == "matrix":
            whole = np.asarray(container)
            return list(whole.reshape(-1, *whole.shape[2:]))
        held = container.values() if self.kind == "mapping" else container
        pairs = zip(self.parts, held, strict=True)
        return [v for p, own in pairs for v in ([own] if p is None else p.emptied(own))]


def unpacked(given: Any, depth: int = 0) -> tuple[Form | None, list[Any]]:
    """The form of what is given, None for one value, and the values in their order.

    >>> x, y = sympy.symbols("x y")
    >>> form, values = unpacked({"a": x, "b": [x*y, y]})
    >>> values, form.filled(iter([1, 2, 3]))
    ([x, x*y, y], {'a': 1, 'b': [2, 3]})

    Raises ExpressionError for containers that are empty or too deep.
    """
    keys: tuple[Any, ...] = ()
    shape = (0, 0)
    if isinstance(given, sympy.MatrixBase):
        kind, entries, shape = "matrix", list(given), given.shape
    elif isinstance(given, Mapping):
        kind, entries, keys = "mapping", list(given.values()), tuple(given)
    elif isinstance(given, list | tuple | sympy.Tuple):
        kind, entries = ("list" if isinstance(given, list) else "tuple"), list(given)
    else:
        return None, [given]
    if depth == DEEPEST:
        raise ExpressionError("the values are nested in more than two containers; put them into a list of lists")
    if not entries:
        raise ExpressionError(f"the {kind} of values is empty; give at least one value")
    found = [unpacked(e, depth + 1) for e in entries]
    parts = tuple(form for form, _ in found)
    return Form(kind, parts, keys, shape), [v for _, values in found for v in values]
