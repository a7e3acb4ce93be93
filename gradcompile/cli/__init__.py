"""The command line, installed as `gradcompile`: arguments, exit statuses, and nothing else; each command is a module.

Commands are imported when they run, so that `--help` and errors of usage come at once.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import Any, NoReturn

from gradcompile.errors import GradcompileError, printable

Command = Callable[[argparse.Namespace], int | None]

EPILOG = """examples:
  gradcompile demo
  gradcompile show "(w*x - y)**2" --params w
  gradcompile explain "(w*x - y)**2" --at w=2,x=3,y=10
  gradcompile draw "(w*x - y)**2" --at w=2,x=3,y=10 --to graph.html
  gradcompile fit data.csv --model "a*exp(-b*x) + c" --target y
  gradcompile report data.csv --model "a*exp(-b*x) + c" --target y --to report.html
"""
FIT_EPILOG = """examples:
  gradcompile fit decay.csv --model "a*exp(-t/tau)" --target V --start a=1,tau=2 --plot decay.png
  gradcompile fit run.xlsx --model "k*`Temp (C)` + b" --target R --sigma dR --absolute-sigma --ci 95
  gradcompile fit - --model "m*x + n" --target "log(y)" --where "y > 0" --json - < data.csv

formulas:
  + - * / ** ^ ( ), the constants pi and E, where(condition, a, b) with < <= > >= == != and or not,
  {functions}
  A name is a column, or a parameter. A name that no formula can contain stands between backticks.

tables:
  text with any delimiter, decimal commas, comments, a row of units, missing entries; gz, bz2, xz; Excel and Parquet
  (pip install 'gradcompile[tables]'); - for standard input. Only the columns that the fit uses are read.

exit status:
  0  the estimates are a minimum
  2  an error: nothing was fitted, or a file could not be written
  3  a fit did not converge: the estimates are no minimum, and have no standard errors
