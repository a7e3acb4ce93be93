"""A compiled program over arrays held to the interpreter: value, gradient, dtype."""

import numpy as np

from gradcompile import compile_grad, compile_value
from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff import reverse
from gradcompile.ir.graph import topological


def close(what, got, want, tolerance):
    """The same shape and numbers, relative to the largest."""
    assert np.shape(got) == np.shape(want), what
    size = max(1.0, np.max(np.abs(want), initial=0.0, where=np.isfinite(want)))
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * size, err_msg=what)


def point_of(loss, params, values):
    """The values of the leaves."""
    leaves = [x for x in topological([loss.node]) if x.op.name == "leaf"]
    return {x: values[x.params[0]] for x in {*leaves, *(p.node for p in params)}}


def check_grad(loss, params, *points, tolerance=1e-9, alone=True, **options):
    """Loss and gradient at points, for one compilation, which is returned; values by the names of leaves.

    alone: the loss without its gradient too, which is another compilation.
    """
    f = compile_grad(loss, params, allow_unused=True, **options)
    nodes = [p.node for p in params]
    for values in points:
        want = evaluate([loss.node, *reverse.vjp(loss.node, nodes)], point_of(loss, params, values))
        arguments = {name: values[name] for name in f.signature.parameters}
        value, gradients = f(**arguments)
        close("loss", value, want[0], tolerance)
        if alone:
            close("loss alone", f.loss(**arguments), want[0], tolerance)
        for p, got, w in zip(params, gradients, want[1:], strict=True):
            close(f"gradient of {p}", got, w, tolerance)
    return f


def check_value(value, *points, tolerance=1e-9):
    """A value at points, and its dtype."""
    f = compile_value(value)
    for values in points:
        (want,) = evaluate([value.node], point_of(value, [], values))
        got = f(**{name: values[name] for name in f.signature.parameters})
        close("value", got, want, tolerance)
        assert np.asarray(got).dtype == np.asarray(want).dtype
