"""The arguments of a compiled function: what was named as parameter, data or input, and the leaf each becomes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import sympy
from sympy.core.function import AppliedUndef
from sympy.matrices.expressions.matexpr import MatrixElement

from gradcompile.errors import ArgumentError, ArgumentTypeError, ExpressionError
from gradcompile.frontend.arrays.core import Array, is_sequence
from gradcompile.ir.algebra import part_at
from gradcompile.ir.core import Node, leaf
from gradcompile.ir.types import ArrayType, Dim, Shape, dim_product, dim_sum
from gradcompile.signature.arguments import LEAF_ROLES, Argument, Entries
from gradcompile.signature.forms import Path, joined, spread
from gradcompile.signature.names import Namer, natural, text

BASES = (sympy.IndexedBase, sympy.MatrixSymbol)


@dataclass(slots=True)
class Slot:
    """An argument before its leaf is made: symbols in row-major order, and the shape they are arranged in.

    whole: it is an array that the loss uses whole, or whose shape has names, so that no symbol stands for an entry.
    dtype: its own, if it differs from that of the loss. by_name: nobody stated its place. path: in a mapping of
    parameters.
    """

    preferred: str
    original: object
    role: str
    shape: Shape | None = ()
    symbols: list[Any] = field(default_factory=list)
    base: Any = None
    whole: bool = False
    dtype: str | None = None
    by_name: bool = False
    path: Path = ()

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two slots the same argument."""
        return (self.base, self.shape, *self.symbols) if self.base is None else (self.base,)


def stands_for_symbol(expr: Any) -> bool:
    """Whether the expression may be named as an argument: a Symbol, x(t), Derivative(x(t), t), W[2, 3]."""
    if isinstance(expr, sympy.Symbol | AppliedUndef):
        return True
    if isinstance(expr, sympy.Derivative):
        return isinstance(expr.args[0], AppliedUndef)
    if isinstance(expr, MatrixElement) and not isinstance(expr.args[0], sympy.MatrixSymbol):
        return False
    return isinstance(expr, sympy.Indexed | MatrixElement) and all(i.is_Integer for i in indices(expr))


def indices(expr: Any) -> tuple[Any, ...]:
    """The indices of an element of an IndexedBase or a matrix."""
    return tuple(expr.args[1:])


def base_of(expr: Any) -> Any:
    """The array that an entry is of; None for anything else."""
    return expr.args[0] if isinstance(expr, sympy.Indexed | MatrixElement) else None


def symbol_name(expr: Any) -> str:
    """What an argument is called: x for x(t), dx_dt for its derivative, W_2_3 for W[2, 3].

    >>> t, x = sympy.Symbol("t"), sympy.Function("x")
    >>> [symbol_name(e) for e in (x(t), sympy.Derivative(x(t), t, t), sympy.IndexedBase("W")[2, 3])]
    ['x', 'd2x_dt2', 'W_2_3']
    """
    if isinstance(expr, AppliedUndef):
        return str(expr.func.__name__)
    if isinstance(expr, sympy.Derivative):
        order = sum(int(count) for _, count in expr.variable_count)
        below = "".join(f"d{v}{c if c > 1 else ''}" for v, c in expr.variable_count)
        return f"d{order if order > 1 else ''}{symbol_name(expr.args[0])}_{below}"
    if isinstance(expr, sympy.Indexed | MatrixElement):
        return "_".join([symbol_name(expr.args[0]), *map(str, indices(expr))])
    return str(expr.name)


def slots(given: Any, role: str, prefix: str) -> tuple[list[Slot], bool]:
    """The arguments that `params`, `data` or `inputs` name, and whether a single one was given outside a sequence."""
    if isinstance(given, str | set | frozenset):
        kind = "text" if isinstance(given, str) else "a set, which has no order"
        raise ArgumentTypeError(f"{role}: {given!r} is {kind}; name the symbols in a list, as in [w, b]")
    if isinstance(given, Mapping):
        found = spread(given, lambda _: False)
        named = [slot(e, role, joined(path), path[0][1] if len(path) == 1 else joined(path)) for path, e in found]
        for s, (path, _) in zip(named, found, strict=True):
            s.path = path if role == "params" else ()
        return named, False
    if is_sequence(given):
        return [slot(entry, role, f"{prefix}{k}") for k, entry in enumerate(given)], False
    return [slot(given, role, f"{prefix}0")], True


