"""SymPy's matrix expressions: each class becomes nodes whose last two axes are the matrix, behind the samples' if any.

A product is contracted in the cheapest order. Diagonal matrices, identities and matrices of ones are no operands of it
but say which axes are one, or summed; an inverse solves for what stands beside it, and is never worked out for that.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import sympy
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.matrices.expressions.kronecker import KroneckerProduct
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from gradcompile.errors import ArgumentError, ExpressionError
from gradcompile.frontend.arrays.core import Array
from gradcompile.frontend.arrays.indexing import diagonal as diagonal_along
from gradcompile.frontend.arrays.linalg import identity, solve
from gradcompile.frontend.arrays.products import products
from gradcompile.frontend.arrays.shapes import filled, with_axes, without_axes
from gradcompile.frontend.sympy import scalars as scalars
from gradcompile.frontend.sympy.arguments import Slot, base_of, dimension, dimension_symbols, elements, indices, within
from gradcompile.frontend.sympy.scalars import HANDLERS, Context, Conversion
from gradcompile.ir.algebra import (
    all_of,
    arange,
    assemble,
    astype,
    broadcast_to,
    equal,
    expand,
    length_along,
    part_at,
    reshape_to,
    select,
    times,
)
from gradcompile.ir.core import Node, apply, const, is_leaf, leaf
from gradcompile.ir.graph import depends_on, substitute, topological
from gradcompile.ir.types import ArrayType, Dim, Shape, broadcast, dim_product, dim_sum, dims_told, parsed
from gradcompile.ops.constant_index import table
from gradcompile.ops.labels import NAMED, Labelled
from gradcompile.ops.labels import without_transposes as upright
from gradcompile.ops.linalg import flipped, on_diagonal, positions
from gradcompile.ops.shape import Span, is_broadcast, is_transpose
from gradcompile.signature.arguments import Argument
from gradcompile.signature.names import text

POWERS = 4  # up to this one a power is so many factors of a product, so that A**2*b is A*(A*b)
MINORS = 6  # rows of an explicit matrix whose determinant is written out, by at most 192 products
SAMPLES = -1  # the label of the samples' axis
EXPLICIT = (sympy.MatrixBase,)

# Scalars and matrices


def conversion(expr: Any, named: Mapping[Any, Any]) -> Conversion:
    """How to convert one expression; a scalar function takes of a matrix its one entry."""
    how = scalars.conversion(expr, named)
    if expr.is_Matrix or isinstance(expr, TAKERS):
        return how
    for p in how.parts:
        if p.is_Matrix:
            return Conversion(how.parts, partial(of_entries, expr, how), how.atom)
    return how


def of_entries(expr: Any, how: Conversion, c: Context, *nodes: Node) -> Node:
    """What a plan builds of scalars, given matrices among them."""
    parts = zip(nodes, how.parts, strict=True)
    return how.build(c, *(only_entry(n, p, expr) if p.is_Matrix else n for n, p in parts))


def only_entry(n: Node, expr: Any, where: Any = None) -> Node:
    """The entry of a matrix of one row and one column; ExpressionError for any other matrix."""
    k = len(n.type.shape) - 2
    if n.type.shape[-2:] == (1, 1):
        n = n.args[0] if is_turned(n) else n
        return n.args[0] if is_uniform(n) else without_axes(n, [k, k + 1])
    size, place = " x ".join(map(str, n.type.shape[-2:])), "the loss" if where is None else type(where).__name__
    cure = (
        "a loss is a scalar: take the Trace, a product with vectors on both sides, or an entry, as in m[0, 0]"
        if where is None
        else "it takes a scalar; for a function of each entry write m.applyfunc(f)"
    )
    raise ExpressionError(f"{place} is given {text(expr)}, which is {size}; {cure}")


def entries_of(n: Node, matrix: Node) -> Node:
    """A scalar with the axes of a matrix, so that it multiplies one."""
    return with_axes(n, [1, 2]) if len(n.type.shape) == 1 and len(matrix.type.shape) > 1 else n


# Transposes are taken out of what is made of them, as SymPy puts them in: (A*b - c).T comes as b.T*A.T - c.T


def is_turned(n: Node) -> bool:
    """Whether this is the transpose of a matrix."""
    k = len(n.type.shape)
    return is_transpose(n) and n.params[0] == (*range(k - 2), k - 1, k - 2)


def turned(n: Node) -> Node:
    """The transpose; of a transpose what that is of, of a matrix of one number one of the other shape."""
    if is_turned(n):
        return n.args[0]
    return uniform(n.args[0], n.type.shape[:-3:-1]) if is_uniform(n) else flipped(n)


def is_uniform(n: Node) -> bool:
    """Whether all entries of a matrix are one number."""
    return is_broadcast(n) and n.args[0].type.shape == n.type.shape[:-2]


def uniform(n: Node, shape: Shape) -> Node:
    """A matrix, or one for each sample, all entries of which are one number."""
    return broadcast_to(n, (*n.type.shape, *shape), tuple(range(len(n.type.shape))))


def each_entry(build: Callable[..., Node], *matrices: Node) -> Node:
    """A function, entry by entry, of matrices; of more transposes than others the transpose.

    So what was computed for the matrices is met again. Of as many of both, the first by name decides. Of matrices of
    one number each it is computed once.
    """
    if all(map(is_uniform, matrices)):
        return uniform(build(*(n.args[0] for n in matrices)), matrices[0].type.shape[-2:])
    found = [n for n in matrices if not is_uniform(n)]
    count = 2 * sum(map(is_turned, found))
    if count > len(found) or (0 < count == len(found) and is_turned(min(found, key=rank))):
        return turned(build(*map(turned, matrices)))
    return build(*matrices)


def rank(n: Node) -> tuple[bool, str, bool]:
    """Leaves by their names before other matrices by their ops, those that are transposed after those that aren't."""
    base = n.args[0] if is_turned(n) else n
    is_named = is_leaf(base)
    return not is_named, base.params[0] if is_named else base.op.name, is_turned(n)


