"""loss(centres, heights; points) = -mean(sum(log(sum(..., axis=1)[:, None]) + max(heights - mean((points[:, None, :] - centres)**2, axis=2), axis=1)[:, None], axis=1))

70 operations for the loss, 111 with the gradient (1.6 times) a sample. Rewrites: none.
"""

from gradcompile.vmath import exp, fabs, log, maximum
from gradcompile.library.sums import carry, close_tree, group_size, levels
from gradcompile.library.primitives import empty, fold, lanes, view, zeros
from gradcompile.library.blas import connect_blas
from gradcompile.codegen.functions import jit

connect_blas()

LANES = 32  # entries that are computed side by side
BLOCK = 128  # samples whose arrays are at hand at a time
GROUP = 2048  # samples, at least, that are added up before their sums meet others


@jit
def samples(total, grad, start, stop, theta, points):
    """Add the samples from start to stop, block by block."""
    n = points.shape[0]
    centres = view(theta, 0, (3, 2))
    heights = view(theta, 6, (3,))
    product = view(total, 1, (3, 2))
    d_heights = view(grad, 6, (3,))
    work = empty(1792, theta)
    partial = zeros(LANES, theta)
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        points_b = points[first:first + m]
        points_T = view(work, 0, (2, m))
        for j in range(2):
            for i in lanes(0, m):
                points_T[j, i] = points_b[i, j]

        diff = view(work, 256, (3, 2, m))
        for k in range(3):
            for j in range(2):
                centres_j = centres[k, j]
                for i in lanes(0, m):
                    diff[k, j, i] = points_T[j, i] - centres_j  # points[:, None, :] - centres

        diff_2 = view(work, 1024, (3, m))
        row_max = view(work, 0, (m,))
        row_max[:] = -float("inf")
        for j in range(3):
            heights_j = heights[j]
            for i in lanes(0, m):
                diff_0_i = diff[j, 0, i]
                diff_1_i = diff[j, 1, i]
                # heights - 0.5*sum(...**2, axis=2)
                diff_2_i = heights_j - 0.5 * (diff_0_i * diff_0_i + diff_1_i * diff_1_i)
                diff_2[j, i] = diff_2_i
                row_max[i] = maximum(row_max[i], diff_2_i)  # max(heights - 0.5*..., axis=1)

        minus_row_max = view(work, 128, (m,))
        for i in lanes(0, m):
            row_max_i = row_max[i]
            # -max(heights - 0.5*..., axis=1)[:, None]
            minus_row_max[i] = -(row_max_i if fabs(row_max_i) < float("inf") else 0.0)

        e = view(work, 1408, (3, m))
        for j in range(3):
            for i in lanes(0, m):
                e[j, i] = exp(diff_2[j, i] + minus_row_max[i])

        ratio = view(work, 128, (m,))
        ratio_2 = -1.0 / n
        partial[:] = 0.0
        for i in lanes(0, m):
            sum_e_i = e[0, i] + e[1, i] + e[2, i]
            row_max_i_2 = row_max[i]
            partial[i % LANES] += log(sum_e_i) + (row_max_i_2 if fabs(row_max_i_2) < float("inf") else 0.0)
            ratio[i] = ratio_2 / sum_e_i
        total[0] += fold(partial)

        minus_product = view(work, 1024, (3, m))
        for j in range(3):
            for i in lanes(0, m):
                minus_product[j, i] = -0.5 * (ratio[i] * e[j, i])

        for j in range(3):
            product[j, :] += minus_product[j] @ diff[j].T

        d_heights[:] += ratio @ e.T               # dL/dheights


@jit
def sums(total, grad, start, stop, theta, points):
    """Add the samples from start to stop, group by group; the sums of groups meet in a tree."""
    n = points.shape[0]
    group = group_size(n, GROUP)
    many = max(stop - start - 1, 0) // group      # groups before the last
    last = start + many * group
    total_tree = zeros((levels(many), 7), theta)
    grad_tree = zeros((levels(many), 9), theta)
    for first in range(start, last, group):
        samples(total, grad, first, first + group, theta, points)
        carry(total, total_tree, (first - start) // group)
        carry(grad, grad_tree, (first - start) // group)
    samples(total, grad, last, stop, theta, points)
    close_tree(total_tree, total, many)
    close_tree(grad_tree, grad, many)


@jit
def finish(grad, theta, total, points):
    """Write the gradient to grad and return the loss."""
    n = points.shape[0]
    product = view(total, 1, (3, 2))
    d_centres = view(grad, 0, (3, 2))
    for j in range(3):
        for i in lanes(0, 2):
            d_centres[j, i] = -2.0 * product[j, i]  # dL/dcentres
    loss = -total[0] / n
    return loss


@jit
def kernel(theta: "float64[9]", grad: "float64[9]", points: "float64[n, 2]"):
    """Write the gradient to grad and return the loss."""
    n = points.shape[0]
    grad[:] = 0.0
    total = zeros(7, theta)
    sums(total, grad, 0, n, theta, points)
    return finish(grad, theta, total, points)
