"""The pages with code: their snippets run and print what they say, and tables hold all that takes symbolic arrays.

`--update-golden` rewrites outputs and tables.
"""

import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import gradcompile
from gradcompile.frontend import functions, nn
from gradcompile.frontend.arrays import core, ufuncs
from tests.snippets import disagreements

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "arrays.md"
TABLE = re.compile(r"(?P<marker><!-- table: (?P<name>\w+) -->\n)\n(?P<body>(?:\|.*\n)*)(?:\n)?", re.MULTILINE)
THEMES = {
    "ufuncs": "entry by entry",
    "reductions": "over axes",
    "shapes": "arranging",
    "arranging": "putting together",
    "indexing": "picking, sorting",
    "folds": "running",
    "statistics": "statistics",
    "calculus": "samples of functions",
    "polynomials": "polynomials",
    "products": "products",
    "linalg": "linear algebra",
    "decompositions": "norms and factors",
    "special": "Bessel functions",
    "fourier": "transforms",
    "composed": "of these",
    "making": "with `like=`",
}


def first_line(x: object) -> str:
    """The first paragraph of a docstring, as one line that fits into a table."""
    return " ".join((inspect.getdoc(x) or "").partition("\n\n")[0].split()).replace("|", "\\|").replace("*", "\\*")


def spelled(function: Callable[..., object]) -> str:
    """How a user writes a NumPy function."""
    return f"{function.__module__.removeprefix('numpy').removeprefix('.')}.{function.__name__}".removeprefix(".")


def numpy_table() -> Iterable[str]:
    """NumPy's functions by theme, ufuncs first, and the methods."""
    found: dict[str, set[str]] = {theme: set() for theme in THEMES}
    core.found(core.FUNCTIONS, None)  # loads all of them
    found["ufuncs"] |= {name for name in core.UFUNCS if name[0] != "_"} - {"matmul"}
    found["products"].add("matmul")
    for function, implementation in core.FUNCTIONS.items():
        if function is not core.Array.__getitem__:
            found[implementation.__module__.rpartition(".")[2]].add(spelled(function))
    yield "| | |"
    yield "|---|---|"
    for theme, title in THEMES.items():
        yield f"| {title} | {', '.join(f'`{name}`' for name in sorted(found[theme]))} |"
    yield f"| methods | {', '.join(f'`{name}`' for name in sorted(m for m in core.METHODS if '.' not in m))} |"


def network_table() -> Iterable[str]:
    """The package's own functions of arrays, with what their docstrings say first."""
    yield "| | |"
    yield "|---|---|"
    for name in gradcompile.__all__:
        function = getattr(gradcompile, name)
        if getattr(function, "__module__", "") in (nn.__name__, functions.__name__) and name not in ("custom", "total"):
            yield f"| `{name}` | {first_line(function)} |"


def with_tables(text: str) -> str:
    """The page with its tables made anew."""
    tables = {"numpy": numpy_table, "networks": network_table}
    return TABLE.sub(lambda m: f"{m['marker']}\n{chr(10).join(tables[m['name']]())}\n\n", text)


@pytest.mark.parametrize("name", ["arrays", "c", "derivatives", "fit", "interop", "minimize", "train"])
def test_tables_and_snippets(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update_golden: bool) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / f"{name}.md"
    text = page.read_text("utf-8")
    made = with_tables(text)
    found = disagreements(made)
    if update_golden:
        for block, _, actual in reversed(found):
            made = made[: block.start("body")] + actual + made[block.end("body") :]
        page.write_text(made, "utf-8")
    else:
        assert made == text
        assert not found, "\n".join(f"the page says:\n{said}\nit prints:\n{actual}" for _, said, actual in found)


@pytest.mark.peers
def test_the_page_of_all_functions_is_made_of_the_tables(jax: object) -> None:
    from tools import functions

    made = functions.page()
    assert "`fft.rfft`" in made and "| `argwhere`" in made and "`gammaln`" in made and "`norm`" in made


def test_a_table_that_lacks_a_function_is_found() -> None:
    text = PAGE.read_text("utf-8")
    assert with_tables(text.replace("`tril`, ", "")) == with_tables(text)
    assert "`tril`" in with_tables(text) and "`attention`" in with_tables(text)


def test_every_function_has_a_docstring() -> None:
    """Those that are one expression of others say what they are."""
    entered = {*core.FUNCTIONS.values(), *core.METHODS.values()}
    assert not [f.__name__ for f in entered if f.__name__ != "<lambda>" and not inspect.getdoc(f)]
    assert inspect.getdoc(ufuncs.where)


def test_links_of_the_pages() -> None:
    """Files that the pages in docs link to exist, and headings of the README that they name."""
    headings = re.findall(r"^#+ (.*)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
    for page in (ROOT / "docs").glob("*.md"):
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
            path, _, anchor = link.partition("#")
            if "://" in link:
                continue
            assert not path or (page.parent / path).exists(), f"{page.name}: {link}"
            assert not anchor or not path.endswith("README.md") or anchor in anchors, f"{page.name}: {link}"
