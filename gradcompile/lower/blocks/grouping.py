"""How many samples a block has, and how many blocks a group, by what a sample costs and what memory it needs."""

import numpy as np

from gradcompile.analysis.cost import growth_of
from gradcompile.lower.blocks.plan import BlockPlan
from gradcompile.signature.program import Program, size_of

CACHE = 3 << 19  # bytes of a block's arrays
SMALLEST, LARGEST = 32, 128  # samples of a block
MUCH = 1_000_000  # operations of a sample, which may be a sequence, from which on a block may be smaller
FEWEST = 8  # samples of a block then
LARGE = 1 << 20  # bytes of parameters that every block reads, and adds to, from which on blocks should be few
FEW = 256  # samples of a block then
SPILLED = 8  # times the cache that the arrays of such a block may take
LONG = 40_000_000  # operations of a block from which on it need not be longer
GROUPED = 16  # the most blocks whose sums are added up before they meet others
ENOUGH = 3_000_000  # operations of a group
MERGED = 1000  # operations of a group for each entry of its sums, so that to merge them takes a part of the time


def block_size(program: Program, plan: BlockPlan, entries: int) -> int:
    """The samples of a block, a power of two: what they need stays in cache, matrix products have enough to do.

    More work than that is left for other blocks, which other threads may take. entries: of arrays, for one sample.
    """
    item = np.dtype(program.roots[0].type.dtype).itemsize
    size = entries * item
    parameters = item * sum(size_of(a.leaf.type.shape) for a in program.params)
    is_large = parameters > LARGE and size * FEW <= SPILLED * CACHE
    least, most = (FEW, FEW) if is_large else (SMALLEST if work_a_sample(plan) < MUCH else FEWEST, LARGEST)
    fitting = min(max(CACHE // max(size, 1), least), most)
    return 1 << min(fitting, max(LONG // work_a_sample(plan), least)).bit_length() - 1


def blocks_together(plan: BlockPlan, block: int, sums: int) -> int:
    """The blocks of the smallest groups, a power of two; sums: the entries of all sums over samples.

    A group takes long enough to be handed to another thread, and longer than merging its sums with others.
    """
    cost = block * work_a_sample(plan)
    return 1 << (max(min(ENOUGH // cost, GROUPED), -(-MERGED * sums // cost), 1) - 1).bit_length()


def work_a_sample(plan: BlockPlan) -> int:
    """The operations that one sample more takes."""
    growth = growth_of(x for p in plan.passes for x in p.roots)
    return max(int(sum(c for names, c in growth.items() if plan.block in names)), 1)
