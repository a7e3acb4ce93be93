"""Stages that are calls of routines for one matrix or row: systems, determinants, factors, transforms, orders."""

from gradcompile.ir.core import OPS, Node
from gradcompile.ir.types import ArrayType
from gradcompile.loops.expressions import call, name
from gradcompile.loops.ir import Assign, Do, Loop, Statement, turns
from gradcompile.lower.memory.entries import Memory
from gradcompile.lower.memory.lengths import dim_expression
from gradcompile.lower.nests.context import Context
from gradcompile.lower.nests.places import Destination

SINGLE = ArrayType((), "float32")  # a number, which plain Python holds in double precision unless told


def call_routine(stages: Context, n: Node, to: Destination | None) -> None:
    """A call for each matrix or row of a batch."""
    args = [stages.row_major(x) for x in n.args]
    batch = n.args[0].type.shape[: -1 if n.op.name == "argsort" else -2]
    variables = [stages.naming.loop(len(batch) - k) for k in range(len(batch))]
    at = [name(variable) for variable in variables]
    result = stages.naming.name(n)
    if n.type.shape:
        stages.storage.hold(n, result, range(len(n.type.shape)), n.type.dtype == "int64")
    else:
        stages.memory[n] = Memory(result, ())
    given = [stages.memory[x].row(*at) for x in args]
    function = "_".join([n.op.name, *(p for p in n.params if isinstance(p, str))])
    place, comment = stages.memory[n].row(*at), stages.comment_for(n, to)
    body: list[Statement]
    if n.op.routine_axes:
        body = [Do(call(function, place, *given), comment)]
    else:
        value = call(function, *given)
        body = [Assign(place, call("float32", value) if n.type == SINGLE else value, comment)]
    for variable, d in reversed(list(zip(variables, batch, strict=True))):
        body = [Loop(variable, turns(dim_expression(d)), body)]
    stages.schedule.call(args, {n: result}, lambda: body)
    if to is not None and n.type.shape:
        stages.write_to(n, to)


MAKERS = {name: call_routine for name, op in OPS.items() if op.routine_axes is not None}
