"""Random NumPy programs: the same text on real arrays, on symbolic ones, and where JAX is there by its rules.

A case is the text of a program, line by line, and how its inputs are drawn. Values are NumPy's; gradients lie between
the slopes of NumPy's values to both sides, or are JAX's where entries tie, as there are conventions. A program is made
by trying: lines that NumPy computes, with entries of moderate size, are kept. What has NaN or infinities is read by
selections.
"""

import math
import random
import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.signal
import scipy.special
import scipy.stats

import gradcompile as gc
from gradcompile.errors import GradcompileError
from tests.fuzz import _numbers
from tests.fuzz.run import LIMITED, refuse

BRIEF = 12
DIMS = (1, 2, 2, 3, 3, 4, 0)
LARGE = 60.0  # entries beyond are left out: differences lose their digits there
MANY = 150  # entries of a value
STEP = 4e-6
ROOTS = re.compile(r"sqrt|cbrt|\*\* 0\.")  # whose slopes are infinite at 0, and NaN times 0 (docs/limits.md)
TIES = (-1.0, -0.5, 0.0, 0.5, 0.5, 1.0, 2.0)
Case = dict[str, Any]
Values = dict[str, Any]
Floats = npt.NDArray[np.float64]


class Both:
    """A module's names, and of those that it lacks another's: SciPy's functions that hand symbolic arrays on."""

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second

    def __getattr__(self, name: str) -> Any:
        return getattr(self.first, name, None) or getattr(self.second, name)


def repeated(cond: Callable[[Any], Any], body: Callable[[Any], Any], value: Any, most: int) -> Any:
    """What `while_loop` means."""
    for _ in range(most):
        if not cond(value):
            break
        value = body(value)
    return value


def cooled(x: Any) -> Any:
    """A function whose derivative `stated` states."""
    return x * np.tanh(x)


STATED = gc.custom("stated", cooled, vjp=lambda g, x: g * (np.tanh(x) + x * (1 - np.tanh(x) ** 2)))
OF_NUMBERS: Values = {"np": np, "stats": scipy.stats, "special": scipy.special, "linalg": scipy.linalg,
                      "signal": scipy.signal, "while_loop": repeated, "stated": cooled}  # fmt: skip
OF_SYMBOLS: Values = {"np": np, "stats": gc.stats, "special": Both(gc.special, scipy.special), "linalg": gc.linalg,
                      "signal": gc.signal, "while_loop": gc.while_loop, "stated": STATED}  # fmt: skip