# Products


class Factor(NamedTuple):
    """A factor of a product.

    kind: "matrix", "inverse", "diagonal", "reciprocal" (of a diagonal), "ones" or "identity".  part: what is
    converted, None for the last two.  flip: whether it is transposed.  shape: of the last two.
    """

    kind: str
    part: Any = None
    flip: bool = False
    shape: Shape = ()


class Product(NamedTuple):
    """A product of scalars and matrices."""

    scalars: Sequence[Any]
    factors: Sequence[Factor]

    @property
    def parts(self) -> list[Any]:
        """What is converted."""
        return [*self.scalars, *(f.part for f in self.factors if f.part is not None)]


class Piece(NamedTuple):
    """A factor with its node, and the matrix's shape."""

    kind: str
    node: Node | None
    shape: Shape


def factored(expr: Any) -> Product:
    """A matrix expression as a product, of one factor if it is none."""
    given = expr.args if isinstance(expr, sympy.MatMul) else (expr,)
    scalars = [a for a in given if not a.is_Matrix]
    return Product(scalars, [f for a in given if a.is_Matrix for f in factors(a)])


def factors(expr: Any) -> list[Factor]:
    """One factor of a product, or several where it is a power."""
    flip = False
    while isinstance(expr, sympy.Transpose | sympy.Adjoint):
        flip, expr = not flip, expr.args[0]
    if isinstance(expr, sympy.MatPow):
        return powers(expr, flip)
    if isinstance(expr, sympy.Identity | sympy.OneMatrix):
        shape = tuple(dimension(d) for d in expr.shape)
        kind = "identity" if isinstance(expr, sympy.Identity) else "ones"
        return [Factor(kind, None, False, shape[::-1] if flip else shape)]
    if isinstance(expr, sympy.DiagMatrix):
        return [Factor("diagonal", expr.args[0])]
    return [Factor("matrix", expr, flip)]


def powers(expr: Any, flip: bool) -> list[Factor]:
    """A power as so many factors, an inverse for a negative one; a high one is a matrix."""
    base, exponent = expr.args
    if not exponent.is_Integer or exponent > POWERS or exponent == 0:
        return [Factor("matrix", expr, flip)]
    if exponent > 0:
        return [Factor("matrix", base, flip)] * int(exponent)
    if isinstance(base, sympy.DiagMatrix):
        return [Factor("reciprocal", base.args[0])] * -int(exponent)
    return [Factor("inverse", base, flip)] * -int(exponent)


