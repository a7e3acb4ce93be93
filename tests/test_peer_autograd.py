"""The adapter for autograd's test suite: it calls right what is right, and finds what is wrong, refused, or crashes."""

import pytest

from tests import peer_autograd

HEAD = """
import autograd.numpy as np
import autograd.numpy.random as npr
from autograd import elementwise_grad, grad, jacobian
from autograd.core import vspace
from autograd.test_util import check_grads, combo_check
"""
SUITE = """

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
PLANTED = "\n\ndef test_planted():\n    check_grads(np.sin)(1.0)\n    check_grads(np.tanh)(1.0)\n"
CRASH = "\n\ndef test_crash():\n    check_grads(lambda x: {}['x'] if hasattr(x, 'node') else x)(1.0)\n"
WRONG = "\n\ndef test_wrong():\n    check_grads(lambda x: 2 * x if hasattr(x, 'node') else x)(1.0)\n"


@pytest.fixture
def run(tmp_path, capsys):
    """What runs a suite of our own as plain Python: its status, and what it says."""

    def made(text, *options):
        (tmp_path / "test_own.py").write_text(HEAD + text, "utf-8")
        status = peer_autograd.main(["--source", str(tmp_path), "--plain", *options])
        return status, capsys.readouterr().out

    return made


def test_a_suite_is_counted(run):
    status, said = run(SUITE, "--refused")
    assert status == 0, said
    assert said.splitlines()[-1] == "8 checks: 7 right, 1 refused, 0 wrong, 0 crash; 1 tests are of autograd alone"


def test_faults_are_found(run):
    """A wrong derivative of the package's, and in a suite with faults a wrong value and a crash."""
    status, said = run(CRASH + WRONG + PLANTED, "--plant", "tanh")
    assert status == 1 and "derivative" in said
    assert said.splitlines()[-1].startswith("4 checks: 1 right, 0 refused, 2 wrong, 1 crash"), said
