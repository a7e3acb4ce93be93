"""Where does the gradient go? The same deep network with sigmoid, relu, residual connections, batch normalisation.

Twelve layers read handwritten digits. With sigmoid the gradient of the first layers is nearly nothing: they do not
learn. Each cure is one line of the network. deep.svg shows the runs side by side: layers by epochs, colour by adjoint.

Run it with: python examples/deep.py (needs scikit-learn: pip install "gradcompile[examples]")
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import gradcompile as gc
from gradcompile.explain import Watch, side_by_side

try:
    from sklearn.datasets import load_digits
except ModuleNotFoundError as error:
    raise SystemExit('this example needs data of scikit-learn: pip install "gradcompile[examples]"') from error

DEPTH, WIDTH, TRAINED = 12, 32, 1400
KINDS: dict[str, Callable[[Any, Any], Any]] = {  # a layer: of what comes in, h, and of its product, z
    "sigmoid": lambda h, z: gc.sigmoid(z),
    "relu": lambda h, z: gc.relu(z),
    "residual": lambda h, z: h + 0.2 * gc.relu(z),
    "batch norm": lambda h, z: gc.relu(gc.batch_norm(z)),
}


def network(kind: str, X: Any, p: dict[str, Any]) -> Any:
    """The scores of ten classes."""
    h, _ = gc.scan(lambda h, layer: (KINDS[kind](h, h @ layer[0] + layer[1]), None), X @ p["W_in"], (p["W"], p["b"]))
    return h @ p["W_out"]


def start(kind: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights drawn so that relu keeps the size of what it is given; no shifts."""
    return {
        "W_in": rng.normal(scale=64**-0.5, size=(64, WIDTH)),
        "W": rng.normal(scale=(2 / WIDTH) ** 0.5, size=(DEPTH, WIDTH, WIDTH)),
        "b": np.zeros((DEPTH, WIDTH)),
        "W_out": rng.normal(scale=WIDTH**-0.5, size=(WIDTH, 10)),
    }


def main() -> None:
    pictures, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    pictures, labels = (pictures[order] - pictures.mean(axis=0)) / 6, labels[order]
    first, last = slice(None, TRAINED), slice(TRAINED, None)

    X, t = gc.array("X", ("n", 64)), gc.array("t", ("n",), dtype="int64")
    shown = [0, 3, 6, 9, DEPTH - 1]
    print("norm of the gradient, layer" + "".join(f"{k + 1:>9}" for k in shown) + "   right after 10 epochs")
    reached: dict[str, float] = {}
    watches: dict[str, Watch] = {}
    for kind in KINDS:
        values = start(kind, np.random.default_rng(1))
        params = {name: gc.array(name, value.shape) for name, value in values.items()}
        scores = network(kind, X, params)
        f = gc.compile_grad(np.mean(gc.cross_entropy(scores, t)), params, inputs=[X, t])
        _, grads = f(*values.values(), pictures[first], labels[first])
        norms = [np.linalg.norm(grads.W[k]) for k in shown]

        data = [pictures[first], labels[first]]
        watches[kind] = f.watch(pictures[:200], labels[:200])
        options: dict[str, Any] = {"epochs": 10, "batch_size": 100, "progress": False, "callback": watches[kind]}
        fit = gc.sgd(f, values, data, learning_rate=0.02, momentum=0.9, **options)
        predict = gc.compile_value(np.argmax(scores, axis=1), params)
        reached[kind] = np.mean(predict(*fit.params.values(), pictures[last]) == labels[last])
        found = f"{reached[kind]:>10.1%}  {watches[kind].verdicts[-1]}"
        print(f"{kind:<27}" + "".join(f"{norm:>9.1e}" for norm in norms) + found)
    side_by_side(watches, to="deep.svg")
    assert reached["sigmoid"] < 0.3 and min(reached["residual"], reached["batch norm"]) > 0.9


if __name__ == "__main__":
    main()
