"""loss(a, b, c; x, y) = mean((a*exp(-b*x) + c - y)**2)

16 operations for the loss, 28 with the gradient (1.8 times) a sample. Rewrites: none.
"""

from gradcompile.vmath import exp
from gradcompile.library.sums import LEVELS, SPAN, close_span, close_tree
from gradcompile.library.primitives import lanes, zeros
from gradcompile.codegen.functions import jit

LANES = 32  # samples that are computed side by side


@jit
def samples(total, start, stop, theta, x, y):
    """Add the samples from start to stop, span by span; the sums of spans meet in a tree."""
    a = theta[0]
    b = theta[1]
    c = theta[2]
    tree = zeros((LEVELS, 4), theta)
    sums = zeros((4, LANES), theta)
    for first in range(start, stop, SPAN):
        for i in lanes(first, min(first + SPAN, stop)):
            x_i = x[i]
            e = exp(-b * x_i)                     # exp(-b*x)
            residual = c + a * e - y[i]           # c + a*exp(-b*x) - y
            sums[0, i % LANES] += residual * residual
            # backward: d_v is dL/dv
            d_residual = 2.0 * residual           # dL/dresidual
            sums[1, i % LANES] += d_residual * e  # for dL/da
            sums[2, i % LANES] -= d_residual * a * e * x_i  # for dL/db
            sums[3, i % LANES] += d_residual      # for dL/dc
        close_span(sums, tree, (first - start) // SPAN)
    close_tree(tree, total, (stop + SPAN - start - 1) // SPAN)


@jit
def finish(grad, theta, total, x, y):
    """Write the gradient to grad and return the loss. It takes the totals of the passes."""
    n = x.shape[0]
    loss = total[0] / n                           # mean((c + a*exp(-b*x) - y)**2)
    grad[0] = total[1] / n                        # dL/da
    grad[1] = total[2] / n                        # dL/db
    grad[2] = total[3] / n                        # dL/dc
    return loss


@jit
def kernel(theta: "float64[3]", grad: "float64[3]", x: "float64[n]", y: "float64[n]"):
    """Write the gradient to grad and return the loss."""
    n = x.shape[0]
    total = zeros(4, theta)
    samples(total, 0, n, theta, x, y)
    return finish(grad, theta, total, x, y)
