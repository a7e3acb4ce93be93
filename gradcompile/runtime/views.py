"""A function of theta with several results, one by one, as SciPy asks for them: evaluated once at each theta."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError

Evaluate = Callable[[Any, Any], Any]  # theta, a vector or None -> the value, its derivative, and what else there is


class Views:
    """The results of one evaluation, which all views share; thetas are compared by value, results are copies.

    hess, hessp: whether the third result is a Hessian, or its product with the vector.
    """

    def __init__(self, evaluate: Evaluate, hess: bool = False, hessp: bool = False) -> None:
        self._evaluate, self._has = evaluate, (hess, hessp)
        self._last: tuple[Any, Any] = (None, None)

    def _at(self, theta: Any, place: int, vector: Any = None) -> Any:
        found = np.array(theta)  # its own, as the caller may write into what it gave
        key = found.dtype, found.shape, found.tobytes(), None if vector is None else np.asarray(vector).tobytes()
        known, results = self._last
        if key != known:
            results = self._evaluate(found, vector)
            self._last = key, results
        return copied(results[place])

    def fun(self, theta: Any) -> Any:
        """The loss, or the values."""
        return self._at(theta, 0)

    def jac(self, theta: Any) -> Any:
        """The gradient, or the Jacobian."""
        return self._at(theta, 1)

    def value_and_grad(self, theta: Any) -> tuple[Any, Any]:
        """The loss and its gradient."""
        return self.fun(theta), self.jac(theta)

    def hess(self, theta: Any) -> Any:
        """The Hessian."""
        if not self._has[0]:
            raise ArgumentError("this has no Hessian: compile the loss with compile_hessian, and bind that")
        return self._at(theta, 2)

    def hessp(self, theta: Any, vector: Any) -> Any:
        """The Hessian times a vector."""
        if self._has[0]:
            return self.hess(theta) @ np.asarray(vector)
        if not self._has[1]:
            raise ArgumentError(
                "this has no product with the Hessian: compile the loss with compile_hvp, and bind that"
            )
        return self._at(theta, 2, vector)


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
