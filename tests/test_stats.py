"""Distributions against SciPy's, and their derivatives against differences of many digits."""

import mpmath
import numpy as np
import pytest
import scipy.stats
import sympy

import gradcompile as gc
from gradcompile import stats
from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff.testing import check_grads
from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import lift

SHAPES = {
    "gamma": [2.5], "chi2": [3.5], "chi": [3.0], "invgamma": [2.5], "gengamma": [2.0, 1.5], "erlang": [3.0],
    "beta": [2.0, 3.5], "betaprime": [2.0, 3.5], "t": [4.5], "f": [5.0, 7.0], "lognorm": [0.8],
    "truncnorm": [-1.0, 2.0],
    "skewnorm": [1.5], "gennorm": [1.5], "exponnorm": [1.2], "loguniform": [0.5, 3.0], "reciprocal": [0.5, 3.0],
    "triang": [0.3], "powerlaw": [1.7], "pareto": [2.5], "lomax": [2.5], "genpareto": [0.3], "weibull_min": [1.7],
    "weibull_max": [1.7], "invgauss": [0.8], "fisk": [2.2], "burr12": [2.0, 1.5], "nakagami": [1.3], "vonmises": [2.0],
    "wrapcauchy": [0.4], "poisson": [3.5], "bernoulli": [0.3], "binom": [9.0, 0.3], "nbinom": [3.5, 0.4],
    "geom": [0.3], "betabinom": [9.0, 2.0, 3.0], "hypergeom": [20.0, 7.0, 12.0], "randint": [2.0, 9.0], "zipf": [2.5],
    "logser": [0.6], "boltzmann": [0.4, 9.0], "planck": [0.4], "dlaplace": [0.7],
}  # fmt: skip
LOOSE = {"burr12": 1e-5, "truncnorm": 1e-4}  # SciPy's own digits next to 0
FLAT = {"randint", "hypergeom", "bernoulli", "boltzmann"}  # of counts that are no parameters
UNIVARIATE = [name for name, d in stats.DISTRIBUTIONS.items() if isinstance(d, stats.Distribution)]
PROBABILITIES = [1e-12, 0.01, 0.3, 0.6, 0.99, 1 - 1e-9]
METHODS = ("cdf", "sf", "logcdf", "logsf")


def places(name, shapes):
    """Arguments in the body, in both tails, and outside the support."""
    own = getattr(scipy.stats, name)
    low, high = (0.03, 0.97) if name in ("vonmises", "wrapcauchy") else (0, 1)
    x = own.ppf(np.clip(PROBABILITIES, low, high), *shapes)
    return np.unique(
        np.concatenate([x, np.array([-3.5, 250.0]) if stats.DISTRIBUTIONS[name].is_discrete else x[:1] - 40])
    )


def value(result, leaves):
    """The numbers of a symbolic array."""
    return evaluate([lift(result)], leaves)[0]


@pytest.mark.parametrize("name", UNIVARIATE)
def test_a_distribution(name):
    shapes, own, ours = SHAPES.get(name, []), getattr(scipy.stats, name), getattr(stats, name)
    at = places(name, shapes)
    x, args = gc.array("x", at.shape), [gc.array(f"a{k}") for k in range(len(shapes))]
    leaves = {x.node: at, **{a.node: np.float64(v) for a, v in zip(args, shapes, strict=True)}}
    more = (0.5,) if ours.is_discrete else (0.5, 1.5)
    density = "logpmf" if ours.is_discrete else "logpdf"
    moved = at + 0.5 if ours.is_discrete else 0.5 + 1.5 * at
    with np.errstate(all="ignore"):
        got = value(getattr(ours, density)(x, *args, *more), {**leaves, x.node: moved})
        want = getattr(own, density)(moved, *shapes, *more)
        got, want = (np.where(v < -1e5, -np.inf, v) for v in (got, want))
        np.testing.assert_allclose(got, want, rtol=2e-10, atol=1e-12)
        for method in METHODS if ours.lower or ours.upper else ():
            got, want = value(getattr(ours, method)(x, *args), leaves), getattr(own, method)(at, *shapes)
            tiny = 1e-300 if method in ("cdf", "sf") and not (ours.lower and ours.upper) else 0
            sure = np.abs(want) > max(tiny, 1e-13)  # of what is next to 0 SciPy may have lost the digits
            np.testing.assert_allclose(got[sure], want[sure], rtol=LOOSE.get(name, 2e-7), err_msg=method)
        if ours.quantile is not None:
            q = np.array([1e-9, 0.2, 0.5, 0.9])
            got = value(ours.ppf(gc.array("x", 4), *args), {**leaves, gc.array("x", 4).node: q})
            np.testing.assert_allclose(got, own.ppf(q, *shapes), rtol=1e-8, atol=1e-14)


