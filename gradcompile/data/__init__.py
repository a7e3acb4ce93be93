"""Reference data that travel with the package: nonlinear regression with certified results, from NIST."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gradcompile.data.tables import read_table
from gradcompile.errors import ArgumentError


@dataclass(frozen=True, eq=False)
class Reference:
    """A data set of NIST's Statistical Reference Datasets, with its certified least-squares fit.

    `model` is the formula of `y` in `x` and the names of `certified`; `start1` (far) and `start2` (near) are NIST's
    own starts; `deviations` are the standard deviations of the estimates. `x` and `y` have shape `(n,)`, are float64
    and can't be written to.
    """

    name: str
    about: str
    model: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    start1: dict[str, float]
    start2: dict[str, float]
    certified: dict[str, float]
    deviations: dict[str, float]
    residual_sum_of_squares: float
    residual_standard_deviation: float
    degrees_of_freedom: int


def names() -> tuple[str, ...]:
    """List the names that `nist` knows.

    >>> names()
    ('Misra1a', 'Chwirut2', 'Lanczos3', 'Gauss1', 'DanWood')
    """
    return tuple(record["title"] for record in _records().values())


def nist(name: str) -> Reference:
    """Return the NIST reference data set `name`, in any capitals.

    Raises ArgumentError, listing the names there are, for any other name.

    >>> wood = nist("DanWood")
    >>> wood.model, wood.x.shape, wood.certified["b2"]
    ('b1*x**b2', (6,), 3.8604055871)
    """
    key = name.lower()
    if key not in _records():
        raise ArgumentError(f"there is no reference data set {name!r}; there are {', '.join(names())}")
    return _reference(key, _records()[key])


@cache
def _records() -> dict[str, dict[str, Any]]:
    return tomllib.loads(resources.files(__name__).joinpath("nist.toml").read_text(encoding="utf-8"))


def path(name: str) -> Path:
    """Return the file of the observations of `name`: a CSV table with the columns y and x.

    >>> path("DanWood").name
    'danwood.csv'
    """
    return Path(str(resources.files(__name__).joinpath(f"{nist(name).name.lower()}.csv")))


def _reference(key: str, record: dict[str, Any]) -> Reference:
    with resources.as_file(resources.files(__name__).joinpath(f"{key}.csv")) as file:
        columns = read_table(file)
    for column in columns.values():
        column.flags.writeable = False
    parameters = record["parameters"]

    def figure(which: str) -> dict[str, float]:
        return {parameter: figures[which] for parameter, figures in parameters.items()}

    return Reference(
        name=record["title"],
        about=record["about"],
        model=record["model"],
        x=columns["x"],
        y=columns["y"],
        start1=figure("start1"),
        start2=figure("start2"),
        certified=figure("certified"),
        deviations=figure("deviation"),
        residual_sum_of_squares=record["residual_sum_of_squares"],
        residual_standard_deviation=record["residual_standard_deviation"],
        degrees_of_freedom=record["degrees_of_freedom"],
    )
