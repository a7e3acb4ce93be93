"""Parameters in mappings, nested too: the call, gradients, pack, bind, products, minimize; many points at once."""

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile.errors import ArgumentError, ArgumentTypeError

A, B, X, Y = sp.symbols("a b x y")
C = sp.symbols("c0:2")
LOSS = (A * X + B - Y) ** 2 + C[0] ** 2 + C[1]
PARAMS = {"line": {"a": A, "b": B}, "c": C}
POINT = {"c": [1.0, 2.0], "line": {"b": 1.0, "a": 2.0}}
DATA = [0.0, 1.0], [1.0, 1.0]
FLAT = (2.0, 1.0, [1.0, 2.0])


def same(found, expected):
    """Whether two trees are the same, types of containers too."""
    if isinstance(expected, dict):
        return type(found) is dict and list(found) == list(expected) and all(same(found[k], expected[k]) for k in found)
    if isinstance(expected, list | tuple):
        return type(found) is type(expected) and all(map(same, found, expected))
    return np.array_equal(found, expected)


@pytest.fixture(scope="module")
def f():
    """A loss of nested parameters."""
    return gc.compile_grad(LOSS, PARAMS, data=[X, Y])


def test_a_mapping_of_the_form(f):
    """It comes first, whatever its order; gradients come back in the form; the flat call, and one by names, stay."""
    loss, grads = f(*FLAT, *DATA)
    expected = {"line": {"a": grads.line_a, "b": grads.line_b}, "c": grads.c}
    assert str(f.signature) == "(line_a, line_b, c, x, y)"
    for found in (f(POINT, *DATA), f(POINT, y=DATA[1], x=DATA[0]), f.bind(*DATA)(POINT)):
        assert found[0] == loss and same(found[1], expected)
    named = {"line_a": 2.0, "line_b": 1.0, "c": [1.0, 2.0]}
    assert same(f(named, *DATA)[1], dict(zip(named, grads, strict=True)))
    assert same(f.unpack(f.pack(POINT), mapping=True), {"line": {"a": 2.0, "b": 1.0}, "c": np.array([1.0, 2.0])})
    np.testing.assert_array_equal(f.pack(POINT), f.pack(*FLAT))
    out = np.empty(4)
    assert f(POINT, *DATA, out=out)[1] is out and f.loss(POINT, *DATA) == loss


def test_derivatives_take_it():
    """Hessians, products, Jacobians, tangents: gradients in the form, directions given in it."""
    options = {"data": [X, Y]}
    h, p = gc.compile_hessian(LOSS, PARAMS, **options), gc.compile_hvp(LOSS, PARAMS, **options)
    _, grads, hess = h(POINT, *DATA)
    assert same(grads, h.bind(*DATA)(POINT)[1]) and list(grads) == ["line", "c"]
    np.testing.assert_array_equal(p(POINT, *DATA, vector=POINT)[2], hess @ h.pack(POINT))
    t = gc.compile_jvp([A * C[0], B], {"line": {"a": A, "b": B}, "c": [C[0]]})
    at = {"line": {"a": 2.0, "b": 3.0}, "c": [4.0]}
    assert t(at, tangent=at) == ([8.0, 3.0], [16.0, 3.0])


def test_arrays_in_lists_and_numbers_alone():
    """Lists in mappings come back as lists; a loss of few numbers, which has a call of its own."""
    W, V, k = gc.array("W", (2,)), gc.array("V", ("n", 2)), gc.array("k", ())
    f = gc.compile_grad(np.mean((V @ W + k) ** 2), {"layers": [{"w": W}, (k,)]})
    start = {"layers": [{"w": np.ones(2)}, (0.5,)]}
    assert same(f(start, np.eye(2))[1], {"layers": [{"w": np.array([1.5, 1.5])}, (3.0,)]})
    found = gc.minimize(f, start, [np.eye(2)])
    assert found.success and list(found.x) == ["layers"] and type(found.x["layers"][1]) is tuple
    s = gc.compile_grad(A**2 + B**2, {"p": {"a": A}, "b": B})
    assert s({"p": {"a": 1.0}, "b": 2.0}) == (5.0, {"p": {"a": 2.0}, "b": 4.0}) and tuple(s(1.0, 2.0)[1]) == (2.0, 4.0)


def test_what_is_refused(f):
    """Names that meet, mappings of another form, empty and endless ones."""
    for wrong, words in (({"p": {"a": A}, "p_a": B}, "given twice"), ({"p": {}, "b": B}, "empty")):
        with pytest.raises(ArgumentError, match=words):
            gc.compile_grad(A**2 + B**2, wrong)
    endless = {"a": A}
    endless["b"] = endless
    with pytest.raises(ArgumentError, match="hold itself"):
        gc.compile_grad(A**2, endless)
    W = gc.array("W", (2,))
    with pytest.raises(ArgumentError, match="layer_w"):
        gc.compile_grad(np.sum(W * W), {"layer": {"w": W}, "layer_w": gc.array("V", (2,))}, allow_unused=True)
    for wrong, words in (
        ({"line": {"a": 1.0}, "c": [1.0, 2.0]}, "lacks b"),
        ({"line": 1.0, "c": [1.0, 2.0]}, "is a mapping"),
        ({"line": {"a": 1.0, "b": 2.0}, "d": 1.0}, "lacks c and has d"),
    ):
        for call in (lambda p: f(p, *DATA), f.pack, lambda p: gc.minimize(f, p, DATA)):
            with pytest.raises(ArgumentTypeError, match=words):
                call(wrong)


def test_many_points(f):
    """The bits of one by one, whatever the threads, in rows or by name; data of few and of many samples; float32."""
    random = np.random.default_rng(0)
    thetas = random.normal(size=(100, 4))
    for n in (3, 5000):
        data = random.normal(size=(2, n))
        bound = f.bind(*data)
        alone = [bound(theta) for theta in thetas]
        for threads in (1, 2):
            own = gc.compile_grad(LOSS, PARAMS, data=[X, Y], threads=threads)
            losses, grads = own.many(thetas, *data)
            np.testing.assert_array_equal(losses, [loss for loss, _ in alone])
            np.testing.assert_array_equal(grads, [grad for _, grad in alone])
    stacked = {"line": {"a": thetas[:, 0], "b": thetas[:, 1]}, "c": thetas[:, 2:]}
    np.testing.assert_array_equal(f.many(stacked, *data)[1], grads)
    strided = np.repeat(data, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(f.many(thetas[:5], *strided)[1], grads[:5])
    assert f.many(thetas[:0], *data)[1].shape == (0, 4)
    P = gc.array("p", (3,), dtype="float32")
    g = gc.compile_grad(np.sum(P**3), [P])
    points = thetas[:, :3].astype("f4")
    losses, grads = g.many(points)
    assert losses.dtype == "f4"
    np.testing.assert_array_equal(grads, [g.flat(p)[1] for p in points])
    for wrong, words in ((thetas[0], "expected .m, 4."), (stacked | {"c": thetas[:, :1]}, r"expected \(100, 2\)")):
        with pytest.raises(ArgumentError, match=words):
            f.many(wrong, *data)
