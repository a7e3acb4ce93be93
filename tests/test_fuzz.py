"""The fuzzers, briefly: what they once found, and some new cases each. Planted faults stand in tests of their own."""

import importlib
import os
import subprocess
import sys
from itertools import repeat

import pytest

from tests.fuzz import _bounds, run
from tests.fuzz.run import LIMITED, NAMES, ROOT, case_of, corpus, judged, run_apart

BRIEF = 20  # new cases a fuzzer, unless its module says BRIEF itself


@pytest.mark.parametrize("name", NAMES)
def test_what_was_once_found_is_right(name: str) -> None:
    run.refused.clear()
    found = {str(case): wrong for case in corpus(name) if (wrong := judged(name, case)) is not None}
    assert not found
    assert _bounds.TOO_SLOW not in run.refused  # every case was judged


def test_what_was_once_found_is_right_in_plain_python() -> None:
    program = (
        "from tests.fuzz.run import corpus, judged\n"
        "for name in ('arrays', 'formulas', 'indices', 'scans', 'second'):\n"
        "    print(*((case, wrong) for case in corpus(name) if (wrong := judged(name, case)) is not None))\n"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "" == done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_new_cases_are_right(name: str) -> None:
    brief = getattr(importlib.import_module(f"tests.fuzz.{name}"), "BRIEF", BRIEF)
    found = {k: wrong for k in range(brief) if (wrong := judged(name, case_of(name, 0, k))) is not None}
    assert not found


@pytest.mark.parametrize(("body", "wrong"), [("1/0", "ZeroDivisionError"), ("__import__('os').abort()", "status -6")])
def test_a_process_that_dies_is_a_finding_and_the_rest_goes_on(body: str, wrong: str) -> None:
    fuzzer = f"def draw(rng):\n    return rng.random()\n\n\ndef judge(case):\n    if case < 0.3:\n        {body}\n"
    module = importlib.import_module("tests.fuzz.run").HERE / "_planted.py"
    module.write_text(fuzzer, "utf-8")
    try:
        expected = [k for k in range(8) if case_of("_planted", 1, k) < 0.3]
        found, _ = run_apart("_planted", 1, range(8))
    finally:
        module.unlink()
    assert expected and [f.number for f in found] == expected and all(wrong in f.wrong for f in found)


def test_what_is_refused_is_counted_by_the_words_of_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "refused", type(run.refused)())
    for text in (
        "v[:4] needs n >= 4, and 'n' is 3; pass longer arrays",
        "x[7] needs m >= 8, and is 2; pass longer arrays",
    ):
        run.refuse(ValueError(text))
    assert run.refused == {"ValueError: needs and is pass longer arrays": 2}


def test_what_the_limits_allow_is_counted_and_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "refused", type(run.refused)())
    formulas = importlib.import_module("tests.fuzz.formulas")
    monkeypatch.setattr(formulas, "judge", lambda case: f"d/da is nan for 0, {LIMITED}")
    assert judged("formulas", {}) is None and run.refused == {LIMITED: 1}


def test_what_takes_long_says_nothing_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bounds, "refused", counted := type(run.refused)())
    monkeypatch.setattr(_bounds, "SLOW", 0.01)
    with pytest.raises(_bounds.Beyond), _bounds.limited():
        all(x is None for x in repeat(None))
    assert counted == {_bounds.TOO_SLOW: 1}
