"""BFGS and L-BFGS between bounds, in the subset, one evaluation at a time: whoever calls it evaluates.

The direction is that of Nocedal, "Updating quasi-Newton matrices with limited storage" (1980), over the parameters that
no bound holds, or, where s[DENSE] is not 0, by a whole matrix as Broyden, Fletcher, Goldfarb and Shanno have it (1970),
scaled before its first update. Steps are projected on the bounds; where such a step is none down, the parameters that
it would press out go to their bounds, and the direction is that of the others. A length is searched for until the loss
falls as Armijo asks, or, within rounding of it, the slope does as Hager and Zhang ask ("A new conjugate gradient
method", 2005); and, unless a bound cut the step, until the slope has risen as Wolfe asks.

The state is memory of the caller's: `v`, of shape (ROWS, n), the rows below; `steps` and `changes`, of shape
(pairs, n), the last steps and what the gradient changed by in them, or the matrix (n, n) and one row; `both`, of shape
(2, pairs), for the recursion; `s`, the scalars below. `v[TRIAL]` is where to evaluate next.

A slope that presses a parameter to the bound that it is on may be infinite; it is kept as LARGEST.
"""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import fabs, fold, lanes, sqrt, to_int, zeros
from gradcompile.library.trust_region import same_rows

THETA, TRIAL, GRADIENT, DIRECTION, LOWER, UPPER, FREE, MASKED = range(8)
ROWS = 8
LOSS, LENGTH, SHORT, LONG, SLOPE, COUNT, FIRST, TRIES, STEPS, TOLERANCE, BEGUN, LEFT, DENSE = range(13)
SCALARS = 13
RUNNING, FLAT, SETTLED, STUCK, BAD, FALLING = range(6)

LANES = 32
SMALL = 8  # entries of vectors that are not worth lanes
EPS = 2.0**-52
DECREASE = 1e-4  # of the slope's promise, which a step has to bring
ROUNDING = 4.0 * EPS  # of the loss
CURVED = 0.9  # of the slope, at most, that may be left behind a step
TRIED = 60  # lengths of one step, at most
DOUBLED = 50  # times that a step is made longer, at most
HUGE = 2.0**1000
LARGEST = 2.0**1023


@jit
def advance(value, grad, v, steps, changes, both, s):  # type: ignore[no-untyped-def]
    """Take in loss and gradient at v[TRIAL], and put the next point there.

    RUNNING; FLAT where no free slope exceeds s[TOLERANCE]; SETTLED where what a step promises is below rounding of the
    loss; STUCK where no length of a step lowers the loss; BAD where the first loss or gradient is not finite; FALLING
    where the loss falls as steeply however long a step is made, or to minus infinity.
    """
    status = RUNNING
    s[BEGUN] += 1.0
    good = usable(value, grad, v)
    if s[BEGUN] == 1.0:
        take(value, grad, v, s)
        status = set_out(v, steps, changes, both, s) if good else BAD
    else:
        s[TRIES] += 1.0
        promised = promise(v)
        slope = dot(grad, v[DIRECTION])
        falls = value <= s[LOSS] + DECREASE * promised
        if value <= s[LOSS] + ROUNDING * fabs(s[LOSS]):  # then the slopes tell, which are not rounded away
            falls |= fabs(slope) <= (1.0 - 2.0 * DECREASE) * fabs(s[SLOPE])
        if good & falls & (promised < 0.0):
            steep = slope < CURVED * s[SLOPE]
            if steep:
                steep = inside(v)
            endless = steep & (s[LONG] >= HUGE) & (s[TRIES] >= DOUBLED)
            if endless & (s[COUNT] == 0.0):
                take(value, grad, v, s)
                s[STEPS] += 1.0
                status = FALLING
            elif steep & (not endless) & (s[TRIES] < TRIED):
                s[SHORT] = s[LENGTH]
                s[LENGTH] = 2.0 * s[LENGTH] if s[LONG] >= HUGE else 0.5 * (s[SHORT] + s[LONG])
                move(v, s)
            else:
                if endless:
                    s[COUNT] = 0.0  # the pairs are of another place
                remember(grad, v, steps, changes, both, s)
                take(value, grad, v, s)
                s[STEPS] += 1.0
                status = set_out(v, steps, changes, both, s)
        elif (value < 0.0) & (value * 0.0 != 0.0):
            status = FALLING
        elif (s[TRIES] == 1.0) & (s[COUNT] > 0.0) & (promised >= 0.0):  # bounds cut it so that it is none down
            leave_out(v)
            direct(v, steps, changes, both, s)
            press(v)
            s[SLOPE] = dot(v[GRADIENT], v[DIRECTION])
            move(v, s)
        else:
            s[LONG] = s[LENGTH]
            last = s[TRIES] >= TRIED  # then the longest that was short, if one was
            s[LENGTH] = s[SHORT] if last else between(value, good, s)
            move(v, s)
            end = failed(s)
            if (last & ((s[LONG] == s[SHORT]) | (end == SETTLED))) | same_rows(v, TRIAL, THETA):
                status = end
    return status


