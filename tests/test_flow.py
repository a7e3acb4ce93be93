"""How adjoints flow through deep networks: verdicts, dead and saturated units, and a run that is watched."""

import numpy as np
import pytest

import gradcompile as gc
from gradcompile import compile_grad

DEPTH, WIDTH = 12, 24
X, Y = gc.array("x", ("n", WIDTH)), gc.array("y", ("n",))
WS, V = [gc.array(f"W{k}", (WIDTH, WIDTH)) for k in range(DEPTH)], gc.array("v", (WIDTH,))
R = np.random.default_rng(5)
THETA = [R.normal(size=(WIDTH, WIDTH)) * np.sqrt(2 / WIDTH) for _ in range(DEPTH)]
OUT, DATA = R.normal(size=WIDTH) / np.sqrt(WIDTH), (R.normal(size=(40, WIDTH)), R.normal(size=40))


def deep(layer):
    h = X
    for w in WS:
        h = layer(h, w)
    return compile_grad(np.mean((h @ V - Y) ** 2), [*WS, V], inputs=[X, Y])


LAYERS = {
    "sigmoid": (lambda h, w: gc.sigmoid(h @ w), "vanishing"),
    "relu": (lambda h, w: gc.relu(h @ w), "healthy"),
    "residual": (lambda h, w: h + 0.3 * np.tanh(h @ w), "healthy"),
    "batch normalisation": (lambda h, w: gc.relu(gc.batch_norm(h @ w)), "healthy"),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_the_deep_example(kind):
    layer, verdict = LAYERS[kind]
    found = deep(layer).flow(*THETA, OUT, *DATA)
    assert found.verdict == verdict, str(found)
    weights = [x for x in found.layers if x.kind == "weights"]
    assert len(weights) == DEPTH and all(x.ratio is not None for x in weights)
    assert ("Glorot" in str(found)) == (verdict == "vanishing")


def test_weights_that_are_too_large_explode_and_relus_that_are_too_low_die():
    found = deep(LAYERS["relu"][0]).flow(*(3 * w for w in THETA), OUT, *DATA)
    assert found.verdict == "exploding" and "clip the gradient" in str(found)
    found = deep(LAYERS["sigmoid"][0]).flow(*(300 * w for w in THETA), OUT, *DATA)
    assert found.verdict == "saturated"
    low = deep(lambda h, w: gc.relu(h @ w - 1e3)).flow(*THETA, OUT, *DATA)
    assert low.verdict == "dead" and low.layers[1].dead == 1.0


def test_a_run_is_watched():
    f = deep(LAYERS["residual"][0])
    watch = f.watch(*DATA)
    for epoch in range(2):
        watch(epoch, [*THETA, OUT], 1.0, 1.0)
    assert watch.verdicts == ["healthy"] * 2 and [epoch for epoch, _ in watch.records] == [0, 1]
