"""Which value of a call is whose: by place where somebody stated the order, else by name, or in `args`.

An error prints the call to write.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import sympy

from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.once import once
from gradcompile.signature.arguments import Argument
from gradcompile.signature.forms import Form, form_of
from gradcompile.signature.sparse import Part, arrays_of, outer, owner_of

RESERVED = frozenset(("args", "data", "out", "tangent", "to", "vector"))  # words of calls, never taken for symbols
MOST = 40  # arguments that a printed call shows one by one


class Call:
    """What a call takes, in its order; head is how the call begins, "f(" or "f.flat(theta, "."""

    def __init__(self, arguments: Sequence[Argument], head: str = "f(") -> None:
        self.taken, self.head = arguments, head
        self.arguments = outer(arguments)
        self.names = [a.name for a in self.arguments]
        self.placed = sum(not a.by_name for a in self.arguments)
        self.known = frozenset(self.names)

    @once
    def form(self) -> Form | None:
        """The form of the parameters, where they were given as a mapping."""
        paths = [a.path for a in self.arguments if a.path]
        return form_of(paths) if paths else None

    def is_formed(self, args: Sequence[Any]) -> bool:
        """Whether these are the arguments of a call that begins with a mapping of all parameters."""
        return len(args) > 0 and isinstance(args[0], Mapping) and self.form is not None

    def parameters(self, given: Mapping[Any, Any]) -> list[Any]:
        """The values of the parameters in a mapping of their form, or in one by their names."""
        form = self.form
        if form is not None and not form.is_nested and tuple(given) == form.keys:
            return list(given.values())
        takes = Call([a for a in self.arguments if a.path] or self.arguments, self.head)
        if form is None or not form.is_nested or takes.known.issuperset(map(str, given)):
            return takes.in_order(given, "params")
        return form.values_in(given, "params")

    def arranged(self, values: Sequence[Any], given: Mapping[Any, Any]) -> dict[Any, Any]:
        """Values in the order of the arguments as a mapping like one that was given."""
        form = self.form
        if form is not None and (tuple(given) == form.keys or not self.known.issuperset(map(str, given))):
            return form.filled(iter(values))  # type: ignore[no-any-return]
        by_name = dict(zip(self.names, values, strict=True))
        return {key: by_name[name] for key, name in self.identifiers(given, "params").items()}

    def match(self, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """The values in the order of the arguments, some given by place and some by name."""
        if self.is_formed(args):
            args = [*self.parameters(args[0]), *args[1:]]
        if len(args) > self.placed:
            self.refuse_places(len(args))
        if not named and len(args) == len(self.names):
            return self.apart(args)
        values = dict(zip(self.names, args, strict=False))
        for name, value in named.items() if RESERVED.isdisjoint(named) else self.spread(len(args), named):
            if name in values:
                raise ArgumentTypeError(f"{name!r} is given twice, by place and by name; it takes {self.takes}")
            if name not in self.known:
                raise ArgumentTypeError(f"there is no argument {name!r}; it takes {self.takes}")
            values[name] = value
        try:
            return self.apart([values[name] for name in self.names])
        except KeyError:
            missing = ", ".join(name for name in self.names if name not in values)
            count = f"{len(values)} of {len(self.names)} given"
            raise ArgumentTypeError(f"no value for {missing}: it takes {self.takes}, {count}") from None

    def spread(self, placed: int, named: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """The named values with those of `args` and of the frame in `data` among them.

        A reserved word that is a symbol's name is refused, unless `args` has that symbol's value.
        """
        rest = dict(named)
        more = rest.pop("args") if isinstance(rest.get("args"), Mapping) else {}
        found = self.keyed(more, "args")
        for word in sorted((RESERVED & rest.keys() & self.known) - found.keys()):
            raise ArgumentError(
                f"{word}= is a word of calls, so the value of {word} is given in args: write {self.text(placed)}"
            )
        if "args" in rest:
            got = type(rest["args"]).__name__
            raise ArgumentTypeError(f"args is a mapping from names to values, got one of type {got}")
        columns = self.columns(rest.pop("data"), {*self.names[:placed], *rest, *found}) if "data" in rest else {}
        return [*rest.items(), *found.items(), *columns.items()]

    def columns(self, frame: Any, given: Collection[str]) -> dict[str, Any]:
        """The inputs that nobody has given, from the columns of a frame that have their names.

        An input of several symbols may be in as many columns.
        """
        from gradcompile.runtime import frames

        known = frames.names(frame)
        inputs = [a for a in self.arguments if a.leaf.params[1] != "param" and a.name not in given]
        sources = {a.name: columns_of(a, known) for a in inputs}
        values = frames.values(frame, dict.fromkeys(name for names in sources.values() for name in names))
        return {a.name: joined(a, {name: values[name] for name in sources[a.name]}) for a in inputs}

    def keyed(self, given: Mapping[Any, Any], what: str) -> dict[str, Any]:
        """The values of a mapping by identifier; its keys are symbols, their names, or the identifiers."""
        values: dict[str, Any] = {}
        for key, name in self.identifiers(given, what).items():
            if name in values:
                raise ArgumentTypeError(f"{what} holds {name!r} twice; it takes {self.takes}")
            values[name] = given[key]
        return values

    def identifiers(self, keys: Collection[Any], what: str) -> dict[Any, str]:
        """The identifier of each key: of a symbol, of its name, or of the identifier itself."""
        table: dict[Any, str] = {}
        for known in ([str(a.original) for a in self.arguments], self.names, [a.original for a in self.arguments]):
            table |= dict(zip(known, self.names, strict=True))
        found = {key: table.get(key) or table.get(str(key)) or table.get(getattr(key, "name", "")) for key in keys}
        for key, name in found.items():
            if name is None:
                raise ArgumentTypeError(f"{what} holds {key}, which is no argument; it takes {self.takes}")
        return {key: name for key, name in found.items() if name}

    def in_order(self, given: Mapping[Any, Any], what: str) -> list[Any]:
        """The values of a mapping that has all of them, in the order of the arguments."""
        values = self.keyed(given, what)
        for name in self.names:
            if name not in values:
                held = ", ".join(map(str, given))
                raise ArgumentTypeError(f"{what} has no {name!r}: it takes {self.takes}, holds {held}")
        return self.apart([values[name] for name in self.names])

    def apart(self, values: Sequence[Any]) -> list[Any]:
        """The values that compiled code takes: in place of a sparse matrix its arrays."""
        if len(self.arguments) == len(self.taken):
            return list(values)
        found: dict[str, Any] = dict(zip(self.names, values, strict=True))
        for a in self.arguments:
            if isinstance(a.original, Part):
                found[a.name] = arrays_of(a.original, found[a.name])
        return [found[owner_of(a)][a.original.what] if isinstance(a.original, Part) else found[a.name]
                for a in self.taken]  # fmt: skip

    @property
    def takes(self) -> str:
        """The names as a signature has them."""
        star = ["*"] if self.placed < len(self.names) else []
        return f"({', '.join([*self.names[: self.placed], *star, *self.names[self.placed :]])})"

    def refuse_places(self, given: int) -> NoReturn:
        """Raise for more values by place than arguments have one."""
        if given > len(self.names):
            raise ArgumentTypeError(f"{given} arguments given, {len(self.names)} taken: {self.takes}")
        raise ArgumentError(f"{self.unordered()}: write {self.text(self.placed)}, or {self.cure()}")

    def unordered(self) -> str:
        """That nobody stated an order, of which arguments."""
        names = self.names[self.placed :]
        shown = names if len(names) <= MOST else [*names[:3], f"{len(names) - 3} more"]
        return f"nobody stated the order of {', '.join(shown[:-1])} and {shown[-1]}, so each is given by name"

    def cure(self) -> str:
        """What to pass when the function is compiled, for calls by place."""
        symbols = [spoken(a) for a in self.arguments[self.placed :]]
        return f"compile it with inputs=[{', '.join(symbols)}] for calls by place in that order"

    def text(self, placed: int) -> str:
        """The call in full, the first so many arguments by place, under the names of the arguments."""
        by_place, by_name = self.names[:placed], self.names[placed:]
        if len(by_place) > MOST:
            by_place = [f"*[{', '.join(by_place)}]"]
        words = [name for name in by_name if name in RESERVED]
        parts = [*by_place, *(f"{name}={name}" for name in by_name if name not in RESERVED)]
        return f"{self.head}{', '.join([*parts, *([f'args={mapping(words)}'] if words else [])])})"

    def mapping(self) -> str:
        """All arguments as the mapping to write."""
        return mapping(self.names)


def mapping(names: Sequence[str]) -> str:
    """A mapping from names to the variables of these names, as it is written.

    >>> mapping(["x", "out"])
    '{"x": x, "out": out}'
    """
    return f"{{{', '.join(f'{chr(34)}{name}{chr(34)}: {name}' for name in names)}}}"


def columns_of(a: Argument, known: Collection[str]) -> list[str]:
    """The columns that hold an input: the one of its name, or one for each of its symbols."""
    whole, parts = [str(a.original), a.name], [str(s) for s in a.symbols]
    if a.is_column and not {*whole} & {*known} and all(name in known for name in parts):
        return parts
    return [next((name for name in whole if name in known), whole[0])]


def joined(a: Argument, columns: Mapping[str, Any]) -> Any:
    """An input of columns: the one of its name, or those of its symbols side by side."""
    if len(columns) == 1 and (str(a.original) in columns or a.name in columns):
        return next(iter(columns.values()))
    return np.stack(list(columns.values()), axis=-1).reshape(-1, *a.leaf.type.shape[1:])


def spoken(a: Argument) -> str:
    """An input that nobody named as its user writes it: an identifier; the symbol may have a name that is none."""
    return a.name if isinstance(a.original, sympy.Symbol | Part) else str(a.original)
