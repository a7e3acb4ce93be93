"""A trust-region method in the subset, one evaluation at a time: whoever calls it evaluates, by whatever means.

It minimises f(theta) between bounds by the model f + g'p + p'Bp/2 within |D p| <= radius, where g is the gradient, B
the Hessian or a Gauss-Newton matrix, and D the root of the largest diagonal of B so far, so units of parameters don't
matter. With a Gauss-Newton matrix it is the Levenberg-Marquardt method. Rules for radius and damping are those of
MINPACK's lmder (More, "The Levenberg-Marquardt algorithm: implementation and theory", 1978), the search for the damping
is that of More and Sorensen, "Computing a trust region step" (1983), on a Cholesky factor of D^-1 B D^-1 + damping I.

The state is memory of the caller's: `v`, of shape (ROWS, n), the rows below; `b` and `work`, of shape (n, n); `s`, the
scalars below. `v[TRIAL]` is where to evaluate next.
"""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import fabs, fold, lanes, sqrt, zeros

THETA, TRIAL, GRADIENT, SCALE, LOWER, UPPER, STEP, RIGHT, HELD, BEST, SCALED = range(11)
ROWS = 11
LOSS, RADIUS, DAMPING, PREDICTED, LENGTH, ROUNDING, SIZE, BEGUN, POLISHED, FULL, FIRST, TAKEN, TOLERANCE = range(13)
SCALARS = 13
RUNNING, ENDED, STUCK = range(3)

LANES = 32
EPS = 2.0**-52
TINY = 2.0**-1000
HUGE = 2.0**500
SUFFICIENT = 1e-4  # of the predicted decrease that a step has to bring to be taken
CLOSE = 0.1  # relative difference of a step's length and the radius at which the search for the damping ends
STEPS = 40  # of this search, at most
SHORTER = 20  # steps between bounds that are tried, each a tenth of the one before, until the model falls
ENOUGH = 1e-20  # of the loss: a predicted decrease below it is a step of 1e-10 standard errors and less
POLISHES = 30  # steps within rounding, at most


@jit
def begin(start, norm, radius, v, s):  # type: ignore[no-untyped-def]
    """Prepare the state for a search from a start; norm: of the data that residuals are taken from."""
    for k in range(v.shape[1]):
        v[TRIAL, k] = start[k]
        v[SCALE, k] = 0.0
    for k in range(SCALARS):
        s[k] = 0.0
    s[SIZE] = 4.0 * EPS
    s[ROUNDING] = 4.0 * EPS * norm
    s[FIRST] = radius


@jit
def advance(value, grad, hess, v, b, work, s):  # type: ignore[no-untyped-def]
    """Take in loss, gradient and matrix at v[TRIAL], and put the next point there.

    RUNNING; ENDED where no step promises a decrease above rounding; STUCK where no step brings the decrease that it
    promises. v[THETA] has the best point then, s[LOSS] its loss. s[ROUNDING] times the root of the loss is what
    rounding of the data's size does to the loss, s[SIZE] times the loss its own rounding; s[FIRST] is the first radius,
    in lengths of the start. Slopes that no bound holds and that are below s[TOLERANCE] are an end too.
    """
    n = v.shape[1]
    status = RUNNING
    noise = s[SIZE] * fabs(s[LOSS]) + s[ROUNDING] * sqrt(fabs(s[LOSS]))
    if s[BEGUN] == 0.0:
        take(value, grad, hess, v, b, s)
        s[RADIUS] = s[FIRST] * length_of(v, THETA)
        if not s[RADIUS] > 0.0:
            s[RADIUS] = s[FIRST] * first_length(v)
    elif s[POLISHED] > 0.0:
        if usable(value, grad, hess) & (value <= s[LOSS] + noise):
            for k in range(n):
                v[BEST, k] = v[THETA, k]
            take(value, grad, hess, v, b, s)
        else:
            status = ENDED
    elif usable(value, grad, hess):
        update(value, s)
        if s[LOSS] - value >= SUFFICIENT * s[PREDICTED]:
            take(value, grad, hess, v, b, s)
    else:
        s[RADIUS] = 0.25 * min(s[RADIUS], s[LENGTH])
    s[BEGUN] += 1.0
    if status == RUNNING:
        before = s[PREDICTED]
        propose(v, b, work, s)
        noise = s[SIZE] * fabs(s[LOSS]) + s[ROUNDING] * sqrt(fabs(s[LOSS]))
        if steepest(v) < s[TOLERANCE]:
            status = ENDED
        elif s[PREDICTED] <= noise:
            status = polish(before, v, s)
        elif s[RADIUS] <= EPS * max(length_of(v, THETA), s[LENGTH]):
            status = STUCK
        elif s[POLISHED] > 0.0:
            s[POLISHED] = 0.0
    return status


