"""A function of theta with several results, one by one, as SciPy asks for them: evaluated once at each theta."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from time import perf_counter
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError

Evaluate = Callable[[Any, Any], Any]  # theta, a vector or None -> the value, its derivative, and what else there is
CHUNK = 1 << 20  # bytes that are looked at at a time


class Views:
    """The results of one evaluation, which all views share; thetas are compared by value, results are copies.

    inputs: those that are bound; results are not shared when an array among them has been written into.
    hess, hessp: whether the third result is a Hessian, or its product with the vector.
    """

    def __init__(self, evaluate: Evaluate, inputs: Sequence[Any], hess: bool = False, hessp: bool = False) -> None:
        self._evaluate, self._has = evaluate, (hess, hessp)
        self._arrays = [x for x in inputs if isinstance(x, np.ndarray)]
        self._shares = True  # whether to look at the inputs is quicker than to evaluate again
        self._last: tuple[Any, Any, Any] = (None, None, None)

    def _at(self, theta: Any, vector: Any = None) -> Any:
        found = np.array(theta)  # its own, as the caller may write into what it gave
        key = found.dtype, found.shape, found.tobytes(), None if vector is None else np.asarray(vector).tobytes()
        known, marks, results = self._last
        if key != known or not self._shares or marks != contents(self._arrays):
            results = self._evaluated(found, vector, key)
        return results

    def _evaluated(self, theta: Any, vector: Any, key: Any) -> Any:
        """The results at theta, kept where that pays."""
        start = perf_counter()
        results = self._evaluate(theta, vector)
        if self._shares:
            middle = perf_counter()
            marks = contents(self._arrays)
            self._shares = not marks or perf_counter() - middle < middle - start
            self._last = key, marks, results
        return results

    def fun(self, theta: Any) -> Any:
        """The loss, or the values."""
        return copied(self._at(theta)[0])

    def jac(self, theta: Any) -> Any:
        """The gradient, or the Jacobian."""
        return copied(self._at(theta)[1])

    def value_and_grad(self, theta: Any) -> tuple[Any, Any]:
        """The loss and its gradient."""
        loss, gradient, *_ = self._at(theta)
        return copied(loss), copied(gradient)

    def hess(self, theta: Any) -> Any:
        """The Hessian."""
        if not self._has[0]:
            raise ArgumentError(
                "this has no Hessian: compile the loss with compile_hessian, not its diagonal alone, and bind that; "
                "with compile_hvp for products alone"
            )
        return copied(self._at(theta)[2])

    def hessp(self, theta: Any, vector: Any) -> Any:
        """The Hessian times a vector."""
        return copied(self._at(theta, vector)[2]) if self._has[1] else self.hess(theta) @ np.asarray(vector)


def contents(arrays: Sequence[np.ndarray]) -> list[int]:
    """What arrays hold, as numbers that differ where it does."""
    found = []
    for x in arrays:
        flat = x.ravel()
        step = max(1, CHUNK // x.itemsize)
        found += [hash(flat[k : k + step].tobytes()) for k in range(0, x.size, step)]
    return found


NAMES = ("fun", "jac", "value_and_grad", "hess", "hessp")


def copied(x: Any) -> Any:
    """A result that may be written into; a sparse matrix keeps its index arrays."""
    if isinstance(x, float):
        return x
    if isinstance(x, np.ndarray):
        return x.copy()
    if hasattr(x, "indptr"):
        found = object.__new__(type(x))
        found.__dict__.update(x.__dict__)
        found.data = x.data.copy()
        return found
    if isinstance(x, dict):
        return {k: copied(v) for k, v in x.items()}
    return type(x)(map(copied, x)) if type(x) in (list, tuple) else deepcopy(x)
