"""Fits: the certified values of NIST, whether a fit says that it is none, statistics against references."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import optimize, special

from gradcompile import compile_fit, fit
from gradcompile.data import names, nist
from gradcompile.errors import ArgumentError, ArgumentTypeError, DataError

RNG = np.random.default_rng(7)
X = np.linspace(0.0, 4.0, 60)
DECAY = {"x": X, "y": 2.5 * np.exp(-1.3 * X) + 0.5 + 0.05 * RNG.standard_normal(60)}
MODEL = "a*exp(-b*x) + c"
PEAK = {"x": np.arange(6.0), "y": np.array([0, 1, 4, 4, 1, 0.0])}


@pytest.fixture(scope="module")
def decay():
    """A fit of three parameters to 60 rows."""
    return fit(MODEL, DECAY, "y", start={"a": 1, "b": 1, "c": 0})


@pytest.mark.parametrize("name", names())
def test_certified(name):
    """NIST's estimates and standard deviations, from both starts."""
    table = nist(name)
    fitter = compile_fit(table.model, list(table.certified), target="y")
    for start in (table.start1, table.start2):
        found = fitter({"x": table.x, "y": table.y}, start=start)
        assert found.converged, found.message
        np.testing.assert_allclose(list(found.params.values()), list(table.certified.values()), rtol=1e-8)
        np.testing.assert_allclose(list(found.stderr.values()), list(table.deviations.values()), rtol=1e-6)
        assert found.chi2 == pytest.approx(table.residual_sum_of_squares, rel=1e-8)
        assert found.dof == table.degrees_of_freedom


def test_statistics_of_scipy(decay):
    """Covariance, weighted and not, as SciPy's curve_fit has it."""

    def model(x, a, b, c):
        return a * np.exp(-b * x) + c

    sigma = np.linspace(0.5, 2.0, 60)
    for weights, absolute in ((None, False), (sigma, False), (sigma, True)):
        found = fit(MODEL, DECAY, "y", start=[1, 1, 0], sigma=weights, absolute_sigma=absolute)
        best, cov = optimize.curve_fit(
            model, X, DECAY["y"], p0=[1, 1, 0], sigma=weights, absolute_sigma=absolute, xtol=1e-14, ftol=1e-14
        )
        np.testing.assert_allclose(found.theta, best, rtol=1e-7)
        np.testing.assert_allclose(found.cov, cov, rtol=1e-5)
    assert decay.ci(0.9)["b"][1] == pytest.approx(decay.params["b"] + special.stdtrit(57, 0.95) * decay.stderr["b"])


def test_units_do_not_matter():
    """Tiny and huge units give the same fit."""
    base = fit(MODEL, DECAY, "y", start=[1, 1, 0])
    for unit in (1e-30, 1e-9, 1e12):
        found = fit(MODEL, {"x": X / unit, "y": DECAY["y"] * unit}, "y", start=[unit, unit, 0])
        np.testing.assert_allclose(found.theta, base.theta * unit, rtol=1e-9)
        np.testing.assert_allclose(list(found.stderr.values()), np.array(list(base.stderr.values())) * unit, rtol=1e-9)
        assert found.converged


@pytest.mark.parametrize(
    ("model", "data", "start", "word"),
    [
        ("a*exp(-(x - m)**2/(2*s**2))", PEAK, [1, 200, 1], "plateau"),
        ("a*x/(k + x)", {"x": np.arange(1.0, 7), "y": np.arange(1.0, 7) ** 1.1}, [1, 1], "run away"),
    ],
)
def test_no_minimum_is_told(model, data, start, word):
    """A search that ends elsewhere says so, and gives no standard errors."""
    found = fit(model, data, "y", start=start, bounds={"k": (0, None)} if "k" in model else None)
    assert not found.converged
    assert word in found.message
    assert np.isnan(list(found.stderr.values())).all()


