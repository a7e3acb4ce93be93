"""Operators: what is computed of the values that were read, as outputs: gradient, Hessian, Jacobian, products.

Each is a function of a problem and its values as they are differentiated. All are made from reverse and forward mode.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, count, islice
from typing import Literal

import numpy as np

from gradcompile.diff import reverse, samples
from gradcompile.diff.batch import batched, fitting, unit
from gradcompile.diff.coloring import colors_of
from gradcompile.diff.diagonal import diagonal
from gradcompile.diff.reach import Pairs, Reach, within
from gradcompile.diff.sparsity import Block, Dense, Term, Terms, blocks_of, diagonal_of, filled_in, lower, sparse
from gradcompile.errors import ExpressionError
from gradcompile.ir.algebra import (
    add,
    assemble,
    astype,
    at_most,
    counting,
    equal,
    expand,
    length_along,
    part_at,
    permute,
    reshape_to,
    select,
    sum_over,
    zeros_like,
)
from gradcompile.ir.core import Node, apply, const, is_const, leaf
from gradcompile.ir.graph import depends_on, substitute, topological
from gradcompile.ir.types import ArrayType, Shape
from gradcompile.ops.constant_index import is_pack, table
from gradcompile.ops.contract import contract
from gradcompile.ops.reduction import is_sum
from gradcompile.ops.scan import Loop, fresh, make_scan, scan_results
from gradcompile.ops.shape import Span
from gradcompile.signature.arguments import Problem, entry_names
from gradcompile.signature.program import Output, Part, size_of

_numbers = count()


@dataclass(frozen=True, slots=True)
class Derived:
    """What is computed: the value that is returned, None if there is none, and the outputs.

    adjoints: of nodes of the value.  beside: what is computed beside the value, in a sentence.  tangents: of nodes of
    the value, and of adjoints.
    """

    value: Node | None
    outputs: tuple[Output, ...]
    adjoints: Mapping[Node, Node] = field(default_factory=dict)
    beside: str = ""
    tangents: Mapping[Node, Node] = field(default_factory=dict)

    @property
    def roots(self) -> list[Node]:
        """The value, and the parts of the outputs in their order."""
        return [*([] if self.value is None else [self.value]), *(p.node for o in self.outputs for p in o.parts)]

    def with_roots(self, roots: Sequence[Node]) -> "Derived":
        """The same of other nodes for the roots."""
        new = iter(roots)
        value = None if self.value is None else next(new)
        outputs = tuple(replace(o, parts=tuple(replace(p, node=next(new)) for p in o.parts)) for o in self.outputs)
        return Derived(value, outputs, {}, self.beside)


What = Literal["gradients", "norms", "moments", "values"]
Layout = Literal["dense", "sparse", "diagonal"]
Operator = Callable[[Problem, Sequence[Node]], Derived]


# ---- values and gradients


def value(problem: Problem, values: Sequence[Node]) -> Derived:
    """The values alone: one that is a number is returned, of others each fills an output."""
    if len(values) == 1 and not values[0].type.shape:
        return Derived(values[0], (Output("out", (), "the value"),))
    return Derived(None, (filled(problem, values),))


def filled(problem: Problem, values: Sequence[Node]) -> Output:
    """The output of values."""
    by_sample = is_by_sample(problem, values)
    parts = tuple(Part(v, "result", ("",)) for v in values)
    return Output("out", parts, "the value of every sample" if by_sample else "the value", by_sample)


def is_by_sample(problem: Problem, values: Sequence[Node]) -> bool:
    """Whether values have an entry a sample."""
    return not problem.arrays and any(v.type.shape == ("n",) for v in values)


def gradient(problem: Problem, values: Sequence[Node]) -> Derived:
    """A loss and its gradient, by reverse mode."""
    found = reverse.adjoints(values[0], leaves_of(problem))
    return Derived(values[0], (gradient_output(problem, found),), found, "the gradient")


def leaves_of(problem: Problem) -> list[Node]:
    """The parameters."""
    return [a.leaf for a in problem.params]


def gradient_output(problem: Problem, found: Mapping[Node, Node]) -> Output:
    """The output of a gradient: a part for each parameter."""
    entries = iter(entry_names(problem))
    parts = []
    for a in problem.params:
        names = [a.name] if problem.arrays else list(islice(entries, size_of(a.leaf.type.shape)))
        labels = tuple(f"dL/d{name}" for name in names)
        parts.append(Part(found.get(a.leaf) or zeros_like(a.leaf), f"d_{a.name}", labels))
    return Output("grad", tuple(parts), "the gradient")


# ---- theta, entry by entry


def entries_of(problem: Problem) -> list[Node]:
    """The entries of theta, of parameters that are symbols."""
    found = []
    for a in problem.params:
        shape = tuple(int(d) for d in a.leaf.type.shape)
        found += [part_at(a.leaf, index) for index in np.ndindex(shape)] if shape else [a.leaf]
    return found


def gradients_by(outputs: Sequence[Node], wrt: Sequence[Node]) -> list[list[Node]]:
    """The gradients of numbers in entries of theta, a row each."""
    rows = []
    for output in outputs:
        found = reverse.adjoints(output, wrt)
        rows.append([found.get(n) or zeros_like(n) for n in wrt])
    return rows


# ---- theta, an array for each parameter


def seeds(problem: Problem) -> list[Node]:
    """A leaf like each parameter, for its tangent."""
    return [leaf(f"tangent.{next(_numbers)}", n.type, "body") for n in leaves_of(problem)]


def for_units(outputs: Sequence[Node], seed: Node) -> list[Node]:
    """Outputs that are linear in a seed for all its unit values: along axis 0, one for each entry of it."""
    return for_values(outputs, {seed: unit(seed.type.shape, seed.type.dtype)}, size_of(seed.type.shape))


def for_values(outputs: Sequence[Node], seeds: Mapping[Node, Node], length: int) -> list[Node]:
    """Outputs for so many values of seeds, which lie along an axis 0, at once or in a loop."""
    order = topological(outputs)
    moving = depends_on(order, seeds)
    if moving <= fitting(order, seeds, moving):
        return batched(outputs, seeds, {}, length)
    rows = {seed: fresh(seed.type) for seed in seeds}
    loop = Loop((), tuple(rows.values()), (), (), tuple(substitute(outputs, rows)), (), length)
    return scan_results(make_scan(loop, (), tuple(seeds.values()), {}))


def columns(output: Node, problem: Problem) -> list[Node]:
    """The derivative of an output by each parameter, forward: of shape (entries of the parameter, *its shape)."""
    return [for_units(reverse.jvp([output], [n], [seed]), seed)[0]
            for n, seed in zip(leaves_of(problem), seeds(problem), strict=True)]  # fmt: skip


def side_by_side(blocks: Sequence[Node], shape: Shape) -> Node:
    """Blocks (k, *shape) as one array (*shape, all k)."""
    widths, rank = [size_of(b.type.shape[:1]) for b in blocks], len(shape)
    turned = [permute(b, (*range(1, rank + 1), 0)) if rank else b for b in blocks]
    if len(turned) == 1:
        return turned[0]
    starts = accumulate(widths, initial=0)
    places = tuple((*[None] * rank, Span(at, k)) for at, k in zip(starts, widths, strict=False))
    return assemble(turned, (*shape, sum(widths)), places)


# ---- Hessians


def hessian(problem: Problem, values: Sequence[Node], layout: Layout = "dense") -> Derived:
    """A loss, its gradient and its Hessian: of entries reverse over reverse, of arrays forward over reverse."""
    found = reverse.adjoints(values[0], leaves_of(problem))
    if layout == "sparse":
        output = sparse_hessian(problem, values[0], found)
    elif layout == "diagonal":
        output = Output("hess", hessian_diagonal(problem, values[0], found), "the Hessian's diagonal")
    else:
        output = Output("hess", dense_hessian(problem, values[0], found), "the Hessian")
    return Derived(values[0], (gradient_output(problem, found), output), found, "gradient and Hessian")


def dense_hessian(problem: Problem, loss: Node, found: Mapping[Node, Node]) -> tuple[Part, ...]:
    """The whole Hessian: of arrays block by block, of numbers entry by entry, or as loops give its entries."""
    if problem.arrays:
        return hessian_blocks(problem, found)
    if any(is_pack(n) for n in topological([loss])):
        try:
            return (Part(filled_in(lower_triangle(problem, found), sum(sizes_of(problem))), "hessian", ("",)),)
        except Dense:
            pass  # entry by entry as well, which is slower to compile
    return square(problem, upper_rows(problem, loss))


def sizes_of(problem: Problem) -> list[int]:
    """The entries of each parameter."""
    return [size_of(n.type.shape) for n in leaves_of(problem)]


def lower_triangle(problem: Problem, found: Mapping[Node, Node]) -> list[Block]:
    """The Hessian on and below the diagonal, by way of the gradient; Dense where its entries can't be followed."""
    return lower(blocks_of([found.get(n) or zeros_like(n) for n in leaves_of(problem)], seeds_of(problem)))


