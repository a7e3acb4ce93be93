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
    x_above_0 = 0.0 < x                           # 0 < x
    xlogy_x = xlogy(x, x)                         # xlogy(x, x)
    w_above_0 = 0.0 < w                           # 0 < w
    is_less = -1.0 < x                            # -1 < x
    loss = w * xlogy_x if x_above_0 else (w * w if w_above_0 & is_less else 0.0)  # where(0 < x, w*xlogy(x, x), ...)
    # backward: d_v is dL/dv
    all_hold = w_above_0 & is_less & (not x_above_0)
    grad[0] = (2.0 * w if all_hold else 0.0) + (xlogy_x if x_above_0 else 0.0) if all_hold | x_above_0 else 0.0  # dL/dw
    all_hold_2 = (x != 0.0) & x_above_0
    terms = (w * log(x) if x_above_0 else 0.0) + (w * (x / x) if all_hold_2 else 0.0)
    grad[1] = terms if x_above_0 | all_hold_2 else 0.0  # dL/dx
    return loss
