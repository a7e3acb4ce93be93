"""Sparse patterns of random formulas and programs: they hold what is seen, and nothing else but for reasons.

What is seen are differences of the gradient at 20 points, and the Hessian's own entries at 40. An entry of the pattern
that is 0 at all of them has to have a reason: it is there when each slope on the way is a random positive number, so it
is 0 by a branch that is not taken, or as terms cancel; or it comes by an op whose entries are taken for dense.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

import gradcompile as gc
from gradcompile.analysis.evaluate import evaluate, evaluate_all
from gradcompile.compile import loss_of
from gradcompile.diff import operators, reverse
from gradcompile.errors import GradcompileError
from gradcompile.ir.algebra import zeros_like
from gradcompile.ir.core import Node, is_leaf
from gradcompile.ir.graph import topological
from gradcompile.ops.contract import is_dot
from gradcompile.pipeline import prepared
from gradcompile.signature.arguments import Problem
from tests.fuzz import arrays
from tests.fuzz.run import refuse

BRIEF = 12
SYMBOLS = sp.symbols("s0:6")
KINDS = ("({} + {})", "({})*({})", "sin({})", "exp({})", "({})**2", "Piecewise(({}, {} > 0), ({}, True))")
STEP = 1e-4
SEEN, LOOKED = 20, 40
WIDEST = 40  # entries of theta
Case = dict[str, Any]
Matrix = np.ndarray


def draw(rng: random.Random) -> Case:
    """A formula, or a program of arrays."""
    if rng.random() < 0.5:
        return {"way": "formula", "formula": " + ".join(part(rng, rng.choice([1, 2, 3])) for _ in range(5))}
    return {"way": "arrays", "case": arrays.draw(rng)}


def part(rng: random.Random, depth: int) -> str:
    """A random formula of some symbols, branches among its parts."""
    if not depth:
        return rng.choice([*map(str, SYMBOLS), rng.choice(["0.5", "1.5", "-2.0"])])
    inner = part(rng, depth - 1)
    kind = rng.choice(
        ["({} + {})", "({})*({})", "sin({})", "exp({})", "({})**2", "Piecewise(({}, {} > 0), ({}, True))"]
    )
    if kind.startswith("Piece"):
        return kind.format(inner, rng.choice(SYMBOLS), part(rng, depth - 1))
    return kind.format(*[inner, *([part(rng, depth - 1)] if kind.count("{}") == 2 else [])])


def judge(case: Case) -> str | None:
    """What is wrong with the pattern of a case's Hessian."""
    try:
        read = of_formula(case) if case["way"] == "formula" else of_program(case["case"])
        if read is None:
            return None
        problem, points = read
        return wrong_with(problem, points)
    except GradcompileError as error:
        refuse(error)
        return None


Read = tuple[Problem, list[dict[Node, Any]]]  # a loss, and values of its leaves


def of_formula(case: Case) -> Read | None:
    """The loss of a formula, and points."""
    loss = sp.sympify(case["formula"])
    if not loss.free_symbols:
        return None
    problem, _ = loss_of(loss, SYMBOLS, allow_unused=True)
    numbers = np.random.default_rng(0)
    return problem, [{p.leaf: numbers.normal() for p in problem.params} for _ in range(LOOKED)]


def of_program(case: Case) -> Read | None:
    """The loss of a program, and points around its own."""
    symbols = {n: gc.array(n, arrays.shape_of(case, n), arrays.value_dtype(case, n)) for n in case["inputs"]}
    params = [symbols[n] for n in ("p", "q") if n in symbols]
    space: dict[str, Any] = arrays.OF_SYMBOLS | symbols
    exec("\n".join(case["lines"]), space)
    others = [x for n, x in symbols.items() if n not in "pq"]
    problem, _ = loss_of(space["loss"], params, inputs=others, allow_unused=True)
    values, numbers = arrays.drawn(case), np.random.default_rng(0)
    if problem.dtype != "float64" or not 0 < sum(operators.sizes_of(problem)) <= WIDEST:
        return None
    points = []
    for _ in range(LOOKED):
        own = {a.leaf: np.asarray(values[a.name]) for a in (*problem.params, *problem.inputs)}
        for n, v in own.items():
            if v.dtype.kind == "f":  # off the ties, where differences go over a kink
                own[n] = v + numbers.normal(size=v.shape)
        points.append(own)
    return problem, points


def wrong_with(problem: Problem, points: Sequence[Mapping[Node, Any]]) -> str | None:
    """What a pattern lacks, or has too much."""
    (loss,), _ = prepared(problem, gc.compile_grad(sp.Symbol("x"), sp.Symbol("x")).options)
    leaves = [p.leaf for p in problem.params]
    found = reverse.adjoints(loss, leaves)
    gradients = [found.get(n) or zeros_like(n) for n in leaves]
    held, (output, *blocks) = pattern_and_values(problem, loss, found)
    seen, looked = np.zeros_like(held), np.zeros_like(held)
    for k, env in enumerate(points):
        with np.errstate(all="ignore"):
            data, *whole = evaluate([output, *blocks], env)
            exact = np.concatenate([np.ravel(b) for b in whole]).reshape(held.shape)
            own = exact.T[held.T]  # by column
            near = np.allclose(data, own, rtol=1e-9, atol=1e-9 * np.abs(own).max(initial=1))
            if np.isfinite(own).all() and not near:
                return f"the entries are {data.tolist()}, those of the Hessian {own.tolist()}"
            looked |= np.nan_to_num(exact) != 0  # what is outside its domain tells nothing
            if k < SEEN:
                seen |= differences(gradients, leaves, env)
    if (seen & ~held).any():
        return f"no entry at {np.argwhere(seen & ~held)[0].tolist()}, where differences see one"
    if (looked & ~held).any():
        return f"no entry at {np.argwhere(looked & ~held)[0].tolist()}, where the Hessian has one"
    more = held & ~looked
    if more.any():
        generic, is_listed = with_random_slopes(gradients, leaves, points[0])
        if not is_listed and (more & ~generic).any():
            return f"an entry at {np.argwhere(more & ~generic)[0].tolist()}, which is always 0"
    return None


