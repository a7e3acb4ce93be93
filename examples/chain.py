"""A loss written as a Python loop over symbols is compiled as a loop again: total-variation denoising of a signal.

Every sample of the signal is a parameter u[i]. The loss pulls it to the noisy measurement v[i], and charges the sum of
|u[i+1] - u[i]|, rounded off at 0, so that steps stay sharp where a moving average would smear them.

Run it with: python examples/chain.py
"""

from itertools import pairwise

import numpy as np
import sympy as sp
from scipy.optimize import minimize

from gradcompile import compile_grad

N = 400


def main() -> None:
    u, v = sp.symbols(f"u:{N}"), sp.symbols(f"v:{N}")
    strength, corner = sp.symbols("strength corner")
    fit = sum((a - b) ** 2 for a, b in zip(u, v, strict=True))
    variation = sum(sp.sqrt((b - a) ** 2 + corner**2) for a, b in pairwise(u))
    f = compile_grad(fit + strength * variation, {"u": u}, inputs={"v": v, "strength": strength, "corner": corner})
    print("@jit" + f.source.partition("@jit")[2])

    truth = np.repeat([0.0, 1.0, 0.3, 0.8], N // 4)
    noisy = truth + np.random.default_rng(0).normal(scale=0.2, size=N)
    result = minimize(f.bind(noisy, 1.0, 1e-3), noisy, jac=True, method="L-BFGS-B", options={"maxiter": 2000})

    print(f"loss from {f.loss(noisy, noisy, 1.0, 1e-3):.1f} to {result.fun:.1f} in {result.nfev} calls")
    width = 15
    average = np.convolve(np.pad(noisy, width // 2, "edge"), np.full(width, 1 / width), "valid")
    for name, signal in ("noisy", noisy), (f"average of {width}", average), ("denoised", result.x):
        print(f"{name:<14} off by {np.sqrt(np.mean((signal - truth) ** 2)):.3f}")


if __name__ == "__main__":
    main()
