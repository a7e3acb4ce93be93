"""The symbolic array: a node of the graph that NumPy's operators and functions take for an array.

What a NumPy function does to it stands in the tables UFUNCS and FUNCTIONS, which the other modules here fill.
"""

import importlib
import inspect
import linecache
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce, wraps
from operator import mul
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import sympy

from gradcompile.analysis.evaluate import evaluate
from gradcompile.analysis.formula import formulas
from gradcompile.errors import ArgumentError, ArgumentTypeError, ExpressionError, GradcompileError, NoSympyError
from gradcompile.ir.algebra import arange, astype, length_along, part_at, permute, reshape_to
from gradcompile.ir.core import Node, const, is_const, is_leaf, leaf
from gradcompile.ir.types import ArrayType, Dim, Shape, dim_product, dim_sum, parsed
from gradcompile.ops.constant_index import table
from gradcompile.tracebacks import entry, with_entries

DTYPES = ("bool", "int64", "float32", "float64")
LARGEST_TABLE = 100_000  # entries of an array of numbers that may become part of a program
LARGEST_LISTED = 10_000  # entries that np.array may take apart
IN_MEMORY = ", since it has no memory; write np.lib.stride_tricks.sliding_window_view, gradcompile.linalg.circulant"
MANY = 64  # numbers from which on a pattern is looked for; fewer may all be one
WIDEST = 40  # characters of an operand in a message
PACKAGES = (Path(__file__).parents[1], np.__file__, sympy.__file__)
LINALG = np.linalg.det.__module__ + "._linalg"  # where its functions are
TAKE_OBJECTS = {f"np.linalg.{name}" for name in ("norm", "vector_norm", "multi_dot", "matrix_power", "outer", "cross")}
TAKE_NUMBERS = {"np.mean", "np.var", "np.std"}  # as their last step is a conversion
SCIPY = str(Path(np.__file__).parents[1] / "scipy")
OURS = (*(str(Path(file).parent) for file in PACKAGES), SCIPY)  # frames of these are not the user's

Implementation = Callable[..., Any]
F = TypeVar("F", bound=Implementation)
T = TypeVar("T")
UFUNCS: dict[str, Implementation] = {}  # by the ufunc's name, so that those of scipy.special are found as well
FUNCTIONS: dict[Callable[..., Any], Implementation] = {}
REFUSED: dict[str, str] = {}  # functions that can't be, and what to write instead
ELSEWHERE = "docs/arrays.md lists what does"
SPACES = ("special", "stats", "linalg", "signal")  # modules of SciPy that the package has counterparts of
LATE = ("arranging", "calculus", "folds", "decompositions", "polynomials", "statistics", "special", "fourier",
        "refusals")  # fmt: skip
PATTERNS: list[Callable[[np.ndarray, str], Node | None]] = []  # that an array of many numbers may follow


@entry
def array(name: str, shape: Dim | tuple[Dim, ...] = (), dtype: npt.DTypeLike = "float64") -> "Array":
    """A symbolic array, to be used as a NumPy array is.

    name: that of the argument of the compiled function.  shape: numbers, and names of dimensions that are bound at the
    call, where arrays with one name in common have to agree.  dtype: bool, int64, float32 or float64.

    Raises ArgumentError for a name, dimension or dtype that can't be used.

    >>> import numpy as np
    >>> X, w = array("X", ("n", 3)), array("w", 3)
    >>> np.exp(X @ w)
    <Array exp(X @ w): float64[n]>
    """
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"array {name!r}: the name must be a text that is not empty")
    dims = shape if isinstance(shape, tuple | list) else (shape,)
    return Array(leaf(name, ArrayType(tuple(checked(d, name) for d in dims), dtype_name(dtype))))


def checked(dim: Any, name: str) -> Dim:
    """A dimension that a user gave."""
    if isinstance(dim, str) and dim.isidentifier():
        return str(dim)
    if isinstance(dim, int | np.integer) and not isinstance(dim, bool) and dim >= 0:
        return int(dim)
    raise ArgumentError(f"array {name!r}: a dimension is a whole number from 0 on or a name such as 'n', not {dim!r}")