def product(expr: Any) -> Conversion:
    """A product, or one factor of one."""
    found = factored(expr)
    return Conversion(found.parts, partial(multiplied, product=found))


def multiplied(c: Context, *nodes: Node, product: Product, traced: bool = False) -> Node:
    """The product of scalars and matrices, or its trace."""
    count = len(product.scalars)
    pieces = solved(c, pieces_of(product.factors, iter(nodes[count:]), c))
    result = contraction(c, pieces, traced)

    def scaled(n: Node) -> Node:
        return scalars.ratio(c, [*(entries_of(f, n) for f in nodes[:count]), n], ())

    return scaled(result) if traced else each_entry(scaled, result)


def pieces_of(found: Iterable[Factor], nodes: Iterator[Node], c: Context) -> list[Piece]:
    """The factors with their nodes."""
    result = []
    for f in found:
        n = None if f.part is None else next(nodes)
        if n is not None and f.kind in ("diagonal", "reciprocal"):
            v = vector(n)
            v = c.const(1.0) / v if f.kind == "reciprocal" else v
            result.append(Piece("diagonal", v, v.type.shape[-1:] * 2))
        elif n is not None:
            n = turned(n) if f.flip else n
            single = f.kind == "inverse" and n.type.shape[-2:] == (1, 1)
            n = each_entry(lambda x: c.const(1.0) / x, n) if single else n
            result.append(Piece("matrix" if single else f.kind, n, n.type.shape[-2:]))
        else:
            result.append(Piece(f.kind, None, f.shape))
    return result


def vector(n: Node) -> Node:
    """A matrix of one column, or one row, as a vector."""
    k = len(n.type.shape)
    return without_axes(n, [k - 1] if n.type.shape[-1] == 1 else [k - 2])


def solved(c: Context, pieces: list[Piece]) -> list[Piece]:
    """The pieces without an inverse: each has solved for what stands on one of its sides, the narrowest first."""
    while any(p.kind == "inverse" for p in pieces):
        found = min(neighbours(pieces), key=lambda s: s[0], default=None)
        if found is None:
            pieces = [*pieces, Piece("identity", None, pieces[-1].shape)]
            continue
        _, at, start, stop = found
        matrix, beside = pieces[at].node, contraction(c, pieces[start:stop])
        assert matrix is not None
        if start > at:
            result, span = solve(Array(matrix), Array(beside)).node, (at, stop)
        else:
            result, span = turned(solve(Array(turned(matrix)), Array(turned(beside))).node), (start, at + 1)
        pieces = [*pieces[: span[0]], Piece("matrix", result, result.type.shape[-2:]), *pieces[span[1] :]]
    return pieces


def neighbours(pieces: Sequence[Piece]) -> list[tuple[int, int, int, int]]:
    """The ways to take an inverse: how wide what it solves for is, where it is, and from where to where the other."""
    result, ends = [], [-1, *(k for k, p in enumerate(pieces) if p.kind == "inverse"), len(pieces)]
    for before, k, after in zip(ends, ends[1:], ends[2:], strict=False):
        result += [(width(pieces[j].shape[1]), k, k + 1, j + 1) for j in range(k + 1, after)]
        result += [(width(pieces[j].shape[0]), k, j, k) for j in range(before + 1, k)]
    return result


def width(dim: Dim) -> int:
    """A dimension as a number, to compare costs."""
    return dim if isinstance(dim, int) else NAMED


def contraction(c: Context, pieces: Sequence[Piece], traced: bool = False) -> Node:
    """The product of pieces without an inverse, or its trace; of more transposes than others the transpose."""
    matrices = [p.node for p in pieces if p.kind == "matrix" and p.node is not None]
    if not traced and 2 * sum(map(is_turned, matrices)) > len(matrices):
        return turned(contraction(c, [transposed(p) for p in reversed(pieces)]))
    operands, sizes, column = labelled(pieces)
    if traced or (sizes[0] == sizes[column] == 1):
        operands = [Labelled(n, tuple(0 if k == column else k for k in own)) for n, own in operands]
        n = summed(c, operands, (), {k: d for k, d in sizes.items() if k != column or k == 0})
        return n if traced else uniform(n, (1, 1))
    return summed(c, operands, (0, column), sizes) if column else diagonal_product(c, operands, sizes[0])


