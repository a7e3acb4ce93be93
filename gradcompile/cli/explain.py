"""The commands that look inside a formula at some values: as a table with the chain rule, and as a picture."""

import argparse
from typing import Any

from gradcompile.cli.options import by_name
from gradcompile.errors import ArgumentError


def run(options: argparse.Namespace) -> None:
    """`gradcompile explain`: values, adjoints and the chain rule, or why a gradient is not as it should be."""
    f, values = compiled(options)
    print(f.why(options.why, args=values) if options.why else f.explain(args=values).to(options.to))


def draw(options: argparse.Namespace) -> None:
    """`gradcompile draw`: the graph, as a file."""
    f, values = compiled(options)
    print(f"{f.draw(args=values, to=options.to)} written to {options.to}")


def compiled(options: argparse.Namespace) -> tuple[Any, dict[str, float]]:
    """The loss, and the value of each of its names."""
    import sympy as sp

    from gradcompile.compile import compile_grad
    from gradcompile.frontend.text import is_constant, names_in, parse

    used = [name for name in names_in(options.formula) if not is_constant(name)]
    values = by_name("--at", options.at, value, "name=number, such as w=2,x=3")
    for what, names in (("--at", [n for n in used if n not in values]), ("--params", options.params or [])):
        missing = names if what == "--at" else [n for n in names if n not in used]
        if missing:
            known = f"the formula has {', '.join(used)}"
            raise ArgumentError(f"{what}: {known}, {'no value for' if what == '--at' else 'not'} {', '.join(missing)}")
    symbols = {name: sp.Symbol(name) for name in used}
    params = [symbols[name] for name in dict.fromkeys(options.params or used)]
    inputs = [s for s in symbols.values() if s not in params]
    f = compile_grad(parse(options.formula, symbols), params, inputs=inputs, stabilize=not options.literal)
    return f, {name: values[name] for name in used}


def value(name: str, text: str) -> float:
    """A number, infinities and NaN too."""
    try:
        return float(text)
    except ValueError:
        raise ArgumentError(f"--at: {name}={text} is no name with a number, as in w=2,x=3") from None
