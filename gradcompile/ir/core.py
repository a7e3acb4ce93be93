"""The record of an op, and nodes: immutable and interned, so building the same thing twice gives the same object."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from operator import attrgetter
from typing import Any
from weakref import ref

from gradcompile.ir.types import ArrayType, broadcast, promote

Params = tuple[Any, ...]
Infer = Callable[[tuple[ArrayType, ...], Params], ArrayType]
Partials = Callable[["Node"], tuple["Node | None", ...]]
Vjp = Callable[["Node", "Node"], tuple["Node | None", ...]]
Jvp = Callable[["Node", tuple["Node | None", ...]], "Node"]


class Precedence(IntEnum):
    """How strongly an expression of generated code binds, weakest first, as far as that code needs it."""

    CONDITIONAL = 0
    COMPARE = 1
    OR = 2
    XOR = 3
    AND = 4
    SUM = 5
    PRODUCT = 6
    UNARY = 7
    ATOM = 8


@dataclass(frozen=True, eq=False, slots=True)
class Op:
    """One operation.

    name: how the graph speaks of it.  infer: argument types and params -> result type.
    value: NumPy evaluation, called as value(*arrays, *params).
    emit: Python source with {0}, {1} for arguments and {p0} for params; functions in it are names of
    `gradcompile.vmath` or `gradcompile.library.special`. precedence: of that source, as Python's (see `Precedence`).
    partials (elementwise ops): node -> one factor an argument, in graph terms, None for a structural zero; a factor
    `select(c, p, 0)` marks a branch that was not taken.
    vjp, jvp (ops of whole arrays): the transpose and the pushforward. reach: which entries of the arguments an adjoint
    of ones and zeros reaches, as a number above 0, where the transpose itself does not tell because values come in.
    steep: the partial by the first argument is infinite where the argument of this number is 0 though the value is
    finite, as that of a root; -1 where that is at another place.
    careful: the transpose of an op with branches inside, which is told by `masks.Care` where these matter.
    exact: the function of mpmath, by name or as a callable, for checks in high precision.
    sympy: the SymPy function of the same meaning, by name or as a callable of SymPy arguments.
    cost: operations that one element counts for.  arity: number of arguments, None for any.
    domain: for each argument an interval that the tests draw from; integer params are tested from `orders`.
    derivative, convention, accuracy, doc: for people.
    ulps: bound of the value's error on the domain.  tolerance: bound of a partial's, relative to max(1, |partial|).
    """

    name: str
    infer: Infer
    value: Callable[..., Any]
    emit: str = ""
    precedence: int = Precedence.ATOM
    partials: Partials | None = None
    vjp: Vjp | None = None
    jvp: Jvp | None = None
    reach: Vjp | None = None
    steep: int | None = None
    careful: Callable[["Node", "Node", Any], tuple["Node | None", ...]] | None = None
    exact: str | Callable[..., Any] | None = None
    sympy: str | Callable[..., Any] | None = None
    cost: int = 1
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
    """An operation applied to nodes; equality is identity, since equal nodes are the same object."""

    __slots__ = ("__weakref__", "args", "op", "params", "simple", "type", "verified")
    op: Op
    args: tuple["Node", ...]
    params: Params
    type: ArrayType
    verified: bool  # its type was checked, or follows from its arguments', and those below
    simple: bool  # no exact rule has anything to say of it, nor of those below

    def __repr__(self) -> str:
        return f"<{self.op.name} {self.type}>"

    @property
    def value(self) -> float | bool | int:
        """The value of a constant; no other node has one."""
        if self.op.name != "const":
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


def node(op: Op, args: Sequence[Node] = (), params: Params = (), type: ArrayType | None = None) -> Node:
    """The node `op(*args)`; its type is inferred unless given (leaves, constants and tables give it)."""
    args = tuple(args)
    key = (op.name, args, params, type) if op.name != "const" else ("const", repr(params[0]), type)
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
    return node(OPS["const"], (), (value,), ArrayType((), dtype))


def leaf(name: str, type: ArrayType = ArrayType(), role: str = "input") -> Node:
    """A named value from outside; role is "param", "input" or "data"."""
    return node(OPS["leaf"], (), (name, role), type)


def is_const(n: Node, value: float | None = None) -> bool:
    """Whether the node is a constant, and that one if a value is given (0.0 does not match -0.0)."""
    return n.op.name == "const" and (value is None or repr(float(n.value)) == repr(float(value)))
