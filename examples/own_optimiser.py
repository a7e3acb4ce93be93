"""An optimiser of your own: Adam written in NumPy, then the same as a rule of `train`, which is machine code.

The model is NIST's DanWood, y = b1 * x**b2, the energy radiated by a carbon filament at temperature x.

Run it with: python examples/own_optimiser.py
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from gradcompile import compile_grad, optim, train
from gradcompile.data import nist
from gradcompile.library.primitives import sqrt

STEPS, RATE, DECAY1, DECAY2, TINY = 20_000, 0.02, 0.9, 0.999, 1e-12  # the rate falls linearly to zero


def adam_numpy(fun: Callable[..., Any], theta: np.ndarray) -> np.ndarray:
    """Adam over `fun(theta) -> (loss, gradient)`: any optimiser that wants a flat vector looks like this."""
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for k in range(1, STEPS + 1):
        _, grad = fun(theta)
        m = DECAY1 * m + (1 - DECAY1) * grad
        v = DECAY2 * v + (1 - DECAY2) * grad * grad
        theta = theta - RATE * (1 - k / STEPS) * (m / (1 - DECAY1**k)) / (np.sqrt(v / (1 - DECAY2**k)) + TINY)
    return theta


def adam(updates, theta, state, h):  # type: ignore[no-untyped-def]
    """The same as a rule in the package's subset, without the corrections for its start; h[0] is the step's rate."""
    rest1 = 1.0 - DECAY1
    rest2 = 1.0 - DECAY2
    for k in range(updates.shape[0]):
        state[0, k] = DECAY1 * state[0, k] + rest1 * updates[k]
        state[1, k] = DECAY2 * state[1, k] + rest2 * updates[k] * updates[k]
        updates[k] = -h[0] * state[0, k] / (sqrt(state[1, k]) + TINY)


def main() -> None:
    table = nist("DanWood")
    b1, b2, x, y = sp.symbols("b1 b2 x y")
    f = compile_grad((y - b1 * x**b2) ** 2, [b1, b2], data=[x, y], name="danwood")

    start = f.pack(*table.start2.values())
    columns = table.x, table.y
    rule = optim.rule(adam, learning_rate=optim.linear_schedule(RATE, 0.0, STEPS), rows=2)
    train(f, f.unpack(start), columns, optimizer=rule, epochs=STEPS, progress=False)  # compiles
    began = time.perf_counter()
    slow = adam_numpy(f.bind(*columns), start)
    middle = time.perf_counter()
    fit = train(f, f.unpack(start), columns, optimizer=rule, epochs=STEPS, progress=False)
    ended = time.perf_counter()

    fast = f.pack(*fit.params)
    print(f"NumPy loop    {f.unpack(slow)}  {1e6 * (middle - began) / STEPS:.2f} us a step")
    print(f"rule of train {f.unpack(fast)}  {1e6 * (ended - middle) / STEPS:.2f} us a step")
    print(f"certified     {table.certified}")
    for found in slow, fast:
        np.testing.assert_allclose(found, list(table.certified.values()), rtol=1e-9)


if __name__ == "__main__":
    main()
