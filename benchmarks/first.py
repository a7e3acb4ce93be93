"""From expression to first result, of small formulas: `python -m benchmarks.first [warm] [stages] [fresh] [many]`.

warm: in a process that has compiled a few, the median of 50 different formulas of 5 to 50 operations, of data with 200
rows and of numbers, beside SymPy's lambdify with its gradient, CasADi and JAX. stages: where that time goes. fresh: a
new process, from its start but for `import sympy, numpy`, with and without the formula in the cache. many: a thousand
formulas in one `compile_many`.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np
import sympy as sp

COUNT, WARM, ROWS = 50, 5, 200
NAMES = sp.symbols("a b c d e")
x, y = sp.symbols("x y")
UNARY = (sp.exp, sp.sin, sp.cos, sp.tanh, lambda u: sp.log(1 + u**2), lambda u: sp.sqrt(1 + u**2), lambda u: u**2)
POINT = (0.7, 0.3, 0.5, 0.2, 0.9)
RNG = np.random.default_rng(0)
XS, YS = RNG.uniform(0.1, 1.0, ROWS), RNG.uniform(0.1, 1.0, ROWS)

Formula = tuple[sp.Expr, list[sp.Symbol]]


def formula(seed: int, has_data: bool) -> Formula:
    """A random formula of 5 to 50 operations, and its parameters."""
    for k in range(1000):
        found = drawn(seed + 10_000 * k, has_data)
        if 5 <= found.count_ops() <= 50 and found.has(*NAMES) and (found.has(x) or not has_data):
            break
    return found, [n for n in NAMES if found.has(n)]


def drawn(seed: int, has_data: bool) -> sp.Expr:
    """A random formula."""
    draw = np.random.default_rng(seed)
    leaves, wanted = [*NAMES[: 2 + seed % 4], *([x] if has_data else [])], draw.integers(5, 31)
    parts: list[sp.Expr] = list(leaves)
    while sum(p.count_ops() for p in parts) < wanted:
        left, right = (parts[draw.integers(len(parts))] for _ in range(2))
        which = draw.integers(5)
        unary = UNARY[draw.integers(len(UNARY))]
        made = (left + right, left * right, left - right / 3, unary(left / 2), left * sp.exp(-right))[which]
        parts[draw.integers(len(parts))] = made
    whole = sum(parts)
    return (whole - y) ** 2 if has_data else whole


def formulas(has_data: bool, start: int = 0) -> list[Formula]:
    """Different ones, some to warm up with."""
    return [formula(start + k, has_data) for k in range(WARM + COUNT)]


def ours(loss: sp.Expr, params: list[sp.Symbol], has_data: bool) -> Any:
    """Loss and gradient by this package."""
    from gradcompile import compile_grad

    f = compile_grad(loss, params, data=[x, y] if has_data else (), allow_unused=True)
    return f(*POINT[: len(params)], *([XS, YS] if has_data else []))


def bound(loss: sp.Expr, params: list[sp.Symbol], has_data: bool) -> Any:
    """The same by `bind`, as SciPy wants it."""
    from gradcompile import compile_grad

    f = compile_grad(1.5 * loss, params, data=[x, y] if has_data else (), allow_unused=True)  # not the one before
    return f.bind(*([XS, YS] if has_data else []))(np.array(POINT[: len(params)]))


def by_lambdify(loss: sp.Expr, params: list[sp.Symbol], has_data: bool) -> Any:
    """The same by SymPy and NumPy."""
    f = sp.lambdify([*params, x, y], [loss, *(loss.diff(p) for p in params)], "numpy", cse=True)
    found = f(*POINT[: len(params)], XS, YS)
    return [np.mean(v) for v in found] if has_data else found


def by_casadi(loss: sp.Expr, params: list[sp.Symbol], has_data: bool) -> Any:
    """The same by CasADi's scalars, row by row."""
    import casadi

    theta, row = casadi.SX.sym("p", len(params)), casadi.SX.sym("r", 2)
    leaves = {p: theta[k] for k, p in enumerate(params)} | {x: row[0], y: row[1]}
    made: dict[sp.Expr, Any] = {}
    for e in sp.postorder_traversal(loss):
        if e not in made:
            args = [made[a] for a in e.args]
            if e in leaves:
                made[e] = leaves[e]
            elif e.is_Number:
                made[e] = float(e)
            elif e.is_Add or e.is_Mul:
                whole = args[0]
                for a in args[1:]:
                    whole = whole + a if e.is_Add else whole * a
                made[e] = whole
            else:
                made[e] = args[0] ** args[1] if e.is_Pow else getattr(casadi, type(e).__name__)(*args)
    f = casadi.Function("f", [theta, row], [made[loss], casadi.gradient(made[loss], theta)])
    point = list(POINT[: len(params)])
    if not has_data:
        return f(point, [0.0, 0.0])
    return [np.mean(v) for v in f.map(ROWS)(np.tile(np.array(point)[:, None], ROWS), np.array([XS, YS]))]


