"""The cache: what is on disk is the user's own and what was written, or it is as if it were not there."""

import errno
import fcntl
import os
import pickle
import shutil
import stat
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest
import sympy as sp

from gradcompile import compile_grad
from gradcompile.cli import main
from gradcompile.codegen import cache
from gradcompile.codegen import functions as jit
from gradcompile.library import special

SOURCE = '''"""A module of the tests, number {number}."""

from gradcompile.codegen.functions import jit


@jit
def kernel(x):
    return x + {number}.0
'''
CHILD = """
import sys, numba
from gradcompile.codegen import functions as jit
module = jit.load(sys.argv[1], "child")
print(jit.precompile(module.kernel, [numba.float64])(1.0), sum(module.kernel.stats.cache_hits.values()))
"""
BOUND = """
import sys, numpy as np, sympy as sp, gradcompile as gc
w, x = sp.symbols("w x")
f = gc.compile_grad((w*x - int(sys.argv[1]))**2 + sp.LambertW(w), [w], inputs=[x])
print(f.bind(3.0)(np.ones(1))[0], f(1.0, 3.0)[0])
"""


ENTRY = "gc_0123456789abcdef0123.0.gco"


class Evil:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADCOMPILE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(jit, "_warned", set())
    return tmp_path / "cache"


def start(code: str, argument: str, stdin: int | None = None, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, argument],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, **environment},
    )


def run(code: str, argument: str, **environment: str) -> list[str]:
    """The words that a process prints."""
    process = start(code, argument, **environment)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out.split()


def again(source: str, ready=jit.precompile) -> tuple[float, int]:
    """What the kernel of a module gives as if in a new process, and how often Numba found it on the disk."""
    jit.modules.pop(f"gc_child_{jit.module_hash(source)}", None)
    kernel = jit.load(source, "child").kernel
    found = ready(kernel, [numba.float64] if ready is jit.precompile else [("double", 1)])(1.0)
    return found, sum(kernel.stats.cache_hits.values()) if ready is jit.precompile else 0


def entry_of(directory: Path) -> Path:
    """The one file of a kernel's machine code."""
    (found,) = (p for p in directory.iterdir() if p.suffix in (".nbc", ".gco") and "gc_caller_" not in p.name)
    return found


def test_processes_at_once_all_succeed_and_the_next_loads_machine_code(directory):
    source = SOURCE.format(number=1)
    processes = [start(CHILD, source) for _ in range(2)]
    assert [p.communicate()[0].split()[0] for p in processes] == ["2.0"] * 2
    assert run(CHILD, source) == ["2.0", "1"]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in directory.rglob("gc_*") if p.is_file())


COUNTED = """
import sys
from gradcompile import compile_grad
from gradcompile.codegen import builtin
compiled, made = builtin.compiled, []
builtin.compiled = lambda *given: made.append(given[1]) or compiled(*given)
found = compile_grad(sys.argv[1], ["a", "b"])(0.5, 2.0)
print(found[0], len(made))
"""


def test_of_several_processes_one_makes_an_entry(directory):
    processes = [start(COUNTED, "a*exp(b) + sin(a)") for _ in range(3)]
    values, counts = zip(*(p.communicate()[0].split() for p in processes), strict=True)
    assert len(set(values)) == 1
    assert sum(map(int, counts)) == sum(p.suffix == ".gco" for p in directory.iterdir()) > 5