@jit
def steepest(v):  # type: ignore[no-untyped-def]
    """The largest slope that no bound holds."""
    found = 0.0
    for k in range(v.shape[1]):
        lower = (v[THETA, k] <= v[LOWER, k]) & (v[GRADIENT, k] > 0.0)
        upper = (v[THETA, k] >= v[UPPER, k]) & (v[GRADIENT, k] < 0.0)
        found = max(found, 0.0 if lower | upper else fabs(v[GRADIENT, k]))
    return found


@jit
def polish(before, v, s):  # type: ignore[no-untyped-def]
    """Go on within rounding, where losses tell nothing, as long as each step promises a quarter of the one before.

    A step that is short for the radius alone is none of these: there the search has stuck, or ends at an edge.
    """
    status = RUNNING
    if s[FULL] == 0.0:
        status = STUCK
    elif (s[PREDICTED] <= ENOUGH * fabs(s[LOSS])) | same_rows(v, TRIAL, THETA):
        status = ENDED
    elif (s[POLISHED] > 0.0) & (s[PREDICTED] > 0.25 * before):
        status = ENDED
        if s[PREDICTED] > before:
            for k in range(v.shape[1]):
                v[THETA, k] = v[BEST, k]
    elif s[POLISHED] >= POLISHES:
        status = ENDED
    s[POLISHED] += 1.0
    return status


@jit
def same_rows(v, first, second):  # type: ignore[no-untyped-def]
    """Whether two rows are the same, as before and after a step that leaves all parameters as they are."""
    same = True
    for k in range(v.shape[1]):
        same = same & (v[first, k] == v[second, k])
    return same


@jit
def usable(value, grad, hess):  # type: ignore[no-untyped-def]
    """Whether loss, gradient and matrix are finite."""
    total = value * 0.0
    for k in range(grad.shape[0]):
        total += grad[k] * 0.0
    for k in range(hess.shape[0]):
        total += hess[k] * 0.0
    return total == 0.0


@jit
def take(value, grad, hess, v, b, s):  # type: ignore[no-untyped-def]
    """Go to v[TRIAL]."""
    n = v.shape[1]
    s[LOSS] = value
    s[TAKEN] += 1.0
    for i in range(n):
        v[THETA, i] = v[TRIAL, i]
        v[GRADIENT, i] = grad[i]
        for j in range(n):
            b[i, j] = hess[i * n + j]
        v[SCALE, i] = max(v[SCALE, i], sqrt(fabs(b[i, i])))


@jit
def scale_of(v, k):  # type: ignore[no-untyped-def]
    """The scale of a parameter, 1 where nothing depends on it."""
    return v[SCALE, k] if v[SCALE, k] > 0.0 else 1.0


@jit
def length_of(v, row):  # type: ignore[no-untyped-def]
    """|D x| for a row x."""
    total = 0.0
    for k in range(v.shape[1]):
        total += (scale_of(v, k) * v[row, k]) * (scale_of(v, k) * v[row, k])
    return sqrt(total)


@jit
def first_length(v):  # type: ignore[no-untyped-def]
    """A radius where the start is 0: the length of the scaled gradient, which is that of a step with B = D^2."""
    total = 0.0
    for k in range(v.shape[1]):
        total += (v[GRADIENT, k] / scale_of(v, k)) * (v[GRADIENT, k] / scale_of(v, k))
    return max(sqrt(total), TINY)


@jit
def update(value, s):  # type: ignore[no-untyped-def]
    """The radius after a step, by how much of the predicted decrease it brought."""
    actual = s[LOSS] - value
    if actual <= 0.25 * s[PREDICTED]:
        shrink = 0.5
        if actual < 0.0:
            shrink = min(max(0.5 * s[PREDICTED] / (s[PREDICTED] - actual), 0.1), 0.5)
        s[RADIUS] = shrink * min(s[RADIUS], 10.0 * s[LENGTH])
    elif (s[FULL] > 0.0) | (actual >= 0.75 * s[PREDICTED]):
        s[RADIUS] = 2.0 * s[LENGTH]
    if s[BEGUN] == 1.0:
        s[RADIUS] = min(s[RADIUS], 2.0 * s[LENGTH])