def dtype_name(dtype: npt.DTypeLike) -> str:
    """The name of a dtype; ArgumentError for one that the package has not."""
    found = np.dtype(dtype).name
    if found not in DTYPES:
        raise ArgumentError(f"dtype {found!r} is not supported; use one of {', '.join(DTYPES)}")
    return found


class Name(str):
    """A dimension whose length is known at the call only; +, - and * give dimensions, all else the length in a loss.

    >>> n = array("x", ("n", 3)).shape[0]
    >>> n + 1, 2 * n, 1 / n
    ('n+1', '2*n', <Array 1/n: float64[]>)
    """

    __slots__ = ()

    def __index__(self) -> int:
        raise placed(f"the length {self} is not known before the call; write np.arange(n, like=x), np.eye(n, like=x), "
                     "np.ones(shape, like=x) or np.zeros_like(x), and a loop as gradcompile.scan")  # fmt: skip

    __int__ = __float__ = __index__

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return Array(length(self)).__array_ufunc__(ufunc, method, *inputs, **kwargs)

    def __add__(self, other: Any) -> Any:
        return named(dim_sum(self, other)) if isinstance(other, int | str) else np.add(self, other)

    def __sub__(self, other: Any) -> Any:
        return self + dim_product(-1, other) if isinstance(other, int | str) else np.subtract(self, other)

    def __rsub__(self, other: Any) -> Any:
        return self * -1 + other

    def __mul__(self, other: Any) -> Any:
        return named(dim_product(self, other)) if isinstance(other, int | str) else np.multiply(self, other)

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Any) -> Any:
        return np.divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return np.divide(other, self)


def named(dim: Dim) -> Dim:
    """A dimension as users get it."""
    return Name(dim) if isinstance(dim, str) else dim


def length(dim: str) -> Node:
    """The node of the length that a named dimension has at the call; as a number it may be negative."""
    terms = []
    for names, c in parsed(dim):
        sizes = [length_along(arange(name), 0) for name in names]
        terms.append(reduce(mul, sizes if c == 1 and sizes else [const(float(c)), *sizes]))
    return reduce(operator.add, terms)


class Own:
    """Operands beside which arrays leave it to them what NumPy's functions do."""

    __slots__ = ()


