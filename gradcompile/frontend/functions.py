"""SymPy functions of the package: means over samples, smooth steps, and the user's own functions."""

import ast
import builtins
import hashlib
import inspect
import linecache
import math
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy

from gradcompile.errors import ArgumentError, ArgumentTypeError, printable
from gradcompile.frontend.arrays.core import Array, called
from gradcompile.frontend.arrays.reductions import average
from gradcompile.frontend.arrays.reductions import total as summed
from gradcompile.frontend.arrays.shapes import Axis
from gradcompile.frontend.arrays.ufuncs import choose, elementwise, floating, number
from gradcompile.frontend.names import identifier
from gradcompile.ir import apply
from gradcompile.ops import record
from gradcompile.ops.record import OPS, Op, register

if TYPE_CHECKING:
    from gradcompile.ir import Node

PLAIN = ("abs", "min", "max", "range", "float", "int", "pow", "round", "len", "bool", "True", "False", "None")


class _OfBoth(sympy.Function):  # type: ignore[misc]  # SymPy ships no types
    """A function of SymPy expressions that means the same of symbolic arrays."""

    nargs = 1

    def __new__(cls, *args: Any, **options: Any) -> Any:
        if args and isinstance(args[0], Array):
            return called(cls.__name__, cls.of_array, args, options)
        return super().__new__(cls, *args, **options)

    @staticmethod
    def of_array(x: Array) -> Array:
        """The function of an array."""
        raise NotImplementedError


