"""What must not change a result: programs against themselves, without an oracle.

A loss is a mean or a sum of one value a sample, so the whole is made of its parts, in whatever order, to rounding. The
bits are the same under other names of symbols and dimensions, for any number of threads, in memory or from the cache,
in a saved file in another process, and in the text as Python. Where a parameter is written as 4 times another, values
are the same, and its derivative is 4 times as large.
"""

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import sympy as sp

import gradcompile as gc
from gradcompile import compile_grad
from gradcompile.errors import GradcompileError
from tests.plain import plain

BRIEF = 6
ROUNDING = 2.0**-40  # of the sum of all absolute values: conditions of the parts are not looked into
LARGE = 1e150  # a part that is larger may overflow in what the whole computes of it

COLUMNS = ("t", "x")
PARAMS = ("a", "b")
OTHER = {"a": "rows", "b": "samples", "x": "xs", "t": "stop", "n": "start"}  # SymPy sorts by name: the same order
UNARY = ["sin({})", "cos({})", "tanh({})", "exp(-({})**2)", "log(1 + ({})**2)", "sqrt(1 + ({})**2)", "atan({})",
         "1/(1 + exp(-({})))", "Abs({})", "({})**2", "({})**3", "erf({})", "exp(sin({}))",
         "log(1 + exp({}))"]  # fmt: skip
BINARY = ["({}) + ({})", "({}) - ({})", "({})*({})", "({})/(2 + cos({}))", "Max({}, {})", "Min({}, {})",
          "Piecewise(({0}, {0} > {1}), ({1}, True))", "({})*exp(-({})**2)"]  # fmt: skip
ROWS = ["X @ v", "t", "v[k]", "np.sum(np.tanh(X @ W), axis=1)", "np.max(X * v, axis=1)",
        "np.sqrt(1 + np.sum(X * X, 1))",
        "gc.logsumexp(X @ W, axis=1)", "np.sort(X * v, axis=1)[:, 0]", "gc.softmax(X @ W, axis=1)[:, 1]", "W[k, 1]",
        "np.cumsum(X * v, axis=1)[:, 2]", "X[:, 0] * v[1]", "np.sum(X @ W @ v[:, None], axis=1)", "(k == 1) * t",
        "np.prod(1 + np.tanh(X * v), axis=1)", "np.sum(X[:, ::-1] * v, axis=1)",
        "np.min(X + W[0], axis=1)"]  # fmt: skip
JOINED = ["({}) + ({})", "({}) * ({})", "np.where(({}) > 0, {}, 1.5)", "np.maximum({}, {})", "np.tanh({}) * ({})",
          "np.exp(-({})**2) + ({})", "({}) / (2 + np.cos({}))", "np.log1p(np.exp({})) - ({})",
          "abs({}) * ({})"]  # fmt: skip
CHECKS = ["order", "parts", "names", "threads", "text", "scaled", "memory"]


class Program(NamedTuple):
    """A compiled loss, and its arguments by name: theta, then what has a sample in each row."""

    f: Any
    theta: np.ndarray
    rows: dict[str, np.ndarray]

    def __call__(self, pick: Any = slice(None)) -> np.ndarray:
        """Loss and gradient of the samples that are picked."""
        loss, grad = self.f.bind(**{name: value[pick] for name, value in self.rows.items()})(self.theta)
        return np.array([loss, *grad])


def formula(rng: random.Random, depth: int) -> str:
    """A formula of one sample in SymPy."""
    if depth == 0 or rng.random() < 0.1:
        return rng.choice([*PARAMS, *COLUMNS, "a*x", "b*t", "a - x", "x + b*t", "Rational(1, 2)", "0.7"])
    if rng.random() < 0.5:
        return rng.choice(UNARY).format(formula(rng, depth - 1))
    return rng.choice(BINARY).format(formula(rng, depth - 1), formula(rng, depth - 1))


def program(rng: random.Random, depth: int) -> str:
    """A program for all samples in NumPy, which gives one value each."""
    if depth == 0:
        return rng.choice(ROWS)
    return rng.choice(JOINED).format(program(rng, depth - 1), program(rng, depth - 1))


