"""SymPy expressions become graphs: each head has the value that SymPy gives it, and arguments are found and named."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy.codegen import cfunctions, numpy_nodes

from gradcompile import compile_grad
from gradcompile.analysis.evaluate import evaluate
from gradcompile.frontend import functions
from gradcompile.frontend.sympy.convert import convert, read
from gradcompile.frontend.sympy.custom import custom, custom_source
from gradcompile.frontend.sympy.to_sympy import to_sympy
from gradcompile.ir.core import apply, const, leaf
from gradcompile.ir.graph import topological, verify
from gradcompile.ir.types import ArrayType
from gradcompile.signature.arguments import Problem
from gradcompile.signature.names import Namer, identifier
from tests.work import growth

x, y, z, t = sp.symbols("x y z t")
POINT = {x: 0.7, y: 1.3, z: -0.4}


def value(expr: Any, point: dict[Any, float] = POINT) -> float:
    """The value of an expression's graph."""
    leaves = {s: leaf(s.name) for s in point}
    (root,) = convert([expr], leaves)
    verify([root], "reading")
    return float(evaluate([root], {n: point[s] for s, n in leaves.items()})[0])


def ops(problem: Problem) -> list[str]:
    return [n.op.name for n in topological([problem.primal])]


HEADS = [
    x + y + z, x - y, 3 * x - 2 * y + 1, -x, x * y / z, 2 * x / (3 * y), x**2, x**-3, x**7,
    x**sp.Rational(3, 2), x**sp.Rational(-1, 2), x**sp.Rational(1, 3), y ** sp.Rational(-2, 3), x**2.0, x**0.5,
    x**0.3, x**y, y**z, 2**x, 10**x, sp.pi**x, x ** (-y), x**64, x**-101, sp.exp(x), sp.exp(-x * y),
    sp.Pow(sp.E, x, evaluate=False), sp.E**x, sp.log(x), sp.log(x, 3), sp.sqrt(x), sp.cbrt(y),
    sp.real_root(z, 3), sp.real_root(sp.Symbol("x", real=True), 3), sp.sin(x), sp.cos(x), sp.tan(x), sp.cot(x),
    sp.sec(x), sp.csc(x), sp.asin(x), sp.acos(x), sp.atan(x), sp.atan2(z, x), sp.acot(x), sp.acot(z),
    sp.asec(y), sp.acsc(y), sp.sinh(x), sp.cosh(x), sp.tanh(x), sp.coth(x), sp.sech(x), sp.csch(x), sp.asinh(x),
    sp.acosh(y), sp.atanh(x), sp.acoth(y), sp.asech(x), sp.acsch(x), sp.Abs(z), sp.sign(z), sp.Max(x, y, z),
    sp.Max(x, 1), sp.Min(x, y, z, 0), sp.floor(z), sp.ceiling(y), sp.frac(y), sp.frac(z), sp.Mod(z, x),
    sp.Mod(y, 1), sp.Heaviside(x), sp.Heaviside(z, 1), sp.Piecewise((x, x > 1), (y, z < 0), (z, True)),
    sp.Piecewise((x, sp.And(x > 0, y > 0)), (y, True)), sp.Piecewise((x, sp.Or(x < 0, y < 0)), (y, True)),
    sp.Piecewise((x, sp.Not(sp.Eq(x, y))), (y, True)), sp.Piecewise((x, sp.Xor(x > 0, y > 0)), (y, True)),
    sp.Piecewise((x, sp.Ne(x, y) & (x <= y)), (y, True)),
    sp.Piecewise((x, sp.ITE(x > y, z > 0, z < 0)), (y, True)),
    sp.Piecewise((x, sp.Implies(x > y, z > 0)), (y, True)), sp.Piecewise((1, x >= y), (2, True)), sp.erf(x),
    sp.erfc(x), sp.gamma(y), sp.loggamma(y), sp.digamma(y), sp.polygamma(2, y), sp.trigamma(y), sp.beta(x, y),
    sp.factorial(x), sp.sinc(x), sp.LambertW(x), sp.LambertW(-x / 4, -1), sp.besselj(2, x), sp.bessely(1, x),
    sp.besseli(0, x), sp.besselk(3, x), sp.besselj(-1, x), sp.Rational(1, 3) * x, sp.Float("0.1") * x,
    sp.pi * x, sp.E * x, sp.EulerGamma + x, sp.Catalan * x, sp.GoldenRatio * x, cfunctions.log1p(x),
    cfunctions.expm1(x), cfunctions.log2(x), cfunctions.log10(x), cfunctions.exp2(x), cfunctions.hypot(x, y),
    cfunctions.Cbrt(y), cfunctions.Sqrt(x), cfunctions.fma(x, y, z), numpy_nodes.logaddexp(x, y),
    sp.UnevaluatedExpr(x + y) * z, sp.Sum(x**t, (t, 0, 4)), sp.Product(x + t, (t, 1, 3)),
    sp.Sum(x * t, (t, 3, 2)), sp.Subs(sp.sin(t) * x, t, y), sp.Derivative(sp.sin(x) * y, x),
    sp.Sum(sp.Sum(x**t * y**z, (z, 0, t)), (t, 0, 3)).subs(z, z), sp.Subs(sp.Derivative(sp.sin(t), t), t, x),
    sp.Matrix([x, y]).norm(), sp.Matrix([[x, y], [z, 2]]).det(), sp.Matrix([[x, y], [z, 2]]).inv()[0, 1],
    sp.Trace(sp.ImmutableMatrix([[x, y], [z, 2]])), sp.Determinant(sp.ImmutableMatrix([[x, y], [z, 2]])),
    sp.Matrix([x, y]).dot(sp.Matrix([z, x])),
    sp.DotProduct(sp.ImmutableMatrix([x, y]), sp.ImmutableMatrix([z, x])), functions.sigmoid(x),
    functions.softplus(z), functions.relu(z), functions.log_sigmoid(x), functions.where(x > y, x, y),
]  # fmt: skip


