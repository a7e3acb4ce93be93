"""Penalties chosen by their gradient: how does the error on new data change with each feature's own penalty?

Ridge regression with a penalty for each feature: training is a minimisation, and the optimum moves with the penalties.
`sensitivity` tells how, without searching again, so the error on data that were held back has a gradient in the
penalties, and these are found by descent. Five of the ten features are noise; what they do to new data shrinks.

Run it with: python examples/hyperparameters.py
"""

import numpy as np

import gradcompile as gc

FEATURES, SAMPLES = 10, 60


def main() -> None:
    random = np.random.default_rng(4)
    truth = np.where(np.arange(FEATURES) < 5, random.normal(size=FEATURES), 0.0)
    table = random.normal(size=(2 * SAMPLES, FEATURES))
    target = table @ truth + 1.5 * random.normal(size=2 * SAMPLES)
    train, held = slice(0, SAMPLES), slice(SAMPLES, None)

    X, y = gc.array("X", ("n", FEATURES)), gc.array("y", "n")
    w, penalty = gc.array("w", FEATURES), gc.array("penalty", FEATURES)
    errors = np.mean((X @ w - y) ** 2)
    training = gc.compile_grad(errors + np.sum(np.exp(penalty) * w**2), [w], inputs=[X, y, penalty])
    validation = gc.compile_grad(errors, [w], inputs=[X, y])

    penalties, weights = np.full(FEATURES, -3.0), np.zeros(FEATURES)
    for round in range(61):
        best = gc.minimize(
            training, [np.zeros(FEATURES)], [table[train], target[train], penalties], method="trust-exact"
        )
        weights = best.x[0]
        loss, (slope,) = validation(weights, table[held], target[held])
        gradient = slope @ best.sensitivity("penalty")  # of the error on data that were held back
        if round % 20 == 0:
            print(f"round {round:2}   error on new data {loss:.4f}   slope {np.linalg.norm(gradient):.4f}")
        penalties = np.clip(penalties - 10.0 * gradient, -6.0, 3.0)

    print(f"{'true weight':>12}{'found':>10}{'penalty':>10}")
    for row in zip(truth, weights, np.exp(penalties), strict=True):
        print(f"{row[0]:12.3f}{row[1]:10.3f}{row[2]:10.3f}")


if __name__ == "__main__":
    main()
