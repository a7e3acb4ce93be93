"""Notebooks: the lesson runs from its first cell to its last, as it stands there, and has its pictures with it."""

import re
from pathlib import Path

import pytest

nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
pytest.importorskip("fast_sugiyama")
LESSON = Path(__file__).resolve().parent.parent / "examples" / "lesson.ipynb"
SAID = ["(16.0, -24.0)", "g = 24.7041   dg/da = 138.8338   dg/db = 645.5773", "dead relu", "vanishing - the adjoint",
        "exploding: the adjoint", "overflow at scan", "sigmoid      vanishing", "relu         healthy",
        "residual     healthy", "batch norm   healthy"]  # fmt: skip


def executed(cells, where):
    """A notebook of these cells, run by a kernel of its own."""
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(where)}})
    return client.execute()


def outputs(notebook, kind):
    """What the cells gave, of one kind; `text/plain` has what they printed too."""
    found = [o for c in notebook.cells for o in c.get("outputs", ())]
    return [o["data"][kind] if "data" in o else o["text"] for o in found
            if kind in o.get("data", {}) or (kind == "text/plain" and o.output_type == "stream")]  # fmt: skip


def test_the_lesson_runs_and_says_what_it_says_in_the_file(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(LESSON.parent.parent))
    kept = nbformat.read(LESSON, as_version=4)
    fresh = executed([c.copy() for c in kept.cells], LESSON.parent)
    for notebook in (kept, fresh):
        told = "\n".join(outputs(notebook, "text/plain"))
        assert not [text for text in SAID if text not in told]
        assert [c.execution_count for c in notebook.cells if c.cell_type == "code"] == list(range(1, 19))
        pictures = outputs(notebook, "image/svg+xml")
        assert len(pictures) == 7 and "-8 · 3 = -24" in pictures[0]
        verdicts = "sigmoid: vanishing; relu: healthy; residual: healthy; batch norm: healthy"
        assert verdicts in pictures[-1] and "<table>" in outputs(notebook, "text/html")[0]
    text = LESSON.read_text("utf-8")
    assert len(text) < 300_000 and not re.search(r"/(?:home|root|tmp)/", text)


CELLS = [
    "import numpy as np, gradcompile as gc",
    "x, w_1 = gc.array('x', ('n', 3)), gc.array('w_1', (3,))",
    "f = gc.compile_grad(np.mean(gc.softplus(x @ w_1)), [w_1], inputs=[x]); f",
    "f.explain(np.ones(3), np.ones((4, 3)))",
    "f.flow(np.ones(3), np.ones((4, 3)))",
    "f.draw(np.ones(3), np.ones((4, 3)))",
    "f.source",
    "gc.fit('a*x', {'x': [1.0, 2.0, 3.0], 'y': [1.0, 2.0, 3.5]}, 'y')",
    "gc.train(f, [np.ones(3)], [np.ones((4, 3))], optimizer=gc.optim.sgd(0.1), epochs=3)",
]
SHOWN = [
    r"$\operatorname{mean}\left(\operatorname{softplus}\left(x \, w_{1}\right)\right)$", "dL/dw_1", "healthy",
    "<iframe", 'class="source"', "standard error", "TrainingResult(3 epochs",
]  # fmt: skip


def test_results_show_themselves_and_an_error_ends_at_its_cell(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(LESSON.parent.parent))
    monkeypatch.delenv("GRADCOMPILE_TRACEBACK")
    wrong = nbformat.v4.new_code_cell("f(np.ones(3), np.ones((4, 2)))", metadata={"tags": ["raises-exception"]})
    done = executed([*map(nbformat.v4.new_code_cell, CELLS), wrong], tmp_path)
    pages = outputs(done, "text/html")
    assert len(pages) == len(SHOWN) and not [s for s, page in zip(SHOWN, pages, strict=True) if s not in page]
    (error,) = (o for o in done.cells[-1].outputs if o.output_type == "error")
    told = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    assert error.ename == "ArgumentError" and "x has shape (4, 2)" in error.evalue
    assert told.count("Cell In") == 1 and "gradcompile/" not in told
