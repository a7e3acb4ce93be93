"""Which inputs training cuts into batches, and whether a batch can be computed as the whole can."""

from collections.abc import Sequence
from typing import Any

from gradcompile.errors import ArgumentError
from gradcompile.ir.types import names_in
from gradcompile.runtime.checks import demands_of
from gradcompile.signature.arguments import Argument, Problem
from gradcompile.signature.sparse import Part


def axis_of_samples(arguments: Sequence[Argument], given: str | None, batch_size: int | None) -> str | None:
    """The dimension that the samples are counted by: that of the data symbols, else the only one with a name.

    None where nothing has to be cut. Raises ArgumentError where it can't be known, or can't be cut.

    >>> import numpy as np
    >>> from gradcompile.frontend.arrays import array
    >>> from gradcompile.frontend.arrays.problem import read_arrays
    >>> X, w = array("X", ("n", 3)), array("w", (3,))
    >>> axis_of_samples(read_arrays(np.mean(X @ w), [w]).inputs, None, 10)
    'n'
    """
    if batch_size is not None and any(isinstance(a.original, Part) for a in arguments):
        raise ArgumentError("batch_size: a sparse matrix is not cut; leave it out, or give batches as data, each with "
                            "the matrix of its rows")  # fmt: skip
    names = dimensions(arguments)
    if given is not None and given not in names:
        raise ArgumentError(
            f"batch_axis={given!r}: no input has that dimension; they have {', '.join(names) or 'none'}"
        )
    if given is None and len(names) != 1:
        if batch_size is not None:
            raise ArgumentError(f"batch_size: {cure(names)}")
        return None
    found = given or names[0]
    inside = [a for a in arguments if found in a.leaf.type.shape[1:]]
    if inside and batch_size is not None:
        shown = f"{inside[0].name} has shape {inside[0].leaf.type.shape}"
        raise ArgumentError(
            f"batch_size: {shown}, and only a first axis can be cut; let {found!r} stand first, or drop it"
        )
    return found


def dimensions(arguments: Sequence[Argument]) -> list[str]:
    """The names that may count the samples: of the columns, else of all axes."""
    shapes = [a.leaf.type.shape[:1] for a in arguments if a.is_column] or [a.leaf.type.shape for a in arguments]
    return list(dict.fromkeys(d for shape in shapes for d in shape if isinstance(d, str)))


def cure(names: Sequence[str]) -> str:
    """What to do where no dimension, or more than one, may count the samples."""
    if not names:
        return "the loss has no columns to cut in batches; name them in data, or drop it"
    return (
        f"the inputs have the dimensions {', '.join(names)}; say which counts the samples, by batch_axis={names[0]!r}"
    )


def check(problem: Problem, inputs: Sequence[Any], samples: str | None, batch: int) -> None:
    """Raise ArgumentError for converted inputs that compiled code can't take, whole or in batches of that size."""
    call_checks = demands_of(problem)
    call_checks.check(inputs)
    cut = [samples is not None and a.leaf.type.shape[:1] == (samples,) for a in problem.inputs]
    count = next((len(v) for v, c in zip(inputs, cut, strict=True) if c), 0)
    if samples is None or batch >= count:
        return
    for index in call_checks.indices:
        if samples in names_in(index.length):
            name = problem.inputs[index.position].name
            raise ArgumentError(f"batch_size: {name} is an index into the samples, which a batch has not all of; "
                                "drop batch_size")  # fmt: skip
    for size in {batch, count % batch or batch}:
        call_checks._replace(indices=()).check([v[:size] if c else v for v, c in zip(inputs, cut, strict=True)])
