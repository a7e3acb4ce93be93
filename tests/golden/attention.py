"""loss(Wq, Wk, Wv; X, target) = mean((softmax(X @ Wq @ (X @ Wk).T/2) @ (X @ Wv) - target)**2)

159 operations for the loss, 397 with the gradient (2.5 times) a sample. Rewrites: none.
"""

from numpy import float64
from gradcompile.vmath import exp, fabs, maximum
from gradcompile.library.sums import carry, close_tree, group_size, levels
from gradcompile.library.primitives import empty, fold, lanes, view, zeros
from gradcompile.library.blas import connect_blas
from gradcompile.codegen.functions import jit

connect_blas()

LANES = 16  # entries that are computed side by side
BLOCK = 128  # samples whose arrays are at hand at a time
GROUP = 2048  # samples, at least, that are added up before their sums meet others
COUNTED = ('n',)  # lengths that BLAS counts in 32 bits


@jit
def before(shared, theta, X, target):
    """Compute what the samples share."""
    Wq = view(theta, 0, (3, 4))
    Wk = view(theta, 12, (3, 4))
    Wq_Wk = view(shared, 0, (3, 3))
    Wq_Wk[:, :] = Wq @ Wk.T                       # Wq @ Wk.T


@jit
def samples(start, stop, theta, shared, rows, X, target):
    """Add the samples from start to stop, block by block."""
    n = X.shape[0]
    Wq_Wk = view(shared, 0, (3, 3))
    Wq_Wk_X = view(rows, 0, (3, n))
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        X_b = X[first:first + m]
        Wq_Wk_X_b = Wq_Wk_X[:, first:first + m]
        Wq_Wk_X_b[:, :] = Wq_Wk @ X_b.T           # Wq @ Wk.T @ X.T


@jit
def samples_2(total_2, grad, start, stop, theta, shared, rows, X, target):
    """Add the samples from start to stop, block by block."""
    n = X.shape[0]
    Wv = view(theta, 24, (3, 4))
    Wq_Wk_X = view(rows, 0, (3, n))
    product = view(total_2, 1, (3, n))
    d_Wv = view(grad, 24, (3, 4))
    work = empty(384 * n + 1664, theta)
    partial = zeros(LANES, theta)
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        X_b = X[first:first + m]
        target_b = target[first:first + m]
        scores = view(work, 0, (n, m))
        scores[:, :] = Wq_Wk_X.T @ X_b.T          # X @ (Wq @ Wk.T @ X.T)

        row_max = view(work, 128 * n, (m,))
        row_max[:] = -float("inf")
        for j in range(n):
            for i in lanes(0, m):
                row_max[i] = maximum(row_max[i], 0.5 * scores[j, i])  # max(0.5*X @ (Wq @ Wk.T @ X.T), axis=1)

        minus_row_max = view(work, 128 * n + 128, (m,))
        for i in lanes(0, m):
            row_max_i = row_max[i]
            minus_row_max[i] = -(row_max_i if fabs(row_max_i) < float("inf") else 0.0)  # -max(..., axis=1)[:, None]

        e = view(work, 128 * n + 256, (n, m))
        sum_e = view(work, 128 * n, (m,))
        sum_e[:] = 0.0
        for j in range(n):
            for i in lanes(0, m):
                e_i = exp(0.5 * scores[j, i] + minus_row_max[i])
                e[j, i] = e_i
                sum_e[i] += e_i

        inverse_sum_e = view(work, 128 * n + 128, (m,))
        for i in lanes(0, m):
            inverse_sum_e[i] = 1.0 / sum_e[i]     # 1/sum(..., axis=1)[:, None]

        weights = view(work, 0, (n, m))
        for j in range(n):
            for i in lanes(0, m):
                weights[j, i] = e[j, i] * inverse_sum_e[i]  # softmax(0.5*X @ (Wq @ Wk.T @ X.T))

        weights_X = view(work, 256 * n + 256, (3, m))
        weights_X[:, :] = X.T @ weights           # softmax(0.5*X @ (Wq @ Wk.T @ X.T)) @ X

        weights_X_Wv = view(work, 256 * n + 640, (4, m))
        weights_X_Wv[:, :] = Wv.T @ weights_X     # softmax(0.5*X @ (Wq @ Wk.T @ X.T)) @ X @ Wv

        d_residual = view(work, 256 * n + 1152, (4, m))
        inverse_scaled_n = 1.0 / (4.0 * n)        # 1/(4*n)
        partial[:] = 0.0
        for j in range(4):
            for i in lanes(0, m):
                residual_i = weights_X_Wv[j, i] - target_b[i, j]  # ... @ Wv - target
                partial[i % LANES] += residual_i * residual_i
                d_residual[j, i] = 2.0 * (inverse_scaled_n * residual_i)  # dL/dresidual
        total_2[0] += fold(partial)

        d_weights_X = view(work, 256 * n + 640, (3, m))
        d_weights_X[:, :] = Wv @ d_residual       # dL/dweights_X

        d_weights = view(work, 256 * n + 1664, (n, m))
        d_weights[:, :] = X @ d_weights_X         # dL/dweights

        repeated = view(work, 128 * n, (m,))
        repeated[:] = 0.0
        for j in range(n):
            for i in lanes(0, m):
                repeated[i] -= d_weights[j, i] * (weights[j, i] * inverse_sum_e[i])

        d_scores = view(work, 0, (n, m))
        for j in range(n):
            for i in lanes(0, m):
                d_scores[j, i] = 0.5 * ((d_weights[j, i] * inverse_sum_e[i] + repeated[i]) * e[j, i])  # dL/dscores

        product[:, :] += X_b.T @ d_scores.T

        d_Wv[:, :] += weights_X @ d_residual.T    # dL/dWv


