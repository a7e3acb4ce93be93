"""Source files of C99: a kernel and all that it calls as text, behind a function that C can call."""

from collections.abc import Callable, Sequence

from gradcompile.codegen.statements import write_function
from gradcompile.codegen.values import Kind
from gradcompile.export.c_header import Prototype, comment
from gradcompile.loops.c import WIDTH, Made, Source, distinct
from gradcompile.loops.python import wrapped

CARE = "Compile it with -ffp-contract=off and without -ffast-math: then its bits are those of the Python function."
# Functions are made of fused multiplications, which are calls of a library where the processor may not have them.
FUSED = """#ifdef __FAST_MATH__
#error "the sums in here are not to be reordered: compile without -ffast-math"
#endif
#if defined(__GNUC__) && !defined(__clang__)  /* it pairs numbers of straight code at twice the time */
#pragma GCC optimize("no-tree-slp-vectorize")
#endif
#if defined(__x86_64__) && !defined(__FMA__) && !defined(PORTABLE)  /* PORTABLE: for processors without FMA */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define PUSHED
#elif defined(__GNUC__)
#pragma GCC target("avx2,fma")
#endif
#endif"""
HEADERS = ("math", "stdbool", "stdint", "stdlib", "string")
END = """#ifdef PUSHED
#pragma clang attribute pop
#endif"""


def c_source(
    function: Callable[..., object], kinds: Sequence[Kind], p: Prototype, header: str
) -> tuple[str, list[str]]:
    """The text of a source file, which includes a header, and the functions that it can't hold."""
    unit = Source(p.name, write_function, taken={p.name})
    kernel = unit.function(function, tuple(kinds))
    parts = [
        comment(p, CARE), "\n".join(f"#include <{name}.h>" for name in HEADERS),
        f'#include "{header}"', FUSED, unit.complete(), entry(p, kernel), END,
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n", unit.outside


def entry(p: Prototype, kernel: Made) -> str:
    """The function that is seen from outside."""
    taken = {*(q.name for q in p.passed), *p.lengths.values()}
    failed, value = distinct("failed", taken), distinct("value", taken)
    given = []
    for q in p.parameters:
        given.append(q.name if q.is_passed else "NULL")
        given += [p.length(d) if q.is_passed else "0" for d in q.type.shape]
    given += [f"&{failed}"] if kernel.fails else []
    passed = ", ".join(g for g, used in zip(given, kernel.used, strict=True) if used)
    read = {w for g, used in zip(given, kernel.used, strict=True) if used for w in g.replace("*", " ").split()}
    unread = [n for n in (*(q.name for q in p.passed), *p.lengths.values()) if n not in read]
    lines = [f"(void){name};" for name in unread] + [f"int {failed} = 0;"] * kernel.fails
    called = f"{kernel.name}({passed})"
    if kernel.result == "void":
        lines += [f"{called};", f"return {f'{failed} ? NAN : ' * kernel.fails}0;"]
    elif kernel.fails:
        lines += [f"const {p.result} {value} = ({p.result}){called};", f"return {failed} ? ({p.result})NAN : {value};"]
    else:
        lines += [f"return ({p.result}){called};" if kernel.result != p.result else f"return {called};"]
    body = [line for text in lines for line in wrapped(text, WIDTH - 2, "    ")]
    return "\n".join([*wrapped(p.text, WIDTH, "    "), "{", *(f"  {line}" for line in body), "}"])
