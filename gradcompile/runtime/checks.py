"""What a graph of arrays demands of a call, beyond shapes that agree: lengths that suffice, and indices inside axes.

Compiled code checks no length, and makes NaN of an index outside. What is known when the loss is written is checked
there; the rest depends on the lengths of named dimensions and on the values of integer inputs.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradcompile.analysis.evaluate import bound
from gradcompile.analysis.formula import formulas
from gradcompile.errors import ArgumentError
from gradcompile.ir import types
from gradcompile.ir.core import Node, is_const
from gradcompile.ir.graph import topological
from gradcompile.ir.types import Dim, Shape, dim_product, dim_sum, dim_value, dims_solved, names_in, parsed
from gradcompile.ops.constant_index import is_table
from gradcompile.ops.gather import is_argmax, is_gather, is_scatter_add
from gradcompile.ops.reduction import is_amax
from gradcompile.ops.scan import Loop, is_scan
from gradcompile.ops.shape import Span, is_assemble, is_iota, is_item
from gradcompile.ops.sparse import is_sparse_dot
from gradcompile.signature.arguments import Argument, Problem

Around = Mapping[Node, "View"]  # of the leaves of a loop's body: what they are views of outside

WIDEST = 60  # characters of a formula in a message


class View(NamedTuple):
    """A node, the steps from there to a view of it up to the last that leaves entries out, and whether a loop walks it.

    A loop uses all that it walks, a part in each step.
    """

    source: Node
    steps: tuple[Node, ...]
    sliced: bool = False


class Length(NamedTuple):
    """A length that may not be negative, unless another is 0, since nothing is read then."""

    least: Dim
    unless: Dim
    node: Node

    def check(self, lengths: Mapping[str, int], names: Mapping[Node, str]) -> None:
        """Raise ArgumentError if it is."""
        if dim_value(self.least, lengths) >= 0 or dim_value(self.unless, lengths) == 0:
            return
        given = ", ".join(f"{name} is {lengths[name]}" for name in sorted(names_in(self.least)))
        text = formulas([self.node], names, WIDEST)[self.node]
        raise ArgumentError(f"{text} needs {condition(self.least)}, and {given}; pass longer arrays")


class Count(NamedTuple):
    """A length that BLAS counts in 32 bits."""

    dim: Dim

    def check(self, lengths: Mapping[str, int]) -> None:
        """Raise ArgumentError if it is too large."""
        found = dim_value(self.dim, lengths)
        if found > types.LARGEST:
            given = ", ".join(f"{name} is {lengths[name]}" for name in sorted(names_in(self.dim)))
            raise ArgumentError(f"a matrix product over {self.dim} entries takes {types.LARGEST} of them at most, and "
                                f"{given}; pass shorter arrays")  # fmt: skip


class Index(NamedTuple):
    """An integer input that is an index: its position, the views that lead to it, the axis's length and description."""

    position: int
    views: tuple[Node, ...]
    length: Dim
    what: str

    def check(self, values: Sequence[Any] | Mapping[int, Any], lengths: Mapping[str, int], name: str) -> None:
        """Raise ArgumentError if an entry is outside the axis, counted from either end."""
        x = values[self.position]
        for n in self.views:
            x = n.op.value(x, *bound(n, dict(lengths)))
        x, length = np.asarray(x), dim_value(self.length, lengths)
        if not x.size or (x.min() >= -length and x.max() < length):
            return
        outside = np.argwhere((x < -length) | (x >= length))
        if not len(outside):  # another thread has changed it since; the kernel looks as well
            return
        at = tuple(map(int, outside[0]))
        entry = f"an entry of {name}" if self.views else f"{name}[{', '.join(map(str, at))}]" if at else name
        inside = f"so an index is {-length} to {length - 1}" if length else "so there is no index"
        raise ArgumentError(f"{entry} is {int(x[at])}; {self.what.format(length)}, {inside}")


class Demands(NamedTuple):
    """All demands of a problem. axes: for each dimension that isn't a number an input and an axis, by their places."""

    inputs: Sequence[Argument]
    names: Mapping[Node, str]
    axes: Mapping[str, tuple[int, int]]
    shape: Shape
    lengths: Sequence[Length] = ()
    indices: Sequence[Index] = ()
    counts: Sequence[Count] = ()

    def check(self, values: Sequence[Any]) -> None:
        """Raise ArgumentError for converted inputs that do not meet them."""
        if self.lengths or self.indices or self.counts:
            lengths = self.lengths_of(values)
            for count in self.counts:
                count.check(lengths)
            for demand in self.lengths:
                demand.check(lengths, self.names)
            for index in self.indices:
                index.check(values, lengths, self.inputs[index.position].name)

    def lengths_of(self, values: Sequence[Any]) -> dict[str, int]:
        """The length of each named dimension, of converted inputs."""
        return dims_solved([(dim, values[k].shape[axis]) for dim, (k, axis) in self.axes.items()])

    def shape_of(self, values: Sequence[Any]) -> tuple[int, ...]:
        """The shape of the value, for converted inputs."""
        lengths = self.lengths_of(values)
        return tuple(dim_value(d, lengths) for d in self.shape)


