"""Training against peers: `python -m benchmarks.train [digits small update first memory]`, all by default.

digits: a step of SGD and of Adam, 784-128-10, float32, batch 50, beside the products of matrices that it needs, by BLAS
on as many threads, with a flat update. small: of Adam, 64-32-10, batch 32. Both beside jax with optax, a whole epoch in
`lax.scan`, and torch. update: Adam's alone, on 105 and 101,770 parameters, beside a flat loop compiled by Numba, all on
one thread. first: the first call of `train` in a fresh process, with the kernel in the cache and without. memory:
anonymous memory of a run over 10^8 samples from files.

Who takes turns is timed in one process, round by round; the least time of each counts.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Functions = dict[str, tuple[Callable[[], Any], int]]  # what is timed, and how many steps it makes
ROUNDS = 15
ROOT = Path(__file__).resolve().parent.parent


def told(title: str, functions: Functions) -> None:
    """Time a step of each, in turns, and print microseconds and ratios to the first."""
    best = dict.fromkeys(functions, float("inf"))
    for run, _ in functions.values():
        run()
    for _ in range(ROUNDS):
        for name, (run, steps) in functions.items():
            began = time.perf_counter()
            run()
            best[name] = min(best[name], (time.perf_counter() - began) / steps)
    first = next(iter(best.values()))
    shown = ", ".join(f"{name} {1e6 * t:.2f} us ({t / first:.2f})" for name, t in best.items())
    print(f"{title}: {shown}", flush=True)


class Network:
    """Two layers, float32, and data for some batches."""

    def __init__(self, inputs: int, hidden: int, batch: int, batches: int) -> None:
        random = np.random.default_rng(0)
        self.batch, self.batches = batch, batches
        rows = batch * batches
        self.data = [random.normal(size=(rows, inputs)).astype("f4"), random.integers(0, 10, rows)]
        shapes = (inputs, hidden), (hidden,), (hidden, 10), (10,)
        self.start = [(0.05 * random.normal(size=s)).astype("f4") for s in shapes]

    def ours(self, rule: Any) -> Callable[[], Any]:
        """Two epochs of `train`."""
        import gradcompile as gc

        X, t = gc.array("X", ("n", self.data[0].shape[1]), dtype="float32"), gc.array("t", ("n",), dtype="int64")
        W, b, V, c = (gc.array(n, w.shape, dtype="float32") for n, w in zip("WbVc", self.start, strict=True))
        loss = np.mean(gc.cross_entropy(np.maximum(X @ W + b, 0) @ V + c, t))
        self.f = gc.compile_grad(loss, [W, b, V, c], inputs=[X, t], dtype="float32")
        options: Any = {"optimizer": rule, "epochs": 2, "batch_size": self.batch, "progress": False}
        return lambda: gc.train(self.f, self.start, self.data, **options)

    def products(self, update: Callable[[], Any]) -> Callable[[], Any]:
        """The five products of a step by NumPy's BLAS, into arrays that are there, and a flat update."""
        x, (w, _, v, _) = self.data[0][: self.batch], self.start
        hidden, out = x @ w, np.empty((self.batch, 10), "f4")
        back, dw, dv = np.empty_like(hidden), np.empty_like(w), np.empty_like(v)

        def run() -> None:
            for _ in range(20):
                np.matmul(x, w, out=hidden)
                np.matmul(hidden, v, out=out)
                np.matmul(out, v.T, out=back)
                np.matmul(hidden.T, out, out=dv)
                np.matmul(x.T, back, out=dw)
                update()

        return run

    def jax(self, rule: str) -> Callable[[], Any]:
        """An epoch in `lax.scan`."""
        import jax
        import optax

        optimizer = getattr(optax, rule)(1e-3)
        x, t = (jax.numpy.asarray(d).reshape(self.batches, self.batch, *d.shape[1:]) for d in self.data)

        def loss(p: Any, x: Any, t: Any) -> Any:
            scores = jax.nn.relu(x @ p[0] + p[1]) @ p[2] + p[3]
            return optax.softmax_cross_entropy_with_integer_labels(scores, t).mean()

        @jax.jit
        def epoch(params: Any, state: Any, order: Any) -> Any:
            def step(carry: Any, k: Any) -> Any:
                value, grads = jax.value_and_grad(loss)(carry[0], x[k], t[k])
                updates, state = optimizer.update(grads, carry[1], carry[0])
                return (optax.apply_updates(carry[0], updates), state), value

            return jax.lax.scan(step, (params, state), order)

        params = [jax.numpy.asarray(w) for w in self.start]
        state, order = optimizer.init(params), jax.numpy.arange(self.batches)
        return lambda: jax.block_until_ready(epoch(params, state, order))

    def torch(self, rule: str) -> Callable[[], Any]:
        """Some steps, eager."""
        import torch

        x, t = (torch.tensor(d[: self.batch]) for d in self.data)
        params = [torch.tensor(w, requires_grad=True) for w in self.start]
        made = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[rule](params, lr=1e-3)

        def run() -> None:
            for _ in range(20):
                made.zero_grad()
                scores = torch.relu(x @ params[0] + params[1]) @ params[2] + params[3]
                torch.nn.functional.cross_entropy(scores, t).backward()
                made.step()

        return run


