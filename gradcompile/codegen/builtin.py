"""A function of the subset as one that Python calls, compiled without Numba's front end, which is not even loaded.

`entry` makes what the interpreter calls a built-in function: machine code that takes the addresses and lengths out of
NumPy's arrays, lets go of the GIL, and calls the function. It checks the number of its arguments and no more.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from gradcompile.codegen.target import optimise, settings
from gradcompile.codegen.values import ATTRIBUTES, FLOATS, SIZES, Compiled, Kind, typed
from gradcompile.codegen.workspace import connect_store
from gradcompile.errors import SubsetError

HEAD = object.__basicsize__  # bytes of an object before what is its own
DATA, LENGTHS, STRIDES = HEAD, HEAD + 16, HEAD + 24  # where in NumPy's arrays these addresses are
FASTCALL = 0x80

# What it uses of Python: functions alone, for machine code of static addresses does not reach another library's data.
DECLARED = (
    "@call.nothing = private constant [1 x i8] zeroinitializer",
    "declare ptr @Py_BuildValue(ptr, ...)",
    "declare i32 @PyErr_BadArgument()",
    "declare ptr @PyErr_NoMemory()",
    "declare ptr @PyErr_Occurred()",
    "declare ptr @PyEval_SaveThread()",
    "declare void @PyEval_RestoreThread(ptr)",
    "declare double @PyFloat_AsDouble(ptr)",
    "declare i64 @PyLong_AsLongLong(ptr)",
    "declare ptr @PyFloat_FromDouble(double)",
    "declare ptr @PyLong_FromLongLong(i64)",
    "declare ptr @PyBool_FromLong(i64)",
)

FAILED = (
    "  %ended = load i8, ptr %status",
    "  %good = icmp eq i8 %ended, 0",
    "  br i1 %good, label %done, label %lacking",
    "lacking:",
    "  %lack = call ptr @PyErr_NoMemory()",
    "  ret ptr null",
    "done:",
)


class Method(ctypes.Structure):
    """What Python wants to know of a built-in function: PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_made = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


def machine_code(lowered: Compiled, kinds: Sequence[Kind]) -> bytes:
    """The object file of a lowered function, with a function `call` for Python around it."""
    import llvmlite.binding as llvm

    codegen = settings()
    module = llvm.parse_assembly(lowered.text + "\n" + caller(lowered, kinds))
    module.get_function(lowered.name).linkage = "internal"
    module.triple, module.data_layout = llvm.get_process_triple(), str(codegen.target_data)
    optimise(codegen, module)
    return bytes(codegen._tm.emit_object(module))


def entry(name: str, code: bytes) -> Callable[..., Any]:
    """The built-in function that an object file of `machine_code` holds."""
    import llvmlite.binding as llvm

    connect_store()
    codegen = settings()
    options = {"opt": 3}
    codegen._customize_tm_options(options)
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(**options)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    method = Method(name.encode(), engine.get_function_address("call"), FASTCALL, None)
    made: Callable[..., Any] = _made(ctypes.addressof(method), (engine, method), None)  # `self` keeps them alive
    return made


def caller(lowered: Compiled, kinds: Sequence[Kind]) -> str:
    """The IR of `call`, with the signature of built-in functions: self, the arguments' addresses, their number."""
    lines, result = ["  %status = alloca i8", "  store i8 0, ptr %status"] if lowered.fails else [], lowered.result
    passed: list[str] = []
    for k, kind in enumerate(kinds):
        lines += [f"  %p{k} = getelementptr ptr, ptr %args, i64 {k}", f"  %o{k} = load ptr, ptr %p{k}"]
        passed += number(lines, kind[0], k) if len(kind) == 2 else array(lines, kind, k)
    passed += ["ptr %status"] if lowered.fails else []
    is_void = result == "void"
    return "\n".join(
        [
            *DECLARED,
            f"define ptr @call(ptr %self, ptr %args, i64 %count) {ATTRIBUTES} {{",
            f"  %fits = icmp eq i64 %count, {len(kinds)}",
            "  br i1 %fits, label %read, label %refuse",
            "refuse:",
            "  %refused = call i32 @PyErr_BadArgument()",
            "  ret ptr null",
            "read:",
            *lines,
            "  %state = call ptr @PyEval_SaveThread()",
            f"  {'' if is_void else '%r = '}call {result} @{lowered.name}({', '.join(passed)})",
            "  call void @PyEval_RestoreThread(ptr %state)",
            *(FAILED if lowered.fails else ()),
            *returned(result),
            "}",
        ]
    )


