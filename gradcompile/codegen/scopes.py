"""What loops and branches change: which names need a place in memory, and which may not be assigned."""

from collections.abc import Iterator, Sequence

from gradcompile.errors import SubsetError
from gradcompile.loops.ir import Assign, Function, If, Loop, Statement, While, inside


def names_in_memory(body: Sequence[Statement]) -> list[str]:
    """Names that need a place in memory: those that a branch assigns, and those that a loop in order assigns and that
    live outside of it as well.
    """
    if not any(isinstance(s, Loop | While | If) for s in body):
        return []
    everywhere = list(assigned(body))
    found: dict[str, None] = {}
    for s in nested(body):
        own = list(assigned([s]))
        is_branch = isinstance(s, If)
        found |= dict.fromkeys(n for n in own if is_branch or own.count(n) < everywhere.count(n))
    return list(found)


def nested(body: Sequence[Statement]) -> Iterator[Statement]:
    """The branches and loops of these statements and in them, but for loops over lanes."""
    for s in body:
        if isinstance(s, Loop | While | If):
            if not is_lanes(s):
                yield s
            yield from nested(inside(s))


def assigned(body: Sequence[Statement]) -> Iterator[str]:
    """The names that statements assign, not those in loops over lanes."""
    for s in body:
        if isinstance(s, Assign):
            if s.target.is_name:
                yield s.target.word
        elif not is_lanes(s):
            yield from assigned(inside(s))


def check_loops(function: Function) -> None:
    """Raise for a name that a loop gives another meaning, which turns of lanes, or later ones, would not see."""
    for name, loop, in_lanes in carried(function.body, {*function.args}, {*names_in_memory(function.body)}):
        cure = f"begin with a name of its own, as {name}_now = {name}"
        if in_lanes:
            kind = "a loop over lanes" if is_lanes(loop) else "a loop in one over lanes"
            cure = f"{kind} carries nothing on: write s = zeros(LANES, x), s[i % LANES] += ..., and fold(s) after it"
        what = f"{name!r} has a value before the loop that assigns it, {loop.text!r}"
        raise SubsetError(f"{function.name}: {what}; {cure}")


Carried = tuple[str, Loop | While, bool]


def carried(body: Sequence[Statement], known: set[str], kept: set[str], in_lanes: bool = False) -> Iterator[Carried]:
    """Names known around a loop that it assigns, but those that are kept in memory; the loop, and whether in lanes."""
    known = set(known)
    for s in body:
        if isinstance(s, Loop | While):
            vector = in_lanes or is_lanes(s)
            lost = known if vector else known - kept
            yield from ((name, s, vector) for name in assigned(s.body) if name in lost)
            yield from carried(s.body, known, kept, vector)
            known.update(n for n in assigned([s]) if n in kept)
            continue
        for part in (s.body, s.orelse) if isinstance(s, If) else ():
            yield from carried(part, known, kept, in_lanes)
        known.update(assigned([s]))


def is_lanes(s: Statement) -> bool:
    """Whether this is a loop over lanes."""
    return isinstance(s, Loop) and s.turns.word == "lanes"