@jit
def propose(v, b, work, s):  # type: ignore[no-untyped-def]
    """The step from v[THETA], and the decrease that the model predicts.

    Cut at the bounds, a long step may lead to where the model is higher; a shorter one does not.
    """
    tries = 0
    while tries < SHORTER:
        tries += 1
        if propose_within(v, b, work, s) & (s[PREDICTED] <= 0.0):
            s[RADIUS] = 0.1 * min(s[RADIUS], s[LENGTH])
        else:
            tries = SHORTER


@jit
def propose_within(v, b, work, s):  # type: ignore[no-untyped-def]
    """The same by the present radius; whether bounds cut it.

    Parameters on a bound that the gradient presses against stay there; those that the step takes beyond a bound go as
    far as that, and the others are solved for again.
    """
    n = v.shape[1]
    is_cut = False
    hold(v)
    for k in range(n):
        v[STEP, k] = 0.0
    again = True
    while again:
        damped_step(v, b, work, s)
        again = False
        for k in range(n):
            if v[HELD, k] == 0.0:
                moved = v[THETA, k] + v[STEP, k]
                if (moved < v[LOWER, k]) | (moved > v[UPPER, k]):
                    edge = v[LOWER, k] if moved < v[LOWER, k] else v[UPPER, k]
                    v[STEP, k] = edge - v[THETA, k]
                    v[HELD, k] = 1.0
                    again = True
        is_cut = is_cut | again
    predicted = 0.0
    for i in range(n):
        slope = v[GRADIENT, i]
        for j in range(n):
            slope += 0.5 * b[i, j] * v[STEP, j]
        predicted -= slope * v[STEP, i]
        v[TRIAL, i] = min(max(v[THETA, i] + v[STEP, i], v[LOWER, i]), v[UPPER, i])
    s[PREDICTED] = predicted
    s[LENGTH] = length_of(v, STEP)
    return is_cut


@jit
def hold(v):  # type: ignore[no-untyped-def]
    """Hold what is on a bound that the gradient presses it to, and what has nowhere to go."""
    for k in range(v.shape[1]):
        at_lower = (v[THETA, k] <= v[LOWER, k]) & (v[GRADIENT, k] > 0.0)
        at_upper = (v[THETA, k] >= v[UPPER, k]) & (v[GRADIENT, k] < 0.0)
        v[HELD, k] = 1.0 if at_lower | at_upper | (v[LOWER, k] >= v[UPPER, k]) else 0.0


@jit
def solve_linear(grad, hess, held, v, b, work, s):  # type: ignore[no-untyped-def]
    """Put at v[TRIAL] the minimum of the model at v[THETA] over the parameters that are not held, within the bounds."""
    n = v.shape[1]
    for k in range(n):
        v[SCALE, k] = 0.0
        v[TRIAL, k] = v[THETA, k]
    take(0.0, grad, hess, v, b, s)
    for k in range(n):
        v[HELD, k] = held[k]
        v[STEP, k] = 0.0
    s[RADIUS] = HUGE
    damped_step(v, b, work, s)
    for k in range(n):
        v[TRIAL, k] = min(max(v[THETA, k] + v[STEP, k], v[LOWER, k]), v[UPPER, k])


@jit
def damped_step(v, b, work, s):  # type: ignore[no-untyped-def]
    """Minimise the model over the parameters that are not held, within the radius; held ones have their step already.

    s[FULL] is 1 where the radius did not shorten the step.
    """
    n = v.shape[1]
    total = 0.0
    for i in range(n):
        right = -v[GRADIENT, i]
        for j in range(n):
            right -= b[i, j] * v[STEP, j] if v[HELD, j] > 0.0 else 0.0
        v[RIGHT, i] = 0.0 if v[HELD, i] > 0.0 else right / scale_of(v, i)
        total += v[RIGHT, i] * v[RIGHT, i]
    floor = 16.0 * EPS * n
    low = 0.0
    high = sqrt(total) / s[RADIUS] + n
    damping = 0.0
    s[FULL] = 0.0
    tries = 0
    while tries < STEPS:
        tries += 1
        if factored(v, b, work, damping):
            length = solve(v, work)
            s[FULL] = 1.0 if (damping <= floor) & (length <= (1.0 + CLOSE) * s[RADIUS]) else 0.0
            close = fabs(length - s[RADIUS]) <= CLOSE * s[RADIUS]
            if (s[FULL] > 0.0) | close | (high - low <= EPS * high):
                tries = STEPS
            else:
                if length > s[RADIUS]:
                    low = max(low, damping)
                else:
                    high = min(high, damping)
                slope = bent(v, work)
                damping += (length / slope) * (length / slope) * ((length - s[RADIUS]) / s[RADIUS])
                damping = damping if (low < damping) & (damping < high) else max(0.001 * high, sqrt(low * high))
        else:
            low = max(low, damping)
            damping = floor if damping < floor else max(0.001 * high, sqrt(low * high))
            high = max(high, 2.0 * damping)
    s[DAMPING] = damping
    for k in range(n):
        if v[HELD, k] == 0.0:
            v[STEP, k] = v[STEP, k] / scale_of(v, k)


