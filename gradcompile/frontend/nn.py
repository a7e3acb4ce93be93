"""Functions of networks: activations, losses, normalisation, attention, convolution and pooling.

They take symbolic arrays; those that work entry by entry take SymPy expressions as well, and mean the same there. All
are written so that no entry, however large, overflows on the way.
"""

import math
from collections.abc import Sequence
from numbers import Integral
from operator import index
from typing import Any

import numpy as np
import sympy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, lift, lift_all, of_numbers
from gradcompile.frontend.arrays.places import picked
from gradcompile.frontend.arrays.products import matmul, products
from gradcompile.frontend.arrays.reductions import average, largest, spread_of, total
from gradcompile.frontend.arrays.shapes import Axis, axis_of, filled, with_axes
from gradcompile.frontend.arrays.ufuncs import choose, elementwise, floating, minus, number
from gradcompile.frontend.functions import mean, sigmoid, softplus, stop_gradient, where
from gradcompile.ir.algebra import counting
from gradcompile.ir.core import Node, apply
from gradcompile.ir.types import Dim, Shape, dim_sum
from gradcompile.ops.labels import Labelled
from gradcompile.ops.shape import Span
from gradcompile.tracebacks import entries

MASKED = -1e30  # a score that no softmax sees, though a row of nothing else is still a row of numbers
SQRT_HALF = math.sqrt(0.5)
FAINT = 750.0  # exp(-750) is 0
ONE_SIDED = 40.0  # the normal distribution function of -40 is 0, of 40 it is 1


# Activations, entry by entry


def is_array(*xs: Any) -> bool:
    """Whether one of these is a symbolic array, so that arrays are computed with and not expressions."""
    return any(isinstance(x, Array) for x in xs)


@of_numbers
def leaky_relu(x: Any, slope: Any = 0.01) -> Any:
    """x above 0, slope*x below; the derivative at 0 is the slope.

    A. Maas, A. Hannun, A. Ng, Rectifier nonlinearities improve neural network acoustic models, 2013.

    >>> leaky_relu(sympy.Integer(-2), sympy.Rational(1, 4))
    -1/2
    """
    return where(x > 0, x, slope * x)


@of_numbers
def elu(x: Any, alpha: Any = 1.0) -> Any:
    """x above 0, alpha*(exp(x) - 1) below.

    D.-A. Clevert, T. Unterthiner, S. Hochreiter, Fast and accurate deep network learning by exponential linear units,
    2015.

    >>> elu(sympy.Symbol("x"), 1)
    Piecewise((x, x > 0), (exp(x) - 1, True))
    """
    return where(x > 0, x, alpha * (np.expm1(x) if is_array(x) else sympy.exp(x) - 1))


@of_numbers
def gelu(x: Any) -> Any:
    """x times the normal distribution function of x, accurate in both tails.

    D. Hendrycks, K. Gimpel, Gaussian error linear units, 2016. This is the exact form, not the one with tanh.

    >>> gelu(sympy.Integer(0))
    0
    """
    if is_array(x):
        low, inner = kept_within(floating(x.node), ONE_SIDED)
        tail = elementwise("erfc", elementwise("mul", number(-SQRT_HALF, low), inner))
        return Array(elementwise("mul", elementwise("mul", number(0.5, low), low), tail))
    return x * sympy.erfc(-x / sympy.sqrt(2)) / 2


def kept_within(n: Node, bound: float) -> tuple[Node, Node]:
    """n from -bound on, and from there to the bound: beyond them a gate is shut or open, whatever 0 times inf is."""
    low = elementwise("max", n, number(-bound, n))
    return low, elementwise("min", low, number(bound, n))


@of_numbers
def silu(x: Any) -> Any:
    """x*sigmoid(x).

    S. Elfwing, E. Uchibe, K. Doya, Sigmoid-weighted linear units for neural network function approximation, 2017.

    >>> silu(sympy.Symbol("x"))
    x*sigmoid(x)
    """
    if is_array(x):
        low, inner = kept_within(floating(x.node), FAINT)
        return Array(elementwise("mul", low, elementwise("sigmoid", inner)))
    return x * sigmoid(x)


# Losses, entry by entry


