"""Which machine code a call runs: the kernel for contiguous or for strided columns, alone or shared among threads."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradcompile.analysis.cost import Growth
from gradcompile.codegen import array_kind
from gradcompile.codegen import functions as jit
from gradcompile.codegen.values import Kind
from gradcompile.loops.kernel import Plan
from gradcompile.once import once
from gradcompile.runtime.blocks import Blocks
from gradcompile.runtime.helpers import Helped
from gradcompile.runtime.switch import switch
from gradcompile.signature.arguments import Argument

if TYPE_CHECKING:  # what few calls need
    from gradcompile.runtime.share import Work

Run = Callable[..., float]
SHORT = 250  # statements of a kernel up to which compiling it a second time is not felt
WHOLE = frozenset({"bool", "int64"})  # dtypes of inputs that arrive as int64


class Route:
    """The ways through a kernel for these inputs: run(theta, *outputs, *inputs) -> loss, which checks nothing.

    made: gives the kernel, for the kinds of arguments it is called with. cost: gives operations and bytes of a sample.
    growth: gives the time of a call, by the dimensions it grows with. threads: the most to use, None for as many as
    pay. check: raises for converted inputs that the kernel can't be called with. pieces: gives the way for columns that
    are converted block by block.
    """

    def __init__(
        self,
        made: Callable[[Sequence[Kind]], Any],
        plan: Plan,
        inputs: Sequence[Argument],
        dtype: str,
        cost: Callable[[], tuple[int, int]],
        growth: Callable[[], Growth],
        threads: int | None,
        check: Callable[[Sequence[Any]], None],
        pieces: Callable[[], Run],
    ) -> None:
        self.made, self.plan, self.inputs, self.dtype, self.check = made, plan, inputs, dtype, check
        self.cost, self.growth, self.threads, self.pieces = cost, growth, threads, pieces
        self.columns = [k for k, a in enumerate(inputs) if a.is_column]
        self.multiplies = plan.multiplies
        self.loops: dict[Any, Run | None] = {}  # with a step, by the step and the kinds of its state
        self.unshared = 0.0  # nanoseconds of a call up to which no product was large enough to be shared

    @once
    def kernel(self) -> Any:
        """The compiled function."""
        return self.made(self.kinds())

    @once
    def work(self) -> "Work":
        """What a call takes, and how it is shared."""
        from gradcompile.runtime.share import Work

        if self.columns:
            return Work.of_columns(self.plan, self.cost(), self.inputs, self.dtype, self.threads)
        return Work.estimated(self.plan, self.growth(), self.inputs, self.dtype, self.threads)

    def is_shared(self, inputs: Sequence[Any]) -> bool:
        """Whether a call with these inputs is worth sharing; few samples are not, whatever one costs."""
        if not self.plan.passes or self.threads == 1:
            return False
        if self.columns and len(inputs[self.columns[0]]) < 2 * self.plan.group:
            return False
        return self.work.pays(inputs)

    @property
    def is_short(self) -> bool:
        """Whether the kernel is machine code that is cheap to compile once more, into a function around it."""
        return self.is_compiled and self.plan.lines is not None and self.plan.lines <= SHORT

    @property
    def is_compiled(self) -> bool:
        """Whether there is machine code, rather than plain Python."""
        return jit.is_code(self.kernel)

    @once
    def serial(self) -> Run:
        """The kernel for contiguous columns."""
        return self.entry("C")

    @once
    def strided(self) -> Run:
        """The kernel for columns of any strides."""
        return self.entry("A")

    @once
    def shared(self) -> Run:
        """The kernel that shares its passes with other threads."""
        return self.spread("C")

    @once
    def shared_strided(self) -> Run:
        """The kernel that does so for columns of any strides."""
        return self.spread("A")

    def choose(self, inputs: Sequence[Any]) -> Run:
        """The way for these inputs, by their size and layout."""
        is_shared = self.is_shared(inputs)
        if not self.columns:
            return self.shared if is_shared else self.helped(self.serial, inputs)
        for k in self.columns:
            if not inputs[k].flags.c_contiguous:
                if any(isinstance(inputs[k], Blocks) for k in self.columns):
                    return self.in_pieces
                return self.shared_strided if is_shared else self.strided
        return self.shared if is_shared else self.serial

    @once
    def in_pieces(self) -> Run:
        """The kernel for columns that are converted block by block; whole where it is more than sums over samples."""
        if all(p.gathers for p in self.plan.passes):
            return self.pieces()

        def run(theta: np.ndarray, *rest: Any) -> float:
            given = [np.asarray(x) if isinstance(x, Blocks) else x for x in rest]
            return self.choose(given[self.plan.outputs :])(theta, *given)

        return run

    def is_serial(self, inputs: Sequence[Any]) -> bool:
        """Whether a call with these inputs is the kernel's own, for contiguous columns, and not shared."""
        return not self.is_shared(inputs) and all(inputs[k].flags.c_contiguous for k in self.columns)

    def entry(self, layout: str) -> Run:
        """The compiled kernel; as plain Python where there is no JIT."""
        if not self.is_compiled:
            return plain(self.kernel)
        return self.alone(jit.entry(self.kernel, self.kinds(layout), quick=True))

    def stepping(self, step: Any, state: Sequence[Kind], inputs: Sequence[Any] | None = None) -> Run | None:
        """The serial kernel in one loop with a step, see `codegen.functions.stepping`; None where there is none.

        inputs: of one turn, for a kernel that multiplies matrices, whose large products are shared among threads.
        """
        if not self.is_compiled or (self.multiplies and inputs is None and switch()):
            return None
        key = step, tuple(state)
        if key not in self.loops:
            found = jit.stepping(self.kernel, self.kinds(), self.plan.outputs, step, state)
            self.loops[key] = None if found is None else self.alone(found)
        run = self.loops[key]
        return run if run is None or inputs is None else self.helped(run, inputs, trains=True)

    def spread(self, layout: str) -> Run:
        """The kernel's text with its passes over the samples shared."""
        from gradcompile.runtime.share import plain_text, spread

        names = plain_text(self.kernel).__code__.co_varnames[1 + self.plan.outputs :]
        kinds = self.kinds(layout)[1 + self.plan.outputs :]
        return self.alone(plain(spread(self.kernel, dict(zip(names, kinds, strict=False)), self.work)))

    def helped(self, run: Run, inputs: Sequence[Any], trains: bool = False) -> Run:
        """The function with helpers for its large products, if a call with these inputs may have some.

        trains: it steps from call to call by itself.
        """
        if not self.multiplies or switch() is None or not self.is_compiled:
            return run
        time = self.work.nanoseconds(inputs)
        helpers = self.work.helpers(time, trains)
        if not helpers or time <= self.unshared:
            return run

        def found() -> None:
            self.unshared = max(self.unshared, 2 * time)

        return Helped(run, helpers, found)

    def alone(self, run: Run) -> Run:
        """The function with BLAS on one thread, if it calls BLAS."""
        found = switch() if self.multiplies else None
        return found.alone(run) if found else run

    def kinds(self, layout: str = "C") -> list[Kind]:
        """The kinds of theta, the outputs and the inputs; the layout is that of the columns."""
        found = [array_kind(self.dtype, 1)] * (1 + self.plan.outputs)
        for a in self.inputs:
            shape, dtype = a.leaf.type
            found.append(array_kind(dtype, len(shape), layout == "C" or not a.is_column))
        return found


def plain(kernel: Callable[..., Any]) -> Run:
    """A kernel that runs as Python, with NumPy's numbers: they divide by zero as machine code does, Python's raise."""

    def run(theta: np.ndarray, *rest: Any) -> float:
        scalar = theta.dtype.type
        with np.errstate(all="ignore"):
            found = kernel(theta, *(scalar(v) if type(v) is float else v for v in rest))
            return float(theta.dtype.type(found))  # a number that stands in the text has more digits than float32

    return run
