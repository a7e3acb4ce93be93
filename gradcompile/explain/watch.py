"""How adjoints flow over a training run: a callback that keeps it, and a picture of several runs side by side."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from gradcompile.charts import Picture, Tiles, tiled
from gradcompile.errors import ArgumentError
from gradcompile.explain.flow import Flow
from gradcompile.signature.arguments import Argument


class Watch:
    """A callback that keeps the flow of each epoch in `.records`; for whatever trains and hands over parameters.

    `.plot("flow.svg")` draws layers over epochs, coloured by the adjoint's size; `side_by_side` draws several.
    """

    def __init__(
        self, flow: Callable[..., Flow], params: Sequence[Argument], inputs: tuple[Any, ...], named: Mapping[str, Any]
    ) -> None:
        self.flow, self.params, self.inputs, self.named = flow, params, inputs, named
        self.records: list[tuple[int, Flow]] = []

    def __call__(self, epoch: Any, params: Any = None, *_: Any) -> None:
        """Keep the flow at these parameters."""
        if params is None:  # one record that has both
            epoch, params = epoch.epoch, epoch.params
        self.records.append((int(epoch), self.flow(*self.in_order(params), *self.inputs, **self.named)))

    def in_order(self, params: Any) -> Sequence[Any]:
        """The parameters as the call takes them."""
        if isinstance(params, Mapping):
            by_name = {str(getattr(key, "name", key)): value for key, value in params.items()}
            return [by_name[a.name if a.name in by_name else str(a.original)] for a in self.params]
        return params if isinstance(params, tuple | list) else (params,)

    @property
    def verdicts(self) -> list[str]:
        """What was said, epoch by epoch."""
        return [f.verdict for _, f in self.records]

    def __repr__(self) -> str:
        told = f": {headline('', self.verdicts)}" if self.records else ""
        return f"<watch of {len(self.records)} epochs{told}>"

    def plot(self, to: str | Path | None = None) -> Picture:
        """Layers over epochs, coloured by the adjoint's size, as SVG; written to a file if one is named."""
        return side_by_side({"": self}, to)

    def _repr_html_(self) -> str:
        return self.plot() if self.records else "<p>nothing was watched yet</p>"


def side_by_side(watches: Mapping[str, Watch], to: str | Path | None = None) -> Picture:
    """Several runs by name in one picture, on one scale of colour, each with what was said of it."""
    empty = [name for name, w in watches.items() if not w.records]
    if empty or not watches:
        which = f" of {', '.join(map(repr, empty))}" if any(empty) else ""
        raise ArgumentError(f"nothing was watched{which}: pass callback=f.watch(...) to a training run first")
    panels = [Tiles(np.array([sizes(f) for _, f in w.records]).T, headline(name, w.verdicts), span(w))
              for name, w in watches.items()]  # fmt: skip
    picture = tiled(panels, across="epoch", up="layer, from the input", legend="adjoint")
    if to is not None:
        picture.save(to)
    return picture


def sizes(flow: Flow) -> list[float]:
    """The adjoints of the layers that the verdict is about."""
    return [x.adjoint for x in flow.chain]


def headline(name: str, verdicts: Sequence[str]) -> str:
    """A run's name with what was said of it, in order: once where it stays, the last two where it changed."""
    told = ", then ".join([v for v, _ in groupby(verdicts)][-2:])
    return f"{name}: {told}" if name else told


def span(watch: Watch) -> tuple[str, str]:
    """The first and the last epoch."""
    return str(watch.records[0][0]), str(watch.records[-1][0])
