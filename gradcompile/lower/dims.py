"""Dimensions under names that stand for nothing else in generated code, as symbols and arrays are."""

import builtins
import keyword
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from gradcompile.ir.core import OPS, Node, node
from gradcompile.ir.graph import topological
from gradcompile.ir.types import ArrayType, Dim, dim_product, dim_sum, names_in, parsed
from gradcompile.lower import HELPERS, OF_ARRAYS, OF_ROWS, RESERVED
from gradcompile.lower.nests.expression import functions_of
from gradcompile.signature.arguments import Problem
from gradcompile.signature.names import Namer, identifier

FREE = frozenset({"n", "m", "i"})  # which give way to a dimension of that name
OTHERS = ("LEVELS", "rows", "hess", "hv", "jac", "d_out", "norms", "moments")
TAKEN = frozenset({*RESERVED, *OF_ARRAYS, *OF_ROWS, *keyword.kwlist, *dir(builtins), *OTHERS}) - FREE

Names = Mapping[str, str]


def renamed(problem: Problem) -> tuple[Problem, Names]:
    """The problem with dimensions as generated code calls them, and what the user calls those that are renamed."""
    found = [*topological(problem.primals), *(a.leaf for a in problem.inputs)]
    own = sorted({name for n in found for d in n.type.shape for name in names_in(d)})
    called = {name for op in OPS.values() for name in functions_of(op)}
    taken = TAKEN | called | {h for found in HELPERS.values() for h in found}
    good = [d for d in own if d not in taken and identifier(d) == d]
    fresh = Namer([*taken, *FREE, *good])
    names = {d: fresh(d) for d in own if d not in good}
    if not names:
        return problem, {}
    primals, leaves = in_names(problem.primals, names)
    of_leaf = {
        a.leaf: leaves.get(a.leaf) or in_names([a.leaf], names)[0][0] for a in (*problem.params, *problem.inputs)
    }
    params, inputs = (
        tuple(replace(a, leaf=of_leaf[a.leaf]) for a in part) for part in (problem.params, problem.inputs)
    )
    known = {(of_leaf.get(n) or leaves.get(n, n)): name for n, name in problem.names.items()}
    made = replace(problem, primals=tuple(primals), params=params, inputs=inputs, names=known)
    return made, {new: old for old, new in names.items()}


def in_names(roots: Sequence[Node], names: Names) -> tuple[list[Node], dict[Node, Node]]:
    """Graphs with dimensions under other names, and each of its nodes there."""
    new: dict[Node, Node] = {}
    for n in topological(roots):
        params = in_params(n.params, names) if n.op.has_dims or n.op.is_loop else n.params
        shape = tuple(in_dim(d, names) for d in n.type.shape)
        type = ArrayType(shape, n.type.dtype) if n.op.typed else None
        new[n] = node(n.op, [new[a] for a in n.args], params, type)
    return [new[r] for r in roots], new


def in_params(value: Any, names: Names) -> Any:
    """Params of a node likewise: dimensions, and what holds them, a loop's body among others."""
    if isinstance(value, str):
        return in_dim(value, names)
    if isinstance(value, Node):
        return in_names([value], names)[0][0]
    if isinstance(value, tuple):
        parts = [in_params(v, names) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: in_params(getattr(value, f.name), names) for f in fields(value)})
    return value


def in_dim(dim: Dim, names: Names) -> Dim:
    """A dimension likewise.

    >>> in_dim("2*rows+n-1", {"rows": "rows_2"}), in_dim(3, {})
    ('n+2*rows_2-1', 3)
    """
    return dim_sum(*(dim_product(c, *(names.get(name, name) for name in factors)) for factors, c in parsed(dim)))
