"""Programs over samples: losses and values of networks and other models, with values for their leaves."""

import numpy as np

from gradcompile.frontend import nn
from gradcompile.frontend.arrays import array
from gradcompile.frontend.functions import sigmoid
from gradcompile.ir.graph import topological
from gradcompile.ir.types import dim_value


def dense(a, w, b):
    return np.tanh(a @ w + b)


X, y, t, near = array("X", ("n", 6)), array("y", "n"), array("t", "n", "int64"), array("near", "n", "int64")
W1, b1, W2, b2 = array("W1", (6, 8)), array("b1", 8), array("W2", (8, 5)), array("b2", 5)
w, c, s = array("w", 6), array("c"), array("s")
logits = dense(X, W1, b1) @ W2 + b2
mu, ls, la = array("mu", (4, 6)), array("ls", (4, 6)), array("la", 4)
rows, cols = array("rows", "n", "int64"), array("cols", "n", "int64")
U, V = array("U", (20, 5)), array("V", (30, 5))
tokens, E = array("tokens", ("n", 7), "int64"), array("E", (11, 6))
seq = array("seq", ("n", 7, 6))
Wq, Wk, Wv = (array(k, (6, 6)) for k in ("Wq", "Wk", "Wv"))
image, kernel = array("image", ("n", 2, 8, 7)), array("kernel", (3, 2, 3, 3))
A = array("A", ("n", 4, 4))
gain, bias = array("gain", 8), array("bias", 8)
D = array("D", ("n", "n"))
cameras, points = array("cameras", (20, 6)), array("points", (30, 3))
place = np.cumsum(np.ones_like(y)) - 1


def mixture():
    z = (X[:, None] - mu) * np.exp(-ls)
    return -np.mean(nn.logsumexp(la - np.sum(ls, 1) - 0.5 * np.sum(z * z, axis=2), axis=1))


def recurrent():
    h, cell = X[:, :1] * b1, X[:, 1:2] * b1
    for k in range(4):
        z = np.tanh(seq[:, k] @ W1 + h)
        cell = sigmoid(z) * cell + z
        h = np.tanh(cell) * z
    return np.mean((h @ b1 - y) ** 2)


def attending(length=None):
    h = E[tokens] if length is None else E[length]
    out = nn.attention(h @ Wq, h @ Wk, h @ Wv, causal=True)
    return np.mean(nn.cross_entropy(out.mean(axis=1), t))


def kernel_matrix(z):
    d = z[:, None] - z[None, :]
    return np.exp(-np.sum(d * d, axis=2))


def batch_normed():
    return np.mean(nn.cross_entropy(np.maximum(nn.batch_norm(X @ W1, gain, bias), 0.0) @ W2 + b2, t))


def adjusted():
    eye, p = cameras[rows], points[cols]
    turned = p + np.roll(eye[:, :3], 1, axis=1) * np.sin(p) + eye[:, 3:]
    seen = turned[:, :2] / (3 + turned[:, 2:] ** 2)
    return np.sum((seen - X[:, :2]) ** 2)


def pooled():
    return np.mean(nn.max_pool(np.tanh(nn.conv(image, kernel, padding="same")), 2))


def flat_tokens():
    return np.mean(nn.cross_entropy(np.tanh(seq.reshape(-1, 6) @ W1), tokens.reshape(-1)))


