"""Names of the user's, whatever is in them: they become neither code nor what steers a terminal."""

import ast
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import gradcompile as gc
from gradcompile import compile_grad
from gradcompile.cli import main
from gradcompile.codegen import lines_of
from gradcompile.errors import ArgumentError, GradcompileError, printable
from gradcompile.export.python import Text

CODE = "open('pwned','w')"
ENDS = ["\x0b", "\u2028", "\r", "\0", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2029", "\n", "\r\n", "\ud800",
        "\x1b[31m", "\u202e", '"""', "'''", "\\", "#", "{}", "%s", "\\N{DASH}", "\\u12", "\ufeff"]  # fmt: skip
NAMES = [name for end in ENDS for name in (f"q{end * 8}{CODE}{end * 12}", f"x{end}")] + ["\0", "\ud800", "\x1b", ""]
w, x = sp.symbols("w x")


def named(name: str) -> list[gc.CompiledGrad]:
    """Losses in which the name has each role."""
    q, array, base = sp.Symbol(name), gc.array(name or "a", 3), sp.IndexedBase(name)
    matrix = sp.MatrixSymbol(name, 2, 2)
    return [
        compile_grad((q * w - 3) ** 2, {name: q}, inputs=[w]),
        compile_grad((q * w - 3) ** 2, [w], data=[q], name=name),
        compile_grad((array**2).sum(), array),
        compile_grad((base[0] * w - 3) ** 2 + base[1], [base[0], base[1]], inputs=[w]),
        compile_grad(sp.Trace(matrix * matrix.T), [matrix]),
    ]


def called(text: str) -> set[str]:
    """What a module looks up by name."""
    return {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)}


def is_text(f: gc.CompiledGrad, path: Path) -> None:
    """What is said of a function can be shown, and its file defines what it has to, and calls nothing else."""
    f.save(path)
    with open(path, encoding="utf-8", newline="") as file:
        saved = file.read()
    for text in (f.source, saved):
        assert all(c.isprintable() or c == "\n" for c in text)
    assert repr(f).isprintable()
    assert "open" not in called(saved)
    ours = {s.name for s in ast.parse(f.source).body if isinstance(s, ast.FunctionDef)}
    assert ours <= {s.name for s in ast.parse(saved).body if isinstance(s, ast.FunctionDef)}


@pytest.mark.parametrize("name", [NAMES[0], NAMES[2], NAMES[-3]], ids=ascii)
def test_a_name_is_text_and_nothing_else(name, tmp_path):
    for f in named(name):
        is_text(f, tmp_path / "saved.py")


def test_nor_is_any_other_of_these():
    for name in NAMES:
        f = compile_grad(sp.Symbol(name) ** 2, [sp.Symbol(name)])
        assert all(c.isprintable() or c == "\n" for c in f.source)
        for s in Text("", f.source).statements:
            assert ast.dump(s.tree) == ast.dump(ast.parse(s.text).body[0])


def test_files_of_odd_names_compute_what_the_functions_compute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in NAMES[:3:2]:
        q = sp.Symbol(name)
        f = compile_grad((q * w - 3) ** 2, [q], inputs=[w])
        f.save("saved.py")
        space: dict[str, object] = {"__name__": "saved"}
        monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
        exec(compile((tmp_path / "saved.py").read_bytes(), "saved.py", "exec"), space)
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        grad = np.zeros(1)
        assert (space["kernel"](np.array([2.0]), grad, 5.0), grad[0]) == (49.0, 70.0)
    assert not (tmp_path / "pwned").exists()


BAD = "a\x1b[31m\u2028\x00\ud800"
q = sp.Symbol(BAD)
REFUSED = {
    "a parameter that is not there": lambda: compile_grad(w**2, [q]),
    "twice": lambda: compile_grad(w * q, [w, q, q]),
    "a dimension": lambda: gc.array("x", BAD),
    "shapes": lambda: gc.array(BAD, 3) + gc.array("b", 4),
    "a matrix's dimension": lambda: compile_grad(sp.Trace(sp.MatrixSymbol("A", q, q)), [sp.MatrixSymbol("A", q, q)]),
    "an option": lambda: compile_grad(w**2, [w], reduce=BAD),
    "an argument": lambda: compile_grad(w * x, [w], inputs=[x])(1.0, **{BAD: 2.0}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_messages_quote_what_can_be_shown(what):
    with pytest.raises(GradcompileError) as error:
        REFUSED[what]()
    assert all(c.isprintable() or c == "\n" for c in str(error.value))


def test_other_texts():
    f = compile_grad((q * w) ** 2, [w], inputs=[q])
    assert "a\\x1b[31m\\u2028\\x00\\ud800" in repr(f)
    assert repr(gc.array(BAD, 3)) == "<Array a\\x1b[31m\\u2028\\x00\\ud800: float64[3]>"
    assert all(c.isprintable() or c == "\n" for c in str(f.explain(1.0, 2.0)))
    cube = gc.custom(BAD, lambda x: x * x * x, [lambda x: 3 * x**2])
    assert compile_grad(cube(w), [w])(2.0)[0] == 8.0


@pytest.mark.parametrize("end", ["\x1b[31m", "\x85", "\u2028"])
def test_the_commands_print_nothing_that_steers(end, tmp_path, capsys):
    table = tmp_path / f"data{end}.csv"
    table.write_text(f"x,y{end}\n1,2\n2,{end}\n", encoding="utf-8")
    main(["fit", str(table), "--model", "a*x", "--target", "y", "--start", "a=1"])
    main(["fit", f"no{end}.csv", "--model", "a*x", "--target", "y", "--start", "a=1"])
    main(["fit", str(table), "--model", f"a{end}*x", "--target", f"y{end}", "--start", f"a{end}=1"])
    main(["show", f"w*{end}x", "--params", "w"])
    main(["show", "w*x", "--params", f"w{end}"])
    main(["ops", end])
    main(["fit", f"--x{end}"])
    main([f"sh{end}ow"])
    said = capsys.readouterr()
    assert all(c.isprintable() or c == "\n" for c in said.out + said.err)


def test_lines_are_those_of_python():
    text = "a = 1\r\nb = '\x0b\x0c\x1c\x85\u2028'\rc = 3\n\x0cd = 4"
    assert len(lines_of(text)) == ast.parse(text).body[-1].lineno == 4
    assert [s.lineno for s in ast.parse(text).body] == [1, 2, 3, 4]


def test_only_what_is_not_printable_is_escaped():
    assert printable("Größe x² ‖x‖ 変数") == "Größe x² ‖x‖ 変数"
    with pytest.raises(ArgumentError, match="é"):
        compile_grad(w**2, [sp.Symbol("é")])
