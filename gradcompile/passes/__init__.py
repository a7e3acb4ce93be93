"""The passes in their order, each followed by a check of the graph that it gives."""

from collections.abc import Callable, Iterable, Mapping, Sequence

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
from gradcompile.signature.program import Label

__all__ = [
    "Rewrite", "contracted", "distribute_sums", "finished", "labelled", "looped", "rerolled", "simplified",
    "stabilized",
]  # fmt: skip


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


def labelled(
    step: Callable[[list[Node]], list[Node]], roots: Sequence[Node], labels: Mapping[Node, Label]
) -> tuple[list[Node], dict[Node, Label]]:
    """The roots after a step, and the labels of what the labelled nodes have become."""
    new = iter(step([*roots, *labels, *(label.of for label in labels.values())]))
    result, keys = [next(new) for _ in roots], [next(new) for _ in labels]
    return result, {n: label._replace(of=of) for n, label, of in zip(keys, labels.values(), new, strict=True)}


def finished(roots: Sequence[Node], labels: Mapping[Node, Label]) -> tuple[list[Node], dict[Node, Label]]:
    """The roots after differentiation, ready to be lowered; labels follow what they label."""
    result, current = labelled(lambda nodes: roots_of_powers(simplified(nodes)), roots, labels)
    result, current = hoist(result, current)
    live = set(topological(result))
    current = {n: label for n, label in current.items() if n in live}
    for step in (simplified, share_reciprocals, balance):
        result, current = labelled(step, result, current)
        verify(result, step.__name__)
    return result, current
