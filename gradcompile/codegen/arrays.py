"""Arrays as a whole in the lowering: views without a copy, filling with a number, and products, which BLAS computes."""

import math
from collections.abc import Sequence

from gradcompile.codegen.lines import ArrayLines, Declarations
from gradcompile.codegen.target import PREFIX
from gradcompile.codegen.tiles import tiled
from gradcompile.codegen.values import FLOATS, SIZES, Array, Value, number
from gradcompile.errors import SubsetError

# The arguments of BLAS, in order, all by address: c a letter, i an integer of 32 bits, r a number, p an array.
BLAS = {"gemm": "cciiirpipirpi", "gemv": "ciirpipirpi", "dot": "ipipi"}
PREFIXES = {"double": "d", "float": "s"}
ONE = number(1)

Part = Value | tuple[Value | None, Value | None]  # in brackets: an index, or the bounds of a slice


# ---- views


def view_of(w: ArrayLines, array: Array, offset: Value, shape: Sequence[Value]) -> Array:
    """view(array, offset, shape): the elements of a contiguous array from an offset on, in another shape."""
    if not array.dense:
        raise w.error("a view of an array that is not contiguous")
    return Array(array.type, w.place(array, offset), tuple(shape), w.row_major(shape))


def sliced(w: ArrayLines, array: Array, parts: Sequence[Part]) -> Array:
    """array[i], array[a:b], array[k, :, a:b], ...: the part of an array that indices and slices leave."""
    offset = number(0)
    shape: list[Value] = []
    strides: list[Value] = []
    dense = array.dense
    full: Part = (None, None)
    for k, part in enumerate([*parts, *[full] * (len(array.shape) - len(parts))]):
        index = part if isinstance(part, Value) else part[0]
        if index is not None:
            if index.width > 1:
                raise w.error("a part of an array that differs by lane")
            offset = w.binary("+", offset, w.binary("*", index, array.strides[k]))
        if isinstance(part, Value):
            dense = dense and not shape
            continue
        dense = dense and (part == full or not shape)
        shape.append(slice_length(w, array.shape[k], *part))
        strides.append(array.strides[k])
    return Array(array.type, w.place(array, offset), tuple(shape), tuple(strides), dense)


def slice_length(w: ArrayLines, whole: Value, start: Value | None, stop: Value | None) -> Value:
    """The length of a slice."""
    end = whole if stop is None else stop
    return end if start is None else w.binary("-", end, start)


def transposed_array(array: Array) -> Array:
    """array.T."""
    if len(array.shape) < 2:
        return array
    return array._replace(shape=array.shape[::-1], strides=array.strides[::-1], dense=False)


# ---- filling


