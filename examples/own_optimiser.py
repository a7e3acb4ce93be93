"""An optimiser of your own: Adam written in NumPy, then the same inside an @njit loop that calls the compiled kernel.

The model is NIST's DanWood, y = b1 * x**b2, the energy radiated by a carbon filament at temperature x.

Run it with: python examples/own_optimiser.py
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp
from numba import njit

from gradcompile import compile_grad
from gradcompile.data import nist

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


@njit
def adam_numba(kernel, theta, x, y):  # type: ignore[no-untyped-def]
    """The same, compiled. The kernel is an argument: a global one would be frozen into Numba's cache."""
    theta, grad = theta.copy(), np.empty_like(theta)
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for k in range(1, STEPS + 1):
        kernel(theta, grad, x, y)
        for i in range(theta.size):
            m[i] = DECAY1 * m[i] + (1 - DECAY1) * grad[i]
            v[i] = DECAY2 * v[i] + (1 - DECAY2) * grad[i] * grad[i]
            theta[i] -= RATE * (1 - k / STEPS) * (m[i] / (1 - DECAY1**k)) / (np.sqrt(v[i] / (1 - DECAY2**k)) + TINY)
    return theta


def main() -> None:
    table = nist("DanWood")
    b1, b2, x, y = sp.symbols("b1 b2 x y")
    f = compile_grad((y - b1 * x**b2) ** 2, [b1, b2], data=[x, y], name="danwood")

    start = f.pack(*table.start2.values())
    columns = table.x, table.y
    adam_numba(f.kernel, start, *columns)  # compiles
    began = time.perf_counter()
    slow = adam_numpy(f.bind(*columns), start)
    middle = time.perf_counter()
    fast = adam_numba(f.kernel, start, *columns)
    ended = time.perf_counter()

    print(f"NumPy loop  {f.unpack(slow)}  {1e6 * (middle - began) / STEPS:.2f} us a step")
    print(f"@njit loop  {f.unpack(fast)}  {1e6 * (ended - middle) / STEPS:.2f} us a step")
    print(f"certified   {table.certified}")
    for found in slow, fast:
        np.testing.assert_allclose(found, list(table.certified.values()), rtol=1e-9)


if __name__ == "__main__":
    main()