def inside(name):
    """A distribution, an argument and its shapes, and their values: the argument's at three quantiles."""
    shapes = SHAPES.get(name, [])
    x, args = gc.array("x", 3), [gc.array(f"a{k}") for k in range(len(shapes))]
    at = getattr(scipy.stats, name).ppf([0.2, 0.65, 0.9], *shapes)
    leaves = {x.node: at, **{a.node: np.float64(v) for a, v in zip(args, shapes, strict=True)}}
    return getattr(stats, name), x, args, leaves


@pytest.mark.parametrize("name", UNIVARIATE)
def test_the_derivatives_of_a_density(name):
    ours, x, args, leaves = inside(name)
    if ours.is_discrete:
        loss = np.sum(ours.logpmf(leaves[x.node], *args))
        wrt = [] if name in FLAT else [a.node for a in args if not float(leaves[a.node]).is_integer()]
    else:
        loss, wrt = np.sum(ours.logpdf(x, *args)), [x.node, *(a.node for a in args)]
    if wrt:
        check_grads(loss.node, wrt, leaves, order=1, tolerance=1e-9)


CUMULATIVE = [name for name in UNIVARIATE if getattr(stats, name).lower or getattr(stats, name).upper]


@pytest.mark.parametrize("name", CUMULATIVE)
def test_the_derivatives_of_probabilities(name):
    ours, x, args, leaves = inside(name)
    wrt = [a.node for a in args] if ours.is_discrete else [x.node, *(a.node for a in args)]
    loss = np.sum(ours.cdf(x, *args)) + np.sum(ours.logsf(x, *args))
    if name not in FLAT:
        check_grads(loss.node, wrt, leaves, order=1, tolerance=1e-8)


QUANTILES = [name for name in UNIVARIATE if stats.DISTRIBUTIONS[name].upper_quantile]


def test_quantiles_of_small_probabilities_and_back():
    """isf does not go by 1 - q, whose digits are lost; the derivatives are those of the inverse function."""
    q, loss, found = gc.array("q", 3), 0.0, []
    at = np.array([1e-20, 1e-9, 0.3])
    for name in QUANTILES:
        ours, shapes = getattr(stats, name), SHAPES.get(name, [])
        quantiles = ours.isf(q, *shapes)
        found.append(quantiles)
        loss += np.sum(ours.sf(quantiles, *shapes) / at)
        assert not np.isinf(value(quantiles, {q.node: at})).any(), name
    is_near_one = {"beta", "powerlaw", "loguniform", "reciprocal", "uniform", "arcsine"}  # whose isf has no such digits
    for name, quantiles in zip(QUANTILES, found, strict=True):
        got = value(getattr(stats, name).sf(quantiles, *SHAPES.get(name, [])), {q.node: at})
        places = slice(2, None) if name in is_near_one else slice(None)
        np.testing.assert_allclose(got[places], at[places], rtol=1e-10, err_msg=name)
    f = gc.compile_grad(np.sum(stats.norm.isf(q)), [q])
    np.testing.assert_allclose(f(at)[1][0], -1 / scipy.stats.norm.pdf(scipy.stats.norm.isf(at)), rtol=1e-11)


def test_tails_and_middles():
    """Values and derivatives that other ways of writing lose."""
    a, b = gc.array("a"), gc.array("b")
    cases = [  # of a function of a, b: places, value, derivatives
        (stats.t.cdf(a, 3.0), (0.0, 0.0), 0.5, (0.36755259694786135, 0.0)),
        (stats.t.cdf(a, 3.0), (1e-9, 0.0), 0.50000000036755259695, (0.36755259694786135, 0.0)),
        (stats.t.ppf(a, 3.0), (0.5, 0.0), 0.0, (2.720699046351327, 0.0)),
        (stats.halfnorm.ppf(a), (1e-20, 0.0), 1.2533141373155002e-20, (1.2533141373155002, 0.0)),
        (stats.cauchy.ppf(a), (1 - 1e-12, 0.0), 318316927901.77966, (3.1832396977554706e23, 0.0)),
        (stats.halfcauchy.ppf(a), (1 - 1e-12, 0.0), 636633855803.5593, (6.366479395510941e23, 0.0)),
        (stats.genpareto.logpdf(a, b), (5.0, 0.0), -5.0, (-1.0, 7.5)),
        (stats.genpareto.logpdf(a, b), (5.0, 1e-9), -4.9999999925, (-0.999999996, 7.499999941666667)),
        (stats.genpareto.sf(a, b), (5.0, -0.5), 0.0, (0.0, 0.0)),
        (stats.genpareto.logpdf(a, b), (5.0, -0.5), -np.inf, (0.0, 0.0)),
        (stats.exponnorm.logpdf(a, b), (0.3, 1e-4), -0.9639085427552635, (-0.29989999700191017, 0.29980898227892955)),
        (stats.gamma.isf(a, b), (1e-20, 2.5), 51.71448861887899, (-1.0292832126885093e20, 3.3576175139072593)),
        (scipy.special.gammainc(1.0, a / 2), (0.0, 0.0), 0.0, (0.5, 0.0)),
        (scipy.special.xlog1py(a, b), (0.0, 2.0), 0.0, (np.log(3.0), 0.0)),
        (scipy.special.xlog1py(a, b), (0.0, -1.0), 0.0, (0.0, 0.0)),
        (np.heaviside(a, b), (0.0, 0.7), 0.7, (0.0, 1.0)),
    ]  # fmt: skip
    f = gc.compile_value([d for v, *_ in cases for d in (v, gc.derivative(v, a), gc.derivative(v, b))], [a, b])
    for k, (_, at, *want) in enumerate(cases):
        got = f(*at)[3 * k : 3 * k + 3]
        np.testing.assert_allclose(got, [want[0], *want[1]], rtol=1e-10, err_msg=str(k))


