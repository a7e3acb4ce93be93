"""The methods of NumPy's ufuncs, reduce, accumulate and outer, and running products."""

from collections.abc import Callable
from typing import Any

import numpy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import FUNCTIONS, UFUNCS, Array, Implementation, lift, lift_all
from gradcompile.frontend.arrays.recurrence import scan
from gradcompile.frontend.arrays.reductions import LINE, cumsum
from gradcompile.frontend.arrays.shapes import axes_of, axis_of, moveaxis, ravel, stack
from gradcompile.frontend.arrays.ufuncs import arithmetic, function, ufunc, whole
from gradcompile.ir.core import Node

np: Any = numpy  # whose stubs know numbers alone

Step = Callable[[Any, Any], Any]
REDUCTIONS: dict[str, Implementation] = {
    "add": FUNCTIONS[np.sum], "multiply": FUNCTIONS[np.prod], "maximum": FUNCTIONS[np.max],
    "minimum": FUNCTIONS[np.min], "logical_and": FUNCTIONS[np.all], "logical_or": FUNCTIONS[np.any],
}  # fmt: skip
RUNNING: dict[str, Implementation] = {np.add.__name__: cumsum}


def of_two(name: str) -> Implementation:
    """A ufunc of two operands; ExpressionError for any other."""
    build = UFUNCS.get(name)
    if build is None or getattr(np, name, np.add).nin != 2:
        raise ExpressionError(f"np.{name} does not combine two symbolic arrays; write a loop over them")
    return build


@function(method="ufunc.reduce")
def reduce_(name: str, array: Any, axis: Any = 0, dtype: Any = None, keepdims: bool = False, initial: Any = None,
            where: Any = True) -> Any:  # fmt: skip
    """All entries along an axis, put together by a ufunc from the first on."""
    x = Array(lift(array))
    given = {"initial": initial, "where": where, "keepdims": keepdims}
    given = {k: v for k, v in given.items() if v is not {"initial": None, "where": True, "keepdims": False}[k]}
    if name in REDUCTIONS:
        found: Array = REDUCTIONS[name](x if dtype is None else x.astype(dtype), axis=axis, **given)
        return found
    if "where" in given:
        raise ExpressionError(f"np.{name}.reduce with where= is not supported; choose by np.where(condition, x, other)")
    for k in reversed(axes_of(axis, x.ndim)):
        x = folded(of_two(name), x, k, initial)[0]
        initial = None
    return np.expand_dims(x, axes_of(axis, np.ndim(array))) if keepdims else x


@function(method="ufunc.accumulate")
def accumulate(name: str, array: Any, axis: int = 0, dtype: Any = None) -> Any:
    """What a ufunc makes of all entries up to each, along an axis."""
    x = Array(lift(array)) if dtype is None else Array(lift(array)).astype(dtype)
    return RUNNING[name](x, axis) if name in RUNNING else folded(of_two(name), x, axis_of(axis, x.ndim))[1]


@function(method="ufunc.outer")
def outer(name: str, a: Any, b: Any) -> Any:
    """A ufunc of each entry of a with each of b."""
    x, y = map(Array, lift_all(a, b))
    return of_two(name)(x[(..., *[None] * y.ndim)], y)


@function(method="ufunc.at")
def at(name: str, *_: Any) -> Any:
    """Refused: symbolic arrays do not change."""
    raise ExpressionError(f"np.{name}.at changes an array, and symbolic ones do not; add up what belongs to each "
                          "place, as gradcompile.one_hot(places, length).T @ values does")  # fmt: skip


def folded(build: Step, x: Array, axis: int, initial: Any = None) -> tuple[Any, ...]:
    """All entries along an axis put together, and what is there after each."""
    rows = moveaxis(x, axis, 0)
    length = rows.shape[0]
    if length == 0:
        raise ExpressionError(f"axis {axis} of shape {x.shape} has no entries to begin with; give initial=")
    first = rows[0] if initial is None else Array(lift(build(initial, rows[0])))
    first = Array(arithmetic(first.node))
    if isinstance(length, str) or length > LINE:
        rest = Array(arithmetic(rows[1:].node))
        last, found = scan(lambda so_far, row: (build(so_far, row),) * 2, first, rest)
        return last, moveaxis(np.concatenate([first[None], found]), 0, axis)
    steps = [first]
    for k in range(1, length):
        steps.append(Array(lift(build(steps[-1], rows[k]))))
    return steps[-1], stack(steps, axis)


