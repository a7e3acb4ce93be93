"""loss(a, b, c; x, y) = mean((a*exp(-b*x) + c - y)**2)

16 operations for the loss, 28 with the gradient (1.8 times) a sample. Rewrites: none.
"""

from gradcompile.vmath import exp
from gradcompile.reduction import LANES, LEVELS, SPAN, close_span, close_tree, zeros
from gradcompile.runtime.jit import jit


@jit
def samples(sums, start, stop, theta, x, y):
    """Add the samples from start to stop to the sums, one partial sum a lane."""
    a = theta[0]
    b = theta[1]
    c = theta[2]
    for lo in range(start, stop, LANES):
        hi = min(lo + LANES, stop)
        x_ = x[lo:hi]
        y_ = y[lo:hi]
        for i in range(hi - lo):
            x_i = x_[i]
            e = exp(-b * x_i)                     # exp(-b*x)
            diff = c + a * e - y_[i]              # c + a*exp(-b*x) - y
            sums[i] += diff * diff
            # backward: d_v is dL/dv
            d_diff = 2.0 * diff                   # dL/ddiff
            sums[LANES + i] += d_diff * e         # for dL/da
            sums[2 * LANES + i] -= d_diff * a * e * x_i  # for dL/db
            sums[3 * LANES + i] += d_diff         # for dL/dc


@jit
def kernel(theta, grad, x, y):
    """Write the gradient to grad and return the loss."""
    n = x.shape[0]
    sums = zeros(4 * LANES, theta)
    tree = zeros(4 * LEVELS, theta)
    total = zeros(4, theta)
    for start in range(0, n, SPAN):
        samples(sums, start, min(start + SPAN, n), theta, x, y)
        close_span(sums, tree, start // SPAN)
    close_tree(tree, total, (n + SPAN - 1) // SPAN)
    loss = total[0] / n                           # mean((c + a*exp(-b*x) - y)**2)
    # backward: d_v is dL/dv
    grad[0] = total[1] / n                        # dL/da
    grad[1] = total[2] / n                        # dL/db
    grad[2] = total[3] / n                        # dL/dc
    return loss
