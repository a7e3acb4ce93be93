"""The record of an op, and nodes: immutable and interned, so building the same thing twice gives the same object."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from weakref import ref

from gradcompile.ir.types import ArrayType, broadcast, promote

Params = tuple[Any, ...]
Infer = Callable[[tuple[ArrayType, ...], Params], ArrayType]
Partials = Callable[["Node"], tuple["Node | None", ...]]
Vjp = Callable[["Node", "Node"], tuple["Node | None", ...]]
Jvp = Callable[["Node", tuple["Node | None", ...]], "Node"]


@dataclass(frozen=True, eq=False, slots=True)
class Op:
    """One operation, and all that is known of it: whoever needs a fact of an op asks its record.

    name: how the graph speaks of it.  infer: argument types and params -> result type.
    value: NumPy evaluation, called as value(*arrays, *params).
    arity: number of arguments, None for any.  cost: operations that one element counts for.  time: the same of what
    takes longer, or shorter, than is counted.

    Its derivative:
    partials (elementwise ops): node -> one factor an argument, in graph terms, None for a structural zero; a factor
    `select(c, p, 0)` marks a branch that was not taken.
    vjp, jvp (ops of whole arrays): the transpose and the pushforward. reach: which entries of the arguments an adjoint
    of ones and zeros reaches, as a number above 0, where the transpose itself does not tell because values come in.
    transpose_copies: the transpose copies entries of the adjoint, and adds none up.
    steep: the partial by the first argument is infinite where the argument of this number is 0 though the value is
    finite, as that of a root; -1 where that is at another place.
    careful: the transpose of an op with branches inside, which is told by `masks.Care` where these matter.

    Its values:
    least: what it is never below, from what its arguments are never below, and its params; None if that is unknown.
    refuses: arguments by which no derivative is known: where they move, differentiation raises ExpressionError.
    keeps_finite: value and partials are finite where the arguments are, overflow apart.
    pole_at_zero: they are not, but only where the last argument is 0.
    overflows: value and slope grow beyond all numbers at arguments of ordinary size, as those of exp do.
    settles: the slope is 0 far out on one side.
    is_linear: it is linear in its arguments together, but for integers among them.
    curvature: 1 where it is convex on all its domain, -1 where it is concave, 0 if that is unknown.
    monotone: 1 where it rises in each of its arguments, -1 where it falls.
    never_negative: no value is below 0.  keeps_zero: 0 where all its arguments are ("all"), or one of them ("any").
    keeps_whole: of whole numbers it gives whole numbers.  hands_on: the value is one of its arguments, or a constant.
    is_arithmetic: one of the four operations.  is_algebraic: these, powers, and what chooses between arguments.
    is_comparison, is_connective: it gives truth values, of numbers or of truth values.
    is_commutative: the order of its arguments does not matter to any bit.

    Its entries, if it is about whole arrays:
    is_leaf, is_const: a named value from outside, a number.  typed: its nodes are given their type.
    by_shape: the value follows from the shape of its argument alone.
    has_dims: its params hold dimensions, which may be names.  is_loop: its first param is a loop.
    is_view: an entry is an entry of the argument at another place.  is_alias: one that may share memory with it.
    is_copy: the argument as it is; in generated code it may be a copy of that.
    shows_entries: an entry is made of one entry of the first argument at a place that follows from its own.
    picks_entries: it may leave entries of its argument out.  places_entries: the transpose of such an op.
    entrywise: it works entry by entry, though its text is not in the record.
    is_reduction: it takes axes away, which are its first param.  adds: entries of the argument are added up, in an
    order that depends on how the work is cut.
    by_argument: what one entry of the first argument costs is what is counted.
    along_axes: its first param is the axis, or the axes, that it runs along.  gives_places: it gives places there.
    is_expensive: a result is rather stored than computed again.

    Its generated code:
    emit: Python source with {0}, {1} for arguments and {p0} for params; functions in it are names of
    `gradcompile.vmath` or `gradcompile.library.special`.  emit_whole: the same of whole numbers, where it differs.
    keeps_literals: of Python's own floats plain Python makes one, in double precision.
    preferred_name, array_name: what a value, or an array, is called where nothing better offers itself.  between: what
    its name has between those of the arguments, and where these are the other way round.
    ends_functions: what is a function to the user ends in it, so that its value has the function's name.
    in_memory: the result stands in memory as a whole.  reads_memory: so do its arguments.
    in_floats: integers as well are gathered as floats.
    routine_axes: it is a routine for one matrix or row, whose result has so many axes.

    For tests and people:
    exact: the function of mpmath, by name or as a callable, for checks in high precision.
    sympy: the SymPy function of the same meaning, by name or as a callable of SymPy arguments.
    domain: for each argument an interval that the tests draw from; integer params are tested from `orders`.
    ulps: bound of the value's error on the domain.  tolerance: bound of a partial's, relative to max(1, |partial|).
    derivative, convention, accuracy, doc: text.
    """

    name: str
    infer: Infer
    value: Callable[..., Any]
    emit: str = ""
    partials: Partials | None = None
    vjp: Vjp | None = None
    jvp: Jvp | None = None
    reach: Vjp | None = None
    transpose_copies: bool = False
    steep: int | None = None
    careful: Callable[["Node", "Node", Any], tuple["Node | None", ...]] | None = None
    least: Callable[[Sequence[float], Params], float] | None = None
    refuses: tuple[int, ...] = ()
    keeps_finite: bool = False
    pole_at_zero: bool = False
    overflows: bool = False
    settles: bool = False
    is_linear: bool = False
    curvature: int = 0
    monotone: int = 0
    never_negative: bool = False
    keeps_zero: str = ""
    keeps_whole: bool = False
    hands_on: bool = False
    is_arithmetic: bool = False
    is_algebraic: bool = False
    is_comparison: bool = False
    is_connective: bool = False
    is_commutative: bool = False
    is_leaf: bool = False
    is_const: bool = False
    typed: bool = False
    by_shape: bool = False
    has_dims: bool = False
    is_loop: bool = False
    is_view: bool = False
    is_alias: bool = False
    is_copy: bool = False
    shows_entries: bool = False
    picks_entries: bool = False
    places_entries: bool = False
    entrywise: bool = False
    is_reduction: bool = False
    adds: bool = False
    by_argument: bool = False
    along_axes: bool = False
    gives_places: bool = False
    is_expensive: bool = False
    emit_whole: str = ""
    keeps_literals: bool = False
    preferred_name: str = ""
    array_name: str = ""
    between: tuple[str, ...] = ()
    ends_functions: bool = False
    in_memory: bool = False
    reads_memory: bool = False
    in_floats: bool = False
    routine_axes: int | None = None
    exact: str | Callable[..., Any] | None = None
    sympy: str | Callable[..., Any] | None = None
    cost: int = 1
    time: int | None = None
    arity: int | None = 1
    domain: tuple[tuple[float, float], ...] = ()
    derivative: str = ""
    convention: str = ""
    accuracy: str = ""
    doc: str = ""
    orders: tuple[int, ...] = ()
    ulps: float = 1.0
    tolerance: float = 1e-14

    @property
    def takes_arrays(self) -> bool:
        """Whether the op is about whole arrays, rather than entry by entry: it has no text for an entry."""
        return not self.emit

    @property
    def is_elementwise(self) -> bool:
        """Whether the op works entry by entry, and so runs in any loop over entries."""
        return self.entrywise or bool(self.emit)

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple[Callable[[str], "Op"], tuple[str]]:
        return OPS.__getitem__, (self.name,)


OPS: dict[str, Op] = {}


def register(op: Op) -> Op:
    """Enter an op into the table; a name is given once."""
    if op.name in OPS:
        raise ValueError(f"op {op.name!r} is registered already")
    OPS[op.name] = op
    return op


def elementwise(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """Result type of an elementwise op: broadcast shape, promoted dtype."""
    first = types[0]
    if types.count(first) == len(types):  # nearly always, and graphs are large
        return first
    return ArrayType(broadcast(*(t.shape for t in types)), promote(*(t.dtype for t in types)))


def predicate(types: tuple[ArrayType, ...], params: Params) -> ArrayType:
    """Result type of a comparison or a logical op."""
    return ArrayType(broadcast(*(t.shape for t in types)), "bool")


class Node:
    """An operation applied to nodes; equality is identity, since equal nodes are the same object.

    The operators of Python make nodes, x - y as x + (-y), and take numbers in the node's dtype. Those of truth values
    are `&`, `|` and `~`; comparisons and all else are functions (`ir.algebra`).

    >>> x, y = leaf("x"), leaf("y")
    >>> 2.0 * x - y is apply("add", apply("mul", const(2.0), x), apply("neg", y))
    True
    """

    __slots__ = ("__weakref__", "args", "op", "params", "simple", "type", "verified")
    op: Op
    args: tuple["Node", ...]
    params: Params
    type: ArrayType
    verified: bool  # its type was checked, or follows from its arguments', and those below
    simple: bool  # no exact rule has anything to say of it, nor of those below

    def __repr__(self) -> str:
        return f"<{self.op.name} {self.type}>"

    def __add__(self, other: "Node | float") -> "Node":
        return apply("add", self, lifted(other, self))

    def __radd__(self, other: float) -> "Node":
        return apply("add", lifted(other, self), self)

    def __sub__(self, other: "Node | float") -> "Node":
        return apply("add", self, apply("neg", lifted(other, self)))

    def __rsub__(self, other: float) -> "Node":
        return apply("add", lifted(other, self), apply("neg", self))

    def __mul__(self, other: "Node | float") -> "Node":
        return apply("mul", self, lifted(other, self))

    def __rmul__(self, other: float) -> "Node":
        return apply("mul", lifted(other, self), self)

    def __truediv__(self, other: "Node | float") -> "Node":
        return apply("div", self, lifted(other, self))

    def __rtruediv__(self, other: float) -> "Node":
        return apply("div", lifted(other, self), self)

    def __neg__(self) -> "Node":
        return apply("neg", self)

    def __and__(self, other: "Node") -> "Node":
        return apply("and", self, other)

    def __or__(self, other: "Node") -> "Node":
        return apply("or", self, other)

    def __invert__(self) -> "Node":
        return apply("not", self)

    @property
    def value(self) -> float | bool | int:
        """The value of a constant; no other node has one."""
        if not self.op.is_const:
            raise AttributeError(f"{self!r} is no constant: it has no value", name="value", obj=self)
        result: float | bool | int = self.params[0]
        return result


class Entry(ref[Node]):
    """A weak reference to a node in the table of nodes, with its key there; faster than a WeakValueDictionary's."""

    __slots__ = ("key",)
    key: tuple[Any, ...]