def running(build: Step) -> Implementation:
    """A function that runs along an axis, of all entries as a vector if none is given."""

    def runs(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
        """What is there after each entry along an axis."""
        x = ravel(a) if axis is None else Array(lift(a))
        x = Array(arithmetic(x.node)) if dtype is None else x.astype(dtype)
        k = axis_of(axis or 0, x.ndim)
        return x if x.shape[k] == 0 else folded(build, x, k)[1]

    return runs


cumprod = function(np.cumprod, method="cumprod")(running(lambda so_far, x: so_far * x))


def inclusive(runs: Implementation) -> Implementation:
    """The array API's form of a running sum or product."""

    def cumulative(x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Any:
        """What is there after each entry along an axis, and before the first, if that is asked for."""
        if axis is None and np.ndim(x) != 1:
            raise ExpressionError(f"an axis is needed for shape {np.shape(x)}; give axis=")
        k = axis_of(axis or 0, np.ndim(x))
        found: Array = runs(x, k, dtype)
        if not include_initial:
            return found
        start = np.zeros_like(found, shape=(*found.shape[:k], 1, *found.shape[k + 1 :])) + (runs is cumprod)
        return np.concatenate([start, found], axis=k)

    return cumulative


if hasattr(np, "cumulative_sum"):  # since NumPy 2.1
    function(np.cumulative_sum)(inclusive(cumsum))
    function(np.cumulative_prod)(inclusive(cumprod))


@function(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The integral along an axis by the trapezoidal rule."""
    values = moveaxis(y, axis, -1)
    step = dx
    if x is not None:
        step = np.diff(Array(lift(x))) if np.ndim(x) == 1 else moveaxis(np.diff(Array(lift(x)), axis=axis), axis, -1)
    return np.sum(step * (values[..., 1:] + values[..., :-1]) / 2.0, axis=-1)


@function(np.unwrap)
def unwrap(p: Any, discont: float | None = None, axis: int = -1, *, period: float = 2 * np.pi) -> Any:
    """Angles without jumps by more than half a period along an axis: whole periods are added."""
    x = Array(lift(p))
    steps, half = np.diff(x, axis=axis), period / 2
    turned = np.mod(steps + half, period) - half
    turned = np.where((turned == -half) & (steps > 0), half, turned)
    jumps = np.where(abs(steps) < (half if discont is None else max(discont, half)), 0.0, turned - steps)
    shape = tuple(1 if k == axis_of(axis, x.ndim) else d for k, d in enumerate(x.shape))
    return x + np.concatenate([np.zeros_like(x, shape=shape), np.cumsum(jumps, axis=axis)], axis=axis)


STEPS = 92  # of Euclid's algorithm that two numbers of 64 bits may need


@ufunc("gcd")
def gcd(x: Node, y: Node) -> Node:
    """The greatest common divisor of whole numbers."""
    first, second = np.broadcast_arrays(*(abs(Array(whole(n))) for n in (x, y)))

    def step(carry: Any, _: Any) -> Any:
        a, b = carry
        return (np.where(b == 0, a, b), np.where(b == 0, b, a % np.where(b == 0, 1, b))), None

    return lift(scan(step, (first, second), None, length=STEPS)[0][0])


@ufunc("lcm")
def lcm(x: Node, y: Node) -> Node:
    """The least common multiple of whole numbers."""
    divisor = Array(gcd(x, y))
    return lift(abs(Array(x)) // np.where(divisor == 0, 1, divisor) * abs(Array(y)))


@function(np.nanargmax)
def nanargmax(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """The place of the largest entry that is not NaN."""
    x = Array(lift(a))
    return np.argmax(np.where(np.isnan(x), -np.inf, x), axis=axis, keepdims=keepdims)


@function(np.nanargmin)
def nanargmin(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """The place of the smallest entry that is not NaN."""
    x = Array(lift(a))
    return np.argmin(np.where(np.isnan(x), np.inf, x), axis=axis, keepdims=keepdims)