REWRITTEN = {cfunctions.Cbrt(y): sp.cbrt(y), cfunctions.Sqrt(x): sp.sqrt(x), cfunctions.fma(x, y, z): x * y + z}


@pytest.mark.parametrize("expr", HEADS, ids=lambda e: str(e)[:60])
def test_each_head_has_the_value_that_sympy_gives_it(expr: Any) -> None:
    plain = {x: POINT[x], y: POINT[y], z: POINT[z], sp.Symbol("x", real=True): POINT[x]}
    expected = complex(REWRITTEN.get(expr, expr).doit().subs(plain).evalf())
    assert abs(expected.imag) < 1e-12
    point = POINT if sp.Symbol("x", real=True) not in expr.free_symbols else {sp.Symbol("x", real=True): POINT[x]}
    assert value(expr, point) == pytest.approx(expected.real, rel=1e-13, abs=1e-15)


def test_real_roots_become_cube_roots() -> None:
    assert value(sp.real_root(x, 3), {x: -8.0}) == pytest.approx(-2.0, rel=1e-15)
    assert value(cfunctions.Cbrt(x), {x: -8.0}) == pytest.approx(-2.0, rel=1e-15)
    assert math.isnan(value(sp.cbrt(x), {x: -8.0}))
    assert "cbrt" in ops(read(sp.real_root(x, 3), [x])) and "pow" not in ops(read(sp.real_root(x, 3), [x]))


def test_edges() -> None:
    assert value(sp.Heaviside(x), {x: 0.0}) == 0.5 and value(sp.Heaviside(x, 1), {x: 0.0}) == 1.0
    assert value(sp.sinc(x), {x: 0.0}) == 1.0
    assert math.isnan(value(sp.Piecewise((x, x > 1)), {x: 0.0}))
    assert math.isnan(value(functions.relu(x), {x: math.nan})) and value(sp.acot(x), {x: 0.0}) == math.pi / 2
    assert value(sp.beta(x, y), {x: 100.0, y: 200.0}) == pytest.approx(float(sp.beta(100, 200).evalf()), rel=1e-11)
    assert value(sp.ITE(sp.Symbol("x"), sp.Symbol("y"), sp.Symbol("z"))) == POINT[y]
    assert value(sp.oo + sp.Integer(0)) == math.inf


def test_numbers_are_correctly_rounded() -> None:
    assert value(sp.Rational(1, 3)) == 1 / 3
    assert value(sp.pi) == math.pi and value(sp.E) == math.e
    assert value(sp.Float("0.1", 50)) == 0.1
    assert value(sp.Integer(2**53 + 1)) == float(2**53 + 1)
    assert value(sp.Float("5e-324", 30)) == 5e-324


