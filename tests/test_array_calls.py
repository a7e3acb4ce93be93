"""Losses of symbolic arrays: what is read from them, and what a call checks, converts and returns."""

import copy
import importlib.util
import pickle

import numpy as np
import pytest
import sympy

import gradcompile as gc
from gradcompile import ArgumentError, ArgumentTypeError, ExpressionError, compile_grad, compile_value
from gradcompile.analysis.evaluate import evaluate
from gradcompile.frontend.arrays.problem import read_arrays
from gradcompile.runtime import bind

rng = np.random.default_rng(1)
X, t = gc.array("X", ("n", 5)), gc.array("t", ("n",), dtype="int64")
W1, b1 = gc.array("W1", (5, 4)), gc.array("b1", (4,))
W2, b2 = gc.array("W2", (4, 3)), gc.array("b2", (3,))
LOSS = gc.mean(gc.cross_entropy(gc.relu(X @ W1 + b1) @ W2 + b2, t))
THETA = [rng.normal(size=s) for s in ((5, 4), (4,), (4, 3), (3,))]
DATA = [rng.normal(size=(7, 5)), np.arange(7) % 3]
E, k = gc.array("E", (6, 2)), gc.array("k", ("n",), dtype="int64")
EMBEDDED = np.sum(E[k] ** 2)


def names(arguments):
    return [a.name for a in arguments]


def expected(f, *args):
    """Loss and gradients by the interpreter."""
    loss, *grads = evaluate(f.graph.simplified, f._leaf_values(args, {}))
    return loss, grads


# Reading


def test_the_rest_becomes_inputs_in_natural_order():
    problem = read_arrays(LOSS, [W1, b1, W2, b2])
    assert names(problem.params) == ["W1", "b1", "W2", "b2"]
    assert names(problem.inputs) == ["X", "t"]
    assert [a.leaf.params[1] for a in (*problem.params, *problem.inputs)] == ["param"] * 4 + ["input"] * 2
    assert problem.dtype == "float64"
    assert not problem.bare


def test_inputs_can_be_put_in_order_and_named():
    assert names(read_arrays(LOSS, [W1, b1, W2, b2], inputs=[t, X]).inputs) == ["t", "X"]
    assert names(read_arrays(LOSS, [W1, b1, W2, b2], inputs={"labels": t, "images": X}).inputs) == ["labels", "images"]


def test_mappings_and_nested_sequences_of_parameters():
    nested = {"first": {"W": W1, "b": b1}, "second": [W2, b2]}
    assert names(read_arrays(LOSS, nested).params) == ["first_W", "first_b", "second_0", "second_1"]
    assert names(read_arrays(LOSS, [(W1, b1), (W2, b2)]).params) == ["W1", "b1", "W2", "b2"]
    assert read_arrays(EMBEDDED, E).bare