def test_undetermined_is_named():
    """A product of two parameters determines neither, but the third."""
    found = fit("a*b*x + c", {"x": X, "y": 2.0 * X + 1.0 + 0.1 * np.cos(9 * X)}, "y", start=[1, 1, 0])
    assert [sorted(d) for d in found.undetermined] == [["a", "b"]]
    assert np.isnan(found.stderr["a"])
    assert found.stderr["c"] > 0.0
    assert "do not determine" in found.summary()


def test_bounds_and_fixed(decay):
    """A bound that holds a parameter; a number that is given; a tie."""
    found = fit(MODEL, DECAY, "y", start=[1, 1, 0], bounds={"b": (0, 1.0)})
    assert found.params["b"] == 1.0
    assert found.held == ("b",)
    assert found.converged
    fixed = fit(MODEL, DECAY, "y", start={"a": 1, "c": 0}, fixed={"b": 1.0})
    np.testing.assert_allclose([found.params["a"], found.params["c"]], fixed.theta, rtol=1e-9)
    tied = fit(MODEL, DECAY, "y", start=[1, 1], tied={"a": "5*c"})
    assert list(tied.params) == ["b", "c"]
    assert tied.derived("a")[0] == pytest.approx(5 * tied.params["c"])
    inside = fit(MODEL, DECAY, "y", start=[1, 1, 0], bounds={"b": (0, 10), "a": (None, 5)})
    np.testing.assert_allclose(inside.theta, decay.theta, rtol=1e-9)


def test_derived_and_bands(decay):
    """The delta method, and SciPy's own arithmetic for the band."""
    value, error = decay.derived("a/b")
    a, b, _ = decay.theta
    slope = np.array([1 / b, -a / b**2, 0.0])
    assert value == pytest.approx(a / b)
    assert error == pytest.approx(np.sqrt(slope @ decay.cov @ slope))
    low, high = decay.band({"x": [0.0, 1.0]}, 0.9)
    jacobian = np.array([[1.0, 0.0, 1.0], [np.exp(-b), -a * np.exp(-b), 1.0]])
    width = special.stdtrit(57, 0.95) * np.sqrt(np.einsum("ij,jk,ik->i", jacobian, decay.cov, jacobian))
    np.testing.assert_allclose(high - low, 2 * width, rtol=1e-9)
    np.testing.assert_allclose(0.5 * (high + low), decay.predict({"x": [0.0, 1.0]}), rtol=1e-12)


def test_start_is_found(decay):
    """Without a start the same minimum is found."""
    found = fit(MODEL, DECAY, "y")
    np.testing.assert_allclose(found.theta, decay.theta, rtol=1e-7)


def test_robust_losses_of_scipy():
    """Estimates under SciPy's losses, with outliers in the data."""
    y = DECAY["y"].copy()
    y[::13] += 3.0
    for loss in ("soft_l1", "huber", "cauchy", "arctan"):
        found = fit(MODEL, {"x": X, "y": y}, "y", start=[2.5, 1.3, 0.5], loss=loss, sigma=0.1)
        best = optimize.least_squares(
            lambda t: (y - t[0] * np.exp(-t[1] * X) - t[2]) / 0.1, [2.5, 1.3, 0.5], loss=loss, xtol=1e-15, gtol=1e-15
        )
        np.testing.assert_allclose(found.theta, best.x, rtol=2e-5)
        assert found.cost == pytest.approx(best.cost)
        assert found.converged


