"""An explanation as text, Markdown, JSON, LaTeX and HTML: what stands where is the same in all of them."""

import ast
import json
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from gradcompile.explain.rows import Operand, Row

MOST = 60  # rows at either end of a long table


def short(value: Any) -> str:
    """A value in a cell: a number, or the first entries of an array.

    >>> short(2.0), short([1.0, 2.0]), short(np.arange(5.0)), short(None)
    ('2', '[1, 2]', '[0, 1, 2, ...]', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, float):  # of which a long graph has a hundred thousand
        return f"{value:.6g}"
    flat = np.ravel(value)
    text = ", ".join(f"{float(v):.6g}" for v in flat[:3])
    return text if np.ndim(value) == 0 else f"[{text}{', ...' if flat.size > 3 else ''}]"


def summary(value: Any) -> dict[str, Any]:
    """What is said of an array: shape, norm, least and largest entry, share of zeros.

    >>> summary(np.array([3.0, 0.0, -4.0]))["norm"], summary(np.array([3.0, 0.0]))["zeros"]
    (5.0, 0.5)
    """
    x = np.asarray(value)
    if not x.size:
        return {"shape": list(x.shape)}
    flat = x.ravel().astype(float)
    with np.errstate(all="ignore"):
        top = np.max(np.abs(flat))
        norm = float(top * np.sqrt(np.sum((flat / top) ** 2))) if 0 < top < np.inf else float(top)
    return {"shape": list(x.shape), "norm": norm, "least": float(np.min(flat)), "largest": float(np.max(flat)),
            "zeros": float(np.mean(flat == 0))}  # fmt: skip


def told(value: Any) -> str:
    """A value in a sentence: a number, or an array's summary.

    >>> told(np.array([3.0, 0.0, -4.0]))
    '(3,) norm 5, -4 to 3, 33 % zeros'
    """
    if value is None or np.ndim(value) == 0:
        return short(value)
    s = summary(value)
    shape = f"({', '.join(map(str, s['shape']))}{',' * (len(s['shape']) == 1)})"
    if "norm" not in s:
        return f"{shape} empty"
    zeros = f", {100 * s['zeros']:.0f} % zeros" if s["zeros"] else ""
    return f"{shape} norm {s['norm']:.4g}, {s['least']:.4g} to {s['largest']:.4g}{zeros}"


# The chain rule, written out


def senders(rows: Sequence[Row]) -> dict[str, list[tuple[Row, Operand]]]:
    """By name, the rows that send a term to it."""
    found: dict[str, list[tuple[Row, Operand]]] = defaultdict(list)
    for r in reversed(rows):
        for o in r.args:
            if o.term is not None:
                found[o.name].append((r, o))
    return found


def chain_rule(row: Row, sent: Sequence[tuple[Row, Operand]]) -> str:
    """dL/d(row) from what is sent to it: as symbols, as numbers where they are numbers, and the result.

    >>> w = Row("w", "w", 2.0, -24.0, (), "parameter")
    >>> chain_rule(w, [(Row("wx", "w*x", 6.0, -8.0), Operand("w", 3.0, -24.0, "dL/dwx*x"))])
    'dL/dw = dL/dwx * dwx/dw = -8 * 3 = -24'
    """
    head = f"dL/d{row.name}"
    if not sent:
        return f"{head} = {told(row.adjoint)}"
    if any(o.slope is None or np.ndim(o.slope) or np.ndim(o.term) or np.ndim(r.adjoint) for r, o in sent):
        return f"{head} = {' + '.join(o.rule for _, o in sent)} = {told(row.adjoint)}"
    symbols = " + ".join(f"dL/d{r.name} * d{r.name}/d{o.name}" for r, o in sent)
    numbers = " + ".join(f"{short(r.adjoint)} * {short(o.slope)}" for r, o in sent)
    return f"{head} = {symbols} = {numbers} = {short(row.adjoint)}"


def backward(rows: Sequence[Row]) -> list[str]:
    """The chain rule of each row that has an adjoint, from the loss down."""
    sent = senders(rows)
    return [chain_rule(r, sent[r.name]) for r in reversed(rows) if r.adjoint is not None]


def folded(lines: Sequence[str], what: str) -> list[str]:
    """A long list without its middle."""
    if len(lines) <= 2 * MOST:
        return list(lines)
    return [*lines[:MOST], f"... {len(lines) - 2 * MOST} more {what}; .rows has all ...", *lines[-MOST:]]


# As text


def text(rows: Sequence[Row]) -> str:
    """A table of the rows, and below it the chain rule."""
    return "\n".join([table(rows), "", "backward", *folded(backward(rows), "steps")])


def table(rows: Sequence[Row]) -> str:
    """The rows with aligned columns."""
    cells = [("name", "formula", "value", "adjoint")]
    cells += [(r.name, r.formula, cell(r.value), cell(r.adjoint)) for r in rows]
    widths = [max(len(row[k]) for row in cells) for k in range(4)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *folded(lines[1:], "rows")])


def cell(value: Any) -> str:
    """A value in a table: the entries of a short array, else its summary."""
    is_short = value is None or isinstance(value, float) or np.size(value) <= 3
    return short(value) if is_short else told(value)


def markdown(rows: Sequence[Row]) -> str:
    """The same for a page of Markdown."""
    lines = ["| name | formula | value | adjoint |", "|---|---|---|---|"]
    lines += [f"| {r.name} | `{r.formula}` | {cell(r.value)} | {cell(r.adjoint)} |" for r in rows]
    steps = [f"{k}. `{line}`" for k, line in enumerate(backward(rows), 1)]
    return "\n".join([*lines, "", *steps])


def as_json(rows: Sequence[Row]) -> str:
    """The rows as an array of objects; an array is its summary with its entries where they are few."""
    found = [{"name": r.name, "formula": r.formula, "kind": r.kind, "value": plain(r.value),
              "adjoint": plain(r.adjoint), "args": [{"name": o.name, "slope": plain(o.slope), "term": plain(o.term),
                                                     "rule": o.rule} for o in r.args]} for r in rows]  # fmt: skip
    return json.dumps({"rows": found}, indent=1, allow_nan=False)


def plain(value: Any) -> Any:
    """A value of JSON; what is not finite is a word, as JSON has no numbers for it.

    >>> plain(2.0), plain(float("inf")), plain(None)
    (2.0, 'inf', None)
    """
    if value is None:
        return None
    if np.ndim(value):
        found = {k: v if k == "shape" else plain(v) for k, v in summary(value).items()}
        return found | ({"entries": [plain(v) for v in np.ravel(value)]} if np.size(value) <= 64 else {})
    x = value.item() if isinstance(value, np.generic) else value
    return x if not isinstance(x, float) or np.isfinite(x) else str(x)


# As LaTeX

GREEK = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi",
         "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega"}  # fmt: skip
NAMED = {"exp", "log", "sin", "cos", "tan", "tanh", "sinh", "cosh", "max", "min"}


def latex(rows: Sequence[Row]) -> str:
    """Equations, forward and then backward, aligned."""
    lines = [rf"{symbol(r.name)} &= {formula_latex(r)}" for r in rows]
    sent = senders(rows)
    lines += [rf"{partial('L', r.name)} &= {chain_latex(r, sent[r.name])}" for r in reversed(rows)
              if r.adjoint is not None]  # fmt: skip
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def formula_latex(r: Row) -> str:
    """The formula of a row and its value."""
    value = rf"\text{{{cell(r.value)}}}" if np.ndim(r.value) else number_latex(r.value)
    return value if r.formula == r.name else f"{mathematics(r.formula)} = {value}"


def chain_latex(r: Row, sent: Sequence[tuple[Row, Operand]]) -> str:
    """The chain rule of a row."""
    value = rf"\text{{{cell(r.adjoint)}}}" if np.ndim(r.adjoint) else number_latex(r.adjoint)
    if not sent:
        return value
    return " + ".join(rf"{partial('L', s.name)} {partial(s.name, o.name)}" for s, o in sent) + f" = {value}"


def partial(above: str, below: str) -> str:
    """A derivative as a fraction."""
    return rf"\frac{{\partial {symbol(above)}}}{{\partial {symbol(below)}}}"


def number_latex(value: Any) -> str:
    """A number, with a power of ten where it has an exponent."""
    mantissa, _, exponent = short(value).partition("e")
    words = {"inf": r"\infty", "-inf": r"-\infty", "nan": r"\mathrm{NaN}"}
    return words.get(mantissa, mantissa) + (rf" \cdot 10^{{{int(exponent)}}}" if exponent else "")


def symbol(name: str) -> str:
    r"""A name: letters of Greek as such, what follows an underscore or is a number below.

    >>> symbol("w_1"), symbol("alpha"), symbol("diff")
    ('w_{1}', '\\alpha', '\\mathit{diff}')
    """
    stem, _, rest = name.partition("_")
    known = "\\" + stem if stem in GREEK else stem if len(stem) == 1 else rf"\mathit{{{stem}}}"
    return known + (rf"_{{{rest.replace('_', ',')}}}" if rest else "")


def mathematics(formula: str) -> str:
    """A formula of Python as LaTeX; as it is, in typewriter, where it is no formula or too deep."""
    try:
        return math_of(ast.parse(formula, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return typewriter(formula)


def typewriter(text: str) -> str:
    r"""A text as LaTeX shows it letter by letter.

    >>> typewriter("w_1")
    '\\texttt{w\\_1}'
    """
    return r"\texttt{" + "".join("\\" + c if c in "_#$%&{}" else c for c in text) + "}"


def math_of(e: ast.expr) -> str:
    """An expression, of a text that is bounded, so this may recurse."""
    match e:
        case ast.Name(id=name):
            return symbol(name)
        case ast.Constant(value=int() | float() as value):
            return number_latex(value)
        case ast.UnaryOp(op=ast.USub(), operand=x):
            return "-" + grouped(x, (ast.Add, ast.Sub))
        case ast.BinOp(left=a, op=ast.Div(), right=b):
            return rf"\frac{{{math_of(a)}}}{{{math_of(b)}}}"
        case ast.BinOp(left=a, op=ast.Pow(), right=b):
            return f"{grouped(a, (ast.operator,), power=True)}^{{{math_of(b)}}}"
        case ast.BinOp(left=a, op=ast.Mult() | ast.MatMult(), right=b):
            return rf"{grouped(a, (ast.Add, ast.Sub))} \, {grouped(b, (ast.Add, ast.Sub))}"
        case ast.BinOp(left=a, op=ast.Add() | ast.Sub() as op, right=b):
            sign = "+" if isinstance(op, ast.Add) else "-"
            return f"{math_of(a)} {sign} {grouped(b, (ast.Add, ast.Sub) if sign == '-' else ())}"
        case ast.Attribute(value=x, attr="T"):
            return rf"{grouped(x, (ast.operator,))}^{{\top}}"
        case ast.Call(func=ast.Name(id="sqrt"), args=[x]):
            return rf"\sqrt{{{math_of(x)}}}"
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            called = "\\" + name if name in NAMED else rf"\operatorname{{{name.replace('_', ' ')}}}"
            return rf"{called}\left({', '.join(map(math_of, args))}\right)"
    raise ValueError(ast.dump(e))


def grouped(e: ast.expr, weak: tuple[type, ...], power: bool = False) -> str:
    """An expression, in parentheses where it binds less than what stands around it."""
    signed = isinstance(e, ast.UnaryOp) and (power or weak)
    text = math_of(e)
    return rf"\left({text}\right)" if signed or (isinstance(e, ast.BinOp) and isinstance(e.op, weak)) else text


# As HTML

STYLE = """<style>.gradcompile{font:14px/1.5 system-ui,sans-serif}.gradcompile table{border-collapse:collapse}
.gradcompile td,.gradcompile th{padding:2px 12px 2px 0;text-align:left;border-bottom:1px solid #8884}
.gradcompile code{font-size:13px}</style>"""


def html(rows: Sequence[Row]) -> str:
    """A table, and the chain rule as a list, for a notebook."""
    cells = [[f"<code>{escape(r.name)}</code>", f"<code>{escape(r.formula)}</code>", escape(cell(r.value)),
              escape(cell(r.adjoint))] for r in rows]  # fmt: skip
    lines = ["<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in cells]
    head = f"<table><thead><tr>{''.join(f'<th scope=col>{c}</th>' for c in ('name', 'formula', 'value', 'adjoint'))}"
    steps = "".join(f"<li><code>{escape(line)}</code></li>" for line in folded(backward(rows), "steps"))
    body = "\n".join(folded(lines, "rows"))
    return (f'{STYLE}<div class="gradcompile">{head}</tr></thead><tbody>\n{body}\n</tbody></table>'
            f"<p>backward</p><ol>{steps}</ol></div>")  # fmt: skip
