"""Object files: a kernel's machine code with all that it calls, behind a function that C can call."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from string import Template
from typing import Any

from gradcompile.codegen import lower
from gradcompile.codegen.target import PREFIX, machine, optimise, parsed, pass_builder
from gradcompile.codegen.values import ATTRIBUTES, Kind
from gradcompile.codegen.workspace import SLOTS, STORE
from gradcompile.errors import ExpressionError
from gradcompile.export.c_header import Prototype
from gradcompile.ir.types import Dim
from gradcompile.ir.types import parsed as monomials
from gradcompile.library import products

BLAS = ("gemm", "gemv", "dot")
TYPES = {"d": "double", "s": "float"}
NAN = "0x7FF8000000000000"
# What other threads and earlier calls have to do with in this package: here a function does all itself.
ALONE = f"""
@{STORE} = global [{SLOTS} x ptr] zeroinitializer

define i1 @{PREFIX}helped() {{
  ret i1 false
}}

define void @{PREFIX}share(ptr %task, ptr %frame, i64 %count) {{
start:
  %some = icmp sgt i64 %count, 0
  br i1 %some, label %turn, label %end
turn:
  %k = phi i64 [ 0, %start ], [ %next, %turn ]
  call void %task(ptr %frame, i64 %k)
  %next = add i64 %k, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %turn, label %end
end:
  ret void
}}
"""


def object_code(function: Callable[..., Any], kinds: Sequence[Kind], p: Prototype, blas: bool) -> bytes:
    """The object file of a function of the subset, which is seen under the prototype's name alone.

    blas: products of matrices are calls of the BLAS that the file is linked with.
    """
    lowered = lower(function, tuple(kinds))
    refuse([called.__name__ for called, *_ in lowered.foreign.values()])
    text = entry_text(p, kinds, lowered.name, lowered.result, lowered.fails)
    module = parsed(f"{lowered.text}\n{text}")
    routines = outside_blas() if blas else [text for pair in TYPES.items() for text in own_products(*pair)]
    for text in (ALONE, *routines):
        module.link_in(parsed(text))
    for part in (module.functions, module.global_variables):
        for v in part:
            if not v.is_declaration and v.name != p.name:
                v.linkage = "internal"
                v.name = f"{p.name}.{v.name.rpartition('.')[2]}"
    optimise(module)
    without_unused(module)
    refuse([v.name.removeprefix(PREFIX) for v in module.functions if v.is_declaration and v.name.startswith(PREFIX)])
    return bytes(machine().emit_object(module))


def refuse(names: Sequence[str]) -> None:
    """Raise ExpressionError for functions that machine code can't take along."""
    if names:
        raise ExpressionError(
            f"{', '.join(sorted(set(names)))}: SciPy or Numba computes this, and no object file or C source can hold "
            "it; f.cfunc is a function that C calls in this process, f.save writes a module of Python"
        )


def without_unused(module: Any) -> None:
    """Leave out what nothing calls."""
    from llvmlite.binding import create_new_module_pass_manager

    manager = create_new_module_pass_manager()
    manager.add_global_dead_code_eliminate_pass()
    manager.add_strip_dead_prototype_pass()
    manager.run(module, pass_builder(0))


# ---- the function that C calls


def entry_text(p: Prototype, kinds: Sequence[Kind], kernel: str, result: str, fails: bool) -> str:
    """The IR of the function that C calls; kernel: the symbol of what it calls, with what that returns."""
    lines: list[str] = []
    taken: list[str] = []
    given: list[str] = []
    for k, (q, kind) in enumerate(zip(p.parameters, kinds, strict=True)):
        type = "ptr" if q.type.shape else kind[0]
        taken += [f"{type} %p{k}"] if q.is_passed else []
        given.append(f"{type} %p{k}" if q.is_passed else f"{type} null")
        given += [f"i64 {length_in_ir(lines, d) if q.is_passed else 0}" for d in q.type.shape]
    taken += [f"i64 %n.{name}" for name in p.lengths]
    real = p.result
    if fails:
        lines[:0] = ["  %status = alloca i8", "  store i8 0, ptr %status"]
        given.append("ptr %status")
    returned = "" if result == "void" else "%r = "
    lines.append(f"  {returned}call {result} @{kernel}({', '.join(given)})")
    lines += as_real(result, real)
    if fails:
        lines += [
            "  %ended = load i8, ptr %status", "  %bad = icmp ne i8 %ended, 0",
            f"  %value = select i1 %bad, {real} {NAN}, {real} %found",
        ]  # fmt: skip
    lines.append(f"  ret {real} {'%value' if fails else '%found'}")
    return "\n".join([f"define {real} @{p.name}({', '.join(taken)}) {ATTRIBUTES} {{", "entry:", *lines, "}"])


def length_in_ir(lines: list[str], dim: Dim) -> str:
    """Write what computes a length from those that are passed; its operand."""
    total = "0"
    for names, c in monomials(dim):
        term = str(c)
        for name in names:
            term = computed(lines, f"mul i64 {term}, %n.{name}")
        total = computed(lines, f"add i64 {total}, {term}") if total != "0" else term
    return total


def computed(lines: list[str], text: str) -> str:
    """Write an instruction; its operand."""
    lines.append(f"  %l{len(lines)} = {text}")
    return f"%l{len(lines) - 1}"


