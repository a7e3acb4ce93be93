"""What lowering speaks of: values and arrays with their LLVM types, numbers as operands, and their Numba types."""

import math
import struct
from functools import lru_cache
from typing import Any, NamedTuple

from gradcompile.errors import SubsetError
from gradcompile.once import once

SIZES = {"double": 8, "float": 4, "i64": 8, "i32": 4, "i1": 1}
REGISTER = 64  # bytes of a vector register
SHORT = {"double": "f64", "float": "f32", "i64": "i64", "i32": "i32", "i1": "i1"}
FLOATS = ("double", "float")
ATTRIBUTES = 'nounwind "prefer-vector-width"="512"'  # of functions


Kind = tuple[Any, ...]  # of an argument: ("double", 1) for a value, (type, shape, strides) for an array


class Value(NamedTuple):
    """A value: its LLVM type, how many lanes it has (1: a scalar), and its operand in the IR.

    The type of a number of the text is "literal", its operand the number. The type of a loop's index over lanes is
    "lane", its operand the index in the first lane, an i64, and what it grows by from lane to lane.
    """

    type: str
    width: int
    text: Any


class Array(NamedTuple):
    """An array: element type, pointer (`text`), for each axis its length and its stride in elements, and whether the
    strides follow from the lengths, as those of a contiguous array do.
    """

    type: str
    text: str
    shape: tuple[Value, ...]
    strides: tuple[Value, ...]
    dense: bool = True

    @property
    def kind(self) -> Kind:
        """What a function that takes it is made for: lengths that are known, and strides that are, or True where all
        follow from the lengths.
        """
        return self.type, known_numbers(self.shape), True if self.dense else known_numbers(self.strides)


class External:
    """A function from outside that takes so many doubles, and gives one: other functions call it by its symbol.

    The symbol is known to LLVM in every process that loads what calls it. What it names takes one argument more, an
    integer of 32 bits, which is 0.
    """

    def __init__(self, symbol: str, arguments: int) -> None:
        self.symbol, self.arguments, self.__name__ = symbol, arguments, symbol.removeprefix("gc_")

    @once
    def dispatcher(self) -> Any:
        """The Numba dispatcher, for calls from Python and from functions that Numba compiles."""
        import numba

        real = numba.types.float64
        outside = numba.types.ExternalFunction(self.symbol, real(*[real] * self.arguments, numba.types.int32))
        taken = ", ".join(f"x{k}" for k in range(self.arguments))
        space: dict[str, Any] = {"outside": outside}
        exec(f"def {self.symbol}({taken}): return outside({taken}, 0)", space)
        return numba.njit(nogil=True)(space[self.symbol])

    @property
    def _numba_type_(self) -> Any:
        """What Numba takes it for, in a function that calls it."""
        from numba import typeof

        return typeof(self.dispatcher)

    def __call__(self, *args: float) -> Any:
        """Its value."""
        return self.dispatcher(*args)


class Compiled(NamedTuple):
    """The IR of a function for given argument types: its text, the name and result of its entry, what else it calls.

    fails: whether the entry takes the address of a byte as well, which it sets to 1 where there is no memory.
    width: lanes of the result. helpers: the package's functions that are called by their symbols, not written anew.
    """

    text: str
    name: str
    result: str
    foreign: dict[str, tuple[Any, tuple[Kind, ...], str]]
    fails: bool
    width: int = 1
    is_quick: bool = False
    helpers: tuple[tuple[str, str, tuple[Kind, ...]], ...] = ()


def known_numbers(values: tuple[Value, ...]) -> tuple[int | None, ...]:
    """The numbers among lengths or strides, None for the others."""
    return tuple(v.text if v.type == "literal" else None for v in values)


def number(value: float) -> Value:
    """A number of the text."""
    return Value("literal", 1, value)


@lru_cache(maxsize=4096)
def written(word: str) -> Value:
    """A number or a truth value as Python writes it.

    >>> [written(word).text for word in ("2", '-float("inf")', "True")]
    [2, -inf, 'true']
    """
    if word in ("True", "False"):
        return Value("i1", 1, word.lower())
    try:
        return number(int(word))
    except ValueError:
        return number(float(word.replace('float("', "").replace('")', "")))


def typed(type: str, width: int) -> str:
    """The LLVM type of a value."""
    return f"<{width} x {type}>" if width > 1 else type


@lru_cache(maxsize=4096)
def constant_text(value: Any, type: str, width: int) -> str:
    """The operand of a number; floats in hexadecimal, so that no digit is lost. The sign of zero counts."""
    if type in FLOATS:
        value = float(value)
        if type == "float" and math.isfinite(value):
            try:
                (value,) = struct.unpack("<f", struct.pack("<f", value))
            except OverflowError:  # beyond the range
                value = math.copysign(math.inf, value)
        text = f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    else:
        text = str(int(value))
    return f"<{', '.join([f'{type} {text}'] * width)}>" if width > 1 else text


def immediate(value: Any, type: str, width: int) -> str:
    """As `constant_text`; 0.0 and -0.0 are equal keys, so they go around its memory."""
    return constant_text(value, type, width) if value != 0 else constant_text.__wrapped__(value, type, width)


def array_kind(dtype: str, axes: int, contiguous: bool = True) -> Kind:
    """The kind of argument that an array of a dtype is, or a number where it has no axes.

    >>> array_kind("float64", 2), array_kind("int64", 0)
    (('double', (None, None), True), ('i64', 1))
    """
    type = {"float64": "double", "float32": "float"}.get(dtype, "i64")  # truth values come as integers
    unknown = (None,) * axes
    return (type, unknown, True if contiguous else unknown) if axes else (type, 1)


def kind_of(type: Any) -> Kind:
    """The kind of argument that a Numba type is."""
    from numba import types

    names = {types.float64: "double", types.float32: "float", types.boolean: "i1"}
    if isinstance(type, types.Array) and type.dtype in (types.float64, types.float32, types.int64):
        unknown = (None,) * type.ndim
        return names.get(type.dtype, "i64"), unknown, True if type.layout == "C" else unknown
    if isinstance(type, types.Integer) or type in names:
        return names.get(type, "i64"), 1
    raise SubsetError(f"an argument of type {type}; compiled code takes numbers, and arrays of float64, float32, int64")


def foreign_result(target: Any, kinds: tuple[Kind, ...]) -> str:
    """What a function that Numba compiles gives for arguments of these kinds."""
    from numba import types

    given = overload(target, kinds).signature.return_type
    return "void" if given == types.none else str(kind_of(given)[0])


def overload(target: Any, kinds: tuple[Kind, ...]) -> Any:
    """Numba's compilation of a function for arguments of these kinds."""
    signature = tuple(map(argument_type, kinds))
    target.compile(signature)
    return target.overloads[signature]


def argument_type(kind: Kind) -> Any:
    """The Numba type of an argument."""
    from numba import types

    if len(kind) == 2:
        return kind_type(kind[0])
    type, shape, contiguous = kind
    return types.Array(kind_type(type), len(shape), "C" if contiguous is True else "A")


def kind_type(kind: str) -> Any:
    """The Numba type of a scalar, or of nothing."""
    from numba import types

    named = {"double": types.float64, "float": types.float32, "i64": types.int64, "i1": types.boolean}
    return {**named, "void": types.none}[kind]
