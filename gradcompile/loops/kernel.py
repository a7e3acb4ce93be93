"""A kernel as it is handed over: its module, which is printed when somebody wants its text, and the plan that those who
run it go by.

Nobody looks into the text, or at the names of functions, arguments and globals, to learn what the plan says.
"""

from dataclasses import dataclass
from typing import Literal

from gradcompile.ir.types import Dim
from gradcompile.loops.ir import Module
from gradcompile.loops.python import print_module
from gradcompile.once import once

Kind = Literal["tree", "values", "groups", "rows"]
Meeting = Literal["added", "largest", "values"]  # how what was gathered of some samples meets that of others


@dataclass(frozen=True, slots=True)
class Pass:
    """A function that runs over a range of samples, whose bounds are two arguments.

    kind: "tree" adds the samples to a tree of sums, the first argument; "values" writes values of each sample to the
    first arguments; "groups" adds them to vectors, the first arguments, group by group through the function `inner`;
    "rows" writes rows of arrays.
    vectors: how each of those first arguments meets that of another group; "values" are of each sample its own.
    """

    name: str
    kind: Kind
    inner: str = ""
    vectors: tuple[Meeting, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """How a kernel may be run.

    passes: over the samples, in their order.  block: samples whose arrays are at hand at a time, 0 without arrays.
    group: samples of the smallest group that sums are taken of, 0 without.  multiplies: whether BLAS or LAPACK is
    called.  outputs: how many vectors are filled, which stand between theta and the inputs.  counted: lengths that BLAS
    counts in 32 bits.  lines: statements of a kernel without loops, None of others.
    """

    passes: tuple[Pass, ...] = ()
    block: int = 0
    group: int = 0
    multiplies: bool = False
    outputs: int = 1
    counted: tuple[Dim, ...] = ()
    lines: int | None = None


class Kernel:
    """A module whose function `kernel` computes a program, and its plan."""

    def __init__(self, module: Module, plan: Plan) -> None:
        self.module, self.plan = module, plan

    @once
    def text(self) -> str:
        """The source of the module."""
        return print_module(self.module)
