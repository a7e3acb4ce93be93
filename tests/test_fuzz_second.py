"""The fuzzer of second derivatives finds faults that are planted in each of its ways, and nothing in what is right."""

from typing import Any

import pytest

from gradcompile.diff import gauss_newton, operators, reverse
from gradcompile.frontend.sympy import derivative
from gradcompile.ir.core import Node
from tests.fuzz import second

POINT = {"a": 0.7, "b": 1.3, "u": [0.4, -1.1]}
PROGRAM = {"seed": 5, "dtype": "float64", "ties": False, "named": True, "inputs": {"p": [3], "q": [3, 2], "h": [4, 3]},
           "lines": ["v0 = np.tanh(p @ q) + p[1]", "loss = np.sum(v0 * v0)"]}  # fmt: skip


def case(way: str, layout: str = "dense") -> dict[str, Any]:
    """A formula, or a program, in one of the ways."""
    formula = {"formula": "exp(a*u)*sin(b) + (a*b)**2", "points": [POINT], "dtype": "float64", "stabilize": True}
    return {"way": way, "layout": layout, "along": [1.0, -0.5, 0.25, 2.0, 1.5, -1.0, 0.5, 0.75, 1.25],
            "case": PROGRAM if way == "arrays" else formula}  # fmt: skip


def doubled(outputs: Any, *rest: Any, push: Any = reverse.jvp) -> list[Node]:
    """Forward mode, wrong by a factor of its last output."""
    *found, last = push(outputs, *rest)
    return [*found, last + last]


def turned(*args: Any, place: Any = operators.tangents_of) -> Any:
    """What is moved, along the vector the other way round."""
    moved = place(*args)
    parts = list(moved.values())
    other = parts[::-1] if len({p.type for p in parts}) == 1 else [-p for p in parts]
    return dict(zip(moved, other, strict=True))


def summed(n: Node, x: Node, check: Any) -> Node:
    """A derivative inside a loss that is the value itself."""
    return n


def swapped(*args: Any, rows: Any = operators.gradients_by) -> Any:
    """The derivatives of each output by the parameters in another order."""
    return [row[::-1] for row in rows(*args)]


def swapped_rows(*args: Any, rows: Any = gauss_newton.rows_by) -> Any:
    """The same of the outputs of a Gauss-Newton matrix."""
    return {n: row[::-1] for n, row in rows(*args).items()}


@pytest.mark.parametrize("way", sorted(set(second.WAYS)))
def test_what_is_right_is_not_reported(way: str) -> None:
    assert second.judge(case(way)) is None


@pytest.mark.parametrize(
    ("way", "place", "name", "fault", "said"),
    [
        ("hessian", operators, "gradients_by", swapped, "entry 0 is"),
        ("hessian", operators, "tangents_of", turned, "along"),
        ("jacobian", operators, "tangents_of", turned, "along"),
        ("jacobian", gauss_newton, "rows_by", swapped_rows, "the Gauss-Newton matrix is"),
        ("inside", derivative, "by_one", summed, "entry 0 is"),
        ("arrays", operators, "tangents_of", turned, "row 0 of the product"),
        ("arrays", reverse, "jvp", doubled, "of the Hessian"),
    ],
)
def test_planted_faults_are_found(
    monkeypatch: pytest.MonkeyPatch, way: str, place: Any, name: str, fault: Any, said: str
) -> None:
    monkeypatch.setattr(place, name, fault)
    assert said in (second.judge(case(way)) or "")
