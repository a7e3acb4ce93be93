"""The report: one page in which formula, gradient, graph and source show the same row; the command that writes it."""

import re
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile.cli import main
from gradcompile.coloured import Source, coloured
from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.explain import Row
from gradcompile.explain.source import linked_formula
from tests.pages import opened, violations

pytest.importorskip("fast_sugiyama")
X, Y = gc.array("x", ("n", 3)), gc.array("y", ("n",))
WS, V = [gc.array(f"W{k}", (3, 3)) for k in range(2)], gc.array("v", (3,))
NET = gc.compile_grad(np.mean((np.tanh(np.tanh(X @ WS[0]) @ WS[1]) @ V - Y) ** 2), [*WS, V], inputs=[X, Y])
DRAWN = np.random.default_rng(3)
VALUES = [DRAWN.normal(size=s) for s in ((3, 3), (3, 3), (3,), (6, 3), (6,))]
DATA = {"x": np.arange(9.0), "y": 2.0 * np.exp(-0.3 * np.arange(9.0)) + 0.01 * DRAWN.normal(size=9)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report with all its parts."""
    path = tmp_path_factory.mktemp("report") / "loss.html"
    training = gc.sgd(NET, VALUES[:3], VALUES[3:], learning_rate=0.1, epochs=5, progress=False)
    fit = gc.fit("a*exp(-b*x)", DATA, "y", start={"a": 1, "b": 1})
    assert NET.report(*VALUES, to=path, fit={"decay": fit}, training=training) == path.read_text("utf-8")
    return path


def test_the_report_has_all_parts_and_needs_no_network(written):
    text = written.read_text("utf-8")
    for part in ("Formula", "Gradient", "Graph", "Flow", "Fit", "Training", "Source"):
        assert f"<h2>{part}</h2>" in text, part
    assert "<h3>decay</h3>" in text and "standard error" in text and "residual" in text and "grad norm" in text
    assert not re.search(r"""(?:src|href)=["']?http""", text)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_formula_graph_and_source_point_at_each_other(browser, written, scheme):
    page, complaints = opened(browser, written, scheme)
    row = [r.formula for r in NET.explain(*VALUES).rows].index("x @ W0")
    page.click(f'.formula [data-row="{row}"]', position={"x": 25, "y": 8})
    assert page.inner_text(".formula .marked") == "x @ W0"
    marked = page.locator(f'.source a.marked[data-row="{row}"]')
    assert marked.count() >= 2 and marked.first.inner_text() in ("# x @ W0", "# dL/d(x @ W0)")
    assert "x @ W0" in page.text_content(".node.on") and "computed in the source at line" in page.inner_text("#told")
    page.click(".source a:has-text('dL/dv')")
    assert page.inner_text("#told code").startswith("v") and page.inner_text(".formula .marked") == "v"
    page.click(".node.loss")
    assert page.inner_text(".formula > code > .marked") == page.inner_text(".formula")
    page.focus("#view")
    page.keyboard.press("ArrowRight")
    assert "dL/d" in page.inner_text("#told")
    page.click("summary")
    assert not complaints and not violations(page)
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('.source')).maxHeight") == "none"
    page.context.close()


def test_what_the_report_can_not_show_is_refused(tmp_path):
    w, x = sp.symbols("w x")
    f = gc.compile_grad((w - x) ** 2, [w], inputs=[x])
    with pytest.raises(ArgumentTypeError, match="fit=3: give the result of fit, or several by name"):
        f.report(1.0, 2.0, fit=3)
    page = f.report(1.0, 2.0)
    assert "<h2>Flow</h2>" not in page and repr(page).startswith("<page of") and "<iframe" in page._repr_html_()
    with pytest.raises(ArgumentError, match="a report is written as"):
        f.report(1.0, 2.0, to=tmp_path / "loss.pdf")


def test_marks_nest_and_letters_of_all_kinds_stay():
    rows = [Row(n, t, 0.0, 0.0) for n, t in (("å", "å"), ("a", "å*x"), ("b", "å*x - 'é'"))]
    assert linked_formula("å*x - 'é'", rows) == (
        '<span data-row="2"><span data-row="1"><span data-row="0">å</span>*x</span> - &#x27;é&#x27;</span>'
    )
    assert linked_formula("a <", rows) == "a &lt;"


def test_source_is_text_that_a_notebook_shows_in_colours():
    assert isinstance(NET.source, Source) and NET.source == str(NET.source)
    assert '<span class="k">def</span> kernel' in NET.source._repr_html_()
    assert coloured("x = 1e-5 < 2  # a < b") == (
        'x = <span class="n">1e-5</span> &lt; <span class="n">2</span>  <span class="c"># a &lt; b</span>'
    )


def test_the_command(tmp_path, capsys):
    table, page = tmp_path / "d.csv", tmp_path / "out.html"
    rows = [f"{x},{y},{g}" for x, y, g in zip(DATA["x"], DATA["y"], "aaaaabbbb", strict=True)]
    table.write_text("\n".join(["x,y,g", *rows]))
    asked = ["report", str(table), "--model", "a*exp(-b*x)", "--target", "y", "--to", str(page)]
    assert main(asked) == 0 and "report written to" in capsys.readouterr().out
    assert "<h2>Fit</h2>" in page.read_text("utf-8")
    assert main([*asked, "--by", "g"]) == 0 and "<h3>b</h3>" in page.read_text("utf-8")
    assert main([*asked[:-1], str(Path("no") / "out.html")]) == 2 and "there is no folder" in capsys.readouterr().err
    assert main([*asked, "--sigma-x", "x=0.1"]) == 2 and "--sigma-x" in capsys.readouterr().err
