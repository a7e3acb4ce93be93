"""loss(centres, heights; points) = -mean(sum(log(sum(..., axis=1)[:, None]) + max(heights - mean((points[:, None, :] - centres)**2, axis=2), axis=1)[:, None], axis=1))

70 operations for the loss, 111 with the gradient (1.6 times) a sample. Rewrites: none.
"""

from numpy import float64
from gradcompile.vmath import exp, fabs, log, maximum
from gradcompile.reduction import add_part, group_size, settle
from gradcompile.runtime.primitives import empty, fold, lanes, view, zeros
from gradcompile.runtime.blas import connect_blas
from gradcompile.runtime.jit import jit

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
    work = empty(2304, theta)
    partial = zeros(LANES, theta)
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        points_b = points[first:first + m]
        points_2 = view(work, 0, (2, m))
        for j in range(2):
            for i in lanes(0, m):
                points_2[j, i] = points_b[i, j]   # points

        diff = view(work, 256, (3, 2, m))
        summed = view(work, 1024, (3, m))
        summed[:, :] = 0.0
        for k in range(3):
            for j in range(2):
                centres_i = centres[k, j]
                for i in lanes(0, m):
                    diff_i = points_2[j, i] - centres_i  # points[:, None, :] - centres
                    diff[k, j, i] = diff_i
                    summed[k, i] += diff_i * diff_i  # sum(...**2, axis=2)

        peak = view(work, 0, (m,))
        peak[:] = -float("inf")
        for j in range(3):
            heights_i = heights[j]
            for i in lanes(0, m):
                peak[i] = maximum(peak[i], heights_i - 0.5 * summed[j, i])  # max(heights - 0.5*..., axis=1)

        negative = view(work, 128, (1, m))
        for i in lanes(0, m):
            peak_i = peak[i]
            # -max(heights - 0.5*..., axis=1)[:, None]
            negative[0, i] = -(peak_i if fabs(peak_i) < float("inf") else 0.0)

        e = view(work, 1408, (3, m))
        sum_e = view(work, 1792, (m,))
        sum_e[:] = 0.0
        for j in range(3):
            heights_i_2 = heights[j]
            for i in lanes(0, m):
                e_i = exp(heights_i_2 - 0.5 * summed[j, i] + negative[0, i])  # exp(heights - 0.5*... - ...[:, None])
                e[j, i] = e_i
                sum_e[i] += e_i                   # sum(exp(... + ...), axis=1)

        summed_2 = view(work, 128, (m,))
        d_sum_e = view(work, 1024, (1, m))
        d_sum_e_part = d_sum_e[0, :]
        d_sum_summed_2 = float64(-1.0) / n
        summed_2[:] = 0.0
        for i in lanes(0, m):
            sum_e_i = sum_e[i]
            peak_i_2 = peak[i]
            summed_2[i] += log(sum_e_i) + (peak_i_2 if fabs(peak_i_2) < float("inf") else 0.0)  # sum(... + ..., axis=1)
            d_sum_e[0, i] = d_sum_summed_2 / sum_e_i

        partial[:] = 0.0
        for i in lanes(0, m):
            partial[i % LANES] += summed_2[i]
        total[0] += fold(partial)

        d_summed = view(work, 1920, (3, m))
        for j in range(3):
            for i in lanes(0, m):
                d_summed[j, i] = -0.5 * (d_sum_e[0, i] * e[j, i])  # dL/dsummed

        for j in range(3):
            product[j, :] += d_summed[j] @ diff[j].T

        d_heights[:] += d_sum_e_part @ e.T        # dL/dheights


@jit
def sums(total, grad, start, stop, theta, points):
    """Add the samples from start to stop, group by group, each from zero."""
    group = group_size(stop - start, GROUP)
    samples(total, grad, start, min(start + group, stop), theta, points)
    total_part = zeros(7 if stop > start + group else 0, theta)
    total_lost = zeros(7 if stop > start + group else 0, theta)
    grad_part = zeros(9 if stop > start + group else 0, theta)
    grad_lost = zeros(9 if stop > start + group else 0, theta)
    for first in range(start + group, stop, group):
        total_part[:] = 0.0
        grad_part[:] = 0.0
        samples(total_part, grad_part, first, min(first + group, stop), theta, points)
        add_part(total, total_part, total_lost)
        add_part(grad, grad_part, grad_lost)
    settle(total, total_lost)
    settle(grad, grad_lost)


@jit
def finish(grad, theta, total, points):
    """Write the gradient to grad and return the loss."""
    n = points.shape[0]
    product = view(total, 1, (3, 2))
    d_centres = view(grad, 0, (3, 2))
    for j in range(3):
        for i in lanes(0, 2):
            d_centres[j, i] = -2.0 * product[j, i]  # dL/dcentres
    negative = -total[0] / n                      # -mean(sum(... + ..., axis=1))
    return negative


@jit
def kernel(theta, grad, points):
    """Write the gradient to grad and return the loss."""
    n = points.shape[0]
    grad[:] = 0.0
    total = zeros(7, theta)
    sums(total, grad, 0, n, theta, points)
    return finish(grad, theta, total, points)
