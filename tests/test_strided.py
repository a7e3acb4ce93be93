"""Columns that lie elsewhere than side by side are read where they lie, with the same bits as a copy of them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

from gradcompile import compile_grad, compile_value, sgd
from gradcompile.runtime import bind
from gradcompile.runtime.route import Route

ROOT = Path(__file__).resolve().parent.parent
N = 3000
w, b, y = sp.symbols("w b y")
xs = sp.symbols("x:3")
ROWS = np.random.default_rng(2).normal(size=(N, 3))
COLUMN = np.random.default_rng(3).normal(size=N)


@pytest.fixture(scope="module", params=["float64", "float32"])
def f(request):
    loss = (w * xs[0] * sp.sqrt(1 + xs[1] ** 2) + b * xs[2] - y) ** 2
    return compile_grad(loss, [w, b], data=[xs, y], dtype=request.param)


def spaced(values: np.ndarray) -> np.ndarray:
    """The values as every third entry of a larger array."""
    wide = np.full((3 * len(values), *values.shape[1:]), 7.0, values.dtype)
    wide[1::3] = values
    return wide[1::3]


LAYOUTS = {
    "column of a table": lambda v: (
        np.column_stack([v, v])[:, : v.shape[1]] if v.ndim == 2 else np.stack([v, v], 1)[:, 1]
    ),
    "every third": spaced,
    "reversed": lambda v: v[::-1].copy()[::-1],
    "by columns": np.asfortranarray,
    "transposed": lambda v: v.T.copy().T,
    "axes reversed": lambda v: v[..., ::-1].copy()[..., ::-1],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_bits_are_those_of_a_copy(f, layout, monkeypatch):
    rows, column = ROWS.astype(f.dtype), COLUMN.astype(f.dtype)
    expected_loss, expected = f.flat([0.7, -0.3], rows, column)
    for given in ((layout(rows), column), (rows, layout(column)), (layout(rows), layout(column))):
        assert all(np.array_equal(*pair) for pair in zip(given, (rows, column), strict=True))
        loss, grad = f.bind(*given)(np.array([0.7, -0.3], f.dtype))
        assert (loss, grad.tobytes()) == (expected_loss, expected.tobytes())
        monkeypatch.setattr(bind, "COPIED", 0)
        loss, grads = f(0.7, -0.3, *given)
        assert (loss, *grads) == (expected_loss, *expected.tolist())


def test_strided_columns_are_bound_by_reference(f):
    table = np.column_stack([ROWS, COLUMN, ROWS]).astype(f.dtype)
    given = table[:, :3], table[:, 3]
    assert all(a is b for a, b in zip(bind.convert_all(f.problem.inputs, given), given, strict=True))
    fun = f.bind(*given)
    theta = np.array([0.7, -0.3], f.dtype)
    before = fun(theta)[0]
    table[5] = 10.0
    assert fun(theta)[0] != before
    assert fun(theta)[0] == f.flat(theta, *map(np.ascontiguousarray, given))[0]


def test_a_single_call_copies_what_is_small(f, monkeypatch):
    used = []
    choose = Route.choose
    monkeypatch.setattr(Route, "choose", lambda self, inputs: used.append(inputs) or choose(self, inputs))
    rows, column = spaced(ROWS.astype(f.dtype)), COLUMN.astype(f.dtype)
    f(0.7, -0.3, rows, column)
    f.loss(0.7, -0.3, rows, column)
    monkeypatch.setattr(bind, "COPIED", 1000)
    f(0.7, -0.3, rows, column)
    f.loss(0.7, -0.3, rows, column)
    assert [any(v is rows for v in inputs) for inputs in used] == [False, False, True, True]


def test_a_broadcast_column_is_one_number():
    f = compile_grad((w * xs[0] - y) ** 2, w, data=[xs[0], y])
    one = np.broadcast_to(np.array([3.0]), (N,))
    assert bind.convert_all(f.problem.inputs, (COLUMN, one))[1] is one
    assert f(0.7, COLUMN, one) == f(0.7, COLUMN, np.full(N, 3.0))


@pytest.mark.parametrize("make", [
    lambda v: v.astype(">f8")[::2],
    lambda v: v.astype(np.float32)[::2],
    lambda v: np.rec.fromarrays([v[::2], np.zeros(len(v) // 2, "i1")], names="v,k").v,
    lambda v: np.frombuffer(b"\0" + v[::2].tobytes(), np.float64, offset=1),
])  # fmt: skip
def test_what_can_not_be_read_in_place_is_copied(make):
    f = compile_grad((w * xs[0] - 1) ** 2, w, data=[xs[0]])
    values = np.arange(10.0)
    (found,) = bind.convert_all(f.problem.inputs, (make(values),))
    assert found.flags.c_contiguous and found.flags.aligned and found.dtype == np.float64 and found.dtype.isnative
    assert f(0.7, make(values)) == f(0.7, values[::2].copy())


def test_values_of_strided_columns():
    predict = compile_value(w * xs[0] + b * y, [w, b], data=[xs[0], y])
    assert predict(0.7, -0.3, ROWS[:, 1], COLUMN).tolist() == predict(0.7, -0.3, ROWS[:, 1].copy(), COLUMN).tolist()


@pytest.mark.parametrize("batch_size", [None, 100])
def test_training_on_strided_columns(batch_size):
    f = compile_grad((w * xs[0] + b - y) ** 2, [w, b], data=[xs[0], y])
    table = np.column_stack([COLUMN, COLUMN**2])
    found = [sgd(f, [1.0, 0.0], data, epochs=3, learning_rate=0.01, batch_size=batch_size, progress=False)
             for data in ((table[:, 0], table[:, 1]), (COLUMN, COLUMN**2))]  # fmt: skip
    assert found[0].params == found[1].params


MEMORY = """
import sys
import numpy as np, sympy as sp
from gradcompile import compile_grad

def anonymous():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("RssAnon")))

w, b, x, y = sp.symbols("w b x y")
f = compile_grad((w * x + b - y)**2, [w, b], data=[x, y])
theta = np.array([1.0, 2.0])
table = np.memmap(sys.argv[1], np.float64, "r", shape=({rows}, 4))
other = np.zeros(({rows}, 2))
f.bind(other[:, 0], other[:, 1])(theta)  # compiled, before memory is counted
del other
before = anonymous()
fun = f.bind(table[:, 0], table[:, 3])
loss, grad = fun(theta)
print(anonymous() - before, loss.hex())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a system without /proc")
def test_mapped_rows_stay_in_the_file(tmp_path):
    rows = 1_000_000
    path = tmp_path / "rows"
    table = np.memmap(path, np.float64, "w+", shape=(rows, 4))
    table[:] = np.arange(rows * 4).reshape(rows, 4) % 17
    table.flush()
    command = [sys.executable, "-c", MEMORY.format(rows=rows), str(path)]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert out.stdout, out.stderr
    grown, loss = out.stdout.split()
    assert int(grown) < 5_000  # kB; one column is 8,000
    expected = (table[:, 0] + 2.0 - table[:, 3]) ** 2
    assert float.fromhex(loss) == pytest.approx(expected.mean(), rel=1e-12)
