"""Faults that are planted, one at a time, in derivatives, passes, printer and planner: each is found by what it should.

Two judges look at a loss. `lowered.check` reads what the text promises; `_numbers.wrong` compares what the text gives,
as plain Python, with NumPy and with differences of it. No machine code is made.
"""

import dataclasses
import importlib
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import sympy

import gradcompile as gc
from gradcompile import passes
from gradcompile.ir.core import Node, apply, const
from gradcompile.ir.graph import rebuild
from gradcompile.loops import expressions, ir
from gradcompile.lower import function as writer
from gradcompile.lower import passes as blocks
from gradcompile.lower.memory import entries
from gradcompile.lower.memory.storage import Storage
from gradcompile.lower.memory.workspace import Workspace
from gradcompile.lower.nests import expression
from gradcompile.lower.nests.naming import ArrayNaming
from gradcompile.lower.nests.nests import Nest
from gradcompile.lower.nests.schedule import Schedule
from gradcompile.lower.rules import elementwise
from gradcompile.lower.stages import Stages
from gradcompile.ops import OPS
from gradcompile.passes import contract, loops
from tests import lowered
from tests.fuzz import _numbers
from tests.plain import plain

hoist, reroll, simplify, stabilize = (
    importlib.import_module(f"gradcompile.passes.{name}") for name in ("hoist", "reroll", "simplify", "stabilize")
)
NUMBER = itertools.count()  # of arrays that were made: nodes are kept, and what a fault made of them must not stay
RNG = np.random.default_rng(3)


class Loss(NamedTuple):
    """A loss for NumPy: of parameters of these shapes, and of an array of 300 samples if it has one."""

    of: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    sampled: bool = False


def nested(c: Any, _: Any) -> Any:
    """A step with a reduction, around a loop whose step has the same."""
    peak = np.max(c)
    if isinstance(c, np.ndarray):
        inner = c
        for _ in range(2):
            inner = inner - np.max(inner) / 2
    else:
        inner, _ = gc.scan(lambda q, _: (q - np.max(q) / 2, None), c, None, length=2)
    return (c - peak + inner) / 4, None


def looped(step: Callable[..., Any], x: Any, *constants: Any) -> Any:
    """Three steps from an array."""
    if not isinstance(x, np.ndarray):
        return gc.scan(lambda c, t: step(c, t, *constants), x, None, length=3)[0]
    for _ in range(3):
        x, _ = step(x, None, *constants)
    return x


def driven(c: Any, _: Any, w: Any) -> Any:
    """A step whose derivative in w is summed over the steps."""
    return (c @ w + c * c) / 4, None


def chain(*x: Any) -> Any:
    """Forty terms, written one by one."""
    return sum((x[k + 1] - x[k] * x[k]) ** 2 for k in range(40))


def waits(x: Any, y: Any) -> Any:
    """Arrays that come and go, of which one is read again in the end."""
    a = np.exp(x)
    return np.sum(np.linalg.inv(y + 3 * np.eye(3))) + np.sum(a[np.array([2])] ** 2) + np.sum(np.cumsum(x * x) ** 2)


LOSSES = {
    "products": Loss(lambda x, y: np.sum((x @ y) ** 2 * np.sum(x, axis=1)[:, None]), ((3, 4), (4, 2))),
    "factors": Loss(lambda x, y: np.sum(np.sum(x * y, axis=1) ** 3), ((3, 4), (4,))),
    "tanh": Loss(lambda x: np.sum(np.tanh(x) * x), ((3,),)),
    "shifted": Loss(lambda x: np.sum(np.exp(0.5 * (x + 1))), ((3,),)),
    "running": Loss(lambda x: np.sum(np.cumsum(x) ** 2), ((6,),)),
    "picked": Loss(lambda x: np.sum(x[np.array([0, 2, 2, 1])] ** 3), ((4,),)),
    "repeated": Loss(lambda x: np.sum(x[np.array([2, 1, 2, 2])] ** 3), ((4, 1),)),
    "largest": Loss(lambda x: np.sum(np.max(x * x, axis=1)), ((3, 4),)),
    "signs": Loss(lambda x, y: np.sum((-x) * y + (x - y) ** 3), ((3,), (3,))),
    "stable": Loss(lambda x: np.sum(np.log(1 + np.exp(x))), ((3,),)),
    "quotients": Loss(lambda x, y: np.sum(x / (2 + y[0] ** 2)) + np.sum(y / (2 + y[0] ** 2)), ((3,), (3,))),
    "long": Loss(lambda *x: sum(v**2 * k for k, v in enumerate(x, 1)), ((),) * 12),
    "neighbours": Loss(lambda x: np.sum(x[:-2] * x[1:-1] ** 2 * x[2:] ** 3), ((9,),)),
    "nested": Loss(lambda x: np.sum(looped(nested, x) ** 2), ((4,),)),
    "driven": Loss(lambda x, w: np.sum(looped(driven, x, w) ** 2), ((3,), (3, 3))),
    "waits": Loss(waits, ((4,), (3, 3))),
    "written out": Loss(chain, ((),) * 41),
    "samples": Loss(lambda w, X: np.mean((X * w[0] + w[1]) ** 2 * 3), ((2,),), True),
}


