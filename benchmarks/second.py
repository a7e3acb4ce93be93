"""Second derivatives and Jacobians against peers: `python -m benchmarks.second [CASE ...]`.

Each case has functions that compute the same thing, ours first; they take turns in one process, warm, and the smallest
and the median time of each is told, as a ratio to ours as well. Results are compared before anything is measured.
"""

import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import sympy as sp

import gradcompile as gc
from gradcompile import array

ROUNDS = 15
Functions = dict[str, Callable[[], Any]]
RNG = np.random.default_rng(0)


def curve() -> Functions:
    """a*exp(-b*x) + c on a million samples: loss, gradient and Hessian."""
    a, b, c, x, y = sp.symbols("a b c x y")
    loss = (a * sp.exp(-b * x) + c - y) ** 2
    h, f = (make(loss, [a, b, c], data=[x, y]) for make in (gc.compile_hessian, gc.compile_grad))
    theta, xs = np.array([1.0, 2.0, 0.5]), RNG.uniform(0.0, 1.0, 1_000_000)
    ys = np.exp(-2.0 * xs) + 0.1 * RNG.normal(size=len(xs))
    found: Functions = {"hessian": lambda: h(*theta, xs, ys)[2], "our gradient": lambda: f(*theta, xs, ys)}
    with_jax(found, lambda jnp, t: jnp.mean((t[0] * jnp.exp(-t[1] * xs) + t[2] - ys) ** 2), theta, "hessian")
    return found


def logistic() -> Functions:
    """Logistic regression, 30 features, 100,000 samples: the Hessian, against BLAS's dsyrk of that shape."""
    from scipy.linalg.blas import dsyrk

    n, k = 100_000, 30
    X, w, t = array("X", ("n", k)), array("w", k), array("t", "n")
    z = X @ w
    h = gc.compile_hessian(np.mean(np.log1p(np.exp(z)) - t * z), [w], inputs=[X, t])
    xs, ts, ws = RNG.normal(size=(n, k)), (RNG.uniform(size=n) > 0.5) * 1.0, 0.1 * RNG.normal(size=k)
    found: Functions = {"hessian": lambda: h(ws, xs, ts)[2], "dsyrk": lambda: dsyrk(1.0, xs.T)}
    with_jax(found, lambda jnp, v: jnp.mean(jnp.logaddexp(0.0, xs @ v) - ts * (xs @ v)), ws, "hessian")
    return found


def network() -> tuple[Any, list[Any], list[Any], list[np.ndarray], list[np.ndarray]]:
    """A network 8-32-32-1 with a mean of squares, and 100,000 samples."""
    X, t = array("X", ("n", 8)), array("t", "n")
    shapes = ((8, 32), (32,), (32, 32), (32,), (32,), ())
    params = [array(name, shape) for name, shape in zip(("W1", "b1", "W2", "b2", "W3", "b3"), shapes, strict=True)]
    W1, b1, W2, b2, W3, b3 = params
    loss = np.mean((np.tanh(np.tanh(X @ W1 + b1) @ W2 + b2) @ W3 + b3 - t) ** 2)
    point = [0.3 * RNG.normal(size=s) for s in shapes]
    return loss, params, [X, t], point, [RNG.normal(size=(100_000, 8)), RNG.normal(size=100_000)]


def product() -> Functions:
    """That network: the Hessian times a vector."""
    loss, params, inputs, point, data = network()
    p, f = (make(loss, params, inputs=inputs) for make in (gc.compile_hvp, gc.compile_grad))
    v = RNG.normal(size=p.size)
    found: Functions = {"product": lambda: p(*point, *data, vector=v)[2], "our gradient": lambda: f(*point, *data)}
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return found
    jax.config.update("jax_enable_x64", True)

    def jax_loss(p: Any) -> Any:
        W1, b1, W2, b2, W3, b3 = p
        return jnp.mean((jnp.tanh(jnp.tanh(data[0] @ W1 + b1) @ W2 + b2) @ W3 + b3 - data[1]) ** 2)

    run = jax.jit(lambda p, v: jax.jvp(jax.grad(jax_loss), (p,), (v,))[1])
    given, along = tuple(map(jnp.asarray, point)), tuple(map(jnp.asarray, p.unpack(v)))
    found["jax"] = lambda: np.concatenate([np.ravel(q) for q in run(given, along)])
    return found


def norms() -> Functions:
    """That network: the gradient's norm of every sample."""
    loss, params, inputs, point, data = network()
    f = gc.compile_grad(loss, params, inputs=inputs)
    return {"norms": lambda: f.per_sample(*point, *data, what="norms")[1], "our gradient": lambda: f(*point, *data)}


