"""Call overhead: Rosenbrock's function of two parameters, from Python and from inside compiled code."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.record import OURS, Case, Runner, Workload, faster

STEPS = 10_000  # evaluations in one call of the compiled loop


def rosenbrock(m: Any, p: Any, x: Any) -> Any:
    a, b = p
    return (1 - a) ** 2 + 100 * (b - a**2) ** 2


def start(rng: np.random.Generator, size: int) -> tuple[np.ndarray, tuple[()]]:
    return rng.normal(size=size), ()


def rosenbrock_numpy(case: Case) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    def fun(theta: np.ndarray) -> tuple[float, np.ndarray]:
        a, b = theta.tolist()
        d = b - a * a
        return (1 - a) ** 2 + 100 * d * d, np.array([-2 * (1 - a) - 400 * d * a, 200 * d])

    return fun


def descent(kernel: Any) -> Runner:
    """Gradient descent inside nopython code, by a kernel(theta, grad) -> loss; a call does STEPS evaluations.

    It returns the mean of the losses, so that none of them can be left out, and the last gradient.
    """
    import numba

    @numba.njit
    def descend(kernel: Any, theta: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
        point, grad, total = theta.copy(), np.empty_like(theta), 0.0
        for _ in range(steps):
            total += kernel(point, grad)
            for k in range(len(point)):
                point[k] -= 1e-6 * grad[k]
        return total / steps, grad

    return Runner(lambda theta: descend(kernel, theta, STEPS), evaluations=STEPS)


def ours_inside(case: Case) -> Callable[[], Runner]:
    from gradcompile import compile_grad

    p, _, loss = peers.written(case)
    return lambda: descent(compile_grad(loss, [p]).kernel)


def numba_inside(case: Case) -> Callable[[], Runner]:
    import numba

    @numba.njit
    def kernel(theta: np.ndarray, grad: np.ndarray) -> float:
        a, b = theta[0], theta[1]
        d = b - a * a
        grad[0] = -2 * (1 - a) - 400 * d * a
        grad[1] = 200 * d
        return (1 - a) ** 2 + 100 * d * d

    return lambda: descent(kernel)


WORKLOADS = (
    Workload(
        "rosenbrock", "Rosenbrock, 2 parameters, a call from Python", rosenbrock, start, 2, 2,
        {OURS: peers.ours, "jax": peers.jax, "torch": peers.torch, "casadi": peers.casadi, "heyoka": peers.heyoka,
         "autograd": peers.autograd, "numpy": peers.by_hand(rosenbrock_numpy)},
        [faster("jax", 10)],
    ),
    Workload(
        "rosenbrock-njit", "the same, inside an @njit loop", rosenbrock, start, 2, 2,
        {OURS: ours_inside, "numba": numba_inside},
        [faster("numba", 0.95)],
    ),
)  # fmt: skip
