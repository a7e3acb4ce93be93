"""Handwritten digits with a network of one hidden layer: ordinary NumPy code is the definition of the loss.

1,797 pictures of 8 x 8 points come with scikit-learn. The network learns from 1,200 by Adam, until the loss on 200
others has not been lower for ten epochs, and is tested on the rest.

Run it with: python examples/digits.py (needs scikit-learn: pip install "gradcompile[examples]")
"""

import numpy as np

import gradcompile as gc
from gradcompile import optim

try:
    from sklearn.datasets import load_digits
except ModuleNotFoundError as error:
    raise SystemExit('this example needs data of scikit-learn: pip install "gradcompile[examples]"') from error

LEARNT, TRAINED, HIDDEN = 1200, 1400, 64


def main() -> None:
    pictures, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    pictures, labels = pictures[order] / 16, labels[order]

    X, t = gc.array("X", ("n", 64)), gc.array("t", ("n",), dtype="int64")
    W1, b1 = gc.array("W1", (64, HIDDEN)), gc.array("b1", (HIDDEN,))
    W2, b2 = gc.array("W2", (HIDDEN, 10)), gc.array("b2", (10,))
    scores = gc.relu(X @ W1 + b1) @ W2 + b2
    loss = np.mean(gc.cross_entropy(scores, t))
    f = gc.compile_grad(loss, [W1, b1, W2, b2], inputs=[X, t])
    predict = gc.compile_value(np.argmax(scores, axis=1), [W1, b1, W2, b2])

    rng = np.random.default_rng(1)
    start = [
        rng.normal(scale=np.sqrt(2 / 64), size=(64, HIDDEN)), np.zeros(HIDDEN),
        rng.normal(scale=np.sqrt(2 / HIDDEN), size=(HIDDEN, 10)), np.zeros(10),
    ]  # fmt: skip
    held = [pictures[LEARNT:TRAINED], labels[LEARNT:TRAINED]]
    fit = gc.train(
        f, start, [pictures[:LEARNT], labels[:LEARNT]], optimizer=optim.adam(3e-3), epochs=200, batch_size=32,
        validation=held, patience=10,
    )  # fmt: skip
    print(f"{f.size:,} parameters; {fit.message} entries")
    print(fit.summary())

    right = predict(*fit.params, pictures[TRAINED:]) == labels[TRAINED:]
    print(f"{right.mean():.1%} of {len(right)} new pictures are read right")
    assert right.mean() > 0.97
    for wrong in np.flatnonzero(~right)[:1]:
        print(f"one that is not, a {labels[TRAINED + wrong]}:")
        for row in pictures[TRAINED + wrong].reshape(8, 8):
            print("   " + "".join(" .:oO@"[int(5 * v)] * 2 for v in row))


if __name__ == "__main__":
    main()
