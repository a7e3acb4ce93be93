"""SymPy functions of the package: means over samples, smooth steps, and the user's own functions."""

from typing import Any

import numpy as np
import sympy

from gradcompile.frontend.arrays.core import Array, is_numeric, of_numbers
from gradcompile.frontend.arrays.reductions import average
from gradcompile.frontend.arrays.reductions import total as summed
from gradcompile.frontend.arrays.shapes import Axis
from gradcompile.frontend.arrays.ufuncs import choose, elementwise, floating, number
from gradcompile.ir.core import apply
from gradcompile.tracebacks import entries


class _OfBoth(sympy.Function):  # type: ignore[misc]  # SymPy ships no types
    """A function of SymPy expressions that means the same of symbolic arrays."""

    nargs = 1

    def __new__(cls, *args: Any, **options: Any) -> Any:
        if args and (isinstance(args[0], Array) or is_numeric(args[0])):
            return cls.of_arrays(*args, **options)
        return super().__new__(cls, *args, **options)

    @classmethod
    def of_arrays(cls, *args: Any, **options: Any) -> Any:
        """The function of a symbolic array, or of one of numbers."""
        return of_numbers(cls.of_array, cls.__name__)(*args, **options)

    @staticmethod
    def of_array(x: Array) -> Array:
        """The function of an array."""
        raise NotImplementedError


class mean(_OfBoth):
    """The mean over the samples of a value that has one entry a sample; a scalar. Of an array, np.mean.

    Use it where a loss has terms that are not per sample. Reading raises ExpressionError if nothing below is in `data`.

    >>> w, x = sympy.symbols("w x")
    >>> mean((w*x)**2) + w**2
    w**2 + mean(w**2*x**2)
    """

    @staticmethod
    def of_array(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        """The mean over axes, all unless some are given."""
        return Array(average(x.node, axis, keepdims))


class total(_OfBoth):
    """The sum over the samples of a value that has one entry a sample; a scalar. Of an array, np.sum. See `mean`.

    >>> total(sympy.Symbol("x")**2)
    total(x**2)
    """

    @staticmethod
    def of_array(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        """The sum over axes, all unless some are given."""
        return Array(summed(x.node, axis, keepdims))


class stop_gradient(_OfBoth):
    """x, taken for a constant by differentiation.

    >>> stop_gradient(sympy.Symbol("x")).diff("x")
    0
    """

    @staticmethod
    def of_array(x: Array) -> Array:
        """The array, without a derivative."""
        return Array(apply("stop_gradient", x.node))

    def fdiff(self, argindex: int = 1) -> Any:
        """Nothing."""
        return sympy.Integer(0)

    def _eval_evalf(self, prec: int) -> Any:
        return self.args[0]._eval_evalf(prec)


class _Defined(_OfBoth):
    """A function that stands for a formula of SymPy, by which it is differentiated and evaluated."""

    @staticmethod
    def formula(x: Any) -> Any:
        """The function in SymPy's own terms."""
        raise NotImplementedError

    def fdiff(self, argindex: int = 1) -> Any:
        """The derivative, by that of the formula."""
        x = sympy.Dummy("x")
        return self.formula(x).diff(x).xreplace({x: self.args[0]})

    def _eval_evalf(self, prec: int) -> Any:
        return self.formula(self.args[0])._eval_evalf(prec)

    def _eval_rewrite(self, rule: Any, args: Any, **hints: Any) -> Any:
        return self.formula(*args)


class sigmoid(_Defined):
    """The logistic function 1/(1 + exp(-x)), accurate in both tails.

    >>> sigmoid(sympy.Integer(0)).evalf()
    0.500000000000000
    """

    @staticmethod
    def formula(x: Any) -> Any:
        """1/(1 + exp(-x))."""
        return 1 / (1 + sympy.exp(-x))

    @staticmethod
    def of_array(x: Array) -> Array:
        """The function of each entry."""
        return Array(elementwise("sigmoid", x.node))


class softplus(_Defined):
    """log(1 + exp(x)), accurate in both tails.

    >>> softplus(sympy.Integer(0)).evalf(5)
    0.69315
    """

    @staticmethod
    def formula(x: Any) -> Any:
        """log(1 + exp(x))."""
        return sympy.log(1 + sympy.exp(x))

    @staticmethod
    def of_array(x: Array) -> Array:
        """The function of each entry."""
        return Array(elementwise("softplus", x.node))


class log_sigmoid(_Defined):
    """log(sigmoid(x)), accurate in both tails.

    >>> log_sigmoid(sympy.Integer(0)).evalf(5)
    -0.69315
    """

    @staticmethod
    def formula(x: Any) -> Any:
        """-log(1 + exp(-x))."""
        return -sympy.log(1 + sympy.exp(-x))

    @staticmethod
    def of_array(x: Array) -> Array:
        """The function of each entry."""
        return Array(elementwise("neg", elementwise("softplus", elementwise("neg", x.node))))


class relu(_Defined):
    """max(x, 0), whose derivative at 0 is 0.

    >>> relu(sympy.Integer(-3)).evalf()
    0
    """

    @staticmethod
    def formula(x: Any) -> Any:
        """x above 0, else 0."""
        return sympy.Piecewise((x, x > 0), (0, True))

    @staticmethod
    def of_array(x: Array) -> Array:
        """The function of each entry; NaN stays NaN."""
        n, zero = floating(x.node), number(0.0, floating(x.node))
        return Array(choose(elementwise("le", n, zero), zero, n))


def where(condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, else `b`; no gradient leaks from the other branch.

    >>> x = sympy.Symbol("x")
    >>> where(x > 0, x, 0)
    Piecewise((x, x > 0), (0, True))
    """
    if any(isinstance(v, Array) or is_numeric(v) for v in (condition, a, b)):
        return np.where(condition, a, b)
    return sympy.Piecewise((a, condition), (b, True), evaluate=False)


entries(globals())
