"""gradcompile: a loss written as mathematics, compiled to one function that returns it with every gradient.

>>> import sympy as sp
>>> from gradcompile import compile_grad
>>> w, x, y = sp.symbols("w x y")
>>> f = compile_grad((w*x - y)**2, [w])
>>> loss, grads = f(2.0, x=3.0, y=10.0)
>>> loss, grads.w
(16.0, -24.0)
"""

import gc
import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradcompile.compile import (
        compile_grad,
        compile_hessian,
        compile_hvp,
        compile_jacobian,
        compile_jvp,
        compile_many,
        compile_value,
    )
    from gradcompile.compiled import CompiledValue
    from gradcompile.derivatives import CompiledHessian, CompiledHvp, CompiledJacobian, CompiledJvp, CompiledValues
    from gradcompile.errors import (
        ArgumentError,
        ArgumentTypeError,
        DataError,
        ExpressionError,
        GradcompileError,
        GraphError,
        ParseError,
        TrainingError,
    )
    from gradcompile.frontend.arrays import array, derivative, scan, sparse_array, while_loop
    from gradcompile.frontend.functions import log_sigmoid, mean, relu, sigmoid, softplus, total, where
    from gradcompile.frontend.nn import (
        attention,
        batch_norm,
        binary_cross_entropy_with_logits,
        conv,
        cross_entropy,
        dropout,
        elu,
        gelu,
        huber,
        layer_norm,
        leaky_relu,
        log_softmax,
        logsumexp,
        max_pool,
        mean_pool,
        mse,
        one_hot,
        silu,
        softmax,
        stop_gradient,
    )
    from gradcompile.frontend.sympy.custom import custom
    from gradcompile.gradient import CompiledGrad
    from gradcompile.many import CompiledMany
    from gradcompile.optim.masks import random_mask
    from gradcompile.optim.minimizer import minimize
    from gradcompile.optim.result import TrainingResult
    from gradcompile.optim.training import sgd, train
    from gradcompile.regression.fits import compile_fit, fit
    from gradcompile.regression.result import Fit

__version__ = "0.2.0"

__all__ = [
    "ArgumentError", "ArgumentTypeError", "CompiledGrad", "CompiledHessian", "CompiledHvp", "CompiledJacobian",
    "CompiledJvp", "CompiledMany", "CompiledValue", "CompiledValues", "DataError", "ExpressionError", "Fit",
    "GradcompileError", "GraphError", "ParseError", "TrainingError", "TrainingResult", "array", "attention",
    "batch_norm", "binary_cross_entropy_with_logits", "compile_fit", "compile_grad", "compile_hessian", "compile_hvp",
    "compile_jacobian", "compile_jvp", "compile_many", "compile_value", "conv", "cross_entropy", "custom", "derivative",
    "dropout", "elu", "fit", "gelu", "huber", "layer_norm", "leaky_relu", "log_sigmoid", "log_softmax", "logsumexp",
    "max_pool", "mean", "mean_pool", "minimize", "mse", "one_hot", "random_mask", "relu", "scan", "sgd", "sigmoid",
    "silu", "softmax", "softplus", "sparse_array", "stop_gradient", "total", "train", "where", "while_loop",
]  # fmt: skip

LATE = {  # what is found in which module, all of them loaded when something of theirs is asked for
    "compile": (
        "compile_grad", "compile_hessian", "compile_hvp", "compile_jacobian", "compile_jvp", "compile_many",
        "compile_value",
    ),
    "compiled": ("CompiledValue",),
    "derivatives": ("CompiledHessian", "CompiledHvp", "CompiledJacobian", "CompiledJvp", "CompiledValues"),
    "errors": (
        "ArgumentError", "ArgumentTypeError", "DataError", "ExpressionError", "GradcompileError", "GraphError",
        "ParseError", "TrainingError",
    ),
    "frontend.arrays": ("array", "derivative", "scan", "sparse_array", "while_loop"),
    "frontend.functions": ("log_sigmoid", "mean", "relu", "sigmoid", "softplus", "total", "where"),
    "frontend.nn": (
        "attention", "batch_norm", "binary_cross_entropy_with_logits", "conv", "cross_entropy", "dropout", "elu",
        "gelu", "huber", "layer_norm", "leaky_relu", "log_softmax", "logsumexp", "max_pool", "mean_pool", "mse",
        "one_hot", "silu", "softmax", "stop_gradient",
    ),
    "frontend.sympy.custom": ("custom",),
    "gradient": ("CompiledGrad",),
    "many": ("CompiledMany",),
    "optim.masks": ("random_mask",),
    "optim.minimizer": ("minimize",),
    "optim.result": ("TrainingResult",),
    "optim.training": ("sgd", "train"),
    "regression.fits": ("compile_fit", "fit"),
    "regression.result": ("Fit",),
}  # fmt: skip


MODULES = ("errors", "interop", "linalg", "optim", "signal", "special", "stats", "testing", "vmath")  # for users too


def __getattr__(name: str) -> Any:
    """What is loaded when it is asked for: what the package offers, and its modules."""
    home = next((module for module, names in LATE.items() if name in names), None)
    if home is None and (name.startswith("_") or find_spec(f"{__name__}.{name}") is None):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gradcompile.collector import collector_paused

    is_collecting = gc.isenabled()
    with collector_paused():
        found = importlib.import_module(f"{__name__}.{home or name}")
        if home is not None:
            found = globals()[name] = getattr(found, name)
        if is_collecting:
            gc.collect(1)  # what is loaded stays: it is looked at once, and not again as it grows older
    return found


def __dir__() -> list[str]:
    return sorted([*__all__, *MODULES, "__doc__", "__version__"])
