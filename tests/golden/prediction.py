"""value(a, b, c; x) = a*exp(-b*x) + c

12 operations for the value a sample. Rewrites: none.
"""

from gradcompile.vmath import exp
from gradcompile.reduction import LANES, SPAN
from gradcompile.runtime.jit import jit


@jit
def values(out, start, stop, theta, x):
    """Write the values of the samples from start to stop."""
    a = theta[0]
    b = theta[1]
    c = theta[2]
    for lo in range(start, stop, LANES):
        hi = min(lo + LANES, stop)
        x_ = x[lo:hi]
        for i in range(hi - lo):
            out[lo + i] = c + a * exp(-b * x_[i])


@jit
def kernel(theta, out, x):
    """Write the value of every sample to out and return their number."""
    n = x.shape[0]
    for start in range(0, n, SPAN):
        values(out, start, min(start + SPAN, n), theta, x)
    return n
