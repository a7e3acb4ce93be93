"""A scan as a loop: each step's stages, between carries that are read and carries that are made."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradcompile.ir import Node, topological
from gradcompile.lower.arrays.entries import Memory, Place
from gradcompile.lower.arrays.texts import atom_of, listed, text_of, tuple_of
from gradcompile.lower.loopir import Line, Loop, Statement
from gradcompile.ops import scan
from gradcompile.types import Shape

if TYPE_CHECKING:
    from gradcompile.lower.arrays.stages import Stages, Target


def plan(outer: "Stages", n: Node, target: "Target | None") -> None:
    """Put a scan into the stages of what it stands in."""
    loop: scan.Loop = n.params[0]
    inits, xs, constants = loop.arguments(n.args)
    name = outer.naming.name(n)
    outer.buffer(n, Memory(name, (0,)))
    order = topological(loop.roots)
    sizes = {x: atom_of(x.args[0].type.shape[x.params[0]]) for x in order if x.op.name == "size"}
    inner = outer.inside(sizes)
    inner.layout.learn(order)
    for leaf, init in zip(loop.carries, inits, strict=True):
        start_carry(outer, inner, leaf, init)
    sources = [x for x in (*xs, *constants) if x.type.shape]
    for x in sources:
        outer.standing(x)
    scalars = {leaf: x for leaf, x in zip(loop.constants, constants, strict=True) if not x.type.shape}
    for leaf, x in zip(loop.constants, constants, strict=True):
        if x.type.shape:
            inner.memory[leaf] = outer.memory[x]
        else:
            inner.texts[leaf] = ""
            outer.note_reads([outer.entries.entry(x, ())], len(outer.slots), None)
    step = outer.naming.fresh("step")
    head = slices(outer, inner, loop, xs, step)
    targets, after = results(outer, inner, loop, n, step, head)
    inner.run(targets)
    carried = [memory.name for memory in (*(inner.memory[leaf] for leaf in loop.carries), *after)]

    def emit() -> list[Statement]:
        for leaf, x in scalars.items():
            text = outer.scalar(x) if x.op.name == "const" else outer.scalar(x, named=True)
            inner.texts[leaf] = inner.top.given[leaf] = text
        inner.bound = outer.bound
        length = text_of(loop.length)
        place = f"{step} = {length} - 1 - count" if loop.reverse else ""
        body = [*([Line(place)] if place else []), *head, *inner.emit(), *copies(outer, loop, inner, after)]
        zeros = [Line(f"{t.memory.name.split('[')[0]}[{':' if '[' in t.memory.name else ', '.join(':' * len(t.memory.order))}] = 0.0")
                 for t in targets if t.add]  # fmt: skip
        header = f"for {'count' if loop.reverse else step} in range({length})"
        return [*zeros, Loop(header, body), *lasts(outer, loop, inner, n)]

    outer.call([*sources, *inits_standing(outer, inits)], n, name, emit)
    for name in carried:
        outer.touch(name.split("[")[0], len(outer.slots) - 1)
    if target is not None:
        outer.copy(target)


def inits_standing(outer: "Stages", inits: Sequence[Node]) -> list[Node]:
    """Initial carries that stand in memory."""
    return [x for x in inits if x in outer.memory and x.type.shape]


def start_carry(outer: "Stages", inner: "Stages", leaf: Node, init: Node) -> None:
    """Memory for a carry, with the initial value written into it."""
    shape = leaf.type.shape
    memory = outer.kept("carry", shape, inner.layout.order(shape))
    inner.memory[leaf] = memory if shape else Memory(f"{memory.name}[0]", ())
    outer.bring(init, memory if shape else inner.memory[leaf], memory.name)


def slices(outer: "Stages", inner: "Stages", loop: scan.Loop, xs: Sequence[Node], step: str) -> list[Statement]:
    """The lines that name the entries of what is walked at this step."""
    lines: list[Statement] = []
    for leaf, x in zip(loop.slices, xs, strict=True):
        memory = outer.memory[x]
        index = [step if axis == 0 else ":" for axis in memory.order]
        while index[-1] == ":":
            index.pop()
        text = f"{memory.name}[{', '.join(index)}]"
        if not leaf.type.shape:
            inner.memory[leaf] = Memory(text, (), memory.whole)
            continue
        name = outer.naming.fresh(f"{memory.name}_now")
        inner.memory[leaf] = Memory(name, tuple(axis - 1 for axis in memory.order if axis), memory.whole)
        if memory.order[0] == 0:
            outer.naming.contiguous.add(name)
        lines.append(Line(f"{name} = {text}"))
    return lines


def results(outer: "Stages", inner: "Stages", loop: scan.Loop, n: Node, step: str, head: list[Statement]):
    """Where what a step makes goes: new carries beside the old ones, ys and totals into the scan's vector."""
    from gradcompile.lower.arrays.stages import Target

    finals, ys, totals = loop.split(scan.parts(loop))
    targets, after = [], list[Memory]()
    for root in loop.finals:
        shape = root.type.shape
        memory = outer.kept("new_carry", shape, inner.layout.order(shape))
        goal = memory if shape else Memory(f"{memory.name}[0]", ())
        targets.append(Target(root, goal))
        after.append(goal)
    whole = outer.memory[n].name
    for root, part in zip(loop.ys, ys, strict=True):
        stacked = outer.naming.fresh(f"{whole}_y")
        outer.aliases[stacked] = whole, f"view({whole}, {text_of(part.span.start)}, {tuple_of(part.type.shape)})"
        if root.type.shape:
            name = outer.naming.fresh(f"{stacked}_now")
            head.append(Line(f"{name} = {stacked}[{step}]"))
            targets.append(Target(root, Memory.plain(name, root)))
        else:
            targets.append(Target(root, Memory(f"{stacked}[{step}]", ())))
    for root, part in zip(loop.totals, totals, strict=True):
        total = outer.naming.fresh(f"{whole}_total")
        outer.aliases[total] = whole, f"view({whole}, {text_of(part.span.start)}, {tuple_of(part.type.shape or (1,))})"
        targets.append(Target(root, Memory.plain(total, root) if root.type.shape else Memory(f"{total}[0]", ()), True))
    return targets, after


