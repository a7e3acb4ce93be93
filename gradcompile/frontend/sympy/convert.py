"""SymPy to graph: a loss is walked once, without recursion, and its arguments are matched with what it contains."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import sympy

from gradcompile.collector import collector_paused
from gradcompile.errors import ArgumentError, ArgumentTypeError, ExpressionError
from gradcompile.frontend.sympy import (
    arguments,
    polynomials,  # noqa: F401  (more functions)
    special,  # noqa: F401  (more functions)
)
from gradcompile.frontend.sympy import derivative as derivatives  # noqa: F401  (what becomes of a Derivative)
from gradcompile.frontend.sympy import indexed as index
from gradcompile.frontend.sympy.arguments import Slot
from gradcompile.frontend.sympy.flattened import unflattened
from gradcompile.frontend.sympy.matrices import conversion, named_nodes, scalar_of
from gradcompile.frontend.sympy.scalars import (
    RESOLVED,
    UNROLLED,
    ComplexError,
    Context,
    Conversion,
    per_sample,
    real_part,
)
from gradcompile.ir.algebra import broadcast_to, length_along, sum_over
from gradcompile.ir.core import Node, const
from gradcompile.ir.graph import topological
from gradcompile.signature.arguments import Argument, Problem
from gradcompile.signature.names import Namer, Text, is_small, text

if TYPE_CHECKING:
    from gradcompile.frontend.sympy.indexed.tape import IndexTape

__all__ = ["Argument", "Problem", "Tape", "convert", "read"]

REDUCTIONS = ("mean", "sum", None)  # over samples, as `reduce` names them
DIGITS = 25  # of numbers that are evaluated, before they are rounded to floats


class Tape:
    """The distinct subexpressions of a loss, parts before wholes, each with what builds its node."""

    def __init__(self, named: Mapping[Any, Any]) -> None:
        self.named = named
        self.steps: list[tuple[Any, Conversion, tuple[int, ...]]] = []
        self.atoms: dict[Any, None] = {}
        self.lengths: set[Any] = set()  # of symbols
        self.whole: set[Any] = set()  # arrays that are used whole, beside MatrixSymbols
        self._indices: set[Any] = set()  # of sums
        self._place: dict[int, int] = {}

    def add(self, root: Any) -> int:
        """Walk an expression; the position of its step. Known by identity: comparing large expressions is slow."""
        stack = [] if id(root) in self._place else [self._frame(root)]
        while stack:
            expr, how, parts = stack[-1]
            for part in parts:
                if id(part) not in self._place:
                    stack.append(self._frame(part))
                    break
            else:
                stack.pop()
                self._place[id(expr)] = len(self.steps)
                self.steps.append((expr, how, tuple([self._place[id(p)] for p in how.parts])))
        outside = next((i for i in self._indices if i in self.atoms and i not in self.named), None)
        if outside is not None:
            raise index.stray(outside, root)
        return self._place[id(root)]

    def _frame(self, expr: Any) -> tuple[Any, Conversion, Any]:
        if isinstance(expr, index.SUMS):
            self._indices.update(i for i, _, _ in index.limits(expr))
        how = conversion(expr, self.named)
        if how.atom is not None:
            self.atoms.setdefault(how.atom)
        return expr, how, iter(how.parts)

    @property
    def arrays(self) -> bool:
        """Whether there are matrices among the parts, be they of symbols."""
        return any(expr.is_Matrix for expr, _, _ in self.steps)

    def resolve_shapes(self, slots: Sequence[Slot]) -> None:
        """Give every array its shape."""
        arguments.settle_shapes(slots, self.atoms)

    def build(self, context: Context) -> list[Node]:
        """A node for each step; what is made of numbers alone is the number that it is, rounded once."""
        nodes: list[Node] = []
        fixed: list[bool] = []
        for expr, how, parts in self.steps:
            made = how.build(context, *[nodes[p] for p in parts])
            fixed.append(how.atom is None and all(fixed[p] for p in parts))
            nodes.append(number_of(expr, made) if fixed[-1] and parts else made)
        return nodes


def number_of(expr: Any, made: Node) -> Node:
    """The value of an expression of numbers, with all digits; the node where SymPy gives none."""
    if made.type.shape or not made.type.dtype.startswith("float") or not is_small(expr):
        return made
    try:
        value = expr.evalf(DIGITS) if isinstance(expr, sympy.Expr) else None
    except (ArithmeticError, AttributeError, NotImplementedError, TypeError, ValueError):  # of SymPy's own making
        return made
    return const(float(value), made.type.dtype) if value is not None and value.is_Float else made


AnyTape: TypeAlias = "Tape | IndexTape"


def convert(expressions: Sequence[Any], atoms: Mapping[Any, Node], dtype: str = "float64") -> list[Node]:
    """The graph of expressions whose symbols have nodes already.

    >>> from gradcompile.ir.core import leaf
    >>> x = sympy.Symbol("x")
    >>> convert([sympy.sin(x)], {x: leaf("x")})
    [<sin float64[]>]
    """
    tape = Tape(atoms)
    places = [tape.add(e) for e in expressions]
    missing = next((a for a in tape.atoms if a not in atoms), None)
    if missing is not None:
        raise ExpressionError(
            f"{missing} stands for nothing here; write the expression by {', '.join(map(str, atoms))}"
        )
    nodes = tape.build(Context(dtype, atoms))
    return [nodes[p] for p in places]


@collector_paused()
def read(loss: Any, params: Any, **options: Any) -> Problem:
    """Read a loss and its arguments as `compile_grad` takes them; see `read_all`.

    >>> w, x, y = sympy.symbols("w x y")
    >>> problem = read((w*x - y)**2, [w])
    >>> [a.name for a in (*problem.params, *problem.inputs)], problem.primal, problem.formula
    (['w', 'x', 'y'], <mul float64[]>, '(w*x - y)**2')
    """
    return read_all([loss], params, **options)


@collector_paused()
def read_all(
    losses: Sequence[Any],
    params: Any,
    *,
    inputs: Any = None,
    data: Any = (),
    reduce: str | None = "mean",
    dtype: str = "float64",
    allow_unused: bool = False,
) -> Problem:
    """Read values and their arguments.

    A value is a scalar, reduced over the samples where `data` is given (`reduce` None leaves one value a sample). A
    loss that is a scalar by its own `mean` or `total` is left alone.

    Raises ExpressionError for what can't be compiled, ArgumentError and ArgumentTypeError for arguments that don't
    fit the values or each other.
    """
    if reduce not in REDUCTIONS or dtype not in ("float64", "float32"):
        raise ArgumentError(
            f"reduce={reduce!r}, dtype={dtype!r}: reduce is 'mean' or 'sum', dtype is 'float64' or 'float32'"
        )
    exprs = [scalar(loss) for loss in losses]
    try:
        tape, places, slots, bare = walked(exprs, params, inputs, data, allow_unused, reduce is None)
    except ComplexError:
        exprs = [real_form(expr) for expr in exprs]
        tape, places, slots, bare = walked(exprs, params, inputs, data, allow_unused, reduce is None)
    built = arguments.build(slots, Namer(), dtype)
    entries = [e for a in built for e in arguments.elements(a)]
    symbols = {node: symbol for node, symbol, _ in entries}
    atoms = {symbol: node for node, symbol in symbols.items()} | named_nodes(tape.atoms, slots, built)
    samples = next((a.leaf for a, s in zip(built, slots, strict=True) if s.role == "data"), None)
    context = Context(dtype, atoms, samples)
    nodes = tape.build(context)
    roots = unflattened(tape.steps, nodes, context, places) if isinstance(tape, Tape) else [nodes[p] for p in places]
    values = [scalar_of(root, expr, slots, built) for root, expr in zip(roots, exprs, strict=True)]
    given = [a for a, s in zip(built, slots, strict=True) if s.role == "params"]
    return Problem(
        tuple(reduced(value, expr, reduce, samples) for value, expr in zip(values, exprs, strict=True)),
        tuple(given),
        tuple(built[len(given) :]),
        bare,
        {a.leaf: a.name for a in built} | {node: name for node, _, name in entries},
        Text(exprs),
        symbols,
        arrays=tape.arrays or any(s.whole for s in slots),
    )


def real_form(expr: Any) -> Any:
    """A small expression with I in it as one without, of real symbols; as it is if that can't be."""
    new = real_part(expr) if is_small(expr, RESOLVED) else expr
    return expr if new.has(sympy.I, sympy.re, sympy.im) else new