_interned: dict[tuple[Any, ...], Entry] = {}


def forget(entry: Entry) -> None:
    """Take a node that is no more from the table, unless an equal one stands there by now."""
    if _interned.get(entry.key) is entry:
        del _interned[entry.key]


_type, _verified = attrgetter("type"), attrgetter("verified")
SCALARS = {dtype: ArrayType((), dtype) for dtype in ("float64", "float32", "int64", "bool")}  # quick to compare, as one


def node(op: Op, args: Sequence[Node] = (), params: Params = (), type: ArrayType | None = None) -> Node:
    """The node `op(*args)`; its type is inferred unless given (leaves, constants and tables give it)."""
    args = tuple(args)
    key = (op.name, args, params, type) if not op.is_const else ("const", told_apart(params[0]), type)
    entry = _interned.get(key)
    found = None if entry is None else entry()
    if found is None:
        found = Node()
        found.op, found.args, found.params = op, args, params
        found.type = op.infer(tuple(map(_type, args)), params) if type is None else type
        right = not args if type is not None else all(map(_verified, args))
        found.verified = right and op.arity in (None, len(args))
        found.simple = False
        _interned[key] = entry = Entry(found, forget)
        entry.key = key
    return found


def told_apart(value: Any) -> Any:
    """A number by which a constant is known: 0.0 and -0.0 are two, all NaN are one."""
    return value if value and value == value else repr(value)


