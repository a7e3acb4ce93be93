"""Searches in one call of machine code: the bits of one evaluation at a time, memory that is not there."""

import numpy as np
import pytest

from gradcompile.codegen import array_kind
from gradcompile.codegen import functions as jit
from gradcompile.library import trust_region
from gradcompile.regression.search import Evaluation, Search

KERNEL = '''"""Squares by way of memory of its own."""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import lanes, zeros


@jit
def kernel(theta, grad, hess, x, size):
    """The sum of (x - theta**2)**2, and its derivatives."""
    rest = zeros(x.shape[0] + size, x)
    for i in range(x.shape[0]):
        rest[i] = x[i] - theta[0] * theta[0]
    loss = 0.0
    grad[0] = 0.0
    hess[0] = 0.0
    for i in range(x.shape[0]):
        loss += rest[i] * rest[i]
        grad[0] -= 4.0 * rest[i] * theta[0]
        hess[0] += 8.0 * theta[0] * theta[0]
    return loss
'''
FREE = np.full(1, -np.inf), np.full(1, np.inf)


def test_one_call_has_the_bits_of_one_evaluation_at_a_time():
    """A loop of any number of turns ends where the steps one by one do; without memory it raises."""
    kinds = [array_kind("float64", 1)] * 4 + [array_kind("int64", 0)]
    kernel = jit.load(KERNEL, cache=False).kernel
    code = jit.entry(kernel, kinds)
    state = [array_kind("float64", rank) for rank in (2, 2, 2, 1)]
    loop = jit.stepping(kernel, kinds, 2, trust_region.advance, state)
    x = np.linspace(1.0, 5.0, 7)
    ways = [(None, 1), *((loop, rows) for rows in (1, 40_000, 10**9))] if loop else [(None, 1)]
    search = Search(*FREE)
    ends = [search.run(Evaluation(code, (x, 3), way, rows), np.full(1, 0.3), 100) for way, rows in ways]
    assert abs(ends[0].theta[0] - np.sqrt(3.0)) < 1e-10 and ends[0].is_convex
    for end in ends[1:]:
        assert (end.theta, end.loss, end.gradient, end.matrix, end.evaluations) == (
            ends[0].theta, ends[0].loss, ends[0].gradient, ends[0].matrix, ends[0].evaluations
        )  # fmt: skip
    if loop:
        stopped = search.run(Evaluation(code, (x, 3), loop, 1), np.full(1, 0.3), 4)
        assert stopped.was_stopped and stopped.evaluations == 4
        with pytest.raises(MemoryError):
            search.run(Evaluation(code, (x, 1 << 50), loop, 1), np.full(1, 0.3), 100)
