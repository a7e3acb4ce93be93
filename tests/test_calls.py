"""Lines that users of NumPy and SciPy write work on symbolic arrays, or are refused in words."""

import re

import numpy as np
import pytest
import scipy.stats

import gradcompile as gc
from gradcompile.errors import ExpressionError
from tests.calls import lines, tried

REFUSED = {
    "np.unique(x)", "np.nonzero(x)", "np.roots(x)", "np.trim_zeros(x)", "np.linalg.eig(M)[0]", "np.linalg.eigvals(M)",
    "np.fill_diagonal(M, 0.0)", "x.tolist()", "s.item()", "float(s)", "x.nonzero()", "x.sort()", "max(s, 0.5)",
    "sorted(x)[0]", "bool(np.all(x == x))", "np.exp(x, where=onp.array([True]*5))",
    "np.einsum_path(\"ij,jk->ik\", M, M)", "np.maximum([s, 1.0], 0.5)", "np.max([s, 1.0])", "np.mean([s, s+2])",
    "sp.stats.gaussian_kde(x)", "np.fft.fft(x)",
}  # fmt: skip
OF_NUMPY = {  # what NumPy itself says, or does with objects that are not its own
    "np.exp([s, 1.0])", "np.isscalar(s)", "np.float32(s)", "np.int64(s)",
    "np.nditer(x)", "np.add.at",
}  # fmt: skip


def test_every_line_works_or_is_refused():
    results = [tried(line) for line in lines() if line not in OF_NUMPY]
    wrong = [r for r in results if r.what in ("wrong", "crash")]
    assert not wrong
    refused = {r.line for r in results if r.what == "refused"}
    assert refused <= REFUSED, refused - REFUSED


STATISTICS = ["sem", "zscore", "gmean", "hmean", "skew", "kurtosis", "entropy", "pearsonr", "rankdata", "iqr"]


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_are_refused_with_a_formula_that_is_theirs(name: str) -> None:
    x, y, function = np.array([0.6, 0.8, 0.6, 0.2]), np.array([1.0, 2.0, 1.0, 3.0]), getattr(scipy.stats, name)
    if name in ("entropy", "rankdata"):
        x[-1] = 0.0
    given = (x, y) if name == "pearsonr" else (x,)
    with pytest.raises(ExpressionError, match=rf"scipy\.stats\.{name} does not take .*; write ") as error:
        function(*(gc.array(f"a{k}", 4) for k in range(len(given))))
    cure = re.search("write (.*) \\(a0", str(error.value))[1]
    names = {"np": np, "scipy": scipy, "x": x, "p": x, "y": y}
    assert np.allclose(eval(cure, names), function(*given)[0] if name == "pearsonr" else function(*given))


@pytest.mark.parametrize("name", ["mean", "std", "var", "max", "min", "median", "sort", "argmax"])
def test_a_list_of_symbolic_numbers_is_refused_with_what_to_write(name: str) -> None:
    a, b = gc.array("a"), gc.array("b")
    function = getattr(np, name)
    with pytest.raises(ExpressionError, match=r"np\.\w+ takes no list of symbolic numbers; write np\.\w+\(np.asarray"):
        function([a, b])
    found = gc.compile_value(function(np.asarray([a, b], like=a)), inputs=[a, b])
    np.testing.assert_allclose(found(1.0, 3.0), function([1.0, 3.0]))
