"""From a loss to one compiled function: read, stabilise, differentiate, simplify, lower, print, compile."""

from collections.abc import Mapping, Sequence
from inspect import isroutine
from typing import TYPE_CHECKING, Any, Unpack

from sympy import MatrixBase, Symbol

from gradcompile.compiled import CompiledValue
from gradcompile.diff.operators import Layout
from gradcompile.errors import ArgumentError, ArgumentTypeError, ExpressionError
from gradcompile.frontend.arrays.core import Array, is_complex
from gradcompile.frontend.sympy.convert import read_all
from gradcompile.gradient import CompiledGrad
from gradcompile.once import compiling
from gradcompile.pipeline import Options
from gradcompile.signature.arguments import Problem
from gradcompile.signature.choices import Dtype, LossOptions, Reduce, ValueOptions
from gradcompile.signature.forms import Form, unpacked
from gradcompile.signature.names import Text
from gradcompile.tracebacks import entries

if TYPE_CHECKING:  # what not every loss needs is loaded when it is asked for
    from gradcompile.derivatives import CompiledHessian, CompiledHvp, CompiledJacobian, CompiledJvp, CompiledValues
    from gradcompile.many import CompiledMany


def compile_grad(
    loss: Any,
    params: Any,
    *,
    inputs: Any = None,
    data: Any = (),
    reduce: Reduce = "mean",
    dtype: Dtype = "float64",
    threads: int | None = None,
    cache: bool = True,
    stabilize: bool = True,
    reroll: bool = True,
    name: str | None = None,
    allow_unused: bool = False,
) -> CompiledGrad:
    """Compile a loss to one function that returns it with its gradient: f(*params, *inputs) -> (L, dL/dparams).

    loss: a real scalar SymPy expression, its text, or a scalar made of symbolic arrays (see `array`). params: a
    symbol, or a sequence or mapping of symbols and of arrays of symbols; one that is not in a sequence gives a bare
    gradient. data: symbols that arrive as columns, one entry a sample; the loss is then that of one sample and its
    `reduce` ("mean" or "sum") is compiled. inputs: the order of everything else; of two or more symbols that neither
    data nor inputs puts in order, each is given by name. dtype: "float64" or "float32". A loss of arrays takes dtype
    and samples from these; a dimension that has a name gets its length at the call, from the inputs.
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
    problem, options = loss_of(loss, params, inputs=inputs, data=data, reduce=reduce, dtype=dtype, threads=threads,
                               cache=cache, stabilize=stabilize, reroll=reroll, name=name,
                               allow_unused=allow_unused)  # fmt: skip
    return CompiledGrad(problem, options)


def compile_value(
    expr: Any,
    params: Any = (),
    *,
    inputs: Any = None,
    data: Any = (),
    reduce: Reduce | None = None,
    dtype: Dtype = "float64",
    threads: int | None = None,
    cache: bool = True,
    stabilize: bool = True,
    reroll: bool = True,
    name: str | None = None,
    allow_unused: bool = False,
) -> "CompiledValue | CompiledValues":
    """Compile a value without gradients: a prediction is one number a sample (reduce=None), else its mean or sum.

    Arguments and errors are those of `compile_grad`. A value of symbolic arrays has any shape and dtype. Of a list,
    tuple, Matrix or mapping of expressions, nested once, all values are computed together and come back in that form.

    >>> import sympy as sp
    >>> a, b, x = sp.symbols("a b x")
    >>> predict = compile_value(a*x + b, [a, b], data=[x])
    >>> predict(2.0, 1.0, [0.0, 1.0, 2.0])
    array([1., 3., 5.])
    """
    check_options(reduce or "mean", dtype, threads)
    is_number = isinstance(expr, MatrixBase) and expr.shape == (1, 1)  # its entry, as in a loss
    form, given = (None, [expr]) if is_number else unpacked(expr)
    problem = problem_of(given, params, False, data, reduce, dtype, inputs=inputs, allow_unused=allow_unused)
    options = Options(name or "", stabilize, cache, reroll, threads)
    if form is None:
        return CompiledValue(problem, options)
    from gradcompile.derivatives import CompiledValues

    return CompiledValues(problem, options, form)


def compile_hessian(
    loss: Any,
    params: Any,
    *,
    sparse: Any = False,
    diagonal: bool = False,
    gauss_newton: bool = False,
    **options: Unpack[LossOptions],
) -> "CompiledHessian":
    """Compile a loss to one function that returns it with gradient and Hessian: h(*params, *inputs) -> (L, dL, d2L).

    Arguments, options and errors are those of `compile_grad`. The Hessian is laid out over theta as `h.pack` orders it,
    of shape (h.size, h.size); of one bare number it is a number. All comes from one pass over the data.

    sparse: the Hessian is a csc_array of SciPy with both triangles, of the entries that the formulas tell to be other
    than 0; its index arrays are the same objects at each call, and those of `h.sparsity`. Loops over terms stay loops.
    A sparse matrix or an array in place of True is the pattern to use, which must hold all these entries.
    diagonal: only the diagonal is computed, a vector. gauss_newton: J'H J, with the Jacobian J of the
    outputs that the loss is a convex function of and its curvature H in them: 2w J'J of squares w r**2, 2 rho' J'J of
    robust losses rho(r**2), the likelihood's curvature in what an exponential family or a softmax is given; J is never
    stored. ExpressionError for a loss that is none of these. It may be sparse, or its diagonal alone.

    >>> import sympy as sp
    >>> a, b = sp.symbols("a b")
    >>> h = compile_hessian((1 - a)**2 + 100*(b - a**2)**2, [a, b])
    >>> h(1.0, 1.0)
    (0.0, Grads(a=-0.0, b=0.0), array([[ 802., -400.],
           [-400.,  200.]]))
    """
    pattern = None if isinstance(sparse, bool) else sparse
    if sparse is not False and diagonal:
        raise ArgumentError("sparse and diagonal: choose one form of the Hessian")
    layout: Layout = "diagonal" if diagonal else "dense" if sparse is False else "sparse"
    from gradcompile.derivatives import CompiledHessian

    return CompiledHessian(*loss_of(loss, params, **options), layout, pattern, gauss_newton)


def compile_hvp(loss: Any, params: Any, **options: Unpack[LossOptions]) -> "CompiledHvp":
    """Compile a loss with gradient and Hessian times a vector: p(*params, *inputs, vector=v) -> (L, dL, d2L v).

    Arguments, options and errors are those of `compile_grad`. The vector is laid out as `p.pack` lays out the
    parameters, or has their form. The Hessian itself is never built: a call takes about twice as long as a gradient.

    >>> import sympy as sp
    >>> a, b = sp.symbols("a b")
    >>> p = compile_hvp((1 - a)**2 + 100*(b - a**2)**2, [a, b])
    >>> p(1.0, 1.0, vector=[1.0, 2.0])
    (0.0, Grads(a=-0.0, b=0.0), array([2., 0.]))
    """
    problem, rest = loss_of(loss, params, **options)
    from gradcompile.derivatives import CompiledHvp, with_vector

    return CompiledHvp(with_vector(problem, CompiledHvp.along), rest)


def compile_jacobian(
    residuals: Any, params: Any, *, sparse: Any = False, **options: Unpack[ValueOptions]
) -> "CompiledJacobian":
    """Compile values with their derivatives by the parameters: j(*params, *inputs) -> (r, J).

    residuals: a value a sample (with `data`), an array, or a list, tuple, Matrix or mapping of expressions, nested
    once; r and J come back in that form. The last axis of J is laid out as `j.pack` orders theta; with one bare number
    as parameter it has no such axis. Other arguments and errors are those of `compile_value`, but for `reduce`.
    sparse: J is one csr_array of SciPy, with a row for each entry of the values in their order, of the entries that the
    formulas tell to be other than 0; its index arrays are the same objects at each call, and those of `j.sparsity`. A
    sparse matrix or an array in place of True is the pattern to use, which must hold all these entries.

    >>> import sympy as sp
    >>> a, b, x, y = sp.symbols("a b x y")
    >>> j = compile_jacobian(a*x + b - y, [a, b], data=[x, y])
    >>> r, J = j(2.0, 1.0, [0.0, 1.0], [1.0, 1.0])
    >>> r, J
    (array([0., 2.]), array([[0., 1.],
           [1., 1.]]))
    """
    problem, form, rest = values_of(residuals, params, **options)
    pattern = None if isinstance(sparse, bool) else sparse
    from gradcompile.derivatives import CompiledJacobian

    return CompiledJacobian(problem, rest, form, "dense" if sparse is False else "sparse", pattern)


def compile_many(losses: Sequence[Any], params: Any, **options: Unpack[LossOptions]) -> "CompiledMany":
    """Compile many losses of the same parameters and inputs to one function: m(*params, *inputs) -> (losses, grads).

    losses: a sequence of k losses as `compile_grad` takes them. The first result is (k,), the second (k, size), each
    row laid out as f.pack lays out the parameters; a parameter that a loss lacks has the gradient 0. What several
    losses have in common is computed once. `m[i]` is loss i as `compile_grad` gives it, with the arguments of all.

    The options are those of `compile_grad`.

    >>> import numpy as np, sympy as sp
    >>> from gradcompile import compile_many
    >>> a, b, x, y = sp.symbols("a b x y")
    >>> m = compile_many([(a*x - y)**2, (a*x + b - y)**2], [a, b], data=[x, y])
    >>> m(2.0, 1.0, np.array([1.0, 2.0]), np.array([2.0, 5.0]))
    (array([0.5, 0.5]), array([[-2.,  0.],
           [ 1.,  1.]]))
    """
    from gradcompile.many import CompiledMany

    if not isinstance(losses, list | tuple) or not losses:
        raise ArgumentTypeError("losses is a list of losses, of one at least; for one loss there is compile_grad")
    problem, rest = stated(losses, params, True, **options)
    return CompiledMany(problem, rest, [Text([v]) for v in losses])


def compile_jvp(value: Any, params: Any, **options: Unpack[ValueOptions]) -> "CompiledJvp":
    """Compile values with their derivative along a direction of theta: t(*params, *inputs, tangent=v) -> (value, dv).

    Arguments, options and errors are those of `compile_jacobian`; the tangent is laid out as `t.pack` lays out the
    parameters, or has their form. Forward mode: a call takes about twice as long as the value.

    >>> import sympy as sp
    >>> a, b = sp.symbols("a b")
    >>> t = compile_jvp([a*b, a**2], [a, b])
    >>> t(2.0, 3.0, tangent=[1.0, 0.0])
    ([6.0, 4.0], [3.0, 4.0])
    """
    problem, form, rest = values_of(value, params, **options)
    from gradcompile.derivatives import CompiledJvp, with_vector

    return CompiledJvp(with_vector(problem, CompiledJvp.along), rest, form)


def loss_of(loss: Any, params: Any, **options: Any) -> tuple[Problem, Options]:
    """The problem that a loss states, and what was asked for beside it; the options are those of `compile_grad`."""
    return stated([loss], params, True, **options)


def values_of(values: Any, params: Any, **options: Any) -> tuple[Problem, Form | None, Options]:
    """The problem that values state, their form, and what was asked for beside."""
    if "reduce" in options:
        raise ArgumentError("reduce= is for losses: a Jacobian has a row for each sample; compile_grad of the mean or "
                            "the sum gives its gradient")  # fmt: skip
    form, given = unpacked(values)
    problem, rest = stated(given, params, False, **options)
    wrong = next((p for p in problem.primals if not p.type.dtype.startswith("float")), None)
    if wrong is not None:
        raise ArgumentError(f"a value is of dtype {wrong.type.dtype}, which has no derivative; convert it to a float")
    return problem, form, rest


def stated(
    values: Sequence[Any],
    params: Any,
    is_loss: bool,
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
    **others: Any,
) -> tuple[Problem, Options]:
    """The problem that values state, to be differentiated, and what was asked for beside; reduce: of a loss."""
    if others:
        whose = "compile_grad" if is_loss else "compile_value"
        raise ArgumentTypeError(f"there is no option {next(iter(others))!r}; the options are those of {whose}")
    check_options(reduce, dtype, threads)
    rest = {"inputs": inputs, "allow_unused": allow_unused}
    problem = problem_of(values, params, is_loss, data, reduce if is_loss else None, dtype, **rest)
    check_params(problem)
    return problem, Options(name or "", stabilize, cache, reroll, threads)


def check_params(problem: Problem) -> None:
    """Raise ArgumentError if there is nothing to differentiate by."""
    if not problem.params:
        raise ArgumentError("params is empty; name what to differentiate by, or use compile_value for the value alone")


@compiling()
def problem_of(
    values: Sequence[Any], params: Any, is_loss: bool, data: Any, reduce: str | None, dtype: str, **rest: Any
) -> Problem:
    """The problem that SymPy expressions state, or symbolic arrays, which say themselves what options say elsewhere."""
    arrays = [v for v in values if isinstance(v, Array)]
    if any(isinstance(v, str) for v in values):
        values, params, data, rest["inputs"] = spelled(values, params, data, rest.get("inputs"))
    routine = next((v for v in values if isroutine(v)), None)
    if routine is not None:
        name = routine.__name__
        call = "its value" if name == "<lambda>" else f"{name}(w, x)"
        raise ArgumentTypeError(
            f"{name} is a Python function, not what it computes: call it on symbols of SymPy, or on arrays as "
            f'gradcompile.array("w", 3), and pass {call}'
        )
    if any(map(is_complex, values)):
        raise ExpressionError("what is compiled is real, and this is complex; write np.abs(z)**2, or z.real and z.imag")
    if not arrays:
        return read_all(values, params, data=data, reduce=reduce, dtype=dtype, **rest)
    if len(arrays) < len(values):
        other = next(v for v in values if not isinstance(v, Array))
        raise ArgumentError(f"{arrays[0]!r} is written with arrays and {other!r} is not; write all of them with arrays")
    if data or reduce != ("mean" if is_loss else None):
        what = "data" if data else f"reduce={reduce!r}"
        raise ArgumentError(
            f"{what} is for formulas of one sample; {arrays[0]!r} is written with arrays, whose shapes have the "
            "samples: take gradcompile.mean or np.sum of it"
        )
    from gradcompile.frontend.arrays.problem import read_arrays

    problem = read_arrays(arrays, params, is_loss=is_loss, **rest)
    if dtype not in (problem.dtype, "float64"):  # float64 is what is asked for by default
        raise ArgumentError(f"dtype={dtype!r}: the arrays are {problem.dtype}; say array(..., dtype={dtype!r})")
    return problem


def spelled(values: Sequence[Any], params: Any, data: Any, inputs: Any) -> tuple[list[Any], Any, Any, Any]:
    """Formulas that are text as expressions, and names of symbols as symbols."""
    from gradcompile.frontend.text import parse

    def symbols(given: Any) -> Any:
        if isinstance(given, str):
            return Symbol(given)
        if isinstance(given, Mapping):
            return {key: symbols(entry) for key, entry in given.items()}
        return type(given)(map(symbols, given)) if isinstance(given, list | tuple) else given

    expressions = [parse(v) if isinstance(v, str) else v for v in values]
    return expressions, symbols(params), symbols(data), symbols(inputs)


def check_options(reduce: str, dtype: str, threads: int | None) -> None:
    """Raise ArgumentError for an option that has no such value."""
    if reduce not in ("mean", "sum"):
        raise ArgumentError(f"reduce={reduce!r}: choose 'mean' or 'sum'")
    if dtype not in ("float64", "float32"):
        raise ArgumentError(f"dtype={dtype!r}: choose 'float64' or 'float32'")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise ArgumentError(f"threads={threads!r}: give a whole number from 1, or None for as many as pay")


entries(globals())
