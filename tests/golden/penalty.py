"""loss(w, b; x, y) = b**2/10 + w**2/10 + mean((b + w*x - y)**2)

12 operations for the loss, 24 with the gradient (2.0 times) a sample. Rewrites: none.
"""

from gradcompile.reduction import LANES, LEVELS, SPAN, close_span, close_tree, zeros
from gradcompile.runtime.jit import jit


@jit
def samples(sums, start, stop, theta, x, y):
    """Add the samples from start to stop to the sums, one partial sum a lane."""
    w = theta[0]
    b = theta[1]
    for lo in range(start, stop, LANES):
        hi = min(lo + LANES, stop)
        x_ = x[lo:hi]
        y_ = y[lo:hi]
        for i in range(hi - lo):
            x_i = x_[i]
            diff = b + w * x_i - y_[i]            # b + w*x - y
            sums[i] += diff * diff
            # backward: d_v is dL/dv
            d_diff = 2.0 * diff                   # dL/ddiff
            sums[LANES + i] += d_diff * x_i       # for dL/dw
            sums[2 * LANES + i] += d_diff         # for dL/db


@jit
def kernel(theta, grad, x, y):
    """Write the gradient to grad and return the loss."""
    n = x.shape[0]
    w = theta[0]
    b = theta[1]
    sums = zeros(3 * LANES, theta)
    tree = zeros(3 * LEVELS, theta)
    total = zeros(3, theta)
    for start in range(0, n, SPAN):
        samples(sums, start, min(start + SPAN, n), theta, x, y)
        close_span(sums, tree, start // SPAN)
    close_tree(tree, total, (n + SPAN - 1) // SPAN)
    loss = 0.1 * (b * b) + 0.1 * (w * w) + total[0] / n  # 0.1*b**2 + 0.1*w**2 + mean((b + w*x - y)**2)
    # backward: d_v is dL/dv
    grad[0] = total[1] / n + 2.0 * (0.1 * w)      # dL/dw
    grad[1] = total[2] / n + 2.0 * (0.1 * b)      # dL/db
    return loss