ENTRIES = """
np.tanh({f}) | np.sin({f}) | np.exp(-np.abs({f})) | np.expm1({f} * 0.3) | np.arctan({f}) | np.abs({f}) | -{f}
{f} ** 2
np.sqrt({f} ** 2 + 1) | np.log1p(np.abs({f})) | np.sinh({f} * 0.2) | 1 / ({f} ** 2 + 1) | np.square({f}) | {f} ** 3
np.floor({f}) * {f} | np.sign({f}) * {f} | np.rint({f}) + {f} | np.trunc({f}) + {f} | np.round({f}, 1) | np.sinc({f})
np.nan_to_num({f}) | np.clip({f}, -0.5, 0.7) | np.deg2rad({f}) | np.cos({f}) * 2 | np.log(2 + np.cos({f})) | +{f}
{f} + {f} | {f} - {f} | {f} * {f} | {f} / ({f} ** 2 + 1) | np.maximum({f}, {f}) | np.minimum({f}, {f}) | 2.5 - {f}
np.maximum({f}, 0) | np.hypot({f}, {f} + 3) | np.arctan2({f}, {f} ** 2 + 1) | np.logaddexp({f}, {f})
np.fmax({f}, {f})
np.fmin({f}, {f}) | np.power(np.abs({f}) + 0.5, {f}) | np.remainder({f}, 0.7) | {f} // 0.3
np.heaviside({f}, 0.5) * {f}
{f} * {i} | {f} + {b} | {f} * {b} | {i} / 2 + {f} | {f} // ({f} ** 2 + 0.1) | np.divide({f}, {f} ** 2 + 1) | {f} * 2
np.where({b}, {f}, {f}) | np.where({f} > 0, {f}, 0.0) | np.where({f} > 0, np.log({f}), 0.0) | np.where({b}, 0, {f})
np.where({f} > 0, np.sqrt({f}), {f}) | np.where({f} != 0, 1 / {f}, 2.0)
np.select([{f} > 1, {b}], [{f}, {f} * 2], 0.1)
np.where({f} > 0, {f} ** 0.3, {f}) | np.where(np.abs({f}) < 1, np.arccos({f}), 0.0) | np.where({b}, {f} / 0.0, {f})
"""
PICKS = """
{f}[{slice}] | {f}[{slice}] | {f}[{slice}, {slice}] | {f}[..., {slice}] | {f}[None] | {f}[..., None] | {f}[:, None]
{f}[{index}] | {f}[..., {index}] | {f}[{index}, {slice}] | {f}[{slice}, {index}] | {f}[-1] | {f}[0] | {f}[:, 0]
{f}[{index}, {index}]
np.take({f}, {index}) | np.take({f}, {index}, axis={axis})
np.take_along_axis({f}, np.argsort({f}, axis={axis}), axis={axis})
np.sort({f}, axis={axis}) | np.sort({f}, axis=None) | np.flip({f}, axis={axis}) | np.flip({f})
np.roll({f}, {small}, axis={axis})
np.roll({f}, {small}) | np.tril({f}) | np.triu({f}, {small}) | np.diag({f}) | np.diagonal({f}) | np.trace({f})
np.sqrt({f} ** 2)[{slice}] | np.log({f})[{slice}] | {f}[{i} % 2] | np.log({f})[{index}] | np.median({f}, axis={axis})
np.median({f})
"""
SHAPES = """
np.reshape({f}, -1) | {f}.reshape(-1, 1) | np.reshape({f}, (-1, 2)) | np.reshape({f}, (-1, 2), order="F")
np.ravel({f})
{f}.ravel(order="F") | {f}.T | np.swapaxes({f}, 0, -1) | np.moveaxis({f}, 0, -1) | np.expand_dims({f}, {axis})
np.squeeze({f})
np.concatenate([{f}, {f}], axis={axis}) | np.concatenate([{f}, {f}], axis=None) | np.stack([{f}, {f}], axis={axis})
np.vstack([{f}, {f}]) | np.hstack([{f}, {f}]) | np.column_stack([{f}, {f}]) | np.tile({f}, 2) | np.tile({f}, (2, 1))
np.repeat({f}, 2, axis={axis}) | np.repeat({f}, 3) | np.repeat({f}, np.array([1, 0, 2]), axis={axis}) | np.pad({f}, 1)
np.pad({f}, 1, constant_values=0.5) | np.broadcast_to({f}, (2, *{f}.shape)) | np.split({f}, 2, axis={axis})[1]
np.array_split({f}, 2, axis={axis})[{bit}] | np.transpose({f}) | np.diff({f}, axis={axis})
np.cumsum({f}, axis={axis})
np.cumsum({f}) | np.ones_like({f}) * {f} | np.full_like({f}, 0.3) + {f} | np.zeros_like({f})
np.stack([{f}, {f} * 2])
np.broadcast_arrays({f}, {f})[{bit}] | np.reshape({f}, {f}.shape[::-1]) | {f}.flatten()
"""
SUMS = """
np.sum({f}, axis={axis}) | np.sum({f}, axis={axis}, keepdims=True) | np.mean({f}, axis={axis})
np.mean({f}, keepdims=True)
np.max({f}, axis={axis}) | np.min({f}, axis={axis}, keepdims=True) | np.max({f}) | np.min({f})
np.prod({f}, axis={axis})
np.prod({f}, axis={axis}, keepdims=True) | np.prod({f}) | np.std({f}, axis={axis}) | np.var({f}, axis={axis})
np.ptp({f}, axis={axis})
np.sum({f}, axis=(0, 1)) | np.max({f}, axis=(0, -1)) | np.prod({f}, axis=(0, 1)) | np.var({f}) | {f}.sum(axis={axis})
{f}.mean()
np.average({f}, weights=np.abs({f}) + 1) | np.nansum({f}, axis={axis}) | np.nanmean({f}) | np.linalg.norm({f})
np.any({b}) * {f}
np.sum(np.where({b}, {f}, 0.0), axis={axis}) | np.all({b}) + {f} | np.count_nonzero({f} > 0) * {f}
np.max({f}, axis={axis}, keepdims=True)
np.std({f}) | np.sum({f} * {f}, axis={axis}) | np.sum({f}, axis=()) | np.mean({f} ** 2, axis={axis}, keepdims=True)
"""
PRODUCTS = """
{f} @ {f} | {f} @ {f}.T | {f}.T @ {f} | np.dot({f}, {f}) | np.outer({f}, {f}) | np.inner({f}, {f}) | np.vdot({f}, {f})
np.tensordot({f}, {f}, axes=1) | np.tensordot({f}, {f}, axes=([0], [0])) | np.einsum("ij,jk->ik", {f}, {f})
np.kron({f}, {f}) | np.einsum("ij,ij->i", {f}, {f}) | np.einsum("i,j->ij", {f}, {f}) | np.einsum("ij->ji", {f})
np.einsum("ii->i", {f}) | np.einsum("ij,j->", {f}, {f}) | np.einsum("...i,i->...", {f}, {f}) | np.matmul({f}, {f})
np.polyval({f}, {f} * 0.3) | np.linalg.inv({f} @ np.swapaxes({s}, -1, -2) + 2 * np.eye({n}))
np.linalg.solve({f} @ np.swapaxes({s}, -1, -2) + 2 * np.eye({n}), {f}) | np.linalg.det({f})
np.linalg.slogdet({f} @ np.swapaxes({s}, -1, -2) + np.eye({n}))[1]
np.linalg.cholesky({f} @ np.swapaxes({s}, -1, -2) + np.eye({n})) | np.linalg.matrix_power({f}, 2)
np.linalg.eigvalsh({f} @ np.swapaxes({s}, -1, -2) + np.diag(np.arange({n})))
np.where(np.sum({f}) > 99, np.linalg.inv({f} * 0), {f}) | np.cross({f}, {f})
np.linalg.cholesky({f} @ np.swapaxes({s}, -1, -2) + np.eye({n})) | np.linalg.det({f} * np.array([1.0, 0.0]))
np.linalg.inv({f} + 4 * np.eye({n}))
"""
MASKED = """
np.where({i} == 0, 0, {i} * {f} * {f}) | np.where({i} == 0, 0.0, {f} / {i}) | np.where({i} != 1, {f}, 0.0) * {f}
np.where({f} == 0, 0.0, {f} * np.log(np.abs({s}))) | np.where({f} == 0, 1.0, np.sin({s}) / {s})
np.where({b}, {f}, {i}) | np.where({i} == 0, {f}, np.log({i} * 1.0)) | np.where({b}, {f} @ {f}, 0.0)
np.where({f} > {f}, {f}, {i} * 0.5) | np.where({i} > 1, np.sqrt({f}), {f}) | ({i} == 1) * {f}
np.where(({i} == 1) & ({f} > 0), np.log({s}), {f}) | np.sum(np.where({i} == 0, 0, {i} * {f}), axis={axis})
np.where({b}, np.nan, {f}) * 0 | np.where({i} >= 0, {f}, np.inf)
np.where({f} > 0, np.where({b}, np.log({s}), {f}), -{f})
np.maximum({f}, np.where({b}, {f}, -np.inf)) | np.max(np.where({b}, {f}, -np.inf), axis={axis})
np.min(np.where({i} == 0, np.inf, {f}), axis={axis}) | np.exp(np.where({b}, {f}, -np.inf)) | {f}[{b}.shape[0] - 1]
np.sum(np.exp(np.where({b}, {f}, -np.inf)), axis={axis}) | np.prod(np.where({i} == 0, 1.0, {f}), axis={axis})
np.where(np.isnan(np.where({b}, np.nan, {f})), 0.5, {f}) | np.sum({f}, axis={axis}, where={f} > 0)
np.abs({f}) ** 0.5 | np.max({f}, axis={axis}, initial=-1.0, where={b}) | np.mean({f}, axis={axis}, where={f} > -9)
np.where({b}[..., None], {f}, 0)
"""
MORE = """
np.log2(np.abs({f}) + 1) | np.log10({f} ** 2 + 1) | np.exp2({f} * 0.2) | np.cbrt({f}) | np.fabs({f})
np.reciprocal({f} + 5) | np.ceil({f}) * {f} | np.fmod({f}, 0.7) | np.mod({f}, 1.3) | np.copysign({f}, {f})
np.float_power(np.abs({f}) + 1, {f} * 0.2) | np.arcsinh({f}) | np.arctanh(np.tanh({f}) * 0.9) | np.tan({f} * 0.3)
np.degrees({f}) * 0.01 | np.radians({f}) | np.logaddexp2({f}, {f}) | np.positive({f}) | np.negative({f})
np.true_divide({f}, 3) | np.subtract({f}, {f}) | np.cosh({f} * 0.2) | np.nanmax({f}, axis={axis}) | np.nanmin({f})
np.nanvar({f}) | np.nanstd({f}, axis={axis}) | np.nanprod({f}, axis={axis}) | np.cumprod({f}, axis={axis})
np.nancumsum({f}) | np.gradient({f}) | np.ediff1d({f}) | np.trapezoid({f}, axis={axis})
np.interp({f}, np.array([-1.0, 0.0, 2.0]), np.array([0.0, 1.0, 0.5])) | np.convolve({f}, {f}) | np.correlate({f}, {f})
np.fliplr({f}) | np.flipud({f}) | np.rot90({f}) | np.rollaxis({f}, -1) | np.atleast_2d({f}) | np.atleast_1d({f})
np.append({f}, {f}) | np.insert({f}, 1, 0.5) | np.delete({f}, 0) | np.dstack([{f}, {f}]) | np.block([{f}, {f}])
np.vander({f}, 3) | np.diagflat({f}) | np.tri({n}) * {f} | np.meshgrid({f}, {f})[{bit}] | np.extract({b}, {f})
{f}[{b}] | np.percentile({f}, 30, axis={axis}) | np.quantile({f}, 0.4) | np.partition({f}, 0, axis={axis})
np.argpartition({f}, 0) * 0.1 | np.linalg.norm({f}, axis={axis}) | np.linalg.norm({f}, 1)
np.linalg.norm({f}, np.inf) | np.linalg.multi_dot([{f}, {f}]) | np.compress([True, False], {f}, axis={axis})
np.choose({i} % 2, [{f}, {f}]) | np.piecewise({f}, [{s} > 0], [1.0, 2.0]) * {f}
np.searchsorted(np.array([-1.0, 0.0, 1.0]), {f}) * {f} | np.digitize({f}, np.array([-1.0, 0.0, 1.0])) * 0.5
np.unwrap({f}) | np.divmod({f}, 0.7)[{bit}] | np.modf({f})[{bit}] | np.frexp({f})[0] | np.ldexp({f}, 2)
np.bincount({i}.ravel(), {f}.ravel()) | np.lexsort(({f}, {f})) * 0.1 | np.unique({f}) | np.nonzero({f})[0] * 0.5
np.argwhere({b}) * 0.5 | np.flatnonzero({f}) * 0.5 | np.cov({f}) | np.corrcoef({f}) | np.histogram({f})[0] * 0.1
np.linalg.lstsq({f}, {f})[0] | np.linalg.pinv({f}) | np.linalg.eigh({f} @ np.swapaxes({s}, -1, -2))[0]
np.add.reduce({f}) | np.multiply.outer({f}, {f}) | np.add.accumulate({f}) | np.maximum.reduce({f}, axis={axis})
np.maximum.accumulate({f}) | np.put_along_axis({f}, np.array([[0]]), 0.5, axis=0) or {f} | np.resize({f}, (2, 3))
np.fill_diagonal({f}, 0.0) or {f} | round({f}) | abs({f}) | divmod({f}, 0.7)[0] | sum({f}) | max({f}) | len({f}) * {f}
{f}.astype(np.float64) | {f}.clip(-0.5, 0.5) | {f}.max(axis={axis}) | {f}.std() | {f}.cumsum(axis={axis}) | {f}.prod()
{f}.squeeze() | {f}.swapaxes(0, -1) | {f}.transpose() | {f}.dot({f}) | {f}.repeat(2) | {f}.take([0, -1]) | {f}.trace()
{f}.diagonal() | {f}.ndim * {f} | {f}.size * {f} | {f}.argmax() + {f} | np.result_type({f}) and {f}
np.shape({f})[0] * {f} | np.size({f}) * {f} | np.ndim({f}) * {f} | np.asarray({f}) | np.array([{f}, {f}])
np.copy({f}) | np.require({f}) | np.asanyarray({f}) | np.ascontiguousarray({f}) | np.iscomplexobj({f}) + {f}
np.real({f})
"""
WHOLE = """
np.argmax({f}, axis={axis}) | np.argmin({f}, axis={axis}) | np.argsort({f}, axis={axis}) | np.argmax({f}) | {i} + 1
{i} * 2
{i} % 3 | np.sum({i}, axis={axis}) | {i}[{slice}] | np.sum({b}) | np.argmax({f}, axis={axis}, keepdims=True)
np.cumsum({i}) | -{i}
np.where({b}, {i}, 1) | np.maximum({i}, 1) | np.abs({i}) | np.argsort({i}) | np.max({i}, axis={axis}) | {i} // 2
np.argsort(-{f})
"""
TRUTHS = """
{f} > {f} | {f} >= 0 | {f} < 0.5 | {f} == {f} | {f} != {f} | ~{b} | {b} & {b} | {b} | {b} | {b} ^ {b} | {i} > 1
np.logical_and({b}, {f} > 0) | np.logical_not({b}) | np.isfinite({f}) | np.isnan({f}) | {b}[{slice}]
np.any({b}, axis={axis})
np.all({f} > -1, axis={axis}) | {f} <= np.mean({f}) | {i} == {i} | {b}.T | np.logical_xor({b}, {b})
np.any({f} > 1, axis={axis}, keepdims=True)
"""
LOOSE = """
np.log({l}) | {l} * {f} | {l} @ {f} | {l} + {f} | np.sum({l} * {f}, axis={axis}) | {l}[{slice}] | np.tanh({l})
np.sqrt({f})
np.log({f}) | 1 / {l} | np.cumsum({l}) | {l}.T | {f} / {f} | np.arcsin({f}) | {l} - np.max({f}) | np.outer({l}, {f})
{f} @ {l}
np.mean({l}, axis={axis}) | np.exp({l} * 30) | {l} ** 0.5 | np.einsum("ij,j->i", {l}, {f}) | np.stack([{l}, {l}])
np.linalg.inv({f} * 0)
"""
MENDED = """
np.where({b}, {l}, {f}) | np.where({i} == 0, 0, {i} * {l} * {f}) | np.where({b}, 0.0, {l} * {f})
np.where({i} > 0, {l}, 0.0) @ {f} | {f} @ np.where(np.isnan({l}), 0.0, {l})
np.nan_to_num({l}, posinf=2.0, neginf=-2.0) | np.sum(np.where(np.isfinite({l}), {l} * {f}, 0.0), axis={axis})
np.nansum({l} * 0.1) | np.nanmean({l}, axis={axis}) | np.maximum(np.where(np.isfinite({l}), {l}, -1.0), {f})
np.sum({l}, axis={axis}, where=np.isfinite({l})) | np.select([{b}, {f} > 0], [{l}, {f}], 0.5)
np.where({f} > 0, {l}, {f}) | np.where(np.isinf({l}), {f}, 0.3) | np.where(np.isfinite({l}), {l}, 0.0)
np.where(np.isnan({l}), 0.0, np.tanh({l})) | np.where({l} > 0, {l} ** 2, 0.1) | np.where(np.abs({l}) < 5, {l}, {f})
np.where(np.isfinite({l}), {l} * {f}, {f}) | np.sum(np.where(np.isfinite({l}), {l}, 0), axis={axis})
"""

