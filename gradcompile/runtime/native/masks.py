"""Vectors of which some lanes are off: the last steps of a loop over lanes.

A lane that is off repeats the first one: its index, what it loads, and so all that comes of these. It therefore meets
nothing that no other lane does, be it a place out of bounds or an argument that takes a function long, and it writes
nothing.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from gradcompile.runtime.native.values import SHORT, SIZES, Value, typed

if TYPE_CHECKING:
    from gradcompile.runtime.native.writer import Writer


@lru_cache(maxsize=1)
def has_masks() -> bool:
    """Whether the processor loads and stores a vector's lanes by a mask; others take a branch for each lane."""
    from numba.core.registry import cpu_target

    return "+avx," in cpu_target.target_context.codegen()._tm_features + ","


def mask_before(writer: "Writer", index: Value, stop: Value, width: int) -> str:
    """The mask of the lanes from an index on that are before `stop`."""
    left = writer.emit(f"sub i64 {writer.converted(stop, 'i64', 1)}, {index.text}")
    short = Value("i32", 1, writer.emit(f"trunc i64 {left} to i32"))  # there are fewer than of two registers
    steps = ", ".join(f"i32 {k}" for k in range(width))
    return writer.emit(f"icmp slt <{width} x i32> <{steps}>, {writer.converted(short, 'i32', width)}")


def load_masked(writer: "Writer", type: str, width: int, at: str) -> Value:
    """Neighbours; in a lane that is off, the first."""
    align, whole, mask = SIZES[type], typed(type, width), typed("i1", width)
    first = writer.converted(Value(type, 1, writer.emit(f"load {type}, ptr {at}, align {align}")), type, width)
    name = f"llvm.masked.load.v{width}{SHORT[type]}.p0"
    writer.unit.declare(name, f"{whole} @{name}(ptr, i32, {mask}, {whole})")
    given = f"ptr {at}, i32 {align}, {mask} {writer.mask}, {whole} {first}"
    return Value(type, width, writer.emit(f"call {whole} @{name}({given})"))


def store_masked(writer: "Writer", value: Value, at: str) -> None:
    """Write neighbours, but for lanes that are off."""
    type, width, text = value
    whole, mask = typed(type, width), typed("i1", width)
    name = f"llvm.masked.store.v{width}{SHORT[type]}.p0"
    writer.unit.declare(name, f"void @{name}({whole}, ptr, i32, {mask})")
    writer.lines.append(f"  call void @{name}({whole} {text}, ptr {at}, i32 {SIZES[type]}, {mask} {writer.mask})")