@jit
def samples_3(total_3, start, stop, theta, shared, rows, total_2, X, target):
    """Add the samples from start to stop, block by block."""
    n = X.shape[0]
    product = view(total_2, 1, (3, n))
    product_X = view(total_3, 0, (3, 3))
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        product_b = product[:, first:first + m]
        X_b = X[first:first + m]
        product_X[:, :] += product_b @ X_b


@jit
def sums_2(total_2, grad, start, stop, theta, shared, rows, X, target):
    """Add the samples from start to stop, group by group; the sums of groups meet in a tree."""
    n = X.shape[0]
    group = group_size(n, GROUP)
    many = max(stop - start - 1, 0) // group      # groups before the last
    last = start + many * group
    total_2_tree = zeros((levels(many), 3 * n + 1), theta)
    grad_tree = zeros((levels(many), 36), theta)
    for first in range(start, last, group):
        samples_2(total_2, grad, first, first + group, theta, shared, rows, X, target)
        carry(total_2, total_2_tree, (first - start) // group)
        carry(grad, grad_tree, (first - start) // group)
    samples_2(total_2, grad, last, stop, theta, shared, rows, X, target)
    close_tree(total_2_tree, total_2, many)
    close_tree(grad_tree, grad, many)


@jit
def sums_3(total_3, start, stop, theta, shared, rows, total_2, X, target):
    """Add the samples from start to stop, group by group; the sums of groups meet in a tree."""
    n = X.shape[0]
    group = group_size(n, GROUP)
    many = max(stop - start - 1, 0) // group      # groups before the last
    last = start + many * group
    total_3_tree = zeros((levels(many), 9), theta)
    for first in range(start, last, group):
        samples_3(total_3, first, first + group, theta, shared, rows, total_2, X, target)
        carry(total_3, total_3_tree, (first - start) // group)
    samples_3(total_3, last, stop, theta, shared, rows, total_2, X, target)
    close_tree(total_3_tree, total_3, many)


@jit
def finish(grad, theta, shared, rows, total_2, total_3, X, target):
    """Write the gradient to grad and return the loss."""
    n = X.shape[0]
    Wq = view(theta, 0, (3, 4))
    Wk = view(theta, 12, (3, 4))
    combined = view(total_3, 0, (3, 3))
    d_Wq = view(grad, 0, (3, 4))
    d_Wk = view(grad, 12, (3, 4))
    d_Wq[:, :] = combined @ Wk                    # dL/dWq

    d_Wk[:, :] = combined.T @ Wq                  # dL/dWk
    loss = total_2[0] * (1.0 / float64(4.0 * n))  # sum((... @ Wv - target)**2)/(4*n)
    return loss


@jit
def kernel(theta: "float64[36]", grad: "float64[36]", X: "float64[n, 3]", target: "float64[n, 4]"):
    """Write the gradient to grad and return the loss."""
    n = X.shape[0]
    grad[:] = 0.0
    shared = empty(9, theta)
    before(shared, theta, X, target)
    rows = empty(3 * n, theta)
    samples(0, n, theta, shared, rows, X, target)
    total_2 = zeros(3 * n + 1, theta)
    sums_2(total_2, grad, 0, n, theta, shared, rows, X, target)
    total_3 = zeros(9, theta)
    sums_3(total_3, 0, n, theta, shared, rows, total_2, X, target)
    return finish(grad, theta, shared, rows, total_2, total_3, X, target)
