"""Threads that serve machine code: large matrix products in parts, which whoever is free takes.

`connect_blas` puts these routines behind names that machine code refers to. They are LLVM IR, because a kernel can
neither allocate memory nor ask for a lock, and a product of some ten microseconds leaves no time for either.

* `gc_share(task, frame, count)` calls task(frame, k) for all k < count, in any order, and returns when all are done. If
  the team works for the calling thread, others take part; else the thread does all itself.
* `gc_helped()` says whether the team works for the calling thread, so that others do take part.
* `gc_sgemm` and `gc_dgemm` are BLAS's gemm, in parts along one axis of the result where that pays. How it is cut
  depends on the sizes alone, so the bits of a result do not depend on who takes part.
* `serve(number, turns)` is what a helper runs: it takes parts until there was none for so many turns, and counts them.

The team's state is a few words of memory. `work` counts jobs in its upper bits, and in the lower 16 the parts of the
present one that nobody has taken. A part is taken by replacing the whole word, so what was read of a job before counts
only if it is still that job. `done` counts the parts that helpers have finished; the owner waits for those that were
taken, and for nothing else: a helper that never comes costs nothing.
"""

import os
import platform
from string import Template
from typing import Any

from gradcompile.codegen.target import llvm

# Measured on two cores with OpenBLAS in float32. A product of WORTH multiplications takes 10 us, with a helper half of
# that; to hand out its parts takes 0.4. Cut by columns into parts of 256 and more it takes 1.0 to 1.06 times as long on
# one thread, in parts of 128 up to 1.15, of 64 up to 1.35, since every part packs the rows anew.
WORTH = 1 << 19  # multiplications from which on a product is cut
COLUMNS = 256  # of a part, where there are enough for two
MOST = 16  # parts; their number is even, for two threads
NARROW = 64  # columns up to which the rows are cut, if there are more
TILE = 16  # what rows and columns of a part are a multiple of, a power of two, so that BLAS's tiles stay whole
# OpenBLAS does not pack what has at most 10**6 multiplications. Where rows are few, such parts are quicker even on one
# thread: 32 rows take half the time, 48 rows 0.7 to 0.85, if a part has twice TILE columns at least.
LOW, UNPACKED = 64, 900_000

# The state in words: where is what. Each group has cache lines of its own.
WORDS, WORK, OWNER, LIMIT = 64, 0, 48, 49
JOB = 16  # the bit of work where the number of jobs begins

