"""A fit to data on a Dask cluster: the search sums over partitions, and statistics come of their triangles.

Of the rows of a partition's residuals and Jacobian a triangle R of [J t u r] = Q R is as good: all that is computed of
sums of squares is the same, and it has as many rows as there are parameters and three. So the data stay where they are.
"""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
import sympy as sp

from gradcompile.compile import compile_jacobian
from gradcompile.derivatives import CompiledDerivative
from gradcompile.errors import ArgumentError
from gradcompile.once import once
from gradcompile.regression.objective import Columns, Objective, Rows
from gradcompile.regression.problem import Sample
from gradcompile.regression.search import Evaluation, Vector
from gradcompile.regression.statement import Statement


def is_scattered(data: Any) -> bool:
    """Whether data are a collection of Dask's, or arrays of Dask's by name; xarray's in memory have no graph."""
    for v in data.values() if isinstance(data, Mapping) else [data]:
        if type(v) is not np.ndarray and hasattr(v, "__dask_graph__"):
            if not hasattr(v, "dims") or v.__dask_graph__() is not None:
                return True
    return False


class Scattered(Objective):
    """Least squares over partitions; given: the numbers of the statement's fixed names, in order."""

    def __init__(self, statement: Statement, data: Any, sigma: Any, given: Sequence[float]) -> None:
        super().__init__(statement)
        if statement.likelihood is None and statement.loss != "linear":
            raise ArgumentError("loss: over a cluster residuals are squared; fit a sample of the data, or leave it out")
        if statement.sigma is not None and not isinstance(sigma, str):
            raise ArgumentError("sigma: over a cluster it is the name of a column")
        self.data_there, self.given = data, list(given)
        if statement.sigma is not None:
            self.data_there = with_name(data, sigma, statement.sigma.name)
        self.functions: dict[CompiledDerivative, Any] = {}
        self.last: tuple[bytes, list[Vector]] = b"", []

    def __getstate__(self) -> dict[str, Any]:
        """Without the cluster: what was computed stays, and nothing more can be."""
        return {**super().__getstate__(), "data_there": None, "functions": {}}

    def over(self, compiled: CompiledDerivative) -> Any:
        """The compiled function over all partitions."""
        from gradcompile.interop.dask import value_and_grad

        if self.data_there is None:
            raise ArgumentError("this fit was pickled without its data, which are on a cluster; fit again")
        if compiled not in self.functions:
            self.functions[compiled] = value_and_grad(compiled, self.data_there)
        return self.functions[compiled]

    def evaluation(self, columns: Columns, rows: int, exact: bool) -> Evaluation:
        """What sums over the partitions, and the inputs that no partition has."""
        return Evaluation(self.over(self.exact if exact else self.near)._route.driver, self.given, None, rows)

    @once
    def whole(self) -> Any:
        """Residual, target and 1 in units of sigma, with their Jacobian."""
        unit = sp.Integer(1) if self.statement.sigma is None else 1 / self.statement.sigma
        goal = sp.Integer(0) if self.statement.target is None else self.statement.target
        values = {"residual": self.statement.residual, "target": goal * unit, "unit": unit}
        return compile_jacobian(values, self.params, data=self.data, inputs=self.fixed or None, allow_unused=True)

    def triangles(self, theta: Vector) -> list[Vector]:
        """The triangle of each partition: columns of the Jacobian, of the target, of 1, and of the residual."""
        theta = np.asarray(theta)
        key = theta.tobytes()
        if self.last[0] != key:
            fixed = dict(zip(self.statement.fixed, self.given, strict=True))
            self.last = key, list(self.over(self.near).each(triangle, pickle.dumps(self.whole), theta, fixed))
        return self.last[1]

    def residual_rows(self, theta: Vector, columns: Columns, rows: int) -> Iterator[Rows]:
        """Rows that have the squares and products of the residuals' and their Jacobian's."""
        for found in self.triangles(theta):
            yield found[:, -1], found[:, :-3]


class ScatteredSample(Sample):
    """Data that are on a cluster."""

    __slots__ = ("pair",)

    def __init__(self, objective: Scattered, theta: Vector, places: Any) -> None:
        self.objective, self.statement, self.places = objective, objective.statement, places
        self.columns, self.dropped, self.marks, self.target = NoColumns(), 0, {}, np.empty(0)
        self.rows = objective.over(objective.near).samples
        self.norm, self.pair = 0.0, (np.empty(0), np.empty(0))
        if objective.statement.likelihood is None:
            both = np.concatenate([t[:, -3:-1] for t in objective.triangles(self.own(theta))])
            self.pair = both[:, 1], both[:, 0]
            self.norm = sqrt(float(both[:, 0] @ both[:, 0]))

    def check_rows(self) -> None:
        """They are not."""
        raise ArgumentError("the rows are on a cluster, and this needs them here; fit a sample, or predict(data)")

    def settle(self, theta: Vector) -> None:
        """Ask the cluster for the triangles while no lock is held that its workers may need."""
        assert isinstance(self.objective, Scattered)
        self.objective.triangles(self.own(theta))

    def spread(self) -> tuple[Vector, Vector]:
        """1 and the target in units of sigma, or rows that have their squares and product."""
        return self.pair


class NoColumns(dict[str, Any]):
    """Columns that are not here."""

    def __missing__(self, name: str) -> Any:
        raise ArgumentError(f"column {name!r} is on a cluster, and this needs its rows here: give data, as in "
                            "predict(data), or fit a sample")  # fmt: skip


def with_name(data: Any, name: str, new: str) -> Any:
    """The data with a column under another name as well."""
    if isinstance(data, Mapping):
        return {**data, new: data[name]}
    if hasattr(data, "assign"):
        return data.assign(**{new: data[name]})
    raise ArgumentError("sigma: over a bag or an array there are no columns to name; give a DataFrame, or a mapping")


def triangle(columns: Mapping[str, Any], compiled: bytes, theta: Vector, fixed: Mapping[str, float]) -> Vector:
    """The triangle of a partition's rows."""
    function = pickle.loads(compiled)
    inputs = [a.symbols[0].name for a in function.problem.inputs]
    given = {n: fixed[n] if n in fixed else columns[n] for n in inputs}
    names = [a.symbols[0].name for a in function.problem.params]
    values, jacobian = function(args={**given, **dict(zip(names, theta.tolist(), strict=True))})
    rows = max(np.size(v) for v in values.values())
    slopes = np.broadcast_to(np.reshape(jacobian["residual"], (-1, len(names))), (rows, len(names)))
    others = [np.broadcast_to(values[n], (rows,)) for n in ("target", "unit", "residual")]
    return np.asarray(np.linalg.qr(np.column_stack([slopes, *others]), mode="r"))