@with_entries
class Array(np.lib.mixins.NDArrayOperatorsMixin):
    """A symbolic array: an expression with a shape and a dtype, and no value. See `array`."""

    __slots__ = ("__weakref__", "node")
    __hash__ = object.__hash__

    def __init__(self, node: Node) -> None:
        self.node = node

    # What it is

    @property
    def shape(self) -> Shape:
        """The dimensions: numbers and names."""
        return tuple(map(named, self.node.type.shape))

    @property
    def size(self) -> Dim:
        """The number of entries."""
        return named(dim_product(*self.node.type.shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's dtype."""
        return np.dtype(self.node.type.dtype)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def real(self) -> "Array":
        """The array itself: it is real."""
        return self

    @property
    def imag(self) -> "Array":
        """Zeros: it is real."""
        return cast("Array", FUNCTIONS[np.zeros_like](self))

    @property
    def T(self) -> "Array":
        """The axes in reverse order."""
        return swapped(self, range(self.ndim)[::-1])

    @property
    def mT(self) -> "Array":
        """The last two axes exchanged."""
        return swapped(self, [*range(self.ndim - 2), self.ndim - 1, self.ndim - 2])

    def __repr__(self) -> str:
        return f"<Array {text_of(self.node)}: {self.node.type}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Array, (self.node,)

    # What it can't be, having no value

    def __bool__(self) -> bool:
        if (function := function_of_numpy()) is not None:
            raise placed(listed(function, self))
        raise placed(f"{describe(self)} has no truth value: it is symbolic; use np.where(condition, a, b)")

    def __float__(self) -> float:
        raise placed(f"{describe(self)} is symbolic and has no number to convert to; keep it inside the expression: "
                     "np.exp, not math.exp, and arrays in place of SymPy's symbols")  # fmt: skip

    __int__ = __index__ = __complex__ = __trunc__ = __floor__ = __ceil__ = __float__

    def _sympy_(self) -> Any:
        raise NoSympyError(str(placed(f"{describe(self)} can't stand in an expression of SymPy: write np.exp, not "
                                      "sympy.exp, and arrays in place of SymPy's symbols")))  # fmt: skip

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        """An array of objects, each an entry: what np.array makes of lists of symbolic arrays."""
        if (foreign := frame_of_scipy()) is not None:
            raise placed(f"{instead(foreign)} ({describe(self)} is symbolic)")
        function = function_of_numpy() or ""
        if function in TAKE_NUMBERS or (function.startswith("np.linalg") and function not in TAKE_OBJECTS):
            raise placed(listed(function, self))
        if dtype not in (None, object, np.dtype(object)):
            raise placed(f"{describe(self)} is symbolic: it can't become an array of numbers; leave the dtype out, or "
                         "write x.astype(dtype)")  # fmt: skip
        size, shape = self.size, [d for d in self.shape if isinstance(d, int)]
        if not isinstance(size, int) or size > LARGEST_LISTED or self.dtype.kind != "f":
            raise placed(f"{describe(self)} can't be taken apart into its entries; write np.stack(list) in place of "
                         "np.array(list), and np.asarray(numbers, like=k)[k] in place of numbers[k]")  # fmt: skip
        entries = np.empty(size, object)
        for k, index in enumerate(np.ndindex(*shape)):
            entries[k] = Array(part_at(self.node, index)) if index else self
        return entries.reshape(shape)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise placed(f"{describe(self)} can't be assigned to; build the result with np.where or np.concatenate")

    def __round__(self, ndigits: int | None = None) -> "Array":
        result: Array = called("round", FUNCTIONS[np.round], (self, ndigits or 0), {})
        return result

    def __len__(self) -> int:
        if not self.shape or isinstance(self.shape[0], str):
            raise placed(f"{describe(self)} has no length known before the call; use mean, sum, or x.shape[0]")
        return self.shape[0]

    def __iter__(self) -> Iterator["Array"]:
        if not self.shape or isinstance(self.shape[0], str):
            raise placed(f"{describe(self)} can't be iterated over: it has no length known before the call; write it "
                         "for all entries at once, or as a recurrence with gradcompile.scan")  # fmt: skip
        return iter([self[k] for k in range(len(self))])

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if list(kwargs) == ["out"] and kwargs["out"][0] is inputs[0]:  # x += y, which gives the name x another meaning
            kwargs = {}
        if any(isinstance(x, Own) for x in inputs):
            return NotImplemented
        if any(map(is_complex, inputs)):
            return complex_arrays().Complex.__array_ufunc__(inputs[0], ufunc, method, *inputs, **kwargs)
        name = full_name(ufunc)
        if method != "__call__":
            return called(f"{name}.{method}", found(METHODS, f"ufunc.{method}"), (ufunc.__name__, *inputs), kwargs)
        if isinstance(axis := kwargs.get("axis"), int) and ufunc.signature == "(n),(n)->()":
            inputs = tuple(np.moveaxis(x, axis, -1) for x in inputs)
            kwargs = {key: value for key, value in kwargs.items() if key != "axis"}
        if kwargs.keys() - {"dtype"}:
            cure = ("move the axes by np.moveaxis" if kwargs.keys() & {"axis", "axes"} else
                    "call it plainly, and choose by np.where(condition, result, other)")  # fmt: skip
            raise placed(f"{name} with {', '.join(kwargs)}= does not take symbolic arrays; {cure}")
        function = found(UFUNCS, ufunc.__name__)
        result = called(ufunc.__name__ if function else name, function, inputs, {})
        return result.astype(kwargs["dtype"]) if kwargs.get("dtype") is not None else result

    def __array_function__(self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        if any(issubclass(t, Own) for t in types):
            return NotImplemented
        if any(map(is_complex, flat(args))):
            return complex_arrays().dispatched(func, found(FUNCTIONS, func), args, kwargs)
        function = found(FUNCTIONS, func)
        return called(func.__name__ if function else full_name(func), function, args, kwargs)

    def __getitem__(self, key: Any) -> "Array":
        result: Array = called("indexing", FUNCTIONS[Array.__getitem__], (self, key), {})
        return result

    # Methods: NumPy's functions of the same name

    def __getattr__(self, name: str) -> Any:
        function = found(METHODS, name) if not name.startswith("_") else None
        if function is None and not self.shape:  # as NumPy calls it for each entry of an array of objects
            function = found(UFUNCS, name)
        if function is None and f"Array.{name}" not in REFUSED:
            cure = IN_MEMORY if name in ("strides", "ctypes", "data", "base", "flags") else near(name, METHODS)
            raise AttributeError(f"a symbolic array has no attribute {name!r}{cure}")
        full = name if function else f"Array.{name}"
        return entry(lambda *args, **kwargs: called(full, function, (self, *args), kwargs))

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *(m for m in METHODS if "." not in m)]


def swapped(x: Array, order: Sequence[int]) -> Array:
    """The axes in another order."""
    return Array(permute(x.node, tuple(order))) if x.ndim > 1 else x


METHODS: dict[str, Implementation] = {}  # by name; those whose arguments differ from the function's have their own


def called(name: str, function: Implementation | None, args: Any, kwargs: Any) -> Any:
    """An implementation called; its errors name the function, the operands with their shapes, and the user's line."""
    if function is None:
        cure = found(REFUSED, name) or ELSEWHERE
        raise placed(f"{name} does not take symbolic arrays; {cure}")
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentTypeError(f"{name} of symbolic arrays: {error}; it takes {signature(function)}{line()}") from None
    try:
        return function(*args, **kwargs)
    except GradcompileError as error:
        if getattr(error, "placed", False):
            raise
        operands = [describe(a) for a in flat(args) if isinstance(a, Array)]
        raise placed(f"{name} of {' and '.join(operands) or 'these'}: {error}") from error


def of_numbers(function: F) -> F:
    """The same function, which computes with NumPy where it gets arrays of numbers and nothing symbolic."""

    @wraps(function)
    def taken(*args: Any, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values())
        if not any(map(is_numeric, given)) or any(isinstance(a, Array | sympy.Basic) for a in flat(given)):
            return function(*args, **kwargs)
        env: dict[Node, np.ndarray] = {}

        def stand_in(value: Any) -> Any:
            if not is_numeric(value):
                return value
            dtype = {"b": "bool", "f": "float32" if value.dtype == np.float32 else "float64"}.get(
                value.dtype.kind, "int64"
            )
            node = leaf(f"argument {len(env) + 1}", ArrayType(value.shape, dtype))
            env[node] = value
            return Array(node)

        result = function(*map(stand_in, args), **{key: stand_in(value) for key, value in kwargs.items()})
        return evaluate([result.node], env)[0]

    return cast("F", taken)


def is_numeric(value: Any) -> bool:
    """Whether this is an array of numbers."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def signature(function: Implementation) -> str:
    """The names of the arguments."""
    return ", ".join(map(str, inspect.signature(function).parameters))


def is_complex(value: Any) -> bool:
    """Whether this is a complex number, or an array of them."""
    return isinstance(value, complex) or getattr(getattr(value, "dtype", None), "kind", "") == "c"


def complex_arrays() -> Any:
    """The module of complex arrays, which few losses have."""
    return importlib.import_module("gradcompile.frontend.arrays.complex")


def flat(args: Any) -> Iterator[Any]:
    """The arguments, those in sequences among them."""
    for a in args:
        if isinstance(a, tuple | list):
            yield from a
        else:
            yield a


def found(entries: dict[Any, T], key: Any) -> T | None:
    """What a table has, or has once the functions are loaded that not every loss needs."""
    if key not in entries:
        for name in LATE:
            importlib.import_module(f"gradcompile.frontend.arrays.{name}")
    return entries.get(key)


def full_name(function: Any) -> str:
    """A function of NumPy or SciPy as users write it."""
    name = function.__name__
    if isinstance(function, np.ufunc):
        return f"np.{name}" if getattr(np, name, None) is function else f"scipy.special.{name}"
    return f"{function.__module__}.{name}".replace("numpy.", "np.", 1)


def frame_of_scipy() -> FrameType | None:
    """The function of SciPy that was called by the user's code, if one is being run."""
    outermost, frame = None, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OURS):
        outermost = frame if frame.f_code.co_filename.startswith(SCIPY) else outermost
        frame = frame.f_back
    return outermost


def function_of_numpy() -> str | None:
    """The function of NumPy that the user's code called, with a list of symbolic numbers, if one is being run."""
    name, frame = None, sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OURS[:2]):
        if not frame.f_code.co_filename.startswith(OURS[0]):
            name = f"np.{'linalg.' * (frame.f_globals['__name__'] == LINALG)}{frame.f_code.co_name}"
        frame = frame.f_back
    return name