TEAM = """
%State = type { [16 x i64], [16 x ptr], [16 x i64], [16 x i64] }  ; work; task, frame; done; owner, limit
@state = internal global %State zeroinitializer, align 128
@work = internal alias i64, ptr @state
@task = internal alias ptr, getelementptr (%State, ptr @state, i32 0, i32 1)
@frame = internal alias ptr, getelementptr (%State, ptr @state, i32 0, i32 1, i32 1)
@done = internal alias i64, getelementptr (%State, ptr @state, i32 0, i32 2)
@owner = internal alias i64, getelementptr (%State, ptr @state, i32 0, i32 3)
@limit = internal alias i64, getelementptr (%State, ptr @state, i32 0, i32 3, i32 1)

declare i64 @PyThread_get_thread_ident()
declare i32 @sched_yield()
declare i32 @usleep(i32)
declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)

define ptr @place() {
  ret ptr @state
}

define internal i1 @take() {  ; take a part, if there is one
start:
  br label %look
look:
  %before = load atomic i64, ptr @work acquire, align 8
  %left = and i64 %before, 65535
  %none = icmp eq i64 %left, 0
  br i1 %none, label %nothing, label %try
try:
  %task = load atomic ptr, ptr @task monotonic, align 8
  %frame = load atomic ptr, ptr @frame monotonic, align 8
  %after = sub i64 %before, 1
  %pair = cmpxchg ptr @work, i64 %before, i64 %after acq_rel monotonic
  %won = extractvalue { i64, i1 } %pair, 1
  br i1 %won, label %run, label %look
run:
  %k = sub i64 %left, 1
  call void %task(ptr %frame, i64 %k)
  ret i1 true
nothing:
  ret i1 false
}

define i1 @helped() {
  %self = call i64 @PyThread_get_thread_ident()
  %owner = load atomic i64, ptr @owner monotonic, align 8
  %ours = icmp eq i64 %self, %owner
  ret i1 %ours
}

define void @share(ptr %task, ptr %frame, i64 %count) {
start:
  %ours = call i1 @helped()
  br i1 %ours, label %post, label %alone
alone:
  %k = phi i64 [ 0, %start ], [ %next, %alone ]
  call void %task(ptr %frame, i64 %k)
  %next = add i64 %k, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %alone, label %end
post:
  %self = load atomic i64, ptr @owner monotonic, align 8
  store atomic i64 0, ptr @owner monotonic, align 8  ; a task that shares in its turn does all itself
  store atomic i64 0, ptr @done monotonic, align 8
  store atomic ptr %task, ptr @task monotonic, align 8
  store atomic ptr %frame, ptr @frame monotonic, align 8
  %before = load atomic i64, ptr @work monotonic, align 8
  %last = or i64 %before, 65535
  %job = add i64 %last, 1
  %posted = or i64 %job, %count
  store atomic i64 %posted, ptr @work release, align 8
  br label %claim
claim:
  %mine = phi i64 [ 0, %post ], [ %one.more, %claim ]
  %one.more = add i64 %mine, 1
  %took = call i1 @take()
  br i1 %took, label %claim, label %rest
rest:
  %theirs = sub i64 %count, %mine
  br label %wait
wait:
  %turn = phi i64 [ 0, %rest ], [ %turn.next, %idle ]
  %done = load atomic i64, ptr @done acquire, align 8
  %all = icmp eq i64 %done, %theirs
  br i1 %all, label %finish, label %idle
idle:
  %turn.next = add i64 %turn, 1
  call void @doze(i64 %turn)
  br label %wait
finish:
  store atomic i64 %self, ptr @owner monotonic, align 8
  br label %end
end:
  ret void
}

define i64 @serve(i64 %number, i64 %turns) {
start:
  br label %turn
turn:
  %idle = phi i64 [ 0, %start ], [ 0, %finished ], [ %idle.next, %pause ]
  %parts = phi i64 [ 0, %start ], [ %parts.next, %finished ], [ %parts, %pause ]
  %limit = load atomic i64, ptr @limit monotonic, align 8
  %wanted = icmp slt i64 %number, %limit
  br i1 %wanted, label %look, label %pause
look:
  %took = call i1 @take()
  br i1 %took, label %finished, label %pause
finished:
  %parts.next = add i64 %parts, 1
  %before = atomicrmw add ptr @done, i64 1 release
  br label %turn
pause:
  %idle.next = add i64 %idle, 1
  call void @rest(i64 %idle)
  %more = icmp slt i64 %idle.next, %turns
  br i1 %more, label %turn, label %end
end:
  ret i64 %parts
}

define internal void @rest(i64 %turn) {  ; of a helper without work: the caller may need the very processor
  call void @pause()
  %late = icmp sge i64 %turn, $patience
  %place = and i64 %turn, $between
  %is.time = icmp eq i64 %place, 0
  %offers = and i1 %late, %is.time
  br i1 %offers, label %offer, label %end
offer:
  $offer
  br label %end
end:
  ret void
}

define internal void @doze(i64 %turn) {  ; of the caller, while a helper finishes: it may wait for this processor
  call void @pause()
  %late = icmp sge i64 %turn, $patience
  br i1 %late, label %nap, label %end
nap:
  $nap
  br label %end
end:
  ret void
}

define internal void @pause() {
  $pause
  ret void
}
"""

