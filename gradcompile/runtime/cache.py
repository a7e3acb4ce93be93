"""The cache directory: generated modules, and Numba's machine code under a seal of checksums.

The text of a module is never read back to be run: what runs is the text in memory, and the file beside it serves
tracebacks, debuggers and Numba. Machine code is read back, by Numba, from files that carry no checksum of their own.
So each module has a seal, a file that lists the SHA-256 of every machine-code file that was complete when it was
written; what a seal does not vouch for is deleted before Numba can see it.
"""

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PREFIX = "gc_"
_MACHINE_CODE = (".nbi", ".nbc", ".gco")  # Numba's two, and the package's own


class CacheInfo(NamedTuple):
    """Where the cache is, how many generated modules it holds, and the bytes of these and their machine code."""

    path: Path
    modules: int
    bytes: int


def location() -> Path:
    """The cache directory: GRADCOMPILE_CACHE_DIR, or the platform's place for the user's caches."""
    chosen = os.environ.get("GRADCOMPILE_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("gradcompile", appauthor=False))


def open_directory() -> Path:
    """The cache directory, made if need be, writable and the user's own; raises OSError with the reason if not."""
    path = location()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if not _is_ours(status):
        raise PermissionError(f"{path} belongs to another user")
    if os.name == "posix" and status.st_mode & 0o022:
        path.chmod(stat.S_IMODE(status.st_mode) & ~0o022)
    with tempfile.TemporaryFile(dir=path):  # what the permissions say and what a file system allows can differ
        return path


def trusted(path: Path) -> bool:
    """Whether a path is a regular file of this user's that nobody else can write, and no link."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    others_write = os.name == "posix" and status.st_mode & 0o022
    return stat.S_ISREG(status.st_mode) and _is_ours(status) and not others_write


def _is_ours(status: os.stat_result) -> bool:
    return os.name != "posix" or status.st_uid == os.getuid()


def write(path: Path, content: str | bytes) -> None:
    """Write a file in one step, readable and writable by its owner alone: readers see all of it or none."""
    handle, temporary = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def holds(path: Path, text: str) -> bool:
    """Whether a trusted file has exactly this text."""
    return trusted(path) and path.read_bytes() == text.encode()


def write_module(name: str, source: str) -> Path:
    """The file of a generated module in the cache directory; one with other content or another owner is replaced."""
    path = open_directory() / f"{name}.py"
    if not holds(path, source):
        _remove(path)
        write(path, source)
    return path


def machine_code(name: str, directory: Path) -> list[Path]:
    """Numba's files of a module in the directory that Numba chose for them."""
    return sorted(p for p in directory.glob(f"{name}.*") if p.suffix in _MACHINE_CODE)


def seal(name: str, directory: Path) -> None:
    """Vouch for the machine code that a module has now."""
    checksums = {}
    for path in machine_code(name, directory):
        try:
            path.chmod(0o600)
            checksums[path.name] = _checksum(path)
        except FileNotFoundError:  # another process replaced it between the listing and now; it will seal its own
            continue
    content = {"directory": str(directory), "files": checksums}
    write(_seal_path(name, directory), json.dumps(content, indent=1))


def enforce_seal(name: str, directory: Path) -> None:
    """Delete the machine code of a module that no seal vouches for: unlisted, changed, foreign or a link."""
    sealed = _read_seal(_seal_path(name, directory)).get("files", {})
    for path in machine_code(name, directory):
        if not trusted(path) or sealed.get(path.name) != _checksum(path):
            _remove(path)


def _seal_path(name: str, directory: Path) -> Path:
    place = hashlib.sha256(str(directory).encode()).hexdigest()[:8]
    return location() / f"{name}.{place}.seal"


def _read_seal(path: Path) -> dict[str, Any]:
    """What a seal says; nothing if it is missing, not ours or damaged."""
    if not trusted(path):
        return {}
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("files"), dict) else {}


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _files(directory: Path) -> Iterator[Path]:
    """Every file of the cache: modules, seals, remains of interrupted writing, machine code wherever a seal says."""
    places = {directory, directory / "__pycache__"}
    for path in directory.glob(f"{PREFIX}*"):
        if path.suffix in (".py", ".seal", ".tmp"):
            yield path
        if path.suffix == ".seal":
            places.add(Path(_read_seal(path).get("directory", directory)))
    for place in sorted(places):
        yield from (p for p in place.glob(f"{PREFIX}*") if p.suffix in _MACHINE_CODE)


def cache_info() -> CacheInfo:
    """Where the cache is and how large.

    >>> cache_info()._fields
    ('path', 'modules', 'bytes')
    """
    files = list(_files(location()))
    return CacheInfo(location(), sum(p.suffix == ".py" for p in files), sum(p.lstat().st_size for p in files))


def cache_clear() -> CacheInfo:
    """Delete every generated module and its machine code; returns what there was. Other files stay.

    Losses compiled in this process keep working.
    """
    info = cache_info()
    for path in list(_files(info.path)):
        _remove(path)
    return info
