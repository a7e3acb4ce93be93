"""Special functions in formulas and of arrays: values against mpmath and SciPy, gradients against differences."""

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
import sympy as sp

import gradcompile as gc
from gradcompile import linalg, signal, special
from gradcompile.errors import ExpressionError
from gradcompile.library import special as library
from tests import calls

w, v = sp.symbols("w v")
FORMULAS = {
    sp.Ei(w): [0.7, 30.0], sp.expint(1, w): [0.2, 40.0], sp.expint(3, w): [0.2, 40.0], sp.li(w + 1): [0.7, 1e6],
    sp.Si(w): [0.3, 200.0], sp.Ci(w): [0.3, 20.0], sp.Shi(w): [0.3, 20.0], sp.Chi(w): [0.9, 20.0],
    sp.erfinv(w / 30): [0.3, 29.99], sp.erfi(w): [0.3, 5.0],
    sp.lowergamma(2.5, w): [0.3, 40.0], sp.uppergamma(2.5, w): [0.3, 40.0],
    sp.lowergamma(w, 2): [0.7, 9.0], sp.fresnels(w): [0.3, 3.0], sp.fresnelc(w): [0.3, 3.0],
    sp.elliptic_k(w / 10): [0.3, 9.0], sp.elliptic_e(w / 10): [0.3, 9.0], sp.elliptic_f(w / 10, 0.4): [0.3, 9.0],
    sp.elliptic_e(w / 10, 0.4): [0.3, 9.0], sp.airyai(w): [0.3, 9.0], sp.airybi(w): [0.3, 9.0],
    sp.jn(2, w): [0.5, 9.0], sp.yn(1, w): [0.5, 9.0], sp.zeta(w + 1): [0.5, 30.0], sp.zeta(3, w): [0.5, 30.0],
    sp.polylog(2, w / 20 - 1): [0.5, 9.0], sp.harmonic(w): [0.5, 90.0], sp.harmonic(w, 2): [0.5, 90.0],
    sp.hyper((1, 2), (3.5,), w / 20): [0.5, 9.0], sp.hyper((1.5,), (2.5,), w / 20): [0.5, 9.0],
    sp.betainc_regularized(2, 3, 0, w / 10): [0.5, 9.0], sp.dirichlet_eta(w + 1): [0.5, 9.0],
}  # fmt: skip


def test_formulas():
    """One compiled function has them all."""
    f = gc.compile_value(list(FORMULAS), [w])
    at = {x for places in FORMULAS.values() for x in places}
    found = {x: f(x) for x in at}
    for k, (e, places) in enumerate(FORMULAS.items()):
        for x in places:
            want = float(sp.N(e.subs(w, sp.Float(x, 40)), 20))
            assert found[x][k] == pytest.approx(want, rel=2e-12, abs=1e-300), (e, x)


@pytest.mark.parametrize("e", [e for e in FORMULAS if not e.has(sp.lowergamma(w, 2))], ids=str)
def test_gradients(e):
    x = FORMULAS[e][0]
    up, down = (e.subs(w, sp.Float(x + step, 40)) for step in (1e-9, -1e-9))
    want = float(sp.N((up - down) / sp.Float((x + 1e-9) - (x - 1e-9), 40), 20))
    assert gc.compile_grad(e, [w])(x)[1][0] == pytest.approx(want, rel=1e-6)


def test_what_has_no_derivative_is_refused():
    with pytest.raises(ExpressionError, match=r"hyp1f1 .* has no derivative by its argument 1"):
        gc.compile_grad(sp.hyper((w,), (3,), 0.5), [w])(2.0)
    with pytest.raises(ExpressionError, match="polylog"):
        gc.compile_grad(sp.polylog(3, w), [w])


SIZES = (-0.12, -0.05, 0.03, 0.12)  # of a and b beside x


@pytest.mark.parametrize("b", SIZES)
@pytest.mark.parametrize("a", SIZES)
def test_hyp1f1_beyond_the_range_of_floats_is_an_infinity_of_its_sign(a, b, monkeypatch):
    monkeypatch.setattr(library, "FAR", 1000.0)
    for x in (2003.0, 4010.0):
        with mpmath.workdps(50):
            expected = mpmath.hyp1f1(a * x, b * x, x, maxprec=100_000)
        found = library.hyp1f1.py_func(a * x, b * x, x)
        assert (np.sign(found), np.isinf(found)) == (mpmath.sign(expected), True)


def test_hyp1f1_is_not_known_where_its_sign_turns_again_and_again():
    assert np.isnan(library.hyp1f1(-4e8 + 0.3, 4e8, 2e9))


