"""Forms: what scalar nodes have in common when their leaves are left out, and where those leaves are stored.

Two nodes have one signature if they are the same ops of entries of the same sources: of the parameters, of the inputs,
of numbers, of values computed elsewhere. A node is described once, from the forms of its arguments.
"""

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import NamedTuple

from gradcompile.ir import Node, apply

COMMUTATIVE = frozenset({"add", "mul", "max", "min", "and", "or", "xor", "eq", "ne"})
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

    >>> from gradcompile.ir import leaf
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
        if n.op.name == "const":
            signature = 0 if n.type.dtype != "bool" else self.signature_of("const", n.value)
            self._form[n] = Form(signature, *NOWHERE)
        elif (place := self._place(n)) is not None:
            self._form[n] = Form(self.signature_of("source", place[0]), place[1], place[1], (), place[0])
        elif not n.args or n.op.vjp is not None or any(a.type.shape for a in n.args):
            self._form[n] = self._computed()
        else:
            self._form[n] = self._of_op(n)

    def _computed(self) -> Form:
        """The form of a value that is taken as it is; it gets a place of its own."""
        self._places += 1
        return Form(self.signature_of("computed"), self._places, self._places)

    def _place(self, n: Node) -> tuple[int, int] | None:
        """Source and place of an entry of a leaf."""
        if n.op.name != "item":
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
        name, args = n.op.name, n.args
        if name in COMMUTATIVE:
            args = tuple(sorted(self._factors(n) if name == "mul" else args, key=self._order))
        found = [self._form[a] for a in args]
        signatures, lows, highs, _, _ = zip(*found, strict=True)
        return Form(self.signature_of(name, n.params, signatures), min(lows), max(highs), args)

    def _factors(self, n: Node) -> Sequence[Node]:
        """The factors of a product of products; a square stays one, so that it is computed once."""
        if n.args[0] is n.args[1]:
            return n.args
        found: list[Node] = []
        for a in n.args:
            nested = a.op.name == "mul" and a.args[0] is not a.args[1] and len(self._form[a].args) < FACTORS
            found += self._form[a].args if nested else (a,)
        return found

    @property
    def _order(self) -> Callable[[Node], tuple[object, ...]]:
        """Sorts arguments: what is subtracted comes last."""
        form = self._form
        return lambda a: (a.op.name == "neg", *form[a][:3])


def entries(n: Node) -> int:
    """The number of entries of a node whose dimensions are numbers."""
    return prod(int(d) for d in n.type.shape)