def seeds_of(problem: Problem) -> dict[Node, Terms]:
    """The parameters as they depend on theta: each entry on its own."""
    found, at = {}, 0
    for n in leaves_of(problem):
        size = size_of(n.type.shape)
        columns = np.arange(at, at + size).reshape([int(d) for d in n.type.shape])
        found[n] = [Term(columns, const(1.0, n.type.dtype))]
        at += size
    return found


def sparse_hessian(problem: Problem, loss: Node, found: Mapping[Node, Node]) -> Output:
    """The Hessian's entries that may be other than 0, both triangles of it, compressed by columns."""
    size = sum(sizes_of(problem))
    gradients = [found.get(n) or zeros_like(n) for n in leaves_of(problem)]
    try:
        blocks = lower_triangle(problem, found)
    except Dense:
        blocks = by_colors(problem, gradients) or dense_lower(problem, loss, found)
    if problem.arrays:
        blocks = within(lower(blocks), pattern_of(problem, gradients))
    made = sparse(blocks, (size, size), True, problem.arrays)
    return Output("hess", (Part(made.data, "hessian", ("",)),), "the entries of the Hessian", pattern=made.pattern)


def dense_lower(problem: Problem, loss: Node, found: Mapping[Node, Node]) -> list[Block]:
    """The lower triangle of a Hessian, entry by entry, or block by block of arrays."""
    if problem.arrays:
        return lower_of(hessian_blocks(problem, found))
    return [Block(np.array(j), np.array(k), n) for k, row in enumerate(upper_rows(problem, loss))
            for j, n in enumerate(row, k) if not is_const(n, 0.0)]  # fmt: skip


