"""The plan of blocks: pass by pass and block by block a program gives what it gives whole."""

import numpy as np
import pytest

from gradcompile import autodiff
from gradcompile.frontend import nn
from gradcompile.frontend.arrays import Array, array
from gradcompile.interpret import evaluate
from gradcompile.ir import leaf, substitute, topological, verify
from gradcompile.lower.arrays.blocks import plan
from gradcompile.passes import contracted, finished, simplified, stabilized
from gradcompile.types import ArrayType, dim_value


def derived(loss, params=()):
    """The roots of a program: the value, then the gradients, through all passes."""
    (value,) = contracted(stabilized(simplified([loss.node]))[0])
    if not params:
        return finished([value], {})[0]
    found = autodiff.adjoints(value, topological([value]))
    roots = [value, *(found.get(p.node) or autodiff.zeros(p.node) for p in params)]
    return finished(contracted(roots), {})[0]


class Walk:
    """Evaluates a program by its plan, as compiled code would."""

    def __init__(self, found, roots, values, sizes):
        self.plan, self.values = found, dict(values)
        self.sizes = sizes
        self.n = sizes[found.dim] if isinstance(found.dim, str) else found.dim
        for n in topological(roots):
            if n.op.name == "size":
                self.values[n] = float(dim_value(n.args[0].type.shape[n.params[0]], sizes))
        self.program = set(topological(roots))

    def whole(self, nodes, **more):
        """The values of nodes, from those that are known; nothing below these is looked at."""
        known = {**self.values, **more.get("block", {})}
        order = topological(nodes, settled=known.__contains__)
        stand = {n: leaf(f"known_{k}", n.type) for k, n in enumerate(a for n in order for a in n.args if a in known)}
        stand |= {n: leaf(f"root_{k}", n.type) for k, n in enumerate(nodes) if n in known}
        env = {stand[n]: known[n] for n in stand}
        for name, length in {**self.sizes, **more.get("dims", {})}.items():
            env[leaf(f"dim_{name}", ArrayType((name,)))] = np.zeros(length)
        return evaluate(substitute(nodes, stand), env)

    def run(self, size):
        """All passes, block by block."""
        for p in self.plan.passes:
            sources = [self.plan.leaves[c][0] for c in p.cut]
            for n in [*p.given, *sources]:
                if n not in self.values and n is not self.plan.first:
                    self.values[n] = self.whole([n])[0]
            self.one_pass(p, size)

    def one_pass(self, p, size):
        """One pass: reductions added up, rows put together."""
        parts = []
        for first in range(0, self.n, size):
            m = min(size, self.n - first)
            block = {self.plan.first: first}
            for c in p.cut:
                source, axis = self.plan.leaves[c]
                block[c] = np.take(self.values[source], range(first, first + m), axis)
            out = [r.block for r in (*p.reductions, *p.rows)]
            parts.append(self.whole(out, block=block, dims={self.plan.block: m}))
        columns = list(zip(*parts, strict=True)) if parts else [()] * (len(p.reductions) + len(p.rows))
        for r, column in zip((*p.reductions, *p.rows), columns, strict=True):
            self.values[r.node] = self.together(r, column)

    def together(self, r, column):
        """What the blocks give of one node."""
        shape = tuple(dim_value(d, self.sizes) for d in r.node.type.shape)
        zero = np.zeros(shape, r.node.type.dtype)
        if hasattr(r, "axis"):
            return np.concatenate(column, r.axis) if column else zero
        return np.maximum.reduce(column) if r.kind == "max" else sum(column, zero)


def sound(found, roots):
    """What holds of every plan: the block graph is well typed, and apart from the program's."""
    program = set(topological(roots))
    blocks = [r.block for p in found.passes for r in (*p.reductions, *p.rows)]
    verify(blocks, "plan")
    assert not program & set(found.leaves)
    for p in found.passes:
        assert set(p.given) <= program | {found.first}
        for r in p.reductions:
            assert r.block.type == r.node.type
        for r in p.rows:
            assert r.block.type.shape[r.axis] == found.block
            assert r.node.type.shape[r.axis] == found.dim
        given = {*p.given, *p.cut}
        inside = topological([r.block for r in (*p.reductions, *p.rows)], settled=given.__contains__)
        ends = {n for n in inside if not n.args} | ({a for n in inside for a in n.args} & program)
        assert all(n in given or n.op.name in ("const", "iota") for n in ends)


