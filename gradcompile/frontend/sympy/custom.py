"""Functions of the user's own: value as Python, derivatives as SymPy."""

import ast
import builtins
import hashlib
import inspect
import linecache
import math
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import sympy

from gradcompile.errors import ArgumentError, ArgumentTypeError, printable
from gradcompile.frontend.sympy.convert import convert
from gradcompile.frontend.sympy.scalars import HANDLERS, Conversion, call
from gradcompile.ir.core import OPS, Node, Op, elementwise, register
from gradcompile.signature.names import identifier

PLAIN = ("abs", "min", "max", "range", "float", "int", "pow", "round", "len", "bool", "True", "False", "None")


class CustomFunction(sympy.Function):  # type: ignore[misc]  # SymPy ships no types
    """Base of the functions that `custom` makes; `op_name` is the op that computes it."""

    op_name = ""
    derivatives: Sequence[Callable[..., Any]] = ()

    def fdiff(self, argindex: int = 1) -> Any:
        """The derivative, as it was given."""
        return sympy.sympify(self.derivatives[argindex - 1](*self.args))


HANDLERS[CustomFunction] = lambda expr: Conversion(expr.args, call(expr.func.op_name))
_SOURCES: dict[str, str] = {}


def custom(
    name: str, value: Callable[..., Any], partials: Sequence[Callable[..., Any]] | None = None, *,
    vjp: Callable[..., Any] | None = None
) -> Any:  # fmt: skip
    """Define a function of your own for use in any loss: its value as Python, its derivatives as SymPy; or of arrays.

    name: how it is printed.  value: a function of floats, in Numba's subset of Python, that uses nothing but its
    arguments, `math`, `np` and numbers; its source becomes part of generated modules.  partials: for each argument a
    function of SymPy arguments that returns the partial derivative, in which the function itself may occur.

    vjp: in place of partials, for a function of symbolic arrays, whose value is NumPy on such arrays: vjp(cotangent,
    *args) gives one cotangent an argument, NumPy as well; None for one that has no derivative. From it come forward
    mode and second derivatives too.

    Returns a SymPy function class, or a function of arrays. Raises ArgumentError and ArgumentTypeError, with the cure,
    when the source is out of reach or uses another name, or when the number of partials differs from that of the
    arguments.

    Example (in a file, since the source must be found)::

        cube = custom("cube", lambda x: x*x*x, [lambda x: 3*x**2])
        f = compile_grad(cube(w), [w])
        clipped = custom("clipped", lambda x: x, vjp=lambda g, x: np.clip(g, -1, 1))  # limits gradients
    """
    if (partials is None) == (vjp is None):
        raise ArgumentError(f"custom {name!r}: give partials, of a function of numbers, or vjp, of one of arrays")
    if vjp is not None:
        from gradcompile.frontend.arrays.custom import with_vjp

        return with_vjp(name, value, vjp)
    assert partials is not None
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
        symbols = [sympy.Dummy(a) for a in letters]
        expressions = [sympy.sympify(p(*symbols)) for p in partials]
        return tuple(convert(expressions, dict(zip(symbols, n.args, strict=True)), n.type.dtype))

    call = f"{op_name}({', '.join(f'{{{k}}}' for k in range(len(letters)))})"
    domain = ((0.1, 2.0),) * len(letters)
    register(
        Op(
            op_name,
            elementwise,
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
