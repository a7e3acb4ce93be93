"""loss(w; x, y) = (w*x - y)**2

3 operations for the loss, 5 with the gradient (1.7 times). Rewrites: none.
"""

from gradcompile.codegen.functions import jit


@jit
def kernel(theta: "float64[1]", grad: "float64[1]", x: "float64", y: "float64"):
    """Write the gradient to grad and return the loss."""
    w = theta[0]
    residual = w * x - y                          # w*x - y
    loss = residual * residual                    # (w*x - y)**2
    # backward: d_v is dL/dv
    grad[0] = 2.0 * residual * x                  # dL/dw
    return loss
