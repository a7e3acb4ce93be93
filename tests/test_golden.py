"""Generated modules as golden files: a change of the generator shows as a difference that somebody reads.

`pytest tests/test_golden.py --update-golden` rewrites them. Each file also runs, by itself.
"""

import importlib.util
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile import codegen, compile_grad, compile_value, mean, sigmoid
from gradcompile.codegen.contract import contract_of
from gradcompile.codegen.values import array_kind
from gradcompile.compiled import Compiled
from gradcompile.derivatives import CompiledDerivative

GOLDEN = Path(__file__).resolve().parent / "golden"
X = np.linspace(0.1, 3.0, 100)
Y = np.cos(X)
a, b, c, w, x, y = sp.symbols("a b c w x y")


def blackboard() -> Compiled:
    return compile_grad((w * x - y) ** 2, [w], inputs=[x, y])


def curve() -> Compiled:
    return compile_grad((a * sp.exp(-b * x) + c - y) ** 2, [a, b, c], data=[x, y])


def logistic() -> Compiled:
    ws, xs = sp.symbols("w:3"), sp.symbols("x:3")
    p = sigmoid(sum(u * v for u, v in zip(ws, xs, strict=True)) + b)
    loss = -(y * sp.log(p) + (1 - y) * sp.log(1 - p))
    return compile_grad(loss, {"w": ws, "b": b}, data={"X": xs, "y": y})


def two_passes() -> Compiled:
    return compile_grad((w * x - mean(w * x)) ** 2, [w], data=[x])


def matrix() -> Compiled:
    W, v = sp.MatrixSymbol("W", 2, 2), sp.IndexedBase("v")
    hidden = [sp.tanh(W[k, 0] * v[0] + W[k, 1] * v[1]) for k in range(2)]
    return compile_grad((hidden[0] - hidden[1]) ** 2, [W, v])


def piecewise() -> Compiled:
    return compile_grad(sp.Piecewise((x * sp.log(x) * w, x > 0), (w**2, sp.And(w > 0, x > -1)), (0, True)), [w, x])


def rosenbrock() -> Compiled:
    return compile_grad((1 - x) ** 2 + 100 * (y - x**2) ** 2, [x, y])


def penalty() -> Compiled:
    return compile_grad(mean((w * x + b - y) ** 2) + sp.Rational(1, 10) * (w**2 + b**2), [w, b], data=[x, y])


def prediction() -> Compiled:
    return compile_value(a * sp.exp(-b * x) + c, [a, b, c], data=[x])


def single() -> Compiled:
    return compile_grad(sp.sqrt((w * x - y) ** 2 + 1), [w], data=[x, y], dtype="float32")


def special() -> Compiled:
    return compile_grad(sp.loggamma(a) + sp.besselj(0, b * a) * sp.erf(b), [a, b])


def long_sum() -> Compiled:
    xs = sp.symbols("x:20")
    return compile_grad(sum(sp.sin(w * v) * k for k, v in enumerate(xs, 1)) ** 2, [w], inputs=xs)


def chain() -> Compiled:
    xs = sp.symbols("x:60")
    terms = (100 * (q - p**2) ** 2 + (1 - p) ** 2 for p, q in pairwise(xs))
    return compile_grad(sp.log(sum(terms)), {"x": xs})


def grid() -> Compiled:
    U = sp.IndexedBase("U", shape=(8, 9))
    inside = [(i, j) for i in range(1, 7) for j in range(1, 8)]
    stencil = (U[i - 1, j] + U[i + 1, j] + U[i, j - 1] + U[i, j + 1] - 4 * U[i, j] for i, j in inside)
    return compile_grad(sum(t**2 for t in stencil) + (U[0, 0] - 1) ** 2, [U])


def names() -> Compiled:
    decay, theta = sp.symbols(r"\lambda_{1} theta")
    n, grad = sp.symbols("n grad")
    return compile_grad((theta * sp.exp(-decay * n) - grad) ** 2, [theta, decay], data=[n, grad])


