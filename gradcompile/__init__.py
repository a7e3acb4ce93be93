"""gradcompile: a loss written as mathematics, compiled to one function that returns it with every gradient.

>>> import sympy as sp
>>> from gradcompile import compile_grad
>>> w, x, y = sp.symbols("w x y")
>>> f = compile_grad((w*x - y)**2, [w])
>>> loss, grads = f(2.0, x=3.0, y=10.0)
>>> loss, grads.w
(16.0, -24.0)
"""

import importlib
from typing import TYPE_CHECKING, Any

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
from gradcompile.frontend.arrays import array, derivative, scan, while_loop
from gradcompile.frontend.functions import log_sigmoid, mean, relu, sigmoid, softplus, total, where
from gradcompile.frontend.sympy.custom import custom
from gradcompile.gradient import CompiledGrad

if TYPE_CHECKING:
    from gradcompile.derivatives import CompiledHessian, CompiledHvp, CompiledJacobian, CompiledJvp, CompiledValues
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
    from gradcompile.many import CompiledMany
    from gradcompile.optim import TrainingResult, sgd
    from gradcompile.regression.fits import compile_fit, fit
    from gradcompile.regression.result import Fit

__version__ = "0.2.0"

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "CompiledGrad",
    "CompiledHessian",
    "CompiledHvp",
    "CompiledJacobian",
    "CompiledJvp",
    "CompiledMany",
    "CompiledValue",
    "CompiledValues",
    "DataError",
    "ExpressionError",
    "Fit",
    "GradcompileError",
    "GraphError",
    "ParseError",
    "TrainingError",
    "TrainingResult",
    "array",
    "attention",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "compile_fit",
    "compile_grad",
    "compile_hessian",
    "compile_hvp",
    "compile_jacobian",
    "compile_jvp",
    "compile_many",
    "compile_value",
    "conv",
    "cross_entropy",
    "custom",
    "derivative",
    "dropout",
    "elu",
    "fit",
    "gelu",
    "huber",
    "layer_norm",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "max_pool",
    "mean",
    "mean_pool",
    "mse",
    "one_hot",
    "relu",
    "scan",
    "sgd",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "stop_gradient",
    "total",
    "where",
    "while_loop",
]

LATE = {  # modules that not everybody needs, and what is found in them
    "derivatives": ("CompiledHessian", "CompiledHvp", "CompiledJacobian", "CompiledJvp", "CompiledValues"),
    "frontend.nn": (
        "attention", "batch_norm", "binary_cross_entropy_with_logits", "conv", "cross_entropy", "dropout", "elu",
        "gelu", "huber", "layer_norm", "leaky_relu", "log_softmax", "logsumexp", "max_pool", "mean_pool", "mse",
        "one_hot", "silu", "softmax", "stop_gradient",
    ),
    "many": ("CompiledMany",),
    "optim": ("TrainingResult", "sgd"),
    "regression.fits": ("compile_fit", "fit"),
    "regression.result": ("Fit",),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """What is loaded when it is asked for."""
    home = next((module for module, names in LATE.items() if name in names), None)
    if name in LATE:
        return importlib.import_module(f"{__name__}.{name}")
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    return found
