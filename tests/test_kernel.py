"""`f.kernel` from compiled code and from Python: what does not fit is refused, by its type or by its lengths."""

import re

import numba
import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile import ArgumentError, ArgumentTypeError, compile_grad, compile_value

w, b, x, y = sp.symbols("w b x y")
LINE = compile_grad((w * x + b - y) ** 2, [w, b], data=[x, y])
u, B, t, k = gc.array("u", 3), gc.array("B", ("n", 3)), gc.array("t", "n"), gc.array("k", "n", dtype="int64")
ARRAYS = compile_grad(np.sum((np.tanh(B @ u) - t) ** 2 * u[k]), u, inputs=[B, t, k])


def columns(n: int = 4) -> tuple[np.ndarray, ...]:
    return np.ones(2), np.zeros(2), np.arange(float(n)), np.linspace(0.0, 1.0, n)


def given(n: int = 4) -> tuple[np.ndarray, ...]:
    return np.ones(3), np.zeros(3), np.arange(3.0 * n).reshape(n, 3) / 7, np.linspace(0.0, 1.0, n), np.arange(n) % 3


def changed(values: tuple, place: int, value: object) -> tuple:
    return (*values[:place], value, *values[place + 1 :])


LENGTHS = [
    (LINE, changed(columns(), 0, np.ones(1)), "theta as float64[2]"),
    (LINE, changed(columns(), 0, np.ones(3)), "theta as float64[2]"),
    (LINE, changed(columns(), 1, np.ones(1)), "grad as float64[2]"),
    (LINE, changed(columns(), 1, np.ones(0)), "grad as float64[2]"),
    (LINE, changed(columns(), 3, np.ones(5)), "y as float64[n], where n is x.shape[0], and axis 0 has another length"),
    (LINE, changed(columns(), 2, np.ones(3)), "y as float64[n]"),
    (ARRAYS, changed(given(), 2, np.ones((4, 2))), "B as float64[n, 3], and axis 1"),
    (ARRAYS, changed(given(), 2, np.ones((5, 3))), "where n is B.shape[0]"),
    (ARRAYS, changed(given(), 4, np.zeros(5, np.int64)), "k as int64[n]"),
]


@pytest.mark.parametrize(("f", "values", "message"), LENGTHS)
def test_lengths(f, values, message) -> None:
    for call in (f.kernel, within(f.kernel)):
        with pytest.raises(ArgumentError, match=re.escape(message)):
            call(*values)


def within(kernel):
    """A compiled function that calls the kernel."""
    if kernel not in CALLERS:
        names = ", ".join(kernel.py_func.__code__.co_varnames[: kernel.py_func.__code__.co_argcount])
        space = {"kernel": kernel}
        exec(f"def call({names}): return kernel({names})", space)
        CALLERS[kernel] = numba.njit(space["call"])
    return CALLERS[kernel]


CALLERS: dict = {}
LOCKED = np.frombuffer(bytes(16))
TYPES = [
    (LINE, changed(columns(), 1, LOCKED), "read-only"),
    (LINE, changed(columns(), 1, np.broadcast_to(np.zeros(1), 2)), "read-only"),
    (LINE, changed(columns(), 0, np.array(1.0)), "theta as float64[2]"),
    (LINE, changed(columns(), 1, np.array(1.0)), "grad as float64[2]"),
    (LINE, changed(columns(), 1, np.zeros(2, np.int64)), "astype('float64')"),
    (LINE, changed(columns(), 0, np.zeros(2, np.int64)), "astype('float64')"),
    (LINE, changed(columns(), 0, np.zeros(2, np.float32)), "astype('float64')"),
    (LINE, changed(columns(), 2, np.ones((4, 1))), "1 axis"),
    (LINE, changed(columns(), 2, 3.0), "x as float64[n]"),
    (LINE, changed(columns(), 2, np.ones(4, np.int8)), "astype('float64')"),
    (LINE, changed(columns(), 2, np.ones(4, bool)), "astype('float64')"),
    (LINE, changed(columns(), 2, np.ones(4, complex)), "astype('float64')"),
    (ARRAYS, changed(given(), 4, np.zeros(4)), "astype('int64')"),
]


@pytest.mark.parametrize(("f", "values", "message"), TYPES)
def test_types(f, values, message) -> None:
    with pytest.raises(ArgumentTypeError, match=re.escape(message)):
        f.kernel(*values)