def apply(name: str, *args: Node, params: Params = ()) -> Node:
    """The op of that name applied to nodes.

    >>> apply("mul", const(2.0), leaf("x")) is apply("mul", const(2.0), leaf("x"))
    True
    """
    return node(OPS[name], args, params)


def const(value: float | bool, dtype: str = "float64") -> Node:
    """A scalar constant; the sign of zero counts, all NaN are one."""
    if dtype.startswith("float"):
        value = math.nan if value != value else float(value)
    else:
        value = int(value) if dtype == "int64" else bool(value)
    return node(OPS["const"], (), (value,), SCALARS[dtype])


def lifted(value: Node | float, like: Node) -> Node:
    """A node as it is, a number as a constant of another node's dtype."""
    return value if isinstance(value, Node) else const(value, like.type.dtype)


def leaf(name: str, type: ArrayType = ArrayType(), role: str = "input") -> Node:
    """A named value from outside; role is "param", "input" or "data"."""
    return node(OPS["leaf"], (), (name, role), type)


def is_leaf(n: Node) -> bool:
    """Whether the node is a named value from outside."""
    return n.op.is_leaf


def named(name: str) -> Callable[[Node], bool]:
    """What tells whether a node is of the op of this name."""
    return lambda n: n.op.name == name


def is_const(n: Node, value: float | None = None) -> bool:
    """Whether the node is a constant, and that one if a value is given (0.0 does not match -0.0)."""
    if not n.op.is_const or value is None:
        return n.op.is_const
    found = n.params[0]
    return bool(found == value) if found and found == found else repr(float(found)) == repr(float(value))
