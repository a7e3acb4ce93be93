"""Functions of the subset as ones that Python calls, compiled without Numba's front end, which is not even loaded.

What the interpreter calls a built-in function is machine code around a function of the subset: a *caller*, which takes
the arguments out of Python's objects. There is one for each signature, not one for each function: its `self` says what
it calls. One takes arrays and lets go of the GIL; it checks the number of its arguments and no more; `stepping_caller`
is the same with a loop, in which a second function says where to call the first one next. Two are for functions so
short that letting go of the GIL would take longer than they do: `numbers_caller` takes floats and makes the gradient's
tuple, `vectors_caller` takes two vectors whose headers it checks, and floats.
"""

import ctypes
import platform
from collections.abc import Callable, Sequence
from typing import Any

from gradcompile.codegen.linked import Linked, Object
from gradcompile.codegen.target import machine, optimise, parsed
from gradcompile.codegen.values import ATTRIBUTES, FLOATS, SIZES, Compiled, Kind, typed
from gradcompile.errors import SubsetError

HEAD = object.__basicsize__  # bytes of an object before what is its own
TYPE = HEAD - 8  # where in an object its type is
DATA, RANK, LENGTHS, STRIDES = HEAD, HEAD + 8, HEAD + 16, HEAD + 24  # where in NumPy's arrays these are
DTYPE, FLAGS = HEAD + 40, HEAD + 48
READ, WRITE = 0x0101, 0x0501  # C-contiguous and aligned, in NumPy's flags; and writable
FASTCALL = 0x80

# What it uses of Python: functions alone.
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
    "declare ptr @PyLong_AsVoidPtr(ptr)",
    "declare ptr @PyFloat_FromDouble(double)",
    "declare ptr @PyLong_FromLongLong(i64)",
    "declare ptr @PyBool_FromLong(i64)",
    "declare ptr @PyTuple_New(i64)",
    "declare ptr @PyType_GenericAlloc(ptr, i64)",
    "declare i32 @PyTuple_SetItem(ptr, i64, ptr)",
    "declare void @Py_DecRef(ptr)",
    "declare ptr @PyObject_CallOneArg(ptr, ptr)",
    "declare i64 @llvm.readcyclecounter()",
)
HAS_TICKS = platform.machine() in ("x86_64", "AMD64")  # elsewhere the counter may be the system's alone

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


class Target(ctypes.Structure):
    """The function that callers call, which may be replaced between two calls.

    left: processor cycles until it is; a call that finds it negative calls `replace` with `owner` first. 0: it stays.
    runner, tape: where the function is what runs tapes, this is the tape that it takes, with the arguments' address.
    Both stay when the function is replaced, as a thread may just have read it.
    """

    _fields_ = (
        ("function", ctypes.c_void_p),
        ("left", ctypes.c_int64),
        ("replace", ctypes.c_void_p),
        ("owner", ctypes.c_void_p),
        ("runner", ctypes.c_void_p),
        ("tape", ctypes.c_void_p),
    )