def test_what_is_read_only_is_not_written_to() -> None:
    s = bytes(16)
    with pytest.raises(ArgumentTypeError):
        within(LINE.kernel)(*changed(columns(), 1, np.frombuffer(s)))
    assert s == bytes(16)
    locked = [a.copy() for a in columns()]
    for a in (locked[0], *locked[2:]):
        a.flags.writeable = False
    assert LINE.kernel(*locked) == LINE.kernel(*columns())


def test_the_gradient_stands_apart() -> None:
    whole = np.ones(40)
    shared = [
        (0, whole[1:3]), (2, whole[1:5]), (3, whole[2:6]), (2, whole[:24:6]), (3, whole[5:1:-1]), (2, whole[2::9]),
    ]  # fmt: skip
    for place, other in shared:
        for call in (LINE.kernel, within(LINE.kernel)):
            with pytest.raises(ArgumentError, match="share memory"):
                call(*changed(changed(columns(len(other)), 1, whole[2:4]), place, other))
    zero = np.lib.stride_tricks.as_strided(np.zeros(1), (2,), (0,))
    near = np.lib.stride_tricks.as_strided(np.zeros(2), (2,), (4,))
    for grad in (zero, near):
        with pytest.raises(ArgumentError, match="of its own"):
            LINE.kernel(*changed(columns(), 1, grad))


def test_what_fits_is_taken_wherever_it_lies() -> None:
    expected, (theta, grad, c, d) = LINE.kernel(*columns()), columns()
    rows, back, wide = np.stack([c, d], 1), np.zeros(4)[::2], np.ones(6)[1:5:2]
    for values in ((theta, grad, rows[:, 0], rows[:, 1]), (wide, back, c, d[::-1][::-1]), (theta, grad[::-1], c, d)):
        assert LINE.kernel(*values) == pytest.approx(expected, rel=1e-15)
    both = np.array([1.0, 1.0, 0.0, 0.0])
    assert LINE.kernel(both[:2], both[2:], c, d) == expected
    assert LINE.kernel(theta, grad, c[:0], d[:0]) != LINE.kernel(theta, grad, c[:0], d[:0])  # a mean of nothing


def test_numbers_become_the_kernels_own() -> None:
    f = compile_grad(w * x**8 / y, [w], inputs=[x, y])
    for number in (300, np.int8(3), np.float32(2.5), True, np.uint64(2**63)):
        grad, same = np.zeros(1), np.zeros(1)
        assert f.kernel(np.ones(1), grad, number, 3) == f.kernel(np.ones(1), same, float(number), 3.0)
        assert grad == same
    with pytest.raises(ArgumentTypeError, match="one number"):
        f.kernel(np.ones(1), np.zeros(1), 1j, 1.0)
    with pytest.raises(ArgumentTypeError, match="one number"):
        f.kernel(np.ones(1), np.zeros(1), np.ones(1), 1.0)


def test_values_and_lengths_that_follow_from_others() -> None:
    f = compile_value(np.sum(B[:, 0]) + 0 * np.sum(t), [], inputs=[B, t])
    assert f.kernel(np.zeros(0), np.zeros(0), np.ones((2, 3)), np.ones(2)) == 2.0
    rows = compile_value(B * 2.0, [], inputs=[B])
    with pytest.raises(ArgumentError, match=re.escape("out as float64[3*n]")):
        rows.kernel(np.zeros(0), np.zeros(5), np.ones((2, 3)))
    i = sp.Idx("i", sp.Symbol("n", integer=True))
    a, c = sp.IndexedBase("a"), sp.IndexedBase("c")
    pair = compile_value(sp.Sum(a[i + 1] * c[i], i), [], inputs=[a, c])
    assert pair(np.arange(4.0), np.ones(3)) == pair.kernel(np.zeros(0), np.zeros(0), np.arange(4.0), np.ones(3)) == 6.0
    with pytest.raises(ArgumentError, match="another length"):
        pair.kernel(np.zeros(0), np.zeros(0), np.arange(4.0), np.ones(4))


def test_layouts_that_a_product_can_not_read() -> None:
    C, M = gc.array("C", ("n", 40)), gc.array("M", (40, 30))
    f = compile_value(np.sum(np.tanh(C @ M)), [M], inputs=[C])
    theta, rows = np.ones(1200), np.ones((50, 80))[:, ::2]
    with pytest.raises(ArgumentTypeError, match="ascontiguousarray"):
        f.kernel(theta, np.zeros(0), rows)
    assert f.kernel(theta, np.zeros(0), np.ascontiguousarray(rows)) == 1500.0


def test_the_text_says_what_the_kernel_takes() -> None:
    assert 'def kernel(theta: "float64[3]", grad: "float64[3]", B: "float64[n, 3]", t: "float64[n]"' in ARRAYS.source