@of_numbers
def binary_cross_entropy_with_logits(logits: Any, targets: Any) -> Any:
    """-t*log(sigmoid(x)) - (1 - t)*log(1 - sigmoid(x)) for each entry; targets t from 0 to 1.

    >>> binary_cross_entropy_with_logits(*sympy.symbols("x t"))
    t*softplus(-x) + (1 - t)*softplus(x)
    """
    if is_array(logits):
        n, t = lift_all(logits, targets)
        n, t = floating(n), floating(t)
        size = elementwise("abs", n)
        is_finite = elementwise("lt", size, number(math.inf, n))
        safe = choose(is_finite, n, number(0.0, n), own=True)  # of an infinite logit the loss is 0 or infinite
        one, zero = number(1.0, n), number(0.0, n)
        against = elementwise("mul", minus(one, t), elementwise("softplus", safe))
        found = elementwise("add", elementwise("mul", t, elementwise("softplus", elementwise("neg", safe))), against)
        is_right = elementwise("eq", t, choose(elementwise("lt", zero, n), one, zero))
        is_right = elementwise("and", is_right, elementwise("eq", n, n))
        return Array(choose(is_finite, found, choose(is_right, zero, size, own=True), own=True))
    return targets * softplus(-logits) + (1 - targets) * softplus(logits)


@of_numbers
def mse(predictions: Any, targets: Any) -> Any:
    """The mean of (prediction - target)**2: over all entries of arrays, over the samples of an expression.

    >>> mse(*sympy.symbols("y t"))
    mean((-t + y)**2)
    """
    residual = predictions - targets
    return mean(residual * residual)


@of_numbers
def huber(predictions: Any, targets: Any, delta: Any = 1.0) -> Any:
    """r**2/2 where the residual |r| is at most delta, delta*(|r| - delta/2) beyond, for each entry.

    P. J. Huber, Robust estimation of a location parameter, 1964.

    >>> huber(sympy.Integer(3), 0, sympy.Integer(1))
    5/2
    """
    residual = predictions - targets
    size = abs(residual)
    return where(size <= delta, residual * residual / 2, delta * (size - delta / 2))


# Along an axis


def exponents(n: Node, axis: Axis) -> tuple[Node, Node]:
    """n less its largest entry over axes, and that; where the largest is infinite 0 is taken instead."""
    top = apply("stop_gradient", largest(floating(n), axis, True))
    finite = elementwise("lt", elementwise("abs", top), number(math.inf, top))
    top = choose(finite, top, number(0.0, top))
    return minus(n, top), top


@of_numbers
def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) over axes of an array, or of a sequence of expressions.

    >>> logsumexp(sympy.symbols("x y"))
    log(exp(x) + exp(y))
    """
    if not is_array(x):
        return sympy.log(sympy.Add(*map(sympy.exp, x)))
    below, top = exponents(x.node, axis)
    result = elementwise("add", elementwise("log", total(elementwise("exp", below), axis, True)), top)
    return Array(result if keepdims else total(result, axis))


@of_numbers
def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x)/sum(exp(x)) along an axis; a list for a sequence of expressions.

    >>> softmax(sympy.symbols("x y"))[0]
    exp(x)/(exp(x) + exp(y))
    """
    if not is_array(x):
        return [sympy.exp(e) / sympy.Add(*map(sympy.exp, x)) for e in x]
    raised = elementwise("exp", exponents(x.node, axis)[0])
    return Array(elementwise("div", raised, total(raised, axis, True)))


@of_numbers
def log_softmax(x: Any, axis: int = -1) -> Any:
    """x - log(sum(exp(x))) along an axis; a list for a sequence of expressions.

    >>> log_softmax(sympy.symbols("x y"))[0]
    x - log(exp(x) + exp(y))
    """
    if not is_array(x):
        return [e - logsumexp(x) for e in x]
    below, _ = exponents(x.node, axis)
    return Array(minus(below, elementwise("log", total(elementwise("exp", below), axis, True))))


