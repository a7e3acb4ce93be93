"""loss(omega, alpha, beta; returns) = sum(log(variance_before) + returns**2/variance_before)

20 operations for the loss, 62 with the gradient (3.1 times) a sample. Rewrites: none.
"""

from gradcompile.vmath import log
from gradcompile.library.sums import carry, close_tree, group_size, levels
from gradcompile.library.primitives import empty, fold, integers, lanes, view, zeros
from gradcompile.codegen.functions import jit

LANES = 32  # entries that are computed side by side
BLOCK = 128  # samples whose arrays are at hand at a time
GROUP = 2048  # samples, at least, that are added up before their sums meet others


@jit
def before(shared, theta, returns):
    """Compute what the samples share."""
    days = returns.shape[0]
    omega = theta[0]
    alpha = theta[1]
    beta = theta[2]
    variance_before = view(shared, 0, (days,))
    work = empty(16, theta)
    variance = view(work, 0, (2,))
    variance[0] = omega * (1.0 / (1.0 - alpha - beta))

    for step in range(days):
        variance_now = variance[step % 2]
        change = returns[step]
        variance[(step + 1) % 2] = omega + alpha * (change * change) + beta * variance_now
        variance_before[step] = variance_now


@jit
def samples(total, start, stop, theta, shared, returns):
    """Add the samples from start to stop, block by block."""
    days = returns.shape[0]
    variance_before = view(shared, 0, (days,))
    partial = zeros(LANES, theta)
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        variance_before_b = variance_before[first:first + m]
        returns_b = returns[first:first + m]
        partial[:] = 0.0
        for i in lanes(0, m):
            variance_before_i = variance_before_b[i]
            returns_i = returns_b[i]
            partial[i % LANES] += log(variance_before_i) + returns_i * returns_i * (1.0 / variance_before_i)
        total[0] += fold(partial)


@jit
def sums(total, start, stop, theta, shared, returns):
    """Add the samples from start to stop, group by group; the sums of groups meet in a tree."""
    days = returns.shape[0]
    group = group_size(days, GROUP)
    many = max(stop - start - 1, 0) // group      # groups before the last
    last = start + many * group
    total_tree = zeros((levels(many), 1), theta)
    for first in range(start, last, group):
        samples(total, first, first + group, theta, shared, returns)
        carry(total, total_tree, (first - start) // group)
    samples(total, last, stop, theta, shared, returns)
    close_tree(total_tree, total, many)


@jit
def finish(grad, theta, shared, total, returns):
    """Write the gradient to grad and return the loss."""
    days = returns.shape[0]
    omega = theta[0]
    alpha = theta[1]
    beta = theta[2]
    variance_before = view(shared, 0, (days,))
    work = empty(2 * days + 81, theta)
    work_whole = integers(days + 1)
    partial = zeros(LANES, theta)
    joined = view(work, 0, (days + 1,))
    diff = view(work, days + 1, (days,))
    joined[:] = 0.0
    for i in lanes(0, days):
        joined[i + 1] += 1.0
        returns_i = returns[i]
        ratio_i = 1.0 / variance_before[i]        # 1/variance_before
        diff[i] = -returns_i * returns_i * ratio_i * ratio_i + ratio_i

    joined_above_0 = view(work_whole, 0, (days + 1,))
    joined_above_0_part = joined_above_0[1:days + 1]
    partial[:] = 0.0
    for i in lanes(0, days + 1):
        joined_above_0_i = 0.0 < joined[i]
        joined_above_0[i] = joined_above_0_i
        partial[i % LANES] += 1.0 if joined_above_0_i else 0.0
    sum_kept_1 = fold(partial)

    d_variance = view(work, 2 * days + 1, (2,))
    variance_counts = view(work, 2 * days + 17, (2,))
    d_variance[0] = 0.0
    variance_counts[0] = 0.0

    over_steps = view(work, 2 * days + 33, (1,))
    over_steps_2 = view(work, 2 * days + 49, (1,))
    over_steps_3 = view(work, 2 * days + 65, (1,))
    over_steps[:] = 0.0
    over_steps_2[:] = 0.0
    over_steps_3[:] = 0.0
    for count in range(days):
        step = days - 1 - count
        d_variance_now = d_variance[count % 2]
        variance_counts_now = variance_counts[count % 2]
        joined_above_0_part_step = joined_above_0_part[step] != 0
        is_less = 0.0 < variance_counts_now
        any_holds = joined_above_0_part_step | is_less
        terms = (diff[step] if joined_above_0_part_step else 0.0) + (d_variance_now * beta if is_less else 0.0)
        d_variance[(count + 1) % 2] = terms if any_holds else 0.0
        variance_counts[(count + 1) % 2] = 1.0 if any_holds else 0.0
        returns_step = returns[step]
        over_steps[0] += d_variance_now * (returns_step * returns_step) if is_less else 0.0
        over_steps_2[0] += d_variance_now if is_less else 0.0
        over_steps_3[0] += d_variance_now * variance_before[step] if is_less else 0.0
    d_variance_last = d_variance[days % 2]
    is_less_2 = 0.0 < sum_kept_1
    all_hold = is_less_2 & (0.0 < variance_counts[days % 2])
    any_holds_2 = is_less_2 | all_hold
    ratio = 1.0 / (1.0 - alpha - beta)            # 1/(1 - alpha - beta)
    terms_2 = (over_steps_2[0] if is_less_2 else 0.0) + (d_variance_last * ratio if all_hold else 0.0)
    grad[0] = terms_2 if any_holds_2 else 0.0     # dL/domega
    branch = d_variance_last * (omega * ratio * ratio) if all_hold else 0.0
    grad[1] = (over_steps[0] if is_less_2 else 0.0) + branch if any_holds_2 else 0.0  # dL/dalpha
    grad[2] = (over_steps_3[0] if is_less_2 else 0.0) + branch if any_holds_2 else 0.0  # dL/dbeta
    return total[0]


@jit
def kernel(theta: "float64[3]", grad: "float64[3]", returns: "float64[days]"):
    """Write the gradient to grad and return the loss."""
    days = returns.shape[0]
    shared = empty(days, theta)
    before(shared, theta, returns)
    total = zeros(1, theta)
    sums(total, 0, days, theta, shared, returns)
    return finish(grad, theta, shared, total, returns)
