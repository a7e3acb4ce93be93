"""Value and gradient of a compiled loss beside NumPy's value and differences of it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba.core import config

from gradcompile.codegen.functions import replaced
from tests.plain import plain

STEPS = 2.0**-13, 2.0**-17, 2.0**-21  # of differences of fourth order, with an error of 1e-13 or less
CLOSE = {"float64": (1e-10, 2e-8), "float32": (2e-4, 2e-3)}  # of value and gradient, beside the largest entry


def differences(loss: Callable[..., Any], at: Sequence[Any], k: int, step: float = STEPS[0]) -> Any:
    """The gradient in one argument, by central differences of fourth order."""
    base = [np.array(x, np.float64) for x in at]
    gradient = np.zeros_like(base[k])
    for place in np.ndindex(base[k].shape):

        def along(t: float, place: tuple[int, ...] = place) -> float:
            moved = [x.copy() for x in base]
            moved[k][place] += t
            return float(loss(*moved))

        near, far = along(step) - along(-step), along(2 * step) - along(-2 * step)
        gradient[place] = (8 * near - far) / (12 * step)
    return gradient


def wrong(f: Any, loss: Callable[..., Any], at: Sequence[Any]) -> str | None:
    """What is wrong with a compiled loss and its gradients at a point; None if nothing."""
    close = CLOSE[str(np.asarray(at[0]).dtype)]
    value, gradients = f(*at)
    expected = float(loss(*(np.array(x, np.float64) for x in at)))
    if not abs(value - expected) <= close[0] * (1 + abs(expected)):
        return f"value {value!r}, NumPy has {expected!r}"
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    for k, g in enumerate(gradients):
        right = np.zeros(np.shape(g), bool)
        for step in STEPS:  # a smaller one, if entries tie within the first, as those that are sorted may
            found = differences(loss, at, k, step)
            right |= np.abs(g - found) <= close[1] * (1 + np.max(np.abs(found), initial=0.0))
            if np.all(right):
                break
        else:
            return f"gradient {k} is {np.asarray(g).tolist()}, differences are {found.tolist()}"
    return None


def unlike_full(f: Any, *calls: Callable[[], Any]) -> str | None:
    """How full machine code differs from the tape or quick code that runs before it; None if all bits are the same."""
    if config.DISABLE_JIT or not hasattr(f, "_route"):  # a planted fault is a function of Python
        return None
    before = [bits(call()) for call in calls]
    for code in (c for c in f._route.kernel.codes.values() if c is not None):
        replaced(code)  # as a call asks for it: what can't be made in full stays what it is
    for call, first in zip(calls, before, strict=True):
        full = bits(call())
        if full.tobytes() != first.tobytes():
            return f"full code gives {full.tolist()}, what came before it {first.tolist()}"
    return None


def bits(found: Any) -> Any:
    """Value and gradients as one vector; NaN is NaN, whichever operand it was."""
    value, gradients = found
    parts = gradients if isinstance(gradients, tuple) else (gradients,)
    flat = np.concatenate([np.ravel(x) for x in (value, *parts)])
    return np.where(np.isnan(flat), np.nan, flat)


def unlike_python(f: Any, at: Sequence[Any]) -> str | None:
    """How machine code differs from its own text, run as plain Python; None if all bits are the same."""
    values = [np.asarray(x, a.leaf.type.dtype) for a, x in zip((*f.problem.params, *f.problem.inputs), at, strict=True)]
    count = len(f.problem.params)
    theta = np.concatenate([np.ravel(x) for x in values[:count]])
    grad = np.zeros_like(theta)
    with np.errstate(all="ignore"):
        value = plain(f.source)["kernel"](theta, grad, *values[count:])
    own, gradients = f(*at)
    own = np.append(np.concatenate([np.ravel(g) for g in gradients]), own).astype(theta.dtype)
    python = np.append(grad, value).astype(own.dtype)
    same = (own == python) | (np.isnan(own) & np.isnan(python))
    return None if np.all(same) else f"machine code gives {own[~same]}, plain Python {python[~same]}"