def test_a_renamed_parameter_is_that_name_in_the_formula():
    assert read_arrays(np.sum(E), {"table": E}).formula == "sum(table)"


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: compile_grad(X @ W1, [W1]), ExpressionError, r"shape \(n, 4\); a loss is one number.*mean"),
        (lambda: compile_grad(np.sum(t), [W1]), ExpressionError, "int64; a loss is a floating-point number"),
        (lambda: compile_grad(np.all(X > 0), [W1]), ExpressionError, "np.where"),
        (lambda: compile_grad(LOSS, [W1 + 1]), ArgumentError, "is an expression"),
        (lambda: compile_grad(LOSS, [W1, E]), ArgumentError, "does not contain the parameter E"),
        (lambda: compile_grad(LOSS, [X]), ArgumentError, r"known lengths, theta is one array.*'n'"),
        (lambda: compile_grad(EMBEDDED + np.sum(gc.array("i", 3, "int64")), [gc.array("i", 3, "int64")]),
         ArgumentError, "i is of dtype int64"),
        (lambda: compile_grad(np.sum(E) + np.sum(gc.array("F", 3, "float32")), [E]), ArgumentError,
         "E is float64 and F is float32.*one dtype"),
        (lambda: compile_grad(np.sum(E) + np.sum(gc.array("E", 3)), [E]), ArgumentError, "two different arrays"),
        (lambda: compile_grad(LOSS, [W1, W1]), ArgumentError, "W1 is given twice"),
        (lambda: compile_grad(LOSS, [W1], inputs=[W1, X, t, b1, W2, b2]), ArgumentError, "W1 is given twice"),
        (lambda: compile_grad(LOSS, [W1, b1, W2, b2], inputs=[X]), ArgumentError, "contains t"),
        (lambda: compile_grad(LOSS, [sympy.Symbol("W1")]), ArgumentTypeError, "written with arrays"),
        (lambda: compile_grad(LOSS, "W1"), ArgumentTypeError, "is text"),
        (lambda: compile_grad(LOSS, []), ArgumentError, "params is empty"),
        (lambda: compile_grad(LOSS, [W1], data=[X]), ArgumentError, "data is for formulas"),
        (lambda: compile_grad(LOSS, [W1], reduce="sum"), ArgumentError, "reduce='sum' is for formulas"),
        (lambda: compile_value(X @ W1, reduce="mean"), ArgumentError, "reduce='mean' is for formulas"),
        (lambda: compile_grad(LOSS, [W1], dtype="float32"), ArgumentError, "the arrays are float64"),
        (lambda: compile_grad(sympy.Symbol("w") ** 2, W1), ArgumentTypeError, "write the loss with arrays"),
        (lambda: compile_value(np.sum(np.ones_like(X) * b1[0]), [b1]), ArgumentError, "dimension 'n', which no arg"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_float32_arrays_need_no_dtype():
    w = gc.array("w", 3, "float32")
    assert compile_grad(np.sum(w * w), w).dtype == compile_grad(np.sum(w * w), w, dtype="float32").dtype == "float32"


def test_an_unused_parameter_gets_zeros():
    f = compile_grad(np.sum(E), {"E": E, "W": W1}, allow_unused=True)
    _, (_, unused) = expected(f, np.ones((6, 2)), THETA[0])
    assert not unused.any()


def test_an_unused_input_may_give_a_dimension():
    f = compile_value(np.sum(np.ones_like(X) * b1[0]), [b1], inputs=[X])
    assert evaluate([f.problem.primal], f._leaf_values((THETA[1], DATA[0]), {}))[0] == pytest.approx(35 * THETA[1][0])


# Around the call


def test_gradient_by_both_ways():
    f = compile_grad(LOSS, [W1, b1, W2, b2], inputs=[X, t])
    assert f.check(*THETA, *DATA).error < 1e-9
    assert f.size == 39
    assert str(f.signature) == "(W1, b1, W2, b2, X, t)"
    with pytest.raises(ArgumentError, match="SymPy"):
        _ = f.gradients


def test_it_is_copied_and_pickled():
    f = compile_grad(LOSS, [W1, b1, W2, b2], inputs=[X, t])
    assert copy.copy(f) is copy.deepcopy(f) is f
    again = pickle.loads(pickle.dumps(f))
    assert again.problem.primal is f.problem.primal
    assert repr(again) == repr(f)


def test_costs_are_those_of_a_sample_where_there_are_samples():
    f, g = compile_grad(LOSS, [W1, b1, W2, b2]), compile_grad(np.sum(E**2), E)
    assert f.cost.bytes_per_sample == 6 * 8
    assert f.cost.loss < f.cost.loss_and_gradient < 4 * f.cost.loss
    assert (g.cost.loss, g.cost.bytes_per_sample) == (23, 0)


def test_the_blackboard_has_arrays_with_their_adjoints():
    rows = {r.name: r for r in compile_grad(EMBEDDED, E).explain(np.ones((6, 2)), [0, 0, 3]).rows}
    assert rows["E"].adjoint[0].tolist() == [4.0, 4.0]
    assert rows["k"].adjoint is None
    assert rows["loss"].value == 6.0


def test_truth_values_are_checked_in_high_precision_as_such():
    keep = gc.array("keep", ("n", 5), dtype="bool")
    f = compile_grad(np.sum(np.where(keep & (X > 0), X, 0.0) @ W1), [W1], inputs=[X, keep])
    assert f.check(THETA[0], DATA[0], DATA[0] < 0.5).error < 1e-9


# Converting


def converted(array, value):
    (argument,) = read_arrays(array, (), is_loss=False).inputs
    return bind.convert_all([argument], [value])[0]


@pytest.mark.parametrize("value", [[0, 2], (0, 2.0), np.array([0, 2], "uint8"), np.array([0, 9, 2])[::2]])
def test_whole_numbers_become_int64(value):
    found = converted(k, value)
    assert found.dtype == np.int64
    assert found.flags.c_contiguous
    assert found.tolist() == [0, 2]


def test_arrays_that_fit_are_taken_as_they_are():
    for array, value in ((k, np.arange(3)), (X, np.zeros((0, 5)))):
        assert converted(array, value) is value


def test_truth_values_become_integers():
    keep = gc.array("keep", "n", dtype="bool")
    for value in ([True, False], [1, 0], np.array([True, False])):
        found = converted(keep, value)
        assert (found.dtype, found.tolist()) == (np.int64, [1, 0])


def test_single_numbers_become_those_of_python():
    for value in (3, 3.0, np.int32(3), np.array(3)):
        found = converted(gc.array("m", (), "int64"), value)
        assert (type(found), found) == (int, 3)
    assert type(converted(gc.array("s", ()), np.float32(2))) is float
    assert converted(gc.array("on", (), "bool"), True) == 1


@pytest.mark.parametrize(
    ("array", "value", "words"),
    [
        (k, [0.5], "k holds whole numbers of int64, and 0.5 is none"),
        (k, [np.nan], "nan is none"),
        (k, [2.0**63], "is none"),
        (k, np.array([2**63], np.uint64), "is none"),
        (k, ["a"], "k holds text"),
        (k, [[1]], r"k has shape \(1, 1\), expected \(n,\); pass k.ravel\(\)"),
        (gc.array("keep", "n", dtype="bool"), [0, 2], "keep holds truth values, and 2 is none; pass keep != 0"),
        (gc.array("m", (), "int64"), [1], r"m has shape \(1,\), expected \(\)"),
        (gc.array("s", ()), np.zeros(2), "s is a single number.*give the symbolic s a shape"),
        (X, np.zeros((5, 7)), r"expected \(n, 5\); pass X.T"),
        (gc.array("Y", ("n", "m")), np.zeros(6), r"expected \(n, m\)$"),
        (gc.array("f", "n", "float32"), np.zeros(3), "dtype float64, the function takes float32"),
    ],
)
def test_what_is_lost_is_refused(array, value, words):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=words):
        converted(array, value)


