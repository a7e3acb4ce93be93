"""loss(w; x) = mean((w*x - mean(w*x))**2)

7 operations for the loss, 18 with the gradient (2.6 times) a sample. Rewrites: none.
"""

from gradcompile.reduction import LANES, LEVELS, SPAN, close_span, close_tree, zeros
from gradcompile.runtime.jit import jit


@jit
def samples(sums, start, stop, theta, x):
    """Add the samples from start to stop to the sums, one partial sum a lane."""
    w = theta[0]
    for lo in range(start, stop, LANES):
        hi = min(lo + LANES, stop)
        x_ = x[lo:hi]
        for i in range(hi - lo):
            sums[i] += w * x_[i]


@jit
def samples_2(sums, start, stop, theta, mean, x):
    """Add the samples from start to stop to the sums, one partial sum a lane."""
    w = theta[0]
    for lo in range(start, stop, LANES):
        hi = min(lo + LANES, stop)
        x_ = x[lo:hi]
        for i in range(hi - lo):
            x_i = x_[i]
            wx = w * x_i                          # w*x
            diff = wx - mean                      # w*x - mean(w*x)
            sums[i] += diff * diff
            # backward: d_v is dL/dv
            sums[LANES + i] += 2.0 * diff         # for dL/d(-mean)


@jit
def samples_3(sums, start, stop, theta, d_sum_1, mean, ratio, x):
    """Add the samples from start to stop to the sums, one partial sum a lane."""
    w = theta[0]
    for lo in range(start, stop, LANES):
        hi = min(lo + LANES, stop)
        x_ = x[lo:hi]
        for i in range(hi - lo):
            x_i = x_[i]
            # backward: d_v is dL/dv
            wx = w * x_i                          # w*x
            diff = wx - mean                      # w*x - mean(w*x)
            sums[i] += (2.0 * (d_sum_1 * diff) - ratio) * x_i  # for dL/dw


@jit
def kernel(theta, grad, x):
    """Write the gradient to grad and return the loss."""
    n = x.shape[0]
    sums = zeros(LANES, theta)
    tree = zeros(LEVELS, theta)
    total = zeros(1, theta)
    for start in range(0, n, SPAN):
        samples(sums, start, min(start + SPAN, n), theta, x)
        close_span(sums, tree, start // SPAN)
    close_tree(tree, total, (n + SPAN - 1) // SPAN)
    mean = total[0] / n                           # mean(w*x)
    sums = zeros(2 * LANES, theta)
    tree = zeros(2 * LEVELS, theta)
    total_2 = zeros(2, theta)
    for start in range(0, n, SPAN):
        samples_2(sums, start, min(start + SPAN, n), theta, mean, x)
        close_span(sums, tree, start // SPAN)
    close_tree(tree, total_2, (n + SPAN - 1) // SPAN)
    d_sum_1 = 1.0 / n                             # dL/d(sum((w*x - mean(w*x))**2))
    ratio = total_2[1] / n / n
    sums = zeros(LANES, theta)
    tree = zeros(LEVELS, theta)
    total_3 = zeros(1, theta)
    for start in range(0, n, SPAN):
        samples_3(sums, start, min(start + SPAN, n), theta, d_sum_1, mean, ratio, x)
        close_span(sums, tree, start // SPAN)
    close_tree(tree, total_3, (n + SPAN - 1) // SPAN)
    loss = total_2[0] / n                         # mean((w*x - mean(w*x))**2)
    # backward: d_v is dL/dv
    grad[0] = total_3[0]                          # dL/dw
    return loss
