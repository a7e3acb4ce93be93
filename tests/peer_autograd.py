"""The test suite of HIPS/autograd, run on this package: python -m tests.peer_autograd

Its source distribution is fetched by pip, and its test files run as they are, each in a process of its own, where
`autograd` is an adapter: `autograd.numpy` is NumPy, and `check_grads` gives the tested function symbolic arrays,
compiles a weighted sum of what it returns, and compares value and gradient with NumPy and with differences. A check is
right, refused (an error of the package), wrong, or a crash (any other error); the status is 1 if one is wrong or a
crash. Tests of what only autograd has (its tracer, its vector spaces) are left out.
"""

import argparse
import builtins
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import gradcompile as gc
from gradcompile.diff import reverse
from gradcompile.frontend.arrays.core import Array, Own
from gradcompile.ir.graph import substitute

PACKAGE = "autograd==1.9.1"
LEFT_OUT = {"test_core", "test_vspaces", "test_performance", "test_tests", "test_direct"}  # of autograd itself
OF_WRAPPERS = {"test_custom_where", "test_custom_where_dtypes", "test_wrapped_name_and_docs"}  # of its NumPy's
LIMIT = 1800  # seconds for a file
ROOT = Path(__file__).resolve().parent.parent
STEPS = 1e-5, 1e-7  # of a difference; the second where a kink lies within the first
VALUE, GRADIENT = 1e-9, 2e-6  # relative errors; of a central difference with those steps

found: list[dict[str, str]] = []  # what checks of this process have given
names = map("p{}".format, count())


class NotOurs(Exception):
    """A test of something that only autograd has."""


# ---- trees: numbers and arrays in lists, tuples and dicts


def leaves(tree: Any) -> Iterator[Any]:
    """What stands in a tree, from left to right."""
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if not isinstance(tree, list | tuple):
        yield tree
        return
    for part in tree:
        yield from leaves(part)


def rebuilt(tree: Any, values: Iterator[Any]) -> Any:
    """The tree with other leaves."""
    if isinstance(tree, Mapping):
        return {key: rebuilt(part, values) for key, part in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)([rebuilt(part, values) for part in tree])
    return next(values)


def float_of(x: Any) -> str:
    """The precision that a number is computed in."""
    dtype = np.asarray(x).dtype
    return dtype.name if dtype.kind == "f" else "float64"


def is_complex(tree: Any) -> bool:
    """Whether a number in it is complex."""
    return any(np.iscomplexobj(x) for x in leaves(tree) if not isinstance(x, Array))


def numbers(tree: Any) -> list[np.ndarray]:
    """The leaves as arrays of floats; of a complex one its real and its imaginary part."""
    return [np.asarray(x, float) for leaf in leaves(tree) for x in parts(leaf, np.iscomplexobj(leaf))]


def parts(x: Any, is_pair: bool) -> list[Any]:
    """A number or a symbolic array, or its two parts."""
    return [np.real(x), np.imag(x)] if is_pair else [x]


def put_together(tree: Any, values: Iterator[Any]) -> Any:
    """The tree with other leaves, those of complex ones made of two parts."""
    made = [next(values) + 1j * next(values) if np.iscomplexobj(x) else next(values) for x in leaves(tree)]
    return rebuilt(tree, iter(made))


# ---- one check


def symbols_for(values: Sequence[np.ndarray]) -> list[Array]:
    """A symbolic array for each."""
    return [gc.array(next(names), v.shape) for v in values]