@pytest.mark.parametrize("a", [1e5, 1e6, 1e8, 1e10])
def test_derivatives_by_a_large_shape_have_digits_or_are_nan(a):
    """Of the normal distribution that the other one tends to."""
    unknown = a > 1e9  # the series is too long
    for z in (-1.0, 0.0, 1.0):
        expected = np.nan if unknown and z <= 0 else -scipy.stats.norm.pdf(z) / np.sqrt(a)
        np.testing.assert_allclose(library.gammainc_slope(a, a + z * np.sqrt(a)), expected, 1e-3)
    expected = np.nan if unknown else -1 / np.sqrt(4 * np.pi * a)
    np.testing.assert_allclose(library.betainc_slope(a, a, 0.5, 1.0), expected, 1e-3)


BETA = [(2.0, 3.0, 0.4), (0.3, 0.2, 0.999), (40.0, 25.0, 0.6), (1e-3, 2.0, 1e-5), (700.0, 0.4, 0.9997),
        (3.0, 5.0, 1e-9), (2.0, 4000.0, 2e-4), (5.0, 1.0, 1 - 1e-12)]  # fmt: skip


@pytest.mark.parametrize("at", BETA)
def test_the_incomplete_beta_function_has_derivatives_by_its_shapes(at):
    a, b, x = gc.array("a"), gc.array("b"), gc.array("x")
    f = gc.compile_grad(scipy.special.betainc(a, b, x), [a, b, x])
    with mpmath.workdps(90):
        p, q, y = map(mpmath.mpf, at)
        h = mpmath.mpf(10) ** -25
        by_a = (mpmath.betainc(p + p * h, q, 0, y, True) - mpmath.betainc(p - p * h, q, 0, y, True)) / (2 * p * h)
        by_b = (mpmath.betainc(p, q + q * h, 0, y, True) - mpmath.betainc(p, q - q * h, 0, y, True)) / (2 * q * h)
    np.testing.assert_allclose(f(*at)[1][:2], [float(by_a), float(by_b)], rtol=5e-12)


@pytest.mark.parametrize("at", [(1e12, 0.5, 1 - 1e-12), (0.5, 1e12, 1e-12), (1e15, 1e-3, 1 - 1e-14), (2.0, 3.0, 0.4)])
def test_the_incomplete_beta_function_has_the_digits_of_a_small_shape_beside_a_large_one(at):
    a, b, x = gc.array("a"), gc.array("b"), gc.array("x")
    value = scipy.special.betainc(a, b, x)
    by_x = gc.derivative(value, x)
    mixed = gc.derivative(gc.derivative(value, a), x), gc.derivative(gc.derivative(value, b), x)
    found = gc.compile_value([by_x, *mixed], [a, b, x])(*at)
    with mpmath.workdps(60):
        p, q, y = map(mpmath.mpf, at)
        density = y ** (p - 1) * (1 - y) ** (q - 1) / mpmath.beta(p, q)
        by_a = mpmath.log(y) - mpmath.psi(0, p) + mpmath.psi(0, p + q)
        by_b = mpmath.log(1 - y) - mpmath.psi(0, q) + mpmath.psi(0, p + q)
        want = [float(density * factor) for factor in (1, by_a, by_b)]
    np.testing.assert_allclose(found, want, rtol=1e-12)
    if max(at) < 1e13:  # the slopes by the shapes: of both ends
        slopes = gc.compile_value([gc.derivative(value, a), gc.derivative(value, b)], [a, b, x])
        swapped = slopes(at[1], at[0], 1 - at[2])
        np.testing.assert_allclose(slopes(*at), [-swapped[1], -swapped[0]], rtol=3e-4)  # 1 - x is rounded


def test_gamma_functions_at_the_end_of_the_range_and_beyond():
    z, m = gc.array("z"), gc.array("m")
    f = gc.compile_value([scipy.special.rgamma(z), scipy.special.poch(z, m), scipy.special.beta(z, m)], [z, m])
    for at in (170.0, 170.9, 171.0, 171.5, 175.0):
        want = [float(mpmath.rgamma(at)), float(mpmath.rf(at, 0.5)), float(mpmath.beta(at, 0.5))]
        np.testing.assert_allclose(f(at, 0.5), want, rtol=2e-9 if at == 175.0 else 1e-11)  # which is subnormal
    big, down = 1e16, -(1e16 - 2.0)
    assert f(big, down)[1] == 0.0
    h = gc.compile_value(scipy.special.betaln(z, m), [z, m])
    assert h(2.0, 1e16) == pytest.approx(float(mpmath.log(mpmath.beta(2, 1e16))), rel=1e-14)