def network() -> Compiled:
    W1, b1, W2, b2 = (gc.array(k, d) for k, d in (("W1", (3, 4)), ("b1", (4,)), ("W2", (4, 2)), ("b2", (2,))))
    inputs = gc.array("X", ("n", 3)), gc.array("t", ("n",), "int64")
    logits = gc.relu(inputs[0] @ W1 + b1) @ W2 + b2
    return compile_grad(mean(gc.cross_entropy(logits, inputs[1])), [W1, b1, W2, b2], inputs=inputs)


def mixture() -> Compiled:
    centres, heights, points = gc.array("centres", (3, 2)), gc.array("heights", (3,)), gc.array("points", ("n", 2))
    distances = np.sum((points[:, None] - centres) ** 2, axis=2)
    return compile_grad(-mean(gc.logsumexp(heights - distances / 2, axis=1)), [centres, heights])


def recurrent() -> Compiled:
    W, U, v, steps = gc.array("W", (2, 12)), gc.array("U", (3, 12)), gc.array("v", (3,)), gc.array("steps", ("n", 2))

    def step(carry: Any, now: Any) -> Any:
        h, c = carry
        i, f, g, o = np.split(now @ W + h @ U, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return (sigmoid(o) * np.tanh(c), c), None

    (h, _), _ = gc.scan(step, (np.zeros(3), np.zeros(3)), steps)
    return compile_grad((h @ v - 1) ** 2, [W, U, v], inputs=[steps])


def factorisation() -> Compiled:
    U, V, value = gc.array("U", (5, 2)), gc.array("V", (4, 2)), gc.array("value", ("n",))
    row, column = gc.array("row", ("n",), "int64"), gc.array("column", ("n",), "int64")
    loss = np.sum((np.sum(U[row] * V[column], axis=1) - value) ** 2)
    return compile_grad(loss, [U, V], inputs=[row, column, value])


def attention() -> Compiled:
    Wq, Wk, Wv = (gc.array(name, (3, 4)) for name in ("Wq", "Wk", "Wv"))
    X, target = gc.array("X", ("n", 3)), gc.array("target", ("n", 4))
    weights = gc.softmax(X @ Wq @ (X @ Wk).T / 2.0)
    return compile_grad(np.mean((weights @ (X @ Wv) - target) ** 2), [Wq, Wk, Wv], inputs=[X, target])


def garch() -> Compiled:
    omega, alpha, beta = (gc.array(name) for name in ("omega", "alpha", "beta"))
    returns = gc.array("returns", "days")

    def step(variance: Any, change: Any) -> Any:
        return omega + alpha * change**2 + beta * variance, variance

    _, variances = gc.scan(step, omega / (1 - alpha - beta), returns)
    return compile_grad(np.sum(np.log(variances) + returns**2 / variances), [omega, alpha, beta])


def kernel_matrix() -> Compiled:
    length, points, y = gc.array("length"), gc.array("points", ("n", 2)), gc.array("y", "n")
    distances = np.sum((points[:, None] - points[None]) ** 2, axis=2)
    return compile_grad(y @ (np.exp(-distances / (2 * length**2)) @ y), [length], inputs=[points, y])


def convolution() -> Compiled:
    kernel, images = gc.array("kernel", (2, 1, 3, 3)), gc.array("images", ("n", 1, 6, 6))
    labels = gc.array("labels", "n")
    found = np.mean(gc.relu(gc.conv(images, kernel)), axis=(1, 2, 3))
    return compile_grad(np.mean((found - labels) ** 2), [kernel], inputs=[images, labels])


def heat_capacity() -> Compiled:
    T, s = sp.symbols("T s")
    return compile_grad((a + b * T + c * T**2 + s * T * sp.log(T) + w / T**9 - y) ** 2, [a, b, c, s, w], data=[T, y])


def gauss_newton() -> CompiledDerivative:
    return gc.compile_hessian((y - a / (1 + sp.exp(-b * (x - c)))) ** 2, [a, b, c], data=[x, y], gauss_newton=True)


def curvature() -> CompiledDerivative:
    return gc.compile_hessian((a * sp.exp(-b * x) + c - y) ** 2, [a, b, c], data=[x, y])


def chain_hessian() -> CompiledDerivative:
    z = sp.symbols("z:60")
    loss = sp.Add(*[100 * (z[k + 1] - z[k] ** 2) ** 2 + (1 - z[k]) ** 2 for k in range(59)])
    return gc.compile_hessian(loss, z, sparse=True)


def residuals() -> CompiledDerivative:
    return gc.compile_jacobian(a * sp.exp(-b * x) + c - y, [a, b, c], data=[x, y])


def network_product() -> CompiledDerivative:
    W, u, v = gc.array("W", (3, 4)), gc.array("u", 4), gc.array("v", 4)
    inputs, t = gc.array("X", ("n", 3)), gc.array("t", "n")
    return gc.compile_hvp(np.mean((np.tanh(inputs @ W + u) @ v - t) ** 2), [W, u, v], inputs=[inputs, t])


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape)


