"""From what the user passes to what compiled code takes: check, convert, and call with little overhead.

Compiled code checks no type and no shape, so everything is checked here. What is already right is passed by reference.
"""

import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any
from weakref import ref

import numpy as np

from gradcompile.codegen import builtin
from gradcompile.codegen import functions as jit
from gradcompile.errors import ArgumentError, ArgumentTypeError, GradcompileError
from gradcompile.ir.types import dim_value, dims_solved, names_in
from gradcompile.library.header import layout_is_known
from gradcompile.runtime.blocks import Blocks
from gradcompile.runtime.matching import RESERVED, Call
from gradcompile.runtime.route import WHOLE, Route
from gradcompile.signature.arguments import Argument, Problem
from gradcompile.tracebacks import shorten

Place = tuple[int, int, tuple[int, ...]]  # of a parameter in theta: its first entry, where the next begins, its shape

_DTYPES: dict[str, np.dtype[Any]] = {"float64": np.dtype("float64"), "float32": np.dtype("float32")}
_INT64 = np.dtype("int64")
_KINDS = {"U": "text", "S": "text", "O": "objects", "c": "complex numbers", "M": "dates", "m": "durations"}
_SCALAR_CALL_LIMIT = 16  # arguments of a function that is called with bare numbers; more of them gain nothing
COPIED = 1 << 20  # bytes of a strided column that a single call copies: quicker than to compile for its strides
_EXACT = 1 << 53  # whole numbers below are told apart in float64
_ALL_EXACT = 1 << 24  # integers up to here fit either floating-point type
_MISSING = object()


# ---- checking and converting


def convert_all(arguments: Sequence[Argument], values: Sequence[Any], copied: int = 0) -> list[Any]:
    """Every value as its argument needs it; a named dimension must have one length, and columns at least one sample.

    Strided columns of fewer bytes than `copied` become contiguous copies.
    """
    converted = [convert(a, v, copied) for a, v in zip(arguments, values, strict=True)]
    first: dict[str, tuple[Argument, Any, int]] = {}  # of each named dimension: who has it, and its length there
    for a, v in zip(arguments, converted, strict=True):
        for axis, dim in enumerate(a.leaf.type.shape):
            if type(dim) is not str:
                continue
            length = v.shape[axis]
            holder, other, expected = first.setdefault(dim, (a, v, length))
            if length == 0 and a.is_column:
                raise ArgumentError(
                    f"{a.name} has zero samples (shape {v.shape}); a loss over samples needs at least one"
                )
            if length != expected:
                raise ArgumentError(_disagreement(dim, (holder, other, expected), (a, v, length)))
    if not all(map(str.isidentifier, first)):
        _check_composed({dim: (a, length) for dim, (a, _, length) in first.items()})
    return converted


def _check_composed(first: Mapping[str, tuple[Argument, int]]) -> None:
    """Raise ArgumentError where a dimension that is made of names, as "2*n", has not the length that these give it."""
    lengths = dims_solved([(dim, length) for dim, (_, length) in first.items()])
    for dim, (a, length) in first.items():
        if names_in(dim) <= lengths.keys() and dim_value(dim, lengths) != length:
            given = ", ".join(f"{name} is {lengths[name]}" for name in sorted(names_in(dim)))
            raise ArgumentError(f"{a.name} has an axis of {length}; {dim} are needed, which is "
                                f"{dim_value(dim, lengths)}, as {given}")  # fmt: skip


def _disagreement(dim: str, first: tuple[Argument, Any, int], second: tuple[Argument, Any, int]) -> str:
    """That two arrays, or two axes of one, have different lengths of one dimension."""
    (a, x, length), (b, y, other) = first, second
    if a.is_column and b.is_column:
        return f"{a.name} has {length} samples and {b.name} has {other}; columns need one length"
    if a is b:
        return f"{a.name} has shape {x.shape}: the dimension {dim!r} is {length} and {other} there"
    shapes = f"{a.name} has shape {x.shape} and {b.name} has shape {y.shape}"
    return f"{shapes}: the dimension {dim!r} is {length} in {a.name} and {other} in {b.name}"


