"""The functions of generated code: what they are at special values, and with the JIT off; special functions in ulps.

Elementary functions are held to their bounds by test_vmath_ulps.py.
"""

import math
import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from gradcompile import vmath
from gradcompile.library import joint, special
from gradcompile.ops import OPS
from gradcompile.testing import ulps
from tests import plain
from tests.cases_vmath import BY_NAME, exact

SPAN = {"power": ((1e-3, 50.0), (-20.0, 20.0)), "lambertw": ((-0.3678794411, 50.0),), "gamma": ((-8.9, 30.0),)}
TIGHT = {"polygamma": 16.0, "besselj": 64.0, "bessely": 64.0, "besseli": 64.0, "besselk": 64.0, "erfc": 8.0,
         "gammainc_slope": 64.0, "airyai": 256.0, "airyaiprime": 256.0}  # fmt: skip  # mostly SciPy's own
NANS = [n for n in vmath.__all__ if n not in ("hypot", "heaviside", "power")]


def error(got, want, name):
    if name in ("besselj", "bessely") and abs(want) < 0.1:  # near a zero
        return float(abs(got - want) / np.spacing(0.1))
    return ulps(float(got), want)


@pytest.mark.parametrize("name", [*special.__all__, *joint.__all__])
def test_special_functions(name):
    op, rng = BY_NAME[name], np.random.default_rng(2)
    function = getattr(joint if name in joint.__all__ else special, name)
    for order in op.orders or (None,):
        for _ in range(12):
            x = rng.uniform(*((-0.3678794411, -1e-6) if order == -1 else SPAN.get(name, op.domain)[0]))
            more = [rng.uniform(*span) for span in op.domain[1:]]
            args = (x, *more) if order is None else ((x, order) if name == "lambertw" else (order, x))
            want = exact(op, x, *(more if order is None else (order,)))
            assert error(function(*args), want, name) <= TIGHT.get(name, 16.0), args


@pytest.mark.parametrize(
    "x", [-0.36787944117144228, -0.3678794411714, -0.36787, -0.3678, -0.36, -0.1, -1e-300, 1e-300, 1e-9, 1e10, 1e300]
)
@pytest.mark.parametrize("branch", [0, -1])
def test_lambertw_from_end_to_end(x, branch):
    if branch == 0 or x < 0:
        bound = 4.0 if abs(x + 0.3678) > 1e-2 else 32.0
        assert ulps(special.lambertw(x, branch), exact(OPS["lambertw"], x, branch)) <= bound


EDGES = [
    (special.lambertw, (0.0, 0), 0.0),
    (special.lambertw, (0.0, -1), -math.inf),
    (special.lambertw, (-1.0, 0), math.nan),
    (special.lambertw, (1.0, -1), math.nan),
    (special.lambertw, (math.inf, 0), math.inf),
    (special.lambertw, (math.nan, 0), math.nan),
    (special.polygamma, (1, 0.0), math.inf),
    (special.polygamma, (2, -1.0), math.nan),
    (special.polygamma, (1, math.inf), 0.0),
    (special.polygamma, (1, math.nan), math.nan),
    (special.polygamma, (1, -12345.5), math.nan),
    (special.zeta, (math.inf, 1.0), 1.0),
    (special.zeta, (math.inf, 2.0), 0.0),
    (special.zeta, (math.inf, 0.5), math.inf),
    (special.zeta, (1e9, 1.0), 1.0),
    (special.zeta, (2.0, math.inf), 0.0),
    (special.zeta, (math.nan, 1.0), math.nan),
    (special.zeta_slope, (math.inf, 1.0), 0.0),
    (special.zeta_slope, (1e9, 1.0), 0.0),
    (special.zeta_slope, (2.0, math.nan), math.nan),
    (special.gamma, (-1.0,), math.nan),
    (special.gamma, (200.0,), math.inf),
    (vmath.exp, (1000.0,), math.inf),
    (vmath.exp, (-math.inf,), 0.0),
    (vmath.log, (0.0,), -math.inf),
    (vmath.log, (-1.0,), math.nan),
    (vmath.sqrt, (-0.0,), -0.0),
    (vmath.sin, (math.inf,), math.nan),
    (vmath.sinh, (1000.0,), math.inf),
    (vmath.atanh, (1.0,), math.inf),
    (vmath.power, (0.0, 0.0), 1.0),
    (vmath.power, (0.0, -1.0), math.inf),
    (vmath.power, (-8.0, 0.5), math.nan),
    (vmath.power, (-2.0, 3.0), -8.0),
    (vmath.hypot, (3e200, 4e200), 5e200),
    (vmath.hypot, (3e-300, 4e-300), 5e-300),
    (vmath.hypot, (math.inf, math.nan), math.inf),
    (vmath.atan2, (-0.0, -1.0), -math.pi),
    (vmath.sign, (-0.0,), 0.0),
    (vmath.heaviside, (0.0, 0.5), 0.5),
    (vmath.heaviside, (-1.0, 0.5), 0.0),
    (vmath.maximum, (math.nan, 1.0), math.nan),
    (vmath.maximum, (1.0, math.nan), math.nan),
    (vmath.minimum, (math.nan, 1.0), math.nan),
    (vmath.minimum, (1.0, math.nan), math.nan),
    (vmath.mod, (-1.0, 3.0), 2.0),
    (vmath.mod, (1.0, -3.0), -2.0),
    (vmath.mod, (-3.0, 3.0), 0.0),
    (vmath.mod, (3.0, -3.0), -0.0),
    (vmath.mod, (1.0, 0.0), math.nan),
    (vmath.mod, (-1.0, math.inf), math.inf),
    (vmath.mod, (math.inf, 1.0), math.nan),
    (vmath.sigmoid, (-math.inf,), 0.0),
    (vmath.sigmoid, (math.inf,), 1.0),
    (vmath.softplus, (-math.inf,), 0.0),
    (vmath.softplus, (math.inf,), math.inf),
    (vmath.log1p, (-1.0,), -math.inf),
    (vmath.expm1, (-0.0,), -0.0),
    (vmath.xlogy, (0.0, 0.0), 0.0),
    (vmath.xlogy, (0.0, -1.0), 0.0),
    (vmath.sinc, (-math.inf,), 0.0),
    (vmath.x_over_expm1, (math.inf,), 0.0),
    (vmath.x_over_expm1, (-math.inf,), math.inf),
    (vmath.floor, (-0.5,), -1.0),
    (vmath.ceil, (math.inf,), math.inf),
    (vmath.cbrt, (-27.0,), -3.0),
]


