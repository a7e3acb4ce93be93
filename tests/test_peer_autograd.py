"""The adapter for autograd's test suite: it calls right what is right, and finds what is wrong, refused, or crashes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITE = """
import autograd.numpy as np
import autograd.numpy.random as npr
from autograd import elementwise_grad, grad, jacobian
from autograd.core import vspace
from autograd.test_util import check_grads, combo_check


def test_functions():
    combo_check(np.sum, [0])([npr.randn(3), npr.randn(2, 3), 0.5], axis=[None, 0][:1])
    check_grads(lambda x, y: np.dot(x, y), (0, 1))(npr.randn(2, 3), npr.randn(3))
    check_grads(lambda pair: {"a": np.tanh(pair[0]), "b": pair[1] ** 2})((npr.randn(2), 3.0))


def test_derivatives():
    f = lambda x: x**3
    assert abs(grad(grad(f))(2.0) - 12.0) < 1e-9
    check_grads(grad(f))(2.0)
    assert np.allclose(elementwise_grad(f)(np.ones(2)), [3, 3])
    assert np.allclose(jacobian(lambda x: np.cumsum(x))(np.ones(2)), [[1, 0], [1, 1]])


def test_what_is_refused():
    check_grads(np.unique)(npr.randn(3))
    check_grads(np.real)(npr.randn(3) + 1j)


def test_what_is_theirs():
    assert vspace(3.0).size == 1
"""
CRASH = "\n\ndef test_crash():\n    check_grads(lambda x: {}['x'] if hasattr(x, 'node') else x)(1.0)\n"
WRONG = "\n\ndef test_wrong():\n    check_grads(lambda x: 2 * x if hasattr(x, 'node') else x)(1.0)\n"


def run(folder, text, *options):
    """Status and last line of a run of a suite of our own, as plain Python."""
    (folder / "test_own.py").write_text(text, "utf-8")
    command = [sys.executable, "-m", "tests.peer_autograd", "--source", str(folder), "--plain", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout


def test_a_suite_is_counted(tmp_path):
    status, said = run(tmp_path, SUITE, "--refused")
    assert status == 0, said
    assert said.splitlines()[-1] == "8 checks: 7 right, 1 refused, 0 wrong, 0 crash; 1 tests are of autograd alone"


def test_faults_are_found(tmp_path):
    status, said = run(tmp_path, SUITE, "--plant", "tanh")
    assert status == 1 and "derivative" in said
    assert said.splitlines()[-1].startswith("8 checks: 6 right, 1 refused, 1 wrong, 0 crash"), said
    status, said = run(tmp_path, SUITE + CRASH + WRONG)
    assert status == 1 and said.splitlines()[-1].startswith("10 checks: 7 right, 1 refused, 1 wrong, 1 crash"), said
