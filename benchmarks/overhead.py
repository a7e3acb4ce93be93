"""Call overhead, as ratios of one run, and the time to the first result in a fresh process.

Run it with: python benchmarks/overhead.py
The unit of the calls is a bare Numba dispatch, an @njit function of one float. The unit of the first results is what
importing sympy and numba takes; what comes on top is printed.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import timeit

FIRST = """
import json, sys, time
start = time.perf_counter()
import numba, sympy
imported = time.perf_counter()
if len(sys.argv) > 1:
    import numpy as np
    from gradcompile import compile_grad
    a, b, c, x, y = sympy.symbols("a b c x y")
    f = compile_grad((a*sympy.exp(-b*x) + c - y)**2, [a, b, c], data=[x, y])
    f(1.0, 2.0, 0.5, np.linspace(0.0, 1.0, 100), np.ones(100))
print(json.dumps([imported - start, time.perf_counter() - imported]))
"""


def ratio(call: str, names: dict[str, object]) -> tuple[float, float]:
    """The time of a call in bare dispatches, the median of short rounds that take turns, and a dispatch in seconds."""
    count = 2_000
    rounds = [[timeit.timeit(c, globals=names, number=count) for c in (call, "bare(1.0)")] for _ in range(300)]
    return statistics.median(time / unit for time, unit in rounds), min(unit for _, unit in rounds) / count


def calls() -> None:
    """Calls of a two-parameter loss against a bare dispatch."""
    import numba
    import numpy as np
    import sympy as sp

    from gradcompile import compile_grad

    a, b, x, y = sp.symbols("a b x y")
    f = compile_grad((1 - a) ** 2 + 100 * (b - a**2) ** 2, [a, b])
    g = compile_grad((a * x + b - y) ** 2, [a, b], inputs=[x, y])
    bare = numba.njit(lambda value: 2.0 * value)
    theta, out = np.array([1.0, 2.0]), np.empty(2)
    names = {"f": f, "g": g, "fun": f.bind(), "gun": g.bind(3.0, 4.0), "theta": theta, "out": out, "bare": bare}
    names["kernel"] = f.kernel
    print(f"a bare dispatch: {ratio('bare(1.0)', names)[1] * 1e6:.3f} us; in units of it:")
    rows = [("f(a, b)", "f(1.0, 2.0)", "4"), ("f(a, b, x, y)", "g(1.0, 2.0, 3.0, 4.0)", "4"),
            ("f(1, 2), integers", "f(1, 2)", ""), ("f.bind()(theta)", "fun(theta)", "3"),
            ("f.bind(x, y)(theta)", "gun(theta)", "3"), ("f.bind()(theta, out=out)", "fun(theta, out=out)", "1.5"),
            ("f.kernel(theta, out)", "kernel(theta, out)", "")]  # fmt: skip
    for title, call, goal in rows:
        eval(call, names)  # compiled, before the clock runs
        print(f"  {title:28s} {ratio(call, names)[0]:5.2f}   {f'goal {goal}' if goal else ''}")


def first_results() -> None:
    """The first result of a per-sample loss in a fresh process, compiled and from the disk cache."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "GRADCOMPILE_CACHE_DIR": directory}
        environment.pop("NUMBA_CACHE_DIR", None)

        def fresh(*argument: str) -> list[float]:
            command = [sys.executable, "-c", FIRST, *argument]
            output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            return list(json.loads(output))

        fresh()  # the files of sympy and numba are in memory from here on
        print(f"importing sympy and numba: {fresh()[0]:.2f} s; on top of it, to the first result:")
        print(f"  compiled           {fresh('run')[1]:.2f} s   goal 1.5")
        print(f"  from the cache     {min(fresh('run')[1] for _ in range(3)):.2f} s   goal 0.5")


if __name__ == "__main__":
    began = time.perf_counter()
    calls()
    first_results()
    print(f"{time.perf_counter() - began:.0f} s in all")