def check(found, roots, values, size):
    """Evaluate by the plan and whole, and compare."""
    sound(found, roots)
    sizes = {d: k for n, v in values.items() for d, k in zip(n.type.shape, np.shape(v), strict=True)}
    sizes = {d: k for d, k in sizes.items() if isinstance(d, str)}
    walk = Walk(found, roots, values, sizes)
    walk.run(size)
    for a, b in zip(walk.whole(roots), evaluate(roots, values), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


# Programs: loss, params, inputs, and what the plan is held to


def dense(a, w, b):
    return np.tanh(a @ w + b)


X, y, t = array("X", ("n", 6)), array("y", "n"), array("t", "n", "int64")
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


def mixture():
    z = (X[:, None] - mu) * np.exp(-ls)
    return -np.mean(nn.logsumexp(la - np.sum(ls, 1) - 0.5 * np.sum(z * z, axis=2), axis=1))


def lstm():
    h, cell = np.zeros((X.shape[0], 8)) if False else X[:, :1] * b1, X[:, 1:2] * b1
    for k in range(4):
        z = np.tanh(seq[:, k] @ W1 + h)
        cell = nn.sigmoid(z) * cell + z if hasattr(nn, "sigmoid") else z * cell + z
        h = np.tanh(cell) * z
    return np.mean((h @ b1 - y) ** 2)


def attending():
    h = E[tokens]
    out = nn.attention(h @ Wq, h @ Wk, h @ Wv, causal=True)
    return np.mean(nn.cross_entropy(out.mean(axis=1), t))


def kernel_matrix(z):
    d = z[:, None] - z[None, :]
    return np.exp(-np.sum(d * d, axis=2))


def batch_normed():
    return np.mean(nn.cross_entropy(np.maximum(nn.batch_norm(X @ W1, gain, bias), 0.0) @ W2 + b2, t))


PROGRAMS = {
    "linear": (np.mean((X @ w + c - y) ** 2), [w, c], 1),
    "logistic": (np.mean(nn.binary_cross_entropy_with_logits(X @ w + c, y)), [w, c], 1),
    "mlp": (np.mean(nn.cross_entropy(logits, t)), [W1, b1, W2, b2], 1),
    "mlp_with_penalty": (np.mean(nn.cross_entropy(logits, t)) + np.sum(W1 * W1), [W1, b1, W2, b2], 1),
    "one_hot": (np.mean((nn.softmax(logits) - nn.one_hot(t, 5)) ** 2), [W1, b1, W2, b2], 1),
    "batch_norm": (batch_normed(), [W1, gain, bias, W2, b2], 5),
    "layer_norm": (np.mean((nn.layer_norm(X @ W1, gain, bias) @ b1 - y) ** 2), [W1, gain, bias, b1], 1),
    "embedding": (np.mean((np.tanh(E[tokens].sum(axis=1)) @ w - y) ** 2), [E, w], 1),
    "mixture": (mixture(), [mu, ls, la], 1),
    "attention": (attending(), [E, Wq, Wk, Wv], 1),
    "conv": (np.mean(nn.max_pool(np.tanh(nn.conv(image, kernel, padding="same")), 2)), [kernel], 1),
    "pairwise": (np.mean(kernel_matrix(X * w)) + c * c, [w, c], 2),
    "pairwise_regression": (np.mean((kernel_matrix(X * w) @ y - y) ** 2), [w], 2),
    "degrees": (np.sum(kernel_matrix(X * w) / np.sum(kernel_matrix(X * w), axis=0)), [w], 4),
    "predictions": (nn.softmax(logits), [], 1),
    "values": (X @ w + c, [], 1),
    "values_of_leaves": (y * s + c, [], 1),
    "largest": (np.max(np.abs(X @ w - y)), [w], 3),
    "largest_of_leaves": (np.max(X, axis=0) @ w, [w], 1),
    "softmax_over_samples": (np.sum(nn.softmax(X @ w, axis=0) * y), [w], 4),
    "weights_by_place": (np.mean(np.exp(-c * np.arange(X.shape[0])) * (X @ w - y) ** 2) if False else
                         np.sum(np.cumsum(np.ones_like(y)) * (X @ w - y) ** 2), [w], 1),
    "sorted": (np.sum(np.sort(X @ w) * np.sort(y)), [w], None),
    "differences": (np.sum((X @ w)[1:] * (X @ w)[:-1]), [w], None),
    "running": (np.sum(np.tanh(np.cumsum(X @ w)) * y), [w], None),
    "first": (logits[0, 1] + np.mean(logits), [W1], None),
    "unrolled": (lstm(), [W1, b1], 1),
    "factors": (np.mean((np.sum(U[rows] * V[cols], axis=1) - y) ** 2), [U, V], 1),
    "solves": (np.mean(np.linalg.solve(A + 5 * np.eye(4), X[:, :4, None]) * s), [s], 1),
    "determinants": (np.mean(np.linalg.slogdet(A * s + 5 * np.eye(4))[1]), [s], 1),
    "matrix_of_samples": (np.sum(np.tanh(D * s) @ y) + np.sum(y @ np.tanh(D * s)), [s], 2),
    "graph": (np.sum(np.tanh(D @ np.tanh(D @ X @ W1)) @ b1 * y), [W1, b1], None),
    "scattered": (np.sum(np.tanh(s * np.bincount(t, weights=y, minlength=5)) if False else
                         np.tanh(s * (nn.one_hot(t, 5) * y[:, None]).sum(axis=0))), [s], 1),
    "kernels": (np.linalg.slogdet(kernel_matrix(X * w) + 2 * np.eye(64))[1] if False else
                np.sum(np.linalg.solve(D * s + 9 * kernel_matrix(X), X) * y[:, None]), [s], None),
}  # fmt: skip

DRAWN = {"t": 5, "rows": 20, "cols": 30, "tokens": 11}


def drawn(loss, params, n, seed=0):
    """Values of all leaves."""
    rng = np.random.default_rng(seed)
    values = {}
    for x in topological([loss.node, *(p.node for p in params)]):
        if x.op.name == "leaf":
            shape = tuple(dim_value(d, {"n": n}) for d in x.type.shape)
            name = x.params[0]
            values[x] = rng.integers(0, DRAWN[name], shape) if name in DRAWN else 0.5 * rng.normal(size=shape)
    return values


@pytest.mark.parametrize("name", PROGRAMS)
def test_blocks_give_what_the_whole_gives(name):
    loss, params, passes = PROGRAMS[name]
    assert isinstance(loss, Array)
    roots = derived(loss, params)
    leaves = {n for n in topological(roots) if n.op.name == "leaf"}
    found = plan(roots, leaves - {p.node for p in params})
    assert found.dim == "n"
    assert passes in (None, len(found.passes))
    for n, size in [(1, 4), (7, 3), (64, 16)]:
        check(found, roots, drawn(loss, params, n), size)