def pattern_and_values(problem: Problem, loss: Node, found: Mapping[Node, Node]) -> tuple[Matrix, list[Node]]:
    """Where the sparse Hessian has entries, and the nodes of its data and of the dense one."""
    output = operators.sparse_hessian(problem, loss, found)
    pattern = output.pattern
    assert pattern is not None
    held = np.zeros(pattern.shape, bool)
    columns = np.repeat(np.arange(pattern.shape[1]), np.diff(pattern.starts))
    held[pattern.indices, columns] = True
    dense = operators.dense_hessian(problem, loss, found)
    return held, [output.parts[0].node, *(p.node for p in dense)]


def differences(gradients: Sequence[Node], leaves: Sequence[Node], env: Mapping[Node, Any]) -> Matrix:
    """Where differences of the gradient are other than 0, beyond rounding."""
    sizes = [int(np.size(env[n])) for n in leaves]
    theta = np.concatenate([np.ravel(env[n]) for n in leaves])

    def at(moved: np.ndarray) -> np.ndarray:
        parts = np.split(moved, np.cumsum(sizes)[:-1])
        own = {n: p.reshape(np.shape(env[n])) for n, p in zip(leaves, parts, strict=True)}
        return np.concatenate([np.ravel(g) for g in evaluate(gradients, {**env, **own})])

    rows = []
    for step in STEP * np.eye(len(theta)):
        up, down = at(theta + step), at(theta - step)
        rows.append(np.abs(up - down) > 1e-9 * (1 + np.abs(up) + np.abs(down)))
    return np.array(rows).T & np.isfinite(at(theta))[:, None]


def with_random_slopes(outputs: Sequence[Node], leaves: Sequence[Node], env: Mapping[Node, Any]) -> tuple[Matrix, bool]:
    """Where a derivative is other than 0 if each slope is a random positive number; and whether that can't be told."""
    values, numbers = evaluate_all(outputs, env), np.random.default_rng(1)
    fixed: set[Node] = set()
    order = topological(outputs)
    for n in order:
        if not is_leaf(n) and fixed.issuperset(n.args):
            fixed.add(n)
    draws = {n: numbers.uniform(0.5, 1.5, np.shape(values[n])) for n in order}
    sizes = [int(np.size(env[n])) for n in leaves]
    columns, is_listed = [], False
    for unit in np.eye(sum(sizes)):
        parts = np.split(unit, np.cumsum(sizes)[:-1])
        known = {n: p.reshape(np.shape(env[n])) for n, p in zip(leaves, parts, strict=True)}
        for n in order:
            if n not in known and not n.op.is_copy and any(a in known for a in n.args):
                made = pushed(n, known, values, draws, fixed)
                is_listed |= made is None
                if made is not None:
                    known[n] = np.asarray(made)
        columns.append(np.concatenate([np.ravel(known.get(o, np.zeros(np.shape(values[o])))) for o in outputs]))
    return np.array(columns).T != 0, is_listed


def pushed(
    n: Node, known: Mapping[Node, Any], values: Mapping[Node, Any], draws: Mapping[Node, Any], fixed: set[Node]
) -> Any:
    """The tangent of a node with random slopes; None where its entries are taken for dense."""
    zero = np.zeros(np.shape(values[n]))
    if n.op.partials is not None:
        total = zero
        for a, p in zip(n.args, n.op.partials(n), strict=True):
            if p is not None and a in known:
                slope = np.abs(evaluate([p], {})[0]) if p in fixed or p.op.is_const else draws[n]
                total = total + slope * known[a]
        return total
    if is_dot(n):
        (a, b), size = n.args, {x: np.abs(values[x]) if x in fixed else draws[x] for x in n.args}
        parts = [n.op.value(known[a], size[b], *n.params)] if a in known else []
        return sum([*parts, *([n.op.value(size[a], known[b], *n.params)] if b in known else [])], zero)
    if n.op.is_reduction:
        return np.sum(known[n.args[0]], axis=n.params[0])
    is_dense = not n.op.is_linear or n.op.routine_axes is not None
    if is_dense or any(a not in fixed for a in n.args[1:] if a.type.dtype == "int64"):
        return None
    given = [known.get(a, values[a] if a.type.dtype == "int64" else np.zeros(np.shape(values[a]))) for a in n.args]
    try:
        return n.op.value(*given, *n.params)
    except (TypeError, ValueError):  # named dimensions
        return None
