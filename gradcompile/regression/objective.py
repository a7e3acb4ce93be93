"""The compiled functions behind one data set's part of a fit, each made when something first asks for it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy as sp

from gradcompile.compile import compile_hessian, compile_jacobian, compile_value
from gradcompile.derivatives import CompiledDerivative, CompiledHessian, CompiledJacobian
from gradcompile.errors import ExpressionError
from gradcompile.once import once
from gradcompile.regression.search import Evaluate, Vector
from gradcompile.regression.statement import LOSSES, RESIDUAL, Statement

Columns = Mapping[str, Any]
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
        self._names: dict[CompiledDerivative, list[str]] = {}

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
        """The first and second derivative of a robust loss in the residual, of each residual."""
        rho = LOSSES[self.statement.loss]
        found = [sp.diff(rho, RESIDUAL), sp.diff(rho, RESIDUAL, 2)]
        return compile_value(found, data=[RESIDUAL])

    def evaluation(self, compiled: CompiledDerivative, columns: Columns) -> Evaluate:
        """The machine code of a compiled Hessian, and its inputs in these columns."""
        names = self._names.get(compiled)
        if names is None:
            names = self._names[compiled] = original_names(compiled)
        inputs = [columns[name] for name in names]
        return compiled._route.choose(inputs), inputs

    def rows(self, compiled: CompiledJacobian, theta: Vector, columns: Columns, count: int) -> tuple[Vector, Vector]:
        """Values and Jacobian of each row; what depends on no column is the same for all."""
        given = {name: columns[name] for name in original_names(compiled)}
        values, jacobian = compiled.bind(args=given)(theta)
        values, jacobian = np.asarray(values), np.reshape(jacobian, (-1, len(theta)))
        return np.broadcast_to(values, (count,)), np.broadcast_to(jacobian, (count, len(theta)))


def original_names(compiled: CompiledDerivative) -> list[str]:
    """The user's names of a function's inputs, in the order of the kernel."""
    return [a.symbols[0].name for a in compiled.problem.inputs]
