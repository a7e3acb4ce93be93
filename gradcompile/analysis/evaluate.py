"""The reference evaluator of graphs, plain and slow: NumPy for doubles, mpmath for many digits."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from gradcompile.errors import ArgumentError
from gradcompile.ir.core import Node, is_leaf
from gradcompile.ir.graph import topological
from gradcompile.ir.types import ArrayType, Dim, dim_value, dims_solved
from gradcompile.ops.shape import Span

Env = Mapping[Node, npt.ArrayLike]
Dims = dict[str, int]


def evaluate(roots: Sequence[Node], env: Env) -> list[Any]:
    """The values of the roots for the values of the leaves, each with the shape and dtype of its node.

    Raises ArgumentError when a leaf has no value, or one that does not fit its type.

    >>> from gradcompile.ir.core import apply, leaf
    >>> x = leaf("x", ArrayType(("n",)))
    >>> evaluate([apply("sum", apply("mul", x, x), params=((0,),))], {x: [3.0, 4.0]})
    [np.float64(25.0)]
    """
    values = evaluate_all(roots, env)
    return [values[r] for r in roots]


def evaluate_all(roots: Sequence[Node], env: Env) -> dict[Node, Any]:
    """The value of every node below the roots.

    >>> from gradcompile.ir.core import apply, leaf
    >>> x = leaf("x")
    >>> [float(v) for v in evaluate_all([apply("exp", apply("neg", x))], {x: 0.0}).values()]
    [0.0, -0.0, 1.0]
    """
    dims: Dims = {}
    bind(env, dims)
    return np_values(roots, env, dims)


def np_values(roots: Sequence[Node], env: Env, dims: Dims) -> dict[Node, Any]:
    """The value of every node, by NumPy, where the named dimensions are known."""
    values: dict[Node, Any] = {}
    with np.errstate(all="ignore"):
        for n in topological(roots):
            values[n] = env_value(n, env, n.type.dtype) if is_leaf(n) else np_value(n, values, dims)
    return values


def bind(env: Env, dims: Dims) -> None:
    """Give the named dimensions their lengths, and check that every leaf's value fits."""
    for n, value in env.items():
        if np.ndim(value) != len(n.type.shape):
            raise ArgumentError(f"the leaf {leaf_name(n)!r} has type {n.type}, its value has shape {np.shape(value)}")
    dims |= dims_solved([axis for n, v in env.items() for axis in zip(n.type.shape, np.shape(v), strict=True)])
    for n, value in env.items():
        for dim, found in zip(n.type.shape, np.shape(value), strict=True):
            if dim_length(dim, dims, n.type) != found:
                expected = f"{dim} is {dim_length(dim, dims, n.type)} here, not {found}"
                raise ArgumentError(f"the leaf {leaf_name(n)!r} has type {n.type}: {expected}")


def leaf_name(n: Node) -> str:
    """The name of a leaf."""
    name: str = n.params[0]
    return name


def env_value(n: Node, env: Env, dtype: str | type[object]) -> Any:
    """The value of a leaf in a dtype."""
    if n not in env:
        raise ArgumentError(f"the leaf {leaf_name(n)!r} of type {n.type} has no value")
    return np.asarray(env[n], dtype)[()]


def np_value(n: Node, values: Mapping[Node, Any], dims: Dims) -> Any:
    """The value of a node from those of its arguments."""
    result = n.op.value(*(values[a] for a in n.args), *bound(n, dims))
    return np.asarray(result, n.type.dtype)[()]


def bound(n: Node, dims: Dims) -> tuple[Any, ...]:
    """The params, with lengths for named dimensions where they hold a shape; a loop gets them to go by."""
    if n.op.is_loop:
        return *n.params, dims
    if not n.op.has_dims:
        return n.params
    return tuple(param_lengths(p, dims, n.type) for p in n.params)


def param_lengths(param: Any, dims: Dims, type: ArrayType) -> Any:
    """A param, which is a dimension or nested tuples of them, with lengths for names."""
    if isinstance(param, Span):
        return Span(dim_length(param.start, dims, type), dim_length(param.count, dims, type), param.step)
    if isinstance(param, tuple):
        return tuple(param_lengths(p, dims, type) for p in param)
    return dim_length(param, dims, type) if isinstance(param, str) else param


