"""Lines that users of NumPy and SciPy write, run on symbolic arrays: python -m tests.calls [--machine] [word ...]

Each line of calls.txt is run by NumPy and SciPy on numbers, and on symbolic arrays. It works if the value is NumPy's
and the derivative of the sum of squares along a random direction is that of differences; it is refused if the
package says why not, else it is wrong or a crash. SciPy's functions that do not take symbolic arrays are the package's
of the same name, if the error names those.
"""

import argparse
import importlib
import re
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import scipy

import gradcompile as gc
from gradcompile.analysis.evaluate import evaluate
from gradcompile.diff.reverse import vjp
from gradcompile.errors import GradcompileError
from gradcompile.frontend.arrays.core import Array, lift
from gradcompile.ir.core import Node

LINES = Path(__file__).with_name("calls.txt")
STEP = 1e-4
for _name in ("special", "linalg", "signal", "stats", "fft"):
    importlib.import_module(f"scipy.{_name}")


def numbers() -> dict[str, Any]:
    """The arguments of all lines."""
    rng = np.random.default_rng(7)
    M, F = rng.normal(size=(4, 4)), rng.normal(size=(4, 4))
    shapes = {"x": 5, "y": 5, "B": (3, 5), "T": (2, 3, 4), "b": 4, "t3": 3, "w3": 3}
    return {
        "s": np.float64(0.7), **{name: rng.normal(size=shape) for name, shape in shapes.items()}, "M": M,
        "S": F @ F.T + 4 * np.eye(4), "L": np.tril(F) + 3 * np.eye(4), "u": rng.uniform(0.1, 0.9, 5),
    }  # fmt: skip


GIVEN = numbers()
SYMBOLS = {name: gc.array(name, np.shape(v)) for name, v in GIVEN.items()}
LEAVES = {a.node: np.asarray(GIVEN[name]) for name, a in SYMBOLS.items()}
ALONG = {a.node: np.random.default_rng(3).normal(size=np.shape(GIVEN[name])) for name, a in SYMBOLS.items()}
ALONG[SYMBOLS["S"].node] = ALONG[SYMBOLS["S"].node] + ALONG[SYMBOLS["S"].node].T
ALONG[SYMBOLS["L"].node] = np.tril(ALONG[SYMBOLS["L"].node])


class Result(NamedTuple):
    """What became of a line."""

    line: str
    what: str
    why: str = ""


def lines() -> list[str]:
    """The lines of calls.txt."""
    return LINES.read_text("utf-8").splitlines()


def run(line: str, given: Mapping[str, Any], numpy: Any = np, sp: Any = scipy) -> Any:
    """What a line gives."""
    return eval(line, {"np": numpy, "sp": sp, "onp": np, **given})


def parts(value: Any) -> list[Any]:
    """The arrays in what a line gives, from left to right."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [Array(lift(value))] if any(isinstance(v, Array) for v in value.flat) else [value]
    if isinstance(value, tuple | list):
        return [p for v in value for p in parts(v)]
    return [value]


def is_counted(value: Any) -> bool:
    """Whether it has a part in the sum of squares."""
    return getattr(value, "dtype", np.asarray(value).dtype if not isinstance(value, Array) else None).kind in "fb"


def squares(given: Mapping[str, Any], line: str) -> float:
    """The sum of squares of a line's numbers."""
    with np.errstate(all="ignore"):
        found = [np.asarray(p) for p in parts(run(line, given))]
    return sum(float(np.sum(p.astype(float) ** 2)) for p in found if p.dtype.kind == "f")


def slope(line: str) -> float:
    """The derivative of the sum of squares along the direction, by differences of the sixth order."""

    def at(step: float) -> float:
        return squares({n: v + step * ALONG[SYMBOLS[n].node] for n, v in GIVEN.items()}, line)

    one, two, three = (at(k * STEP) - at(-k * STEP) for k in (1, 2, 3))
    return (45 * one - 9 * two + three) / (60 * STEP)


def symbolic(line: str) -> Any:
    """What a line gives of symbolic arrays; by the package's functions where SciPy's do not take them."""
    try:
        return run(line, SYMBOLS)
    except GradcompileError as error:
        named = re.search(r"write gradcompile\.(stats|special|linalg|signal|fft)\.", str(error))
        if named is None or not line.startswith("sp."):
            raise
    spaces = {name: importlib.import_module(f"gradcompile.{name}") for name in re.findall(r"\bsp\.(\w+)", line)}
    return run(line, SYMBOLS, sp=SimpleNamespace(**spaces))


