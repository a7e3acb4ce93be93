"""Runs of `train`: what they are fed with, what stops them, and that they go on as if nothing had."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
from scipy import sparse

import gradcompile as gc
from gradcompile import optim
from gradcompile.errors import ArgumentError, ArgumentTypeError, DataError, GradcompileError, TrainingError
from gradcompile.optim import orders, sources

a, b, x, y = sp.symbols("a b x y")
RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=103)
Y = 2.0 * X + 1.0 + 0.1 * RANDOM.normal(size=103)
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def line():
    return gc.compile_grad((a * x + b - y) ** 2, [a, b], data=[x, y])


def run(f, data=(X, Y), **options):
    options = {"optimizer": optim.adam(0.05), "epochs": 3, "batch_size": 10, "progress": False} | options
    return gc.train(f, [0.0, 0.0], list(data) if isinstance(data, tuple) else data, **options)


def bits(fit):
    return np.array(fit.params).tobytes(), {k: v.tobytes() for k, v in fit.history.items()}


# ---- what comes back


def test_the_history_has_an_entry_an_epoch_or_each_so_many_steps(line):
    fit = run(line, validation=[X[:20], Y[:20]])
    assert fit.history["step"].tolist() == [11, 22, 33] and fit.history["epoch"].tolist() == [1, 2, 3]
    assert set(fit.history) == {"step", "epoch", "loss", "grad_norm", "rate", "validation"}
    assert fit.history["validation"][-1] == pytest.approx(line.loss(*fit.params, X[:20], Y[:20]))
    seen = []
    fit = run(line, every=5, callback=seen.append)
    assert fit.history["step"].tolist() == [s.step for s in seen] == [5, 10, 15, 20, 25, 30]
    assert fit.params == run(line).params
    assert repr(fit).startswith("TrainingResult(3 epochs, 33 steps, loss ") and "\n" not in repr(fit)
    assert "grad_norm" in fit.summary() and "svg" in fit._repr_html_()


def test_patience_keeps_the_best_by_validation(line):
    rates = optim.piecewise_constant_schedule(0.05, {33: 40.0})  # from the fourth epoch on it goes astray
    fit = run(line, optimizer=optim.sgd(rates), epochs=50, validation=[X, Y], patience=4)
    best = int(np.argmin(fit.history["validation"]))
    assert fit.epochs == best + 5 < 50 and "validation" in fit.message
    assert line.loss(*fit.params, X, Y) == pytest.approx(fit.history["validation"][best])
    assert fit.params != fit.last_params


def test_a_rate_falls_on_a_plateau(line):
    fit = run(line, optimizer=optim.sgd(optim.reduce_on_plateau(0.1, factor=0.5, patience=3)), epochs=40)
    assert fit.history["rate"][0] == 0.1 and fit.history["rate"][-1] < 0.02


def test_a_callback_ends_a_run_and_its_parameters_are_copies(line):
    def stop(seen):
        seen.params[0] = 1e9
        return seen.epoch == 2

    fit = run(line, callback=stop)
    assert fit.epochs == 2 and fit.params == run(line, epochs=2).params and not fit.interrupted


def test_scalars_of_numpy_are_numbers_and_answers(line):
    assert run(line, callback=lambda seen: np.bool_(True)).epochs == 1
    assert gc.minimize(line, [0.0, 0.0], [X, Y], callback=lambda found: np.bool_(True)).nit == 1
    assert gc.minimize(line, [0.0, 0.0], [X, Y], limit=np.int64(50), tolerance=np.float32(1e-6)).success
    rule = optim.per_parameter(optim.accumulate(optim.adam(0.05), np.int64(2)), {b: np.float32(0.5)})
    same = optim.per_parameter(optim.accumulate(optim.adam(0.05), 2), {"b": 0.5})
    assert run(line, optimizer=rule).params == run(line, optimizer=same).params
    assert run(line, frozen=b).params == run(line, frozen=["b"]).params
    for wrong in (0.0, -1):
        with pytest.raises(ArgumentError, match="seed"):
            run(line, seed=wrong)


def test_numbers_at_the_edges(line):
    assert run(line, clip_norm=np.inf).params == run(line).params
    rates = list(np.linspace(0.1, 0.01, 33))
    assert run(line, optimizer=optim.sgd(lambda step: rates[step])).steps == 33
    wait = optim.reduce_on_plateau(optim.linear_schedule(0.1, 0.0, 66), patience=100)
    expected = run(line, optimizer=optim.sgd(optim.linear_schedule(0.1, 0.0, 66)))
    assert run(line, optimizer=optim.sgd(wait)).params == expected.params
    with pytest.raises(ArgumentError, match="step 0 has none that is finite"):
        run(line, optimizer=optim.sgd(optim.linear_schedule(np.nan, 0.0, 9)))
    with pytest.raises(TrainingError, match="step 1: its update is not finite") as caught:
        run(line, [1e3 * X, 1e3 * Y], optimizer=optim.sgd(1e308), epochs=1, batch_size=None)
    assert caught.value.result.steps == 1


def test_validation_of_a_sparse_input_and_of_a_loss_in_python():
    S, w, t = gc.sparse_array("S", ("n", 5)), gc.array("w", 5), gc.array("t", "n")
    f = gc.compile_grad(np.mean((S @ w - t) ** 2), [w], inputs=[S, t])
    matrix = sparse.random_array((40, 5), density=0.5, rng=1, format="csr")
    options = {"optimizer": optim.sgd(0.1), "epochs": 5, "progress": False}
    fit = gc.train(f, np.zeros(5), [matrix, X[:40]], validation=[matrix[:7], X[:7]], **options)
    assert fit.history["validation"][-1] == pytest.approx(np.mean((matrix[:7] @ fit.params - X[:7]) ** 2), rel=1e-13)

    def outside(a):
        return (a - 3.0) ** 2, {"a": 2.0 * (a - 3.0)}

    outside.shapes = {"a": ()}
    fit = gc.train(outside, [0.0], validation=(), **options)
    assert fit.history["validation"][-1] == (fit.params[0] - 3.0) ** 2
    with pytest.raises(ArgumentError, match="evaluated by Python, and has its data"):
        gc.train(outside, [0.0], [X], **options)


def test_frozen_parameters_stay_and_rates_are_multiplied(line):
    fit = run(line, frozen=["b"])
    assert fit.params[1] == 0.0 != fit.params[0]
    assert run(line, frozen=["b"], optimizer=optim.adamw(0.05, weight_decay=0.5)).params[1] == 0.0
    slow = run(line, optimizer=optim.per_parameter(optim.sgd(0.05), {"b": 0.5}), epochs=1, batch_size=None).params
    fast = run(line, optimizer=optim.sgd(0.05), epochs=1, batch_size=None).params
    assert slow == pytest.approx([fast[0], 0.5 * fast[1]], rel=1e-15)
    with pytest.raises(ArgumentTypeError, match="step 0 has None"):
        run(line, optimizer=optim.sgd(lambda step: None))
    with pytest.raises(ArgumentError, match="eps='x': give a number"):
        optim.adam(0.1, eps="x")
    assert run(line, callback=lambda seen: next(iter(()))).epochs == 1
    for wrong, words in ((["c"], "frozen holds c"), (3, "names of parameters")):
        with pytest.raises(ArgumentTypeError, match=words):
            run(line, frozen=wrong)
    deep = gc.compile_grad((a - 3) ** 2 + (b + 1) ** 2 + x**2, {"layer": {"w": a, "v": b}, "c": x})
    start, free = {"layer": {"w": 1.0, "v": 1.0}, "c": 1.0}, []
    for frozen, rates in ((["layer"], {"c": 1.0}), ([("layer", "w")], {"layer": {"v": 0.0}}), ([], {"layer": 0.0})):
        rule = optim.per_parameter(optim.sgd(0.1), rates)
        free.append(gc.train(deep, start, optimizer=rule, epochs=1, frozen=frozen, progress=False).params)
    assert free == [{"layer": {"w": 1.0, "v": 1.0}, "c": 0.8}] * 3


def test_accumulated_gradients_are_those_of_the_larger_batch(line):
    small = run(line, (X[:100], Y[:100]), optimizer=optim.accumulate(optim.adam(0.05), 5), batch_size=4, shuffle=False)
    large = run(line, (X[:100], Y[:100]), batch_size=20, shuffle=False)
    assert small.params == pytest.approx(large.params, rel=1e-12)


def test_an_average_of_the_parameters_is_what_comes_back(line):
    kept = []
    fit = run(line, optimizer=optim.average(optim.sgd(0.05), 0.999), batch_size=None, epochs=30)
    run(line, optimizer=optim.sgd(0.05), batch_size=None, epochs=30, callback=lambda s: kept.append(s.params) and None)
    assert fit.params == pytest.approx(np.mean([[0.0, 0.0], *kept], axis=0))


# ---- rules of one's own


def heavy_ball(updates, theta, state, h):
    """A rule in the subset."""
    decay = h[2]
    for k in range(updates.shape[0]):
        state[0, k] = decay * state[0, k] - h[0] * updates[k]
        updates[k] = state[0, k]


class HeavyBall:
    """The same in NumPy."""

    def init(self, theta):
        return {"m": np.zeros_like(theta), "count": 0}

    def update(self, grads, state, theta):
        m = 0.9 * state["m"] - 0.01 * grads
        return m, {"m": m, "count": state["count"] + 1}


def test_a_rule_of_ones_own_in_the_subset_and_in_numpy(line, tmp_path):
    expected = run(line, optimizer=optim.sgd(0.01, momentum=0.9)).params
    own = optim.rule(heavy_ball, learning_rate=0.01, hyper=[0.9], rows=1)
    assert run(line, optimizer=own).params == pytest.approx(expected, rel=1e-13)
    assert run(line, optimizer=HeavyBall()).params == pytest.approx(expected, rel=1e-13)
    path = tmp_path / "run.npz"
    run(line, epochs=2, optimizer=HeavyBall(), checkpoint=path)
    whole = run(line, optimizer=HeavyBall())
    assert bits(run(line, resume=True, optimizer=HeavyBall(), checkpoint=path)) == bits(whole)
    rules = optim.chain(optim.clip(1.0), own, optim.adam(optim.cosine_decay_schedule(0.1, 9)))
    shown = "rule(heavy_ball, learning_rate=0.01, hyper=[0.9], rows=1), adam(cosine_decay_schedule(0.1, 9)))"
    assert repr(pickle.loads(pickle.dumps(rules))) == f"chain(clip(1.0), {shown}"


# ---- data


def test_orders_are_permutations_without_a_pattern():
    for count in (2, 3, 10, 1000, 1025):
        assert sorted(orders.places(np.arange(6) + 3, count, 0, count)) == list(range(count))
    order = orders.Order(1_200_007, True, 0)
    rows = order.rows(0, 0, 1_200_007)
    assert np.array_equal(np.sort(rows), np.arange(1_200_007))
    assert np.array_equal(order.rows(0, 500, 30), rows[500:530]) and not np.array_equal(order.rows(1, 0, 30), rows[:30])
    scaled = rows / len(rows)
    table, _, _ = np.histogram2d(scaled[:-1], scaled[1:], bins=32)
    expected = (len(rows) - 1) / 1024
    assert abs(np.sum((table - expected) ** 2 / expected) - 1023) < 5 * np.sqrt(2 * 1023)  # pairs of neighbours
    places = np.histogram2d(np.arange(len(rows)) / len(rows), scaled, bins=32)[0]
    assert abs(np.sum((places - expected) ** 2 / expected) - 1023) < 5 * np.sqrt(2 * 1023)  # a sample and its place
    assert abs(np.corrcoef(scaled[:-1], scaled[1:])[0, 1]) < 5e-3
    assert abs(np.mean(rows == np.arange(len(rows))) * len(rows) - 1) < 6  # fixed points of a permutation


def test_files_are_read_where_they_lie_and_converted_batch_by_batch(line, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LARGE", 8)
    plain = run(line, (X.astype("f4").astype(float), Y), epochs=4)
    for name, column in {"x": X.astype("f4"), "wide": np.stack([X, X])}.items():
        np.save(tmp_path / f"{name}.npy", column)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert bits(run(line, (mapped, Y), epochs=4)) == bits(plain)
    strided = np.load(tmp_path / "wide.npy", mmap_mode="r").T[:, 0][::1]
    assert bits(run(line, (strided, Y[::-1][::-1]), epochs=4)) == bits(run(line, epochs=4))
    single = gc.compile_grad((a * x + b - y) ** 2, [a, b], data=[x, y], dtype="float32")
    with pytest.raises(GradcompileError, match="x has dtype float64, the function takes float32"):
        run(single, (X, Y))


def test_an_order_that_is_computed_serves_as_one_that_is_drawn(line, monkeypatch):
    monkeypatch.setattr(orders, "COMPUTED", 100)
    monkeypatch.setattr(sources, "WINDOW", 30)
    fit = run(line, epochs=4)
    monkeypatch.setattr(sources, "WINDOW", 1 << 16)
    assert bits(run(line, epochs=4)) == bits(fit) and fit.history["loss"][-1] < fit.history["loss"][0]


def batches(rows=10):
    return [(X[k : k + rows], Y[k : k + rows]) for k in range(0, 103, rows)]


class Again:
    """Something to iterate over, again and again."""

    def __iter__(self):
        return iter(batches())


def test_batches_from_whoever_gives_them(line, tmp_path):
    expected = run(line, shuffle=False)
    for data in (Again(), lambda: ({"x": u, "y": v} for u, v in batches())):
        fit = run(line, data, batch_size=None)
        assert fit.params == expected.params and np.allclose(fit.history["loss"], expected.history["loss"], rtol=1e-14)
        assert fit.history["step"].tolist() == [11, 22, 33] and fit.epochs == 3
    options = {"batch_size": None, "checkpoint": tmp_path / "run.npz", "every": 4}
    run(line, Again(), callback=lambda seen: seen.step == 16, **options)
    assert run(line, Again(), resume=True, **options).params == expected.params
    assert run(line, iter(batches()), epochs=1, batch_size=None).epochs == 1
    with pytest.raises(ArgumentError, match="iterator"):
        run(line, iter(batches()), batch_size=None)
    with pytest.raises(DataError, match="gives no batches"):
        run(line, lambda: iter(()), batch_size=None)
    with pytest.raises(ArgumentError, match="validation is an iterator"):
        run(line, validation=iter(batches()))
    with pytest.raises(DataError, match="validation gives no batches"):
        run(line, validation=lambda: ())


def test_a_batch_that_cannot_be_read_says_where(line):
    def torn():
        yield X[:10], Y[:10]
        raise OSError("disk on fire")

    with pytest.raises(DataError, match=r"step 2 \(epoch 1, batch 2\) can't be read: OSError: disk on fire") as caught:
        run(line, torn, batch_size=None)
    assert caught.value.result.params == run(line, lambda: iter(batches()[:1]), epochs=1, batch_size=None).params
    with pytest.raises(GradcompileError, match=r"step 2 \(epoch 1, batch 2\): x has 3 samples and y has 4"):
        run(line, lambda: iter([(X[:10], Y[:10]), (X[:3], Y[:4])]), batch_size=None)


def test_frames_and_files(line, tmp_path):
    expected = run(line)
    for library in ("pandas", "polars"):
        frame = pytest.importorskip(library).DataFrame({"y": Y, "x": X, "who": ["me"] * 103})
        assert bits(run(line, frame)) == bits(expected)
    pytest.importorskip("pyarrow")
    frame.write_parquet(tmp_path / "data.parquet", row_group_size=30)
    ordered = run(line, tmp_path / "data.parquet", shuffle=False)
    assert ordered.params == run(line, shuffle=False).params
    first, second = (run(line, [tmp_path / "data.parquet"], seed=s, epochs=30) for s in (0, 1))
    assert first.params == run(line, tmp_path / "data.parquet", epochs=30).params != second.params
    assert first.params == pytest.approx([2.0, 1.0], abs=0.1)
    frame.drop("x").write_parquet(tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no column 'x'"):
        run(line, tmp_path / "other.parquet")


def test_a_loader_of_torch(line, torch):
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    assert (
        run(line, torch.utils.data.DataLoader(data, batch_size=10), batch_size=None).params
        == run(line, shuffle=False).params
    )


def test_inputs_that_change_from_step_to_step(tmp_path):
    m, w, u = gc.array("m", ("n", 3)), gc.array("w", (3,)), gc.array("u", ("n", 3))
    f = gc.compile_grad(np.mean((u * m) @ w - 1.0) ** 2 + np.sum(w**2), [w], inputs=[u, m])
    data = [RANDOM.normal(size=(50, 3)), gc.random_mask((8, 3), keep=0.5, seed=3)]
    options = {"optimizer": optim.adam(0.1), "batch_size": 8, "progress": False}
    fit = gc.train(f, [np.ones(3)], data, epochs=4, **options)
    assert np.isfinite(fit.history["loss"]).all()
    gc.train(f, [np.ones(3)], data, epochs=2, checkpoint=tmp_path / "m.npz", **options)
    again = gc.train(f, [np.ones(3)], data, epochs=4, checkpoint=tmp_path / "m.npz", resume=True, **options)
    assert again.params[0].tobytes() == fit.params[0].tobytes()


def test_a_loss_that_python_evaluates():
    def v(p, q):
        return float(np.sum((p - 3.0) ** 2) + q**2), (2.0 * (p - 3.0), 2.0 * q)

    v.shapes = {"p": (2,), "q": ()}
    fit = gc.train(v, [np.zeros(2), 1.0], optimizer=optim.sgd(0.1), epochs=100, progress=False)
    assert fit.params[0] == pytest.approx([3.0, 3.0]) and fit.params[1] == pytest.approx(0.0, abs=1e-8)


# ---- what goes wrong


def test_what_is_not_finite_leaves_the_last_good_parameters(line):
    broken = Y.copy()
    broken[60] = np.nan
    with pytest.raises(TrainingError, match=r"step 7 \(epoch 1\)") as caught:
        run(line, (X, broken), shuffle=False)
    assert caught.value.result.params == run(line, (X[:60], Y[:60]), shuffle=False, epochs=1).params


def test_no_memory_is_named(line, monkeypatch):
    from gradcompile.optim.loop import Training

    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(Training, "run", fails)
    with pytest.raises(MemoryError, match=r"step 1 \(epoch 1, batch 1\): there is no memory for a batch") as caught:
        run(line)
    assert caught.value.result.params == [0.0, 0.0]


def test_ctrl_c_in_a_callback_and_in_a_batch(line, tmp_path):
    def press(seen):
        if seen.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    options = {"checkpoint": tmp_path / "run.npz"}
    fit = run(line, callback=press, **options)
    assert fit.interrupted and fit.epochs == 2 and fit.params == run(line, epochs=2).params
    assert bits(run(line, resume=True, **options)) == bits(run(line))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ---- checkpoints


MEAN = optim.accumulate(optim.average(optim.sgd(0.05, momentum=0.9)), 3)
RULES = [optim.adam(0.05), MEAN, optim.schedule_free_adamw(0.1)]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_run_goes_on_from_any_step_with_the_same_bits(line, tmp_path, rule):
    options = {"optimizer": rule, "epochs": 4, "validation": [X[:9], Y[:9]], "every": 7, "seed": 5}
    expected = bits(run(line, **options))
    for stop in (7, 14, 35):
        options["checkpoint"] = tmp_path / f"{stop}.npz"
        run(line, callback=lambda seen, stop=stop: seen.step == stop, **options)
        assert bits(run(line, resume=True, **options)) == expected
    assert bits(run(line, resume=True, **options)) == expected  # one that was at its end


def test_parameters_of_any_name_are_in_a_checkpoint(tmp_path):
    for names in (("theta", "state"), ("file", "about"), ("history_loss", "pair_0"), ("allow_pickle", "best")):
        p, q = sp.symbols(names)
        path = tmp_path / f"{names[0]}.npz"
        fit = run(gc.compile_grad((p * x + q - y) ** 2, [p, q], data=[x, y]), checkpoint=path)
        with np.load(path) as file:
            assert [float(file[name]) for name in names] == fit.params


def test_a_checkpoint_of_another_run_is_refused(line, tmp_path):
    path = tmp_path / "run.npz"
    run(line, checkpoint=path)
    assert np.load(path)[".theta"].shape == (2,) and float(np.load(path)["a"]) == run(line).params[0]
    other = gc.compile_grad((a * x + b - y) ** 4, [a, b], data=[x, y])
    with pytest.raises(ArgumentError, match="another loss"):
        run(other, checkpoint=path, resume=True)
    for change in ({"batch_size": 20}, {"seed": 3}, {"optimizer": optim.sgd(0.1)}, {"every": 2}):
        with pytest.raises(ArgumentError, match=f"checkpoint of {next(iter(change))}"):
            run(line, checkpoint=path, resume=True, **change)

    held = tmp_path / "held.npz"
    run(line, checkpoint=held, frozen=["a"])
    for change in ({}, {"frozen": ["b"]}):
        with pytest.raises(ArgumentError, match="checkpoint of frozen=\\['a'\\]"):
            run(line, checkpoint=held, resume=True, **change)
    with pytest.raises(ArgumentError, match="is a directory"):
        run(line, checkpoint=tmp_path)

    def rate(scale):
        return lambda step: scale / (1 + step)

    again, named = {"checkpoint": tmp_path / "rates.npz", "resume": True}, optim.sgd(rate(0.1))
    for same in (named, optim.sgd(rate(0.1))):
        assert bits(run(line, optimizer=same, **again)) == bits(run(line, optimizer=named))
    with pytest.raises(ArgumentError, match="another function of this name"):
        run(line, optimizer=optim.sgd(rate(0.2)), **again)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="no checkpoint"):
        run(line, checkpoint=path, resume=True)
    with pytest.raises(ArgumentError, match="resume"):
        run(line, resume=True)
    assert bits(run(line, checkpoint=tmp_path / "new.npz", resume=True)) == bits(run(line))


KILLED = """
import sys
import numpy as np
import gradcompile as gc
from gradcompile import optim

