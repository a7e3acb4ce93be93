"""loss(W, U, v; steps) = (scan([0, 0, 0], [0, 0, 0], steps, W, U)[:3] @ v - 1)**2

314 operations for the loss, 675 with the gradient (2.1 times) a sample. Rewrites: none.
"""

from gradcompile.vmath import sigmoid, tanh
from gradcompile.library.sums import add_compensation, add_part, group_size
from gradcompile.library.primitives import empty, lanes, view, zeros
from gradcompile.library.blas import connect_blas
from gradcompile.codegen.functions import jit

connect_blas()

LANES = 16  # entries that are computed side by side
TABLE = (0.0, 0.0, 0.0)
BLOCK = 128  # samples whose arrays are at hand at a time
GROUP = 2048  # samples, at least, that are added up before their sums meet others


@jit
def before(shared, theta, rows, steps):
    """Compute what the samples share."""
    n = steps.shape[0]
    U = view(theta, 24, (3, 12))
    v = view(theta, 60, (3,))
    product = view(rows, 0, (n, 12))
    stacked = view(shared, 0, (n, 12))
    stacked_2 = view(shared, 12 * n, (n, 3))
    last = view(shared, 15 * n, (3,))
    work = empty(27 * n + 67, theta)
    work_2 = empty(16, theta)
    numbers = view(work, 0, (3,))
    carry = view(work, 16, (2, 3))
    carry_2 = view(work, 32, (n + 1, 3))
    repeated = view(work, 3 * n + 35, (3,))
    carry_4 = view(work, 3 * n + 51, (2, 3))
    stacked_3 = carry_2[0:n]
    carry_first = carry[0]
    carry_2_first = carry_2[0]
    carry_4_first = carry_4[0]
    for i in lanes(0, 3):
        numbers_i = TABLE[i]
        numbers[i] = numbers_i                    # [0, 0, 0]
        carry_first[i] = numbers_i
        carry_2_first[i] = numbers_i
        repeated[i] = 0.0
        carry_4_first[i] = 0.0

    stacked_4 = view(work, 3 * n + 67, (n, 3))
    stacked_5 = view(work, 6 * n + 67, (n, 3))
    stacked_6 = view(work, 9 * n + 67, (n, 3))
    stacked_7 = view(work, 12 * n + 67, (n, 3))
    stacked_8 = view(work, 15 * n + 67, (n, 3))
    stacked_9 = view(work, 18 * n + 67, (n, 3))
    stacked_10 = view(work, 21 * n + 67, (n, 3))
    stacked_11 = view(work, 24 * n + 67, (n, 3))
    for step in range(n):
        product_now = product[step]
        carry_now = carry[step % 2]
        carry_new = carry[(step + 1) % 2]
        carry_2_now = carry_2[step]
        carry_2_new = carry_2[step + 1]
        stacked_4_now = stacked_4[step]
        stacked_5_now = stacked_5[step]
        stacked_6_now = stacked_6[step]
        stacked_7_now = stacked_7[step]
        stacked_8_now = stacked_8[step]
        stacked_9_now = stacked_9[step]
        stacked_10_now = stacked_10[step]
        stacked_11_now = stacked_11[step]
        stacked_2_now = stacked_2[step]
        product_2 = view(work_2, 0, (12,))
        product_2[:] = carry_now @ U

        for i in lanes(0, 3):
            total_i = product_now[i + 9] + product_2[i + 9]
            sigmoid_i = sigmoid(total_i)
            stacked_4_now[i] = sigmoid_i
            total_i_2 = product_now[i + 3] + product_2[i + 3]
            sigmoid_i_2 = sigmoid(total_i_2)
            stacked_9_now[i] = sigmoid_i_2
            total_i_3 = product_now[i] + product_2[i]
            sigmoid_i_3 = sigmoid(total_i_3)
            stacked_6_now[i] = sigmoid_i_3
            tanh_i = tanh(product_now[i + 6] + product_2[i + 6])
            stacked_7_now[i] = tanh_i
            total_i_4 = sigmoid_i_2 * carry_2_now[i] + sigmoid_i_3 * tanh_i
            carry_2_new[i] = total_i_4
            tanh_i_2 = tanh(total_i_4)
            stacked_5_now[i] = tanh_i_2
            carry_new[i] = sigmoid_i * tanh_i_2
            stacked_8_now[i] = sigmoid(-total_i_3)
            stacked_10_now[i] = sigmoid(-total_i_2)
            stacked_11_now[i] = sigmoid(-total_i)
            stacked_2_now[i] = carry_now[i]
    carry_last = carry[n % 2]
    for i in lanes(0, 3):
        last[i] = carry_last[i]                   # scan([0, 0, 0], [0, 0, 0], steps @ W, U)[:3]

    product_3 = view(work, 0, (3,))
    carry_3 = view(work, 16, (2, 3))
    carry_3_first = carry_3[0]
    last_i = last[0]
    v_i = v[0]
    last_i_2 = last[1]
    v_i_2 = v[1]
    last_i_3 = last[2]
    v_i_3 = v[2]
    product_4 = 2.0 * (last_i * v_i + last_i_2 * v_i_2 + last_i_3 * v_i_3 - 1.0)
    for i in lanes(0, 3):
        product_i = product_4 * v[i]
        product_3[i] = product_i
        carry_3_first[i] = product_i

    for count in range(n):
        step_2 = n - 1 - count
        stacked_4_now_2 = stacked_4[step_2]
        stacked_5_now_2 = stacked_5[step_2]
        stacked_6_now_2 = stacked_6[step_2]
        stacked_7_now_2 = stacked_7[step_2]
        stacked_8_now_2 = stacked_8[step_2]
        stacked_3_now = stacked_3[step_2]
        stacked_9_now_2 = stacked_9[step_2]
        stacked_10_now_2 = stacked_10[step_2]
        stacked_11_now_2 = stacked_11[step_2]
        carry_3_now = carry_3[count % 2]
        carry_3_new = carry_3[(count + 1) % 2]
        carry_4_now = carry_4[count % 2]
        carry_4_new = carry_4[(count + 1) % 2]
        stacked_now = stacked[step_2]
        for i in lanes(0, 3):
            carry_3_now_i = carry_3_now[i]
            stacked_4_now_2_i = stacked_4_now_2[i]
            stacked_5_now_2_i = stacked_5_now_2[i]
            product_i_2 = carry_3_now_i * stacked_4_now_2_i * (1.0 - stacked_5_now_2_i * stacked_5_now_2_i)
            total_i_5 = carry_4_now[i] + product_i_2
            stacked_6_now_2_i = stacked_6_now_2[i]
            stacked_7_now_2_i = stacked_7_now_2[i]
            product_i_3 = total_i_5 * stacked_6_now_2_i * (1.0 - stacked_7_now_2_i * stacked_7_now_2_i)
            stacked_now[i + 6] = product_i_3
            stacked_now[i] = total_i_5 * stacked_7_now_2_i * (stacked_6_now_2_i * stacked_8_now_2[i])
            stacked_9_now_2_i = stacked_9_now_2[i]
            stacked_now[i + 3] = total_i_5 * stacked_3_now[i] * (stacked_9_now_2_i * stacked_10_now_2[i])
            product_i_4 = carry_3_now_i * stacked_5_now_2_i * (stacked_4_now_2_i * stacked_11_now_2[i])
            stacked_now[i + 9] = product_i_4
            carry_4_new[i] = total_i_5 * stacked_9_now_2_i

        carry_3_new[:] = stacked_now @ U.T


