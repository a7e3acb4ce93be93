"""loss(w; x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15, x16, x17, x18, x19) = (sin(w*x0) + 2*sin(w*x1) + 11*sin(w*x10) + 12*sin(w*x11) + 13*sin(w*x12) + 14*sin(w*x13) + 15*sin(w*x14) + 16*sin(w*x15) + 17*sin(w*x16) + 18*sin(w*x17) + 19*sin(w*x18) + 20*sin(w*x19) + 3*sin(w*x2...

219 operations for the loss, 458 with the gradient (2.1 times). Rewrites: none.
"""

from gradcompile.vmath import cos, sin
from gradcompile.runtime.jit import jit


@jit
def kernel(theta, grad, x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15, x16, x17, x18, x19):
    """Write the gradient to grad and return the loss."""
    w = theta[0]
    product = w * x1                              # w*x1
    product_2 = w * x2                            # w*x2
    product_3 = w * x3                            # w*x3
    product_4 = w * x4                            # w*x4
    product_5 = w * x5                            # w*x5
    product_6 = w * x6                            # w*x6
    product_7 = w * x7                            # w*x7
    product_8 = w * x8                            # w*x8
    total_2 = (
        2.0 * sin(product) + 3.0 * sin(product_2) + 4.0 * sin(product_3) + 5.0 * sin(product_4)
        + 6.0 * sin(product_5) + 7.0 * sin(product_6) + 8.0 * sin(product_7) + 9.0 * sin(product_8)
    )
    product_9 = w * x9                            # w*x9
    product_10 = w * x10                          # w*x10
    product_11 = w * x11                          # w*x11
    product_12 = w * x12                          # w*x12
    product_13 = w * x13                          # w*x13
    product_14 = w * x14                          # w*x14
    product_15 = w * x15                          # w*x15
    product_16 = w * x16                          # w*x16
    total_3 = (                                   # 10*sin(w*x9) + ... + ... + ... + ... + ...
        10.0 * sin(product_9) + 11.0 * sin(product_10) + 12.0 * sin(product_11) + 13.0 * sin(product_12)
        + 14.0 * sin(product_13) + 15.0 * sin(product_14) + 16.0 * sin(product_15) + 17.0 * sin(product_16)
    )
    product_17 = w * x17                          # w*x17
    product_18 = w * x18                          # w*x18
    product_19 = w * x19                          # w*x19
    product_20 = w * x0                           # w*x0
    # ... + ... + 20*sin(w*x19) + sin(w*x0)
    total_4 = 18.0 * sin(product_17) + 19.0 * sin(product_18) + 20.0 * sin(product_19) + sin(product_20)
    total_5 = total_2 + total_3 + total_4
    loss = total_5 * total_5
    # backward: d_v is dL/dv
    d_total_5 = 2.0 * total_5                     # dL/dtotal_5
    total_6 = (
        d_total_5 * cos(product_20) * x0 + 20.0 * d_total_5 * cos(product_19) * x19
        + 19.0 * d_total_5 * cos(product_18) * x18 + 18.0 * d_total_5 * cos(product_17) * x17
        + 17.0 * d_total_5 * cos(product_16) * x16 + 32.0 * total_5 * cos(product_15) * x15
        + 15.0 * d_total_5 * cos(product_14) * x14 + 14.0 * d_total_5 * cos(product_13) * x13
    )
    total_7 = (
        13.0 * d_total_5 * cos(product_12) * x12 + 12.0 * d_total_5 * cos(product_11) * x11
        + 11.0 * d_total_5 * cos(product_10) * x10 + 10.0 * d_total_5 * cos(product_9) * x9
        + 9.0 * d_total_5 * cos(product_8) * x8 + 16.0 * total_5 * cos(product_7) * x7
        + 7.0 * d_total_5 * cos(product_6) * x6 + 6.0 * d_total_5 * cos(product_5) * x5
    )
    total_8 = (
        5.0 * d_total_5 * cos(product_4) * x4 + 8.0 * total_5 * cos(product_3) * x3
        + 3.0 * d_total_5 * cos(product_2) * x2 + 4.0 * total_5 * cos(product) * x1
    )
    grad[0] = total_6 + total_7 + total_8         # dL/dw
    return loss