def slot(entry: Any, role: str, unnamed: str, key: object = None) -> Slot:
    """One argument: a symbol, a base, or an arrangement of symbols; a mapping's key names it."""
    original = entry if key is None else key
    if isinstance(entry, BASES):
        return Slot(str(entry.name) if key is None else unnamed, original, role, base_shape(entry, role), base=entry)
    if stands_for_symbol(entry):
        return Slot(symbol_name(entry) if key is None else unnamed, original, role, (), [entry])
    if isinstance(entry, sympy.MatrixBase) or is_sequence(entry):
        shape, symbols = arranged(entry, role)
        if role == "data" and isinstance(entry, sympy.MatrixBase) and 1 in shape:
            shape = (len(symbols),)
        return Slot(unnamed, unnamed if key is None else key, role, shape, symbols)
    if isinstance(entry, Array):
        raise ArgumentTypeError(f"{role}: {entry!r} can't be an argument of a SymPy loss; write the loss with arrays")
    raise ArgumentTypeError(
        f"{role}: {text(entry)!r} of type {type(entry).__name__} can't be an argument; name a Symbol, an IndexedBase, "
        "a MatrixSymbol, x(t), or a sequence or Matrix of symbols"
    )


def arranged(entry: Any, role: str) -> tuple[tuple[int, ...], list[Any]]:
    """Shape and symbols of a Matrix or of nested sequences."""
    if isinstance(entry, sympy.MatrixBase):
        shape, flat = tuple(entry.shape), list(entry)
    else:
        shape, flat = (), [entry]
        while flat and all(map(is_sequence, flat)):
            rows = [list(e) for e in flat]
            if len({len(r) for r in rows}) != 1:
                lengths = sorted({len(r) for r in rows})
                raise ArgumentError(f"{role}: rows of {lengths} entries; an array needs rows of one length")
            shape, flat = (*shape, len(rows[0])), [e for r in rows for e in r]
    for e in flat:
        if not stands_for_symbol(e):
            raise ArgumentTypeError(
                f"{role}: an array argument holds symbols only, and {text(e)!r} of type {type(e).__name__} is none; an "
                "IndexedBase or MatrixSymbol is an argument by itself"
            )
    if not flat:
        raise ArgumentError(f"{role}: an empty array; leave it out")
    return shape, flat


def base_shape(base: Any, role: str) -> Shape | None:
    """The shape of an IndexedBase or MatrixSymbol; None where the loss decides."""
    shape = base._shape if isinstance(base, sympy.IndexedBase) else base.shape
    if shape is None or (isinstance(base, sympy.IndexedBase) and not all(d.is_Integer for d in shape)):
        return None
    if isinstance(base, sympy.MatrixSymbol) and role != "params":
        return tuple(dimension(d) for d in shape)
    try:
        return tuple(int(d) for d in shape)
    except TypeError:
        raise ExpressionError(f"{base} has the symbolic shape {tuple(shape)}; give it numbers, as in (3, 4)") from None


def check_bases(bases: Iterable[Any]) -> None:
    """Raise ExpressionError for an IndexedBase with an offset or strides, which say where entries lie in memory."""
    for base in bases:
        if isinstance(base, sympy.IndexedBase) and base.offset != 0:
            raise ExpressionError(
                f"{base} has offset={base.offset}, which is for addresses in C; make it IndexedBase('{base}', "
                f"shape=...) and write the places as {base}[i + {base.offset}]"
            )
        if isinstance(base, sympy.IndexedBase) and base.strides not in (None, "C", "F"):
            raise ExpressionError(
                f"{base} has strides={base.strides}, which are for addresses in C; make it IndexedBase('{base}', "
                "shape=...) and pass the array with its axes, in any layout"
            )


def dimension(expr: Any) -> Dim:
    """A dimension of a matrix: a number, or a polynomial in symbols with whole coefficients.

    Raises ExpressionError for anything else.

    >>> n = sympy.Symbol("n", integer=True)
    >>> dimension(sympy.Integer(3)), dimension(2*(n - 1))
    (3, '2*n-2')
    """
    terms = [t.as_coeff_Mul() for t in sympy.Add.make_args(sympy.expand(expr))]
    factors = [(c, f.as_powers_dict()) for c, f in terms]
    if not all(c.is_Integer and all(b.is_Symbol or b == 1 for b in f) for c, f in factors) or any(
        not e.is_Integer or e < 0 for _, f in factors for e in f.values()
    ):
        raise ExpressionError(f"{text(expr)} is no dimension; use numbers, symbols, their sums and products")
    names = [[str(b.name) for b, e in f.items() if b.is_Symbol for _ in range(int(e))] for _, f in factors]
    for name in (x for found in names for x in found if not x.isidentifier()):
        raise ExpressionError(f"the dimension {name!r} is no identifier; call the symbol n, say")
    return dim_sum(*(dim_product(int(c), *found) for (c, _), found in zip(factors, names, strict=True)))


