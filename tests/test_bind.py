"""Arguments: what is accepted as it is, what is converted, and what is refused with which words."""

import threading

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile.compile import compile_grad, compile_value
from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.runtime.matching import Call

w, b, x, y = sp.symbols("w b x y")
X, Y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 7.0])


@pytest.fixture(scope="module")
def scalar():
    return compile_grad((w * x - b) ** 2, [w, b])


@pytest.fixture(scope="module")
def sampled():
    return compile_grad((w * x + b - y) ** 2, [w, b], data=[x, y])


@pytest.fixture(scope="module")
def arrays():
    c = sp.symbols("c:2")
    z = sp.symbols("z:2")
    error = sum(ci * zi for ci, zi in zip(c, z, strict=True)) - y
    return compile_grad(error**2, {"c": c}, data={"z": z, "y": y})


@pytest.fixture(scope="module")
def single():
    return compile_grad((w * x - y) ** 2, [w], data=[x, y], dtype="float32")


@pytest.mark.parametrize("number", [float, int, np.float64, np.int32, np.float32, np.array, sp.Integer])
def test_numbers_of_any_kind(scalar, number):
    assert scalar(number(2), number(1), number(3)) == (25.0, (30.0, -10.0))
    assert scalar(2.0, x=number(3), b=number(1)) == (25.0, (30.0, -10.0))


def test_results_are_floats_and_named(scalar):
    loss, grads = scalar(2, 1, 3)
    assert [type(v) for v in (loss, *grads)] == [float] * 3
    assert (grads.w, grads.b) == (30.0, -10.0)


@pytest.mark.parametrize("form", [list, tuple, np.array, lambda v: np.array(v, int), lambda v: np.array(v, ">f8"),
                                  lambda v: np.repeat(v, 2)[::2], lambda v: np.array(v, np.float32)])  # fmt: skip
def test_columns_of_any_layout(sampled, form):
    assert sampled(1.0, 0.5, form(X), form(Y)) == sampled(1.0, 0.5, X, Y)


def test_rows_of_any_layout(arrays):
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
    loss, grads = arrays([1.0, 2.0], rows, Y)
    for other in (np.asfortranarray(rows), rows.tolist(), np.repeat(rows, 2, 1)[:, ::2]):
        again = arrays(np.array([1, 2]), other, Y)
        assert again[0] == loss
        assert again[1].c.tobytes() == grads.c.tobytes()
    assert grads.c.shape == (2,)


def test_inputs_are_not_changed_and_may_be_read_only(sampled):
    given = X.copy(), Y.copy()
    for v in given:
        v.flags.writeable = False
    assert sampled(1.0, 0.5, *given) == sampled(1.0, 0.5, X, Y)


def test_nan_goes_in_and_comes_out(sampled, scalar):
    loss, grads = sampled(1.0, 0.5, [1.0, np.nan], [1.0, 2.0])
    assert np.isnan([loss, *grads]).all()
    assert np.isnan(scalar(np.nan, 1.0, 2.0)[0])


REFUSED = [
    (ArgumentTypeError, "4 arguments given, 3 taken", (1.0, 2.0, 3.0, 4.0), {}),
    (ArgumentTypeError, "no value for b, x", (1.0,), {}),
    (ArgumentTypeError, "no argument 'q'", (1.0, 2.0, 3.0), {"q": 1.0}),
    (ArgumentTypeError, "'w' is given twice", (1.0, 2.0, 3.0), {"w": 1.0}),
    (ArgumentTypeError, "b is a single real number, got '2'", (1.0, "2", 3.0), {}),
    (ArgumentTypeError, "got 1j of type complex", (1j, 2.0, 3.0), {}),
    (ArgumentTypeError, "got None", (1.0, None, 3.0), {}),
    (ArgumentTypeError, "holds objects", (1.0, np.array(None), 3.0), {}),
    (ArgumentError, r"array of shape \(1,\); pass b.item\(\)", (1.0, np.ones(1), 3.0), {}),
    (ArgumentError, r"array of shape \(3,\); name it in data", (1.0, 2.0, X), {}),
    (ArgumentError, "9007199254740993 does not fit float64", (2**53 + 1, 2.0, 3.0), {}),
    (ArgumentError, "does not fit float64", (10**400, 2.0, 3.0), {}),
    (ArgumentError, "does not fit float64", (10**100_000, 2.0, 3.0), {}),
]


@pytest.mark.parametrize(("kind", "message", "args", "named"), REFUSED)
def test_what_a_number_is_not(scalar, kind, message, args, named):
    with pytest.raises(kind, match=message):
        scalar(*args, **named)


class Like:
    """No array, though it has the shape, dtype and flags of one, as arrays of other libraries have."""

    def __init__(self, values):
        self.values = np.array(values)
        self.shape, self.dtype, self.flags = self.values.shape, self.values.dtype, self.values.flags

    def __array__(self, dtype=None, copy=None):
        return self.values