@jit
def usable(value, grad, v):  # type: ignore[no-untyped-def]
    """Whether loss and gradient are finite, but for slopes that press a parameter to the bound that it is on."""
    sums = zeros(LANES, grad)
    for k in lanes(0, v.shape[1]):
        low = (v[TRIAL, k] <= v[LOWER, k]) & (grad[k] > 0.0)
        high = (v[TRIAL, k] >= v[UPPER, k]) & (grad[k] < 0.0)
        sums[k % LANES] += 0.0 if low | high else grad[k] * 0.0
    return value * 0.0 + fold(sums) == 0.0


@jit
def promise(v):  # type: ignore[no-untyped-def]
    """What the slope promises of the step to v[TRIAL]."""
    sums = zeros(LANES, v)
    for k in lanes(0, v.shape[1]):
        sums[k % LANES] += v[GRADIENT, k] * (v[TRIAL, k] - v[THETA, k])
    return fold(sums)


@jit
def inside(v):  # type: ignore[no-untyped-def]
    """Whether v[TRIAL] touches no bound."""
    sums = zeros(LANES, v)
    for k in lanes(0, v.shape[1]):
        sums[k % LANES] += 0.0 if (v[TRIAL, k] > v[LOWER, k]) & (v[TRIAL, k] < v[UPPER, k]) else 1.0
    return fold(sums) == 0.0


@jit
def between(value, good, s):  # type: ignore[no-untyped-def]
    """A length between one that is too short and one that is too long: the parabola's least, not too near either."""
    length = 0.5 * (s[SHORT] + s[LONG])
    if good & (s[SHORT] == 0.0):
        rise = value - s[LOSS] - s[LONG] * s[SLOPE]
        least = -0.5 * s[SLOPE] * s[LONG] * s[LONG] / rise if rise > 0.0 else length
        length = min(max(least, 0.1 * s[LONG]), 0.5 * s[LONG])
    return length if good else 0.1 * s[LONG] + 0.9 * s[SHORT]


@jit
def dot(x, y):  # type: ignore[no-untyped-def]
    """The inner product."""
    found = 0.0
    if x.shape[0] < SMALL:
        for i in range(x.shape[0]):
            found += x[i] * y[i]
    else:
        sums = zeros(LANES, x)
        for i in lanes(0, x.shape[0]):
            sums[i % LANES] += x[i] * y[i]
        found = fold(sums)
    return found


@jit
def add(out, factor, x):  # type: ignore[no-untyped-def]
    """Add a multiple of x."""
    for i in lanes(0, out.shape[0]):
        out[i] += factor * x[i]


@jit
def take(value, grad, v, s):  # type: ignore[no-untyped-def]
    """Go to v[TRIAL]."""
    s[LOSS] = value
    for k in lanes(0, v.shape[1]):
        v[THETA, k] = v[TRIAL, k]
        v[GRADIENT, k] = min(max(grad[k], -LARGEST), LARGEST) if value == value else grad[k]


@jit
def remember(grad, v, steps, changes, both, s):  # type: ignore[no-untyped-def]
    """Keep the step to v[TRIAL], unless the gradient did not rise along it."""
    if s[DENSE] > 0.0:
        update(grad, v, steps, changes, s)
    else:
        keep(grad, v, steps, changes, both, s)


