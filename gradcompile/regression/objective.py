"""The compiled functions behind one data set's part of a fit, each made when something first asks for it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from gradcompile.compile import compile_hessian, compile_jacobian, compile_value
from gradcompile.derivatives import CompiledDerivative, CompiledHessian, CompiledJacobian, CompiledValues
from gradcompile.errors import ExpressionError
from gradcompile.once import once
from gradcompile.regression.search import Evaluation, Vector, looped
from gradcompile.regression.statement import LOSSES, RESIDUAL, Statement, free_name
from gradcompile.runtime.route import Route

Columns = Mapping[str, Any]
Rows = tuple[Vector, Vector]  # one value a row, and its derivatives by the parameters
FACTOR = "factor of the covariance"  # under which columns have it: no formula can contain that name
ROUNDS, HALVINGS = 50, 20  # steps of the shifts, and of one that is too long, at most
CLOSE = 1e-10  # of sigma_x, a step at which a shift stands
SMALL = 1e-6  # of sigma_x, a step that changes the distance by no more than rounding may
BLOCK = 1 << 16  # rows whose Jacobian is in memory at a time


class Objective:
    """What is minimised of one data set, in the ways that a fit asks for it."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        symbols = {s.name: s for e in (statement.cost, statement.model) if e is not None for s in e.free_symbols}
        self.params = [symbols[name] for name in statement.params]
        self.fixed = [symbols[name] for name in statement.fixed]
        self.data = [symbols[name] for name in statement.columns if name in symbols]
        self.data += [statement.sigma] if statement.sigma is not None else []
        self.has_plain_target = statement.target is not None and bool(statement.target.is_Symbol)
        self._ways: dict[bool, tuple[list[str], Route, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without machine code, which is made again."""
        return {**vars(self), "_ways": {}}

    @once
    def near(self) -> CompiledHessian:
        """Cost, gradient, and the matrix of the search: Gauss-Newton's, the Hessian where a likelihood has none."""
        found = self._hessian(gauss_newton=True)
        try:
            found.source  # noqa: B018 - what can't be derived is known from here on
        except ExpressionError:
            return self.exact
        return found

    @once
    def exact(self) -> CompiledHessian:
        """Cost, gradient and Hessian."""
        return self._hessian(gauss_newton=False)

    def _hessian(self, gauss_newton: bool) -> CompiledHessian:
        return compile_hessian(
            self.statement.cost, self.params, data=self.data, inputs=self.fixed or None, reduce="sum",
            gauss_newton=gauss_newton, name="fit",
        )  # fmt: skip

    @once
    def residuals(self) -> CompiledJacobian:
        """The residuals of the samples, and their Jacobian."""
        return compile_jacobian(self.statement.residual, self.params, data=self.data, inputs=self.fixed or None)

    @once
    def prediction(self) -> CompiledJacobian:
        """What the model says of each sample, and its Jacobian."""
        statement = self.statement
        used = [s for s in self.data if s.name in statement.predictors]
        return compile_jacobian(
            statement.model, self.params, data=used, inputs=self.fixed or None, name="model", allow_unused=True
        )

    @once
    def influence(self) -> Callable[..., Any]:
        """The derivative of a loss in the residual, of each residual."""
        return compile_value(sp.diff(LOSSES[self.statement.loss], RESIDUAL), data=[RESIDUAL])

    def evaluation(self, columns: Columns, rows: int, exact: bool) -> Evaluation:
        """Cost, gradient and the matrix of the search, or the Hessian, with these columns."""
        if exact not in self._ways:
            compiled = self.exact if exact else self.near
            self._ways[exact] = self.names(compiled), compiled._route, looped(compiled._route)
        names, route, loop = self._ways[exact]
        inputs = [columns[name] for name in names]
        code = route.choose(inputs)
        return Evaluation(code, inputs, loop if code is route.serial else None, rows)

    def names(self, compiled: CompiledDerivative) -> list[str]:
        """The user's names of a function's inputs, in the order of the kernel."""
        return [a.symbols[0].name for a in compiled.problem.inputs]

    def residual_rows(self, theta: Vector, columns: Columns, rows: int) -> Iterator[Rows]:
        """The residuals and their Jacobian, block by block."""
        for first in range(0, rows, BLOCK):
            part = {k: v[first : first + BLOCK] if np.ndim(v) else v for k, v in columns.items()}
            yield self.rows(self.residuals, theta, part, min(BLOCK, rows - first))

    def rows(self, compiled: CompiledJacobian, theta: Vector, columns: Columns, count: int) -> Rows:
        """Values and Jacobian of each row; what depends on no column is the same for all."""
        found = compiled._at(np.asarray(theta), [columns[name] for name in self.names(compiled)])
        values, jacobian = np.asarray(found.arrays[0]), found.arrays[1].reshape(-1, compiled.size)
        return np.broadcast_to(values, (count,)), np.broadcast_to(jacobian, (count, compiled.size))


class Correlated(Objective):
    """Least squares of residuals that are correlated: r'C^-1 r, with C the covariance of the target.

    With C = L L' the residuals are those of L^-1 (target - model); `columns[FACTOR]` is L.
    """

    @once
    def weighted(self) -> CompiledHessian:
        """The sum of residuals with a weight each, which is a column."""
        self._weight = sp.Symbol(free_name("weight", [s.name for s in [*self.params, *self.data, *self.fixed]]))
        return compile_hessian(
            self._weight * self.statement.residual, self.params, data=[*self.data, self._weight],
            inputs=self.fixed or None, reduce="sum",
        )  # fmt: skip

    def evaluation(self, columns: Columns, rows: int, exact: bool) -> Evaluation:
        """r'r of the whitened residuals, 2 J'r and 2 J'J; exact: with the Hessian of the residuals, times L'^-1 r."""

        def evaluate(theta: Vector, gradient: Vector, matrix: Vector) -> float:
            ((values, jacobian),) = self.residual_rows(theta, columns, rows)
            gradient[:] = 2.0 * jacobian.T @ values
            whole = 2.0 * jacobian.T @ jacobian
            if exact:
                function = self.weighted
                weights = {**columns, self._weight.name: whitened(columns[FACTOR], values, transposed=True)}
                given = {name: weights[name] for name in self.names(function)}
                whole = whole + 2.0 * np.reshape(function.bind(args=given)(theta)[2], whole.shape)
            matrix[:] = whole.reshape(-1)
            return float(values @ values)

        return Evaluation(evaluate)

    def residual_rows(self, theta: Vector, columns: Columns, rows: int) -> Iterator[Rows]:
        """The whitened residuals and their Jacobian, whole."""
        values, jacobian = self.rows(self.residuals, theta, columns, rows)
        yield whitened(columns[FACTOR], values), whitened(columns[FACTOR], jacobian)


class Orthogonal(Objective):
    """Least squares with errors in the predictors: r(x + d)^2 + (d/sigma_x)^2 at its least over d, for each sample.

    The minimum over d is found for given parameters, by Gauss-Newton steps for all samples at once; what is left is a
    function of the parameters, whose Gauss-Newton matrix is J'J with rows J/sqrt(1 + sum (dr/dx sigma_x)^2). It is the
    problem of ODRPACK (Boggs, Byrd, Schnabel, 1987); `columns` have sigma_x under the names of `spreads`.
    """

    def __init__(self, statement: Statement, uncertain: Sequence[str]) -> None:
        super().__init__(statement)
        known = {s.name: s for s in self.data}
        taken = [s.name for s in [*self.params, *self.data, *self.fixed]]
        self.uncertain = [known[name] for name in uncertain]
        self.spreads = {name: free_name(f"sigma_{name}", taken) for name in uncertain}
        self.shifts = [sp.Symbol(free_name(f"shift_{name}", taken)) for name in uncertain]

    @once
    def shifted(self) -> sp.Expr:
        """The residual with what is added to the uncertain columns."""
        moved = {x: x + d for x, d in zip(self.uncertain, self.shifts, strict=True)}
        return self.statement.residual.xreplace(moved)

    @once
    def slopes(self) -> CompiledJacobian:
        """The residuals and their derivatives by the parameters and by one shift of each uncertain column.

        The shift that all samples have is a parameter for the sake of its derivative, and is 0.
        """
        taken = [s.name for s in [*self.params, *self.data, *self.fixed, *self.shifts]]
        zero = [sp.Symbol(free_name(f"{d.name}_0", taken)) for d in self.shifts]
        both = {d: d + e for d, e in zip(self.shifts, zero, strict=True)}
        data = [*self.data, *self.shifts]
        return compile_jacobian(
            self.shifted.xreplace(both), [*self.params, *zero], data=data, inputs=self.fixed or None, allow_unused=True
        )

    @once
    def curvatures(self) -> CompiledValues:
        """The second derivatives of half of the squared residual, by parameters and shifts, one value a sample each."""
        names = [*self.params, *self.shifts]
        half = self.shifted**2 / 2
        found = [sp.diff(half, a, b) for k, a in enumerate(names) for b in names[k:]]
        data = [*self.data, *self.shifts]
        compiled = compile_value(found, self.params, data=data, inputs=self.fixed or None, allow_unused=True)
        assert isinstance(compiled, CompiledValues)
        return compiled

    def settled(self, theta: Vector, columns: Columns, rows: int) -> tuple[Vector, Vector, Vector, list[Vector]]:
        """Residuals, their derivatives by parameters and by shifts, and the shifts, at their least."""
        spread = np.stack([columns[self.spreads[x.name]] for x in self.uncertain], axis=1)
        shift = np.zeros((rows, len(self.shifts)))
        size = len(self.params)
        values, jacobian = self._at(theta, columns, shift)
        least = values**2
        stands = np.zeros(rows, bool)  # samples of which no step has lowered the distance
        for _ in range(ROUNDS):
            slope = jacobian[:, size:] * spread
            target = values - np.sum(jacobian[:, size:] * shift, axis=1)
            step = -slope * spread * (target / (1.0 + np.sum(slope**2, axis=1)))[:, None] - shift
            step[stands | (np.max(np.abs(step) / spread, axis=1) <= CLOSE)] = 0.0
            if not step.any():
                break
            for _ in range(HALVINGS):
                trial = self._at(theta, columns, shift + step)
                cost = trial[0] ** 2 + np.sum(((shift + step) / spread) ** 2, axis=1)
                worse = ~(cost <= least) & (np.max(np.abs(step) / spread, axis=1) > SMALL)
                if not worse.any():
                    break
                step[worse] *= 0.5
            step[worse] = 0.0
            stands |= worse
            shift, least = shift + step, np.where(worse, least, cost)
            values, jacobian = self._at(theta, columns, shift) if worse.any() else trial
        return values, jacobian[:, :size], jacobian[:, size:] * spread, [shift, spread]

    def _at(self, theta: Vector, columns: Columns, shift: Vector) -> Rows:
        own = {d.name: np.ascontiguousarray(shift[:, k]) for k, d in enumerate(self.shifts)}
        given = {**columns, **own}
        whole = np.concatenate([theta, np.zeros(len(self.shifts))])
        return self.rows(self.slopes, whole, given, len(shift))

    def evaluation(self, columns: Columns, rows: int, exact: bool) -> Evaluation:
        """The loss with the shifts at their least, its gradient, and 2 J'J of the rows above.

        exact: with the Hessian, from which the shifts are eliminated.
        """

        def evaluate(theta: Vector, gradient: Vector, matrix: Vector) -> float:
            values, by_params, by_shifts, (shift, spread) = self.settled(theta, columns, rows)
            gradient[:] = 2.0 * by_params.T @ values
            if exact:
                whole = 2.0 * self._eliminated(theta, columns, shift, spread)
            else:
                weighted = by_params / np.sqrt(1.0 + np.sum(by_shifts**2, axis=1))[:, None]
                whole = 2.0 * weighted.T @ weighted
            matrix[:] = whole.reshape(-1)
            return float(values @ values + np.sum((shift / spread) ** 2))

        return Evaluation(evaluate)

    def _eliminated(self, theta: Vector, columns: Columns, shift: Vector, spread: Vector) -> Vector:
        """Half of the Hessian of the loss in the parameters."""
        own = {d.name: np.ascontiguousarray(shift[:, k]) for k, d in enumerate(self.shifts)}
        given = {**columns, **own, **{s.name: v for s, v in zip(self.params, theta.tolist(), strict=True)}}
        names = [a.symbols[0].name for a in (*self.curvatures.problem.params, *self.curvatures.problem.inputs)]
        entries = iter(self.curvatures(args={name: given[name] for name in names}))
        size, count = len(self.params), len(self.params) + len(self.shifts)
        whole = np.empty((len(shift), count, count))
        for k in range(count):
            for j in range(k, count):
                whole[:, k, j] = whole[:, j, k] = next(entries)
        inner = whole[:, size:, size:] + np.einsum("ik,kj->ikj", spread**-2.0, np.eye(count - size))
        mixed = whole[:, :size, size:]
        eliminated = np.linalg.solve(inner, np.swapaxes(mixed, 1, 2))
        return np.asarray(np.sum(whole[:, :size, :size] - mixed @ eliminated, axis=0))

    def residual_rows(self, theta: Vector, columns: Columns, rows: int) -> Iterator[Rows]:
        """The distances of the samples in units of sigma, with the residual's sign, and their Jacobian."""
        values, by_params, by_shifts, (shift, spread) = self.settled(theta, columns, rows)
        distance = np.copysign(np.sqrt(values**2 + np.sum((shift / spread) ** 2, axis=1)), values)
        yield distance, by_params / np.sqrt(1.0 + np.sum(by_shifts**2, axis=1))[:, None]


def whitened(factor: Vector, right: Vector, transposed: bool = False) -> Vector:
    """L^-1 b of a lower triangle L, or L'^-1 b."""
    from scipy.linalg import solve_triangular

    return np.asarray(solve_triangular(factor, right, lower=True, trans=1 if transposed else 0))