def test_shared_groups_likelihood():
    """Several data sets with shared parameters; groups; a likelihood."""
    other = {"x": X, "y": DECAY["y"] + 1.0}
    parts = [("a*exp(-b*x) + c", DECAY, "y"), ("a*exp(-b*x) + d", other, "y")]
    found = fit(parts, start={"a": 1, "b": 1, "c": 0, "d": 0})
    assert found.params["d"] - found.params["c"] == pytest.approx(1.0)
    assert found.rows == 120
    both = {"x": np.r_[X, X], "y": np.r_[DECAY["y"], other["y"]], "g": ["one"] * 60 + ["two"] * 60}
    by = fit(MODEL, both, "y", start=[1, 1, 0], by="g")
    assert list(by) == ["one", "two"]
    assert by["two"].params["c"] - by["one"].params["c"] == pytest.approx(1.0)
    counts = np.array([12, 9, 7, 4, 3, 3, 1, 0])
    t = np.arange(8.0)
    a, b, x, k = sp.symbols("a b x k")
    mean = a * sp.exp(-b * x)
    poisson = fit(data={"x": t, "k": counts}, likelihood=k * sp.log(mean) - mean, start={"a": 10, "b": 0.1})
    assert poisson.converged
    rate = poisson.params["a"] * np.exp(-poisson.params["b"] * t)
    hessian = np.array([[np.sum(counts) / poisson.params["a"] ** 2, -np.sum(t * rate) / poisson.params["a"]],
                        [-np.sum(t * rate) / poisson.params["a"], np.sum(t * t * rate)]])  # fmt: skip
    np.testing.assert_allclose(poisson.cov, np.linalg.inv(hessian), rtol=1e-8)


def test_missing_and_messages():
    """Rows that lack something are left out and counted; what is wrong is said."""
    gaps = {"x": X.copy(), "y": DECAY["y"].copy()}
    gaps["y"][3] = np.nan
    found = fit(MODEL, gaps, "y", start=[1, 1, 0])
    assert (found.rows, found.dropped) == (59, 1)
    with pytest.raises(DataError, match="row 3 is missing"):
        fit(MODEL, gaps, "y", start=[1, 1, 0], missing="raise")
    with pytest.raises(ArgumentError, match="contains the target"):
        fit("a*x + y", DECAY, "y")
    with pytest.raises(ArgumentError, match="there is no parameter 'z'"):
        fit(MODEL, DECAY, "y", start={"a": 1, "b": 1, "c": 0, "z": 1})
    with pytest.raises(ArgumentError, match=r"choose another start"):
        fit("a*log(b*x + 1)", DECAY, "y", start=[1, -1])


def exact(held=None):
    """The minimum of DECAY's sum of squares in 40 digits: estimates, loss, J; held: a value of b that stays."""
    x, y = [list(map(mpmath.mpf, v)) for v in (X.tolist(), DECAY["y"].tolist())]
    theta = mpmath.matrix([2.5, 1.3 if held is None else held, 0.5])
    places = [0, 1, 2] if held is None else [0, 2]
    for _ in range(60):
        e = [mpmath.exp(-theta[1] * t) for t in x]
        r = mpmath.matrix([v - theta[0] * d - theta[2] for v, d in zip(y, e, strict=True)])
        jacobian = mpmath.matrix([[-d, theta[0] * t * d, -1] for t, d in zip(x, e, strict=True)])
        own = mpmath.matrix([[row[k] for k in places] for row in jacobian.tolist()])
        step = mpmath.lu_solve(own.T * own, -(own.T * r))
        for k, s in zip(places, step, strict=True):
            theta[k] += s
        if mpmath.norm(step) < mpmath.mpf(10) ** -38:
            break
    return theta, (r.T * r)[0], jacobian


