"""What a loss in index notation is made of, found by walks over its distinct parts: indices, lengths, sizes of sums."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import sympy
from sympy.matrices.expressions.matexpr import MatrixElement

from gradcompile.errors import ExpressionError
from gradcompile.frontend.sympy.arguments import BASES, indices
from gradcompile.signature.names import is_small, text

LONG = 1000  # terms from which a sum with numeric bounds is an array rather than written out
NESTED = 5_000  # terms from which a sum over several indices is, although it has no entries of arrays
MOST = 10**7  # terms of a sum with numeric bounds
SUMS = (sympy.Sum, sympy.Product)
ENTRIES = (sympy.Indexed, MatrixElement)


def is_entry(expr: Any) -> bool:
    """Whether the expression is an entry of an IndexedBase or a MatrixSymbol."""
    return isinstance(expr, ENTRIES) and isinstance(expr.args[0], BASES)


def limits(expr: Any) -> list[tuple[Any, Any, Any]]:
    """The index and bounds of each limit of a Sum or Product, the innermost first."""
    found = [tuple(limit) for limit in expr.args[1:]]
    if any(len(limit) != 3 for limit in found):
        raise ExpressionError(f"{text(expr)} has an index without bounds; write Sum(x[i], (i, 0, n - 1))")
    return found


def parts(expr: Any) -> Sequence[Any]:
    """The parts that have a value: an index has none, and of a limit only the bounds have."""
    if isinstance(expr, SUMS):
        return [expr.args[0], *(bound for _, *bounds in limits(expr) for bound in bounds)]
    if is_entry(expr):
        return indices(expr)
    return () if isinstance(expr, sympy.Idx | sympy.MatrixSymbol | sympy.IndexedBase) else expr.args


def upwards(root: Any, done: Callable[[Any], bool]) -> Iterator[Any]:
    """The parts below an expression that are not done yet, parts before wholes, each once; without recursion."""
    stack = [root]
    while stack:
        expr = stack[-1]
        waiting = [] if done(expr) else [p for p in parts(expr) if not done(p)]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        if not done(expr):
            yield expr


def everything(root: Any) -> list[Any]:
    """All distinct parts of an expression, by identity, parts before wholes."""
    found: dict[int, Any] = {}
    for expr in upwards(root, lambda e: id(e) in found):
        found[id(expr)] = expr
    return list(found.values())


def applies(root: Any) -> bool:
    """Whether a loss is read as arrays: it has entries whose places are not all numbers, and can't be written out.

    It can't where a bound or a shape has a name, where a place is itself an entry, or where there would be many terms.

    >>> i, n, x = sympy.Symbol("i"), sympy.Symbol("n"), sympy.IndexedBase("x")
    >>> applies(sympy.Sum(x[i]**2, (i, 0, n - 1))), applies(sympy.Sum(x[i]**2, (i, 0, 9)))
    (True, False)
    """
    found = list(occurring(root, (*ENTRIES, *SUMS, sympy.KroneckerDelta)))
    entries = [e for e in found if is_entry(e)]
    placed = [e for e in entries if not all(map(is_number, indices(e)))]
    bases = {e.args[0] for e in entries if isinstance(e, sympy.Indexed)}
    if any(not is_number(d) for base in bases for d in given_shape(base) or ()):
        return True
    taken = [i for e in placed for i in indices(e)] + [a for e in found for a in deltas(e)]
    if any(True for i in taken if not is_number(i) for _ in occurring(i, ENTRIES)):
        return True
    sums = [e for e in found if isinstance(e, SUMS)]
    if not (entries and sums):
        return False
    indexed = any(isinstance(index, sympy.Idx) for s in sums for index, _, _ in limits(s))
    return indexed or bool(lengths(sums)) or bool(placed and terms(everything(root)) >= LONG)


def ranged(root: Any) -> list[Any]:
    """The indices of a value that no sum binds and that have a range, as Idx("i", n), in the order of their names."""
    if not any(i.upper is not None for i in occurring(root, (sympy.Idx,))):
        return []
    free = Survey(root).free(root)
    return sorted((i for i in free if isinstance(i, sympy.Idx) and i.upper is not None), key=str)


def nested_terms(root: Any) -> int:
    """How many terms the longest sum over several indices has.

    Raises ExpressionError for more of them than anybody wants to wait for.
    """
    sums = list(occurring(root, SUMS))
    if len(sums) < 2 and all(len(limits(s)) < 2 for s in sums):
        return 0
    count = terms(everything(root))
    if count > MOST:
        raise ExpressionError(
            f"{text(root)}: a sum of {count} terms; at most {MOST} are added up: work it out by doit(), or by hand"
        )
    return count


def occurring(root: Any, kinds: tuple[type, ...]) -> Iterator[Any]:
    """The parts of an expression that are of these classes, each once; quicker than `everything`."""
    seen, stack = {id(root)}, [root]
    while stack:
        expr = stack.pop()
        if isinstance(expr, kinds):
            yield expr
        for a in expr.args:
            if id(a) not in seen:
                seen.add(id(a))
                stack.append(a)


def lengths(sums: Sequence[Any], bases: Iterable[Any] = ()) -> set[Any]:
    """The symbols in bounds and shapes that no sum binds: they stand for lengths."""
    bounds = [b for s in sums for _, *pair in limits(s) for b in pair]
    sizes = [d for base in bases for d in given_shape(base) or () if not isinstance(d, int)]
    return {s for d in [*bounds, *sizes] for s in symbols(d)} - {index for s in sums for index, _, _ in limits(s)}


def terms(every: Sequence[Any]) -> int:
    """How many terms the longest sum has, written out with the sums inside it; parts come before wholes."""
    count: dict[int, int] = {}
    bounds = {i: pair for e in every if isinstance(e, SUMS) for i, *pair in limits(e)}
    widest = {i: (low, high) for i, (low, high) in bounds.items() if low.is_Integer and high.is_Integer}
    for expr in every:
        inner = max((count[id(p)] for p in parts(expr)), default=1)
        for _, low, high in limits(expr) if isinstance(expr, SUMS) else ():
            inner *= max(length_of(low, high, widest), 1)
        count[id(expr)] = inner
    return max(count.values())


def length_of(low: Any, high: Any, widest: Mapping[Any, tuple[Any, Any]]) -> int:
    """How many places there are between bounds at most, as far as these are numbers once outer indices are."""
    own = {s for b in (low, high) for s in symbols(b)}
    if not own <= widest.keys():
        return 1
    ends = [(high - low).xreplace({s: widest[s][k] for s in own}) for k in (0, 1)]
    return max((int(e) + 1 for e in ends if e.is_Integer), default=1)


def stray(index: Any, root: Any) -> ExpressionError:
    """What is wrong with a loss in which an index that a sum binds stands outside it as well."""
    cure = "write the sum around it, or rename it"
    if any(s == index for p in occurring(root, (sympy.Piecewise,)) for _, c in p.args
           for s in occurring(c, (sympy.Symbol, sympy.Idx))):  # fmt: skip
        cure = ("SymPy takes a Piecewise out of the sums inside a sum; write its condition as a factor, for i != j "
                "1 - KroneckerDelta(i, j), or the loss with arrays and np.where")  # fmt: skip
    return ExpressionError(f"the index {index} stands outside its sum; {cure}")


def deltas(expr: Any) -> Sequence[Any]:
    """The arguments of a KroneckerDelta."""
    return expr.args if isinstance(expr, sympy.KroneckerDelta) else ()


def is_number(expr: Any) -> bool:
    """Whether a place or a length is a number."""
    return isinstance(expr, int) or bool(expr.is_Integer)


def given_shape(base: Any) -> Sequence[Any] | None:
    """The shape that an IndexedBase or a MatrixSymbol was made with."""
    shape: Sequence[Any] | None = base._shape if isinstance(base, sympy.IndexedBase) else base.shape
    return shape


class Survey:
    """The index symbols and the lengths of a loss, and which indices are free in each of its parts."""

    def __init__(self, root: Any) -> None:
        every = everything(root)
        sums = [e for e in every if isinstance(e, SUMS)]
        self.bound = {index for s in sums for index, _, _ in limits(s)}
        self.bases = dict.fromkeys(e.args[0] for e in every if is_entry(e))
        self.lengths = lengths(sums, self.bases)
        self._free: dict[int, frozenset[Any]] = {}
        self.root = root
        self._kept = [root]

    def free(self, root: Any) -> frozenset[Any]:
        """The indices that an expression has and no sum inside it binds."""
        self._kept.append(root)
        for expr in upwards(root, lambda e: id(e) in self._free):
            self._free[id(expr)] = self._own(expr)
        return self._free[id(root)]

    def _own(self, expr: Any) -> frozenset[Any]:
        """The free indices of an expression whose parts are known."""
        if isinstance(expr, sympy.Idx | sympy.Symbol):
            return frozenset([expr]) if expr in self.bound or isinstance(expr, sympy.Idx) else frozenset()
        if isinstance(expr, SUMS):
            found = self._free[id(expr.args[0])]
            for index, low, high in limits(expr):
                found = (found - {index}) | self._free[id(low)] | self._free[id(high)]
            return found
        sets = [self._free[id(p)] for p in parts(expr)]
        return max(sets, key=len) if len(set(sets)) == 1 else frozenset().union(*sets)


def symbols(expr: Any) -> set[Any]:
    """The symbols of a bound or of a length."""
    if not is_small(expr, 500):
        raise ExpressionError(f"{text(expr)} is too large for a bound; name the length by a symbol of its own")
    return {s for s in everything(expr) if isinstance(s, sympy.Symbol)}
