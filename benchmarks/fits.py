"""Fits of curves against peers: `python -m benchmarks.fits [curve million bootstrap]`, `... starts DIRECTORY [COUNT]`.

The first three take turns in one process, warm, as `benchmarks.second` does. `starts` reads NIST's files (`Misra1a.dat`
and the like) from a directory, and counts how often the certified minimum is found from NIST's starts and from random
ones, each parameter times a log-normal number, by gradcompile and by SciPy's methods with the exact Jacobian.
"""

import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.second import Functions, measured
from gradcompile import compile_fit

RANDOM = 15  # starts of a data set
MODEL, NAMES = "a*exp(-b*x) + c", ["a", "b", "c"]


def curve(rows: int = 200) -> Functions:
    """Three parameters, 200 rows."""
    from scipy.optimize import curve_fit

    x = np.linspace(0.0, 4.0, rows)
    y = 2.5 * np.exp(-1.3 * x) + 0.5 + 0.05 * np.random.default_rng(0).normal(size=rows)
    fitter, data, start = compile_fit(MODEL, NAMES, target="y"), {"x": x, "y": y}, np.ones(3)

    def model(x: Any, a: Any, b: Any, c: Any) -> Any:
        return a * np.exp(-b * x) + c

    found: Functions = {"fitter": lambda: fitter(data, start=start).theta,
                        "curve_fit": lambda: curve_fit(model, x, y, p0=start)[0]}  # fmt: skip
    try:
        import lmfit
    except ImportError:
        return found
    peer = lmfit.Model(model)
    return {**found, "lmfit": lambda: list(peer.fit(y, x=x, a=1.0, b=1.0, c=1.0).best_values.values())}


