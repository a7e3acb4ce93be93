"""A truncated Newton method in the subset, one evaluation at a time: whoever calls it evaluates, by whatever means.

Steps are those of Steihaug, "The conjugate gradient method and trust regions in large scale optimization" (1983):
conjugate gradients on the Hessian's products, to the edge of the trust region where they reach it or the curvature is
negative, until the residual is below min(1/2, sqrt|g|) |g|. The radius follows Nocedal and Wright, Algorithm 4.1. A
step that meets a bound goes on over the parameters that no bound holds, from there.

Each evaluation gives loss, gradient, and the Hessian's product with `v[ALONG]`, of which either the first two or the
last is wanted. The state is memory of the caller's: `v`, of shape (ROWS, n), the rows below; `s`, the scalars below.
`v[TRIAL]` is where to evaluate next. What it returns is what `quasi_newton` returns.
"""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import fabs, lanes, sqrt
from gradcompile.library.quasi_newton import (
    BAD,
    BEGUN,
    EPS,
    FALLING,
    FLAT,
    FREE,
    GRADIENT,
    HUGE,
    LOSS,
    LOWER,
    RUNNING,
    SETTLED,
    STEPS,
    STUCK,
    THETA,
    TOLERANCE,
    TRIAL,
    UPPER,
    add,
    dot,
    take,
    usable,
)
from gradcompile.library.trust_region import same_rows

ALONG, STEP, RESIDUAL = 3, 7, 8  # beside the rows of `quasi_newton`
ROWS = 9
RADIUS, PREDICTED, MULTIPLIES, SQUARES, TARGET, PRODUCTS, MULTIPLIED = range(1, 8)  # beside its scalars
STEEPEST, TRIES = 11, 12
SCALARS = 13
SUFFICIENT = 1e-4  # of the predicted decrease, which a step has to bring
TRIED = 200  # products for one step at most
POLISHES = 10  # steps within rounding, at most


@jit
def advance(value, grad, product, v, s):  # type: ignore[no-untyped-def]
    """Take in an evaluation at v[TRIAL], and put down what to evaluate next."""
    status = RUNNING
    if s[MULTIPLIES] > 0.0:
        s[MULTIPLIED] += 1.0
        status = multiplied(product, v, s)
    else:
        s[BEGUN] += 1.0
        status = stepped(value, grad, v, s)
    return status


@jit
def stepped(value, grad, v, s):  # type: ignore[no-untyped-def]
    """Take the step to v[TRIAL] if it brings enough, and begin the next."""
    status = RUNNING
    steepest = 0.0
    for k in range(v.shape[1]):
        steepest = max(steepest, fabs(grad[k]) if is_free(v, TRIAL, grad[k], k) > 0.0 else 0.0)
    good = usable(value, grad, v)
    noise = 8.0 * EPS * fabs(s[LOSS])
    takes = good
    if s[BEGUN] == 1.0:
        s[RADIUS] = max(1.0, sqrt(dot(v[TRIAL], v[TRIAL])))
        status = RUNNING if good else BAD
        takes = True
    elif (value < 0.0) & (value * 0.0 != 0.0):
        status = FALLING
    elif s[PREDICTED] <= noise:
        s[TRIES] += 1.0
        takes = good & (steepest < s[STEEPEST]) & (value <= s[LOSS] + noise)
        status = RUNNING if takes & (s[TRIES] < POLISHES) else SETTLED
    else:
        s[TRIES] = 0.0
        actual = s[LOSS] - value
        length = sqrt(dot(v[STEP], v[STEP]))
        takes = good & (actual >= SUFFICIENT * s[PREDICTED])
        if not good:
            s[RADIUS] = 0.1 * length
        elif actual < 0.25 * s[PREDICTED]:
            s[RADIUS] = 0.25 * length
        elif (actual > 0.75 * s[PREDICTED]) & (length >= 0.9 * s[RADIUS]):
            s[RADIUS] = 2.0 * s[RADIUS]
        if s[RADIUS] >= HUGE:
            status = FALLING
    if takes:
        take(value, grad, v, s)
        s[STEEPEST] = steepest
        s[STEPS] += 1.0 if s[BEGUN] > 1.0 else 0.0
    if status == RUNNING:
        status = set_out(v, s)
    return status


@jit
def is_free(v, row, slope, k):  # type: ignore[no-untyped-def]
    """1 unless a parameter is on a bound that its slope presses it to."""
    lower = (v[row, k] <= v[LOWER, k]) & (slope >= 0.0)
    upper = (v[row, k] >= v[UPPER, k]) & (slope <= 0.0)
    return 0.0 if lower | upper else 1.0