@pytest.mark.parametrize(
    ("value", "at", "want", "slope"),
    [
        (stats.gumbel_r.logsf, [800.0, -800.0, 2.0], [-800.0, 0.0, -2.0669046064441696], [-1.0, 0.0, -0.9338581959]),
        (stats.gumbel_r.logsf, [1e5, 745.0, 720.0, 30.0], [-1e5, -745.0, -720.0, -30.0], [-1.0, -1.0, -1.0, -1.0]),
        (stats.gumbel_l.logcdf, [-800.0, 800.0], [-800.0, 0.0], [1.0, 0.0]),
        (stats.halflogistic.logsf, [800.0, 1e-9], [np.log(2) - 800.0, -5e-10], [-1.0, -0.5]),
        (stats.hypsecant.logcdf, [-800.0, 800.0], [np.log(2 / np.pi) - 800.0, 0.0], [1.0, 0.0]),
        (stats.hypsecant.logsf, [800.0, 0.0], [np.log(2 / np.pi) - 800.0, -np.log(2)], [-1.0, -2 / np.pi]),
        (stats.halfnorm.logsf, [1e-20, 3.0], [-7.978845608028654e-21, -5.91457904095], [-0.79788456, -3.28309866]),
    ],
)
def test_logarithms_of_tails_that_underflow(value, at, want, slope):
    x = gc.array("x", len(at))
    y = value(x)
    found, slopes = gc.compile_value([y, gc.derivative(np.sum(y), x)], [x])(np.array(at))
    np.testing.assert_allclose(found, want, rtol=1e-6)
    np.testing.assert_allclose(slopes, slope, rtol=1e-6)
    s = sympy.Symbol("s")
    of_symbol = gc.compile_grad(value(s), [s])
    for point, *both in zip(at, want, slope, strict=True):
        loss, (grad,) = of_symbol(point)
        np.testing.assert_allclose([loss, grad], both, rtol=1e-6)


def test_second_derivatives_where_two_arguments_of_the_beta_function_are_equal():
    a, b, x = (gc.array(name) for name in "abx")
    with mpmath.workdps(40):
        of_a, both = mpmath.psi(1, 2) - mpmath.psi(1, 4), mpmath.psi(1, 4)
        want = [[-of_a, both], [both, -of_a]]
        half, one = mpmath.psi(1, mpmath.mpf(1) / 2), mpmath.psi(1, 1)
        z = mpmath.mpf("0.3") ** 2  # of -lgamma(v/2) + lgamma((v + 1)/2) - log(v)/2 - (v + 1)/2*log1p(z/v) at v = 1
        by_v = (one - half) / 4 + mpmath.mpf(1) / 2 + z / (1 + z) - (1 - 1 / (1 + z) ** 2)
    of_function = 0 * x - np.log(scipy.special.beta(a, b))
    for value in (stats.beta.logpdf(x, a, b), np.log(stats.beta.pdf(x, a, b)), of_function):
        hessian = gc.compile_hessian(value, [a, b], inputs=[x])(2.0, 2.0, 0.3)[2]
        np.testing.assert_allclose(hessian, np.array(want, float), rtol=1e-11)
    second = gc.compile_hessian(stats.t.logpdf(x, a), [a], inputs=[x])(1.0, 0.3)[2]
    np.testing.assert_allclose(second, [[float(by_v)]], rtol=1e-11)


