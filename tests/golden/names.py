"""loss(theta, lambda_1; n, grad) = mean((-grad + theta*exp(-\\lambda_{1}*n))**2)

15 operations for the loss, 25 with the gradient (1.7 times) a sample. Rewrites: none.
"""

from gradcompile.vmath import exp
from gradcompile.reduction import LANES, LEVELS, SPAN, close_span, close_tree, zeros
from gradcompile.runtime.jit import jit


@jit
def samples(sums, start, stop, theta, n_2, grad_2):
    """Add the samples from start to stop to the sums, one partial sum a lane."""
    theta_2 = theta[0]
    lambda_1 = theta[1]
    for lo in range(start, stop, LANES):
        hi = min(lo + LANES, stop)
        n_2_ = n_2[lo:hi]
        grad_2_ = grad_2[lo:hi]
        for i in range(hi - lo):
            n_i = n_2_[i]
            e = exp(-lambda_1 * n_i)              # exp(-lambda_1*n)
            diff = theta_2 * e - grad_2_[i]       # theta*exp(-lambda_1*n) - grad
            sums[i] += diff * diff
            # backward: d_v is dL/dv
            d_diff = 2.0 * diff                   # dL/ddiff
            sums[LANES + i] += d_diff * e         # for dL/dtheta
            sums[2 * LANES + i] -= d_diff * theta_2 * e * n_i  # for dL/dlambda_1


@jit
def kernel(theta, grad, n_2, grad_2):
    """Write the gradient to grad and return the loss."""
    n = n_2.shape[0]
    sums = zeros(3 * LANES, theta)
    tree = zeros(3 * LEVELS, theta)
    total = zeros(3, theta)
    for start in range(0, n, SPAN):
        samples(sums, start, min(start + SPAN, n), theta, n_2, grad_2)
        close_span(sums, tree, start // SPAN)
    close_tree(tree, total, (n + SPAN - 1) // SPAN)
    loss = total[0] / n                           # mean((theta*exp(-lambda_1*n) - grad)**2)
    # backward: d_v is dL/dv
    grad[0] = total[1] / n                        # dL/dtheta
    grad[1] = total[2] / n                        # dL/dlambda_1
    return loss
