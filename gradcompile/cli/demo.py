"""`gradcompile demo`: from a formula to certified values, on reference data that travel with the package."""

import argparse
import time

import numpy as np
import sympy as sp

from gradcompile.cli import plot
from gradcompile.cli.report import losses
from gradcompile.cli.show import highlighted, print_derivation
from gradcompile.compile import compile_grad
from gradcompile.data import Reference, nist
from gradcompile.frontend.text import parse
from gradcompile.regression.fits import compile_fit
from gradcompile.regression.result import Fit
from gradcompile.regression.summary import shown


def run(options: argparse.Namespace) -> None:
    """Compile a model, show everything, fit it, compare it with the certified values, and draw data and fit."""
    plot.check(options.out)
    table = nist("Gauss1")
    print(f"{table.name}, reference data of NIST: {table.about}")
    print(f"y = {table.model}\n{len(table.x)} samples\n")

    x, y, *params = sp.symbols(["x", "y", *table.certified])
    began = time.perf_counter()
    f = compile_grad((parse(table.model) - y) ** 2, params, data=[x, y], name="gauss1")
    start = list(table.start1.values())
    f(*start, table.x, table.y)
    ready = time.perf_counter() - began

    print("loss = mean of (model - y)**2 over the samples\n")
    print_derivation(f)
    print(f"\n{highlighted(f.source)}")
    print(f"first loss and gradient after {ready:.2f} s\n")

    fit = compile_fit(table.model, list(table.certified), target="y")({"x": table.x, "y": table.y}, start=table.start1)
    print(f"fitted with these derivatives, from NIST's far start, in {fit.evaluations} evaluations\n")
    _compare(table.certified, fit)
    print(f"\nloss curve  {plot.sparkline(losses(fit), bars=plot.fitting_bars())}")
    bound = f.bind(table.x, table.y)
    print(f"one call    {_microseconds(bound, f.pack(*start)):.1f} us: loss and {len(params)} gradients")
    _draw(options.out, table, fit)
    print(f"picture     {options.out}")


def _draw(path: str, table: Reference, fit: Fit) -> None:
    if path.lower().endswith(".svg"):
        order = np.argsort(table.x)
        curve = fit.predict()[order].tolist()
        plot.picture_of_fit(path, table.x[order].tolist(), table.y[order].tolist(), curve, "Gauss1: data and fit")
    else:
        fit.plot(path)


def _compare(certified: dict[str, float], fit: Fit) -> None:
    print(f"{'':<6}{'fitted':>18}{'standard error':>18}{'certified':>18}{'digits':>8}")
    for name, value in certified.items():
        found = fit.params[name]
        digits = min(11.0, -np.log10(abs(found / value - 1) + 1e-17))
        print(f"{name:<6}{found:>18.10e}{shown(fit.stderr[name]):>18}{value:>18.10e}{digits:>8.1f}")


def _microseconds(fun: object, theta: np.ndarray) -> float:
    """The time of one call, the best of five rounds."""
    rounds = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(1000):
            fun(theta)  # type: ignore[operator]
        rounds.append(time.perf_counter() - began)
    return 1e3 * min(rounds)