def found(name: str) -> str:
    """Which of the judges finds something, and what; empty if none does."""
    loss = LOSSES[name]
    at = [np.array(RNG.normal(size=shape)) for shape in loss.shapes]
    make = gc.array if any(loss.shapes) else lambda name, _: sympy.Symbol(name)
    params = [make(f"p{next(NUMBER)}", shape) for shape in loss.shapes]
    inputs = [gc.array(f"p{next(NUMBER)}", "n")] if loss.sampled else []
    data = [RNG.normal(size=300)] if loss.sampled else []
    f = gc.compile_grad(loss.of(*params, *inputs), params, inputs=inputs, reroll=not any(loss.shapes))
    try:
        lowered.check(f.source, f.problem, f._derivation.derived.outputs)
    except lowered.Fault as fault:
        return f"promise: {fault}".splitlines()[0]
    kernel = plain(f.source)["kernel"]

    def run(*numbers: Any) -> Any:
        theta = np.concatenate([np.ravel(x) for x in numbers])
        grad = np.zeros_like(theta)
        value = kernel(theta, grad, *data)
        ends = np.cumsum([x.size for x in numbers])[:-1]
        return value, tuple(g.reshape(x.shape) for g, x in zip(np.split(grad, ends), numbers, strict=True))

    wrong = _numbers.wrong(run, lambda *numbers: loss.of(*numbers, *data), at)
    return "" if wrong is None else f"number: {wrong}"


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_is_found_where_nothing_is_planted(name: str) -> None:
    assert found(name) == ""


# ---- what is planted

Plant = Callable[[pytest.MonkeyPatch], None]


def record(op: str, **wrong: Callable[..., Any]) -> Plant:
    """Another derivative of an op; it is given the right one first."""
    own = OPS[op]
    changed = {name: partial(function, getattr(own, name)) for name, function in wrong.items()}
    return lambda patch: patch.setitem(OPS, op, dataclasses.replace(own, **changed))


def replaced(owner: Any, name: str, wrong: Callable[..., Any]) -> Plant:
    """Another function; it is given the right one first."""
    right = getattr(owner, name)
    return lambda patch: patch.setattr(owner, name, lambda *args, **named: wrong(right, *args, **named))


def entered(table: dict[str, Any], name: str, wrong: Any) -> Plant:
    """Another entry of a table."""
    return lambda patch: patch.setitem(table, name, wrong)


def spread(right: Any, g: Node, n: Node) -> tuple[Node]:
    """The adjoint of a maximum goes to all entries."""
    shape = n.args[0].type.shape
    return (apply("broadcast", g, params=(shape, tuple(k for k in range(len(shape)) if k not in n.params[0]))),)


def linear(n: Node) -> Node | None:
    """log(1 + exp(x)) is x."""
    found = [a for a in n.args[0].args if a.op.name == "exp"]
    return found[0].args[0] if found else None


def inverted(right: Any, roots: Sequence[Node]) -> list[Node]:
    """Quotients of arrays are products."""
    return rebuild(roots, lambda n: apply("mul", *n.args) if n.op.name == "div" and n.type.shape else n)


def shortened(right: Any, n: Node) -> Node:
    """A long sum lacks a term."""
    return apply("add", *n.args[:-1]) if n.op.name == "add" and len(n.args) > 8 else right(n)


