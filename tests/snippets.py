"""Snippets of a page: run one after the other, and compared with the outputs that the page shows."""

import contextlib
import doctest
import io
import re
import shlex

from gradcompile.cli import main

BLOCK = re.compile(
    r"(?P<marker><!-- (?:output|run) -->\n)?```(?P<language>\w+)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def printed(code, namespace):
    """What a snippet prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), namespace)
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def commanded(lines):
    """What commands print, of this package alone and in this process; a line that ends in a backslash goes on."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        for line in lines.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(line)
            assert program == "gradcompile"
            main(arguments)
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def run_doctest(code, namespace):
    """A snippet with prompts; its names are shared with the other snippets."""
    test = doctest.DocTestParser().get_doctest(code, namespace, "README.md", "README.md", 0)
    report = io.StringIO()
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.write, clear_globs=False)
    namespace.update(test.globs)
    assert not report.getvalue(), report.getvalue()


def disagreements(text):
    """(block, expected, printed) for every output that is not what its snippet prints; empty if all are."""
    namespace, found, pending = {"__name__": "readme"}, [], None
    for block in BLOCK.finditer(text):
        body = block["body"]
        if block["marker"] == "<!-- run -->\n":
            assert not pending, f"a snippet prints something that the page does not show:\n{pending}"
            pending = commanded(body)
        elif block["marker"]:
            assert pending is not None, f"an output without a snippet before it:\n{body}"
            if not doctest.OutputChecker().check_output(body, pending, doctest.ELLIPSIS):
                found.append((block, body, pending))
            pending = None
        elif block["language"] == "python":
            assert not pending, f"a snippet prints something that the README does not show:\n{pending}"
            pending = run_doctest(body, namespace) if ">>>" in body else printed(body, namespace)
    assert not pending, f"a snippet prints something that the README does not show:\n{pending}"
    return found
