"""Gauss-Newton matrices: of a loss of outputs the part of the Hessian that has their first derivatives alone.

`outer` finds the outputs and the curvature of the loss in them; here are their derivatives and the sums of products.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations_with_replacement, product

import numpy as np

from gradcompile.diff import reverse
from gradcompile.diff.masks import times
from gradcompile.diff.operators import (
    Derived,
    Layout,
    by_sample_gradients,
    columns,
    diagonal_part,
    diagonal_parts,
    entries_of,
    gradient_output,
    gradients_by,
    leaves_of,
    lower_of,
    rows_of,
    seeds_of,
    sizes_of,
    square,
)
from gradcompile.diff.outer import Curved, adjoints_above, curved
from gradcompile.diff.reach import Pairs, Reach, products, within
from gradcompile.diff.sparsity import Block, Dense, diagonal_of, filled_in, lower, shape_of, sparse, terms_of
from gradcompile.errors import ExpressionError
from gradcompile.ir.algebra import add, assemble, expand, number, permute, sum_over
from gradcompile.ir.core import Node, const, is_const
from gradcompile.ir.graph import topological
from gradcompile.ops.contract import contract
from gradcompile.ops.shape import is_broadcast
from gradcompile.signature.arguments import Problem
from gradcompile.signature.program import Output, Part, size_of

Rows = Mapping[Node, list[Node]]  # the derivatives of outputs, by the entries of theta


@dataclass(frozen=True)
class GaussNewton:
    """The operator: a loss, its gradient and its Gauss-Newton matrix."""

    layout: Layout = "dense"

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
        found, matrix = by_rows(problem, loss, parts, self.layout)
        return Derived(loss, (gradient_output(problem, found), matrix), found, "gradient and Gauss-Newton matrix")


def by_rows(
    problem: Problem, loss: Node, parts: Sequence[Curved], layout: Layout
) -> tuple[Mapping[Node, Node], Output]:
    """The adjoints of a loss and its matrix, by what the derivatives of the outputs are: arrays, loops, or entries."""
    leaves = leaves_of(problem)
    if problem.arrays:
        return reverse.adjoints(loss, leaves), of_arrays(problem, parts, layout)
    if any(n.type.shape not in ((), ("n",)) for n in outputs_of(parts)):
        with suppress(Dense):
            return reverse.adjoints(loss, leaves), of_blocks(problem, by_terms(problem, parts), layout)
    rows = rows_by(problem, parts)
    return by_outputs(problem, loss, rows), of_entries(problem, by_entries(problem, parts, rows, layout), layout)


def of_arrays(problem: Problem, parts: Sequence[Curved], layout: Layout) -> Output:
    """The matrix of arrays: sparse by terms where they can be followed, else block by block."""
    if layout == "diagonal":
        return as_output(by_diagonals(problem, parts), layout)
    if layout == "dense":
        return as_output(by_blocks(problem, parts), layout)
    try:
        blocks = by_terms(problem, parts)
    except Dense:
        blocks = within(lower_of(by_blocks(problem, parts)), pattern_of(problem, parts))
    return of_blocks(problem, blocks, layout)


def as_output(parts: tuple[Part, ...], layout: Layout) -> Output:
    """The output of parts of a matrix."""
    return Output("hess", parts, "the Gauss-Newton matrix" + ("'s diagonal" if layout == "diagonal" else ""))


def of_blocks(problem: Problem, blocks: Sequence[Block], layout: Layout) -> Output:
    """The output of a matrix of which blocks are the lower triangle."""
    size = sum(sizes_of(problem))
    if layout == "sparse":
        made = sparse(blocks, (size, size), True, problem.arrays)
        part = Part(made.data, "hessian", ("",))
        return Output("hess", (part,), "the entries of the Gauss-Newton matrix", pattern=made.pattern)
    whole = filled_in(blocks, size) if layout == "dense" else diagonal_of(blocks, size, problem.arrays)
    return as_output((Part(whole, "hessian" if layout == "dense" else "diagonal", ("",)),), layout)


def of_entries(problem: Problem, upper: Sequence[Sequence[Node]], layout: Layout) -> Output:
    """The output of a matrix from its rows, each from the diagonal on."""
    if layout == "dense":
        return as_output(square(problem, upper), layout)
    if layout == "diagonal":
        return as_output(diagonal_parts(problem, [row[0] for row in upper]), layout)
    blocks = [Block(np.array(j), np.array(k), n) for k, row in enumerate(upper) for j, n in enumerate(row, k)
              if not is_const(n, 0.0)]  # fmt: skip
    return of_blocks(problem, blocks, layout)


def pattern_of(problem: Problem, parts: Sequence[Curved]) -> Pairs:
    """Where the matrix of arrays may be other than 0: at pairs of columns that an output's entry depends on."""
    width = sum(sizes_of(problem))
    seeds = {n: t[0].columns for n, t in seeds_of(problem).items()}
    reach = Reach(outputs_of(parts), seeds, width)
    pairs = [products(reach.of(left), reach.of(right)) for c in parts
             for left, right in ((c.left, c.right), (c.right, c.left))]  # fmt: skip
    rows, places = (np.concatenate([np.zeros(0, int), *(p[k] for p in pairs)]) for k in (0, 1))
    return Pairs(rows, places, width)


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
                if not is_zero(d):
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


