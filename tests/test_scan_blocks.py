"""Scans in blocks of samples: whose body can be cut, what is computed once, and that carries are not copied."""

import re

import numpy as np
import pytest

from gradcompile import compile_grad, scan, sigmoid
from gradcompile.frontend.arrays import array
from gradcompile.lower.blocks import grouping
from gradcompile.runtime import share, threads
from tests.agreement import check_grad

STEPS = 5
random = np.random.default_rng(3)


def arrays(n, d):
    """Values for sequences of n samples with d features, time first, and for weights."""
    shapes = {"X": (STEPS, n, d), "h": (n, d), "y": (n, d), "U": (d, d), "b": (d,), "k": (n,)}
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def leaves(d):
    """The same as symbolic arrays."""
    shapes = {"X": (STEPS, "n", d), "h": ("n", d), "y": ("n", d), "U": (d, d), "b": (d,), "k": ("n",)}
    return {name: array(name, shape) for name, shape in shapes.items()}


def recurrent(v, reverse=False, checkpoint=False):
    """The last state, and all states, of a network."""

    def step(h, x):
        h = np.tanh(x + h @ v["U"] + v["b"]) * sigmoid(h)
        return h, h

    return scan(step, v["h"], v["X"], reverse=reverse, checkpoint=checkpoint)


def per_step(v):
    """A loss that each step adds to, of all samples."""

    def step(carry, x):
        h, total = carry
        h = np.tanh(x + h @ v["U"] + v["b"])
        return (h, total + np.sum((h - v["y"]) ** 2)), None

    return scan(step, (v["h"], 0.0), v["X"])[0][1]


def losses_stacked(v):
    """Losses of the steps that are weighted afterwards."""

    def step(h, x):
        h = np.tanh(x + h @ v["U"])
        return h, np.mean((h - v["y"]) ** 2)

    _, each = scan(step, v["h"], v["X"])
    return np.sum(each * np.linspace(1.0, 2.0, STEPS)) + np.sum(each**2)


def two_carries(v):
    """Carries of other shapes, that change places, and something of each sample that is the same in all steps."""

    def step(carry, x):
        a, b = carry
        return (b, np.tanh(a + v["k"]) + np.sum(x * v["b"], axis=1)), a * b

    (a, b), ys = scan(step, (v["k"], v["h"][:, 0]), v["X"])
    return np.sum(a * b) + np.sum(ys**3)


def before_and_after(v, reverse=False):
    """What each step finds and what it leaves, of carries that change places."""

    def step(carry, x):
        a, b = carry
        new = np.tanh(a + x @ v["U"]) * b
        return (b, new), (a, b, new)

    last, ys = scan(step, (v["h"], v["y"]), v["X"], reverse=reverse)
    return np.sum(last[0] * last[1]) + sum(np.sum(y**2 * np.arange(k, STEPS + k)[:, None, None])
                                           for k, y in enumerate(ys, 1))  # fmt: skip


def batch_last(v):
    """Samples along the last axis."""

    def step(h, x):
        return np.tanh(v["U"] @ h + np.transpose(x)), None

    return np.sum(scan(step, np.transpose(v["h"]), v["X"])[0] ** 2)


def counted(v):
    """A step that counts."""

    def step(carry, x):
        h, t = carry
        return (np.tanh(x + h @ v["U"]) * t, t + 1.0), None

    return np.sum(scan(step, (v["h"], 0.5), v["X"])[0][0] * v["b"])


def normalised(v):
    """A step that looks at all samples."""

    def step(h, x):
        z = x + h @ v["U"]
        return np.tanh(z - np.mean(z, axis=0)), None

    return np.sum(scan(step, v["h"], v["X"])[0] ** 2)


def paired(v):
    """A step that compares samples with each other."""

    def step(k, x):
        return np.mean(np.tanh(k[:, None] - k[None, :]), axis=1) + x[:, 0], None

    return np.sum(scan(step, v["k"], v["X"])[0] ** 2)


def along_samples(v):
    """A walk along the samples."""
    return np.sum(scan(lambda s, x: (np.tanh(s + x), s), v["b"], v["h"])[1] ** 2)