def million(rows: int = 1_000_000) -> Functions:
    """Eight parameters, a million rows: two peaks on a slope."""
    x = np.linspace(0.0, 10.0, rows)
    text = "a*exp(-(x - b)**2/(2*c**2)) + d*exp(-(x - e)**2/(2*f**2)) + g*x + h"
    names = list("abcdefgh")
    truth = np.array([3.0, 3.0, 0.5, 2.0, 7.0, 0.8, 0.1, 1.0])

    def model(x: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
        return a * np.exp(-((x - b) ** 2) / (2 * c**2)) + d * np.exp(-((x - e) ** 2) / (2 * f**2)) + g * x + h

    y = model(x, *truth) + 0.1 * np.random.default_rng(0).normal(size=rows)
    fitter, start = compile_fit(text, names, target="y"), 1.1 * truth
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fitter({"x": x, "y": y}, start=start)
    print(f"{'million':16} memory beside the columns, compilation included: "
          f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.1f} MB")  # fmt: skip
    found: Functions = {"fitter": lambda: fitter({"x": x, "y": y}, start=start).theta}
    try:
        import lmfit
    except ImportError:
        return found
    peer = lmfit.Model(model)
    begin = dict(zip(names, start, strict=True))
    return {**found, "lmfit": lambda: list(peer.fit(y, x=x, **begin).best_values.values())}


def bootstrap() -> Functions:
    """A thousand fits of 200 rows drawn with replacement."""
    x = np.linspace(0.0, 4.0, 200)
    y = 2.5 * np.exp(-1.3 * x) + 0.5 + 0.05 * np.random.default_rng(0).normal(size=200)
    fit = compile_fit(MODEL, NAMES, target="y")({"x": x, "y": y}, start=np.ones(3))
    return {"bootstrap": lambda: fit.bootstrap(1000)}


def read(path: Path) -> dict[str, Any]:
    """A file of NIST's: model, parameters with starts, certified values and deviations, and the data."""
    lines = path.read_text("ascii", errors="replace").splitlines()
    found = [re.search(r"lines\s+(\d+) to\s+(\d+)", line) for line in lines[:12]]
    spans = [(int(m[1]) - 1, int(m[2])) for m in found if m]
    numbers = np.array([[float(v) for v in line.split("=")[1].split()] for line in lines[slice(*spans[0])]])
    data = np.array([[float(v) for v in line.split()] for line in lines[slice(*spans[-1])] if line.strip()])
    head = next(k for k, line in enumerate(lines) if line.startswith("Model"))
    stated = re.search(r"(log\[y\]|y)\s*=\s*(.*?)\+\s*e\b", " ".join(lines[head : spans[0][0] - 3]))
    assert stated is not None
    model = " ".join(stated[2].translate(str.maketrans("[]", "()")).replace("arctan", "atan").split())
    columns = ["x"] if data.shape[1] == 2 else [f"x{k}" for k in range(1, data.shape[1])]
    squares = re.search(r"Residual Sum of Squares:\s+(\S+)", "\n".join(lines))
    assert squares is not None
    return {"model": model, "target": "log(y)" if "log" in stated[1] else "y", "starts": numbers[:, :2].T, "certified": numbers[:, 2], "deviations": numbers[:, 3], "squares": float(squares[1]),
            "data": dict(zip(["y", *columns], map(np.ascontiguousarray, data.T), strict=True))}  # fmt: skip


def digits(found: Any, right: np.ndarray) -> float:
    """How many digits of all numbers are right."""
    with np.errstate(all="ignore"):
        return float(-np.log10(np.max(np.abs(np.asarray(found) - right) / np.abs(right)) + 1e-16))


def methods(case: dict[str, Any], fitter: Any, count: int) -> Iterator[tuple[str, Any]]:
    """Ours and SciPy's, each a function of a start that gives loss and evaluations."""
    from scipy.optimize import least_squares

    def ours(start: np.ndarray) -> tuple[float, int]:
        fit = fitter(case["data"], start=start, starts=count)
        return fit.loss, fit.evaluations

    yield "gradcompile", ours
    (sample,) = fitter.samples(case["data"])
    target = sample.target

    def residual(theta: np.ndarray) -> Any:
        return target - sample.objective.rows(sample.objective.prediction, theta, sample.columns, sample.rows)[0]

    def jacobian(theta: np.ndarray) -> Any:
        return -sample.objective.rows(sample.objective.prediction, theta, sample.columns, sample.rows)[1]

    for method in ("lm", "trf", "dogbox"):

        def peer(start: np.ndarray, method: str = method) -> tuple[float, int]:
            found = least_squares(residual, start, jac=jacobian, method=method, x_scale="jac", xtol=1e-14, ftol=1e-14,
                                  gtol=1e-14, max_nfev=5000 if method == "lm" else None)  # fmt: skip
            return 2 * found.cost, found.nfev

        yield method, peer


def starts(directory: str, count: int = 1) -> None:
    """How often the certified minimum is found."""
    random, certified = np.random.default_rng(0), [0, 0, 0]
    hits: dict[str, int] = {}
    evaluations: dict[str, list[int]] = {}
    for path in sorted(Path(directory).glob("*.dat")):
        case = read(path)
        fitter = compile_fit(case["model"], [f"b{k + 1}" for k in range(len(case["certified"]))], target=case["target"])
        for start in case["starts"]:
            fit = fitter(case["data"], start=start)
            right = digits(fit.theta, case["certified"])
            certified[0] += right >= 6
            certified[1] += right >= 8
            certified[2] += digits(list(fit.stderr.values()), case["deviations"]) >= 6
        factors = np.exp(random.normal(size=(RANDOM, len(case["certified"]))))
        for name, search in methods(case, fitter, count):
            for factor in factors:
                try:
                    loss, used = search(case["certified"] * factor)
                except (ValueError, np.linalg.LinAlgError):
                    continue
                hits[name] = hits.get(name, 0) + (loss < case["squares"] * (1 + 1e-6) + 1e-20)
                evaluations.setdefault(name, []).append(used)
    print(f"NIST's starts: estimates to 6 digits {certified[0]}, to 8 {certified[1]}; errors to 6 {certified[2]}")
    for name, found in hits.items():
        print(f"{name:16} finds the certified minimum {found:4} times, {np.mean(evaluations[name]):8.1f} evaluations")


CASES = {"curve": curve, "million": million, "bootstrap": bootstrap}


def main(arguments: list[str]) -> None:
    """Measure the cases and print a table of each."""
    if arguments[:1] == ["starts"]:
        starts(arguments[1], *map(int, arguments[2:]))
        return
    for name in arguments or CASES:
        first = None
        for what, least, middle in measured(CASES[name]()):
            first = first or middle
            times = f"{least * 1e6:12.1f} us least {middle * 1e6:12.1f} us median"
            print(f"{name:16} {what:14} {times} {middle / first:8.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
