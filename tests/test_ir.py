"""The graph: equal nodes are one object for as long as it lives, and what does not change is not made anew."""

import gc
import pickle

import pytest

from gradcompile.errors import GraphError
from gradcompile.ir.core import OPS, _interned, apply, const, leaf, node
from gradcompile.ir.graph import rebuild, topological, use_counts, verify
from gradcompile.ir.types import ArrayType

x, y = leaf("x"), leaf("y")
SQUARE = apply("mul", x, x)
SUM = apply("add", SQUARE, apply("sin", y), SQUARE)


def test_equal_nodes_are_one_object():
    assert apply("add", SQUARE, apply("sin", y), SQUARE) is SUM
    assert const(0.0) is not const(-0.0) and const(float("nan")) is const(-float("nan"))
    assert leaf("x") is x is not leaf("x", ArrayType((), "float32"))


def test_nodes_that_nothing_uses_are_forgotten():
    gc.freeze()  # what others have left is not looked at
    before = len(_interned)
    n = apply("exp", apply("exp", leaf("nobody_else_has_it")))
    assert len(_interned) == before + 3
    del n
    gc.collect()
    assert len(_interned) == before


def test_arguments_come_first_in_depth_first_order():
    assert topological([SUM, x]) == [x, SQUARE, y, apply("sin", y), SUM]
    assert topological([SUM], lambda n: n is SQUARE) == [y, apply("sin", y), SUM]
    assert use_counts([SUM, SQUARE], topological([SUM])) == {x: 2, SQUARE: 3, y: 1, apply("sin", y): 1, SUM: 1}


def test_what_a_rule_leaves_alone_stays_and_what_is_settled_is_not_seen():
    seen = []

    def swap(n):
        seen.append(n)
        return apply("cos", *n.args) if n.op.name == "sin" else n

    assert rebuild([SUM, SQUARE], swap, settled=lambda n: n is SQUARE) == [
        apply("add", SQUARE, apply("cos", y), SQUARE),
        SQUARE,
    ]
    assert SQUARE not in seen and x not in seen
    assert rebuild([SUM], swap, known={y: x}) == [apply("add", SQUARE, apply("cos", x), SQUARE)]


def test_pickled_nodes_are_the_same_nodes():
    assert pickle.loads(pickle.dumps(SUM)) is SUM
    places = apply("iota", params=(3,))  # no arguments, and yet its type follows
    assert pickle.loads(pickle.dumps(places)) is places


def test_a_type_or_a_number_of_arguments_that_does_not_fit_is_found():
    wrong = node(OPS["sin"], [x], (), ArrayType((3,)))
    with pytest.raises(GraphError, match=r"after a pass: sin has type float64\[3\]"):
        verify([apply("exp", wrong)], "a pass")
    with pytest.raises(GraphError, match="sin takes 1 arguments, got 2"):
        verify([apply("exp", apply("sin", x, y))], "a pass")
    verify([SUM], "a pass")