OF_SCIPY = """
special.expit({f}) | special.erf({f}) | special.erfc({f}) | special.gammaln(np.abs({f}) + 0.5)
special.log_expit({f}) | special.digamma(np.abs({f}) + 0.5) | special.logsumexp({f}, axis={axis})
special.softmax({f}, axis={axis}) | special.log_softmax({f}, axis={axis}) | special.xlogy({i}, np.abs({f}) + 0.1)
special.entr(np.abs({f}) + 0.1) | special.rel_entr(np.abs({f}) + 0.1, np.abs({f}) + 0.2)
special.kl_div(np.abs({f}) + 0.1, np.abs({f}) + 0.2) | special.i0e({f}) | special.i1({f} * 0.3) | special.jv(1, {f})
special.ndtr({f}) | special.log_ndtr({f} * 3) | special.erfcx({f}) | special.gammainc(2.0, np.abs({f}) + 0.1)
special.gammaincc(1.5, np.abs({f}) + 0.1) | special.betaln(np.abs({f}) + 0.5, np.abs({f}) + 0.5)
special.beta(np.abs({f}) + 0.5, 2.0) | special.dawsn({f}) | special.spherical_jn(1, np.abs({f}) + 0.1)
special.polygamma(1, np.abs({f}) + 0.5) | special.expi(np.abs({f}) + 0.2) | special.zeta(np.abs({f}) + 1.5)
special.exp1(np.abs({f}) + 0.2) | special.huber(1.0, {f}) | special.erfi({f} * 0.4) | special.pseudo_huber(1.0, {f})
special.sici({f})[{bit}] | special.fresnel({f})[{bit}] | special.xlog1py({f}, {f} ** 2)
special.ellipk(np.tanh({f}) ** 2 * 0.9) | special.ellipe(np.tanh({f}) ** 2 * 0.9) | special.spence(np.abs({f}) + 0.2)
special.multigammaln(np.abs({f}) + 1.5, 2) | special.boxcox(np.abs({f}) + 0.5, {f})
special.erfinv(np.tanh({f}) * 0.9) | special.logit(special.expit({f})) | special.ndtri(special.ndtr({f}))
special.hyp1f1(0.5, 1.5, {f}) | special.k0e(1 + {f} ** 2) | stats.norm.logpdf({f}, {f}, np.abs({f}) + 0.5)
stats.norm.logcdf({f} * 3, 0.1, 0.7) | stats.norm.sf({f}) | stats.norm.cdf({f})
stats.t.logpdf({f}, np.abs({f}) + 1.5, {f}) | stats.gamma.logpdf(np.abs({f}) + 0.1, np.abs({f}) + 0.5)
stats.cauchy.logpdf({f}) | stats.gamma.cdf(np.abs({f}) + 0.1, 2.5)
stats.beta.logpdf(special.expit({f}), 1.5, np.abs({f}) + 0.6) | stats.expon.logsf(np.abs({f}))
stats.laplace.logpdf({f}, 0.3) | stats.logistic.logcdf({f}, {f}) | stats.poisson.logpmf({i}, np.abs({f}) + 0.3)
stats.binom.logpmf({i}, 3, special.expit({f})) | stats.nbinom.logpmf({i}, 2.5, special.expit({f}))
stats.gumbel_r.logpdf({f}) | stats.lognorm.logpdf(np.abs({f}) + 0.1, 0.8)
stats.weibull_min.logpdf(np.abs({f}) + 0.1, 1.5) | stats.pareto.logpdf(np.abs({f}) + 1.1, 2.0)
stats.vonmises.logpdf({f}, np.abs({f}) + 0.2) | stats.invgamma.logpdf(np.abs({f}) + 0.2, 2.0)
stats.truncnorm.logpdf(np.tanh({f}), -1.5, 2.0) | stats.skewnorm.logpdf({f}, {f}) | stats.halfnorm.logpdf(np.abs({f}))
stats.chi2.logpdf(np.abs({f}) + 0.1, 3.0) | stats.uniform.logpdf({f}, -9, 99)
stats.multivariate_normal.logpdf({f}, np.zeros({n}), np.eye({n}) * 1.5)
stats.dirichlet.logpdf(special.softmax({f}), np.ones({n}) * 1.5) | linalg.expm({f} * 0.3) | linalg.toeplitz({f})
linalg.block_diag({f}, {f}) | linalg.circulant({f}) | linalg.hankel({f})
linalg.solve_triangular(np.tril({f}) + 3 * np.eye({n}), {f}, lower=True) | linalg.det({f})
linalg.inv({f} + 4 * np.eye({n})) | linalg.cholesky({f} @ np.swapaxes({s}, -1, -2) + np.eye({n}), lower=True)
linalg.solve({f} + 4 * np.eye({n}), {f}) | linalg.svdvals({f} + 3 * np.eye({n})) | linalg.pinv({f} + 4 * np.eye({n}))
linalg.norm({f}) | linalg.cho_solve(linalg.cho_factor({f} @ np.swapaxes({s}, -1, -2) + np.eye({n})), {f})
linalg.solve_sylvester({f} + 4 * np.eye({n}), {f} + 4 * np.eye({n}), {f}) | signal.convolve({f}, {f})
signal.convolve({f}, {f}, mode="same") | signal.correlate({f}, {f}, mode="valid") | signal.detrend({f}, axis={axis})
signal.fftconvolve({f}, {f}) | signal.convolve2d({f}, {f}, mode="same") | signal.correlate2d({f}, {f})
signal.oaconvolve({f}, {f}, mode="same") | while_loop(lambda v: np.sum(v**2) > 1.0, lambda v: v * 0.7, {f}, 40)
while_loop(lambda v: v < 3, lambda v: v * 1.3 + 0.2, np.sum(np.abs({f})), 40)
while_loop(lambda v: v[0] < 4, lambda v: (v[0] + 1, np.tanh(v[1]) + v[1] * 0.1), (0, {f}), 9)[1]
while_loop(lambda v: np.max(v) > 0.5, lambda v: np.sqrt(np.abs(v)) - 0.6 + v * 0.1, {f}, 20)
"""

