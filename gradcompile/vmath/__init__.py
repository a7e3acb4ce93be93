"""Elementary functions for generated code: float64 here and in `double`, float32 in `single`, under the same names.

What they are written in is `gradcompile.runtime.primitives`; their constants come from tools/coefficients.py.
"""

from gradcompile.vmath.double import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cbrt,
    ceil,
    cos,
    cosh,
    erf,
    erfc,
    exp,
    exp2,
    expm1,
    fabs,
    floor,
    heaviside,
    hypot,
    log,
    log1p,
    log2,
    log10,
    maximum,
    minimum,
    mod,
    power,
    rint,
    sigmoid,
    sign,
    sin,
    sinc,
    sinh,
    softplus,
    sqrt,
    tan,
    tanh,
    x_over_expm1,
    xlogy,
)

__all__ = [
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "cos", "cosh", "erf", "erfc", "exp",
    "exp2", "expm1", "fabs", "floor", "heaviside", "hypot", "log", "log1p", "log2", "log10", "maximum", "minimum",
    "mod", "power", "rint", "sigmoid", "sign", "sin", "sinc", "sinh", "softplus", "sqrt", "tan", "tanh", "x_over_expm1",
    "xlogy",
]  # fmt: skip
