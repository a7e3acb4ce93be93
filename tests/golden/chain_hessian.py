"""loss(z0, z1, z2, z3, z4, z5, z6, z7, z8, z9, z10, z11, z12, z13, z14, z15, z16, z17, z18, z19, z20, z21, z22, z23, z24, z25, z26, z27, z28, z29, z30, z31, z32, z33, z34, z35, z36, z37, z38, z39, z40, z41, z42, z43, z44, z45, z46, z47, z48, z49, z50, z51, z52, z53, z54, z55, z56, z57, z58, z59) = (1 - z0)**2 + (1 - z1)**2 + (1 - z10)**2 + (1 - z11)**2 + (1 - z12)**2 + (1 - z13)**2 + (1 - z14)**2 + (1 - z15)**2 + (1 - z16)**2 + (1 - z17)**2 + (1 - z18)**2 + ... (118 terms)

471 operations for the loss, 2068 with gradient and Hessian (4.4 times). Rewrites: none.
"""

from gradcompile.library.sums import close_span
from gradcompile.library.primitives import empty, lanes, zeros
from gradcompile.codegen.functions import jit

LANES = 16  # entries that are computed side by side


@jit
def kernel(theta: "float64[60]", grad: "float64[60]", hess: "out float64[178]"):
    """Write the gradient to grad and the entries of the Hessian to hess and return the loss."""
    for i in lanes(0, 178):
        hess[i] = 0.0
    for i in lanes(0, 60):
        grad[i] = 0.0
    partial = zeros((1, LANES), theta)
    totals = zeros((1, 1), theta)
    part = empty(59, theta)
    part_2 = empty(59, theta)
    for i in lanes(0, 59):
        z_i = theta[i]
        diff = 1.0 - z_i                          # 1 - z[i]
        diff_2 = theta[i + 1] - z_i * z_i         # z[i + 1] - z[i]**2
        partial[0, i % LANES] += diff * diff + 100.0 * (diff_2 * diff_2)
        scaled_z_i = 400.0 * z_i
        hess[3 * i + 2] -= scaled_z_i
        hess[3 * i + 1] -= scaled_z_i
        hess[3 * i + 3] += 200.0
        d_diff_2 = 200.0 * diff_2                 # dL/ddiff_2
        part[i] = 2.0 + 2.0 * (scaled_z_i * z_i - d_diff_2)
        grad[i] += -400.0 * diff_2 * z_i - 2.0 * diff
        part_2[i] = d_diff_2
    close_span(partial, totals, 0)
    for i in lanes(0, 59):
        hess[3 * i] += part[i]
    for i in lanes(0, 59):
        grad[i + 1] += part_2[i]
    return totals[0, 0]
