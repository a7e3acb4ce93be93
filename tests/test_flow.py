"""How adjoints flow through deep networks: verdicts, dead and saturated units, and a run that is watched."""

from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest

import gradcompile as gc
from gradcompile import compile_grad
from gradcompile.errors import ArgumentError
from gradcompile.explain import side_by_side

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
    leaky = deep(lambda h, w: gc.leaky_relu(h @ w - 1e3)).flow(*THETA, OUT, *DATA)
    assert all(x.dead == 0.0 for x in leaky.layers)


class Seen(NamedTuple):
    """What `train` hands over."""

    epoch: int
    params: object


def test_a_run_is_watched_and_drawn(tmp_path):
    f = deep(LAYERS["residual"][0])
    watch = f.watch(*DATA)
    for epoch in range(2):
        watch(epoch, [*THETA, OUT], 1.0, 1.0)
    watch(Seen(2, {a.original: v for a, v in zip(f.problem.params, [*THETA, OUT], strict=True)}))
    assert watch.verdicts == ["healthy"] * 3 and [epoch for epoch, _ in watch.records] == [0, 1, 2]
    assert repr(watch) == "<watch of 3 epochs: healthy>"
    picture = side_by_side({"residual": watch, "a < b": watch}, tmp_path / "flow.svg")
    assert picture == (tmp_path / "flow.svg").read_text("utf-8") and watch.plot() in watch._repr_html_()
    said = ElementTree.fromstring(picture).get("aria-label")
    assert said == "residual: healthy; a < b: healthy" and len(repr(picture)) < 40
    with pytest.raises(ArgumentError, match="this picture is written as"):
        picture.save(tmp_path / "flow.png")
    with pytest.raises(ArgumentError, match="nothing was watched of 'new'"):
        side_by_side({"new": f.watch(*DATA)})


def test_layers_inside_a_scan_are_seen_step_by_step_and_the_loss_is_no_layer():
    w, t = gc.array("W", (DEPTH, WIDTH, WIDTH)), gc.array("t", ("n",), dtype="int64")
    h, _ = gc.scan(lambda h, w: (gc.sigmoid(h @ w), None), X, w)
    f = compile_grad(np.mean(gc.cross_entropy(h * V, t)), [w, V], inputs=[X, t])
    found = f.flow(np.stack(THETA), OUT, DATA[0], np.zeros(40, int))
    layers = [x for x in found.layers if x.kind == "units"]
    assert [x.name for x in layers] == [f"sigmoid[{k}]" for k in range(DEPTH)] and found.verdict == "vanishing"
    one = compile_grad(np.mean(gc.cross_entropy(gc.sigmoid(gc.sigmoid(X @ WS[0]) @ WS[1]) * V, t)), [*WS[:2], V],
                       inputs=[X, t]).flow(*THETA[:2], OUT, DATA[0], np.zeros(40, int))  # fmt: skip
    apart = [x for x in one.layers if x.kind == "units"]
    assert len(apart) == 2 and apart[0].size == pytest.approx(layers[0].size)