@of_numbers
def cross_entropy(logits: Array, labels: Any, axis: int = -1) -> Array:
    """-log(softmax(logits)) of the class that is right, for each sample.

    labels: the classes as integers, in the logits' shape without the axis; or probabilities, in the logits' shape. A
    class is a place, as in NumPy: -1 is the last class. Mark what is missing by a mask of its own, or leave it out by
    np.where(labels < 0, 0, ...); `one_hot` has no class below 0.

    Raises ExpressionError for labels of another shape.

    >>> from gradcompile.frontend.arrays import array
    >>> cross_entropy(array("z", ("n", 10)), array("t", "n", dtype="int64")).shape
    ('n',)
    """
    logs, (n, right) = log_softmax(logits, axis).node, lift_all(logits, labels)
    k = axis_of(axis, len(n.type.shape))
    if right.type.dtype != "int64":
        if right.type.shape != n.type.shape:
            raise ExpressionError(f"probabilities of shape {right.type.shape} for logits of shape {n.type.shape}; "
                                  "classes need dtype int64")  # fmt: skip
        return Array(elementwise("neg", total(elementwise("mul", floating(right), logs), k)))
    if right.type.shape != (*n.type.shape[:k], *n.type.shape[k + 1 :]):
        raise ExpressionError(f"classes of shape {right.type.shape} for logits of shape {n.type.shape}, axis {k}; "
                              "probabilities need a floating-point dtype")  # fmt: skip
    shape = right.type.shape
    places = [right if j == k else counting(shape, j - (j > k)) for j in range(len(n.type.shape))]
    return Array(elementwise("neg", picked(logs, places, 0)))


@of_numbers
def one_hot(labels: Any, classes: int, dtype: str = "float64") -> Array:
    """1 in the place of each label, 0 elsewhere, along a new last axis.

    Of a label that is no class, as -1, all is 0: for `cross_entropy` that is the last class.

    >>> from gradcompile.frontend.arrays import array
    >>> one_hot(array("t", "n", dtype="int64"), 10).shape
    ('n', 10)
    """
    n = lift(labels)
    shape = (*n.type.shape, classes)
    places = counting(shape, len(shape) - 1)
    hit = elementwise("eq", places, with_axes(n, [len(shape) - 1]))
    return Array(choose(hit, filled(1.0, (), dtype), filled(0.0, (), dtype)))


# Normalisation, dropout


@of_numbers
def layer_norm(x: Array, gain: Any = None, bias: Any = None, axis: Axis = -1, epsilon: float = 1e-5) -> Array:
    """(x - mean)/sqrt(variance + epsilon) over axes of each sample, times a gain, plus a bias.

    axis: one, or several, over which mean and variance (of the entries, not one less) are taken. gain, bias: of a shape
    that broadcasts to that of x, which is the result's.

    J. L. Ba, J. R. Kiros, G. E. Hinton, Layer normalization, 2016.

    >>> from gradcompile.frontend.arrays import array
    >>> layer_norm(array("x", ("n", 8)), array("gain", 8)).shape
    ('n', 8)
    """
    return normalised(x, gain, bias, axis, epsilon, None, None)


@of_numbers
def batch_norm(
    x: Array,
    gain: Any = None,
    bias: Any = None,
    axis: Axis = 0,
    epsilon: float = 1e-5,
    mean: Any = None,
    variance: Any = None,
) -> Array:
    """(x - mean)/sqrt(variance + epsilon) over the samples, times a gain, plus a bias.

    axis: that of the samples, (0, 2, 3) for images.  mean, variance: given for inference, the running statistics, of a
    shape that broadcasts; else those of the batch are taken, which are np.mean(x, axis) and np.var(x, axis).

    S. Ioffe, C. Szegedy, Batch normalization: accelerating deep network training by reducing internal covariate shift,
    2015.

    >>> from gradcompile.frontend.arrays import array
    >>> batch_norm(array("x", ("n", 3, 28, 28)), axis=(0, 2, 3)).shape
    ('n', 3, 28, 28)
    """
    return normalised(x, gain, bias, axis, epsilon, mean, variance)


def normalised(x: Array, gain: Any, bias: Any, axis: Axis, epsilon: float, mean: Any, variance: Any) -> Array:
    n = floating(x.node)
    centre = average(n, axis, True) if mean is None else lift(mean, n.type.dtype)
    width = spread_of(n, axis, True) if variance is None else lift(variance, n.type.dtype)
    scale = elementwise("sqrt", elementwise("add", width, number(epsilon, n)))
    result = Array(elementwise("div", minus(n, centre), scale))
    result = result if gain is None else result * gain
    return result if bias is None else result + bias


