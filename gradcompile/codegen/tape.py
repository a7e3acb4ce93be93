"""The first tier: a kernel of scalars as a tape of steps, which runs before there is machine code of its own.

A *step* is one operation on a frame of numbers, `frame[out] = frame[a] + frame[b]`, or on 32 of them side by side. It
is a function of the subset, compiled in full once per installation, so its numbers have the bits of machine code made
of the same text. The frame lies on the stack: first numbers, among them the constants, then vectors, then sums.

A tape is a list of words: the frame's size, how many numbers begin it and these, then *sections*, each with its kind
and a count before what it says. `RUNNER` is what goes through them, the same for all tapes.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

END, STEPS, LOADS, NUMBERS, LENGTHS, STORES, PASS = range(7)  # kinds of sections
LANES = 32  # numbers side by side
MAKING = 1 << 20  # processor cycles that full code takes to make for one step, and four times that for one in lanes
MOST = 1 << 13  # numbers of a frame that lies on the stack


class Step(NamedTuple):
    """An operation: the text of its value, the function that it calls and the module of that, and whether it is done
    in all lanes. In the text are `{0}`, `{1}` and `{2}` for what it takes.
    """

    value: str
    function: str = ""
    origin: str = ""
    lanes: bool = False


class Helper(NamedTuple):
    """A function of the package that a pass calls, by module and name."""

    module: str
    name: str


Word = int | Step | Helper


class Tape(NamedTuple):
    """A kernel as words; steps and functions stand where their addresses go.

    cost: processor cycles that full code takes to make, about.
    """

    words: Sequence[Word]
    cost: int


ADD = Step("")  # adds as many of 32 numbers as `b` says to others
COPY = Step("frame[a]", lanes=True)  # one number in all lanes

_TEXT = '''"""One step of a tape."""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import lanes
{imports}
LANES = {lanes}


@jit
def step(frame, out, a, b, c):
    """Take a, b and c from the frame, and put the result there."""
{body}
'''


@lru_cache(maxsize=1024)
def text_of_step(step: Step) -> str:
    """The module of a step: one function, of the frame and four places.

    >>> print(text_of_step(Step("{0} * {1}")).splitlines()[-1].strip())
    frame[out] = frame[a] * frame[b]
    """
    if step == ADD:
        body = "    for i in lanes(0, b):\n        frame[out + i] += frame[a + i]"
    elif step.lanes:
        value = step.value.format("frame[a + i]", "frame[b + i]", "frame[c + i]")
        body = f"    for i in lanes(0, LANES):\n        frame[out + i] = {value}"
    else:
        body = f"    frame[out] = {step.value.format('frame[a]', 'frame[b]', 'frame[c]')}"
    imports = f"from {step.origin} import {step.function}\n" if step.function else ""
    return _TEXT.format(imports=imports, lanes=LANES, body=body)


def _section(kind: str, *lines: str) -> list[str]:
    """The lines that go through a section of three words each: %k.word, %k.place and %k.slot are the three."""
    return [
        f"{kind}:", f"  br label %{kind}.next", f"{kind}.next:",
        f"  %{kind}.k = phi i64 [0, %{kind}], [%{kind}.up, %{kind}.do]",
        f"  %{kind}.more = icmp ult i64 %{kind}.k, %count",
        f"  br i1 %{kind}.more, label %{kind}.do, label %{kind}.over", f"{kind}.do:",
        f"  %{kind}.3 = mul i64 %{kind}.k, 3", f"  %{kind}.w.at = getelementptr i64, ptr %body, i64 %{kind}.3",
        f"  %{kind}.p.at = getelementptr i64, ptr %{kind}.w.at, i64 1",
        f"  %{kind}.s.at = getelementptr i64, ptr %{kind}.w.at, i64 2",
        f"  %{kind}.word = load i64, ptr %{kind}.w.at", f"  %{kind}.place = load i64, ptr %{kind}.p.at",
        f"  %{kind}.slot = load i64, ptr %{kind}.s.at",
        f"  %{kind}.arg = getelementptr i64, ptr %args, i64 %{kind}.word",
        f"  %{kind}.to = getelementptr double, ptr %frame, i64 %{kind}.slot",
        *(line.replace("%k.", f"%{kind}.") for line in lines),
        f"  %{kind}.up = add i64 %{kind}.k, 1", f"  br label %{kind}.next", f"{kind}.over:",
        "  %KIND.words = mul i64 %count, 3".replace("KIND", kind),
        f"  %{kind}.after = getelementptr i64, ptr %body, i64 %{kind}.words", "  br label %next",
    ]  # fmt: skip


_PLACED = ("  %k.array = load ptr, ptr %k.arg", "  %k.at = getelementptr double, ptr %k.array, i64 %k.place")
# What a section for a pass says before its columns (argument, nothing, slot), sums (their sources) and steps.
WORDS = ("n", "adds", "closes", "totals", "sums", "many", "tree", "total", "steps", "width", "levels", "span")

RUNNER = "\n".join([
    "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
    "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)",
    "declare i64 @llvm.smin.i64(i64, i64)", "declare ptr @malloc(i64)", "declare void @free(ptr)",
    "define internal void @steps(ptr %first, i64 %count, ptr %frame, i64 %size) nounwind {",
    "entry:", "  br label %next", "next:",
    "  %k = phi i64 [0, %entry], [%up, %do]", "  %at = phi ptr [%first, %entry], [%after, %do]",
    "  %more = icmp ult i64 %k, %count", "  br i1 %more, label %do, label %over", "do:",
    "  %step = load ptr, ptr %at",
    *(line for j, w in enumerate(("out", "a", "b", "c"), 1) for line in (
        f"  %{w}.at = getelementptr i64, ptr %at, i64 {j}", f"  %{w} = load i64, ptr %{w}.at")),
    "  call void %step(ptr %frame, i64 %size, i64 %out, i64 %a, i64 %b, i64 %c)",
    "  %after = getelementptr i64, ptr %at, i64 5", "  %up = add i64 %k, 1", "  br label %next",
    "over:", "  ret void", "}",
    "define double @run(ptr %tape, ptr %args, ptr %status) nounwind {",
    "entry:",
    "  %size = load i64, ptr %tape", "  %size.bytes = shl i64 %size, 3",
    f"  %large = icmp ugt i64 %size, {MOST}", "  br i1 %large, label %take, label %here",
    "here:",
    "  %frame.here = alloca double, i64 %size, align 64", "  br label %begins",
    "take:",
    "  %frame.taken = call ptr @malloc(i64 %size.bytes)", "  %lacks = icmp eq ptr %frame.taken, null",
    "  br i1 %lacks, label %lacking, label %begins",
    "lacking:",
    "  store i8 1, ptr %status", "  ret double 0.0",
    "begins:",
    "  %frame = phi ptr [%frame.here, %here], [%frame.taken, %take]",
    "  %begin.at = getelementptr i64, ptr %tape, i64 1", "  %begin = load i64, ptr %begin.at",
    "  %numbered = getelementptr i64, ptr %tape, i64 2", "  %bytes = shl i64 %begin, 3",
    "  call void @llvm.memcpy.p0.p0.i64(ptr align 8 %frame, ptr align 8 %numbered, i64 %bytes, i1 false)",
    "  %sections = getelementptr i64, ptr %numbered, i64 %begin", "  br label %next",
    "next:",
    "  %at = phi ptr [%sections, %begins], [%steps.after, %stepped], [%loads.after, %loads.over], "
    "[%numbers.after, %numbers.over], [%lengths.after, %lengths.over], [%stores.after, %stores.over], "
    "[%pass.after, %pass.over]",
    "  %kind = load i64, ptr %at", "  %count.at = getelementptr i64, ptr %at, i64 1",
    "  %count = load i64, ptr %count.at", "  %body = getelementptr i64, ptr %at, i64 2",
    f"  switch i64 %kind, label %end [i64 {STEPS}, label %stepped i64 {LOADS}, label %loads i64 {NUMBERS}, label "
    f"%numbers i64 {LENGTHS}, label %lengths i64 {STORES}, label %stores i64 {PASS}, label %pass]",
    "end:",
    "  %result.at = getelementptr double, ptr %frame, i64 %count", "  %result = load double, ptr %result.at",
    "  br i1 %large, label %give, label %ends", "give:", "  call void @free(ptr %frame)", "  br label %ends", "ends:",
    "  ret double %result",
    "stepped:",
    "  call void @steps(ptr %body, i64 %count, ptr %frame, i64 %size)",
    "  %steps.5 = mul i64 %count, 5", "  %steps.after = getelementptr i64, ptr %body, i64 %steps.5",
    "  br label %next",
    *_section("loads", *_PLACED, "  %k.v = load double, ptr %k.at", "  store double %k.v, ptr %k.to"),
    *_section("numbers", "  %k.v = load double, ptr %k.arg", "  store double %k.v, ptr %k.to"),
    *_section("lengths", "  %k.n = load i64, ptr %k.arg", "  %k.v = sitofp i64 %k.n to double",
              "  store double %k.v, ptr %k.to"),
    *_section("stores", *_PLACED, "  %k.v = load double, ptr %k.to", "  store double %k.v, ptr %k.at"),
    "pass:",
    *(line for j, w in enumerate(WORDS) for line in (
        f"  %{w}.at = getelementptr i64, ptr %body, i64 {j}",
        f"  %{w} = load {'ptr' if w in ('adds', 'closes', 'totals') else 'i64'}, ptr %{w}.at")),
    f"  %columns = getelementptr i64, ptr %body, i64 {len(WORDS)}", "  %count.3 = mul i64 %count, 3",
    "  %sources = getelementptr i64, ptr %columns, i64 %count.3",
    "  %stepping = getelementptr i64, ptr %sources, i64 %many", "  %steps.words = mul i64 %steps, 5",
    "  %pass.after = getelementptr i64, ptr %stepping, i64 %steps.words",
    "  %length.at = getelementptr i64, ptr %args, i64 %n", "  %length = load i64, ptr %length.at",
    "  %sums.to = getelementptr double, ptr %frame, i64 %sums",
    "  %tree.to = getelementptr double, ptr %frame, i64 %tree",
    "  %total.to = getelementptr double, ptr %frame, i64 %total",
    "  %sums.all = mul i64 %many, %width", "  %sums.bytes = shl i64 %sums.all, 3",
    "  call void @llvm.memset.p0.i64(ptr %sums.to, i8 0, i64 %sums.bytes, i1 false)",
    "  %tree.all = mul i64 %many, %levels", "  %tree.bytes = shl i64 %tree.all, 3",
    "  call void @llvm.memset.p0.i64(ptr %tree.to, i8 0, i64 %tree.bytes, i1 false)", "  br label %span.next",
    "span.next:",
    "  %number = phi i64 [0, %pass], [%number.up, %span.close]", "  %first = mul i64 %number, %span",
    "  %span.more = icmp slt i64 %first, %length", "  br i1 %span.more, label %span.do, label %pass.over",
    "span.do:",
    "  %far = add i64 %first, %span", "  %stop = call i64 @llvm.smin.i64(i64 %far, i64 %length)",
    "  br label %turn.next",
    "turn.next:",
    "  %i = phi i64 [%first, %span.do], [%i.up, %adds.over]", "  %turn.more = icmp slt i64 %i, %stop",
    "  br i1 %turn.more, label %turn.do, label %span.close",
    "turn.do:",
    "  %left = sub i64 %stop, %i", f"  %m = call i64 @llvm.smin.i64(i64 %left, i64 {LANES})",
    "  %m.bytes = shl i64 %m, 3", "  br label %column.next",
    "column.next:",
    "  %c = phi i64 [0, %turn.do], [%c.up, %column.end]", "  %c.more = icmp ult i64 %c, %count",
    "  br i1 %c.more, label %column.do, label %column.over",
    "column.do:",
    "  %c.3 = mul i64 %c, 3", "  %c.word.at = getelementptr i64, ptr %columns, i64 %c.3",
    "  %c.slot.at = getelementptr i64, ptr %c.word.at, i64 2", "  %c.word = load i64, ptr %c.word.at",
    "  %c.slot = load i64, ptr %c.slot.at", "  %c.arg = getelementptr i64, ptr %args, i64 %c.word",
    "  %c.array = load ptr, ptr %c.arg", "  %c.from = getelementptr double, ptr %c.array, i64 %i",
    "  %c.to = getelementptr double, ptr %frame, i64 %c.slot",
    "  call void @llvm.memcpy.p0.p0.i64(ptr align 8 %c.to, ptr align 8 %c.from, i64 %m.bytes, i1 false)",
    "  %c.like = load double, ptr %c.from", "  br label %fill.next",
    "fill.next:",  # the lanes behind the last sample
    "  %j = phi i64 [%m, %column.do], [%j.up, %fill.do]", f"  %j.more = icmp ult i64 %j, {LANES}",
    "  br i1 %j.more, label %fill.do, label %column.end",
    "fill.do:",
    "  %j.to = getelementptr double, ptr %c.to, i64 %j", "  store double %c.like, ptr %j.to",
    "  %j.up = add i64 %j, 1", "  br label %fill.next",
    "column.end:", "  %c.up = add i64 %c, 1", "  br label %column.next",
    "column.over:",
    "  call void @steps(ptr %stepping, i64 %steps, ptr %frame, i64 %size)", "  br label %adds.next",
    "adds.next:",
    "  %s = phi i64 [0, %column.over], [%s.up, %part.over]", "  %s.more = icmp ult i64 %s, %many",
    "  br i1 %s.more, label %adds.do, label %adds.over",
    "adds.do:",
    "  %s.at = getelementptr i64, ptr %sources, i64 %s", "  %source = load i64, ptr %s.at",
    "  %s.lanes = mul i64 %s, %width", "  %sum = add i64 %sums, %s.lanes", "  br label %part.next",
    "part.next:",
    "  %off = phi i64 [0, %adds.do], [%off.up, %part.do]", "  %part.more = icmp slt i64 %off, %m",
    "  br i1 %part.more, label %part.do, label %part.over",
    "part.do:",
    "  %from.here = add i64 %source, %off", "  %rest = sub i64 %m, %off",
    "  %part = call i64 @llvm.smin.i64(i64 %rest, i64 %width)",
    "  call void %adds(ptr %frame, i64 %size, i64 %sum, i64 %from.here, i64 %part, i64 0)",
    "  %off.up = add i64 %off, %width", "  br label %part.next",
    "part.over:", "  %s.up = add i64 %s, 1", "  br label %adds.next",
    "adds.over:", f"  %i.up = add i64 %i, {LANES}", "  br label %turn.next",
    "span.close:",
    "  call void %closes(ptr %sums.to, i64 %many, i64 %width, ptr %tree.to, i64 %levels, i64 %many, i64 %number)",
    "  %number.up = add i64 %number, 1", "  br label %span.next",
    "pass.over:",
    "  call void %totals(ptr %tree.to, i64 %levels, i64 %many, ptr %total.to, i64 %many, i64 %number)",
    "  br label %next",
    "}",
])  # fmt: skip