class Cell(ctypes.Structure):
    """What a caller finds by its `self`: what it calls, and objects that others are compared with or made of."""

    _fields_ = (
        ("target", ctypes.c_void_p),
        ("float", ctypes.c_void_p),
        ("array", ctypes.c_void_p),
        ("dtype", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("grads", ctypes.c_void_p),
    )


class Self(int):
    """The `self` of a built-in function: the address of its cell. It keeps alive what the cell refers to."""

    kept: tuple[Any, ...]


_made = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


def machine_code(lowered: Compiled) -> Object:
    """The object file of a lowered function; quick code is what calls the package's functions, and takes no passes."""
    symbol, needs, code, *_ = compiled(lowered.text, lowered.name, lowered.is_quick)
    about = lowered.result, lowered.width, lowered.fails, lowered.helpers, lowered.is_quick
    return Object(symbol, needs, code, *about)


def compiled(text: str, symbol: str, is_quick: bool = False) -> Object:
    """The object file of a module of IR, with a function that is seen from outside."""
    module = parsed(text)
    if not is_quick:
        optimise(module)
    names = [v.name for part in (module.functions, module.global_variables) for v in part if v.is_declaration]
    needs = tuple(n for n in names if not n.startswith("llvm."))
    return Object(symbol, needs, bytes(machine(0 if is_quick else 3).emit_object(module)))


def entry(name: str, target: Target, owner: Any, caller: Linked, **objects: Any) -> Callable[..., Any]:
    """The built-in function that calls a target by a caller; owner: what keeps that. objects: what its cell holds."""
    places = {k: v if k == "size" else id(v) for k, v in objects.items()}
    cell = Cell(target=ctypes.addressof(target), float=id(float), **places)
    method = Method(name.encode(), caller.address, FASTCALL, None)
    own = Self(ctypes.addressof(cell))
    own.kept = cell, method, target, owner, caller, objects
    made: Callable[..., Any] = _made(ctypes.addressof(method), own, None)  # it keeps `own`, which keeps the rest
    return made


def arrays_caller(result: str, fails: bool, kinds: Sequence[Kind]) -> str:
    """The IR of a caller for arguments of any kinds."""
    lines, passed = taken_out(kinds)
    lines += without_lock(called(result, fails, [operand for own in passed for operand in own]))
    return caller(len(kinds), fails, [*lines, *(FAILED if fails else ()), *returned(result)])


def stepping_caller(
    result: str, fails: bool, kinds: Sequence[Kind], step: str, outputs: int, state: Sequence[Kind]
) -> str:
    """The IR of a caller that calls the target and a step in turn, until the step returns anything but 0.

    The target takes the arguments of these kinds: a point, its outputs, its inputs. Behind them come the state and a
    number of turns, at most. The step takes the result, the outputs and the state; what it returned last is returned.
    step: the symbol of its function.
    """
    lines, operands = taken_out([*kinds, *state, ("i64", 1)])
    count = len(kinds)
    point = [operand for own in operands[:count] for operand in own]
    taken = [f"{result} %r", *(o for own in (*operands[1 : 1 + outputs], *operands[count:-1]) for o in own)]
    lost = ["  %bad = load i8, ptr %status", "  %lost = icmp ne i8 %bad, 0", "  br i1 %lost, label %stop, label %take"]
    loop = [
        f"  store {operands[-1][0]}, ptr %turns",
        "  store i64 0, ptr %more",
        "  br label %turn",
        "turn:",
        *ran(result, fails, point),
        *(lost if fails else ["  br label %take"]),
        "take:",
        f"  %next = call i64 @{step}({', '.join(taken)})",
        "  store i64 %next, ptr %more",
        "  %turn.now = load i64, ptr %turns",
        "  %turns.left = sub i64 %turn.now, 1",
        "  store i64 %turns.left, ptr %turns",
        "  %ends = icmp ne i64 %next, 0",
        "  %none = icmp sle i64 %turns.left, 0",
        "  %stops = or i1 %ends, %none",
        "  br i1 %stops, label %stop, label %turn",
        "stop:",
    ]
    lines = ["  %turns = alloca i64", "  %more = alloca i64", room(point), *lines, *without_lock(timed(loop))]
    lines += [*(FAILED if fails else ()), "  %last = load i64, ptr %more"]
    declared = f"declare i64 @{step}({', '.join(operand.rpartition(' ')[0] for operand in taken)})"
    return caller(len(operands), fails, [*lines, *handed_back("PyLong_FromLongLong", "i64 %last")], declared)


def taken_out(kinds: Sequence[Kind]) -> tuple[list[str], list[list[str]]]:
    """The lines that read arguments of these kinds, and the operands of each."""
    lines: list[str] = []
    passed = []
    for k, kind in enumerate(kinds):
        lines += [f"  %p{k} = getelementptr ptr, ptr %args, i64 {k}", f"  %o{k} = load ptr, ptr %p{k}"]
        passed.append(number(lines, kind[0], k) if len(kind) == 2 else array(lines, kind, k))
    return lines, passed


def without_lock(lines: Sequence[str]) -> list[str]:
    """The lines with the GIL let go of while they run."""
    return [
        "  %state = call ptr @PyEval_SaveThread()", *lines, "  call void @PyEval_RestoreThread(ptr %state)",
    ]  # fmt: skip


def numbers_caller(result: str, fails: bool, params: int, inputs: int, bare: bool) -> str:
    """The IR of a caller that takes floats, and returns the loss and the tuple of its derivatives, or the only one."""
    lines = [f"  %theta = alloca [{params} x double], align 64", f"  %grad = alloca [{params} x double], align 64"]
    passed = ["ptr %theta", f"i64 {params}", "ptr %grad", f"i64 {params}"]
    for k in range(params + inputs):
        value = exact_float(lines, k)
        if k < params:
            lines += [f"  %t{k} = getelementptr double, ptr %theta, i64 {k}", f"  store {value}, ptr %t{k}"]
        else:
            passed.append(value)
    lines += called(result, fails, passed)
    lines += FAILED if fails else ()
    if bare:
        lines += ["  %d = load double, ptr %grad", "  %grads = call ptr @PyFloat_FromDouble(double %d)"]
    else:
        lines += [*at("%type", "grads", "ptr"), f"  %grads = call ptr @PyType_GenericAlloc(ptr %type, i64 {params})"]
    lines += made_or_null("grads")
    for k in range(0 if bare else params):
        lines += [
            f"  %g{k} = getelementptr double, ptr %grad, i64 {k}", f"  %d{k} = load double, ptr %g{k}",
            f"  %i{k} = call ptr @PyFloat_FromDouble(double %d{k})", *made_or_null(f"i{k}", "%grads"),
            f"  %s{k} = call i32 @PyTuple_SetItem(ptr %grads, i64 {k}, ptr %i{k})",
        ]  # fmt: skip
    lines += [
        "  %loss = call ptr @PyFloat_FromDouble(double %r)", *made_or_null("loss", "%grads"),
        "  %both = call ptr @PyTuple_New(i64 2)", *made_or_null("both", "%grads", "%loss"),
        "  %first = call i32 @PyTuple_SetItem(ptr %both, i64 0, ptr %loss)",
        "  %second = call i32 @PyTuple_SetItem(ptr %both, i64 1, ptr %grads)",
        "  ret ptr %both",
    ]  # fmt: skip
    return caller(params + inputs, fails, lines)


def called(result: str, fails: bool, passed: Sequence[str]) -> list[str]:
    """The lines that call the target, timed."""
    return [room(passed), *timed(ran(result, fails, passed))]


def timed(lines: Sequence[str]) -> list[str]:
    """The lines that run the target, with what takes the cycles that it took from those that it has left."""
    ticks = "call i64 @llvm.readcyclecounter()" if HAS_TICKS else "add i64 0, 0"
    return [
        "  br i1 %counts, label %begin, label %run",
        "begin:",
        f"  %begun = {ticks}",
        "  store i64 %begun, ptr %clock",
        "  br label %run",
        "run:",
        *lines,
        "  br i1 %counts, label %end, label %over",
        "end:",
        f"  %ended.at = {ticks}",
        "  %rest = load atomic i64, ptr %left.at monotonic, align 8",
        "  %since = load i64, ptr %clock",
        "  %all = sub i64 %ended.at, %since",
        "  %less = sub i64 %rest, %all",
        "  %spent = icmp sle i64 %less, 0",
        "  %new = select i1 %spent, i64 -1, i64 %less",
        "  store atomic i64 %new, ptr %left.at monotonic, align 8",
        "  br label %over",
        "over:",
    ]


def room(passed: Sequence[str]) -> str:
    """The line that has room for the arguments side by side."""
    return f"  %words = alloca i64, i64 {len(passed)}"


def ran(result: str, fails: bool, passed: Sequence[str]) -> list[str]:
    """The lines that call the function with the arguments, or with a tape and the address of these, side by side."""
    given = ", ".join([*passed, *(["ptr %status"] if fails else [])])
    status = "%status" if fails else "null"
    if result != "double":
        return [f"  {'' if result == 'void' else '%r = '}call {result} %function({given})"]
    stores = [line for k, argument in enumerate(passed) for line in (
        f"  %word{k} = getelementptr i64, ptr %words, i64 {k}", f"  store {argument}, ptr %word{k}")]  # fmt: skip
    return [
        *field("%tape", "%target", Target.tape.offset, "ptr"),
        *field("%runner", "%target", Target.runner.offset, "ptr"),
        "  %direct = icmp ne ptr %function, %runner",
        "  br i1 %direct, label %run.code, label %run.tape", "run.code:",
        f"  %r.code = call double %function({given})", "  br label %has.run", "run.tape:",
        *stores,
        f"  %r.tape = call double %function(ptr %tape, ptr %words, ptr {status})", "  br label %has.run", "has.run:",
        "  %r = phi double [%r.code, %run.code], [%r.tape, %run.tape]",
    ]  # fmt: skip


REPLACED = (
    "  %target = load ptr, ptr %cell",
    f"  %left.at = getelementptr i8, ptr %target, i64 {Target.left.offset}",
    "  %left = load atomic i64, ptr %left.at monotonic, align 8",
    "  %due = icmp slt i64 %left, 0",
    "  br i1 %due, label %is.due, label %go.on",
    "is.due:",
    *(f"  %{n}.at = getelementptr i8, ptr %target, i64 {getattr(Target, n).offset}" for n in ("replace", "owner")),
    *(f"  %{n} = load ptr, ptr %{n}.at" for n in ("replace", "owner")),
    "  %replaced = call ptr @PyObject_CallOneArg(ptr %replace, ptr %owner)",
    "  %stays = icmp eq ptr %replaced, null",
    "  br i1 %stays, label %failed.to, label %is.new",
    "failed.to:",
    "  ret ptr null",
    "is.new:",
    "  call void @Py_DecRef(ptr %replaced)",
    "  br label %go.on",
    "go.on:",
    "  %function = load atomic ptr, ptr %target acquire, align 8",
    "  %counts = icmp sgt i64 %left, 0",
)


def made_or_null(name: str, *others: str) -> list[str]:
    """The lines that go on if an object was made; else they let go of others, and end with Python's error."""
    return [
        f"  %{name}.none = icmp eq ptr %{name}, null",
        f"  br i1 %{name}.none, label %{name}.lost, label %{name}.made",
        f"{name}.lost:",
        *(f"  call void @Py_DecRef(ptr {other})" for other in others),
        "  ret ptr null",
        f"{name}.made:",
    ]


def vectors_caller(result: str, fails: bool, inputs: int) -> str:
    """The IR of a caller that takes theta, the gradient's vector and floats; a TypeError unless both vectors fit.

    They are vectors of the cell's size and dtype, contiguous, and apart.
    """
    lines: list[str] = [*at("%size", "size", "i64"), *at("%array", "array", "ptr"), *at("%dtype", "dtype", "ptr")]
    for k, flags in enumerate((READ, WRITE)):
        lines += vector(k, flags)
    passed = ["ptr %d0", "i64 %size", "ptr %d1", "i64 %size", *(exact_float(lines, 2 + k) for k in range(inputs))]
    lines += [
        "  %x0 = ptrtoint ptr %d0 to i64", "  %x1 = ptrtoint ptr %d1 to i64", "  %between = sub i64 %x1, %x0",
        "  %far = call i64 @llvm.abs.i64(i64 %between, i1 false)", "  %bytes = shl i64 %size, 3",
        "  %apart = icmp uge i64 %far, %bytes", "  br i1 %apart, label %go, label %refuse", "go:",
        *called(result, fails, passed),
    ]  # fmt: skip
    return caller(
        2 + inputs, fails, [*lines, *(FAILED if fails else ()), *returned(result)], "declare i64 @llvm.abs.i64(i64, i1)"
    )


def vector(k: int, flags: int) -> list[str]:
    """What goes on if argument k is a vector that fits; its address is %d and its number."""
    checks = (
        ("type", TYPE, "ptr", "%array"), ("dtype", DTYPE, "ptr", "%dtype"), ("rank", RANK, "i32", "1"),
    )  # fmt: skip
    lines = [f"  %p{k} = getelementptr ptr, ptr %args, i64 {k}", f"  %o{k} = load ptr, ptr %p{k}"]
    for what, offset, type, wanted in checks:
        name = f"{what}{k}"
        lines += field(f"%{name}", f"%o{k}", offset, type)
        lines += go_on_if(name, f"icmp eq {type} %{name}, {wanted}")
    lines += [*field(f"%flags{k}", f"%o{k}", FLAGS, "i32"), f"  %own{k} = and i32 %flags{k}, {flags}"]
    lines += go_on_if(f"flags{k}", f"icmp eq i32 %own{k}, {flags}")
    lines += [*field(f"%shape{k}", f"%o{k}", LENGTHS, "ptr"), f"  %length{k} = load i64, ptr %shape{k}"]
    lines += go_on_if(f"length{k}", f"icmp eq i64 %length{k}, %size")
    return [*lines, *field(f"%d{k}", f"%o{k}", DATA, "ptr")]


def exact_float(lines: list[str], k: int) -> str:
    """Write what reads argument k, which has to be a float and of no other class; the operand."""
    lines += [f"  %p{k} = getelementptr ptr, ptr %args, i64 {k}", f"  %o{k} = load ptr, ptr %p{k}"]
    lines += [*field(f"%type{k}", f"%o{k}", TYPE, "ptr"), *at(f"%float{k}", "float", "ptr")]
    lines += [*go_on_if(f"type{k}", f"icmp eq ptr %type{k}, %float{k}"), *field(f"%n{k}", f"%o{k}", HEAD, "double")]
    return f"double %n{k}"


def go_on_if(name: str, condition: str) -> list[str]:
    """The lines that refuse the arguments unless a condition holds."""
    return [f"  %{name}.is = {condition}", f"  br i1 %{name}.is, label %{name}.good, label %refuse", f"{name}.good:"]


def field(name: str, owner: str, offset: int, type: str) -> list[str]:
    """The lines that read a field of an object."""
    return [f"  {name}.at = getelementptr i8, ptr {owner}, i64 {offset}", f"  {name} = load {type}, ptr {name}.at"]


def at(name: str, what: str, type: str) -> list[str]:
    """The lines that read a field of the cell."""
    return field(name, "%cell", getattr(Cell, what).offset, type)


def caller(count: int, fails: bool, lines: Sequence[str], *declared: str) -> str:
    """The IR of `call`, with the signature of built-in functions: self, the arguments' addresses, their number."""
    return "\n".join(
        [
            *DECLARED,
            *declared,
            f"define ptr @call(ptr %self, ptr %args, i64 %count) {ATTRIBUTES} {{",
            "  %clock = alloca i64",
            *(("  %status = alloca i8", "  store i8 0, ptr %status") if fails else ()),
            f"  %fits = icmp eq i64 %count, {count}",
            "  br i1 %fits, label %read, label %refuse",
            "refuse:",
            "  %refused = call i32 @PyErr_BadArgument()",
            "  ret ptr null",
            "read:",
            "  %cell = call ptr @PyLong_AsVoidPtr(ptr %self)",
            *REPLACED,
            *lines,
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
