"""The plan of blocks: pass by pass and block by block a program gives what it gives whole."""

import numpy as np
import pytest

from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff import reverse
from gradcompile.frontend import nn
from gradcompile.frontend.arrays import array
from gradcompile.ir.algebra import zeros_like
from gradcompile.ir.core import leaf
from gradcompile.ir.graph import substitute, topological, verify
from gradcompile.ir.types import ArrayType, dim_value
from gradcompile.lower.blocks.plan import plan
from gradcompile.passes import contracted, finished, simplified, stabilized
from tests.cases_blocks import PROGRAMS, W1, W2, E, Wk, Wq, Wv, X, attending, bias, c, drawn, gain, s, w, y


def derived(loss, params=()):
    """The roots of a program: the value, then the gradients, through all passes."""
    (value,) = contracted(stabilized(simplified([loss.node]))[0])
    if not params:
        return finished([value], {})[0]
    found = reverse.adjoints(value, topological([value]))
    roots = [value, *(found.get(p.node) or zeros_like(p.node) for p in params)]
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
            for taken in p.cut:
                source, axis = self.plan.leaves[taken]
                own = np.shape(self.values[source])[axis] // self.n  # entries of one sample
                block[taken] = np.take(self.values[source], range(own * first, own * (first + m)), axis)
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
        return np.maximum.reduce(column) if r.kind == "largest" else sum(column, zero)


def sound(found, roots):
    """What holds of every plan: the block graph is well typed, and apart from the program's."""
    program = set(topological(roots))
    blocks = [r.block for p in found.passes for r in (*p.reductions, *p.rows)]
    verify(blocks, "plan")
    assert not program & set(found.leaves)
    for p in found.passes:
        assert set(p.given) <= program
        for r in p.reductions:
            assert r.block.type == r.node.type
        for r in p.rows:
            assert found.block in str(r.block.type.shape[r.axis])
            assert found.dim == r.node.type.shape[r.axis] or found.dim in r.node.type.shape[r.axis]
        given = {*p.given, *p.cut, found.first}
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


# Programs: loss, params, and the number of passes


def planned(loss, params):
    """The roots of a program, and its plan."""
    roots = derived(loss, params)
    leaves = {n for n in topological(roots) if n.op.name == "leaf"}
    return roots, plan(roots, leaves - {p.node for p in params})


@pytest.mark.parametrize("name", PROGRAMS)
def test_blocks_give_what_the_whole_gives(name):
    loss, params, passes = PROGRAMS[name]
    roots, found = planned(loss, params)
    assert found.dim == "n"
    assert passes in (None, len(found.passes))
    for n, size in [(1, 4), (7, 3), (64, 16)]:
        check(found, roots, drawn(loss, params, n), size)


@pytest.mark.parametrize("name", ["linear", "mlp", "factors", "pairwise", "predictions", "graph", "counted"])
def test_there_may_be_no_samples(name):
    loss, params, _ = PROGRAMS[name]
    roots, found = planned(loss, params)
    check(found, roots, drawn(loss, params, 0), 16)


def square_nodes(found, dims):
    """What a plan needs whole that has these dimensions."""
    nodes = [n for p in found.passes for n in [*p.given, *(r.node for r in (*p.reductions, *p.rows))]]
    return [n for n in nodes if sum(d in dims for d in n.type.shape) > 1]


@pytest.mark.parametrize("name", ["pairwise", "pairwise_regression", "pairwise_network", "degrees", "graph"])
def test_nothing_of_pairs_is_ever_whole(name):
    loss, params, _ = PROGRAMS[name]
    assert not square_nodes(planned(loss, params)[1], {"n"})


@pytest.mark.parametrize("name", [k for k, (_, params, passes) in PROGRAMS.items() if passes == 1 and params])
def test_what_one_pass_does_needs_no_samples_beside_its_blocks(name):
    loss, params, _ = PROGRAMS[name]
    (only,) = planned(loss, params)[1].passes
    assert not only.rows
    assert all("n" not in n.type.shape or n.op.name in ("leaf", "cumsum") for n in only.given)


def test_a_later_pass_takes_rows_of_pairs_as_they_are():
    _, found = planned(*PROGRAMS["pairwise"][:2])
    first, second = found.passes
    assert [r.node.type.shape for r in first.rows] == [("n", 6)]
    assert first.rows[0].node in [found.leaves[c][0] for c in second.cut]
    inside = topological([r.block for r in second.reductions], settled={*second.given, *second.cut}.__contains__)
    assert not any("n" in n.type.shape for n in inside)


