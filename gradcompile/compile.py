"""From a loss to one compiled function: read, stabilise, differentiate, simplify, lower, print, compile."""

from typing import Any

from gradcompile.compiled import CompiledGrad, CompiledValue
from gradcompile.errors import ArgumentError
from gradcompile.frontend.arrays.core import Array
from gradcompile.frontend.arrays.problem import read_arrays
from gradcompile.frontend.sympy.convert import read
from gradcompile.once import compiling
from gradcompile.pipeline import Options
from gradcompile.signature.arguments import Problem


def compile_grad(
    loss: Any,
    params: Any,
    *,
    inputs: Any = None,
    data: Any = (),
    reduce: str = "mean",
    dtype: str = "float64",
    threads: int | None = None,
    cache: bool = True,
    stabilize: bool = True,
    reroll: bool = True,
    name: str | None = None,
    allow_unused: bool = False,
) -> CompiledGrad:
    """Compile a loss to one function that returns it with its gradient: f(*params, *inputs) -> (L, dL/dparams).

    loss: a real scalar SymPy expression, or a scalar made of symbolic arrays (see `array`). params: a symbol, or a
    sequence or mapping of symbols and of arrays of symbols; one that is not in a sequence gives a bare gradient. data:
    symbols that arrive as columns, one entry a sample; the loss is then that of one sample and its `reduce` ("mean" or
    "sum") is compiled. inputs: the order of everything else; of two or more symbols that neither data nor inputs puts
    in order, each is given by name. dtype: "float64" or "float32". A loss of arrays takes dtype and samples from these;
    a dimension that has a name gets its length at the call, from the inputs.
    threads: the most that a call may use, as many as pay if left out; the result has the same bits for any number.
    cache: keep the machine code on disk. stabilize: rewrite formulas that lose precision (see `f.rewrites`).
    reroll: compile sums of 32 or more similar terms, as a loop over symbols makes them, as loops. name: of the
    function, for its repr and its file. allow_unused: a parameter that the loss does not contain gets a zero gradient.

    Raises ExpressionError for a loss that can't be compiled, ArgumentError or ArgumentTypeError for arguments that
    don't fit.

    >>> import sympy as sp
    >>> w, x, y = sp.symbols("w x y")
    >>> f = compile_grad((w*x - y)**2, [w])
    >>> f(2.0, x=3.0, y=10.0)
    (16.0, Grads(w=-24.0))

    A name that a call has a meaning for (args, data, out, tangent, to, vector) is given in args, as any name can be:

    >>> out = sp.Symbol("out")
    >>> compile_grad((w*x - out)**2, [w])(2.0, x=3.0, args={"out": 10.0})
    (16.0, Grads(w=-24.0))

    With arrays; X and t are inputs, and n is their length at the call:

    >>> import numpy as np
    >>> from gradcompile import array
    >>> X, v, t = array("X", ("n", 2)), array("v", 2), array("t", "n")
    >>> g = compile_grad(np.mean((X @ v - t)**2), [v], inputs=[X, t])
    >>> g([1.0, 2.0], [[1.0, 0.0], [0.0, 1.0]], [1.0, 0.0])
    (2.0, Grads(v=array([0., 2.])))
    """
    check_options(reduce, dtype, threads)
    rest = {"inputs": inputs, "allow_unused": allow_unused}
    problem = problem_of(loss, params, True, data, reduce, dtype, **rest)
    if not problem.params:
        raise ArgumentError("params is empty; name what to differentiate by, or use compile_value for the value alone")
    return CompiledGrad(problem, Options(name or "", stabilize, cache, reroll, threads))


def compile_value(
    expr: Any,
    params: Any = (),
    *,
    inputs: Any = None,
    data: Any = (),
    reduce: str | None = None,
    dtype: str = "float64",
    threads: int | None = None,
    cache: bool = True,
    stabilize: bool = True,
    reroll: bool = True,
    name: str | None = None,
    allow_unused: bool = False,
) -> CompiledValue:
    """Compile a value without gradients: a prediction is one number a sample (reduce=None), else its mean or sum.

    Arguments and errors are those of `compile_grad`. A value of symbolic arrays has any shape and dtype.

    >>> import sympy as sp
    >>> a, b, x = sp.symbols("a b x")
    >>> predict = compile_value(a*x + b, [a, b], data=[x])
    >>> predict(2.0, 1.0, [0.0, 1.0, 2.0])
    array([1., 3., 5.])
    """
    check_options(reduce or "mean", dtype, threads)
    rest = {"inputs": inputs, "allow_unused": allow_unused}
    problem = problem_of(expr, params, False, data, reduce, dtype, **rest)
    return CompiledValue(problem, Options(name or "", stabilize, cache, reroll, threads))


@compiling()
def problem_of(
    expr: Any, params: Any, is_loss: bool, data: Any, reduce: str | None, dtype: str, **rest: Any
) -> Problem:
    """The problem that a SymPy expression states, or a symbolic array, which says itself what options say elsewhere."""
    if not isinstance(expr, Array):
        return read(expr, params, data=data, reduce=reduce, dtype=dtype, **rest)
    if data or reduce != ("mean" if is_loss else None):
        what = "data" if data else f"reduce={reduce!r}"
        raise ArgumentError(
            f"{what} is for formulas of one sample; {expr!r} is written with arrays, whose shapes have the samples: "
            "take gradcompile.mean or np.sum of it"
        )
    problem = read_arrays(expr, params, is_loss=is_loss, **rest)
    if dtype not in (problem.dtype, "float64"):  # float64 is what is asked for by default
        raise ArgumentError(f"dtype={dtype!r}: the arrays are {problem.dtype}; say array(..., dtype={dtype!r})")
    return problem


def check_options(reduce: str, dtype: str, threads: int | None) -> None:
    """Raise ArgumentError for an option that has no such value."""
    if reduce not in ("mean", "sum"):
        raise ArgumentError(f"reduce={reduce!r}: choose 'mean' or 'sum'")
    if dtype not in ("float64", "float32"):
        raise ArgumentError(f"dtype={dtype!r}: choose 'float64' or 'float32'")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise ArgumentError(f"threads={threads!r}: give a whole number from 1, or None for as many as pay")