@pytest.mark.parametrize(("function", "args", "want"), EDGES)
def test_special_values(function, args, want):
    name = function.__name__
    got = float((plain.function(name) if name in vmath.__all__ else function)(*args))
    assert (math.isnan(got) and math.isnan(want)) or got == pytest.approx(want, rel=4e-16, abs=0.0)
    assert math.isnan(want) or math.copysign(1.0, got) == math.copysign(1.0, want)


@pytest.mark.parametrize("name", vmath.__all__)
def test_nan_in_nan_out(name):
    count = len(BY_NAME[name].domain)
    for k in range(count if name in NANS else 0):
        assert math.isnan(plain.function(name)(*[math.nan if j == k else 0.5 for j in range(count)]))


@pytest.mark.parametrize("name", vmath.__all__)
def test_single_precision_has_the_same_names(name):
    op = BY_NAME[name]
    row = [np.float32((low + high) / 2 + 0.1) for low, high in op.domain]
    want = float(exact(op, *map(float, row)))
    assert float(plain.function(name, single=True)(*row)) == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("name", sorted([*vmath.__all__, *special.__all__]))
def test_what_ops_print_exists(name):
    assert name in BY_NAME


def test_every_printed_name_is_a_function():
    assert set(BY_NAME) == {*vmath.__all__, *special.__all__, *joint.__all__}


PLAIN = """
import sys, warnings, numpy as np
from gradcompile import vmath
assert "scipy.special" not in sys.modules, "vmath needs SciPy"
with np.errstate(all="ignore"):
    assert vmath.exp(1000.0) == np.inf and vmath.log(0.0) == -np.inf and np.isnan(vmath.mod(1.0, 0.0))
    from gradcompile.library import special
    assert special.gamma(5.0) == 24.0 and np.isnan(special.lambertw(-1.0, 0)) and special.polygamma(1, 0.0) == np.inf
    assert abs(special.besselj(1, 2.0) - 0.5767248077568734) < 1e-15
print(type(vmath.exp).__name__)
"""


def test_without_the_jit_they_are_plain_functions():
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", PLAIN], env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("function", "")


KERNEL = """
import sys
sys.path.insert(0, sys.argv[1])
from kernel_of_special import kernel
print(repr(kernel(2.5)), sum(kernel.stats.cache_hits.values()))
"""


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="there is no cache without compilation")
def test_kernels_of_special_functions_are_cached(tmp_path):
    text = "import numba\nfrom gradcompile.library.special import besselj, gamma\n\n\n"
    text += "@numba.njit(cache=True)\ndef kernel(x):\n"
    (tmp_path / "kernel_of_special.py").write_text(text + "    return besselj(2, x) + gamma(x)\n")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    runs = [
        subprocess.run(
            [sys.executable, "-c", KERNEL, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]
    (first, missed), (second, hit) = (run.stdout.split() for run in runs)
    assert (first, missed, hit) == (second, "0", "1")