def checked(f: Callable[[Any], Any], at: Any) -> str:
    """What is wrong with a function of one tree at a point; empty if it is right."""
    given, rng = numbers(at), np.random.default_rng(0)
    with np.errstate(all="ignore"):
        known = f(at)
        want = numbers(known)
        weights = [rng.uniform(0.5, 1.5, w.shape) for w in want]
        directions = [rng.uniform(0.5, 1.5, v.shape) * rng.choice([-1.0, 1.0], v.shape) for v in given]

        def along(step: float) -> float:
            moved = f(put_together(at, iter([v + step * d for v, d in zip(given, directions, strict=True)])))
            return sum(float(np.sum(w * m)) for w, m in zip(weights, numbers(moved), strict=True))

        differences = [(along(h) - along(-h)) / (2 * h) for h in STEPS]
    params = symbols_for(given)
    found = list(leaves(f(put_together(at, iter(params)))))
    pairs = zip(found, leaves(known), strict=True)
    out = [x for own, right in pairs for x in parts(own, np.iscomplexobj(right))]
    shapes = [np.shape(x) for x in out], [w.shape for w in want]
    if shapes[0] != shapes[1]:
        return f"shapes {shapes[0]} for {shapes[1]}"
    loss = sum(np.sum(w * x) for w, x in zip(weights, out, strict=True))
    if isinstance(loss, Array):
        value, grads = gc.compile_grad(loss, params, cache=False, allow_unused=True)(*given)
    else:
        value, grads = loss, [np.zeros_like(v) for v in given]
    right = sum(float(np.sum(w * x)) for w, x in zip(weights, want, strict=True))
    size = sum(float(np.sum(np.abs(w * x))) for w, x in zip(weights, want, strict=True))
    slope = sum(float(np.sum(g * d)) for g, d in zip(grads, directions, strict=True))
    if not near(value, right, VALUE * max(1.0, size)):
        return f"value {value} for {right}"
    if not any(near(slope, d, GRADIENT * max(1.0, abs(d), size)) for d in differences):
        return f"derivative {slope} for {differences[0]}"
    return ""


def near(x: float, y: float, tolerance: float) -> bool:
    """Whether two numbers agree; NaN agrees with NaN."""
    return bool(x == y or abs(x - y) <= tolerance or (np.isnan(x) and np.isnan(y)))


def check_grads(f: Callable[..., Any], argnum: Any = 0, modes: Any = None, order: int = 2) -> Callable[..., None]:
    """What autograd's tests call; it notes what is wrong and goes on."""

    def check(*args: Any, **options: Any) -> None:
        at = args[argnum] if isinstance(argnum, int) else tuple(args[k] for k in argnum)

        def of(tree: Any) -> Any:
            places = {argnum: tree} if isinstance(argnum, int) else dict(zip(argnum, tree, strict=True))
            return f(*(places.get(k, x) for k, x in enumerate(args)), **options)

        try:
            with np.errstate(all="ignore"):
                of(at)
        except Exception as error:
            raise NotOurs(f"NumPy fails: {error}") from error
        try:
            wrong = checked(of, at)
        except NotOurs:
            raise
        except gc.GradcompileError as error:
            note("refused", str(error))
        except Exception as error:
            note("refused" if is_ours(error) else "crash", f"{type(error).__name__}: {error}")
        else:
            note("wrong" if wrong else "right", f"{getattr(f, '__name__', f)}: {wrong}" if wrong else "")

    return check


def is_ours(error: BaseException) -> bool:
    """Whether it is the package that says that an array has no such attribute."""
    return isinstance(error, AttributeError) and "array has no attribute" in str(error)


def note(what: str, why: str) -> None:
    """Keep the result of a check."""
    found.append({"what": what, "why": why.partition(" (at ")[0][:300]})


def combo_check(f: Callable[..., Any], *args: Any, **options: Any) -> Callable[..., None]:
    """A check for each combination of arguments and of keywords."""
    check = check_grads(f, *args, **options)

    def all_of(*args: Any, **keywords: Any) -> None:
        for given in product(*args):
            for chosen in product(*keywords.values()):
                check(*given, **dict(zip(keywords, chosen, strict=True)))

    return all_of


