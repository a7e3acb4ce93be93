"""The compiler from end to end: what a compiled loss is, computes, shows and survives."""

import copy
import inspect
import math
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp

from gradcompile import CompiledGrad, CompiledValue, compile_grad, compile_value, custom, mean, total
from gradcompile.analysis.evaluate import evaluate
from gradcompile.errors import ArgumentError
from gradcompile.explain.check import check

w, b, c, x, y, z = sp.symbols("w b c x y z")
X = np.linspace(0.1, 3.0, 130)
Y = 2.0 * np.exp(-1.3 * X) + 0.5
POINT = (1.9, 1.2, 0.4)
JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"


def fresh(loss: Any, params: Any, **options: Any) -> CompiledGrad:
    """A compiled loss that leaves nothing on the disk."""
    return compile_grad(loss, params, cache=False, **options)


@pytest.fixture(scope="module")
def board() -> CompiledGrad:
    return fresh((w * x - y) ** 2, [w], inputs=[x, y], name="board")


@pytest.fixture(scope="module")
def curve() -> CompiledGrad:
    a, rate = sp.symbols("a rate")
    return compile_grad((a * sp.exp(-rate * x) + c - y) ** 2, [a, rate, c], data=[x, y], name="curve")


def by_hand(a: float, rate: float, offset: float) -> tuple[float, list[float]]:
    """Loss and gradient of `curve` in NumPy."""
    e = np.exp(-rate * X)
    r = a * e + offset - Y
    parts = [(r**2).mean(), (2 * r * e).mean(), (-2 * r * a * e * X).mean(), (2 * r).mean()]
    return float(parts[0]), [float(v) for v in parts[1:]]


# What it computes


def test_the_blackboard(board: CompiledGrad) -> None:
    loss, grads = board(2.0, 3.0, 10.0)
    assert (loss, grads.w, grads._fields) == (16.0, -24.0, ("w",))
    rows = {r.name: r for r in board.explain(2.0, 3.0, 10.0).rows}
    assert {name: (r.value, r.adjoint) for name, r in rows.items()} == {
        "w": (2.0, -24.0), "x": (3.0, None), "wx": (6.0, -8.0), "y": (10.0, None), "diff": (-4.0, -8.0),
        "loss": (16.0, 1.0),
    }  # fmt: skip
    assert rows["diff"].formula == "w*x - y"
    assert "-24" in str(board.explain(2.0, 3.0, 10.0)).splitlines()[2]


def test_samples(curve: CompiledGrad) -> None:
    loss, grads = curve(*POINT, X, Y)
    expected, gradient = by_hand(*POINT)
    assert loss == pytest.approx(expected, rel=1e-14)
    assert list(grads) == pytest.approx(gradient, rel=1e-13)
    assert curve.check(*POINT, X[:5], Y[:5]).error < 1e-12
    rows = curve.explain(*POINT, X[:5], Y[:5]).rows
    assert rows[-1].value == pytest.approx(curve(*POINT, X[:5], Y[:5])[0], rel=1e-14)
    assert next(r for r in rows if r.name == "a").adjoint == pytest.approx(curve(*POINT, X[:5], Y[:5])[1].a)
    assert all(len(r.adjoint) == 5 for r in rows if r.adjoint is not None and np.ndim(r.value))


def test_ways_to_call(curve: CompiledGrad, board: CompiledGrad) -> None:
    wanted = curve(*POINT, X, Y)
    assert curve(1.9, 1.2, y=Y, c=0.4, x=X) == wanted
    assert curve(1.9, 1.2, 0.4, X.tolist(), tuple(Y)) == wanted
    theta = curve.pack(*POINT)
    assert theta.tolist() == list(POINT)
    assert curve.unpack(theta) == POINT
    loss, gradient = curve.flat(theta, X, Y)
    assert (loss, tuple(gradient)) == wanted
    out = np.empty(3)
    assert curve(*POINT, X, Y, out=out)[1] is out
    assert tuple(out) == wanted[1]
    assert board(w=2, x=3, y=10) == (16.0, (-24.0,))
    assert (curve.size, curve.dtype, board.size) == (3, "float64", 1)


def test_bound_inputs_are_seen_when_they_change(curve: CompiledGrad) -> None:
    column = X.copy()
    fun = curve.bind(column, Y)
    theta = np.array(POINT)
    assert fun(theta)[0] == curve(*POINT, X, Y)[0]
    column[3] += 1.0
    assert fun(theta)[0] == curve(*POINT, column, Y)[0] != curve(*POINT, X, Y)[0]
    assert curve.bind(y=Y, x=X)(theta)[0] == curve(*POINT, X, Y)[0]


