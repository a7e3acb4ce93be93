"""The reference evaluator of graphs, plain and slow: NumPy for doubles, mpmath for many digits."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gradcompile.errors import ArgumentError
from gradcompile.ir import Node, topological
from gradcompile.types import ArrayType, Dim

Env = Mapping[Node, npt.ArrayLike]
Dims = dict[Dim, int]

STRUCTURAL = frozenset(
    {"const", "table", "item", "assemble", "broadcast", "sum", "amax", "size", "pack", "take", "scatter"}
)  # these take whole arrays


def evaluate(roots: Sequence[Node], env: Env) -> list[Any]:
    """The values of the roots for the values of the leaves, each with the shape and dtype of its node.

    Raises ArgumentError when a leaf has no value, or one that does not fit its type.

    >>> from gradcompile.ir import apply, leaf
    >>> x = leaf("x", ArrayType(("n",)))
    >>> evaluate([apply("sum", apply("mul", x, x), params=((0,),))], {x: [3.0, 4.0]})
    [np.float64(25.0)]
    """
    values = evaluate_all(roots, env)
    return [values[r] for r in roots]


def evaluate_all(roots: Sequence[Node], env: Env) -> dict[Node, Any]:
    """The value of every node below the roots.

    >>> from gradcompile.ir import apply, leaf
    >>> x = leaf("x")
    >>> [float(v) for v in evaluate_all([apply("exp", apply("neg", x))], {x: 0.0}).values()]
    [0.0, -0.0, 1.0]
    """
    dims: Dims = {}
    bind(env, dims)
    values: dict[Node, Any] = {}
    with np.errstate(all="ignore"):
        for n in topological(roots):
            values[n] = env_value(n, env, n.type.dtype) if n.op.name == "leaf" else np_value(n, values, dims)
    return values


def bind(env: Env, dims: Dims) -> None:
    """Give the named dimensions their lengths, and check that every leaf's value fits."""
    for n, value in env.items():
        found = np.shape(value)
        if len(found) != len(n.type.shape):
            raise ArgumentError(f"the leaf {leaf_name(n)!r} has type {n.type}, its value has shape {found}")
        for dim, length in zip(n.type.shape, found, strict=True):
            expected = dims.setdefault(dim, length) if isinstance(dim, str) else dim
            if expected != length:
                name = leaf_name(n)
                raise ArgumentError(f"the leaf {name!r} has type {n.type}: {dim} is {expected} here, not {length}")


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
    """The params, with lengths for named dimensions where they hold a shape."""
    if n.op.name not in ("broadcast", "assemble"):
        return n.params
    return (tuple(length(d, dims, n.type) for d in n.params[0]), *n.params[1:])


def length(dim: Dim, dims: Dims, type: ArrayType) -> int:
    """The length of a dimension."""
    if isinstance(dim, str) and dim not in dims:
        raise ArgumentError(f"no value given has the dimension {dim!r}, which a node of type {type} needs")
    return dims[dim] if isinstance(dim, str) else dim


def exact(roots: Sequence[Node], env: Env, digits: int = 50) -> list[Any]:
    """The values of the roots to many digits: numbers of mpmath, or object arrays of them.

    The values of the leaves may themselves be numbers of mpmath. Branches follow the high-precision comparisons. Off
    the real domain the value is NaN, at a pole an infinity. An elementwise op without a high-precision form is
    evaluated in doubles. Raises ArgumentError as `evaluate` does.

    >>> from gradcompile.ir import apply, leaf
    >>> x = leaf("x")
    >>> importlib.import_module("mpmath").nstr(exact([apply("exp", x)], {x: 1.0}, digits=30)[0], 25)
    '2.718281828459045235360287'
    """
    mpmath = importlib.import_module("mpmath")
    dims: Dims = {}
    bind(env, dims)
    values: dict[Node, Any] = {}
    with mpmath.workdps(digits), np.errstate(all="ignore"):
        for n in topological(roots):
            if n.op.name == "leaf":
                values[n] = to_mpf(env_value(n, env, object), mpmath.mpf)
            else:
                values[n] = exact_value(n, values, dims, mpmath)
    return [values[r] for r in roots]


def to_mpf(value: Any, mpf: Callable[..., Any]) -> Any:
    """A number, or an array of numbers, of mpmath; truth values stay."""
    convert = np.vectorize(lambda v: v if isinstance(v, bool | np.bool_) else mpf(v), otypes=[object])
    return convert(value)[()]


def exact_value(n: Node, values: Mapping[Node, Any], dims: Dims, mpmath: Any) -> Any:
    """The high-precision value of a node from those of its arguments."""
    args = [values[a] for a in n.args]
    if n.op.exact is None and n.op.name in STRUCTURAL:
        return to_mpf(n.op.value(*args, *bound(n, dims)), mpmath.mpf)
    function = getattr(mpmath, n.op.exact) if isinstance(n.op.exact, str) else n.op.exact

    def number(*numbers: Any) -> Any:
        try:
            return function(*numbers, *n.params) if function else to_mpf(in_doubles(n, numbers), mpmath.mpf)
        except (ZeroDivisionError, ValueError):  # mpmath's way to say that there is a pole
            return to_mpf(in_doubles(n, numbers), mpmath.mpf)

    shape = np.broadcast_shapes(*map(np.shape, args))
    columns = [np.broadcast_to(np.asarray(a, object), shape).ravel() for a in args]
    result = np.empty(shape, object)  # not np.vectorize, which takes no more than 63 arguments
    result.ravel()[:] = [number(*row) for row in zip(*columns, strict=True)]
    return result[()]


def in_doubles(n: Node, numbers: Sequence[Any]) -> float:
    """What IEEE arithmetic gives."""
    with np.errstate(all="ignore"):
        return float(n.op.value(*(np.float64(x) for x in numbers), *n.params))
