"""loss(x) = log(Add(...))

479 operations for the loss, 1071 with the gradient (2.2 times). Rewrites: none.
"""

from gradcompile.vmath import log
from gradcompile.library.sums import close_span
from gradcompile.library.primitives import empty, lanes, zeros
from gradcompile.codegen.functions import jit

LANES = 16  # entries that are computed side by side


@jit
def kernel(theta: "float64[60]", grad: "float64[60]"):
    """Write the gradient to grad and return the loss."""
    partial = zeros((1, LANES), theta)
    totals = zeros((1, 1), theta)
    for i in lanes(0, 59):
        x_i = theta[i]
        diff = 1.0 - x_i                          # 1 - x[i]
        diff_2 = theta[i + 1] - x_i * x_i         # x[i + 1] - x[i]**2
        partial[0, i % LANES] += diff * diff + 100.0 * (diff_2 * diff_2)
    close_span(partial, totals, 0)
    for i in lanes(0, 60):
        grad[i] = 0.0
    ratio = 1.0 / totals[0, 0]
    part = empty(59, theta)
    for i in lanes(0, 59):
        x_i = theta[i]
        d_diff_2 = 200.0 * ratio * (theta[i + 1] - x_i * x_i)  # dL/ddiff_2
        grad[i] += -2.0 * (d_diff_2 * x_i) - 2.0 * (ratio * (1.0 - x_i))
        part[i] = d_diff_2
    for i in lanes(0, 59):
        grad[i + 1] += part[i]
    loss = log(totals[0, 0])
    return loss
