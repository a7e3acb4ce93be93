"""The order of inputs: a place is for what somebody put in order. What an error message says to write is run here."""

import inspect
import pickle
import re

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc

W, X, Y = sp.symbols("w x y")
VALUES = {"w": 2.0, "x": 3.0, "y": 10.0}


def said(call):
    """The message of the ArgumentError that a call raises."""
    with pytest.raises(gc.ArgumentError) as caught:
        call()
    return str(caught.value)


def written(message, **known):
    """The value of the call that a message says to write."""
    text = re.search(r"write (.*?\))(?:, or compile it with|$)", message)[1]
    return eval(text, {}, known)


def inputs_of(message, **known):
    """The inputs= that a message says to compile with."""
    return eval(re.search(r"inputs=(\[.*?\]) for calls by place", message)[1], {}, known)


@pytest.fixture(scope="module")
def square():
    """A loss of which nobody ordered the inputs x and y."""
    return gc.compile_grad((W * X - Y) ** 2, [W])


# ---- the order that nobody stated


@pytest.mark.parametrize("member", ["", ".loss", ".explain", ".check"])
def test_the_call_that_is_printed_runs(square, member):
    function = getattr(square, member[1:]) if member else square
    message = said(lambda: function(2.0, 3.0, 10.0))
    found = written(message, f=square, **VALUES)
    assert found == function(2.0, x=3.0, y=10.0) or str(found) == str(function(2.0, x=3.0, y=10.0))
    assert said(lambda: function(2.0, 3.0, y=10.0)) == message, "one of the two by place is no better"


def test_flat_and_bind_print_their_own_calls(square):
    theta = np.array([2.0])
    loss, gradient = written(said(lambda: square.flat(theta, 3.0, 10.0)), f=square, theta=theta, **VALUES)
    assert (loss, *gradient) == (16.0, -24.0)
    bound = written(said(lambda: square.bind(3.0, 10.0)), f=square, **VALUES)
    assert bound(theta)[0] == 16.0


def test_inputs_that_are_printed_put_them_in_order(square):
    inputs = inputs_of(said(lambda: square(2.0, 3.0, 10.0)), x=X, y=Y)
    ordered = gc.compile_grad((W * X - Y) ** 2, [W], inputs=inputs)
    assert ordered(2.0, 3.0, 10.0) == (16.0, (-24.0,)) == square(2.0, x=3.0, y=10.0) == square(w=2, y=10, x=3)
    assert str(inspect.signature(square)) == "(w, *, x, y)" and str(ordered.signature) == "(w, x, y)"
    assert repr(square).startswith("<CompiledGrad(w, *, x, y)")


def test_the_order_is_no_guess_by_the_names():
    b, target = sp.symbols("b target")
    f = gc.compile_grad((W * X + b - target) ** 2, [W, b])
    assert f(2.0, 1.0, x=3.0, target=10.0)[0] == 9.0
    message = said(lambda: f(2.0, 1.0, 3.0, 10.0))
    assert written(message, f=f, w=2.0, b=1.0, x=3.0, target=10.0)[0] == 9.0


def test_of_a_value_as_well():
    g = gc.compile_value(W * X - Y, W)
    assert written(said(lambda: g(2.0, 3.0, 10.0)), f=g, **VALUES) == -4.0
    h = gc.compile_value(X - Y)
    assert written(said(lambda: h(3.0, 10.0)), f=h, **VALUES) == -7.0


def test_of_arrays():
    x, y, w = gc.array("x", ("n", 2)), gc.array("y", "n"), gc.array("w", 2)
    loss = np.mean((x @ w - y) ** 2)
    f = gc.compile_grad(loss, w)
    known = {"w": [1.0, 2.0], "x": [[1.0, 0.0], [0.0, 1.0]], "y": [1.0, 0.0]}
    message = said(lambda: f(*known.values()))
    value, gradient = written(message, f=f, **known)
    assert value == 2.0 and gradient.tolist() == [0.0, 2.0]
    ordered = gc.compile_grad(loss, w, inputs=inputs_of(message, x=x, y=y))
    assert ordered(*known.values())[0] == 2.0
    assert f.flat([1.0, 2.0], x=known["x"], y=known["y"])[0] == 2.0