CASES: list[tuple[Callable[[], Compiled], tuple[Any, ...]]] = [
    (blackboard, (2.0, 3.0, 10.0)),
    (curve, (2.0, 1.3, 0.5, X, Y)),
    (logistic, (np.array([1.0, -0.5, 0.2]), 0.1, np.column_stack([X, X**2, Y]), (Y > 0) * 1.0)),
    (two_passes, (2.0, X)),
    (matrix, (np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([0.3, 0.2]))),
    (piecewise, (1.5, -0.5)),
    (rosenbrock, (-1.2, 1.0)),
    (penalty, (1.0, 0.5, X, Y)),
    (prediction, (2.0, 1.3, 0.5, X)),
    (single, (0.7, X.astype("f4"), Y.astype("f4"))),
    (special, (1.7, 0.6)),
    (long_sum, (0.3, *np.linspace(-1.0, 1.0, 20).tolist())),
    (chain, (np.linspace(-1.0, 1.0, 60),)),
    (grid, (np.linspace(-1.0, 1.0, 72).reshape(8, 9) ** 2,)),
    (names, (2.0, 1.3, X, Y)),
    (network, (drawn(3, 4), drawn(4), drawn(4, 2), drawn(2), drawn(100, 3), np.arange(100) % 2)),
    (mixture, (drawn(3, 2), drawn(3), drawn(100, 2))),
    (recurrent, (drawn(2, 12), drawn(3, 12), drawn(3), drawn(100, 2))),
    (attention, (drawn(3, 4), -drawn(3, 4), drawn(3, 4) / 2, drawn(20, 3), drawn(20, 4))),
    (garch, (0.1, 0.2, 0.5, drawn(100))),
    (kernel_matrix, (1.5, drawn(30, 2), drawn(30))),
    (convolution, (drawn(2, 1, 3, 3), drawn(20, 1, 6, 6), drawn(20))),
    (heat_capacity, (1.0, 0.5, -0.2, 0.3, 0.01, X + 1.0, Y)),
    (factorisation, (drawn(5, 2), drawn(4, 2), np.arange(100) % 5, np.arange(100) % 4, Y)),
]


DERIVATIVES: list[tuple[Callable[[], CompiledDerivative], tuple[Any, ...], dict[str, Any]]] = [
    (curvature, (2.0, 1.3, 0.5, X, Y), {}),
    (gauss_newton, (2.0, 1.3, 0.5, X, Y), {}),
    (chain_hessian, tuple(np.linspace(-1.0, 1.0, 60)), {}),
    (residuals, (2.0, 1.3, 0.5, X, Y), {}),
    (network_product, (drawn(3, 4), drawn(4), drawn(4), drawn(100, 3), Y), {"vector": np.linspace(-1.0, 1.0, 20)}),
]


