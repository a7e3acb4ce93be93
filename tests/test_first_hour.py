"""What people try first: help, printing, pickling, saving, and calls of what is meant for compiled code."""

import copy
import inspect
import math
import pickle
import warnings

import numba
import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile import errors, vmath
from gradcompile.library.vmath import single

W, X, Y = sp.symbols("w x y")
JIT = not numba.config.DISABLE_JIT


@pytest.fixture(scope="module")
def line():
    return gc.compile_grad((W * X - Y) ** 2, [W], data=[X, Y])


# ---- errors are the package's


@pytest.mark.parametrize("use", [sp.exp, lambda a: sp.Add(a, X), lambda a: sp.Max(a, X), lambda a: (X**2).subs(X, a)])
def test_an_array_in_sympy(use):
    with pytest.raises(errors.NoSympyError, match=r"write np\.exp") as caught:
        use(gc.array("a", 3))
    assert isinstance(caught.value, errors.ExpressionError) and type(caught.value).__module__ == "gradcompile.errors"


@pytest.mark.skipif(not JIT, reason="plain Python takes anything")
@pytest.mark.parametrize("theta", [[1.0], None, "a", 1j, np.ones((1, 1)), 1.0])
def test_what_a_kernel_is_not_made_for(line, theta):
    with pytest.raises(errors.ArgumentTypeError, match="the kernel takes theta as float64") as caught:
        line.kernel(theta, np.empty(1), np.ones(2), np.ones(2))
    assert isinstance(caught.value, gc.GradcompileError) and isinstance(caught.value, TypeError)


@pytest.mark.skipif(not JIT, reason="it is about compiled code")
def test_a_truth_value_is_1_for_a_kernel():
    f = gc.compile_grad(W**2 * X, [W])
    assert f.kernel(np.ones(1), np.empty(1), True) == 1.0


@pytest.mark.skipif(not JIT, reason="it is about compiled code")
def test_in_compiled_code_the_kernel_is_meant(line):
    @numba.njit
    def by_name(w):
        return line(w, 1.0, 2.0)

    @numba.njit
    def by_argument(f, w):
        return f(w)

    calls = (lambda: by_name(1.0), lambda: by_argument(line, 1.0), lambda: by_argument(line.loss, 1.0))
    for call in calls:
        with pytest.raises(errors.ArgumentTypeError, match=r"call its f\.kernel"):
            call()


# ---- functions of vmath


@pytest.mark.skipif(not JIT, reason="plain Python takes numbers only")
def test_functions_of_vmath_take_numbers_and_arrays():
    x = np.linspace(-2.0, 2.0, 12).reshape(3, 4)
    for given in (x, x[::2, 1:].T, x.tolist(), np.asfortranarray(x), np.arange(5), np.zeros((0, 3)), [True, False]):
        found = vmath.exp(given)
        np.testing.assert_allclose(found, np.exp(np.asarray(given, float)), rtol=1e-15)
        assert found.shape == np.shape(given)
    for one in (1, 1.0, True, np.float32(1), np.int8(1), np.array(1.0)):
        assert vmath.exp(one) == math.e
    np.testing.assert_array_equal(vmath.power([[2.0], [3.0]], [1, 2]), [[2.0, 4.0], [3.0, 9.0]])
    np.testing.assert_array_equal(vmath.maximum(np.float32([1, 3]), 2.0), [2, 3])


@pytest.mark.skipif(not JIT, reason="plain Python takes numbers only")
def test_functions_of_single_precision():
    x = np.linspace(-2.0, 2.0, 5, dtype="float32")
    found = single.exp(x)
    assert found.dtype == "float32" and single.maximum(x, 1.0).dtype == "float32"
    np.testing.assert_allclose(found, np.exp(x), rtol=3e-7)
    assert single.exp(1.0) == single.exp(1) == single.exp(True) == pytest.approx(math.e, rel=1e-7)
    with pytest.raises(gc.ArgumentTypeError, match=r"got float64; convert it, as in np.asarray\(x, 'float32'\)"):
        single.exp(np.ones(2))
    assert single.exp(np.asarray(np.ones(2), "float32")).dtype == "float32"


@pytest.mark.skipif(not JIT, reason="it is about compiled code")
def test_numbers_of_other_types_in_compiled_code():
    @numba.njit
    def double(x):
        return vmath.exp(x)

    @numba.njit
    def half(x):
        return single.exp(x)

    assert double(True) == double(1) == double(np.float32(1)) == math.e
    assert half(True) == half(1) == half(np.float32(1)) == pytest.approx(math.e, rel=1e-7)
    with pytest.raises(errors.SubsetError, match="takes numbers in compiled code; write a loop"):
        double(np.ones(2))
    with pytest.raises(errors.SubsetError, match=r"write np\.float32\(x\)"):
        half(1.0)


