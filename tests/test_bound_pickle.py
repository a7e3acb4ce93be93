"""Bound functions in other processes."""

import pickle

import numpy as np
import sympy as sp

from gradcompile import compile_grad


def test_a_bound_function_can_be_pickled():
    a, x = sp.symbols("a x")
    bound = compile_grad((a - x) ** 2, [a], data=[x]).bind(x=np.array([1.0, 2.0, 5.0]))
    copy, theta, out = pickle.loads(pickle.dumps(bound)), np.array([3.0]), np.empty(1)
    assert copy(theta) == bound(theta)
    assert copy(theta, out)[1] is out
