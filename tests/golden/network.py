"""loss(W1, b1, W2, b2; X, t) = mean(-((relu(X @ W1 + b1) @ W2 + b2 - max(relu(X @ W1 + b1) @ W2 + b2, axis=1)[:, None] - log(sum(exp(maximum(..., -750)), axis=1)[:, None]))[arange(n), t] + where(t < 0, nan, -0.0)))

105 operations for the loss, 228 with the gradient (2.2 times) a sample. Rewrites:
    log(sum(exp(maximum(... - max(..., axis=1)[:, None], -750)), axis=1)[:, None])
        -> (max(maximum(..., -750), axis=1) + log(sum(..., axis=1)))[:, None]
"""

from numpy import float64
from gradcompile.vmath import exp, fabs, log, maximum
from gradcompile.reduction import add_part, group_size, settle
from gradcompile.runtime.primitives import empty, fold, integers, lanes, view, zeros
from gradcompile.runtime.blas import connect_blas
from gradcompile.runtime.jit import jit

connect_blas()

LANES = 16  # entries that are computed side by side
BLOCK = 128  # samples whose arrays are at hand at a time
GROUP = 2048  # samples, at least, that are added up before their sums meet others


@jit
def samples(total, grad, start, stop, theta, X, t):
    """Add the samples from start to stop, block by block."""
    n = X.shape[0]
    W1 = view(theta, 0, (3, 4))
    b1 = view(theta, 12, (4,))
    W2 = view(theta, 16, (4, 2))
    b2 = view(theta, 24, (2,))
    summed = view(total, 1, (4,))
    product = view(total, 5, (3, 4))
    d_b1 = view(grad, 12, (4,))
    d_W2 = view(grad, 16, (4, 2))
    d_b2 = view(grad, 24, (2,))
    work = empty(3968, theta)
    work_whole = integers(128)
    partial = zeros(LANES, theta)
    partial_2 = zeros(LANES, theta)
    partial_3 = zeros(LANES, theta)
    partial_4 = zeros(LANES, theta)
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        t_b = t[first:first + m]
        X_b = X[first:first + m]
        place = view(work_whole, 0, (m,))
        for i in lanes(0, m):
            t_b_i = t_b[i]
            place[i] = t_b_i + 2 if t_b_i < 0 else t_b_i

        X_W1 = view(work, 0, (4, m))
        X_W1[:, :] = W1.T @ X_b.T                 # X @ W1

        relu = view(work, 512, (4, m))
        for j in range(4):
            b1_i = b1[j]
            partial[:] = 0.0
            for i in lanes(0, m):
                total_i = X_W1[j, i] + b1_i       # X @ W1 + b1
                below_i = total_i <= 0.0          # X @ W1 + b1 <= 0
                relu[j, i] = 0.0 if below_i else total_i  # relu(X @ W1 + b1)
                partial[i % LANES] += 1.0 if not below_i else 0.0
            summed[j] += fold(partial)

        product_2 = view(work, 1024, (2, m))
        product_2[:, :] = W2.T @ relu             # relu(X @ W1 + b1) @ W2

        peak = view(work, 1280, (m,))
        d_diff = view(work, 1408, (2, m))
        d_total_i = -float64(1.0) / n
        peak[:] = -float("inf")
        for j in range(2):
            b2_i = b2[j]
            for i in lanes(0, m):
                peak[i] = maximum(peak[i], product_2[j, i] + b2_i)  # max(relu(X @ W1 + b1) @ W2 + b2, axis=1)
                eq_i = place[i] == j
                d_diff[j, i] = (d_total_i if eq_i else 0.0) if 0.0 < (1.0 if eq_i else 0.0) else 0.0

        negative = view(work, 1664, (1, m))
        for i in lanes(0, m):
            peak_i = peak[i]
            negative[0, i] = -(peak_i if fabs(peak_i) < float("inf") else 0.0)  # -max(..., axis=1)[:, None]

        diff = view(work, 1792, (2, m))
        larger = view(work, 2048, (2, m))
        amax_larger = view(work, 1280, (m,))
        amax_larger[:] = -float("inf")
        for j in range(2):
            b2_i_2 = b2[j]
            for i in lanes(0, m):
                diff_i = product_2[j, i] + b2_i_2 + negative[0, i]  # ... @ W2 + b2 - ...[:, None]
                diff[j, i] = diff_i
                larger_i = maximum(diff_i, -750.0)  # maximum(... @ W2 + b2 - ...[:, None], -750)
                larger[j, i] = larger_i
                amax_larger[i] = maximum(amax_larger[i], larger_i)  # max(maximum(..., ...), axis=1)

        e = view(work, 1024, (2, m))
        for j in range(2):
            for i in lanes(0, m):
                e[j, i] = exp(larger[j, i] - amax_larger[i])  # exp(maximum(..., ...) - ...[:, None])

        negative_2 = view(work, 1664, (1, m))
        d_sum_1 = view(work, 2048, (m,))
        for i in lanes(0, m):
            sum_i = e[0, i] + e[1, i]             # sum(exp(... + ...), axis=1)
            negative_2[0, i] = -(amax_larger[i] + log(sum_i))  # -(max(..., axis=1) + log(...))[:, None]
            d_sum_1[i] = -(d_diff[0, i] + d_diff[1, i]) / sum_i  # dL/dsum_1

        picked = view(work, 2176, (m,))
        d_diff_2 = view(work, 2304, (2, m))
        picked[:] = 0.0
        for j in range(2):
            partial_2[:] = 0.0
            for i in lanes(0, m):
                diff_i_2 = diff[j, i]
                eq_i_2 = place[i] == j
                picked[i] += diff_i_2 + negative_2[0, i] if eq_i_2 else 0.0  # (... + ... - ...[:, None])[arange(n), t]
                below_i_2 = -750.0 <= diff_i_2
                chosen_i = d_sum_1[i] * e[j, i] * (0.5 if diff_i_2 == -750.0 else 1.0) if below_i_2 else 0.0
                d_diff_i = d_diff[j, i] + chosen_i if below_i_2 | (0.0 < (1.0 if eq_i_2 else 0.0)) else 0.0  # dL/ddiff
                d_diff_2[j, i] = d_diff_i
                partial_2[i % LANES] += d_diff_i
            d_b2[j] += fold(partial_2)            # dL/db2

        partial_3[:] = 0.0
        for i in lanes(0, m):
            partial_3[i % LANES] += -(picked[i] + (float("nan") if t_b[i] < 0 else -0.0))
        total[0] += fold(partial_3)

        chosen = view(work, 2560, (3, m))
        b1_i_2 = b1[0]
        b1_i_3 = b1[1]
        b1_i_4 = b1[2]
        b1_i_5 = b1[3]
        for j in range(3):
            for i in lanes(0, m):
                total_i_2 = (
                    (1.0 if not (X_W1[0, i] + b1_i_2 <= 0.0) else 0.0) + (1.0 if not (X_W1[1, i] + b1_i_3 <= 0.0)
                    else 0.0) + (1.0 if not (X_W1[2, i] + b1_i_4 <= 0.0) else 0.0) + (1.0 if not (X_W1[3, i]
                    + b1_i_5 <= 0.0) else 0.0)
                )
                chosen[j, i] = X_b[i, j] if 0.0 < total_i_2 else 0.0

        d_relu = view(work, 2944, (4, m))
        d_relu[:, :] = W2 @ d_diff_2              # dL/drelu

        d_total = view(work, 3456, (4, m))
        for j in range(4):
            b1_i_6 = b1[j]
            partial_4[:] = 0.0
            for i in lanes(0, m):
                d_total_i_2 = d_relu[j, i] if not (X_W1[j, i] + b1_i_6 <= 0.0) else 0.0  # dL/d(X @ W1 + b1)
                d_total[j, i] = d_total_i_2
                partial_4[i % LANES] += d_total_i_2
            d_b1[j] += fold(partial_4)            # dL/db1

        product[:, :] += chosen @ d_total.T

        d_W2[:, :] += relu @ d_diff_2.T           # dL/dW2


