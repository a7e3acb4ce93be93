"""loss(W, v) = (tanh(v[0]*W[0, 0] + v[1]*W[0, 1]) - tanh(v[0]*W[1, 0] + v[1]*W[1, 1]))**2

32 operations for the loss, 51 with the gradient (1.6 times). Rewrites: none.
"""

from gradcompile.vmath import tanh
from gradcompile.codegen.functions import jit


@jit
def kernel(theta: "float64[6]", grad: "float64[6]"):
    """Write the gradient to grad and return the loss."""
    W_0_0 = theta[0]
    W_0_1 = theta[1]
    W_1_0 = theta[2]
    W_1_1 = theta[3]
    v_0 = theta[4]
    v_1 = theta[5]
    tanh_1 = tanh(v_0 * W_0_0 + v_1 * W_0_1)      # tanh(v_0*W_0_0 + v_1*W_0_1)
    tanh_2 = tanh(v_0 * W_1_0 + v_1 * W_1_1)      # tanh(v_0*W_1_0 + v_1*W_1_1)
    diff = tanh_1 - tanh_2                        # tanh(...) - tanh(...)
    loss = diff * diff                            # (tanh(...) - tanh(...))**2
    # backward: d_v is dL/dv
    d_diff = 2.0 * diff                           # dL/ddiff
    d_total = d_diff * (1.0 - tanh_1 * tanh_1)    # dL/d(v_0*W_0_0 + v_1*W_0_1)
    grad[0] = d_total * v_0                       # dL/dW_0_0
    grad[1] = d_total * v_1                       # dL/dW_0_1
    product = d_diff * (1.0 - tanh_2 * tanh_2)
    grad[2] = -product * v_0                      # dL/dW_1_0
    grad[3] = -product * v_1                      # dL/dW_1_1
    grad[4] = -product * W_1_0 + d_total * W_0_0  # dL/dv_0
    grad[5] = -product * W_1_1 + d_total * W_0_1  # dL/dv_1
    return loss