threads = int(sys.argv[2])
X, t = gc.array("X", ("n", 60)), gc.array("t", ("n",), dtype="int64")
W, c = gc.array("W", (60, 40)), gc.array("V", (40, 5))
f = gc.compile_grad(np.mean(gc.cross_entropy(np.maximum(X @ W, 0) @ c, t)), [W, c], inputs=[X, t], threads=threads)
random = np.random.default_rng(0)
data = [random.normal(size=(1000, 60)), random.integers(0, 5, 1000)]
start = [0.1*random.normal(size=(60, 40)), 0.1*random.normal(size=(40, 5))]
print("ready", flush=True)
fit = gc.train(f, start, data, optimizer=optim.adam(1e-3), epochs=100, batch_size=30, checkpoint=sys.argv[1],
               checkpoint_every=0.001, resume=True, progress=False, every=13)
print(fit.params[0].tobytes().hex()[:4000], fit.params[1].tobytes().hex(), fit.history["loss"].tobytes().hex())
"""


def test_a_run_that_was_killed_goes_on_with_the_same_bits(tmp_path):
    def begin(name, threads):
        command = [sys.executable, "-c", KILLED, str(tmp_path / name), str(threads)]
        found = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert found.stdout.readline() == "ready\n"
        return found

    expected = begin("whole.npz", 2).communicate()[0]
    random = np.random.default_rng(int(os.environ.get("KILLS", "0")))
    for k in range(int(os.environ.get("KILLS", "3"))):
        running = begin("killed.npz", 1 + k % 2)
        time.sleep(random.uniform(0.0, 0.4))
        running.send_signal(signal.SIGKILL)
        running.communicate()
    assert begin("killed.npz", 1).communicate()[0] == expected
