"""The cache: what is on disk is the user's own and what was written, or it is not used."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numba
import pytest

from gradcompile.runtime import cache, jit

SOURCE = '''"""A module of the tests, number {number}."""

from gradcompile.runtime.jit import jit


@jit
def kernel(x):
    return x + {number}.0
'''
CHILD = """
import sys, numba
from gradcompile.runtime import jit
module = jit.load(sys.argv[1], "child")
print(jit.precompile(module.kernel, [numba.float64])(1.0), sum(module.kernel.stats.cache_hits.values()))
"""


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADCOMPILE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def start(source: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, source],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, **environment},
    )


def run(source: str, **environment: str) -> list[str]:
    """What the kernel of a module gives in a process of its own, and how often it came from the disk."""
    process = start(source, **environment)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out.split()


def test_a_second_process_loads_machine_code(directory):
    assert [run(SOURCE.format(number=1)) for _ in range(2)] == [["2.0", "0"], ["2.0", "1"]]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in directory.rglob("gc_*") if p.is_file())


def test_numba_cache_dir_is_respected(directory, tmp_path):
    places = {"NUMBA_CACHE_DIR": str(tmp_path / "elsewhere")}
    assert [run(SOURCE.format(number=2), **places)[1] for _ in range(2)] == ["0", "1"]
    assert list((tmp_path / "elsewhere").rglob("*.nbc"))
    assert cache.cache_info().bytes > sum(p.stat().st_size for p in directory.glob("*.py"))
    cache.cache_clear()
    assert not list(tmp_path.rglob("gc_*"))


def compiled(source: str) -> Path:
    """The machine code of a module that is compiled and sealed by this process."""
    module = jit.load(source, "child")
    jit.precompile(module.kernel, [numba.float64])
    (code,) = Path(module.kernel.stats.cache_path).glob(f"{module.__name__}.*.nbc")
    return code


DAMAGES = ("change", "truncate", "unseal", "spoil the seal", "open to all")


@pytest.mark.parametrize(("place", "damage"), list(enumerate(DAMAGES, start=30)))
def test_machine_code_that_no_seal_vouches_for_is_not_loaded(directory, place, damage):
    source = SOURCE.format(number=place)
    code = compiled(source)
    (seal,) = directory.glob("*.seal")
    if damage == "change":
        content = bytearray(code.read_bytes())
        content[len(content) // 2] ^= 1
        code.write_bytes(content)
    elif damage == "truncate":
        code.write_bytes(code.read_bytes()[:100])
    elif damage == "unseal":
        seal.unlink()
    elif damage == "spoil the seal":
        cache.write(seal, '{"files": 3}')
    else:
        code.chmod(0o666)
    assert run(source) == [f"{1.0 + place}", "0"]


def test_two_processes_at_once_both_succeed(directory):
    source = SOURCE.format(number=5)
    processes = [start(source) for _ in range(3)]
    assert [p.communicate()[0].split()[0] for p in processes] == ["6.0"] * 3


def test_a_file_of_other_content_is_replaced_and_never_run(directory):
    source = SOURCE.format(number=6)
    name = f"gc_{jit.module_hash(source)}"
    cache.open_directory()
    path = directory / f"{name}.py"
    path.write_text("raise SystemExit('run')")
    assert jit.load(source).kernel.py_func.lowered_from(1.0) == 7.0
    assert path.read_text() == source


def test_what_is_compiled_is_the_text_in_memory_not_the_file(directory):
    module = jit.load(SOURCE.format(number=11))
    Path(module.__file__).write_text(SOURCE.format(number=12))
    assert jit.precompile(module.kernel, [numba.float64])(1.0) == 12.0


def test_a_link_is_replaced_and_what_it_points_at_is_left_alone(directory, tmp_path):
    source = SOURCE.format(number=7)
    cache.open_directory()
    target = tmp_path / "target"
    target.write_text(source)
    path = directory / "gc_link.py"
    path.symlink_to(target)
    cache.write_module("gc_link", source)
    assert not path.is_symlink()
    assert target.read_text() == source


def test_a_file_that_others_can_write_is_replaced(directory):
    path = cache.write_module("gc_open", "x = 1\n")
    path.chmod(0o666)
    assert not cache.trusted(path)
    assert cache.write_module("gc_open", "x = 1\n").stat().st_mode & 0o777 == 0o600


def test_a_file_of_another_user_is_not_trusted(directory, monkeypatch):
    path = cache.write_module("gc_foreign", "x = 1\n")
    monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
    assert not cache.trusted(path)
    with pytest.raises(PermissionError, match="another user"):
        cache.open_directory()


def test_no_directory_means_memory_and_one_warning(tmp_path, monkeypatch):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("GRADCOMPILE_CACHE_DIR", str(blocked / "cache"))
    monkeypatch.setattr(jit, "_warned", set())
    with pytest.warns(RuntimeWarning, match="GRADCOMPILE_CACHE_DIR"):
        first = jit.load(SOURCE.format(number=8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = jit.load(SOURCE.format(number=9))
    assert (first.kernel(1.0), second.kernel(1.0)) == (9.0, 10.0)


def test_clear_leaves_other_files(directory):
    jit.load(SOURCE.format(number=10))
    other = directory / "notes.txt"
    other.write_text("mine")
    assert cache.cache_info().modules == 1
    assert cache.cache_clear().modules == 1
    assert cache.cache_info()[1:] == (0, 0)
    assert other.read_text() == "mine"


def test_an_empty_cache_has_a_size(directory):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.cache_info() == (directory, 0, 0)