# Of a product in parts the frame holds: the addresses of its thirteen arguments, BLAS's routine, the bytes of an entry,
# the length of a part, of all together, and whether they are cut by columns.
PRODUCTS = """
%Frame = type { [13 x ptr], ptr, i64, i64, i64, i1 }

declare void @blas.sgemm($given)
declare void @blas.dgemm($given)

define void @sgemm($arguments) {
  call void @product(ptr @blas.sgemm, i64 4, $arguments)
  ret void
}

define void @dgemm($arguments) {
  call void @product(ptr @blas.dgemm, i64 8, $arguments)
  ret void
}

define internal void @product(ptr %blas, i64 %bytes, $arguments) {
start:
  %m32 = load i32, ptr %x2
  %n32 = load i32, ptr %x3
  %k32 = load i32, ptr %x4
  %m = sext i32 %m32 to i64
  %n = sext i32 %n32 to i64
  %k = sext i32 %k32 to i64
  %entries = mul i64 %m, %n
  %effort = mul i64 %entries, %k
  %small = icmp slt i64 %effort, $worth
  br i1 %small, label %whole, label %measure
measure:
  %wide = icmp sge i64 %n, $narrow
  %wider = icmp sge i64 %n, %m
  %columns = or i1 %wide, %wider
  %length = select i1 %columns, i64 %n, i64 %m
  %of.width = sdiv i64 %length, $wide
  %even = and i64 %of.width, -2
  %two = call i64 @llvm.smax.i64(i64 %even, i64 2)
  %parts = call i64 @llvm.smin.i64(i64 %two, i64 $most)
  %parts.above = add i64 %length, %parts
  %parts.last = sub i64 %parts.above, 1
  %equal = sdiv i64 %parts.last, %parts
  %equal.last = add i64 %equal, $last
  %tiled = and i64 %equal.last, $whole
  %column = mul i64 %m, %k
  %room = sdiv i64 $unpacked, %column
  %small.part = and i64 %room, $whole
  %is.low = icmp sle i64 %m, $low
  %is.worth = icmp sge i64 %small.part, $least
  %by.columns = and i1 %is.low, %columns
  %unpacked = and i1 %by.columns, %is.worth
  %smaller = call i64 @llvm.smin.i64(i64 %small.part, i64 %tiled)
  %step = select i1 %unpacked, i64 %smaller, i64 %tiled
  %length.above = add i64 %length, %step
  %length.last = sub i64 %length.above, 1
  %count = sdiv i64 %length.last, %step
  %one = icmp slt i64 %count, 2
  br i1 %one, label %whole, label %cut
cut:
  %frame = alloca %Frame
$stored
  call void @share(ptr @part, ptr %frame, i64 %count)
  ret void
whole:
  call void %blas($arguments)
  ret void
}

define internal void @part(ptr %frame, i64 %number) {
$loaded
  %first = mul i64 %number, %step
  %left = sub i64 %length, %first
  %size = call i64 @llvm.smin.i64(i64 %left, i64 %step)
  %size32 = trunc i64 %size to i32
  %m = load i32, ptr %x2
  %n = load i32, ptr %x3
  %m.part = select i1 %columns, i32 %m, i32 %size32
  %n.part = select i1 %columns, i32 %size32, i32 %n
  %m.place = alloca i32
  %n.place = alloca i32
  store i32 %m.part, ptr %m.place
  store i32 %n.part, ptr %n.place
  %a.first = select i1 %columns, i64 0, i64 %first
  %b.first = select i1 %columns, i64 %first, i64 0
  %by.a = load i8, ptr %x0
  %a.plain = icmp eq i8 %by.a, 78  ; N
  %a.leading = load i32, ptr %x7
  %a.wide = sext i32 %a.leading to i64
  %a.stride = select i1 %a.plain, i64 1, i64 %a.wide
  %a.offset = mul i64 %a.first, %a.stride
  %a.bytes = mul i64 %a.offset, %bytes
  %a = getelementptr i8, ptr %x6, i64 %a.bytes
  %by.b = load i8, ptr %x1
  %b.plain = icmp eq i8 %by.b, 78  ; N
  %b.leading = load i32, ptr %x9
  %b.wide = sext i32 %b.leading to i64
  %b.stride = select i1 %b.plain, i64 %b.wide, i64 1
  %b.offset = mul i64 %b.first, %b.stride
  %b.bytes = mul i64 %b.offset, %bytes
  %b = getelementptr i8, ptr %x8, i64 %b.bytes
  %c.leading = load i32, ptr %x12
  %c.wide = sext i32 %c.leading to i64
  %c.columns = mul i64 %b.first, %c.wide
  %c.offset = add i64 %c.columns, %a.first
  %c.bytes = mul i64 %c.offset, %bytes
  %c = getelementptr i8, ptr %x11, i64 %c.bytes
  call void %blas($part)
  ret void
}
"""