def by_terms(problem: Problem, parts: Sequence[Curved]) -> list[Block]:
    """The lower triangle of the matrix of outputs that are loops over terms; Dense where these can't be followed."""
    known = terms_of(outputs_of(parts), seeds_of(problem))
    blocks = []
    for c in parts:
        shape_of(c.left)
        left, right = known.get(c.left, []), known.get(c.right, [])
        half = c.scale if c.left is c.right else 0.5 * c.scale
        for s, t in [*product(left, right), *(product(right, left) if c.left is not c.right else ())]:
            weighted = half * (times(c.weight, s.factor) * t.factor)
            blocks.append(Block(s.columns, t.columns, expand(weighted, c.left.type.shape)))
    return lower(blocks)


def by_entries(problem: Problem, parts: Sequence[Curved], rows: Rows, layout: Layout) -> list[list[Node]]:
    """The rows of the matrix, each from the diagonal on; of a diagonal layout no more."""
    count = len(entries_of(problem))
    upper: list[list[Node]] = []
    for k in range(count):
        upper.append([])
        for j in range(k, k + 1 if layout == "diagonal" else count):
            terms = [(c, product_of(c.weight, rows[c.left], rows[c.right], k, j)) for c in parts]
            own = [c.scale * summed(t) for c, t in terms if not is_zero(t)]
            upper[-1].append(add(*own) if own else const(0.0, problem.dtype))
    return upper


def is_zero(n: Node) -> bool:
    """Whether a node is 0, or 0 for every sample."""
    return is_const(n, 0.0) or (is_broadcast(n) and is_const(n.args[0], 0.0))


def product_of(weight: Node, left: Sequence[Node], right: Sequence[Node], k: int, j: int) -> Node:
    """An entry of the weighted product of two derivatives, symmetric."""
    pairs = [(left[k], right[j])] if left is right else [(left[k], right[j]), (left[j], right[k])]
    own = [times(weight, a) * b for a, b in pairs if not (is_zero(a) or is_zero(b))]
    found = add(*own) if own else number(0.0, left[k])
    return found if left is right else 0.5 * found


def by_blocks(problem: Problem, parts: Sequence[Curved]) -> tuple[Part, ...]:
    """The matrix of arrays, a block for each pair of parameters, those below the diagonal by symmetry."""
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


def block(c: Curved, left: Node, right: Node, is_diagonal: bool = False) -> Node:
    """The weighted sum of products of two derivatives: of shape (entries of a parameter, those of another).

    is_diagonal: of one parameter, each entry with itself.
    """
    axes = tuple(range(2, len(left.type.shape) + 1))
    if is_diagonal:
        return contract(times(c.weight, left), (0, *axes), right, (0, *axes), (0,))
    return contract(times(c.weight, left), (0, *axes), right, (1, *axes), (0, 1))


def by_diagonals(problem: Problem, parts: Sequence[Curved]) -> tuple[Part, ...]:
    """The diagonal of the matrix of arrays: a part for each parameter."""
    found = {n: columns(n, problem) for n in outputs_of(parts)}
    own = [add(*(c.scale * block(c, found[c.left][k], found[c.right][k], True) for c in parts))
           for k in range(len(problem.params))]  # fmt: skip
    return tuple(diagonal_part(a.name, n) for a, n in zip(problem.params, own, strict=True))