@jit
def factored(v, b, work, damping):  # type: ignore[no-untyped-def]
    """The Cholesky factor of D^-1 B D^-1 + damping I over the parameters that are free, the identity for others.

    False where there is none.
    """
    n = v.shape[1]
    good = True
    for i in range(n):
        for j in range(i + 1):
            held = (v[HELD, i] > 0.0) | (v[HELD, j] > 0.0)
            entry = 0.0 if held else b[i, j] / scale_of(v, i) / scale_of(v, j)
            if i == j:
                entry = 1.0 if held else entry + damping
            work[i, j] = entry
    for i in range(n):
        least = n * EPS * work[i, i]
        for j in range(i + 1):
            rest = work[i, j]
            for k in range(j):
                rest -= work[i, k] * work[j, k]
            if i == j:
                good = good & (rest > least)
                work[i, i] = sqrt(max(rest, TINY))
            else:
                work[i, j] = rest / work[j, j]
    return good


@jit
def solve(v, work):  # type: ignore[no-untyped-def]
    """The scaled step of the free parameters by the factor; its length. Steps of held ones stay."""
    n = v.shape[1]
    total = 0.0
    solve_down(v, RIGHT, work)
    for back in range(n):
        i = n - 1 - back
        rest = v[SCALED, i]
        for k in range(i + 1, n):
            rest -= work[k, i] * v[SCALED, k]
        v[SCALED, i] = rest / work[i, i]
        total += v[SCALED, i] * v[SCALED, i]
        if v[HELD, i] == 0.0:
            v[STEP, i] = v[SCALED, i]
    return sqrt(total)


@jit
def bent(v, work):  # type: ignore[no-untyped-def]
    """|L^-1 q| for the scaled step q: how fast its length changes with the damping."""
    return solve_down(v, SCALED, work)


@jit
def solve_down(v, row, work):  # type: ignore[no-untyped-def]
    """Put L^-1 x at v[SCALED] for a row x, which may be that one; its length."""
    n = v.shape[1]
    total = 0.0
    for i in range(n):
        rest = v[row, i]
        for k in range(i):
            rest -= work[i, k] * v[SCALED, k]
        v[SCALED, i] = rest / work[i, i]
        total += v[SCALED, i] * v[SCALED, i]
    return sqrt(total)


@jit
def square_sum(x):  # type: ignore[no-untyped-def]
    """The sum of squares; not finite where an entry is not."""
    sums = zeros(LANES, x)
    for i in lanes(0, x.shape[0]):
        sums[i % LANES] += x[i] * x[i]
    return fold(sums)


@jit
def fingerprint(x):  # type: ignore[no-untyped-def]
    """A number that changes where an entry does, or where two of them change places in most cases."""
    sums = zeros(LANES, x)
    for i in lanes(0, x.shape[0]):
        sums[i % LANES] += x[i]
    total = 0.0
    for k in range(LANES):
        total += sums[k] * (1.0 + 0.03125 * k)
    return total


@jit
def least_effect(theta, start, lower, upper, b):  # type: ignore[no-untyped-def]
    """The least that a free parameter moves predictions by, if it changes by its size, or by that at the start."""
    least = HUGE
    for k in range(theta.shape[0]):
        size = fabs(start[k]) if start[k] != 0.0 else 1.0
        effect = sqrt(fabs(b[k, k])) * max(fabs(theta[k]), size)
        if lower[k] < upper[k]:
            least = min(least, effect)
    return least
