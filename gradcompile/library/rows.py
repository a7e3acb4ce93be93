"""Evaluations at many points, in the subset: takes in loss and gradient at one row, and puts down the next."""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import lanes


@jit
def advance(value, grad, theta, thetas, losses, grads, at):  # type: ignore[no-untyped-def]
    """Keep what was found at row at[0], and go to the next; 1 behind the last."""
    row = at[0]
    losses[row] = value
    for i in lanes(0, theta.shape[0]):
        grads[row, i] = grad[i]
    at[0] = row + 1
    ended = 1
    if row + 1 < thetas.shape[0]:
        ended = 0
        for i in lanes(0, theta.shape[0]):
            theta[i] = thetas[row + 1, i]
    return ended
