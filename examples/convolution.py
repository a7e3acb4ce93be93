"""Handwritten digits with a small convolutional network: eight filters, a maximum over 2 x 2 points, one product.

It has under a third of the parameters of examples/digits.py.

Run it with: python examples/convolution.py (needs scikit-learn: pip install "gradcompile[examples]")
"""

import numpy as np

import gradcompile as gc

try:
    from sklearn.datasets import load_digits
except ModuleNotFoundError as error:
    raise SystemExit('this example needs data of scikit-learn: pip install "gradcompile[examples]"') from error

TRAINED, FILTERS = 1400, 8


def main() -> None:
    pictures, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    pictures, labels = pictures[order].reshape(-1, 1, 8, 8) / 16, labels[order]

    X, t = gc.array("X", ("n", 1, 8, 8)), gc.array("t", ("n",), dtype="int64")
    params = {
        "filters": gc.array("filters", (FILTERS, 1, 3, 3)),
        "shift": gc.array("shift", (FILTERS, 1, 1)),
        "W": gc.array("W", (FILTERS * 16, 10)),
        "b": gc.array("b", (10,)),
    }
    filtered = gc.relu(gc.conv(X, params["filters"], padding=1) + params["shift"])  # (n, 8, 8, 8)
    pooled = gc.max_pool(filtered, 2)  # (n, 8, 4, 4)
    scores = pooled.reshape(-1, FILTERS * 16) @ params["W"] + params["b"]
    f = gc.compile_grad(np.mean(gc.cross_entropy(scores, t)), params, inputs=[X, t])
    predict = gc.compile_value(np.argmax(scores, axis=1), params)

    rng = np.random.default_rng(1)
    start = {
        "filters": rng.normal(scale=np.sqrt(2 / 9), size=(FILTERS, 1, 3, 3)),
        "shift": np.zeros((FILTERS, 1, 1)),
        "W": rng.normal(scale=np.sqrt(1 / (FILTERS * 16)), size=(FILTERS * 16, 10)),
        "b": np.zeros(10),
    }
    data = [pictures[:TRAINED], labels[:TRAINED]]
    fit = gc.sgd(f, start, data, learning_rate=0.05, momentum=0.9, epochs=30, batch_size=32)
    print(f"{f.size:,} parameters; loss {fit.history['loss'][0]:.3f} -> {fit.history['loss'][-1]:.5f}")

    right = predict(*fit.params.values(), pictures[TRAINED:]) == labels[TRAINED:]
    print(f"{right.mean():.1%} of {len(right)} new pictures are read right")
    assert right.mean() > 0.97
    print("the first filter:")
    print(fit.params["filters"][0, 0].round(2))


if __name__ == "__main__":
    main()
