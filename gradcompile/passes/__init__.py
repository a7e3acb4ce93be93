"""The passes in their order, each followed by a check of the graph that it gives."""

from collections.abc import Iterable, Mapping, Sequence

from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological, verify
from gradcompile.passes import contract, distribute
from gradcompile.passes.hoist import hoist
from gradcompile.passes.loops import untangle
from gradcompile.passes.points import joined_branches
from gradcompile.passes.reroll import reroll
from gradcompile.passes.simplify import balance, roots_of_powers, share_reciprocals, simplify
from gradcompile.passes.stabilize import Rewrite, stabilize
from gradcompile.passes.terms import forget

__all__ = ["Rewrite", "contracted", "distribute_sums", "finished", "looped", "rerolled", "simplified", "stabilized"]


def simplified(roots: Sequence[Node]) -> list[Node]:
    """The roots by exact rules."""
    result = simplify(roots)
    verify(result, "simplify")
    return result


def rerolled(roots: Sequence[Node], params: Sequence[Node], inputs: Iterable[Node] = ()) -> list[Node]:
    """The roots with long sums of similar terms as sums of arrays; params and inputs are the leaves they stand on."""
    result = reroll(roots, params, inputs)
    verify(result, "reroll")
    return simplified(result)


def stabilized(roots: Sequence[Node]) -> tuple[list[Node], list[Rewrite]]:
    """The roots with formulas that lose precision rewritten, and what was rewritten."""
    rewritten, rewrites = stabilize(roots)
    verify(rewritten, "stabilize")
    smooth, more = joined_branches(simplified(rewritten))
    verify(smooth, "joined_branches")
    forget()
    return simplified(smooth), [*rewrites, *more]


def looped(roots: Sequence[Node]) -> list[Node]:
    """The roots with loops that do only what needs a loop; before differentiation, and again after it."""
    result = untangle(roots)
    verify(result, "untangle")
    return result


def contracted(roots: Sequence[Node], others: Sequence[Node] = ()) -> list[Node]:
    """The roots, and others after them, with sums of products as contractions; only what roots need counts as a use."""
    result = contract.contracted(roots, others)
    verify(result, "contract")
    return result


def distribute_sums(roots: Sequence[Node], primal: Node, others: Sequence[Node] = ()) -> list[Node]:
    """The roots, and others after them, with sums of adjoints that wait for none of their factors."""
    result = distribute.distribute_sums(roots, primal, others)
    verify(result, "distribute_sums")
    return result


def finished(roots: Sequence[Node], labels: Mapping[Node, Node]) -> tuple[list[Node], dict[Node, Node]]:
    """The roots after differentiation, ready to be lowered; labels (adjoint -> its primal) follow what they label."""
    count, keys = len(roots), list(labels)
    everything = roots_of_powers(simplified([*roots, *keys, *labels.values()]))
    current = dict(zip(everything[count : count + len(keys)], everything[count + len(keys) :], strict=True))
    result, current = hoist(everything[:count], current)
    live = set(topological(result))
    current = {adjoint: primal for adjoint, primal in current.items() if adjoint in live}
    for step in (simplified, share_reciprocals, balance):
        keys = list(current)
        everything = step([*result, *keys, *current.values()])
        result = everything[:count]
        current = dict(zip(everything[count : count + len(keys)], everything[count + len(keys) :], strict=True))
        verify(result, step.__name__)
    return result, current