def test_integer_and_half_integer_powers_are_products() -> None:
    assert "pow" not in ops(read(x**9 + x**-4 + x**3.0 + x**100, [x]))
    halves = x ** sp.Rational(5, 2) + x ** sp.Rational(-7, 2) + x**1.5
    assert "power(" not in compile_grad(halves, [x]).source


def test_even_powers_of_a_magnitude_are_powers_of_the_value() -> None:
    assert "abs" not in ops(read(sp.Matrix([x, y]).norm(), [x]))


def test_negative_powers_share_one_division() -> None:
    assert ops(read(x / (y * z**2), [x])).count("div") == 1


def test_scalar_factors_and_terms_leave_the_loop_over_the_samples() -> None:
    a, b = sp.symbols("a b")
    problem = read(2 * a * x * b * y / z + a + b + 1, [a, b], data=[x, y])
    wide = [n for n in topological([problem.primal]) if n.type.shape and n.op.name in ("mul", "div", "add")]
    assert len(wide) == 3  # x*y, its product with the scalar factor, the sum with the scalar terms


def test_a_difference_starts_with_what_is_added() -> None:
    (root,) = convert([x * y - z], {s: leaf(s.name) for s in (x, y, z)})
    assert [a.op.name for a in root.args] == ["mul", "neg"]


# Arguments


def names(problem: Problem) -> list[str]:
    return [a.name for a in (*problem.params, *problem.inputs)]


def test_inputs_default_to_data_and_the_rest_in_natural_order() -> None:
    x2, x10, b = sp.symbols("x2 x10 b")
    assert names(read(x10 + x2 * b * x + y, [b], data=[y, x])) == ["b", "y", "x", "x2", "x10"]
    assert names(read(x10 + x2 * b, [b], inputs=[x10, x2])) == ["b", "x10", "x2"]
    assert names(read(x10 * y + x2 * b, [b], inputs=[x10, x2], data=[y])) == ["b", "y", "x10", "x2"]
    assert names(read(x10 * y + x2 * b, [b], inputs=[x10, y, x2], data=[y])) == ["b", "x10", "y", "x2"]


def test_a_single_parameter_is_bare() -> None:
    assert read(x**2, x).bare and not read(x**2, [x]).bare and not read(x**2, {"x": x}).bare
    w = sp.IndexedBase("w")
    assert read(w[0] * w[3], w).bare and read(w[0] * w[3], w).params[0].leaf.type.shape == (4,)


def test_arrays_of_symbols() -> None:
    a, b, c, d = sp.symbols("a b c d")
    m = sp.Matrix([[a, b], [c, d]])
    problem = read(m.det() * x, [x, [[a, b], [c, d]]])
    assert names(problem) == ["x", "p1"] and problem.params[1].leaf.type.shape == (2, 2)
    assert problem.params[1].entries == (("a", "b"), ("c", "d"))
    assert names(read(m.det(), {"m": m})) == ["m"] and read(m.det(), m).bare
    env = dict.fromkeys([problem.params[0].leaf], 2.0) | {problem.params[1].leaf: np.array([[1.0, 2.0], [3.0, 5.0]])}
    assert evaluate([problem.primal], env)[0] == -2.0
    assert {str(s) for s in problem.symbols.values()} == set("xabcd")


def test_indexed_and_matrix_symbols_are_one_array() -> None:
    w, m = sp.IndexedBase("W"), sp.MatrixSymbol("M", 3, 2)
    problem = read(w[2, 3] * m[1, 1] * x, [w], inputs=[m, x])
    assert problem.params[0].leaf.type.shape == (3, 4) and problem.inputs[0].leaf.type.shape == (3, 2)
    assert problem.names[next(n for n in topological([problem.primal]) if n.op.name == "item")].startswith(
        ("W_2_3", "M_1_1")
    )
    assert names(read(w[2] * x, [x])) == ["x", "W"]
    sums = read(sp.Sum(w[t] ** 2, (t, 0, 4)), [w])
    assert evaluate([sums.primal], {sums.params[0].leaf: np.arange(5.0)})[0] == 30.0
    fixed = sp.IndexedBase("F", shape=(7,))
    assert read(fixed[1] * x, [fixed]).params[0].leaf.type.shape == (7,)


