"""The functions of gradcompile.vmath as Python runs their text with the JIT off, whatever it is in this process."""

import importlib
import sys
from functools import cache
from unittest import mock

NAMES = ("gradcompile.vmath", *(f"gradcompile.vmath.{part}" for part in ("common", "double", "single")))


@cache
def modules():
    """(float64, float32): a second copy of each module, whose `jit` leaves a function alone."""
    compiled = {name: importlib.import_module(name) for name in NAMES}
    with mock.patch("gradcompile.runtime.jit.jit", lambda function: function):
        for name in NAMES:
            del sys.modules[name]
        found = tuple(importlib.import_module(name) for name in NAMES[2:])
    package = importlib.import_module("gradcompile")
    sys.modules.update(compiled)
    package.vmath = compiled["gradcompile.vmath"]
    return found


def function(name, single=False):
    """One of them."""
    return getattr(modules()[single], name)
