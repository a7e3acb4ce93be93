"""Memory from the heap for machine code. What is large is kept for the next call, of whichever function or thread.

The system takes freed memory back, and fresh pages are slow: some 0.1 to 1 us for each 4 KiB, in a virtual machine
with two threads up to 6, which made a call of 15 ms one of 25. A few blocks wait in slots of the process. To take one
is to exchange a slot for null, to give one back is to push down what the slots hold, so neither needs a lock; what
falls out is freed.
"""

import ctypes
from string import Template

from gradcompile.codegen.lines import Declarations
from gradcompile.codegen.values import REGISTER

STORE = "gc_store"
SLOTS = 8
LEAST, MOST = 1 << 16, 1 << 23  # bytes of what is kept: 64 MiB at most in all
slots = (ctypes.c_void_p * SLOTS)()

TEXT = Template("""\
@$store = external global [$slots x ptr]
declare noalias ptr @malloc(i64)
declare void @free(ptr)

define internal noalias ptr @$mark.take(i64 %size) noinline nounwind minsize optsize {  ; its size first; or null
start:
  %small = icmp ult i64 %size, $least
  br i1 %small, label %fresh, label %look
look:
  %k = phi i64 [ 0, %start ], [ %next, %on ]
  %slot = getelementptr ptr, ptr @$store, i64 %k
  %found = atomicrmw xchg ptr %slot, ptr null acq_rel
  %empty = icmp eq ptr %found, null
  br i1 %empty, label %on, label %measure
measure:
  %room = load i64, ptr %found
  %fits = icmp uge i64 %room, %size
  %quarter = lshr i64 %room, 2
  %near = icmp ule i64 %quarter, %size
  %good = and i1 %fits, %near
  br i1 %good, label %take, label %back
take:
  ret ptr %found
back:
  %other = atomicrmw xchg ptr %slot, ptr %found acq_rel
  call void @free(ptr %other)
  br label %on
on:
  %next = add i64 %k, 1
  %more = icmp ult i64 %next, $slots
  br i1 %more, label %look, label %fresh
fresh:
  %whole = add i64 %size, $head
  %new = call noalias ptr @malloc(i64 %whole)
  %none = icmp eq ptr %new, null
  br i1 %none, label %made, label %note
note:
  store i64 %size, ptr %new
  br label %made
made:
  ret ptr %new
}

define internal void @$mark.give(ptr %block) noinline nounwind minsize optsize {
start:
  %none = icmp eq ptr %block, null
  br i1 %none, label %done, label %measure
measure:
  %size = load i64, ptr %block
  %above = sub i64 %size, $least
  %odd = icmp ugt i64 %above, $range
  br i1 %odd, label %end, label %push
push:
  %k = phi i64 [ 0, %measure ], [ %next, %on ]
  %moved = phi ptr [ %block, %measure ], [ %old, %on ]
  %slot = getelementptr ptr, ptr @$store, i64 %k
  %old = atomicrmw xchg ptr %slot, ptr %moved acq_rel
  %next = add i64 %k, 1
  %empty = icmp eq ptr %old, null
  br i1 %empty, label %done, label %on
on:
  %more = icmp ult i64 %next, $slots
  br i1 %more, label %push, label %end
end:
  %last = phi ptr [ %block, %measure ], [ %old, %on ]
  call void @free(ptr %last)
  br label %done
done:
  ret void
}""")


def connect_store() -> None:
    """Make the slots known to machine code, which refers to them by name; every process connects them anew.

    >>> connect_store()
    """
    from llvmlite import binding

    if not binding.address_of_symbol(STORE):
        binding.add_symbol(STORE, ctypes.addressof(slots))


def take_lines(unit: Declarations, size: str, name: str, failed: str) -> list[str]:
    """The lines that take so many bytes, from where a vector register fits on, as `name`; the block is `name`.taken.

    They end the block of the code with a jump to `failed` if there is no memory, and begin one of their own.
    """
    values = {"mark": unit.mark, "store": STORE, "slots": SLOTS, "least": LEAST, "range": MOST - LEAST}
    unit.declared.setdefault(STORE, TEXT.substitute(values, head=2 * REGISTER))
    return [
        f"  {name}.taken = call noalias ptr @{unit.mark}.take(i64 {size})",
        f"  {name}.none = icmp eq ptr {name}.taken, null",
        f"  br i1 {name}.none, label %{failed}, label %{room(name)}",
        f"{room(name)}:",
        f"  {name}.address = ptrtoint ptr {name}.taken to i64",
        f"  {name}.below = sub i64 0, {name}.address",
        f"  {name}.rest = and i64 {name}.below, {REGISTER - 1}",
        f"  {name}.head = add i64 {name}.rest, {REGISTER}",
        f"  {name} = getelementptr i8, ptr {name}.taken, i64 {name}.head",
    ]


def room(name: str) -> str:
    """The block of the code that has memory under a name."""
    return f"room.{name[1:]}"


def give_line(unit: Declarations, block: str) -> str:
    """The line that gives a block back."""
    return f"  call void @{unit.mark}.give(ptr {block})"
