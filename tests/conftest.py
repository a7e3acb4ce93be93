"""What tests share: a cache of the session's own, a checker of what is lowered, the option for golden files, peers.

A peer is a framework that some tests compare with: its fixture is the package, and the mark of the tests that ask for
it is `peers`. Without the package they are skipped; with `--peers`, what is missing is an error.
"""

import atexit
import gc
import importlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

_IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ  # one of several processes: they share what the first one made
_CACHE = os.environ["GRADCOMPILE_CACHE_DIR"] if _IS_WORKER else tempfile.mkdtemp(prefix="gradcompile-tests-")
os.environ["GRADCOMPILE_CACHE_DIR"] = _CACHE
os.environ["NUMBA_CACHE_DIR"] = os.path.join(_CACHE, "numba")
os.environ["MPLBACKEND"] = "Agg"
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # small problems: others would wait, busily
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # of JAX numbers are wanted, each of them once
os.environ["GRADCOMPILE_TRACEBACK"] = "full"  # who tests the package wants its frames
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):  # bytecode is kept all the same, beside what pytest keeps
    sys.dont_write_bytecode = False
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(Path(__file__).parents[1] / ".pytest_cache/bytecode")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and tests send it
if not _IS_WORKER:
    atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

import pytest

from tests import lowered, pages

if "LOWERED_ELSEWHERE" not in os.environ:  # by the session that started this one, which checks the same texts
    lowered.watch()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files in tests/golden")
    parser.addoption("--peers", action="store_true", help="a peer that is missing is an error")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: Any, log: Any) -> Any:
    """With `-n`, a file is run by one process: its tests share fixtures, and what they compile."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # files that take longest are not those with most tests
    return LoadFileScheduling(config, log)


PEERS = {"jax": "jax.numpy", "torch": "torch"}  # the fixture, and what is imported


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect tests without the garbage collector, which next to nothing would be for; nor does it look at them later.

    A wrapper, as the process that hands out tests with `-n` collects none, and is to have its collector again too.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        gc.set_threshold(100_000, 20, 50)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if PEERS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker("peers")


def peer(request: pytest.FixtureRequest, name: str) -> ModuleType:
    """A peer's package, if it is installed."""
    if not request.config.getoption("--peers"):
        pytest.importorskip(PEERS[name])
    importlib.import_module(PEERS[name])
    return importlib.import_module(name)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, headless."""
    yield from pages.chromium()


@pytest.fixture
def jax(request: pytest.FixtureRequest) -> ModuleType:
    """JAX, or the test is skipped."""
    return peer(request, "jax")


@pytest.fixture
def torch(request: pytest.FixtureRequest) -> ModuleType:
    """PyTorch, or the test is skipped."""
    return peer(request, "torch")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether this run rewrites the golden files instead of comparing against them."""
    return bool(request.config.getoption("--update-golden"))
