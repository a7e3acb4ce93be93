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

Meeting = Literal["added", "largest", "values"]  # how what was gathered of some samples meets that of others


@dataclass(frozen=True, slots=True)
class Pass:
    """A function that runs over a range of samples: the vectors that it fills, the range's two bounds, and the rest.

    vectors: how each of these meets that of other samples; "values" are of each sample its own. Without any the pass
    writes rows of arrays.  inner: the function that it runs for each group of samples, if that is another.
    """

    name: str
    vectors: tuple[Meeting, ...] = ()
    inner: str = ""

    @property
    def gathers(self) -> bool:
        """Whether it adds samples up, or finds the largest."""
        return bool(self.vectors) and "values" not in self.vectors


@dataclass(frozen=True, slots=True)
class Plan:
    """How a kernel may be run.

    passes: over the samples, in their order.  block: samples whose arrays are at hand at a time, 0 without arrays.
    group: samples of the smallest group that sums are taken of, of which those without arrays have just so many; the
    groups meet in a tree (`library.sums`).  multiplies: whether BLAS or LAPACK is called.  outputs: how many vectors
    are filled, which stand between theta and the inputs.  counted: lengths that BLAS counts in 32 bits.  lines:
    statements of a kernel without loops, None of others.
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