@pytest.mark.parametrize(("v", "t"), [(3.0, -0.7), (3.0, 1e-6), (0.4, 50.0), (1e3, 2.0), (7.0, 1e5), (2.5, 0.0)])
def test_students_distribution_has_a_derivative_by_its_degrees_of_freedom(v, t):
    d, x = gc.array("d"), gc.array("x")
    found = gc.compile_grad(scipy.special.stdtr(d, x), [d])(v, t)[1][0]
    with mpmath.workdps(60):
        u, h = mpmath.mpf(t), mpmath.mpf(v) * mpmath.mpf(10) ** -20
        tail = [mpmath.betainc(w / 2, 0.5, 0, w / (w + u * u), True) / 2 for w in (v + h, v - h)]
        want = float(-mpmath.sign(u) * (tail[0] - tail[1]) / (2 * h))
    assert found == pytest.approx(want, rel=1e-10, abs=1e-300)
    q = scipy.special.stdtr(v, -t)
    back = gc.compile_grad(scipy.special.stdtrit(d, x), [d])(v, q)[1][0]
    assert back == pytest.approx(want / scipy.stats.t.pdf(t, v), rel=1e-8, abs=1e-12)


RANGES = {  # of one or two arguments: the function in many digits, arguments, ulps of the value in either dtype
    "poch": (lambda z, m: mpmath.gamma(z + m) / mpmath.gamma(z), [(5.0, 3.0), (0.7, 1e-8), (1e6, 1.0), (1e6, 0.5),
             (30.0, 0.25), (1000.0, 3.0)], 40),
    "beta": (lambda a, b: mpmath.beta(a, b), [(0.7, 30.0), (1e-8, 5.0), (3.0, 1e-8), (25.0, 5.0), (25.0, 12.0)], 16),
    "betaln": (lambda a, b: mpmath.log(mpmath.beta(a, b)), [(1e-8, 5.0), (3.0, 7.0), (1e6, 30.0), (1e10, 1e-8)], 6),
    "binom": (mpmath.binomial, [(10.0, 3.0), (50.0, 2.0), (1e5, 2.0), (1000.0, 1e-8), (10.5, 0.5)], 16),
    "exprel": (lambda x: mpmath.expm1(x) / x, [(-40.0,), (1e-5,), (0.9,), (1.1,), (80.0,)], 4),
    "boxcox": (lambda x, p: mpmath.expm1(p * mpmath.log(x)) / p,
               [(1e-8, 3.0), (1e8, -2.0), (0.3, 1e-9), (3.0, 0.5)], 8),
    "pseudo_huber": (lambda d, r: d * d * (mpmath.sqrt(1 + (r / d) ** 2) - 1),
                     [(1.0, 1e-3), (1e5, 3.0), (1e-5, 7.0)], 4),
    "rel_entr": (lambda x, y: x * mpmath.log(x / y), [(1.0, 1.0001), (0.3, 1e-8), (1e8, 0.3)], 4),
    "rgamma": (mpmath.rgamma, [(-3.5,), (1e-8,), (20.0,)], 8),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", RANGES)
def test_values_and_derivatives_at_ordinary_and_extreme_arguments(name, dtype):
    exact, places, ulps = RANGES[name]
    at = np.array(places, dtype).T
    arrays = [gc.array(f"a{k}", at.shape[1], dtype) for k in range(len(at))]
    f = getattr(scipy.special, name)(*arrays)
    value, *slopes = gc.compile_value([f, *(gc.derivative(np.sum(f), a) for a in arrays)], arrays)(*at)
    eps = np.finfo(dtype).eps
    with mpmath.workdps(60):
        for j, point in enumerate(at.T):
            given = [mpmath.mpf(float(v)) for v in point]
            np.testing.assert_allclose(value[j], float(exact(*given)), rtol=ulps * eps, err_msg=f"{name}{point}")
            for k, slope in enumerate(slopes):
                h = abs(given[k]) * mpmath.mpf(10) ** -25
                ends = [exact(*(v + s * h if i == k else v for i, v in enumerate(given))) for s in (1, -1)]
                want = float((ends[0] - ends[1]) / (2 * h))
                np.testing.assert_allclose(slope[j], want, rtol=1e3 * eps, err_msg=f"d{k} {name}{point}")


UNARY = "erfcx erfinv dawsn exprel logit entr log_ndtr ndtri rgamma cosm1 i1e k0e ellipk expi spence gammasgn zetac"
BINARY = "betaln beta kl_div rel_entr xlog1py boxcox poch binom gammainc gammaincc huber pseudo_huber"
x, S, L = gc.array("x", 4), gc.array("S", (4, 4)), gc.array("L", (4, 4))
AT = np.array([0.2, 0.7, 1.3, 2.9])


def test_functions_of_scipy_on_arrays():
    small = x / 4
    ours = {
        "logsumexp": (
            special.logsumexp(x, b=[1.0, 2.0, 0.5, 1.0]),
            scipy.special.logsumexp(AT, b=[1.0, 2.0, 0.5, 1.0]),
        ),
        "softmax": (special.softmax(x), scipy.special.softmax(AT)),
        "multigammaln": (special.multigammaln(x + 3, 2), [scipy.special.multigammaln(a + 3, 2) for a in AT]),
        "polygamma": (special.polygamma(2, x), scipy.special.polygamma(2, AT)),
        "comb": (special.comb(x + 5, 2), scipy.special.comb(AT + 5, 2)),
        "perm": (special.perm(x + 5, 2), scipy.special.perm(AT + 5, 2)),
        "jn": (special.spherical_jn(2, x), scipy.special.spherical_jn(2, AT)),
        "lambertw": (special.lambertw(x), scipy.special.lambertw(AT).real),
        "factorial": (special.factorial(x), scipy.special.factorial(AT)),
        "zeta": (special.zeta(x + 1), scipy.special.zeta(AT + 1)),
    }
    for name in UNARY.split():
        ufunc, at = getattr(scipy.special, name), AT + 1 if name == "zetac" else AT / 4
        ours[name] = ufunc(x + 1 if name == "zetac" else small), ufunc(at)
    for name in BINARY.split():
        ufunc = getattr(scipy.special, name)
        ours[name] = ufunc(x, small + 1), ufunc(AT, AT / 4 + 1)
    ours["far betaln"] = scipy.special.betaln(1e8 * x, small), scipy.special.betaln(1e8 * AT, AT / 4)
    f = gc.compile_value([o for o, _ in ours.values()], [x])
    for (name, (_, want)), got in zip(ours.items(), f(AT), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-13, atol=1e-15, err_msg=name)
    total = sum(np.sum(o) for name, (o, _) in ours.items() if name not in ("gammasgn", "far betaln", "rgamma"))
    assert gc.compile_grad(total, [x]).check(AT).error < 1e-9


def test_linear_algebra_and_filters():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(4, 4)), rng.normal(size=4)
    s, low = a @ a.T + np.eye(4), np.tril(a) + 3 * np.eye(4)
    import scipy.linalg
    import scipy.signal

    pairs = [
        (
            linalg.solve_triangular(L, x, lower=True, trans=1),
            scipy.linalg.solve_triangular(low, b, lower=True, trans=1),
        ),
        (linalg.cho_solve(linalg.cho_factor(S), x), np.linalg.solve(s, b)),
        (linalg.eigh(S, S + np.eye(4))[0], scipy.linalg.eigh(s, s + np.eye(4))[0]),
        (linalg.toeplitz(x, 2 * x), scipy.linalg.toeplitz(b, 2 * b)),
        (linalg.hankel(x, x), scipy.linalg.hankel(b, b)),
        (linalg.circulant(x), scipy.linalg.circulant(b)),
        (linalg.solve_discrete_lyapunov(0.1 * L, S), scipy.linalg.solve_discrete_lyapunov(0.1 * low, s)),
        (linalg.qr(L, mode="economic")[1], scipy.linalg.qr(low, mode="economic")[1]),
        (signal.convolve2d(S, L[:2, :3], "same"), scipy.signal.convolve2d(s, low[:2, :3], "same")),
        (signal.correlate2d(S, L[:3, :3], boundary="wrap"), scipy.signal.correlate2d(s, low[:3, :3], boundary="wrap")),
        (signal.detrend(x), scipy.signal.detrend(b)),
        (signal.detrend(S[:1], axis=0), np.zeros((1, 4))),
        (linalg.toeplitz(S), np.stack([scipy.linalg.toeplitz(row) for row in s])),
        (linalg.block_diag(np.stack([S, L]), x), np.stack([scipy.linalg.block_diag(m, b) for m in (s, low)])),
        (linalg.circulant(x[0]), b[:1, None]),
        (signal.correlate(x[0], x[1], mode="valid"), b[0] * b[1]),
    ]
    f = gc.compile_value([o for o, _ in pairs], (), inputs=[x, S, L])
    for k, (got, (_, want)) in enumerate(zip(f(b, s, low), pairs, strict=True)):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11, err_msg=str(k))
    n = gc.array("n", ("n", 2))
    line = gc.compile_value(signal.detrend(n, axis=0), (), inputs=[n])
    for rows in (a[:1, :2], a[:, :2]):
        np.testing.assert_allclose(line(rows), scipy.signal.detrend(rows, axis=0), atol=1e-13)
    with pytest.raises(ExpressionError, match="an empty array has no windows"):
        signal.convolve(x[:0], x)


