"""The form in which several values are given, and come back: lists, tuples, matrices or mappings in one another.

Values that are compiled are nested once. Parameters are in a mapping, nested as deep as their user likes; each argument
knows its *path* there, from which the form is found again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy

from gradcompile.errors import ArgumentError, ArgumentTypeError, ExpressionError, meant

DEEPEST = 2  # containers of values in one another
DEEP = 100  # of parameters: what is nested deeper holds itself
Path = tuple[tuple[str, Any], ...]  # the kind of each container on the way to a parameter, and the key or place there


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

    @property
    def is_nested(self) -> bool:
        """Whether it holds other containers."""
        return any(self.parts)

    def values_in(self, given: Any, what: str) -> list[Any]:
        """The values in a container that a user gave, a mapping's by their keys.

        Raises ArgumentTypeError if it has not this form.

        >>> Form("mapping", (None, None), ("a", "b")).values_in({"b": 1, "a": 2}, "params")
        [2, 1]
        """
        is_mapping = self.kind == "mapping"
        if not isinstance(given, Mapping if is_mapping else Sequence) or isinstance(given, str):
            raise ArgumentTypeError(f"{what} is a {self.kind}, got one of type {type(given).__name__}")
        held = {str(k): v for k, v in (given.items() if isinstance(given, Mapping) else enumerate(given))}
        wanted = [str(k) for k in (self.keys if is_mapping else range(len(self.parts)))]
        if held.keys() != set(wanted):
            missing, more = (sorted(own) for own in (set(wanted) - held.keys(), held.keys() - set(wanted)))
            said = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(more)} beside"] * bool(more)
            hint = meant(more[0], wanted) if more else ""
            raise ArgumentTypeError(
                f"{what} holds {', '.join(wanted)}; the {self.kind} given {' and '.join(said)}{hint}"
            )
        pairs = [(p, k, held[k]) for p, k in zip(self.parts, wanted, strict=True)]
        return [v for p, k, own in pairs for v in ([own] if p is None else p.values_in(own, f"{what}[{k!r}]"))]

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


def spread(given: Any, is_sequence: Callable[[Any], bool]) -> list[tuple[Path, Any]]:
    """What arguments are given by: the entries of mappings, and of what `is_sequence`, each with its path.

    >>> [(joined(path), entry) for path, entry in spread({"layer": {"w": 1, "b": 2}, "c": [3]}, lambda x: False)]
    [('layer_w', 1), ('layer_b', 2), ('c', [3])]
    """
    found: list[tuple[Path, Any]] = []
    stack: list[tuple[Path, Any]] = [((), given)]
    while stack:
        path, entry = stack.pop()
        is_mapping = isinstance(entry, Mapping)
        if not (is_mapping or is_sequence(entry)):
            found.append((path, entry))
            continue
        kind = "mapping" if is_mapping else "list" if isinstance(entry, list) else "tuple"
        below = [((*path, (kind, k)), e) for k, e in (entry.items() if is_mapping else enumerate(entry))]
        if path and not below:
            raise ArgumentError(f"the {kind} {joined(path)!r} is empty; leave it out")
        if len(path) == DEEP:
            raise ArgumentError(f"arguments are nested in more than {DEEP} containers; does one hold itself?")
        stack += below[::-1]
    return found


def joined(path: Path) -> str:
    """The name of what is at a path: its keys, joined by underscores; empty where sequences alone lead there."""
    first = next((k for k, (kind, _) in enumerate(path) if kind == "mapping"), len(path))
    return "_".join(str(key) for _, key in path[first:])


def form_of(paths: Sequence[Path], depth: int = 0) -> Form | None:
    """The form in which values have these paths, in their order; None of a value alone.

    >>> found = spread({"layer": [1, 2], "c": 3}, lambda x: isinstance(x, list))
    >>> form_of([path for path, _ in found]).filled(iter("xyz"))
    {'layer': ['x', 'y'], 'c': 'z'}
    """
    if len(paths[0]) == depth:
        return None
    groups: dict[Any, list[Path]] = {}
    for path in paths:
        groups.setdefault(path[depth][1], []).append(path)
    return Form(paths[0][depth][0], tuple(form_of(g, depth + 1) for g in groups.values()), tuple(groups))
