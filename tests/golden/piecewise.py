"""loss(w, x) = Piecewise((w*x*log(x), x > 0), (w**2, (w > 0) & (x > -1)), (0, True))

17 operations for the loss, 43 with the gradient (2.5 times). Rewrites:
    w*x*log(x) -> w*xlogy(x, x)
"""

from gradcompile.vmath import log, xlogy
from gradcompile.codegen.functions import jit


@jit
def kernel(theta: "float64[2]", grad: "float64[2]"):
    """Write the gradient to grad and return the loss."""
    w = theta[0]
    x = theta[1]
    below = 0.0 < x                               # 0 < x
    xlogy_1 = xlogy(x, x)                         # xlogy(x, x)
    below_2 = 0.0 < w                             # 0 < w
    below_3 = -1.0 < x                            # -1 < x
    loss = w * xlogy_1 if below else (w * w if below_2 & below_3 else 0.0)  # where(0 < x, w*xlogy(x, x), ...)
    # backward: d_v is dL/dv
    both = below_2 & below_3 & (not below)
    d_w = (2.0 * w if both else 0.0) + (xlogy_1 if below else 0.0) if both | below else 0.0  # dL/dw
    grad[0] = d_w                                 # dL/dw
    both_2 = (x != 0.0) & below
    d_x = (w * log(x) if below else 0.0) + (w * (x / x) if both_2 else 0.0) if below | both_2 else 0.0  # dL/dx
    grad[1] = d_x                                 # dL/dx
    return loss