def by_jax(loss: sp.Expr, params: list[sp.Symbol], has_data: bool) -> Any:
    """The same by JAX."""
    import jax

    jax.config.update("jax_enable_x64", True)
    f = sp.lambdify([params, x, y], loss, "jax")
    whole = (lambda t, u, v: jax.numpy.mean(f(t, u, v))) if has_data else f
    return jax.block_until_ready(jax.jit(jax.value_and_grad(whole))(list(POINT[: len(params)]), XS, YS))


PEERS: dict[str, Callable[..., Any]] = {
    "gradcompile": ours, "gradcompile bind": bound, "lambdify": by_lambdify, "casadi": by_casadi, "jax": by_jax,
}  # fmt: skip


def warm(peers: list[str]) -> None:
    """Medians of many formulas; the peers take turns, formula by formula."""
    for has_data in (True, False):
        times: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for k, (loss, params) in enumerate(formulas(has_data)):
            for name in peers:
                start, wall = time.process_time(), time.perf_counter()
                try:
                    PEERS[name](loss, params, has_data)
                except ImportError:
                    continue
                if k >= WARM:
                    times[name].append((time.process_time() - start, time.perf_counter() - wall))
        for name, found in times.items():
            cpu, clock = ([1e3 * t[k] for t in found] for k in (0, 1))
            spread = f"{np.percentile(cpu, 10):.1f} to {np.percentile(cpu, 90):.1f}"
            print(f"{'data' if has_data else 'numbers'}  {name:17s} {median(cpu):7.1f} ms of processor time "
                  f"({spread}), {median(clock):7.1f} by the clock", flush=True)  # fmt: skip