def number(lines: list[str], type: str, k: int) -> list[str]:
    """Write what reads argument k, a number; the operand."""
    if type not in FLOATS and type != "i64":
        raise SubsetError(f"an argument of type {type} from Python")
    whole, read = ("double", "PyFloat_AsDouble") if type in FLOATS else ("i64", "PyLong_AsLongLong")
    lines += [
        f"  %n{k} = call {whole} @{read}(ptr %o{k})",
        f"  %e{k} = call ptr @PyErr_Occurred()",
        f"  %ok{k} = icmp eq ptr %e{k}, null",
        f"  br i1 %ok{k}, label %read{k}, label %failed{k}",
        f"failed{k}:",
        "  ret ptr null",
        f"read{k}:",
    ]
    if type == "float":
        lines.append(f"  %f{k} = fptrunc double %n{k} to float")
        return [f"float %f{k}"]
    return [f"{type} %n{k}"]


def array(lines: list[str], kind: Kind, k: int) -> list[str]:
    """Write what reads argument k, an array; the operands: its address, its lengths, its strides in elements."""
    type, shape, contiguous = kind
    lines += [f"  %a{k} = getelementptr i8, ptr %o{k}, i64 {DATA}", f"  %d{k} = load ptr, ptr %a{k}"]
    lengths = numbers(lines, f"{k}.l", f"%o{k}", LENGTHS, len(shape))
    strides = [] if contiguous is True else numbers(lines, f"{k}.s", f"%o{k}", STRIDES, len(shape))
    for j, bytes_ in enumerate(strides):
        lines.append(f"  %q{k}.{j} = sdiv exact {bytes_}, {SIZES[type]}")
        strides[j] = f"i64 %q{k}.{j}"
    return [f"ptr %d{k}", *lengths, *strides]


def numbers(lines: list[str], mark: str, owner: str, offset: int, count: int) -> list[str]:
    """Write what reads so many integers from the place whose address an object holds; the operands."""
    if not count:
        return []
    lines += [f"  %t{mark} = getelementptr i8, ptr {owner}, i64 {offset}", f"  %b{mark} = load ptr, ptr %t{mark}"]
    for j in range(count):
        lines += [f"  %g{mark}{j} = getelementptr i64, ptr %b{mark}, i64 {j}"]
        lines += [f"  %x{mark}{j} = load i64, ptr %g{mark}{j}"]
    return [f"i64 %x{mark}{j}" for j in range(count)]


def returned(result: str) -> list[str]:
    """What makes an object of the result."""
    if result == "void":
        return ["  %object = call ptr (ptr, ...) @Py_BuildValue(ptr @call.nothing)", "  ret ptr %object"]
    if result == "float":
        return ["  %w = fpext float %r to double", *handed_back("PyFloat_FromDouble", "double %w")]
    if result == "double":
        return handed_back("PyFloat_FromDouble", "double %r")
    if result == "i64":
        return handed_back("PyLong_FromLongLong", "i64 %r")
    if result == "i1":
        return ["  %w = zext i1 %r to i64", *handed_back("PyBool_FromLong", "i64 %w")]
    raise SubsetError(f"a result of type {typed(result, 1)} for Python")


def handed_back(function: str, operand: str) -> list[str]:
    """The lines that return what a function of Python makes."""
    return [f"  %object = call ptr @{function}({operand})", "  ret ptr %object"]
