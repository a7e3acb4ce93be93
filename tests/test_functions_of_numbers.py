"""The package's functions of plain NumPy arrays: numbers."""

import numpy as np
import pytest
from scipy.special import expit, log_expit, log_softmax, logsumexp, ndtr, softmax

import gradcompile as gc

X = np.array([[0.1, -0.2, 0.7], [2.0, 800.0, -800.0]])
IMAGE = np.arange(32.0).reshape(1, 2, 4, 4)
CALLS = {
    "sigmoid": (X,), "softplus": (X,), "log_sigmoid": (X,), "relu": (X,), "mean": (X,), "total": (X,),
    "stop_gradient": (X,), "leaky_relu": (X,), "elu": (X,), "gelu": (X,), "silu": (X,), "mse": (X, X + 1),
    "binary_cross_entropy_with_logits": (X, X > 0), "huber": (X, X + 3), "logsumexp": (X,), "softmax": (X,),
    "log_softmax": (X,), "cross_entropy": (X, np.array([1, 2])), "one_hot": (np.array([1, 2]), 3), "layer_norm": (X,),
    "batch_norm": (X,), "dropout": (X, X > 0, 0.5), "attention": (X, X, X), "conv": (IMAGE, IMAGE[:, :, :2, :2]),
    "max_pool": (IMAGE, 2), "mean_pool": (IMAGE, 2), "where": (X > 0, X, 0.0),
}  # fmt: skip

OTHERWISE = {
    "sigmoid": expit, "softplus": lambda x: np.logaddexp(0, x), "log_sigmoid": log_expit, "logsumexp": logsumexp,
    "softmax": lambda x: softmax(x, -1), "log_softmax": lambda x: log_softmax(x, -1), "mean": np.mean, "total": np.sum,
    "relu": lambda x: np.maximum(x, 0), "mse": lambda x, y: np.mean((x - y) ** 2), "silu": lambda x: x * expit(x),
    "gelu": lambda x: x * ndtr(x), "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), "where": np.where,
    "one_hot": lambda k, n: np.eye(n)[k], "cross_entropy": lambda x, k: -log_softmax(x, -1)[[0, 1], k],
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_numbers_in_numbers_out(name):
    args = CALLS[name]
    plain = getattr(gc, name)(*args)
    assert isinstance(plain, np.ndarray | np.floating)
    assert np.isfinite(plain).all()
    if name in OTHERWISE:
        np.testing.assert_allclose(plain, OTHERWISE[name](*args), rtol=1e-12)


def test_numbers_beside_other_numbers():
    assert gc.logsumexp(np.ones(3)) == pytest.approx(1 + np.log(3))
    assert gc.softmax(np.ones((2, 4), np.float32)).dtype == np.float32
    assert gc.layer_norm(X, gain=np.ones(3), axis=1).shape == X.shape
    with pytest.raises(gc.GradcompileError, match="conv takes x"):
        gc.conv(X, X)
