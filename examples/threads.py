"""A file of samples as large as you like: its columns are read where they lie, on all processors, with the same bits.

The samples are rows (x, y) of a file that is mapped into memory, so a column is every second number of it. Nothing is
copied, and what a call needs of memory does not grow with the file. However many threads take part, they add up in the
same order.

Run it with: python examples/threads.py
"""

import tempfile
from pathlib import Path

import numpy as np
import sympy as sp
from scipy.optimize import minimize

from gradcompile import compile_grad

N = 1_000_000
CHUNK = 100_000


def write_samples(path: Path) -> np.ndarray:
    """A file of N rows (x, y), mapped into memory."""
    rng = np.random.default_rng(0)
    rows = np.memmap(path, float, "w+", shape=(N, 2))
    for low in range(0, N, CHUNK):
        x = rng.uniform(0.0, 4.0, CHUNK)
        rows[low : low + CHUNK] = np.column_stack([x, 3.0 * np.exp(-1.5 * x) + 0.5 + rng.normal(scale=0.1, size=CHUNK)])
    return rows


def main() -> None:
    a, b, c, x, y = sp.symbols("a b c x y")
    loss = (a * sp.exp(-b * x) + c - y) ** 2
    alone = compile_grad(loss, [a, b, c], data=[x, y], threads=1)
    shared = compile_grad(loss, [a, b, c], data=[x, y])  # as many threads as pay

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        rows = write_samples(Path(folder) / "samples")
        fun = shared.bind(rows[:, 0], rows[:, 1])
        result = minimize(fun, shared.pack(1.0, 1.0, 0.0), jac=True, tol=1e-12)
        print("a = {:.3f}, b = {:.3f}, c = {:.3f}".format(*result.x), f"after {result.nfev} calls")

        loss_shared, gradient_shared = fun(result.x)
        loss_alone, gradient_alone = alone.bind(rows[:, 0], rows[:, 1])(result.x)
        same = loss_alone == loss_shared and gradient_alone.tobytes() == gradient_shared.tobytes()
        print(f"loss {loss_shared!r}; the same bits on one thread: {same}")


if __name__ == "__main__":
    main()
