"""What a fork leaves to its child while another thread is at work."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gradcompile import once

CHILD = """
import os, sys, threading, time, sympy as sp
from gradcompile import compile_grad

w = sp.Symbol("w")
small = compile_grad(sp.exp(w), [w])
big = compile_grad(sum(sp.exp(k*w)*sp.sin(w*k + 1)*sp.erf(w/k) for k in range(1, 7)), [w], reroll=False)
thread = threading.Thread(target=big, args=(1.0,))
thread.start()
children = []
for delay in (0.02, 0.3, 0.3):  # while modules are imported, and while something is compiled
    time.sleep(delay)
    if not (child := os.fork()):
        print(small(1.0)[0] == small(1.0)[1][0], flush=True)
        os._exit(0)
    children.append(child)
deadline = time.monotonic() + 60
while children and time.monotonic() < deadline:
    children = [c for c in children if os.waitpid(c, os.WNOHANG) == (0, 0)]
    time.sleep(0.02)
for child in children:
    os.kill(child, 9)
thread.join()
print(len(children), "hung")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_the_child_of_a_fork_compiles_though_another_thread_was_compiling(tmp_path):
    environment = {**os.environ, "GRADCOMPILE_CACHE_DIR": str(tmp_path)}
    where = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, cwd=where, env=environment, timeout=300
    )
    assert done.stdout.split() == ["True"] * 3 + ["0", "hung"], done.stderr
    assert "Error" not in done.stderr


def test_a_fork_waits_for_the_lock_of_compilation():
    begun, ended = threading.Event(), []

    def compile_something() -> None:
        with once.compiling():
            begun.set()
            time.sleep(0.1)
            ended.append(True)

    thread = threading.Thread(target=compile_something)
    thread.start()
    begun.wait()
    once.before_fork()
    try:
        assert ended
    finally:
        once.after_fork()
    thread.join()
    assert once._lock.acquire(blocking=False)
    once._lock.release()


def test_a_fork_that_waited_in_vain_gives_the_child_new_locks(monkeypatch):
    """As where the other thread waits for a lock that the one which forks has."""
    monkeypatch.setattr(once, "PATIENCE", 0.01)
    monkeypatch.setattr(once, "_lock", threading.RLock())
    begun, go_on = threading.Event(), threading.Event()

    def compile_for_long() -> None:
        with once.compiling():
            begun.set()
            go_on.wait()

    thread = threading.Thread(target=compile_for_long, daemon=True)
    thread.start()
    begun.wait()
    lock = once._lock
    monkeypatch.setattr(once, "locks", lambda: [lock])
    once.before_fork()
    assert not lock.acquire(blocking=False)
    once.after_fork_in_child()
    assert lock.acquire(blocking=False)
    lock._at_fork_reinit()


def test_what_is_computed_once_is_not_computed_twice():
    class Slow:
        @once.once
        def value(self) -> object:
            """A value."""
            time.sleep(0.01)
            return object()

    slow, found = Slow(), set()
    threads = [threading.Thread(target=lambda: found.add(slow.value)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
    assert Slow.value.__doc__ == "A value."