def upper_rows(problem: Problem, loss: Node) -> list[list[Node]]:
    """The rows of a Hessian entry by entry, each from the diagonal on."""
    entries = entries_of(problem)
    (gradients,) = gradients_by([loss], entries)
    return [gradients_by([g], entries[k:])[0] for k, g in enumerate(gradients)]


def lower_of(parts: Sequence[Part]) -> list[Block]:
    """The lower triangle of a matrix that is whole, a row of blocks for each parameter."""
    starts = np.cumsum([0, *(int(p.node.type.shape[0]) for p in parts)])
    grids = [np.indices([int(d) for d in p.node.type.shape]) for p in parts]
    return lower(Block(grid[0] + k, grid[1], p.node) for p, grid, k in zip(parts, grids, starts, strict=False))


def square(problem: Problem, rows: Sequence[Sequence[Node]]) -> tuple[Part, ...]:
    """The parts of a symmetric matrix over theta, from its rows, each from the diagonal on."""
    names = entry_names(problem)
    places = [(k, j) for k in range(len(rows)) for j in range(len(rows))]
    return tuple(Part(rows[min(k, j)][abs(j - k)], "hessian", (f"d2L/(d{names[k]} d{names[j]})",)) for k, j in places)


def hessian_diagonal(problem: Problem, loss: Node, found: Mapping[Node, Node]) -> tuple[Part, ...]:
    """The diagonal of the Hessian: a part for each parameter."""
    if not problem.arrays:
        entries = entries_of(problem)
        (gradients,) = gradients_by([loss], entries)
        return diagonal_parts(problem, [gradients_by([g], [e])[0][0] for g, e in zip(gradients, entries, strict=True)])
    try:
        return (Part(diagonal_of(lower_triangle(problem, found), sum(sizes_of(problem)), True), "diagonal", ("",)),)
    except Dense:
        gradients = [found.get(n) or zeros_like(n) for n in leaves_of(problem)]
        blocks = by_colors(problem, gradients)
    if blocks:
        return (Part(diagonal_of(blocks, sum(sizes_of(problem)), True), "diagonal", ("",)),)
    parts = []
    for a, seed in zip(problem.params, seeds(problem), strict=True):
        size = size_of(seed.type.shape)
        made = for_units(reverse.jvp([found.get(a.leaf) or zeros_like(a.leaf)], [a.leaf], [seed]), seed)
        parts.append(diagonal_part(a.name, diagonal(reshape_to(made[0], (size, size)))))
    return tuple(parts)


