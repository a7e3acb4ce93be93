"""Systems given by diagonals, and normal densities of singular covariances, beside SciPy's."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

import gradcompile as gc
from gradcompile import linalg, stats

COV = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])


def test_a_singular_covariance_and_the_entropy():
    x, c = gc.array("x", 3), gc.array("c", (3, 3))
    density = stats.multivariate_normal.logpdf(x, np.zeros(3), c, allow_singular=True)
    f = gc.compile_grad(density + stats.multivariate_normal.entropy(np.zeros(2), c[:2, :2]), [x, c])
    at = np.array([0.3, -0.4, 0.0])
    value, (slope, by_cov) = f(at, COV)
    entropy = scipy.stats.multivariate_normal.entropy(np.zeros(2), COV[:2, :2])
    np.testing.assert_allclose(value, scipy.stats.multivariate_normal(np.zeros(3), COV, True).logpdf(at) + entropy)
    np.testing.assert_allclose(slope[:2], -np.linalg.solve(COV[:2, :2], at[:2]), rtol=1e-12)
    half = np.linalg.solve(COV[:2, :2], at[:2])
    np.testing.assert_allclose(by_cov[:2, :2], 0.5 * np.outer(half, half), rtol=1e-10, atol=1e-14)
    assert f(np.array([0.3, -0.4, 0.1]), COV)[0] == -np.inf
    assert np.isnan(f(at, COV + 1e-12 * np.eye(3))[0])


@pytest.mark.parametrize("width", [(1, 2), (0, 1), (2, 0)])
def test_banded_systems(width):
    rng = np.random.default_rng(1)
    bands, right = rng.normal(size=(sum(width) + 1, 6)), rng.normal(size=6)
    bands[width[1]] += 5.0
    b = gc.array("b", bands.shape)
    f = gc.compile_grad(np.sum(linalg.solve_banded(width, b, right) ** 2), [b])
    np.testing.assert_allclose(f(bands)[0], np.sum(scipy.linalg.solve_banded(width, bands, right) ** 2), rtol=1e-12)
