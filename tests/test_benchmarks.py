"""The benchmark suite runs, compares results, and says what is late, missing, failed or different. Nothing is timed."""

import contextlib
import dataclasses
import json
import time

import numpy as np
import pytest

from benchmarks import against, harness, measure, peers, report
from benchmarks.__main__ import arguments, main
from benchmarks.measure import Result
from benchmarks.record import OURS, Reach, Runner, Workload, faster, sooner
from benchmarks.workloads import ALL, large, samples


def made_up(peer, run, first=1.0, gradient=(1.0, 2.0), **others):
    return Result("tiny", peer, first=[first], rounds=[run], loss=1.0, gradient=list(gradient), **others)


@pytest.fixture
def tiny():
    reaches = [faster("slow", 3), sooner("slow", 2), Reach("memory", 50e6)]
    return Workload("tiny", "a tiny workload", large.chain, large.normal, 3, 3, {OURS: peers.ours}, reaches, limit=60.0)


def reach_rows(workload, *results):
    return [report.reach_row(workload, reach, {r.peer: r for r in results})[3:] for reach in workload.reaches]


def test_ours_and_numpy_run_and_agree():
    chosen = [ALL["rosenbrock"], ALL["curve"]]
    told = []
    results = harness.run_all(chosen, [OURS, "numpy"], quick=True, passes=1, tell=told.append)
    assert [(r.workload, r.peer, r.status) for r in results] == [
        (w.name, peer, "ok") for w in chosen for peer in (OURS, "numpy")
    ]
    assert told == results
    assert not report.disagreements(report.Run(results), chosen)
    assert all(r.first[0] > 0 and min(r.rounds) > 0 for r in results)
    assert results[0].facts["source"] > 100 and results[0].facts["machine_code"] > 100


def test_the_command_writes_page_pictures_and_figures(tmp_path, capsys):
    assert main(["chain-100", "rosenbrock", "--quick", "--peers", "numpy", "--out", str(tmp_path)]) == 0
    assert "numpy" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        "benchmarks.md", "benchmarks.json", "benchmarks.svg", "scaling.svg"
    }  # fmt: skip
    raw = json.loads((tmp_path / "benchmarks.json").read_text("utf-8"))
    assert [r["peer"] for r in raw["results"]] == [OURS, OURS, "numpy"]


def test_a_name_that_is_not_there_is_refused(capsys):
    for words in (["rosenbrok"], ["--peers", "jaxx"]):
        with pytest.raises(SystemExit):
            arguments(words)
        assert "there is no" in capsys.readouterr().err


def test_a_measurement_that_is_late_is_a_result():
    result = harness.run(dataclasses.replace(ALL["rosenbrock"], limit=0.01), "numpy", quick=True)
    assert (result.status, result.rounds) == ("late", [])


@pytest.mark.parametrize(
    ("raised", "status", "reason"),
    [
        (ModuleNotFoundError("", name="jax"), "missing", "jax is not installed"),
        (ValueError("one\ntwo"), "failed", "ValueError: one"),
    ],
)
def test_a_peer_that_is_missing_or_fails_is_a_result(tiny, raised, status, reason):
    def adapter(case):
        raise raised

    result = measure.attempt(dataclasses.replace(tiny, peers={"peer": adapter}), "peer", quick=True)
    assert (result.status, result.reason) == (status, reason)


def test_a_process_that_dies_is_a_result(tiny):
    result = harness.run(tiny, "numpy")  # the process knows no such workload
    assert result.status == "failed" and "KeyError: 'tiny'" in result.reason


def test_parameters_differ_from_call_to_call(tiny):
    seen = []
    adapter = peers.by_hand(lambda case: lambda theta: seen.append(theta.tobytes()) or (1.0, theta))
    measure.attempt(dataclasses.replace(tiny, peers={"peer": adapter}), "peer", quick=True)
    assert len(set(seen)) == measure.POINTS and seen[-2] != seen[-3]