def test_sum_in_place_of_mean() -> None:
    f = fresh((w * x - y) ** 2, [w], data=[x, y], reduce="sum")
    loss, grads = f(2.0, X, Y)
    assert loss == pytest.approx(((2 * X - Y) ** 2).sum(), rel=1e-14)
    assert grads.w == pytest.approx((2 * (2 * X - Y) * X).sum(), rel=1e-13)


def test_a_bare_parameter_has_a_bare_gradient() -> None:
    f = fresh(w**3, w)
    assert f(2.0) == (8.0, 12.0)
    assert f.gradients == 3 * w**2
    assert f.unpack([2.0]) == (2.0,)


def test_arrays_of_every_kind() -> None:
    W, V, M = sp.MatrixSymbol("W", 2, 3), sp.IndexedBase("V"), sp.Matrix(2, 1, sp.symbols("m:2"))
    rows = [sum(W[i, k] * V[k] for k in range(3)) for i in range(2)]
    f = fresh((rows[0] - M[0]) ** 2 + (rows[1] * M[1]) ** 2 + b, {"W": W, "V": V, "m": M, "shift": b})
    values = np.arange(6.0).reshape(2, 3), np.array([1.0, -1.0, 2.0]), np.array([[0.5], [2.0]]), 3.0
    loss, grads = f(*values)
    u = values[0] @ values[1]
    assert loss == (u[0] - 0.5) ** 2 + (u[1] * 2) ** 2 + 3
    slope = np.array([2 * (u[0] - 0.5), 8 * u[1]])
    np.testing.assert_array_equal(grads.W, np.outer(slope, values[1]))
    np.testing.assert_array_equal(grads.V, slope @ values[0])
    np.testing.assert_array_equal(grads.m, [[-2 * (u[0] - 0.5)], [2 * u[1] ** 2 * 2]])
    assert (grads._fields, grads.shift, f.size) == (("W", "V", "m", "shift"), 1.0, 12)
    again = f.unpack(f.pack(*values))
    assert all(np.array_equal(p, q) for p, q in zip(again, values, strict=True))
    assert f.check(*values).error < 1e-12
    with pytest.raises(ArgumentError, match=r"W has shape \(2, 3\)"):
        _ = f.gradients


def test_rows_of_data() -> None:
    xs, ws = sp.symbols("x:3"), sp.symbols("w:3")
    f = fresh((sum(p * q for p, q in zip(xs, ws, strict=True)) - y) ** 2, {"w": ws}, data={"X": xs, "y": y})
    rows, weights = np.random.default_rng(0).normal(size=(70, 3)), np.array([1.0, -2.0, 0.5])
    loss, grads = f(weights, rows, rows[:, 0])
    r = rows @ weights - rows[:, 0]
    assert loss == pytest.approx((r**2).mean(), rel=1e-13)
    np.testing.assert_allclose(grads.w, 2 * r @ rows / 70, rtol=1e-12)
    assert f.check(weights, rows[:4], rows[:4, 0]).error < 1e-12


def test_a_penalty_beside_the_mean() -> None:
    f = fresh(mean((w * x - y) ** 2) + 0.1 * w**2, [w], data=[x, y])
    loss, grads = f(2.0, X, Y)
    assert loss == pytest.approx(((2 * X - Y) ** 2).mean() + 0.4, rel=1e-14)
    assert grads.w == pytest.approx((2 * (2 * X - Y) * X).mean() + 0.4, rel=1e-14)
    assert f.check(2.0, X[:4], Y[:4]).error < 1e-12


def test_passes_over_the_samples_that_need_each_other() -> None:
    f = fresh((x * w - mean(x * w)) ** 2 / total(x**2), [w], data=[x])
    loss, grads = f(2.0, X)
    u = 2.0 * X
    assert loss == pytest.approx(((u - u.mean()) ** 2).mean() / (X**2).sum(), rel=1e-13)
    assert grads.w == pytest.approx(loss, rel=1e-13)
    assert f.check(2.0, X[:7]).error < 1e-12
    assert "def samples_2(" in f.source


def test_a_mean_of_an_expression_with_scalars_only_inside_the_loss() -> None:
    f = fresh(mean(w * x) ** 2 + sp.exp(mean(x)) * w, [w], data=[x])
    assert f(2.0, X)[1].w == pytest.approx(4 * X.mean() ** 2 + math.exp(X.mean()), rel=1e-13)


