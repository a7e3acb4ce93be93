"""Sums over data on a real cluster of two processes: the bits of one call, whatever partitions and workers do."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import sympy as sp
from distributed import Client, LocalCluster

from gradcompile import (
    array,
    compile_grad,
    compile_hessian,
    compile_hvp,
    compile_jacobian,
    compile_many,
    compile_value,
    fit,
    minimize,
    optim,
    train,
)
from gradcompile.errors import ArgumentError, ArgumentTypeError, DataError, ExpressionError
from gradcompile.interop.dask import value_and_grad
from gradcompile.once import compiling

A, B, C, X, Y = sp.symbols("a b c x y")
RNG = np.random.default_rng(0)
SPANS = 21
ROWS = 1024 * SPANS - 5
T = RNG.uniform(0.0, 2.0, ROWS)
V = 2.0 * np.exp(-T) + 0.1 * RNG.normal(size=ROWS)
LOSS = (A * sp.exp(-B * X) + C - Y) ** 2


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    settings = {"dashboard_address": None, "threads_per_worker": 1}
    with LocalCluster(n_workers=2, **settings) as cluster, Client(cluster) as made:
        yield made


@pytest.fixture(scope="module")
def f() -> Any:
    return compile_grad(LOSS, [A, B], data=[X, Y])


@pytest.fixture(scope="module")
def expected(f: Any) -> Any:
    return f(1.5, 1.2, x=T, y=V, c=0.5)


def arrays(chunks: int, client: Client | None = None) -> dict[str, Any]:
    found = {"x": da.from_array(T, chunks=chunks), "y": da.from_array(V, chunks=chunks)}
    return found if client is None else dict(zip(found, client.persist([*found.values()]), strict=True))


@pytest.mark.parametrize("spans", [21, 11, 3])
def test_partitions_that_begin_with_a_group_have_the_bits_of_one_call(
    spans: int, client: Client, f: Any, expected: Any
) -> None:
    v = value_and_grad(f, arrays(1024 * spans, client))
    assert v(1.5, 1.2, c=0.5) == expected
    assert (v.group, v.samples, v.partitions) == (1024, ROWS, -(-SPANS // spans))
    assert v.shapes == {"a": (), "b": ()}


def test_every_kind_of_collection(client: Client, f: Any, expected: Any, tmp_path: Path) -> None:
    lazy = value_and_grad(f, {**arrays(4096), "c": 0.5})
    assert lazy(1.5, 1.2) == expected == lazy(a=1.5, b=1.2)
    frame = pd.DataFrame({"x": T, "y": V.astype("float32"), "who": "a"})
    many = value_and_grad(f, dd.from_pandas(frame, npartitions=18))
    one = f(1.5, 1.2, data=frame, c=0.5)
    np.testing.assert_allclose(np.hstack(many(1.5, 1.2, c=0.5)), np.hstack(one), rtol=1e-14)
    records = db.from_sequence([{"x": t, "y": v} for t, v in zip(T[:3000], V[:3000], strict=True)], npartitions=3)
    few = f(1.5, 1.2, x=T[:3000], y=V[:3000], c=0.5)
    np.testing.assert_allclose(np.hstack(value_and_grad(f, records)(1.5, 1.2, c=0.5)), np.hstack(few), rtol=1e-14)
    structured = np.rec.fromarrays([T, V], names="x,y")
    assert value_and_grad(f, da.from_array(structured, chunks=2048))(1.5, 1.2, c=0.5) == expected
    files = []
    for k, part in enumerate(np.split(structured, [7 * 1024, 14 * 1024])):
        files.append(tmp_path / f"{k}{['.npy', '.npz', '.parquet'][k]}")
        if k == 0:
            np.save(files[0], part)
        elif k == 1:
            np.savez(files[1], x=part["x"], y=part["y"])
        else:
            pd.DataFrame({"x": part["x"], "y": part["y"]}).to_parquet(files[2])
    assert value_and_grad(f, files)(1.5, 1.2, c=0.5) == expected


def test_every_result_of_one_size(client: Client) -> None:
    data = arrays(1024 * 5, client)
    theta, columns = (1.5, 1.2), {"x": T, "y": V, "c": 0.5}
    for compiled in (
        compile_hessian(LOSS, [A, B], data=[X, Y]),
        compile_hessian(LOSS, [A, B], data=[X, Y], gauss_newton=True),
        compile_many([LOSS, LOSS**2], [A, B], data=[X, Y]),
    ):
        found, whole = value_and_grad(compiled, data)(*theta, c=0.5), compiled(*theta, **columns)
        for one, other in zip(found, whole, strict=True):
            np.testing.assert_array_equal(one, other)
    product = compile_hvp(LOSS, [A, B], data=[X, Y])
    found = value_and_grad(product, data)(*theta, c=0.5, vector=[1.0, 2.0])
    np.testing.assert_array_equal(found[2], product(*theta, **columns, vector=[1.0, 2.0])[2])
    loss = compile_grad(LOSS, [A, B], data=[X, Y]).loss
    assert value_and_grad(loss, data)(*theta, c=0.5) == loss(*theta, **columns)


def test_losses_over_arrays_and_in_several_passes(client: Client) -> None:
    table = RNG.normal(size=(ROWS, 3))
    goal = table @ [1.0, 2.0, 3.0] + RNG.normal(size=ROWS)
    x, w, t, k = array("x", ("n", 3)), array("w", (3,)), array("t", ("n",)), array("k", ("n",), dtype="int64")
    scale = array("scale", ("m",))
    picks = RNG.integers(0, 4, ROWS)
    whole = {"x": table, "t": goal, "k": picks, "scale": np.arange(4.0)}
    f = compile_grad(np.sqrt(np.mean(((x @ w - t) * scale[k]) ** 2)), [w])
    found = []
    for chunks in (ROWS, 2048 * 4, 2048 * 3):
        data = {n: da.from_array(v, chunks=(chunks, 2)[: v.ndim]) for n, v in whole.items() if n != "scale"}
        v = value_and_grad(f, {**data, "scale": np.arange(4.0)})
        assert v.group == 2048
        found.append(np.hstack(v.flat([1.0, 2.0, 2.5])))
    np.testing.assert_allclose(found[0], np.hstack(f.flat([1.0, 2.0, 2.5], **whole)), rtol=1e-13)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    with pytest.raises(ArgumentError, match=r"k\[.*\] is 3; scale has 3 entries"):
        value_and_grad(f, {**data, "scale": np.arange(3.0)})([1.0, 2.0, 2.5])


def test_a_worker_that_is_killed_costs_its_work_and_nothing_else(client: Client, f: Any, expected: Any) -> None:
    v = value_and_grad(f, arrays(1024 * 2, client))
    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(lambda: [v(1.5, 1.2, c=0.5) for _ in range(12)])
        time.sleep(0.2)
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        assert calls.result() == [expected] * 12


def test_minimize_takes_it_in_place_of_a_loss(client: Client, f: Any) -> None:
    v = value_and_grad(f, {**arrays(1024 * 7, client), "c": 0.0})
    found, alone = minimize(v, [1.0, 1.0]), minimize(f, [1.0, 1.0], {"x": T, "y": V, "c": 0.0})
    assert found.x == alone.x and found.success
    fun = v.bind()
    assert fun.fun([1.5, 1.2]) == v.flat([1.5, 1.2])[0]
    nested = compile_grad(np.mean((array("u", "n") - (w := array("w"))) ** 2), {"of": {"w": w}})
    found = minimize(value_and_grad(nested, {"u": da.from_array(V, chunks=5000)}), {"of": {"w": 0.0}})
    assert found.x["of"]["w"] == pytest.approx(np.mean(V), rel=1e-9)


def locked(columns: Any) -> int:
    with compiling():
        return len(columns)


def test_workers_that_are_threads_compile_while_the_caller_waits(client: Client, f: Any) -> None:
    columns = {k: da.ones(4, chunks=2) for k in "xy"}
    kind = {"processes": False, "n_workers": 1, "dashboard_address": ":0"}
    with LocalCluster(**kind) as cluster, Client(cluster, set_as_default=False) as here:
        v = value_and_grad(f, columns, client=here)
        with compiling():
            assert v.each(locked) == [2, 2]


def test_training_takes_partitions_as_batches(client: Client, f: Any, tmp_path: Path) -> None:
    data = {"x": da.from_array(T, chunks=(3000, 0, 1000, ROWS - 4000)), "y": da.from_array(V, chunks=1024 * 3)}
    v = value_and_grad(f, {**data, "c": 0.5})
    options: dict[str, Any] = {"optimizer": optim.adam(0.05), "epochs": 3, "shuffle": False, "progress": False}

    def batches() -> Iterator[dict[str, Any]]:
        for first, last in ((0, 3000), (3000, 4000), (4000, ROWS)):
            yield {"x": T[first:last], "y": V[first:last], "c": 0.5}

    found, alone = train(v, [1.0, 1.0], validation=(), **options), train(f, [1.0, 1.0], batches, **options)
    assert found.params == pytest.approx(alone.params, rel=1e-12) and found.steps == alone.steps == 9
    assert found.history["validation"][-1] == pytest.approx(f.loss(*found.params, x=T, y=V, c=0.5), rel=1e-12)
    options |= {"shuffle": True, "checkpoint": tmp_path / "run.npz"}
    whole = train(v, [1.0, 1.0], **options)
    train(v, [1.0, 1.0], **options | {"epochs": 2})
    assert train(v, [1.0, 1.0], resume=True, **options).params == whole.params != found.params
    with pytest.raises(ArgumentError, match="each partition of the loss is a batch"):
        train(v, [1.0, 1.0], batch_size=10, **options)


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (lambda f: value_and_grad(f, {"x": T, "y": V}), ArgumentError, "no value of the mapping is a Dask array"),
        (lambda f: value_and_grad(f, T), ArgumentTypeError, "type ndarray; give a Dask array"),
        (lambda f: value_and_grad(f, []), ArgumentError, "is empty"),
        (lambda f: value_and_grad(len, arrays(2048)), ArgumentTypeError, "give what compile_grad"),
        (lambda f: value_and_grad(f, {"x": da.zeros(5), "y": da.zeros(6)}), ArgumentError, "different lengths"),
        (lambda f: value_and_grad(f, {"x": da.zeros(5)}), DataError, "no column 'y'"),
        (
            lambda f: value_and_grad(f, {"x": (u := da.zeros(5))[u > 0], "y": u[u > 0]}),
            ArgumentError,
            r"call its compute_chunk_sizes\(\) first",
        ),
        (lambda f: value_and_grad(f, da.zeros(5)), ArgumentError, "one array is given for x, y"),
        (lambda f: value_and_grad(f, db.from_sequence([1, 2])), ArgumentTypeError, "give records"),
        (lambda f: value_and_grad(f, {"x": da.zeros(0), "y": da.zeros(0)}), ArgumentError, "no samples"),
        (lambda f: value_and_grad(f, ["nowhere.npy"]), FileNotFoundError, "nowhere"),
        (lambda f: value_and_grad(compile_value(A * X, [A], data=[X]), {"x": da.zeros(5)}), ExpressionError, "sums"),
        (lambda f: value_and_grad(compile_grad(A**2, [A]), {"x": da.zeros(5)}), ExpressionError, "sums"),
        (lambda f: value_and_grad(compile_jacobian(A * X, [A], data=[X]), {"x": da.zeros(5)}), ExpressionError, "sums"),
        (
            lambda f: value_and_grad(
                compile_grad(np.mean(np.sort(array("u", ("n",)) * array("s", ()))), [array("s", ())]),
                {"u": da.zeros(5)},
            ),
            ExpressionError,
            "piece",
        ),
    ],
)
def test_what_can_not_be_summed_in_pieces_is_refused(
    made: Any, error: type[Exception], message: str, client: Client, f: Any
) -> None:
    with pytest.raises(error, match=message):
        made(f)


def test_a_fit_takes_a_collection_as_its_data(client: Client) -> None:
    model, start = "a*exp(-b*x) + c", {"a": 1, "b": 1, "c": 0}
    whole = {"x": T, "y": V, "s": np.full(ROWS, 0.1)}
    there = {n: da.from_array(v, chunks=4096) for n, v in whole.items()}
    found, alone = (fit(model, d, "y", start=start, sigma="s") for d in (there, whole))
    assert found.converged and found.params == alone.params and found.rows == ROWS
    for name in start:
        assert found.stderr[name] == pytest.approx(alone.stderr[name], rel=1e-9)
    assert found.r_squared == pytest.approx(alone.r_squared, rel=1e-9) and found.chi2 == alone.chi2
    np.testing.assert_array_equal(found.predict({"x": [1.0]}), alone.predict({"x": [1.0]}))
    for ask in (lambda: found.residuals, found.bootstrap):
        with pytest.raises(ArgumentError, match="on a cluster"):
            ask()
    with pytest.raises(ArgumentError, match="start: over a cluster"):
        fit(model, there, "y")