TRANSFORMS = """
np.fft.irfft(np.fft.rfft({f}), n=3) | np.fft.fft({f}).real | np.fft.fft({f}, axis={axis}).imag
np.abs(np.fft.fft({f}, n=5) + 9) | np.fft.ifft({f}, norm="ortho").imag | np.fft.ifftn(np.fft.fftn({f}) * 2).real
np.fft.rfft({f}, n=4, axis={axis}).imag | np.fft.irfft({f}, n=5, axis={axis}) | np.fft.hfft({f}, n=4)
np.fft.ihfft({f}).imag | np.fft.fft2({f}).real | np.fft.irfft2({f}, s=(3, 2)) | np.fft.fft(np.tanh({f}) * 1j).imag
np.fft.fftshift(np.fft.fft({f})).real | (np.fft.fft({f}) * np.fft.fft({f})).imag | np.fft.rfftn({f}).real | stated({f})
stated({f}) * {f} | np.sum(stated({f}), axis={axis})
"""


def templates(text: str) -> list[str]:
    """The templates of a table."""
    return [t.strip() for line in text.strip().splitlines() for t in line.split(" | ")]


FLOATS = (
    *(ENTRIES, PICKS, SHAPES, SUMS, PRODUCTS, ENTRIES, PICKS, MASKED, MASKED, MENDED, MENDED) * 4,
    MORE,
    *[OF_SCIPY] * 4,
    TRANSFORMS,
)
OTHERS = ((WHOLE, "i"), (TRUTHS, "b"), (LOOSE, "l"))
KINDS = [(templates(text), kind) for text, kind in (*((text, "f") for text in FLOATS), *OTHERS * 4)]


