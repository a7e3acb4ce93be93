"""Symbolic arrays to a problem: a loss that is one, and what of its leaves is a parameter and what an input."""

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from gradcompile.analysis.formula import formulas
from gradcompile.collector import collector_paused
from gradcompile.errors import ArgumentError, ArgumentTypeError, ExpressionError
from gradcompile.frontend.arrays.core import Array, is_sequence
from gradcompile.frontend.arrays.sparse import SparseArray
from gradcompile.ir.core import Node, is_leaf, leaf
from gradcompile.ir.graph import substitute, topological
from gradcompile.ir.types import parsed
from gradcompile.signature.arguments import Argument, Problem
from gradcompile.signature.forms import Path, joined, spread
from gradcompile.signature.names import Namer, natural, text
from gradcompile.signature.sparse import Part

LONGEST = 200  # characters of the loss in headers
COUNTABLE = 1 << 60  # entries of an array that 64 bits can count in bytes


class Named(NamedTuple):
    """An array that is to be an argument: its own name or the key that named it, its leaf, its path in a mapping."""

    preferred: str
    node: Node
    path: Path = ()


@collector_paused()
def read_arrays(
    value: Array | Sequence[Array],
    params: Any,
    *,
    inputs: Any = None,
    allow_unused: bool = False,
    is_loss: bool = True,
) -> Problem:
    """Read a symbolic array, or several, and their arguments as `compile_grad` takes them.

    params, inputs: an array, or sequences and mappings of arrays, which may be nested. Without `inputs` they are the
    other arrays of the expression in natural order; of two or more each is given by name. A loss is one floating-point
    number; a value may be any array.

    Raises ExpressionError for a loss that is none, ArgumentError and ArgumentTypeError for arguments that don't fit
    the expression or each other.

    >>> from gradcompile.frontend.arrays import array
    >>> X, w, t = array("X", ("n", 3)), array("w", 3), array("t", "n")
    >>> problem = read_arrays(((X @ w - t) ** 2).mean(), [w])
    >>> [a.name for a in (*problem.params, *problem.inputs)], problem.primal, problem.formula
    (['w', 'X', 't'], <div float64[]>, 'mean((X @ w - t)**2)')
    """
    values = [value] if isinstance(value, Array) else value
    if is_loss:
        for v in values:
            check_loss(v)
    given = named(params, "params")
    order = list(topological([v.node for v in values]))
    check_sizes(order)
    leaves = dict.fromkeys(n for n in order if is_leaf(n))
    check_params(given, leaves, allow_unused)
    others = ordered(inputs, [n for n in leaves if n not in {p.node for p in given}])
    check_together([*given, *others], order)
    names = dict(zip((*given, *others), Namer().all([a.preferred for a in (*given, *others)]), strict=True))
    leaves_of = {a: leaf(names[a], a.node.type, "param") for a in given}
    first = [Argument(names[a], a.preferred, leaves_of[a], None, (), path=a.path) for a in given]
    by_name = inputs is None and len(others) > 1
    rest = [Argument(names[a], a.preferred, a.node, None, (), by_name) for a in others]
    primals = substitute([v.node for v in values], {a.node: b.leaf for a, b in zip(given, first, strict=True)})
    known = {a.leaf: a.name for a in (*first, *rest)}
    formula = ", ".join(formulas(primals, known, LONGEST)[p] for p in primals)
    return Problem(
        tuple(primals), tuple(first), tuple(rest), isinstance(params, Array), known, formula, {}, arrays=True
    )


def check_loss(loss: Array) -> None:
    """Raise ExpressionError unless the array is one floating-point number."""
    if loss.shape:
        raise ExpressionError(
            f"the loss {loss!r} has shape {shape_text(loss.shape)}; a loss is one number: take its mean or its sum, "
            "gradcompile.mean(loss) or np.sum(loss)"
        )
    if loss.dtype.kind != "f":
        cure = "write np.where(condition, 1.0, 0.0)" if loss.dtype.kind == "b" else "convert it, loss.astype('float64')"
        raise ExpressionError(f"the loss {loss!r} is of dtype {loss.dtype}; a loss is a floating-point number: {cure}")


def check_sizes(order: Iterable[Node]) -> None:
    """Raise ExpressionError for an array with more entries than any machine can count."""
    for n in order:
        if math.prod(max((abs(c) for _, c in parsed(d)), default=0) for d in n.type.shape) > COUNTABLE:
            names = {x: str(x.params[0]) for x in topological([n]) if is_leaf(x)}
            raise ExpressionError(
                f"{formulas([n], names, LONGEST)[n]} has shape {shape_text(n.type.shape)}, more entries than can be "
                "counted; check the lengths that it is made with"
            )