def test_what_looks_like_a_vector_is_none(sampled, scalar):
    for fun in (sampled.bind(X, Y), scalar.bind(3.0)):
        want, slopes = fun([1.0, 0.5])
        loss, grad = fun(Like([1.0, 0.5]))
        assert loss == want and grad.tolist() == slopes.tolist()
        with pytest.raises(ArgumentTypeError, match="theta has masked entries"):
            fun(np.ma.MaskedArray([1.0, 0.5], [True, False]))
        for out, got in ((Like([0.0, 0.0]), "a Like"), (np.ma.zeros(2), "a MaskedArray")):
            with pytest.raises(ArgumentTypeError, match=f"out is an array of dtype float64, got {got};"):
                fun(np.array([1.0, 0.5]), out=out)


@pytest.mark.parametrize(
    ("kind", "message", "columns"),
    [
        (ArgumentError, "x has 3 samples and y has 2", (X, Y[:2])),
        (ArgumentError, "x has zero samples", ([], [])),
        (ArgumentError, r"x has shape \(3, 1\), expected \(n,\); pass x.ravel\(\)", (X[:, np.newaxis], Y)),
        (ArgumentError, r"x has shape \(\), expected \(n,\)", (1.0, Y)),
        (ArgumentError, "rows need one length", ([[1.0], [1.0, 2.0]], Y)),
        (ArgumentTypeError, "y holds text", (X, ["1", "2", "3"])),
        (ArgumentTypeError, "y holds objects", (X, [1.0, None, 2.0])),
        (ArgumentTypeError, "y holds complex numbers", (X, Y * 1j)),
        (ArgumentTypeError, "y holds dates", (X, Y.astype("M8[s]"))),
        (ArgumentTypeError, "x has masked entries", (np.ma.masked_greater(X, 2.0), Y)),
        (ArgumentError, "x: the integer 9007199254740993", (np.array([1, 2, 2**53 + 1]), Y)),
    ],
)
def test_what_a_column_is_not(sampled, kind, message, columns):
    with pytest.raises(kind, match=message):
        sampled(1.0, 0.5, *columns)
    with pytest.raises(kind, match=message):
        sampled.bind(*columns)


def test_a_transposed_or_flat_array_is_told_so(arrays):
    with pytest.raises(ArgumentError, match=r"shape \(2, 3\), expected \(n, 2\); pass z.T"):
        arrays([1.0, 2.0], np.ones((2, 3)), Y)
    with pytest.raises(ArgumentError, match=r"c has shape \(3,\), expected \(2,\)"):
        arrays([1.0, 2.0, 3.0], np.ones((3, 2)), Y)


def test_single_precision_takes_what_loses_nothing(single):
    loss, grads = single(0.5, X.astype(np.float32), [1, 2, 3])
    assert loss == pytest.approx(float(np.mean((0.5 * X - [1, 2, 3]) ** 2)), rel=1e-6)
    assert isinstance(grads.w, float)
    with pytest.raises(ArgumentTypeError, match=r"x has dtype float64.*pass x.astype\('float32'\)"):
        single(0.5, X, Y)
    with pytest.raises(ArgumentError, match="16777217 does not fit float32"):
        single(0.5, np.array([2**24 + 1]), [1.0])


def test_out_holds_the_gradient(scalar, sampled):
    out = np.empty(2)
    assert scalar(2.0, 1.0, 3.0, out=out)[1] is out
    assert out.tolist() == [30.0, -10.0]
    loss, grad = sampled.bind(X, Y)(np.array([1.0, 0.5]), out=out)
    assert grad is out
    assert (loss, tuple(out)) == sampled(1.0, 0.5, X, Y)


@pytest.mark.parametrize(("at", "into"), [((0, 2), (0, 2)), ((0, 2), (1, 3)), ((1, 3), (0, 2))])
def test_out_is_not_theta(scalar, sampled, at, into):
    for fun in (scalar.bind(3.0), sampled.bind(X, Y)):
        buffer = np.array([1.0, 0.5, 2.0])
        with pytest.raises(ArgumentError, match="out shares memory with theta"):
            fun(buffer[slice(*at)], out=buffer[slice(*into)])
        assert buffer.tolist() == [1.0, 0.5, 2.0]
        fun(buffer[:2], out=np.empty(2))


READ_ONLY = np.empty(2)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("message", "out"),
    [
        ("shape", np.empty(3)),
        ("shape", np.empty((2, 1))),
        ("dtype float32", np.empty(2, np.float32)),
        ("a list", [0.0, 0.0]),
        ("read-only", READ_ONLY),
        ("not contiguous", np.empty(4)[::2]),
    ],
)
def test_an_out_that_does_not_fit(scalar, sampled, message, out):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        scalar(2.0, 1.0, 3.0, out=out)
    for fun in (sampled.bind(X, Y), scalar.bind(3.0)):
        with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
            fun(np.array([1.0, 0.5]), out=out)