# Drawing


def draw(rng: random.Random) -> Case:
    """A program and its inputs."""
    case: Case = {"seed": rng.randrange(10**6), "dtype": "float32" if rng.random() < 0.15 else "float64",
                  "ties": rng.random() < 0.3, "named": rng.random() < 0.25, "inputs": {}, "lines": []}  # fmt: skip
    lead = rng.choice(DIMS[:-1])
    for name in ("p", "q", "x", "k", "b", "h")[: 2 + rng.randrange(5)]:
        shape = [rng.choice(DIMS) for _ in range(rng.randrange(4))]
        case["inputs"][name] = [lead, *shape[1:]] if case["named"] and name in "xkbh" else shape
    values = drawn(case)
    kinds = {name: kind_of(x, name) for name, x in values.items()}
    for _ in range(3 + rng.randrange(9)):
        add_line(rng, case, values, kinds)
    ends = [name for name, kind in kinds.items() if kind == "f"][-4:]
    terms = [f"np.sum({name} * {rng.choice(('1.0', '0.7', name, '-1.3'))})" for name in ends]
    case["lines"].append("loss = " + " + ".join(terms))
    return case


def drawn(case: Case, lead: int | None = None) -> Values:
    """The inputs of a case; `lead` is another length of the named dimension."""
    rng = np.random.default_rng(case["seed"])
    found: Values = {}
    for name, shape in case["inputs"].items():
        shape = [lead, *shape[1:]] if lead is not None and name in "xkbh" else shape
        if name in "kb":
            found[name] = rng.integers(0, 3, shape) if name == "k" else rng.random(shape) < 0.6
            continue
        x = rng.choice(TIES, shape) if case["ties"] else rng.normal(size=shape)
        if name == "h":
            x = np.where(rng.random(shape) < 0.3, rng.choice([np.nan, np.inf, -np.inf], shape), x)
        found[name] = np.asarray(x, case["dtype"])
    return found