def flat(size: int, adam: bool) -> Callable[[], Any]:
    """The update by one loop that Numba compiles."""
    import numba

    theta, g, m, v = (np.full(size, 1e-3, "f4") for _ in range(4))
    b1, c1, b2, c2, r, eps = map(np.float32, (0.9, 0.1, 0.999, 0.001, 1e-3, 1e-8))

    @numba.njit(error_model="numpy")
    def with_adam(theta: Any, g: Any, m: Any, v: Any, d1: Any, d2: Any) -> None:
        for k in range(theta.size):
            m[k] = b1 * m[k] + c1 * g[k]
            v[k] = b2 * v[k] + c2 * (g[k] * g[k])
            theta[k] -= r * (m[k] * d1) / (np.sqrt(v[k] * d2) + eps)

    @numba.njit
    def plain(theta: Any, g: Any) -> None:
        for k in range(theta.size):
            theta[k] -= r * g[k]

    one = np.float32(1.0)
    return (lambda: with_adam(theta, g, m, v, one, one)) if adam else (lambda: plain(theta, g))


def digits() -> None:
    """784-128-10, float32, batch 50."""
    from gradcompile import optim

    net = Network(784, 128, 50, 100)
    for rule in ("sgd", "adam"):
        steps = 2 * net.batches
        told(f"digits, a step of {rule}", {
            "products and flat update": (net.products(flat(101_770, rule == "adam")), 20),
            "train": (net.ours(getattr(optim, rule)(1e-3)), steps),
            "jax": (net.jax(rule), net.batches), "torch": (net.torch(rule), 20),
        })  # fmt: skip


def small() -> None:
    """64-32-10, batch 32."""
    from gradcompile import optim

    net = Network(64, 32, 32, 500)
    told("small, a step of adam", {
        "train": (net.ours(optim.adam(1e-3)), 2 * net.batches), "jax": (net.jax("adam"), net.batches),
        "torch": (net.torch("adam"), 20),
    })  # fmt: skip


