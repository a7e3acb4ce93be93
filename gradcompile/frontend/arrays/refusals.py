"""Functions that symbolic arrays can't have, with the reason, and what to write instead."""

from gradcompile.frontend.arrays.core import REFUSED

UNKNOWN = "how many entries the result has is not known before the call; "
COMPLEX = "the result is complex, which only transforms and products are here; "
FIXED = "a symbolic array does not change; "
BITS = "symbolic integers have no bits here; "
TEXT = "a symbolic array has no numbers to write; call a function that gradcompile.compile_value makes of it first"

REFUSED.update({
    **dict.fromkeys(("np.unique", "np.unique_values", "np.unique_counts", "np.unique_all", "np.unique_inverse"),
                    UNKNOWN + "write np.sort(x), and np.diff of it for where an entry is a new one"),
    **dict.fromkeys(("np.nonzero", "np.flatnonzero", "np.argwhere", "Array.nonzero"),
                    UNKNOWN + "write np.where(condition, x, 0)"),
    **dict.fromkeys(("np.union1d", "np.intersect1d", "np.setdiff1d", "np.setxor1d"),
                    UNKNOWN + "write (x[:, None] == y).any(axis=1) for where an entry of x is one of y"),
    "np.trim_zeros": UNKNOWN + "slice at places that are numbers",
    **dict.fromkeys(("np.linalg.eig", "np.linalg.eigvals"),
                    COMPLEX + "write np.linalg.eigh for a symmetric matrix, and traces of powers for functions of any"),
    "np.roots": COMPLEX + "np.polyval is the polynomial itself",
    **dict.fromkeys(("scipy.linalg.eig", "scipy.linalg.eigvals", "scipy.linalg.schur", "scipy.linalg.sqrtm",
                     "scipy.linalg.logm"), COMPLEX + "write gradcompile.linalg.eigh for a symmetric matrix"),
    **dict.fromkeys(("np.put", "np.place", "np.copyto", "np.putmask", "np.fill_diagonal", "Array.fill", "Array.put",
                     "Array.itemset", "Array.partition"), FIXED + "write np.where(mask, values, x)"),
    "Array.sort": FIXED + "write np.sort(x)",
    "Array.resize": FIXED + "write np.resize(x, shape)",
    **dict.fromkeys(("Array.tolist", "Array.item", "Array.tobytes", "Array.tofile", "Array.dump", "Array.dumps"),
                    "a symbolic array has no numbers; x[0] is an entry, list(x) are all of a known number"),
    "Array.view": "how a symbolic array lies in memory is the compiler's business; write x.astype(dtype)",
    **dict.fromkeys(("np.save", "np.savetxt", "np.savez", "np.savez_compressed", "np.array2string", "np.array_repr",
                     "np.array_str"), TEXT),
    **dict.fromkeys(("np.nextafter", "np.spacing"), "it has no derivative; np.finfo(x.dtype).eps*abs(x) is about that"),
    **dict.fromkeys(("np.packbits", "np.unpackbits", "np.bitwise_count"), BITS + "write them as numbers"),
    **dict.fromkeys(("np.histogram2d", "np.histogramdd"), "write np.histogram of each, or sums of masks"),
    **dict.fromkeys(("np.einsum_path", "np.shares_memory", "np.may_share_memory", "np.can_cast", "np.min_scalar_type"),
                    "it is of arrays in memory; a compiled function chooses orders and places itself"),
    **dict.fromkeys(("np.isin", "np.in1d"), "write (x[..., None] == values).any(axis=-1)"),
    "np.ravel_multi_index": "write the arithmetic of the places: row*columns + column",
    "np.ix_": "places that are computed need no frame: write x[rows[:, None], columns]",
    "np.sort_complex": COMPLEX + "write np.sort(x)",
    **{f"scipy.special._{name}": f"write gradcompile.special.{ours}"
       for name, ours in (("riemann_zeta", "zeta"), ("lambertw", "lambertw"))},
    **{f"scipy.special.{name}": f"write gradcompile.stats.{ours}"
       for name, ours in (("chdtr", "chi2.cdf(x, df)"), ("chdtrc", "chi2.sf(x, df)"), ("chdtri", "chi2.isf(q, df)"),
                          ("pdtr", "poisson.cdf(k, mu)"), ("pdtrc", "poisson.sf(k, mu)"),
                          ("bdtr", "binom.cdf(k, n, p)"), ("bdtrc", "binom.sf(k, n, p)"),
                          ("nbdtr", "nbinom.cdf(k, n, p)"), ("nbdtrc", "nbinom.sf(k, n, p)"),
                          ("fdtr", "f.cdf(x, dfn, dfd)"), ("fdtrc", "f.sf(x, dfn, dfd)"),
                          ("gdtr", "gamma.cdf(x, b, scale=1/a)"), ("gdtrc", "gamma.sf(x, b, scale=1/a)"))},
    **{f"scipy.special.eval_{name}": f"write np.polyval(scipy.special.{ours}.coef, x)"
       for name, ours in (("legendre", "legendre(n)"), ("chebyt", "chebyt(n)"), ("chebyu", "chebyu(n)"),
                          ("hermite", "hermite(n)"), ("hermitenorm", "hermitenorm(n)"), ("laguerre", "laguerre(n)"),
                          ("genlaguerre", "genlaguerre(n, alpha)"), ("jacobi", "jacobi(n, alpha, beta)"),
                          ("gegenbauer", "gegenbauer(n, alpha)"))},
    "scipy.special.inv_boxcox": "write np.exp(np.log1p(lmbda*y)/lmbda)",
    "scipy.special.inv_boxcox1p": "write np.expm1(np.log1p(lmbda*y)/lmbda)",
    "scipy.special.ellipkm1": "write scipy.special.ellipk(1 - p)",
    "scipy.special.powm1": "write np.expm1(y*np.log(x))",
    "scipy.linalg.pinvh": "write np.linalg.pinv(a, hermitian=True)",
    **dict.fromkeys(("scipy.linalg.lu_factor", "scipy.linalg.lu_solve", "scipy.linalg.solve_toeplitz",
                     "scipy.linalg.solveh_banded"),
                    "write gradcompile.linalg.solve of the whole matrix"),
    **dict.fromkeys(("scipy.signal.lfilter", "scipy.signal.sosfilt"), "write gradcompile.scan of the recurrence"),
    **{f"scipy.stats.{name}": f"write {ours}"
       for name, ours in (("sem", "np.std(x, ddof=1)/np.sqrt(x.size)"), ("zscore", "(x - np.mean(x))/np.std(x)"),
                          ("gmean", "np.exp(np.mean(np.log(x)))"), ("hmean", "1/np.mean(1/x)"),
                          ("moment", "np.mean((x - np.mean(x))**order)"),
                          ("entropy", "np.sum(scipy.special.entr(p/np.sum(p)))"),
                          ("skew", "np.mean(((x - np.mean(x))/np.std(x))**3)"),
                          ("kurtosis", "np.mean(((x - np.mean(x))/np.std(x))**4) - 3"),
                          ("pearsonr", "np.corrcoef(x, y)[0, 1]"),
                          ("rankdata", "(np.sum(x[:, None] > x, axis=1) + np.sum(x[:, None] >= x, axis=1) + 1)/2"),
                          ("iqr", "np.quantile(x, 0.75) - np.quantile(x, 0.25)"))},
    "scipy.stats.gaussian_kde": "write np.mean(gradcompile.stats.norm.pdf(x[:, None], data, width), axis=1)",
})  # fmt: skip
