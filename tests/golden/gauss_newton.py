"""loss(a, b, c; x, y) = mean((-a/(1 + exp(-b*(-c + x))) + y)**2)

17 operations for the loss, 76 with gradient and Gauss-Newton matrix (4.5 times) a sample. Rewrites:
    a/(1 + exp(-b*(x - c))) -> a*sigmoid(b*(x - c))
"""

from gradcompile.vmath import sigmoid
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
    tree = zeros((LEVELS, 10), theta)
    sums = zeros((10, LANES), theta)
    for first in range(start, stop, SPAN):
        for i in lanes(first, min(first + SPAN, stop)):
            diff = x[i] - c                       # x - c
            b_diff = b * diff                     # b*(x - c)
            sigmoid_b_diff = sigmoid(b_diff)      # sigmoid(b*(x - c))
            residual = y[i] - a * sigmoid_b_diff  # y - a*sigmoid(b*(x - c))
            sums[0, i % LANES] += residual * residual
            # backward: d_v is dL/dv
            d_residual = 2.0 * residual           # dL/dresidual
            sums[1, i % LANES] -= d_residual * sigmoid_b_diff  # for dL/da
            product = sigmoid_b_diff * sigmoid(-b_diff)
            product_diff = product * diff
            sums[2, i % LANES] += d_residual * product_diff
            product_b = product * b
            sums[3, i % LANES] -= d_residual * product_b
            sums[4, i % LANES] += sigmoid_b_diff * sigmoid_b_diff  # for d2L/(da da)
            sums[5, i % LANES] -= sigmoid_b_diff * product_diff
            sums[6, i % LANES] += sigmoid_b_diff * product_b
            sums[7, i % LANES] += product_diff * product_diff  # for d2L/(db db)
            sums[8, i % LANES] -= product_b * product_diff  # for d2L/(db dc)
            sums[9, i % LANES] += product_b * product_b  # for d2L/(dc dc)
        close_span(sums, tree, (first - start) // SPAN)
    close_tree(tree, total, (stop + SPAN - start - 1) // SPAN)


@jit
def finish(grad, hess, theta, total, x, y):
    """Write the gradient to grad and the Gauss-Newton matrix to hess and return the loss. It takes the totals of the passes."""
    n = x.shape[0]
    a = theta[0]
    loss = total[0] / n                           # mean((y - a*sigmoid(b*(x - c)))**2)
    grad[0] = total[1] / n                        # dL/da
    grad[1] = -a * total[2] / n                   # dL/db
    grad[2] = -a * total[3] / n                   # dL/dc
    scaled_inverse_n = 2.0 / n
    hess[0] = scaled_inverse_n * total[4]         # d2L/(da da)
    d2L_da_db = -scaled_inverse_n * (a * total[5])
    hess[1] = d2L_da_db                           # d2L/(da db)
    d2L_da_dc = -scaled_inverse_n * (a * total[6])
    hess[2] = d2L_da_dc                           # d2L/(da dc)
    hess[3] = d2L_da_db                           # d2L/(db da)
    a_squared = a * a
    hess[4] = scaled_inverse_n * (a_squared * total[7])  # d2L/(db db)
    d2L_db_dc = scaled_inverse_n * (a_squared * total[8])
    hess[5] = d2L_db_dc                           # d2L/(db dc)
    hess[6] = d2L_da_dc                           # d2L/(dc da)
    hess[7] = d2L_db_dc                           # d2L/(dc db)
    hess[8] = scaled_inverse_n * (a_squared * total[9])  # d2L/(dc dc)
    return loss


@jit
def kernel(theta: "float64[3]", grad: "float64[3]", hess: "out float64[9]", x: "float64[n]", y: "float64[n]"):
    """Write the gradient to grad and the Gauss-Newton matrix to hess and return the loss."""
    n = x.shape[0]
    total = zeros(10, theta)
    samples(total, 0, n, theta, x, y)
    return finish(grad, hess, theta, total, x, y)
