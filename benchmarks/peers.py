"""One adapter a peer: from a case to a function that compiles it. Packages load when their adapter runs."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.record import Case, Runner

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def functions(module: Any, **others: Any) -> SimpleNamespace:
    """The functions that formulas use, under one set of names; `others` are those that the module names differently.

    Under `literally()` an expression stays as it is written.
    """
    names = {"exp", "log", "sin", "cos", "tanh", "sqrt", "atan2"} - others.keys()
    return SimpleNamespace(
        **{"sum": sum, "literally": nullcontext} | {name: getattr(module, name) for name in names} | others
    )


def written(case: Case) -> tuple[Sequence[Any], Sequence[Any], Any]:
    """Parameters, columns and loss as SymPy expressions."""
    import sympy

    p, x = sympy.symbols(f"p:{len(case.theta)}"), sympy.symbols(f"x:{len(case.columns)}")
    m = functions(
        sympy,
        softplus=lambda z: sympy.log(1 + sympy.exp(z)),
        sum=lambda terms: sympy.Add(*terms),
        literally=lambda: sympy.evaluate(False),
    )
    return p, x, case.formula(m, p, x)


def ours(case: Case) -> Callable[[], Runner]:
    """gradcompile, as an optimiser would use it: f.bind(*columns)(theta)."""
    import numba  # noqa: F401  (the time to the first result starts with Numba imported)

    from gradcompile import compile_grad

    p, x, loss = written(case)

    def build() -> Runner:
        f = compile_grad(loss, [p], data=x)
        fun = f.bind(*case.columns)
        return Runner(fun, facts=lambda: {"operations": f.cost.loss_and_gradient, **code_size(f.source)})

    return build


def code_size(source: str) -> dict[str, float]:
    """Characters of source, and the bytes of machine code in the cache, which the harness has made for this process."""
    found = Path(os.environ.get("GRADCOMPILE_CACHE_DIR", os.devnull)).rglob("*")
    machine = sum(path.stat().st_size for path in found if path.suffix in (".nbc", ".gco"))
    return {"source": len(source), "machine_code": machine}


def jax(case: Case) -> Callable[[], Runner]:
    """jax.jit(jax.value_and_grad(...)) in float64, on device arrays, awaited."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    m = functions(jnp, softplus=jax.nn.softplus)
    columns = [jax.device_put(c) for c in case.columns]

    def loss(theta: Any, *x: Any) -> Any:
        return jnp.mean(case.formula(m, theta, x))

    def build() -> Runner:
        f = jax.jit(jax.value_and_grad(loss))
        return Runner(lambda theta: jax.block_until_ready(f(theta, *columns)), jax.device_put)

    return build


def torch(case: Case) -> Callable[[], Runner]:
    """torch.compile of grad_and_value: one graph forward and backward, which measures faster than .backward()."""
    import torch

    m = functions(torch, softplus=lambda z: -torch.nn.functional.logsigmoid(-z))
    columns = [torch.from_numpy(np.ascontiguousarray(c)) for c in case.columns]

    def loss(theta: Any, *x: Any) -> Any:
        return case.formula(m, theta, x).mean()

    def build() -> Runner:
        f = torch.compile(torch.func.grad_and_value(loss))
        return Runner(lambda theta: f(theta, *columns), torch.from_numpy, lambda result: (result[1], result[0]))

    return build


def autograd(case: Case) -> Callable[[], Runner]:
    """autograd: NumPy, traced anew at each call."""
    import autograd as ag
    import autograd.numpy as anp

    m = functions(anp, atan2=anp.arctan2, softplus=lambda z: anp.logaddexp(0.0, z))

    def build() -> Runner:
        return Runner(ag.value_and_grad(lambda theta: anp.mean(case.formula(m, theta, case.columns))))

    return build


def casadi(case: Case) -> Callable[[], Runner]:
    """CasADi SX through its virtual machine, called by Function.buffer()."""
    import casadi as ca

    theta = ca.SX.sym("theta", len(case.theta))
    loss = case.formula(functions(ca, softplus=lambda z: ca.log(1 + ca.exp(z))), ca.vertsplit(theta), ())

    def build() -> Runner:
        f = ca.Function("f", [theta], [loss, ca.gradient(loss, theta)])
        buffer, evaluate = f.buffer()
        argument, value, gradient = np.empty(theta.numel()), np.empty(1), np.empty(theta.numel())
        buffer.set_arg(0, memoryview(argument))
        buffer.set_res(0, memoryview(value))
        buffer.set_res(1, memoryview(gradient))

        def call(point: np.ndarray) -> Any:
            argument[:] = point
            evaluate()
            return buffer

        return Runner(call, read=lambda _: (value[0], gradient.copy()))

    return build