def listed(function: str, entry: Array) -> str:
    """What is wrong with a list of symbolic numbers."""
    return (f"{function} takes no list of symbolic numbers; write {function}(np.asarray(rows, like=x)) with one of "
            f"them as x ({describe(entry)} is symbolic)")  # fmt: skip


def instead(frame: FrameType) -> str:
    """What to write in place of a function of SciPy: the package's of the same name, if it has one."""
    held = frame.f_locals
    wrapped = {"wrapper": held.get("f", held.get("fun")), "axis_nan_policy_wrapper": held.get("hypotest_fun_in")}
    function = wrapped.get(frame.f_code.co_name)
    space = (function.__module__ if function else frame.f_globals["__name__"]).split(".")[1]
    path = [n for n in [function.__name__ if function else frame.f_code.co_name] if not n.startswith("__")]
    if space == "stats" and "self" in held:
        owner = getattr(held["self"], "dist", held["self"])
        path.insert(0, str(getattr(owner, "name", type(owner).__name__.removesuffix("_gen"))))
    name = ".".join([space, *path])
    ours: Any = importlib.import_module(f"gradcompile.{space}") if space in SPACES else None
    for part in path:
        ours = getattr(ours, part, None)
    cure = f"write gradcompile.{name}" if ours else found(REFUSED, f"scipy.{name}") or ELSEWHERE
    return f"scipy.{name} does not take symbolic arrays; {cure}"


