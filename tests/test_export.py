"""Functions for C: object files and sources that run without Python, with the kernel's bits."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cffi
import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile import ArgumentError, ExpressionError, compile_grad
from gradcompile.cli import main
from gradcompile.compiled import Compiled
from gradcompile.export.c_header import Prototype
from tests.exported import PLAIN, STRICT, call_of, called, from_kernel, library, needs_cc, run, same
from tests.test_golden import CASES, DERIVATIVES, X, Y, curve, garch, imported, long_sum, network, special

pytestmark = needs_cc
GOLDEN = [*((make, args, {}) for make, args in CASES), *DERIVATIVES]
OUTSIDE = {"special"}  # calls functions of SciPy
BLAS = {"network", "network_product", "attention", "mixture", "recurrent", "convolution", "kernel_matrix"}


@pytest.mark.parametrize(("make", "args", "named"), GOLDEN, ids=[make.__name__ for make, *_ in GOLDEN])
def test_all_golden_losses(
    make: Callable[[], Any], args: tuple[Any, ...], named: dict[str, Any], tmp_path: Path
) -> None:
    f = make()
    if make.__name__ in OUTSIDE:
        return
    count = len(f.problem.params)
    theta, inputs = f.pack(*args[:count]), [*named.values(), *args[count:]]
    p = f._exported("loss").prototype
    f.export(tmp_path / "loss.o")
    found = called(library(tmp_path / "loss.o", p), p, theta, inputs)
    f.export(tmp_path / "loss.c")
    assert same(called(library(tmp_path / "loss.c", p, *PLAIN), p, theta, inputs), found)
    wanted = from_kernel(f, p, theta, inputs)
    if not f._lowered.plan.multiplies:
        assert same(found, wanted)
    else:
        assert found[0] == pytest.approx(wanted[0], rel=1e-13)
        for u, v in zip(found[1], wanted[1], strict=True):
            np.testing.assert_allclose(u, v, rtol=1e-10, atol=1e-13)


MAIN = """
#include <stdio.h>
#include "decay.h"

int main(void) {
  const double theta[3] = {2.0, 1.3, 0.5}, t[4] = {0.0, 1.0, 2.0, 3.0}, v[4] = {2.4, 1.1, 0.6, 0.5};
  double grad[3];
  const double loss = decay(theta, grad, t, v, 4);
  printf("%a %a %a %a\\n", loss, grad[0], grad[1], grad[2]);
  return 0;
}
"""


@pytest.mark.parametrize("kind", [".o", ".c"])
def test_a_program_in_c(kind: str, tmp_path: Path) -> None:
    t, v, a, b, c = sp.symbols("t v a b c")
    f = compile_grad((a * sp.exp(-b * t) + c - v) ** 2, [a, b, c], data=[t, v])
    f.export(tmp_path / f"decay{kind}")
    (tmp_path / "main.c").write_text(MAIN)
    header, empty = tmp_path / "decay.h", tmp_path / "empty.c"
    empty.write_text("typedef int nothing;\n")
    for compiler, language in (("cc", "c99"), ("c++", "c++11")):
        run(compiler, "-x", language[:-2], f"-std={language}", *STRICT, "-fsyntax-only", "-include", header, empty)
    run("cc", *PLAIN, "-o", tmp_path / "main", tmp_path / "main.c", tmp_path / f"decay{kind}", "-lm")
    loss, grads = f(2.0, 1.3, 0.5, np.arange(4.0), np.array([2.4, 1.1, 0.6, 0.5]))
    assert [float.fromhex(x) for x in run(tmp_path / "main").split()] == [loss, *grads]
    assert "python" not in run("ldd", tmp_path / "main").lower()
    assert not [s for s in run("nm", "-u", tmp_path / "main").split() if s.startswith(("Py", "_Py"))]


def test_what_cannot_be_exported_is_refused_with_a_cure(tmp_path: Path) -> None:
    x = sp.Symbol("x")
    f = compile_grad(sp.loggamma(x) ** 2, [x])
    with pytest.raises(ExpressionError, match=r"gammaln.*f\.cfunc"):
        f.export(tmp_path / "loss.o")
    for path, message in (("loss.so", "ends in .o"), ("new.o", "name='new_'"), ("2.o", "name='f2'"),
                          ("exp.o", "name='exp_loss'"), ("int64_t.c", "name='int64_t_'")):  # fmt: skip
        with pytest.raises(ArgumentError, match=message):
            f.export(tmp_path / path)
    with pytest.raises(FileNotFoundError, match="make it first"):
        compile_grad(x**2, [x]).export(tmp_path / "none" / "loss.o")
    assert not list(tmp_path.iterdir())


def test_a_function_of_this_process() -> None:
    f = curve()
    theta, grad = np.array([2.0, 1.3, 0.5]), np.zeros(3)
    loss, grads = f(*theta, X, Y)
    doubles = ctypes.POINTER(ctypes.c_double)
    found = f.cfunc.ctypes(*(v.ctypes.data_as(doubles) for v in (theta, grad, X, Y)), len(X))
    assert (found, *grad) == (loss, *grads)
    grad[:] = 0.0
    ffi = cffi.FFI()
    assert f.cfunc.cffi(*(ffi.from_buffer("double[]", v) for v in (theta, grad, X, Y)), len(X)) == loss
    assert tuple(grad) == tuple(grads)
    p = f._exported("f").prototype
    assert f.cfunc.prototype == f"{p.text};" and hex(f.cfunc.address) in repr(f.cfunc)
    outside = special()  # calls SciPy's functions, one of them through Numba
    theta = np.array([1.7, 0.6])
    p = outside._exported("f").prototype
    found = called(ctypes.CFUNCTYPE(ctypes.c_double)(outside.cfunc.address), p, theta, [])
    assert same(found, from_kernel(outside, p, theta, []))


USER = """from numba import float64, njit


