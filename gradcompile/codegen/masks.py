"""Vectors of which some lanes are off: the last steps of a loop over lanes.

A lane that is off repeats the first one: its index, what it loads, and so all that comes of these. It therefore meets
nothing that no other lane does, be it a place out of bounds or an argument that takes a function long, and it writes
nothing.
"""

from functools import lru_cache

from gradcompile.codegen.lines import ArrayLines
from gradcompile.codegen.target import features
from gradcompile.codegen.values import SIZES, Value


@lru_cache(maxsize=1)
def has_masks() -> bool:
    """Whether the processor loads and stores a vector's lanes by a mask; others take a branch for each lane."""
    return "+avx" in features()


def mask_before(writer: ArrayLines, index: Value, stop: Value, width: int) -> str:
    """The mask of the lanes from an index on that are before `stop`."""
    left = writer.emit(f"sub i64 {writer.converted(stop, 'i64', 1)}, {index.text}")
    short = Value("i32", 1, writer.emit(f"trunc i64 {left} to i32"))  # there are few
    steps = ", ".join(f"i32 {k}" for k in range(width))
    return writer.emit(f"icmp slt <{width} x i32> <{steps}>, {writer.converted(short, 'i32', width)}")


def load_lanes(writer: ArrayLines, type: str, width: int, place: str) -> Value:
    """Neighbours; in a lane that is off, the first."""
    first = writer.emit(f"load {type}, ptr {place}, align {SIZES[type]}")
    other = writer.spread(first, type, width)
    return Value(type, width, writer.load_masked(type, width, place, writer.mask, other))