def test_inputs_that_are_neither_parameters_nor_data() -> None:
    f = fresh((w * x**z - y) ** 2, [w], data=[x, y], inputs=[z, x, y])
    assert str(f.signature) == "(w, z, x, y)"
    assert f(2.0, 2.0, X, Y)[0] == pytest.approx(((2 * X**2 - Y) ** 2).mean(), rel=1e-14)


def test_no_gradient_leaks_from_a_branch_that_was_not_taken() -> None:
    f = fresh(sp.Piecewise((x * sp.log(x), x > 0), (0, True)), x)
    assert f(0.0) == (0.0, 0.0) and f(-1.0) == (0.0, 0.0)
    assert f(1.0) == (0.0, 1.0)
    g = fresh(sp.Piecewise((sp.sqrt(w) * sp.sin(1 / w) * sp.log(w) ** 3, w > 0), (w**2, True)), [w])
    assert g(0.0) == (0.0, (0.0,))
    assert g(-3.0) == (9.0, (-6.0,))


def test_conditions() -> None:
    first, second = sp.And(w > 0, x > 0), sp.Or(w > 0, sp.Not(x > 0))
    f = fresh(sp.Piecewise((w**2, first), (3 * w, second), (sp.Max(w, x) + sp.Heaviside(w), True)), [w])
    assert f(1.5, 2.0) == (2.25, (3.0,))
    assert f(1.5, -2.0) == (4.5, (3.0,))
    assert f(-1.0, 2.0) == (2.0, (0.0,))


def test_special_functions() -> None:
    f = fresh(sp.gamma(w) * sp.besselj(0, b) + sp.erf(w * b) + sp.polygamma(1, w) + sp.LambertW(w), [w, b])
    assert f.check(1.5, 2.0).error < 1e-12


def test_a_wrong_entry_among_many_is_found_by_the_check() -> None:
    f = fresh(sp.Add(*(v**3 * sp.sin(v) for v in sp.symbols("v:40"))), {"v": sp.symbols("v:40")})
    theta = np.linspace(1.0, 2.0, 40)
    gradient = f.flat(theta)[1]
    values = {f.problem.params[0].leaf: theta}
    assert check(gradient, f.problem.primal, f.problem.params, values).error < 1e-12
    for k in (0, 7, 20, 39):
        wrong = gradient.copy()
        wrong[k] *= 1 + 1e-6
        assert check(wrong, f.problem.primal, f.problem.params, values).error > 1e-10, k


def test_custom_functions() -> None:
    cube = custom("cube", lambda u: u * u * u, [lambda u: 3 * u**2])
    f = fresh((cube(w * x) - y) ** 2, [w], data=[x, y])
    plain = fresh(((w * x) ** 3 - y) ** 2, [w], data=[x, y])
    (loss, grads), (wanted, slopes) = f(0.7, X, Y), plain(0.7, X, Y)
    assert (loss, *grads) == pytest.approx((wanted, *slopes), rel=1e-13)


def test_unused_parameters_have_zero_gradients() -> None:
    f = fresh(w**2, [w, b], allow_unused=True)
    assert f(3.0, 1.0) == (9.0, (6.0, 0.0))
    g = fresh((w * x) ** 2, {"w": w, "v": sp.symbols("v:2")}, data=[x, y], allow_unused=True)
    assert g(1.0, [1.0, 2.0], X, Y)[1].v.tolist() == [0.0, 0.0]


def test_a_loss_without_any_samples_or_inputs() -> None:
    assert fresh(5 * w / w + w, [w])(2.0) == (7.0, (1.0,))


# The value alone


def test_loss_alone(curve: CompiledGrad, board: CompiledGrad) -> None:
    assert isinstance(curve.loss, CompiledValue)
    assert curve.loss is curve.loss
    assert curve.loss(*POINT, X, Y) == pytest.approx(curve(*POINT, X, Y)[0], rel=1e-15)
    assert board.loss(w=2.0, x=3.0, y=10.0) == 16.0
    assert "grad[" not in curve.loss.source


