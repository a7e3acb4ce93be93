"""The table of docs/functions.md: for every public function of jax.numpy, scipy.special and scipy.stats what there is.

    python -m tools.functions --write

A function is there, or is refused with what to write instead, or is not there. JAX has to be installed, as the names
of its NumPy are those that are gone through.
"""

import argparse
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy
import numpy as np
import scipy.special
import scipy.stats

import gradcompile
from gradcompile.frontend.arrays import core

PAGE = Path(__file__).resolve().parent.parent / "docs" / "functions.md"
HEAD = """# NumPy's and SciPy's functions

What of the public functions of `jax.numpy`, `scipy.special` and `scipy.stats` takes symbolic arrays; made by
`python -m tools.functions --write`. Functions of SciPy that hand symbolic arrays on are called as they are, others
as those of `gradcompile.special` and `gradcompile.stats`; the message of a call that does not work says which. Among
those that are not there are functions of numbers alone, as `fft.fftfreq`, windows, roots of polynomials: NumPy's and
SciPy's own serve.
"""


class Found(NamedTuple):
    """The functions of a module: those that are there, those that are refused with what to write, and the others."""

    have: list[str]
    refused: dict[str, str]
    rest: list[str]


def functions(module: Any, prefix: str = "") -> Iterator[str]:
    """The names of the public functions of a module, and of those in linalg and fft."""
    for name in sorted(getattr(module, "__all__", None) or dir(module)):
        value = getattr(module, name, None)
        if inspect.ismodule(value) and name in ("linalg", "fft"):
            yield from functions(value, f"{name}.")
        elif not name.startswith("_") and callable(value) and not inspect.isclass(value):
            yield prefix + name


def sorted_out(names: Iterator[str], has: Callable[[str], bool], home: str) -> Found:
    """The names by what there is."""
    found = Found([], {}, [])
    for name in names:
        if has(name):
            found.have.append(name)
        elif cure := core.REFUSED.get(f"{home}.{name}"):
            found.refused[name] = cure
        else:
            found.rest.append(name)
    return found


def attribute(owner: Any, path: str) -> Any:
    """An attribute by its path, None if there is none."""
    for part in path.split("."):
        owner = getattr(owner, part, None)
    return owner


def in_numpy(name: str) -> bool:
    """Whether a function of NumPy takes symbolic arrays."""
    function = attribute(np, name)
    return function in core.FUNCTIONS or (isinstance(function, np.ufunc) and function.__name__ in core.UFUNCS)


def in_special(name: str) -> bool:
    """Whether a function of scipy.special does, or the package has one of its name."""
    own = getattr(gradcompile.special, name, None)
    return name in core.UFUNCS or getattr(own, "__module__", "") == gradcompile.special.__name__


def table(title: str, found: Found) -> Iterator[str]:
    """The lines about a module, each cure once."""
    count = len(found.have) + len(found.refused) + len(found.rest)
    yield f"\n## {title}\n"
    yield f"{len(found.have)} of {count}; {len(found.refused)} are refused with what to write.\n"
    yield f"**There are** {', '.join(f'`{n}`' for n in found.have)}.\n"
    if found.refused:
        yield "| refused | |"
        yield "|---|---|"
    by_cure: dict[str, list[str]] = {}
    for name, cure in found.refused.items():
        by_cure.setdefault(cure, []).append(name)
    for cure, names in by_cure.items():
        yield f"| {', '.join(f'`{n}`' for n in names)} | {escape(cure)} |"
    yield f"\n**There are not** {', '.join(f'`{n}`' for n in found.rest)}."


def escape(text: str) -> str:
    """A text for a cell of a table."""
    return text.replace("|", "\\|").replace("*", "\\*")


def page() -> str:
    """The page."""
    core.found(core.FUNCTIONS, None)  # loads all of them
    stats = (n for n in sorted(scipy.stats.__all__) if not inspect.isclass(getattr(scipy.stats, n)) and n[0] != "_")
    parts = [
        ("jax.numpy", sorted_out(functions(jax.numpy), in_numpy, "np")),
        ("scipy.special", sorted_out(functions(scipy.special), in_special, "scipy.special")),
        ("scipy.stats", sorted_out(stats, lambda n: hasattr(gradcompile.stats, n), "scipy.stats")),
    ]
    return HEAD + "\n".join(line for title, found in parts for line in table(title, found)) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.functions", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/functions.md")
    text = page()
    if parser.parse_args().write:
        PAGE.write_text(text, "utf-8")
    else:
        print(text)
