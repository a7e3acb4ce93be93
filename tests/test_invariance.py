"""The fuzzer of what must not change a result finds faults that are planted."""

import numpy as np
import pytest

from tests.fuzz import invariance
from tests.fuzz.invariance import Program, applied

CASES = {
    "sympy": {"text": "a*x + sin(b)*t", "n": 33},
    "numpy": {"text": "np.tanh(X @ v) * t + v[k]", "n": 33},
}
CASES = {kind: case | {"kind": kind, "seed": 1, "dtype": "float64", "reduce": "mean", "checks": []}
         for kind, case in CASES.items()}  # fmt: skip


class Wrong(Program):
    """A program whose results are off: by(result, program, rows, options) says how."""

    by = staticmethod(lambda result, program, pick: result)

    def __call__(self, pick=slice(None)):
        return type(self).by(super().__call__(pick), self, pick)


def planted(by):
    """A fault as what makes wrong programs of right ones."""
    kind = type("Planted", (Wrong,), {"by": staticmethod(by)})
    return lambda program: kind(*program)


def first_counts_twice(result, program, pick):
    return result + 1e-6 * next(iter(program.rows.values()))[pick].ravel()[:1].sum()


def last_is_left_out(result, program, pick):
    n = len(next(iter(program.rows.values()))[pick])
    return Program.__call__(program, range(n - 1)) if pick == slice(None) and n > 1 else result


def by_threads(result, program, pick):
    return np.nextafter(result, np.inf) if program.f.options.threads == 2 else result


def by_cache(result, program, pick):
    return result if program.f.options.cache else np.nextafter(result, np.inf)


def by_layout(result, program, pick):
    return result if all(v.flags.c_contiguous for v in program.rows.values()) else np.nextafter(result, np.inf)


def text_is_another(result, program, pick):
    return np.nextafter(result, np.inf)


def gradient_of_large(result, program, pick):
    return np.array([result[0], *np.where(np.abs(program.theta) < 0.2, 0.0, result[1:])])


FAULTS = [("order", first_counts_twice), ("parts", last_is_left_out), ("threads", by_threads), ("memory", by_cache),
          ("memory", by_layout), ("text", text_is_another), ("scaled", gradient_of_large),
          ("saved", text_is_another)]  # fmt: skip


@pytest.mark.parametrize(("check", "fault"), FAULTS)
def test_a_planted_fault_is_found(check, fault) -> None:
    case = CASES["sympy"]
    assert applied([check], planted(fault), case) is not None


@pytest.mark.parametrize("kind", CASES)
def test_names_that_tell(kind) -> None:
    case = CASES[kind] | {"checks": ["names"]}
    right = invariance.built(case, invariance.OTHER)
    assert invariance.judge(case) is None

    def fault(program):
        same = [a.name for a in program.f.problem.params] != [a.name for a in right.f.problem.params]
        return program if same else planted(text_is_another)(program)

    assert "other names" in applied(["names"], fault, case)


@pytest.mark.parametrize("kind", CASES)
def test_what_is_right_is_no_finding(kind) -> None:
    assert applied(invariance.CHECKS, lambda program: program, CASES[kind]) is None
