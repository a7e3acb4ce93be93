"""How adjoints flow through a loss: of each layer its size, dead and saturated units, and a verdict with its source."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from html import escape
from operator import or_
from typing import Any

import numpy as np

from gradcompile.analysis.formula import is_relu
from gradcompile.charts import Picture, Series, chart
from gradcompile.explain.blackboard import axis_of, named, shown
from gradcompile.explain.record import Record, hidden, slope
from gradcompile.explain.steps import body_of, places
from gradcompile.ir.algebra import is_select
from gradcompile.ir.core import Node, is_const
from gradcompile.ops.shape import is_broadcast
from gradcompile.signature.names import Namer

FAR = 1e-3  # from the last layer to the first an adjoint may shrink by this, or grow by its inverse
FLAT = 1e-3  # of the steepest slope of its layer, below which a unit counts as saturated
MOST = 0.95  # share of its units that makes a layer dead or saturated
MANY = 0.5  # the same of all layers together

SOURCES = {
    "vanishing": ("Hochreiter 1991; Glorot and Bengio 2010",
                  "use ReLU or its kin, residual connections, normalisation, or He's initial weights (He et al. 2015)"),
    "exploding": ("Pascanu, Mikolov and Bengio 2013",
                  "clip the gradient's norm, normalise, or begin with smaller weights"),
    "dead": ("Lu et al. 2019, Dying ReLU", "use a leaky ReLU, a smaller rate, or begin with other biases"),
    "saturated": ("LeCun et al. 1998, Efficient BackProp; Glorot and Bengio 2010",
                  "scale inputs and initial weights, normalise, or use ReLU"),
    "healthy": ("", ""),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layer:
    """A parameter of two or more axes, or what a function gives entry by entry for every sample and unit.

    kind: "weights" or "units".  size, adjoint: root mean squares.  ratio: the gradient's norm by the weights'.
    dead: share of units to which nothing comes back for any sample.  saturated: share of entries with hardly any slope.
    """

    name: str
    kind: str
    size: float
    adjoint: float
    ratio: float | None = None
    dead: float = 0.0
    saturated: float = 0.0
    verdict: str = "healthy"


@dataclass(frozen=True, slots=True)
class Flow:
    """The layers from the input to the loss, and what is to be said of all of them; `str` of it is a table."""

    layers: tuple[Layer, ...]
    verdict: str
    reason: str
    source: str = field(default="")
    cure: str = field(default="")

    def __str__(self) -> str:
        head = f"{self.verdict}: {self.reason}"
        head += f" ({self.source}). Try: {self.cure}." if self.source else "."
        lines = [f"{'layer':<24}{'size':>10}{'adjoint':>12}{'d/weights':>12}{'dead':>8}{'flat':>8}  verdict"]
        for x in self.layers:
            ratio = "-" if x.ratio is None else f"{x.ratio:.2g}"
            shares = f"{100 * x.dead:>6.0f} %{100 * x.saturated:>6.0f} %"
            lines.append(f"{x.name:<24}{x.size:>10.3g}{x.adjoint:>12.3g}{ratio:>12}{shares}  {x.verdict}")
        return "\n".join([head, *lines])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head, _, table = str(self).partition("\n")
        return f"<p>{escape(head)}</p>{self.picture()}<pre tabindex=0>{escape(table)}</pre>"

    @property
    def chain(self) -> list[Layer]:
        """The layers along which the adjoint comes back."""
        return chain_of(self.layers)

    @property
    def is_deep(self) -> bool:
        """Whether there are layers between which an adjoint can change."""
        return len(self.chain) > 1

    def picture(self) -> Picture:
        """An SVG of the adjoint's size from layer to layer."""
        found = [Series(range(1, len(self.chain) + 1), [x.adjoint for x in self.chain], "both")]
        return chart(found, title=f"{self.verdict}: the adjoint's size, layer by layer", across="layer, from the input",
                     up="root mean square of dL/d(layer)", log=True)  # fmt: skip


def flow(made: Record) -> Flow:
    """The layers of a loss at some arguments, and a verdict."""
    nodes, params = shown(made), {a.leaf for a in made.problem.params}
    names, inner = named(made, nodes), hidden_layers(made.order, params)
    found: list[Layer] = []
    made.compute(s for n in nodes if n in inner and is_units(made, n) for s in slopes_of(n))
    for n in nodes:
        if n in made.adjoints and n in params and len(n.type.shape) > 1:
            found.append(weights(made, n, names[n]))
        elif n in made.adjoints and n in inner and is_units(made, n):
            slopes = [made.values[s] for s in slopes_of(n)]
            found.append(units(made, n, names[n], made.values[n], made.adjoint(n), slopes))
        elif n in made.adjoints and n.op.is_loop:
            found += units_of_steps(made, n)
    layers = tuple(found)
    verdict, reason = judged(layers)
    return Flow(layers, verdict, reason, *SOURCES[verdict])


