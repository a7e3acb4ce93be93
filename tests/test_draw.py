"""The graph as SVG, as a page and as DOT; the page in a real browser; the commands that explain and draw."""

import json
import re
import zlib
from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile import compile_grad
from gradcompile.cli import main
from gradcompile.errors import ArgumentError
from gradcompile.explain import Drawing, Row
from gradcompile.explain.layout import laid_out
from gradcompile.explain.rows import Operand
from tests.pages import opened, violations

pytest.importorskip("fast_sugiyama")
W, X, Y = sp.symbols("w x y")
BOARD = compile_grad((W * X - Y) ** 2, [W], inputs=[X, Y]).draw(2.0, 3.0, 10.0)
SVG = "{http://www.w3.org/2000/svg}"


def network():
    x, y = gc.array("x", ("n", 3)), gc.array("y", ("n",))
    w, b, v = gc.array("W", (3, 4)), gc.array("b", (4,)), gc.array("v", (4,))
    f = compile_grad(np.mean((gc.relu(x @ w + b) @ v - y) ** 2), [w, b, v], inputs=[x, y])
    drawn = np.random.default_rng(3)
    return f.draw(*(drawn.normal(size=s) for s in ((3, 4), (4,), (4,), (6, 3), (6,))))


def lstm():
    x, w, v = gc.array("x", (6, "n", 3)), gc.array("W", (3, 4)), gc.array("v", (4,))
    last, _ = gc.scan(lambda h, row: (np.tanh(row @ w + h), None), np.zeros((1, 4)) * x[0, :, :1], x)
    drawn = np.random.default_rng(3)
    return compile_grad(np.mean((last @ v) ** 2), [w, v], inputs=[x]).draw(
        *(drawn.normal(size=s) for s in ((3, 4), (4,), (6, 5, 3)))
    )


def chain(count):
    """Rows as those of a long chain, without its graph."""
    rows = [Row("v0", "v0", 1.0, 1.0, (), "parameter")]
    rows += [Row(f"v{k}", f"sin(v{k - 1})", 0.5, 1.0, (Operand(f"v{k - 1}", 0.5, 0.5, ""),)) for k in range(1, count)]
    return Drawing(rows, "a chain")


def data_of(html):
    packed = re.search(r'type="text/plain">([^<]*)<', html).group(1)
    return json.loads(zlib.decompress(b64decode(packed)))


def test_the_blackboard_is_drawn_with_the_terms_of_the_chain_rule():
    texts = {t.text for t in ElementTree.fromstring(BOARD.svg).iter(f"{SVG}text")}
    assert {"wx = w*x", "6", "dL: -8", "-4", "16", "dL: -24", "-8 · 3 = -24", "1 · -8 = -8"} <= texts
    hover = [t.text for t in ElementTree.fromstring(BOARD.svg).iter(f"{SVG}title")]
    assert "wx = w*x\nvalue 6\nadjoint -8\ndwx/dw = 3\ndwx/dx = 2" in hover
    assert 'n0 -> n2 [label="3"];' in BOARD.dot and "dL/dw = -24" in BOARD.dot
    assert BOARD._repr_html_().startswith("<iframe") and repr(BOARD) == "<drawing of (w*x - y)**2: 6 nodes>"


@pytest.mark.parametrize("make", [network, lstm])
def test_networks_are_drawn(make):
    drawing = make()
    boxes = [g for g in ElementTree.fromstring(drawing.svg).iter(f"{SVG}g") if g.get("role") == "button"]
    assert len(boxes) == len(drawing.rows) == len(data_of(drawing.html)["rows"])
    places = drawing.layout.places
    assert len(set(places)) == len(places)
    assert all(places[a].layer < places[b].layer for a, b, _ in drawing.layout.lines)


def test_terms_stand_beside_boxes_and_each_other_however_long():
    """Numbers of four digits with signs, several lines to and from one node, straight and bent ones to one end."""
    a, b, c = sp.symbols("a b c")
    formula = (a * sp.exp(b * c) + b**3 - sp.tanh(a + b)) ** 2 / (1 + sp.exp(-a * c)) + sp.Max(0, a - b * c)
    rows = ElementTree.fromstring(gc.compile_grad(formula, [a, b, c]).draw(-0.31234, 1.21e-5, -2345.6).svg)
    boxes = [tuple(float(r.get(k)) for k in ("x", "y", "width", "height")) for r in rows.iter(f"{SVG}rect")]
    terms = []
    for t in rows.iter(f"{SVG}text"):
        if "term" in t.get("class", "").split():
            width = 6.62 * len(t.text)  # of eleven pixels' DejaVu Sans Mono
            left = float(t.get("x")) - {"start": 0, "middle": width / 2, "end": width}[t.get("class").split()[1]]
            terms.append((left, float(t.get("y")) - 8, width, 9))
    assert len(terms) > 15 and max(t[2] for t in terms) > 170
    apart = [p[0] + p[2] < q[0] or q[0] + q[2] < p[0] or p[1] + p[3] < q[1] or q[1] + q[3] < p[1]
             for k, p in enumerate(terms) for q in boxes + terms[:k]]  # fmt: skip
    assert all(apart)