def made(kernel_type):
    @njit(float64(kernel_type, float64[::1], float64[::1], float64[::1], float64[::1]), cache=True)
    def step(kernel, theta, grad, x, y):
        loss = kernel(theta, grad, x, y)
        theta -= 0.1 * grad
        return loss

    return step
"""


def test_a_users_function_finds_its_machine_code_again(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    for hits in (0, 1):
        f = curve()
        step = imported(tmp_path / "user.py").made(f.kernel_type)
        theta, grad = np.array([2.0, 1.3, 0.5]), np.zeros(3)
        assert step(f.kernel, theta, grad, X, Y) == f(2.0, 1.3, 0.5, X, Y)[0]
        assert sum(step.stats.cache_hits.values()) == hits


def test_the_command_line_writes_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    formula = ["export", "(w*x - y)**2", "--params", "w", "--data", "x,y", "--to"]
    assert main([*formula, str(tmp_path / "loss.c"), "--what", "hessian", "--name", "quadratic"]) == 0
    assert "loss.h written" in capsys.readouterr().out
    declared = "double quadratic(const double *theta, double *grad, double *hess, const double *x, const double *y,"
    assert declared in (tmp_path / "loss.h").read_text()
    run("cc", *PLAIN, "-c", "-o", tmp_path / "loss.o", tmp_path / "loss.c")
    assert main([*formula, str(tmp_path / "loss.so")]) == 2
    assert "ends in .o" in capsys.readouterr().err


SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")


def test_sources_run_under_sanitizers(tmp_path: Path) -> None:
    """Exact bounds, no leak, no undefined shift or overflow, at ordinary and extreme arguments."""
    cases = [
        (curve(), [np.array([2.0, 1.3, 0.5]), np.array([np.nan, 800.0, -np.inf])], [X[:3], Y[:3]]),
        (network(), [np.linspace(-1.0, 1.0, 26)], [np.ones((5, 3)), np.arange(5) - 2]),
        (garch(), [np.array([0.1, 0.2, 0.5])], [X]),
    ]
    sources, calls = [tmp_path / "main.c"], []
    for k, (f, thetas, inputs) in enumerate(cases):
        f.export(tmp_path / f"loss{k}.c")
        sources.append(tmp_path / f"loss{k}.c")
        calls += [in_c(f._exported(f"loss{k}").prototype, theta, inputs) for theta in thetas]
        empty = [np.zeros((0, *np.shape(v)[1:])) for v in inputs]
        calls.append(in_c(f._exported(f"loss{k}").prototype, thetas[0], empty))
    includes = "".join(f'#include "loss{k}.h"\n' for k in range(len(cases)))
    program = f"#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <math.h>\n{includes}{HEAP}"
    (tmp_path / "main.c").write_text(f"{program}int main(void) {{\n{''.join(calls)}  return 0;\n}}\n")
    run("cc", *PLAIN, *SANITIZED, "-o", tmp_path / "main", *sources, "-lm")
    found = run(tmp_path / "main").split()
    assert float.fromhex(found[0]) == cases[0][0](2.0, 1.3, 0.5, X[:3], Y[:3])[0]
    assert len(found) == 7 and found[1] == found[2].replace("-", "") == "nan"


HEAP = """
static void *copied(const void *numbers, size_t bytes) {
  void *found = malloc(bytes);
  memcpy(found, numbers, bytes);
  return found;
}
"""


def in_c(p: Prototype, theta: np.ndarray, inputs: list[np.ndarray]) -> str:
    """A call in C whose arrays end where their memory does."""
    call = call_of(p, theta, inputs)
    waiting, made, names = iter(call.values), [], []
    for k, q in enumerate(p.passed):
        v = theta if k == 0 else call.outs[0] if q.is_written else next(waiting)
        type = "double" if v.dtype == np.float64 else "int64_t"
        numbers = ", ".join(str(x).replace("inf", "INFINITY").replace("nan", "NAN") for x in v.ravel().tolist())
        made.append(f"    const {type} v{k}[] = {{{numbers or 0}}};\n    {type} *p{k} = copied(v{k}, {v.nbytes});\n")
        names.append(f"p{k}")
    given = ", ".join([*names, *(str(call.sizes[n]) for n in p.lengths)])
    freed = "".join(f"    free({name});\n" for name in names)
    return f'  {{\n{"".join(made)}    printf("%a\\n", {p.name}({given}));\n{freed}  }}\n'


def names_of_c() -> Compiled:
    new, double, n, exit_ = sp.symbols("int64_t I math_errhandling INT64_MAX")
    return compile_grad((new * sp.exp(-double * new) + n * exit_) ** 2, [new], data=[double, n], inputs=[exit_])


def systems() -> Compiled:
    A, B = gc.array("A", (3, 3)), gc.array("B", 3)
    loss = np.sum(np.linalg.solve(A, B) ** 2) + np.log(np.linalg.det(A @ A.T)) + np.sum(np.sort(B) * A[0])
    return compile_grad(loss, [A], inputs=[B])


def spectrum() -> Compiled:
    x = gc.array("x", 3, "float32")
    return compile_grad(np.sum(np.abs(np.fft.rfft(x)) ** 3), [x])


@pytest.mark.parametrize(
    ("make", "inputs"),
    [(spectrum, []), (names_of_c, [X, Y, 0.5]), (systems, [np.array([1.0, -2.0, 0.5])])],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_names_that_c_keeps_and_routines(make: Callable[[], Compiled], inputs: list[Any], tmp_path: Path) -> None:
    f = make()
    theta = (np.linspace(0.5, 2.0, f.size) ** 2).astype(f.dtype)
    p = f._exported("loss").prototype
    wanted = from_kernel(f, p, theta, inputs)
    for kind, options in ((".c", PLAIN), (".o", ())):
        f.export(tmp_path / f"loss{kind}")
        assert same(called(library(tmp_path / f"loss{kind}", p, *options), p, theta, inputs), wanted)


def test_long_functions_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradcompile.loops.c.LONG", 20)
    f = long_sum()
    theta, inputs = np.array([0.3]), list(np.linspace(-1.0, 1.0, 20))
    p = f._exported("loss").prototype
    f.export(tmp_path / "loss.c")
    assert "/* A part of loss_" in (tmp_path / "loss.c").read_text()
    assert same(called(library(tmp_path / "loss.c", p, *PLAIN), p, theta, inputs), from_kernel(f, p, theta, inputs))