class mean(_OfBoth):
    """The mean over the samples of a value that has one entry a sample; a scalar. Of an array, np.mean.

    Use it where a loss has terms that are not per sample. Reading raises ExpressionError if nothing below is in `data`.

    >>> w, x = sympy.symbols("w x")
    >>> mean((w*x)**2) + w**2
    w**2 + mean(w**2*x**2)
    """

    @staticmethod
    def of_array(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        """The mean over axes, all unless some are given."""
        return Array(average(x.node, axis, keepdims))


class total(_OfBoth):
    """The sum over the samples of a value that has one entry a sample; a scalar. Of an array, np.sum. See `mean`.

    >>> total(sympy.Symbol("x")**2)
    total(x**2)
    """

    @staticmethod
    def of_array(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        """The sum over axes, all unless some are given."""
        return Array(summed(x.node, axis, keepdims))


class stop_gradient(_OfBoth):
    """x, taken for a constant by differentiation.

    >>> stop_gradient(sympy.Symbol("x")).diff("x")
    0
    """

    @staticmethod
    def of_array(x: Array) -> Array:
        """The array, without a derivative."""
        return Array(apply("stop_gradient", x.node))

    def fdiff(self, argindex: int = 1) -> Any:
        """Nothing."""
        return sympy.Integer(0)

    def _eval_evalf(self, prec: int) -> Any:
        return self.args[0]._eval_evalf(prec)


class _Defined(_OfBoth):
    """A function that stands for a formula of SymPy, by which it is differentiated and evaluated."""

    @staticmethod
    def formula(x: Any) -> Any:
        """The function in SymPy's own terms."""
        raise NotImplementedError

    def fdiff(self, argindex: int = 1) -> Any:
        """The derivative, by that of the formula."""
        x = sympy.Dummy("x")
        return self.formula(x).diff(x).xreplace({x: self.args[0]})

    def _eval_evalf(self, prec: int) -> Any:
        return self.formula(self.args[0])._eval_evalf(prec)

    def _eval_rewrite(self, rule: Any, args: Any, **hints: Any) -> Any:
        return self.formula(*args)


class sigmoid(_Defined):
    """The logistic function 1/(1 + exp(-x)), accurate in both tails.

    >>> sigmoid(sympy.Integer(0)).evalf()
    0.500000000000000
    """

    @staticmethod
    def formula(x: Any) -> Any:
        """1/(1 + exp(-x))."""
        return 1 / (1 + sympy.exp(-x))

    @staticmethod
    def of_array(x: Array) -> Array:
        """The function of each entry."""
        return Array(elementwise("sigmoid", x.node))


class softplus(_Defined):
    """log(1 + exp(x)), accurate in both tails.

    >>> softplus(sympy.Integer(0)).evalf(5)
    0.69315
    """

    @staticmethod
    def formula(x: Any) -> Any:
        """log(1 + exp(x))."""
        return sympy.log(1 + sympy.exp(x))

    @staticmethod
    def of_array(x: Array) -> Array:
        """The function of each entry."""
        return Array(elementwise("softplus", x.node))


class log_sigmoid(_Defined):
    """log(sigmoid(x)), accurate in both tails.

    >>> log_sigmoid(sympy.Integer(0)).evalf(5)
    -0.69315
    """

    @staticmethod
    def formula(x: Any) -> Any:
        """-log(1 + exp(-x))."""
        return -sympy.log(1 + sympy.exp(-x))

    @staticmethod
    def of_array(x: Array) -> Array:
        """The function of each entry."""
        return Array(elementwise("neg", elementwise("softplus", elementwise("neg", x.node))))


class relu(_Defined):
    """max(x, 0), whose derivative at 0 is 0.

    >>> relu(sympy.Integer(-3)).evalf()
    0
    """

    @staticmethod
    def formula(x: Any) -> Any:
        """x above 0, else 0."""
        return sympy.Piecewise((x, x > 0), (0, True))

    @staticmethod
    def of_array(x: Array) -> Array:
        """The function of each entry; NaN stays NaN."""
        n, zero = floating(x.node), number(0.0, floating(x.node))
        return Array(choose(elementwise("le", n, zero), zero, n))


def where(condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, else `b`; no gradient leaks from the other branch.

    >>> x = sympy.Symbol("x")
    >>> where(x > 0, x, 0)
    Piecewise((x, x > 0), (0, True))
    """
    if any(isinstance(v, Array) for v in (condition, a, b)):
        return np.where(condition, a, b)
    return sympy.Piecewise((a, condition), (b, True), evaluate=False)


class CustomFunction(sympy.Function):  # type: ignore[misc]  # SymPy ships no types
    """Base of the functions that `custom` makes; `op_name` is the op that computes it."""

    op_name = ""
    derivatives: Sequence[Callable[..., Any]] = ()

    def fdiff(self, argindex: int = 1) -> Any:
        """The derivative, as it was given."""
        return sympy.sympify(self.derivatives[argindex - 1](*self.args))


_SOURCES: dict[str, str] = {}


def custom(name: str, value: Callable[..., float], partials: Sequence[Callable[..., Any]]) -> Any:
    """Define a function of your own for use in any loss: its value as Python, its derivatives as SymPy.

    name: how it is printed.  value: a function of floats, in Numba's subset of Python, that uses nothing but its
    arguments, `math`, `np` and numbers; its source becomes part of generated modules.  partials: for each argument a
    function of SymPy arguments that returns the partial derivative, in which the function itself may occur.

    Returns a SymPy function class. Raises ArgumentError and ArgumentTypeError, with the cure, when the source is out
    of reach or uses another name, or when the number of partials differs from that of the arguments.

    Example (in a file, since the source must be found)::

        cube = custom("cube", lambda x: x*x*x, [lambda x: 3*x**2])
        f = compile_grad(cube(w), [w])
    """
    if not isinstance(value, FunctionType):
        raise ArgumentTypeError(
            f"custom {name!r}: value is a {type(value).__name__}; give a Python function or a lambda"
        )
    definition = _definition(name, value)
    letters = [a.arg for a in definition.args.args]
    if len(partials) != len(letters):
        raise ArgumentError(
            f"custom {name!r}: {len(partials)} partials for {len(letters)} arguments; give one for each"
        )
    body = ast.unparse(definition)
    mark = hashlib.sha256("\n".join([body, *map(_fingerprint, partials)]).encode()).hexdigest()[:10]
    op_name = definition.name = f"custom_{identifier(name)}_{mark}"
    members = {"nargs": len(letters), "op_name": op_name, "derivatives": tuple(partials), "__module__": __name__}
    made: Any = type(sympy.Function)(printable(name), (CustomFunction,), members)
    if op_name not in OPS:
        _SOURCES[op_name] = ast.unparse(ast.fix_missing_locations(definition))
        _register(op_name, made, value, partials, letters)
    return made


def custom_source(op_name: str) -> str:
    """The text `def <op_name>(...)` of a custom function; it may use `math` and `np`. KeyError if there is none."""
    return _SOURCES[op_name]


def _register(
    op_name: str, made: Any, value: Callable[..., float], partials: Sequence[Any], letters: list[str]
) -> None:
    """Enter the op of a custom function."""

    def rule(n: "Node") -> tuple["Node | None", ...]:
        from gradcompile.frontend.from_sympy import convert

        symbols = [sympy.Dummy(a) for a in letters]
        expressions = [sympy.sympify(p(*symbols)) for p in partials]
        return tuple(convert(expressions, dict(zip(symbols, n.args, strict=True)), n.type.dtype))

    call = f"{op_name}({', '.join(f'{{{k}}}' for k in range(len(letters)))})"
    domain = ((0.1, 2.0),) * len(letters)
    register(
        Op(
            op_name,
            record.elementwise,
            np.vectorize(value, otypes=[float]),
            call,
            partials=rule,
            sympy=made,
            cost=10,
            arity=len(letters),
            domain=domain,
            derivative="as given",
            accuracy="as written",
            doc="a user's function",
        )
    )


def _fingerprint(partial: Any) -> str:
    """What tells one partial from another: its code and the constants in it."""
    code = getattr(partial, "__code__", None)
    if not isinstance(code, CodeType):
        return repr(partial)
    return repr((code.co_code, code.co_names, [c for c in code.co_consts if not isinstance(c, CodeType)]))


def _definition(name: str, value: FunctionType) -> ast.FunctionDef:
    """The function's source as a definition that needs nothing but `math` and `np`."""
    tree = _find(name, value)
    if isinstance(tree, ast.Lambda):
        body: list[ast.stmt] = [ast.Return(tree.body)]
    else:
        body = tree.body[1:] if ast.get_docstring(tree) and len(tree.body) > 1 else tree.body
    taken = tree.args
    if taken.vararg or taken.kwarg or taken.kwonlyargs or taken.defaults or not (taken.args or taken.posonlyargs):
        raise ArgumentError(
            f"custom {name!r}: value takes {ast.unparse(taken) or 'no arguments'}; write plain ones, as in f(x, y)"
        )
    arguments = ast.arguments([], [ast.arg(a.arg) for a in taken.posonlyargs + taken.args], None, [], [], None, [])
    made = ast.FunctionDef("value", arguments, body, [], None, None)
    if hasattr(made, "type_params"):
        made.type_params = []
    self_contained: ast.FunctionDef = _Resolve(name, value, made).visit(ast.fix_missing_locations(made))
    return self_contained


def _find(name: str, value: FunctionType) -> ast.Lambda | ast.FunctionDef:
    """The syntax tree of a function, from the file that it was defined in."""
    code = value.__code__
    lines = linecache.getlines(code.co_filename, value.__globals__)
    if not lines:
        raise ArgumentError(f"custom {name!r}: the source of value is out of reach; define it in a file")
    kind = ast.Lambda if code.co_name == "<lambda>" else ast.FunctionDef
    found = [n for n in ast.walk(ast.parse("".join(lines))) if isinstance(n, kind) and _compiles_to(n, code)]
    if not found:
        raise ArgumentError(f"custom {name!r}: the source of value has changed since; define it again")
    return found[0]


def _compiles_to(tree: ast.Lambda | ast.FunctionDef, code: CodeType) -> bool:
    """Whether this is where the function was defined: same line, same columns."""
    first = min([tree.lineno, *(d.lineno for d in getattr(tree, "decorator_list", ()))])
    if first != code.co_firstlineno or [a.arg for a in tree.args.args] != list(code.co_varnames[: code.co_argcount]):
        return False
    columns = [
        (p[0], p[2]) for p in code.co_positions() if p[0] is not None and p[2] is not None and p[0] >= tree.lineno
    ]
    inside = [c for c in columns if c[0] > tree.lineno or (c[1] or 0) >= tree.col_offset]
    end = (tree.end_lineno or 0, tree.end_col_offset or 0)
    return isinstance(tree, ast.FunctionDef) or (bool(inside) and all((a or 0, b or 0) <= end for a, b in inside[1:]))


class _Resolve(ast.NodeTransformer):
    """Writes names from outside as `math.x`, `np.x` or as the number that they stand for."""

    def __init__(self, name: str, value: FunctionType, tree: ast.FunctionDef) -> None:
        self.name, self.scope = name, inspect.getclosurevars(value)
        self.globals = value.__globals__
        stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        self.local = stored | {a.arg for a in tree.args.args}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """A name that is read."""
        if node.id in self.local or (node.id in PLAIN and node.id not in self.globals):
            return node
        found = self.scope.nonlocals.get(node.id, self.globals.get(node.id, getattr(builtins, node.id, None)))
        if found is math or found is np:
            return ast.Name("math" if found is math else "np", ast.Load())
        if isinstance(found, int | float):
            return ast.Constant(found)
        short = getattr(found, "__name__", "")
        for module, letter in ((math, "math"), (np, "np")):
            if short and getattr(module, short, None) is found:
                return ast.Attribute(ast.Name(letter, ast.Load()), short, ast.Load())
        raise ArgumentError(
            f"custom {self.name!r}: value uses {node.id!r}, which is not math, np, an argument or a number; "
            "write it inside the function"
        )
