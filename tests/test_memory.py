"""Memory that a machine does not have: MemoryError, whoever calls, and nothing is left behind."""

import numba
import numpy as np
import pytest

import gradcompile as gc
from gradcompile import compile_grad, compile_value
from gradcompile.codegen import frame, statements, workspace
from gradcompile.codegen import functions as jit

x, v = gc.array("x", "n"), gc.array("v", 3)
HUGE = 1 << 40
HEAD = "from gradcompile.library.primitives import empty, zeros\nfrom gradcompile.codegen.functions import jit\n"


@pytest.mark.parametrize("much", [
    np.repeat(v, 10**14), np.tile(v, 10**14), np.pad(v, 10**14), np.outer(np.repeat(v, 10**8), np.repeat(v, 10**8)),
])  # fmt: skip
def test_lengths_that_are_known(much) -> None:
    f = compile_grad(np.sum(np.sort(np.ravel(much))), v)
    for _ in range(2):
        with pytest.raises(MemoryError):
            f(np.ones(3))


@pytest.fixture(scope="module")
def pairs():
    return compile_value(np.sum(np.sort(np.outer(x, x).reshape(-1))), [], inputs=[x])


def test_lengths_that_the_call_tells(pairs) -> None:
    """Of a vector that takes no memory itself; 64 bits hold the number of bytes, or do not."""
    compile_inv = compile_value(np.sum(np.linalg.inv(np.outer(x, x))), [], inputs=[x])
    for f, n in ((pairs, 10**7), (compile_inv, 10**7), (compile_inv, 1 << 31)):
        with pytest.raises(MemoryError):
            f.kernel(np.ones(0), np.ones(0), np.lib.stride_tricks.as_strided(np.ones(1), (n,), (8,)))
    assert pairs(np.ones(10)) == 100.0


def test_compiled_code_raises_as_well(pairs) -> None:
    kernel = pairs.kernel

    @numba.njit
    def call(values):
        return kernel(np.zeros(0), np.zeros(0), values)

    with pytest.raises(MemoryError, match="no memory for the arrays of the loss"):
        call(np.ones(10**7))
    assert call(np.ones(10)) == 100.0


def called(body: str, *args: object) -> None:
    """Run a function of the subset that ends for lack of memory."""
    with pytest.raises(MemoryError):
        jit.load(HEAD + body, cache=False).f(*args)


OUTER = """
@jit
def inner(x, n):
    y = empty(n, x)
    z = empty(n * n * n, x)
    x[0] += 1.0
    return y[0] + z[0]


@jit
def f(x, n):
    a = empty(8, x)
    b = empty(n, x)
    c = empty(40000, x)
    for k in range(3):
        x[1] += inner(x, n)
    d = empty(n, x)
    x[2] = d[0] + a[0] + b[0] + c[0]
    return x[2]
"""


def test_pieces_know_the_lengths_of_the_arguments(monkeypatch) -> None:
    """A length that arrays of one piece have is known in the next, though no piece has made it."""
    monkeypatch.setattr(statements, "WHOLE", 1)
    monkeypatch.setattr(statements, "PIECE", 1)
    body, values = OUTER.replace("n * n * n", "n * 3").replace("empty", "zeros"), np.zeros(3)
    assert jit.load(HEAD + body, cache=False).f(values, 5000) == 0.0 and values[0] == 3.0


@pytest.mark.parametrize("piece", [1, 2_000])
def test_what_was_taken_is_given_back_and_nothing_more_is_done(piece, monkeypatch) -> None:
    monkeypatch.setattr(statements, "WHOLE", piece)
    monkeypatch.setattr(statements, "PIECE", piece)
    values, n = np.zeros(3), 1 << 15
    workspace.slots[:] = [None] * workspace.SLOTS
    called(OUTER + f"# {piece}\n", values, n)
    assert values.tolist() == [0.0, 0.0, 0.0]
    assert len([a for a in workspace.slots if a]) == 3  # b, c, y, each large enough to be kept


def test_a_frame_that_does_not_fit(monkeypatch) -> None:
    """What many pieces share is memory too."""
    monkeypatch.setattr(statements, "WHOLE", 2)
    monkeypatch.setattr(statements, "PIECE", 2)
    monkeypatch.setattr(frame, "STACK", 64)
    body = "".join(f"    y{k} = x[{k % 3}] + {k}.0\n" for k in range(30))
    total = " + ".join(f"y{k}" for k in range(30))
    text = "\n@jit\ndef f(x, n):\n    z = empty(n, x)\n    {}[0] = 1.0\n" + body + f"    return z[0] + {total}\n"
    f = jit.load(HEAD + text.format("z"), cache=False).f
    assert f(np.ones(3), 4) == 31.0 + sum(range(30))
    with pytest.raises(MemoryError):
        f(np.ones(3), HUGE)


def test_an_array_that_has_more_entries_than_can_be_counted_is_refused_when_it_is_written() -> None:
    with pytest.raises(gc.errors.ExpressionError, match="entries"):
        compile_grad(np.sum(np.sort(np.repeat(v, 10**20))), v)


FOREIGN = """
import numpy as np
from gradcompile.codegen.functions import jit, njit


@njit
def fill(x):
    place = np.empty(int(x[1]))
    place[0] = 2.0
    x[0] = place[0]


@jit
def f(x):
    fill(x)
    x[2] = 5.0
    return x[0]
"""


def test_a_function_of_numbas_that_finds_no_memory() -> None:
    """Nothing is read of what it has not written."""
    f, lacking, enough = jit.load(FOREIGN, cache=False).f, np.array([1.0, 1e15, 3.0]), np.array([1.0, 10.0, 3.0])
    with pytest.raises(MemoryError):
        f(lacking)
    assert lacking[2] == 3.0 and f(enough) == 2.0 and enough[2] == 5.0
