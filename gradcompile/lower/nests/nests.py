"""Nests: the loops of one slot. Every value is computed in the outermost loop that knows it."""

from collections import Counter, defaultdict
from functools import partial

from gradcompile.ir.core import Node, is_const
from gradcompile.ir.graph import topological
from gradcompile.ir.types import names_in
from gradcompile.loops.expressions import Expression, call, element, group, name, number, operation
from gradcompile.loops.ir import Assign, Loop, Statement, lanes, turns
from gradcompile.lower.memory.entries import IOTA, Place, Read, flat_place
from gradcompile.lower.memory.lengths import ZERO, atom_of, dim_expression
from gradcompile.lower.nests.context import Context
from gradcompile.lower.nests.expression import Region, reads_memory
from gradcompile.lower.nests.schedule import LoopSlot
from gradcompile.ops.constant_index import is_table


class Nest:
    """Writes the loops of one slot.

    regions: for each number of loops the code inside so many and no more. level: how many a value depends on. made: the
    entries that tasks have computed. before, after: statements around the nest; opening, closing: around the
    innermost loop.
    """

    def __init__(self, stages: Context, loops: LoopSlot) -> None:
        self.stages, self.tasks, self.space = stages, loops.tasks, loops.space
        self.fresh, self.partials, self.cleared = stages.naming.fresh, stages.partials, stages.cleared
        self.depth = {variable: k + 1 for k, (variable, _) in enumerate(self.space.loops)}
        roots = stages.entries.with_places([x for t in self.tasks for x in t.roots])
        order = topological(roots)
        self.uses = Counter([*roots, *(a for n in order for a in n.args)])
        self.level: dict[Node, int] = {}
        self.deepest_use: dict[Node, int] = defaultdict(int)
        for n in order:
            for a in n.args:
                self.deepest_use[a] = max(self.deepest_use[a], self.level_of(n))
        stages.uses.update(self.uses)
        stages.top.forget()
        named = (partial(stages.name, depth=k) for k in self.depth.values())
        given, some = stages.top.given, stages.some
        inner = (Region(self.uses, dict(given), name, stages.comment, some=some) for name in named)
        self.regions = [stages.top, *inner]
        self.made: dict[tuple[Node, Place], Node] = {}
        self.before: list[Statement] = [] if self.space.loops else stages.top.statements
        self.after: list[Statement] = []
        self.opening: list[Statement] = []
        self.closing: list[Statement] = []

    @property
    def body(self) -> list[Statement]:
        """The statements inside all loops."""
        return self.regions[-1].statements

    def emit(self) -> None:
        """All tasks, and the loops around them."""
        for task in self.tasks:
            task.emit(self)
        if self.space.loops:
            self.stages.top.statements += [*self.before, *self.looped(), *self.after]

    def looped(self) -> list[Statement]:
        """The body in its loops."""
        statements, innermost = self.body, len(self.space.loops) - 1
        for k, (variable, dim) in reversed(list(enumerate(self.space.loops))):
            stop = dim_expression(dim)
            how = lanes(ZERO, stop) if k == innermost and self.space.lanes else turns(stop)
            statements = [Loop(variable, how, statements)]
            if k == innermost:
                statements = [*self.opening, *statements, *self.closing]
            if k:
                statements = [*self.regions[k].statements, *statements]
        return statements

    # ---- levels

    def level_of(self, root: Node) -> int:
        """The number of loops that a value depends on; where its place is data, on those that this depends on."""
        if root not in self.level:
            reads = self.stages.entries.reads
            for n in topological([root], self.level.__contains__):
                read = reads.get(n)
                inner = n.args if read is None else [x for _, x in read.found]
                own = 0 if read is None else self.level_of_place(read.place)
                self.level[n] = max([own, *(self.level_of(x) for x in inner)])
        return self.level[root]

    def level_of_place(self, place: Place) -> int:
        """The number of loops whose variables a place has."""
        return max((self.depth.get(found, 0) for d in place for found in names_in(d)), default=0)

    # ---- values

    def value(self, root: Node, named: bool = False) -> Expression:
        """An entry in the innermost loop; what outer loops know is computed there."""
        for inner in self.demanded(root):
            self.written(inner, named=True)
        return self.written(root, named)

    def demanded(self, root: Node) -> list[Node]:
        """The values that other tasks of the nest are about and that a value needs, innermost first. Iterative."""
        order: list[Node] = []
        seen, stack = {root}, [(root, iter(topological([root])))]
        while stack:
            n, nodes = stack[-1]
            inner = next((x for x in map(self.made_by_task, nodes) if x is not None and x not in seen), None)
            if inner is None:
                order.append(n)
                stack.pop()
            else:
                seen.add(inner)
                stack.append((inner, iter(topological([inner]))))
        return order[:-1]

    def made_by_task(self, n: Node) -> Node | None:
        """The value of a task of this nest that an entry is, unless it has a name already."""
        read = self.stages.entries.reads.get(n)
        if read is None or n in self.regions[self.level_of(n)].given:
            return None
        return self.made.get((read.source, read.place))

    def written(self, root: Node, named: bool) -> Expression:
        """An entry, where those that it needs have names."""
        deepest = len(self.space.loops)
        for n in topological([root]):
            level = self.level_of(n)
            region = self.regions[level]
            if n in region.given or is_const(n):
                continue
            if n in self.stages.entries.reads:
                self.read(n, level)
            elif level < deepest and (n is root or self.deepest_use.get(n, 0) > level):
                self.give(n, region.emit(n, named=True), level)
        return self.regions[deepest].emit(root, named)

    def give(self, n: Node, value: Expression, level: int) -> None:
        """A value has a name from here on in; before all loops one for later nests too, if it is a name."""
        for region in self.regions[level:]:
            region.given[n] = value
        if level == 0 and not value.is_name:
            self.regions[0].lent.append(n)

    def read(self, n: Node, level: int) -> None:
        """An entry that is read: under a name where it is used again."""
        read = self.stages.entries.reads[n]
        if (read.source, read.place) in self.made:
            self.give(n, self.written(self.made[read.source, read.place], named=True), level)
            return
        value = self.entry(read)
        often = self.uses[n] > 1 or level < len(self.space.loops)
        if often and read.source is not IOTA and reads_memory(value):
            known = name(self.stages.name(n, level))
            self.regions[level].statements.append(Assign(known, value.parts[0] if value.kind == "group" else value))
            value = known
        self.give(n, value, level)

    def entry(self, read: Read) -> Expression:
        """An entry in memory, of a table, or a place itself."""
        names = {key: self.value(x, named=True) for key, x in read.found}
        source, place = read.source, read.place
        if source is IOTA:
            return atom_of(place[0], names)
        if is_table(source):
            at = dim_expression(flat_place(place, source.type.shape), names)
            value, is_whole = element(name(self.stages.naming.table(source)), [at]), True
        else:
            memory = self.stages.memory[source]
            value, is_whole = memory.at(place, names), memory.whole
        if source.type.dtype == "bool":
            return group(operation("!=", value, number(0)))
        return call("to_int", value) if source.type.dtype == "int64" and not is_whole else value

    # ---- what tasks ask

    def comment_unless_repeated(self, value: Expression, comment: str) -> str:
        """The comment, unless the line that named the value says the same."""
        return "" if any(s.comment == comment and s.target == value and s.how == "="
                         for s in self.body if isinstance(s, Assign)) else comment  # fmt: skip

    def is_read_again(self, n: Node | None) -> bool:
        """Whether another task of this nest reads a node's entry where it is made."""
        return self.stages.schedule.is_at_hand_somewhere(n)
