"""Generated source to machine code: functions in a small subset of Python, lowered from their own text to LLVM IR.

Numba's front end takes time that grows faster than a function's length; LLVM does not. So the text of a generated
function is parsed and lowered here. Python calls the result as it is (`builtin.py`); for calls from other compiled
functions Numba is handed it inside an intrinsic, and dispatch and disk cache are Numba's.

The subset. Values are floats, integers, truth values, and arrays of floats or int64. Statements: assignments to names
and elements, also augmented, calls, one `return` at the end, branches and loops. `for i in range(...)` and `while`
run in order, and may hold `if`, `elif` and `else`, as a function may. `for i in lanes(start, stop)` promises that
neighbouring turns may take each statement together, before any of them takes the next, as nothing meets what a later
turn did; but for sums in `s[i % LANES]`, where a start that is no number of the text is a multiple of LANES. A name
that has a value before such a loop is not assigned in it. It becomes vector code for LANES turns at a time (each name
a vector), and once more for the rest, with lanes that are off.
Expressions: arithmetic, comparisons, `& | ^ << >>`, `a if c else b` (both sides are computed), `x.shape[k]`, module
constants and tuples of them, functions of the subset, and the primitives; `//` and `%` of integers that are not
negative. Literals take the dtype of what they meet.
Any other compiled function may be called, with numbers and whole arrays; in a vector loop it is called lane by lane.

Parts of arrays, without a copy, may be named, passed on and multiplied: `x[k]`, `x[a:b]`, `x[k, :, a:b]`, `x.T` of a
matrix, `view(x, offset, shape)`. Neither indices nor bounds are checked or counted from the end. A name that means an
array before a loop means no other in it. `out[:, :] = a @ b`, also `+=` and `-=`, with any slices of `out`, is a call
of BLAS, or of code of the module's own where that is quicker (`tiles.py`), and `a @ b` of two vectors, a number, is one
of BLAS; of each matrix the rows or the columns are contiguous, strides are positive, `out` overlaps neither operand,
and the module calls `library.blas.connect_blas()`. `out[:, :] = x` fills with a number. Memory by `zeros`, `empty` and
`full` lasts until the function returns; in a loop its size is known before.

But for products, nothing is reassociated or contracted, so the same text gives the same bits in vectors, in scalars and
in Python.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from gradcompile.codegen import target
from gradcompile.codegen.builtin import entry, machine_code
from gradcompile.codegen.contract import contract_of, settled_types, write_checks
from gradcompile.codegen.statements import write_function
from gradcompile.codegen.unit import Library, Unit
from gradcompile.codegen.values import Compiled, Kind, array_kind, kind_of, kind_type, overload
from gradcompile.codegen.workspace import connect_store
from gradcompile.collector import collector_paused
from gradcompile.errors import ArgumentTypeError, SubsetError
from gradcompile.loops.reading import lines_of, own_lines, own_text, remember, syntax

__all__ = [
    "SubsetError", "array_kind", "dispatcher", "entry", "kind_of", "lines_of", "lower",
    "machine_code", "mark_of", "own_lines", "own_text", "remember", "syntax", "target",
]  # fmt: skip


NO_LINE = 1 << 30  # Numba looks up the lines of what it compiles; of a long function that takes longer than to lower it


@collector_paused()
def lower(
    function: Callable[..., Any], kinds: tuple[Kind, ...], library: Library | None = None, may_fail: bool = False
) -> Compiled:
    """The IR of a function of the subset, and of all that it calls, for these kinds of arguments.

    library: for quick code, what finds functions of the package that are called as they are, and not written anew.
    may_fail: the entry takes the address of the byte that says so, whether or not it takes memory.
    """
    unit = Unit(f"gc.{mark_of(function, kinds)}", write_function, library)
    entry = unit.function(function, kinds)
    if may_fail and not entry.fails:
        entry.fails, entry.parameters = True, f"{entry.parameters}, ptr noalias %status".removeprefix(", ")
    return Compiled(
        unit.text(entry), entry.name, entry.result, unit.foreign, entry.fails, entry.width, library is not None,
        tuple(unit.helpers),
    )  # fmt: skip


asked_again = lru_cache(maxsize=4)(lower)  # as Numba does


def mark_of(function: Callable[..., Any], kinds: tuple[Kind, ...]) -> str:
    """What tells a function for these kinds of arguments from all others, if there is one module of its module's name.

    >>> mark_of(lower, (("double", 1),)) == mark_of(lower, (("float", 1),))
    False
    """
    return hashlib.sha256(repr((function.__module__, function.__name__, kinds)).encode()).hexdigest()[:16]


def dispatcher(function: Callable[..., Any], **options: Any) -> Any:
    """A Numba dispatcher that runs the function as lowered from its text; options are those of `numba.njit`."""
    import numba
    from numba.extending import intrinsic

    connect_store()
    name, code = function.__name__, function.__code__
    arguments = ", ".join(code.co_varnames[: code.co_argcount])
    space: dict[str, Any] = {"resolve": resolve, "function": function, "__name__": function.__module__}
    exec(f"def resolved(typing, {arguments}):\n    return resolve(function, ({arguments},))", space)
    space["lowered"] = intrinsic(space["resolved"])
    text = f"def {name}({arguments}): return lowered({arguments})"
    exec(compile(text, code.co_filename, "exec", dont_inherit=True), space)  # Numba keeps its machine code by that file
    wrapper = space[name]
    wrapper.__code__ = wrapper.__code__.replace(co_firstlineno=NO_LINE)
    wrapper.__doc__, wrapper.lowered_from = function.__doc__, function
    return numba.njit(**options)(wrapper)


def resolve(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Callable[..., Any]]:
    """What an intrinsic has to say: the signature of the function for these Numba types, and its code generator."""
    contract = contract_of(function)
    arguments = settled_types(contract, arguments) if contract else taken_types(function, arguments)
    try:
        lowered = asked_again(function, tuple(map(kind_of, arguments)))
    except (AttributeError, SubsetError) as error:
        given = ", ".join(map("{}: {}".format, function.__code__.co_varnames, arguments))
        if contract:
            cure = "pass contiguous arrays, as by np.ascontiguousarray(x)"
            raise ArgumentTypeError(f"the kernel can't take ({given}); {cure}") from error
        why = "an array is needed in place of a number, or a number" if isinstance(error, AttributeError) else error
        raise SubsetError(f"{function.__name__} is not made for ({given}): {why}") from error
    signature = kind_type(lowered.result)(*arguments)

    def generated(context: Any, builder: Any, _: Any, values: Sequence[Any]) -> Any:
        if contract:
            write_checks(context, builder, contract, arguments, values)
        return generate(context, builder, arguments, values, lowered)

    return signature, generated


def taken_types(function: Callable[..., Any], given: tuple[Any, ...]) -> tuple[Any, ...]:
    """The Numba types that arguments are taken as where no contract says it; an integer is a number like others."""
    from numba import types

    name, takes = function.__name__, function.__globals__.get("TAKES")
    has_arrays = any(isinstance(t, types.Array) for t in given)
    if takes and has_arrays:
        raise SubsetError(f"{name} takes numbers in compiled code; write a loop over the entries of the array")
    real = types.float32 if takes == ("float32",) else types.float64
    exact = (types.Boolean,) if has_arrays else (types.Integer, types.Boolean)
    widened = (types.float32,) if takes == ("float64",) else ()
    whole = types.int64 if has_arrays else real
    taken = tuple(whole if isinstance(t, exact) else real if t in widened else t for t in given)
    if takes == ("float32",) and types.float64 in taken:
        raise SubsetError(f"{name} of vmath.single takes float32, got float64; write np.float32(x), or take vmath's")
    return taken


def generate(context: Any, builder: Any, given: Sequence[Any], values: Sequence[Any], lowered: Compiled) -> Any:
    """Link the function into what Numba is compiling, and call it there."""
    import llvmlite.binding as llvm
    from llvmlite import ir
    from numba.core import cgutils

    module = llvm.parse_assembly(lowered.text)
    module.triple = llvm.get_process_triple()
    library = context.active_code_library
    module.data_layout = str(library.codegen.target_data)
    library._final_module.link_in(module)  # add_llvm_module would run passes first that run again at the end
    library._final_module.get_function(lowered.name).linkage = "linkonce_odr"  # or it stays beside its copy in Numba's
    for name, (called, kinds, _) in lowered.foreign.items():
        link_foreign(context, builder.module, name, overload(called, kinds))
    operands = [v for t, value in zip(given, values, strict=True) for v in unpacked(context, builder, t, value)]
    clear = ir.IntType(8)(0)
    status = cgutils.alloca_once(builder, ir.IntType(8)) if lowered.fails else None
    if status is not None:
        builder.store(clear, status)
        operands.append(builder.bitcast(status, cgutils.voidptr_t))
    result = ir.VoidType() if lowered.result == "void" else context.get_value_type(kind_type(lowered.result))
    type = ir.FunctionType(result, [v.type for v in operands])
    found = builder.call(cgutils.get_or_insert_function(builder.module, type, lowered.name), operands)
    if status is not None:
        with cgutils.if_unlikely(builder, builder.icmp_unsigned("!=", builder.load(status), clear)):
            context.call_conv.return_user_exc(builder, MemoryError, ("there is no memory for the arrays of the loss",))
    return context.get_dummy_value() if lowered.result == "void" else found


def unpacked(context: Any, builder: Any, type: Any, value: Any) -> list[Any]:
    """An argument as the entry takes it: of an array pointer, lengths, and strides in elements unless contiguous."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils

    if not isinstance(type, types.Array):
        return [value]
    array = context.make_array(type)(context, builder, value)
    found = [builder.bitcast(array.data, cgutils.voidptr_t), *cgutils.unpack_tuple(builder, array.shape)]
    if type.layout != "C":
        size = ir.Constant(ir.IntType(64), context.get_abi_sizeof(context.get_data_type(type.dtype)))
        found += [builder.sdiv(s, size) for s in cgutils.unpack_tuple(builder, array.strides)]
    return found


