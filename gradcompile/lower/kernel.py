"""From a program over arrays to its functions: a kernel that computes all, or passes over blocks and what follows."""

from collections.abc import Mapping

from gradcompile.ir.algebra import is_select
from gradcompile.ir.types import LARGEST, Dim, names_in
from gradcompile.lower.blocks.plan import plan
from gradcompile.lower.blocks.prepare import adds_units, prepared_roots
from gradcompile.lower.function import FunctionWriter
from gradcompile.lower.memory.storage import bounded
from gradcompile.lower.nests.naming import ArrayNaming
from gradcompile.lower.passes import PassWriter
from gradcompile.lower.program import Constants, LoweredProgram, Naming
from gradcompile.ops.gather import is_gather
from gradcompile.signature.program import Program


def dims_of(program: Program) -> frozenset[str]:
    """The names of dimensions in a program."""
    return frozenset(name for n in program.order for d in n.type.shape for name in names_in(d))


def lower_arrays(program: Program, naming: Naming) -> LoweredProgram:
    """The functions of a program over arrays, and constants: tables of numbers, sizes of blocks, lengths to check."""
    known = [n for n in program.order if n in program.comments or n in program.labels]
    new = prepared_roots([*program.roots, *known])
    roots = new[: len(new) - len(known)]
    pairs = zip(new[len(roots) :], known, strict=True)
    origin = {n: o for n, o in pairs if n.op.shows_entries or not o.op.shows_entries}  # what is shown has its own
    guarded = {n: o for n, o in origin.items() if is_gather(o) and is_select(n)}
    origin |= {n.args[1]: o for n, o in guarded.items() if n.args[1] not in origin}  # the entries, outside NaN
    origin |= {n.args[0]: o for n, o in origin.items() if adds_units(n) and n.args[0] not in origin}
    own = ArrayNaming(program, naming.fresh, roles=naming.roles, dims=dims_of(program), origin=origin)
    found = plan(roots, {a.leaf for a in program.inputs})
    if found is None:
        writer = FunctionWriter(program, own, roots)
        writer.whole()
        lengths = blas_lengths(own, {})
        return LoweredProgram(writer.functions, {**own.tables, **lengths_constant(lengths)}, counted=lengths)
    passes = PassWriter(program, own, roots, plan=found)
    passes.run()
    lengths = blas_lengths(own, {found.block: passes.block})
    constants: Constants = {**own.tables, "BLOCK": passes.block, "GROUP": passes.group, **lengths_constant(lengths)}
    return LoweredProgram(passes.functions, constants, tuple(passes.passes), passes.block, passes.group, lengths)


def lengths_constant(lengths: tuple[Dim, ...]) -> dict[str, tuple[Dim, ...]]:
    """The constant by which a saved file knows the lengths that it has to check."""
    return {"COUNTED": lengths} if lengths else {}


def blas_lengths(naming: ArrayNaming, bound: Mapping[str, Dim]) -> tuple[Dim, ...]:
    """The lengths that BLAS is given, as far as they may be too large for it; bound: what a dimension is at most."""
    dims = dict.fromkeys(bounded(d, bound) for d in naming.counted)
    return tuple(d for d in dims if isinstance(d, str) or d > LARGEST)
