"""loss(W, u, v; vector, X, t) = mean((tanh(X @ W + u) @ v - t)**2)

88 operations for the loss, 280 with gradient and product (3.2 times) a sample. Rewrites: none.
"""

from gradcompile.vmath import tanh
from gradcompile.library.sums import carry, close_tree, group_size, levels
from gradcompile.library.primitives import empty, fold, lanes, view, zeros
from gradcompile.library.blas import connect_blas
from gradcompile.codegen.functions import jit

connect_blas()

LANES = 16  # entries that are computed side by side
BLOCK = 128  # samples whose arrays are at hand at a time
GROUP = 2048  # samples, at least, that are added up before their sums meet others


@jit
def samples(total, grad, hv, start, stop, theta, vector, X, t):
    """Add the samples from start to stop, block by block."""
    n = X.shape[0]
    W = view(theta, 0, (3, 4))
    u = view(theta, 12, (4,))
    v = view(theta, 16, (4,))
    d_W = view(grad, 0, (3, 4))
    d_u = view(grad, 12, (4,))
    d_v = view(grad, 16, (4,))
    hv_W = view(hv, 0, (3, 4))
    hv_u = view(hv, 12, (4,))
    hv_v = view(hv, 16, (4,))
    work = empty(2048, theta)
    partial = zeros(LANES, theta)
    partial_2 = zeros(LANES, theta)
    partial_3 = zeros(LANES, theta)
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        X_b = X[first:first + m]
        t_b = t[first:first + m]
        vector_part = vector[0:12]
        vector_part_2 = vector[16:20]
        X_W = view(work, 0, (4, m))
        vector_part_2d = view(vector_part, 0, (3, 4))
        X_W[:, :] = W.T @ X_b.T                   # X @ W

        tanh_X_W_plus_u = view(work, 512, (4, m))
        for j in range(4):
            u_j = u[j]
            for i in lanes(0, m):
                tanh_X_W_plus_u[j, i] = tanh(X_W[j, i] + u_j)  # tanh(X @ W + u)

        tanh_X_W_plus_u_v = view(work, 0, (m,))
        tanh_X_W_plus_u_v[:] = tanh_X_W_plus_u.T @ v  # tanh(X @ W + u) @ v

        d_residual = view(work, 128, (m,))
        inverse_n = 1.0 / n
        partial[:] = 0.0
        for i in lanes(0, m):
            residual_i = tanh_X_W_plus_u_v[i] - t_b[i]  # tanh(X @ W + u) @ v - t
            partial[i % LANES] += residual_i * residual_i
            d_residual[i] = 2.0 * (inverse_n * residual_i)  # dL/d(tanh(X @ W + u) @ v - t)
        total[0] += fold(partial)

        product = view(work, 1024, (4, m))
        for j in range(4):
            v_j = v[j]
            partial_2[:] = 0.0
            for i in lanes(0, m):
                tanh_X_W_plus_u_i = tanh_X_W_plus_u[j, i]
                product_i = d_residual[i] * v_j * (1.0 - tanh_X_W_plus_u_i * tanh_X_W_plus_u_i)  # dL/d(X @ W + u)
                product[j, i] = product_i
                partial_2[i % LANES] += product_i
            d_u[j] += fold(partial_2)             # dL/du

        d_W[:, :] += X_b.T @ product.T            # dL/dW

        d_v[:] += tanh_X_W_plus_u @ d_residual    # dL/dv

        X_W_tangent = view(work, 1024, (4, m))
        X_W_tangent[:, :] = vector_part_2d.T @ X_b.T  # tangent of X @ W

        tanh_X_W_plus_u_tangent = view(work, 1536, (4, m))
        for j in range(4):
            vector_j = vector[j + 12]
            for i in lanes(0, m):
                tanh_X_W_plus_u_i_2 = tanh_X_W_plus_u[j, i]
                tanh_X_W_plus_u_tangent[j, i] = (  # tangent of tanh(X @ W + u)
                    (X_W_tangent[j, i] + vector_j) * (1.0 - tanh_X_W_plus_u_i_2 * tanh_X_W_plus_u_i_2)
                )

        combined = view(work, 0, (m,))
        combined[:] = tanh_X_W_plus_u_tangent.T @ v

        combined_2 = view(work, 256, (m,))
        combined_2[:] = tanh_X_W_plus_u.T @ vector_part_2

        d_residual_tangent = view(work, 384, (m,))
        for i in lanes(0, m):
            # tangent of dL/d(tanh(X @ W + u) @ v - t)
            d_residual_tangent[i] = 2.0 * ((combined[i] + combined_2[i]) * inverse_n)

        product_tangent = view(work, 1024, (4, m))
        for j in range(4):
            v_j_2 = v[j]
            vector_j_2 = vector_part_2[j]
            partial_3[:] = 0.0
            for i in lanes(0, m):
                d_residual_i = d_residual[i]
                tanh_X_W_plus_u_i_3 = tanh_X_W_plus_u[j, i]
                factor_i = (
                    (d_residual_tangent[i] * v_j_2 + d_residual_i * vector_j_2) * (1.0
                    - tanh_X_W_plus_u_i_3 * tanh_X_W_plus_u_i_3)
                )
                factor_i_2 = 2.0 * (tanh_X_W_plus_u_tangent[j, i] * tanh_X_W_plus_u_i_3) * (d_residual_i * v_j_2)
                product_tangent_i = factor_i - factor_i_2  # tangent of dL/d(X @ W + u)
                product_tangent[j, i] = product_tangent_i
                partial_3[i % LANES] += product_tangent_i
            hv_u[j] += fold(partial_3)            # (H v) of u

        hv_W[:, :] += X_b.T @ product_tangent.T   # (H v) of W

        hv_v[:] += tanh_X_W_plus_u_tangent @ d_residual  # (H v) of v

        hv_v[:] += tanh_X_W_plus_u @ d_residual_tangent  # (H v) of v


@jit
def sums(total, grad, hv, start, stop, theta, vector, X, t):
    """Add the samples from start to stop, group by group; the sums of groups meet in a tree."""
    n = X.shape[0]
    group = group_size(n, GROUP)
    many = max(stop - start - 1, 0) // group      # groups before the last
    last = start + many * group
    total_tree = zeros((levels(many), 1), theta)
    grad_tree = zeros((levels(many), 20), theta)
    hv_tree = zeros((levels(many), 20), theta)
    for first in range(start, last, group):
        samples(total, grad, hv, first, first + group, theta, vector, X, t)
        carry(total, total_tree, (first - start) // group)
        carry(grad, grad_tree, (first - start) // group)
        carry(hv, hv_tree, (first - start) // group)
    samples(total, grad, hv, last, stop, theta, vector, X, t)
    close_tree(total_tree, total, many)
    close_tree(grad_tree, grad, many)
    close_tree(hv_tree, hv, many)


@jit
def finish(grad, hv, theta, total, vector, X, t):
    """Write the gradient to grad and the product to hv and return the loss."""
    n = X.shape[0]
    loss = total[0] / n                           # mean((tanh(X @ W + u) @ v - t)**2)
    return loss


@jit
def kernel(theta: "float64[20]", grad: "float64[20]", hv: "out float64[20]", vector: "float64[20]",
        X: "float64[n, 3]", t: "float64[n]"):
    """Write the gradient to grad and the product to hv and return the loss."""
    n = X.shape[0]
    grad[:] = 0.0
    hv[:] = 0.0
    total = zeros(1, theta)
    sums(total, grad, hv, 0, n, theta, vector, X, t)
    return finish(grad, hv, theta, total, vector, X, t)
