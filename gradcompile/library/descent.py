"""A search by `quasi_newton` that leaves saddles, in the subset: where it finds no way on, `saddles` looks for one.

The state is that of both, as they say it; they share the rows.
"""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import to_float, to_int
from gradcompile.library.quasi_newton import BEGUN, COUNT, FLAT, LOSS, RUNNING, SETTLED, STEPS, STUCK, set_out, take
from gradcompile.library.quasi_newton import advance as move
from gradcompile.library.saddles import ENDED, LOOKING, LOWER_FOUND, MINIMUM, MOST, SADDLES, begin
from gradcompile.library.saddles import LOSS as LOOKED_FROM
from gradcompile.library.saddles import advance as look_on


@jit
def advance(value, grad, v, steps, changes, both, s, look):  # type: ignore[no-untyped-def]
    """Take in loss and gradient at v[TRIAL]; the status of `quasi_newton` where no way down was found."""
    status = RUNNING
    ends = False
    if look[ENDED] == 0.0:
        status = move(value, grad, v, steps, changes, both, s)
        ends = True
    else:
        s[BEGUN] += 1.0
        found = look_on(value, grad, v, look)
        if found == LOWER_FOUND:
            look[SADDLES] += 1.0
            look[ENDED] = 0.0
            take(value, grad, v, s)
            s[COUNT] = 0.0
            s[STEPS] += 1.0
            status = set_out(v, steps, changes, both, s)
            ends = True
        elif found == MINIMUM:
            status = to_int(look[ENDED])
    if ends & ((status == FLAT) | (status == SETTLED) | (status == STUCK)) & (look[SADDLES] < MOST):
        look[LOOKED_FROM] = s[LOSS]
        if begin(v, look) == LOOKING:
            look[ENDED] = to_float(status)
            status = RUNNING
    return status