def diagonal_parts(problem: Problem, entries: Sequence[Node]) -> tuple[Part, ...]:
    """The parts of a diagonal, entry by entry."""
    labels = [f"d2L/d{name}2" for name in entry_names(problem)]
    return tuple(Part(n, "diagonal", (label,)) for n, label in zip(entries, labels, strict=True))


def diagonal_part(name: str, diagonal: Node) -> Part:
    """The part of a diagonal that belongs to a parameter."""
    return Part(diagonal, f"h_{name}", (f"d2L/d{name}2",))


def hessian_blocks(problem: Problem, found: Mapping[Node, Node]) -> tuple[Part, ...]:
    """The Hessian block by block, a row of them for each parameter, those below the diagonal by symmetry."""
    leaves, sizes = leaves_of(problem), sizes_of(problem)
    gradients = [found.get(n) or zeros_like(n) for n in leaves]
    blocks: dict[tuple[int, int], Node] = {}
    for k, (n, seed) in enumerate(zip(leaves, seeds(problem), strict=True)):
        made = for_units(reverse.jvp(gradients[k:], [n], [seed]), seed)
        for j, block in enumerate(made, k):
            blocks[k, j] = reshape_to(block, (sizes[k], sizes[j]))
            blocks[j, k] = permute(blocks[k, j], (1, 0))
        blocks[k, k] = mirrored(blocks[k, k])
    return rows_of(problem, blocks)


def mirrored(x: Node) -> Node:
    """A matrix that is symmetric but for rounding, with the entries below the diagonal above it as well."""
    if x.type.shape == (1, 1):
        return x
    row, column = (counting(x.type.shape, k) for k in (0, 1))
    return select(at_most(column, row), x, permute(x, (1, 0)))


def rows_of(problem: Problem, blocks: Mapping[tuple[int, int], Node]) -> tuple[Part, ...]:
    """Blocks of a matrix over theta, as a row of them for each parameter."""
    leaves = leaves_of(problem)
    sizes = sizes_of(problem)
    rows = [side_by_side([permute(blocks[k, j], (1, 0)) for j in range(len(leaves))], (sizes[k],))
            for k in range(len(leaves))]  # fmt: skip
    return tuple(Part(row, f"h_{a.name}", (f"d2L/d{a.name}",)) for a, row in zip(problem.params, rows, strict=True))


# ---- products with a vector, which is the first input