def test_of_index_notation_and_matrices():
    n, i, j = sp.Symbol("n", integer=True), *sp.symbols("i j", integer=True)
    a, v, z = sp.IndexedBase("A", shape=(n, 2)), sp.IndexedBase("v", shape=(2,)), sp.IndexedBase("z", shape=(n,))
    f = gc.compile_grad(sp.Sum((sp.Sum(a[i, j] * v[j], (j, 0, 1)) - z[i]) ** 2, (i, 0, n - 1)), v)
    known = {"v": [1.0, 2.0], "A": [[1.0, 0.0], [0.0, 1.0]], "z": [1.0, 0.0]}
    message = said(lambda: f(*known.values()))
    assert written(message, f=f, **known)[0] == 4.0 and inputs_of(message, A=a, z=z) == [a, z]

    p, q = sp.MatrixSymbol("P", n, n), sp.MatrixSymbol("Q", n, n)
    g = gc.compile_grad(W * sp.Trace(p * q.T), [W])
    known = {"w": 2.0, "P": [[1.0]], "Q": [[3.0]]}
    message = said(lambda: g(*known.values()))
    assert written(message, f=g, **known)[0] == 6.0 and inputs_of(message, P=p, Q=q) == [p, q]


def test_data_are_in_order_and_one_left_over_may_come_by_place():
    lam, mu = sp.symbols("lam mu")
    one = gc.compile_grad((W * X - Y) ** 2 + lam, [W], data=[X, Y])
    assert one(2.0, [3.0], [10.0], 1.0) == one(2.0, [3.0], [10.0], lam=1.0) == (17.0, (-24.0,))
    assert str(one.signature) == "(w, x, y, lam)"
    two = gc.compile_grad((W * X - Y) ** 2 + lam - mu, [W], data=[X, Y])
    assert str(two.signature) == "(w, x, y, *, lam, mu)"
    assert two(2.0, [3.0], [10.0], mu=1.0, lam=5.0)[0] == 20.0
    known = {"w": 2.0, "x": [3.0], "y": [10.0], "lam": 5.0, "mu": 1.0}
    message = said(lambda: two(*known.values()))
    assert written(message, f=two, **known)[0] == 20.0
    again = gc.compile_grad((W * X - Y) ** 2 + lam - mu, [W], data=[X, Y], inputs=inputs_of(message, lam=lam, mu=mu))
    assert again(*known.values())[0] == 20.0


def test_training_takes_them_by_name(square):
    options = {"learning_rate": 0.1, "epochs": 1, "progress": False}
    message = said(lambda: gc.sgd(square, [2.0], [3.0, 10.0], **options))
    data = eval(re.search(r"pass data=(\{.*?\})", message)[1], {}, VALUES)
    for given in (data, {X: 3.0, Y: 10.0}, {"y": 10.0, X: 3.0}):
        assert gc.sgd(square, {"w": 2.0}, given, **options).params == pytest.approx({"w": 4.4})
    ordered = gc.compile_grad((W * X - Y) ** 2, [W], inputs=inputs_of(message, x=X, y=Y))
    assert gc.sgd(ordered, [2.0], [3.0, 10.0], **options).params == pytest.approx([4.4])
    with pytest.raises(gc.TrainingError, match="bad input at y: it is given as inf"):
        gc.sgd(square, [2.0], {"x": 3.0, "y": np.inf}, **options)
    with pytest.raises(gc.ArgumentTypeError, match=r"holds z, which is no argument; it takes \(\*, x, y\)"):
        gc.sgd(square, [2.0], {"x": 3.0, "y": 1.0, "z": 2.0}, **options)


def test_many_are_still_a_call_that_runs():
    u, v = sp.symbols("u:60"), sp.symbols("v:60")
    f = gc.compile_grad(sum(a * b**2 for a, b in zip(u, v, strict=True)), u)
    known = {str(s): float(k) for k, s in enumerate((*u, *v))}
    message = said(lambda: f(*known.values()))
    assert written(message, f=f, **known)[0] == sum(k * (60 + k) ** 2 for k in range(60))


def test_the_kernel_keeps_the_order_of_names_and_says_so(square):
    grad = np.empty(1)
    assert square.kernel(np.array([2.0]), grad, 3.0, 10.0) == 16.0
    assert "order of their names" in square.source and 'x: "float64", y: "float64")' in square.source
    assert "order of their names" not in gc.compile_grad(W * X * Y, [W], inputs=[Y, X]).source


def test_it_survives_pickling(square):
    again = pickle.loads(pickle.dumps(square))
    assert again(2.0, x=3.0, y=10.0) == (16.0, (-24.0,))
    assert "write f.loss(w, x=x, y=y)" in said(lambda: pickle.loads(pickle.dumps(square.loss))(2.0, 3.0, 10.0))


# ---- words of calls