@jit
def sums(total, grad, start, stop, theta, X, t):
    """Add the samples from start to stop, group by group, each from zero."""
    group = group_size(stop - start, GROUP)
    samples(total, grad, start, min(start + group, stop), theta, X, t)
    total_part = zeros(17 if stop > start + group else 0, theta)
    total_lost = zeros(17 if stop > start + group else 0, theta)
    grad_part = zeros(26 if stop > start + group else 0, theta)
    grad_lost = zeros(26 if stop > start + group else 0, theta)
    for first in range(start + group, stop, group):
        total_part[:] = 0.0
        grad_part[:] = 0.0
        samples(total_part, grad_part, first, min(first + group, stop), theta, X, t)
        add_part(total, total_part, total_lost)
        add_part(grad, grad_part, grad_lost)
    settle(total, total_lost)
    settle(grad, grad_lost)


@jit
def finish(grad, theta, total, X, t):
    """Write the gradient to grad and return the loss."""
    n = X.shape[0]
    summed = view(total, 1, (4,))
    product = view(total, 5, (3, 4))
    d_W1 = view(grad, 0, (3, 4))
    for j in range(3):
        for i in lanes(0, 4):
            d_W1[j, i] = product[j, i] if 0.0 < summed[i] else 0.0  # dL/dW1
    mean = total[0] / n                           # mean(-(...[arange(n), t] + ...))
    return mean


@jit
def kernel(theta, grad, X, t):
    """Write the gradient to grad and return the loss."""
    n = X.shape[0]
    grad[:] = 0.0
    total = zeros(17, theta)
    sums(total, grad, 0, n, theta, X, t)
    return finish(grad, theta, total, X, t)
