"""Loops: `scan`, which repeats a step that is written as ordinary code on symbolic arrays.

The step is run once, on symbolic arrays that stand for what it gets in any step, so the graph holds one step, however
many are made.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple

from gradcompile.diff import scan as recurrence  # noqa: F401  (the op)
from gradcompile.errors import GradcompileError
from gradcompile.frontend.arrays.core import Array, lift, placed
from gradcompile.frontend.arrays.shapes import joined, part
from gradcompile.ir.algebra import reshape_to, select
from gradcompile.ir.core import Node
from gradcompile.ir.types import ArrayType, Dim
from gradcompile.ops.scan import Loop, fresh, make_scan, scan_results
from gradcompile.ops.shape import Span
from gradcompile.tracebacks import entries

Step = Callable[[Any, Any], tuple[Any, Any]]
FEW = 4  # steps that are not cut into segments


def while_loop(
    cond: Callable[[Any], Any], body: Callable[[Any], Any], init: Any, max_steps: int, *, checkpoint: bool = False
) -> Any:
    """Repeat a step while a condition holds, at most so many times: what the last step left.

    In plain Python: `while cond(value): value = body(value)`. cond: of the value, a truth value; body: of the value,
    the next one, like it in structure, shapes and dtypes; max_steps: all of these are computed, and those after the end
    have no part in the value and its derivatives, be they NaN.

    Raises ExpressionError where something does not fit.

    >>> from gradcompile.frontend.arrays import array
    >>> while_loop(lambda x: x > 1.0, lambda x: x / 2.0, array("x"), 60).shape
    ()
    """

    def step(carry: Any, _: Any) -> Any:
        value, on = carry
        old, go = tree(value, "value"), lift(on) & lift(cond(value))
        new = tree(body(value), "body(value)")
        check(old, new)
        kept = [select(go, b, a) for a, b in zip(old.nodes, new.nodes, strict=True)]
        return (old.filled(kept), Array(go)), None

    (value, _), _ = scan(step, (init, True), None, length=max_steps, checkpoint=checkpoint)
    return value


class Tree(NamedTuple):
    """A structure of arrays, taken apart."""

    nodes: list[Node]
    paths: list[str]  # how the user gets at each
    build: Callable[[Iterator[Any]], Any]
    form: Any  # equal for structures with arrays in the same places

    def filled(self, nodes: Sequence[Node]) -> Any:
        """The same structure of other arrays."""
        return self.build(iter([Array(n) for n in nodes]))


def tree(x: Any, path: str) -> Tree:
    """An array, a number, None, or a (nested) tuple, list or dict of these, taken apart."""
    if x is None:
        return Tree([], [], lambda rest: None, None)
    if isinstance(x, dict):
        keys = sorted(x, key=repr)
        return branch([tree(x[k], f"{path}[{k!r}]") for k in keys], lambda vs: dict(zip(keys, vs, strict=True)), keys)
    if isinstance(x, tuple | list):
        make = getattr(x, "_make", type(x))
        return branch([tree(v, f"{path}[{k}]") for k, v in enumerate(x)], make, type(x).__name__)
    try:
        return Tree([lift(x)], [path], next, "array")
    except GradcompileError as error:
        raise placed(f"scan: {path} is no array: {error}") from error


def branch(inner: Sequence[Tree], make: Callable[[list[Any]], Any], kind: Any) -> Tree:
    """A structure of structures."""
    return Tree(
        [n for t in inner for n in t.nodes],
        [p for t in inner for p in t.paths],
        lambda rest: make([t.build(rest) for t in inner]),
        (kind, [t.form for t in inner]),
    )


def scan(
    step: Step,
    init: Any,
    xs: Any = None,
    *,
    length: Dim | None = None,
    reverse: bool = False,
    checkpoint: bool = False,
) -> tuple[Any, Any]:
    """Repeat a step, each from what the last one left: the last carry, and what the steps gave, stacked along axis 0.

    In plain Python, for xs of one array: `for x in xs: carry, y = step(carry, x); ys.append(y)`.

    step: (carry, x) -> (new carry, y). init: the first carry; carry, x and y are an array, None, or a (nested) tuple,
    list or dict of arrays; the new carry is like the old one in structure, shapes and dtypes. xs: arrays that are
    walked along axis 0, x being an entry of each; None, if `length` says how many steps are made. reverse: from the
    last entry to the first; ys are in the order of xs all the same. checkpoint: reverse mode keeps the carries of
    some steps only, of as many as the square root of their number, and computes the others again.

    What the step uses from outside is differentiated as well. Raises ExpressionError where something does not fit.

    >>> import numpy as np
    >>> from gradcompile.frontend.arrays import array
    >>> last, sums = scan(lambda total, x: (total + x, total + x), 0.0, array("x", "n"))
    >>> last.shape, sums.shape
    ((), ('n',))
    """
    start, walked = tree(init, "init"), tree(xs, "xs")
    count = steps(walked, length)
    if checkpoint and isinstance(count, str):
        raise placed(f"scan: checkpoint=True cuts the steps into segments, so their number has to be known, not "
                     f"{count!r}; give the arrays a length, or leave checkpoint out")  # fmt: skip
    if checkpoint and isinstance(count, int) and count >= FEW:
        return in_segments(step, start.filled(start.nodes), walked, count, reverse)
    loop, out = traced(step, start, walked, count, reverse)
    results = scan_results(make_scan(loop, start.nodes, walked.nodes, {})) if loop.roots else []
    finals, ys, _ = loop.split(results)
    return start.filled(finals), out.filled(ys)


def steps(walked: Tree, length: Dim | None) -> Dim:
    """How many steps are made."""
    named = [("length", length)] if length is not None else []
    for path, n in zip(walked.paths, walked.nodes, strict=True):
        if not n.type.shape:
            raise placed(f"scan: {path} is a number; what is walked needs an axis 0 (close over what is the same in "
                         "all steps)")  # fmt: skip
        named.append((path, n.type.shape[0]))
    if not named:
        raise placed("scan: without xs the number of steps is not known; give length=")
    (first, count), *others = named
    for path, other in others:
        if other != count:
            raise placed(f"scan: {first} has {count} steps and {path} has {other}; the lengths along axis 0 must agree")
    if not (isinstance(count, str) or (isinstance(count, int) and not isinstance(count, bool) and count >= 0)):
        raise placed(f"scan: length is a whole number from 0 on or a named dimension, not {count!r}")
    return count


def traced(step: Step, start: Tree, walked: Tree, count: Dim, reverse: bool) -> tuple[Loop, Tree]:
    """The loop around a step, and the structure of what it gives."""
    carries = [fresh(n.type, "carry") for n in start.nodes]
    slices = [fresh(ArrayType(n.type.shape[1:], n.type.dtype)) for n in walked.nodes]
    result, said = run(step, start.filled(carries), walked.filled(slices))
    if not isinstance(result, tuple) or len(result) != 2:
        raise placed(f"scan: the step returns a pair (carry, y), not {result!r:.80}")
    new, out = tree(result[0], "carry"), tree(result[1], "y")
    check(start, new)
    names = named_carries(step, carries, new.nodes, said), tuple(said.get(s, "") for s in slices)
    return Loop(tuple(carries), tuple(slices), (), tuple(new.nodes), tuple(out.nodes), (), count, reverse, *names), out


def run(step: Step, carry: Any, x: Any) -> tuple[Any, dict[Node, str]]:
    """What the step returns, and what its variables were called when it did."""
    code, names = getattr(step, "__code__", None), dict[Node, str]()
    if code is None or sys.getprofile() is not None:
        return step(carry, x), names

    def look(frame: FrameType, event: str, arg: object) -> None:
        if event == "return" and frame.f_code is code:
            for name, value in frame.f_locals.items():
                if isinstance(value, Array):
                    names.setdefault(value.node, name)

    sys.setprofile(look)
    try:
        return step(carry, x), names
    finally:
        sys.setprofile(None)


def named_carries(
    step: Step, carries: Sequence[Node], new: Sequence[Node], said: Mapping[Node, str]
) -> tuple[str, ...]:
    """What each carry is called: as the step's variable for the old or the new one, or as its first parameter."""
    code = getattr(step, "__code__", None)
    first = code.co_varnames[0] if code is not None and code.co_argcount else "carry"
    return tuple(said.get(old) or said.get(made) or first for old, made in zip(carries, new, strict=True))