def transposed(p: Piece) -> Piece:
    """A piece transposed."""
    return p if p.kind == "diagonal" else Piece(p.kind, p.node and turned(p.node), p.shape[::-1])


def labelled(pieces: Sequence[Piece]) -> tuple[list[Labelled], dict[int, Dim], int]:
    """The operands with labels from row 0 on, the dimension of each label, and that of the columns of the product."""
    operands, sizes, column = list[Labelled](), {0: pieces[0].shape[0]}, 0
    for p in pieces:
        row = column
        if p.kind in ("matrix", "ones"):
            column = len(sizes)
            sizes[column] = p.shape[1]
        if p.node is not None:
            operands.append(operand(p.kind, p.node, row, column))
    return operands, sizes, column


def operand(kind: str, n: Node, row: int, column: int) -> Labelled:
    """A matrix with the labels of its axes; of a diagonal one its vector, of one number all over the number."""
    own: tuple[int, ...] = (row,) if kind == "diagonal" else (row, column)
    if kind == "matrix" and is_uniform(n):
        n, own = n.args[0], ()
    return Labelled(n, (*[SAMPLES] * (len(n.type.shape) - len(own)), *own))


def summed(c: Context, operands: Sequence[Labelled], result: tuple[int, ...], sizes: Mapping[int, Dim]) -> Node:
    """The contraction to a result; a label that no operand has is an axis of ones, which is repeated or counted."""
    operands = narrowed(list(map(upright, operands)), result)
    held = {k for x in operands for k in x.labels}
    batch = (SAMPLES,) if SAMPLES in held else ()
    kept = tuple(k for k in result if k in held)
    n = products(operands, (*batch, *kept)) if operands else c.const(1.0)
    for dim in (d for k, d in sizes.items() if k not in held and k not in result and d != 1):
        n = times(n, count(c, dim))
    if kept == result:
        return n
    at = (*range(len(batch)), *(len(batch) + result.index(k) for k in kept))
    return broadcast_to(n, (*n.type.shape[: len(batch)], *(sizes[k] for k in result)), at)


def narrowed(operands: Sequence[Labelled], result: tuple[int, ...]) -> list[Labelled]:
    """The operands without axes of one entry that neither another operand nor the result has."""
    uses = Counter(k for x in operands for k in x.labels) + Counter([SAMPLES, *result])
    found = []
    for node, labels in operands:
        lost = [k for k, label in enumerate(labels) if node.type.shape[k] == 1 and uses[label] == 1]
        kept = tuple(label for k, label in enumerate(labels) if k not in lost)
        found.append(Labelled(without_axes(node, lost), kept))
    return found


def diagonal_product(c: Context, operands: Sequence[Labelled], dim: Dim) -> Node:
    """The product of diagonal matrices and identities."""
    if not operands:
        return identity((dim, dim), c.dtype)
    batch = next((x.node.type.shape[:-1] for x in operands if SAMPLES in x.labels), ())
    n = products(operands, (*([SAMPLES] if batch else ()), 0))
    return on_diagonal(n, (*batch, dim, dim))


def count(c: Context, dim: Dim) -> Node:
    """A dimension as a number of the dtype."""
    if isinstance(dim, int):
        return c.const(float(dim))
    return in_dtype(c, length_along(arange(dim), 0))


def in_dtype(c: Context, n: Node) -> Node:
    """A node in the dtype of the graph."""
    return astype(n, c.dtype)


def trace(expr: Any) -> Conversion:
    """The trace: of a sum that of its terms, of a product a contraction."""
    if isinstance(expr.args[0], EXPLICIT):
        return scalars.trace(expr)
    terms = [factored(t) for t in summands(expr.args[0])]
    return Conversion([p for t in terms for p in t.parts], partial(sum_of_traces, terms=terms))


def summands(expr: Any) -> list[Any]:
    """The terms of nested sums of matrices."""
    found, stack = list[Any](), [expr]
    while stack:
        e = stack.pop()
        if isinstance(e, sympy.MatAdd):
            stack += reversed(e.args)
        else:
            found.append(e)
    return found