def test_values() -> None:
    predict = compile_value(w * sp.exp(-b * x) + c, [w, b, c], data=[x], cache=False)
    np.testing.assert_allclose(predict(*POINT, X), 1.9 * np.exp(-1.2 * X) + 0.4, rtol=1e-15)
    assert predict(*POINT, X).shape == X.shape
    assert compile_value(w * x, [w], data=[x], reduce="sum", cache=False)(2.0, X) == pytest.approx(2 * X.sum())
    assert compile_value(w**2 + 1, [w], cache=False)(3.0) == 10.0
    centred = compile_value(x - mean(x), data=[x], cache=False)
    np.testing.assert_allclose(centred(X), X - X.mean(), atol=1e-15)


def test_single_precision() -> None:
    f = fresh((w * sp.exp(-b * x) + c - y) ** 2, [w, b, c], data=[x, y], dtype="float32")
    loss, grads = f(*POINT, X.astype("f4"), Y.astype("f4"))
    expected, gradient = by_hand(*POINT)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert list(grads) == pytest.approx(gradient, rel=1e-4)
    assert loss == np.float32(loss) and f.pack(*POINT).dtype == np.float32
    assert f.bind(X.astype("f4"), Y.astype("f4"))(f.pack(*POINT))[1].dtype == np.float32
    assert not JIT or str(f.kernel_signature[0]) == "array(float32, 1d, C)"


# What it shows


def test_source_is_what_runs(curve: CompiledGrad) -> None:
    assert curve.source.startswith('"""loss(a, rate, c; x, y) = mean((a*exp(-rate*x) + c - y)**2)')
    assert re.search(r"d_residual = 2.0 \* residual +# dL/dresidual", curve.source)
    file = Path(inspect.getsourcefile(getattr(curve.kernel, "py_func", curve.kernel)) or "")
    assert file.read_text() == curve.source
    assert "operations for the loss" in curve.source and "Rewrites: none." in curve.source


def test_functions_are_shared_between_value_and_gradient() -> None:
    f = fresh(sp.sin(w * x) * sp.cos(w * x) + sp.exp(w) * sp.tanh(w), [w])
    for name in ("sin", "cos", "exp", "tanh"):
        assert len(re.findall(rf"\b{name}\(", without_comments(f.source))) == 1
    assert f.check(0.7, 1.3).error < 1e-12


def without_comments(source: str) -> str:
    """The code of a generated module, without its header."""
    return re.sub(r"#.*", "", source.split('"""', 2)[2])


def test_integer_and_half_integer_powers_need_no_pow() -> None:
    powers = [sp.Integer(k) for k in (2, 3, 7, 20, -1, -5)] + [sp.Rational(k, 2) for k in (1, 3, 7, -1, -3)]
    f = fresh(sum(k * w**p for k, p in enumerate(powers, 1)), [w])
    assert "power(" not in f.source
    assert f.check(1.3).error < 1e-12
    assert "power(" in fresh(w**b, [w, b]).source


@pytest.mark.parametrize(
    "loss",
    [w**b, sp.sqrt(w) / b, sp.exp(w * b) * sp.log(w), sp.sin(w) / sp.cos(b), sp.atan2(w, b),
     sp.Mul(w, b, w + b, w - b), sp.tanh(w) ** 5 * b, w * b, w + b, 1 / (w * b),
     sp.Max(w, b) * sp.Min(w, 2 * b), w**b + b**w],
)  # fmt: skip
def test_the_gradient_costs_at_most_four_losses(loss: sp.Expr) -> None:
    cost = fresh(loss, [w, b]).cost
    assert 0 < cost.loss <= cost.loss_and_gradient <= 4 * cost.loss
    assert cost.bytes_per_sample == 0


def test_cost_of_a_sample(curve: CompiledGrad) -> None:
    assert curve.cost.bytes_per_sample == 16
    assert 1.0 < curve.cost.ratio < 2.0


def test_graph_and_rewrites() -> None:
    f = fresh(sp.log(1 + sp.exp(w * x)), [w])
    assert [str(r.rule) for r in f.rewrites] and "softplus" in f.rewrites[0].after
    assert f"{f.rewrites[0].before} -> {f.rewrites[0].after}" in f.source
    assert f(1.0, 1000.0)[0] == 1000.0
    literal = fresh(sp.log(1 + sp.exp(w * x)), [w], stabilize=False)
    assert literal.rewrites == [] and literal(1.0, 1000.0)[0] == math.inf
    leaves = {a.leaf: v for a, v in zip((*f.problem.params, *f.problem.inputs), (0.3, 0.7), strict=True)}
    for roots in f.graph:
        assert evaluate(roots[:1], leaves)[0] == pytest.approx(math.log1p(math.exp(0.21)), rel=1e-15)
    assert f.graph._fields == ("read", "stabilized", "differentiated", "simplified")


