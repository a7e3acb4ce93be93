"""A report: one page without network in which formula, gradient, graph and source of a loss point at each other."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from gradcompile.errors import ArgumentTypeError
from gradcompile.explain.blackboard import Explanation
from gradcompile.explain.drawing import Drawing, asset, page
from gradcompile.explain.flow import Flow
from gradcompile.explain.source import linked_formula, linked_source
from gradcompile.explain.writing import backward, cell, folded


class Subject(NamedTuple):
    """What a report is about: a loss at some arguments.

    gradients: the formula of each parameter's derivative, by its name.  cost: a sentence.
    """

    call: str
    formula: str
    explanation: Explanation
    gradients: Mapping[str, str]
    source: str
    cost: str
    flow: Flow


def report(subject: Subject, fit: Any = None, training: Any = None) -> str:
    """The page; fit and training: what shows itself in a notebook, or several of it, by name or in a row."""
    drawing = Drawing(subject.explanation.rows, subject.formula, subject.explanation.steps)
    rows = drawing.rows
    boxes = {k: b for b, members in enumerate(drawing.layout.boxes) for k in members}
    parts = {
        "CALL": escape(subject.call), "COST": escape(subject.cost),
        "FORMULA": f"<code>{linked_formula(subject.formula, rows)}</code>",
        "GRADIENT": gradient_table(subject, rows, boxes), "CHAIN": chain(subject.explanation.rows),
        "SOURCE": linked_source(subject.source, rows, lambda k: f"b{boxes[k]}"),
        "FLOW": section("Flow", subject.flow._repr_html_()) if subject.flow.is_deep else "",
        "FIT": section("Fit", shown("fit", fit)), "TRAINING": section("Training", shown("training", training)),
        "MORE": asset("report.css"), "LINKS": asset("report.js"),
    }  # fmt: skip
    return page(rows, drawing.layout, subject.formula, drawing.svg, "report.html", parts)


def section(title: str, body: str) -> str:
    """A part of the page, if there is something in it."""
    return f"<section><h2>{title}</h2>{body}</section>" if body else ""


def shown(word: str, given: Any) -> str:
    """What shows itself, or several of it."""
    if given is None:
        return ""
    if isinstance(given, Mapping):
        return "".join(f"<h3>{escape(str(name))}</h3>{shown(word, one)}" for name, one in given.items())
    if isinstance(given, list | tuple):
        return "".join(shown(word, one) for one in given)
    if not hasattr(given, "_repr_html_"):
        raise ArgumentTypeError(f"{word}={given!r}: give the result of {word}, or several by name")
    return str(given._repr_html_())


def gradient_table(subject: Subject, rows: Sequence[Any], boxes: Mapping[int, int]) -> str:
    """A line a parameter: its value, its gradient, the formula of that."""
    head = "".join(f"<th scope=col>{t}</th>" for t in ("parameter", "value", "gradient", "formula of the gradient"))
    found = {r.name: (k, r) for k, r in enumerate(rows)}
    lines = []
    for name, formula in subject.gradients.items():
        k, r = found.get(name, (None, None))
        link = escape(name) if k is None else f'<a href="#b{boxes[k]}" data-row="{k}">{escape(name)}</a>'
        value, adjoint = ("-", "0") if r is None else (cell(r.value), cell(r.adjoint))
        cells = (link, escape(value), escape(adjoint), f"<code>{escape(formula)}</code>")
        lines.append("<tr>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def chain(rows: Sequence[Any]) -> str:
    """The chain rule, from the loss down."""
    steps = "".join(f"<li><code>{escape(line)}</code></li>" for line in folded(backward(rows), "steps"))
    return f"<details><summary>The chain rule, step by step</summary><ol>{steps}</ol></details>"
