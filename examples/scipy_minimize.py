"""SciPy's minimisers take loss and gradient from one call: `minimize(f.bind(*inputs), theta0, jac=True)`.

The model is NIST's Chwirut2, y = exp(-b1*x) / (b2 + b3*x), the response of an ultrasonic reference block at distance x.

Run it with: python examples/scipy_minimize.py
"""

from typing import Any

import numpy as np
import sympy as sp
from scipy.optimize import minimize

from gradcompile import compile_grad
from gradcompile.data import nist


def main() -> None:
    table = nist("Chwirut2")
    b1, b2, b3, x, y = sp.symbols("b1 b2 b3 x y")
    f = compile_grad((y - sp.exp(-b1 * x) / (b2 + b3 * x)) ** 2, [b1, b2, b3], data=[x, y])

    fun = f.bind(table.x, table.y)  # checked and converted once; called thousands of times
    ways: list[tuple[Any, Any]] = [("L-BFGS-B", {"ftol": 1e-15}), ("trust-constr", {})]
    for method, options in ways:
        result: Any = minimize(fun, f.pack(*table.start2.values()), jac=True, method=method, options=options)
        print(f"\n{method}: {result.nfev} calls, residual sum of squares {result.fun * len(table.x):.10g}")
        for found, (name, certified) in zip(result.x, table.certified.items(), strict=True):
            print(f"{name}  fitted {found:.10g}  certified {certified:.10g}")
        np.testing.assert_allclose(result.x, list(table.certified.values()), rtol=1e-5)


if __name__ == "__main__":
    main()
