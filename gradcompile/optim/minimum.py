"""What `minimize` returns, and how an optimum moves with the inputs of its loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from gradcompile.errors import ArgumentError, SingularHessianError
from gradcompile.optim.parts import Vector
from gradcompile.runtime.matching import Call
from gradcompile.signature.arguments import entry_names

EPS = float(np.finfo(np.float64).eps)


class Minimum(OptimizeResult):
    """SciPy's result of a search, which can tell how its x depends on the data."""

    _made_of: tuple[Any, Sequence[Any], Vector, Any]  # the loss, its inputs, theta, and its bounds, if it has some

    def sensitivity(self, wrt: Any) -> Vector:
        """The derivative of the optimum in an input: (size, *shape of the input), a row for each entry of theta.

        wrt: an input, or its name. By the implicit function theorem it is -H^-1 times the mixed second derivatives of
        the loss, which are compiled as products with a vector: one call a parameter, whatever the input's length.
        Parameters that a bound holds do not move, so their rows are 0.

        Raises ArgumentError where x is no minimum, SingularHessianError where the loss does not determine x.

        >>> import sympy as sp
        >>> from gradcompile import compile_grad, minimize
        >>> a, x = sp.symbols("a x")
        >>> minimize(compile_grad((a - x)**2, [a], data=[x]), [0.0], [[1.0, 2.0, 6.0]]).sensitivity(x).round(6)
        array([[0.333333, 0.333333, 0.333333]])
        """
        f, inputs, theta, bounds = self._made_of
        if f is None:
            raise ArgumentError("this loss is evaluated by Python, which gives no second derivatives")
        if not self.success:
            raise ArgumentError(f"x is no minimum: {self.message}")
        lower, upper = bounds or (-np.inf, np.inf)
        free = (lower < theta) & (theta < upper)
        arguments = f.problem.inputs
        takes = Call(arguments)
        position = takes.names.index(takes.identifiers([wrt if isinstance(wrt, str) else known(wrt, takes)], "wrt")
                                     .popitem()[1])  # fmt: skip
        directions = self.inverse(f, theta, inputs, free)
        mixed = f._mixed(position)
        run = mixed._prepared([theta, *inputs])
        rows = []
        for direction in directions:
            (size,) = (size for _, size in run.sizes)
            rows.append(-mixed._formed(run(theta, [np.empty(size)], [direction, *inputs])))
        return np.array(rows)

    def inverse(self, f: Any, theta: Vector, inputs: Sequence[Any], free: Vector) -> Vector:
        """The inverse of the Hessian over the parameters that are free, 0 elsewhere."""
        run = f.hessian._prepared(list(inputs))
        gradient, filled = (np.empty(size) for _, size in run.sizes)
        run(theta, [gradient, filled], inputs)
        found = np.zeros((f.size, f.size))
        places = np.ix_(free, free)
        found[places] = inverted(filled.reshape(f.size, f.size)[places], np.array(names_of(f), object)[free])
        return found


def known(wrt: Any, takes: Call) -> Any:
    """An input as it was named: an array by its own name."""
    node = getattr(wrt, "node", None)
    return next((a.name for a in takes.arguments if a.leaf is node), wrt)


def names_of(f: Any) -> list[str]:
    """What the entries of theta are called."""
    if not f.problem.arrays:
        return entry_names(f.problem)
    shapes = [(a.name, tuple(int(d) for d in a.leaf.type.shape)) for a in f.problem.params]
    return [f"{name}[{', '.join(map(str, k))}]" if shape else name for name, shape in shapes for k in np.ndindex(shape)]


def inverted(hessian: Vector, names: Vector) -> Vector:
    """The inverse of a Hessian; SingularHessianError where it is not positive definite by more than rounding."""
    if not np.isfinite(hessian).all():
        raise SingularHessianError("the Hessian at the optimum is not finite, so the optimum has no derivative")
    scale = np.sqrt(np.maximum(abs(np.diag(hessian)), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(hessian / np.outer(scale, scale))
    if len(values) and not values[0] > 4.0 * len(values) * EPS * max(values[-1], 1.0):
        part = abs(vectors[:, 0])
        most = [str(n) for n in names[part > 0.1 * part.max()]][:5]
        raise SingularHessianError(
            f"the Hessian is singular along {', '.join(most)} at the optimum, which is no single point, or moves "
            "without a derivative: fix one of them, or add a penalty"
        )
    return np.asarray((vectors / values) @ vectors.T / np.outer(scale, scale))
