"""How much Python a call runs, counted: what takes the place of a clock, and is the same on every machine."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def lines(run: Callable[[], Any]) -> int:
    """The lines that run while it runs, those of all that it calls included; a turn of a loop counts each time."""
    count = 0

    def look(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        nonlocal count
        count += event == "line"
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


def growth(job: Callable[[int], Callable[[], Any]], size: int) -> float:
    """By how much the work of a job grows if its size is four times as large: 4 if linear, 16 if quadratic.

    job: makes what is counted, of a size; what making it takes does not count. It has run once before, which fills
    caches.
    """
    job(size)()
    return lines(job(4 * size)) / lines(job(size))
