"""A heat equation solved by a physics-informed network: its loss holds derivatives of the network itself.

A rod of length 1 has the temperature sin(pi*x) at first, and ends that are kept at 0. Then u_t = k*u_xx, and the
temperature dies off as exp(-k*pi**2*t)*sin(pi*x), with which the network is compared; it never sees that. The factor
x*(1 - x) and the first temperature are built in, so that only the equation is left to learn.

Run it with: python examples/heat.py
"""

import numpy as np
from scipy.optimize import minimize

from gradcompile import array, compile_grad, compile_value, derivative

K, UNITS = 0.1, 12


def main() -> None:
    x, t = array("x", "n"), array("t", "n")
    W, b, v = array("W", (2, UNITS)), array("b", UNITS), array("v", UNITS)
    network = np.tanh(np.stack([x, t], axis=1) @ W + b) @ v
    u = np.sin(np.pi * x) + t * x * (1 - x) * network

    u_t, u_x = derivative(np.sum(u), t), derivative(np.sum(u), x)
    u_xx = derivative(np.sum(u_x), x)
    f = compile_grad(np.mean((u_t - K * u_xx) ** 2), [W, b, v], inputs=[x, t])
    temperature = compile_value(u, [W, b, v], inputs=[x, t])
    print(f"{f.size} parameters, {f.cost.loss_and_gradient} operations for loss and gradient at a point")

    rng = np.random.default_rng(0)
    start = f.pack(rng.normal(size=(2, UNITS)), rng.normal(size=UNITS), 0.1 * rng.normal(size=UNITS))
    found = minimize(f.bind(*rng.random((2, 200))), start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    print(f"mean squared residual {f.bind(*rng.random((2, 200)))(start)[0]:.3f} -> {found.fun:.1e}")

    places = np.linspace(0, 1, 5)
    for time in (0.0, 0.5, 1.0):
        got = temperature(*f.unpack(found.x), places, np.full(5, time))
        right = np.exp(-K * np.pi**2 * time) * np.sin(np.pi * places)
        print(f"t = {time}: {np.round(got, 3) + 0.0}, exact {np.round(right, 3)}")
        np.testing.assert_allclose(got, right, atol=3e-3)


if __name__ == "__main__":
    main()