def copies(outer: "Stages", loop: scan.Loop, inner: "Stages", after: Sequence[Memory]) -> list[Statement]:
    """The new carries become the old ones."""
    lines: list[Statement] = []
    for leaf, memory in zip(loop.carries, after, strict=True):
        lines += copy(outer, leaf.type.shape, memory, inner.memory[leaf])
    return lines


def lasts(outer: "Stages", loop: scan.Loop, inner: "Stages", n: Node) -> list[Statement]:
    """The last carries go into the scan's vector."""
    lines: list[Statement] = []
    whole = outer.memory[n].name
    for leaf, part in zip(loop.carries, scan.parts(loop), strict=False):
        shape = leaf.type.shape
        name = outer.naming.fresh(f"{whole}_last")
        lines.append(Line(f"{name} = view({whole}, {text_of(part.span.start)}, {tuple_of(shape or (1,))})"))
        goal = Memory.plain(name, leaf) if shape else Memory(f"{name}[0]", ())
        lines += copy(outer, shape, inner.memory[leaf], goal)
    return lines


def copy(outer: "Stages", shape: Shape, source: Memory, goal: Memory) -> list[Statement]:
    """Loops that copy an array entry by entry, in the order of what is read."""
    if not shape:
        return [Line(f"{goal.name} = {source.name}")]
    names = {k: outer.naming.loop(len(shape) - 1 - depth) for depth, k in enumerate(source.order)}
    place: Place = tuple(names[k] for k in range(len(shape)))
    line = Line(f"{goal.name}[{listed(goal.at(place))}] = {source.name}[{listed(source.at(place))}]")
    body: list[Statement] = [line]
    for depth, k in reversed(list(enumerate(source.order))):
        kind = "lanes" if depth == len(shape) - 1 else "range"
        body = [Loop(f"for {names[k]} in {kind}(0, {text_of(shape[k])})", body)]
    return body


