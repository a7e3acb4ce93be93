"""The generated source is a file like any other: read it, save it, import it without gradcompile.

Run it with: python examples/source.py
"""

import importlib
import sys
import tempfile
from pathlib import Path

import numpy as np
import sympy as sp

from gradcompile import compile_grad


def main() -> None:
    a, b, x, y = sp.symbols("a b x y")
    f = compile_grad((a * sp.exp(-b * x) - y) ** 2, [a, b], data=[x, y], name="decay")
    print(f.source)
    print(f"{f.cost.loss} operations for the loss, {f.cost.loss_and_gradient} for loss and gradient\n")

    x_values = np.linspace(0.0, 4.0, 50)
    y_values = 3.0 * np.exp(-0.7 * x_values)
    theta = f.pack(2.0, 0.5)
    loss, gradient = f.bind(x_values, y_values)(theta)

    with tempfile.TemporaryDirectory() as folder:
        f.save(Path(folder) / "decay.py")
        sys.path.insert(0, folder)
        module = importlib.import_module("decay")  # NumPy and Numba are all it needs
        saved_gradient = np.empty(f.size)
        saved_loss = module.kernel(theta, saved_gradient, x_values, y_values)

    print(f"here:  loss {loss!r}, gradient {gradient}")
    print(f"saved: loss {saved_loss!r}, gradient {saved_gradient}")
    assert saved_loss == loss and np.array_equal(saved_gradient, gradient), "the saved module gives other bits"


if __name__ == "__main__":
    main()