def scalar(loss: Any) -> Any:
    """The loss as a SymPy expression; ExpressionError for what is not one number."""
    if isinstance(loss, str):
        raise ArgumentTypeError(
            f"the loss is text, {text(loss, 60)!r}; give a SymPy expression, as in (w*x - y)**2 of sympy.symbols"
        )
    if isinstance(loss, int | float) and not isinstance(loss, bool):
        return sympy.sympify(loss)
    if isinstance(loss, sympy.MatrixBase) and loss.shape == (1, 1):
        return scalar(loss[0, 0])
    if isinstance(loss, sympy.MatrixBase):
        raise ExpressionError(
            f"the loss is {text(loss)}; a loss is a scalar: pick an entry, as in m[0, 0], or add the entries up"
        )
    if isinstance(loss, sympy.logic.boolalg.Boolean) and not isinstance(loss, sympy.Symbol | sympy.ITE):
        raise ExpressionError(
            f"the loss is the condition {text(loss)}; a loss is a number: write where(condition, 1, 0)"
        )
    if not isinstance(loss, sympy.Basic):
        raise ArgumentTypeError(
            f"the loss is a {type(loss).__name__}; give one scalar SymPy expression, as in sum(terms)"
        )
    return loss


def walked(
    exprs: Sequence[Any], params: Any, inputs: Any, data: Any, allow_unused: bool, free: bool
) -> tuple[AnyTape, list[int], list[Slot], bool]:
    """The values as a tape, their places, and the arguments, parameters first, checked against each other.

    free: a value in index notation may be an array, over the indices that no sum binds.
    """
    given, bare = arguments.slots(params, "params", "p")
    columns, _ = arguments.slots(data, "data", "data")
    others = [] if inputs is None else arguments.slots(inputs, "inputs", "input")[0]
    order = arguments.merged(columns, others, inputs is not None)
    slots = [*given, *order]
    arguments.check_distinct(slots)
    named = {symbol: s for s in slots for symbol in s.symbols}
    bases = {s.base for s in slots if s.base is not None}
    tape, places = taped(exprs, named, bool(columns), free)
    arguments.check_bases([*bases, *arguments.bases_in(tape.atoms)])
    dims = tape.lengths | arguments.dimensions([*bases, *arguments.bases_in(tape.atoms)], named)
    arguments.check_assumptions([*(s for slot in slots for s in slot.symbols), *tape.atoms, *dims])
    rest = arguments.free(tape.atoms, {*named, *bases, *dims})
    if rest and inputs is not None:
        names = ", ".join(s.preferred for s in rest)
        raise ArgumentError(
            f"the loss contains {names}, which is in neither params, data nor inputs; add it to inputs="
        )
    check_used(slots, tape, allow_unused)
    tape.resolve_shapes([*slots, *rest])
    return tape, places, [*slots, *rest], bare