def test_the_kernel_is_told_of_integers():
    keep, m = gc.array("keep", ("n", 5), dtype="bool"), gc.array("m", (), "int64")
    f = gc.compile_grad(np.sum(np.where(keep, X, m) @ W1), [W1])
    assert list(map(str, f.kernel_signature)) == ["array(float64, 1d, C)"] * 2 + [
        "array(float64, 2d, C)", "array(int64, 2d, C)", "int64"
    ]  # fmt: skip


# Named dimensions and indices


def checked(f, *args):
    f._leaf_values((), {"args": dict(zip((a.name for a in f._arguments), args, strict=True))})


def test_a_dimension_has_one_length():
    f = compile_grad(LOSS, [W1, b1, W2, b2], inputs=[X, t])
    words = r"X has shape \(7, 5\) and t has shape \(6,\): the dimension 'n' is 7 in X and 6 in t"
    with pytest.raises(ArgumentError, match=words):
        checked(f, *THETA, DATA[0], DATA[1][:6])
    square = gc.array("S", ("n", "n"))
    with pytest.raises(ArgumentError, match=r"S has shape \(2, 3\): the dimension 'n' is 2 and 3 there"):
        checked(compile_value(np.trace(square)), np.zeros((2, 3)))


def test_any_length_will_do():
    f = compile_grad(LOSS, [W1, b1, W2, b2], inputs=[X, t])
    for n in (1, 2, 100):
        checked(f, *THETA, np.zeros((n, 5)), np.zeros(n))
    with np.errstate(all="ignore"):
        assert np.isnan(expected(f, *THETA, np.zeros((0, 5)), [])[0])


v, w = gc.array("v", "n"), gc.array("w", "m")