PROGRAMS = {
    "linear": (np.mean((X @ w + c - y) ** 2), [w, c], 1),
    "logistic": (np.mean(nn.binary_cross_entropy_with_logits(X @ w + c, y)), [w, c], 1),
    "mlp": (np.mean(nn.cross_entropy(logits, t)), [W1, b1, W2, b2], 1),
    "mlp_with_penalty": (np.mean(nn.cross_entropy(logits, t)) + np.sum(W1 * W1), [W1, b1, W2, b2], 1),
    "classes_of_tokens": (np.mean(nn.cross_entropy(np.tanh(seq @ W1), tokens)), [W1], 1),
    "classes_of_flat_tokens": (flat_tokens(), [W1], 1),
    "flat_rows": (np.tanh(seq @ W1).reshape(-1, 8), [], 1),
    "sorted_flat": (np.sum(np.sort(np.tanh(seq @ W1).reshape(-1)) ** 3), [W1], None),
    "twice": (np.sum(np.concatenate([X @ w, y * c]) ** 2), [w, c], 2),
    "one_hot": (np.mean((nn.softmax(logits) - nn.one_hot(t, 5)) ** 2), [W1, b1, W2, b2], 1),
    "batch_norm": (batch_normed(), [W1, gain, bias, W2, b2], 5),
    "layer_norm": (np.mean((nn.layer_norm(X @ W1, gain, bias) @ b1 - y) ** 2), [W1, gain, bias, b1], 1),
    "embedding": (np.mean((np.tanh(E[tokens].sum(axis=1)) @ w - y) ** 2), [E, w], 1),
    "mixture": (mixture(), [mu, ls, la], 1),
    "attention": (attending(), [E, Wq, Wk, Wv], 1),
    "conv": (pooled(), [kernel], 1),
    "pairwise": (np.mean(kernel_matrix(X * w)) + c * c, [w, c], 2),
    "pairwise_regression": (np.mean((kernel_matrix(X * w) @ y - y) ** 2), [w], 2),
    "pairwise_network": (np.mean(kernel_matrix(logits)), [W1, b1], 3),
    "degrees": (np.sum(kernel_matrix(X * w) / np.sum(kernel_matrix(X * w), axis=0)), [w], 4),
    "predictions": (nn.softmax(logits), [], 1),
    "values": (X @ w + c, [], 1),
    "values_of_leaves": (y * s + c, [], 1),
    "normalised_values": (nn.softmax(X @ w, axis=0), [], 3),
    "largest": (np.max(np.abs(X @ w - y)), [w], 3),
    "largest_of_leaves": (np.max(X, axis=0) @ w, [w], 1),
    "softmax_over_samples": (np.sum(nn.softmax(X @ w, axis=0) * y), [w], 4),
    "weights_by_place": (np.mean(np.exp(-c * place) * (X @ w - y) ** 2), [w, c], 1),
    "matrix_by_place": (np.sum(np.tril(np.tanh(D * s)) * y), [s], 2),
    "sorted": (np.sum(np.sort(X @ w) * np.sort(y)), [w], None),
    "differences": (np.sum((X @ w)[1:] * (X @ w)[:-1]), [w], None),
    "running": (np.sum(np.tanh(np.cumsum(X @ w)) * y), [w], None),
    "running_rows": (np.sum(np.tanh(np.cumsum(X * w, axis=1)) * y[:, None]), [w], 1),
    "first": (logits[0, 1] + np.mean(logits), [W1], None),
    "recurrent": (recurrent(), [W1, b1], 1),
    "factors": (np.mean((np.sum(U[rows] * V[cols], axis=1) - y) ** 2), [U, V], 1),
    "adjusted": (adjusted(), [cameras, points], 1),
    "neighbours": (np.mean(np.tanh(X @ w)[near] * y), [w], None),
    "solves": (np.mean(np.linalg.solve(A + 5 * np.eye(4), X[:, :4, None]) * s), [s], 1),
    "determinants": (np.mean(np.linalg.slogdet(A * s + 5 * np.eye(4))[1]), [s], 1),
    "flat": (np.mean(np.tanh(image.reshape(image.shape[0], 112)[:, :6] @ w)), [w], 1),
    "matrix_of_samples": (np.sum(np.tanh(D * s) @ y) + np.sum(y @ np.tanh(D * s)), [s], 2),
    "graph": (np.sum(np.tanh(D @ np.tanh(D @ X @ W1)) @ b1 * y), [W1, b1], None),
    "counted": (np.sum(np.tanh(s * (nn.one_hot(t, 5) * y[:, None]).sum(axis=0))), [s], 1),
    "kernels": (np.sum(np.linalg.solve(D * s + 9 * kernel_matrix(X), X) * y[:, None]), [s], None),
}
DRAWN = {"t": 5, "rows": 20, "cols": 30, "tokens": 8, "words": 8}


def drawn(loss, params, n, dims=None):
    """Values of all leaves, for so many samples and lengths of other dimensions."""
    rng = np.random.default_rng(0)
    values = {}
    for x in topological([loss.node, *(p.node for p in params)]):
        if x.op.name == "leaf":
            shape = tuple(dim_value(d, {"n": n} | (dims or {})) for d in x.type.shape)
            name = x.params[0]
            values[x] = (
                rng.integers(0, DRAWN.get(name, n), shape) if x.type.dtype == "int64" else 0.5 * rng.normal(size=shape)
            )
    return values