def near(name: str, names: Any) -> str:
    """A hint at names like this one."""
    import difflib  # not on the way to a first result

    close = difflib.get_close_matches(name, [n for n in names if not n.startswith("_")], n=3, cutoff=0.6)
    return f"; near ones are {', '.join(dict.fromkeys(close))}" if close else ""


# Messages


def placed(message: str) -> ExpressionError:
    """An error of the user's expression, with the line that it was written in."""
    error = ExpressionError(message + line())
    error.placed = True  # type: ignore[attr-defined]
    return error


def line() -> str:
    """The line of the user's code that is being run."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OURS):
        frame = frame.f_back
    file, number = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, number, frame.f_globals).strip()
    return f" (at {file}:{number}{': ' + text if text else ''})"


def describe(x: Array) -> str:
    """An operand and its shape."""
    dims = ", ".join(map(str, x.shape)) + ("," if x.ndim == 1 else "")
    return f"{text_of(x.node)} of shape ({dims})"


def text_of(n: Node) -> str:
    """A node as a short formula."""
    return formulas([n], {}, WIDEST)[n]


# Making arrays


def lift(x: Any, like: str = "float64") -> Node:
    """The node of an array, of a number, or of an array of numbers; a number takes its neighbour's dtype."""
    if isinstance(x, Array):
        return x.node
    if isinstance(x, bool | np.bool_):
        return const(bool(x), "bool")
    if isinstance(x, int | np.integer):
        return const(int(x), "int64") if like in ("bool", "int64") else const(float(x), like)
    if isinstance(x, float | np.floating):
        return const(float(x), like if like.startswith("float") else "float64")
    if isinstance(x, Name):
        return length(x)
    if isinstance(x, sympy.Number | sympy.NumberSymbol) and x.is_finite:
        return lift(int(x) if x.is_Integer else float(x), like)
    return lift_numbers(x, like)


