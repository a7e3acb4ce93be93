"""Every snippet of the README runs, in order, and prints what the README says; `--update-golden` rewrites the outputs.

A ```python block is code. A block behind `<!-- output -->` is what the block before it prints. A block with `>>>` is a
doctest. `...` in an output stands for anything.
"""

import re
from pathlib import Path

from tests.snippets import disagreements

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def test_snippets(tmp_path, monkeypatch, update_golden):
    monkeypatch.chdir(tmp_path)
    text = README.read_text("utf-8")
    found = disagreements(text)
    if update_golden:
        for block, _, actual in reversed(found):
            text = text[: block.start("body")] + actual + text[block.end("body") :]
        README.write_text(text, "utf-8")
    else:
        assert not found, "\n".join(f"README says:\n{said}\nit prints:\n{actual}" for _, said, actual in found)


def test_a_wrong_output_is_found():
    assert disagreements("```python\nprint(1 + 1)\n```\n\n<!-- output -->\n```text\n3\n```\n")
    assert not disagreements("```python\nprint(1 + 1)\n```\n\n<!-- output -->\n```text\n2\n```\n")


def test_the_two_commands_are_one_line_each():
    text = README.read_text("utf-8")
    for name in "demo", "tests":
        found = re.findall(rf"^<!-- ci: {name} -->\n```sh\n(.*?)```$", text, re.DOTALL | re.MULTILINE)
        assert len(found) == 1 and found[0].count("\n") == 1


def test_files_that_the_readme_names_exist():
    """It has no relative links, which lead nowhere on the page of an index of packages."""
    text = README.read_text("utf-8")
    assert [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link] == []
    named = re.findall(r"`((?:docs|examples)/[\w.]*|[A-Z]+(?:\.md)?|\w+\.py)`", text)
    assert [n for n in named if not any((ROOT / folder / n).exists() for folder in (".", "examples"))] == []