def as_real(result: str, real: str) -> list[str]:
    """The lines that make of what the kernel returned what C gets."""
    if result == "void":
        return [f"  %found = fadd {real} 0.0, 0.0"]
    if result == real:
        return [f"  %found = fadd {real} %r, -0.0"]
    how = {"double": "fptrunc", "float": "fpext"}.get(result, "sitofp")
    return [f"  %found = {how} {result} %r to {real}"]


# ---- products of matrices


def outside_blas() -> list[str]:
    """IR in which the routines of BLAS are those that a linker finds."""
    found = []
    for letter, type in TYPES.items():
        for name, (count, is_value) in {"gemm": (13, False), "gemv": (11, False), "dot": (5, True)}.items():
            result = type if is_value else "void"
            given = ", ".join(f"ptr %a{k}" for k in range(count))
            call = f"call {result} @{letter}{name}_({given})"
            end = [f"  %r = {call}", f"  ret {result} %r"] if is_value else [f"  {call}", "  ret void"]
            found += [
                f"declare {result} @{letter}{name}_({', '.join(['ptr'] * count)})",
                f"define {result} @{PREFIX}{letter}{name}({given}) {{", *end, "}",
            ]  # fmt: skip
    return ["\n".join(found)]


@lru_cache(maxsize=2)
def own_products(letter: str, type: str) -> list[str]:
    """IR in which the routines of BLAS are functions of the package: under their names, as far as they are called."""
    matrix, vector = (type, (None, None), (None, None)), (type, (None,), (None,))
    number = (type, 1)
    made = {
        "gemm": lower(products.multiply.lowered_from, (matrix, matrix, matrix, number, number)),
        "gemv": lower(products.apply.lowered_from, (vector, matrix, vector, number)),
        "dot": lower(products.inner.lowered_from, (vector, vector)),
    }
    texts = {"gemm": GEMM, "gemv": GEMV, "dot": DOT}
    return [
        f"{made[name].text}\n" + texts[name].substitute(
            real=type, symbol=f"{PREFIX}{letter}{name}", own=made[name].name
        )
        for name in BLAS
    ]  # fmt: skip


LOADED = """  %${name}32 = load i32, ptr %${name}.at
  %$name = sext i32 %${name}32 to i64
"""


def loaded(*names: str) -> str:
    """The lines that read integers by their addresses."""
    return "".join(Template(LOADED).substitute(name=name) for name in names)


# BLAS sees columns: its result is the transpose of a matrix by rows, of which it gets the operands in the other order.
GEMM = Template(f"""
define void @$symbol(ptr %by.a, ptr %by.b, ptr %m.at, ptr %n.at, ptr %k.at, ptr %alpha.at, ptr %a, ptr %lda.at,
    ptr %b, ptr %ldb.at, ptr %beta.at, ptr %c, ptr %ldc.at) {{
{loaded("m", "n", "k", "lda", "ldb", "ldc")}
  %alpha = load $real, ptr %alpha.at
  %beta = load $real, ptr %beta.at
  %a.by = load i8, ptr %by.a
  %b.by = load i8, ptr %by.b
  %a.plain = icmp eq i8 %a.by, 78  ; N
  %b.plain = icmp eq i8 %b.by, 78
  %a.terms = select i1 %a.plain, i64 %lda, i64 1
  %a.own = select i1 %a.plain, i64 1, i64 %lda
  %b.terms = select i1 %b.plain, i64 1, i64 %ldb
  %b.own = select i1 %b.plain, i64 %ldb, i64 1
  call void @$own(ptr %c, i64 %n, i64 %m, i64 %ldc, i64 1, ptr %b, i64 %n, i64 %k, i64 %b.own, i64 %b.terms,
    ptr %a, i64 %k, i64 %m, i64 %a.terms, i64 %a.own, $real %alpha, $real %beta)
  ret void
}}""")
GEMV = Template(f"""
define void @$symbol(ptr %by.a, ptr %m.at, ptr %n.at, ptr %alpha.at, ptr %a, ptr %lda.at, ptr %x, ptr %incx.at,
    ptr %beta.at, ptr %y, ptr %incy.at) {{
{loaded("m", "n", "lda", "incx", "incy")}
  %alpha = load $real, ptr %alpha.at
  %a.by = load i8, ptr %by.a
  %plain = icmp eq i8 %a.by, 78  ; N
  %rows = select i1 %plain, i64 %m, i64 %n
  %columns = select i1 %plain, i64 %n, i64 %m
  %row = select i1 %plain, i64 1, i64 %lda
  %column = select i1 %plain, i64 %lda, i64 1
  call void @$own(ptr %y, i64 %rows, i64 %incy, ptr %a, i64 %rows, i64 %columns, i64 %row, i64 %column,
    ptr %x, i64 %columns, i64 %incx, $real %alpha)
  ret void
}}""")
DOT = Template(f"""
define $real @$symbol(ptr %n.at, ptr %x, ptr %incx.at, ptr %y, ptr %incy.at) {{
{loaded("n", "incx", "incy")}
  %r = call $real @$own(ptr %x, i64 %n, i64 %incx, ptr %y, i64 %n, i64 %incy)
  ret $real %r
}}""")
