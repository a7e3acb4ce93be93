"""The cache directory: the texts of generated modules, and entries of machine code that are checked as they are read.

The text of a module is never read back to be run: what runs is the text in memory, and the file beside it serves
tracebacks and debuggers. Machine code is read back, so it stands in a directory of the user's own, in files that open
with a checksum over their name and content. Owner, permissions and checksum are those of the bytes that are read, in
the moment they are read. What is odd in any way (damaged, someone else's, a link, a folder) is as if it were not there.

The directory has a size that it is kept to: what was not used for longest goes. Processes that share it may do so at
the same time, as a file that goes while it is read stays until it is read, and one of them makes what all of them want.
"""

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

PREFIX = "gc_"
_SUM = hashlib.sha256().digest_size  # bytes before the content of an entry
_SPECIAL = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")  # no link, no waiting for a pipe; where there are such
MOST = 512 << 20  # bytes in all; GRADCOMPILE_CACHE_MB says otherwise
LEFT = 0.75  # the part of them that stays when some have to go
ROUND = 200  # files that a process writes until it looks again, which takes some milliseconds
FRESH = 3600.0  # seconds in which a second use need not be noted
WAIT = 30.0  # seconds that are waited for an entry which another process makes
POLL = 0.01  # after which it is asked for again
LOCKS = f"{PREFIX}locks"  # a file with a byte for each entry, which a process locks while it makes that
_open: dict[Path, int] = {}  # that file, by its directory
_in_vain = False  # whether an entry was waited for and was not made
_written = 0
_HEX = frozenset("0123456789abcdef")
_ENTRIES = ("nbi", "nbc", "gco")


class CacheInfo(NamedTuple):
    """Where the cache is, how many generated modules it holds, and the bytes of these and their machine code."""

    path: Path
    modules: int
    bytes: int


def location() -> Path:
    """The cache directory: GRADCOMPILE_CACHE_DIR, or the platform's place for the user's caches; OSError if there can
    be none of that name.
    """
    chosen = os.environ.get("GRADCOMPILE_CACHE_DIR")
    if not chosen:
        from platformdirs import user_cache_dir

        return Path(user_cache_dir("gradcompile", appauthor=False))
    try:
        chosen.encode()
        return Path(chosen).expanduser().absolute()
    except RuntimeError as error:
        raise FileNotFoundError(f"GRADCOMPILE_CACHE_DIR is {chosen!r}: {error}") from None
    except UnicodeEncodeError:
        raise FileNotFoundError(f"GRADCOMPILE_CACHE_DIR is {chosen!r}, which is not UTF-8") from None


def open_directory() -> Path:
    """The cache directory, made if need be, and the user's own; raises OSError with the reason if not."""
    path = location()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if not _is_ours(status):
        raise PermissionError(f"{path} belongs to another user")
    if _others_write(status):
        if not all(is_own(p.name) or p.name == "__pycache__" for p in path.iterdir()):
            raise PermissionError(f"others can write to {path}, which holds other files than the cache's")
        path.chmod(stat.S_IMODE(status.st_mode) & ~0o022)
    return path


def is_own(name: str) -> bool:
    """Whether this is the name of a file of the cache: a text, an entry, a part of one that was written, the locks.

    Of earlier versions also Numba's index files, and seals.

    >>> digest = "0123456789abcdef0123"
    >>> [is_own(f"gc_{digest}{end}") for end in (".py", ".kernel.gco", ".py.ab_3d5f7.tmp", ".0123abcd.seal", ".txt")]
    [True, True, True, True, False]
    >>> is_own(f"gc_loss_{digest}.py"), is_own(f"gcx_{digest}.py"), is_own("gc_loss.py")
    (True, False, False)
    """
    if name == LOCKS:
        return True
    if name.endswith(".tmp"):
        name, _, mark = name.removesuffix(".tmp").rpartition(".")
        if not is_word(mark) or len(mark) != 8 or mark != mark.lower():
            return False
    module, _, rest = name.partition(".")
    stem, _, digest = module.rpartition("_")
    kind, _, end = rest.rpartition(".")
    is_module = is_word(module) and f"{stem}_".startswith(PREFIX) and is_hash(digest, 20)
    is_entry = (bool(kind) and end in _ENTRIES) or (end == "seal" and is_hash(kind, 8))
    return is_module and (rest == "py" or is_entry)


def is_word(text: str) -> bool:
    """Whether a text is letters, digits and underscores of ASCII."""
    return text.isascii() and text.replace("_", "a").isalnum()


def is_hash(text: str, length: int) -> bool:
    """Whether a text is a hash of so many digits."""
    return len(text) == length and _HEX.issuperset(text)


def _is_ours(status: os.stat_result) -> bool:
    return os.name != "posix" or status.st_uid == os.getuid()


def _others_write(status: os.stat_result) -> bool:
    return os.name == "posix" and bool(status.st_mode & 0o022)


def read(path: Path) -> bytes | None:
    """What is in a file; None unless it is a regular file of this user's that nobody else can write, and no link."""
    try:
        with open(path, "rb", opener=_opened) as file:
            status = os.fstat(file.fileno())
            trusted = stat.S_ISREG(status.st_mode) and _is_ours(status) and not _others_write(status)
            return file.read() if trusted else None
    except OSError:
        return None


