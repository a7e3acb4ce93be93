"""loss(W, U, v; steps) = (h_last @ v - 1)**2

314 operations for the loss, 675 with the gradient (2.1 times) a sample. Rewrites: none.
"""

from gradcompile.vmath import sigmoid, tanh
from gradcompile.library.sums import carry, close_tree, group_size, levels
from gradcompile.library.primitives import empty, lanes, view, zeros
from gradcompile.library.blas import connect_blas
from gradcompile.codegen.functions import jit

connect_blas()

LANES = 16  # entries that are computed side by side
BLOCK = 128  # samples whose arrays are at hand at a time
GROUP = 2048  # samples, at least, that are added up before their sums meet others


@jit
def before(shared, theta, rows, steps):
    """Compute what the samples share."""
    n = steps.shape[0]
    U = view(theta, 24, (3, 12))
    v = view(theta, 60, (3,))
    steps_W = view(rows, 0, (n, 12))
    step_joined = view(shared, 0, (n, 12))
    h_before = view(shared, 12 * n, (n, 3))
    h_last = view(shared, 15 * n, (3,))
    work = empty(27 * n + 35, theta)
    work_2 = empty(16, theta)
    h = view(work, 0, (2, 3))
    c = view(work, 16, (n + 1, 3))
    d_c = view(work, 3 * n + 19, (2, 3))
    c_before = c[0:n]
    h_first = h[0]
    c_first = c[0]
    d_c_first = d_c[0]
    for i in lanes(0, 3):
        h_first[i] = 0.0
        c_first[i] = 0.0
        d_c_first[i] = 0.0

    step_sigmoid = view(work, 3 * n + 35, (n, 3))
    step_tanh = view(work, 6 * n + 35, (n, 3))
    step_sigmoid_2 = view(work, 9 * n + 35, (n, 3))
    step_tanh_2 = view(work, 12 * n + 35, (n, 3))
    step_sigmoid_3 = view(work, 15 * n + 35, (n, 3))
    step_sigmoid_4 = view(work, 18 * n + 35, (n, 3))
    step_sigmoid_5 = view(work, 21 * n + 35, (n, 3))
    step_sigmoid_6 = view(work, 24 * n + 35, (n, 3))
    for step in range(n):
        steps_W_now = steps_W[step]
        h_now = h[step % 2]
        h_new = h[(step + 1) % 2]
        c_now = c[step]
        c_new = c[step + 1]
        step_sigmoid_now = step_sigmoid[step]
        step_tanh_now = step_tanh[step]
        step_sigmoid_2_now = step_sigmoid_2[step]
        step_tanh_2_now = step_tanh_2[step]
        step_sigmoid_3_now = step_sigmoid_3[step]
        step_sigmoid_4_now = step_sigmoid_4[step]
        step_sigmoid_5_now = step_sigmoid_5[step]
        step_sigmoid_6_now = step_sigmoid_6[step]
        h_before_now = h_before[step]
        h_U = view(work_2, 0, (12,))
        h_U[:] = h_now @ U

        for i in lanes(0, 3):
            terms_i = steps_W_now[i + 9] + h_U[i + 9]
            sigmoid_item_i = sigmoid(terms_i)
            step_sigmoid_now[i] = sigmoid_item_i
            terms_i_2 = steps_W_now[i + 3] + h_U[i + 3]
            sigmoid_item_i_2 = sigmoid(terms_i_2)
            step_sigmoid_4_now[i] = sigmoid_item_i_2
            terms_i_3 = steps_W_now[i] + h_U[i]
            sigmoid_item_i_3 = sigmoid(terms_i_3)
            step_sigmoid_2_now[i] = sigmoid_item_i_3
            tanh_item_i = tanh(steps_W_now[i + 6] + h_U[i + 6])
            step_tanh_2_now[i] = tanh_item_i
            terms_i_4 = sigmoid_item_i_2 * c_now[i] + sigmoid_item_i_3 * tanh_item_i
            c_new[i] = terms_i_4
            tanh_terms_i = tanh(terms_i_4)
            step_tanh_now[i] = tanh_terms_i
            h_new[i] = sigmoid_item_i * tanh_terms_i
            step_sigmoid_3_now[i] = sigmoid(-terms_i_3)
            step_sigmoid_5_now[i] = sigmoid(-terms_i_2)
            step_sigmoid_6_now[i] = sigmoid(-terms_i)
            h_before_now[i] = h_now[i]
    h_last_2 = h[n % 2]
    for i in lanes(0, 3):
        h_last[i] = h_last_2[i]

    d_h = view(work, 0, (2, 3))
    d_h_first = d_h[0]
    h_last_0 = h_last[0]
    v_0 = v[0]
    h_last_1 = h_last[1]
    v_1 = v[1]
    h_last_2_2 = h_last[2]
    v_2 = v[2]
    product = 2.0 * (h_last_0 * v_0 + h_last_1 * v_1 + h_last_2_2 * v_2 - 1.0)
    for i in lanes(0, 3):
        d_h_first[i] = product * v[i]

    for count in range(n):
        step_2 = n - 1 - count
        step_sigmoid_now_2 = step_sigmoid[step_2]
        step_tanh_now_2 = step_tanh[step_2]
        step_sigmoid_2_now_2 = step_sigmoid_2[step_2]
        step_tanh_2_now_2 = step_tanh_2[step_2]
        step_sigmoid_3_now_2 = step_sigmoid_3[step_2]
        c_before_now = c_before[step_2]
        step_sigmoid_4_now_2 = step_sigmoid_4[step_2]
        step_sigmoid_5_now_2 = step_sigmoid_5[step_2]
        step_sigmoid_6_now_2 = step_sigmoid_6[step_2]
        d_h_now = d_h[count % 2]
        d_h_new = d_h[(count + 1) % 2]
        d_c_now = d_c[count % 2]
        d_c_new = d_c[(count + 1) % 2]
        step_joined_now = step_joined[step_2]
        for i in lanes(0, 3):
            d_h_i = d_h_now[i]
            step_sigmoid_now_2_i = step_sigmoid_now_2[i]
            step_tanh_now_2_i = step_tanh_now_2[i]
            factor_i = d_h_i * step_sigmoid_now_2_i * (1.0 - step_tanh_now_2_i * step_tanh_now_2_i)
            terms_i_5 = d_c_now[i] + factor_i
            step_sigmoid_2_now_2_i = step_sigmoid_2_now_2[i]
            step_tanh_2_now_2_i = step_tanh_2_now_2[i]
            step_joined_now[i + 6] = (
                terms_i_5 * step_sigmoid_2_now_2_i * (1.0 - step_tanh_2_now_2_i * step_tanh_2_now_2_i)
            )
            step_joined_now[i] = (
                terms_i_5 * step_tanh_2_now_2_i * (step_sigmoid_2_now_2_i * step_sigmoid_3_now_2[i])
            )
            step_sigmoid_4_now_2_i = step_sigmoid_4_now_2[i]
            step_joined_now[i + 3] = (
                terms_i_5 * c_before_now[i] * (step_sigmoid_4_now_2_i * step_sigmoid_5_now_2[i])
            )
            step_joined_now[i + 9] = d_h_i * step_tanh_now_2_i * (step_sigmoid_now_2_i * step_sigmoid_6_now_2[i])
            d_c_new[i] = terms_i_5 * step_sigmoid_4_now_2_i

        d_h_new[:] = step_joined_now @ U.T


