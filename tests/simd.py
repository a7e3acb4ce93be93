"""Run a function of vmath over arrays as generated code does: lowered from its text, in vectors and last in scalars."""

import numpy as np

from gradcompile.codegen import array_kind, own_text
from gradcompile.codegen import functions as jit

TEXT = """
from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import lanes
from {module} import {name}

LANES = {lanes}


@jit
def run(out, {columns}):
    for i in lanes(0, out.shape[0]):
        out[i] = {name}({elements})
"""


def run(function, *arrays):
    """The function's values at the entries of arrays of one dtype."""
    rows = [np.ascontiguousarray(a) for a in np.broadcast_arrays(*arrays)]
    names = [f"x{k}" for k in range(len(rows))]
    text = TEXT.format(
        module=own_text(function).__module__, name=function.__name__, lanes=64 // rows[0].itemsize,
        columns=", ".join(names), elements=", ".join(f"{n}[i]" for n in names),
    )  # fmt: skip
    out = np.empty_like(rows[0])
    kinds = [array_kind(out.dtype.name, 1)] * (1 + len(rows))
    jit.entry(jit.load(text, cache=False).run, kinds)(out, *rows)
    return out