CUT = {
    "last": lambda v: np.mean((recurrent(v)[0] - v["y"]) ** 2),
    "all": lambda v: np.sum(recurrent(v)[1] ** 2) / 7 + np.sum(recurrent(v)[0]),
    "reverse": lambda v: np.sum(recurrent(v, reverse=True)[1] * v["y"]),
    "checkpoint": lambda v: np.mean((recurrent(v, checkpoint=True)[0] - v["y"]) ** 2),
    "penalty": lambda v: np.mean(recurrent(v)[0] ** 2) + np.sum(v["U"] ** 2),
    "squared mean": lambda v: np.mean(recurrent(v)[0]) ** 2,
    "softmax": lambda v: np.sum(np.exp(recurrent(v)[1]) / np.sum(np.exp(recurrent(v)[1]), axis=-1, keepdims=True)
                                * v["y"]),
    "per step": per_step,
    "stacked": losses_stacked,
    "two carries": two_carries,
    "before and after": before_and_after,
    "before and after, reverse": lambda v: before_and_after(v, reverse=True),
    "batch last": batch_last,
    "counted": counted,
}  # fmt: skip
WHOLE = {"normalised": normalised, "paired": paired, "along samples": along_samples}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Blocks of a few samples, groups of two blocks."""
    monkeypatch.setattr(grouping, "SMALLEST", 4)
    monkeypatch.setattr(grouping, "LARGEST", 4)
    monkeypatch.setattr(grouping, "ENOUGH", 1)
    monkeypatch.setattr(grouping, "MERGED", 1)


def in_blocks(f):
    """Whether a scan runs in blocks."""
    text = re.search(r"def samples.*?(?=\n@jit)", f.source, re.DOTALL)
    return text is not None and "min(BLOCK" in text[0] and " step" in text[0]


@pytest.mark.parametrize("d", [2, 17])
@pytest.mark.parametrize("name", CUT | WHOLE)
def test_blocks_give_what_the_whole_gives(name, d):
    v = leaves(d)
    loss = (CUT | WHOLE)[name](v)
    params = [v[k] for k in "Ub"]
    f = check_grad(loss, params, *(arrays(n, d) for n in (1, 4, 11)))
    assert in_blocks(f) == (name in CUT)


def compiled(name, d=17, **options):
    """One of the losses, compiled."""
    v = leaves(d)
    return compile_grad((CUT | WHOLE)[name](v), [v[k] for k in "Ub"], allow_unused=True, **options)


@pytest.mark.parametrize("name", ["all", "reverse", "stacked"])
def test_threads_change_no_bit(name, monkeypatch):
    for constant in ("TASK", "WORTH"):
        monkeypatch.setattr(share, constant, 1.0)
    for module in (share, threads):
        monkeypatch.setattr(module, "processors", lambda: 8)
    values, found = arrays(50, 3), []
    for k in (1, 2, 3):
        f = compiled(name, 3, threads=k)
        value, gradients = f(**{key: x for key, x in values.items() if key in f.signature.parameters})
        found.append([np.array(value).tobytes(), *(g.tobytes() for g in gradients)])
    assert found[0] == found[1] == found[2]


def test_memory_does_not_grow_with_the_samples():
    lines = [line for line in compiled("all").source.splitlines() if "empty(" in line and "def" not in line]
    assert lines and not any(re.search(r"\bn\b", line) for line in lines)


def test_a_carry_is_written_where_the_next_step_reads_it():
    source = compiled("all").source
    assert "h_2_now = h_2[step]" in source and "h_2_new = h_2[step + 1]" in source  # what is stacked
    assert "_now = d_h[count % 2]" in source  # what is not
    assert not re.search(r"\bh_2\w*\[[^]]*\] = \w*h_2\w*\[[^]]*\]$", source, re.MULTILINE)


@pytest.mark.parametrize(("name", "before", "after"), [("all", "0:5", "1:6"), ("reverse", "1:6", "0:5")])
def test_what_steps_find_and_what_they_leave_are_rows_of_one_array(name, before, after):
    source, rows_by_time = compiled(name).source, (("before", before), ("after", after))
    found = [re.search(rf"(\w+)_{when} = \1(_2)?\[{rows}\]", source) for when, rows in rows_by_time]
    assert all(found)


def test_a_sum_over_steps_goes_into_the_gradient():
    source = compiled("last").source
    assert re.search(r"d_b\[\w\] \+= .*\n", source) and "over_steps" not in source.split("def sums")[0]


def test_a_scan_along_the_samples_runs_once():
    x, a = array("x", "n"), array("a")
    last, ys = scan(lambda s, e: (np.tanh(a * s + e), s * e), 0.5, x)
    f = compile_grad(last**2 + np.mean(ys**2) + np.sum(np.exp(a * x)), [a])
    assert len(re.findall(r"for \w+ in range\(n\)", f.source)) == 2  # onwards and back
    check_grad(last**2 + np.mean(ys**2) + np.sum(np.exp(a * x)), [a], {"a": 0.3, "x": random.normal(size=9)})


def test_a_result_that_needs_few_carries_is_made_of_these():
    source = compiled("counted").source
    before = re.search(r"def before.*?(?=\n@jit)", source, re.DOTALL)
    assert before is not None and "tanh" not in before[0] and "tanh" in source


def test_a_long_sequence_is_worth_a_block_of_its_own(monkeypatch):
    monkeypatch.undo()
    x, U = array("x", (100, "n", 32)), array("U", (32, 128))

    def step(h, given):
        z = h @ U
        return sigmoid(z[:, :32]) * np.tanh(z[:, 32:64] + given) + z[:, 64:96] * h, None

    f = compile_grad(np.mean(scan(step, np.zeros_like(x[0]), x)[0] ** 2), [U])
    assert "BLOCK = 8 " in f.source and "GROUP = 8 " in f.source


def test_segments_of_what_is_walked_are_not_copied():
    source = compiled("checkpoint").source
    assert re.search(r"(_now|x\w*) = X\w*\[3 \* step:3 \* step \+ 3\]", source) and "(1, 3, 17, m)" not in source