def test_data_of_several_columns() -> None:
    xs = sp.symbols("x:3")
    w = sp.Symbol("w")
    for data in ({"x": xs}, {"x": sp.Matrix(xs)}):
        problem = read(w * sum(xs) - y, [w], data={**data, "y": y})
        assert names(problem) == ["w", "x", "y"]
        assert problem.inputs[0].leaf.type == ArrayType(("n", 3)) and problem.inputs[0].original == "x"
        env = {problem.params[0].leaf: 2.0, problem.inputs[0].leaf: np.ones((2, 3)), problem.inputs[1].leaf: [1.0, 3.0]}
        assert evaluate([problem.primal], env)[0] == 4.0
    base = sp.IndexedBase("X")
    assert read(w * base[0] + base[4], [w], data=[base]).inputs[0].leaf.type == ArrayType(("n", 5))


def test_reduction() -> None:
    w = sp.Symbol("w")

    def result(loss: Any, **kw: Any) -> Any:
        problem = read(loss, [w], data=[x], **kw)
        return np.asarray(
            evaluate([problem.primal], {problem.params[0].leaf: 2.0, problem.inputs[0].leaf: [1.0, 3.0]})[0]
        )

    assert result(w * x) == 4.0 and result(w * x, reduce="sum") == 8.0
    assert list(result(w * x, reduce=None)) == [2.0, 6.0]
    assert result(functions.mean(w * x) + w**2) == 8.0 and result(functions.total(w * x) + w**2) == 12.0
    assert result((x - functions.mean(x)) ** 2 * w) == 2.0
    assert result(functions.mean((x - functions.mean(x)) ** 2) * w) == 2.0


def test_float32() -> None:
    problem = read(functions.mean(x * y) / 3, [y], data=[x], dtype="float32")
    assert {n.type.dtype for n in topological([problem.primal])} == {"float32"}


def test_functions_of_time_stand_for_symbols() -> None:
    from sympy.physics.mechanics import dynamicsymbols

    q = dynamicsymbols("q")
    time_ = dynamicsymbols._t
    speed = q.diff(time_)
    problem = read(speed**2 - sp.cos(q) * x, [q, speed])
    assert names(problem) == ["q", "dq_dt", "x"]
    f = sp.Function("f")(t)
    assert names(read(sp.Derivative(f**2, t) * x, [x], inputs=[f, f.diff(t)])) == ["x", "f", "df_dt"]
    assert names(read(sp.Derivative(f, t, t) * t, [t], inputs=[sp.Derivative(f, t, t)])) == ["t", "d2f_dt2"]


def test_names_that_python_cannot_use() -> None:
    odd = [sp.Symbol(s) for s in (r"\alpha_{1}", "alpha_1", "_x", "lambda", "import", "x", "μ", "1", r"\hat{y}")]
    assert names(read(sum(odd), odd)) == ["alpha_1_2", "alpha_1", "x_2", "lambda_", "import_", "x", "μ", "v1", "haty"]


def test_namer_keeps_clear_of_reserved_names() -> None:
    fresh = Namer({"theta", "n"})
    assert [fresh(s) for s in ("n", "theta", "n", "i")] == ["n_2", "theta_2", "n_3", "i"]
    assert identifier("") == "v" and identifier("__") == "v" and identifier("a b") == "a_b"


def test_dummies_of_one_name_are_two_arguments() -> None:
    a, b = sp.Dummy("u"), sp.Dummy("u")
    assert names(read(a * b, [a, b])) == ["u", "u_2"]


def test_unused_symbols_can_be_allowed() -> None:
    problem = read(x**2, [x, y], data=[z], allow_unused=True)
    assert names(problem) == ["x", "y", "z"]


# Depth and sharing


def nested(levels: int) -> sp.Expr:
    """An expression of so many levels."""
    with sp.evaluate(False):
        deep = x
        for k in range(levels):
            deep = sp.sin(deep) + 1 if k % 2 else deep * y
    return deep


def test_a_deep_expression_is_read_in_linear_time() -> None:
    def job(levels: int) -> Callable[[], Problem]:
        deep = nested(levels)
        return lambda: read(deep, [x])

    assert growth(job, 300) < 5
    problem = read(nested(3_000), [x])
    assert len(topological([problem.primal])) > 4_200 and len(problem.formula) <= 200


def test_sharing_is_read_once() -> None:
    with sp.evaluate(False):
        shared = x
        for k in range(60):
            shared = shared + shared if k % 2 else sp.sin(shared) * shared
    problem = read(shared, [x])
    assert len(topological([problem.primal])) == 91 and len(problem.formula) <= 200