@jit
def update(grad, v, inverse, work, s):  # type: ignore[no-untyped-def]
    """The inverse of the Hessian after the step to v[TRIAL]; the rows for directions are made anew after it."""
    n = v.shape[1]
    for k in lanes(0, n):
        v[MASKED, k] = grad[k] - v[GRADIENT, k] if v[FREE, k] > 0.0 else 0.0
        v[DIRECTION, k] = v[TRIAL, k] - v[THETA, k]
    along = dot(v[DIRECTION], v[MASKED])
    squares = dot(v[MASKED], v[MASKED])
    if along > EPS * squares:
        if s[COUNT] == 0.0:
            for i in range(n):
                for j in lanes(0, n):
                    inverse[i, j] = 0.0
                inverse[i, i] = along / squares
        for i in range(n):
            work[0, i] = dot(inverse[i], v[MASKED])
        scale = (1.0 + dot(work[0], v[MASKED]) / along) / along
        for i in range(n):
            step = v[DIRECTION, i] / along
            bent = work[0, i] / along
            for j in lanes(0, n):
                inverse[i, j] += scale * v[DIRECTION, i] * v[DIRECTION, j] - (
                    bent * v[DIRECTION, j] + step * work[0, j]
                )
        s[COUNT] += 1.0


@jit
def keep(grad, v, steps, changes, both, s):  # type: ignore[no-untyped-def]
    """The step to v[TRIAL] among the last."""
    pairs = steps.shape[0]
    at = to_int(s[COUNT]) % pairs
    for k in lanes(0, v.shape[1]):
        steps[at, k] = v[TRIAL, k] - v[THETA, k]
        changes[at, k] = grad[k] - v[GRADIENT, k] if v[FREE, k] > 0.0 else 0.0
    along = dot(steps[at], changes[at])
    if along > EPS * dot(changes[at], changes[at]):
        both[0, at] = 1.0 / along
        s[COUNT] += 1.0


@jit
def set_out(v, steps, changes, both, s):  # type: ignore[no-untyped-def]
    """The direction from v[THETA], and the first point along it."""
    sums = zeros(LANES, v)
    for k in lanes(0, v.shape[1]):
        lower = (v[THETA, k] <= v[LOWER, k]) & (v[GRADIENT, k] >= 0.0)
        upper = (v[THETA, k] >= v[UPPER, k]) & (v[GRADIENT, k] <= 0.0)
        v[FREE, k] = 0.0 if lower | upper else 1.0
        v[MASKED, k] = v[GRADIENT, k] * v[FREE, k]
        v[DIRECTION, k] = -v[MASKED, k]
        sums[k % LANES] += 1.0 if fabs(v[DIRECTION, k]) > s[TOLERANCE] else 0.0
    status = FLAT if fold(sums) == 0.0 else RUNNING
    if status == RUNNING:
        if s[COUNT] > 0.0:
            direct(v, steps, changes, both, s)
            s[SLOPE] = dot(v[GRADIENT], v[DIRECTION])
            if not (s[SLOPE] < 0.0):
                s[COUNT] = 0.0
        if s[COUNT] == 0.0:
            descend(v)
            s[SLOPE] = dot(v[GRADIENT], v[DIRECTION])
        s[LENGTH] = 1.0
        s[SHORT] = 0.0
        s[LONG] = HUGE
        s[TRIES] = 0.0
        move(v, s)
        if same_rows(v, TRIAL, THETA):
            status = SETTLED if s[COUNT] > 0.0 else failed(s)
    return status


@jit
def direct(v, steps, changes, both, s):  # type: ignore[no-untyped-def]
    """Multiply the direction by the inverse of the Hessian, over the parameters that are free."""
    if s[DENSE] > 0.0:
        multiply(v, steps)
    else:
        bend(v, steps, changes, both, s)


@jit
def leave_out(v):  # type: ignore[no-untyped-def]
    """The direction anew, without the parameters that a slope presses out of their bounds along it."""
    for k in lanes(0, v.shape[1]):
        aim = v[THETA, k] + v[DIRECTION, k]
        out = (aim < v[LOWER, k]) & (v[MASKED, k] > 0.0) | (aim > v[UPPER, k]) & (v[MASKED, k] < 0.0)
        v[MASKED, k] = 0.0 if out else v[MASKED, k]
        v[DIRECTION, k] = -v[MASKED, k]