def test_what_is_inside_a_scan_is_framed_apart():
    drawing = lstm()
    (frame,) = drawing.layout.frames
    inside = [r for r in drawing.rows if r.name.startswith("scan.")]
    assert frame.title == "inside scan, step by step" and len(inside) >= 4
    new = next(r for r in inside if r.name == "scan.next_carry_0")
    assert new.value.shape[0] == 6 and [o.name for o in new.args] == ["scan.terms"]
    assert next(r for r in inside if r.name == "scan.slice_0").args[0].name == "x_W"
    assert drawing.rows.index(new) < [r.name for r in drawing.rows].index("scan")
    apart = {b for b, members in enumerate(drawing.layout.boxes) if drawing.rows[members[0]] in inside}
    assert all((a in apart) == (b in apart) for a, b, _ in drawing.layout.lines) and frame.title in drawing.svg


def test_a_long_chain_is_folded_and_the_page_has_all_of_it():
    drawing = chain(10_000)
    assert len(drawing.layout.boxes) == 400 and len(drawing.html) < 1e6
    assert len(data_of(drawing.html)["rows"]) == 10_000 and "9960" not in drawing.svg[:200]


def test_what_stands_alone_has_a_place_too():
    assert len(set(laid_out([Row("a", "a", 1.0, 1.0), Row("b", "b", 1.0, 1.0)]).places)) == 2


def test_files_are_written_by_what_their_name_ends_in(tmp_path):
    for kind, start in ((".svg", "<svg"), (".html", "<!doctype html>"), (".dot", "digraph")):
        BOARD.save(tmp_path / f"graph{kind}")
        assert (tmp_path / f"graph{kind}").read_text("utf-8").startswith(start)
    with pytest.raises(ArgumentError, match="a drawing is written as"):
        BOARD.save(tmp_path / "graph.png")


def test_without_the_layout_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fast_sugiyama", None)
    drawing = chain(3)
    with pytest.raises(ArgumentError, match=r"pip install 'gradcompile\[pictures\]', or write a .dot file"):
        drawing.svg  # noqa: B018
    assert drawing.dot.startswith("digraph")


def test_the_commands(tmp_path, capsys):
    formula, at = "(w*x - y)**2", "w=2,x=3,y=10"
    assert main(["explain", formula, "--at", at, "--params", "w"]) == 0
    assert "dL/dw = dL/dwx * dwx/dw = -8 * 3 = -24" in capsys.readouterr().out
    assert main(["explain", "Max(w*x, 0) + b", "--at", "w=-1,x=2,b=0", "--why", "w"]) == 0
    assert "dead relu" in capsys.readouterr().out
    assert main(["draw", formula, "--at", at, "--to", str(tmp_path / "graph.html")]) == 0
    assert "6 nodes> written to" in capsys.readouterr().out and (tmp_path / "graph.html").exists()
    assert main(["explain", formula, "--at", "w=2"]) == 2
    assert "--at: the formula has w, x, y, no value for x, y" in capsys.readouterr().err
    assert main(["explain", formula, "--at", "w=two"]) == 2
    assert main(["draw", formula, "--at", at, "--params", "q", "--to", "graph.svg"]) == 2


# The page in a browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_goes_through_the_backward_pass_and_shows_paths(browser, tmp_path, scheme):
    BOARD.save(tmp_path / "graph.html")
    page, complaints = opened(browser, tmp_path / "graph.html", scheme)
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert "dL/dw = dL/dwx * dwx/dw = -8 * 3 = -24" in page.inner_text("#told")
    width = page.evaluate("document.querySelector('.graph').getBoundingClientRect().width")
    assert width <= page.evaluate("document.getElementById('view').clientWidth")
    page.keyboard.press("Home")
    assert "dL/dloss = 1" in page.inner_text("#told")
    page.click(".node.parameter")
    assert page.locator(".edge.path").count() == 3 and page.locator(".node.path").count() == 4
    page.keyboard.press("Escape")
    assert page.locator(".path").count() == 0
    page.keyboard.press("Enter")
    assert page.locator(".node.path").count() == 4
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (scheme == "light")
    assert not complaints and not violations(page)