def link_foreign(context: Any, module: Any, name: str, compiled: Any) -> None:
    """Define a function of numbers and pointers that calls one that Numba compiled.

    One that fills arrays may find no memory: it takes the address of a byte as well, which it then sets to 1.
    """
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils

    given = compiled.signature.args
    arguments = [part for t in given for part in parts(context, t)]
    result = context.get_value_type(compiled.signature.return_type)
    is_void = compiled.signature.return_type == types.none
    arguments += [cgutils.voidptr_t] * is_void
    made = ir.Function(module, ir.FunctionType(ir.VoidType() if is_void else result, arguments), name)
    made.linkage = "linkonce_odr"
    builder = ir.IRBuilder(made.append_basic_block())
    context.active_code_library.add_linking_library(compiled.library)
    waiting = iter(made.args)
    values = [packed(context, builder, t, [next(waiting) for _ in parts(context, t)]) for t in given]
    status, found = context.call_internal_no_propagate(builder, compiled.fndesc, compiled.signature, values)
    if is_void:
        with cgutils.if_unlikely(builder, status.is_error):
            builder.store(ir.IntType(8)(1), builder.bitcast(made.args[-1], ir.IntType(8).as_pointer()))
    _ = builder.ret_void() if is_void else builder.ret(found)


def parts(context: Any, type: Any) -> list[Any]:
    """The LLVM types of an argument as `unpacked` gives it."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils

    if not isinstance(type, types.Array):
        return [context.get_value_type(type)]
    return [cgutils.voidptr_t, *[ir.IntType(64)] * (type.ndim if type.layout == "C" else 2 * type.ndim)]


def packed(context: Any, builder: Any, type: Any, values: Sequence[Any]) -> Any:
    """The opposite of `unpacked`: an argument as Numba's functions take it. The array's memory is not theirs."""
    from llvmlite import ir
    from numba import types
    from numba.np.arrayobj import populate_array

    if not isinstance(type, types.Array):
        return values[0]
    size = ir.Constant(ir.IntType(64), context.get_abi_sizeof(context.get_data_type(type.dtype)))
    shape = values[1 : type.ndim + 1]
    strides = [builder.mul(v, size) for v in values[type.ndim + 1 :]] or [size]
    for length in reversed(shape[1:] if type.layout == "C" else ()):
        strides.insert(0, builder.mul(strides[0], length))
    array = context.make_array(type)(context, builder)
    data = builder.bitcast(values[0], array.data.type)
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=size, meminfo=None)
    return array._getvalue()
