"""`gradcompile demo`: from a formula to certified values, on reference data that travel with the package."""

import argparse
import time

import numpy as np
import sympy as sp

from gradcompile.cli import plot
from gradcompile.cli.show import highlighted, print_derivation
from gradcompile.compile import compile_grad
from gradcompile.data import nist
from gradcompile.frontend.text import parse
from gradcompile.optim import sgd

# Gauss1 in units of 100, in which parameters, x and y are all near 1, as one learning rate for all needs it.
UNIT = 100.0
UNITS = {"b2": 1 / UNIT}


def run(options: argparse.Namespace) -> None:
    """Compile a model, show everything, train it, compare it with the certified values, and draw the loss curve."""
    plot.check(options.out)
    table = nist("Gauss1")
    print(f"{table.name}, reference data of NIST: {table.about}")
    print(f"y = {table.model}\n{len(table.x)} samples; x, y and the parameters in units of {UNIT:g}\n")

    names = list(table.certified)
    units = np.array([UNITS.get(name, UNIT) for name in names])
    x, y, *params = sp.symbols(["x", "y", *names])
    began = time.perf_counter()
    f = compile_grad((parse(table.model) - y) ** 2, params, data=[x, y], name="gauss1")
    columns = [table.x / UNIT, table.y / UNIT]
    start = [value / unit for value, unit in zip(table.start1.values(), units, strict=True)]
    f(*start, *columns)
    ready = time.perf_counter() - began

    print("loss = mean of (model - y)**2 over the samples\n")
    print_derivation(f)
    print(f"\n{highlighted(f.source)}")
    print(f"first loss and gradient after {ready:.2f} s\n")

    first = sgd(f, start, columns, learning_rate=0.02, momentum=0.9, epochs=150, batch_size=25, seed=1)
    last = sgd(f, first.params, columns, learning_rate=0.2, momentum=0.9, epochs=600)
    curve = [*first.history["loss"], *last.history["loss"]]
    print("\ntrained by SGD with momentum: 150 epochs of batches of 25, then 600 of the whole\n")
    _compare(table.certified, np.array(last.params) * units)
    print(f"\nloss curve  {plot.sparkline(curve, bars=plot.fitting_bars())}")
    print(
        f"one call    {_microseconds(f.bind(*columns), f.pack(*last.params)):.1f} us: loss and {len(names)} gradients"
    )
    plot.picture(options.out, curve, "Gauss1: loss by epoch", "epoch")
    print(f"picture     {options.out}")


def _compare(certified: dict[str, float], fitted: np.ndarray) -> None:
    print(f"{'':<6}{'fitted':>18}{'certified':>18}{'digits':>8}")
    for (name, value), found in zip(certified.items(), fitted, strict=True):
        digits = min(11.0, -np.log10(abs(found / value - 1) + 1e-17))
        print(f"{name:<6}{found:>18.10e}{value:>18.10e}{digits:>8.1f}")


def _microseconds(fun: object, theta: np.ndarray) -> float:
    """The time of one call, the best of five rounds."""
    rounds = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(1000):
            fun(theta)  # type: ignore[operator]
        rounds.append(time.perf_counter() - began)
    return 1e3 * min(rounds)