def heyoka(case: Case) -> Callable[[], Runner]:
    """heyoka: diff_tensors, and one cfunc of loss and gradient; in batch mode where there are columns."""
    import heyoka as hy

    m = functions(hy, softplus=lambda z: hy.log(1.0 + hy.exp(z)), sum=lambda terms: hy.sum(list(terms)))
    count, batch = len(case.theta), bool(case.columns)
    x = [hy.expression(f"x{k}") for k in range(len(case.columns))]
    p = [hy.par[k] if batch else hy.expression(f"p{k}") for k in range(count)]
    loss = case.formula(m, p, x)

    def build() -> Runner:
        f = hy.cfunc([loss, *hy.diff_tensors([loss], diff_args=p).gradient], vars=x if batch else p)
        if not batch:
            return Runner(f, read=split)
        inputs = np.ascontiguousarray(case.columns)
        outputs = np.empty((1 + count, inputs.shape[1]))
        return Runner(
            lambda pars: f(inputs=inputs, pars=pars, outputs=outputs).mean(axis=1),
            lambda theta: np.repeat(theta[:, None], inputs.shape[1], axis=1),  # each sample has parameters of its own
            split,
        )

    return build


def split(vector: np.ndarray) -> tuple[float, np.ndarray]:
    """Loss and gradient of a vector that holds both."""
    return vector[0], vector[1:].copy()


def lambdify(case: Case) -> Callable[[], Runner]:
    """Everyone's first try: sympy.diff, lambdify(cse=True), numba.njit, in a compiled loop over the samples."""
    import numba
    import sympy

    p, x, loss = written(case)
    theta, row = sympy.DeferredVector("theta"), sympy.DeferredVector("row")
    places = dict(zip((*p, *x), (*(theta[k] for k in range(len(p))), *(row[k] for k in range(len(x)))), strict=True))
    rows = np.column_stack(case.columns)

    def build() -> Runner:
        results = tuple(e.xreplace(places) for e in (loss, *(sympy.diff(loss, s) for s in p)))
        one = numba.njit(sympy.lambdify([theta, row], results, modules="math", cse=True))

        @numba.njit
        def mean(theta: np.ndarray, rows: np.ndarray) -> np.ndarray:
            total = np.zeros(1 + len(theta))
            for i in range(len(rows)):
                values = one(theta, rows[i])
                for k in range(len(total)):
                    total[k] += values[k]
            return total / len(rows)

        return Runner(lambda theta: mean(theta, rows), read=split)

    return build


def by_hand(write: Callable[[Case], Callable[[np.ndarray], tuple[float, np.ndarray]]]) -> Callable[..., Any]:
    """A loss and gradient written by a person: write(case) gives the function of theta."""
    return lambda case: lambda: Runner(write(case))


def read(case: Case) -> Callable[[], Runner]:
    """No peer but a bound: the time to read every column once (to sum it) on all cores."""
    import numba

    @numba.njit(nogil=True, fastmath={"reassoc", "nsz", "contract"})
    def total(column: np.ndarray) -> float:
        found = 0.0
        for value in column:
            found += value
        return found

    def part(k: int) -> float:
        return sum(total(piece) for piece in pieces[k])

    pieces = list(zip(*(np.array_split(c, CORES) for c in case.columns), strict=True))
    pool = ThreadPoolExecutor(CORES - 1) if CORES > 1 else None

    def call(_: np.ndarray) -> float:
        others = [pool.submit(part, k) for k in range(1, CORES)] if pool else []
        return part(0) + sum(f.result() for f in others)

    return lambda: Runner(call, read=None)


def roofline(case: Case) -> Callable[[], Runner]:
    """The bound of the machine: reading every column once, or f.cost's operations at the peak rate if that is longer.

    The peak is that of a matrix product, where a fused multiplication and addition counts two; f.cost counts 8 for exp
    and its like, which take about twenty operations. So the bound is a strict one.
    """
    from gradcompile import compile_grad

    p, x, loss = written(case)

    def build() -> Runner:
        operations = compile_grad(loss, [p], data=x).cost.loss_and_gradient * len(case.columns[0])
        rate = peak()
        facts = {"operations": operations, "peak": rate}
        return read(case)()._replace(floor=operations / rate, facts=lambda: facts)

    return build


def peak(size: int = 1000, dtype: Any = np.float64) -> float:
    """Operations a second of a matrix product on all cores, the best of many."""
    a = np.ones((size, size), dtype)
    return max(2 * size**3 / seconds for seconds in timed(lambda: a @ a, 40))


def timed(call: Callable[[], Any], count: int) -> Iterator[float]:
    """The time of each of some calls, in seconds."""
    for _ in range(count):
        start = time.perf_counter()
        call()
        yield time.perf_counter() - start