def fill(w: ArrayLines, array: Array, value: Value) -> None:
    """array[:, :] = value."""
    is_clear = value.type == "literal" and value.text == 0 and math.copysign(1.0, value.text) > 0.0
    if array.dense and is_clear:
        clear = w.unit.declare("llvm.memset.p0.i64", "void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        size = w.converted(integer_product(w, [*array.shape, number(SIZES[array.type])]), "i64", 1)
        w.lines.append(f"  call void @{clear}(ptr {array.text}, i8 0, i64 {size}, i1 false)")
        return
    fill_axes(w, array, w.converted(value, array.type, 1), number(0), 0)


def fill_axes(w: ArrayLines, array: Array, text: str, offset: Value, axis: int) -> None:
    """Write an operand to the elements from an offset on along the axes from one on."""
    if axis == len(array.shape):
        w.lines.append(f"  store {array.type} {text}, ptr {w.place(array, offset)}, align {SIZES[array.type]}")
        return

    def inside(index: Value) -> None:
        step = w.binary("*", index, array.strides[axis])
        fill_axes(w, array, text, w.binary("+", offset, step), axis + 1)

    w.loop(number(0), array.shape[axis], ONE, inside)


def integer_product(w: ArrayLines, factors: Sequence[Value]) -> Value:
    """The product of integers."""
    total = ONE
    for factor in factors:
        total = factor if total == ONE else total if factor == ONE else w.binary("*", total, factor)
    return total


# ---- sums


def folded(w: ArrayLines, array: Array) -> Value:
    """fold(array): a vector is loaded, and its upper half added to the lower one until a number is left."""
    (length,), type = array.shape, array.type
    width = length.text if length.type == "literal" and array.dense else 0
    if width.bit_count() != 1 or type not in FLOATS:
        raise w.error("fold of an array that is no vector of floats of length 1, 2, 4, ...")
    text = w.emit(f"load <{width} x {type}>, ptr {array.text}, align {SIZES[type]}")
    while width > 1:
        whole, width = f"<{width} x {type}>", width // 2
        halves = (", ".join(f"i32 {k}" for k in range(at, at + width)) for at in (0, width))
        picked = (f"shufflevector {whole} {text}, {whole} poison, <{width} x i32> <{half}>" for half in halves)
        text = w.emit(f"fadd <{width} x {type}> {', '.join(map(w.emit, picked))}")
    return Value(type, 1, w.emit(f"extractelement <1 x {type}> {text}, i64 0"))


# ---- products


def multiply(w: ArrayLines, out: Array, a: Array, b: Array, alpha: float, beta: float) -> None:
    """out = alpha*(a @ b) + beta*out."""
    if 1 not in (len(a.shape), len(b.shape)) and ONE in (a.shape[0], b.shape[1]):  # one row, one column: a vector
        if b.shape[1] == ONE:
            out, b = column(out), column(b)
        else:
            out, a = column(transposed_array(out)), column(transposed_array(a))
    ranks = len(a.shape), len(b.shape), len(out.shape)
    if ranks == (2, 2, 2):
        if not tiled(w, out, a, b, alpha, beta):
            gemm(w, out, a, b, alpha, beta)
    elif ranks == (2, 1, 1):
        gemv(w, out, a, b, alpha, beta)
    elif ranks == (1, 2, 1):
        gemv(w, out, transposed_array(b), a, alpha, beta)
    else:
        raise w.error(f"a product of {ranks[0]} by {ranks[1]} axes for {ranks[2]}")


def column(array: Array) -> Array:
    """The first column of a matrix."""
    return Array(array.type, array.text, array.shape[:1], array.strides[:1], False)


def gemm(w: ArrayLines, out: Array, a: Array, b: Array, alpha: float, beta: float) -> None:
    """A product of matrices. BLAS counts by columns, so a matrix by rows is the transpose of what it sees."""
    if out.strides[1] == ONE:
        out, a, b = transposed_array(out), transposed_array(b), transposed_array(a)
    (by_a, at_a), (by_b, at_b) = matrix(w, a), matrix(w, b)
    sizes, at_out = (out.shape[0], out.shape[1], a.shape[1]), leading(w, out, 0)
    call_blas(w, "gemm", out.type, by_a, by_b, *sizes, number(alpha), a, at_a, b, at_b, number(beta), out, at_out)


def gemv(w: ArrayLines, out: Array, a: Array, x: Array, alpha: float, beta: float) -> None:
    """A product of a matrix and a vector. One without columns leaves the result as it is, so it is cleared before."""
    if beta == 0.0:
        fill(w, out, number(0.0))
    by, at = matrix(w, a)
    sizes = a.shape if by == "N" else a.shape[::-1]
    steps = x.strides[0], out.strides[0]
    call_blas(w, "gemv", out.type, by, *sizes, number(alpha), a, at, x, steps[0], number(1.0), out, steps[1])


def dot_product(w: ArrayLines, a: Array, b: Array) -> Value:
    """The product of two vectors."""
    if not (isinstance(a, Array) and isinstance(b, Array) and len(a.shape) == len(b.shape) == 1):
        raise w.error("the value of a product of matrices; assign it to a whole array")
    return Value(a.type, 1, w.emit(blas_result(w, "dot", a.type, a.shape[0], a, a.strides[0], b, b.strides[0])))


def matrix(w: ArrayLines, m: Array) -> tuple[str, Value]:
    """How BLAS sees a matrix: N by columns or T by rows, and its leading dimension."""
    axis = 1 if m.strides[1] == ONE else 0
    return "NT"[axis], leading(w, m, axis)


def leading(w: ArrayLines, m: Array, axis: int) -> Value:
    """The leading dimension of a matrix whose elements lie side by side along an axis.

    It is no less than that axis is long, and than 1; the stride of an axis of one entry or none may say less.
    """
    if m.strides[axis] != ONE:
        raise w.error("a product with a matrix of which neither rows nor columns are known to be "
                          "contiguous; pass np.ascontiguousarray(x)")  # fmt: skip
    found = m.strides[1 - axis]
    for least in (m.shape[axis], ONE):
        is_known = found.type == least.type == "literal"
        found = number(max(found.text, least.text)) if is_known else w.bounded("max", found, least)
    return found


def call_blas(w: ArrayLines, name: str, type: str, *arguments: "str | Value | Array") -> None:
    """Write a call of BLAS that returns nothing."""
    w.lines.append(f"  {blas_result(w, name, type, *arguments)}")


def blas_result(w: ArrayLines, name: str, type: str, *arguments: "str | Value | Array") -> str:
    """The call of a routine of BLAS."""
    if type not in FLOATS or any(isinstance(a, Array) and a.type != type for a in arguments):
        raise w.error("a product of arrays that are not of one dtype, float64 or float32")
    given = []
    for kind, a in zip(BLAS[name], arguments, strict=True):
        if isinstance(a, Array):
            given.append(f"ptr {a.text}")
        elif isinstance(a, Value):
            own = type if kind == "r" else "i64"
            given.append(f"{own} {w.converted(a, own, 1)}")
        else:
            given.append(f"i8 {ord(a)}")
    return f"call {type if name == 'dot' else 'void'} @{blas_wrapper(w.unit, name, type)}({', '.join(given)})"


def blas_wrapper(unit: Declarations, name: str, type: str) -> str:
    """A function of the module that takes values, puts them into memory, and calls BLAS with their addresses."""
    from llvmlite import binding

    outside, own = f"{PREFIX}{PREFIXES[type]}{name}", f"{unit.mark}.{name}.{type}"
    if not binding.address_of_symbol(outside):
        raise SubsetError(f"a module with products of arrays begins with connect_blas(): {outside} is not known")
    kinds, result = BLAS[name], type if name == "dot" else "void"
    unit.declare(outside, f"{result} @{outside}({', '.join(['ptr'] * len(kinds))})")
    given = {"c": "i8", "i": "i64", "r": type, "p": "ptr"}
    stored = {"c": "i8", "i": "i32", "r": type}
    lines = []
    for k, kind in enumerate(kinds):
        if kind != "p":
            value = f"%a{k}" if kind != "i" else f"%t{k}"
            lines += [f"  %t{k} = trunc i64 %a{k} to i32"] if kind == "i" else []
            lines += [f"  %p{k} = alloca {stored[kind]}", f"  store {stored[kind]} {value}, ptr %p{k}"]
    passed = ", ".join(f"ptr %{'a' if kind == 'p' else 'p'}{k}" for k, kind in enumerate(kinds))
    parameters = ", ".join(f"{given[kind]} %a{k}" for k, kind in enumerate(kinds))
    end = [f"  %r = call {type} @{outside}({passed})", f"  ret {type} %r"]
    end = end if result != "void" else [f"  call void @{outside}({passed})", "  ret void"]
    text = "\n".join([f"define internal {result} @{own}({parameters}) {{", *lines, *end, "}"])
    unit.declared.setdefault(own, text)
    return own