def test_vectors():
    rng = np.random.default_rng(0)
    a, x, mean = rng.normal(size=(3, 3)), rng.normal(size=(4, 3)), rng.normal(size=3)
    cov, alpha, shares = a @ a.T + np.eye(3), np.array([0.5, 2.0, 3.0]), np.array([0.2, 0.3, 0.5])
    X, R, M, A = gc.array("X", (4, 3)), gc.array("R", (3, 3)), gc.array("M", 3), gc.array("A", 3)
    S = R @ R.T + np.eye(3)
    leaves = {X.node: x, R.node: a, M.node: mean, A.node: alpha}
    for result, want in (
        (stats.multivariate_normal.logpdf(X, M, S), scipy.stats.multivariate_normal.logpdf(x, mean, cov)),
        (stats.multivariate_normal(M, S).pdf(X[0]), scipy.stats.multivariate_normal.pdf(x[0], mean, cov)),
        (stats.multivariate_t.logpdf(X, M, S, 4.0), scipy.stats.multivariate_t.logpdf(x, mean, cov, 4.0)),
        (stats.multivariate_normal.logpdf(M, 0.0, 2.0), scipy.stats.multivariate_normal.logpdf(mean, 0.0, 2.0)),
        (stats.dirichlet.logpdf(shares, A), scipy.stats.dirichlet.logpdf(shares, alpha)),
        (stats.multinomial.logpmf([1, 2, 3], 6, A / 5.5), scipy.stats.multinomial.logpmf([1, 2, 3], 6, alpha / 5.5)),
    ):
        np.testing.assert_allclose(value(result, leaves), want, rtol=1e-12)
    check_grads(
        np.sum(stats.multivariate_normal.logpdf(X, M, S)).node, list(leaves)[:3], leaves, order=1, tolerance=1e-9
    )


def test_expressions_of_sympy():
    x, mu, s, n = sympy.symbols("x mu s n")
    f = gc.compile_grad(-stats.norm.logpdf(x, mu, s), [mu, s], data=[x])
    at = np.array([0.1, -2.0, 3.0])
    loss, _ = f(0.3, 1.2, at)
    assert loss == pytest.approx(-np.mean(scipy.stats.norm.logpdf(at, 0.3, 1.2)), rel=1e-14)
    g = gc.compile_grad(-stats.gamma.logpdf(x, s, 0, mu), [s, mu], data=[x])
    assert g(2.5, 1.5, abs(at))[0] == pytest.approx(-np.mean(scipy.stats.gamma.logpdf(abs(at), 2.5, 0, 1.5)), rel=1e-13)
    h = gc.compile_grad(-stats.norm.logcdf(mu), [mu])
    assert h(-30.0)[0] == pytest.approx(-scipy.stats.norm.logcdf(-30.0), rel=1e-13)
    counts = gc.compile_grad(-stats.poisson.logpmf(n, mu), [mu], data=[n])
    assert counts(165.0, [150.0, 1000.0])[0] == pytest.approx(-np.mean(scipy.stats.poisson.logpmf([150, 1000], 165.0)))


def test_machine_code_in_both_precisions():
    for dtype, digits in (("float64", 1e-12), ("float32", 2e-5)):
        x, a = gc.array("x", 3, dtype), gc.array("a", (), dtype)
        f = gc.compile_grad(np.sum(stats.t.logpdf(x, a)) + np.sum(stats.gamma.logsf(abs(x), a)), [x, a])
        at = np.array([0.5, -1.5, 3.0], dtype)
        want = np.sum(scipy.stats.t.logpdf(at, 2.5)) + np.sum(scipy.stats.gamma.logsf(abs(at), 2.5))
        assert f(at, 2.5)[0] == pytest.approx(want, rel=digits)
        assert f.check(at, 2.5).error < 100 * digits


def test_what_is_refused():
    x, s = gc.array("x", 3), gc.array("s")
    with pytest.raises(ExpressionError, match="takes x, a, loc, scale: a missing"):
        stats.gamma.logpdf(x)
    with pytest.raises(ExpressionError, match="no closed form"):
        stats.skewnorm.ppf(x, s)
    with pytest.raises(AttributeError, match="it has pmf"):
        _ = stats.poisson.logpdf
    assert stats.norm.cdf(0.0) == 0.5


def test_a_distribution_prints_in_one_line():
    assert repr(stats.norm) == "<stats.norm(loc, scale)>" and repr(stats.poisson) == "<stats.poisson(mu, loc)>"
    assert repr(stats.multivariate_normal) == "<stats.multivariate_normal>"
    assert repr(stats.gamma(2.0, scale=3.0)) == "<stats.gamma(2.0, scale=3.0)>"
