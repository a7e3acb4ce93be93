"""loss(w, b; x, y) = b**2/10 + w**2/10 + mean((b + w*x - y)**2)

12 operations for the loss, 22 with the gradient (1.8 times) a sample. Rewrites: none.
"""

from gradcompile.library.sums import LEVELS, SPAN, close_span, close_tree
from gradcompile.library.primitives import lanes, zeros
from gradcompile.codegen.functions import jit

LANES = 32  # samples that are computed side by side


@jit
def samples(total, start, stop, theta, x, y):
    """Add the samples from start to stop, span by span; the sums of spans meet in a tree."""
    w = theta[0]
    b = theta[1]
    tree = zeros((LEVELS, 3), theta)
    sums = zeros((3, LANES), theta)
    for first in range(start, stop, SPAN):
        for i in lanes(first, min(first + SPAN, stop)):
            x_i = x[i]
            residual = b + w * x_i - y[i]         # b + w*x - y
            sums[0, i % LANES] += residual * residual
            # backward: d_v is dL/dv
            d_residual = 2.0 * residual           # dL/dresidual
            sums[1, i % LANES] += d_residual * x_i  # for dL/dw
            sums[2, i % LANES] += d_residual      # for dL/db
        close_span(sums, tree, (first - start) // SPAN)
    close_tree(tree, total, (stop + SPAN - start - 1) // SPAN)


@jit
def finish(grad, theta, total, x, y):
    """Write the gradient to grad and return the loss. It takes the totals of the passes."""
    n = x.shape[0]
    w = theta[0]
    b = theta[1]
    loss = 0.1 * (b * b) + 0.1 * (w * w) + total[0] / n  # 0.1*b**2 + 0.1*w**2 + mean((b + w*x - y)**2)
    grad[0] = total[1] / n + 0.2 * w              # dL/dw
    grad[1] = total[2] / n + 0.2 * b              # dL/db
    return loss


@jit
def kernel(theta: "float64[2]", grad: "float64[2]", x: "float64[n]", y: "float64[n]"):
    """Write the gradient to grad and return the loss."""
    n = x.shape[0]
    total = zeros(3, theta)
    samples(total, 0, n, theta, x, y)
    return finish(grad, theta, total, x, y)
