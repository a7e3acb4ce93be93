"""The command line, installed as `gradcompile`: arguments, exit statuses, and nothing else; each command is a module.

Commands are imported when they run, so that `--help` and errors of usage come at once.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import NoReturn

from gradcompile.errors import GradcompileError, printable

Command = Callable[[argparse.Namespace], None]

EPILOG = """examples:
  gradcompile demo
  gradcompile show "(w*x - y)**2" --params w
  gradcompile fit data.csv --model "a*exp(-b*x) + c" --target y --start a=1,b=2,c=0.5
"""


class _Parser(argparse.ArgumentParser):
    """A parser that knows `--start a=-1` and the like as written: abbreviations are errors, not guesses."""

    def __init__(self, **settings: object) -> None:
        super().__init__(allow_abbrev=False, **settings)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.format_usage()}{self.prog}: {printable(message)}\n")


class _Version(argparse.Action):
    """Look the version up when it is asked for: a source tree that is not installed has none."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        try:
            parser.exit(0, f"gradcompile {metadata.version('gradcompile')}\n")
        except metadata.PackageNotFoundError:
            parser.exit(2, "gradcompile: this copy is not installed and has no version; run pip install .\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0; 2 for an error, told on stderr; 130 after Ctrl-C.

    >>> main(["fit", "no-such.csv", "--model", "a*x", "--target", "y", "--start", "a=1"])
    2
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as stop:  # argparse has said why
        return int(stop.code or 0)
    try:
        command: Command = options.command
        command(options)
        sys.stdout.flush()
    except GradcompileError as error:
        print(f"gradcompile: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit must not fail again
        return 0
    except OSError as error:
        what = error.strerror or error
        print(printable(f"gradcompile: {error.filename or 'output'}: {what}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gradcompile: interrupted", file=sys.stderr)
        return 130
    return 0


def _late(module: str, name: str = "run") -> Command:
    """The function `name` of a module of this package, imported when it is called."""
    return lambda options: getattr(import_module(f"{__name__}.{module}"), name)(options)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gradcompile",
        description="Compile a formula into one function that returns its value and its gradient.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True, parser_class=_Parser)

    demo = commands.add_parser("demo", help="fit a model to reference data, and show everything on the way")
    demo.add_argument("--out", default="gradcompile-demo.svg", metavar="FILE", help="the picture of the loss curve")
    demo.set_defaults(command=_late("demo"))

    _add_show(commands.add_parser("show", help="gradient, cost and generated source of a formula"))
    _add_fit(commands.add_parser("fit", help="fit a formula to the columns of a CSV file"))

    ops = commands.add_parser("ops", help="the op table: function, derivative, convention, accuracy")
    ops.add_argument("name", nargs="?", help="one op alone")
    ops.set_defaults(command=_late("show", "ops"))

    cache = commands.add_parser("cache", help="where compiled functions are kept, and how to empty that place")
    actions = cache.add_subparsers(title="actions", metavar="action", required=True, parser_class=_Parser)
    actions.add_parser("info", help="path, number and size").set_defaults(command=_late("show", "cache_info"))
    actions.add_parser("clear", help="delete them all").set_defaults(command=_late("show", "cache_clear"))
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("formula", help='the loss, such as "(w*x - y)**2"')
    parser.add_argument("--params", required=True, type=_names, metavar="w,b", help="names to differentiate by")
    parser.add_argument("--data", default=[], type=_names, metavar="x,y", help="names with one value a sample")
    parser.add_argument("--reduce", default="mean", choices=("mean", "sum"), help="over the samples (mean)")
    parser.add_argument("--dtype", default="float64", choices=("float64", "float32"))
    parser.add_argument("--literal", action="store_true", help="keep the formula as it is: no stabilisation")
    parser.set_defaults(command=_late("show"))


def _add_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="a CSV table whose first row names the columns")
    parser.add_argument("--model", required=True, help='a formula in the columns, such as "a*exp(-b*x) + c"')
    parser.add_argument("--target", required=True, metavar="COLUMN", help="the column that the model is to match")
    parser.add_argument("--start", required=True, metavar="a=1,b=2", help="the parameters and where they start")
    parser.add_argument("--plot", metavar="FILE", help="write the loss curve as a picture: .svg, or .png and the like")
    parser.add_argument("--save", metavar="FILE.py", help="write the compiled loss and the estimates as a module")
    parser.set_defaults(command=_late("fit"))
