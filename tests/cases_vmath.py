"""The ops by the function that their text calls, and their exact values."""

import mpmath

from gradcompile.ops import OPS

OWN = [op for op in OPS.values() if not op.name.startswith("custom_")]  # not the users' that a test has made
BY_NAME = {op.emit.partition("(")[0]: op for op in OWN if op.emit.endswith(")")}


def exact(op, *args):
    with mpmath.workdps(50):
        function = getattr(mpmath, op.exact) if isinstance(op.exact, str) else op.exact
        return function(*map(mpmath.mpf, args[: len(op.domain)]), *args[len(op.domain) :])
