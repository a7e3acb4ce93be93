"""Exported functions called from Python, through shared libraries that the system's compiler makes of them."""

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from gradcompile.compiled import Compiled
from gradcompile.export.c_header import Prototype
from gradcompile.ir.types import dim_value, dims_solved

STRICT = ("-Wall", "-Wextra", "-pedantic", "-Werror")
PLAIN = ("-std=c99", "-O2", "-ffp-contract=off", *STRICT)
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def run(*command: str | Path) -> str:
    """What a command prints; its errors are part of the failure."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def library(path: Path, prototype: Prototype, *options: str) -> Any:
    """The function of an exported file, compiled and linked."""
    made = path.with_suffix(path.suffix + ".so")
    run("cc", *options, "-shared", "-fPIC", "-o", made, path, "-lm")
    return getattr(ctypes.CDLL(str(made)), prototype.name)


class Call(NamedTuple):
    """Arguments of a kernel, and room for what it writes."""

    theta: np.ndarray
    outs: list[np.ndarray]
    values: list[np.ndarray]
    sizes: dict[str, int]


def call_of(p: Prototype, theta: np.ndarray, inputs: Sequence[Any]) -> Call:
    """A call with these inputs."""
    own = [q for q in p.parameters[1:] if not q.is_written]
    values = [np.ascontiguousarray(v, q.type.dtype) for q, v in zip(own, inputs, strict=True)]
    values = [v.reshape(np.shape(given)) for v, given in zip(values, inputs, strict=True)]
    shapes = [(q.type.shape, v.shape) for q, v in zip(own, values, strict=True)]
    sizes = dims_solved([pair for dims, shape in shapes for pair in zip(dims, shape, strict=True)])
    known = {"_": 0, **sizes}
    outs = [
        np.full([dim_value(d, known) for d in q.type.shape], 7.0, q.type.dtype) for q in p.parameters if q.is_written
    ]
    return Call(theta, outs, values, sizes)


def called(function: Any, p: Prototype, theta: np.ndarray, inputs: Sequence[Any]) -> tuple[float, list[np.ndarray]]:
    """What an exported function returns, and what it writes."""
    call = call_of(p, theta, inputs)
    outs, values = iter(call.outs), iter(call.values)
    given: list[Any] = []
    for q in p.parameters:
        v = theta if q is p.parameters[0] else next(outs if q.is_written else values)
        kind = {"float64": ctypes.c_double, "float32": ctypes.c_float}.get(q.type.dtype, ctypes.c_int64)
        if q.is_passed:
            given.append(ctypes.c_void_p(v.ctypes.data) if q.type.shape else kind(v.item()))
    given += [ctypes.c_int64(call.sizes[name]) for name in p.lengths]
    function.restype = ctypes.c_double if p.result == "double" else ctypes.c_float
    return function(*given), call.outs


def from_kernel(f: Compiled, p: Prototype, theta: np.ndarray, inputs: Sequence[Any]) -> tuple[float, list[np.ndarray]]:
    """The same from the kernel."""
    call = call_of(p, theta, inputs)
    return f._route.serial(theta, *call.outs, *[v if v.ndim else v.item() for v in call.values]), call.outs


def same(one: tuple[float, list[np.ndarray]], other: tuple[float, list[np.ndarray]]) -> bool:
    """Whether two results have the same bits."""
    return all(
        np.array_equal(u.view(np.uint8), v.view(np.uint8))
        for u, v in zip([np.array([float(one[0])]), *one[1]], [np.array([float(other[0])]), *other[1]], strict=True)
    )
