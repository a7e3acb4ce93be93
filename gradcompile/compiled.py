"""Compiled functions: what all of them say of themselves, and those of a value alone."""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from html import escape
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradcompile.analysis.cost import Cost, Growth
from gradcompile.codegen import functions as jit
from gradcompile.codegen.values import Kind, argument_type
from gradcompile.coloured import Source
from gradcompile.diff import operators
from gradcompile.diff.operators import Operator
from gradcompile.errors import ArgumentError, ArgumentTypeError, GradcompileError, SubsetError, printable
from gradcompile.ir.core import Node
from gradcompile.loops.kernel import Kernel
from gradcompile.loops.tape import tape_of
from gradcompile.lower.dims import Names, in_dim, renamed
from gradcompile.once import once
from gradcompile.passes.stabilize import Rewrite
from gradcompile.pipeline import Derivation, Graphs, Options, derive, formula_of, kernel_of, may_be_taped
from gradcompile.runtime import bind
from gradcompile.runtime.checks import Count, Demands, demands_of
from gradcompile.runtime.matching import Call
from gradcompile.runtime.route import Route, Run
from gradcompile.signature.arguments import Argument, Problem
from gradcompile.signature.program import size_of
from gradcompile.signature.sparse import outer
from gradcompile.tracebacks import shorten, with_entries

if TYPE_CHECKING:  # what few ask for
    from gradcompile.export.cfunction import CFunction
    from gradcompile.export.native import Exported


