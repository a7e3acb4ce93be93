"""A loss as a sum of squares: its residuals, what they are weighted by, and what each sum is scaled by."""

from dataclasses import dataclass, replace

from gradcompile.errors import ExpressionError
from gradcompile.ir.algebra import is_add, is_div, is_mul, sum_over
from gradcompile.ir.core import Node, const
from gradcompile.ir.graph import depends_on, topological


@dataclass(frozen=True, slots=True)
class Square:
    """A term of a loss, scale/2 * sum(weight * residual**2); weight None for 1."""

    scale: Node
    residual: Node
    weight: Node | None = None

    def summed(self, product: Node) -> Node:
        """The sum over the entries of a product of derivatives."""
        weighted = product if self.weight is None else product * self.weight
        return sum_over(weighted, tuple(range(len(weighted.type.shape)))) if weighted.type.shape else weighted


def squares_of(loss: Node, params: set[Node]) -> list[Square]:
    """The squares that a loss is a sum of; what holds no parameter is left out.

    Raises ExpressionError for a loss that is none.
    """
    moving = depends_on([n for n in topological([loss]) if not n.op.by_shape], params)
    pending, found = [(loss, const(2.0, loss.type.dtype))], list[Square]()
    while pending:
        n, scale = pending.pop()
        if n not in moving:
            continue
        outer = [a for a in n.args if a not in moving]
        if is_add(n):
            pending += [(a, scale) for a in n.args]
        elif is_mul(n) and n.args[0] is n.args[1]:
            found.append(Square(scale, n.args[0]))
        elif is_mul(n) and outer:
            pending += [(a, scale * outer[0]) for a in n.args if a in moving]
        elif is_div(n) and n.args[0] in moving and outer:
            pending.append((n.args[0], scale / n.args[1]))
        elif (square := summed_square(n, moving)) is not None:
            found.append(replace(square, scale=scale))
        else:
            raise ExpressionError(
                "the loss is no sum of squares, so it has no Gauss-Newton matrix here: write it as the mean or sum of "
                "squared residuals, or leave gauss_newton out for the whole Hessian"
            )
    return found


def summed_square(n: Node, moving: set[Node]) -> Square | None:
    """The square that a node sums over all entries, with a weight that holds no parameter; None if it does not."""
    one = const(1.0, n.type.dtype)
    if (
        n.op.adds and len(n.args) == 2 and n.args[0] is n.args[1] and not n.type.shape
    ):  # a product of a vector with itself
        return Square(one, n.args[0])
    if not n.op.is_reduction or not n.op.adds or n.type.shape:
        return None
    inner, weights = n.args[0], list[Node]()
    while is_mul(inner) and inner.args[0] is not inner.args[1]:
        own = [a for a in inner.args if a not in moving]
        if not own:
            return None
        weights.append(own[0])
        inner = next(a for a in inner.args if a is not own[0])
    if not is_mul(inner):
        return None
    weight = None
    for w in weights:
        weight = w if weight is None else weight * w
    return Square(one, inner.args[0], weight)