def demands_of(problem: Problem) -> Demands:
    """What a problem demands; a loss in SymPy has columns of any length, and no index but numbers."""
    found = [
        (d, (k, axis))
        for k, a in enumerate(problem.inputs)
        for axis, d in enumerate(a.leaf.type.shape)
        if isinstance(d, str)
    ]
    names = {a.leaf: a.name for a in (*problem.params, *problem.inputs)}
    plain = Demands(problem.inputs, names, dict(reversed(found)), problem.primal.type.shape)
    if not problem.arrays:
        return plain
    order = list(everything(problem.primals, {}))
    lengths = {(d.least, d.unless): d for n, around in order for d in lengths_in(n, around) if may_be_negative(d.least)}
    position = {a.leaf: k for k, a in enumerate(problem.inputs)}
    indices = {i[:3]: i for n, around in order for i in indices_in(n, around, position, names)}
    return plain._replace(lengths=tuple(lengths.values()), indices=tuple(indices.values()))


def everything(roots: Sequence[Node], around: Around) -> Iterator[tuple[Node, Around]]:
    """All nodes below the roots and in the bodies of loops, each with what the leaves of its body stand for."""
    for n in topological(roots):
        yield n, around
        if is_scan(n):
            loop: Loop = n.params[0]
            _, slices, constants = loop.arguments(n.args)
            inner = {x: viewed(a, around) for x, a in zip(loop.constants, constants, strict=True)}
            inner |= {x: viewed(a, around)._replace(sliced=True) for x, a in zip(loop.slices, slices, strict=True)}
            yield from everything(loop.roots, inner)


def lengths_in(n: Node, around: Around) -> Iterator[Length]:
    """The lengths that a node demands."""
    yield from (Length(d, 1, n) for d in n.type.shape)
    if is_item(n):
        yield from inside(n.params[0], n.args[0].type.shape, n)
    elif is_assemble(n):
        for index in n.params[1]:
            yield from inside(index, n.type.shape, n)
    elif is_amax(n) or is_argmax(n):
        axes = n.params[0] if is_amax(n) else n.params
        yield from (Length(dim_sum(n.args[0].type.shape[k], -1), dim_product(*n.type.shape), n) for k in axes)
    elif is_gather(n) or is_scatter_add(n):
        for index, d in indexed(n):
            source, views, _ = viewed(index, around)
            yield Length(dim_sum(d, -1), dim_product(*index.type.shape), n)
            if is_iota(source) and not views:
                yield Length(dim_sum(d, dim_product(-1, *source.type.shape)), dim_product(*source.type.shape), n)
            elif is_table(source) or is_const(source) or is_iota(source):
                values = np.asarray(source.op.value(*bound(source, {})), np.int64)
                for view in views:
                    values = view.op.value(values, *bound(view, {}))
                yield Length(dim_sum(d, -1 - int(values.max(initial=-1))), 1, n)
                yield Length(dim_sum(d, int(values.min(initial=0))), 1, n)


def inside(index: Sequence[Dim | Span | None], shape: Shape, n: Node) -> Iterator[Length]:
    """That the places of an index are inside the axes."""
    for k, d in zip(index, shape, strict=True):
        if k is None:
            continue
        span = k if isinstance(k, Span) else Span(k, 1)
        last = dim_sum(span.start, dim_product(span.step, dim_sum(span.count, -1)))
        for place in dict.fromkeys((span.start, last)):
            yield Length(place, span.count, n)
            yield Length(dim_sum(d, -1, dim_product(-1, place)), span.count, n)


def indexed(n: Node) -> list[tuple[Node, Dim]]:
    """The index arrays of a gather or a scatter_add, each with the length of the axis it is for."""
    first = n.params[0]
    lengths = n.params[1] if is_scatter_add(n) else n.args[0].type.shape[first : first + len(n.args) - 1]
    return list(zip(n.args[1:], lengths, strict=True))


def indices_in(n: Node, around: Around, position: Mapping[Node, int], names: Mapping[Node, str]) -> Iterator[Index]:
    """The integer inputs that index in a node, as they are or as views."""
    if is_sparse_dot(n) and n.args[1] in position:
        name = str(n.args[1].params[0]).removesuffix("_columns")
        columns = n.params[0] if n.params else n.args[0].type.shape[0]
        yield Index(position[n.args[1]], (), columns, f"{name} has {{}} columns")
    if not (is_gather(n) or is_scatter_add(n)):
        return
    for k, (index, length) in enumerate(indexed(n)):
        source, views, _ = viewed(index, around)
        if source in position:
            yield Index(position[source], views, length, described(n, k, names))


def viewed(n: Node, around: Around) -> View:
    """What a node is a view of, where that can be told."""
    views: list[Node] = []
    while n.op.is_view:
        views.append(n)
        n = n.args[0]
    last = next((k for k, v in enumerate(views) if is_item(v)), len(views))
    steps = tuple(views[last:][::-1])
    if n not in around or (around[n].sliced and steps):
        return View(n, steps)
    return around[n]._replace(steps=around[n].steps + steps)


def described(n: Node, k: int, names: Mapping[Node, str]) -> str:
    """The axis that the k-th index of a node is for, with a place for its length."""
    axis = n.params[0] + k
    name = names.get(n.args[0]) if is_gather(n) else None
    if name is None:
        return "the axis that it picks from has length {}"
    if axis:
        return f"axis {axis} of {name} has length {{}}"
    return f"{name} has {{}} {'rows' if len(n.args[0].type.shape) > 1 else 'entries'}"


def may_be_negative(dim: Dim) -> bool:
    """Whether there are lengths for which it is below 0."""
    return any(c < 0 for _, c in parsed(dim))


def condition(least: Dim) -> str:
    """That a dimension is not negative.

    >>> condition("n-6"), condition("-2*m+n")
    ('n >= 6', '-2*m+n >= 0')
    """
    (names, c), *rest = parsed(least)
    if len(names) == 1 and c == 1 and len(rest) == 1 and not rest[0][0]:
        return f"{names[0]} >= {-rest[0][1]}"
    return f"{least} >= 0"