@with_entries
class Compiled:
    """What a compiled value and a compiled gradient share: problem, source, kernel, arguments."""

    what = "value"
    operator: Operator = staticmethod(operators.value)

    def __init__(self, problem: Problem, options: Options) -> None:
        self.problem = problem
        self.options = options

    @once
    def _coded(self) -> tuple[Problem, Names]:
        """The problem with dimensions as generated code calls them, and what the user calls those that are renamed."""
        return renamed(self.problem) if self.problem.arrays else (self.problem, {})

    @once
    def _derivation(self) -> Derivation:
        return derive(self._coded[0], self.options, self.operator)

    @once
    def _as_written(self) -> Derivation:
        """All that follows from the problem without loops over similar terms: for formulas, not for the kernel."""
        if not self.options.reroll or self.problem.arrays:
            return self._derivation
        return derive(self.problem, replace(self.options, reroll=False), self.operator)

    @once
    def _lowered(self) -> Kernel:
        return kernel_of(self._coded[0], self._derivation, self.what)

    @property
    def source(self) -> str:
        """The complete generated module as text: the code that runs. A notebook shows it in colours."""
        return Source(self._lowered.text)

    @once
    def _module(self) -> Any:
        return jit.load(self.source, stem(self.options.name), self.options.cache, self._lowered.module.functions)

    @once
    def kernel(self) -> Any:
        """The Numba dispatcher `kernel(theta, grad, *inputs)`: callable from any @njit code, serial, without the GIL.

        Types, lengths and whether `grad` stands apart are checked, by the kernel's signature in `source`; an index
        outside its axis gives NaN. Numba does not tell arrays of the other byte order from misaligned ones, of which
        it may have met one: convert them before, np.asarray(x, float).

        In a function with cache=True pass it as an argument of the type `f.kernel_type`: Numba does not notice that a
        global callee has changed.
        """
        return getattr(self._route.kernel, "dispatcher", self._route.kernel)

    @once
    def _bare(self) -> Kernel:
        """The kernel for machines alone, if it may have a tape: what is said to people comes when it is wanted."""
        problem, derivation = self._coded[0], self._derivation
        if not may_be_taped(problem, derivation):
            return self._lowered
        return kernel_of(problem, derivation, self.what, is_read=False)

    @once
    def _route(self) -> Route:
        names, plan = self._coded[1], self._bare.plan
        counts = tuple(Count(in_dim(d, names)) for d in plan.counted)
        checks = self._demands._replace(counts=counts).check

        def growth() -> Growth:
            return {tuple(names.get(d, d) for d in own): t for own, t in self._derivation.growth.items()}

        def cost() -> tuple[int, int]:
            return self.cost.loss_and_gradient, self.cost.bytes_per_sample

        return Route(
            self._kernel_of, plan, self.problem.inputs, self.dtype, cost, growth, self.options.threads, checks,
            self._in_pieces,
        )  # fmt: skip

    def _in_pieces(self) -> Run:
        """The kernel over blocks of its columns."""
        from gradcompile.runtime.pieces import InBlocks

        return InBlocks(self)

    def _kernel_of(self, kinds: Sequence[Kind]) -> Any:
        """The kernel: a tape for these kinds of arguments to begin with, if there is one."""
        tape = None if "_lowered" in vars(self) and self._bare is self._lowered else tape_of(self._bare.module, kinds)
        if tape is not None:
            with suppress(SubsetError):
                return jit.Taped(tape, kinds, lambda: self._module.kernel)
        return self._module.kernel

    @once
    def _demands(self) -> Demands:
        return demands_of(self.problem)

    @property
    def kernel_signature(self) -> Any:
        """The types the kernel is compiled for: theta, grad, and each input."""
        return tuple(map(argument_type, self._route.kinds())) if hasattr(self.kernel, "signatures") else None

    @once
    def dtype(self) -> str:
        """The floating-point type of theta and of what is computed."""
        return self.problem.dtype

    @once
    def size(self) -> int:
        """The number of entries of theta."""
        return sum(size_of(a.leaf.type.shape) for a in self.problem.params)

    @property
    def graph(self) -> Graphs:
        """The graph before and after each pass."""
        return self._derivation.graphs

    @property
    def rewrites(self) -> list[Rewrite]:
        """What `stabilize` changed: rule, before, after."""
        return self._derivation.rewrites

    @property
    def cost(self) -> Cost:
        """Operations of the value, of value + gradient, and the bytes moved per sample."""
        return self._derivation.cost

    @once
    def signature(self) -> Signature:
        """The call's signature, as `inspect.signature` gives it: inputs whose order nobody stated are keyword-only."""
        kinds = {False: Parameter.POSITIONAL_OR_KEYWORD, True: Parameter.KEYWORD_ONLY}
        return Signature([Parameter(a.name, kinds[a.by_name]) for a in outer(self._arguments)])

    @property
    def __signature__(self) -> Signature:
        return self.signature

    def save(self, path: str | Path) -> None:
        """Write the source as a file of its own, which needs NumPy and Numba (SciPy too, if its header says so)."""
        from gradcompile.export import python as standalone

        standalone.save(self.source, path)

    def export(self, path: str | Path, *, name: str | None = None, blas: bool = False) -> None:
        """Write a function for C, and beside it a header that says how it is called.

        path: ends in `.o`, for an object file, or `.c`, for source in C99. name: of the function, if it is not that of
        the file. blas: products of matrices in an object file are calls of the BLAS that the program is linked with;
        else they are made in it, and the last bits may differ from those of a call from Python.
        """
        from gradcompile.export.native import write

        write(self._exported(Path(path).stem if name is None else name), path, blas)

    @once
    def cfunc(self) -> "CFunction":
        """A function for C in this process: `.address`, its `.prototype`, and callables of `.ctypes` and `.cffi`.

        It runs what a call from Python runs, with its bits, on the caller's thread. Keep it while C has the address.
        """
        from gradcompile.export.cfunction import CFunction
        from gradcompile.loops.c import identifier

        return CFunction(self._exported(identifier(stem(self.options.name))), lambda: self.kernel)

    @once
    def kernel_type(self) -> Any:
        """The Numba type of `f.kernel` by its signature, for a function of yours that takes it as an argument.

        With it in an explicit signature, `@njit(float64(f.kernel_type, float64[::1], ...), cache=True)`, Numba finds
        the machine code again in the next process; by the argument alone it does not.
        """
        from numba import types

        taken = self.kernel_signature
        if taken is None:
            raise ArgumentError("there is no machine code that has a type: unset NUMBA_DISABLE_JIT")
        self.kernel.compile(taken)
        return types.FunctionType(self.kernel.overloads[taken].signature)

    def _exported(self, name: str) -> "Exported":
        """What C gets under a name."""
        from gradcompile.export.native import exported

        said = formula_of(self.problem), theta_of(self.problem.params)
        return exported(name, self._lowered, self._module.kernel, self._route.kinds(), self._coded[1], *said)

    def pack(self, *params: Any) -> np.ndarray:
        """The parameters as one vector theta."""
        return bind.pack(self.problem.params, params, self.dtype)

    def unpack(self, theta: Any, mapping: bool = False) -> Any:
        """The parameters from a vector theta, in their shapes: a tuple, or the mapping that params was given as."""
        parts = bind.unpack(self.problem.params, theta, self.dtype)
        form = Call(self.problem.params).form if mapping else None
        if mapping and form is None:
            raise ArgumentError("params was given as no mapping; f.unpack(theta) is a tuple of them")
        return parts if form is None else form.filled(iter(parts))

    @property
    def _numba_type_(self) -> Any:
        raise ArgumentTypeError(
            f"{self!r} is called from Python; in a function that Numba compiles call its f.kernel(theta, grad, "
            "*inputs), best handed in as an argument"
        )

    @property
    def _arguments(self) -> tuple[Argument, ...]:
        return (*self.problem.params, *self.problem.inputs)

    def _leaf_values(self, args: Sequence[Any], named: Mapping[str, Any], head: str = "f(") -> dict[Node, Any]:
        """The value of each leaf, for evaluation without compiled code."""
        values = bind.convert_all(self._arguments, Call(self._arguments, head).match(args, named))
        self._demands.check(values[len(self.problem.params) :])
        return {a.leaf: v for a, v in zip(self._arguments, values, strict=True)}

    def __repr__(self) -> str:
        title = printable(self.options.name) or type(self).__name__
        return f"<{title}{self.signature}: {formula_of(self.problem)}>"

    def _repr_latex_(self) -> str:
        from gradcompile.explain.writing import mathematics

        return f"${mathematics(formula_of(self.problem))}$"

    def _repr_html_(self) -> str:
        """The call beside the formula, for a notebook."""
        call, formula = f"{printable(self.options.name) or 'f'}{self.signature}", self._repr_latex_()
        shown = f"<code>{escape(formula_of(self.problem))}</code>" if "texttt" in formula else formula
        return f"<div><code>{escape(call)}</code> = {shown}</div>"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return type(self), (self.problem, self.options)

    def __copy__(self) -> "Compiled":
        return self

    def __deepcopy__(self, memo: Any) -> "Compiled":
        return self


