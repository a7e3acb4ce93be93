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
    tanh_terms = tanh(v_0 * W_0_0 + v_1 * W_0_1)  # tanh(v_0*W_0_0 + v_1*W_0_1)
    tanh_terms_2 = tanh(v_0 * W_1_0 + v_1 * W_1_1)  # tanh(v_0*W_1_0 + v_1*W_1_1)
    diff = tanh_terms - tanh_terms_2
    loss = diff * diff
    # backward: d_v is dL/dv
    d_diff = 2.0 * diff                           # dL/ddiff
    product = d_diff * (1.0 - tanh_terms * tanh_terms)  # dL/d(v_0*W_0_0 + v_1*W_0_1)
    grad[0] = product * v_0                       # dL/dW_0_0
    grad[1] = product * v_1                       # dL/dW_0_1
    factor = d_diff * (1.0 - tanh_terms_2 * tanh_terms_2)
    grad[2] = -factor * v_0                       # dL/dW_1_0
    grad[3] = -factor * v_1                       # dL/dW_1_1
    grad[4] = -factor * W_1_0 + product * W_0_0   # dL/dv_0
    grad[5] = -factor * W_1_1 + product * W_0_1   # dL/dv_1
    return loss