def test_statistics_in_many_digits(decay):
    """Estimates, errors, criteria, bands and both kinds of intervals."""
    from scipy import stats

    with mpmath.workdps(40):
        theta, loss, jacobian = exact()
        cov = (loss / 57) * (jacobian.T * jacobian) ** -1
        found = [*decay.theta, *decay.stderr.values(), decay.chi2, decay.aic, decay.bic, decay.aicc]
        aic = 60 * mpmath.log(loss / 60) + 6
        bic = aic - 6 + 3 * mpmath.log(60)
        right = [*theta, *(mpmath.sqrt(cov[k, k]) for k in range(3)), loss, aic, bic, aic + mpmath.mpf(24) / 56]
        np.testing.assert_allclose(found, np.array(right, float), rtol=1e-9)
        allowed = loss * (1 + mpmath.mpf(stats.t.ppf(0.95, 57)) ** 2 / 57)
        low, high = decay.ci(0.9, method="profile")["b"]
        for end, guess in ((low, theta[1] - 0.05), (high, theta[1] + 0.05)):
            root = mpmath.findroot(lambda b: exact(b)[1] - allowed, (guess, guess * 1.001), tol=1e-25)
            assert end == pytest.approx(float(root), rel=1e-9)
        residuals = decay.residuals
        leverage = [(row * (jacobian.T * jacobian) ** -1 * row.T)[0] for row in (jacobian[k, :] for k in (0, 30, 59))]
        np.testing.assert_allclose(decay.leverage[[0, 30, 59]], np.array(leverage, float), rtol=1e-9)
        middle = jacobian.T * mpmath.diag([mpmath.mpf(v) ** 2 for v in residuals.tolist()]) * jacobian
        robust = (jacobian.T * jacobian) ** -1 * middle * (jacobian.T * jacobian) ** -1 * mpmath.mpf(60) / 57
        np.testing.assert_allclose(decay.cov_robust, np.array(robust.tolist(), float), rtol=1e-9)


def test_orthogonal_and_correlated():
    """Errors in the predictor, as ODRPACK's; a covariance of the target, as SciPy's curve_fit."""
    moved = {"x": X + 0.05 * np.sin(31 * X), "y": DECAY["y"]}
    found = fit(MODEL, moved, "y", start=[1, 1, 0], sigma=0.05, sigma_x={"x": 0.04})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy is to drop it
        from scipy import odr

        job = odr.ODR(
            odr.RealData(moved["x"], moved["y"], sx=0.04, sy=0.05),
            odr.Model(lambda b, x: b[0] * np.exp(-b[1] * x) + b[2]), beta0=[1, 1, 0], sstol=1e-15, partol=1e-15,
        )  # fmt: skip
        best = job.run()
    np.testing.assert_allclose(found.theta, best.beta, rtol=1e-6)
    np.testing.assert_allclose(list(found.stderr.values()), best.sd_beta, rtol=1e-5)
    assert found.chi2 == pytest.approx(best.sum_square)
    assert found.converged
    covariance = 0.0025 * np.exp(-abs(X[:, None] - X[None, :]) / 0.3)
    correlated = fit(MODEL, DECAY, "y", start=[1, 1, 0], sigma=covariance)
    best, cov = optimize.curve_fit(
        lambda x, a, b, c: a * np.exp(-b * x) + c, X, DECAY["y"], p0=[1, 1, 0], sigma=covariance, xtol=1e-14, ftol=1e-14
    )
    np.testing.assert_allclose(correlated.theta, best, rtol=1e-6)
    np.testing.assert_allclose(correlated.cov, cov, rtol=1e-5)
    assert correlated.converged


def test_bootstrap_and_comparison(decay):
    """Errors from drawn rows agree with the others; a nested model is tested by F."""
    from scipy import stats

    drawn = decay.bootstrap(200, seed=1)
    np.testing.assert_allclose(drawn.std(axis=0), list(decay.stderr.values()), rtol=0.4)
    np.testing.assert_array_equal(drawn, decay.bootstrap(200, seed=1))
    line = fit("a + b*x", DECAY, "y")
    constant = fit("a", DECAY, "y")
    told = line.compare(constant)
    assert told.dof == (1, 58)
    assert told.p_value == pytest.approx(stats.linregress(X, DECAY["y"]).pvalue)
    robust = [fit(model, DECAY, "y", loss="huber") for model in ("a + b*x", "a")]
    assert robust[0].compare(robust[1]).f is None
    likely = fit(data=DECAY, likelihood="-(y - a)**2/2", start=[1])
    for other in (fit("a", DECAY, "y", sigma=2.0), fit("a", DECAY, "x"), likely):
        with pytest.raises(ArgumentError, match="the same data"):
            line.compare(other)
    with pytest.raises(DataError, match="no columns"):
        constant.predict({})