# What a stage is: the functions that it consists of, by module; time inside of another stage is that one's.
STAGES = {
    "read": ("gradcompile.compile:problem_of",),
    "passes before": ("gradcompile.pipeline:prepared",),
    "differentiate": ("gradcompile.diff.operators:gradient",),
    "passes after": ("gradcompile.passes:finished",),
    "cost": ("gradcompile.analysis.cost:cost_of", "gradcompile.analysis.cost:growth_of"),
    "lower, text": ("gradcompile.pipeline:kernel_of",),
    "load": ("gradcompile.codegen.functions:load",),
    "parse": ("gradcompile.loops.reading:function_of",),
    "LLVM IR": ("gradcompile.codegen:lower",),
    "optimise": ("gradcompile.codegen.target:optimise",),
    "code generation": ("gradcompile.codegen.builtin:machine_code",),
    "link": ("gradcompile.codegen.builtin:entry",),
    "Numba": ("gradcompile.codegen.functions:precompile",),
    "cache on disk": ("gradcompile.codegen.cache:read_entry", "gradcompile.codegen.cache:write_entry",
                      "gradcompile.codegen.cache:write_module", "gradcompile.codegen.functions:module_hash"),
}  # fmt: skip


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds of each stage, added up while this lasts."""
    import importlib

    spent: dict[str, float] = defaultdict(float)
    running: list[list[float]] = []
    replaced = []

    def watched(stage: str, function: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            start = time.process_time()
            running.append([0.0])
            try:
                return function(*args, **named)
            finally:
                whole, (inner,) = time.process_time() - start, running.pop()
                spent[stage] += whole - inner
                if running:
                    running[-1][0] += whole

        return call

    for stage, places in STAGES.items():
        for place in places:
            module, _, name = place.partition(":")
            function = getattr(importlib.import_module(module), name, None)
            if function is None:
                continue
            made = watched(stage, function)
            for other in [m for n, m in sys.modules.items() if n.startswith("gradcompile")]:
                for key, value in list(vars(other).items()):
                    if value is function:
                        setattr(other, key, made)
                        replaced.append((other, key, function))
                    elif isinstance(value, type) and key != "once":
                        for own, member in list(vars(value).items()):
                            if isinstance(member, staticmethod) and member.__func__ is function:
                                setattr(value, own, staticmethod(made))
                                replaced.append((value, own, member))
    try:
        yield spent
    finally:
        for owner, key, function in replaced:
            setattr(owner, key, function)


def stages() -> None:
    """Where the time goes; medians do not add up, so these are means."""
    for has_data in (True, False):
        given = formulas(has_data, 1000)
        for loss, params in given[:WARM]:
            ours(loss, params, has_data)
        with timed() as spent:
            start = time.process_time()
            for loss, params in given[WARM:]:
                ours(loss, params, has_data)
            whole = time.process_time() - start
        spent["rest"] = whole - sum(spent.values())
        parts = ", ".join(f"{stage} {1e3 * t / COUNT:.2f}" for stage, t in spent.items())
        print(f"{'data' if has_data else 'numbers'}: {1e3 * whole / COUNT:.1f} ms; {parts}", flush=True)


FRESH = """
import time; import sympy, numpy
begin = time.process_time(), time.perf_counter()
import gradcompile
imported = time.process_time() - begin[0]
from sympy import symbols, exp
a, b, c, x, y = symbols("a b c x y")
{formula}
print(imported, time.process_time() - begin[0], time.perf_counter() - begin[1])
"""
SCRIPTS = {
    "data": "gradcompile.compile_grad((a*exp(-b*x) + {k}*c - y)**2, [a, b, c], data=[x, y])"
    "(1.0, 2.0, 3.0, numpy.ones(200), numpy.ones(200))",
    "numbers": "gradcompile.compile_grad(a*exp(-b*c) + {k}*c*a - sympy.sin(b), [a, b, c])(1.0, 2.0, 3.0)",
}


def fresh() -> None:
    """New processes: the first ever, one that has not this formula in the cache, and one that has."""
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "GRADCOMPILE_CACHE_DIR": place, "PYTHONDONTWRITEBYTECODE": ""}
        environment.pop("PYTHONDONTWRITEBYTECODE")

        def run(kind: str, k: int) -> list[float]:
            script = FRESH.format(formula=SCRIPTS[kind].format(k=k))
            out = subprocess.run(
                [sys.executable, "-c", script], env=environment, capture_output=True, check=True, text=True
            )
            return [float(v) for v in out.stdout.split()]

        for kind in SCRIPTS:
            first = run(kind, 2)
            run(kind, 1)
            for what, ks in (("not in the cache", range(3, 10)), ("in the cache", range(3, 10))):
                found = [run(kind, k) for k in ks]
                imported, cpu, wall = (1e3 * median(v[j] for v in found) for j in range(3))
                times = f"{cpu:.0f} ms of processor time ({imported:.0f} the import), {wall:.0f} by the clock"
                print(f"{kind:8s} fresh process, {what}: {times}; the very first {1e3 * first[1]:.0f}", flush=True)


def many() -> None:
    """A thousand formulas of the same columns in one module."""
    from gradcompile import compile_many

    given = [formula(5000 + k, True)[0] for k in range(1000)]
    start, wall = time.process_time(), time.perf_counter()
    m = compile_many(given, list(NAMES), data=[x, y])
    m(*POINT, XS, YS)
    spent = time.process_time() - start, time.perf_counter() - wall
    print(f"1,000 formulas of data: {spent[0]:.2f} s of processor time, {spent[1]:.2f} by the clock")


def main(words: list[str]) -> int:
    """Run what is asked for, or all."""
    os.environ.setdefault("GRADCOMPILE_CACHE_DIR", tempfile.mkdtemp())
    parts = words or ["warm", "stages", "fresh", "many"]
    if "warm" in parts:
        warm([p for p in PEERS if p != "jax" or "jax" in parts or not words])
    for part, run in (("stages", stages), ("fresh", fresh), ("many", many)):
        if part in parts:
            run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