@of_numbers
def dropout(x: Array, mask: Any, rate: float) -> Array:
    """x/(1 - rate) where the mask is true, 0 elsewhere; the mask is an input, so that runs can be repeated.

    mask: boolean, of a shape that broadcasts; rng.random(shape) >= rate draws one.

    Raises ExpressionError unless 0 <= rate < 1.

    N. Srivastava and others, Dropout: a simple way to prevent neural networks from overfitting, 2014.

    >>> from gradcompile.frontend.arrays import array
    >>> dropout(array("x", ("n", 8)), array("mask", ("n", 8), dtype="bool"), 0.5).shape
    ('n', 8)
    """
    if not isinstance(x, Array) or not isinstance(rate, int | float | np.number):
        raise ExpressionError("dropout takes an array, its mask and a number, in this order: dropout(x, mask, 0.5)")
    if not 0 <= rate < 1:
        raise ExpressionError(f"a rate of {rate}: one from 0 up to, not including, 1 is needed")
    n = floating(x.node)
    return Array(choose(lift(mask), elementwise("mul", number(1 / (1 - rate), n), n), number(0.0, n), own=True))


# Attention


@of_numbers
def attention(
    query: Array, key: Array, value: Array, mask: Any = None, causal: bool = False, scale: float | None = None
) -> Array:
    """softmax(query @ key.mT * scale) @ value: scaled dot-product attention over (..., tokens, width).

    mask: true where a query may look at a key, of a shape that broadcasts to (..., queries, keys).  causal: no key
    after its query is looked at.  scale: 1/sqrt(width) unless it is given. A query that may look at nothing sees the
    mean.

    Raises ExpressionError for shapes that do not fit, and for a width that has a name, if no scale is given.

    A. Vaswani and others, Attention is all you need, 2017.

    >>> from gradcompile.frontend.arrays import array
    >>> q = array("q", ("batch", 4, "t", 16))
    >>> attention(q, q, q, causal=True).shape
    ('batch', 4, 't', 16)
    """
    width = query.shape[-1]
    if scale is None and isinstance(width, str):
        raise ExpressionError(f"the width {width!r} is not known, so that the scale has to be given: scale=...")
    scale = scale if scale is not None else 1 / math.sqrt(int(width))
    n = matmul(elementwise("mul", number(scale, query.node), query.node), key.mT.node)
    if causal:
        shape = n.type.shape[-2:]
        n = choose(elementwise("le", counting(shape, 1), counting(shape, 0)), n, number(MASKED, n), own=True)
    if mask is not None:
        n = choose(lift(mask), n, number(MASKED, n), own=True)
    return Array(matmul(softmax(Array(n), -1).node, value.node))


# Convolution and pooling


@of_numbers
def conv(
    x: Array, kernel: Array, stride: int | Sequence[int] = 1, padding: Any = 0, dilation: int | Sequence[int] = 1
) -> Array:
    """Convolution (without a flip, as networks have it) over one spatial axis, or two, or more.

    x: (samples, channels, length...).  kernel: (channels out, channels in, size...).  padding: zeros on either side, a
    number, one an axis, or "same", which keeps the length at stride 1.

    >>> from gradcompile.frontend.arrays import array
    >>> conv(array("x", ("n", 3, 28, 28)), array("k", (8, 3, 5, 5)), padding="same").shape
    ('n', 8, 28, 28)
    """
    axes, sizes = x.ndim - 2, kernel.shape[2:]
    if axes < 1 or kernel.ndim != x.ndim or not all(isinstance(s, int) for s in sizes):
        raise ExpressionError(
            "conv takes x of shape (samples, channels, length...) and a kernel of shape (channels out, channels in, "
            "size...) with sizes that are known"
        )
    strides, dilations = each("stride", stride, axes), each("dilation", dilation, axes)
    n = padded(floating(x.node), margins(padding, sizes, dilations))
    n = windows(n, 2, [int(s) for s in sizes], strides, dilations)
    places, inner = range(2, 2 + 2 * axes, 2), range(3, 2 + 2 * axes, 2)
    operands = [Labelled(n, tuple(range(2 + 2 * axes))), Labelled(kernel.node, (-1, 1, *inner))]
    return Array(products(operands, (0, -1, *places)))


