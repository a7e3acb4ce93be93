"""The rules of stochastic training, in the subset: each turns what it is given in `updates` into what it makes of it.

All take (updates, theta, state, h): a vector, the parameters, the rule's own rows of state, of shape (rows, n), and its
numbers for this step, which its entry in `optim/family.py` computes. Most are one loop over lanes, so that several,
one after the other, are joined to one pass over theta (`optim/steps.py`). `places`, where a rule takes it, has a row
for each parameter: its first entry, how many it has, and its rows and columns, 0 unless it is a matrix.

`optax` has the same parts under the same names.
"""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import copysign, fabs, fold, lanes, sqrt, to_float, zeros

LEFT, COUNT, NEXT, ROW, LOGGED, TURN, INTERVAL, STEP, EVERY, EPOCH, INSIDE = range(11)  # of the counters
COUNTERS = 11
GOES_ON, ENDED, BAD_LOSS, BAD_GRADIENT = range(4)
LANES = 32
SMALL, LARGE = 1e-28, 1e37  # between them no square that counts was lost, in single precision either


@jit
def norm(v):  # type: ignore[no-untyped-def]
    """The Euclidean norm, also where squares leave the range of floats."""
    sums = zeros(LANES, v)
    for i in lanes(0, v.shape[0]):
        sums[i % LANES] += v[i] * v[i]
    total = fold(sums)
    length = sqrt(total)
    if (total < SMALL) | (total > LARGE):
        length = scaled_norm(v)
    return length


@jit
def scaled_norm(v):  # type: ignore[no-untyped-def]
    """The norm by way of the largest entry."""
    largest = 0.0 * v[0]
    for i in range(v.shape[0]):
        largest = max(largest, fabs(v[i]))
    total = 0.0 * v[0]
    if largest > 0.0:
        for i in range(v.shape[0]):
            total += (v[i] / largest) * (v[i] / largest)
    return largest * sqrt(total) if total * 0.0 == 0.0 else largest


@jit
def verdict(loss, length):  # type: ignore[no-untyped-def]
    """Whether the loss and the norm of the gradient are finite."""
    status = BAD_GRADIENT if length * 0.0 != 0.0 else GOES_ON
    return BAD_LOSS if loss * 0.0 != 0.0 else status


@jit
def record(loss, length, at, sums, log):  # type: ignore[no-untyped-def]
    """Add up loss and norm, weighted by the samples; at the end of an interval their means are a row of the log."""
    sums[0] += to_float(loss) * at[COUNT]
    sums[1] += to_float(length) * at[COUNT]
    sums[2] += at[COUNT]
    at[TURN] += 1
    if at[TURN] == at[INTERVAL]:
        log[at[LOGGED], 0] = sums[0] / sums[2]
        log[at[LOGGED], 1] = sums[1] / sums[2]
        for k in range(3):
            sums[k] = 0.0
        at[LOGGED] += 1
        at[TURN] = 0


@jit
def proceed(at):  # type: ignore[no-untyped-def]
    """Count a step; ENDED where it was the last of its chunk."""
    at[STEP] += 1
    at[LEFT] -= 1
    return GOES_ON if at[LEFT] > 0 else ENDED


@jit
def collect(updates, sums, at):  # type: ignore[no-untyped-def]
    """Of every so many gradients the mean; true where this one completes it, which is then in `updates`."""
    turn = at[STEP] % at[EVERY]
    for k in lanes(0, updates.shape[0]):
        before = sums[k] if turn > 0 else 0.0 * sums[k]
        mean = before + (updates[k] - before) / (turn + 1)
        sums[k] = mean
        updates[k] = mean
    return turn + 1 == at[EVERY]


# ---- clipping


