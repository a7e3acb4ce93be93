"""Whether a point without a slope is a minimum, in the subset, one evaluation at a time: is there a way down?

Conjugate gradients from numbers drawn once and for all, in units of the parameters' sizes, on products that are
differences of gradients: where the Hessian is not positive definite, a direction of negative curvature, or of none, is
met within as many products as there are parameters, and most often within a few. Along it, both ways, the loss is
looked at. Only a loss that is lower by more than rounding and slope explain counts, so no product's rounding misleads.

The state is memory of the caller's: `v`, of shape (ROWS, n), the rows below, of which THETA, GRADIENT, FREE and the
bounds are given; `s`, the scalars below, of which LOSS is. `v[TRIAL]` is where to evaluate next.
"""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import fabs, sqrt, to_float, to_int
from gradcompile.library.quasi_newton import EPS, FREE, GRADIENT, LOWER, THETA, TRIAL, UPPER, dot

ALONG, RESIDUAL = 3, 7  # rows that a search has for directions
LOSS, LENGTH, SQUARES, FIRST, PRODUCTS, TRIES, BEGUN, LARGEST, ENDED, SADDLES = range(10)
SCALARS = 10
LOOKING, MINIMUM, LOWER_FOUND = range(3)

REACH = 1e-6  # of a parameter's size that a difference spans
PROBED = 30  # products at most
ENOUGH = 1e-8  # of the first residual's square: what is left of it tells nothing more
MOST = 20  # points without a slope that one search leaves
LEAST = 1e-5  # curvature, of the largest, that is taken for none
FAR = 0.01  # of a parameter's size at which the loss is looked at first; each second time a tenth of it


@jit
def begin(v, s):  # type: ignore[no-untyped-def]
    """The first direction; MINIMUM where nothing is free."""
    state = 12345
    total = 0.0
    for k in range(v.shape[1]):
        state = (state * 1103515245 + 12345) % 2147483648
        sign = (0.5 + to_float(state) / 2147483648.0) * (1.0 if (state // 65536) % 2 == 0 else -1.0)
        v[RESIDUAL, k] = sign * v[FREE, k]
        v[ALONG, k] = v[RESIDUAL, k]
        total += v[FREE, k]
    s[SQUARES] = dot(v[RESIDUAL], v[RESIDUAL])
    s[FIRST] = s[SQUARES]
    s[PRODUCTS] = 0.0
    s[TRIES] = 0.0
    s[BEGUN] = 0.0
    s[LARGEST] = 0.0
    probe(v, s, REACH)
    return MINIMUM if total == 0.0 else LOOKING


@jit
def size_of(v, k):  # type: ignore[no-untyped-def]
    """The size of a parameter, 1 where it is 0."""
    return fabs(v[THETA, k]) if fabs(v[THETA, k]) > 1e-3 else 1.0


@jit
def probe(v, s, reach):  # type: ignore[no-untyped-def]
    """Put v[TRIAL] so far along the direction, within the bounds."""
    largest = 0.0
    for k in range(v.shape[1]):
        largest = max(largest, fabs(v[ALONG, k]))
    s[LENGTH] = reach / largest
    for k in range(v.shape[1]):
        moved = v[THETA, k] + s[LENGTH] * size_of(v, k) * v[ALONG, k]
        v[TRIAL, k] = min(max(moved, v[LOWER, k]), v[UPPER, k])


@jit
def advance(value, grad, v, s):  # type: ignore[no-untyped-def]
    """Take in an evaluation at v[TRIAL]: LOWER_FOUND where its loss is lower, MINIMUM where no way down is found."""
    s[BEGUN] += 1.0
    nothing = value * 0.0
    explained = 16.0 * EPS * fabs(s[LOSS])
    for k in range(v.shape[1]):
        nothing += grad[k] * 0.0
        explained += 2.0 * v[FREE, k] * fabs(v[GRADIENT, k] * (v[TRIAL, k] - v[THETA, k]))
    found = LOOKING
    if (nothing == 0.0) & (value < s[LOSS] - explained):
        found = LOWER_FOUND
    elif s[TRIES] > 0.0:
        found = look(v, s)
    elif nothing == 0.0:
        found = multiplied(grad, v, s)
    else:
        found = MINIMUM
    return found


@jit
def look(v, s):  # type: ignore[no-untyped-def]
    """The next place along the direction."""
    s[TRIES] += 1.0
    tenths = to_int(s[TRIES] - 2.0) // 2
    reach = FAR
    for _ in range(tenths):
        reach = 0.1 * reach
    probe(v, s, reach if to_int(s[TRIES]) % 2 == 0 else -reach)
    return MINIMUM if s[TRIES] > 9.0 else LOOKING


@jit
def multiplied(grad, v, s):  # type: ignore[no-untyped-def]
    """Take in the gradient along the direction: the next direction, or the first place on this one."""
    n = v.shape[1]
    curved = 0.0
    length = 0.0
    squares = 0.0
    for k in range(n):
        product = size_of(v, k) * v[FREE, k] * (grad[k] - v[GRADIENT, k]) / s[LENGTH]
        curved += v[ALONG, k] * product
        length += v[ALONG, k] * v[ALONG, k]
        squares += product * product
    s[PRODUCTS] += 1.0
    s[LARGEST] = max(s[LARGEST], sqrt(squares / length))
    found = LOOKING
    if not (curved > LEAST * s[LARGEST] * length):
        s[TRIES] = 1.0
        found = look(v, s)
    else:
        factor = s[SQUARES] / curved
        for k in range(n):
            product = size_of(v, k) * v[FREE, k] * (grad[k] - v[GRADIENT, k]) / s[LENGTH]
            v[RESIDUAL, k] -= factor * product
        squares = dot(v[RESIDUAL], v[RESIDUAL])
        if (squares <= ENOUGH * s[FIRST]) | (s[PRODUCTS] >= min(to_float(n), PROBED)):
            found = MINIMUM
        else:
            for k in range(n):
                v[ALONG, k] = v[RESIDUAL, k] + squares / s[SQUARES] * v[ALONG, k]
            s[SQUARES] = squares
            probe(v, s, REACH)
    return found
