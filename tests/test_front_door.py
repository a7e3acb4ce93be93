"""What a user sees first: the names of the package, what it claims in its metadata, and types that checkers read."""

import re
import tomllib
import typing
from pathlib import Path

import gradcompile as gc
from gradcompile.compile import compile_grad, compile_hessian

ROOT = Path(__file__).resolve().parent.parent


def test_dir_shows_what_users_use_and_nothing_else() -> None:
    shown = [name for name in dir(gc) if not name.startswith("_")]
    assert set(shown) == {*gc.__all__, *gc.MODULES}
    assert all(hasattr(gc, name) for name in shown)


def test_metadata_claim_what_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = [c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert named and project["requires-python"] == f">={named[0]}"
    assert "urls" not in project  # there is no page to point to


def test_options_have_types() -> None:
    assert typing.get_type_hints(compile_grad)["dtype"] == typing.Literal["float64", "float32"]
    (options,) = typing.get_args(compile_hessian.__annotations__["options"])
    assert typing.get_type_hints(options)["reduce"] == typing.Literal["mean", "sum"]