PATIENCE = 1 << 13  # turns of waiting, of 16 ns each, after which the processor is left to others
BETWEEN = 1 << 5  # turns from one offer of a helper to the next, which costs as much as a dozen or two
NAP = 20  # microseconds for which the caller leaves it, and which take some 70
PAUSES = {"x86_64": "@llvm.x86.sse2.pause()", "aarch64": "@llvm.aarch64.hint(i32 1)"}  # hints that a loop waits
NAMES = ("share", "helped", "serve", "place", "sgemm", "dgemm")
_kept: list[Any] = []  # the machine code, which lives as long as the process


def text() -> str:
    """The routines in LLVM IR, for this machine."""
    kind = platform.machine().replace("AMD64", "x86_64").replace("arm64", "aarch64")
    pause = f"call void {PAUSES[kind]}" if kind in PAUSES else ""
    offer, nap = ("call i32 @sched_yield()", f"call i32 @usleep(i32 {NAP})") if os.name == "posix" else ("", "")
    waiting = {"patience": PATIENCE, "between": BETWEEN - 1, "pause": pause, "offer": offer, "nap": nap}
    return Template(TEAM).substitute(waiting) + product_parts()


def product_parts() -> str:
    """The products in parts. The arguments of gemm: two letters, rows, columns, sums, alpha, a, b, beta, c."""
    arguments = [f"ptr %x{k}" for k in range(13)]
    changed = {2: "ptr %m.place", 3: "ptr %n.place", 6: "ptr %a", 8: "ptr %b", 11: "ptr %c"}
    kept = ["ptr %blas", "i64 %bytes", "i64 %step", "i64 %length", "i1 %columns"]
    fields = [(f"i32 0, i32 0, i32 {k}", a) for k, a in enumerate(arguments)]
    fields += [(f"i32 0, i32 {k}", a) for k, a in enumerate(kept, 1)]
    places = [f"  %p{k} = getelementptr %Frame, ptr %frame, {at}" for k, (at, _) in enumerate(fields)]
    stored = [f"{place}\n  store {a}, ptr %p{k}" for k, (place, (_, a)) in enumerate(zip(places, fields, strict=True))]
    loaded = []
    for k, (_, a) in enumerate(fields):
        type, name = a.split()
        loaded.append(f"{places[k]}\n  {name} = load {type}, ptr %p{k}")
    return Template(PRODUCTS).substitute(
        given=", ".join(["ptr"] * len(arguments)),
        arguments=", ".join(arguments),
        part=", ".join(changed.get(k, a) for k, a in enumerate(arguments)),
        stored="\n".join(stored),
        loaded="\n".join(loaded),
        worth=WORTH,
        narrow=NARROW,
        wide=COLUMNS,
        most=MOST,
        low=LOW,
        unpacked=UNPACKED,
        least=2 * TILE,
        last=TILE - 1,
        whole=-TILE,
    )


def routines(sgemm: int, dgemm: int) -> dict[str, int]:
    """The addresses of the routines, as machine code around BLAS's products at these addresses."""
    llvm().add_symbol("blas.sgemm", sgemm)
    llvm().add_symbol("blas.dgemm", dgemm)
    # Without optimising it compiles in half the time.
    machine = llvm().Target.from_triple(llvm().get_process_triple()).create_target_machine(opt=0)
    engine = llvm().create_mcjit_compiler(llvm().parse_assembly(text()), machine)
    engine.finalize_object()
    _kept.append(engine)
    return {name: engine.get_function_address(name) for name in NAMES}