def named(given: Any, role: str) -> list[Named]:
    """The arrays that `params` or `inputs` names: mappings name them, by their keys put together."""
    if isinstance(given, str | set | frozenset):
        kind = "text" if isinstance(given, str) else "a set, which has no order"
        raise ArgumentTypeError(f"{role}: {given!r} is {kind}; name the arrays in a list, as in [W, b]")
    found = list[Named]()
    for path, entry in spread(given, is_sequence):
        if isinstance(entry, SparseArray) and role == "inputs":
            found += [Named(name_of(n), n) for n in entry.parts]
        else:
            found.append(checked(path, entry, role))
    return found


def checked(path: Path, x: Any, role: str) -> Named:
    """One array as an argument; ArgumentTypeError for anything else, ArgumentError for an expression."""
    if isinstance(x, SparseArray):
        raise ArgumentError(f"params: {x!r} is an input: there are no derivatives by sparse matrices")
    if not isinstance(x, Array):
        raise ArgumentTypeError(
            f"{role}: {text(x)!r} of type {type(x).__name__} can't be an argument of a loss that is "
            "written with arrays; name arrays that gradcompile.array made"
        )
    if not is_leaf(x.node):
        raise ArgumentError(f"{role}: {x!r} is an expression, no argument; name arrays that gradcompile.array made")
    in_mapping = role == "params" and path and path[0][0] == "mapping"
    return Named(joined(path) or str(x.node.params[0]), x.node, path if in_mapping else ())


def name_of(n: Node) -> str:
    """The name of a leaf."""
    name = n.params[0]
    return name if isinstance(name, Part) else str(name)


def check_params(params: Sequence[Named], leaves: Collection[Node], allow_unused: bool) -> None:
    """Every parameter has known lengths and a floating-point type, and is in the expression."""
    for p in params:
        kind = p.node.type
        unknown = next((d for d in kind.shape if isinstance(d, str)), None)
        if unknown is not None:
            raise ArgumentError(
                f"the parameter {p.preferred} has shape {shape_text(kind.shape)}: a parameter needs known lengths, "
                f"theta is one array; give a number for {unknown!r}, or make it an input"
            )
        if not kind.dtype.startswith("float"):
            raise ArgumentError(f"the parameter {p.preferred} is of dtype {kind.dtype}, which has no gradient; leave "
                                "it to the inputs, or give it dtype float64")  # fmt: skip
        if not allow_unused and p.node not in leaves:
            raise ArgumentError(
                f"the loss does not contain the parameter {p.preferred}; leave it out of params, or pass "
                "allow_unused=True"
            )


def ordered(inputs: Any, rest: Sequence[Node]) -> list[Named]:
    """The inputs: those given, which must be all of the rest, else the rest in natural order."""
    if inputs is None:
        return sorted((Named(name_of(n), n) for n in rest), key=lambda a: natural(a.preferred))
    found = named(inputs, "inputs")
    missing = [str(n.params[0]) for n in rest if n not in {a.node for a in found}]
    if missing:
        raise ArgumentError(
            f"the loss contains {', '.join(missing)}, which is in neither params nor inputs; add it to inputs="
        )
    return found


def check_together(found: Sequence[Named], order: Sequence[Node]) -> None:
    """No array and no name twice, one floating-point type, and an argument for every dimension."""
    holder: dict[object, Named] = {}
    for a in found:
        if holder.setdefault(a.node, a) is not a:
            raise ArgumentError(f"{a.node.params[0]} is given twice in params and inputs; name it once")
        other, owner = holder.setdefault(str(a.preferred), a), getattr(a.preferred, "owner", None)
        if owner is not None and other is a and not isinstance(holder.setdefault(owner, a).preferred, Part):
            raise ArgumentError(f"an array and a sparse array are called {owner!r}; give one of them another name")
        if other is not a:
            raise ArgumentError(
                f"two different arrays are called {a.preferred!r}, {other.node.type} and {a.node.type}; create the "
                "array once and use it everywhere, or give one of them another name"
            )
    floats = {a.node.type.dtype: a for a in found if a.node.type.dtype.startswith("float")}
    if len(floats) > 1:
        (one, a), (two, b) = floats.items()
        raise ArgumentError(
            f"{a.preferred} is {one} and {b.preferred} is {two}; all floating-point arrays of a loss share one dtype, "
            f'since theta is one array: gradcompile.array("{b.preferred}", ..., dtype="{one}")'
        )
    known = {d for a in found for d in a.node.type.shape}
    unknown = sorted(names_of(order) - known)
    if unknown:
        raise ArgumentError(
            f"the loss needs the length of the dimension {unknown[0]!r}, which no argument has; name an array that has "
            "it in inputs="
        )


def names_of(nodes: Iterable[Node]) -> set[str]:
    """The named dimensions that occur in the shapes of nodes."""
    dims = {d for n in nodes for d in n.type.shape if isinstance(d, str)}
    return {name for d in dims for names, _ in parsed(d) for name in names}


def shape_text(shape: Sequence[object]) -> str:
    """A shape as Python writes a tuple, without quotes round names.

    >>> shape_text(("n", 3)), shape_text(("n",))
    ('(n, 3)', '(n,)')
    """
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