@pytest.mark.skipif(not JIT, reason="plain Python takes numbers only")
@pytest.mark.parametrize("given", ["a", X, None, 1j, np.array(["a"])])
def test_what_functions_of_vmath_do_not_take(given):
    with pytest.raises(gc.ArgumentTypeError, match="exp takes numbers and arrays of float64, got"):
        vmath.exp(given)


# ---- looking


def test_a_node_has_a_value_if_it_is_a_constant(line):
    (root,) = line.graph.read
    assert not hasattr(root, "value") and getattr(root.args[0], "value", None) is None
    assert gc.compile_value(sp.Integer(2)).graph.read[0].value == 2.0


def test_graphs_are_printed_as_formulas(line):
    first, *_, last = str(line.graph).splitlines()
    assert first == "read: mean((w*x - y)**2)" and last == "simplified: mean((w*x - y)**2); mean(2*(w*x - y)*x)"
    many = gc.compile_value(sum(s**2 for s in sp.symbols("u:100"))).graph
    assert max(map(len, repr(many).splitlines())) < 200


@pytest.mark.parametrize("called", [False, True])
def test_help_says_how_to_call(called):
    f = gc.compile_grad((W * X - Y) ** 2, [W])
    if called:
        f(1.0, x=2.0, y=3.0)
        assert inspect.signature(f.__call__) == f.signature
    text = inspect.getdoc(f.__call__)
    assert "f(*params, *inputs) -> (loss, grads)" in text and "args:" in text and "out:" in text


# ---- a value that is the same for all samples


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_value_that_does_not_depend_on_the_data_has_one_entry_a_sample(dtype):
    x = np.arange(3, dtype=dtype)
    options = {"data": [X], "allow_unused": True, "dtype": dtype}
    for value, want in ((1, 1.0), (sp.pi, math.pi), (sp.Integer(0), 0.0)):
        found = gc.compile_value(value, **options)(x)
        assert found.shape == (3,) and found.dtype == dtype
        np.testing.assert_allclose(found, want, rtol=1e-6)
    np.testing.assert_array_equal(gc.compile_value(W**2, [W], **options)(3.0, x), [9, 9, 9])
    assert gc.compile_value(W + gc.mean(X), [W], **options)(2.0, x) == 3.0, "a mean is one number"
    assert gc.compile_value(W, [W], reduce="mean", **options)(2.0, x) == 2.0
    assert gc.compile_value(W, [W], reduce="sum", **options)(2.0, x) == 6.0
    assert gc.compile_grad(W**2, [W], reduce="sum", **options)(3.0, x) == (27.0, (18.0,))
    assert gc.compile_grad(W**2, [W], **options)(3.0, x) == (9.0, (6.0,))


# ---- keeping


def test_gradients_are_pickled_and_copied(line):
    grads = line(2.0, [3.0], [10.0])[1]
    for again in (pickle.loads(pickle.dumps(grads)), copy.copy(grads), copy.deepcopy(grads)):
        assert again == grads and type(again) is type(grads) and again.w == -24.0
    f = gc.compile_grad(np.sum(gc.array("a", 2) ** 2), [gc.array("a", 2)])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(f(np.ones(2))))[1].a, [2, 2])


def test_a_place_where_nothing_can_be_saved(line, tmp_path):
    for path, kind, words in (
        (tmp_path / "none" / "x.py", FileNotFoundError, "there is no folder .*none, make it first"),
        (tmp_path, IsADirectoryError, "directory"),
    ):
        with pytest.raises(kind, match=words) as caught:
            line.save(path)
        assert caught.value.filename == str(path) and ".tmp" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    (tmp_path / "none").mkdir()
    line.save(tmp_path / "none" / "x.py")


# ---- the gradient checked

CHECKED = [
    (sp.log(W), 0.0), (sp.sqrt(W), 0.0), (sp.cbrt(W), 0.0), (sp.acos(W), 1.0), (sp.asin(W) ** 2, -1.0),
    (W**2, math.nan), (W**2, 3.0), (sp.sqrt(W - 1), 1.0), (sp.exp(W), -math.inf),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "at"), CHECKED, ids=str)
def test_a_check_at_the_end_of_a_domain(loss, at):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gc.compile_grad(loss, [W]).check(at).error < 1e-8


def test_a_check_does_not_take_nan_for_a_number():
    f = gc.compile_grad(sp.sqrt(-(W**2)), [W])
    assert f.check(0.0).error == math.inf, "the loss is 0 there and its gradient NaN"
    u = sp.symbols("u:40")
    g = gc.compile_grad(sp.Add(*(sp.log(s) for s in u)), {"u": u})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert g.check(np.zeros(40)).error in (0.0, math.inf)
