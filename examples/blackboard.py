"""Backpropagation as on the blackboard: every value and every adjoint of (w*x - y)**2 at w=2, x=3, y=10.

The forward pass fills the values from the leaves to the loss, the backward pass the adjoints (d loss / d that value)
from the loss to the leaves. `f.source` holds the same two passes as a function.

Run it with: python examples/blackboard.py
"""

import sympy as sp

from gradcompile import compile_grad


def main() -> None:
    w, x, y = sp.symbols("w x y")
    f = compile_grad((w * x - y) ** 2, [w])

    loss, grads = f(2.0, x=3.0, y=10.0)
    print(f"loss  = {loss:g}")
    print(f"dL/dw = {grads.w:g}   (by hand: 2*(w*x - y)*x = 2*(-4)*3)\n")

    print(f"{'name':<10}{'formula':<20}{'value':>8}{'adjoint':>10}")
    for row in f.explain(2.0, x=3.0, y=10.0).rows:
        adjoint = "" if row.adjoint is None else f"{row.adjoint:g}"
        print(f"{row.name:<10}{row.formula:<20}{row.value:>8g}{adjoint:>10}")

    print("\nThe code that ran:\n")
    print(f.source)


if __name__ == "__main__":
    main()