def test_names_that_orthogonal_distance_takes():
    """Parameters may be called as the shifts of the samples are."""
    renamed = fit("shift_x_0*x**2 + shift_x + sigma_x", DECAY, "y", sigma_x={"x": 0.1}, fixed={"shift_x": 0.0})
    plain = fit("a*x**2 + b", DECAY, "y", sigma_x={"x": 0.1})
    np.testing.assert_allclose(sorted(renamed.theta), sorted(plain.theta), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("a*x + b", {"x": X, "y": DECAY["y"] * 1e200}, "y"), {}, "leave the range of floats"),
        (("a*x + b", {"x": X, "y": DECAY["y"] * 1e-200}, "y"), {}, "leave the range of floats"),
        (("a*x + b", {"x": X, "y": DECAY["y"] - 0.6}, "log(y)"), {}, r"is nan in row \d+"),
        (("a*x + b", DECAY, "y"), {"fixed": {"q": 1.0}}, "does not contain 'q'"),
        (("a*x + b", DECAY, "y"), {"by": "g"}, "no column 'g'"),
        (("a*x + b", DECAY, "y"), {"sigma": -X}, "above 0"),
        (("a*x + b", DECAY, "y"), {"sigma": -np.eye(60)}, "positive definite"),
        (("a*x + b", DECAY, "y"), {"tied": {"a": "b", "b": "a"}}, "circle"),
        (("a*x + b", DECAY, "y"), {"bounds": {"a": (2, 1)}}, "lower is above the upper"),
        (("a*x + b", DECAY, "y"), {"loss": "l1"}, "soft_l1"),
    ],
)
def test_what_is_refused(arguments, options, words):
    """Messages name what, where and a cure."""
    with pytest.raises((ArgumentError, DataError), match=words):
        fit(*arguments, **options)


def test_an_estimate_of_zero_is_no_plateau():
    """A slope of 0 is an estimate like others; a column called E is no constant."""
    found = fit("a*x + b", {"x": X, "y": np.ones(60)}, "y", start=[1, 1])
    assert found.converged
    named = fit("E*k + pi", {"E": X, "y": 2.0 * X + np.pi}, "y", start=[1])
    assert named.params["k"] == pytest.approx(2.0)


def test_threads_share_a_fitter():
    """Each search has memory of its own: fits side by side have the bits of fits one by one."""
    fitter = compile_fit(MODEL, ["a", "b", "c"], target="y")
    shifted = [{"x": X, "y": DECAY["y"] + 0.1 * k} for k in range(8)]
    alone = [fitter(d, start=[1, 1, 0]).theta for d in shifted]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda d: [fitter(d, start=[1, 1, 0]).theta for _ in range(20)], shifted))
    for one, many in zip(alone, together, strict=True):
        assert all(np.array_equal(one, other) for other in many)


def test_data_that_changed_since_are_told():
    """What is computed of a fit when it is asked for needs the data as they were."""
    data = {"x": X.copy(), "y": DECAY["y"].copy()}
    found = fit("a*x + b", data, "y", start=[1, 1])
    data["y"][[3, 4]] = data["y"][[4, 3]]
    with pytest.raises(DataError, match="column 'y' has other values than when it was fitted"):
        found.stderr  # noqa: B018
    with pytest.raises(DataError, match="fit a copy"):
        found.predict()


def test_ties_are_no_part_of_the_model_alone():
    """A tie is known in its own fit, whatever was fitted before."""
    plain, tied = fit("2*b*x + b", DECAY, "y"), fit("a*x + b", DECAY, "y", tied={"a": "2*b"})
    assert tied.derived("a")[0] == pytest.approx(2 * plain.params["b"])
    assert "a*x + b" in tied.summary()


