"""Gauss-Newton matrices: of a loss of outputs the part of the Hessian that has their first derivatives alone.

`outer` finds the outputs and the curvature of the loss in them; here are their derivatives and the sums of products.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import combinations_with_replacement, product

import numpy as np

from gradcompile.diff import reverse
from gradcompile.diff.masks import times
from gradcompile.diff.operators import (
    Derived,
    by_sample_gradients,
    columns,
    entries_of,
    gradient_output,
    gradients_by,
    leaves_of,
    rows_of,
    seeds_of,
    sizes_of,
    square,
)
from gradcompile.diff.outer import Curved, adjoints_above, curved
from gradcompile.diff.sparsity import Block, Dense, filled_in, lower, terms_of
from gradcompile.errors import ExpressionError
from gradcompile.ir.algebra import add, assemble, expand, number, permute, sum_over
from gradcompile.ir.core import Node, const, is_const
from gradcompile.ir.graph import topological
from gradcompile.ops.contract import contract
from gradcompile.signature.arguments import Problem
from gradcompile.signature.program import Output, Part, size_of

Rows = Mapping[Node, list[Node]]  # the derivatives of outputs, by the entries of theta


class GaussNewton:
    """The operator: a loss, its gradient and its Gauss-Newton matrix."""

    def beside(self, problem: Problem, values: Sequence[Node]) -> list[Node]:
        """What is prepared beside the loss: its curvature in the outputs, as it is written.

        None of a loss that is no convex function of outputs as it is written; it may be one when it is prepared.
        """
        try:
            return [n for c in curved(values[0], leaves_of(problem)) for n in c]
        except ExpressionError:
            return []

    def __call__(self, problem: Problem, values: Sequence[Node]) -> Derived:
        """The outputs, from what is prepared."""
        loss, *rest = values
        leaves = leaves_of(problem)
        parts = [Curved(*rest[k : k + 4]) for k in range(0, len(rest), 4)] if rest else curved(loss, leaves)
        found, matrix = by_rows(problem, loss, parts)
        outputs = (gradient_output(problem, found), Output("hess", matrix, "the Gauss-Newton matrix"))
        return Derived(loss, outputs, found, "gradient and Gauss-Newton matrix")


def by_rows(problem: Problem, loss: Node, parts: Sequence[Curved]) -> tuple[Mapping[Node, Node], tuple[Part, ...]]:
    """The adjoints of a loss and its matrix, by what the derivatives of the outputs are: arrays, loops, or entries."""
    leaves = leaves_of(problem)
    if problem.arrays:
        return reverse.adjoints(loss, leaves), by_blocks(problem, parts)
    if any(n.type.shape not in ((), ("n",)) for n in outputs_of(parts)):
        with suppress(Dense):
            return reverse.adjoints(loss, leaves), by_terms(problem, parts)
    rows = rows_by(problem, parts)
    return by_outputs(problem, loss, rows), by_entries(problem, parts, rows)


def outputs_of(parts: Sequence[Curved]) -> list[Node]:
    """The outputs, each once."""
    return list(dict.fromkeys(n for c in parts for n in (c.left, c.right)))


def rows_by(problem: Problem, parts: Sequence[Curved]) -> Rows:
    """The derivatives of the outputs by the entries of theta: in reverse mode of numbers and samples, else forward."""
    outputs, entries = outputs_of(parts), entries_of(problem)
    numbers = [n for n in outputs if not n.type.shape]
    samples = [n for n in outputs if n.type.shape == ("n",)]
    others = [n for n in outputs if n.type.shape not in ((), ("n",))]
    found = dict(zip(numbers, gradients_by(numbers, entries), strict=True))
    found |= dict(zip(samples, by_sample_gradients(problem, samples), strict=True)) if samples else {}
    one = const(1.0, problem.dtype)
    along = [reverse.jvp(others, [e], [one]) for e in entries] if others else []
    return found | {n: [tangents[k] for tangents in along] for k, n in enumerate(others)}


def by_outputs(problem: Problem, loss: Node, rows: Rows) -> dict[Node, Node]:
    """The adjoints of a loss, those of the parameters by way of the outputs if it depends on them by these alone."""
    leaves = leaves_of(problem)
    beyond = topological([loss], rows.__contains__)
    if any(n in leaves for n in beyond):
        return reverse.adjoints(loss, leaves)
    found = adjoints_above(loss, list(rows), rows)
    terms: list[list[Node]] = [[] for _ in entries_of(problem)]
    for n, row in rows.items():
        if n in found:
            for own, d in zip(terms, row, strict=True):
                if not is_const(d, 0.0):
                    own.append(summed(found[n] * d))
    entries = iter([add(*own) if own else const(0.0, problem.dtype) for own in terms])
    for n in leaves:
        own = [next(entries) for _ in range(size_of(n.type.shape))]
        shape = tuple(int(d) for d in n.type.shape)
        found[n] = assemble(own, shape, tuple(np.ndindex(shape))) if shape else own[0]
    return found


def summed(x: Node) -> Node:
    """The sum of all entries."""
    return sum_over(x, tuple(range(len(x.type.shape)))) if x.type.shape else x


def by_terms(problem: Problem, parts: Sequence[Curved]) -> tuple[Part, ...]:
    """The matrix of outputs that are loops over terms, as loops; Dense where their derivatives can't be followed."""
    known = terms_of(outputs_of(parts), seeds_of(problem))
    blocks = []
    for c in parts:
        left, right = known.get(c.left, []), known.get(c.right, [])
        half = c.scale if c.left is c.right else 0.5 * c.scale
        for s, t in [*product(left, right), *(product(right, left) if c.left is not c.right else ())]:
            weighted = half * (times(c.weight, s.factor) * t.factor)
            blocks.append(Block(s.columns, t.columns, expand(weighted, c.left.type.shape)))
    return (Part(filled_in(lower(blocks), sum(sizes_of(problem))), "hessian", ("",)),)


