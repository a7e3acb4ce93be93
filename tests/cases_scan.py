"""Models that are loops, as losses of arrays and as functions of numbers."""

import numpy as np

from gradcompile import scan
from gradcompile.frontend.arrays import array
from gradcompile.ir.graph import topological

rng = np.random.default_rng(0)


def wave(a):
    """A step that is not linear in anything."""

    def step(c, x):
        c = np.tanh(a * c + x)
        return c, c * x + a

    return step


def rnn(W, U, b, xp):
    def step(h, x):
        h = xp.tanh(x @ W + h @ U + b)
        return h, h

    return step


def lstm(W, U, b, xp, sigmoid):
    def step(carry, x):
        h, c = carry["h"], carry["c"]
        i, f, g, o = xp.split(x @ W + h @ U + b, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * xp.tanh(g)
        h = sigmoid(o) * xp.tanh(c)
        return {"h": h, "c": c}, h

    return step


def gru(W, U, b, xp, sigmoid):
    def step(h, x):
        z, r, n = xp.split(x @ W + b, 3, axis=-1)
        hz, hr, hn = xp.split(h @ U, 3, axis=-1)
        z = sigmoid(z + hz)
        h = (1 - z) * xp.tanh(n + sigmoid(r + hr) * hn) + z * h
        return h, h

    return step


def garch(omega, alpha, beta, xp):
    def step(s, r):
        return omega + alpha * r * r + beta * s, xp.log(s) + r * r / s

    return step


def kalman(F, H, Q, R, xp, eye):
    def step(carry, y):
        m, P = carry
        m, P = F @ m, F @ P @ F.T + Q
        S, e = H @ P @ H.T + R, y - H @ m
        K = xp.linalg.solve(S, H @ P).T
        score = e @ xp.linalg.solve(S, e) + xp.linalg.slogdet(S)[1]
        return (m + K @ e, (eye - K @ H) @ P), score

    return step


def runge_kutta(theta, h, xp):
    def slope(u):
        return xp.stack([theta[0] * u[0] - theta[1] * u[0] * u[1], theta[2] * u[0] * u[1] - theta[3] * u[1]])

    def step(u, _):
        k1 = slope(u)
        k2 = slope(u + h / 2 * k1)
        k3 = slope(u + h / 2 * k2)
        u = u + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(u + h * k3))
        return u, u

    return step


def normal(*shape):
    return 0.5 * rng.normal(size=shape)


def cases():
    """Names, the loss of a module of functions (np, scan, sigmoid, numbers for eye), and the values of its leaves."""
    T, B, D, H = 6, 3, 2, 4
    recurrent = {"X": normal(T, B, D), "h0": normal(B, H)}

    def rnn_loss(xp, scan, sigmoid, X, h0, W, U, b):
        h, hs = scan(rnn(W, U, b, xp), h0, X)
        return xp.mean(hs**2) + xp.sum(h)

    def lstm_loss(xp, scan, sigmoid, X, h0, W, U, b):
        end, hs = scan(lstm(W, U, b, xp, sigmoid), {"h": h0, "c": 0.5 * h0}, X)
        return xp.mean(hs**2) + xp.sum(end["c"] * end["h"])

    def gru_loss(xp, scan, sigmoid, X, h0, W, U, b):
        h, hs = scan(gru(W, U, b, xp, sigmoid), h0, X, reverse=True)
        return xp.mean(hs**2) + xp.sum(h)

    def garch_loss(xp, scan, sigmoid, omega, alpha, beta, r):
        _, scores = scan(garch(omega, alpha, beta, xp), omega / (1 - alpha - beta), r)
        return xp.sum(scores) / 2

    def kalman_loss(xp, scan, sigmoid, F, H, Q, R, m0, ys):
        _, scores = scan(kalman(F, H, Q, R, xp, np.eye(2)), (m0, Q), ys)
        return xp.sum(scores)

    def ode_loss(xp, scan, sigmoid, theta, u0, seen):
        _, us = scan(runge_kutta(theta, 0.1, xp), u0, None, length=10)
        return xp.sum((us - seen) ** 2)

    def newton_loss(xp, scan, sigmoid, a, x0):
        x, _ = scan(lambda x, _: (x - (x**3 + x - a) / (3 * x * x + 1), None), x0, None, length=6)
        return xp.sum(x * x)

    def nested_loss(xp, scan, sigmoid, X, a):
        def outer(c, row):
            c, ys = scan(lambda d, x: (xp.sin(a * d + x * c), d), c, row)
            return c, xp.sum(ys) * a

        c, ys = scan(outer, a * a, X)
        return c + xp.sum(ys * ys)

    spread = np.array([[1.0, 0.3], [0.3, 0.8]])
    return {
        "rnn": (rnn_loss, recurrent | {"W": normal(D, H), "U": normal(H, H), "b": normal(H)}),
        "lstm": (lstm_loss, recurrent | {"W": normal(D, 4 * H), "U": normal(H, 4 * H), "b": normal(4 * H)}),
        "gru": (gru_loss, recurrent | {"W": normal(D, 3 * H), "U": normal(H, 3 * H), "b": normal(3 * H)}),
        "garch": (garch_loss, {"omega": 0.1, "alpha": 0.1, "beta": 0.8, "r": normal(30)}),
        "kalman": (kalman_loss, {"F": normal(2, 2), "H": normal(2, 2), "Q": spread, "R": spread + np.eye(2),
                                 "m0": normal(2), "ys": normal(5, 2)}),
        "ode": (ode_loss, {"theta": np.array([1.1, 0.4, 0.1, 0.4]), "u0": np.array([2.0, 1.0]), "seen": normal(10, 2)}),
        "newton": (newton_loss, {"a": normal(3) + 2, "x0": np.ones(3)}),
        "nested": (nested_loss, {"X": normal(3, 4), "a": 0.6}),
    }  # fmt: skip


CASES = cases()
FIRST = {"X": ("T", "B", 2), "h0": ("B", 4), "r": ("T",), "ys": ("T", 2)}  # named dimensions


def symbolic(name, named):
    """A model's loss on symbolic arrays, and their values."""
    from gradcompile.frontend.functions import sigmoid

    loss, numbers = CASES[name]
    shapes = {k: FIRST[k] if named and k in FIRST and name != "nested" else np.shape(v) for k, v in numbers.items()}
    leaves = {k: array(k, shape) for k, shape in shapes.items()}
    return loss(np, scan, sigmoid, **leaves), {leaves[k]: v for k, v in numbers.items()}


def scans(*roots):
    return [n for n in topological(roots) if n.op.name == "scan"]