def chain(n: int) -> Functions:
    """A chain of Rosenbrock terms: loss, gradient and sparse Hessian."""
    x = sp.symbols(f"x:{n}")
    with sp.evaluate(False):
        loss = sp.Add(*(100 * (x[k + 1] - x[k] ** 2) ** 2 + (1 - x[k]) ** 2 for k in range(n - 1)))
    points = RNG.normal(size=(64, n))
    start = time.perf_counter()
    h = gc.compile_hessian(loss, x, sparse=True).bind()
    h(points[0])
    print(f"chain of {n}: from the expression to the first result {time.perf_counter() - start:.2f} s")
    turn = iter(range(1 << 40))
    found: Functions = {"hessian": lambda: h(points[next(turn) % 64])[2], "checked": lambda: h(points[0])[2].toarray()}
    try:
        import casadi
    except ImportError:
        return found
    v = casadi.SX.sym("v", n)
    loss = casadi.sum1(100 * (v[1:] - v[:-1] ** 2) ** 2 + (1 - v[:-1]) ** 2)
    hess, grad = casadi.hessian(loss, v)
    function = casadi.Function("f", [v], [loss, grad, hess])
    found["casadi"] = with_buffers(function, points[0], [1, n, hess.nnz()])
    return found


def with_buffers(function: Any, point: np.ndarray, sizes: list[int]) -> Callable[[], Any]:
    """A function of CasADi on memory that it is given once, its quickest way; the memory lives as long."""
    buffer, run = function.buffer()
    given, results = point.copy(), [np.empty(size) for size in sizes]
    buffer.set_arg(0, memoryview(given))
    for k, result in enumerate(results):
        buffer.set_res(k, memoryview(result))

    def call() -> list[np.ndarray]:
        run()
        return [buffer and given, *results]

    return call


def brusselator(n: int) -> Functions:
    """The Brusselator on a grid: residuals and their sparse Jacobian."""
    u = array("u", (2, n, n))
    a, b = u[0], u[1]

    def spread(q: Any) -> Any:
        return np.roll(q, 1, 0) + np.roll(q, -1, 0) + np.roll(q, 1, 1) + np.roll(q, -1, 1) - 4 * q

    cells = np.stack([1 + a**2 * b - 4.4 * a + 0.1 * spread(a), 3.4 * a - a**2 * b + 0.1 * spread(b)])
    j = gc.compile_jacobian(cells, [u], sparse=True).bind()
    points, turn = RNG.normal(size=(64, 2 * n * n)), iter(range(1 << 40))
    found: Functions = {"jacobian": lambda: j(points[next(turn) % 64])[1]}
    try:
        import casadi
    except ImportError:
        return found
    A, B = casadi.SX.sym("a", n, n), casadi.SX.sym("b", n, n)

    def spread_sx(q: Any) -> Any:
        rows, columns = [*range(1, n), 0], [n - 1, *range(n - 1)]
        return q[columns, :] + q[rows, :] + q[:, columns] + q[:, rows] - 4 * q

    residual = casadi.vertcat(
        casadi.vec(1 + A**2 * B - 4.4 * A + 0.1 * spread_sx(A)), casadi.vec(3.4 * A - A**2 * B + 0.1 * spread_sx(B))
    )
    both = casadi.vertcat(casadi.vec(A), casadi.vec(B))
    jac = casadi.jacobian(residual, both)
    found["casadi"] = with_buffers(casadi.Function("f", [both], [residual, jac]), points[0], [2 * n * n, jac.nnz()])
    return found


def with_jax(found: Functions, loss: Callable[[Any, Any], Any], theta: np.ndarray, ours: str) -> None:
    """Add `jax.hessian`, where JAX is installed, and compare."""
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return
    jax.config.update("jax_enable_x64", True)
    run, given = jax.jit(jax.hessian(lambda t: loss(jnp, t))), jnp.asarray(theta)
    found["jax"] = lambda: np.asarray(run(given))
    np.testing.assert_allclose(found[ours](), found["jax"](), rtol=1e-9, atol=1e-9)


CASES: dict[str, Callable[[], Functions]] = {
    "curve": curve,
    "logistic": logistic,
    "product": product,
    "norms": norms,
    "chain-1000": lambda: chain(1_000),
    "chain-10000": lambda: chain(10_000),
    "brusselator-24": lambda: brusselator(24),
    "brusselator-100": lambda: brusselator(100),
}


def measured(functions: Functions) -> Iterator[tuple[str, float, float]]:
    """The smallest and the median time of each function, in seconds; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in functions if name != "checked"}
    for name in times:
        functions[name]()
    repeats = {name: max(1, int(0.05 / timed(functions[name], 1))) for name in times}
    for _ in range(ROUNDS):
        for name, own in times.items():
            own.append(timed(functions[name], repeats[name]))
    yield from ((name, min(own), median(own)) for name, own in times.items())


def timed(function: Callable[[], Any], repeats: int) -> float:
    """Seconds of one call, of so many in a row."""
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def main(names: list[str]) -> None:
    """Measure the cases and print a table of each."""
    for name in names or CASES:
        first = None
        for what, least, middle in measured(CASES[name]()):
            first = first or middle
            print(
                f"{name:16} {what:14} {least * 1e6:12.1f} us least {middle * 1e6:12.1f} us median {middle / first:8.2f}"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
