"""loss(a, b, c; x, y) = mean((a*exp(-b*x) + c - y)**2)

16 operations for the loss, 55 with gradient and Hessian (3.4 times) a sample. Rewrites: none.
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
    tree = zeros((LEVELS, 9), theta)
    sums = zeros((9, LANES), theta)
    for first in range(start, stop, SPAN):
        for i in lanes(first, min(first + SPAN, stop)):
            x_i = x[i]
            e = exp(-b * x_i)                     # exp(-b*x)
            residual = c + a * e - y[i]           # c + a*exp(-b*x) - y
            sums[0, i % LANES] += residual * residual
            # backward: d_v is dL/dv
            d_residual = 2.0 * residual           # dL/dresidual
            sums[1, i % LANES] += d_residual * e  # for dL/da
            d_e = d_residual * a                  # dL/de
            sums[2, i % LANES] -= d_e * e * x_i   # for dL/db
            sums[3, i % LANES] += d_residual      # for dL/dc
            twice_e = 2.0 * e
            sums[4, i % LANES] += twice_e * e     # for d2L/(da da)
            sums[5, i % LANES] -= (d_residual + twice_e * a) * e * x_i  # for d2L/(da db)
            sums[6, i % LANES] += twice_e         # for d2L/(da dc)
            product = 2.0 * (x_i * e * a)
            sums[7, i % LANES] -= (-x_i * d_e - product * a) * e * x_i  # for d2L/(db db)
            sums[8, i % LANES] -= product         # for d2L/(db dc)
        close_span(sums, tree, (first - start) // SPAN)
    close_tree(tree, total, (stop + SPAN - start - 1) // SPAN)


@jit
def finish(grad, hess, theta, total, x, y):
    """Write the gradient to grad and the Hessian to hess and return the loss. It takes the totals of the passes."""
    n = x.shape[0]
    loss = total[0] / n                           # mean((c + a*exp(-b*x) - y)**2)
    grad[0] = total[1] / n                        # dL/da
    grad[1] = total[2] / n                        # dL/db
    grad[2] = total[3] / n                        # dL/dc
    hess[0] = total[4] / n                        # d2L/(da da)
    d2L_da_db = total[5] / n
    hess[1] = d2L_da_db                           # d2L/(da db)
    d2L_da_dc = total[6] / n
    hess[2] = d2L_da_dc                           # d2L/(da dc)
    hess[3] = d2L_da_db                           # d2L/(db da)
    hess[4] = total[7] / n                        # d2L/(db db)
    d2L_db_dc = total[8] / n
    hess[5] = d2L_db_dc                           # d2L/(db dc)
    hess[6] = d2L_da_dc                           # d2L/(dc da)
    hess[7] = d2L_db_dc                           # d2L/(dc db)
    hess[8] = 2.0                                 # d2L/(dc dc)
    return loss


@jit
def kernel(theta: "float64[3]", grad: "float64[3]", hess: "out float64[9]", x: "float64[n]", y: "float64[n]"):
    """Write the gradient to grad and the Hessian to hess and return the loss."""
    n = x.shape[0]
    total = zeros(9, theta)
    samples(total, 0, n, theta, x, y)
    return finish(grad, hess, theta, total, x, y)