def kind_of(x: Any, name: str = "") -> str:
    """What a value is: f for finite floats, l for loose ones, i, b."""
    kind = np.asarray(x).dtype.kind
    return {"f": "f" if np.all(np.isfinite(x)) and name != "h" else "l", "i": "i", "b": "b"}.get(kind, "?")


def add_line(rng: random.Random, case: Case, values: Values, kinds: dict[str, str]) -> None:
    """One more line that NumPy computes, after some tries."""
    for _ in range(12):
        table, kind = rng.choice(KINDS)
        filled = fill(rng, rng.choice(table), values, kinds)
        if filled is None:
            continue
        name = f"v{len(case['lines'])}"
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = eval(filled, OF_NUMBERS | values)
        except Exception:  # whatever NumPy says, the line is none
            continue
        if isinstance(found, list | tuple):  # a line is an array
            continue
        x = np.asarray(found)
        own = kind_of(x)
        if x.size > MANY or own not in (kind, "f"):
            continue
        if own == "f" and x.size and np.max(np.abs(x)) > LARGE:
            continue
        values[name], kinds[name] = x, "l" if kind == "l" else own
        case["lines"].append(f"{name} = {filled}")
        return


def fill(rng: random.Random, template: str, values: Values, kinds: dict[str, str]) -> str | None:
    """A template with variables for its letters, late ones more often; None if there is none of a kind."""
    last = "x"

    def one(match: re.Match[str]) -> str:
        nonlocal last
        letter = match.group(1)
        if letter == "s":
            return last
        if letter in "filb" and len(letter) == 1:
            names = [n for n, k in kinds.items() if k == letter]
            last = rng.choice(names[-4:] if rng.random() < 0.6 else names)  # an IndexError if there is none
            return last
        return piece(rng, letter, np.ndim(values.get(last, 0)), np.shape(values.get(last, ())))

    try:
        return re.sub(r"\{(\w+)\}", one, template)
    except IndexError:
        return None


