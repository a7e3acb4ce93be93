"""The blackboard: rows with operands, slopes and terms; the chain rule in text, LaTeX, Markdown, JSON and HTML."""

import json

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile import compile_grad
from gradcompile.errors import ArgumentError

W, X, Y = sp.symbols("w x y")
BOARD = compile_grad((W * X - Y) ** 2, [W], inputs=[X, Y])
SAMPLES = compile_grad((W * X - Y) ** 2, [W], data=[X, Y])
DATA = [2.0, 4.0, -1.0], [0.0, 1.0, 0.0]


def network():
    x, y = gc.array("x", ("n", 3)), gc.array("y", ("n",))
    w, b, v = gc.array("W", (3, 4)), gc.array("b", (4,)), gc.array("v", (4,))
    return compile_grad(np.mean((gc.relu(x @ w + b) @ v - y) ** 2), [w, b, v], inputs=[x, y])


NETWORK = network()
DRAWN = np.random.default_rng(3)
THETA = [DRAWN.normal(size=s) for s in ((3, 4), (4,), (4,))]
BATCH = [DRAWN.normal(size=s) for s in ((6, 3), (6,))]


def test_rows_carry_operands_slopes_and_terms():
    e = BOARD.explain(2.0, 3.0, 10.0)
    assert [(r.name, r.value, r.adjoint) for r in e.rows if r.adjoint is not None] == [
        ("w", 2.0, -24.0), ("wx", 6.0, -8.0), ("diff", -4.0, -8.0), ("loss", 16.0, 1.0),
    ]  # fmt: skip
    assert [(o.name, o.slope, o.term) for o in e["diff"].args] == [("wx", 1.0, -8.0), ("y", -1.0, 8.0)]
    assert [(o.name, o.slope, o.term) for o in e["loss"].args] == [("diff", -8.0, -8.0)]
    with pytest.raises(ArgumentError, match="no row is called 'wy'"):
        e["wy"]


def test_the_chain_rule_is_written_out_in_every_form():
    e = BOARD.explain(2.0, 3.0, 10.0)
    assert str(e).splitlines()[-4:] == [
        "dL/dloss = 1",
        "dL/ddiff = dL/dloss * dloss/ddiff = 1 * -8 = -8",
        "dL/dwx = dL/ddiff * ddiff/dwx = -8 * 1 = -8",
        "dL/dw = dL/dwx * dwx/dw = -8 * 3 = -24",
    ]
    assert "4. `dL/dw = dL/dwx * dwx/dw = -8 * 3 = -24`" in e.to("markdown")
    assert r"\frac{\partial L}{\partial \mathit{wx}} \frac{\partial \mathit{wx}}{\partial w} = -24" in e.to("latex")
    assert "dL/dw = dL/dwx * dwx/dw = -8 * 3 = -24" in e._repr_html_()
    rows = {r["name"]: r for r in json.loads(e.to("json"))["rows"]}
    assert rows["wx"]["args"][0] == {"name": "w", "slope": 3.0, "term": -24.0, "rule": "dL/dwx * dwx/dw"}
    with pytest.raises(ArgumentError, match="to='pdf'"):
        e.to("pdf")


@pytest.mark.parametrize(("f", "args"), [(BOARD, (2.0, 3.0, 10.0)), (NETWORK, (*THETA, *BATCH))])
def test_what_is_sent_adds_up_to_each_adjoint(f, args):
    rows = f.explain(*args).rows
    for r in rows:
        terms = [o.term for s in rows for o in s.args if o.name == r.name and o.term is not None]
        if r.adjoint is not None and terms:
            np.testing.assert_allclose(sum(terms), r.adjoint, rtol=1e-13, atol=1e-15)


def test_arrays_are_told_by_shape_norm_range_and_zeros_and_products_by_their_rule():
    text = str(NETWORK.explain(*THETA, *BATCH))
    assert "relu(x @ W + b)" in text and "% zeros" in text
    assert "dL/dv = relu.T @ dL/d" in text


def test_one_sample_or_the_mean_of_all():
    whole, second = SAMPLES.explain(3.0, *DATA), SAMPLES.explain(3.0, *DATA, sample=1)
    assert second["loss"].value == 121.0 and second["w"].adjoint == 2 * 11 * 4
    mean = SAMPLES.explain(3.0, *DATA, sample="mean")
    assert mean["diff"].value == pytest.approx(np.mean(whole["diff"].value))
    assert mean["diff"].adjoint == pytest.approx(np.sum(whole["diff"].adjoint))
    with pytest.raises(ArgumentError, match="there are 3 samples"):
        SAMPLES.explain(3.0, *DATA, sample=3)
    with pytest.raises(ArgumentError, match="this loss has no samples"):
        BOARD.explain(2.0, 3.0, 10.0, sample=0)


def test_a_long_table_is_folded():
    terms = sp.symbols("u:200")
    u = terms[0]
    for v in terms[1:]:
        u = sp.sin(u) + v
    text = str(compile_grad(u, list(terms)).explain(*np.linspace(0, 1, 200)))
    assert "more rows; .rows has all" in text and len(text.splitlines()) < 300


def test_blame_has_terms_samples_and_parameters():
    penalty = compile_grad((W * X - Y) ** 2 + 1, [W], inputs=[X, Y]).blame(2.0, 3.0, 10.0)
    assert dict(penalty.terms) == {"1": 1.0, "(w*x - y)**2": 16.0} and penalty.samples == ()
    assert penalty.params == (("w", 24.0, pytest.approx(-0.48)),) and "(w*x - y)**2" in str(penalty)
    assert [k for k, _ in SAMPLES.blame(3.0, *DATA).samples] == [1, 0, 2]


@pytest.mark.parametrize("reverse", [False, True])
def test_the_steps_of_a_scan_lie_along_an_axis(reverse):
    x, a = gc.array("x", (4,)), gc.array("a", ())
    last, _ = gc.scan(lambda h, row: (a * np.tanh(h) + row, None), 0.5, x, reverse=reverse)
    f = compile_grad(last**2, [a, x])
    values = np.array([0.3, -0.2, 0.5, 0.1])
    e = f.explain(0.7, values)
    ((_, rows),) = e.steps.items()
    found = {r.name: r for r in rows}
    new = found["next_carry_0"]
    assert new.value.shape == (4,) and new.value[0 if reverse else 3] ** 2 == pytest.approx(e["loss"].value)
    np.testing.assert_allclose(new.adjoint, f(0.7, values)[1].x, rtol=1e-12)  # as x is added there
    assert "inside" in str(e)


def test_a_compiled_loss_shows_its_call_and_formula_in_a_notebook():
    f = compile_grad((W * X - Y) ** 2, [W], inputs=[X, Y])
    assert "<code>f(w, x, y)</code> = $" in f._repr_html_()
    v, named = gc.array("v_1", (3,)), sp.Symbol("w_1")
    g = compile_grad(np.sum(gc.sigmoid(v) ** 2), [v])
    assert g._repr_latex_() == r"$\operatorname{sum}\left(\operatorname{sigmoid}\left(v_{1}\right)^{2}\right)$"
    h = compile_grad(gc.softplus(named * X), [named], data=[X])
    assert h._repr_latex_() == r"$\operatorname{mean}\left(\operatorname{softplus}\left(w_{1} \, x\right)\right)$"
    cut = compile_grad(np.sum(v[1:] * v[:2]), [v])
    assert cut._repr_latex_().startswith(r"$\texttt{") and "<code>sum(v_1[1:]" in cut._repr_html_()