def check(start: Tree, new: Tree) -> None:
    """Raise ExpressionError unless the new carry is like the first one."""
    if start.form != new.form:
        raise placed(f"scan: the step returns a carry with the entries {', '.join(new.paths) or 'none'}, init has "
                     f"{', '.join(start.paths) or 'none'}; both need one structure")  # fmt: skip
    for path, a, b in zip(new.paths, start.nodes, new.nodes, strict=True):
        if a.type != b.type:
            raise placed(f"scan: {path} begins as {a.type} and the step returns {b.type}; give init that shape and "
                         "dtype, or have the step keep them")  # fmt: skip


def in_segments(step: Step, init: Any, walked: Tree, count: int, reverse: bool) -> tuple[Any, Any]:
    """The same as a scan of scans: reverse mode keeps the carries of the outer one, and of one inner one at a time."""
    size = math.isqrt(count - 1) + 1
    cut = count // size * size
    inner = [part(n, 0, Span(0, cut)) for n in walked.nodes]
    inner = [reshape_to(n, (count // size, size, *n.type.shape[1:])) for n in inner]
    rest = [part(n, 0, Span(cut, count - cut)) for n in walked.nodes]

    def segment(carry: Any, x: Any) -> tuple[Any, Any]:
        return scan(step, carry, x, length=size, reverse=reverse)

    runs = [(segment, inner, count // size), (step, rest, count - cut)]
    carry, found = init, list[Tree]()
    for body, nodes, repeats in runs[:: -1 if reverse else 1]:
        carry, ys = scan(body, carry, walked.filled(nodes), length=repeats, reverse=reverse)
        found.append(tree(ys, "y"))
    segments, tail = found[:: -1 if reverse else 1]
    whole = [reshape_to(n, (cut, *n.type.shape[2:])) for n in segments.nodes]
    return carry, tail.filled([joined(pair, 0) for pair in zip(whole, tail.nodes, strict=True)])


entries(globals())
