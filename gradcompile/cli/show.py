"""The commands that only print: a formula's gradient and source, the op table, the cache."""

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from gradcompile.errors import ArgumentError, meant, printable

LONGEST = 400  # nodes of a gradient, each counted as often as it would be printed


def run(options: argparse.Namespace) -> None:
    """`gradcompile show`: gradient, cost and generated source of a formula."""
    from gradcompile.compile import compile_grad

    f = compiled(options, compile_grad)
    print(f"loss = {printable(options.formula)}\n")
    print_derivation(f)
    print(f"\n{highlighted(f.source)}")


def export(options: argparse.Namespace) -> None:
    """`gradcompile export`: a function for C, and its header."""
    from gradcompile.compile import compile_grad, compile_hessian, compile_value

    makers: dict[str, Any] = {"value": compile_value, "gradient": compile_grad, "hessian": compile_hessian}
    compiled(options, makers[options.what]).export(options.to, name=options.name)
    print(f"{options.to} and {Path(options.to).with_suffix('.h')} written")


def compiled(options: argparse.Namespace, maker: Callable[..., Any]) -> Any:
    """What `maker` compiles of the formula."""
    import sympy as sp

    from gradcompile.frontend.text import is_constant, names_in, parse

    listed = [*options.params, *options.data]
    used = [name for name in names_in(options.formula) if not is_constant(name)]
    symbols = {name: sp.Symbol(name) for name in dict.fromkeys([*listed, *used])}
    loss = parse(options.formula, symbols)
    _check_lists(options, symbols.keys() & names_in(options.formula).keys())
    params, data = ([symbols[name] for name in names] for names in (options.params, options.data))
    settings = {"reduce": options.reduce, "dtype": options.dtype, "stabilize": not options.literal}
    return maker(loss, params, data=data, **settings)


def _check_lists(options: argparse.Namespace, used: set[str]) -> None:
    """Every name of --params and --data is in the formula, and in one of the two once."""
    seen: set[str] = set()
    for option, names in (("--params", options.params), ("--data", options.data)):
        for name in names:
            if name not in used:
                known = ", ".join(sorted(used)) or "none"
                raise ArgumentError(f"{option}: the formula does not contain {name!r}; its names are {known}")
            if name in seen:
                raise ArgumentError(f"{option}: {name!r} is given twice; a name is a parameter or data, once")
            seen.add(name)
    if not options.params:
        raise ArgumentError("--params: no name is given; write --params w, or --params a,b for more")


def print_derivation(f: Any) -> None:
    """Print the gradient of a compiled loss, what it costs, and what was rewritten for accuracy."""
    names = [argument.name for argument in f.problem.params]
    width = max(9, *(len(name) + 2 for name in names))
    texts = _gradients(f)
    for name, text in zip(names, texts, strict=True):
        print(f"{'d' + name:<{width}}{text}")
    cost = f.cost
    per = " a sample" if cost.bytes_per_sample else ""
    print(f"{'cost':<{width}}{cost.loss} operations for the loss, {cost.loss_and_gradient} with the gradient{per}")
    for rewrite in f.rewrites:
        print(f"{'rewrite':<{width}}{rewrite.rule}: {rewrite.before} -> {rewrite.after}")


def _gradients(f: Any) -> list[str]:
    """The gradients as text; what shares so much that its text would be out of proportion is not spelled out."""
    from gradcompile.ir.graph import topological

    size: dict[Any, int] = {}
    roots = f.graph.simplified[1:]
    for node in topological(roots):
        size[node] = 1 + sum(size[argument] for argument in node.args)
    if max(size[root] for root in roots) > LONGEST:
        return ["too long to print; the source below computes it" for _ in roots]
    return [str(expr) for expr in f.gradients]


def highlighted(source: str) -> str:
    """Return Python source in colours if standard output is a terminal and pygments is there, else as it is.

    >>> highlighted("x = 1")
    'x = 1'
    """
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return source
    try:
        pygments, formatters, lexers = (import_module(f"pygments{part}") for part in ("", ".formatters", ".lexers"))
    except ImportError:
        return source
    return str(pygments.highlight(source, lexers.PythonLexer(), formatters.TerminalFormatter()))


def ops(options: argparse.Namespace) -> None:
    """`gradcompile ops`: the op table, or one op of it."""

    from gradcompile.frontend.text import function_names
    from gradcompile.ops import OPS

    if options.name and options.name not in OPS:
        hint = meant(options.name, OPS)
        raise ArgumentError(f"there is no op {options.name!r}{hint}; gradcompile ops lists them all")
    called = set(function_names())
    names = [options.name] if options.name else sorted(OPS, key=lambda name: (name not in called, name))
    before = None
    for name in names:
        if not options.name and (name in called) is not before:
            before = name in called
            print("functions that formulas call" if before else "\nops that operators, arrays and SymPy lead to")
            print()
        op = OPS[name]
        print(f"{name:<16}{op.doc}")
        for what in ("derivative", "convention", "accuracy"):
            if getattr(op, what):
                print(f"  {what:<14}{getattr(op, what)}")


def cache_info(options: argparse.Namespace) -> None:
    """`gradcompile cache info`: where the cache is, and what it holds."""
    from gradcompile.codegen import cache

    info = cache.cache_info()
    print(f"path     {info.path}\nmodules  {info.modules}\nsize     {info.bytes / 2**20:.1f} MiB")


def cache_clear(options: argparse.Namespace) -> None:
    """`gradcompile cache clear`: delete generated modules and their machine code."""
    from gradcompile.codegen import cache

    info = cache.cache_clear()
    print(f"{info.modules} modules deleted ({info.bytes / 2**20:.1f} MiB) in {info.path}")