def draw(rng: random.Random) -> dict[str, Any]:
    """A program, its data by a seed, and what is changed."""
    kind = rng.choice(["sympy", "numpy"])
    text = formula(rng, rng.randint(1, 4)) if kind == "sympy" else program(rng, rng.randint(0, 2))
    checks = [c for c in CHECKS if rng.random() < 0.5] + ["saved"] * (rng.random() < 0.02)
    n = rng.choice([1, 2, 7, 31, 33, 64, 100, 200])
    return {"kind": kind, "text": text, "checks": checks, "n": n, "seed": rng.randrange(1 << 30),
            "dtype": rng.choice(["float64"] * 3 + ["float32"]), "reduce": rng.choice(["mean", "sum"])}  # fmt: skip


def built(case: dict[str, Any], names: dict[str, str] | None = None, scale: int = 1, **options: Any) -> Program:
    """The program of a case; names: others than its own. scale: of the parameter that the first one is written by."""
    names, dtype = names or {}, case["dtype"]
    random, n = np.random.default_rng(case["seed"]), case["n"]
    if case["kind"] == "sympy":
        symbols = {s: sp.Symbol(names.get(s, s), real=True) for s in (*PARAMS, *COLUMNS)}
        first = symbols["a"]
        expr = sp.sympify(case["text"], locals=symbols | {"a": scale * first})
        params, data = [symbols[p] for p in PARAMS], [symbols[c] for c in COLUMNS]
        f = compile_grad(expr, params, data=data, reduce=case["reduce"], dtype=dtype, allow_unused=True, **options)
        rows = {names.get(c, c): random.normal(size=n).astype(dtype) for c in COLUMNS}
        theta = random.normal(size=2)
        theta[0] /= scale
        return Program(f, theta.astype(dtype), rows)
    dim = names.get("n", "n")
    v, W = gc.array(names.get("a", "v"), 3, dtype), gc.array(names.get("b", "w"), (3, 3), dtype)
    X, t, k = gc.array("X", (dim, 3), dtype), gc.array("t", dim, dtype), gc.array("k", dim, "int64")
    value = eval(case["text"], {"np": np, "gc": gc, "v": scale * v, "W": W, "X": X, "t": t, "k": k})
    loss = gc.mean(value) if case["reduce"] == "mean" else np.sum(value)
    f = compile_grad(loss, [v, W], inputs=[X, t, k], allow_unused=True, **options)
    rows = {"X": random.normal(size=(n, 3)).astype(dtype), "t": random.normal(size=n).astype(dtype)}
    rows["k"] = random.integers(-3, 3, n)
    theta = random.normal(size=12)
    theta[:3] /= scale
    return Program(f, theta.astype(dtype), rows)


def judge(case: dict[str, Any]) -> str | None:
    """What differs though it must not."""
    try:
        whole = built(case)
        base = whole()
    except GradcompileError as error:
        return None if "does not depend" in str(error) or "constant" in str(error) else f"refused: {error}"
    for check in case["checks"]:
        for what, found, expected, tolerance in globals()[f"of_{check}"](case, whole, base):
            if not agree(found, expected, tolerance):
                return f"{what}: {found.tolist()} for {expected.tolist()}, tolerance {np.max(tolerance):.3g}"
    return None


def agree(found: np.ndarray, expected: np.ndarray, tolerance: Any) -> bool:
    """Whether two results are as near as they have to be: to the bit where the tolerance is 0."""
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    if np.ndim(tolerance) == 0 and tolerance == 0:
        signs = np.signbit(found) == np.signbit(expected)
        return bool(np.all(same & (signs | np.isnan(found))))
    with np.errstate(all="ignore"):
        return bool(np.all(same | (np.abs(found - expected) <= tolerance) | ~(np.asarray(tolerance) < LARGE)))


Differences = Iterator[tuple[str, np.ndarray, np.ndarray, Any]]


def rounding(case: dict[str, Any], program: Program) -> tuple[np.ndarray, Any]:
    """The loss and the gradient as a sum over single samples, and what rounding may change of it."""
    with np.errstate(all="ignore"):
        single = np.array([program(slice(i, i + 1)) for i in range(case["n"])], float)
        unit = ROUNDING * (2.0**29 if case["dtype"] == "float32" else 1.0)
        weight = case["n"] if case["reduce"] == "mean" else 1
        tolerance = unit * (np.abs(single).sum(0) / weight + np.abs(single).max() / weight)
    return single.sum(0) / weight, np.where(np.isnan(tolerance), np.inf, tolerance)


