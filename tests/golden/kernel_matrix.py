"""loss(length; points, y) = y @ (exp(-sum((points[:, None, :] - points)**2, axis=2)/(2*length**2)) @ y)

22 operations for the loss, 32 with the gradient (1.5 times) a sample. Rewrites: none.
"""

from gradcompile.vmath import exp
from gradcompile.library.sums import carry, close_tree, group_size, levels
from gradcompile.library.primitives import empty, fold, lanes, view, zeros
from gradcompile.library.blas import connect_blas
from gradcompile.codegen.functions import jit

connect_blas()

LANES = 32  # entries that are computed side by side
BLOCK = 128  # samples whose arrays are at hand at a time
GROUP = 2048  # samples, at least, that are added up before their sums meet others
COUNTED = ('n',)  # lengths that BLAS counts in 32 bits


@jit
def samples(total, grad, start, stop, theta, points, y):
    """Add the samples from start to stop, block by block."""
    n = points.shape[0]
    length = theta[0]
    work = empty(128 * n + 256, theta)
    partial = zeros(LANES, theta)
    partial_2 = zeros(LANES, theta)
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        y_b = y[first:first + m]
        points_b = points[first:first + m]
        points_T = view(work, 0, (2, m))
        for j in range(2):
            for i in lanes(0, m):
                points_T[j, i] = points_b[i, j]

        e = view(work, 256, (n, m))
        ratio = 1.0 / (2.0 * (length * length))   # 1/(2*length**2)
        inverse_length = 1.0 / length
        partial[:] = 0.0
        for j in range(n):
            points_0_j = points[j, 0]
            points_1_j = points[j, 1]
            y_j = y[j]
            for i in lanes(0, m):
                diff_0_i = points_T[0, i] - points_0_j  # points[:, None, :] - points
                diff_1_i = points_T[1, i] - points_1_j  # points[:, None, :] - points
                # sum((... - points)**2, axis=2)/(2*length**2)
                product_i = (diff_0_i * diff_0_i + diff_1_i * diff_1_i) * ratio
                e_i = exp(-product_i)
                e[j, i] = e_i
                partial[i % LANES] += y_b[i] * y_j * e_i * (2.0 * (product_i * inverse_length))
        grad[0] += fold(partial)                  # dL/dlength

        e_y = view(work, 0, (m,))
        e_y[:] = e.T @ y                          # exp(-.../(2*length**2)) @ y

        partial_2[:] = 0.0
        for i in lanes(0, m):
            partial_2[i % LANES] += y_b[i] * e_y[i]
        total[0] += fold(partial_2)


@jit
def sums(total, grad, start, stop, theta, points, y):
    """Add the samples from start to stop, group by group; the sums of groups meet in a tree."""
    n = points.shape[0]
    group = group_size(n, GROUP)
    many = max(stop - start - 1, 0) // group      # groups before the last
    last = start + many * group
    total_tree = zeros((levels(many), 1), theta)
    grad_tree = zeros((levels(many), 1), theta)
    for first in range(start, last, group):
        samples(total, grad, first, first + group, theta, points, y)
        carry(total, total_tree, (first - start) // group)
        carry(grad, grad_tree, (first - start) // group)
    samples(total, grad, last, stop, theta, points, y)
    close_tree(total_tree, total, many)
    close_tree(grad_tree, grad, many)


@jit
def finish(grad, theta, total, points, y):
    """Write the gradient to grad and return the loss."""
    return total[0]


@jit
def kernel(theta: "float64[1]", grad: "float64[1]", points: "float64[n, 2]", y: "float64[n]"):
    """Write the gradient to grad and return the loss."""
    n = points.shape[0]
    grad[:] = 0.0
    total = zeros(1, theta)
    sums(total, grad, 0, n, theta, points, y)
    return finish(grad, theta, total, points, y)