def test_other_names_of_blocks_and_first_samples():
    a, first = array("a", ("n", "m")), array("first", (), "int64")
    b = array("b", ("n", "m_2"))
    loss = np.sum(np.tanh(a * s) * np.tril(np.ones_like(a)) * first) + np.sum(b.sum(axis=1) * a.sum(axis=1))
    roots, found = planned(loss, [s])
    assert (found.dim, found.block, found.first.params[0]) == ("n", "m_3", "first_2")
    sizes = {"n": 9, "m": 3, "m_2": 2}
    rng = np.random.default_rng(0)
    values = {x.node: rng.normal(size=[sizes[d] for d in x.shape]) for x in (a, b, s)} | {first.node: 3}
    check(found, roots, values, 4)


words, steps = array("words", ("n", "l"), "int64"), array("steps", ("n", "l", 6))
B = array("B", ("k", 6))
TWO_NAMES = {
    "attention": (attending(words), [E, Wq, Wk, Wv]),
    "flat": (np.mean(nn.cross_entropy(np.tanh(steps.reshape(-1, 6) @ W1), words.reshape(-1))), [W1]),
    "sorted": (np.sum(np.sort((steps @ w).reshape(-1)) ** 3), [w]),
    "places": (np.sum(np.tanh(np.tril(steps @ w)) ** 2), [w]),
    "batch_norm": (np.mean(np.tanh(nn.batch_norm(steps @ W1, gain, bias, axis=(0, 1))) ** 3), [W1, gain, bias]),
    "distances": (np.mean(np.exp(-np.sum((X[:, None] * w - B) ** 2, axis=2))), [w]),
    "nearest": (np.mean(np.min(np.sum((X[:, None] * w - B) ** 2, axis=2), axis=1)), [w]),
    "covered": (np.mean(np.min(np.sum((X[:, None] * w - B) ** 2, axis=2), axis=0)), [w]),
}


@pytest.mark.parametrize("name", TWO_NAMES)
@pytest.mark.parametrize("size", [2, 3, 8])
def test_another_named_dimension_stays_whole(name, size):
    loss, params = TWO_NAMES[name]
    roots, found = planned(loss, params)
    values = drawn(loss, params, 5, dims={"l": 4, "k": 3})
    check(found, roots, values, size)


def test_the_dimension_with_most_work_is_cut():
    few, many = array("few", "k"), array("many", ("n", 6))
    loss = np.sum(np.tanh(few * c)) + np.sum(np.tanh(many @ w) ** 2)
    assert planned(loss, [w, c])[1].dim == "n"
    assert planned(attending(words), [E])[1].dim == "n"


def test_a_long_parameter_is_cut_and_its_gradient_comes_in_rows():
    p = array("p", (700, 3))
    d = p[:, None] - p[None, :]
    roots, found = planned(np.sum(1 / (1e-3 + np.sum(d * d, axis=2))), [p])
    (only,) = found.passes
    assert found.dim == 700
    assert [r.node.type.shape for r in only.rows] == [(700, 3)]
    assert sorted(r.node.type.shape for r in only.reductions) == [(), (700, 3)]
    assert not square_nodes(found, {700})
    check(found, roots, {p.node: np.random.default_rng(0).normal(size=(700, 3))}, 256)


def test_samples_of_known_number_are_cut():
    data, answers = array("data", (3000, 784)), array("answers", 3000, "int64")
    V1, V2 = array("V1", (784, 128)), array("V2", (128, 10))
    loss = np.mean(nn.cross_entropy(np.tanh(data @ V1) @ V2, answers)) + np.sum(V1 * V1)
    found = planned(loss, [V1, V2])[1]
    assert found.dim == 3000
    assert len(found.passes) == 1


@pytest.mark.parametrize("samples", [1, 32, 128])
def test_a_small_batch_of_known_size_stays_whole(samples):
    data, answers = array("data", (samples, 784)), array("answers", samples, "int64")
    V1, V2 = array("V1", (784, 512)), array("V2", (512, 10))
    loss = np.mean(nn.cross_entropy(np.tanh(data @ V1) @ V2, answers)) + np.sum(V1 * V1)
    assert planned(loss, [V1, V2])[1] is None


def test_without_samples_there_is_no_plan():
    assert planned(np.sum(W1 @ W2), [W1, W2])[1] is None
    assert planned(c * c, [c])[1] is None


def test_a_chain_of_many_steps_is_planned():
    h = y
    for _ in range(1000):
        h = np.tanh(h * c) + y
    roots, found = planned(np.mean(h), [c])
    assert len(found.passes) == 1
    assert len(found.passes[0].reductions) == len(roots)