def piece(rng: random.Random, letter: str, ndim: int, shape: tuple[int, ...]) -> str:
    """The text for a letter that is no variable."""
    if letter == "axis":
        return str(rng.randrange(-ndim, ndim) if ndim else None)
    if letter == "slice":
        return rng.choice(("1:", ":-1", "::-1", "::2", ":1", "1:3", "::-2", ":0", "-2:", "2:0:-1", ":", "5:"))
    if letter == "index":
        top = max(min(shape, default=1), 1)
        index = rng.choice(("[{0}, 0, {0}]", "[{1}]", "[[0, {0}], [{1}, 0]]", "[-1, 0]"))
        return f"np.array({index.format(rng.randrange(top), rng.randrange(top))})"
    if letter == "n":
        return str(shape[0] if shape else 1)
    return str(rng.randrange(-2, 3) if letter == "small" else rng.randrange(2))


# Judging


def judge(case: Case) -> str | None:
    """What is wrong with a program, compiled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wrong_with(case)


def wrong_with(case: Case) -> str | None:
    """What is wrong with a program, compiled; NumPy may say what it likes."""
    text = "\n".join(case["lines"])
    symbols = {name: gc.array(name, shape_of(case, name), value_dtype(case, name)) for name in case["inputs"]}
    params = [symbols[name] for name in ("p", "q") if name in symbols]
    inputs = [x for name, x in symbols.items() if name not in "pq"]
    space: Values = OF_SYMBOLS | symbols
    try:
        exec(text, space)
        f = gc.compile_grad(space["loss"], params, inputs=inputs, allow_unused=True)
    except GradcompileError as error:
        refuse(error)
        return None
    leads = [None] if not case["named"] else [None, 1, 4]
    for lead in leads:
        wrong = compared(case, text, f, drawn(case, lead))
        if wrong is not None:
            return f"{wrong}{'' if lead is None else f' with n = {lead}'}"
    return _numbers.unlike_full(f, lambda: f(*drawn(case).values()))


def value_dtype(case: Case, name: str) -> str:
    """The dtype of an input."""
    return {"k": "int64", "b": "bool"}.get(name, case["dtype"])


def shape_of(case: Case, name: str) -> tuple[Any, ...]:
    """The shape of an input, its first axis named if that is asked for."""
    shape = tuple(case["inputs"][name])
    return ("n", *shape[1:]) if case["named"] and name in "xkbh" else shape


def compared(case: Case, text: str, f: Any, values: Values) -> str | None:
    """What is wrong at one point."""
    try:
        want = loss_of(text, values)
    except Exception:  # another length than the text was made for
        return None
    try:
        loss, grads = f(*values.values())
    except GradcompileError as error:
        refuse(error)
        return None
    scale = 1.0 + (abs(want) if math.isfinite(want) else 0.0)
    single = case["dtype"] == "float32"
    if not same(loss, want, (2e-3 if single else 1e-9) * scale):
        return None if is_at_random(text, values, want) else f"loss {loss!r}, NumPy {want!r}"
    if not math.isfinite(want):
        return None
    wide = {name: x.astype("float64") if x.dtype.kind == "f" else x for name, x in values.items()}
    return unlike(text, wide, np.concatenate([np.ravel(g) for g in grads]), case["ties"], 2e-2 if single else 2e-5)


def is_at_random(text: str, values: Values, want: float) -> bool:
    """Whether rounding errors of the values change NumPy's own result by far more, as that of a singular system."""
    with np.errstate(all="ignore"):
        near = {name: x * (1 + 1e-15 * np.cos(np.arange(x.size)).reshape(x.shape)) if x.dtype.kind == "f" else x
                for name, x in values.items()}  # fmt: skip
    return not same(loss_of(text, near), want, 1e-11 * (1.0 + abs(want)))


