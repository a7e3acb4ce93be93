"""The text of what comes after a gradient: rules joined to one pass over theta, the log, the rows of the next batch.

It is a module of the subset like those of kernels. Machine code calls it in turn with the kernel
(`stepping` in `codegen/functions.py`); without machine code Python does.
"""

import ast
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType

from gradcompile.codegen import functions as jit
from gradcompile.codegen import own_lines, own_text
from gradcompile.errors import SubsetError
from gradcompile.library import primitives
from gradcompile.optim.parts import Part

PASSES = [f"{name}({start}updates.shape[0])" for name in ("lanes", "range") for start in ("0, ", "")]

HEAD = '''"""A step of training: {names}."""

{imports}

{constants}@jit
def update(grad, theta, state, table, row, places):
    """{shown}."""
{body}
'''

ADVANCE = '''

@jit
def advance(loss, grad, theta, state, table, at, sums, log, mean, order, places{arguments}):
    """Take in loss and gradient: log them, update theta, put the rows of the next batch in their place."""
{frozen}    length = norm(grad)
    status = verdict(loss, length)
    if status == GOES_ON:
        record(loss, length, at, sums, log)
{update}        status = proceed(at)
        if status == GOES_ON:
            gather(at, order{arguments})
    return status


@jit
def gather(at, order{arguments}):
    """The rows whose numbers come next in the order."""
    first = at[NEXT]
{gather}    at[NEXT] += at[COUNT]
'''

FROZEN = """    for k in lanes(0, grad.shape[0]):
        grad[k] = grad[k] if factors[k] != 0.0 else 0.0 * theta[k]
"""
UPDATE = "        update(grad, theta, state, table, at[ROW], places)\n        at[ROW] += 1\n"
COLLECTED = """        if collect(grad, mean, at):
            update(grad, theta, state, table, at[ROW], places)
            at[ROW] += 1
"""
USED = ("collect", "norm", "proceed", "record", "verdict", "COUNT", "GOES_ON", "NEXT", "ROW")  # by `advance`


class Renamed(ast.NodeTransformer):
    """The body of a rule with its own names for what all have, and entry k of `updates` a number."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """updates[k] is the number u, h[2] a number with a name."""
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        if owner == "updates" and isinstance(node.slice, ast.Name):
            return ast.Name("u", node.ctx)
        if owner == "h" and isinstance(node.slice, ast.Constant):
            return ast.Name(f"{self.names['h']}_{node.slice.value!r}", node.ctx)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Another name, where it has one here."""
        return ast.Name(self.names.get(node.id, node.id), node.ctx)


def parsed(part: Part) -> tuple[list[ast.stmt], ast.For | None]:
    """The statements of a rule before its loop, and that loop, if it is the last and the only one, over all entries."""
    function = own_text(part.function) or getattr(part.function, "__wrapped__", part.function)
    body = ast.parse(own_lines(function)).body[0].body  # type: ignore[attr-defined]
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        del body[0]
    *before, last = body
    is_pass = isinstance(last, ast.For) and ast.unparse(last.iter) in PASSES
    if not is_pass or not all(isinstance(s, ast.Assign) for s in before):
        return body, None
    assert isinstance(last, ast.For)
    return before, last


def names_in(statements: Sequence[ast.stmt], use: type[ast.expr_context]) -> set[str]:
    """The names that these statements load, or store."""
    return {n.id for s in statements for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, use)}


def joined(parts: Sequence[Part], last: str) -> list[str]:
    """The lines of `update`: each run of rules that are one pass is one loop; last: the statement that ends it."""
    lines: list[str] = []
    loop: list[str] = []
    row = column = 0

    def end(statement: str) -> None:
        if loop or "theta" in statement:
            lines.append("    for k in lanes(0, theta.shape[0]):")
            lines.extend(f"        {s}" for s in ("u = grad[k]", *loop, statement))
            loop.clear()

    for i, part in enumerate(parts):
        names = {"updates": "grad", "state": f"state_{i}", "h": f"h_{i}"}
        before, over = parsed(part)
        given = [f"    h_{i}_{k} = table[row, {column + k}]" for k in range(part.width)]
        if over is None:
            given = [f"    h_{i} = table[row, {column}:{column + part.width}]"] if part.width else []
        given += [f"    state_{i} = state[{row}:{row + part.rows}]"] if part.rows else []
        row, column = row + part.rows, column + part.width
        if over is None or "updates" in names_in(before, ast.Load):
            end("grad[k] = u")
        lines += given
        if over is None:
            extra = ", places" if part.takes_places else ""
            state = names["state"] if part.rows else "state"
            lines.append(f"    {part.name}(grad, theta, {state}, {names['h'] if part.width else 'grad'}{extra})")
            continue
        names |= {name: f"{name}_{i}" for name in names_in([*before, *over.body], ast.Store)}
        lines += [f"    {ast.unparse(Renamed(names).visit(s))}" for s in before]
        loop += [ast.unparse(Renamed(names).visit(s)) for s in over.body]
    end(last)
    return lines


