"""What training gives: the parameters reached, and how it went."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from gradcompile.charts import of_history
from gradcompile.errors import ArgumentError

Vector = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Progress:
    """What a callback gets: where the run stands, with a copy of the parameters.

    validation is None without data for it.
    """

    step: int
    epoch: int
    loss: float
    validation: float | None
    grad_norm: float
    rate: float
    params: Any


@dataclass(frozen=True, repr=False)
class TrainingResult:
    """What training has reached.

    params: in the shape they came in; the best by validation where there was a patience, else the last.
    last_params: the last in any case.  history: arrays with one entry an epoch, or each `every` steps: "step", "epoch",
    "loss" (the mean over the batches since the entry before, weighted by their samples), "grad_norm" (likewise, before
    clipping), "rate", and "validation" where there was data for it.  epochs: how many were completed; steps: likewise.
    interrupted: ended by Ctrl-C.  message: why it ended.
    """

    params: Any
    history: dict[str, Vector]
    epochs: int
    interrupted: bool
    last_params: Any = None
    steps: int = 0
    message: str = ""

    def __repr__(self) -> str:
        last = f", loss {self.history['loss'][-1]:.6g}" if len(self.history["loss"]) else ""
        return f"TrainingResult({self.epochs} epochs, {self.steps} steps{last}: {self.message})"

    def _repr_html_(self) -> str:
        """The run and its curves, for a notebook."""
        shown = {k: v for k, v in self.history.items() if k not in ("step", "epoch")}
        return f"<p>{escape(repr(self))}</p>{of_history(shown)}"

    def summary(self) -> str:
        """What was reached, as a few lines of text with a table of the history."""
        names = [n for n in ("epoch", "step", "loss", "validation", "grad_norm", "rate") if n in self.history]
        count = len(self.history["loss"])
        shown = range(count) if count <= 12 else sorted({round(k * (count - 1) / 11) for k in range(12)})
        lines = [repr(self), "".join(f"{n:>12}" for n in names)]
        lines += ["".join(f"{self.history[n][k]:>12.6g}" for n in names) for k in shown]
        values = self.params.items() if isinstance(self.params, Mapping) else ()
        lines += [f"{name}: {np.array2string(np.asarray(v), threshold=6, precision=6)}" for name, v in values]
        return "\n".join(lines)

    def plot(self, axes: Any = None) -> Any:
        """Loss and validation over the epochs; the axes of matplotlib, or new ones."""
        if axes is None:
            try:
                from matplotlib.figure import Figure
            except ImportError:
                raise ArgumentError("plot needs matplotlib: pip install matplotlib; or draw .history") from None
            axes = Figure().subplots()
        for name in ("loss", "validation"):
            if name in self.history:
                axes.plot(self.history["step"], self.history[name], label=name)
        axes.set_xlabel("step")
        if all((self.history[n] > 0).all() for n in ("loss", "validation") if n in self.history):
            axes.set_yscale("log")
        axes.legend()
        return axes
