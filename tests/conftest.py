"""What every test shares: a cache of the session's own, a checker of what is lowered, the option for golden files."""

import atexit
import os
import shutil
import tempfile

_CACHE = tempfile.mkdtemp(prefix="gradcompile-tests-")
os.environ["GRADCOMPILE_CACHE_DIR"] = _CACHE
os.environ["NUMBA_CACHE_DIR"] = os.path.join(_CACHE, "numba")
os.environ["MPLBACKEND"] = "Agg"
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

import pytest

from tests import lowered

lowered.watch()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files in tests/golden")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether this run rewrites the golden files instead of comparing against them."""
    return bool(request.config.getoption("--update-golden"))