def dimension_symbols(base: Any) -> set[Any]:
    """The symbols that a MatrixSymbol's shape has."""
    return {s for d in base.shape for s in d.free_symbols} if isinstance(base, sympy.MatrixSymbol) else set()


def dimensions(bases: Iterable[Any], named: Mapping[Any, Slot]) -> set[Any]:
    """The symbols that are dimensions of matrices; ArgumentError for one that was named as an argument."""
    found = {s: b for b in bases for s in dimension_symbols(b)}
    for s, b in found.items():
        if s in named:
            raise ArgumentError(f"{s} is a dimension of {b}, whose array tells it; leave it out of {named[s].role}")
    return set(found)


def bases_in(atoms: Iterable[Any]) -> dict[Any, None]:
    """The matrices and arrays that the loss uses, whole or by elements."""
    found: dict[Any, None] = {}
    for a in atoms:
        if isinstance(a, sympy.Indexed | MatrixElement):
            found.setdefault(a.args[0])
        elif isinstance(a, sympy.MatrixSymbol):
            found.setdefault(a)
    return found


def check_distinct(found: Sequence[Slot]) -> None:
    """No symbol and no name twice; one name never stands for two symbols. Raises ArgumentError."""
    holder: dict[Any, Slot] = {}
    for s in found:
        for symbol in [*s.symbols, *filter(None, [s.base])]:
            if symbol in holder:
                other = holder[symbol].role
                where = f"in {other} and in {s.role}" if other != s.role else f"twice in {s.role}"
                raise ArgumentError(f"{symbol} is given {where}; name it once")
            holder[symbol] = s
    for symbol, s in holder.items():
        array = holder.get(base_of(symbol))
        if array is not None and array.role in ("params", s.role):
            raise ArgumentError(
                f"{symbol} is an entry of {array.base}, and both are arguments; name {array.base} whole, or its "
                "entries one by one"
            )
    check_assumptions(holder)
    names: set[str] = set()
    for s in (s for s in found if not isinstance(s.original, sympy.Dummy)):
        if s.preferred in names:
            raise ArgumentError(
                f"the name {s.preferred!r} is given twice; call one of them {s.preferred}_2, by a mapping"
            )
        names.add(s.preferred)


def check_assumptions(symbols: Iterable[Any]) -> None:
    """No two symbols of one name but for dummies, and none that is complex."""
    by_name: dict[str, Any] = {}
    for s in symbols:
        if not isinstance(s, sympy.Symbol):
            continue
        if s.is_real is False or s.is_commutative is False:
            what = "not real" if s.is_commutative else "not commutative"
            raise ExpressionError(f"the symbol {s} is {what}; losses are real: make it Symbol('{s}', real=True)")
        if not isinstance(s, sympy.Dummy) and by_name.setdefault(s.name, s) != s:
            raise ArgumentError(
                f"two different symbols are called {s.name!r}, with the assumptions {assumed(by_name[s.name])} and "
                f"{assumed(s)}; create the symbol once and use it in the loss and in the arguments"
            )


def assumed(symbol: Any) -> str:
    """The assumptions a symbol was created with."""
    return str({k: v for k, v in symbol._assumptions_orig.items() if k != "commutative"} or "none")


def merged(data: list[Slot], inputs: list[Slot], named: bool) -> list[Slot]:
    """The inputs in their order, data among them where they are named; data that are not come first."""
    if not named:
        return data
    by_key = {d.key: d for d in data}
    order = []
    for s in inputs:
        d = by_key.pop(s.key, None)
        if d is not None and isinstance(s.original, str):
            d.preferred, d.original = s.preferred, s.original
        order.append(d or s)
    return [*by_key.values(), *order]