def _opened(path: str, flags: int) -> int:
    for name in _SPECIAL:
        flags |= getattr(os, name, 0)
    return os.open(path, flags, 0o600)


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file in one step, readable and writable by its owner alone: readers see all of it or none."""
    handle, temporary = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def write_module(name: str, source: str) -> Path:
    """The file of a generated module in the cache directory; one with other content or another owner is replaced."""
    path = open_directory() / f"{name}.py"
    if read(path) == source.encode():
        _note_use(path)
    else:
        _keep(path, source)
    return path


def read_entry(name: str) -> bytes | None:
    """The content of an entry; None if there is none that is whole, and in a directory of the user's own."""
    try:
        directory = location()
        status = directory.stat()
    except OSError:
        return None
    whole = read(directory / name) if _is_ours(status) and not _others_write(status) else None
    if whole is None or whole[:_SUM] != _checksum(name, whole[_SUM:]):
        return None
    _note_use(directory / name)
    return whole[_SUM:]


def write_entry(name: str, content: bytes) -> None:
    """Keep an entry; OSError if that can't be."""
    _keep(open_directory() / name, _checksum(name, content) + content)


@contextmanager
def making(name: str) -> Iterator[None]:
    """Make an entry that no other process makes meanwhile: one that does is waited for, WAIT seconds at most.

    Who waited as long as that waits no more. The lock is the system's, which ends it with the process, however that
    ends. Where there are none, as on Windows, or none are allowed, or no directory, each process makes its own.
    """
    global _in_vain
    place, held, end = int.from_bytes(_checksum(name, b"")[:6], "little"), None, time.monotonic() + WAIT
    with suppress(ImportError, OSError):
        import fcntl

        file = _lock_file(open_directory())
        while held is None:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                held = file
            except BlockingIOError:  # another process has it; PermissionError: nobody may
                _in_vain = _in_vain or time.monotonic() >= end
                if _in_vain:
                    break
                time.sleep(POLL)
    try:
        yield
    finally:
        if held is not None:
            with suppress(OSError):
                fcntl.lockf(held, fcntl.LOCK_UN, 1, place)


def _lock_file(directory: Path) -> int:
    """The file of locks. It stays open: to close it would end all locks that this process has in it.

    It is opened anew if it was deleted, or if all files were closed, as by a daemon: then the number may be another's.
    """
    path = directory / LOCKS
    with suppress(KeyError, OSError):
        if os.path.samestat(os.fstat(_open[directory]), os.lstat(path)):
            return _open[directory]
    _open[directory] = _opened(str(path), os.O_RDWR | os.O_CREAT)
    return _open[directory]


def _keep(path: Path, content: str | bytes) -> None:
    """Write a file of the cache, and now and then see to the cache's size."""
    global _written
    try:
        write_private(path, content)
    except FileNotFoundError:  # another process has emptied the cache, or deleted the directory, meanwhile
        write_private(open_directory() / path.name, content)
    if _written % ROUND == 0:
        shrink(path.parent, most())
    _written += 1


def most() -> int:
    """The bytes that the cache is kept to: GRADCOMPILE_CACHE_MB, or 512 MiB.

    >>> most() >> 20
    512
    """
    try:
        return max(0, int(float(os.environ.get("GRADCOMPILE_CACHE_MB", "")) * (1 << 20)))
    except (ValueError, OverflowError):
        return MOST


def _note_use(path: Path) -> None:
    """Note that a file was used, by its time of change."""
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > FRESH:
            os.utime(path)


def shrink(directory: Path, limit: int) -> None:
    """Delete what was not used for longest, if the cache is larger than the limit, until it is well below."""
    found: list[tuple[float, int, Path]] = []
    for path, size in _files(directory):
        with suppress(OSError):
            found.append((path.lstat().st_mtime, size, path))
    total = sum(size for _, size, _ in found)
    if total <= limit:
        return
    for _, size, path in sorted(found):
        if total <= LEFT * limit:
            break
        with suppress(OSError):
            path.unlink()
            total -= size


def _checksum(name: str, content: bytes) -> bytes:
    """The name counts too: a file of ours that somebody gives another name is none."""
    digest = hashlib.sha256(name.encode() + b"\0")
    digest.update(content)
    return digest.digest()


def _files(directory: Path) -> Iterator[tuple[Path, int]]:
    """Every file of the cache and its bytes; of earlier versions also those that Numba had put beside.

    Without the file of locks: if that were deleted, processes that have it open would no longer exclude those to come.
    """
    for place in (directory, directory / "__pycache__"):
        with suppress(OSError), os.scandir(place) as found:
            for entry in found:
                if entry.name != LOCKS and is_own(entry.name) and not entry.is_dir(follow_symlinks=False):
                    with suppress(FileNotFoundError):  # another process is clearing as well
                        yield place / entry.name, entry.stat(follow_symlinks=False).st_size


def cache_info() -> CacheInfo:
    """Where the cache is and how large.

    >>> cache_info()._fields
    ('path', 'modules', 'bytes')
    """
    place = location()
    files = list(_files(place))
    return CacheInfo(place, sum(p.suffix == ".py" for p, _ in files), sum(size for _, size in files))


def cache_clear() -> CacheInfo:
    """Delete every generated module and its machine code; returns what there was. Other files stay, and the locks.

    Losses compiled in this process keep working.
    """
    info = cache_info()
    for path, _ in list(_files(info.path)):
        with suppress(OSError):
            path.unlink()
    return info