def lift_numbers(x: Any, like: str) -> Node:
    """The node of an array of numbers, or of nested sequences of numbers and symbolic arrays."""
    if isinstance(x, tuple | list) and any(isinstance(a, Array) for a in flat(x)):
        stacked: Array = FUNCTIONS[np.stack](x)
        return stacked.node
    numbers = np.asarray(x)
    if numbers.dtype == object and any(isinstance(v, Array) for v in numbers.flat):
        return put_together(list(numbers.flat), numbers.shape)
    if numbers.dtype.kind not in "biuf":
        raise ExpressionError(f"{x!r:.60} of type {type(x).__name__} is neither a number nor an array of numbers; what "
                              'is to be an argument is made by gradcompile.array("name", shape)')  # fmt: skip
    if not numbers.shape:
        return lift(numbers.item(), like)
    dtype = {"b": "bool", "i": "int64", "u": "int64"}.get(numbers.dtype.kind, like if like == "float32" else "float64")
    is_looked_at = numbers.size >= MANY or (numbers.size > 0 and bool((numbers == numbers.flat[0]).all()))
    found = (pattern(numbers, dtype) for pattern in (PATTERNS if is_looked_at else ()))
    if (made := next((n for n in found if n is not None), None)) is not None:
        return made
    if numbers.size > LARGEST_TABLE:
        raise ExpressionError(
            f"an array of numbers of shape {numbers.shape} would become part of the program; make it an input: "
            'gradcompile.array("name", shape)'
        )
    return table(numbers, dtype)


def put_together(entries: Sequence[Any], shape: tuple[int, ...]) -> Node:
    """The node of an array of numbers and symbolic ones; that of an array that np.array took apart, if it is whole."""
    nodes = [v.node if isinstance(v, Array) else None for v in entries]
    source = nodes[0].args[0] if nodes[0] is not None and nodes[0].args else None
    if source is not None and source.type.shape == shape:
        if all(n is part_at(source, index) for n, index in zip(nodes, np.ndindex(*shape), strict=True)):
            return source
    stacked: Array = FUNCTIONS[np.stack](entries)
    return reshape_to(stacked.node, shape)


def lift_all(*operands: Any) -> list[Node]:
    """The nodes of operands of one operation; numbers take the widest dtype among the arrays.

    Beside float32 all floats are float32, also those that were made of whole numbers or of truth values.
    """
    dtypes = [a.node.type.dtype for a in operands if isinstance(a, Array)]
    like = "float32" if "float32" in dtypes else max(dtypes, key=DTYPES.index, default="float64")
    found = [lift(a, like) for a in operands]
    return [single(n) if like == "float32" and n.type.dtype == "float64" else n for n in found]


def single(n: Node) -> Node:
    """A node in float32; a leaf stays, as arrays of two dtypes are refused together."""
    if is_leaf(n):
        return n
    return const(n.value, "float32") if is_const(n) else astype(n, "float32")


def is_sequence(given: Any) -> bool:
    """Whether this is a sequence of arguments or entries, rather than one of them (a Matrix is one)."""
    if isinstance(given, sympy.Basic | sympy.MatrixBase | str | Array):
        return isinstance(given, sympy.Tuple)
    return isinstance(given, Iterable)