def of_order(case: dict[str, Any], program: Program, base: np.ndarray) -> Differences:
    """Samples in another order."""
    _, tolerance = rounding(case, program)
    yield "another order of samples", program(np.random.default_rng(case["n"]).permutation(case["n"])), base, tolerance


def of_parts(case: dict[str, Any], program: Program, base: np.ndarray) -> Differences:
    """Sums of single samples, and of two parts."""
    total, tolerance = rounding(case, program)
    yield "single samples", total, base, tolerance
    n, at = case["n"], case["n"] // 3
    if at:
        share = (at / n, 1 - at / n) if case["reduce"] == "mean" else (1.0, 1.0)
        with np.errstate(all="ignore"):
            yield "two parts", share[0] * program(slice(at)) + share[1] * program(slice(at, n)), base, tolerance


def of_names(case: dict[str, Any], program: Program, base: np.ndarray) -> Differences:
    """Other names, in the same order."""
    yield "other names", built(case, OTHER)(), base, 0


def of_threads(case: dict[str, Any], program: Program, base: np.ndarray) -> Differences:
    """Two threads, from the smallest pieces of work on."""
    many = case | {"n": 5000}
    alone = built(many, threads=1)()
    with mock.patch.multiple("gradcompile.runtime.share", WORTH=1.0, TASK=1.0, processors=lambda: 2):
        yield "two threads", built(many, threads=2)(), alone, 0


def of_text(case: dict[str, Any], program: Program, base: np.ndarray) -> Differences:
    """The text as plain Python; products of matrices are NumPy's there."""
    exact = " @ " not in program.f.source
    tolerance: Any = 0 if exact else rounding(case, program)[1]
    grad, scalar = np.empty_like(program.theta), program.theta.dtype.type
    with np.errstate(all="ignore"):
        rows = [program.rows[a.name] for a in program.f.problem.inputs]
        loss = plain(program.f.source)["kernel"](program.theta, grad, *rows)
    yield "the text as Python", np.array([scalar(loss), *grad], float), base, tolerance


def of_scaled(case: dict[str, Any], program: Program, base: np.ndarray) -> Differences:
    """A parameter that is written as 4 times another."""
    found, expected = built(case, scale=4)(), base.copy()
    expected[1 : 2 if case["kind"] == "sympy" else 4] *= 4
    yield "a scaled parameter", found, expected, 4 * rounding(case, program)[1]


def of_memory(case: dict[str, Any], program: Program, base: np.ndarray) -> Differences:
    """Compiled in memory, without the cache; and columns that lie among others."""
    yield "without a cache", built(case, cache=False)(), base, 0
    strided = {name: np.stack([v, v], 1)[:, 0] if v.ndim == 1 else v for name, v in program.rows.items()}
    yield "strided columns", program._replace(rows=strided)(), base, 0


SAVED = """
import importlib.util, sys
import numpy as np
spec = importlib.util.spec_from_file_location("saved", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["saved"] = module
spec.loader.exec_module(module)
given = np.load(sys.argv[2])
theta = given["theta"]
grad = np.empty_like(theta)
loss = module.kernel(theta, grad, *(given[f"row{k}"] for k in range(len(given.files) - 1)))
np.save(sys.argv[3], np.array([loss, *grad]))
"""


def of_saved(case: dict[str, Any], program: Program, base: np.ndarray) -> Differences:
    """A saved file in another process."""
    with tempfile.TemporaryDirectory() as folder:
        file, given, result = (str(Path(folder) / name) for name in ("loss.py", "given.npz", "result.npy"))
        program.f.save(file)
        rows = {f"row{k}": program.rows[a.name] for k, a in enumerate(program.f.problem.inputs)}
        np.savez(given, theta=program.theta, **rows)
        subprocess.run([sys.executable, "-c", SAVED, file, given, result], check=True, capture_output=True)
        yield "a saved file", np.load(result), base, 0


def applied(checks: Sequence[str], fault: Callable[[Program], Program], case: dict[str, Any]) -> str | None:
    """The verdict on a case whose programs have a fault: for the tests of this module."""
    right = built
    with mock.patch.dict(globals(), built=lambda case, *args, **options: fault(right(case, *args, **options))):
        return judge(case | {"checks": list(checks)})
