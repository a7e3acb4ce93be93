"""loss(U, V; row, column, value) = sum((sum(U[row]*V[column], axis=1) - value)**2)

6 operations for the loss, 15 with the gradient (2.5 times) a sample. Rewrites: none.
"""

from gradcompile.library.sums import carry, close_tree, group_size, levels
from gradcompile.library.primitives import empty, fold, lanes, view, zeros
from gradcompile.codegen.functions import jit

LANES = 16  # entries that are computed side by side
BLOCK = 128  # samples whose arrays are at hand at a time
GROUP = 2048  # samples, at least, that are added up before their sums meet others


@jit
def samples(total, grad, start, stop, theta, row, column, value):
    """Add the samples from start to stop, block by block."""
    U = view(theta, 0, (5, 2))
    V = view(theta, 10, (4, 2))
    d_U = view(grad, 0, (5, 2))
    d_V = view(grad, 10, (4, 2))
    work = empty(640, theta)
    partial = zeros(LANES, theta)
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        row_b = row[first:first + m]
        column_b = column[first:first + m]
        value_b = value[first:first + m]
        U_row = view(work, 0, (2, m))
        V_column = view(work, 256, (2, m))
        for j in range(2):
            for i in lanes(0, m):
                row_i = row_b[i]
                row_place = row_i + 5 if row_i < 0 else row_i
                all_hold = (0 <= row_place) & (row_place < 5)
                safe_row = row_place if all_hold else 0
                U_row[j, i] = U[safe_row, j] if all_hold else float("nan")  # U[row]
                column_i = column_b[i]
                column_place = column_i + 4 if column_i < 0 else column_i
                all_hold_2 = (0 <= column_place) & (column_place < 4)
                safe_column = column_place if all_hold_2 else 0
                V_column[j, i] = V[safe_column, j] if all_hold_2 else float("nan")  # V[column]

        d_residual = view(work, 512, (m,))
        partial[:] = 0.0
        for i in lanes(0, m):
            # sum(U[row]*V[column], axis=1) - value
            residual_i = U_row[0, i] * V_column[0, i] + U_row[1, i] * V_column[1, i] - value_b[i]
            partial[i % LANES] += residual_i * residual_i
            d_residual[i] = 2.0 * residual_i      # dL/dresidual
        total[0] += fold(partial)

        for j in range(2):
            for i in range(m):
                row_i_2 = row_b[i]
                row_place_2 = row_i_2 + 5 if row_i_2 < 0 else row_i_2
                safe_row_2 = row_place_2 if (0 <= row_place_2) & (row_place_2 < 5) else 0
                d_residual_i = d_residual[i]
                d_U[safe_row_2, j] += d_residual_i * V_column[j, i]  # dL/dU
                column_i_2 = column_b[i]
                column_place_2 = column_i_2 + 4 if column_i_2 < 0 else column_i_2
                safe_column_2 = column_place_2 if (0 <= column_place_2) & (column_place_2 < 4) else 0
                d_V[safe_column_2, j] += d_residual_i * U_row[j, i]  # dL/dV


@jit
def sums(total, grad, start, stop, theta, row, column, value):
    """Add the samples from start to stop, group by group; the sums of groups meet in a tree."""
    n = row.shape[0]
    group = group_size(n, GROUP)
    many = max(stop - start - 1, 0) // group      # groups before the last
    last = start + many * group
    total_tree = zeros((levels(many), 1), theta)
    grad_tree = zeros((levels(many), 18), theta)
    for first in range(start, last, group):
        samples(total, grad, first, first + group, theta, row, column, value)
        carry(total, total_tree, (first - start) // group)
        carry(grad, grad_tree, (first - start) // group)
    samples(total, grad, last, stop, theta, row, column, value)
    close_tree(total_tree, total, many)
    close_tree(grad_tree, grad, many)


@jit
def finish(grad, theta, total, row, column, value):
    """Write the gradient to grad and return the loss."""
    return total[0]


@jit
def kernel(theta: "float64[18]", grad: "float64[18]", row: "int64[n]", column: "int64[n]", value: "float64[n]"):
    """Write the gradient to grad and return the loss."""
    n = row.shape[0]
    grad[:] = 0.0
    total = zeros(1, theta)
    sums(total, grad, 0, n, theta, row, column, value)
    return finish(grad, theta, total, row, column, value)
