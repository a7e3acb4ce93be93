"""Problems for minimisers, from More, Garbow and Hillstrom, "Testing unconstrained optimization software" (1981)."""

from typing import NamedTuple

import numpy as np
import sympy as sp


class Problem(NamedTuple):
    """A sum of squares of residuals in x0, x1, ..., its standard start, and the values of its minima."""

    name: str
    residuals: list
    start: list
    minima: tuple[float, ...]

    @property
    def symbols(self):
        """The parameters."""
        return [sp.Symbol(f"x{k}") for k in range(len(self.start))]

    @property
    def loss(self):
        """The sum of squares."""
        return sp.Add(*[r**2 for r in self.residuals])


x = sp.symbols("x0:12")
BARD = [0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39]
GAUSSIAN = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989]
KOWALIK = [0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246]
U = [4.0, 2.0, 1.0, 0.5, 0.25, 0.1670, 0.1250, 0.1, 0.0833, 0.0714, 0.0625]
T10 = [0.1 * k for k in range(1, 11)]
T13 = [0.1 * k for k in range(1, 14)]
T20 = [k / 5 for k in range(1, 21)]
ANGLE = sp.atan(x[1] / x[0]) / (2 * sp.pi) + sp.Piecewise((0.5, x[0] < 0), (0, True))

PROBLEMS = [
    Problem("rosenbrock", [10 * (x[1] - x[0] ** 2), 1 - x[0]], [-1.2, 1.0], (0.0,)),
    Problem("freudenstein", [-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]],
            [0.5, -2.0], (0.0, 48.98425)),
    Problem("powell badly scaled", [1e4 * x[0] * x[1] - 1, sp.exp(-x[0]) + sp.exp(-x[1]) - 1.0001], [0.0, 1.0], (0.0,)),
    Problem("brown badly scaled", [x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2], [1.0, 1.0], (0.0,)),
    Problem("beale", [y - x[0] * (1 - x[1] ** k) for k, y in ((1, 1.5), (2, 2.25), (3, 2.625))], [1.0, 1.0], (0.0,)),
    Problem("jennrich", [2 + 2 * k - (sp.exp(k * x[0]) + sp.exp(k * x[1])) for k in range(1, 11)], [0.3, 0.4],
            (124.3621824,)),
    Problem("helical valley", [10 * (x[2] - 10 * ANGLE), 10 * (sp.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]],
            [-1.0, 0.0, 0.0], (0.0,)),
    Problem("bard", [y - (x[0] + k / ((16 - k) * x[1] + min(k, 16 - k) * x[2])) for k, y in enumerate(BARD, 1)],
            [1.0, 1.0, 1.0], (8.214877e-3, 17.4286)),
    Problem("gaussian", [x[0] * sp.exp(-x[1] * ((8 - k) / 2 - x[2]) ** 2 / 2) - y
                         for k, y in enumerate([*GAUSSIAN, *GAUSSIAN[-2::-1]], 1)], [0.4, 1.0, 0.0], (1.12793e-8,)),
    Problem("box", [sp.exp(-t * x[0]) - sp.exp(-t * x[1]) - x[2] * (np.exp(-t) - np.exp(-10 * t)) for t in T10],
            [0.0, 10.0, 20.0], (0.0,)),
    Problem("powell singular", [x[0] + 10 * x[1], sp.sqrt(5) * (x[2] - x[3]), (x[1] - 2 * x[2]) ** 2,
                                sp.sqrt(10) * (x[0] - x[3]) ** 2], [3.0, -1.0, 0.0, 1.0], (0.0,)),
    Problem("wood", [10 * (x[1] - x[0] ** 2), 1 - x[0], sp.sqrt(90) * (x[3] - x[2] ** 2), 1 - x[2],
                     sp.sqrt(10) * (x[1] + x[3] - 2), (x[1] - x[3]) / sp.sqrt(10)], [-3.0, -1.0, -3.0, -1.0], (0.0,)),
    Problem("kowalik", [y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])
                        for u, y in zip(U, KOWALIK, strict=True)],
            [0.25, 0.39, 0.415, 0.39], (3.07505e-4, 1.02734e-3)),
    Problem("brown and dennis", [(x[0] + t * x[1] - np.exp(t)) ** 2 + (x[2] + x[3] * np.sin(t) - np.cos(t)) ** 2
                                 for t in T20], [25.0, 5.0, -5.0, -1.0], (85822.2,)),
    Problem("biggs", [x[2] * sp.exp(-t * x[0]) - x[3] * sp.exp(-t * x[1]) + x[5] * sp.exp(-t * x[4])
                      - (np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)) for t in T13],
            [1.0, 2.0, 1.0, 1.0, 1.0, 1.0], (0.0, 5.65565e-3)),
    Problem("penalty", [sp.sqrt(1e-5) * (v - 1) for v in x[:4]] + [sum(v**2 for v in x[:4]) - 0.25],
            [1.0, 2.0, 3.0, 4.0], (2.24997e-5,)),
    Problem("variably dimensioned", [v - 1 for v in x[:10]] + [sum(k * (v - 1) for k, v in enumerate(x[:10], 1)),
                                     sum(k * (v - 1) for k, v in enumerate(x[:10], 1)) ** 2],
            [1 - k / 10 for k in range(1, 11)], (0.0,)),
    Problem("trigonometric", [10 - sum(sp.cos(v) for v in x[:10]) + k * (1 - sp.cos(v)) - sp.sin(v)
                              for k, v in enumerate(x[:10], 1)], [0.1] * 10, (0.0, 2.79506e-5)),
    Problem("broyden tridiagonal", [(3 - 2 * x[k]) * x[k] - (x[k - 1] if k else 0) - 2 * (x[k + 1] if k < 9 else 0) + 1
                                    for k in range(10)], [-1.0] * 10, (0.0,)),
]  # fmt: skip