def dim_length(dim: Dim, dims: Dims, type: ArrayType) -> int:
    """The length of a dimension."""
    try:
        found = dim_value(dim, dims)
    except KeyError as error:
        name = error.args[0]
        raise ArgumentError(f"no value given has the dimension {name!r}, which a node of type {type} needs") from None
    if found < 0 and type.shape.count(dim):
        raise ArgumentError(f"a node of type {type} can't be: {dim} is {found} here, a length is 0 or more")
    return found


def exact(roots: Sequence[Node], env: Env, digits: int = 50) -> list[Any]:
    """The values of the roots to many digits: numbers of mpmath, or object arrays of them.

    The values of the leaves may themselves be numbers of mpmath. Branches follow the high-precision comparisons. Off
    the real domain the value is NaN, at a pole an infinity. An elementwise op without a high-precision form is
    evaluated in doubles. Raises ArgumentError as `evaluate` does.

    >>> from gradcompile.ir.core import apply, leaf
    >>> x = leaf("x")
    >>> importlib.import_module("mpmath").nstr(exact([apply("exp", x)], {x: 1.0}, digits=30)[0], 25)
    '2.718281828459045235360287'
    """
    mpmath = importlib.import_module("mpmath")
    dims: Dims = {}
    bind(env, dims)
    with mpmath.workdps(digits):
        values = exact_values(roots, env, dims)
    return [values[r] for r in roots]


def exact_values(roots: Sequence[Node], env: Env, dims: Dims) -> dict[Node, Any]:
    """The value of every node in mpmath's precision of the moment, where the named dimensions are known."""
    mpmath = importlib.import_module("mpmath")
    values: dict[Node, Any] = {}
    with np.errstate(all="ignore"):
        for n in topological(roots):
            if is_leaf(n):
                values[n] = to_mpf(env_value(n, env, object), mpmath.mpf)
            else:
                values[n] = exact_value(n, values, dims, mpmath)
    return values


def to_mpf(value: Any, mpf: Callable[..., Any]) -> Any:
    """A number, or an array of numbers, of mpmath; truth values stay."""

    zero = mpf(0)  # most of what arrays of few entries are padded with

    def number(v: Any) -> Any:
        if type(v) is mpf or isinstance(v, bool | np.bool_):
            return v
        if not v:
            return zero
        return mpf(v.item() if isinstance(v, np.generic) else v)  # mpmath takes no whole numbers of NumPy's

    if not isinstance(value, np.ndarray | list | tuple):
        return number(value)
    given = np.asarray(value, object)
    result = np.empty(given.shape, object)
    result.ravel()[:] = [number(v) for v in given.ravel()]
    return result[()]


def exact_value(n: Node, values: Mapping[Node, Any], dims: Dims, mpmath: Any) -> Any:
    """The high-precision value of a node from those of its arguments."""
    args = [values[a] for a in n.args]
    if n.op.takes_arrays:
        whole = n.op.exact if callable(n.op.exact) else n.op.value
        return to_mpf(whole(*args, *bound(n, dims)), mpmath.mpf)
    function = getattr(mpmath, n.op.exact) if isinstance(n.op.exact, str) else n.op.exact

    def number(*numbers: Any) -> Any:
        try:
            return function(*numbers, *n.params) if function else to_mpf(in_doubles(n, numbers), mpmath.mpf)
        except (ZeroDivisionError, ValueError):  # mpmath's way to say that there is a pole
            return to_mpf(in_doubles(n, numbers), mpmath.mpf)

    arrays = [a for a in args if isinstance(a, np.ndarray)]
    if not arrays:
        return number(*args)
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    columns = [np.broadcast_to(a, shape).ravel() if isinstance(a, np.ndarray) else repeat(a) for a in args]
    result = np.empty(shape, object)  # not np.vectorize, which takes no more than 63 arguments
    result.ravel()[:] = [number(*row) for row in zip(*columns, strict=False)]
    return result[()]


def in_doubles(n: Node, numbers: Sequence[Any]) -> float:
    """What IEEE arithmetic gives."""
    with np.errstate(all="ignore"):
        return float(n.op.value(*(np.float64(x) for x in numbers), *n.params))