def each(what: str, value: Any, axes: int, least: int = 1) -> list[int]:
    """One number an axis; ExpressionError for another number of them, or if one is too small."""
    found = [index(value)] * axes if isinstance(value, Integral) else [index(v) for v in value]
    if len(found) != axes:
        raise ExpressionError(f"{what}={value!r} is for {len(found)} axes, and windows run along {axes}")
    if any(k < least for k in found):
        raise ExpressionError(f"{what}={value!r}: whole numbers from {least} on are needed")
    return found


def margins(padding: Any, sizes: Sequence[Dim], dilations: Sequence[int]) -> list[tuple[int, int]]:
    """Zeros before and after each axis."""
    if padding == "same":
        extra = [(int(s) - 1) * d for s, d in zip(sizes, dilations, strict=True)]
        return [(e // 2, e - e // 2) for e in extra]
    return [(p, p) for p in each("padding", padding, len(sizes), 0)]


def padded(n: Node, widths: Sequence[tuple[int, int]]) -> Node:
    """Zeros put round the last axes."""
    if not any(map(any, widths)):
        return n
    shape = n.type.shape
    first = len(shape) - len(widths)
    index = (*[None] * first, *(Span(w[0], d) for w, d in zip(widths, shape[first:], strict=True)))
    whole: Shape = (*shape[:first], *(dim_sum(d, *w) for w, d in zip(widths, shape[first:], strict=True)))
    return apply("assemble", n, params=(whole, (index,)))


def windows(n: Node, first: int, sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Node:
    """Windows along axes from the first on, each of which gives way to two."""
    for k, params in enumerate(zip(sizes, strides, dilations, strict=True)):
        n = apply("window", n, params=(first + 2 * k, *params))
    return n


@of_numbers
def max_pool(x: Array, size: int | Sequence[int], stride: Any = None) -> Array:
    """The largest entries of windows along the axes after samples and channels; the stride is the size unless given.

    size, stride: a number for every axis after samples and channels, of x as `conv` takes it, (samples, channels,
    length...); or one for each of the last axes, as many as there are numbers. Entries after the last whole window are
    left out. Equal largest entries share the derivative.

    >>> from gradcompile.frontend.arrays import array
    >>> max_pool(array("x", ("n", 8, 28, 28)), 2).shape
    ('n', 8, 14, 14)
    >>> max_pool(array("x", ("n", 8, 28, 28)), (2,)).shape
    ('n', 8, 28, 14)
    """
    return pool(x, size, stride, True)


@of_numbers
def mean_pool(x: Array, size: int | Sequence[int], stride: Any = None) -> Array:
    """The means of windows along the axes after samples and channels; the stride is the size unless given.

    size, stride: as in `max_pool`.

    >>> from gradcompile.frontend.arrays import array
    >>> mean_pool(array("x", ("n", 8, 28, 28)), (2, 4)).shape
    ('n', 8, 14, 7)
    """
    return pool(x, size, stride, False)


def pool(x: Array, size: Any, stride: Any, largest_wanted: bool) -> Array:
    if isinstance(size, Integral) and x.ndim < 3:
        raise ExpressionError(f"a size alone, {size}, is for all axes after samples and channels, and shape {x.shape} "
                              f"has none; give a size for each of the last axes, as ({size},)")  # fmt: skip
    sizes = each("size", size, x.ndim - 2 if isinstance(size, Integral) else len(size))
    if len(sizes) > x.ndim:
        raise ExpressionError(f"windows of {len(sizes)} axes for shape {x.shape}")
    strides = sizes if stride is None else each("stride", stride, len(sizes))
    first = x.ndim - len(sizes)
    n = windows(x.node, first, sizes, strides, [1] * len(sizes))
    inner = [first + 2 * k + 1 for k in range(len(sizes))]
    return Array(largest(n, inner) if largest_wanted else average(n, inner))


__all__ = [
    "attention", "batch_norm", "binary_cross_entropy_with_logits", "conv", "cross_entropy", "dropout", "elu", "gelu",
    "huber", "layer_norm", "leaky_relu", "log_softmax", "logsumexp", "max_pool", "mean_pool", "mse", "one_hot", "silu",
    "softmax", "stop_gradient",
]  # fmt: skip


entries(globals())