@pytest.mark.parametrize(("make", "args", "named"), DERIVATIVES, ids=[make.__name__ for make, *_ in DERIVATIVES])
def test_generated_source_of_derivatives(
    make: Callable[[], CompiledDerivative], args: tuple[Any, ...], named: dict[str, Any], update_golden: bool
) -> None:
    f = make()
    path = GOLDEN / f"{make.__name__}.py"
    if update_golden:
        path.write_text(f.source, "utf-8")
    assert f.source == path.read_text("utf-8"), "read the difference, then run pytest with --update-golden"
    count = len(f.problem.params)
    theta, inputs = f.pack(*args[:count]), [*named.values(), *args[count:]]
    found = f._at(theta, list(inputs))
    outs = [np.zeros_like(v) for v in found.arrays]
    with np.errstate(all="ignore"):
        imported(path).kernel(theta, *outs, *inputs)
    assert [v.tobytes() for v in outs] == [v.tobytes() for v in found.arrays]
    few = [v[:3] if isinstance(v, np.ndarray) and len(v) == len(X) else v for v in args]
    if make is not gauss_newton:  # which is no derivative
        assert f.check(*few, **named).error < 1e-12


@pytest.mark.parametrize(("make", "args"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_generated_source(make: Callable[[], Compiled], args: tuple[Any, ...], update_golden: bool) -> None:
    f = make()
    path = GOLDEN / f"{make.__name__}.py"
    if update_golden:
        path.write_text(f.source, "utf-8")
    assert f.source == path.read_text("utf-8"), "read the difference, then run pytest with --update-golden"
    assert max(map(len, f.source.splitlines()[10:])) <= 120
    count = len(f.problem.params)
    theta, inputs = f.pack(*args[:count]), args[count:]
    out = np.zeros(len(X) if make is prediction else f.size, f.dtype)
    with np.errstate(all="ignore"):  # a direct call of what is plain Python without the JIT
        value = imported(path).kernel(theta, out, *inputs)
    if make is prediction:
        np.testing.assert_allclose(out, 2.0 * np.exp(-1.3 * X) + 0.5, rtol=1e-15)
        return
    kernel_value, gradient = f.flat(theta, *inputs)  # type: ignore[attr-defined]
    assert value == kernel_value
    assert out.tobytes() == gradient.tobytes()
    assert single_or_exact(f, args) < 1e-12


def single_or_exact(f: Any, args: tuple[Any, ...]) -> float:
    """The error of the gradient with a few samples; that of single precision is not looked at."""
    if f.dtype == "float32":
        return 0.0
    few = [v[:3] if isinstance(v, np.ndarray) and len(v) == len(X) else v for v in args]
    return float(f.check(*few).error)


def imported(path: Path) -> Any:
    """The golden file as a module."""
    spec = importlib.util.spec_from_file_location(f"golden_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def llvm_of(module: Any) -> str:
    """The LLVM IR of a module's kernel, for arrays as its signature says."""
    function = module.kernel.lowered_from
    kinds = tuple(array_kind(a.type.dtype, len(a.type.shape)) for a in contract_of(function).values())
    return codegen.lower(function, kinds).text.replace(codegen.mark_of(function, kinds), "")


@pytest.mark.skipif(codegen.target.is_disabled(), reason="there is no machine code")
@pytest.mark.parametrize("make", [make for make, *_ in (*CASES, *DERIVATIVES)], ids=lambda make: make.__name__)
def test_the_text_says_what_is_compiled(make: Callable[[], Any]) -> None:
    """Code is made of the loop IR that the text was printed from: what is read in the text gives the same LLVM IR."""
    assert llvm_of(make()._module) == llvm_of(imported(GOLDEN / f"{make.__name__}.py"))


def test_every_golden_file_has_its_case() -> None:
    assert sorted(p.stem for p in GOLDEN.glob("*.py")) == sorted(make.__name__ for make, *_ in (*CASES, *DERIVATIVES))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.py")), ids=lambda p: p.stem)
def test_the_header_states_a_cheap_gradient(path: Path) -> None:
    ratio = re.search(r"\(([\d.]+) times\)", path.read_text())
    assert ratio is None or float(ratio[1]) <= (4.0 if " with the gradient " in path.read_text() else 8.0)