def by_entries(problem: Problem, parts: Sequence[Curved], rows: Rows) -> tuple[Part, ...]:
    """The matrix entry by entry, those below the diagonal once."""
    count = len(entries_of(problem))
    upper: list[list[Node]] = []
    for k in range(count):
        upper.append([])
        for j in range(k, count):
            terms = [c.scale * summed(product_of(c.weight, rows[c.left], rows[c.right], k, j)) for c in parts]
            own = [t for t in terms if not is_const(t, 0.0)]
            upper[-1].append(add(*own) if own else const(0.0, problem.dtype))
    return square(problem, upper)


def product_of(weight: Node, left: Sequence[Node], right: Sequence[Node], k: int, j: int) -> Node:
    """An entry of the weighted product of two derivatives, symmetric."""
    pairs = [(left[k], right[j])] if left is right else [(left[k], right[j]), (left[j], right[k])]
    own = [times(weight, a) * b for a, b in pairs if not (is_const(a, 0.0) or is_const(b, 0.0))]
    found = add(*own) if own else number(0.0, left[k])
    return found if left is right else 0.5 * found


def by_blocks(problem: Problem, parts: Sequence[Curved]) -> tuple[Part, ...]:
    """The same of arrays, a block for each pair of parameters, those below the diagonal by symmetry."""
    found = {n: columns(n, problem) for n in outputs_of(parts)}
    terms: dict[tuple[int, int], list[Node]] = {}
    for c in parts:
        for k, j in combinations_with_replacement(range(len(problem.params)), 2):
            whole = block(c, found[c.left][k], found[c.right][j])
            if c.left is not c.right:
                whole = 0.5 * (whole + block(c, found[c.right][k], found[c.left][j]))
            terms.setdefault((k, j), []).append(c.scale * whole)
    blocks = {place: add(*own) for place, own in terms.items()}
    return rows_of(problem, blocks | {(j, k): permute(b, (1, 0)) for (k, j), b in blocks.items() if k != j})


def block(c: Curved, left: Node, right: Node) -> Node:
    """The weighted sum of products of two derivatives, of shape (entries of a parameter, those of another)."""
    axes = tuple(range(2, len(left.type.shape) + 1))
    return contract(times(c.weight, left), (0, *axes), right, (1, *axes), (0, 1))