def unlike(text: str, values: Values, got: Floats, ties: bool, tolerance: float) -> str | None:
    """How a gradient leaves what lies between the slopes of NumPy's values to both sides.

    Where entries tie, the direction that moves all of them alike is looked at as well, which is what tells a tie that
    is dropped or counted twice; and what no slope allows may be JAX's convention. What has a jump has no slope.
    """
    directions = np.eye(got.size)
    if ties:
        directions = np.vstack([directions, np.ones(got.size)])
    along = moving(got, directions)
    low, high = np.array([sides(text, values, d) for d in directions]).reshape(-1, 2).T
    margin = tolerance * (1.0 + np.max(np.abs([low, high]), initial=0.0, where=np.isfinite([low, high])))
    right, judged = (low - margin <= along) & (along <= high + margin), np.isfinite(low)
    if ties and not np.all(right):
        other = moving(by_jax(text, values), directions)
        scale = 1.0 + np.max(np.abs(other), initial=0.0, where=np.isfinite(other))
        right = right | (np.abs(along - other) <= tolerance * scale)
    if np.all(right | ~judged):
        return None
    limit = f", {LIMITED}" if ROOTS.search(text) and np.all(right | ~judged | np.isnan(along)) else ""
    return f"gradient {along.tolist()}{limit}, but from {low.tolist()} to {high.tolist()}"


def loss_of(text: str, values: Values) -> float:
    """NumPy's value."""
    space: Values = OF_NUMBERS | values
    with np.errstate(all="ignore"):
        exec(code_of(text), space)
    return float(space["loss"])


@lru_cache(maxsize=4)
def code_of(text: str) -> Any:
    """The text as Python's code."""
    return compile(text, "a program", "exec")


def same(got: float, want: float, tolerance: float) -> bool:
    """Whether two values agree, as NaN and infinities do with themselves."""
    return abs(got - want) <= tolerance if math.isfinite(want) else got == want or (got != got and want != want)


def moving(gradient: Floats, directions: Floats) -> Floats:
    """How fast the value moves in some directions; entries that are not finite count only where they matter."""
    return np.array([np.sum(gradient[d != 0] * d[d != 0]) for d in directions])


def sides(text: str, values: Values, direction: Floats) -> tuple[float, float]:
    """The lower and the higher of the slopes to both sides; NaN where those of two steps differ, as beside a jump."""
    here = loss_of(text, values)
    found = []
    for step in (STEP, -STEP):
        one, two = ((loss_of(text, moved(values, h * direction)) - here) / h for h in (step, step / 4))
        found.append((4 * two - one) / 3 if abs(one - two) <= 1e-3 * (1 + abs(two)) else math.nan)
    return (min(found), max(found)) if np.all(np.isfinite(found)) else (math.nan, math.nan)


def moved(values: Values, by: Floats) -> Values:
    """The values with other parameters."""
    found, first = dict(values), 0
    for name in ("p", "q"):
        if name in values:
            size = np.size(values[name])
            found[name] = np.asarray(values[name] + by[first : first + size].reshape(np.shape(values[name])))
            first += size
    return found


def by_jax(text: str, values: Values) -> npt.NDArray[np.float64]:
    """JAX's gradient, where it is installed and can do it; else NaN."""
    names = [name for name in ("p", "q") if name in values]
    try:
        import jax
        import jax.scipy

        jax.config.update("jax_enable_x64", True)

        def loss(*params: Any) -> Any:
            of_jax = {"special": jax.scipy.special, "stats": jax.scipy.stats, "linalg": jax.scipy.linalg}
            space: Values = OF_NUMBERS | of_jax | {"np": jax.numpy} | values | dict(zip(names, params, strict=True))
            exec(text, space)
            return space["loss"]

        grads: Callable[..., Any] = jax.grad(loss, tuple(range(len(names))))
        return np.concatenate([np.ravel(g) for g in grads(*(jax.numpy.asarray(values[name]) for name in names))])
    except Exception:  # what JAX does not do is no finding
        return np.full(sum(np.size(values[name]) for name in names), np.nan)