"""


class _Parser(argparse.ArgumentParser):
    """A parser that knows `--start a=-1` and the like as written: abbreviations are errors, not guesses."""

    def __init__(self, **settings: object) -> None:
        super().__init__(allow_abbrev=False, **settings)  # type: ignore[arg-type]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, with the value of an option taken for one also where it begins with a minus, as formulas may."""
        return super().parse_known_args(self._joined(sys.argv[1:] if args is None else list(args)), namespace)

    def _joined(self, arguments: list[str]) -> list[str]:
        found: list[str] = []
        formulas: list[str] = []
        rest = iter(arguments)
        for argument in rest:
            action = self._option_string_actions.get(argument)
            if action is not None and action.nargs is None and argument.startswith("--"):
                value = next(rest, None)
                argument = argument if value is None else f"{argument}={value}"
            is_long = argument.startswith(("--", "-h")) or argument == "-"
            (formulas if argument.startswith("-") and not is_long else found).append(argument)
        if self._subparsers is not None or not formulas:
            return arguments if self._subparsers is not None else found
        return [*found, "--", *formulas]

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
    """Run a command and return its exit status: 0; 2 for an error, told on stderr; 130 after Ctrl-C; 3 of a fit that
    did not converge.

    >>> main(["fit", "no-such.csv", "--model", "a*x", "--target", "y", "--start", "a=1"])
    2
    """
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", "") == "strict":
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # of a terminal that lacks letters
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as stop:  # argparse has said why
        return int(stop.code or 0)
    try:
        command: Command = options.command
        status = command(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except GradcompileError as error:
        print(f"gradcompile: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        _drop_output()
        return 0
    except OSError as error:
        _drop_output()
        what = error.strerror or error
        print(printable(f"gradcompile: {error.filename or 'output'}: {what}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gradcompile: interrupted", file=sys.stderr)
        return 130
    return status or 0


def _drop_output() -> None:
    """What standard output could not take must not fail again in the flush at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    demo.add_argument("--out", default="gradcompile-demo.svg", metavar="FILE", help="the picture of data and fit")
    demo.set_defaults(command=_late("demo"))

    _add_show(commands.add_parser("show", help="gradient, cost and generated source of a formula"))
    _add_explain(commands.add_parser("explain", help="every value and adjoint of a formula, and the chain rule"))
    _add_draw(commands.add_parser("draw", help="the graph of a formula with every value and adjoint"))
    _add_export(commands.add_parser("export", help="a function for C: an object file or source, and its header"))
    _add_fit(commands.add_parser("fit", help="fit a formula to the columns of a table", add_help=False))
    about = "fit a formula, and write a page with formula, gradient, graph, fit, residuals and source"
    _add_report(commands.add_parser("report", help=about, add_help=False))

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


def _add_export(parser: argparse.ArgumentParser) -> None:
    _add_show(parser)
    parser.add_argument("--to", required=True, metavar="FILE", help="a .o file, or a .c file")
    parser.add_argument("--name", metavar="NAME", help="of the function, if not the file's")
    parser.add_argument("--what", default="gradient", choices=("value", "gradient", "hessian"), help="(gradient)")
    parser.set_defaults(command=_late("show", "export"))


def _add_at(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("formula", help='the loss, such as "(w*x - y)**2"')
    parser.add_argument("--at", required=True, metavar="w=2,x=3", help="the value of each name")
    parser.add_argument("--params", type=_names, metavar="w,b", help="names to differentiate by (all of them)")
    parser.add_argument("--literal", action="store_true", help="keep the formula as it is: no stabilisation")


def _add_explain(parser: argparse.ArgumentParser) -> None:
    _add_at(parser)
    forms = ("text", "markdown", "json", "latex", "html")
    parser.add_argument("--to", default="text", choices=forms, help="the form (text)")
    parser.add_argument("--why", metavar="w", help="why the gradient of this name is zero, infinite or NaN, instead")
    parser.set_defaults(command=_late("explain"))


def _add_draw(parser: argparse.ArgumentParser) -> None:
    _add_at(parser)
    parser.add_argument("--to", required=True, metavar="FILE", help="a .svg, .html or .dot file")
    parser.set_defaults(command=_late("explain", "draw"))


class _FitHelp(argparse.Action):
    """Print help that lists the functions of formulas, which takes an import that nothing else needs so early."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import textwrap

        from gradcompile.frontend.text import function_names

        names = textwrap.fill(", ".join(function_names()), 116, subsequent_indent="  ", break_long_words=False)
        parser.epilog = FIT_EPILOG.format(functions=names)
        parser.print_help()
        parser.exit()


def _add_report(parser: argparse.ArgumentParser) -> None:
    _add_fitting(parser, "report")
    parser.add_argument("--to", default="report.html", metavar="FILE", help="the page (report.html)")
    results = ("ci", "json", "csv", "predict", "band", "plot", "plot_loss", "save")
    parser.set_defaults(command=_late("fit", "page"), force=False, **dict.fromkeys(results))


def _add_fitting(parser: argparse.ArgumentParser, command: str) -> None:
    """The table, the formula, and how it is fitted."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = f"gradcompile {command} [-h] FILE --model FORMULA --target COLUMN [--start a=1,b=2] [OPTIONS]"
    parser.add_argument("-h", "--help", action=_FitHelp, nargs=0, help="show this help message and exit")
    parser.add_argument("file", help="a table: text, Excel or Parquet; - for standard input")
    add = parser.add_argument
    add("--model", required=True, help='a formula in the columns, such as "a*exp(-b*x) + c"')
    add("--target", required=True, metavar="COLUMN", help="what the model matches: a column or a formula of columns")
    add("--start", metavar="a=1,b=2", help="where the search starts; found where it is left out")
    add = parser.add_argument_group("the fit").add_argument
    add("--sigma", metavar="COLUMN", help="standard deviations of the target: a column, or a formula such as sqrt(y)")
    add("--sigma-x", metavar="x=COLUMN", help="of columns of the model, for orthogonal distance: a column or a formula")
    add("--absolute-sigma", action="store_true", help="sigma is known, and not only in proportion")
    add("--bounds", metavar="a=0:,b=:5", help="where parameters have to stay, low:high, either may be missing")
    add("--fix", metavar="a=1", help="parameters that are known")
    add("--loss", default="linear", choices=("linear", "soft_l1", "huber", "cauchy", "arctan"), help="against outliers")
    add("--starts", type=int, default=1, metavar="N", help="how many places to search from (1)")
    add("--where", metavar="CONDITION", help='the rows to use, such as "x > 0 and x < 10"')
    add("--by", metavar="COLUMN", help="fit each group of rows that have one value of this column")
    add = parser.add_argument_group("the table, where it is not what it looks like").add_argument
    add("--no-header", action="store_true", help="no row names the columns: they are c1, c2, ...")
    add("--delimiter", metavar="CHAR", help="one character, or tab or space")
    add("--decimal", metavar="CHAR", help=". or ,")
    add("--sheet", metavar="NAME", help="of a workbook: its name, or its number from 1")


def _add_fit(parser: argparse.ArgumentParser) -> None:
    _add_fitting(parser, "fit")
    add = parser.add_argument_group("results; FILE may be - for standard output where it is text").add_argument
    add("--ci", metavar="LEVEL", help="confidence intervals, such as 95; profile,95 or bootstrap,95 by another method")
    add("--json", metavar="FILE", help="write everything as JSON")
    add("--csv", metavar="FILE", help="write name, value, stderr, low, high of each parameter")
    add("--predict", metavar="FILE", help="write what the model says of each row, as CSV")
    add("--band", nargs="?", const="confidence", choices=("confidence", "prediction"), help="with --predict: low, high")
    add("--plot", metavar="FILE", help="draw data, curve with its band, and residuals: .svg, .png and the like")
    add("--plot-loss", metavar="FILE", help="draw the loss by evaluation")
    add("--save", metavar="FILE.py", help="write compiled loss, model and estimates as a module")
    add("--force", action="store_true", help="let --save replace a file that no fit wrote")
    parser.set_defaults(command=_late("fit"))