def tangents_of(problem: Problem) -> dict[Node, Node]:
    """What is moved, and along what: entries of theta or whole parameters, and as much of the vector."""
    vector = problem.inputs[0].leaf
    if not problem.arrays:
        return {n: part_at(vector, (k,)) for k, n in enumerate(entries_of(problem))}
    found, at = {}, 0
    for n in leaves_of(problem):
        k = size_of(n.type.shape)
        part = part_at(vector, (Span(at, k) if n.type.shape else at,))
        found[n] = reshape_to(part, n.type.shape)
        at += k
    return found


def hessian_product(problem: Problem, values: Sequence[Node]) -> Derived:
    """A loss, its gradient, and the Hessian times a vector: the gradient, pushed forward along it."""
    found = reverse.adjoints(values[0], leaves_of(problem))
    output = gradient_output(problem, found)
    pushed, tangents = reverse.pushed([p.node for p in output.parts], tangents_of(problem))
    parts = tuple(Part(n, p.name.replace("d_", "hv_", 1), tuple(f"(H v) of {t[4:]}" for t in p.labels))
                  for n, p in zip(pushed, output.parts, strict=True))  # fmt: skip
    return Derived(values[0], (output, Output("hv", parts, "the product")), found, "gradient and product", tangents)


def mixed_product(problem: Problem, values: Sequence[Node], position: int) -> Derived:
    """The derivative of the gradient's product with a vector in one of the inputs, which may be columns."""
    n = problem.inputs[position].leaf
    ((along,), _) = reverse.pushed(values, tangents_of(problem))
    found = reverse.adjoints(along, [n]).get(n) or zeros_like(n)
    by_sample = not problem.arrays and n.type.shape[:1] == ("n",)
    is_table = by_sample and len(n.type.shape) > 1
    rows = [part_at(found, (None, *k)) for k in np.ndindex(*map(int, n.type.shape[1:]))] if is_table else [found]
    name = problem.inputs[position].name
    parts = tuple(Part(row, f"d_{name}", ("",)) for row in rows)
    return Derived(None, (Output("mixed", parts, "the product's derivative", by_sample),), {}, "the mixed product")


def tangent(problem: Problem, values: Sequence[Node]) -> Derived:
    """Values and their derivative along a vector, by forward mode."""
    pushed, tangents = reverse.pushed(values, tangents_of(problem))
    made, by_sample = value(problem, values), is_by_sample(problem, values)
    parts = tuple(Part(p, "tangent", ("along the tangent",)) for p in pushed)
    outputs = (*made.outputs, Output("d_out", parts, "the tangent", by_sample))
    return Derived(made.value, outputs, {}, "the tangent", tangents)


# ---- Jacobians


def jacobian(problem: Problem, values: Sequence[Node], layout: Layout = "dense") -> Derived:
    """Values and their derivatives by theta: along the last axis."""
    by_sample, out = is_by_sample(problem, values), filled(problem, values)
    if layout == "sparse":
        return Derived(None, (out, sparse_jacobian(problem, values)), {}, "the Jacobian")
    names = entry_names(problem)
    if problem.arrays:
        parts = tuple(Part(jacobian_array(problem, v), "jacobian", ("",)) for v in values)
    else:
        rows = by_sample_gradients(problem, values) if by_sample else gradients_by(values, entries_of(problem))
        parts = tuple(Part(d, "d", (f"d/d{name}",)) for row in rows for d, name in zip(row, names, strict=True))
    what = "the Jacobian of every sample" if by_sample else "the Jacobian"
    return Derived(None, (out, Output("jac", parts, what, by_sample)), {}, "the Jacobian")


def sparse_jacobian(problem: Problem, values: Sequence[Node]) -> Output:
    """The Jacobian's entries that may be other than 0, compressed by rows; a row for each entry of the values."""
    width = sum(sizes_of(problem))
    if any(isinstance(d, str) for v in values for d in v.type.shape):
        raise ExpressionError("a sparse Jacobian has a known number of rows, and this has some for each sample; leave "
                              "sparse out, or give the lengths as numbers")  # fmt: skip
    height = sum(size_of(v.type.shape) for v in values)
    try:
        blocks = blocks_of(values, seeds_of(problem))
    except Dense:
        blocks = by_colors(problem, values) or dense_rows(problem, values)
    if problem.arrays:
        blocks = within(blocks, pattern_of(problem, values))
    made = sparse(blocks, (height, width), False, problem.arrays)
    return Output("jac", (Part(made.data, "jacobian", ("",)),), "the entries of the Jacobian", pattern=made.pattern)