def test_a_maximum_on_a_bound_is_left():
    """Without a slope on a bound, curvature says whether the loss falls inwards."""
    found = fit("a + b**2*x", {"x": X, "y": 3.0 * X + 1.0}, "y", start=[1, 0], bounds={"b": (0, None)})
    np.testing.assert_allclose(found.theta, [1.0, np.sqrt(3.0)], rtol=1e-9)
    least = fit("a + b**2*x", {"x": X, "y": 1.0 - X}, "y", start=[1, 0], bounds={"b": (0, None)})
    assert least.converged, least.message
    assert least.params["b"] == 0.0


def test_separable_classes_have_no_minimum():
    """A likelihood that rises for ever is told, where its logarithm has come to 0 too."""
    odds = "1/(1 + exp(-a*x - b))"
    likelihood = f"k*log({odds}) + (1 - k)*log(1 - {odds})"
    found = fit(data={"x": X, "k": (X > 2.0) * 1.0}, likelihood=likelihood, start=[1, 0])
    assert not found.converged


def test_names_of_constants():
    """A parameter or a column called E is one in ties and in what is derived too."""
    found = compile_fit("E*x + b", ["E", "b"], target="y")(DECAY, start=[1, 1])
    assert found.derived("2*E") == pytest.approx((2 * found.params["E"], 2 * found.stderr["E"]))
    tied = fit("E*k + b", {"E": X, "y": 3.0 * X**2 + 3.0 * X}, "y", start=[1], tied={"b": "k*E**2"})
    assert tied.params["k"] == pytest.approx(3.0)


def test_a_covariance_in_statistics():
    """R squared about the mean that the covariance gives, bands with its diagonal; rows are not drawn one by one."""
    deviations = np.linspace(0.5, 2.0, 60)
    options = {"start": [1, 1, 0], "absolute_sigma": True}
    whole = fit(MODEL, DECAY, "y", sigma=np.diag(deviations**2).tolist(), **options)
    parts = fit(MODEL, DECAY, "y", sigma=deviations, **options)
    assert whole.r_squared == pytest.approx(parts.r_squared)
    for mine, right in zip(whole.band(kind="prediction"), parts.band(kind="prediction"), strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-9)
    with pytest.raises(ArgumentError, match="correlated"):
        whole.bootstrap(3)


def test_groups_take_their_rows():
    """What comes with the rows is divided among the groups, whatever it is given as."""
    label, spread = np.array(["one", "two"] * 30), np.linspace(0.5, 2.0, 60)
    data, rows = {**DECAY, "g": label.astype(object), "s": spread}, label == "two"
    data["g"][0] = None
    alone = {"x": X[rows], "y": DECAY["y"][rows]}
    right = fit("a*x + b", alone, "y", sigma=spread[rows])
    for target in ("y", DECAY["y"]):
        for sigma in ("s", spread, spread.tolist(), np.diag(spread**2)):
            found = fit("a*x + b", data, target, sigma=sigma, by="g")["two"]
            np.testing.assert_allclose(found.theta, right.theta, rtol=1e-9)
    right = fit("a*x + b", alone, "y", sigma_x={"x": spread[rows]}, start=[1, 1])
    for sigma_x in ("s", spread):
        found = fit("a*x + b", data, "y", sigma_x={"x": sigma_x}, by="g", start=[1, 1])["two"]
        np.testing.assert_allclose(found.theta, right.theta, rtol=1e-9)
    with pytest.raises(ArgumentError, match=r"g = one: .* 3 parameters|g = one: 3 parameters"):
        fit(MODEL, {"x": X[:4], "y": X[:4], "g": label[:4]}, "y", by="g")


