"""The primitives of elementary functions, as plain Python: fma above all, which Python itself has only since 3.13."""

import math
from fractions import Fraction

import numpy as np
import pytest

from gradcompile.library import primitives
from gradcompile.library.primitives import (
    at_least,
    at_most,
    bits,
    fma,
    fmod,
    from_bits,
    from_bits32,
    rint,
    to_int,
    trunc,
)

INF, NAN, TINY, HUGE = math.inf, math.nan, 5e-324, 1.7976931348623157e308
ORDINARY = [0.0, 1.0, 1.0 + 2**-52, 1.0 - 2**-53, 1.5, 1e-30, 1e30, 2.0**-500, 2.0**500]
EXTREME = [TINY, 3 * TINY, 2.0**-1022, 2.0**-1000, 2.0**-540, 2.0**540, 2.0**1000, HUGE]


def exact_sum(x, y, z):
    """x*y + z rounded once, by fractions."""
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    try:
        return exact.numerator / exact.denominator
    except OverflowError:
        return INF if exact > 0 else -INF


@pytest.mark.parametrize("function", [fma, primitives._fma64])
@pytest.mark.parametrize("x", [s * v for v in ORDINARY + EXTREME for s in (1, -1)])
def test_fma_rounds_once(function, x):
    rng = np.random.default_rng(5)
    values = [s * v for v in ORDINARY + EXTREME for s in (1, -1)]
    for y in values:
        near = -x * y * (1 + rng.integers(-4, 5, 3) * 2.0**-52) if abs(x * y) < 1e300 else ()
        for z in (*values, -x * y, *near):
            if math.isfinite(z):
                assert function(x, y, float(z)) == exact_sum(x, y, float(z)), (x, y, z)


def test_fma_rounds_once_wherever_terms_overlap():
    rng = np.random.default_rng(6)
    for x, y, u, k in zip(*rng.uniform(-2, 2, (3, 5000)), rng.integers(-115, 115, 5000), strict=True):
        z = u * 2.0 ** float(k)
        assert primitives._fma64(float(x), float(y), float(z)) == exact_sum(float(x), float(y), float(z))


@pytest.mark.parametrize(
    ("args", "want"),
    [
        ((INF, 0.0, 1.0), NAN), ((INF, 1.0, -INF), NAN), ((NAN, 1.0, 1.0), NAN), ((1.0, 1.0, NAN), NAN),
        ((INF, -2.0, 5.0), -INF), ((1.0, 2.0, INF), INF), ((HUGE, 2.0, -INF), -INF), ((HUGE, 2.0, 0.0), INF),
        ((-0.0, 1.0, -0.0), -0.0), ((-0.0, 1.0, 0.0), 0.0), ((1.0, 1.0, -1.0), 0.0), ((TINY, TINY, 0.0), 0.0),
    ],
)  # fmt: skip
def test_fma_of_special_values(args, want):
    got = fma(*args)
    np.testing.assert_array_equal(got, want)
    assert math.isnan(want) or math.copysign(1.0, got) == math.copysign(1.0, want)


def test_fma_of_single_precision_rounds_once_to_single_precision():
    rng = np.random.default_rng(7)
    for k in range(2000):
        x, y, z = (np.float32(v) for v in rng.uniform(-2, 2, 3) * 2.0 ** rng.integers(-60, 40, 3))
        z = z if k % 3 else np.float32(-float(x) * float(y))
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        got = fma(x, y, z)
        assert type(got) is np.float32
        gap = abs(Fraction(float(got)) - exact)
        for other in (np.nextafter(got, np.float32(-INF)), np.nextafter(got, np.float32(INF))):
            assert gap <= abs(Fraction(float(other)) - exact)


@pytest.mark.parametrize("x", [0.0, -0.0, 1.0, -1.5, INF, -INF, TINY, HUGE])
def test_bits_go_there_and_back(x):
    assert math.copysign(1.0, from_bits(bits(x))) == math.copysign(1.0, x) and from_bits(bits(x)) == x
    assert from_bits(bits(x) + (1 << 64)) == x and -(2**63) <= bits(x) < 2**63
    with np.errstate(over="ignore"):
        single = np.float32(x)
    assert from_bits32(bits(single) - (1 << 32)) == single and -(2**31) <= bits(single) < 2**31


@pytest.mark.parametrize("name", ["sqrt", "fabs", "floor", "ceil", "rint", "trunc"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_functions_of_one_argument_are_numpys(name, dtype):
    x = np.array([0.0, -0.0, 0.4, -0.4, 0.5, 1.5, 2.5, -2.5, 2.0**31 + 0.5, 1e30, INF, -INF, NAN], dtype)
    kind = float if dtype is np.float64 else dtype
    got = [getattr(primitives, name)(kind(v)) for v in x]
    with np.errstate(invalid="ignore"):
        want = getattr(np, name)(x)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got)[~np.isnan(want)], np.signbit(want)[~np.isnan(want)])
    assert all(type(v) is kind for v in got)


def test_what_does_not_fit_an_integer_raises_nothing():
    assert to_int(2.9) == 2 and to_int(-2.9) == -2 and to_int(NAN) == 0 and isinstance(to_int(INF), int)


def test_fmod_and_bounds_have_values_everywhere():
    assert math.isnan(fmod(1.0, 0.0)) and math.isnan(fmod(INF, 1.0)) and math.isnan(fmod(1.0, NAN))
    assert fmod(-1.0, INF) == -1.0 and fmod(1e300, 3.0) == math.fmod(1e300, 3.0)
    assert math.isnan(at_most(NAN, 0.0)) and at_most(1.0, NAN) == 1.0 and at_least(-INF, -1.0) == -1.0
    assert type(at_most(np.float32(5), 1.0)) is np.float32
    assert rint(-0.5) == 0.0 and math.copysign(1.0, rint(-0.5)) == -1.0 and trunc(np.float32(-1.5)) == -1.0


def test_a_fused_product_keeps_the_kind_of_its_arguments():
    """Numbers of NumPy divide by zero in silence, Python's raise: what generated code divides by stays NumPy's."""
    from plain import function

    with np.errstate(all="ignore"):
        assert 1.0 / function("hypot")(np.float64(0.0), np.float64(0.0)) == np.inf
    assert type(fma(1.0, 2.0, np.float64(3.0))) is np.float64
    assert type(fma(1.0, 2.0, 3.0)) is float
