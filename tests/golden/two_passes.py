"""loss(w; x) = mean((w*x - mean(w*x))**2)

7 operations for the loss, 18 with the gradient (2.6 times) a sample. Rewrites: none.
"""

from gradcompile.library.sums import LEVELS, SPAN, close_span, close_tree
from gradcompile.library.primitives import lanes, zeros
from gradcompile.codegen.functions import jit

LANES = 32  # samples that are computed side by side


@jit
def samples(total, start, stop, theta, x):
    """Add the samples from start to stop, span by span; the sums of spans meet in a tree."""
    w = theta[0]
    tree = zeros((LEVELS, 1), theta)
    sums = zeros((1, LANES), theta)
    for first in range(start, stop, SPAN):
        for i in lanes(first, min(first + SPAN, stop)):
            sums[0, i % LANES] += w * x[i]
        close_span(sums, tree, (first - start) // SPAN)
    close_tree(tree, total, (stop + SPAN - start - 1) // SPAN)


@jit
def samples_2(total_2, start, stop, theta, total, x):
    """Add the samples from start to stop, span by span; the sums of spans meet in a tree."""
    n = x.shape[0]
    w = theta[0]
    mean = total[0] / n                           # mean(w*x)
    tree = zeros((LEVELS, 2), theta)
    sums = zeros((2, LANES), theta)
    for first in range(start, stop, SPAN):
        for i in lanes(first, min(first + SPAN, stop)):
            x_i = x[i]
            wx = w * x_i                          # w*x
            diff = wx - mean                      # w*x - mean(w*x)
            sums[0, i % LANES] += diff * diff
            # backward: d_v is dL/dv
            sums[1, i % LANES] += 2.0 * diff      # for dL/d(-mean)
        close_span(sums, tree, (first - start) // SPAN)
    close_tree(tree, total_2, (stop + SPAN - start - 1) // SPAN)


@jit
def samples_3(total_3, start, stop, theta, total, total_2, x):
    """Add the samples from start to stop, span by span; the sums of spans meet in a tree."""
    n = x.shape[0]
    w = theta[0]
    inverse_n = 1.0 / n
    mean = total[0] / n                           # mean(w*x)
    mean_over_n = total_2[1] / n / n
    tree = zeros((LEVELS, 1), theta)
    sums = zeros((1, LANES), theta)
    for first in range(start, stop, SPAN):
        for i in lanes(first, min(first + SPAN, stop)):
            x_i = x[i]
            # backward: d_v is dL/dv
            wx = w * x_i                          # w*x
            diff = wx - mean                      # w*x - mean(w*x)
            sums[0, i % LANES] += (2.0 * (inverse_n * diff) - mean_over_n) * x_i  # for dL/dw
        close_span(sums, tree, (first - start) // SPAN)
    close_tree(tree, total_3, (stop + SPAN - start - 1) // SPAN)


@jit
def finish(grad, theta, total, total_2, total_3, x):
    """Write the gradient to grad and return the loss. It takes the totals of the passes."""
    n = x.shape[0]
    loss = total_2[0] / n                         # mean((w*x - mean(w*x))**2)
    grad[0] = total_3[0]                          # dL/dw
    return loss


@jit
def kernel(theta: "float64[1]", grad: "float64[1]", x: "float64[n]"):
    """Write the gradient to grad and return the loss."""
    n = x.shape[0]
    total = zeros(1, theta)
    samples(total, 0, n, theta, x)
    total_2 = zeros(2, theta)
    samples_2(total_2, 0, n, theta, total, x)
    total_3 = zeros(1, theta)
    samples_3(total_3, 0, n, theta, total, total_2, x)
    return finish(grad, theta, total, total_2, total_3, x)
