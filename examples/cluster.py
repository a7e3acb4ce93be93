"""More data than memory should hold: a curve fitted to files, by Dask, with standard errors from one more pass.

Each file is a partition: a worker reads it, adds up loss and gradient over its rows, and sends one vector back. Here
the workers are threads of this process; `Client("tcp://scheduler:8786")` is all that changes for a cluster.

Run it with: python examples/cluster.py
"""

import tempfile
from pathlib import Path

import numpy as np
import sympy as sp
from dask.distributed import Client

from gradcompile import compile_grad, compile_hessian, minimize
from gradcompile.interop.dask import value_and_grad

ROWS, FILES = 64 * 1024, 4


def measured(folder: Path) -> list[Path]:
    """Files with the discharge of a capacitor, as a logger writes them."""
    rng, files = np.random.default_rng(0), []
    for k in range(FILES):
        t = rng.uniform(0.0, 5.0, ROWS)
        files.append(folder / f"{k}.npz")
        np.savez(files[-1], t=t, u=4.5 * np.exp(-t / 1.8) + 0.5 + 0.05 * rng.normal(size=ROWS))
    return files


def main() -> None:
    a, tau, c, t, u = sp.symbols("a tau c t u")
    residual = a * sp.exp(-t / tau) + c - u
    f = compile_grad(residual**2, [a, tau, c], data=[t, u])
    curvature = compile_hessian(residual**2, [a, tau, c], data=[t, u])
    with (
        Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None),
        tempfile.TemporaryDirectory() as folder,
    ):
        files = measured(Path(folder))
        v = value_and_grad(f, files)
        found = minimize(v, [1.0, 1.0, 0.0])
        loss, _, hessian = value_and_grad(curvature, files)(*found.x)
        errors = np.sqrt(2.0 * loss / v.samples * np.diag(np.linalg.inv(hessian)))
        print(f"{v.samples:,} rows in {v.partitions} files, {found.nfev} passes over them")
        for name, value, error in zip(("a", "tau", "c"), found.x, errors, strict=True):
            print(f"  {name:<4}{value:.4f} +- {error:.4f}")
        whole = {name: np.concatenate([np.load(p)[name] for p in files]) for name in ("t", "u")}
        print(f"the bits of one call with all rows: {v(*found.x) == f(*found.x, **whole)}")


if __name__ == "__main__":
    main()
