"""Hoist: what a mean's weight multiplies is summed first and weighted once, after the loop.

The cotangent g of a sum over the samples reaches them as broadcast(g), and the backward pass is linear in it, so
sum(g*x) = g*sum(x). This reorders a multiplication and a sum, which changes rounding, and overflow where g*x would not
overflow and the sum of x does; only cotangents are moved, never a factor of the user's own formula.
"""

from collections.abc import Mapping, Sequence

from gradcompile.analysis.formula import counted
from gradcompile.ir.algebra import add, expand, is_div, sum_over, times
from gradcompile.ir.core import Node, apply, const, is_const
from gradcompile.ir.graph import topological, with_new
from gradcompile.ir.types import dim_product
from gradcompile.ops.reduction import is_sum
from gradcompile.signature.program import Label

Split = tuple[Node, Node]  # a scalar weight and what it multiplies


def hoist(roots: Sequence[Node], labels: Mapping[Node, Label]) -> tuple[list[Node], dict[Node, Label]]:
    """The roots with weighted sums rewritten, and the labels carried over to what the weights were taken from."""
    new: dict[Node, Node] = {}  # what has changed
    split: dict[Node, Split] = {}
    for n in topological([*roots, *labels]):
        parts = split_node(n, split, new)
        if parts is not None:
            split[n] = parts
        result = summed(n, split) or with_new(n, new)
        if result is not n:
            new[n] = result
    moved = {n: label._replace(of=new.get(label.of, label.of)) for n, label in labels.items()}
    carried = {new.get(n, n): label for n, label in moved.items()}
    for n, label in labels.items():
        if n in split:  # the tangent of an adjoint is that of what the adjoint is without the same weight
            carried[split[n][1]] = Label(split[label.of][1], True) if label.of in split else moved[n]
    return [new.get(r, r) for r in roots], carried


def summed(n: Node, split: Mapping[Node, Split]) -> Node | None:
    """sum(g*x) as g*sum(x), and sum((g/n)*x) as (g*sum(x))/n.

    For a constant x = c and as many samples as g is divided by, this is g*c; so it is for n = 0, where the mean is NaN.
    """
    if not is_sum(n) or n.args[0] not in split:
        return None
    weight, core = split[n.args[0]]
    count = dim_product(*(n.args[0].type.shape[k] for k in n.params[0]))
    if is_div(weight) and is_const(core) and not n.type.shape and counted(weight.args[1]) == count:
        return times(weight.args[0], core)
    total = sum_over(expand(core, n.args[0].type.shape), *n.params)
    if is_div(weight):
        return times(weight.args[0], total) / weight.args[1]
    return times(weight, total)


def product(left: Split, right: Split) -> Split:
    """The split of a product of two: where one weight is a division by the number of samples, the whole is."""
    (v, core), (w, other) = (left, right) if is_div(left[0]) else (right, left)
    weight = times(v.args[0], w) / v.args[1] if is_div(v) else times(v, w)
    return weight, times(core, other)


def split_node(n: Node, split: Mapping[Node, Split], new: Mapping[Node, Node]) -> Split | None:
    """weight and core of a per-sample node that is linear in one broadcast cotangent, or in a product of two."""
    name = n.op.name
    if name == "broadcast" and not n.args[0].type.shape and not is_const(n.args[0]):
        return new.get(n.args[0], n.args[0]), const(1.0, n.type.dtype)
    found = [split[a] for a in n.args if a in split]
    if not found:
        return None
    weight = found[0][0]
    if name == "add" and len(found) == len(n.args) and all(f[0] is weight for f in found):
        return weight, add(*(core for _, core in found))
    if name == "mul" and len(found) == 2:
        return product(*found)
    if len(found) > 1:
        return None
    cores = [split[a][1] if a in split else new.get(a, a) for a in n.args]
    if name == "mul":
        return weight, times(*cores)
    if name == "neg" or (name == "div" and n.args[0] in split):
        return weight, apply(name, *cores)
    if name == "select" and n.args[1] in split and is_const(n.args[2], 0.0):
        return weight, apply(name, *cores)
    return None
