"""loss(w; x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15, x16, x17, x18, x19) = (sin(w*x0) + 2*sin(w*x1) + 11*sin(w*x10) + 12*sin(w*x11) + 13*sin(w*x12) + 14*sin(w*x13) + 15*sin(w*x14) + 16*sin(w*x15) + 17*sin(w*x16) + 18*sin(w*x17) + 19*sin(w*x18) + 20*sin(w*x19) + 3*sin(w*x2...

219 operations for the loss, 458 with the gradient (2.1 times). Rewrites: none.
"""

from gradcompile.vmath import cos, sin
from gradcompile.codegen.functions import jit


@jit
def kernel(theta: "float64[1]", grad: "float64[1]", x0: "float64", x1: "float64", x2: "float64", x3: "float64",
        x4: "float64", x5: "float64", x6: "float64", x7: "float64", x8: "float64", x9: "float64", x10: "float64",
        x11: "float64", x12: "float64", x13: "float64", x14: "float64", x15: "float64", x16: "float64",
        x17: "float64", x18: "float64", x19: "float64"):
    """Write the gradient to grad and return the loss."""
    w = theta[0]
    wx1 = w * x1                                  # w*x1
    wx2 = w * x2                                  # w*x2
    wx3 = w * x3                                  # w*x3
    wx4 = w * x4                                  # w*x4
    wx5 = w * x5                                  # w*x5
    wx6 = w * x6                                  # w*x6
    wx7 = w * x7                                  # w*x7
    wx8 = w * x8                                  # w*x8
    terms = (                                     # 2*sin(w*x1) + 3*sin(w*x2) + ...
        2.0 * sin(wx1) + 3.0 * sin(wx2) + 4.0 * sin(wx3) + 5.0 * sin(wx4) + 6.0 * sin(wx5) + 7.0 * sin(wx6)
        + 8.0 * sin(wx7) + 9.0 * sin(wx8)
    )
    wx9 = w * x9                                  # w*x9
    wx10 = w * x10                                # w*x10
    wx11 = w * x11                                # w*x11
    wx12 = w * x12                                # w*x12
    wx13 = w * x13                                # w*x13
    wx14 = w * x14                                # w*x14
    wx15 = w * x15                                # w*x15
    wx16 = w * x16                                # w*x16
    terms_2 = (                                   # 10*sin(w*x9) + 11*sin(w*x10) + ...
        10.0 * sin(wx9) + 11.0 * sin(wx10) + 12.0 * sin(wx11) + 13.0 * sin(wx12) + 14.0 * sin(wx13)
        + 15.0 * sin(wx14) + 16.0 * sin(wx15) + 17.0 * sin(wx16)
    )
    wx17 = w * x17                                # w*x17
    wx18 = w * x18                                # w*x18
    wx19 = w * x19                                # w*x19
    wx0 = w * x0                                  # w*x0
    terms_3 = terms + terms_2 + (18.0 * sin(wx17) + 19.0 * sin(wx18) + 20.0 * sin(wx19) + sin(wx0))
    loss = terms_3 * terms_3
    # backward: d_v is dL/dv
    terms_4 = (
        2.0 * terms_3 * cos(wx0) * x0 + 40.0 * terms_3 * cos(wx19) * x19 + 38.0 * terms_3 * cos(wx18) * x18
        + 36.0 * terms_3 * cos(wx17) * x17 + 34.0 * terms_3 * cos(wx16) * x16 + 32.0 * terms_3 * cos(wx15) * x15
        + 30.0 * terms_3 * cos(wx14) * x14 + 28.0 * terms_3 * cos(wx13) * x13
    )
    terms_5 = (
        26.0 * terms_3 * cos(wx12) * x12 + 24.0 * terms_3 * cos(wx11) * x11 + 22.0 * terms_3 * cos(wx10) * x10
        + 20.0 * terms_3 * cos(wx9) * x9 + 18.0 * terms_3 * cos(wx8) * x8 + 16.0 * terms_3 * cos(wx7) * x7
        + 14.0 * terms_3 * cos(wx6) * x6 + 12.0 * terms_3 * cos(wx5) * x5
    )
    terms_6 = (
        10.0 * terms_3 * cos(wx4) * x4 + 8.0 * terms_3 * cos(wx3) * x3 + 6.0 * terms_3 * cos(wx2) * x2
        + 4.0 * terms_3 * cos(wx1) * x1
    )
    grad[0] = terms_4 + terms_5 + terms_6         # dL/dw
    return loss
