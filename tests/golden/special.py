"""loss(a, b) = besselj(0, a*b)*erf(b) + loggamma(a)

95 operations for the loss, 195 with the gradient (2.1 times). Rewrites: none.
"""

from gradcompile.library.special import besselj, digamma, lgamma
from gradcompile.vmath import erf, exp, fabs
from gradcompile.codegen.functions import jit


@jit
def kernel(theta: "float64[2]", grad: "float64[2]"):
    """Write the gradient to grad and return the loss."""
    a = theta[0]
    b = theta[1]
    ab = a * b                                    # a*b
    besselj_ab = besselj(0, ab)                   # besselj(0, a*b)
    erf_b = erf(b)                                # erf(b)
    loss = besselj_ab * erf_b + lgamma(a)         # besselj(0, a*b)*erf(b) + lgamma(a)
    # backward: d_v is dL/dv
    erf_b_besselj_ab = erf_b * besselj(1, ab)
    grad[0] = digamma(a) - erf_b_besselj_ab * b   # dL/da
    branch = besselj_ab * (1.1283791670955126 * exp(-b * b)) if fabs(b) < 30.0 else 0.0
    grad[1] = branch - erf_b_besselj_ab * a       # dL/db
    return loss