def touched_once(right: Any, self: Any, name: str, slot: int) -> None:
    """That an array is read later is forgotten."""
    if name not in self.buffers or self.buffers[name].last < 0:
        right(self, name, slot)


def for_good(right: Any, region: expression.Region) -> None:
    """What reads memory is given for good."""
    region.lent.clear()
    right(region)


def next_block(right: Any, variable: str, turns: expressions.Expression, body: Any) -> Any:
    """The first block is left out."""
    start, stop, step = turns.parts
    return right(
        variable, ir.turns(expressions.operation("+", start, step), stop, step) if start.is_name else turns, body
    )


PLANTS: dict[str, tuple[str, str, Plant]] = {
    # derivatives
    "tanh: 1 + y*y": ("tanh", "number", record(
        "tanh", partials=lambda right, n: (apply("add", const(1.0), apply("mul", n, n)),))),
    "cumsum: the same way": ("running", "number", record(
        "cumsum", vjp=lambda right, g, n: (apply("cumsum", g, params=n.params),))),
    "gather: twice": ("picked", "number", record("gather", vjp=lambda right, g, n: right(apply("add", g, g), n))),
    "dot: negative": ("products", "number", record("dot", vjp=lambda right, g, n: right(apply("neg", g), n))),
    "amax: to all": ("largest", "number", record("amax", vjp=spread)),
    # passes
    "simplify: a sign is lost": ("signs", "number", entered(simplify.RULES, "neg", (lambda n: n.args[0],))),
    "stabilize: a wrong limit": ("stable", "number", entered(stabilize.RULES, "log", (linear,))),
    "contract: negative": ("factors", "number", replaced(
        contract, "sum_of_products", lambda right, n: (found := right(n)) and apply("neg", found))),
    "hoist: a weight is lost": ("samples", "number", replaced(hoist, "times", lambda right, x, y: y)),
    "balance: a term is lost": ("long", "number", replaced(simplify, "balance_node", shortened)),
    "reciprocals: products": ("quotients", "number", replaced(passes, "share_reciprocals", inverted)),
    "reroll: places": ("written out", "number", replaced(
        reroll.Run, "spec", lambda right, run, column: right(run, np.maximum(column - 1, 0)))),
    "loops: a sum over steps": ("driven", "number", replaced(
        loops, "across", lambda right, *args: apply("neg", right(*args)))),
    # printer
    "a difference is a sum": ("signs", "number", replaced(
        expression, "sum_of", lambda right, terms: right((False, x) for _, x in terms))),
    "no parentheses": ("shifted", "number", replaced(expressions, "wrapped", lambda right, x, level: x.text)),
    "a view is not named": ("waits", "promise", replaced(
        writer, "used", lambda right, lines: [
            s for s in lines if not isinstance(s, ir.Assign) or not writer.is_view(s)])),
    # planner
    "workspace: given away early": ("waits", "promise", replaced(
        Workspace, "place", lambda right, self, size, first, last: right(self, size, first, first))),
    "workspace: a reader is forgotten": ("waits", "promise", replaced(Storage, "touch", touched_once)),
    "workspace: read without a name": ("waits", "promise", replaced(expression.Region, "forget", for_good)),
    "lanes: along any axis": ("repeated", "promise", replaced(
        Stages, "ordered", lambda right, self, order, shape, tied=(): right(self, order, shape))),
    "lanes: parts the other way": ("neighbours", "promise", replaced(
        elementwise, "turn", lambda right, lane: -right(lane))),
    "layout: a slice from 0 on": ("neighbours", "number", entered(entries.MOVES, "item", lambda n, place: place)),
    "layout: parts fill all": ("neighbours", "number", replaced(elementwise, "covered", lambda right, *args: True)),
    "names: of the loop around": ("nested", "promise", replaced(ArrayNaming, "inside", lambda right, self: self)),
    "stages: all at once": ("waits", "promise", replaced(Schedule, "earliest", lambda right, *args: 0)),
    "nests: before all loops": ("running", "promise", replaced(Nest, "level_of", lambda right, self, n: 0)),
    "groups: from the second block on": ("samples", "number", replaced(blocks, "Loop", next_block)),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTS)
def test_what_is_planted_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, judge, plant = PLANTS[name]
    plant(monkeypatch)
    assert found(loss).startswith(judge)
