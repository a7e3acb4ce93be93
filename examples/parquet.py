"""A run from Parquet files that need not fit into memory, which is interrupted, and goes on as if it had not been.

A group of rows is in memory at a time. The files here are small ones; of larger than memory nothing would change.

Run it with: python examples/parquet.py (needs pyarrow: pip install pyarrow)
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import sympy as sp

from gradcompile import compile_grad, optim, train

try:
    import pyarrow as pa
    from pyarrow import parquet
except ModuleNotFoundError as error:
    raise SystemExit("this example needs pyarrow: pip install pyarrow") from error


def write(place: Path) -> list[Path]:
    """Readings of a sensor, in two files: y = 3 exp(-0.7 x) + 0.5 and noise."""
    random, paths = np.random.default_rng(0), []
    for k in range(2):
        x = random.uniform(0.0, 4.0, 50_000)
        y = 3.0 * np.exp(-0.7 * x) + 0.5 + 0.1 * random.normal(size=len(x))
        paths.append(place / f"part{k}.parquet")
        parquet.write_table(pa.table({"x": x, "y": y, "station": ["north"] * len(x)}), paths[-1], row_group_size=10_000)
    return paths


def main() -> None:
    a, b, c, x, y = sp.symbols("a b c x y")
    f = compile_grad((a * sp.exp(-b * x) + c - y) ** 2, [a, b, c], data=[x, y])
    start = {a: 1.0, b: 1.0, c: 0.0}
    rate = optim.cosine_decay_schedule(0.05, 10 * 200)

    with tempfile.TemporaryDirectory() as place:
        paths = write(Path(place))
        options: dict[str, Any] = {"optimizer": optim.average(optim.adam(rate), 0.99), "epochs": 10, "batch_size": 500,
                                   "progress": False}  # fmt: skip
        print(f"{len(paths)} files, which may be larger than memory")
        whole = train(f, start, paths, **options)

        options["checkpoint"] = Path(place, "run.npz")
        torn = train(f, start, paths, callback=lambda seen: seen.epoch == 4, **options)
        print(f"ended after {torn.epochs} epochs: {torn.message}")
        fit = train(f, start, paths, resume=True, **options)
        print(f"went on at step {torn.steps}, to step {fit.steps}")

    print("  ".join(f"{name} = {value:.3f}" for name, value in fit.params.items()))
    assert fit.params == whole.params
    np.testing.assert_allclose(list(fit.params.values()), [3.0, 0.7, 0.5], atol=0.02)


if __name__ == "__main__":
    main()