@jit
def set_out(v, s):  # type: ignore[no-untyped-def]
    """The first product of a step from v[THETA]."""
    for k in range(v.shape[1]):
        v[FREE, k] = is_free(v, THETA, v[GRADIENT, k], k)
        v[STEP, k] = 0.0
        v[RESIDUAL, k] = v[GRADIENT, k]
        v[TRIAL, k] = v[THETA, k]
    s[PRODUCTS] = 0.0
    s[MULTIPLIES] = 1.0
    turn(v, s)
    length = sqrt(s[SQUARES])
    s[TARGET] = min(0.5, sqrt(length)) * length
    return FLAT if s[STEEPEST] <= s[TOLERANCE] else RUNNING


@jit
def turn(v, s):  # type: ignore[no-untyped-def]
    """The steepest direction from v[STEP] on, over the parameters that are free."""
    for k in lanes(0, v.shape[1]):
        v[ALONG, k] = -v[RESIDUAL, k] * v[FREE, k]
    s[SQUARES] = dot(v[ALONG], v[ALONG])


@jit
def room(v, k):  # type: ignore[no-untyped-def]
    """How far v[ALONG] goes from v[STEP] until this parameter meets a bound."""
    bound = v[UPPER, k] if v[ALONG, k] > 0.0 else v[LOWER, k]
    rest = (bound - v[THETA, k] - v[STEP, k]) / v[ALONG, k]
    return max(rest, 0.0) if v[ALONG, k] != 0.0 else HUGE


@jit
def walk(v, factor):  # type: ignore[no-untyped-def]
    """Go so far along v[ALONG], and hold what meets a bound there."""
    for k in range(v.shape[1]):
        met = room(v, k) <= factor
        bound = v[UPPER, k] if v[ALONG, k] > 0.0 else v[LOWER, k]
        v[STEP, k] = bound - v[THETA, k] if met else v[STEP, k] + factor * v[ALONG, k]
        v[FREE, k] = 0.0 if met else v[FREE, k]


@jit
def multiplied(product, v, s):  # type: ignore[no-untyped-def]
    """Take in the Hessian's product with v[ALONG]: the next one, or the end of the step."""
    s[PRODUCTS] += 1.0
    for k in lanes(0, v.shape[1]):  # of a slope that is infinite on a bound there is no product
        known = (v[FREE, k] > 0.0) | (v[STEP, k] != 0.0)
        product[k] = product[k] if known else 0.0
    curved = dot(v[ALONG], product)
    length = dot(v[ALONG], v[ALONG])
    inside = dot(v[STEP], v[ALONG])
    left = s[RADIUS] * s[RADIUS] - dot(v[STEP], v[STEP])
    root = sqrt(max(inside * inside + length * left, 0.0))
    edge = left / (inside + root) if inside > 0.0 else (root - inside) / length
    factor = s[SQUARES] / curved if curved > 0.0 else edge
    ended = (not (curved > 0.0)) | (not (factor < edge))
    factor = edge if ended else factor
    wall = HUGE
    for k in range(v.shape[1]):
        wall = min(wall, room(v, k))
    meets = (wall <= factor) & (wall < HUGE)
    if meets:
        ended = False
        factor = wall
        walk(v, factor)
    else:
        add(v[STEP], factor, v[ALONG])
    add(v[RESIDUAL], factor, product)
    squares = 0.0
    for k in range(v.shape[1]):
        squares += v[FREE, k] * v[RESIDUAL, k] * v[RESIDUAL, k]
    status = RUNNING
    if ended | (sqrt(squares) <= s[TARGET]) | (s[PRODUCTS] >= min(2.0 * v.shape[1] + 1.0, TRIED)):
        s[MULTIPLIES] = 0.0
        s[PREDICTED] = -0.5 * (dot(v[GRADIENT], v[STEP]) + dot(v[RESIDUAL], v[STEP]))
        for k in lanes(0, v.shape[1]):
            v[TRIAL, k] = min(max(v[THETA, k] + v[STEP, k], v[LOWER, k]), v[UPPER, k])
        if same_rows(v, TRIAL, THETA):
            status = SETTLED if -dot(v[GRADIENT], v[STEP]) <= 1e6 * EPS * fabs(s[LOSS]) else STUCK
    elif meets:
        turn(v, s)
    else:
        for k in lanes(0, v.shape[1]):
            v[ALONG, k] = squares / s[SQUARES] * v[ALONG, k] - v[RESIDUAL, k] * v[FREE, k]
        s[SQUARES] = squares
    return status
