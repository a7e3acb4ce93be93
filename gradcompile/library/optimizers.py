"""The update rules in place, for machine code: each turns the gradient step by step into what is added to theta.

All take (updates, state, theta, hyper): a vector, the rule's own rows of state, the parameters, its hyperparameters.
This module loads Numba, so it is imported by generated modules only.
"""

import math

from gradcompile.codegen.functions import njit


@njit
def norm(vector):  # type: ignore[no-untyped-def]
    """The Euclidean norm, also where squares leave the range of floats."""
    total = 0.0
    largest = 0.0
    for k in range(vector.shape[0]):
        total += vector[k] * vector[k]
        largest = max(largest, abs(vector[k]))
    if 1e-290 < total < math.inf or not 0.0 < largest < math.inf:
        return math.sqrt(total)
    total = 0.0
    for k in range(vector.shape[0]):
        total += (vector[k] / largest) * (vector[k] / largest)
    return largest * math.sqrt(total)


@njit
def clip_by_norm(updates, state, theta, hyper):  # type: ignore[no-untyped-def]
    """Scale the updates down to norm hyper[0] if they are longer."""
    length = norm(updates)
    if length > hyper[0]:
        factor = hyper[0] / length
        for k in range(updates.shape[0]):
            updates[k] *= factor


@njit
def momentum(updates, state, theta, hyper):  # type: ignore[no-untyped-def]
    """Add up the updates with the decay hyper[0]."""
    for k in range(updates.shape[0]):
        state[0, k] = hyper[0] * state[0, k] + updates[k]
        updates[k] = state[0, k]


@njit
def scale(updates, state, theta, hyper):  # type: ignore[no-untyped-def]
    """Multiply the updates by hyper[0]."""
    for k in range(updates.shape[0]):
        updates[k] *= hyper[0]