def test_the_time_of_a_call_is_shared_by_its_evaluations_and_has_a_floor(tiny):
    def adapter(runner):
        return dataclasses.replace(tiny, peers={"peer": lambda case: lambda: runner})

    slow = Runner(lambda theta: time.sleep(0.01), read=None, evaluations=1000)
    assert 1e-5 <= min(measure.attempt(adapter(slow), "peer", quick=True).rounds) < 1e-2
    bound = Runner(lambda theta: None, read=None, floor=5.0)
    assert measure.attempt(adapter(bound), "peer", quick=True).rounds == [5.0] * 3


@pytest.mark.skipif(not measure.STATUS.exists(), reason="resident memory is read from /proc")
def test_the_memory_of_a_call_is_seen():
    def call():
        held = np.ones(5_000_000)
        time.sleep(0.1)
        return held

    assert measure.memory(call) > 35e6


def test_a_reach_is_met_or_not(tiny):
    ours = made_up(OURS, 1e-3, 0.5, memory=10**7)
    assert reach_rows(tiny, ours, made_up("slow", 4e-3, 0.6)) == [
        ["4 ms", "1 ms", "4", "3", "yes"],
        ["600 ms", "500 ms", "1.2", "2", "no"],
        ["", "10 MB", "", "under 50 MB", "yes"],
    ]


def test_a_late_peer_counts_as_its_limit(tiny):
    ours = made_up(OURS, 1e-3, 0.5)
    rows = reach_rows(tiny, ours, Result("tiny", "slow", "late"))
    assert rows[:2] == [["late", "1 ms", "", "3", ""], ["late", "500 ms", "> 120", "2", "yes"]]
    assert reach_rows(tiny, made_up(OURS, 1e-3, 40.0), Result("tiny", "slow", "late"))[1][2:] == ["> 1.5", "2", ""]


def test_what_did_not_run_is_said(tiny):
    assert [row[-1] for row in reach_rows(tiny)] == ["", "", ""]
    assert reach_rows(tiny)[0] == ["not run", "not run", "", "3", ""]


def test_a_different_gradient_is_reported(tiny):
    close, off = made_up("close", 1.0, gradient=(1.0, 2.0 + 1e-12)), made_up("off", 1.0, gradient=(1.0, 2.001))
    run = report.Run([made_up(OURS, 1.0), close, off])
    assert report.disagreements(run, [tiny]) == ["tiny: off differs by 5.0e-04, more than 1e-09"]
    page = report.markdown(run, [tiny])
    assert page.count("**differs**") == 1 and "| tiny | off | 1 s | 1 s | 1 | 1 s | 1 |  | **differs** 5e-04 |" in page


@pytest.mark.parametrize("wrong", [made_up("peer", 1.0, gradient=(1.0,)), made_up("peer", 1.0, gradient=(1.0, np.nan))])
def test_a_gradient_of_another_length_or_not_finite_differs(tiny, wrong):
    assert report.disagreements(report.Run([made_up(OURS, 1.0), wrong]), [tiny])


def test_peers_are_compared_with_each_other_where_ours_has_no_result():
    assert harness.errors([Result("tiny", OURS, "late"), made_up("a", 1.0), made_up("b", 1.0)]) == {"b": 0.0}


def test_passes_are_joined():
    both = harness.joined(made_up("a", 1.0, 5.0, memory=3), made_up("a", 2.0, 6.0, memory=2))
    assert (both.rounds, both.first, both.memory) == ([1.0, 2.0], [5.0, 6.0], 3)
    assert harness.joined(made_up("a", 1.0), Result("tiny", "a", "late")).status == "late"


@pytest.mark.parametrize("workload", ALL.values(), ids=list(ALL))
def test_every_reach_is_against_a_peer_that_runs(workload):
    assert OURS in workload.peers
    assert {r.against for r in workload.reaches} <= {"", *workload.peers}


