"""Lines that users of NumPy and SciPy write work on symbolic arrays, or are refused in words."""

from tests.calls import lines, tried

REFUSED = {
    "np.unique(x)", "np.nonzero(x)", "np.roots(x)", "np.trim_zeros(x)", "np.linalg.eig(M)[0]", "np.linalg.eigvals(M)",
    "np.fill_diagonal(M, 0.0)", "x.tolist()", "s.item()", "float(s)", "x.nonzero()", "x.sort()", "max(s, 0.5)",
    "sorted(x)[0]", "bool(np.all(x == x))", "np.exp(x, where=onp.array([True]*5))",
    "np.einsum_path(\"ij,jk->ik\", M, M)", "np.maximum([s, 1.0], 0.5)", "np.max([s, 1.0])",
    "sp.stats.gaussian_kde(x)", "np.fft.fft(x)",
}  # fmt: skip
OF_NUMPY = {  # what NumPy itself says, or does with objects that are not its own
    "np.exp([s, 1.0])", "np.mean([s, s+2])", "np.isscalar(s)", "np.float32(s)", "np.int64(s)",
    "np.nditer(x)", "np.add.at",
}  # fmt: skip


def test_every_line_works_or_is_refused():
    results = [tried(line) for line in lines() if line not in OF_NUMPY]
    wrong = [r for r in results if r.what in ("wrong", "crash")]
    assert not wrong
    refused = {r.line for r in results if r.what == "refused"}
    assert refused <= REFUSED, refused - REFUSED