@pytest.mark.parametrize("word", ["args", "data", "out", "tangent", "to", "vector"])
def test_a_word_of_calls_is_given_in_args(word):
    s = sp.Symbol(word)
    known = {"w": 2.0, "x": 3.0, word: 10.0}
    for f in (gc.compile_grad((W * X - s) ** 2, [W]), gc.compile_grad((W * X - s) ** 2, [W], inputs=[X, s])):
        message = said(lambda f=f: f(2.0, x=3.0, **{word: 10.0}))
        assert f'args={{"{word}": {word}}}' in message
        assert written(message, f=f, **known) == (16.0, (-24.0,)) == f(2.0, args={"x": 3.0, s: 10.0})
    assert f(2.0, 3.0, 10.0)[0] == 16.0, "by place it needs no word"
    for name in ("loss", "explain", "check"):
        message = said(lambda name=name: getattr(f, name)(2.0, x=3.0, **{word: 10.0}))
        assert f"write f.{name}(w, x=x, args=" in message
    assert written(said(lambda: f.bind(x=3.0, **{word: 10.0})), f=f, **known)([2.0])[0] == 16.0
    theta = np.array([2.0])
    assert written(said(lambda: f.flat(theta, x=3.0, **{word: 10.0})), f=f, theta=theta, **known)[0] == 16.0


def test_a_parameter_called_out_is_no_buffer():
    out = sp.Symbol("out")
    f = gc.compile_grad(out**2, [out])
    assert f(3.0) == (9.0, (6.0,)) == f(args={"out": 3.0})
    assert written(said(lambda: f(out=np.empty(1))), f=f, out=3.0) == (9.0, (6.0,))
    a = gc.array("out", 2)
    g = gc.compile_grad(np.sum(a**2), [a])
    assert written(said(lambda: g(out=np.ones(2))), f=g, out=np.ones(2))[0] == 2.0
    buffer = np.empty(1)
    assert gc.compile_grad(W**2, [W])(3.0, out=buffer)[1] is buffer, "where no symbol has the name it is the option"


def test_args_takes_any_name():
    odd = sp.symbols("lambda self theta type x' alpha_{1}")
    f = gc.compile_grad(sum((k + 1) * s * W for k, s in enumerate(odd)), [W])
    for keys in (odd, [s.name for s in odd], [a.name for a in f.problem.inputs]):
        values = dict.fromkeys(keys, 1.0)
        assert f(2.0, args=values)[0] == f.loss(2.0, args=values) == 42.0
        assert f.flat([2.0], args=values)[0] == f.bind(args=values)([2.0])[0] == 42.0
    named = {a.name: 1.0 for a in f.problem.inputs}
    assert f(2.0, **named)[0] == f.bind(**named)([2.0])[0] == f.flat([2.0], **named)[0] == 42.0


def test_args_is_checked(square):
    for call, message in (
        (lambda: square(2.0, args=3.0), "args is a mapping from names to values, got one of type float"),
        (lambda: square(2.0, args={"z": 3.0}), r"args holds z, which is no argument; it takes \(w, \*, x, y\)"),
        (lambda: square(2.0, args={"x": 3.0, X: 3.0}), "args holds 'x' twice"),
        (lambda: square(2.0, x=1.0, args={"x": 3.0}), "'x' is given twice"),
        (lambda: square(2.0, data=3.0), "data is of type float; give a mapping of names to arrays"),
        (lambda: square(2.0, args={"x": 3.0}), "no value for y"),
        (lambda: square(2.0, 3.0, 4.0, 5.0), r"4 arguments given, 3 taken: \(w, \*, x, y\)"),
    ):
        with pytest.raises(gc.ArgumentTypeError, match=message):
            call()


# ---- dummies


def test_a_dummy_beside_a_symbol_of_its_name():
    d = sp.Dummy("x")
    for params in ([X, d], [d, X]):
        f = gc.compile_grad(X * d**2, params)
        assert f(x=3.0, x_2=5.0)[0] == 75.0
        assert f(args={X: 3.0, d: 5.0})[0] == 75.0
    g = gc.compile_grad(X * d**2 * W, [W])
    assert g(1.0, x=3.0, x_2=5.0)[0] == g(1.0, args={d: 5.0, X: 3.0})[0] == 75.0
    e = sp.Dummy("x")
    with pytest.raises(gc.ArgumentError, match="two dummies called 'x'"):
        gc.compile_grad(e * d**2 * W, [W])
    assert gc.compile_grad(e * d**2 * W, [W], inputs=[e, d])(1.0, 3.0, 5.0)[0] == 75.0
    assert gc.compile_grad(e * d**2 * W, [W], inputs={"u": e, "v": d})(1.0, v=5.0, u=3.0)[0] == 75.0