def free(atoms: Iterable[Any], taken: set[Any]) -> list[Slot]:
    """Slots of what the loss contains and nobody named, in natural order; of two or more each is given by name.

    Raises ArgumentError for two of one name: only dummies can be, and nobody could say which is which.
    """
    found: dict[Any, Slot] = {}
    for a in atoms:
        base = a.args[0] if isinstance(a, sympy.Indexed | MatrixElement) else None
        if a in taken or base in taken:
            continue
        key = a if base is None else base
        if key not in found:
            found[key] = slot(key, "inputs", "")
    dummies = [s.preferred for s in found.values() if isinstance(s.original, sympy.Dummy)]
    twice = next((preferred for k, preferred in enumerate(dummies) if preferred in dummies[:k]), None)
    if twice:
        raise ArgumentError(
            f"the loss contains two dummies called {twice!r}, and nobody stated their order; list them in inputs=, or "
            "name them by a mapping"
        )
    for s in found.values():
        s.by_name = len(found) > 1
    return sorted(found.values(), key=lambda s: (natural(s.preferred), isinstance(s.original, sympy.Dummy)))


def settle_shapes(found: Iterable[Slot], atoms: Iterable[Any]) -> None:
    """Give every base its shape, from the largest index in the loss where it has none, and its elements."""
    elements: dict[Any, list[tuple[int, ...]]] = {}
    whole = {a for a in atoms if isinstance(a, sympy.MatrixSymbol)}
    for a in atoms:
        if isinstance(a, sympy.Indexed | MatrixElement):
            elements.setdefault(a.args[0], []).append(tuple(int(i) for i in indices(a)))
    for s in found:
        if s.base is None:
            continue
        used = elements.get(s.base, [])
        if len({len(i) for i in used}) > 1:
            counts = " and ".join(map(str, sorted({len(i) for i in used})))
            raise ExpressionError(f"{s.base} has elements of {counts} indices; write all of them with as many")
        if s.shape is None:
            s.shape = tuple(max(i) + 1 for i in zip(*used, strict=True))
        for i in used:
            if len(i) != len(s.shape) or not all(map(within, i, s.shape)):
                cure = "count from the front" if min(i) < 0 else "enlarge the shape"
                raise ExpressionError(f"{s.base}{list(i)} is outside the shape {s.shape} of {s.base}; {cure}")
        s.whole = s.base in whole or any(isinstance(d, str) for d in s.shape)
        s.symbols = [] if s.whole else [s.base[i] for i in product(*(range(int(d)) for d in s.shape))]


def within(place: int, dim: Dim) -> bool:
    """Whether a place is inside an axis, as far as its length is known."""
    return place >= 0 and (isinstance(dim, str) or place < dim)


def build(found: Sequence[Slot], fresh: Namer, dtype: str) -> list[Argument]:
    """The arguments with their leaves; a dummy leaves its name to the symbol that has it."""
    built = []
    preferred_names = ["_" * isinstance(s.original, sympy.Dummy) + s.preferred for s in found]
    for s, name in zip(found, fresh.all(preferred_names), strict=True):
        rows: tuple[Dim, ...] = ("n",) if s.role == "data" else ()
        node = leaf(name, ArrayType((*rows, *(s.shape or ())), s.dtype or dtype), LEAF_ROLES[s.role])
        names = fresh.all([symbol_name(e) for e in s.symbols]) if s.shape else []
        entries = nested(names, s.shape) if s.shape and not s.whole else None
        built.append(Argument(name, s.original, node, entries, tuple(s.symbols), s.by_name, s.path))
    return built


def nested(flat: list[str], shape: Shape) -> Entries:
    """Names arranged in rows."""
    level: list[Any] = list(flat)
    for d in map(int, reversed(shape)):
        level = [tuple(level[k : k + d]) for k in range(0, len(level), d)]
    return level[0]  # type: ignore[no-any-return]


def elements(argument: Argument) -> Iterator[tuple[Node, Any, str]]:
    """Node, symbol and identifier of a scalar argument, or of each entry of an array; none of an array used whole."""
    if argument.entries is None:
        for symbol in argument.symbols:
            yield argument.leaf, symbol, argument.name
        return
    sample: tuple[None, ...] = (None,) if argument.leaf.type.shape[:1] == ("n",) else ()
    shape: Shape = argument.leaf.type.shape[len(sample) :]
    for place, symbol in zip(product(*(range(int(d)) for d in shape)), argument.symbols, strict=True):
        name: Any = argument.entries
        for k in place:
            name = name[k]
        yield part_at(argument.leaf, (*sample, *place)), symbol, name
