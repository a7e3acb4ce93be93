"""A recurrent network on a series: how many lynxes will be trapped next year?

data/lynx.csv has the numbers trapped in the Mackenzie River district of Canada from 1821 to 1934 (C. Elton and
M. Nicholson, Journal of Animal Ecology 11, 1942), with a cycle of about ten years. A gated recurrent unit reads the
logarithms one by one and says the next each time. It learns from the first hundred years.

Run it with: python examples/recurrent.py
"""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

import gradcompile as gc

HIDDEN, TRAINED = 3, 100


def forecasts(x: Any, W: Any, U: Any, b: Any, v: Any, c: Any) -> Any:
    """What a gated recurrent unit, run along x, says about the entry after each."""

    def step(h: Any, value: Any) -> tuple[Any, Any]:
        given = W * value + b  # (3, HIDDEN): for the two gates and the candidate
        update, reset = gc.sigmoid(given[0] + h @ U[0]), gc.sigmoid(given[1] + h @ U[1])
        candidate = np.tanh(given[2] + (reset * h) @ U[2])
        h = update * h + (1 - update) * candidate
        return h, h @ v + c

    _, said = gc.scan(step, np.zeros(HIDDEN), x)
    return said


def main() -> None:
    lynxes = np.loadtxt(Path(__file__).parent / "data" / "lynx.csv", delimiter=",", skiprows=1)[:, 1]
    series = np.log10(lynxes) - 2.9

    x, y = gc.array("x", ("T",)), gc.array("y", ("T",))
    shapes = {"W": (3, HIDDEN), "U": (3, HIDDEN, HIDDEN), "b": (3, HIDDEN), "v": (HIDDEN,), "c": ()}
    params = {name: gc.array(name, shape) for name, shape in shapes.items()}
    said = forecasts(x, **params)
    penalty = 3e-3 * (np.sum(params["W"] ** 2) + np.sum(params["U"] ** 2) + np.sum(params["v"] ** 2))
    f = gc.compile_grad(np.mean((said - y) ** 2) + penalty, params, inputs=[x, y])
    predict = gc.compile_value(said, params)

    start = 0.5 * np.random.default_rng(0).normal(size=f.size)
    found = minimize(
        f.bind(series[: TRAINED - 1], series[1:TRAINED]), start, jac=True, method="BFGS", options={"maxiter": 300}
    )
    print(f"{f.size} parameters, {found.nfev} calls, loss {found.fun:.4f}")

    next_year = predict(*f.unpack(found.x), series[:-1])
    print("year   trapped  forecast")
    for k in range(TRAINED, len(series)):
        print(f"{1821 + k}  {lynxes[k]:>8.0f}  {10 ** (next_year[k - 1] + 2.9):>8.0f}")
    error = np.sqrt(np.mean((next_year - series[1:])[TRAINED - 1 :] ** 2))
    naive = np.sqrt(np.mean(np.diff(series)[TRAINED - 1 :] ** 2))
    print(f"error of the logarithms {error:.3f}; if every year were like the last {naive:.3f}")
    assert error < 0.8 * naive


if __name__ == "__main__":
    main()