def hidden_layers(order: Sequence[Node], params: set[Node]) -> set[Node]:
    """The nodes below which there are parameters, and further ones join above: what comes later is the loss itself."""
    bits = {p: 1 << k for k, p in enumerate(n for n in order if n in params)}
    held: dict[Node, int] = {}
    for n in order:
        held[n] = reduce(or_, (held[a] for a in n.args), bits.get(n, 0))
    found: set[Node] = set()
    for n in reversed(order):
        found |= {a for a in n.args if held[a] and (n in found or held[a] != held[n])}
    return found


def units_of_steps(made: Record, n: Node) -> list[Layer]:
    """The units inside a scan, step by step in the order in which they are computed."""
    body, fresh = body_of(made, n), Namer()
    kept = [x for x in body.order if is_units(made, x) and not hidden(x, made.problem)]
    names = {x: fresh("relu" if is_select(x) and is_relu(x) else x.op.preferred_name or x.op.name) for x in kept}
    found = []
    for k in places(body.loop, len(body.forward)):
        at_step = body.record(made, k)
        for x in kept:
            if x in body.adjoints:
                slopes = slopes_of(x)
                at_step.compute(slopes)
                given = [at_step.values[s] for s in slopes]
                found.append(units(made, x, f"{names[x]}[{k}]", at_step.values[x], at_step.adjoint(x), given))
    return found


def is_units(made: Record, n: Node) -> bool:
    """Whether a node is what a function, as of a layer of a network, gives for every sample and unit."""
    bends = not n.op.is_arithmetic and n.op.partials is not None and (n.op.settles or n.op.curvature or n.op.hands_on)
    return bool(bends) and len(n.type.shape) > 1 and axis_of(made.problem) in n.type.shape


def rms(x: Any) -> float:
    """The root of the mean square."""
    flat = np.ravel(np.asarray(x, float))
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.mean(flat**2))) if flat.size else 0.0


def weights(made: Record, n: Node, name: str) -> Layer:
    """A parameter: its size, its gradient's, and how one compares with the other."""
    size, adjoint = rms(made.values[n]), rms(made.adjoint(n))
    return Layer(name, "weights", size, adjoint, adjoint / size if size else None)


def slopes_of(n: Node) -> list[Node]:
    """The derivatives of a function of what comes in, unit by unit."""
    own = (a for a in dict.fromkeys(n.args) if a.type.shape == n.type.shape and not is_const(a) and not is_broadcast(a))
    return [s for a in own if (s := slope(n, a)) is not None]


def units(made: Record, n: Node, name: str, value: Any, adjoint: Any, slopes: Sequence[Any]) -> Layer:
    """A layer's units: which of them nothing comes through, and which hardly bend any more."""
    dead = flat = 0.0
    if slopes:
        steep = reduce(np.maximum, (np.abs(np.broadcast_to(s, np.shape(value))) for s in slopes))
        dead = float(np.mean(np.all(steep == 0, axis=n.type.shape.index(axis_of(made.problem)))))
        flat = float(np.mean(steep < FLAT)) if n.op.settles else 0.0
    verdict = "dead" if dead > MOST else "saturated" if flat > MOST else "healthy"
    return Layer(name, "units", rms(value), rms(adjoint), None, dead, flat, verdict)


def chain_of(layers: tuple[Layer, ...]) -> list[Layer]:
    """The layers along which an adjoint comes back: units, or weights where there are no units."""
    return [x for x in layers if x.kind == "units"] or [x for x in layers if x.kind == "weights"]


def judged(layers: tuple[Layer, ...]) -> tuple[str, str]:
    """A verdict on all layers: what is wrong with single ones first, then how the adjoint changes on its way."""
    rows = [x for x in layers if x.kind == "units"]
    for kind, what in (("dead", "let nothing back for any sample"), ("saturated", "have hardly any slope")):
        bad = [x.name for x in rows if x.verdict == kind]
        shares = [x.dead if kind == "dead" else x.saturated for x in rows]
        if bad or (rows and np.mean(shares) > MANY):
            return kind, f"{100 * np.mean(shares):.0f} % of all units {what}" + (f", all of {bad[0]}" if bad else "")
    chain = [x.adjoint for x in chain_of(layers)]
    if len(chain) < 2:
        return "healthy", "there are no layers between which an adjoint could change"
    first, last = chain[0], chain[-1]
    if not np.isfinite(first) or (last and first / last > 1 / FAR):
        return "exploding", f"the adjoint grows from {last:.2g} at the last layer to {first:.2g} at the first"
    if last and first / last < FAR:
        return "vanishing", f"the adjoint shrinks from {last:.2g} at the last layer to {first:.2g} at the first"
    return "healthy", f"the adjoint is {last:.2g} at the last layer and {first:.2g} at the first"
