"""Calls in LLVM IR: of functions of the subset, of what Numba compiles, of what a library brings."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from gradcompile.codegen.frame import Frame
from gradcompile.codegen.values import FLOATS, Array, Kind, Value, foreign_result, typed
from gradcompile.loops.ir import calls_in, every
from gradcompile.loops.reading import function_of, own_text

LONG_TEXT = 17  # lines of a function and its docstring up to which it is made once more for arrays of another length
LARGE = 100  # statements of a function and of what it calls up to which it is


class Caller(Frame):
    """Writes calls, and passes arrays as those want them who are called."""

    def call_own(self, target: Callable[..., Any], args: Sequence[Any]) -> Any:
        """A call of a function of the subset, which is made for these kinds of arguments."""
        given = self.handed_over(target, args)
        kinds = tuple(a.kind if isinstance(a, Array) else (a.type, a.width) for a in given)
        made = self.unit.function(target, kinds)
        made.calls += 1
        passed: list[str] = []
        for a in given:
            if isinstance(a, Value):
                passed.append(f"{typed(a.type, a.width)} {a.text}")
                continue
            passed.append(f"ptr {a.text}")
            passed += [f"i64 {v.text}" for v in a.shape if v.type != "literal"]
            passed += [] if a.dense else [f"i64 {v.text}" for v in a.strides if v.type != "literal"]
        passed += ["ptr %status"] if made.fails else []
        result = "void" if made.result == "void" else typed(made.result, made.width)
        call = f"call {result} @{made.name}({', '.join(passed)})"
        found = None
        if made.result == "void":
            self.lines.append(f"  {call}")
        else:
            found = Value(made.result, made.width, self.emit(call))
        if made.fails:
            self.go_on()
        return found

    def handed_over(self, target: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
        """The arguments of a function as it is made for them: the longer it is, the less it is told of lengths."""
        integer = integer_beside(args, self.real)
        is_shared = is_ours(target) and (self.unit.library is not None or is_large(target))
        told = self.general if is_shared else self.unmeasured if is_long(target) else lambda array: array
        return [told(a) if isinstance(a, Array) else self.settled(a, integer) for a in args]

    def general(self, array: Array) -> Array:
        """An array of lengths and strides that are not known before, as the package's functions in memory take it."""
        shape = tuple(Value("i64", 1, self.converted(v, "i64", 1)) for v in array.shape)
        if array.dense:
            return array._replace(shape=shape)
        strides = tuple(Value("i64", 1, self.converted(v, "i64", 1)) for v in array.strides)
        return array._replace(shape=shape, strides=strides)

    def unmeasured(self, array: Array) -> Array:
        """An array with a first length that is not known before, if strides don't need it."""
        if not array.dense:
            return array
        return array._replace(shape=(Value("i64", 1, self.converted(array.shape[0], "i64", 1)), *array.shape[1:]))

    def call_foreign(self, target: Any, args: Sequence[Value | Array]) -> Value | None:
        """A call of a function that Numba compiles itself, lane by lane; one that fills arrays gives nothing.

        A float comes back in the type of the module, as special functions of SciPy are of doubles only.
        """
        kinds = tuple(foreign_kind(a) for a in args)
        result = foreign_result(target, kinds)
        name = f"{self.unit.mark}.foreign.{id(target)}.{'.'.join(map(foreign_mark, kinds))}"
        self.unit.foreign[name] = target, kinds, result
        passed = [part for a in args for part in self.parts(a)]
        passed += [Value("ptr", 1, "%status")] if result == "void" else []
        self.unit.declare(name, f"{result} @{name}({', '.join(a.type for a in passed)})")
        if result in FLOATS:  # of single precision SciPy's functions give doubles
            found = self.by_lane(result, name, passed)
            return Value(self.real, found.width, self.converted(found, self.real, found.width))
        if result != "void":
            found = self.by_lane(result, name, passed)
            if found.type not in FLOATS or found.type == self.real:
                return found
            return Value(self.real, found.width, self.converted(found, self.real, found.width))
        self.lines.append(f"  call void @{name}({', '.join(f'{a.type} {a.text}' for a in passed)})")
        self.go_on()
        return None

    def call_external(self, symbol: str, args: Sequence[Value]) -> Value:
        """A call of a function from outside, lane by lane, in double precision."""
        passed = [Value("double", a.width, self.converted(a, "double", a.width)) for a in args]
        self.unit.declare(symbol, f"double @{symbol}({', '.join(['double'] * len(args))}, i32)")
        found = self.by_lane("double", symbol, [*passed, Value("i32", 1, "0")])
        return Value(self.real, found.width, self.converted(found, self.real, found.width))

    def parts(self, a: Value | Array) -> list[Value]:
        """An argument as a function outside takes it: of an array pointer, lengths, and strides unless contiguous."""
        if isinstance(a, Value):
            return [a]
        numbers = [*a.shape, *(() if a.dense else a.strides)]
        return [Value("ptr", 1, a.text), *(Value("i64", 1, self.converted(v, "i64", 1)) for v in numbers)]


def is_ours(target: Callable[..., Any]) -> bool:
    """Whether a function is one that generated code finds in the package."""
    return target.__module__.startswith("gradcompile.library.")


def integer_beside(args: Sequence[Any], real: str) -> str:
    """The type of whole numbers that are known, as arguments: beside numbers that of their `bits`."""
    is_of_numbers = all(isinstance(a, Value) for a in args) and any(a.type != "literal" for a in args)
    return "i32" if real == "float" and is_of_numbers else "i64"


def is_long(target: Callable[..., Any]) -> bool:
    """Whether a function is too long to be made once more for arrays of other lengths."""
    function = function_of(target)
    return len(function.doc.splitlines()) + sum(1 for _ in every(function.body)) > LONG_TEXT


@cache
def is_large(target: Callable[..., Any]) -> bool:
    """Whether a function of the package is so large, with all that it calls, that one is made for arrays of any length.

    Two calls of it, as of a transform and its inverse, are then calls of one function, and neither gets a copy.
    """
    found = [target]
    for f in found:
        called = (own_text(f.__globals__.get(word)) for word in sorted(calls_in(function_of(f).body)))
        found += [g for g in called if g is not None and g not in found]
    return sum(1 for f in found for _ in every(function_of(f).body)) > LARGE


def foreign_kind(a: Value | Array) -> Kind:
    """The kind of an argument of a function outside, which does not know of lengths or lanes."""
    return (a.type, (None,) * len(a.shape), a.dense) if isinstance(a, Array) else (a.type, 1)


def foreign_mark(kind: Kind) -> str:
    """A kind of argument as a part of a name: double, or double2C for a contiguous matrix."""
    return str(kind[0]) if len(kind) == 2 else f"{kind[0]}{len(kind[1])}{'C' if kind[2] else 'A'}"
