"""The records of the suite: what a workload is, what a peer is given, what it hands back, and what is aimed at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

OURS = "gradcompile"

# A formula is written once for all peers: formula(m, p, x), where m has the functions (exp, sin, ..., and sum), p is a
# sequence of parameters and x one of columns. It gives the loss, or that of one sample if there are columns.
Formula = Callable[[Any, Any, Any], Any]


class Case(NamedTuple):
    """What every peer is given: the formula, the parameters to start from, and the columns (none: a plain loss)."""

    formula: Formula
    theta: np.ndarray
    columns: Sequence[np.ndarray] = ()


def identity(value: Any) -> Any:
    """The default of `Runner.prepare`: the peer takes a NumPy vector as it is."""
    return value


class Runner(NamedTuple):
    """A compiled peer: call(prepare(theta)) is what the clock sees, without the prepare.

    `read` gives (loss, gradient) of what a call returned; None: nothing to compare. A call is so many `evaluations`.
    `floor` is a time that an evaluation is said to take at least (see `peers.roofline`). `facts` for the report are
    asked for after the first call.
    """

    call: Callable[[Any], Any]
    prepare: Callable[[np.ndarray], Any] = identity
    read: Callable[[Any], tuple[float, np.ndarray]] | None = identity
    evaluations: int = 1
    floor: float = 0.0
    facts: Callable[[], Mapping[str, float]] = dict


# An adapter imports its package and writes the expression; the function that it returns compiles. Only that is timed.
Adapter = Callable[[Case], Callable[[], Runner]]


class Reach(NamedTuple):
    """What is aimed at: a figure ("run", "first" in seconds, "memory" in bytes) of a peer, divided by ours, is at least
    `bound`; or, without a peer, our figure is at most `bound`.
    """

    figure: str
    bound: float
    against: str = ""


def faster(peer: str, ratio: float) -> Reach:
    """The peer's time for an evaluation is at least so many of ours; under 1: within 1/ratio of the peer."""
    return Reach("run", ratio, peer)


def sooner(peer: str, ratio: float) -> Reach:
    """The peer's time to the first result is at least so many of ours."""
    return Reach("first", ratio, peer)


def first_within(seconds: float) -> Reach:
    """From the expression to the first result, in seconds."""
    return Reach("first", seconds)


@dataclass(frozen=True)
class Workload:
    """One thing to compute, by whom, and how fast. `make` draws parameters and columns from a seeded generator."""

    name: str
    title: str
    formula: Formula
    make: Callable[[np.random.Generator, int], tuple[np.ndarray, Sequence[np.ndarray]]]
    size: int
    quick: int
    peers: Mapping[str, Adapter]
    reaches: Sequence[Reach] = ()
    tolerance: float = 1e-9
    limit: float = 120.0
    seed: int = 7

    def case(self, quick: bool = False) -> Case:
        """The same case in every process."""
        theta, columns = self.make(np.random.default_rng(self.seed), self.quick if quick else self.size)
        return Case(self.formula, np.asarray(theta, dtype=float), columns)


Arrange = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


def recast(adapter: Adapter, formula: Formula, arrange: Arrange) -> Adapter:
    """The same peer on the form of the formula that suits it better: matrices in place of columns."""
    return lambda case: adapter(case._replace(formula=formula, columns=arrange(case.columns)))


class ArrayCase(NamedTuple):
    """What every peer is given of a loss over arrays.

    The formula is written once, in NumPy's words: formula(np, nn, p, x), where np is the peer's module of that kind,
    nn has the functions of networks and `scan`, and p and x hold parameters and inputs by name. `theta` has the
    parameters one after the other, in these `shapes`. `batched` says along which axis an input has no length that is
    known before the call. `products` are the matrix products (rows, inner, columns) of loss and gradient, if they are
    few.
    """

    formula: Callable[[Any, Any, Any, Any], Any]
    theta: np.ndarray
    shapes: Mapping[str, tuple[int, ...]]
    inputs: Mapping[str, np.ndarray]
    batched: Mapping[str, int] = {}
    products: Sequence[tuple[int, int, int]] = ()

    def parameters(self, theta: np.ndarray) -> SimpleNamespace:
        """The arrays that a vector holds, by name, as views."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])
        parts = np.split(theta, ends[:-1])
        return SimpleNamespace(**{n: v.reshape(s) for (n, s), v in zip(self.shapes.items(), parts, strict=True)})


Arrays = Mapping[str, np.ndarray]
Product = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class ArrayWorkload(Workload):
    """A loss over arrays: `make` draws parameters and inputs, both by name; see `ArrayCase`."""

    formula: Callable[[Any, Any, Any, Any], Any]
    make: Callable[[np.random.Generator, int], tuple[Arrays, Arrays]]
    peers: Mapping[str, Callable[[ArrayCase], Callable[[], Runner]]]
    batched: Mapping[str, int] = field(default_factory=dict)
    products: Callable[[int], Sequence[Product]] = lambda size: ()
    dtype: str = "float64"
    tolerance: float = 1e-10

    def case(self, quick: bool = False) -> ArrayCase:
        """The same case in every process."""
        size = self.quick if quick else self.size
        parameters, inputs = self.make(np.random.default_rng(self.seed), size)
        theta = np.concatenate([np.ravel(v) for v in parameters.values()]).astype(self.dtype)
        shapes = {name: np.shape(v) for name, v in parameters.items()}
        converted = {name: v if v.dtype == np.int64 else v.astype(self.dtype) for name, v in inputs.items()}
        return ArrayCase(self.formula, theta, shapes, converted, self.batched, self.products(size))