# Functions of the package


def test_package_functions_differentiate_and_evaluate_in_sympy() -> None:
    for f in (functions.sigmoid, functions.softplus, functions.log_sigmoid, functions.relu):
        slope = (f(x + 1e-6).subs(x, 0.3).evalf() - f(x - 1e-6).subs(x, 0.3).evalf()) / 2e-6
        assert float(f(x).diff(x).subs(x, 0.3).evalf()) == pytest.approx(float(slope), rel=1e-8)


SCALE = 3.0


def cubed(u: float) -> float:
    """SCALE * u**3, plainly."""
    v = u * u
    return SCALE * u * v


def test_custom_functions() -> None:
    cube = custom("cube", cubed, [lambda u: 9 * u**2])
    assert custom("cube", cubed, [lambda u: 9 * u**2]).op_name == cube.op_name
    assert value(cube(x) + 1) == pytest.approx(3 * 0.7**3 + 1)
    assert custom_source(cube.op_name) == (f"def {cube.op_name}(u):\n    v = u * u\n    return 3.0 * u * v")
    n = apply(cube.op_name, leaf("u"))
    (partial,) = n.op.partials(n)  # type: ignore[misc]
    assert evaluate([partial], {leaf("u"): 2.0})[0] == 36.0
    assert sp.diff(cube(x), x) == 9 * x**2 and to_sympy([n], {leaf("u"): x}) == [cube(x)]


def test_custom_lambdas_on_one_line_are_told_apart() -> None:
    pair = [custom("up", lambda a, b: math.exp(a) * b, [lambda a, b: up(a, b), lambda a, b: sp.exp(a)]), custom("down", lambda a, b: np.exp(-a) * b, [lambda a, b: -b * sp.exp(-a), lambda a, b: sp.exp(-a)])]  # noqa: E501  # fmt: skip
    up, down = pair
    assert "math.exp(a) * b" in custom_source(up.op_name)
    assert "np.exp(-a) * b" in custom_source(down.op_name)
    n = apply(up.op_name, leaf("a"), leaf("b"))
    assert n.op.partials(n)[0] is n  # type: ignore[index]
    assert value(down(x, y)) == pytest.approx(math.exp(-0.7) * 1.3)


# Back to SymPy

ROUND_TRIP = [
    x * y - z, sp.sin(x) / y**2, sp.exp(-x) * sp.Max(x, y), sp.Piecewise((x, x < y), (z, True)),
    sp.besselj(2, x), sp.cbrt(y), sp.LambertW(x), sp.Mod(x, y), sp.log(x) + sp.pi, sp.polygamma(1, y),
    sp.beta(x, y), 2**x, sp.Heaviside(x), sp.real_root(z, 3), functions.sigmoid(x), sp.atan2(x, y),
    cfunctions.hypot(x, y), sp.frac(y), sp.Abs(z), sp.sign(z), sp.erfc(x), sp.loggamma(y), sp.ceiling(x),
    functions.softplus(z),
]  # fmt: skip


@pytest.mark.parametrize("expr", ROUND_TRIP, ids=lambda e: str(e)[:60])
def test_graphs_are_written_back_as_sympy(expr: Any) -> None:
    leaves = {s: leaf(s.name) for s in POINT}
    (back,) = to_sympy(convert([expr], leaves), {n: s for s, n in leaves.items()})
    assert float(sp.sympify(back).subs(POINT).evalf()) == pytest.approx(value(expr), rel=1e-13)


def test_sums_over_samples_are_written_as_means_and_totals() -> None:
    problem = read((x * y) ** 2, [y], data=[x])
    assert to_sympy([problem.primal], problem.symbols) == [functions.mean(x**2 * y**2)]
    assert to_sympy([const(0.5), const(math.inf)], {}) == [sp.Rational(1, 2), sp.oo]


@pytest.mark.parametrize("number", ["acos(tanh(7))", "sqrt(2) - 1414213562373/10**12", "log(1 + 1/10**12)", "exp(pi)"])
def test_numbers_are_rounded_once(number):
    exact = sp.sympify(number)
    (node,) = convert([exact * sp.Symbol("x")], {sp.Symbol("x"): leaf("x")})
    assert [n.value for n in node.args if n.op.name == "const"] == [float(exact.evalf(30))]
