"""The rules of training against optax and torch: one recorded sequence of gradients, and whole runs on a quadratic."""

import numpy as np
import pytest

import gradcompile as gc
from gradcompile import optim

STEPS, SIZE = 1000, 12
RANDOM = np.random.default_rng(5)
GRADS = RANDOM.normal(size=(STEPS, SIZE)) * np.exp(RANDOM.normal(size=(STEPS, 1)))
START = RANDOM.normal(size=SIZE)
SHAPES = {"A": (2, 3), "b": (4,), "c": (2,)}

# ours, and the name and options of theirs
IN_ORDER = {"epochs": 1, "batch_size": 1, "shuffle": False, "progress": False}
RULES = [
    (optim.sgd(0.01), "sgd", {}),
    (optim.sgd(0.01, momentum=0.9), "sgd", {"momentum": 0.9}),
    (optim.sgd(0.01, momentum=0.9, nesterov=True), "sgd", {"momentum": 0.9, "nesterov": True}),
    (optim.adagrad(0.01), "adagrad", {}),
    (optim.rmsprop(0.01), "rmsprop", {}),
    (optim.rmsprop(0.01, eps_in_sqrt=False, momentum=0.5), "rmsprop", {"eps_in_sqrt": False, "momentum": 0.5}),
    (optim.adadelta(0.01), "adadelta", {}),
    (optim.adam(0.01), "adam", {}),
    (optim.adamw(0.01), "adamw", {}),
    (optim.nadam(0.01), "nadam", {}),
    (optim.radam(0.01), "radam", {}),
    (optim.amsgrad(0.01), "amsgrad", {}),
    (optim.lion(0.01), "lion", {}),
    (optim.lamb(0.01, weight_decay=0.1), "lamb", {"weight_decay": 0.1}),
    (optim.muon(0.01), "contrib.muon", {}),
    (optim.schedule_free_adamw(0.01), "contrib.schedule_free_adamw", {}),
]
NAMES = [f"{name}-{'-'.join(options)}" for _, name, options in RULES]


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


@pytest.mark.parametrize(("rule", "name", "options"), RULES, ids=NAMES)
def test_on_a_recorded_sequence_of_gradients_the_parameters_are_optax_s(recorded, jax, optax, rule, name, options):
    f, rows = recorded
    kept = []

    def keep(seen):
        kept.append(joined(dict(zip(SHAPES, seen.params, strict=True))))

    gc.train(f, list(split(START).values()), rows, optimizer=rule, callback=keep, every=250, **IN_ORDER)
    owner = optax.contrib if name.startswith("contrib.") else optax
    theirs = getattr(owner, name.rpartition(".")[2])(learning_rate=0.01, **options)
    params = {k: jax.numpy.asarray(v) for k, v in split(START).items()}
    state, found = theirs.init(params), []
    update = jax.jit(theirs.update)
    for k, g in enumerate(GRADS):
        updates, state = update(split(g), state, params)
        params = optax.apply_updates(params, updates)
        if (k + 1) % 250 == 0:
            used = owner.schedule_free_eval_params(state, params) if "schedule_free" in name else params
            found.append(joined(used))
    for mine, other in zip(kept, found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12)