@jit
def press(v):  # type: ignore[no-untyped-def]
    """The parameters that are free but were left out go to their bounds."""
    for k in lanes(0, v.shape[1]):
        goal = v[LOWER, k] if v[GRADIENT, k] > 0.0 else v[UPPER, k]
        left_out = (v[FREE, k] > 0.0) & (v[MASKED, k] == 0.0) & (v[GRADIENT, k] != 0.0)
        v[DIRECTION, k] = goal - v[THETA, k] if left_out else v[DIRECTION, k]


@jit
def failed(s):  # type: ignore[no-untyped-def]
    """What it means that no step goes down: whether one of length one promises more than rounding of the loss."""
    return SETTLED if -s[SLOPE] <= 1e6 * EPS * fabs(s[LOSS]) else STUCK


@jit
def descend(v):  # type: ignore[no-untyped-def]
    """The direction of steepest descent, no longer than one; squares of large slopes overflow, and so are scaled."""
    steepest = 0.0
    for k in range(v.shape[1]):
        steepest = max(steepest, fabs(v[GRADIENT, k] * v[FREE, k]))
    squares = 0.0
    for k in range(v.shape[1]):
        part = v[GRADIENT, k] * v[FREE, k] / steepest
        squares += part * part
    scale = min(1.0, 1.0 / steepest / sqrt(squares))
    for k in lanes(0, v.shape[1]):
        v[DIRECTION, k] = -v[GRADIENT, k] * v[FREE, k] * scale


@jit
def multiply(v, inverse):  # type: ignore[no-untyped-def]
    """Multiply the direction by the whole inverse of the Hessian."""
    for i in range(v.shape[1]):
        v[DIRECTION, i] = -dot(inverse[i], v[MASKED]) * v[FREE, i]


@jit
def bend(v, steps, changes, both, s):  # type: ignore[no-untyped-def]
    """Multiply the direction by the inverse of the Hessian as the pairs have it."""
    pairs = steps.shape[0]
    count = min(to_int(s[COUNT]), pairs)
    newest = (to_int(s[COUNT]) - 1) % pairs
    product = dot(steps[newest], v[DIRECTION])
    for back in range(count):
        at = (to_int(s[COUNT]) - 1 - back) % pairs
        older = (to_int(s[COUNT]) - 2 - back) % pairs if back + 1 < count else at
        both[1, at] = both[0, at] * product
        product = add_and_dot(v[DIRECTION], -both[1, at], changes[at], steps[older])
    scale = 1.0 / (both[0, newest] * dot(changes[newest], changes[newest]))
    for k in lanes(0, v.shape[1]):
        v[DIRECTION, k] = v[DIRECTION, k] * scale
    product = dot(changes[(to_int(s[COUNT]) - count) % pairs], v[DIRECTION])
    for forth in range(count):
        at = (to_int(s[COUNT]) - count + forth) % pairs
        newer = (to_int(s[COUNT]) - count + forth + 1) % pairs if forth + 1 < count else at
        product = add_and_dot(v[DIRECTION], both[1, at] - both[0, at] * product, steps[at], changes[newer])
    for k in lanes(0, v.shape[1]):
        v[DIRECTION, k] = v[DIRECTION, k] * v[FREE, k]


@jit
def add_and_dot(out, factor, x, y):  # type: ignore[no-untyped-def]
    """Add a multiple of x, and the inner product of the sum with y."""
    found = 0.0
    if x.shape[0] < SMALL:
        for i in range(x.shape[0]):
            out[i] += factor * x[i]
            found += out[i] * y[i]
    else:
        sums = zeros(LANES, x)
        for i in lanes(0, x.shape[0]):
            out[i] += factor * x[i]
            sums[i % LANES] += out[i] * y[i]
        found = fold(sums)
    return found


@jit
def move(v, s):  # type: ignore[no-untyped-def]
    """Put v[TRIAL] the length along the direction, not beyond a bound."""
    length = s[LENGTH]
    for k in lanes(0, v.shape[1]):
        v[TRIAL, k] = min(max(v[THETA, k] + length * v[DIRECTION, k], v[LOWER, k]), v[UPPER, k])