def check_equivalent(x: Any, y: Any) -> None:
    """Two trees are alike."""
    for a, b in zip(numbers(x), numbers(y), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


# ---- derivatives that the tests ask for themselves


def derived(make: Callable[[Any, list[Array]], Any], f: Callable[..., Any], argnum: Any) -> Callable[..., Any]:
    """A function of f's arguments that gives what `make` makes of f's value and of the arrays it depends on."""

    def derivative(*args: Any, **options: Any) -> Any:
        at = args[argnum] if isinstance(argnum, int) else tuple(args[k] for k in argnum)
        if is_complex(list(leaves(at))):
            raise NotOurs("complex numbers")
        inside = [x if isinstance(x, Array) else np.asarray(x, float_of(x)) for x in leaves(at)]
        params = [gc.array(next(names), x.shape, x.dtype) for x in inside]
        tree = rebuilt(at, iter(params))
        places = {argnum: tree} if isinstance(argnum, int) else dict(zip(argnum, tree, strict=True))
        results = make(f(*(places.get(k, x) for k, x in enumerate(args)), **options), params)
        single = not isinstance(results, list)
        results = [results] if single else results
        symbolic = any(isinstance(x, Array) for x in leaves(args))
        values = {p.node: x.node for p, x in zip(params, inside, strict=True) if isinstance(x, Array)}
        if symbolic and len(values) < len(params):
            raise NotOurs("numbers beside symbols")
        settled = [
            Array(substitute([r.node], values)[0]) if symbolic else gc.compile_value(r, params, cache=False,
                                                                                    allow_unused=True)(*inside)
            for r in results
        ]  # fmt: skip
        return settled[0] if single else rebuilt(at, iter(settled))

    return derivative


def pulled(out: Any, params: list[Array], elementwise: bool = False) -> list[Array]:
    """The gradient of a number, or of the sum of entries."""
    if not isinstance(out, Array):
        raise NotOurs("a value that does not depend on its arguments")
    total = np.sum(out) if elementwise else out
    if total.size != 1:
        raise NotOurs("the gradient of an array")
    return [Array(n) for n in reverse.vjp(np.sum(total).node, [p.node for p in params])]


def rows_of(out: Any, params: list[Array]) -> Array:
    """The Jacobian."""
    if not isinstance(out, Array) or len(params) != 1:
        raise NotOurs("a Jacobian in more than one array")
    rows = [pulled(out[index], params)[0] for index in np.ndindex(out.shape)]
    return np.reshape(np.stack(rows), (*out.shape, *params[0].shape))


def grad(f: Callable[..., Any], argnum: Any = 0) -> Callable[..., Any]:
    """The gradient in an argument, or in several."""
    return derived(pulled, f, argnum)


def elementwise_grad(f: Callable[..., Any], argnum: Any = 0) -> Callable[..., Any]:
    """The derivative of each entry in the entry it is made of."""
    return derived(lambda out, params: pulled(out, params, True), f, argnum)


def jacobian(f: Callable[..., Any], argnum: int = 0) -> Callable[..., Any]:
    """All derivatives of all entries."""
    return derived(rows_of, f, argnum)


def value_and_grad(f: Callable[..., Any], argnum: Any = 0) -> Callable[..., Any]:
    """Both."""
    return lambda *args, **options: (f(*args, **options), grad(f, argnum)(*args, **options))


# ---- the adapter


class Adapter(ModuleType):
    """A module that has what is set, what another module has, and else functions that are not ours."""

    def __init__(self, name: str, behind: Any = None, **own: Any) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.behind = behind
        self.__dict__.update(own)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self.behind is not None:
            return getattr(self.behind, name)

        def missing(*_: Any, **__: Any) -> Any:
            raise NotOurs(f"{self.__name__}.{name}")

        return missing


def stacked(given: Any, *args: Any, **options: Any) -> Any:
    """numpy.array, which can't make an array of symbolic ones."""
    if isinstance(given, Array) or not any(isinstance(x, Array) for x in leaves(given)):
        return given if isinstance(given, Array) else np.array(given, *args, **options)
    return np.stack([stacked(x) if not isinstance(x, Array) else x for x in given])


class Either:
    """A function of SciPy, or something that has some: of symbolic arrays the package's own of the same name."""

    def __init__(self, theirs: Any, ours: Any) -> None:
        self.theirs, self.ours, self.__name__ = theirs, ours, getattr(theirs, "__name__", "")
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        theirs, ours = getattr(self.theirs, name), getattr(self.ours, name, None)
        return theirs if ours is None or name.startswith("__") else Either(theirs, ours)

    def __call__(self, *args: Any, **options: Any) -> Any:
        is_symbolic = any(isinstance(x, Array | Own) for x in leaves([args, options]))
        return (self.ours if is_symbolic else self.theirs)(*args, **options)


def eigh(a: Any, UPLO: str = "L") -> Any:
    """NumPy's, with vectors of the package's sign: that of LAPACK depends on its build."""
    a = (a + np.swapaxes(a, -1, -2)) / 2  # differences move all entries, and the derivative is of both triangles
    values, vectors = np.linalg.eigh(a, UPLO)
    if isinstance(a, Array):
        return values, vectors
    largest = np.argmax(np.abs(vectors), axis=-2, keepdims=True)
    return values, np.where(np.take_along_axis(vectors, largest, axis=-2).real < 0, -vectors, vectors)


def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """NumPy's, with vectors of the package's sign."""
    found = np.linalg.svd(a, full_matrices, compute_uv)
    if isinstance(a, Array) or not compute_uv:
        return found
    u, s, vh = found
    k = s.shape[-1]
    largest = np.argmax(np.abs(u[..., :k]), axis=-2, keepdims=True)
    sign = np.where(np.take_along_axis(u[..., :k], largest, axis=-2) < 0, -1.0, 1.0)
    return u[..., :k] * sign, s, vh[..., :k, :] * np.swapaxes(sign, -1, -2)


def partition(a: Any, kth: int, axis: int | None = -1) -> Any:
    """NumPy's, with each side in rising order as the package's has it: NumPy leaves that open."""
    found = np.partition(a, kth, axis)
    return found if isinstance(a, Array) else np.sort(found, axis)


def install() -> None:
    """Put the adapter in autograd's place."""
    import scipy.integrate
    import scipy.linalg
    import scipy.signal
    import scipy.special
    import scipy.stats

    special, stats = Either(scipy.special, gc.special), Either(scipy.stats, gc.stats)
    signal, algebra = Either(scipy.signal, gc.signal), Either(scipy.linalg, gc.linalg)
    scipy_ = Adapter("scipy", scipy, special=special, linalg=algebra, stats=stats, signal=signal,
                     integrate=scipy.integrate)  # fmt: skip
    linalg = Adapter("linalg", np.linalg, eigh=eigh, svd=svd)
    numpy_ = Adapter("numpy", np, array=stacked, random=np.random, linalg=linalg, fft=np.fft,
                     partition=partition)  # fmt: skip
    util = Adapter("test_util", check_grads=check_grads, combo_check=combo_check, check_equivalent=check_equivalent)
    own = Adapter("builtins", builtins)
    top = Adapter("autograd", grad=grad, elementwise_grad=elementwise_grad, jacobian=jacobian, test_util=util,
                  value_and_grad=value_and_grad, numpy=numpy_, scipy=scipy_, builtins=own, tuple=tuple, list=list,
                  dict=dict, deriv=elementwise_grad, hessian=lambda f, k=0: jacobian(jacobian(f, k), k))  # fmt: skip
    modules = {"": top, "numpy": numpy_, "numpy.random": np.random, "numpy.linalg": linalg, "numpy.fft": np.fft,
               "scipy": scipy_, "scipy.special": special, "scipy.stats": stats, "scipy.linalg": algebra,
               "scipy.signal": signal, "scipy.integrate": scipy.integrate, "test_util": util, "builtins": own,
               "scipy.stats.multivariate_normal": stats.multivariate_normal}  # fmt: skip
    for name in ("core", "extend", "tracer", "util", "differential_operators", "misc", "misc.flatten", "wrap_util",
                 "misc.optimizers", "misc.fixed_points", "misc.tracers", "numpy.numpy_vspaces",
                 "numpy.numpy_boxes"):  # fmt: skip
        modules[name] = Adapter(name)
    sys.modules |= {f"autograd.{name}".rstrip("."): module for name, module in modules.items()}


class Recorder:
    """A plugin of pytest that notes tests that end by themselves."""

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: Any) -> Any:
        """Note how the test ended."""
        before = len(found)
        result = yield
        error = result.excinfo[1] if result.excinfo else None
        if error is None:
            if len(found) == before:
                note("right", "")
        elif isinstance(error, gc.GradcompileError) or is_ours(error):
            note("refused", str(error))
        elif item.originalname in OF_WRAPPERS or isinstance(error, NotOurs | pytest.fail.Exception):
            note("not ours", repr(error))  # where pytest says that it failed, it expects one of autograd's errors
        elif isinstance(error, AssertionError):
            note("wrong", f"{type(error).__name__}: {error}")
        else:
            files = {Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)}
            ours = any(file.is_relative_to(ROOT / "gradcompile") for file in files)
            note("crash" if ours else "not ours", repr(error))
        result.force_result(None)
        for entry in found[before:]:
            entry["test"] = item.nodeid