@jit
def samples(start, stop, theta, rows, steps):
    """Add the samples from start to stop, block by block."""
    n = steps.shape[0]
    W = view(theta, 0, (2, 12))
    steps_W = view(rows, 0, (n, 12))
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        steps_b = steps[first:first + m]
        steps_W_b = steps_W[first:first + m]
        steps_W_b[:, :] = steps_b @ W             # steps @ W


@jit
def samples_2(grad, start, stop, theta, rows, shared, steps):
    """Add the samples from start to stop, block by block."""
    n = steps.shape[0]
    step_joined = view(shared, 0, (n, 12))
    h_before = view(shared, 12 * n, (n, 3))
    d_W = view(grad, 0, (2, 12))
    d_U = view(grad, 24, (3, 12))
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        steps_b = steps[first:first + m]
        step_joined_b = step_joined[first:first + m]
        h_before_b = h_before[first:first + m]
        d_W[:, :] += steps_b.T @ step_joined_b    # dL/dW

        d_U[:, :] += h_before_b.T @ step_joined_b  # dL/dU


@jit
def sums_2(grad, start, stop, theta, rows, shared, steps):
    """Add the samples from start to stop, group by group; the sums of groups meet in a tree."""
    n = steps.shape[0]
    group = group_size(n, GROUP)
    many = max(stop - start - 1, 0) // group      # groups before the last
    last = start + many * group
    grad_tree = zeros((levels(many), 63), theta)
    for first in range(start, last, group):
        samples_2(grad, first, first + group, theta, rows, shared, steps)
        carry(grad, grad_tree, (first - start) // group)
    samples_2(grad, last, stop, theta, rows, shared, steps)
    close_tree(grad_tree, grad, many)


@jit
def finish(grad, theta, rows, shared, steps):
    """Write the gradient to grad and return the loss."""
    n = steps.shape[0]
    v = view(theta, 60, (3,))
    h_last = view(shared, 15 * n, (3,))
    d_v = view(grad, 60, (3,))
    h_last_0 = h_last[0]
    v_0 = v[0]
    h_last_1 = h_last[1]
    v_1 = v[1]
    h_last_2 = h_last[2]
    v_2 = v[2]
    product = 2.0 * (h_last_0 * v_0 + h_last_1 * v_1 + h_last_2 * v_2 - 1.0)
    for i in lanes(0, 3):
        d_v[i] = h_last[i] * product              # dL/dv
    factor_0 = h_last_0 * v_0
    factor_1 = h_last_1 * v_1
    factor_2 = h_last_2 * v_2
    terms = factor_0 + factor_1 + factor_2        # h_last @ v
    terms_2 = terms - 1.0                         # h_last @ v - 1
    loss = terms_2 * terms_2                      # (h_last @ v - 1)**2
    return loss


@jit
def kernel(theta: "float64[63]", grad: "float64[63]", steps: "float64[n, 2]"):
    """Write the gradient to grad and return the loss."""
    n = steps.shape[0]
    grad[:] = 0.0
    rows = empty(12 * n, theta)
    samples(0, n, theta, rows, steps)
    shared = empty(15 * n + 3, theta)
    before(shared, theta, rows, steps)
    sums_2(grad, 0, n, theta, rows, shared, steps)
    return finish(grad, theta, rows, shared, steps)
