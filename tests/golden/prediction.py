"""value(a, b, c; x) = a*exp(-b*x) + c

12 operations for the value a sample. Rewrites: none.
"""

from gradcompile.vmath import exp
from gradcompile.library.primitives import lanes
from gradcompile.codegen.functions import jit

LANES = 32  # samples that are computed side by side


@jit
def values(out, start, stop, theta, x):
    """Write the values of the samples from start to stop."""
    a = theta[0]
    b = theta[1]
    c = theta[2]
    for i in lanes(start, stop):
        out[i] = c + a * exp(-b * x[i])


@jit
def kernel(theta: "float64[3]", out: "float64[n]", x: "float64[n]"):
    """Write the value of every sample to out and return their number."""
    n = x.shape[0]
    values(out, 0, n, theta, x)
    return n