@pytest.mark.parametrize(
    ("value", "least", "words"),
    [
        (v[5], 6, r"v\[5\] needs n >= 6, and n is 5"),
        (v[-2], 2, r"needs n >= 2, and n is 1"),
        (v[1:], 1, r"v\[1:\] needs n >= 1, and n is 0"),
        (v[:4], 4, "needs n >= 4, and n is 3"),
        (v[2:4], 4, "needs n >= 4, and n is 3"),
        (v[::-1], 0, None),
        (np.max(v), 1, r"max\(v\) needs n >= 1, and n is 0"),
        (v[[0, 3, -1]], 4, "needs n >= 4, and n is 3"),
        (v[np.array(3)], 4, "needs n >= 4, and n is 3"),
        (v[np.array([[0], [3]])], 4, "needs n >= 4, and n is 3"),
        (v[np.arange(4, like=v)], 4, "needs n >= 4, and n is 3"),
        (v[np.arange(6, like=v)[1:4]], 4, "needs n >= 4, and n is 3"),
        (np.diff(v), 1, "needs n >= 1, and n is 0"),
        (np.pad(v, 1)[1:-1], 0, None),
    ],
)
def test_lengths_suffice_or_the_call_says_so(value, least, words):
    f = compile_value(value)
    checked(f, np.zeros(least))
    assert evaluate([f.problem.primal], f._leaf_values((np.zeros(least),), {}))
    if words is not None:
        with pytest.raises(ArgumentError, match=words):
            checked(f, np.zeros(least - 1))


def test_lengths_of_two_dimensions():
    f = compile_value(np.concatenate([v, w])[3:])
    checked(f, np.zeros(1), np.zeros(2))
    with pytest.raises(ArgumentError, match=r"m\+n-3 >= 0, and m is 1, n is 1"):
        checked(f, np.zeros(1), np.zeros(1))


@pytest.mark.parametrize(
    ("value", "index", "words"),
    [
        (E[k], [0, 6], r"k\[1\] is 6; E has 6 rows, so an index is -6 to 5"),
        (E[k], [-7, 0], r"k\[0\] is -7; E has 6 rows, so an index is -6 to 5"),
        (E[:, k], [0, 2], r"k\[1\] is 2; axis 1 of E has length 2, so an index is -2 to 1"),
        (b1[k], [4], r"k\[0\] is 4; b1 has 4 entries, so an index is -4 to 3"),
        (E[k[:, None]], [6], r"k\[0\] is 6; E has 6 rows"),
        (E[k[1:]], [0, 6], r"an entry of k is 6; E has 6 rows"),
        ((2 * E)[k], [6], r"k\[0\] is 6; the axis that it picks from has length 6"),
        (v[k], [3, 0, 0], r"k\[0\] is 3; v has 3 entries"),
        (gc.cross_entropy(E, gc.array("k", 6, dtype="int64")), [0, 1, 0, 2, 1, 0], r"k\[3\] is 2; .* length 2"),
    ],
)
def test_indices_are_inside_their_axes(value, index, words):
    f = compile_value(value)
    given = {"E": np.ones((6, 2)), "b1": np.ones(4), "v": np.ones(3)}
    args = [given.get(a.name, index) for a in f.problem.inputs]
    with pytest.raises(ArgumentError, match=words):
        checked(f, *args)
    checked(f, *[given.get(a.name, np.zeros(len(index))) for a in f.problem.inputs])


def test_only_what_is_used_of_an_index_counts():
    pair = gc.array("pair", ("n", 2), dtype="int64")
    f = compile_value(E[pair[:, 0]] + b1[pair[:, 1]][:, None])
    args = {"E": np.ones((6, 2)), "b1": np.ones(4), "pair": [[5, 3]]}
    checked(f, *(args[a.name] for a in f.problem.inputs))
    with pytest.raises(ArgumentError, match="an entry of pair is 5; b1 has 4 entries"):
        checked(f, *(args[a.name] if a.name != "pair" else [[3, 5]] for a in f.problem.inputs))


def test_indices_in_loops_are_inside_their_axes():
    h0, many = gc.array("h0", ("n", 2)), gc.array("many", ("T", "n"), dtype="int64")
    f = compile_value(gc.scan(lambda h, i: (np.tanh(h + E[i] + E[k]), None), h0, many)[0])
    args = {"E": np.ones((6, 2)), "h0": np.zeros((1, 2)), "many": np.zeros((3, 1), int), "k": [0]}
    checked(f, *(args[a.name] for a in f.problem.inputs))
    for name, index, words in (("many", [[0], [6], [0]], r"many\[1, 0\] is 6"), ("k", [-7], r"k\[0\] is -7; E has")):
        with pytest.raises(ArgumentError, match=words):
            checked(f, *({**args, name: index}[a.name] for a in f.problem.inputs))


# Calling