@jit
def clip(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """Each entry between -limit and limit."""
    for k in lanes(0, updates.shape[0]):
        updates[k] = min(max(updates[k], -h[0]), h[0])


@jit
def clip_by_global_norm(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """All together no longer than a limit."""
    length = norm(updates)
    factor = h[0] / length if length > h[0] else 1.0 + 0.0 * length
    for k in lanes(0, updates.shape[0]):
        updates[k] = factor * updates[k]


@jit
def clip_by_block_norm(updates, theta, state, h, places):  # type: ignore[no-untyped-def]
    """Each parameter's no longer than a limit."""
    for p in range(places.shape[0]):
        part = updates[places[p, 0] : places[p, 0] + places[p, 1]]
        length = norm(part)
        factor = h[0] / length if length > h[0] else 1.0 + 0.0 * length
        scale_part(part, factor)


@jit
def scale_part(part, factor):  # type: ignore[no-untyped-def]
    """Multiply a vector by a number."""
    for k in lanes(0, part.shape[0]):
        part[k] = factor * part[k]


# ---- directions


@jit
def scale(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """Multiply by a number: minus the rate goes downhill."""
    for k in lanes(0, updates.shape[0]):
        updates[k] = h[0] * updates[k]


@jit
def trace(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """m = decay m + g."""
    for k in lanes(0, updates.shape[0]):
        m = h[0] * state[0, k] + updates[k]
        state[0, k] = m
        updates[k] = m


@jit
def nesterov(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """m = decay m + g; g + decay m."""
    for k in lanes(0, updates.shape[0]):
        m = h[0] * state[0, k] + updates[k]
        state[0, k] = m
        updates[k] = h[0] * m + updates[k]


@jit
def scale_by_rss(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """Divide by the root of the sum of all squares."""
    for k in lanes(0, updates.shape[0]):
        g = updates[k]
        total = state[0, k] + g * g
        state[0, k] = total
        updates[k] = g / sqrt(total + h[0]) if total > 0.0 else 0.0 * g


@jit
def scale_by_rms(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """Divide by the root of the mean of squares: sqrt(v c + h[3]) + h[4]."""
    for k in lanes(0, updates.shape[0]):
        g = updates[k]
        v = h[0] * state[0, k] + h[1] * (g * g)
        state[0, k] = v
        updates[k] = g / (sqrt(v * h[2] + h[3]) + h[4])


@jit
def scale_by_adadelta(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """Multiply by the root mean square of past updates over that of gradients."""
    for k in lanes(0, updates.shape[0]):
        g = updates[k]
        v = h[0] * state[0, k] + h[1] * (g * g)
        u = sqrt(state[1, k] + h[2]) / sqrt(v + h[2]) * g
        state[0, k] = v
        state[1, k] = h[0] * state[1, k] + h[1] * (u * u)
        updates[k] = u


@jit
def scale_by_adam(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """The first moment by the root of the second, both corrected for their start: (m a + g b) / (sqrt(v c + d) + e).

    Nesterov's step ahead is in b, which is 0 without.
    """
    for k in lanes(0, updates.shape[0]):
        g = updates[k]
        m = h[0] * state[0, k] + h[1] * g
        v = h[2] * state[1, k] + h[3] * (g * g)
        state[0, k] = m
        state[1, k] = v
        updates[k] = (m * h[4] + g * h[8]) / (sqrt(v * h[5] + h[6]) + h[7])


@jit
def scale_by_radam(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """The same, rectified: h[8] times it, or the first moment alone where h[8] is 0."""
    for k in lanes(0, updates.shape[0]):
        g = updates[k]
        m = h[0] * state[0, k] + h[1] * g
        v = h[2] * state[1, k] + h[3] * (g * g)
        state[0, k] = m
        state[1, k] = v
        mean = m * h[4]
        updates[k] = h[8] * mean / (sqrt(v * h[5] + h[6]) + h[7]) if h[8] > 0.0 else mean


@jit
def scale_by_amsgrad(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """The same by the largest second moment so far."""
    for k in lanes(0, updates.shape[0]):
        g = updates[k]
        m = h[0] * state[0, k] + h[1] * g
        v = h[2] * state[1, k] + h[3] * (g * g)
        most = max(state[2, k], v * h[5])
        state[0, k] = m
        state[1, k] = v
        state[2, k] = most
        updates[k] = m * h[4] / (sqrt(most + h[6]) + h[7])


@jit
def scale_by_lion(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """The sign of the gradient and its mean."""
    for k in lanes(0, updates.shape[0]):
        g = updates[k]
        x = h[1] * g + h[0] * state[0, k]
        state[0, k] = h[3] * g + h[2] * state[0, k]
        updates[k] = copysign(1.0 + 0.0 * x, x) if fabs(x) > 0.0 else x


@jit
def add_decayed_weights(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """Add the parameters times a number."""
    for k in lanes(0, updates.shape[0]):
        updates[k] = updates[k] + h[0] * theta[k]


@jit
def scale_by_trust_ratio(updates, theta, state, h, places):  # type: ignore[no-untyped-def]
    """Multiply each parameter's by its norm over theirs."""
    for p in range(places.shape[0]):
        part = updates[places[p, 0] : places[p, 0] + places[p, 1]]
        length = norm(part)
        own = norm(theta[places[p, 0] : places[p, 0] + places[p, 1]])
        some = (own > 0.0) & (length > 0.0)
        scale_part(part, own / length if some else 1.0 + 0.0 * own)


# ---- what is made of the parameters


@jit
def schedule_free(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """Rows z, where the rule goes, and x, the mean of all z with the weight c of this one; theta is between them.

    Defazio et al. 2024.
    """
    for k in lanes(0, updates.shape[0]):
        z = state[0, k] + updates[k]
        x = h[2] * state[1, k] + h[1] * z
        state[0, k] = z
        state[1, k] = x
        updates[k] = h[0] * x + h[3] * z - theta[k]


@jit
def average(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """The mean of the parameters, a row: decay old + (1 - decay) new."""
    for k in lanes(0, updates.shape[0]):
        state[0, k] = h[0] * state[0, k] + h[1] * (theta[k] + updates[k])