def convert(argument: Argument, value: Any, copied: int = 0) -> Any:
    """A Python float or int for a scalar, else an array of the argument's dtype: the same one where it fits.

    A column from `copied` bytes on may have any strides; any other array is C-contiguous. Truth values become the
    integers 0 and 1.
    """
    kind = argument.leaf.type
    if kind.dtype in WHOLE:
        return _whole(argument, value)
    dtype = _DTYPES[kind.dtype]
    if not kind.shape:
        return value if type(value) is float else _scalar(argument, value, dtype)
    if not (type(value) is np.ndarray and value.dtype is dtype and value.flags.c_contiguous and value.flags.aligned):
        value = _array(argument.name, value, dtype, copied if argument.is_column else None)
    _check_shape(argument.name, value.shape, kind.shape)
    return value


def _whole(argument: Argument, value: Any) -> Any:
    """An int for a scalar, else a C-contiguous array of int64; refused where that would change a value."""
    name, kind = argument.name, argument.leaf.type
    if not (type(value) is np.ndarray and value.dtype is _INT64 and value.flags.c_contiguous and value.flags.aligned):
        value = _integers(name, value)
    if kind.dtype == "bool" and value.size and (value.min() < 0 or value.max() > 1):
        other = value[(value < 0) | (value > 1)][0]
        raise ArgumentError(f"{name} holds truth values, and {other} is none; pass {name} != 0")
    _check_shape(name, value.shape, kind.shape)
    return value if kind.shape else int(value)


def _integers(name: str, value: Any) -> np.ndarray:
    """An array as native, aligned, C-contiguous int64; refused where that would change a value."""
    found = _numbers(name, value)
    with np.errstate(invalid="ignore"):  # what is no integer is refused below
        converted = np.require(found, _INT64, ["C", "A"]).reshape(found.shape)
    if found.dtype.kind in "fu" and not np.array_equal(converted, found):
        other = found[converted != found][0]
        cure = f"pass {name}.astype('int64') if cutting off fractions is what you want"
        raise ArgumentError(f"{name} holds whole numbers of int64, and {other} is none; {cure}")
    return converted


def _scalar(argument: Argument, value: Any, dtype: np.dtype[Any]) -> float:
    """A single number as a float: numbers of Python and NumPy, and arrays without axes, of any library."""
    name = argument.name
    if type(value) is int and -_ALL_EXACT <= value <= _ALL_EXACT:
        return float(value)
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__"):
        value = np.asanyarray(value)
        if value.ndim:
            more = "name it in data for one value a sample" if argument.symbols else f"give the symbolic {name} a shape"
            cure = f"pass {name}.item(), the number" if value.size == 1 else more
            raise ArgumentError(f"{name} is a single number, got an array of shape {value.shape}; {cure}")
        return float(_array(name, value, dtype))
    if isinstance(value, numbers.Integral):
        return _integer(name, int(value), dtype)
    if isinstance(value, numbers.Real):
        return float(value)
    raise ArgumentTypeError(f"{name} is a single real number, got {_short(value)} of type {type(value).__name__}")


def _integer(name: str, value: int, dtype: np.dtype[Any]) -> float:
    try:
        if int(dtype.type(value)) == value:
            return float(value)
    except OverflowError:
        pass  # too large for a float at all: the error below says so
    cure = f"pass float({name}) if rounding it is what you want"
    raise ArgumentError(f"{name}: the integer {_short(value)} does not fit {dtype.name} exactly; {cure}")


def _array(name: str, value: Any, dtype: np.dtype[Any], copied: int | None = None) -> Any:
    """An array as native, aligned, C-contiguous dtype; refused where that would lose something.

    copied: bytes from which on an array need not be contiguous, as the data may be larger than memory.
    """
    if copied and (blocks := _in_blocks(name, value, dtype, copied)) is not None:
        return blocks
    found = _numbers(name, value)
    if copied is not None and found.nbytes >= copied and _fits(found, dtype):
        return found
    is_literal = not hasattr(value, "dtype")  # numbers written in Python have no precision of their own to lose
    if found.dtype.kind == "f" and found.dtype.itemsize > dtype.itemsize and not is_literal:
        cure = f"pass {name}.astype('{dtype.name}')"
        raise ArgumentTypeError(f"{name} has dtype {found.dtype.name}, the function takes {dtype.name}; {cure}")
    converted = np.require(found, dtype, ["C", "A"])
    if found.dtype.kind in "iu":
        _check_exact(name, found, dtype)
    return converted.reshape(found.shape)