def test_a_call_returns_loss_and_gradients():
    f = compile_grad(LOSS, [W1, b1, W2, b2], inputs=[X, t])
    loss, grads = f(*THETA, *DATA)
    want, wanted = expected(f, *THETA, *DATA)
    assert loss == pytest.approx(want, rel=1e-12)
    assert [g.shape for g in grads] == [p.shape for p in THETA]
    for got, g in zip(grads, wanted, strict=True):
        np.testing.assert_allclose(got, g, rtol=1e-10, atol=1e-14)
    named, more = f(*THETA, t=DATA[1], X=DATA[0])
    assert named == loss
    assert not np.shares_memory(grads.W1, more.W1)
    assert f.loss(*THETA, *DATA) == pytest.approx(loss)


def test_a_bound_function_and_a_flat_one():
    f = compile_grad(LOSS, [W1, b1, W2, b2], inputs=[X, t])
    theta = f.pack(*THETA)
    loss, gradient = f.bind(*DATA)(theta)
    assert gradient.shape == (f.size,)
    again, flat = f.flat(theta, *DATA)
    assert (again, flat.tolist()) == (loss, gradient.tolist())
    for part, p in zip(f.unpack(theta), THETA, strict=True):
        np.testing.assert_array_equal(part, p)


@pytest.mark.parametrize("way", [lambda f: f, lambda f: f.loss, lambda f: lambda _, k: f.bind(k),
                                 lambda f: lambda E, k: f.flat(E.ravel(), k)])  # fmt: skip
def test_every_way_to_call_checks_indices(way):
    f = compile_grad(EMBEDDED, E)
    with pytest.raises(ArgumentError, match=r"k\[0\] is 6; E has 6 rows"):
        way(f)(np.ones((6, 2)), [6])


def test_arrays_without_axes_are_numbers():
    slope, x, y = (gc.array(name) for name in ("w", "x", "y"))
    f = compile_grad((slope * x - y) ** 2, [slope], inputs=[x, y])
    loss, grads = f(2.0, 3.0, 10.0)
    assert (loss, grads.w, type(grads.w)) == (16.0, -24.0, float)
    assert f.flat([2.0], 3, 10)[1].tolist() == [-24.0]


def test_a_number_among_arrays():
    rate = gc.array("rate")
    _, grads = compile_grad(np.sum(rate * E) + rate, {"E": E, "rate": rate})(np.ones((6, 2)), 3)
    assert (grads.E[5, 1], grads.rate) == (3.0, 13.0)


def test_a_bare_gradient():
    loss, gradient = compile_grad(EMBEDDED, E)(np.ones((6, 2)), [0, 0, 3])
    assert loss == 6.0
    assert gradient[:4, 0].tolist() == [4.0, 0.0, 0.0, 2.0]


def test_float32_stays():
    e = gc.array("e", (6, 2), "float32")
    loss, gradient = compile_grad(np.sum(e[k] ** 2), e)(np.ones((6, 2), "float32"), [0, 0, 3])
    assert (loss, gradient.dtype) == (6.0, np.float32)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (X @ W1 + b1, lambda d, p: d @ p[0] + p[1]),
        (np.argmax(X @ W1, axis=1) + 0 * np.sum(b1).astype("int64"), lambda d, p: np.argmax(d @ p[0], axis=1)),
        ((X @ W1 + b1) > 0, lambda d, p: (d @ p[0] + p[1]) > 0),
        (np.sum(X @ W1 + b1), lambda d, p: np.sum(d @ p[0] + p[1])),
        (np.any(X @ W1 + b1 > 0), lambda d, p: np.any(d @ p[0] + p[1] > 0)),
    ],
)
def test_values_have_shape_and_dtype_as_in_numpy(value, want):
    got = compile_value(value, [W1, b1])(THETA[0], THETA[1], DATA[0])
    wanted = want(DATA[0], THETA)
    assert np.shape(got) == wanted.shape
    assert np.asarray(got).dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_values_of_any_length(n):
    got = compile_value((X @ W1)[:, None], [W1])(THETA[0], DATA[0][:n])
    assert got.shape == (n, 1, 4)


def test_a_mean_of_nothing_is_nan():
    loss, grads = compile_grad(LOSS, [W1, b1, W2, b2], inputs=[X, t])(*THETA, np.zeros((0, 5)), [])
    assert np.isnan(loss)
    assert [g.shape for g in grads] == [p.shape for p in THETA]