@pytest.mark.parametrize(("name", "matrix"), [("logistic-4", samples.logistic_matrix), ("mlp", samples.network_matrix)])
def test_the_matrix_form_is_the_same_loss(name, matrix):
    case = ALL[name].case(quick=True)
    m = peers.functions(np, softplus=lambda z: np.logaddexp(0.0, z))
    columns = samples.features_in_rows(case.columns)
    assert np.allclose(matrix(m, case.theta, columns), case.formula(m, case.theta, case.columns), rtol=1e-12)


def test_a_case_is_the_same_in_every_process():
    first, second = ALL["orbit"].case(quick=True), ALL["orbit"].case(quick=True)
    assert np.array_equal(first.theta, second.theta) and np.array_equal(first.columns, second.columns)


def test_the_irregular_graph_uses_every_node_and_repeats_no_kind():
    rows, unused = large.recipe(20)
    kinds = ["leaf"] * 20 + [kind for kind, *_ in rows]
    for kind, *operands, _ in rows:
        assert kind not in {kinds[k] for k in (operands[:1] if kind == "function" else operands)}
    assert len(rows) == 2000 and len(unused) < 500
    assert large.recipe(20) == (rows, unused)


def beside(before, now, copy):
    times = dict(zip(against.TREES, (before, now, copy), strict=True))
    return {name: dataclasses.replace(made_up(name, t), first=[t / 2, t, 9.0]) for name, t in times.items()}


@pytest.mark.parametrize(
    ("before", "now", "copy", "verdict"),
    [(1.0, 1.0, 1.0, ""), (0.98, 1.0, 1.0, ""), (0.96, 1.0, 1.0, "slower"), (0.96, 1.0, 0.95, "noise"),
     (2.0, 1.0, 3.0, "")],
)  # fmt: skip
def test_a_loss_that_a_copy_has_as_well_is_noise(before, now, copy, verdict):
    found = list(against.rows(beside(before, now, copy)))
    assert [(r.figure, r.is_slower) for r in found] == [(f, verdict == "slower") for f in ("run", "first")]
    assert all(line.split("|")[-2].strip() == verdict for line in against.table(found).splitlines()[2:])


def test_a_tree_that_failed_has_no_row():
    results = beside(1.0, 1.0, 1.0)
    results["before"].status = "failed"
    assert not list(against.rows(results))


def test_trees_take_turns_and_a_workload_that_is_lost_is_a_fault(monkeypatch, tmp_path, capsys):
    asked = []

    def run(workload, peer, quick, tree):
        asked.append(tree.name)
        result = made_up(peer, 1.0)
        return dataclasses.replace(result, status="failed", reason="a reason") if tree.name == broken else result

    @contextlib.contextmanager
    def trees(commit):
        yield {name: tmp_path / name for name in against.TREES}

    monkeypatch.setattr(harness, "run", run)
    monkeypatch.setattr(against, "trees", trees)
    broken = ""
    assert main(["rosenbrock", "--against", "HEAD", "--repeats", "2"]) == 0
    assert asked == ["before", "now", "copy", "now", "copy", "before"]
    for broken, status in (("before", 0), ("now", 1)):
        assert main(["rosenbrock", "--against", "HEAD", "--repeats", "2"]) == status
        assert f"rosenbrock, {broken}: a reason" in capsys.readouterr().out


@pytest.mark.skipif(not (harness.ROOT / ".git").exists(), reason="no history here")
def test_a_commit_is_measured_with_its_own_package(capsys):
    """Whatever it is ahead or behind: the three trees run, each from its folder, and agree."""
    told = []
    with against.trees("HEAD") as places:
        assert all((place / "gradcompile" / "compile.py").exists() for place in places.values())
        results = against.measured(ALL["rosenbrock"], places, 1, True, told.append)
    assert [r.peer for r in told] == list(against.TREES)
    assert {r.loss for r in results.values()} == {results["now"].loss}
    assert len(list(against.rows(results))) == 2
