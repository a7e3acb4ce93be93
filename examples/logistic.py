"""Logistic regression with the SGD loop: does cold weather damage a rocket's seals?

data/challenger.csv lists, for the 23 flights before the Challenger accident of 1986, the temperature at launch in
degrees Fahrenheit and whether any O-ring was damaged (Report of the Presidential Commission on the Space Shuttle
Challenger Accident; a work of the United States government, in the public domain). The coldest flight was at 53
degrees. The accident happened at 31.

Run it with: python examples/logistic.py
"""

from pathlib import Path

import numpy as np
import sympy as sp

from gradcompile import compile_grad, compile_value, sgd

TEXTBOOK = 15.0429, -0.2322  # intercept and slope of the maximum-likelihood fit, as published with these data


def main() -> None:
    temperature, damaged = np.loadtxt(Path(__file__).parent / "data" / "challenger.csv", delimiter=",", skiprows=1).T
    centre, scale = temperature.mean(), temperature.std()

    a, b, t, y = sp.symbols("a b t y")
    z = a + b * t
    f = compile_grad(sp.log(1 + sp.exp(z)) - y * z, [a, b], data=[t, y], name="log_loss")
    for rewrite in f.rewrites:
        print(f"stabilised: {rewrite.before} -> {rewrite.after}")

    columns = [(temperature - centre) / scale, damaged]
    fit = sgd(f, [0.0, 0.0], columns, learning_rate=0.5, epochs=3000, momentum=0.9)
    print(f"log loss {fit.history['loss'][0]:.4f} -> {fit.history['loss'][-1]:.4f}")

    slope = fit.params[1] / scale
    intercept = fit.params[0] - slope * centre
    print(f"fitted    intercept {intercept:.4f}  slope {slope:.4f}")
    print(f"published intercept {TEXTBOOK[0]:.4f}  slope {TEXTBOOK[1]:.4f}")
    np.testing.assert_allclose([intercept, slope], TEXTBOOK, rtol=5e-4)

    probability = compile_value(1 / (1 + sp.exp(-z)), [a, b], data=[t])
    for degrees, p in zip([31, 53, 70, 81], probability(intercept, slope, [31.0, 53.0, 70.0, 81.0]), strict=True):
        print(f"chance of damage at {degrees} degrees: {p:.2%}")

    loss, grads = f(0.0, 1.0, [-1000.0, 1000.0], [0.0, 0.0])  # exp(1000) overflows; the compiled formula does not
    print(f"far out in the tails: loss {loss:g}, gradient {grads}")


if __name__ == "__main__":
    main()
