"""What is to be compiled: arguments, the value that is returned, and named outputs, with where each value goes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from gradcompile.ir.core import Node
from gradcompile.ir.types import Dim, Shape, dim_product, dim_sum
from gradcompile.signature.arguments import Argument


class Label(NamedTuple):
    """What a node is to another: its adjoint, or its tangent along the vector of a product."""

    of: Node
    is_tangent: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A value that is written into an output.

    name: what its part of the output is called, as "d_w".  labels: what it is, as "dL/dw": of the whole, or of each
    entry.
    """

    node: Node
    name: str
    labels: tuple[str, ...]

    def label(self, k: int) -> str:
        """What an entry is, by its row-major place."""
        return self.labels[k] if len(self.labels) > 1 else self.labels[0]


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """The places of a sparse matrix in the order of its data: which minor index each has, and where each major begins.

    by_row: rows are major, as SciPy's csr has them, else columns, as csc.
    """

    shape: tuple[int, int]
    indices: np.ndarray
    starts: np.ndarray
    by_row: bool


@dataclass(frozen=True, slots=True)
class Output:
    """A vector that a kernel fills: its parts, each row-major, one after the other.

    name: of the kernel's argument.  by_sample: the parts have an entry a sample, and lie side by side for each.  what:
    it is in a sentence.  pattern: where its entries are in a sparse matrix, None of other outputs.
    """

    name: str
    parts: tuple[Part, ...]
    what: str
    by_sample: bool = False
    pattern: Pattern | None = None

    @property
    def offsets(self) -> list[Dim]:
        """Where each part begins, and at last the length of the whole."""
        if self.by_sample:
            return [*range(len(self.parts)), dim_product("n", len(self.parts))]
        sizes: list[Dim] = [0, *(entries(p.node.type.shape) for p in self.parts)]
        return list(accumulate(sizes, plus))

    @property
    def size(self) -> Dim:
        """Its length."""
        return self.offsets[-1]

    def placed(self) -> Iterator[tuple[Part, int]]:
        """The parts, and where each begins; of an output whose parts have known lengths, but for the last."""
        for part, offset in zip(self.parts, self.offsets, strict=False):
            yield part, int(offset)


@dataclass(frozen=True, slots=True)
class Program:
    """What is compiled: the value that is returned, None if there is none, and the outputs that are filled.

    names: of leaves and of entries of arrays.  labels: of adjoints and tangents of other nodes.  comments:
    maps a node to its formula.  order: the nodes below value and outputs, arguments first.  arrays: it is lowered as
    one over arrays, not of symbols alone.  what: the value is called.  offsets: where each parameter begins in theta.
    """

    value: Node | None
    outputs: Sequence[Output]
    params: Sequence[Argument]
    inputs: Sequence[Argument]
    names: Mapping[Node, str]
    labels: Mapping[Node, Label]
    comments: Mapping[Node, str]
    order: Sequence[Node] = ()
    arrays: bool = False
    what: str = "loss"
    offsets: Mapping[Node, int] = field(init=False)
    input_names: Mapping[Node, str] = field(init=False)

    def __post_init__(self) -> None:
        sizes = [size_of(a.leaf.type.shape) for a in self.params]
        starts = accumulate(sizes, initial=0)
        object.__setattr__(self, "offsets", {a.leaf: start for a, start in zip(self.params, starts, strict=False)})
        object.__setattr__(self, "input_names", {a.leaf: a.name for a in self.inputs})

    @property
    def roots(self) -> list[Node]:
        """What is computed: the value that is returned, and the parts of the outputs in their order."""
        returned = [] if self.value is None else [self.value]
        return returned + [p.node for o in self.outputs for p in o.parts]

    @property
    def sentence(self) -> str:
        """What the kernel does."""
        written = [f"{o.what} to {o.name}" for o in self.outputs if o.parts]
        if not written:
            return f"Return the {self.what}."
        first = f"Write {', '.join(written[:-1])}{' and ' if len(written) > 1 else ''}{written[-1]}"
        by_sample = any(o.by_sample for o in self.outputs)
        end = f" and return the {self.what}." if self.value else " and return their number." if by_sample else "."
        return first + end

    @property
    def dtype(self) -> str:
        """The floating-point type that is computed in."""
        kinds = [a.leaf.type.dtype for a in (*self.params, *self.inputs)] + [n.type.dtype for n in self.roots]
        return next((k for k in kinds if k.startswith("float")), "float64")


def entries(shape: Shape) -> Dim:
    """The number of entries of a shape."""
    return dim_product(*shape) if any(type(d) is str for d in shape) else size_of(shape)


def plus(a: Dim, b: Dim) -> Dim:
    """The sum of two lengths."""
    return a + b if type(a) is int is type(b) else dim_sum(a, b)


def size_of(shape: Shape) -> int:
    """The number of entries of a shape without named dimensions."""
    return math.prod(int(d) for d in shape)
