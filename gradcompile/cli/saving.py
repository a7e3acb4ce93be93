"""Files that commands write: what may be replaced, and the module that a fit is saved as."""

import ast
import contextlib
import math
import os
import re
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sympy as sp

from gradcompile.compile import compile_grad, compile_value
from gradcompile.errors import ArgumentError
from gradcompile.export import python as export
from gradcompile.regression.result import Fit
from gradcompile.signature.names import Namer

MARK = "# Written by gradcompile fit, which may write it anew."


def check_output(option: str, path: str, data: str) -> None:
    """Raise ArgumentError for a file that can't be written, or that is the table itself, before any work is done."""
    where = Path(path)
    if not where.absolute().parent.is_dir():
        raise ArgumentError(f"{option}: there is no folder {where.absolute().parent}; make it first")
    if where.is_dir():
        raise ArgumentError(f"{option}: {path} is a folder; name a file in it")
    with contextlib.suppress(OSError):
        if where.samefile(data):
            raise ArgumentError(f"{option}: {path} is the table itself; name another file")
    target = where if where.exists() else where.absolute().parent
    if not os.access(target, os.W_OK):
        raise ArgumentError(f"{option}: {path} can't be written; choose another place")


def check_save(path: str, data: str, force: bool) -> None:
    """Raise ArgumentError unless `path` is new, or a regular file that a fit has written, or `force` is given."""
    where = Path(path)
    if where.is_symlink():
        raise ArgumentError(f"--save: {path} is a link; name the file itself")
    check_output("--save", path, data)
    if not where.exists():
        return
    if not stat.S_ISREG(where.stat().st_mode):
        raise ArgumentError(f"--save: {path} is a pipe or a device; name a file")
    if not force and MARK not in where.read_text("utf-8", "replace"):
        raise ArgumentError(f"--save: {path} is there and no fit wrote it; name another file, or pass --force")


def write(path: str, text: str) -> None:
    """Write a file in one step; one that is replaced keeps its mode."""
    where = Path(path)
    mode = stat.S_IMODE(where.stat().st_mode) if where.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(dir=where.absolute().parent, prefix=".gradcompile-")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, mode)
        os.replace(name, where)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError):
            raise type(error)(error.errno, error.strerror, path) from None
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def module(fits: dict[str, Fit], predictors: Sequence[str]) -> str:
    """A module of its own with the loss, the model and what the fit found; `fits` by group, one under "" without.

    predictors: the columns of the model, in the order in which its functions take them.
    """
    fit = next(iter(fits.values()))
    f, written = loss(fit, predictors), fit.samples[0].statement.model
    assert written is not None, "the command line fits models, not likelihoods"
    model = written.xreplace(settled(fit))
    symbols = {s.name: s for s in model.free_symbols}
    params = [symbols.get(name, sp.Symbol(name)) for name in fit.terms.params]
    value = compile_value(model, params, data=[symbols[name] for name in predictors], name="model")
    names = Namer(("theta", "numpy", "columns", "c", "out", "model")).all([a.name for a in value.problem.inputs])
    return export.standalone(joined(f.source, value.source)) + _found(fits, names)


def settled(fit: Fit) -> dict[Any, Any]:
    """The values of parameters that are known."""
    return {sp.Symbol(name): sp.Float(fit.terms.fixed[name]) for name in fit.samples[0].statement.fixed}


def loss(fit: Fit, predictors: Sequence[str]) -> Any:
    """What a fit minimised, compiled as a sum over the rows; a function of the estimates and of columns."""
    statement = fit.samples[0].statement
    symbols = {s.name: s for e in (statement.cost, statement.model) if e is not None for s in e.free_symbols}
    params = [symbols[name] for name in fit.terms.params]
    weights = [] if statement.sigma is None else [statement.sigma]
    columns = [symbols[name] for name in dict.fromkeys([*predictors, *statement.columns])]
    cost = statement.cost.xreplace(settled(fit))
    return compile_grad(cost, params, data=[*columns, *weights], reduce="sum", name="fit")


def joined(loss: str, value: str) -> str:
    """Two generated modules as one: the functions of the second get other names where the first has theirs."""
    first, second = ast.parse(loss), ast.parse(value)
    taken = {node.name for node in first.body if isinstance(node, ast.FunctionDef)}
    for node in second.body:
        if isinstance(node, ast.FunctionDef) and (node.name in taken or node.name == "kernel"):
            new = "model" if node.name == "kernel" else f"model_{node.name}"
            value = re.sub(rf"\b{node.name}\b(?=\()", new, value)
    lines = value.splitlines()
    constants = {ast.unparse(node) for node in first.body if isinstance(node, ast.Assign)}
    body = [
        "\n".join(lines[min([n.lineno, *(d.lineno for d in getattr(n, "decorator_list", []))]) - 1 : n.end_lineno])
        for n in second.body[1:]
        if ast.unparse(n) not in constants
    ]
    imports = [text for text in body if text.startswith(("from ", "import "))]
    rest = [text for text in body if text not in imports]
    at = next(node.lineno for node in first.body[1:]) - 1
    head = loss.splitlines()
    return "\n".join([*head[:at], *imports, *head[at:], "", "", "\n\n\n".join(rest), ""])


def _found(fits: dict[str, Fit], columns: list[str]) -> str:
    """What the fits found, and a function that predicts by it."""
    grouped = list(fits) != [""]

    def said(values: dict[str, Any]) -> str:
        return repr(values if grouped else values[""])

    def errors(fit: Fit) -> dict[str, float | None]:
        return {name: error if math.isfinite(error) else None for name, error in fit.stderr.items()}

    lines = [
        MARK,
        "# What the fit found, by parameter, in the order of theta" + (", for each group." if grouped else "."),
        f"ESTIMATES = {said({k: f.params for k, f in fits.items()})}",
        f"STANDARD_ERRORS = {said({k: errors(f) for k, f in fits.items()})}",
        f"CONVERGED = {said({k: f.converged for k, f in fits.items()})}",
        f"MESSAGE = {said({k: f.message for k, f in fits.items()})}",
    ]
    given = ", ".join(columns)
    default = "" if grouped else "=tuple(ESTIMATES.values())"
    first = ", ".join(filter(None, ["theta" if grouped else "", given, "" if grouped else f"theta{default}"]))
    body = _PREDICT if columns else _PREDICT_CONSTANT
    lines += ["", "", body.format(arguments=first, columns=given, first=columns[0] if columns else "")]
    return "\n\n" + "\n".join(lines)


_PREDICT = '''def predict({arguments}):
    """The model: one value a row of the columns, at the estimates or at other parameters."""
    import numpy

    columns = [numpy.ascontiguousarray(c, dtype=numpy.float64).reshape(-1) for c in ({columns},)]
    if len({{len(c) for c in columns}}) > 1:
        raise ValueError("columns need one length")
    out = numpy.empty(len(columns[0]))
    model(numpy.array(theta, dtype=numpy.float64), out, *columns)
    return out
'''
_PREDICT_CONSTANT = '''def predict({arguments}):
    """The model, which depends on no column."""
    import numpy

    return model(numpy.array(theta, dtype=numpy.float64), numpy.empty(1))
'''
