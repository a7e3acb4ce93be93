"""A loss at many points in one call: rows of theta, which threads share, each in one loop of machine code."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from gradcompile.codegen import array_kind
from gradcompile.errors import ArgumentError
from gradcompile.library import rows
from gradcompile.runtime import bind
from gradcompile.runtime.matching import Call
from gradcompile.runtime.route import Route
from gradcompile.runtime.threads import pool, processors
from gradcompile.signature.arguments import Argument

TASK = 2e-3  # seconds that a thread takes at a time; between two Python hears Ctrl-C
WORTH = 1e-4  # seconds of work from which on others help


def stacked(params: Sequence[Argument], given: Any, dtype: str) -> np.ndarray:
    """Points as the rows of one array: given like that, or as a mapping of parameters with an axis in front."""
    places, kind = bind.places_of(params), np.dtype(dtype)
    if not isinstance(given, Mapping):
        found = bind.floats("thetas", given, kind)
        if found.ndim != 2 or found.shape[1] != places[-1][1]:
            raise ArgumentError(
                f"thetas has shape {found.shape}, expected (m, {places[-1][1]}), a row a point, as f.pack lays out "
                "the parameters; or give a mapping of parameters, each with an axis in front"
            )
        return found
    values = [bind.floats(a.name, v, kind) for a, v in zip(params, Call(params).parameters(given), strict=True)]
    for a, v, (_, _, shape) in zip(params, values, places, strict=True):
        if v.ndim != len(shape) + 1 or v.shape[1:] != shape or len(v) != len(values[0]):
            first = f"{len(values[0])}" if v is not values[0] and values[0].ndim else "m"
            wanted = ", ".join([first, *map(str, shape)])
            raise ArgumentError(f"{a.name} has shape {v.shape}, expected ({wanted}{',' * (not shape)}): its own behind "
                                "an axis for the points")  # fmt: skip
    return np.concatenate([v.reshape(len(v), -1) for v in values], axis=1)


def evaluate(route: Route, thetas: np.ndarray, inputs: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Losses and gradients at the rows, for inputs that are converted and checked; the bits of one call a row."""
    count, size = thetas.shape
    losses, grads = np.empty(count, thetas.dtype), np.empty((count, size), thetas.dtype)
    workers = min(route.threads or processors(), processors(), max(count, 1))
    if count < 2 * workers:  # calls that are shared themselves
        each_by_itself(route.choose(inputs), thetas, losses, grads, inputs)
        return losses, grads
    run = looped(route, inputs)
    each = 1e-7
    for k in range(min(2, count)):  # the first may have to compile
        began = perf_counter()
        run(thetas[k : k + 1], losses[k : k + 1], grads[k : k + 1], inputs)
        each = max(perf_counter() - began, 1e-7)
    length = max(1, min(int(TASK / each), -(-count // (4 * workers))))

    def task(k: int) -> None:
        own = slice(2 + k * length, 2 + (k + 1) * length)
        run(thetas[own], losses[own], grads[own], inputs)

    pool.run(task, max(0, -(-(count - 2) // length)), workers if count * each > WORTH else 1)
    return losses, grads


def looped(route: Route, inputs: Sequence[Any]) -> Callable[..., None]:
    """What evaluates some rows on one thread: a loop of machine code, or of Python where there is none of that kind."""
    is_plain = all(inputs[k].flags.c_contiguous for k in route.columns)
    kinds = [array_kind(route.dtype, rank) for rank in (1, 2, 1, 2)]
    loop = route.stepping(rows.advance, [*kinds, array_kind("int64", 1)]) if is_plain else None
    if loop is None:
        serial = route.serial if is_plain else route.strided
        return lambda *some: each_by_itself(serial, *some)

    def run(thetas: np.ndarray, losses: np.ndarray, grads: np.ndarray, inputs: Sequence[Any]) -> None:
        theta = thetas[0].copy()
        loop(theta, np.empty_like(theta), *inputs, theta, thetas, losses, grads, np.zeros(1, np.int64), len(thetas))

    return run


def each_by_itself(
    run: Callable[..., float], thetas: np.ndarray, losses: np.ndarray, grads: np.ndarray, inputs: Sequence[Any]
) -> None:
    """Row by row."""
    for k, theta in enumerate(thetas):
        losses[k] = run(theta, grads[k], *inputs)