@jit
def samples(start, stop, theta, rows, steps):
    """Add the samples from start to stop, block by block."""
    n = steps.shape[0]
    W = view(theta, 0, (2, 12))
    product = view(rows, 0, (n, 12))
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        steps_b = steps[first:first + m]
        product_b = product[first:first + m]
        product_b[:, :] = steps_b @ W             # steps @ W


@jit
def samples_2(grad, start, stop, theta, rows, shared, steps):
    """Add the samples from start to stop, block by block."""
    n = steps.shape[0]
    stacked = view(shared, 0, (n, 12))
    stacked_2 = view(shared, 12 * n, (n, 3))
    d_W = view(grad, 0, (2, 12))
    d_U = view(grad, 24, (3, 12))
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        steps_b = steps[first:first + m]
        stacked_b = stacked[first:first + m]
        stacked_2_b = stacked_2[first:first + m]
        d_W[:, :] += steps_b.T @ stacked_b        # dL/dW

        d_U[:, :] += stacked_2_b.T @ stacked_b    # dL/dU


@jit
def sums_2(grad, start, stop, theta, rows, shared, steps):
    """Add the samples from start to stop, group by group, each from zero."""
    group = group_size(stop - start, GROUP)
    samples_2(grad, start, min(start + group, stop), theta, rows, shared, steps)
    grad_part = zeros(63 if stop > start + group else 0, theta)
    grad_lost = zeros(63 if stop > start + group else 0, theta)
    for first in range(start + group, stop, group):
        grad_part[:] = 0.0
        samples_2(grad_part, first, min(first + group, stop), theta, rows, shared, steps)
        add_part(grad, grad_part, grad_lost)
    add_compensation(grad, grad_lost)


@jit
def finish(grad, theta, rows, shared, steps):
    """Write the gradient to grad and return the loss."""
    n = steps.shape[0]
    v = view(theta, 60, (3,))
    last = view(shared, 15 * n, (3,))
    d_v = view(grad, 60, (3,))
    last_i = last[0]
    v_i = v[0]
    last_i_2 = last[1]
    v_i_2 = v[1]
    last_i_3 = last[2]
    v_i_3 = v[2]
    product_2 = 2.0 * (last_i * v_i + last_i_2 * v_i_2 + last_i_3 * v_i_3 - 1.0)
    for i in lanes(0, 3):
        d_v[i] = last[i] * product_2              # dL/dv
    product_i = last_i * v_i
    product_i_2 = last_i_2 * v_i_2
    product_i_3 = last_i_3 * v_i_3
    total_2 = product_i + product_i_2 + product_i_3  # ...[:3] @ v
    total_3 = total_2 - 1.0                       # ...[:3] @ v - 1
    square = total_3 * total_3                    # (...[:3] @ v - 1)**2
    return square


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