def update() -> None:
    """Adam's update alone, float32."""
    import jax
    import optax
    import torch

    from gradcompile import optim

    for size in (105, 101_770):
        rule, torch_threads = optim.adam(1e-3), torch.get_num_threads()
        theta, g = np.full(size, 1e-3, "f4"), np.full(size, 1e-3, "f4")
        state, table = rule.init(theta).rows, rule.table(0, 1, "f4")
        code, places = rule.code("float32"), np.array([[0, size, 0, 0]])
        x = torch.tensor(theta, requires_grad=True)
        x.grad = torch.tensor(g)
        fused = torch.optim.Adam([x], lr=1e-3, fused=True)
        theirs = optax.adam(1e-3)
        params, grads = jax.numpy.asarray(theta), jax.numpy.asarray(g)
        begun = theirs.init(params)

        @jax.jit
        def step(p: Any, s: Any, g: Any, theirs: Any = theirs) -> Any:
            updates, s = theirs.update(g, s, p)
            return optax.apply_updates(p, updates), s

        loop = flat(size, True)
        torch.set_num_threads(1)
        told(f"update of {size:,}", {
            "flat loop": (lambda loop=loop: [loop() for _ in range(50)], 50),
            "rule": (lambda c=code, a=(g, theta, state, table, 0, places): [c(*a) for _ in range(50)], 50),
            "torch fused": (lambda s=fused.step: [s() for _ in range(50)], 50),
            "optax": (lambda s=step, a=(params, begun, grads): jax.block_until_ready([s(*a) for _ in range(50)]), 50),
        })  # fmt: skip
        torch.set_num_threads(torch_threads)


FIRST = """
import time
import numpy as np
from benchmarks.train import Network
import gradcompile as gc
from gradcompile import optim
import gradcompile.optim.training
net = Network(784, 128, 50, 4)
run = net.ours(optim.adam(1e-3))
began = time.perf_counter()
net.f(*net.start, *[d[:50] for d in net.data]) if {kernel} else None
middle = time.perf_counter()
run()
print(middle - began, time.perf_counter() - middle)
"""


def first() -> None:
    """The first call of `train` in a fresh process."""

    def seconds(directory: str, kernel: bool) -> list[float]:
        found = subprocess.run([sys.executable, "-c", FIRST.format(kernel=kernel)], capture_output=True, text=True,
                               check=True, cwd=ROOT, env=os.environ | {"GRADCOMPILE_CACHE_DIR": directory})  # fmt: skip
        return list(map(float, found.stdout.split()))

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        kernel, _ = seconds(one, True)
        _, cold = seconds(other, False)
        cached = min(seconds(other, False)[1] for _ in range(5))
    print(f"first: cached {cached:.3f} s; cold {cold:.3f} s, the kernel alone {kernel:.3f} s ({cold / kernel:.2f})")


def memory(rows: int = 100_000_000, steps: int = 2000) -> None:
    """Anonymous memory of a run over samples from a file of float32, of a loss in double precision."""
    import sympy as sp

    import gradcompile as gc
    from gradcompile import optim

    a, b, x, y = sp.symbols("a b x y")
    f = gc.compile_grad((a * x + b - y) ** 2, [a, b], data=[x, y])

    def anonymous() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

    with tempfile.TemporaryDirectory() as place:
        columns = [np.memmap(Path(place, name), "f4", "w+", shape=(rows,)) for name in "xy"]
        for k in range(0, rows, 1 << 20):
            columns[0][k : k + (1 << 20)] = np.linspace(0, 1, len(columns[0][k : k + (1 << 20)]))
            columns[1][k : k + (1 << 20)] = 2.0 * columns[0][k : k + (1 << 20)] + 1.0
        readonly = [np.memmap(Path(place, name), "f4", "r", shape=(rows,)) for name in "xy"]
        del columns
        before, most = anonymous(), 0.0

        def look(seen: Any) -> bool:
            nonlocal most
            most = max(most, anonymous())
            return bool(seen.step >= steps)

        options: Any = {"optimizer": optim.adam(0.01), "epochs": 1, "batch_size": 1000, "every": 100, "progress": False}
        began = time.perf_counter()
        gc.train(f, [0.0, 0.0], readonly, callback=look, **options)
        each = 1e9 * (time.perf_counter() - began) / steps / 1000
        shown = f"{most:.0f} MB anonymous, {most - before:.0f} MB of them by train; {each:.0f} ns a sample"
        print(f"memory: {rows:,} samples, {shown}")


if __name__ == "__main__":
    known = {"digits": digits, "small": small, "update": update, "first": first, "memory": memory}
    for word in sys.argv[1:] or list(known):
        known[word]()