def pattern_of(problem: Problem, outputs: Sequence[Node]) -> Pairs:
    """Where the derivative of arrays may be other than 0: rows over all their entries, and columns over theta."""
    seeds = {n: t[0].columns for n, t in seeds_of(problem).items()}
    width = sum(sizes_of(problem))
    reach = Reach(outputs, seeds, width)
    starts = accumulate((size_of(n.type.shape) for n in outputs), initial=0)
    found = [reach.of(n) for n in outputs]
    rows = np.concatenate([own + start for (own, _), start in zip(found, starts, strict=False)])
    return Pairs(rows, np.concatenate([columns for _, columns in found]), width)


def by_colors(problem: Problem, outputs: Sequence[Node]) -> list[Block]:
    """The derivative of arrays, columns that share no row computed together; none where that would save nothing.

    A colour gives a product with the derivative, whose entries are those of the one column that each depends on.
    """
    if not problem.arrays:
        return []
    pairs = pattern_of(problem, outputs)
    colors = colors_of(pairs.rows, pairs.columns, pairs.width)
    count = int(colors.max(initial=-1)) + 1
    if not 0 < count <= pairs.width // 2:
        return []
    own, tables, at = seeds(problem), dict[Node, Node](), 0
    for n in own:
        size = size_of(n.type.shape)
        counted = counting((count, size), 0)
        hit = equal(astype(counted, n.type.dtype), table(colors[at : at + size].astype(float), n.type.dtype))
        tables[n] = reshape_to(astype(hit, n.type.dtype), (count, *n.type.shape))
        at += size
    found = for_values(reverse.jvp(outputs, leaves_of(problem), own), tables, count)
    blocks, start = [], 0
    for n, rows in zip(outputs, found, strict=True):
        size = size_of(n.type.shape)
        columns = np.full((count, size), -1)
        inside = (pairs.rows >= start) & (pairs.rows < start + size)
        columns[colors[pairs.columns[inside]], pairs.rows[inside] - start] = pairs.columns[inside]
        blocks.append(Block(np.broadcast_to(np.arange(start, start + size), columns.shape), columns,
                            reshape_to(rows, (count, size))))  # fmt: skip
        start += size
    return blocks


def dense_rows(problem: Problem, values: Sequence[Node]) -> list[Block]:
    """The Jacobian entry by entry, or array by array."""
    if problem.arrays:
        found, at = [], 0
        for v in values:
            size = size_of(v.type.shape)
            whole = reshape_to(jacobian_array(problem, v), (size, sum(sizes_of(problem))))
            rows, places = np.indices([int(d) for d in whole.type.shape])
            found.append(Block(rows + at, places, whole))
            at += size
        return found
    rows = gradients_by(values, entries_of(problem))
    return [Block(np.array(k), np.array(j), n) for k, row in enumerate(rows) for j, n in enumerate(row)
            if not is_const(n, 0.0)]  # fmt: skip


def jacobian_array(problem: Problem, output: Node) -> Node:
    """The Jacobian of an array: forward by entries of theta, or backward by entries of the array if these are fewer."""
    leaves, shape = leaves_of(problem), output.type.shape
    sizes = sizes_of(problem)
    if any(isinstance(d, str) for d in shape) or size_of(shape) >= sum(sizes):
        return side_by_side(columns(output, problem), shape)
    seed = leaf(f"cotangent.{next(_numbers)}", output.type, "body")
    found = reverse.adjoints(output, leaves, seed)
    rows = for_units([found.get(n) or zeros_like(n) for n in leaves], seed)
    count = size_of(shape)
    blocks = [permute(reshape_to(r, (count, k)), (1, 0)) for r, k in zip(rows, sizes, strict=True)]
    return reshape_to(side_by_side(blocks, (count,)), (*shape, sum(sizes)))