def test_gradients_as_expressions() -> None:
    f = fresh(w**2 * sp.sin(b) + x * w, [w, b])
    assert sp.simplify(f.gradients.w - (2 * w * sp.sin(b) + x)) == 0
    assert sp.simplify(f.gradients.b - w**2 * sp.cos(b)) == 0


def test_how_it_presents_itself(curve: CompiledGrad, board: CompiledGrad) -> None:
    assert repr(board) == "<board(w, x, y): (w*x - y)**2>"
    assert repr(curve) == "<curve(a, rate, c, x, y): mean((a*exp(-rate*x) + c - y)**2)>"
    assert "CompiledGrad(w)" in repr(fresh(w**2, [w]))
    assert board._repr_latex_() == r"$\left(w \, x - y\right)^{2}$"
    assert curve._repr_latex_().startswith(r"$\operatorname{mean}\left(\left(a \, \exp")
    assert str(inspect.signature(board)) == "(w, x, y)"
    assert inspect.signature(curve) == curve.signature


# Names


def test_names_that_are_no_identifiers() -> None:
    symbols = sp.symbols(r"lambda import \alpha_{1} x'", cls=sp.Symbol)
    f = fresh(sum(k * s**2 for k, s in enumerate(symbols, 1)), list(symbols))
    loss, grads = f(1.0, 2.0, 3.0, 4.0)
    assert grads._asdict() == {"lambda_": 2.0, "import_": 8.0, "alpha_1": 18.0, "x_prime": 32.0}
    assert loss == 1 + 8 + 27 + 64
    assert f(lambda_=1.0, import_=2.0, alpha_1=3.0, x_prime=4.0)[0] == loss


TAKEN = "theta grad n i lo hi start stop sums tree total total_2 out values samples samples_2 kernel jit min range exp"


@pytest.mark.parametrize("role", ["params", "inputs", "data"])
def test_names_that_generated_code_uses_itself(role: str) -> None:
    symbols = sp.symbols(TAKEN)
    loss = (sum(k * s for k, s in enumerate(symbols, 1)) - mean(x) * sp.exp(w)) ** 2
    params = [w] if role != "params" else [w, *symbols]
    f = fresh(loss, params, data=[x, *(symbols if role == "data" else ())])
    values = {str(s): X * k if role == "data" else float(k) for k, s in enumerate(symbols, 1)}
    assert set(values) <= set(f.signature.parameters)
    args = {name: values.get(name, 0.5 if name == "w" else X) for name in f.signature.parameters}
    r = sum(k * values[str(s)] for k, s in enumerate(symbols, 1)) - X.mean() * math.exp(0.5)
    found = f(args=args)
    assert found[0] == pytest.approx(np.mean(r**2), rel=1e-12)
    assert found[1].w == pytest.approx(np.mean(-2 * r) * X.mean() * math.exp(0.5), rel=1e-12)


def test_names_that_collide_once_they_are_identifiers() -> None:
    f = fresh(sp.Symbol("x_1") * sp.Symbol("x_{1}") * w, [w])
    assert str(f.signature) == "(w, *, x_1, x_1_2)"
    assert f(2.0, x_1=3.0, x_1_2=5.0) == (30.0, (15.0,))


# What it survives


def test_pickling_and_copying(curve: CompiledGrad, board: CompiledGrad) -> None:
    for f, args in ((curve, (*POINT, X, Y)), (board, (2.0, 3.0, 10.0)), (curve.loss, (*POINT, X, Y))):
        again = pickle.loads(pickle.dumps(f))
        assert again.source == f.source and repr(again) == repr(f)
        assert again(*args) == f(*args)
        assert copy.copy(f) is f and copy.deepcopy(f) is f