def test_bessel_functions_of_half_orders():
    """Beside a quotient they have no series in whole powers; spherical ones go through 0."""
    at = np.array([-0.9, -1e-5, 0.0, 1e-5, 0.3, 1.9, 7.0])
    z, q = gc.array("z", len(at)), gc.array("q", 2)
    names = [(name, n) for name in ("spherical_jn", "spherical_in") for n in (0, 1, 2)]
    losses = [np.sum(getattr(special, name)(n, z) ** 2) for name, n in names]
    f = gc.compile_value([gc.derivative(loss, z) for loss in losses], [z])
    for (name, n), row in zip(names, f(at), strict=True):
        ufunc = getattr(scipy.special, name)
        want = 2 * ufunc(n, at) * ufunc(n, at, derivative=True)
        np.testing.assert_allclose(row, want, rtol=1e-10, atol=1e-18, err_msg=f"{name} {n}")
    squares = np.sqrt(2.0 / q) * scipy.special.jv(2.5, q)
    g = gc.compile_value([squares, gc.derivative(np.sum(squares * squares), q)], [q])
    h = np.array([0.2, 0.9])
    j, slope = scipy.special.jv(2.5, h), scipy.special.jvp(2.5, h)
    np.testing.assert_allclose(g(h)[1], 4 * j * slope / h - 2 * j * j / h**2, rtol=1e-12)
    with pytest.raises(ExpressionError, match="one whole number"):
        special.polygamma(np.array([1, 2]), z)
    with pytest.raises(AttributeError, match=r"it has scipy\.special's ufuncs and comb"):
        special.nothing  # noqa: B018


