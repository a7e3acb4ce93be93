"""Products that sum over axes: matmul, dot, tensordot, outer, and einsum with the order of the products by cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import Array, lift_all
from gradcompile.frontend.arrays.indexing import diagonal
from gradcompile.frontend.arrays.shapes import axis_of, ravel, with_axes, without_axes
from gradcompile.frontend.arrays.ufuncs import arithmetic, cast, elementwise, function, ufunc
from gradcompile.ir.core import Node
from gradcompile.ir.types import Dim, promote
from gradcompile.ops.labels import Labelled, Labels, ordered_axes, product_of_operands


def products(given: Sequence[Labelled], result: Labels) -> Node:
    """The sum, over the labels that the result lacks, of the product of all operands; of truth values, whether any is.

    Raises ExpressionError where one label has two lengths.
    """
    operands = [diagonals(x) for x in in_one_dtype(given, result)]
    sizes = lengths(operands)
    stretched = [narrowed(x, sizes) for x in operands]
    held = {label for x in stretched for label in x.labels}
    order = tuple(label for label in result if label in held)
    found = ordered_axes(product_of_operands(stretched, order, sizes), order)
    found = with_axes(found, [k for k, label in enumerate(result) if label not in held])
    return cast(found, promote(*(x.node.type.dtype for x in given)))


def in_one_dtype(operands: Sequence[Labelled], result: Labels) -> list[Labelled]:
    """Operands that are all floats if one is, or if products of whole numbers are added up, as sums are."""
    is_summed = any(label not in result for x in operands for label in x.labels)
    widest = promote(*(x.node.type.dtype for x in operands))
    kind = widest if widest.startswith("float") else "float64" if is_summed else "int64"
    return [Labelled(cast(arithmetic(x.node), kind), x.labels) for x in operands]


def lengths(operands: Sequence[Labelled]) -> dict[int, Dim]:
    """The dimension of each label; one of 1 fits any other."""
    sizes: dict[int, Dim] = {}
    for node, labels in operands:
        for label, dim in zip(labels, node.type.shape, strict=True):
            if sizes.setdefault(label, dim) == 1:
                sizes[label] = dim
            if dim not in (1, sizes[label]):
                shapes = " and ".join(str(x.node.type.shape) for x in operands)
                raise ExpressionError(f"shapes {shapes} do not fit: {sizes[label]} against {dim}")
    return sizes


def narrowed(x: Labelled, sizes: Mapping[int, Dim]) -> Labelled:
    """An operand without the axes of one entry."""
    ones = [k for k, d in enumerate(x.node.type.shape) if d == 1 and sizes[x.labels[k]] != 1]
    kept = tuple(label for k, label in enumerate(x.labels) if k not in ones)
    return Labelled(without_axes(x.node, ones), kept)


def diagonals(x: Labelled) -> Labelled:
    """An operand in which no label stands twice; ExpressionError where axes of one label differ, if one be of 1."""
    node, labels = x
    while len(set(labels)) < len(labels):
        i = next(k for k, label in enumerate(labels) if label in labels[:k])
        j = labels.index(labels[i])
        if node.type.shape[i] != node.type.shape[j]:
            raise ExpressionError(f"the diagonal of axes {j} and {i} of shape {node.type.shape}: their lengths differ")
        rest = tuple(label for k, label in enumerate(labels) if k not in (i, j))
        node, labels = diagonal(Array(node), 0, j, i).node, (*rest, labels[i])
    return Labelled(node, labels)


# NumPy's functions


@ufunc("matmul")
def matmul(x: Node, y: Node) -> Node:
    """x @ y: rows times columns on the last two axes; the axes before them are broadcast."""
    if not x.type.shape or not y.type.shape:
        raise ExpressionError("@ takes vectors and matrices; use * for a number")
    m, n = len(x.type.shape), len(y.type.shape)
    inner, row, column = -1, -2, -3
    batch = max(m, n, 2) - 2
    lx = (*range(batch - max(m - 2, 0), batch), *((row, inner) if m > 1 else (inner,)))
    ly = (*range(batch - max(n - 2, 0), batch), *((inner, column) if n > 1 else (inner,)))
    along, down = x.type.shape[-1], y.type.shape[-min(n, 2)]
    if along != down:
        raise ExpressionError(
            f"shapes {x.type.shape} and {y.type.shape} do not fit: {along} against {down} (the last axis of one meets "
            "the last but one of the other; x.T turns a matrix)"
        )
    result = (*range(batch), *((row,) if m > 1 else ()), *((column,) if n > 1 else ()))
    return products([Labelled(x, lx), Labelled(y, ly)], result)


@function(np.dot, method="dot")
def dot(a: Any, b: Any) -> Array:
    """The sum over the last axis of a and the last but one of b."""
    x, y = lift_all(a, b)
    if not x.type.shape or not y.type.shape:
        return Array(elementwise("mul", x, y))
    return tensordot(Array(x), Array(y), ([-1], [-min(len(y.type.shape), 2)]))


@ufunc("vecdot")
def vecdot(x: Node, y: Node) -> Node:
    """The sums of products along the last axis; the axes before are broadcast."""
    found = matmul(with_axes(x, [len(x.type.shape) - 1]), with_axes(y, [len(y.type.shape)]))
    ndim = len(found.type.shape)
    return without_axes(found, [ndim - 2, ndim - 1])


@ufunc("matvec")
def matvec(x: Node, y: Node) -> Node:
    """Matrices times vectors along the last axis."""
    found = matmul(x, with_axes(y, [len(y.type.shape)]))
    return without_axes(found, [len(found.type.shape) - 1])


@ufunc("vecmat")
def vecmat(x: Node, y: Node) -> Node:
    """Vectors along the last axis times matrices."""
    found = matmul(with_axes(x, [len(x.type.shape) - 1]), y)
    return without_axes(found, [len(found.type.shape) - 2])


function(np.linalg.vecdot)(lambda *both, axis=-1: np.vecdot(*(np.moveaxis(x, axis, -1) for x in both)))
function(np.linalg.matmul)(lambda x1, x2, /: Array(matmul(*lift_all(x1, x2))))  # x1 @ x2


@function(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Array:
    """The sum over axes of a and b that are given in pairs, or the last of a and first of b."""
    x, y = lift_all(a, b)
    m, n = len(x.type.shape), len(y.type.shape)
    pairs = (range(m - axes, m), range(axes)) if isinstance(axes, int) else [np.atleast_1d(k).tolist() for k in axes]
    label = {axis_of(j, n): axis_of(i, m) for i, j in zip(*pairs, strict=True)}
    lx, ly = tuple(range(m)), tuple(label.get(k, m + k) for k in range(n))
    both = set(lx) & set(ly)
    return Array(products([Labelled(x, lx), Labelled(y, ly)], tuple(k for k in (*lx, *ly) if k not in both)))


@function(np.inner)
def inner(a: Any, b: Any) -> Array:
    """The sum over the last axes of both."""
    x, y = lift_all(a, b)
    return tensordot(Array(x), Array(y), ([-1], [-1])) if x.type.shape and y.type.shape else Array(
        elementwise("mul", x, y))  # fmt: skip


function(np.vdot)(lambda a, b: dot(ravel(a), ravel(b)))  # the sum of the products of all entries
function(np.linalg.tensordot)(lambda x1, x2, /, *, axes=2: tensordot(x1, x2, axes))


@function(np.outer)
def outer(a: Any, b: Any) -> Array:
    """The products of each entry of a with each of b."""
    return tensordot(ravel(a), ravel(b), 0)


function(np.linalg.outer)(lambda x1, x2, /: outer(x1, x2))


@function(np.linalg.multi_dot)
def multi_dot(arrays: Sequence[Any]) -> Array:
    """The product of matrices, in the cheapest order."""
    nodes = lift_all(*arrays)
    if len(nodes) == 2:
        return dot(*arrays)
    ranks = [len(n.type.shape) for n in nodes]
    if len(nodes) < 2 or any(r != 2 for r in ranks[1:-1]) or not {ranks[0], ranks[-1]} <= {1, 2}:
        given = " and ".join(map(str, ranks))
        raise ExpressionError(f"multi_dot takes matrices, and vectors at the ends, not {given} axes; write a @ b @ c")
    first, last = len(nodes[0].type.shape) == 1, len(nodes[-1].type.shape) == 1
    labelled = [Labelled(n, (k, k + 1)) for k, n in enumerate(nodes)]
    if first:
        labelled[0] = Labelled(nodes[0], (1,))
    if last:
        labelled[-1] = Labelled(nodes[-1], (len(nodes) - 1,))
    return Array(products(labelled, (*(() if first else (0,)), *(() if last else (len(nodes),)))))


@function(np.einsum)
def einsum(subscripts: Any, *operands: Any, optimize: Any = True) -> Array:
    """Products summed over the letters that the result lacks, as in "ij,jk->ik", in the cheapest order."""
    if not isinstance(subscripts, str):
        subscripts, operands = lettered([subscripts, *operands])
    nodes = lift_all(*operands)
    text = subscripts.replace(" ", "") if isinstance(subscripts, str) else ""
    before, arrow, after = text.partition("->")
    terms = before.split(",")
    if len(terms) != len(nodes):
        raise ExpressionError(f"einsum {subscripts!r} names {len(terms)} operands, {len(nodes)} are given")
    labelled = [Labelled(n, labels_of(t, len(n.type.shape), subscripts)) for t, n in zip(terms, nodes, strict=True)]
    dots = sorted({label for x in labelled for label in x.labels if label < 0})
    letters = before.replace(",", "").replace(".", "")
    once = [ord(c) for c in sorted(set(letters)) if letters.count(c) == 1]
    result = (*dots, *once) if not arrow else labels_of(after, len(dots) + len(after.replace("...", "")), subscripts)
    if len(set(result)) < len(result) or not set(result) <= {label for x in labelled for label in x.labels}:
        raise ExpressionError(f"einsum {subscripts!r}: the result names a letter twice, or one that no operand has")
    return Array(products(labelled, result))


def lettered(given: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """The letters for operands and lists of numbers in turn, and the operands."""

    def letters(numbers: Any) -> str:
        return "".join("..." if k is Ellipsis else chr(ord("A") + k + (6 if k > 25 else 0)) for k in numbers)

    count = len(given) // 2
    terms = ",".join(letters(given[2 * k + 1]) for k in range(count))
    return terms + (f"->{letters(given[-1])}" if len(given) % 2 else ""), tuple(given[: 2 * count : 2])


def labels_of(term: str, ndim: int, subscripts: str) -> Labels:
    """The labels of one operand: letters by their codes, the axes of an ellipsis negative, the last -1."""
    head, dots, tail = term.partition("...")
    width = ndim - len(head) - len(tail)
    if width < 0 or (width > 0 and not dots) or not (head + tail + "a").isalpha():
        raise ExpressionError(f"einsum {subscripts!r}: {term!r} does not name the {ndim} axes of its operand")
    return (*map(ord, head), *range(-width, 0), *map(ord, tail))
