"""What a careful person would not have written: offences of a generated text that its syntax tree shows."""

import ast
import re
from collections import Counter
from collections.abc import Iterator

from gradcompile.ir.core import OPS

FORMS = ("product", "negative", "inverse", "chosen", "square", "both", "either", "below", "summed", "stacked", "mean",
         "e", "joined", "added")  # fmt: skip
NUMBERED = re.compile(rf"(d_)*({'|'.join(sorted({*OPS, *FORMS}, key=len, reverse=True))})_\d+(_[ijk])?(_\d+)?")
RETURNED = ("loss", "value", "n")
Offence = tuple[str, str]  # its kind, and where


def offences(source: str) -> Iterator[Offence]:
    """Those of a module."""
    tree = ast.parse(source)
    made = [s for s in tree.body if isinstance(s, ast.FunctionDef) and "jit" in map(ast.unparse, s.decorator_list)]
    known = {bare(name) for f in made for name in names_of(f)}
    for f in made:
        yield from of_names(f, known)
        for e in ast.walk(f):
            if isinstance(e, ast.expr):
                yield from of_expression(e)
        result = f.body[-1].value if isinstance(f.body[-1], ast.Return) else None
        if isinstance(result, ast.Name) and result.id not in RETURNED:
            yield "the result has another name", ast.unparse(f.body[-1])
    yield from of_comments(source, ast.get_docstring(tree) or "")


def bare(name: str) -> str:
    """A name without what says that it is a block, a part or an entry of what is called so."""
    return re.sub(r"(_(b|part|now|new|first|last|before|after|step|[ijk]|\d+))+$", "", name)


def names_of(f: ast.FunctionDef) -> set[str]:
    """All names that a function gives or is given."""
    return {n.id for n in ast.walk(f) if isinstance(n, ast.Name)} | {a.arg for a in f.args.args}


def of_names(f: ast.FunctionDef, known: set[str]) -> Iterator[Offence]:
    """Those of the names that a function gives; known: what there is in the module."""
    read = Counter(n.id for n in ast.walk(f) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
    for s in ast.walk(f):
        if not isinstance(s, ast.Assign) or not isinstance(s.targets[0], ast.Name):
            continue
        name, line = s.targets[0].id, ast.unparse(s)
        if NUMBERED.fullmatch(name):
            yield "an op with a number", line
        if "_squared_squared" in name:
            yield "a power of powers", line
        of = bare(name).removesuffix("_tangent").removeprefix("d_")
        if name.startswith("d_") and of not in known and name[2:] not in known:
            yield "an adjoint of what is not there", line
        if not read[name]:
            yield "a name that nobody reads", line
        if isinstance(s.value, ast.Name):
            yield "a copy", line
        if isinstance(s.value, ast.UnaryOp) and isinstance(s.value.op, ast.Not):
            yield "a condition and its negation", line
        if re.search(r"_i(_\d+)?$", name) and not is_moved(s.value):
            yield "an index on a scalar", line


def is_moved(value: ast.expr) -> bool:
    """Whether a value may depend on the turn of a loop."""
    names = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
    return any(name in "ijkl" or re.search(r"_[ijkl](_\d+)?$", name) for name in names)


def sign(e: ast.expr) -> bool:
    """Whether an expression begins with a minus."""
    while isinstance(e, ast.BinOp):
        e = e.left
    return isinstance(e, ast.UnaryOp) and isinstance(e.op, ast.USub)


def of_expression(e: ast.expr) -> Iterator[Offence]:
    """Those of one expression, what it is made of left out."""
    text = ast.unparse(e)
    if isinstance(e, ast.UnaryOp) and isinstance(e.op, ast.USub) and sign(e.operand) and is_product(e.operand):
        yield "a minus before a minus", text
    if not isinstance(e, ast.BinOp):
        return
    if isinstance(e.op, ast.Add | ast.Sub) and sign(e.right) and is_product(e.right):
        yield "a minus after a sign", text
    if isinstance(e.op, ast.Mult) and "1.0" in (ast.unparse(e.left), ast.unparse(e.right)):
        yield "a factor of one", text
    if isinstance(e.op, ast.Add) and sorted(factors(e.left)) == sorted(factors(e.right)):
        yield "a term twice", text
    if isinstance(e.op, ast.Div) and re.fullmatch(r"float64\([\d.]+\)", ast.unparse(e.left)):
        yield "a number that is converted", text


def is_product(e: ast.expr) -> bool:
    """Whether an expression needs no parentheses in a sum."""
    return not (isinstance(e, ast.BinOp) and isinstance(e.op, ast.Add | ast.Sub))


def factors(e: ast.expr) -> list[str]:
    """The factors of a product, the expression alone if it is none."""
    if isinstance(e, ast.BinOp) and isinstance(e.op, ast.Mult):
        return factors(e.left) + factors(e.right)
    return [ast.unparse(e)]


def of_comments(source: str, header: str) -> Iterator[Offence]:
    """Those of comments and of the header."""
    for line in source.splitlines():
        comment = line.partition("# ")[2]
        if comment.count("...") > 1:
            yield "a comment of ellipses", comment
        if re.search(r"\(\w+\*\*2\)\*\*2", comment):
            yield "a power of powers", comment
        if re.search(r"\(\(?-?\d+\)\)?", line) and ".shape" in line and " - (" in line:
            yield "a number in parentheses", line.strip()
    if re.search(r"^LANES = .*samples", source, re.MULTILINE) and "def samples" not in source:
        if "def values" not in source:
            yield "samples that are not there", "LANES"
    if re.search(r"\bscan\(|constant\.\d|carry\.\d", header):
        yield "leaves of a loop's body", header.partition("\n")[0][:100]