OWNER = """
import sys
from gradcompile.codegen import cache
with cache.making(sys.argv[1]):
    print("makes", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner(directory):
    process = start(OWNER, "gc_a", stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "makes\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def polls(monkeypatch):
    """The seconds between attempts to make an entry, which pass at once."""
    found = []
    monkeypatch.setattr(cache, "time", SimpleNamespace(monotonic=lambda: sum(found), sleep=found.append))
    monkeypatch.setattr(cache, "_in_vain", False)
    return found


def polls_for(name: str, polls: list[float]) -> int:
    """How often an entry is waited for."""
    before = len(polls)
    with cache.making(name):
        return len(polls) - before


def test_an_entry_is_waited_for_until_its_owner_dies(owner, polls, monkeypatch):
    def sleep(seconds: float) -> None:
        polls.append(seconds)
        if len(polls) == 3:
            owner.kill()
            owner.wait()

    monkeypatch.setattr(cache.time, "sleep", sleep)
    assert [polls_for(name, polls) for name in ("gc_b", "gc_a", "gc_a")] == [0, 3, 0]


def test_an_entry_is_waited_for_once_and_not_for_ever(owner, polls):
    assert polls_for("gc_a", polls) == pytest.approx(cache.WAIT / cache.POLL, abs=2)
    assert polls_for("gc_a", polls) == 0


def test_a_lock_that_nobody_may_have_is_not_waited_for(directory, polls, monkeypatch):
    def denied(*_: int) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(fcntl, "lockf", denied)
    assert polls_for("gc_a", polls) == 0


def test_a_lock_that_cannot_be_given_back_is_no_error(directory, monkeypatch):
    def lost(file: int, command: int, *_: int) -> None:
        if command == fcntl.LOCK_UN:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        locked.append(file)

    locked: list[int] = []
    monkeypatch.setattr(fcntl, "lockf", lost)
    with cache.making("gc_a"):
        pass
    assert locked


def test_a_lock_outlives_all_that_is_deleted(owner, directory, polls):
    cache.write_entry(ENTRY, b"x")
    cache.shrink(directory, 0)
    assert cache.read_entry(ENTRY) is None
    assert cache.cache_clear().modules == 0
    assert polls_for("gc_a", polls) > 0


def test_the_file_of_locks_is_opened_anew_where_its_number_is_anothers(directory, tmp_path):
    with cache.making("gc_a"):
        number = cache._open[directory]
    with open(tmp_path / "other", "w") as other:
        os.dup2(other.fileno(), number)  # as if all files had been closed, and this opened
        with cache.making("gc_a"):
            assert cache._open[directory] != number
        assert os.path.sameopenfile(number, other.fileno())
    os.close(number)
    shutil.rmtree(directory)
    with cache.making("gc_a"):
        assert os.path.samestat(os.fstat(cache._open[directory]), os.stat(directory / cache.LOCKS))


def changed(entry: Path) -> None:
    content = bytearray(entry.read_bytes())
    content[-len(content) // 2] ^= 1
    entry.write_bytes(content)


def replaced(entry: Path, make) -> None:
    entry.unlink()
    make(entry)


DAMAGES = {
    "changed": changed,
    "cut": lambda e: e.write_bytes(e.read_bytes()[:-100]),
    "cut to its checksum": lambda e: e.write_bytes(e.read_bytes()[:32]),
    "empty": lambda e: e.write_bytes(b""),
    "junk": lambda e: e.write_bytes(os.urandom(5000)),
    "open to all": lambda e: e.chmod(0o666),
    "open to the group": lambda e: e.chmod(0o660),
    "a pipe": lambda e: replaced(e, os.mkfifo),
    "a loop of links": lambda e: replaced(e, lambda p: p.symlink_to(p)),
    "a link": lambda e: e.rename(e.with_name("real")).exists() and e.symlink_to(e.with_name("real")),
    "away": Path.unlink,
}


@pytest.mark.parametrize(
    ("damage", "ready"), [*((d, jit.entry) for d in DAMAGES), ("changed", jit.precompile), ("junk", jit.precompile)]
)
def test_what_is_odd_is_compiled_anew_and_put_right(directory, damage, ready):
    source = SOURCE.format(number=30 + list(DAMAGES).index(damage))
    expected = again(source, ready)[0]
    DAMAGES[damage](entry_of(directory))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert again(source, ready) == (expected, 0)
        assert entry_of(directory).stat().st_mode & 0o777 == 0o600
        assert cache.read_entry(entry_of(directory).name)
        assert again(source, ready) == (expected, int(ready is jit.precompile))


@pytest.mark.parametrize("ready", [jit.precompile, jit.entry])
def test_a_folder_in_the_place_of_an_entry_costs_a_warning(directory, ready):
    source = SOURCE.format(number=50)
    again(source, ready)
    entry = entry_of(directory)
    replaced(entry, Path.mkdir)
    with pytest.warns(RuntimeWarning, match="could not be kept") as found:
        assert again(source, ready) == (51.0, 0)
    assert len(found) == 1
    assert entry.is_dir()


def test_a_directory_deleted_while_a_file_is_written_is_made_anew(directory, monkeypatch):
    replace = os.replace

    def once(*paths):
        monkeypatch.setattr(os, "replace", replace)
        shutil.rmtree(directory)
        replace(*paths)

    monkeypatch.setattr(os, "replace", once)
    cache.write_entry(ENTRY, b"x")
    assert cache.read_entry(ENTRY) == b"x"


def test_an_entry_is_bound_to_its_name(directory):
    cache.write_entry("gc_a", b"content")
    assert cache.read_entry("gc_a") == b"content"
    (directory / "gc_a").rename(directory / "gc_b")
    assert cache.read_entry("gc_b") is None


def test_what_is_read_is_checked_when_it_is_read(directory, tmp_path):
    """The module is loaded before the entry is replaced, by one with a checksum that is right."""
    source = SOURCE.format(number=51)
    again(source)
    module = jit._execute("gc_child_" + jit.module_hash(source), source, str(next(directory.glob("*.py"))))
    entry = entry_of(directory)
    cache.write_entry(entry.name, pickle.dumps(Evil(tmp_path / "pwned")))
    entry.chmod(0o666)
    assert jit.precompile(module.kernel, [numba.float64])(1.0) == 52.0
    assert not (tmp_path / "pwned").exists()


def test_an_entry_in_a_directory_that_others_can_write_is_not_read(directory):
    cache.write_entry("gc_a", b"content")
    directory.chmod(0o777)
    assert cache.read_entry("gc_a") is None


def test_entries_of_another_user_are_not_read(directory, monkeypatch):
    cache.write_entry("gc_a", b"content")
    monkeypatch.setattr(os, "getuid", lambda: directory.stat().st_uid + 1)
    assert cache.read(directory / "gc_a") is None
    assert cache.read_entry("gc_a") is None
    with pytest.raises(PermissionError, match="another user"):
        cache.open_directory()


def test_the_packages_own_functions_are_kept_the_same_way(directory, tmp_path):
    """What lies where Numba would look for it is not read, and damaged entries are none."""
    numbas = tmp_path / "numba"
    first = run(BOUND, "1", NUMBA_CACHE_DIR=str(numbas))
    entries = [p for p in directory.iterdir() if p.suffix == ".nbc"]
    assert "special" in {p.name.split("_")[1] for p in entries}
    assert not list(numbas.rglob("*.nb?"))
    names = [numba.core.caching.FunctionCache(f.py_func)._cache_file for f in (special.lambertw, special.polygamma)]
    evil = pickle.dumps(numba.__version__) + pickle.dumps(Evil(tmp_path / "pwned"))
    for name in names:
        place = numbas / Path(name._cache_path).name / name._index_name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(evil)
    for k, entry in enumerate(entries):
        entry.write_bytes((b"", evil, entry.read_bytes()[:-7])[k % 3])
        entry.chmod((0o600, 0o666)[k % 2])
    assert run(BOUND, "1", NUMBA_CACHE_DIR=str(numbas)) == first
    assert not (tmp_path / "pwned").exists()
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in entries)


def test_an_entry_that_cannot_be_used_is_compiled_anew(directory):
    source = SOURCE.format(number=52)
    again(source)
    cache.write_entry(entry_of(directory).name, pickle.dumps(("what", "is", "no", "code")))
    assert again(source) == (53.0, 0)


def test_functions_inside_others_are_not_kept(directory):
    assert jit._kept_as(lambda x: x) is None


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


def test_a_text_that_others_can_write_is_replaced(directory):
    path = cache.write_module("gc_open", "x = 1\n")
    path.chmod(0o666)
    assert cache.read(path) is None
    assert cache.write_module("gc_open", "x = 1\n").stat().st_mode & 0o777 == 0o600


def blocked_by_a_file(tmp_path: Path) -> str:
    (tmp_path / "a file").write_text("")
    return str(tmp_path / "a file" / "cache")


def shared(tmp_path: Path) -> str:
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o777)
    (place / "notes.txt").write_text("somebody's")
    return str(place)


ODD_PLACES = {
    "in a file": blocked_by_a_file,
    "of nobody": lambda _: "~nosuchuser/x",
    "not UTF-8": lambda path: f"{path}/\udcff",
    "shared with others": shared,
    "too long": lambda path: f"{path}/{'x' * 300}",
}


@pytest.mark.parametrize("place", ODD_PLACES)
def test_an_odd_place_means_memory_and_one_warning(tmp_path, monkeypatch, place):
    monkeypatch.setenv("GRADCOMPILE_CACHE_DIR", ODD_PLACES[place](tmp_path))
    monkeypatch.setattr(jit, "_warned", set())
    number = 60 + 2 * list(ODD_PLACES).index(place)
    with pytest.warns(RuntimeWarning, match="GRADCOMPILE_CACHE_DIR") as found:
        first, second = (again(SOURCE.format(number=number + k))[0] for k in range(2))
    assert (first, second, len(found)) == (number + 1.0, number + 2.0, 1)
    assert not Path("~nosuchuser").exists()


def test_a_shared_directory_keeps_its_mode(tmp_path, directory, monkeypatch):
    place = Path(shared(tmp_path))
    monkeypatch.setenv("GRADCOMPILE_CACHE_DIR", str(place))
    with pytest.raises(PermissionError, match="which holds other files than the cache's"):
        cache.open_directory()
    assert place.stat().st_mode & 0o777 == 0o777
    monkeypatch.setenv("GRADCOMPILE_CACHE_DIR", str(directory))  # one that only has the cache is closed to others
    again(SOURCE.format(number=53))
    directory.chmod(0o777)
    cache.open_directory()
    assert directory.stat().st_mode & 0o777 == 0o755


def test_a_full_disk_is_a_warning(directory, monkeypatch):
    """Also where Numba keeps a function inside the one that is compiled, which is why another is compiled first."""

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    w, x = sp.symbols("w x")
    cache.open_directory()
    monkeypatch.setattr(cache, "write_entry", full)
    f, g = (compile_grad((w * x - c) ** 2, [w], inputs=[x], dtype="float32") for c in (1.625, 1.125))
    with pytest.warns(RuntimeWarning, match="No space left") as found:
        values = f(1.0, 2.0)[0], g.bind(2.0)(np.ones(1, "float32"))[0]
    assert (values, len(found)) == ((0.140625, 0.765625), 1)


def test_nothing_is_left_of_a_write_that_fails(directory, monkeypatch):
    cache.open_directory()
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cache.write_private(directory / "gc_a", "text")
    assert not list(directory.iterdir())


OWN = ("gc_{h}.py", "gc_a_stem_{h}.py", "gc_{h}.{h}.nbc", "gc_a_{h}.kernel-1.py311.nbi", "gc_{h}.12345678.seal",
       "gc_{h}.py.abcd_123.tmp", "gc_a_{h}.{h}.gco")  # fmt: skip
OTHERS = ("gc_utils.py", "gc_.py", "gc_notes.nbc", "gc_{h}.txt", "gc_{h}", "x_{h}.py", "gc_{h}.py.bak", "gc_{H}.py",
          "notes.txt", "gc_a.tmp")  # fmt: skip


def test_clear_deletes_the_caches_own_and_no_more(directory, capsys):
    cache.open_directory()
    for name in (*OWN, *OTHERS):
        (directory / name.format(h="0123456789abcdef0123", H="0123456789ABCDEF0123")).write_text("12345")
    folder = directory / f"gc_{'f' * 20}.{'0' * 20}.nbc"
    folder.mkdir()
    link = directory / f"gc_{'e' * 20}.py"
    link.symlink_to(directory / "notes.txt")
    seal = directory / f"gc_{'d' * 20}.12345678.seal"
    seal.write_text('{"directory": 5, "files": {}}')
    seal.chmod(0)
    assert cache.cache_info().modules == 3
    assert main(["cache", "info"]) == 0
    assert main(["cache", "clear"]) == 0
    assert "3 modules deleted" in capsys.readouterr().out
    left = {p.name for p in directory.iterdir()}
    assert left == {folder.name, *(n.format(h="0123456789abcdef0123", H="0123456789ABCDEF0123") for n in OTHERS)}
    assert (directory / "notes.txt").read_text() == "12345"


def test_clear_and_go_on(directory):
    assert again(SOURCE.format(number=10))[0] == 11.0
    assert cache.cache_info().bytes > len(SOURCE)
    assert cache.cache_clear().modules == 1
    assert cache.cache_info() == (directory, 0, 0)
    assert again(SOURCE.format(number=10)) == (11.0, 0)


def test_an_empty_cache_has_a_size(directory):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.cache_info() == (directory, 0, 0)
        assert cache.cache_clear() == (directory, 0, 0)


@pytest.mark.parametrize("place", ["~nosuchuser/x", "\udcff"])
def test_the_command_says_what_is_wrong_with_the_place(monkeypatch, capsys, place):
    monkeypatch.setenv("GRADCOMPILE_CACHE_DIR", place)
    assert main(["cache", "info"]) == 2
    assert "GRADCOMPILE_CACHE_DIR" in capsys.readouterr().err


GONE = """
import os, sys, tempfile, numpy as np, sympy as sp, gradcompile as gc
place = tempfile.mkdtemp()
os.chdir(place)
os.rmdir(place)
w, x = sp.symbols("w x")
f = gc.compile_grad((w*x - 1)**2, [w], inputs=[x])
print(f(1.0, 3.0)[0], f.bind(3.0)(np.ones(1))[0], os.path.samefile("/", "."))
"""


def test_a_working_directory_that_was_deleted(directory):
    assert run(GONE, "") == ["4.0", "4.0", "False"]
    shutil.rmtree(directory)


def test_what_was_not_used_for_longest_goes_where_the_cache_grows_too_large(directory, monkeypatch):
    names = [f"gc_{k:020x}.code.gco" for k in range(8)]
    for k, name in enumerate(names):
        cache.write_entry(name, bytes(1 << 18))
        os.utime(directory / name, (1e9 + k, 1e9 + k))
    (directory / "mine.txt").write_bytes(bytes(1 << 20))
    assert cache.read_entry(names[0])  # used just now
    monkeypatch.setenv("GRADCOMPILE_CACHE_MB", "1.5")
    monkeypatch.setattr(cache, "_written", 0)
    cache.write_entry(f"gc_{9:020x}.code.gco", b"new")
    left = sorted(p.name for p in directory.iterdir())
    assert left == sorted([names[0], *names[-3:], f"gc_{9:020x}.code.gco", "mine.txt"])


GROWS = """
import sys
from gradcompile.codegen import cache
cache.ROUND = 1
for k in range(40):
    name = f"gc_{k:020x}.code{sys.argv[1]}.gco"
    cache.write_entry(name, bytes(1 << 16))
    assert cache.read_entry(name) in (None, bytes(1 << 16))
"""


def test_processes_that_share_a_cache_keep_it_small(directory, monkeypatch):
    monkeypatch.setenv("GRADCOMPILE_CACHE_MB", "1")
    processes = [start(GROWS, str(k)) for k in range(4)]
    assert [p.wait() for p in processes] == [0] * 4
    assert cache.cache_info().bytes <= (1 << 20) + 4 * (1 << 16)