def test_ties_among_data_sets():
    """A tie need not be of every model, and may be to a number that is given, or to a tied parameter."""
    parts = [("a*x + b", {"x": X, "y": 2.0 * X + 1.0}, "y"), ("a*x + c", {"x": X, "y": 2.0 * X + 3.0}, "y")]
    found = fit(parts, start={"a": 1, "b": 0}, tied={"c": "3*b"})
    assert found.params == pytest.approx({"a": 2.0, "b": 1.0})
    assert found.derived("c")[0] == pytest.approx(3.0)
    given = fit("a*x + b", parts[0][1], "y", tied={"b": "2*c", "c": "d"}, fixed={"d": 0.5})
    assert given.params == pytest.approx({"a": 2.0})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bounds": {"a": 3}}, "give a pair"),
        ({"bounds": {"a": ("x", 3)}}, "give a pair"),
        ({"bounds": [(0, 1)]}, "by name"),
        ({"fixed": {"b": "x"}}, "give a number"),
        ({"fixed": ["b"]}, "by name"),
        ({"start": ["q", 1]}, "one number for each"),
        ({"start": [1j, 1]}, "one number for each"),
        ({"sigma": ["no"] * 60}, "is text"),
        ({"sigma_x": 0.1}, "by name"),
        ({"sigma_x": {"y": 0.1}}, "no column 'y'"),
        ({"loss": ["huber"]}, "did you mean .huber"),
        ({"seed": -1}, "whole number from 0"),
        ({"tied": {"q": "a"}}, "does not contain 'q'"),
        ({"tied": {"b": "sqrt(c)"}, "start": [1, 0]}, "derivative is not finite at the start"),
    ],
)
def test_arguments_of_a_wrong_kind(options, words):
    """They are refused by name, with an error of the package."""
    with pytest.raises((ArgumentError, ArgumentTypeError, DataError), match=words):
        fit("a*x + b", DECAY, "y", **options)


def test_data_sets_of_a_wrong_form(decay):
    """A list is of triples; what is unknown to all of them is refused."""
    parts = [("a*x + b", DECAY, "y"), ("a*x + c", DECAY, "y")]
    for model, options, words in (
        ([], {}, "a list is of"),
        ([("a*x", DECAY)], {}, "a list is of"),
        (parts, {"fixed": {"q": 1}}, "'q'"),
        (parts, {"tied": {"q": "a"}}, "'q'"),
        (parts, {"sigma": [1.0]}, "2 data sets"),
    ):
        with pytest.raises((ArgumentError, ArgumentTypeError), match=words):
            fit(model, **options)
    with pytest.raises(ArgumentError, match="part=1"):
        decay.predict(part=1)


@pytest.mark.parametrize("offset", [1e6, 1e9])
def test_columns_that_are_alike_in_nine_digits(offset):
    """J'J has lost what tells a and b apart; a triangle of J has not."""
    x, noise = np.arange(50.0), 0.1 * np.sin(37.0 * np.arange(50.0))
    found = fit("a + b*x", {"x": offset + x, "y": 3.0 + 0.5 * x + noise}, "y", start=[1, 1])
    best, cov = np.polyfit(x, 3.0 + 0.5 * x + noise, 1, cov=True)
    assert found.converged
    assert found.params["b"] == pytest.approx(best[0], rel=1e-7)
    assert found.stderr["b"] == pytest.approx(np.sqrt(cov[0, 0]), rel=1e-5)


def test_what_a_bound_holds_is_known():
    """A parameter on its bound adds nothing to the error of what is made of it; a level is a probability."""
    found = fit(MODEL, DECAY, "y", start=[1, 1, 0], bounds={"b": (0, 1.0)})
    assert found.derived("a*b")[1] == pytest.approx(found.stderr["a"])
    with pytest.raises(ArgumentError, match="level='a': give a probability"):
        found.ci("a")