def sum_of_traces(c: Context, *nodes: Node, terms: Sequence[Product]) -> Node:
    """The sum of the traces of products."""
    rest, traces = nodes, list[Node]()
    for t in terms:
        own, rest = rest[: len(t.parts)], rest[len(t.parts) :]
        traces.append(multiplied(c, *own, product=t, traced=True))
    return scalars.total(c, *traces)


def raised(expr: Any) -> Conversion:
    """A power of a matrix: factors of a product, repeated squaring, or the power of its one entry."""
    base, exponent = expr.args
    if factored(expr).parts[0] is not expr:
        return product(expr)
    if exponent.is_Integer:
        return Conversion((base,), partial(squared, exponent=int(exponent)))
    if not exponent.is_Number:
        raise ExpressionError(f"{text(expr)}: the power {exponent} of a matrix is not a number; write the product out")
    return Conversion((base,), partial(root, expr=expr))


def root(c: Context, n: Node, expr: Any) -> Node:
    """A power of the entry of a matrix of one."""
    if n.type.shape[-2:] != (1, 1):
        raise ExpressionError(f"{text(expr)}: the power {expr.args[1]} of a matrix is no integer; write the root out")
    return each_entry(partial(scalars.power, c, exponent=expr.args[1]), n)


def squared(c: Context, n: Node, exponent: int) -> Node:
    """A power from 0 on, by repeated squaring."""
    result: Array = Array(n)
    if not exponent:
        return identity(n.type.shape, c.dtype)
    for bit in f"{exponent:b}"[1:]:
        result = result @ result
        result = result @ Array(n) if bit == "1" else result
    return result.node


# Numbers of a matrix


def determinant(expr: Any) -> Conversion:
    """The determinant; of a small explicit matrix by its minors."""
    matrix = expr.args[0]
    if isinstance(matrix, EXPLICIT) and matrix.rows <= MINORS:
        size, entries = int(matrix.rows), list(matrix.flat())
        kept = [k for k, e in enumerate(entries) if not (e.is_Number and e == 0)]
        build = partial(scalars.by_minors, places=[divmod(k, size) for k in kept], size=size)
        return Conversion([entries[k] for k in kept], build)
    return Conversion(expr.args, lambda c, n: apply("det", n))


def dot(expr: Any) -> Conversion:
    """The scalar product of two vectors."""
    if all(isinstance(a, EXPLICIT) for a in expr.args):
        return scalars.dot(expr)
    return Conversion(expr.args, scalar_product)


def scalar_product(c: Context, *nodes: Node) -> Node:
    """The contraction of two vectors, rows or columns."""
    found = [Labelled(v, (*[SAMPLES] * (len(v.type.shape) - 1), 0)) for v in map(vector, nodes)]
    return summed(c, found, (), {})


def element(expr: Any) -> Conversion:
    """An entry of a matrix, at constant places."""
    parent = expr.args[0]
    if isinstance(parent, (*EXPLICIT, sympy.MatrixSymbol)) or not all(i.is_Integer for i in indices(expr)):
        return scalars.element(expr)
    place = tuple(int(i) for i in indices(expr))
    return Conversion((parent,), lambda c, n: entry_at(n, place))


def entry_at(n: Node, place: tuple[int, ...]) -> Node:
    """The entry of a matrix, or of that of each sample."""
    return part_at(n, (*[None] * (len(n.type.shape) - 2), *place))


# Sums, and functions of entries


def entrywise_power(expr: Any) -> Conversion:
    """Each entry raised to a power, a number or that in another matrix."""
    base, exponent = expr.args
    if exponent.is_Number:
        return Conversion((base,), lambda c, n: each_entry(partial(scalars.power, c, exponent=exponent), n))
    return Conversion(expr.args, lambda c, x, y: apply("pow", entries_of(x, y), entries_of(y, x)))


class Entry(sympy.Dummy):  # type: ignore[misc]
    """What stands for any entry of a matrix in a function of it."""

    __slots__ = ()


def placeholder(entry: Any, c: Context) -> Node:
    """The leaf of an entry, which the matrix replaces in the end."""
    return leaf(f"entry_{entry.dummy_index}", ArrayType((), c.dtype))