def test_truth_values_are_inputs():
    keep = gc.array("keep", "n", dtype="bool")
    f = compile_grad(np.sum(np.where(keep[:, None], X @ W1, 0.0)), W1, inputs=[X, keep])
    chosen = DATA[1] > 0
    for given in (chosen, chosen.astype(int), chosen.tolist()):
        loss, gradient = f(THETA[0], DATA[0], given)
        assert loss == pytest.approx(np.sum((DATA[0] @ THETA[0])[chosen]))
        np.testing.assert_allclose(gradient[:, 0], DATA[0][chosen].sum(0))


def test_a_saved_file_gives_the_same_bits(tmp_path):
    f = compile_grad(LOSS, [W1, b1, W2, b2], inputs=[X, t])
    f.save(tmp_path / "saved_array_loss.py")
    spec = importlib.util.spec_from_file_location("saved_array_loss", tmp_path / "saved_array_loss.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    theta, gradient = f.pack(*THETA), np.empty(f.size)
    loss, want = f.flat(theta, *DATA)
    assert module.kernel(theta, gradient, *DATA) == loss
    assert gradient.tolist() == want.tolist()


def test_values_that_call_lapack_alone():
    """A routine that is no text of the subset, called by a function that may have quick code."""
    matrix = gc.array("M", (2, 2))
    f = gc.compile_value(np.linalg.eigvalsh(matrix), [matrix])
    np.testing.assert_allclose(f([[4.0, 9.0], [1.0, 3.0]]), np.linalg.eigvalsh([[4.0, 9.0], [1.0, 3.0]]))


def test_a_list_of_symbols_in_linear_algebra_says_what_to_write():
    p, q = gc.array("p"), gc.array("q")
    rows = [[p, 1.0], [q, p]]
    for name in ("det", "inv", "solve", "slogdet"):
        more = ([1.0, 2.0],) if name == "solve" else ()
        with pytest.raises(gc.ExpressionError, match=rf"write np.linalg.{name}\(np.asarray\(rows, like=x\)\)"):
            getattr(np.linalg, name)(rows, *more)
    f = gc.compile_grad(np.linalg.det(np.asarray(rows, like=p)), [p, q])
    assert f(2.0, 3.0)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["toeplitz", "hankel", "circulant"])
def test_matrices_of_entries_need_a_length(name):
    with pytest.raises(gc.ExpressionError, match="the named dimension 'n': its length must be known; give the array"):
        getattr(gc.linalg, name)(gc.array("x", ("n",)))
    assert getattr(gc.linalg, name)(gc.array("x", (3,))).shape == (3, 3)


@pytest.mark.parametrize("order", ["C", "F"])
def test_places_along_axes(order):
    """Outside the shape the slowest axis is outside too, as it is of indices that are known."""
    i, M = gc.array("i", ("m",), dtype="int64"), gc.array("M", ("n", 3))
    at = np.arange(12)
    for shape in (M.shape, (4, 3)):
        f = compile_value([*np.unravel_index(i, shape, order), np.sum(M)], inputs=[i, M])
        np.testing.assert_array_equal(f(at, np.ones((4, 3)))[:2], np.unravel_index(at, (4, 3), order))
        first, second, _ = f(np.array([12, 13]), np.ones((4, 3)))
        np.testing.assert_array_equal(first if order == "C" else second, [4, 4] if order == "C" else [3, 3])
    assert compile_value(M[np.unravel_index(np.argmax(M), M.shape)], inputs=[M])(np.arange(12.0).reshape(4, 3)) == 11.0
    with pytest.raises(ExpressionError, match="use order='C' or order='F'"):
        np.unravel_index(i, (4, 3), order="f")


def test_a_polynomial_is_not_fitted_to_a_named_number_of_points_but_by_the_formula_in_the_message():
    x, y = gc.array("x", ("n",)), gc.array("y", ("n",))
    with pytest.raises(ExpressionError, match=r"V = np\.vander\(x, 3\); np\.linalg\.solve\(V\.T @ V, V\.T @ y\)"):
        np.polyfit(x, y, 2)
    V = np.vander(x, 3)
    at, of = rng.normal(size=(2, 9))
    found = compile_value(np.linalg.solve(V.T @ V, V.T @ y), inputs=[x, y])(at, of)
    np.testing.assert_allclose(found, np.polyfit(at, of, 2), rtol=1e-9)
