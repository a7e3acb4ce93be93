"""loss(W, U, v; steps) = (scan([0, 0, 0], [0, 0, 0], steps, W, U)[:3] @ v - 1)**2

314 operations for the loss, 858 with the gradient (2.7 times) a sample. Rewrites: none.
"""

from gradcompile.vmath import sigmoid, tanh
from gradcompile.reduction import add_part, group_size, settle
from gradcompile.runtime.primitives import empty, fold, lanes, view, zeros
from gradcompile.runtime.blas import connect_blas
from gradcompile.runtime.jit import jit

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
    part = view(shared, 0, (12 * n,))
    part_2 = view(shared, 12 * n, (3 * n,))
    work = empty(30 * n + 124, theta)
    partial = zeros(LANES, theta)
    numbers = view(work, 0, (3,))
    carry = view(work, 16, (3,))
    carry_2 = view(work, 32, (3,))
    repeated = view(work, 48, (3,))
    carry_4 = view(work, 64, (3,))
    for i in lanes(0, 3):
        numbers_i = TABLE[i]
        numbers[i] = numbers_i                    # [0, 0, 0]
        carry[i] = numbers_i
        carry_2[i] = numbers_i
        repeated[i] = 0.0
        carry_4[i] = 0.0

    scanned = view(work, 80, (18 * n + 6,))
    new_carry = view(work, 18 * n + 86, (3,))
    new_carry_2 = view(work, 18 * n + 102, (3,))
    scanned_y = view(scanned, 6, (n, 12))
    scanned_y_2 = view(scanned, 12 * n + 6, (n, 3))
    scanned_y_3 = view(scanned, 15 * n + 6, (n, 3))
    scanned_part = scanned[6:12 * n + 6]
    scanned_part_2 = scanned[12 * n + 6:15 * n + 6]
    scanned_part_2d = view(scanned_part, 0, (n, 12))
    scanned_part_2_2d = view(scanned_part_2, 0, (n, 3))
    for step in range(n):
        product_now = product[step]
        scanned_y_now = scanned_y[step]
        scanned_y_2_now = scanned_y_2[step]
        scanned_y_3_now = scanned_y_3[step]
        scanned_y_now[:] = carry @ U

        for i in lanes(0, 3):
            carry_2_i = carry_2[i]
            product_i = sigmoid(product_now[i] + scanned_y_now[i]) * tanh(product_now[i + 6] + scanned_y_now[i + 6])
            total_i = sigmoid(product_now[i + 3] + scanned_y_now[i + 3]) * carry_2_i + product_i
            new_carry_2[i] = total_i
            new_carry[i] = sigmoid(product_now[i + 9] + scanned_y_now[i + 9]) * tanh(total_i)
            scanned_y_2_now[i] = carry_2_i
            scanned_y_3_now[i] = carry[i]
        for i in lanes(0, 3):
            carry[i] = new_carry[i]
        for i in lanes(0, 3):
            carry_2[i] = new_carry_2[i]
    scanned_last = view(scanned, 0, (3,))
    for i in lanes(0, 3):
        scanned_last[i] = carry[i]
    scanned_last_2 = view(scanned, 3, (3,))
    for i in lanes(0, 3):
        scanned_last_2[i] = carry_2[i]

    partial[:] = 0.0
    for i in lanes(0, 3):
        partial[i % LANES] += scanned[i] * v[i]
    product_2 = fold(partial)                     # ...[:3] @ v

    product_3 = view(work, 0, (3,))
    carry_3 = view(work, 16, (3,))
    product_4 = 2.0 * (product_2 - 1.0)
    for i in lanes(0, 3):
        product_i_2 = product_4 * v[i]
        product_3[i] = product_i_2
        carry_3[i] = product_i_2

    scanned_2 = view(work, 18 * n + 118, (12 * n + 6,))
    new_carry_3 = view(work, 32, (3,))
    new_carry_4 = view(work, 18 * n + 86, (3,))
    scanned_2_y = view(scanned_2, 6, (n, 12))
    for count in range(n):
        step_2 = n - 1 - count
        product_now_2 = product[step_2]
        scanned_part_2d_now = scanned_part_2d[step_2]
        scanned_part_2_2d_now = scanned_part_2_2d[step_2]
        scanned_2_y_now = scanned_2_y[step_2]
        for i in lanes(0, 3):
            total_i_2 = product_now_2[i + 9] + scanned_part_2d_now[i + 9]
            sigmoid_i = sigmoid(total_i_2)
            total_i_3 = product_now_2[i + 3] + scanned_part_2d_now[i + 3]
            sigmoid_i_2 = sigmoid(total_i_3)
            total_i_4 = product_now_2[i] + scanned_part_2d_now[i]
            sigmoid_i_3 = sigmoid(total_i_4)
            tanh_i = tanh(product_now_2[i + 6] + scanned_part_2d_now[i + 6])
            scanned_part_2_2d_now_i = scanned_part_2_2d_now[i]
            tanh_i_2 = tanh(sigmoid_i_2 * scanned_part_2_2d_now_i + sigmoid_i_3 * tanh_i)
            carry_3_i = carry_3[i]
            total_i_5 = carry_4[i] + carry_3_i * sigmoid_i * (1.0 - tanh_i_2 * tanh_i_2)
            scanned_2_y_now[i + 6] = total_i_5 * sigmoid_i_3 * (1.0 - tanh_i * tanh_i)
            scanned_2_y_now[i] = total_i_5 * tanh_i * (sigmoid_i_3 * sigmoid(-total_i_4))
            product_i_3 = total_i_5 * scanned_part_2_2d_now_i * (sigmoid_i_2 * sigmoid(-total_i_3))
            scanned_2_y_now[i + 3] = product_i_3
            scanned_2_y_now[i + 9] = carry_3_i * tanh_i_2 * (sigmoid_i * sigmoid(-total_i_2))
            new_carry_4[i] = total_i_5 * sigmoid_i_2

        new_carry_3[:] = scanned_2_y_now @ U.T
        for i in lanes(0, 3):
            carry_3[i] = new_carry_3[i]
        for i in lanes(0, 3):
            carry_4[i] = new_carry_4[i]
    scanned_2_last = view(scanned_2, 0, (3,))
    for i in lanes(0, 3):
        scanned_2_last[i] = carry_3[i]
    scanned_2_last_2 = view(scanned_2, 3, (3,))
    for i in lanes(0, 3):
        scanned_2_last_2[i] = carry_4[i]

    for i in lanes(0, 12 * n):
        part[i] = scanned_2[i + 6]

    for i in lanes(0, 3 * n):
        part_2[i] = scanned[i + 15 * n + 6]


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
    part = view(shared, 0, (12 * n,))
    part_2 = view(shared, 12 * n, (3 * n,))
    d_W = view(grad, 0, (2, 12))
    d_U = view(grad, 24, (3, 12))
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        steps_b = steps[first:first + m]
        part_b = part[12 * first:12 * first + 12 * m]
        part_2_b = part_2[3 * first:3 * first + 3 * m]
        part_b_2d = view(part_b, 0, (m, 12))
        part_2_b_2d = view(part_2_b, 0, (m, 3))
        d_W[:, :] += steps_b.T @ part_b_2d        # dL/dW

        d_U[:, :] += part_2_b_2d.T @ part_b_2d    # dL/dU


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
    settle(grad, grad_lost)