def applied(expr: Any) -> Conversion:
    """A function of each entry: its formula is converted for one, then the matrix is put in its place."""
    function, matrix = expr.args
    entry = Entry("entry", real=True)
    if isinstance(function, sympy.Lambda):
        (variable,) = function.variables
        body = scalars.replaced(function.expr, variable, entry)
    else:
        body = function(entry)
    return Conversion((body, matrix), partial(of_each, expr=expr, entry=entry))


def of_each(c: Context, body: Node, matrix: Node, expr: Any, entry: Entry) -> Node:
    """The formula of one entry, with the matrix in its place and the axes of a matrix on what changes by sample."""
    at = placeholder(entry, c)
    order = topological([body])
    inside = depends_on(order, [at])
    if any(len(n.type.shape) > 1 for n in inside):
        raise ExpressionError(f"{text(expr)}: the function takes one entry, and uses it in a matrix; write that by "
                              "HadamardProduct and OneMatrix, without applyfunc")  # fmt: skip
    beside = {a for n in inside for a in n.args if a not in inside} | ({body} - inside)

    def function(n: Node) -> Node:
        (result,) = substitute([body], {at: n, **{a: entries_of(a, n) for a in beside}})
        return expand(result, broadcast(result.type.shape, n.type.shape))

    return each_entry(function, matrix)


# Matrices put together and taken apart


def explicit(expr: Any) -> Conversion:
    """A matrix that is given by its entries: a table of numbers, or scalars put in their places."""
    shape = tuple(int(d) for d in expr.shape)
    entries = list(expr.flat())
    if 0 in shape:
        raise ExpressionError(f"a matrix of shape {shape} has no entries; leave it out")
    if all(e.is_Number or e.is_NumberSymbol for e in entries):
        numbers = [scalars.nearest(e) for e in entries]
        rows = [numbers[k : k + shape[1]] for k in range(0, len(numbers), shape[1])]
        return Conversion((), lambda c: table(rows, c.dtype))
    kept = [k for k, e in enumerate(entries) if not (e.is_Number and e == 0)]
    places = [divmod(k, shape[1]) for k in kept]
    return Conversion([entries[k] for k in kept], partial(assembled, shape=shape, indices=places))


def assembled(c: Context, *nodes: Node, shape: Shape, indices: Sequence[tuple[Any, ...]]) -> Node:
    """Matrices, or scalars, in their places of a larger one that is zero elsewhere; for each sample if one is so."""
    own = [len(n.type.shape) - sum(not isinstance(i, int) for i in at) for n, at in zip(nodes, indices, strict=True)]
    batch = next((n.type.shape[:k] for n, k in zip(nodes, own, strict=True) if k), ())
    spread = [n if k == len(batch) else expand(n, (*batch, *n.type.shape)) for n, k in zip(nodes, own, strict=True)]
    return assemble(spread, (*batch, *shape), tuple((*[None] * len(batch), *at) for at in indices))


def blocks(expr: Any) -> Conversion:
    """A matrix of matrices."""
    grid = expr.args[0]
    return Conversion(list(grid.flat()), partial(tiled, columns=int(grid.shape[1])))


