"""The rules of training against optax and torch: one recorded sequence of gradients, and whole runs on a quadratic."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gradcompile as gc
from gradcompile import optim

ROOT = Path(__file__).resolve().parent.parent
STEPS, SIZE = 1000, 12
RANDOM = np.random.default_rng(5)
GRADS = RANDOM.normal(size=(STEPS, SIZE)) * np.exp(RANDOM.normal(size=(STEPS, 1)))
START = RANDOM.normal(size=SIZE)
SHAPES = {"A": (2, 3), "b": (4,), "c": (2,)}

IN_ORDER = {"epochs": 1, "batch_size": 1, "shuffle": False, "progress": False}
RULES = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("adagrad", {}),
    ("rmsprop", {}),
    ("rmsprop", {"eps_in_sqrt": False, "momentum": 0.5}),
    ("adadelta", {}),
    ("adam", {}),
    ("adamw", {}),
    ("nadam", {}),
    ("radam", {}),
    ("amsgrad", {}),
    ("lion", {}),
    ("lamb", {"weight_decay": 0.1}),
    ("muon", {}),
    ("schedule_free_adamw", {}),
]
CASES = pytest.mark.parametrize(("name", "options"), RULES, ids=[f"{n}-{'-'.join(o)}" for n, o in RULES])


def theirs_and_used(optax, name, rate, options):
    """The rule of optax, and what gives the parameters that it means to be used."""
    owner = optax if hasattr(optax, name) else optax.contrib
    rule = getattr(owner, name)(learning_rate=rate, **options)
    is_mean = name == "schedule_free_adamw"
    return rule, lambda state, params: owner.schedule_free_eval_params(state, params) if is_mean else params


def split(theta):
    """A vector as the named parameters."""
    stops = np.cumsum([int(np.prod(s)) for s in SHAPES.values()])
    return {k: p.reshape(s) for (k, s), p in zip(SHAPES.items(), np.split(theta, stops[:-1]), strict=True)}


def joined(params):
    """The opposite."""
    return np.concatenate([np.ravel(params[k]) for k in SHAPES])


@pytest.fixture(scope="module")
def recorded():
    """A loss whose gradient at step k is row k of the sequence: linear in the parameters, one sample a batch."""
    names = {k: gc.array(k, s) for k, s in SHAPES.items()}
    data = {k: gc.array(f"g{k}", ("n", *s)) for k, s in SHAPES.items()}
    loss = sum(np.sum(data[k] * names[k]) for k in SHAPES)
    f = gc.compile_grad(loss, list(names.values()), inputs=list(data.values()))
    rows = [np.stack(list(v)) for v in zip(*(split(g).values() for g in GRADS), strict=True)]
    return f, rows


@pytest.fixture
def optax(jax):
    found = pytest.importorskip("optax")
    with jax.enable_x64(True):
        yield found


@CASES
def test_on_a_recorded_sequence_of_gradients_the_parameters_are_optax_s(recorded, jax, optax, name, options):
    f, rows = recorded
    kept = []

    def keep(seen):
        kept.append(joined(dict(zip(SHAPES, seen.params, strict=True))))

    rule = getattr(optim, name)(0.01, **options)
    gc.train(f, list(split(START).values()), rows, optimizer=rule, callback=keep, every=250, **IN_ORDER)
    theirs, used = theirs_and_used(optax, name, 0.01, options)
    params = {k: jax.numpy.asarray(v) for k, v in split(START).items()}
    state, found = theirs.init(params), []

    def step(carry, g):
        params, state = carry
        updates, state = theirs.update(g, state, params)
        return (optax.apply_updates(params, updates), state), None

    run = jax.jit(lambda carry, few: jax.lax.scan(step, carry, few)[0])
    for k in range(0, STEPS, 250):
        params, state = run((params, state), dict(zip(SHAPES, (v[k : k + 250] for v in rows), strict=True)))
        found.append(joined(used(state, params)))
    for mine, other in zip(kept, found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12)


@CASES
def test_a_convex_quadratic_comes_down_as_optax_has_it(quadratic, jax, optax, name, options):
    f, scales = quadratic
    rate = 5e-4  # at one that reaches the minimum, rules that go by signs jump around it, each rounding another way
    theirs, used = theirs_and_used(optax, name, rate, options)

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            updates, state = theirs.update({k: scales[k] * (params[k] - 1.0) for k in params}, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, theirs.init(params)), None, length=STEPS)[0]

    params, state = run({k: jax.numpy.asarray(v) for k, v in split(START + 4.0).items()})
    rule = getattr(optim, name)(rate, **options)
    fit = gc.train(f, split(START + 4.0), optimizer=rule, epochs=STEPS, progress=False)
    mine, other = (f.flat(joined(p))[0] for p in (fit.params, used(state, params)))
    assert mine == pytest.approx(other, rel=1e-9)


@pytest.fixture(scope="module")
def quadratic():
    """A sum of squares with slopes of different sizes."""
    names = {k: gc.array(k, s) for k, s in SHAPES.items()}
    scales = {k: np.linspace(0.5, 3.0, int(np.prod(s))).reshape(s) for k, s in SHAPES.items()}
    loss = sum(0.5 * np.sum(scales[k] * (names[k] - 1.0) ** 2) for k in SHAPES)
    return gc.compile_grad(loss, names, inputs=[]), scales


PLAIN = """
import numpy as np
from gradcompile import optim
random = np.random.default_rng(3)
for name in sorted(set(optim.__all__) & {"adagrad", "rmsprop", "adadelta", "adam", "adamw", "nadam", "radam", "amsgrad",
                                         "lion", "lamb", "muon", "schedule_free_adamw", "sgd"}):
    for dtype in ("f8", "f4"):
        rule = optim.chain(optim.clip_by_global_norm(1.5), getattr(optim, name)(0.1))
        theta = random.normal(size=40).astype(dtype)
        state = rule.init(theta)
        for _ in range(3):
            updates, state = rule.update(random.normal(size=40).astype(dtype), state, theta)
            theta = theta + updates
        print(name, theta.dtype, theta.tobytes().hex())
"""


def test_the_rules_as_plain_python_have_the_bits_of_machine_code():
    found = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, check=True, cwd=ROOT,
                           env=os.environ | {"NUMBA_DISABLE_JIT": "1"}).stdout  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(PLAIN, {})
    assert out.getvalue() == found and found.count("\n") == 26


def test_a_rate_that_grows_has_its_end_above_as_in_optax():
    ours = optim.exponential_decay(0.01, 7, 1.5, end_value=0.05)
    assert [ours(0), ours(7), ours(99)] == pytest.approx([0.01, 0.015, 0.05]) and optim.exponential_decay(1, 1, 2)(
        5
    ) == 32