def needs(parts: Sequence[Part], used: Sequence[str]) -> tuple[str, str]:
    """The imports and the constants of the module."""
    from_modules: dict[str, set[str]] = {jit.__name__: {"jit"}, primitives.__name__: {"lanes"}}
    from_modules.setdefault("gradcompile.library.optimizers", set()).update(used)
    constants: dict[str, str] = {}
    for part in parts:
        function = own_text(part.function) or part.function
        whole = parsed(part)[1] is None
        if whole and part.is_own:
            from_modules.setdefault(function.__module__, set()).add(part.name)
        for name in function.__code__.co_names if not (whole and part.is_own) else ():
            value = function.__globals__.get(name)
            if isinstance(value, int | float | tuple):
                constants[name] = repr(value)
            elif value is range:
                from_modules[primitives.__name__].add("lanes")
            elif getattr(value, "__module__", "").startswith("gradcompile."):
                home = (own_text(value) or value).__module__
                from_modules.setdefault(home, set()).add(name)
            elif value is not None:
                raise SubsetError(f"{part.name}: {name!r} is {value!r}; a rule may use numbers, tuples of them, and "
                                  "functions of gradcompile.library.primitives and gradcompile.vmath")  # fmt: skip
        if whole and not part.is_own:
            raise SubsetError(f"{part.name}: end it with one loop, for k in lanes(0, updates.shape[0])")
    lines = [f"from {home} import {', '.join(sorted(names))}" for home, names in sorted(from_modules.items()) if names]
    return "\n".join(lines), "".join(f"{k} = {v}\n" for k, v in constants.items()) + ("\n\n" if constants else "")


def text_of(parts: Sequence[Part], ranks: Sequence[int] | None, every: int, scales: bool, freezes: bool) -> str:
    """The module for rules and columns of these ranks; None: what the rules make is left in `grad`, and no more."""
    last = "grad[k] = u" if ranks is None else "theta[k] += factors[k] * u" if scales else "theta[k] += u"
    body = joined(parts, last) if parts else ["    return row"]
    if scales:
        body.insert(0, "    factors = state[state.shape[0] - 1]")
    used = () if ranks is None else USED if every > 1 else USED[1:]
    imports, constants = needs(parts, used)
    names = ", ".join(p.name for p in parts) or "nothing"
    found = HEAD.format(names=names, imports=imports, constants=constants, shown=names, body="\n".join(body))
    if ranks is None:
        return found
    rows = ["    for i in range(at[COUNT]):", "        place = order[first + i]"] if ranks else []
    for n, rank in enumerate(ranks):
        rows += [f"        batch{n}[i] = in{n}[place]"] if rank == 1 else [
            f"        for j in lanes(0, in{n}.shape[1]):", f"            batch{n}[i, j] = in{n}[place, j]"]  # fmt: skip
    return found + ADVANCE.format(
        arguments="".join(f", in{n}, batch{n}" for n in range(len(ranks))),
        frozen=f"    factors = state[state.shape[0] - 1]\n{FROZEN}" if freezes else "",
        update=(COLLECTED if every > 1 else UPDATE) if parts else "", gather="".join(f"{line}\n" for line in rows),
    )  # fmt: skip


@lru_cache(maxsize=64)
def module_of(parts: tuple[Part, ...], ranks: tuple[int, ...] | None, every: int = 1, scales: bool = False,
              freezes: bool = False, in_file: bool = True) -> ModuleType:  # fmt: skip
    """The module, see `text_of`."""
    return jit.load(text_of(parts, ranks, every, scales, freezes), "train", in_file)