def computed(nodes: Sequence[Node], machine: bool) -> list[Any]:
    """The numbers of nodes, by the interpreter or by machine code."""
    if not machine:
        return evaluate(nodes, LEAVES)
    f = gc.compile_value([Array(n) for n in nodes], (), inputs=list(SYMBOLS.values()), allow_unused=True)
    return list(f(*GIVEN.values()))


def compared(line: str, machine: bool) -> str:
    """What is wrong with a line's value and derivative; empty if nothing is."""
    got = parts(symbolic(line))
    with np.errstate(all="ignore"):
        want = parts(run(line, GIVEN))
    if len(got) != len(want):
        return f"{len(got)} results for {len(want)}"
    if not any(isinstance(g, Array) for g in got):
        return (
            ""
            if all(np.array_equal(g, w) if not callable(g) else True for g, w in zip(got, want, strict=True))
            else f"{got}"
        )
    nodes = [lift(g) for g in got]
    floats = [Array(n) for n in nodes if n.type.dtype.startswith("float")]
    loss = sum((np.sum(f * f) for f in floats), start=0.0)
    leaves = list(LEAVES)
    grads = vjp(loss.node, leaves) if floats else []
    values = computed([*nodes, *grads], machine)
    for v, w in zip(values, want, strict=False):
        if np.shape(v) != np.shape(w) or not np.allclose(
            np.asarray(v, float), np.asarray(w, float), rtol=1e-11, atol=1e-13, equal_nan=True
        ):
            return f"value {np.asarray(v).tolist()} for {np.asarray(w).tolist()}"
    if not floats:
        return ""
    found = sum(float(np.sum(g * ALONG[n])) for n, g in zip(leaves, values[len(nodes) :], strict=True))
    wanted = slope(line)
    rough = 2e-7 if all(f.dtype == np.float64 for f in floats) else 1e-2
    same = abs(found - wanted) <= rough * (1 + abs(wanted)) or (np.isnan(found) and np.isnan(wanted))
    return "" if same else f"slope {found} for {wanted}"


def tried(line: str, machine: bool = False) -> Result:
    """What becomes of a line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            why = compared(line, machine)
    except GradcompileError as error:
        return Result(line, "refused", str(error))
    except Exception as error:
        return Result(line, "crash", repr(error))
    return Result(line, "wrong" if why else "works", why)


def is_of_jax(line: str) -> bool:
    """Whether JAX takes a line under jit."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    for name in ("special", "linalg", "signal", "stats", "fft"):
        importlib.import_module(f"jax.scipy.{name}")
    for name in ("norm", "beta", "gamma", "laplace", "logistic", "poisson", "bernoulli", "multivariate_normal",
                 "dirichlet", "chi2", "pareto", "expon", "t", "cauchy", "uniform", "binom", "nbinom", "truncnorm",
                 "vonmises", "geom", "gennorm", "betabinom", "wrapcauchy", "gumbel_l", "gumbel_r"):  # fmt: skip
        importlib.import_module(f"jax.scipy.stats.{name}")
    try:
        jax.jit(lambda given: run(line, given, numpy=jnp, sp=jax.scipy))(GIVEN)
    except Exception:
        return False
    return True


def main() -> None:
    """Run the lines, and say what became of those that do not work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", action="store_true", help="by machine code, not by the interpreter")
    parser.add_argument("--jax", action="store_true", help="only lines that JAX takes under jit")
    parser.add_argument("--file", type=Path, default=LINES, help="other lines")
    parser.add_argument("words", nargs="*", help="only lines that have one of these in them")
    options = parser.parse_args()
    chosen = [line for line in options.file.read_text("utf-8").splitlines() if line and line[0] != "#"]
    chosen = [line for line in chosen if not options.words or any(w in line for w in options.words)]
    if options.jax:
        chosen = [line for line in chosen if is_of_jax(line)]
    results = [tried(line, options.machine) for line in chosen]
    for r in results:
        if r.what != "works":
            print(f"{r.what}: {r.line}\n    {r.why[:300]}")
    counts = Counter(r.what for r in results)
    print(f"{len(results)} lines: {dict(counts)}, {counts['works'] / max(len(results), 1):.1%} work")


if __name__ == "__main__":
    sys.exit(main())