def test_corners_of_the_loss():
    """A minimum where the slope jumps along one parameter has no error of that one; along several it is told."""
    x, noise = np.linspace(0.0, 10.0, 21), np.random.default_rng(0).standard_normal(21)
    laplace = fit(likelihood="-Abs(y - m)/s - log(2*s)", data={"y": noise}, start={"m": 0.2, "s": 1})
    assert laplace.converged and laplace.corner == "m"
    assert laplace.params["m"] == pytest.approx(np.median(noise), abs=1e-12)
    assert laplace.params["s"] == pytest.approx(abs(noise - np.median(noise)).mean(), rel=1e-9)
    assert np.isnan(laplace.stderr["m"]) and laplace.stderr["s"] == pytest.approx(laplace.params["s"] / np.sqrt(21))
    assert "at a corner of the loss" in laplace.summary()
    down = {"x": x, "y": 3 - 0.3 * x + 0.1 * noise}
    found = fit("Abs(a)*x + c", down, "y", start={"a": 1, "c": 1})
    assert found.converged and abs(found.params["a"]) < 1e-12
    assert found.params["c"] == pytest.approx(down["y"].mean(), rel=1e-12)
    assert found.derived("a + c")[1] == found.stderr["c"]
    several = fit(likelihood="-Abs(y - m - b*x)", data=down, start={"m": 2, "b": 0.1})
    assert not several.converged and "the loss has a corner along m, b here" in several.message
    assert np.isfinite(several.bootstrap(20)).mean() > 0.5


@pytest.mark.parametrize("loss", ["huber", "soft_l1"])
def test_profiles_of_robust_losses(loss):
    """Where noise is small beside the curve, the profile of a robust loss has the ends of the sandwich's errors."""
    draw = np.random.default_rng(3).standard_normal
    x = np.linspace(0.0, 4.0, 400)
    y = 2.5 * np.exp(-1.3 * x) + 0.5 + 0.01 * draw(400) * np.where(np.arange(400) % 10, 1.0, 8.0)
    found = fit(MODEL, {"x": x, "y": y}, "y", start=[2, 1, 0], sigma=np.full(400, 0.01), loss=loss)
    for name, (low, high) in found.ci(0.95, "profile").items():
        wald = found.ci(0.95)[name]
        assert (low, high) == pytest.approx(wald, abs=0.02 * (wald[1] - wald[0]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bounds": {"c": (0, 1)}, "fixed": {"c": 0.5}}, "bounds: 'c' is fixed; leave it out of one of the two"),
        ({"bounds": {"c": (0, 1)}, "tied": {"c": "a/5"}}, "bounds: 'c' is tied to a/5"),
        ({"start": [1, 1, 0], "sigma": np.full((60, 60), np.nan)}, r"the covariance is nan at \[0, 0\]"),
        ({"fixed": {"c": 0.5}, "tied": {"c": "a"}}, "'c' is in fixed and in tied"),
        ({"fixed": {"c": 0.5}, "start": {"a": 1, "b": 1, "c": 0}}, "start: 'c' is fixed"),
    ],
)
def test_names_that_are_settled(options, words):
    """What is given for a name that is fixed or tied, and a covariance that is none, is refused with what is wrong."""
    with pytest.raises(ArgumentError, match=words):
        fit(MODEL, DECAY, "y", **options)


def test_columns_whose_labels_differ():
    """Series that pandas would align are not taken row by row; names that are no text are said to be none."""
    pandas = pytest.importorskip("pandas")
    x, y = pandas.Series([1.0, 2.0, 3.0], index=[2, 1, 0]), pandas.Series([1.0, 2.0, 2.5])
    for data, target in (({"x": x, "y": y}, "y"), (pandas.DataFrame({"x": x}, index=x.index), y)):
        with pytest.raises(DataError, match="different labels of rows"):
            fit("a*x + b", data, target)
    found = fit("a*x + b", pandas.DataFrame({"x": x, "y": y}), "y")
    assert found.params == fit("a*x + b", {"x": x.sort_index().to_numpy(), "y": y}, "y").params
    with pytest.raises(DataError, match="none that have a text as a name"):
        fit("a*x", pandas.DataFrame(np.eye(3)), "y")