def taped(exprs: Sequence[Any], named: Mapping[Any, Slot], sampled: bool, free: bool) -> tuple[AnyTape, list[int]]:
    """Values as a tape, and their places; a single one may be in index notation."""
    if len(exprs) == 1:
        tape = taped_alone(exprs[0], named, sampled, free)
        return tape, [len(tape.steps) - 1]
    if any(map(index.applies, exprs)):
        raise ExpressionError("several values together can't be written in index notation; compile each by itself")
    several = Tape(named)
    return several, [several.add(expr) for expr in exprs]


def taped_alone(expr: Any, named: Mapping[Any, Slot], sampled: bool, free: bool) -> AnyTape:
    """A loss as a tape; a large sum over several indices as arrays, if they can hold it, else written out."""
    indexed = index.applies(expr) or (free and any(i not in named for i in index.ranged(expr)))
    count = 0 if indexed else index.nested_terms(expr)
    as_arrays = indexed or (count >= index.NESTED and not sampled)
    tape: AnyTape = in_arrays(named, free) if as_arrays else Tape(named)
    try:
        tape.add(expr)
    except ExpressionError:
        if indexed or count < index.NESTED or sampled or count > UNROLLED:
            raise
        tape = Tape(named)
        tape.add(expr)
    return tape


def in_arrays(named: Mapping[Any, Slot], free: bool) -> "IndexTape":
    """The tape of a loss in index notation, which most formulas do not need loaded."""
    from gradcompile.frontend.sympy.indexed.tape import IndexTape

    return IndexTape(named, free)


def check_used(slots: Sequence[Slot], tape: AnyTape, allow_unused: bool) -> None:
    """Every parameter and every data entry is in the loss."""
    bases = arguments.bases_in(tape.atoms)
    whole = {a for a in tape.atoms if isinstance(a, sympy.MatrixSymbol)} | tape.whole
    for s in slots:
        used = s.base in bases if s.base is not None else any(
            symbol in tape.atoms or arguments.base_of(symbol) in whole for symbol in s.symbols)  # fmt: skip
        if s.base is not None and not used and s.shape is None:
            raise ArgumentError(
                f"the loss does not contain {s.base}, so its shape is unknown; leave it out, or give it a shape"
            )
        if used or allow_unused or s.role == "inputs":
            continue
        kind = "parameter" if s.role == "params" else "data symbol"
        raise ArgumentError(
            f"the loss does not contain the {kind} {s.preferred}; leave it out of {s.role}, or pass allow_unused=True"
        )


def is_the_same_for_all(value: Node) -> bool:
    """Whether a number has nothing to do with the samples: it is none of their sums or means, nor their count."""
    return not any(per_sample(n) or n.op.by_shape for n in topological([value]))


def reduced(value: Node, expr: Any, reduce: str | None, samples: Node | None) -> Node:
    """The value, reduced over the samples if it has one entry each, as it has where it does not depend on the data."""
    if value.type.dtype == "bool":
        raise ExpressionError(f"the loss {text(expr)} is a condition; a loss is a number: write where(condition, 1, 0)")
    if reduce != "mean" and samples is not None and not value.type.shape and is_the_same_for_all(value):
        value = broadcast_to(value, ("n",))
    if reduce is None or not per_sample(value):
        return value
    summed = sum_over(value, (0,))
    return summed / length_along(samples or value, 0) if reduce == "mean" else summed