def run_here(path: Path, report: Path) -> None:
    """Run a file of tests in this process, and write what is found."""
    install()
    options = ["-q", "-x", "--import-mode=prepend", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir"]
    pytest.main([*options, str(path.parent), str(path)], plugins=[Recorder()])
    report.write_text(json.dumps(found), "utf-8")


def run_apart(path: Path, plant: str, plain: bool) -> list[dict[str, str]]:
    """Run a file of tests in a process of its own, whose end is a crash of its own."""
    environment = os.environ | ({"NUMBA_DISABLE_JIT": "1"} if plain else {}) | {"OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "tests.peer_autograd", "--file", str(path), "--report", str(report)]
        command += ["--plant", plant] if plant else []
        options: dict[str, Any] = {"cwd": ROOT, "env": environment, "timeout": LIMIT}
        done = subprocess.run(command, capture_output=True, text=True, **options)
        if report.exists() and done.returncode == 0:
            return list(json.loads(report.read_text("utf-8")))
        return [{"what": "crash", "why": (done.stdout + done.stderr)[-500:], "test": path.name}]


def fetched(folder: Path) -> Path:
    """The tests of autograd's source distribution."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", PACKAGE.partition("=")[0]]
    subprocess.run([*command, "--dest", str(folder), PACKAGE], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return next(folder.glob("*/tests"))


def planted(name: str) -> None:
    """Double the derivatives of an op: a fault that has to be found."""
    from dataclasses import replace

    from gradcompile.ir.core import OPS

    op = OPS[name]
    partials = op.partials
    assert partials is not None
    OPS[name] = replace(op, partials=lambda *given: [twice(p) for p in partials(*given)])


def twice(n: Any) -> Any:
    """A node, doubled."""
    from gradcompile.ir.core import apply

    return apply("add", n, n)


def main(argv: list[str] | None = None) -> int:
    """Run the suite; the status is 1 if something is wrong or crashes."""
    parser = argparse.ArgumentParser(prog="python -m tests.peer_autograd", description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, help="a folder of tests in place of the one that is fetched")
    parser.add_argument("--only", default="", help="files whose names have this in them")
    parser.add_argument("--refused", action="store_true", help="also say what is refused, and why")
    parser.add_argument("--plain", action="store_true", help="as plain Python, without machine code: much quicker")
    parser.add_argument("--plant", default="", help="an op whose derivative is doubled, to see that it is found")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.file:
        if options.plant:
            planted(options.plant)
        run_here(options.file, options.report)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        source = options.source or fetched(Path(folder))
        files = [p for p in sorted(source.glob("test_*.py")) if p.stem not in LEFT_OUT and options.only in p.stem]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            runs = pool.map(lambda path: run_apart(path, options.plant, options.plain), files)
            results = [entry for run in runs for entry in run]
    shown = {"wrong", "crash"} | ({"refused", "not ours"} if options.refused else set())
    for entry in results:
        if entry["what"] in shown:
            print(f"{entry['what']}: {entry.get('test', '')}: {entry['why']}")
    counts = Counter(entry["what"] for entry in results)
    kinds = ("right", "refused", "wrong", "crash")
    print(f"{sum(counts[k] for k in kinds)} checks: " + ", ".join(f"{counts[k]} {k}" for k in kinds)
          + f"; {counts['not ours']} tests are of autograd alone")  # fmt: skip
    return int(bool(counts["wrong"] or counts["crash"]) or not counts["right"])


if __name__ == "__main__":
    sys.exit(main())