def by_sample_gradients(problem: Problem, values: Sequence[Node]) -> list[list[Node]]:
    """The gradients of values that have an entry a sample, each sample's own.

    In reverse mode, of parameters that have an entry a sample as well, so that nothing is summed over these; forward if
    a value holds a sum over the samples.
    """
    entries, order = entries_of(problem), topological(values)
    moving = depends_on(order, entries)
    if any(is_sum(n) and n.args[0].type.shape[:1] == ("n",) for n in moving & set(order)):
        one = const(1.0, problem.dtype)
        by_entry = [reverse.jvp(values, [e], [one]) for e in entries]
        return [list(row) for row in zip(*by_entry, strict=True)]
    own = [leaf(f"sample.{next(_numbers)}", ArrayType(("n",), problem.dtype), "body") for _ in entries]
    turned = substitute(values, dict(zip(entries, own, strict=True)))
    back, found = dict(zip(own, entries, strict=True)), list[list[Node]]()
    for v in turned:
        ones = expand(const(1.0, problem.dtype), ("n",))
        adjoints = reverse.adjoints(v, own, ones)
        rows = substitute([adjoints.get(n) or zeros_like(n) for n in own], back)
        found.append([expand(r, ("n",)) for r in rows])
    return found


# ---- samples one by one


def per_sample(problem: Problem, values: Sequence[Node], what: What = "gradients") -> Derived:
    """The value of each sample, and its gradient or the norm of that; or the mean of its outer products."""
    each = samples.values_of(values[0])
    out = filled(problem, [each])
    if what == "values":
        return Derived(None, (out,))
    if what == "gradients":
        return replace(sample_gradients(problem, each, out), beside="the gradients of samples")
    if what == "norms":
        norms = apply("sqrt", squared_norms(problem, each))
        part = Part(norms, "norm", ("",))
        return Derived(None, (out, Output("norms", (part,), "the norms", not problem.arrays)), {}, "the norms")
    return Derived(values[0], (Output("moments", moments(problem, each), "the moments"),), {}, "the moments")


def sample_gradients(problem: Problem, each: Node, out: Output) -> Derived:
    """The gradients of samples, along the last axis."""
    if not problem.arrays:
        return jacobian(problem, [each])
    whole = side_by_side([permute(r, (1, 0)) for r in own_gradients(problem, each)], each.type.shape)
    return Derived(None, (out, Output("jac", (Part(whole, "gradients", ("",)),), "the gradients")))


def own_gradients(problem: Problem, each: Node) -> list[Node]:
    """The gradient of each sample in each parameter, a row a sample."""
    found = zip(samples.gradients_of(each, leaves_of(problem)), sizes_of(problem), strict=True)
    return [reshape_to(g, (*each.type.shape, k)) for g, k in found]


def squared_norms(problem: Problem, each: Node) -> Node:
    """The squared norm of each sample's gradient."""
    if problem.arrays:
        return samples.norms_of(each, leaves_of(problem))
    (row,) = by_sample_gradients(problem, [each])
    return add(*(d * d for d in row))


def moments(problem: Problem, each: Node) -> tuple[Part, ...]:
    """The mean of the outer products of samples' gradients; parts as of a Hessian."""
    count = length_along(each, 0)
    if not problem.arrays:
        (row,) = by_sample_gradients(problem, [each])
        return square(problem, [[sum_over(a * b, (0,)) / count for b in row[k:]] for k, a in enumerate(row)])
    rows = own_gradients(problem, each)
    blocks = {(k, j): contract(a, (0, 1), b, (0, 2), (1, 2)) / count
              for k, a in enumerate(rows) for j, b in enumerate(rows)}  # fmt: skip
    return rows_of(problem, blocks)