def run(code: str, *args: str, **environment: str) -> str:
    """What a new process prints."""
    root = str(Path(__file__).resolve().parent.parent)
    env = {**os.environ, "PYTHONPATH": root, **environment}
    done = subprocess.run([sys.executable, "-c", code, *args], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done.stdout


ALONE = """
import sys
sys.modules["gradcompile"] = None  # whoever imports it now fails
import mpmath
import numpy as np
sys.path.insert(0, sys.argv[1])
import saved
x = np.linspace(0.1, 3.0, 130)
grad = np.empty(3)
loss = saved.kernel(np.array([1.9, 1.2, 0.4]), grad, x, np.load(sys.argv[1] + "/y.npy"))
print(loss.hex(), *(g.hex() for g in grad.tolist()))
"""


def test_a_saved_module_gives_the_same_bits_without_the_package(curve: CompiledGrad, tmp_path: Path) -> None:
    curve.save(tmp_path / "saved.py")
    np.save(tmp_path / "y.npy", Y)
    loss, grads = curve(*POINT, X, Y)
    cache = str(tmp_path / "numba")
    assert run(ALONE, str(tmp_path), PYTHONPATH="", NUMBA_CACHE_DIR=cache).split() == [v.hex() for v in (loss, *grads)]


UNPICKLE = """
import pickle, sys
import mpmath
import numpy as np
f = pickle.loads(bytes.fromhex(sys.stdin.read() if len(sys.argv) < 2 else open(sys.argv[1]).read()))
x = np.linspace(0.1, 3.0, 130)
loss, grads = f(1.9, 1.2, 0.4, x, 2.0 * np.exp(-1.3 * x) + 0.5)
print(loss.hex(), *(g.hex() for g in grads))
"""


def test_another_process_gives_the_same_bits(curve: CompiledGrad, tmp_path: Path) -> None:
    (tmp_path / "pickle").write_text(pickle.dumps(curve).hex())
    loss, grads = curve(*POINT, X, Y)
    assert run(UNPICKLE, str(tmp_path / "pickle")).split() == [v.hex() for v in (loss, *grads)]
    plain = run(UNPICKLE, str(tmp_path / "pickle"), NUMBA_DISABLE_JIT="1").split()
    assert [float.fromhex(v) for v in plain] == pytest.approx([loss, *grads], rel=1e-12)


def test_the_kernel_inside_compiled_code(curve: CompiledGrad) -> None:
    import numba

    @numba.njit
    def descend(kernel: Any, theta: Any, columns: Any, steps: int, rate: float) -> float:
        grad = np.empty_like(theta)
        loss = 0.0
        for _ in range(steps):
            loss = kernel(theta, grad, columns[0], columns[1])
            theta -= rate * grad
        return loss

    theta = np.array(POINT)
    first = curve.flat(theta, X, Y)[0]
    last = descend(curve.kernel, theta, (X, Y), 200, 0.1)
    assert last < first / 2
    assert last > curve.flat(theta, X, Y)[0] > 0.0


def test_inputs_are_not_changed_and_nothing_warns(curve: CompiledGrad, recwarn: pytest.WarningsRecorder) -> None:
    column, target = X.copy(), Y.copy()
    curve(*POINT, column, target)
    assert np.array_equal(column, X) and np.array_equal(target, Y)
    f = fresh(sp.log(w) / sp.sqrt(b) + w ** (b / 3), [w, b])
    for values in ((0.0, 0.0), (-1.0, -1.0), (math.inf, 0.0), (1e300, 1e300)):
        f(*values)
    assert all(math.isnan(v) for v in fresh(w * x, [w])(math.nan, 1.0)[:1])
    assert not recwarn.list


@pytest.mark.parametrize(("power", "point"), [(-20, 1e10), (-20, 1e-8), (-3, 1e60), (-3, 1e-60), (-2, 3.0)])
def test_negative_powers_have_gradients_over_their_whole_range(power: int, point: float) -> None:
    x = sp.Symbol("x")
    f = compile_grad(x**power, [x])
    with mpmath.workdps(30):
        expected = float(power * mpmath.mpf(point) ** (power - 1))
    (gradient,) = evaluate(f.graph.simplified[1:], {f.problem.params[0].leaf: point})
    assert gradient == pytest.approx(expected, rel=1e-13)


def test_a_custom_function_is_checked_in_doubles() -> None:
    x = sp.Symbol("x")
    cube = custom("cube", lambda v: v * v * v, [lambda v: 3 * v**2])
    assert compile_grad(cube(x), [x], cache=False).check(1.3).error < 1e-8


def test_log_of_one_minus_exp_is_accurate_in_both_ranges() -> None:
    x = sp.Symbol("x")
    f = compile_grad(sp.log(1 - sp.exp(x)), [x])
    for point in (-40.0, -1e-10, -0.7, -0.6):
        with mpmath.workdps(40):
            expected = float(mpmath.log(-mpmath.expm1(point)))
        (value,) = evaluate(f.graph.simplified[:1], {f.problem.params[0].leaf: point})
        assert value == pytest.approx(expected, rel=1e-14)
