"""Forms: what scalar nodes have in common when their leaves are left out, and where those leaves are stored.

Two nodes have one signature if they are the same ops of entries of the same sources: of the parameters, of the inputs,
of numbers, of values computed elsewhere. A node is described once, from the forms of its arguments.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from math import prod
from operator import mul
from typing import NamedTuple

from gradcompile.ir.core import Node, apply, const, is_const
from gradcompile.ops.constant_index import Affine, is_table, is_take
from gradcompile.ops.shape import is_item

FACTORS = 16  # of a product that are put in order; longer ones are products of products
LARGE = 32  # entries of an input array that is a source of its own
NOWHERE = (1 << 62, -1)  # the places of a node without leaves


class Form(NamedTuple):
    """One node: its signature, the lowest and the highest place of its leaves, its arguments in canonical order.

    Without arguments it is an entry of a source (`source` is its number), a number, or a value computed elsewhere.
    """

    signature: int
    low: int
    high: int
    args: tuple[Node, ...] = ()
    source: int | None = None


class Source(NamedTuple):
    """The vector that holds the entries of some leaves, and the place of its first entry among those of all sources."""

    vector: Node
    first: int


class Forms:
    """The forms of the nodes of one graph.

    >>> from gradcompile.ir.core import leaf
    >>> a, b, c = (leaf(name) for name in "abc")
    >>> forms = Forms([a, b, c], [])
    >>> products = [apply("mul", a, b), apply("mul", c, b), apply("mul", a, apply("sin", b))]
    >>> for n in (a, b, c, apply("sin", b), *products):
    ...     forms.describe(n)
    >>> len({forms[n].signature for n in products[:2]}), len({forms[n].signature for n in products})
    (1, 2)
    >>> forms[products[1]].args == (b, c)
    True
    """

    def __init__(self, params: Sequence[Node], inputs: Iterable[Node]) -> None:
        self.sources: list[Source] = []
        self._start: dict[Node, tuple[int, int]] = {}  # of a leaf: its source, and the place of its first entry
        self._open: set[Node] = set()
        self._alias: dict[Node, Node] = {}
        self._written: dict[Node, Node] = {}
        self._holder: dict[Node, int] = {}  # the source that a vector is
        self._form: dict[Node, Form] = {}
        self._signature: dict[object, int] = {"number": 0}
        self._places = 0
        whole = [n for n in inputs if all(isinstance(d, int) for d in n.type.shape)]
        small = [n for n in whole if entries(n) < LARGE]
        for leaves in (params, small, *([n] for n in whole if entries(n) >= LARGE)):
            if leaves:
                self._add_source(leaves)

    def _add_source(self, leaves: Sequence[Node]) -> None:
        """Give the entries of the leaves their places."""
        self.sources.append(Source(apply("pack", *leaves), self._places))
        self._holder[self.sources[-1].vector] = len(self.sources) - 1
        for n in leaves:
            self._start[n] = len(self.sources) - 1, self._places
            self._places += entries(n)

    def __getitem__(self, n: Node) -> Form:
        return self._form[n]

    def signature_of(self, *what: object) -> int:
        """The number of a signature."""
        return self._signature.setdefault(what, len(self._signature))

    def describe(self, n: Node) -> None:
        """Enter the form of a scalar node whose arguments are described; arrays have none."""
        if n.type.shape or n in self._form:
            return
        if is_const(n):
            signature = 0 if n.type.dtype != "bool" else self.signature_of("const", n.value)
            self._form[n] = Form(signature, *NOWHERE)
        elif (place := self._place(n)) is not None:
            self._form[n] = Form(self.signature_of("source", place[0]), place[1], place[1], (), place[0])
        elif not n.args or n.op.vjp is not None or any(a.type.shape for a in n.args) or self._closes(n):
            self._places += 1  # a value that is taken as it is has a place of its own
            self._form[n] = Form(self.signature_of("computed"), self._places, self._places)
        else:
            self._form[n] = self._of_op(n)
            self._turn_sign(n)

    def leave_open(self, n: Node) -> None:
        """Let a sum and the op that `stabilize` rewrites it with stay together: log(3*n), say, is not looked into."""
        self._open.add(n)

    def _closes(self, n: Node) -> bool:
        """Whether the op is what an open sum below it is rewritten with; sums and products of open ones are open."""
        if not self._open or self._open.isdisjoint(n.args):
            return False
        if n.op.name in ("add", "mul", "neg"):
            self._open.add(n)
        return n.op.name in ("log", "sqrt", "div")

    def canonical(self, n: Node) -> Node:
        """The node that stands for this one: (-c)*x for -(c*x), so that the sign of a number makes no other form."""
        return self._alias.get(n, n)

    def written(self, n: Node) -> Node:
        """The node that this one stands for, as it is in the graph."""
        return self._written.get(n, n)

    def _turn_sign(self, n: Node) -> None:
        """Give -(c*x) the form of (-c)*x."""
        if n.op.name != "neg" or n.args[0].op.name != "mul":
            return
        factors = self._form[n.args[0]].args
        if not is_const(factors[0]):
            return
        turned = (const(-factors[0].value, n.type.dtype), *factors[1:])
        self.describe(turned[0])
        product = reduce(mul, turned)
        self._form[n] = self._form[product] = self._form[n.args[0]]._replace(args=turned)
        self._alias[n], self._written[product] = product, n

    def describe_rows(self, n: Node) -> None:
        """Enter the form of a sum over an axis as what it adds up, so that sums of similar terms are similar."""
        body = n.args[0]
        stack: list[Node] = [body]
        while stack:
            a = stack[-1]
            missing = [b for b in a.args if b not in self._form] if a not in self._form else []
            if missing and not self._is_opaque(a):
                stack += missing
                continue
            stack.pop()
            if a.type.shape and a not in self._form:
                self._form[a] = self._of_array(a)
            self.describe(a)
        inner = self._form[body]
        self._form.setdefault(n, Form(self.signature_of("sum", inner.signature), inner.low, inner.high, (body,)))

    def _is_opaque(self, n: Node) -> bool:
        """Whether a node of a loop is not looked into."""
        return n.op.vjp is not None or not n.args

    def _of_array(self, n: Node) -> Form:
        """The form of an array: entries from a place on, numbers, an op of such, or an array that is like no other."""
        if is_table(n):
            return Form(self.signature_of("table", n.type.shape), *NOWHERE)
        if is_take(n) and isinstance(n.params[0], Affine) and n.args[0] in self._holder:
            source = self._holder[n.args[0]]
            place = self.sources[source].first + n.params[0].start
            return Form(self.signature_of("take", source, n.params[0].axes), place, place, (), source)
        if self._is_opaque(n):
            return Form(self.signature_of("array", n), *NOWHERE)
        found = [self._form[a] for a in n.args]
        signatures, lows, highs, _, _ = zip(*found, strict=True)
        return Form(self.signature_of(n.op.name, n.params, signatures), min(lows), max(highs), n.args)

    def _place(self, n: Node) -> tuple[int, int] | None:
        """Source and place of an entry of a leaf."""
        if not is_item(n):
            return self._start.get(n)
        leaf, index = n.args[0], n.params[0]
        if leaf not in self._start:
            return None
        source, place = self._start[leaf]
        for k, d in enumerate(leaf.type.shape):
            place += index[k] * prod(int(d) for d in leaf.type.shape[k + 1 :])
        return source, place

    def _of_op(self, n: Node) -> Form:
        """The form of an op: commutative arguments in the order of their signatures, then of their leaves' places."""
        name, args = n.op.name, tuple(map(self.canonical, n.args)) if self._alias else n.args
        if n.op.is_commutative:
            args = tuple(sorted(self._factors(args) if name == "mul" else args, key=self._order))
        found = [self._form[a] for a in args]
        signatures, lows, highs, _, _ = zip(*found, strict=True)
        return Form(self.signature_of(name, n.params, signatures), min(lows), max(highs), args)

    def _factors(self, args: Sequence[Node]) -> Sequence[Node]:
        """The factors of a product of products; a square stays one, so that it is computed once."""
        if args[0] is args[1]:
            return args
        found: list[Node] = []
        for a in args:
            nested = a.op.name == "mul" and a.args[0] is not a.args[1] and len(self._form[a].args) < FACTORS
            found += self._form[a].args if nested else (a,)
        return found

    def _order(self, n: Node) -> tuple[object, ...]:
        """Sorts arguments: what is subtracted comes last."""
        signature, low, high, _, _ = self._form[n]
        return n.op.name == "neg", signature, low, high


def entries(n: Node) -> int:
    """The number of entries of a node whose dimensions are numbers."""
    return prod(int(d) for d in n.type.shape)