def floats(name: str, value: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """Numbers of any shape, as compiled code takes them: the same array where it fits."""
    found: np.ndarray = _array(name, value, dtype)
    return found


def _in_blocks(name: str, value: Any, dtype: np.dtype[Any], least: int) -> Any:
    """A long column that is converted block by block, None for any other; only what keeps its values is."""
    if type(value) is np.ndarray and value.dtype != dtype and value.ndim == 1 and value.size * dtype.itemsize >= least:
        value = Blocks([value])
    is_long = isinstance(value, Blocks) and value.shape[0] * dtype.itemsize >= least
    if not is_long or not np.can_cast(value.own, dtype, "safe"):
        return None
    for chunk in value.chunks if value.own.kind in "iu" else ():  # those of 64 bits may not fit
        _check_exact(name, np.asarray(chunk), dtype)
    return value.read_as(dtype)


def _numbers(name: str, value: Any) -> np.ndarray:
    """An array of real numbers or truth values, of whatever dtype."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ArgumentTypeError(f"{name} has masked entries; drop them, or fill them with {name}.filled(...)")
    try:
        found = np.asarray(value)
    except ValueError as error:
        raise ArgumentError(f"{name} is no array: {error}; its rows need one length") from None
    if found.dtype.kind not in "biuf":
        what = _KINDS.get(found.dtype.kind, found.dtype.name)
        cure = f"convert it, as in np.asarray({name}, float)"
        raise ArgumentTypeError(f"{name} holds {what} (dtype {found.dtype}), not real numbers; {cure}")
    return found


def _fits(found: np.ndarray, dtype: np.dtype[Any]) -> bool:
    """Whether compiled code can read the array where it is, element by element."""
    return found.dtype == dtype and found.flags.aligned and not any(s % dtype.itemsize for s in found.strides)


def _check_exact(name: str, found: np.ndarray, dtype: np.dtype[Any]) -> None:
    """Refuse integers that the floating-point type can't hold."""
    limit = 1 << (np.finfo(dtype).nmant + 1)
    if found.size and (int(found.max()) > limit or int(found.min()) < -limit):
        for value in found[(found > limit) | (found < -limit)].tolist():
            _integer(name, value, dtype)


def _check_shape(name: str, shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> None:
    if len(shape) == len(wanted):
        for s, w in zip(shape, wanted, strict=True):
            if w != s and not isinstance(w, str):
                break
        else:
            return
    text = f"({', '.join(map(str, wanted))}{',' * (len(wanted) == 1)})"
    raise ArgumentError(f"{name} has shape {shape}, expected {text}{_shape_cure(name, shape, wanted)}")


def _shape_cure(name: str, shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> str:
    """What to write instead, where that can be guessed."""
    if not shape:
        return f"; one number is a column of one sample as [{name}]" if wanted == ("n",) else ""
    if len(wanted) == 1 and len(shape) == 2 and 1 in shape:
        return f"; pass {name}.ravel()"
    if len(wanted) == 2 == len(shape) and wanted[1] == shape[0]:
        return f"; pass {name}.T"
    named = sum(isinstance(w, str) for w in wanted)
    if named <= 1 and len(shape) == 1 and math.prod(w for w in wanted if isinstance(w, int)) == shape[0] > 0:
        rows = ", ".join("-1" if isinstance(w, str) else str(w) for w in wanted)
        return f"; pass {name}.reshape({rows})"
    return ""


def check_out(out: Any, size: int, dtype: np.dtype[Any], what: str = "the gradient") -> None:
    """Raise unless the gradient, or what it is, can be written into out: a writable contiguous vector."""
    cure = f"make it with np.empty({size}, '{dtype.name}')"
    if type(out) is not np.ndarray or out.dtype != dtype:
        got = f"dtype {out.dtype}" if type(out) is np.ndarray else f"a {type(out).__name__}"
        raise ArgumentTypeError(f"out is an array of dtype {dtype.name}, got {got}; {cure}")
    if out.shape != (size,):
        raise ArgumentError(f"out has shape {out.shape}, {what} ({size},); {cure}")
    if not out.flags.writeable:
        raise ArgumentError("out is read-only; pass an array that may be written to")
    if not out.flags.carray:
        raise ArgumentError(f"out is not contiguous (strides {out.strides}); pass no slice with steps")


def check_apart(out: np.ndarray, names: Iterable[str], values: Iterable[Any]) -> None:
    """Raise if the gradient would be written over an array that is still read while it is."""
    for name, value in zip(names, values, strict=True):
        if isinstance(value, np.ndarray) and np.may_share_memory(out, value):
            cure = f"make it with np.empty({len(out)}, '{out.dtype.name}')"
            raise ArgumentError(f"out shares memory with {name}, which is read until the gradient is complete; {cure}")


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or value.bit_length() < 10_000 else f"of {value.bit_length()} bits"
    return text if len(text) <= 40 else text[:37] + "..."


# ---- theta


def size_of(argument: Argument) -> int:
    """The number of entries of a parameter."""
    return math.prod(int(d) for d in argument.leaf.type.shape)


def places_of(params: Sequence[Argument]) -> list[Place]:
    """Where each parameter lies in theta, and its shape."""
    stops = list(accumulate(map(size_of, params)))
    shapes = [tuple(int(d) for d in a.leaf.type.shape) for a in params]
    return list(zip([0, *stops], stops, shapes, strict=False))


def pack(params: Sequence[Argument], values: Sequence[Any], dtype: str) -> np.ndarray:
    """The parameters, in their order, as one new vector theta."""
    return _packed(places_of(params), convert_all(params, Call(params, "f.pack(").match(values, {})), _DTYPES[dtype])


def _packed(places: Sequence[Place], converted: Sequence[Any], dtype: np.dtype[Any]) -> np.ndarray:
    if all(type(v) is float for v in converted):
        return np.array(converted, dtype)
    theta = np.empty(places[-1][1], dtype)
    for (start, stop, shape), value in zip(places, converted, strict=True):
        theta[start:stop] = value.ravel() if shape else value
    return theta


def packed(params: Sequence[Argument], converted: Sequence[Any], dtype: str) -> np.ndarray:
    """Converted parameters as one new vector theta."""
    return _packed(places_of(params), converted, _DTYPES[dtype])


def split(params: Sequence[Argument], vector: np.ndarray) -> tuple[Any, ...]:
    """A vector's parts by parameter: floats for scalars, views in the shape of the parameter otherwise."""
    return _split(places_of(params), vector)


def split_at(places: Sequence[Place], vector: np.ndarray) -> tuple[Any, ...]:
    """The same, where the places are known."""
    return _split(places, vector)


def outputs(sizes: Sequence[tuple[str, int]], dtype: str, out: Any) -> list[np.ndarray]:
    """New vectors for the outputs of these names and lengths, or those given in `out`, as vectors."""
    kind = _DTYPES[dtype]
    if out is None:
        return [np.empty(size, kind) for _, size in sizes]
    names = ", ".join(name for name, _ in sizes)
    if not isinstance(out, tuple | list) or len(out) != len(sizes):
        raise ArgumentTypeError(f"out is a tuple of {len(sizes)} arrays, for {names}")
    found = []
    for (name, size), given in zip(sizes, out, strict=True):
        whole = given.reshape(-1) if isinstance(given, np.ndarray) and given.flags.c_contiguous else given
        check_out(whole, size, kind, name)
        found.append(whole)
    for k, array in enumerate(found):
        check_apart(array, [name for name, _ in sizes[:k]], found[:k])
    return found


def unpack(params: Sequence[Argument], theta: Any, dtype: str) -> tuple[Any, ...]:
    """The parameters from theta: floats, and copies in the shapes of the arrays."""
    places = places_of(params)
    return _split(places, convert_theta(theta, places[-1][1] if places else 0, _DTYPES[dtype]).copy())


def _split(places: Sequence[Place], vector: np.ndarray) -> tuple[Any, ...]:
    """A vector's parts by parameter: floats for scalars, views in the shape of the parameter otherwise."""
    if not any(shape for _, _, shape in places):
        return tuple(vector.tolist())
    return tuple([vector[a:b].reshape(shape) if shape else float(vector[a]) for a, b, shape in places])


def convert_theta(theta: Any, size: int, dtype: np.dtype[Any], name: str = "theta") -> np.ndarray:
    """A vector of all parameters, or one like it of another name, as the kernel takes it."""
    if type(theta) is np.ndarray and theta.shape == (size,) and theta.dtype == dtype:
        flags = theta.flags
        if flags.c_contiguous and flags.aligned:
            return theta
    found: np.ndarray = _array(name, theta, dtype)
    _check_shape(name, found.shape, (size,))
    return found


# ---- calling


def make_value(
    problem: Problem, route: Route, shape_of: Callable[[Sequence[Any]], tuple[int, ...]], head: str
) -> Callable[..., Any]:
    """The call of a value: a number, or an array of the shape that `shape_of` gives for the inputs.

    A kernel writes and returns floats; truth values and integers become such again.
    """
    arguments, count = (*problem.params, *problem.inputs), len(problem.params)
    places, scalar, dtype = places_of(problem.params), not problem.primal.type.shape, _DTYPES[problem.dtype]
    kind = np.dtype(problem.primal.type.dtype)
    number, takes = {"b": bool, "i": int}.get(kind.kind, float), Call(arguments, head)

    def call(*args: Any, **named: Any) -> Any:
        try:
            values = convert_all(arguments, takes.match(args, named), COPIED)
            theta, inputs = _packed(places, values[:count], dtype), values[count:]
            route.check(inputs)
            shape = () if scalar else shape_of(inputs)
            out = np.empty(0 if scalar else math.prod(shape), dtype)
            value = route.choose(inputs)(theta, out, *inputs)
            if kind.kind == "i":
                check_whole(value if scalar else out)
            return number(value) if scalar else out.reshape(shape).astype(kind, copy=False)
        except GradcompileError as error:
            shorten(error)
            raise

    return call


def check_whole(found: Any) -> None:
    """Raise if a result of whole numbers may not be what was computed: a kernel writes them as floats."""
    largest = np.max(np.abs(np.asarray(found, np.float64)), initial=0.0)
    if largest >= _EXACT:
        raise ArgumentError(
            f"the result holds whole numbers of 2**53 and more, as {largest:.0f}, which floats do not "
            "tell apart; subtract what they have in common from the inputs, or compute it with NumPy"
        )


def make_call(
    params: Sequence[Argument], inputs: Sequence[Argument], route: Route, grads_type: Any, bare: bool
) -> Callable[..., Any]:
    """The call of a loss with its gradient: call(*params, *inputs, out=None) -> (loss, grads), also by name.

    With `out` the flat gradient is written there and returned in place of grads; a symbol of that name is in `args`.
    """
    takes = Call((*params, *inputs))
    call = _general_call(params, takes, route, grads_type, bare)
    if not has_quicker_call(takes.arguments, route):
        return call
    return _numbers_call(params, takes, route, grads_type, bare, call)


def has_quicker_call(arguments: Sequence[Argument], route: Route) -> bool:
    """Whether a compiled function may take the arguments as they are: if all are floats, and few."""
    is_numbers = all(a.leaf.type.shape == () and a.leaf.type.dtype == "float64" for a in arguments)
    return is_numbers and len(arguments) <= _SCALAR_CALL_LIMIT and route.is_short


def _general_call(
    params: Sequence[Argument], takes: Call, route: Route, grads_type: Any, bare: bool
) -> Callable[..., Any]:
    """The call for any arguments."""
    arguments, count, places, own = takes.taken, len(params), places_of(params), Call(params)
    dtype, size = _DTYPES[params[0].leaf.type.dtype], places[-1][1]
    is_symbol, names = "out" in takes.known, [a.name for a in arguments[count:]]

    def call(*args: Any, out: np.ndarray | None = None, **named: Any) -> Any:
        try:
            if is_symbol and out is not None:
                named["out"] = out  # to be refused
            values = convert_all(arguments, takes.match(args, named), COPIED)
            route.check(values[count:])
            if out is not None:
                check_out(out, size, dtype)
                check_apart(out, names, values[count:])
            grad = np.empty(size, dtype) if out is None else out
            loss = route.choose(values[count:])(_packed(places, values[:count], dtype), grad, *values[count:])
            if out is not None:
                return loss, out
            parts = _split(places, grad)
            if takes.is_formed(args):
                return loss, own.arranged(parts, args[0])
            return loss, parts[0] if bare else grads_type(*parts)
        except GradcompileError as error:
            shorten(error)
            raise

    return call


# The arguments are checked by type alone: every one a float, none missing, none extra, and it is machine code's turn.
# Only inputs have names without an underscore in front, as names of users never have one: one may be called `type`.
_PYTHON = {"_type": type, "_float": float, "_map": map, "_Error": GradcompileError, "_shorten": shorten}
_NUMBERS_CALL = """
def call({placed}, /, *_more{named}, **_named):
    try:
        if {is_floats} and not _more and not _named:
            {fast}
        _given = [_v for _v in ({placed_values},) if _v is not _missing]
        _named |= {{_k: _v for _k, _v in ({pairs}) if _v is not _missing}}
        if _more or "out" in _named or _takes.is_formed(_given):
            return _general(*_given, *_more, **_named)
        {values} = _map(_convert, _takes.arguments, _takes.match(_given, _named))
        {fast}
    except _Error as _error:
        _shorten(_error)
        raise
"""


def _numbers_call(
    params: Sequence[Argument],
    takes: Call,
    route: Route,
    grads: Any,
    bare: bool,
    general: Callable[..., Any],
) -> Callable[..., Any]:
    """The call for floats, all of them scalars: machine code takes them and makes the tuples of what comes out."""
    kinds = route.kinds()
    count, others = len(params), len(kinds) - 2
    run = jit.built_in(
        route.kernel,
        tuple(kinds),
        lambda f: builtin.numbers_caller(f.result, f.fails, count, others, bare),
        grads=grads,
    )
    if run is None:
        return general
    known = {"_run": run, "_missing": _MISSING, "_general": general}
    return _defined(_numbers_text(takes), "call", known | {"_convert": convert, "_takes": takes, **_PYTHON})


def _numbers_text(takes: Call) -> str:
    """The text of the call for floats: what is given by place has numbers for names."""
    placed = [f"_{k}" for k in range(takes.placed)]
    named = [name for name in takes.names[takes.placed :] if name not in RESERVED]
    words = [name for name in takes.names[takes.placed :] if name in RESERVED]
    values = [*placed, *takes.names[takes.placed :]]
    run = f"_run({', '.join(values)})"
    return _NUMBERS_CALL.format(
        placed=", ".join(f"{v}=_missing" for v in placed),
        named="".join(f", {name}=_missing" for name in named),
        is_floats=" and ".join(f"_type({v}) is _float" for v in values) if not words else "False",
        placed_values=", ".join(placed),
        pairs="".join(f'("{name}", {name}), ' for name in named),
        values=", ".join(values) + "," * (len(values) == 1),
        fast=f"return {run}",
    )


_BOUND = """
def fun(self, theta, out=None):
    '''Loss and gradient at theta, for the inputs that are bound. out: a vector the gradient is written into.'''
    if type(theta) is ndarray and theta.shape == shape and theta.dtype is dtype and theta.flags.c_contiguous:
        if out is None:
            grad = empty(shape, dtype)
            return run(theta, grad{inputs}), grad
        fits = type(out) is ndarray and out.shape == shape and out.dtype is dtype and out.flags.carray
        if fits and not overlap(out, theta) and is_apart(out):
            return run(theta, out{inputs}), out
    try:
        return checked(theta, out)
    except Error as error:
        shorten(error)
        raise
"""

_DIRECT = """
def fun(self, theta, out=None):
    '''Loss and gradient at theta, for the inputs that are bound. out: a vector the gradient is written into.'''
    try:
        if out is None:
            grad = empty({size})
            return run(theta, grad{inputs}), grad
        return run(theta, out{inputs}), out
    except TypeError:
        pass
    try:
        return checked(theta, out)
    except Error as error:
        shorten(error)
        raise
"""


def flat(route: Route, inputs: Sequence[Any], theta: Any, size: int) -> tuple[float, np.ndarray]:
    """The loss and its gradient as one vector, for once: without what a bound function prepares for many calls."""
    converted = convert_all(route.inputs, inputs, COPIED)
    route.check(converted)
    kind = _DTYPES[route.dtype]
    grad = np.empty(size, kind)
    return route.choose(converted)(convert_theta(theta, size, kind), grad, *converted), grad


def make_bound(
    route: Route, params: Sequence[Argument], converted_inputs: Sequence[Any], size: int, dtype: str
) -> Callable[..., tuple[float, np.ndarray]]:
    """fun(theta, out=None) -> (loss, gradient) at inputs that are converted already; theta is any vector of numbers."""
    converted_inputs = fixed(converted_inputs)
    route.check(converted_inputs)
    kind, names, own = _DTYPES[dtype], [a.name for a in route.inputs], Call(params)
    last = ref(np.empty(0))  # the vector that was found to be apart from the inputs

    def is_apart(out: np.ndarray) -> bool:
        nonlocal last
        if last() is not out:
            check_apart(out, names, converted_inputs)
            last = ref(out)
        return True

    def checked(theta: Any, out: Any) -> tuple[float, Any]:
        if own.is_formed([theta]):
            loss, grad = checked(pack(params, [theta], dtype), out)
            return loss, own.arranged(split(params, grad), theta)
        theta = convert_theta(theta, size, kind)
        if out is not None:
            check_out(out, size, kind)
            check_apart(out, ("theta", *names), (theta, *converted_inputs))
        grad = np.empty(size, kind) if out is None else out
        return route.choose(converted_inputs)(theta, grad, *converted_inputs), grad

    inputs = "".join(f", x{k}" for k in range(len(converted_inputs)))
    known = {f"x{k}": v for k, v in enumerate(converted_inputs)} | {"empty": np.empty, "checked": checked}
    known |= {"Error": GradcompileError, "shorten": shorten}
    takes_numbers = dtype == "float64" and all(type(v) is float for v in converted_inputs)
    if takes_numbers and not route.multiplies and route.is_short:
        direct = _direct(route, size)
        if direct is not None:
            known["run"] = direct
            return _defined(_DIRECT.format(size=size, inputs=inputs), "fun", known)
    known |= {"run": route.choose(converted_inputs), "dtype": kind, "shape": (size,), "overlap": np.may_share_memory}
    known |= {"is_apart": is_apart, "ndarray": np.ndarray}
    return _defined(_BOUND.format(inputs=inputs), "fun", known)


def fixed(values: Sequence[Any]) -> list[Any]:
    """The same arrays under headers of their own, so that no shape changes that has been checked."""
    return [v.view() if isinstance(v, np.ndarray) else v for v in values]


def _direct(route: Route, size: int) -> Callable[..., float] | None:
    """Machine code that takes the vectors as they are and checks them; None where headers are laid out otherwise."""
    if not layout_is_known():
        return None
    kinds, dtype = tuple(route.kinds()), _DTYPES["float64"]
    made: Callable[..., float] | None = jit.built_in(
        route.kernel, kinds, lambda f: builtin.vectors_caller(f.result, f.fails, len(kinds) - 2),
        array=np.ndarray, dtype=dtype, size=size,
    )  # fmt: skip
    return made


def _defined(text: str, name: str, known: dict[str, Any]) -> Callable[..., Any]:
    """The function that a text defines: specialised like this, a call looks nothing up and loops over nothing."""
    body = text.strip().replace("\n", "\n    ")
    factory = f"def make({', '.join(known)}):\n    {body}\n    return {name}\n"
    namespace: dict[str, Any] = {}
    exec(compile(factory, f"<gradcompile {name}>", "exec", dont_inherit=True), namespace)
    return namespace["make"](**known)  # type: ignore[no-any-return]