@pytest.mark.parametrize("theta", [[1.0, 0.5], np.array([1.0, 0.5], ">f8"), np.array([1.0, 9.0, 0.5])[::2], (1, 0.5)])
def test_theta_of_any_layout(sampled, scalar, theta):
    for f, inputs in ((sampled, (X, Y)), (scalar, (3.0,))):
        loss, grad = f.bind(*inputs)(theta)
        assert (loss, tuple(grad)) == f(1.0, 0.5, *inputs)


@pytest.mark.parametrize("theta", [[1.0], [[1.0], [0.5]], np.ones((2, 1)), ["a", "b"], None, 1.0, np.array([1, 2j])])
def test_a_theta_that_does_not_fit(sampled, scalar, theta):
    for fun in (sampled.bind(X, Y), scalar.bind(3.0)):
        with pytest.raises((ArgumentError, ArgumentTypeError), match="theta"):
            fun(theta)


def test_an_unknown_layout_of_headers_means_checks_in_python(scalar, monkeypatch):
    from gradcompile.library import header

    assert header.layout_is_known()
    expected = scalar.bind(3.0)(np.array([2.0, 1.0]))
    monkeypatch.setattr("gradcompile.runtime.bind.layout_is_known", lambda: False)
    loss, grad = scalar.bind(3.0)(np.array([2.0, 1.0]))
    assert (loss, grad.tolist()) == (expected[0], expected[1].tolist())


def test_bound_inputs_are_seen_when_they_change(sampled):
    columns = X.copy(), Y.copy()
    fun = sampled.bind(*columns)
    before, first = fun(np.array([1.0, 0.5]))
    columns[0][:] = 0.0
    after, second = fun(np.array([1.0, 0.5]))
    assert before != after
    assert first is not second


def test_pack_and_unpack(scalar, arrays):
    assert scalar.pack(1, 2.5).tolist() == [1.0, 2.5]
    assert scalar.unpack([1.0, 2.5]) == (1.0, 2.5)
    (c,) = arrays.unpack(arrays.pack([3, 4]))
    assert c.tolist() == [3.0, 4.0]
    with pytest.raises(ArgumentError, match="theta has shape"):
        scalar.unpack([1.0])


def test_values(sampled):
    predict = compile_value(w * x + b, [w, b], data=[x])
    assert predict(2, 1, [0, 1, 2]).tolist() == [1.0, 3.0, 5.0]
    assert sampled.loss(1.0, 0.5, X, Y) == sampled(1.0, 0.5, X, Y)[0]
    with pytest.raises(ArgumentError, match="zero samples"):
        predict(2, 1, [])


def test_threads_share_nothing(scalar):
    wrong = []

    def work(k: int) -> None:
        fun = scalar.bind(float(k))
        theta = np.array([2.0, 1.0])
        for _ in range(2000):
            loss, grad = fun(theta)
            error = 2.0 * k - 1.0
            if (loss, grad[1]) != (error**2, -2.0 * error) or scalar(2.0, 1.0, float(k))[0] != loss:
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_bare_gradient_and_many_arguments():
    assert compile_grad(w**2, w)(3.0) == (9.0, 6.0)
    names = sp.symbols("p:40")
    loss, grads = compile_grad(sum(p**2 for p in names), names)(*range(40))
    assert (loss, grads[7]) == (sum(k * k for k in range(40)), 14.0)


def test_match_without_arguments():
    assert Call([]).match((), {}) == []


def test_a_kernel_sums_no_samples_to_zero_and_has_no_mean_of_them(sampled):
    total = compile_grad((w * x + b - y) ** 2, [w, b], data=[x, y], reduce="sum")
    grad = np.empty(2)
    with np.errstate(all="ignore"):
        assert np.isnan([sampled.kernel(np.ones(2), grad, X[:0], Y[:0]), *grad]).all()
    assert (total.kernel(np.ones(2), grad, X[:0], Y[:0]), *grad) == (0.0, 0.0, 0.0)


def test_out_is_no_input():
    v, B, t = gc.array("v", 3), gc.array("B", ("n", 3)), gc.array("t", "n")
    f = compile_grad(np.mean((B @ v - t) ** 2), v, inputs=[B, t])
    rows, one = np.arange(9.0).reshape(3, 3), np.array([1.0, 2.0, 3.0])
    expected = f(np.ones(3), rows, one)
    for name, out in (("t", one), ("B", rows[1]), ("B", rows.ravel()[2:5])):
        for call in (lambda o: f(np.ones(3), rows, one, out=o), lambda o: f.bind(rows, one)(np.ones(3), out=o)):
            with pytest.raises(ArgumentError, match=f"out shares memory with {name}"):
                call(out)
    fun, out = f.bind(rows, one), np.empty(3)
    for _ in range(2):  # one that was looked at is known
        assert fun(np.ones(3), out=out)[0] == expected[0] and out.tolist() == expected[1].tolist()
    with pytest.raises(ArgumentError, match="with theta"):
        fun(out, out=out)
    with pytest.raises(ArgumentError, match="with t"):
        fun(np.ones(3), out=one)