def tiled(c: Context, *nodes: Node, columns: int) -> Node:
    """Blocks given row by row."""
    rows = offsets([n.type.shape[-2] for n in nodes[::columns]])
    across = offsets([n.type.shape[-1] for n in nodes[:columns]])
    places = [(rows[k // columns], across[k % columns]) for k in range(len(nodes))]
    shape = tuple(dim_sum(s[-1].start, s[-1].count) for s in (rows, across))
    return assembled(c, *nodes, shape=shape, indices=places)


def block_diagonal(c: Context, *nodes: Node) -> Node:
    """Blocks on a diagonal, zeros beside them."""
    spans = [offsets([n.type.shape[k] for n in nodes]) for k in (-2, -1)]
    shape = tuple(dim_sum(s[-1].start, s[-1].count) for s in spans)
    return assembled(c, *nodes, shape=shape, indices=list(zip(*spans, strict=True)))


def offsets(lengths: Sequence[Dim]) -> list[Span]:
    """Where blocks of these lengths, one after the other, begin."""
    return [Span(dim_sum(*lengths[:k]), d) for k, d in enumerate(lengths)]


def sliced(expr: Any) -> Conversion:
    """Rows and columns of a matrix."""
    spans = tuple(span(s, expr) for s in expr.args[1:])
    return Conversion(expr.args[:1], lambda c, n: part_at(n, (*[None] * (len(n.type.shape) - 2), *spans)))


def span(bounds: Any, expr: Any) -> Span:
    """Start, stop and step of a slice as a span."""
    start, stop, step = (dimension(b) for b in bounds)
    if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int):
        return Span(start, len(range(start, stop, step)), step)
    if step != 1:
        raise ExpressionError(f"{text(expr)}: a step of {step} along an axis of a length that is not known before the "
                              "call; give the axis a number")  # fmt: skip
    return Span(start, dim_sum(stop, dim_product(-1, start)))


def kronecker_product(c: Context, *nodes: Node) -> Node:
    """Each entry of the first times the second, and so on."""
    operands = [Labelled(n, (*[SAMPLES] * (len(n.type.shape) - 2), 2 * k, 2 * k + 1)) for k, n in enumerate(nodes)]
    batch = [SAMPLES] if any(SAMPLES in x.labels for x in operands) else []
    n = products(operands, (*batch, *range(0, 2 * len(nodes), 2), *range(1, 2 * len(nodes), 2)))
    shape = [dim_product(*(x.node.type.shape[k] for x in operands)) for k in (-2, -1)]
    return reshape_to(n, (*n.type.shape[: len(batch)], *shape))


def diagonal_vector(n: Node) -> Node:
    """The diagonal of matrices."""
    k = len(n.type.shape)
    return diagonal_along(Array(n), 0, k - 2, k - 1).node


def diagonal_column(c: Context, n: Node) -> Node:
    """The diagonal of a matrix as a column."""
    return with_axes(diagonal_vector(n), [len(n.type.shape) - 1])


def diagonal_part(c: Context, n: Node) -> Node:
    """A matrix with zeros off its diagonal."""
    return select(apply("eq", *positions(n.type.shape)), n, c.const(0.0))


def constant(value: float) -> scalars.Handler:
    """A matrix of one number."""
    return lambda expr: Conversion((), lambda c: filled(value, tuple(dimension(d) for d in expr.shape), c.dtype))


# What is not here


def unsupported(expr: Any) -> Conversion:
    """The error for a matrix expression that has no nodes: what there is of nearly that name, or at all."""
    names = sorted(k.__name__ for k in MATRICES if k not in (sympy.MatrixExpr, sympy.MatrixBase))
    import difflib  # not on the way to a first result

    close = difflib.get_close_matches(type(expr).__name__, names, n=3, cutoff=0.5)
    raise ExpressionError(
        f"{text(expr)}: {type(expr).__name__} of matrices can't be compiled; "
        f"{'near ones are' if close else 'write it by'} {', '.join(close or names)}"
    )


# Arguments


def named_nodes(atoms: Iterable[Any], slots: Sequence[Slot], built: Sequence[Argument]) -> dict[Any, Node]:
    """Nodes for what is named by itself, for the matrices that are used whole, their elements, and their dimensions.

    An entry that is an argument by itself is that argument wherever it is read, whatever the array holds there.
    """
    own = {e: n for s, a in zip(slots, built, strict=True) if s.base is None for n, e, _ in elements(a)}
    whole = {s.base: a.leaf for s, a in zip(slots, built, strict=True) if s.whole}
    return matrix_nodes(atoms, {base: with_entries(base, n, own) for base, n in whole.items()}, slots) | own


def with_entries(base: Any, n: Node, own: Mapping[Any, Node]) -> Node:
    """An array that is used whole, with those of its entries replaced that are arguments by themselves."""
    sampled = len(n.type.shape) - len(base.shape if isinstance(base, sympy.MatrixSymbol) else n.type.shape)
    for entry, value in own.items():
        if base_of(entry) != base:
            continue
        place, dims = tuple(map(int, indices(entry))), n.type.shape[sampled:]
        if len(place) != len(dims) or not all(map(within, place, dims)):
            raise ExpressionError(f"{entry} is outside the shape {dims} of {base}; enlarge the shape")
        if n.type.dtype != value.type.dtype:
            raise ArgumentError(f"{entry} is an entry of {base}, which holds integers; name {base} whole")
        at = [positions_along(dims, k) for k in range(len(dims))]
        here = [equal(line, const(k, "int64")) for line, k in zip(at, place, strict=True)]
        value = with_axes(value, range(1, 1 + len(dims))) if value.type.shape else value
        n = select(here[0] if len(here) == 1 else all_of(*here), value, n)
    return n


def positions_along(dims: Shape, k: int) -> Node:
    """The place along an axis, for all entries of an array."""
    return with_axes(arange(dims[k]), range(1, len(dims) - k))


def matrix_nodes(atoms: Iterable[Any], found: dict[Any, Node], slots: Sequence[Slot]) -> dict[Any, Node]:
    """Nodes for whole matrices, their elements, and for dimensions where they are numbers."""
    sizes: dict[Any, Node] = {}
    for base, n in list(found.items()):
        for symbol in dimension_symbols(base):
            check_name(symbol, base, slots)
            if symbol.name in n.type.shape:
                sizes.setdefault(symbol, length_along(n, n.type.shape.index(symbol.name)))
    for a in atoms:
        if isinstance(a, MatrixElement) and a.args[0] in found and all(i.is_Integer for i in indices(a)):
            found[a] = entry_at(found[a.args[0]], tuple(map(int, indices(a))))
    return found | sizes


def check_name(symbol: Any, base: Any, slots: Sequence[Slot]) -> None:
    """Raise ArgumentError for a dimension called n beside data, whose samples have that axis."""
    if symbol.name == "n" and any(s.role == "data" for s in slots):
        raise ArgumentError(f"the dimension n of {base}: the axis of the samples is called so; give it another name")


def scalar_of(value: Node, expr: Any, slots: Sequence[Slot], built: Sequence[Argument]) -> Node:
    """The value of a loss: the entry of a matrix of one; every dimension is known from the arguments.

    Raises ExpressionError for a larger matrix, ArgumentError for a dimension whose length no argument tells.
    """
    if any(s.whole for s in slots):
        check_dimensions(value, [a.leaf for a in built])
    return only_entry(value, expr) if expr.is_Matrix else value


def check_dimensions(value: Node, leaves: Iterable[Node]) -> None:
    """Raise ArgumentError where a dimension has a name whose length no argument tells."""
    known = {name for name, _, _, _ in dims_told([d for n in leaves for d in n.type.shape])}
    for n in topological([value]):
        for dim in n.type.shape:
            missing = next((x for names, _ in parsed(dim) for x in names if x not in known), None)
            if missing is not None:
                raise ArgumentError(f"no argument has an axis of length {missing}, so it can't be known for the "
                                    f"dimension {dim}; give it a number")  # fmt: skip


MATRICES: dict[Any, scalars.Handler] = {
    sympy.MatrixSymbol: scalars.atom,
    sympy.MatrixBase: explicit,
    sympy.MatMul: product,
    sympy.MatPow: raised,
    sympy.Inverse: product,
    sympy.Transpose: product,
    sympy.Adjoint: product,
    sympy.MatAdd: scalars.formula(lambda c, *nodes: each_entry(partial(scalars.total, c), *nodes)),
    sympy.HadamardProduct: scalars.formula(lambda c, *nodes: each_entry(lambda *x: scalars.ratio(c, x, ()), *nodes)),
    sympy.HadamardPower: entrywise_power,
    ElementwiseApplyFunction: applied,
    sympy.BlockMatrix: blocks,
    sympy.BlockDiagMatrix: scalars.formula(block_diagonal),
    MatrixSlice: sliced,
    KroneckerProduct: scalars.formula(kronecker_product),
    sympy.Identity: product,
    sympy.OneMatrix: constant(1.0),
    sympy.ZeroMatrix: constant(0.0),
    sympy.DiagMatrix: product,
    sympy.DiagonalMatrix: scalars.formula(diagonal_part),
    sympy.DiagonalOf: scalars.formula(diagonal_column),
    sympy.MatrixExpr: unsupported,
}
SCALARS: dict[Any, scalars.Handler] = {
    sympy.Trace: trace,
    sympy.Determinant: determinant,
    sympy.DotProduct: dot,
    MatrixElement: element,
    Entry: lambda expr: Conversion((), lambda c: placeholder(expr, c)),
}
TAKERS = (sympy.Trace, sympy.Determinant, sympy.DotProduct, MatrixElement)
HANDLERS.update(MATRICES | SCALARS)
