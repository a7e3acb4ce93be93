"""What a careful person would not have written: offences of generated text that its syntax tree shows."""

import ast
import re
from collections import Counter
from collections.abc import Iterator

from gradcompile.ir.core import OPS

SHAPES = ("total", "product", "negative", "inverse", "chosen", "square", "both", "either", "below", "summed", "stacked",
          "mean", "place", "larger", "smaller", "root", "e", "joined", "added", "taken", "item", "picked")  # fmt: skip
NUMBERED = re.compile(rf"(d_)*({'|'.join(sorted({*OPS, *SHAPES}, key=len, reverse=True))})(_1)?(_\d+)?(_i)?(_\d+)?")


def offences(source: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each offence of a module."""
    tree = ast.parse(source)
    for s in tree.body:
        if isinstance(s, ast.FunctionDef) and any(getattr(d, "id", "") == "jit" for d in s.decorator_list):
            yield from of_function(s)
    yield from of_comments(source)


def of_function(f: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """Those of one function."""
    assigned = [s for s in ast.walk(f) if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name)]
    given = {s.targets[0].id for s in assigned if isinstance(s.targets[0], ast.Name)} | {a.arg for a in f.args.args}
    given |= {s.target.id for s in ast.walk(f) if isinstance(s, ast.For) and isinstance(s.target, ast.Name)}
    read = Counter(n.id for n in ast.walk(f) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
    conditions = {ast.unparse(s.value): s.targets[0].id for s in assigned if isinstance(s.targets[0], ast.Name)}
    for s in assigned:
        assert isinstance(s.targets[0], ast.Name)
        name, value = s.targets[0].id, s.value
        yield from of_name(name, value, given)
        if not read[name]:
            yield "unused", f"{name} = {ast.unparse(value)}"
        if isinstance(value, ast.Name):
            yield "copy", f"{name} = {value.id}"
        if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not):
            yield "condition and negation", ast.unparse(s)
    for e in ast.walk(f):
        if isinstance(e, ast.expr):
            yield from of_expression(e)
    del conditions


def of_name(name: str, value: ast.expr, given: set[str]) -> Iterator[tuple[str, str]]:
    """Those of a name."""
    called = NUMBERED.fullmatch(name)
    if called and re.search(r"_\d+(_i)?$", name):
        yield "op with a number", name
    if name.endswith("_squared_squared") or "_squared_i" in name:
        yield "squared", name
    if name.startswith("d_"):
        primal = re.sub(r"_i(_\d+)?$", "", name[2:])
        names = {re.sub(r"_i$", "", g) for g in given}
        if primal not in names and primal + "_b" not in names:
            yield "adjoint of what is not there", name
    varies = any((isinstance(n, ast.Name) and n.id in "ijkl") or (isinstance(n, ast.Name) and n.id.endswith("_i"))
                 or isinstance(n, ast.Call) for n in ast.walk(value))  # fmt: skip
    if re.search(r"_i(_\d+)?$", name) and not varies:
        yield "scalar with _i", f"{name} = {ast.unparse(value)}"


def number(e: ast.expr) -> float | None:
    """The value of a number, also one with a sign."""
    if isinstance(e, ast.UnaryOp) and isinstance(e.op, ast.USub) and (x := number(e.operand)) is not None:
        return -x
    return e.value if isinstance(e, ast.Constant) and type(e.value) in (int, float) else None


def leading_minus(e: ast.expr) -> bool:
    """Whether an expression begins with a sign."""
    while isinstance(e, ast.BinOp):
        e = e.left
    return isinstance(e, ast.UnaryOp) and isinstance(e.op, ast.USub)


def of_expression(e: ast.expr) -> Iterator[tuple[str, str]]:
    """Those of an expression."""
    if isinstance(e, ast.UnaryOp) and isinstance(e.op, ast.USub) and leading_minus(e.operand):
        yield "double negation", ast.unparse(e)
    if isinstance(e, ast.BinOp):
        if isinstance(e.op, ast.Add | ast.Sub) and leading_minus(e.right):
            yield "sign after an operator", ast.unparse(e)
        if isinstance(e.op, ast.Mult) and 1.0 in (number(e.left), number(e.right)):
            yield "multiplied by 1", ast.unparse(e)
        if isinstance(e.op, ast.Add) and ast.unparse(e.left) == ast.unparse(e.right):
            yield "added to itself", ast.unparse(e)
        if isinstance(e.op, ast.Add) and swapped(e.left, e.right):
            yield "added to itself", ast.unparse(e)
        if (
            isinstance(e.op, ast.Div)
            and isinstance(e.left, ast.Call)
            and getattr(e.left.func, "id", "") in ("float64",)
        ):
            yield "float64(number)", ast.unparse(e)


def swapped(x: ast.expr, y: ast.expr) -> bool:
    """Whether two products are one, the other way round."""
    return (isinstance(x, ast.BinOp) and isinstance(y, ast.BinOp) and isinstance(x.op, ast.Mult)
            and isinstance(y.op, ast.Mult) and ast.dump(x.left) == ast.dump(y.right)
            and ast.dump(x.right) == ast.dump(y.left))  # fmt: skip


def of_comments(source: str) -> Iterator[tuple[str, str]]:
    """Those of comments and of the header."""
    for line in source.splitlines():
        _, sign, comment = line.partition("# ")
        if sign and comment.count("...") >= 2:
            yield "comment of ellipses", comment
        if re.search(r"\*\*2\)\*\*2|\*\*2\*\*2", line):
            yield "powers of squares", line.strip()
        if "(x.shape" in line and "(1))" in line:
            yield "length", line.strip()
    if re.search(r"^LANES = .*samples", source, re.M) and not re.search(r"\[n[,\]]", source):
        yield "samples that are not there", "LANES"
    if re.search(r"^    return (?!loss|value|total\[0\]|totals\[0, 0\]|finish|n$|0\.0)(\w+)$", source, re.M):
        yield "result under another name", re.search(r"^    return (\w+)$", source, re.M)[0].strip()
    header = ast.get_docstring(ast.parse(source)) or ""
    if re.search(r"scan\(|constant\.|carry\.", header):
        yield "header", header.splitlines()[0][:100]