LINES = """sp.linalg.solve(L + L.T/3, b, lower=True, assume_a="sym")
sp.linalg.solve(S - L/9, b, assume_a="upper triangular")
sp.linalg.solve(S - L/9, b, assume_a="tridiagonal", transposed=True)
sp.linalg.inv(S + L, assume_a="lower triangular")
sp.linalg.lstsq(M, b, cond=0.5)[0]
np.linalg.lstsq(M, b, rcond=0.5)[0]
sp.linalg.pinv(M, rtol=0.5, return_rank=True)
sp.signal.correlate2d(M, B[:2, :2], mode="same", boundary="fill", fillvalue=1.5)
sp.signal.correlate2d(M, B[:3, :4], mode="same", boundary="wrap")
sp.signal.correlate2d(M, B[:2, :3], mode="same")
sp.special.sici(x)
sp.special.shichi(x)
np.polyval(sp.special.legendre(3).coef, x)
np.geomspace(u, 2.0, 3, axis=1)
np.linalg.cross(t3[:, None]*B, w3[:, None]*B, axis=0)
sp.special.spherical_jn(1, x)
sp.special.zeta(2.0 + u)"""


@pytest.mark.parametrize("line", LINES.splitlines())
def test_a_line_with_other_arguments(line):
    found = calls.tried(line)
    assert found.what == "works", found.why


def test_text_and_functions_in_place_of_a_loss():
    f = gc.compile_grad("(a*t - y)**2 + exp(-b)", ["a", "b"], data=["t", "y"])
    assert f(2.0, 0.0, [1.0, 2.0], [0.0, 1.0])[0] == pytest.approx(7.5)
    assert gc.compile_value("a + 1", "a")(2.0) == 3.0
    with pytest.raises(
        gc.ArgumentTypeError, match=r"residual is a Python function.*gradcompile.array.*residual\(w, x\)"
    ):
        gc.compile_grad(residual, ["w"])


def residual(w, x):
    return w - x


def test_a_loop_that_ends_by_itself():
    y = gc.array("y")
    halved, count = gc.while_loop(lambda c: c[0] > 1.0, lambda c: (c[0] / 2.0, c[1] + 1), (y, 0), 40)
    f = gc.compile_grad(halved**2 + 0.0 * count, [y])
    assert f(12.0) == (0.5625, (0.09375,)) and f(0.5) == (0.25, (1.0,))
    rooted = gc.compile_grad(gc.while_loop(lambda c: c > 0.5, lambda c: np.sqrt(c - 0.5), y, 9), [y])
    assert np.isfinite(rooted(3.0)[1][0])