@jit
def finish(grad, theta, rows, shared, steps):
    """Write the gradient to grad and return the loss."""
    n = steps.shape[0]
    U = view(theta, 24, (3, 12))
    v = view(theta, 60, (3,))
    product = view(rows, 0, (n, 12))
    d_v = view(grad, 60, (3,))
    work = empty(18 * n + 86, theta)
    partial = zeros(LANES, theta)
    numbers = view(work, 0, (3,))
    carry = view(work, 16, (3,))
    carry_2 = view(work, 32, (3,))
    for i in lanes(0, 3):
        numbers_i = TABLE[i]
        numbers[i] = numbers_i                    # [0, 0, 0]
        carry[i] = numbers_i
        carry_2[i] = numbers_i

    scanned = view(work, 48, (18 * n + 6,))
    new_carry = view(work, 18 * n + 54, (3,))
    new_carry_2 = view(work, 18 * n + 70, (3,))
    scanned_y = view(scanned, 6, (n, 12))
    scanned_y_2 = view(scanned, 12 * n + 6, (n, 3))
    scanned_y_3 = view(scanned, 15 * n + 6, (n, 3))
    for step in range(n):
        product_now = product[step]
        scanned_y_now = scanned_y[step]
        scanned_y_2_now = scanned_y_2[step]
        scanned_y_3_now = scanned_y_3[step]
        scanned_y_now[:] = carry @ U

        for i in lanes(0, 3):
            carry_2_i = carry_2[i]
            product_i = sigmoid(product_now[i] + scanned_y_now[i]) * tanh(product_now[i + 6] + scanned_y_now[i + 6])
            total_i = sigmoid(product_now[i + 3] + scanned_y_now[i + 3]) * carry_2_i + product_i
            new_carry_2[i] = total_i
            new_carry[i] = sigmoid(product_now[i + 9] + scanned_y_now[i + 9]) * tanh(total_i)
            scanned_y_2_now[i] = carry_2_i
            scanned_y_3_now[i] = carry[i]
        for i in lanes(0, 3):
            carry[i] = new_carry[i]
        for i in lanes(0, 3):
            carry_2[i] = new_carry_2[i]
    scanned_last = view(scanned, 0, (3,))
    for i in lanes(0, 3):
        scanned_last[i] = carry[i]
    scanned_last_2 = view(scanned, 3, (3,))
    for i in lanes(0, 3):
        scanned_last_2[i] = carry_2[i]

    partial[:] = 0.0
    for i in lanes(0, 3):
        partial[i % LANES] += scanned[i] * v[i]
    product_2 = fold(partial)                     # ...[:3] @ v

    product_3 = 2.0 * (product_2 - 1.0)
    for i in lanes(0, 3):
        d_v[i] = scanned[i] * product_3           # dL/dv
    square = (product_2 - 1.0) * (product_2 - 1.0)  # (...[:3] @ v - 1)**2
    return square


@jit
def kernel(theta, grad, steps):
    """Write the gradient to grad and return the loss."""
    n = steps.shape[0]
    grad[:] = 0.0
    rows = empty(12 * n, theta)
    samples(0, n, theta, rows, steps)
    shared = empty(15 * n, theta)
    before(shared, theta, rows, steps)
    sums_2(grad, 0, n, theta, rows, shared, steps)
    return finish(grad, theta, rows, shared, steps)