class CompiledValue(Compiled):
    """A compiled value: f(*params, *inputs) -> a float, or one value a sample."""

    def __init__(self, problem: Problem, options: Options, head: str = "f(") -> None:
        super().__init__(problem, options)
        self._head = head  # how its call begins in messages

    @once
    def _call(self) -> Callable[..., Any]:
        return bind.make_value(self.problem, self._route, self._demands.shape_of, self._head)

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """The value at these arguments."""
        try:
            return self._call(*args, **named)
        except GradcompileError as error:
            shorten(error)
            raise

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return type(self), (self.problem, self.options, self._head)


@lru_cache(maxsize=256)
def grads_type(names: tuple[str, ...]) -> Any:
    """The named tuple of gradients, in the order of the parameters; it can be pickled."""
    found: Any = namedtuple("Grads", names)  # type: ignore[misc]  # the names are known at run time only
    setattr(found, "__reduce__", lambda grads: (grads_of, (names, tuple(grads))))  # noqa: B010  # mypy knows one too much
    return found


def grads_of(names: tuple[str, ...], values: Sequence[Any]) -> Any:
    """Gradients by the names of their parameters."""
    return grads_type(names)(*values)


def theta_of(params: Sequence[Argument]) -> str:
    """What theta holds, in its order."""
    shapes = [f"{a.name}{list(a.leaf.type.shape) or ''}" for a in params]
    return ", ".join(shapes)


def stem(name: str) -> str:
    """A name as part of a file name."""
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in name)[:40]
